"""Sessions of bars: split bars by a trading calendar, check them, and lay the full sessions on one grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calendars import Calendar, SessionHours, calendar_of
from .clock import check_clock, find_stamp, fitted_hours, outside_notes, sessions_around, settled_stamp
from .days import CALENDAR_KINDS, Grid, LeftOut, Overlaps, Placed, Regime, bar_edges, overlaps, place_bars, regimes_of
from .faults import find_faults
from .format import Format
from .gaps import check_closed, edge_notes
from .prices import check_instrument, check_nights
from .reader import read_bars
from .sources import Data, within_memory
from .tables import Bars, Provenance
from .views import listed
from .volumes import check_volumes, volume_notes
from .zones import DAY, MINUTE, date_of, local_of, offset_text, unfold

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


def read_sessions(data: Data, format: Format | None = None, *, lenient: bool = False, adv: float | None = None) -> Sessions:
    """Read bars of any vendor and return their full sessions; see :func:`~hyperexec_env.data.reader.read_bars`.

    Half days, and the first and last session where the data begin or end within it, are left out and counted. Any other
    faulty session raises an error, or is left out and counted if `lenient`. Bars outside the hours are not used. Bars that are
    given twice alike are used once.

    Args:
        data: Paths or data frames, of one instrument and one length of bars.
        format: How to read what the data do not say themselves.
        lenient: Leave out and count faulty sessions instead of raising an error.
        adv: Average daily volume, shares, that the data must agree with within a factor of 3; None if it is not known.

    Raises:
        ValueError: The data cannot be read, or are faulty; the message names file, line, value and the option that helps.
        MissingExtra: The extra `data` is not installed.
    """
    format = format or Format()
    bars = read_bars(data, format)
    with within_memory(bars.provenance.files):
        return sessions_of(bars, format, lenient=lenient, adv=adv)


def sessions_of(bars: Bars, format: Format | None = None, *, lenient: bool = False, adv: float | None = None) -> Sessions:
    """Return the full sessions of bars; see :func:`read_sessions` for the arguments and the errors."""
    format = format or Format()
    calendar = calendar_of(format.calendar, format.hours, format.tz)
    _check_lengths(bars)
    bars, notes = _in_order(bars)
    laid = _lay_out_days(bars, calendar) if bars.is_daily else _lay_out(bars, calendar, format)
    faulty = _row_faults(bars, laid, calendar)
    sound = np.array([item.date not in faulty for item in laid.placed.grid.hours], dtype=bool)
    grid = laid.placed.grid.of(sound)
    check_instrument(bars, laid.placed)
    check_closed(bars, grid, calendar)
    check_volumes(bars, grid, calendar, adv)
    faults, halts = find_faults(grid, calendar)
    for at, fault in faults.items():
        date = grid.hours[at].date
        faulty[date] = LeftOut(fault.kind, date, bars.where(grid.nearest_row(at, fault.bar)), fault.reason)
    left_out = sorted([*laid.left_out, *faulty.values()], key=lambda item: item.date)
    for item in left_out:
        if not lenient and item.kind not in CALENDAR_KINDS:
            raise ValueError(f"{item}; pass --lenient to leave such sessions out and count them")
    grid = grid.of(np.array([item.date not in faulty for item in grid.hours], dtype=bool))
    if not grid.hours:
        raise NoSessions(_none_full(bars, laid.length, left_out, calendar), tuple(left_out))
    notes += [*laid.notes, *check_nights(bars, grid), *halts, *volume_notes(grid, calendar), *edge_notes(grid, calendar)]
    return _sessions(bars, grid, calendar, laid, tuple(left_out), tuple(notes))


class _LaidOut(NamedTuple):
    """Bars on the grid of the full sessions, and the sessions that are not full."""

    placed: Placed
    cover: Overlaps
    hours: list[SessionHours]
    """Sessions to which `cover` refers."""
    stamp: str
    length: int
    """Minutes of trading of a full session."""
    outside: int
    """Number of bars outside all sessions."""
    left_out: list[LeftOut]
    notes: list[str]


def _check_lengths(bars: Bars) -> None:
    """Raise ValueError if the bars of one of several sources are longer or shorter than the others."""
    files = bars.provenance.files
    for source in range(len(files)) if len(files) > 1 else ():
        steps = np.diff(np.sort(bars.time[bars.source == source]))
        steps = steps[steps > 0] // MINUTE
        if len(steps) > 20 and steps.min() != bars.minutes and not bars.is_daily:
            other = f"those of {files[source - 1]} {bars.minutes}"
            raise ValueError(f"{files[source]}: its bars are {steps.min()} minutes long, {other}; give bars of one length")


def _in_order(bars: Bars) -> tuple[Bars, list[str]]:
    """Return bars with the second pass of a repeated hour of the wall clock set right, and a sentence on rows out of order."""
    zone, time = bars.provenance.zone, bars.time
    back = 0
    for source in np.unique(bars.source).tolist():
        chosen = np.flatnonzero(bars.source == source)
        part = time[chosen] if zone == "UTC" or "," in zone else unfold(time[chosen], zone)
        back += int((np.diff(part) < 0).sum())
        if (part != time[chosen]).any():
            time = time.copy() if time is bars.time else time
            time[chosen] = part
    notes = [f"the rows step back in time {back:,} times; they are taken in the order of their times"] if back else []
    return replace(bars, time=time), notes


def _lay_out(bars: Bars, calendar: Calendar, format: Format) -> _LaidOut:
    """Split bars into sessions and lay the full ones on a grid; see :func:`read_sessions` for the errors."""
    hours, cut = fitted_hours(bars, sessions_around(bars.time, calendar), calendar)
    found, why = find_stamp(bars, hours)
    start = bars.starts(found or bars.stamp)
    check_clock(bars, start, hours, calendar, format)
    stamp, notes = settled_stamp(bars, found, why, format)
    start = bars.starts(stamp)
    cover = overlaps(start, bars.minutes, hours)
    notes = [*notes, *cut, *outside_notes(bars, start, cover, hours, calendar)]
    return _on_grid(bars, cover, hours, calendar, stamp, notes)


def _lay_out_days(bars: Bars, calendar: Calendar) -> _LaidOut:
    """Lay daily bars on a grid of one bar a session, by their dates.

    Raises:
        ValueError: Many bars lie on days without a session.
    """
    hours = sessions_around(bars.time, calendar, 2 * DAY)
    zone = bars.provenance.zone.split(",")[0]
    if not (local_of(bars.time, calendar.zone) % DAY).any():  # the midnights of the market, given in UTC
        zone = calendar.zone
    days = local_of(bars.time, zone) // DAY
    known = {int(np.datetime64(item.date, "D").astype(np.int64)): at for at, item in enumerate(hours)}
    session = np.array([known.get(day, -1) for day in days.tolist()])
    length = np.array([item.minutes for item in hours] or [0], dtype=float)[session]
    strange = [date_of(day * DAY) for day in days[session < 0].tolist()]
    notes = []
    if strange:
        text = f"{len(strange)} daily bars lie on days without a session of {calendar.name}, such as {', '.join(strange[:3])}"
        if len(strange) > max(2, 0.1 * len(days)):
            raise ValueError(f"{', '.join(bars.provenance.files)}: {text}; is the calendar right? Pass another with --calendar")
        notes = [f"{text}; they are not used"]
    cover = Overlaps(session, np.zeros(len(session)), length)
    return _on_grid(bars, cover, hours, calendar, bars.stamp or "start", notes)


def _on_grid(
    bars: Bars, cover: Overlaps, hours: list[SessionHours], calendar: Calendar, stamp: str, notes: list[str]
) -> _LaidOut:
    """Lay the bars of the sessions of the usual length on a grid; the other sessions are left out."""
    inside = cover.session >= 0
    used, first = np.unique(np.where(inside, cover.session, len(hours)), return_index=True)
    used, first = used[used < len(hours)], first[: (used < len(hours)).sum()]
    regimes = regimes_of([hours[at] for at in used.tolist()] or hours)
    length = regimes[-1].minutes if regimes else 0
    lengths = {item.minutes for item in regimes}
    left_out = [
        _other_length(bars, hours[at], row, length, calendar, lengths)
        for at, row in zip(used.tolist(), first.tolist(), strict=True)
        if hours[at].minutes not in (lengths if bars.is_daily else {length})
    ]
    full = np.array([item.minutes in (lengths if bars.is_daily else {length}) for item in hours] or [False])
    notes = [*notes, *_regime_notes(regimes, bars.is_daily), *_empty_days(hours, used.tolist(), calendar)]
    cover_full = cover._replace(session=np.where(inside & full[cover.session], cover.session, -1))
    usual = next((item for item in hours if item.minutes == length), None)
    if usual is None or bars.is_daily:
        edges = np.array([0.0, float(max(length, 1))])
    else:
        edges = bar_edges(cover_full, bars.minutes, usual)
    placed = place_bars(bars, cover_full, edges, hours, stamp == "end" and not bars.is_daily)
    if placed.repeated:
        notes = [*notes, f"{placed.repeated:,} bars are given twice with the same values and are used once"]
    return _LaidOut(placed, cover, hours, stamp, length, int((~inside).sum()), left_out, notes)


def _regime_notes(regimes: Sequence[Regime], is_daily: bool) -> list[str]:
    """Return a sentence if the length of the sessions changes within the data."""
    if len(regimes) < 2:
        return []
    spans = [f"{item.minutes} minutes {item.first} to {item.last} ({item.sessions} sessions)" for item in regimes]
    last, before = regimes[-1], regimes[-2]
    text = f"the hours of the market change within the data: {listed(spans)}"
    if is_daily:
        return [f"{text}; the daily bars of all of them are used"]
    advice = f"--until {before.last}" if len(regimes) == 2 else f"--since {before.first} --until {before.last}"
    return [f"{text}; the sessions of {last.minutes} minutes are used: pass {advice} for those of {before.minutes}"]


def _empty_days(hours: Sequence[SessionHours], used: Sequence[int], calendar: Calendar) -> list[str]:
    """Return a sentence on sessions of the calendar between the first and the last one of the data that hold no bar."""
    empty = sorted(set(range(used[0], used[-1])) - set(used)) if used else []
    if not empty:
        return []
    days, span = listed([hours[at].date for at in empty]), f"{hours[used[0]].date} and {hours[used[-1]].date}"
    return [f"{len(empty):,} sessions of {calendar.name} between {span} hold no bars and do not count: {days}"]


def _other_length(bars: Bars, item: SessionHours, row: int, length: int, calendar: Calendar, lengths: set[int]) -> LeftOut:
    """Return a session that is shorter or longer than the others; `lengths` are those of times of several weeks."""
    offsets = {offset_text(time, calendar.zone) for time in (item.open, item.close)}
    kind = "clock change" if len(offsets) > 1 else "half day" if item.minutes < length else "longer day"
    kind = "other hours" if item.minutes in lengths else kind
    return LeftOut(kind, item.date, bars.where(row), f"a session of {item.minutes} minutes, others have {length}")


def _row_faults(bars: Bars, laid: _LaidOut, calendar: Calendar) -> dict[str, LeftOut]:
    """Return the first faulty row of each session by its date: off the grid, or contradicting another row."""
    found: dict[str, LeftOut] = {}
    start = bars.starts(laid.stamp)
    for kind, rows in (("off grid", laid.placed.off_grid), ("duplicate", laid.placed.contradicting)):
        for row in np.sort(rows).tolist():
            date, clock = laid.hours[int(laid.cover.session[row])].date, calendar.clock(int(start[row]))
            reason = f"the bar of {clock} is given twice, with other values"
            if kind == "off grid":
                reason = f"{clock} does not start a bar of {bars.minutes} minutes, as the other bars do"
            found.setdefault(date, LeftOut(kind, date, bars.where(row), reason))
    return found


def _none_full(bars: Bars, length: int, left_out: list[LeftOut], calendar: Calendar) -> str:
    """Return the message of an error: there is no full session."""
    why = f"left out, for example: {left_out[0]}" if left_out else f"all bars are outside the hours of {calendar.name}"
    return f"{', '.join(bars.provenance.files)}: no full session of {length} minutes; {why}"


def _sessions(
    bars: Bars, grid: Grid, calendar: Calendar, laid: _LaidOut, left_out: tuple[LeftOut, ...], notes: tuple[str, ...]
) -> Sessions:
    """Return the sessions of a grid with their report."""
    report = BarReport(
        provenance=bars.provenance,
        calendar=calendar.name,
        zone=calendar.zone,
        stamp=laid.stamp,
        bar_minutes=bars.minutes,
        day_minutes=laid.length,
        used=len(grid.hours),
        first=grid.hours[0].date,
        last=grid.hours[-1].date,
        filled_bars=int(grid.missing.sum()),
        outside_bars=laid.outside,
        left_out=left_out,
        notes=notes,
    )
    return Sessions(
        dates=tuple(item.date for item in grid.hours),
        open=grid.open,
        high=grid.high,
        low=grid.low,
        close=grid.close,
        volume=grid.volume,
        missing=grid.missing,
        bar_minutes=bars.minutes,
        day_minutes=laid.length,
        has_volume=grid.has_volume,
        edges=grid.edges,
        hours=grid.hours,
        calendar=calendar,
        report=report,
    )
