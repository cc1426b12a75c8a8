"""Read a desk's executions: many orders, symbols, sides, days and brokers, from any file or frame, into one checked table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import shown
from hyperexec_env.extras import need

from .columns import Stamping, _stamping
from .executions import find_executions, side_of
from .format import Format
from .layouts import NAMES
from .numbers import decimal_mark, read_numbers, read_words
from .raw import Raw, open_raw
from .reader import days_chosen
from .recognise import Recognised, recognise
from .sources import Data, Source, find_sources
from .stamps import StampStyle, read_clock, read_stamps, stamp_style
from .tables import Provenance
from .zones import Nanoseconds, utc_of

__all__ = ["Blotter", "Labels", "read_blotter"]

Floats = NDArray[np.float64]

NUMBERS: Final = ("quantity", "price", "fee", "ordered", "arrival_price")
"""Fields that hold numbers."""
WORDS: Final = (
    *("symbol", "side", "order_id", "broker", "algorithm", "currency", "venue", "liquidity"),
    *("exec_id", "exec_type", "exec_trans_type", "exec_ref_id"),
)
"""Fields that hold words."""
LABELS: Final = ("symbol", "order_id", "broker", "algorithm", "currency", "venue", "liquidity")
"""Words that the table keeps."""
_MOMENT: Final = "must be a date and time such as 2024-03-26T09:30:01.25"
_RANGES: Final = {
    "price": (0.0, 1e9, True),
    "quantity": (0.0, 1e15, True),
    "ordered": (0.0, 1e15, False),
    "arrival_price": (0.0, 1e9, False),
    "fee": (-1.0, 1e12, False),
}
"""Numbers of an execution: above the first (their size, where they may carry a sign), at most the second; whether needed."""


class Labels(NamedTuple):
    """A column of words."""

    words: tuple[str, ...]
    """Distinct words; "" for none."""
    at: NDArray[np.int64]
    """Index of the word of each fill, shape (fill,)."""

    def of(self, index: int) -> str:
        """Return the word of a fill."""
        return self.words[int(self.at[index])]


@dataclass(frozen=True, eq=False)
class Blotter:
    """Executions of a desk in ascending order of time; every array has shape (fill,)."""

    time: Nanoseconds
    """Time of each execution, nanoseconds since 1970 in UTC."""
    side: NDArray[np.int8]
    """1 buy, -1 sell."""
    quantity: Floats
    """Shares, positive."""
    price: Floats
    """Currency per share."""
    symbol: Labels
    order_id: Labels
    """Order of each execution; "" where the data do not say it."""
    broker: Labels
    algorithm: Labels
    currency: Labels
    venue: Labels
    """Venue of each execution; "" where the data do not say it."""
    liquidity: Labels
    """Liquidity of each execution as the data say it, for example 1 (added) and 2 (removed) of FIX."""
    fee: Floats | None
    """Fee of each execution, currency, positive is a cost; None if the data hold none."""
    ordered: Floats
    """Size of the order of each execution, shares; NaN if unknown."""
    arrival: Nanoseconds | None
    """Time of the arrival (or decision) of the order of each execution, UTC; None if the data hold none."""
    arrival_price: Floats
    """Price at the arrival, currency per share; NaN if unknown."""
    provenance: Provenance
    row: NDArray[np.int64]
    """Number of each execution in its source, from 0."""
    source: NDArray[np.int16]
    """Index in `provenance.files` of the source of each execution."""
    lines: Callable[[int, int], str]
    """Function from (index of the source, number of the row) to the place, as "file, line 12"."""

    def __len__(self) -> int:
        """Return the number of executions."""
        return len(self.time)

    def where(self, index: int) -> str:
        """Return file and line of an execution, for messages."""
        return self.lines(int(self.source[index]), int(self.row[index]))

    def take(self, chosen: NDArray[Any]) -> Blotter:
        """Return some executions.

        Args:
            chosen: Indices, or a mask of shape (fill,).
        """
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                values[name] = value[chosen]
            elif isinstance(value, Labels):
                values[name] = Labels(value.words, value.at[chosen])
        return replace(self, **values)


class _Part(NamedTuple):
    """The rows of one source."""

    raw: Raw
    found: Recognised
    stamping: Stamping
    aware: bool
    columns: dict[str, NDArray[Any]]
    words: dict[str, tuple[str, ...]]
    choices: tuple[str, ...]


def read_blotter(data: Data, format: Format | None = None) -> Blotter:
    """Read executions: csv, txt, zip, gz, json, parquet, folders, patterns, or data frames, with columns of any usual names.

    Needed are a time, a price, and a quantity with a side or a sign. Executions that occur twice (by their execution id) are
    dropped, cancelled ones taken out, and corrected ones replaced; all are counted in `provenance.dropped`.

    Args:
        data: A path (file, folder or pattern), a data frame (pandas, polars, pyarrow, duckdb), or a list of them.
        format: How to read what the data do not say themselves; `columns` and `tz` are those of the executions.

    Raises:
        ValueError: The data cannot be read, or hold a value that is out of range; the message names file, line, column and
            value, and the option that helps.
        MissingExtra: The extra `data` is not installed.
    """
    format = format or Format()
    parts = [_read(source, format) for source in find_sources(data, "fills")]
    columns, words = _joined(parts)
    raws = [part.raw for part in parts]
    files = tuple(raw.source.name for raw in raws)

    def lines(source: int, row: int) -> str:
        return raws[source].where(row)

    def where(at: int) -> str:
        return lines(int(columns["source"][at]), int(columns["row"][at]))

    kept, dropped = find_executions(columns, words, where)
    if format.symbol and "symbol" in words:
        kept, other = _of_symbol(kept, columns["symbol"], words["symbol"], format.symbol, files)
        dropped |= other
    chosen = days_chosen(columns["time"][kept], format)
    if not chosen.any():
        raise ValueError(f"{', '.join(files[:3])}: no execution on the days of --since and --until")
    kept, other_days = kept[chosen], int((~chosen).sum())
    dropped |= {"executions of other days": other_days} if other_days else {}
    order = kept[np.argsort(columns["time"][kept], kind="stable")]
    columns = {field: values[order] for field, values in columns.items()}
    choices = [*dict.fromkeys(choice for part in parts for choice in part.choices), *_zone_choice(parts)]
    _check(columns, where)
    side = side_of(columns, words, where)
    fee, turned = _fees(columns.get("fee"))
    provenance = _provenance(parts, dropped, (*choices, *turned, *_equal_rows(columns)))
    unknown = np.full(len(order), np.nan)
    return Blotter(
        time=columns["time"],
        side=side,
        quantity=np.abs(columns["quantity"]),
        price=columns["price"],
        **{name: Labels(words.get(name, ("",)), columns.get(name, np.zeros(len(order), np.int64))) for name in LABELS},
        fee=fee,
        ordered=np.abs(columns.get("ordered", unknown)),
        arrival=columns.get("arrival"),
        arrival_price=columns.get("arrival_price", unknown),
        provenance=provenance,
        row=columns["row"],
        source=columns["source"],
        lines=lines,
    )


def _read(source: Source, format: Format) -> _Part:
    """Read the rows of one source."""
    raw = _with_tags(open_raw(source))
    try:
        found = recognise("fills", raw, format.column_names)
    except ValueError as error:
        raise ValueError(f"{source.name}: {error}") from None
    _check_unique(raw, found)
    stamping, choices = _stamping(raw, found, format)
    numeric = [at for field, at in found.columns.items() if field in NUMBERS]
    mark, choice = decimal_mark((value for row in raw.sample for at in numeric if (value := row[at])), raw.separator)
    mark = {"": mark, "point": ".", "comma": ","}[format.decimal]
    choices += [] if format.decimal else [choice]
    reading = _Reading(raw, found, stamping, mark, format)
    used = sorted(set(found.columns.values()))
    for batch in raw.batches(used):
        reading.add(dict(zip(used, batch, strict=True)))
    columns = {field: np.concatenate(parts) for field, parts in reading.parts.items()}
    words = {field: tuple(known) for field, known in reading.words.items()}
    return _Part(
        raw, found, stamping, reading.aware, columns, words, tuple(f"{source.name}: {text}" for text in choices if text)
    )


def _with_tags(raw: Raw) -> Raw:
    """Return a table whose first row is a header of FIX tags (60, 55, 54 ...) with that header."""
    known = {word for names in NAMES["fills"].values() for word in names.split()}
    if raw.header or len(raw.sample) < 2 or not set(raw.sample[0]) <= known:
        return raw

    def batches(columns: Sequence[int]) -> Iterator[list[Any]]:
        skip = 1
        for batch in raw.batches(columns):
            yield [column[skip:] for column in batch]
            skip = 0

    return raw._replace(header=raw.sample[0], sample=raw.sample[1:], batches=batches, line=lambda row: raw.line(row + 1))


def _check_unique(raw: Raw, found: Recognised) -> None:
    """Raise ValueError if two columns have the name of a column that is read."""
    for at in found.columns.values():
        name = raw.header[at].strip().lower() if raw.header else ""
        count = sum(other.strip().lower() == name for other in raw.header)
        if name and count > 1:
            raise ValueError(
                f"{raw.source.name}: column {name} must appear once, got it {count} times; choose one by number, such as "
                f"--columns FIELD={at + 1}"
            )


class _Reading:
    """The columns of one source while its batches are read."""

    def __init__(self, raw: Raw, found: Recognised, stamping: Stamping, mark: str, format: Format) -> None:
        """Start without rows."""
        self.raw, self.found, self.stamping, self.mark = raw, found, stamping, mark
        self.parts: dict[str, list[NDArray[Any]]] = {}
        self.words: dict[str, dict[str, int]] = {}
        self.rows = 0
        self.aware = False
        self._arrival_style = StampStyle("")
        if "arrival" in found.columns:
            self._arrival_style, _ = stamp_style([row[found.columns["arrival"]] for row in raw.sample], format.dates)

    def add(self, batch: dict[int, Any]) -> None:
        """Take a batch, by number of the column."""
        first, columns = self.rows, {field: batch[at] for field, at in self.found.columns.items()}
        count = len(next(iter(batch.values())))
        self.rows += count

        def where(at: int) -> str:
            return self.raw.where(first + at)

        self._keep("time", self._times(columns, where))
        self._keep("row", np.arange(first, first + count))
        for field, column in columns.items():
            if field in NUMBERS:
                self._keep(field, read_numbers(column, self.mark, where, self._name(field)))
            elif field in WORDS:
                self._keep(field, self._labels(field, column, where))
        if self._arrival_style.form:
            self._keep("arrival", self._arrivals(columns["arrival"], where))

    def _arrivals(self, column: Any, where: Callable[[int], str]) -> Nanoseconds:
        """Return the times of arrival of a batch, in UTC; those of the executions where they are missing."""
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        arrival = self.parts["time"][-1].copy()
        if len(rows):
            name = self._name("arrival")
            time, aware = read_stamps(column.take(rows), self._arrival_style, lambda at: where(int(rows[at])), name)
            arrival[rows] = time if aware else utc_of(time, self.stamping.zone)
        return arrival

    def _times(self, columns: dict[str, Any], where: Callable[[int], str]) -> Nanoseconds:
        """Return the times of a batch, in UTC."""
        style, clock, day, zone, _ = self.stamping
        if "ts" in columns:
            self._refuse_days(columns["ts"], where)
            stamps, aware = read_stamps(columns["ts"], style, where, self._name("ts"))
            self.aware = self.aware or aware
            return stamps if aware else utc_of(stamps, zone)
        time: Any = read_stamps(columns["date"], style, where, self._name("date"))[0] if "date" in columns else day
        if clock:
            time = time + read_clock(columns["time"], clock, where, self._name("time"))
        return utc_of(np.asarray(time), zone)

    def _refuse_days(self, column: Any, where: Callable[[int], str]) -> None:
        """Raise ValueError for a stamp that is a day without a time."""
        arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
        short = arrow.types.is_date(column.type)
        if arrow.types.is_string(column.type) and not self.stamping.style.form.startswith("epoch"):
            lengths = compute.fill_null(compute.utf8_length(compute.utf8_trim_whitespace(column)), 99)
            short = lengths.to_numpy(zero_copy_only=False) <= len("2024-03-26")
        if np.any(short):
            at = int(np.argmax(short))
            raise ValueError(f"{where(at)}: {self._name('ts')} {_MOMENT}, got {str(column[at].as_py())!r}")

    def _labels(self, field: str, column: Any, where: Callable[[int], str]) -> NDArray[np.int64]:
        """Return the index of the word of each row."""
        found, places = read_words(column)
        known = self.words.setdefault(field, {})
        numbers = np.empty(len(found), dtype=np.int64)
        for index, word in enumerate(map(str.strip, found)):
            if not word.isprintable():
                at = int((places == index).argmax())
                raise ValueError(f"{where(at)}: {self._name(field)} must be printable text, got {shown(word)}")
            numbers[index] = known.setdefault(word, len(known))
        return numbers[places]

    def _name(self, field: str) -> str:
        """Return the name of a column for messages."""
        at = self.found.columns[field]
        return self.raw.header[at] if self.raw.header and self.raw.header[at] else field

    def _keep(self, field: str, values: NDArray[Any]) -> None:
        self.parts.setdefault(field, []).append(values)


def _joined(parts: Sequence[_Part]) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    """Return the columns of all sources, one after the other, and the words of the columns of words."""
    counts = [len(part.columns["time"]) for part in parts]
    columns: dict[str, NDArray[Any]] = {"source": np.repeat(np.arange(len(parts), dtype=np.int16), counts)}
    words: dict[str, tuple[str, ...]] = {}
    for field in dict.fromkeys(field for part in parts for field in part.columns):
        if field in WORDS:
            known: dict[str, int] = {}
            found = []
            for part, count in zip(parts, counts, strict=True):
                places = np.array([known.setdefault(word, len(known)) for word in part.words.get(field, ("",))], np.int64)
                found.append(places[part.columns.get(field, np.zeros(count, np.int64))])
            words[field] = tuple(known)
            columns[field] = np.concatenate(found)
        else:
            lacking = next((part for part in parts if field not in part.columns), None)
            if field == "arrival" and lacking:
                continue
            columns[field] = np.concatenate(
                [part.columns.get(field, np.full(count, np.nan)) for part, count in zip(parts, counts, strict=True)]
            )
    return columns, words


def _of_symbol(
    kept: NDArray[np.int64], at: NDArray[np.int64], words: Sequence[str], symbol: str, files: Sequence[str]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Return the rows of one symbol, and the count of the others; a file without symbols is of that symbol."""
    if not any(words):
        return kept, {}
    mask = np.array([word == symbol for word in words])[at[kept]]
    if not mask.any():
        known = ", ".join(sorted(filter(None, words))[:10])
        raise ValueError(f"{', '.join(files)}: no execution of symbol {symbol!r}; the symbols are {known}")
    others = int((~mask).sum())
    return kept[mask], {"executions of other symbols": others} if others else {}


