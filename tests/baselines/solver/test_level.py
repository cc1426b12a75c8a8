"""The volume level in the solver: exact values, the belief, agreement with simulation, and bounds where there is no optimum."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.card import card
from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.baselines.policies import BASELINES, SANITY, get_policy
from hyperexec_env.baselines.solver import schedule_bps, solve
from hyperexec_env.baselines.solver import solution as module
from hyperexec_env.baselines.solver.belief import belief_gains, belief_variances, told_markets
from hyperexec_env.baselines.solver.bounds import ignoring_bps, lower_bound
from hyperexec_env.baselines.solver.dynamic import Grid, solve_delayed, solve_informed
from hyperexec_env.baselines.solver.learning import is_separable, solve_separable
from hyperexec_env.baselines.solver.linear import is_linear
from hyperexec_env.baselines.solver.objectives import bps_of, schedule_objective, solve_to_tolerance, told_bps
from hyperexec_env.baselines.solver.policies import BeliefPolicy, DelayedPolicy, TablePolicy
from hyperexec_env.baselines.solver.problem import build_problem, mode_slices, unsolved
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.evaluation.rollout import join, roll, rollouts
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import build_market

EPISODES = 16_384
DAY = get_scenario("regime-day")
ERROR = 1e-4
"""Largest relative error of a dynamic programme."""


def separable(slices, level, risk, **changes):
    """Linear temporary impact of slope 3 / V, no transient impact, a flat volume of 5 M shares a day, an order of 200,000."""
    values = {"temp_impact_alpha": 1.5, "temp_impact_beta": 1.0, "kyle_lambda": 0.2, "half_spread_bps": 0.0}
    return Scenario(slices=slices, volume_level_sd=level, risk_aversion=risk, **{**values, **changes})


TWO = Regimes(
    names=("SIDEWAYS_LOW", "CRISIS"),
    volatility=(0.8, 2.0),
    volume=(1.2, 0.3),
    resilience=(1.0, 0.3),
    rates=((-3.0, 3.0), (6.0, -6.0)),
)
CRISIS = replace(TWO, start="CRISIS")


def small(slices=4, **changes):
    """A day of few slices, by default in one regime."""
    return replace(DAY, **{"slices": slices, "regimes": Regimes(), "volume_level_sd": 0.6, "name": "small", **changes})


def objectives(market, *policies, episodes=EPISODES):
    """Objectives of policies on the episodes of seed 0: bps, an array for each policy."""
    batches = rollouts(market, policies, [False] * len(policies), 0, episodes, backend="numpy")
    return [join(outcomes).statement.objective for outcomes in zip(*batches, strict=True)]


def standard_error(values):
    return values.std(ddof=1) / math.sqrt(len(values))


# --- the belief


def test_the_belief_is_the_normal_posterior():
    """m_k and P_k against the conditional mean and variance of a joint normal distribution, without and with noise."""
    for noise in (0.3, 1.0, 0.05):
        scenario = separable(5, 0.5, 0.0, volume_noise=noise)
        market = build_market(scenario)
        variances, gains = belief_variances(market), belief_gains(market)
        for k in range(1, 5):
            seen = np.full((k, k), 0.25) + noise**2 * np.eye(k)
            weights = np.linalg.solve(seen, np.full(k, 0.25))
            assert np.full(k, gains[k]) == pytest.approx(weights, rel=1e-9)
            assert variances[k] == pytest.approx(0.25 - 0.25 * weights.sum(), rel=1e-6, abs=1e-12)
        assert (variances[0], gains[0]) == (0.25, 0.0)


def test_without_noise_the_first_volume_shows_the_level():
    market = build_market(separable(3, 0.5, 0.0, volume_noise=0.0))
    assert belief_variances(market).tolist() == [0.25, 0.0, 0.0, 0.0]
    assert belief_gains(market).tolist() == [0.0, 1.0, 0.5]


class Watching(BeliefPolicy):
    """Belief policy that records its belief: the slope of a table that is the belief itself."""

    def __init__(self, problem, table):
        super().__init__(problem, table)
        self.beliefs = []

    def act(self, situation):
        shares = super().act(situation)
        gain = belief_gains(situation.market)[situation.k]
        self.beliefs.append(gain * np.broadcast_to(self._belief.evidence, np.shape(situation.remaining)))
        return shares


def test_the_policy_computes_the_posterior_of_the_level_in_every_regime():
    """The error L - m_k has variance P_k, and the belief says nothing about it."""
    scenario = small(6, volume_noise=0.4, regimes=TWO)
    market = build_market(scenario)
    problem = build_problem(market, 9)
    policy = Watching(problem, solve_informed(problem, Grid(11, 5, 9)))
    list(rollouts(market, [policy], [False], 0, EPISODES, EPISODES, backend="numpy"))
    level = draw_path(market, episode_keys(0, np.arange(EPISODES), board=True), 1.0).world.volume_level[0]
    logs = np.log(level) + 0.5 * scenario.volume_level_sd**2
    for k, (belief, variance) in enumerate(zip(policy.beliefs, belief_variances(market), strict=False)):
        error = logs - belief
        assert abs(error.mean()) < 4.0 * math.sqrt(variance / EPISODES), k
        assert error.var() == pytest.approx(variance, rel=4.0 * math.sqrt(2.0 / EPISODES)), k
        assert abs((error * belief).mean()) < 4.0 * math.sqrt(variance * (0.36 - variance) / EPISODES) + 1e-12, k


# --- exact values


def test_the_recursion_reaches_the_value_of_nested_quadrature():
    """Case D2 of the design, 37,064.27299 currency: nested quadrature over the volumes of four slices."""
    market = build_market(separable(4, 0.5, 1e-7))
    value, error, _, _ = solve_separable(market)
    assert value == pytest.approx(37_064.27299, rel=2e-10)  # the value has ten digits
    assert error < 1e-10
    assert solve(market.scenario, cached=False).optimum_bps == pytest.approx(1e4 * 37_064.27299 / 2e7, rel=2e-10)


@pytest.mark.parametrize(
    ("level", "risk", "plan", "learn", "told"),
    [
        (0.5, 1e-7, 19.2936, 19.2791, 19.2734),
        (0.5, 1e-6, 36.1751, 35.6804, 35.4727),
        (0.8, 1e-6, 45.6712, 44.3993, 44.0257),
    ],
)
def test_plan_optimum_and_told_optimum_of_a_day(level, risk, plan, learn, told):
    """Case D2b of the design."""
    scenario = separable(26, level, risk)
    solution = solve(scenario, cached=False)
    assert solution.method == "recursion in the belief"
    assert solution.relative_error < 2e-9
    assert [solution.open_loop_bps, solution.optimum_bps] == pytest.approx([plan, learn], abs=6e-5)
    assert told_bps(build_market(scenario)) == pytest.approx(told, abs=6e-5)


def test_the_recursion_is_the_dynamic_programme():
    for scenario in (separable(5, 0.5, 1e-6), separable(4, 0.4, 3e-6, volume_noise=0.0, half_spread_bps=2.0, side=-1)):
        market = build_market(scenario)
        values, error, *_ = solve_to_tolerance(market)
        assert values[0] == pytest.approx(bps_of(market) * solve_separable(market)[0], rel=max(2.0 * error, 1e-5))


def lowest(cost, high):
    """The minimum of a convex function of trades between 0 and `high`, elementwise, by golden sections."""
    ratio = 0.5 * (math.sqrt(5.0) - 1.0)
    low, high = np.zeros_like(high), high.copy()
    for _ in range(60):
        one, two = high - ratio * (high - low), low + ratio * (high - low)
        left = cost(one) < cost(two)
        low, high = np.where(left, low, one), np.where(left, two, high)
    return cost(0.5 * (low + high))


def test_three_slices_are_solved_by_brute_force():
    """Concave temporary and transient impact: the second trade is found for each belief, the first by trying all."""
    scenario = small(3, volume_noise=0.4, risk_aversion=3e-6, quantity=600_000.0, temp_impact_alpha=1.0)
    market = build_market(scenario)
    beta, variances = scenario.temp_impact_beta, belief_variances(market)
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    kappa, decay, risk = market.impact.transient_slope, market.transient_decay[0], market.risk[0, 0]

    def temporary(k, belief, shares):
        """E[V^-beta] given a belief, of V = E V exp(L + e - (s0^2 + s^2) / 2)."""
        mean = -0.5 * (0.36 + 0.16) + belief
        moment = np.exp(-beta * mean + 0.5 * beta**2 * (variances[k] + 0.16)) * market.mean_volume[k, 0] ** -beta
        return market.temporary_scale[0] * moment * shares ** (1.0 + beta)

    def from_second(first, belief):
        left, pushed = scenario.quantity - first, kappa * first * decay

        def cost(second):
            last, moved = left - second, (pushed + kappa * second) * decay
            later = belief[..., None] + math.sqrt(variances[1] - variances[2]) * points
            paid = second * (pushed + 0.5 * kappa * second) + temporary(1, belief, second) + risk * last**2
            return paid + last * (moved + 0.5 * kappa * last) + temporary(2, later, last[..., None]) @ weights

        return lowest(cost, np.full(belief.shape, left))

    def total(first):
        beliefs = math.sqrt(variances[0] - variances[1]) * points
        later = from_second(first, beliefs) @ weights
        own = 0.5 * kappa * first**2 + temporary(0, np.zeros(1), first)[0] + risk * (scenario.quantity - first) ** 2
        return float(own + later)

    tries = np.linspace(0.0, scenario.quantity, 121)
    best = tries[int(np.argmin([total(first) for first in tries]))]
    near = np.linspace(best - 5_000.0, best + 5_000.0, 41)
    value = min(total(first) for first in near) + market.half_spread[0] * scenario.quantity
    solution = solve(scenario, cached=False)
    assert solution.optimum_bps == pytest.approx(bps_of(market) * value, rel=1e-5)
    assert solution.optimum_bps < solution.open_loop_bps - 1e-3


def test_the_optimum_lies_between_the_told_one_and_the_best_policy_that_ignores_volumes():
    for scenario in (
        separable(6, 0.5, 3e-6),
        small(4, risk_aversion=1e-6, regimes=TWO),
        small(3, complete=False, risk_aversion=1e-5),
    ):
        market, solution = build_market(scenario), solve(scenario, cached=False)
        assert told_bps(market) < solution.optimum_bps < ignoring_bps(market) <= solution.open_loop_bps * (1.0 + 2.0 * ERROR)
        assert lower_bound(market) <= solution.optimum_bps


def test_a_level_that_no_cost_depends_on_moves_no_objective():
    scenario = replace(get_scenario("obizhaeva-wang"), slices=5)
    plain, levelled = (solve(replace(scenario, volume_level_sd=sd), cached=False) for sd in (0.0, 0.5))
    assert levelled.method == plain.method == "Riccati"
    assert levelled.optimum_bps == plain.optimum_bps
    assert levelled.twap_bps == plain.twap_bps


def test_riccati_recursions_and_the_recursion_in_the_belief_keep_to_their_markets():
    assert not is_linear(build_market(separable(4, 0.5, 0.0)))
    assert is_linear(build_market(separable(4, 0.0, 0.0)))
    assert is_separable(build_market(separable(4, 0.5, 0.0)))
    others = [
        {"temp_impact_beta": 0.9},
        {"kyle_lambda": 0.3},
        {"regimes": DAY.regimes},
        {"max_participation": 0.2},
        {"complete": False},
        {"flow_persistence": 0.3},
        {"regimes": Regimes(drift=(0.1,))},
        {"predator": 0.2},
        {"volume_level_sd": 0.0},
    ]
    for change in others:
        assert not is_separable(build_market(replace(separable(4, 0.5, 0.0), **change))), change


# --- simulation


@pytest.mark.parametrize(
    "scenario",
    [
        separable(8, 0.6, 1e-6),
        small(4, risk_aversion=1e-6, regimes=TWO),
        small(4, volume_noise=0.0),
        small(4, complete=False, risk_aversion=1e-5, temp_impact_beta=0.8),
        small(3, regimes=CRISIS, side=-1),
    ],
    ids=["recursion", "regimes", "no noise", "an open end", "start in a crisis"],
)
def test_the_optimal_policy_attains_the_optimum_and_the_schedules_their_objectives(scenario):
    market, solution = build_market(scenario), solve(scenario, cached=False)
    assert isinstance(solution.policy, BeliefPolicy)
    learning, plan, even = objectives(market, solution.policy, solution.best_schedule, get_policy("TWAP"))
    for sample, value in ((learning, solution.optimum_bps), (plan, solution.open_loop_bps), (even, solution.twap_bps)):
        assert abs(sample.mean() - value) <= 4.0 * standard_error(sample) + ERROR * value
    for other, value in ((plan, solution.open_loop_bps), (even, solution.twap_bps)):
        saved = other - learning
        assert abs(saved.mean() - (value - solution.optimum_bps)) <= 4.0 * standard_error(saved) + 2.0 * ERROR * value


def test_learning_beats_the_best_policy_that_ignores_volumes_in_paired_episodes():
    market = build_market(small(6, risk_aversion=3e-6, volume_level_sd=0.8))
    _, _, problem, table, _ = solve_to_tolerance(market, learn=False)
    solution = solve(market.scenario, cached=False)
    learning, ignoring = objectives(market, solution.policy, TablePolicy(problem, table))
    saved = ignoring - learning
    assert saved.mean() > 5.0 * standard_error(saved)
    computed = ignoring_bps(market) - solution.optimum_bps
    assert abs(saved.mean() - computed) <= 4.0 * standard_error(saved) + 2.0 * ERROR * solution.optimum_bps


@pytest.mark.parametrize(
    "changes", [{}, {"regimes": TWO}, {"max_participation": 0.1, "quantity": 500_000.0}, {"flow_persistence": 0.4}]
)
def test_a_fixed_schedule_costs_what_simulation_says(changes):
    scenario = small(4, **changes)
    market, policy = build_market(scenario), get_policy("VWAP")
    fractions = policy.fractions(market)[:-1]
    value = schedule_objective(build_problem(market, learn=False), fractions) * bps_of(market)
    if not unsolved(market):
        assert schedule_bps(scenario, fractions=fractions) == value
    (sample,) = objectives(market, policy)
    assert abs(sample.mean() - value) <= 4.0 * standard_error(sample) + ERROR * value


def test_a_regime_that_is_observed_late_tells_the_level_late():
    """The policy that knows the regime one slice late attains its computed value."""
    market = build_market(small(4, regimes=replace(TWO, rates=((-30.0, 30.0), (30.0, -30.0))), volume_noise=0.1))
    problem, grid = build_problem(market, 21), Grid(61, 31, 21)
    table = solve_delayed(problem, grid)
    late, informed = objectives(market, DelayedPolicy(problem, table), solve(market.scenario, cached=False).policy)
    value = float(table.values[0] @ problem.signal_law) * bps_of(market)
    assert abs(late.mean() - value) <= 4.0 * standard_error(late) + ERROR * value
    assert (late - informed).mean() > 5.0 * standard_error(late - informed)


def test_the_optimal_policy_acts_in_batches_of_any_size_and_alone():
    market = build_market(small(4, regimes=TWO))
    policy = solve(market.scenario, cached=False).policy
    (whole,) = objectives(market, policy, episodes=10)
    batches = rollouts(market, [policy], [False], 0, 10, 4, backend="numpy")
    assert np.array_equal(whole, join([outcome for (outcome,) in batches]).statement.objective)
    env, found = HyperExecEnv(market.scenario), []
    for episode in range(3):
        env.reset(seed=None if episode else 7)
        over = False
        while not over:
            _, _, over, _, info = env.trade(float(policy.act(env.situation)))
        found.append(info["objective_bps"])
    path = draw_path(market, episode_keys(7, np.arange(3)), 1.0)
    assert np.array_equal(found, roll(market, policy, path).statement.objective)


# --- bounds


BRACKETED = {
    "cap": {"max_participation": 0.08, "quantity": 600_000.0},
    "cap and an open end": {"max_participation": 0.08, "quantity": 600_000.0, "complete": False, "slices": 3},
    "cap and regimes": {"max_participation": 0.1, "slices": 2, "regimes": TWO},
    "flow": {"flow_persistence": 0.4, "slices": 3},
    "price": {"price_model": "gbm", "regimes": Regimes(drift=(0.02,)), "slices": 3},
}


@pytest.mark.parametrize("name", BRACKETED)
def test_bounds_enclose_the_optimum_where_there_is_no_exact_one(name):
    """Policies of all kinds lie above the lower bound, and the policy of the upper bound attains it."""
    scenario = small(**{"risk_aversion": 1e-6, **BRACKETED[name]})
    market, solution = build_market(scenario), solve(scenario, cached=False)
    assert solution.method == "bound"
    assert "volume level" in solution.reason
    assert solution.optimum_bps is solution.policy is None
    assert solution.bound_bps <= solution.upper_bps <= solution.twap_bps
    assert (solution.open_loop_bps is None) == market.numbers.spec.capped
    reference = solution.reference
    assert (reference.bound_bps, reference.upper_bps) == (solution.bound_bps, solution.upper_bps)
    assert reference.contradictions == []
    _, _, problem, table, _ = solve_to_tolerance(market, learn=False)
    policies = [TablePolicy(problem, table), *map(get_policy, (*BASELINES, *SANITY))]
    samples = dict(zip((policy.name for policy in policies), objectives(market, *policies, episodes=8192), strict=True))
    for other, sample in samples.items():
        assert sample.mean() >= solution.bound_bps - 4.0 * standard_error(sample), other
    ignoring = samples["optimum"]
    assert abs(ignoring.mean() - ignoring_bps(market)) <= 4.0 * standard_error(ignoring) + 3.0 * ERROR * abs(ignoring.mean())
    even = samples["TWAP"]
    assert abs(even.mean() - solution.twap_bps) <= 4.0 * standard_error(even) + ERROR * abs(even.mean())


def test_a_told_level_is_a_market_with_another_volume():
    market = build_market(small(3, max_participation=0.2))
    told = told_markets(market)
    assert sum(weight for weight, _ in told) == pytest.approx(1.0, abs=1e-12)
    volumes = np.array([one.mean_volume[0, 0] for _, one in told])
    weights = np.array([weight for weight, _ in told])
    assert weights @ volumes == pytest.approx(market.mean_volume[0, 0], rel=1e-10)
    assert weights @ np.log(volumes / market.mean_volume[0, 0]) == pytest.approx(-0.5 * 0.36, rel=1e-10)
    for _, one in told:
        assert one.scenario.volume_level_sd == 0.0
        slice = mode_slices(build_problem(one), 0)
        assert slice.limit[0, 0] == pytest.approx(0.2 * one.mean_volume[0, 0])


@pytest.mark.parametrize(
    "changes",
    [
        {"predator": 0.3},
        {"predator": -0.3},
        {"transient_exponent": 0.5},
        pytest.param({"predator": -0.3, "max_participation": 0.2}, marks=pytest.mark.slow),
    ],
)
def test_other_reasons_keep_their_lower_bound(changes):
    scenario = small(2, volume_level_sd=0.3, **changes)
    market, solution = build_market(scenario), solve(scenario, cached=False)
    assert solution.reason
    assert solution.upper_bps is solution.twap_bps is None
    policies = [get_policy(name) for name in (*BASELINES, *SANITY)]
    for policy, sample in zip(policies, objectives(market, *policies, episodes=4096), strict=True):
        assert sample.mean() >= solution.bound_bps - 4.0 * standard_error(sample), policy.name


def test_the_reasons_name_what_the_belief_collides_with():
    assert unsolved(build_market(small())) == ""
    assert "cap" in unsolved(build_market(small(max_participation=0.1)))
    assert "the flow and the belief" in unsolved(build_market(small(flow_persistence=0.2)))
    drift = {"price_model": "gbm", "regimes": Regimes(drift=(0.1,))}
    assert "the price and the belief" in unsolved(build_market(small(**drift)))


def test_solution_board_and_card_say_both_bounds(monkeypatch, tmp_path):
    solution = solve(small(2, max_participation=0.1), cached=False)
    text = str(solution)
    assert "not solved exactly: the participation cap" in text
    assert f"J* is at least {solution.bound_bps:.4f} bps (volume level told) and at most {solution.upper_bps:.4f} bps" in text
    assert solution.to_dict()["upper_bps"] == solution.upper_bps
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path))
    board = evaluate(solution.scenario, ["TWAP"], episodes=64, backend="numpy")
    assert f"J* is at least {solution.bound_bps:.2f} and at most {solution.upper_bps:.2f}" in str(board)
    assert board.to_dict()["upper_bps"] == solution.upper_bps
    assert solution.bounds in str(card(solution.scenario))
    with pytest.raises(ValueError, match="optimum"):
        evaluate(solution.scenario, ["optimum"], episodes=64)


@pytest.mark.parametrize("scenario", [separable(4, 0.5, 1e-6), small(3), small(2, max_participation=0.1)])
def test_a_cached_solution_acts_identically(scenario, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path))
    module._solve_cached.cache_clear()
    first = solve(scenario)
    module._solve_cached.cache_clear()
    second = solve(scenario)
    module._solve_cached.cache_clear()
    assert first is not second
    assert first.to_dict() == second.to_dict()
    if first.policy is not None:
        assert type(second.policy) is BeliefPolicy
        assert second.policy.digest == first.policy.digest
        market = build_market(scenario)
        assert np.array_equal(*objectives(market, first.policy, second.policy, episodes=64))
