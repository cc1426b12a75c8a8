"""Child orders: cut a quantity into whole shares in proportion to weights, with an exact sum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hyperexec_env.execution.hiding import jittered_times, jittered_weights
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = ["cut", "whole_shares"]

_record = tuple.__new__  # builds a named tuple in half the time of calling its class


def whole_shares(quantity: int, weights: Sequence[float] | Weights) -> list[int]:
    """Return non-negative whole numbers, in proportion to weights, that sum to a quantity exactly.

    Cumulative sums are rounded: each piece is within one share of its exact size, and each partial sum within half a share.

    Args:
        quantity: Whole shares, 0 to 10^15.
        weights: Non-negative numbers with a positive sum, at least one.

    Raises:
        ValueError: There are no weights, one is negative, or their sum is not positive and finite.
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
    """Return the child orders of (the remaining shares of) a parent: one per interval, skipping intervals without shares.

    Args:
        parent: The parent order.
        quantity: Whole shares to cut.
        start: Start of the first interval, seconds.
        end: End of the last interval, seconds; every child is scheduled before it.
        weights: Weight of each of the equal intervals.
        phase: Position of a child within its interval, 0 (start) to 1/2 (middle).
        factor: Scale of the jitter of times and sizes, 0 to 1 (see :mod:`~hyperexec_env.execution.hiding`).
        rng: Generator of the jitter; required if the factor is positive.
        number: Number of the first child.

    Raises:
        ValueError: The factor is positive and `rng` is None, or the weights are invalid.
    """
    count, span = len(weights), end - start
    times = np.asarray(start + (np.arange(count) + phase) * span / count, dtype=np.float64)
    if factor > 0.0:
        if rng is None:
            raise ValueError(f"rng must be a generator where the hiding factor is positive ({factor:g}), got None")
        times = jittered_times(times, span / count, factor, rng)
        weights = jittered_weights(weights, factor, rng)
    times = np.minimum(times, math.nextafter(end, start))  # float resolution of the clock may round up to the end
    children: list[ChildOrder] = []
    for shares, time in zip(whole_shares(quantity, weights), times.tolist(), strict=True):
        if shares:
            children.append(_record(ChildOrder, (parent, number, shares, time, None, (), 0)))
            number += 1
    return children
