"""Data as they came: names of columns, a sample, and columnar batches, from text, JSON, parquet and data frames alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from hyperexec_env.extras import need

from .sources import Source, damage
from .text import line_of_row, read_text, sniff

__all__ = ["Raw", "open_raw"]

LARGEST_JSON: Final = 2**30
"""Largest size of a JSON file that is one document, bytes."""
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

    def where(self, row: int) -> str:
        """Return source and line of a row, for error messages."""
        return f"{self.source.name}, {'line' if self.source.form == 'text' else 'row'} {self.line(row)}"


def open_raw(source: Source) -> Raw:
    """Open a source and read its first rows.

    Raises:
        ValueError: The source cannot be read or holds no rows; the message names it.
    """
    return {"text": _of_text, "json": _of_json, "parquet": _of_parquet, "frame": _of_frame}[source.form](source)


def _of_text(source: Source) -> Raw:
    dialect = sniff(source)
    return Raw(
        source,
        dialect.header,
        dialect.tickers,
        dialect.width,
        dialect.sample[:_SAMPLE_ROWS],
        dialect.separator,
        lambda columns: read_text(source, dialect, columns),
        lambda row: line_of_row(source, dialect, row),
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
        raise ValueError(f"{source.name}: no rows")
    columns = [["" if value is None else str(value) for value in column.to_pylist()] for column in table.slice(0, _SAMPLE_ROWS)]
    names = ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in table.schema.names]
    header, tickers = _two_levels(names)
    return Raw(source, header, tickers, len(names), tuple(zip(*columns, strict=True)), "", batches, lambda row: row + 1)


def _two_levels(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and instruments of columns whose names are pairs, such as ('Close', 'AAPL')."""
    pairs = [re.fullmatch(r"\('([^']*)', '([^']*)'\)", name) for name in names]
    if not any(pairs):
        return tuple(names), ()
    found = [(pair[1], pair[2]) if pair else (name, "") for pair, name in zip(pairs, names, strict=True)]
    return tuple(name for name, _ in found), tuple(ticker for _, ticker in found)


def _of_json(source: Source) -> Raw:
    header, rows = _json_rows(source)
    if not rows:
        raise ValueError(f"{source.name}: no rows of data in the JSON document")
    width = max(map(len, rows))
    texts = [tuple("" if value is None else str(value) for value in row) + ("",) * (width - len(row)) for row in rows]
    string = need("pyarrow", "data").string()

    def batches(columns: Sequence[int]) -> Iterator[list[Any]]:
        arrow = need("pyarrow", "data")
        for first in range(0, len(texts), _BATCH):
            part = texts[first : first + _BATCH]
            yield [arrow.array([row[index] or None for row in part], string) for index in columns]

    return Raw(source, header, (), width, tuple(texts[:_SAMPLE_ROWS]), "", batches, lambda row: row + 1)


def _json_rows(source: Source) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return names of columns (empty if there are none) and rows of a JSON document, or of one document a line."""
    try:
        with source.open() as file:
            content = file.read(LARGEST_JSON + 1)
    except (OSError, EOFError) as error:
        raise damage(source.name, error) from None
    if len(content) > LARGEST_JSON:
        raise ValueError(
            f"cannot read {source.name}: it is larger than {LARGEST_JSON:,} bytes; split it, or use csv or parquet"
        )
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError(f"{source.name}: the JSON document is nested too deep") from None
    except ValueError:
        document = _json_lines(source, content)
    return _records(document)


def _json_lines(source: Source, content: bytes) -> list[Any]:
    """Return the documents of a file that holds one a line."""
    documents = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                documents.append(json.loads(line))
            except (ValueError, RecursionError):
                shown = line[:60].decode("utf-8", "replace")
                raise ValueError(f"{source.name}, line {number}: not JSON: {shown!r}") from None
    return documents


def _records(document: Any, depth: int = 0) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return names of columns and rows of the largest table in a JSON document."""
    if depth > 20:
        return (), []
    if isinstance(document, list):
        if document and all(isinstance(item, dict) for item in document):
            plain = [item for item in document if any(not isinstance(value, (dict, list)) for value in item.values())]
            names = list(dict.fromkeys(key for item in plain for key in item))
            if len(names) >= 3:
                return tuple(names), [[item.get(name) for name in names] for item in plain]
        if document and all(isinstance(item, list) and len(item) >= 3 for item in document):
            return (), document
        return max((_records(item, depth + 1) for item in document), key=lambda found: len(found[1]), default=((), []))
    if not isinstance(document, dict):
        return (), []
    return _of_object(document, depth)


def _of_object(document: dict[str, Any], depth: int) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return names of columns and rows of the largest table in a JSON object."""
    values = list(document.values())
    if len(values) > 1 and all(isinstance(item, dict) for item in values) and all(key[:1].isdigit() for key in document):
        names = list(dict.fromkeys(key for item in values for key in item))  # stamp -> values
        return ("timestamp", *names), [[key, *(item.get(name) for name in names)] for key, item in document.items()]
    if len(values) > 1 and all(isinstance(item, list) for item in values):  # instrument -> rows
        found = {key: _records(item, depth + 1) for key, item in document.items()}
        if all(names and rows for names, rows in found.values()):
            shared = next(iter(found.values()))[0]
            return ("symbol", *shared), [[key, *row] for key, (_, rows) in found.items() for row in rows]
    columns = {key: item for key, item in _flat_lists(document).items() if len(item) > 1}
    lengths = [len(item) for item in columns.values()]
    length = max(set(lengths), key=lengths.count, default=0)
    chosen = {key: item for key, item in columns.items() if len(item) == length}
    if len(chosen) >= 4:
        return tuple(chosen), [list(row) for row in zip(*chosen.values(), strict=True)]
    return max((_records(item, depth + 1) for item in values), key=lambda found: len(found[1]), default=((), []))


def _flat_lists(document: Any, depth: int = 0) -> dict[str, list[Any]]:
    """Return the lists of plain values in an object and in the objects below it, by name."""
    found: dict[str, list[Any]] = {}
    if depth > 6 or not isinstance(document, dict):
        return found
    for key, item in document.items():
        if isinstance(item, list) and item and not isinstance(item[0], (dict, list)):
            found.setdefault(key, item)
        else:
            below = item[0] if isinstance(item, list) and item else item
            for name, values in _flat_lists(below, depth + 1).items():
                found.setdefault(name, values)
    return found
