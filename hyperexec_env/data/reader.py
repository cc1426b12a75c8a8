"""Read bars, trades, quotes and limit order books from files and data frames of any vendor, into one checked table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .calendars import calendar_of, zone_of
from .columns import Columns, Part, read_sources
from .format import Format
from .numbers import read_numbers
from .raw import Raw, open_raw
from .sources import Data, Source, find_sources, within_memory
from .tables import Bars, Book, Provenance, Quotes, Trades, executions_among
from .values import check_bars, check_positive, check_quotes, check_size
from .zones import DAY, HOUR, MINUTE, SECOND, Nanoseconds, date_of, local_of

__all__ = ["days_chosen", "read_bars", "read_book", "read_quotes", "read_trades"]

BAR_MINUTES: Final = (1, 2, 3, 5, 10, 15, 20, 30, 60, 1440)
"""Lengths of bars, minutes."""


def read_bars(data: Data, format: Format | None = None) -> Bars:
    """Read bars of one instrument: csv, txt, zip, gz, json, parquet, folders, patterns, or data frames.

    Args:
        data: A path (file, folder or pattern), a data frame (pandas, polars, pyarrow, duckdb), or a list of them.
        format: How to read what the data do not say themselves (default: everything is determined from the data).

    Returns:
        The bars in ascending order of time; bars without prices are left out and counted.

    Raises:
        ValueError: The data cannot be read, hold several instruments, or hold a value that is out of range; the message names
            file, line, column and value, and the option that helps.
        MissingExtra: The extra `data` is not installed.
    """
    parts, format = _read("bars", data, format)
    table, columns, _ = _joined(parts, format)
    check_bars(table, columns)
    minutes = _bar_minutes(table, columns["time"])
    volume, has_volume, choices = _volume(columns)
    origin: Provenance = table["provenance"]
    zone = _zone_of_days(parts, format, columns["time"]) if minutes == 1440 else ""
    table["provenance"] = replace(origin, zone=zone or origin.zone, choices=(*origin.choices, *choices))
    stamps = {part.found.layout.stamp for part in parts}
    return Bars(
        **table,
        open=columns["open"],
        high=columns["high"],
        low=columns["low"],
        close=columns["close"],
        volume=volume,
        has_volume=has_volume,
        minutes=minutes,
        stamp=format.stamp or (stamps.pop() if len(stamps) == 1 else ""),
    )


def _volume(columns: Columns) -> tuple[NDArray[np.float64], bool, list[str]]:
    """Return the volume of bars, whether the data hold one, and sentences on what was decided."""
    volume = columns.get("volume")
    if volume is None:
        return np.zeros(len(columns["time"])), False, ["the data hold no volume"]
    missing = np.isnan(volume)
    known = np.where(missing, 0.0, volume) if missing.any() else volume
    if not known.any():
        return known, False, ["the volume is 0 or missing in every bar: the data count as without volume"]
    return known, True, [f"{int(missing.sum()):,} bars without a volume count as 0"] if missing.any() else []


def _zone_of_days(parts: Sequence[Part], format: Format, time: NDArray[np.int64]) -> str:
    """Return the time zone whose midnights are the times of daily bars with an offset; "" for that of the stamps."""
    if not all(part.aware for part in parts) or not (time % DAY).any():
        return ""
    zone = zone_of(format.calendar)
    return zone if not (local_of(time, zone) % DAY).any() else ""


def read_trades(data: Data, format: Format | None = None) -> Trades:
    """Read the trades of one instrument; see :func:`read_bars` for the arguments and the errors.

    The executions in messages of LOBSTER are read as trades too: a trade against a resting offer is a buy.
    """
    sources = find_sources(data, "trades")
    if all("_message_" in source.stem for source in sources):
        return _trades_of_messages(sources, format or Format())
    parts, format = _read("trades", data, format)
    table, columns, words = _joined(parts, format, "time")
    check_positive(table, columns, ("price",))
    check_size(table, columns["size"], "size")
    count = len(columns["time"])

    def whole(field: str, kind: type[np.signedinteger[Any]]) -> NDArray[Any]:
        return columns[field].astype(kind, copy=False) if field in columns else np.zeros(count, kind)

    return Trades(
        **table,
        price=columns["price"],
        size=np.nan_to_num(columns["size"], copy=False),
        side=whole("side", np.int8),
        has_side="side" in columns,
        exchange=whole("exchange", np.int16),
        exchanges=words.get("exchange", ("",)),
        condition=whole("condition", np.int32),
        conditions=words.get("condition", ("",)),
        suspicious=columns["suspicious"] if "suspicious" in columns else np.zeros(count, bool),
    )


def read_quotes(data: Data, format: Format | None = None) -> Quotes:
    """Read the best bids and offers of one instrument; see :func:`read_bars` for the arguments and the errors."""
    parts, format = _read("quotes", data, format)
    table, columns, _ = _joined(parts, format, "time")
    for field in ("bid_size", "ask_size"):
        if field in columns:
            check_size(table, columns[field], field)
    if all(part.found.layout.carries for part in parts):
        columns |= {field: _carried(columns[field]) for field in ("bid", "ask")}
    check_quotes(table, columns)
    unknown = np.full(len(columns["time"]), np.nan)
    interval = _interval_of(columns["time"]) if format.stamp != "end" else 0
    if interval:
        provenance = table["provenance"]
        choice = (
            f"quotes are the last ones of intervals of {interval / SECOND:g} s, and are valid from their ends; "
            "pass --stamp end if the times are the ends"
        )
        table["provenance"] = replace(provenance, choices=(*provenance.choices, choice))
    return Quotes(
        **table,
        bid=np.where(columns["bid"] > 0.0, columns["bid"], np.nan),
        ask=np.where(columns["ask"] > 0.0, columns["ask"], np.nan),
        bid_size=columns.get("bid_size", unknown),
        ask_size=columns.get("ask_size", unknown),
        interval=interval,
    )


def _interval_of(time: Nanoseconds) -> int:
    """Return the interval of quotes whose times are whole seconds or minutes, nanoseconds; 0 for quotes at each change.

    On such a grid of at most a minute a quote is the last one of its interval, and a stamp that was cut to its second or minute
    is certain at the end of it. Gaps in the grid are intervals without a change.
    """
    if len(time) < 2 or (time[:1000] % SECOND).any():
        return 0
    step = math.gcd(int(np.gcd.reduce(np.diff(time))), int(time[0]), MINUTE)
    return step if step % SECOND == 0 else 0


def _carried(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with each missing one replaced by the last one before it."""
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    return np.asarray(values[last])


