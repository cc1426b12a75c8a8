"""Wrong data of any kind: read right, left out by session, or refused with the option that helps."""

# ruff: noqa: E501 - the cases are a table, one line each

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from hyperexec_env.cli import main
from hyperexec_env.data.format import Format
from hyperexec_env.data.sessions import read_sessions

pytest.importorskip("exchange_calendars")

WEEK = 5
"""Sessions of the made week, 2025-07-07 to 2025-07-11; day 2 is Wednesday, 2025-07-09."""


class Case(NamedTuple):
    """Some data and what becomes of them."""

    name: str
    data: Callable[[Any], Any]
    """Function from :func:`conftest.make` to the data."""
    says: str = ""
    """What the error, or a sentence of the report, says; "" for no sentence at all."""
    kind: str = ""
    """Kind of the fault of the session that is left out if lenient; "refused" if the data as a whole are refused."""
    used: int = WEEK
    """Sessions that are used (without the one that is left out)."""
    options: dict[str, Any] = {}  # noqa: RUF012 - a constant
    adv: float | None = None


def changed(change, frame=None, **options):
    """Return the function from `make` to bars that were changed."""

    def data(make):
        made = make(**{"step": 5, **options})
        made = change(made) or made
        return made.frame(**(frame or {}))

    return data


def put(field, factor, day=2, minute=120):
    """Multiply a value of one bar (and the high, so that it holds the price)."""

    def change(made):
        at = made.at(day, minute)
        getattr(made, field)[at] *= factor
        made.high[at] = max(made.open[at], made.high[at], made.low[at], made.close[at])
        made.low[at] = min(made.open[at], made.low[at], made.close[at])

    return change


def set_volume(value, day=2, minute=120):
    """Set the volume of one bar to a function of (bars, index)."""

    def change(made):
        at = made.at(day, minute)
        made.volume[at] = value(made, at)

    return change


def total_before(made, at):
    """Return the volume of the session up to and with a bar."""
    return made.volume[(made.day == made.day[at]) & (np.arange(len(made.day)) <= at)].sum()


def rest_of_day(made, at):
    """Return the volume of the session."""
    return made.volume[made.day == made.day[at]].sum()


def running(days=range(99)):
    """Replace the volumes of some days by running totals."""

    def change(made):
        for day in days:
            chosen = made.day == day
            made.volume[chosen] = np.cumsum(made.volume[chosen])

    return change


def some_totals(made):
    """Write running totals into four bars of a day, and nothing into the bars after them, as a real feed does."""
    for minute in (60, 120, 200, 300):
        at = made.at(2, minute)
        made.volume[at] = 0.3 * total_before(made, at)
        made.volume[at + 1] = 0.0


def in_each_day(minute, value):
    """Set the volume of one bar of each day to a function of (bars, index)."""

    def change(made):
        for day in range(WEEK):
            set_volume(value, day, minute)(made)

    return change


def freeze(first, last, day=2, volume=True):
    """Let the price stand still."""

    def change(made):
        chosen = (made.day == day) & (made.minute >= first) & (made.minute < last)
        stand = made.close[made.at(day, first) - 1]
        for field in ("open", "high", "low", "close"):
            getattr(made, field)[chosen] = stand
        if not volume:
            made.volume[chosen] = 0.0
        after = made.at(day, last)
        made.open[after] = stand
        made.high[after], made.low[after] = max(made.high[after], stand), min(made.low[after], stand)

    return change


def without(first, last, day=2, reopening=1.0):
    """Leave the bars of some minutes out; the bar after them has many times its volume."""

    def change(made):
        if last < 390:
            made.volume[made.at(day, last)] *= reopening
        return made.only((made.day != day) | (made.minute < first) | (made.minute >= last))

    return change


def split(ratio, volume=1.0):
    """Multiply the prices from Wednesday on, and the volume of that day."""

    def change(made):
        made.scaled(ratio, made.day >= 2)
        made.volume[made.day >= 2] /= ratio
        made.volume[made.day == 2] *= volume

    return change


def no_volume(made):
    """Drop the volume."""
    made.volume = None


