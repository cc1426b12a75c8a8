"""Child orders: cut a quantity into whole lots in proportion to weights, with an exact sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import accumulate, chain, compress, count, repeat
from operator import sub
from typing import Any, Final

import numpy as np

from hyperexec_env.execution.hiding import jittered_times, jittered_weights
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.orders import ChildOrder, ParentOrder, shares_of

__all__ = ["cut", "merge_small_pieces", "smallest_lots", "whole_shares"]

_child: Final[Callable[[tuple[Any, ...]], ChildOrder]] = partial(tuple.__new__, ChildOrder)
"""Builds a child from its fields in a fraction of the time of calling its class."""


def whole_shares(quantity: int, weights: Iterable[float]) -> list[int]:
    """Return non-negative whole numbers, in proportion to weights, that sum to a quantity exactly.

    Cumulative sums are rounded: each piece is within one share of its exact size, and each partial sum within half a share.

    Args:
        quantity: Whole shares (or lots), 0 to 10^15.
        weights: Non-negative numbers with a positive sum, at least one.

    Raises:
        ValueError: There are no weights, one is negative, or their sum is not positive and finite.
    """
    plain = list(map(float, weights))
    sums = list(accumulate(plain))
    if not (sums and 1e-200 < sums[-1] < math.inf):
        raise ValueError(f"weights must sum to a positive number, got {plain}")
    scale = quantity / sums[-1]
    try:
        edges = [round(total * scale) for total in sums]
    except OverflowError:  # a partial sum far above the whole sum
        edges = [quantity + 1, quantity]
    edges[-1] = quantity
    pieces = list(map(sub, edges, chain((0,), edges)))
    if min(pieces) < 0:
        raise ValueError(f"weights must be non-negative, got {plain}")
    return pieces


def smallest_lots(parent: ParentOrder) -> int:
    """Return the smallest child of an order in lots: `min_child` rounded up, at least one."""
    return max(math.ceil(parent.min_child / parent.lot_size - 1e-9), 1)


def merge_small_pieces(pieces: list[int], smallest: int) -> list[int]:
    """Return pieces of which none is smaller than a minimum, except one that is the whole sum; merged pieces become 0.

    A small piece is carried to the next one, and a small rest at the end to the last large piece before it.
    """
    merged, carried, last = [0] * len(pieces), 0, None
    for index, piece in enumerate(pieces):
        carried += piece
        if carried >= smallest:
            merged[index], carried, last = carried, 0, index
    merged[len(pieces) - 1 if last is None else last] += carried
    return merged


def cut(
    parent: ParentOrder,
    quantity: int,
    start: float,
    end: float,
    weights: Weights,
    *,
    phase: float = 0.5,
    factor: float = 0.0,
    rng: np.random.Generator | None = None,
    number: int = 0,
    clock: Callable[[float], float] | None = None,
) -> list[ChildOrder]:
    """Return the child orders of (the remaining lots of) a parent: one per interval, skipping intervals without lots.

    Args:
        parent: The parent order.
        quantity: Whole lots to cut (whole shares if the lot size is one).
        start: Start of the first interval, seconds.
        end: End of the last interval, seconds; every child is scheduled before it.
        weights: Weight of each of the equal intervals.
        phase: Position of a child within its interval, 0 (start) to 1/2 (middle).
        factor: Scale of the jitter of times and sizes, 0 to 1 (see :mod:`~hyperexec_env.execution.hiding`).
        rng: Generator of the jitter; required if the factor is positive.
        number: Number of the first child.
        clock: Function from the times of the schedule to the agent's clock; None: they are equal.

    Raises:
        ValueError: The factor is positive and `rng` is None, or the weights are invalid.
    """
    start, end, phase = float(start), float(end), float(phase)  # numpy's scalars are slow
    intervals, span = len(weights), end - start
    times = [start + (index + phase) * span / intervals for index in range(intervals)]
    sizes = weights.tolist()
    if factor > 0.0:
        if rng is None:
            raise ValueError(f"rng must be a generator where the hiding factor is positive ({factor:g}), got None")
        times = jittered_times(times, span / intervals, factor, rng)
        sizes = jittered_weights(weights, factor, rng)
    pieces, lot_size = whole_shares(quantity, sizes), parent.lot_size
    last = math.nextafter(end, start)  # float resolution of the clock may round up to the end
    if times[-1] > last:
        times = [min(time, last) for time in times]
    if parent.min_child:
        pieces = merge_small_pieces(pieces, smallest_lots(parent))
    if 0 in pieces:
        times = list(compress(times, pieces))
        pieces = list(filter(None, pieces))
    if clock is not None:
        times = list(map(clock, times))
    shares = pieces if lot_size == 1 else [shares_of(lots, lot_size) for lots in pieces]
    fields = zip(repeat(parent), count(number), shares, times, repeat(None), repeat(()), repeat(0), strict=False)
    return list(map(_child, fields))
