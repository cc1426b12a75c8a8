"""The market on the day of an order, from bars: prices and volume of the day, and estimates from the other days."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.format import Format
from hyperexec_env.data.sessions import BarReport, Sessions, read_sessions
from hyperexec_env.data.sources import Data
from hyperexec_env.data.zones import DAY, SECOND, local_of
from hyperexec_env.execution.report import Mark

__all__ = ["MarketDay", "day_of", "read_day"]

Floats = NDArray[np.float64]

RETURN_MINUTES: Final = 5
"""Length of the returns from which the volatility is estimated; longer bars give returns of their own length."""
HALF_DAY: Final = "if the market closed early on that day, pass its hours, such as --hours 09:30-13:00"
"""Hint for a day that closed early."""


@dataclass(frozen=True, eq=False)
class MarketDay:
    """One full session. Times are wall-clock seconds after midnight; arrays have one value per bar, shape (N,)."""

    date: str
    edges: Floats
    """Start of each bar, and the end of the last bar, shape (N + 1,)."""
    open: Floats
    """Price, currency per share, as are high, low and close."""
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    """Shares."""
    curve: Floats
    """Fraction of the daily volume in each bar, mean over the other sessions."""
    adv: float
    """Mean daily volume of the other sessions, shares per day."""
    volatility: float
    """Square root of the mean realised open-to-close variance of the other sessions, fraction per square root of a day."""
    others: int
    """Number of other sessions; 0: curve, ADV and volatility are estimated from this day itself."""
    missing: NDArray[np.bool_]
    """Whether the bar is missing from the file; a missing bar repeats the last price with a volume of 0."""
    zone: timezone
    """Offset of the wall clock from UTC."""
    report: BarReport

    def bar(self, time: float) -> int:
        """Return the index of the bar that contains a time; the close belongs to the last bar."""
        return min(int(np.searchsorted(self.edges, time, "right")) - 1, len(self.open) - 1)

    def mid(self, time: float, bar: int | None = None) -> float:
        """Return the mid at a time, interpolated linearly between the open and the close of its bar, currency per share.

        Args:
            time: Seconds after midnight.
            bar: Index of the bar; None: the bar that contains the time.
        """
        index = self.bar(time) if bar is None else bar
        part = (time - self.edges[index]) / (self.edges[index + 1] - self.edges[index])
        return float(self.open[index] + part * (self.close[index] - self.open[index]))

    def holds(self, time: float, price: float) -> bool:
        """Return whether a price lies between the low and the high of the bar at a time (at a bar edge, of either bar).

        The result is True for a missing bar, whose price range is unknown.
        """
        last = self.bar(time)
        first = last - 1 if last and time == self.edges[last] else last
        bars = slice(first, last + 1)
        return bool((self.missing[bars] | ((self.low[bars] <= price) & (price <= self.high[bars]))).any())

    def marks(self, start: float, end: float) -> list[Mark]:
        """Return marks from start to end: the mid at the start and the end of each bar, with its volume and typical price.

        The typical price is (high + low + close) / 3. The volume of a partly covered bar is prorated by time.
        """
        marks = []
        for index in range(self.bar(start), self.bar(end) + 1):
            begin, finish = max(start, float(self.edges[index])), min(end, float(self.edges[index + 1]))
            if finish > begin:
                part = (finish - begin) / (self.edges[index + 1] - self.edges[index])
                typical = float(self.high[index] + self.low[index] + self.close[index]) / 3.0
                marks.append(Mark(begin, self.mid(begin, index)))
                marks.append(Mark(finish, self.mid(finish, index), float(part * self.volume[index]), typical))
        return marks

    def planned(self, quantity: float, start: float, end: float, by_volume: bool) -> list[tuple[float, float]]:
        """Return the plan as (time, cumulative shares) at the start, at each bar edge in between, and at the end.

        The plan is uniform in time, or follows the volume curve if `by_volume`; both are linear within a bar.
        """
        inside = self.edges[(self.edges > start) & (self.edges < end)]
        times = np.array([start, *inside, end])
        sums = np.interp(times, self.edges, np.concatenate([[0.0], np.cumsum(self.curve)])) if by_volume else times
        sums = sums if sums[-1] > sums[0] else times
        return list(zip(times.tolist(), (quantity * (sums - sums[0]) / (sums[-1] - sums[0])).tolist(), strict=True))


def read_day(data: Data, day: str, format: Format | None = None) -> MarketDay:
    """Read the session of a day from bars. Faulty sessions of other days are left out and counted.

    Args:
        data: The bars; see :func:`hyperexec_env.data.sessions.read_sessions`.
        day: The day, as 2024-03-26.
        format: How to read what the data do not say themselves.

    Raises:
        ValueError: The bars cannot be read, or hold no full session of the day; the message names the fault.
    """
    return day_of(read_sessions(data, format, lenient=True), day)


def day_of(sessions: Sessions, day: str) -> MarketDay:
    """Return the session of a day; see :func:`read_day`."""
    report = sessions.report
    if day not in sessions.dates:
        faulty = next((item for item in report.left_out if item.date == day), None)
        if faulty:
            hint = f"; {HALF_DAY}" if faulty.kind == "half day" else ""
            raise ValueError(f"{faulty} ({faulty.kind}); the day of the order must be a full session{hint}")
        span = f"the sessions are from {report.first} to {report.last}"
        raise ValueError(f"{', '.join(report.files)}: no session on {day}, the day of the fills; {span}")
    at = sessions.dates.index(day)
    others = [index for index in range(len(sessions.dates)) if index != at] or [at]
    volume, hours = sessions.volume[others], sessions.hours[at]
    opening = int(local_of(np.array([hours.open]), sessions.calendar.zone)[0])
    return MarketDay(
        date=day,
        edges=opening % DAY / SECOND + 60.0 * sessions.edges,
        open=sessions.open[at],
        high=sessions.high[at],
        low=sessions.low[at],
        close=sessions.close[at],
        volume=sessions.volume[at],
        curve=(volume / volume.sum(axis=1, keepdims=True)).mean(axis=0),
        adv=float(volume.sum(axis=1).mean()),
        volatility=_volatility(sessions, others),
        others=len(others) if others != [at] else 0,
        missing=sessions.missing[at],
        zone=timezone(timedelta(microseconds=(opening - hours.open) // 1000)),
        report=report,
    )


def _volatility(sessions: Sessions, days: Iterable[int]) -> float:
    """Return the square root of the mean realised open-to-close variance of some sessions."""
    every = max(RETURN_MINUTES // sessions.bar_minutes, 1)
    chosen = list(days)
    prices = np.concatenate([sessions.open[chosen, :1], sessions.close[chosen, every - 1 :: every]], axis=1)
    return math.sqrt((np.diff(np.log(prices), axis=1) ** 2).sum(axis=1).mean())
