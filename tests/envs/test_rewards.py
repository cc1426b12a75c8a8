"""Rewards: their sum is what the episode cost, whoever trades, on either side of the market."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.envs.action import ACTION_MODES, PACES
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.market.account import book, open_account, settle
from hyperexec_env.market.kernel import Slice, State
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import OrderDraw, draw_orders, draw_path
from hyperexec_env.market.predator import PredatorMemory, trade
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

every_scenario = pytest.mark.parametrize("name", scenario_names())

NOISELESS = tuple(
    name
    for name in scenario_names()
    if not any(get_scenario(name).regimes.drift) and not get_scenario(name).flow_persistence and not get_scenario(name).drift_sd
)
"""Scenarios in which the price is a martingale."""

CASES = (("expected", True), ("realised", False), ("expected", False), ("realised", True))
MODES_AND_CASES = [
    (name, ACTION_MODES[i % 4], *CASES[(i + i // 4) % 4], ("abm", "gbm")[(i + i // 4) % 2])
    for i, name in enumerate(scenario_names())
]
"""Every scenario; the sixteen of them meet every action mode with every reward, end of the order and price."""


def actions(env, seed):
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(0, len(PACES))) if env.action_space.shape == () else rng.uniform(-1.0, 0.5, 1)


def play(env, seed):
    """Play an episode; return the rewards, the shares of each slice and the last info."""
    env.reset(seed=seed)
    rewards, shares = [], []
    for action in actions(env, seed):
        _, reward, terminated, _, info = env.step(action)
        assert type(reward) is float
        rewards.append(reward)
        shares.append(env.situation.last_shares)
        if terminated:
            return rewards, shares, info


# --- sums


@pytest.mark.parametrize(("name", "action_mode", "reward", "complete"), [case[:4] for case in MODES_AND_CASES])
def test_rewards_sum_to_minus_what_the_episode_cost(name, action_mode, reward, complete):
    env = HyperExecEnv(replace(get_scenario(name), complete=complete), action_mode, reward)
    for seed in range(4):
        rewards, _, info = play(env, seed)
        cost = info["objective_bps"] if reward == "expected" else info["shortfall_bps"] + info["risk_bps"]
        assert sum(rewards) == pytest.approx(-cost, rel=1e-12, abs=1e-9)
        assert sum(info["components_bps"].values()) == pytest.approx(info["shortfall_bps"], rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("price_model", ["abm", "gbm"])
def test_rewards_sum_for_drawn_orders_and_geometric_prices(price_model):
    for reward in ["expected", "realised"]:
        scenario = replace(get_scenario("trending-day"), price_model=price_model, flow_persistence=0.3)
        env = HyperExecEnv(scenario, reward=reward, random_side=True, quantity_range=(0.1, 5.0), observe_regime=False)
        for seed in range(20):
            rewards, shares, info = play(env, seed)
            cost = info["objective_bps"] if reward == "expected" else info["shortfall_bps"] + info["risk_bps"]
            assert sum(rewards) == pytest.approx(-cost, rel=1e-12, abs=1e-9)
            assert sum(shares) == pytest.approx(info["quantity"], rel=1e-12)


def test_the_rewards_differ_by_the_noise_and_the_permanent_cost():
    for name in scenario_names():
        expected, realised = (HyperExecEnv(name, reward=reward) for reward in ("expected", "realised"))
        for seed in range(5):
            one, shares, info = play(expected, seed)
            other, same_shares, same_info = play(realised, seed)
            assert shares == same_shares
            assert info == same_info
            components = info["components_bps"]
            assert sum(other) - sum(one) == pytest.approx(-components["timing"] - components["permanent"], abs=1e-8)


@every_scenario
def test_the_environment_pays_what_the_market_charges(name):
    """The same shares through the kernel, on the path of the same seed and episode, cost the same."""
    env = HyperExecEnv(name, random_side=True, quantity_range=(0.5, 2.0))
    market = build_market(get_scenario(name))
    for seed in range(5):
        rewards, shares, info = play(env, seed)
        keys = episode_keys(seed, [0])
        order = draw_orders(market, keys, OrderDraw(True, (0.5, 2.0)))
        path = draw_path(market, keys, order.side)
        state, account = State(order.quantity, np.zeros(1), np.zeros(1)), open_account()
        memory = PredatorMemory(*np.zeros((4, 1)))
        paid = []
        for k, traded in enumerate(shares):
            slice = Slice(*(values[k] for values in path.slices))
            state, cost, memory = trade(market.impact, state, slice, np.array([traded]), memory, market.scenario.predator)
            account = book(account, cost, slice.drift, slice.innovation)
            paid.append(cost.expected[0] * 1e4 / (order.quantity[0] * market.scenario.arrival_price))
        statement = settle(account, market.impact, state, order, market.scenario.arrival_price)
        assert (info["side"], info["quantity"]) == (order.side[0], order.quantity[0])
        assert rewards == pytest.approx([-value for value in paid], rel=1e-12)
        assert info["objective_bps"] == pytest.approx(statement.objective[0], rel=1e-12)
        assert info["shortfall_bps"] == pytest.approx(statement.shortfall[0], rel=1e-12)
        for component, value in info["components_bps"].items():
            assert value == pytest.approx(getattr(statement.components, component)[0], rel=1e-9, abs=1e-9)


def test_an_expected_reward_is_never_a_gift():
    """Without drift and persistent flow there is nothing to earn: trading costs, and so does waiting."""
    for name in NOISELESS:
        env = HyperExecEnv(name)
        for seed in range(4):
            assert max(play(env, seed)[0]) <= 0.0


@pytest.mark.parametrize("name", ["regime-day", "small-cap"])
def test_the_objective_does_not_know_the_price_noise_of_its_episode(name):
    """Over many episodes the shortfall averages to the expected cost and the constant."""
    env = HyperExecVectorEnv(400, backend="numpy", scenario=name)
    env.reset(seed=0)
    terminated = np.zeros(400, bool)
    while not terminated.all():
        _, _, terminated, _, info = env.step(np.zeros((400, 1)))
    constant = info["components_bps"]["permanent"]
    gaps = info["shortfall_bps"] - (info["objective_bps"] - info["risk_bps"]) - constant
    assert abs(np.mean(gaps)) < 4.0 * np.std(gaps) / 20.0
    assert np.std(gaps) > 10.0


# --- buying and selling


@pytest.mark.parametrize(
    ("name", "action_mode", "price_model"), [(name, mode, model) for name, mode, *_, model in MODES_AND_CASES]
)
def test_buying_mirrors_selling(name, action_mode, price_model):
    """On the same path both sides pay the same impact, and the price does to one the opposite of what it does to the other."""
    scenario = replace(get_scenario(name), price_model=price_model)
    buyer, seller = (HyperExecEnv(replace(scenario, side=side), action_mode) for side in (1, -1))
    for seed in range(3):
        bought, sold = play(buyer, seed), play(seller, seed)
        assert bought[1] == sold[1]
        ours, theirs = bought[2]["components_bps"], sold[2]["components_bps"]
        for component in ("spread", "temporary", "transient", "permanent"):
            assert ours[component] == pytest.approx(theirs[component], rel=1e-12)
        for component in ("timing", "drift"):
            assert ours[component] == pytest.approx(-theirs[component], rel=1e-12, abs=1e-12)
        assert bought[2]["risk_bps"] == pytest.approx(sold[2]["risk_bps"], rel=1e-12)
        if name in NOISELESS:
            assert bought[0] == pytest.approx(sold[0], rel=1e-12)
            assert bought[2]["objective_bps"] == pytest.approx(sold[2]["objective_bps"], rel=1e-12)


def test_shares_and_actions_are_two_ways_to_say_the_same():
    for name in scenario_names():
        by_action, by_shares = HyperExecEnv(name), HyperExecEnv(name)
        for seed in range(3):
            rewards, shares, info = play(by_action, seed)
            by_shares.reset(seed=seed)
            steps = [by_shares.trade(traded) for traded in shares]
            assert [step[1] for step in steps] == pytest.approx(rewards, rel=1e-9)
            assert steps[-1][2]
            assert steps[-1][4]["components_bps"] == pytest.approx(info["components_bps"], rel=1e-9, abs=1e-9)
