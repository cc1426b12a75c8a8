"""Time zones: convert between wall clock and UTC, for whole arrays of nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "ZONES",
    "Nanoseconds",
    "check_zone",
    "date_of",
    "day_start",
    "local_of",
    "offset_text",
    "unfold",
    "utc_of",
]

Nanoseconds = NDArray[np.int64]
"""Times in nanoseconds since 1970-01-01, in UTC or by a wall clock."""

ZONES: Final = (
    *("America/New_York", "UTC", "America/Chicago", "America/Los_Angeles", "Europe/London", "Europe/Berlin", "Asia/Tokyo"),
    *("Asia/Hong_Kong", "Asia/Kolkata", "Australia/Sydney", "Europe/Athens", "Europe/Istanbul", "America/Sao_Paulo"),
    *(
        "Etc/GMT+5",
        "America/Denver",
        "America/Mexico_City",
        "America/Bogota",
        "America/Santiago",
        "America/Argentina/Buenos_Aires",
    ),
    *(
        "Asia/Jerusalem",
        "Africa/Johannesburg",
        "Asia/Dubai",
        "Asia/Karachi",
        "Asia/Dhaka",
        "Asia/Bangkok",
        "Australia/Brisbane",
    ),
    *("Australia/Adelaide", "Pacific/Auckland", "Asia/Kathmandu"),
)
"""Zones that are tried where the given one does not fit, one for each clock of an exchange, the more usual ones first."""
SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def check_zone(name: str, value: str) -> str:
    """Return the name of a time zone of the IANA database.

    Args:
        name: Name of the option, for the error message.
        value: Name of the zone, such as America/New_York.

    Raises:
        ValueError: There is no such zone.
    """
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        shown = repr(value)[:62]
        raise ValueError(f"{name} must be a time zone such as America/New_York or UTC, got {shown}") from None
    return value


def zone_of_stamp(moment: datetime | time) -> timezone | None:
    """Return the UTC offset of a time stamp; None if it carries none."""
    offset = moment.utcoffset()
    return None if offset is None else timezone(offset)


def utc_of(local: Nanoseconds, zone: str) -> Nanoseconds:
    """Return the UTC times of a wall clock.

    An hour that the clock shows twice (the end of daylight saving) is taken to be its first pass; an hour that the clock skips
    is taken in the offset before the change, as :class:`datetime.datetime` does with ``fold=0``.

    Args:
        local: Times of the wall clock, any shape.
        zone: Name of the time zone.
    """
    if not local.size:
        return local
    instants, offsets = _transitions(zone, int(local.min()), int(local.max()))
    # a change takes effect after the hour that the clock skips or shows twice
    clock = instants[1:] + np.maximum(offsets[:-1], offsets[1:])
    return np.asarray(local - offsets[np.searchsorted(clock, local, side="right")])


def unfold(time: Nanoseconds, zone: str) -> Nanoseconds:
    """Return the UTC times of rows whose wall clock shows an hour twice, with the second pass of that hour one hour later.

    Within the hour before the end of daylight saving, rows from the first step back in time on belong to the second pass.

    Args:
        time: Times from :func:`utc_of` in the order of the rows, which ascends by the wall clock, shape (row,).
        zone: Name of the time zone of the wall clock.
    """
    if len(time) < 2:
        return time
    instants, offsets = _transitions(zone, int(time.min()), int(time.max()))
    back = np.diff(offsets)
    found = time
    for at in np.flatnonzero(back < 0).tolist():
        change, length = instants[at + 1], -back[at]
        rows = np.flatnonzero((time >= change - length) & (time < change))
        steps = np.flatnonzero(np.diff(time[rows]) < 0)
        if len(steps):
            found = found.copy() if found is time else found
            found[rows[steps[0] + 1 :]] += length
    return found


def local_of(utc: Nanoseconds, zone: str) -> Nanoseconds:
    """Return the wall clock of UTC times.

    Args:
        utc: Times, any shape.
        zone: Name of the time zone.
    """
    if not utc.size:
        return utc
    instants, offsets = _transitions(zone, int(utc.min()), int(utc.max()))
    return np.asarray(utc + offsets[np.searchsorted(instants, utc, side="right") - 1])


def day_start(day: str) -> int:
    """Return midnight of a day such as 2024-03-26, nanoseconds of the wall clock."""
    return int(np.datetime64(day, "D").astype("datetime64[ns]").astype(np.int64))


def date_of(local: int) -> str:
    """Return the day of a time of the wall clock, as 2024-03-26."""
    return str(np.datetime64(local, "ns").astype("datetime64[D]"))


def offset_text(utc: int, zone: str) -> str:
    """Return the offset from UTC at a time, as +09:00."""
    offset = int(local_of(np.array([utc]), zone)[0]) - utc
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // MINUTE
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def _transitions(zone: str, first: int, last: int) -> tuple[Nanoseconds, Nanoseconds]:
    """Return the instants (UTC) at which the offset of a zone changes, and the offset from each on; the first is the oldest."""
    years = [int(np.datetime64(time, "ns").astype("datetime64[Y]").astype(int)) + 1970 for time in (first, last)]
    return _changes(zone, years[0] - 1, years[1] + 1)


@cache
def _changes(zone: str, first_year: int, last_year: int) -> tuple[Nanoseconds, Nanoseconds]:
    """Return the changes of offset of some years; see :func:`_transitions`."""
    info, step = ZoneInfo(zone), timedelta(days=7)
    at, end = datetime(max(first_year, 1), 1, 1, tzinfo=UTC), datetime(min(last_year, 9998) + 1, 1, 1, tzinfo=UTC)

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(info).utcoffset() or timedelta(0)

    changes = [(at, offset(at))]
    while at < end:
        later = at + step
        if offset(later) != changes[-1][1]:
            low, high = at, later
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                low, high = (low, middle) if offset(middle) != changes[-1][1] else (middle, high)
            change = high.replace(microsecond=0)
            changes.append((change, offset(change)))
        at = later
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    instants = [int((change - epoch).total_seconds()) * SECOND for change, _ in changes]
    return np.array(instants), np.array([int(shift.total_seconds()) * SECOND for _, shift in changes])
