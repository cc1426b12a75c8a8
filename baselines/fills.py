"""Read and check a desk's fills: a CSV file with the fills of one order on one day."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_number
from hyperexec_env.data.zones import zone_of_stamp as zone
from hyperexec_env.files import csv_rows, printable
from hyperexec_env.orders import MAX_SHARES, check_lot_size, check_quantity, lots_of, shares_of

__all__ = ["COLUMNS", "DeskFill", "DeskOrder", "check_printable", "number", "read_fills"]

COLUMNS: Final = ("ts", "side", "quantity", "price")
"""Required columns, in any order."""
OPTIONAL: Final = ("symbol", "order_id")
"""Optional columns; each must hold the same value on every line. Other columns are ignored."""
SIDES: Final = {"buy": 1, "b": 1, "1": 1, "+1": 1, "sell": -1, "s": -1, "-1": -1}


class DeskFill(NamedTuple):
    """One fill."""

    line: int
    """Line of the fill in the file."""
    time: float
    """Wall-clock time, seconds after midnight."""
    quantity: float
    """Shares, a whole number of lots."""
    price: float
    """Currency per share."""


@dataclass(frozen=True)
class DeskOrder:
    """The fills of one order on one day."""

    file: str
    date: str
    side: int
    """+1 buy, -1 sell."""
    fills: tuple[DeskFill, ...]
    """Fills in ascending order of time."""
    symbol: str = ""
    order_id: str = ""
    zone: timezone | None = None
    """Offset of the times from UTC; None where the time stamps carry no offset."""
    lot_size: float = 1
    """Shares of a lot."""

    @property
    def filled(self) -> float:
        """Total shares of the fills, exact in lots."""
        return shares_of(sum(lots_of(fill.quantity, self.lot_size) for fill in self.fills), self.lot_size)

    def by_clock(self, zone: timezone | None) -> DeskOrder:
        """Return the order with its times converted to a zone. Times without an offset are taken to be in that zone already.

        Args:
            zone: Offset from UTC; None (unknown) returns the order unchanged.

        Raises:
            ValueError: The conversion moves a fill to another day.
        """
        if zone is None:
            return self
        shift = (zone.utcoffset(None) - (self.zone or zone).utcoffset(None)).total_seconds()
        fills = tuple(fill._replace(time=fill.time + shift) for fill in self.fills)
        for fill in fills:
            if not 0.0 <= fill.time < 86_400.0:
                raise ValueError(
                    f"{self.file}, line {fill.line}: ts is on {self.date} in {self.zone}, but on another day in the time zone "
                    f"of the bars, {zone}; write the times of the fills in {zone}"
                )
        return replace(self, fills=fills, zone=zone)


class _Line(NamedTuple):
    """One parsed line: the fields that identify the order, and the fill."""

    date: str
    zone: timezone | None
    side: int
    symbol: str
    order_id: str
    fill: DeskFill

    @property
    def offset(self) -> str:
        """Offset from UTC as text; "" where the time stamp carries none."""
        return str(self.zone or "")


def read_fills(path: str | os.PathLike[str], lot_size: float = 1) -> DeskOrder:
    """Read the fills of one order (csv, csv.gz): ts, side (buy, sell, +1, -1), quantity, price; optional symbol and order_id.

    Times are the wall-clock times of the stamps, as in bar files; the offset is stored in `zone`. Fractions of a second and
    lines in any order are allowed.

    Args:
        path: The file.
        lot_size: Shares of a lot; each quantity must be a whole number of lots.

    Raises:
        ValueError: The file is unreadable or malformed, or holds no fill or more than one order; the message names the line.
    """
    file, lot_size = Path(path), check_lot_size(lot_size)
    lines = [_line(f"{file}, line {line}", line, values, lot_size) for line, values in _rows(file)]
    if not lines:
        raise ValueError(f"{file}: no fills")
    first = lines[0]
    for line in lines[1:]:
        for key in ("date", "offset", "side", "symbol", "order_id"):
            here, there = getattr(line, key), getattr(first, key)
            if here != there:
                raise ValueError(
                    f"{file}, line {line.fill.line}: {key} is {here!r}, on line {first.fill.line} it is {there!r}; "
                    "a report is about one order of one day: give each order a file of its own"
                )
    fills = tuple(sorted((line.fill for line in lines), key=lambda fill: fill.time))
    return DeskOrder(str(file), first.date, first.side, fills, first.symbol, first.order_id, first.zone, lot_size)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number and the values by column of each line below the header."""
    if not file.name.lower().endswith((".csv", ".csv.gz")) or file.is_dir():
        raise ValueError(f"{file} must be a file with the extension .csv or .csv.gz")
    rows = csv_rows(file)
    _, names = next(rows, (0, []))
    header = [name.strip().lower() for name in names]
    _check_header(file, header)
    for line, values in rows:
        if len(values) != len(header):
            raise ValueError(f"{file}, line {line}: expected {len(header)} values as in the header, got {len(values)}")
        yield line, {key: value.strip() for key, value in zip(header, values, strict=True)}


def _check_header(file: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        found = printable(" ".join(", ".join(header).split())[:200])
        raise ValueError(f"{file}, line 1: missing column {', '.join(missing)} (found: {found or 'nothing'})")
    for name in (*COLUMNS, *OPTIONAL):
        if header.count(name) > 1:
            raise ValueError(f"{file}, line 1: column {name} must appear once, got it {header.count(name)} times")


def _line(where: str, line: int, values: dict[str, str], lot_size: float) -> _Line:
    """Parse and check one line of the file."""
    moment = _moment(where, values["ts"])
    side = SIDES.get(values["side"].lower())
    if side is None:
        raise ValueError(f"{where}: side must be buy, sell, +1 or -1, got {values['side'][:60]!r}")
    quantity = check_quantity(f"{where}: quantity", number(values["quantity"]), lot_size)
    price = check_number(f"{where}: price", number(values["price"]), low=0.0, high=1e9, open_low=True)
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond * 1e-6
    fill = DeskFill(line, seconds, quantity, price)
    for key in OPTIONAL:
        check_printable(f"{where}: {key}", values.get(key, ""))
    symbol, order = (values.get(key, "") for key in OPTIONAL)
    return _Line(moment.date().isoformat(), zone(moment), side, symbol, order, fill)


def _moment(where: str, stamp: str) -> datetime:
    """Parse a time stamp."""
    try:
        if len(stamp) > 10:
            return datetime.fromisoformat(stamp)
    except ValueError:
        pass
    raise ValueError(f"{where}: ts must be a date and time such as 2024-03-26T09:30:01.25, got {stamp[:60]!r}")


def check_printable(name: str, text: str) -> None:
    """Raise a ValueError if a text contains control characters, because reports print it to a terminal."""
    if not text.isprintable():
        raise ValueError(f"{name} must be printable text, got {text[:60]!r}")


def number(text: str) -> Any:
    """Parse a number; return the text itself if it is none (or is 1_00, which Python reads as 100), so that a check fails."""
    try:
        value = float("" if "_" in text else text)
    except ValueError:
        return text[:60]
    return int(value) if math.isfinite(value) and value == int(value) and abs(value) <= MAX_SHARES else value
