r"""Dynamic programming on (remaining shares, transient displacement, mode) with continuous trades.

.. math:: J_k(x, d, m) = \min_{0 \le n \le x} E\left[ c_k(x, d, m, n) + J_{k+1}(x', d', m') \right]

:func:`hyperexec_env.market.kernel.move` computes the cost c and the state after the trade. J is interpolated by a cubic spline
in two coordinates: the square root of the remaining fraction, in which J is smooth for square-root temporary impact, and the
displacement as a fraction of the largest displacement that the traded shares can cause, so that every node is reachable. The
optimal trade is a root of the slope in n (Chandrupatla 1997); its tolerance has only a second-order effect on the value.

Without a participation cap the volume noise is averaged in closed form. With a cap the slice trades min(n, cap V), and the
volumes at which the cap binds are averaged by a Gauss-Legendre rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Slice, State, close, expected_cost, move
from hyperexec_env.market.predator import PredatorMemory, step_with_predator

from .problem import Problem, mean_slice, mode_slices
from .spline import Axis, Surfaces, interpolation, surfaces

__all__ = [
    *(
        "FINE",
        "HIGHEST_ROOT",
        "LOWEST_ROOT",
        "STEP",
        "Grid",
        "Stage",
        "Table",
        "backward_induction",
        "best_root",
        "blind_stage",
    ),
    *("evaluate_fractions", "find_roots", "informed_stage", "node_axes", "place", "prepend_zeros", "solve_delayed"),
    *("solve_informed", "terminal_values"),
]

Floats = NDArray[np.float64]


class Grid(NamedTuple):
    """Number of nodes of each coordinate."""

    remaining: int = 61
    transient: int = 31
    signal: int = 33

    def coarser(self) -> Grid:
        """Return a grid with two thirds of the nodes; the difference of the two solutions bounds the error of the finer one."""
        return Grid(*(1 + 2 * round((count - 1) / 3) for count in self))

    def finer(self) -> Grid:
        """Return a grid with one and a half times the nodes."""
        return Grid(*(1 + 3 * (count - 1) // 2 for count in self))


FINE: Final = Grid()

LOWEST_ROOT: Final = 1e-3  # square root of the smallest positive fraction of the remaining shares to trade
STEP: Final = 1e-4  # relative step of the central difference of the kernel's cost
HIGHEST_ROOT: Final = 1.0 / math.sqrt(1.0 + 2.0 * STEP)  # keeps the central difference within the remaining shares
_TOLERANCE: Final = 1e-5  # of the square root of the traded fraction; the error of the value is of second order in it
_ITERATIONS: Final = 40
_MIN_DEVIATION: Final = 1e-4  # smallest sd of the log volume with a cap; without noise the cost would have a kink
_TAIL: Final = 8.0
"""Range of a standard normal on either side, beyond which its probability is ignored."""
_GAUSS_LEGENDRE: Final = np.polynomial.legendre.leggauss(32)


class Table(NamedTuple):
    """Solution of the dynamic programme on a grid."""

    values: Floats
    """Value function at the start of the first slice for each mode, currency, shape (regimes, nodes)."""
    fractions: NDArray[np.float32]
    """Fraction of the remaining shares to trade, shape (slices, regimes, nodes, remaining, transient)."""
    remaining: Axis
    """Grid of the square root of the remaining fraction of the order."""
    transient: Axis
    """Grid of the transient displacement over its largest possible value kappa (X - x)."""


class Stage(NamedTuple):
    """Minimisation problem of one slice: J observed modes, each with I possible regimes, over R x T grid nodes.

    The grid nodes are states (remaining, transient) with a positive number of remaining shares.
    """

    problem: Problem
    slice: Slice
    """The slice in each mode and regime, fields of shape (J, I, 1, 1)."""
    weights: Floats
    """Probabilities of the possible regimes, shape (J, I, 1, 1)."""
    surface: NDArray[np.intp]
    """Index into `next_value` for each mode and regime, shape (J, I, 1, 1)."""
    next_value: Surfaces
    """Expected value function of the next slice."""
    capped: bool
    """Whether the slice has a participation cap."""
    deviation: float
    """Standard deviation of the log volume."""
    state: tuple[Floats, Floats, Floats]
    """Remaining, permanent and transient at the nodes, shapes (1, 1, R, 1), (1, 1, R, 1) and (1, 1, R, T)."""

    def continuation(self, after: Sequence[Any], slopes: bool = False) -> tuple[Floats, Floats, Floats]:
        """Return the value of a state after the trade and its derivatives in the remaining shares and in the displacement.

        Args:
            after: State (remaining, permanent, transient) after the trade.
            slopes: Whether to compute the derivatives.
        """
        root, share, largest = place(self.problem, after[0], after[2])
        u, v = np.broadcast_arrays(root, share)
        value, by_u, by_v = self.next_value.at(self.surface, u, v, slopes)
        if not slopes:
            return value, by_u, by_v
        market = self.problem.market
        by_transient = by_v / largest if market.impact.transient_slope else 0.0 * by_v
        by_root = by_u / (2.0 * market.scenario.quantity * np.maximum(root, 1e-9))
        return value, by_root + market.impact.transient_slope * share * by_transient, by_transient

    def charge(self, shares: Floats, volume: Floats) -> tuple[Floats, Sequence[Any]]:
        """Return the expected cost of trades in a slice with the given volume, and the state after them."""
        market = self.problem.market
        slice = self.slice._replace(volume=volume, limit=math.inf)
        liquidity = market.scenario.predator
        if liquidity < 0.0:  # best case: the liquidity anticipates every child order
            (after, cost), _ = step_with_predator(
                market.impact, self.state, slice, shares, PredatorMemory(shares, 1.0, 1.0, 1.0), liquidity
            )
        else:
            after, cost = move(market.impact, self.state, slice, shares)
        return expected_cost(cost), after

    def uncapped(self, shares: Floats) -> tuple[Any, Floats, Floats]:
        """Return averages over the volumes at which the cap does not bind.

        Returns:
            The probability that the cap does not bind, the volume at which the cost equals its average over these volumes, and
            the standard normal of the volume noise below which the cap binds.
        """
        beta, volume, deviation = self.problem.market.impact.beta, self.slice.volume, self.deviation
        if not self.capped:
            return 1.0, volume * math.exp(-0.5 * (1.0 + beta) * deviation**2), np.full(1, -math.inf)
        deviation = max(deviation, _MIN_DEVIATION)
        allowed = self.slice.limit
        edge = (np.log(np.maximum(shares, 1e-300) / allowed) + 0.5 * deviation**2) / deviation
        probability = np.maximum(_upper_tail(edge), 1e-250)  # positive, because the search needs the sign of the slope
        moment = math.exp(0.5 * beta * (1.0 + beta) * deviation**2) * _upper_tail(edge + beta * deviation)
        mean = np.where(probability > 1e-12, moment / probability, 1.0)
        at_edge = shares / np.maximum(allowed / volume, 1e-300)  # for tiny probabilities all volumes lie at the edge
        return probability, np.where(probability > 1e-12, volume * np.maximum(mean, 1e-300) ** (-1.0 / beta), at_edge), edge

    def slope(self, root: Floats) -> Floats:
        """Return the derivative of the expected value in the trade over volumes at which the cap does not bind.

        Args:
            root: Square root of the fraction of the remaining shares to trade, shape (J, 1, R, T).
        """
        shares = self.state[0] * root * root
        probability, volume, _ = self.uncapped(shares)
        width = STEP * shares
        above, _ = self.charge(shares + width, volume)
        below, _ = self.charge(shares - width, volume)
        _, after = self.charge(shares, volume)
        _, by_remaining, by_transient = self.continuation(after, slopes=True)
        displaced = self.problem.market.impact.transient_slope * self.slice.transient_decay
        total = (above - below) / (2.0 * width) - by_remaining + displaced * by_transient
        return np.asarray((self.weights * probability * total).sum(axis=1, keepdims=True))

    def value(self, shares: Floats) -> Floats:
        """Return the expected cost of trades plus the value of the next slice, currency, shape (J, R, T)."""
        probability, volume, edge = self.uncapped(shares)
        cost, after = self.charge(shares, volume)
        total = probability * (cost + self.continuation(after)[0])
        if self.capped:
            deviation = max(self.deviation, _MIN_DEVIATION)
            for point, weight in zip(*_GAUSS_LEGENDRE, strict=True):
                half = 0.5 * (np.clip(edge, -_TAIL, _TAIL) + _TAIL)
                normal = half * (1.0 + point) - _TAIL
                factor = np.exp(deviation * normal - 0.5 * deviation**2)
                traded = np.minimum(self.slice.limit * factor, shares)
                cost, after = self.charge(traded, self.slice.volume * factor)
                density = weight * half * np.exp(-0.5 * normal**2) / math.sqrt(2.0 * math.pi)
                total = total + density * (cost + self.continuation(after)[0])
        return np.asarray((self.weights * total).sum(axis=1))


_erfc = np.vectorize(math.erfc, otypes=[float])


def _upper_tail(value: Floats) -> Floats:
    """Return the probability that a standard normal exceeds a value."""
    return np.asarray(0.5 * _erfc(np.asarray(value) * math.sqrt(0.5)))


def place(problem: Problem, remaining: Any, transient: Any) -> tuple[Any, Any, Any]:
    """Return the grid coordinates of states and their largest possible displacement.

    Args:
        problem: The decision problem.
        remaining: Remaining shares.
        transient: Transient displacement, currency per share.

    Returns:
        Square root of the remaining fraction, displacement over its largest possible value, and that value, currency per share.
    """
    market = problem.market
    quantity = market.scenario.quantity
    left = np.maximum(remaining, 0.0)
    largest = np.maximum(market.impact.transient_slope * (quantity - left), 1e-12 * market.scenario.arrival_price)
    return np.sqrt(left / quantity), np.minimum(transient / largest, 1.0), largest


def node_axes(problem: Problem, grid: Grid) -> tuple[Axis, Axis]:
    displaced = problem.market.impact.transient_slope > 0.0
    return Axis(0.0, 1.0, grid.remaining, flat=True), Axis(0.0, float(displaced), grid.transient if displaced else 1)


def _node_states(problem: Problem, axes: tuple[Axis, Axis]) -> tuple[Floats, Floats, Floats]:
    """Return remaining, permanent and transient at the nodes with remaining shares; shapes as in :class:`Stage`."""
    market = problem.market
    remaining = market.scenario.quantity * (axes[0].nodes[1:, None] ** 2)[None, None]
    permanent = market.impact.permanent_slope * (market.scenario.quantity - remaining)
    largest = market.impact.transient_slope * (market.scenario.quantity - remaining)
    return remaining, permanent, largest * axes[1].nodes


def terminal_values(problem: Problem, axes: tuple[Axis, Axis]) -> Floats:
    """Return the terminal value in each mode, currency, shape (regimes, nodes, remaining, transient)."""
    market, (count, nodes) = problem.market, problem.modes
    remaining, permanent, transient = _node_states(problem, axes)
    _, marked = close(market.impact, State(remaining, permanent, transient), market.scenario.quantity)
    return np.broadcast_to(prepend_zeros(marked[0]), (count, nodes, axes[0].count, axes[1].count))


def prepend_zeros(values: Floats) -> Floats:
    """Prepend a row of zeros, the value at zero remaining shares, to values of shape (..., R, T)."""
    return np.concatenate([np.zeros((*values.shape[:-2], 1, values.shape[-1])), values], axis=-2)


def _column(values: NDArray[Any]) -> Any:
    """Add the two grid dimensions to values of shape (J, I)."""
    return values[..., None, None]


def informed_stage(problem: Problem, axes: tuple[Axis, Axis], k: int, next_values: Floats) -> Stage:
    """Return the stage of slice `k` for a policy that observes the mode.

    `next_values` is the value function of the next slice by its mode, shape (regimes, nodes, remaining, transient).
    """
    count, nodes = problem.modes
    expected = np.einsum("mn,nfut->mfut", problem.transition, next_values)
    expected = np.einsum("mfg,mgut->mfut", problem.signal_steps[k], expected).reshape(
        count * nodes, axes[0].count, axes[1].count
    )
    slice = Slice(*(_column(values.reshape(-1, 1)) for values in mode_slices(problem, k)))
    index = _column(np.arange(count * nodes)[:, None])
    capped = bool(np.isfinite(problem.market.cap[k]))
    one, states, deviation = np.ones((1, 1, 1, 1)), _node_states(problem, axes), float(problem.deviations[k])
    return Stage(problem, slice, one, index, surfaces(*axes, expected), capped, deviation, states)


def _delayed_stage(problem: Problem, axes: tuple[Axis, Axis], k: int, next_values: Floats, law: Floats) -> Stage:
    """Return the stage of slice `k` for a policy that observes the signal but not the regime of the slice.

    Args:
        problem: The decision problem.
        axes: Axes of the remaining shares and of the displacement.
        k: Slice.
        next_values: Value function of the next slice by the regime of slice `k`, which is observed by then, shape (regimes,
            nodes, remaining, transient).
        law: Probabilities of the regime of slice `k` in each observed case, shape (cases, regimes).
    """
    count, nodes = problem.modes
    slices, states, deviation = mode_slices(problem, k), _node_states(problem, axes), float(problem.deviations[k])
    expected = np.einsum("mfg,mgut->mfut", problem.signal_steps[k], next_values)
    shape = (axes[0].count, axes[1].count)
    if np.isfinite(problem.market.cap[k]):  # the volumes at which the cap binds depend on the regime: average after the trade
        cell = (np.arange(count)[:, None] * nodes + np.arange(nodes)).T  # (nodes, regimes)
        index = np.broadcast_to(cell, (len(law), nodes, count)).reshape(-1, count)
        weights = np.repeat(law, nodes, axis=0)
        slice = Slice(*(_column(values.ravel()[index]) for values in slices))
        next_value = surfaces(*axes, expected.reshape(count * nodes, *shape))
        return Stage(problem, slice, _column(weights), _column(index), next_value, True, deviation, states)
    decay = slices.transient_decay[:, 0]
    decayed = [
        values @ interpolation(axes[1], factor * axes[1].nodes).T for factor, values in zip(decay, expected, strict=True)
    ]
    mean = np.einsum("jm,mfut->jfut", law, np.array(decayed)).reshape(len(law) * nodes, *shape)
    return blind_stage(problem, axes, k, mean, law)


def blind_stage(problem: Problem, axes: tuple[Axis, Axis], k: int, next_value: Floats, law: Floats) -> Stage:
    """Return the stage of slice `k`, without a cap, for a policy that knows its regime by probabilities.

    Args:
        problem: The decision problem.
        axes: Axes of the remaining shares and of the displacement.
        k: Slice.
        next_value: Mean value of the next slice over regimes and beliefs, at the displacement before its decay, shape (cases *
            nodes, remaining, transient).
        law: Probabilities of the regime of slice `k` in each case, shape (cases, regimes).
    """
    means = mean_slice(mode_slices(problem, k), law, problem.market.impact.beta)
    slice = Slice(*(_column(values.reshape(-1, 1)) for values in means))
    one, states, deviation = np.ones((1, 1, 1, 1)), _node_states(problem, axes), float(problem.deviations[k])
    return Stage(
        problem, slice, one, _column(np.arange(len(next_value))[:, None]), surfaces(*axes, next_value), False, deviation, states
    )


def best_root(stage: Stage, forced: bool) -> Floats:
    """Return the square root of the optimal fraction of the remaining shares, shape (J, 1, R, T); 1 if `forced`."""
    modes = max(len(stage.slice.volume), len(stage.weights))
    shape = (modes, 1, stage.state[0].shape[2], stage.state[2].shape[3])
    if forced:
        return np.ones(shape)
    if stage.problem.market.scenario.predator < 0.0:
        return _grid_search(stage, shape)
    low, high = np.full(shape, LOWEST_ROOT), np.full(shape, HIGHEST_ROOT)
    at_low, at_high = stage.slope(low), stage.slope(high)
    found = find_roots(stage.slope, low, high, at_low, at_high)
    return np.where(at_low >= 0.0, 0.0, np.where(at_high <= 0.0, 1.0, found))


def find_roots(function: Callable[[Floats], Floats], low: Floats, high: Floats, at_low: Floats, at_high: Floats) -> Floats:
    """Return the roots of a function between `low` and `high`, elementwise (Chandrupatla 1997).

    Elements without a sign change between `low` and `high` are undefined; the caller replaces them.
    """
    a, b, fa, fb = high, low, at_high, at_low
    c, fc = b, fb
    t = np.full(low.shape, 0.5)
    for _ in range(_ITERATIONS):
        x = a + t * (b - a)
        fx = function(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc, b, fb = np.where(same, a, b), np.where(same, fa, fb), np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        width = np.abs(b - a)
        unconverged = (np.sign(fa) != np.sign(fb)) & (fa != 0.0) & (width > 2.0 * _TOLERANCE)
        if not unconverged.any():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            inverse = (phi * phi < xi) & ((1.0 - phi) * (1.0 - phi) < 1.0 - xi)
            quadratic = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        margin = np.minimum(_TOLERANCE / np.maximum(width, _TOLERANCE), 0.5)
        t = np.clip(np.where(inverse & np.isfinite(quadratic), quadratic, 0.5), margin, 1.0 - margin)
    return np.where(np.abs(fa) < np.abs(fb), a, b)


def _grid_search(stage: Stage, shape: tuple[int, ...], points: int = 41, rounds: int = 3) -> Floats:
    """Return the best roots of the traded fraction by successively finer grids, for costs with several local minima."""
    centre, reach = np.full(shape, 0.5), 0.5
    for _ in range(rounds):
        best, lowest = centre, np.full(shape, np.inf)
        for offset in np.linspace(-reach, reach, points):
            root = np.clip(centre + offset, 0.0, 1.0)
            value = stage.value(stage.state[0] * root * root)[:, None]
            best, lowest = np.where(value < lowest, root, best), np.minimum(value, lowest)
        centre, reach = best, 2.0 * reach / (points - 1)
    return centre


StageBuilder = Callable[[Problem, tuple[Axis, Axis], int, Floats], Stage]


def backward_induction(
    problem: Problem,
    grid: Grid,
    build_stage: StageBuilder,
    choose: Callable[[int, Stage], Floats],
    progress: Callable[[], None],
) -> Table:
    """Compute the table from the last slice to the first; `choose` returns the square roots of the fractions to trade."""
    axes = node_axes(problem, grid)
    values, nodes = terminal_values(problem, axes), problem.modes[1]
    fractions: list[NDArray[np.float32]] = []
    for k in range(problem.market.slices - 1, -1, -1):
        stage = build_stage(problem, axes, k, values)
        root = choose(k, stage)
        by_mode = prepend_zeros(stage.value(stage.state[0] * root * root))
        values = by_mode.reshape(-1, nodes, axes[0].count, axes[1].count)
        traded = np.broadcast_to(root * root, (len(by_mode), 1, axes[0].count - 1, axes[1].count))[:, 0].astype(np.float32)
        fractions.append(np.concatenate([traded[:, :1], traded], axis=1).reshape(values.shape))
        progress()
    shape = (max(len(part) for part in fractions), *fractions[0].shape[1:])
    table = np.array([np.broadcast_to(part, shape) for part in reversed(fractions)])
    return Table(values[:, :, -1, 0], table, *axes)


def _no_progress() -> None:
    """Report no progress."""


def solve_informed(problem: Problem, grid: Grid = FINE, progress: Callable[[], None] = _no_progress) -> Table:
    """Return the optimal policy that observes the mode of each slice.

    Args:
        problem: The decision problem; it determines the nodes of the signal.
        grid: Number of nodes of the remaining shares and of the displacement.
        progress: Called after each slice.
    """
    forced = np.isinf(problem.market.least)
    return backward_induction(problem, grid, informed_stage, lambda k, stage: best_root(stage, bool(forced[k])), progress)


def solve_delayed(problem: Problem, grid: Grid = FINE, progress: Callable[[], None] = _no_progress) -> Table:
    """Return the optimal policy that observes the regime one slice late.

    The policy observes all past regimes and the signal, and knows the regime of the current slice only by its transition
    probabilities. Values and fractions are indexed by the regime of the slice *before*; in the first slice the distribution at
    the start has one value, and all rows of the fractions are equal. A policy from which the regime is hidden cannot reach a
    lower objective, because it has less information about past regimes.

    Args:
        problem: The decision problem; it determines the nodes of the signal.
        grid: Number of nodes of the remaining shares and of the displacement.
        progress: Called after each slice.
    """
    forced = np.isinf(problem.market.least)

    def build_stage(problem: Problem, axes: tuple[Axis, Axis], k: int, next_values: Floats) -> Stage:
        law = problem.transition if k else problem.regime_law[None]
        return _delayed_stage(problem, axes, k, next_values, law)

    return backward_induction(problem, grid, build_stage, lambda k, stage: best_root(stage, bool(forced[k])), progress)


def evaluate_fractions(problem: Problem, fractions: NDArray[Any], grid: Grid = FINE) -> Floats:
    """Return the objective of given fractions for each mode of the first slice, currency, shape (regimes, nodes).

    Args:
        problem: The decision problem; it determines the nodes of the signal.
        fractions: Fraction of the remaining shares to trade in each slice, shape (slices,), or by mode and state as in a
            :class:`Table` on the same grid.
        grid: Number of nodes of the remaining shares and of the displacement.
    """
    forced = np.isinf(problem.market.least)

    def choose(k: int, stage: Stage) -> Floats:
        shape = stage.state[2].shape
        if forced[k] or fractions.ndim == 1:
            return np.full(shape, 1.0 if forced[k] else math.sqrt(fractions[k]))
        roots = np.sqrt(fractions[k].astype(float))
        return np.asarray(roots.reshape(-1, 1, *roots.shape[2:])[:, :, 1:])

    return backward_induction(problem, grid, informed_stage, choose, _no_progress).values
