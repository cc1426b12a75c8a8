"""Compare the times of bars with a trading calendar: is the zone right, and the calendar, and is a time a start or an end?

Trading is busiest at the open and at the close, and hardly goes on outside the hours. Where the volume of the data lies
elsewhere, the times are wrong; the zone or the calendar under which the volume fits the session is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calendars import ALWAYS, WEEKDAYS, Calendar, SessionHours, calendar_of, zone_of
from .days import Overlaps, overlaps
from .format import Format
from .shifts import LONG_SESSION, check_lateness, weekend_shift
from .tables import Bars
from .zones import DAY, HOUR, MINUTE, ZONES, Nanoseconds, date_of, local_of, utc_of

__all__ = ["check_clock", "find_stamp", "fitted_hours", "outside_notes", "sessions_around", "settled_stamp"]

Floats = NDArray[np.float64]

EDGE: Final = 30
"""Minutes at the open and at the close that are compared with the rest of the session."""
LEAST_INSIDE: Final = 0.5
"""Smallest plausible share of the volume within the hours. Clean files: 87 % (SPY with extended hours) to 100 %; a closing
auction after the last continuous trade, as in London, takes up to a third."""
LEAST_EDGE: Final = 0.1
"""Smallest plausible volume of the first and of the last half-hour, as a multiple of an even spread. Clean files: 1.5 to 2.7;
a zone that is wrong by an hour gives 0.0 to 0.4 on one side."""
LEAST_CONTRAST: Final = 0.05
"""Smallest plausible difference between the share of the volume in the half-hours just within the hours and in those just
outside. Clean files: 0.18 to 0.35; a zone that is wrong by an hour gives -0.04 to 0.01."""
FEW_SESSIONS: Final = 5
"""Sessions below which an empty half-hour may be that of a single day."""
AUCTION: Final = 15
"""Minutes after the close in which closing auctions are printed; they do not count as volume outside the hours here."""
GOOD_INSIDE, GOOD_EDGE, GOOD_LONG = 0.6, 0.5, 0.95
"""Smallest share inside, and smallest volume at the edges, of a zone or a calendar that is proposed; and smallest share inside
for long sessions."""
MOST_CUT: Final = 180
"""Largest number of minutes that are cut off the end of the sessions of a calendar of futures; CME closes for 60."""
WEEKEND_SHARE: Final = 0.05
"""Share of bars on Saturdays (UTC) from which a market trades at weekends: one in seven for crypto, none for stocks."""
LEAST_SHIFT: Final = 0.75
"""Hours by which end and begin of the week lie apart from those of foreign exchange, from which the zone is wrong."""
CLOSED_HOUR: Final = 0.005
"""Share of the bars in one hour of the day below which the market is closed then; CME closes from 16:00 to 17:00 Chicago."""
FEW_HOURS: Final = 20
"""Number of hours of the day (UTC) with bars below which a market closes at night; US stocks with extended hours have 16."""
MOST_OUTSIDE: Final = 0.05
"""Share of the volume outside the hours from which the report says so. Clean files: up to 13 % (SPY with extended hours)."""
JUMP: Final = 2.0
"""Smallest ratio of the volume after the open to the volume before it that determines the stamp. Clean files: 14 to 67 at
one minute."""
CALENDARS: Final = ("XNYS", "XLON", "XETR", "XTKS", "XHKG", "XASX", "XHEL", "XSHG", "XKRX", "XBOM", "BVMF")
"""Calendars that are tried where the given one does not fit."""


class _Fit(NamedTuple):
    """How the activity of bars lies in the sessions of a calendar."""

    inside: float
    """Share of the activity within the hours."""
    first: float
    """Activity of the first half-hour as a multiple of an even spread over the session."""
    last: float
    """Activity of the last half-hour as a multiple of an even spread over the session."""
    contrast: float
    """Share of the activity just within the hours less that just outside them; largest for the right zone."""
    sessions: int
    """Number of sessions that determine `first` and `last`."""


def sessions_around(time: Nanoseconds, calendar: Calendar, margin: int = DAY) -> list[SessionHours]:
    """Return the sessions of a calendar to which times may belong, with a margin in nanoseconds on both sides."""
    return calendar.sessions(int(time.min()) - margin, int(time.max()) + margin)


def find_stamp(bars: Bars, hours: Sequence[SessionHours]) -> tuple[str, str]:
    """Return whether the times of bars are their starts or their ends, and why; "" if the bars do not determine it.

    Bars of the session alone have one that reaches over the open and none from the close on if stamped at the start, and the
    reverse if stamped at the end. Where there are bars before the open and after the close, the volume jumps in the first bar
    of the session.
    """
    found, why = _stamp_of_edges(bars, hours)
    return (found, why) if found else _stamp_of_jump(bars, hours)


def settled_stamp(bars: Bars, found: str, why: str, format: Format) -> tuple[str, list[str]]:
    """Return the stamp of bars, and a sentence if it was assumed.

    Args:
        bars: The bars, with the stamp that the user or the layout gives.
        found: The stamp that the bars determine, and `why`; see :func:`find_stamp`.
        why: The reason.
        format: How the data were read.

    Raises:
        ValueError: The given stamp, or that of the layout, contradicts the bars.
    """
    if bars.stamp and found and found != bars.stamp:
        given = "--stamp" if format.stamp else f"the layout {bars.provenance.layout}"
        raise ValueError(
            f"{', '.join(bars.provenance.files)}: {given} says that the time of a bar is its {bars.stamp}, but {why}; "
            f"pass --stamp {found}"
        )
    if bars.stamp or found:
        return bars.stamp or found, []
    return "start", ["the times of the bars are taken to be their starts; pass --stamp end if they are not"]


def _stamp_of_edges(bars: Bars, hours: Sequence[SessionHours]) -> tuple[str, str]:
    """Return the stamp that the bars at open and close determine, and why; "" if they do not."""
    time, step = np.sort(bars.time), bars.minutes * MINUTE
    opens, closes = np.array([item.open for item in hours]), np.array([item.close for item in hours])
    opens, closes = np.setdiff1d(opens, closes), np.setdiff1d(closes, opens)  # where one session ends as the next begins

    def held(first: Nanoseconds, last: Nanoseconds) -> int:
        return int((np.searchsorted(time, first, side="left") < np.searchsorted(time, last, side="left")).sum())

    at_open, at_close = held(opens - step + 1, opens + 1), held(closes, closes + step)
    if hours and not at_close and max(item.minutes for item in hours) > LONG_SESSION:  # the calendar may close too late
        at_close = held(opens + 1, opens + step + 1)
        late = at_open <= 0.2 * at_close
        why = f"{at_open} sessions have a bar stamped at the open, and {at_close} just after it"
        return ("end" if late else "start", why) if max(at_open, at_close) else ("", "")
    if min(at_open, at_close) > 0.2 * max(at_open, at_close) or not at_open + at_close:
        return "", ""
    start = at_open > at_close
    has, lacks = ("open", "close") if start else ("close", "open")
    return (
        "start" if start else "end",
        f"{max(at_open, at_close)} sessions have a bar stamped at the {has}, and {min(at_open, at_close)} at the {lacks}",
    )


def _stamp_of_jump(bars: Bars, hours: Sequence[SessionHours]) -> tuple[str, str]:
    """Return the stamp that the jump of the volume at the open determines, and why; "" if there is no jump."""
    if not bars.has_volume or not hours or max(item.minutes for item in hours) > LONG_SESSION:
        return "", ""
    order = np.argsort(bars.time, kind="stable")
    time, volume, step = bars.time[order], bars.volume[order], bars.minutes * MINUTE
    opens = np.array([item.open for item in hours])
    at = np.searchsorted(time, opens, side="right") - 1  # the bar stamped at the open, or last before it
    at = at[(at > 0) & (at < len(time) - 1)]
    near = (np.diff(time)[at] == step) & (np.diff(time)[at - 1] == step)
    at = at[near]
    if not len(at):
        return "", ""
    before, here, after = (np.log(np.maximum(volume[at + shift], 1.0)) for shift in (-1, 0, 1))
    start, end = float(np.exp(np.median(here - before))), float(np.exp(np.median(after - here)))
    if max(start, end) < JUMP or max(start, end) < 2.0 * min(start, end):
        return "", ""
    found = "start" if start > end else "end"
    which = "stamped at the open" if start > end else "after the one stamped at the open"
    return found, f"the volume jumps {max(start, end):.0f}-fold in the bar {which}"


def fitted_hours(bars: Bars, hours: list[SessionHours], calendar: Calendar) -> tuple[list[SessionHours], list[str]]:
    """Return the sessions without the end at which the market never trades, for calendars of futures.

    The sessions of CME last 24 hours in the calendar although the market closes for the last one. Hours that hold no bar at the
    end of any full session are cut off, and a sentence says so.
    """
    longest = max((item.minutes for item in hours), default=0)
    if calendar.name in (ALWAYS, WEEKDAYS) or calendar.hours or longest < 20 * 60:
        return hours, []
    cover = overlaps(bars.time, bars.minutes, hours)
    inside = cover.session >= 0
    last = np.zeros(len(hours))
    np.maximum.at(last, cover.session[inside], cover.high[inside])
    full = np.array([item.minutes == longest for item in hours]) & (last > 0)
    usual = float(last[full].max(initial=0.0))
    usual -= bars.minutes if inside.any() and cover.low[inside].min() >= bars.minutes else 0  # of bars stamped at their ends
    if not full.any() or not EDGE <= longest - usual <= MOST_CUT:
        return hours, []
    cut = [_closing(item, item.time_of(usual)) if item.minutes > usual else item for item in hours]
    clock = next(f"{calendar.clock(item.open)}-{calendar.clock(item.close)}" for item in cut if item.minutes == int(usual))
    return cut, [f"sessions are taken to last {clock}: the data hold no bar in the rest of the hours of {calendar.name}"]


def _closing(item: SessionHours, close: int) -> SessionHours:
    """Return a session without a break that closes at a time."""
    return SessionHours(item.date, item.open, close, close, close)


def check_clock(bars: Bars, start: Nanoseconds, hours: list[SessionHours], calendar: Calendar, format: Format) -> None:
    """Raise ValueError if the volume does not lie in the sessions; the message names the zone or calendar under which it does.

    Args:
        bars: The bars.
        start: Start of each bar, nanoseconds in UTC.
        hours: Sessions of the calendar around the bars.
        calendar: The calendar.
        format: How the data were read.
    """
    if bars.is_daily or len(start) < 20:
        return
    activity = _activity(bars)
    fault = _clock_fault(bars, start, activity, hours, calendar)
    if not fault and bars.has_volume and not calendar.hours:
        check_lateness(bars, start, activity, hours, calendar.name)
    fault = fault or _fault_of_season(bars, start, activity, hours, calendar)
    if fault:
        advice = _advice(bars, activity, calendar, format)
        raise ValueError(f"{', '.join(bars.provenance.files)}: {fault}; {advice}")


def _activity(bars: Bars) -> Floats:
    """Return the volume of each bar (or the range of its prices where there is none), with outliers cut."""
    activity = bars.volume if bars.has_volume and bars.volume.any() else np.log(bars.high / bars.low)
    busy = activity[activity > 0.0]
    return np.minimum(activity, 20.0 * float(np.median(busy))) if len(busy) else np.ones(len(activity))


def _clock_fault(bars: Bars, start: Nanoseconds, activity: Floats, hours: list[SessionHours], calendar: Calendar) -> str:
    """Return how the times contradict the calendar; "" if they do not."""
    if calendar.name in (ALWAYS, WEEKDAYS) and not calendar.hours:
        return _continuous_fault(start, bars.minutes, calendar)
    name, what = calendar.name, "volume" if bars.has_volume else "movement of the price"
    fit = _fit(start, bars.minutes, activity, hours)
    if fit.inside < LEAST_INSIDE and not calendar.hours:
        return f"{1.0 - fit.inside:.0%} of the {what} lies outside the hours of {name}"
    length = Counter(item.minutes for item in hours).most_common(1)[0][0] if hours else 0
    fault = _hole_fault(start, bars.minutes, hours) if length > LONG_SESSION else ""
    is_short, strays = length <= LONG_SESSION, fit.inside < 1.0 - MOST_OUTSIDE
    if is_short and min(fit.first, fit.last) < LEAST_EDGE and (fit.sessions >= FEW_SESSIONS or strays):
        which, ratio = ("first", fit.first) if fit.first < fit.last else ("last", fit.last)
        window = max(EDGE, bars.minutes)
        fault = f"the {which} {window} minutes of the sessions of {name} hold {ratio * window / length:.1%} of the {what}"
    elif is_short and fit.contrast < LEAST_CONTRAST and strays and not calendar.hours:
        fault = f"as much {what} lies just outside the hours of {name} as just within them"
    saturday = _round_the_clock(start)[1]
    if not fault and saturday > WEEKEND_SHARE and not calendar.hours:
        fault = f"{saturday:.0%} of the bars lie on Saturdays, when {name} is closed"
    return fault


def _fault_of_season(bars: Bars, start: Nanoseconds, activity: Floats, hours: list[SessionHours], calendar: Calendar) -> str:
    """Return how the times between two changes of clocks contradict the calendar; "" if they do not.

    Stamps in a zone without the daylight saving of the market are right in one season only.
    """
    offset = local_of(start, calendar.zone) - start
    for season in np.unique(offset).tolist() if len(np.unique(offset)) > 1 else []:
        chosen = offset == season
        if chosen.sum() < 20:
            continue
        part = replace(bars, **{name: getattr(bars, name)[chosen] for name in _ROWS})
        fault = _clock_fault(part, start[chosen], activity[chosen], hours, calendar)
        if fault:
            ends = local_of(start[chosen][[0, -1]], calendar.zone).tolist()
            return f"from {date_of(ends[0])} to {date_of(ends[1])} {fault}"
    return ""


_ROWS: Final = ("time", "row", "source", "open", "high", "low", "close", "volume")


def _continuous_fault(start: Nanoseconds, step: int, calendar: Calendar) -> str:
    """Return how bars contradict a market that never closes, or closes at weekends; "" if they do not."""
    active, saturday, days = _round_the_clock(start)
    if days < 1.0:
        return ""
    if active < FEW_HOURS:
        return f"bars lie in {active} of the 24 hours of the day only, but {calendar.name} trades in all"
    if calendar.name == WEEKDAYS and saturday > WEEKEND_SHARE:
        return f"{saturday:.0%} of the bars lie on Saturdays, when {calendar.name} is closed"
    if calendar.name == ALWAYS and saturday == 0.0 and days > 7.0:
        return f"no bar lies on a Saturday, but {calendar.name} trades on all days"
    shift = (weekend_shift(start, step) or 0.0) if calendar.name == WEEKDAYS else 0.0
    if abs(shift) >= LEAST_SHIFT:
        by = f"{round(2.0 * abs(shift)) / 2.0:g} hours {'after' if shift > 0.0 else 'before'}"
        return f"the week of the bars ends and begins {by} 17:00 New York on Friday and Sunday"
    return ""


def _hole_fault(start: Nanoseconds, step: int, hours: list[SessionHours]) -> str:
    """Return that long sessions have hours without bars before their last bar; "" if they have none."""
    cover = overlaps(start, step, hours)
    inside = cover.session >= 0
    bins = -(-max(item.minutes for item in hours) // EDGE)
    held = np.zeros((len(hours), bins), dtype=bool)
    held[cover.session[inside], np.minimum(cover.low[inside] // EDGE, bins - 1).astype(np.int64)] = True
    full = held[held.mean(axis=1) > 0.7]
    share = full.mean(axis=0) if len(full) >= 3 else np.ones(bins)
    last = int(np.flatnonzero(share >= 0.05).max(initial=0))
    empty = np.flatnonzero(share[:last] < 0.05)
    if not len(empty) or step > EDGE or np.median(share) < 0.8:
        return ""
    return f"the sessions have no bars {empty[0] * EDGE / 60:.1f} hours after the open, but later"


def _round_the_clock(start: Nanoseconds) -> tuple[int, float, float]:
    """Return the number of hours of the day with bars, the share of bars on Saturdays, and the days that the bars span."""
    counts = np.bincount(start % DAY // HOUR, minlength=24)
    saturday = float(((start // DAY + 4) % 7 == 6).mean())
    return int((counts > 0.004 * len(start)).sum()), saturday, float(start.max() - start.min()) / DAY


def _fit(start: Nanoseconds, step: int, activity: Floats, hours: list[SessionHours]) -> _Fit:
    """Return how the activity of bars lies in some sessions."""
    cover = overlaps(start, step, hours)
    inside = cover.session >= 0
    total, within = float(activity.sum()), float(activity[inside].sum())
    if not within or not total:
        return _Fit(0.0, 0.0, 0.0, 0.0, 0)
    window = float(max(EDGE, step))
    length = np.array([item.minutes for item in hours], dtype=float)[np.maximum(cover.session, 0)]
    middle = 0.5 * (cover.low + cover.high)
    first, last = inside & (middle < window), inside & (middle > length - window)
    used = np.unique(cover.session[inside])
    whole = inside & (cover.session > used[0]) & (cover.session < used[-1]) if len(used) > 2 else inside
    even = float((activity[whole] * window / length[whole]).sum()) or 1.0
    opens, closes = np.array([item.open for item in hours]), np.array([item.close for item in hours])
    after = np.searchsorted(opens, start, side="right")
    near_open = ~inside & (opens[np.minimum(after, len(opens) - 1)] - start <= window * MINUTE) & (after < len(opens))
    before = np.searchsorted(closes, start, side="right") - 1
    since = (start - closes[np.maximum(before, 0)]) / MINUTE
    near_close = ~inside & (before >= 0) & (since >= AUCTION) & (since < AUCTION + window)
    contrast = float(activity[first | last].sum() - activity[near_open | near_close].sum()) / total
    at_open, at_close = (float(activity[whole & edge].sum()) / even for edge in (first, last))
    return _Fit(within / total, at_open, at_close, contrast, len(used))


def _advice(bars: Bars, activity: Floats, calendar: Calendar, format: Format) -> str:
    """Return which zone or calendar fits the data, and the option that sets it."""
    start = bars.starts(bars.stamp)
    active, saturday, _ = _round_the_clock(start)
    if saturday > WEEKEND_SHARE and active >= FEW_HOURS and calendar.name != ALWAYS:
        return "the bars lie at night and at weekends too: pass --calendar 24/7"
    if active >= FEW_HOURS and calendar.name in (ALWAYS, WEEKDAYS, *CALENDARS) and saturday < WEEKEND_SHARE:
        return _of_weekdays(bars, start, calendar, format)
    best, chosen = _Fit(0.0, 0.0, 0.0, 0.0, 0), ""
    for option, times, market in _candidates(bars, start, calendar, format):
        try:
            around = sessions_around(times, market)
        except ValueError:  # the market has no sessions in these years
            continue
        fit = _fit(times, bars.minutes, activity, around)
        good = fit.inside >= GOOD_INSIDE and min(fit.first, fit.last) >= GOOD_EDGE
        if max(item.minutes for item in around) > LONG_SESSION:  # the closed hour must be at the end
            good = fit.inside > GOOD_LONG and not _hole_fault(times, bars.minutes, around)
        if good and fit.contrast > best.contrast + 0.01:
            best, chosen = fit, option
    if not chosen:
        return "pass the time zone of the stamps with --tz, the market with --calendar or the hours with --hours"
    return f"the volume fits the session under {chosen}"


def _of_weekdays(bars: Bars, start: Nanoseconds, calendar: Calendar, format: Format) -> str:
    """Return the advice for bars that lie at night but not at weekends: futures, or foreign exchange, and their zone."""
    zone, advice = bars.provenance.zone.split(",")[0], "the bars lie at night too, but not at weekends: pass"
    wall = local_of(start, zone)
    closes = bool((np.bincount(start % DAY // HOUR, minlength=24) < CLOSED_HOUR * len(start)).any())
    for other in (zone, *(item for item in ("America/Chicago", *ZONES) if item != zone)):
        times = start if other == zone else utc_of(wall, other)
        shift = weekend_shift(times, bars.minutes)
        if shift is not None and abs(shift) >= LEAST_SHIFT:
            continue
        is_closed = float((local_of(times, "America/Chicago") % DAY // HOUR == 16).mean()) < CLOSED_HOUR
        if closes != is_closed or (other != zone and shift is None and not closes):
            continue
        name = "CME" if closes else WEEKDAYS
        market = f" --calendar {name}" if name != calendar.name else ""
        given = f" --tz {other}{_despite_offset(bars, format)}" if other != zone else ""
        if market or given:
            return advice + market + given
    return f"{advice} the time zone of the stamps with --tz, or the market with --calendar"


def _despite_offset(bars: Bars, format: Format) -> str:
    """Return the words that a zone contradicts the offset of the stamps; "" for stamps without one."""
    is_naive = bars.provenance.is_naive or bool(format.tz) or bars.provenance.zone != "UTC"
    return "" if is_naive else " (without the offset that the stamps carry, which is wrong)"


def _candidates(
    bars: Bars, start: Nanoseconds, calendar: Calendar, format: Format
) -> Iterator[tuple[str, Nanoseconds, Calendar]]:
    """Yield zones and calendars to try: the option to pass, the start of each bar, and the calendar."""
    zone = bars.provenance.zone.split(",")[0]
    naive = not _despite_offset(bars, format)
    wall = local_of(start, zone)
    if calendar.hours:
        yield f"the hours of {calendar.name}: leave --hours out", start, calendar_of(calendar.name, "", format.tz)
    if calendar.name not in (ALWAYS, WEEKDAYS):
        for other in ZONES:
            if other != zone:
                option = f"--tz {other}{_despite_offset(bars, format)}"
                yield f"the zone {other}: pass {option}", utc_of(wall, other), calendar
    for name in CALENDARS:
        if name != calendar.name:
            own = zone_of(name)
            times = utc_of(wall, own) if naive and not format.tz else start
            yield f"the calendar {name}: pass --calendar {name}", times, calendar_of(name)


def outside_notes(
    bars: Bars, start: Nanoseconds, cover: Overlaps, hours: Sequence[SessionHours], calendar: Calendar
) -> list[str]:
    """Return sentences on bars outside the hours: on days without a session, and with much of the volume.

    Raises:
        ValueError: Many days with bars have no session in the calendar.
    """
    outside = cover.session < 0
    if bars.is_daily or not hours or not outside.any():
        return []
    notes = _strange_days(bars, start, outside, hours, calendar)
    opens = np.array([item.open for item in hours])[cover.session]
    if ((start < opens) & ~outside).any():
        notes.append(
            "the first bar of a session begins before the open and holds the volume before it too; shorter bars do not"
        )
    share = float(bars.volume[outside].sum()) / (float(bars.volume.sum()) or 1.0)
    if share > MOST_OUTSIDE:
        notes.append(f"{share:.0%} of the volume lies outside the hours and is not used; pass --hours to widen them")
    return notes


def _strange_days(
    bars: Bars, start: Nanoseconds, outside: NDArray[np.bool_], hours: Sequence[SessionHours], calendar: Calendar
) -> list[str]:
    """Return a sentence on days that hold bars in the usual hours but no session; see :func:`outside_notes`."""
    opens = Counter(calendar.clock(item.open) for item in hours)
    closes = Counter(calendar.clock(item.close) for item in hours)
    usual = [int(text[:2]) * 60 + int(text[3:]) for text in (opens.most_common(1)[0][0], closes.most_common(1)[0][0])]
    local = local_of(start[outside], calendar.zone)
    minute = local % DAY // MINUTE
    days, counts = np.unique(local[(minute >= usual[0]) & (minute < usual[1])] // DAY, return_counts=True)
    known = {item.date for item in hours}
    strange = [(date_of(day * DAY), n) for day, n in zip(days.tolist(), counts.tolist(), strict=True)]
    strange = [(date, n) for date, n in strange if date not in known]
    if not strange:
        return []
    shown = ", ".join(f"{date} ({n} bars)" for date, n in strange[:5]) + (" ..." if len(strange) > 5 else "")
    text = f"{len(strange)} days hold bars within the hours but are no sessions of {calendar.name}: {shown}"
    if len(strange) > 2 and len(strange) > 0.2 * len(np.unique(local_of(start, calendar.zone) // DAY)):
        raise ValueError(f"{', '.join(bars.provenance.files)}: {text}; is the calendar right? Pass another with --calendar")
    return [f"{text}; they are not used"]
