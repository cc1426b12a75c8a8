"""Determine what some data are: the first kind whose layouts fit them."""

from __future__ import annotations

from collections.abc import Sequence

from .format import Format
from .raw import open_raw
from .recognise import recognise
from .sources import NoTable, Source

__all__ = ["kind_of"]


def kind_of(sources: Sequence[Source], format: Format, kinds: Sequence[str]) -> str:
    """Return the first kind of data whose layouts fit the first source that holds data.

    Raises:
        ValueError: None fits; the message says what was found, or which option is wrong.
    """
    fault: ValueError | None = None
    for source in sources:
        try:
            return _kind_of(source, format, kinds)
        except NoTable as error:
            if not source.within:
                raise
            fault = fault or error
    raise fault or ValueError("no source of data is given")


def _kind_of(source: Source, format: Format, kinds: Sequence[str]) -> str:
    """Return the first kind of data whose layouts fit a source; see :func:`kind_of`."""
    raw, reasons = open_raw(source), []
    for kind in kinds:
        try:
            recognise(kind, raw, format.column_names, format.layout)
        except ValueError as error:
            reasons.append(str(error))
            continue
        return kind
    if format.columns or format.layout:
        of_kind = ("columns of", "layout must")  # what another kind of data has no field or layout for
        raise ValueError(f"{source.name}: {next((text for text in reasons if not text.startswith(of_kind)), reasons[0])}")
    shown = ", ".join(raw.header) if any(raw.header) else "no header; the first row is " + ", ".join(raw.sample[0])
    raise NoTable(f"{source.name}: none of {', '.join(kinds)} ({shown[:300]}); pass --kind and --columns")