def read_book(messages: Data, book: Data, format: Format | None = None) -> Book:
    """Read a limit order book in the form of LOBSTER: a file of messages, and the book after each of them.

    Args:
        messages: The messages: time, type, order id, size, price, direction; see :func:`read_bars`.
        book: The book: price and size of offer and bid, level by level, one row for each message.
        format: See :func:`read_bars`.

    Raises:
        ValueError: See :func:`read_bars`; or the two files do not hold the same number of rows.
        MissingExtra: The extra `data` is not installed.
    """
    if format and (format.since or format.until):
        raise ValueError("since and until do not apply to a book; give the files of the days to use")
    parts, format = _read("messages", messages, format)
    sources = _in_order(parts, find_sources(book, "book"))
    table, columns, _ = _joined(parts, format, "rows")
    levels = np.concatenate([_read_levels(source) for source in sources])
    if len(levels) != len(columns["time"]):
        files = ", ".join(table["provenance"].files)
        raise ValueError(
            f"the book must have one row for each of the {len(columns['time']):,} messages of {files}, got {len(levels):,}"
        )
    prices = np.where(np.abs(levels) < 9_999_999_999, levels, np.nan) / 1e4
    sizes = np.where(np.isnan(prices[:, 0::2]), 0.0, levels[:, 1::2])
    return Book(
        **table,
        type=columns["type"].astype(np.int8),
        order_id=columns["order_id"].astype(np.int64),
        size=columns["size"],
        price=columns["price"],
        direction=columns["direction"].astype(np.int8),
        ask=prices[:, 0::4],
        ask_size=sizes[:, 0::2],
        bid=prices[:, 2::4],
        bid_size=sizes[:, 1::2],
    )


def _trades_of_messages(sources: Sequence[Source], format: Format) -> Trades:
    """Return the executions among messages of LOBSTER."""
    parts = read_sources("messages", sources, format)
    table, columns, _ = _joined(parts, format, "rows")
    return executions_among(**table, **{field: columns[field] for field in ("type", "size", "price", "direction")})


def _read_levels(source: Source) -> NDArray[np.float64]:
    """Return the rows of a book, shape (row, 4 x levels)."""
    raw = open_raw(source)
    if raw.width % 4:
        raise ValueError(
            f"{source.name}: a book must have four columns a level (offer, size, bid, size), got {raw.width} columns"
        )
    batches: list[NDArray[np.float64]] = []
    for batch in raw.batches(range(raw.width)):
        where = partial(_place, raw, sum(map(len, batches)))
        batches.append(
            np.column_stack([read_numbers(column, ".", where, f"column {at}") for at, column in enumerate(batch, 1)])
        )
    return np.concatenate(batches)


def _place(raw: Raw, first: int, row: int) -> str:
    """Return the place of a row of a batch that begins with row `first`."""
    return raw.where(first + row)


