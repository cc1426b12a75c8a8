r"""The noise of the volume of a slice, and its persistence from slice to slice.

With E[V_k | m] the expected volume of slice k in its regime, L the level of the episode (:mod:`~hyperexec_env.market.path`) and
r_k = V_k / E[V_k | m_k] the *ratio* of a slice,

    r_k / L = eps_k a (r_{k-1} / L)^psi,      a = exp(psi (1 - psi) s^2 / 2)

with psi = `volume_persistence` and s = `volume_noise` of the scenario. eps_k is lognormal with mean one and the log deviation
s sqrt(1 - psi^2), so that log(r_k / L) + s^2 / 2 is a stationary AR(1) with the coefficient psi and the standard deviation s,
and the mean of V_k is that without persistence. The ratio before the first slice is drawn from the stationary law.

Exponentials and logarithms are those of :mod:`~hyperexec_env.market.noise`, which are equal numbers in all executions.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from hyperexec_env.market import noise
from hyperexec_env.market.numeric import double, single
from hyperexec_env.market.tables import Numbers

__all__ = ["first_ratio", "neutral_ratio", "next_ratio", "predicted_ratio", "slice_factor", "volume_factor"]

_HALF: Final = np.float32(0.5)


def volume_factor(normal: Any, deviation: Any) -> Any:
    """Return the factor exp(d z - d^2 / 2) of a normal z and a deviation d: lognormal, mean one, single precision."""
    return noise.exponential(deviation * normal - _HALF * deviation * deviation)


def predicted_ratio(numbers: Numbers, last: Any) -> Any:
    """Return a r^psi: the expected ratio of a slice, given the ratio r of the slice before, at a level of one."""
    persistence = numbers.spec.volume_persistence
    if persistence == 0.0:
        return last * 0.0 + 1.0
    mean = single(0.5 * persistence / (1.0 + persistence) * numbers.volume_noise * numbers.volume_noise)
    return double(noise.exponential(single(persistence) * noise.logarithm(single(last)) + mean))


def neutral_ratio(numbers: Numbers) -> Any:
    """Return the ratio r of the last slice after which the expected ratio is one: a r^psi = 1."""
    persistence = numbers.spec.volume_persistence
    if persistence == 0.0:
        return 1.0
    return np.exp(-0.5 / (1.0 + persistence) * numbers.volume_noise * numbers.volume_noise)


def slice_factor(numbers: Numbers, ratio: Any, level: Any, shock: Any) -> Any:
    """Return r_k / L, given the ratio of the last slice, the level and eps_k."""
    if numbers.spec.volume_persistence == 0.0:
        return shock
    return shock * predicted_ratio(numbers, ratio / level if numbers.spec.varying_level else ratio)


def next_ratio(numbers: Numbers, ratio: Any, level: Any, factor: Any) -> Any:
    """Return r_k, given the ratio of the last slice, the level and r_k / L; the ratio stays 1 without persistence."""
    if numbers.spec.volume_persistence == 0.0:
        return ratio
    return factor * level if numbers.spec.varying_level else factor


def first_ratio(numbers: Numbers, level: Any, upper: Any, lower: Any) -> Any:
    """Return the ratio before the first slice, given the level and a random word as two 32-bit integers."""
    persistence = numbers.spec.volume_persistence
    deviation = single(numbers.volume_noise / math.sqrt(1.0 - persistence * persistence))
    return double(volume_factor(noise.normal(upper, lower), deviation)) * level
