"""What is to be executed: the parent order, its children and their fills. Records that never change, in whole shares."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_integer, check_number, check_numbers

__all__ = ["MAX_SHARES", "ChildOrder", "Fill", "Order", "ParentOrder"]

MAX_SHARES: Final = 10**15
"""Largest quantity: every whole number up to here is exact in int64 and in float64."""


class Order(NamedTuple):
    """Side and size of a parent order as the market sees it: plain numbers, or arrays over episodes."""

    side: Any
    """+1 buy, -1 sell."""
    quantity: Any
    """Shares to execute, X."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentOrder:
    """An order to buy or sell a quantity before a deadline, as a desk gets it. Times are seconds on the agent's clock.

    Args:
        symbol: What is traded.
        side: +1 buy, -1 sell.
        quantity: Whole shares to execute, X, from 1 to :data:`MAX_SHARES`.
        arrival_price: Mid at the time of the decision, P0, currency per share, positive.
        deadline: When the order ends; None: the agent's horizon after its submission.
        algorithm: Name of an algorithm (see ``hyperexec_env.execution.algorithms.ALGORITHMS``); None: the agent's.
        urgency: 0 (equal slices) to 1 (front-loaded); clamped to that range. None: the agent's.
        volume_profile: Expected market volume of equal parts of the time from submission to deadline, relative numbers;
            empty: flat.
        expected_volume: Market volume expected from submission to deadline, shares; None: not known.
        adv: Average daily volume, shares a day; None: not known.
        volatility: Volatility, fraction per square root of a day; None: not known.
        id: Name of the order, unique within an agent; by default a random one.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    symbol: str
    side: int
    quantity: int
    arrival_price: float
    deadline: float | None = None
    algorithm: str | None = None
    urgency: float | None = None
    volume_profile: tuple[float, ...] = ()
    expected_volume: float | None = None
    adv: float | None = None
    volatility: float | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        """Check every value once."""
        put = object.__setattr__
        for key in ("symbol", "id"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key):
                raise ValueError(f"{key} must be a text that is not empty, got {getattr(self, key)!r}")
        put(self, "side", check_integer("side", self.side, low=-1, high=1))
        if not self.side:
            raise ValueError("side must be +1 (buy) or -1 (sell), got 0")
        put(self, "quantity", check_integer("quantity", self.quantity, low=1, high=MAX_SHARES))
        put(self, "arrival_price", check_number("arrival_price", self.arrival_price, low=0.0, high=1e9, open_low=True))
        if self.deadline is not None:
            put(self, "deadline", check_number("deadline", self.deadline, unit="seconds on the agent's clock"))
        if self.algorithm is not None and not isinstance(self.algorithm, str):
            raise ValueError(f"algorithm must be the name of an algorithm or None, got {self.algorithm!r}")
        if self.urgency is not None:
            put(self, "urgency", min(max(check_number("urgency", self.urgency), 0.0), 1.0))
        put(self, "volume_profile", check_numbers("volume_profile", self.volume_profile, low=0.0, high=1e15))
        if self.volume_profile and not sum(self.volume_profile) > 0.0:
            raise ValueError("volume_profile must sum to a positive number, got 0.0; leave it empty for a flat profile")
        for key, high, unit in (
            ("expected_volume", 1e15, "shares"),
            ("adv", 1e15, "shares a day"),
            ("volatility", 10.0, "fraction per square root of a day"),
        ):
            value = getattr(self, key)
            if value is not None:
                put(self, key, check_number(key, value, low=0.0, high=high, open_low=key != "volatility", unit=unit))

    @property
    def notional(self) -> float:
        """Arrival notional X P0, currency."""
        return self.quantity * self.arrival_price

    @property
    def order(self) -> Order:
        """Side and size as the market sees them."""
        return Order(float(self.side), float(self.quantity))


class Fill(NamedTuple):
    """Shares of a child that traded."""

    time: float
    """When, seconds on the agent's clock."""
    quantity: int
    """Whole shares, positive."""
    price: float
    """Currency per share."""
    mid: float | None = None
    """Mid of the market just before, currency per share; None: not known."""


class ChildOrder(NamedTuple):
    """A piece of a parent order. It never changes: a fill makes a new record.

    Children are made by ``hyperexec_env.execution.children.cut``, which sees to it that they sum to their parent.
    """

    parent: ParentOrder
    """The order that it is a piece of."""
    number: int
    """Number of the child among those of its parent, from 0."""
    quantity: int
    """Whole shares."""
    schedule_time: float
    """When it is to go to the market, seconds on the agent's clock."""
    released: float | None = None
    """When it went to the market; None: not yet."""
    fills: tuple[Fill, ...] = ()
    """What of it has traded, in the order of the reports."""
    forced: int = 0
    """Those of its shares that the end of the order forced beyond what the plan or the participation cap allowed."""

    @property
    def id(self) -> str:
        """Name of the child, unique within an agent."""
        return f"{self.parent.id}/{self.number}"

    @property
    def symbol(self) -> str:
        """What is traded."""
        return self.parent.symbol

    @property
    def side(self) -> int:
        """+1 buy, -1 sell."""
        return self.parent.side

    @property
    def filled(self) -> int:
        """Shares that have traded."""
        return sum(fill.quantity for fill in self.fills)

    @property
    def remaining(self) -> int:
        """Shares that have not traded."""
        return self.quantity - self.filled

    @property
    def vwap(self) -> float:
        """Average price of the fills, currency per share; nan before the first."""
        filled = self.filled
        return sum(fill.quantity * fill.price for fill in self.fills) / filled if filled else math.nan

    @property
    def latency(self) -> float:
        """Seconds from its schedule time to its release; nan before."""
        return math.nan if self.released is None else self.released - self.schedule_time

    @property
    def fill_latency(self) -> float:
        """Mean seconds from its release to the fills, weighted by shares; nan before the first."""
        filled = self.filled
        if self.released is None or not filled:
            return math.nan
        return sum(fill.quantity * (fill.time - self.released) for fill in self.fills) / filled
