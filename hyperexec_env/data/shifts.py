"""Shifts of the clock that no other zone explains or that the volume does not show: delayed feeds, and weeks of FX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .calendars import WEEKDAYS, SessionHours, calendar_of
from .tables import Bars
from .zones import DAY, HOUR, MINUTE, Nanoseconds

__all__ = ["LONG_SESSION", "check_lateness", "weekend_shift"]

LONG_SESSION: Final = 720
"""Minutes from which a session has quiet hours, so that its first and last half-hour may be nearly empty."""
WEEKEND: Final = 30 * HOUR
"""Shortest time without a bar that is a weekend."""
WINDOW: Final = 10
"""Minutes whose volume is compared with that of the minutes before them."""
LATEST: Final = 20
"""Longest delay of a feed, minutes; beyond it the hours are those of another market."""
LONGEST_STEP: Final = 5
"""Length of bars, minutes, up to which the minute of the open can be told."""


def weekend_shift(start: Nanoseconds, step: int) -> float | None:
    """Return the hours by which the weekends of bars lie after those of foreign exchange; None if the bars hold no weekend.

    A wrong zone moves end and begin of the week alike; a market with shorter hours moves them in opposite directions.

    Args:
        start: Start of each bar, nanoseconds in UTC.
        step: Length of a bar, minutes.
    """
    time = np.unique(start)
    gaps = np.flatnonzero(np.diff(time) > WEEKEND)
    hours = calendar_of(WEEKDAYS).sessions(int(start.min()) - 4 * DAY, int(start.max()) + 4 * DAY)
    pairs = [(a.close, b.open) for a, b in pairwise(hours) if b.open - a.close > WEEKEND]
    if not len(gaps) or not pairs:
        return None
    closes, opens = np.array(pairs).T
    ends, begins = time[gaps] + step * MINUTE, time[gaps + 1]
    near = np.abs(closes[:, None] - ends).argmin(axis=0)
    at_end, at_begin = (float(np.median(item)) / HOUR for item in (ends - closes[near], begins - opens[near]))
    return min(at_end, at_begin, key=abs) if at_end * at_begin > 0.0 else 0.0


def check_lateness(
    bars: Bars, start: Nanoseconds, activity: NDArray[np.float64], hours: Sequence[SessionHours], market: str
) -> None:
    """Raise ValueError if the volume rises and falls some minutes after (or before) the open and the close.

    Args:
        bars: The bars.
        start: Start of each bar, nanoseconds in UTC.
        activity: Volume of each bar, with outliers cut.
        hours: Sessions of the calendar around the bars.
        market: Name of the calendar.
    """
    length = Counter(item.minutes for item in hours).most_common(1)[0][0] if hours else 0
    step = bars.minutes
    if not hours or length > LONG_SESSION or step > LONGEST_STEP:
        return
    opens = np.array([item.open for item in hours])
    minute = (start - opens[np.maximum(np.searchsorted(opens, start + 3 * HOUR, side="right") - 1, 0)]) // MINUTE
    late = np.arange(-(60 // step), 60 // step + 1) * step
    usual = next(item for item in hours if item.minutes == length)
    found = []
    for edge, sign in ((0, 1.0), ((usual.close - usual.open) // MINUTE, -1.0)):
        levels = [
            activity[(minute >= edge + at) & (minute < edge + at + WINDOW)].sum() + 1.0 for at in range(-70, 70 + step, step)
        ]
        volume = np.log(levels)
        places = (late + 70) // step
        jump = sign * (volume[places] - volume[places - WINDOW // step])
        best = int(jump.argmax())
        found.append(int(late[best]) if jump[best] > max(1.0, jump[len(late) // 2] + 1.0) else 0)
    if not WINDOW // 2 <= abs(found[0]) <= LATEST or abs(found[1] - found[0]) > step:
        return
    when = "after" if found[0] > 0 else "before"
    raise ValueError(
        f"{', '.join(bars.provenance.files)}: the volume rises about {abs(found[0])} minutes {when} the open of {market} and "
        f"falls as much {when} its close: stamps of a delayed feed (move them by as much), or hours of another market?"
    )
