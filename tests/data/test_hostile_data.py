"""Hostile data: each gives the right number, or one line that names what is wrong and the option that helps."""

import re
import zipfile

import numpy as np
import pyarrow
import pytest

import hyperexec_env as hx
from hyperexec_env.cli import main
from hyperexec_env.data.calendars import calendar_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.inspection import inspect_data
from hyperexec_env.data.measurement import measure
from hyperexec_env.data.reader import read_bars, read_quotes, read_trades
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.data.zones import MINUTE, day_start

# exchange_calendars calls what pandas deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning")

DAY = np.int64(86_400 * 10**9)
OPEN = np.datetime64("2026-03-02T14:30", "ns").astype(np.int64)
"""The open of New York on a Monday, nanoseconds in UTC."""
HALF, SLOPE = 0.01, 1e-6
"""Half-spread and move of the mid for a share bought, currency."""


def tape(days=2, count=3_000):
    """Return columns of trades and of quotes: buys and sells at the touch, each with a quote 1 ms before it."""
    rng = np.random.default_rng(7)
    time = np.concatenate([OPEN + day * DAY + np.sort(rng.integers(0, 23_400 * 10**9, count)) for day in range(days)])
    side, size = rng.choice([-1, 1], len(time)), 100.0 * rng.integers(1, 10, len(time))
    mid = 100.0 + np.cumsum(np.concatenate([[0.0], (SLOPE * side * size + 1e-3 * rng.standard_normal(len(time)))[:-1]]))
    return (
        {"ts": time, "price": mid + HALF * side, "size": size, "side": side},
        {"ts": time - 10**6, "bid": mid - HALF, "ask": mid + HALF},
    )


def measured(trades, quotes, **given):
    """Return the measurement of columns of trades and quotes."""
    zone = pyarrow.timestamp("ns", "UTC")
    tables = [
        pyarrow.table({**columns, "ts": pyarrow.array(np.asarray(columns["ts"]), zone)} if "ts" in columns else columns)
        for columns in (trades, quotes)
    ]
    format = Format(**{key: given.pop(key) for key in ("calendar", "hours") if key in given})
    return measure(read_trades(tables[0], format), read_quotes(tables[1], format), format, **given)


def rows(columns, chosen):
    """Return some rows of columns."""
    return {name: values[chosen] for name, values in columns.items()}


TAPES = {
    "30 trades": (lambda t, q: (rows(t, slice(30)), q), "the tape covers 1.1% of its sessions; pass adv"),
    "30 quotes": (lambda t, q: (t, rows(q, slice(30))), "the tape covers 1.1% of its sessions; pass adv"),
    "quotes that end within the data": (lambda t, q: (t, rows(q, slice(4_500))), "of its sessions; pass adv"),
    "quotes that end before the trades": (
        lambda t, q: (rows(t, slice(3_000, None)), rows(q, slice(3_000))),
        "trades from 2026-03-03 09:30 to 2026-03-03 15:59 and quotes from 2026-03-02 09:30 to 2026-03-02 15:59; pass",
    ),
    "crossed quotes": (
        lambda t, q: (t, {**q, "bid": q["ask"], "ask": q["bid"]}),
        "6,000 of 6,000 quotes have a bid above their ask, and 0 lack one of them; name the columns with --columns bid=",
    ),
    "quotes of another instrument": (
        lambda t, q: (t, {**q, "bid": 1.5 * q["bid"], "ask": 1.5 * q["ask"]}),
        "100% of the trades are more than 5 half-spreads away from the mid, the first at 100",
    ),
    "stamps of another zone": (
        lambda t, q: ({**t, "ts": t["ts"] - 5 * 3600 * 10**9}, {**q, "ts": q["ts"] - 5 * 3600 * 10**9}),
        "of the trades lie outside the hours of XNYS; pass the time zone of the stamps with --tz",
    ),
    "sizes of zero": (
        lambda t, q: ({**t, "size": 0.0 * t["size"]}, q),
        "no trade has a size above 0; name the column of the size with --columns size=",
    ),
    "a mid that never moves": (
        lambda t, q: ({**t, "price": 0.0 * t["price"] + 5.0}, {**q, "bid": 0.0 * q["bid"] + 4.9, "ask": 0.0 * q["ask"] + 5.1}),
        "the mid of the quotes never moves",
    ),
    "the side of the resting order": (
        lambda t, q: ({**t, "side": -t["side"]}, q),
        "is the side that of the resting order? Name the aggressor's with --columns side=",
    ),
    "buys alone": (lambda t, q: ({**t, "side": np.abs(t["side"])}, q), "all trades are buys; name the column"),
}


