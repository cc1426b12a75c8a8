"""A user's own reward, features and action mode: the same numbers in every execution, and one clear error for what is wrong."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass
from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import hyperexec_env as hx
from hyperexec_env.envs import trial
from hyperexec_env.envs.action import fraction_shares
from hyperexec_env.envs.reward import COST_RISK

NAMES = hx.observation_names()
OPEN = {"base": "desk-5min", "max_participation": 0.02, "complete": False}
"""An order that stays unfilled."""


def expected(outcome):
    """The built-in reward of this name, written by a user."""
    cost = outcome.cost
    charged = cost.transient + cost.temporary + cost.spread + cost.drift + cost.risk
    return (charged + outcome.mark_objective) * outcome.scale


def realised(outcome):
    """The built-in reward of this name, written by a user."""
    cost = outcome.cost
    charged = cost.permanent + cost.transient + cost.temporary + cost.spread + cost.drift + cost.timing + cost.risk
    return (charged + outcome.mark_shortfall) * outcome.scale


def left(situation, known):
    """The built-in feature `remaining`, written by a user."""
    return situation.remaining / situation.quantity


def behind(situation, known):
    """The built-in feature `behind_schedule`, written by a user."""
    return situation.remaining / situation.quantity - known.plan


def urgency(situation, known):
    """A feature with branches, which arrays could not compute at once."""
    if situation.remaining <= 0.0 or situation.k >= known.slices:
        return 0.0
    return min(situation.last_price / situation.price, 2.0) if situation.last_shares > 0.0 else known.volatility


OWN = [hx.Feature("left", 0.0, 1.0, function=left), hx.Feature("behind", -1.0, 1.0, function=behind)]
URGENCY = hx.Feature("urgency", 0.0, 5.0, function=urgency, meaning="how urgent it is", unit="none")


def fraction(action, situation, known):
    """The built-in action mode of this name, written by a user."""
    return situation.remaining * 1.0 * (0.5 * (1.0 + action))


def third(level, situation, known):
    return situation.remaining * (0.0, 0.3, 1.0)[level]


def only_at_the_end(level, situation, known):
    return level < 2 or known.time_left < 0.5


FRACTION = hx.OwnAction("mine", gym.spaces.Box(-1.0, 1.0, (1,), np.float32), fraction)
THIRDS = hx.OwnAction("thirds", gym.spaces.Discrete(3), third, only_at_the_end)


def actions_of(env, rng, shape=()):
    space = env.single_action_space if shape else env.action_space
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(0, 2, shape) if shape else int(rng.integers(0, 2))
    return rng.uniform(-1.0, 0.5, (*shape, 1)).astype(np.float32)


def episode(env, seed):
    """Play an episode; return observations, rewards and the last info."""
    rng, over = np.random.default_rng(seed), False
    seen, paid = [env.reset(seed=seed)[0]], []
    while not over:
        observation, reward, over, _, info = env.step(actions_of(env, rng))
        seen.append(observation)
        paid.append(reward)
    return np.array(seen), np.array(paid), info


def same(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])
    assert one[2] == other[2]


def assert_lanes_are_single_environments(env, make, steps=60, seed=3):
    """Compare every lane with a single environment of the same seed, to the last bit."""
    mode, rng = env.metadata["autoreset_mode"].value, np.random.default_rng(0)
    lanes = [make() for _ in range(env.num_envs)]
    observations, info = env.reset(seed=seed)
    first = [lane.reset(seed=seed + index) for index, lane in enumerate(lanes)]
    np.testing.assert_array_equal(observations, [observation for observation, _ in first])
    over, ended = [False] * len(lanes), 0
    for _ in range(steps):
        if mode == "Disabled" and any(over):
            observations, _ = env.reset(options={"reset_mask": np.array(over)})
            for index in np.flatnonzero(over):
                np.testing.assert_array_equal(observations[index], lanes[index].reset()[0])
        actions = actions_of(env, rng, (len(lanes),))
        observations, rewards, _, _, info = env.step(actions)
        for index, lane in enumerate(lanes):
            if over[index] and mode == "NextStep":
                observation, told = lane.reset()
                reward, over[index] = np.zeros_like(rewards[index]), False
            else:
                observation, reward, over[index], _, told = lane.step(actions[index])
                ended += over[index]
                if mode == "SameStep" and over[index]:
                    np.testing.assert_array_equal(info["final_obs"][index], observation)
                    observation, told = lane.reset()
            np.testing.assert_array_equal(observations[index], observation)
            np.testing.assert_array_equal(rewards[index], reward)
            if "action_mask" in told:
                np.testing.assert_array_equal(info["action_mask"][index], told["action_mask"])
                np.testing.assert_array_equal(env.action_masks()[index], lane.unwrapped.action_masks())
    assert ended > len(lanes)


# --- equal to the built-in ones, and equal in all executions


@pytest.mark.fast
@pytest.mark.parametrize("scenario", ["regime-day", "trending-day", OPEN], ids=["day", "drift", "open"])
def test_a_built_in_reward_written_by_a_user_pays_the_same(scenario):
    for function, name in ((expected, "expected"), (realised, "realised")):
        same(episode(hx.make(scenario, reward=function), 1), episode(hx.make(scenario, reward=name), 1))


@pytest.mark.fast
@pytest.mark.parametrize("options", [{}, {"observe_regime": False}], ids=["told", "hidden"])
def test_a_built_in_feature_written_by_a_user_is_the_same(options):
    plain = episode(hx.make("regime-day", **options), 2)
    seen, paid, info = episode(hx.make("regime-day", features=[*NAMES, *OWN], **options), 2)
    same((seen[:, : len(NAMES)], paid, info), plain)
    np.testing.assert_array_equal(
        seen[:, len(NAMES) :], plain[0][:, [NAMES.index("remaining"), NAMES.index("behind_schedule")]]
    )


@pytest.mark.fast
def test_a_built_in_action_mode_written_by_a_user_trades_the_same():
    assert fraction_shares(0.3, 7.0, 1.0) == fraction(0.3, type("S", (), {"remaining": 7.0}), None)
    same(episode(hx.make("regime-day", action_mode=FRACTION), 3), episode(hx.make("regime-day", action_mode="fraction"), 3))


CASES = {
    "reward and features": ("NextStep", {"reward": expected, "features": [*NAMES, *OWN, URGENCY]}),
    "levels with a mask": ("SameStep", {"action_mode": THIRDS, "features": [URGENCY, "time_left"], "observe_regime": False}),
    "no mask": ("NextStep", {"action_mode": hx.OwnAction("plain", gym.spaces.Discrete(3), third), "reward": realised}),
    "unfilled": ("Disabled", {"scenario": OPEN, "reward": realised, "action_mode": FRACTION}),
    "drawn": ("NextStep", {"reward": expected, "random_side": True, "quantity_range": (0.5, 2.0), "features": [URGENCY]}),
    "parts": ("NextStep", {"reward": COST_RISK}),
    "parts, one step": ("SameStep", {"reward": COST_RISK, "scenario": OPEN}),
}


@pytest.mark.fast
@pytest.mark.parametrize("case", CASES)
def test_numpy_lanes_are_single_environments(case):
    mode, options = CASES[case]
    env = hx.make_vec(num_envs=3, autoreset_mode=mode, backend="numpy", **options)
    assert_lanes_are_single_environments(env, lambda: hx.make(**options))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
def test_compiled_lanes_are_single_environments_and_are_cached(tmp_path, monkeypatch):
    """All three at once: a program takes half a minute to compile."""
    options = {"reward": expected, "features": [*NAMES, URGENCY], "action_mode": THIRDS}
    env = hx.make_vec(num_envs=3, backend="numba", **options)
    assert_lanes_are_single_environments(env, lambda: hx.make(**options))
    from hyperexec_env.backends.compiled import _cacheable

    assert all(_cacheable(loop) for loop in env.unwrapped._lanes._compiled._loops.values())


@pytest.mark.fast
@pytest.mark.parametrize("reward", [expected, COST_RISK], ids=["own", "parts"])
def test_uncertain_markets_take_own_functions_too(reward):
    from tests.envs.test_uncertainty import UNSURE

    options = {"uncertainty": True, "reward": reward, "features": ["remaining", URGENCY], "action_mode": FRACTION}
    env = hx.make_vec(UNSURE, num_envs=3, backend="numpy", **options)
    assert_lanes_are_single_environments(env, lambda: hx.make(UNSURE, **options))


# --- the vector reward


@pytest.mark.fast
@pytest.mark.parametrize("scenario", ["regime-day", "crisis-day", OPEN], ids=["day", "crisis", "open"])
def test_cost_and_risk_add_up_to_the_scalar_reward(scenario):
    """For the weights (1, 1) the scalar reward comes back to the last bit; the parts sum to the parts of -J."""
    for seed in range(5):
        _, parts, info = episode(hx.make(scenario, reward=COST_RISK), seed)
        _, scalar, _ = episode(hx.make(scenario), seed)
        assert parts.shape == (len(scalar), 2)
        np.testing.assert_array_equal(parts @ np.ones(2), scalar)
        cost, risk = parts.sum(axis=0)
        assert cost == pytest.approx(info["risk_bps"] - info["objective_bps"], abs=1e-9)
        assert risk == pytest.approx(-info["risk_bps"], abs=1e-9)


@pytest.mark.fast
def test_the_reward_space_is_that_of_mo_gymnasium():
    single, lanes = hx.make(reward=COST_RISK), hx.make_vec(num_envs=4, reward=COST_RISK, backend="numpy")
    assert single.unwrapped.reward_space == gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    assert single.unwrapped.reward_dim == 2
    single.reset(seed=0)
    assert single.step(np.zeros(1, np.float32))[1] in single.unwrapped.reward_space
    lanes.reset(seed=0)
    assert lanes.step(np.zeros((4, 1), np.float32))[1] in lanes.unwrapped.reward_space
    assert not hasattr(hx.make().unwrapped, "reward_space")


# --- what a user's feature can see


@pytest.mark.fast
def test_a_feature_sees_no_market_and_no_future():
    """The arguments hold numbers only, and are the same when nature draws otherwise from the present slice on."""
    from hyperexec_env.audit.own import another_future

    met = []

    def note(situation, known):
        met.append((situation, known))
        return 0.0

    env = hx.make(features=[hx.Feature("note", 0.0, 1.0, function=note)]).unwrapped
    env.reset(seed=0)
    met.clear()
    env.begin_on(lambda path: path)
    env.step(np.zeros(1, np.float32))
    before = list(met)
    met.clear()
    env.begin_on(another_future(env.task, 1))
    env.step(np.zeros(1, np.float32))
    assert before == met
    for situation, known in met:
        assert situation.market is None
        assert all(type(value) in (int, float) for value in (*situation[1:], *known))


@pytest.mark.fast
def test_a_hidden_regime_stays_hidden_from_own_functions():
    from hyperexec_env.market.regime import REGIME_NAMES

    def told(situation, known):
        return sum(getattr(known, f"regime_{name}") for name in REGIME_NAMES) + situation.transient

    seen, _, _ = episode(hx.make(features=[hx.Feature("told", 0.0, 1.0, function=told)], observe_regime=False), 0)
    assert not seen.any()
    assert episode(hx.make(features=[hx.Feature("told", 0.0, 1.0, function=told)]), 0)[0].any()


@pytest.mark.fast
def test_own_features_are_in_the_space_the_names_and_the_table():
    env = hx.make(features=["time_left", URGENCY, "remaining"])
    assert env.unwrapped.observation_names == ("time_left", "urgency", "remaining")
    assert hx.observation_names(["time_left", URGENCY]) == ("time_left", "urgency")
    np.testing.assert_array_equal(env.observation_space.high, np.array([1.0, 5.0, 1.0], np.float32))
    table = env.unwrapped.observation_table.splitlines()
    assert "| 1 | urgency | how urgent it is | none | 0 | 5 |" in table
    assert table[4].startswith("| 2 | remaining | remaining shares |")
    lanes = hx.make_vec(num_envs=2, features=["time_left", URGENCY], backend="numpy")
    assert lanes.single_observation_space.shape == (2,)
    assert hx.make().unwrapped.observation_names == NAMES


@pytest.mark.fast
def test_values_beyond_the_bounds_are_clipped():
    far = hx.Feature("far", -1.0, 1.0, function=lambda situation, known: 5.0 - situation.k)
    seen, _, _ = episode(hx.make("desk-5min", features=[far]), 0)
    assert (seen.min(), seen.max()) == (-1.0, 1.0)


@pytest.mark.fast
@pytest.mark.parametrize("options", [{"reward": expected, "features": OWN}, {"action_mode": THIRDS}], ids=["pay", "ask"])
def test_the_checker_passes_and_copies_and_pickles_go_on(options):
    check_env(hx.make(**options).unwrapped, skip_render_check=True)
    lanes = hx.make_vec(num_envs=2, backend="numpy", **options)
    lanes.reset(seed=0)
    again = pickle.loads(pickle.dumps(lanes.unwrapped))  # noqa: S301 - our own bytes
    other = copy.deepcopy(hx.make(**options).unwrapped)
    other.reset(seed=0)
    action = actions_of(lanes, np.random.default_rng(0), (2,))
    one, two = lanes.step(action), again.step(action)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(other.step(action[0])[0], one[0][0])


# --- errors


def nothing(outcome):
    return None


def pair(outcome):
    return np.zeros(2)


def undefined(outcome):
    return math.nan


def divides(outcome):
    return 1.0 / (outcome.quantity - outcome.quantity)


def later(outcome):
    return math.nan if outcome.k == 2 and outcome.shares == 0.0 else 0.0


FACTORS = {"all": 2.0}
"""A dict, which compiled code cannot read."""


def untyped(outcome):
    return outcome.scale * FACTORS["all"]


def vast(outcome):
    return 10**400


def bars(level, situation, known):
    return situation.k != 2


@dataclass
class Mutable:
    """A callable that cannot be hashed."""

    def __call__(self, *given):
        return 0.0


BAD = [
    ({"reward": 3}, "reward must be one of expected, realised, cost-risk or a function of an Outcome, got 3"),
    ({"reward": nothing}, "reward nothing must return one finite number, got None; its arguments were"),
    ({"reward": pair}, r"reward pair must return one finite number, got an array of shape \(2,\)"),
    ({"reward": undefined}, "reward undefined must return one finite number, got nan"),
    ({"reward": divides}, "reward divides raises ZeroDivisionError: "),
    ({"reward": left}, "reward left raises TypeError: "),
    ({"features": "remaining"}, "features must be a list of names and Feature records, got 'remaining'"),
    ({"features": []}, "features must name at least one feature"),
    ({"features": ["remainin"]}, "features must be one of remaining, .* did you mean 'remaining'"),
    ({"features": ["remaining", "remaining"]}, "features must have different names, got 'remaining' twice"),
    ({"features": [hx.Feature("remaining", 0.0, 1.0, function=left)]}, "must have different names, got 'remaining'"),
    ({"features": [hx.Feature("x", 0.0, 1.0)]}, r"feature 'x' needs function=f with f\(situation, known\), got None"),
    (
        {"features": [hx.Feature("x", 1.0, 1.0, function=left)]},
        r"high of feature 'x' must be a number in \(1, 1e\+38\], got 1.0",
    ),
    ({"features": [hx.Feature("x", 0.0, 1e300, function=left)]}, "high of feature 'x' must be a number"),
    ({"features": [hx.Feature("x", 1.0, 1.0 + 1e-9, function=left)]}, "bounds of feature 'x' must differ in single precision"),
    ({"reward": Mutable()}, "reward must be hashable, got an instance of Mutable"),
    ({"features": [hx.Feature("x", 0.0, 1.0, function=Mutable())]}, "function of feature 'x' must be hashable"),
    ({"reward": vast}, "reward vast raises OverflowError"),
    (
        {"action_mode": hx.OwnAction("x", gym.spaces.Discrete(3), third, bars)},
        "mask of action mode 'x' must allow at least one",
    ),
    ({"features": [hx.Feature("x", 0.0, math.inf, function=left)]}, "high of feature 'x' must be a number"),
    ({"features": [hx.Feature("x", 0.0, 1.0, function=expected)]}, r"feature 'x' \(expected\) raises TypeError"),
    ({"action_mode": 7}, "action_mode must be one of pace, .* or an OwnAction, got 7"),
    ({"action_mode": hx.OwnAction("x", FRACTION.space, left)}, r"shares of action mode 'x' \(left\) raises TypeError"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("options", "message"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_gets_one_line(options, message):
    for make in (hx.make, lambda **given: hx.make_vec(num_envs=2, backend="numpy", **given)):
        with pytest.raises(ValueError, match=message):
            make(**options)


@pytest.mark.fast
def test_a_bad_record_of_an_action_mode_gets_one_line():
    for given, message in [
        ((gym.spaces.Box(-1.0, 1.0, (2,)), fraction), r"must be Box\(low, high, \(1,\)\) or Discrete\(levels\)"),
        ((gym.spaces.Discrete(3, start=1), third), r"Discrete\(levels\), got Discrete\(3, start=1\)"),
        ((gym.spaces.Discrete(3), None), "must be a function"),
        ((gym.spaces.Box(-1.0, 1.0, (1,)), fraction, only_at_the_end), "for a Discrete space"),
    ]:
        with pytest.raises(ValueError, match=message):
            hx.OwnAction("mine", *given)


@pytest.mark.fast
def test_nan_of_a_later_episode_names_the_slice_or_the_lane():
    nan = hx.Feature("bad", 0.0, 1.0, function=lambda s, known: math.nan if s.k == 2 and s.last_shares == 0.0 else 0.0)
    asks = hx.OwnAction("bad", FRACTION.space, lambda action, s, known: math.nan if action == 0.125 else 0.0)
    for options, message in [
        ({"reward": later}, "reward later must return a finite number, got nan in"),
        ({"features": [nan]}, "feature 'bad' must be a number, got nan in"),
        ({"action_mode": asks}, "shares of action mode 'bad' must be a number, got nan in"),
    ]:
        for make, action in (
            (hx.make, np.float32([-1.0])),
            (lambda **given: hx.make_vec(num_envs=2, backend="numpy", **given), -np.ones((2, 1), np.float32)),
        ):
            env = make(**options)
            env.reset(seed=0)
            with pytest.raises(ValueError, match=message):  # noqa: PT012 - it is one of these steps
                for _ in range(3):
                    env.step(action * 0.0 + 0.125 if "action_mode" in options else action)


@pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
def test_a_function_that_cannot_be_compiled_is_told(monkeypatch):
    class Scaled:
        def __call__(self, outcome):
            return expected(outcome)

    made = hx.make_vec(num_envs=2, backend="numpy", reward=Scaled())
    assert not made.unwrapped._compiled
    message = "reward .*Scaled cannot be compiled: compiled loops call functions made by `def` or `lambda`, got Scaled"
    with pytest.raises(ValueError, match=f"{message}; pass backend='numpy'"):
        hx.make_vec(num_envs=2, backend="numba", reward=Scaled())
    with pytest.raises(ValueError, match=r"reward untyped cannot be compiled: TypingError: Untyped global name 'FACTORS'"):
        hx.make_vec(num_envs=2, backend="numba", reward=untyped)
    told = []
    monkeypatch.setattr(trial.logger, "warn", lambda *words: told.append(words[-1]))
    assert not hx.make_vec(num_envs=2, reward=Scaled()).unwrapped._compiled
    assert len(told) == 1
    assert "the lanes run in numpy" in told[0]


@pytest.mark.fast
def test_a_mask_that_allows_nothing_later_names_the_slice_or_the_lane():
    def waits(level, situation, known):
        return situation.k != 2 or situation.last_shares > 0.0

    mode = hx.OwnAction("x", gym.spaces.Discrete(3), third, waits)
    single, lanes = hx.make(action_mode=mode), hx.make_vec(num_envs=2, backend="numpy", action_mode=mode)
    for env, where, wait in ((single, "slice 2", 0), (lanes, "lane 1", np.array([2, 0]))):
        env.reset(seed=0)
        env.step(wait)
        with pytest.raises(ValueError, match=f"must allow at least one level, but allows none in {where}"):
            env.step(wait)
