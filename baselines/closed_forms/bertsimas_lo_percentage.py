r"""Bertsimas and Lo (1998), section 3: the linear-percentage law of motion, whose impact is temporary.

The no-impact price is geometric, :math:`\tilde P_t = \tilde P_{t-1} e^{Z_t}` with independent normal :math:`Z_t` of mean
:math:`\mu_z` and variance :math:`\sigma_z^2`, so it grows by :math:`q = e^{\mu_z + \sigma_z^2/2}` on average.
A purchase of :math:`S_t` shares fills at :math:`P_t = \tilde P_t (1 + \theta S_t + \gamma X_t)`: its impact is a percentage of
the price and does not persist. The trader observes :math:`\tilde P_t` and the signal :math:`X_t = \rho X_{t-1} + \eta_t` before
choosing :math:`S_t`. The cost of buying W shares with k later periods is :math:`\tilde P` times a quadratic form in (X, W), and
the optimal purchase is linear in (1, X, W). The optimal policy may sell in some periods.

The recursion of :func:`coefficients` is derived from this law, and :data:`EXAMPLE` is ours. The kernel cannot represent the
law (:func:`to_scenario`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, put_integer, put_number

__all__ = [
    *("EXAMPLE", "LinearPercentage", "Policy", "coefficients", "informed_cost", "naive_cost", "to_scenario", "trades"),
    "trading_cost",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearPercentage:
    """Parameters of the linear-percentage law of Bertsimas and Lo (1998).

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    price: float
    """No-impact price in the first period, currency per share."""
    quantity: float
    """Shares to buy."""
    periods: int
    """T, number of periods."""
    theta: float
    """Temporary impact, fraction of the price for each share."""
    gamma: float
    """Price move for one unit of the signal, fraction of the price."""
    rho: float
    """AR(1) coefficient of the signal."""
    var_eta: float
    """Variance of the innovation eta of the signal."""
    mu_z: float = 0.0
    """Mean of the log return of the no-impact price in a period."""
    sigma_z: float = 0.0
    """Standard deviation of the log return of the no-impact price in a period."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "price", low=0.0, high=1e9, open_low=True, unit="currency per share")
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_integer(self, "periods", low=1, high=100_000)
        put_number(self, "theta", low=0.0, high=1e9, open_low=True, unit="per share")
        put_number(self, "gamma", low=-1e9, high=1e9)
        put_number(self, "rho", low=-0.999, high=0.999)
        put_number(self, "var_eta", low=0.0, high=1e9)
        put_number(self, "mu_z", low=-1.0, high=1.0, unit="fraction a period")
        put_number(self, "sigma_z", low=0.0, high=1.0, unit="fraction per square root of a period")
        if abs(math.log(self.growth)) * self.periods > 100.0:
            raise ValueError(f"mu_z + sigma_z^2 / 2 must be within 100 / periods of 0, got {math.log(self.growth):g}")

    @property
    def growth(self) -> float:
        """Expected growth factor q of the no-impact price in a period."""
        return math.exp(self.mu_z + 0.5 * self.sigma_z**2)

    @property
    def stationary_variance(self) -> float:
        """Stationary variance of the signal, var_eta / (1 - rho^2)."""
        return self.var_eta / (1.0 - self.rho**2)


EXAMPLE: Final = LinearPercentage(
    price=50.0,
    quantity=1e5,
    periods=20,
    theta=5e-7,
    gamma=0.1,
    rho=0.5,
    var_eta=0.001,
    mu_z=0.0,
    sigma_z=0.02 / math.sqrt(20.0),
)
"""A day of 20 periods with a volatility of 2 %: a purchase of the whole order at once costs 5 % of the price."""


class Policy(NamedTuple):
    """Coefficients by the number k of later periods, arrays of shape (T,).

    The optimal purchase is by_remaining W + by_signal X + constant. The cost of the remaining W shares is the no-impact price
    times (a + b X + c X^2 + d X W + e W + f W^2).
    """

    by_remaining: Floats
    by_signal: Floats
    """Shares for one unit of the signal."""
    constant: Floats
    """Shares; not zero where the no-impact price has a trend."""
    a: Floats
    b: Floats
    c: Floats
    d: Floats
    e: Floats
    f: Floats


def coefficients(model: LinearPercentage) -> Policy:
    r"""Return the optimal policy and the coefficients of its cost, by dynamic programming from the last period.

    With :math:`A = \theta + q f_{k-1}` the policy has :math:`\delta_W = q f_{k-1} / A`,
    :math:`\delta_X = (q\rho d_{k-1} - \gamma) / (2A)` and :math:`\delta_1 = (q e_{k-1} - 1) / (2A)`. The cost of buying nothing
    in the period is q times the expected later cost, and the optimal purchase S lowers it by :math:`A S^2`.
    """
    q, rho = model.growth, model.rho
    found = Policy(*np.zeros((9, model.periods)))
    found.by_remaining[0], found.d[0], found.e[0], found.f[0] = 1.0, model.gamma, 1.0, model.theta
    for k in range(1, model.periods):
        a, b, c, d, e, f = (values[k - 1] for values in found[3:])
        curvature = model.theta + q * f
        share, reaction, shift = (
            q * f / curvature,
            0.5 * (q * rho * d - model.gamma) / curvature,
            0.5 * (q * e - 1.0) / curvature,
        )
        found.by_remaining[k], found.by_signal[k], found.constant[k] = share, reaction, shift
        found.a[k] = q * (a + c * model.var_eta) - curvature * shift**2
        found.b[k] = q * rho * b - 2.0 * curvature * reaction * shift
        found.c[k] = q * rho**2 * c - curvature * reaction**2
        found.d[k] = q * rho * d - 2.0 * curvature * reaction * share
        found.e[k] = q * e - 2.0 * curvature * shift * share
        found.f[k] = q * f - curvature * share**2
    return found


def informed_cost(model: LinearPercentage, first_signal: float | None = None) -> float:
    """Return the expected cost of the optimal policy, currency; it includes the initial value of the shares.

    Args:
        model: The market and the order.
        first_signal: X_1; None averages over its stationary distribution.

    Raises:
        ValueError: The signal is not a finite number.
    """
    a, b, c, d, e, f = (float(values[-1]) for values in coefficients(model)[3:])
    signal, square, w = 0.0, model.stationary_variance, model.quantity
    if first_signal is not None:
        signal = check_number("first_signal", first_signal, low=-1e9, high=1e9)
        square = signal * signal
    return model.price * (a + b * signal + c * square + d * signal * w + e * w + f * w * w)


def naive_cost(model: LinearPercentage) -> float:
    """Return the expected cost of equal purchases, currency, averaged over the stationary distribution of the signal."""
    share = model.quantity / model.periods
    growth = math.fsum(model.growth**t for t in range(model.periods))
    return model.price * growth * share * (1.0 + model.theta * share)


def _check_paths(model: LinearPercentage, name: str, values: Any) -> Floats:
    """Validate signals or prices and return them as an array, shape (time,) or (time, episode)."""
    seen = np.asarray(values, dtype=float)
    if seen.ndim == 0 or seen.shape[0] != model.periods or not np.isfinite(seen).all():
        raise ValueError(f"{name} must hold {model.periods} periods of numbers, (time, episode), got shape {seen.shape}")
    return seen


def trades(model: LinearPercentage, signals: Sequence[float] | Floats) -> Floats:
    """Return the optimal purchases along given signals, shares, in the shape of `signals`: (time,) or (time, episode).

    The purchases do not depend on the no-impact price.

    Raises:
        ValueError: The signals are not finite numbers for T periods.
    """
    seen, policy = _check_paths(model, "signals", signals), coefficients(model)
    left, bought = np.full(seen.shape[1:], model.quantity), np.empty_like(seen)
    for t in range(model.periods):
        k = model.periods - 1 - t
        bought[t] = policy.by_remaining[k] * left + policy.by_signal[k] * seen[t] + policy.constant[k]
        left = left - bought[t]
    return bought


def trading_cost(model: LinearPercentage, bought: Floats, signals: Sequence[float] | Floats, prices: Any) -> Floats:
    """Return the cost of purchases along given signals and prices, the sum of P_t S_t, currency, shape () or (episode,).

    Args:
        model: The market and the order.
        bought: Shares bought in each period, in the shape of `signals`.
        signals: X_t, shape (time,) or (time, episode).
        prices: No-impact price in each period, currency per share, in the shape of `signals`.

    Raises:
        ValueError: The signals or prices are not finite numbers for T periods.
    """
    seen, level = _check_paths(model, "signals", signals), _check_paths(model, "prices", prices)
    return np.asarray((level * (1.0 + model.theta * bought + model.gamma * seen) * bought).sum(axis=0))


def to_scenario(model: LinearPercentage, **_: Any) -> NoReturn:
    """Refuse to convert the model.

    Raises:
        ValueError: Always: in the kernel temporary impact is proportional to the arrival price, and order flow moves the price
            for good.
    """
    raise ValueError(
        "temporary impact must be proportional to the arrival price in a scenario and order flow must move the price for good, "
        "but in the linear-percentage law both are a fraction of the current price and do not persist; use bertsimas_lo"
    )
