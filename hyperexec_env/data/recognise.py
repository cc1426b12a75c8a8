"""Recognise the layout of data from header, values and name of the file, and find the column of each field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from hyperexec_env.checks import nearest

from .layouts import FIELDS, LAYOUTS, NAMES, Layout, plain_name
from .raw import Raw
from .stamps import stamp_hint, stamp_kind, stamp_style

__all__ = ["Recognised", "recognise", "value_kind"]


class Recognised(NamedTuple):
    """A recognised layout and its columns."""

    layout: Layout
    columns: dict[str, int]
    """Number (from 0) of the column of each field."""


def recognise(kind: str, raw: Raw, given: dict[str, str], layout: str = "") -> Recognised:
    """Return the layout of some data and the number of each column.

    Args:
        kind: What is to be read: a key of :data:`~hyperexec_env.data.layouts.FIELDS`.
        raw: The data.
        given: Columns by name or number (from 1) that replace those of the layout.
        layout: Name of the layout; "": recognise it.

    Raises:
        ValueError: No layout fits, or a needed column is missing; the message says what was found and which option helps.
    """
    names = [plain_name(name) for name in raw.header]
    candidates = [item for item in LAYOUTS if item.kind == kind and layout in ("", item.name)]
    if layout and not candidates:
        known = sorted({item.name for item in LAYOUTS if item.kind == kind})
        raise ValueError(
            f"layout must be one of those of {kind} in `hyperexec data layouts`, got {layout!r}{nearest(layout, known)}"
        )
    chosen = _with_header(candidates, raw, names) if names else _without_header(candidates, raw)
    if layout and chosen is None:
        raise ValueError(f"the data are not in layout {layout} ({_found(raw)}); leave --layout out, or name the --columns")
    chosen = chosen or Layout("columns by name" if names else "columns by number", kind)
    columns = _by_name(chosen, names, raw.sample) if names else {field: int(at) for field, at in chosen.columns}
    columns = _replaced(columns, kind, given, raw, names)
    missing = [field for field in FIELDS[kind] if field not in columns]
    if missing or not ({"ts", "date", "time"} & set(columns)):
        raise ValueError(_missing(kind, missing or ["ts"], raw))
    return Recognised(chosen, columns)


def _with_header(candidates: Sequence[Layout], raw: Raw, names: Sequence[str]) -> Layout | None:
    """Return the first layout whose signs the data have."""
    signs = {*names, *(name.strip().lower() for name in raw.header), *raw.signs, f"names {' '.join(names[:4])}"}
    stamps = [row[0] for row in raw.sample if row[0]]
    if stamps and (value_kind(stamps) == "epoch" or re.search(r"\d\d:\d\d.*(Z|[+-]\d\d:?\d\d)$", stamps[0])):
        signs.add("offset")
    if any(stamp_kind(value) == "stamp" for value in raw.sample[0]):
        signs.add("text stamps")
    if len(stamps) > 1 and stamps[0] > stamps[-1]:
        signs.add("newest first")
    return next((item for item in candidates if item.needs and item.needs <= signs), None)


def _without_header(candidates: Sequence[Layout], raw: Raw) -> Layout | None:
    """Return the first layout whose shape the values have."""
    kinds = [value_kind([row[at] for row in raw.sample]) for at in range(raw.width)]
    return next((item for item in candidates if _fits(item.shape, kinds, raw.sample)), None)


def _by_name(layout: Layout, names: Sequence[str], sample: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the columns of a header."""
    own = {field: str(name) for field, name in layout.columns}
    columns: dict[str, int] = {}
    for field, usual in NAMES[layout.kind].items():
        wanted = [own[field]] if field in own else usual.split()
        found = next((names.index(name) for name in wanted if name in names), None)
        if found is not None:
            columns[field] = found
    if layout.kind == "bars" and "volume" not in columns:  # such as Volume BTC, before Volume USDT
        first = next((at for at, name in enumerate(names) if name.startswith("volume_")), None)
        columns |= {} if first is None else {"volume": first}
    return columns if layout.kind == "messages" else _with_time(columns, own, names, sample)


