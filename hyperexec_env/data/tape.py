"""The tape of a market: trades with their signs beside the quotes before them, session by session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calendars import ALWAYS, Calendar, SessionHours, calendar_of
from .format import Format
from .tables import Book, Quotes, Trades, executions_among
from .tape_faults import Hole, LargePrint, check_clocks, hole_notes, holes_of, large_prints, print_notes
from .zones import DAY, MINUTE, SECOND, Nanoseconds

__all__ = ["Flow", "Tape", "TapeDay", "flow_of", "quotes_of_book", "tape_of", "tape_of_book", "trades_of_book"]

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
MOST_FAR: Final = 0.5
"""Share of prints off the market from which trades and quotes do not belong together. On public
tapes: at most 0.2 %."""
LEAST_INSIDE: Final = 0.5
"""Smallest plausible share of the trades within the hours. IBM and SPY with extended hours: 97 %."""
QUOTED: Final = 0.95
"""Share of the trades of a session before its last quote, below which the session ends with that quote."""
STUB, STUB_SPREADS = 0.05, 50.0
"""Half-spread, as a fraction of the mid and as a multiple of the median one, above both of which a quote is a stub."""


class TapeDay(NamedTuple):
    """One session of the tape without its first and last minute, or a part of it without holes in its quotes."""

    date: str
    start: int
    """Start of the span, nanoseconds in UTC; a session with holes in its quotes has a span on each side of a hole."""
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

    @property
    def dates(self) -> tuple[str, ...]:
        """Day of each session."""
        return tuple(dict.fromkeys(day.date for day in self.days))


class Flow(NamedTuple):
    """Moves of the mid and signed flow on a regular grid of time; arrays have one value per interval."""

    move: Floats
    """Change of the mid over an interval, fraction of the first mid of the day."""
    flow: Floats
    """Signed volume of an interval, fraction of the average daily volume."""
    day: NDArray[np.int64]
    """Index of the session."""
    seconds: float
    """Length of an interval."""


def tape_of(trades: Trades, quotes: Quotes, format: Format | None = None, adv: float | None = None) -> Tape:
    """Return the tape of trades and quotes.

    Quotes that are the last ones of intervals are valid from their ends, see :class:`~hyperexec_env.data.tables.Quotes`. Trades
    without a sign get one by the quote rule: above the mid before the trade is a buy, below it a sell, and at the mid the tick
    rule decides (Lee and Ready 1991, without their delay of five seconds, which has no reason for electronic quotes).

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
    files = tuple(dict.fromkeys((*trades.provenance.files, *quotes.provenance.files)))
    names = ", ".join(files)
    if not trades.size.any():
        raise ValueError(f"{names}: no trade has a size above 0; name the column of the size with --columns size=NAME")
    good, unused = usable_quotes(quotes)
    check_clocks(trades, quotes, quotes.valid_from[good], quotes.bid[good], quotes.ask[good], calendar)
    first, last = (pick(trades.time[at], quotes.valid_from[at]) for pick, at in ((max, 0), (min, -1)))
    hours = _shared(calendar, int(first), int(last))
    _check_hours(trades, hours, calendar, names)
    prints = large_prints(trades, hours)
    mean, largest = _volumes(trades, hours, prints, adv)
    edge = 0 if calendar.name == ALWAYS else AUCTION_MINUTES * MINUTE
    if adv is None and hours:
        _check_cover([(max(item.open, int(first)), min(item.close, int(last))) for item in hours], len(hours), hours, names)
    holes, silent = holes_of(quotes.valid_from[good], hours), holes_of(trades.time, hours)
    spans = [
        (item.date, opening, start, min(end, int(last) + 1))
        for at, item in enumerate(hours)
        for opening, start, end in _spans(item, edge, [hole for hole in holes if hole.session == at])
    ]
    pairs = [_day(*span, quotes, good, trades, largest) for span in spans]
    days = [day for day, _ in pairs if day is not None]
    kept = sum(len(day.side) for day in days)
    _check_days(trades, quotes, calendar, names, kept, sum(count for _, count in pairs))
    if adv is None:
        _check_cover([(day.start, day.end) for day in days], len({day.date for day in days}), hours, names)
    signed = "the data" if trades.has_side else "the quote rule, and the tick rule at the mid (Lee and Ready 1991)"
    choices = [*trades.provenance.choices, *quotes.provenance.choices, *unused]
    choices += hole_notes("quotes", holes, hours, calendar, "trades and moves within the holes are left out")
    choices += hole_notes("trades", silent, hours, calendar, "a halt, or trades that the data lack: the volume is then too low")
    choices += print_notes(prints, trades, hours, calendar)
    return Tape(
        tuple(days),
        mean,
        hours[0].minutes,
        signed,
        len(trades) - kept,
        files,
        tuple(dict.fromkeys(choices)),
    )