@pytest.mark.parametrize("name", TAPES)
def test_a_wrong_tape_is_refused_with_the_reason(name):
    change, message = TAPES[name]
    with pytest.raises(ValueError, match="Table") as caught:
        measured(*change(*tape()))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["crossed", "stub", "without a bid"])
def test_quotes_that_are_none_do_not_count_and_are_counted(form):
    trades, quotes = tape()
    bid, ask = quotes["bid"].copy(), quotes["ask"].copy()
    if form == "crossed":
        bid[::50] = ask[::50] + 0.05
    if form == "stub":
        bid[::50], ask[::50] = 0.01, 199_999.99
    if form == "without a bid":
        bid[::50] = 0.0
    found = measured(trades, {**quotes, "bid": bid, "ask": ask})
    assert found.spreads.quoted.value == pytest.approx(1e4 * HALF / 100.0, rel=2e-3)
    assert found.spreads.effective.value == pytest.approx(1e4 * HALF / 100.0, rel=0.05)
    sentences = {"crossed": "120 crossed quotes are not used", "stub": "120 stub quotes (half-spreads above 5%) are not used"}
    assert form not in sentences or sentences[form] in found.tape.choices


def test_a_session_ends_where_its_quotes_end():
    trades, quotes = tape()
    noon = OPEN + 9_000 * 10**9  # of the first day: trades go on, and quotes begin again on the second day
    kept = (quotes["ts"] < noon) | (quotes["ts"] > OPEN + DAY - 10**9)
    found = measured(trades, rows(quotes, kept), adv=1.5e6)
    assert found.tape.days[0].end == quotes["ts"][quotes["ts"] < noon][-1]
    assert found.tape.days[1].end > OPEN + DAY + 23_000 * 10**9


def test_hours_that_leave_most_trades_out_are_kept():
    assert len(measured(*tape(), hours="10:00-12:00").tape.days) == 2


def bars(days, minutes=5, *, kept=None, seed=0, year="2026"):
    """Return a frame of bars of New York: the rows `kept` (a function of their number), in the order that it gives."""
    rng = np.random.default_rng(seed)
    stamps = [f"{year}-{day} {at // 60:02d}:{at % 60:02d}:00" for day in days for at in range(570, 960, minutes)]
    chosen = np.arange(len(stamps)) if kept is None else kept(len(stamps), np.random.default_rng(seed + 1))
    close = 100.0 * np.exp(np.cumsum(1e-3 * rng.standard_normal(len(stamps))))
    first = np.concatenate([[100.0], close[:-1]])
    columns = {
        "ts": np.array(stamps),
        "open": first,
        "high": np.maximum(first, close) * 1.0005,
        "low": np.minimum(first, close) / 1.0005,
        "close": close,
        "volume": rng.integers(900, 1_100, len(stamps)).astype(float),
    }
    return pyarrow.table({name: values[chosen] for name, values in columns.items()})


WEEK = ["03-02", "03-03", "03-04", "03-05", "03-06"]


def test_rows_in_any_order_give_the_same_sessions():
    plain, shuffled = (read_sessions(bars(WEEK, kept=kept)) for kept in (None, lambda count, rng: rng.permutation(count)))
    np.testing.assert_array_equal(shuffled.close, plain.close)
    np.testing.assert_array_equal(shuffled.volume, plain.volume)


