"""Pre-trade cost of a list: the distribution of its shortfall by algorithm, and the cost of each order by source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_integer, check_seed
from hyperexec_env.envs.basket_task import total_statement
from hyperexec_env.evaluation.basket_rollout import BATCH, roll_assets
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.execution.basket_order import BASKET_ALGORITHMS, BasketOrder, market_of
from hyperexec_env.execution.basket_program import best_schedule, build_program
from hyperexec_env.execution.basket_state import seconds_of
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.market.basket_path import BasketMarket, build_basket, draw_basket_path
from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario, get_basket
from hyperexec_env.market.kernel import Components
from hyperexec_env.market.noise import episode_keys

from .basket_policies import Plan, basket_policy

__all__ = ["BasketEstimate", "BasketEstimates", "estimate_basket"]

Floats = NDArray[np.float64]

LEVELS: Final = (0.05, 0.5, 0.95)
"""Levels of the quantiles."""
_PLANS: Final[dict[str, Callable[[], Policy]]] = {
    "TWAP": lambda: basket_policy("TWAP"),
    "VWAP": lambda: basket_policy("VWAP"),
    "IS": lambda: Plan("IS", _best),
}
"""Fixed schedule of each algorithm of a list."""


def _best(market: BasketMarket) -> Floats:
    return best_schedule(build_program(market)).shares


@dataclass(frozen=True)
class BasketEstimate:
    """Estimated cost of a list with one algorithm, bps of the arrival notional of all orders."""

    algorithm: str
    mean_bps: float
    """Expected implementation shortfall."""
    error_bps: float
    """Standard error of the mean, whose episodes have no price noise; 0 where nothing else is random."""
    sd_bps: float
    """Standard deviation of the shortfall."""
    quantiles_bps: dict[float, float]
    """Shortfall by level."""
    objective_bps: float
    """Objective J: without the permanent cost that no schedule changes, with the risk term."""
    assets_bps: dict[str, dict[str, float]]
    """Expected shortfall of each asset by source; all of them sum to `mean_bps`."""

    @property
    def components_bps(self) -> dict[str, float]:
        """Expected shortfall of the list by source."""
        return {name: sum(parts[name] for parts in self.assets_bps.values()) for name in Components._fields}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        quantiles = {f"{level:g}": value for level, value in self.quantiles_bps.items()}
        return {**vars(self), "quantiles_bps": quantiles, "components_bps": self.components_bps}


@dataclass(frozen=True)
class BasketEstimates:
    """Estimated cost of a list by algorithm; ``print`` shows it as text."""

    scenario: BasketScenario
    rows: tuple[BasketEstimate, ...]
    episodes: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "notional": self.scenario.notional,
            "rows": [row.to_dict() for row in self.rows],
            "episodes": self.episodes,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        """Return a table of the algorithms, and one of the assets: by algorithm, or by source if there is one algorithm."""
        basket = self.scenario
        header = ["", "algorithm", "mean", "95 % interval", "sd", "5 %", "50 %", "95 %", "objective", "currency"]
        lines = [
            f"{basket.name} ({basket.hash}), {len(basket.assets)} orders of {basket.notional:,.0f}: implementation shortfall, "
            "bps of the arrival notional",
            "",
            text_table(header, [_cells(row, basket.notional) for row in self.rows]),
            "",
            text_table(*(self._sources() if len(self.rows) == 1 else self._assets())),
            "",
            f"{self.episodes:,} episodes of seed {self.seed}; every algorithm is planned before the day",
            f"cross_impact {basket.cross_impact:g}: {basket.provenance.get('cross_impact', 'an assumption')}",
        ]
        return "\n".join(lines)

    def _assets(self) -> tuple[list[str], list[list[str]]]:
        """Return the table of the mean shortfall of each asset by algorithm."""
        cells = []
        for asset in self.scenario.assets:
            means = (sum(row.assets_bps[asset.name].values()) for row in self.rows)
            cells.append(["buy" if asset.side > 0 else "sell", asset.name, *(f"{mean:.3f}" for mean in means)])
        total = ["", "list", *(f"{row.mean_bps:.3f}" for row in self.rows)]
        return ["side", "asset", *(row.algorithm for row in self.rows)], [*cells, total]

    def _sources(self) -> tuple[list[str], list[list[str]]]:
        """Return the table of the mean shortfall of each asset by source, of one algorithm."""
        (row,) = self.rows
        whole = row.components_bps
        names = [name for name in Components._fields if abs(whole[name]) >= 5e-4 or name == "spread"]
        listed = [(asset.name, asset.side, row.assets_bps[asset.name]) for asset in self.scenario.assets]
        cells = [
            ["buy" if side > 0 else "sell", name, *(f"{parts[key]:.3f}" for key in names), f"{sum(parts.values()):.3f}"]
            for name, side, parts in listed
        ]
        return ["side", "asset", *names, "shortfall"], [
            *cells,
            ["", "list", *(f"{whole[key]:.3f}" for key in names), f"{row.mean_bps:.3f}"],
        ]


def _cells(row: BasketEstimate, notional: float) -> list[str]:
    """Return the table line of one algorithm."""
    low, high = row.mean_bps - 1.96 * row.error_bps, row.mean_bps + 1.96 * row.error_bps
    interval = f"{low:.2f} to {high:.2f}" if row.error_bps > 0.0 else "exact"
    numbers = (row.sd_bps, *row.quantiles_bps.values(), row.objective_bps)
    currency = f"{1e-4 * row.mean_bps * notional:,.0f}"
    return ["", row.algorithm, f"{row.mean_bps:.2f}", interval, *(f"{value:.2f}" for value in numbers), currency]


def estimate_basket(
    basket: BasketLike | BasketOrder,
    *,
    algorithms: str | Sequence[str] = "all",
    episodes: int = 10_000,
    seed: int = 0,
    config: ExecutionConfig | None = None,
    now: float = 0.0,
) -> BasketEstimates:
    """Estimate the cost of a list before it trades, for several algorithms on the same episodes.

    Args:
        basket: A list of orders, or a basket: a name, a dict, a path or a record. The market of a list is that of `config`,
            with ADV and volatility of every order.
        algorithms: "TWAP", "VWAP", "IS" (the best fixed schedule), several of them, or "all".
        episodes: Number of simulated episodes.
        seed: Seed of the episodes.
        config: Impact and number of intervals of a list of orders.
        now: Time at which a list of orders begins, seconds on the agent's clock.

    Raises:
        ValueError: A value is out of range, an algorithm is unknown, an order lacks an ADV or a volatility, or its deadline is
            over.
    """
    count, seed = check_integer("episodes", episodes, low=2, high=10_000_000), check_seed(seed)
    words = (algorithms,) if isinstance(algorithms, str) else tuple(algorithms)
    by_word = {name.lower(): name for name in _PLANS}
    names = [name for word in words for name in (_PLANS if word == "all" else [by_word.get(str(word).lower(), word)])]
    for name in names:
        check_choice("algorithm", name, BASKET_ALGORITHMS)
    scenario = _market(basket, config or ExecutionConfig(), now) if isinstance(basket, BasketOrder) else get_basket(basket)
    market = build_basket(scenario)
    rows = tuple(_estimate(market, name, count, seed) for name in dict.fromkeys(names))
    return BasketEstimates(scenario, rows, count, seed)


def _market(order: BasketOrder, config: ExecutionConfig, now: float) -> BasketScenario:
    """Return the market of a list of orders that begins at a time."""
    seconds = seconds_of(order, config, now)
    if not seconds > 0.0:
        raise ValueError(f"deadline must be later than now ({now:g}), got {order.orders[0].deadline}")
    return market_of(order, config, seconds)


def _estimate(market: BasketMarket, algorithm: str, episodes: int, seed: int) -> BasketEstimate:
    """Return the estimate of one algorithm, in batches that bound the memory."""
    policy, names = _PLANS[algorithm](), market.scenario.symbols
    shortfall, timing, objective = np.empty(episodes), np.empty(episodes), np.empty(episodes)
    parts = {name: dict.fromkeys(Components._fields, 0.0) for name in names}
    for first in range(0, episodes, BATCH):
        keys = episode_keys(seed, np.arange(first, min(first + BATCH, episodes)))
        settled = roll_assets(market, policy, draw_basket_path(market, keys))
        at, statement = slice(first, first + len(keys)), total_statement([one.statement for one in settled])
        shortfall[at], timing[at], objective[at] = statement.shortfall, statement.components.timing, statement.objective
        for name, one in zip(names, settled, strict=True):
            for key, values in one.statement.components._asdict().items():
                parts[name][key] += float(np.broadcast_to(values, keys.shape).sum()) / episodes * (key != "timing")
    expected = shortfall - timing
    spread = float(expected.std(ddof=1))
    return BasketEstimate(
        algorithm=algorithm,
        mean_bps=float(expected.mean()),
        error_bps=spread / episodes**0.5 if spread > 1e-9 * abs(float(expected.mean())) else 0.0,
        sd_bps=float(shortfall.std(ddof=1)),
        quantiles_bps=dict(zip(LEVELS, np.quantile(shortfall, LEVELS).tolist(), strict=True)),
        objective_bps=float(objective.mean()),
        assets_bps=parts,
    )
