"""Statistics of paired episodes: bootstrap intervals, p-values, shares, tails and ranks. numpy only."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number

__all__ = [
    "GROUPS",
    "ROUNDING",
    "bootstrap_means",
    "cvar",
    "group_means",
    "holm",
    "interquartile_interval",
    "interquartile_mean",
    "interval",
    "p_value",
    "ranks",
    "share_interval",
    "simultaneous_intervals",
    "smallest_difference",
]

Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
_AT_ONCE: Final = 100
"""Resamples whose means are taken together; a divisor of their number."""
GROUPS: Final = 4096
"""More episodes than this are averaged into this many groups before the bootstrap."""
ROUNDING: Final = 1e-9
"""A mean difference below this, bps, is that of two policies that do the same."""


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
    rng, groups = np.random.default_rng(seed), grouped.shape[1]
    means = np.empty((len(values), RESAMPLES))
    counts = np.empty((_AT_ONCE, groups))  # how often each group was drawn: for every policy the same
    for first in range(0, RESAMPLES, _AT_ONCE):
        for row in counts:
            row[:] = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        means[:, first : first + _AT_ONCE] = np.einsum("pg,rg->pr", grouped, counts)
    means /= groups
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


def p_value(differences: Floats) -> float:
    """Return the two-sided p-value of the hypothesis that paired differences have the mean zero.

    It is that of Student's t, made a normal value by the approximation of Wallace (1959). Unlike a bootstrap of some thousand
    resamples it can be as small as a correction for many comparisons asks for.

    Args:
        differences: Paired differences, shape (episodes,), two or more.
    """
    mean, freedom = float(differences.mean()), len(differences) - 1
    if abs(mean) < ROUNDING:
        return 1.0
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if error < ROUNDING * abs(mean):
        return 0.0
    z = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0) * math.sqrt(freedom * math.log1p((mean / error) ** 2 / freedom))
    return math.erfc(z / math.sqrt(2.0))


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for looking at all of them (the step-down procedure of Holm 1979).

    Those that are at most 1 - level may be called differences: the probability that one of these is none is at most 1 - level,
    however the differences hang together.

    Args:
        p_values: One for each hypothesis, shape (hypotheses,).
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def ranks(values: Floats, level: float = 0.95) -> list[int]:
    """Return ranks, 1 is best: policies that cannot be told apart share one, and a better rank is better beyond doubt.

    Each pair is compared by :func:`p_value`, with Holm over all pairs. A new rank begins where each policy before is told apart
    from each one after; so where A and B, and B and C, cannot be told apart, the three share a rank.

    Args:
        values: Costs, shape (policies, episodes), the same episodes for all.
        level: Probability that no two policies are told apart that are equal.
    """
    count = len(values)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    adjusted = holm(np.array([p_value(values[i] - values[j]) for i, j in pairs]))
    apart = np.zeros((count, count), dtype=bool)
    for (i, j), p in zip(pairs, adjusted, strict=True):
        apart[i, j] = apart[j, i] = p <= 1.0 - level
    order = np.argsort(values.mean(axis=1), kind="stable")
    found, rank = [1] * count, 1
    for place in range(1, count):
        if apart[np.ix_(order[:place], order[place:])].all():
            rank = place + 1
        found[order[place]] = rank
    return found


def interquartile_mean(values: Floats) -> Floats:
    """Return the mean of what is left without the lowest and the highest quarter (Agarwal et al. 2021), along the first axis.

    A quarter is rounded down to whole values, as in the authors' own code: it is the plain mean of fewer than four.
    """
    cut = len(values) // 4
    return np.asarray(np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0))


def interquartile_interval(values: Floats, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of the interquartile mean over training seeds of the mean over episodes.

    Both are resampled: the training seeds, and the episodes, which are the same for all seeds. What a few seeds say of the
    spread among seeds is too little, and so is the width of the interval: its true level is below the stated one.

    Args:
        values: Costs, shape (training seeds, episodes).
        seed: Seed of the resampling.
        level: Level of the interval.
    """
    means = bootstrap_means(values, seed)
    rng = np.random.default_rng([seed, len(values)])
    chosen = rng.integers(0, len(values), means.shape)
    return interval(interquartile_mean(np.take_along_axis(means, chosen, axis=0)), level)


def smallest_difference(sd: float, episodes: int, level: float = 0.95, power: float = 0.8) -> float:
    """Return the mean difference that paired episodes can find: (z_level + z_power) sd / sqrt(episodes).

    Args:
        sd: Standard deviation of the paired differences of an episode, in the unit of the answer.
        episodes: Number of episodes.
        level: Level of the two-sided test, in (0, 1).
        power: Probability that a true difference of that size is found, in (0, 1).

    Raises:
        ValueError: A value out of its range.
    """
    check_number("sd", sd, low=0.0)
    check_integer("episodes", episodes, low=1, high=2**63 - 1)
    for name, value in (("level", level), ("power", power)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must be a number in (0, 1), got {value!r}")
    normal = NormalDist()
    return (normal.inv_cdf(0.5 + 0.5 * level) + normal.inv_cdf(power)) * sd / math.sqrt(episodes)
