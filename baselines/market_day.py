"""The market on the day of an order, from bars: prices and volume of that day, and what its other days let one expect."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.bars import BarReport, Sessions, read_sessions
from hyperexec_env.execution.report import Mark

__all__ = ["MarketDay", "read_day"]

Floats = NDArray[np.float64]

RETURN_MINUTES: Final = 5
"""Length of the returns that tell the volatility."""
HALF_DAY: Final = "if the market itself closed then, give the length of its session, as --day-minutes 210 for 09:30 to 13:00"
"""What helps with a day that closed early."""


@dataclass(frozen=True, eq=False)
class MarketDay:
    """One full session; times are the wall clock in seconds after midnight, arrays have one value for each of N bars."""

    date: str
    edges: Floats
    """Begin of each bar, and the end of the last, shape (N + 1,)."""
    open: Floats
    """Currency per share, as the other prices."""
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    """Shares."""
    curve: Floats
    """Share of a day's volume in each bar, mean of the other sessions."""
    adv: float
    """Mean daily volume of the other sessions, shares a day."""
    volatility: float
    """Root of their mean realised variance, open to close, fraction per square root of a day."""
    others: int
    """Number of other sessions; 0: this day itself tells curve, ADV and volatility."""
    missing: NDArray[np.bool_]
    """Whether a bar was missing in the file: it has the last price, and a volume of 0."""
    zone: timezone | None
    """Offset of the wall clock from universal time; None where the bars carry none."""
    report: BarReport

    def bar(self, time: float) -> int:
        """Return the bar of a time; the last one at the close."""
        return min(int(np.searchsorted(self.edges, time, "right")) - 1, len(self.open) - 1)

    def mid(self, time: float, bar: int | None = None) -> float:
        """Return the price at a time: interpolated between the open and the close of its bar."""
        index = self.bar(time) if bar is None else bar
        part = (time - self.edges[index]) / (self.edges[index + 1] - self.edges[index])
        return float(self.open[index] + part * (self.close[index] - self.open[index]))

    def holds(self, time: float, price: float) -> bool:
        """Return whether the bar of a time traded at a price; on the edge of two bars, whether one of them did.

        Of a bar that was missing nobody knows: it may have traded at any price.
        """
        last = self.bar(time)
        first = last - 1 if last and time == self.edges[last] else last
        bars = slice(first, last + 1)
        return bool((self.missing[bars] | ((self.low[bars] <= price) & (price <= self.high[bars]))).any())

    def marks(self, start: float, end: float) -> list[Mark]:
        """Return the market from start to end: the begin and the end of each bar, with its volume and typical price.

        The typical price is (high + low + close) / 3. Of a bar that lies there in part, that part of the volume counts.
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

    def planned(self, quantity: int, start: float, end: float, by_volume: bool) -> list[tuple[float, float]]:
        """Return the shares that are to be done by the start, the edges of the bars after it, and the end.

        Even in time, or along the volume curve; either plan is a straight line within a bar.
        """
        inside = self.edges[(self.edges > start) & (self.edges < end)]
        times = np.array([start, *inside, end])
        sums = np.interp(times, self.edges, np.concatenate([[0.0], np.cumsum(self.curve)])) if by_volume else times
        sums = sums if sums[-1] > sums[0] else times
        return list(zip(times.tolist(), (quantity * (sums - sums[0]) / (sums[-1] - sums[0])).tolist(), strict=True))


def read_day(paths: Sequence[str], stamp: str, day: str, *, open_minute: int = 570, day_minutes: int = 390) -> MarketDay:
    """Read the session of a day from bar files; sessions that are faulty are left out and counted, unless it is that one.

    Args:
        paths: The files; see :func:`hyperexec_env.data.bars.read_sessions`.
        stamp: "start" or "end" of the bar: what the column `ts` holds.
        day: The day, as 2024-03-26.
        open_minute: Opening of the session, minutes after midnight.
        day_minutes: Length of the session, minutes.

    Raises:
        ValueError: A file cannot be read, or the day is no full session of it; the message says why.
    """
    sessions = read_sessions(paths, stamp, lenient=True, open_minute=open_minute, day_minutes=day_minutes)
    report = sessions.report
    if day not in sessions.dates:
        faulty = next((item for item in report.left_out if item.date == day), None)
        if faulty:
            hint = f"; {HALF_DAY}" if faulty.kind == "early close" else ""
            raise ValueError(f"{faulty} ({faulty.kind}); the day of the order must be a full session{hint}")
        span = f"its sessions are those of {report.first} to {report.last}"
        raise ValueError(f"{', '.join(report.files)}: no session of {day}, the day of the fills; {span}")
    at = sessions.dates.index(day)
    others = [index for index in range(len(sessions.dates)) if index != at] or [at]
    volume = sessions.volume[others]
    return MarketDay(
        date=day,
        edges=60.0 * (open_minute + sessions.bar_minutes * np.arange(volume.shape[1] + 1.0)),
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
        zone=sessions.zones[at],
        report=report,
    )


def _volatility(sessions: Sessions, days: Iterable[int]) -> float:
    """Return the root of the mean realised variance of some sessions, open to close."""
    every = RETURN_MINUTES // sessions.bar_minutes
    chosen = list(days)
    prices = np.concatenate([sessions.open[chosen, :1], sessions.close[chosen, every - 1 :: every]], axis=1)
    return math.sqrt((np.diff(np.log(prices), axis=1) ** 2).sum(axis=1).mean())
