"""Actions: what each mode asks for, what its ends mean, and which discrete levels are worth trying."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.envs.action import ACTION_MODES, PACES, build_action_mode
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
every_mode = pytest.mark.parametrize("action_mode", ACTION_MODES)
CONTINUOUS = [mode for mode in ACTION_MODES if mode != "discrete"]

unit = st.floats(-1.0, 1.0)


def first_trade(env, action, seed=0):
    """Shares that an action trades in the first slice, and the situation before."""
    env.reset(seed=seed)
    before = env.situation
    env.step(action)
    return before.remaining - env.situation.remaining, before


def free(name):
    """A scenario without a participation cap, so that what is asked for trades."""
    return replace(get_scenario(name), max_participation=None)


# --- the modes


@every_mode
def test_spaces_are_what_learners_expect(action_mode):
    space = build_action_mode(action_mode, build_market(get_scenario("regime-day"))).space
    if action_mode == "discrete":
        assert space == spaces.Discrete(len(PACES))
    else:
        assert space == spaces.Box(-1.0, 1.0, (1,), np.float32)


def test_a_pace_is_relative_to_the_schedule_of_the_expected_volume():
    for name in scenario_names():
        market = build_market(free(name))
        for action, pace in ((-1.0, 0.0), (0.0, 1.0), (1.0, 8.0), (0.5, 2.4)):
            traded, before = first_trade(HyperExecEnv(free(name)), np.array([action]))
            schedule = before.quantity * market.mean_volume[0, before.seen] / market.rest_volume[0, before.seen]
            assert traded == pytest.approx(min(pace * schedule, before.quantity), rel=1e-12)


def test_a_fraction_is_of_what_remains():
    for name in scenario_names():
        for action in (-1.0, -0.5, 0.0, 0.9, 1.0):
            traded, before = first_trade(HyperExecEnv(free(name), "fraction"), np.array([action]))
            assert traded == pytest.approx(before.quantity * (1.0 + action) / 2.0)


@pytest.mark.filterwarnings("ignore:.*the price falls below zero")
def test_a_participation_is_of_the_expected_volume_up_to_the_cap():
    for name in scenario_names():
        for cap in (None, 0.05):
            scenario = replace(get_scenario(name), quantity=1e12, max_participation=cap, volume_noise=0.0)
            market = build_market(scenario)
            for action in (-1.0, -0.9, 0.0, 1.0):
                traded, before = first_trade(HyperExecEnv(scenario, "participation"), np.array([action]))
                expected = (1.0 if cap is None else cap) * market.mean_volume[0, before.seen] * (1.0 + action) / 2.0
                assert traded == pytest.approx(
                    expected, rel=1e-3, abs=1e-3
                )  # an order of 1e12 is known to a thousandth of a share


def test_levels_are_paces():
    for name in scenario_names():
        for level, pace in enumerate(PACES):
            action = (pace - 1.0) / (1.0 + 0.75 * pace)
            by_level, _ = first_trade(HyperExecEnv(name, "discrete"), level)
            by_pace, _ = first_trade(HyperExecEnv(name, "pace"), np.array([action]))
            assert by_level == pytest.approx(by_pace, rel=1e-9)


def test_staying_at_pace_one_finishes_on_the_plan():
    """Where the regime says nothing, action 0 follows the schedule of the expected volume to the end."""
    for name in ("regime-day", "flow-signal"):
        scenario = replace(get_scenario(name), regimes=get_scenario("flow-signal").regimes)
        env = HyperExecEnv(scenario)
        env.reset(seed=0)
        plan = build_market(scenario).plan
        for k in range(scenario.slices):
            assert env.situation.remaining == pytest.approx(plan[k] * scenario.quantity, rel=1e-9)
            info = env.step(np.zeros(1))[4]
        assert info["forced_fraction"] == pytest.approx(0.0, abs=1e-9)


@given(unit, unit, st.sampled_from(CONTINUOUS))
def test_a_higher_action_asks_for_more(one, other, action_mode):
    mode = build_action_mode(action_mode, build_market(get_scenario("regime-day")))
    low, high = sorted((one, other))
    assert mode.shares(low, 1000.0, 0.04) <= mode.shares(high, 1000.0, 0.04)
    assert mode.shares(-1.0, 1000.0, 0.04) == 0.0


@given(unit, st.floats(0.0, 1e6), st.floats(0.0, 1.0), st.sampled_from(CONTINUOUS))
def test_floats_and_arrays_ask_for_the_same_shares_to_the_last_bit(action, remaining, base, action_mode):
    mode = build_action_mode(action_mode, build_market(get_scenario("regime-day")))
    arrays = mode.shares(np.full(5, action), np.full(5, remaining), np.full(5, base))
    assert arrays.tolist() == [mode.shares(action, remaining, base)] * 5


def test_an_action_beyond_the_bounds_is_the_bound():
    """In lanes: `test_actions_beyond_the_ends_mean_the_ends` of the vector environment."""
    for action_mode in CONTINUOUS:
        env = HyperExecEnv("regime-day", action_mode)
        for beyond, bound in ((7.0, 1.0), (np.inf, 1.0), (-7.0, -1.0), (-np.inf, -1.0)):
            assert first_trade(env, np.array([beyond]))[0] == first_trade(env, np.array([bound]))[0]


# --- masks of the discrete levels


def play_masked(env, rng):
    """Play an episode with allowed actions; yield remaining, base, mask, and whether the slice forces."""
    _, info = env.reset(seed=int(rng.integers(1000)))
    terminated = False
    while not terminated:
        mask = info["action_mask"]
        assert mask.dtype == np.int8
        assert mask.shape == (len(PACES),)
        assert np.array_equal(mask.astype(bool), env.action_masks())
        now = env.situation
        yield now, mask
        _, _, terminated, _, info = env.step(int(rng.choice(np.flatnonzero(mask))))


@pytest.mark.parametrize(
    ("name", "complete"),
    [*((name, i % 2 == 0) for i, name in enumerate(scenario_names())), ("regime-day", False), ("desk-5min", True)],
)
def test_allowed_levels_are_all_the_different_trades(name, complete):
    scenario = replace(free(name), complete=complete)
    env, market = HyperExecEnv(scenario, "discrete"), build_market(scenario)
    base = build_action_mode("discrete", market).base
    rng = np.random.default_rng(0)
    for _ in range(max(3, 520 // market.slices)):
        for now, mask in play_masked(env, rng):
            trades = [min(pace * base[now.k, now.seen] * now.remaining, now.remaining) for pace in PACES]
            if now.k == market.slices - 1 and complete:
                assert mask.tolist() == [0] * (len(PACES) - 1) + [1]
                continue
            allowed = [trade for trade, one in zip(trades, mask, strict=True) if one]
            assert len(set(allowed)) == len(allowed)
            assert set(allowed) == set(trades)


def test_masks_of_the_vector_environment_are_those_of_its_lanes():
    env = HyperExecVectorEnv(6, backend="numpy", action_mode="discrete")
    lanes = [HyperExecEnv(action_mode="discrete") for _ in range(6)]
    _, info = env.reset(seed=4)
    masks = [lane.reset(seed=4 + i)[1]["action_mask"] for i, lane in enumerate(lanes)]
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert np.array_equal(info["action_mask"], masks)
        assert np.array_equal(env.action_masks(), np.array(masks, dtype=bool))
        actions = rng.integers(0, 3, 6)
        info = env.step(actions)[4]
        masks = [lane.step(action)[4]["action_mask"] for lane, action in zip(lanes, actions, strict=True)]


def test_a_masked_learner_finds_the_masks():
    """sb3-contrib looks for `action_masks` through the wrappers of the environment."""
    maskable = pytest.importorskip("sb3_contrib.common.maskable.utils")
    monitor = pytest.importorskip("stable_baselines3.common.monitor")
    env = monitor.Monitor(HyperExecEnv("desk-5min", "discrete"))
    env.reset(seed=0)
    assert maskable.is_masking_supported(env)
    assert maskable.get_action_masks(env).tolist() == env.unwrapped.action_masks().tolist()


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=needs_numba)])
def test_there_are_no_masks_before_the_first_reset(backend):
    env = HyperExecVectorEnv(2, action_mode="discrete", backend=backend)
    with pytest.raises(ResetNeeded, match=r"^call reset\(\) before asking for action masks$"):
        env.action_masks()