def _read(kind: str, data: Data, format: Format | None) -> tuple[list[Part], Format]:
    """Read all sources of one kind of data, in the order of their first times."""
    format = format or Format()
    sources = find_sources(data, kind)
    twice = [name for name, count in Counter(item.name for item in sources if item.form != "frame").items() if count > 1]
    if twice and kind != "bars":  # bars that are given twice are used once
        raise ValueError(f"{twice[0]} is given twice: its {kind} would count twice")
    return read_sources(kind, sources, format), format


def _start(part: Part) -> int:
    """Return the first time of a source."""
    return int(part.columns["time"].min())


def _in_order(parts: Sequence[Part], sources: list[Source]) -> list[Source]:
    """Return the sources of a book in the order of the times of their messages."""
    if len(sources) != len(parts):
        return sources
    return [sources[at] for at in sorted(range(len(parts)), key=lambda at: _start(parts[at]))]


def _joined(
    parts: list[Part], format: Format, order: str = "direction"
) -> tuple[dict[str, Any], Columns, dict[str, tuple[str, ...]]]:
    """Return the arguments of a table, the columns of all sources, and the words of columns; see :func:`_join`."""
    with within_memory([part.raw.source.name for part in parts]):
        return _join(parts, format, order)


def _join(parts: list[Part], format: Format, order: str) -> tuple[dict[str, Any], Columns, dict[str, tuple[str, ...]]]:
    """Return the arguments of a table, the columns of all sources, and the words of columns.

    Args:
        parts: The sources, read.
        format: How they were read.
        order: Order of the rows of a source: "rows" keeps it, "direction" turns it if it descends, "time" also sorts it.
    """
    parts = sorted(parts, key=_start)
    symbols = sorted({symbol for part in parts for symbol in part.words["symbol"] if symbol})
    if len(symbols) > 1:
        raise ValueError(f"the files hold several instruments ({', '.join(symbols[:10])}); choose one with --symbol")
    choices = [*_zone_choice(parts), *_choices(parts, order)]
    words = _same_words(parts)
    source = np.repeat(np.arange(len(parts), dtype=np.int16), [len(part.columns["time"]) for part in parts])
    columns: Columns = {"source": source}
    for field in list(parts[0].columns):
        if all(field in part.columns for part in parts):
            values = [part.columns.pop(field) for part in parts]
            columns[field] = values[0] if len(parts) == 1 else np.concatenate(values)
    left = {field for part in parts for field in part.columns}
    choices += [f"{field} is not used, because not all files hold it" for field in sorted(left)]
    if order == "time":
        choices += _sort(columns)
    raws = [part.raw for part in parts]
    columns, cut = _within_days(columns, format, parts)
    table = {
        "time": columns["time"],
        "provenance": _provenance(parts, tuple(choices), cut),
        "symbol": format.symbol or (symbols[0] if symbols else ""),
        "row": columns["row"],
        "source": columns["source"],
        "lines": lambda at, row: raws[at].where(row),
    }
    return table, columns, words


def days_chosen(time: NDArray[np.int64], format: Format) -> NDArray[np.bool_]:
    """Return which times belong to the days that `format` chooses (`since`, `until`), shape as `time`.

    Args:
        time: Times, nanoseconds in UTC.
        format: Days and calendar.
    """
    if not (format.since or format.until):
        return np.ones(time.shape, dtype=bool)
    first, last = calendar_of(format.calendar, format.hours, format.tz).span(format.since, format.until)
    return np.asarray((time >= first) & (time <= last))


def _within_days(columns: Columns, format: Format, parts: Sequence[Part]) -> tuple[Columns, dict[str, int]]:
    """Return the rows of the days that `format` chooses, and the number of the other rows."""
    time = columns["time"]
    chosen = days_chosen(time, format)
    if chosen.all():
        return columns, {}
    if not chosen.any():
        zone = zone_of(format.calendar)
        first, last = (date_of(int(local_of(np.array([end]), zone)[0])) for end in (time.min(), time.max()))
        raise ValueError(
            f"{', '.join(part.raw.source.name for part in parts[:3])}: no rows from {format.since or first} to "
            f"{format.until or last}; the data hold {first} to {last}: pass other --since or --until"
        )
    return {field: values[chosen] for field, values in columns.items()}, {"rows of other days": int((~chosen).sum())}


def _sort(columns: Columns) -> list[str]:
    """Sort rows by time; return a sentence if they were not sorted."""
    time = columns["time"]
    late = int((time[1:] < time[:-1]).sum())
    if not late:
        return []
    places = np.argsort(time, kind="stable")
    for field in columns:
        columns[field] = columns[field][places]
    return [f"{late:,} rows are earlier than the row before them; the rows are sorted by time"]


