"""The market of one instrument for the analysis of executions: its mid as a path, its trading as a flow, and its price ranges.

It is made from bars, trades or quotes. Times are nanoseconds in UTC; every method takes and returns arrays of any shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.calendars import Calendar, SessionHours, session_index
from hyperexec_env.data.tables import Bars, Quotes, Trades
from hyperexec_env.data.zones import DAY, MINUTE, SECOND, Nanoseconds, local_of

__all__ = ["Grid", "Instrument", "Path", "Ranges", "Traded", "instrument_of"]

Floats = NDArray[np.float64]

MOST_GAP: Final = 30 * MINUTE
"""Longest gap in the data that the last price fills outside the hours, and at the end of the data."""


class Grid:
    """The sessions of a market, and their pieces before and after a break."""

    def __init__(self, calendar: Calendar, first: int, last: int) -> None:
        """Take the sessions of a span of time, with a margin of some days."""
        self.calendar = calendar
        self.sessions: list[SessionHours] = calendar.sessions(first - 5 * DAY, last + 5 * DAY)
        if not self.sessions:
            raise ValueError(f"calendar {calendar.name} has no session on the days of the data")
        pieces = [
            piece
            for item in self.sessions
            for piece in ((item.open, item.break_start), (item.break_end, item.close))
            if piece[1] > piece[0]
        ]
        self.opens, self.closes = np.array(pieces).T
        self.session_opens = np.array([item.open for item in self.sessions])
        self.session_closes = np.array([item.close for item in self.sessions])
        self._dates = {int(np.datetime64(item.date, "D").astype(np.int64)): at for at, item in enumerate(self.sessions)}

    def piece(self, time: Nanoseconds) -> NDArray[np.int64]:
        """Return the index of the piece that holds each time (its close belongs to the next one); -1 outside the hours."""
        index = np.searchsorted(self.opens, time, side="right") - 1
        return np.asarray(np.where((index >= 0) & (time < self.closes[np.maximum(index, 0)]), index, -1))

    def session(self, time: Nanoseconds) -> NDArray[np.int64]:
        """Return the index of the session of each time; outside the hours, that of the local day; -1 if it has none."""
        index = session_index(time, self.sessions)
        days = local_of(time, self.calendar.zone) // DAY
        outside = np.flatnonzero(index < 0)
        index[outside] = [self._dates.get(int(day), -1) for day in days[outside]]
        return index


class Path(NamedTuple):
    """The mid over time: segments in ascending order, linear within each; arrays have shape (segment,)."""

    start: Nanoseconds
    end: Nanoseconds
    first: Floats
    """Mid at the start of a segment, currency per share."""
    last: Floats
    """Mid at its end."""
    missing: NDArray[np.bool_]
    """Whether the data hold no bar there; the segment repeats the last price."""
    area: Floats
    """Integral of the mid, less the mid of the first segment, from the beginning to each start, currency x seconds."""
    seconds: Floats
    """Seconds of the segments before each start."""
    resolution: int
    """Time that the data resolve, nanoseconds: the length of bars, the unit of the stamps of events."""

    def segment(self, time: Nanoseconds, before: bool = False) -> NDArray[np.int64]:
        """Return the segment of each time; with `before`, the one just before an event at that time."""
        return np.asarray(np.maximum(np.searchsorted(self.start, time, side="left" if before else "right") - 1, 0))

    def held(self, time: Nanoseconds) -> NDArray[np.bool_]:
        """Return whether a segment holds each time."""
        return np.asarray((time >= self.start[0]) & (time <= self.end[self.segment(time)]))

    def mid(self, time: Nanoseconds, before: bool = False) -> Floats:
        """Return the mid at each time; after the end of a segment, its last value until the next one starts.

        Args:
            time: Times.
            before: Leave out events at exactly these times (quotes and trades that a fill may have caused).
        """
        at = self.segment(time, before)
        length = np.maximum(self.end[at] - self.start[at], 1)
        part = np.clip((time - self.start[at]) / length, 0.0, 1.0)
        return np.asarray(self.first[at] + part * (self.last[at] - self.first[at]))

    def _sums(self, time: Nanoseconds) -> tuple[Floats, Floats]:
        """Return area and seconds up to each time."""
        at = self.segment(time)
        span = np.clip(time - self.start[at], 0, self.end[at] - self.start[at]) / SECOND
        mean = 0.5 * (self.first[at] + self.mid(np.minimum(np.maximum(time, self.start[at]), self.end[at]))) - self.first[0]
        return self.area[at] + span * mean, self.seconds[at] + span

    def elapsed(self, start: Nanoseconds, end: Nanoseconds) -> Floats:
        """Return the seconds of trading time between two times: those within segments."""
        return np.asarray(self._sums(end)[1] - self._sums(start)[1])

    def twap(self, start: Nanoseconds, end: Nanoseconds) -> Floats:
        """Return the time-weighted mean of the mid over trading time; the mid where start and end are one."""
        (area, seconds), (area0, seconds0) = self._sums(end), self._sums(start)
        span = seconds - seconds0
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(span > 0.0, self.first[0] + (area - area0) / span, self.mid(end)))

    def lacking(self, start: Nanoseconds, end: Nanoseconds) -> Floats:
        """Return the share of the trading time between two times for which the data hold no bar."""
        sums = np.concatenate([[0.0], np.cumsum(np.where(self.missing, (self.end - self.start) / SECOND, 0.0))])

        def until(time: Nanoseconds) -> Floats:
            at = self.segment(time)
            part = np.clip(time - self.start[at], 0, self.end[at] - self.start[at]) / SECOND
            return np.asarray(sums[at] + np.where(self.missing[at], part, 0.0))

        with np.errstate(invalid="ignore", divide="ignore"):
            share = (until(end) - until(start)) / self.elapsed(start, end)
        return np.asarray(np.nan_to_num(share))


def make_path(
    start: Nanoseconds, end: Nanoseconds, first: Floats, last: Floats, grid: Grid, resolution: int, *, bars: bool
) -> Path:
    """Return a path from segments (or events, whose end is their start); gaps within the hours repeat the last price."""
    piece = grid.piece(start)
    close = np.where(piece >= 0, grid.closes[np.maximum(piece, 0)], end)
    end = np.minimum(end, np.maximum(close, start))
    gap = (end[:-1] < start[1:]) & (((piece[:-1] == piece[1:]) & (piece[:-1] >= 0)) | (start[1:] - end[:-1] <= MOST_GAP))
    changes = piece[1:] != piece[:-1]
    opening = np.flatnonzero((piece >= 0) & np.concatenate([[True], changes]))
    ending = np.flatnonzero((piece >= 0) & np.concatenate([changes, [True]]))
    before = np.concatenate([[np.iinfo(np.int64).min], end[:-1]])[opening]
    lead = np.maximum(grid.opens[piece[opening]], before)
    after = np.concatenate([start[1:], [np.iinfo(np.int64).max]])[ending]
    tail = np.minimum(grid.closes[piece[ending]], after)
    ends_early = (ending == len(start) - 1) & (tail - end[ending] > MOST_GAP)
    led, tailed = lead < start[opening], (tail > end[ending]) & ~ends_early
    before_gap = np.flatnonzero(gap)
    before_gap = before_gap[~np.isin(before_gap, np.concatenate([ending[tailed], opening[led] - 1]))]
    parts = [
        (start, end, first, last, np.zeros(len(start), bool)),
        _flat(end[before_gap], start[before_gap + 1], last[before_gap]),
        _flat(lead[led], start[opening][led], first[opening][led]),
        _flat(end[ending][tailed], tail[tailed], last[ending][tailed]),
    ]
    columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
    order = np.lexsort([columns[1], columns[0]])
    starts, ends, firsts, lasts, missing = (values[order] for values in columns)
    seconds = (ends - starts) / SECOND
    area = seconds * (0.5 * (firsts + lasts) - firsts[0])
    return Path(
        starts,
        ends,
        firsts,
        lasts,
        missing & bars,
        np.concatenate([[0.0], np.cumsum(area)[:-1]]),
        np.concatenate([[0.0], np.cumsum(seconds)[:-1]]),
        resolution,
    )


def _flat(start: Nanoseconds, end: Nanoseconds, value: Floats) -> tuple[Any, ...]:
    """Return segments of one price."""
    return start, end, value, value, np.ones(len(start), bool)


class Traded(NamedTuple):
    """What the market traded: volume and notional up to each knot; arrays have shape (knot,), times ascend."""

    time: Nanoseconds
    volume: Floats
    """Shares up to and including each knot; the first is 0."""
    notional: Floats
    """Currency up to and including each knot."""
    is_linear: bool
    """Whether volume grows between knots (bars); otherwise it jumps at them (trades)."""

    def _volume(self, time: Nanoseconds, side: Any) -> Floats:
        if not self.is_linear:
            return np.asarray(self.volume[np.searchsorted(self.time[1:], time, side=side)])
        return np.asarray(np.interp((time - self.time[0]) / SECOND, (self.time - self.time[0]) / SECOND, self.volume))

    def between(self, start: Nanoseconds, end: Nanoseconds) -> tuple[Floats, Floats]:
        """Return shares and currency traded between two times, both included."""
        volume0, volume1 = self._volume(start, "left"), self._volume(end, "right")
        return volume1 - volume0, self._notional(volume1) - self._notional(volume0)

    def price_of_next(self, start: Nanoseconds, shares: Floats, limit: Nanoseconds) -> Floats:
        """Return the average price of the next shares that the market trades; NaN if it does not trade them by the limit."""
        volume0 = self._volume(start, "left")
        enough = volume0 + shares <= self._volume(limit, "right") * (1.0 + 1e-12)
        with np.errstate(invalid="ignore", divide="ignore"):
            price = (self._notional(volume0 + shares) - self._notional(volume0)) / shares
        return np.asarray(np.where(enough, price, np.nan))

    def _notional(self, volume: Floats) -> Floats:
        return np.asarray(np.interp(volume, self.volume, self.notional))


class Ranges(NamedTuple):
    """Lowest and highest price of successive intervals; arrays have shape (interval,)."""

    start: Nanoseconds
    end: Nanoseconds
    low: Floats
    high: Floats

    def excess(self, time: Nanoseconds, price: Floats) -> Floats:
        """Return how far each price lies outside the range of its interval, as a fraction of the price; NaN outside the data.

        At the edge of two intervals the nearer range counts.
        """
        result = np.full(np.shape(time), np.nan)
        for found in (np.searchsorted(self.start, time, side="right"), np.searchsorted(self.start, time, side="left")):
            at = np.maximum(found - 1, 0)
            inside = (time >= self.start[at]) & (time <= self.end[at])
            beyond = np.maximum(np.maximum(self.low[at] - price, price - self.high[at]), 0.0) / price
            result = np.where(inside, np.fmin(result, beyond), result)
        return result


@dataclass(frozen=True, eq=False)
class Instrument:
    """The market of one instrument."""

    symbol: str
    grid: Grid
    path: Path
    flow: Traded | None
    """None if the data hold no volume."""
    quotes: Path | None
    """Mid of the quotes; None without quotes."""
    half_spread: tuple[Nanoseconds, Floats] | None
    """Times and quoted half-spreads, currency per share; None without quotes."""
    ranges: Ranges
    bar: int
    """Length of the bars that the path interpolates, nanoseconds; 0 for trades and quotes."""
    stamp: str
    """Whether the times of the bars are their starts or their ends; "" without bars."""
    source: str
    """Sentence on where mid and volume come from."""
    notes: tuple[str, ...] = ()


def instrument_of(
    symbol: str,
    calendar: Calendar,
    bars: tuple[Bars, str] | None,
    trades: Trades | None,
    quotes: Quotes | None,
    notes: Sequence[str] = (),
) -> Instrument:
    """Return the instrument of an instrument from one kind of data or several.

    The mid is that of the quotes; without quotes, interpolated between open and close of the bars; without bars, the price of
    the last trade. The volume is that of the trades; without trades, that of the bars.

    Args:
        symbol: Name of the instrument.
        calendar: Sessions of its market.
        bars: Bars, and whether their times are their starts or their ends.
        trades: Trades.
        quotes: Best bids and offers.
        notes: Sentences on how the data were read.
    """
    tables = [item for item in (bars[0] if bars else None, trades, quotes) if item is not None]
    grid = Grid(calendar, min(int(item.time[0]) for item in tables), max(int(item.time[-1]) for item in tables))
    cut = _bar_columns(*bars) if bars else None
    paths = [
        ("the mid is that of the quotes", _quote_path(quotes, grid) if quotes else None),
        (
            "the mid is interpolated between open and close of each bar",
            _bar_path(cut, grid, bars[0].minutes * MINUTE) if cut and bars else None,
        ),
        ("the mid is the price of the last trade", _trade_path(trades, grid) if trades else None),
    ]
    text, path = next((name, item) for name, item in paths if item is not None)
    flow = _trade_flow(trades) if trades else _bar_flow(cut) if cut and bars and bars[0].has_volume else None
    volume = "prices of trades" if trades else "the typical price (high + low + close) / 3 of each bar" if flow else ""
    ranges = _bar_ranges(cut) if cut else _event_ranges(trades, quotes)
    spread = None if quotes is None else (quotes.valid_from, 0.5 * (quotes.ask - quotes.bid))
    return Instrument(
        symbol,
        grid,
        path,
        flow,
        paths[0][1],
        spread,
        ranges,
        bars[0].minutes * MINUTE if bars and quotes is None else 0,
        bars[1] if bars else "",
        text + (f", market VWAP uses {volume}" if volume else ", the data hold no volume"),
        tuple(notes),
    )


def _bar_columns(bars: Bars, stamp: str) -> tuple[NDArray[Any], ...]:
    """Return start, end, open, close, high, low and volume of bars in ascending order, each start once."""
    length = bars.minutes * MINUTE
    start, chosen = np.unique(bars.starts(stamp), return_index=True)
    end = np.minimum(start + length, np.concatenate([start[1:], start[-1:] + length]))
    return (start, end, *(values[chosen] for values in (bars.open, bars.close, bars.high, bars.low, bars.volume)))


def _bar_path(cut: tuple[NDArray[Any], ...], grid: Grid, length: int) -> Path:
    start, end, first, last, *_ = cut
    return make_path(start, end, first, last, grid, length, bars=True)


def _bar_flow(cut: tuple[NDArray[Any], ...]) -> Traded:
    start, end, _, close, high, low, volume = cut
    sums = np.cumsum(volume), np.cumsum(volume * (high + low + close) / 3.0)
    time = np.stack([start, end], axis=1).ravel()
    knots = [np.stack([np.concatenate([[0.0], values[:-1]]), values], axis=1).ravel() for values in sums]
    return Traded(time, knots[0], knots[1], True)


def _bar_ranges(cut: tuple[NDArray[Any], ...]) -> Ranges:
    start, end, _, _, high, low, _ = cut
    return Ranges(start, end, low, high)


def _trade_path(trades: Trades, grid: Grid) -> Path:
    good = ~trades.suspicious
    time, price = trades.time[good], trades.price[good]
    return make_path(time, time, price, price, grid, _time_unit(trades.time), bars=False)


def _quote_path(quotes: Quotes, grid: Grid) -> Path:
    mid = quotes.mid
    good = np.isfinite(mid)
    if not good.any():
        raise ValueError(f"{', '.join(quotes.provenance.files)}: no row holds both a bid and a higher ask")
    time, mid = quotes.valid_from[good], mid[good]
    return make_path(time, time, mid, mid, grid, _time_unit(quotes.time), bars=False)


def _trade_flow(trades: Trades) -> Traded:
    good = ~trades.suspicious
    time, price, size = trades.time[good], trades.price[good], trades.size[good]
    volume, notional = (np.concatenate([[0.0], np.cumsum(values)]) for values in (size, size * price))
    return Traded(np.concatenate([time[:1], time]), volume, notional, False)


def _event_ranges(trades: Trades | None, quotes: Quotes | None) -> Ranges:
    """Return the ranges of minutes: of the trades, or from the bid to the ask of the quotes."""
    if trades is not None:
        time, low, high = trades.time, trades.price, trades.price
    else:
        assert quotes is not None  # noqa: S101 - an instrument has data
        good = np.isfinite(quotes.mid)
        time, low, high = quotes.valid_from[good], quotes.bid[good], quotes.ask[good]
    minute = time // MINUTE
    first = np.concatenate([[0], np.flatnonzero(np.diff(minute)) + 1])
    before = np.maximum(first - 1, 0)  # the state at the beginning of a minute is that of the event before
    lows = np.minimum(np.minimum.reduceat(low, first), low[before])
    highs = np.maximum(np.maximum.reduceat(high, first), high[before])
    start = minute[first] * MINUTE
    return Ranges(start, start + MINUTE, lows, highs)


def _time_unit(time: Nanoseconds) -> int:
    """Return the unit of stamps: a minute, a second, a millisecond, or nanoseconds."""
    return next((unit for unit in (MINUTE, SECOND, SECOND // 1000) if not (time % unit).any()), 1)
