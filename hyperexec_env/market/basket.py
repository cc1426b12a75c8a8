r"""The step of a basket: d calls of the scalar kernel and two linear couplings.

Everything is in *adverse* coordinates: trades n_i >= 0 in the direction of asset i's order, and matrices S M S with S =
diag(side), see :func:`~hyperexec_env.market.cross.adverse`. With Gam the permanent and K the transient slopes, C the
correlation and r_i = risk_aversion (sigma_m,i c_k P_i)^2 tau (the field `risk` of asset i's slice), a slice of the basket is

    fill_i  = S_i + s_i [ G_i + (Gam n)_i / 2 + D_i + (K n)_i / 2 + h_i(n_i) + half_spread_i ]
    G       = G + Gam n                 D = exp(-rho_m tau) (D + K n)
    risk    = sum_ij sqrt(r_i r_j) C_ij x_i x_j        with x the shares after the trades

Asset i trades by :func:`~hyperexec_env.market.kernel.move` in a state that the trades of the others have moved:

    before  permanent_i + 1/2 sum_(j != i) Gam_ij n_j,  transient_i + 1/2 sum_(j != i) K_ij n_j,
            holding_i + sum_(j != i) sqrt(r_i r_j) C_ij x_j
    move(impact_i, that state, slice_i, n_i)
    after   permanent + the same half,  transient + the same half times transient_decay

Half of a simultaneous cross move belongs to each child, so that costs do not depend on the order of the assets and converge
when slices are cut in two. A basket of one has empty sums, 0.0, and is the market of one asset to the last bit.

An argument over assets is a list in the order of `BasketScenario.assets`; its numbers are floats, arrays over episodes or
tensors. Floats and arrays agree to the last bit. Two functions trade a slice:

    basket_move(impacts, coupling, states, slices, shares)       plain tuples: single environment, solvers
    basket_turn(numbers, coupling, lanes, slices, worlds, asked) records: each asset has a `Lane` with its account

and :func:`stacked_move` is `basket_move` with arrays or tensors of shape (assets, episodes) instead of lists.

:mod:`~hyperexec_env.market.basket_path` draws the correlated worlds and builds the :class:`Coupling`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import reduce
from operator import add, mul
from typing import Any, NamedTuple

import numpy as np

from hyperexec_env.market.kernel import Cost, Slice, State, move
from hyperexec_env.market.lane import Asked, Lane, turn
from hyperexec_env.market.numeric import between, power
from hyperexec_env.market.path import World
from hyperexec_env.market.tables import Numbers
from hyperexec_env.records import Real, maker, replacer

__all__ = [
    *(
        "Coupled",
        "Coupling",
        "Offer",
        "Products",
        "basket_move",
        "basket_turn",
        "moved_by_others",
        "of_others",
        "offer",
        "products",
    ),
    *("stacked_move", "turn_coupled", "without_own"),
]

Rows = Sequence[Sequence[float]]


class Coupling(NamedTuple):
    """The matrices of a basket in adverse coordinates, as rows of floats, shape (assets, assets)."""

    permanent: Rows
    """Gam, permanent slopes, currency per share for each share traded; the diagonal is that of the assets' `Impact`."""
    transient: Rows
    """K, transient slopes, currency per share for each share traded; the diagonal is that of the assets' `Impact`."""
    correlation: Rows
    """S C S, correlation of the price moves, each in the direction of the order."""


class Offer(NamedTuple):
    """What the trade of an asset in a slice does to the others."""

    root: Real
    """sqrt(r_i), with r_i the field `risk` of the slice."""
    half: Real
    """n_i / 2, shares."""
    held: Real
    """sqrt(r_i) x_i, with x_i the shares after the trade."""


class Coupled(NamedTuple):
    """What the trades of the others do to an asset; lists over assets where lists are passed."""

    permanent: Real
    """sum_(j != i) Gam_ij n_j / 2, half of the permanent move by the others, currency per share."""
    transient: Real
    """sum_(j != i) K_ij n_j / 2, half of the transient move by the others, currency per share."""
    exposure: Real
    """sum_(j != i) C_ij sqrt(r_j) x_j; times sqrt(r_i) the risk of holding the asset beside the others, currency per share."""


