r"""Kyle (1985), "Continuous auctions and insider trading": equilibria that determine the price impact lambda.

An insider knows the value :math:`v \sim N(p_0, \Sigma_0)`; noise traders submit orders with variance :math:`\sigma_u^2` over
the day; market makers set the price to the conditional mean of v given all order flow. In the kernel's convention lambda,
currency per share for each share of net flow, is kyle_lambda P0 / ADV (see :func:`kyle_lambda`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, put_number

__all__ = ["Auction", "Auctions", "Continuous", "Kyle", "continuous", "kyle_lambda", "sequential", "single_auction"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kyle:
    """Parameters of Kyle (1985), section 2.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    prior_variance: float
    """Sigma_0, variance of the value before trading, squared currency per share."""
    noise: float
    """sigma_u, standard deviation of the noise traders' orders over the day, shares."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        put_number(self, "prior_variance", low=1e-30, high=1e30, unit="squared currency per share")
        put_number(self, "noise", low=1e-15, high=1e15, unit="shares")

    @property
    def prior_sd(self) -> float:
        """Standard deviation of the value before trading, currency per share."""
        return math.sqrt(self.prior_variance)


class Auction(NamedTuple):
    """The equilibrium of one auction."""

    slope: float
    """lambda, currency per share for each share of order flow."""
    intensity: float
    """beta, shares that the insider buys per currency unit of value minus price."""
    posterior_variance: float
    """Variance of the value after the auction, squared currency per share."""
    profit: float
    """Insider's unconditional expected profit, currency; equals the noise traders' expected loss."""


class Auctions(NamedTuple):
    """The equilibrium of N auctions; arrays have shape (N,)."""

    slope: Floats
    """lambda_n, currency per share for each share of order flow."""
    intensity: Floats
    """beta_n, shares per currency unit and day: the insider buys beta_n (v - p_{n-1}) / N."""
    variance: Floats
    """Sigma_n, variance of the value after the auction, squared currency per share."""
    alpha: Floats
    """alpha_n of the insider's value function alpha_n (v - p_n)^2 + delta_n (currency) after the auction."""
    delta: Floats
    """delta_n of the insider's value function, currency."""
    profit: float
    """Insider's unconditional expected profit over all auctions, currency."""


class Continuous(NamedTuple):
    """The equilibrium in continuous time; arrays have the shape of the given times."""

    slope: float
    """lambda, constant over the day, currency per share for each share of order flow."""
    intensity: Floats
    """beta(t), shares per currency unit and day."""
    variance: Floats
    """Sigma(t), variance of the value given the order flow until t, squared currency per share."""
    profit: float
    """Insider's unconditional expected profit over the day, currency."""


def single_auction(model: Kyle) -> Auction:
    """Return the equilibrium of one auction (Kyle 1985, Theorem 1).

    lambda = sqrt(Sigma_0) / (2 sigma_u) and beta = sigma_u / sqrt(Sigma_0); the posterior variance is Sigma_0 / 2 and the
    insider's expected profit is sigma_u sqrt(Sigma_0) / 2.
    """
    sd = model.prior_sd
    return Auction(0.5 * sd / model.noise, model.noise / sd, 0.5 * model.prior_variance, 0.5 * model.noise * sd)


def sequential(model: Kyle, auctions: int) -> Auctions:
    r"""Return the equilibrium of N equally spaced auctions in a day (Kyle 1985, Theorem 2).

    The paper's difference equations are solved from the last auction (alpha_N = delta_N = 0) back to the first. In the
    dimensionless variables l = lambda_n sigma_u sqrt(dt / Sigma_n) and a = alpha_n sqrt(Sigma_n / dt) / sigma_u they are

    .. math:: (1 - l^2)(1 - a l) = \tfrac12, \qquad \frac{\Sigma_{n-1}}{\Sigma_n} = 2(1 - a l), \qquad
              a' = \frac{\sqrt{2(1 - a l)}}{4l(1 - a l)}

    where a' is the value of a at the auction before. In this form Sigma_N need not be guessed. The solution uses the root
    with l > 0 and a l < 1 (the paper's second-order condition).

    Args:
        model: The market.
        auctions: Number of auctions N.

    Raises:
        ValueError: The number of auctions is not a whole number from 1 to 10,000.
    """
    auctions = check_integer("auctions", auctions, low=1, high=10_000)
    a, roots, alphas, ratios = 0.0, np.empty(auctions), np.empty(auctions), np.empty(auctions)
    for n in range(auctions - 1, -1, -1):
        root = _root(a)
        complement = 1.0 - a * root
        alphas[n], roots[n], ratios[n] = a, root, 2.0 * complement
        a = math.sqrt(2.0 * complement) / (4.0 * root * complement)
    dt = 1.0 / auctions
    variance = np.asarray(model.prior_variance / np.cumprod(ratios))
    unit = np.sqrt(variance / dt) / model.noise
    slope, alpha = np.asarray(roots * unit), np.asarray(alphas / unit)
    intensity = np.asarray(slope * model.noise**2 / variance)
    gained = np.asarray(alpha * slope**2 * model.noise**2 * dt)
    delta = np.append(np.cumsum(gained[:0:-1])[::-1], 0.0)
    first = a * model.noise * math.sqrt(dt / model.prior_variance)
    return Auctions(slope, intensity, variance, alpha, delta, float(first * model.prior_variance + delta[0] + gained[0]))


def _root(a: float) -> float:
    """Return the root l in (0, min(1, 1 / a)) of (1 - l^2)(1 - a l) = 1/2; the left side decreases from 1 to 0."""
    low, high = 0.0, min(1.0, 1.0 / a) if a > 0.0 else 1.0
    while True:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            return middle
        low, high = (middle, high) if (1.0 - middle * middle) * (1.0 - a * middle) > 0.5 else (low, middle)


def continuous(model: Kyle, times: Any = 0.0) -> Continuous:
    """Return the equilibrium in continuous time (Kyle 1985, Theorem 3).

    lambda = sqrt(Sigma_0) / sigma_u, twice the slope of a single auction; Sigma(t) = (1 - t) Sigma_0, so the price contains all
    information at the close; beta(t) = sigma_u sqrt(Sigma_0) / Sigma(t); the insider's expected profit is
    sigma_u sqrt(Sigma_0).

    Args:
        model: The market.
        times: Times as fractions of the day, in [0, 1).

    Raises:
        ValueError: A time is outside [0, 1).
    """
    at = np.asarray(times, dtype=float)
    if not ((at >= 0.0) & (at < 1.0)).all():
        raise ValueError(f"times must be in [0, 1) of a day, got {times!r}")
    variance = np.asarray((1.0 - at) * model.prior_variance)
    sd = model.prior_sd
    return Continuous(sd / model.noise, np.asarray(model.noise * sd / variance), variance, model.noise * sd)


def kyle_lambda(slope: float, *, arrival_price: float, adv: float) -> float:
    """Convert a slope to the scenario parameter `kyle_lambda`, lambda ADV / P0, in arrival prices for one ADV of net flow.

    Args:
        slope: lambda, currency per share for each share of net flow.
        arrival_price: P0, currency per share.
        adv: Average daily volume, shares a day.

    Raises:
        ValueError: A value is out of range.
    """
    check_number("slope", slope, low=0.0, high=1e9, unit="currency per share for each share")
    check_number("arrival_price", arrival_price, low=0.0, high=1e9, open_low=True, unit="currency per share")
    check_number("adv", adv, low=0.0, high=1e15, open_low=True, unit="shares a day")
    return slope * adv / arrival_price
