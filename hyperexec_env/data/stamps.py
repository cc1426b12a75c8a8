"""Time stamps: recognise how a column writes its times, and convert it to nanoseconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.extras import need

from .zones import DAY, HOUR, MINUTE, SECOND, Nanoseconds

__all__ = ["EPOCH_UNITS", "StampForm", "Stamps", "read_clock", "read_stamps", "stamp_form"]


class StampForm(NamedTuple):
    """A way to write a date, or a date and a time, and how to rewrite it as ISO 8601."""

    name: str
    pattern: str
    """Regular expression of a value."""
    rewrite: tuple[str, str]
    """Regular expression and replacement that give year-month-day (month as a number), then the time."""
    order: str = ""
    """Order of day, month and year, where another one is possible."""


class Stamps(NamedTuple):
    """Times of a batch."""

    time: Nanoseconds
    """UTC if `aware`, otherwise the wall clock."""
    aware: bool
    """Whether the stamps say their offset from UTC (epochs do)."""


_TIME: Final = r"(?:[T ,-]+(\d{1,2}:?\d\d(?::?\d\d(?:[.,]\d{1,9})?)?))?"
_OFFSET: Final = r" ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
_NAMED: Final = r"(?: [A-Z][A-Za-z]+(?:/[A-Za-z_]+)+| E[SD]?T)?"
_HALF: Final = r" ?([AaPp]\.?[Mm]\.?)?"
_TAIL: Final = _TIME + _HALF + _OFFSET + _NAMED
_REST: Final = r"(.*)$"
_FORMS: Final = (
    StampForm("iso", r"\d{4}-\d{1,2}-\d{1,2}" + _TAIL, (r"^(\d{4})-(\d{1,2})-(\d{1,2})" + _REST, r"\1-\2-\3\4")),
    StampForm("compact", r"(?:19|20)\d{6}" + _TAIL, (r"^(\d{4})(\d\d)(\d\d)" + _REST, r"\1-\2-\3\4")),
    StampForm("ymd", r"\d{4}[/.]\d{1,2}[/.]\d{1,2}" + _TAIL, (r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})" + _REST, r"\1-\2-\3\4")),
    StampForm(
        "mdy", r"\d{1,2}[/.-]\d{1,2}[/.-]\d{4}" + _TAIL, (r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})" + _REST, r"\3-\1-\2\4"), "mdy"
    ),
    StampForm(
        "dmy", r"\d{1,2}[/.-]\d{1,2}[/.-]\d{4}" + _TAIL, (r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})" + _REST, r"\3-\2-\1\4"), "dmy"
    ),
    StampForm("mdy2", r"\d{1,2}/\d{1,2}/\d\d" + _TAIL, (r"^(\d{1,2})/(\d{1,2})/(\d\d)" + _REST, r"20\3-\1-\2\4"), "mdy"),
    StampForm(
        "dmy2", r"\d{1,2}[/.]\d{1,2}[/.]\d\d" + _TAIL, (r"^(\d{1,2})[/.](\d{1,2})[/.](\d\d)" + _REST, r"20\3-\2-\1\4"), "dmy"
    ),
    StampForm(
        "day-name",
        r"\d{1,2}[- ][A-Za-z]{3}[- ,]+\d{4}" + _TAIL,
        (r"^(\d{1,2})[- ]([A-Za-z]{3})[- ,]+(\d{4})" + _REST, r"\3-\2-\1\4"),
    ),
    StampForm(
        "name-day", r"[A-Za-z]{3} \d{1,2},? +\d{4}" + _TAIL, (r"^([A-Za-z]{3}) (\d{1,2}),? +(\d{4})" + _REST, r"\3-\1-\2\4")
    ),
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
EPOCH_UNITS: Final = {"s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Nanoseconds of the units of an epoch."""
_YEAR_1990, _YEAR_2100 = 631_152_000, 4_102_444_800


def stamp_form(values: Sequence[str], dates: str = "") -> tuple[str, str]:
    """Return how some values write their times, and which choice was made for the user ("" if there was none).

    The form is the name of a form of a date, or "epoch s", "epoch ms", "epoch us", "epoch ns"; "" if the values are no times.

    Args:
        values: Values of the column, as text.
        dates: Order of day, month and year where it is ambiguous: dmy, mdy or ymd; "" for unknown.
    """
    given = [value.strip() for value in values if value.strip()]
    if not given:
        return "", ""
    unit = _epoch_unit(given)
    if unit:
        return f"epoch {unit}", ""
    fitting = [form for form in _FORMS if all(re.fullmatch(form.pattern, value) for value in given) and _is_date(form, given)]
    if dates:
        fitting = [form for form in fitting if form.order in ("", dates)]
    if not fitting:
        return "", ""
    if len(fitting) > 1:
        ascending = [form for form in fitting if _is_monotone(form, given)]
        if len(ascending) == 1:
            return ascending[0].name, ""
        other = fitting[1].order
        return fitting[0].name, (
            f"dates such as {given[0]} are taken as {fitting[0].order} (month first), {other} is possible too: "
            f"pass --dates {other} if the day comes first"
        )
    return fitting[0].name, ""


