"""Lanes at the touch and with venues: compiled loops are numpy lanes to the last bit, whatever ends their episodes.

That lanes are single environments is tested in `test_touch.py` and `test_venues.py`.
"""

from __future__ import annotations

import copy
import pickle
from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest

from hyperexec_env.backends.layout import TILE
from hyperexec_env.envs.touch_vector import HyperExecTouchVectorEnv
from hyperexec_env.envs.venues_vector import HyperExecVenuesVectorEnv

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
slow = pytest.mark.slow
KINDS = {"touch": HyperExecTouchVectorEnv, "venues": HyperExecVenuesVectorEnv}
CASES = [
    ("touch", {"action_mode": "discrete", "scenario": "touch-thin"}, "NextStep", ()),
    ("touch", {"scenario": "touch-queue", "max_episode_steps": 4, "info": "full"}, "SameStep", (slow,)),
    ("touch", {}, "Disabled", (slow,)),
    ("venues", {}, "SameStep", ()),  # the loops that training compiles
    ("venues", {"router": "agent", "reward": "realised"}, "NextStep", (slow,)),
    ("venues", {"scenario": "passive-day", "random_side": True, "quantity_range": (0.5, 2.0)}, "Disabled", (slow,)),
    ("venues", {"scenario": "passive-day", "observe_regime": False, "info": "full"}, "NextStep", (slow,)),
    ("venues", {"scenario": "dark-linear", "max_episode_steps": 5}, "SameStep", (slow,)),
    ("venues", {"scenario": "kratz-schoneborn"}, "NextStep", (slow,)),
    ("venues", {"scenario": "regime-day"}, "NextStep", (slow,)),
]


def actions_for(env, rng):
    """Most lanes take their time, some hurry and end early."""
    space, count = env.single_action_space, env.num_envs
    if isinstance(space, gym.spaces.Box):
        hurry = rng.random((count, 1)) < 0.1
        return np.where(hurry, 1.0, rng.uniform(-1.0, 0.2, (count, *space.shape))).astype(np.float32)
    rest, take = rng.integers(0, 4, count), np.where(rng.random(count) < 0.1, rng.integers(0, 3, count), 0)
    return take * 4 + rest if isinstance(space, gym.spaces.Discrete) else np.stack([take, rest], axis=-1)


def same(ours, theirs):
    """Raise where two results of a step differ."""
    if theirs is None:
        assert ours is None
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)) or np.asarray(theirs).dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(ours, theirs)


@needs_numba
@pytest.mark.parametrize(("kind", "options", "mode"), [pytest.param(*case, marks=marks) for *case, marks in CASES])
def test_compiled_lanes_are_numpy_lanes(kind, options, mode):
    envs = [KINDS[kind](TILE + 3, mode, backend=backend, **options) for backend in ("numba", "numpy")]
    same(*(env.reset(seed=3) for env in envs))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(40):
        actions = actions_for(envs[0], rng)
        ours, theirs = (env.step(actions) for env in envs)
        same(ours[:4], theirs[:4])
        same(dict(ours[4].items()), dict(theirs[4].items()))
        ended = ours[2] | ours[3]
        ends += ended.sum()
        if mode == "Disabled" and ended.any():
            same(*(env.reset(options={"reset_mask": ended}) for env in envs))
    assert ends
    same(*(env.position() for env in envs))


@needs_numba
@slow
def test_compiled_requests_of_shares_are_those_of_numpy_lanes():
    envs = [HyperExecVenuesVectorEnv(5, backend=backend, scenario="passive-day") for backend in ("numba", "numpy")]
    same(*(env.reset(seed=1) for env in envs))
    rng = np.random.default_rng(2)
    for _ in range(30):
        shares = rng.uniform(-1e3, 1e4, (5, 4))
        same(*(env.trade(shares)[:4] for env in envs))
    same(*({**env.situation._asdict(), "market": 0, "order": env.situation.order._replace(market=0)._asdict()} for env in envs))


@needs_numba
@slow
@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_no_number(kind):
    one, two = (KINDS[kind](3 * TILE, "SameStep", backend="numba", num_threads=threads) for threads in (1, 2))
    same(*(env.reset(seed=3) for env in (one, two)))
    rng = np.random.default_rng(0)
    for _ in range(12):
        actions = actions_for(one, rng)
        ours, theirs = (env.step(actions) for env in (one, two))
        same(ours[:4], theirs[:4])
        same(dict(ours[4].items()), dict(theirs[4].items()))


@pytest.mark.fast
@pytest.mark.parametrize("kind", KINDS)
def test_numpy_lanes_can_be_copied_pickled_and_moved(kind):
    env = KINDS[kind](5, "SameStep", backend="numpy")
    env.reset(seed=3)
    rng = np.random.default_rng(1)
    for _ in range(8):
        seen = env.step(actions_for(env, rng))[0]
    moved = KINDS[kind](5, "SameStep", backend="numpy")
    np.testing.assert_array_equal(moved.go_on(env.position()), seen)
    others = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), moved]  # noqa: S301
    for _ in range(30):
        actions = actions_for(env, rng)
        wanted = env.step(actions)
        for other in others:
            got = other.step(actions)
            same(got[:4], wanted[:4])
            same(dict(got[4].items()), dict(wanted[4].items()))


@pytest.mark.fast
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_action_of_a_lane_is_refused(kind):
    env = KINDS[kind](3, backend="numpy")
    env.reset(seed=0)
    actions = actions_for(env, np.random.default_rng(0)).astype(float)
    actions[1] = np.nan
    with pytest.raises(ValueError, match=r"^action must be"):
        env.step(actions)
    if kind == "touch":
        with pytest.raises(ValueError, match=r"^action must be whole numbers"):
            env.step(np.array([[0, 1], [0, 4], [0, 0]]))
