"""Schedules of the classical desk: how much of an order falls into each slice. The weights of a schedule sum to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    *("adaptive_choice", "almgren_chriss", "children_fraction", "exponential", "exponential_fraction"),
    *("of_remaining", "twap", "twap_in_children", "vwap"),
]

Weights = NDArray[np.float64]

_STEEPNESS: Final = 3.0
_FRONT_LOADED: Final = ("BULL_TRENDING", "SIDEWAYS_LOW", "RECOVERY")
_CAREFUL: Final = ("CRISIS", "SIDEWAYS_HIGH")


def twap(slices: int) -> Weights:
    """Time-weighted: equal slices."""
    return np.full(slices, 1.0 / slices)


def vwap(volumes: Sequence[float] | Weights, slices: int) -> Weights:
    """Volume-weighted: in proportion to the expected volume of each slice; no volumes at all mean a flat profile."""
    profile = np.asarray(volumes, dtype=float)
    return profile / profile.sum() if profile.size else twap(slices)


def exponential(slices: int, urgency: float) -> Weights:
    """Implementation shortfall: front-loaded, exp(-3 urgency t / T).

    Args:
        slices: Number of slices.
        urgency: 0 (equal slices) to 1 (the first slice is about 20 times the last); clamped to that range.
    """
    weights = np.exp(-_STEEPNESS * min(max(urgency, 0.0), 1.0) * np.arange(slices) / max(slices - 1, 1))
    return np.asarray(weights / weights.sum())


def almgren_chriss(slices: int, kappa_tau: float) -> Weights:
    """Implementation shortfall as the minimum of mean plus variance (Almgren and Chriss 2000, equation 18).

    Holdings are sinh(kappa (T - t)) / sinh(kappa T).

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


def twap_in_children(slices: int, children: int) -> Weights:
    """Equal children at equal times, laid on a grid of slices: child j trades in slice floor(j slices / children)."""
    counts = np.bincount(np.arange(children) * slices // children, minlength=slices)
    return np.asarray(counts / children)


def exponential_fraction(slices: Any, done: Any, urgency: float) -> Any:
    """Return the fraction of what remains that :func:`exponential` trades after `done` of `slices` slices (arrays, too).

    The weights that are left are a geometric series.
    """
    rate = _STEEPNESS * min(max(urgency, 0.0), 1.0) / np.maximum(slices - 1, 1)
    left = np.maximum(slices - done, 1)
    with np.errstate(invalid="ignore"):
        series = np.expm1(-rate) / np.expm1(-rate * left)
    return np.where(rate > 0.0, series, 1.0 / left)


def children_fraction(slices: Any, done: Any, children: Any) -> Any:
    """Return the fraction of what remains that :func:`twap_in_children` trades after `done` slices (arrays, too)."""
    before, after = (-(-slice * children // np.maximum(slices, 1)) for slice in (done, done + 1))
    return (after - before) / np.maximum(children - before, 1)


def adaptive_choice(regime: str) -> tuple[str, int]:
    """Return what the adaptive algorithm does in a regime: ("IS", 0), or ("TWAP", number of children)."""
    if regime in _FRONT_LOADED:
        return "IS", 0
    return "TWAP", 20 if regime in _CAREFUL else 10


def of_remaining(weights: Weights) -> Weights:
    """Return the fraction of what remains that each slice trades, so that what a cap forbids is carried forward."""
    rest = np.cumsum(weights[::-1])[::-1]
    return np.divide(weights, rest, out=np.ones_like(weights), where=rest > 0.0)