def _choices(parts: Sequence[Part], order: str) -> list[str]:
    """Return the choices that were made for sources, each once, with the first source; turn sources that descend in time."""
    names: dict[str, list[str]] = {}
    for part in parts:
        turned = order != "rows" and _descends(part.columns["time"])
        if turned:
            for field in part.columns:
                part.columns[field] = part.columns[field][::-1]
        for text in [*part.choices, *(["the rows descend in time and are read from the last to the first"] if turned else [])]:
            names.setdefault(text, []).append(part.raw.source.name)
    return [f"{files[0]}{f' and {len(files) - 1:,} more' if len(files) > 1 else ''}: {text}" for text, files in names.items()]


def _same_words(parts: Sequence[Part]) -> dict[str, tuple[str, ...]]:
    """Number the words of all sources alike, and return them by field."""
    words: dict[str, tuple[str, ...]] = {}
    for field in ("exchange", "condition"):
        known: dict[str, int] = {}
        for part in parts:
            if field in part.words:
                places = np.array([known.setdefault(word, len(known)) for word in part.words[field]], dtype=np.int32)
                part.columns[field] = places[part.columns[field]]
        if known:
            words[field] = tuple(known)
    return words


def _descends(time: NDArray[np.int64]) -> bool:
    """Return whether times descend throughout."""
    return len(time) > 1 and bool(time[-1] < time[0]) and bool((time[1:] <= time[:-1]).all())


def _zone_choice(parts: Sequence[Part]) -> list[str]:
    """Return sentences on time zones that were assumed."""
    assumed = {part.stamping.zone: part.stamping.why for part in parts if not part.aware and part.stamping.why}
    return [
        f"the stamps carry no offset and are taken to be in {zone}, {why}; pass --tz if they are not"
        for zone, why in assumed.items()
    ]


def _provenance(parts: Sequence[Part], choices: tuple[str, ...], cut: dict[str, int]) -> Provenance:
    """Return the provenance of some sources; `cut` counts the rows that are left out of all of them, by reason."""
    first = parts[0]
    header = first.raw.header
    dropped: Counter[str] = sum((part.dropped for part in parts), Counter(cut))
    zones = ["UTC" if part.aware else part.stamping.zone for part in parts]
    return Provenance(
        files=tuple(part.raw.source.name for part in parts),
        layout=", ".join(dict.fromkeys(part.found.layout.name for part in parts)),
        columns={
            field: (header[at] if header and header[at] else f"column {at + 1}") for field, at in first.found.columns.items()
        },
        time=", ".join(dict.fromkeys(str(part.stamping) for part in parts)),
        zone=", ".join(dict.fromkeys(zones)),
        rows=sum(part.rows for part in parts),
        dropped=dict(dropped),
        choices=choices,
        is_naive=not all(part.aware for part in parts),
    )


def _bar_minutes(table: dict[str, Any], time: NDArray[np.int64]) -> int:
    """Return the length of bars, minutes."""
    files = ", ".join(table["provenance"].files)
    steps = np.diff(time)
    steps = steps[steps > 0]
    if not len(steps):
        raise ValueError(f"{files}: {len(time)} bars; at least two are needed")
    step = _usual_step(steps)
    if 22 * HOUR <= step <= 100 * HOUR and step % HOUR == 0:  # a change of clocks or a weekend may lie between two days
        return 1440
    minutes = step // MINUTE
    if step % MINUTE or minutes not in BAR_MINUTES:
        length = f"{step / MINUTE:g} minutes" if step >= MINUTE else f"{step / 1e9:g} seconds"
        length = f"{step / DAY:g} days" if step >= DAY else length
        raise ValueError(f"{files}: bars must be {', '.join(map(str, BAR_MINUTES[:-1]))} minutes or a day long, got {length}")
    return minutes


def _usual_step(steps: NDArray[np.int64]) -> int:
    """Return the length of bars, nanoseconds: the most frequent step, if most steps within a day are multiples of it.

    The bars of a thin share are many lengths apart, so that the most frequent step is a multiple of the length by chance, or
    the step over a night; the length is then the longest one of which nearly all steps within a day are multiples. Bars at
    least 22 hours apart are days or longer: over a change of clocks they lie on the grid of an hour alone.
    """
    values, counts = np.unique(steps, return_counts=True)
    most = int(values[counts.argmax()])
    within = steps[steps < 12 * HOUR] if (steps < 12 * HOUR).any() else steps

    def multiples(length: int) -> float:
        return float((within % length == 0).mean())

    is_long = steps.min() >= 22 * HOUR and not (steps % HOUR).any()
    if is_long or multiples(most) >= 0.7:
        return most
    return next((length for minutes in BAR_MINUTES[-2::-1] if multiples(length := minutes * MINUTE) >= 0.99), most)
