"""The optimum where own fills tell two temporary impacts apart: published values, a line search, and the environment."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.problem import unsolved
from hyperexec_env.baselines.solver.spline import Axis
from hyperexec_env.baselines.solver.two_points import TwoPoints, solve_recursion
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

LOW, HIGH, RISK = 0.5, 2.0, 0.5


def by_line_search(deviation, points=400):
    """Three slices of one share: the first trade by a grid, the others in closed form at what the first shows."""
    nodes = (np.arange(points) + 0.5) / points * 16.0 - 8.0
    weights = np.exp(-0.5 * nodes**2)
    weights /= weights.sum()

    def second(chance, left):
        """Optimum of two slices at a mean impact; the last slice takes what is left."""
        mean = chance * HIGH + (1.0 - chance) * LOW
        return mean * (mean + RISK) / (2.0 * mean + RISK) * left * left

    def whole(first):
        total = 1.25 * first**2 + RISK * (1.0 - first) ** 2
        for eta in (LOW, HIGH):
            shown = eta * first + deviation * nodes
            odds = ((shown - LOW * first) ** 2 - (shown - HIGH * first) ** 2) / (2.0 * deviation**2)
            total += 0.5 * weights @ second(1.0 / (1.0 + np.exp(-np.clip(odds, -700.0, 700.0))), 1.0 - first)
        return total

    tried = np.linspace(0.48, 0.51, 3_001)
    costs = [whole(first) for first in tried]
    return min(costs), tried[int(np.argmin(costs))]


@pytest.mark.parametrize(("deviation", "published", "first"), [(0.05, 0.6179775281, 0.494382), (0.2, 0.6181674816, 0.494848)])
def test_three_slices_have_the_published_optimum_and_that_of_a_line_search(deviation, published, first):
    numbers = TwoPoints(0.6, 1.0, np.full(3, 1.25), np.full(3, RISK), np.full(3, deviation))
    values, fractions = solve_recursion(numbers, Axis(-16.0, 16.0, 65), 17)
    assert values[32] == pytest.approx(published, rel=1e-6)
    assert fractions[0, 32, -1] == pytest.approx(first, abs=3e-5)
    searched, traded = by_line_search(deviation)
    assert searched == pytest.approx(published, rel=1e-8)
    assert traded == pytest.approx(first, abs=1.1e-5)


@pytest.mark.slow
def test_the_optimum_of_an_unknown_impact_is_that_of_its_policy_in_the_market():
    scenario = replace(get_scenario("unknown-impact"), slices=8)
    solution, market = solve(scenario), build_market(scenario)
    assert solution.told_bps < solution.optimum_bps < solution.open_loop_bps
    assert solution.relative_error < 1e-4
    path = draw_path(market, episode_keys(0, np.arange(16_384)), 1.0)
    optimal, replanned = (roll(market, policy, path).statement.objective for policy in (solution.policy, get_policy("replan")))
    assert abs(optimal.mean() - solution.optimum_bps) < 4.0 * optimal.std(ddof=1) / math.sqrt(len(optimal))
    more = replanned - optimal
    assert more.mean() > -4.0 * more.std(ddof=1) / math.sqrt(len(more))


@pytest.mark.parametrize(
    "changes",
    [{"temp_impact_beta": 0.6}, {"kyle_lambda": 0.3}, {"volume_noise": 0.3}, {"drift_sd": 0.01}, {"max_participation": 0.2}],
)
def test_what_else_moves_a_cost_leaves_a_bracket(changes):
    reason = unsolved(build_market(replace(get_scenario("unknown-impact"), **changes)))
    assert "own fills show the unknown temporary impact" in reason
