"""Books of LOBSTER: messages and levels are read as delivered, with and without a header, in one file or several."""

import numpy as np
import pytest

from hyperexec_env.data.reader import read_book, read_trades
from hyperexec_env.data.zones import day_start, utc_of

COUNT = 12
RNG = np.random.default_rng(3)
CLOCK = 34_200 * 10**9 + np.cumsum(RNG.integers(10**6, 10**9, COUNT))
"""Nanoseconds after midnight in New York."""
KIND = [1, 4, 5, 2, 3, 1, 4, 4, 5, 1, 7, 3]
SIZE, SIDE = RNG.integers(1, 900, COUNT), RNG.choice([-1, 1], COUNT)
PRICE = RNG.integers(1_690_000, 1_710_000, COUNT) // 100 * 100
BID, ASK = PRICE - 100, PRICE + 100
NAMES = "Time,Type,OrderID,Size,Price,Direction", "ASKp1,ASKs1,BIDp1,BIDs1"


def write(folder, day="2024-03-08", header=False):
    """Write the messages and the book of a day; on one side a level is empty."""
    messages = [
        f"{clock // 10**9}.{clock % 10**9:09d},{kind},{at},{size},{price},{side}"
        for at, (clock, kind, size, price, side) in enumerate(zip(CLOCK, KIND, SIZE, PRICE, SIDE, strict=True))
    ]
    book = [f"{ask},{size},{bid},7" for ask, size, bid in zip(ASK, SIZE, BID, strict=True)]
    book[3] = f"9999999999,0,{BID[3]},7"
    paths = [folder / f"AAPL_{day}_34200000_57600000_{name}_1.csv" for name in ("message", "orderbook")]
    for path, names, rows in zip(paths, NAMES, (messages, book), strict=True):
        path.write_text("\n".join([*([names] if header else []), *rows]) + "\n")
    return paths


def times(day="2024-03-08"):
    return utc_of(CLOCK + day_start(day), "America/New_York").tolist()


@pytest.mark.parametrize("header", [False, True])
def test_the_book_is_read_as_delivered(tmp_path, header):
    table = read_book(*write(tmp_path, header=header))
    assert table.time.tolist() == times()
    assert table.price.tolist() == [float(f"{price / 1e4:.2f}") for price in PRICE]
    assert (table.type.tolist(), table.direction.tolist(), table.size.tolist()) == (KIND, SIDE.tolist(), SIZE.tolist())
    assert table.bid[:, 0].tolist() == [float(f"{bid / 1e4:.2f}") for bid in BID]
    offers = [float(f"{ask / 1e4:.2f}") for ask in ASK]
    offers[3] = np.nan
    np.testing.assert_array_equal(table.ask[:, 0], offers)
    assert table.ask_size[3, 0] == 0.0
    assert table.provenance.layout == "lobster-message"


@pytest.mark.parametrize("header", [False, True])
def test_executions_are_trades_against_the_resting_side(tmp_path, header):
    table = read_trades(write(tmp_path, header=header)[0])
    chosen = [at for at, kind in enumerate(KIND) if kind in (4, 5)]
    assert table.side.tolist() == [-SIDE[at] for at in chosen]
    assert table.price.tolist() == [float(f"{PRICE[at] / 1e4:.2f}") for at in chosen]
    assert [table.conditions[at] for at in table.condition] == ["hidden" if KIND[at] == 5 else "visible" for at in chosen]
    assert table.where(1).endswith(f"line {chosen[1] + 1 + header}")


def test_messages_and_books_of_several_days_stay_together(tmp_path):
    late, early = (write(tmp_path, day) for day in ("2024-03-11", "2024-03-08"))
    early[1].write_text(early[1].read_text().replace(",7", ",9"))
    table = read_book([late[0], early[0]], [late[1], early[1]])
    assert table.time.tolist() == [*times(), *times("2024-03-11")]
    assert table.bid_size[:, 0].tolist() == [9.0] * COUNT + [7.0] * COUNT
