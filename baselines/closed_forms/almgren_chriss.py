r"""Almgren and Chriss (2000), "Optimal execution of portfolio transactions", and the power-law cost of Almgren (2003).

The price of a sell programme moves by :math:`S_k = S_{k-1} + \sigma\sqrt\tau\,\xi_k + \alpha\tau - \gamma n_k` (equations 1, 6
and 23), and the trade :math:`n_k` gets :math:`S_{k-1} - \epsilon - \eta n_k / \tau` (equations 2 and 7): a fill precedes its
own permanent move. In the kernel a child pays half of its own permanent move, so the temporary slope
:math:`\tilde\eta = \eta - \gamma\tau/2` of the paper is what the kernel calls :math:`\alpha\sigma P_0 / \mathrm{ADV}`; with
that the sum over a schedule is the same. Equation numbers are those of the version of December 2000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, check_numbers
from hyperexec_env.execution import schedules
from hyperexec_env.market.scenario import Scenario

__all__ = [
    *("EXAMPLE", "AlmgrenChriss", "LiquidityVar", "Moments", "PowerCost", "correlation_gain", "correlation_gain_estimate"),
    *("drift_gain", "drift_gain_bound", "expected_cost", "frontier", "half_life", "holdings", "liquidity_var", "optimum"),
    *("power_holdings", "power_moments", "power_schedule", "power_time", "static_holdings", "to_scenario", "trades", "twap"),
    *("urgency", "variance"),
]

Floats = NDArray[np.float64]

_STILL: Final = 1e-8
"""Urgency times the length of a slice below which a schedule is TWAP, as in the schedules of the desk."""
_SMALLEST: Final = 1e-300


@dataclass(frozen=True)
class AlmgrenChriss:
    """Parameters of Almgren and Chriss (2000), section 1; a sell programme.

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
    """Fixed cost of a share (half of the spread, and fees), currency per share."""
    gamma: float
    """Permanent impact, currency per share for each share sold."""
    eta: float
    """Temporary impact, currency per share for each share a day; more than gamma tau / 2."""
    drift: float = 0.0
    """alpha, expected move of the price, currency per share and day; positive is good for who sells late."""

    def __post_init__(self) -> None:
        """Check every value once."""
        check_number("quantity", self.quantity, low=0.0, high=1e15, open_low=True, unit="shares")
        check_number("horizon", self.horizon, low=0.0, high=1e6, open_low=True, unit="days")
        check_integer("slices", self.slices, low=1, high=100_000)
        check_number("volatility", self.volatility, low=0.0, high=1e9, unit="currency per share and square root of a day")
        check_number("epsilon", self.epsilon, low=0.0, high=1e9, unit="currency per share")
        check_number("gamma", self.gamma, low=0.0, high=1e9, unit="currency per share for each share")
        check_number("eta", self.eta, low=0.0, high=1e9, open_low=True, unit="currency per share for each share a day")
        check_number("drift", self.drift, low=-1e9, high=1e9, unit="currency per share and day")
        if not self.eta_tilde > 0.0:
            raise ValueError(
                f"eta must be more than gamma tau / 2 = {0.5 * self.gamma * self.tau:g}, or the cost is not convex "
                f"(Almgren and Chriss 2000, equation 8), got {self.eta:g}"
            )

    @property
    def tau(self) -> float:
        """Length of a slice, days."""
        return self.horizon / self.slices

    @property
    def eta_tilde(self) -> float:
        """Temporary slope eta - gamma tau / 2 (equation 8): alpha sigma P0 / ADV in the kernel's convention."""
        return self.eta - 0.5 * self.gamma * self.tau


EXAMPLE: Final = AlmgrenChriss(
    quantity=1e6, horizon=5.0, slices=5, volatility=0.95, epsilon=0.0625, gamma=2.5e-7, eta=2.5e-6, drift=0.0
)
"""Table 1 of the paper without its drift (0.02); its risk aversion is 1e-6, its price 50, its daily volume 5 million."""


class Moments(NamedTuple):
    """Mean and variance of the shortfall: numbers, or arrays over strategies."""

    expected: Any
    """E, currency."""
    variance: Any
    """V, squared currency."""

    @property
    def sd(self) -> Any:
        """Standard deviation, currency."""
        return np.sqrt(self.variance)


