"""A hidden regime: the grid of beliefs against a tree of three slices, and bounds that hold on both sides."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.filtered import BeliefGrid, Filtered
from hyperexec_env.baselines.solver import schedule_bps, solve
from hyperexec_env.baselines.solver.dual import Costs, bracket_hidden, kept_displacement, least, path_costs
from hyperexec_env.baselines.solver.hidden import near, outcomes, plan_hidden
from hyperexec_env.baselines.solver.objectives import bps_of
from hyperexec_env.baselines.solver.problem import build_problem, mode_slices
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.belief import move_regimes, weigh_regimes
from hyperexec_env.market.hidden import follow_regimes
from hyperexec_env.market.kernel import Slice, State, expected_cost, move
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

DAY = get_scenario("regime-day")
TWO = Regimes(
    names=("BULL_TRENDING", "CRISIS"),
    volatility=(0.8, 2.0),
    volume=(1.2, 0.4),
    resilience=(1.0, 0.3),
    drift=(0.02, -0.04),
    rates=((-1.0, 1.0), (1.5, -1.5)),
)
THREE_SLICES = replace(DAY, name="three-slices", slices=3, regimes=TWO, risk_aversion=1e-6)


def lowest(function, low, high, rounds=40):
    """The minimum of a convex function of arrays, elementwise, by golden sections."""
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(rounds):
        left, right = high - golden * (high - low), low + golden * (high - low)
        better = function(left) < function(right)
        low, high = np.where(better, low, left), np.where(better, right, high)
    return function(0.5 * (low + high))


def tree_bps(scenario, points=(9, 7, 9)):
    """J* of three slices by quadrature over what slice 0 tells and line searches over both trades; the last slice takes all."""
    market = build_market(scenario)
    problem, impact, total = build_problem(market), market.impact, scenario.quantity
    transition, law = scenario.regimes.transition(market.tau), scenario.regimes.start_law()
    decay, beta = market.transient_decay, impact.beta
    slices = []
    for k in range(3):
        modes = Slice(*(values[:, 0] for values in mode_slices(problem, k)))
        noise = np.exp(0.5 * beta * (beta + 1.0) * problem.deviations[k] ** 2)
        slices.append(modes._replace(volume=modes.volume * noise ** (-1.0 / beta), least=0.0, limit=math.inf))

    def cost(k, law, left, transient, shares):
        """Mean cost of a slice over the regimes of the last axis of `law`."""
        left, transient, shares = (np.asarray(values)[..., None] for values in (left, transient, shares))
        _, parts = move(impact, State(left, 0.0 * left, transient), slices[k], shares)
        return (law * expected_cost(parts)).sum(axis=-1)

    told = [outcomes(market, 0, regime, points) for regime in range(2)]
    weights = np.concatenate([law[regime] * weight for regime, (_, weight) in enumerate(told)])
    joint = law * np.exp(np.concatenate([evidence for evidence, _ in told]))
    joint /= joint.sum(axis=1, keepdims=True)  # (outcomes, regime of slice 0)

    def after_first(first):
        """Mean cost of slices 1 and 2 given the shares of slice 0."""
        left, slope = total - first, impact.transient_slope
        passed = joint @ transition  # regime of slice 1
        displaced = slope * first * (joint @ decay)

        def rest(second):
            third = left - second
            both = joint[:, :, None] * transition  # (outcomes, slice 0, slice 1)
            held = (both * ((slope * first * decay)[:, None] + slope * second[:, None, None]) * decay).sum(axis=(1, 2))
            return cost(1, passed, left, displaced, second) + cost(2, passed @ transition, third, held, third)

        return (weights * lowest(rest, np.zeros(len(weights)), np.full(len(weights), left))).sum()

    def whole(first):
        return np.array([cost(0, law, total, 0.0, shares) + after_first(shares) for shares in np.atleast_1d(first)])

    return float(lowest(whole, np.zeros(1), np.full(1, total), 24)[0]) * bps_of(market)


@pytest.mark.slow
def test_three_slices_of_two_hidden_regimes_are_those_of_a_tree():
    expected = tree_bps(THREE_SLICES)
    market, bracket = build_market(THREE_SLICES), bracket_hidden(THREE_SLICES, episodes=4_000)
    grid = float(plan_hidden(market).table.values[0, 0]) * bps_of(market)
    assert grid == pytest.approx(expected, rel=2e-3)
    assert bracket.low_bps < expected < bracket.high_bps
    assert bracket.gap_bps < 2e-3 * expected
    solution = solve(THREE_SLICES)
    assert solution.regime_blind_bps < expected < solution.open_loop_bps


@pytest.mark.slow
def test_the_tree_has_converged():
    assert tree_bps(THREE_SLICES) == pytest.approx(tree_bps(THREE_SLICES, (15, 11, 15)), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regime-day", "trending-day"])
def test_the_cost_of_a_schedule_on_believed_paths_is_its_objective(name):
    """The mean over paths of what a schedule costs given the beliefs, against the expectation over regimes."""
    scenario = replace(get_scenario(name), slices=6, volume_curve=())
    market, solution = build_market(scenario), solve(scenario)
    before, after = follow_regimes(market, draw_path(market, episode_keys(7, np.arange(3_000)), 1.0))
    kept = kept_displacement(market, before, after)
    schedule = np.broadcast_to(solution.schedule, before.shape[1::-1])
    costs = path_costs(plan_hidden(market), before, kept, np.zeros(before.shape[:2])).value(schedule)
    error = costs.std(ddof=1) / math.sqrt(len(costs))
    assert abs(costs.mean() - schedule_bps(scenario, solution.schedule)) < 4.0 * error


def test_the_outcomes_of_a_slice_are_those_of_simulated_slices():
    """Second moments of the belief after slice 0, by the rule and by simulation; their mean is the law of the next regime."""
    market = build_market(get_scenario("trending-day"))
    before, _ = follow_regimes(market, draw_path(market, episode_keys(5, np.arange(40_000)), 1.0))
    transition, law, expected = market.scenario.regimes.transition(market.tau), before[0, 0], 0.0
    for regime in range(market.regimes):
        evidence, weights = outcomes(market, 0, regime, (15, 9, 15))
        following = move_regimes(weigh_regimes(law, evidence), transition)
        expected = expected + law[regime] * np.einsum("o,oi,oj->ij", weights, following, following)
    seen = before[1, :, :, None] * before[1, :, None, :]
    assert (abs(seen.mean(axis=0) - expected) < 4.0 * seen.std(axis=0) / math.sqrt(len(seen)) + 1e-4).all()
    assert expected.sum(axis=1) == pytest.approx(law @ transition, abs=1e-4)


def test_the_relaxed_minimum_is_that_of_closed_forms_and_below_every_schedule():
    rng = np.random.default_rng(1)
    slopes = rng.uniform(0.5, 3.0, (6, 9))
    squares = Costs(1.0, slopes, np.zeros((6, 9, 9)), np.zeros((6, 9)), np.ones(6))
    assert least(squares) == pytest.approx(1.0 + 1.0 / (1.0 / slopes).sum(axis=1), rel=1e-5)
    forms = rng.normal(size=(6, 9, 9))
    costs = Costs(0.6, slopes, forms @ forms.transpose(0, 2, 1), rng.normal(size=(6, 9)), np.zeros(6))
    found = least(costs)
    for _ in range(200):
        assert (found <= costs.value(rng.dirichlet(np.full(9, 0.3), 6))).all()


def test_a_belief_on_the_grid_is_itself():
    points = np.random.default_rng(2).dirichlet(np.ones(4), 30)
    cells, weights = near(points, points[[3, 11]])
    assert np.take_along_axis(cells, weights.argmax(axis=1)[:, None], axis=1).ravel().tolist() == [3, 11]
    assert weights.max(axis=1) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.slow
def test_planning_with_future_beliefs_beats_planning_as_if_the_regime_would_be_told():
    market = build_market(get_scenario("trending-day"))
    path = draw_path(market, episode_keys(0, np.arange(8_192)), 1.0)
    filtered, planned = (roll(market, policy, path, hidden=True).statement.objective for policy in (Filtered(), BeliefGrid()))
    saved = filtered - planned
    assert saved.mean() > 4.0 * saved.std(ddof=1) / math.sqrt(len(saved))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regime-day", "illiquid", "trending-day"])
def test_the_bracket_of_a_hidden_regime_is_narrow(name):
    bracket = bracket_hidden(name, episodes=1_000)
    assert 0.0 < bracket.gap_bps < 0.005 * bracket.policy_bps
    assert bracket.closed > 0.95
    assert bracket.high_bps > bracket.solution.regime_blind_bps


@pytest.mark.slow
def test_in_trending_day_nobody_reaches_the_regime_observed_one_slice_late():
    bracket = bracket_hidden("trending-day", episodes=500)
    assert bracket.low_bps > bracket.solution.regime_blind_bps + 2.0
    assert f"{100.0 * bracket.closed:.1f} % of the way" in str(bracket)
    assert bracket.closed > 0.97


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("desk-5min", "the participation cap ties"),
        ("flow-signal", "supports an arithmetic price and no persistent flow"),
        ("unknown-drift", "without unknowns and without persistent volume"),
        ("unknown-all", "own fills show the unknown temporary impact"),
    ],
)
def test_the_grid_refuses_what_it_does_not_solve(name, reason):
    with pytest.raises(ValueError, match=f"a grid of beliefs cannot solve {name}: .*{reason}"):
        bracket_hidden(name)


def test_a_bracket_needs_two_episodes():
    with pytest.raises(ValueError, match="episodes must be a whole number in"):
        bracket_hidden("regime-day", episodes=1)


@pytest.mark.parametrize("seed", [-1, 0.5, "a"])
def test_a_bracket_needs_a_seed(seed):
    with pytest.raises(ValueError, match="seed must be a whole number, 0 or larger, got"):
        bracket_hidden("regime-day", seed=seed)
