"""Read the columns of one source: choose the columns, convert them batch by batch, count what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.progress import progress

from .calendars import zone_of
from .format import Format
from .layouts import FIELDS, NAMES, plain_name
from .numbers import decimal_mark, read_numbers, read_sides, read_words
from .raw import Raw, open_raw
from .recognise import Recognised, recognise, value_kind
from .sources import NoTable, Source, damage, within_memory
from .stamps import StampStyle, read_clock, read_stamps, stamp_style
from .views import listed
from .zones import HOUR, check_zone, day_start, utc_of

__all__ = ["Columns", "Part", "read_source", "read_sources"]

Columns = dict[str, NDArray[Any]]
"""Arrays by field."""

MOST_ROWS: Final = 200_000_000
"""Largest number of rows of a source."""


class Stamping(NamedTuple):
    """How the times of a source are read."""

    style: StampStyle
    """How the stamps, or the dates, are written; without a form if the day is fixed."""
    clock: str
    """Form of the times of day; "" if the stamps hold them."""
    day: int
    """Midnight of the day where only times of day are given, nanoseconds."""
    zone: str
    """Time zone of stamps without an offset."""
    why: str = ""
    """Why this zone was taken, if neither the data nor the user state one."""

    def __str__(self) -> str:
        """Return the forms, for the report."""
        return " + ".join(filter(None, (self.style.form, self.clock)))


class Part(NamedTuple):
    """One source, read."""

    raw: Raw
    found: Recognised
    stamping: Stamping
    columns: Columns
    """Arrays by field, with `time` and `row`."""
    words: dict[str, tuple[str, ...]]
    """Distinct words of columns that hold words."""
    rows: int
    dropped: Counter[str]
    choices: tuple[str, ...]
    """One sentence for each choice that was made for the user."""
    aware: bool


def read_source(kind: str, source: Source, format: Format) -> Part:
    """Read one source; see :func:`~hyperexec_env.data.reader.read_bars` for the errors."""
    try:
        with within_memory([source.name]):
            return _read_raw(kind, open_raw(source), format)
    except UnicodeError as error:  # texts of a damaged parquet file
        raise damage(source.name, error) from None


def read_sources(kind: str, sources: Sequence[Source], format: Format) -> list[Part]:
    """Read some sources; see :func:`~hyperexec_env.data.reader.read_bars` for the errors.

    In a folder, a pattern or an archive a file without a row of data (a README, a day without trades) is left out, as is a file
    of another form that holds no data of this kind (metadata in JSON beside csv); the first part says so.
    """
    parts: list[Part] = []
    faults: list[tuple[Source, NoTable]] = []
    for source in sources:
        try:
            parts.append(read_source(kind, source, format))
        except NoTable as error:
            if not source.within:
                raise
            faults.append((source, error))
    forms = {part.raw.source.form for part in parts}
    for source, fault in faults:
        if not parts or not (fault.is_empty or source.form not in forms):
            raise fault
    if faults:
        names = listed([source.stem for source, _ in faults])
        text = f"{len(faults)} files without {kind} are not read: {names}"
        parts[0] = parts[0]._replace(choices=(*parts[0].choices, text))
    return parts


def _read_raw(kind: str, raw: Raw, format: Format) -> Part:
    """Read one source that is open."""
    source = raw.source
    try:
        found = recognise(kind, raw, format.column_names, format.layout)
    except ValueError as error:
        place = (
            f"give a pattern such as {source.within}/*.csv" if Path(source.within).is_dir() else "give the other files alone"
        )
        among = f"; if it is no file of data, {place}" if source.within else ""
        raise NoTable(f"{source.name}: {error}{among}", is_empty=False) from None
    found = _of_ticker(raw, found, format.symbol)
    stamping, choices = _stamping(raw, found, format)
    _check_times(kind, raw, found, stamping)
    mark, choice = _mark(raw, found, format)
    choices = [*choices, choice, found.layout.note, *_rivals(kind, raw, found, format)]
    reading = _Reading(kind, raw, found, stamping, mark, format.symbol)
    used = sorted(set(found.columns.values()))
    with progress(None, f"rows of {source.stem}") as advance:
        for batch in raw.batches(used):
            reading.add(dict(zip(used, batch, strict=True)))
            advance(len(batch[0]))
    return reading.end(tuple(text for text in choices if text))


def _check_times(kind: str, raw: Raw, found: Recognised, stamping: Stamping) -> None:
    """Raise ValueError if the stamps of trades or quotes are days without a time of day."""
    if kind not in ("trades", "quotes") or "ts" not in found.columns or not stamping.style.midnight:
        return
    at = found.columns["ts"]
    days = [row[at] for row in raw.sample if row[at]]
    if len(set(days)) < len(days):
        raise ValueError(
            f"{raw.source.name}: {raw.header[at] if raw.header else 'ts'} holds days without a time, such as {days[0]}; name "
            "the column of the times of day with --columns date=NAME,time=NAME"
        )


def _rivals(kind: str, raw: Raw, found: Recognised, format: Format) -> list[str]:
    """Return a sentence for each field for which another column has a usual name too."""
    used, names = set(found.columns.values()), [plain_name(name) for name in raw.header]
    own = {*format.column_names, *(field for field, _ in found.layout.columns), *_TEXTS}
    sentences = []
    for field, at in found.columns.items():
        usual = NAMES[kind].get(field, "").split()
        rivals = [raw.header[other] for other, name in enumerate(names) if name in usual and other not in used]
        if rivals and field not in own:
            shown = ", ".join(rivals[:5])
            sentences.append(
                f"column {raw.header[at]} is read as {field}, and {shown} is not read: pass --columns "
                f"{field}=NAME if it should be"
            )
    return sentences


def _mark(raw: Raw, found: Recognised, format: Format) -> tuple[str, str]:
    """Return the decimal mark of the numbers of a source, and the choice that was made for the user."""
    if format.decimal:
        return {"point": ".", "comma": ","}[format.decimal], ""
    numeric = [at for field, at in found.columns.items() if field not in _TEXTS]
    return decimal_mark((value for row in raw.sample for at in numeric if (value := row[at])), raw.separator)


def _of_ticker(raw: Raw, found: Recognised, symbol: str) -> Recognised:
    """Return the columns of one instrument, where columns of several stand beside each other."""
    tickers = sorted({ticker for ticker in raw.tickers if ticker})
    if not tickers or tickers == [symbol or tickers[0]]:
        return found
    if symbol not in tickers:
        got = f"got {symbol!r}" if symbol else "choose one with --symbol"
        raise ValueError(f"{raw.source.name}: columns of the instruments {', '.join(tickers[:10])}; {got}")
    columns = dict(found.columns)
    for field, at in found.columns.items():
        if raw.tickers[at]:
            pair = (raw.header[at], symbol)
            columns[field] = list(zip(raw.header, raw.tickers, strict=True)).index(pair)
    return found._replace(columns=columns)


def _stamping(raw: Raw, found: Recognised, format: Format) -> tuple[Stamping, list[str]]:
    """Return how the times of a source are read, and the choices that were made for the user."""
    columns, name = found.columns, raw.source.name
    if not ({"ts", "date"} & set(columns)):
        text = format.date or _date_in(name)
        if not text:
            raise ValueError(
                f"{name}: neither the rows nor the name of the file hold the day; pass --date, such as --date 2024-03-26"
            )
        style, choices, day = StampStyle(""), ["the day is that in the name of the file or folder"], day_start(text)
        choices = choices if not format.date else []
    else:
        field, day = "ts" if "ts" in columns else "date", 0
        values = [row[columns[field]] for row in raw.sample]
        style, choice = stamp_style(values, format.dates)
        choices = [choice]
        if not style.form:
            raise ValueError(
                f"{name}: {field} must hold dates and times in a usual form, got {next(filter(None, values), '')[:60]!r}"
                + ("" if "ts" in found.columns else "; name the columns with --columns date=NAME,time=NAME")
            )
    if style.abbreviation:
        style, choice = _abbreviated(style, format.tz)
        choices.append(choice)
    if found.layout.is_local and format.tz:
        style = style._replace(aware=False)
    elif format.tz and style.aware and not format.hours:
        choices.append("--tz is not used for stamps that carry their offset from UTC, as epochs do")
    clock = _clock_form(raw, columns["time"], name) if "time" in columns else ""
    return Stamping(style, clock, day, *_zone(raw, found, style, format)), choices


def _abbreviated(style: StampStyle, tz: str) -> tuple[StampStyle, str]:
    """Return the style of stamps that name an offset such as EST, and the choice that was made for the user."""
    if tz:  # of a vendor that writes EST in summer too
        return style._replace(aware=False), f"{style.abbreviation} in the stamps is ignored, because --tz is given"
    return style, f"{style.abbreviation} in the stamps is read as a fixed offset from UTC; pass --tz if it means the local time"


def _zone(raw: Raw, found: Recognised, style: StampStyle, format: Format) -> tuple[str, str]:
    """Return the time zone of stamps without an offset, and why it was taken where nobody states it."""
    if format.tz:
        return check_zone("tz", format.tz), ""
    if style.zone or raw.zone:
        return check_zone("the time zone of the stamps", style.zone or raw.zone), ""
    at = found.columns.get("time")
    clocks = [] if at is None else [row[at] for row in raw.sample]
    is_day = style.midnight and not any(value.strip("0:. ") for value in clocks)
    if found.layout.zone and not is_day:
        return found.layout.zone, f"as usual for {found.layout.name}"
    return zone_of(format.calendar), f"the zone of the calendar {format.calendar}"


def _clock_form(raw: Raw, column: int, name: str) -> str:
    """Return the form of a column of times of day."""
    values = [row[column] for row in raw.sample]
    kind = value_kind(values)
    if kind == "clock":
        return "clock"
    if kind in ("ms", "seconds"):
        return {"ms": "ms", "seconds": "s"}[kind]
    if kind in ("integer", "date", "bool", "zero", "number"):
        numbers = [float(value) for value in values if value]
        label = raw.header[column].lower() if raw.header else ""
        if label in ("ms", "milliseconds"):
            return "ms"
        if all(number < 240_000 and number % 100 < 60 and number // 100 % 100 < 60 for number in numbers) and kind != "number":
            return "hhmmss"
        return "s" if max(numbers) <= 86_400 else "ms"
    raise ValueError(f"{name}: time must hold times of day, such as 09:30:00 or 93000, got {values[0][:60]!r}")


def _date_in(name: str) -> str:
    """Return the date in the name of a file, or of the folder that holds it; "" if there is none, or more than one."""
    for part in reversed(re.split(r"[/\\:]", name)):
        found = set(re.findall(r"(?<!\d)((?:19|20)\d\d)[-_]?(0[1-9]|1[0-2])[-_]?([0-2]\d|3[01])(?!\d)", part))
        if found:
            return "-".join(found.pop()) if len(found) == 1 else ""
    return ""


def _place(raw: Raw, first: int) -> Callable[[int], str]:
    """Return a function from the row of a batch to its place, for error messages."""
    return lambda row: raw.where(first + row)


class _Reading:
    """The columns of one source while its batches are read."""

    def __init__(self, kind: str, raw: Raw, found: Recognised, stamping: Stamping, mark: str, symbol: str) -> None:
        """Start without rows."""
        self.kind, self.raw, self.found, self.stamping, self.mark, self.symbol = kind, raw, found, stamping, mark, symbol
        self.rows = 0
        self.dropped: Counter[str] = Counter()
        self.aware = False
        self._clock: int | None = None
        self._units = _price_units(raw, found)
        self._parts: dict[str, _Growing] = {}
        self._words: dict[str, dict[str, int]] = {}
        self._symbols: dict[str, int] = {}
        self._others: dict[str, int] = {}

    def add(self, batch: dict[int, Any]) -> None:
        """Take a batch, by number of the column."""
        first, columns = self.rows, {field: batch[at] for field, at in self.found.columns.items()}
        count = len(next(iter(batch.values())))
        self.rows += count
        if self.rows > MOST_ROWS:
            raise ValueError(f"{self.raw.source.name}: more than {MOST_ROWS:,} rows; split it")
        rows = np.arange(first, first + count, dtype=np.int32)
        empty = self._empty(columns)
        if empty is not None and empty.any():
            self.dropped["rows without prices"] += int(empty.sum())
            columns, rows = self._where(columns, ~empty), rows[~empty]
        if "action" in columns:
            columns, rows = self._trades_alone(columns, rows)
        if "symbol" in columns:
            columns, rows = self._of_symbol(columns, rows)
        if len(rows):
            self._convert(columns, rows)

    def end(self, choices: tuple[str, ...]) -> Part:
        """Return the columns."""
        raw = self.raw
        if "time" not in self._parts:
            among = f" among {', '.join(list(self._others)[:10])}" if self._others else ""
            raise ValueError(
                f"{raw.source.name}: no rows{f' of {self.symbol}{among}; pass another --symbol' if self.symbol else ''}"
            )
        if len(self._symbols) > 1:
            names = ", ".join(list(self._symbols)[:10])
            raise ValueError(f"{raw.source.name}: rows of several instruments ({names}); choose one with --symbol")
        columns = {field: part.values() for field, part in self._parts.items()}
        words = {field: tuple(known) for field, known in self._words.items()}
        words["symbol"] = tuple(self._symbols) or self._tickers()
        if raw.skipped:
            self.dropped[f"lines without data, such as {raw.skipped[0][:60]!r}"] += len(raw.skipped)
        return Part(raw, self.found, self.stamping, columns, words, self.rows, self.dropped, choices, self.aware)

    def _tickers(self) -> tuple[str, ...]:
        """Return the instrument that the data state above the columns."""
        tickers = self.raw.tickers
        return tuple({tickers[at] for at in self.found.columns.values() if tickers and tickers[at]})

    def _empty(self, columns: dict[str, Any]) -> NDArray[np.bool_] | None:
        """Return which rows hold no price at all (a vendor's rows of days without trades)."""
        if self.kind not in ("bars", "trades"):
            return None
        nulls = [columns[field].is_null(nan_is_null=True) for field in FIELDS[self.kind] if field != "size"]
        if not any(mask.true_count for mask in nulls):
            return None
        return np.asarray(np.logical_and.reduce([mask.to_numpy(zero_copy_only=False) for mask in nulls]))

    @staticmethod
    def _where(columns: dict[str, Any], kept: NDArray[np.bool_]) -> dict[str, Any]:
        places = np.flatnonzero(kept)
        return {field: column.take(places) for field, column in columns.items()}

    def _of_symbol(self, columns: dict[str, Any], rows: NDArray[np.int32]) -> tuple[dict[str, Any], NDArray[np.int32]]:
        """Return the rows of the chosen instrument; note the instruments."""
        words, places = read_words(columns.pop("symbol"))
        if self.symbol:
            kept = np.array([word == self.symbol for word in words], dtype=bool)[places]
            self._others.update(dict.fromkeys(words, 0))
            words = [self.symbol] if kept.any() else []
            if not kept.all():
                self.dropped["rows of other instruments"] += int((~kept).sum())
                columns, rows = self._where(columns, kept), rows[kept]
        for word in words:
            self._symbols.setdefault(word, len(self._symbols))
        return columns, rows

    def _trades_alone(self, columns: dict[str, Any], rows: NDArray[np.int32]) -> tuple[dict[str, Any], NDArray[np.int32]]:
        """Return the rows that are trades, of the messages of Databento."""
        words, places = read_words(columns.pop("action"))
        kept = np.array([word in _TRADES for word in words], dtype=bool)[places]
        if kept.all():
            return columns, rows
        self.dropped["messages that are not trades"] += int((~kept).sum())
        return self._where(columns, kept), rows[kept]

    def _convert(self, columns: dict[str, Any], rows: NDArray[np.int32]) -> None:
        """Convert the columns of a batch and keep them."""

        def where(at: int) -> str:
            return self.raw.where(int(rows[at]))

        self._keep("time", self._times(columns, where))
        self._keep("row", rows)
        for field in NAMES[self.kind]:
            if field in columns and field not in ("ts", "date", "time", "symbol", "action"):
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
            return np.array([word.strip().lower() not in ("", "0", "false") for word in words])[places]
        numbers = read_numbers(column, self.mark, where, name)
        if field in _PRICES and self._units != 1.0:
            numbers = np.where(numbers > _UNDEFINED, np.nan, numbers / self._units)
        return numbers

    def _is_maker(self) -> bool:
        return self.found.layout.name.startswith("binance")

    def _times(self, columns: dict[str, Any], where: Callable[[int], str]) -> NDArray[np.int64]:
        """Return the times of a batch, in UTC."""
        style, clock, day, zone, _ = self.stamping
        if "ts" in columns:
            time, self.aware = read_stamps(columns["ts"], style, where, self._name("ts"))
            self.aware = self.aware and not (self.found.layout.is_local and not style.aware)
            return time if self.aware else utc_of(time, zone)
        time = read_stamps(columns["date"], style, where, self._name("date"))[0] if "date" in columns else np.array([day])
        if clock:
            of_day = read_clock(columns["time"], clock, where, self._name("time"))
            if "date" not in columns:
                self._check_one_day(of_day, where)
            time = time + of_day
        return utc_of(np.asarray(time), zone)

    def _check_one_day(self, of_day: NDArray[np.int64], where: Callable[[int], str]) -> None:
        """Raise ValueError where times of day begin again, although the rows hold no date."""
        steps = np.diff(of_day, prepend=of_day[:1] if self._clock is None else self._clock)
        self._clock = int(of_day[-1])
        if (steps < -_NEW_DAY).any():
            at = int((steps < -_NEW_DAY).argmax())
            raise ValueError(
                f"{where(at)}: {self._name('time')} goes back by {-steps[at] / HOUR:.1f} hours: the rows are of several days, "
                "and hold no date; write one file for each day, or a column of dates"
            )

    def _name(self, field: str) -> str:
        """Return the name of a column for messages."""
        at = self.found.columns[field]
        return self.raw.header[at] if self.raw.header and self.raw.header[at] else field

    def _keep(self, field: str, values: NDArray[Any]) -> None:
        if field not in self._parts:
            self._parts[field] = _Growing(values.dtype)
        self._parts[field].add(values)


class _Growing:
    """An array that grows in place: the memory of ten million rows is not held twice.

    It begins with 32 MB, of which only written pages use memory, so that the system can move it instead of copying.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._values, self._count = np.empty(2**25 // dtype.itemsize + 1, dtype), 0

    def add(self, values: NDArray[Any]) -> None:
        """Append values."""
        end = self._count + len(values)
        if end > len(self._values):
            self._values.resize(max(end, len(self._values) * 9 // 8), refcheck=False)
        self._values[self._count : end] = values
        self._count = end

    def values(self) -> NDArray[Any]:
        """Return all values; nothing can be appended afterwards."""
        self._values.resize(self._count, refcheck=False)
        return self._values


_TRADES: Final = ("T", "", "TRADE", "TRADE NB")
"""Words for a trade among other messages; NB marks those that leave the best bid and offer."""
_MAKER: Final = ("isbuyermaker", "buyermaker")
"""Names of columns that say whether the buyer was the maker, letters alone."""
_PRICES: Final = ("open", "high", "low", "close", "price", "bid", "ask")


_TEXTS: Final = ("ts", "date", "time", "symbol", "side", "exchange", "condition", "action", "suspicious")
"""Fields that do not hold numbers."""
_NEW_DAY: Final = 6 * HOUR
"""Times of day that go back by more than this are of another day."""
_UNDEFINED: Final = 9.2e18
"""Larger than any price in fixed point; Databento writes 2**63 - 1 for no price."""


def _price_units(raw: Raw, found: Recognised) -> float:
    """Return the units of a price: those of the layout, or 1e9 for the raw prices of Databento (integers of that unit)."""
    if not found.layout.name.startswith("databento"):
        return found.layout.units
    at = next(found.columns[field] for field in _PRICES if field in found.columns)
    values = [row[at] for row in raw.sample if row[at]]
    return 1e9 if values and all(re.fullmatch(r"-?\d{6,19}", value) for value in values) else 1.0
