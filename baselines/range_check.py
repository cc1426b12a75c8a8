"""Whether executions fit the market data: prices within the range of their bar or minute, and the likely cause if not."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.blotter import Blotter
from hyperexec_env.data.zones import HOUR, MINUTE, Nanoseconds, offset_text, utc_of

from .instrument import Instrument

__all__ = ["misfit"]

Floats = NDArray[np.float64]

MOST_OUTSIDE: Final = 0.5
"""Share of fills outside the range of their bar or minute from which on the market data are refused."""
_ENOUGH: Final = 0.8
"""Share of fills inside the range that makes a cause likely."""
_FEWEST: Final = 3
"""Number of fills from which on another stamp or time zone is tried: one or two fit at some time by chance."""
_SAMPLE: Final = 2000
_SLACK: Final = 1e-9
_FACTORS: Final = (100.0, 0.01, 1000.0, 0.001, 1e4, 1e-4)
_SPLITS: Final = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 1.5)


def misfit(blotter: Blotter, instrument: Instrument, excess: Floats) -> str:
    """Return why most executions of an instrument do not fit its market; "" if they do.

    Args:
        blotter: The executions of the instrument.
        instrument: Its market.
        excess: How far each price lies outside the range of its bar or minute, as a fraction; NaN if there is none.
    """
    known = np.isfinite(excess)
    outside = excess[known] > _SLACK
    far = ~known & ~instrument.path.held(blotter.time)
    most = known.any() and outside.mean() > MOST_OUTSIDE
    if not most and not far.mean() > MOST_OUTSIDE:
        return ""
    sample = np.linspace(0, len(blotter) - 1, min(len(blotter), _SAMPLE)).astype(np.int64)
    time, price = blotter.time[sample], blotter.price[sample]
    cause = _stamp(instrument, time, price) or _zone(blotter, instrument, time, price)
    if not most and not cause:
        return ""  # days without data, auctions and fills outside the hours
    if most:
        cause = cause or _price(instrument, time, price)
        first = int(np.flatnonzero(known)[outside.argmax()])
        interval = "bars" if instrument.bar else "minutes"
        found = f"{outside.sum():,} of {known.sum():,} executions lie outside the low-high range of their {interval}"
    else:
        first, found = int(far.argmax()), f"{far.sum():,} of {len(far):,} executions lie outside the times of the data"
    name = instrument.symbol or "the instrument"
    return f"{name}: {found}, the first in {blotter.where(first)}: {cause}"


def _inside(instrument: Instrument, time: Nanoseconds, price: Floats) -> float:
    """Return the share of fills within the range of their interval."""
    return float((instrument.ranges.excess(time, price) <= _SLACK).mean())


def _stamp(instrument: Instrument, time: Nanoseconds, price: Floats) -> str:
    """Return that bars are stamped at their other end, if the fills fit then."""
    shift, stamp = (-instrument.bar, "start") if instrument.stamp == "end" else (instrument.bar, "end")
    if instrument.bar and len(time) >= _FEWEST and _inside(instrument, time + shift, price) >= _ENOUGH:
        return f"the times of the bars are probably their {stamp}s; pass --stamp {stamp}"
    return ""


def _zone(blotter: Blotter, instrument: Instrument, time: Nanoseconds, price: Floats) -> str:
    """Return by how many hours the times are wrong, if the fills fit at another time."""
    if len(time) < _FEWEST:
        return ""
    shares = {half: _inside(instrument, time + half * HOUR // 2, price) for half in range(-30, 31) if half}
    best = max(shares, key=lambda half: (shares[half], -abs(half)))
    if shares[best] < _ENOUGH:
        return ""
    zone = blotter.provenance.zone.split(",")[0]
    text = f"they fit if their times are moved by {best / 2:+g} hours: check the time zone"
    if zone == "UTC":
        local = instrument.grid.calendar.zone
        return f"{text}; pass --fills-tz for the executions, or --tz for the market data, such as --tz {local}"
    moved = time + best * HOUR // 2
    wall = time + (time - utc_of(time, zone))  # the wall clock of the stamps
    if abs(int(np.median(moved - wall))) < MINUTE:
        return (
            f"{text}; the executions are probably in UTC: pass --fills-tz UTC (now {zone}, {offset_text(int(time[0]), zone)})"
        )
    return f"{text}; pass --fills-tz (now {zone})"


def _price(instrument: Instrument, time: Nanoseconds, price: Floats) -> str:
    """Return by which factor the prices are wrong, or that the instrument is."""
    ratio = float(np.median(price / instrument.path.mid(time)))
    for factor in _FACTORS:
        if abs(ratio / factor - 1.0) < 0.03:
            return f"their prices are {factor:g} times those of the market: check the unit of the price (pence, cents)"
    for factor in _SPLITS:
        for value, text in ((factor, f"{factor:g}:1"), (1.0 / factor, f"1:{factor:g}")):
            if abs(ratio / value - 1.0) < 0.03:
                return f"their prices are {ratio:.3g} times those of the market: a split of {text}, or adjusted prices"
    return (
        f"their prices are {100.0 * (ratio - 1.0):+.2f} % from the market at the median: check the instrument, the day, the "
        "time zone (--fills-tz, --tz) and the stamp of the bars (--stamp)"
    )
