"""The best schedule in hindsight: against brute force, a duality gap, the best fixed schedule, and every policy of a board."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.hindsight import best_in_hindsight, hindsight
from hyperexec_env.baselines.policies import BASELINES, get_policy
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.policies import SchedulePolicy
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.execution.schedules import fractions_of_remaining
from hyperexec_env.market.kernel import State, expected_cost, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.records import map_leaves

SMALL = replace(get_scenario("regime-day"), slices=3)


def path_of(scenario, episodes):
    """Return the market of a scenario and some of its paths."""
    market = build_market(scenario)
    return market, draw_path(market, episode_keys(5, np.arange(episodes)), float(scenario.side))


def cost(impact, slices, trades):
    """Return the objective of schedules by the kernel, slice by slice, currency; trades have shape (N, schedules)."""
    state, total = State(trades.sum(axis=0), 0.0, 0.0), 0.0
    for k, shares in enumerate(trades):
        state, parts = step(impact, state, map_leaves(lambda values: values[k], slices)._replace(least=0.0), shares)  # noqa: B023
        total = total + expected_cost(parts)
    return total


def of_episode(path, episode, realised):
    """Return the slices of an episode; with the whole move of the price and no risk if `realised`."""
    slices = map_leaves(lambda values: values[:, episode], path.slices)
    return slices._replace(drift=slices.drift + slices.innovation, risk=0.0 * slices.risk) if realised else slices


@pytest.mark.parametrize("realised", [False, True])
@pytest.mark.parametrize("side", [1, -1])
def test_no_schedule_of_a_fine_grid_is_better(side, realised):
    market, path = path_of(replace(SMALL, side=side), 6)
    quantity, points = market.scenario.quantity, 200
    pairs = [(i, j) for i, j in itertools.product(range(points + 1), repeat=2) if i + j <= points]
    grid = np.array([(i, j, points - i - j) for i, j in pairs], dtype=float).T * quantity / points
    for episode in range(6):
        slices = of_episode(path, episode, realised)
        trades, least = best_in_hindsight(build_problem(market), slices)
        brute = float(cost(market.impact, slices, grid).min())
        assert trades.sum() == pytest.approx(quantity)
        assert least == pytest.approx(float(cost(market.impact, slices, trades[:, None])[0]), rel=1e-9)
        bps = 1e4 / market.scenario.notional
        # the nearest point of the grid costs little more than the optimum
        assert -1e-6 <= (brute - least) * bps <= 0.02


@pytest.mark.parametrize("realised", [False, True])
def test_the_duality_gap_closes(realised):
    """For a convex cost on a simplex, g.n - X min(g) bounds the distance to the least cost (Jaggi 2013)."""
    market, path = path_of(get_scenario("regime-day"), 3)
    quantity, bps = market.scenario.quantity, 1e4 / market.scenario.notional
    for episode in range(3):
        slices = of_episode(path, episode, realised)
        trades, _ = best_in_hindsight(build_problem(market), slices)
        width = 1e-4 * np.maximum(trades, 1e-6 * quantity)
        moved = cost(market.impact, slices, trades[:, None] + np.diag(width))
        # the order of a moved schedule is larger: its risk and its drift are those of the larger order
        slopes = (moved - cost(market.impact, slices, trades[:, None])) / width
        assert 0.0 <= (slopes @ trades - quantity * slopes.min()) * bps < 0.02


def test_one_regime_without_noise_gives_the_best_fixed_schedule():
    scenario = replace(get_scenario("regime-day"), regimes={}, volume_noise=0.0)
    market, path = path_of(scenario, 2)
    found = hindsight(market, path)
    assert found.objective == pytest.approx(np.full(2, solve(scenario).open_loop_bps), rel=1e-6)


def test_the_bound_is_below_every_policy_and_its_schedule_reaches_it():
    market, path = path_of(get_scenario("regime-day"), 8)
    bound = hindsight(market, path)
    for name in BASELINES:
        own = roll(market, get_policy(name), path).statement
        assert (own.objective >= bound.objective - 1e-6).all()
        assert (own.shortfall >= bound.shortfall - 1e-6).all()
    problem = build_problem(market)
    for episode in range(2):
        trades, _ = best_in_hindsight(problem, of_episode(path, episode, realised=True))
        policy = SchedulePolicy(fractions_of_remaining(trades))
        own = roll(market, policy, draw_path(market, path.keys[episode : episode + 1], 1.0)).statement
        assert own.shortfall[0] == pytest.approx(bound.shortfall[episode], abs=1e-6)


def test_markets_whose_cost_is_not_a_convex_function_of_free_trades_are_refused():
    for fields, why in (
        ({"max_participation": 0.1}, "the participation cap bounds"),
        ({"complete": False}, "the order may stay unfilled"),
        ({"predator": 0.2}, "the predator remembers"),
        ({"transient_exponent": 0.5}, "the transient impact is not linear"),
    ):
        market, path = path_of(replace(get_scenario("regime-day"), **fields), 1)
        with pytest.raises(ValueError, match=f"the best schedule in hindsight is not computed: {why}"):
            hindsight(market, path)
