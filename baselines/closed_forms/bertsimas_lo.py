r"""Bertsimas and Lo (1998), "Optimal control of execution costs": linear permanent impact, without and with a signal.

A purchase of :math:`S_t` shares fills at :math:`P_t = P_{t-1} + \theta S_t + \gamma X_t + \varepsilon_t`. The trader observes
the signal :math:`X_t = \rho X_{t-1} + \eta_t` before choosing :math:`S_t` (section 2 of the paper). The optimal policy may sell
in some periods.

In the kernel a child order pays half of its own permanent impact, in the paper all of it. So :math:`\theta` is the kernel's
permanent slope g, and the remaining cost :math:`\theta S_t^2 / 2` is a linear temporary impact. The signal is the kernel's
order flow. The price move :math:`\gamma X_1` of the first period has mean zero, cannot be avoided by any policy and has no
counterpart in the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, put_integer, put_number
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
    """Shares to buy (S-bar in the paper)."""
    periods: int
    """T, number of periods."""
    theta: float
    """Permanent impact, currency per share for each share."""
    gamma: float
    """Price move for one unit of the signal, currency per share."""
    rho: float
    """AR(1) coefficient of the signal."""
    var_eta: float
    """Variance of the innovation eta of the signal."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "price", low=0.0, high=1e9, open_low=True, unit="currency per share")
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_integer(self, "periods", low=1, high=100_000)
        put_number(self, "theta", low=0.0, high=1e9, open_low=True, unit="currency per share for each share")
        put_number(self, "gamma", low=-1e9, high=1e9, unit="currency per share")
        put_number(self, "rho", low=-0.999, high=0.999)
        put_number(self, "var_eta", low=0.0, high=1e9)

    @property
    def stationary_variance(self) -> float:
        """Stationary variance of the signal, var_eta / (1 - rho^2)."""
        return self.var_eta / (1.0 - self.rho**2)


EXAMPLE: Final = BertsimasLo(price=50.0, quantity=1e5, periods=20, theta=5e-5, gamma=5.0, rho=0.5, var_eta=0.001)
"""The numerical example of the paper."""


class Coefficients(NamedTuple):
    """Coefficients of the optimal policy and of its cost; arrays of shape (T,), indexed by the number k of later periods."""

    by_remaining: Floats
    """delta_W,k, fraction of the remaining shares to buy, 1 / (k + 1)."""
    by_signal: Floats
    """delta_X,k, shares to buy for one unit of the signal."""
    a: Floats
    """Coefficients of the cost P W + a W^2 + b X W + c X^2 + d (currency) of buying the remaining W shares."""
    b: Floats
    c: Floats
    d: Floats


def coefficients(model: BertsimasLo) -> Coefficients:
    r"""Return the optimal policy S = delta_W W + delta_X X and the coefficients of its cost (Bertsimas and Lo 1998, section 2).

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

    Equal trades are optimal without the signal. The cost includes the initial value P0 S of the shares.
    """
    return model.price * model.quantity + 0.5 * model.theta * model.quantity**2 * (1.0 + 1.0 / model.periods)


def informed_cost(model: BertsimasLo, first_signal: float | None = None) -> float:
    """Return the expected cost of the optimal policy with the signal, currency (Bertsimas and Lo 1998, section 2).

    Args:
        model: The market and the order.
        first_signal: X_1; None averages over its stationary distribution.

    Raises:
        ValueError: The signal is not a finite number.
    """
    *_, a, b, c, d = (values[-1] for values in coefficients(model))
    signal, square = 0.0, model.stationary_variance
    if first_signal is not None:
        signal = check_number("first_signal", first_signal, low=-1e9, high=1e9)
        square = signal * signal
    return float(model.price * model.quantity + a * model.quantity**2 + b * signal * model.quantity + c * square + d)


def _check_signals(model: BertsimasLo, signals: Any) -> Floats:
    """Validate signals and return them as an array, shape (time,) or (time, episode)."""
    seen = np.asarray(signals, dtype=float)
    if seen.ndim == 0 or seen.shape[0] != model.periods or not np.isfinite(seen).all():
        raise ValueError(f"signals must hold {model.periods} periods of numbers, (time, episode), got shape {seen.shape}")
    return seen


def trades(model: BertsimasLo, signals: Sequence[float] | Floats) -> Floats:
    """Return the optimal purchases along given signals, shares, in the shape of `signals`: (time,) or (time, episode).

    Raises:
        ValueError: The signals are not finite numbers for T periods.
    """
    seen, policy = _check_signals(model, signals), coefficients(model)
    left, bought = np.full(seen.shape[1:], float(model.quantity)), np.empty_like(seen)
    for t in range(model.periods):
        k = model.periods - 1 - t
        bought[t] = policy.by_remaining[k] * left + policy.by_signal[k] * seen[t]
        left = left - bought[t]
    return bought


def trading_cost(model: BertsimasLo, bought: Floats, signals: Sequence[float] | Floats, noise: Any = 0.0) -> Floats:
    """Return the cost of purchases along given signals, the sum of P_t S_t, currency, shape () or (episode,).

    Args:
        model: The market and the order.
        bought: Shares bought in each period, in the shape of `signals`.
        signals: X_t, shape (time,) or (time, episode).
        noise: epsilon_t, currency per share, in the shape of `signals`, or 0.

    Raises:
        ValueError: The signals are not finite numbers for T periods.
    """
    seen = _check_signals(model, signals)
    prices = model.price + np.cumsum(model.theta * bought + model.gamma * seen + noise, axis=0)
    return np.asarray((prices * bought).sum(axis=0))


def to_scenario(model: BertsimasLo, *, sd_noise: float, adv: float, name: str = "bertsimas-lo") -> Scenario:
    """Return the model as a scenario whose day lasts for all T periods.

    The signal becomes the order flow and epsilon the news, so that sigma^2 P0^2 tau = gamma^2 Var(X) + Var(epsilon). The
    expected cost of a schedule is the expected cost of the paper minus P0 S. An order in the environment trades on one side
    only, whereas the optimal policy of the paper buys and sells.

    Args:
        model: The market and the order; gamma must be non-negative.
        sd_noise: Standard deviation of epsilon, currency per share, positive; expected costs do not depend on it.
        adv: Market volume over all periods, shares; it only sets the units of the impact parameters.
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
