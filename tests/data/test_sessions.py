"""Sessions of bars: calendars, zones, breaks, daylight saving, lengths of bars, and what is left out."""

import csv
import gzip
import json
import os
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env.data.calendars import calendar_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars
from hyperexec_env.data.sessions import NoSessions, read_sessions, sessions_of
from hyperexec_env.data.zones import day_start, local_of, unfold, utc_of

pytest.importorskip("exchange_calendars")
pytest.importorskip("pyarrow")

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real bars: set HYPEREXEC_DATA to the folder that holds bars_1min/")
HOUR = 3600 * 10**9


def same(one, two):
    """Whether two results hold the same sessions."""
    return one.dates == two.dates and all(
        np.array_equal(getattr(one, field), getattr(two, field))
        for field in ("open", "high", "low", "close", "volume", "edges")
    )


def inside(made, length=390):
    """Return the bars within the hours."""
    return made.only((made.minute >= 0) & (made.minute < length))


# bars and sessions


@pytest.mark.parametrize("step", [1, 5])
def test_sessions_contain_the_bars_of_the_data(make, step):
    made = make(step=step)
    read = read_sessions(made.frame())
    assert read.dates == ("2025-07-07", "2025-07-08", "2025-07-09", "2025-07-10", "2025-07-11")
    assert (read.bar_minutes, read.day_minutes, read.volume.shape) == (step, 390, (5, 390 // step))
    for field in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(read, field).ravel(), getattr(made, field))
    report = read.report
    assert (report.used, report.filled_bars, report.outside_bars, report.left_out, report.notes) == (5, 0, 0, (), ())


@pytest.mark.parametrize("step", [1, 2, 3, 5, 10, 15, 20, 30, 60])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("extended", [0, 330])
def test_bars_of_any_length_lie_on_the_grid_whichever_end_they_are_stamped_at(make, step, aligned, extended):
    made = make(step=step, aligned=aligned, extended=extended)
    start, end = (read_sessions(made.frame(stamp=stamp)) for stamp in ("start", "end"))
    assert (start.report.stamp, end.report.stamp) == ("start", "end")
    assert same(start, end)
    assert start.report.filled_bars == 0
    origin = 0 if aligned else 570 - extended  # minutes after midnight at which bars begin
    first = step - (570 - origin) % step
    assert start.edges.tolist() == [0.0, *np.arange(first, 390.0, step).tolist(), 390.0]
    minutes = inside(make(extended=extended))
    totals = np.bincount(minutes.day, minutes.volume)
    before = 0.003 if extended and first < step else 0.0  # volume before the open in the first bar
    np.testing.assert_allclose(start.volume.sum(axis=1), totals, rtol=before)


def test_the_first_bar_that_reaches_over_the_open_is_reported(make):
    (note,) = read_sessions(make(step=60, aligned=True, extended=330).frame()).report.notes
    assert note.startswith("the first bar of a session begins before the open")


def test_daily_bars_are_sessions_of_one_bar(make):
    made = make("2025-06-02", "2025-06-27", step=60)
    day = [f"{item}" for item in np.unique((made.time - 4 * HOUR).astype("datetime64[ns]").astype("datetime64[D]"))]
    first = np.flatnonzero(np.diff(made.day, prepend=-1))
    table = made.only(first).frame().set_column(0, "ts", [day])
    read = read_sessions(table)
    assert read.dates == tuple(day)
    assert read.volume.shape == (19, 1)
    assert read.edges.tolist() == [0.0, 390.0]


def test_daily_bars_on_many_days_without_a_session_are_refused(make):
    made = make("2025-06-02", "2025-06-30", calendar="24/7", step=60)
    table = made.only(made.minute == 0).frame("Z")
    with pytest.raises(ValueError, match=r"daily bars lie on days without a session of XNYS, such as 2025-06-07.*--calendar"):
        read_sessions(table)
    assert read_sessions(table, Format(calendar="24/7")).report.used == 29


def test_any_volume_is_accepted_in_the_auctions(make):
    for minute in (0, 389):
        made = make()
        made.volume[made.at(2, minute)] = 0.3 * made.volume[made.day == 2].sum()
        assert read_sessions(made.frame()).report.used == 5


def test_missing_bars_are_filled_with_the_last_price_and_counted(make):
    made = make(step=5)
    gaps = [made.at(1, 100), made.at(1, 300)]
    read = read_sessions(made.only(~np.isin(np.arange(len(made.time)), gaps)).frame())
    assert read.report.filled_bars == 2
    assert np.argwhere(read.missing).tolist() == [[1, 20], [1, 60]]
    for at, bar in zip(gaps, (20, 60), strict=True):
        before = made.close[at - 1]
        assert (read.open[1, bar], read.high[1, bar], read.close[1, bar], read.volume[1, bar]) == (before, before, before, 0.0)


def test_a_missing_first_bar_is_filled_with_the_next_price(make):
    made = make(step=5)
    assert read_sessions(made.only(made.time != made.time[78]).frame()).close[1, 0] == made.open[79]


def test_quiet_minutes_are_as_many_as_the_share_has(make):
    """A share that trades in one minute of five has quiet minutes, a share that always trades has a gap."""
    thin = read_sessions(make(traded=0.2, last="2025-08-01").frame())
    assert thin.report.left_out == ()
    assert thin.missing.mean() == pytest.approx(0.8, abs=0.02)
    made = make(last="2025-08-01")
    hole = made.only((made.day != 4) | (made.minute < 100) | (made.minute >= 115))
    with pytest.raises(ValueError, match="15 minutes are missing, 15 of them next to 11:25"):
        read_sessions(hole.frame())


def test_data_that_end_within_their_only_session_hold_no_full_one(make):
    made = make("2025-07-07", "2025-07-08", step=5)
    with pytest.raises(
        NoSessions, match=r"no full session of 390 minutes; left out, for example: .* last bar starts at 11:05"
    ) as caught:
        read_sessions(made.only(slice(0, 20)).frame())
    assert [(item.kind, item.date) for item in caught.value.left_out] == [("incomplete", "2025-07-07")]


def test_bars_given_twice_alike_are_used_once_whatever_their_order(make):
    first, second = make("2025-07-07", "2025-07-09"), make("2025-07-07", "2025-07-11")
    both, one = read_sessions([second.frame(), first.frame()]), read_sessions(second.frame())
    assert same(both, one)
    assert both.report.notes == ("1,170 bars are given twice with the same values and are used once",)


def test_files_of_different_bar_lengths_are_refused(make):
    frames = [make("2025-07-07", "2025-07-09").frame(), make("2025-07-10", "2025-07-18", step=5).frame()]
    with pytest.raises(ValueError, match=r"bars are \d minutes long, those of .* [15]; give bars of one length"):
        read_sessions(frames)


def test_the_text_and_json_of_the_report(make):
    made = make("2025-07-02", "2025-07-09", step=5)
    report = read_sessions(made.frame()).report
    text = str(report)
    assert "4 sessions of 5-minute bars, 2025-07-02 to 2025-07-09, calendar XNYS (America/New_York)" in text
    assert "stamps at the start of a bar" in text
    assert "left out (half day): Table, row 79: 2025-07-03: a session of 210 minutes, others have 390" in text
    plain = json.loads(json.dumps(report.to_dict()))
    assert (plain["used"], plain["left_out_counts"]) == (4, {"half day": 1})


@pytest.mark.parametrize("step", [5, 1440])
def test_the_hours_since_the_last_change_are_used_and_the_others_can_be_chosen(make, step):
    """Tokyo closes at 15:30 instead of 15:00 since 2024-11-05: two lengths of sessions, both of them regular."""
    made = make("2024-09-24", "2024-12-06", calendar="XTKS", step=5)
    if step == 1440:
        made = made.only(np.flatnonzero(np.diff(made.day, prepend=-1)))
        day = [str(item)[:10] for item in (made.time + 9 * HOUR).astype("datetime64[ns]")]
        read = read_sessions(made.frame().set_column(0, "ts", [day]), Format(calendar="XTKS"))
        assert (len(read.dates), read.report.left_out) == (len(day), ())
        assert "the daily bars of all of them are used" in read.report.notes[0]
        return
    new, old = (read_sessions(made.frame(), Format(calendar="XTKS", **days)) for days in ({}, {"until": "2024-11-01"}))
    assert (new.day_minutes, new.dates[0], len(new.dates)) == (330, "2024-11-05", 24)
    assert (old.day_minutes, old.dates[-1], len(old.dates)) == (300, "2024-11-01", 28)
    assert new.report.counts() == {"other hours": 28}
    (note,) = new.report.notes
    assert "300 minutes 2024-09-24 to 2024-11-01 (28 sessions), 330 minutes 2024-11-05 to 2024-12-06 (24 sessions)" in note
    assert "the sessions of 330 minutes are used: pass --until 2024-11-01 for those of 300" in note
    assert old.report.provenance.dropped == {"rows of other days": 24 * 66}
    assert old.report.notes == ()


def test_days_are_chosen_by_their_sessions_which_may_open_on_the_evening_before(make):
    made = make("2025-10-20", "2025-10-31", calendar="CMES", step=30)
    read = read_sessions(made.frame("Z"), Format(calendar="CME", since="2025-10-22", until="2025-10-24"))
    assert read.dates == ("2025-10-22", "2025-10-23", "2025-10-24")
    assert read.report.left_out == ()
    np.testing.assert_array_equal(read.volume.ravel(), made.volume[(made.day >= 2) & (made.day <= 4)])


def test_days_without_data_or_out_of_order_are_refused(make):
    frame = make(step=30).frame()
    with pytest.raises(ValueError, match=r"no rows from 2025-08-01 to 2025-07-11; the data hold 2025-07-07 to 2025-07-11"):
        read_sessions(frame, Format(since="2025-08-01"))
    with pytest.raises(ValueError, match=r"until must not be before since \(2025-07-09\), got '2025-07-08'"):
        Format(since="2025-07-09", until="2025-07-08")
    with pytest.raises(ValueError, match="since must be a day such as 2024-03-26, got '2025-13-01'"):
        Format(since="2025-13-01")


def test_sessions_without_a_bar_are_named(make):
    made = make(step=5)
    (note,) = read_sessions(made.only((made.day != 1) & (made.day != 3)).frame()).report.notes
    assert note == "2 sessions of XNYS between 2025-07-07 and 2025-07-11 hold no bars and do not count: 2025-07-08, 2025-07-10"


# zones


@pytest.mark.parametrize("form", ["offset", "Z", "timestamp", "naive"])
def test_bars_in_utc_with_extended_hours_give_the_sessions_of_new_york(make, form):
    """The same bars from 05:30 to 20:00 New York, in UTC: volume, curve and prices are those of the bars in New York time."""
    made = make("2025-10-27", "2025-11-07", extended=240)  # clocks go back on 2025-11-02
    expected = read_sessions(inside(made).frame())
    options = Format(tz="UTC") if form == "naive" else Format()
    read = read_sessions(made.frame(form, "UTC"), options)
    assert same(read, expected)
    assert read.report.outside_bars == 10 * 480
    assert len(read.dates) == 10


def test_the_offset_may_change_within_the_data(make):
    made = make("2025-03-03", "2025-03-14", step=5)
    assert same(read_sessions(made.frame("offset")), read_sessions(made.frame()))


def test_a_sydney_session_that_crosses_midnight_in_utc_is_one_session(make):
    made = make("2025-01-13", "2025-01-24", calendar="XASX", step=5)
    hours = (made.time // HOUR) % 24
    assert {23, 0} <= set(hours.tolist())
    read = read_sessions(made.frame("Z"), Format(calendar="XASX"))
    assert read.dates[0] == "2025-01-13"
    assert same(read, read_sessions(made.frame(), Format(calendar="XASX")))
    np.testing.assert_array_equal(read.volume.ravel(), made.volume)


@pytest.mark.parametrize("stamp", ["start", "end"])
def test_the_stamp_of_a_layout_that_the_bars_contradict_is_refused(make, tmp_path, stamp):
    """Lean stamps bars at their starts; a file in its form with times at the ends is refused with the option."""
    made = make(step=5)
    shift = 0 if stamp == "start" else 300_000
    lines = ["date,ms,open,high,low,close,volume"]
    for at in range(len(made.time)):
        local = made.time[at] - 4 * HOUR
        values = (f"{getattr(made, field)[at]:.4f}" for field in ("open", "high", "low", "close"))
        day = str(np.datetime64(int(local), "ns").astype("datetime64[D]")).replace("-", "")
        lines.append(f"{day},{local % (24 * HOUR) // 10**6 + shift},{','.join(values)},{made.volume[at]:.0f}")
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(lines))
    if stamp == "start":
        assert read_sessions(path).report.stamp == "start"
    else:
        with pytest.raises(
            ValueError, match=r"bars\.csv: the layout lean-bars says .* its start, but 5 sessions .*--stamp end"
        ):
            read_sessions(path)
        assert read_sessions(path, Format(stamp="end")).report.used == 5


# calendars


@pytest.mark.parametrize(("name", "length", "first"), [("XTKS", 330, "09:00"), ("XHKG", 330, "09:30")])
@pytest.mark.parametrize("step", [1, 15])
def test_a_lunch_break_is_no_time_of_trading(make, name, length, first, step):
    made = make("2025-07-07", "2025-07-18", calendar=name, step=step)
    read = read_sessions(made.frame(), Format(calendar=name))
    assert (len(read.dates), read.day_minutes, read.report.filled_bars) == (10, length, 0)
    assert read.calendar.clock(read.hours[0].open) == first
    assert read.edges.tolist() == np.arange(0, length + 1, step).tolist()
    np.testing.assert_array_equal(read.volume.ravel(), made.volume)


def test_bars_of_an_hour_are_cut_by_the_lunch_break(make):
    for aligned, edges in [(False, [0, 60, 120, 150, 210, 270, 330]), (True, [0, 30, 90, 150, 210, 270, 330])]:
        made = make("2025-07-07", "2025-07-11", calendar="XHKG", step=60, aligned=aligned)
        for stamp in ("start", "end"):
            read = read_sessions(made.frame(stamp=stamp), Format(calendar="XHKG"))
            assert read.edges.tolist() == edges
            np.testing.assert_array_equal(read.volume.ravel(), made.volume)


@pytest.mark.parametrize("step", [1, 5, 30, 60])
@pytest.mark.parametrize("stamp", ["start", "end"])
def test_sessions_of_futures_last_as_long_as_the_data(make, step, stamp):
    """The calendar of CME says 24 hours; the market closes for the last one."""
    made = make("2025-10-27", "2025-11-07", calendar="CMES", step=step)
    read = read_sessions(made.frame("Z", stamp=stamp), Format(calendar="CME"))
    assert (read.day_minutes, len(read.dates), read.report.filled_bars, read.report.stamp) == (1380, 10, 0, stamp)
    assert read.report.notes[0].startswith("sessions are taken to last 17:00-16:00: the data hold no bar in the rest")
    np.testing.assert_array_equal(read.volume.ravel(), made.volume)


@pytest.mark.parametrize("stamp", ["start", "end"])
def test_sessions_of_foreign_exchange_begin_on_sunday_evening_in_new_york(make, stamp):
    made = make("2025-10-27", "2025-11-07", calendar="24/5", step=15)
    read = read_sessions(made.frame("Z", stamp=stamp), Format(calendar="24/5"))
    assert (read.dates[0], len(read.dates), read.report.filled_bars) == ("2025-10-27", 10, 0)
    np.testing.assert_array_equal(read.volume.ravel(), made.volume)


def test_a_market_that_never_closes_has_sessions_of_a_day_in_utc(make):
    made = make("2025-07-07", "2025-07-20", calendar="24/7", step=5)
    cut = made.only(slice(36, -40))
    read = read_sessions(cut.frame("naive"), Format(calendar="24/7"))
    assert (read.day_minutes, len(read.dates)) == (1440, 12)
    assert read.report.counts() == {"incomplete": 2}


def test_a_repeated_hour_of_the_clock_is_no_duplicate(make):
    """Bars of a market that never closes, by the clock of New York, over the night on which clocks go back."""
    made = make("2025-10-31", "2025-11-04", calendar="24/7", step=5)
    options = Format(calendar="24/7", tz="America/New_York")
    assert same(read_sessions(made.frame("naive", "America/New_York"), options), read_sessions(made.frame("Z"), options))


def test_the_second_pass_of_a_repeated_hour_is_an_hour_later():
    for zone, night in [
        ("America/New_York", "2025-11-02"),
        ("Europe/London", "2025-10-26"),
        ("Australia/Sydney", "2025-04-06"),
    ]:
        utc = day_start(night) - 24 * HOUR + np.arange(0, 48 * 60, 7) * (HOUR // 60)
        wall = local_of(utc, zone)
        assert (np.diff(utc_of(wall, zone)) < 0).any()
        np.testing.assert_array_equal(unfold(utc_of(wall, zone), zone), utc)


def test_days_on_which_clocks_change_are_left_out_of_local_days(make):
    made = make("2025-10-30", "2025-11-06", calendar="24/7", step=5)
    options = Format(calendar="24/7", hours="00:00-24:00", tz="America/New_York")
    read = read_sessions(made.frame("naive", "America/New_York"), options)
    assert read.report.counts() == {"incomplete": 2, "clock change": 1}
    (change,) = (item for item in read.report.left_out if item.kind == "clock change")
    assert (change.date, change.reason) == ("2025-11-02", "a session of 1500 minutes, others have 1440")


def test_hours_replace_those_of_the_calendar_but_half_days_remain(make):
    made = make("2025-06-30", "2025-07-09", step=5, extended=180)
    read = read_sessions(made.frame(), Format(hours="08:00-17:00"))
    assert (read.day_minutes, read.report.used, read.report.counts()) == (540, 6, {"half day": 1})
    middle = read_sessions(made.frame(), Format(hours="10:00-15:00"))
    assert middle.volume.sum() == inside(made.only((made.minute >= 30) & (made.minute < 330) & (made.day != 3))).volume.sum()


def test_hours_may_begin_on_the_evening_before(make):
    made = make("2025-07-07", "2025-07-11", calendar="CMES", step=5)
    read = read_sessions(made.frame("Z"), Format(calendar="CME", hours="17:00-16:00"))
    assert (read.dates, read.day_minutes) == (("2025-07-07", "2025-07-08", "2025-07-09", "2025-07-10", "2025-07-11"), 1380)
    np.testing.assert_array_equal(read.volume.ravel(), made.volume)


def test_hours_and_calendars_are_checked():
    for options, message in [
        ({"hours": "9-16"}, "hours must be two times of day such as 09:30-16:00, got '9-16'"),
        ({"hours": "09:30-10:00"}, "hours must last an hour to a day and end by 24:00"),
        ({"hours": "09:30-24:30"}, "hours must last an hour to a day and end by 24:00"),
        ({"name": "XNY"}, "calendar must be a code of exchange_calendars or 24/7, got 'XNY'; did you mean"),
    ]:
        with pytest.raises(ValueError, match=message):
            calendar_of(options.get("name", "XNYS"), options.get("hours", ""))


def test_calendars_know_holidays_half_days_and_daylight_saving():
    sessions = calendar_of("XNYS").sessions(day_start("2025-11-26"), day_start("2025-11-30"))
    assert [(item.date, item.minutes) for item in sessions] == [("2025-11-26", 390), ("2025-11-28", 210)]
    clocks = {
        calendar_of("XNYS").clock(item.open)
        for item in calendar_of("XNYS").sessions(day_start("2025-02-01"), day_start("2025-12-01"))
    }
    assert clocks == {"09:30"}


# real bars

SETS = [
    ("bars_1min/AAPL_1min_2019-02-11_2019-02-15", 5, {}, 1.98018e7, 0.008666),
    ("bars_1min/AAPL_1min_2026-03-12_2026-03-27", 8, {}, 3.11638e7, 0.01233),
    ("bars_1min/BA_1min_2026-03-12_2026-03-20", 7, {}, 7.80846e6, 0.02159),
    ("bars_1min/IWM_1min_2026-03-12_2026-03-30", 13, {}, 5.05658e7, 0.01282),
    ("bars_1min/JPM_1min_2019-02-11_2019-02-15", 5, {}, 1.04604e7, 0.009868),
    ("bars_1min/MSFT_1min_2019-02-11_2019-02-15", 5, {}, 1.8618e7, 0.008925),
    ("bars_1min/MSFT_1min_2026-03-12_2026-03-27", 8, {}, 2.73166e7, 0.01226),
    ("bars_1min/ORCL_1min_2026-03-12_2026-03-27", 11, {}, 2.03843e7, 0.02248),
    ("bars_1min/OXY_1min_2026-03-12_2026-03-30", 13, {}, 1.82266e7, 0.01979),
    ("bars_1min/SPY_1min_2024-03-26_2025-04-02_RTH", 252, {"half day": 3, "incomplete": 1}, 4.32126e7, 0.006986),
    ("bars_5min/AAPL_5min_2025-12-23_2026-03-20", 41, {}, 2.60273e7, 0.01342),
    ("bars_5min/BA_5min_2025-12-23_2026-03-20", 56, {}, 6.43322e6, 0.01854),
    ("bars_5min/IWM_5min_2025-12-23_2026-03-20", 55, {}, 3.99642e7, 0.01116),
    ("bars_5min/MSFT_5min_2025-12-23_2026-03-20", 41, {}, 2.14886e7, 0.01372),
    ("bars_5min/ORCL_5min_2025-12-23_2026-03-20", 56, {}, 2.3499e7, 0.02728),
    ("bars_5min/OXY_5min_2025-12-23_2026-03-20", 57, {}, 1.31291e7, 0.02048),
    ("crypto/BTCUSDT_binance_1min_2022-06-15_2022-07-19", 33, {"incomplete": 2}, 120_791, 0.04368),
    ("crypto/BTCUSDT_binance_1min_2024-02-12_2024-03-17", 33, {"incomplete": 2}, 54_628.8, 0.03306),
    ("crypto/BTCUSDT_binance_1min_2025-01-01_2025-02-04", 33, {"incomplete": 2}, 29_582.9, 0.03062),
    ("us_equity_minute/IBM_minute_trade_20131004_20131011", 6, {}, 3.81737e6, 0.007485),
    ("us_equity_minute/SPY_minute_trade_20131004_20230803", 7, {}, 1.0967e8, 0.005865),
]
"""File, sessions as its README states them, sessions left out, mean daily volume, and volatility of five-minute returns."""


@needs_data
@pytest.mark.parametrize(("name", "used", "left_out", "adv", "volatility"), SETS, ids=[item[0] for item in SETS])
def test_real_files_give_the_sessions_that_their_readme_states(name, used, left_out, adv, volatility):
    path = DATA / f"{name}.csv.gz"
    read = read_sessions(path, Format(calendar="24/7" if "crypto" in name else "XNYS"))
    assert (read.report.used, read.report.counts()) == (used, left_out)
    assert read.report.stamp == ("end" if "2019" in name else "start")
    volume = read.volume.sum(axis=1)
    assert volume.mean() == pytest.approx(adv, rel=1e-5)
    step = 5 // read.bar_minutes
    price = np.concatenate([read.open[:, :1], read.close[:, step - 1 :: step]], axis=1)
    assert np.sqrt((np.diff(np.log(price), axis=1) ** 2).sum(axis=1).mean()) == pytest.approx(volatility, rel=1e-3)
    if "2019" not in name and "us_" not in name:
        np.testing.assert_allclose(volume, list(map(sums(path).get, read.dates)), rtol=1e-12)


def sums(path):
    """Return the volume of each day (from 09:30 to 16:00, unless it is crypto), by plain reading."""
    crypto = "crypto" in str(path)
    found = defaultdict(float)
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            clock = datetime.fromisoformat(row["ts"])
            if crypto or 570 <= clock.hour * 60 + clock.minute < 960:
                found[clock.date().isoformat()] += float(row["volume"])
    return found


@needs_data
@pytest.mark.parametrize("name", ["AAPL", "MSFT"])
@pytest.mark.parametrize(("step", "count"), [(1, 4), (5, 17)])
def test_every_contaminated_session_is_found_alone_and_beside_clean_ones(name, step, count):
    dirty = DATA / "dirty" / f"{name}_{step}min_contaminated_volume.csv.gz"
    clean = next((DATA / f"bars_{step}min").glob(f"{name}_{step}min_202[56]*"))
    with pytest.raises(ValueError, match=r"contaminated_volume\.csv\.gz, line \d+: 20.*--lenient"):
        read_sessions(dirty)
    with pytest.raises(ValueError, match="no full session"):
        read_sessions(dirty, lenient=True)
    left_out = read_sessions([clean, dirty], lenient=True).report.left_out
    assert len(left_out) == count
    assert {item.kind for item in left_out} <= {"contaminated", "gap"}  # a session that begins at 14:00 is a gap
    assert all(str(dirty) in item.where for item in left_out)


@needs_data
@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize(
    "name", ["us_equity_minute/SPY_minute_trade", "us_equity_minute/IBM_minute_trade", "bars_1min/JPM_1min"]
)
def test_real_bars_in_another_zone_are_refused_with_that_zone(name, zone):
    """The bars by the clock of another zone are taken to be in New York; SPY trades 13 % outside the hours."""
    bars = read_bars(next(DATA.glob(f"{name}*")))
    wrong = utc_of(local_of(bars.time, zone), "America/New_York")
    provenance = replace(bars.provenance, zone="America/New_York")
    with pytest.raises(ValueError, match=f"pass --tz {zone}"):
        sessions_of(replace(bars, time=wrong, provenance=provenance), lenient=True)


@needs_data
@pytest.mark.parametrize(
    "name", ["us_equity_minute/SPY_minute_trade", "bars_1min/SPY_1min", "bars_1min/JPM_1min", "bars_5min/OXY"]
)
def test_real_bars_with_the_wrong_stamp_are_refused(name):
    path = next(DATA.glob(f"{name}*"))
    right, wrong = ("end", "start") if "2019" in path.name else ("start", "end")
    with pytest.raises(ValueError, match=f"--stamp says .* its {wrong}, .*; pass --stamp {right}"):
        read_sessions(path, Format(stamp=wrong), lenient=True)


@needs_data
@pytest.mark.parametrize("calendar", ["XNYS", "XTKS", "24/5", "CME"])
def test_crypto_with_the_hours_of_another_market_is_refused(calendar):
    with pytest.raises(ValueError, match="at weekends too: pass --calendar 24/7"):
        read_sessions(next((DATA / "crypto").glob("BTC*")), Format(calendar=calendar))


@needs_data
def test_option_expiry_fridays_are_kept_as_block_prints():
    report = read_sessions(next((DATA / "bars_1min").glob("SPY_*"))).report
    (note,) = (item for item in report.notes if item.startswith("large bars are kept as block prints"))
    for date in ["2024-06-21", "2024-07-19", "2024-10-18", "2024-11-15", "2025-01-17", "2025-03-21"]:
        assert date in note


@needs_data
def test_the_split_of_apple_in_2014_is_found():
    path = next((DATA / "us_equity_minute").glob("AAPL_minute_trade*"))
    with pytest.raises(ValueError, match=r"line 1695: the price moves from 645\.57 to 92\.69 .*a split of 7 for 1"):
        read_sessions(path, lenient=True)
