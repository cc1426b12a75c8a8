"""Almgren (2003), "Optimal execution with nonlinear impact functions and trading-enhanced risk": the power-law cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, put_number
from hyperexec_env.market.scenario import Scenario

from .almgren_chriss import Moments

__all__ = ["PowerCost", "power_holdings", "power_moments", "power_schedule", "power_time", "to_scenario"]

Floats = NDArray[np.float64]

_SMALLEST_WEIGHT: Final = 1e-300
"""Smallest last weight that :func:`power_schedule` represents; smaller weights are zero."""


@dataclass(frozen=True)
class PowerCost:
    """Parameters of Almgren (2003).

    Selling at v shares a day costs eta v^beta per share; there is no deadline.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    quantity: float
    """X, shares."""
    volatility: float
    """sigma, currency per share and square root of a day."""
    eta: float
    """Temporary impact, currency per share at a rate of one share a day."""
    beta: float
    """Exponent of the temporary impact, the paper's k; 1 is linear, 0.5 the square root."""
    risk_aversion: float
    """lambda, 1 / currency."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_number(self, "volatility", low=0.0, high=1e9, open_low=True, unit="currency per share")
        put_number(self, "eta", low=0.0, high=1e9, open_low=True, unit="currency per share")
        put_number(self, "beta", low=0.0, high=10.0, open_low=True)
        put_number(self, "risk_aversion", low=0.0, high=1e6, open_low=True, unit="1 / currency")


def power_time(model: PowerCost) -> float:
    r"""Return the characteristic time T*, days: X over the initial trading rate (Almgren 2003, power-law cost).

    .. math:: T_* = \left(\frac{k \eta X^{k-1}}{\lambda\sigma^2}\right)^{1/(k+1)}
    """
    k = model.beta
    aversion = model.risk_aversion * model.volatility**2
    return float((k * model.eta * model.quantity ** (k - 1.0) / aversion) ** (1.0 / (k + 1.0)))


def power_holdings(model: PowerCost, times: Any) -> Floats:
    r"""Return the optimal holdings, shares, in the shape of `times` (Almgren 2003, power-law cost).

    .. math:: x(t) = X \left(1 + \frac{1-k}{1+k}\frac{t}{T_*}\right)^{-(1+k)/(1-k)}

    For k = 1 the holdings decay exponentially; for k > 1 the order is finished at (k + 1) / (k - 1) T*.

    Args:
        model: The market and the order.
        times: t, days, non-negative.

    Raises:
        ValueError: A time is negative.
    """
    at = np.asarray(times, dtype=float)
    if not (at >= 0.0).all():
        raise ValueError(f"times must be non-negative (days), got {float(at.min()):g}")
    scaled, slope = at / power_time(model), (1.0 - model.beta) / (1.0 + model.beta)
    if abs(slope) < 1e-12:
        return np.asarray(model.quantity * np.exp(-scaled))
    with np.errstate(divide="ignore"):  # log(0) after the order is finished
        return np.asarray(model.quantity * np.exp(-np.log1p(np.maximum(slope * scaled, -1.0)) / slope))


def power_moments(model: PowerCost) -> Moments:
    r"""Return mean and variance of the optimal strategy without permanent impact and spread (Almgren 2003, power-law cost).

    .. math:: E = \frac{k+1}{3k+1}\,\eta X \left(\frac{X}{T_*}\right)^k, \qquad V = \frac{k+1}{3k+1}\,\sigma^2 X^2 T_*
    """
    k, time = model.beta, power_time(model)
    share = (k + 1.0) / (3.0 * k + 1.0)
    expected = share * model.eta * model.quantity * (model.quantity / time) ** k
    return Moments(expected, share * model.volatility**2 * model.quantity**2 * time)


def power_schedule(slices: int, beta: float, risk: float) -> Floats:
    """Return the weights w_k, shape (N,), that minimise the sum over slices of w_k^(1 + beta) + risk x_{k+1}^2.

    x_{k+1} is the fraction of the order that remains after slice k. This is the problem of Almgren (2003) with a deadline,
    in the kernel's convention: risk is charged on the shares that remain after a trade. The first-order condition
    (1 + beta) (w_k^beta - w_{k+1}^beta) = 2 risk x_{k+1} determines all weights from the last one, which a bisection
    chooses so that the weights sum to one.

    Args:
        slices: Number of slices N.
        beta: Exponent of the temporary impact.
        risk: Ratio of the risk of holding the whole order for one slice to the temporary cost of trading it in one slice.

    Raises:
        ValueError: A value is out of range.
    """
    count = check_integer("slices", slices, low=1, high=100_000)
    check_number("beta", beta, low=0.05, high=10.0)
    slope = 2.0 * check_number("risk", risk, low=0.0, high=1e12) / (1.0 + beta)
    for active in range(count, 0, -1):  # drop last slices whose weights underflow; their weight is zero
        if _weights_from_last(active, beta, slope, _SMALLEST_WEIGHT).sum() < 1.0:
            break
    low, high = math.log(_SMALLEST_WEIGHT), 0.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _weights_from_last(active, beta, slope, math.exp(middle)).sum() < 1.0 else (low, middle)
    weights = _weights_from_last(active, beta, slope, math.exp(0.5 * (low + high)))
    return np.append(weights / weights.sum(), np.zeros(count - active))


def _weights_from_last(slices: int, beta: float, slope: float, last: float) -> Floats:
    """Return the weights that satisfy the first-order condition for a last weight, shape (slices,).

    The first weight is infinite if the sum of the weights exceeds two.
    """
    weights, left, power = np.zeros(slices), last, last**beta
    weights[-1] = last
    for k in range(slices - 2, -1, -1):
        power += slope * left
        weights[k] = power ** (1.0 / beta)
        left += weights[k]
        if left > 2.0:
            weights[0] = math.inf
            break
    return weights


def to_scenario(
    model: PowerCost, horizon: float, slices: int, *, arrival_price: float, adv: float, name: str = "almgren"
) -> Scenario:
    """Return the model with a deadline as a sell scenario, whose best schedule is :func:`power_schedule`.

    The scenario's day is the whole horizon.

    Args:
        model: The market and the order; beta at most 2.
        horizon: Days until the deadline.
        slices: Number of slices.
        arrival_price: P0, currency per share.
        adv: Average daily volume, shares a day; it only sets the units of the impact parameters.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("horizon", horizon, low=0.0, high=1e6 / 390.0, open_low=True, unit="days")
    check_number("arrival_price", arrival_price, low=0.0, high=1e9, open_low=True, unit="currency per share")
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    volatility = model.volatility * math.sqrt(horizon) / arrival_price
    return Scenario(
        name=name,
        description="power-law temporary impact (Almgren 2003)",
        side=-1,
        quantity=model.quantity,
        arrival_price=arrival_price,
        horizon_minutes=390.0 * horizon,
        day_minutes=390.0 * horizon,
        slices=slices,
        risk_aversion=model.risk_aversion,
        adv=adv * horizon,
        volatility=volatility,
        half_spread_bps=0.0,
        perm_impact_gamma=0.0,
        kyle_lambda=0.0,
        temp_impact_alpha=model.eta * adv**model.beta / (volatility * arrival_price),
        temp_impact_beta=model.beta,
        resilience=0.0,
        volume_noise=0.0,
        flow_share=0.0,
    )
