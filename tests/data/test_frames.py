"""Data frames and parquet files give the bars of the same csv file, for every library and type of column."""

import datetime as dt
import decimal
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from pyarrow import parquet

from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars, read_trades

NEW_YORK = "America/New_York"
TIMES = [dt.datetime(2024, 3, day, 9, 30 + at, tzinfo=ZoneInfo(NEW_YORK)) for day in (8, 11) for at in range(5)]
UTC = [round(time.timestamp()) * 10**9 for time in TIMES]
RNG = np.random.default_rng(5)
OPEN, CLOSE = (np.round(RNG.normal(170.0, 1.0, len(TIMES)), 2) for _ in range(2))
COLUMNS = {
    "open": OPEN,
    "high": np.round(np.maximum(OPEN, CLOSE) + 0.07, 2),
    "low": np.round(np.minimum(OPEN, CLOSE) - 0.05, 2),
    "close": CLOSE,
    "volume": RNG.integers(1_000, 900_000, len(TIMES)),
}
NAIVE = [time.replace(tzinfo=None) for time in TIMES]


def pandas_frame(index):
    return pandas.DataFrame(COLUMNS, index=pandas.DatetimeIndex(index))


def table(**times):
    return pa.table({**times, **COLUMNS})


def yfinance(symbols=("AAPL",)):
    """Return what yfinance.download gives: columns of pairs, the first instrument with other prices."""
    frame = pandas.DataFrame(
        {(name.title(), symbol): values / (1 + at) for name, values in COLUMNS.items() for at, symbol in enumerate(symbols)},
        index=pandas.DatetimeIndex(TIMES, name="Datetime"),
    )
    frame.columns = pandas.MultiIndex.from_tuples(frame.columns, names=["Price", "Ticker"])
    return frame


def decimals(values):
    return pa.array([decimal.Decimal(str(value)) for value in values], pa.decimal128(18, 4))


