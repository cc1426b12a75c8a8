r"""The router: split whole lots over lit venues, dark pools and resting orders at the least expected cost.

With z_v lots in venue v, the expected cost is a sum of convex functions, one of each venue,

    lit     [q_v + c_v (z_v / V_v)^beta] z_v                      (toll, at most the visible size)
    hidden  q_v E min(z_v, A_v) + u (z_v - E min(z_v, A_v))       (what does not fill costs u a share later)

so the next lot always goes where it costs least: the marginal toll of a lit venue, and u - (u - q_v) P(A_v >= z_v) of a hidden
one. All lots up to one level of the marginal cost trade, and :func:`allocate` finds the level by bisection. Three results of
the literature are its special cases:

- lit venues only: water-filling (:func:`~hyperexec_env.market.venue.route`);
- dark pools of equal terms: the greedy allocation of Ganchev, Kearns, Nevmyvaka and Vaughan (2010);
- one lit venue and one resting order: the split of Cont and Kukanov (2017), P(A >= z) = (u - h - f) / (u + h + r).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Final, Protocol

import numpy as np

from hyperexec_env.market.venue import offered, toll

__all__ = ["MANY", "HiddenOffer", "LitOffer", "Offer", "SizeLaw", "allocate", "expected_cost"]

MANY: Final = 10**18
"""More lots than any order has."""
_ROUNDING: Final = 1e-9
"""Part of a lot below which a size counts as rounded."""
_STEPS: Final = 200
"""Largest number of bisection steps; doubles are exhausted after about 60."""
_FEW: Final = 12
"""Number of lots that are compared one by one instead of by bisection."""


class SizeLaw(Protocol):
    """Law of a hidden liquidity A, for example :class:`~hyperexec_env.execution.fill_rates.KaplanMeier`."""

    def at_least(self, t: float) -> float:
        """Return P(A >= t)."""

    def reaches(self, probability: float) -> float:
        """Return the largest t with P(A >= t) >= `probability`; infinity if there is none."""

    def mean_up_to(self, t: float) -> float:
        """Return E min(A, t)."""


class Offer(Protocol):
    """What one venue offers to the next lots of an order."""

    def cost(self, lots: int) -> float:
        """Return the expected cost of a number of lots, currency."""

    def marginal(self, lot: int) -> float:
        """Return the expected cost of the lot of a number, from 1, currency per share."""

    def up_to(self, level: float) -> int:
        """Return how many lots cost at most a level at the margin, currency per share."""

    @property
    def most(self) -> int:
        """Largest number of lots."""


@dataclass(frozen=True)
class LitOffer:
    """A venue that shows its liquidity."""

    q: float
    """Half-spread plus fee, currency per share."""
    scale: float
    """c, temporary scale, currency per share."""
    volume: float
    """V, expected volume of the venue, shares."""
    beta: float
    """Exponent of the temporary impact."""
    lot: float = 1.0
    """Shares of a lot."""
    most: int = MANY
    """Largest number of lots: the visible size."""

    def cost(self, lots: int) -> float:
        """Return the toll of a number of lots, currency."""
        return float(toll(self.q, self.scale, self.volume, self.beta, lots * self.lot)) if lots else 0.0

    def marginal(self, lot: int) -> float:
        """Return the toll that the lot of a number adds, currency per share; infinity beyond the visible size."""
        return (self.cost(lot) - self.cost(lot - 1)) / self.lot if lot <= self.most else math.inf

    def up_to(self, level: float) -> int:
        """Return how many lots cost at most a level at the margin.

        The toll is convex, so a lot costs at least its derivative before the lot and at most the one after it.
        """
        if level < self.q:
            return 0
        if not self.scale > 0.0:
            return self.most
        lots = int(min(float(offered(level, self.q, self.scale, self.volume, self.beta)) / self.lot, MANY))
        return min(lots + (lots < MANY and self.marginal(lots + 1) <= level), self.most)


@dataclass(frozen=True)
class HiddenOffer:
    """A dark pool, or a place to rest."""

    q: float
    """Half-spread (negative where the order rests) plus fee plus adverse selection, currency per share."""
    penalty: float
    """u, cost of a share that does not fill, currency per share."""
    law: SizeLaw
    """Law of the liquidity A, in multiples of `unit`."""
    unit: float = 1.0
    """Shares of one unit of the law."""
    lot: float = 1.0
    """Shares of a lot."""
    limit: int = MANY
    """Largest number of lots."""

    @property
    def most(self) -> int:
        """Largest number of lots: none where a fill costs as much as no fill."""
        return self.limit if self.q < self.penalty else 0

    def cost(self, lots: int) -> float:
        """Return the expected cost of a number of lots, currency."""
        filled = self.unit * self.law.mean_up_to(lots * self.lot / self.unit)
        return self.q * filled + self.penalty * (lots * self.lot - filled)

    def marginal(self, lot: int) -> float:
        """Return the expected cost of the lot of a number, currency per share: the mean over the shares of the lot."""
        return (self.cost(lot) - self.cost(lot - 1)) / self.lot if lot <= self.most else math.inf

    def up_to(self, level: float) -> int:
        """Return how many lots cost at most a level at the margin; the lot that holds an atom of the law may be the last."""
        if level >= self.penalty or not self.most:
            return self.most
        chance = (self.penalty - level) / (self.penalty - self.q)
        if chance > 1.0 + _ROUNDING:
            return 0
        lots = int(min(self.law.reaches(chance * (1.0 - _ROUNDING)) * self.unit / self.lot, MANY) + _ROUNDING)
        return min(lots + (lots < self.most and self.marginal(lots + 1) <= level), self.most)


def allocate(lots: int, offers: Sequence[Offer]) -> list[int]:
    """Split lots over venues at the least expected cost.

    Args:
        lots: Lots to split.
        offers: What each venue offers.

    Returns:
        Lots of each venue; their sum is below `lots` only where all venues together offer less.
    """
    if not lots:
        return [0] * len(offers)
    if sum(offer.most for offer in offers) <= lots:
        return [offer.most for offer in offers]
    levels = [offer.marginal(at) for offer in offers if offer.most for at in (1, min(lots, offer.most))]
    low, high = min(levels), max(levels)
    low -= max(abs(low), abs(high)) or 1.0
    below, above = [0] * len(offers), [min(offer.most, lots) for offer in offers]
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if sum(above) - sum(below) <= _FEW or not low < middle < high:
            break
        split = [min(offer.up_to(middle), lots) for offer in offers]
        if sum(split) >= lots:
            high, above = middle, split
        else:
            low, below = middle, split
    return _filled_up(below, above, lots, offers)


def _filled_up(split: list[int], above: Sequence[int], lots: int, offers: Sequence[Offer]) -> list[int]:
    """Return a split with the cheapest lots added until it is complete.

    Args:
        split: Lots that are below the level.
        above: Lots up to the level; where many of them remain, they all cost the same.
        lots: Lots to split.
        offers: What each venue offers.
    """
    if sum(above) - sum(split) > _FEW:
        for number, most in enumerate(above):
            split[number] += min(max(most - split[number], 0), lots - sum(split))
    next_lots = [(offer.marginal(own + 1), number) for number, (own, offer) in enumerate(zip(split, offers, strict=True))]
    heapify(next_lots)
    while sum(split) < lots:
        number = next_lots[0][1]
        split[number] += 1
        heapreplace(next_lots, (offers[number].marginal(split[number] + 1), number))
    return split


def expected_cost(split: Sequence[int], offers: Sequence[Offer]) -> float:
    """Return the expected cost of a split, currency."""
    return float(np.sum([offer.cost(own) for own, offer in zip(split, offers, strict=True)]))
