"""Layouts of data: which column holds what, for the vendors that are recognised, and for any file with usual names.

A layout is one record. A layout with a header is recognised by names (and other signs) that only it has; a layout without one
by the kinds of its values. A header that no layout claims is read by the usual names of :data:`NAMES`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

__all__ = ["FIELDS", "LAYOUTS", "NAMES", "Layout", "plain_name"]


class Layout(NamedTuple):
    """The layout of one kind of data of a vendor."""

    name: str
    kind: str
    """bars, trades, quotes, messages or fills."""
    needs: frozenset[str] = frozenset()
    """Signs that data of this layout have, and others do not all have; empty for a layout without header. A sign is a plain
    name of a column; a name as written, in lower case; or one of "separator ;", "json", "tickers" (a row or level of
    instruments below the names), "offset" (stamps in the first column that are epochs or carry an offset), "text stamps",
    "newest first", "6 columns", and "names ..." (the first four columns)."""
    shape: tuple[str, ...] = ()
    """Kinds of the values of each column, for a layout without header; see :func:`~hyperexec_env.data.recognise.value_kind`.
    "near" is a price like that in the column before, "top" one that no price in the three columns after it exceeds."""
    columns: tuple[tuple[str, str | int], ...] = ()
    """Columns by plain name (or by number from 0, for a layout without header), where they differ from :data:`NAMES`."""
    zone: str = ""
    """Time zone of stamps without an offset; "" for that of the exchange. Days are always those of the exchange."""
    stamp: str = ""
    """Whether the time of a bar is its start or its end; "" if it is not fixed."""
    units: float = 1.0
    """Units of a price that make one unit of currency."""
    is_local: bool = False
    """Whether epochs count by a local clock, so that a given zone applies to them."""
    carries: bool = False
    """Whether a blank bid or offer is the last one before it."""
    note: str = ""
    """Sentence for the report on what these data leave open."""


FIELDS: Final = {
    "bars": ("open", "high", "low", "close"),
    "trades": ("price", "size"),
    "quotes": ("bid", "ask"),
    "messages": ("type", "size", "price", "direction"),
    "fills": ("quantity", "price"),
}
"""Fields that each kind of data needs beside the time."""

_TIME: Final = {
    "ts": "ts timestamp datetime date_time dates ts_event open_time opentime window_start timestamp_utc time_utc utc "
    "local_ts_ns bar_time bar_start start_time gmt_time local_time date_gmt trade_time quote_time quote_datetime event_time "
    "transact_time transaction_time sip_timestamp unix unix_time unixtime epoch t 日時 time date 日付 日期 index",
    "date": "date day trade_date tradingday trading_day dtyyyymmdd datum fecha data 日付 日期",
    "time": "time time_of_day timeofday hhmmss zeit uhrzeit heure hora ora ms milliseconds time_m seconds 時刻 时间",
    "symbol": "symbol ticker sym instrument instrument_id code isin ric s sym_root security underlying_symbol",
}
_FILLS: Final = {
    "ts": "transact_time 60 exec_time execution_time fill_time ts timestamp datetime date_time time_utc utc trade_time "
    "event_time trade_date_time time date index",
    "date": "date trade_date exec_date execution_date fill_date 75",
    "time": "time exec_time execution_time fill_time trade_time time_of_day transact_time",
    "symbol": "symbol 55 ticker sym instrument security ric isin code instrument_id",
    "side": "side 54 buy_sell b_s bs direction action transaction_type trade_side order_side",
    "quantity": "last_qty last_shares 32 fill_qty fill_quantity filled_qty filled_quantity filled exec_qty exec_quantity "
    "executed_qty executed_quantity trade_qty trade_quantity quantity qty shares size volume amount",
    "price": "last_px last_price 31 fill_price exec_price execution_price executed_price trade_price price px avg_px avg_price",
    "order_id": "parent_order_id parent_id order_id 37 cl_ord_id client_order_id 11 order_number order_no order_ref perm_id "
    "order",
    "exec_id": "exec_id 17 execution_id fill_id trade_id exec_no",
    "exec_type": "exec_type 150 execution_type",
    "exec_trans_type": "exec_trans_type 20",
    "exec_ref_id": "exec_ref_id 19 ref_exec_id ref_id",
    "broker": "broker exec_broker 76 executing_broker broker_name broker_code counterparty dealer",
    "algorithm": "algorithm algo strategy algo_name strategy_name target_strategy 847 algo_strategy",
    "fee": "fee fees commission 12 comm commissions total_fees comm_fee commission_amount",
    "currency": "currency 15 ccy",
    "venue": "venue last_mkt 30 exec_venue execution_venue fill_venue trade_venue mic last_market exchange",
    "liquidity": "liquidity last_liquidity_ind 851 last_liquidity liquidity_ind liquidity_flag liquidity_indicator maker_taker",
    "ordered": "order_qty 38 order_quantity ordered ordered_qty parent_qty target_qty total_qty",
    "arrival": "arrival_time arrival decision_time order_time order_entry_time entry_time creation_time",
    "arrival_price": "arrival_price arrival_px arrival_mid decision_price strike_price",
}
"""Names of the columns of executions, with the tags of FIX."""


def _spellings(names: str) -> str:
    """Return names with their spellings without underscores, and tags of FIX beside their names (54_side, side_54)."""
    words = names.split()
    tags = [word for word in words if word.isdigit()]
    both = [
        f"{tag}_{word.replace('_', '')} {word.replace('_', '')}_{tag}" for tag in tags for word in words if word not in tags
    ]
    return " ".join([*words, *(word.replace("_", "") for word in words), *both, *(f"tag_{tag} tag{tag}" for tag in tags)])


NAMES: Final[dict[str, dict[str, str]]] = {
    "fills": {field: _spellings(names) for field, names in _FILLS.items()},
    "bars": {
        **_TIME,
        "open": "open o open_price opening_price px_open first opn eroeffnung eroffnung eroffn erster ouverture ouv apertura "
        "abertura 始値 开盘 开盘价",
        "high": "high h high_price px_high max hi hoch plus_haut haut maximo maxima massimo 高値 最高 最高价",
        "low": "low l low_price px_low min lo tief plus_bas bas minimo minima 安値 最低 最低价",
        "close": "close c last close_price closing_price px_last last_price close_last price schluss schlusskurs zuletzt "
        "cloture clot dernier cierre ultimo chiusura 終値 收盘 收盘价",
        "volume": "volume vol v volume_shares px_volume shares size qty quantity base_volume total_volume stuecke stucke "
        "volumen trade_volume tickvol 出来高 成交量",
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
        "action": "",
    },
    "quotes": {
        **_TIME,
        "bid": "bid bid_price bidprice bp bid_px bid_px_00 best_bid best_bid_price b bid_close bid_1 bid_price_1",
        "ask": "ask ask_price askprice ap ask_px ask_px_00 best_ask best_ask_price a ask_close offer ask_1 ask_price_1 ofr",
        "bid_size": "bid_size bidsize bs bid_sz bid_sz_00 best_bid_qty best_bid_size bid_qty bid_volume bidsiz bid_size_1",
        "ask_size": "ask_size asksize as ask_sz ask_sz_00 best_ask_qty best_ask_size ask_qty ask_volume asksiz ofrsiz",
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


def _needs(*signs: str) -> frozenset[str]:
    """Return signs: the words of the first text, and each further text as it is."""
    return frozenset([*signs[0].split(), *signs[1:]])


_OHLCV: Final = (("open", 1), ("high", 2), ("low", 3), ("close", 4), ("volume", 5))
_TWO: Final = (("date", 0), ("time", 1), ("open", 2), ("high", 3), ("low", 4), ("close", 5), ("volume", 6))
_NEW_YORK: Final = "America/New_York"
_LOTS: Final = "Interactive Brokers may count the volume of US shares in lots of 100; compare it with the daily volume"
_SERVER: Final = (
    "MetaTrader stamps bars by the clock of the broker's server, which the file does not state; pass --tz if it differs"
)
_TICKVOL: Final = "tick volume counts changes of the price, not shares: it is not read without --columns volume="

_BARS: Final = (
    Layout("databento-ohlcv", "bars", _needs("ts_event rtype open high low close"), zone="UTC", stamp="start"),
    Layout(
        "binance-klines", "bars", _needs("open_time close_time open high low close"), (), (("ts", "open_time"),),
        "UTC", "start",
    ),
    Layout("polygon", "bars", _needs("window_start transactions open close"), stamp="start"),
    Layout("alpaca-json", "bars", _needs("o h l c v t vw json", "text stamps"), (), (("ts", "t"),), "UTC", "start"),
    Layout("polygon-json", "bars", _needs("o h l c v t vw json"), (), (("ts", "t"),), "UTC", "start"),
    Layout("alpaca", "bars", _needs("timestamp open high low close trade_count vwap"), zone="UTC", stamp="start"),
    Layout("alpha-vantage-json", "bars", _needs("json", "1. open", "4. close")),
    Layout("alpha-vantage", "bars", _needs("timestamp", "names timestamp open high low", "newest first")),
    Layout("twelve-data", "bars", _needs("datetime open high low close", "separator ;", "newest first"), stamp="start"),
    Layout("twelve-data-json", "bars", _needs("datetime open high low close json"), stamp="start"),
    Layout("yfinance", "bars", _needs("open high low close volume tickers"), stamp="start"),
    Layout("yahoo", "bars", _needs("date open high low close adj_close volume"), (), (("ts", "date"),), stamp="start"),
    Layout("yahoo-chart-json", "bars", _needs("timestamp open high low close json"), stamp="start"),
    Layout(
        "stooq", "bars", _needs("ticker per date time open high low close vol openint"), (), (("date", "date"),
        ("time", "time")),
        "Europe/Warsaw", "start",
    ),
    Layout(
        "tws", "bars", _needs("date open high low close volume", "api lines"), (), (("ts", "date"),), stamp="start",
        note=_LOTS,
    ),
    Layout(
        "ib-async", "bars", _needs("date open high low close volume average barcount"), (), (("ts", "date"),), stamp="start",
        note=_LOTS,
    ),
    Layout("investing", "bars", _needs("date price open high low vol", "change"), (), (("ts", "date"), ("close", "price"))),
    Layout("nasdaq", "bars", _needs("date close_last volume open high low"), (), (("ts", "date"), ("close", "close_last"))),
    Layout("dukascopy", "bars", _needs("gmt_time open high low close volume"), zone="UTC", stamp="start"),
    Layout(
        "metatrader-5", "bars", _needs("date time open high low close tickvol vol spread"), (),
        (("date", "date"), ("time", "time"), ("volume", "vol")), stamp="start", note=f"{_SERVER}; {_TICKVOL}TICKVOL",
    ),
    Layout(
        "metatrader-5-python", "bars", _needs("time open high low close tick_volume spread real_volume"), (),
        (("ts", "time"), ("volume", "real_volume")), stamp="start", is_local=True, note=f"{_SERVER}; {_TICKVOL}tick_volume",
    ),
    Layout(
        "algoseek", "bars", _needs("timebarstart firsttradeprice hightradeprice lowtradeprice lasttradeprice"), (),
        (("date", "date"), ("time", "timebarstart"), ("open", "firsttradeprice"), ("high", "hightradeprice"),
        ("low", "lowtradeprice"), ("close", "lasttradeprice"), ("trades", "totaltrades")), _NEW_YORK, "start",
    ),
    Layout(
        "deutsche-boerse-pds", "bars", _needs("mnemonic startprice maxprice minprice endprice tradedvolume"), (),
        (("symbol", "mnemonic"), ("open", "startprice"), ("high", "maxprice"), ("low", "minprice"), ("close", "endprice"),
        ("volume", "tradedvolume"), ("trades", "numberoftrades")), "UTC", "start",
        note="Deutsche Boerse calls TradedVolume a value, and it is read as shares; compare it with the daily volume",
    ),
    Layout(
        "lean-bars", "bars", _needs("date ms open high low close"), (), (("date", "date"), ("time", "ms")), _NEW_YORK, "start",
    ),
    Layout("tradingview", "bars", _needs("offset", "names time open high low"), (), (("ts", "time"),), stamp="start"),
    Layout(
        "binance-klines", "bars", frozenset(),
        ("epoch", *["number"] * 5, "epoch", "number", "integer", "number", "number", "number"),
        (("ts", 0), *_OHLCV, ("trades", 8)), "UTC", "start",
    ),
    Layout(
        "kraken", "bars", frozenset(), ("epoch", *["number"] * 5, "integer"), (("ts", 0), *_OHLCV, ("trades", 6)), "UTC",
        "start",
    ),
    Layout(
        "lean-minute-trade", "bars", frozenset(), ("ms", *["integer"] * 5), (("time", 0), *_OHLCV), _NEW_YORK, "start", 1e4,
    ),
    Layout(
        "lean-daily", "bars", frozenset(), ("hour", *["integer"] * 5), (("ts", 0), *_OHLCV), _NEW_YORK, "start", 1e4,
    ),
    Layout("metatrader-4", "bars", frozenset(), ("dotted", "clock", *["number"] * 5), _TWO, "", "start", note=_SERVER),
    Layout("kibot", "bars", frozenset(), ("date", "clock", *["number"] * 5), _TWO, _NEW_YORK, "start"),
    Layout(
        "histdata", "bars", frozenset(), ("compact", *["number"] * 4, "zero"), (("ts", 0), *_OHLCV[:4]), "Etc/GMT+5", "start",
        note="HistData stamps bars in the winter time of New York (UTC-5) all year, and has no volume",
    ),
    Layout(
        "ninjatrader", "bars", frozenset(), ("compact", *["number"] * 5), (("ts", 0), *_OHLCV), "UTC", "end",
        note="NinjaTrader exports stamps at the end of a bar in UTC; pass --tz and --stamp if the file was made otherwise",
    ),
    Layout(
        "iqfeed", "bars", frozenset(), ("stamp", "top", "near", "near", "near", "number", "number", "number"),
        (("ts", 0), ("high", 1), ("low", 2), ("open", 3), ("close", 4), ("volume", 6), ("trades", 7)), _NEW_YORK, "end",
        note="IQFeed stamps bars at their ends; pass --stamp start if they were asked for with labels at the beginning",
    ),
    Layout(
        "iqfeed-days", "bars", frozenset(), ("date", "top", "near", "near", "near", "number", "number"),
        (("ts", 0), ("high", 1), ("low", 2), ("open", 3), ("close", 4), ("volume", 5)),
    ),
    *(
        Layout(
            "quantquote", "bars", frozenset(), ("date", "integer", "number", "near", "near", "near", "number", *more), _TWO,
            _NEW_YORK,
        )
        for more in ((), ("number", "number", "number"))
    ),
    Layout("firstrate", "bars", frozenset(), ("stamp", *["number"] * 5), (("ts", 0), *_OHLCV), _NEW_YORK, "start"),
    Layout("bars-of-days", "bars", frozenset(), ("date", *["number"] * 5), (("ts", 0), *_OHLCV)),
    Layout("bars-without-volume", "bars", frozenset(), ("stamp", *["number"] * 4), (("ts", 0), *_OHLCV[:4])),
    Layout("bars-without-header", "bars", frozenset(), ("epoch", *["number"] * 5), (("ts", 0), *_OHLCV), "UTC"),
)  # fmt: skip

_TRADES: Final = (
    Layout(
        "databento-trades", "trades", _needs("ts_event rtype price size action"), (), (("ts", "ts_event"), ("action",
        "action")),
        "UTC",
    ),
    Layout("databento-trades", "trades", _needs("ts_event publisher_id price size"), zone="UTC"),
    Layout(
        "binance-aggtrades", "trades", _needs("agg_trade_id price quantity transact_time"), (), (("ts",
        "transact_time"),), "UTC",
    ),
    Layout("binance-trades", "trades", _needs("price qty time is_buyer_maker"), (), (("ts", "time"),), "UTC"),
    Layout("polygon-trades", "trades", _needs("sip_timestamp price size conditions"), (), (("ts", "sip_timestamp"),), "UTC"),
    Layout("alpaca-trades", "trades", _needs("t p s x json"), (), (("ts", "t"), ("size", "s")), "UTC"),
    Layout(
        "taq-trades", "trades", _needs("date time_m ex sym_root size price"), (), (("date", "date"), ("time",
        "time_m")), _NEW_YORK,
    ),
    Layout(
        "algoseek-trades", "trades", _needs("date timestamp eventtype price quantity"), (), (("date", "date"), ("time",
        "timestamp"), ("action", "eventtype")), _NEW_YORK,
    ),
    Layout(
        "lean-ticks", "trades", _needs("date ms price size condition suspicious"), (), (("date", "date"), ("time",
        "ms")), _NEW_YORK,
    ),
    Layout(
        "metatrader-5-ticks", "trades", _needs("date time bid ask last volume flags"), (),
        (("date", "date"), ("time", "time"), ("price", "last")), note=_SERVER,
    ),
    Layout(
        "binance-aggtrades", "trades", frozenset(),
        ("integer", "number", "number", "integer", "integer", "epoch", "bool", "bool"),
        (("ts", 5), ("price", 1), ("size", 2), ("side", 6)), "UTC",
    ),
    Layout(
        "binance-aggtrades", "trades", frozenset(), ("integer", "number", "number", "integer", "integer", "epoch", "bool"),
        (("ts", 5), ("price", 1), ("size", 2), ("side", 6)), "UTC",
    ),
    Layout(
        "binance-trades", "trades", frozenset(), ("integer", "number", "number", "number", "epoch", "bool", "bool"),
        (("ts", 4), ("price", 1), ("size", 2), ("side", 5)), "UTC",
    ),
    Layout(
        "binance-trades", "trades", frozenset(), ("integer", "number", "number", "number", "epoch", "bool"),
        (("ts", 4), ("price", 1), ("size", 2), ("side", 5)), "UTC",
    ),
    Layout(
        "kraken-trades", "trades", frozenset(), ("epoch", "number", "number"), (("ts", 0), ("price", 1), ("size", 2)), "UTC",
    ),
    Layout(
        "lean-tick-trade", "trades", frozenset(), ("ms", "integer", "integer", "text", "text", "bool"),
        (("time", 0), ("price", 1), ("size", 2), ("exchange", 3), ("condition", 4), ("suspicious", 5)), _NEW_YORK, units=1e4,
    ),
    Layout(
        "kibot-ticks", "trades", frozenset(), ("date", "clock", "number", "near", "near", "number"),
        (("date", 0), ("time", 1), ("price", 2), ("size", 5)), _NEW_YORK,
    ),
    Layout(
        "ninjatrader-ticks", "trades", frozenset(), ("compact", "number", "integer"), (("ts", 0), ("price", 1),
        ("size", 2)), "UTC",
    ),
)  # fmt: skip

_QUOTES: Final = (
    Layout("databento-mbp-1", "quotes", _needs("bid_px_00 ask_px_00"), (), (("ts", "ts_event"),), "UTC"),
    Layout("polygon-quotes", "quotes", _needs("sip_timestamp bid_price ask_price"), (), (("ts", "sip_timestamp"),), "UTC"),
    Layout("alpaca-quotes", "quotes", _needs("t bp ap bs json"), (), (("ts", "t"), ("ask_size", "as")), "UTC"),
    Layout(
        "taq-quotes", "quotes", _needs("date time_m ex bid ask sym_root"), (), (("date", "date"), ("time", "time_m")),
        _NEW_YORK,
    ),
    Layout(
        "binance-book-ticker", "quotes", _needs("best_bid_price best_ask_price transaction_time"), (), (("ts",
        "transaction_time"),),
        "UTC",
    ),
    Layout(
        "lean-quote-bars", "quotes", _needs("date ms bid_close ask_close"), (), (("date", "date"), ("time", "ms")), _NEW_YORK,
        note="each quote is the last of its interval, stamped at the start of the interval",
    ),
    Layout(
        "metatrader-5-ticks", "quotes", _needs("date time bid ask last volume flags"), (), (("date", "date"), ("time", "time")),
        note=_SERVER, carries=True,
    ),
    Layout(
        "lean-quote-bars", "quotes", frozenset(), ("ms", *["integer"] * 10),
        (("time", 0), ("bid", 4), ("bid_size", 5), ("ask", 9), ("ask_size", 10)), _NEW_YORK, units=1e4,
        note="each quote is the last of its interval, stamped at the start of the interval",
    ),
    Layout(
        "lean-tick-quote", "quotes", frozenset(), ("ms", *["integer"] * 4, "text", "text", "bool"),
        (("time", 0), ("bid", 1), ("bid_size", 2), ("ask", 3), ("ask_size", 4)), _NEW_YORK, units=1e4,
    ),
    Layout(
        "kibot-ticks", "quotes", frozenset(), ("date", "clock", "number", "near", "near", "number"),
        (("date", 0), ("time", 1), ("bid", 3), ("ask", 4)), _NEW_YORK,
    ),
)  # fmt: skip

_MESSAGES: Final = (
    Layout("lobster-message", "messages", _needs("time type size price direction"), zone=_NEW_YORK, units=1e4),
    Layout(
        "lobster-message", "messages", frozenset(), ("seconds", "integer", "integer", "integer", "integer", "sign"),
        (("time", 0), ("type", 1), ("order_id", 2), ("size", 3), ("price", 4), ("direction", 5)), _NEW_YORK, units=1e4,
    ),
)  # fmt: skip

_FIX: Final = tuple(
    Layout("fix", "fills", _needs(names), zone="UTC") for names in ("transacttime lastpx", "transact_time last_px", "60 31")
)

LAYOUTS: Final = (*_BARS, *_TRADES, *_QUOTES, *_MESSAGES, *_FIX)
"""All layouts, the more specific ones first."""


def plain_name(name: str) -> str:
    """Return the name of a column in lower case, words joined by underscores, without accents, numbering and brackets."""
    text = unicodedata.normalize("NFKD", name.strip().strip("<>[]\"'").lower())
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = re.sub(r"^\d+[ab]?\. ", "", text)
    return re.sub(r"[\W_]+", "_", re.sub(r"\(.*?\)", "", text)).strip("_")