def _checked(model: AlmgrenChriss, trades: Any) -> Floats:
    """Return a trade list as an array that sums to the quantity."""
    sold = np.array(check_numbers("trades", trades, low=-1e15, high=1e15, length=model.slices))
    if abs(sold.sum() - model.quantity) > 1e-9 * model.quantity:
        raise ValueError(f"trades must sum to the quantity ({model.quantity:g}), got {sold.sum():.15g}")
    return sold


def _left(model: AlmgrenChriss, sold: Floats) -> Floats:
    """Return the holdings after each trade, (N,)."""
    left: Floats = np.append(np.cumsum(sold[:0:-1])[::-1], 0.0)
    return left


def _aversion(risk_aversion: float) -> float:
    return check_number("risk_aversion", risk_aversion, low=0.0, high=1e6, unit="1 / currency")


def expected_cost(model: AlmgrenChriss, trades: Sequence[float] | Floats) -> float:
    """Return the expected shortfall E of a trade list, currency (Almgren and Chriss 2000, equations 8 and 24).

    Args:
        model: The market and the order.
        trades: Shares sold in each slice, (N,); negative buys back. They sum to the quantity.

    Raises:
        ValueError: The trades are not N numbers that sum to the quantity.
    """
    sold = _checked(model, trades)
    impact = 0.5 * model.gamma * model.quantity**2 + model.eta_tilde / model.tau * float(sold @ sold)
    return impact + model.epsilon * float(abs(sold).sum()) - model.drift * model.tau * float(_left(model, sold).sum())


def variance(model: AlmgrenChriss, trades: Sequence[float] | Floats) -> float:
    """Return the variance V of the shortfall of a trade list, squared currency (Almgren and Chriss 2000, equation 5).

    Raises:
        ValueError: The trades are not N numbers that sum to the quantity.
    """
    left = _left(model, _checked(model, trades))
    return model.volatility**2 * model.tau * float(left @ left)


