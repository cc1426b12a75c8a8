"""The single environment as Gymnasium and stable-baselines3 expect it: episodes, seeds, ends and errors."""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.envs.action import ACTION_MODES, PACES
from hyperexec_env.envs.episode import Episode
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.evaluation.rollout import rollouts
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

with_a_mode = pytest.mark.parametrize(
    ("scenario", "action_mode"), [(name, ACTION_MODES[i % len(ACTION_MODES)]) for i, name in enumerate(scenario_names())]
)
"""Every scenario in one action mode, every action mode in several scenarios."""

VARIANTS = (
    {"reward": "realised"},
    {"observe_regime": False},
    {"random_side": True, "quantity_range": (0.1, 10.0)},
    {"reward": "realised", "observe_regime": False, "random_side": True, "quantity_range": (0.5, 2.0)},
)


def named(observation):
    return dict(zip(observation_names(), observation.tolist(), strict=True))


def play(env, actions, **reset):
    """Play one episode; return everything that was returned."""
    returned = [env.reset(**reset)]
    for action in actions:
        returned.append(env.step(action))
        if returned[-1][2]:
            return returned
    raise AssertionError("the episode did not end")


def random_actions(env, seed=0, steps=400):
    rng = np.random.default_rng(seed)
    if env.action_space.shape == ():
        return rng.integers(0, len(PACES), steps)
    return rng.uniform(-1.0, 0.6, (steps, 1)).astype(np.float32)


