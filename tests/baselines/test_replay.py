"""Replay: real days give their own prices and volumes, no decision sees the future, and simulated days give the board back."""

from dataclasses import replace

import numpy as np
import pyarrow
import pytest

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.replay import replay, replay_path
from hyperexec_env.baselines.solver import solve
from hyperexec_env.cli import main
from hyperexec_env.data.figures import estimate, samples_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.regime_fit import RegimeFit
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

HOURS = Format(calendar="24/7", hours="09:30-16:00")
SCENARIO = replace(get_scenario("regime-day"), volatility=0.012, start_minute=0.0, horizon_minutes=390.0, slices=26)


def bars(days, scenario=SCENARIO, seed=3):
    """Return a frame of 15-minute bars of simulated days, whose level of volume doubles half-way."""
    path = draw_path(build_market(scenario), episode_keys(seed, np.arange(days)), 1)
    price, volume = path.world.price.T, path.slices.volume.T * np.where(np.arange(days) < days // 2, 1.0, 2.0)[:, None]
    first = np.datetime64("2020-01-01T09:30", "us")
    stamps = first + (np.arange(days)[:, None] * 1440 + 15 * np.arange(26)).astype("timedelta64[m]")
    opening, closing = price[:, :-1].ravel(), price[:, 1:].ravel()
    high, low = np.maximum(opening, closing), np.minimum(opening, closing)
    columns = {"open": opening, "high": high, "low": low, "close": closing, "volume": volume.ravel()}
    return pyarrow.table({"ts": stamps.ravel(), **columns})


@pytest.fixture(scope="module")
def sessions():
    return read_sessions(bars(80), HOURS, lenient=True)


@pytest.fixture(scope="module")
def path(sessions):
    samples = samples_of(sessions)
    return replay_path(build_market(SCENARIO), samples, estimate(samples), np.arange(40, 80)), samples


def test_a_day_has_its_own_moves_and_volumes(path):
    replayed, samples = path
    price = replayed.world.price
    assert np.log(price[1:] / price[:-1]) == pytest.approx(samples.returns[40:].T, abs=1e-12)
    assert replayed.slices.volume / replayed.slices.volume.sum(axis=0) == pytest.approx(
        (samples.volume[40:] / samples.volume[40:].sum(axis=1, keepdims=True)).T
    )
    day = samples.volume.sum(axis=1)
    scaled = [SCENARIO.adv * day[at] / day[at - 20 : at].mean() for at in range(40, 80)]
    assert replayed.slices.volume.sum(axis=0) == pytest.approx(scaled)


class Recorder:
    """Trades a little, and keeps every situation."""

    name = "recorder"

    def __init__(self):
        self.seen: list[Situation] = []

    def act(self, situation):
        self.seen.append(situation)
        return situation.remaining * 0.05


def test_the_future_of_a_day_changes_no_situation(sessions):
    market, samples = build_market(SCENARIO), samples_of(sessions)
    sticky = RegimeFit(np.array([0.5, 1.6]), np.array([[0.6, 0.05], [0.05, 0.3]]), np.ones((1, 1, 2)), 0.0)
    figures, recorders = estimate(samples)._replace(fit=sticky), []
    for factor in (1.0, 3.0):
        returns, volume = samples.returns.copy(), samples.volume.copy()
        returns[60, 13:] *= factor
        volume[60, 13:] *= factor
        recorder = Recorder()
        changed = samples._replace(returns=returns, volume=volume)
        roll(market, recorder, replay_path(market, changed, figures, np.arange(60, 61)))
        recorders.append(recorder.seen)
    same = [
        all(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if isinstance(a, np.ndarray))
        for one, other in zip(*recorders, strict=True)
    ]
    assert all(same[:14])  # slice 13 is the first that differs, and it is seen at slice 14
    assert not any(same[14:])


def test_simulated_days_give_the_objective_of_the_schedule():
    scenario = replace(SCENARIO, regimes={}, volume_noise=0.0)
    sessions = read_sessions(bars(60, scenario), HOURS, lenient=True)
    samples = samples_of(sessions)
    market = build_market(scenario)
    path = replay_path(market, samples, estimate(samples), np.arange(55, 60))
    own = roll(market, get_policy("TWAP"), path).statement.objective
    simulated = draw_path(market, episode_keys(0, np.arange(5)), 1.0)
    assert own == pytest.approx(roll(market, get_policy("TWAP"), simulated).statement.objective, rel=1e-6)
    assert solve(scenario).optimum_bps < own.mean()


def test_the_replay_splits_by_day_and_pairs_with_twap(sessions):
    found = replay(sessions, ["TWAP", "VWAP"], train=0.5)
    assert found.calibrated[2] == 40
    assert found.replayed[2] == 39
    assert found.calibrated[1] < found.replayed[0]
    names = [row.policy for row in found.rows]
    assert {"TWAP", "VWAP"} <= set(names)
    twap = next(row for row in found.rows if row.policy == "TWAP")
    assert twap.objective_vs == twap.shortfall_vs == (0.0, 0.0, 0.0)
    for row in found.rows:
        assert row.objective_vs[1] <= row.objective_vs[0] <= row.objective_vs[2]
    assert replay(sessions, ["TWAP", "VWAP"], train=0.5) == found


def test_too_few_days_are_refused(sessions):
    with pytest.raises(ValueError, match="two sessions for the calibration and two for the replay, got 78 and 1 of 80"):
        replay(sessions, "TWAP", train=0.975)
    assert "fewer than 20 days: the intervals are too narrow" in str(replay(sessions, "TWAP", train=0.9))


def test_the_command_prints_the_table(tmp_path, capsys):
    from pyarrow import csv

    csv.write_csv(bars(40), tmp_path / "bars.csv")
    words = ["replay", str(tmp_path / "bars.csv"), "--policy", "VWAP", "--calendar", "24/7", "--hours", "09:30-16:00"]
    assert main(words) == 0
    assert "calibrated to 24 sessions" in capsys.readouterr().out
