r"""Gatheral, Schied and Slynko (2012), "Transient linear price impact and Fredholm integral equations".

A purchase of dx shares moves the price by G(0) dx, and after a time t the share G(t) / G(0) of that move is left. Without
risk aversion a strategy X, which buys :math:`dX_t` shares at time t, has the expected cost

.. math:: \frac12\int_0^T\!\!\int_0^T G(|t-s|)\,dX_s\,dX_t

relative to the initial price. It is optimal if and only if it solves the Fredholm equation

.. math:: \int_0^T G(|t-s|)\,dX_s = \mu \quad\text{for all } t \in [0, T].

The power law :math:`G(t) = c\,t^{-\gamma}` with :math:`0 < \gamma < 1` has the optimal rate

.. math:: \dot X_t = \frac{Q}{B\!\left(\frac{1+\gamma}2,\frac{1+\gamma}2\right) T^\gamma}\,[t(T-t)]^{-(1-\gamma)/2}

for a quantity Q, with the Beta function B, and :math:`\mu = c\,\dot X_t [t(T-t)]^{(1-\gamma)/2}\,\pi/\cos(\pi\gamma/2)`. The
rate is infinite at both ends; with the exponential G of Obizhaeva and Wang (2013) there is a block trade at each end instead.

In discrete time, trades at given times minimise a quadratic form for any kernel (:func:`discrete_trades`); the kernel must be
finite at 0, for example a power law with a cutoff, :math:`c\,(t_0 + t)^{-\gamma}`. The kernel of this package has exponential
decay only (:func:`to_scenario`). :data:`EXAMPLE` is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, check_numbers, put_number

__all__ = [
    "EXAMPLE",
    "Decay",
    "PowerLaw",
    "bought",
    "constant_rate_cost",
    "discrete_cost",
    "discrete_trades",
    "optimum",
    "rate",
    "to_scenario",
]

Floats = NDArray[np.float64]

Decay = Callable[[Floats], Any]
"""Decay kernel: G at an array of lags (days), currency per share for each share."""

_TERMS: Final = 80
"""Terms of the series of the incomplete Beta function, whose ratio is at most 1/2."""


@dataclass(frozen=True)
class PowerLaw:
    """Parameters of an order in a market whose impact decays by a power law without cutoff.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    quantity: float
    """Q, shares to buy."""
    horizon: float
    """T, days."""
    scale: float
    """c, impact that is left after one day, currency per share for each share."""
    exponent: float
    """gamma, between 0 and 1; about 0.4 in measurements of single trades."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_number(self, "horizon", low=0.0, high=1e6, open_low=True, unit="days")
        put_number(self, "scale", low=0.0, high=1e9, open_low=True, unit="currency per share for each share")
        put_number(self, "exponent", low=0.01, high=0.99)

    def decay(self, lags: Any, cutoff: float = 0.0) -> Floats:
        """Return G at lags (days), currency per share for each share, with the lags increased by a cutoff (days)."""
        return np.asarray(self.scale * (np.asarray(lags, dtype=float) + cutoff) ** -self.exponent)


EXAMPLE: Final = PowerLaw(quantity=1e5, horizon=1.0, scale=1e-6, exponent=0.4)
"""An order of 100,000 shares in a day; one day after a purchase of 1,000 shares its impact is 0.001 currency units."""


def _beta(model: PowerLaw) -> float:
    """Return B(p, p) with p = (1 + gamma) / 2."""
    p = 0.5 * (1.0 + model.exponent)
    return math.exp(2.0 * math.lgamma(p) - math.lgamma(2.0 * p))


def _check_times(model: PowerLaw, times: Any) -> Floats:
    """Validate times and return them as an array of fractions of the horizon."""
    at = np.asarray(times, dtype=float)
    if not ((at >= 0.0) & (at <= model.horizon)).all():
        raise ValueError(f"times must be in [0, {model.horizon:g}] days, got {times!r}")
    return np.asarray(at / model.horizon)


def rate(model: PowerLaw, times: Any) -> Floats:
    """Return the optimal rate, shares a day, in the shape of `times`; infinite at 0 and T (Gatheral, Schied and Slynko 2012).

    Raises:
        ValueError: A time is outside [0, T].
    """
    u = _check_times(model, times)
    with np.errstate(divide="ignore"):
        shape = (u * (1.0 - u)) ** (-0.5 * (1.0 - model.exponent))
    return np.asarray(model.quantity / (_beta(model) * model.horizon) * shape)


def bought(model: PowerLaw, times: Any) -> Floats:
    """Return the shares bought until each time, in the shape of `times`: Q times the regularised incomplete Beta function.

    Raises:
        ValueError: A time is outside [0, T].
    """
    u, p = _check_times(model, times), 0.5 * (1.0 + model.exponent)
    early = np.minimum(u, 1.0 - u)
    total, term = np.zeros_like(early), np.ones_like(early)
    for n in range(_TERMS):  # expansion of (1 - u)^(p - 1)
        total = total + term / (p + n)
        term = term * early * (n + 1.0 - p) / (n + 1.0)
    share = early**p * total / _beta(model)
    return np.asarray(model.quantity * np.where(u <= 0.5, share, 1.0 - share))


def optimum(model: PowerLaw) -> float:
    """Return the minimal expected cost Q mu / 2, currency (Gatheral, Schied and Slynko 2012)."""
    potential = math.pi / (math.cos(0.5 * math.pi * model.exponent) * _beta(model))
    return float(0.5 * model.scale * model.quantity**2 * model.horizon**-model.exponent * potential)


def constant_rate_cost(model: PowerLaw) -> float:
    """Return the expected cost of buying at a constant rate, c Q^2 T^-gamma / ((1 - gamma)(2 - gamma)), currency."""
    gamma = model.exponent
    return float(model.scale * model.quantity**2 * model.horizon**-gamma / ((1.0 - gamma) * (2.0 - gamma)))


# --- discrete time, any kernel


def _matrix(decay: Decay, times: Any) -> Floats:
    """Validate trade times and return the kernel between them, shape (times, times)."""
    at = np.array(check_numbers("times", times, low=0.0, high=1e6))
    if not len(at) or not (np.diff(at) > 0.0).all():
        raise ValueError(f"times must increase and hold at least one time, got {times!r}")
    matrix = np.asarray(decay(np.abs(at[:, None] - at)), dtype=float)
    if matrix.shape != (len(at), len(at)) or not np.isfinite(matrix).all():
        raise ValueError("decay must return a finite number for each lag, also for lag 0 (a power law needs a cutoff)")
    return matrix


def discrete_trades(decay: Decay, times: Sequence[float] | Floats, quantity: float) -> Floats:
    """Return the trades at given times that minimise the expected cost for any decay kernel, shares, shape (times,).

    The optimum of x'Gx / 2 with the sum of x fixed is proportional to the solution of Gx = 1. For a convex decreasing kernel
    all trades are positive (Alfonsi, Schied and Slynko 2012).

    Args:
        decay: G, finite at lag 0.
        times: Times of the trades, days, increasing.
        quantity: Shares to buy.

    Raises:
        ValueError: The times do not increase, or the kernel is not finite or not positive definite: then a round trip between
            these times earns money.
    """
    check_number("quantity", quantity, low=0.0, high=1e15, open_low=True, unit="shares")
    matrix = _matrix(decay, times)
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError("decay must be positive definite, otherwise a round trip between these times earns money") from None
    shape = np.linalg.solve(factor.T, np.linalg.solve(factor, np.ones(len(matrix))))
    return np.asarray(quantity * shape / shape.sum())


def discrete_cost(decay: Decay, times: Sequence[float] | Floats, trades: Sequence[float] | Floats) -> float:
    """Return the expected cost x'Gx / 2 of trades at given times, currency.

    Args:
        decay: G, finite at lag 0.
        times: Times of the trades, days, increasing.
        trades: Shares bought at each time, shape (times,); negative values sell.

    Raises:
        ValueError: The times do not increase, the trades are not one number for each, or the kernel is not finite.
    """
    matrix = _matrix(decay, times)
    shares = np.array(check_numbers("trades", trades, low=-1e15, high=1e15, length=len(matrix)))
    return 0.5 * float(shares @ matrix @ shares)


def to_scenario(model: PowerLaw, **_: Any) -> NoReturn:
    """Refuse to convert the model.

    Raises:
        ValueError: Always: transient impact decays exponentially in a scenario.
    """
    raise ValueError(
        "transient impact must decay exponentially in a scenario, but here it decays by a power law; use obizhaeva_wang for an "
        "exponential decay"
    )
