r"""The optimum where the temporary impact is one of two values that our own fills tell apart: dual control, solved exactly.

Impact is linear, the market else known and without noise: n_k shares of slice k cost f a_k n_k^2, with f = 1 - s or 1 + s, and
their slippage shows f a_k n_k with an error of standard deviation e_k. The log-odds l of the higher f are the belief, and

.. math:: J_k(x, l) = \min_n \left\{ E[f \mid l] a_k n^2 + r_k (x - n)^2 + E[J_{k+1}(x - n, l')] \right\}

with l' - l normal given f, of mean +-d^2 / 2 and standard deviation d = 2 s a_k n / e_k: a larger trade tells more. J / x^2 is
interpolated by a cubic spline in the square root of the remaining fraction and in l; the line search is a golden section,
because the worth of what a trade tells need not be convex.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.belief import learn_odds
from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.tables import Market
from hyperexec_env.market.unknown import SLIPPAGE

from .dynamic import Table
from .problem import Problem, build_problem, mode_slices
from .spline import Axis, surfaces

__all__ = ["TwoPoints", "solve_recursion", "solve_two_points"]

Floats = NDArray[np.float64]

_NODES: Final = (17, 65)
"""Nodes of the remaining shares and of the log-odds; half of them for the error."""
_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_GOLDEN: Final = 0.5 * (math.sqrt(5.0) - 1.0)
_SECTIONS: Final = 22
_SMALLEST: Final = 1e-3
"""Square root of the remaining fraction in place of zero, at which a trade tells nothing."""
_FLAT: Final = Axis(0.0, 0.0, 1)


class TwoPoints(NamedTuple):
    """The numbers of a market; arrays have shape (slices,)."""

    spread: float
    """s, fraction of the mean temporary impact."""
    quantity: float
    """X, shares."""
    slope: Floats
    """a_k at the mean, currency per squared share."""
    risk: Floats
    """r_k, currency per squared remaining share."""
    error: Floats
    """e_k, currency per share."""


def solve_recursion(numbers: TwoPoints, odds: Axis, nodes: int) -> tuple[Floats, Floats]:
    """Return the optimum by log-odds, currency, and the optimal fractions, shape (slices, log-odds, remaining).

    Args:
        numbers: The numbers of the market.
        odds: Grid of the log-odds, symmetric around 0.
        nodes: Nodes of the square root of the remaining fraction.
    """
    roots = Axis(0.0, 1.0, nodes, flat=True)
    root, belief = np.maximum(roots.nodes, _SMALLEST), odds.nodes[:, None]
    high = 1.0 / (1.0 + np.exp(-belief))
    mean = 1.0 + numbers.spread * (2.0 * high - 1.0)
    later = np.broadcast_to(mean * numbers.slope[-1], (odds.count, nodes))
    fractions = np.ones((len(numbers.slope), odds.count, nodes))
    for k in range(len(numbers.slope) - 2, -1, -1):
        surface, own, risk = surfaces(odds, roots, later[None]), numbers.slope[k], numbers.risk[k]
        unit = numbers.quantity * root * root * (own / numbers.error[k])

        def cost(part: Floats) -> Floats:
            """Return the cost of the fraction `part` of the remaining shares over their square."""
            told, following = 0.0, np.sqrt(1.0 - part) * root
            for factor, likely in ((1.0 - numbers.spread, 1.0 - high), (1.0 + numbers.spread, high)):
                shown = factor * (part * unit)[..., None] + _POINTS  # noqa: B023
                ends = 1.0 - numbers.spread, 1.0 + numbers.spread
                after = learn_odds(belief[..., None], shown, 1.0, *ends, (part * unit)[..., None])  # noqa: B023
                where = np.clip(after, odds.low, odds.high)
                value = surface.at(0, where, np.broadcast_to(following[..., None], where.shape))[0]  # noqa: B023
                told = told + likely * (value @ _WEIGHTS) / _WEIGHTS.sum()
            return np.asarray(mean * own * part * part + (risk + told) * (1.0 - part) ** 2)  # noqa: B023

        fractions[k] = _lowest(cost, later.shape)
        later = cost(fractions[k])
    return later[:, -1] * numbers.quantity**2, fractions


def _lowest(cost: Callable[[Floats], Floats], shape: tuple[int, ...]) -> Floats:
    """Return the minima of a function between 0 and 1, elementwise, by golden sections."""
    low, high = np.zeros(shape), np.ones(shape)
    left, right = high - _GOLDEN, low + _GOLDEN
    at_left, at_right = cost(left), cost(right)
    for _ in range(_SECTIONS):
        better = at_left < at_right
        low, high = np.where(better, low, left), np.where(better, right, high)
        new = np.where(better, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        at_new = cost(new)
        left, right = np.where(better, new, right), np.where(better, left, new)
        at_left, at_right = np.where(better, at_new, at_right), np.where(better, at_left, at_new)
    return 0.5 * (low + high)


def solve_two_points(market: Market) -> tuple[float, float, Problem, Table]:
    """Return the optimum of a market whose temporary impact alone is unknown.

    Returns:
        The optimum in currency, its relative difference to the optimum on half of the nodes, the decision problem, and the
        optimal policy as a table.
    """
    problem, count = build_problem(market, _NODES[1]), _NODES[0]
    numbers, spread = _numbers(problem), market.scenario.quantity * float(market.half_spread[0])
    coarse, _ = solve_recursion(numbers, problem.axis._replace(count=_NODES[1] // 2 + 1), count // 2 + 1)
    values, fractions = solve_recursion(numbers, problem.axis, count)
    value, other = float(values[len(values) // 2]) + spread, float(coarse[len(coarse) // 2]) + spread
    traded = fractions.astype(np.float32)[:, None, :, :, None]
    return (
        value,
        abs(value - other) / value,
        problem,
        Table(values[None] + spread, traded, Axis(0.0, 1.0, count, flat=True), _FLAT),
    )


def _numbers(problem: Problem) -> TwoPoints:
    """Return the numbers of the recursion of a market."""
    market = problem.market
    slices = [Slice(*(values[0, len(values[0]) // 2] for values in mode_slices(problem, k))) for k in range(market.slices)]
    return TwoPoints(
        spread=market.scenario.temp_impact_sd,
        quantity=market.scenario.quantity,
        slope=np.array([slice.temporary_scale / slice.volume for slice in slices]),
        risk=np.array([slice.risk for slice in slices]),
        error=market.numbers.arrival_price * market.step_volatility[:, 0] * SLIPPAGE,
    )
