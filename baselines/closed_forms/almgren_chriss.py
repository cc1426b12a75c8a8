r"""Almgren and Chriss (2000), "Optimal execution of portfolio transactions".

In a sell programme the price follows :math:`S_k = S_{k-1} + \sigma\sqrt\tau\,\xi_k + \alpha\tau - \gamma n_k` (equations 1, 6
and 23), and the trade :math:`n_k` fills at :math:`S_{k-1} - \epsilon - \eta n_k / \tau` (equations 2 and 7), before its own
permanent impact. In the kernel a child order pays half of its own permanent impact, so the kernel's temporary slope
:math:`\alpha\sigma P_0 / \mathrm{ADV}` is the paper's :math:`\tilde\eta = \eta - \gamma\tau/2`; both conventions then give the
same total cost of a schedule. Equation numbers follow the version of December 2000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, check_numbers, put_integer, put_number
from hyperexec_env.execution import schedules
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario

__all__ = [
    *("EXAMPLE", "AlmgrenChriss", "LiquidityVar", "Moments", "correlation_gain", "correlation_gain_estimate", "drift_gain"),
    *("drift_gain_bound", "expected_cost", "frontier", "half_life", "holdings", "liquidity_var", "optimum", "static_holdings"),
    *("to_scenario", "trades", "twap", "urgency", "variance"),
]

Floats = NDArray[np.float64]

_TWAP_URGENCY: Final = 1e-8
"""Urgency times slice length below which the schedule is TWAP, as in `hyperexec_env.execution.schedules`."""


@dataclass(frozen=True)
class AlmgrenChriss:
    """Parameters of a sell programme in Almgren and Chriss (2000), section 1.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    quantity: float
    """X, shares."""
    horizon: float
    """T, days."""
    slices: int
    """N."""
    volatility: float
    """sigma, currency per share and square root of a day."""
    epsilon: float
    """Fixed cost (half-spread and fees), currency per share."""
    gamma: float
    """Permanent impact, currency per share for each share sold."""
    eta: float
    """Temporary impact, currency per share for each share a day; must exceed gamma tau / 2."""
    drift: float = 0.0
    """alpha, expected price drift, currency per share and day; a positive drift favours selling later."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_number(self, "horizon", low=0.0, high=1e6, open_low=True, unit="days")
        put_integer(self, "slices", low=1, high=100_000)
        put_number(self, "volatility", low=0.0, high=1e9, unit="currency per share and square root of a day")
        put_number(self, "epsilon", low=0.0, high=1e9, unit="currency per share")
        put_number(self, "gamma", low=0.0, high=1e9, unit="currency per share for each share")
        put_number(self, "eta", low=0.0, high=1e9, open_low=True, unit="currency per share for each share a day")
        put_number(self, "drift", low=-1e9, high=1e9, unit="currency per share and day")
        if not self.eta_tilde > 0.0:
            raise ValueError(
                f"eta must be more than gamma tau / 2 = {0.5 * self.gamma * self.tau:g}, otherwise the cost is not convex "
                f"(Almgren and Chriss 2000, equation 8), got {self.eta:g}"
            )

    @property
    def tau(self) -> float:
        """Slice length, days."""
        return self.horizon / self.slices

    @property
    def eta_tilde(self) -> float:
        """Temporary slope eta - gamma tau / 2 (equation 8), which is alpha sigma P0 / ADV in the kernel's convention."""
        return self.eta - 0.5 * self.gamma * self.tau


EXAMPLE: Final = AlmgrenChriss(
    quantity=1e6, horizon=5.0, slices=5, volatility=0.95, epsilon=0.0625, gamma=2.5e-7, eta=2.5e-6, drift=0.0
)
"""Table 1 of the paper without its drift of 0.02; the risk aversion there is 1e-6, the price 50, the daily volume 5 million."""


class Moments(NamedTuple):
    """Mean and variance of the shortfall, as numbers or as arrays over strategies."""

    expected: Any
    """E, expected shortfall, currency."""
    variance: Any
    """V, variance of the shortfall, squared currency."""

    @property
    def sd(self) -> Any:
        """Standard deviation, currency."""
        return np.sqrt(self.variance)


