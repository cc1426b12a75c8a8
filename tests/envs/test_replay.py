"""Replay in the environments: single, vector and rollout agree, and no observation knows the future of a day."""

import copy
import itertools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import hyperexec_env as hx
from hyperexec_env.data.replay import recording_of, write_days
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.path import draw_path

from ..recorded import bars, changed, sessions_of_days

LANES = 4


@pytest.fixture(scope="module")
def sessions():
    return sessions_of_days(60)


@pytest.fixture(scope="module")
def recording(sessions):
    return recording_of(sessions)


def test_gymnasium_checks_the_environment_without_a_warning(recording):
    env = gym.make("HyperExec-v0", replay=recording, split="test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)


def test_an_episode_is_a_day_of_the_split_and_repeats_with_its_seed(recording):
    env = hx.make(replay=recording, split="test").unwrapped
    dates = []
    for _ in range(2):
        env.reset(seed=5)
        dates.append([env.date])
        for _ in range(30):
            env.reset()
            dates[-1].append(env.date)
    assert dates[0] == dates[1]
    assert set(dates[0]) <= set(recording.test.dates)
    assert len(set(dates[0])) > 5
    env = HyperExecEnv()
    env.reset(seed=1)
    assert env.date == ""


@pytest.mark.parametrize(
    ("backend", "mode", "random_side"),
    [("numpy", "pace", False), ("numpy", "discrete", True), ("numba", "pace", True)],
)
def test_lanes_equal_single_environments(recording, backend, mode, random_side):
    if backend == "numba":
        pytest.importorskip("numba", reason="compiled loops are the extra fast")
    options = {"replay": recording, "action_mode": mode, "random_side": random_side}
    vector = HyperExecVectorEnv(LANES, "SameStep", backend, **options)
    singles = [HyperExecEnv(**options) for _ in range(LANES)]
    observations, _ = vector.reset(seed=7)
    assert np.array_equal(observations, [env.reset(seed=7 + lane)[0] for lane, env in enumerate(singles)])
    rng, ended = np.random.default_rng(1), 0
    for _ in range(60):
        actions = rng.integers(0, 7, LANES) if mode == "discrete" else rng.uniform(-1, 1, (LANES, 1)).astype(np.float32)
        observations, rewards, terminated, _, info = vector.step(actions)
        for lane, env in enumerate(singles):
            own, reward, over, _, last = env.step(actions[lane])
            assert (over, reward) == (terminated[lane], pytest.approx(rewards[lane], abs=1e-9))
            if over:
                ended += 1
                assert last["shortfall_bps"] == pytest.approx(info["final_info"]["shortfall_bps"][lane], abs=1e-9)
                assert own == pytest.approx(info["final_obs"][lane], abs=1e-6)
                own, _ = env.reset()
            assert own == pytest.approx(observations[lane], abs=1e-6)
    assert ended >= 2 * LANES


class Half:
    """Trades by what it sees: the move of the price, the last volume and the column of the regime."""

    name = "half"

    def act(self, situation):
        return situation.remaining * (0.05 + 0.02 * np.sin(situation.price + situation.last_volume) + 0.01 * situation.seen)


@pytest.mark.parametrize("hidden", [False, True])
def test_the_environment_equals_the_rollout_bit_for_bit(recording, hidden):
    env = HyperExecEnv(replay=recording, split="validation", observe_regime=not hidden)
    market = recording.market("validation")
    keys, shortfalls, policy = [], [], Half()
    env.reset(seed=3)
    for _ in range(6):
        keys.append(env._running.order.key)
        over = False
        while not over:
            _, _, over, _, info = env.trade(float(policy.act(env.situation)))
        shortfalls.append(info["shortfall_bps"])
        env.reset()
    rolled = roll(market, policy, draw_path(market, np.array(keys), 1.0), hidden).statement
    assert rolled.shortfall.tolist() == shortfalls


def observed(recording, number, actions):
    """Return the observations, the situations and the infos of the test day with a number, for some actions."""
    env = HyperExecEnv(replay=recording, split="test", info="full")
    seed = next(seed for seed in itertools.count() if _number(env, seed) == number)
    observation, info = env.reset(seed=seed)
    seen = [(observation, env.situation, info)]
    for action in actions:
        observation, _, over, _, info = env.step(np.array([action], np.float32))
        seen.append((observation, env.situation, info))
        if over:
            break
    return seen


def _number(env, seed):
    env.reset(seed=seed)
    return env.task.market.days.dates.index(env.date)


def test_the_future_of_a_day_changes_no_observation(sessions, recording):
    number, day = 4, sessions.dates.index(recording.test.dates[4])
    actions = np.random.default_rng(2).uniform(-0.9, 0.3, 26)
    before = observed(recording, number, actions)
    for first in (0, 13, 25):
        spreads = np.full(sessions.close.shape, 2.0)
        quoted = recording_of(sessions, spreads)
        spreads[day, first:] = 5.0
        for own, other in (
            (before, recording_of(changed(sessions, day, first))),
            (observed(quoted, number, actions), recording_of(sessions, spreads)),
        ):
            after = observed(other, number, actions)
            # slice `first` is the first that differs: it is traded blind and observed at the start of the next slice
            for k in range(first + 1):
                assert np.array_equal(own[k][0], after[k][0])
                assert repr(own[k][1]._replace(market=None)) == repr(after[k][1]._replace(market=None))
                assert own[k][2] == after[k][2]
        later = observed(recording_of(changed(sessions, day, first)), number, actions)
        assert not np.array_equal(before[first + 1][0], later[first + 1][0])


def test_the_scenario_of_a_replay_is_calibrated_and_takes_fields(recording, tmp_path):
    pytest.importorskip("pyarrow")
    sessions = sessions_of_days(30)
    write_days(sessions, None, tmp_path / "days.parquet")
    env = gym.make("HyperExec-v0", replay=str(tmp_path / "days.parquet"), scenario={"quantity": 1234.0}).unwrapped
    assert env.task.scenario.quantity == 1234.0
    assert env.task.scenario.adv == recording_of(sessions).scenario.adv
    assert hx.make_vec(replay=tmp_path / "days.parquet", num_envs=2).unwrapped.task.market.days is not None
    with pytest.raises(ValueError, match="scenario must be None with a recording"):
        hx.make("regime-day", replay=recording)
    with pytest.raises(ValueError, match="in place of calibrated ones where there is a replay, got 'desk-5min'"):
        hx.make("desk-5min", replay=tmp_path / "days.parquet")
    with pytest.raises(ValueError, match="split is a part of the days of a replay, got 'test' without replay"):
        hx.make(split="test")


def test_a_recording_can_be_copied_and_a_vector_environment_pickled(recording):
    again = copy.deepcopy(recording)
    assert again.digest == recording.digest
    vector = HyperExecVectorEnv(2, backend="numpy", replay=recording)
    vector.reset(seed=1)
    other = copy.deepcopy(vector)
    action = np.zeros((2, 1), np.float32)
    assert np.array_equal(vector.step(action)[0], other.step(action)[0])


def test_bars_are_replayed_from_a_frame():
    env = gym.make("HyperExec-v0", replay=hx.read_replay(bars(20), format=hx.Format(calendar="24/7", hours="09:30-16:00")))
    assert env.reset(seed=0)[0] in env.observation_space
