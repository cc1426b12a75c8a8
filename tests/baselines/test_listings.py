"""A blotter of several markets: calendars, currencies and lots by instrument give what each market alone gives."""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.baselines.order_costs import MEASURES
from hyperexec_env.data.blotter import read_blotter
from hyperexec_env.data.format import Format
from hyperexec_env.data.listings import in_shares, read_listings

pytest.importorskip("exchange_calendars", reason="needs the extra `data`")

MARKETS = {
    "ABC": ("XNYS", "America/New_York", "USD", (9, 30), 390),
    "VOD": ("XLON", "Europe/London", "GBP", (8, 0), 510),
    "NINE": ("XTKS", "Asia/Tokyo", "JPY", (9, 0), 150),
}
"""Calendar, zone, currency, open, and minutes of the bars of each instrument."""
RATES = {"USD": 1.0, "GBP": 1.25, "JPY": 0.0066}
HEADER = "ts,symbol,side,quantity,price,broker,order_id"


def write(name, header, lines):
    Path(name).write_text("\n".join([header, *lines]) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Bars of each market, a blotter of them all, and a blotter and the bars of each market alone."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    fills = {}
    for symbol, (_, zone, _, opening, minutes) in MARKETS.items():
        start = datetime(2024, 3, 5, *opening, tzinfo=ZoneInfo(zone))
        mids = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 4e-4, minutes + 1))), 4)
        bars = []
        for minute, volume in enumerate(rng.integers(2_000, 20_000, minutes)):
            first, last = mids[minute], mids[minute + 1]
            stamp = (start + timedelta(minutes=minute)).isoformat()
            high, low = max(first, last) * 1.0005, min(first, last) * 0.9995
            bars.append(f"{stamp},{first:.4f},{high:.4f},{low:.4f},{last:.4f},{volume}")
        write(f"{symbol}.csv", "ts,open,high,low,close,volume", bars)
        rows = []
        for order in range(4):
            side, broker = (1, -1)[order % 2], "NS"[order // 2]
            for minute in 10 + 20 * order + np.arange(5) * 3:
                moment = (start + timedelta(minutes=int(minute))).astimezone(ZoneInfo("UTC")).isoformat()
                price = mids[minute] * (1.0 + side * 2e-4)
                rows.append(f"{moment},{symbol},{'BS'[order % 2]},{rng.integers(1, 9)},{price:.4f},{broker},")
        fills[symbol] = rows
        write(f"{symbol}_fills.txt", HEADER, rows)
    write("fills.txt", HEADER, [row for rows in fills.values() for row in rows])
    lines = [f"{symbol},{calendar},{currency},{RATES[currency]}" for symbol, (calendar, _, currency, *_) in MARKETS.items()]
    write("instruments.csv", "symbol,calendar,currency,rate", lines)
    return tmp_path


def test_each_market_of_a_blotter_has_the_costs_that_it_has_alone(folder):
    bars = [f"{symbol}.csv" for symbol in MARKETS]
    together = hx.tca_blotter("fills.txt", bars, instruments="instruments.csv")
    total = 0.0
    for symbol, (calendar, _, currency, *_) in MARKETS.items():
        alone = hx.tca_blotter(f"{symbol}_fills.txt", f"{symbol}.csv", format=Format(calendar=calendar))
        mine = np.array(together.texts["symbol"]) == symbol
        assert mine.sum() == len(alone) == 4
        for name in (*MEASURES, "arrival_price", "vwap"):
            assert together.values[name][mine] == pytest.approx(alone.values[name], nan_ok=True), name
        assert together.values["shortfall"][mine] == pytest.approx(RATES[currency] * alone.values["shortfall"])
        assert together.notional[mine] == pytest.approx(RATES[currency] * alone.notional)
        assert np.array(together.hour)[mine].tolist() == list(alone.hour)
        assert np.array(together.texts["date"])[mine].tolist() == list(alone.texts["date"])
        assert set(np.array(together.texts["currency"])[mine]) == {currency}
        total += RATES[currency] * alone.totals["shortfall"]
    assert together.totals["shortfall"] == pytest.approx(total)
    text = "notional, shortfall and fees are in USD (1 GBP = 1.25, 1 JPY = 0.0066), prices in the currency of the instrument"
    assert text in together.remarks
    assert {"currency", "rate"} <= set(together.rows())


def test_the_command_takes_lots_and_a_table_of_instruments(folder, capsys):
    bars = ["--market", *(f"{symbol}.csv" for symbol in MARKETS)]
    assert cli.main(["tca", "fills.txt", *bars, "--instruments", "instruments.csv", "--lot", "100", "--out", "orders.csv"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("12 orders, 60 executions, 3 instruments")
    assert "quantities are in lots of 100 shares" in out
    assert cli.main(["tca", "ABC_fills.txt", "--market", "ABC.csv", "--lot", "0"]) == 2
    assert "lot must be a positive number of shares, got 0" in capsys.readouterr().err


def test_quantities_in_lots_are_those_in_shares(folder):
    lines = [line.split(",") for line in Path("ABC_fills.txt").read_text().splitlines()[1:]]
    write("shares.txt", HEADER, [",".join([*c[:3], str(100 * int(c[3])), *c[4:]]) for c in lines])
    shares = hx.tca_blotter("shares.txt", "ABC.csv")
    for report in (
        hx.tca_blotter("ABC_fills.txt", "ABC.csv", lot=100),
        hx.tca_blotter("ABC_fills.txt", "ABC.csv", lot=7, instruments={"ABC": read_listings(table("ABC,100"))["ABC"]}),
    ):
        for name, values in shares.values.items():
            assert report.values[name] == pytest.approx(values, nan_ok=True), name
    own = in_shares(read_blotter("fills.txt"), 10.0, read_listings(table("VOD,50", "NINE,")))
    plain = read_blotter("fills.txt")
    ratio = own.quantity / plain.quantity
    assert [set(ratio[own.symbol.at == own.symbol.words.index(name)]) for name in MARKETS] == [{10.0}, {50.0}, {10.0}]


def table(*lines):
    """Write a table of lots and return its name."""
    write("lots.csv", "Ticker,Lot size", lines)
    return "lots.csv"


def test_what_cannot_be_added_or_placed_is_one_error(folder):
    bars = [f"{symbol}.csv" for symbol in MARKETS]

    def refused(message, header="symbol,calendar,currency,rate", fills="fills.txt", lines=(), **options):
        write("wrong.csv", header, lines)
        with pytest.raises(ValueError, match=message):
            hx.tca_blotter(fills, bars, instruments="wrong.csv", **options)

    usual = [f"{symbol},{calendar},{currency},{RATES[currency]}" for symbol, (calendar, _, currency, *_) in MARKETS.items()]
    refused(
        "several currencies .GBP, JPY, USD., whose costs have no sum", lines=[line.rpartition(",")[0] + "," for line in usual]
    )
    refused("several currencies", lines=[*usual[:2], "NINE,XTKS,USD,2"])
    refused("several currencies", lines=usual[:2])
    refused(r"wrong\.csv, line 3: .*XXXX", lines=[usual[0], "VOD,XXXX,GBP,1"])
    refused(r"wrong\.csv, line 3: symbol must be given once, got 'ABC' again", lines=[usual[0], usual[0]])
    refused(r"wrong\.csv, line 2: rate must be a positive number, got '-1'", lines=["ABC,XNYS,USD,-1"])
    refused("needs the columns symbol and any of calendar, currency, lot, rate", header="symbol,name", lines=["ABC,x"])
    refused(
        "hours must be left out where instruments have calendars of their own", lines=usual, format=Format(hours="09:30-16:00")
    )
    naive = [line.replace("+00:00", "") for line in Path("fills.txt").read_text().splitlines()[1:]]
    write("naive.txt", HEADER, naive)
    refused("carry no offset, and the instruments trade in several time zones", fills="naive.txt", lines=usual)
    write("instruments.csv", "symbol,calendar,currency,rate", usual)
    report = hx.tca_blotter("naive.txt", bars, instruments="instruments.csv", fills_format=Format(tz="UTC"))
    assert len(report) == 12