def _zone_choice(parts: Sequence[_Part]) -> list[str]:
    """Return a sentence on the time zone of the fills, if one was assumed."""
    assumed = [part.stamping for part in parts if not part.aware and part.stamping.why]
    return [
        f"the times of the fills carry no offset and are taken to be in {zone}, {why}; pass --fills-tz if they are not"
        for zone, why in dict.fromkeys((item.zone, item.why) for item in assumed)
    ]


def _check(columns: dict[str, NDArray[Any]], where: Callable[[int], str]) -> None:
    """Raise ValueError for the first execution with a number out of range; quantity and size may carry a sign."""
    for field, (low, high, needed) in _RANGES.items():
        values = columns.get(field)
        if values is None:
            continue
        size = values if field == "price" or field == "arrival_price" else np.abs(values)
        wrong = ~((size > low) & (size <= high)) & (needed | ~np.isnan(values))
        if wrong.any():
            at = int(wrong.argmax())
            allowed = f"in ({low:g}, {high:g}]" if low >= 0.0 else f"of at most {high:g}"
            raise ValueError(f"{where(at)}: {field} must be a number {allowed}, got {values[at]:g}")


def _equal_rows(columns: dict[str, NDArray[Any]]) -> list[str]:
    """Return a sentence if executions without an execution id equal others, so that they may be given twice."""
    if "exec_id" in columns:
        return []
    fields = [
        columns[field] for field in ("time", "quantity", "price", "symbol", "side", "order_id", "broker") if field in columns
    ]
    order = np.lexsort(fields)
    same = np.logical_and.reduce([values[order[1:]] == values[order[:-1]] for values in fields])
    count = int(same.sum())
    text = "executions that equal another one in time, quantity, price and order count too, for want of an exec_id"
    return [f"{text}: {count:,}"] if count else []


def _fees(fee: Floats | None) -> tuple[Floats | None, tuple[str, ...]]:
    """Return fees as costs, and a sentence if their signs are turned."""
    if fee is None or not np.isfinite(fee).any():
        return None, ()
    fee = np.nan_to_num(fee)
    if fee.max() <= 0.0 and fee.min() < 0.0:
        return -fee, ("all fees are negative numbers and are taken as costs",)
    return fee, ()


def _provenance(parts: Sequence[_Part], dropped: dict[str, int], choices: tuple[str, ...]) -> Provenance:
    """Return the provenance of the executions."""
    first = parts[0]
    header = first.raw.header
    return Provenance(
        files=tuple(part.raw.source.name for part in parts),
        layout=", ".join(dict.fromkeys(part.found.layout.name for part in parts)),
        columns={
            field: (header[at] if header and header[at] else f"column {at + 1}") for field, at in first.found.columns.items()
        },
        time=", ".join(dict.fromkeys(str(part.stamping) for part in parts)),
        zone=", ".join(dict.fromkeys("UTC" if part.aware else part.stamping.zone for part in parts)),
        rows=sum(len(part.columns["time"]) for part in parts),
        dropped=dropped,
        choices=choices,
    )