FRAMES = {
    "pandas, index with a zone": lambda: pandas_frame(TIMES),
    "pandas, index without a zone": lambda: pandas_frame(NAIVE),
    "pandas, named index": lambda: pandas_frame(TIMES).rename_axis("Date"),
    "pandas, column of texts": lambda: pandas.DataFrame({"Time": [str(time) for time in TIMES], **COLUMNS}),
    "pandas, categories": lambda: pandas.DataFrame(
        {"ts": TIMES, "symbol": pandas.Categorical(["A"] * len(TIMES), ["A", "B"]), **COLUMNS}
    ),
    "yfinance": yfinance,
    "polars": lambda: polars.DataFrame({"datetime": TIMES, **COLUMNS}),
    "polars, without a zone, milliseconds": lambda: polars.DataFrame({"datetime": NAIVE, **COLUMNS}).with_columns(
        polars.col("datetime").cast(polars.Datetime("ms"))
    ),
    "polars, lazy": lambda: polars.LazyFrame({"datetime": TIMES, **COLUMNS}),
    "polars, date and time": lambda: polars.DataFrame(
        {"date": [time.date() for time in NAIVE], "time": [time.time() for time in NAIVE], **COLUMNS}
    ),
    "pyarrow, another zone": lambda: table(ts=pa.array(TIMES, pa.timestamp("us", "Asia/Tokyo"))),
    "pyarrow, nanoseconds in UTC": lambda: table(ts=pa.array(UTC, pa.timestamp("ns", "UTC"))),
    "pyarrow, epochs": lambda: table(ts=pa.array([time // 10**6 for time in UTC], pa.int64())),
    "pyarrow, epochs as floats": lambda: table(ts=pa.array([time / 1e9 for time in UTC], pa.float64())),
    "pyarrow, decimals": lambda: (
        table(ts=TIMES).drop(["open", "close"]).append_column("open", decimals(OPEN)).append_column("close", decimals(CLOSE))
    ),
    "pyarrow, float volume with nulls": lambda: (
        table(ts=TIMES).drop(["volume"]).append_column("volume", pa.array([*COLUMNS["volume"].astype(float)]))
    ),
    "pyarrow, dictionary of prices": lambda: (
        table(ts=TIMES).drop(["open"]).append_column("open", pa.array(OPEN).dictionary_encode())
    ),
    "pyarrow, chunks": lambda: pa.concat_tables([table(ts=TIMES).slice(0, 3), table(ts=TIMES).slice(3)]),
    "duckdb": lambda: duckdb.from_arrow(table(ts=pa.array(TIMES, pa.timestamp("us", "UTC")))),
}


def check(bars):
    assert bars.time.tolist() == UTC
    for key, values in COLUMNS.items():
        assert getattr(bars, key).tolist() == values.tolist(), key


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_gives_the_bars(name):
    check(read_bars(FRAMES[name]()))


@pytest.mark.parametrize("name", [name for name in FRAMES if name.startswith(("pyarrow", "polars", "pandas"))])
def test_a_parquet_file_gives_the_bars(tmp_path, name):
    frame = FRAMES[name]()
    frame = frame.collect() if isinstance(frame, polars.LazyFrame) else frame
    frame = pa.Table.from_pandas(frame) if isinstance(frame, pandas.DataFrame) else pa.table(frame)
    parquet.write_table(frame, tmp_path / "bars.parquet")
    check(read_bars(tmp_path / "bars.parquet"))


def test_a_parquet_file_in_a_zip_archive_gives_the_bars(tmp_path):
    import zipfile

    parquet.write_table(table(ts=TIMES), tmp_path / "bars.parquet")
    with zipfile.ZipFile(tmp_path / "bars.zip", "w") as archive:
        archive.write(tmp_path / "bars.parquet", "bars.parquet")
    check(read_bars(tmp_path / "bars.zip"))


def test_one_instrument_of_several_beside_each_other_is_chosen():
    frame = yfinance(("AAPL", "MSFT"))
    with pytest.raises(ValueError, match=r"AAPL, MSFT; choose one with --symbol"):
        read_bars(frame)
    with pytest.raises(ValueError, match=r"AAPL, MSFT; got 'TSLA'"):
        read_bars(frame, Format(symbol="TSLA"))
    check(read_bars(frame, Format(symbol="AAPL")))
    assert read_bars(frame, Format(symbol="MSFT")).open.tolist() == (OPEN / 2).tolist()
    assert read_bars(yfinance()).symbol == "AAPL"


def test_days_of_a_frame_are_those_of_the_exchange():
    days = [dt.date(2024, 3, day) for day in (7, 8, 11, 12, 13, 14, 15, 18, 19, 20)]
    bars = read_bars(pa.table({"date": pa.array(days, pa.date32()), **COLUMNS}))
    assert (bars.minutes, bars.provenance.zone) == (1440, NEW_YORK)
    midnight = [dt.datetime.combine(day, dt.time(), ZoneInfo("Asia/Tokyo")) for day in days]
    tokyo = read_bars(
        pa.table({"date": pa.array(midnight, pa.timestamp("s", "Asia/Tokyo")), **COLUMNS}), Format(calendar="XTKS")
    )
    assert (tokyo.minutes, tokyo.provenance.zone) == (1440, "Asia/Tokyo")


def test_several_frames_are_one_table_in_the_order_of_time():
    parts = [pandas_frame(TIMES).iloc[5:], pandas_frame(TIMES).iloc[:5]]
    check(read_bars(parts))


def test_a_row_of_a_frame_is_named_in_the_error():
    frame = polars.DataFrame({"ts": TIMES, **COLUMNS, "note": ["x"] * len(TIMES)}).with_columns(
        close=polars.when(polars.int_range(10) == 6).then(-1.0).otherwise(polars.col("close"))
    )
    with pytest.raises(ValueError, match=r"DataFrame, row 7: close must be a number above 0, got -1"):
        read_bars(frame)


def test_a_column_of_two_levels_of_times_is_refused():
    with pytest.raises(
        ValueError, match=r"bars must be a path or a data frame \(pandas, polars, pyarrow, duckdb\), got ndarray"
    ):
        read_bars(np.zeros((4, 5)))


def test_nanoseconds_of_trades_survive():
    times = [time + 123_456_789 for time in UTC]
    frame = pa.table({"ts": pa.array(times, pa.timestamp("ns", "UTC")), "price": OPEN, "size": COLUMNS["volume"]})
    assert read_trades(frame).time.tolist() == times


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_rows_without_prices_are_left_out_and_counted(missing):
    rows = {"ts": TIMES[-1] + dt.timedelta(minutes=1), **dict.fromkeys(COLUMNS, missing), "volume": 0}
    frame = pandas.concat([pandas.DataFrame({"ts": TIMES, **COLUMNS}), pandas.DataFrame([rows])])
    for data in (frame, polars.from_pandas(frame, nan_to_null=False)):
        bars = read_bars(data)
        check(bars)
        assert bars.provenance.dropped == {"rows without prices": 1}
