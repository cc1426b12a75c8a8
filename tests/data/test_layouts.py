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
STAMP = "%Y-%m-%d %H:%M:%S"


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
    layout: str = "columns by name"
    expected: list[Bar] = field(default_factory=lambda: MINUTES)
    zone: str = NEW_YORK
    stamp: str = ""
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


def stamped(form: str, zone: str = NEW_YORK, mark: str = ",", shift: int = 0, tail: str = "") -> Callable[[Bar], str]:
    """Return a function that writes a bar as stamp, prices and volume."""
    return lambda bar: when(bar, form, zone, shift) + mark + ohlcv(bar, mark) + tail


def prices(bar: Bar, names: str, digits: int = 2) -> dict[str, str]:
    """Return the values of a bar as JSON writes them as text."""
    texts = [*(f"{price:.{digits}f}" for price in bar[1:5]), shares(bar)]
    return dict(zip(names.split(","), texts, strict=True))


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
            "Date,Open,High,Low,Close,Adj Close,Volume",
            DAYS,
            lambda b: f"{when(b, '%Y-%m-%d')},{ohlc(b)},{b.close},{shares(b)}",
        )
        + "2024-03-14,null,null,null,null,null,null\n",
        "yahoo",
        DAYS,
        stamp="start",
        minutes=1440,
    ),
    Delivery(
        "yfinance, three header rows, minutes in UTC",
        THREE_ROWS
        + table(
            "Datetime,,,,,",
            MINUTES,
            lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S+00:00', 'UTC')},{b.close},{b.high},{b.low},{b.open},{shares(b)}",
        ),
        "yfinance",
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "yfinance, three header rows, days",
        THREE_ROWS
        + table("Date,,,,,", DAYS, lambda b: f"{when(b, '%Y-%m-%d')},{b.close},{b.high},{b.low},{b.open},{shares(b)}"),
        "yfinance",
        DAYS,
        stamp="start",
        minutes=1440,
    ),
    Delivery(
        "yfinance, several instruments beside each other",
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\nTicker,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT\n"
        + table(
            "Datetime" + "," * 10,
            MINUTES,
            lambda b: (
                f"{when(b, '%Y-%m-%d %H:%M:%S-05:00', 'Etc/GMT+5')},9.25,{b.close},9.5,{b.high},8.5,{b.low},9.0,{b.open},77,{shares(b)}"
            ),
        ),
        "yfinance",
        zone="UTC",
        stamp="start",
        options={"symbol": "MSFT"},
    ),
    Delivery(
        "Alpha Vantage, newest first",
        table(
            "timestamp,open,high,low,close,volume",
            NEWEST_FIRST,
            lambda b: f"{when(b, STAMP)},{','.join(prices(b, '1,2,3,4,5', 4).values())}",
            "\r\n",
        ),
        "alpha-vantage",
        choice="descend",
    ),
    Delivery(
        "Alpha Vantage JSON",
        json.dumps(
            {
                "Meta Data": {
                    "1. Information": "Intraday (1min)",
                    "2. Symbol": "AAPL",
                    "3. Last Refreshed": "2024-03-11 19:59:00",
                    "4. Interval": "1min",
                    "5. Output Size": "Full size",
                    "6. Time Zone": "US/Eastern",
                },
                "Time Series (1min)": {
                    when(b, STAMP): prices(b, "1. open,2. high,3. low,4. close,5. volume", 4) for b in NEWEST_FIRST
                },
            },
            indent=4,
        ),
        "alpha-vantage-json",
        zone="US/Eastern",
        file="query.json",
    ),
    Delivery(
        "Twelve Data, newest first",
        table("datetime;open;high;low;close;volume", NEWEST_FIRST, stamped("%Y-%m-%d %H:%M:%S", mark=";")),
        "twelve-data",
        stamp="start",
    ),
    Delivery(
        "Twelve Data JSON",
        json.dumps(
            {
                "meta": {
                    "symbol": "AAPL",
                    "interval": "1min",
                    "currency": "USD",
                    "exchange_timezone": NEW_YORK,
                    "exchange": "NASDAQ",
                    "mic_code": "XNGS",
                    "type": "Common Stock",
                },
                "values": [{"datetime": when(b, STAMP), **prices(b, "open,high,low,close,volume", 5)} for b in NEWEST_FIRST],
                "status": "ok",
            }
        ),
        "twelve-data-json",
        stamp="start",
        file="values.json",
    ),
    Delivery(
        "Massive (Polygon) flat file of all instruments",
        gzip.compress(
            (
                MASSIVE
                + f"\nA,77,9.0,9.25,9.5,8.5,{epoch(OTHER, 10**9)},5\n"
                + table("", MINUTES, lambda b: f"AAPL,{shares(b)},{b.open},{b.close},{b.high},{b.low},{epoch(b, 10**9)},57")
            ).encode()
        ),
        "polygon",
        zone="UTC",
        stamp="start",
        file="2024-03-08.csv.gz",
        options={"symbol": "AAPL"},
    ),
    Delivery(
        "Massive (Polygon) JSON",
        json.dumps(
            {
                "ticker": "AAPL",
                "queryCount": 12,
                "resultsCount": 12,
                "adjusted": True,
                "results": objects(MINUTES, lambda b: epoch(b, 1000), "t o h l c v", vw=170.1, n=57),
                "status": "OK",
                "request_id": "x",
                "count": 12,
            }
        ),
        "polygon-json",
        zone="UTC",
        stamp="start",
        file="aggs.json",
    ),
    Delivery(
        "Alpaca, table of the Python client",
        table(
            "symbol,timestamp,open,high,low,close,volume,trade_count,vwap",
            MINUTES,
            lambda b: f"AAPL,{when(b, '%Y-%m-%d %H:%M:%S+00:00', 'UTC')},{ohlc(b)},{b.volume},57.0,170.1",
        ),
        "alpaca",
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "Alpaca JSON of several instruments",
        json.dumps(
            {
                "bars": {
                    "AAPL": objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=57, vw=170.1),
                    "MSFT": objects(
                        [OTHER, *MINUTES[1:]], lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=5, vw=9.1
                    ),
                },
                "next_page_token": None,
            }
        ),
        "alpaca-json",
        zone="UTC",
        stamp="start",
        file="bars.json",
        options={"symbol": "AAPL"},
    ),
    Delivery(
        "Alpaca JSON of one instrument",
        json.dumps(
            {
                "bars": objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=57, vw=170.1),
                "symbol": "AAPL",
                "next_page_token": None,
            }
        ),
        "alpaca-json",
        zone="UTC",
        stamp="start",
        file="bars.json",
    ),
    Delivery(
        "Databento, fixed-point prices and nanoseconds",
        table(DATABENTO, MINUTES, lambda b: f"{epoch(b, 10**9)},33,2,32,{fixed(b, 10**9)},{shares(b)},AAPL"),
        "databento-ohlcv",
        zone="UTC",
        stamp="start",
        file="xnas-itch-20240308.ohlcv-1m.csv",
    ),
    Delivery(
        "Databento, pretty",
        table(
            DATABENTO,
            MINUTES,
            lambda b: (
                f"{when(b, '%Y-%m-%dT%H:%M:%S.000000000Z', 'UTC')},33,2,32,{','.join(prices(b, '1,2,3,4,5', 9).values())},AAPL"
            ),
        ),
        "databento-ohlcv",
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "Binance klines, ms, no header",
        table("", CRYPTO, lambda b: kline(b, 10**3)),
        "binance-klines",
        CRYPTO,
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "Binance klines, us, no header, zip",
        zipped("BTCUSDT-1m-2025-01.csv", table("", CRYPTO, lambda b: kline(b, 10**6))),
        "binance-klines",
        CRYPTO,
        zone="UTC",
        stamp="start",
        file="BTCUSDT-1m-2025-01.zip",
    ),
    Delivery(
        "Binance klines, futures, header",
        table(KLINES, CRYPTO, lambda b: kline(b, 10**3)),
        "binance-klines",
        CRYPTO,
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "Binance klines JSON",
        json.dumps(
            [[epoch(b, 1000), *map(str, b[1:]), epoch(b, 1000) + 59_999, "1234.5", 77, "0.5", "6.25", "0"] for b in CRYPTO]
        ),
        "binance-klines",
        CRYPTO,
        zone="UTC",
        stamp="start",
        file="klines.json",
    ),
    Delivery("Kibot", table("", MINUTES, stamped("%m/%d/%Y,%H:%M"), "\r\n"), "kibot", stamp="start", file="AAPL.txt"),
    Delivery("Kibot, days", table("", DAYS, stamped("%m/%d/%Y"), "\r\n"), "bars-of-days", DAYS, file="AAPL.txt", minutes=1440),
    Delivery("FirstRate", table("", MINUTES, stamped(STAMP)), "firstrate", stamp="start", file="AAPL_full_1min_adjsplit.txt"),
    Delivery("FirstRate, header", table("timestamp,open,high,low,close,volume", MINUTES, stamped(STAMP))),
    Delivery(
        "Stooq, archive of five minutes, Polish time",
        table(STOOQ, MINUTES, stamped("AAPL.US,5,%Y%m%d,%H%M%S", "Europe/Warsaw", tail=",0"), "\r\n"),
        "stooq",
        zone="Europe/Warsaw",
        stamp="start",
        file="aapl.us.txt",
        choice="Europe/Warsaw",
    ),
    Delivery(
        "Stooq, archive of days",
        table(STOOQ, DAYS, stamped("AAPL.US,D,%Y%m%d,000000", tail=",0"), "\r\n"),
        "stooq",
        DAYS,
        stamp="start",
        file="aapl.us.txt",
        minutes=1440,
    ),
    Delivery(
        "Stooq, page of days",
        table("Date,Open,High,Low,Close,Volume", DAYS, stamped("%Y-%m-%d"), "\r\n"),
        "columns by name",
        DAYS,
        file="aapl_us_d.csv",
        minutes=1440,
    ),
    Delivery(
        "Interactive Brokers, lines of the API",
        table(
            "",
            MINUTES,
            lambda b: (
                f"HistoricalData. ReqId: 4101 BarData. Date: {when(b, '%Y%m%d %H:%M:%S')} US/Eastern, Open: {b.open}, High: {b.high}, Low: {b.low}, Close: {b.close}, Volume: {shares(b)}, WAP: 170.1, BarCount: 57"
            ),
        ),
        "tws",
        zone="US/Eastern",
        stamp="start",
        file="tws.log",
        choice="lots",
    ),
    Delivery(
        "Interactive Brokers, lines of the older API",
        table(
            "",
            MINUTES,
            lambda b: (
                f"HistoricalData. ReqId: 4101 BarData. Date: {when(b, '%Y%m%d  %H:%M:%S')}, Open: {b.open}, High: {b.high}, Low: {b.low}, Close: {b.close}, Volume: {shares(b)}, Average: 170.1, BarCount: 57"
            ),
        ),
        "tws",
        stamp="start",
        file="tws.log",
    ),
    Delivery(
        "ib_async, table with an index",
        table(
            ",date,open,high,low,close,volume,average,barCount",
            MINUTES,
            lambda b: f"{MINUTES.index(b)},{when(b, '%Y-%m-%d %H:%M:%S-05:00', 'Etc/GMT+5')},{ohlc(b)},{b.volume},170.1,57",
        ),
        "ib-async",
        zone="UTC",
        stamp="start",
        choice="lots",
    ),
    Delivery(
        "TradingView, epochs",
        table("time,open,high,low,close,Volume", MINUTES, lambda b: f"{epoch(b)},{ohlcv(b)}"),
        "tradingview",
        zone="UTC",
        stamp="start",
        file="BATS_AAPL, 1.csv",
    ),
    Delivery(
        "TradingView, offsets and indicators",
        table(
            "time,open,high,low,close,Volume,RSI,RSI-based MA", MINUTES, stamped("%Y-%m-%dT%H:%M:%SZ", "UTC", tail=",NaN,55.5")
        ),
        "tradingview",
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "Lean, minutes of one day",
        zipped(
            "20240311_aapl_minute_trade.csv",
            table(
                "",
                ONE_DAY,
                lambda b: f"{(int(when(b, '%H')) * 60 + int(when(b, '%M'))) * 60_000},{fixed(b, 10**4)},{shares(b)}",
            ),
        ),
        "lean-minute-trade",
        ONE_DAY,
        stamp="start",
        file="20240311_trade.zip",
    ),
    Delivery(
        "Lean, days",
        zipped("aapl.csv", table("", DAYS, lambda b: f"{when(b, '%Y%m%d 00:00')},{fixed(b, 10**4)},{shares(b)}")),
        "lean-daily",
        DAYS,
        stamp="start",
        file="aapl.zip",
        minutes=1440,
    ),
    Delivery(
        "date and time in two columns", table("Date,Time,Open,High,Low,Close,Volume", MINUTES, stamped("%m/%d/%Y,%H:%M:%S"))
    ),
    Delivery(
        "date and time in two columns, 12 hours",
        table("Date,Time,Open,High,Low,Close,Volume", MINUTES, stamped("%m/%d/%Y,%I:%M %p")),
    ),
    Delivery(
        "German names, semicolons, decimal commas, latin-1",
        table(
            "Datum;Zeit;Eröffnung;Hoch;Tief;Schluss;Volumen",
            MINUTES,
            lambda b: f"{when(b, '%d.%m.%Y;%H:%M:%S', 'Europe/Berlin')};{';'.join(map(german, b[1:5]))};{shares(b)}",
        ).encode("latin-1"),
        zone="Europe/Berlin",
        options={"tz": "Europe/Berlin"},
    ),
    Delivery(
        "tabs", table("ts\topen\thigh\tlow\tclose\tvolume", MINUTES, stamped("%Y-%m-%dT%H:%M:%S", mark="\t")), file="bars.tsv"
    ),
    Delivery(
        "commas between thousands",
        table("ts,open,high,low,close,volume", MINUTES, lambda b: f'{when(b, "%Y-%m-%d %H:%M")},{ohlc(b)},"{b.volume:,.0f}"'),
    ),
    Delivery("UTF-16", table("ts,open,high,low,close,volume", MINUTES, stamped("%Y-%m-%d %H:%M"), "\r\n").encode("utf-16")),
    Delivery(
        "UTF-8 with a byte order mark, names in capitals",
        ("\ufeff" + table("TS,OPEN,HIGH,LOW,CLOSE,VOLUME", MINUTES, stamped("%Y-%m-%d %H:%M"))).encode(),
    ),
    Delivery("pandas, unnamed index of times", table(",open,high,low,close,volume", MINUTES, stamped(STAMP))),
    Delivery(
        "pandas, unnamed index of numbers",
        table(
            ",ts,open,high,low,close,volume",
            MINUTES,
            lambda b: f"{MINUTES.index(b)},{when(b, '%Y-%m-%dT%H:%M:%S%z')},{ohlcv(b)}",
        ),
        zone="UTC",
    ),
    Delivery(
        "NinjaTrader, ends in UTC",
        table("", MINUTES, stamped("%Y%m%d %H%M%S", "UTC", ";", 1), "\r\n"),
        "ninjatrader",
        zone="UTC",
        stamp="end",
        file="AAPL.Last.txt",
    ),
    Delivery(
        "HistData, New York winter time, no volume",
        table("", MINUTES, lambda b: f"{when(b, '%Y%m%d %H%M%S', 'Etc/GMT+5')};{ohlc(b, ';')};0"),
        "histdata",
        [b._replace(volume=0.0) for b in MINUTES],
        zone="Etc/GMT+5",
        stamp="start",
        file="DAT_ASCII_EURUSD_M1_202403.csv",
        has_volume=False,
    ),
    Delivery(
        "MetaTrader 5",
        table(
            MT5,
            MINUTES,
            lambda b: when(b, "%Y.%m.%d\t%H:%M:%S", "Europe/Helsinki") + "\t" + ohlc(b, "\t") + f"\t412\t{shares(b)}\t28",
            "\r\n",
        ),
        "metatrader-5",
        zone="Europe/Helsinki",
        stamp="start",
        options={"tz": "Europe/Helsinki"},
    ),
    Delivery(
        "MetaTrader 4", table("", MINUTES, stamped("%Y.%m.%d,%H:%M")), "metatrader-4", stamp="start", options={"tz": NEW_YORK}
    ),
    Delivery(
        "investing.com, newest first",
        "\ufeff"
        + table(
            '"Date","Price","Open","High","Low","Vol.","Change %"',
            DAYS[::-1],
            lambda b: f'"{when(b, "%m/%d/%Y")}","{b.close}","{b.open}","{b.high}","{b.low}","{b.volume / 1e3:.2f}K","-0.38%"',
        ),
        "investing",
        [b._replace(volume=round(b.volume, -1)) for b in DAYS],
        minutes=1440,
    ),
    Delivery(
        "Nasdaq.com, newest first",
        table(
            "Date,Close/Last,Volume,Open,High,Low",
            DAYS[::-1],
            lambda b: f"{when(b, '%m/%d/%Y')},${b.close},{shares(b)},${b.open},${b.high},${b.low}",
        ),
        "nasdaq",
        DAYS,
        minutes=1440,
    ),
    Delivery(
        "Dukascopy",
        table("Gmt time,Open,High,Low,Close,Volume", MINUTES, stamped("%d.%m.%Y %H:%M:%S.000", "UTC")),
        "dukascopy",
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "kdb+, date and timespan",
        table("date,sym,time,open,high,low,close,size", MINUTES, stamped("%Y.%m.%d,AAPL,0D%H:%M:%S.000000000")),
    ),
    Delivery(
        "kdb+, timestamp",
        table("sym|time|open|high|low|close|size", MINUTES, stamped("AAPL|%Y.%m.%dD%H:%M:%S.000000000", "UTC", "|")),
        zone="UTC",
        options={"tz": "UTC"},
    ),
    Delivery(
        "JSON lines",
        "".join(
            json.dumps(row) + "\n"
            for row in objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%S%z"), "ts open high low close volume")
        ),
        zone="UTC",
        file="bars.jsonl",
    ),
    Delivery(
        "Yahoo chart JSON",
        json.dumps(
            {
                "chart": {
                    "result": [
                        {
                            "meta": {"symbol": "AAPL", "exchangeTimezoneName": NEW_YORK, "gmtoffset": -18000},
                            "timestamp": [epoch(b) for b in MINUTES],
                            "indicators": {
                                "quote": [
                                    {
                                        key: [getattr(b, key) for b in MINUTES]
                                        for key in ("low", "volume", "open", "high", "close")
                                    }
                                ]
                            },
                        }
                    ],
                    "error": None,
                }
            }
        ),
        "yahoo-chart-json",
        zone="UTC",
        stamp="start",
        file="chart.json",
    ),
    Delivery(
        "epochs of seconds", table("ts,open,high,low,close,volume", MINUTES, lambda b: f"{epoch(b)},{ohlcv(b)}"), zone="UTC"
    ),
    Delivery(
        "named zone in each stamp",
        table("ts,open,high,low,close,volume", MINUTES, stamped("%Y-%m-%d %H:%M:%S Europe/London", "Europe/London")),
        zone="Europe/London",
    ),
    Delivery(
        "New York winter and summer time in each stamp",
        table("ts,open,high,low,close,volume", MINUTES, stamped("%Y-%m-%d %H:%M:%S %Z")),
        zone="UTC",
    ),
    Delivery(
        "lines above the header",
        "Exported by a desk\n# 2024, AAPL\n\n" + table("ts,open,high,low,close,volume", MINUTES, stamped("%Y-%m-%d %H:%M")),
    ),
    Delivery(
        "columns by number",
        table("", MINUTES, lambda b: f"x,{b.close},{b.low},{b.high},{b.open},{shares(b)},{when(b, '%Y-%m-%d %H:%M')}"),
        "columns by number",
        options={"columns": ("ts=7", "open=5", "high=4", "low=3", "close=2", "volume=6")},
    ),
    Delivery(
        "names given",
        table("when,a,b,c,d,e", MINUTES, stamped("%Y-%m-%d %H:%M")),
        options={"columns": ("ts=when,open=a,high=b,low=c,close=d", "volume=e")},
    ),
]


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
