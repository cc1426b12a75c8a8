"""Bad data: one line that names file, line, column and value, and the option that helps; never a traceback, never a number."""

import contextlib
import gzip
import io
import json
import os
import random
import sys
import zipfile

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from hyperexec_env.checks import one_line
from hyperexec_env.cli import main
from hyperexec_env.data import documents, sources, text
from hyperexec_env.data.format import Format
from hyperexec_env.data.inspection import inspect_data
from hyperexec_env.data.reader import read_bars, read_book, read_quotes, read_trades
from hyperexec_env.extras import MissingExtra

HEADER = "ts,open,high,low,close,volume"
ROWS = [f"2024-03-08 09:{minute}:00,170.{minute},171.0,169.5,170.1,{minute}00" for minute in range(30, 50)]
TRADES = [f"2024-03-08 09:30:{second},170.{second},{second},B" for second in range(10, 30)]


def csv(rows=ROWS, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


def changed(old, new, rows=ROWS, header=HEADER):
    """Return a file whose line 6 has another value."""
    rows = list(rows)
    assert old in rows[4]
    rows[4] = rows[4].replace(old, new, 1)
    return csv(rows, header)


BARS = [
    ("a price that is no number", changed("170.34", "1x0"), {}, "line 6: open must be a number, got '1x0'"),
    ("a decimal comma", changed("170.34", '"170,34"'), {}, "line 6: open must be a number, got '170,34'; pass --decimal comma"),
    ("a missing price", changed("170.34", ""), {}, "line 6: open is missing"),
    ("a price that is not a number", changed("170.34", "NaN"), {}, "line 6: open is missing"),
    ("an infinite price", changed("170.34", "inf"), {}, "line 6: open must be a number above 0, got inf"),
    ("a price of zero", changed("170.34", "0"), {}, "line 6: open must be a number above 0, got 0"),
    ("a negative price", changed("170.34", "-170.34"), {}, "line 6: open must be a number above 0, got -170.34"),
    ("a price out of range", changed("170.34", "1e200"), {}, "line 6: open must be a number above 0, got 1e+200"),
    ("a volume that is no number", changed("3400", "many"), {}, "line 6: volume must be a number, got 'many'"),
    ("a negative volume", changed("3400", "-1"), {}, "line 6: volume must be a number in [0, 1e+15], got -1"),
    ("a volume out of range", changed("3400", "1e300"), {}, "line 6: volume must be a number in [0, 1e+15], got 1e+300"),
    ("an infinite volume", changed("3400", "inf"), {}, "line 6: volume must be a number in [0, 1e+15], got inf"),
    ("high below low", changed("171.0,169.5", "169.5,171.0"), {}, "line 6: high 169.5 is below low 171; if the columns are in"),
    ("an open outside", changed("170.34", "172"), {}, "line 6: open 172 or close 170.1 lies outside low 169.5 to high 171"),
    ("a stamp that is none", changed("2024-03-08 09:34:00", "soon"), {}, "line 6: ts must be a date and time like the others"),
    ("a day that is none", changed("2024-03-08", "2024-02-30"), {}, "line 6: ts must be a date and time like the others"),
    ("an hour that is none", changed("09:34", "25:34"), {}, "line 6: ts must be a date and time like the others, got '20"),
    ("a missing stamp", changed("2024-03-08 09:34:00", ""), {}, "line 6: ts is missing"),
    ("an offset in one stamp", changed("09:34:00", "09:34:00Z"), {}, "line 6: ts must be a date and time like the others"),
    ("a line that is too short", changed(",3400", ""), {}, "line 6: expected 6 values, got 5"),
    ("a line that is too long", changed(",3400", ",3400,1"), {}, "line 6: expected 6 values, got 7"),
    ("no column of closes", csv(header="ts,open,high,low,x,volume"), {},
     "no column for close of bars (columns ts, open, high, low,"),
    ("no column of times", csv(header="x,open,high,low,close,volume"), {},
     "no column for ts of bars (columns x, open, high, low"),
    ("a wrong column", csv(), {"columns": ("close=Last",)},
     "columns: close=Last is none of the columns (ts, open, high, low, clos"),
    ("a wrong field", csv(), {"columns": ("price=close",)},
     "columns of bars must be among ts, date, time, symbol, open, high, lo"),
    ("a wrong layout", csv(), {"layout": "kibot"},
     "the data are not in layout kibot (columns ts, open, high, low, close, volume)"),
    ("an unknown layout", csv(), {"layout": "kibbot"},
     "layout must be one of those of bars in `hyperexec data layouts`, got 'kibbot'; did you mean 'kibot'?"),
    ("a layout of trades", csv(), {"layout": "lean-tick-trade"},
     "layout must be one of those of bars in `hyperexec data layouts`, got 'lean-tick-trade'"),
    ("a column of texts as time", csv(), {"columns": ("ts=close",)},
     "ts must hold dates and times in a usual form, got '170.1'"),
    ("an unknown zone", csv(), {"tz": "New York"}, "tz must be a time zone such as America/New_York or UTC, got 'New York'"),
    ("an unknown calendar", csv(), {"calendar": "NYSEX"}, "calendar must be a code of exchange_calendars or 24/7, got 'NYSEX'"),
    ("an empty file", "", {}, "line 1: the file is empty"),
    ("a file of blanks", " \n\n", {}, "line 1: the file is empty"),
    ("a header alone", HEADER + "\n", {}, "no row of data (two numbers or more) among the first 1 lines; line 1 is 'ts,open,"),
    (
        "a missing column of numbers",
        "ts,volume\n2026-03-06T10:02:00,17\n",
        {},
        "no row of data (two numbers or more) among the first 2 lines; line 1 is 'ts,volume'",
    ),
    ("a text", "Dear all,\nplease find attached\n" * 9, {}, "or more) among the first 18 lines; line 1 is 'Dear all,'"),
    ("a page", "<!DOCTYPE html><html><body>404</body></html>", {}, "line 1: an HTML or XML page, not a file of data"),
    ("several instruments", csv([f"{'AB'[at % 2]},{row}" for at, row in enumerate(ROWS)], "symbol," + HEADER), {},
     "rows of several instruments (A, B); choose one with --symbol"),
    ("another instrument", csv([f"A,{row}" for row in ROWS], "symbol," + HEADER), {"symbol": "C"},
     "no rows of C among A; pass another --symbol"),
    ("one bar", csv(ROWS[:1]), {}, "1 bars; at least two are needed"),
    ("bars of seconds", csv([f"2024-03-08 09:30:{at:02d},1,1,1,1,1" for at in range(20)]), {},
     "bars must be 1, 2, 3, 5, 10, 15, 20, 30, 60 minutes or a day long, got 1 seconds"),
    ("bars of weeks", csv([f"2024-{day},1,1,1,1,1" for day in ("03-01", "03-08", "03-15", "03-22")]), {},
     "minutes or a day long, got 7 days"),
    ("serial days of a spreadsheet", csv([f"{45359.39583 + at / 1440:.5f},1,1,1,1,1" for at in range(20)]), {},
     "ts: 45359.39583 seems to be a serial day of a spreadsheet (2024-03-08 09:30:00); format the column as yyyy-mm-dd"),
    ("whole serial days", csv([f"{45359 + at},1,1,1,1,1" for at in range(20)]), {},
     "ts: 45359 seems to be a serial day of a spreadsheet (2024-03-08 00:00:00)"),
    ("epochs before 1990", csv([f"{315532800 + 86400 * at},1,1,1,1,1" for at in range(20)]), {},
     "ts: 315532800 would be an epoch in s of 1980-01-01; epochs from 1990 to 2100 are read: write dates instead"),
    ("epochs of two units", csv(["1709908200,1,1,1,1,1"] * 9 + ["1709908800000,1,1,1,1,1"] * 2100), {},
     "line 2: ts must be an epoch in ms like the others, got '1709908200'"),
    ("epochs of another unit far below", csv([f"{1709908200 + 60 * at},1,1,1,1,1" for at in range(20000)]
     + ["1709908800000,1,1,1,1,1"]), {}, "line 20002: ts must be an epoch in s like the others, got '1709908800000'"),
    ("an order of the date that fails below",
     csv(["03/04/2024 09:30:00,1,1,1,1,1"] * 20000 + ["25/04/2024 09:30:00,1,1,1,1,1"]), {},
     "line 20002: ts must be a date and time like the others, got '25/04/2024 09:30:00'; pass --dates dmy if the day"),
    ("columns in another order", "\n".join(f"03/08/2024,09:{m},170.1,170.3,169.5,171.0,{m}00" for m in range(30, 50)), {},
     "line 1: open 170.1 or close 171 lies outside low 169.5 to high 170.3; if the columns"),
    ("a JSON document that is none", '{"bars": [1, 2', {}, "line 1: not JSON"),
    ("a JSON document of an error", '{"Error Message": "Invalid API call"}', {}, "no rows of data in the JSON document"),
    ("a JSON line that is none", '{"ts": 1, "open": 2, "close": 3}\n{"ts": 1,\n', {}, "line 2: not JSON: '{\"ts\": 1,'"),
]  # fmt: skip

TICKS = [
    ("trades", "no size", csv(TRADES, "ts,price,x,side"), {}, "no column for size of trades (columns ts, price, x, side)"),
    ("trades", "a word that is no side", changed(",B", ",up", TRADES, "ts,price,size,side"), {},
     "line 6: side must be buy, sell, B, S, BOT, SLD, 1, -1 or the like, got 'up'"),
    ("trades", "a negative size", changed(",14,", ",-14,", TRADES, "ts,price,size,side"), {},
     "line 6: size must be a number in [0"),
    ("trades", "a missing price", changed("170.14", "", TRADES, "ts,price,size,side"), {}, ""),
    ("trades", "no day", csv([row[11:] for row in TRADES], "time,price,size,side"), {},
     "neither the rows nor the name of the file hold the day; pass --date, such as --date 2024-03-26"),
    ("trades", "a time of day that is none", changed("09:30:14", "09:61:14", [r[11:] for r in TRADES], "time,price,size,side"),
     {"date": "2024-03-08"}, "line 6: time must be a time of day such as 09:30:00, got '09:61:14'"),
    ("trades", "several days without a date", csv([f"{hour:02d}:30:00,1,1" for hour in (9, 12, 16, 9, 12)], "time,price,size"),
     {"date": "2024-03-08"}, "line 5: time goes back by 7.0 hours: the rows are of several days, and hold no date"),
    ("quotes", "no offer", csv(TRADES, "ts,bid,bid_size,x"), {}, "no column for ask of quotes"),
    ("quotes", "a size in the place of an offer", csv(["2024-03-08 09:30:00,170.1,500,170.2,400"] * 5, "ts,bid,ask,x,y"), {},
     "ask / bid must lie in [0.9, 2] in most rows, got 2.94; are bid and ask the columns of the prices? Name them"),
    ("quotes", "bid, offer and sizes without a header",
     "\n".join(["03/08/2024,09:30:00,170.1,170.2,300,400"] * 5), {}, "no column for bid, ask of quotes (no header"),
    ("trades", "bid, offer and sizes without a header",
     "\n".join(["03/08/2024,09:30:00,170.1,170.2,300,400"] * 5), {}, "no column for price, size of trades (no header"),
    ("quotes", "a negative size", csv(["2024-03-08 09:30:00,1,2,-3,4", "2024-03-08 09:30:01,1,2,3,4"],
     "ts,bid,ask,bid_size,ask_size"), {}, "line 2: bid_size must be a number in [0, 1e+15], got -3"),
]  # fmt: skip


def refused(read, data, options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        read(data, Format(**options))
    shown = str(error.value)
    assert message in shown, shown
    assert len(one_line(shown)) < 500
    assert "\n" not in shown
    return shown


@pytest.mark.parametrize(("content", "options", "message"), [case[1:] for case in BARS], ids=[case[0] for case in BARS])
def test_bad_bars_are_one_line_with_place_value_and_advice(tmp_path, content, options, message):
    path = tmp_path / "bars.csv"
    path.write_text(content)
    shown = refused(read_bars, path, options, message)
    assert "bars.csv" in shown or options


@pytest.mark.parametrize(
    ("kind", "name", "content", "options", "message"), TICKS, ids=[f"{case[0]}, {case[1]}" for case in TICKS]
)
def test_bad_ticks_are_one_line_with_place_value_and_advice(tmp_path, kind, name, content, options, message):
    path = tmp_path / "ticks.csv"
    path.write_text(content)
    read = {"trades": read_trades, "quotes": read_quotes}[kind]
    if not message:
        assert read(path).provenance.dropped == {"rows without prices": 1}
        return
    assert "ticks.csv" in refused(read, path, options, message)


def test_a_name_with_two_days_is_no_day(tmp_path):
    path = tmp_path / "trades_20240304_20240308.csv"
    path.write_text(csv([row[11:] for row in TRADES], "time,price,size,side"))
    refused(read_trades, path, {}, "neither the rows nor the name of the file hold the day; pass --date")
    assert read_trades(path, Format(date="2024-03-08")).days("America/New_York") == ("2024-03-08", "2024-03-08")


def test_files_that_cannot_be_read_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.md").write_text("x")
    for name, message in [
        ("none.csv", "none.csv: No such file or directory"),
        ("pipe.csv", "pipe.csv: not a regular file"),
        ("empty", "empty: the folder holds no file that ends in .csv"),
        ("other", "other: the folder holds no file that ends in .csv"),
        ("*.zzz", "*.zzz: no file matches the pattern"),
        ("none/bars.csv", "none/bars.csv: No such file or directory"),
    ]:
        refused(read_bars, tmp_path / name, {}, message)
    refused(read_bars, [], {}, "bars must name at least one file or data frame, got none")
    refused(read_bars, 3, {}, "bars must be a path or a data frame (pandas, polars, pyarrow, duckdb), got int")


def zipped(**members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return target.getvalue()


def random_bytes(count):
    return random.Random(1).randbytes(count)  # noqa: S311


def parquet_of(columns):
    target = io.BytesIO()
    parquet.write_table(pa.table(columns), target)
    return target.getvalue()


def broken(parts):
    return parquet_of({"ts": [1], "open": [1.0]})[: -parts or None]


BINARY = {
    "a cut gzip file": (lambda: gzip.compress(csv().encode())[:-20], "the compressed data are damaged or cut off"),
    "a gzip file with a broken middle": (
        lambda: gzip.compress(random_bytes(500).hex().encode())[:200] + b"\0" * 99,
        "the compressed data are damaged or cut off",
    ),
    "a cut archive": (lambda: zipped(bars_csv=csv())[:-30], "the compressed data are damaged or cut off"),
    "an archive without data": (lambda: zipped(readme_md="x"), "the archive holds no file that ends in .csv"),
    "zstandard": (lambda: b"\x28\xb5\x2f\xfd" + random_bytes(99), "compressed in a form that is not read; decompress it"),
    "an Excel workbook": (lambda: zipped(**{"xl/workbook_xml": "x"}), "an Excel workbook is not read; save it as csv"),
    "Databento's binary form": (lambda: b"DBN\x01" + random_bytes(99), "Databento's binary form is not read; export csv"),
    "a Feather file": (lambda: b"ARROW1" + random_bytes(99), "an Arrow or Feather file is not read; write parquet"),
    "bzip2": (lambda: b"BZh9" + random_bytes(99), "compressed in a form that is not read; decompress it"),
    "binary junk": (lambda: random_bytes(5000), ": not text; is it a file of data?"),
    "zeros": (lambda: b"1,2,3\n" + bytes(5000), ": not text; is it a file of data?"),
    "a cut parquet file": (lambda: broken(8), "bars.csv: "),
    "a parquet file without prices": (lambda: broken(0), "no column for high, low, close of bars (columns ts, open)"),
    "a parquet file with broken texts": (
        lambda: parquet_of({"ts": pa.array([b"\x802024"] * 9).cast(pa.string(), safe=False), "open": [1.0] * 9}), "not text",
    ),
    "junk far below": (lambda: csv(ROWS * 20000).encode() + b"\xff\xfe\x00\x81" * 50 + b"\n", "line 400002: not text"),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_damaged_and_binary_files_are_named(tmp_path, name):
    content, message = BINARY[name]
    (tmp_path / "bars.csv").write_bytes(content())
    shown = refused(read_bars, tmp_path / "bars.csv", {}, message)
    assert "bars.csv" in shown


def test_a_member_of_an_archive_is_named_with_its_line(tmp_path):
    (tmp_path / "bars.zip").write_bytes(zipped(a_csv=csv(), b_csv=changed("170.34", "-1")))
    refused(read_bars, tmp_path / "bars.zip", {}, "bars.zip:b.csv, line 6: open must be a number above 0, got -1")


def packed(folder, form):
    """Return the files of a folder as a folder, a pattern or an archive."""
    if form == "archive":
        (folder.parent / "all.zip").write_bytes(
            zipped(**{path.name.replace(".", "_", 1): path.read_text() for path in folder.iterdir()})
        )
    return {"folder": folder, "pattern": folder / "*", "archive": folder.parent / "all.zip"}[form]


@pytest.mark.parametrize("form", ["folder", "pattern", "archive"])
def test_files_without_data_in_a_folder_are_left_out_and_named(tmp_path, form):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text(csv())
    (folder / "README.txt").write_text("Bars of one minute.\nAll rights reserved.\n")
    (folder / "condition.json").write_text(json.dumps([{"date": "2024-03-08", "condition": "available", "modified": "x"}] * 3))
    (folder / "empty.csv").write_text(HEADER + "\n")
    bars = read_bars(packed(folder, form))
    assert len(bars) == len(ROWS)
    (said,) = (choice for choice in bars.provenance.choices if "are not read" in choice)
    assert "3 files without bars are not read: README.txt, condition.json, empty.csv" in said
    assert inspect_data(packed(folder, form)).kind == "bars"
    (folder / "ratings.csv").write_text("day,analyst,rating\n2024-03-08,4,5\n2024-03-09,5,6\n")
    refused(
        read_bars, packed(folder, form), {}, "ratings.csv: no column for open, high, low, close of bars (columns day, analyst,"
    )
    refused(read_bars, packed(folder, form), {}, "; if it is no file of data, give")
    (folder / "ratings.csv").unlink()
    (folder / "a.csv").unlink()
    refused(
        read_bars,
        packed(folder, form),
        {},
        "no row of data (two numbers or more) among the first 2 lines; line 1 is 'Bars of one minute.'",
    )


def test_a_footer_is_no_row_and_lines_after_it_keep_their_numbers(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text(csv([*ROWS[:9], "Prepared by the vendor", *ROWS[9:], "Source: exchange, delayed"]))
    bars = read_bars(path)
    assert len(bars) == len(ROWS)
    assert bars.provenance.dropped == {"lines without data, such as 'Prepared by the vendor'": 2}
    assert bars.where(9).endswith("line 12")
    path.write_text(csv([*ROWS, "2024-03-08 09:50:00,170.1"]))
    refused(read_bars, path, {}, "line 22: expected 6 values, got 2")


def test_an_encrypted_archive_is_named(tmp_path):
    content = bytearray(zipped(bars_csv=csv()))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    (tmp_path / "bars.zip").write_bytes(bytes(content))
    refused(read_bars, tmp_path / "bars.zip", {}, "bars.zip: the archive is encrypted or compressed in a form that is not read")


def test_sizes_are_limited(tmp_path, monkeypatch):
    (tmp_path / "bars.csv").write_text(csv(ROWS * 10))
    (tmp_path / "bars.zip").write_bytes(zipped(bars_csv=csv(ROWS * 10)))
    (tmp_path / "bars.json").write_text('[{"ts": 1, "open": 2, "close": 3}]' + " " * 500)
    (tmp_path / "line.csv").write_text(csv() + "2024-03-08 09:50:00,1,1,1,1," + "1" * 5000 + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(sources, "LARGEST_FILE", 1000)
        refused(read_bars, tmp_path / "bars.csv", {}, "bars.csv: it is larger than 1,000 bytes; split it")
        refused(read_bars, tmp_path / "bars.zip", {}, "bars.zip:bars.csv: it is larger than 1,000 bytes; split it")
    with monkeypatch.context() as patch:
        patch.setattr(documents, "LARGEST", 300)
        refused(read_bars, tmp_path / "bars.json", {}, "bars.json: JSON larger than 300 bytes; split it, or use csv or parquet")
    monkeypatch.setattr(text, "BLOCK", 2000)
    refused(read_bars, tmp_path / "line.csv", {}, "line.csv, after line 21: a line of more than 2,000 bytes")


def test_a_book_must_fit_its_messages(tmp_path):
    messages, book = tmp_path / "message.csv", tmp_path / "book.csv"
    messages.write_text("".join(f"{34200.5 + at:.3f},1,{at},100,1700000,1\n" for at in range(5)))
    book.write_text("1700100,5,1700000,6\n" * 4)
    with pytest.raises(ValueError, match=r"one row for each of the 5 messages of .*message\.csv, got 4"):
        read_book(messages, book, Format(date="2024-03-08"))
    book.write_text("1700100,5,1700000\n" * 5)
    with pytest.raises(ValueError, match=r"book\.csv: a book must have four columns a level .*, got 3 columns"):
        read_book(messages, book, Format(date="2024-03-08"))
    book.write_text("1700100,5,1700000,6\n" * 4 + "1700100,x,1700000,6\n")
    with pytest.raises(ValueError, match=r"book\.csv, line 5: column 2 must be a number, got 'x'"):
        read_book(messages, book, Format(date="2024-03-08"))


@given(st.binary(max_size=30), st.integers(0, 2000), st.sampled_from(["", "gz", "zip", "parquet"]))
def test_any_corruption_gives_bars_or_one_line(tmp_path_factory, junk, at, kind):
    folder = tmp_path_factory.mktemp("bars")
    content = csv().encode()
    if kind == "gz":
        content = gzip.compress(content)
    elif kind == "zip":
        content = zipped(bars_csv=csv())
    elif kind == "parquet":
        content = parquet_of({"ts": [row[:19] for row in ROWS], **dict.fromkeys(HEADER.split(",")[1:], [1.0] * len(ROWS))})
    at = min(at, len(content))
    (folder / "bars.csv").write_bytes(content[:at] + junk + content[at + len(junk) :])
    try:
        bars = read_bars(folder / "bars.csv")
    except ValueError as error:
        if "bars.csv" not in str(error):
            raise
    else:
        assert (bars.low > 0.0).all()
        assert (bars.high - bars.low > -1e-5 * bars.high).all()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.sampled_from(["2024-03-08 09:30", "1709908200", "1.5", "AAPL", "US/Eastern"]),
)  # fmt: skip
DOCUMENTS = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.sampled_from(["t", "o", "h", "l", "c", "v", "bars"])), inner, max_size=8
        ),
    ),
    max_leaves=40,
)
PIECES = st.sampled_from(
    [*"0123456789,;\t\n\r\"'. -:/TZ", "2024-03-08", "09:30", "170.5", "ts,open,high,low,close", "\n", "\x00", "é"]
)


@given(st.lists(PIECES, max_size=120), st.sampled_from([read_bars, read_trades, read_quotes]))
def test_any_text_gives_a_table_or_one_line(tmp_path_factory, pieces, read):
    path = tmp_path_factory.mktemp("data") / "data.csv"
    path.write_text("".join(pieces))
    with contextlib.suppress(ValueError):
        read(path)


@given(DOCUMENTS, st.sampled_from([read_bars, read_trades, read_quotes]))
def test_any_document_gives_a_table_or_one_line(tmp_path_factory, document, read):
    path = tmp_path_factory.mktemp("data") / "data.json"
    path.write_text(json.dumps({"results": document} if not isinstance(document, (list, dict)) else document))
    with contextlib.suppress(ValueError):
        read(path)


@given(st.lists(st.lists(VALUES, min_size=5, max_size=6), min_size=1, max_size=8))
def test_any_rows_of_json_give_bars_or_one_line(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("data") / "data.json"
    path.write_text(json.dumps(rows))
    with contextlib.suppress(ValueError):
        read_bars(path, Format(columns=("ts=1,open=2,high=3,low=4,close=5",)))


def test_without_pyarrow_the_install_command_is_named(tmp_path, monkeypatch):
    (tmp_path / "bars.csv").write_text(csv())
    for name in ("pyarrow", "pyarrow.csv", "pyarrow.compute"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r'pyarrow is not installed: pip install "hyperexec-env\[data\]"'):
        read_bars(tmp_path / "bars.csv")


def test_a_choice_for_many_files_is_said_once(tmp_path):
    for day in ("08", "11", "12"):
        path = tmp_path / f"202403{day}_trade.csv"
        path.write_text("".join(f"{34_200_000 + 60_000 * at},1700000,1710000,1690000,1700000,5\n" for at in range(5)))
    choices = read_bars(tmp_path).provenance.choices
    assert [choice for choice in choices if "name of the file" in choice] == [
        f"{tmp_path}/20240308_trade.csv and 2 more: the day is that in the name of the file or folder"
    ]


def test_the_command_line_prints_one_line(tmp_path, capsys):
    path = tmp_path / "bars.csv"
    path.write_text(changed("170.34", "1x0"))
    assert main(["calibrate", str(path), "--out", str(tmp_path / "x.toml")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "bars.csv, line 6: open must be a number, got '1x0'" in shown
