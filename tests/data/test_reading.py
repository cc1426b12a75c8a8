"""Laws of reading: whatever notation bars, times, numbers and sides are written in, they come back exactly."""

import datetime as dt
import gzip
import io
import json
import math
import zipfile
from zoneinfo import ZoneInfo

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from hyperexec_env.data.format import Format
from hyperexec_env.data.layouts import FIELDS, NAMES
from hyperexec_env.data.numbers import SIDES, decimal_mark, read_numbers, read_sides
from hyperexec_env.data.reader import read_bars, read_trades
from hyperexec_env.data.stamps import read_clock, read_stamps, stamp_style
from hyperexec_env.data.zones import date_of, day_start, local_of, offset_text, utc_of

ZONES = ["America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Sydney", "Australia/Lord_Howe", "America/Sao_Paulo"]
ZONES += ["Africa/Casablanca", "Asia/Kolkata", "US/Eastern", "EST", "UTC", "Etc/GMT+5"]
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SECOND = 10**9


def nanoseconds(moment):
    return int((moment.astimezone(dt.UTC) - EPOCH) / dt.timedelta(microseconds=1)) * 1000


def wall(moment):
    return nanoseconds(moment.replace(tzinfo=dt.UTC))


def place(row):
    return f"row {row}"


# ------------------------------------------------------------------------------------------------------------- time zones


@given(st.sampled_from(ZONES), st.lists(st.datetimes(dt.datetime(1972, 1, 1), dt.datetime(2099, 12, 31)), min_size=1))
def test_utc_of_a_wall_clock_is_that_of_the_standard_library(zone, moments):
    found = utc_of(np.array([wall(moment) for moment in moments]), zone)
    assert found.tolist() == [nanoseconds(moment.replace(tzinfo=ZoneInfo(zone))) for moment in moments]


@given(st.sampled_from(ZONES), st.lists(st.datetimes(dt.datetime(1972, 1, 1), dt.datetime(2099, 12, 31)), min_size=1))
def test_the_wall_clock_of_utc_is_that_of_the_standard_library(zone, moments):
    found = local_of(np.array([wall(moment) for moment in moments]), zone)
    expected = [moment.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in moments]
    assert found.tolist() == [wall(moment) for moment in expected]


def changes(zone, years):
    """Return the hours of UTC at which a zone changes its offset."""
    hours = [dt.datetime(year, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=30 * k) for year in years for k in range(365 * 48)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hour for before, after, hour in zip(offsets, offsets[1:], hours[1:], strict=False) if before != after]


@pytest.mark.parametrize(
    "zone", [zone for zone in ZONES if zone not in ("Asia/Tokyo", "Asia/Kolkata", "EST", "UTC", "Etc/GMT+5")]
)
def test_every_minute_around_each_change_of_clocks_is_right(zone):
    found = changes(zone, (2018, 2024))
    assert found
    for change in found:
        minutes = [change + dt.timedelta(minutes=minute) for minute in range(-180, 181)]
        utc = np.array([nanoseconds(minute) for minute in minutes])
        clocks = [minute.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for minute in minutes]
        assert local_of(utc, zone).tolist() == [wall(clock) for clock in clocks]
        naive = [change.replace(tzinfo=None) + dt.timedelta(minutes=minute) for minute in range(-900, 900)]
        expected = [nanoseconds(clock.replace(tzinfo=ZoneInfo(zone))) for clock in naive]  # fold = 0, also where none shows it
        assert utc_of(np.array([wall(clock) for clock in naive]), zone).tolist() == expected


def test_an_offset_is_written_with_its_sign():
    summer, winter = (day_start(f"2024-{month}-01") for month in ("07", "01"))
    assert [offset_text(summer, zone) for zone in ("America/New_York", "Asia/Kolkata", "UTC")] == ["-04:00", "+05:30", "+00:00"]
    assert offset_text(winter, "America/New_York") == "-05:00"
    assert date_of(summer) == "2024-07-01"


# ----------------------------------------------------------------------------------------------------------------- stamps

