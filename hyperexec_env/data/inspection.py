"""Inspect data: what was recognised, which sessions can be used, and why others can not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .aggregate import bars_of_trades
from .calendars import ALWAYS, WEEKDAYS, Calendar, SessionHours, calendar_of, session_index
from .days import LeftOut
from .format import Format
from .kinds import kind_of
from .reader import read_bars, read_quotes, read_trades
from .sessions import BarReport, Sessions, sessions_of
from .shifts import weekend_shift
from .sources import Data, find_sources
from .tables import Bars, Quotes, Table, Trades
from .tape_faults import hole_notes, holes_of, large_prints, print_notes

__all__ = ["KINDS", "Inspection", "SessionLine", "inspect_data"]

KINDS: Final = ("bars", "trades", "quotes", "messages")
"""Kinds of data, in the order in which they are tried."""


class SessionLine(NamedTuple):
    """One session of the data."""

    date: str
    rows: int
    open: float
    """First price of the session (mid, for quotes), currency per share."""
    close: float
    low: float
    high: float
    volume: float
    """Shares; NaN for quotes."""
    half_spread_bps: float
    """Median half of the quoted spread, bps of the mid; NaN for bars and trades."""
    state: str
    """used, or the reason for which the session is left out."""


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection; ``print`` shows it as text."""

    kind: str
    """bars, trades, quotes or messages."""
    table: Table
    calendar: Calendar
    lines: tuple[SessionLine, ...]
    outside: int
    """Rows outside the hours of the calendar."""
    report: BarReport | None
    """The report on the bars (or on one-minute bars of the trades); None for quotes, and for unusable data."""
    sessions: Sessions | None
    """The full sessions; None for quotes, and for unusable data."""
    fault: str
    """Why the data cannot be used; "" if they can."""
    left_out: tuple[LeftOut, ...] = ()
    """The sessions that are left out, and why."""
    notes: tuple[str, ...] = ()
    """Sentences on what is unusual in trades and quotes, and on what could not be checked."""

    @property
    def exit_code(self) -> int:
        """0 if the data can be used, 1 otherwise."""
        return int(bool(self.fault))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; unknown numbers are null."""
        lines = [{key: None if value != value else value for key, value in line._asdict().items()} for line in self.lines]
        return {
            "kind": self.kind,
            "symbol": self.table.symbol,
            "provenance": self.table.provenance.to_dict(),
            "calendar": self.calendar.name,
            "zone": self.calendar.zone,
            "sessions": lines,
            "outside": self.outside,
            "bars": self.report.to_dict() if self.report else None,
            "fault": self.fault,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Return the inspection as text, with a line for each session."""
        head = f"{self.kind}{f' of {self.table.symbol}' if self.table.symbol else ''}"
        about = str(self.report) if self.report else f"{self.table.provenance}\ncalendar {self.calendar.name}"
        text = "\n".join(line for line in about.split("\n") if not line.startswith("left out ("))
        end = f"\nnot usable: {self.fault}" if self.fault else ""
        return "\n".join([head, text, *self.notes, "", _table(self.lines) + end])


def inspect_data(data: Data, format: Format | None = None, kind: str = "", adv: float | None = None) -> Inspection:
    """Return what some data hold, session by session, and whether they can be used.

    Args:
        data: See :func:`~hyperexec_env.data.reader.read_bars`.
        format: How to read what the data do not say themselves.
        kind: What the data are, one of :data:`KINDS`; "": determined from the first source.
        adv: Average daily volume, shares, that the data must agree with within a factor of 3; None if it is not known.

    Raises:
        ValueError: The data cannot be read; the message names file, line, column and value.
        MissingExtra: The extra `data` is not installed.
    """
    format = format or Format()
    kind = kind or kind_of(find_sources(data, "files"), format, KINDS)
    calendar = calendar_of(format.calendar, format.hours, format.tz)
    if kind == "quotes":
        quotes = read_quotes(data, format)
        return _of_quotes(quotes, calendar)
    table: Bars | Trades = read_bars(data, format) if kind == "bars" else read_trades(data, format)
    bars = table if isinstance(table, Bars) else bars_of_trades(table)
    try:
        sessions = sessions_of(bars, format, lenient=True, adv=adv)
    except ValueError as error:
        left_out = getattr(error, "left_out", ())
        states = {item.date: f"left out ({item.kind}): {item.reason}" for item in left_out}
        lines, outside = _lines(bars.time, calendar, bars, states)
        fault = "" if kind != "bars" and lines else str(error)
        return Inspection(
            kind, table, calendar, lines, outside, None, None, fault, left_out, tuple(_tape_notes(table, calendar))
        )
    report = sessions.report
    states = {item.date: f"left out ({item.kind}): {item.reason}" for item in report.left_out}
    lines, _ = _lines(bars.starts(report.stamp), calendar, bars, states)
    notes = (*_tape_notes(table, calendar), *_unchecked(sessions, adv))
    return Inspection(kind, table, calendar, lines, report.outside_bars, report, sessions, "", report.left_out, notes)


