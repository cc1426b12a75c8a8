r"""Beliefs about what a market does not show, and the exact filters that update them: functions of a belief and of evidence.

A filter uses + - * / and at most one logarithm or exponential, so that it runs on floats, arrays and tensors alike. In slice k
with volume V_k, unaffected return r_k, net shares F_k that others buy and n_k own shares in some fills:

    volume level    log(V_k / E V_k) + (s0^2 + s^2) / 2 = L + a_k     L ~ N(0, s0^2); a_k ~ N(0, s^2), AR(1) with psi
    drift           r_k = mu tau + e_k                                e_k ~ N(0, sigma_k^2 tau)
    Kyle's lambda   r_k = lambda F_k / ADV + e_k                      e_k ~ N(0, (1 - R^2) sigma_k^2 tau)
    temporary       y_k = alpha sigma (n_k / V_k)^beta + e_k          e_k ~ N(0, sigma_k^2 tau / fills), y_k their slippage
    regime          p_{k+1} = (p_k * likelihood of the evidence) P    P transition matrix of a slice

Drift, lambda and alpha are slopes of a regression with a normal prior (:func:`learn`): each is conjugate, so the order of the
evidence does not matter. The evidence on lambda must not hold our own trades, which follow the regime as the flow does; the
evidence on alpha is the slippage within a slice, not the move of the price, which holds the news.

Sources: Kalman (1960); Hamilton (1989) for the regimes; Almgren and Lorenz (2006) for the drift.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, Final, NamedTuple

from hyperexec_env.market.numeric import exponential, logarithm, maximum, minimum, where

__all__ = [
    "Normal",
    "Pair",
    "VolumeBelief",
    "expected_inverse_volume",
    "expected_volume",
    "gain_after",
    "interval",
    "learn",
    "learn_odds",
    "learn_pair",
    "learn_volume",
    "log_density",
    "log_likelihood",
    "log_volume_ratio",
    "move_regimes",
    "next_volume",
    "possible",
    "start_volume",
    "variance_after",
    "volume_after",
    "weigh_regimes",
    "weight",
]

LEVEL: Final = 0.9
"""Probability of the intervals that reports print."""
_QUANTILE: Final = NormalDist().inv_cdf(0.5 + 0.5 * LEVEL)


class Normal(NamedTuple):
    """A normal distribution: floats, or arrays over episodes."""

    mean: Any
    variance: Any


def interval(belief: Normal) -> tuple[Any, Any]:
    """Return the central interval with the probability :data:`LEVEL`."""
    reach = _QUANTILE * belief.variance**0.5
    return belief.mean - reach, belief.mean + reach


def learn(belief: Normal, value: Any, variance: Any, slope: Any = 1.0) -> Normal:
    """Return the belief about theta after one observation value = slope theta + e, with e ~ N(0, variance).

    Args:
        belief: The belief before.
        value: The observation.
        variance: Variance of its error; positive where the variance of the belief is.
        slope: The regressor; 0 carries no information.
    """
    total = slope * slope * belief.variance + variance
    total = total + (total == 0.0)  # nothing is unknown, and the gain is 0
    gain = slope * belief.variance / total
    return Normal(belief.mean + gain * (value - slope * belief.mean), belief.variance * variance / total)


class Pair(NamedTuple):
    """A joint normal of two numbers: floats, or arrays over episodes."""

    first: Any
    """Mean of the first number."""
    second: Any
    """Mean of the second number."""
    first_variance: Any
    covariance: Any
    second_variance: Any


def learn_pair(belief: Pair, value: Any, variance: Any, on_first: Any, on_second: Any) -> Pair:
    """Return the belief after one observation value = on_first * first + on_second * second + e, with e ~ N(0, variance)."""
    along = on_first * belief.first_variance + on_second * belief.covariance
    across = on_first * belief.covariance + on_second * belief.second_variance
    total = on_first * along + on_second * across + variance
    total = total + (total <= 0.0) * (1.0 - total)  # nothing is unknown but for rounding, and the gains are 0 but for rounding
    surprise = value - on_first * belief.first - on_second * belief.second
    return Pair(
        belief.first + along / total * surprise,
        belief.second + across / total * surprise,
        maximum(belief.first_variance - along * along / total, 0.0),
        belief.covariance - along * across / total,
        maximum(belief.second_variance - across * across / total, 0.0),
    )


def variance_after(prior: Any, noise: Any, count: Any) -> Any:
    """Return the variance of a belief about a constant after `count` observations with errors of variance `noise`."""
    return prior * noise / (noise + count * prior)


def gain_after(prior: Any, noise: Any, count: Any) -> Any:
    """Return the mean of a belief about a constant of mean zero, over the sum of `count` observations with equal errors."""
    return prior / (noise + count * prior)


def learn_odds(log_odds: Any, value: Any, variance: Any, low: Any, high: Any, slope: Any = 1.0) -> Any:
    """Return the log-odds of `high` against `low` after one observation value = slope theta + e, with e ~ N(0, variance)."""
    below, above = value - slope * low, value - slope * high
    return log_odds + (below * below - above * above) / (2.0 * variance)


# --- volume


class VolumeBelief(NamedTuple):
    """Joint normal of the level L of the log volume, constant over the day, and of the log noise a of the present slice."""

    level: Any
    """Mean of L."""
    noise: Any
    """Mean of a."""
    level_variance: Any
    covariance: Any
    noise_variance: Any

    @property
    def mean(self) -> Any:
        """Mean of L + a."""
        return self.level + self.noise

    @property
    def variance(self) -> Any:
        """Variance of L + a."""
        return self.level_variance + 2.0 * self.covariance + self.noise_variance


def start_volume(level_variance: Any, noise_variance: Any) -> VolumeBelief:
    """Return the belief before the first slice."""
    zero = 0.0 * level_variance
    return VolumeBelief(zero, zero, level_variance, zero, noise_variance)


def log_volume_ratio(volume: Any, expected: Any, variance: Any) -> Any:
    """Return the evidence of the volume of a slice on L + a.

    Args:
        volume: Volume of the slice, shares.
        expected: Its expectation, shares.
        variance: s0^2 + s^2, variance of the log volume before the episode.
    """
    return logarithm(volume / expected) + 0.5 * variance


def learn_volume(belief: VolumeBelief, ratio: Any, spread: Any = 0.0) -> VolumeBelief:
    """Return the belief after the evidence of a slice (:func:`log_volume_ratio`).

    Args:
        belief: The belief before.
        ratio: The evidence; where the regime is hidden, its mean over the regimes given the evidence.
        spread: Variance of the evidence over the hidden regimes. The belief is then the normal of the same mean and variance as
            the mixture over the regimes; without it, the belief is exact.
    """
    total = belief.variance
    total = total + (total == 0.0)
    on_level = (belief.level_variance + belief.covariance) / total
    on_noise = (belief.covariance + belief.noise_variance) / total
    surprise, left = ratio - belief.mean, spread - belief.variance
    return VolumeBelief(
        belief.level + on_level * surprise,
        belief.noise + on_noise * surprise,
        belief.level_variance + on_level * on_level * left,
        belief.covariance + on_level * on_noise * left,
        belief.noise_variance + on_noise * on_noise * left,
    )


def next_volume(belief: VolumeBelief, persistence: Any, noise_variance: Any) -> VolumeBelief:
    """Return the belief at the start of the next slice, whose noise is psi a + N(0, (1 - psi^2) s^2)."""
    return VolumeBelief(
        belief.level,
        persistence * belief.noise,
        belief.level_variance,
        persistence * belief.covariance,
        persistence * persistence * belief.noise_variance + (1.0 - persistence * persistence) * noise_variance,
    )


def volume_after(belief: VolumeBelief, decay: Any, noise_variance: Any) -> Normal:
    """Return the law of L + a some slices after the present one, with `decay` = psi^j for j slices (0 where psi is 0)."""
    mean = belief.level + decay * belief.noise
    carried = 2.0 * decay * belief.covariance + decay * decay * belief.noise_variance
    return Normal(mean, belief.level_variance + carried + (1.0 - decay * decay) * noise_variance)


def expected_volume(log_volume: Normal, variance: Any) -> Any:
    """Return E[V / E V] of a belief about the log volume L + a; `variance` is s0^2 + s^2."""
    return exponential(log_volume.mean + 0.5 * (log_volume.variance - variance))


def expected_inverse_volume(log_volume: Normal, variance: Any) -> Any:
    """Return E[E V / V] of a belief about the log volume L + a: above the inverse of :func:`expected_volume`."""
    return exponential(0.5 * (log_volume.variance + variance) - log_volume.mean)


# --- regimes


def log_likelihood(value: Any, mean: Any, variance: Any) -> Any:
    """Return the log density of a normal, less a constant."""
    return log_density(value - mean, variance, logarithm(variance))


def log_density(away: Any, variance: Any, log_variance: Any) -> Any:
    """Return the log density of a normal at a distance from its mean, less a constant, given the log of its variance too."""
    return -0.5 * (away * away / variance + log_variance)


def weigh_regimes(probabilities: Any, log_likelihoods: Any) -> Any:
    """Return the probabilities of the regimes after evidence; arrays with the regimes on the last axis.

    Args:
        probabilities: Probabilities before, shape (..., M).
        log_likelihoods: Log density of the evidence in each regime, shape (..., M).
    """
    most = possible(log_likelihoods, probabilities).max(axis=-1, keepdims=True)
    weights = weight(log_likelihoods, probabilities, most)
    return weights / weights.sum(axis=-1, keepdims=True)


def possible(log_likelihood: Any, probability: Any) -> Any:
    """Return the log density of evidence in a regime; minus infinity in a regime of probability zero."""
    return where(probability > 0.0, log_likelihood, -math.inf)


def weight(log_likelihood: Any, probability: Any, most: Any) -> Any:
    """Return the probability of a regime times the density of evidence over that in the likeliest possible regime.

    That regime has a density of 1, so that some weight is above zero however far the evidence is from what all regimes expect.
    """
    return probability * exponential(minimum(log_likelihood - most, 0.0))


def move_regimes(probabilities: Any, transition: Any) -> Any:
    """Return the probabilities of the regimes in the next slice; `transition` has shape (M, M), rows sum to one."""
    return probabilities @ transition
