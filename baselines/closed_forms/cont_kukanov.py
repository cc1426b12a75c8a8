r"""Cont and Kukanov (2017), "Optimal order placement in limit order markets": a split between one market and one limit order.

S shares are to be bought until a deadline: M by a market order, which pays h + f a share, and L = S - M by a limit order
behind Q shares, which earns h + r for each share that is filled. The queue loses xi shares by the deadline, so min((xi - Q)+,
L) shares are filled; every share that is not costs u. The expected cost is

    (h + f) M - (h + r) E min((xi - Q)+, L) + u (L - E min((xi - Q)+, L))

Its derivative in L is u - (h + f) - (u + h + r) P(xi > Q + L), so the best L has P(xi <= Q + L) = (2 h + f + r) / (u + h +
r), within [0, S] (their proposition 4 for one exchange). With a law of whole numbers, L is the least one that reaches the
probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hyperexec_env.checks import put_number

__all__ = ["Exponential", "Outflow", "Poisson", "Split", "Terms", "best_split", "expected_cost"]


class Outflow(Protocol):
    """The law of what leaves a queue by the deadline."""

    def quantile(self, probability: float) -> float:
        """Return the least value that the outflow does not exceed with a probability."""

    def filled(self, queue: float, limit: float) -> float:
        """Return the mean fill E min((xi - queue)+, limit)."""


@dataclass(frozen=True)
class Exponential:
    """Exponential outflow."""

    mean: float
    """Mean, shares."""

    def __post_init__(self) -> None:
        """Check the mean."""
        put_number(self, "mean", low=0.0, high=1e15, open_low=True, unit="shares")

    def quantile(self, probability: float) -> float:
        """Return the outflow that is not exceeded with a probability."""
        return -self.mean * math.log1p(-probability) if probability < 1.0 else math.inf

    def filled(self, queue: float, limit: float) -> float:
        """Return the mean fill e^(-Q/mean) mean (1 - e^(-limit/mean))."""
        return -math.exp(-queue / self.mean) * self.mean * math.expm1(-limit / self.mean)


@dataclass(frozen=True)
class Poisson:
    """Poisson outflow, in whole lots."""

    mean: float
    """Mean, lots."""

    def __post_init__(self) -> None:
        """Check the mean."""
        put_number(self, "mean", low=0.0, high=1e5, unit="lots")

    def probability(self, number: int) -> float:
        """Return the probability of a number of lots."""
        if self.mean == 0.0:
            return float(number == 0)
        return math.exp(number * math.log(self.mean) - self.mean - math.lgamma(number + 1.0))

    @property
    def most(self) -> int:
        """Number of lots beyond which the rest of the law is rounding."""
        return int(self.mean + 12.0 * math.sqrt(self.mean) + 30.0)

    def quantile(self, probability: float) -> float:
        """Return the least number of lots that is not exceeded with a probability."""
        total = 0.0
        for number in range(self.most):
            total += self.probability(number)
            if total >= probability:
                return float(number)
        return math.inf

    def filled(self, queue: float, limit: float) -> float:
        """Return the mean fill."""
        return sum(self.probability(n) * min(max(n - queue, 0.0), limit) for n in range(self.most))


@dataclass(frozen=True)
class Terms:
    """Order, queue and prices.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    size: float
    """S, shares or lots."""
    queue: float
    """Q, shares or lots before the limit order."""
    half_spread: float
    """h, currency per share."""
    fee: float
    """f, fee of a share that takes, currency per share."""
    rebate: float
    """r, rebate of a share that rested, currency per share."""
    penalty: float
    """u, cost of a share that is not filled by the deadline, currency per share."""

    def __post_init__(self) -> None:
        """Check the values."""
        put_number(self, "size", low=0.0, high=1e15, open_low=True)
        put_number(self, "queue", low=0.0, high=1e15)
        put_number(self, "half_spread", low=0.0, high=1e9, unit="currency per share")
        for name in ("fee", "rebate"):
            put_number(self, name, low=-1e9, high=1e9, unit="currency per share")
        put_number(self, "penalty", low=0.0, high=1e9, open_low=True, unit="currency per share")


class Split(NamedTuple):
    """The best split."""

    market: float
    """M, taken at once."""
    limit: float
    """L = S - M, rested."""
    cost: float
    """Expected cost, currency."""


def expected_cost(terms: Terms, outflow: Outflow, market: float) -> float:
    """Return the expected cost of taking `market` shares and resting the others, currency."""
    limit = terms.size - market
    filled = outflow.filled(terms.queue, limit)
    taken = (terms.half_spread + terms.fee) * market
    return taken - (terms.half_spread + terms.rebate) * filled + terms.penalty * (limit - filled)


def best_split(terms: Terms, outflow: Outflow) -> Split:
    """Return the split with the least expected cost."""
    earned = terms.half_spread + terms.rebate
    saved = terms.half_spread + terms.fee + earned
    level = saved / (terms.penalty + earned) if terms.penalty + earned > 0.0 else math.inf
    limit = terms.size if level >= 1.0 else outflow.quantile(max(level, 0.0)) - terms.queue
    market = terms.size - min(max(limit, 0.0), terms.size)
    return Split(market, terms.size - market, expected_cost(terms, outflow, market))
