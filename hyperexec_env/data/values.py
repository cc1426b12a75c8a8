"""Values of rows: refuse prices, sizes and volumes that are out of range or contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .columns import Columns

__all__ = ["LARGEST", "check_bars", "check_positive", "check_quotes", "check_size"]

LARGEST: Final = 1e15
"""Largest price, size and volume."""
_SLACK: Final = 1e-6
"""Part of a price by which open and close may lie outside low and high, in prices that were adjusted one by one."""
_QUOTED: Final = (0.9, 2.0)
"""Range of the median of ask / bid."""

Floats = NDArray[np.float64]


def check_bars(table: dict[str, Any], columns: Columns) -> None:
    """Raise ValueError for the first bar whose prices or volume are out of range or contradict each other.

    Args:
        table: Arguments of the table: `source`, `row` and `lines` give the place of a row.
        columns: The columns by field.
    """
    check_positive(table, columns, ("open", "high", "low", "close"))
    if "volume" in columns:
        check_size(table, columns["volume"], "volume")
    first, high, low, last = (columns[field] for field in ("open", "high", "low", "close"))
    slack = _SLACK * high
    hint = "; if the columns are in another order, name them with --columns"
    _refuse(table, high < low - slack, f"high {{:g}} is below low {{:g}}{hint}", high, low)
    outside = (np.minimum(first, last) < low - slack) | (np.maximum(first, last) > high + slack)
    _refuse(table, outside, f"open {{:g}} or close {{:g}} lies outside low {{:g}} to high {{:g}}{hint}", first, last, low, high)


def check_positive(table: dict[str, Any], columns: Columns, fields: Sequence[str]) -> None:
    """Raise ValueError for the first row whose prices are not positive numbers; see :func:`check_bars`."""
    for field in fields:
        values = columns[field]
        _refuse(table, np.isnan(values), f"{_name(table, field)} is missing", values)
        _refuse(
            table, ~((values > 0.0) & (values <= LARGEST)), _name(table, field) + " must be a number above 0, got {:g}", values
        )


def check_quotes(table: dict[str, Any], columns: Columns) -> None:
    """Raise ValueError if most offers are far from their bids: one of the columns holds something else."""
    bid, ask = columns["bid"], columns["ask"]
    both = (bid > 0.0) & (ask > 0.0)
    if not both.any():
        raise ValueError(f"{', '.join(table['provenance'].files[:3])}: no row holds a bid and an offer above 0")
    ratio = float(np.median(ask[both] / bid[both]))
    if not _QUOTED[0] <= ratio <= _QUOTED[1]:
        names = " and ".join(_name(table, field) for field in ("bid", "ask"))
        raise ValueError(
            f"{', '.join(table['provenance'].files[:3])}: ask / bid must lie in [{_QUOTED[0]:g}, {_QUOTED[1]:g}] in most rows, "
            f"got {ratio:.3g}; are {names} the columns of the prices? Name them with --columns"
        )


def check_size(table: dict[str, Any], values: Floats, field: str) -> None:
    """Raise ValueError for the first row whose size or volume is negative or too large; NaN passes. See :func:`check_bars`."""
    message = f"{_name(table, field)} must be a number in [0, {LARGEST:g}], got {{:g}}"
    _refuse(table, (values < 0.0) | (values > LARGEST), message, values)


def _name(table: dict[str, Any], field: str) -> str:
    """Return a field, with the name of its column where that is another one."""
    name = str(table["provenance"].columns.get(field, field))
    return field if name.lower() == field else f"{field} ({name})"


def _refuse(table: dict[str, Any], wrong: NDArray[np.bool_], message: str, *values: Floats) -> None:
    """Raise ValueError with file, line and values of the first wrong row, if there is one."""
    if wrong.any():
        at = int(wrong.argmax())
        place = table["lines"](int(table["source"][at]), int(table["row"][at]))
        raise ValueError(f"{place}: {message.format(*(value[at] for value in values))}")
