"""The environment as the rest of the world makes it: by id, by specification, in other processes."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import hyperexec_env
from hyperexec_env.envs import HyperExecEnv, HyperExecVectorEnv
from hyperexec_env.market.scenario import get_scenario


def first_steps(env, seed=3):
    observations, rewards = [env.reset(seed=seed)[0]], []
    shape = env.action_space.shape
    for _ in range(5):
        observation, reward, *_ = env.step(np.full(shape, 0.1, np.float32))
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


def same_steps(one, other):
    return all(np.array_equal(a, b) for a, b in zip(first_steps(one), first_steps(other), strict=True))


def test_the_id_makes_the_single_and_the_native_vector_environment():
    assert hyperexec_env.__version__
    assert type(gym.make("HyperExec-v0").unwrapped) is HyperExecEnv
    assert type(gym.make("HyperExec-v0")) is HyperExecEnv  # no wrapper slows it down
    assert type(gym.make_vec("HyperExec-v0", num_envs=2)) is HyperExecVectorEnv


def test_a_wrapped_environment_steps_as_the_bare_one():
    checked = gym.make("HyperExec-v0", disable_env_checker=False)
    assert same_steps(checked, HyperExecEnv())


OPTIONS = {
    "scenario": {"base": "desk-5min", "quantity": 5_000, "regimes": {"start": "CRISIS"}},
    "action_mode": "fraction",
    "reward": "realised",
    "observe_regime": False,
    "random_side": True,
    "quantity_range": [0.5, 2.0],
}


@pytest.mark.parametrize("options", [{}, {"scenario": "illiquid"}, OPTIONS, {"scenario": get_scenario("crisis-day").to_dict()}])
def test_a_specification_survives_json(options):
    env = gym.make("HyperExec-v0", **options)
    spec = EnvSpec.from_json(env.spec.to_json())
    assert spec == env.spec
    assert same_steps(gym.make(spec), env)


def test_the_vector_environment_knows_its_specification():
    env = gym.make_vec("HyperExec-v0", num_envs=3, backend="numpy", **OPTIONS)
    assert env.spec.kwargs["num_envs"] == 3
    assert same_steps(gym.make_vec(env.spec), env)


def test_a_fresh_process_makes_it_by_module_and_id():
    program = (
        "import gymnasium as gym\n"
        "env = gym.make('hyperexec_env:HyperExec-v0')\n"
        "print(env.reset(seed=3)[0].tobytes().hex())\n"
        "print(gym.make_vec('hyperexec_env:HyperExec-v0', num_envs=2, backend='numpy').reset(seed=3)[0][0].tobytes().hex())\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    expected = HyperExecEnv().reset(seed=3)[0].tobytes().hex()
    assert done.stdout.split() == [expected, expected]


def test_worker_processes_step_the_same_environment():
    options = {"scenario": "desk-5min", "random_side": True}
    workers = gym.make_vec(
        "hyperexec_env:HyperExec-v0", num_envs=2, vectorization_mode="async", vector_kwargs={"context": "spawn"}, **options
    )
    native = gym.make_vec("HyperExec-v0", num_envs=2, backend="numpy", **options)
    try:
        ours, theirs = native.reset(seed=1)[0], workers.reset(seed=1)[0]
        assert np.array_equal(ours, theirs)
        rng = np.random.default_rng(0)
        for _ in range(25):
            actions = rng.uniform(-1.0, 1.0, (2, 1)).astype(np.float32)
            for one, other in zip(native.step(actions)[:4], workers.step(actions)[:4], strict=True):
                assert np.array_equal(one, other)
    finally:
        workers.close()
