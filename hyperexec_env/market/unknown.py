r"""What an episode draws once and never shows, and what its trader believes of it: exact filters of the public evidence.

With L the log level of the volume and mu the drift that is added to that of the regime (:mod:`~hyperexec_env.market.path`),

    L  ~ N(0, s0^2)         log r_k + (s0^2 + s^2) / 2 = L + a_k          r_k = V_k / E[V_k | m_k], a_k ~ N(0, s^2)
    mu ~ N(0, nu^2)         y_k = mu tau + s_m sqrt(1 - R^2) xi_k         y_k the return of slice k less mu_m tau and its flow

    l  ~ N(1, q^2)          y_k = mu tau + l s_m R u_k + s_m sqrt(1 - R^2) xi_k                with Kyle's lambda unknown

    f  = 1 - s or 1 + s      z_k = f b_k + sigma_m P0 sqrt(tau / 3) zeta_k     z_k the slippage of our own fills by impact

b_k = alpha_m sigma_m P0 (n_k / V_k)^beta is the temporary impact of n_k shares at the mean alpha. The child trades evenly over
the slice, during which the mean of the price has the variance sigma_m^2 tau / 3. The log-odds of 1 + s against 1 - s move by
:func:`hyperexec_env.market.belief.learn_odds`: here our own trades make the evidence, which grows with b_k^2.

a_k is independent from slice to slice, or AR(1) with the coefficient psi (:mod:`~hyperexec_env.market.volume_noise`): then
the last noise is a part of the evidence, and the difference to psi times the evidence before shows (1 - psi) L with an
independent error. The regime and the order flow u_k are known, so the move by flow, s_m R u_k, is no error.

l is Kyle's lambda of the flow of others over that of the scenario: a regression on the tape, in which our own trades have no
part. With an unknown drift it is one regression on both. l scales our own permanent impact too, whose cost no plan changes and
J leaves out; the environment charges its mean, and the transient impact is that of the scenario. So l is worth an estimate, and
no plan.

Our trades move neither the evidence on L nor that on mu and l: these beliefs are exogenous signals. The filters are those of
:func:`hyperexec_env.market.belief.learn` and :func:`~hyperexec_env.market.belief.learn_pair`, in every execution.

Sources: Kalman (1960); Almgren and Lorenz (2006) for the drift.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.market import noise
from hyperexec_env.market.belief import Normal, Pair, learn, learn_odds, learn_pair
from hyperexec_env.market.numeric import double, exponential, minimum, power, single, where
from hyperexec_env.market.tables import Numbers, SliceRow

__all__ = [
    *("SLIPPAGE", "Evidence", "draw_drift", "draw_kyle", "draw_slope", "first_level", "learn_level", "learn_moves"),
    *("learn_slope", "level_evidence", "move_evidence", "slope_moments"),
]

_DRIFT: Final = noise.offset(noise.ORDER + 6 * noise.STREAMS)
_SLOPE: Final = noise.offset(noise.ORDER + 7 * noise.STREAMS)
_KYLE: Final = noise.offset(noise.ORDER + 8 * noise.STREAMS)
_TOP: Final = np.uint64(63)
_NOTHING: Final = Normal(0.0, 0.0)
_CERTAIN: Final = 700.0
"""Log-odds whose exponential is finite; the probability is 0 or 1 to the last bit long before."""
SLIPPAGE: Final = math.sqrt(1.0 / 3.0)
"""Standard deviation of the mean of the price over a slice around its start, in standard deviations of its move."""


def draw_drift(numbers: Numbers, key: Any) -> Any:
    """Return the drift of the episode with a key around that of the regime, fraction of the arrival price a day."""
    return numbers.drift_sd * _normal(key, _DRIFT) if numbers.spec.unknown_drift else 0.0


def draw_kyle(numbers: Numbers, key: Any) -> Any:
    """Return Kyle's lambda of the episode with a key over that of the scenario."""
    return 1.0 + numbers.kyle_sd * _normal(key, _KYLE) if numbers.spec.unknown_kyle else 1.0


def _normal(key: Any, offset: Any) -> Any:
    """Return the standard normal of one word of the episode with a key."""
    word = noise.word(key, offset)
    return double(noise.normal(np.uint32(word >> noise.UPPER), np.uint32(word & noise.LOWER)))


def draw_slope(numbers: Numbers, key: Any) -> Any:
    """Return the temporary impact of the episode with a key over its mean."""
    if not numbers.spec.unknown_slope:
        return 1.0
    return where(noise.word(key, _SLOPE) >> _TOP > 0, 1.0 + numbers.temp_impact_sd, 1.0 - numbers.temp_impact_sd)


