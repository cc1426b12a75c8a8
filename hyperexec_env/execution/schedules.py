"""Trading schedules: the weight of each slice in an order (TWAP, VWAP, exponential and Almgren-Chriss). Weights sum to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.numeric import maximum, minimum

__all__ = [
    *("almgren_chriss", "almgren_chriss_rate", "child_times", "exponential", "exponential_fraction"),
    *("fractions_of_remaining", "phase_after", "twap", "twap_in_children", "vwap"),
]

Weights = NDArray[np.float64]

_AT_ONCE: Final = 700.0  # above this kappa tau the whole order trades in the first slice, to float precision
_MAX_PARTICIPATION: Final = 1e100  # its square is finite
STEEPNESS: Final = 3.0
"""Logarithm of the ratio of the first to the last slice at an urgency of one."""


def twap(slices: int) -> Weights:
    """Return the weights of a time-weighted schedule: equal slices."""
    return np.full(slices, 1.0 / slices)


def vwap(volumes: Sequence[float] | Weights, slices: int) -> Weights:
    """Return weights in proportion to the expected volume of each slice; no `volumes`, or only zeros, mean a flat profile."""
    profile = np.asarray(volumes, dtype=float)
    total = float(profile.sum())
    return profile / total if total > 0.0 else twap(slices)


def exponential(slices: int, urgency: float) -> Weights:
    """Return the weights of a front-loaded schedule for implementation shortfall, exp(-3 urgency t / T).

    Args:
        slices: Number of slices.
        urgency: 0 (equal slices) to 1 (the first slice is about 20 times the last), clamped to that range.
    """
    weights = np.exp(-STEEPNESS * min(max(urgency, 0.0), 1.0) * np.arange(slices) / max(slices - 1, 1))
    return np.asarray(weights / weights.sum())


def almgren_chriss(slices: int, kappa_tau: float) -> Weights:
    """Return the weights that minimise the mean plus variance of the cost (Almgren and Chriss 2000, equation 18).

    The holdings are sinh(kappa (T - t)) / sinh(kappa T).

    Args:
        slices: Number of slices.
        kappa_tau: Urgency kappa times the length of a slice; 0 is TWAP.
    """
    left = slices - np.arange(slices + 1)
    if kappa_tau < 1e-8:
        holdings = left / slices
    else:  # sinh(a) / sinh(b) without overflow
        rate = kappa_tau
        holdings = np.exp(-rate * (slices - left)) * -np.expm1(-2.0 * rate * left) / -np.expm1(-2.0 * rate * slices)
    return np.asarray(-np.diff(holdings))


def almgren_chriss_rate(
    quantity: float, slices: int, volume: float, volatility: float, alpha: float, beta: float, risk_aversion: float, tau: float
) -> float:
    """Return the urgency kappa tau of :func:`almgren_chriss`, with the temporary impact linearised at the pace of TWAP.

    The minimum of sum a n_k^2 + b x_{k+1}^2 has holdings with cosh(kappa tau) = 1 + b / (2 a) (Almgren and Chriss 2000,
    equation 17 in discrete time). Here a is the temporary cost of a TWAP slice divided by its squared shares, and b the price
    of the risk of a slice. Without temporary impact the function returns 0, which is TWAP.

    Args:
        quantity: Shares of the order.
        slices: Number of slices.
        volume: Market volume over the life of the order, shares.
        volatility: Volatility of the price, currency per share and square root of a day.
        alpha: Temporary impact at a participation of one, volatilities of a day.
        beta: Exponent of the temporary impact in the participation.
        risk_aversion: Price of quadratic variation, 1 / currency.
        tau: Length of a slice, days.
    """
    slope = alpha * volatility * min(quantity / volume, _MAX_PARTICIPATION) ** beta * slices / quantity
    risk = risk_aversion * volatility**2 * tau
    return min(math.acosh(1.0 + risk / (2.0 * slope)), _AT_ONCE) if slope > 0.0 and risk > 0.0 else 0.0


def twap_in_children(slices: int, children: int) -> Weights:
    """Return the weights, on a grid of slices, of equal children that each trade in the middle of their interval.

    Child j of n trades in slice floor((j + 1/2) slices / n).
    """
    counts = np.bincount((2 * np.arange(children) + 1) * slices // (2 * children), minlength=slices)
    return np.asarray(counts / children)


def exponential_fraction(slices: Any, done: Any, urgency: float) -> Any:
    """Return the fraction of the remaining shares that :func:`exponential` trades after `done` of `slices` slices.

    The remaining weights are a geometric series. `slices` and `done` may be arrays.
    """
    rate = STEEPNESS * min(max(urgency, 0.0), 1.0) / np.maximum(slices - 1, 1)
    left = np.maximum(slices - done, 1)
    with np.errstate(invalid="ignore"):
        series = np.expm1(-rate) / np.expm1(-rate * left)
    return np.where(rate > 0.0, series, 1.0 / left)


def phase_after(waited: Any, interval: Any, earliest: float = 0.0) -> Any:
    """Return the phase of the first child of a new plan: one interval after the previous child, mid-interval at the latest.

    Frequent replanning therefore never delays the order.

    Args:
        waited: Time since the previous child, or since half an interval before the first plan: a number or an array.
        interval: Length of the intervals of the new plan.
        earliest: Smallest phase, which leaves room for jitter.
    """
    return minimum(maximum(1.0 - waited / interval, earliest), 0.5)


def child_times(start: Any, slices: Any, children: Any, phase: Any, most: int) -> Any:
    """Return the times at which equal children trade, in slices, shape (plans, most); infinity beyond the last child.

    Args:
        start: Slice at which each plan begins, shape (plans,).
        slices: Slices from the start of each plan to the end, shape (plans,).
        children: Number of children, at most `most`, shape (plans,).
        phase: Position of a child within its interval, 0 to 1/2, shape (plans,).
        most: Length of the last axis of the result.
    """
    number = np.arange(most)
    start, slices, children, phase = (np.asarray(values)[..., None] for values in (start, slices, children, phase))
    return np.where(number < children, start + (number + phase) * slices / children, np.inf)


def fractions_of_remaining(weights: Weights) -> Weights:
    """Return the fraction of the remaining shares that each slice trades, which carries forward what a cap holds back."""
    rest = np.cumsum(weights[::-1])[::-1]
    return np.divide(weights, rest, out=np.ones_like(weights), where=rest > 0.0)