def daily(change):
    """Return the function from `make` to the bars of 43 days that were changed."""

    def data(make):
        made = make("2025-05-01", "2025-07-02", step=30)
        made = made.only(np.flatnonzero(np.diff(made.day, prepend=-1)))
        change(made)
        days = [str(item)[:10] for item in made.time.astype("datetime64[ns]")]
        return made.frame().set_column(0, "ts", [days])

    return data


def change_unit(factor, days):
    """Multiply the volume of some days."""

    def change(made):
        made.volume[np.isin(made.day, np.arange(400)[days])] *= factor

    return change


def split_within(made):
    """Halve the prices from the middle of Wednesday on, and open the next bar there."""
    made.scaled(0.5, (made.day > 2) | ((made.day == 2) & (made.minute >= 120)))


def swap(made):
    """Swap open and close."""
    made.open, made.close = made.close.copy(), made.open.copy()


def late(minutes):
    """Stamp all bars some minutes late."""

    def change(made):
        made.time = made.time + minutes * 60 * 10**9

    return change


def untraded(days, is_flat):
    """Take the volume of some days, and the moves of their price too."""

    def change(made):
        made.volume[days] = 0.0
        for field in ("high", "low", "close") if is_flat else ():
            getattr(made, field)[days] = made.open[days]

    return change


def twice(make, scale=1.0, step=5):
    """Return two overlapping weeks; the second one with other prices."""
    return [
        make("2025-07-07", "2025-07-09", step=step).frame(),
        make("2025-07-07", "2025-07-11", step=step).scaled(scale).frame(),
    ]


def interleaved(make):
    """Return the bars of two instruments, line by line."""
    both = make(step=5).joined(make(step=5, seed=1, price=300.0))
    return both.only(np.argsort(both.time, kind="stable")).frame()


def two_files(make):
    """Return files of two instruments that follow each other."""
    return [make("2025-07-07", "2025-07-08").frame(), make("2025-07-09", "2025-07-11", seed=1, price=335.0, adv=3e7).frame()]


def shuffled(make):
    """Return bars whose days are in any order."""
    made = make(step=5)
    return made.only(np.argsort((made.day * 3) % 5, kind="stable")).frame()


def half_day(make):
    """Return a week with the half day 2025-07-03, whose after-market is busy, and with 2025-07-04 closed."""
    made = make("2025-06-30", "2025-07-08", step=5, extended=180)
    made.volume[(made.day == 3) & (made.minute >= 210)] *= 20.0
    return made.frame()


def good_friday(make):
    """Return bars of a market that is open on Good Friday, 2025-04-18."""
    made = make("2025-04-07", "2025-04-17", step=5)
    other = make("2025-04-21", "2025-04-22", step=5, seed=1, price=float(made.close[-1]))
    other = other.only(other.day == 0)
    other.time -= 3 * 86_400 * 10**9
    return made.joined(other).frame()


