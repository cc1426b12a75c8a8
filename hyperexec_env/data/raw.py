"""Data as they came: names of columns, a sample, and columnar batches, from text, JSON, parquet and data frames alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from hyperexec_env.extras import need

from .documents import read_document
from .sources import NoTable, Source, damage
from .text import line_of_row, read_text, sniff

__all__ = ["Raw", "open_raw"]

_SAMPLE_ROWS: Final = 2_000
_BATCH: Final = 250_000
"""Rows of a batch of a parquet file or a frame."""


class Raw(NamedTuple):
    """A table before it is understood."""

    source: Source
    header: tuple[str, ...]
    """Names of the columns; empty if the data have none."""
    tickers: tuple[str, ...]
    """Instrument of each column, where the data state it above the column; otherwise empty."""
    width: int
    """Number of columns."""
    sample: tuple[tuple[str, ...], ...]
    """First rows, as text."""
    separator: str
    """Separator of a text file; "" for other forms."""
    batches: Callable[[Sequence[int]], Iterator[list[Any]]]
    """Yield batches of some columns, each a list of pyarrow arrays (strings, or typed for parquet and frames)."""
    line: Callable[[int], int]
    """Return the line of a text file (from 1) for a row (from 0); the number of the row (from 1) for other forms."""
    skipped: Sequence[str] = ()
    """Lines that hold words alone and fewer values than a row, such as a footer, as far as the data are read."""
    is_log: bool = False
    """Whether the lines are log lines of Interactive Brokers' API."""
    zone: str = ""
    """Time zone that the data state for all stamps; "" if they state none."""

    @property
    def signs(self) -> set[str]:
        """Signs of the layout beside the names of the columns; see :class:`~hyperexec_env.data.layouts.Layout`."""
        found = {f"separator {self.separator}", f"{self.width} columns", self.source.form}
        return {*found, *(["tickers"] if any(self.tickers) else []), *(["api lines"] if self.is_log else [])}

    def where(self, row: int) -> str:
        """Return source and line of a row, for error messages."""
        return f"{self.source.name}, {'line' if self.source.form == 'text' else 'row'} {self.line(row)}"


def open_raw(source: Source) -> Raw:
    """Open a source and read its first rows.

    Raises:
        ValueError: The source cannot be read or holds no rows; the message names it.
    """
    try:
        return {"text": _of_text, "json": _of_json, "parquet": _of_parquet, "frame": _of_frame}[source.form](source)
    except UnicodeError as error:  # texts of a damaged parquet file
        raise damage(source.name, error) from None


def _of_text(source: Source) -> Raw:
    dialect = sniff(source)
    skipped: list[str] = []
    return Raw(
        source,
        dialect.header,
        dialect.tickers,
        dialect.width,
        dialect.sample[:_SAMPLE_ROWS],
        dialect.separator,
        lambda columns: read_text(source, dialect, columns, skipped),
        lambda row: line_of_row(source, dialect, row, skipped),
        skipped,
        dialect.is_log,
    )


def _of_frame(source: Source) -> Raw:
    return _of_table(source, source.frame, lambda columns: _frame_batches(source.frame, columns))


def _frame_batches(table: Any, columns: Sequence[int]) -> Iterator[list[Any]]:
    for batch in table.select(list(columns)).to_batches(max_chunksize=_BATCH):
        yield batch.columns


def _of_parquet(source: Source) -> Raw:
    arrow, parquet = need("pyarrow", "data"), need("pyarrow.parquet", "data")

    def batches(columns: Sequence[int]) -> Iterator[list[Any]]:
        try:
            with source.open() as content:
                file = parquet.ParquetFile(content)
                names = [file.schema_arrow.names[index] for index in columns]
                for batch in file.iter_batches(batch_size=_BATCH, columns=names):
                    yield [batch.column(name) for name in names]
        except (arrow.ArrowException, OSError) as error:
            raise damage(source.name, error) from None

    try:
        with source.open() as content:
            file = parquet.ParquetFile(content)
            empty = file.schema_arrow.empty_table()
            head = next(file.iter_batches(batch_size=_SAMPLE_ROWS), None)
    except (arrow.ArrowException, OSError) as error:
        raise damage(source.name, error) from None
    table = empty if head is None else arrow.Table.from_batches([head])
    return _of_table(source, table, batches)


def _of_table(source: Source, table: Any, batches: Callable[[Sequence[int]], Iterator[list[Any]]]) -> Raw:
    """Return the raw table of a typed one."""
    if not table.num_rows:
        raise NoTable(f"{source.name}: no rows")
    columns = [_texts(column) for column in table.slice(0, _SAMPLE_ROWS).columns]
    names = ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in table.schema.names]
    header, tickers = _two_levels(names)
    return Raw(source, header, tickers, len(names), tuple(zip(*columns, strict=True)), "", batches, lambda row: row + 1)


def _texts(column: Any) -> list[str]:
    """Return the values of a typed column as text."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    try:
        values = compute.cast(column, arrow.string()).to_pylist()
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError):
        values = [None if value is None else str(value) for value in column.to_pylist()]
    return ["" if value is None else value for value in values]


def _two_levels(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and instruments of columns whose names are pairs, such as ('Close', 'AAPL')."""
    pairs = [re.fullmatch(r"\('([^']*)', '([^']*)'\)", name) for name in names]
    if not any(pairs):
        return tuple(names), ()
    found = [(pair[1], pair[2]) if pair else (name, "") for pair, name in zip(pairs, names, strict=True)]
    return tuple(name for name, _ in found), tuple(ticker for _, ticker in found)


def _of_json(source: Source) -> Raw:
    document = read_document(source)
    rows = document.rows
    if not rows:
        raise NoTable(f"{source.name}: no rows of data in the JSON document")
    width = max(map(len, rows))
    head = [[_text(value) for value in row] + [""] * (width - len(row)) for row in rows[:_SAMPLE_ROWS]]

    def batches(columns: Sequence[int]) -> Iterator[list[Any]]:
        arrow = need("pyarrow", "data")
        for first in range(0, len(rows), _BATCH):
            part = rows[first : first + _BATCH]
            yield [
                arrow.array([_text(row[index]) or None if index < len(row) else None for row in part], arrow.string())
                for index in columns
            ]

    sample = tuple(map(tuple, head))
    return Raw(source, document.header, (), width, sample, "", batches, lambda row: row + 1, zone=document.zone)


def _text(value: Any) -> str:
    """Return a value of a JSON document as text; "" for null."""
    return "" if value is None else str(value)
