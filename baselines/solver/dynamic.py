r"""Dynamic programming on (remaining, transient displacement, mode), continuous in the trade.

.. math:: J_k(x, d, m) = \min_{0 \le n \le x} E\left[ c_k(x, d, m, n) + J_{k+1}(x', d', m') \right]

The cost c and the state after the trade are those of :func:`hyperexec_env.market.kernel.move`. J is a cubic spline in the
square root of the remaining fraction, in which the cost of a square-root market is smooth, and in the displacement as a
fraction of the largest that what has traded can have caused, so that every node can be reached. The minimum is a root of the
slope in n (Chandrupatla 1997), exact to what the value cannot feel. The noise of the volume is averaged in closed form where
there is no participation cap; where there is one, the slice trades min(n, cap V), and the part of the volumes that bind is
averaged by a Gauss-Legendre rule.
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

__all__ = ["FINE", "Grid", "Table", "evaluate_fractions", "place", "solve_blind", "solve_informed"]

Floats = NDArray[np.float64]


class Grid(NamedTuple):
    """Number of nodes."""

    remaining: int = 61
    transient: int = 31
    signal: int = 33

    def coarser(self) -> Grid:
        """Return the grid with two thirds of the nodes: what the other differs from it bounds its error."""
        return Grid(*(1 + 2 * round((count - 1) / 3) for count in self))

    def finer(self) -> Grid:
        """Return the grid with one and a half times the nodes."""
        return Grid(*(1 + 3 * (count - 1) // 2 for count in self))


FINE: Final = Grid()

_LEAST: Final = 1e-3  # square root of the smallest trade that is told from none, as a fraction of what remains
_STEP: Final = 1e-4  # relative step of the central difference of the kernel's cost
_MOST: Final = 1.0 / math.sqrt(1.0 + 2.0 * _STEP)
_TOLERANCE: Final = 1e-5  # of the square root of the traded fraction; the value feels its square
_ITERATIONS: Final = 40
_QUIET: Final = 1e-4  # smallest deviation of the log volume under a cap, which is a kink without any
_TAIL: Final = 8.0
"""A standard normal is taken to stay within this."""
_RULE: Final = np.polynomial.legendre.leggauss(32)


class Table(NamedTuple):
    """A solution on a grid."""

    values: Floats
    """Objective that is still to come at the start of the first slice for each mode, currency, shape (regimes, nodes)."""
    fractions: NDArray[np.float32]
    """Fraction of what remains to trade, shape (slices, regimes, nodes, remaining, transient)."""
    remaining: Axis
    """Square root of the remaining fraction of the order."""
    transient: Axis
    """Displacement over kappa (X - x), the largest that there can be."""


class _Stage(NamedTuple):
    """A slice as the minimisation sees it: J modes, each with I possible regimes, over (remaining, transient)."""

    problem: Problem
    slice: Slice
    """Fields of shape (J, I, 1, 1)."""
    weights: Floats
    """Probability of the possible regimes, shape (J, I, 1, 1)."""
    surface: NDArray[np.intp]
    """Number of the surface that goes on, shape (J, I, 1, 1)."""
    later: Surfaces
    """What is still to come after the slice."""
    capped: bool
    state: tuple[Floats, Floats, Floats]
    """Remaining, permanent and transient of the nodes, shapes (1, 1, R, 1), (1, 1, R, 1) and (1, 1, R, T)."""

    def go_on(self, after: Sequence[Any], slopes: bool = False) -> tuple[Floats, Floats, Floats]:
        """Return what is still to come in a state, and its slopes in the remaining shares and in the displacement."""
        root, share, most = place(self.problem, after[0], after[2])
        u, v = np.broadcast_arrays(root, share)
        value, by_u, by_v = self.later.at(self.surface, u, v, slopes)
        if not slopes:
            return value, by_u, by_v
        market = self.problem.market
        by_transient = by_v / most if market.impact.transient_slope else 0.0 * by_v
        by_root = by_u / (2.0 * market.scenario.quantity * np.maximum(root, 1e-9))
        return value, by_root + market.impact.transient_slope * share * by_transient, by_transient

    def charge(self, shares: Floats, volume: Floats) -> tuple[Floats, Sequence[Any]]:
        """Return what a slice with some volume charges for trades, and the state after them."""
        market = self.problem.market
        slice = self.slice._replace(volume=volume, limit=math.inf)
        liquidity = market.scenario.predator
        if liquidity < 0.0:  # at its best: as if every child had been foreseen
            (after, cost), _ = step_with_predator(
                market.impact, self.state, slice, shares, PredatorMemory(shares, 1.0, 1.0, 1.0), liquidity
            )
        else:
            after, cost = move(market.impact, self.state, slice, shares)
        return expected_cost(cost), after

    def free(self, shares: Floats) -> tuple[Any, Floats, Floats]:
        """Return the probability that the cap allows a trade, the volume that stands for all such volumes in the cost, and the
        standard normal below which it binds.
        """
        market, volume = self.problem.market, self.slice.volume
        beta, deviation = market.impact.beta, market.scenario.volume_noise
        if not self.capped:
            return 1.0, volume * math.exp(-0.5 * (1.0 + beta) * deviation**2), np.full(1, -math.inf)
        deviation = max(deviation, _QUIET)
        allowed = self.slice.limit
        edge = (np.log(np.maximum(shares, 1e-300) / allowed) + 0.5 * deviation**2) / deviation
        chance = np.maximum(_upper_tail(edge), 1e-250)  # never none: the sign of the slope counts, not its size
        raised = math.exp(0.5 * beta * (1.0 + beta) * deviation**2) * _upper_tail(edge + beta * deviation)
        mean = np.where(chance > 1e-12, raised / chance, 1.0)
        at_edge = shares / np.maximum(allowed / volume, 1e-300)  # all that is left beyond the edge lies at it
        return chance, np.where(chance > 1e-12, volume * np.maximum(mean, 1e-300) ** (-1.0 / beta), at_edge), edge

    def slope(self, root: Floats) -> Floats:
        """Return the slope of the expected cost in the trade, where the cap allows it; `root` squared is the fraction."""
        shares = self.state[0] * root * root
        chance, volume, _ = self.free(shares)
        width = _STEP * shares
        above, _ = self.charge(shares + width, volume)
        below, _ = self.charge(shares - width, volume)
        _, after = self.charge(shares, volume)
        _, by_remaining, by_transient = self.go_on(after, slopes=True)
        pushed = self.problem.market.impact.transient_slope * self.slice.transient_kept
        total = (above - below) / (2.0 * width) - by_remaining + pushed * by_transient
        return np.asarray((self.weights * chance * total).sum(axis=1, keepdims=True))

    def value(self, shares: Floats) -> Floats:
        """Return the expected cost of trades, what comes after included, shape (J, R, T)."""
        chance, volume, edge = self.free(shares)
        cost, after = self.charge(shares, volume)
        total = chance * (cost + self.go_on(after)[0])
        if self.capped:
            deviation = max(self.problem.market.scenario.volume_noise, _QUIET)
            for point, weight in zip(*_RULE, strict=True):
                half = 0.5 * (np.clip(edge, -_TAIL, _TAIL) + _TAIL)
                normal = half * (1.0 + point) - _TAIL
                factor = np.exp(deviation * normal - 0.5 * deviation**2)
                traded = np.minimum(self.slice.limit * factor, shares)
                cost, after = self.charge(traded, self.slice.volume * factor)
                density = weight * half * np.exp(-0.5 * normal**2) / math.sqrt(2.0 * math.pi)
                total = total + density * (cost + self.go_on(after)[0])
        return np.asarray((self.weights * total).sum(axis=1))


_erfc = np.vectorize(math.erfc, otypes=[float])


def _upper_tail(value: Floats) -> Floats:
    """Return the probability that a standard normal is larger."""
    return np.asarray(0.5 * _erfc(np.asarray(value) * math.sqrt(0.5)))


def place(problem: Problem, remaining: Any, transient: Any) -> tuple[Any, Any, Any]:
    """Return where a state stands on the axes, and the largest displacement that there can be, currency per share."""
    market = problem.market
    quantity = market.scenario.quantity
    left = np.maximum(remaining, 0.0)
    most = np.maximum(market.impact.transient_slope * (quantity - left), 1e-12 * market.scenario.arrival_price)
    return np.sqrt(left / quantity), np.minimum(transient / most, 1.0), most


def _axes(problem: Problem, grid: Grid) -> tuple[Axis, Axis]:
    displaced = problem.market.impact.transient_slope > 0.0
    return Axis(0.0, 1.0, grid.remaining, flat=True), Axis(0.0, float(displaced), grid.transient if displaced else 1)


def _nodes(problem: Problem, axes: tuple[Axis, Axis]) -> tuple[Floats, Floats, Floats]:
    """Return the state of the nodes with something left."""
    market = problem.market
    remaining = market.scenario.quantity * (axes[0].nodes[1:, None] ** 2)[None, None]
    permanent = market.impact.permanent_slope * (market.scenario.quantity - remaining)
    most = market.impact.transient_slope * (market.scenario.quantity - remaining)
    return remaining, permanent, most * axes[1].nodes


def _final(problem: Problem, axes: tuple[Axis, Axis]) -> Floats:
    """Return what the end charges in each mode, shape (regimes, nodes, R, T)."""
    market, (count, nodes) = problem.market, problem.modes
    remaining, permanent, transient = _nodes(problem, axes)
    _, marked = close(market.impact, State(remaining, permanent, transient), market.scenario.quantity)
    return np.broadcast_to(_with_nothing_left(marked[0]), (count, nodes, axes[0].count, axes[1].count))


def _with_nothing_left(values: Floats) -> Floats:
    """Put a row of zeros before the values: nothing is to be paid where nothing remains."""
    return np.concatenate([np.zeros((*values.shape[:-2], 1, values.shape[-1])), values], axis=-2)


def _column(values: NDArray[Any]) -> Any:
    """Make (J, I) values fit the nodes."""
    return values[..., None, None]


def _informed_stage(problem: Problem, axes: tuple[Axis, Axis], k: int, later: Floats) -> _Stage:
    """Return slice `k` for one who knows the mode. `later` holds the values of the next slice, (regimes, nodes, R, T)."""
    count, nodes = problem.modes
    ahead = np.einsum("mn,nfut->mfut", problem.transition, later)
    ahead = np.einsum("mfg,mgut->mfut", problem.signal_step, ahead).reshape(count * nodes, axes[0].count, axes[1].count)
    slice = Slice(*(_column(values.reshape(-1, 1)) for values in mode_slices(problem, k)))
    number = _column(np.arange(count * nodes)[:, None])
    capped = bool(np.isfinite(problem.market.cap[k]))
    return _Stage(problem, slice, np.ones((1, 1, 1, 1)), number, surfaces(*axes, ahead), capped, _nodes(problem, axes))


def _blind_stage(problem: Problem, axes: tuple[Axis, Axis], k: int, later: Floats, law: Floats) -> _Stage:
    """Return slice `k` for one who knows only the law of its regime, shape (J, regimes), and the signal.

    `later` holds the values of the next slice for the regime of this one, which is known by then.
    """
    count, nodes = problem.modes
    slices = mode_slices(problem, k)
    ahead = np.einsum("mfg,mgut->mfut", problem.signal_step, later)
    shape = (axes[0].count, axes[1].count)
    if np.isfinite(problem.market.cap[k]):  # which volumes bind hangs on the regime: average after the trade
        cell = (np.arange(count)[:, None] * nodes + np.arange(nodes)).T  # (nodes, regimes)
        number = np.broadcast_to(cell, (len(law), nodes, count)).reshape(-1, count)
        weights = np.repeat(law, nodes, axis=0)
        slice = Slice(*(_column(values.ravel()[number]) for values in slices))
        made = surfaces(*axes, ahead.reshape(count * nodes, *shape))
        return _Stage(problem, slice, _column(weights), _column(number), made, True, _nodes(problem, axes))
    kept = slices.transient_kept[:, 0]
    decayed = [values @ interpolation(axes[1], share * axes[1].nodes).T for share, values in zip(kept, ahead, strict=True)]
    mean = np.einsum("jm,mfut->jfut", law, np.array(decayed)).reshape(len(law) * nodes, *shape)
    slice = Slice(*(_column(values.reshape(-1, 1)) for values in mean_slice(slices, law, problem.market.impact.beta)))
    number = _column(np.arange(len(law) * nodes)[:, None])
    return _Stage(problem, slice, np.ones((1, 1, 1, 1)), number, surfaces(*axes, mean), False, _nodes(problem, axes))


def _best(stage: _Stage, forced: bool) -> Floats:
    """Return the square root of the best fraction of what remains, shape (J, 1, R, T)."""
    modes = max(len(stage.slice.volume), len(stage.weights))
    shape = (modes, 1, stage.state[0].shape[2], stage.state[2].shape[3])
    if forced:
        return np.ones(shape)
    if stage.problem.market.scenario.predator < 0.0:
        return _scan(stage, shape)
    low, high = np.full(shape, _LEAST), np.full(shape, _MOST)
    at_low, at_high = stage.slope(low), stage.slope(high)
    found = _chandrupatla(stage.slope, low, high, at_low, at_high)
    return np.where(at_low >= 0.0, 0.0, np.where(at_high <= 0.0, 1.0, found))


def _chandrupatla(function: Callable[[Floats], Floats], low: Floats, high: Floats, at_low: Floats, at_high: Floats) -> Floats:
    """Return roots of a function between `low` and `high`, where it changes its sign (Chandrupatla 1997); else anything."""
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
        open_yet = (np.sign(fa) != np.sign(fb)) & (fa != 0.0) & (width > 2.0 * _TOLERANCE)
        if not open_yet.any():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            inverse = (phi * phi < xi) & ((1.0 - phi) * (1.0 - phi) < 1.0 - xi)
            quadratic = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        least = np.minimum(_TOLERANCE / np.maximum(width, _TOLERANCE), 0.5)
        t = np.clip(np.where(inverse & np.isfinite(quadratic), quadratic, 0.5), least, 1.0 - least)
    return np.where(np.abs(fa) < np.abs(fb), a, b)


def _scan(stage: _Stage, shape: tuple[int, ...], points: int = 41, rounds: int = 3) -> Floats:
    """Return the best of a row of trades, drawn ever closer: for costs that may have several dips."""
    centre, reach = np.full(shape, 0.5), 0.5
    for _ in range(rounds):
        best, lowest = centre, np.full(shape, np.inf)
        for offset in np.linspace(-reach, reach, points):
            root = np.clip(centre + offset, 0.0, 1.0)
            value = stage.value(stage.state[0] * root * root)[:, None]
            best, lowest = np.where(value < lowest, root, best), np.minimum(value, lowest)
        centre, reach = best, 2.0 * reach / (points - 1)
    return centre


Stage = Callable[[Problem, tuple[Axis, Axis], int, Floats], _Stage]


def _backward(
    problem: Problem, grid: Grid, stage_of: Stage, choose: Callable[[int, _Stage], Floats], progress: Callable[[], None]
) -> Table:
    """Go from the last slice to the first; `choose` returns the square roots of the fractions to trade."""
    axes = _axes(problem, grid)
    values, nodes = _final(problem, axes), problem.modes[1]
    fractions: list[NDArray[np.float32]] = []
    for k in range(problem.market.slices - 1, -1, -1):
        stage = stage_of(problem, axes, k, values)
        root = choose(k, stage)
        made = _with_nothing_left(stage.value(stage.state[0] * root * root))
        values = made.reshape(-1, nodes, axes[0].count, axes[1].count)
        traded = np.broadcast_to(root * root, (len(made), 1, axes[0].count - 1, axes[1].count))[:, 0].astype(np.float32)
        fractions.append(np.concatenate([traded[:, :1], traded], axis=1).reshape(values.shape))
        progress()
    shape = (max(len(part) for part in fractions), *fractions[0].shape[1:])
    table = np.array([np.broadcast_to(part, shape) for part in reversed(fractions)])
    return Table(values[:, :, -1, 0], table, *axes)


def _nothing() -> None:
    """Show no progress."""


def solve_informed(problem: Problem, grid: Grid = FINE, progress: Callable[[], None] = _nothing) -> Table:
    """Solve for the policy that knows the mode of each slice.

    Args:
        problem: The problem, with as many nodes of the signal as the grid says.
        grid: Number of nodes.
        progress: Called after each slice.
    """
    forced = np.isinf(problem.market.least)
    return _backward(problem, grid, _informed_stage, lambda k, stage: _best(stage, bool(forced[k])), progress)


def solve_blind(problem: Problem, grid: Grid = FINE, progress: Callable[[], None] = _nothing) -> Table:
    """Solve for the policy that is told each regime one slice late: it knows the past for certain and this slice by its law.

    Values and fractions are those of the regime of the slice *before*; in the first slice there is one row, for the law of
    the start. No policy from which the regime is hidden can do better: what it sees tells it less about the past.
    """
    forced = np.isinf(problem.market.least)

    def stage_of(problem: Problem, axes: tuple[Axis, Axis], k: int, later: Floats) -> _Stage:
        law = problem.transition if k else problem.regime_law[None]
        return _blind_stage(problem, axes, k, later, law)

    return _backward(problem, grid, stage_of, lambda k, stage: _best(stage, bool(forced[k])), progress)


def evaluate_fractions(problem: Problem, fractions: Floats, grid: Grid = FINE) -> Floats:
    """Return the objective of trading fixed fractions of what remains, currency, for each mode of the first slice.

    Args:
        problem: The problem.
        fractions: Fraction for each slice, shape (slices,).
        grid: Number of nodes.
    """
    roots = np.sqrt(np.where(np.isinf(problem.market.least), 1.0, fractions))

    def choose(k: int, stage: _Stage) -> Floats:
        return np.full_like(stage.state[2], roots[k])

    return _backward(problem, grid, _informed_stage, choose, _nothing).values
