"""The vector environment: lane i is the single environment with the seed of lane i, in every autoreset mode and backend.

The reference is gymnasium's own `SyncVectorEnv` around the single environment, made by `gym.make_vec`. What only compiled lanes
have (threads, arrays that are used again) is in `test_compiled_lanes.py`.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from hyperexec_env.envs.action import ACTION_MODES, PACES
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import MarketSpec, build_market

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
BACKENDS = ("numpy", pytest.param("numba", marks=needs_numba))
every_backend = pytest.mark.parametrize("backend", BACKENDS)

MODES = tuple(mode.value for mode in AutoresetMode)

LANES = 5
OPTIONS = (
    {},
    {"reward": "realised"},
    {"observe_regime": False},
    {"random_side": True, "quantity_range": (0.2, 5.0)},
    {
        "reward": "realised",
        "observe_regime": False,
        "random_side": True,
        "quantity_range": (0.5, 2.0),
        "action_mode": "discrete",
    },
    {"action_mode": "fraction"},
    {"action_mode": "participation"},
    {"action_mode": "discrete"},
)

FULL = {
    "base": "trending-day",
    "name": "full",
    "temp_impact_beta": 0.5,
    "predator": 0.3,
    "flow_persistence": 0.5,
    "complete": False,
    "max_participation": 0.1,
    "volume_level_sd": 0.4,
    "volume_persistence": 0.4,
    "drift_sd": 0.02,
    "temp_impact_sd": 0.3,
    "volatility_curve": [1.6, 0.8, 0.7, 1.2],
}
"""Drift, signal, predator, cap, volume level, volatility curve, square roots and an open end: the arithmetic is exact."""
ROUGH = {
    "base": "regime-day",
    "name": "rough",
    "temp_impact_beta": 0.6,
    "transient_exponent": 0.5,
    "price_model": "gbm",
    "price_risk": 0.02,
    "flow_persistence": 0.5,
    "volume_noise": 0.0,
    "side": -1,
    "regimes": {
        "names": ["CRISIS", "RECOVERY", "SIDEWAYS_LOW"],
        "rates": [[-9.0, 4.0, 5.0], [3.0, -9.0, 6.0], [8.0, 2.0, -10.0]],
        "volatility": [2.0, 0.5, 1.0],
        "volume": [0.5, 2.0, 1.0],
        "temporary": [1.5, 0.8, 1.0],
        **{key: [] for key in ("spread", "resilience", "drift")},
        "start": "RECOVERY",
    },
}
"""Half of the regimes that there are, and powers and exponentials, which libraries round differently."""
TAPED = {"base": "regime-day", "name": "taped", "kyle_sd": 0.5, "drift_sd": 0.02}
"""Kyle's slope and the drift are unknown, both of which the tape tells: not with persistent flow or a geometric price."""
VARIED = {"reward": "realised", "observe_regime": False, "random_side": True, "quantity_range": (0.5, 2.0)}
COMPILED = (
    ("regime-day", "NextStep", {}),
    ("regime-day", "Disabled", {"action_mode": "fraction", "observe_regime": False}),
    (FULL, "SameStep", {**VARIED, "action_mode": "discrete"}),
    (ROUGH, "Disabled", {**VARIED, "action_mode": "participation"}),
    (TAPED, "NextStep", {"observe_beliefs": True}),
)
"""Together each constant of a loop, autoreset mode, action mode and reward: each program costs seconds to compile.

The tests below, `test_agreement.py`, `test_compiled_lanes.py` and `training/test_adapter.py` run the same programs.
"""
FULLEST = {"scenario": FULL, **VARIED, "action_mode": "discrete"}
"""The options of the program for learners, whose autoreset mode is "SameStep"."""


def make(lanes, autoreset, **options):
    return gym.make_vec("HyperExec-v0", num_envs=lanes, autoreset_mode=autoreset, **options)


def make_reference(lanes, autoreset, **options):
    return gym.make_vec(
        "HyperExec-v0", num_envs=lanes, vectorization_mode="sync", vector_kwargs={"autoreset_mode": autoreset}, **options
    )


def draw_actions(env, rng):
    """The first lanes wait for the deadline, the last ones hurry and end early."""
    hurry = rng.random(env.num_envs) < np.linspace(0.0, 1.0, env.num_envs)
    if env.single_action_space.shape == ():
        return np.where(hurry, len(PACES) - 1, rng.integers(0, 4, env.num_envs))
    return np.where(hurry, 1.0, rng.uniform(-1.0, 0.3, env.num_envs)).astype(np.float32)[:, None]


def assert_same_numbers(ours, theirs, exact):
    if exact:
        assert np.array_equal(ours, theirs, equal_nan=True)
    else:
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-9, nan_ok=True)


def assert_same_observations(ours, theirs, exact):
    """Where a number of double precision differs in its last bits, the nearest one of single precision may be its neighbour."""
    if exact:
        assert np.array_equal(ours, theirs)
    else:
        assert ours == pytest.approx(theirs, rel=2.0**-23, abs=1e-9)


