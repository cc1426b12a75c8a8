"""Layouts of data: which column holds what, for the vendors that are recognised, and for any file with usual names.

A layout is one record. A layout with a header is recognised by names that only it has; a layout without one by the kinds of its
values. A header that no layout claims is read by the usual names of :data:`NAMES`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from hyperexec_env.checks import nearest

__all__ = ["FIELDS", "LAYOUTS", "NAMES", "Layout", "Recognised", "plain_name", "recognise"]


class Layout(NamedTuple):
    """The layout of one kind of data of a vendor."""

    name: str
    kind: str
    """bars, trades, quotes or messages."""
    needs: frozenset[str] = frozenset()
    """Plain names that a header of this layout holds, and other headers do not all hold; empty for a layout without header."""
    shape: tuple[str, ...] = ()
    """Kinds of the values of each column, for a layout without header; see :func:`value_kind`."""
    columns: tuple[tuple[str, str | int], ...] = ()
    """Columns by plain name (or by number from 0, for a layout without header), where they differ from :data:`NAMES`."""
    zone: str = ""
    """Time zone of stamps without an offset; "" for that of the exchange."""
    stamp: str = ""
    """Whether the time of a bar is its start or its end; "" if it is not fixed."""
    scale: float = 1.0
    """Factor of the prices."""
    file: str = ""
    """Regular expression that the name of the file matches, for a layout that its values do not determine."""


class Recognised(NamedTuple):
    """A recognised layout and its columns."""

    layout: Layout
    columns: dict[str, int]
    """Number (from 0) of the column of each field."""


FIELDS: Final = {
    "bars": ("open", "high", "low", "close"),
    "trades": ("price", "size"),
    "quotes": ("bid", "ask"),
    "messages": ("type", "size", "price", "direction"),
}
"""Fields that each kind of data needs beside the time."""

_TIME: Final = {
    "ts": "ts timestamp datetime date_time ts_event open_time opentime window_start timestamp_utc time_utc utc local_ts_ns "
    "bar_time bar_start start_time gmt_time local_time date_gmt trade_time quote_time event_time transact_time sip_timestamp "
    "t time date index",
    "date": "date day trade_date tradingday trading_day dtyyyymmdd datum",
    "time": "time time_of_day timeofday hhmmss zeit ms milliseconds time_m seconds",
    "symbol": "symbol ticker sym instrument instrument_id code isin ric s sym_root security",
}
NAMES: Final[dict[str, dict[str, str]]] = {
    "bars": {
        **_TIME,
        "open": "open o open_price opening_price first opn eroeffnung",
        "high": "high h high_price max hi hoch",
        "low": "low l low_price min lo tief",
        "close": "close c last close_price closing_price close_last price schluss",
        "volume": "volume vol v volume_shares shares size qty quantity base_volume total_volume volumen trade_volume",
        "trades": "trades trade_count n transactions number_of_trades num_trades barcount bar_count count tick_count tickcount",
    },
    "trades": {
        **_TIME,
        "symbol": "symbol ticker sym instrument instrument_id code isin ric sym_root security",
        "price": "price p px trade_price last last_price",
        "size": "size s qty quantity volume vol v amount shares trade_size lastsize",
        "side": "side aggressor aggressor_side taker_side direction is_buyer_maker isbuyermaker m buyer_maker",
        "exchange": "exchange x ex publisher_id venue",
        "condition": "condition conditions c cond sale_condition tr_scond",
        "suspicious": "suspicious",
    },
    "quotes": {
        **_TIME,
        "bid": "bid bid_price bidprice bp bid_px bid_px_00 best_bid best_bid_price b bid_close bid_1 bid_price_1",
        "ask": "ask ask_price askprice ap ask_px ask_px_00 best_ask best_ask_price a ask_close offer ask_1 ask_price_1 ofr",
        "bid_size": "bid_size bidsize bs bid_sz bid_sz_00 best_bid_qty best_bid_size bid_qty bid_volume bidsiz bid_size_1",
        "ask_size": "ask_size asksize as ask_sz ask_sz_00 best_ask_qty best_ask_size ask_qty ask_volume ofrsiz ask_size_1",
    },
    "messages": {
        "time": "time seconds",
        "type": "type event_type event",
        "order_id": "order_id orderid id",
        "size": "size quantity",
        "price": "price",
        "direction": "direction side",
    },
}
"""Usual plain names of each field, by kind of data; the first name that a header holds is taken."""


def _needs(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OHLCV: Final = (("open", 1), ("high", 2), ("low", 3), ("close", 4), ("volume", 5))
_TWO: Final = (("date", 0), ("time", 1), ("open", 2), ("high", 3), ("low", 4), ("close", 5), ("volume", 6))
_NY: Final = "America/New_York"

LAYOUTS: Final = (
    Layout("databento-ohlcv", "bars", _needs("ts_event rtype open high low close"), zone="UTC", stamp="start"),
    Layout("databento-trades", "trades", _needs("ts_event rtype price size action"), zone="UTC"),
    Layout("databento-trades", "trades", _needs("ts_event publisher_id price size"), zone="UTC"),
    Layout("databento-mbp-1", "quotes", _needs("bid_px_00 ask_px_00"), columns=(("ts", "ts_event"),), zone="UTC"),
    Layout(
        "binance-klines",
        "bars",
        _needs("open_time close_time open high low close"),
        columns=(("ts", "open_time"),),
        zone="UTC",
        stamp="start",
    ),
    Layout("binance-trades", "trades", _needs("price qty time is_buyer_maker"), columns=(("ts", "time"),), zone="UTC"),
    Layout(
        "binance-aggtrades",
        "trades",
        _needs("agg_trade_id price quantity transact_time"),
        columns=(("ts", "transact_time"),),
        zone="UTC",
    ),
    Layout("polygon", "bars", _needs("window_start transactions open close"), stamp="start"),
    Layout("polygon-json", "bars", _needs("o h l c v t vw"), columns=(("ts", "t"),), stamp="start"),
    Layout("alpaca", "bars", _needs("timestamp open high low close trade_count vwap"), zone="UTC", stamp="start"),
    Layout("alpaca-trades", "trades", _needs("t p s x"), columns=(("ts", "t"), ("size", "s")), zone="UTC"),
    Layout("alpaca-quotes", "quotes", _needs("t bp ap bs"), columns=(("ts", "t"), ("ask_size", "as")), zone="UTC"),
    Layout(
        "stooq",
        "bars",
        _needs("ticker per date time open high low close vol openint"),
        columns=(("date", "date"), ("time", "time")),
    ),
    Layout("yahoo", "bars", _needs("date open high low close adj_close volume"), columns=(("ts", "date"),)),
    Layout("yahoo-chart-json", "bars", _needs("timestamp open high low close adjclose"), stamp="start"),
    Layout(
        "ib-async", "bars", _needs("date open high low close volume average barcount"), columns=(("ts", "date"),), stamp="start"
    ),
    Layout("lean-second-quote", "quotes", _needs("date ms bid_close ask_close"), zone=_NY),
    Layout(
        "lean-bars",
        "bars",
        _needs("date ms open high low close"),
        columns=(("date", "date"), ("time", "ms")),
        zone=_NY,
        stamp="start",
    ),
    Layout(
        "lean-ticks",
        "trades",
        _needs("date ms price size condition suspicious"),
        columns=(("date", "date"), ("time", "ms")),
        zone=_NY,
    ),
    Layout("tradingview", "bars", _needs("time open high low close"), columns=(("ts", "time"),), stamp="start"),
    Layout("lobster-message", "messages", _needs("time type order_id size price direction"), zone=_NY, scale=1e-4),
    Layout(
        "binance-klines",
        "bars",
        shape=("epoch", *["number"] * 5, "epoch", "number", "integer", "number", "number", "number"),
        columns=(("ts", 0), *_OHLCV, ("trades", 8)),
        zone="UTC",
        stamp="start",
    ),
    Layout(
        "binance-aggtrades",
        "trades",
        shape=("integer", "number", "number", "integer", "integer", "epoch", "bool", "bool"),
        columns=(("ts", 5), ("price", 1), ("size", 2), ("side", 6)),
        zone="UTC",
    ),
    Layout(
        "binance-trades",
        "trades",
        shape=("integer", "number", "number", "number", "epoch", "bool", "bool"),
        columns=(("ts", 4), ("price", 1), ("size", 2), ("side", 5)),
        zone="UTC",
    ),
    Layout(
        "lobster-message",
        "messages",
        shape=("seconds", "integer", "integer", "integer", "integer", "sign"),
        columns=(("time", 0), ("type", 1), ("order_id", 2), ("size", 3), ("price", 4), ("direction", 5)),
        zone=_NY,
        scale=1e-4,
    ),
    Layout(
        "lean-minute-quote",
        "quotes",
        shape=("ms", *["integer"] * 10),
        columns=(("time", 0), ("bid", 4), ("bid_size", 5), ("ask", 9), ("ask_size", 10)),
        zone=_NY,
        scale=1e-4,
    ),
    Layout(
        "lean-minute-trade",
        "bars",
        shape=("ms", *["integer"] * 5),
        columns=(("time", 0), *_OHLCV),
        zone=_NY,
        stamp="start",
        scale=1e-4,
    ),
    Layout(
        "lean-tick-trade",
        "trades",
        shape=("ms", "integer", "integer", "text", "text", "bool"),
        columns=(("time", 0), ("price", 1), ("size", 2), ("exchange", 3), ("condition", 4), ("suspicious", 5)),
        zone=_NY,
        scale=1e-4,
    ),
    Layout(
        "lean-daily",
        "bars",
        shape=("stamp", *["integer"] * 5),
        columns=(("ts", 0), *_OHLCV),
        zone=_NY,
        scale=1e-4,
        file=r"\d{8}|\.zip|daily",
    ),
    Layout("kibot", "bars", shape=("date", "clock", *["number"] * 5), columns=_TWO, zone=_NY, stamp="start"),
    Layout("firstrate", "bars", shape=("stamp", *["number"] * 5), columns=(("ts", 0), *_OHLCV), zone=_NY, stamp="start"),
    Layout("bars-without-volume", "bars", shape=("stamp", *["number"] * 4), columns=(("ts", 0), *_OHLCV[:4])),
    Layout("bars-without-header", "bars", shape=("epoch", *["number"] * 5), columns=(("ts", 0), *_OHLCV), zone="UTC"),
)
"""All layouts, the more specific ones first."""


def plain_name(name: str) -> str:
    """Return the name of a column in lower case, words joined by underscores, without numbering and brackets."""
    text = re.sub(r"^\d+[ab]?\. ", "", name.strip().strip("<>[]\"'").lower())
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"\(.*?\)", "", text)).strip("_")


def recognise(
    kind: str, header: Sequence[str], sample: Sequence[Sequence[str]], file: str, given: dict[str, str], layout: str = ""
) -> Recognised:
    """Return the layout of some data and the number of each column.

    Args:
        kind: What is to be read: a key of :data:`FIELDS`.
        header: Names of the columns; empty if there are none.
        sample: First rows, as text.
        file: Name of the file.
        given: Columns by name or number (from 1) that replace those of the layout.
        layout: Name of the layout; "": recognise it.

    Raises:
        ValueError: No layout fits, or a needed column is missing; the message says what was found and which option helps.
    """
    names = [plain_name(name) for name in header]
    candidates = [item for item in LAYOUTS if item.kind == kind and layout in ("", item.name)]
    if layout and not candidates:
        known = sorted({item.name for item in LAYOUTS if item.kind == kind})
        raise ValueError(f"layout must be one of {', '.join(known)}, got {layout!r}{nearest(layout, known)}")
    if names:
        chosen = next((item for item in candidates if item.needs and item.needs <= set(names)), None)
        chosen = chosen or Layout("columns by name", kind)
        columns = _by_name(chosen, names, sample)
    else:
        kinds = [value_kind([row[at] for row in sample]) for at in range(len(sample[0]))]
        fitting = [item for item in candidates if _fits(item.shape, kinds) and re.search(item.file, file)]
        chosen = fitting[0] if fitting else Layout("columns by number", kind)
        columns = {field: int(at) for field, at in chosen.columns}
    for field, name in given.items():
        columns[field] = _given(field, name, header, names, len(sample[0]))
    missing = [field for field in FIELDS[kind] if field not in columns]
    if missing or not ({"ts", "date", "time"} & set(columns)):
        raise ValueError(_missing(kind, missing or ["ts"], header, sample))
    return Recognised(chosen, columns)


def _by_name(layout: Layout, names: Sequence[str], sample: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the columns of a header."""
    own = {field: str(name) for field, name in layout.columns}
    columns: dict[str, int] = {}
    for field, usual in NAMES[layout.kind].items():
        wanted = [own[field]] if field in own else usual.split()
        found = next((names.index(name) for name in wanted if name in names), None)
        if found is not None:
            columns[field] = found
    return columns if layout.kind == "messages" else _with_time(columns, own, names, sample)


