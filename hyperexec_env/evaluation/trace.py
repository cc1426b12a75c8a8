"""The trace of an episode: every child order with its fill, prices and costs, as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.episode import Episode
from hyperexec_env.evaluation.table import arrow_table, text_table, write_columns
from hyperexec_env.market.kernel import Components, Cost, Slice, State, close, mid_price, paid_cost

__all__ = ["COSTS", "Trace", "trace_of"]

COSTS: Final = (*Components._fields, *(name for name in Cost._fields if name not in Components._fields))
"""Sources of cost of a trace: those of the shortfall, and the risk term."""
_COUNTS: Final = ("episode", "slice", "side")
_WORDS: Final = ("date", "regime")
_SHOWN: Final = 40
"""Rows of a trace as text."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trace:
    """The slices of some episodes, one row for each, as columns of equal length.

    | column | meaning | unit |
    | --- | --- | --- |
    | `episode`, `slice` | number of the episode of the seed, and of the slice, 0..N-1 | |
    | `date` | date of the episode in a replay, else "" | |
    | `start_minutes` | start of the slice after the arrival | minutes |
    | `regime` | regime of the slice, also if the policy does not observe it | |
    | `side` | +1 buy, -1 sell | |
    | `shares` | the child order: shares that traded | shares |
    | `remaining` | shares still to trade after the slice | shares |
    | `market_volume` | market volume of the slice | shares |
    | `participation` | shares over market volume | fraction |
    | `mid` | quoted mid before the child, own displacement included | currency per share |
    | `price` | unaffected price before the child | currency per share |
    | `fill_price` | average fill price; nan if no shares traded | currency per share |
    | `permanent_displacement`, `transient_displacement` | own displacement before the child; adverse is positive | currency per share |
    | `{source}_cost`, `{source}_bps` | cost of the slice by source (:data:`COSTS`); positive is a cost | currency; bps of arrival notional |

    Over an episode the columns `{source}_bps` sum to `info["components_bps"]` and `info["risk_bps"]`.
    """  # noqa: E501 - a table has one line for each row

    columns: dict[str, Any]
    """The columns by name: arrays of numbers, lists of words."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns["slice"])

    def __getitem__(self, name: str) -> Any:
        """Return a column."""
        return self.columns[name]

    @property
    def components_bps(self) -> dict[str, float]:
        """Mean over the episodes of the cost by source, bps of arrival notional: sums of the rows."""
        episodes = len(np.unique(self.columns["episode"])) or 1
        return {name: float(self.columns[f"{name}_bps"].sum()) / episodes for name in COSTS}

    def rows(self) -> dict[str, list[Any]]:
        """Return the table by column, as plain values; None for unknown values."""

        def plain(values: Any) -> list[Any]:
            given = values.tolist() if isinstance(values, np.ndarray) else list(values)
            return [None if isinstance(value, float) and not math.isfinite(value) else value for value in given]

        return {name: plain(values) for name, values in self.columns.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the mean costs and the table by column."""
        return {"components_bps": self.components_bps, "columns": self.rows()}

    def to_arrow(self) -> Any:
        """Return the table as a pyarrow.Table.

        Raises:
            MissingExtra: The extra `data` is not installed.
        """
        return arrow_table(self.rows(), self._numeric)

    def to_pandas(self) -> Any:
        """Return the table as a pandas.DataFrame, by way of pyarrow.

        Raises:
            MissingExtra: The extra `data` is not installed.
            ModuleNotFoundError: pandas is not installed.
        """
        return self.to_arrow().to_pandas()

    def write(self, path: str) -> None:
        """Write the table to a file that ends in .parquet (extra `data`), .csv or .json.

        Raises:
            MissingExtra: The name ends in .parquet, and the extra `data` is not installed.
            ValueError: The name has another end, or the file cannot be written.
        """
        write_columns(str(path), self.rows(), self._numeric)

    @property
    def _numeric(self) -> list[str]:
        """Names of the columns of floats."""
        return [name for name in self.columns if name not in (*_COUNTS, *_WORDS)]

    def __str__(self) -> str:
        """Return the main columns of the first rows, and the mean cost by source."""
        names = ("episode", "regime", "slice", "shares", "participation", "mid", "fill_price", "remaining")
        formats = {"shares": ",.0f", "remaining": ",.0f", "participation": ".4f", "mid": ".4f", "fill_price": ".4f"}
        paid = sum(self.columns[f"{name}_bps"] for name in COSTS if name != "risk")
        cells = [
            [*(format(self.columns[name][row], formats.get(name, "")) for name in names), f"{paid[row]:.3f}"]
            for row in range(min(len(self), _SHOWN))
        ]
        more = [f"... {len(self) - _SHOWN:,} more rows"] if len(self) > _SHOWN else []
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.components_bps.items())
        table = text_table((*names, "shortfall_bps"), cells)
        return "\n".join([table, *more, "", f"mean of an episode, bps of arrival notional: {means}"])


