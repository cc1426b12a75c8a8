r"""Obizhaeva and Wang (2013), "Optimal trading strategy and supply/demand dynamics".

The limit order book has a constant density q: a purchase of x shares moves the price by x / q, of which :math:`\lambda x` is
permanent and :math:`\kappa x = (1/q - \lambda) x` decays at the resilience rate :math:`\rho`. The kernel with zero temporary
impact describes the same market: :math:`\lambda` is its permanent slope g, :math:`\kappa` its transient slope, and a child
order pays half of its own impact.

The objective is E + `risk_aversion` Var, as in the kernel. The paper minimises E + (a / 2) Var, so its a is 2 `risk_aversion`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, check_numbers, put_number
from hyperexec_env.market.scenario import Scenario

__all__ = [
    *("EXAMPLE", "ObizhaevaWang", "Strategy", "constant_rate", "continuous", "discrete_cost", "discrete_trades"),
    *("neutral_trades", "rate", "remaining", "saving", "to_scenario"),
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ObizhaevaWang:
    """Parameters of Obizhaeva and Wang (2013).

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    quantity: float
    """X0, shares to buy."""
    horizon: float
    """T, days."""
    depth: float
    """q, density of the book, shares for each currency unit of price."""
    permanent: float
    """lambda, permanent impact, currency per share for each share; below 1 / q."""
    resilience: float
    """rho, recovery rate, per day."""
    volatility: float = 0.0
    """sigma, currency per share and square root of a day."""
    risk_aversion: float = 0.0
    """Weight of the variance in the objective, 1 / currency; half of the paper's a."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_number(self, "horizon", low=0.0, high=1e6, open_low=True, unit="days")
        put_number(self, "depth", low=0.0, high=1e15, open_low=True, unit="shares for each currency unit")
        put_number(self, "permanent", low=0.0, high=1e9, unit="currency per share for each share")
        put_number(self, "resilience", low=0.0, high=1e6, open_low=True, unit="per day")
        put_number(self, "volatility", low=0.0, high=1e9, unit="currency per share and square root of a day")
        put_number(self, "risk_aversion", low=0.0, high=1e6, unit="1 / currency")
        if not self.kappa > 0.0:
            raise ValueError(f"permanent must be below 1 / depth = {1.0 / self.depth:g}, got {self.permanent:g}")

    @property
    def kappa(self) -> float:
        """Transient impact 1 / q - lambda, currency per share for each share."""
        return 1.0 / self.depth - self.permanent

    @property
    def aversion(self) -> float:
        """Risk term m = risk_aversion sigma^2, currency per squared share and day."""
        return self.risk_aversion * self.volatility**2


EXAMPLE: Final = ObizhaevaWang(quantity=1e5, horizon=1.0, depth=5_000.0, permanent=1e-4, resilience=2.0)
"""The paper's example, with lambda = kappa = 1 / (2 q) and rho T = 2."""


class Strategy(NamedTuple):
    """A strategy by its first and last trade, and its cost."""

    first: float
    """Block trade at time 0 (in discrete time the first trade), shares."""
    last: float
    """Block trade at time T (in discrete time the last trade), shares."""
    expected: float
    """Expected cost relative to the initial price, currency; includes lambda X^2 / 2, excludes the spread."""
    variance: float
    """Variance of the cost, squared currency."""
    objective: float
    """expected + risk_aversion variance, currency."""


def _shape(model: ObizhaevaWang, left: Any) -> tuple[Any, Any, float, float, float]:
    """Return exp(-w T) cosh(w s), exp(-w T) sinh(w s) / w, w^2, theta and p, where s is the time left.

    With m = risk_aversion sigma^2: w^2 = rho^2 m / (rho kappa + m), theta = rho (rho kappa + 2 m) / (2 (rho kappa + m)),
    p = rho kappa / (2 (rho kappa + m)).
    """
    rho, m = model.resilience, model.aversion
    total = rho * model.kappa + m
    w = rho * math.sqrt(m / total)
    s = np.asarray(left, dtype=float)
    grown = np.exp(w * (s - model.horizon))
    sinh = grown * -np.expm1(-2.0 * w * s) / (2.0 * w) if w > 0.0 else s
    cosh = 0.5 * (grown + np.exp(-w * (s + model.horizon)))
    return cosh, sinh, w * w, rho * (rho * model.kappa + 2.0 * m) / (2.0 * total), rho * model.kappa / (2.0 * total)


