"""Bar files: reading, validation and sessions that are left out."""

import gzip
import json
import os
import sys
import tracemalloc
from datetime import UTC, date, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperexec_env.cli import main
from hyperexec_env.data import bars
from hyperexec_env.data.bars import read_sessions
from hyperexec_env.extras import MissingExtra

HEADER = "ts,open,high,low,close,volume"
DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real bars: set HYPEREXEC_DATA to the folder that holds bars_1min/")


def session(day="2024-03-05", step=5, start=570, stop=960, shift=0, offset="", seed=0):
    """Return the rows of one session, with random prices and moderate volumes."""
    rng = np.random.default_rng(seed)
    rows, price = [], 100.0
    for minute in range(start, stop, step):
        close = round(price + rng.normal(0.0, 0.05), 2)
        clock = minute + shift
        ts = f"{day}T{clock // 60:02d}:{clock % 60:02d}:00{offset}"
        rows.append([ts, price, max(price, close) + 0.01, min(price, close) - 0.01, close, int(rng.integers(900, 1100))])
        price = close
    return rows


def text(rows, header=HEADER):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def write(path, rows):
    path.write_text(text(rows))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bars.csv"


def same(a, b):
    return a.dates == b.dates and all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ("open", "close", "volume"))


def test_sessions_contain_the_bars_of_the_file(path):
    for step in [1, 5]:
        rows = session("2024-03-05", step) + session("2024-03-06", step, seed=1)
        read = read_sessions(write(path, rows), "start")
        assert read.dates == ("2024-03-05", "2024-03-06")
        assert read.bar_minutes == step
        assert read.volume.shape == (2, 390 // step)
        assert read.open.ravel().tolist() == [row[1] for row in rows]
        assert read.close.ravel().tolist() == [row[4] for row in rows]
        assert read.volume.ravel().tolist() == [row[5] for row in rows]
        assert (read.report.used, read.report.filled_bars, read.report.outside_bars, read.report.left_out) == (2, 0, 0, ())


@pytest.mark.parametrize("step", [1, 5])
def test_start_and_end_stamps_give_the_same_sessions(tmp_path, step):
    start = read_sessions(write(tmp_path / "start.csv", session(step=step)), "start")
    end = read_sessions(write(tmp_path / "end.csv", session(step=step, shift=step)), "end")
    assert same(start, end)


@pytest.mark.parametrize(("given_stamp", "shift", "other"), [("start", 5, "end"), ("end", 0, "start")])
def test_the_wrong_stamp_is_detected(path, given_stamp, shift, other):
    with pytest.raises(ValueError, match=rf"bars\.csv.*--stamp {other}"):
        read_sessions(write(path, session(shift=shift)), given_stamp)


def test_times_are_the_wall_clock_of_the_time_stamp(tmp_path):
    summer_and_winter = session("2024-11-01", offset="-0400") + session("2024-11-04", offset="-05:00", seed=1)
    naive = session("2024-11-01") + session("2024-11-04", seed=1)
    with_offset = read_sessions(write(tmp_path / "offset.csv", summer_and_winter), "start")
    assert same(with_offset, read_sessions(write(tmp_path / "naive.csv", naive), "start"))


def test_the_utc_offset_of_each_session_is_returned(path):
    rows = session("2024-11-01", offset="-0400") + session("2024-11-04", offset="-05:00", seed=1)
    rows += session("2024-11-05", seed=2) + session("2024-11-06", offset="Z", seed=3)
    zones = read_sessions(write(path, rows), "start").zones
    assert zones == (timezone(timedelta(hours=-4)), timezone(timedelta(hours=-5)), None, UTC)


def test_the_utc_offset_must_be_constant_within_a_session(path):
    for offset, named in [("-05:00", "UTC-05:00"), ("", "no offset")]:
        rows = session("2024-03-05", offset="-04:00") + session("2024-03-06", offset="-04:00", seed=1)
        rows[90][0] = rows[90][0].replace("-04:00", offset)
        message = rf"bars\.csv, line 92: 2024-03-06: the offset is {named}, but UTC-04:00 on line 80"
        with pytest.raises(ValueError, match=message):
            read_sessions(write(path, rows), "start")
        assert read_sessions(path, "start", lenient=True).report.counts() == {"disorder": 1}


def test_blank_lines_are_ignored(tmp_path, path):
    path.write_text(text(session()).replace("\n", "\n \t\n\n"))
    assert same(read_sessions(path, "start"), read_sessions(write(tmp_path / "plain.csv", session()), "start"))


def test_control_characters_of_a_header_are_escaped(path):
    path.write_text("ts,\x1b[31mopen\n")
    with pytest.raises(ValueError, match=r"found: ts, \\x1b\[31mopen"):
        read_sessions(path, "start")


def test_column_order_case_and_a_byte_order_mark_do_not_matter(tmp_path, path):
    rows = session()
    shuffled = [[row[5], "x", row[4], row[0].replace("T", " "), *row[1:4]] for row in rows]
    path.write_text("\ufeff" + text(shuffled, "Volume, note,Close,TS,Open,High,Low"))
    assert same(read_sessions(path, "start"), read_sessions(write(tmp_path / "plain.csv", rows), "start"))


def test_compressed_files_are_read(tmp_path, path):
    packed = tmp_path / "bars.csv.gz"
    packed.write_bytes(gzip.compress(text(session()).encode()))
    assert same(read_sessions(packed, "start"), read_sessions(write(path, session()), "start"))


def test_the_order_of_the_files_does_not_matter(tmp_path):
    first = write(tmp_path / "a.csv", session("2024-03-05"))
    second = write(tmp_path / "b.csv", session("2024-03-06", seed=1))
    assert same(read_sessions([second, first], "start"), read_sessions([str(first), second], "start"))


def test_bars_outside_the_session_are_counted_but_not_used(tmp_path, path):
    wide = read_sessions(write(path, session(start=540, stop=1000)), "start")
    assert wide.report.outside_bars == (570 - 540) // 5 + (1000 - 960) // 5
    assert wide.volume.shape == (1, 78)


def test_a_market_that_never_closes_can_have_sessions_of_1440_minutes(path):
    rows = session("2024-03-05", start=180, stop=1440) + session("2024-03-06", start=0, stop=1440)
    rows += session("2024-03-07", start=0, stop=1200)
    read = read_sessions(write(path, rows), "start", open_minute=0, day_minutes=1440)
    assert read.dates == ("2024-03-06",)
    assert read.report.counts() == {"late start": 1, "early close": 1}


# faults: row 12 of the second session (line 92) is corrupted


def replaced(column, value):
    def corrupt(rows):
        rows[12][column] = value

    return corrupt


def repeat(rows):
    rows.insert(12, list(rows[11]))


def swap(rows):
    rows[11], rows[12] = rows[12], rows[11]


def go_back(rows):
    rows[12][0] = rows[12][0].replace("03-06", "03-05")


def shorten(rows):
    del rows[12][-1]


def lengthen(rows):
    rows[12].append(7)


def cut_a_gap(rows):
    del rows[13:16]


def inflate(rows):
    rows[12][5] = 0.26 * sum(row[5] for row in rows)


FAULTS = [
    (replaced(3, 101.0), "bad value", r"high .* is below low 101"),
    (replaced(4, 90.0), "bad value", r"open .* or close 90 lies outside"),
    (replaced(1, "nan"), "bad value", r"open must be finite and above 0, got 'nan'"),
    (replaced(2, "inf"), "bad value", r"high must be finite and above 0, got 'inf'"),
    (replaced(3, 0), "bad value", r"low must be finite and above 0, got '0'"),
    (replaced(4, -3.5), "bad value", r"close must be finite and above 0, got '-3\.5'"),
    (replaced(5, -1), "bad value", r"volume must be finite and at least 0, got '-1'"),
    (replaced(5, ""), "bad value", r"volume must be a number, got ''"),
    (replaced(1, "n/a"), "bad value", r"open must be a number, got 'n/a'"),
    (replaced(0, "yesterday"), "bad value", r"ts must be a date and time .* got 'yesterday'"),
    (replaced(0, "2024-03-06T10:30:07"), "bad value", r"ts must be a whole minute"),
    (replaced(0, "2024-03-06T10:32:00"), "disorder", r"10:32 does not start a bar of 5 minutes"),
    (replaced(5, "1_000"), "bad value", r"volume must be a number, got '1_000'"),
    (shorten, "bad value", r"one value for each column"),
    (lengthen, "bad value", r"one value for each column"),
    (repeat, "duplicate", r"10:25 is on line 91 too"),
    (swap, "disorder", r"10:25 comes after 10:30"),
    (replaced(5, 0), "contaminated", r"volume of 10:30 is 0"),
    (inflate, "contaminated", r"volume of 10:30 is 2\d\.\d% of the day \(at most 20%\)"),
    (cut_a_gap, "gap", r"15 minutes are missing \(at most 10\), 15 of them next to 10:50"),
]


def test_a_faulty_session_raises_with_its_line_or_is_left_out_if_lenient(path):
    for corrupt, kind, reason in FAULTS:
        first, second, third = (session(f"2024-03-0{day}", seed=day) for day in (5, 6, 7))
        corrupt(second)
        write(path, first + second + third)
        line = {"gap": 93}.get(kind, 92)
        with pytest.raises(ValueError, match=rf"bars\.csv, line {line}: 2024-03-06: .*{reason}.*--lenient"):
            read_sessions(path, "start")
        read = read_sessions(path, "start", lenient=True)
        assert read.dates == ("2024-03-05", "2024-03-07")
        assert read.report.counts() == {kind: 1}
        assert (read.report.left_out[0].line, read.report.left_out[0].date) == (line, "2024-03-06")


def test_an_out_of_order_bar_makes_its_own_day_faulty(path):
    first, second = session("2024-03-05"), session("2024-03-06")
    go_back(second)
    write(path, first + second)
    with pytest.raises(ValueError, match=r"line 92: 2024-03-05: comes after 2024-03-06; bars must ascend"):
        read_sessions(path, "start")
    assert read_sessions(path, "start", lenient=True).dates == ("2024-03-06",)


def test_a_file_in_descending_order_is_refused(path):
    with pytest.raises(ValueError, match=r"line 3: .*15:50 comes after 15:55; bars must ascend"):
        read_sessions(write(path, session()[::-1]), "start")


@pytest.mark.parametrize(("step", "limit"), [(1, 0.10), (5, 0.20)])
def test_the_largest_share_of_a_bar_depends_on_its_length(path, step, limit):
    for share, accepted in ((limit - 0.01, True), (limit + 0.01, False)):
        rows = session(step=step)
        rest = sum(row[5] for i, row in enumerate(rows) if i != 60 // step)
        rows[60 // step][5] = share / (1.0 - share) * rest
        write(path, rows)
        if accepted:
            assert read_sessions(path, "start").report.used == 1
        else:
            with pytest.raises(ValueError, match="2024-03-05: the volume of 10:30"):
                read_sessions(path, "start")


def test_any_volume_is_accepted_in_the_auctions(path):
    for place in [0, -1]:
        rows = session()
        rows[place][5] = 200_000
        assert read_sessions(write(path, rows), "start").report.used == 1


def test_a_few_missing_bars_are_filled_with_the_last_price_and_counted(path):
    rows = session()
    present = [row for i, row in enumerate(rows) if i not in (20, 77)]
    read = read_sessions(write(path, present), "start")
    assert read.report.filled_bars == 2
    assert np.flatnonzero(read.missing[0]).tolist() == [20, 77]
    for bar in (20, 77):
        assert (read.open[0, bar], read.close[0, bar], read.volume[0, bar]) == (rows[bar - 1][4], rows[bar - 1][4], 0.0)


def test_a_missing_first_bar_is_filled_with_the_next_price(path):
    rows = session()
    assert read_sessions(write(path, rows[1:]), "start").close[0, 0] == rows[1][1]


def half_day(day):
    """Return a session that closes at 13:00, with sparse and small volumes until 16:00."""
    rows = session(day)
    for row in rows[42:]:
        row[5] = 7
    return rows[:45] + rows[47::2]


def test_an_early_close_is_left_out_without_an_error(path):
    for lenient in [True, False]:
        for short in [half_day("2024-03-06"), session("2024-03-06", stop=780), session("2024-03-06", stop=925)]:
            read = read_sessions(write(path, session("2024-03-05") + short + session("2024-03-07")), "start", lenient)
            assert read.dates == ("2024-03-05", "2024-03-07")
            assert read.report.counts() == {"early close": 1}


def test_a_late_start_is_accepted_only_in_the_first_session(path):
    late, full = session("2024-03-05", start=660), session("2024-03-06")
    assert read_sessions(write(path, late + full), "start").report.counts() == {"late start": 1}
    late = session("2024-03-07", start=660)
    with pytest.raises(ValueError, match=r"line 80: 2024-03-07: 90 minutes are missing"):
        read_sessions(write(path, full + late), "start")


def test_a_session_in_two_files_is_used_once(tmp_path):
    files = [write(tmp_path / name, session()) for name in ("a.csv", "b.csv")]
    with pytest.raises(ValueError, match=r"b\.csv, line 2: 2024-03-05: the files hold this session twice"):
        read_sessions(files, "start")
    assert read_sessions(files, "start", lenient=True).report.counts() == {"repeated session": 1}


def test_a_file_without_valid_bars_is_named_in_the_error(tmp_path):
    for lenient in [True, False]:
        for name, content, reason in [
            ("bars.csv", "", "line 1: the file is empty"),
            ("bars.csv", HEADER + "\n", "0 bars; at least two are needed"),
            ("bars.csv", "<!DOCTYPE html>\n<html>Not found</html>", "line 1: an HTML or XML page"),
            ("bars.csv", text(session(), "time,open,high,low,close,vol"), r"line 1: missing column ts, volume \(found: time,"),
            ("bars.csv", text(session()).replace("open", '"open', 1), "line 1: missing column"),
            ("bars.csv", f"{HEADER}\nsoon,1,1,1,1,1\n", "line 2: ts must be a date and time"),
            ("bars.csv", text(session(step=15)), "bars must be one or five minutes long, got 15"),
            ("bars.csv", b"\x89PNG\r\n\x1a\n\xff\xfe", "not text in UTF-8"),
            ("bars.csv", f'{HEADER}\n"{"x" * 200_000}"\n', "after line 0: not a csv file"),
            ("bars.csv", text(session(stop=700)), r"no full session of 390 minutes; left out, for example: .*bars\.csv, line"),
            ("bars.csv.gz", text(session()), r"the compressed data are damaged or cut off \(Not a gzipped file"),
            ("bars.xlsx", "", r"is not a file that ends in \.csv, \.csv\.gz, \.parquet"),
        ]:
            path = tmp_path / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            with pytest.raises(ValueError, match=reason) as caught:
                read_sessions(path, "start", lenient)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named_in_the_error(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*none\.csv: No such file"):
        read_sessions(tmp_path / "none.csv", "start")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"folder\.csv is not a file"):
        read_sessions(tmp_path / "folder.csv", "start")
    with pytest.raises(ValueError, match="at least one file"):
        read_sessions([], "start")


def test_files_of_different_bar_lengths_are_refused(tmp_path):
    files = [write(tmp_path / f"{step}.csv", session(step=step)) for step in (1, 5)]
    with pytest.raises(ValueError, match=r"5\.csv: its bars are 5 minutes long, those of .*1\.csv 1"):
        read_sessions(files, "start")


def test_the_session_hours_are_validated(path):
    for values, message in [
        ({"stamp": "begin"}, "stamp must be one of start, end"),
        ({"open_minute": -1}, "open_minute"),
        ({"day_minutes": 1000}, "day_minutes must be a whole number"),
        ({"day_minutes": 100}, "day_minutes must be a multiple of 15, got 100"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_sessions(write(path, session()), **{"stamp": "start", **values})


def test_a_truncated_compressed_file_is_refused(tmp_path):
    for part in [0.0, 0.001, 0.1, 0.5, 0.9, 0.999]:
        packed = gzip.compress(text(session() + session("2024-03-06")).encode())
        path = tmp_path / "bars.csv.gz"
        path.write_bytes(packed[: int(part * len(packed))])
        with pytest.raises(ValueError, match=r"bars\.csv\.gz, (after )?line \d+: (the compressed data|the file is empty)"):
            read_sessions(path, "start", lenient=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=60), at=st.integers(0, 8000), lenient=st.booleans())
def test_corrupted_bytes_give_valid_sessions_or_an_error_that_names_the_file(path, junk, at, lenient):
    clean = text(session() + session("2024-03-06")).encode()
    path.write_bytes(clean[:at] + junk + clean[at + len(junk) :])
    try:
        read = read_sessions(path, "start", lenient)
    except ValueError as error:
        assert "bars.csv" in str(error)  # noqa: PT017 - some corruptions are valid bars
    else:
        assert np.isfinite(read.close).all()
        assert (read.close > 0.0).all()


def test_the_text_and_json_of_the_bar_report(path):
    rows = session("2024-03-05") + session("2024-03-06", stop=780)
    report = read_sessions(write(path, rows), "start").report
    assert "1 sessions of 5-minute bars, 2024-03-05 to 2024-03-05" in str(report)
    assert "left out (early close): " in str(report)
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["left_out_counts"] == {"early close": 1}
    assert plain["left_out"][0]["date"] == "2024-03-06"
    assert plain["used"] == 1


@pytest.mark.parametrize("kind", ["text", "timestamp", "zone"])
def test_parquet_and_csv_give_the_same_sessions(tmp_path, path, kind):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = session()
    columns = dict(zip(HEADER.split(","), zip(*rows, strict=True), strict=True))
    stamps = pyarrow.array(columns["ts"])
    if kind != "text":
        stamps = stamps.cast(pyarrow.timestamp("us"))
    if kind == "zone":
        stamps = pyarrow.compute.assume_timezone(stamps, "America/New_York")
    parquet.write_table(pyarrow.table({**columns, "ts": stamps}), tmp_path / "bars.parquet")
    read = read_sessions(tmp_path / "bars.parquet", "start")
    assert same(read, read_sessions(write(path, rows), "start"))
    assert read.zones == (timezone(timedelta(hours=-5)) if kind == "zone" else None,)


def test_a_faulty_parquet_row_is_named_in_the_error(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = session()
    rows[12][4] = None
    columns = dict(zip(HEADER.split(","), map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pyarrow.table(columns), tmp_path / "bars.parquet")
    with pytest.raises(ValueError, match=r"bars\.parquet, row 13: 2024-03-05: close must be a number, got 'None'"):
        read_sessions(tmp_path / "bars.parquet", "start")
    (tmp_path / "bars.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"bars\.parquet: not a parquet file"):
        read_sessions(tmp_path / "bars.parquet", "start")
    with pytest.raises(ValueError, match=r"cannot read .*none\.parquet"):
        read_sessions(tmp_path / "none.parquet", "start")


def test_memory_grows_with_the_sessions_and_not_with_the_text(path, monkeypatch):
    """A bar takes 80 bytes here (its grid, twice while it is built), and took 600 as a row of text."""
    monkeypatch.setattr(bars, "_HEAD", 200)
    peaks = []
    for count in (20, 100):
        days = [(date(2024, 1, 1) + timedelta(number)).isoformat() for number in range(count)]
        write(path, [row for day in days for row in session(day)])
        tracemalloc.start()
        assert len(read_sessions(path, "start").dates) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (80 * 78) < 120.0


def test_a_file_that_is_too_large_is_named(path, tmp_path, monkeypatch):
    write(path, session())
    monkeypatch.setattr(bars, "MOST_BARS", 77)
    with pytest.raises(ValueError, match=r"bars\.csv: more than 77 bars; split the file"):
        read_sessions(path, "start")
    monkeypatch.undo()
    os.truncate(path, 2**30 + 1)  # sparse: takes no room
    with pytest.raises(ValueError, match=r"cannot read .*bars\.csv: it is larger than 1,073,741,824 bytes; split it"):
        read_sessions(path, "start")


def test_the_file_that_the_memory_does_not_hold_is_named(path, monkeypatch, capsys):
    def full(*given):
        raise MemoryError

    write(path, session())
    monkeypatch.setattr(bars, "_grid", full)
    assert main(["calibrate", str(path), "--stamp", "start", "--out", f"{path}.toml"]) == 2
    said = f"hyperexec: error: not enough memory: {path} (too many sessions); give fewer sessions\n"
    assert capsys.readouterr().err == said


def test_a_late_row_of_a_session_makes_it_faulty_after_it_was_reduced(path):
    first, second = session(), session("2024-03-06", seed=1)
    write(path, [*first, *second, first[5]])
    report = read_sessions(path, "start", lenient=True).report
    assert [(item.date, item.kind, item.line) for item in report.left_out] == [("2024-03-05", "disorder", 158)]
    assert report.used == 1


def test_parquet_without_pyarrow_raises_the_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "bars.parquet").write_bytes(b"")
    with pytest.raises(MissingExtra) as caught:
        read_sessions(tmp_path / "bars.parquet", "start")
    assert str(caught.value) == 'parquet needs pyarrow: pip install "hyperexec-env[data]"'


# real bars

BLOCKS = ["2024-06-21", "2024-07-19", "2024-10-18", "2024-11-15", "2025-01-17", "2025-03-21"]
"""Option expiry days on which one minute of SPY has 11 to 18 % of the daily volume."""
NO_VOLUME = {"AAPL": ["2026-03-20"], "BA": ["2026-03-17"], "IWM": ["2026-03-20", "2026-03-30"]}
NO_VOLUME |= {"MSFT": ["2026-03-24"], "ORCL": ["2026-03-16"], "OXY": []}
"""Sessions of the clean 2026 files in which one minute has no volume although its price changes."""


@needs_data
@pytest.mark.parametrize("name", ["AAPL", "MSFT"])
@pytest.mark.parametrize(("step", "count"), [(1, 4), (5, 17)])
def test_every_contaminated_session_is_detected(name, step, count):
    dirty = DATA / "dirty" / f"{name}_{step}min_contaminated_volume.csv.gz"
    clean = next((DATA / f"bars_{step}min").glob(f"{name}_{step}min_202[56]*"))
    with pytest.raises(ValueError, match=r"contaminated_volume\.csv\.gz, line \d+: 20.*volume of .*--lenient"):
        read_sessions(dirty, "start")
    left_out = [
        item for item in read_sessions([clean, dirty], "start", lenient=True).report.left_out if item.file == str(dirty)
    ]
    assert [item.kind for item in left_out] == ["contaminated"] * count


@needs_data
def test_all_sessions_of_clean_five_minute_files_are_used():
    for name in ["AAPL", "MSFT", "BA", "OXY", "ORCL", "IWM"]:
        read = read_sessions(next((DATA / "bars_5min").glob(f"{name}_*")), "start")
        assert len(read.dates) == {"AAPL": 41, "MSFT": 41, "BA": 56, "OXY": 57, "ORCL": 56, "IWM": 55}[name]
        assert read.report.left_out == ()
        assert 0 < read.report.filled_bars <= 4


@needs_data
def test_all_sessions_of_clean_files_with_end_stamps_are_used():
    for name in ["AAPL", "MSFT", "JPM"]:
        file = next((DATA / "bars_1min").glob(f"{name}_1min_2019*"))
        assert len(read_sessions(file, "end").dates) == 5
        with pytest.raises(ValueError, match="--stamp end"):
            read_sessions(file, "start")


@needs_data
def test_clean_one_minute_files_are_used_except_sessions_with_a_minute_without_volume():
    for name in NO_VOLUME:
        file = next((DATA / "bars_1min").glob(f"{name}_1min_2026*"))
        read = read_sessions(file, "start", lenient=True)
        assert [(item.date, item.kind) for item in read.report.left_out] == [(day, "contaminated") for day in NO_VOLUME[name]]
        if NO_VOLUME[name]:
            with pytest.raises(ValueError, match=rf"{NO_VOLUME[name][0]}: the volume of \d\d:\d\d is 0.*--lenient"):
                read_sessions(file, "start")


@needs_data
def test_the_year_of_spy_has_half_days_and_days_with_large_blocks():
    file = next((DATA / "bars_1min").glob("SPY_*"))
    report = read_sessions(file, "start", lenient=True).report
    early = ["2024-07-03", "2024-11-29", "2024-12-24", "2025-04-02"]
    assert [item.date for item in report.left_out if item.kind == "early close"] == early
    assert [item.date for item in report.left_out if item.kind == "contaminated"] == BLOCKS
    assert report.used == 246
    with pytest.raises(ValueError, match=r"line \d+: 2024-06-21: the volume of 11:04 is 11\.7%.*--lenient"):
        read_sessions(file, "start")


@needs_data
def test_crypto_bars_give_whole_days():
    file = next((DATA / "crypto").glob("BTCUSDT_*2024*"))
    read = read_sessions(file, "start", open_minute=0, day_minutes=1440)
    assert read.close.shape == (33, 1440)
    assert read.report.counts() == {"late start": 1, "early close": 1}
