r"""Dynamic programming with a hidden regime, on a grid of beliefs.

The belief q_k, the probabilities of the regime of slice k given everything before it, is a Markov chain that trades do not move
(:mod:`hyperexec_env.market.hidden`). The chain is quantised (Pham, Runggaldier and Sellami 2005): its points are the means of
clusters of simulated beliefs, and the belief after a slice, which a Gauss-Hermite rule draws in each regime, is a mixture of
the points nearest to it. On the grid

.. math:: J_k(x, d, q) = \min_{0 \le n \le x} \sum_m q_m E\left[ c_k(x, d, m, n) + J_{k+1}(x', d', q') \mid m \right]

where d is the mean displacement given everything before slice k. The grid errs in the belief, in d and in the interpolation, so
that J of the grid is no bound; the policy may be judged in the market, and :mod:`.dual` bounds J* from below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.rule import Rule
from hyperexec_env.market.belief import move_regimes, weigh_regimes
from hyperexec_env.market.hidden import follow_regimes, regime_evidence, unfiltered
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.tables import Market
from hyperexec_env.progress import progress

from .dynamic import Grid, Stage, Table, backward_induction, best_root, blind_stage
from .policies import TablePolicy
from .problem import Problem, build_problem, unsolved
from .spline import Axis, interpolation

__all__ = ["HiddenPlan", "near", "outcomes", "plan_hidden", "solve_hidden", "unplanned"]

Floats = NDArray[np.float64]

_POINTS, _NEIGHBOURS, _EPISODES, _ROUNDS = 250, 4, 1_500, 10
"""Beliefs of the grid, those of a mixture, simulated episodes whose beliefs are clustered, and rounds of the clustering."""
_SEED = 2_005
_HERMITE = (7, 5, 7)
"""Points of the rule in the three numbers that a slice tells: the volume, the order flow and the news."""
_GRID = Grid(31, 11, 1)


@dataclass(frozen=True, eq=False)
class HiddenPlan:
    """A solution on a grid of beliefs."""

    problem: Problem = field(repr=False)
    points: Floats
    """Probabilities of the regime of the coming slice, shape (points, regimes); the first is the law of the start."""
    weights: Floats
    """Share of the simulated beliefs that each point is nearest to, positive, shape (points,)."""
    table: Table = field(repr=False)
    values: tuple[Floats, ...] = field(repr=False)
    """Value function at the start of slices 1 to N - 1, currency, each of shape (points, remaining, transient)."""

    @property
    def rule(self) -> Rule:
        """Rule of the table, for situations whose `seen` is the number of a point and whose `transient` is its mean."""
        return TablePolicy(self.problem, self.table)._rule


def near(points: Floats, beliefs: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the numbers of the points nearest to some beliefs, and their weights by inverse squared distance.

    Args:
        points: The points, shape (points, regimes).
        beliefs: The beliefs, shape (beliefs, regimes).

    Returns:
        Two arrays of shape (beliefs, neighbours).
    """
    squares, count = _squares(points, beliefs), min(_NEIGHBOURS, len(points))
    cells = np.argpartition(squares, count - 1, axis=1)[:, :count]
    weights = 1.0 / np.maximum(np.take_along_axis(squares, cells, axis=1), 1e-12)
    return cells, weights / weights.sum(axis=1, keepdims=True)


def _squares(points: Floats, beliefs: Floats) -> Floats:
    """Return the squared distances of beliefs from points, shape (beliefs, points)."""
    return np.asarray((beliefs**2).sum(axis=1)[:, None] - 2.0 * beliefs @ points.T + (points**2).sum(axis=1))


def outcomes(market: Market, k: int, regime: int, points: tuple[int, int, int] = _HERMITE) -> tuple[Floats, Floats]:
    """Return what slice `k` may tell if its regime is `regime`, by a Gauss-Hermite rule.

    Args:
        market: The market, with an arithmetic price and independent flows.
        k: Slice.
        regime: Regime of the slice.
        points: Points of the rule in the shock of the volume, the order flow and the news.

    Returns:
        Log-likelihood of each outcome in all regimes, shape (outcomes, regimes), and the weights of the outcomes, which add up
        to one.
    """
    numbers, rules = market.numbers, [np.polynomial.hermite_e.hermegauss(count) for count in points]
    shock, flow, news = (values.ravel() for values in np.meshgrid(*(nodes for nodes, _ in rules), indexing="ij"))
    deviation, step = numbers.volume_noise, float(market.step_volatility[k, regime])
    volume = market.mean_volume[k, regime] * np.exp(deviation * shock - 0.5 * deviation**2)
    before = np.full(shock.shape, numbers.arrival_price)
    price = before * (1.0 + market.step_drift[regime] + step * (numbers.by_flow * flow + numbers.by_news * news))
    weight = np.einsum("i,j,k->ijk", *(weights for _, weights in rules)).ravel()
    return regime_evidence(market, k, volume, before, price, flow), weight / weight.sum()


