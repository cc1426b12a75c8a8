"""Real days of a replay: parts by day, no leak from later days to earlier ones, spreads of quotes, and prepared days."""

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.data.replay import PAST, quoted_spreads, read_days, read_replay, recording_of, symbol_of, write_days
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.data.tables import Provenance, Quotes

from ..recorded import HOURS, SCENARIO, bars, changed, sessions_of_days

SECOND = 10**9


@pytest.fixture(scope="module")
def sessions():
    return sessions_of_days(60)


@pytest.fixture(scope="module")
def recording(sessions):
    return recording_of(sessions)


def by_day(days):
    """Return the numbers of each day, by its date."""
    columns = [values.reshape(len(days.dates), -1) for values in days.slices]
    return {date: np.stack([column[at] for column in columns]) for at, date in enumerate(days.dates)}


def test_the_parts_are_in_the_order_of_time_with_purged_sessions_between(sessions, recording):
    dates = sessions.dates
    assert recording.calibrated == (dates[0], dates[35], 36)
    assert recording.train.dates == dates[1:36]  # the first session has no past volume
    assert recording.validation.dates == dates[37:48]
    assert recording.test.dates == dates[49:]
    other = recording_of(sessions, train=0.5, validation=0.0, purged=3)
    assert other.validation.dates == ()
    assert other.test.dates == dates[33:]


def test_volumes_are_scaled_by_the_sessions_before_the_day_alone(sessions, recording):
    market = recording.market("test")
    daily = sessions.volume.sum(axis=1)
    day = sessions.dates.index(recording.test.dates[3])
    volume = (
        market.days.slices.volume_shock.reshape(-1, 26)[3]
        * market.mean_volume[np.arange(26), market.days.slices.regime.reshape(-1, 26)[3]]
    )
    assert volume == pytest.approx(sessions.volume[day] * recording.scenario.adv / daily[day - PAST : day].mean())


def test_later_days_change_nothing_in_earlier_ones(sessions, recording):
    for day in (20, 40, 55):
        other = recording_of(changed(sessions, day, 0, 1.5))
        for own, after in zip(
            (recording.train, recording.validation, recording.test), (other.train, other.validation, other.test), strict=True
        ):
            before, now = by_day(own), by_day(after)
            earlier = [date for date in before if date < sessions.dates[day]]
            if day >= 36:  # a session of the calibration moves the scenario, and with it the units of every day
                assert all(np.array_equal(before[date], now[date]) for date in earlier)
        assert (recording.scenario.hash == other.scenario.hash) == (day >= 36)


def test_a_day_of_the_calibration_changes_no_regime_or_price_before_it(sessions, recording):
    """The units of the draws are those of the scenario; what they give back, the moves of the day, stays the same."""
    other = recording_of(changed(sessions, 30, 0, 1.5))
    for part in ("train", "test"):
        own, now = (each.market(part) for each in (recording, other))
        row, changed_row = (
            market.row(np.tile(np.arange(26), len(market.days.dates)), market.days.slices.regime) for market in (own, now)
        )
        moves = own.days.slices.news * row.step_volatility * own.numbers.by_news
        same = now.days.slices.news * changed_row.step_volatility * now.numbers.by_news
        days = [at for at, date in enumerate(own.days.dates) if date != sessions.dates[30]]
        assert moves.reshape(-1, 26)[days] == pytest.approx(same.reshape(-1, 26)[days], rel=1e-9, abs=1e-15)


def test_too_few_sessions_and_wrong_data_are_refused(sessions):
    with pytest.raises(ValueError, match=r"two for the test, got 58, 0 and 1 of 60 \(train 0.975, validation 0, purged 1\)"):
        recording_of(sessions, train=0.975, validation=0.0)
    with pytest.raises(ValueError, match="train must be"):
        recording_of(sessions, train=1.5)
    with pytest.raises(ValueError, match="needs bars with a volume, got none"):
        recording_of(replace(sessions, has_volume=False))
    with pytest.raises(ValueError, match="needs bars of less than a day, got daily bars"):
        recording_of(replace(sessions, bar_minutes=1440))
    with pytest.raises(ValueError, match="slices must be 26 over the whole day"):
        recording_of(sessions, slices=13)
    with pytest.raises(ValueError, match="regimes must be the"):
        recording_of(sessions, regimes=SCENARIO.regimes)