def _epoch_unit(values: Sequence[str]) -> str:
    """Return the unit of epochs between 1990 and 2100; "" if the values are none."""
    try:
        numbers = [float(value) for value in values if re.fullmatch(r"\d{9,19}(\.\d*)?", value)]
    except ValueError:
        return ""
    if len(numbers) < len(values):
        return ""
    for unit, size in EPOCH_UNITS.items():
        scale = SECOND / size
        if all(_YEAR_1990 * scale <= number < _YEAR_2100 * scale for number in numbers):
            return unit
    return ""


def _is_date(form: StampForm, values: Sequence[str]) -> bool:
    """Return whether all values are dates in a form."""
    for value in values:
        month, day = (int(part) if part.isdigit() else 1 for part in re.sub(*_python(form), value).split("-")[1:3])
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return False
    return True


def _is_monotone(form: StampForm, values: Sequence[str]) -> bool:
    """Return whether the days of some values ascend or descend in a form, over at most 7 days a step."""
    days = [
        tuple(int(part) if part.isdigit() else 0 for part in re.sub(*_python(form), value).split("-")[:3]) for value in values
    ]
    if days[0] == days[-1]:
        return False
    return days in (sorted(days), sorted(days, reverse=True)) and all(
        abs((b[0] - a[0]) * 372 + (b[1] - a[1]) * 31 + b[2] - a[2]) <= 8 for a, b in pairwise(days)
    )


def _python(form: StampForm) -> tuple[str, str]:
    """Return pattern and replacement that keep the date alone, with blanks after it cut."""
    pattern, replacement = form.rewrite
    return pattern, replacement.replace(r"\4", "")


def read_stamps(column: Any, form: str, where: Callable[[int], str], name: str) -> Stamps:
    """Return the times of a batch of stamps.

    Args:
        column: The values, a pyarrow array of strings, times, dates or numbers.
        form: Form of the values, from :func:`stamp_form`; ignored for a typed column.
        where: Return the place of a row of the batch, for error messages.
        name: Name of the column, for error messages.

    Raises:
        ValueError: A value is not a time in this form; the message names its place and the value.
    """
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    kind = column.type
    if arrow.types.is_timestamp(kind):
        _refuse_null(column, where, name)
        return Stamps(_whole(compute.cast(column, arrow.timestamp("ns", kind.tz))), kind.tz is not None)
    if arrow.types.is_date(kind):
        _refuse_null(column, where, name)
        return Stamps(_whole(compute.cast(column, arrow.timestamp("ns"))), False)
    if form.startswith("epoch "):
        return Stamps(_epochs(column, EPOCH_UNITS[form[6:]], where, name), True)
    if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
        column = compute.cast(column, arrow.string())
    _refuse_null(column, where, name)
    chosen = next(item for item in _FORMS if item.name == form)
    return _texts(column, chosen, where, name)


def _texts(column: Any, form: StampForm, where: Callable[[int], str], name: str) -> Stamps:
    """Return the times of a batch of texts."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    text = compute.utf8_trim_whitespace(column)
    half = None
    if bool(compute.any(compute.match_substring_regex(text, r"[AaPp]\.?[Mm]\.?\b")).as_py()):
        half = compute.match_substring_regex(text, r"\d ?[Pp]\.?[Mm]").to_numpy(zero_copy_only=False)
        text = compute.replace_substring_regex(text, r" ?[AaPp]\.?[Mm]\.?", "")
    text = _iso(text, form)
    aware = bool(compute.match_substring_regex(text[:1], r"\d\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$")[0].as_py())
    kind = arrow.timestamp("ns", "UTC" if aware else None)
    try:
        time = _whole(compute.cast(text, kind))
    except arrow.ArrowInvalid:
        at = _first_bad(text, lambda part: compute.cast(part, kind))
        shown = str(column[at].as_py())[:60]
        hint = "" if not aware or re.search(r"(Z|[+-]\d\d:?\d*)$", shown) else "; earlier stamps carry an offset from UTC"
        raise ValueError(
            f"{where(at)}: {name} must be a date and time like the stamps before it, got {shown!r}{hint}"
        ) from None
    if half is not None:
        twelve = (time % DAY) // HOUR == 12
        time = np.asarray(time + np.where(half & ~twelve, 12 * HOUR, 0) - np.where(~half & twelve, 12 * HOUR, 0))
    return Stamps(time, aware)


def _iso(text: Any, form: StampForm) -> Any:
    """Return some stamps in ISO 8601."""
    compute = need("pyarrow.compute", "data")
    first = text[0].as_py() or ""
    if form.name != "iso" or not re.fullmatch(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", first):
        text = compute.replace_substring_regex(text, *form.rewrite)
        for number, month in enumerate(_MONTHS, start=1):
            if form.name.endswith("name") or form.name.startswith("name"):
                text = compute.replace_substring_regex(text, f"(?i)-{month}-", f"-{number:02d}-")
        text = compute.replace_substring_regex(text, r"^(\d{4}-\d{1,2}-\d{1,2})[T ,-]+(\d)", r"\1 \2")
        text = compute.replace_substring_regex(text, r" (\d\d)(\d\d)(\d\d)?$", r" \1:\2:\3")
        text = compute.replace_substring_regex(text, r":$", "")
        text = compute.replace_substring_regex(text, r"([-: ])(\d)\b", r"\g<1>0\2".replace(r"\g<1>", r"\1"))
        text = compute.replace_substring_regex(text, r"(\d),(\d)", r"\1.\2")
        text = compute.replace_substring_regex(text, r" [A-Z][A-Za-z]+(/[A-Za-z_]+)+$| E[SD]?T$", "")
        text = compute.replace_substring_regex(text, r" ?(UTC|GMT)$", "Z")
        text = compute.replace_substring_regex(text, r" ([+-]\d\d)", r"\1")
    return compute.replace_substring_regex(text, r"(\.\d{9})\d+", r"\1")


def _epochs(column: Any, unit: int, where: Callable[[int], str], name: str) -> Nanoseconds:
    """Return the times of a batch of epochs."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    _refuse_null(column, where, name)
    try:
        return np.asarray(_whole(compute.cast(column, arrow.int64())) * unit)
    except arrow.ArrowInvalid:
        pass
    try:
        number = compute.cast(column, arrow.float64()).to_numpy(zero_copy_only=False)
    except arrow.ArrowInvalid:
        at = _first_bad(column, lambda part: compute.cast(part, arrow.float64()))
        raise ValueError(f"{where(at)}: {name} must be an epoch, got {str(column[at].as_py())[:60]!r}") from None
    whole = np.floor(number)
    return np.asarray(whole.astype(np.int64) * unit + np.round((number - whole) * unit / 1000.0).astype(np.int64) * 1000)