def same(one, other):
    """Whether two returned values are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


# --- the checkers


def check_both_ways(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
        checker = pytest.importorskip("stable_baselines3.common.env_checker")
        checker.check_env(env, warn=True)


@with_a_mode
def test_both_checkers_pass_without_a_warning(scenario, action_mode):
    check_both_ways(gym.make("HyperExec-v0", scenario=scenario, action_mode=action_mode).unwrapped)


@pytest.mark.parametrize(
    ("options", "action_mode"),
    [(options, ACTION_MODES[i % len(ACTION_MODES)]) for i, options in enumerate(VARIANTS)],
)
def test_both_checkers_pass_for_every_option(options, action_mode):
    check_both_ways(gym.make("HyperExec-v0", action_mode=action_mode, **options).unwrapped)


# --- episodes and seeds


@with_a_mode
def test_a_seed_gives_the_same_episodes_again(scenario, action_mode):
    first, second = (HyperExecEnv(scenario, action_mode) for _ in range(2))
    actions = random_actions(first)
    one = [play(first, actions, seed=7), play(first, actions), play(first, actions)]
    other = [play(second, actions, seed=7), play(second, actions), play(second, actions)]
    assert same(one, other)
    assert not same(one[0], one[1])
    assert not same(one[0], play(second, actions, seed=8))
    assert same(one[0], play(second, actions, seed=7))


@pytest.mark.parametrize(
    ("scenario", "options"),
    [(name, ({}, *VARIANTS)[i % (len(VARIANTS) + 1)]) for i, name in enumerate(scenario_names())],
)
def test_an_episode_is_the_same_whatever_came_before(scenario, options):
    """Episode 5 of a seed is episode 5 alone: neither arrival price nor order nor displacement is left from earlier ones."""
    env, alone = HyperExecEnv(scenario, **options), HyperExecEnv(scenario, **options)
    actions = random_actions(env)
    played = [play(env, actions, seed=3), *(play(env, actions) for _ in range(6))]
    for number in (5, 0, 6, 3):
        assert same(play(alone, actions, seed=3, options={"episode": number}), played[number])
    env.reset(options={"episode": 2})
    assert same(play(env, actions), played[3])  # the next reset is the next episode
    assert same(play(env, actions, options={"episode": 1}), played[1])


def test_a_thousand_resets_give_a_thousand_different_episodes():
    env, alone = HyperExecEnv("desk-5min"), HyperExecEnv("desk-5min")
    env.reset(seed=1)
    ends = [env.step([0.0])[0]]
    for _ in range(1, 1200):
        env.reset()
        ends.append(env.step([0.0])[0])
    assert len({end.tobytes() for end in ends}) == 1200
    for number in (1, 2, 3, 511, 512, 513, 1023, 1199):
        alone.reset(seed=1, options={"episode": number})
        assert same(alone.step([0.0])[0], ends[number])


def test_an_episode_may_have_any_number():
    for number in (2**40, 2**62, 2**63 - 1):
        env = HyperExecEnv("desk-5min")
        actions = random_actions(env)
        assert same(
            play(env, actions, seed=2, options={"episode": number}), play(env, actions, seed=2, options={"episode": number})
        )


def test_huge_seeds_are_seeds():
    env = HyperExecEnv("desk-5min")
    actions = random_actions(env)
    assert same(play(env, actions, seed=2**64 + 5), play(env, actions, seed=2**64 + 5))
    assert not same(play(env, actions, seed=2**63), play(env, actions, seed=2**62))


@pytest.mark.parametrize("name", ["desk-5min", "regime-day"])
def test_a_board_is_replayed_by_its_option_and_by_nothing_else(name):
    """The cost of each replayed episode is the cost on the board."""
    market, twap, env = build_market(get_scenario(name)), get_policy("TWAP"), HyperExecEnv(name)
    ((outcome,),) = rollouts(market, [twap], [False], seed=7, episodes=6, backend="numpy")

    def objective(**reset):
        env.reset(**reset)
        ended = False
        while not ended:
            _, _, ended, _, info = env.trade(float(twap.act(env.situation)))
        return info["objective_bps"]

    board = outcome.statement.objective.tolist()
    assert [objective(seed=7, options={"board": True, "episode": number}) for number in range(6)] == board
    assert [objective(seed=7, options={"board": True}), objective(), objective()] == board[:3]  # a later reset goes on there
    for seed in (7, 7 + 2**63, 7 + 2**64, 7 + 2**32):
        assert not {objective(seed=seed), *(objective() for _ in range(5))} & set(board)
    assert objective(seed=7, options={"board": False}) == objective(seed=7, options={"episode": 0}) not in board


def test_without_a_seed_every_environment_has_its_own():
    one, other = HyperExecEnv("desk-5min"), HyperExecEnv("desk-5min")
    actions = random_actions(one)
    assert not same(play(one, actions), play(other, actions))
    # and the seed that it drew can be asked for
    again = HyperExecEnv("desk-5min")
    first = HyperExecEnv("desk-5min")
    assert same(play(first, actions), play(again, actions, seed=first.np_random_seed))


def test_global_seeds_are_neither_read_nor_touched():
    env = HyperExecEnv("desk-5min")
    actions = random_actions(env)
    np.random.seed(0)  # noqa: NPY002 - the point of the test
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = play(env, actions, seed=5)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert same(play(env, actions, seed=5), one)


def test_every_episode_starts_undisturbed():
    for scenario in scenario_names():
        env = HyperExecEnv(scenario)
        actions = random_actions(env)
        price = get_scenario(scenario).arrival_price
        for episode in range(4):
            observation, _ = env.reset(seed=4 if episode == 0 else None)
            features, situation = named(observation), env.situation
            assert features["remaining"] == features["time_left"] == 1.0
            for name in ("behind_schedule", "transient_displacement", "price_move", "last_participation"):
                assert features[name] == 0.0, name
            assert situation.price == price
            assert situation.remaining == situation.quantity == get_scenario(scenario).quantity
            assert situation.permanent == situation.transient == situation.last_shares == situation.k == 0
            for action in actions:
                if env.step(action)[2]:
                    break


def test_what_was_returned_never_changes():
    env = HyperExecEnv(action_mode="discrete")
    returned, copies = [], []
    for episode in range(5):
        returned.extend(play(env, random_actions(env, episode), seed=1 if episode == 0 else None))
        copies.extend(copy.deepcopy(returned[len(copies) :]))
    for again, episode in enumerate((3, 3, 3, 0, 0, 2)):  # played again in other ways
        returned.extend(play(env, random_actions(env, 5 + again), options={"episode": episode}))
        copies.extend(copy.deepcopy(returned[len(copies) :]))
    assert same(returned, copies)
    for result in returned:
        result[0][:] = 99.0  # and nothing that a user does to it comes back
    again = play(env, random_actions(env, 0), seed=1)
    assert same(again, copies[: len(again)])


def test_environments_of_a_market_share_its_tables_and_no_action_space():
    one, other = HyperExecEnv(), HyperExecEnv()
    assert one.task.observer is other.task.observer
    one.action_space.seed(0)
    other.action_space.seed(0)
    first = one.action_space.sample()
    assert np.array_equal(other.action_space.sample(), first)
    assert one.task.observer is not HyperExecEnv(observe_regime=False).task.observer


def test_a_situation_books_no_costs(monkeypatch):
    """A policy asks for the situation in every slice: its time must not grow with the number of slices before."""
    env = HyperExecEnv()
    env.reset(seed=3)
    env.trade(1_000.0)
    monkeypatch.setattr(Episode, "_account", lambda self: pytest.fail("booked"))
    assert env.situation.last_shares == 1_000.0


# --- how an episode ends


@pytest.mark.parametrize(
    ("scenario", "action_mode", "complete"),
    [(name, ACTION_MODES[i % 4], (i + i // 4) % 2 == 0) for i, name in enumerate(scenario_names())],
)
def test_an_episode_terminates_when_the_order_or_the_time_is_up(scenario, action_mode, complete):
    env = HyperExecEnv(replace(get_scenario(scenario), complete=complete), action_mode)
    slices = get_scenario(scenario).slices
    slow = [0] * slices if action_mode == "discrete" else [np.array([-1.0], np.float32)] * slices
    returned = play(env, slow, seed=0)
    assert len(returned) == slices + 1
    assert [step[2] for step in returned[1:]] == [False] * (slices - 1) + [True]
    assert not any(step[3] for step in returned[1:])
    features, info = named(returned[-1][0]), returned[-1][4]
    assert features["remaining"] == (0.0 if complete else 1.0)
    assert features["time_left"] == 0.0
    assert info["forced_fraction"] == (1.0 if complete else 0.0)
    if not complete:
        components = info["components_bps"]
        assert info["shortfall_bps"] == pytest.approx(components["opportunity"])
        assert components["spread"] == components["temporary"] == components["permanent"] == 0.0


def test_an_order_that_is_done_early_ends_its_episode():
    for scenario in [name for name in scenario_names() if get_scenario(name).max_participation is None]:
        env = HyperExecEnv(scenario, "fraction")
        env.reset(seed=0)
        assert not env.step(np.array([0.0]))[2]
        observation, _, terminated, truncated, info = env.step(np.array([1.0]))
        assert (terminated, truncated) == (True, False)
        assert named(observation)["remaining"] == 0.0
        assert named(observation)["time_left"] > 0.0
        assert info["forced_fraction"] == 0.0
        assert sum(info["components_bps"].values()) == pytest.approx(info["shortfall_bps"], abs=1e-9)
        with pytest.raises(ResetNeeded):
            env.step(np.array([0.0]))


def test_the_cap_holds_trades_and_what_it_leaves_is_forced_at_the_end():
    scenario = get_scenario("desk-5min")
    env = HyperExecEnv(scenario, "fraction")
    for episode in range(20):
        env.reset(seed=6 if episode == 0 else None)
        for _ in range(scenario.slices - 1):
            before = env.situation.remaining
            env.step(np.array([1.0]))
            after = env.situation
            assert before - after.remaining <= scenario.max_participation * after.last_volume * (1.0 + 1e-12)
        left = env.situation.remaining
        info = env.step(np.array([1.0]))[4]
        done = env.situation
        forced = left - min(left, scenario.max_participation * done.last_volume)
        assert done.remaining == 0.0
        assert info["forced_fraction"] == pytest.approx(forced / scenario.quantity)
        assert info["forced_fraction"] > 0.0  # a cap of 10 % cannot finish this order


def test_without_completion_the_cap_holds_to_the_end():
    scenario = replace(get_scenario("desk-5min"), complete=False)
    env = HyperExecEnv(scenario)
    env.reset(seed=6)
    terminated = False
    while not terminated:
        before = env.situation.remaining
        _, _, terminated, _, info = env.step(np.array([1.0]))
        assert before - env.situation.remaining <= scenario.max_participation * env.situation.last_volume * (1.0 + 1e-12)
    assert env.situation.remaining > 0.0
    assert info["forced_fraction"] == 0.0


# --- info at every step


def keys_of(info):
    return {key: keys_of(value) if isinstance(value, dict) else type(value) for key, value in info.items()}


@pytest.mark.parametrize("action_mode", ["pace", "discrete"])
@pytest.mark.parametrize(("observe_regime", "complete"), [(True, True), (True, False), (False, True)])
def test_full_info_has_the_same_keys_at_every_step(action_mode, observe_regime, complete):
    scenario = replace(get_scenario("regime-day"), complete=complete)
    env = HyperExecEnv(scenario, action_mode, observe_regime=observe_regime, info="full")
    plain = HyperExecEnv(scenario, action_mode, observe_regime=observe_regime)
    returned, theirs = (play(each, random_actions(env), seed=5) for each in (env, plain))
    infos = [step[-1] for step in returned]
    assert all(keys_of(info) == keys_of(infos[-1]) for info in infos)
    assert same(infos[-1], theirs[-1][-1])  # the end is told as ever
    assert all(same(one[:4], other[:4]) for one, other in zip(returned[1:], theirs[1:], strict=True))
    costs = np.array([[info["objective_bps"], *info["components_bps"].values()] for info in infos])
    assert np.isnan(costs[:-1]).all() if not observe_regime else np.isfinite(costs).all()
    assert np.isfinite(costs[-1]).all()
    assert all(info["forced_fraction"] == 0.0 for info in infos[:-1])


@pytest.mark.parametrize(("name", "complete"), [("regime-day", True), ("trending-day", False), ("gatheral-schied", True)])
@pytest.mark.parametrize("reward", ["expected", "realised"])
def test_full_info_holds_minus_the_sum_of_rewards_so_far(name, complete, reward):
    env = HyperExecEnv(replace(get_scenario(name), complete=complete), reward=reward, info="full")
    paid = 0.0
    for _, *step in play(env, random_actions(env), seed=5)[1:]:
        paid, info = paid + step[0], step[-1]
        cost = info["objective_bps"] if reward == "expected" else info["shortfall_bps"] + info["risk_bps"]
        assert cost == pytest.approx(-paid, abs=1e-9)
        assert sum(info["components_bps"].values()) == pytest.approx(info["shortfall_bps"], abs=1e-9)


# --- the order


def test_sides_and_sizes_are_drawn_where_they_may_vary():
    env = HyperExecEnv("desk-5min", random_side=True, quantity_range=(0.5, 4.0))
    actions = random_actions(env)
    ends = [play(env, actions, seed=1 if episode == 0 else None)[-1] for episode in range(60)]
    sides, sizes = [end[4]["side"] for end in ends], [end[4]["quantity"] / 10_000.0 for end in ends]
    assert set(sides) == {1.0, -1.0}
    assert 0.5 <= min(sizes) < 1.0
    assert 2.0 < max(sizes) <= 4.0
    assert [named(end[0])["side"] for end in ends] == sides


@pytest.mark.parametrize("side", [1, -1])
def test_the_order_is_that_of_the_scenario_where_it_may_not_vary(side):
    env = HyperExecEnv(replace(get_scenario("desk-5min"), side=side, quantity=777.0))
    for seed in range(3):
        info = play(env, random_actions(env), seed=seed)[-1][4]
        assert (info["side"], info["quantity"]) == (side, 777.0)


# --- errors


def test_a_bad_option_gets_one_line():
    for options, message in [
        ({"scenario": "regime_day"}, "unknown scenario 'regime_day'; did you mean 'regime-day'? (known: "),
        ({"scenario": {"quantity": 0}}, "quantity must be a number in (0, 1e+15] shares, got 0"),
        ({"scenario": {"base": "regime-day", "sliced": 5}}, "unknown field sliced; did you mean 'slices'?"),
        (
            {"action_mode": "pase"},
            "action_mode must be one of pace, fraction, participation, discrete, got 'pase'; did you mean 'pace'?",
        ),
        ({"reward": "real"}, "reward must be one of expected, realised, cost-risk, got 'real'; did you mean 'realised'?"),
        ({"observe_regime": "no"}, "observe_regime must be true or false, got 'no'"),
        ({"random_side": 1}, "random_side must be true or false, got 1"),
        ({"quantity_range": (2.0, 1.0)}, "quantity_range must be (smallest, largest) multiple of the quantity, got (2, 1)"),
        ({"quantity_range": (0.0, 1.0)}, "quantity_range[0] must be a number in [1e-06, 1e+06], got 0.0"),
        ({"quantity_range": (1.0,)}, "quantity_range must hold 2 numbers, got 1"),
        ({"quantity_range": 2.0}, "quantity_range must be a list of numbers, got 2.0"),
        ({"render_mode": "rgb"}, "render_mode must be one of ansi, rgb_array, human, got 'rgb'"),
        ({"info": "all"}, "info must be one of final, full, got 'all'"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
            HyperExecEnv(**options)
        assert "\n" not in str(caught.value)


def test_stepping_before_the_beginning_or_after_the_end_says_reset():
    env = HyperExecEnv("desk-5min")
    for call in (lambda: env.step(np.array([0.0])), lambda: env.trade(1.0), lambda: env.situation):
        with pytest.raises(ResetNeeded, match="reset"):
            call()
    play(env, random_actions(env), seed=0)
    for call in (lambda: env.step(np.array([0.0])), lambda: env.trade(1.0)):
        with pytest.raises(ResetNeeded, match=r"the episode is over or was never begun: call reset\(\) first"):
            call()


def test_a_bad_action_gets_one_line_and_changes_nothing():
    for action_mode, action, message in [
        ("pace", np.array([np.nan], np.float32), "action must be a number in [-1, 1], got nan"),
        ("fraction", np.array([np.nan], np.float32), "action must be a number in [-1, 1], got nan"),
        ("participation", np.array([np.nan]), "action must be a number in [-1, 1], got nan"),
        ("pace", np.array([0.0, 0.0]), "action must be an array of shape (1,), got shape (2,)"),
        ("fraction", np.array([[0.0]]), "action must be an array of shape (1,), got shape (1, 1)"),
        ("participation", np.float32(0.0), "action must be an array of shape (1,), got shape ()"),
        ("pace", 0.5, "action must be an array of shape (1,), got shape ()"),
        ("fraction", [], "action must be an array of shape (1,), got shape (0,)"),
    ]:
        env = HyperExecEnv("desk-5min", action_mode)
        env.reset(seed=0)
        before = env.situation
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            env.step(action)
        assert env.situation == before
        env.step(np.array([0.0]))


def test_a_bad_level_gets_one_line_and_changes_nothing():
    for action in (-1, len(PACES), 1.0, np.array([1]), "1", np.nan, None, True):
        env = HyperExecEnv("desk-5min", "discrete")
        env.reset(seed=0)
        before = env.situation
        with pytest.raises(ValueError, match=rf"^action must be a whole number in \[0, 6\], got {re.escape(repr(action))}$"):
            env.step(action)
        assert env.situation == before


def test_trading_nan_shares_is_refused():
    env = HyperExecEnv("desk-5min")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^shares to trade must be a number, got nan$"):
        env.trade(float("nan"))


def test_a_bad_reset_option_gets_one_line_and_changes_nothing():
    for options, message in [
        ({"episodes": 1}, "unknown reset option 'episodes'; did you mean 'episode'? (known: episode, board)"),
        ({"seed": 1}, "unknown reset option 'seed'"),
        ({"episode": -1}, "reset option 'episode' must be a whole number in [0, 9223372036854775807], got -1"),
        ({"episode": 1.5}, "reset option 'episode' must be a whole number in [0, 9223372036854775807], got 1.5"),
        ({"episode": "1"}, "reset option 'episode' must be a whole number in [0, 9223372036854775807], got '1'"),
        ({"board": 1}, "reset option 'board' must be true or false, got 1"),
    ]:
        env, clean = HyperExecEnv("desk-5min"), HyperExecEnv("desk-5min")
        env.reset(seed=0)
        clean.reset(seed=0)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            env.reset(seed=1, options=options)
        assert env.situation == clean.situation
        assert env.np_random_seed == clean.np_random_seed == 0
        assert same(env.reset(), clean.reset())


def test_a_board_is_replayed_with_its_seed_only():
    env = HyperExecEnv("desk-5min")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^reset option 'board' needs the seed of the board in the same reset, got no seed$"):
        env.reset(options={"board": True})


@pytest.mark.parametrize("seed", [True, False, np.True_, -1, 1.0, "1", [1]])
def test_a_seed_is_a_whole_number_and_no_flag(seed):
    env = HyperExecEnv("desk-5min")
    env.reset(seed=3)
    with pytest.raises(ValueError, match=rf"^seed must be a whole number, 0 or larger, got {re.escape(repr(seed))}$"):
        env.reset(seed=seed)
    assert env.np_random_seed == 3
    env.reset(seed=np.int64(4))
    assert env.np_random_seed == 4


def test_a_refused_reset_changes_nothing():
    env, other = HyperExecEnv("desk-5min"), HyperExecEnv("desk-5min")
    for each in (env, other):
        each.reset(seed=3)
        each.step(np.zeros(1, np.float32))
    for bad in ({"seed": 11, "options": {"quantty": 1}}, {"seed": 11, "options": {"episode": -1}}, {"seed": -1}):
        with pytest.raises((ValueError, gym.error.Error)):
            env.reset(**bad)
    assert env.np_random_seed == other.np_random_seed == 3
    actions = random_actions(env)
    assert same(env.step(actions[0]), other.step(actions[0]))
    assert same(play(env, actions), play(other, actions))


def test_masks_belong_to_discrete_actions():
    env = HyperExecEnv("desk-5min")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action masks belong to action_mode='discrete'"):
        env.action_masks()


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_unknown_option_is_refused_in_pythons_words_and_names_the_nearest_one(make):
    """torchrl passes `frameskip`, and takes it back where these words name it."""
    message = "got an unexpected keyword argument 'action_mod'; did you mean 'action_mode'?"
    with pytest.raises(TypeError, match=re.escape(message)):
        make("HyperExec-v0", action_mod="pace")
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'"):
        make("HyperExec-v0", frameskip=1)


@pytest.mark.parametrize("key", ["num_envs", "backend", "copy"])
def test_an_option_of_the_vector_environment_is_named_as_such(key):
    message = f"got an unexpected keyword argument {key!r}; only the vector environment (gym.make_vec) has it"
    with pytest.raises(TypeError, match=re.escape(message)):
        gym.make("HyperExec-v0", **{key: 1})


def test_an_action_that_is_no_number_is_one_clear_error():
    for action in (np.array(["x"]), [None], np.array([1j])):
        env = gym.make("HyperExec-v0")
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"action must be a number in \[-1, 1\], got"):
            env.step(action)