NY, UTC = {"zone": "America/New_York"}, {"zone": "UTC"}
CASES = [
    # the clock
    Case("naive UTC", changed(lambda made: None, UTC, extended=330), r"lies outside the hours of XNYS.*--tz UTC", "refused"),
    Case("naive Chicago", changed(lambda made: None, {"zone": "America/Chicago"}), r"last 30 minutes .* 0\.0%.*--tz America/Chicago", "refused"),
    Case("naive Los Angeles", changed(lambda made: None, {"zone": "America/Los_Angeles"}), "--tz America/Los_Angeles", "refused"),
    Case("New York called UTC", changed(lambda made: None, extended=330), r"--tz America/New_York", "refused", options={"tz": "UTC"}),
    Case("Chicago with extended hours", changed(lambda made: None, {"zone": "America/Chicago"}, extended=330), r"last 30 minutes.*--tz America/Chicago", "refused"),
    Case("the right zone", changed(lambda made: None, UTC, extended=330), "", options={"tz": "UTC"}),
    Case("Tokyo as New York", changed(lambda made: None, {"form": "Z"}, calendar="XTKS"), "--calendar XTKS", "refused"),
    Case("Sydney as New York", changed(lambda made: None, {"form": "timestamp"}, calendar="XASX"), "--calendar XASX", "refused"),
    Case("London as Frankfurt", changed(lambda made: None, calendar="XLON"), "--tz Europe/London", "refused", options={"calendar": "XETR"}),
    Case("crypto with stock hours", changed(lambda made: None, {"form": "Z"}, calendar="24/7", last="2025-07-20"), "at night and at weekends.*--calendar 24/7", "refused"),
    Case("foreign exchange with stock hours", changed(lambda made: None, {"form": "Z"}, calendar="24/5"), "not at weekends.*--calendar 24/5", "refused"),
    Case("futures with stock hours", changed(lambda made: None, {"form": "Z"}, calendar="CMES"), "not at weekends.*--calendar CME", "refused"),
    Case("stocks as crypto", changed(lambda made: None, {"form": "Z"}), "7 of the 24 hours.*--calendar XNYS", "refused", options={"calendar": "24/7"}),
    Case("stocks as crypto, naive", changed(lambda made: None, last="2025-07-20"), "--calendar XNYS", "refused", options={"calendar": "24/7"}),
    Case("futures in UTC", changed(lambda made: None, UTC, calendar="CMES"), r"no bars .* hours after the open, but later.*--tz UTC", "refused", options={"calendar": "CME"}),
    Case("futures of Chicago with stock hours", changed(lambda made: None, {"zone": "America/Chicago"}, calendar="CMES"), "not at weekends.*--calendar CME --tz America/Chicago", "refused"),
    Case("futures of Chicago as crypto", changed(lambda made: None, {"zone": "America/Chicago"}, calendar="CMES", last="2025-07-20"), "not at weekends.*--calendar CME --tz America/Chicago", "refused", options={"calendar": "24/7"}),
    Case("futures as foreign exchange", changed(lambda made: None, {"form": "Z"}, calendar="CMES"), "from 21:00 to 22:00.*another --calendar, such as CME", "refused", options={"calendar": "24/5"}),
    Case("foreign exchange of a server in Athens", changed(no_volume, {"zone": "Europe/Athens"}, calendar="24/5", last="2025-07-18"), "week of the bars ends and begins 3 hours after 17:00 New York.*--tz Europe/Athens", "refused", options={"calendar": "24/5"}),
    Case("foreign exchange an hour off", changed(no_volume, {"zone": "Europe/London"}, calendar="24/5", last="2025-07-18"), "begins 1 hours after.*--tz Europe/London", "refused", options={"calendar": "24/5"}),
    Case("Helsinki as Berlin", changed(lambda made: None, {"zone": "Europe/Helsinki"}, calendar="XHEL"), "--tz Europe/Athens", "refused", options={"calendar": "XHEL", "tz": "Europe/Berlin"}),
    Case("winter time of New York all year", changed(lambda made: None, {"zone": "Etc/GMT+5"}, first="2025-02-24", last="2025-03-21"), "from 2025-03-10 to 2025-03-21 the last 30 minutes .*--tz Etc/GMT.5", "refused"),
    Case("London in UTC all year", changed(lambda made: None, UTC, calendar="XLON", first="2025-03-17", last="2025-04-11"), "from 2025-03-31 to 2025-04-11 .*--tz UTC", "refused", options={"calendar": "XLON"}),
    Case("a feed that is 15 minutes late", changed(late(15), step=1, extended=330), "rises about 15 minutes after the open of XNYS and falls as much after its close", "refused"),
    Case("stamps that are 2 minutes late", changed(late(2)), r"hardly any session holds bars of 09:30-09:32|taken to be their starts"),
    Case("Good Friday", good_friday, r"1 days hold bars .* no sessions of XNYS: 2025-04-18 \(78 bars\)", used=9),
    Case("half day with a busy after-market", half_day, "", "half day", used=5),
    Case("stamps at the end, called the start", changed(lambda made: None, {"stamp": "end"}), r"sessions have a bar stamped at the close.*--stamp end", "refused", options={"stamp": "start"}),
    Case("stamps at the end, extended hours", changed(lambda made: None, {"stamp": "end"}, extended=330), r"jumps \d+-fold.*--stamp end", "refused", options={"stamp": "start"}),
    Case("stamps at the start, called the end", changed(lambda made: None, extended=330), r"jumps \d+-fold.*--stamp start", "refused", options={"stamp": "end"}),
    # volumes
    Case("running totals", changed(running()), "5 of 5 sessions the volume grows.*difference", "refused"),
    Case("running totals on one day", changed(running([2])), "grows from bar to bar", "contaminated"),
    Case("running totals in some bars", changed(some_totals), r"volume of 10:35 is 0 although its price moves", "contaminated"),
    Case("a running total in one bar", changed(set_volume(total_before, 2, 180)), "volume of 12:30 is the sum of those before it", "contaminated"),
    Case("the total in the last bar of a day", changed(set_volume(rest_of_day, 2, 385)), r"last bar holds 5\d% of the volume \(\d+% usually\)", "contaminated"),
    Case("the total in the first bar of a day", changed(set_volume(rest_of_day, 2, 0)), r"first bar holds 5\d%", "contaminated"),
    Case("the total in each last bar", changed(in_each_day(385, rest_of_day)), r"last bar holds 5\d% .* in most sessions", "refused"),
    Case("the total in each first bar", changed(in_each_day(0, rest_of_day)), r"first bar holds 5\d% .* in most sessions", "refused"),
    Case("a volume times 1000", changed(put("volume", 1000.0)), r"volume of 11:30 is 8\d\.\d% of the day and [\d,]+ times", "contaminated"),
    Case("a block print", changed(set_volume(lambda made, at: 0.2 * rest_of_day(made, at), 2, 120)), r"kept as block prints: 2025-07-09 11:30 \(1\d% of the day\)"),
    Case("a large closing auction", changed(set_volume(lambda made, at: 0.5 * rest_of_day(made, at), 2, 385)), r"last bars are kept as auctions \(\d% usually\): 2025-07-09"),
    Case("volume in currency", changed(lambda made: made.volume.__imul__(made.close * 100.0) is None, adv=2e8), r"price x volume is .* a day.*--columns volume", "refused"),
    Case("volume in round lots", changed(lambda made: made.volume.__imul__(0.01) is None), "seems to be in round lots of 100", "refused", adv=2e6),
    Case("volume in currency, given adv", changed(lambda made: made.volume.__imul__(100.0) is None), "seems to be in currency", "refused", adv=2e6),
    Case("volume counts trades", changed(lambda made: made.volume.__imul__(0.0003) is None, price=10.0), "may count trades", "refused", adv=2e6),
    Case("the given adv agrees", changed(lambda made: None), "", adv=3e6),
    Case("lots at first, then shares", changed(change_unit(100.0, slice(10, None)), last="2025-07-25"), "volume changes 1..-fold from 2025-07-18 to 2025-07-21 and stays there.*--since 2025-07-21", "refused"),
    Case("a day in thousands", changed(change_unit(0.001, slice(2, 3))), "2025-07-09: the volume of the session is 2,062, but .* usually: in another unit", "contaminated"),
    Case("a daily bar of 300 times the volume", daily(change_unit(300.0, slice(20, 21))), "usually: in another unit", "contaminated", used=43),
    Case("an active week", changed(change_unit(20.0, slice(10, None)), last="2025-07-25"), "", used=15),
    Case("daily bars with a running total", daily(lambda made: made.volume.__iadd__(np.cumsum(made.volume)) is None), "grows from day to day: it is a running total", "refused"),
    Case("daily bars of one volume", daily(lambda made: made.volume.fill(5e6)), "", used=43),
    Case("one volume of zero", changed(lambda made: made.volume.__setitem__(made.at(2, 120), 0.0)), "1 bars have no volume although their prices move"),
    Case("a day without its volume", changed(lambda made: made.volume.__setitem__(made.day == 2, 0.0)), "2025-07-09: the volume of the session is 0 although its prices move", "no volume"),
    Case("daily bars of which one lacks its volume", daily(untraded([7], False)), "2025-05-12: the volume of the session is 0 although its prices move", "no volume", used=43),
    Case("daily bars without a volume at first", daily(untraded(slice(0, 22), False)), "volume of 22 of 43 sessions is 0 .*--since 2025-06-03", "refused"),
    Case("daily bars of a share that rests", daily(untraded([7, 20], True)), r"2 days \(5%\) have no volume and one price, and count as quiet days: 2025-05-12, 2025-05-30", used=43),
    Case("no volume", changed(no_volume), "the data hold no volume"),
    # prices
    Case("a close times 10", changed(put("close", 10.0)), r"close of 11:30 is .*\+89\d\.\d%", "spike"),
    Case("a close times 1.05", changed(put("close", 1.05), step=1), r"close of 11:30 is .*\+4\.\d%", "spike"),
    Case("a whole bar times 10", changed(lambda made: made.scaled(10.0, made.at(2, 120))), r"close of 11:3[05] is", "spike"),
    Case("the last close times 3", changed(put("close", 3.0, 2, 385)), r"close of 15:55", "spike"),
    Case("a stub quote below", changed(lambda made: made.low.__setitem__(made.at(2, 120), 0.01)), r"low of 11:30 is 0\.01", "stub"),
    Case("a stub quote above", changed(lambda made: made.high.__setitem__(made.at(2, 120), 199_999.0)), r"high of 11:30 is 199999", "stub"),
    Case("a frozen price", changed(freeze(120, 180)), r"price stands at .* for 60 minutes from 11:30 on", "frozen"),
    Case("open and close swapped", changed(swap), "open and close are swapped", "refused"),
    Case("a split 2 for 1", changed(split(0.5)), r"from 2025-07-08 to 2025-07-09 without the turnover.*split of 2 for 1", "refused"),
    Case("a split 3 for 2", changed(split(1 / 1.5)), r"split of 1.5 for 1", "refused"),
    Case("a split 1 for 10", changed(split(10.0)), r"split of 1 for 10", "refused"),
    Case("a day in another unit", changed(lambda made: made.scaled(100.0, made.day == 2)), r"from 2025-07-08 to 2025-07-09 without .*1 for 100", "refused"),
    Case("a crash over the night", changed(split(0.6, 12.0)), r"large moves over the night are kept as real.* 2025-07-08 to 2025-07-09 \(1\d times"),
    Case("a gain over the night", changed(split(1.9, 8.0)), r"large moves over the night are kept as real"),
    # rows and instruments
    Case("the same bars twice", twice, r"234 bars are given twice with the same values and are used once"),
    Case("contradicting bars", changed(lambda made: made.joined(made.only(made.day == 2).only(slice(5, 9)).scaled(1.001))), r"bar of 09:55 is given twice, with other values", "duplicate"),
    Case("contradicting files", lambda make: twice(make, 1.01), r"234 bars are given twice with other prices.*--symbol", "refused"),
    Case("two instruments, line by line", interleaved, r"390 bars are given twice.*--symbol", "refused"),
    Case("two instruments, file by file", two_files, r"from 2025-07-08 to 2025-07-09 without the turnover.*two instruments", "refused"),
    Case("bars in any order", shuffled, r"rows step back in time \d+ times"),
    Case("a bar off the grid", changed(lambda made: made.time.__setitem__(made.at(2, 120), made.time[made.at(2, 120)] + 60 * 10**9)), r"11:31 does not start a bar of 5 minutes", "off grid"),
    # quiet minutes
    Case("a halt", changed(without(120, 180, reopening=10.0)), "halts are kept as bars without trades: 2025-07-09 11:30-12:30"),
    Case("a halt before the open", changed(without(0, 60, reopening=10.0)), "halts are kept .* 2025-07-09 09:30-10:30"),
    Case("a halt of empty bars", changed(lambda made: freeze(120, 180, volume=False)(made) or set_volume(lambda made, at: 10.0 * made.volume[at], 2, 180)(made)), "halts are kept .* 11:30-12:30"),
    Case("a gap in the data", changed(without(120, 180)), r"60 minutes are missing, 60 of them next to 12:30", "gap"),
    Case("a day that ends early", changed(without(300, 390)), r"90 minutes are missing, 90 of them next to 14:25", "gap"),
    Case("data that begin within a day", changed(without(0, 60, day=0)), "", "incomplete"),
    Case("a thin share", changed(lambda made: None, step=1, traded=0.2, last="2025-08-01"), "", used=20),
    Case("a very thin share", changed(lambda made: None, step=1, traded=0.1, last="2025-08-01"), "", used=20),
    Case("five minutes of which nine in ten are absent", changed(lambda made: None, aligned=True, traded=0.022, last="2025-08-01"), "", used=20),
    Case("minutes of which ninety-nine in a hundred are absent", changed(lambda made: None, step=1, traded=0.01, last="2025-08-01", seed=1), "1 sessions of XNYS .* hold no bars and do not count: 2025-07-15", used=19),
    Case("foreign exchange without a volume", changed(no_volume, {"form": "Z"}, calendar="24/5"), "the data hold no volume", options={"calendar": "24/5"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_wrong_data_are_read_right_left_out_or_refused(make, case):
    data, format = case.data(make), Format(**case.options)
    if case.kind and case.says:
        with pytest.raises(ValueError, match=case.says) as caught:
            read_sessions(data, format, adv=case.adv)
        assert ("--lenient" in str(caught.value)) == (case.kind != "refused")
    if case.kind == "refused":
        with pytest.raises(ValueError, match=case.says):
            read_sessions(data, format, lenient=True, adv=case.adv)
        return
    sessions = read_sessions(data, format, lenient=bool(case.kind and case.says), adv=case.adv)
    report = sessions.report
    assert report.counts() == ({case.kind: 1} if case.kind else {})
    assert report.used == case.used - (1 if case.kind and case.kind != "half day" else 0)
    if not case.kind:
        assert bool(report.notes) == bool(case.says)
        assert not case.says or any(re.search(case.says, note) for note in report.notes)
    assert np.isfinite(sessions.close).all()


def test_the_table_holds_each_kind_of_fault_and_more_than_25_cases():
    assert len(CASES) >= 25
    kinds = {case.kind for case in CASES}
    assert kinds == {
        *(
            "",
            "refused",
            "half day",
            "contaminated",
            "no volume",
            "spike",
            "stub",
            "frozen",
            "duplicate",
            "off grid",
            "gap",
            "incomplete",
        )
    }


def test_a_spike_does_not_reach_the_volatility(make):
    """One close times 10 in a week gave a volatility of 103 % a day; the session is left out instead."""
    frame = changed(put("close", 10.0), step=1)(make)
    sessions = read_sessions(frame, lenient=True)
    returns = np.diff(np.log(np.concatenate([sessions.open[:, :1], sessions.close], axis=1)), axis=1)
    assert math.sqrt((returns**2).sum(axis=1).mean()) == pytest.approx(0.01, rel=0.1)


def test_the_volume_of_a_session_that_is_kept_is_that_of_the_data(make):
    made = make(extended=330)
    sessions = read_sessions(made.frame("timestamp"))
    inside = (made.minute >= 0) & (made.minute < 390)
    expected = np.bincount(made.day[inside], made.volume[inside])
    np.testing.assert_array_equal(sessions.volume.sum(axis=1), expected)


@pytest.mark.parametrize("traded", [0.2, 0.5, 0.85, 1.0])
def test_volumes_that_scatter_are_no_fault(make, traded):
    """Minutes of a small share scatter by a factor of 4 (log sd 1.5), and its prices jump between ticks of 0.05 %."""
    made = make("2025-03-03", "2025-04-30", traded=traded, volatility=0.03)
    made.volume = np.ceil(made.volume * np.random.default_rng(1).lognormal(0.0, 1.5, len(made.volume)))
    for field in ("open", "high", "low", "close"):
        setattr(made, field, np.round(getattr(made, field) / 0.05) * 0.05)
    report = read_sessions(made.frame("timestamp"), lenient=True).report
    assert report.left_out == ()
    assert report.used == 42


def test_the_command_refuses_bars_that_contradict_the_given_volume(make, tmp_path, capsys):
    csv = pytest.importorskip("pyarrow.csv")
    csv.write_csv(changed(lambda made: made.volume.__imul__(0.01) is None)(make), tmp_path / "bars.csv")
    out = str(tmp_path / "mine.toml")
    assert main(["calibrate", str(tmp_path / "bars.csv"), "--adv", "2e6", "--out", out]) == 2
    assert "bars.csv: the usual daily volume is 19," in (said := capsys.readouterr().err)
    assert "but adv is 2,000,000: the volume seems to be in round lots of 100" in said
    assert main(["calibrate", str(tmp_path / "bars.csv"), "--adv", "25000", "--out", out]) == 0


def test_the_given_average_daily_volume_must_be_positive(make):
    with pytest.raises(ValueError, match=r"adv must be above 0 \(shares a day\), got -1"):
        read_sessions(make(step=30).frame(), adv=-1)


def test_a_split_within_a_day_is_named_before_the_split_of_the_next_night(make):
    frame = changed(split_within)(make)
    with pytest.raises(
        ValueError, match=r"price moves by -50\.\d% to .* at 11:30 without the volume of a real move: a split within"
    ):
        read_sessions(frame)
