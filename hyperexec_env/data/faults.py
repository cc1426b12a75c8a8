"""Faults of bars: of the data as a whole (wrong zone, wrong stamp, running totals ...) and of single sessions.

A fault of the data as a whole raises an error that names the option that helps. A fault of a session leaves the session out.
What is unusual but real (a halt, a block print) is kept and noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from .calendars import Calendar, SessionHours
from .days import DayBars, LeftOut
from .tables import Bars
from .zones import Nanoseconds

__all__ = ["check_bars", "find_fault", "find_stamp"]

MAX_MISSING_MINUTES: Final = 10
"""Minutes at the ends of a session that may be missing, in the first and the last session of the data."""
MAX_BAR_SHARE: Final = {1: 0.10, 5: 0.20}
"""Largest plausible share of the daily volume in one bar, by bar length in minutes; more suggests a cumulative daily total."""
EDGE_MINUTES: Final = 5
"""First and last minutes of the session, which hold the auctions; any volume is plausible there."""
MOST_MISSING: Final = 10
"""Largest number of missing minutes of a session."""


def find_stamp(bars: Bars, hours: Sequence[SessionHours], calendar: Calendar) -> tuple[str, list[str]]:
    """Return whether the times of bars are their starts or their ends, and a sentence if that was assumed.

    With stamps at the start, sessions have a bar at the open and none at the close; with stamps at the end, the reverse.

    Raises:
        ValueError: The given stamp contradicts the bars.
    """
    if bars.is_daily:
        return bars.stamp or "start", []
    opens = np.array([item.open for item in hours])
    closes = np.array([item.close for item in hours])
    at_open, at_close = (int(np.isin(edge, bars.time).sum()) for edge in (opens, closes))
    found = "start" if at_open > 2 * at_close else "end" if at_close > 2 * at_open else ""
    if bars.stamp and found and found != bars.stamp and not min(at_open, at_close):
        without, edge = ("open", "close") if found == "end" else ("close", "open")
        raise ValueError(
            f"{', '.join(bars.provenance.files)}: no session has a bar stamped at the {without} and {max(at_open, at_close)} "
            f"have one at the {edge}; are the stamps the {found} of the bars? Then pass --stamp {found}"
        )
    if bars.stamp:
        return bars.stamp, []
    if found:
        return found, []
    return "start", ["the times of the bars are taken to be their starts; pass --stamp end if they are not"]


def check_bars(bars: Bars, start: Nanoseconds, hours: Sequence[SessionHours], calendar: Calendar) -> list[str]:
    """Check bars as a whole; return sentences on what is unusual.

    Raises:
        ValueError: The data as a whole are faulty; the message says how, and which option helps.
    """
    return []


def find_fault(bars: Bars, day: DayBars, *, is_first: bool, is_last: bool, calendar: Calendar) -> LeftOut | list[str]:
    """Return the first fault of a session; if there is none, sentences on what is unusual in it."""
    checks = (_order_fault, _hours_fault, _volume_fault, _gap_fault)
    for check in checks:
        found = check(bars, day, is_first or is_last, calendar)
        if found:
            kind, at, reason = found
            return LeftOut(kind, day.hours.date, bars.where(day.first + at), reason)
    return []


_Found = tuple[str, int, str] | None
"""Kind of a fault, index of its bar in the session, and reason; None if there is no fault."""


def _order_fault(bars: Bars, day: DayBars, edge: bool, calendar: Calendar) -> _Found:
    """Return the first bar that is out of order, a duplicate, or off the grid."""
    for at in np.flatnonzero(np.diff(day.minute) <= 0.0).tolist():
        clock = day.clock(at + 1, calendar)
        if day.minute[at + 1] == day.minute[at]:
            return "duplicate", at + 1, f"the bar of {clock} is there twice"
        return "disorder", at + 1, f"{clock} comes after {day.clock(at, calendar)}; bars must ascend in time"
    off = np.flatnonzero(day.minute % day.step != 0.0)
    if len(off):
        return "disorder", int(off[0]), f"{day.clock(int(off[0]), calendar)} does not start a bar of {day.step} minutes"
    return None


def _hours_fault(bars: Bars, day: DayBars, edge: bool, calendar: Calendar) -> _Found:
    """Return that the session is a half day, or that the data begin or end within it."""
    if day.hours.minutes != day.length:
        return "half day", 0, f"a session of {day.hours.minutes} minutes, others have {day.length}"
    if edge and day.step < 1440:
        if day.minute[-1] + day.step < day.length - MAX_MISSING_MINUTES:
            return "incomplete", len(day.minute) - 1, f"the last bar starts at {day.clock(len(day.minute) - 1, calendar)}"
        if day.minute[0] > MAX_MISSING_MINUTES:
            return "incomplete", 0, f"the first bar starts at {day.clock(0, calendar)}"
    return None


def _volume_fault(bars: Bars, day: DayBars, edge: bool, calendar: Calendar) -> _Found:
    """Return a bar whose volume is contaminated by running totals of the day."""
    if not bars.has_volume or day.step not in MAX_BAR_SHARE:
        return None
    inside = (day.minute >= EDGE_MINUTES) & (day.minute < day.length - EDGE_MINUTES)
    most, total = MAX_BAR_SHARE[day.step], float(day.volume.sum())
    wrong = inside & ((day.volume == 0.0) | (day.volume > most * total))
    if not wrong.any():
        return None
    at = int(wrong.argmax())
    held = f"{day.volume[at] / total:.1%} of the day (at most {most:.0%})" if day.volume[at] else "0"
    return "contaminated", at, f"the volume of {day.clock(at, calendar)} is {held}, as in a feed that mixes in running totals"


def _gap_fault(bars: Bars, day: DayBars, edge: bool, calendar: Calendar) -> _Found:
    """Return a gap."""
    if day.step == 1440:
        return None
    gaps = np.diff(day.minute, prepend=-day.step, append=day.length) - day.step
    if gaps.sum() <= MOST_MISSING:
        return None
    at = min(int(gaps.argmax()), len(day.minute) - 1)
    return "gap", at, f"{gaps.sum():.0f} minutes are missing, {gaps.max():.0f} of them next to {day.clock(at, calendar)}"