FORMS = {
    "%Y-%m-%d %H:%M:%S": "", "%Y-%m-%dT%H:%M:%S": "", "%Y%m%d %H%M%S": "", "%Y%m%d %H:%M:%S": "", "%Y/%m/%d %H:%M:%S": "",
    "%Y.%m.%dD%H:%M:%S": "", "%d-%b-%Y %H:%M:%S": "", "%b %d, %Y %H:%M:%S": "", "%m/%d/%Y %I:%M:%S %p": "mdy",
    "%d/%m/%Y %H:%M:%S": "dmy", "%d.%m.%Y %H:%M:%S": "dmy", "%m-%d-%Y %H:%M:%S": "mdy", "%m/%d/%y %H:%M:%S": "mdy",
    "%Y%m%d%H%M%S": "", "%d-%b-%y %H:%M:%S": "",
}  # fmt: skip
"""Forms of a stamp, and the order of the date where it must be given."""
MOMENTS = st.lists(st.datetimes(dt.datetime(1991, 1, 1), dt.datetime(2060, 12, 31)), min_size=1, max_size=20)


@given(st.sampled_from(list(FORMS)), MOMENTS)
def test_stamps_in_every_form_come_back(form, moments):
    moments = [moment.replace(microsecond=0) for moment in moments]
    texts = [moment.strftime(form) for moment in moments]
    style, _ = stamp_style(texts, FORMS[form])
    time, aware = read_stamps(pa.array(texts), style, place, "ts")
    assert (time.tolist(), aware) == ([wall(moment) for moment in moments], False)


@given(MOMENTS, st.integers(1, 9), st.sampled_from(["Z", "+00:00", "-05:00", "+0530", "+09", " UTC", " EST"]), st.booleans())
def test_offsets_and_fractions_of_a_second_come_back(moments, digits, offset, blank):
    texts, times = [], []
    shift = {"-05:00": -300, " EST": -300, "+0530": 330, "+09": 540}.get(offset, 0) * 60 * SECOND
    for moment in moments:
        fraction = f"{moment.microsecond * 1000:09d}"[:digits]
        texts.append(f"{moment:%Y-%m-%d}{' ' if blank else 'T'}{moment:%H:%M:%S}.{fraction}{offset}")
        times.append(wall(moment.replace(microsecond=0)) + int(fraction.ljust(9, "0")) - shift)
    time, aware = read_stamps(pa.array(texts), stamp_style(texts)[0], place, "ts")
    assert (time.tolist(), aware) == (times, True)


