"""Trading calendars: the hours of each session of a market, in UTC, with holidays, half days, breaks and daylight saving."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import nearest
from hyperexec_env.extras import need

from .zones import DAY, HOUR, MINUTE, Nanoseconds, check_zone, date_of, day_start, local_of, utc_of

__all__ = ["Calendar", "SessionHours", "calendar_of", "session_index", "zone_of"]

ALWAYS: Final = "24/7"
"""The calendar of a market that never closes; a session is a day in UTC."""
WEEKDAYS: Final = "24/5"
"""The calendar of foreign exchange; a session lasts from 17:00 to 17:00 New York, Sunday evening to Friday afternoon."""
_FX_ZONE, _FX_CLOSE = "America/New_York", 17 * HOUR


_MARGIN: Final = 14 * DAY
"""Margin of the days that are asked of a calendar, so that the usual length of a session is known beside a half day."""


class SessionHours(NamedTuple):
    """The hours of one session; times are nanoseconds in UTC."""

    date: str
    """Day of the session in the calendar, as 2024-03-26; a session may open on the evening before."""
    open: int
    close: int
    break_start: int
    """Start of the break; the close if there is none."""
    break_end: int
    """End of the break; the close if there is none."""

    @property
    def minutes(self) -> int:
        """Minutes of trading."""
        return (self.close - self.open - (self.break_end - self.break_start)) // MINUTE

    def minute_of(self, time: Any) -> Any:
        """Return the minutes of trading from the open to a time (any shape), which may be negative or beyond the close.

        A time within the break gives the minutes before the break.
        """
        pause = np.clip(time - self.break_start, 0, self.break_end - self.break_start)
        return (time - self.open - pause) / MINUTE

    def time_of(self, minute: float) -> int:
        """Return the time of a minute of trading; a minute at which the break begins is at the end of the break."""
        time = self.open + round(minute * MINUTE)
        return time if time < self.break_start else time + self.break_end - self.break_start


@dataclass(frozen=True)
class Calendar:
    """A market's sessions.

    Attributes:
        name: Code of the market, such as XNYS, or 24/7.
        zone: Time zone of the market.
        hours: Open and close that replace those of the calendar, minutes after midnight in `zone`, the open negative if it is
            on the evening before; None: those of the calendar.
    """

    name: str
    zone: str
    hours: tuple[int, int] | None = None

    def sessions(self, first: int, last: int) -> list[SessionHours]:
        """Return the sessions that overlap a span of time, in order.

        Args:
            first: Start of the span, nanoseconds in UTC.
            last: End of the span.
        """
        days = (first - _MARGIN, last + _MARGIN)
        if self.name == ALWAYS:
            found = [_plain(start, start + DAY, "UTC") for start in range(days[0] // DAY * DAY, days[1], DAY)]
        elif self.name == WEEKDAYS:
            found = _fx_sessions(*days)
        else:
            found = _exchange_sessions(self.name, date_of(days[0]), date_of(days[1]))
        if self.hours and found:
            usual = Counter(item.minutes for item in found).most_common(1)[0][0]
            found = [self._with_hours(item, item.minutes < usual) for item in found]
            found = [item for item in found if item.close > item.open]
        return [item for item in found if item.close > first and item.open <= last]

    def _with_hours(self, item: SessionHours, short: bool) -> SessionHours:
        """Return a session with the hours of the user; a half day ends with the session of the calendar, a break remains."""
        opening, closing = self.hours or (0, 0)
        midnight = day_start(item.date)
        times = utc_of(np.array([midnight + opening * MINUTE, midnight + closing * MINUTE]), self.zone)
        start, end = int(times[0]), int(times[1])
        if short:
            start, end = max(start, item.open), min(end, item.close)
        if start < item.break_start < item.break_end < end:
            return SessionHours(item.date, start, end, item.break_start, item.break_end)
        return SessionHours(item.date, start, end, end, end)

    def span(self, since: str, until: str) -> tuple[int, int]:
        """Return the first and the last time, nanoseconds in UTC, of the sessions of some days and of the hours around them.

        A time between two sessions belongs to the nearer one.

        Args:
            since: First day, such as 2024-11-05; "" for no limit.
            until: Last day; "" for no limit.
        """
        first, last = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        if since:
            first = self._midway(since, lambda date: date < since)
        if until:
            last = self._midway(until, lambda date: date <= until) - 1
        return int(first), int(last)

    def _midway(self, day: str, is_before: Callable[[str], bool]) -> int:
        """Return the time midway between the last session before a limit and the first one after it."""
        midnight = day_start(day)
        around = self.sessions(midnight - _MARGIN, midnight + _MARGIN)
        before, after = ([item for item in around if is_before(item.date) is side] for side in (True, False))
        return (before[-1].close + after[0].open) // 2 if before and after else int(utc_of(np.array([midnight]), self.zone)[0])

    def clock(self, time: int) -> str:
        """Return the time of day of a time in UTC, by the clock of the market."""
        local = int(local_of(np.array([time]), self.zone)[0])
        return f"{local % DAY // HOUR:02d}:{local % HOUR // MINUTE:02d}"


def calendar_of(name: str, hours: str = "", tz: str = "") -> Calendar:
    """Return a trading calendar.

    Args:
        name: A code of exchange_calendars (XNYS, XTKS, XHKG, CME ...), or 24/7.
        hours: Hours that replace those of the calendar, such as 09:30-16:00, or 18:00-17:00 for sessions that open on the
            evening before. A half day of the calendar still ends when the calendar says.
        tz: Time zone of `hours` for a calendar without a zone of its own (24/7); "" for UTC.

    Raises:
        ValueError: There is no such calendar, or the hours are not two times of day an hour apart at least.
        MissingExtra: The extra `data` is not installed.
    """
    zone = zone_of(name) if not (tz and name == ALWAYS and hours) else check_zone("tz", tz)
    if not hours:
        return Calendar(name, zone)
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)", hours.strip())
    if not match:
        raise ValueError(f"hours must be two times of day such as 09:30-16:00, got {hours!r}")
    numbers = [int(part) for part in match.groups()]
    opening, closing = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    span = (opening if opening < closing else opening - 1440, closing)
    if not (60 <= span[1] - span[0] <= 1440 and closing <= 1440):
        raise ValueError(f"hours must last an hour to a day and end by 24:00, got {hours!r}")
    return Calendar(name, zone, span)


def zone_of(name: str) -> str:
    """Return the time zone of a calendar; see :func:`calendar_of` for the errors."""
    if name in (ALWAYS, WEEKDAYS):
        return "UTC"
    return str(_exchange(name, "2024-01-01", "2024-01-31").tz)


def session_index(start: Nanoseconds, hours: list[SessionHours]) -> NDArray[np.int64]:
    """Return the index of the session that holds each time; -1 outside the hours, and within a break."""
    opens, closes = (np.array([getattr(item, key) for item in hours]) for key in ("open", "close"))
    pauses = np.array([(item.break_start, item.break_end) for item in hours])
    index = np.searchsorted(opens, start, side="right") - 1
    at = np.maximum(index, 0)
    inside = (index >= 0) & (start < closes[at]) & ~((start >= pauses[at, 0]) & (start < pauses[at, 1]))
    return np.asarray(np.where(inside, index, -1))


def _plain(opening: int, closing: int, zone: str) -> SessionHours:
    """Return a session without a break that is named by the day of its close."""
    return SessionHours(date_of(int(local_of(np.array([closing - 1]), zone)[0])), opening, closing, closing, closing)


def _fx_sessions(first: int, last: int) -> list[SessionHours]:
    """Return the sessions of foreign exchange that lie in a span of time, nanoseconds in UTC."""
    evenings = np.arange(first // DAY * DAY, last, DAY)
    evenings = evenings[(evenings // DAY + 4) % 7 < 5] + _FX_CLOSE  # Sunday (1970-01-04 is day 3) to Thursday
    opens, closes = utc_of(evenings, _FX_ZONE), utc_of(evenings + DAY, _FX_ZONE)
    return [_plain(start, end, _FX_ZONE) for start, end in zip(opens.tolist(), closes.tolist(), strict=True)]


def _exchange(name: str, first: str, last: str) -> Any:
    """Return a calendar of exchange_calendars that holds some days.

    It costs as much to make for a month as for decades, up to seconds for lunar holidays. So it is made for whole decades,
    which further data share, unless it is not defined in all of them.
    """
    try:
        return _made(name, f"{first[:3]}0-01-01", f"{last[:3]}9-12-31")
    except ValueError:
        return _made(name, first, last)


@lru_cache(maxsize=64)
def _made(name: str, first: str, last: str) -> Any:
    """Make a calendar of exchange_calendars from one day to another."""
    calendars = need("exchange_calendars", "data")
    try:
        with warnings.catch_warnings():  # of pandas, about its own future
            warnings.simplefilter("ignore")
            return calendars.get_calendar(name, start=first, end=last)
    except (calendars.errors.InvalidCalendarName, KeyError):
        known = [*calendars.get_calendar_names(), ALWAYS]
        raise ValueError(f"calendar must be a code of exchange_calendars or 24/7, got {name!r}{nearest(name, known)}") from None
    except (ValueError, calendars.errors.CalendarError) as error:
        raise ValueError(f"calendar {name} has no sessions from {first} to {last}: {error}") from None
    except NotImplementedError as error:  # holidays that the installed pandas cannot compute
        raise ValueError(
            f"calendar {name} fails in the installed exchange_calendars ({type(error).__name__}: {error}); pass another "
            "--calendar of the region, and the hours with --hours"
        ) from None


def _exchange_sessions(name: str, first: str, last: str) -> list[SessionHours]:
    """Return the sessions of an exchange from one day to another."""
    schedule = _exchange(name, first, last).schedule.loc[first:last]
    dates = [str(day)[:10] for day in schedule.index]
    open_, close = (schedule[key].to_numpy(dtype="datetime64[ns]").astype(np.int64) for key in ("open", "close"))
    breaks = [schedule[key].to_numpy(dtype="datetime64[ns]") for key in ("break_start", "break_end")]
    start, end = (np.where(np.isnat(item), close, item.astype(np.int64)) for item in breaks)
    rows = zip(dates, open_.tolist(), close.tolist(), start.tolist(), end.tolist(), strict=True)
    return [SessionHours(*row) for row in rows]
