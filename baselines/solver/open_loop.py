"""The best fixed schedule: the optimal open-loop policy, which is set before the order starts and ignores observations.

Without a participation cap a fixed schedule is a vector of trades, and its expected cost is a convex function of the trades:
the cost of each slice averaged over the distribution of its mode, plus the cost of the displacement by earlier trades, whose
decay is averaged over regime paths. The cost is minimised by Newton steps with a logarithmic barrier (Boyd and Vandenberghe
2004, chapter 11).

With a cap a fixed schedule is a vector of fractions of the remaining shares, so that shares above the cap are carried forward.
Its cost is computed by dynamic programming.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Slice, expected_cost, move

from .dynamic import Grid, evaluate_fractions
from .problem import Problem, mode_slices

__all__ = ["OpenLoop", "best_fractions", "best_schedule", "build_open_loop", "schedule_cost"]

Floats = NDArray[np.float64]

_STEP: Final = 1e-4  # relative step of finite differences
_NEWTON_STEPS: Final = 200


class OpenLoop(NamedTuple):
    """Averages over modes that determine the cost of a fixed schedule."""

    problem: Problem
    slices: Slice
    """All slices in each mode, fields of shape (slices, modes, 1)."""
    laws: Floats
    """Distribution of the mode in each slice, shape (slices, modes, 1)."""
    decay: Floats
    """Expected fraction of the displacement by a trade in slice j that is left in slice k, shape (j, k); zero for k <= j."""


def build_open_loop(problem: Problem) -> OpenLoop:
    """Compute the averages over modes for the fixed schedules of a problem."""
    market = problem.market
    decay_by_regime, count = market.transient_decay, market.slices
    laws = problem.laws()
    decay = np.zeros((count, count))
    for j, law in enumerate(laws):
        left = law.sum(axis=1)
        for k in range(j + 1, count):
            left = (left * decay_by_regime) @ problem.transition
            decay[j, k] = left.sum()
    by_slice = [mode_slices(problem, k) for k in range(count)]
    fields = (np.array([values.ravel() for values in column])[..., None] for column in zip(*by_slice, strict=True))
    slices = Slice(*fields)
    lowered = [math.exp(-0.5 * (1.0 + market.impact.beta) * deviation**2) for deviation in problem.deviations.tolist()]
    slices = slices._replace(volume=slices.volume * np.array(lowered)[:, None, None], limit=math.inf)
    return OpenLoop(problem, slices, np.array(laws).reshape(count, -1, 1), decay)


def _slice_costs(loop: OpenLoop, before: Floats, trades: Floats) -> Floats:
    """Return the expected cost of each slice without the displacement by earlier trades, shape (slices, candidates)."""
    state = (before[:, None, :], 0.0, 0.0)
    _, cost = move(loop.problem.market.impact, state, loop.slices._replace(least=-math.inf), trades[:, None, :])
    return np.asarray((loop.laws * expected_cost(cost)).sum(axis=1))


def schedule_cost(loop: OpenLoop, trades: Any) -> Floats:
    """Return the expected objective of fixed schedules, currency, shape () or (candidates,).

    Args:
        loop: Averages over modes.
        trades: Shares of each slice, shape (slices,) or (slices, candidates); each column sums to the quantity.
    """
    trades = np.asarray(trades, dtype=float)
    columns = trades.reshape(len(trades), -1)
    before = _remaining_before(columns)
    displaced = loop.decay.T @ (loop.problem.market.impact.transient_slope * columns)
    cost = _slice_costs(loop, before, columns).sum(axis=0) + (columns * displaced).sum(axis=0)
    return np.asarray(cost.reshape(trades.shape[1:]))


def _remaining_before(trades: Floats) -> Floats:
    """Return the remaining shares before each trade of completed schedules, in the shape of `trades`."""
    return np.cumsum(trades[::-1], axis=0)[::-1]


def _gradient(loop: OpenLoop, trades: Floats) -> Floats:
    """Return the gradient of the cost in the trades, in the shape of `trades`.

    The gradient is exact up to an additive constant, which has no effect because the trades sum to the quantity.
    """
    slope, before = loop.problem.market.impact.transient_slope, _remaining_before(trades)

    def difference(before_step: Floats, trade_step: Floats, width: Floats) -> Floats:
        above, below = (_slice_costs(loop, before + sign * before_step, trades + sign * trade_step) for sign in (1.0, -1.0))
        return (above - below) / (2.0 * width)

    width = _STEP * trades
    own = difference(width, width, width)  # at constant shares after the trade
    held = before - trades
    held[-1] = 1.0  # no shares are left after the last slice; its slope is not used
    holding = difference(_STEP * held, np.zeros_like(held), _STEP * held)
    waiting = np.cumsum(holding, axis=0)  # a share traded in slice k is held over slices 0..k-1
    waiting = np.concatenate([np.zeros((1, trades.shape[1])), waiting[:-1]])
    return np.asarray(own + waiting + slope * ((loop.decay + loop.decay.T) @ trades))


def best_schedule(*loops: OpenLoop) -> tuple[Floats, float]:
    """Return the best fixed schedule without a cap as trades, shape (slices,), and its objective, currency.

    Args:
        loops: Averages over modes, of one market or of equally likely markets for the same order, such as the draws of a
            posterior: the objective is then the mean over the markets.
    """
    market = loops[0].problem.market
    count, quantity = market.slices, market.scenario.quantity
    trades = np.full(count, quantity / count)
    barrier = 0.1 * abs(_mean_cost(loops, trades)) / count
    steps = 0
    while barrier > 1e-9 * abs(_mean_cost(loops, trades)) / count and steps < _NEWTON_STEPS:
        trades, length = _newton(loops, trades, barrier)
        steps += 1
        if length < 1e-2:
            barrier *= 0.2
    return trades, _mean_cost(loops, trades)


def _mean_cost(loops: Sequence[OpenLoop], trades: Floats) -> float:
    """Return the expected objective of one fixed schedule, currency, averaged over markets."""
    return sum(float(schedule_cost(loop, trades)) for loop in loops) / len(loops)


def _newton(loops: Sequence[OpenLoop], trades: Floats, barrier: float) -> tuple[Floats, float]:
    """Return the trades after one Newton step on cost - barrier * sum(log(trades)), and the largest relative step."""
    count = len(trades)
    width = 1e-3 * trades
    candidates = np.concatenate([trades[:, None] + np.diag(width), trades[:, None] - np.diag(width), trades[:, None]], axis=1)
    slopes = np.mean([_gradient(loop, candidates) for loop in loops], axis=0)
    hessian = (slopes[:, :count] - slopes[:, count : 2 * count]) / (2.0 * width)
    hessian = 0.5 * (hessian + hessian.T) + np.diag(barrier / trades**2)
    gradient = slopes[:, -1] - barrier / trades
    system = np.block([[hessian, np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
    step = np.linalg.lstsq(system, np.append(-gradient, 0.0), rcond=None)[0][:count]
    falling = step < 0.0
    length = min(1.0, 0.9 * float(np.min(-trades[falling] / step[falling]))) if falling.any() else 1.0

    def merit(candidate: Floats) -> float:
        return _mean_cost(loops, candidate) - barrier * float(np.log(candidate).sum())

    start = merit(trades)
    while length > 1e-8 and merit(trades + length * step) > start + 1e-14 * abs(start):
        length *= 0.5
    return trades + length * step, float(np.abs(length * step / trades).max())


def best_fractions(
    problem: Problem, starts: list[Floats], grid: Grid, progress: Callable[[], None] = lambda: None
) -> tuple[Floats, float]:
    """Search the best fractions of the remaining shares; return them, shape (slices,), and their objective, currency.

    The coordinate search moves one fraction after the other by shrinking steps (Hooke and Jeeves 1961).

    Args:
        problem: The decision problem.
        starts: Candidate starting points, each of shape (slices,); the search begins at the best one.
        grid: Grid of the dynamic programme that computes the objective.
        progress: Called before each evaluation of the objective.
    """
    law = problem.regime_law[:, None] * problem.signal_law

    def cost(fractions: Floats) -> float:
        progress()
        return float((law * evaluate_fractions(problem, fractions, grid)).sum())

    best, lowest = min(((start, cost(start)) for start in starts), key=lambda pair: pair[1])
    step = 0.2
    while step > 0.01:
        before = lowest
        for k in np.flatnonzero(np.isfinite(problem.market.least)):
            for change in (step, -step):
                candidate = best.copy()
                candidate[k] = np.clip(candidate[k] + change, 0.0, 1.0)
                if candidate[k] != best[k] and (reached := cost(candidate)) < lowest:
                    best, lowest = candidate, reached
                    break
        if before - lowest < 1e-5 * abs(lowest):
            step *= 0.5
    return best, lowest
