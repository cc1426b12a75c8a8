r"""Gatheral and Schied (2011), "Optimal trade execution under geometric Brownian motion in the Almgren and Chriss framework".

The unaffected price is a geometric Brownian motion without drift, :math:`dS = \sigma S\,dW`. Trading at the rate
:math:`\dot x` costs :math:`\eta\dot x^2`, and the risk term is :math:`\lambda x S`, the time-averaged value at risk. The
problem is

.. math:: \min E\int_0^T \left(\eta\,\dot x_t^2 + \lambda x_t S_t\right) dt, \qquad x_0 = X,\; x_T = 0.

The objective omits the permanent cost :math:`\gamma X^2/2`, which does not depend on the strategy. The optimal strategy depends
on the price path, and its holdings may become negative.

A quadratic risk term :math:`q x_t^2` may be added, with :math:`q = \lambda_2 (\sigma S_0)^2`, the risk of Almgren and Chriss
(2000) at the arrival price. Its solution follows from the same Hamilton-Jacobi-Bellman equation: with :math:`w = \sqrt{q/\eta}`
and the time left s, the value of x shares is

.. math:: \eta w \coth(ws)\,x^2 + \frac{\lambda\tanh(ws/2)}{w}\,x S
          - \frac{\lambda^2 S^2}{4\eta w^2}\int_0^s e^{\sigma^2(s-u)}\tanh^2\frac{wu}2\,du

In discrete time the functions follow the kernel's convention: a slice charges the temporary cost :math:`\eta n^2/\tau` and the
risk terms :math:`\lambda\tau x_{k+1} S_k + q\tau x_{k+1}^2` on the shares that remain after its trade, at the price at its
start. The kernel charges them through `Slice.holding` and `Slice.risk`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, put_number
from hyperexec_env.market.scenario import Scenario

__all__ = [
    *("EXAMPLE", "GatheralSchied", "discrete_cost", "discrete_static_cost", "discrete_trades", "expected_cost", "price_weight"),
    *("remaining", "static_cost", "static_remaining", "to_scenario"),
]

Floats = NDArray[np.float64]

_RULE: Final = np.polynomial.legendre.leggauss(32)
"""Nodes and weights of the Gauss-Legendre rule of a panel."""


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
    variance_aversion: float = 0.0
    """lambda_2, weight of the quadratic risk term (sigma S0 x)^2, 1 / currency."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_number(self, "price", low=0.0, high=1e9, open_low=True, unit="currency per share")
        put_number(self, "horizon", low=0.0, high=1e6, open_low=True, unit="days")
        put_number(self, "volatility", low=0.0, high=1.0, unit="fraction per square root of a day")
        put_number(self, "eta", low=0.0, high=1e9, open_low=True, unit="currency per share for each share a day")
        put_number(self, "risk_aversion", low=0.0, high=1e6, unit="per day")
        put_number(self, "variance_aversion", low=0.0, high=1e6, unit="1 / currency")
        if self.volatility**2 * self.horizon > 100.0:
            raise ValueError(
                f"volatility must be at most 10 over the whole horizon, got {self.volatility * math.sqrt(self.horizon):g}"
            )
        urgency = self.urgency * self.horizon
        if urgency > 500.0:
            raise ValueError(f"variance_aversion must give an urgency of at most 500 over the whole horizon, got {urgency:g}")

    @property
    def pull(self) -> float:
        """Sensitivity of the holdings to the price, lambda / (4 eta), shares per currency unit of price and squared day."""
        return self.risk_aversion / (4.0 * self.eta)

    @property
    def quadratic(self) -> float:
        """Quadratic risk term q, currency per squared share and day."""
        return self.variance_aversion * (self.volatility * self.price) ** 2

    @property
    def urgency(self) -> float:
        """W = sqrt(q / eta), per day; 0 without the quadratic risk term."""
        return math.sqrt(self.quadratic / self.eta)


EXAMPLE: Final = GatheralSchied(quantity=1e6, price=50.0, horizon=5.0, volatility=0.019, eta=2.375e-6, risk_aversion=0.005)
"""The market of Almgren and Chriss (2000) with a geometric price; Gatheral and Schied (2011) print no numerical table."""


