"""The drift in the solver: the values of the design, agreement with simulation, and bounds where there is no optimum."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from hyperexec_env.baselines.policies import BASELINES, SANITY, get_policy
from hyperexec_env.baselines.replan import believed_impact
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.best import best_of
from hyperexec_env.baselines.solver.linear import solve_linear
from hyperexec_env.baselines.solver.problem import unsolved
from hyperexec_env.evaluation.loop import RuleLoop
from hyperexec_env.evaluation.rollout import roll, roll_rule
from hyperexec_env.evaluation.rule import rule_of
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

DAY = get_scenario("unknown-drift")
SHORT = replace(DAY, name="short", slices=5, risk_aversion=1e-7, temp_impact_alpha=1.5)
"""Five slices with eta 3e-6, r 8e-8 and sigma P0 2, as case D1 of the design."""


def objectives(market, policy, episodes=16_384):
    path = draw_path(market, episode_keys(1, np.arange(episodes)), float(market.scenario.side))
    return roll(market, policy, path).statement.objective


@cache
def solved(scenario):
    return solve(scenario, cached=False)


def standard_error(values):
    return values.std(ddof=1) / math.sqrt(len(values))


@pytest.mark.parametrize(
    ("nu", "mean", "value", "first", "unlearned"),
    [(0.005, 0.0, 27_555.17421, 46_047.9502, 27_628.7701), (0.01, 0.003, 46_221.56032, 64_801.0346, 47_326.9112)],
)
def test_riccati_with_a_shrinking_belief_has_the_values_of_the_tree(nu, mean, value, first, unlearned):
    """Case D1 of the design: a Gauss-Hermite tree of the five slices as one linear system; and the value without learning."""
    scenario = replace(SHORT, drift_sd=nu, regimes=Regimes(drift=(mean,)))
    found = solve_linear(build_market(scenario))
    assert scenario.notional * found.values[0] == pytest.approx(value, rel=4e-10)
    assert scenario.quantity * float(found.gains[0, 0] @ [1.0, 0.0, 0.0, 1.0]) == pytest.approx(first, rel=2e-9)
    assumed = solve_linear(build_market(replace(scenario, drift_sd=0.0)))
    assert scenario.notional * assumed.values[0] == pytest.approx(unlearned, rel=2e-9)


@pytest.mark.parametrize(
    ("nu", "plan", "both_ways", "clipped"),
    [(0.005, 14.404, 14.345, 14.350), (0.01, 14.404, 13.529, 13.549), (0.02, 14.404, 3.200, 5.259)],
)
def test_the_optimum_lies_between_that_of_both_signs_and_the_clipped_rule(nu, plan, both_ways, clipped):
    """Case D1b of the design; at 0.5 % a day no order wants to trade back, and both optima are one number."""
    solution = solved(replace(DAY, drift_sd=nu))
    assert (solution.method, solution.reason) == ("dynamic programming", "")
    assert [solution.open_loop_bps, solution.bound_bps] == pytest.approx([plan, both_ways], abs=6e-4)
    assert solution.told_bps < solution.bound_bps <= solution.optimum_bps < clipped
    if nu == 0.005:
        assert solution.optimum_bps == pytest.approx(solution.bound_bps, rel=3e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"side": -1, "slices": 6, "drift_sd": 0.02}, {"slices": 6, "max_participation": 0.08, "volume_noise": 0.3}]
)
def test_the_optimal_policy_attains_its_value_in_the_environment(changes):
    market = build_market(replace(DAY, **changes))
    solution = solved(market.scenario)
    sample = objectives(market, solution.policy)
    assert abs(sample.mean() - solution.optimum_bps) <= 4.0 * standard_error(sample)
    even = objectives(market, get_policy("TWAP"))
    saved = even - sample
    assert abs(saved.mean() - (solution.twap_bps - solution.optimum_bps)) <= 4.0 * standard_error(saved)
    for name in (*BASELINES, *SANITY):
        lost = objectives(market, get_policy(name), 2048) - sample[:2048]
        assert lost.mean() > -4.0 * standard_error(lost), name


@pytest.mark.slow
def test_the_compiled_rule_of_the_belief_is_its_act():
    pytest.importorskip("numba")
    market = build_market(DAY)
    policy = solve(DAY, cached=False).policy
    loop = RuleLoop(market, rule_of(policy, market, False))
    keys = episode_keys(4, np.arange(500))
    compiled = roll_rule(market, loop, keys).statement.objective
    assert compiled == pytest.approx(roll(market, policy, draw_path(market, keys, 1.0)).statement.objective, rel=1e-9)


UNEVEN = Regimes(names=("SIDEWAYS_LOW", "CRISIS"), volatility=(1.0, 2.0), rates=((-3.0, 3.0), (6.0, -6.0)))
BRACKETED = {
    "level": ({"volume_level_sd": 0.4, "volume_noise": 0.3}, "the volume level and the belief about the drift"),
    "flow": ({"flow_persistence": 0.4, "flow_share": 0.2}, "the flow and the belief about the drift"),
    "regimes": ({"regimes": UNEVEN}, "regimes of different volatility"),
}


@pytest.mark.parametrize("name", BRACKETED)
def test_bounds_enclose_the_optimum_where_the_belief_is_not_the_only_signal(name):
    changes, reason = BRACKETED[name]
    scenario = replace(DAY, slices=4, **changes)
    solution = solve(scenario, cached=False)
    assert reason in solution.reason
    assert solution.told_bps <= solution.bound_bps < solution.upper_bps <= solution.open_loop_bps <= solution.twap_bps
    told = "volume level told, drift learned" if name == "level" else "drift told"
    assert f"({told}) and at most" in solution.bounds
    market = build_market(scenario)
    for policy in map(get_policy, (*BASELINES, *SANITY)):
        sample = objectives(market, policy, 4096)
        assert sample.mean() >= solution.bound_bps - 4.0 * standard_error(sample), policy.name
    sample = objectives(market, solution.best_schedule)
    assert abs(sample.mean() - solution.open_loop_bps) <= 4.0 * standard_error(sample)


def test_an_unknown_impact_is_bracketed_and_replanning_closes_half_of_the_way_from_the_plan():
    """With a volume that is noisy by next to nothing, which the exact method does not take."""
    scenario = replace(get_scenario("unknown-impact"), volume_noise=1e-6)
    solution, market = solved(scenario), build_market(scenario)
    assert "own fills show the unknown temporary impact" in solution.reason
    assert solution.bound_bps == solution.told_bps
    known = solved(replace(scenario, temp_impact_sd=0.0))
    assert solution.open_loop_bps == pytest.approx(known.optimum_bps, rel=2e-6)
    plan, replanned = (objectives(market, policy, 8_192) for policy in (solution.best_schedule, get_policy("replan")))
    assert abs(plan.mean() - solution.open_loop_bps) <= 4.0 * standard_error(plan)
    closed = (plan - replanned).mean() / (solution.open_loop_bps - solution.bound_bps)
    assert 0.4 < closed < 0.65
    exact = solved(get_scenario("unknown-impact")).optimum_bps  # of a volume without noise
    assert exact < solution.upper_bps < exact + 0.03
    assert solution.upper_of == "the policy replan, by simulation"


def test_where_all_is_unknown_who_is_told_all_but_the_drift_and_replanning_are_the_bounds():
    scenario = replace(get_scenario("unknown-all"), slices=3)
    solution, market = solved(scenario), build_market(scenario)
    learned = solved(replace(scenario, drift_sd=0.0, temp_impact_sd=0.0))
    assert solution.told_bps < solution.bound_bps < solution.upper_bps < learned.optimum_bps < solution.open_loop_bps
    assert "(volume level and temporary impact told, drift learned)" in solution.bounds
    points, weights = np.polynomial.hermite_e.hermegauss(31)
    told, sd = 0.0, scenario.volume_level_sd
    for point, weight in zip(points, weights / weights.sum(), strict=True):
        for slope in (1.0 - scenario.temp_impact_sd, 1.0 + scenario.temp_impact_sd):
            alpha = slope * scenario.temp_impact_alpha * np.exp(0.5 * sd * sd - sd * point)  # impact is linear in 1 / V
            one = replace(scenario, volume_level_sd=0.0, temp_impact_sd=0.0, temp_impact_alpha=float(alpha))
            told += 0.5 * weight * best_of(build_market(one)).value
    assert solution.bound_bps == pytest.approx(told, rel=2e-4)
    replanned, plan = (objectives(market, policy, 8_192) for policy in (get_policy("replan"), solution.best_schedule))
    saved = plan - replanned
    assert abs(saved.mean() - (solution.open_loop_bps - solution.upper_bps)) <= 8.0 * standard_error(saved)


def test_the_impact_that_replanning_believes_is_the_mean_over_its_beliefs():
    """Of two slopes and a log level, drawn from the belief."""
    scenario, rng = get_scenario("unknown-all"), np.random.default_rng(0)
    levels = 0.3 + 0.2 * rng.standard_normal(400_000)
    slopes = np.where(rng.random(400_000) < 0.7, 0.4, 1.6)
    drawn = slopes * np.exp(-scenario.temp_impact_beta * (levels - 0.5 * scenario.volume_level_sd**2))
    belief = {"slope_mean": 0.7 * 0.4 + 0.3 * 1.6, "level_mean": 0.3, "level_variance": 0.04}
    situation = SimpleNamespace(market=SimpleNamespace(scenario=scenario), **belief)
    assert believed_impact(situation) == pytest.approx(drawn.mean(), abs=4.0 * standard_error(drawn))


def test_replanning_where_the_unknowns_are_nearly_known_is_the_optimum_of_the_drift():
    scenario = replace(get_scenario("unknown-all"), slices=4, volume_level_sd=1e-3, temp_impact_sd=1e-3)
    known = replace(scenario, volume_level_sd=0.0, temp_impact_sd=0.0)
    replanned = objectives(build_market(scenario), get_policy("replan"), 8_192)
    assert abs(replanned.mean() - solved(known).optimum_bps) <= 4.0 * standard_error(replanned)


def test_a_geometric_price_has_a_lower_bound_alone():
    market = build_market(replace(DAY, slices=3, price_model="gbm"))
    solution = solve(market.scenario, cached=False)
    assert "a geometric price and the belief" in unsolved(market)
    assert solution.bound_bps == solution.told_bps
    assert solution.upper_bps is None
