"""Resamples of days in blocks, so that what persists from day to day is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["resampled_days"]


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
