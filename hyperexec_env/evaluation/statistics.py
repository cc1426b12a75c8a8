"""Statistics of paired episodes: bootstrap intervals, shares, tails and ranks. numpy only."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["GROUPS", "bootstrap_means", "cvar", "group_means", "interval", "ranks", "share_interval", "simultaneous_intervals"]

Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
GROUPS: Final = 4096
"""More episodes than this are averaged into this many groups before the bootstrap."""


def cvar(values: Floats, level: float = 0.95) -> float:
    """Return the conditional value at risk: the mean of the worst 1 - `level` of the costs (Rockafellar and Uryasev 2000)."""
    count = max(1, round(len(values) * (1.0 - level)))
    return float(np.partition(values, len(values) - count)[-count:].mean())


def group_means(values: Floats) -> Floats:
    """Gather neighbouring episodes (last axis) into at most :data:`GROUPS` groups, scaled so that their mean is the mean of the
    episodes. Episodes are independent, so the standard error stays what it is.
    """
    episodes = values.shape[-1]
    if episodes <= GROUPS:
        return values
    edges = np.linspace(0, episodes, GROUPS + 1).astype(int)[:-1]
    mean = values.mean(axis=-1, keepdims=True)  # groups differ by one episode: their sums are those of deviations
    return np.asarray(mean + np.add.reduceat(values - mean, edges, axis=-1) * (GROUPS / episodes))


def bootstrap_means(values: Floats, seed: int = 0) -> Floats:
    """Return means of resampled episodes, the same resamples for every policy, so that differences stay paired.

    Args:
        values: Costs, shape (policies, episodes).
        seed: Seed of the resampling.

    Returns:
        Array of shape (policies, RESAMPLES).
    """
    grouped = group_means(values)
    rng = np.random.default_rng(seed)
    means = np.empty((len(values), RESAMPLES))
    for draw in range(RESAMPLES):
        means[:, draw] = grouped[:, rng.integers(0, grouped.shape[1], grouped.shape[1])].mean(axis=1)
    return means


def interval(means: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap means."""
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def simultaneous_intervals(estimates: Floats, means: Floats, level: float = 0.95) -> Floats:
    """Return intervals that hold all together, so that one may look at all of them and speak of the most striking.

    Each is as many of its standard errors wide as the largest deviation of a resample has, over all estimates, in `level` of
    the resamples (max-t; Romano and Wolf 2005). It heeds how the estimates hang together, which Bonferroni and Holm do not.

    Args:
        estimates: Means, or differences of means, shape (estimates,).
        means: Their bootstrap means, paired, shape (estimates, resamples).
        level: Probability that every interval holds its own true value.

    Returns:
        Lower and upper ends, shape (2, estimates).
    """
    errors = means.std(axis=1)
    varied = errors > 1e-12
    deviations = np.abs(means[varied] - estimates[varied, None]) / errors[varied, None]
    width = errors * (np.quantile(deviations.max(axis=0), level) if varied.any() else 0.0)
    return np.array([estimates - width, estimates + width])


def share_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of Wilson (1927) of a probability, from how often something happened."""
    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    share, weight = count / total, z * z / total
    middle, half = share + 0.5 * weight, z * math.sqrt((share * (1.0 - share) + 0.25 * weight) / total)
    return max(0.0, (middle - half) / (1.0 + weight)), min(1.0, (middle + half) / (1.0 + weight))


def ranks(means: Floats) -> list[int]:
    """Return 1 + the number of policies that are better beyond doubt: whose paired 95 % interval lies below zero.

    Args:
        means: Paired bootstrap means, shape (policies, resamples); smaller is better.
    """
    return [1 + sum(interval(other - own)[1] < -1e-9 for other in means) for own in means]
