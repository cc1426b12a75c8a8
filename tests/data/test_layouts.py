"""Bars in text files of vendors: each gives the same bars to every digit, with the right clock."""

import gzip
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


def _load(name: str) -> Any:
    """Import a module beside this one, once for all that ask for it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


deliveries = _load("deliveries")
Delivery, check, MINUTES, DAYS, CRYPTO, ONE_DAY, NEWEST_FIRST, NEW_YORK, STAMP = (
    getattr(deliveries, name)
    for name in ["Delivery", "check", "MINUTES", "DAYS", "CRYPTO", "ONE_DAY", "NEWEST_FIRST", "NEW_YORK", "STAMP"]
)
OTHER, THREE_ROWS, MASSIVE, DATABENTO, KLINES, STOOQ, MT5, table, when = (
    getattr(deliveries, name)
    for name in ["OTHER", "THREE_ROWS", "MASSIVE", "DATABENTO", "KLINES", "STOOQ", "MT5", "table", "when"]
)
epoch, shares, ohlc, ohlcv, stamped, prices, fixed, german, zipped = (
    getattr(deliveries, name) for name in ["epoch", "shares", "ohlc", "ohlcv", "stamped", "prices", "fixed", "german", "zipped"]
)
kline = deliveries.kline


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
                when(b, "%Y-%m-%d %H:%M:%S-05:00", "Etc/GMT+5")
                + f",9.25,{b.close},9.5,{b.high},8.5,{b.low},9.0,{b.open},77,{shares(b)}"
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
        "Twelve Data, newest first",
        table("datetime;open;high;low;close;volume", NEWEST_FIRST, stamped("%Y-%m-%d %H:%M:%S", mark=";")),
        "twelve-data",
        stamp="start",
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
                f"HistoricalData. ReqId: 4101 BarData. Date: {when(b, '%Y%m%d %H:%M:%S')} US/Eastern, Open: {b.open}, "
                f"High: {b.high}, Low: {b.low}, Close: {b.close}, Volume: {shares(b)}, WAP: 170.1, BarCount: 57"
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
                f"HistoricalData. ReqId: 4101 BarData. Date: {when(b, '%Y%m%d  %H:%M:%S')}, Open: {b.open}, "
                f"High: {b.high}, Low: {b.low}, Close: {b.close}, Volume: {shares(b)}, Average: 170.1, BarCount: 57"
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
    Delivery(
        "Kraken, no header",
        table("", CRYPTO, lambda b: f"{epoch(b)},{ohlcv(b)},77"),
        "kraken",
        CRYPTO,
        zone="UTC",
        stamp="start",
    ),
    Delivery(
        "CryptoDataDownload, newest first",
        "https://www.CryptoDataDownload.com\n"
        + table(
            "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT",
            CRYPTO[::-1],
            lambda b: f"{epoch(b)},{when(b, STAMP, 'UTC')},BTC/USDT,{ohlcv(b)},9.5",
        ),
        expected=CRYPTO,
        zone="UTC",
    ),
    Delivery("stamps without separators", table("ts,open,high,low,close,volume", MINUTES, stamped("%Y%m%d%H%M%S"))),
    Delivery(
        "date and time in two columns, the date with the time too",
        table("time,date,open,high,low,close,volume", MINUTES, stamped("%H:%M:%S,%Y-%m-%d %H:%M:%S")),
    ),
    Delivery(
        "whole prices of a future in an archive",
        zipped("YM.txt", table("", MINUTES, lambda b: f"{when(b, STAMP)},38700,38710,38690,38705,{shares(b)}")),
        "firstrate",
        [b._replace(open=38700.0, high=38710.0, low=38690.0, close=38705.0) for b in MINUTES],
        stamp="start",
        file="YM.zip",
    ),
]


@pytest.mark.parametrize("delivery", DELIVERIES, ids=lambda delivery: delivery.name)
def test_bars_of_a_vendor_are_read_as_delivered(tmp_path, delivery):
    check(tmp_path, delivery)
