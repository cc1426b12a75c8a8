r"""Cartea, Jaimungal and Penalva (2015), "Algorithmic and high-frequency trading", chapter 6: a finite terminal penalty.

A sale at the rate :math:`\nu` fills at :math:`S_t - k\nu_t` and moves the price, :math:`dS_t = -b\nu_t\,dt + \sigma\,dW_t`.
Inventory may be left at the end; it is sold at once for :math:`S_T - \alpha Q_T` a share. The agent maximises

.. math:: E\left[X_T + Q_T (S_T - \alpha Q_T) - \phi\int_0^T Q_t^2\,dt\right]

where X is the cash and Q the inventory. The running penalty :math:`\phi` is lambda sigma^2 for the risk aversion lambda of
Almgren and Chriss (2000), whose continuous-time solution is the limit of a large terminal penalty. Without permanent impact
and running penalty a share is sold at the rate :math:`Q_t / (T - t + k / \alpha)`, which is the book's acquisition problem.

With :math:`s = T - t`, :math:`a = \alpha - b/2`, :math:`c = \sqrt{k\phi}` and :math:`\gamma = \sqrt{\phi/k}`, the value of q
shares is :math:`S q - (b/2 + y(s))\,q^2` with

.. math:: y(s) = c\,\frac{a\cosh\gamma s + c\sinh\gamma s}{c\cosh\gamma s + a\sinh\gamma s}

and the optimal rate is :math:`\nu = y(s) q / k`. The book writes y with :math:`\zeta = (a + c) / (a - c)`.

In a scenario the shares left at the end are one more trade, whose temporary impact is the terminal penalty
(:func:`to_scenario`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, put_number
from hyperexec_env.market.scenario import Scenario

__all__ = ["EXAMPLE", "CarteaJaimungal", "Outcome", "optimum", "rate", "remaining", "to_scenario", "value"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CarteaJaimungal:
    """Parameters of the liquidation problem with a terminal penalty.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    quantity: float
    """Shares to sell."""
    horizon: float
    """T, days."""
    temporary: float
    """k, temporary impact, currency per share for each share a day."""
    permanent: float
    """b, permanent impact, currency per share for each share; at most twice the terminal penalty."""
    terminal_penalty: float
    """alpha, currency per squared share left at the end."""
    running_penalty: float = 0.0
    """phi, currency per squared share and day."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "quantity", low=0.0, high=1e15, open_low=True, unit="shares")
        put_number(self, "horizon", low=0.0, high=1e6, open_low=True, unit="days")
        put_number(self, "temporary", low=0.0, high=1e9, open_low=True, unit="currency per share for each share a day")
        put_number(self, "permanent", low=0.0, high=1e9, unit="currency per share for each share")
        put_number(self, "terminal_penalty", low=0.0, high=1e15, unit="currency per squared share")
        put_number(self, "running_penalty", low=0.0, high=1e9, unit="currency per squared share and day")
        if self.excess < 0.0:
            raise ValueError(
                f"terminal_penalty must be at least permanent / 2 = {0.5 * self.permanent:g}, otherwise keeping shares saves "
                f"permanent impact, got {self.terminal_penalty:g}"
            )

    @property
    def excess(self) -> float:
        """Terminal penalty beyond the permanent impact, a = alpha - b / 2, currency per squared share."""
        return self.terminal_penalty - 0.5 * self.permanent

    @property
    def urgency(self) -> float:
        """Gamma = sqrt(phi / k), per day."""
        return math.sqrt(self.running_penalty / self.temporary)


EXAMPLE: Final = CarteaJaimungal(
    quantity=1.0, horizon=1.0, temporary=1e-3, permanent=1e-3, terminal_penalty=1e-2, running_penalty=1e-2
)
"""An inventory of 1 (a fraction) with k = b = 1e-3 and alpha = phi = 0.01: one curve of a figure of chapter 6. The other curves
have phi = 0, 1e-3 and 0.1, and alpha = infinity, according to a published notebook of the figure, which has no numbers."""


class Outcome(NamedTuple):
    """Result of the optimal strategy."""

    objective: float
    """Arrival notional minus the maximum of the criterion, currency: all impact and penalties."""
    left: float
    """Inventory at the end, shares."""
    terminal: float
    """Terminal penalty alpha Q_T^2, currency."""


def _shape(model: CarteaJaimungal, left: Any) -> tuple[Floats, Floats]:
    """Return exp(-gamma T) times cosh(gamma s) and sinh(gamma s) / gamma, where s is the time left."""
    s, g = np.asarray(left, dtype=float), model.urgency
    grown, shrunk = np.exp(g * (s - model.horizon)), np.exp(-g * (s + model.horizon))
    sinh = grown * -np.expm1(-2.0 * g * s) / (2.0 * g) if g > 0.0 else s * grown
    return np.asarray(0.5 * (grown + shrunk)), np.asarray(sinh)


def _time_left(model: CarteaJaimungal, times: Any) -> Floats:
    """Validate times and return the time left T - t, days."""
    at = np.asarray(times, dtype=float)
    if not ((at >= 0.0) & (at <= model.horizon)).all():
        raise ValueError(f"times must be in [0, {model.horizon:g}] days, got {times!r}")
    return np.asarray(model.horizon - at)


def value(model: CarteaJaimungal, times: Any) -> Floats:
    """Return y, the price of the squared inventory beyond its permanent impact, currency per squared share.

    y falls from the start to alpha - b / 2 at the end where the terminal penalty is below sqrt(k phi) + b / 2, and rises where
    it is above. The array has the shape of `times` (days, in [0, T]).

    Raises:
        ValueError: A time is outside [0, T].
    """
    cosh, sinh = _shape(model, _time_left(model, times))
    return np.asarray((model.excess * cosh + model.running_penalty * sinh) / (cosh + model.excess / model.temporary * sinh))


def rate(model: CarteaJaimungal, times: Any) -> Floats:
    """Return the optimal rate of sale, shares a day, in the shape of `times` (Cartea, Jaimungal and Penalva 2015, chapter 6).

    Raises:
        ValueError: A time is outside [0, T].
    """
    return np.asarray(value(model, times) / model.temporary * remaining(model, times))


def remaining(model: CarteaJaimungal, times: Any) -> Floats:
    r"""Return the optimal inventory, shares, in the shape of `times` (Cartea, Jaimungal and Penalva 2015, chapter 6).

    .. math:: Q_t = Q_0\,\frac{c\cosh\gamma(T-t) + a\sinh\gamma(T-t)}{c\cosh\gamma T + a\sinh\gamma T}

    Raises:
        ValueError: A time is outside [0, T].
    """
    cosh, sinh = _shape(model, _time_left(model, times))
    cosh_all, sinh_all = _shape(model, model.horizon)
    weight = model.excess / model.temporary
    return np.asarray(model.quantity * (cosh + weight * sinh) / (cosh_all + weight * sinh_all))


def optimum(model: CarteaJaimungal) -> Outcome:
    """Return the cost of the optimal strategy: (b / 2 + y(T)) times the squared quantity, and its terminal part."""
    left = float(remaining(model, model.horizon))
    objective = (0.5 * model.permanent + float(value(model, 0.0))) * model.quantity**2
    return Outcome(objective, left, model.terminal_penalty * left**2)


def to_scenario(
    model: CarteaJaimungal,
    slices: int,
    *,
    volatility: float,
    arrival_price: float,
    adv: float,
    name: str = "cartea-jaimungal",
) -> Scenario:
    """Return the model as a sell scenario of N slices at constant rates and a last slice for the shares left at the end.

    The last slice starts at T, so the horizon of the scenario is (N + 1) / N T; its volume is such that its temporary impact is
    the terminal penalty alpha - b / 2 beyond the permanent impact. The running penalty is charged on the shares that remain
    after a slice, so the optimum of the scenario, plus b / 2 times the squared quantity, converges to :func:`optimum` as N
    grows. The scenario's day equals its horizon; volatility and volume refer to it.

    Args:
        model: The market and the order; the terminal penalty must exceed b / 2.
        slices: Number of slices N until T.
        volatility: sigma, currency per share and square root of a day, positive; the risk aversion is phi / sigma^2.
        arrival_price: P0, currency per share.
        adv: Average daily volume, shares a day; it only sets the units of the impact parameters.
        name: Name of the scenario.

    Raises:
        ValueError: A value is out of range, or the terminal penalty is b / 2: then the shares left at the end cost nothing.
    """
    count = check_integer("slices", slices, low=1, high=9_999)
    check_number("volatility", volatility, low=0.0, high=1e9, open_low=True, unit="currency per share and square root of a day")
    check_number("arrival_price", arrival_price, low=0.0, high=1e9, open_low=True, unit="currency per share")
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    if not model.excess > 0.0:
        raise ValueError(
            f"terminal_penalty must exceed permanent / 2 = {0.5 * model.permanent:g} in a scenario, which cannot give shares "
            f"away, got {model.terminal_penalty:g}"
        )
    last = count * model.temporary / (model.excess * model.horizon)  # volume of the last slice, in volumes of the others
    days = model.horizon * (count + 1) / count
    daily = volatility * math.sqrt(days) / arrival_price
    total = adv * model.horizon * (count + last) / count
    permanent = model.permanent * total / arrival_price
    return Scenario(
        name=name,
        description="liquidation with a terminal penalty (Cartea, Jaimungal and Penalva 2015)",
        side=-1,
        quantity=model.quantity,
        arrival_price=arrival_price,
        horizon_minutes=390.0 * days,
        day_minutes=390.0 * days,
        slices=count + 1,
        risk_aversion=model.running_penalty / volatility**2,
        adv=total,
        volatility=daily,
        half_spread_bps=0.0,
        perm_impact_gamma=permanent,
        kyle_lambda=permanent,
        temp_impact_alpha=model.temporary * adv / (daily * arrival_price),
        temp_impact_beta=1.0,
        resilience=0.0,
        volume_curve=(*[1.0] * count, last),
        volume_noise=0.0,
        flow_share=0.0,
    )