def assert_same_info(ours, theirs, exact, bits=True):
    """Whatever gymnasium's wrapper tells of a lane, the native environment tells, in the same form."""
    assert {key for key in theirs if not key.startswith("_")} == {key for key in ours if not key.startswith("_")}
    for key, value in theirs.items():
        if key.startswith("_"):
            assert ours[key].dtype == np.bool_
            assert np.array_equal(ours[key] & value, value), key
            if key != "_action_mask":
                assert np.array_equal(ours[key], value), key
            continue
        lanes = theirs[f"_{key}"]
        if isinstance(value, dict):
            assert_same_info(ours[key], value, exact, bits)
        elif key == "final_obs":
            assert ours[key].dtype == object
            assert [ours[key][lane] is None for lane in range(len(lanes))] == [not ended for ended in lanes]
            for lane in np.flatnonzero(lanes):
                assert_same_observations(ours[key][lane], value[lane], bits)
        elif key == "action_mask":
            assert ours[key].dtype == value.dtype
            assert np.array_equal(ours[key][lanes], value[lanes])
        else:
            assert ours[key].shape == value.shape
            assert ours[key].dtype == value.dtype
            assert_same_numbers(ours[key][lanes], value[lanes], exact)


def assert_lanes_are_single_environments(backend, autoreset, lanes=LANES, seed=17, **options):
    """Play every lane to its end at least twice; return which lanes ended in each step, shape (steps, lanes).

    Observations of numpy are those of the single environment to the bit, also where costs agree to 1e-9 only.
    """
    env, reference = make(lanes, autoreset, backend=backend, **options), make_reference(lanes, autoreset, **options)
    scenario = get_scenario(options.get("scenario", "regime-day"))
    exact = scenario.temp_impact_beta in (0.5, 1.0) and scenario.price_model == "abm"
    bits = exact or backend == "numpy"
    rng, ends = np.random.default_rng(seed), []
    (ours, our_info), (theirs, their_info) = env.reset(seed=seed), reference.reset(seed=seed)
    assert_same_observations(ours, theirs, bits)
    assert_same_info(our_info, their_info, exact, bits)
    for _ in range(max(70, 2 * scenario.slices + 2)):
        actions = draw_actions(env, rng)
        ours, theirs = env.step(actions), reference.step(actions)
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
        assert_same_observations(ours[0], theirs[0], bits)
        assert np.array_equal(ours[2], theirs[2])
        assert np.array_equal(ours[3], theirs[3])
        assert "max_episode_steps" in options or not ours[3].any()
        assert_same_numbers(ours[1], theirs[1], exact)
        assert_same_info(ours[4], theirs[4], exact, bits)
        ended = ours[2] | ours[3]
        ends.append(ended)
        if autoreset == "Disabled" and ended.any():
            (ours, our_info), (theirs, their_info) = (both.reset(options={"reset_mask": ended}) for both in (env, reference))
            assert_same_observations(ours, theirs, bits)
            assert_same_info(our_info, their_info, exact, bits)
    assert np.sum(ends, axis=0).min() >= 2
    return np.array(ends)


# --- lane i is the single environment


COVERING = tuple(
    (scenario_names()[(3 * i + j) % len(scenario_names())], mode, options)
    for i, options in enumerate(OPTIONS)
    for j, mode in enumerate(MODES)
)
"""Each option in each autoreset mode, and each scenario at least once."""


def test_the_cases_cover_what_there_is():
    assert {name for name, _, _ in COVERING} == set(scenario_names())
    for cases in (OPTIONS, [options for *_, options in COMPILED]):
        assert {options.get("action_mode", "pace") for options in cases} == set(ACTION_MODES)
        for name, default, other in (
            ("reward", "expected", "realised"),
            ("observe_regime", True, False),
            ("random_side", False, True),
        ):
            assert {options.get(name, default) for options in cases} == {default, other}
    assert {mode for _, mode, _ in COMPILED} == set(MODES)
    specs = [build_market(get_scenario(scenario)).numbers.spec for scenario, *_ in COMPILED]
    for name in MarketSpec._fields:
        assert len({getattr(spec, name) for spec in specs}) > 1, name


