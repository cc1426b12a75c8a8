"""Calibration: simulated bars recover known parameters, and the provenance gives the source of each value."""

import dataclasses
import itertools
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest

from hyperexec_env.baselines.card import card
from hyperexec_env.data.calibration import NAMES, Calibration, calibrate, calibration_of
from hyperexec_env.data.figures import Samples, _volatility_curve, estimate, samples_of, standard_errors
from hyperexec_env.data.format import Format
from hyperexec_env.data.regime_fit import (
    TAIL,
    RegimeFit,
    _forward_backward,
    _reversible,
    fit_regimes,
    predicted_regimes,
    transition_rates,
)
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.market.library import U_CURVE
from hyperexec_env.market.regime import matrix_exponential
from hyperexec_env.market.scenario import MULTIPLES, Scenario, load_scenario
from hyperexec_env.market.tables import build_market

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real bars: set HYPEREXEC_DATA to the folder that holds bars_1min/")

ADV, SIGMA, NOISE, LEVEL = 2_000_000.0, 0.02, 0.25, 0.3
CURVE = np.array(U_CURVE) / sum(U_CURVE)
PATTERN = CURVE / np.sqrt((CURVE**2).mean())  # intraday volatility, proportional to volume
VOLATILITY_SCALES = np.array([0.45, 0.95, 1.9])
STATIONARY = np.array([0.4, 0.4, 0.2])
VOLUME_SCALES = np.array([0.7, 1.0, 1.6])
RATES = np.array([[-1.5, 1.5, 0.0], [1.5, -3.0, 1.5], [0.0, 3.0, -3.0]])
VOLATILITY_SCALES /= np.sqrt(STATIONARY @ VOLATILITY_SCALES**2)
VOLUME_SCALES /= STATIONARY @ VOLUME_SCALES

DAYS = Format(calendar="24/7", hours="09:30-16:00")
"""Sessions on all days of the week, so that a few dates make many of them."""


def chain(rng, days, steps, regimes):
    """Draw the regime of each step, shape (day, step)."""
    if regimes == 1:
        return np.ones((days, steps), dtype=int)
    transition = matrix_exponential(RATES / steps).cumsum(axis=1)
    state = [rng.choice(3, days, p=STATIONARY)]
    for _ in range(steps - 1):
        state.append((rng.random((days, 1)) > transition[state[-1]]).sum(axis=1))
    return np.stack(state, axis=1)


