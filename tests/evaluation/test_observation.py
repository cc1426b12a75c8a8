"""A policy given as a function of observations: what any library has trained stands on the board as in the environment."""

import re

import gymnasium as gym
import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.evaluate import entrants
from hyperexec_env.envs.features import observation_names
from hyperexec_env.evaluation.comparison import judge
from hyperexec_env.evaluation.identity import policy_hash

WEIGHTS = np.random.default_rng(0).normal(size=len(observation_names()))
TIME_LEFT = observation_names().index("time_left")


def linear(observations):
    return np.tanh(observations.astype(float) @ WEIGHTS)


def levels(observations):
    return (3.5 + 3.4 * linear(observations)).astype(np.int64)


@pytest.mark.parametrize("action_mode", ["pace", "fraction", "participation", "discrete"])
@pytest.mark.parametrize("observe_regime", [True, False])
def test_the_board_replays_what_the_function_does_in_the_environment(action_mode, observe_regime):
    act = levels if action_mode == "discrete" else linear
    policy = hx.ObservationPolicy("mine", act, action_mode, observe_regime)
    board = hx.evaluate("regime-day", policy, episodes=8, seed=4, optimum=False)
    env = hx.make("regime-day", action_mode=action_mode, observe_regime=observe_regime)
    costs = []
    for episode in range(8):
        observation, _ = env.reset(seed=4, options={"board": True, "episode": episode})
        ended = False
        while not ended:
            action = act(observation[None])
            observation, _, ended, _, info = env.step(int(action[0]) if action_mode == "discrete" else action)
        costs.append(info["objective_bps"])
    (row,) = [row for row in board.rows if row.policy == "mine"]
    assert row.objective_bps == pytest.approx(np.mean(costs), rel=1e-9)


def test_a_function_may_return_a_column_and_is_clipped_as_in_the_environment():
    column = hx.ObservationPolicy("column", lambda seen: 3.0 * linear(seen)[:, None])
    row = hx.ObservationPolicy("row", lambda seen: np.clip(3.0 * linear(seen), -1.0, 1.0).astype(np.float32))
    board = judge("regime-day", entrants([column, row]), hx.get_policy("TWAP"), episodes=64, seed=0)
    costs = {found.policy: found.objective_bps for found in board.rows}
    assert costs["column"] == pytest.approx(costs["row"], abs=1e-4)


def test_a_function_with_memory_sees_episodes_begin():
    starts = []

    def remember(observations):
        starts.append((observations[:, TIME_LEFT] == 1.0).tolist())
        return linear(observations)

    hx.evaluate("desk-5min", hx.ObservationPolicy("memory", remember), episodes=3, optimum=False)
    assert starts[-10:] == [[True] * 3, *[[False] * 3] * 9]


def test_a_hidden_regime_is_hidden_on_the_board_and_the_results_are_not_stored():
    (entrant,) = entrants(hx.ObservationPolicy("blind", linear, observe_regime=False))
    assert entrant.hidden
    assert entrant.training_seed is None
    assert policy_hash(entrant.policy) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": 1}, "action must be a function of observations, got 1"),
        ({"action_mode": "pase"}, "action_mode must be one of pace, fraction, participation, discrete, got 'pase'"),
        ({"observe_regime": 1}, "observe_regime must be true or false, got 1"),
    ],
)
def test_a_bad_argument_gets_one_line(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        hx.ObservationPolicy(**{"name": "mine", "action": linear, **arguments})


@pytest.mark.parametrize(
    ("action_mode", "act", "message"),
    [
        (
            "pace",
            lambda seen: np.zeros((len(seen), 2)),
            r"actions of policy 'mine' must be 3 numbers, got an array of float64 of shape \(3, 2\)",
        ),
        ("pace", lambda seen: None, r"actions of policy 'mine' must be 3 numbers, got an array of object of shape \(\)"),
        ("pace", lambda seen: np.full(len(seen), np.nan), "policy 'mine' must return finite shares"),
        ("discrete", linear, "actions of policy 'mine' must be 3 whole numbers, got an array of float64"),
        ("discrete", lambda seen: np.full(len(seen), 7), r"actions of policy 'mine' must be in \[0, 6\], got 7"),
    ],
)
def test_bad_actions_get_one_line(action_mode, act, message):
    board = hx.evaluate("desk-5min", hx.ObservationPolicy("mine", act, action_mode), episodes=2, optimum=False)
    (failure,) = board.failed
    assert re.search(message, failure.reason)
    assert "\n" not in failure.reason


def per_slice(situation, known):
    return 0.0 if situation.k >= known.slices else situation.remaining / situation.quantity / (known.slices - situation.k)


def third(level, situation, known):
    return situation.remaining * (0.1, 0.3, 1.0)[level]


OWN = {
    "features": {"features": ["time_left", hx.Feature("per_slice", 0.0, 1.0, function=per_slice)]},
    "action": {"action_mode": hx.OwnAction("thirds", gym.spaces.Discrete(3), third), "features": ["time_left", "remaining"]},
}


@pytest.mark.parametrize("options", OWN.values(), ids=OWN)
@pytest.mark.parametrize("observe_regime", [True, False])
def test_the_board_replays_own_features_and_own_actions(options, observe_regime):
    discrete = "action_mode" in options

    def act(observation):
        return (observation[:, 1] < observation[:, 0]).astype(int) if discrete else 4.0 * observation[:, 1] - 0.5

    policy = hx.ObservationPolicy("mine", act, observe_regime=observe_regime, **options)
    board = hx.evaluate("regime-day", policy, episodes=3, seed=4, optimum=False, backend="numpy")
    env, objective = hx.make("regime-day", observe_regime=observe_regime, **options), []
    for number in range(3):
        observation, _ = env.reset(seed=4, options={"board": True, "episode": number})
        ended = False
        while not ended:
            action = act(observation[None])
            observation, _, ended, _, info = env.step(int(action[0]) if discrete else action.astype(np.float32))
        objective.append(info["objective_bps"])
    (row,) = (row for row in board.rows if row.policy == "mine")
    assert row.objective_bps == pytest.approx(np.mean(objective), rel=1e-6)
