"""Gaps of sessions: quiet minutes beyond those that the share has, halts, and the begin and end of the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from .calendars import ALWAYS, WEEKDAYS, Calendar
from .days import Flags, Floats, Grid
from .tables import Bars
from .views import EDGE_MINUTES, Fault, View, runs_of

__all__ = ["check_closed", "edge_notes", "find_gaps"]

MOST_MISSING: Final = 10
"""Minutes without trades that any session may have; thin shares may have more, see :data:`GAP_FACTOR`."""
GAP_FACTOR: Final = 4.0
"""Quiet minutes of a session, as a multiple of the usual number for this share, from which they are a gap. Clean files: at
most 2 quiet minutes."""
QUIET_ODDS: Final = 15.0
"""Minus the log of the probability of quiet minutes by chance, below which they are no gap: thin shares trade in few bars."""
NEARBY: Final = 6
"""Bars on both sides of a bar whose trades in the other sessions give the chance that it is quiet."""
REOPENING: Final = 3.0
"""Volume of the bar after a halt, as a multiple of the session's median: trading reopens with an auction, a gap in the data
ends with an ordinary bar."""
LONGEST_HALT: Final = 0.5
"""Largest share of a session that a halt may take; beyond it the session says little about a day."""


CLOSED: Final = 0.9
"""Share of the sessions without a bar at some minutes, at which the market is closed if bars usually trade at other ones."""


def check_closed(bars: Bars, grid: Grid, calendar: Calendar) -> None:
    """Raise ValueError if most sessions lack the same bars, and few others: the hours are not those of the calendar."""
    if len(grid.hours) < 3 or grid.row.shape[1] == 1:
        return
    absent = (grid.row < 0).mean(axis=0)
    closed = absent >= CLOSED
    if not 0 < closed.sum() < len(closed) or np.median(absent[~closed]) > 0.5:
        return
    runs = runs_of(closed[None, :], np.diff(grid.edges))[0]
    end = int(runs.argmax())
    if runs[end] <= MOST_MISSING:
        return
    item = grid.hours[-1]
    first, last = (item.time_of(float(minute)) for minute in (grid.edges[end + 1] - runs[end], grid.edges[end + 1]))
    opening, start, stop, closing = (calendar.clock(time) for time in (item.open, first, last, item.close))
    advice = "pass other --hours" if calendar.hours else "pass another --calendar"
    if calendar.name == WEEKDAYS and (start, stop) in (("21:00", "22:00"), ("22:00", "23:00")):  # the pause of CME in UTC
        advice += ", such as CME"
    if not calendar.hours and calendar.name not in (ALWAYS, WEEKDAYS) and (end + 2 == len(grid.edges) or first == item.open):
        advice += f", or --hours {stop if first == item.open else opening}-{closing if first == item.open else start}"
    raise ValueError(
        f"{', '.join(bars.provenance.files)}: hardly any session of {calendar.name} holds bars from {start} to {stop}; "
        f"the data have other hours: {advice}"
    )


def edge_notes(grid: Grid, calendar: Calendar) -> list[str]:
    """Return a sentence if hardly any session holds the first or the last bars, too few of them to refuse the hours."""
    absent = (grid.row < 0).mean(axis=0) >= CLOSED
    if len(grid.hours) < 3 or len(absent) == 1 or absent.all() or np.median((grid.row < 0).mean(axis=0)) > 0.5:
        return []
    first, last = int(absent.argmin()), len(absent) - int(absent[::-1].argmin())
    item, notes = grid.hours[-1], []
    for start, end in ((0, first), (last, len(absent))):
        if end > start:
            span = "-".join(calendar.clock(item.time_of(float(grid.edges[at]))) for at in (start, end))
            notes.append(f"hardly any session holds bars of {span}: are the times of the bars shifted?")
    return notes


def find_gaps(view: View, halts: list[tuple[int, str]]) -> Iterator[Fault]:
    """Find gaps: more quiet minutes than this share has, unless trading reopens after them; append halts to `halts`."""
    grid = view.grid
    if grid.volume.shape[1] == 1:
        return
    quiet = grid.row < 0
    if grid.has_volume:
        quiet = quiet | ((grid.volume == 0.0) & (grid.high == grid.low))
    runs = runs_of(quiet, view.minutes)
    odd_run, odd_day = _odds(quiet)
    longest, total = runs.max(axis=1), np.where(quiet, view.minutes, 0.0).sum(axis=1)
    usual, usual_total = _usual_quiet(quiet, runs)
    most = max(MOST_MISSING, GAP_FACTOR * usual)
    most_total = max(most, GAP_FACTOR * usual_total)
    wrong = ((longest > most) & (odd_run > QUIET_ODDS)) | ((total > most_total) & (odd_day > QUIET_ODDS))
    for session in np.flatnonzero(wrong).tolist():
        stops = _stops(quiet[session], runs[session])
        halted = {end: width for end, width in stops.items() if width >= EDGE_MINUTES and _reopens(view, session, end)}
        gaps = {end: width for end, width in stops.items() if end not in halted}
        is_halt = max(gaps.values(), default=0.0) <= most and sum(gaps.values()) <= most_total
        if halted and is_halt and sum(halted.values()) <= LONGEST_HALT * grid.edges[-1]:
            spans = ", ".join(_span(view, session, end, width) for end, width in halted.items())
            halts.append((session, f"{grid.hours[session].date} {spans}"))
        else:
            yield _gap(view, session, gaps or halted, float(total[session]))


def _odds(quiet: Flags) -> tuple[Floats, Floats]:
    """Return minus the log of the probability of the least likely quiet run and of the quiet bars of each session, by chance.

    Each bar is quiet independently with the probability of that time of day in the other sessions; the number of bars with
    trades has the law of Poisson. A single session gives infinity.
    """
    sessions, bars = quiet.shape
    if sessions == 1:
        return np.full(1, np.inf), np.full(1, np.inf)
    ends = np.minimum(np.arange(bars) + NEARBY + 1, bars)
    starts = np.maximum(np.arange(bars) - NEARBY, 0)
    count = np.concatenate([np.zeros((sessions, 1)), np.cumsum(quiet, axis=1)], axis=1)
    nearby = count[:, ends] - count[:, starts]
    chance = (nearby.sum(axis=0) - nearby + 0.5) / ((sessions - 1) * (ends - starts) + 1.0)
    run = np.asarray(runs_of(quiet, -np.log(chance)).max(axis=1))
    traded, usual = (~quiet).sum(axis=1), (1.0 - chance).sum(axis=1)
    few = usual - traded + traded * np.log(np.maximum(traded, 1.0) / usual)
    return run, np.where(traded < usual, few, 0.0)


def _usual_quiet(quiet: Flags, runs: Floats) -> tuple[float, float]:
    """Return the usual longest quiet run and the usual number of quiet minutes of a session.

    The longest run of each session and the runs at its ends do not count, so that gaps do not make gaps usual.
    """
    ends = quiet & np.concatenate([~quiet[:, 1:], np.zeros((len(quiet), 1), dtype=bool)], axis=1)
    leading = np.logical_and.accumulate(quiet, axis=1)
    trailing = np.logical_and.accumulate(quiet[:, ::-1], axis=1)[:, ::-1]
    inner = np.sort(np.where(ends & ~leading & ~trailing, runs, 0.0), axis=1)
    return float(np.median(inner[:, -2])), float(np.median(inner[:, :-1].sum(axis=1)))


def _stops(quiet: Flags, runs: Floats) -> dict[int, float]:
    """Return the quiet runs of a session: the last bar of each, and its minutes."""
    ends = np.flatnonzero(quiet & ~np.append(quiet[1:], False))
    return dict(zip(ends.tolist(), runs[ends].tolist(), strict=True))


def _gap(view: View, session: int, gaps: dict[int, float], total: float) -> Fault:
    """Return the fault of a session with some gaps."""
    edges = view.grid.edges
    end = max(gaps, key=lambda at: gaps[at])
    at_end, at_start = end + 2 == len(edges), edges[end + 1] - gaps[end] < 1e-6
    bar = end + 1 if not at_end else int(np.searchsorted(edges, edges[-1] - gaps[end] - 1e-6)) - 1
    if session in (0, len(view.grid.hours) - 1) and (at_end or at_start):
        return Fault(
            session, bar, "incomplete", f"the {'last' if at_end else 'first'} bar starts at {view.clock(session, bar)}"
        )
    reason = f"{total:.0f} minutes are missing, {gaps[end]:.0f} of them next to {view.clock(session, bar)}"
    return Fault(session, bar, "gap", reason)


def _reopens(view: View, session: int, end: int) -> bool:
    """Return whether trading reopens after a quiet run that ends at a bar, as after a halt."""
    grid = view.grid
    if end + 1 >= grid.volume.shape[1]:
        return False
    if not grid.has_volume:
        return bool(abs(np.log(grid.open[session, end + 1] / grid.close[session, end])) > 5.0 * view.usual[session, 0])
    return bool(grid.volume[session, end + 1] > REOPENING * view.median[session, 0])


def _span(view: View, session: int, end: int, width: float) -> str:
    """Return the hours of a quiet run that ends at a bar and lasts some minutes."""
    minute = float(view.grid.edges[end + 1])
    first, last = (view.grid.hours[session].time_of(at) for at in (minute - width, minute))
    return f"{view.calendar.clock(first)}-{view.calendar.clock(last)}"
