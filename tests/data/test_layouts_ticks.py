"""Trades, quotes and books as vendors deliver them: every digit, nanosecond and side is read."""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow
import pytest

from hyperexec_env.baselines.instrument import instrument_of
from hyperexec_env.data.calendars import calendar_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_quotes, read_trades
from hyperexec_env.data.tape import tape_of

NEW_YORK = "America/New_York"
OPEN = int(datetime(2024, 3, 8, 9, 30, tzinfo=ZoneInfo(NEW_YORK)).timestamp()) * 10**9
"""The open of New York on 2024-03-08, nanoseconds in UTC."""


class Trade(NamedTuple):
    time: int
    price: float
    size: float
    side: int


class Quote(NamedTuple):
    time: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float


RNG = np.random.default_rng(3)
TIMES = [OPEN + int(step) for step in np.cumsum(RNG.integers(10**6, 10**9, 12))]
TRADES = [
    Trade(time, round(float(price), 2), float(size), int(side))
    for time, price, size, side in zip(
        TIMES, RNG.normal(170.0, 0.2, 12), RNG.integers(1, 900, 12), RNG.choice([-1, 1], 12), strict=True
    )
]
QUOTES = [
    Quote(
        time, round(trade.price - 0.01, 2), float(RNG.integers(1, 90)), round(trade.price + 0.01, 2), float(RNG.integers(1, 90))
    )
    for time, trade in zip(TIMES, TRADES, strict=True)
]