def write_bars(path, days, step=5, regimes=3, seed=0):
    """Write bars of a market with known parameters; return the regimes, shape (day, slice of 15 minutes)."""
    rng = np.random.default_rng(seed)
    per_slice, bars = 15 // step, 390 // step
    state = chain(rng, days, 26, regimes)
    volatility_scales, volume_scales = (VOLATILITY_SCALES, VOLUME_SCALES) if regimes == 3 else (np.ones(3), np.ones(3))
    scale = np.repeat(SIGMA * PATTERN * volatility_scales[state], per_slice, axis=1) / np.sqrt(bars)
    moves = scale * rng.standard_normal((days, bars))
    level = np.exp(LEVEL * rng.standard_normal((days, 1)) - LEVEL**2 / 2.0)
    volume = ADV * CURVE * level * volume_scales[state] * np.exp(NOISE * rng.standard_normal((days, 26)) - NOISE**2 / 2.0)
    volume = np.repeat(volume / per_slice, per_slice, axis=1)
    lines = ["ts,open,high,low,close,volume"]
    price = 50.0
    first = np.datetime64("2023-01-02T09:30")
    for day in range(days):
        for bar in range(bars):
            close = price * float(np.exp(moves[day, bar]))
            ts = first + np.timedelta64(day, "D") + np.timedelta64(bar * step, "m")
            lines.append(f"{ts},{price!r},{max(price, close)!r},{min(price, close)!r},{close!r},{float(volume[day, bar])!r}")
            price = close
        price *= 1.01  # overnight
    path.write_text("\n".join(lines) + "\n")
    return state


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A year of bars of a market with three regimes: sessions, true regimes and calibrated scenario."""
    path = tmp_path_factory.mktemp("bars") / "year.csv"
    state = write_bars(path, 250)
    sessions = read_sessions(path, DAYS)
    return sessions, state, calibrate(sessions, "year")


def test_volatility_excludes_overnight_returns(market):
    sessions, state, scenario = market
    drawn = SIGMA * np.sqrt((VOLATILITY_SCALES[state] ** 2 * PATTERN**2).mean())  # expected value given the drawn regimes
    assert scenario.volatility == pytest.approx(drawn, rel=0.02)
    whole = np.diff(np.log(sessions.close[:, -1])).std()
    assert whole > scenario.volatility * 0.8


def test_the_volatility_curve_is_recovered(market):
    sessions, state, scenario = market
    drawn = np.sqrt((VOLATILITY_SCALES[state] ** 2).mean(axis=0)) * PATTERN  # expected value given the drawn regimes
    assert np.array(scenario.volatility_curve) == pytest.approx(drawn / np.sqrt((drawn**2).mean()), rel=0.15)
    errors = calibration_of(sessions).errors["volatility_curve"]
    assert abs((np.array(scenario.volatility_curve) - drawn / np.sqrt((drawn**2).mean())) / errors).max() < 4.0


def test_curve_and_regimes_together_have_the_measured_variance(market):
    """The variance of a slice is volatility^2 c_k^2 tau: regimes have mean square one, so they add nothing."""
    sessions, _, scenario = market
    made = build_market(scenario)
    law = scenario.regimes.stationary()
    samples = samples_of(sessions)
    measured, weight = samples.squares.mean(axis=0), estimate(samples).curve_weight
    assert 0.9 < weight < 1.0
    assert made.step_volatility**2 @ law == pytest.approx(measured.mean() + weight * (measured - measured.mean()), rel=1e-4)
    assert (made.step_volatility**2 @ law).sum() == pytest.approx(scenario.volatility**2, rel=1e-4)


@pytest.mark.parametrize("days", [2, 5, 10])
@pytest.mark.parametrize("flat", [False, True])
def test_a_shrunk_volatility_curve_is_nearer_to_the_truth_than_the_measured_variances(market, days, flat):
    """Mean squared error of the log of the variances over the parts of a year, for the shape of the day and for a flat day."""
    samples, truth = samples_of(market[0]), np.broadcast_to(PATTERN, (26,)) ** 2 / (PATTERN**2).mean()
    if flat:
        samples, truth = samples._replace(squares=samples.squares / truth), np.ones(26)
    gains = []
    for first in range(0, 250 - days, days):
        part = samples.of_sessions(np.arange(first, first + days))
        curve, _ = _volatility_curve(part)
        raw = part.squares.mean(axis=0) / part.squares.mean()
        gains.append(np.mean(np.log(raw / truth) ** 2) - np.mean(np.log(curve**2 / truth) ** 2))
    assert np.mean(gains) > 2.0 * np.std(gains) / math.sqrt(len(gains))


def test_equal_slices_have_a_flat_curve_and_sessions_of_one_shape_have_that_shape(market):
    samples = samples_of(market[0]).of_sessions(np.arange(3))
    level = np.array([[1.0], [2.0], [3.0]])
    shape = np.linspace(0.5, 1.5, 26)
    flat, weight = _volatility_curve(samples._replace(squares=level * np.ones(26)))
    assert (flat == 1.0).all()
    assert weight == 0.0
    curve, weight = _volatility_curve(samples._replace(squares=2.0 * np.tile(shape, (3, 1))))
    assert curve**2 == pytest.approx(shape)
    assert weight == 1.0
    one, weight = _volatility_curve(samples._replace(squares=shape[None]))
    assert (one == 1.0).all()
    assert weight == 0.0


def test_slices_in_which_the_price_does_not_move_have_some_volatility(market):
    samples = samples_of(market[0])
    squares = np.tile(samples.squares.mean(axis=0), (5, 1))  # no error, so nothing is shrunk
    squares[:, 7] = 0.0
    curve, weight = _volatility_curve(samples._replace(squares=squares))
    assert weight == pytest.approx(1.0)
    assert curve[7] == pytest.approx(0.05 * np.delete(curve, 7).sum() / 26.0, rel=1e-9)
    assert (curve**2).mean() == pytest.approx(1.0)


def test_adv_and_volume_curve_are_recovered(market):
    sessions, _, scenario = market
    assert scenario.adv == pytest.approx(sessions.volume.sum(axis=1).mean(), rel=1e-5)
    assert scenario.adv == pytest.approx(ADV, rel=0.06)
    assert np.array(scenario.volume_curve) == pytest.approx(CURVE, rel=0.08)
    assert sum(scenario.volume_curve) == pytest.approx(1.0, abs=1e-5)


def test_volume_noise_is_within_days_and_not_across_days(market):
    noise = market[2].volume_noise
    assert NOISE < noise < 1.2 * NOISE  # includes the regime uncertainty that returns leave
    assert f"(sd of the log {LEVEL:.1f}" in market[2].provenance["volume_noise"]


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.7, -0.4])
def test_the_persistence_of_the_volume_is_recovered_around_daily_level_and_curve(market, phi):
    """Deviations from the mean of a day understate a memory by about its reciprocal number of slices; the estimate does not."""
    samples, rng = samples_of(market[0]), np.random.default_rng(7)
    days, bins = 2_000, 26
    logs = NOISE * rng.standard_normal((days, bins))
    for k in range(1, bins):
        logs[:, k] = phi * logs[:, k - 1] + math.sqrt(1.0 - phi * phi) * logs[:, k]
    volume = np.array(CURVE) * np.exp(logs + LEVEL * rng.standard_normal((days, 1)))
    chosen = rng.integers(0, len(samples.volume), days)
    figures = estimate(samples.of_sessions(chosen)._replace(volume=volume), most_regimes=1)
    assert abs(figures.volume_persistence - phi) < 4.0 / math.sqrt(days * bins)
    assert figures.persistent_noise == pytest.approx(
        NOISE, rel=4.0 / math.sqrt(2.0 * days * bins) * (1.0 + phi * phi) / (1.0 - phi * phi)
    )


def test_the_persistence_of_the_volume_is_written_if_it_is_requested(market):
    sessions = market[0]
    plain = calibration_of(sessions)
    figures = estimate(samples_of(sessions))

    def persistent(**order):
        asked = {"volume_persistence": True, "figures": figures, "with_errors": False}
        return calibration_of(sessions, **asked, **order).scenario

    error = plain.errors["volume_persistence"]
    assert plain.scenario.volume_persistence == 0.0
    assert "is not requested" in plain.scenario.provenance["volume_persistence"]
    assert 0.0 < error < 0.05
    assert f"persistence of the log volume from slice to slice: {plain.volume_persistence:.3f} +- {error:.3f}" in str(plain)
    assert persistent().volume_persistence == pytest.approx(plain.volume_persistence, rel=1e-5)
    assert "AR(1) coefficient" in persistent().provenance["volume_persistence"]
    coarse = persistent(slices=13)  # slices of 30 minutes
    assert coarse.volume_persistence == pytest.approx(max(plain.volume_persistence, 0.0) ** 2, rel=1e-4)
    half = persistent(slices=13, horizon_minutes=195.0)
    assert half.volume_persistence == persistent().volume_persistence
    stated = calibration_of(sessions, figures=figures, with_errors=False, volume_persistence=0.4).scenario
    assert stated.volume_persistence == 0.4
    assert stated.volume_noise == plain.scenario.volume_noise
    assert stated.provenance["volume_persistence"] == "given"


def test_the_daily_level_of_the_volume_is_written_if_it_is_requested(market):
    sessions, _, plain = market
    levelled = calibrate(sessions, "year", volume_level=True)
    assert plain.volume_level_sd == 0.0
    assert "not requested" in plain.provenance["volume_level_sd"]
    assert levelled.volume_level_sd == pytest.approx(LEVEL, rel=4.0 / np.sqrt(2.0 * 250))
    assert "sd of the log of the daily level" in levelled.provenance["volume_level_sd"]
    assert dataclasses.replace(levelled, volume_level_sd=0.0, provenance=plain.provenance) == plain
    assert calibrate(sessions, "year", volume_level=True, volume_level_sd=0.2).volume_level_sd == 0.2


def test_three_regimes_are_recovered_by_ascending_volatility(market):
    _, state, scenario = market
    regimes = scenario.regimes
    assert regimes.names == NAMES
    assert np.array(regimes.volatility) == pytest.approx(VOLATILITY_SCALES, rel=0.12)
    assert np.array(regimes.volume) == pytest.approx(VOLUME_SCALES, rel=0.15)
    assert regimes.stationary() == pytest.approx(np.bincount(state.ravel()) / state.size, abs=0.08)
    assert -np.diag(regimes.rates) == pytest.approx(-np.diag(RATES), rel=0.45)
    assert regimes.rates[0][2] < 0.5
    assert regimes.rates[2][0] < 0.8


def test_regimes_preserve_the_mean_variance_and_the_mean_volume(market):
    regimes = market[2].regimes
    law = regimes.stationary()
    assert law @ np.square(regimes.volatility) == pytest.approx(1.0, abs=1e-4)
    assert law @ np.array(regimes.volume) == pytest.approx(1.0, abs=1e-4)


def test_intraday_volatility_seasonality_is_not_taken_for_regimes(tmp_path):
    write_bars(tmp_path / "calm.csv", 80, regimes=1)
    scenario = calibrate(read_sessions(tmp_path / "calm.csv", DAYS))
    assert scenario.regimes.names == ("SIDEWAYS_LOW",)
    assert scenario.regimes.volatility == (1.0,)
    assert scenario.volatility == pytest.approx(SIGMA, rel=0.03)
    assert scenario.volume_noise == pytest.approx(NOISE, rel=0.05)


def test_few_sessions_support_fewer_regimes(tmp_path):
    write_bars(tmp_path / "week.csv", 10)
    scenario = calibrate(read_sessions(tmp_path / "week.csv", DAYS))
    assert 1 <= len(scenario.regimes) < 3


def test_one_minute_bars_give_the_scenario_of_their_five_minute_bars(tmp_path):
    write_bars(tmp_path / "one.csv", 12, step=1)
    rows = [line.split(",") for line in (tmp_path / "one.csv").read_text().splitlines()]
    lines = [",".join(rows[0])]
    for group in (rows[i : i + 5] for i in range(1, len(rows), 5)):
        high, low = max(float(row[2]) for row in group), min(float(row[3]) for row in group)
        volume = sum(float(row[5]) for row in group)
        lines.append(f"{group[0][0]},{group[0][1]},{high!r},{low!r},{group[-1][4]},{volume!r}")
    (tmp_path / "five.csv").write_text("\n".join(lines) + "\n")
    one, five = (calibrate(read_sessions(tmp_path / name, DAYS)) for name in ("one.csv", "five.csv"))
    assert dataclasses.replace(one, provenance={}) == dataclasses.replace(five, provenance={})


def test_start_and_end_stamps_give_the_same_scenario(tmp_path):
    write_bars(tmp_path / "start.csv", 5)
    text = (tmp_path / "start.csv").read_text().splitlines()
    shifted = [str(np.datetime64(line[:16]) + np.timedelta64(5, "m")) + line[16:] for line in text[1:]]
    (tmp_path / "end.csv").write_text("\n".join([text[0], *shifted]) + "\n")
    start, end = read_sessions(tmp_path / "start.csv", DAYS), read_sessions(tmp_path / "end.csv", DAYS)
    assert calibrate(start).hash == calibrate(end).hash


# bars of any length, days, bars without a volume


def merged(sessions, minutes):
    """Return a frame of bars of another length (or of days) from sessions of bars."""
    count = sessions.volume.shape[1] if minutes == 1440 else minutes // sessions.bar_minutes
    rows = []
    for day, hours in enumerate(sessions.hours):
        for first in range(0, sessions.volume.shape[1], count):
            part = slice(first, first + count)
            stamp = np.datetime64(hours.open, "ns") + np.timedelta64(first * sessions.bar_minutes, "m")
            high, low = sessions.high[day, part].max(), sessions.low[day, part].min()
            rows.append(
                (stamp, sessions.open[day, first], high, low, sessions.close[day, part][-1], sessions.volume[day, part].sum())
            )
    names = ("date" if minutes == 1440 else "ts", "open", "high", "low", "close", "volume")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns[names[0]] = np.array(columns[names[0]], "datetime64[D]" if minutes == 1440 else "datetime64[us]")
    return pyarrow.table({name: np.asarray(values) for name, values in columns.items()})


@pytest.mark.parametrize(("minutes", "slices"), [(10, 39), (15, 26), (20, 20), (30, 13), (60, 6)])
def test_longer_bars_give_the_same_volume_and_volatility(market, minutes, slices):
    sessions, _, scenario = market
    longer = read_sessions(merged(sessions, minutes), DAYS)
    found = estimate(samples_of(longer))
    assert len(found.curve) == slices
    assert found.adv == pytest.approx(scenario.adv, rel=1e-5)
    assert found.volatility == pytest.approx(scenario.volatility, rel=0.05)
    ends = np.append(np.arange(0.0, 390.0, minutes), 390.0)  # within a bar, its volume is taken to be even
    known = np.interp(ends, np.linspace(0.0, 390.0, 27), np.concatenate([[0.0], np.cumsum(CURVE)]))
    assert found.curve == pytest.approx(np.diff(np.interp(np.linspace(0.0, 390.0, slices + 1), ends, known)), rel=0.1)


def test_daily_bars_give_the_volume_and_the_curve_of_the_default(market):
    sessions, _, scenario = market
    found = calibrate(read_sessions(merged(sessions, 1440), DAYS))
    assert found.adv == scenario.adv
    assert found.volume_curve == pytest.approx(CURVE, rel=1e-5)
    assert len(found.regimes) == 1
    assert "regime-day" in found.provenance["volume_curve"]
    assert found.volatility_curve == ()
    assert found.provenance["volatility_curve"] == "flat: daily bars do not identify it"


def test_the_range_of_daily_bars_gives_the_volatility_whatever_the_drift():
    rng = np.random.default_rng(0)
    steps, days = 26, 4000
    for drift in (0.0, 0.03):  # a day's drift of 1.5 standard deviations
        moves = SIGMA / np.sqrt(steps) * rng.standard_normal((days, steps)) + drift / steps
        path = np.concatenate([np.zeros((days, 1)), np.cumsum(moves, axis=1)], axis=1)
        first, last = path[:, :-1], path[:, 1:]
        spread = np.sqrt((last - first) ** 2 - 2.0 * SIGMA**2 / steps * np.log(rng.random((2, days, steps))))
        high, low = (first + last + spread[0]).max(axis=1) / 2.0, (first + last - spread[1]).min(axis=1) / 2.0
        columns = {"open": path[:, 0], "high": high, "low": low, "close": path[:, -1]}
        daily = SimpleNamespace(bar_minutes=1440, day_minutes=390, volume=np.ones((days, 1)), has_volume=True)
        for name, values in columns.items():
            setattr(daily, name, np.exp(values)[:, None])
        assert estimate(samples_of(daily)).volatility == pytest.approx(SIGMA, rel=0.015)


def test_bars_without_a_volume_need_an_adv_and_get_a_flat_curve(market):
    sessions = read_sessions(merged(market[0], 5).drop_columns("volume"), DAYS)
    with pytest.raises(ValueError, match=r"pass adv, the average daily volume \(--adv\)"):
        calibrate(sessions)
    scenario = calibrate(sessions, adv=5e6)
    assert (scenario.adv, scenario.volume_curve) == (5e6, ())
    assert scenario.provenance["volume_curve"] == "flat: the bars hold no volume"
    assert scenario.volatility == market[2].volatility


# standard errors


def simulated(days, seed):
    """Return the samples of some days of a market with one regime."""
    rng = np.random.default_rng(seed)
    moves = np.repeat(SIGMA * PATTERN, 3) / np.sqrt(78) * rng.standard_normal((days, 78))
    level = np.exp(LEVEL * rng.standard_normal((days, 1)) - LEVEL**2 / 2.0)
    volume = ADV * CURVE * level * np.exp(NOISE * rng.standard_normal((days, 26)) - NOISE**2 / 2.0)
    short = moves.reshape(days, 26, 3)
    squares = (short**2).sum(axis=2)
    return Samples(squares.sum(axis=1), volume, np.abs(short).sum(axis=2), squares, short.sum(axis=2), 26, 15.0, "", True)


def test_standard_errors_are_the_spread_of_independent_samples():
    one = RegimeFit(np.ones(1), np.ones((1, 1)), np.ones((60, 26, 1)), 0.0)
    start = estimate(simulated(60, 0))._replace(fit=one)
    found = [estimate(simulated(60, seed), start) for seed in range(200)]
    errors = [standard_errors(simulated(60, seed), start) for seed in range(8)]
    ratios = np.std([figures.volatility_curve for figures in found], axis=0, ddof=1)
    assert np.mean([error["volatility_curve"] for error in errors]) == pytest.approx(ratios.mean(), rel=0.1)
    for name in ("adv", "volatility", "volume_noise", "volume_level"):
        spread = np.std([getattr(figures, name) for figures in found], ddof=1)
        bootstrap = np.mean([error[name] for error in errors])
        assert bootstrap == pytest.approx(spread, rel=0.25), name


def switching(days, seed):
    """Return the samples of some days of a market with a calm and a volatile regime, left 3 and 6 times a day."""
    rng = np.random.default_rng(seed)
    samples, leave = simulated(days, seed), np.array([3.0, 6.0])
    state = np.empty((days, 26), dtype=int)
    state[:, 0] = rng.random(days) < leave[0] / leave.sum()
    moved = (1.0 - np.exp(-leave.sum() / 26.0)) * leave / leave.sum()
    for step in range(1, 26):
        state[:, step] = state[:, step - 1] ^ (rng.random(days) < moved[state[:, step - 1]])
    scale = np.array([0.6, 2.0])[state]
    return samples._replace(returns=samples.returns * scale, moves=samples.moves * scale, squares=samples.squares * scale**2)


def test_standard_errors_of_rates_are_the_spread_of_independent_samples():
    start = next(found for seed in range(9) if len((found := estimate(switching(80, seed))).fit.law) == 2)
    found = [transition_rates(estimate(switching(80, seed), start).fit.flows, 26) for seed in range(60)]
    errors = np.mean([standard_errors(switching(80, seed), start)["regime_rates"] for seed in range(3)], axis=0)
    assert errors == pytest.approx(np.std(found, axis=0, ddof=1), rel=0.4)


def test_every_measured_figure_has_a_standard_error(market, month):
    figures = {"adv", "volatility", "volatility_curve", "volume_curve", "volume_noise", "volume_persistence", "volume_level"}
    regimes = {"regime_volatility", "regime_share", "regime_volume", "regime_rates"}
    for sessions in (market[0], month):
        calibration = calibration_of(sessions)
        count = len(calibration.scenario.regimes)
        assert set(calibration.errors) == figures | regimes
        shapes = {name: np.shape(error) for name, error in calibration.errors.items()}
        assert shapes == {
            **dict.fromkeys(("adv", "volatility", "volume_noise", "volume_persistence", "volume_level"), ()),
            **dict.fromkeys(("volume_curve", "volatility_curve"), (26,)),
            **dict.fromkeys(("regime_volatility", "regime_share", "regime_volume"), (count,)),
            "regime_rates": (count, count),
        }
        for name in ("adv", "volatility", "volume_noise", "volatility_curve"):
            assert np.min(calibration.errors[name]) > 0.0
            assert "standard error" in calibration.scenario.provenance[name]
    assert calibration_of(month).errors == calibration_of(month).errors
    year = calibration_of(market[0])
    assert abs(year.volume_level - LEVEL) < 3.0 * year.errors["volume_level"]
    assert f"{year.volume_level:.3f} +- {year.errors['volume_level']:.3f} of the daily level" in str(year)
    for at, row in enumerate(year.scenario.regimes.rates):
        assert f"left {-row[at]:.2f} +- {year.errors['regime_rates'][at][at]:.2f} times a day" in str(year)
    assert ", rates (" in year.scenario.provenance["regimes"]


def test_few_sessions_are_said_in_the_description(tmp_path, month):
    write_bars(tmp_path / "week.csv", 5)
    assert "few sessions" in calibrate(read_sessions(tmp_path / "week.csv", DAYS)).description
    assert "few sessions" not in calibrate(month).description
    assert "few sessions: see the standard errors" in str(card(calibrate(read_sessions(tmp_path / "week.csv", DAYS))))


# the order


def test_the_order_is_four_percent_of_the_volume_over_the_day(market):
    sessions, _, scenario = market
    assert scenario.quantity == round(0.04 * sessions.volume.sum(axis=1).mean())
    assert scenario.arrival_price == sessions.close[-1, -1]
    assert (scenario.slices, scenario.start_minute, scenario.horizon_minutes, scenario.day_minutes) == (26, 0.0, 390.0, 390.0)
    assert scenario.risk_aversion * scenario.notional == pytest.approx(2.0, rel=1e-5)
    assert scenario.name == "year"


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A month of sessions, which calibrate in no time."""
    path = tmp_path_factory.mktemp("bars") / "month.csv"
    write_bars(path, 20)
    return read_sessions(path, DAYS)


