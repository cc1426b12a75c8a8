"""Fills of a desk: the file of one order on one day, read and checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.data.bars import zone
from hyperexec_env.files import csv_rows, printable
from hyperexec_env.orders import MAX_SHARES

__all__ = ["COLUMNS", "DeskFill", "DeskOrder", "check_printable", "number", "read_fills"]

COLUMNS: Final = ("ts", "side", "quantity", "price")
"""Columns that a file must have, in any order."""
OPTIONAL: Final = ("symbol", "order_id")
"""Columns that a file may have; each must hold one value. Others are ignored."""
SIDES: Final = {"buy": 1, "b": 1, "1": 1, "+1": 1, "sell": -1, "s": -1, "-1": -1}


class DeskFill(NamedTuple):
    """One line of the file."""

    line: int
    time: float
    """Wall clock, seconds after midnight."""
    quantity: int
    """Whole shares."""
    price: float
    """Currency per share."""


@dataclass(frozen=True)
class DeskOrder:
    """The fills of one order of one day."""

    file: str
    date: str
    side: int
    """+1 buy, -1 sell."""
    fills: tuple[DeskFill, ...]
    """By ascending time."""
    symbol: str = ""
    order_id: str = ""
    zone: timezone | None = None
    """Offset of the times from universal time; None where the stamps carry none."""

    @property
    def filled(self) -> int:
        """Shares that have traded."""
        return sum(fill.quantity for fill in self.fills)

    def by_clock(self, zone: timezone | None) -> DeskOrder:
        """Return the order with its times by the clock of a zone (None: not known); times without an offset are left.

        Raises:
            ValueError: A fill is of another day by that clock.
        """
        if zone is None:
            return self
        shift = (zone.utcoffset(None) - (self.zone or zone).utcoffset(None)).total_seconds()
        fills = tuple(fill._replace(time=fill.time + shift) for fill in self.fills)
        for fill in fills:
            if not 0.0 <= fill.time < 86_400.0:
                raise ValueError(
                    f"{self.file}, line {fill.line}: ts is on {self.date} in {self.zone}, but on another day by the clock of "
                    f"the bars, {zone}; write the times of the fills in {zone}"
                )
        return replace(self, fills=fills, zone=zone)


class _Line(NamedTuple):
    """What of a line says which order it belongs to, and its fill."""

    date: str
    zone: timezone | None
    side: int
    symbol: str
    order_id: str
    fill: DeskFill

    @property
    def offset(self) -> str:
        """From universal time, as a reader wants it."""
        return str(self.zone or "")


def read_fills(path: str | os.PathLike[str]) -> DeskOrder:
    """Read the fills of one order (csv, csv.gz): ts, side (buy, sell, +1, -1), quantity, price; symbol and order_id if given.

    Times are the wall clock of the stamp, as in bars, and its offset is kept. Fractions of a second are allowed, and the lines
    may stand in any order.

    Raises:
        ValueError: The file cannot be read, is faulty, or holds no fill or more than one order; the message names the line.
    """
    file = Path(path)
    lines = [_line(f"{file}, line {line}", line, values) for line, values in _rows(file)]
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
    return DeskOrder(str(file), first.date, first.side, fills, first.symbol, first.order_id, first.zone)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and the values of the known columns."""
    if not file.name.lower().endswith((".csv", ".csv.gz")) or file.is_dir():
        raise ValueError(f"{file} is not a file that ends in .csv, .csv.gz")
    rows = csv_rows(file)
    _, names = next(rows, (0, []))
    header = [name.strip().lower() for name in names]
    _check_header(file, header)
    for line, values in rows:
        if len(values) != len(header):
            raise ValueError(f"{file}, line {line}: {len(values)} values for the {len(header)} columns of the header")
        yield line, {key: value.strip() for key, value in zip(header, values, strict=True)}


def _check_header(file: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        found = printable(" ".join(", ".join(header).split())[:200])
        raise ValueError(f"{file}, line 1: missing column {', '.join(missing)} (found: {found or 'nothing'})")
    for name in (*COLUMNS, *OPTIONAL):
        if header.count(name) > 1:
            raise ValueError(f"{file}, line 1: the column {name} stands there {header.count(name)} times")


def _line(where: str, line: int, values: dict[str, str]) -> _Line:
    """Return a line of the file, checked."""
    moment = _moment(where, values["ts"])
    side = SIDES.get(values["side"].lower())
    if side is None:
        raise ValueError(f"{where}: side must be buy, sell, +1 or -1, got {values['side'][:60]!r}")
    quantity = check_integer(f"{where}: quantity", number(values["quantity"]), low=1, high=MAX_SHARES)
    price = check_number(f"{where}: price", number(values["price"]), low=0.0, high=1e9, open_low=True)
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond * 1e-6
    fill = DeskFill(line, seconds, quantity, price)
    for key in OPTIONAL:
        check_printable(f"{where}: {key}", values.get(key, ""))
    symbol, order = (values.get(key, "") for key in OPTIONAL)
    return _Line(moment.date().isoformat(), zone(moment), side, symbol, order, fill)


def _moment(where: str, stamp: str) -> datetime:
    """Return the wall clock of a stamp."""
    try:
        if len(stamp) > 10:
            return datetime.fromisoformat(stamp)
    except ValueError:
        pass
    raise ValueError(f"{where}: ts must be a date and time such as 2024-03-26T09:30:01.25, got {stamp[:60]!r}")


def check_printable(name: str, text: str) -> None:
    """Refuse a text that holds control characters: it will stand in a terminal."""
    if not text.isprintable():
        raise ValueError(f"{name} must be printable text, got {text[:60]!r}")


def number(text: str) -> Any:
    """Return the number of a text, or the text for a check to refuse (such as 1_00, which Python takes for 100)."""
    try:
        value = float("" if "_" in text else text)
    except ValueError:
        return text[:60]
    return int(value) if math.isfinite(value) and value == int(value) and abs(value) <= MAX_SHARES else value