@pytest.mark.parametrize(("minutes", "traded"), [(1, 0.05), (1, 0.3), (5, 0.1), (5, 0.3), (15, 0.4)])
def test_the_length_of_the_bars_of_a_thin_share_is_found(minutes, traded):
    for seed in range(10):
        found = read_bars(bars(WEEK, minutes, kept=lambda count, rng: rng.random(count) < traded, seed=seed))
        assert found.minutes == minutes


def test_bars_of_weeks_are_refused():
    days = ["01-05", "01-12", "01-19", "01-26", "02-02"]
    with pytest.raises(ValueError, match="minutes or a day long, got 7 days"):
        read_bars(bars(days, kept=lambda count, rng: np.arange(0, count, 78)))


@pytest.mark.parametrize("year", ["0001", "0202", "1500", "2500", "9999"])
@pytest.mark.parametrize("mark", ["-", "/"])
def test_years_that_nanoseconds_do_not_hold_are_refused(year, mark):
    table = bars(WEEK, year=year)
    table = table.set_column(0, "ts", pyarrow.array([text.replace("-", mark) for text in table["ts"].to_pylist()]))
    with pytest.raises(ValueError, match="ts"):
        read_bars(table)


@pytest.mark.parametrize(
    ("calendar", "hours", "message"),
    [
        (
            "XTKS",
            "",
            "XTKS holds bars from 09:00 to 09:25; the data have other hours: pass another --calendar, or --hours 09:25-",
        ),
        ("XNYS", "09:15-16:00", "XNYS holds bars from 09:15 to 09:30; the data have other hours: pass other --hours"),
        ("XNYS", "09:30-16:15", "XNYS holds bars from 16:00 to 16:15; the data have other hours: pass other --hours"),
        (
            "XNYS",
            "08:00-16:00",
            "of XNYS hold 0.0% of the volume; the volume fits the session under the hours of XNYS: leave --hou",
        ),
    ],
)
def test_hours_that_are_not_those_of_the_data_are_refused(calendar, hours, message):
    with pytest.raises(ValueError, match="Table") as caught:
        read_sessions(bars(WEEK), Format(calendar=calendar, hours=hours), lenient=True)
    assert message in str(caught.value)


FRAMES = {
    "a column of lists": (lambda: {"close": [[1.0]] * 390}, "Table, row 1: close must hold numbers, got values of type list"),
    "two types in a column": (
        lambda: pandas_bars(close=[1.0, "1.0"] * 195),
        "DataFrame: Could not convert",
    ),
    "two columns of one name": (
        lambda: pandas_bars().rename(columns={"open": "close"}),
        "DataFrame: Duplicate column names found: ['ts', 'close', 'high', 'low', 'close', 'volume']; give each column one name",
    ),
    "a column alone": (lambda: pandas_bars()["close"], "bars must be a path or a data frame (pandas, polars, pyarrow, duckdb)"),
}


def pandas_bars(**columns):
    """Return the bars of a week as a frame of pandas with other columns."""
    return bars(WEEK).to_pandas().assign(**columns)


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_no_table_of_numbers_is_refused(name):
    make, message = FRAMES[name]
    frame = make()
    if isinstance(frame, dict):
        frame = bars(WEEK).set_column(4, "close", pyarrow.array(frame["close"]))
    with pytest.raises(ValueError, match=re.escape(message)):
        read_bars(frame)