def urgency(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return kappa, per day, of 2 (cosh(kappa tau) - 1) / tau^2 = lambda sigma^2 / eta_tilde (equation 16 and below).

    Args:
        model: The market and the order.
        risk_aversion: lambda, price of a squared currency unit of variance, 1 / currency.

    Raises:
        ValueError: The risk aversion is out of range.
    """
    half = 0.5 * model.tau * math.sqrt(_aversion(risk_aversion) * model.volatility**2 / model.eta_tilde)
    return 2.0 * math.asinh(half) / model.tau  # cosh(a) - 1 = 2 sinh(a / 2)^2


def half_life(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return 1 / kappa, days: what the paper calls the half-life of a trade (section 2.3); infinity without risk aversion."""
    rate = urgency(model, risk_aversion)
    return 1.0 / rate if rate else math.inf


def holdings(model: AlmgrenChriss, risk_aversion: float) -> Floats:
    """Return the optimal holdings x_0 = X ... x_N = 0, shares, (N + 1,) (Almgren and Chriss 2000, equations 17 and 26).

    With a drift they may leave [0, X]: the model buys and sells. The half-spread is not charged for that.
    """
    rate = urgency(model, risk_aversion)
    left = 1.0 - np.append(0.0, np.cumsum(_weights(model, rate)))
    left[-1] = 0.0
    return model.quantity * left + _correction(model, rate)


def _weights(model: AlmgrenChriss, rate: float) -> Floats:
    return schedules.almgren_chriss(model.slices, rate * model.tau)


def _correction(model: AlmgrenChriss, rate: float) -> Floats:
    """Return what the drift adds to the holdings: the second term of equation 26, in a form that is stable for all rates."""
    times = model.tau * np.arange(model.slices + 1)
    scale = 0.25 * model.drift / model.eta_tilde
    if rate * model.tau < _STILL:
        return np.asarray(scale * times * (model.horizon - times))
    shape = np.expm1(-rate * times) * np.expm1(-rate * (model.horizon - times)) / (1.0 + math.exp(-rate * model.horizon))
    return np.asarray(0.5 * scale * (model.tau / math.sinh(0.5 * rate * model.tau)) ** 2 * shape)


def trades(model: AlmgrenChriss, risk_aversion: float) -> Floats:
    """Return the optimal trade list n_1 ... n_N, shares, (N,) (Almgren and Chriss 2000, equations 18 and 27)."""
    rate = urgency(model, risk_aversion)
    return np.asarray(model.quantity * _weights(model, rate) - np.diff(_correction(model, rate)))


def optimum(model: AlmgrenChriss, risk_aversion: float) -> Moments:
    """Return mean and variance of the optimal strategy (Almgren and Chriss 2000, equation 20).

    Equation 20 is for a market without drift; with one, the sums of equations 24 and 5 are taken along equation 27.
    """
    rate = urgency(model, risk_aversion)
    if model.drift or rate * model.horizon < 0.1:  # where equation 20 loses digits by cancellation
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
    """Return mean and variance of selling at a constant rate (Almgren and Chriss 2000, equations 10 and 11)."""
    x, n = model.quantity, model.slices
    expected = 0.5 * model.gamma * x * x + model.epsilon * x + model.eta_tilde * x * x / model.horizon
    expected -= 0.5 * model.drift * model.horizon * x * (1.0 - 1.0 / n)
    return Moments(expected, model.volatility**2 * x * x * model.horizon * (1.0 - 1.0 / n) * (1.0 - 0.5 / n) / 3.0)


def frontier(model: AlmgrenChriss, risk_aversions: Sequence[float] | Floats) -> Moments:
    """Return the efficient frontier: mean and variance of the optimum for each risk aversion (section 2.4 of the paper)."""
    points = [optimum(model, value) for value in risk_aversions]
    return Moments(np.array([point.expected for point in points]), np.array([point.variance for point in points]))


# --- the value of information (section 4)


def static_holdings(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return alpha / (2 lambda sigma^2), shares: what one would hold for ever (Almgren and Chriss 2000, equation 25).

    The example of the paper gives 11,080; its Table 1 prints 11,000, its section 4.1 prints 1,100, which is a slip.

    Raises:
        ValueError: There is a drift and no price of risk, so that the answer is infinite.
    """
    price_of_risk = 2.0 * _aversion(risk_aversion) * model.volatility**2
    if model.drift and not price_of_risk:
        raise ValueError(
            f"risk_aversion and volatility must be positive where there is a drift, got {risk_aversion:g}, {model.volatility:g}"
        )
    return model.drift / price_of_risk if model.drift else 0.0


def drift_gain(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return by how much E + lambda V falls when the drift is not ignored, currency (Almgren and Chriss 2000, section 4.1).

    The objective is quadratic, so the gain is exactly half of :func:`drift_gain_bound`. It does not depend on the quantity.
    """
    return 0.5 * drift_gain_bound(model, risk_aversion)


def drift_gain_bound(model: AlmgrenChriss, risk_aversion: float) -> float:
    """Return the paper's bound of the gain, currency: the drift that the additional holdings catch.

    It is alpha xbar T (1 - (tau / T) tanh(kappa T / 2) / tanh(kappa tau / 2)), section 4.1 of Almgren and Chriss (2000).
    """
    return model.drift * model.tau * float(_correction(model, urgency(model, risk_aversion)).sum())


def _correlation(volatility: float, eta: float, rho: float, tau: float) -> float:
    """Check the arguments of the gains from serial correlation; return (rho sigma tau)^2 / (4 eta)."""
    check_number("volatility", volatility, low=0.0, high=1e9, unit="currency per share and square root of a day")
    check_number("eta", eta, low=0.0, high=1e9, open_low=True, unit="currency per share for each share a day")
    check_number("rho", rho, low=-0.999, high=0.999)
    check_number("tau", tau, low=0.0, high=1e6, open_low=True, unit="days")
    return (rho * volatility * tau) ** 2 / (4.0 * eta)


def correlation_gain_estimate(volatility: float, eta: float, rho: float, tau: float) -> float:
    """Return the gain of a period from serial correlation, currency: rho^2 sigma^2 tau^2 / (4 eta) (equation 28).

    It looks one period ahead; :func:`correlation_gain` looks at all of them.

    Raises:
        ValueError: A value is out of range.
    """
    return _correlation(volatility, eta, rho, tau)


def correlation_gain(volatility: float, eta: float, rho: float, tau: float) -> float:
    """Return the gain of a period from serial correlation, currency, by the optimal policy (Almgren and Chriss 2000, Table 2).

    The paper prints the numbers of its dynamic programme, not the formula. For price moves that are AR(1), a long time to
    trade and no risk aversion, the optimum shifts s tau / (2 eta (1 - rho)) shares when the move to come is s = rho sigma
    sqrt(tau) xi, because the signal returns as s, rho s, rho^2 s ...; the gain of a period is
    rho^2 sigma^2 tau^2 / (4 eta (1 - rho)^2), that of a day 1 / tau as much. Table 2 (ten-minute periods, 39 a day, no
    permanent impact) is met in all entries but one: 192 is printed at rho -0.1 and eta 0.25e-6, where the formula has 191.25.

    Args:
        volatility: sigma, currency per share and square root of a day.
        eta: Temporary impact, currency per share for each share a day.
        rho: Correlation of a period's price move with that of the period before.
        tau: Length of a period, days.

    Raises:
        ValueError: A value is out of range.
    """
    return _correlation(volatility, eta, rho, tau) / (1.0 - rho) ** 2


# --- value at risk (section 3.2)


class LiquidityVar(NamedTuple):
    """The least value at risk of liquidating a position, and the strategy that has it."""

    value: float
    """L-VaR, currency."""
    risk_aversion: float
    """The lambda whose optimum that is, 1 / currency; infinity where all is sold at once."""
    moments: Moments
    """Mean and variance of the strategy."""


def liquidity_var(model: AlmgrenChriss, confidence: float = 0.95) -> LiquidityVar:
    """Return L-VaR, the minimum over strategies of E + lambda_v sqrt(V) (Almgren and Chriss 2000, equation 22).

    The minimum is the point of the efficient frontier where lambda = lambda_v / (2 sqrt(V)), unless lambda_v is so large that
    everything is sold in the first slice: then, and only then, lambda_v sigma sqrt(tau) >= 2 eta_tilde X / tau.

    Args:
        model: The market and the order; without drift.
        confidence: Probability that the loss does not exceed the value, 0.5 to below 1; lambda_v is its normal quantile.

    Raises:
        ValueError: The confidence is out of range, or the model has a drift.
    """
    if not check_number("confidence", confidence, low=0.5, high=1.0) < 1.0:
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
        aversion = _root(lambda log: 2.0 * math.exp(log) * optimum(model, math.exp(log)).sd - quantile, -200.0, 13.8)
    found = optimum(model, aversion)
    return LiquidityVar(found.expected + quantile * float(found.sd), aversion, found)


def _root(function: Any, low: float, high: float) -> float:
    """Return exp of the root of an increasing function of a logarithm, by bisection."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if function(middle) < 0.0 else (low, middle)
    return math.exp(0.5 * (low + high))


# --- in the kernel's convention


def to_scenario(
    model: AlmgrenChriss, risk_aversion: float, *, arrival_price: float, adv: float, name: str = "almgren-chriss"
) -> Scenario:
    """Return the model as a scenario of the kernel, in which each schedule costs what the paper says.

    The day of the scenario is the whole horizon (one session of T days without nights), so volatility, volume and time are
    counted in it. The order sells. A drift of the model has no place here (a scenario's drift belongs to a regime).

    Args:
        model: The market and the order.
        risk_aversion: lambda, 1 / currency.
        arrival_price: P0, currency per share.
        adv: Average daily volume, shares a day; it only sets the units of the impact.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("arrival_price", arrival_price, low=0.0, high=1e9, open_low=True, unit="currency per share")
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    minutes, volume = 390.0 * model.horizon, adv * model.horizon
    volatility = model.volatility * math.sqrt(model.horizon) / arrival_price
    if not volatility > 0.0:
        raise ValueError("volatility must be positive in a scenario: its temporary impact is counted in volatilities, got 0")
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
        risk_aversion=_aversion(risk_aversion),
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
    )


# --- power-law cost (Almgren 2003)


@dataclass(frozen=True)
class PowerCost:
    """Parameters of Almgren (2003), "Optimal execution with nonlinear impact functions and trading-enhanced risk".

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
    """The paper's k; 1 is linear, 0.5 the square root."""
    risk_aversion: float
    """lambda, 1 / currency."""

    def __post_init__(self) -> None:
        """Check every value once."""
        check_number("quantity", self.quantity, low=0.0, high=1e15, open_low=True, unit="shares")
        check_number("volatility", self.volatility, low=0.0, high=1e9, open_low=True, unit="currency per share")
        check_number("eta", self.eta, low=0.0, high=1e9, open_low=True, unit="currency per share")
        check_number("beta", self.beta, low=0.0, high=10.0, open_low=True)
        check_number("risk_aversion", self.risk_aversion, low=0.0, high=1e6, open_low=True, unit="1 / currency")


def power_time(model: PowerCost) -> float:
    r"""Return the characteristic time T*, days: X over the first rate of trading (Almgren 2003, power-law cost).

    .. math:: T_* = \left(\frac{k \eta X^{k-1}}{\lambda\sigma^2}\right)^{1/(k+1)}
    """
    k = model.beta
    aversion = model.risk_aversion * model.volatility**2
    return float((k * model.eta * model.quantity ** (k - 1.0) / aversion) ** (1.0 / (k + 1.0)))


def power_holdings(model: PowerCost, times: Any) -> Floats:
    r"""Return the optimal holdings at times in days, shares, of the shape of `times` (Almgren 2003, power-law cost).

    .. math:: x(t) = X \left(1 + \frac{1-k}{1+k}\frac{t}{T_*}\right)^{-(1+k)/(1-k)}

    For k = 1 that is an exponential; for k > 1 the order ends at (k + 1) / (k - 1) T*.

    Raises:
        ValueError: A time is negative.
    """
    at = np.asarray(times, dtype=float)
    if not (at >= 0.0).all():
        raise ValueError(f"times must be non-negative (days), got {float(at.min()):g}")
    scaled, slope = at / power_time(model), (1.0 - model.beta) / (1.0 + model.beta)
    if abs(slope) < 1e-12:
        return np.asarray(model.quantity * np.exp(-scaled))
    with np.errstate(divide="ignore"):  # the order has ended: log 0
        return np.asarray(model.quantity * np.exp(-np.log1p(np.maximum(slope * scaled, -1.0)) / slope))


def power_moments(model: PowerCost) -> Moments:
    r"""Return mean and variance of the optimal strategy (Almgren 2003, power-law cost), permanent impact and spread left out.

    .. math:: E = \frac{k+1}{3k+1}\,\eta X \left(\frac{X}{T_*}\right)^k, \qquad V = \frac{k+1}{3k+1}\,\sigma^2 X^2 T_*
    """
    k, time = model.beta, power_time(model)
    share = (k + 1.0) / (3.0 * k + 1.0)
    expected = share * model.eta * model.quantity * (model.quantity / time) ** k
    return Moments(expected, share * model.volatility**2 * model.quantity**2 * time)


def power_schedule(slices: int, beta: float, risk: float) -> Floats:
    r"""Return the weights w of N slices that minimise the sum of w_k^{1 + beta} + risk x_{k+1}^2, (N,).

    This is the problem of Almgren (2003) with a deadline, in the kernel's convention (the risk is on what is left after a
    trade). The first-order condition, (1 + beta)(w_k^beta - w_{k+1}^beta) = 2 risk x_{k+1}, leads from the last trade back
    to the first; the last one is found by bisection, so that the weights sum to one.

    Args:
        slices: Number of slices N.
        beta: Exponent of the temporary impact.
        risk: Risk of holding the whole order for a slice over the temporary cost of trading it in one slice.

    Raises:
        ValueError: A value is out of range.
    """
    count = check_integer("slices", slices, low=1, high=100_000)
    check_number("beta", beta, low=0.05, high=10.0)
    slope = 2.0 * check_number("risk", risk, low=0.0, high=1e12) / (1.0 + beta)
    for active in range(count, 0, -1):  # slices at the end that trade less than a float can hold trade nothing
        if _back(active, beta, slope, _SMALLEST).sum() < 1.0:
            break
    low, high = math.log(_SMALLEST), 0.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _back(active, beta, slope, math.exp(middle)).sum() < 1.0 else (low, middle)
    weights = _back(active, beta, slope, math.exp(0.5 * (low + high)))
    return np.append(weights / weights.sum(), np.zeros(count - active))


def _back(slices: int, beta: float, slope: float, last: float) -> Floats:
    """Return the weights that the first-order condition gives for a last trade; the first is infinite when they pass one."""
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