def test_given_values_override_the_calibration_and_its_provenance(month):
    given = calibrate(month, "mine", quantity=1000, side=-1, kyle_lambda=0.5, max_participation=None)
    assert (given.name, given.quantity, given.side, given.kyle_lambda) == ("mine", 1000.0, -1, 0.5)
    assert given.risk_aversion * given.notional == pytest.approx(2.0, rel=1e-5)
    assert {key for key, text in given.provenance.items() if text == "given"} == {"quantity", "side", "kyle_lambda"}
    assert calibrate(month, risk_aversion=1e-6).risk_aversion == 1e-6


def test_an_invalid_order_field_is_named_in_the_error(month):
    for order, message in [
        ({"quantity": -5}, "quantity must be a number"),
        ({"quantitty": 5}, "quantitty; did you mean 'quantity'"),
    ]:
        with pytest.raises(ValueError, match=message):
            calibrate(month, **order)


def test_the_provenance_covers_every_parameter(market):
    provenance = market[2].provenance
    labels = {"name", "description", "provenance"}
    assert set(provenance) == {item.name for item in dataclasses.fields(Scenario)} - labels - set(MULTIPLES.values())
    plain = Scenario()
    for key, text in provenance.items():
        assert not text.startswith("default") or getattr(market[2], key) == getattr(plain, key)
    for key in ("adv", "volatility", "volume_curve", "volume_noise", "regimes"):
        assert "250 sessions 2023-01-02 to 2023-09-08 of year.csv" in provenance[key]
    assert "overnight moves are excluded" in provenance["volatility"]
    assert all(
        provenance[key].startswith("assumed") for key in ("kyle_lambda", "perm_impact_gamma", "resilience", "flow_share")
    )