OPTIONS = {
    "two columns for a field": (
        lambda path: Format(columns=("close=open", "close=high")),
        "columns must name one column for close",
    ),
    "a zone that is a number": (lambda path: read_bars(path, Format(tz=5)), "tz must be a time zone such as America/New_York"),
    "a column that is missing": (
        lambda path: inspect_data(path, Format(columns=("close=Last",))),
        "columns: close=Last is none of the columns (ts, open, high, low, close, volume)",
    ),
    "a layout of another form": (
        lambda path: inspect_data(path, Format(layout="lobster-message")),
        "the data are not in layout lobster-message (columns ts, open",
    ),
    "a path with NUL": (lambda path: read_bars("a\0b.csv"), "cannot read 'a\\x00b.csv': a path must not hold a NUL character"),
    "no path": (lambda path: read_bars(""), "cannot read '': "),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_named(tmp_path, name):
    call, message = OPTIONS[name]
    path = tmp_path / "bars.csv"
    bars(WEEK).to_pandas().to_csv(path, index=False)
    with pytest.raises(ValueError, match=re.escape(message)):
        call(path)


def test_markets_without_sessions_in_the_years_of_the_data_are_no_advice():
    with pytest.raises(ValueError, match="pass the time zone") as caught:
        read_sessions(bars(["01-13", "01-14", "01-15"], year="1900"))  # a Saturday, a Sunday and a Monday
    assert "XTKS" not in str(caught.value)


def test_a_column_with_a_usual_name_that_is_not_read_is_said(tmp_path):
    rows = [f"2024-03-05 10:{minute:02d},100,101,99,100,5,{15 * minute},7" for minute in range(30)]
    (tmp_path / "bars.csv").write_text("\n".join(["ts,open,high,low,close,volume,vol,trades", *rows]))
    (choice,) = [text for text in hx.read_bars(tmp_path / "bars.csv").provenance.choices if "is not read" in text]
    assert choice.endswith("column volume is read as volume, and vol is not read: pass --columns volume=NAME if it should be")
    given = hx.read_bars(tmp_path / "bars.csv", hx.Format(columns=("volume=vol",)))
    assert not any("is not read" in text for text in given.provenance.choices)
    assert given.volume[2] == 30.0


def test_an_archive_of_too_many_files_is_refused_before_they_are_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.csv", "ts,open,high,low,close\n")
    with pytest.raises(ValueError, match=r"many.zip: the archive holds 1,001 files \(at most 1,000\); unpack it into a folder"):
        hx.read_bars(tmp_path / "many.zip")


def test_trades_that_are_given_twice_are_refused(tmp_path):
    (tmp_path / "trades.csv").write_text("ts,price,size\n2024-03-05 10:00:00,100,5\n2024-03-05 10:00:01,100,5\n")
    with pytest.raises(ValueError, match=r"trades.csv is given twice: its trades would count twice"):
        hx.read_trades([tmp_path / "trades.csv"] * 2)


def test_the_longer_days_of_tokyo_are_called_longer():
    calendar = calendar_of("XTKS")
    days = calendar.sessions(day_start("2024-10-28"), day_start("2024-11-08"))
    assert {item.minutes for item in days} == {300, 330}
    times = np.concatenate([np.arange(item.open, item.close, 5 * MINUTE) for item in days])
    pauses = [(times >= item.break_start) & (times < item.break_end) for item in days]
    times = times[~np.any(pauses, axis=0)]
    close = 100.0 + np.cumsum(np.random.default_rng(0).normal(0.0, 0.01, len(times)))
    columns = {"open": close, "high": close + 0.1, "low": close - 0.1, "close": close, "volume": np.full(len(times), 50.0)}
    table = pyarrow.table({"ts": times.astype("datetime64[ns]"), **columns})
    kinds = hx.read_sessions(table, hx.Format(calendar="XTKS", tz="UTC"), lenient=True).report.counts()
    assert "half day" not in kinds
    assert kinds["longer day"] >= 3


@pytest.mark.parametrize("place", ["columns.read_numbers", "reader._zone_choice", "sessions._lay_out"])
def test_a_file_that_exceeds_the_memory_is_named(tmp_path, monkeypatch, capsys, place):
    def exhausted(*_):
        raise MemoryError

    (tmp_path / "bars.csv").write_text("ts,open,high,low,close\n2024-03-05 10:00,1,1,1,1\n2024-03-05 10:01,1,1,1,1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"hyperexec_env.data.{place}", exhausted)
    assert main(["calibrate", "bars.csv", "--out", "a.toml"]) == 2
    assert capsys.readouterr().err == "hyperexec: error: not enough memory: bars.csv (too many rows); give fewer rows\n"