def _check_trades(model: AlmgrenChriss, trades: Any) -> Floats:
    """Validate a trade list and return it as an array of shape (N,).

    Raises:
        ValueError: The trades are not N numbers that sum to the quantity.
    """
    sold = np.array(check_numbers("trades", trades, low=-1e15, high=1e15, length=model.slices))
    if abs(sold.sum() - model.quantity) > 1e-9 * model.quantity:
        raise ValueError(f"trades must sum to the quantity ({model.quantity:g}), got {sold.sum():.15g}")
    return sold


def _holdings_after(model: AlmgrenChriss, sold: Floats) -> Floats:
    """Return the holdings after each trade, shares, shape (N,)."""
    left: Floats = np.append(np.cumsum(sold[:0:-1])[::-1], 0.0)
    return left


def _check_risk_aversion(risk_aversion: float) -> float:
    return check_number("risk_aversion", risk_aversion, low=0.0, high=1e6, unit="1 / currency")


def expected_cost(model: AlmgrenChriss, trades: Sequence[float] | Floats) -> float:
    """Return the expected shortfall E of a trade list, currency (Almgren and Chriss 2000, equations 8 and 24).

    Args:
        model: The market and the order.
        trades: Shares sold in each slice, shape (N,), summing to the quantity; negative values buy back.

    Raises:
        ValueError: The trades are not N numbers that sum to the quantity.
    """
    sold = _check_trades(model, trades)
    impact = 0.5 * model.gamma * model.quantity**2 + model.eta_tilde / model.tau * float(sold @ sold)
    return impact + model.epsilon * float(abs(sold).sum()) - model.drift * model.tau * float(_holdings_after(model, sold).sum())


def variance(model: AlmgrenChriss, trades: Sequence[float] | Floats) -> float:
    """Return the variance V of the shortfall of a trade list, squared currency (Almgren and Chriss 2000, equation 5).

    Raises:
        ValueError: The trades are not N numbers that sum to the quantity.
    """
    left = _holdings_after(model, _check_trades(model, trades))
    return model.volatility**2 * model.tau * float(left @ left)


