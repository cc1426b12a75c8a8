r"""Bertsimas and Lo (1998), "Optimal control of execution costs": linear permanent impact, naive and with information.

The price of a purchase is :math:`P_t = P_{t-1} + \theta S_t + \gamma X_t + \varepsilon_t` and the signal
:math:`X_t = \rho X_{t-1} + \eta_t` is seen before :math:`S_t` is chosen (section 2 of the paper). The
optimum may sell on the way.

In the kernel a child pays half of its own permanent move, here the whole of it: :math:`\theta` is the kernel's permanent slope
g, and the other half, :math:`\theta S_t^2 / 2`, is a linear temporary impact. The signal is the kernel's order flow; the move
:math:`\gamma X_1` of the first period, which nobody can avoid and which has mean zero, has no counterpart there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.market.scenario import Scenario

__all__ = [
    *("EXAMPLE", "BertsimasLo", "Coefficients", "coefficients", "informed_cost", "naive_cost", "to_scenario", "trades"),
    "trading_cost",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BertsimasLo:
    """Parameters of Bertsimas and Lo (1998), linear impact with information.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    price: float
    """P0, currency per share."""
    quantity: float
    """Shares to buy (S with a bar)."""
    periods: int
    """T, number of periods."""
    theta: float
    """Permanent impact, currency per share for each share."""
    gamma: float
    """Move of the price for one unit of the signal, currency per share."""
    rho: float
    """AR(1) coefficient of the signal."""
    var_eta: float
    """Variance of the news in the signal."""

    def __post_init__(self) -> None:
        """Check every value once."""
        check_number("price", self.price, low=0.0, high=1e9, open_low=True, unit="currency per share")
        check_number("quantity", self.quantity, low=0.0, high=1e15, open_low=True, unit="shares")
        check_integer("periods", self.periods, low=1, high=100_000)
        check_number("theta", self.theta, low=0.0, high=1e9, open_low=True, unit="currency per share for each share")
        check_number("gamma", self.gamma, low=-1e9, high=1e9, unit="currency per share")
        check_number("rho", self.rho, low=-0.999, high=0.999)
        check_number("var_eta", self.var_eta, low=0.0, high=1e9)

    @property
    def stationary_variance(self) -> float:
        """Variance of the signal, var_eta / (1 - rho^2)."""
        return self.var_eta / (1.0 - self.rho**2)


EXAMPLE: Final = BertsimasLo(price=50.0, quantity=1e5, periods=20, theta=5e-5, gamma=5.0, rho=0.5, var_eta=0.001)
"""The numerical example of the paper."""


class Coefficients(NamedTuple):
    """The optimal policy and its cost; arrays over k = 0 ... T - 1, the periods that are still to come after this one."""

    by_remaining: Floats
    """delta_W,k: share of what remains that is bought; 1 / (k + 1)."""
    by_signal: Floats
    """delta_X,k: shares bought for one unit of the signal."""
    a: Floats
    """Cost of W shares left: P W + a W^2 + b X W + c X^2 + d, currency."""
    b: Floats
    c: Floats
    d: Floats


def coefficients(model: BertsimasLo) -> Coefficients:
    r"""Return the optimal policy S = delta_W W + delta_X X and what it costs (Bertsimas and Lo 1998, section 2).

    .. math::

       a_k = \frac\theta2\left(1 + \frac1{k+1}\right), \quad b_k = \gamma + \frac{\theta\rho\,b_{k-1}}{2a_{k-1}}, \quad
       c_k = \rho^2 c_{k-1} - \frac{\rho^2 b_{k-1}^2}{4a_{k-1}}, \quad d_k = d_{k-1} + c_{k-1}\sigma_\eta^2

    with :math:`b_0 = \gamma`, :math:`c_0 = d_0 = 0`, :math:`\delta_{W,k} = 1/(k+1)` and
    :math:`\delta_{X,k} = \rho b_{k-1}/(2a_{k-1})`.
    """
    count = model.periods
    a = 0.5 * model.theta * (1.0 + 1.0 / np.arange(1.0, count + 1.0))
    by_signal, b, c, d = np.zeros(count), np.full(count, model.gamma), np.zeros(count), np.zeros(count)
    for k in range(1, count):
        by_signal[k] = model.rho * b[k - 1] / (2.0 * a[k - 1])
        b[k] = model.gamma + model.theta * by_signal[k]
        c[k] = model.rho**2 * c[k - 1] - a[k - 1] * by_signal[k] ** 2
        d[k] = d[k - 1] + c[k - 1] * model.var_eta
    return Coefficients(1.0 / np.arange(1.0, count + 1.0), by_signal, a, b, c, d)


