"""Read the columns of one source: choose the columns, convert them batch by batch, count what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.progress import progress

from .calendars import zone_of
from .format import Format
from .layouts import FIELDS, NAMES, Recognised, recognise, value_kind
from .numbers import decimal_mark, read_numbers, read_sides, read_words
from .raw import Raw, open_raw
from .sources import Source
from .stamps import read_clock, read_stamps, stamp_form
from .zones import check_zone, day_start, utc_of

__all__ = ["Columns", "Part", "kind_of", "read_source"]

Columns = dict[str, NDArray[Any]]
"""Arrays by field."""

MOST_ROWS: Final = 200_000_000
"""Largest number of rows of a source."""


class _Stamping(NamedTuple):
    """How the times of a source are read."""

    form: str
    """Form of the stamps, or of the dates; "" if the day is fixed."""
    clock: str
    """Form of the times of day; "" if the stamps hold them."""
    day: int
    """Midnight of the day where only times of day are given, nanoseconds."""
    zone: str
    """Time zone of stamps without an offset."""


class Part(NamedTuple):
    """One source, read."""

    raw: Raw
    found: Recognised
    stamping: _Stamping
    columns: Columns
    """Arrays by field, with `time` and `row`."""
    words: dict[str, tuple[str, ...]]
    """Distinct words of columns that hold words."""
    rows: int
    dropped: Counter[str]
    choices: tuple[str, ...]
    aware: bool


def read_source(kind: str, source: Source, format: Format) -> Part:
    """Read one source."""
    raw = open_raw(source)
    try:
        found = recognise(kind, raw.header, raw.sample, source.stem, format.column_names, format.layout)
    except ValueError as error:
        raise ValueError(f"{source.name}: {error}") from None
    found = _of_ticker(raw, found, format.symbol)
    stamping, choices = _stamping(raw, found, format)
    numeric = [at for field, at in found.columns.items() if field not in ("ts", "date", "time", "symbol", "side", "exchange")]
    mark, choice = decimal_mark(value for row in raw.sample for at in numeric if (value := row[at]))
    mark = {"": mark, "point": ".", "comma": ","}[format.decimal]
    choices = [*choices, *([] if format.decimal or not choice else [f"{source.name}: {choice}"])]
    reading = _Reading(kind, raw, found, stamping, mark, format.symbol)
    used = sorted(set(found.columns.values()))
    with progress(None, f"rows of {source.stem}") as advance:
        for batch in raw.batches(used):
            reading.add(dict(zip(used, batch, strict=True)))
            advance(len(batch[0]))
    return reading.end(tuple(choices))


def kind_of(source: Source, format: Format, kinds: Sequence[str]) -> str:
    """Return the first kind of data whose layouts fit a source.

    Raises:
        ValueError: None fits; the message says what was found.
    """
    raw = open_raw(source)
    for kind in kinds:
        try:
            recognise(kind, raw.header, raw.sample, source.stem, format.column_names, format.layout)
        except ValueError:
            continue
        return kind
    shown = ", ".join(raw.header) if any(raw.header) else "no header; the first row is " + ", ".join(raw.sample[0])
    raise ValueError(f"{source.name}: none of {', '.join(kinds)} ({shown[:300]}); pass --kind and --columns")


def _of_ticker(raw: Raw, found: Recognised, symbol: str) -> Recognised:
    """Return the columns of one instrument, where columns of several stand beside each other."""
    tickers = sorted({ticker for ticker in raw.tickers if ticker})
    if len(tickers) < 2:
        return found
    if symbol not in tickers:
        got = repr(symbol) if symbol else "none"
        raise ValueError(
            f"{raw.source.name}: columns of several instruments; symbol must be one of {', '.join(tickers)}, got {got}"
        )
    columns = dict(found.columns)
    for field, at in found.columns.items():
        if raw.tickers[at]:
            pair = (raw.header[at], symbol)
            columns[field] = list(zip(raw.header, raw.tickers, strict=True)).index(pair)
    return found._replace(columns=columns)


def _stamping(raw: Raw, found: Recognised, format: Format) -> tuple[_Stamping, list[str]]:
    """Return how the times of a source are read, and the choices that were made for the user."""
    columns, name = found.columns, raw.source.name
    zone = (
        check_zone("tz", format.tz) if format.tz else _named_zone(raw, found) or found.layout.zone or zone_of(format.calendar)
    )
    choices: list[str] = []
    form = clock = ""
    day = 0
    if "ts" in columns or "date" in columns:
        field = "ts" if "ts" in columns else "date"
        values = [row[columns[field]] for row in raw.sample]
        form, choice = stamp_form(values, format.dates)
        if not form:
            raise ValueError(
                f"{name}: {field} must hold dates and times in a usual form, got {next(filter(None, values), '')[:60]!r}"
                + ("" if "ts" in found.columns else "; name the columns with --columns date=NAME time=NAME")
            )
        choices += [f"{name}: {choice}"] if choice else []
    else:
        text = format.date or _date_in(raw.source.name)
        if not text:
            raise ValueError(
                f"{name}: neither the rows nor the name of the file hold the day; pass --date, such as --date 2024-03-26"
            )
        day = day_start(text)
    if "time" in columns:
        clock = _clock_form(raw, columns["time"], name)
    return _Stamping(form, clock, day, zone), choices


def _clock_form(raw: Raw, column: int, name: str) -> str:
    """Return the form of a column of times of day."""
    values = [row[column] for row in raw.sample]
    kind = value_kind(values)
    if kind == "clock":
        return "clock"
    if kind in ("ms", "seconds"):
        return {"ms": "ms", "seconds": "s"}[kind]
    if kind in ("integer", "date", "bool", "number"):
        numbers = [float(value) for value in values if value]
        label = raw.header[column].lower() if raw.header else ""
        if label in ("ms", "milliseconds"):
            return "ms"
        if all(number < 240_000 and number % 100 < 60 and number // 100 % 100 < 60 for number in numbers) and kind != "number":
            return "hhmmss"
        return "s" if max(numbers) <= 86_400 else "ms"
    raise ValueError(f"{name}: time must hold times of day, such as 09:30:00 or 93000, got {values[0][:60]!r}")


def _named_zone(raw: Raw, found: Recognised) -> str:
    """Return the time zone that the stamps name, such as US/Eastern; "" if they name none."""
    at = found.columns.get("ts")
    names = {
        match[1] for row in raw.sample if at is not None and (match := re.search(r" ([A-Z][A-Za-z]+/[A-Za-z_/]+)$", row[at]))
    }
    return check_zone("the time zone of the stamps", names.pop()) if len(names) == 1 else ""


def _date_in(name: str) -> str:
    """Return the date in the name of a file or of the folder that holds it; "" if there is none."""
    for part in reversed(re.split(r"[/\\:]", name)):
        match = re.search(r"(?<!\d)((?:19|20)\d\d)[-_]?(0[1-9]|1[0-2])[-_]?([0-2]\d|3[01])(?!\d)", part)
        if match:
            return "-".join(match.groups())
    return ""


def _place(raw: Raw, first: int) -> Callable[[int], str]:
    """Return a function from the row of a batch to its place, for error messages."""
    return lambda row: raw.where(first + row)


class _Reading:
    """The columns of one source while its batches are read."""

    def __init__(self, kind: str, raw: Raw, found: Recognised, stamping: _Stamping, mark: str, symbol: str) -> None:
        """Start without rows."""
        self.kind, self.raw, self.found, self.stamping, self.mark, self.symbol = kind, raw, found, stamping, mark, symbol
        self.rows = 0
        self.dropped: Counter[str] = Counter()
        self.aware = False
        self._scale = found.layout.scale
        self._parts: dict[str, list[NDArray[Any]]] = {}
        self._words: dict[str, dict[str, int]] = {}
        self._symbols: dict[str, int] = {}

    def add(self, batch: dict[int, Any]) -> None:
        """Take a batch, by number of the column."""
        first, columns = self.rows, {field: batch[at] for field, at in self.found.columns.items()}
        count = len(next(iter(batch.values())))
        self.rows += count
        if self.rows > MOST_ROWS:
            raise ValueError(f"{self.raw.source.name}: more than {MOST_ROWS:,} rows; split it")
        rows = np.arange(first, first + count)
        empty = self._empty(columns)
        if empty is not None and empty.any():
            self.dropped["rows without prices"] += int(empty.sum())
            columns, rows = self._where(columns, ~empty), rows[~empty]
        if "symbol" in columns:
            columns, rows = self._of_symbol(columns, rows)
        if len(rows):
            self._convert(columns, rows)

    def end(self, choices: tuple[str, ...]) -> Part:
        """Return the columns."""
        raw = self.raw
        if "time" not in self._parts:
            wanted = f" of {self.symbol}" if self.symbol else ""
            raise ValueError(f"{raw.source.name}: no rows{wanted}")
        if len(self._symbols) > 1:
            names = ", ".join(list(self._symbols)[:10])
            raise ValueError(f"{raw.source.name}: rows of several instruments ({names}); choose one with --symbol")
        columns = {field: np.concatenate(self._parts.pop(field)) for field in list(self._parts)}
        words = {field: tuple(known) for field, known in self._words.items()}
        words["symbol"] = tuple(self._symbols)
        return Part(raw, self.found, self.stamping, columns, words, self.rows, self.dropped, choices, self.aware)

    def _empty(self, columns: dict[str, Any]) -> NDArray[np.bool_] | None:
        """Return which rows hold no price at all (a vendor's rows of days without trades)."""
        if self.kind not in ("bars", "trades"):
            return None
        nulls = [columns[field].is_null() for field in FIELDS[self.kind] if field != "size"]
        if not any(mask.true_count for mask in nulls):
            return None
        return np.asarray(np.logical_and.reduce([mask.to_numpy(zero_copy_only=False) for mask in nulls]))

    @staticmethod
    def _where(columns: dict[str, Any], kept: NDArray[np.bool_]) -> dict[str, Any]:
        places = np.flatnonzero(kept)
        return {field: column.take(places) for field, column in columns.items()}

    def _of_symbol(self, columns: dict[str, Any], rows: NDArray[np.int64]) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """Return the rows of the chosen instrument; note the instruments."""
        words, places = read_words(columns.pop("symbol"))
        if self.symbol:
            kept = np.array([word == self.symbol for word in words], dtype=bool)[places]
            words = [self.symbol] if kept.any() else []
            if not kept.all():
                self.dropped["rows of other instruments"] += int((~kept).sum())
                columns, rows = self._where(columns, kept), rows[kept]
        for word in words:
            self._symbols.setdefault(word, len(self._symbols))
        return columns, rows

    def _convert(self, columns: dict[str, Any], rows: NDArray[np.int64]) -> None:
        """Convert the columns of a batch and keep them."""

        def where(at: int) -> str:
            return self.raw.where(int(rows[at]))

        self._keep("time", self._times(columns, where))
        self._keep("row", rows)
        for field in NAMES[self.kind]:
            if field in columns and field not in ("ts", "date", "time"):
                self._keep(field, self._field(field, columns[field], where))

    def _field(self, field: str, column: Any, where: Callable[[int], str]) -> NDArray[Any]:
        """Return a column of the table."""
        name = self._name(field)
        if field == "side":
            return read_sides(column, re.sub("[^a-z]", "", name.lower()) in _MAKER or self._is_maker(), where, name)
        if field in ("exchange", "condition"):
            words, places = read_words(column)
            known = self._words.setdefault(field, {})
            return np.array([known.setdefault(word, len(known)) for word in words])[places].astype(np.int32)
        if field == "suspicious":
            words, places = read_words(column)
            return np.array([float(word.strip().lower() not in ("", "0", "false")) for word in words])[places]
        numbers = read_numbers(column, self.mark, where, name)
        if field in _PRICES:
            self._scale = self._scale if self._scale != 1.0 else _fixed_point(self.found.layout.name, numbers)
            numbers = np.where(numbers > 9.2e18, np.nan, numbers) * self._scale if self._scale != 1.0 else numbers
        return numbers

    def _is_maker(self) -> bool:
        return self.found.layout.name.startswith("binance")

    def _times(self, columns: dict[str, Any], where: Callable[[int], str]) -> NDArray[np.int64]:
        """Return the times of a batch, in UTC."""
        form, clock, day, zone = self.stamping
        if "ts" in columns:
            stamps = read_stamps(columns["ts"], form, where, self._name("ts"))
            self.aware = self.aware or stamps.aware
            return stamps.time if stamps.aware else utc_of(stamps.time, zone)
        time = read_stamps(columns["date"], form, where, self._name("date")).time if "date" in columns else day
        if clock:
            time = time + read_clock(columns["time"], clock, where, self._name("time"))
        return utc_of(np.asarray(time), zone)

    def _name(self, field: str) -> str:
        """Return the name of a column for messages."""
        at = self.found.columns[field]
        return self.raw.header[at] if self.raw.header and self.raw.header[at] else field

    def _keep(self, field: str, values: NDArray[Any]) -> None:
        self._parts.setdefault(field, []).append(values)


_MAKER: Final = ("isbuyermaker", "buyermaker")
"""Names of columns that say whether the buyer was the maker, letters alone."""
_PRICES: Final = ("open", "high", "low", "close", "price", "bid", "ask")


def _fixed_point(layout: str, prices: NDArray[np.float64]) -> float:
    """Return the factor of the prices of Databento: 1e-9 where they are integers of that unit."""
    known = prices[np.isfinite(prices) & (prices < 9.2e18)]
    if layout.startswith("databento") and known.size and known.min() > 1e5 and (known == np.floor(known)).all():
        return 1e-9
    return 1.0
