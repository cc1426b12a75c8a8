"""Solutions as policies: they attain the computed objectives and act identically in the environment and in rollouts."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from hyperexec_env.baselines.solver.dynamic import solve_delayed
from hyperexec_env.baselines.solver.policies import DelayedPolicy, SchedulePolicy
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.evaluation.policy import check_policy, first_situation
from hyperexec_env.evaluation.rollout import join, roll, rollouts
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

EPISODES = 4096


def objectives(market, policy, seed=0):
    return join(
        [batch[0] for batch in rollouts(market, [policy], [False], seed, EPISODES, backend="numpy")]
    ).statement.objective


def agrees(sample, value, error=0.0):
    """Whether the mean of a sample is within 4 standard errors of a value."""
    return abs(sample.mean() - value) <= 4.0 * sample.std(ddof=1) / math.sqrt(len(sample)) + error


@pytest.mark.parametrize("name", ["regime-day", "trending-day", "almgren-chriss", "gatheral-schied", "bertsimas-lo"])
def test_the_best_schedule_attains_its_computed_objective(solution_of, name):
    solution = solution_of(name)
    policy = solution.best_schedule
    assert isinstance(policy, SchedulePolicy)
    sample = objectives(build_market(solution.scenario), policy, seed=5)
    assert agrees(sample, solution.open_loop_bps, 1e-9 * abs(solution.open_loop_bps))


@pytest.mark.parametrize("name", ["trending-day", "crisis-day"])
def test_the_delayed_policy_attains_its_computed_objective(solution_of, name):
    market = build_market(get_scenario(name))
    problem = build_problem(market)
    delayed = DelayedPolicy(problem, solve_delayed(problem))
    sample = objectives(market, delayed)
    assert agrees(sample, solution_of(name).regime_blind_bps)
    assert np.array_equal(objectives(market, delayed), sample)  # the state is reset at the start of an episode


@pytest.mark.parametrize("name", ["regime-day", "almgren-chriss"], ids=["table", "gains"])
def test_a_hidden_regime_is_rejected(solution_of, name):
    market = build_market(get_scenario(name))
    situation = first_situation(market, 3)
    hidden = situation._replace(seen=np.full(3, market.unknown))
    with pytest.raises(ValueError, match="must observe the regime, which is hidden here"):
        solution_of(name).policy.act(hidden)


@pytest.mark.parametrize("name", ["regime-day", "bertsimas-lo", "gatheral-schied", "almgren-chriss"])
def test_the_optimal_policy_has_equal_objectives_in_environment_and_rollout(solution_of, name):
    policy, market = solution_of(name).policy, build_market(get_scenario(name))
    check_policy(policy, market)
    path = draw_path(market, episode_keys(11, np.arange(4)), float(market.scenario.side))
    expected = roll(market, policy, path).statement.objective
    env = gym.make("hyperexec_env:HyperExec-v0", scenario=name).unwrapped
    for episode in range(4):
        env.reset(seed=11 if episode == 0 else None)
        ended = False
        while not ended:
            _, _, ended, _, info = env.trade(float(policy.act(env.situation)))
        assert info["objective_bps"] == pytest.approx(expected[episode], rel=1e-9)


@pytest.mark.parametrize("name", ["regime-day", "bertsimas-lo", "gatheral-schied"])
def test_trades_lie_between_zero_and_the_remaining_shares(solution_of, name):
    class Checked:
        name = "checked"

        def act(self, situation):
            shares = np.asarray(solution_of(name).policy.act(situation))
            assert (shares >= 0.0).all()
            assert (shares <= situation.remaining * (1.0 + 1e-9)).all()
            return shares

    market = build_market(get_scenario(name))
    roll(market, Checked(), draw_path(market, episode_keys(0, np.arange(500)), float(market.scenario.side)))


def test_policies_that_act_differently_have_different_digests(solution_of):
    names = ("regime-day", "crisis-day", "gatheral-schied", "almgren-chriss", "obizhaeva-wang")
    policies = [policy for name in names for policy in (solution_of(name).policy, solution_of(name).best_schedule)]
    digests = [policy.digest for policy in policies]
    same = {"regime-day", "crisis-day"}  # scenarios that differ only in the distribution of the first regime
    optimal = {name: solution_of(name).policy.digest for name in names}
    assert optimal["regime-day"] == optimal["crisis-day"]
    assert len(set(digests)) == len(digests) - (len(same) - 1)


def test_the_optimum_does_not_depend_on_the_side_of_a_mirrored_market():
    """A sell order in a market with mirrored drifts has the objective of the buy order."""
    from hyperexec_env.baselines.solver import solve

    scenario = replace(get_scenario("trending-day"), slices=4)
    mirrored = replace(
        scenario, side=-1, regimes=replace(scenario.regimes, drift=tuple(-drift for drift in scenario.regimes.drift))
    )
    assert solve(mirrored, cached=False).optimum_bps == pytest.approx(solve(scenario, cached=False).optimum_bps, rel=1e-12)