def learn_slope(numbers: Numbers, odds: Any, base: Any, participation: Any, factor: Any, slipped: Any, variance: Any) -> Any:
    """Return the log-odds of the higher temporary impact after the fills of a slice.

    Args:
        numbers: The numbers of the market.
        odds: The log-odds before.
        base: alpha_m sigma_m P0 of the slice at the mean alpha, currency per share.
        participation: Shares that traded over the volume of the slice; 0 carries no information.
        factor: Temporary impact of the episode over its mean.
        slipped: Error of the slippage, currency per share.
        variance: Its variance.
    """
    mean, spread = base * power(participation, numbers.spec.beta), numbers.temp_impact_sd
    known = variance + (variance == 0.0)
    return learn_odds(odds, factor * mean + slipped, known, 1.0 - spread, 1.0 + spread, mean)


def slope_moments(numbers: Numbers, odds: Any) -> Normal:
    """Return mean and variance of the temporary impact over its mean, given the log-odds of the higher one."""
    spread = numbers.temp_impact_sd
    away = spread * (2.0 / (1.0 + exponential(minimum(-odds, _CERTAIN))) - 1.0)
    return Normal(1.0 + away, spread * spread - away * away)


def first_level(numbers: Numbers, ratio: Any) -> Normal:
    """Return the belief about L before the first slice, given the ratio of the slice before it."""
    if not numbers.spec.varying_level:
        return _NOTHING
    prior = numbers.volume_level_sd * numbers.volume_level_sd
    if numbers.spec.volume_persistence == 0.0:
        return Normal(ratio * 0.0, ratio * 0.0 + prior)
    return learn(Normal(0.0, prior), _log_ratio(numbers, ratio), _stationary(numbers))


class Evidence(NamedTuple):
    """What a slice tells of one or of two numbers: value = on_first a + on_second b + e, with e ~ N(0, variance)."""

    value: Any
    variance: Any
    on_first: Any
    on_second: Any


def level_evidence(numbers: Numbers, before: Any, ratio: Any) -> Evidence:
    """Return the evidence of a slice on L, given the ratio of the slice before it and its own, V_k / E[V_k | m_k]."""
    persistence = numbers.spec.volume_persistence
    seen, variance = _log_ratio(numbers, ratio), numbers.volume_noise * numbers.volume_noise
    if persistence == 0.0:
        return Evidence(seen, variance, 1.0, 0.0)
    return Evidence(seen - persistence * _log_ratio(numbers, before), variance, 1.0 - persistence, 0.0)


def learn_level(numbers: Numbers, belief: Normal, evidence: Evidence) -> Normal:
    """Return the belief about L after a slice with some evidence."""
    return learn(belief, evidence.value, evidence.variance, evidence.on_first)


def move_evidence(numbers: Numbers, row: SliceRow, earned: Any, flow: Any) -> Evidence:
    """Return the evidence of a slice on mu, and on l where it is unknown.

    Args:
        numbers: The numbers of the market.
        row: The numbers of the slice in its regime.
        earned: Return of the unaffected price over the slice: its predictable and its zero-mean part, fraction.
        flow: Order flow of the slice, standard deviations.
    """
    news, by_flow = row.step_volatility * numbers.by_news, row.step_volatility * numbers.by_flow * flow
    shown = earned - row.step_drift
    if numbers.spec.unknown_kyle:
        return Evidence(shown, news * news, numbers.tau, by_flow)
    return Evidence(shown - by_flow, news * news, numbers.tau, 0.0)


def learn_moves(numbers: Numbers, belief: Pair, evidence: Evidence) -> Pair:
    """Return the belief about mu and l after a slice with some evidence."""
    if numbers.spec.unknown_kyle:
        return learn_pair(belief, evidence.value, evidence.variance, evidence.on_first, evidence.on_second)
    prior = Normal(belief.first, belief.first_variance)
    drift = learn(prior, evidence.value, evidence.variance, evidence.on_first)
    return Pair(drift.mean, belief.second, drift.variance, belief.covariance, belief.second_variance)


def _stationary(numbers: Numbers) -> Any:
    """Return s^2, the variance of the log of the volume of a slice around its expectation at the level."""
    persistence = numbers.spec.volume_persistence
    return numbers.volume_noise * numbers.volume_noise / (1.0 - persistence * persistence)


def _log_ratio(numbers: Numbers, ratio: Any) -> Any:
    """Return the evidence of a ratio V_k / E[V_k | m_k] on L."""
    total = numbers.volume_level_sd * numbers.volume_level_sd + _stationary(numbers)
    return double(noise.logarithm(single(ratio))) + 0.5 * total