@pytest.mark.parametrize(
    ("scenario", "autoreset", "options"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{number // len(MODES)}") for number, case in enumerate(COVERING)],
)
def test_lane_i_is_the_single_environment(scenario, autoreset, options):
    ends = assert_lanes_are_single_environments("numpy", autoreset, scenario=scenario, **options)
    assert (ends != ends[:, :1]).any() or get_scenario(scenario).max_participation is not None  # lanes fell out of step


@needs_numba
@pytest.mark.parametrize(
    ("scenario", "autoreset", "options"),
    COMPILED,
    ids=["plain", "fraction", "full", "rough", "taped"],
)
def test_compiled_lane_i_is_the_single_environment(scenario, autoreset, options):
    """Bit for bit where prices are arithmetic and powers are square roots or products, else to 1e-9."""
    assert_lanes_are_single_environments("numba", autoreset, scenario=scenario, **options)


CHANGES = (
    {"complete": False, "max_participation": 0.1},
    {"temp_impact_beta": 0.6, "price_model": "gbm"},
    {"flow_persistence": 0.5, "side": -1, "slices": 3},
    {"max_participation": 0.05},
    *({"slices": 1} for _ in MODES),  # every step ends: in each autoreset mode
)


@pytest.mark.parametrize(
    ("change", "autoreset", "action_mode", "reward"),
    [
        pytest.param(change, MODES[i % 3], ACTION_MODES[i % 4], ("expected", "realised")[i % 2], id="-".join(change))
        for i, change in enumerate(CHANGES)
    ],
)
def test_variants_of_a_scenario_agree_too(autoreset, action_mode, reward, change):
    """As a dict, which is what a configuration file would hold; square roots leave the arithmetic exact."""
    scenario = {**replace(get_scenario("regime-day-2026"), **change).to_dict(), "name": "variant"}
    assert_lanes_are_single_environments("numpy", autoreset, scenario=scenario, action_mode=action_mode, reward=reward)


HIDDEN = {"observe_regime": False, "reward": "realised"}
OPEN = {**get_scenario("regime-day").to_dict(), "name": "open", "complete": False}
LIMITED = (
    ("numpy", "NextStep", {"max_episode_steps": 5}),
    ("numpy", "SameStep", {"max_episode_steps": 5, "info": "full", "scenario": OPEN, "action_mode": "discrete"}),
    ("numpy", "Disabled", {"max_episode_steps": 26}),
    pytest.param(
        "numba", "NextStep", {"max_episode_steps": 5, "info": "full", **HIDDEN}, marks=[needs_numba, pytest.mark.slow]
    ),
    pytest.param(
        *("numba", "SameStep", {"max_episode_steps": 5, "info": "full", "scenario": OPEN, **HIDDEN}),
        marks=(needs_numba, pytest.mark.slow),  # a second check: compiled for this test only
    ),
    pytest.param("numba", "Disabled", {"max_episode_steps": 1}, marks=needs_numba),
)


@pytest.mark.parametrize(("backend", "autoreset", "options"), LIMITED)
def test_a_lane_is_truncated_as_by_the_time_limit_of_the_single_environment(backend, autoreset, options):
    ends = assert_lanes_are_single_environments(backend, autoreset, **options)
    assert ends.sum() > LANES * 26 / options["max_episode_steps"]


@pytest.mark.parametrize("autoreset", [mode.value for mode in AutoresetMode])
def test_a_limit_that_no_episode_reaches_changes_nothing(autoreset):
    unlimited, *limited = (make(3, autoreset, backend="numpy", max_episode_steps=steps) for steps in (None, -1, 1_000))
    for env in limited:
        unlimited.reset(seed=1)
        env.reset(seed=1)
        for _ in range(25):
            for one, other in zip(unlimited.step(np.zeros((3, 1))), env.step(np.zeros((3, 1))), strict=True):
                assert_unchanged(one, other)


@pytest.mark.parametrize(
    ("backend", "autoreset", "options"),
    [
        ("numpy", "NextStep", {}),
        ("numpy", "SameStep", {**VARIED, "scenario": OPEN, "action_mode": "discrete"}),
        ("numpy", "Disabled", {"observe_regime": False}),
        pytest.param("numba", "NextStep", {}, marks=needs_numba),
        pytest.param("numba", "SameStep", FULLEST, marks=needs_numba),
    ],
)
def test_the_full_info_of_a_lane_is_that_of_the_single_environment(backend, autoreset, options):
    assert_lanes_are_single_environments(backend, autoreset, info="full", **options)


@every_backend
def test_a_lane_does_not_know_its_neighbours(backend):
    """Lane 40 of 64 is the only lane of an environment of its own."""
    many, one = (HyperExecVectorEnv(lanes, AutoresetMode.SAME_STEP, backend, **FULLEST) for lanes in (64, 1))
    observation, _ = many.reset(seed=100)
    assert np.array_equal(one.reset(seed=140)[0][0], observation[40])
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = draw_actions(many, rng)
        ours, theirs = many.step(actions), one.step(actions[40:41])
        for mine, other in zip(ours[:4], theirs[:4], strict=True):
            assert np.array_equal(mine[40], other[0])


@every_backend
def test_shares_and_actions_are_two_ways_to_say_the_same(backend):
    env, lanes = HyperExecVectorEnv(3, backend=backend), [HyperExecEnv() for _ in range(3)]
    env.reset(seed=5)
    for i, lane in enumerate(lanes):
        lane.reset(seed=5 + i)
    rng = np.random.default_rng(2)
    for _ in range(26):
        shares = rng.uniform(0.0, 1e4, 3)
        ours = env.trade(shares)
        for i, lane in enumerate(lanes):
            theirs = lane.trade(float(shares[i]))
            assert np.array_equal(ours[0][i], theirs[0])
            assert (ours[1][i], ours[2][i]) == theirs[1:3]


@every_backend
def test_the_situation_of_a_lane_is_that_of_the_single_environment(backend):
    for observe_regime in [True, False]:
        env = HyperExecVectorEnv(3, backend=backend, observe_regime=observe_regime)
        lanes = [HyperExecEnv(observe_regime=observe_regime) for _ in range(3)]
        env.reset(seed=5)
        for i, lane in enumerate(lanes):
            lane.reset(seed=5 + i)
        rng = np.random.default_rng(2)
        for _ in range(20):
            ours = env.situation
            for i, lane in enumerate(lanes):
                theirs = lane.situation
                assert ours.market is theirs.market
                assert [np.broadcast_to(value, 3)[i].item() for value in ours[1:]] == list(theirs[1:])
            actions = rng.uniform(-1.0, 0.3, (3, 1))
            env.step(actions)
            for i, lane in enumerate(lanes):
                lane.step(actions[i])


@every_backend
def test_a_situation_never_changes_later(backend):
    for restart in [False, True]:
        env = HyperExecVectorEnv(4, "SameStep", backend, **FULLEST)
        rng = np.random.default_rng(3)
        env.reset(seed=0)
        kept, copies, ends = [], [], 0
        for _ in range(60):
            kept.append(env.situation)
            copies.append(remember(kept[-1][1:]))
            ends += env.step(draw_actions(env, rng))[2].sum()
            if restart:
                kept.append(env.situation)
                copies.append(remember(kept[-1][1:]))
                env.reset()
        assert restart or ends > 4
        for situation, remembered in zip(kept, copies, strict=True):
            for name, value, before in zip(situation._fields[1:], situation[1:], remembered, strict=True):
                assert np.array_equal(value, before), name


# --- seeds and resets


@every_backend
def test_a_list_of_seeds_seeds_each_lane(backend):
    env = HyperExecVectorEnv(4, backend=backend)
    observation, _ = env.reset(seed=[9, 3, 2**70, 9])
    expected = [HyperExecEnv().reset(seed=seed)[0] for seed in (9, 3, 2**70, 9)]
    assert np.array_equal(observation, expected)


@every_backend
def test_no_seed_means_the_next_episode_of_each_lane(backend):
    env, lanes = HyperExecVectorEnv(3, backend=backend), [HyperExecEnv() for _ in range(3)]
    observation, _ = env.reset(seed=7)
    assert np.array_equal(observation, [lane.reset(seed=7 + i)[0] for i, lane in enumerate(lanes)])
    for _ in range(4):
        env.step(np.zeros((3, 1)))
        observation, _ = env.reset()
        assert np.array_equal(observation, [lane.reset()[0] for lane in lanes])
    observation, _ = env.reset(seed=[None, 1, None])
    assert np.array_equal(observation, [lanes[0].reset()[0], lanes[1].reset(seed=1)[0], lanes[2].reset()[0]])


@every_backend
def test_lanes_begin_any_episode_and_replay_a_board(backend):
    env, single = HyperExecVectorEnv(3, "SameStep", backend, action_mode="fraction"), HyperExecEnv(action_mode="fraction")

    def first(**reset):
        return single.reset(**reset)[0]

    observation, _ = env.reset(seed=7, options={"episode": 12})
    assert np.array_equal(observation, [first(seed=7 + lane, options={"episode": 12}) for lane in range(3)])
    observation, _ = env.reset(options={"episode": [0, 2**63 - 1, 5]})
    expected = [(7, 0), (8, 2**63 - 1), (9, 5)]
    assert np.array_equal(observation, [first(seed=seed, options={"episode": number}) for seed, number in expected])
    mask = np.array([True, False, True])
    observation, _ = env.reset(seed=[4, 4, None], options={"board": True, "episode": np.array([3, 4, 6]), "reset_mask": mask})
    assert np.array_equal(observation[0], first(seed=4, options={"board": True, "episode": 3}))
    assert np.array_equal(observation[2], first(seed=9, options={"episode": 6}))  # a lane without a new seed keeps its own
    for number in (4, 5):  # the next episode is the next one of the board
        ended = env.step(np.ones((3, 1)))
        assert ended[2].all()
        assert np.array_equal(ended[0][0], first(seed=4, options={"board": True, "episode": number}))
    observation, _ = env.reset(seed=4)
    assert np.array_equal(observation, [first(seed=4 + lane) for lane in range(3)])


def test_unseeded_environments_differ():
    assert not np.array_equal(*(HyperExecVectorEnv(3, backend="numpy").reset()[0] for _ in range(2)))
    assert len(np.unique(HyperExecVectorEnv(50, backend="numpy").reset()[0], axis=0)) > 40


@every_backend
def test_a_masked_reset_restarts_its_lanes_and_leaves_the_others(backend):
    for autoreset in MODES if backend == "numpy" else ("NextStep", "Disabled"):
        env = HyperExecVectorEnv(3, autoreset, backend, action_mode="fraction")
        lanes = [HyperExecEnv(action_mode="fraction") for _ in range(3)]
        env.reset(seed=7)
        for i, lane in enumerate(lanes):
            lane.reset(seed=7 + i)
        for _ in range(5):
            before = env.step(np.full((3, 1), -0.5))[0]
            for lane in lanes:
                lane.step(np.full(1, -0.5))
        observation, _ = env.reset(options={"reset_mask": np.array([True, False, True])}, seed=[None, None, 33])
        assert np.array_equal(observation[1], before[1])
        assert np.array_equal(observation[0], lanes[0].reset()[0])
        assert np.array_equal(observation[2], lanes[2].reset(seed=33)[0])
        for _ in range(20):
            after = env.step(np.full((3, 1), -0.5))
            for i, lane in enumerate(lanes):
                expected = lane.step(np.full(1, -0.5))
                assert np.array_equal(after[0][i], expected[0])
                assert after[1][i] == expected[1]


@every_backend
def test_lanes_that_go_on_waiting_show_their_end(backend):
    env = HyperExecVectorEnv(4, "Disabled", backend, action_mode="fraction")
    env.reset(seed=0)
    env.step(np.zeros((4, 1)))
    ends, _, ended, _, _ = env.step(np.array([[1.0], [1.0], [0.0], [1.0]]))
    assert ended.tolist() == [True, True, False, True]
    kept = ends.copy()
    ends[:] = 7.0  # what a user does to them does not come back
    for lane in (1, 3, 0):
        observation, _ = env.reset(options={"reset_mask": np.arange(4) == lane})
        ended[lane] = False
        assert np.array_equal(observation[ended], kept[ended])
        assert np.array_equal(observation[2], kept[2])
        assert observation[lane, 0] == 1.0
    assert not env.step(np.zeros((4, 1)))[2].any()


@every_backend
def test_a_lane_whose_end_was_interrupted_still_waits_for_its_reset(backend, monkeypatch):
    env = HyperExecVectorEnv(3, "Disabled", backend, action_mode="fraction")
    env.reset(seed=0)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(env, "_final_info", interrupt)
        with pytest.raises(KeyboardInterrupt):
            env.step(np.array([[0.0], [1.0], [0.0]]))
    with pytest.raises(ResetNeeded, match=r"^lane 1 \(one of 1\) is over"):
        env.step(np.zeros((3, 1)))


@every_backend
def test_without_autoreset_a_lane_that_ended_waits_for_its_reset(backend):
    env = HyperExecVectorEnv(3, "Disabled", backend, action_mode="fraction")
    env.reset(seed=0)
    ended = env.step(np.array([[0.0], [1.0], [0.0]]))[2]
    assert ended.tolist() == [False, True, False]
    with pytest.raises(ResetNeeded, match=r"^lane 1 \(one of 1\) is over: reset it with options="):
        env.step(np.zeros((3, 1)))
    env.reset(options={"reset_mask": ended})
    assert env.step(np.zeros((3, 1)))[2].tolist() == [False, False, False]


@every_backend
def test_the_step_after_the_end_ignores_the_action_and_pays_nothing(backend):
    env = HyperExecVectorEnv(2, backend=backend, action_mode="fraction")
    env.reset(seed=0)
    env.step(np.array([[1.0], [-1.0]]))
    observation, reward, terminated, _, info = env.step(np.array([[1.0], [-1.0]]))
    single = HyperExecEnv(action_mode="fraction")
    single.reset(seed=0)
    assert np.array_equal(observation[0], single.reset()[0])
    assert (reward[0], terminated[0], info) == (0.0, False, {})
    assert reward[1] != 0.0


@every_backend
def test_where_all_lanes_wait_none_trades_and_actions_are_checked_all_the_same(backend):
    env, lanes = HyperExecVectorEnv(3, backend=backend, action_mode="fraction"), [HyperExecEnv() for _ in range(3)]
    for i, lane in enumerate(lanes):
        lane.reset(seed=5 + i)
    env.reset(seed=5)
    for _ in range(3):
        assert env.step(np.ones((3, 1)))[2].all()
        assert (env.situation.remaining == 0.0).all()
        wrong = np.array([[0.0], [np.nan], [0.0]])
        with pytest.raises(ValueError, match=r"^actions must be numbers in \[-1, 1\], got nan in lane 1$"):
            env.step(wrong)
        observation, reward, terminated, truncated, info = env.step(np.ones((3, 1)))
        assert np.array_equal(observation, [lane.reset()[0] for lane in lanes])
        assert not any(values.any() for values in (reward, terminated, truncated))
        assert info == {}


@every_backend
def test_lanes_that_wait_stand_at_their_end_until_the_next_step(backend):
    for ended in [1, 3]:
        env = HyperExecVectorEnv(3, backend=backend, action_mode="fraction")
        env.reset(seed=5)
        env.step(np.full((3, 1), -0.5))
        shown = env.step(np.where(np.arange(3) < ended, 1.0, -0.5)[:, None])[0]
        situation = env.situation
        assert situation.k.tolist() == [2, 2, 2]
        assert ((situation.remaining == 0.0) == (np.arange(3) < ended)).all()
        assert np.array_equal(env.task.observer.observe(situation), shown)
        env.step(np.zeros((3, 1)))
        assert env.situation.k.tolist() == [0 if lane < ended else 3 for lane in range(3)]


# --- what is returned


def remember(value):
    return copy.deepcopy(value)


def assert_unchanged(value, remembered):
    if isinstance(value, dict):
        assert value.keys() == remembered.keys()
        for key, item in value.items():
            assert_unchanged(item, remembered[key])
    elif isinstance(value, tuple):
        for item, other in zip(value, remembered, strict=True):
            assert_unchanged(item, other)
    elif value.dtype == object:
        for item, other in zip(value, remembered, strict=True):
            assert (item is other is None) or np.array_equal(item, other)
    else:
        assert np.array_equal(value, remembered)


@every_backend
def test_returned_arrays_never_change_later(backend):
    for autoreset, options in {
        "numpy": (("NextStep", VARIED), ("SameStep", FULLEST), ("Disabled", {"action_mode": "discrete"})),
        "numba": (("NextStep", {}), ("SameStep", FULLEST), ("Disabled", {"action_mode": "fraction"})),
    }[backend]:
        env = HyperExecVectorEnv(4, autoreset, backend, **options)
        rng = np.random.default_rng(0)
        returned = [env.reset(seed=0)]
        copies = [remember(returned[-1])]
        for _ in range(60):
            returned.append(env.step(draw_actions(env, rng)))
            copies.append(remember(returned[-1]))
            ended = returned[-1][2]
            if autoreset == "Disabled" and ended.any():
                returned.append(env.reset(options={"reset_mask": ended}))
                copies.append(remember(returned[-1]))
        for value, remembered in zip(returned, copies, strict=True):
            assert_unchanged(value, remembered)


@every_backend
def test_what_a_user_does_to_a_returned_array_does_not_come_back(backend):
    spoilt, clean = (HyperExecVectorEnv(3, "Disabled", backend, action_mode="fraction") for _ in range(2))
    spoilt.reset(seed=0)[0][:] = 7.0
    clean.reset(seed=0)
    for _ in range(10):
        one, other = (env.step(np.full((3, 1), -0.5)) for env in (spoilt, clean))
        for mine, theirs in zip(one[:4], other[:4], strict=True):
            assert np.array_equal(mine, theirs)
            mine[:] = 1
    mask = np.array([True, False, False])
    shown = clean.reset(options={"reset_mask": mask})[0]
    assert np.array_equal(spoilt.reset(options={"reset_mask": mask})[0], shown)


def test_the_environment_says_how_it_resets():
    for mode in (*MODES, *AutoresetMode):
        assert HyperExecVectorEnv(2, mode).metadata["autoreset_mode"] == AutoresetMode(mode)
    assert HyperExecVectorEnv(2).metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert HyperExecVectorEnv.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


@every_backend
def test_spaces_are_batches_of_the_single_ones(backend):
    for action_mode in ACTION_MODES if backend == "numpy" else ("pace", "discrete"):
        autoreset, options = ("SameStep", FULLEST) if action_mode == "discrete" else ("NextStep", {"action_mode": action_mode})
        env, single = HyperExecVectorEnv(3, autoreset, backend, **options), HyperExecEnv(**options)
        assert env.single_action_space == single.action_space
        assert env.single_observation_space == single.observation_space
        env.action_space.seed(0)
        observation, _ = env.reset(seed=0)
        for _ in range(30):
            assert env.observation_space.contains(observation)
            observation = env.step(env.action_space.sample())[0]


def test_gymnasium_counts_the_return_of_an_episode():
    for reward in ["expected", "realised"]:
        env = gym.wrappers.vector.RecordEpisodeStatistics(
            make(8, "NextStep", backend="numpy", scenario="desk-5min", reward=reward)
        )
        env.reset(seed=0)
        counted = 0
        for _ in range(40):
            info = env.step(np.zeros((8, 1)))[4]
            if "episode" in info:
                ended = info["_episode"]
                cost = info["objective_bps"] if reward == "expected" else info["shortfall_bps"] + info["risk_bps"]
                assert info["episode"]["r"][ended] == pytest.approx(-cost[ended], rel=1e-5)
                counted += ended.sum()
        assert counted >= 16


# --- pictures


@pytest.mark.parametrize(
    ("backend", "autoreset", "options"),
    [
        ("numpy", "SameStep", {"scenario": "hunted-day", "random_side": True}),
        ("numpy", "Disabled", {"quantity_range": (0.5, 2.0)}),
        pytest.param("numba", "NextStep", {}, marks=needs_numba),
    ],
)
def test_the_picture_of_a_lane_is_that_of_the_single_environment(backend, autoreset, options):
    pytest.importorskip("PIL", reason="needs the extra `plot`")
    env, reference = (
        maker(2, autoreset, render_mode="rgb_array", action_mode="fraction", **options)
        for maker in (lambda *given, **more: make(*given, backend=backend, **more), make_reference)
    )
    for both in (env, reference):
        both.reset(seed=3)
    for hurry in (-0.5, -0.5, 1.0, -0.5):
        actions = np.array([[-0.5], [hurry]], np.float32)
        _, _, ended, _, _ = env.step(actions)
        reference.step(actions)
        if autoreset == "Disabled" and ended.any():
            for both in (env, reference):
                both.reset(options={"reset_mask": ended})
        ours, theirs = env.render(), reference.render()
        assert [one.shape for one in ours] == [(640, 960, 3)] * 2
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    replay = {"board": True, "episode": [2, 3]}
    for both in (env, reference):  # the reference takes one number for all
        both.reset(seed=8, options=replay if both is env else {"board": True, "episode": 2})
    assert np.array_equal(env.render()[0], reference.render()[0])


def test_the_pictures_of_many_lanes_are_small_and_the_last_ones_black():
    pytest.importorskip("PIL", reason="needs the extra `plot`")
    env = HyperExecVectorEnv(17, backend="numpy", render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before render\(\)"):
        env.render()
    env.reset(seed=0)
    pictures = env.render()
    assert [picture.shape for picture in pictures] == [(160, 240, 3)] * 17
    assert [bool(picture.any()) for picture in pictures] == [True] * 16 + [False]
    assert HyperExecVectorEnv(2, backend="numpy").render() is None


def test_a_lane_that_was_restored_within_an_episode_is_black_until_its_next_one():
    pytest.importorskip("PIL", reason="needs the extra `plot`")
    env, other = (HyperExecVectorEnv(1, "Disabled", "numpy", render_mode="rgb_array") for _ in range(2))
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros((1, 1)))
    other.go_on(env.position())
    assert not other.render()[0].any()
    other.reset()
    env.reset()
    assert np.array_equal(other.render()[0], env.render()[0])


@pytest.mark.parametrize("first_only", [False, True])
def test_gymnasium_records_a_video_of_the_lanes(tmp_path, first_only):
    pytest.importorskip("moviepy", reason="gymnasium records videos with moviepy")
    env = make(2, "NextStep", backend="numpy", scenario="desk-5min", render_mode="rgb_array")
    recorded = gym.wrappers.vector.RecordVideo(
        env, str(tmp_path / "videos"), record_first_only=first_only, episode_trigger=lambda episode: episode == 0
    )
    recorded.reset(seed=0)
    for _ in range(12):
        recorded.step(np.zeros((2, 1)))
    recorded.close()
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["rl-video-episode-0.mp4"]


# --- errors


def test_a_bad_option_gets_one_line():
    for options, message in [
        ({"num_envs": 0}, "num_envs must be a whole number in [1, 10000000], got 0"),
        ({"num_envs": 2.5}, "num_envs must be a whole number in [1, 10000000], got 2.5"),
        ({"autoreset_mode": "Next"}, "autoreset_mode must be one of NextStep, SameStep, Disabled, got 'Next'"),
        ({"render_mode": "ansi"}, "render_mode must be one of rgb_array, got 'ansi'"),
        ({"max_episode_steps": 0}, "max_episode_steps must be a whole number in [1, 2147483647], got 0"),
        ({"max_episode_steps": True}, "max_episode_steps must be a whole number in [1, 2147483647], got True"),
        ({"info": "all"}, "info must be one of final, full, got 'all'"),
        ({"reward": "real"}, "reward must be one of expected, realised, cost-risk, got 'real'"),
        ({"scenario": "regime_day"}, "unknown scenario 'regime_day'; did you mean 'regime-day'?"),
        ({"backend": "nunba"}, "backend must be one of auto, numba, numpy, got 'nunba'; did you mean 'numba'?"),
        ({"backend": None}, "backend must be one of auto, numba, numpy, got None"),
        ({"num_threads": 0}, "num_threads must be a whole number in [1, 256], got 0"),
        ({"num_threads": 257}, "num_threads must be a whole number in [1, 256], got 257"),
        ({"num_threads": 1.5}, "num_threads must be a whole number in [1, 256], got 1.5"),
        ({"num_threads": True}, "num_threads must be a whole number in [1, 256], got True"),
        ({"copy": 1}, "copy must be true or false, got 1"),
        ({"copy": None}, "copy must be true or false, got None"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            HyperExecVectorEnv(**{"backend": "numpy", **options})


def test_an_environment_whose_options_were_refused_can_be_closed():
    """Gymnasium closes it when it is collected."""
    env = HyperExecVectorEnv.__new__(HyperExecVectorEnv)
    with pytest.raises(ValueError, match="num_envs"):
        env.__init__(num_envs=0)
    env.close()


@every_backend
def test_bad_actions_get_one_line_and_change_nothing(backend):
    for action_mode, actions, message in [
        ("pace", np.zeros((2, 1)), "actions must be an array of shape (3, 1), got shape (2, 1)"),
        ("pace", np.zeros(3), "actions must be an array of shape (3, 1), got shape (3,)"),
        ("pace", np.array([[0.0], [np.nan], [np.nan]]), "actions must be numbers in [-1, 1], got nan in lane 1"),
        ("discrete", np.zeros((3, 1), int), "actions must be an array of shape (3,), got shape (3, 1)"),
        ("discrete", np.array([0, 7, 0]), "actions must be whole numbers in [0, 6], got "),
        ("discrete", np.array([0, -1, 0]), "actions must be whole numbers in [0, 6], got "),
        ("discrete", np.zeros(3), "actions must be whole numbers in [0, 6], got "),
    ]:
        autoreset, options = ("SameStep", FULLEST) if action_mode == "discrete" else ("NextStep", {})
        env, clean = (HyperExecVectorEnv(3, autoreset, backend, **options) for _ in range(2))
        env.reset(seed=0)
        clean.reset(seed=0)
        clean.action_space.seed(0)
        for _ in range(30):
            with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
                env.step(actions)
            good = clean.action_space.sample()
            for one, other in zip(env.step(good), clean.step(good), strict=True):
                assert_unchanged(one, other)


@every_backend
def test_actions_beyond_the_ends_mean_the_ends(backend):
    for action_mode in ("pace", "fraction", "participation") if backend == "numpy" else ("pace", "fraction"):
        beyond, ends = (HyperExecVectorEnv(4, backend=backend, action_mode=action_mode) for _ in range(2))
        beyond.reset(seed=0)
        ends.reset(seed=0)
        for number in range(30):
            lower, upper = [[-np.inf], [-1.5]], [[1.0 + 2.0**-20], [np.inf]]
            given = np.roll([*lower, [0.25], [-0.5]] if number % 3 else [*upper, [-1.0], [-0.5]], number, axis=0)
            for one, other in zip(beyond.step(given), ends.step(np.clip(given, -1.0, 1.0)), strict=True):
                assert_unchanged(one, other)


def test_stepping_before_the_first_reset_says_reset():
    env = HyperExecVectorEnv(2)
    for call in (lambda: env.step(np.zeros((2, 1))), lambda: env.trade(np.zeros(2)), lambda: env.situation):
        with pytest.raises(ResetNeeded, match=r"reset\(\)"):
            call()


def test_a_bad_reset_gets_one_line_and_changes_nothing():
    for arguments, message in [
        ({"options": {"reset_masks": np.ones(2, bool)}}, "unknown reset option 'reset_masks'; did you mean 'reset_mask'?"),
        ({"options": {"episode": -1}}, "reset option 'episode' must be a whole number in [0, 9223372036854775807], got -1"),
        (
            {"options": {"episode": [1, 2, 3]}},
            "reset option 'episode' must be a whole number or 2 of them, got an array of shape (3,)",
        ),
        (
            {"options": {"episode": [True, 1]}},
            "reset option 'episode' must be a whole number in [0, 9223372036854775807], got True",
        ),
        (
            {"options": {"episode": [1, None]}},
            "reset option 'episode' must be a whole number in [0, 9223372036854775807], got ",
        ),
        ({"options": {"board": True}}, "reset option 'board' needs the seed of the board in the same reset, got no seed"),
        ({"seed": 1, "options": {"board": "yes"}}, "reset option 'board' must be true or false, got 'yes'"),
        ({"options": {"reset_mask": np.ones(3, bool)}}, "reset option 'reset_mask' must be a bool array of shape (2,)"),
        ({"options": {"reset_mask": np.ones(2)}}, "reset option 'reset_mask' must be a bool array of shape (2,)"),
        (
            {"options": {"reset_mask": np.zeros(2, bool)}},
            "reset option 'reset_mask' must be a bool array of shape (2,) with a True",
        ),
        ({"seed": [1]}, "seed must be a whole number or a list of 2 of them, got [1]"),
    ]:
        env, clean = (HyperExecVectorEnv(2, backend="numpy") for _ in range(2))
        env.reset(seed=0)
        clean.reset(seed=0)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            env.reset(**{"seed": 1, **arguments} if "board" not in arguments.get("options", {}) else arguments)
        assert np.array_equal(env.reset()[0], clean.reset()[0])
        assert env.np_random_seed == clean.np_random_seed == 0


def test_masks_belong_to_discrete_actions():
    env = HyperExecVectorEnv(2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action masks belong to action_mode='discrete'"):
        env.action_masks()


def test_a_bad_seed_is_refused():
    for seed in [[-1, 2], [1.5, 2], 1.5, "ab", [1], ["x", 1], True, [True, 2], np.True_, [np.False_, 2]]:
        with pytest.raises(ValueError, match=r"^seed must be a whole number"):
            HyperExecVectorEnv(2).reset(seed=seed)


def test_shares_that_are_no_numbers_are_refused():
    for shares in [[np.nan, 1.0], [1.0], [[1.0, 2.0]], 5.0]:
        env = HyperExecVectorEnv(2, backend="numpy")
        env.reset(seed=0)
        with pytest.raises(ValueError, match="shares to trade must be 2 numbers, one for each lane"):
            env.trade(np.array(shares))
