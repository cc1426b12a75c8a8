r"""Dynamic programming on (remaining shares, transient displacement, regime) with a lit and a hidden request.

A slice requests n in lit markets and posts y in a hidden venue, which fills min(y, A). Along the line of states after trading t
shares anywhere, the cost without tolls is

    W(t) = (D + kappa t / 2) t + r (x - t)^2 + E J_(k+1)(x - t, (D + kappa t) exp(-rho tau))

and, with c(n) the least toll of lit markets (water-filling) and q the concession of the hidden venue,

    J_k = min over n and y of c(n) + sum over atoms A of P(A) [ q min(y, A) + W(n + min(y, A)) ]

The derivative in y is P(A > y) [q + W'(n + y)]. So the best y stops at n + y = t*, the root of q + W'(t) = 0, whatever n and
the law of A: *fill up to t* *. The search is two searches in one dimension: t*, then n with y = max(t* - n, 0), by roots of the
slope.

J is interpolated as in :mod:`~hyperexec_env.baselines.solver.dynamic`, and the temporary impact is averaged over the volume
noise in closed form. The error is stated as the difference of two grids.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import expected_cost, move
from hyperexec_env.market.venue_path import VenueMarket, lit_terms, lit_toll

from .dark_relaxed import mean_weights, merged
from .dynamic import (
    HIGHEST_ROOT,
    LOWEST_ROOT,
    STEP,
    Grid,
    Stage,
    Table,
    find_roots,
    informed_stage,
    node_axes,
    prepend_zeros,
    terminal_values,
)
from .problem import Problem, build_problem

__all__ = ["DarkTables", "solve_dark", "solve_to_tolerance"]

Floats = NDArray[np.float64]


_GRID: Final = Grid(31, 16, 1)
_MOST_GRIDS: Final = 2
_LARGEST_ERROR: Final = 1e-3
"""Relative error of J* above which the grid is refined once."""


class DarkTables(NamedTuple):
    """Solution of the dynamic programme on a grid."""

    lit: Table
    """Fraction of the remaining shares to request in lit markets; its values are the value function."""
    total: Table
    """Fraction of the remaining shares up to which the hidden venue may fill: t* / x."""


class _Slice(NamedTuple):
    """The minimisation problem of one slice; arrays have the shape (regimes, 1, R, T) of :class:`Stage`."""

    market: VenueMarket
    stage: Stage
    q: Any
    """Concession of the hidden venue, currency per share, shape (regimes, 1, 1, 1)."""
    sizes: Floats
    """Atoms of the hidden liquidity, multiples of the expected volume, shape (atoms,)."""
    chances: Floats
    """Probability of each atom, shape (atoms,)."""

    @property
    def left(self) -> Floats:
        """Remaining shares at the nodes."""
        return self.stage.state[0]

    @property
    def regimes(self) -> Any:
        """Number of the regime of each row, shape (regimes, 1, 1, 1)."""
        return np.arange(self.market.market.regimes).reshape(-1, 1, 1, 1)

    def line(self, shares: Floats) -> tuple[Floats, Floats]:
        """Return W, currency, and its derivative, currency per share."""
        stage = self.stage
        free = stage.slice._replace(temporary_scale=0.0, half_spread=0.0, limit=math.inf, least=0.0)
        impact = stage.problem.market.impact._replace(beta=1.0)  # no temporary impact here, and 1 needs no power
        width = STEP * np.maximum(shares, 1e-12 * self.left)
        after, cost = move(impact, stage.state, free, shares)
        _, above = move(impact, stage.state, free._replace(least=-math.inf), np.minimum(shares + width, self.left))
        _, below = move(impact, stage.state, free._replace(least=-math.inf), shares - width)
        run = np.minimum(shares + width, self.left) - (shares - width)
        value, by_remaining, by_transient = stage.continuation(after, slopes=True)
        displaced = impact.transient_slope * stage.slice.transient_decay
        slope = (expected_cost(above) - expected_cost(below)) / run - by_remaining + displaced * by_transient
        return expected_cost(cost) + value, slope

    def toll(self, shares: Floats) -> tuple[Any, Any]:
        """Return c(n), currency, and its derivative, currency per share, at the mean shares of the lit venues."""
        market = self.market
        weights = market.shares if market.equal else mean_weights(market.shares, market.noises)
        return lit_toll(market, shares, lit_terms(market, self.stage.slice.volume, self.regimes, weights))

    def fills(self, lit: Floats, total: Floats) -> list[tuple[float, Floats, Any]]:
        """Return (probability, shares that the hidden venue fills, whether it fills all of the posted shares) of each atom."""
        posted = np.maximum(total - lit, 0.0)
        found = []
        for size, chance in zip(self.sizes, self.chances, strict=True):
            offer = np.inf if np.isinf(size) else size * self.stage.slice.volume
            found.append((float(chance), np.minimum(posted, offer), posted <= offer))
        return found

    def slope(self, lit: Floats, total: Floats) -> Floats:
        """Return the derivative of the expected cost in the lit request, currency per share."""
        slope = np.broadcast_to(self.toll(lit)[1], lit.shape).copy()
        open_order = lit < total  # a larger lit request then leaves less to post
        for chance, filled, whole in self.fills(lit, total):
            if chance > 0.0:
                own = self.line(lit + filled)[1]
                slope += chance * np.where(open_order & whole, -self.q, own)
        return slope

    def value(self, lit: Floats, total: Floats) -> Floats:
        """Return the expected cost of a lit request and a total, currency."""
        value = np.broadcast_to(self.toll(lit)[0], lit.shape).copy()
        for chance, filled, _ in self.fills(lit, total):
            if chance > 0.0:
                value += chance * (self.q * filled + self.line(lit + filled)[0])
        return value


def _root_of(slope: Callable[[Floats], Floats], left: Floats, shape: tuple[int, ...]) -> Floats:
    """Return the shares, shape `shape`, at which an increasing slope is zero; 0 or all remaining shares if there is no such."""
    low, high = np.full(shape, LOWEST_ROOT), np.full(shape, HIGHEST_ROOT)

    def by_root(root: Floats) -> Floats:
        return slope(left * root * root)

    at_low, at_high = by_root(low), by_root(high)
    found = find_roots(by_root, low, high, at_low, at_high)
    return np.asarray(left * np.where(at_low >= 0.0, 0.0, np.where(at_high <= 0.0, 1.0, found)) ** 2)


def _atoms(market: VenueMarket) -> tuple[Floats, Floats, Any]:
    """Return the atoms of the hidden liquidity, merged, their probabilities and its concession in each regime."""
    regimes = market.market.regimes
    if not market.scenario.hidden:
        return np.zeros(1), np.ones(1), np.zeros((regimes, 1, 1, 1))
    sizes, chances = merged([(venue.law.sizes, venue.law.probabilities) for venue in market.scenario.hidden])
    return sizes, chances, market.q[market.lit :, :regimes].min(axis=0).reshape(-1, 1, 1, 1)


def solve_dark(market: VenueMarket, grid: Grid, progress: Callable[[], None] = lambda: None) -> tuple[Problem, DarkTables]:
    """Return the decision problem and the optimal requests of a market, or of its relaxation where that is another one.

    Args:
        market: The market.
        grid: Number of nodes of the remaining shares and of the displacement.
        progress: Called after each slice.
    """
    problem = build_problem(market.market)
    axes, (sizes, chances, q) = node_axes(problem, grid), _atoms(market)
    values, forced = terminal_values(problem, axes), np.isinf(market.market.least)
    lits: list[NDArray[np.float32]] = []
    totals: list[NDArray[np.float32]] = []
    for k in range(market.slices - 1, -1, -1):
        stage = informed_stage(problem, axes, k, values)
        here = _Slice(market, stage, q, sizes, chances)
        shape = (market.market.regimes, 1, stage.state[0].shape[2], stage.state[2].shape[3])
        left = np.broadcast_to(here.left, shape)
        if forced[k]:
            lit = total = left
        else:
            total = np.zeros(shape)
            if market.scenario.hidden:
                total = _root_of(lambda shares: here.q + here.line(shares)[1], left, shape)  # noqa: B023
            lit = _root_of(lambda shares: here.slope(shares, total), left, shape)  # noqa: B023
        values = prepend_zeros(here.value(lit, total)[:, 0]).reshape(values.shape)
        for kept, shares in ((lits, lit), (totals, np.maximum(total, lit))):
            part = (shares / left)[:, 0].astype(np.float32)
            kept.append(np.concatenate([part[:, :1], part], axis=1).reshape(values.shape))
        progress()
    start = values[:, :, -1, 0]
    lit_table, total_table = (Table(start, np.array(list(reversed(kept))), *axes) for kept in (lits, totals))
    return problem, DarkTables(lit_table, total_table)


def solve_to_tolerance(market: VenueMarket, progress: Callable[[], None] = lambda: None) -> tuple[Floats, float, DarkTables]:
    """Return J* by first regime (currency), its relative error and the tables, on a grid that is fine enough."""
    law = market.scenario.regimes.start_law()

    def solved(grid: Grid) -> tuple[Floats, DarkTables]:
        _, tables = solve_dark(market, grid, progress)
        return tables.lit.values[:, 0], tables

    grid, coarse = _GRID, solved(_GRID.coarser())[0]
    for attempt in range(_MOST_GRIDS):
        fine, tables = solved(grid)
        scale = abs(float(fine @ law)) or 1.0
        error = float(np.abs(fine - coarse).max()) / scale
        if error <= _LARGEST_ERROR or attempt == _MOST_GRIDS - 1:
            break
        coarse, grid = fine, grid.finer()
    return fine, error, tables