def test_impact_is_that_of_public_tapes_at_the_volatility_of_the_bars(market):
    scenario = market[2]
    assert (scenario.kyle_multiple, scenario.perm_impact_multiple) == (25.0, 12.5)
    assert scenario.kyle_lambda == 25.0 * scenario.volatility
    assert dataclasses.replace(scenario, volatility=0.04).kyle_lambda == 1.0


def test_a_given_lambda_replaces_its_multiple_and_has_the_usual_permanent_part(month):
    given = calibrate(month, kyle_lambda=0.2)
    assert (given.kyle_lambda, given.perm_impact_gamma) == (0.2, 0.1)
    assert given.kyle_multiple is given.perm_impact_multiple is None
    assert given.provenance["perm_impact_gamma"].startswith("assumed: 0.5 of lambda")
    scaled = calibrate(month, kyle_multiple=20.0)
    assert (scaled.kyle_multiple, scaled.perm_impact_multiple) == (20.0, 10.0)
    assert scaled.provenance["kyle_lambda"] == "given"
    both = calibrate(month, kyle_lambda=0.2, perm_impact_gamma=0.05)
    assert (both.kyle_lambda, both.perm_impact_gamma) == (0.2, 0.05)
    with pytest.raises(ValueError, match="kyle_lambda must be a number"):
        calibrate(month, kyle_lambda="high")


