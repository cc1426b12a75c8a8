"""Children: a quantity in whole shares, cut by weights into pieces that sum to it exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    if not (len(sums) and 1e-200 < sums[-1] < math.inf):
        raise ValueError(f"weights must sum to a positive number, got {list(weights)}")
    sums *= quantity / sums[-1]
    edges = np.rint(sums).astype(np.int64)
    edges[-1] = quantity
    pieces: list[int] = edges.tolist()
    shares = [after - before for before, after in zip([0, *pieces], pieces, strict=False)]
    if min(shares) < 0:
        raise ValueError(f"weights must be non-negative, got {list(weights)}")
    return shares


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
) -> list[ChildOrder]:
    """Make the children of (what remains of) a parent: one in each of equal intervals, none without shares.

    Args:
        parent: The order that they belong to.
        quantity: Whole shares to cut.
        start: Begin of the first interval, seconds.
        end: End of the last interval, seconds; no child is scheduled at or after it.
        weights: Weights of the intervals.
        phase: Where in its interval a child is scheduled, 0 (at its begin) to 1/2 (in the middle).
        factor: How much times and sizes are jittered, 0 to 1 (see :mod:`~hyperexec_env.execution.hiding`).
        rng: Where the jitter comes from; needed where the factor is positive.
        number: Number of the first child.
    """
    count, span = len(weights), end - start
    times = np.asarray(start + (np.arange(count) + phase) * span / count, dtype=np.float64)
    if factor > 0.0:
        if rng is None:
            raise ValueError(f"rng must be a generator where the hiding factor is positive ({factor:g}), got None")
        times = jittered_times(times, span / count, factor, rng)
        weights = jittered_weights(weights, factor, rng)
    times = np.minimum(times, math.nextafter(end, start))  # where the clock is too coarse for so many children
    children: list[ChildOrder] = []
    for shares, time in zip(whole_shares(quantity, weights), times.tolist(), strict=True):
        if shares:
            children.append(_record(ChildOrder, (parent, number, shares, time, None, (), 0)))
            number += 1
    return children
