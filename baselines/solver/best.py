"""The minimal objective of a market that is solved exactly, by the method that fits it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.tables import Market

from .dynamic import FINE, Grid
from .learning import is_separable, solve_separable
from .linear import Riccati, keeps_one_side
from .objectives import bps_of, schedule_objective, solve_to_tolerance, solve_two_sided
from .policies import LinearPolicy, TablePolicy, table_policy
from .problem import build_problem
from .two_points import solve_two_points

__all__ = ["Best", "best_of", "even_bps", "within"]

Floats = NDArray[np.float64]

_EXACT: Final = 1e-9
"""Relative rounding error of an objective that is computed without a grid."""


class Best(NamedTuple):
    """The minimal objective of a market that is solved exactly."""

    method: str
    """Method, see :attr:`Solution.method`."""
    values: Floats
    """J* by the regime of the first slice, bps, shape (regimes,)."""
    value: float
    """J* for the scenario's distribution of the first regime, bps."""
    error: float
    """Relative error of J*."""
    policy: TablePolicy | LinearPolicy
    """Optimal policy."""
    grid: Grid
    """Grid on which the references are computed."""
    two_sided: Riccati | None
    """Optimum of an order that may trade both ways, if the market is linear."""


def best_of(market: Market, tick: Callable[[], None] = lambda: None) -> Best:
    """Compute the minimal objective of a market for which :func:`unsolved` gives no reason, by its exact method.

    Args:
        market: The market.
        tick: Called after each step, to report progress.
    """
    two_sided = solve_two_sided(market)
    policy: TablePolicy | LinearPolicy
    grid = FINE
    if two_sided is not None and keeps_one_side(two_sided):
        method, error = "Riccati", 0.0
        values, policy = 1e4 * two_sided.values, LinearPolicy(two_sided.gains, two_sided.by_flow)
    elif market.numbers.spec.unknown_slope:
        method = "dynamic programming on the log-odds"
        best, error, problem, table = solve_two_points(market)
        values, policy = np.array([best * bps_of(market)]), table_policy(problem, table)
    elif is_separable(market):
        method = "recursion in the belief"
        best, error, problem, table = solve_separable(market)
        values, policy = np.array([best * bps_of(market)]), table_policy(problem, table)
    else:
        method = "dynamic programming"
        values, error, problem, table, grid = solve_to_tolerance(market, tick)
        policy = table_policy(problem, table)
        if two_sided is not None:
            values = within(values, 1e4 * two_sided.values, math.inf, error)
    value = float(values @ market.scenario.regimes.start_law())
    return Best(method, values, value, error, policy, grid, two_sided)


def even_bps(market: Market, best: Best) -> float:
    """Return the objective of TWAP in a market whose minimal objective is known, bps."""
    problem = build_problem(market, best.grid.signal, learn=False)
    even = 1.0 / np.arange(market.slices, 0, -1)
    return float(within(schedule_objective(problem, even) * bps_of(market), best.value, math.inf, best.error))


def within(value: Any, low: Any, high: Any, error: float) -> Floats:
    """Clip values to bounds that hold in theory where they violate a bound by at most their relative error.

    A larger violation is a fault of the solver and stays visible.
    """
    clipped = np.clip(value, low, high)
    return np.asarray(np.where(np.abs(clipped - value) <= max(error, _EXACT) * np.abs(value), clipped, value))