@given(
    st.lists(st.integers(640_000_000 * SECOND, 4_000_000_000 * SECOND), min_size=1), st.sampled_from(["s", "ms", "us", "ns"])
)
def test_epochs_in_every_unit_come_back(times, unit):
    size = {"s": SECOND, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    whole = [time // size for time in times]
    style, _ = stamp_style([str(value) for value in whole])
    assert style.form == f"epoch {unit}"
    for column in (pa.array(whole), pa.array([str(value) for value in whole])):
        assert read_stamps(column, style, place, "ts")[0].tolist() == [value * size for value in whole]
    digits = len(str(size)) - 1
    if digits:
        texts = [f"{time // size}.{time % size:0{digits}d}" for time in times]
        assert read_stamps(pa.array(texts), style, place, "ts")[0].tolist() == times


@given(st.lists(st.integers(0, 86_399), min_size=1))
def test_times_of_day_in_every_form_come_back(seconds):
    clocks = [dt.time(second // 3600, second // 60 % 60, second % 60) for second in seconds]
    texts = {
        "clock": [f"{clock:%H:%M:%S}" for clock in clocks],
        "hhmmss": [f"{clock:%H%M%S}" for clock in clocks],
        "ms": [str(second * 1000) for second in seconds],
        "s": [str(second) for second in seconds],
    }
    expected = [second * SECOND for second in seconds]
    for unit, column in texts.items():
        assume(unit != "hhmmss" or max(map(int, column)) > 2400)
        assert read_clock(pa.array(column), unit, place, "time").tolist() == expected
    assert read_clock(pa.array([f"{clock:%I:%M:%S %p}" for clock in clocks]), "clock", place, "time").tolist() == expected
    assert read_clock(pa.array(clocks), "clock", place, "time").tolist() == expected


def test_the_order_of_day_and_month_follows_the_values_or_is_said():
    assert stamp_style(["13/03/2024", "14/03/2024"])[0].form == "dmy"
    assert stamp_style(["03/13/2024", "03/14/2024"])[0].form == "mdy"
    assert stamp_style(["03/04/2024", "04/04/2024", "05/04/2024"]) == (stamp_style(["13/03/2024"])[0], "")  # successive days
    style, choice = stamp_style(["03/04/2024 09:30"])
    assert style.form == "mdy"
    assert "pass --dates dmy" in choice
    assert stamp_style(["03/04/2024 09:30"], "dmy")[0].form == "dmy"


# ---------------------------------------------------------------------------------------------------------------- numbers


@given(st.lists(st.floats(1e-6, 1e9), min_size=1), st.sampled_from([".", ","]), st.booleans())
def test_numbers_in_every_notation_come_back(values, mark, grouped):
    texts = [f"{value:,.6f}" if grouped else f"{value:.6f}" for value in values]
    if mark == ",":
        texts = [text.translate(str.maketrans(",.", ".,")) for text in texts]
    found = read_numbers(pa.array(texts), mark, place, "price")
    assert found.tolist() == [float(f"{value:.6f}") for value in values]


@given(st.lists(st.floats(allow_infinity=False), min_size=1))
def test_numbers_as_python_writes_them_come_back(values):
    found = read_numbers(pa.array([repr(value) for value in values]), ".", place, "price")
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("$189.33", ".", 189.33), ("1.23M", ".", 1_230_000.0), ("190.28M", ".", 190_280_000.0), ("5.5K", ".", 5_500.0),
        ("1,234,567", ".", 1_234_567.0), ("1.234,5", ",", 1234.5), ("1 234,5", ",", 1234.5), ("1\u00a0234.5", ".", 1234.5),
        ("+3", ".", 3.0), ("1e-3", ".", 0.001), ("2,5B", ",", 2.5e9), ("12'345.5", ".", 12345.5), ("N/A", ".", math.nan),
        ("-", ".", math.nan), ("€ 3,50", ",", 3.5), ("\t7 ", ".", 7.0),
    ],
)  # fmt: skip
def test_a_number_with_signs_and_suffixes_is_read(text, mark, value):
    np.testing.assert_array_equal(read_numbers(pa.array([text, None]), mark, place, "x"), [value, math.nan])


@pytest.mark.parametrize(
    ("text", "mark", "hint"),
    [
        ("12a", ".", ""), ("170,25", ".", "--decimal comma"), ("170.5", ",", "--decimal point"), ("1.2.3", ".", ""),
        ("1,23,456", ".", "--decimal comma"), ("0x10", ".", ""), ("1_000", ".", ""), ("M", ".", ""), ("--5", ".", ""),
    ],
)  # fmt: skip
def test_a_text_that_is_no_number_is_named(text, mark, hint):
    with pytest.raises(ValueError, match=r"row 1: price must be a number, got ") as error:
        read_numbers(pa.array(["1", text]), mark, place, "price")
    assert repr(text) in str(error.value)
    assert hint in str(error.value)


def test_the_decimal_mark_follows_the_values():
    assert decimal_mark(["170.25", "1"]) == (".", "")
    assert decimal_mark(["170,25", "1"]) == (",", "")
    assert decimal_mark(["1.170,25"]) == (",", "")
    assert decimal_mark(["1,170.25", "6,873"]) == (".", "")
    assert decimal_mark(["6,873"])[0] == "."
    assert "--decimal comma" in decimal_mark(["6,873"])[1]
    assert decimal_mark(["6,873"], ";")[0] == ","
    assert "--decimal point" in decimal_mark(["6,873"], ";")[1]


@given(st.lists(st.sampled_from(list(SIDES)), min_size=1), st.booleans())
def test_sides_come_back_in_any_case(words, maker):
    found = read_sides(pa.array([word.upper() if len(word) % 2 else f" {word} " for word in words]), maker, place, "side")
    assert found.tolist() == [SIDES[word] * (-1 if maker else 1) for word in words]


def test_a_word_that_is_no_side_is_named():
    with pytest.raises(ValueError, match=r"row 2: side must be buy, sell, .* got 'hold'"):
        read_sides(pa.array(["b", "s", "hold"]), False, place, "side")


# ------------------------------------------------------------------------------------------------------------------- bars

COUNT = 12
PRICE = st.decimals("0.01", "9999.9999", places=4)
ROW = st.tuples(PRICE, PRICE, st.decimals("0", "5", places=4), st.decimals("0", "0.005", places=4), st.integers(0, 10**9))


@st.composite
def days_of_bars(draw):
    """Return bars of ten minutes: times in New York, prices and volumes."""
    day = draw(st.dates(dt.date(2001, 1, 1), dt.date(2035, 12, 31)))
    start = dt.datetime.combine(day, dt.time(9, 30))
    rows = []
    for at, (first, last, above, below, volume) in enumerate(draw(st.lists(ROW, min_size=COUNT, max_size=COUNT))):
        high, low = max(first, last) + above, max(min(first, last) - below, min(first, last) / 2).quantize(first)
        rows.append((start + dt.timedelta(minutes=10 * at), *map(float, (first, high, low, last, volume))))
    assume(any(row[5] for row in rows))
    return rows


def number(value, mark):
    text = f"{value:.10f}".rstrip("0").rstrip(".")
    return text.replace(".", mark)


@st.composite
def notations(draw):
    """Return a way to write bars as text: separator, decimal mark, form of the stamps, header, order, compression, encoding."""
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    mark = "." if separator == "," else draw(st.sampled_from([".", ","]))
    date = draw(st.sampled_from(["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d-%b-%Y", "%m/%d/%Y"]))
    clock = draw(st.sampled_from(["%H:%M:%S", "%H:%M", "%I:%M:%S %p"]))
    return {
        "separator": separator, "mark": mark, "date": date, "clock": clock, "two": draw(st.booleans()),
        "header": draw(st.booleans()), "newest_first": draw(st.booleans()), "pack": draw(st.sampled_from(["", "gz", "zip"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])),
        "end": draw(st.sampled_from(["\n", "\r\n"])), "last": draw(st.booleans()),
    }  # fmt: skip


def text_of(rows, how):
    sep = how["separator"]
    lines = []
    for time, *values in rows[::-1] if how["newest_first"] else rows:
        stamp = time.strftime(how["date"]) + (sep if how["two"] else " ") + time.strftime(how["clock"])
        lines.append(sep.join([stamp, *(number(value, how["mark"]) for value in values)]))
    names = [*(["Date", "Time"] if how["two"] else ["Date"]), "Open", "High", "Low", "Close", "Volume"]
    lines = [*([sep.join(names)] if how["header"] else []), *lines]
    return how["end"].join(lines) + (how["end"] if how["last"] else "")


def packed(text, how):
    content = text.encode(how["encoding"])
    if how["pack"] == "gz":
        return gzip.compress(content, 1)
    if how["pack"] == "zip":
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("folder/bars.csv", content)
        return target.getvalue()
    return content


def check(bars, rows, zone="America/New_York"):
    assert bars.time.tolist() == [nanoseconds(row[0].replace(tzinfo=ZoneInfo(zone))) for row in rows]
    for at, key in enumerate(("open", "high", "low", "close", "volume"), start=1):
        assert getattr(bars, key).tolist() == [row[at] for row in rows], key


def format_of(how):
    """Return the options for what a notation leaves open."""
    decimal = {"decimal": "comma" if how["mark"] == "," else "point"}
    zone = {"tz": "America/New_York"}  # that of layouts without header may be another one
    columns = () if how["header"] else ("date=1,time=2,open=3,high=4,low=5,close=6,volume=7" if how["two"] else "ts=1,open=2,high=3,low=4,close=5,volume=6",)  # fmt: skip  # noqa: E501
    return Format(**decimal, **zone, columns=columns, dates="mdy" if how["date"] == "%m/%d/%Y" else "")


@settings(max_examples=150)
@given(days_of_bars(), notations())
def test_bars_in_every_notation_come_back(tmp_path_factory, rows, how):
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    path.write_bytes(packed(text_of(rows, how), how))
    check(read_bars(path, format_of(how)), rows)


@given(days_of_bars(), st.data(), st.permutations(range(7)))
def test_any_usual_names_in_any_order_come_back(tmp_path_factory, rows, data, order):
    names = {field: data.draw(st.sampled_from(NAMES["bars"][field].split()), field) for field in FIELDS["bars"]}
    names["volume"] = data.draw(st.sampled_from(NAMES["bars"]["volume"].split()))
    names["ts"] = data.draw(st.sampled_from([name for name in NAMES["bars"]["ts"].split() if name not in ("t", "index")]))
    columns = [(names["ts"], [f"{row[0]:%Y-%m-%d %H:%M}" for row in rows]), ("note", ["x"] * COUNT)]
    columns += [(names[key], [str(row[at]) for row in rows]) for at, key in enumerate([*FIELDS["bars"], "volume"], start=1)]
    columns = [columns[at] for at in order]
    header = [name.upper() if data.draw(st.booleans()) else name.replace("_", " ").title() for name, _ in columns]
    lines = zip(*(values for _, values in columns), strict=True)
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    path.write_text("\n".join(map(",".join, [header, *lines])) + "\n")
    check(read_bars(path, Format(tz="America/New_York")), rows)


@given(days_of_bars(), st.sampled_from(["pandas", "index", "polars", "lazy", "arrow", "parquet", "json", "lines", "duckdb"]))
def test_bars_in_every_frame_come_back(tmp_path_factory, rows, kind):
    names = ("ts", "open", "high", "low", "close", "volume")
    aware = [(row[0].replace(tzinfo=ZoneInfo("America/New_York")).astimezone(dt.UTC), *row[1:]) for row in rows]
    table = pa.table(dict(zip(names, map(list, zip(*aware, strict=True)), strict=True)))
    folder = tmp_path_factory.mktemp("bars")
    objects = [{**dict(zip(names, row, strict=True)), "ts": row[0].isoformat()} for row in aware]
    if kind == "parquet":
        parquet.write_table(table, folder / "bars.parquet")
    elif kind == "json":
        (folder / "bars.json").write_text(json.dumps({"bars": objects, "status": "ok"}))
    elif kind == "lines":
        (folder / "bars.jsonl").write_text("\n".join(map(json.dumps, objects)))
    data = {
        "pandas": lambda: pandas.DataFrame(objects),
        "index": lambda: table.to_pandas().set_index("ts"),
        "polars": lambda: polars.from_arrow(table),
        "lazy": lambda: polars.from_arrow(table).lazy(),
        "arrow": lambda: table,
        "duckdb": lambda: pytest.importorskip("duckdb").from_arrow(table),
    }.get(kind, lambda: folder)()
    check(read_bars(data), rows)


@given(
    st.lists(st.tuples(PRICE, st.integers(1, 10**6), st.sampled_from([1, -1])), min_size=3),
    st.integers(0, 2**40),
    st.booleans(),
)
def test_trades_out_of_order_are_sorted_and_said(tmp_path_factory, trades, seed, words):
    path = tmp_path_factory.mktemp("trades") / "trades.csv"
    times = (1_709_908_200 * SECOND + np.random.default_rng(seed).integers(0, 10**13, len(trades))).tolist()
    side = {1: "BUY", -1: "SELL"} if words else {1: "1", -1: "-1"}
    rows = [f"{time},{price},{size},{side[sign]}" for time, (price, size, sign) in zip(times, trades, strict=True)]
    path.write_text("\n".join(["ts,price,qty,side", *rows]) + "\n")
    table = read_trades(path)
    order = np.argsort(times, kind="stable")
    assert sorted(times) == table.time.tolist()
    if "descend" not in " ".join(table.provenance.choices):
        assert table.price.tolist() == [float(trades[at][0]) for at in order]
        assert table.side.tolist() == [trades[at][2] for at in order]
    if (np.diff(times) < 0).any():
        assert "sorted by time" in " ".join(table.provenance.choices) or "descend" in " ".join(table.provenance.choices)