def test_a_calibrated_scenario_round_trips_through_its_file(market, tmp_path):
    (tmp_path / "year.toml").write_text(market[2].to_toml())
    assert load_scenario(tmp_path / "year.toml") == market[2]


def test_the_text_and_json_of_a_calibration(market):
    sessions, _, scenario = market
    report = Calibration(scenario, sessions.report)
    assert sum(report.half_hours) == pytest.approx(1.0)
    assert report.half_hours[0] == pytest.approx(sum(scenario.volume_curve[:2]) / sum(scenario.volume_curve))
    assert f"volatility {scenario.volatility:.2%} a day" in str(report)
    assert all(f"regime {name}: volatility {value:.2%}" in str(report) for name, value in report.volatilities.items())
    plain = json.loads(json.dumps(report.to_dict()))
    assert Scenario.from_dict(plain["scenario"]) == scenario
    assert plain["bars"]["used"] == 250


def test_insufficient_or_constant_bars_are_refused(tmp_path):
    for days, flat, message in [(1, False, "at least two full sessions"), (3, True, "do not move")]:
        write_bars(tmp_path / "bars.csv", days)
        if flat:
            lines = (tmp_path / "bars.csv").read_text().splitlines()
            still = [",".join([line.split(",")[0], "5", "5", "5", "5", line.split(",")[5]]) for line in lines[1:]]
            (tmp_path / "bars.csv").write_text("\n".join([lines[0], *still]))
        with pytest.raises(ValueError, match=message):
            calibrate(read_sessions(tmp_path / "bars.csv", DAYS))