def read_clock(column: Any, unit: str, where: Callable[[int], str], name: str) -> Nanoseconds:
    """Return the times of day of a batch, nanoseconds after midnight.

    Args:
        column: The values, a pyarrow array.
        unit: Form of the values: "clock" (9:30, 09:30:00.5, 9:30 AM), "hhmmss" (093000, 930), "ms" or "s" after midnight.
        where: Return the place of a row of the batch, for error messages.
        name: Name of the column, for error messages.

    Raises:
        ValueError: A value is not a time of day; the message names its place and the value.
    """
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    _refuse_null(column, where, name)
    if unit == "clock":
        day = arrow.array(["2000-01-01"] * len(column))
        text = compute.binary_join_element_wise(day, compute.cast(column, arrow.string()), " ")
        form = next(item for item in _FORMS if item.name == "iso")
        try:
            return np.asarray(_texts(text, form, where, name).time % DAY)
        except ValueError:
            bad = [
                at
                for at, value in enumerate(column.to_pylist())
                if not re.fullmatch(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?.*", str(value))
            ]
            at = bad[0] if bad else 0
            raise ValueError(
                f"{where(at)}: {name} must be a time of day such as 09:30:00, got {column[at].as_py()!r}"
            ) from None
    try:
        number = compute.cast(column, arrow.float64()).to_numpy(zero_copy_only=False)
    except arrow.ArrowInvalid:
        at = _first_bad(column, lambda part: compute.cast(part, arrow.float64()))
        raise ValueError(f"{where(at)}: {name} must be a time of day, got {str(column[at].as_py())[:60]!r}") from None
    time = _of_hhmmss(number) if unit == "hhmmss" else np.round(number * EPOCH_UNITS[unit]).astype(np.int64)
    wrong = (time < 0) | (time > DAY)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{where(at)}: {name} must be a time of day, got {str(column[at].as_py())[:60]!r}")
    return np.asarray(time)


def _of_hhmmss(number: NDArray[np.float64]) -> Nanoseconds:
    """Return the times of day of numbers such as 93000 or, where all are below 2400, 930."""
    whole = np.floor(number).astype(np.int64)
    whole = whole * 100 if whole.max(initial=0) <= 2400 else whole
    return np.asarray((whole // 10_000) * HOUR + (whole // 100 % 100) * MINUTE + (whole % 100) * SECOND)


def _whole(column: Any) -> Nanoseconds:
    """Return a column of times or integers as int64."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    return np.asarray(compute.cast(column, arrow.int64()).to_numpy(zero_copy_only=False))


def _refuse_null(column: Any, where: Callable[[int], str], name: str) -> None:
    """Raise ValueError if a column of times has a value without a meaning."""
    if column.null_count:
        at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"{where(at)}: {name} is missing")


def _first_bad(column: Any, convert: Callable[[Any], Any]) -> int:
    """Return the position of the first value that cannot be converted, by bisection."""
    arrow = need("pyarrow", "data")
    low, high = 0, len(column)  # a bad value lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column[low:middle])
            low = middle
        except arrow.ArrowInvalid:
            high = middle
    return low
