"""Made bars of any market: prices that walk, volumes that peak at open and close, in the notation that a test wants."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

MINUTE = 60 * 10**9
ZONES = {
    **{"XNYS": "America/New_York", "XTKS": "Asia/Tokyo", "XHKG": "Asia/Hong_Kong", "XASX": "Australia/Sydney"},
    **{"XLON": "Europe/London", "XETR": "Europe/Berlin", "CMES": "America/Chicago"},
}


@dataclass
class Made:
    """Bars in ascending order; `time` is the start of each bar in UTC, nanoseconds, `day` the number of its session."""

    time: np.ndarray
    day: np.ndarray
    minute: np.ndarray
    """Minutes of trading from the open; negative before it, beyond the close after it."""
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    step: int
    zone: str

    def only(self, kept):
        """Return some of the bars."""
        values = {name: value[kept] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **values)

    def at(self, day, minute):
        """Return the index of a bar."""
        return int(np.flatnonzero((self.day == day) & (self.minute == minute))[0])

    def scaled(self, factor, chosen=slice(None)):
        """Multiply the prices of some bars."""
        for name in ("open", "high", "low", "close"):
            getattr(self, name)[chosen] *= factor
        return self

    def joined(self, *others):
        """Return the bars of several markets, one after the other."""
        both = [self, *others]
        names = [name for name, value in vars(self).items() if isinstance(value, np.ndarray)]
        return replace(self, **{name: np.concatenate([getattr(item, name) for item in both]) for name in names})

    def frame(self, form="naive", zone="", stamp="start"):
        """Return a pyarrow table; the form is naive (wall clock of `zone`), offset, Z or timestamp (in UTC)."""
        arrow = pytest.importorskip("pyarrow")
        time = self.time + (self.step * MINUTE if stamp == "end" else 0)
        if form == "timestamp":
            stamps = arrow.array(time).cast(arrow.timestamp("ns", "UTC"))
        else:
            info = ZoneInfo(zone or self.zone)
            moments = [datetime.fromtimestamp(item // 10**9, UTC).astimezone(info) for item in time.tolist()]
            if form == "Z":
                stamps = [moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]
            elif form == "offset":
                stamps = [moment.isoformat() for moment in moments]
            else:
                stamps = [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in moments]
        prices = {name: getattr(self, name) for name in ("open", "high", "low", "close")}
        volume = {} if self.volume is None else {"volume": self.volume}
        return arrow.table({"ts": stamps, **prices, **volume})


def make(
    first="2025-07-07", last="2025-07-11", calendar="XNYS", step=1, extended=0, aligned=False, seed=0, adv=2e6, price=100.0,
    traded=1.0, volatility=0.01,
):  # fmt: skip
    """Return the bars of the sessions of a calendar of exchange_calendars.

    Args:
        first: First day.
        last: Last day.
        calendar: Name of the calendar; 24/5 begins on Sunday at 17:00 New York, and the last hour of CMES is closed.
        step: Length of a bar, minutes.
        extended: Minutes of thin trading before the open and after the close.
        aligned: Whether the bars begin at multiples of `step` after midnight, instead of counting from the open.
        seed: Seed of the noise.
        adv: Mean daily volume, shares.
        price: First price.
        traded: Probability that a minute has a trade.
        volatility: Of a day.
    """
    rng, parts, level = np.random.default_rng(seed), [], price
    for number, (begin, end, pause, resume) in enumerate(_hours(calendar, first, last)):
        clock = np.arange(begin - extended * MINUTE, end + extended * MINUTE, MINUTE)
        clock = clock[~((clock >= pause) & (clock < resume))]
        minute = (clock - begin - np.clip(clock - pause, 0, resume - pause)) // MINUTE
        length = (end - begin - (resume - pause)) // MINUTE
        part = _session(rng, clock, minute, length, adv, level, volatility, traded, end - begin > 20 * 60 * MINUTE)
        level = part[4][-1]
        parts.append((np.full(len(clock), number), *part))
    day, clock, minute, opening, high, close, low, volume = map(np.concatenate, zip(*parts, strict=True))
    made = Made(clock, day, minute, opening, high, low, close, volume, 1, ZONES.get(calendar, "UTC"))
    made = made.only(rng.random(len(clock)) < traded) if traded < 1.0 else made
    return made if step == 1 else _coarser(made, step, aligned)


def _hours(calendar, first, last):
    """Yield open, close, begin and end of the break of each session, nanoseconds in UTC."""
    exchange = {"24/5": "XNYS", "CMES": "XNYS"}.get(calendar, calendar)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        market = pytest.importorskip("exchange_calendars").get_calendar(exchange, start=first, end=last)
    for day, hours in market.schedule.iterrows():
        begin, end = (hours[key].value for key in ("open", "close"))
        if exchange != calendar:  # from the evening before on
            zone, opening, length = ("America/New_York", 17, 24) if calendar == "24/5" else ("America/Chicago", 17, 23)
            evening = datetime(day.year, day.month, day.day, opening, tzinfo=ZoneInfo(zone)) - timedelta(days=1)
            begin = int(evening.timestamp()) * 10**9
            end = begin + length * 60 * MINUTE
        pause, resume = (hours[key].value if hours[key] == hours[key] else end for key in ("break_start", "break_end"))
        yield begin, end, pause, resume


def _session(rng, clock, minute, length, adv, level, volatility, traded, flat):
    """Return clock, minute and the values of the minutes of one session."""
    count, inside = len(clock), (minute >= 0) & (minute < length)
    shape = np.ones(count) if flat else 0.6 + 2.4 * (2.0 * (minute + 0.5) / length - 1.0) ** 4
    shape = np.where(inside, shape, 0.02)
    if not flat:
        shape[np.isin(minute, (0, length - 1))] *= 4.0
    volume = np.round(shape / shape[inside].sum() * adv / traded * rng.lognormal(-0.08, 0.4, count))
    path = level * np.exp(np.cumsum(rng.normal(0.0, volatility / np.sqrt(length), count)))
    opening = np.concatenate([[level], path[:-1]])
    spread = level * volatility / np.sqrt(length)
    high = np.maximum(opening, path) + spread * rng.random(count)
    low = np.minimum(opening, path) - spread * rng.random(count)
    return clock, minute, opening, high, path, low, np.maximum(volume, 1.0)


def _coarser(made, step, aligned):
    """Return bars of `step` minutes."""
    gap = np.append(True, (np.diff(made.time) > 30 * MINUTE) | (np.diff(made.day) != 0))
    origin = made.time[np.maximum.accumulate(np.where(gap, np.arange(len(gap)), 0))]  # of the part of the session
    start = (made.time - (0 if aligned else origin)) // (step * MINUTE)
    new = gap | np.append(True, np.diff(start) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(start)) - 1
    time = start[first] * step * MINUTE + (0 if aligned else origin[first])
    return replace(
        made,
        time=time,
        day=made.day[first],
        minute=made.minute[first],
        open=made.open[first],
        high=np.maximum.reduceat(made.high, first),
        low=np.minimum.reduceat(made.low, first),
        close=made.close[last],
        volume=np.add.reduceat(made.volume, first),
        step=step,
    )


@pytest.fixture(name="make")
def make_fixture():
    """Return :func:`make`."""
    return make