# the hidden Markov model


def test_forward_backward_agrees_with_the_sum_over_all_paths():
    rng = np.random.default_rng(3)
    density, flows = rng.uniform(0.1, 2.0, (2, 4, 3)), rng.uniform(0.1, 1.0, (3, 3))
    flows = (flows + flows.T) / (flows + flows.T).sum()
    law, transition = flows.sum(axis=1), flows / flows.sum(axis=1, keepdims=True)
    total, posterior, pairs = 0.0, np.zeros((2, 4, 3)), np.zeros((3, 3))
    for day in range(2):
        weights = {}
        for path in itertools.product(range(3), repeat=4):
            prior = law[path[0]] * np.prod([transition[a, b] for a, b in itertools.pairwise(path)])
            weights[path] = prior * np.prod([density[day, t, m] for t, m in enumerate(path)])
        likelihood = sum(weights.values())
        total += np.log(likelihood)
        for path, weight in weights.items():
            for t, m in enumerate(path):
                posterior[day, t, m] += weight / likelihood
            for a, b in itertools.pairwise(path):
                pairs[a, b] += weight / likelihood
    found = _forward_backward(density, flows)
    assert found[0] == pytest.approx(total)
    assert found[1] == pytest.approx(posterior)
    assert found[2] == pytest.approx(pairs)


