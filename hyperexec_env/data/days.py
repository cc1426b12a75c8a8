"""The bars of one session as they came, and the reason for which a session is left out."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calendars import Calendar, SessionHours

__all__ = ["CALENDAR_KINDS", "DayBars", "LeftOut"]

Floats = NDArray[np.float64]

CALENDAR_KINDS: Final = ("half day", "incomplete")
"""Kinds of sessions that are left out and counted without being errors."""


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


class DayBars(NamedTuple):
    """The bars of one session as they came; arrays have one value per bar."""

    hours: SessionHours
    first: int
    """Index of the first bar in the table."""
    minute: NDArray[np.float64]
    """Minutes of trading from the open to the start of each bar."""
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    step: int
    """Length of a bar, minutes."""
    length: int
    """Minutes of trading of a full session."""

    @property
    def ascends(self) -> bool:
        """Whether the bars ascend in time, without duplicates."""
        return bool((np.diff(self.minute) > 0.0).all())

    def clock(self, at: int, calendar: Calendar) -> str:
        """Return the time of day at which a bar of the session starts."""
        return calendar.clock(self.hours.time_of(float(self.minute[at])))
