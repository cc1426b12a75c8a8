r"""What an episode draws once and never shows, and what its trader believes of it: exact filters of the public evidence.

With L the log level of the volume and mu the drift that is added to that of the regime (:mod:`~hyperexec_env.market.path`),

    L  ~ N(0, s0^2)         log r_k + (s0^2 + s^2) / 2 = L + a_k          r_k = V_k / E[V_k | m_k], a_k ~ N(0, s^2)
    mu ~ N(0, nu^2)         y_k = mu tau + s_m sqrt(1 - R^2) xi_k         y_k the return of slice k less mu_m tau and its flow

a_k is independent from slice to slice, or AR(1) with the coefficient psi (:mod:`~hyperexec_env.market.volume_noise`): then
the last noise is a part of the evidence, and the difference to psi times the evidence before shows (1 - psi) L with an
independent error. The regime and the order flow u_k are known, so the move by flow, s_m R u_k, is no error.

Our trades move neither evidence: a belief is one more exogenous signal. Both filters are those of
:func:`hyperexec_env.market.belief.learn`, in every execution. Sources: Kalman (1960); Almgren and Lorenz (2006) for the drift.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from hyperexec_env.market import noise
from hyperexec_env.market.belief import Normal, learn
from hyperexec_env.market.numeric import double, single
from hyperexec_env.market.tables import Numbers, SliceRow

__all__ = ["draw_drift", "first_level", "learn_drift", "learn_level"]

_DRIFT: Final = noise.offset(noise.ORDER + 6 * noise.STREAMS)
_NOTHING: Final = Normal(0.0, 0.0)


def draw_drift(numbers: Numbers, key: Any) -> Any:
    """Return the drift of the episode with a key around that of the regime, fraction of the arrival price a day."""
    if not numbers.spec.unknown_drift:
        return 0.0
    word = noise.word(key, _DRIFT)
    return numbers.drift_sd * double(noise.normal(np.uint32(word >> noise.UPPER), np.uint32(word & noise.LOWER)))


def first_level(numbers: Numbers, ratio: Any) -> Normal:
    """Return the belief about L before the first slice, given the ratio of the slice before it."""
    if not numbers.spec.varying_level:
        return _NOTHING
    prior = numbers.volume_level_sd * numbers.volume_level_sd
    if numbers.spec.volume_persistence == 0.0:
        return Normal(ratio * 0.0, ratio * 0.0 + prior)
    return learn(Normal(0.0, prior), _log_ratio(numbers, ratio), _stationary(numbers))


def learn_level(numbers: Numbers, belief: Normal, before: Any, ratio: Any) -> Normal:
    """Return the belief about L after a slice, given the ratio of the slice before it and its own, V_k / E[V_k | m_k]."""
    persistence = numbers.spec.volume_persistence
    if not numbers.spec.varying_level:
        return belief
    seen, variance = _log_ratio(numbers, ratio), numbers.volume_noise * numbers.volume_noise
    if persistence == 0.0:
        return learn(belief, seen, variance)
    return learn(belief, seen - persistence * _log_ratio(numbers, before), variance, 1.0 - persistence)


def learn_drift(numbers: Numbers, row: SliceRow, belief: Normal, earned: Any, flow: Any) -> Normal:
    """Return the belief about mu after a slice.

    Args:
        numbers: The numbers of the market.
        row: The numbers of the slice in its regime.
        belief: The belief before the slice.
        earned: Return of the unaffected price over the slice: its predictable and its zero-mean part, fraction.
        flow: Order flow of the slice, standard deviations.
    """
    if not numbers.spec.unknown_drift:
        return belief
    news = row.step_volatility * numbers.by_news
    shown = earned - row.step_drift - row.step_volatility * numbers.by_flow * flow
    return learn(belief, shown, news * news, numbers.tau)


def _stationary(numbers: Numbers) -> Any:
    """Return s^2, the variance of the log of the volume of a slice around its expectation at the level."""
    persistence = numbers.spec.volume_persistence
    return numbers.volume_noise * numbers.volume_noise / (1.0 - persistence * persistence)


def _log_ratio(numbers: Numbers, ratio: Any) -> Any:
    """Return the evidence of a ratio V_k / E[V_k | m_k] on L."""
    total = numbers.volume_level_sd * numbers.volume_level_sd + _stationary(numbers)
    return double(noise.logarithm(single(ratio))) + 0.5 * total
