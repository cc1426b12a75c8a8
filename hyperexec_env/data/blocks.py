"""Resamples of days in blocks, so that what persists from day to day is kept; and of days and instruments together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["resampled_days", "two_way_means"]


def resampled_days(days: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return the days of each resample of a circular moving-block bootstrap (Kuensch 1989), shape (resamples, days).

    Blocks have the length days^(1/3), rounded.

    Args:
        days: Number of days.
        resamples: Number of resamples.
        seed: Seed of the resamples.
    """
    block = max(1, round(days ** (1.0 / 3.0)))
    first = np.random.default_rng(seed).integers(0, days, size=(resamples, -(-days // block)))
    return np.asarray(((first[:, :, None] + np.arange(block)) % days).reshape(resamples, -1)[:, :days])


def two_way_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the mean of each resample of values by day and instrument, clustered both ways, shape (resamples,).

    All instruments share the news of a day, and an instrument differs from the others on all days. So the days (in blocks, by
    :func:`resampled_days`) and the instruments are resampled independently, and the value of an instrument on a day is weighted
    by the product of both counts: the pigeonhole bootstrap (Owen 2007). Its variance has the terms of the two-way clustered
    variance of Cameron, Gelbach and Miller (2011), V = V_day + V_instrument - V_day-instrument, but counts the noise of a
    single value up to three times, so that intervals are rather too wide. One instrument is not resampled.

    Args:
        values: Values, NaN where an instrument has no such day, shape (days, instruments).
        resamples: Number of resamples.
        seed: Seed of the resamples.
    """
    days, instruments = values.shape
    known = ~np.isnan(values)
    chosen = resampled_days(days, resamples, seed)
    counts = np.stack([np.bincount(row, minlength=days) for row in chosen]).astype(float)
    weights = np.ones((resamples, 1))
    if instruments > 1:
        rng = np.random.default_rng((seed, 1))
        weights = rng.multinomial(instruments, np.full(instruments, 1.0 / instruments), size=resamples).astype(float)
    total = ((counts @ np.where(known, values, 0.0)) * weights).sum(axis=1)
    count = ((counts @ known.astype(float)) * weights).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(resamples, np.nan), where=count > 0.0))
