"""Further layouts: vendors with their own names or orders of columns, other languages and encodings, frames in JSON."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars, read_quotes, read_trades


def _load(name: str) -> Any:
    """Import a module beside this one, once for all that ask for it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


deliveries = _load("deliveries")
Delivery, check, table, when, epoch, shares, german = (
    getattr(deliveries, name) for name in ("Delivery", "check", "table", "when", "epoch", "shares", "german")
)
MINUTES, DAYS, ONE_DAY, NEW_YORK = (getattr(deliveries, name) for name in ("MINUTES", "DAYS", "ONE_DAY", "NEW_YORK"))
ALGOSEEK = (
    "Date,Ticker,TimeBarStart,FirstTradePrice,HighTradePrice,LowTradePrice,LastTradePrice,VolumeWeightPrice,Volume,TotalTrades"
)
PDS = (
    "ISIN,Mnemonic,SecurityDesc,SecurityType,Currency,SecurityID,Date,Time,StartPrice,MaxPrice,MinPrice,EndPrice,TradedVolume,"
    "NumberOfTrades"
)
MT5 = "time,open,high,low,close,tick_volume,spread,real_volume"
NAMES = ("open", "high", "low", "close", "volume")


def comma(bar: Any, order: str = "open high low close") -> str:
    """Return prices with decimal commas."""
    return ";".join(german(getattr(bar, name)) for name in order.split())


def hlo(bar: Any) -> str:
    """Return the prices in the order of IQFeed."""
    return f"{bar.high},{bar.low},{bar.open},{bar.close}"


def day(bar: Any, form: str = "%Y-%m-%d") -> str:
    return when(bar, form)


def japanese(names: str) -> str:
    return table(names, DAYS, lambda b: f"{day(b, '%Y/%m/%d')},{b.open},{b.high},{b.low},{b.close},{shares(b)}")


JAPAN, CHINA = japanese("日付,始値,高値,安値,終値,出来高"), japanese("日期,开盘,最高,最低,收盘,成交量")
DELIVERIES = [
    Delivery(
        "AlgoSeek, minutes",
        table(
            ALGOSEEK, MINUTES,
            lambda b: f"{when(b, '%Y%m%d')},AAPL,{when(b, '%H:%M')},{b.open},{b.high},{b.low},{b.close},170.1,{shares(b)},57",
        ),
        "algoseek", stamp="start",
    ),
    Delivery(
        "Deutsche Boerse, minutes in UTC",
        table(
            PDS, MINUTES,
            lambda b: f"DE0007164600,SAP,SAP SE O.N.,Common stock,EUR,2504954,{when(b, '%Y-%m-%d', 'UTC')},"
            f"{when(b, '%H:%M', 'UTC')},{b.open},{b.high},{b.low},{b.close},{shares(b)},57",
        ),
        "deutsche-boerse-pds", zone="UTC", stamp="start", choice="calls TradedVolume a value, and it is read as shares",
    ),
    Delivery(
        "QuantQuote, with factors",
        table(
            "", MINUTES,
            lambda b: f"{when(b, '%Y%m%d')},{when(b, '%-H%M')},{b.open},{b.high},{b.low},{b.close},{shares(b)},1,0,0",
        ),
        "quantquote",
    ),
    Delivery(
        "IQFeed, minutes at their ends, with the mark of the end",
        table("", MINUTES, lambda b: f"{when(b, '%Y-%m-%d %H:%M:%S', shift=1)},{hlo(b)},99000,{shares(b)},57,") + "!ENDMSG!,\n",
        "iqfeed", stamp="end", choice="pass --stamp start",
    ),
    Delivery(
        "IQFeed, days", table("", DAYS, lambda b: f"{day(b)},{hlo(b)},{shares(b)},0"), "iqfeed-days", DAYS, minutes=1440,
    ),
    Delivery(
        "MetaTrader, Python, with a volume",
        table(MT5, MINUTES, lambda b: f"{epoch(b)},{b.open},{b.high},{b.low},{b.close},33,2,{shares(b)}"),
        "metatrader-5-python", zone="UTC", stamp="start", choice="tick volume counts changes of the price, not shares",
    ),
    Delivery(
        "MetaTrader, Python, by the clock of the server",
        table(
            MT5, ONE_DAY, lambda b: f"{epoch(b) - 4 * 3600},{b.open},{b.high},{b.low},{b.close},33,2,{shares(b)}"
        ),
        "metatrader-5-python", ONE_DAY, stamp="start", options={"tz": NEW_YORK},
    ),
    Delivery(
        "Bloomberg, minutes",
        table(
            "Dates,Open,Close,High,Low,Volume,Number Ticks", MINUTES,
            lambda b: f"{when(b, '%-m/%-d/%Y %-H:%M')},{b.open},{b.close},{b.high},{b.low},{shares(b)},57",
        ),
    ),
    Delivery(
        "Bloomberg, fields of days",
        table(
            "Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME", DAYS,
            lambda b: f"{day(b)},{b.open},{b.high},{b.low},{b.close},{shares(b)}",
        ),
        expected=DAYS, minutes=1440,
    ),
    Delivery(
        "Cboe, minutes",
        table(
            "underlying_symbol,quote_datetime,open,high,low,close,trade_volume", MINUTES,
            lambda b: f"SPY,{when(b, '%Y-%m-%d %H:%M:%S')},{b.open},{b.high},{b.low},{b.close},{shares(b)}",
        ),
    ),
    Delivery(
        "French names",
        table(
            "Date;Ouverture;Plus haut;Plus bas;Clôture;Volume", DAYS, lambda b: f"{day(b, '%d/%m/%Y')};{comma(b)};{shares(b)}",
        ),
        expected=DAYS, minutes=1440, options={"dates": "dmy"},
    ),
    Delivery(
        "German names of a site, turnover beside the shares",
        table(
            "Datum;Erster;Hoch;Tief;Schlusskurs;Stuecke;Volumen", DAYS[::-1],
            lambda b: f"{day(b)};{comma(b)};{shares(b)};{round(b.volume * b.close)}",
        ),
        expected=DAYS, minutes=1440, choice="column Stuecke is read as volume, and Volumen is not read",
    ),
    Delivery("Japanese names", JAPAN, expected=DAYS, minutes=1440),
    Delivery("Japanese names in Shift-JIS", JAPAN.encode("cp932"), expected=DAYS, minutes=1440),
    Delivery("Chinese names", CHINA, expected=DAYS, minutes=1440),
    Delivery("Chinese names in GBK", CHINA.encode("gbk"), expected=DAYS, minutes=1440),
    Delivery(
        "Barchart, with a footer of one cell",
        table(
            "Time,Open,High,Low,Last,Change,%Chg,Volume", MINUTES,
            lambda b: f"{when(b, '%m/%d/%Y %H:%M')},{b.open},{b.high},{b.low},{b.close},0.1,0.05%,{shares(b)}",
        )
        + '"Downloaded from Barchart.com as of 03-12-2024 05:00pm CDT"\n',
    ),
]  # fmt: skip


