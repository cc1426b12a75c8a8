"""The desk's agent in the environment: the same agent, the same children, the same fills."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from hyperexec_env.baselines.desk import DESK, AgentPolicy, desk_config
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.market.kernel import mid_price
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market


def _trade(env, policy):
    """Run an episode; return the shares that the market traded in each slice."""
    traded, ended = [], False
    while not ended:
        _, _, ended, _, info = env.trade(float(policy.act(env.situation)))
        traded.append(env.situation.last_shares)
    policy.act(env.situation)  # the desk sees its last fills
    return np.array(traded), info


def test_the_desk_is_told_the_mid_that_the_market_quotes():
    env = gym.make("hyperexec_env:HyperExec-v0", random_side=True).unwrapped
    policy = AgentPolicy("TWAP")
    env.reset(seed=3)
    _trade(env, policy)
    (report,) = policy.reports()
    episode = env._running
    quoted = [mid_price(state, price, episode.side) for state, price in zip(episode.states, episode.world.price, strict=True)]
    assert [fill.mid for fill in report.fills] == pytest.approx(quoted[:-1], rel=1e-14)
    assert [mark.mid for mark in report.marks] == pytest.approx(quoted[:-1], rel=1e-14)


def _by_slice(report, slices):
    """The fills of the children of a report, by the slice in which they were released."""
    shares = np.zeros(slices)
    for child in report.children:
        shares[int(child.schedule_time)] += child.filled
    return shares


@pytest.mark.parametrize("name", DESK)
def test_the_fills_in_the_environment_are_those_of_the_agents_children(name):
    for scenario in ("regime-day", "desk-5min", "crisis-day", "flow-signal"):
        env = gym.make("hyperexec_env:HyperExec-v0", scenario=scenario).unwrapped
        policy, slices = get_policy(name), get_scenario(scenario).slices
        for episode in range(3):
            env.reset(seed=5 if episode == 0 else None)
            traded, info = _trade(env, policy)
            (report,) = policy.reports()
            assert report.reason == "filled"
            assert sum(report.decomposition) == pytest.approx(report.shortfall, abs=1e-9)
            assert sum(child.quantity for child in report.children) == sum(child.filled for child in report.children)
            filled = _by_slice(report, slices)[: len(traded)]
            assert np.abs(np.cumsum(traded) - np.cumsum(filled)).max() <= 0.5 + 1e-9
            if scenario != "desk-5min":  # nothing is capped: to the share
                assert traded.tolist() == filled.tolist()
            assert info["shortfall_bps"] == pytest.approx(report.shortfall, abs=1e-6 if scenario != "desk-5min" else 0.05)


@pytest.mark.parametrize("algorithm", algorithm_names())
def test_the_policy_is_the_agent_that_one_can_run_by_hand(algorithm):
    """The children that the policy trades are those that an agent makes that is told the same."""
    env = gym.make("hyperexec_env:HyperExec-v0", scenario="regime-day").unwrapped
    policy, market = AgentPolicy(algorithm, steganographic_factor=0.5), env.task.market
    for episode in range(3):
        env.reset(seed=8 if episode == 0 else None)
        told, traded, ended = [], [], False
        while not ended:
            now = env.situation
            told.append((now.price + now.side * (now.permanent + now.transient), now.seen))
            _, _, ended, _, _ = env.trade(float(policy.act(now)))
            traded.append(env.situation.last_shares)
        agent = policy._new_agent(env.situation._replace(flow=env._running.world.flow[0]))
        alone = np.zeros(market.slices)
        for k, (mid, seen) in enumerate(told):
            quote = Quote(mid, float(market.mean_volume[k, seen]))
            agent.process({"X": quote}, market.scenario.regimes.names[seen], now=float(k))
            while (child := agent.get_next_child(k + 1.0 - 1e-12)) is not None:
                alone[k] += child.quantity
                agent.report_fill(child, child.quantity, mid, now=k + 1.0)
        assert traded == alone[: len(traded)].tolist()


def test_single_vector_and_rollout_agree():
    for name in DESK:
        for observe_regime in [True, False]:
            options = {"scenario": "regime-day", "observe_regime": observe_regime}
            market = build_market(get_scenario("regime-day"))
            lanes = 4
            path = draw_path(market, episode_keys(range(7, 7 + lanes), np.zeros(lanes, dtype=int)), 1.0)
            outcome = roll(market, get_policy(name), path, hidden=not observe_regime)
            vector = gym.make_vec(
                "hyperexec_env:HyperExec-v0", num_envs=lanes, vectorization_mode="vector_entry_point", **options
            )
            vector.reset(seed=7)
            policy, found = get_policy(name), np.full(lanes, np.nan)
            for _ in range(market.slices):
                _, _, ended, _, info = vector.trade(policy.act(vector.situation))
                if ended.any():
                    found[ended] = info["objective_bps"][ended]
            env, single = gym.make("hyperexec_env:HyperExec-v0", **options).unwrapped, get_policy(name)
            for lane in range(lanes):
                env.reset(seed=7 + lane)
                _, info = _trade(env, single)
                assert info["objective_bps"] == found[lane] == pytest.approx(outcome.statement.objective[lane], rel=1e-12)


def test_the_baselines_of_the_leaderboard_are_the_agent_without_whole_shares():
    market = build_market(get_scenario("regime-day"))
    path = draw_path(market, episode_keys(3, np.arange(50)), 1.0)

    def asked(policy, hidden):
        taken = []

        class Recorder:
            name = policy.name

            def act(self, situation):
                taken.append(np.minimum(np.broadcast_to(policy.act(situation), (50,)), situation.remaining))
                if situation.k == market.slices - 1:
                    taken[-1] = situation.remaining
                return taken[-1]

        roll(market, Recorder(), path, hidden)
        return np.array(taken)

    for algorithm in algorithm_names():
        for hidden in (False, True):
            agent, baseline = asked(AgentPolicy(algorithm), hidden), asked(get_policy(algorithm), hidden)
            assert np.abs(agent - baseline).max() <= 2.0, algorithm


def test_a_cap_is_carried_forward_as_the_baseline_does():
    market = build_market(get_scenario("desk-5min"))
    path = draw_path(market, episode_keys(3, np.arange(50)), 1.0)
    desk, baseline = (roll(market, policy, path) for policy in (AgentPolicy("TWAP"), get_policy("TWAP")))
    assert desk.statement.objective == pytest.approx(baseline.statement.objective, rel=1e-3)
    assert desk.forced == pytest.approx(baseline.forced, abs=1e-3)


def test_the_cap_of_the_agent_holds_before_the_market_does():
    market = build_market(replace(get_scenario("regime-day"), quantity=2_000_000.0))
    path = draw_path(market, episode_keys(3, np.arange(20)), 1.0)
    policy = AgentPolicy("TWAP", max_participation_rate=0.1)
    largest = []

    class Recorder:
        name = "x"

        def act(self, situation):
            shares = policy.act(situation)
            if situation.k < market.slices - 1:
                largest.append((shares / market.mean_volume[situation.k, situation.seen]).max())
            return shares

    roll(market, Recorder(), path)
    assert 0.09 < max(largest) <= 0.1


def test_hiding_in_the_environment_does_not_depend_on_the_batch():
    market = build_market(get_scenario("regime-day"))
    path = draw_path(market, episode_keys(3, np.arange(12)), 1.0)
    one = draw_path(market, episode_keys(3, np.arange(7, 8)), 1.0)
    policy = AgentPolicy("TWAP", steganographic_factor=1.0)
    whole, alone = roll(market, policy, path), roll(market, AgentPolicy("TWAP", steganographic_factor=1.0), one)
    again = roll(market, policy, path)
    assert whole.statement.objective[7] == alone.statement.objective[0]
    assert np.array_equal(whole.statement.objective, again.statement.objective)
    assert not np.array_equal(whole.statement.objective, roll(market, AgentPolicy("TWAP"), path).statement.objective)


def test_hiding_differs_from_episode_to_episode():
    market = build_market(get_scenario("regime-day"))
    path = draw_path(market, episode_keys(3, np.arange(30)), 1.0)
    first = []

    class Recorder:
        name = "x"
        policy = AgentPolicy("TWAP", steganographic_factor=1.0)

        def act(self, situation):
            shares = self.policy.act(situation)
            if situation.k == 0:
                first.extend(shares.tolist())
            return shares

    roll(market, Recorder(), path)
    assert len(set(first)) > 20


def test_an_order_that_need_not_complete_is_reported_as_unfilled():
    env = gym.make(
        "hyperexec_env:HyperExec-v0", scenario={"base": "desk-5min", "complete": False, "quantity": 50_000.0}
    ).unwrapped
    policy = AgentPolicy("TWAP")
    env.reset(seed=1)
    traded, info = _trade(env, policy)
    (report,) = policy.reports()
    assert report.reason == "expired"
    assert report.config.complete is False
    assert report.filled == pytest.approx(traded.sum(), abs=1.0)
    assert 0 < report.filled < 50_000
    assert report.parent.adv == env.task.scenario.adv
    assert report.shortfall == pytest.approx(info["shortfall_bps"], abs=0.2)


def test_an_agent_that_is_asked_twice_answers_the_same():
    env = gym.make("hyperexec_env:HyperExec-v0").unwrapped
    policy = AgentPolicy("TWAP")
    env.reset(seed=1)
    env.trade(float(policy.act(env.situation)))
    assert policy.act(env.situation) == policy.act(env.situation) > 0.0
    traded, _ = _trade(env, policy)
    assert policy.reports()[0].filled == 200_000
    assert traded.sum() == pytest.approx(200_000 * 25 / 26, abs=2)


def test_an_agent_that_misses_a_slice_says_so():
    env = gym.make("hyperexec_env:HyperExec-v0").unwrapped
    env.reset(seed=1)
    env.trade(100.0)
    with pytest.raises(ValueError, match=r"k must be the next slice, 0, .* got 1"):
        AgentPolicy("TWAP").act(env.situation)


def test_there_is_no_report_where_the_prices_of_the_fills_are_not_told():
    env = gym.make("hyperexec_env:HyperExec-v0", observe_regime=False).unwrapped
    policy = AgentPolicy("TWAP")
    env.reset(seed=1)
    _trade(env, policy)
    with pytest.raises(ValueError, match="observe_regime must be true for reports"):
        policy.reports()


def test_random_orders_are_whole_shares_of_their_own_size_and_side():
    env = gym.make("hyperexec_env:HyperExec-v0", random_side=True, quantity_range=(0.01, 2.0)).unwrapped
    policy, sides = AgentPolicy("TWAP"), set()
    for episode in range(8):
        env.reset(seed=2 if episode == 0 else None)
        traded, info = _trade(env, policy)
        (report,) = policy.reports()
        sides.add(report.parent.side)
        assert report.parent.side == info["side"]
        assert report.parent.quantity == round(info["quantity"])
        assert traded.sum() == pytest.approx(info["quantity"])
    assert sides == {1, -1}


def test_the_settings_are_those_of_the_market():
    market = build_market(get_scenario("desk-5min"))
    config = desk_config(market, algorithm="VWAP")
    assert (config.algorithm, config.slices, config.horizon_seconds) == ("VWAP", 10, 10.0)
    assert config.day_seconds * market.tau == pytest.approx(1.0)
    assert isinstance(AgentPolicy("IS")._lanes, list)
    assert ExecutionAgent(config).config is config
