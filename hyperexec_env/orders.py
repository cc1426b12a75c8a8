"""Order records: parent orders, child orders and fills. Immutable, with quantities in whole shares."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_integer, check_number, check_numbers

__all__ = ["MAX_SHARES", "ChildOrder", "Fill", "Order", "ParentOrder"]

MAX_SHARES: Final = 10**15
"""Largest quantity: int64 and float64 represent every whole number up to this one exactly."""


class Order(NamedTuple):
    """Side and size of a parent order: the part the market simulation needs. Floats, or arrays over episodes."""

    side: Any
    """+1 buy, -1 sell."""
    quantity: Any
    """Shares to execute, X."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentOrder:
    """An order to buy or sell a quantity before a deadline. Times are seconds on the agent's clock.

    Args:
        symbol: Ticker or other name of the instrument.
        side: +1 buy, -1 sell.
        quantity: Whole shares to execute, X, from 1 to :data:`MAX_SHARES`.
        arrival_price: Mid at the decision time, P0, currency per share, positive.
        deadline: Time at which the order expires; None: the submission plus the agent's horizon.
        algorithm: Name of an algorithm (see ``hyperexec_env.execution.algorithms.ALGORITHMS``); None: the agent's default.
        urgency: 0 (equal slices) to 1 (front-loaded), clamped to that range; None: the agent's default.
        volume_profile: Expected market volume of equal parts of the time from submission to deadline, relative numbers;
            empty: flat.
        expected_volume: Expected market volume from submission to deadline, shares; None: unknown.
        adv: Average daily volume, shares a day; None: unknown.
        volatility: Volatility, fraction per square root of a day; None: unknown.
        id: Identifier of the order, unique within an agent; random by default.

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
                raise ValueError(f"{key} must be a non-empty text, got {getattr(self, key)!r}")
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
        """Side and size of the order, as the market simulation takes them."""
        return Order(float(self.side), float(self.quantity))


class Fill(NamedTuple):
    """A fill: one execution of shares of a child order."""

    time: float
    """Time of the execution, seconds on the agent's clock."""
    quantity: int
    """Whole shares, positive."""
    price: float
    """Price paid or received, currency per share."""
    mid: float | None = None
    """Mid just before the fill, currency per share; None: unknown."""


class ChildOrder(NamedTuple):
    """A child order: one piece of a parent order. Immutable: a fill makes a new record.

    ``hyperexec_env.execution.children.cut`` makes child orders whose quantities sum to the quantity it is given.
    """

    parent: ParentOrder
    """The parent order."""
    number: int
    """Sequence number within the parent, from 0."""
    quantity: int
    """Whole shares."""
    schedule_time: float
    """Planned release time, seconds on the agent's clock."""
    released: float | None = None
    """Actual release time, seconds on the agent's clock; None: not released yet."""
    fills: tuple[Fill, ...] = ()
    """Fills, in the order in which they were reported."""
    forced: int = 0
    """Shares that completing the order at its end added beyond the plan or the participation cap."""

    @property
    def id(self) -> str:
        """Identifier of the child, unique within an agent."""
        return f"{self.parent.id}/{self.number}"

    @property
    def symbol(self) -> str:
        """Symbol of the parent."""
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
        """Average price of the fills, currency per share; nan before the first fill."""
        filled = self.filled
        return sum(fill.quantity * fill.price for fill in self.fills) / filled if filled else math.nan

    @property
    def latency(self) -> float:
        """Seconds from the schedule time to the release; nan before the release."""
        return math.nan if self.released is None else self.released - self.schedule_time

    @property
    def fill_latency(self) -> float:
        """Share-weighted mean seconds from the release to the fills; nan before the first fill."""
        filled = self.filled
        if self.released is None or not filled:
            return math.nan
        return sum(fill.quantity * (fill.time - self.released) for fill in self.fills) / filled
