r"""The exact optimum with a volume level where impact is linear and decays at once: a recursion in the belief.

With temporary impact linear in the trade (beta 1), no transient impact, one regime, no drift and no cap, the value function is
x^2 c_k(m), with x the remaining shares and m the belief about the level (:mod:`.belief`):

    A_k(m) = alpha sigma P0 E[1 / V_k | m]              cost of a trade over its square
    B_k(m) = risk + E[c_{k+1}(m') | m]                  cost of the remaining shares over their square
    c_k    = A_k B_k / (A_k + B_k)                      in the last slice A_k
    trade  = x B_k / (A_k + B_k)

log c is a cubic spline in m, and the expectation over the next belief is a Gauss-Hermite rule.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.tables import Market

from .belief import belief_variances, level_matters, memory_matters
from .dynamic import Table
from .problem import HERMITE, Problem, belief_modes, build_problem, mode_slices
from .spline import Axis, surfaces

__all__ = ["is_separable", "solve_separable"]

Floats = NDArray[np.float64]

_NODES: Final = 513
"""Nodes of the belief for the value; the relative error is of the order of 1e-11."""
_POLICY_NODES: Final = 65
"""Nodes of the belief for the policy, whose error has a second-order effect on the objective."""
_FLAT: Final = Axis(0.0, 0.0, 1)


def is_separable(market: Market) -> bool:
    """Return whether the market has a volume level, and its value function is the squared remaining shares times c_k(m)."""
    spec = market.numbers.spec
    return bool(
        level_matters(market)
        and spec.beta == spec.transient_exponent == 1.0
        and not (market.impact.transient_slope or spec.capped or spec.hunted or spec.price_risk)
        and not (spec.drifting or spec.unknown_drift or spec.unknown_slope)
        and not (spec.flow_persistence and market.numbers.by_flow)
        and not memory_matters(market)
        and spec.complete
        and market.regimes == 1
    )


def solve_separable(market: Market) -> tuple[float, float, Problem, Table]:
    """Return the optimum of a separable market (:func:`is_separable`).

    Returns:
        The optimum in currency, its relative difference to the optimum on half of the nodes, the decision problem, and the
        optimal policy as a table, which does not depend on the remaining shares.
    """
    value, coarse = (_solve(belief_modes(market, nodes))[0] for nodes in (_NODES, _NODES // 2 + 1))
    problem = build_problem(market, _POLICY_NODES)
    return value, abs(value - coarse) / value, problem, _solve(problem)[1]


def _solve(problem: Problem) -> tuple[float, Table]:
    """Return the optimum in currency and the table of the policy on the nodes of a decision problem."""
    market, axis, nodes = problem.market, problem.axis, len(problem.signal)
    scenario, variances = market.scenario, belief_variances(market)
    fractions = np.ones((market.slices, 1, nodes, 1, 1), dtype=np.float32)
    later: Floats = np.empty(0)
    for k in range(market.slices - 1, -1, -1):
        slice = mode_slices(problem, k)
        own = (slice.temporary_scale / (slice.volume * math.exp(-(problem.deviations[k] ** 2))))[0]
        if k == market.slices - 1:
            later = own
            continue
        held = slice.risk[0] + _expected(axis, later, math.sqrt(variances[k] - variances[k + 1]))
        fractions[k, 0, :, 0, 0] = held / (own + held)
        later = own * held / (own + held)
    values = scenario.quantity * (later * scenario.quantity + market.half_spread[0])
    value = scenario.quantity * (_at(axis, later, np.zeros(1))[0] * scenario.quantity + market.half_spread[0])
    return float(value), Table(values[None], fractions, _FLAT, _FLAT)


def _expected(axis: Axis, values: Floats, deviation: float) -> Floats:
    """Return the expectation of positive values on an axis after a normal step with mean zero, at each node of the axis."""
    points, weights = HERMITE
    return np.asarray(_at(axis, values, axis.nodes[:, None] + deviation * points) @ weights)


def _at(axis: Axis, values: Floats, points: Floats) -> Floats:
    """Return positive values on an axis at some points; the logarithms are interpolated, and extrapolated beyond the axis."""
    line = surfaces(axis, _FLAT, np.log(values)[None, :, None])
    return np.asarray(np.exp(line.at(0, points, np.zeros_like(points))[0]))
