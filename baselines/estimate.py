"""Pre-trade cost of an order in a scenario: the distribution of the shortfall by algorithm, and a closed-form estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hyperexec_env.checks import check_choice
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.execution.algorithms import algorithm_names, check_algorithm
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.estimates import CostEstimate, MarketImpactEstimate, estimate_impact, estimate_schedule
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.orders import MAX_VOLATILITY, ParentOrder, check_lot_size, shares_of

__all__ = ["SIDES", "Estimates", "estimate", "impact_in"]

SIDES: Final = {"buy": 1, "sell": -1}


@dataclass(frozen=True)
class Estimates:
    """Estimated cost of an order in the market of a scenario, by algorithm."""

    scenario: Scenario
    parent: ParentOrder
    impact: MarketImpactEstimate | None
    """Closed-form impact at a steady pace; None where the scenario has no volatility."""
    schedules: tuple[CostEstimate, ...]
    """One estimate per algorithm."""
    episodes: int
    """Number of episodes of each simulated estimate."""
    seed: int
    """Seed of the episodes."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "side": self.parent.side,
            "quantity": self.parent.quantity,
            "arrival_price": self.parent.arrival_price,
            "impact": None if self.impact is None else self.impact.to_dict(),
            "rows": [row.to_dict() for row in self.schedules],
            "episodes": self.episodes,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        """Return a table with one line per algorithm, followed by the closed-form estimate."""
        parent, scenario = self.parent, self.scenario
        action = "buy" if parent.side > 0 else "sell"
        lines = [
            f"{action} {parent.quantity:,} at {parent.arrival_price:,g} in {scenario.name} ({scenario.hash}): "
            "implementation shortfall, bps of the arrival notional",
            "",
            text_table(
                ["", "algorithm", "mean", "95 % interval", "sd", "5 %", "50 %", "95 %", "objective", "currency"],
                [_cells(row) for row in self.schedules],
            ),
            "",
            *dict.fromkeys(row.method for row in self.schedules),
            "every algorithm is planned before the day: POV on the expected volume, Adaptive for an unknown regime",
        ]
        if self.impact is not None:
            lines += ["", f"simple estimate, steady pace, without the spread: {self.impact}"]
        return "\n".join(lines)


def _cells(row: CostEstimate) -> list[str]:
    """Return the table line of one algorithm."""
    low, high = row.interval
    interval = f"{low:.2f} to {high:.2f}" if row.error_bps else "exact"
    quantiles = (row.quantile(level) for level in (0.05, 0.5, 0.95))
    numbers = (f"{value:.2f}" for value in (row.sd_bps, *quantiles, row.objective_bps))
    return ["", row.algorithm, f"{row.mean_bps:.2f}", interval, *numbers, f"{row.cost:,.0f}"]


def impact_in(scenario: ScenarioLike, parent: ParentOrder) -> MarketImpactEstimate | None:
    """Estimate the impact of an order that trades steadily over the horizon of a scenario, at mean volume and volatility.

    Return None where the scenario has no volatility, because the model measures impact in units of volatility, or a mean
    volatility above the largest one of an order.
    """
    scenario = get_scenario(scenario)
    market = build_market(scenario)
    volatility = scenario.volatility * float(market.volatility[market.unknown])
    if not 0.0 < volatility <= MAX_VOLATILITY:
        return None
    return estimate_impact(
        parent.quantity,
        parent.arrival_price,
        volatility,
        float(market.rest_volume[0, market.unknown]),
        scenario.adv,
        side=parent.side,
        lot_size=parent.lot_size,
        config=ExecutionConfig(
            kyle_lambda=scenario.kyle_lambda,
            temp_impact_alpha=scenario.temp_impact_alpha,
            temp_impact_beta=scenario.temp_impact_beta,
            perm_impact_gamma=scenario.perm_impact_gamma,
        ),
    )


def estimate(
    scenario: ScenarioLike,
    *,
    quantity: float | None = None,
    lot_size: float = 1,
    side: str | None = None,
    algorithms: str | Sequence[str] = "all",
    episodes: int = 10_000,
    seed: int = 0,
) -> Estimates:
    """Estimate the cost of an order in a scenario for several algorithms, all on the same episodes.

    Args:
        scenario: The market, and the default order.
        quantity: Shares, a whole number of lots; None: the quantity of the scenario, rounded.
        lot_size: Shares of a lot.
        side: "buy" or "sell"; None: the side of the scenario.
        algorithms: Names of algorithms, or "all".
        episodes: Number of episodes of each simulated estimate.
        seed: Seed of the episodes.

    Raises:
        ValueError: A value is out of range, or an algorithm is unknown.
    """
    scenario = get_scenario(scenario)
    words = (algorithms,) if isinstance(algorithms, str) else algorithms
    names = [name for word in words for name in (algorithm_names() if word == "all" else [_named(word)])]
    lot_size = check_lot_size(lot_size)
    parent = ParentOrder(
        symbol=scenario.name or "order",
        side=scenario.side if side is None else SIDES[check_choice("side", side, SIDES)],
        quantity=shares_of(max(1, round(scenario.quantity / lot_size)), lot_size) if quantity is None else quantity,
        lot_size=lot_size,
        arrival_price=scenario.arrival_price,
    )
    rows = tuple(
        estimate_schedule(parent, scenario, algorithm=name, episodes=episodes, seed=seed) for name in dict.fromkeys(names)
    )
    return Estimates(scenario, parent, impact_in(scenario, parent), rows, episodes, seed)


def _named(word: str) -> str:
    """Return the algorithm with a name (case-insensitive)."""
    return check_algorithm("algorithm", {name.lower(): name for name in algorithm_names()}.get(word.lower(), word))