def _time_left(model: GatheralSchied, times: Any) -> Floats:
    """Validate times and return the time left T - t, days."""
    at = np.asarray(times, dtype=float)
    if not ((at >= 0.0) & (at <= model.horizon)).all():
        raise ValueError(f"times must be in [0, {model.horizon:g}] days, got {times!r}")
    return np.asarray(model.horizon - at)


def _sinh(w: float, left: Any) -> Floats:
    """Return sinh(w s) / w for the time left s; s for w = 0."""
    s = np.asarray(left, dtype=float)
    return np.asarray(np.sinh(w * s) / w if w > 0.0 else s)


def _tanh(w: float, left: Any) -> Floats:
    """Return 2 tanh(w s / 2) / w for the time left s; s for w = 0."""
    s = np.asarray(left, dtype=float)
    return np.asarray(2.0 * np.tanh(0.5 * w * s) / w if w > 0.0 else s)


def price_weight(model: GatheralSchied, times: Any) -> Floats:
    """Return the weight 2 / (1 + cosh(w (T - t))) of the price in :func:`remaining`; 1 without the quadratic risk term.

    Raises:
        ValueError: A time is outside [0, T].
    """
    return np.asarray(1.0 / np.cosh(0.5 * model.urgency * _time_left(model, times)) ** 2)


def remaining(model: GatheralSchied, times: Any, integral: Any) -> Floats:
    r"""Return the optimal holdings, shares (Gatheral and Schied 2011, main theorem).

    .. math:: x_t = \frac{T-t}{T}\left(X - \frac{\lambda T}{4\eta}\int_0^t S_u\,du\right)

    With a quadratic risk term

    .. math:: x_t = \frac{\sinh w(T-t)}{\sinh wT}X - \frac{\lambda\sinh w(T-t)}{2\eta w}\int_0^t\frac{S_u}{1+\cosh w(T-u)}\,du

    Args:
        model: The market and the order.
        times: t, days, in [0, T].
        integral: Integral of the price times :func:`price_weight` from 0 to t, currency per share times days, in the shape of
            `times`.

    Raises:
        ValueError: A time is outside [0, T].
    """
    left = _sinh(model.urgency, _time_left(model, times))
    whole = float(_sinh(model.urgency, model.horizon))
    return np.asarray(left * (model.quantity / whole - model.pull * np.asarray(integral, dtype=float)))


def static_remaining(model: GatheralSchied, times: Any) -> Floats:
    """Return the optimal deterministic holdings, shares, in the shape of `times`: :func:`remaining` for the constant price S0.

    Raises:
        ValueError: A time is outside [0, T].
    """
    w = model.urgency
    integral = _tanh(w, model.horizon) - _tanh(w, _time_left(model, times))
    return remaining(model, times, model.price * integral)


def _price_gain(model: GatheralSchied, volatility: float) -> float:
    """Return the integral of exp(sigma^2 (T - u)) (2 tanh(w u / 2) / w)^2 over [0, T], cubic days, by Gauss-Legendre rules.

    The integrand is smooth; the panels are shorter than the time in which it changes.
    """
    w, horizon = model.urgency, model.horizon
    panels = 1 + int(w * horizon + volatility**2 * horizon)
    edges = horizon * np.arange(panels + 1) / panels
    points = 0.5 * (edges[1:, None] + edges[:-1, None]) + 0.5 * horizon / panels * _RULE[0]
    values = np.exp(volatility**2 * (horizon - points)) * _tanh(w, points) ** 2
    return float(0.5 * horizon / panels * (values @ _RULE[1]).sum())


def _cost(model: GatheralSchied, volatility: float) -> float:
    """Return the minimal expected cost, currency, for a price of the given volatility (0: no reaction to the price)."""
    x, w, horizon, s0 = model.quantity, model.urgency, model.horizon, model.price
    sale = w / math.tanh(w * horizon) if w * horizon > 0.0 else 1.0 / horizon
    risk = 0.5 * model.risk_aversion * float(_tanh(w, horizon)) * x * s0
    gain = model.risk_aversion**2 * s0**2 / (16.0 * model.eta) * _price_gain(model, volatility)
    return model.eta * sale * x * x + risk - gain


