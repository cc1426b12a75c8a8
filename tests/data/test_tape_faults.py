"""Faults of a tape: holes in the quotes, clocks of trades and quotes that differ, and prints that outweigh a session."""

from zoneinfo import ZoneInfo

import numpy as np
import pyarrow
import pytest

from hyperexec_env.cli import main
from hyperexec_env.data.calendars import calendar_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.inspection import inspect_data
from hyperexec_env.data.measurement import measure
from hyperexec_env.data.reader import read_quotes, read_trades
from hyperexec_env.data.tape import tape_of
from hyperexec_env.data.tape_faults import holes_of

pytest.importorskip("exchange_calendars")
# exchange_calendars calls what pandas deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning")

DAY, MINUTE, SECOND = (np.int64(seconds * 10**9) for seconds in (86_400, 60, 1))
OPEN = np.datetime64("2026-03-02T14:30", "ns").astype(np.int64)
"""The open of New York on a Monday, nanoseconds in UTC."""


def tape(days=2, step=2):
    """Return columns of trades and quotes, one of each every `step` seconds; the mid walks 1 % a day."""
    rng = np.random.default_rng(3)
    time = np.concatenate([OPEN + day * DAY + np.arange(step, 23_400, step) * SECOND for day in range(days)])
    side, size = rng.choice([-1, 1], len(time)), 100.0 * rng.integers(1, 10, len(time))
    mid = 100.0 * np.exp(np.cumsum(1e-2 * np.sqrt(step / 23_400) * rng.standard_normal(len(time))))
    trades = {"ts": time + SECOND // 2, "price": mid + 0.01 * side, "size": size, "side": side}
    return trades, {"ts": time, "bid": mid - 0.01, "ask": mid + 0.01}


def frame(columns, zone=""):
    """Return a frame; with a zone, the stamps are the wall clock of that zone."""
    stamps = pyarrow.array(np.asarray(columns["ts"]), pyarrow.timestamp("ns", "UTC"))
    if zone:
        moment = np.datetime64("2026-03-02T15:00", "us").item().replace(tzinfo=ZoneInfo("UTC"))
        offset = int(moment.astimezone(ZoneInfo(zone)).utcoffset().total_seconds()) * SECOND
        stamps = pyarrow.array(np.asarray(columns["ts"]) + offset, pyarrow.timestamp("ns"))
    return pyarrow.table({**columns, "ts": stamps})


def without(columns, *spans):
    """Return columns without the rows of some spans: day, first and last minute."""
    kept = np.ones(len(columns["ts"]), dtype=bool)
    for day, first, last in spans:
        start = OPEN + day * DAY
        kept &= (columns["ts"] <= start + first * MINUTE) | (columns["ts"] >= start + last * MINUTE)
    return {name: values[kept] for name, values in columns.items()}


def joined(trades, quotes, **options):
    return tape_of(read_trades(frame(trades)), read_quotes(frame(quotes)), **options)


# holes


def test_a_hole_in_the_quotes_is_named_and_left_out_of_the_tape():
    trades, quotes = tape()
    whole, holed = joined(trades, quotes), joined(trades, without(quotes, (0, 110, 130)))
    assert not any("no quotes" in choice for choice in whole.choices)
    (said,) = (choice for choice in holed.choices if choice.startswith("no quotes"))
    assert "2026-03-02 11:20-11:40 (20 minutes)" in said
    assert holed.dates == ("2026-03-02", "2026-03-03")
    assert [(day.start - OPEN) // MINUTE for day in holed.days][:2] == [1, 130]
    assert holed.days[0].end <= OPEN + 110 * MINUTE + 2 * SECOND
    left = sum(len(day.side) for day in whole.days) - sum(len(day.side) for day in holed.days)
    assert left == pytest.approx(20 * 60 / 2, abs=3)
    assert holed.adv == whole.adv


def test_a_hole_does_not_change_the_measured_spread():
    trades, quotes = tape()
    one, two = (
        measure(read_trades(frame(trades)), read_quotes(frame(item))) for item in (quotes, without(quotes, (1, 60, 90)))
    )
    assert two.spreads.quoted.value == pytest.approx(one.spreads.quoted.value, rel=5e-3)
    assert two.spreads.effective.value == pytest.approx(one.spreads.effective.value, rel=5e-3)
    assert two.to_dict()["days"] == ["2026-03-02", "2026-03-03"]
    assert "2 sessions, 2026-03-02 to 2026-03-03" in str(two)


def test_holes_of_quotes_and_trades_are_named_by_the_check():
    trades, quotes = tape()
    found = inspect_data(frame(without(quotes, (0, 110, 130), (1, 300, 330))))
    assert any("2026-03-02 11:20-11:40 (20 minutes), 2026-03-03 14:30-15:00 (30 minutes)" in note for note in found.notes)
    assert "no quotes within sessions" in str(found)
    found = inspect_data(frame(without(trades, (0, 110, 130))))
    assert any(note.startswith("no trades within sessions") and "2026-03-02 11:19-11:40" in note for note in found.notes)


def test_sparse_rows_breaks_and_the_ends_of_the_data_are_no_holes():
    calendar = calendar_of("XNYS")
    hours = calendar.sessions(int(OPEN), int(OPEN + DAY))
    sparse = OPEN + np.sort(np.random.default_rng(0).integers(0, 390, 60)) * MINUTE
    assert holes_of(sparse, hours) == []
    assert holes_of(OPEN + np.arange(9_000, 18_000) * SECOND, hours) == []
    tokyo = calendar_of("XTKS").sessions(int(OPEN), int(OPEN + DAY))
    minutes = np.concatenate([np.arange(item.open, item.close, 10 * SECOND) for item in tokyo])
    pause = [(minutes >= item.break_start) & (minutes < item.break_end) for item in tokyo]
    assert holes_of(minutes[~np.logical_or.reduce(pause)], tokyo) == []


# clocks

CLOCKS = [
    ("America/Chicago", "", "America/Chicago", "--quotes-tz America/Chicago"),
    ("America/Los_Angeles", "", "America/Los_Angeles", "--quotes-tz America/Los_Angeles"),
    ("Asia/Kolkata", "", "Asia/Kolkata", "--quotes-tz Asia/Kolkata"),
    ("", "America/Chicago", "America/Chicago", "--tz America/Chicago"),
]


@pytest.mark.parametrize(("quotes_zone", "trades_zone", "right", "advice"), CLOCKS)
def test_quotes_of_another_zone_than_the_trades_are_refused_with_the_zone(quotes_zone, trades_zone, right, advice):
    trades, quotes = tape()
    frames = frame(trades, trades_zone), frame(quotes, quotes_zone)
    with pytest.raises(ValueError, match=r"trades and quotes have different clocks; pass") as caught:
        tape_of(read_trades(frames[0]), read_quotes(frames[1]), adv=1e6)
    assert str(caught.value).endswith(advice)
    zone = Format(tz=right)
    tape_of(
        read_trades(frames[0], zone if trades_zone else Format()), read_quotes(frames[1], zone if quotes_zone else Format())
    )


def test_quotes_with_a_wrong_offset_are_refused():
    trades, quotes = tape()
    late = {**quotes, "ts": quotes["ts"] + 60 * MINUTE}
    with pytest.raises(ValueError, match=r"stamped 1 hours later: .* the offset that the stamps of the quotes carry is wrong"):
        joined(trades, late, adv=1e6)


def test_the_command_takes_the_zone_of_the_quotes(tmp_path, capsys):
    csv = pytest.importorskip("pyarrow.csv")
    trades, quotes = tape()
    csv.write_csv(frame(trades, "America/New_York"), tmp_path / "t.csv")
    csv.write_csv(frame(quotes, "America/Chicago"), tmp_path / "q.csv")
    command = ["measure", "--trades", str(tmp_path / "t.csv"), "--quotes", str(tmp_path / "q.csv"), "--adv", "1e6"]
    out = ["--out", str(tmp_path / "x.toml")]
    assert main([*command, *out]) == 2
    assert "pass --quotes-tz America/Chicago" in capsys.readouterr().err
    assert main([*command, "--quotes-tz", "America/Chicago", *out]) == 0


# prints


def with_print(factor, price=1.0):
    """Return trades and quotes with one print of `factor` times the other trades of the first day, at noon."""
    trades, quotes = tape()
    at = int(np.searchsorted(trades["ts"], OPEN + 150 * MINUTE))
    first = trades["size"][trades["ts"] < OPEN + DAY // 2].sum()
    size, paid = trades["size"].copy(), trades["price"].copy()
    size[at], paid[at] = round(factor * first), paid[at] * price
    return {**trades, "size": size, "price": paid}, quotes


def test_a_huge_print_in_line_is_kept_as_a_block_and_named():
    plain, block = joined(*tape()), joined(*with_print(4.0))
    (said,) = (choice for choice in block.choices if choice.startswith("prints of more than half"))
    assert "kept in the volume as blocks" in said
    assert "80% of 2026-03-02" in said
    assert block.adv == pytest.approx(3.0 * plain.adv, rel=0.01)
    assert sum(len(day.side) for day in plain.days) - sum(len(day.side) for day in block.days) == 1  # no part of the flow


def test_a_huge_print_off_the_price_is_left_out_and_named():
    plain, wrong = joined(*tape()), joined(*with_print(4.0, 1.2))
    (said,) = (choice for choice in wrong.choices if choice.startswith("prints of more than half"))
    assert "left out, since their prices are off the market" in said
    assert "20% from the prices around it" in said
    assert wrong.adv == pytest.approx(plain.adv, rel=1e-3)


def test_the_check_names_huge_prints():
    trades, _ = with_print(4.0)
    assert any("kept in the volume as blocks" in note for note in inspect_data(frame(trades)).notes)
    assert not any("prints of more" in note for note in inspect_data(frame(tape()[0])).notes)


# what a check cannot see


def bars(days, volume=True):
    """Return a frame of naive hourly bars around the clock."""
    time = np.arange(
        np.datetime64("2026-03-01T22:00"), np.datetime64("2026-03-01T22:00") + np.timedelta64(days, "D"), np.timedelta64(1, "h")
    )
    price = 100.0 + np.sin(np.arange(len(time)))
    columns = dict.fromkeys(("open", "high", "low", "close"), price)
    return pyarrow.table({"ts": time.astype("datetime64[us]"), **columns, **({"volume": 10.0 + price} if volume else {})})


def test_a_zone_and_a_unit_that_cannot_be_checked_are_said():
    found = inspect_data(bars(5, volume=False), Format(calendar="24/7"))
    assert any("the zone UTC is not checked" in note and "08:30 New York" in note for note in found.notes)
    found = inspect_data(bars(5), Format(calendar="24/7"))
    assert any("the unit of the volume is not checked: compare 2,64" in note for note in found.notes)
    found = inspect_data(bars(5), Format(calendar="24/7", tz="UTC"), adv=2_600.0)
    assert not any("unit of the volume" in note for note in found.notes)
    _, quotes = tape()
    assert any(
        "is not checked here: `hyperexec measure`" in note for note in inspect_data(frame(quotes, "America/New_York")).notes
    )