def _time_left(model: ObizhaevaWang, times: Any) -> Floats:
    """Validate times and return the time left T - t, days."""
    at = np.asarray(times, dtype=float)
    if not ((at >= 0.0) & (at <= model.horizon)).all():
        raise ValueError(f"times must be in [0, {model.horizon:g}] days, got {times!r}")
    return np.asarray(model.horizon - at)


def remaining(model: ObizhaevaWang, times: Any) -> Floats:
    r"""Return the remaining shares between the two block trades (Obizhaeva and Wang 2013, Propositions 3 and 4).

    Define y = D + kappa x, which a block trade does not change. Then dy = -rho D dt, and the cost is the quadratic functional
    y_T^2 / (2 kappa) + integral of (rho D^2 / kappa + m x^2) dt of y alone. Its Euler equation gives, with s = T - t,

    .. math:: x(t) = p X \frac{\cosh\omega s + \rho\sinh(\omega s)/\omega}{\cosh\omega T + \theta\sinh(\omega T)/\omega}

    where :math:`\omega^2 = \rho^2 m/(\rho\kappa + m)`, :math:`\theta = \rho(\rho\kappa + 2m)/(2(\rho\kappa + m))` and
    :math:`p = \rho\kappa/(2(\rho\kappa + m))`. Without risk aversion x is linear: X (1 + rho s) / (2 + rho T).

    Args:
        model: The book and the order.
        times: t, days, in [0, T].

    Returns:
        Shares, in the shape of `times`.

    Raises:
        ValueError: A time is outside [0, T].
    """
    cosh, sinh, _, theta, p = _shape(model, _time_left(model, times))
    cosh_all, sinh_all, *_ = _shape(model, model.horizon)
    return np.asarray(model.quantity * p * (cosh + model.resilience * sinh) / (cosh_all + theta * sinh_all))


def rate(model: ObizhaevaWang, times: Any) -> Floats:
    """Return the trading rate between the two block trades, shares a day (Obizhaeva and Wang 2013, Propositions 3 and 4).

    The rate has the shape of `times`. Without risk aversion it is constant: rho X / (2 + rho T).

    Raises:
        ValueError: A time is outside [0, T].
    """
    cosh, sinh, w2, theta, p = _shape(model, _time_left(model, times))
    cosh_all, sinh_all, *_ = _shape(model, model.horizon)
    return np.asarray(model.quantity * p * (w2 * sinh + model.resilience * cosh) / (cosh_all + theta * sinh_all))


def continuous(model: ObizhaevaWang) -> Strategy:
    """Return the optimal strategy in continuous time (Obizhaeva and Wang 2013, Propositions 3 and 4).

    The strategy is a block trade, continuous trading, and a second block trade. Without risk aversion both block trades are
    X / (2 + rho T), and the expected cost is lambda X^2 / 2 + kappa X^2 / (2 + rho T).
    """
    x, horizon = model.quantity, model.horizon
    cosh, sinh, w2, theta, p = _shape(model, horizon)
    scale = x * p / float(cosh + theta * sinh)
    w = math.sqrt(w2)
    first = x * float(w2 * sinh + theta * cosh) / (model.resilience * float(cosh + theta * sinh))
    risk = model.aversion / model.resilience * float(remaining(model, 0.0))
    objective = x * (model.kappa * first - risk) + 0.5 * model.permanent * x * x
    square = scale * scale * _holdings_integral(w, model.resilience, horizon)
    return Strategy(
        first=first,
        last=scale * math.exp(-w * horizon),
        expected=objective - model.aversion * square,
        variance=model.volatility**2 * square,
        objective=objective,
    )