def tape_of_book(book: Book, format: Format | None = None, adv: float | None = None) -> Tape:
    """Return the tape of a limit order book: its executions (hidden ones included), and the best quotes after each event."""
    return tape_of(trades_of_book(book), quotes_of_book(book), format, adv)


def trades_of_book(book: Book) -> Trades:
    """Return the executions of a book, hidden ones included."""
    return executions_among(
        provenance=book.provenance,
        symbol=book.symbol,
        lines=book.lines,
        time=book.time,
        row=book.row,
        source=book.source,
        type=book.type,
        size=book.size,
        price=book.price,
        direction=book.direction,
    )


def quotes_of_book(book: Book) -> Quotes:
    """Return the best quotes after each event of a book."""
    return Quotes(
        provenance=book.provenance,
        symbol=book.symbol,
        lines=book.lines,
        time=book.time,
        row=book.row,
        source=book.source,
        bid=book.bid[:, 0],
        ask=book.ask[:, 0],
        bid_size=book.bid_size[:, 0],
        ask_size=book.ask_size[:, 0],
    )


def flow_of(tape: Tape, seconds: float) -> Flow:
    """Return moves of the mid and signed flow on a grid of time; a last interval that is not whole is left out."""
    parts: list[tuple[Floats, Floats]] = []
    for day in tape.days:
        step = round(seconds * SECOND)
        edges = day.start + step * np.arange((day.end - day.start) // step + 1)
        mids = day.mid[np.searchsorted(day.quote_time, edges, side="right") - 1]
        place = np.searchsorted(edges, day.trade_time, side="left") - 1  # at an edge: the interval that ends
        inside = (place >= 0) & (place < len(edges) - 1)
        count = len(edges) - 1
        signed = np.bincount(place[inside], (day.side * day.size)[inside], count) / tape.adv
        parts.append((np.diff(mids) / mids[0], signed))
    move, flow = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    day_index = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return Flow(move, flow, day_index, seconds)


def _shared(calendar: Calendar, first: int, last: int) -> list[SessionHours]:
    """Return the sessions that overlap a span of time; none if the span is empty."""
    return calendar.sessions(first, last) if last > first else []


def usable_quotes(quotes: Quotes) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which quotes are used, and a sentence on crossed quotes and on stubs.

    Raises:
        ValueError: No quote can be used.
    """
    uncrossed = quotes.ask >= quotes.bid  # False where one is missing
    crossed = int((quotes.bid > quotes.ask).sum())
    spread = np.where(uncrossed, (quotes.ask - quotes.bid) / (quotes.ask + quotes.bid), np.nan)
    usual = float(np.median(spread[uncrossed])) if uncrossed.any() else 0.0
    stub = uncrossed & (spread > max(STUB, STUB_SPREADS * usual))
    good = uncrossed & ~stub
    if not good.any() or crossed > len(quotes) / 2:
        raise ValueError(
            f"{', '.join(quotes.provenance.files)}: {crossed:,} of {len(quotes):,} quotes have a bid above their ask, and "
            f"{int((~uncrossed).sum()) - crossed:,} lack one of them; name the columns with --columns bid=NAME,ask=NAME"
        )
    stubs = f"stub quotes (half-spreads above {max(STUB, STUB_SPREADS * usual):.0%})"
    counts = ((crossed, "crossed quotes"), (int(stub.sum()), stubs))
    return good, [f"{count:,} {what} are not used" for count, what in counts if count]


def _check_hours(trades: Trades, hours: list[SessionHours], calendar: Calendar, names: str) -> None:
    """Raise ValueError if most trades lie outside the hours of their sessions."""
    if not hours or calendar.hours:
        return
    among = slice(*np.searchsorted(trades.time, (hours[0].open - DAY // 2, hours[-1].close + DAY // 2)))
    inside = sum(int(np.diff(np.searchsorted(trades.time[among], (item.open, item.close)))[0]) for item in hours)
    count = len(trades.time[among])
    if inside < LEAST_INSIDE * count:
        raise ValueError(
            f"{names}: {1.0 - inside / count:.0%} of the trades lie outside the hours of {calendar.name}; pass the time zone "
            "of the stamps with --tz, the market with --calendar or the hours with --hours"
        )


def _volumes(
    trades: Trades, hours: Sequence[SessionHours], prints: Sequence[LargePrint], adv: float | None
) -> tuple[float, float]:
    """Return the average daily volume, and the size above which a print is a block, shares.

    A print that holds most of a session counts in the volume if its price is in line, and never in the size of a block.
    """
    size = trades.size.copy() if prints else trades.size
    size[[item.row for item in prints if item.is_error]] = 0.0
    volume = [float(size[slice(*np.searchsorted(trades.time, (item.open, item.close)))].sum()) for item in hours]
    blocks = sum(float(size[item.row]) for item in prints)
    mean = float(np.mean(volume)) if adv is None and hours else adv or 0.0
    usual = mean - blocks / len(hours) if adv is None and hours else mean
    return mean, BLOCK_SHARE * usual


def _spans(item: SessionHours, edge: int, holes: Sequence[Hole]) -> list[tuple[int, int, int]]:
    """Return the spans of a session on both sides of the holes in its quotes: first quote, start and end without the edges."""
    opens = [item.open, *(hole.end for hole in holes)]
    ends = [*(hole.start for hole in holes), item.close]
    spans = [(start, max(start, item.open + edge), min(end, item.close - edge)) for start, end in zip(opens, ends, strict=True)]
    return [span for span in spans if span[2] > span[1]]


def _check_cover(spans: list[tuple[int, int]], sessions: int, hours: list[SessionHours], names: str) -> None:
    """Raise ValueError if spans of time cover too little of some sessions for the volume to be that of a day."""
    covered = sum(max(0, end - start) for start, end in spans) / (hours[0].minutes * MINUTE * sessions)
    if covered < COVERED:
        raise ValueError(f"{names}: the tape covers {covered:.1%} of its sessions; pass adv, the average daily volume (--adv)")


def _check_days(trades: Trades, quotes: Quotes, calendar: Calendar, names: str, kept: int, far: int) -> None:
    """Raise ValueError if no trade is kept, or if most trades are off the market."""
    if far > MOST_FAR * (far + kept):
        raise ValueError(
            f"{names}: {far / (far + kept):.0%} of the trades are more than {FAR:g} half-spreads away from the mid, "
            f"the first at {trades.price[0]:g}: are trades and quotes of one instrument and zone? Pass --symbol or --tz"
        )
    if not kept:
        raise ValueError(
            f"{names}: trades and quotes share no session of {calendar.name}: {_span_of(trades, calendar)} and "
            f"{_span_of(quotes, calendar)}; pass --calendar, --hours or --tz"
        )


def _span_of(table: Trades | Quotes, calendar: Calendar) -> str:
    """Return the first and the last time of a table by the clock of the market."""
    what, ends = type(table).__name__.lower(), (int(table.time[0]), int(table.time[-1]))
    first, last = (f"{day} {calendar.clock(time)}" for day, time in zip(table.days(calendar.zone), ends, strict=True))
    return f"{what} from {first} to {last}"


def _day(
    date: str,
    opening: int,
    start: int,
    end: int,
    quotes: Quotes,
    good: NDArray[np.bool_],
    trades: Trades,
    largest: float,
) -> tuple[TapeDay | None, int]:
    """Return one span of a session without trades above a size, and the number of trades off the market.

    The span is None if it holds no quotes or no trades. Its quotes are those from `opening` on; it ends with the last quote,
    which says nothing about the time after it.
    """
    valid = quotes.valid_from
    rows = slice(*np.searchsorted(valid, (opening, end)))
    bid, ask, time = quotes.bid[rows][good[rows]], quotes.ask[rows][good[rows]], valid[rows][good[rows]]
    if not len(time):
        return None, 0
    mid, half = 0.5 * (bid + ask), 0.5 * (ask - bid)
    start = max(start, int(time[0]))
    chosen = slice(*np.searchsorted(trades.time, (start, end)))
    quoted = int(np.searchsorted(trades.time[chosen], time[-1]))
    if quoted < QUOTED * len(trades.time[chosen]):  # the quotes end within the session
        end, chosen = int(time[-1]), slice(chosen.start, chosen.start + quoted)
    clean = ~trades.suspicious[chosen] & (trades.size[chosen] <= largest)
    when, price, size = trades.time[chosen][clean], trades.price[chosen][clean], trades.size[chosen][clean]
    before = np.searchsorted(time, when, side="left") - 1  # strictly before: the quote that the trade met
    before = np.maximum(before, 0)
    near = np.abs(price - mid[before]) <= np.maximum(FAR * half[before], 1e-3 * mid[before])
    far = int((~near).sum())
    when, price, size, before = when[near], price[near], size[near], before[near]
    if not len(when):
        return None, far
    given = trades.side[chosen][clean][near]
    side = np.where(given != 0, given, _signs(price, mid[before])).astype(np.int8)
    return TapeDay(date, start, end, time, mid, half, when, price, size, side, mid[before]), far


def _signs(price: Floats, mid: Floats) -> NDArray[np.int8]:
    """Return the sign of each trade by the quote rule, and by the tick rule where the trade is at the mid."""
    side = np.sign(price - mid)
    tick = np.sign(np.diff(price, prepend=price[:1]))
    last = np.maximum.accumulate(np.where(tick != 0.0, np.arange(len(tick)), 0))  # the last change of the price
    return np.asarray(np.where(side != 0.0, side, np.where(tick[last] != 0.0, tick[last], 1.0))).astype(np.int8)