def unplanned(market: Market) -> str:
    """Return the reason why a market is not solved on a grid of beliefs; the empty string if it is."""
    reason = unsolved(market) or unfiltered(market)
    if not reason and market.numbers.spec.capped:
        reason = "the participation cap ties the traded shares to the volume, which tells the regime"
    if not reason and (market.numbers.spec.geometric or build_problem(market).modes[1] > 1):
        reason = "the grid of beliefs supports an arithmetic price and no persistent flow"
    if not reason and not market.numbers.spec.complete:
        reason = "the grid of beliefs supports orders that are completed"
    return reason


@lru_cache(maxsize=8)
def plan_hidden(market: Market) -> HiddenPlan:
    """Return the plan of a market on a grid of simulated beliefs.

    Raises:
        ValueError: The market has a cap, a signal, unknowns or a part that is not solved.
    """
    reason = unplanned(market)
    if reason:
        raise ValueError(f"a grid of beliefs cannot solve {market.scenario.name}: {reason}")
    path = draw_path(market, episode_keys(_SEED, np.arange(_EPISODES)), 1.0)
    simulated = follow_regimes(market, path)[0].reshape(-1, market.regimes)
    law, distinct = market.scenario.regimes.start_law()[None], np.unique(simulated.round(9), axis=0)
    points = np.concatenate([law, _cluster(simulated, min(_POINTS, len(distinct)))])
    counts = np.bincount(_squares(points, simulated).argmin(axis=1), minlength=len(points)) + 1.0
    return solve_hidden(market, points, counts / counts.sum())


def _cluster(values: Floats, count: int) -> Floats:
    """Return the means of clusters of values, shape (count, ...), by Lloyd's rounds from values at equal distances."""
    means = values[np.linspace(0, len(values) - 1, count).astype(int)].copy()
    for _ in range(_ROUNDS):
        nearest = _squares(means, values).argmin(axis=1)
        sizes = np.bincount(nearest, minlength=count)[:, None]
        sums = np.stack([np.bincount(nearest, column, count) for column in values.T], axis=1)
        means = np.where(sizes > 0, sums / np.maximum(sizes, 1), means)
    return np.asarray(means)


def solve_hidden(market: Market, points: Floats, weights: Floats, grid: Grid = _GRID) -> HiddenPlan:
    """Return the plan of a market on a grid of beliefs; :class:`HiddenPlan` has the shapes of `points` and `weights`."""
    problem, values = build_problem(market), list[Floats]()
    forced, steps = np.isinf(market.least), _steps(market, points)

    def build_stage(problem: Problem, axes: tuple[Axis, Axis], k: int, next_values: Floats) -> Stage:
        after = next_values[:, 0]
        if k == market.slices - 1:  # what is left has the same value whatever is believed
            after = np.broadcast_to(after[:1], (len(points), *after.shape[1:]))
        else:
            values.append(after)
        mean = np.zeros(after.shape)
        for regime, decay in enumerate(market.transient_decay):
            decayed = after @ interpolation(axes[1], decay * axes[1].nodes).T
            mean += points[:, regime, None, None] * np.tensordot(steps[k][regime], decayed, 1)
        return blind_stage(problem, axes, k, mean, points)

    with progress(market.slices, f"solve {market.scenario.name} on beliefs") as advance:
        table = backward_induction(
            problem, grid, build_stage, lambda k, stage: best_root(stage, bool(forced[k])), lambda: advance(1)
        )
    return HiddenPlan(problem, points, weights, table, tuple(reversed(values)))


def _steps(market: Market, points: Floats) -> list[Floats]:
    """Return the weights of the next points given the regime and the point of each slice, shape (regimes, points, points)."""
    distinct, first, which = np.unique(market.step_volatility, axis=0, return_index=True, return_inverse=True)
    found = [_step(market, int(k), points) for k in first[: len(distinct)]]  # the curve of the volume cancels
    return [found[at] for at in which.ravel()]


def _step(market: Market, k: int, points: Floats) -> Floats:
    """Return the weights of the next points given the regime and the point of slice `k`."""
    transition = market.scenario.regimes.transition(market.tau)
    step = np.zeros((market.regimes, len(points), len(points)))
    for regime in range(market.regimes):
        evidence, odds = outcomes(market, k, regime)
        for number in np.flatnonzero(points[:, regime] > 0.0):
            cells, weights = near(points, move_regimes(weigh_regimes(points[number], evidence), transition))
            step[regime, number] = np.bincount(cells.ravel(), (weights * odds[:, None]).ravel(), len(points))
    return step