def _offered(state: Sequence[Any], slice: Sequence[Any], shares: Any) -> tuple[Any, Any, Any, Any]:
    """Return the shares that :func:`kernel.move` trades of the shares asked for, and the fields of :class:`Offer`."""
    traded = between(shares, slice[_LEAST], state[0], slice[_LIMIT])
    root = power(slice[_RISK], 0.5)
    return traded, root, 0.5 * traded, root * (state[0] - traded)


def _coupled(coupling: Coupling, halves: Sequence[Any], held: Sequence[Any]) -> Coupled:
    """Return what simultaneous trades do to each asset, given the fields of :class:`Offer` of each."""
    correlation = of_others(coupling.correlation, held)
    return Coupled(of_others(coupling.permanent, halves), of_others(coupling.transient, halves), correlation)


def of_others(rows: Any, values: Sequence[Any]) -> list[Any]:
    """Return the sums over j != i of M_ij v_j for each row i of a matrix M, added from left to right."""
    return products(without_own(rows), values)


def products(rows: Any, values: Sequence[Any]) -> list[Any]:
    """Return the sums over j of M_ij v_j for each row i of a matrix M, added from left to right."""
    return [reduce(add, map(mul, row, values)) for row in rows]


class Products:
    """:func:`products` of matrices of one shape and floats, to the last bit, in the time of a few calls of numpy.

    A call takes the values of each matrix, one list after another, and returns the sums for the rows of each likewise.

    Args:
        matrices: The matrices, shape (rows, columns) each.
    """

    def __init__(self, *matrices: Any) -> None:
        """Store the columns, which numpy adds one after another."""
        self.matrices = matrices
        columns = np.array(matrices, dtype=np.float64).transpose(2, 0, 1)
        count, several, rows = columns.shape
        self._columns = columns.reshape(count, several * rows).copy()
        self._values: Any = np.empty(several * count)
        self._write = struct.Struct(f"{several * count}d").pack_into  # in half the time of an assignment of a list
        self._parts, self._sums = np.empty_like(self._columns), np.empty(several * rows)
        self._spread = self._parts.reshape(columns.shape), self._values.reshape(several, count).T[:, :, None]

    def __call__(self, values: Sequence[float]) -> list[float]:
        """Return the sums for each row of each matrix."""
        self._write(self._values, 0, *values)
        parts, each = self._spread
        parts[:] = each  # and then a product of equal shapes: numpy needs twice the time to spread the values as it multiplies
        np.multiply(self._columns, self._parts, out=self._parts)
        made: list[float] = np.add.reduce(self._parts, axis=0, out=self._sums).tolist()
        return made

    @classmethod
    def joined(cls, several: Sequence[Products]) -> Products:
        """Return the products of the matrices of several, all of one shape."""
        return cls(*(matrix for each in several for matrix in each.matrices))


