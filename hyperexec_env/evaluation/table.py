"""Tables as text and as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

__all__ = ["markdown", "markdown_table", "text_table"]


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
