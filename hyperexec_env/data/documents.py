"""JSON documents of data: the largest table in a document, whatever it is wrapped in, or one document a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from .sources import Source, damage

__all__ = ["Document", "read_document"]

LARGEST: Final = 2**28
"""Largest size of a JSON file, bytes; ten to twenty times as much memory is needed to read it."""
_DEPTH: Final = 20
_ZONE: Final = re.compile(r"(\d+\. )?(exchange_?)?time_?\s?zone(_?name)?", re.IGNORECASE)
"""Keys whose value is the time zone of the stamps of a document."""


class Document(NamedTuple):
    """The largest table in a JSON document."""

    header: tuple[str, ...]
    """Names of the columns; empty if the rows are lists."""
    rows: list[list[Any]]
    zone: str = ""
    """Time zone that the document states for its stamps."""


def read_document(source: Source) -> Document:
    """Read the largest table of a JSON document.

    Raises:
        ValueError: The file is not JSON, or too large; the message names file and line.
    """
    try:
        with source.open() as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError) as error:
        raise damage(source.name, error) from None
    if len(content) > LARGEST:
        raise ValueError(f"cannot read {source.name}: JSON larger than {LARGEST:,} bytes; split it, or use csv or parquet")
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError(f"{source.name}: the JSON document is nested too deep") from None
    except ValueError as error:
        document = _lines(source, content, error)
    header, rows = _records(document)
    return Document(header, rows, _zone(document))


def _lines(source: Source, content: bytes, error: ValueError) -> list[Any]:
    """Return the documents of a file that holds one a line."""
    documents = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                documents.append(json.loads(line))
            except (ValueError, RecursionError):
                if number == 1:  # one document over several lines
                    place = getattr(error, "lineno", 1)
                    raise ValueError(f"{source.name}, line {place}: not JSON: {getattr(error, 'msg', error)}") from None
                shown = line[:60].decode("utf-8", "replace")
                raise ValueError(f"{source.name}, line {number}: not JSON: {shown!r}") from None
    return documents


def _zone(document: Any, depth: int = 0) -> str:
    """Return the time zone that a document states beside its table; "" if it states none."""
    if not isinstance(document, dict) or depth > 2:
        return ""
    for key, item in document.items():
        if isinstance(item, str) and _ZONE.fullmatch(key) and _is_zone(item):
            return item
        found = _zone(item, depth + 1)
        if found:
            return found
    return ""


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _records(document: Any, depth: int = 0) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return names of columns and rows of the largest table in a JSON document."""
    if depth > _DEPTH:
        return (), []
    if isinstance(document, list):
        if document and all(isinstance(item, dict) for item in document):
            plain = [item for item in document if any(not isinstance(value, (dict, list)) for value in item.values())]
            names = list(dict.fromkeys(key for item in plain for key in item))
            if len(names) >= 3:
                return tuple(names), [[item.get(name) for name in names] for item in plain]
        if document and all(isinstance(item, list) and len(item) >= 3 for item in document):
            return (), document
        return _largest(document, depth)
    return _of_object(document, depth) if isinstance(document, dict) else ((), [])


def _of_object(document: dict[str, Any], depth: int) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return names of columns and rows of the largest table in a JSON object."""
    values = list(document.values())
    if len(values) > 1 and all(isinstance(item, dict) for item in values) and all(key[:1].isdigit() for key in document):
        names = list(dict.fromkeys(key for item in values for key in item))  # stamp -> values
        return ("index", *names), [[key, *(item.get(name) for name in names)] for key, item in document.items()]
    if values and all(isinstance(item, list) and item and isinstance(item[0], dict) for item in values):  # instrument -> rows
        found = {key: _records(item, depth + 1) for key, item in document.items()}
        shared = next(iter(found.values()))[0]
        if shared and len(document) > 1 and all(names == shared for names, _ in found.values()):
            return ("symbol", *shared), [[key, *row] for key, (_, rows) in found.items() for row in rows]
    header, rows = _of_frame(document)
    if rows:
        return header, rows
    columns: dict[str, list[Any]] = {}
    for key, item in _flat_lists(document):
        if len(item) > 1:
            columns.setdefault(key, item)
    lengths = [len(item) for item in columns.values()]
    length = max(set(lengths), key=lengths.count, default=0)
    chosen = {key: item for key, item in columns.items() if len(item) == length}
    if len(chosen) >= 4:
        return tuple(chosen), [list(row) for row in zip(*chosen.values(), strict=True)]
    return _largest(values, depth)


def _of_frame(document: dict[str, Any]) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return names of columns and rows of a pandas frame that was written by columns (or split); no rows for another object."""
    names, rows, index = (document.get(key) for key in ("columns", "data", "index"))
    if isinstance(names, list) and isinstance(rows, list) and rows and all(isinstance(row, list) for row in rows):
        if all(len(row) == len(names) for row in rows) and isinstance(index, list) and len(index) == len(rows):
            return ("index", *map(str, names)), [[key, *row] for key, row in zip(index, rows, strict=True)]
        return tuple(map(str, names)), rows
    columns = [item for item in document.values() if isinstance(item, dict) and len(item) > 1]
    if len(columns) < 4 or len(columns) < len(document) or any(list(item) != list(columns[0]) for item in columns):
        return (), []
    if any(isinstance(value, (dict, list)) for item in columns for value in item.values()):
        return (), []
    return ("index", *document), [[key, *(item[key] for item in columns)] for key in columns[0]]


def _largest(items: list[Any], depth: int) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return the table with the most rows among some documents."""
    return max((_records(item, depth + 1) for item in items), key=lambda found: len(found[1]), default=((), []))


def _flat_lists(document: Any, depth: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """Yield the lists of plain values in an object and in the objects below it, by name; the first of a name counts."""
    if depth > 6 or not isinstance(document, dict):
        return
    below = []
    for key, item in document.items():
        if isinstance(item, list) and item and not isinstance(item[0], (dict, list)):
            yield key, item
        else:
            below.append(item[0] if isinstance(item, list) and item else item)
    for item in below:
        yield from _flat_lists(item, depth + 1)
