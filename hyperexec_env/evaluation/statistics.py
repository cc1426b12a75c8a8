"""Statistics of paired episodes: bootstrap intervals, p-values, ranks, CVaR and power. numpy only."""

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
"""Number of bootstrap resamples."""
_CHUNK: Final = 100
"""Resamples computed in one matrix product; divides :data:`RESAMPLES`."""
GROUPS: Final = 4096
"""Number of groups into which the bootstrap averages more episodes than this."""
ROUNDING: Final = 1e-9
"""Mean difference, bps, below which two policies count as equal."""


def cvar(values: Floats, level: float = 0.95) -> float:
    """Return the conditional value at risk, the mean of the largest 1 - `level` of the costs (Rockafellar and Uryasev 2000).

    Args:
        values: Costs, shape (episodes,); at least one is averaged.
        level: Level, in (0, 1).
    """
    count = max(1, round(len(values) * (1.0 - level)))
    return float(np.partition(values, len(values) - count)[-count:].mean())


def group_means(values: Floats) -> Floats:
    """Average neighbouring episodes (last axis) into at most :data:`GROUPS` groups.

    Groups are scaled so that their mean equals the mean of the episodes. Episodes are independent, so the standard error of
    the mean is that of the episodes.
    """
    episodes = values.shape[-1]
    if episodes <= GROUPS:
        return values
    edges = np.linspace(0, episodes, GROUPS + 1).astype(int)[:-1]
    mean = values.mean(axis=-1, keepdims=True)  # group sizes differ by one, so sum deviations from the mean
    return np.asarray(mean + np.add.reduceat(values - mean, edges, axis=-1) * (GROUPS / episodes))


def bootstrap_means(values: Floats, seed: int = 0) -> Floats:
    """Return bootstrap means; every policy uses the same resamples, so that differences stay paired.

    Args:
        values: Costs, shape (policies, episodes).
        seed: Seed of the resampling.

    Returns:
        Means, shape (policies, RESAMPLES).
    """
    grouped = group_means(values)
    rng, groups = np.random.default_rng(seed), grouped.shape[1]
    means = np.empty((len(values), RESAMPLES))
    counts = np.empty((_CHUNK, groups))  # how often each resample draws each group
    for first in range(0, RESAMPLES, _CHUNK):
        for row in counts:
            drawn = rng.integers(0, groups, groups).astype(np.intp, copy=False)  # 32 bits in a browser, where the draws are 64
            row[:] = np.bincount(drawn, minlength=groups)
        means[:, first : first + _CHUNK] = np.einsum("pg,rg->pr", grouped, counts)
    means /= groups
    return means


