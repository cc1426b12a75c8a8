"""Trading time of an order that trades in sessions: the seconds of its sessions that have passed.

The schedule of such an order is made in trading time, in which nights and breaks have no length.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["Sessions"]


class Sessions:
    """Conversions between the agent's clock and trading time.

    Args:
        sessions: At least one session as (open, close), seconds on the agent's clock, ascending and disjoint. An order trades
            from the open (included) to the close (excluded).
    """

    __slots__ = ("_closes", "_opens", "_starts")

    def __init__(self, sessions: Sequence[tuple[float, float]]) -> None:
        """Store the opens, the closes, and the trading time at each open."""
        self._opens = [opening for opening, _ in sessions]
        self._closes = [closing for _, closing in sessions]
        self._starts = list(accumulate((closing - opening for opening, closing in sessions[:-1]), initial=0.0))

    def trading_time(self, time: float) -> float:
        """Return the seconds in sessions before a time on the agent's clock; 0 before the first open."""
        number = bisect_right(self._opens, time) - 1
        return self._starts[number] + (min(time, self._closes[number]) - self._opens[number]) if number >= 0 else 0.0

    def clock_time(self, trading_time: float) -> float:
        """Return the time on the agent's clock at which a child that is scheduled in trading time may trade, in a session.

        At the boundary of two sessions this is the open of the later one.
        """
        number = bisect_right(self._starts, trading_time) - 1
        opening, closing = self._opens[number], self._closes[number]
        return min(opening + (trading_time - self._starts[number]), math.nextafter(closing, opening))

    def later(self, time: float, seconds: float) -> float:
        """Return the time on the agent's clock after some seconds of trading time; the last close if fewer remain."""
        until = self.trading_time(time) + seconds
        number = max(bisect_left(self._starts, until) - 1, 0)
        return min(self._opens[number] + (until - self._starts[number]), self._closes[number])

    def last_close(self, time: float) -> float:
        """Return a time if it is inside a session or before all of them, else the last close before it."""
        number = bisect_left(self._opens, time) - 1
        return min(time, self._closes[number]) if number >= 0 else time

    def next_open(self, time: float) -> float:
        """Return a time if it is inside a session, else the next open; infinity after the last close."""
        number = bisect_right(self._closes, time)
        return max(time, self._opens[number]) if number < len(self._opens) else math.inf
