"""Validation of user input: each error is one line that names the field, the value and the valid range."""

from __future__ import annotations

import difflib
import math
import numbers
import sys
from collections.abc import Iterable, Mapping, Sized
from typing import Any, Final

__all__ = [
    *("check_choice", "check_flag", "check_hashable", "check_integer", "check_label", "check_number", "check_numbers"),
    *("check_seed", "check_texts", "nearest", "after_echo", "one_line", "printable", "put_integer", "put_number", "shown"),
]

_LINE: Final = 500
"""Largest number of characters of an error message."""
_VALUE: Final = 100
"""Largest number of characters of a value in an error message."""
_FRACTIONS: Final = ("fraction", "probability", "R^2")
"""Beginnings of the units of numbers that users also state in percent."""
_LABEL: Final = 200
"""Largest number of bytes of a name, so that a file name can contain it (255 bytes on most disks)."""


def printable(text: str) -> str:
    """Return text with control characters escaped, so that untrusted content and file names are safe to print."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Return a message as one printable line of at most 500 characters."""
    line = printable(" ".join(text[: 4 * _LINE].split()))
    return line if len(line) <= _LINE and len(text) <= 4 * _LINE else line[: _LINE - 3] + "..."


def after_echo() -> str:
    """Return what to print on standard error before a line about a signal: on a terminal, which echoes `^C`, a new line."""
    return "\n" if sys.stderr is not None and sys.stderr.isatty() else ""


def shown(value: Any) -> str:
    """Return the representation of a value for an error message, cut to 100 characters."""
    if isinstance(value, int) and value.bit_length() > 4 * _VALUE:  # the decimal digits of a huge number take long
        return f"a whole number of {value.bit_length():,} bits"
    if isinstance(value, (str, bytes, list, tuple)) and len(value) > _VALUE:
        value = value[:_VALUE]
    text = repr(value)
    return text if len(text) <= _VALUE else text[: _VALUE - 3] + "..."


def nearest(word: Any, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice closest to a word, or "" if no choice is close."""
    if len(str(word)) > _VALUE:
        return ""
    match = difflib.get_close_matches(str(word), list(choices), n=1, cutoff=0.4)
    return f"; did you mean {match[0]!r}?" if match else ""


def _finite(value: Any) -> bool:
    """Return whether a value is a finite real number within the range of a float (booleans do not count)."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _range(low: float, high: float, open_low: bool, unit: str) -> str:
    ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if high == math.inf else ']'}"
    return f"{ends} {unit}".strip()


def check_number(
    field: str, value: Any, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False, unit: str = ""
) -> float:
    """Return a number as a float; raise ValueError if it is not finite or outside the range.

    A fraction or a probability (by its unit) above the range may be a percentage: the message then says what to pass.
    """
    if not _finite(value) or not low <= value <= high or (open_low and value == low):
        percent = unit.startswith(_FRACTIONS) and _finite(value) and high < value <= 100.0 * high
        hint = f"; for {value:g} % pass {value / 100.0:g}" if percent else _sign(field, value)
        raise ValueError(f"{field} must be a number in {_range(low, high, open_low, unit)}, got {shown(value)}{hint}")
    return float(value)


def _sign(field: str, value: Any) -> str:
    """Return a hint for a quantity with a sign, which would turn a side, and with it a hedge, around."""
    return "; the side says whether it sells" if field == "quantity" and _finite(value) and value < 0 else ""


def check_hashable(field: str, value: Any) -> None:
    """Raise ValueError if a value cannot be the key of a cache, as an instance of a dataclass that is not frozen."""
    try:
        hash(value)
    except TypeError:
        kind = type(value).__name__
        raise ValueError(
            f"{field} must be hashable, got an instance of {kind}; use a function, or a frozen dataclass"
        ) from None


def check_integer(field: str, value: Any, *, low: int, high: int) -> int:
    """Return a whole number as an int; raise ValueError if it is not whole or outside the range."""
    if not _finite(value) or value != int(value) or not low <= value <= high:
        raise ValueError(f"{field} must be a whole number in [{low}, {high}], got {shown(value)}{_sign(field, value)}")
    return int(value)


def check_seed(value: Any) -> int:
    """Return a seed as an int; raise ValueError if it is not a whole number of any size, 0 or larger."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
        raise ValueError(f"seed must be a whole number, 0 or larger, got {shown(value)}")
    return int(value)


def check_numbers(
    field: str, values: Any, *, low: float, high: float, unit: str = "", length: int | None = None, most: int | None = None
) -> tuple[float, ...]:
    """Return a sequence of numbers as a tuple of floats; raise ValueError for a bad number, length, or more than `most`."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ValueError(f"{field} must be a list of numbers, got {shown(values)}")
    if most is not None and isinstance(values, Sized) and len(values) > most:
        raise ValueError(f"{field} must hold at most {most:,} numbers, got {len(values):,}")
    checked = tuple(check_number(f"{field}[{i}]", value, low=low, high=high, unit=unit) for i, value in enumerate(values))
    if length is not None and len(checked) != length:
        raise ValueError(f"{field} must hold {length} numbers, got {len(checked)}")
    return checked


def put_number(record: Any, field: str, **bounds: Any) -> None:
    """Check a number of a frozen record and keep it as a float; arguments as in :func:`check_number`."""
    object.__setattr__(record, field, check_number(field, getattr(record, field), **bounds))


def put_integer(record: Any, field: str, *, low: int, high: int) -> None:
    """Check a whole number of a frozen record and keep it as an int; arguments as in :func:`check_integer`."""
    object.__setattr__(record, field, check_integer(field, getattr(record, field), low=low, high=high))


def check_choice(field: str, value: Any, choices: Iterable[str]) -> str:
    """Return a word that is one of the choices; otherwise raise ValueError and name the nearest choice."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(choices)}, got {shown(value)}{nearest(value, choices)}")
    return value


def check_flag(field: str, value: Any) -> bool:
    """Return a boolean; raise ValueError for any other value."""
    if not isinstance(value, bool):
        raise ValueError(f"{field} must be true or false, got {shown(value)}")
    return value


def check_label(field: str, value: Any) -> str:
    """Return a name; raise ValueError if it is not printable text of at most 200 bytes, which a file name can contain."""
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > _LABEL:
        raise ValueError(f"{field} must be printable text of at most {_LABEL} bytes, got {shown(value)}")
    return value


def check_texts(name: str, value: Any) -> dict[str, str]:
    """Return a table of texts; raise ValueError if the value is not a table."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a table of texts, got {shown(value)}")
    return {str(key): str(text) for key, text in value.items()}
