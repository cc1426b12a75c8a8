"""Solve a basket: the method that is exact for it, J* or the bracket around it, and the reference objectives."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.execution.basket_program import (
    Best,
    Program,
    best_schedule,
    best_two_sided,
    build_program,
    risk_cost,
    schedule_cost,
)
from hyperexec_env.market.basket_path import BasketMarket, build_basket
from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario, get_basket
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path

from .basket_riccati import clipped, is_linear, solve_riccati

__all__ = ["BasketSolution", "basket_schedule_bps", "solve_basket", "unsolved_basket"]

Floats = NDArray[np.float64]

_CLAIRVOYANT: Final = 40
"""Regime paths of which a lower bound is the mean."""
_ROUGH: Final = 1e-4
"""Relative error of the program on one of these paths; the bound allows for it."""
_DIFFER: Final = 1e-6
"""Relative difference above which the optimum of trades in both directions is printed."""


@dataclass(frozen=True, eq=False)
class BasketSolution:
    """Optimum of a basket and reference objectives, in bps of the arrival notional of all orders.

    If the basket is not solved exactly, J* lies between `lower_bps` and `upper_bps`, and `optimum_bps` is None.
    """

    scenario: BasketScenario
    method: str
    """"convex program", "Riccati", or "bracket" where the basket is not solved exactly."""
    reason: str
    """Reason why the basket is not solved exactly; empty if it is solved."""
    by_regime: dict[str, float]
    """J* by the regime of the first slice; empty if not solved."""
    optimum_bps: float | None
    """J* of orders that trade one side only, for the distribution of the first regime."""
    lower_bps: float
    """Lower bound on J*: the certificate of the program, the recursion with trades of both signs, or the mean optimum of a
    trader who knows the path of the regimes."""
    upper_bps: float | None
    """Upper bound on J*: the objective of a policy that exists; None if unknown."""
    two_sided_bps: float | None
    """Optimum of orders that may trade both ways."""
    open_loop_bps: float | None
    """Objective of the best fixed schedule."""
    twap_bps: float
    """Objective of TWAP."""
    risk_share: float | None
    """Share of the objective of the optimum, or of the best fixed schedule, that is risk."""
    clipped: float
    """Share of the optimal trades of both signs that the limits of a one-sided order cut off."""
    seconds: float
    """Time to solve the basket, seconds."""
    schedule: Floats = field(repr=False)
    """Best fixed schedule, fraction of each order by slice, shape (slices, assets)."""
    gains: Floats = field(repr=False)
    """Coefficients of the best trades in (remaining fractions, displacements over arrival prices, 1), shape (slices, regimes,
    assets, 2 assets + 1); empty unless the method is "Riccati"."""

    @property
    def relative_error(self) -> float | None:
        """Largest relative error of J*; None if not solved."""
        if self.optimum_bps is None or self.upper_bps is None:
            return None
        return (self.upper_bps - self.lower_bps) / abs(self.optimum_bps) if self.optimum_bps else 0.0

    @property
    def reference(self) -> Optimum:
        """Reference values for a board; without the optimal policy, which the caller adds."""
        solved = self.optimum_bps is not None
        return Optimum(
            optimum_bps=self.optimum_bps,
            bound_bps=None if solved else self.lower_bps,
            upper_bps=None if solved else self.upper_bps,
            open_loop_bps=self.open_loop_bps,
            twap_bps=self.twap_bps if self.uncapped else None,
            relative_error=self.relative_error,
        )

    @property
    def uncapped(self) -> bool:
        """Whether fixed schedules trade as planned: no participation cap holds shares back."""
        return all(asset.max_participation is None for asset in self.scenario.assets)

    @property
    def accuracy(self) -> str:
        """Describe the method and the error of J*."""
        return f"{self.method}, relative error at most {self.relative_error:.1e}"

    @property
    def bounds(self) -> str:
        """Describe why there is no exact optimum, and the bounds on J*."""
        text = f"not solved exactly: {self.reason}. J* is at least {self.lower_bps:.4f} bps"
        return (
            text if self.upper_bps is None else f"{text} (regimes told) and at most {self.upper_bps:.4f} bps (fixed schedule)"
        )

    def __str__(self) -> str:
        """Return J*, the reference objectives and the share of risk as text."""
        basket, best = self.scenario, self.optimum_bps
        title = f"{basket.name} ({basket.hash}), {len(basket.assets)} assets: "
        lines = [self._table(), ""]
        if len(self.by_regime) > 1:
            starts = [["", name, f"{value:.4f}"] for name, value in self.by_regime.items()]
            lines += [text_table(["", "order that starts in", "J* [bps]"], starts), ""]
        lines.append(f"{title}{self.bounds if best is None else self.accuracy}, {self.seconds:.1f} s.")
        if self.two_sided_bps is not None and best is not None and best - self.two_sided_bps > _DIFFER * abs(best):
            saved = 100.0 * (1.0 - self.two_sided_bps / best)
            lines.append(
                f"Orders that may trade both ways: {self.two_sided_bps:.4f} bps, {saved:.2f} % cheaper. Gaps are to the "
                "optimum of one-sided orders."
            )
        if self.clipped > 0.0:
            lines.append(
                f"The recursion allows trades of both signs: {100.0 * self.clipped:.2f} % of them would leave the order. "
                f"J* may be higher by the cost of limiting them, at most {100.0 * (self.relative_error or 0.0):.3f} %."
            )
        if self.risk_share is not None:
            lines.append(f"Risk is {100.0 * self.risk_share:.1f} % of the objective.")
        lines.append("Bps of the arrival notional; the permanent cost X'Gam X / 2, which no schedule changes, is left out.")
        lines.append(f"cross_impact {basket.cross_impact:g}: {basket.provenance.get('cross_impact', 'an assumption')}.")
        return "\n".join(lines)

    def _table(self) -> str:
        """Return the table of objectives."""
        best = self.optimum_bps
        known = [("TWAP", self.twap_bps), ("best fixed schedule", self.open_loop_bps), ("optimum J*", best)]
        if best is None:
            known = [*known[:2], ("lower bound", self.lower_bps)]
        scale = self.lower_bps if best is None else best
        cells = [
            ["", name, f"{value:.4f}", f"{100.0 * (value - scale) / abs(scale):.2f}" if scale else "-"]
            for name, value in known
            if value is not None
        ]
        return text_table(["", "objective J", "bps", "% above the last"], cells)

    def to_dict(self) -> dict[str, Any]:
        """Return the solution as plain values for JSON."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "assets": list(self.scenario.symbols),
            "method": self.method,
            "reason": self.reason,
            "optimum_bps": {**self.by_regime, "start": self.optimum_bps},
            "lower_bps": self.lower_bps,
            "upper_bps": self.upper_bps,
            "two_sided_bps": self.two_sided_bps,
            "open_loop_bps": self.open_loop_bps,
            "twap_bps": self.twap_bps,
            "relative_error": self.relative_error,
            "risk_share": self.risk_share,
            "clipped": self.clipped,
            "seconds": self.seconds,
            "schedule": self.schedule.tolist(),
        }


