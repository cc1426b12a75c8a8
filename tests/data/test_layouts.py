"""Bars as vendors deliver them: each file gives the same bars to every digit, with the right clock."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars

# exchange_calendars calls what pandas deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning")

NEW_YORK = "America/New_York"


class Bar(NamedTuple):
    """One bar; the time is its start in UTC."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


def moment(day: str, clock: str, zone: str = NEW_YORK) -> datetime:
    return datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def bars(*starts: datetime, digits: int = 2, volume: float = 1.0) -> list[Bar]:
    rng = np.random.default_rng(7)
    made = []
    for start in starts:
        first, last = (round(float(price), digits) for price in rng.normal(170.0, 1.0, 2))
        high, low = round(max(first, last) + 0.07, digits), round(min(first, last) - 0.05, digits)
        made.append(Bar(start, first, high, low, last, round(float(rng.integers(1_000, 900_000)) * volume, 5)))
    return made


MINUTES = bars(*(moment(day, f"09:{30 + at}") for day in ("2024-03-08", "2024-03-11") for at in range(6)))
"""Minutes of two days, between which New York changes its clocks."""
ONE_DAY = MINUTES[6:]
DAYS = bars(*(moment(f"2024-03-{day:02d}", "00:00") for day in (7, 8, 11, 12, 13)))
CRYPTO = bars(*(datetime(2025, 1, 1, 0, at, tzinfo=UTC) for at in range(8)), volume=1e-5)


@dataclass(frozen=True)
class Delivery:
    """Some bars as a vendor delivers them, and what must be read."""

    name: str
    content: str | bytes
    layout: str
    zone: str
    stamp: str
    expected: list[Bar]
    file: str = "bars.csv"
    minutes: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    has_volume: bool = True
    choice: str = ""
    """Words of a choice that the provenance says."""


def table(header: str, rows: list[Bar], line: Callable[[Bar], str], end: str = "\n") -> str:
    return end.join([*([header] if header else []), *map(line, rows)]) + end


def when(bar: Bar, form: str, zone: str = NEW_YORK, shift: int = 0) -> str:
    return (bar.time + timedelta(minutes=shift)).astimezone(ZoneInfo(zone)).strftime(form)


def epoch(bar: Bar, scale: int = 1) -> int:
    return int(bar.time.timestamp()) * scale


def shares(bar: Bar) -> str:
    return f"{bar.volume:.0f}"


def ohlc(bar: Bar, separator: str = ",") -> str:
    return separator.join(map(str, bar[1:5]))


def ohlcv(bar: Bar, separator: str = ",") -> str:
    return ohlc(bar, separator) + separator + (shares(bar) if bar.volume == int(bar.volume) else str(bar.volume))


def fixed(bar: Bar, scale: int) -> str:
    return ",".join(str(round(price * scale)) for price in bar[1:5])


def german(value: float) -> str:
    return str(value).replace(".", ",")


