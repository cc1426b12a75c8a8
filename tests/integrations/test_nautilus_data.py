"""Tables of this package as data of nautilus_trader: times, prices, sizes, levels, and rows that are left out."""

import numpy as np
import pytest

pytest.importorskip("nautilus_trader", reason="needs the extra `nautilus`, in an environment of its own (docs/nautilus.md)")

from nautilus_trader.model.enums import AggressorSide

from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_book, read_quotes, read_trades
from hyperexec_env.data.tape import quotes_of_book
from hyperexec_env.integrations.nautilus_data import depths, equity, quote_ticks, trade_ticks

STOCK = equity("AAPL", "XNAS")
UTC = Format(calendar="24/7", tz="UTC")


def write(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_quotes_are_valid_from_their_times_and_only_changes_are_kept(tmp_path):
    rows = ["2024-03-08T15:00:00.250Z,10.00,300,10.02,500", "2024-03-08T15:00:00.500Z,10.00,300,10.02,500"]
    rows += ["2024-03-08T15:00:01.125Z,10.01,300,10.02,400", "2024-03-08T15:00:02.000Z,10.03,300,10.02,400"]
    rows += ["2024-03-08T15:00:03.000Z,10.01,0,10.02,400"]
    quotes = read_quotes(write(tmp_path / "quotes.csv", "time,bid,bid_size,ask,ask_size", *rows), UTC)
    made = quote_ticks(quotes, STOCK)
    assert [str(tick) for tick in made] == [
        f"AAPL.XNAS,10.00,10.02,300,500,{quotes.time[0]}",
        f"AAPL.XNAS,10.01,10.02,300,400,{quotes.time[2]}",
    ]
    assert [tick.ts_init for tick in made] == [tick.ts_event for tick in made]


def test_quotes_on_a_grid_are_valid_from_the_end_of_their_interval(tmp_path):
    rows = [f"2024-03-08T15:00:{second:02d}Z,10.0{second},300,10.09,500" for second in range(4)]
    quotes = read_quotes(write(tmp_path / "quotes.csv", "time,bid,bid_size,ask,ask_size", *rows), UTC)
    assert [tick.ts_event for tick in quote_ticks(quotes, STOCK)] == (quotes.time + 10**9).tolist()


def test_quotes_without_sizes_are_refused(tmp_path):
    quotes = read_quotes(write(tmp_path / "quotes.csv", "time,bid,ask", "2024-03-08T15:00:00.250Z,10.00,10.02"), UTC)
    with pytest.raises(ValueError, match=r"quotes\.csv: the quotes hold no sizes"):
        quote_ticks(quotes, STOCK)


def test_trades_keep_their_side_and_lose_what_cannot_fill(tmp_path):
    rows = ["2024-03-08T15:00:00Z,10.011,300,buy", "2024-03-08T15:00:01Z,10.02,0,buy", "2024-03-08T15:00:02Z,10.02,7,sell"]
    trades = read_trades(write(tmp_path / "trades.csv", "time,price,size,side", *rows), UTC)
    made = trade_ticks(trades, STOCK)
    assert [(str(tick.price), str(tick.size), tick.aggressor_side) for tick in made] == [
        ("10.01", "300", AggressorSide.BUYER),
        ("10.02", "7", AggressorSide.SELLER),
    ]


def test_a_book_has_all_its_levels(tmp_path):
    book = ["1000200,50,1000000,40,1000300,60,999900,30", "1000200,50,1000000,40,9999999999,0,-9999999999,0"]
    book += ["1000200,50,1000000,40,9999999999,0,-9999999999,0", "1000100,20,1000000,40,1000200,50,999900,30"]
    messages = [f"34200.{at},1,{at},10,1000000,1" for at in range(4)]
    paths = [tmp_path / f"AAPL_2024-03-08_34200000_57600000_{name}_2.csv" for name in ("message", "orderbook")]
    for path, rows in zip(paths, (messages, book), strict=True):
        path.write_text("\n".join(rows) + "\n")
    table = read_book(*paths)
    made = depths(table, STOCK)
    assert [depth.ts_event for depth in made] == table.time[[0, 1, 3]].tolist()
    levels = [[(float(order.price), float(order.size)) for order in depth.asks if float(order.size)] for depth in made]
    assert levels == [[(100.02, 50.0), (100.03, 60.0)], [(100.02, 50.0)], [(100.01, 20.0), (100.02, 50.0)]]
    assert [float(depth.bids[0].price) for depth in made] == [100.0] * 3
    best = depths(quotes_of_book(table), STOCK)
    assert [float(depth.asks[0].size) for depth in best] == [50.0, 20.0]
    assert np.isclose(float(best[1].asks[0].price), 100.01)