def basket_move(
    impacts: Sequence[Any], coupling: Coupling, states: Sequence[Any], slices: Sequence[Any], shares: Sequence[Any]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Trade one slice of a basket; return the state after it and the cost of each asset, as :func:`kernel.move` does.

    Args:
        impacts: Impact of each asset, with the diagonal slopes of the matrices.
        coupling: The matrices.
        states: (remaining, permanent, transient) of each asset: records or plain tuples.
        slices: The slice of each asset: records or plain tuples.
        shares: Shares that each asset asks for; they are limited as in :func:`kernel.move`.
    """
    _, roots, halves, held = zip(*map(_offered, states, slices, shares), strict=True)
    moved = list(map(moved_by_others, impacts, states, slices, shares, roots, *_coupled(coupling, halves, held)))
    return [after for after, _ in moved], [cost for _, cost in moved]


def moved_by_others(
    impact: Any,
    state: Sequence[Any],
    slice: Sequence[Any],
    shares: Any,
    root: Any,
    permanent: Any,
    transient: Any,
    exposure: Any,
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return :func:`kernel.move` of an asset, given what the trades of the others do (the fields of :class:`Coupled`)."""
    before = state[0], state[1] + permanent, state[2] + transient
    after, cost = move(impact, before, _held(slice, slice[_HOLDING] + root * exposure), shares)
    return (after[0], after[1] + permanent, after[2] + transient * slice[_DECAY]), cost


def without_own(rows: Rows) -> list[list[float]]:
    """Return a matrix with zeros on the diagonal."""
    return [[0.0 if i == j else value for j, value in enumerate(row)] for i, row in enumerate(rows)]


def stacked_move(
    impact: Any, others: Coupling, state: Sequence[Any], slice: Sequence[Any], shares: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Trade one slice of a basket: :func:`basket_move` with a leading asset axis, whose sums over assets are matrix products.

    Args:
        impact: Impact of the assets; a field is a number, or an array or tensor of shape (assets, 1).
        others: The matrices without their diagonals (:func:`without_own`), arrays or tensors of shape (assets, assets).
        state: (remaining, permanent, transient), each of shape (assets, episodes).
        slice: The slice; fields have the shape (assets, episodes) or (assets, 1).
        shares: Shares that the assets ask for, shape (assets, episodes).
    """
    traded, roots, halves, held = _offered(state, slice, shares)
    sums = others.permanent @ halves, others.transient @ halves, others.correlation @ held
    return moved_by_others(impact, state, slice, traded, roots, *sums)


_RISK, _HOLDING, _DECAY, _LEAST, _LIMIT = map(Slice._fields.index, ("risk", "holding", "transient_decay", "least", "limit"))
_held = replacer(Slice, "holding")


_with_state = maker(Lane, Lane, ("state",))
_with_over = maker(Lane, Lane, ("over",))
_with_holding = maker(Slice, Slice, ("holding",))


def basket_turn(
    numbers: Sequence[Numbers],
    coupling: Coupling,
    lanes: Sequence[Lane],
    slices: Sequence[Slice],
    worlds: Sequence[World],
    asked: Sequence[Asked],
) -> tuple[list[Lane], list[Cost]]:
    """Trade one slice of a basket and book the cost of each asset: :func:`~hyperexec_env.market.lane.turn` of d assets.

    The basket ends in the last slice, or when no asset has shares left; until then no lane is over.

    Args:
        numbers: Numbers of each asset's market (`BasketMarket.markets[i].numbers`).
        coupling: The matrices.
        lanes: The episode of each asset at the start of the slice.
        slices: The market of the slice for each asset.
        worlds: The market at the start of the next slice for each asset.
        asked: The request of the policy for each asset.

    Returns:
        The episode of each asset at the start of the next slice, and the cost of this slice by asset, currency.
    """
    offers = [offer(*parts) for parts in zip(lanes, slices, asked, strict=True)]
    sums = _coupled(coupling, [made.half for made in offers], [made.held for made in offers])
    coupled = [Coupled(*parts) for parts in zip(*sums, strict=True)]
    made, over = [turn_coupled(*parts) for parts in zip(numbers, lanes, slices, worlds, asked, offers, coupled, strict=True)], 1
    for lane, _ in made:
        over = over * lane.over
    return [_with_over(lane, over) for lane, _ in made], [cost for _, cost in made]


def offer(lane: Lane, slice: Slice, asked: Asked) -> Offer:
    """Return what the trade of an asset does to the others (a stage, see :mod:`~hyperexec_env.market.lane`)."""
    _, root, half, held = _offered(lane.state, slice, asked.shares)
    return Offer(root, half, held)


def turn_coupled(
    numbers: Numbers, lane: Lane, slice: Slice, world: World, asked: Asked, offer: Offer, coupled: Coupled
) -> tuple[Lane, Cost]:
    """Trade one slice of an asset of a basket: :func:`~hyperexec_env.market.lane.turn` beside the trades of the others."""
    left, permanent, transient = lane.state
    moved = _with_state(lane, State(left, permanent + coupled.permanent, transient + coupled.transient))
    held = _with_holding(slice, slice.holding + offer.root * coupled.exposure)
    after, cost = turn(numbers, moved, held, world, asked)
    left, permanent, transient = after.state
    state = State(left, permanent + coupled.permanent, transient + coupled.transient * slice.transient_decay)
    return _with_state(after, state), cost
