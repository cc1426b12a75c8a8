r"""Gueant, Lehalle and Fernandez-Tapia (2012), "Optimal portfolio liquidation with limit orders": how deep to rest.

q lots of one are to be traded by time T with one limit order at a time, at the distance delta from the mid. It is filled at
the rate A e^{-k delta}. With the price phi of a squared lot per unit of time and the cost q (theta + b q) of what is left at
T, the cost to go v(t, q) solves

    dv/dt = -phi q^2 + max over delta of A e^{-k delta} (delta + v(q) - v(q - 1)),      delta* = 1 / k + v(q - 1) - v(q)

so w = e^{-k v} is linear in time to go s: w_q' = -k phi q^2 w_q + (A / e) w_{q-1}, and w(s) is a matrix exponential times
w(0). They have exponential utility; this is the same linear system for a risk-neutral trader with a running penalty. A depth
below zero is a marketable order, for which the rate has no meaning: a market forbids it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, put_integer, put_number
from hyperexec_env.market.regime import matrix_exponential

__all__ = ["EXAMPLE", "DepthControl", "depths", "values"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DepthControl:
    """Parameters of the model; times are in seconds.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    lots: int
    """Number of lots."""
    horizon: float
    """T, seconds."""
    rate: float
    """A, fills per second of an order at the mid."""
    decay: float
    """k, decay of the rate in the distance, per currency per share."""
    risk: float
    """phi, currency per squared lot and second."""
    final_cost: float
    """theta, currency per lot left at T."""
    final_impact: float
    """b, currency per squared lot left at T."""

    def __post_init__(self) -> None:
        """Check the values."""
        put_integer(self, "lots", low=1, high=1000)
        put_number(self, "horizon", low=0.0, high=1e9, unit="s")
        put_number(self, "rate", low=0.0, high=1e9, open_low=True, unit="fills per second")
        put_number(self, "decay", low=0.0, high=1e9, open_low=True, unit="per currency per share")
        for name in ("risk", "final_cost", "final_impact"):
            put_number(self, name, low=0.0, high=1e9, unit="currency")


EXAMPLE = DepthControl(20, 600.0, 1.0 / 30.0, 100.0, 2e-7, 0.01, 0.0005)
"""A large tick of one cent; the numbers are ours, the paper has none for this case."""


def values(model: DepthControl, left: float) -> Floats:
    """Return the cost to go by the number of lots, currency, shape (lots + 1,).

    Args:
        model: The parameters.
        left: Time to go, seconds, in [0, horizon].
    """
    check_number("left", left, low=0.0, high=model.horizon, unit="s")
    lots = np.arange(model.lots + 1.0)
    start = -model.decay * lots * (model.final_cost + model.final_impact * lots)
    generator = np.diag(-model.decay * model.risk * lots**2) + np.diag(np.full(model.lots, model.rate / math.e), -1)
    # rows divided by w(0), whose terms differ by many powers of ten
    scaled = generator * np.exp(start[None, :] - start[:, None])
    return np.asarray(-(start + np.log(matrix_exponential(scaled * left).sum(axis=1))) / model.decay)


def depths(model: DepthControl, left: float) -> Floats:
    """Return the best distance from the mid by the number of lots 1, 2, ..., currency per share, shape (lots,)."""
    return np.asarray(1.0 / model.decay - np.diff(values(model, left)))
