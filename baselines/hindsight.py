"""The best schedule in hindsight: the least cost of an order on a day whose prices and volumes are all known.

No policy can reach it, because a policy knows the past only: it is a bound. With the slices of the day known, the cost of the
trades n_0, ..., n_{N-1} >= 0 that sum to X is a deterministic convex function (:mod:`hyperexec_env.market.kernel`),

    C(n) = sum_k n_k (D_k + kappa n_k / 2) + temporary_k(n_k) + half_spread_k n_k + x_{k+1} move_k + risk_k x_{k+1}^2

where D_k = sum_{j<k} kappa n_j decay_j ... decay_{k-1}: an exponential kernel of positive type, a power 1 + beta > 1, and
linear terms. The Newton steps with a logarithmic barrier of :mod:`.solver.open_loop` minimise it, for one day in place of the
average over regimes. There are two bounds:

- of the objective J: `move_k` is the drift, which is predictable, and the risk is charged, so that only the volumes of the day
  (and the regimes shown) are used in hindsight;
- of the shortfall IS: `move_k` is the whole move of the unaffected price, and the risk is not charged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.path import Path
from hyperexec_env.market.tables import Market
from hyperexec_env.records import map_leaves

from .solver.open_loop import OpenLoop, best_schedule
from .solver.problem import Problem, build_problem

__all__ = ["Hindsight", "best_in_hindsight", "hindsight", "unbounded"]

Floats = NDArray[np.float64]


class Hindsight(NamedTuple):
    """The least costs of each episode, bps of the arrival notional, shape (episodes,)."""

    objective: Floats
    """Least objective J."""
    shortfall: Floats
    """Least implementation shortfall, permanent cost included."""


def unbounded(market: Market) -> str:
    """Return the reason why the best schedule in hindsight is not computed for a market; "" if it is."""
    spec = market.numbers.spec
    if spec.transient_exponent != 1.0:
        return "the transient impact is not linear, so that the cost of a schedule is not convex"
    if spec.hunted:
        return "the predator remembers the children, so that the cost of a schedule is not convex"
    if spec.capped:
        return "the participation cap bounds the shares of each slice"
    if not spec.complete:
        return "the order may stay unfilled"
    return ""


def hindsight(market: Market, path: Path) -> Hindsight:
    """Return the least costs of the scenario's order in each episode of a path.

    Raises:
        ValueError: The market has a cap, a predator, an order that may stay unfilled, or a transient impact that is not linear.
    """
    why = unbounded(market)
    if why:
        raise ValueError(f"the best schedule in hindsight is not computed: {why}")
    problem, scenario = build_problem(market), market.scenario
    bps = 1e4 / scenario.notional
    permanent = 0.5 * market.impact.permanent_slope * scenario.quantity**2
    found = []
    for episode in range(len(path.keys)):
        slices: Slice = map_leaves(lambda values: values[:, episode], path.slices)  # noqa: B023
        realised = slices._replace(drift=slices.drift + slices.innovation, risk=np.zeros(market.slices))
        costs = [best_in_hindsight(problem, each)[1] for each in (slices, realised)]
        found.append((costs[0] * bps, (costs[1] + permanent) * bps))
    return Hindsight(*np.array(found).T)


def best_in_hindsight(problem: Problem, slices: Slice) -> tuple[Floats, float]:
    """Return the best trades, shape (N,), for known slices, fields of shape (N,), and their cost without the permanent cost.

    The moves of the price that are charged are those of the field `drift`.
    """
    count = problem.market.slices
    columns = (np.broadcast_to(np.asarray(values, dtype=float), (count,))[:, None, None] for values in slices)
    trades, cost = best_schedule(OpenLoop(problem, Slice(*columns), np.ones((count, 1, 1)), _decay(slices.transient_decay)))
    return trades, cost


def _decay(kept: Any) -> Floats:
    """Return the fraction of the displacement by a trade in slice j that is left in slice k, shape (j, k); 0 for k <= j."""
    count = len(kept)
    decay = np.zeros((count, count))
    for j in range(count - 1):
        decay[j, j + 1 :] = np.cumprod(kept[j : count - 1])
    return decay