def _holdings_integral(w: float, rho: float, horizon: float) -> float:
    """Return exp(-2 w T) times the integral of (cosh(w s) + rho sinh(w s) / w)^2 over [0, T]."""
    z = 2.0 * w * horizon
    if z < 0.1:
        even = horizon * (1.0 + z * z / 6.0 * (1.0 + z * z / 20.0 * (1.0 + z * z / 42.0)))  # sinh(z) / (2 w)
        odd = horizon**3 / 3.0 * (1.0 + z * z / 20.0 * (1.0 + z * z / 42.0 * (1.0 + z * z / 72.0)))
        cross = 0.5 * (math.sinh(0.5 * z) / w) ** 2 if w > 0.0 else 0.5 * horizon**2
        return math.exp(-z) * (0.5 * (horizon + even) + rho * rho * odd + 2.0 * rho * cross)
    decayed = math.exp(-z)
    even = -0.5 * math.expm1(-2.0 * z) / (2.0 * w)  # sinh(z) exp(-z) / (2 w)
    cosines, sines = 0.5 * (decayed * horizon + even), 0.5 * (even - decayed * horizon) / (w * w)
    cross = 0.5 * (0.5 * math.expm1(-z) / w) ** 2
    return cosines + rho * rho * sines + 2.0 * rho * cross


def constant_rate(model: ObizhaevaWang) -> Strategy:
    """Return the cost of buying at the constant rate X / T, the benchmark of the paper.

    The expected cost is lambda X^2 / 2 + kappa X^2 (z - 1 + exp(-z)) / z^2 with z = rho T.
    """
    x, z = model.quantity, model.resilience * model.horizon
    share = 0.5 - z / 6.0 + z * z / 24.0 - z**3 / 120.0 + z**4 / 720.0 if z < 1e-2 else (z + math.expm1(-z)) / (z * z)
    expected = 0.5 * model.permanent * x * x + model.kappa * x * x * share
    variance = model.volatility**2 * x * x * model.horizon / 3.0
    return Strategy(0.0, 0.0, expected, variance, expected + model.risk_aversion * variance)


def saving(model: ObizhaevaWang) -> float:
    """Return the fraction of the objective that the optimum saves relative to a constant rate (Obizhaeva and Wang 2013)."""
    return 1.0 - continuous(model).objective / constant_rate(model).objective


def _interval(model: ObizhaevaWang, count: int) -> float:
    """Return the time between `count` equally spaced trades, days; T if there is a single trade."""
    return model.horizon / (count - 1) if count > 1 else model.horizon


def discrete_trades(model: ObizhaevaWang, count: int) -> Floats:
    """Return the optimal trades at `count` equally spaced times from 0 to T, shares, shape (count,).

    Implements the recursion of Obizhaeva and Wang (2013), Proposition 1, with the risk term of their section on risk aversion
    and without the permanent cost lambda X^2 / 2, which does not depend on the schedule. The value function for x remaining
    shares and displacement d is a x^2 + b x d + c d^2. The recursion allows trades of both signs; the optimal trades are
    non-negative.

    Args:
        model: The book and the order.
        count: Number of trades; the paper's N is count - 1.

    Raises:
        ValueError: The count is not a whole number from 1 to 100,000.
    """
    count = check_integer("count", count, low=1, high=100_000)
    kappa, tau = model.kappa, _interval(model, count)
    decay, risk = math.exp(-model.resilience * tau), model.aversion * tau
    a, b, c = 0.5 * kappa, 1.0, 0.0
    policy = [(1.0, 0.0)]
    for _ in range(count - 1):
        curvature = 0.5 * kappa + risk + a - b * kappa * decay + c * (kappa * decay) ** 2
        by_shares = 2.0 * (risk + a) - b * kappa * decay
        by_displacement = 1.0 - b * decay + 2.0 * c * kappa * decay**2
        policy.append((0.5 * by_shares / curvature, 0.5 * by_displacement / curvature))
        a += risk - by_shares**2 / (4.0 * curvature)
        b = b * decay + by_shares * by_displacement / (2.0 * curvature)
        c = c * decay**2 - by_displacement**2 / (4.0 * curvature)
    left, displacement, found = model.quantity, 0.0, []
    for share, discount in reversed(policy):
        found.append(share * left - discount * displacement)
        left -= found[-1]
        displacement = (displacement + kappa * found[-1]) * decay
    return np.array(found)