def _tape_notes(table: Table, calendar: Calendar) -> list[str]:
    """Return sentences on holes in trades or quotes, and on single trades that outweigh a session."""
    if not len(table) or isinstance(table, Bars):
        return []
    hours = calendar.sessions(int(table.time[0]), int(table.time[-1]))
    if isinstance(table, Trades):
        prints = large_prints(table, hours)
        holes = holes_of(table.time, hours)
        effect = "a halt, or trades that the data lack"
        return [*hole_notes("trades", holes, hours, calendar, effect), *print_notes(prints, table, hours, calendar)]
    time = table.time[~np.isnan(table.mid)] if isinstance(table, Quotes) else table.time
    return hole_notes("quotes", holes_of(time, hours), hours, calendar, "a halt, or quotes that the data lack")


def _unchecked(sessions: Sessions, adv: float | None) -> list[str]:
    """Return sentences on what the content of bars cannot show: the zone without a close, and the unit of the volume."""
    report, notes = sessions.report, []
    is_open = report.calendar in (ALWAYS, WEEKDAYS) and not sessions.calendar.hours and report.bar_minutes < 1440
    weekend = weekend_shift(np.array([item.open for item in sessions.hours]), report.day_minutes) if is_open else None
    if is_open and report.provenance.is_naive and (report.calendar == ALWAYS or weekend is None):
        notes.append(
            f"the zone {report.provenance.zone} is not checked, since the market has no close in these data: compare the hour "
            "of the largest moves with that of a known event, such as the US employment report at 08:30 New York"
        )
    if not sessions.has_volume or adv is not None:
        return notes
    daily = float(np.median(sessions.volume.sum(axis=1)))
    shown = f"{daily:,.0f}" if daily >= 1000.0 else f"{daily:,.6g}"
    notes.append(f"the unit of the volume is not checked: compare {shown} a day with the known daily volume, or pass --adv")
    return notes


def _of_quotes(quotes: Quotes, calendar: Calendar) -> Inspection:
    """Return the inspection of quotes."""
    crossed = float(np.mean(quotes.bid > quotes.ask))
    lines, outside = _lines(quotes.time, calendar, quotes, {})
    fault = f"{crossed:.0%} of the quotes have a bid above the ask: are the columns swapped?" if crossed > 0.1 else ""
    notes = [*_tape_notes(quotes, calendar), *_quote_zone(quotes, outside)]
    return Inspection("quotes", quotes, calendar, lines, outside, None, None, fault, notes=tuple(notes))


def _quote_zone(quotes: Quotes, outside: int) -> list[str]:
    """Return sentences on the zone of quotes, which only their trades can confirm."""
    if not quotes.provenance.is_naive:
        return []
    share = f", of which {outside / len(quotes):.0%} lie outside the hours" if outside else ""
    return [
        f"the zone {quotes.provenance.zone} of the quotes{share} is not checked here: `hyperexec measure` compares it with "
        "that of the trades"
    ]


def _lines(
    start: NDArray[np.int64], calendar: Calendar, table: Bars | Quotes, states: dict[str, str]
) -> tuple[tuple[SessionLine, ...], int]:
    """Return a line for each session that holds rows, and the number of rows outside all sessions."""
    if not len(start):
        return (), 0
    hours = calendar.sessions(int(start.min()), int(start.max()))
    index = session_index(start, hours) if hours else np.full(len(start), -1)
    inside = np.flatnonzero(index >= 0)
    order = inside[np.argsort(index[inside], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(index[order])) + 1) if len(order) else []
    lines = [_line(hours[int(index[rows[0]])], rows, table, states) for rows in groups]
    return tuple(lines), len(start) - len(inside)


def _line(hours: SessionHours, rows: NDArray[np.int64], table: Bars | Quotes, states: dict[str, str]) -> SessionLine:
    """Return the line of one session."""
    state, unknown = states.get(hours.date, "used"), float("nan")
    if isinstance(table, Bars):
        first, last, low, high = table.open[rows[0]], table.close[rows[-1]], table.low[rows].min(), table.high[rows].max()
        volume, spread = float(table.volume[rows].sum()), unknown
    else:
        mid = table.mid[rows]
        known = mid[~np.isnan(mid)] if not np.isnan(mid).all() else np.array([unknown])
        first, last, low, high = known[0], known[-1], known.min(), known.max()
        width = (table.ask[rows] - table.bid[rows])[~np.isnan(mid)]
        volume, spread = unknown, 1e4 * float(np.median(width / (2.0 * known))) if len(width) else unknown
    return SessionLine(hours.date, len(rows), float(first), float(last), float(low), float(high), volume, spread, state)


def _table(lines: Sequence[SessionLine]) -> str:
    """Return the lines as a text table, without columns in which no number is known."""
    rows = [("session", "rows", "open", "close", "low", "high", "volume", "half-spread bps", ""), *map(_cells, lines)]
    shown = [at for at in range(len(rows[0]) - 1) if any(row[at] for row in rows[1:])]
    widths = {at: max(len(row[at]) for row in rows) for at in shown}
    return "\n".join("  ".join([*(f"{row[at]:>{widths[at]}}" for at in shown), row[-1]]).rstrip() for row in rows)


def _cells(line: SessionLine) -> tuple[str, ...]:
    """Return the cells of a line of the table; "" for unknown numbers."""
    prices = [f"{value:,.6g}" if value == value else "" for value in line[2:6]]
    volume = f"{line.volume:,.6g}" if line.volume < 1000 else f"{line.volume:,.0f}"
    spread = f"{line.half_spread_bps:.3f}" if line.half_spread_bps == line.half_spread_bps else ""
    return (line.date, f"{line.rows:,}", *prices, volume if line.volume == line.volume else "", spread, line.state)
