"""Intraday patterns: the share of the daily volume, and the volatility over that of the day, in each slice of an order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["slice_profile", "volatility_profile"]


def slice_profile(
    curve: Sequence[float], slices: int, start_minute: float, horizon_minutes: float, day_minutes: float
) -> NDArray[np.float64]:
    """Return the expected volume of each slice of an order, as a share of the daily volume.

    Args:
        curve: Relative volume of equal parts of the day, any number of parts; empty means flat.
        slices: Number of slices, N.
        start_minute: Start of the order, minutes after the open.
        horizon_minutes: Length of the order, minutes.
        day_minutes: Length of the trading day, minutes.

    Returns:
        Array of shape (N,). An order over the whole day sums to one, whatever the number of slices.

    Raises:
        ValueError: The curve does not sum to a positive number.
    """
    weights = np.array(curve if len(curve) else [1.0], dtype=float)
    if not weights.sum() > 0.0:
        raise ValueError(f"volume_curve must sum to a positive number, got {weights.sum()}; leave it empty for a flat curve")
    edges = np.linspace(0.0, day_minutes, len(weights) + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(weights / weights.sum())])
    times = start_minute + horizon_minutes * np.arange(slices + 1) / slices
    return np.diff(np.interp(times, edges, cumulative))


def volatility_profile(
    curve: Sequence[float], slices: int, start_minute: float, horizon_minutes: float, day_minutes: float
) -> NDArray[np.float64]:
    r"""Return the volatility of each slice of an order over the daily volatility, c_k.

    c_k is the root mean square of the curve over the slice, where the curve is scaled to a root mean square of one over the
    whole day. The variance of a day is then that of a flat curve, and an order over a part of the day has the variance of
    its part.

    Args:
        curve: Relative volatility of equal parts of the day, any number of parts; empty means flat, c_k = 1.
        slices: Number of slices, N.
        start_minute: Start of the order, minutes after the open.
        horizon_minutes: Length of the order, minutes.
        day_minutes: Length of the trading day, minutes.

    Returns:
        Array of shape (N,).

    Raises:
        ValueError: The curve has no positive value.
    """
    if not len(curve):
        return np.ones(slices)
    relative = np.array(curve, dtype=float)
    if not relative.max() > 0.0:
        raise ValueError("volatility_curve must have a positive value, got zeros; leave it empty for a flat curve")
    squares = (relative / relative.max()) ** 2
    shares = slice_profile(squares.tolist(), slices, start_minute, horizon_minutes, day_minutes)
    return np.asarray(np.sqrt(shares * (slices * day_minutes / horizon_minutes)))