def unsolved_basket(market: BasketMarket) -> str:
    """Return why a basket is not solved exactly; empty if it is."""
    if any(each.numbers.spec.capped for each in market.markets):
        return "max_participation couples the trades to the volume of each slice"
    if market.regimes > 1 and not is_linear(market):
        return (
            "several regimes and temp_impact_beta other than 1: the value depends on the remaining shares and displacements of "
            "all assets at once"
        )
    return ""


def solve_basket(basket: BasketLike, *, cached: bool = True) -> BasketSolution:
    """Solve a basket.

    Args:
        basket: A name, a dict, a path or a basket; a scenario of one asset is a basket of one.
        cached: Whether to return the solution that this process found before.
    """
    found = get_basket(basket)
    return _solve_cached(found.text, found.hash) if cached else _solve(found)


@lru_cache(maxsize=16)
def _solve_cached(
    text: str, basket_hash: str
) -> BasketSolution:  # the text is the key; the hash names the basket in tracebacks
    return _solve(BasketScenario.from_toml(text))


def basket_schedule_bps(basket: BasketLike, schedule: Any) -> float:
    """Compute the expected objective of a fixed schedule without simulation, bps of the arrival notional of all orders.

    Args:
        basket: A basket without a participation cap.
        schedule: Fraction of each order that each slice trades, shape (slices, assets).

    Raises:
        ValueError: The schedule has another shape, is negative, or a column does not sum to 1.
    """
    found = get_basket(basket)
    shares = np.asarray(schedule, dtype=float)
    shape = found.slices, len(found.assets)
    if shares.shape != shape or not np.isfinite(shares).all() or (shares < 0.0).any():
        raise ValueError(f"schedule must be non-negative fractions of the shape {shape} (slices, assets), got {shares.shape}")
    if np.abs(shares.sum(axis=0) - 1.0).max() > 1e-9:
        raise ValueError(f"schedule must sum to 1 for each asset, got the sums {shares.sum(axis=0).tolist()}")
    return 1e4 * schedule_cost(build_program(build_basket(found)), shares) / found.notional


