"""Replay: real days give their own prices and volumes, no decision sees the future, and simulated days give the board back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.replay import FIXED, HINDSIGHT, OPTIMUM, board_of, replay, replay_path
from hyperexec_env.baselines.solver import solve
from hyperexec_env.cli import main
from hyperexec_env.data.replay import read_replay, recording_of
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.tables import build_market

from ..recorded import SCENARIO, bars, changed, sessions_of_days


@pytest.fixture(scope="module")
def sessions():
    return sessions_of_days(80)


@pytest.fixture(scope="module")
def recording(sessions):
    return recording_of(sessions, symbol="ABC")


@pytest.fixture(scope="module")
def found(recording):
    return replay(recording, ["TWAP", "VWAP"])


class Recorder:
    """Trades a little, and keeps every situation."""

    name = "recorder"

    def __init__(self):
        self.seen: list[Situation] = []

    def act(self, situation):
        self.seen.append(situation)
        return situation.remaining * 0.05


def test_the_future_of_a_day_changes_no_situation(sessions, recording):
    day, recorders = recording.test.dates[4], []
    at = sessions.dates.index(day)
    for each in (recording, recording_of(changed(sessions, at, 13, 3.0))):
        market, recorder = each.market("test"), Recorder()
        roll(market, recorder, draw_path(market, np.array([4], np.uint64), 1.0))
        recorders.append(recorder.seen)
    same = [
        all(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if isinstance(a, np.ndarray))
        for one, other in zip(*recorders, strict=True)
    ]
    assert all(same[:14])  # slice 13 is the first that differs, and it is seen at slice 14
    assert not any(same[14:])


def test_simulated_days_give_the_objective_of_the_schedule():
    scenario = replace(SCENARIO, regimes={}, volume_noise=0.0)
    recording = recording_of(
        sessions_of_days(60, scenario),
        train=0.8,
        validation=0.0,
        volume_noise=0.0,
        regimes={},
        volume_curve=scenario.volume_curve,
    )
    market = recording.market("test")
    own = roll(market, get_policy("TWAP"), replay_path(market)).statement.objective
    plain = build_market(recording.scenario)
    simulated = draw_path(plain, episode_keys(0, np.arange(len(own))), 1.0)
    # the twenty sessions before the first day of the test reach back to the lower level of volume
    assert own[1:] == pytest.approx(roll(plain, get_policy("TWAP"), simulated).statement.objective[1:], rel=1e-6)
    assert solve(recording.scenario).optimum_bps < own.mean()


def test_the_replay_judges_the_test_days_in_order_and_pairs_with_twap(recording, found):
    assert found.symbol == "ABC"
    assert found.calibrated == recording.calibrated
    assert found.replayed == (recording.test.dates[0], recording.test.dates[-1], len(recording.test.dates))
    assert [row.policy for row in found.rows] == [OPTIMUM, FIXED, "TWAP", "VWAP", HINDSIGHT]
    rows = {row.policy: row for row in found.rows}
    assert rows["TWAP"].objective_vs == rows["TWAP"].shortfall_vs == (0.0, 0.0, 0.0)
    assert rows[FIXED].objective_vs_fixed == (0.0, 0.0, 0.0)
    for row in found.rows:
        assert row.objective_vs[1] <= row.objective_vs[0] <= row.objective_vs[2]
    assert replay(recording, ["TWAP", "VWAP"]) == found


def test_each_figure_is_the_mean_over_the_days(recording, found):
    market = recording.market("test")
    statement = roll(market, get_policy("VWAP"), replay_path(market)).statement
    row = next(row for row in found.rows if row.policy == "VWAP")
    assert row.objective == pytest.approx(statement.objective.mean())
    assert row.shortfall == pytest.approx(statement.shortfall.mean())
    assert row.objective_vs_fixed[0] == pytest.approx((statement.objective - found.costs[FIXED].objective).mean())


def test_the_bound_is_below_every_policy_on_every_day(found):
    bound = found.costs[HINDSIGHT]
    for name, own in found.costs.items():
        assert (own.objective >= bound.objective - 1e-6).all(), name
        assert (own.shortfall >= bound.shortfall - 1e-6).all(), name


def test_a_market_without_a_bound_says_so(sessions):
    found = replay(sessions, "TWAP", complete=False)
    assert HINDSIGHT not in found.costs
    assert found.notes[-1] == "no bound in hindsight: the order may stay unfilled"
    assert HINDSIGHT not in replay(sessions, "TWAP", bound=False).costs


def test_too_few_days_are_refused(sessions, recording):
    with pytest.raises(ValueError, match=r"two sessions for the calibration, one for the validation .* got 78, 0 and 1 of 80"):
        replay(sessions, "TWAP", train=0.975, validation=0.0)
    assert "fewer than 20 days: the intervals are too narrow" in str(replay(sessions, "TWAP", bound=False))
    with pytest.raises(ValueError, match="a recording is split and calibrated already, got train"):
        replay(recording, "TWAP", train=0.5)


def test_a_pooled_row_is_the_mean_over_all_days_of_all_symbols(recording, found):
    other = replay(recording_of(sessions_of_days(50, seed=8), symbol="XYZ"), ["TWAP", "VWAP"])
    board = board_of([found, other])
    row = next(row for row in board.rows if row.policy == "VWAP")
    both = np.concatenate([each.costs["VWAP"].objective - each.costs["TWAP"].objective for each in (found, other)])
    assert row.objective_vs[0] == pytest.approx(both.mean())
    assert row.objective_vs[1] < both.mean() < row.objective_vs[2]
    text = str(board)
    assert "pooled: 24 days of 2 symbols; intervals clustered by day (in blocks) and symbol" in text
    assert "fewer than 10 symbols: the intervals are too narrow" in text
    alone = board_of([found])
    assert alone.rows == found.rows
    assert "pooled" not in str(alone)
    assert json.loads(json.dumps(board.to_dict()))["pooled"][0]["policy"] == OPTIMUM
    with pytest.raises(ValueError, match="replays must be of different symbols, got ABC, ABC"):
        board_of([found, found])


def test_the_command_prints_the_table_and_writes_prepared_days(tmp_path, capsys):
    from pyarrow import csv

    csv.write_csv(bars(40), tmp_path / "XYZ bars.csv")
    words = ["--policy", "VWAP", "--calendar", "24/7", "--hours", "09:30-16:00", "--no-bound"]
    days = str(tmp_path / "XYZ.parquet")
    assert main(["replay", str(tmp_path / "XYZ bars.csv"), *words, "--out", days]) == 0
    printed = capsys.readouterr().out
    assert "XYZ: calibrated to 24 sessions" in printed
    assert f"wrote {days}" in printed
    assert main(["replay", days, "--policy", "VWAP", "--no-bound"]) == 0
    assert capsys.readouterr().out.strip() == printed.partition("\n\nwrote")[0].strip()
    assert read_replay(days).calibrated[2] == 24
    assert main(["replay", days, "--train", "0.99"]) == 2
    assert "replay needs two sessions for the calibration" in capsys.readouterr().err