def test_the_filter_is_the_law_of_the_regime_given_the_earlier_returns_alone():
    flows = np.array([[0.5, 0.1], [0.1, 0.3]])
    fit = RegimeFit(np.array([0.6, 1.5]), flows, np.ones((1, 1, 2)), 0.0)
    returns = np.random.default_rng(0).standard_normal((3, 4))
    found = predicted_regimes(returns, fit)
    scales = fit.volatility * np.sqrt((TAIL - 2.0) / TAIL)
    density = (1.0 + (returns[..., None] / scales) ** 2 / TAIL) ** (-(TAIL + 1.0) / 2.0) / scales  # up to a constant
    for step in range(4):
        weights = np.zeros((3, 2))
        for path in itertools.product(range(2), repeat=step + 1):
            prior = fit.law[path[0]] * np.prod([flows[a, b] / fit.law[a] for a, b in itertools.pairwise(path)])
            weights[:, path[-1]] += prior * np.prod([density[:, at, path[at]] for at in range(step)], axis=0)
        assert found[:, step] == pytest.approx(weights / weights.sum(axis=1, keepdims=True))


def test_the_fitted_reversible_chain_is_a_local_maximum_of_the_likelihood():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        first = rng.uniform(1.0, 5.0, 3)
        pairs = 20.0 * rng.dirichlet([8.0, 1.0, 1.0], 3) + np.diag(first)

        def likelihood(flows, pairs=pairs, first=first):
            law = flows.sum(axis=1)
            return float((pairs * np.log(flows / law[:, None])).sum() + first @ np.log(law))

        best = _reversible(pairs, first)
        assert best == pytest.approx(best.T)
        assert best.sum() == pytest.approx(1.0)
        for _ in range(50):
            change = np.exp(0.02 * rng.standard_normal((3, 3)))
            other = best * change * change.T
            assert likelihood(other / other.sum()) < likelihood(best) + 1e-4