def cut(rows: list[Any], unit: int, **same: Any) -> list[Any]:
    """Return rows with times in whole units, and with given values."""
    return [row._replace(time=row.time // unit * unit, **same) for row in rows]


def stamp(time: int, zone: str, form: str, digits: int) -> str:
    """Return a time of the wall clock of a zone, with digits of a second."""
    whole, rest = divmod(time, 10**9)
    text = datetime.fromtimestamp(whole, UTC).astimezone(ZoneInfo(zone)).strftime(form)
    return text.replace("%", f"{rest:09d}"[:digits]) if digits else text


def after_midnight(time: int) -> int:
    """Return nanoseconds after midnight in New York."""
    return time - (OPEN - 34_200 * 10**9)


def text(header: str, rows: list[str]) -> str:
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def zipped(name: str, content: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()


def units(value: float, scale: int) -> int:
    return round(value * scale)


@dataclass(frozen=True)
class Delivery:
    """Some trades or quotes as a vendor delivers them, and what must be read."""

    name: str
    content: str | bytes
    layout: str
    expected: list[Any]
    zone: str = "UTC"
    file: str = "data.csv"
    options: dict[str, Any] = field(default_factory=dict)
    dropped: int = 0


NO_SIDE = [trade._replace(side=0) for trade in TRADES]
MS, US, SECOND = 10**6, 10**3, 10**9
MASSIVE = (
    "ticker,conditions,correction,exchange,id,participant_timestamp,price,"
    "sequence_number,sip_timestamp,size,tape,trf_id,trf_timestamp"
)
MASSIVE_QUOTES = (
    "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,conditions,indicators,"
    "participant_timestamp,sequence_number,sip_timestamp,tape,trf_timestamp"
)
DATABENTO = "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence"
MBP = DATABENTO + ",bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol"
TAQ = "DATE,TIME_M,EX,SYM_ROOT,SYM_SUFFIX,TR_SCOND,SIZE,PRICE,TR_STOP_IND,TR_CORR,TR_SEQNUM,TR_ID,TR_SOURCE,TR_RF"
TAQ_QUOTES = "DATE,TIME_M,EX,BID,BIDSIZ,ASK,ASKSIZ,QU_COND,QU_SEQNUM,NATBBO_IND,SYM_ROOT,SYM_SUFFIX"


def iso(time: int) -> str:
    return stamp(time, "UTC", "%Y-%m-%dT%H:%M:%S.%%Z", 9)


def letter(trade: Trade) -> str:
    return {1: "B", -1: "A"}[trade.side]


def maker(trade: Trade, true: str = "True", false: str = "False") -> str:
    """Return whether the buyer was the maker."""
    return true if trade.side < 0 else false


TRADE_FILES = [
    Delivery(
        "Massive (Polygon) flat file",
        gzip.compress(
            text(
                MASSIVE,
                [f'B,"12,37",0,11,1,{OPEN},9.0,1,{OPEN},5,1,0,0']
                + [f'A,"12,37",0,11,{n},{t.time},{t.price},{n},{t.time},{t.size:.0f},1,0,0' for n, t in enumerate(NO_SIDE)],
            ).encode()
        ),
        "polygon-trades",
        NO_SIDE,
        file="2024-03-08.csv.gz",
        options={"symbol": "A"},
        dropped=1,
    ),
    Delivery(
        "Massive (Polygon) JSON",
        json.dumps(
            {
                "results": [
                    {"conditions": [12, 37], "exchange": 11, "id": str(n), "participant_timestamp": t.time, "price": t.price}
                    | {"sequence_number": n, "sip_timestamp": t.time, "size": t.size, "tape": 1}
                    for n, t in enumerate(NO_SIDE)
                ],
                "status": "OK",
            }
        ),
        "polygon-trades",
        NO_SIDE,
    ),
    Delivery(
        "Alpaca JSON",
        json.dumps(
            {
                "trades": [
                    {"c": ["@", "I"], "i": n, "p": t.price, "s": t.size, "t": iso(t.time), "x": "V", "z": "C"}
                    for n, t in enumerate(NO_SIDE)
                ],
                "symbol": "AAPL",
                "next_page_token": None,
            }
        ),
        "alpaca-trades",
        NO_SIDE,
    ),
    Delivery(
        "Databento, fixed point",
        text(
            DATABENTO,
            [
                f"{t.time + 99},{t.time},0,2,32,T,{letter(t)},0,{units(t.price, 10**9)},{t.size:.0f},130,165200,{n}"
                for n, t in enumerate(TRADES)
            ],
        ),
        "databento-trades",
        TRADES,
    ),
    Delivery(
        "Databento, pretty",
        text(
            DATABENTO + ",symbol",
            [
                f"{iso(t.time + 99)},{iso(t.time)},0,2,32,T,{letter(t)},0,{t.price:.9f},{t.size:.0f},130,165200,{n},AAPL"
                for n, t in enumerate(TRADES)
            ],
        ),
        "databento-trades",
        TRADES,
    ),
    Delivery(
        "Databento mbp-1: the trades among the messages",
        text(
            MBP,
            [
                f"{t.time + 99},{t.time},1,2,32,{action},{letter(t)},0,{t.price:.9f},{t.size:.0f},0,1,{n},1.0,2.0,3,4,5,6,A"
                for n, t in enumerate(TRADES)
                for action in "TAC"
            ],
        ),
        "databento-trades",
        TRADES,
        dropped=24,
    ),
    Delivery(
        "Binance trades, no header, ms",
        text("", [f"{n + 51175358},{t.price},{t.size},9.5,{t.time // MS},{maker(t)},True" for n, t in enumerate(TRADES)]),
        "binance-trades",
        cut(TRADES, MS),
    ),
    Delivery(
        "Binance trades, no header, us, zip",
        zipped(
            "BTCUSDT-trades-2025-01-01.csv",
            text("", [f"{n + 51175358},{t.price},{t.size},9.5,{t.time // US},{maker(t)},True" for n, t in enumerate(TRADES)]),
        ),
        "binance-trades",
        cut(TRADES, US),
        file="BTCUSDT-trades-2025-01-01.zip",
    ),
    Delivery(
        "Binance trades, futures, header",
        text(
            "id,price,qty,quote_qty,time,is_buyer_maker",
            [f"{n},{t.price},{t.size},9.5,{t.time // MS},{maker(t, 'true', 'false')}" for n, t in enumerate(TRADES)],
        ),
        "binance-trades",
        cut(TRADES, MS),
    ),
    Delivery(
        "Binance aggTrades, no header, us",
        text("", [f"{n},{t.price},{t.size},{n},{n},{t.time // US},{maker(t)},True" for n, t in enumerate(TRADES)]),
        "binance-aggtrades",
        cut(TRADES, US),
    ),
    Delivery(
        "Binance aggTrades, futures, header",
        text(
            "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
            [f"{n},{t.price},{t.size},{n},{n},{t.time // MS},{maker(t, 'true', 'false')}" for n, t in enumerate(TRADES)],
        ),
        "binance-aggtrades",
        cut(TRADES, MS),
    ),
    Delivery(
        "NYSE TAQ",
        text(
            TAQ,
            [
                f"2024-03-08,{stamp(t.time, NEW_YORK, '%-H:%M:%S.%%', 9)},T,A,,TI,{t.size:.0f},{t.price},N,00,{n},{n},C,"
                for n, t in enumerate(NO_SIDE)
            ],
        ),
        "taq-trades",
        NO_SIDE,
        NEW_YORK,
    ),
    Delivery(
        "Lean, ticks of one day",
        zipped(
            "20240308_aapl_Trade_Tick.csv",
            text("", [f"{after_midnight(t.time) // MS},{units(t.price, 10**4)},{t.size:.0f},P,20002000,0" for t in NO_SIDE]),
        ),
        "lean-tick-trade",
        cut(NO_SIDE, MS),
        NEW_YORK,
        "20240308_trade.zip",
    ),
    Delivery(
        "Lean, ticks with a header",
        text(
            "date,ms,price,size,exchange,condition,suspicious",
            [f"20240308,{after_midnight(t.time) // MS},{t.price},{t.size:.0f},P,20002000,0" for t in NO_SIDE],
        ),
        "lean-ticks",
        cut(NO_SIDE, MS),
        NEW_YORK,
    ),
    Delivery(
        "Kibot, ticks with bid and ask",
        text("", [f"{stamp(t.time, NEW_YORK, '%m/%d/%Y,%H:%M:%S', 0)},{t.price},169.5,169.9,{t.size:.0f}" for t in NO_SIDE]),
        "kibot-ticks",
        cut(NO_SIDE, SECOND),
        NEW_YORK,
    ),
    Delivery(
        "NinjaTrader, ticks",
        text("", [f"{stamp(t.time, 'UTC', '%Y%m%d %H%M%S', 0)};{t.price};{t.size:.0f}" for t in NO_SIDE]),
        "ninjatrader-ticks",
        cut(NO_SIDE, SECOND),
    ),
    Delivery(
        "Kraken, no header",
        text("", [f"{t.time / 1e9:.4f},{t.price},{t.size}" for t in NO_SIDE]),
        "kraken-trades",
        cut([t._replace(time=round(t.time / 1e5) * 10**5) for t in NO_SIDE], 10**5),
    ),
    Delivery(
        "nanoseconds and aggressor",
        text(
            "local_ts_ns,exch_ts_ms,price,qty,aggressor",
            [f"{t.time},{t.time // MS},{t.price},{t.size},{t.side}" for t in TRADES],
        ),
        "columns by name",
        TRADES,
    ),
    Delivery(
        "seconds after midnight, day given",
        text(
            "time,price,size,side",
            [f"{after_midnight(t.time) / 1e9:.9f},{t.price},{t.size},{'Buy' if t.side > 0 else 'Sell'}" for t in TRADES],
        ),
        "columns by name",
        TRADES,
        NEW_YORK,
        options={"date": "2024-03-08"},
    ),
    Delivery(
        "kdb+, timestamps",
        text(
            "time,sym,price,size,cond",
            [f"{stamp(t.time, NEW_YORK, '%Y.%m.%dD%H:%M:%S.%%', 9)},AAPL,{t.price},{t.size:.0f},I" for t in NO_SIDE],
        ),
        "columns by name",
        NO_SIDE,
        NEW_YORK,
    ),
]

QUOTE_FILES = [
    Delivery(
        "Massive (Polygon) flat file",
        text(
            MASSIVE_QUOTES,
            [
                f'A,8,{q.ask},{q.ask_size:.0f},11,{q.bid},{q.bid_size:.0f},"1,81",,{q.time},{n},{q.time},1,0'
                for n, q in enumerate(QUOTES)
            ],
        ),
        "polygon-quotes",
        QUOTES,
    ),
    Delivery(
        "Alpaca JSON",
        json.dumps(
            {
                "quotes": [
                    {"ap": q.ask, "as": q.ask_size, "ax": "Q", "bp": q.bid, "bs": q.bid_size, "bx": "Q", "c": ["R"]}
                    | {"t": iso(q.time), "z": "C"}
                    for q in QUOTES
                ],
                "symbol": "AAPL",
            }
        ),
        "alpaca-quotes",
        QUOTES,
    ),
    Delivery(
        "Databento mbp-1, fixed point",
        text(
            MBP,
            [
                f"{q.time + 99},{q.time},1,2,32,A,B,0,{units(q.bid, 10**9)},7,130,1,{n},{units(q.bid, 10**9)},"
                f"{units(q.ask, 10**9)},{q.bid_size:.0f},{q.ask_size:.0f},5,6,AAPL"
                for n, q in enumerate(QUOTES)
            ],
        ),
        "databento-mbp-1",
        QUOTES,
    ),
    Delivery(
        "Databento mbp-1, pretty",
        text(
            MBP,
            [
                f"{iso(q.time + 99)},{iso(q.time)},1,2,32,A,B,0,{q.bid:.9f},7,130,1,{n},{q.bid:.9f},{q.ask:.9f},"
                f"{q.bid_size:.0f},{q.ask_size:.0f},5,6,AAPL"
                for n, q in enumerate(QUOTES)
            ],
        ),
        "databento-mbp-1",
        QUOTES,
    ),
    Delivery(
        "Binance bookTicker",
        text(
            "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time",
            [f"{n},{q.bid},{q.bid_size},{q.ask},{q.ask_size},{q.time // MS},{q.time // MS + 2}" for n, q in enumerate(QUOTES)],
        ),
        "binance-book-ticker",
        cut(QUOTES, MS),
    ),
    Delivery(
        "NYSE TAQ",
        text(
            TAQ_QUOTES,
            [
                f"2024-03-08,{stamp(q.time, NEW_YORK, '%-H:%M:%S.%%', 9)},N,{q.bid},{q.bid_size:.0f},{q.ask},"
                f"{q.ask_size:.0f},R,{n},2,A,"
                for n, q in enumerate(QUOTES)
            ],
        ),
        "taq-quotes",
        QUOTES,
        NEW_YORK,
    ),
    Delivery(
        "Lean, quotes of the ticks of one day",
        text(
            "",
            [
                f"{after_midnight(q.time) // MS},{units(q.bid, 10**4)},{q.bid_size:.0f},{units(q.ask, 10**4)},"
                f"{q.ask_size:.0f},P,0,0"
                for q in QUOTES
            ],
        ),
        "lean-tick-quote",
        cut(QUOTES, MS),
        NEW_YORK,
        "20240308_aapl_Quote_Tick.csv",
    ),
    Delivery(
        "Lean, quote bars of one day",
        text(
            "",
            [
                f"{after_midnight(q.time) // MS},1,1,1,{units(q.bid, 10**4)},{q.bid_size:.0f},2,2,2,{units(q.ask, 10**4)},"
                f"{q.ask_size:.0f}"
                for q in QUOTES
            ],
        ),
        "lean-quote-bars",
        cut(QUOTES, MS),
        NEW_YORK,
        "20240308_aapl_minute_quote.csv",
    ),
    Delivery(
        "nanoseconds",
        text("local_ts_ns,bid,bid_size,ask,ask_size", [f"{q.time},{q.bid},{q.bid_size},{q.ask},{q.ask_size}" for q in QUOTES]),
        "columns by name",
        QUOTES,
    ),
]


def write(tmp_path, delivery):
    path = tmp_path / delivery.file
    path.write_bytes(delivery.content if isinstance(delivery.content, bytes) else delivery.content.encode())
    return path


@pytest.mark.parametrize("delivery", TRADE_FILES, ids=lambda delivery: delivery.name)
def test_trades_of_a_vendor_are_read_as_delivered(tmp_path, delivery):
    table = read_trades(write(tmp_path, delivery), Format(**delivery.options))
    assert table.time.tolist() == [trade.time for trade in delivery.expected]
    for key in ("price", "size", "side"):
        assert getattr(table, key).tolist() == [getattr(trade, key) for trade in delivery.expected], key
    assert table.has_side == any(trade.side for trade in delivery.expected)
    assert (table.provenance.layout, table.provenance.zone) == (delivery.layout, delivery.zone)
    assert sum(table.provenance.dropped.values()) == delivery.dropped


@pytest.mark.parametrize("delivery", QUOTE_FILES, ids=lambda delivery: delivery.name)
def test_quotes_of_a_vendor_are_read_as_delivered(tmp_path, delivery):
    table = read_quotes(write(tmp_path, delivery), Format(**delivery.options))
    assert table.time.tolist() == [quote.time for quote in delivery.expected]
    for key in ("bid", "bid_size", "ask", "ask_size"):
        assert getattr(table, key).tolist() == [getattr(quote, key) for quote in delivery.expected], key
    assert (table.provenance.layout, table.provenance.zone) == (delivery.layout, delivery.zone)


def test_blank_bids_and_offers_of_metatrader_are_the_last_ones(tmp_path):
    header = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n"
    path = tmp_path / "ticks.csv"
    path.write_text(header + "2024.03.08\t09:30:00.117\t1.1\t1.3\t\t\t6\n2024.03.08\t09:30:00.250\t\t1.2\t\t\t4\n")
    table = read_quotes(path)
    assert (table.bid.tolist(), table.ask.tolist()) == ([1.1, 1.1], [1.3, 1.2])


# ----------------------------------------------------------------------------------------- the time from which a quote is known


def quoted(*offsets, stamp=""):
    """Read quotes at some seconds after 15:00."""
    start = np.datetime64("2024-03-05T15:00", "ns")
    time = start + np.array([round(1e9 * offset) for offset in offsets]).astype("timedelta64[ns]")
    prices = 100.0 + np.arange(len(time))
    frame = pyarrow.table({"ts": time, "bid": prices, "ask": prices + 1.0})
    return read_quotes(frame, Format(tz="UTC", stamp=stamp))


@pytest.mark.parametrize(
    ("offsets", "seconds"),
    [
        ((0, 1, 2, 5), 1),
        ((0, 5, 20), 5),
        ((0, 60, 180), 60),
        ((0, 300, 600), 60),
        ((0, 0, 1), 1),
        ((0, 1.5, 3), 0),
        ((0, 7, 14), 1),
    ],
)
def test_quotes_on_a_grid_of_time_are_known_at_the_ends_of_its_intervals(offsets, seconds):
    table = quoted(*offsets)
    assert table.interval == seconds * 10**9
    assert (table.valid_from - table.time == table.interval).all()
    assert any("are valid from their ends; pass --stamp end" in text for text in table.provenance.choices) == bool(seconds)


def test_quotes_stamped_at_the_ends_of_their_intervals_are_known_at_once():
    table = quoted(0, 60, 120, stamp="end")
    assert (table.interval, table.provenance.choices) == (0, ())
    assert (table.valid_from == table.time).all()


def test_tape_and_blotter_know_a_quote_at_the_same_time():
    seconds = np.arange(0, 3600)
    quotes = quoted(*seconds)
    calendar = Format(calendar="24/7", hours="15:00-16:00", tz="UTC")
    start = np.datetime64("2024-03-05T15:00", "ns")
    time = start + (seconds * 10**9 + 5 * 10**8).astype("timedelta64[ns]")
    trades = read_trades(pyarrow.table({"ts": time, "price": 100.5 + seconds, "size": np.ones(len(seconds))}), calendar)
    (day,) = tape_of(trades, quotes, calendar, adv=1e6).days
    path = instrument_of("", calendar_of("24/7", "15:00-16:00", "UTC"), None, trades, quotes).quotes
    assert (day.mid_before == path.mid(day.trade_time, before=True)).all()
