"""Bar data: read files of one-minute or five-minute bars, validate them and split them into full trading sessions."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timezone
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_integer
from hyperexec_env.extras import MissingExtra, need
from hyperexec_env.files import csv_rows, open_regular, printable

__all__ = ["COLUMNS", "BarReport", "LeftOut", "Sessions", "read_sessions", "zone"]

Floats = NDArray[np.float64]

COLUMNS: Final = ("ts", "open", "high", "low", "close", "volume")
"""Required columns of a file, in any order; other columns are ignored."""
MAX_BAR_SHARE: Final = {1: 0.10, 5: 0.20}
"""Largest plausible share of the daily volume in one bar, by bar length in minutes; more suggests a cumulative daily total."""
EDGE_MINUTES: Final = 5
"""First and last minutes of the session, which hold the auctions; any volume is plausible there."""
MAX_MISSING_MINUTES: Final = 10
"""Largest number of missing minutes of a session; missing bars are filled with the last price and zero volume, and counted."""
EARLY_CLOSE: Final = (225.0 / 390.0, 0.05)
"""A session with less than 5 % of its volume after 225 of 390 minutes (13:15; half days close at 13:00) is an early close."""
MOST_BARS: Final = 10_000_000
"""Largest number of bars of a file (26 years of a market that never closes): the sessions then take 400 MB."""
_HEAD: Final = 20_000
"""Number of bars at the beginning of a file from which the length of its bars is determined."""
_LONGEST_SESSION: Final = 3_000
"""Number of bars of a session beyond which no more bars are stored: some of them are duplicates."""
CALENDAR_KINDS: Final = ("early close", "late start")
"""Kinds of sessions that are left out and counted without being errors."""


class LeftOut(NamedTuple):
    """A session that is left out, and the reason."""

    kind: str
    """early close, late start, contaminated, gap, disorder, duplicate, bad value or repeated session."""
    line: int
    """Line of the csv file (or row of the parquet file) of the fault."""
    reason: str
    file: str = ""
    date: str = ""

    def __str__(self) -> str:
        """Return file, line, date and reason."""
        return f"{self.file}, {'row' if self.file.endswith('.parquet') else 'line'} {self.line}: {self.date}: {self.reason}"


@dataclass(frozen=True)
class BarReport:
    """Summary of the files read; ``print`` shows it as text."""

    files: tuple[str, ...]
    bar_minutes: int
    used: int
    """Number of sessions used."""
    first: str
    last: str
    filled_bars: int
    """Missing bars in the used sessions, filled with the last price and zero volume."""
    outside_bars: int
    """Bars before the open or after the close; they are not used."""
    left_out: tuple[LeftOut, ...]

    def counts(self) -> dict[str, int]:
        """Return the number of sessions left out, by kind of reason."""
        return dict(Counter(item.kind for item in self.left_out))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "left_out": [item._asdict() for item in self.left_out], "left_out_counts": self.counts()}

    def __str__(self) -> str:
        """Return the report as text, with one line per session that is left out."""
        return "\n".join(
            [
                f"{self.used} sessions of {self.bar_minutes}-minute bars, {self.first} to {self.last}",
                f"{self.filled_bars} missing bars filled, {self.outside_bars} bars outside the session not used",
                *(f"left out ({item.kind}): {item}" for item in self.left_out),
            ]
        )


@dataclass(frozen=True, eq=False)
class Sessions:
    """Full sessions on a regular grid, in the order of their dates; arrays have shape (session, bar)."""

    dates: tuple[str, ...]
    open: Floats
    """First price of each bar, currency per share."""
    high: Floats
    """Highest price of each bar, currency per share."""
    low: Floats
    """Lowest price of each bar, currency per share."""
    close: Floats
    """Last price of each bar, currency per share."""
    volume: Floats
    """Shares traded in each bar."""
    bar_minutes: int
    day_minutes: int
    missing: NDArray[np.bool_]
    """Whether a bar was missing from the file and was filled with the last price and zero volume."""
    zones: tuple[timezone | None, ...]
    """UTC offset of the wall clock of each session; None if its time stamps carry no offset."""
    report: BarReport


class _Row(NamedTuple):
    line: int
    minute: int
    """Wall clock of the stamp, minutes since year 1; after :meth:`_Days.add`, start of the bar, minutes since the open."""
    values: tuple[float, ...]
    """Open, high, low, close, volume; empty if the row is faulty."""
    zone: timezone | None
    """UTC offset of the stamp, if any."""
    fault: LeftOut | None = None


class _Session(NamedTuple):
    """One session of a file, reduced to a regular grid or to its fault."""

    line: int
    """Line of the first bar."""
    zone: timezone | None
    """UTC offset of the stamps, if any."""
    values: tuple[Floats, NDArray[np.bool_]] | None = None
    """Values of each bar, shape (bars, 5), and whether each bar was missing; None for a faulty session."""
    fault: LeftOut | None = None
    of_a_row: bool = False
    """Whether the fault is that of one row; such a fault goes before faults of the session as a whole."""


class _Hours(NamedTuple):
    stamp: str
    open_minute: int
    day_minutes: int

    def clock(self, minute: int) -> str:
        """Return the time of day of a minute since the open."""
        return "{:02d}:{:02d}".format(*divmod(self.open_minute + minute, 60))


def read_sessions(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    stamp: str,
    lenient: bool = False,
    *,
    open_minute: int = 570,
    day_minutes: int = 390,
) -> Sessions:
    """Read bar files (csv, csv.gz, parquet) and return their full sessions.

    Times are the wall clock of the time stamps, regardless of their UTC offset: New York time for US stocks, UTC for a market
    that never closes (``open_minute=0, day_minutes=1440``). The offset must be constant within a session; the result holds it.

    A file is read once, session by session: at most 1 GiB, and at most 10 million bars.

    Bars outside the session are not used. An early close (a half day, or data that end within the session) and a late start of
    the first session of a file are left out and counted. Any other faulty session raises an error, or is left out and counted
    if `lenient`.

    Args:
        paths: The files, of one instrument and one bar length.
        stamp: "start" or "end": the time of the bar that the column `ts` holds.
        lenient: Leave out and count faulty sessions instead of raising an error.
        open_minute: Open of the session, minutes after midnight.
        day_minutes: Length of the session, a multiple of 15 minutes.

    Raises:
        ValueError: A file cannot be read, is too large or faulty, or holds no full session; the message names the file and the
            line.
        MemoryError: The memory does not suffice; the message names the file.
        MissingExtra: A file is in parquet format and pyarrow is not installed.
    """
    hours = _check_hours(stamp, open_minute, day_minutes)
    files = [Path(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if not files:
        raise ValueError("paths must name at least one file of bars, got none")
    try:
        return _read_sessions(files, lenient, hours)
    except MemoryError as error:
        raise MemoryError(f"{', '.join(map(str, files))} ({str(error) or 'too many sessions'}); give fewer sessions") from None


def _read_sessions(files: list[Path], lenient: bool, hours: _Hours) -> Sessions:
    """Return the full sessions of some files; see :func:`read_sessions`."""
    day_minutes = hours.day_minutes
    found: dict[str, _Session] = {}
    left_out: list[LeftOut] = []
    length = outside = 0
    for file in files:
        days = _read_days(file, hours)
        length = length or days.step
        if days.step != length:
            raise ValueError(f"{file}: its bars are {days.step} minutes long, those of {files[0]} {length}; give one length")
        outside += days.outside
        for day, session in days.found.items():
            name, fault = date.fromordinal(day).isoformat(), session.fault
            if fault is None and name in found:
                fault = LeftOut("repeated session", session.line, "the files hold this session twice")
            if fault is None:
                found[name] = session
                continue
            left_out.append(fault._replace(file=str(file), date=name))
            if not lenient and fault.kind not in CALENDAR_KINDS:
                raise ValueError(f"{left_out[-1]}; pass --lenient to leave such sessions out and count them")
    if not found:
        example = f"; left out, for example: {left_out[0]}" if left_out else ""
        raise ValueError(f"{', '.join(map(str, files))}: no full session of {day_minutes} minutes{example}")
    dates = tuple(sorted(found))
    zones = tuple(found[name].zone for name in dates)
    count = day_minutes // length
    grid, missing = np.empty((len(dates), count, len(COLUMNS) - 1)), np.empty((len(dates), count), dtype=bool)
    for index, name in enumerate(dates):
        values = found.pop(name).values  # so that no session is in memory twice
        if values is not None:  # always so for a session without a fault
            grid[index], missing[index] = values
    names = tuple(map(str, files))
    report = BarReport(names, length, len(dates), dates[0], dates[-1], int(missing.sum()), outside, tuple(left_out))
    opening, high, low, closing, volume = np.moveaxis(grid, -1, 0)
    return Sessions(dates, opening, high, low, closing, volume, length, day_minutes, missing, zones, report)


def zone(moment: datetime | time) -> timezone | None:
    """Return the UTC offset of a time stamp; None if it carries none."""
    offset = moment.utcoffset()
    return None if offset is None else timezone(offset)


def _check_hours(stamp: str, open_minute: int, day_minutes: int) -> _Hours:
    check_choice("stamp", stamp, ("start", "end"))
    opening = check_integer("open_minute", open_minute, low=0, high=1380)
    length = check_integer("day_minutes", day_minutes, low=60, high=1440 - opening)
    if length % 15:
        raise ValueError(f"day_minutes must be a multiple of 15, got {length}")
    return _Hours(stamp, opening, length)


def _read_rows(file: Path) -> Iterator[_Row]:
    """Yield the rows of a file. A faulty row carries its fault, which makes its session faulty."""
    readers = {".csv": _csv_rows, ".csv.gz": _csv_rows, ".parquet": _parquet_rows}
    reader = next((reader for end, reader in readers.items() if file.name.lower().endswith(end)), None)
    if reader is None or file.is_dir():
        raise ValueError(f"{file} is not a file that ends in {', '.join(readers)}")
    minute, offset = None, None
    for line, values in reader(file):
        try:
            minute, offset = _minute(values[0])
            row = _Row(line, minute, _numbers(values[1:]), offset)
        except ValueError as error:
            if minute is None:
                raise ValueError(f"{file}, line {line}: {error}") from None
            row = _Row(line, minute, (), offset, LeftOut("bad value", line, str(error)))
        yield row


def _csv_rows(file: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield line number and the values of :data:`COLUMNS` (only `ts` if a line has too few or too many values)."""
    rows = csv_rows(file)
    _, header = next(rows, (0, []))
    columns = _columns(file, header)
    for line, values in rows:
        picked = [values[i] for i in columns if i < len(values)]
        yield line, picked if len(values) == len(header) else picked[:1] or [""]