def _with_time(
    columns: dict[str, int], own: dict[str, str], names: Sequence[str], sample: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Return columns with either one column of stamps, or one of dates and one of times of day."""

    def kind(at: int) -> str:
        return value_kind([row[at] for row in sample])

    if "date" in columns and "time" in columns and columns["date"] != columns["time"] and "ts" not in own:
        clocks = ("clock", "ms", "integer", "seconds", "number")
        if kind(columns["date"]) in ("date", "integer") and kind(columns["time"]) in clocks:
            columns.pop("ts", None)
            return columns
    stamps = [columns["ts"]] if "ts" in columns else []
    stamps += [at for at, name in enumerate(names) if name in ("", "unnamed_0", "index", "date", "time", "datetime", "level_1")]
    chosen = next((at for at in stamps if kind(at) in ("stamp", "epoch", "date")), None)
    columns = {field: at for field, at in columns.items() if field not in ("ts", "date", "time")}
    return columns if chosen is None else {**columns, "ts": chosen}


def value_kind(values: Sequence[str]) -> str:
    """Return the kind of the values of a column.

    One of empty, bool, sign, epoch, ms (whole milliseconds after midnight), integer, seconds (after midnight, with a fraction),
    number, clock (a time of day), date, stamp (date and time) and text.
    """
    given = [value for value in values if value.strip()]
    if not given:
        return "empty"

    def every(pattern: str) -> bool:
        return all(re.fullmatch(pattern, value, re.IGNORECASE) for value in given)

    if every(r"true|false"):
        return "bool"
    if every(r"[-+]?\d+"):
        whole = [int(value) for value in given]
        if set(whole) <= {-1, 1}:
            return "sign"
        if set(whole) <= {0, 1}:
            return "bool"
        if every(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])"):
            return "date"
        if min(whole) >= 631_152_000 and any(
            all(631_152_000 * u <= x < 4_102_444_800 * u for x in whole) for u in (1, 10**3, 10**6, 10**9)
        ):
            return "epoch"
        ascending = all(a <= b for a, b in pairwise(whole))
        return "ms" if ascending and whole[0] >= 1_000_000 and whole[-1] <= 86_400_000 else "integer"
    if every(r"[-+$]?[\d.,]*\d(e[-+]?\d+)?"):
        try:
            numbers = [float(value) for value in given]
        except ValueError:
            return "number"
        ascending = all(a <= b for a, b in pairwise(numbers))
        if ascending and numbers[0] >= 3_600 and numbers[-1] <= 86_400 and numbers[-1] > numbers[0] and "." in given[0]:
            return "seconds"
        return "epoch" if every(r"1\d{9}\.\d+") and ascending else "number"
    if every(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[ap]m)?"):
        return "clock"
    if every(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[- ][a-z]{3}[- ,]+\d{4}|[a-z]{3} \d{1,2}, ?\d{4}"):
        return "date"
    if every(r"(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|(19|20)\d{6}|\d{1,2}[- ][a-z]{3}[- ,]+\d{4})[t ,-]+\d{1,2}:?\d\d.*"):
        return "stamp"
    return "text"


_KINDS: Final = {
    "number": {"number", "integer", "bool", "sign", "ms", "seconds", "date", "epoch", "empty"},
    "integer": {"integer", "bool", "sign", "ms", "date", "epoch"},
    "seconds": {"seconds", "number"},
    "ms": {"ms"},
    "bool": {"bool"},
    "sign": {"sign"},
    "epoch": {"epoch"},
    "clock": {"clock"},
    "date": {"date"},
    "stamp": {"stamp", "date"},
    "text": {"text", "integer", "bool", "empty", "sign", "number"},
}
"""Kinds of values that each kind of a layout admits."""


def _fits(shape: Sequence[str], kinds: Sequence[str]) -> bool:
    """Return whether values of some kinds fit the shape of a layout."""
    return (
        bool(shape)
        and len(shape) == len(kinds)
        and all(kind in _KINDS[wanted] for wanted, kind in zip(shape, kinds, strict=True))
    )


def _given(field: str, name: str, header: Sequence[str], names: Sequence[str], width: int) -> int:
    """Return the number of a column that the user gave by name or number."""
    if name in header:
        return list(header).index(name)
    if plain_name(name) in names:
        return names.index(plain_name(name))
    if name.isdigit() and 1 <= int(name) <= width:
        return int(name) - 1
    known = ", ".join(item for item in header if item) or f"numbers from 1 to {width}"
    raise ValueError(f"columns: {field}={name} is none of the columns ({known[:200]})")


def _missing(kind: str, missing: Sequence[str], header: Sequence[str], sample: Sequence[Sequence[str]]) -> str:
    """Return the message that columns are missing."""
    found = "columns " + ", ".join(header) if any(header) else "no header; the first row is " + ", ".join(sample[0])
    return (
        f"no column for {', '.join(missing)} of {kind} ({' '.join(found.split())[:300]}); "
        f"name the columns, for example --columns {missing[0]}=NAME, or choose a --layout"
    )
