"""Order records: parent orders, child orders and fills. Immutable, with quantities in whole lots (by default: whole shares)."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_integer, check_number, check_numbers

__all__ = [
    "MAX_SHARES",
    "MAX_VOLATILITY",
    "ChildOrder",
    "Fill",
    "Order",
    "ParentOrder",
    "check_lot_size",
    "check_quantity",
    "lots_of",
    "shares_of",
]

MAX_SHARES: Final = 10**15
"""Largest quantity, in shares and in lots: int64 and float64 represent every whole number up to this one exactly."""
MAX_VOLATILITY: Final = 1.0
"""Largest daily volatility of an order, a fraction; a larger number is a percentage."""


def check_lot_size(value: Any) -> float:
    """Return a lot size, as an int if it is whole; raise ValueError if it is out of range."""
    size = check_number("lot_size", value, low=1e-12, high=1e9, unit="shares")
    return int(size) if size == int(size) else size


def shares_of(lots: int, lot_size: float) -> float:
    """Return a number of lots in shares: an int if the lot size is one, else the float nearest to the decimal product."""
    return lots * lot_size if type(lot_size) is int else float(lots * Decimal(repr(lot_size)))


def lots_of(shares: float, lot_size: float) -> int:
    """Return the number of lots nearest to a quantity in shares."""
    return int(shares) if lot_size == 1 else round(shares / lot_size)


def check_quantity(name: str, value: Any, lot_size: float = 1) -> float:
    """Return a quantity in shares; raise ValueError if it is not a positive number of whole lots, or out of range.

    Args:
        name: Name of the quantity, for the message.
        value: Shares. The rounding error of a float is no fault: 0.1 + 0.2 is three lots of 0.1.
        lot_size: Lot size, as :func:`check_lot_size` returns it.
    """
    if lot_size == 1:
        return check_integer(name, value, low=1, high=MAX_SHARES)
    shares = check_number(name, value, low=lot_size, high=min(1.0, lot_size) * MAX_SHARES, unit="shares")
    whole = shares_of(lots_of(shares, lot_size), lot_size)
    if abs(shares - whole) > 1e-9 * lot_size + 1e-15 * shares:
        raise ValueError(f"{name} must be a multiple of the lot size {lot_size!r}, got {value!r}; the nearest is {whole!r}")
    return whole


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
        quantity: Shares to execute, X, a multiple of the lot size; at most :data:`MAX_SHARES` shares and lots.
        arrival_price: Mid at the decision time, P0, currency per share, positive.
        deadline: Time at which the order expires; None: the submission plus the agent's horizon, in trading time.
        algorithm: Name of an algorithm (see ``hyperexec_env.execution.algorithms.ALGORITHMS``); None: the agent's default.
        urgency: 0 (equal slices) to 1 (front-loaded), clamped to that range; None: the agent's default.
        volume_profile: Expected market volume of equal parts of the trading time from submission to deadline, relative
            numbers; empty: flat. A rest of the profile below 1e-12 of its sum counts as empty.
        expected_volume: Expected market volume from submission to deadline, shares; None: unknown.
        adv: Average daily volume, shares a day; None: unknown.
        volatility: Volatility, fraction per square root of a day, at most 1; None: unknown.
        lot_size: Shares of a lot, 1e-12 to 1e9; every quantity of the order, its children and its fills is a whole number of
            lots. 100 trades round lots, 0.001 trades thousandths of a coin.
        min_child: Smallest child, shares; a child is smaller only if it completes the order. 0: one lot.
        sessions: Trading sessions as (open, close), seconds on the agent's clock, ascending and disjoint; empty: always open.
            The order trades in sessions only, trading time (the total time in sessions) replaces time in its schedule, and it
            expires at the last close before its deadline if the deadline lies outside the sessions.
        id: Identifier of the order, unique within an agent; random by default.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    symbol: str
    side: int
    quantity: float
    arrival_price: float
    deadline: float | None = None
    algorithm: str | None = None
    urgency: float | None = None
    volume_profile: tuple[float, ...] = ()
    expected_volume: float | None = None
    adv: float | None = None
    volatility: float | None = None
    lot_size: float = 1
    min_child: float = 0.0
    sessions: tuple[tuple[float, float], ...] = ()
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
        put(self, "lot_size", check_lot_size(self.lot_size))
        put(self, "quantity", check_quantity("quantity", self.quantity, self.lot_size))
        put(self, "min_child", check_number("min_child", self.min_child, low=0.0, high=MAX_SHARES, unit="shares"))
        put(self, "arrival_price", check_number("arrival_price", self.arrival_price, low=0.0, high=1e9, open_low=True))
        if self.deadline is not None:
            unit = "seconds on the agent's clock"
            put(self, "deadline", check_number("deadline", self.deadline, low=-1e300, high=1e300, unit=unit))
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
            ("volatility", MAX_VOLATILITY, "fraction per square root of a day"),
        ):
            value = getattr(self, key)
            if value is not None:
                put(self, key, check_number(key, value, low=0.0, high=high, open_low=key != "volatility", unit=unit))
        put(self, "sessions", _check_sessions(self.sessions))

    def total(self, quantities: Iterable[float]) -> float:
        """Return the sum of quantities in shares, exact in lots."""
        size = self.lot_size
        return sum(quantities) if type(size) is int else shares_of(sum(lots_of(each, size) for each in quantities), size)

    @property
    def notional(self) -> float:
        """Arrival notional X P0, currency."""
        return self.quantity * self.arrival_price

    @property
    def order(self) -> Order:
        """Side and size of the order, as the market simulation takes them."""
        return Order(float(self.side), float(self.quantity))


def _check_sessions(sessions: Any) -> tuple[tuple[float, float], ...]:
    """Return trading sessions as pairs of floats; raise ValueError if they are not ascending and disjoint."""
    if isinstance(sessions, (str, bytes)) or not isinstance(sessions, Iterable):
        raise ValueError(f"sessions must be a list of pairs (open, close), got {sessions!r}")
    checked: list[tuple[float, float]] = []
    for number, session in enumerate(sessions):
        opening, closing = check_numbers(f"sessions[{number}]", session, low=-1e15, high=1e15, length=2)
        if not opening < closing:
            raise ValueError(f"sessions[{number}] must open before it closes, got {session!r}")
        if checked and opening < checked[-1][1]:
            raise ValueError(
                f"sessions[{number}] must open at or after the close before it ({checked[-1][1]:g}), got {session!r}"
            )
        checked.append((opening, closing))
    return tuple(checked)


class Fill(NamedTuple):
    """A fill: one execution of shares of a child order."""

    time: float
    """Time of the execution, seconds on the agent's clock."""
    quantity: float
    """Shares, a positive number of whole lots."""
    price: float
    """Price paid or received, currency per share."""
    mid: float | None = None
    """Mid just before the fill, currency per share; None: unknown."""
    venue: str = ""
    """Name of the venue; empty: unknown."""
    liquidity: str = ""
    """"maker" (the order rested), "taker", or empty: unknown."""
    fee: float = 0.0
    """Fee of the venue, currency; negative: a rebate. The price excludes it."""


class ChildOrder(NamedTuple):
    """A child order: one piece of a parent order. Immutable: a fill makes a new record.

    ``hyperexec_env.execution.children.cut`` makes child orders whose quantities sum to the quantity it is given.
    """

    parent: ParentOrder
    """The parent order."""
    number: int
    """Sequence number within the parent, from 0."""
    quantity: float
    """Shares, a whole number of lots of the parent."""
    schedule_time: float
    """Planned release time, seconds on the agent's clock."""
    released: float | None = None
    """Actual release time, seconds on the agent's clock; None: not released yet."""
    fills: tuple[Fill, ...] = ()
    """Fills, in the order in which they were reported."""
    forced: float = 0
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
    def filled(self) -> float:
        """Shares that have traded."""
        return self.parent.total(fill.quantity for fill in self.fills)

    @property
    def remaining(self) -> float:
        """Shares that have not traded."""
        return self.parent.total((self.quantity, *(-fill.quantity for fill in self.fills)))

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