def neutral_trades(model: ObizhaevaWang, count: int) -> Floats:
    """Return :func:`discrete_trades` for zero risk aversion, in closed form (Alfonsi, Fruth and Schied 2010).

    The first and the last trade are X / (2 + (count - 2)(1 - exp(-rho tau))); every other trade is 1 - exp(-rho tau) times
    as large.

    Raises:
        ValueError: The count is not a whole number from 2 to 100,000.
    """
    count = check_integer("count", count, low=2, high=100_000)
    share = -math.expm1(-model.resilience * _interval(model, count))
    weights = np.full(count, share)
    weights[[0, -1]] = 1.0
    return np.asarray(model.quantity * weights / (2.0 + (count - 2) * share))


def discrete_cost(model: ObizhaevaWang, trades: Sequence[float] | Floats) -> Strategy:
    """Return the cost of trades at equally spaced times from 0 to T (Obizhaeva and Wang 2013).

    Args:
        model: The book and the order.
        trades: Shares bought at each time, shape (count,), summing to the quantity; negative values sell.

    Raises:
        ValueError: The trades do not sum to the quantity.
    """
    bought = np.array(check_numbers("trades", trades, low=-1e15, high=1e15))
    if abs(bought.sum() - model.quantity) > 1e-9 * model.quantity:
        raise ValueError(f"trades must sum to the quantity ({model.quantity:g}), got {bought.sum():.15g}")
    tau = _interval(model, len(bought))
    decay, displacement, expected = math.exp(-model.resilience * tau), 0.0, 0.5 * model.permanent * model.quantity**2
    for shares in bought.tolist():
        expected += shares * (displacement + 0.5 * model.kappa * shares)
        displacement = (displacement + model.kappa * shares) * decay
    left = np.cumsum(bought[:0:-1])
    variance = model.volatility**2 * tau * float(left @ left)
    first, last = float(bought[0]), float(bought[-1])
    return Strategy(first, last, expected, variance, expected + model.risk_aversion * variance)


def to_scenario(
    model: ObizhaevaWang, count: int, *, arrival_price: float, adv: float, name: str = "obizhaeva-wang"
) -> Scenario:
    """Return the model as a scenario of `count` slices in which every schedule has the expected cost of the paper.

    The kernel trades at the start of a slice, so the last of `count` trades, at T, starts a slice of its own, and the horizon
    of the scenario is count / (count - 1) T. The scenario's day equals that horizon; volatility, volume and resilience refer
    to it.

    Args:
        model: The book and the order.
        count: Number of trades, at least 2.
        arrival_price: P0, currency per share.
        adv: Average daily volume, shares a day; it only sets the units of the impact parameters.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range.
    """
    count = check_integer("count", count, low=2, high=100_000)
    check_number("arrival_price", arrival_price, low=0.0, high=1e9, open_low=True, unit="currency per share")
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    days = model.horizon * count / (count - 1)
    minutes, volume = 390.0 * model.horizon * count / (count - 1), adv * days
    return Scenario(
        name=name,
        description="the example of Obizhaeva and Wang (2013)" if model == EXAMPLE else "",
        quantity=model.quantity,
        arrival_price=arrival_price,
        horizon_minutes=minutes,
        day_minutes=minutes,
        slices=count,
        risk_aversion=model.risk_aversion,
        adv=volume,
        volatility=model.volatility * math.sqrt(days) / arrival_price,
        half_spread_bps=0.0,
        perm_impact_gamma=model.permanent * volume / arrival_price,
        kyle_lambda=volume / (model.depth * arrival_price),
        temp_impact_alpha=0.0,
        temp_impact_beta=1.0,
        resilience=model.resilience * days,
        volume_noise=0.0,
        flow_share=0.0,
    )