def _parquet_rows(file: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield row number and the values of :data:`COLUMNS`."""
    try:
        parquet = need("pyarrow.parquet", "data")
    except MissingExtra as error:
        raise MissingExtra('parquet needs pyarrow: pip install "hyperexec-env[data]"') from error
    line = 0
    try:
        with open_regular(file) as content:
            table = parquet.ParquetFile(content)
            names = table.schema_arrow.names
            chosen = [names[index] for index in _columns(file, names)]
            _check_count(file, table.metadata.num_rows)
            for batch in table.iter_batches(batch_size=_HEAD, columns=chosen):
                for values in zip(*(batch.column(name).to_pylist() for name in chosen), strict=True):
                    line += 1
                    yield line, values
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror or error}") from None
    except need("pyarrow", "data").ArrowException as error:
        raise ValueError(f"{file}: not a parquet file of bars: {error}") from None


def _columns(file: Path, header: list[str]) -> list[int]:
    """Return the positions of :data:`COLUMNS` in a header."""
    names = [name.strip().lower() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if not any(names):
        raise ValueError(f"{file}, line 1: the file is empty; expected a header with {', '.join(COLUMNS)}")
    if names[0].startswith("<"):
        raise ValueError(f"{file}, line 1: an HTML or XML page, not a csv file of bars")
    if missing:
        found = printable(" ".join(", ".join(names).split())[:200])
        raise ValueError(f"{file}, line 1: missing column {', '.join(missing)} (found: {found})")
    return [names.index(name) for name in COLUMNS]


def _minute(stamp: Any) -> tuple[int, timezone | None]:
    """Return the wall clock of a stamp in minutes since year 1, and its UTC offset."""
    try:
        moment = stamp if isinstance(stamp, datetime) else datetime.fromisoformat(str(stamp).strip())
    except ValueError:
        raise ValueError(f"ts must be a date and time such as 2024-03-26T09:30:00, got {str(stamp)[:60]!r}") from None
    if moment.second or moment.microsecond or moment.year < 1800:
        raise ValueError(f"ts must be a whole minute since 1800, got {str(stamp)!r}")
    return moment.toordinal() * 1440 + moment.hour * 60 + moment.minute, zone(moment)


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    """Return open, high, low, close and volume; raise ValueError if a value is invalid or inconsistent."""
    if len(values) != len(COLUMNS) - 1:
        raise ValueError("the line must have one value for each column of the header")
    numbers = []
    for name, value in zip(COLUMNS[1:], values, strict=True):
        try:
            number = float("" if "_" in str(value) else value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number, got {str(value)[:60]!r}") from None
        if not math.isfinite(number) or number < 0.0 or (number == 0.0 and name != "volume") or number > 1e15:
            raise ValueError(f"{name} must be finite and {'at least' if name == 'volume' else 'above'} 0, got {value!r}")
        numbers.append(number)
    first, high, low, last, _ = numbers
    if high < low:
        raise ValueError(f"high {high:g} is below low {low:g}")
    if not low <= min(first, last) <= max(first, last) <= high:
        raise ValueError(f"open {first:g} or close {last:g} lies outside low {low:g} to high {high:g}")
    return tuple(numbers)


def _bar_minutes(file: Path, rows: list[_Row]) -> int:
    """Return the bar length: the most frequent difference of successive stamps, minutes."""
    distances = Counter(abs(b.minute - a.minute) for a, b in pairwise(rows) if b.minute != a.minute)
    if not distances:
        raise ValueError(f"{file}: {len(rows)} bars; at least two are needed")
    step = distances.most_common(1)[0][0]
    if step not in MAX_BAR_SHARE:
        raise ValueError(f"{file}: bars must be one or five minutes long, got {step}")
    return step


def _read_days(file: Path, hours: _Hours) -> _Days:
    """Read the sessions of a file.

    Raises:
        ValueError: The file cannot be read, or is too large or faulty as a whole.
    """
    rows = _read_rows(file)
    head = list(islice(rows, _HEAD))
    days = _Days(file, _bar_minutes(file, head), hours)
    for number, row in enumerate(chain(head, rows), start=1):
        _check_count(file, number)
        days.add(row)
    days.end()
    return days


def _check_count(file: Path, bars: int) -> None:
    """Raise ValueError if a file holds too many bars."""
    if bars > MOST_BARS:
        raise ValueError(f"{file}: more than {MOST_BARS:,} bars; split the file")


class _Days:
    """The sessions of one file; a session is reduced to its grid when the next one begins.

    Args:
        file: The file.
        step: Length of the bars, minutes.
        hours: Hours of the session.
    """

    def __init__(self, file: Path, step: int, hours: _Hours) -> None:
        """Start without sessions."""
        self.file, self.step, self.hours = file, step, hours
        self.found: dict[int, _Session] = {}
        """Sessions by day (ordinal), in the order of their first bars."""
        self.outside = 0
        """Number of bars before the open or after the close."""
        self._rows: list[_Row] = []  # of the session that is being read
        self._day = self._last = 0
        # with the wrong `stamp`, every session lacks one bar at one end and has a surplus bar at the other
        self._missing, self._surplus = (0, hours.day_minutes) if hours.stamp == "start" else (hours.day_minutes - step, -step)
        self._with_missing: set[int] = set()
        self._with_surplus: set[int] = set()

    def add(self, row: _Row) -> None:
        """Take the next row of the file."""
        start = row.minute - (self.step if self.hours.stamp == "end" else 0)
        day, at = start // 1440, start % 1440 - self.hours.open_minute
        fault = row.fault
        if day < self._last and fault is None:
            fault = LeftOut("disorder", row.line, f"comes after {date.fromordinal(self._last)}; bars must ascend in time")
        self._last = max(self._last, day)
        if not fault and not 0 <= at < self.hours.day_minutes:
            self.outside += 1
            if at == self._surplus:
                self._with_surplus.add(day)
            return
        if at == self._missing:
            self._with_missing.add(day)
        row = row._replace(minute=at, fault=fault)
        if day == self._day:
            if len(self._rows) < _LONGEST_SESSION:
                self._rows.append(row)
        elif day > self._day:
            self._reduce()
            self._day, self._rows = day, [row]
            self.found[day] = _Session(row.line, row.zone)
        else:  # a row of an earlier day, which is always faulty
            earlier = self.found.get(day, _Session(row.line, row.zone))
            if not earlier.of_a_row:
                self.found[day] = earlier._replace(values=None, fault=fault, of_a_row=True)

    def end(self) -> None:
        """End the file.

        Raises:
            ValueError: The stamps are those of the other end of the bars.
        """
        self._reduce()
        days, hours = self.found.keys(), self.hours
        if days and days <= self._with_surplus and not days & self._with_missing:
            other = "end" if hours.stamp == "start" else "start"
            raise ValueError(
                f"{self.file}: no session has a bar that starts at {hours.clock(self._missing)} and each has one that starts "
                f"at {hours.clock(self._surplus)}; are the stamps the {other} of the bars? Then pass --stamp {other}"
            )

    def _reduce(self) -> None:
        """Replace the rows of the session that is being read by its grid or its fault."""
        if self._rows:
            rows, first = self._rows, next(iter(self.found)) == self._day
            fault = _find_row_fault(rows, self.step, self.hours)
            session = self.found[self._day]._replace(of_a_row=fault is not None)
            fault = fault or _find_session_fault(rows, self.step, self.hours, first)
            values = None if fault else _grid(rows, self.step, self.hours)
            self.found[self._day] = session._replace(values=values, fault=fault)
            self._rows = []


def _find_row_fault(rows: list[_Row], step: int, hours: _Hours) -> LeftOut | None:
    """Return the first fault of a single row of a session; None if there is none."""
    for row in rows:
        if row.fault:
            return row.fault
        if row.minute % step:
            return LeftOut("disorder", row.line, f"{hours.clock(row.minute)} does not start a bar of {step} minutes")
        if row.zone != rows[0].zone:
            there, here = (item.zone or "no offset" for item in (rows[0], row))
            return LeftOut("disorder", row.line, f"the offset is {here}, but {there} on line {rows[0].line}")
    return None


def _find_session_fault(rows: list[_Row], step: int, hours: _Hours, first: bool) -> LeftOut | None:
    """Return the first fault of a session whose rows have none; None if the session is full and valid."""
    for a, b in pairwise(rows):
        if b.minute == a.minute:
            return LeftOut("duplicate", b.line, f"the bar of {hours.clock(b.minute)} is on line {a.line} too")
        if b.minute < a.minute:
            reason = f"{hours.clock(b.minute)} comes after {hours.clock(a.minute)}; bars must ascend in time"
            return LeftOut("disorder", b.line, reason)
    at = np.array([row.minute for row in rows])
    volume = np.array([row.values[-1] for row in rows])
    return _find_calendar_fault(rows, at, volume, step, hours, first) or _find_volume_fault(rows, at, volume, step, hours)


def _find_calendar_fault(
    rows: list[_Row], at: NDArray[np.int64], volume: Floats, step: int, hours: _Hours, first: bool
) -> LeftOut | None:
    """Return an early close or, in the first session of a file, a late start; None otherwise."""
    part, least = EARLY_CLOSE
    late = at >= part * hours.day_minutes
    if volume[late].sum() < least * volume.sum():
        row, clock = rows[int(late.argmax()) if late.any() else -1], hours.clock(round(part * hours.day_minutes))
        return LeftOut("early close", row.line, f"less than {least:.0%} of the volume is traded after {clock}")
    if at[-1] + step < hours.day_minutes - MAX_MISSING_MINUTES:
        return LeftOut("early close", rows[-1].line, f"the last bar starts at {hours.clock(rows[-1].minute)}")
    if first and at[0] > MAX_MISSING_MINUTES:
        return LeftOut("late start", rows[0].line, f"the first bar of the file starts at {hours.clock(rows[0].minute)}")
    return None


def _find_volume_fault(rows: list[_Row], at: NDArray[np.int64], volume: Floats, step: int, hours: _Hours) -> LeftOut | None:
    """Return a contaminated volume or a gap; None otherwise."""
    inside = (at >= EDGE_MINUTES) & (at < hours.day_minutes - EDGE_MINUTES)
    most, total = MAX_BAR_SHARE[step], float(volume.sum())
    contaminated = inside & ((volume == 0.0) | (volume > most * total))
    if contaminated.any():
        row = rows[int(contaminated.argmax())]
        held = f"{row.values[-1] / total:.1%} of the day (at most {most:.0%})" if row.values[-1] else "0"
        reason = f"the volume of {hours.clock(row.minute)} is {held}, as in a feed that mixes in cumulative daily totals"
        return LeftOut("contaminated", row.line, reason)
    gaps = np.diff(at, prepend=-step, append=hours.day_minutes) - step
    if gaps.sum() > MAX_MISSING_MINUTES:
        row = rows[min(int(gaps.argmax()), len(rows) - 1)]
        widest = f"{gaps.max()} of them next to {hours.clock(row.minute)}"
        return LeftOut("gap", row.line, f"{gaps.sum()} minutes are missing (at most {MAX_MISSING_MINUTES}), {widest}")
    return None


def _grid(rows: list[_Row], step: int, hours: _Hours) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the values of each bar of a session, shape (bar, 5), and whether each bar was missing and filled."""
    count = hours.day_minutes // step
    given = np.array([row.values for row in rows])
    places = np.array([row.minute // step for row in rows])
    before = np.searchsorted(places, np.arange(count), side="right") - 1
    price = np.where(before >= 0, given[before, 3], given[0, 0])
    grid = np.column_stack([price, price, price, price, np.zeros(count)])
    grid[places] = given
    missing = np.ones(count, dtype=bool)
    missing[places] = False
    return grid, missing