def _solve(basket: BasketScenario) -> BasketSolution:
    """Solve a basket by its exact method, or bracket its optimum if there is none."""
    start, market = time.perf_counter(), build_basket(basket)
    program, bps, reason = build_program(market), 1e4 / basket.notional, unsolved_basket(market)
    best = best_schedule(program)
    even = np.full(program.shape, 1.0 / market.slices)
    known: dict[str, Any] = {
        "scenario": basket,
        "method": "bracket",
        "reason": reason,
        "by_regime": {},
        "optimum_bps": None,
        "two_sided_bps": None,
        "open_loop_bps": best.cost * bps,
        "twap_bps": schedule_cost(program, even) * bps,
        "risk_share": risk_cost(program, best.shares) / best.cost if best.cost else 0.0,
        "clipped": 0.0,
        "schedule": best.shares,
        "gains": np.empty(0),
    }
    found = _exact(market, program, best) if not reason else _bracket(market, best)
    return BasketSolution(**{**known, **found, "seconds": time.perf_counter() - start})


def _exact(market: BasketMarket, program: Program, best: Best) -> dict[str, Any]:
    """Return the fields of the solution of a basket that is solved exactly."""
    basket, bps = market.scenario, 1e4 / market.scenario.notional
    if market.regimes == 1:
        return {
            "method": "convex program",
            "by_regime": {basket.regimes.names[0]: best.cost * bps},
            "optimum_bps": best.cost * bps,
            "lower_bps": best.bound * bps,
            "upper_bps": best.cost * bps,
            "two_sided_bps": min(best_two_sided(program).cost, best.cost) * bps,
        }
    solution = solve_riccati(market)
    limited = clipped(market, solution)
    values = solution.values * bps
    value = float(values @ basket.regimes.start_law())
    upper = value + (limited.excess + 2.0 * limited.error) * bps
    return {
        "method": "Riccati",
        "by_regime": dict(zip(basket.regimes.names, map(float, values), strict=True)),
        "optimum_bps": value,
        "lower_bps": value,
        "upper_bps": upper,
        "two_sided_bps": value,
        "risk_share": limited.risk * bps / value,
        "clipped": limited.share,
        "gains": solution.gains,
    }


def _bracket(market: BasketMarket, best: Best) -> dict[str, Any]:
    """Return bounds on J* of a basket that is not solved exactly.

    Upper: the best fixed schedule, which exists without a cap. Lower: the mean over regime paths of the optimum of a trader
    who knows the path, less two standard errors; a cap can only raise it.
    """
    bps, count = 1e4 / market.scenario.notional, _CLAIRVOYANT if market.regimes > 1 else 1
    regimes = draw_path(market.markets[0], episode_keys(0, np.arange(count)), 1.0).world.regime[:-1]
    bounds = np.array([best_schedule(build_program(market, path), _ROUGH).bound for path in regimes.T]) * bps
    error = float(bounds.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    capped = any(each.numbers.spec.capped for each in market.markets)
    return {
        "lower_bps": float(bounds.mean()) - 2.0 * error,
        "upper_bps": None if capped else best.cost * bps,
        "open_loop_bps": None if capped else best.cost * bps,
    }