def zipped(name: str, content: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return target.getvalue()


def kline(bar: Bar, scale: int) -> str:
    start = epoch(bar, scale)
    return f"{start},{ohlcv(bar)},{start + 60 * scale - 1},1234.5,77,0.5,6.25,0"


def objects(rows: list[Bar], time: Callable[[Bar], Any], names: str, **more: Any) -> list[dict[str, Any]]:
    keys = names.split()
    return [{keys[0]: time(bar), **dict(zip(keys[1:6], bar[1:], strict=True)), **more} for bar in rows]


NEWEST_FIRST = MINUTES[::-1]
THREE_ROWS = "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\n"
MASSIVE = "ticker,volume,open,close,high,low,window_start,transactions"
DATABENTO = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol"
KLINES = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
STOOQ = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
MT5 = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
OTHER = MINUTES[0]._replace(open=9.0, high=9.5, low=8.5, close=9.25)

DELIVERIES = [
    Delivery(
        "Yahoo, one header row, with a row of null",
        table(
            "Date,Open,High,Low,Close,Adj Close,Volume", DAYS, lambda b: f"{when(b, '%Y-%m-%d')},{ohlc(b)},{b.close},{shares(b)}"
        )
        + "2024-03-14,null,null,null,null,null,null\n",
        "yahoo", NEW_YORK, "start", DAYS, minutes=1440,
    ),
    Delivery(
        "yfinance, three header rows, minutes in UTC",
        THREE_ROWS + table("Datetime,,,,,", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S+00:00', 'UTC')},{b.close},{b.high},{b.low},{b.open},{shares(b)}"),
        "yfinance", "UTC", "start", MINUTES,
    ),
    Delivery(
        "yfinance, three header rows, days",
        THREE_ROWS + table("Date,,,,,", DAYS, lambda b: f"{when(b, '%Y-%m-%d')},{b.close},{b.high},{b.low},{b.open},{shares(b)}"),
        "yfinance", NEW_YORK, "start", DAYS, minutes=1440,
    ),
    Delivery(
        "yfinance, several instruments beside each other",
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\nTicker,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT\n"
        + table("Datetime" + "," * 10, MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S-05:00', 'Etc/GMT+5')},9.25,{b.close},9.5,{b.high},8.5,{b.low},9.0,{b.open},77,{shares(b)}"),
        "yfinance", "UTC", "start", MINUTES, options={"symbol": "MSFT"},
    ),
    Delivery(
        "Alpha Vantage, newest first",
        table("timestamp,open,high,low,close,volume", NEWEST_FIRST, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S')},{b.open:.4f},{b.high:.4f},{b.low:.4f},{b.close:.4f},{shares(b)}", "\r\n"),
        "alpha-vantage", NEW_YORK, "", MINUTES, choice="descend",
    ),
    Delivery(
        "Alpha Vantage JSON",
        json.dumps(
            {
                "Meta Data": {"1. Information": "Intraday (1min)", "2. Symbol": "AAPL", "3. Last Refreshed": "2024-03-11 19:59:00", "4. Interval": "1min", "5. Output Size": "Full size", "6. Time Zone": "US/Eastern"},
                "Time Series (1min)": {
                    when(b, "%Y-%m-%d %H:%M:%S"): {"1. open": f"{b.open:.4f}", "2. high": f"{b.high:.4f}", "3. low": f"{b.low:.4f}", "4. close": f"{b.close:.4f}", "5. volume": shares(b)}
                    for b in NEWEST_FIRST
                },
            },
            indent=4,
        ),
        "alpha-vantage-json", "US/Eastern", "", MINUTES, "query.json",
    ),
    Delivery(
        "Twelve Data, newest first",
        table("datetime;open;high;low;close;volume", NEWEST_FIRST, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S')};{ohlcv(b, ';')}"),
        "twelve-data", NEW_YORK, "start", MINUTES,
    ),
    Delivery(
        "Twelve Data JSON",
        json.dumps(
            {
                "meta": {"symbol": "AAPL", "interval": "1min", "currency": "USD", "exchange_timezone": NEW_YORK, "exchange": "NASDAQ", "mic_code": "XNGS", "type": "Common Stock"},
                "values": [{"datetime": when(b, "%Y-%m-%d %H:%M:%S"), "open": f"{b.open:.5f}", "high": f"{b.high:.5f}", "low": f"{b.low:.5f}", "close": f"{b.close:.5f}", "volume": shares(b)} for b in NEWEST_FIRST],
                "status": "ok",
            }
        ),
        "twelve-data-json", NEW_YORK, "start", MINUTES, "values.json",
    ),
    Delivery(
        "Massive (Polygon) flat file of all instruments",
        gzip.compress(
            (
                MASSIVE + f"\nA,77,9.0,9.25,9.5,8.5,{epoch(OTHER, 10**9)},5\n"
                + table("", MINUTES, lambda b: f"AAPL,{shares(b)},{b.open},{b.close},{b.high},{b.low},{epoch(b, 10**9)},57")
            ).encode()
        ),
        "polygon", "UTC", "start", MINUTES, "2024-03-08.csv.gz", options={"symbol": "AAPL"},
    ),
    Delivery(
        "Massive (Polygon) JSON",
        json.dumps({"ticker": "AAPL", "queryCount": 12, "resultsCount": 12, "adjusted": True, "results": objects(MINUTES, lambda b: epoch(b, 1000), "t o h l c v", vw=170.1, n=57), "status": "OK", "request_id": "x", "count": 12}),
        "polygon-json", "UTC", "start", MINUTES, "aggs.json",
    ),
    Delivery(
        "Alpaca, table of the Python client",
        table("symbol,timestamp,open,high,low,close,volume,trade_count,vwap", MINUTES, lambda b: f"AAPL,{when(b, '%Y-%m-%d %H:%M:%S+00:00', 'UTC')},{ohlc(b)},{b.volume},57.0,170.1"),
        "alpaca", "UTC", "start", MINUTES,
    ),
    Delivery(
        "Alpaca JSON of several instruments",
        json.dumps({"bars": {"AAPL": objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=57, vw=170.1), "MSFT": objects([OTHER, *MINUTES[1:]], lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=5, vw=9.1)}, "next_page_token": None}),
        "polygon-json", "UTC", "start", MINUTES, "bars.json", options={"symbol": "AAPL"},
    ),
    Delivery(
        "Alpaca JSON of one instrument",
        json.dumps({"bars": objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=57, vw=170.1), "symbol": "AAPL", "next_page_token": None}),
        "polygon-json", "UTC", "start", MINUTES, "bars.json",
    ),
    Delivery(
        "Databento, fixed-point prices and nanoseconds",
        table(DATABENTO, MINUTES, lambda b: f"{epoch(b, 10**9)},33,2,32,{fixed(b, 10**9)},{shares(b)},AAPL"),
        "databento-ohlcv", "UTC", "start", MINUTES, "xnas-itch-20240308.ohlcv-1m.csv",
    ),
    Delivery(
        "Databento, pretty",
        table(DATABENTO, MINUTES, lambda b: f"{when(b, '%Y-%m-%dT%H:%M:%S.000000000Z', 'UTC')},33,2,32,{b.open:.9f},{b.high:.9f},{b.low:.9f},{b.close:.9f},{shares(b)},AAPL"),
        "databento-ohlcv", "UTC", "start", MINUTES,
    ),
    Delivery("Binance klines, ms, no header", table("", CRYPTO, lambda b: kline(b, 10**3)), "binance-klines", "UTC", "start", CRYPTO),
    Delivery("Binance klines, us, no header, zip", zipped("BTCUSDT-1m-2025-01.csv", table("", CRYPTO, lambda b: kline(b, 10**6))), "binance-klines", "UTC", "start", CRYPTO, "BTCUSDT-1m-2025-01.zip"),
    Delivery("Binance klines, futures, header", table(KLINES, CRYPTO, lambda b: kline(b, 10**3)), "binance-klines", "UTC", "start", CRYPTO),
    Delivery(
        "Binance klines JSON",
        json.dumps([[epoch(b, 1000), *map(str, b[1:]), epoch(b, 1000) + 59_999, "1234.5", 77, "0.5", "6.25", "0"] for b in CRYPTO]),
        "binance-klines", "UTC", "start", CRYPTO, "klines.json",
    ),
    Delivery("Kibot", table("", MINUTES, lambda b: f"{when(b, '%m/%d/%Y,%H:%M')},{ohlcv(b)}", "\r\n"), "kibot", NEW_YORK, "start", MINUTES, "AAPL.txt"),
    Delivery("Kibot, days", table("", DAYS, lambda b: f"{when(b, '%m/%d/%Y')},{ohlcv(b)}", "\r\n"), "bars-of-days", NEW_YORK, "", DAYS, "AAPL.txt", minutes=1440),
    Delivery("FirstRate", table("", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S')},{ohlcv(b)}"), "firstrate", NEW_YORK, "start", MINUTES, "AAPL_full_1min_adjsplit.txt"),
    Delivery("FirstRate, header", table("timestamp,open,high,low,close,volume", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S')},{ohlcv(b)}"), "columns by name", NEW_YORK, "", MINUTES),
    Delivery(
        "Stooq, archive of five minutes, Polish time",
        table(STOOQ, MINUTES, lambda b: f"AAPL.US,5,{when(b, '%Y%m%d,%H%M%S', 'Europe/Warsaw')},{ohlcv(b)},0", "\r\n"),
        "stooq", "Europe/Warsaw", "start", MINUTES, "aapl.us.txt", choice="Europe/Warsaw",
    ),
    Delivery("Stooq, archive of days", table(STOOQ, DAYS, lambda b: f"AAPL.US,D,{when(b, '%Y%m%d')},000000,{ohlcv(b)},0", "\r\n"), "stooq", NEW_YORK, "start", DAYS, "aapl.us.txt", minutes=1440),
    Delivery("Stooq, page of days", table("Date,Open,High,Low,Close,Volume", DAYS, lambda b: f"{when(b, '%Y-%m-%d')},{ohlcv(b)}", "\r\n"), "columns by name", NEW_YORK, "", DAYS, "aapl_us_d.csv", minutes=1440),
    Delivery(
        "Interactive Brokers, lines of the API",
        table("", MINUTES, lambda b: f"HistoricalData. ReqId: 4101 BarData. Date: {when(b, '%Y%m%d %H:%M:%S')} US/Eastern, Open: {b.open}, High: {b.high}, Low: {b.low}, Close: {b.close}, Volume: {shares(b)}, WAP: 170.1, BarCount: 57"),
        "tws", "US/Eastern", "start", MINUTES, "tws.log", choice="lots",
    ),
    Delivery(
        "Interactive Brokers, lines of the older API",
        table("", MINUTES, lambda b: f"HistoricalData. ReqId: 4101 BarData. Date: {when(b, '%Y%m%d  %H:%M:%S')}, Open: {b.open}, High: {b.high}, Low: {b.low}, Close: {b.close}, Volume: {shares(b)}, Average: 170.1, BarCount: 57"),
        "tws", NEW_YORK, "start", MINUTES, "tws.log",
    ),
    Delivery(
        "ib_async, table with an index",
        table(",date,open,high,low,close,volume,average,barCount", MINUTES, lambda b: f"{MINUTES.index(b)},{when(b, '%Y-%m-%d %H:%M:%S-05:00', 'Etc/GMT+5')},{ohlc(b)},{b.volume},170.1,57"),
        "ib-async", "UTC", "start", MINUTES, choice="lots",
    ),
    Delivery("TradingView, epochs", table("time,open,high,low,close,Volume", MINUTES, lambda b: f"{epoch(b)},{ohlcv(b)}"), "tradingview", "UTC", "start", MINUTES, "BATS_AAPL, 1.csv"),
    Delivery(
        "TradingView, offsets and indicators",
        table("time,open,high,low,close,Volume,RSI,RSI-based MA", MINUTES, lambda b: f"{when(b, '%Y-%m-%dT%H:%M:%SZ', 'UTC')},{ohlcv(b)},NaN,55.5"),
        "tradingview", "UTC", "start", MINUTES,
    ),
    Delivery(
        "Lean, minutes of one day",
        zipped("20240311_aapl_minute_trade.csv", table("", ONE_DAY, lambda b: f"{(int(when(b, '%H')) * 60 + int(when(b, '%M'))) * 60_000},{fixed(b, 10**4)},{shares(b)}")),
        "lean-minute-trade", NEW_YORK, "start", ONE_DAY, "20240311_trade.zip",
    ),
    Delivery(
        "Lean, days",
        zipped("aapl.csv", table("", DAYS, lambda b: f"{when(b, '%Y%m%d 00:00')},{fixed(b, 10**4)},{shares(b)}")),
        "lean-daily", NEW_YORK, "start", DAYS, "aapl.zip", minutes=1440,
    ),
    Delivery("date and time in two columns", table("Date,Time,Open,High,Low,Close,Volume", MINUTES, lambda b: f"{when(b, '%m/%d/%Y,%H:%M:%S')},{ohlcv(b)}"), "columns by name", NEW_YORK, "", MINUTES),
    Delivery("date and time in two columns, 12 hours", table("Date,Time,Open,High,Low,Close,Volume", MINUTES, lambda b: f"{when(b, '%m/%d/%Y,%I:%M %p')},{ohlcv(b)}"), "columns by name", NEW_YORK, "", MINUTES),
    Delivery(
        "German names, semicolons, decimal commas, latin-1",
        table("Datum;Zeit;Eröffnung;Hoch;Tief;Schluss;Volumen", MINUTES, lambda b: f"{when(b, '%d.%m.%Y;%H:%M:%S', 'Europe/Berlin')};{';'.join(map(german, b[1:5]))};{shares(b)}").encode("latin-1"),
        "columns by name", "Europe/Berlin", "", MINUTES, options={"tz": "Europe/Berlin"},
    ),
    Delivery("tabs", table("ts\topen\thigh\tlow\tclose\tvolume", MINUTES, lambda b: f"{when(b, '%Y-%m-%dT%H:%M:%S')}\t" + ohlcv(b, "\t")), "columns by name", NEW_YORK, "", MINUTES, "bars.tsv"),
    Delivery("commas between thousands", table("ts,open,high,low,close,volume", MINUTES, lambda b: f'{when(b, "%Y-%m-%d %H:%M")},{ohlc(b)},"{b.volume:,.0f}"'), "columns by name", NEW_YORK, "", MINUTES, choice="thousands"),
    Delivery("UTF-16", table("ts,open,high,low,close,volume", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M')},{ohlcv(b)}", "\r\n").encode("utf-16"), "columns by name", NEW_YORK, "", MINUTES),
    Delivery("UTF-8 with a byte order mark, names in capitals", ("\ufeff" + table("TS,OPEN,HIGH,LOW,CLOSE,VOLUME", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M')},{ohlcv(b)}")).encode(), "columns by name", NEW_YORK, "", MINUTES),
    Delivery("pandas, unnamed index of times", table(",open,high,low,close,volume", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S')},{ohlcv(b)}"), "columns by name", NEW_YORK, "", MINUTES),
    Delivery("pandas, unnamed index of numbers", table(",ts,open,high,low,close,volume", MINUTES, lambda b: f"{MINUTES.index(b)},{when(b, '%Y-%m-%dT%H:%M:%S%z')},{ohlcv(b)}"), "columns by name", "UTC", "", MINUTES),
    Delivery("NinjaTrader, ends in UTC", table("", MINUTES, lambda b: f"{when(b, '%Y%m%d %H%M%S', 'UTC', 1)};{ohlcv(b, ';')}", "\r\n"), "ninjatrader", "UTC", "end", MINUTES, "AAPL.Last.txt"),
    Delivery("HistData, New York winter time, no volume", table("", MINUTES, lambda b: f"{when(b, '%Y%m%d %H%M%S', 'Etc/GMT+5')};{ohlc(b, ';')};0"), "histdata", "Etc/GMT+5", "start", [b._replace(volume=0.0) for b in MINUTES], "DAT_ASCII_EURUSD_M1_202403.csv", has_volume=False),
    Delivery("MetaTrader 5", table(MT5, MINUTES, lambda b: when(b, "%Y.%m.%d\t%H:%M:%S", "Europe/Helsinki") + "\t" + ohlc(b, "\t") + f"\t412\t{shares(b)}\t28", "\r\n"), "metatrader-5", "Europe/Helsinki", "start", MINUTES, options={"tz": "Europe/Helsinki"}),
    Delivery("MetaTrader 4", table("", MINUTES, lambda b: f"{when(b, '%Y.%m.%d,%H:%M')},{ohlcv(b)}"), "metatrader-4", NEW_YORK, "start", MINUTES, options={"tz": NEW_YORK}),
    Delivery(
        "investing.com, newest first",
        "\ufeff" + table('"Date","Price","Open","High","Low","Vol.","Change %"', DAYS[::-1], lambda b: f'"{when(b, "%m/%d/%Y")}","{b.close}","{b.open}","{b.high}","{b.low}","{b.volume / 1e3:.2f}K","-0.38%"'),
        "investing", NEW_YORK, "", [b._replace(volume=round(b.volume, -1)) for b in DAYS], minutes=1440,
    ),
    Delivery("Nasdaq.com, newest first", table("Date,Close/Last,Volume,Open,High,Low", DAYS[::-1], lambda b: f"{when(b, '%m/%d/%Y')},${b.close},{shares(b)},${b.open},${b.high},${b.low}"), "nasdaq", NEW_YORK, "", DAYS, minutes=1440),
    Delivery("Dukascopy", table("Gmt time,Open,High,Low,Close,Volume", MINUTES, lambda b: f"{when(b, '%d.%m.%Y %H:%M:%S.000', 'UTC')},{ohlcv(b)}"), "dukascopy", "UTC", "start", MINUTES),
    Delivery("kdb+, date and timespan", table("date,sym,time,open,high,low,close,size", MINUTES, lambda b: f"{when(b, '%Y.%m.%d')},AAPL,{when(b, '0D%H:%M:%S.000000000')},{ohlcv(b)}"), "columns by name", NEW_YORK, "", MINUTES),
    Delivery("kdb+, timestamp", table("sym|time|open|high|low|close|size", MINUTES, lambda b: f"AAPL|{when(b, '%Y.%m.%dD%H:%M:%S.000000000', 'UTC')}|{ohlcv(b, '|')}"), "columns by name", "UTC", "", MINUTES, options={"tz": "UTC"}),
    Delivery("JSON lines", "".join(json.dumps(row) + "\n" for row in objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%S%z"), "ts open high low close volume")), "columns by name", "UTC", "", MINUTES, "bars.jsonl"),
    Delivery(
        "Yahoo chart JSON",
        json.dumps({"chart": {"result": [{"meta": {"symbol": "AAPL", "exchangeTimezoneName": NEW_YORK, "gmtoffset": -18000}, "timestamp": [epoch(b) for b in MINUTES], "indicators": {"quote": [{key: [getattr(b, key) for b in MINUTES] for key in ("low", "volume", "open", "high", "close")}]}}], "error": None}}),
        "yahoo-chart-json", "UTC", "start", MINUTES, "chart.json",
    ),
    Delivery("epochs of seconds", table("ts,open,high,low,close,volume", MINUTES, lambda b: f"{epoch(b)},{ohlcv(b)}"), "columns by name", "UTC", "", MINUTES),
    Delivery("named zone in each stamp", table("ts,open,high,low,close,volume", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S', 'Europe/London')} Europe/London,{ohlcv(b)}"), "columns by name", "Europe/London", "", MINUTES),
    Delivery("New York winter and summer time in each stamp", table("ts,open,high,low,close,volume", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S %Z')},{ohlcv(b)}"), "columns by name", "UTC", "", MINUTES),
    Delivery("lines above the header", "Exported by a desk\n# 2024, AAPL\n\n" + table("ts,open,high,low,close,volume", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M')},{ohlcv(b)}"), "columns by name", NEW_YORK, "", MINUTES),
    Delivery("columns by number", table("", MINUTES, lambda b: f"x,{b.close},{b.low},{b.high},{b.open},{shares(b)},{when(b, '%Y-%m-%d %H:%M')}"), "columns by number", NEW_YORK, "", MINUTES, options={"columns": ("ts=7", "open=5", "high=4", "low=3", "close=2", "volume=6")}),
    Delivery("names given", table("when,a,b,c,d,e", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M')},{ohlcv(b)}"), "columns by name", NEW_YORK, "", MINUTES, options={"columns": ("ts=when,open=a,high=b,low=c,close=d", "volume=e")}),
]  # fmt: skip


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def nanoseconds(moments: list[datetime]) -> list[int]:
    return [round(moment.timestamp()) * 10**9 for moment in moments]


@pytest.mark.parametrize("delivery", DELIVERIES, ids=lambda delivery: delivery.name)
def test_bars_of_a_vendor_are_read_as_delivered(tmp_path, delivery):
    path = write(tmp_path, delivery.file, delivery.content)
    table = read_bars(path, Format(**delivery.options))
    shift = timedelta(minutes=delivery.minutes if delivery.stamp == "end" else 0)
    assert table.time.tolist() == nanoseconds([bar.time + shift for bar in delivery.expected])
    for key in ("open", "high", "low", "close", "volume"):
        assert getattr(table, key).tolist() == [getattr(bar, key) for bar in delivery.expected], key
    origin = table.provenance
    assert (origin.layout, origin.zone, table.stamp) == (delivery.layout, delivery.zone, delivery.stamp)
    assert (table.minutes, table.has_volume) == (delivery.minutes, delivery.has_volume)
    assert delivery.choice in " ".join(origin.choices)
