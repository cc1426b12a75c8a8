"""Faults of a tape: holes in the quotes, quotes of another clock than the trades, and single prints that outweigh a session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calendars import Calendar, SessionHours, session_index
from .tables import Quotes, Trades
from .views import listed
from .zones import HOUR, MINUTE, ZONES, Nanoseconds, local_of, utc_of

__all__ = ["Hole", "LargePrint", "check_clocks", "hole_notes", "holes_of", "large_prints", "print_notes"]

LEAST_HOLE: Final = 5 * MINUTE
"""Shortest time without a row that is called a hole."""
HOLE_GAPS: Final = 10.0
"""Length of a hole as a multiple of the 99 % quantile of the gaps between rows. Clean files: at most 4 (IBM, one second)."""
SHIFTS: Final = 28
"""Half-hours by which quotes are moved in both directions, to see whether the trades lie within them then."""
SAMPLE: Final = 4_000
"""Trades that are compared with the quotes."""
FEWEST: Final = 50
"""Trades beside a quote below which a shift says nothing."""
LEAST_GAIN: Final = 0.15
"""Share of the trades within the spread that a shift of the quotes gains at least, and doubles, if their clocks differ."""
LARGE_SHARE: Final = 0.5
"""Share of the volume of a session in one print, above which the report names it."""
FEWEST_PRINTS: Final = 20
"""Trades of a session below which one of them may well hold most of the volume."""
OFF_PRICE: Final = 0.02
"""Distance from the prices around it, as a fraction, beyond which a large print is an error, and not a block."""
_NEAR: Final = 10
"""Prints on both sides to which the price of a large print is compared."""


class Hole(NamedTuple):
    """A time within a session without a row; nanoseconds in UTC."""

    session: int
    start: int
    end: int


class LargePrint(NamedTuple):
    """A print that holds most of the volume of its session."""

    row: int
    """Index in the table of trades."""
    session: int
    share: float
    """Share of the volume of the session."""
    off: float
    """Distance from the median of the prices around it, fraction."""

    @property
    def is_error(self) -> bool:
        """Whether the price contradicts those around it."""
        return self.off > OFF_PRICE


def holes_of(time: Nanoseconds, hours: Sequence[SessionHours]) -> list[Hole]:
    """Return the times within sessions in which rows are absent far longer than elsewhere.

    The begin and the end of the data within a session are no holes, and neither is a break.

    Args:
        time: Times of the rows, ascending, shape (row,).
        hours: Sessions in order.
    """
    spans = [np.searchsorted(time, ends) for item in hours for ends in _parts(item)]
    gaps = [np.diff(time[first:last]) for first, last in spans if last - first > 1]
    if not gaps:
        return []
    least = max(LEAST_HOLE, HOLE_GAPS * float(np.quantile(np.concatenate(gaps), 0.99)))
    found = []
    for session, item in enumerate(hours):
        for start, end in _parts(item):
            first, last = np.searchsorted(time, (start, end))
            inner = time[first:last]
            if not len(inner):
                continue
            before = [start] if first > 0 else []
            after = [end] if last < len(time) else []
            edges = np.concatenate([np.array(before, np.int64), inner, np.array(after, np.int64)])
            wide = np.flatnonzero(np.diff(edges) > least)
            found += [Hole(session, int(edges[at]), int(edges[at + 1])) for at in wide.tolist()]
    return found


def _parts(item: SessionHours) -> list[tuple[int, int]]:
    """Return the times of trading of a session before and after its break."""
    if item.break_start < item.close:
        return [(item.open, item.break_start), (item.break_end, item.close)]
    return [(item.open, item.close)]


def hole_notes(what: str, holes: Sequence[Hole], hours: Sequence[SessionHours], calendar: Calendar, effect: str) -> list[str]:
    """Return a sentence on holes in some rows (`what`), and what they mean for the result (`effect`)."""
    texts = [
        f"{hours[hole.session].date} {calendar.clock(hole.start)}-{calendar.clock(hole.end)} "
        f"({(hole.end - hole.start) / MINUTE:.0f} minutes)"
        for hole in holes
    ]
    return [f"no {what} within sessions although they are dense elsewhere: {listed(texts)}; {effect}"] if texts else []


def check_clocks(
    trades: Trades, quotes: Quotes, time: Nanoseconds, low: NDArray[np.float64], high: NDArray[np.float64], calendar: Calendar
) -> None:
    """Raise ValueError if the trades lie within the quotes of another time of day, and not within those of their own.

    Args:
        trades: The trades.
        quotes: The quotes.
        time: Time from which each good quote is valid, ascending, shape (quote,).
        low: Bid of each good quote, currency per share.
        high: Offer of each good quote, currency per share.
        calendar: The calendar.
    """
    shifts = np.arange(-SHIFTS, SHIFTS + 1) * (HOUR // 2)
    beside = (trades.time > time[0] + shifts[0]) & (trades.time < time[-1] + shifts[-1]) & ~trades.suspicious
    rows = np.flatnonzero(beside)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64)] if len(rows) else rows
    oldest = max(LEAST_HOLE, int(HOLE_GAPS * np.quantile(np.diff(time), 0.99))) if len(time) > 1 else LEAST_HOLE
    share = np.array(
        [_within(trades.time[rows] + shift, trades.price[rows], time, low, high, oldest) for shift in shifts.tolist()]
    )
    known = np.isfinite(share)
    if not known.any():
        return
    best = int(np.nanargmax(np.where(known, share, -1.0)))
    here = share[SHIFTS] if known[SHIFTS] else 0.0
    if share[best] < 2.0 * here or share[best] - here < LEAST_GAIN:
        return
    files = ", ".join(dict.fromkeys((*trades.provenance.files, *quotes.provenance.files)))
    shift = int(shifts[best])
    raise ValueError(
        f"{files}: {here:.0%} of the trades lie within the spread of their time, but {share[best]:.0%} within that of the "
        f"quotes stamped {abs(shift) / HOUR:g} hours {'later' if shift > 0 else 'earlier'}: trades and quotes have different "
        f"clocks; {_zone_advice(trades, quotes, shift, calendar)}"
    )


def _within(
    when: Nanoseconds,
    price: NDArray[np.float64],
    time: Nanoseconds,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    oldest: int,
) -> float:
    """Return the share of prices at some times that lie within the quotes then; NaN if too few times have a recent quote."""
    at = np.searchsorted(time, when, side="left") - 1
    recent = (at >= 0) & (when - time[np.maximum(at, 0)] <= oldest)
    if recent.sum() < max(FEWEST, 0.2 * len(when)):
        return float("nan")
    bid, ask, paid = low[at[recent]], high[at[recent]], price[recent]
    slack = 1e-9 * paid
    return float(((paid >= bid - slack) & (paid <= ask + slack)).mean())


def _zone_advice(trades: Trades, quotes: Quotes, shift: int, calendar: Calendar) -> str:
    """Return the option that brings trades and quotes together; the quotes are later than the trades by `shift`."""
    hours = calendar.sessions(int(trades.time[0]) - abs(shift), int(trades.time[-1]) + abs(shift))
    inside, moved = (float((session_index(trades.time + by, hours) >= 0).mean()) if hours else 0.0 for by in (0, shift))
    are_trades_wrong = moved > inside + 0.02
    table: Trades | Quotes
    table, by, option = (trades, shift, "--tz") if are_trades_wrong else (quotes, -shift, "--quotes-tz")
    name = "trades" if are_trades_wrong else "quotes"
    if not table.provenance.is_naive:
        other = quotes if are_trades_wrong else trades
        if not other.provenance.is_naive:
            return f"the offset that the stamps of the {name} carry is wrong; write them anew"
        table, by, option = (quotes, -shift, "--quotes-tz") if are_trades_wrong else (trades, shift, "--tz")
    zone = table.provenance.zone
    middle = table.time[[len(table.time) // 2]]
    wall = local_of(middle, zone)
    likely = next((item for item in ZONES if int(utc_of(wall, item)[0] - middle[0]) == by), "")
    return f"pass {option} {likely}" if likely else f"pass the zone of the {type(table).__name__.lower()} with {option}"


def large_prints(trades: Trades, hours: Sequence[SessionHours]) -> list[LargePrint]:
    """Return the prints that hold more than half of the volume of their session."""
    found = []
    for session, item in enumerate(hours):
        first, last = np.searchsorted(trades.time, (item.open, item.close)).tolist()
        size = trades.size[first:last]
        if len(size) < FEWEST_PRINTS or not size.any():
            continue
        at = int(size.argmax())
        share = float(size[at] / size.sum())
        if share > LARGE_SHARE:
            row = first + at
            around = np.delete(trades.price[max(first, row - _NEAR) : min(last, row + _NEAR + 1)], min(at, _NEAR))
            off = abs(float(trades.price[row] / np.median(around)) - 1.0)
            found.append(LargePrint(row, session, share, off))
    return found


def print_notes(prints: Sequence[LargePrint], trades: Trades, hours: Sequence[SessionHours], calendar: Calendar) -> list[str]:
    """Return sentences on prints that hold most of the volume of a session: blocks that are kept, and errors that are not."""
    notes = []
    for is_error, outcome in (
        (False, "kept in the volume as blocks"),
        (True, "left out, since their prices are off the market"),
    ):
        texts = [
            f"{trades.where(item.row)}: {trades.size[item.row]:,.0f} at {trades.price[item.row]:g}, {item.share:.0%} of "
            f"{hours[item.session].date}" + (f", {item.off:.0%} from the prices around it" if is_error else "")
            for item in prints
            if item.is_error is is_error
        ]
        notes += [f"prints of more than half of a session are {outcome}: {listed(texts)}"] if texts else []
    return notes
