"""Persistent volume as a signal: J* of a policy that knows the last volume, by a second method and by simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.solver.bounds import volume_alone
from hyperexec_env.baselines.solver.dynamic import Grid, solve_informed
from hyperexec_env.baselines.solver.objectives import bps_of
from hyperexec_env.baselines.solver.policies import table_policy
from hyperexec_env.baselines.solver.problem import build_problem, unsolved
from hyperexec_env.baselines.solver.solution import schedule_bps, solve
from hyperexec_env.evaluation.loop import RuleLoop
from hyperexec_env.evaluation.rollout import roll, roll_rule
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

DAY = get_scenario("regime-day-2026")
GRID = Grid(41, 16, 21)
TWO = Regimes(names=("SIDEWAYS_LOW", "CRISIS"), volatility=(0.8, 2.0), volume=(1.1, 0.5), rates=((-4.0, 4.0), (9.0, -9.0)))


def small(slices, phi, **changes):
    """A market in which the memory of volume matters: noisy volume, one regime, some transient impact."""
    values = {"volume_noise": 0.8, "volume_persistence": phi, "risk_aversion": 1e-6, "regimes": Regimes(), **changes}
    return build_market(replace(DAY, name="small", slices=slices, **values))


def value(market, learn=True):
    """J* in bps on one grid, the decision problem and the table."""
    problem = build_problem(market, GRID.signal, learn)
    table = solve_informed(problem, GRID)
    return float(problem.regime_law @ table.values @ problem.signal_law) * bps_of(market), problem, table


# --- a second method: nested quadrature over volumes, and a search over trades


def quadrature(market, points=24, trades=4_001):
    """J* of three slices in one regime, bps: expectations by Gauss-Hermite rules, and the best trades on fine grids."""
    scenario, impact = market.scenario, market.impact
    phi, noise, beta = scenario.volume_persistence, scenario.volume_noise, impact.beta
    normal, weight = np.polynomial.hermite_e.hermegauss(points)
    weight = weight / weight.sum()
    own, kappa, order = noise * math.sqrt(1.0 - phi * phi), impact.transient_slope, scenario.quantity
    curve = market.mean_volume[:-1, 0]

    def temporary(k, mean, deviation, shares):
        """Expected temporary cost of a trade in slice k, whose log volume is its curve plus a normal."""
        factor = np.exp(-beta * (mean - 0.5 * noise**2) + 0.5 * (beta * deviation) ** 2)
        return market.temporary_scale[0] * shares ** (1.0 + beta) * curve[k] ** -beta * factor

    def rest(k, mean, deviation, shares, transient, left):
        """Expected cost of a slice: temporary, transient, spread and risk."""
        linear = shares * (transient + 0.5 * kappa * shares) + market.half_spread[0] * shares
        return temporary(k, mean, deviation, shares) + linear + market.risk[k, 0] * (left - shares) ** 2

    total = 0.0
    fractions = np.linspace(0.0, 1.0, trades)
    for w, p in zip(noise * normal, weight, strict=True):  # the log volume before the order
        first = np.linspace(0.0, order, 201)
        after = kappa * first * market.transient_decay[0]
        later = np.zeros_like(first)
        for z, q in zip(normal, weight, strict=True):  # the volume of the first slice, on which the second trade depends
            now = phi * w + own * z
            left = (order - first)[:, None]
            second = left * fractions[::40]
            moved = (after[:, None] + kappa * second) * market.transient_decay[0]
            # the volume of the last slice, given that of the first: two steps of the AR(1)
            spread = math.hypot(phi * own, own)
            last = rest(2, phi * phi * now, spread, left - second, moved, left - second)
            both = rest(1, phi * now, own, second, after[:, None], left) + last
            at = np.clip(both.argmin(axis=1), 1, both.shape[1] - 2)
            y0, y1, y2 = (both[np.arange(len(at)), at + step] for step in (-1, 0, 1))
            bend = np.maximum(y0 - 2.0 * y1 + y2, 1e-300)
            later += q * (y1 - (y0 - y2) ** 2 / (8.0 * bend))
        cost = rest(0, phi * w, own, first, 0.0, order) + later
        at = int(np.clip(cost.argmin(), 1, len(cost) - 2))
        fit = np.polyfit(first[at - 1 : at + 2] / order, cost[at - 1 : at + 2], 2)
        total += p * float(np.polyval(fit, -fit[1] / (2.0 * fit[0])))
    return total * bps_of(market)


@pytest.mark.parametrize(("phi", "changes"), [(0.6, {}), (-0.5, {"temp_impact_beta": 0.8}), (0.9, {"temp_impact_alpha": 1.0})])
def test_the_optimum_of_three_slices_is_that_of_nested_quadrature(phi, changes):
    market = small(3, phi, **changes)
    assert value(market)[0] == pytest.approx(quadrature(market), rel=1e-4)


# --- what the memory is worth


def test_without_memory_the_signal_is_worth_nothing_and_more_memory_is_worth_more():
    ignoring = value(small(8, 0.0))[0]
    values = [value(small(8, phi))[0] for phi in (1e-9, 0.3, 0.6)]
    assert values[0] == pytest.approx(ignoring, rel=2e-5)
    assert ignoring - values[0] < 0.1 * (ignoring - values[1])
    assert values[2] < values[1] < ignoring
    assert value(small(8, 0.6), learn=False)[0] == pytest.approx(ignoring, rel=1e-12)  # a policy that ignores volumes


def test_a_fixed_schedule_costs_the_same_with_and_without_memory():
    schedule = np.array([0.4, 0.3, 0.2, 0.1])
    costs = [schedule_bps(small(4, phi).scenario, schedule) for phi in (0.0, 0.7)]
    assert costs[1] == pytest.approx(costs[0], rel=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{}, {"regimes": TWO, "side": -1, "resilience": 30.0}, {"regimes": TWO, "complete": False}],
    ids=["one regime", "two regimes", "an open end"],
)
def test_the_simulated_optimum_costs_what_the_solver_says(changes):
    market = small(6, 0.7, **changes)
    exact, problem, table = value(market)
    policy = table_policy(problem, table)
    path = draw_path(market, episode_keys(3, np.arange(40_000)), float(market.scenario.side))
    objective = roll(market, policy, path).statement.objective
    error = objective.std() / math.sqrt(len(objective))
    assert abs(objective.mean() - exact) < 4.0 * error + 2e-4 * exact
    plain = small(6, 0.0, **changes)
    blind = table_policy(*value(plain)[1:])
    gain = roll(market, _of(blind, market), path).statement.objective - objective
    assert gain.mean() > 4.0 * gain.std() / math.sqrt(len(gain))


class _of:
    """A policy of another market, which sees that market."""

    def __init__(self, policy, market):
        self.policy, self.name = policy, "blind"

    def act(self, situation):
        return self.policy.act(situation)


def test_the_optimum_runs_in_a_compiled_loop_as_in_python():
    pytest.importorskip("numba")
    market = small(6, 0.7)
    _, problem, table = value(market)
    policy, keys = table_policy(problem, table), episode_keys(3, np.arange(200))
    in_python = roll(market, policy, draw_path(market, keys, 1.0)).statement.objective
    compiled = roll_rule(market, RuleLoop(market, policy.rule(market, hidden=False)), keys).statement.objective
    assert compiled == pytest.approx(in_python, rel=1e-9)


# --- two signals


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_participation": 0.1}, "the participation cap ties the traded shares to the volume, which also predicts"),
        ({"flow_persistence": 0.3}, "the flow and the last volume would be two signals, and the solver supports one"),
        ({"volume_level_sd": 0.4}, "the belief about the volume level and the last volume would be two signals"),
        ({"price_model": "gbm", "price_risk": 0.1}, "the price and the last volume would be two signals"),
    ],
)
def test_two_signals_are_refused_with_a_reason_and_bracketed(changes, reason):
    market = small(3, 0.5, **changes)
    assert reason in unsolved(market)
    solution = solve(market.scenario, cached=False)
    assert solution.optimum_bps is None
    assert solution.bound_bps > 0.0
    capped = "max_participation" in changes
    assert volume_alone(market) is not capped
    assert (solution.upper_bps is None) == capped
    if not capped:
        assert solution.bound_bps < solution.upper_bps
        if "volume_level_sd" in changes:  # bounds that know all drifts or prices beforehand are further away
            assert solution.upper_bps < 1.2 * solution.bound_bps
        path = draw_path(market, episode_keys(1, np.arange(20_000)), 1.0)
        twap = roll(market, get_policy("TWAP"), path).statement.objective
        assert twap.mean() + 4.0 * twap.std() / math.sqrt(len(twap)) > solution.bound_bps


def test_a_market_whose_costs_do_not_depend_on_volume_has_no_signal():
    assert build_problem(small(3, 0.5, temp_impact_alpha=0.0), 21).modes == (1, 1)
