"""Children: a quantity in whole shares, cut by weights into pieces that sum to it exactly."""

from __future__ import annotations

from collections.abc import Sequence
from math import nextafter

import numpy as np

from hyperexec_env.execution.hiding import jittered_times, jittered_weights
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = ["cut", "whole_shares"]

_record = tuple.__new__  # makes a named tuple in half the time of a call


def whole_shares(quantity: int, weights: Sequence[float] | Weights) -> list[int]:
    """Cut a quantity in proportion to weights: whole numbers, none negative, that sum to it exactly.

    The cumulative sums are rounded, so that no piece is further than one share from its exact size, and no sum of the
    first pieces further than half a share.

    Args:
        quantity: Whole shares, 0 to 10^15.
        weights: Non-negative numbers with a positive sum, at least one.

    Raises:
        ValueError: There are no weights, or they do not sum to a positive number.
    """
    sums = np.cumsum(weights, dtype=np.float64)
    if not (len(sums) and sums[-1] > 0.0):
        raise ValueError(f"weights must sum to a positive number, got {list(weights)}")
    sums *= quantity / sums[-1]
    edges = np.rint(sums).astype(np.int64)
    edges[-1] = quantity
    pieces: list[int] = edges.tolist()
    return [after - before for before, after in zip([0, *pieces], pieces, strict=False)]


def cut(
    parent: ParentOrder,
    quantity: int,
    start: float,
    end: float,
    weights: Weights,
    *,
    factor: float = 0.0,
    rng: np.random.Generator | None = None,
    number: int = 0,
) -> list[ChildOrder]:
    """Make the children of (what remains of) a parent: one in the middle of each of equal intervals, none without shares.

    Args:
        parent: The order that they belong to.
        quantity: Whole shares to cut.
        start: Begin of the first interval, seconds.
        end: End of the last interval, seconds; no child is scheduled at or after it.
        weights: Weights of the intervals.
        factor: How much times and sizes are jittered, 0 to 1 (see :mod:`~hyperexec_env.execution.hiding`).
        rng: Where the jitter comes from; needed where the factor is positive.
        number: Number of the first child.
    """
    count, span = len(weights), end - start
    times = np.asarray(start + span * (2.0 * np.arange(count) + 1.0) / (2.0 * count), dtype=np.float64)
    if factor > 0.0:
        if rng is None:
            raise ValueError(f"rng must be a generator where the hiding factor is positive ({factor:g}), got None")
        times = jittered_times(times, span / count, factor, rng)
        weights = jittered_weights(weights, factor, rng)
    times = np.minimum(times, nextafter(end, start))  # where the clock is too coarse for so many children
    children: list[ChildOrder] = []
    for shares, time in zip(whole_shares(quantity, weights), times.tolist(), strict=True):
        if shares:
            children.append(_record(ChildOrder, (parent, number, shares, time, None, (), 0)))
            number += 1
    return children
