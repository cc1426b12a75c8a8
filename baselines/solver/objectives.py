"""Objectives that the solver computes: J* by first regime, by the exact method or on a refined grid, and fixed schedules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.tables import Market

from .belief import level_matters, memory_matters, told_markets
from .dynamic import FINE, Grid, Table, evaluate_fractions, solve_informed
from .linear import Riccati, keeps_one_side, solve_linear
from .open_loop import best_fractions, best_schedule, build_open_loop, schedule_cost
from .problem import Problem, build_problem

__all__ = ["bps_of", "schedule_objective", "schedules", "solve_to_tolerance", "solve_two_sided", "told_bps"]

Floats = NDArray[np.float64]

_MAX_RELATIVE_ERROR: Final = 1e-4
"""Relative error of J* above which the grid is refined."""
_MAX_GRIDS: Final = 3
"""Number of grids to try, beside the coarser grid of the first error estimate."""
_ROUNDING: Final = 1e-12
"""Differences between two grids below this, bps, count as rounding."""
_DRIFT_GRID: Final = Grid(61, 31, 65)
"""First grid where the belief about the drift is the signal: shares are held back above a value of it, which bends J."""
_LEVEL_GRID: Final = Grid(31, 16, 21)
"""First grid where past volumes are a signal, or a problem is solved for each volume level that is told."""


def _no_progress() -> None:
    """Report no progress."""


def bps_of(market: Market) -> float:
    """Return the factor from currency to bps of the arrival notional."""
    return 1e4 / market.scenario.notional


def solve_two_sided(market: Market) -> Riccati | None:
    """Return the optimum of an order that may trade both ways; None if the market is not linear or has no unique optimum."""
    with contextlib.suppress(ValueError):
        return solve_linear(market)
    return None


def solve_to_tolerance(
    market: Market, tick: Callable[[], None] = _no_progress, learn: bool = True, grid: Grid | None = None
) -> tuple[Floats, float, Problem, Table, Grid]:
    """Refine the grid of the dynamic programme until the error is small enough.

    Args:
        market: The market.
        tick: Called after each slice of each grid, to report progress.
        learn: Whether the policy learns from past volumes (:func:`~hyperexec_env.baselines.solver.problem.build_problem`).
        grid: The first grid; None: a grid for the market.

    Returns:
        J* by first regime (bps), its relative error, the decision problem, the table and the grid.
    """
    law = market.scenario.regimes.start_law()
    first = _LEVEL_GRID if level_matters(market) or memory_matters(market) else FINE
    if learn and market.numbers.spec.unknown_drift:
        first = _LEVEL_GRID if market.impact.transient_slope else _DRIFT_GRID
    grid = grid or first

    def values(grid: Grid) -> tuple[Floats, Problem, Table]:
        problem = build_problem(market, grid.signal, learn)
        table = solve_informed(problem, grid, tick)
        return np.asarray(table.values @ problem.signal_law) * bps_of(market), problem, table

    coarse, *_ = values(grid.coarser())
    for attempt in range(_MAX_GRIDS):
        fine, problem, table = values(grid)
        scale = abs(float(fine @ law))
        difference = float(np.abs(fine - coarse).max())
        error = difference / max(scale, _ROUNDING) if difference > _ROUNDING else 0.0
        if error <= _MAX_RELATIVE_ERROR or attempt == _MAX_GRIDS - 1:
            break
        coarse, grid = fine, grid.finer()
    return fine, error, problem, table, grid


def told_bps(market: Market, tick: Callable[[], None] = _no_progress) -> float:
    """Return J* of a policy that is told the unknowns, minus its error, bps: a lower bound on J* of other policies.

    Args:
        market: The market.
        tick: Called after each of the markets in which the unknowns are told, to report progress.
    """
    total = 0.0
    for weight, told in told_markets(market):
        total += weight * _optimal_bps(told)
        tick()
    return total


def _optimal_bps(market: Market) -> float:
    """Return J* of a solvable market minus its error, bps: by Riccati recursions where they hold, else on a grid."""
    law, two_sided = market.scenario.regimes.start_law(), solve_two_sided(market)
    if two_sided is not None and keeps_one_side(two_sided):
        return float(1e4 * two_sided.values @ law)
    values, error, *_ = solve_to_tolerance(market, grid=_LEVEL_GRID)
    return float(values @ law) - error * abs(float(values @ law))


def schedules(problem: Problem, tick: Callable[[], None]) -> tuple[Floats, float, float]:
    """Return the best fixed schedule as fractions of the remaining shares, its objective and TWAP's objective, currency."""
    market = problem.market
    even = 1.0 / np.arange(market.slices, 0, -1)
    if market.numbers.spec.capped or not market.scenario.complete:
        search_grid = Grid(31, 16, 11)
        search_problem = build_problem(market, search_grid.signal, learn=False)
        starts = [even, np.ones(market.slices), np.zeros(market.slices)]
        fractions, _ = best_fractions(search_problem, starts, search_grid, tick)
    else:
        trades, _ = best_schedule(build_open_loop(problem))
        fractions = trades / np.cumsum(trades[::-1])[::-1]
    return fractions, schedule_objective(problem, fractions), schedule_objective(problem, even)


def schedule_objective(problem: Problem, fractions: Floats) -> float:
    """Return the expected objective of fractions of the remaining shares, currency.

    A volume level is a part of the volume noise of each slice, except with a cap: there the shares that trade in the slices of
    an episode depend on its level, over which the objective is averaged.
    """
    market = problem.market
    if market.numbers.spec.capped and market.numbers.spec.varying_level:
        nodes = len(problem.signal)
        told = told_markets(market)
        return sum(weight * schedule_objective(build_problem(one, nodes), fractions) for weight, one in told)
    if market.numbers.spec.capped or not market.scenario.complete:
        law = problem.regime_law[:, None] * problem.signal_law
        return float((law * evaluate_fractions(problem, fractions)).sum())
    traded = np.append(fractions[:-1], 1.0)
    left = np.concatenate([[1.0], np.cumprod(1.0 - traded)[:-1]])
    return float(schedule_cost(build_open_loop(problem), market.scenario.quantity * left * traded))
