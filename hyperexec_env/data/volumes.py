"""Faults of the volumes of bars: running totals, bars of many times the rest, and units other than the share.

Large bars that are real (block prints, auctions) are kept and noted. "Clean files" in the reasons of the thresholds are
those of :mod:`hyperexec_env.data.faults`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from .calendars import Calendar
from .days import Flags, Grid
from .tables import Bars
from .views import Fault, View, listed

__all__ = ["check_volumes", "large_bars", "odd_days", "single_totals", "totals", "volume_notes", "without_volume"]

MOST_SHARE: Final = 0.5
"""Largest plausible share of the daily volume in one bar between the auctions. Clean files: 18 % at one minute (SPY, option
expiry) and 16 % at five."""
MANY_TIMES: Final = 20.0
"""Volume of a bar, as a multiple of the usual second-largest bar of a session, that a block print does not exceed. Clean files:
14 (SPY); shares whose volumes scatter have large bars on most days."""
LONGEST_BAR: Final = 15.0
"""Minutes of a bar beyond which half of the volume may well lie in one bar, of a share whose volumes scatter."""
FEWEST_RISES: Final = 12
"""Bars that a single session needs so that volumes that only grow are no chance."""
BLOCK_SHARE: Final = 0.1
"""Share of the daily volume in one bar of up to five minutes from which the report names it as a block print."""
MOST_AUCTION: Final = 0.45
"""Largest plausible usual share of the first or last bar. Clean files: 8 % usual, 41 % in one session (five minutes)."""
ODD_AUCTION: Final = 0.2
"""Share of the volume in the first or last bar from which the report names it, if it is four times the usual one too."""
TOTAL_JUMP: Final = 5.0
"""Volume of a bar, as a multiple of the median, that is a running total if the bar after it is empty while its price moves.
Dirty files: 12 or more; clean files: no empty bar follows a bar of more than 1.7."""
EMPTY_MINUTES: Final = 5
"""Length of bars from which an empty bar whose price moves is suspicious beside a large auction too. Clean files: seven
such bars at one minute, none at five."""
LEAST_RISES: Final = 0.02
"""Share of falls in the volume from bar to bar below which it is a running total. Clean files: 42 % or more."""
LEAST_SCATTER: Final = 0.1
"""Share of the steps of a running total that are smaller than the step before. Clean files: their volumes, which are the steps
of their totals, fall in 42 % or more."""
FEWEST_DAYS: Final = 5
"""Sessions that are needed to compare their volumes, and on each side of a leap."""
ODD_DAY: Final = 50.0
"""Volume of a session as a multiple (or fraction) of the usual one, beyond which it is in another unit, if no other session
comes near. SPY in a year: 0.4 to 3.4."""
UNIT_LEAP: Final = 30.0
"""Lasting change of the daily volume from one day to the next, beyond which its unit has changed."""
LARGEST_TURNOVER: Final = 1e12
"""Largest plausible turnover of a day, in the currency of the prices. SPY: 2e10, Bitcoin: 3e9."""
SMALL_UNITS: Final = ("XKRX", "XIDX", "XTKS", "JPX", "XBOG", "XSGO", "XBUD", "XICE", "JKT")
"""Calendars of markets whose currency has small units, so that a turnover 1000 times as large is plausible."""
ADV_FACTOR: Final = 3.0
"""Ratio to the given average daily volume beyond which the unit of the volume is doubted."""


def totals(view: View) -> Iterator[Fault]:
    """Find sessions that mix in running totals: all bars grow, or empty bars follow totals although the price moves."""
    grid = view.grid
    if not grid.has_volume:
        return
    for session, bar in view.first(_growing(grid, FEWEST_RISES)[:, None] & (grid.row >= 0)):
        yield Fault(session, bar, "contaminated", "the volume grows from bar to bar: it is a running total of the day")
    total = grid.volume > TOTAL_JUMP * view.median
    after = np.zeros_like(total)
    after[:, 1:] |= total[:, :-1]
    after[:, 2:] |= total[:, :-2]
    odd = (_odd_auction(view, 0)[0] | _odd_auction(view, -1)[0]) & (grid.step >= EMPTY_MINUTES)
    for session, bar in view.first(_empty(grid) & (after | odd[:, None]) & view.liquid):
        empty = f"the volume of {view.clock(session, bar)} is 0 although its price moves"
        reason = f"{empty}, and another bar holds many times the usual volume, as in a feed that mixes in running totals"
        yield Fault(session, bar, "contaminated", reason)


def _odd_auction(view: View, bar: int) -> tuple[Flags, float]:
    """Return which sessions have an unusually large first (0) or last (-1) bar, shape (session,), and its usual share."""
    usual = float(np.median(view.share[:, bar]))
    return (view.share[:, bar] > max(ODD_AUCTION, 4.0 * usual)) & view.liquid[:, 0], usual


def _growing(grid: Grid, fewest: int = 5) -> Flags:
    """Return whether the volumes of each session of at least `fewest` bars are running totals, shape (session,)."""
    steps = np.diff(grid.volume, axis=1)
    both = (grid.row[:, 1:] >= 0) & (grid.row[:, :-1] >= 0)
    count = np.maximum(both.sum(axis=1), 1)
    falls, rises = ((sign * steps > 0.0) & both for sign in (-1, 1))
    few = falls.sum(axis=1) < LEAST_RISES * count
    scatter = ((np.diff(steps, axis=1) < 0.0) & both[:, 1:] & both[:, :-1]).sum(axis=1)  # steps scatter as volumes do
    return np.asarray(few & (rises.sum(axis=1) > 0.5 * count) & (count >= fewest) & (scatter > LEAST_SCATTER * count))


def single_totals(view: View) -> Iterator[Fault]:
    """Find single bars that hold the running total of the day, or the total in the first or the last bar."""
    grid, volume = view.grid, view.grid.volume
    if not grid.has_volume or grid.step > LONGEST_BAR or volume.shape[1] < 5:
        return
    big = (volume > 4.0 * TOTAL_JUMP * view.median) & (view.share > BLOCK_SHARE) & (volume > 3.0 * _second(view))
    true = np.where(big, view.median, volume)
    before = np.cumsum(true, axis=1) - true
    total = (volume >= 0.99 * before) & (volume <= 1.001 * before + TOTAL_JUMP * view.median)
    for session, bar in view.first(total & big & view.inside & view.liquid):
        reason = f"the volume of {view.clock(session, bar)} is the sum of those before it: a running total of the day"
        yield Fault(session, bar, "contaminated", reason)
    for bar, name in ((0, "first"), (-1, "last")):
        usual = float(np.median(view.share[:, bar]))
        rest = volume.sum(axis=1) - volume[:, bar]
        near = (volume[:, bar] >= 0.95 * rest) & (volume[:, bar] <= (1.1 + 3.0 * usual) * rest)
        wrong = near & (view.share[:, bar] > max(MOST_AUCTION, 3.0 * usual))
        for session in np.flatnonzero(wrong & view.liquid[:, 0]).tolist():
            held = f"{view.share[session, bar]:.0%} of the volume ({usual:.0%} usually)"
            yield Fault(session, bar % volume.shape[1], "contaminated", f"the {name} bar holds {held}: the total of the day")


def _second(view: View) -> float:
    """Return the usual volume of the second-largest bar of a session between the auctions."""
    return float(np.median(np.sort(np.where(view.inside, view.grid.volume, 0.0), axis=1)[:, -2]))


def large_bars(view: View) -> Iterator[Fault]:
    """Find bars between the auctions that hold more than a block print of this share can."""
    volume = view.grid.volume
    if not view.grid.has_volume or volume.shape[1] < 5:
        return
    wrong = (view.share > MOST_SHARE) & (volume > MANY_TIMES * _second(view)) & view.inside & view.liquid
    for session, bar in view.first(wrong):
        times = volume[session, bar] / view.median[session, 0]
        held = f"{view.share[session, bar]:.1%} of the day and {times:,.0f} times the usual one"
        yield Fault(
            session, bar, "contaminated", f"the volume of {view.clock(session, bar)} is {held}, more than a block print"
        )


def without_volume(view: View) -> Iterator[Fault]:
    """Find sessions in which no share is traded although their prices move: the data lack their volume."""
    for session in np.flatnonzero(_lacks_volume(view.grid)).tolist():
        reason = "the volume of the session is 0 although its prices move: the data lack its volume"
        yield Fault(session, 0, "no volume", reason)


def odd_days(view: View) -> Iterator[Fault]:
    """Find sessions whose volume is many times, or a small part of, that of all the others, as in another unit."""
    total = view.grid.volume.sum(axis=1)
    known = np.sort(total[total > 0.0])
    if len(known) < FEWEST_DAYS:
        return
    usual = float(np.median(known))
    for session, volume in enumerate(total.tolist()):
        is_large = volume > ODD_DAY * usual and volume > MANY_TIMES * known[-2]
        is_small = 0.0 < volume < usual / ODD_DAY and volume < known[1] / MANY_TIMES
        if is_large or is_small:
            reason = f"the volume of the session is {volume:,.0f}, but {usual:,.0f} usually: in another unit?"
            yield Fault(session, 0, "contaminated", reason)


def _lacks_volume(grid: Grid) -> Flags:
    """Return which sessions have no volume although their prices move, shape (session,)."""
    return np.asarray(grid.has_volume & (grid.volume == 0.0).all(axis=1) & (grid.high > grid.low).any(axis=1))


def volume_notes(grid: Grid, calendar: Calendar) -> list[str]:
    """Return sentences on what is unusual in the volumes of sessions that are kept."""
    if not grid.has_volume:
        return ["the data hold no volume"]
    if grid.volume.shape[1] == 1:
        idle = [item.date for item, volume in zip(grid.hours, grid.volume[:, 0].tolist(), strict=True) if not volume]
        text = f"{len(idle)} days ({len(idle) / len(grid.hours):.0%}) have no volume and one price, and count as quiet days"
        return [f"{text}: {listed(idle)}"] if idle else []
    view, notes = View.of(grid, calendar), []
    least = BLOCK_SHARE if grid.step < EMPTY_MINUTES else 1.5 * BLOCK_SHARE
    big = (view.share > least) & view.inside & view.liquid & (view.minutes <= EMPTY_MINUTES)
    texts = [
        f"{grid.hours[session].date} {view.clock(session, bar)} ({view.share[session, bar]:.0%} of the day)"
        for session, bar in np.argwhere(big).tolist()
    ]
    notes += [f"large bars are kept as block prints: {listed(texts)}"] if texts else []
    for bar, name in ((0, "first"), (-1, "last")):
        odd, usual = _odd_auction(view, bar)
        texts = [f"{grid.hours[session].date} ({view.share[session, bar]:.0%})" for session in np.flatnonzero(odd).tolist()]
        notes += [f"large {name} bars are kept as auctions ({usual:.0%} usually): {listed(texts)}"] if texts else []
    empty = _empty(grid)
    if empty.any():
        session, bar = np.argwhere(empty)[0].tolist()
        example = f"{grid.hours[session].date} {view.clock(session, bar)}"
        notes.append(f"{empty.sum():,} bars have no volume although their prices move, such as {example}; they are kept")
    return notes


def _empty(grid: Grid) -> Flags:
    """Return which bars have no volume although their prices move."""
    return np.asarray((grid.volume == 0.0) & (grid.high > grid.low) & (grid.row >= 0))


def check_volumes(bars: Bars, grid: Grid, calendar: Calendar, adv: float | None) -> None:
    """Check the unit of the volumes of all sessions.

    Args:
        bars: The table.
        grid: Its full sessions.
        calendar: The calendar.
        adv: Average daily volume that the data must agree with, shares; None if it is not known.

    Raises:
        ValueError: The volumes are running totals in most sessions, or their unit is not the share.
    """
    if adv is not None and not adv > 0.0:
        raise ValueError(f"adv must be above 0 (shares a day), got {adv!r}")
    if not grid.has_volume or not grid.hours:
        return
    files = ", ".join(bars.provenance.files)
    _check_known(grid, files)
    _check_unit(grid, files)
    _check_growth(View.of(grid, calendar), files)
    turnover = float(np.median((grid.volume * grid.close).sum(axis=1)))
    most = LARGEST_TURNOVER * (1000.0 if calendar.name in SMALL_UNITS else 1.0)
    if turnover > most:
        raise ValueError(
            f"{files}: price x volume is {turnover:.3g} a day, more than any market trades ({most:.0g}): is the volume in "
            "currency? Divide it by the price, or name the column of shares with --columns volume=NAME"
        )
    if adv is not None:
        _check_adv(grid, files, adv)


def _check_known(grid: Grid, files: str) -> None:
    """Raise ValueError if most sessions have no volume although their prices move."""
    lacking = np.flatnonzero(_lacks_volume(grid))
    count = len(grid.hours)
    if 2 * len(lacking) <= count:
        return
    last = int(lacking[-1])
    advice = f"pass --since {grid.hours[last + 1].date} for the sessions after them, or " if last + 20 < count else ""
    raise ValueError(
        f"{files}: the volume of {len(lacking)} of {count} sessions is 0 although their prices move, so that the average daily "
        f"volume is unknown: {advice}name the column of the volume with --columns volume=NAME"
    )


def _check_unit(grid: Grid, files: str) -> None:
    """Raise ValueError if the daily volume leaps for good, as in another unit, or grows from day to day, as a running total."""
    total = grid.volume.sum(axis=1)
    if len(total) < 2 * FEWEST_DAYS or not total.all():
        return
    steps = np.diff(np.log(total))
    if len(steps) >= 20 and (steps < 0.0).mean() < LEAST_RISES and (steps > 0.0).mean() > 0.5:
        raise ValueError(
            f"{files}: the daily volume grows from day to day: it is a running total; replace it by its differences"
        )
    inner = np.abs(steps[FEWEST_DAYS - 1 : len(steps) - FEWEST_DAYS + 1])
    at = int(inner.argmax()) + FEWEST_DAYS
    before, after = np.log(total[:at]), np.log(total[at:])
    upper, lower = (before, after) if np.median(before) > np.median(after) else (after, before)
    if np.median(upper) - np.median(lower) > np.log(UNIT_LEAP) and upper.min() > lower.max() + np.log(UNIT_LEAP) / 2.0:
        ratio = float(np.exp(np.median(upper) - np.median(lower)))
        raise ValueError(
            f"{files}: the daily volume changes {ratio:,.0f}-fold from {grid.hours[at - 1].date} to {grid.hours[at].date} and "
            f"stays there: another unit, such as lots? Convert it, or pass --since {grid.hours[at].date}"
        )


def _check_growth(view: View, files: str) -> None:
    """Raise ValueError if the volumes are running totals, or the first or last bar the total, in most sessions."""
    grid = view.grid
    growing = int(_growing(grid).sum())
    if 2 * growing > len(grid.volume):
        raise ValueError(
            f"{files}: in {growing} of {len(grid.volume)} sessions the volume grows from bar to bar: it is a running total of "
            "the day; replace the volume of each bar by its difference from the bar before"
        )
    if grid.step > LONGEST_BAR or grid.volume.shape[1] < 20 or not np.median(view.liquid):
        return
    for bar, name in ((0, "first"), (-1, "last")):
        usual = float(np.median(view.share[:, bar]))
        if usual > MOST_AUCTION:
            raise ValueError(
                f"{files}: the {name} bar holds {usual:.0%} of the volume in most sessions: it is the total of the day; "
                f"leave the {name} bar out, or replace its volume"
            )


def _check_adv(grid: Grid, files: str, adv: float) -> None:
    """Raise ValueError if the usual daily volume of sessions is not near the given one; the message names the likely unit."""
    found, price = float(np.median(grid.volume.sum(axis=1))), float(np.median(grid.close))
    ratio = max(found / adv, 1e-300)
    if 1.0 / ADV_FACTOR <= ratio <= ADV_FACTOR:
        return
    units = {"round lots of 100": 0.01, "lots of 10": 0.1, "lots (or thousands)": 0.001, "currency": price}
    near = min(units, key=lambda name: abs(np.log(ratio / units[name])))
    likely = abs(np.log(ratio / units[near])) < np.log(ADV_FACTOR)
    unit = f"the volume seems to be in {near}" if likely else "the volume may count trades, or belong to another instrument"
    raise ValueError(
        f"{files}: the usual daily volume is {found:,.0f}, but adv is {adv:,.0f}: {unit}; convert it to shares, or name the "
        "column of shares with --columns volume=NAME"
    )
