"""Read bars, trades, quotes and limit order books from files and data frames of any vendor, into one checked table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .columns import Columns, Part, read_source
from .format import Format
from .numbers import read_numbers
from .raw import Raw, open_raw
from .sources import Data, Source, find_sources
from .tables import Bars, Book, Provenance, Quotes, Trades
from .zones import DAY, MINUTE

__all__ = ["read_bars", "read_book", "read_quotes", "read_trades"]

BAR_MINUTES: Final = (1, 2, 3, 5, 10, 15, 20, 30, 60, 1440)
"""Lengths of bars, minutes."""
LARGEST: Final = 1e15
"""Largest price and volume."""


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
    _check_bars(table, columns)
    volume = columns.get("volume")
    stamps = {part.found.layout.stamp for part in parts}
    return Bars(
        **table,
        open=columns["open"],
        high=columns["high"],
        low=columns["low"],
        close=columns["close"],
        volume=np.zeros(len(columns["time"])) if volume is None else np.nan_to_num(volume),
        has_volume=volume is not None,
        minutes=_bar_minutes(table, columns["time"]),
        stamp=format.stamp or (stamps.pop() if len(stamps) == 1 else ""),
    )


def read_trades(data: Data, format: Format | None = None) -> Trades:
    """Read the trades of one instrument; see :func:`read_bars` for the arguments and the errors.

    The executions in messages of LOBSTER are read as trades too: a trade against a resting offer is a buy.
    """
    sources = find_sources(data, "trades")
    if all("_message_" in source.stem for source in sources):
        return _trades_of_messages(sources, format or Format())
    parts, format = _read("trades", data, format)
    table, columns, words = _joined(parts, format)
    _check_positive(table, columns, ("price",))
    count = len(columns["time"])
    return Trades(
        **table,
        price=columns["price"],
        size=np.nan_to_num(columns["size"]),
        side=columns.get("side", np.zeros(count, np.int8)).astype(np.int8),
        has_side="side" in columns,
        exchange=columns.get("exchange", np.zeros(count)).astype(np.int16),
        exchanges=words.get("exchange", ("",)),
        condition=columns.get("condition", np.zeros(count)).astype(np.int32),
        conditions=words.get("condition", ("",)),
        suspicious=columns.get("suspicious", np.zeros(count)) > 0.0,
    )


def read_quotes(data: Data, format: Format | None = None) -> Quotes:
    """Read the best bids and offers of one instrument; see :func:`read_bars` for the arguments and the errors."""
    parts, format = _read("quotes", data, format)
    table, columns, _ = _joined(parts, format)
    if all(part.found.layout.carries for part in parts):
        columns |= {field: _carried(columns[field]) for field in ("bid", "ask")}
    unknown = np.full(len(columns["time"]), np.nan)
    return Quotes(
        **table,
        bid=np.where(columns["bid"] > 0.0, columns["bid"], np.nan),
        ask=np.where(columns["ask"] > 0.0, columns["ask"], np.nan),
        bid_size=columns.get("bid_size", unknown),
        ask_size=columns.get("ask_size", unknown),
    )


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
    parts, format = _read("messages", messages, format)
    table, columns, _ = _joined(parts, format, keep_order=True)
    levels = np.concatenate([_read_levels(source) for source in find_sources(book, "book")])
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
    parts = [read_source("messages", source, format) for source in sources]
    table, columns, _ = _joined(parts, format, keep_order=True)
    chosen = (columns["type"] == 4) | (columns["type"] == 5)
    count = int(chosen.sum())
    for field in ("time", "row", "source"):
        table[field] = table[field][chosen]
    nothing = np.zeros(count)
    return Trades(
        **table,
        price=columns["price"][chosen],
        size=columns["size"][chosen],
        side=(-columns["direction"][chosen]).astype(np.int8),
        has_side=True,
        exchange=nothing.astype(np.int16),
        exchanges=("",),
        condition=(columns["type"][chosen] == 5).astype(np.int32),
        conditions=("visible", "hidden"),
        suspicious=nothing > 0.0,
    )


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
    return [read_source(kind, source, format) for source in sources], format


def _joined(
    parts: list[Part], format: Format, keep_order: bool = False
) -> tuple[dict[str, Any], Columns, dict[str, tuple[str, ...]]]:
    """Return the arguments of a table, the columns of all sources in ascending order of time, and the words of columns."""
    parts = sorted(parts, key=lambda part: int(part.columns["time"][0]) if len(part.columns["time"]) else 0)
    choices = [choice for part in parts for choice in part.choices]
    for part in parts:
        if not keep_order and _descends(part.columns["time"]):
            for field in part.columns:
                part.columns[field] = part.columns[field][::-1]
            choices.append(f"{part.raw.source.name}: the rows descend in time and are read from the last to the first")
    choices += _zone_choice(parts, format)
    fields = [field for field in parts[0].columns if all(field in part.columns for part in parts)]
    words = _same_words(parts)
    source = np.repeat(np.arange(len(parts), dtype=np.int16), [len(part.columns["time"]) for part in parts])
    columns: Columns = {}
    for field in fields:
        columns[field] = (
            parts[0].columns.pop(field) if len(parts) == 1 else np.concatenate([part.columns[field] for part in parts])
        )
    symbols = sorted({symbol for part in parts for symbol in part.words["symbol"] if symbol})
    if len(symbols) > 1:
        raise ValueError(f"the files hold several instruments ({', '.join(symbols[:10])}); choose one with --symbol")
    raws = [part.raw for part in parts]
    table = {
        "time": columns["time"],
        "provenance": _provenance(parts, tuple(choices)),
        "symbol": format.symbol or (symbols[0] if symbols else ""),
        "row": columns["row"],
        "source": source,
        "lines": lambda at, row: raws[at].where(row),
    }
    return table, columns, words


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
    steps = np.diff(time)
    return bool(len(steps) and steps[0] != 0 and (steps <= 0).all() and steps.any())


def _zone_choice(parts: Sequence[Part], format: Format) -> list[str]:
    """Return a sentence on the time zone, if one was assumed."""
    naive = [part for part in parts if not part.aware]
    if not naive or format.tz:
        return []
    zone, layout = naive[0].stamping.zone, naive[0].found.layout
    why = f"as usual for {layout.name}" if layout.zone else f"the zone of the calendar {format.calendar}"
    return [f"the stamps carry no offset and are taken to be in {zone}, {why}; pass --tz if they are not"]


def _provenance(parts: Sequence[Part], choices: tuple[str, ...]) -> Provenance:
    """Return the provenance of some sources."""
    first = parts[0]
    header = first.raw.header
    dropped: Counter[str] = sum((part.dropped for part in parts), Counter())
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
    )


def _check_bars(table: dict[str, Any], columns: Columns) -> None:
    """Raise ValueError for the first bar whose prices or volume are out of range or contradict each other."""
    _check_positive(table, columns, ("open", "high", "low", "close"))
    first, high, low, last = (columns[field] for field in ("open", "high", "low", "close"))
    volume = columns.get("volume", np.zeros(len(first)))
    slack = 1e-9 * high  # of prices that were adjusted in single steps
    outside = (np.minimum(first, last) < low - slack) | (np.maximum(first, last) > high + slack)
    _refuse(table, (volume < 0.0) | (volume > LARGEST), "volume must be at least 0, got {:g}", volume)
    _refuse(table, high < low - slack, "high {:g} is below low {:g}", high, low)
    _refuse(table, outside, "open {:g} or close {:g} lies outside low {:g} to high {:g}", first, last, low, high)


def _check_positive(table: dict[str, Any], columns: Columns, fields: Sequence[str]) -> None:
    """Raise ValueError for the first row whose prices are not positive numbers."""
    for field in fields:
        values = columns[field]
        _refuse(table, ~((values > 0.0) & (values <= LARGEST)), field + " must be a number above 0, got {:g}", values)


def _refuse(table: dict[str, Any], wrong: NDArray[np.bool_], message: str, *values: NDArray[np.float64]) -> None:
    """Raise ValueError with file, line and values of the first wrong row, if there is one."""
    if wrong.any():
        at = int(wrong.argmax())
        place = table["lines"](int(table["source"][at]), int(table["row"][at]))
        raise ValueError(f"{place}: {message.format(*(value[at] for value in values))}")


def _bar_minutes(table: dict[str, Any], time: NDArray[np.int64]) -> int:
    """Return the length of bars, the most frequent difference of successive times, minutes."""
    files = ", ".join(table["provenance"].files)
    steps = np.diff(time)
    steps = steps[steps > 0]
    if not len(steps):
        raise ValueError(f"{files}: {len(time)} bars; at least two are needed")
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[counts.argmax()])
    if step >= 22 * 60 * MINUTE and step % (DAY // 24) == 0:
        return 1440
    minutes = step // MINUTE
    if step % MINUTE or minutes not in BAR_MINUTES:
        length = f"{step / MINUTE:g} minutes" if step >= MINUTE else f"{step / 1e9:g} seconds"
        raise ValueError(f"{files}: bars must be {', '.join(map(str, BAR_MINUTES[:-1]))} minutes or a day long, got {length}")
    return minutes
