"""Public market data: every file is recognised, with the rows, the clock and the stamps that its README states."""

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars, read_book, read_quotes, read_trades

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="real data: set HYPEREXEC_DATA to the folder that holds bars_1min/"),
]
FOLDERS = {
    "bars_1min": (read_bars, "columns by name", "America/New_York"),
    "bars_5min": (read_bars, "columns by name", "America/New_York"),
    "dirty": (read_bars, "columns by name", "America/New_York"),
    "crypto": (read_bars, "columns by name", "UTC"),
    "crypto_l1/*trades*": (read_trades, "columns by name", "UTC"),
    "crypto_l1/*quotes*": (read_quotes, "columns by name", "UTC"),
    "us_equity_minute/*trade*": (read_bars, "lean-bars", "America/New_York"),
    "us_equity_minute/*quote*": (read_quotes, "lean-quote-bars", "America/New_York"),
    "us_equity_second": (read_quotes, "lean-quote-bars", "America/New_York"),
    "us_equity_tick": (read_trades, "lean-ticks", "America/New_York"),
}
"""Folder or pattern -> reader, layout and zone of the stamps."""


def files():
    return [
        (pattern, path.name)
        for pattern in FOLDERS
        for path in sorted(DATA.glob(pattern if "*" in pattern else f"{pattern}/*.gz"))
    ]


@pytest.mark.parametrize(("pattern", "name"), files())
def test_each_file_is_read_whole_and_begins_at_the_right_time(pattern, name):
    read, layout, zone = FOLDERS[pattern]
    path = DATA / pattern.split("/")[0] / name
    with gzip.open(path, "rt") as file:
        header, first, *others = file.read().splitlines()
    table = read(path, Format(calendar="24/7" if "crypto" in pattern else "XNYS"))
    assert (len(table), table.provenance.layout) == (len(others) + 1, layout)
    stamp = first.split(",")[0]
    if "ms" in header.split(","):
        midnight = datetime.strptime(stamp, "%Y%m%d").replace(tzinfo=ZoneInfo(zone))
        expected = int(midnight.timestamp()) * 10**9 + int(first.split(",")[1]) * 10**6
    elif header.startswith("local_ts_ns"):
        expected = int(stamp)
    else:
        moment = datetime.fromisoformat(stamp)
        expected = int((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()) * 10**9
    assert table.time[0] == expected
    assert (table.time[1:] >= table.time[:-1]).all()


def test_the_book_of_amazon_agrees_with_its_messages():
    files = [next((DATA / "lobster").glob(f"*_{name}_1.csv.gz")) for name in ("message", "orderbook")]
    book = read_book(*files)
    assert len(book) == 57_515
    assert datetime.fromtimestamp(book.time[0] / 1e9, UTC).date().isoformat() == "2012-06-21"
    assert (book.ask[:, 0] > book.bid[:, 0]).all()
    visible = read_trades(files[0])
    assert len(visible) == int(((book.type == 4) | (book.type == 5)).sum())
    shares = visible.size.sum()
    hidden = visible.size[visible.condition == visible.conditions.index("hidden")].sum()
    assert 0.2 < hidden / shares < 0.3  # README: about a quarter of the volume
