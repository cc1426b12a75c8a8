"""Lay the bars of full sessions on one grid, and the records of sessions that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calendars import Calendar, SessionHours
from .tables import Bars
from .zones import MINUTE, Nanoseconds

__all__ = [
    "CALENDAR_KINDS",
    "Grid",
    "LeftOut",
    "Overlaps",
    "Placed",
    "Regime",
    "bar_edges",
    "overlaps",
    "place_bars",
    "regimes_of",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

CALENDAR_KINDS: Final = ("half day", "longer day", "other hours", "clock change", "incomplete")
"""Kinds of sessions that are left out and counted without being errors."""


REGIME: Final = 20
"""Consecutive sessions of one length that make it the length of a time of its own, and not that of half days."""


class LeftOut(NamedTuple):
    """A session that is left out, and the reason."""

    kind: str
    """Kind of the reason, one of those of :mod:`hyperexec_env.data.faults` or :data:`CALENDAR_KINDS`."""
    date: str
    """Day of the session."""
    where: str
    """File and line of the fault."""
    reason: str

    def __str__(self) -> str:
        """Return file, line, date and reason."""
        return f"{self.where}: {self.date}: {self.reason}"


class Overlaps(NamedTuple):
    """The session that each bar overlaps, and the minutes of trading that it covers; arrays have shape (bar,)."""

    session: Integers
    """Index of the session; -1 if the bar lies outside the hours of all sessions."""
    low: Floats
    """First minute of trading, from the open."""
    high: Floats
    """Last minute of trading."""


class Grid(NamedTuple):
    """Bars of sessions of one length on one grid; arrays have shape (session, bar) if nothing else is said."""

    hours: tuple[SessionHours, ...]
    edges: Floats
    """Minutes of trading from the open to the start of each bar, and to the close at last; shape (bar + 1,)."""
    row: Integers
    """Index of each bar in the table; -1 if the data leave it out."""
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    """Values of each bar; a bar that the data leave out has the last price and zero volume."""
    has_volume: bool

    @property
    def missing(self) -> Flags:
        """Whether the data leave a bar out."""
        return self.row < 0

    @property
    def step(self) -> float:
        """Length of the longest bar, minutes of trading."""
        return float(np.diff(self.edges).max())

    def clock(self, session: int, bar: int, calendar: Calendar) -> str:
        """Return the time of day at which a bar starts."""
        return calendar.clock(self.hours[session].time_of(float(self.edges[bar])))

    def nearest_row(self, session: int, bar: int) -> int:
        """Return the index in the table of a bar, or of the present bar of the session that is nearest to it."""
        present = np.flatnonzero(self.row[session] >= 0)
        return int(self.row[session, present[np.abs(present - bar).argmin()]])

    def of(self, kept: Flags) -> Grid:
        """Return the grid of some sessions."""
        hours = tuple(item for item, keep in zip(self.hours, kept.tolist(), strict=True) if keep)
        values = {field: getattr(self, field)[kept] for field in ("row", "open", "high", "low", "close", "volume")}
        return self._replace(hours=hours, **values)


class Regime(NamedTuple):
    """Sessions of one length that follow each other, without the half days among them."""

    minutes: int
    first: str
    """Day of the first session."""
    last: str
    """Day of the last session."""
    sessions: int


def regimes_of(hours: Sequence[SessionHours]) -> list[Regime]:
    """Return the times in which sessions have one length, in order, where the length changes for good; else one time.

    Args:
        hours: Sessions with data, in order.
    """
    runs: list[list[SessionHours]] = []
    for item in hours:
        if not runs or runs[-1][-1].minutes != item.minutes:
            runs.append([])
        runs[-1].append(item)
    long = {run[0].minutes for run in runs if len(run) >= REGIME}
    most = Counter(item.minutes for item in hours).most_common(1)[0][0]
    found: list[Regime] = []
    for item in (item for item in hours if item.minutes in (long or {most})):
        if found and found[-1].minutes == item.minutes:
            found[-1] = found[-1]._replace(last=item.date, sessions=found[-1].sessions + 1)
        else:
            found.append(Regime(item.minutes, item.date, item.date, 1))
    return found


class Placed(NamedTuple):
    """Bars on a grid, and the rows that do not fit it."""

    grid: Grid
    off_grid: Integers
    """Rows that do not start where a bar of the grid starts."""
    contradicting: Integers
    """Rows that repeat a bar with other values."""
    repeated: int
    """Number of rows that repeat a bar with the same values; they are dropped."""


def overlaps(start: Nanoseconds, step: int, hours: Sequence[SessionHours]) -> Overlaps:
    """Return the session that each bar overlaps, and the minutes of trading that it covers.

    Args:
        start: Start of each bar, nanoseconds in UTC, shape (bar,).
        step: Length of a bar, minutes.
        hours: Sessions in order.
    """
    if not hours:
        return Overlaps(np.full(len(start), -1), np.zeros(len(start)), np.zeros(len(start)))
    fields = np.array([item[1:] for item in hours], dtype=np.int64)
    end = start + step * MINUTE
    at = np.maximum(np.searchsorted(fields[:, 0], end, side="left") - 1, 0)
    opens, closes, pause, resume = fields[at].T

    def minute(time: Nanoseconds) -> Floats:
        return np.asarray((time - opens - np.clip(time - pause, 0, resume - pause)) / MINUTE)

    low, high = minute(np.clip(start, opens, closes)), minute(np.clip(end, opens, closes))
    return Overlaps(np.where(high > low, at, -1), low, high)


def bar_edges(cover: Overlaps, step: int, usual: SessionHours) -> Floats:
    """Return the edges of the bars of a session, minutes of trading from the open, shape (bar + 1,).

    Each part of the session (before and after the break) begins a new row of bars. Where bars are aligned to the clock and the
    part is not, its first bar is shorter.

    Args:
        cover: What the bars of sessions like `usual` cover; other bars belong to no session.
        step: Length of a bar, minutes.
        usual: A session of the usual length.
    """
    length = float(usual.minutes)
    pause = float(usual.minute_of(usual.break_start))
    edges = [0.0]
    for first, last in [(0.0, pause), (pause, length)] if pause < length else [(0.0, length)]:
        inside = cover.low[(cover.session >= 0) & (cover.low > first) & (cover.low < last)]
        phases, counts = np.unique((inside - first) % step, return_counts=True)
        phase = float(phases[counts.argmax()]) if len(phases) else 0.0
        edges += [at for at in np.arange(first + (phase or step), last, step).tolist() if at < last] + [last]
    return np.array(edges)


def place_bars(bars: Bars, cover: Overlaps, edges: Floats, hours: Sequence[SessionHours], by_end: bool) -> Placed:
    """Lay bars on the grid of their sessions.

    Args:
        bars: The table.
        cover: What each bar covers.
        edges: Edges of the bars of a session.
        hours: Sessions in order, to which `cover` refers; sessions without bars are left out.
        by_end: Whether the time of a bar is its end, so that the end determines its place.
    """
    rows = np.flatnonzero(cover.session >= 0)
    edge, side = (cover.high[rows], "left") if by_end else (cover.low[rows], "right")
    bar = np.clip(np.searchsorted(edges, edge, side=side) - 1, 0, len(edges) - 2)  # type: ignore[call-overload]
    off = edges[bar + by_end] != edge
    used, session = np.unique(cover.session[rows], return_inverse=True)
    key = session * (len(edges) - 1) + bar
    order = np.argsort(np.where(off, np.iinfo(np.int64).max, key), kind="stable")[: int((~off).sum())]
    rows_in, key_in = rows[order], key[order]
    again = np.diff(key_in, prepend=-1) == 0
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order)))) if len(order) else np.zeros(0, np.int64)
    values = np.array([bars.open, bars.high, bars.low, bars.close, bars.volume])
    other = again & (values[:, rows_in] != values[:, rows_in[first]]).any(axis=0)
    row = np.full((len(used), len(edges) - 1), -1)
    row.ravel()[key_in[~again]] = rows_in[~again]
    grid = _filled(tuple(hours[at] for at in used.tolist()), edges, row, values, bars.has_volume)
    return Placed(grid, rows[off], rows_in[other], int((again & ~other).sum()))


def _filled(hours: tuple[SessionHours, ...], edges: Floats, row: Integers, values: Floats, has_volume: bool) -> Grid:
    """Return the grid with missing bars filled: the last price of the session, or its first if there is none."""
    places = np.arange(row.shape[1])
    last = np.maximum.accumulate(np.where(row >= 0, places, -1), axis=1)
    first = (row >= 0).argmax(axis=1)
    taken = np.take_along_axis(row, np.maximum(last, 0), axis=1)
    opening = values[0][row[np.arange(len(row)), first]][:, None]
    price = np.where(last >= 0, values[3][taken], opening)
    opens, high, low, close = (np.where(row >= 0, values[at][row], price) for at in range(4))
    return Grid(hours, edges, row, opens, high, low, close, np.where(row >= 0, values[4][row], 0.0), has_volume)
