"""Columns of numbers and of sides: convert text in any usual notation to arrays; and round numbers for files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.extras import need

from .text import NULLS

__all__ = ["SIDES", "decimal_mark", "read_numbers", "read_sides", "read_words", "rounded"]

Floats = NDArray[np.float64]

SIDES: Final = {
    **dict.fromkeys(("buy", "b", "bot", "bought", "bid", "buy to cover", "btc", "cover", "long", "1", "+1", "1.0", "true"), 1),
    **dict.fromkeys(("sell", "s", "sld", "sold", "ask", "a", "sell short", "ss", "short", "sshort", "sell short exempt"), -1),
    **dict.fromkeys(("-1", "-1.0", "2", "5", "6", "false"), -1),
    **dict.fromkeys(("", "n", "0", "u", "unknown", "none"), 0),
}
"""Words for a side: 1 buy, -1 sell, 0 unknown; 1, 2, 5 and 6 are the codes of FIX tag 54."""
_GROUPED: Final = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
_POINTS: Final = re.compile(r"[-+]?\d{1,3}(\.\d{3})+")
_COMMA: Final = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+([eE][-+]?\d+)?[KMB]?")
_WITH_COMMA: Final = r"^[-+]?(\d{1,3}(\.\d{3})+|\d*)(,\d+)?([eE][-+]?\d+)?[KMB]?$"
"""A number with a decimal comma, for Arrow."""
_SUFFIX: Final = {"K": "e3", "M": "e6", "B": "e9"}


def decimal_mark(values: Iterable[str], separator: str = "") -> tuple[str, str]:
    """Return the decimal mark of some numbers, "." or ",", and which choice was made for the user ("" if there was none).

    Args:
        values: Numbers as text.
        separator: Separator of the columns; with a semicolon, a comma that may be either is a decimal mark.
    """
    given = [value.strip(" $€£") for value in values]
    with_comma = [value for value in given if "," in value]
    if not with_comma or any("." in value and "," not in value and not _POINTS.fullmatch(value) for value in given):
        return ".", ""
    grouped, comma = (all(pattern.fullmatch(value) for value in with_comma) for pattern in (_GROUPED, _COMMA))
    if grouped and comma:  # such as 6,873
        example = f"numbers such as {with_comma[0]} are read with"
        if separator == ";":
            return ",", f"{example} a decimal comma: pass --decimal point if the comma stands between thousands"
        return ".", f"{example} a comma between thousands: pass --decimal comma if it is a decimal"
    return ("," if comma else "."), ""


def read_numbers(column: Any, mark: str, where: Callable[[int], str], name: str) -> Floats:
    """Return a column of numbers; NaN where there is no value.

    Text may hold a comma or a point between thousands, a currency sign, or one of the suffixes K, M and B.

    Args:
        column: The values, a pyarrow array.
        mark: Decimal mark of text.
        where: Return the place of a row of the batch, for error messages.
        name: Name of the column, for error messages.

    Raises:
        ValueError: A value is not a number; the message names its place and the value.
    """
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if arrow.types.is_decimal(column.type):  # its digits, to the nearest float
        column = compute.cast(column, arrow.string())
    if not (arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type)):
        try:
            return _floats(compute.cast(column, arrow.float64(), safe=False))
        except arrow.ArrowNotImplementedError:
            raise ValueError(f"{where(0)}: {name} must hold numbers, got values of type {column.type}") from None
    if mark == ".":
        try:
            return _floats(compute.cast(column, arrow.float64()))
        except arrow.ArrowInvalid:
            pass
    return _notations(column, mark, where, name)


def _notations(column: Any, mark: str, where: Callable[[int], str], name: str) -> Floats:
    """Return a column of numbers with separators, signs or suffixes."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    text = compute.replace_substring_regex(compute.utf8_trim_whitespace(column), "[$€£'’ \u00a0\u202f]", "")
    text = compute.if_else(compute.is_in(text, arrow.array(NULLS)), arrow.scalar(None, text.type), text)
    if mark == ",":
        fits = compute.fill_null(compute.match_substring_regex(text, _WITH_COMMA), True).to_numpy(zero_copy_only=False)
        if not fits.all():
            raise _no_number(column, int(fits.argmin()), mark, where, name)
        text = compute.replace_substring(compute.replace_substring(text, ".", ""), ",", ".")
    else:
        grouped = compute.match_substring_regex(text, r"^[-+]?\d{1,3}(,\d{3})+(\.\d+)?[KMB]?$")
        text = compute.if_else(grouped, compute.replace_substring(text, ",", ""), text)
    for suffix, exponent in _SUFFIX.items():
        text = compute.replace_substring_regex(text, rf"^([-+]?[\d.]+){suffix}$", rf"\1{exponent}")
    try:
        return _floats(compute.cast(text, arrow.float64()))
    except arrow.ArrowInvalid:
        at = next(at for at, value in enumerate(text.to_pylist()) if value is not None and not _is_number(value))
        raise _no_number(column, at, mark, where, name) from None


def _no_number(column: Any, at: int, mark: str, where: Callable[[int], str], name: str) -> ValueError:
    """Return the error of a value that is not a number."""
    shown = str(column[at].as_py())[:60]
    hint = "; pass --decimal comma if the comma is a decimal mark" if "," in shown and mark == "." else ""
    hint = "; the decimal mark is a comma: pass --decimal point if it is a point" if mark == "," else hint
    return ValueError(f"{where(at)}: {name} must be a number, got {shown!r}{hint}")


def read_sides(column: Any, maker: bool, where: Callable[[int], str], name: str) -> NDArray[np.int8]:
    """Return a column of sides: 1 buy, -1 sell, 0 unknown.

    Args:
        column: The values, a pyarrow array of words or numbers.
        maker: Whether the column says if the *buyer* was the maker (Binance), so that true is a sell.
        where: Return the place of a row of the batch, for error messages.
        name: Name of the column, for error messages.

    Raises:
        ValueError: A word is not a side; the message names its place and the word.
    """
    words, places = read_words(column)
    sides = np.empty(len(words), dtype=np.int8)
    for index, word in enumerate(words):
        side = SIDES.get(word.strip().lower())
        if side is None:
            at = int((places == index).argmax())
            raise ValueError(f"{where(at)}: {name} must be buy, sell, B, S, BOT, SLD, 1, -1 or the like, got {word[:60]!r}")
        sides[index] = -side if maker else side
    return sides[places]


def read_words(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct words of a column ("" for none), and the index of the word of each row."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    if not arrow.types.is_dictionary(column.type):
        column = compute.fill_null(compute.cast(column, arrow.string()), "").dictionary_encode()
    words = [*("" if word is None else str(word) for word in column.dictionary.to_pylist()), ""]
    indices = compute.fill_null(compute.cast(column.indices, arrow.int64()), len(words) - 1).to_numpy(zero_copy_only=False)
    used, places = np.unique(indices, return_inverse=True)  # a categorical column may hold words that no row has
    return [words[at] for at in used.tolist()], places


def _floats(column: Any) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def rounded(value: float, digits: int) -> float:
    """Return a value rounded to a number of significant digits."""
    return float(f"{value:.{digits}g}")