def _with_time(
    columns: dict[str, int], own: dict[str, str], names: Sequence[str], sample: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Return columns with either one column of stamps, or one of dates and one of times of day."""

    def kind(at: int) -> str:
        return value_kind([row[at] for row in sample])

    if "date" in columns and "time" in columns and columns["date"] != columns["time"] and "ts" not in own:
        clocks = ("clock", "ms", "integer", "seconds", "number", "zero", "bool")
        days = [row[columns["date"]] for row in sample]
        is_day = value_kind(days) in ("date", "dotted") or (
            value_kind(days) in ("stamp", "hour") and stamp_style(days)[0].midnight
        )
        if is_day and kind(columns["time"]) in clocks:
            columns.pop("ts", None)
            return columns
    stamps = [columns[field] for field in ("ts", "date") if field in columns]
    stamps += [at for at, name in enumerate(names) if name in ("", "unnamed_0", "index", "date", "time", "datetime", "level_1")]
    chosen = next((at for at in stamps if kind(at) in ("stamp", "compact", "hour", "epoch", "date", "dotted")), None)
    others = {field: at for field, at in columns.items() if field not in ("ts", "date", "time")}
    if chosen is not None:
        clock = _clock_beside(chosen, names, sample)
        return {**others, "ts": chosen} if clock is None else {**others, "date": chosen, "time": clock}
    clock = columns.get("time", columns.get("ts", -1))
    is_clock = clock >= 0 and kind(clock) in ("clock", "ms", "seconds") and names[clock] not in _DATES
    return {**others, "time": clock} if is_clock else others


def _clock_beside(days: int, names: Sequence[str], sample: Sequence[Sequence[str]]) -> int | None:
    """Return the column of times of day beside a column of days that repeat themselves; None if there is none."""
    given = [row[days] for row in sample if row[days]]
    if len(set(given)) == len(given) or not stamp_style(given)[0].midnight:
        return None
    return next((at for at in range(len(names)) if value_kind([row[at] for row in sample]) == "clock"), None)


def value_kind(values: Sequence[str]) -> str:
    """Return the kind of the values of a column, or of more than four fifths of them.

    One of empty, bool, sign, zero, epoch, ms (whole milliseconds after midnight), integer, seconds (after midnight, with a
    fraction), number, clock (a time of day), date, dotted (2024.03.08), stamp (date and time), compact (20240308 093000),
    hour (20240308 09:00) and text.
    """
    given = _alike([value.strip() for value in values if value.strip()])
    if not given:
        return "empty"

    def every(pattern: str) -> bool:
        return all(re.fullmatch(pattern, value, re.IGNORECASE) for value in given)

    if every(r"true|false"):
        return "bool"
    if every(r"[-+]?\d+"):
        return _integer_kind(given)
    if all(map(_NUMBER.fullmatch, given)) and not every(r"\d{4}\.\d\d?\.\d\d?|\d\d?\.\d\d?\.\d{4}"):
        return _number_kind(given)
    kinds = {stamp_kind(value) for value in given}
    if kinds == {"stamp"}:
        return "compact" if every(r"\d{8} \d{6}") else "hour" if every(r"\d{8} \d\d:00") else "stamp"
    if kinds == {"date"}:
        return "dotted" if every(r"\d{4}\.\d\d\.\d\d") else "date"
    return "clock" if kinds == {"clock"} else "stamp" if kinds == {"date", "stamp"} else "text"


def _alike(given: list[str]) -> list[str]:
    """Return the values without the few that are of another class (number, stamp, time of day or word)."""
    classes = ["number" if _NUMBER.fullmatch(value) else "time" if stamp_kind(value) else "word" for value in given]
    most = max(set(classes), key=classes.count, default="")
    if classes.count(most) in (0, len(given)) or classes.count(most) <= 0.8 * len(given):
        return given
    return [value for value, found in zip(given, classes, strict=True) if found == most]


def _integer_kind(given: Sequence[str]) -> str:
    """Return the kind of whole numbers."""
    whole = [int(value) for value in given]
    if set(whole) <= {0}:
        return "zero"
    if set(whole) <= {-1, 1}:
        return "sign"
    if set(whole) <= {0, 1}:
        return "bool"
    if all(re.fullmatch(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])", value) for value in given):
        return "date"
    if all(re.fullmatch(_COMPACT, value) for value in given):
        return "stamp"
    if any(
        sum(631_152_000 * unit <= x < 4_102_444_800 * unit for x in whole) > 0.8 * len(whole)
        for unit in (1, 10**3, 10**6, 10**9)
    ):
        return "epoch"
    ascending = all(a <= b for a, b in pairwise(whole))
    return "ms" if ascending and whole[0] >= 1_000_000 and whole[-1] <= 86_400_000 else "integer"


def _number_kind(given: Sequence[str]) -> str:
    """Return the kind of numbers that are not all whole."""
    try:
        numbers = [float(value) for value in given]
    except ValueError:
        return "number"
    ascending = all(a <= b for a, b in pairwise(numbers))
    if ascending and 3_600 <= numbers[0] < numbers[-1] - LEAST_SPAN and numbers[-1] <= 86_400:
        return "seconds"
    return "epoch" if ascending and all(re.fullmatch(r"1\d{9}\.\d+", value) for value in given) else "number"


LEAST_SPAN: Final = 0.5
"""Shortest span of times of day, seconds; the serial days of a spreadsheet are as large, and span less within a day."""
_COMPACT: Final = r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])([01]\d|2[0-3])[0-5]\d([0-5]\d(\d{3})?)?"
"""A stamp without any separator, such as 20240308093000."""
_DATES: Final = NAMES["bars"]["date"].split()
"""Names of columns that hold days, never times of day."""
_NUMBER: Final = re.compile(r"[-+$]?[\d.,]*\d(e[-+]?\d+)?[kmb]?", re.IGNORECASE)
_KINDS: Final = {
    "number": {"number", "integer", "zero", "bool", "sign", "ms", "seconds", "date", "epoch", "empty"},
    "integer": {"integer", "zero", "bool", "sign", "ms", "date", "epoch"},
    "seconds": {"seconds", "number"},
    "bool": {"bool", "zero"},
    "near": {"number", "integer", "ms"},
    "top": {"number", "integer", "ms"},
    "stamp": {"stamp", "compact", "hour"},
    "date": {"date", "dotted"},
    "text": {"text", "integer", "zero", "bool", "empty", "sign", "number", "date", "ms", "epoch", "seconds"},
}
"""Kinds of values that each kind of a layout admits; a kind that is not listed admits itself alone."""


def _fits(shape: Sequence[str], kinds: Sequence[str], sample: Sequence[Sequence[str]]) -> bool:
    """Return whether values of some kinds fit the shape of a layout."""
    while len(kinds) > len(shape) and kinds[-1] == "empty":  # a separator at the end of each line
        kinds = kinds[:-1]
    return (
        bool(shape)
        and len(shape) == len(kinds)
        and all(kind in _KINDS.get(wanted, {wanted}) for wanted, kind in zip(shape, kinds, strict=True))
        and all(_is_near(sample, at) for at, wanted in enumerate(shape) if wanted == "near")
        and all(_is_top(sample, at) for at, wanted in enumerate(shape) if wanted == "top")
    )


def _is_top(sample: Sequence[Sequence[str]], at: int) -> bool:
    """Return whether no number in the three columns after a column exceeds it."""
    rows = [[float(value) for value in row[at : at + 4]] for row in sample if all(row[at : at + 4])]
    return all(row[0] == max(row) for row in rows)


def _is_near(sample: Sequence[Sequence[str]], at: int) -> bool:
    """Return whether the numbers of a column lie within a quarter of those in the column before it, in most rows."""
    pairs = [(float(row[at - 1]), float(row[at])) for row in sample if row[at - 1] and row[at]]
    return sum(0.8 * before <= value <= 1.25 * before for before, value in pairs) > 0.5 * len(pairs)


def _replaced(columns: dict[str, int], kind: str, given: dict[str, str], raw: Raw, names: Sequence[str]) -> dict[str, int]:
    """Return columns with those that the user gave; a column that is given for one field is not read as another."""
    unknown = [field for field in given if field not in NAMES[kind]]
    if unknown:
        known = ", ".join(NAMES[kind])
        raise ValueError(f"columns of {kind} must be among {known}, got {unknown[0]!r}{nearest(unknown[0], NAMES[kind])}")
    dropped = {"ts"} if {"date", "time"} & set(given) else {"date", "time"} if "ts" in given else set()
    chosen = {field: _given(field, name, raw, names) for field, name in given.items()}
    dropped |= {field for field, at in columns.items() if at in chosen.values() and field not in FIELDS[kind]}
    kept = {field: at for field, at in columns.items() if field not in dropped}
    return {**kept, **chosen}


def _given(field: str, name: str, raw: Raw, names: Sequence[str]) -> int:
    """Return the number of a column that the user gave by name or number."""
    if name in raw.header:
        return raw.header.index(name)
    if plain_name(name) in names:
        return names.index(plain_name(name))
    if name.isdigit() and 1 <= int(name) <= raw.width:
        return int(name) - 1
    known = ", ".join(item for item in raw.header if item) or f"numbers from 1 to {raw.width}"
    raise ValueError(f"columns: {field}={name} is none of the columns ({known[:200]})")


def _found(raw: Raw) -> str:
    """Return a description of the columns for messages."""
    found = "columns " + ", ".join(raw.header) if any(raw.header) else "no header; the first row is " + ", ".join(raw.sample[0])
    return " ".join(found.split())[:200]


def _missing(kind: str, missing: Sequence[str], raw: Raw) -> str:
    """Return the message that columns are missing."""
    if list(missing) == ["ts"]:
        names = [plain_name(name) for name in raw.header]
        likely = [at for name in NAMES[kind]["ts"].split() if name in names for at in [names.index(name)]]
        hints = (f"{raw.header[at]}: {hint}" for at in likely if (hint := stamp_hint([row[at] for row in raw.sample])))
        hint = next(hints, "")
        if hint:
            return hint
    return (
        f"no column for {', '.join(missing)} of {kind} ({_found(raw)}); "
        f"name the columns, for example --columns {missing[0]}={'NAME' if any(raw.header) else 'NUMBER'}, or choose a --layout"
    )