def interval(means: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap means, shape (resamples,)."""
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def simultaneous_intervals(estimates: Floats, means: Floats, level: float = 0.95) -> Floats:
    """Return simultaneous confidence intervals (max-t; Romano and Wolf 2005).

    The half-width of every interval is the same multiple of its standard error: the `level` quantile, over resamples, of the
    largest standardised deviation of any estimate. The method uses the correlation between estimates, which Bonferroni and
    Holm ignore, so one may inspect all intervals and report the most striking.

    Args:
        estimates: Means, or differences of means, shape (estimates,).
        means: Paired bootstrap means of the estimates, shape (estimates, resamples).
        level: Probability that all intervals cover their true values.

    Returns:
        Lower and upper ends, shape (2, estimates).
    """
    errors = means.std(axis=1)
    varying = errors > 1e-12
    deviations = np.abs(means[varying] - estimates[varying, None]) / errors[varying, None]
    half_width = errors * (np.quantile(deviations.max(axis=0), level) if varying.any() else 0.0)
    return np.array([estimates - half_width, estimates + half_width])


def share_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of Wilson (1927) for a probability, given `count` events in `total` trials."""
    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    share, weight = count / total, z * z / total
    middle, half = share + 0.5 * weight, z * math.sqrt((share * (1.0 - share) + 0.25 * weight) / total)
    return max(0.0, (middle - half) / (1.0 + weight)), min(1.0, (middle + half) / (1.0 + weight))


def p_value(differences: Floats) -> float:
    """Return the two-sided p-value of the hypothesis that paired differences have mean zero.

    Student's t, mapped to a normal quantile by the approximation of Wallace (1959). Unlike the p-value of a bootstrap with a
    few thousand resamples, it can be as small as a correction for many comparisons requires.

    Args:
        differences: Paired differences, shape (episodes,), at least two.

    Returns:
        The p-value: 1 where the absolute mean is below :data:`ROUNDING`, 0 where the differences are a larger constant.
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
    """Return p-values adjusted for multiple comparisons (the step-down procedure of Holm 1979).

    Reject the hypotheses whose adjusted p-value is at most 1 - level: the probability of any false rejection is then at most
    1 - level, whatever the dependence between the tests.

    Args:
        p_values: p-value of each hypothesis, shape (hypotheses,).
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def ranks(values: Floats, level: float = 0.95) -> list[int]:
    """Return the rank of each policy, 1 is best; policies that do not differ significantly share a rank.

    Pairs are compared by :func:`p_value`, Holm-adjusted over all pairs. In the order of the means, a new rank begins where
    every earlier policy differs significantly from every later one. So if A and B do not differ, nor B and C, all three share
    a rank even if A and C differ.

    Args:
        values: Costs, shape (policies, episodes), the same episodes for all policies.
        level: Probability that no two equal policies are declared different.
    """
    count = len(values)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    adjusted = holm(np.array([p_value(values[i] - values[j]) for i, j in pairs]))
    differ = np.zeros((count, count), dtype=bool)
    for (i, j), p in zip(pairs, adjusted, strict=True):
        differ[i, j] = differ[j, i] = p <= 1.0 - level
    order = np.argsort(values.mean(axis=1), kind="stable")
    found, rank = [1] * count, 1
    for place in range(1, count):
        if differ[np.ix_(order[:place], order[place:])].all():
            rank = place + 1
        found[order[place]] = rank
    return found


def interquartile_mean(values: Floats) -> Floats:
    """Return the interquartile mean along the first axis: the mean without the lowest and the highest quarter of the values.

    A quarter is rounded down to whole values, as in the authors' code (Agarwal et al. 2021), so fewer than four values yield
    their plain mean.
    """
    cut = len(values) // 4
    return np.asarray(np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0))


def interquartile_interval(values: Floats, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of the interquartile mean, over training seeds, of the mean cost over episodes.

    Training seeds and episodes are resampled; all training seeds share the episodes. A few training seeds underestimate the
    dispersion between them, so the interval is too narrow: its coverage is below `level`.

    Args:
        values: Costs, shape (training seeds, episodes).
        seed: Seed of the resampling.
        level: Nominal level of the interval.
    """
    means = bootstrap_means(values, seed)
    rng = np.random.default_rng([seed, len(values)])
    chosen = rng.integers(0, len(values), means.shape)
    return interval(interquartile_mean(np.take_along_axis(means, chosen, axis=0)), level)


def smallest_difference(sd: float, episodes: int, level: float = 0.95, power: float = 0.8) -> float:
    """Return the smallest mean difference that paired episodes detect: (z_level + z_power) sd / sqrt(episodes).

    Args:
        sd: Standard deviation, over episodes, of the paired differences; the result has the same unit.
        episodes: Number of episodes.
        level: Level of the two-sided test, in (0, 1).
        power: Probability of detecting a true difference of the returned size, in (0, 1).

    Raises:
        ValueError: An argument is out of range.
    """
    check_number("sd", sd, low=0.0)
    check_integer("episodes", episodes, low=1, high=2**63 - 1)
    for name, value in (("level", level), ("power", power)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must be a number in (0, 1), got {value!r}")
    normal = NormalDist()
    return (normal.inv_cdf(0.5 + 0.5 * level) + normal.inv_cdf(power)) * sd / math.sqrt(episodes)
