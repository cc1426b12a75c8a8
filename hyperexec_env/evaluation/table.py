"""Tables as text, as Markdown and as files."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically

__all__ = ["ENDINGS", "arrow_table", "check_ending", "markdown", "markdown_table", "text_table", "write_columns"]

ENDINGS: Final = (".parquet", ".csv", ".json")
"""Ends of the names of files of a table."""


def markdown(text: str) -> str:
    """Return plain text with everything escaped that Markdown or HTML would interpret."""
    return re.sub(r"([\\`*_{}\[\]|~$#])", r"\\\1", html.escape(text, quote=False))


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the caller escapes the cells."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *cells))


def text_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table as text in columns; the second column is left-aligned, the others right-aligned."""
    widths = [max(len(line[column]) for line in (header, *cells)) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 1 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (header, ["-" * width for width in widths], *cells)
    )


def check_ending(path: str) -> str:
    """Return the end of the name of a file for a table; raise ValueError if it has another one."""
    ending = next((end for end in ENDINGS if path.lower().endswith(end)), "")
    if not ending:
        raise ValueError(f"out must be a file that ends in {', '.join(ENDINGS)}, got {path!r}")
    return ending


def arrow_table(columns: Mapping[str, Sequence[Any]], numeric: Sequence[str]) -> Any:
    """Return a pyarrow.Table of some columns, in which None is unknown; the columns `numeric` are float64.

    Raises:
        MissingExtra: The extra `data` is not installed.
    """
    arrow = need("pyarrow", "data")
    return arrow.table(
        {name: arrow.array(values, arrow.float64() if name in numeric else None) for name, values in columns.items()}
    )


def write_columns(path: str, columns: Mapping[str, Sequence[Any]], numeric: Sequence[str]) -> None:
    """Write a table to a file that ends in .parquet (extra `data`), .csv or .json (a list of rows).

    Raises:
        MissingExtra: The name ends in .parquet, and the extra `data` is not installed.
        ValueError: The name has another end, or the file cannot be written.
    """
    ending = check_ending(path)
    if ending == ".parquet":
        buffer = io.BytesIO()
        need("pyarrow.parquet", "data").write_table(arrow_table(columns, numeric), buffer)
        write_atomically(path, buffer.getvalue())
        return
    rows = list(zip(*columns.values(), strict=True))
    if ending == ".json":
        write_atomically(path, json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1) + "\n")
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
