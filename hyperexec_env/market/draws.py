"""Markets of the draws of a posterior: an episode meets one of them, which a hash of its key chooses.

The records and stages here stand beside those of :mod:`~hyperexec_env.market.lane`: the numbers of a market differ from lane to
lane, so that a stage takes the numbers of the draw (:data:`Drawn`) and the tables of all draws stand one after another. The
order, the arrival price and all other fields that are not measured are those of the scenario.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.lane import EpisodeOrder, Lane, next_slice, slice_cell
from hyperexec_env.market.noise import Words
from hyperexec_env.market.path import Draws, Path, World, draw_number, draw_path
from hyperexec_env.market.posterior import draws_of
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, MarketSpec, Numbers, SliceRow, market_of
from hyperexec_env.records import Whole, fields_of, maker, map_leaves, record_type

__all__ = [
    "Choice",
    "Drawn",
    "MarketDraws",
    "build_draws",
    "draw_cell",
    "drawn_cell",
    "drawn_numbers",
    "next_drawn_slice",
]

Drawn: Any = record_type("Drawn", ("beta", *(name for name, kind in fields_of(Numbers) if kind == "float64")))
"""The real numbers of a market, which differ between draws, and the exponent of its temporary impact."""
_with_beta = maker(MarketSpec, MarketSpec, ("beta",))
_with_drawn = maker(Numbers, Drawn, tuple(name for name in Numbers._fields if name not in Drawn._fields))


class Choice(NamedTuple):
    """The numbers by which an episode finds its draw."""

    draws: Whole
    """Number of draws."""
    cells: Whole
    """Rows of the tables of one draw."""


def drawn_numbers(numbers: Numbers, drawn: Drawn) -> Numbers:
    """Return the numbers of the market of a draw, given those of the point estimate."""
    made: Numbers = _with_drawn(drawn, _with_beta(numbers.spec, drawn.beta), numbers.slices, numbers.width)
    return made


def draw_cell(choice: Choice, order: EpisodeOrder) -> int:
    """Return the draw that an episode meets."""
    number: int = draw_number(choice.draws, order.key)
    return number


def drawn_cell(numbers: Numbers, choice: Choice, order: EpisodeOrder, lane: Lane) -> int:
    """Return the cell of slice `lane.k` and its regime in the tables of all draws."""
    cell: int = draw_number(choice.draws, order.key) * choice.cells + slice_cell(numbers, lane)
    return cell


def next_drawn_slice(
    numbers: Numbers, drawn: Drawn, order: EpisodeOrder, lane: Lane, row: SliceRow, draws: Draws
) -> tuple[Slice, World]:
    """Return slice `lane.k` in the market of the draw, and the market at the start of the next slice."""
    return next_slice(drawn_numbers(numbers, drawn), order, lane, row, draws)


@dataclass(frozen=True, eq=False)
class MarketDraws:
    """The markets of all draws of a posterior, computed once by :func:`build_draws`."""

    markets: tuple[Market, ...]
    choice: Choice
    drawn: Drawn
    """The numbers of all draws, each field of shape (draws,)."""
    table: SliceRow
    """The tables of all draws one after another, each field of shape (draws cells,)."""

    def numbers_of(self, numbers: Numbers, keys: Words) -> Numbers:
        """Return the numbers of the markets that episodes meet, given those of the point estimate; fields are arrays."""
        chosen = draw_number(self.choice.draws, keys)
        return drawn_numbers(numbers, map_leaves(lambda column: column[chosen], self.drawn))

    def path(self, keys: Words, side: Any) -> Path:
        """Return the paths of some episodes, each in the market of its draw; arguments as in :func:`draw_path`."""
        chosen, sides = draw_number(self.choice.draws, keys), np.broadcast_to(side, keys.shape)
        groups = [np.flatnonzero(chosen == number) for number in range(len(self.markets))]
        parts = [
            draw_path(market, keys[group], sides[group])
            for market, group in zip(self.markets, groups, strict=True)
            if len(group)
        ]
        place = np.argsort(np.concatenate(groups))

        def join(*columns: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate(columns, axis=1)[:, place]

        slices, worlds = (map_leaves(join, *(part[at] for part in parts)) for at in (0, 1))
        return Path(slices, worlds, keys)


@lru_cache(maxsize=4)
def _build(text: str) -> MarketDraws:
    """Return the markets of the draws of a scenario as TOML."""
    markets = tuple(map(market_of, draws_of(Scenario.from_toml(text))))
    numbers = [market.numbers for market in markets]
    columns = {name: [getattr(each, name) for each in numbers] for name in Drawn._fields if name != "beta"}
    beta = np.array([each.spec.beta for each in numbers])
    drawn = Drawn(beta, *(np.array(columns[name]) for name in Drawn._fields if name != "beta"))
    table = map_leaves(lambda *parts: np.concatenate(parts), *(market.table for market in markets))
    first = markets[0]
    return MarketDraws(markets, Choice(len(markets), (first.slices + 1) * (first.regimes + 1)), drawn, table)


def build_draws(scenario: Scenario) -> MarketDraws:
    """Return the markets of the draws of a scenario; those of the last four scenarios are cached.

    Raises:
        ValueError: The scenario has no posterior, a transient exponent that is not 1, an unknown drift, temporary impact or
            lambda, or persistent volume.
    """
    if scenario.transient_exponent != 1.0:
        raise ValueError(f"transient_exponent must be 1 where a market is uncertain, got {scenario.transient_exponent:g}")
    for name in ("drift_sd", "temp_impact_sd", "kyle_sd"):
        if getattr(scenario, name):
            raise ValueError(f"{name} must be 0 where a market is uncertain, got {getattr(scenario, name):g}")
    if scenario.volume_persistence:  # the observed ratio of the last volume to its expectation would tell the ADV of the draw
        raise ValueError(f"volume_persistence must be 0 where a market is uncertain, got {scenario.volume_persistence:g}")
    return _build(scenario.text)