def test_a_session_with_a_slice_without_volume_is_not_replayed(sessions, recording):
    volume = sessions.volume.copy()
    volume[52, 7] = 0.0
    other = recording_of(replace(sessions, volume=volume))
    assert set(recording.test.dates) - set(other.test.dates) == {sessions.dates[52]}
    assert other.notes == ("1 sessions with a slice without volume are not replayed",)


def quotes_of(sessions, half):
    """Return quotes on a grid of minutes, stamped at its start, whose half-spread in bps is given by session and bar."""
    time, spread = [], []
    for item, row in zip(sessions.hours, half, strict=True):
        minutes = np.arange(sessions.day_minutes)
        time.append(item.open + 60 * SECOND * minutes)
        spread.append(np.repeat(row, sessions.day_minutes // len(row)))
    time, spread = np.concatenate(time), 1e-4 * np.concatenate(spread)
    count = len(time)
    provenance = Provenance(("quotes.csv",), "", {}, "iso", "UTC", count)
    shared = {
        "provenance": provenance,
        "symbol": "",
        "lines": None,
        "row": np.arange(count),
        "source": np.zeros(count, np.int16),
    }
    empty = np.full(count, np.nan)
    return Quotes(**shared, interval=60 * SECOND, time=time, bid=1.0 - spread, ask=1.0 + spread, bid_size=empty, ask_size=empty)


def test_each_bar_has_the_mean_spread_of_its_minutes(sessions):
    half = np.random.default_rng(0).uniform(1.0, 5.0, sessions.close.shape)
    assert quoted_spreads(sessions, quotes_of(sessions, half)) == pytest.approx(half, rel=1e-9)


def test_the_spread_of_a_slice_is_that_of_its_quotes(sessions):
    half = np.random.default_rng(0).uniform(1.0, 5.0, sessions.close.shape)
    half[50] = np.nan
    recorded = recording_of(sessions, half)
    market = recorded.market("test")
    at = recorded.test.dates.index(sessions.dates[50])
    spread = market.days.slices.half_spread.reshape(-1, 26)
    assert np.array_equal(spread[at], market.half_spread[market.days.slices.regime.reshape(-1, 26)[at]])
    price = market.scenario.arrival_price * np.exp(np.log(sessions.close[51] / sessions.open[51, 0]))
    starts = np.concatenate([[market.scenario.arrival_price], price[:-1]])
    assert spread[at + 1] == pytest.approx(1e-4 * half[51] * starts, rel=1e-9)
    assert recorded.notes == ("59 of 60 sessions have quotes in every slice; the spread of other slices is the scenario's",)


def test_prepared_days_give_the_same_recording(tmp_path):
    frame = bars(40)
    kept = np.delete(np.arange(len(frame)), 26 * 12 + 5)  # a bar without trades
    sessions = read_sessions(frame.take(kept), HOURS, lenient=True)
    spreads = np.random.default_rng(1).uniform(1.0, 3.0, sessions.close.shape)
    path = tmp_path / "IBM days.parquet"
    write_days(sessions, spreads, path)
    again, read = read_days(path)
    assert again.dates == sessions.dates
    assert np.array_equal(again.missing, sessions.missing)
    assert np.array_equal(read[~again.missing], spreads[~sessions.missing])
    assert symbol_of(again.report.files[0]) == "IBM"
    known = np.where(sessions.missing, np.nan, spreads)
    assert read_replay(path).digest == recording_of(sessions, known).digest
    write_days(sessions, None, path)
    assert read_days(path)[1] is None
    assert read_replay(path, symbol="X").symbol == "X"


def test_a_file_of_prepared_days_that_cannot_be_used_is_refused(sessions, tmp_path):
    with pytest.raises(ValueError, match=r"out must be a file with the ending .parquet, got 'days.csv'"):
        write_days(sessions, None, "days.csv")
    (tmp_path / "days.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(ValueError, match=r"cannot read the prepared days .*days.parquet"):
        read_replay(tmp_path / "days.parquet")
