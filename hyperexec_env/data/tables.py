"""Checked tables of data: bars, trades, quotes and the events of a limit order book, with their provenance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .zones import MINUTE, Nanoseconds, date_of, local_of

__all__ = ["Bars", "Book", "Provenance", "Quotes", "Table", "Trades", "executions_among"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Provenance:
    """How a table was read; ``print`` shows it as text."""

    files: tuple[str, ...]
    """Files or types of frames, in the order in which they were read."""
    layout: str
    """Recognised or given layout."""
    columns: dict[str, str]
    """Name (or number from 1) of the column of each field."""
    time: str
    """How the stamps write their times, for example "iso" or "epoch ms"."""
    zone: str
    """Time zone of the stamps; UTC where they carry an offset or are epochs."""
    rows: int
    """Rows of the data."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows that were left out, by reason."""
    choices: tuple[str, ...] = ()
    """One sentence for each choice that was made for the user."""
    is_naive: bool = False
    """Whether stamps carry no offset from UTC, so that `zone` is that of an option or was assumed."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the provenance as text."""
        used = ", ".join(f"{field} = {name}" for field, name in self.columns.items())
        lines = [
            f"{self.rows:,} rows of {', '.join(self.files[:3])}{' ...' if len(self.files) > 3 else ''}",
            f"layout {self.layout}: {used}",
            f"time {self.time}, zone {self.zone}",
        ]
        lines += [f"{count:,} rows left out: {reason}" for reason, count in self.dropped.items()]
        return "\n".join([*lines, *self.choices])


@dataclass(frozen=True, eq=False)
class Table:
    """Rows in ascending order of time; every array has shape (row,)."""

    time: Nanoseconds
    """Time of each row, nanoseconds since 1970 in UTC."""
    provenance: Provenance
    symbol: str
    """Instrument; "" if the data do not say it."""
    row: NDArray[np.int32]
    """Number of each row in its source, from 0."""
    source: NDArray[np.int16]
    """Index in `provenance.files` of the source of each row."""
    lines: Any = field(repr=False)
    """Function from (index of the source, number of the row) to the place, as "file, line 12"."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.time)

    def where(self, index: int) -> str:
        """Return file and line of a row, for messages."""
        return str(self.lines(int(self.source[index]), int(self.row[index])))

    def days(self, zone: str) -> tuple[str, str]:
        """Return the first and the last day of the table in a time zone, as 2024-03-26."""
        first, last = local_of(self.time[[0, -1]], zone).tolist()
        return date_of(first), date_of(last)


@dataclass(frozen=True, eq=False)
class Bars(Table):
    """Bars of one instrument and one length; the time is the start or the end of the bar, see `stamp`."""

    open: Floats
    """First price of each bar, currency per share."""
    high: Floats
    """Highest price, currency per share."""
    low: Floats
    """Lowest price, currency per share."""
    close: Floats
    """Last price, currency per share."""
    volume: Floats
    """Shares traded; 0 in every bar if `has_volume` is False."""
    has_volume: bool
    """Whether the data hold a volume."""
    minutes: int
    """Length of a bar, minutes; 1440 for daily bars."""
    stamp: str
    """Whether `time` is the start or the end of a bar; "" if the data do not determine it."""

    @property
    def is_daily(self) -> bool:
        """Whether each bar is a day."""
        return self.minutes == 1440

    def starts(self, stamp: str) -> Nanoseconds:
        """Return the start of each bar, given whether `time` is the start or the end; a day is stamped by its date."""
        return np.asarray(self.time - (self.minutes * MINUTE if stamp == "end" and not self.is_daily else 0))


@dataclass(frozen=True, eq=False)
class Trades(Table):
    """Trades of one instrument."""

    price: Floats
    """Currency per share."""
    size: Floats
    """Shares."""
    side: NDArray[np.int8]
    """Side of the aggressor: 1 buy, -1 sell, 0 unknown."""
    has_side: bool
    """Whether the data hold the side."""
    exchange: NDArray[np.int16]
    """Index in `exchanges` of the place of the trade."""
    exchanges: tuple[str, ...]
    """Names of exchanges; ("",) if the data hold none."""
    condition: NDArray[np.int32]
    """Index in `conditions` of the sale condition."""
    conditions: tuple[str, ...]
    """Sale conditions; ("",) if the data hold none."""
    suspicious: NDArray[np.bool_]
    """Whether the vendor doubts the trade."""


@dataclass(frozen=True, eq=False)
class Quotes(Table):
    """Best bid and offer of one instrument, at each change (or at the end of each interval of time)."""

    bid: Floats
    """Currency per share; NaN where there is no bid."""
    ask: Floats
    """Currency per share; NaN where there is no offer."""
    bid_size: Floats
    """Shares; NaN if the data hold none."""
    ask_size: Floats
    """Shares; NaN if the data hold none."""
    interval: int = 0
    """Length of the intervals whose last quotes these are, stamped at their starts, nanoseconds; 0: quotes at each change."""

    @property
    def valid_from(self) -> Nanoseconds:
        """Time from which each quote is known, nanoseconds since 1970 in UTC: the end of its interval."""
        return self.time + self.interval if self.interval else self.time

    @property
    def mid(self) -> Floats:
        """Mean of bid and offer, currency per share; NaN where one is missing or the quote is crossed."""
        return np.asarray(np.where(self.ask >= self.bid, 0.5 * (self.bid + self.ask), np.nan))


@dataclass(frozen=True, eq=False)
class Book(Table):
    """Events of a limit order book (LOBSTER), and the book after each event; arrays of levels have shape (row, level)."""

    type: NDArray[np.int8]
    """1 new order, 2 partial cancellation, 3 deletion, 4 visible execution, 5 hidden execution, 6 cross, 7 halt."""
    order_id: NDArray[np.int64]
    """Number of the resting order; 0 for a hidden one."""
    size: Floats
    """Shares."""
    price: Floats
    """Currency per share."""
    direction: NDArray[np.int8]
    """Side of the resting order: 1 bid, -1 offer."""
    bid: Floats
    """Prices of the bids, best first; NaN for an empty level."""
    bid_size: Floats
    """Shares."""
    ask: Floats
    """Prices of the offers, best first; NaN for an empty level."""
    ask_size: Floats
    """Shares."""


def executions_among(
    *,
    time: Nanoseconds,
    row: NDArray[Any],
    source: NDArray[np.int16],
    type: NDArray[Any],
    size: Floats,
    price: Floats,
    direction: NDArray[Any],
    **table: Any,
) -> Trades:
    """Return the executions among the events of a book, hidden ones included; an execution of a resting offer is a buy.

    Args:
        time: Time of each event; see :class:`Table` for the fields of the same name, shape (event,).
        row: See :class:`Table`.
        source: See :class:`Table`.
        type: See :class:`Book`.
        size: See :class:`Book`.
        price: See :class:`Book`.
        direction: See :class:`Book`.
        **table: The other fields of a :class:`Table`.
    """
    chosen = (type == 4) | (type == 5)
    count = int(chosen.sum())
    return Trades(
        **table,
        time=time[chosen],
        row=row[chosen],
        source=source[chosen],
        price=price[chosen],
        size=size[chosen],
        side=(-direction[chosen]).astype(np.int8),
        has_side=True,
        exchange=np.zeros(count, np.int16),
        exchanges=("",),
        condition=(type[chosen] == 5).astype(np.int32),
        conditions=("visible", "hidden"),
        suspicious=np.zeros(count, dtype=bool),
    )