def expected_cost(model: GatheralSchied) -> float:
    r"""Return the minimal expected cost, currency (Gatheral and Schied 2011, main theorem).

    Without a quadratic risk term it is

    .. math::

       \frac{\eta X^2}{T} + \frac{\lambda T X S_0}{2}
       - \frac{\lambda^2 S_0^2}{8\eta\sigma^6}\left(e^{\sigma^2T} - 1 - \sigma^2T - \frac{\sigma^4T^2}{2}\right)
    """
    return _cost(model, model.volatility)


def static_cost(model: GatheralSchied) -> float:
    """Return the expected cost of :func:`static_remaining`, currency, which does not react to the price.

    The difference to :func:`expected_cost` is the value of adapting to the price.
    """
    return _cost(model, 0.0)


class _Values(NamedTuple):
    """Coefficients of the value a x^2 + b x S + c S^2 by the number j of slices left, arrays of shape (N + 1,)."""

    a: Floats
    b: Floats
    c: Floats


def _values(model: GatheralSchied, slices: int, growth: float) -> _Values:
    """Return the values by dynamic programming when E[S^2] grows by the factor `growth` in each slice."""
    slices = check_integer("slices", slices, low=1, high=100_000)
    tau = model.horizon / slices
    trade, risk, square = model.eta / tau, model.risk_aversion * tau, model.quadratic * tau
    found = _Values(*np.zeros((3, slices + 1)))
    found.a[1] = trade
    for j in range(1, slices):
        stiffness, slope = trade + square + found.a[j], risk + found.b[j]
        found.a[j + 1] = trade * (square + found.a[j]) / stiffness
        found.b[j + 1] = trade * slope / stiffness
        found.c[j + 1] = found.c[j] * growth - slope**2 / (4.0 * stiffness)
    return found


def discrete_trades(model: GatheralSchied, prices: Any) -> Floats:
    """Return the optimal trades along given price paths, shares, in the shape of `prices`: (slice,) or (slice, episode).

    The trades follow from the discrete-time version of the theorem of Gatheral and Schied (2011), by dynamic programming.
    Without a quadratic risk term and with N slices of length tau the holdings are
    x_k = (N - k) (X / N - lambda tau^2 / (4 eta) (S_0 + ... + S_{k-1})).

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
    tau, values = model.horizon / slices, _values(model, slices, 1.0)
    left, sold = np.full(seen.shape[1:], model.quantity), np.empty_like(seen)
    for k in range(slices):
        j = slices - 1 - k  # slices left after the trade
        if j == 0:
            kept = np.zeros_like(left)
        else:
            pulled = 0.5 * (model.risk_aversion * tau + values.b[j]) * seen[k]
            kept = (model.eta / tau * left - pulled) / (model.eta / tau + model.quadratic * tau + values.a[j])
        sold[k], left = left - kept, kept
    return sold


def _discrete(model: GatheralSchied, slices: int, growth: float) -> float:
    """Return the minimal cost in discrete time, currency, when E[S^2] grows by the factor `growth` in each slice."""
    a, b, c = (float(values[-1]) for values in _values(model, slices, growth))
    return a * model.quantity**2 + b * model.quantity * model.price + c * model.price**2


def discrete_cost(model: GatheralSchied, slices: int) -> float:
    """Return the minimal expected cost in discrete time, currency: E[sum of eta n_k^2 / tau + lambda tau x_{k+1} S_k + ...].

    Without a quadratic risk term the value function for x shares with j slices left is
    (eta / (j tau)) x^2 + (lambda tau (j - 1) / 2) x S + C_j S^2, where
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
    scenario's `price_risk`, lambda T for a day of length T; the quadratic risk term becomes its `risk_aversion`.

    Args:
        model: The market and the order.
        slices: Number of slices.
        adv: Average daily volume, shares a day; it only sets the units of the impact parameters.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    check_number("volatility", model.volatility, low=0.0, high=1.0, open_low=True, unit="fraction per square root of a day")
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
        risk_aversion=model.variance_aversion,
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
