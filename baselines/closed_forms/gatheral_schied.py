r"""Gatheral and Schied (2011), "Optimal trade execution under geometric Brownian motion in the Almgren and Chriss framework".

The unaffected price is a geometric Brownian motion without drift, :math:`dS = \sigma S\,dW`. Trading at the rate
:math:`\dot x` costs :math:`\eta\dot x^2`, and the risk term is :math:`\lambda x S`, the time-averaged value at risk. The
problem is

.. math:: \min E\int_0^T \left(\eta\,\dot x_t^2 + \lambda x_t S_t\right) dt, \qquad x_0 = X,\; x_T = 0.

The objective omits the permanent cost :math:`\gamma X^2/2`, which does not depend on the strategy. The optimal strategy depends
on the price path, and its holdings may become negative.

In discrete time the functions follow the kernel's convention: a slice charges the temporary cost :math:`\eta n^2/\tau` and the
risk term :math:`\lambda\tau x_{k+1} S_k` on the shares that remain after its trade, at the price at its start. The kernel
charges this risk term through `Slice.holding`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, put_number
from hyperexec_env.market.scenario import Scenario

__all__ = [
    *("EXAMPLE", "GatheralSchied", "discrete_cost", "discrete_static_cost", "discrete_trades", "expected_cost", "remaining"),
    *("static_cost", "static_remaining", "to_scenario"),
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GatheralSchied:
    """Parameters of Gatheral and Schied (2011).

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    quantity: float
    """X, shares."""
    price: float
    """S0, currency per share."""
    horizon: float
    """T, days."""
    volatility: float
    """sigma, fraction per square root of a day."""
    eta: float
    """Temporary impact, currency per share for each share a day (1 in the paper)."""
    risk_aversion: float
    """lambda, weight of the time-averaged value at risk, per day."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_number(self, "price", low=0.0, high=1e9, open_low=True, unit="currency per share")
        put_number(self, "horizon", low=0.0, high=1e6, open_low=True, unit="days")
        put_number(self, "volatility", low=0.0, high=10.0, unit="fraction per square root of a day")
        put_number(self, "eta", low=0.0, high=1e9, open_low=True, unit="currency per share for each share a day")
        put_number(self, "risk_aversion", low=0.0, high=1e6, unit="per day")
        if self.volatility**2 * self.horizon > 100.0:
            raise ValueError(
                f"volatility must be at most 10 over the whole horizon, got {self.volatility * math.sqrt(self.horizon):g}"
            )

    @property
    def pull(self) -> float:
        """Sensitivity of the holdings to the price, lambda / (4 eta), shares per currency unit of price and squared day."""
        return self.risk_aversion / (4.0 * self.eta)


EXAMPLE: Final = GatheralSchied(quantity=1e6, price=50.0, horizon=5.0, volatility=0.019, eta=2.375e-6, risk_aversion=0.005)
"""The market of Almgren and Chriss (2000) with a geometric price; Gatheral and Schied (2011) print no numerical table."""


def remaining(model: GatheralSchied, times: Any, integral: Any) -> Floats:
    r"""Return the optimal holdings, shares (Gatheral and Schied 2011, main theorem).

    .. math:: x_t = \frac{T-t}{T}\left(X - \frac{\lambda T}{4\eta}\int_0^t S_u\,du\right)

    Args:
        model: The market and the order.
        times: t, days, in [0, T].
        integral: Integral of the price from 0 to t, currency per share times days, in the shape of `times`.

    Raises:
        ValueError: A time is outside [0, T].
    """
    at = np.asarray(times, dtype=float)
    if not ((at >= 0.0) & (at <= model.horizon)).all():
        raise ValueError(f"times must be in [0, {model.horizon:g}] days, got {times!r}")
    share = 1.0 - at / model.horizon
    return np.asarray(share * (model.quantity - model.pull * model.horizon * np.asarray(integral, dtype=float)))


def static_remaining(model: GatheralSchied, times: Any) -> Floats:
    """Return the optimal deterministic holdings, shares, in the shape of `times`: :func:`remaining` for the constant price S0.

    Raises:
        ValueError: A time is outside [0, T].
    """
    return remaining(model, times, model.price * np.asarray(times, dtype=float))


def _exp_remainder(model: GatheralSchied) -> float:
    """Return 8 (exp(v) - 1 - v - v^2 / 2) / sigma^6 with v = sigma^2 T, avoiding cancellation; 8 T^3 / 6 for sigma 0."""
    v = model.volatility**2 * model.horizon
    if v < 0.5:
        series, term = 0.0, 1.0 / 6.0
        for n in range(4, 30):
            series, term = series + term, term * v / n
        return 8.0 * model.horizon**3 * series
    return 8.0 * (math.expm1(v) - v - 0.5 * v * v) / model.volatility**6


def _twap_cost(model: GatheralSchied) -> float:
    """Return the expected cost of trading at a constant rate, currency."""
    x, horizon = model.quantity, model.horizon
    return model.eta * x * x / horizon + 0.5 * model.risk_aversion * horizon * x * model.price


def expected_cost(model: GatheralSchied) -> float:
    r"""Return the minimal expected cost, currency (Gatheral and Schied 2011, main theorem).

    .. math::

       \frac{\eta X^2}{T} + \frac{\lambda T X S_0}{2}
       - \frac{\lambda^2 S_0^2}{8\eta\sigma^6}\left(e^{\sigma^2T} - 1 - \sigma^2T - \frac{\sigma^4T^2}{2}\right)
    """
    return _twap_cost(model) - model.risk_aversion**2 * model.price**2 / (64.0 * model.eta) * _exp_remainder(model)


def static_cost(model: GatheralSchied) -> float:
    """Return the expected cost of :func:`static_remaining`, currency, which equals :func:`expected_cost` for sigma = 0.

    The difference to :func:`expected_cost` is the value of adapting to the price.
    """
    return _twap_cost(model) - model.risk_aversion**2 * model.price**2 * model.horizon**3 / (48.0 * model.eta)


def discrete_trades(model: GatheralSchied, prices: Any) -> Floats:
    """Return the optimal trades along given price paths, shares, in the shape of `prices`: (slice,) or (slice, episode).

    The trades follow from the discrete-time version of the theorem of Gatheral and Schied (2011), by dynamic programming:
    with N slices of length tau, x_k = (N - k) (X / N - lambda tau^2 / (4 eta) (S_0 + ... + S_{k-1})).

    Args:
        model: The market and the order.
        prices: Unaffected price at the start of each slice, currency per share, positive.

    Raises:
        ValueError: A price is not positive.
    """
    seen = np.asarray(prices, dtype=float)
    if seen.ndim == 0 or not seen.size or not ((seen > 0.0) & np.isfinite(seen)).all():
        raise ValueError(f"prices must be positive numbers, (slice, episode), got shape {seen.shape}")
    slices = seen.shape[0]
    pull = model.pull * (model.horizon / slices) ** 2
    before = np.concatenate([np.zeros_like(seen[:1]), np.cumsum(seen, axis=0)])
    left = np.arange(slices, -1.0, -1.0).reshape(-1, *(1,) * (seen.ndim - 1))
    return np.asarray(-np.diff(left * (model.quantity / slices - pull * before), axis=0))


def _discrete(model: GatheralSchied, slices: int, growth: float) -> float:
    """Return the minimal cost in discrete time, currency, when E[S^2] grows by the factor `growth` in each slice."""
    slices = check_integer("slices", slices, low=1, high=100_000)
    tau = model.horizon / slices
    risk, squared = model.risk_aversion * tau, 0.0
    for left in range(1, slices):
        squared = squared * growth - risk**2 * tau * left * (left + 1) / (16.0 * model.eta)
    x = model.quantity
    return model.eta * x * x / model.horizon + 0.5 * risk * (slices - 1) * x * model.price + squared * model.price**2


def discrete_cost(model: GatheralSchied, slices: int) -> float:
    """Return the minimal expected cost in discrete time, currency: E[sum of eta n_k^2 / tau + lambda tau x_{k+1} S_k].

    The value function for x shares with j slices left is (eta / (j tau)) x^2 + (lambda tau (j - 1) / 2) x S + C_j S^2, where
    C_{j+1} = C_j exp(sigma^2 tau) - lambda^2 tau^3 j (j + 1) / (16 eta) and C_1 = 0. The cost converges to
    :func:`expected_cost` as the number of slices grows.

    Raises:
        ValueError: The number of slices is not a whole number from 1 to 100,000.
    """
    return _discrete(model, slices, math.exp(model.volatility**2 * model.horizon / max(slices, 1)))


def discrete_static_cost(model: GatheralSchied, slices: int) -> float:
    """Return the expected cost of the best deterministic schedule in discrete time, currency.

    Raises:
        ValueError: The number of slices is not a whole number from 1 to 100,000.
    """
    return _discrete(model, slices, 1.0)


def to_scenario(model: GatheralSchied, slices: int, *, adv: float, name: str = "gatheral-schied") -> Scenario:
    """Return the model as a sell scenario with a geometric price and linear temporary impact.

    The scenario's day is the whole horizon. The paper's risk term is linear in the remaining shares, so it becomes the
    scenario's `price_risk`, lambda T for a day of length T; `risk_aversion` is 0.

    Args:
        model: The market and the order.
        slices: Number of slices.
        adv: Average daily volume, shares a day; it only sets the units of the impact parameters.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    check_number("volatility", model.volatility, low=0.0, high=10.0, open_low=True, unit="fraction per square root of a day")
    minutes, volatility = 390.0 * model.horizon, model.volatility * math.sqrt(model.horizon)
    return Scenario(
        name=name,
        description="value-at-risk aversion with a geometric price (Gatheral and Schied 2011)",
        side=-1,
        quantity=model.quantity,
        arrival_price=model.price,
        horizon_minutes=minutes,
        day_minutes=minutes,
        slices=slices,
        risk_aversion=0.0,
        price_risk=model.risk_aversion * model.horizon,
        adv=adv * model.horizon,
        volatility=volatility,
        half_spread_bps=0.0,
        perm_impact_gamma=0.0,
        kyle_lambda=0.0,
        temp_impact_alpha=model.eta * adv / (volatility * model.price),
        temp_impact_beta=1.0,
        resilience=0.0,
        volume_noise=0.0,
        flow_share=0.0,
        price_model="gbm",
    )
