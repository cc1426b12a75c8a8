"""Child orders: cut a quantity into whole lots in proportion to weights, with an exact sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import accumulate, pairwise

import numpy as np

from hyperexec_env.execution.hiding import jittered_times, jittered_weights
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.orders import ChildOrder, ParentOrder, shares_of

__all__ = ["cut", "merge_small_pieces", "smallest_lots", "whole_shares"]

_record = tuple.__new__  # builds a named tuple in half the time of calling its class


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
        edges = [0, *[round(total * scale) for total in sums[:-1]], quantity]
        pieces = [after - before for before, after in pairwise(edges)]
    except OverflowError:  # a partial sum far above the whole sum
        pieces = [-1]
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
    count, start, end, phase = len(weights), float(start), float(end), float(phase)  # numpy's scalars are slow
    span = end - start
    times = [start + (index + phase) * span / count for index in range(count)]
    sizes = weights.tolist()
    if factor > 0.0:
        if rng is None:
            raise ValueError(f"rng must be a generator where the hiding factor is positive ({factor:g}), got None")
        times = jittered_times(times, span / count, factor, rng)
        sizes = jittered_weights(weights, factor, rng)
    last = math.nextafter(end, start)  # float resolution of the clock may round up to the end
    pieces, lot_size = whole_shares(quantity, sizes), parent.lot_size
    if parent.min_child:
        pieces = merge_small_pieces(pieces, smallest_lots(parent))
    children: list[ChildOrder] = []
    for lots, time in zip(pieces, times, strict=True):
        if lots:
            scheduled = time if time < last else last
            if clock is not None:
                scheduled = clock(scheduled)
            shares = lots if lot_size == 1 else shares_of(lots, lot_size)
            children.append(_record(ChildOrder, (parent, number, shares, scheduled, None, (), 0)))
            number += 1
    return children
