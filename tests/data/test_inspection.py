"""Inspection of data: what was recognised, which sessions can be used, the picture; and bars from trades."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from hyperexec_env.cli import main
from hyperexec_env.data.aggregate import bars_of_trades
from hyperexec_env.data.format import Format
from hyperexec_env.data.inspection import inspect_data
from hyperexec_env.data.reader import read_bars, read_trades

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real bars: set HYPEREXEC_DATA to the folder that holds bars_1min/")

ALWAYS = Format(calendar="24/7")


def tape(days=2, seed=0, per_minute=3):
    """Return a frame of trades on every minute of some days in UTC."""
    rng = np.random.default_rng(seed)
    count = days * 1440 * per_minute
    time = np.datetime64("2024-03-04", "us") + (np.arange(count) * 60_000_000 // per_minute).astype("timedelta64[us]")
    price = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-4, count))), 2)
    return pyarrow.table({"ts": time, "price": price, "size": rng.integers(1, 100, count), "side": rng.choice([1, -1], count)})


def bars_frame(days=3):
    """Return a frame of five-minute bars of New York sessions, of which the second lacks an hour."""
    rng = np.random.default_rng(1)
    rows = []
    for day in range(days):
        for minute in range(570, 960, 5):
            if day == 1 and 700 <= minute < 760:
                continue
            stamp = np.datetime64("2024-03-05T00:00") + np.timedelta64(day * 1440 + minute, "m")
            rows.append((stamp, 100.0, 100.2, 99.8, 100.1, int(rng.integers(900, 1100))))
    names = ("ts", "open", "high", "low", "close", "volume")
    columns = dict(zip(names, map(np.asarray, zip(*rows, strict=True)), strict=True))
    return pyarrow.table({**columns, "ts": columns["ts"].astype("datetime64[us]")})


def test_bars_of_trades_are_those_of_a_plain_loop():
    trades = read_trades(tape(), ALWAYS)
    for minutes in (1, 5, 30):
        bars = bars_of_trades(trades, minutes)
        groups = trades.time // (minutes * 60_000_000_000)
        for at, group in list(enumerate(np.unique(groups)))[:: 7 * minutes]:
            prices, sizes = trades.price[groups == group], trades.size[groups == group]
            assert bars.time[at] == group * minutes * 60_000_000_000
            expected = (prices[0], prices.max(), prices.min(), prices[-1], sizes.sum())
            assert (bars.open[at], bars.high[at], bars.low[at], bars.close[at], bars.volume[at]) == expected
        assert bars.volume.sum() == trades.size.sum()
    doubted = replace(trades, suspicious=np.arange(len(trades)) % 2 == 0)
    assert bars_of_trades(doubted).volume.sum() == trades.size[1::2].sum()
    with pytest.raises(ValueError, match="minutes must be a divisor of 60, got 7"):
        bars_of_trades(trades, 7)


def test_trades_are_inspected_as_their_bars():
    found = inspect_data(tape(3), ALWAYS)
    assert found.kind == "trades"
    assert [line.state for line in found.lines] == ["used"] * 3
    assert sum(line.volume for line in found.lines) == found.table.size.sum()
    assert found.fault == ""


def test_each_session_that_is_left_out_has_its_reason(tmp_path, capsys):
    from pyarrow import csv

    csv.write_csv(bars_frame(), tmp_path / "bars.csv")
    assert main(["data", "check", str(tmp_path / "bars.csv"), "--json", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("2024-03-0")]
    assert [line.split()[0] for line in lines] == ["2024-03-05", "2024-03-06", "2024-03-07"]
    assert lines[0].endswith("used")
    plain = json.loads((tmp_path / "out.json").read_text())
    assert plain["kind"] == "bars"
    assert plain["bars"]["provenance"]["columns"]["close"] == "close"
    assert len(plain["sessions"]) == 3


def test_unusable_data_end_with_code_one_and_the_reason(tmp_path, capsys):
    from pyarrow import csv

    table = bars_frame(1)
    csv.write_csv(table.slice(0, 20), tmp_path / "bars.csv")
    assert main(["data", "check", str(tmp_path / "bars.csv")]) == 1
    assert "not usable: " in capsys.readouterr().out


def test_quotes_are_inspected_by_their_spread():
    quotes = pyarrow.table(
        {
            "ts": np.datetime64("2024-03-04T10:00", "us") + np.arange(100).astype("timedelta64[s]"),
            "bid": np.full(100, 99.99),
            "ask": np.full(100, 100.01),
        }
    )
    found = inspect_data(quotes, ALWAYS)
    assert found.kind == "quotes"
    assert found.lines[0].half_spread_bps == pytest.approx(1.0)
    swapped = quotes.rename_columns(["ts", "ask", "bid"])
    assert "are the columns swapped?" in inspect_data(swapped, ALWAYS).fault


@pytest.mark.parametrize("end", ["png", "svg", "pdf"])
def test_the_picture_is_written_in_each_form(tmp_path, capsys, end):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    from pyarrow import csv

    csv.write_csv(bars_frame(), tmp_path / "bars.csv")
    target = tmp_path / f"bars.{end}"
    assert main(["data", "check", str(tmp_path / "bars.csv"), "--picture", str(target)]) == 0
    assert target.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    assert main(["data", "check", str(tmp_path / "bars.csv"), "--picture", str(tmp_path / "bars.gif")]) == 2
    assert "must end in .png, .svg or .pdf" in capsys.readouterr().err


@needs_data
def test_real_ticks_give_the_volume_of_the_minute_bars():
    bars = bars_of_trades(read_trades(DATA / "us_equity_tick" / "IBM_tick_trade_20131007_20131011.csv.gz"))
    minute = read_bars(DATA / "us_equity_minute" / "IBM_minute_trade_20131004_20131011.csv.gz")
    shared, here, there = np.intersect1d(bars.time, minute.time, return_indices=True)
    assert len(shared) > 1900
    assert (bars.volume[here] == minute.volume[there]).mean() > 0.98
    assert np.abs(bars.close[here] / minute.close[there] - 1.0).mean() < 1e-4  # the vendor takes no price from odd lots