def naive_cost(model: BertsimasLo) -> float:
    """Return the expected cost of equal trades, P0 S + theta S^2 (1 + 1 / T) / 2, currency (Bertsimas and Lo 1998).

    Without information that is the optimum. The price of the shares is included; the signal has mean zero.
    """
    return model.price * model.quantity + 0.5 * model.theta * model.quantity**2 * (1.0 + 1.0 / model.periods)


def informed_cost(model: BertsimasLo, first_signal: float | None = None) -> float:
    """Return the expected cost of the optimum with information, currency (Bertsimas and Lo 1998, section 2).

    Args:
        model: The market and the order.
        first_signal: X_1; None for the mean over its stationary law.

    Raises:
        ValueError: The signal is not a number.
    """
    *_, a, b, c, d = (values[-1] for values in coefficients(model))
    signal, square = 0.0, model.stationary_variance
    if first_signal is not None:
        signal = check_number("first_signal", first_signal, low=-1e9, high=1e9)
        square = signal * signal
    return float(model.price * model.quantity + a * model.quantity**2 + b * signal * model.quantity + c * square + d)


def _signals(model: BertsimasLo, signals: Any) -> Floats:
    seen = np.asarray(signals, dtype=float)
    if seen.ndim == 0 or seen.shape[0] != model.periods or not np.isfinite(seen).all():
        raise ValueError(f"signals must hold {model.periods} periods of numbers, (time, episode), got shape {seen.shape}")
    return seen


def trades(model: BertsimasLo, signals: Sequence[float] | Floats) -> Floats:
    """Return the optimal purchases along given signals, shares, of the shape of `signals`: (time,) or (time, episode).

    Raises:
        ValueError: The signals are not T periods of numbers.
    """
    seen, policy = _signals(model, signals), coefficients(model)
    left, bought = np.full(seen.shape[1:], float(model.quantity)), np.empty_like(seen)
    for t in range(model.periods):
        k = model.periods - 1 - t
        bought[t] = policy.by_remaining[k] * left + policy.by_signal[k] * seen[t]
        left = left - bought[t]
    return bought


def trading_cost(model: BertsimasLo, bought: Floats, signals: Sequence[float] | Floats, noise: Any = 0.0) -> Floats:
    """Return what purchases cost along given signals, the sum of P_t S_t, currency, of shape () or (episode,).

    Args:
        model: The market and the order.
        bought: Shares of each period, of the shape of `signals`.
        signals: X_t, (time,) or (time, episode).
        noise: epsilon_t, currency per share, of the same shape or 0.

    Raises:
        ValueError: The signals are not T periods of numbers.
    """
    seen = _signals(model, signals)
    prices = model.price + np.cumsum(model.theta * bought + model.gamma * seen + noise, axis=0)
    return np.asarray((prices * bought).sum(axis=0))


def to_scenario(model: BertsimasLo, *, sd_noise: float, adv: float, name: str = "bertsimas-lo") -> Scenario:
    """Return the model as a scenario of the kernel; its day is the whole order.

    The signal becomes the order flow, the news of the price the rest: sigma^2 P0^2 tau = gamma^2 Var(X) + Var(epsilon). The
    expected cost of a schedule is that of the paper less P0 S. The environment of the package buys or sells only, and the
    optimum of the paper does both.

    Args:
        model: The market and the order; gamma and rho of at least 0 in this mapping.
        sd_noise: Standard deviation of epsilon, currency per share; positive. No expected cost depends on it.
        adv: Volume while the order lasts, shares; it only sets the units of the impact.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("sd_noise", sd_noise, low=0.0, high=1e9, open_low=True, unit="currency per share")
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares")
    check_number("gamma", model.gamma, low=0.0, high=1e9, unit="currency per share")
    by_flow = model.gamma**2 * model.stationary_variance
    variance = by_flow + sd_noise**2
    volatility = math.sqrt(variance * model.periods) / model.price
    permanent = model.theta * adv / model.price
    return Scenario(
        name=name,
        description="the example of Bertsimas and Lo (1998)" if model == EXAMPLE else "",
        quantity=model.quantity,
        arrival_price=model.price,
        slices=model.periods,
        risk_aversion=0.0,
        adv=adv,
        volatility=volatility,
        half_spread_bps=0.0,
        perm_impact_gamma=permanent,
        kyle_lambda=permanent,
        temp_impact_alpha=0.5 * model.theta * adv / (model.periods * volatility * model.price),
        temp_impact_beta=1.0,
        resilience=0.0,
        volume_noise=0.0,
        flow_share=by_flow / variance,
        flow_persistence=model.rho,
    )