@pytest.mark.parametrize("delivery", DELIVERIES, ids=lambda delivery: delivery.name)
def test_the_bars_of_further_vendors_are_read(tmp_path, delivery):
    check(tmp_path, delivery)


ROWS = [[epoch(bar, 1000), *bar[1:]] for bar in MINUTES]
FRAMES = {
    "split": {"columns": list(NAMES), "index": [row[0] for row in ROWS], "data": [row[1:] for row in ROWS]},
    "split, numbered": {"columns": ["ts", *NAMES], "index": list(range(len(ROWS))), "data": ROWS},
    "columns": {name: {str(row[0]): row[1 + at] for row in ROWS} for at, name in enumerate(NAMES)},
    "columns, numbered": {
        name: {str(number): row[at] for number, row in enumerate(ROWS)} for at, name in enumerate(["ts", *NAMES])
    },
    "index": {str(row[0]): dict(zip(NAMES, row[1:], strict=True)) for row in ROWS},
    "records": [dict(zip(["ts", *NAMES], row, strict=True)) for row in ROWS],
    "table": {
        "schema": {"fields": [{"name": name, "type": "number"} for name in ("ts", *NAMES)]},
        "data": [dict(zip(["ts", *NAMES], row, strict=True)) for row in ROWS],
    },
}


@pytest.mark.parametrize("orient", FRAMES)
def test_frames_that_pandas_writes_as_json_are_read(tmp_path, orient):
    check(tmp_path, Delivery(orient, json.dumps(FRAMES[orient]), zone="UTC", file="bars.json"))


def test_trades_of_algoseek_are_those_among_its_events(tmp_path):
    events = ["TRADE", "TRADE NB", "TRADE CANCELLED", "QUOTE BID"]
    rows = [f"20240308,09:30:{at:02d}.125,{events[at % 4]},AAPL,170.5,{at},NASDAQ,00000000" for at in range(1, 21)]
    path = tmp_path / "trades.csv"
    path.write_text("\n".join(["Date,Timestamp,EventType,Ticker,Price,Quantity,Exchange,Conditions", *rows]) + "\n")
    trades = read_trades(path)
    assert trades.size.tolist() == [at for at in range(1, 21) if at % 4 in (0, 1)]
    assert trades.provenance.dropped == {"messages that are not trades": 10}
    assert trades.days(NEW_YORK) == ("2024-03-08", "2024-03-08")
    assert trades.time[1] - trades.time[0] == 3 * 10**9


@pytest.mark.parametrize(("read", "header"), [(read_trades, "Date,Price,Size"), (read_quotes, "Date,Bid,Ask")])
def test_days_are_no_stamps_of_ticks(tmp_path, read, header):
    path = tmp_path / "ticks.csv"
    path.write_text("\n".join([f"{header},Moment", *(f"2024-03-08,170.25,170.5,09:30:{at:02d}" for at in range(20))]) + "\n")
    assert read(path).time[5] - read(path).time[0] == 5 * 10**9  # the times of day have a name that no vendor uses
    path.write_text("\n".join([header, *("2024-03-08,170.25,170.5" for _ in range(20))]) + "\n")
    with pytest.raises(ValueError, match=r"Date holds days without a time, such as 2024-03-08.*time=NAME"):
        read(path)


def test_a_zone_does_not_apply_to_stamps_with_an_offset_and_the_report_says_so(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(["ts,open,high,low,close,volume", *(f"{row[0]},1,1,1,1,5" for row in ROWS)]) + "\n")
    assert "--tz is not used for stamps that carry their offset" in str(read_bars(path, Format(tz="Asia/Tokyo")).provenance)
