"""Sessions of bars: split bars by a trading calendar, check them, and lay the full sessions on one grid."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calendars import Calendar, SessionHours, calendar_of, session_index
from .days import CALENDAR_KINDS, DayBars, LeftOut
from .faults import check_bars, find_fault, find_stamp
from .format import Format
from .reader import read_bars
from .sources import Data
from .tables import Bars, Provenance
from .zones import DAY, MINUTE, Nanoseconds, local_of

__all__ = ["BarReport", "NoSessions", "Sessions", "read_sessions", "sessions_of"]

Floats = NDArray[np.float64]


class NoSessions(ValueError):
    """The bars hold no full session."""

    def __init__(self, message: str, left_out: tuple[LeftOut, ...]) -> None:
        super().__init__(message)
        self.left_out = left_out


@dataclass(frozen=True)
class BarReport:
    """Summary of the bars read; ``print`` shows it as text."""

    provenance: Provenance
    calendar: str
    zone: str
    stamp: str
    """Whether the times of the bars are their starts or their ends."""
    bar_minutes: int
    day_minutes: int
    """Minutes of trading of a full session."""
    used: int
    """Number of sessions used."""
    first: str
    last: str
    filled_bars: int
    """Bars without trades, in the used sessions, that the data leave out: they get the last price and zero volume."""
    outside_bars: int
    """Bars outside the hours of the calendar; they are not used."""
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = ()
    """Sentences on choices that were made for the user, and on what is unusual in the sessions used."""

    @property
    def files(self) -> tuple[str, ...]:
        """Files or types of frames."""
        return self.provenance.files

    def counts(self) -> dict[str, int]:
        """Return the number of sessions left out, by kind of reason."""
        return dict(Counter(item.kind for item in self.left_out))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "left_out": [item._asdict() for item in self.left_out], "left_out_counts": self.counts()}

    def __str__(self) -> str:
        """Return the report as text, with one line per session that is left out."""
        length = "daily bars" if self.bar_minutes == 1440 else f"{self.bar_minutes}-minute bars"
        return "\n".join(
            [
                str(self.provenance),
                f"{self.used} sessions of {length}, {self.first} to {self.last}, calendar {self.calendar} ({self.zone}), "
                f"{self.day_minutes} minutes a session, stamps at the {self.stamp} of a bar",
                f"{self.filled_bars:,} bars without trades filled, {self.outside_bars:,} bars outside the hours not used",
                *self.notes,
                *(f"left out ({item.kind}): {item}" for item in self.left_out),
            ]
        )


@dataclass(frozen=True, eq=False)
class Sessions:
    """Full sessions on one grid, in the order of their dates; arrays have shape (session, bar).

    Bar `b` of every session covers the minutes of trading from `edges[b]` to `edges[b + 1]`, counted from the open without the
    break. All bars last `bar_minutes`, except those that the open, the break or the close cuts: of 60-minute bars of New York,
    the last covers 360 to 390 where bars count from the open (15:30), and the first covers 0 to 30 where bars are aligned to
    the clock (09:30, then 10:00). The one bar of a daily session covers the whole session.
    """

    dates: tuple[str, ...]
    open: Floats
    """First price of each bar, currency per share."""
    high: Floats
    """Highest price of each bar, currency per share."""
    low: Floats
    """Lowest price of each bar, currency per share."""
    close: Floats
    """Last price of each bar, currency per share."""
    volume: Floats
    """Shares traded in each bar."""
    missing: NDArray[np.bool_]
    """Whether the data hold no such bar; it is filled with the last price and zero volume."""
    bar_minutes: int
    day_minutes: int
    has_volume: bool
    """Whether the data hold a volume; without one, `volume` is zero."""
    edges: Floats
    """Minutes of trading from the open to the start of each bar, and to the close at last; shape (bar + 1,)."""
    hours: tuple[SessionHours, ...]
    """Hours of each session."""
    calendar: Calendar
    report: BarReport


def read_sessions(data: Data, format: Format | None = None, *, lenient: bool = False) -> Sessions:
    """Read bars of any vendor and return their full sessions; see :func:`~hyperexec_env.data.reader.read_bars`.

    Half days, and the first and last session where the data begin or end within it, are left out and counted. Any other
    faulty session raises an error, or is left out and counted if `lenient`. Bars outside the hours are not used.

    Args:
        data: Paths or data frames, of one instrument and one length of bars.
        format: How to read what the data do not say themselves.
        lenient: Leave out and count faulty sessions instead of raising an error.

    Raises:
        ValueError: The data cannot be read, or are faulty; the message names file, line, value and the option that helps.
        MissingExtra: The extra `data` is not installed.
    """
    format = format or Format()
    return sessions_of(read_bars(data, format), format, lenient=lenient)


def sessions_of(bars: Bars, format: Format | None = None, *, lenient: bool = False) -> Sessions:
    """Return the full sessions of bars; see :func:`read_sessions` for the arguments and the errors."""
    format = format or Format()
    calendar = calendar_of(format.calendar, format.hours, format.tz)
    hours = _hours_of(bars, calendar)
    stamp, notes = find_stamp(bars, hours, calendar)
    start = bars.time - (bars.minutes * MINUTE if stamp == "end" and not bars.is_daily else 0)
    notes += check_bars(bars, start, hours, calendar)
    length = _usual_minutes(start, hours)
    days, outside = _split(bars, start, hours, length)
    kept: list[DayBars] = []
    left_out: list[LeftOut] = []
    for day in days:
        found = find_fault(bars, day, is_first=day is days[0], is_last=day is days[-1], calendar=calendar)
        if isinstance(found, LeftOut):
            left_out.append(found)
            if not lenient and found.kind not in CALENDAR_KINDS:
                raise ValueError(f"{found}; pass --lenient to leave such sessions out and count them")
        else:
            kept.append(day)
            notes += found
    if not kept:
        example = (
            f"; left out, for example: {left_out[0]}" if left_out else f"; all bars are outside the hours of {calendar.name}"
        )
        raise NoSessions(f"{', '.join(bars.provenance.files)}: no full session of {length} minutes{example}", tuple(left_out))
    grid, missing = _grid(kept)
    report = BarReport(
        bars.provenance,
        calendar.name,
        calendar.zone,
        stamp,
        bars.minutes,
        length,
        len(kept),
        kept[0].hours.date,
        kept[-1].hours.date,
        int(missing.sum()),
        outside,
        tuple(left_out),
        tuple(notes),
    )
    opening, high, low, closing, volume = grid
    dates = tuple(day.hours.date for day in kept)
    return Sessions(
        dates,
        opening,
        high,
        low,
        closing,
        volume,
        missing,
        bars.minutes,
        length,
        bars.has_volume,
        _edges(bars.minutes, length),
        tuple(day.hours for day in kept),
        calendar,
        report,
    )


def _hours_of(bars: Bars, calendar: Calendar) -> list[SessionHours]:
    """Return the sessions of the calendar that the bars may belong to."""
    margin = 2 * DAY if bars.is_daily else DAY
    return calendar.sessions(int(bars.time.min()) - margin, int(bars.time.max()) + margin)


def _usual_minutes(start: Nanoseconds, hours: list[SessionHours]) -> int:
    """Return the length of a full session: the most frequent one among the sessions that hold bars."""
    index = session_index(start, hours)
    used = np.unique(index[index >= 0])
    lengths = Counter(hours[at].minutes for at in used.tolist()) or Counter(item.minutes for item in hours)
    return lengths.most_common(1)[0][0] if lengths else 0


def _split(bars: Bars, start: Nanoseconds, hours: list[SessionHours], length: int) -> tuple[list[DayBars], int]:
    """Return the bars of each session in the order of the sessions, and the number of bars outside all sessions."""
    index = session_index(start, hours)
    if bars.is_daily:
        index = _daily_index(bars, hours)
    inside = np.flatnonzero(index >= 0)
    order = inside[np.argsort(index[inside], kind="stable")]
    ends = np.flatnonzero(np.diff(index[order])) + 1
    days = []
    for chosen in np.split(order, ends) if len(order) else []:
        item = hours[int(index[chosen[0]])]
        minute = np.zeros(len(chosen)) if bars.is_daily else item.minute_of(start[chosen])
        values = (bars.open[chosen], bars.high[chosen], bars.low[chosen], bars.close[chosen], bars.volume[chosen])
        days.append(DayBars(item, int(chosen[0]), minute, *values, bars.minutes, length))
    return days, len(start) - len(inside)


def _daily_index(bars: Bars, hours: list[SessionHours]) -> NDArray[np.int64]:
    """Return the index of the session of each daily bar, by its date; -1 for a day without a session."""
    zone = bars.provenance.zone.split(",")[0]
    days = local_of(bars.time, zone) // DAY
    known = {int(np.datetime64(item.date, "D").astype(np.int64)): at for at, item in enumerate(hours)}
    return np.array([known.get(day, -1) for day in days.tolist()])


def _edges(step: int, length: int) -> Floats:
    """Return the edges of the bars of a session, minutes of trading from the open, shape (bar + 1,)."""
    return np.append(np.arange(0.0, length, step), float(length))


def _grid(days: list[DayBars]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the values of each bar, shape (5, session, bar), and which bars the data leave out, shape (session, bar)."""
    step, length = days[0].step, days[0].length
    count = 1 if step == 1440 else -(-length // step)
    grid, missing = np.empty((5, len(days), count)), np.ones((len(days), count), dtype=bool)
    for at, day in enumerate(days):
        places = (day.minute // step).astype(np.int64)
        before = np.searchsorted(places, np.arange(count), side="right") - 1
        price = np.where(before >= 0, day.close[before], day.open[0])
        grid[:4, at], grid[4, at] = price, 0.0
        grid[:, at, places] = (day.open, day.high, day.low, day.close, day.volume)
        missing[at, places] = False
    return grid, missing
