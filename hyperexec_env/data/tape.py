"""The tape of a market: trades with their signs beside the quotes before them, session by session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calendars import ALWAYS, Calendar, SessionHours, calendar_of
from .format import Format
from .tables import Book, Quotes, Trades
from .zones import MINUTE, SECOND, Nanoseconds

__all__ = ["Flow", "Tape", "TapeDay", "flow_of", "tape_of", "tape_of_book"]

Floats = NDArray[np.float64]

AUCTION_MINUTES: Final = 1
"""Minutes at both ends of a session that are left out: opening and closing auctions print there, and have no aggressor."""
BLOCK_SHARE: Final = 0.002
"""A print of a larger share of the average daily volume is a block that was negotiated off the book, so that its size says
nothing about demand. Such prints are 2 % of the volume of AMZN, IBM and SPY; with them, lambda at 60 s is 8 to 37 % lower."""
COVERED: Final = 0.9
"""Share of its sessions that a tape must cover, so that its volume is that of a day."""
FAR: Final = 5.0
"""A print further from the mid than so many half-spreads (at least 10 bps) is off the market: late, averaged or contingent."""


class TapeDay(NamedTuple):
    """One session of the tape, without its first and last minute."""

    date: str
    start: int
    """Start of the span, nanoseconds in UTC."""
    end: int
    quote_time: Nanoseconds
    """Time from which each quote is valid, ascending, shape (quote,)."""
    mid: Floats
    """Mid of each quote, currency per share."""
    half_spread: Floats
    """Half of the quoted spread of each quote, currency per share."""
    trade_time: Nanoseconds
    """Time of each trade, ascending, shape (trade,)."""
    price: Floats
    """Price of each trade, currency per share."""
    size: Floats
    """Shares of each trade."""
    side: NDArray[np.int8]
    """Side of the aggressor: 1 buy, -1 sell."""
    mid_before: Floats
    """Mid before each trade, currency per share."""


@dataclass(frozen=True)
class Tape:
    """Sessions of a tape."""

    days: tuple[TapeDay, ...]
    adv: float
    """Mean volume of a session, auctions and off-market prints included, shares."""
    day_minutes: int
    signed_by: str
    """How trades got their signs."""
    left_out: int
    """Trades that are left out: auctions, blocks, prints off the market, trades before the first quote."""
    files: tuple[str, ...]
    choices: tuple[str, ...]


class Flow(NamedTuple):
    """Moves of the mid and signed flow on a regular grid of time; arrays have one value per interval."""

    move: Floats
    """Change of the mid over an interval, fraction of the first mid of the day."""
    flow: Floats
    """Signed volume of an interval, fraction of the average daily volume."""
    volume: Floats
    """Volume of an interval, fraction of the average daily volume."""
    day: NDArray[np.int64]
    """Index of the session."""
    seconds: float
    """Length of an interval."""


def tape_of(trades: Trades, quotes: Quotes, format: Format | None = None, adv: float | None = None) -> Tape:
    """Return the tape of trades and quotes.

    Quotes on a grid of whole seconds or minutes are the last ones of each interval, and are valid from its end. Trades without
    a sign get one by the quote rule: above the mid before the trade is a buy, below it a sell, and at the mid the tick rule
    decides (Lee and Ready 1991, without their delay of five seconds, which has no reason for electronic quotes).

    Args:
        trades: The trades.
        quotes: The best bids and offers.
        format: The calendar and its hours.
        adv: Average daily volume, shares; None: the mean volume of the sessions, which the tape must cover.

    Raises:
        ValueError: Trades and quotes share no session, or cover only a part of their sessions and `adv` is not given.
    """
    format = format or Format()
    calendar = calendar_of(format.calendar, format.hours, format.tz)
    grid = _grid_of(quotes.time)
    valid = quotes.time + grid
    first, last = max(int(trades.time[0]), int(valid[0])), min(int(trades.time[-1]), int(valid[-1]))
    hours = _shared(calendar, first, last)
    volume = [float(trades.size[slice(*np.searchsorted(trades.time, (item.open, item.close)))].sum()) for item in hours]
    mean = float(np.mean(volume)) if adv is None and hours else adv or 0.0
    edge = 0 if calendar.name == ALWAYS else AUCTION_MINUTES * MINUTE
    found = [_day(item, edge, valid, quotes, trades, BLOCK_SHARE * mean) for item in hours]
    days = [day for day in found if day is not None]
    files = tuple(dict.fromkeys((*trades.provenance.files, *quotes.provenance.files)))
    if not days:
        names = ", ".join(files)
        raise ValueError(f"{names}: trades and quotes share no session of {calendar.name}; pass --calendar, --hours or --tz")
    covered = sum(day.end - day.start for day in days) / (hours[0].minutes * MINUTE * len(days))
    if adv is None and covered < COVERED:
        names = ", ".join(files)
        raise ValueError(f"{names}: the tape covers {covered:.1%} of its sessions; pass adv, the average daily volume (--adv)")
    signed = "the data" if trades.has_side else "the quote rule, and the tick rule at the mid (Lee and Ready 1991)"
    choices = [*trades.provenance.choices, *quotes.provenance.choices]
    if grid:
        choices.append(f"quotes are the last ones of intervals of {grid / SECOND:g} s, and are valid from their ends")
    return Tape(
        tuple(days),
        mean,
        hours[0].minutes,
        signed,
        len(trades) - sum(len(day.side) for day in days),
        files,
        tuple(dict.fromkeys(choices)),
    )


def tape_of_book(book: Book, format: Format | None = None, adv: float | None = None) -> Tape:
    """Return the tape of a limit order book: its executions (hidden ones included), and the best quotes after each event."""
    executed = (book.type == 4) | (book.type == 5)
    shared = {"provenance": book.provenance, "symbol": book.symbol, "lines": book.lines}
    count = int(executed.sum())
    trades = Trades(
        **shared,
        time=book.time[executed],
        row=book.row[executed],
        source=book.source[executed],
        price=book.price[executed],
        size=book.size[executed],
        side=(-book.direction[executed]).astype(np.int8),
        has_side=True,
        exchange=np.zeros(count, np.int16),
        exchanges=("",),
        condition=np.zeros(count, np.int32),
        conditions=("",),
        suspicious=np.zeros(count, bool),
    )
    quotes = Quotes(
        **shared,
        time=book.time,
        row=book.row,
        source=book.source,
        bid=book.bid[:, 0],
        ask=book.ask[:, 0],
        bid_size=book.bid_size[:, 0],
        ask_size=book.ask_size[:, 0],
    )
    return tape_of(trades, quotes, format, adv)


def flow_of(tape: Tape, seconds: float) -> Flow:
    """Return moves of the mid and signed flow on a grid of time; a last interval that is not whole is left out."""
    parts: list[tuple[Floats, Floats, Floats]] = []
    for day in tape.days:
        step = round(seconds * SECOND)
        edges = day.start + step * np.arange((day.end - day.start) // step + 1)
        mids = day.mid[np.searchsorted(day.quote_time, edges, side="right") - 1]
        place = np.searchsorted(edges, day.trade_time, side="left") - 1  # at an edge: the interval that ends
        inside = (place >= 0) & (place < len(edges) - 1)
        count = len(edges) - 1
        signed = np.bincount(place[inside], (day.side * day.size)[inside], count) / tape.adv
        volume = np.bincount(place[inside], day.size[inside], count) / tape.adv
        parts.append((np.diff(mids) / mids[0], signed, volume))
    move, flow, volume = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    day_index = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return Flow(move, flow, volume, day_index, seconds)


def _shared(calendar: Calendar, first: int, last: int) -> list[SessionHours]:
    """Return the sessions that overlap a span of time; none if the span is empty."""
    return calendar.sessions(first, last) if last > first else []


def _grid_of(time: Nanoseconds) -> int:
    """Return the interval of quotes on a grid of whole seconds, nanoseconds; 0 for quotes at each change."""
    step = int(np.gcd.reduce(np.diff(time[:100_000]))) if len(time) > 1 else 0
    step = int(np.gcd(step, int(time[0])))
    return min(step, MINUTE) if step and step % SECOND == 0 else 0


def _day(item: SessionHours, edge: int, valid: Nanoseconds, quotes: Quotes, trades: Trades, largest: float) -> TapeDay | None:
    """Return one session without its edges and without trades above a size; None if it holds no quotes or no trades."""
    start, end = item.open + edge, item.close - edge
    rows = slice(*np.searchsorted(valid, (item.open, end)))
    bid, ask, time = quotes.bid[rows], quotes.ask[rows], valid[rows]
    good = (ask > bid) | (ask == bid)
    bid, ask, time = bid[good], ask[good], time[good]
    if not len(time):
        return None
    mid, half = 0.5 * (bid + ask), 0.5 * (ask - bid)
    start, end = max(start, int(time[0])), min(end, max(int(time[-1]), int(trades.time[-1])))
    chosen = slice(*np.searchsorted(trades.time, (start, end)))
    clean = ~trades.suspicious[chosen] & (trades.size[chosen] <= largest)
    when, price, size = trades.time[chosen][clean], trades.price[chosen][clean], trades.size[chosen][clean]
    before = np.searchsorted(time, when, side="left") - 1  # strictly before: the quote that the trade met
    before = np.maximum(before, 0)
    near = np.abs(price - mid[before]) <= np.maximum(FAR * half[before], 1e-3 * mid[before])
    when, price, size, before = when[near], price[near], size[near], before[near]
    if not len(when):
        return None
    given = trades.side[chosen][clean][near]
    side = np.where(given != 0, given, _signs(price, mid[before])).astype(np.int8)
    return TapeDay(item.date, start, end, time, mid, half, when, price, size, side, mid[before])


def _signs(price: Floats, mid: Floats) -> NDArray[np.int8]:
    """Return the sign of each trade by the quote rule, and by the tick rule where the trade is at the mid."""
    side = np.sign(price - mid)
    tick = np.sign(np.diff(price, prepend=price[:1]))
    last = np.maximum.accumulate(np.where(tick != 0.0, np.arange(len(tick)), 0))  # the last change of the price
    return np.asarray(np.where(side != 0.0, side, np.where(tick[last] != 0.0, tick[last], 1.0))).astype(np.int8)