def urgency(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return the urgency kappa, per day (Almgren and Chriss 2000, equation 16 and below).

    kappa solves 2 (cosh(kappa tau) - 1) / tau^2 = lambda sigma^2 / eta_tilde. A negative lambda (a trader who likes risk:
    trajectory C of the paper's Figure 2) makes kappa imaginary. The holdings are then sines of its absolute value, which is
    returned with a minus sign.

    Args:
        model: The market and the order.
        risk_aversion: lambda, the weight of the variance in E + lambda V, 1 / currency.

    Raises:
        ValueError: The risk aversion is out of range. It must exceed -(2 sin(pi / 2N) / tau)^2 eta_tilde / sigma^2, where
            E + lambda V stops being convex and round trips lower it without bound.
    """
    value = check_number("risk_aversion", risk_aversion, low=-1e6, high=1e6, unit="1 / currency")
    half = 0.5 * model.tau * math.sqrt(abs(value) * model.volatility**2 / model.eta_tilde)
    if value >= 0.0:
        return 2.0 * math.asinh(half) / model.tau  # cosh(a) - 1 = 2 sinh(a / 2)^2
    limit = math.sin(0.5 * math.pi / model.slices)
    if not half < limit:
        least = -((2.0 * limit / (model.tau * model.volatility)) ** 2) * model.eta_tilde
        raise ValueError(
            f"risk_aversion must be more than {least:g}, where round trips lower E + lambda V without bound, got {value:g}"
        )
    return -2.0 * math.asin(half) / model.tau


def half_life(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return 1 / kappa, days, which the paper calls the half-life of a trade (section 2.3); infinity for zero urgency.

    Raises:
        ValueError: The risk aversion is negative or out of range.
    """
    rate = urgency(model, _check_risk_aversion(risk_aversion))
    return 1.0 / rate if rate else math.inf


def holdings(model: AlmgrenChriss, risk_aversion: float) -> Floats:
    """Return the optimal holdings x_0 = X ... x_N = 0, shares, shape (N + 1,) (Almgren and Chriss 2000, equations 17 and 26).

    With a drift the holdings may leave [0, X], because the model may trade in both directions. The optimisation does not
    charge epsilon for such additional trades. A negative risk aversion postpones the sale (see :func:`urgency`).

    Raises:
        ValueError: The risk aversion is out of range.
    """
    rate = urgency(model, risk_aversion)
    left = 1.0 - np.append(0.0, np.cumsum(_weights(model, rate)))
    left[-1] = 0.0
    return model.quantity * left + _drift_correction(model, rate)


def _weights(model: AlmgrenChriss, rate: float) -> Floats:
    """Return the trades without a drift as fractions of the order, shape (N,)."""
    if rate < 0.0:
        left = model.slices - np.arange(model.slices + 1)
        return np.asarray(-np.diff(np.sin(-rate * model.tau * left)) / math.sin(-rate * model.horizon))
    return schedules.almgren_chriss(model.slices, rate * model.tau)


def _drift_correction(model: AlmgrenChriss, rate: float) -> Floats:
    """Return the change of the holdings due to the drift, shares, shape (N + 1,).

    This is the second term of equation 26, in a form that is numerically stable for all rates.
    """
    times = model.tau * np.arange(model.slices + 1)
    scale = 0.25 * model.drift / model.eta_tilde
    if abs(rate) * model.tau < _TWAP_URGENCY:
        return np.asarray(scale * times * (model.horizon - times))
    if rate < 0.0:
        waves = np.sin(0.5 * rate * times) * np.sin(0.5 * rate * (model.horizon - times)) / math.cos(0.5 * rate * model.horizon)
        return np.asarray(scale * (model.tau / math.sin(0.5 * rate * model.tau)) ** 2 * waves)
    shape = np.expm1(-rate * times) * np.expm1(-rate * (model.horizon - times)) / (1.0 + math.exp(-rate * model.horizon))
    return np.asarray(0.5 * scale * (model.tau / math.sinh(0.5 * rate * model.tau)) ** 2 * shape)


def trades(model: AlmgrenChriss, risk_aversion: float) -> Floats:
    """Return the optimal trade list n_1 ... n_N, shares, shape (N,) (Almgren and Chriss 2000, equations 18 and 27).

    Raises:
        ValueError: The risk aversion is out of range.
    """
    rate = urgency(model, risk_aversion)
    return np.asarray(model.quantity * _weights(model, rate) - np.diff(_drift_correction(model, rate)))


def optimum(model: AlmgrenChriss, risk_aversion: float) -> Moments:
    """Return mean and variance of the optimal strategy (Almgren and Chriss 2000, equation 20).

    Equation 20 holds without drift. With a drift, and for a small or negative urgency, the moments are computed from the
    optimal trades by equations 24 and 5.

    Raises:
        ValueError: The risk aversion is out of range.
    """
    rate = urgency(model, risk_aversion)
    if model.drift or rate * model.horizon < 0.1:  # equation 20 loses digits to cancellation at small urgency
        sold = trades(model, risk_aversion)
        return Moments(expected_cost(model, sold), variance(model, sold))
    a, b = rate * model.tau, rate * model.horizon
    coth = -(1.0 + math.exp(-2.0 * b)) / math.expm1(-2.0 * b)
    ratio = -2.0 * math.exp(a - 2.0 * b) * math.expm1(-2.0 * a) / math.expm1(-2.0 * b) ** 2  # sinh(a) / sinh(b)^2
    shape = math.tanh(0.5 * a) * (2.0 * model.tau * coth + 2.0 * model.horizon * ratio) / (2.0 * model.tau**2)
    fixed = 0.5 * model.gamma * model.quantity**2 + model.epsilon * model.quantity
    odd = 2 * model.slices - 1  # tau sinh(b) cosh(b - a) - T sinh(a) = tau (sinh(odd a) - odd sinh(a)) / 2
    falls = math.exp(-2.0 * a) * (math.expm1(-2.0 * odd * a) / math.expm1(-2.0 * a)) - odd * math.exp(-2.0 * b)
    spread = model.volatility**2 * model.quantity**2 * model.tau * falls / math.expm1(-2.0 * b) ** 2
    return Moments(fixed + model.eta_tilde * model.quantity**2 * shape, spread)


def twap(model: AlmgrenChriss) -> Moments:
    """Return mean and variance of the shortfall of TWAP (Almgren and Chriss 2000, equations 10 and 11)."""
    x, n = model.quantity, model.slices
    expected = 0.5 * model.gamma * x * x + model.epsilon * x + model.eta_tilde * x * x / model.horizon
    expected -= 0.5 * model.drift * model.horizon * x * (1.0 - 1.0 / n)
    return Moments(expected, model.volatility**2 * x * x * model.horizon * (1.0 - 1.0 / n) * (1.0 - 0.5 / n) / 3.0)


def frontier(model: AlmgrenChriss, risk_aversions: Sequence[float] | Floats) -> Moments:
    """Return the efficient frontier: mean and variance of the optimal strategy for each risk aversion (section 2.4)."""
    points = [optimum(model, value) for value in risk_aversions]
    return Moments(np.array([point.expected for point in points]), np.array([point.variance for point in points]))


# --- the value of information (section 4)


def static_holdings(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return the optimal static holdings alpha / (2 lambda sigma^2), shares (Almgren and Chriss 2000, equation 25).

    The paper's example gives 11,080; Table 1 prints 11,000, and the 1,100 printed in section 4.1 is a misprint.

    Raises:
        ValueError: The drift is not zero but lambda or sigma is: the holdings would be infinite.
    """
    price_of_risk = 2.0 * _check_risk_aversion(risk_aversion) * model.volatility**2
    if model.drift and not price_of_risk:
        raise ValueError(
            f"risk_aversion and volatility must be positive with a drift, got {risk_aversion:g} and {model.volatility:g}"
        )
    return model.drift / price_of_risk if model.drift else 0.0


def drift_gain(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return the reduction of E + lambda V from using the drift, currency (Almgren and Chriss 2000, section 4.1).

    The baseline is the schedule that ignores the drift. Because the objective is quadratic, the gain is exactly half of
    :func:`drift_gain_bound`; it does not depend on the quantity.
    """
    return 0.5 * drift_gain_bound(model, risk_aversion)


def drift_gain_bound(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return the upper bound of :func:`drift_gain`, currency (Almgren and Chriss 2000, section 4.1).

    The bound is the drift earned on the additional holdings,
    alpha xbar T (1 - (tau / T) tanh(kappa T / 2) / tanh(kappa tau / 2)).
    """
    return model.drift * model.tau * float(_drift_correction(model, urgency(model, risk_aversion)).sum())


def correlation_gain_estimate(volatility: float, eta: float, rho: float, tau: float) -> float:
    """Return the one-period estimate of the gain from serial correlation, currency per period.

    The estimate rho^2 sigma^2 tau^2 / (4 eta) looks one period ahead (Almgren and Chriss 2000, equation 28);
    :func:`correlation_gain` looks ahead over all periods and takes the same arguments.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("volatility", volatility, low=0.0, high=1e9, unit="currency per share and square root of a day")
    check_number("eta", eta, low=0.0, high=1e9, open_low=True, unit="currency per share for each share a day")
    check_number("rho", rho, low=-0.999, high=0.999)
    check_number("tau", tau, low=0.0, high=1e6, open_low=True, unit="days")
    return (rho * volatility * tau) ** 2 / (4.0 * eta)


def correlation_gain(volatility: float, eta: float, rho: float, tau: float) -> float:
    """Return the gain of the optimal policy from serial correlation, currency per period (Almgren and Chriss 2000, Table 2).

    The paper prints the results of its dynamic programme, not a formula. With AR(1) price moves, a long horizon and no risk
    aversion, the optimal policy shifts s tau / (2 eta (1 - rho)) shares when the next expected move is
    s = rho sigma sqrt(tau) xi, because the expected moves of the following periods are rho s, rho^2 s, ... The gain per
    period is rho^2 sigma^2 tau^2 / (4 eta (1 - rho)^2); the gain per day is 1 / tau times as large. The formula reproduces
    Table 2 (ten-minute periods, 39 a day, no permanent impact) except for one entry: at rho -0.1 and eta 0.25e-6 the table
    prints 192, and the formula gives 191.25.

    Args:
        volatility: sigma, currency per share and square root of a day.
        eta: Temporary impact, currency per share for each share a day.
        rho: Autocorrelation of the price moves of successive periods.
        tau: Period length, days.

    Raises:
        ValueError: A value is out of range.
    """
    return correlation_gain_estimate(volatility, eta, rho, tau) / (1.0 - rho) ** 2


# --- value at risk (section 3.2)


class LiquidityVar(NamedTuple):
    """Minimum value at risk of liquidating a position, and the strategy that attains it."""

    value: float
    """L-VaR, currency."""
    risk_aversion: float
    """lambda for which the strategy is optimal, 1 / currency; infinity if everything is sold in the first slice."""
    moments: Moments
    """Mean and variance of the shortfall of the strategy."""


def liquidity_var(model: AlmgrenChriss, confidence: float = 0.95) -> LiquidityVar:
    """Return L-VaR, the minimum over strategies of E + lambda_v sqrt(V) (Almgren and Chriss 2000, equation 22).

    The minimiser is the point of the efficient frontier with lambda = lambda_v / (2 sqrt(V)), unless it is optimal to sell
    everything in the first slice, which is the case if and only if lambda_v sigma sqrt(tau) >= 2 eta_tilde X / tau.

    Args:
        model: The market and the order; the drift must be 0.
        confidence: Probability that the loss does not exceed the L-VaR, in [0.5, 1); lambda_v is its normal quantile.

    Raises:
        ValueError: The confidence is out of range, or the model has a drift.
    """
    if not check_number("confidence", confidence, low=0.5, high=1.0, unit="probability") < 1.0:
        raise ValueError(f"confidence must be below 1, got {confidence!r}")
    if model.drift:
        raise ValueError(f"drift must be 0 for a value at risk, got {model.drift:g}")
    quantile = NormalDist().inv_cdf(confidence)
    if model.slices == 1 or quantile * model.volatility * model.tau**1.5 >= 2.0 * model.eta_tilde * model.quantity:
        fixed = 0.5 * model.gamma * model.quantity**2 + model.epsilon * model.quantity
        at_once = Moments(fixed + model.eta_tilde / model.tau * model.quantity**2, 0.0)
        return LiquidityVar(at_once.expected, math.inf, at_once)
    aversion = 0.0
    if quantile > 0.0 and model.volatility > 0.0:
        aversion = _exp_root(lambda log: 2.0 * math.exp(log) * optimum(model, math.exp(log)).sd - quantile, -200.0, 13.8)
    found = optimum(model, aversion)
    return LiquidityVar(found.expected + quantile * float(found.sd), aversion, found)


def _exp_root(function: Any, low: float, high: float) -> float:
    """Return exp(z) for the root z of an increasing function in [low, high], by bisection."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if function(middle) < 0.0 else (low, middle)
    return math.exp(0.5 * (low + high))


# --- conversion to a scenario


def to_scenario(
    model: AlmgrenChriss, risk_aversion: float, *, arrival_price: float, adv: float, name: str = "almgren-chriss"
) -> Scenario:
    """Return the model as a sell scenario in which every schedule has the expected cost and the variance of the paper.

    The scenario's day is the whole horizon (one session of T days without nights), so volatility, volume and rates refer to
    that day. The drift of the model becomes the drift of the scenario's only regime.

    Args:
        model: The market and the order.
        risk_aversion: lambda, 1 / currency.
        arrival_price: P0, currency per share.
        adv: Average daily volume, shares a day; it only sets the units of the impact parameters.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("arrival_price", arrival_price, low=0.0, high=1e9, open_low=True, unit="currency per share")
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    minutes, volume = 390.0 * model.horizon, adv * model.horizon
    volatility = model.volatility * math.sqrt(model.horizon) / arrival_price
    if not volatility > 0.0:
        raise ValueError("volatility must be positive in a scenario, which states temporary impact in volatilities, got 0")
    permanent = model.gamma * volume / arrival_price
    return Scenario(
        name=name,
        description="the example of Almgren and Chriss (2000)" if model == EXAMPLE else "",
        side=-1,
        quantity=model.quantity,
        arrival_price=arrival_price,
        horizon_minutes=minutes,
        day_minutes=minutes,
        slices=model.slices,
        risk_aversion=_check_risk_aversion(risk_aversion),
        adv=volume,
        volatility=volatility,
        half_spread_bps=1e4 * model.epsilon / arrival_price,
        perm_impact_gamma=permanent,
        kyle_lambda=permanent,
        temp_impact_alpha=model.eta_tilde * adv / (volatility * arrival_price),
        temp_impact_beta=1.0,
        resilience=0.0,
        volume_noise=0.0,
        flow_share=0.0,
        regimes=Regimes(drift=(model.drift * model.horizon / arrival_price,)),
    )