def trace_of(episodes: Iterable[tuple[int, str, Episode]]) -> Trace:
    """Return the trace of some episodes, given as (number, date, episode), of their slices so far."""
    parts = [_columns(number, date, episode) for number, date, episode in episodes]

    def joined(name: str) -> Any:
        values = [part[name] for part in parts]
        return list(chain(*values)) if name in _WORDS else np.concatenate(values)

    return Trace({name: joined(name) for name in parts[0]})


def _columns(number: int, date: str, episode: Episode) -> dict[str, Any]:
    """Return the columns of one episode."""
    count, market, side, world = episode.k, episode.task.market, episode.side, episode.world
    before = _stacked(State, episode.states[:count])
    remaining = np.array([state.remaining for state in episode.states[1:]])
    slices, cost = _stacked(Slice, episode.slices[:count]), _stacked(Cost, episode.costs)
    shares, price = before.remaining - remaining, world.price[:count]
    charged = _charged(episode, cost, slices)
    with np.errstate(invalid="ignore", divide="ignore"):
        fill = price + side * np.where(shares > 0.0, paid_cost(cost) / shares, np.nan)
    names = market.scenario.regimes.names
    return {
        "episode": np.full(count, number),
        "date": [date] * count,
        "slice": np.arange(count),
        "start_minutes": np.arange(count) * (market.tau * market.scenario.day_minutes),
        "regime": [names[regime] for regime in world.regime[:count]],
        "side": np.full(count, int(side)),
        "shares": shares,
        "remaining": remaining,
        "market_volume": slices.volume,
        "participation": shares / slices.volume,
        "mid": mid_price(before, price, side),
        "price": price,
        "fill_price": fill,
        "permanent_displacement": before.permanent,
        "transient_displacement": before.transient,
        **{f"{name}_cost": charged[name] for name in COSTS},
        **{f"{name}_bps": -episode.scale * charged[name] for name in COSTS},
    }


def _stacked(kind: Any, records: Iterable[Any]) -> Any:
    """Return records of floats as one record of arrays."""
    return kind(*np.array([*records], dtype=np.float64).reshape(-1, len(kind._fields)).T)


def _charged(episode: Episode, cost: Any, slices: Any) -> dict[str, Floats]:
    """Return the cost of each slice by source, currency, as the account of the episode states it.

    At the end of an episode with unfilled shares, the moves of the price that were charged on them are opportunity cost
    (Perold 1988), and the last slice has the mark of our own displacement on them.
    """
    charged = {name: getattr(cost, name) for name in Cost._fields}
    missed = np.zeros(len(cost.drift))
    left = episode.state.remaining if episode.over else 0.0
    if left > 0.0:
        charged["drift"] = charged["drift"] - left * slices.drift
        charged["timing"] = charged["timing"] - left * slices.innovation
        missed = left * (slices.drift + slices.innovation)
        missed[-1] += close(episode.market.impact, episode.state, episode.quantity)[0]
    return {name: charged.get(name, missed) for name in COSTS}
