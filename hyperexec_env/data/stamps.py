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

__all__ = ["EPOCH_UNITS", "StampStyle", "read_clock", "read_stamps", "stamp_hint", "stamp_kind", "stamp_style"]

Where = Callable[[int], str]
"""Function from the row of a batch to its place, for error messages."""

EPOCH_UNITS: Final = {"s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Nanoseconds of the units of an epoch."""
_YEAR_1990, _YEAR_2100 = 631_152_000, 4_102_444_800
_SERIAL: Final = (20_000, 80_000)
"""Serial days of a spreadsheet (days since 1899-12-30) of 1954 to 2119."""
_YEARS: Final = (1678, 2261)
"""First and last year that nanoseconds since 1970 hold."""
_PIVOT: Final = 69
"""First year of two digits that lies in the twentieth century, as POSIX has it."""
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
ABBREVIATIONS: Final = {
    **{"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7},
    **{"BST": 1, "CET": 1, "CEST": 2, "JST": 9, "HKT": 8, "AEST": 10, "AEDT": 11},
}
"""Offsets from UTC of the names of zones that stamps carry, hours."""
_DATES: Final = {
    "iso": r"(?P<y>[12]\d{3})-(?P<m>\d{1,2})-(?P<d>\d{1,2})",
    "compact": r"(?P<y>(?:19|20)\d\d)(?P<m>\d\d)(?P<d>\d\d)",
    "ymd": r"(?P<y>[12]\d{3})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})",
    "mdy": r"(?P<m>\d{1,2})[/.-](?P<d>\d{1,2})[/.-](?P<y>[12]\d{3})",
    "dmy": r"(?P<d>\d{1,2})[/.-](?P<m>\d{1,2})[/.-](?P<y>[12]\d{3})",
    "mdy2": r"(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d\d)",
    "dmy2": r"(?P<d>\d{1,2})[/.](?P<m>\d{1,2})[/.](?P<y>\d\d)",
    "day-name": r"(?P<d>\d{1,2})[- ](?P<m>[A-Za-z]{3})[a-z]*\.?[- ,]+(?P<y>[12]\d{3}|\d\d)",
    "name-day": r"(?:[A-Z][a-z]{2},? )?(?P<m>[A-Za-z]{3})[a-z]*\.? (?P<d>\d{1,2}),? +(?P<y>[12]\d{3})",
}
"""Ways to write a date, by name; the first three letters of "mdy" and "dmy" are the order of day, month and year."""
_CLOCK: Final = (
    r"(?P<H>\d{1,2}):?(?P<M>\d\d)(?::?(?P<S>\d\d)(?:[.,:]?(?P<f>\d{1,18}))?)?(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?"
    r"(?: ?(?P<z>Z|(?:UTC|GMT)?[+-]\d\d(?::?\d\d)?|UTC|GMT|" + "|".join(ABBREVIATIONS) + r"))?"
    r"(?: (?P<n>[A-Z][A-Za-z]+(?:/[A-Za-z_]+)+|ET))?"
)
_PATTERNS: Final = {name: rf"^{date}(?:[T ,D_-]{'*' if name == 'compact' else '+'}{_CLOCK})?$" for name, date in _DATES.items()}
"""Regular expressions of stamps by the name of their date; for Python and for Arrow alike."""
_TIME_OF_DAY: Final = rf"^(?:0D)?{_CLOCK}$"


class StampStyle(NamedTuple):
    """How a column writes its times."""

    form: str
    """Name of the form of the date, or epoch s, epoch ms, epoch us, epoch ns; "" if the values are no times."""
    aware: bool = False
    """Whether the stamps say their offset from UTC (epochs do)."""
    zone: str = ""
    """Time zone that each stamp names, such as US/Eastern."""
    abbreviation: str = ""
    """A name such as EST that stands for an offset in the stamps."""
    midnight: bool = False
    """Whether all stamps are days: dates, or times at midnight."""


def stamp_kind(value: str) -> str:
    """Return what a text writes: "stamp" (date and time), "date", "clock" (time of day) or "" (none of them)."""
    for pattern in _PATTERNS.values():
        match = re.match(pattern, value)
        if match:
            return "stamp" if match["H"] else "date"
    return "clock" if ":" in value and re.match(_TIME_OF_DAY, value) else ""


def stamp_style(values: Sequence[str], dates: str = "") -> tuple[StampStyle, str]:
    """Return how some values write their times, and which choice was made for the user ("" if there was none).

    The style is that of most values; :func:`read_stamps` refuses the others.

    Args:
        values: Values of the column, as text.
        dates: Order of day, month and year where it is ambiguous: dmy, mdy or ymd; "" for unknown.
    """
    given = [value.strip() for value in values if value.strip()]
    if not given:
        return StampStyle(""), ""
    unit = _epoch_unit(given)
    if unit:
        scale = SECOND // EPOCH_UNITS[unit]
        return StampStyle(
            f"epoch {unit}",
            True,
            midnight=all(re.fullmatch(r"\d+", value) and int(value) % (86_400 * scale) == 0 for value in given),
        ), ""
    matches = {name: [re.match(pattern, value) for value in given] for name, pattern in _PATTERNS.items()}
    counts = {name: sum(map(_is_date, found)) for name, found in matches.items()}
    if dates:
        counts = {name: count for name, count in counts.items() if name[:3] not in ("mdy", "dmy") or name[:3] == dates}
    most = max(counts.values())
    if most <= len(given) / 2:
        return StampStyle(""), ""
    fitting = [name for name, count in counts.items() if count == most]
    days = {name: [_day_of(found) for found in matches[name] if _is_date(found)] for name in fitting}
    form, choice = _chosen(fitting, days, given[0])
    return _style(form, [found for found in matches[form] if _is_date(found)]), choice


def stamp_hint(values: Sequence[str]) -> str:
    """Return what numbers that are no stamps seem to be, and what to do; "" if there is nothing to say."""
    given = [value.strip() for value in values if value.strip()]
    if not given or not all(re.fullmatch(r"\d{1,19}(\.\d*)?", value) for value in given):
        return ""
    number = float(given[0])
    if _SERIAL[0] <= number < _SERIAL[1]:
        moment = np.datetime64("1899-12-30", "s") + np.timedelta64(round(number * 86_400), "s")
        shown = str(moment).replace("T", " ")
        return (
            f"{given[0]} seems to be a serial day of a spreadsheet ({shown}); format the column as yyyy-mm-dd hh:mm:ss and "
            "save the file again"
        )
    for unit, size in EPOCH_UNITS.items():
        seconds = number * size / SECOND
        if _YEAR_1990 / 20 < seconds < _YEAR_1990:
            day = str(np.datetime64(int(seconds), "s"))[:10]
            return f"{given[0]} would be an epoch in {unit} of {day}; epochs from 1990 to 2100 are read: write dates instead"
    return ""


def _style(form: str, found: Sequence[re.Match[str] | None]) -> StampStyle:
    """Return the style of stamps in a form."""
    groups = [match.groupdict() for match in found if match]
    names = {group["n"] for group in groups if group["n"]}
    zone = names.pop() if len(names) == 1 else ""
    abbreviations = [group["z"] for group in groups if group["z"] in ABBREVIATIONS]
    midnight = all(not any(int(group[key] or 0) for key in "HMS") for group in groups)
    aware = all(group["z"] for group in groups)
    return StampStyle(form, aware, "America/New_York" if zone == "ET" else zone, (abbreviations or [""])[0], midnight)


def _chosen(fitting: Sequence[str], days: dict[str, list[tuple[int, int, int]]], example: str) -> tuple[str, str]:
    """Return the form of a date among several that fit, and which choice was made for the user."""
    if len(fitting) == 1:
        return fitting[0], ""
    steady = [name for name in fitting if _is_steady(days[name])]
    if len(steady) == 1:
        return steady[0], ""
    order, other = fitting[0][:3], fitting[1][:3]
    return fitting[0], (
        f"dates such as {example} are taken as {order} (month first), {other} is possible too: "
        f"pass --dates {other} if the day comes first"
    )


def _epoch_unit(values: Sequence[str]) -> str:
    """Return the unit of epochs between 1990 and 2100; "" if the values are none."""
    numbers = [float(value) for value in values if re.fullmatch(r"\d{9,19}(\.\d*)?", value)]
    scales = {unit: SECOND / size for unit, size in EPOCH_UNITS.items()}
    counts = {
        unit: sum(_YEAR_1990 * scale <= number < _YEAR_2100 * scale for number in numbers) for unit, scale in scales.items()
    }
    unit = max(counts, key=lambda key: counts[key])
    return unit if counts[unit] > len(values) / 2 else ""


def _is_date(match: re.Match[str] | None) -> bool:
    """Return whether a match of a pattern is a date of the calendar, as far as month and day go."""
    if match is None:
        return False
    _, month, day = _day_of(match)
    return 1 <= month <= 12 and 1 <= day <= 31


def _day_of(match: re.Match[str] | None) -> tuple[int, int, int]:
    """Return year, month and day of a match; 0 for a word that is no month."""
    if match is None:
        return 0, 0, 0
    month = match["m"].lower()[:3]
    number = int(month) if month.isdigit() else (_MONTHS.index(month) + 1 if month in _MONTHS else 0)
    year = int(match["y"])
    return year + (0 if year >= 100 else 2000 if year < _PIVOT else 1900), number, int(match["d"])


def _is_steady(days: Sequence[tuple[int, int, int]]) -> bool:
    """Return whether some days ascend or descend, by at most 7 days a step."""
    if days[0] == days[-1] or list(days) not in (sorted(days), sorted(days, reverse=True)):
        return False
    return all(abs((b[0] - a[0]) * 372 + (b[1] - a[1]) * 31 + b[2] - a[2]) <= 8 for a, b in pairwise(days))


def read_stamps(column: Any, style: StampStyle, where: Where, name: str) -> tuple[Nanoseconds, bool]:
    """Return the times of a batch of stamps, and whether they are UTC (otherwise they are the wall clock).

    Args:
        column: The values, a pyarrow array of strings, times, dates or numbers.
        style: How the column writes its times, from :func:`stamp_style`.
        where: See :data:`Where`.
        name: Name of the column, for error messages.

    Raises:
        ValueError: A value is not a time in this style; the message names its place and the value.
    """
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    _refuse_null(column, where, name)
    kind = column.type
    if arrow.types.is_timestamp(kind) or arrow.types.is_date(kind):
        zone = kind.tz if arrow.types.is_timestamp(kind) else None
        try:
            return _whole(compute.cast(column, arrow.timestamp("ns", zone))), zone is not None
        except arrow.ArrowInvalid:
            raise ValueError(f"{where(0)}: {name} must hold times between 1678 and 2261") from None
    if style.form.startswith("epoch "):
        return _epochs(column, style.form[6:], where, name), True
    if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
        column = compute.cast(column, arrow.string())
    if style.form == "iso" and not (style.zone or style.abbreviation):
        try:  # texts exactly in ISO 8601
            return _whole(compute.cast(column, arrow.timestamp("ns", "UTC" if style.aware else None))), style.aware
        except arrow.ArrowInvalid:
            pass
    return _texts(column, style, where, name), style.aware


def _texts(column: Any, style: StampStyle, where: Where, name: str) -> Nanoseconds:
    """Return the times of a batch of texts."""
    compute = need("pyarrow.compute", "data")
    groups = compute.extract_regex(compute.utf8_trim_whitespace(column), _PATTERNS[style.form])
    _refuse(groups.is_null().to_numpy(zero_copy_only=False), column, style, where, name)
    year, month, day = _number(groups, "y"), _month(groups), _number(groups, "d")
    year = np.where(year < 100, year + np.where(year < _PIVOT, 2000, 1900), year)
    beyond = (year < _YEARS[0]) | (year > _YEARS[1])
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + day - 1
    wrong = (month < 1) | (month > 12) | (day < 1) | (days.astype("datetime64[D]").astype("datetime64[M]") != months)
    clock, bad_clock = _clock(groups)
    offset, bad_offset = _offsets(groups, style)
    _refuse(wrong | beyond | bad_clock | bad_offset, column, style, where, name)
    return np.asarray(days * DAY + clock - offset)


def _offsets(groups: Any, style: StampStyle) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the offset from UTC of each stamp (0 for the wall clock), and which stamps do not write it as the others do."""
    words, places = _words(groups, "z")
    minutes = np.array([_offset_minutes(word) if style.aware else 0 for word in words], dtype=np.int64)
    if style.aware:
        wrong = np.array([not word for word in words])
    else:
        wrong = np.array([bool(word) and not (style.abbreviation and word in ABBREVIATIONS) for word in words])
    names, at = _words(groups, "n")
    named = np.array([("America/New_York" if word == "ET" else word) == style.zone for word in names])
    return minutes[places] * MINUTE, wrong[places] | ~named[at]


def _offset_minutes(word: str) -> int:
    """Return the offset from UTC that a word stands for, minutes."""
    if word in ABBREVIATIONS:
        return ABBREVIATIONS[word] * 60
    digits = re.sub(r"[^-+\d]", "", word)
    return (int(digits[1:3]) * 60 + int(digits[3:5] or 0)) * (-1 if digits[0] == "-" else 1) if digits else 0


def _clock(groups: Any) -> tuple[Nanoseconds, NDArray[np.bool_]]:
    """Return times of day, nanoseconds, and which of them are none."""
    compute = need("pyarrow.compute", "data")
    hour, minute, second = (_number(groups, key) for key in "HMS")
    fraction = compute.utf8_slice_codeunits(compute.utf8_rpad(compute.struct_field(groups, "f"), 9, "0"), 0, 9)
    halves, places = _words(groups, "p")
    half = np.array([{"": -1, "a": 0, "p": 12}[word.lower()] for word in halves])[places]
    wrong = (hour > 23) | (minute > 59) | (second > 59) | ((half >= 0) & ((hour < 1) | (hour > 12)))
    hour = np.where(half >= 0, hour % 12 + half, hour)
    return np.asarray(hour * HOUR + minute * MINUTE + second * SECOND + _integers(fraction)), wrong


def _number(groups: Any, key: str) -> NDArray[np.int64]:
    """Return a group of digits as numbers; 0 where it is empty."""
    return _integers(need("pyarrow.compute", "data").struct_field(groups, key))


def _integers(text: Any) -> NDArray[np.int64]:
    """Return texts of digits as numbers; 0 where they are empty."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    return _whole(compute.cast(compute.if_else(compute.equal(text, ""), "0", text), arrow.int64()))


def _month(groups: Any) -> NDArray[np.int64]:
    """Return the number of the month; 0 for a word that is no month."""
    words, places = _words(groups, "m")
    numbers = [int(word) if word.isdigit() else (*_MONTHS, word.lower()).index(word.lower()) + 1 for word in words]
    return np.array([number if number <= 12 else 0 for number in numbers], dtype=np.int64)[places]


def _words(groups: Any, key: str) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct words of a group, and the index of the word of each row."""
    encoded = need("pyarrow.compute", "data").struct_field(groups, key).dictionary_encode()
    return encoded.dictionary.to_pylist(), _whole(encoded.indices)


def _epochs(column: Any, unit: str, where: Where, name: str) -> Nanoseconds:
    """Return the times of a batch of epochs."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    size = EPOCH_UNITS[unit]
    try:
        whole, fraction = _whole(compute.cast(column, arrow.int64())), None
    except arrow.ArrowInvalid:
        whole, fraction = _fractions(column, size, where, name)
    scale = SECOND // size
    wrong = (whole < _YEAR_1990 * scale) | (whole >= _YEAR_2100 * scale)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{where(at)}: {name} must be an epoch in {unit} like the others, got {column[at].as_py()!r}")
    return np.asarray(whole * size if fraction is None else whole * size + fraction)


def _fractions(column: Any, size: int, where: Where, name: str) -> tuple[NDArray[np.int64], Nanoseconds]:
    """Return the whole part and the fraction (nanoseconds) of epochs with a decimal point; to the nanosecond for text."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    if arrow.types.is_floating(column.type):
        number = column.to_numpy(zero_copy_only=False).astype(np.float64)
        whole = np.floor(number)
        return whole.astype(np.int64), np.round((number - whole) * size / 1000.0).astype(np.int64) * 1000
    text = compute.utf8_trim_whitespace(compute.cast(column, arrow.string()))
    groups = compute.extract_regex(text, r"^(?P<w>\d{1,18})(?:\.(?P<f>\d*))?$")
    bad = groups.is_null().to_numpy(zero_copy_only=False)
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(f"{where(at)}: {name} must be an epoch, got {str(column[at].as_py())[:60]!r}")
    digits = len(str(size)) - 1
    padded = compute.utf8_slice_codeunits(compute.utf8_rpad(compute.struct_field(groups, "f"), 9, "0"), 0, digits)
    return _integers(compute.struct_field(groups, "w")), _integers(padded)


def read_clock(column: Any, unit: str, where: Where, name: str) -> Nanoseconds:
    """Return the times of day of a batch, nanoseconds after midnight.

    Args:
        column: The values, a pyarrow array.
        unit: Form of the values: "clock" (9:30, 09:30:00.5, 9:30 AM), "hhmmss" (093000, 930), "ms", "s" or "us" after midnight.
        where: See :data:`Where`.
        name: Name of the column, for error messages.

    Raises:
        ValueError: A value is not a time of day; the message names its place and the value.
    """
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    _refuse_null(column, where, name)
    if arrow.types.is_time(column.type):
        return _whole(compute.cast(column, arrow.time64("ns")))
    if arrow.types.is_duration(column.type):  # since midnight, as pandas subtracts times
        column, unit = compute.cast(compute.cast(column, arrow.duration("ns")), arrow.int64()), "ns"
    if unit == "clock":
        text = compute.utf8_trim_whitespace(compute.cast(column, arrow.string()))
        groups = compute.extract_regex(text, _TIME_OF_DAY)
        bad = groups.is_null().to_numpy(zero_copy_only=False)
        time, wrong = _clock(groups) if not bad.all() else (np.zeros(len(bad), np.int64), bad)
        wrong = wrong | bad
    else:
        number = _plain_numbers(column, where, name)
        time = _of_hhmmss(number) if unit == "hhmmss" else np.round(number * EPOCH_UNITS[unit]).astype(np.int64)
        wrong = (time < 0) | (time > DAY)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{where(at)}: {name} must be a time of day such as 09:30:00, got {str(column[at].as_py())[:60]!r}")
    return np.asarray(time)


def _plain_numbers(column: Any, where: Where, name: str) -> NDArray[np.float64]:
    """Return a column of plain numbers."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    try:
        return np.asarray(compute.cast(column, arrow.float64()).to_numpy(zero_copy_only=False))
    except arrow.ArrowInvalid:
        number = compute.match_substring_regex(column, r"^ *\d+(\.\d*)? *$").to_numpy(zero_copy_only=False).astype(bool)
        at = int(number.argmin())
        raise ValueError(f"{where(at)}: {name} must be a time of day, got {str(column[at].as_py())[:60]!r}") from None


def _of_hhmmss(number: NDArray[np.float64]) -> Nanoseconds:
    """Return the times of day of numbers such as 93000 or, where all are below 2400, 930; -1 for a number that is none."""
    whole = np.floor(number).astype(np.int64)
    whole = whole * 100 if whole.max(initial=0) <= 2400 else whole
    hour, minute, second = whole // 10_000, whole // 100 % 100, whole % 100
    time = hour * HOUR + minute * MINUTE + second * SECOND
    return np.asarray(np.where((minute > 59) | (second > 59), -1, time))


def _whole(column: Any) -> NDArray[np.int64]:
    """Return a column of times or integers as int64."""
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    return np.asarray(compute.cast(column, arrow.int64()).to_numpy(zero_copy_only=False))


def _refuse(wrong: NDArray[Any], column: Any, style: StampStyle, where: Where, name: str) -> None:
    """Raise ValueError for the first stamp that is wrong, if there is one."""
    wrong = wrong.astype(bool)
    if not wrong.any():
        return
    at = int(wrong.argmax())
    shown, order = str(column[at].as_py())[:60], style.form[:3]
    hint = "; the others carry an offset from UTC" if style.aware and not re.search(r"(Z|[+-]\d\d:?\d*)$", shown) else ""
    if style.zone and not shown.endswith(style.zone):
        hint = f"; the others are in {style.zone}"
    if order in ("mdy", "dmy"):
        hint += (
            f"; pass --dates {'dmy' if order == 'mdy' else 'mdy'} if {'the day' if order == 'mdy' else 'the month'} comes first"
        )
    raise ValueError(f"{where(at)}: {name} must be a date and time like the others, got {shown!r}{hint}")


def _refuse_null(column: Any, where: Where, name: str) -> None:
    """Raise ValueError if a column of times has a value without a meaning."""
    if column.null_count:
        at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"{where(at)}: {name} is missing")
