"""Another path for the running episode: what the same trades meet where nature draws otherwise."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from hyperexec_env.audit.own import another_future, another_regime
from hyperexec_env.envs.single import HyperExecEnv


def watched(env, observation):
    shown, ended = [observation], False
    while not ended:
        observation, reward, ended, _, _ = env.step(np.zeros(1, dtype=np.float32))
        shown.append(np.append(observation, reward))
    return shown


@pytest.mark.parametrize(
    "options",
    [{}, {"scenario": "gatheral-schied"}, {"random_side": True}, {"scenario": "flow-signal"}, {"scenario": "bertsimas-lo"}],
)
def test_another_future_changes_nothing_before_it(options):
    env = HyperExecEnv(**options)
    plain = watched(env, env.reset(seed=3)[0])
    for k in (0, 1, 4):
        env.reset(seed=3)
        other = watched(env, env.begin_on(another_future(env.task, k))[0])
        assert all(np.array_equal(one[:20], two[:20]) for one, two in zip(plain[: k + 1], other[: k + 1], strict=True))
        assert not np.array_equal(plain[k + 1], other[k + 1])
    assert all(map(np.array_equal, plain, watched(env, env.reset(seed=3)[0])))


def test_the_same_path_is_the_same_episode():
    env = HyperExecEnv()
    plain = watched(env, env.reset(seed=3)[0])
    env.reset(seed=3)
    assert all(map(np.array_equal, plain, watched(env, env.begin_on(lambda path: path)[0])))


def test_another_regime_moves_neither_price_nor_volume_before_it():
    env = HyperExecEnv()
    for seed in range(20):
        env.reset(seed=seed)
        before = env._running.path
        env.begin_on(another_regime(env.task, 5))
        after = env._running.path
        assert np.array_equal(before.world.regime[:5], after.world.regime[:5])
        assert np.array_equal(before.world.price[:6], after.world.price[:6])
        if before.world.regime[5] != after.world.regime[5]:
            return
    pytest.fail("no seed has another regime")


def test_an_episode_must_have_begun():
    with pytest.raises(ResetNeeded):
        HyperExecEnv().begin_on(lambda path: path)