def test_rates_reproduce_the_transition_matrix(market):
    sessions, _, _ = market
    returns = np.diff(np.log(np.concatenate([sessions.open[:, :1], sessions.close[:, 2::3]], axis=1))) / PATTERN
    for count in [1, 2, 3]:
        fit = fit_regimes(returns, count)
        transition = fit.flows / fit.law[:, None]
        assert matrix_exponential(transition_rates(fit.flows, 26) / 26) == pytest.approx(transition, abs=2e-3)
        assert (np.diff(fit.volatility) > 0.0).all()
        assert fit.posterior.sum(axis=2) == pytest.approx(np.ones((250, 26)))


def test_an_alternating_chain_gets_the_rates_of_p_minus_identity():
    rates = transition_rates(np.array([[0.05, 0.45], [0.45, 0.05]]), 26)
    assert rates == pytest.approx(26 * np.array([[-0.9, 0.9], [0.9, -0.9]]))


def test_rare_large_moves_do_not_become_a_regime():
    rng = np.random.default_rng(0)
    returns = rng.standard_normal((60, 26))
    returns[rng.random((60, 26)) < 0.004] *= 4.0
    one, two = fit_regimes(returns, 1), fit_regimes(returns, 2)
    assert one.bic < two.bic


# real bars


@needs_data
def test_a_year_of_spy_gives_the_known_values():
    sessions = read_sessions(next((DATA / "bars_1min").glob("SPY_*")), lenient=True)
    report = Calibration(calibrate(sessions, "spy"), sessions.report)
    assert report.scenario.adv == pytest.approx(43.0e6, rel=0.01)
    assert report.scenario.volatility == pytest.approx(0.0070, rel=0.02)
    assert report.half_hours[0] == pytest.approx(0.11, abs=0.01)
    assert min(report.half_hours) == pytest.approx(0.05, abs=0.005)
    assert report.half_hours[-1] == pytest.approx(0.22, abs=0.01)
    assert tuple(report.volatilities) == NAMES
    assert list(report.volatilities.values()) == pytest.approx([0.0041, 0.0070, 0.0123], rel=0.16)
    stay = -390.0 / np.diag(report.scenario.regimes.rates)
    assert ((stay > 120.0) & (stay < 1200.0)).all()
    assert np.all(np.diff(report.scenario.regimes.volume) > 0.0)


@needs_data
@pytest.mark.parametrize(
    ("name", "adv", "volatility"),
    [
        ("AAPL", 26.0e6, 0.0134),
        ("ORCL", 23.5e6, 0.0273),
        ("IWM", 40.0e6, 0.0112),
    ],
)
def test_single_stocks_give_valid_scenarios(name, adv, volatility):
    scenario = calibrate(read_sessions(next((DATA / "bars_5min").glob(f"{name}_*"))), name.lower())
    assert scenario.adv == pytest.approx(adv, rel=0.01)
    assert scenario.volatility == pytest.approx(volatility, rel=0.01)
    assert len(scenario.regimes) == 2
    assert Scenario.from_toml(scenario.to_toml()) == scenario


@needs_data
@pytest.mark.parametrize("name", ["AAPL", "OXY"])
def test_one_or_two_weeks_give_a_valid_scenario_with_one_regime(name):
    file = next((DATA / "bars_1min").glob(f"{name}_1min_2026*"))
    scenario = calibrate(read_sessions(file, lenient=True), name.lower())
    assert len(scenario.regimes) == 1
    assert 0.01 < scenario.volatility < 0.03
    assert Scenario.from_toml(scenario.to_toml()) == scenario


@needs_data
def test_a_market_that_never_closes_is_calibrated_to_days_of_1440_minutes():
    file = next((DATA / "crypto").glob("BTCUSDT_*2024*"))
    scenario = calibrate(read_sessions(file, Format(calendar="24/7")), "btc")
    assert (scenario.slices, scenario.day_minutes, len(scenario.volume_curve)) == (96, 1440.0, 96)
    assert 0.01 < scenario.volatility < 0.05
