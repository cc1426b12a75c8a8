"""Where the instruments of a blotter trade: a table of calendars, currencies, lots and rates by symbol."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from .blotter import Blotter
from .calendars import calendar_of
from .raw import open_raw
from .sources import Data, Source, find_sources

__all__ = ["Listing", "Listings", "in_shares", "read_listings"]

_NAMES: Final = {
    "symbol": "symbol ticker sym instrument ric",
    "calendar": "calendar exchange mic exchange_calendar",
    "currency": "currency ccy",
    "lot": "lot lot_size multiplier contract_size",
    "rate": "rate fx fx_rate",
}
"""Names of the columns, in lower case."""
_LARGEST: Final = 2**24
"""Largest size of a text file, bytes."""


class Listing(NamedTuple):
    """Where an instrument trades."""

    calendar: str = ""
    """Code of its trading calendar; "": that of the other options."""
    currency: str = ""
    """Currency of its prices; "": that of the executions."""
    lot: float = math.nan
    """Shares of a unit of quantity of the executions; NaN: that of the other options."""
    rate: float = math.nan
    """Units of the currency of the report for one unit of its currency; NaN if it is not given."""


Listings = dict[str, Listing]
"""Listing of each symbol."""


def read_listings(data: Data) -> Listings:
    """Read a table of instruments: a column of symbols, and any of calendar, currency, lot and rate; cells may be empty.

    Args:
        data: A path (csv, txt, json, parquet; plain, gz or zip) or a data frame.

    Raises:
        ValueError: The table lacks symbols or holds a symbol twice, an unknown calendar, or a lot or rate that is not positive;
            the message names file, line, column and value.
        MissingExtra: The extra `data` is not installed.
    """
    listings: Listings = {}
    for source in find_sources(data, "instruments"):
        _read(source, listings)
    return listings


def _read(source: Source, listings: Listings) -> None:
    """Add the rows of a source to the listings."""
    (_, header), *rows = _rows(source)
    names = [name.strip().lower().replace(" ", "_") for name in header]
    columns = {
        field: at for at, name in reversed([*enumerate(names)]) for field, known in _NAMES.items() if name in known.split()
    }
    if "symbol" not in columns or len(columns) < 2:
        raise ValueError(
            f"{source.name}: a table of instruments needs the columns symbol and any of calendar, currency, lot, rate; "
            f"its columns are {', '.join(header)}"
        )
    for where, row in rows:
        cells = {field: row[at].strip() if at < len(row) else "" for field, at in columns.items()}
        symbol = cells.pop("symbol")
        if not symbol or symbol in listings:
            raise ValueError(f"{where}: symbol must be given once, got {symbol!r}{' again' if symbol else ''}")
        fields: dict[str, Any] = {
            field: _positive(text, field, where) if field in ("lot", "rate") else text for field, text in cells.items()
        }
        listings[symbol] = Listing(**fields)
        _check_calendar(listings[symbol], where)


def _rows(source: Source) -> list[tuple[str, Sequence[str]]]:
    """Return the rows of a source, the first of them its header, each with its place."""
    if source.form != "text":
        raw = open_raw(source)
        cells = [zip(*(column.to_pylist() for column in batch), strict=True) for batch in raw.batches(range(raw.width))]
        rows = [tuple("" if cell is None else str(cell) for cell in row) for batch in cells for row in batch]
        return [(source.name, raw.header), *((raw.where(at), row) for at, row in enumerate(rows))]
    try:
        with source.open() as file:
            text = file.read(_LARGEST + 1).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {source.name}: {error}") from None
    if len(text) > _LARGEST:
        raise ValueError(f"cannot read {source.name}: a table of instruments has {_LARGEST:,} bytes at most")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    found: list[tuple[str, Sequence[str]]] = [(f"{source.name}, line {reader.line_num}", row) for row in reader if any(row)]
    if len(found) < 2:
        raise ValueError(f"{source.name}: a table of instruments needs a header and a row")
    return found


def _positive(text: str, field: str, where: str) -> float:
    """Return a positive number; NaN for an empty cell."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = -1.0
    if text and not 0.0 < value < 1e12:
        raise ValueError(f"{where}: {field} must be a positive number, got {text!r}")
    return value


def _check_calendar(listing: Listing, where: str) -> None:
    """Raise ValueError if a calendar is unknown."""
    if listing.calendar:
        try:
            calendar_of(listing.calendar)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def in_shares(blotter: Blotter, lot: float = 1.0, listings: Listings | None = None) -> Blotter:
    """Return executions whose quantities are in lots with quantities in shares.

    Args:
        blotter: The executions.
        lot: Shares of a lot.
        listings: Instruments with lots of their own.

    Raises:
        ValueError: `lot` is not a positive number.
    """
    if not 0.0 < lot < 1e12:
        raise ValueError(f"lot must be a positive number of shares, got {lot!r}")
    own = [(listings or {}).get(word, Listing()).lot for word in blotter.symbol.words]
    shares = np.where(np.isnan(own), lot, own)[blotter.symbol.at]
    if (shares == 1.0).all():
        return blotter
    sizes = sorted(set(shares.tolist()))
    text = f"quantities are in lots of {', '.join(f'{size:,g}' for size in sizes[:5])} shares"
    provenance = replace(blotter.provenance, choices=(*blotter.provenance.choices, text))
    return replace(blotter, quantity=blotter.quantity * shares, ordered=blotter.ordered * shares, provenance=provenance)
