"""Fixed schedules: three computations of their cost agree, and the best schedule is optimal."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.closed_forms import almgren_chriss, obizhaeva_wang
from hyperexec_env.baselines.solver.dynamic import Grid, evaluate_fractions
from hyperexec_env.baselines.solver.open_loop import best_fractions, best_schedule, build_open_loop, schedule_cost
from hyperexec_env.baselines.solver.policies import SchedulePolicy
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.evaluation.rollout import join, rollouts
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

VARIANTS = {
    "regime-day": {},
    "crisis-day": {"kyle_lambda": 0.8, "slices": 13},
    "trending-day": {"side": -1},
    "flow-signal": {"slices": 8, "regimes": get_scenario("trending-day").regimes, "volume_noise": 0.4, "temp_impact_beta": 0.6},
    "gatheral-schied": {"regimes": get_scenario("trending-day").regimes, "risk_aversion": 1e-8},
}


def market_of(name):
    return build_market(replace(get_scenario(name), **VARIANTS.get(name, {})))


def fractions_of(trades):
    return trades / np.cumsum(trades[::-1])[::-1]


def random_schedules(market, count, seed=0):
    """Draw schedules from almost even to lumpy, shape (slices, count)."""
    rng = np.random.default_rng(seed)
    shares = [rng.dirichlet(np.full(market.slices, 10.0 ** rng.uniform(-0.5, 1.5))) for _ in range(count)]
    return market.scenario.quantity * np.array(shares).T


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cost_of_a_schedule_agrees_with_dynamic_programming_and_simulation(name):
    market = market_of(name)
    problem = build_problem(market)
    loop, law = build_open_loop(problem), problem.regime_law[:, None] * problem.signal_law
    even = np.full((market.slices, 1), market.scenario.quantity / market.slices)
    schedules = np.concatenate([even, random_schedules(market, 1)], axis=1)
    computed = 1e4 * schedule_cost(loop, schedules) / market.scenario.notional
    for trades, expected in zip(schedules.T, computed, strict=True):
        fractions = fractions_of(trades)
        dynamic_cost = float((law * evaluate_fractions(problem, fractions)).sum()) * 1e4 / market.scenario.notional
        assert dynamic_cost == pytest.approx(expected, rel=1e-6)
        outcome = join([batch[0] for batch in rollouts(market, [SchedulePolicy(fractions)], [False], 1, 4096, backend="numpy")])
        objective = outcome.statement.objective
        assert abs(objective.mean() - expected) < 4.0 * objective.std(ddof=1) / math.sqrt(len(objective))


@pytest.mark.parametrize("name", VARIANTS)
def test_no_random_schedule_beats_the_best_schedule(name):
    market = market_of(name)
    loop = build_open_loop(build_problem(market))
    trades, cost = best_schedule(loop)
    assert trades.sum() == pytest.approx(market.scenario.quantity, rel=1e-12)
    assert trades.min() > 0.0
    assert cost == schedule_cost(loop, trades)
    far = random_schedules(market, 200)
    near = [trades[:, None] + share * (far - trades[:, None]) for share in (1e-1, 1e-2, 1e-3)]
    for candidates in (far, *near):
        assert (schedule_cost(loop, candidates) >= cost - 1e-8 * abs(cost)).all()


def test_the_best_schedule_of_two_markets_has_the_least_mean_cost():
    day = replace(get_scenario("regime-day"), slices=6)
    markets = [build_market(replace(day, resilience=rho, temp_impact_alpha=alpha)) for rho, alpha in ((2.0, 0.3), (200.0, 0.1))]
    loops = [build_open_loop(build_problem(market)) for market in markets]
    trades, cost = best_schedule(*loops)

    def mean_cost(candidates):
        return sum(schedule_cost(loop, candidates) for loop in loops) / 2

    assert cost == mean_cost(trades)
    own = [best_schedule(loop)[0] for loop in loops]
    between = np.stack([share * own[0] + (1.0 - share) * own[1] for share in np.linspace(0.0, 1.0, 11)], axis=1)
    assert (mean_cost(between) >= cost).all()
    near = trades[:, None] + 0.05 * (random_schedules(markets[0], 200) - trades[:, None])
    assert (mean_cost(near) >= cost).all()
    assert best_schedule(loops[0], loops[0])[0] == pytest.approx(own[0], rel=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_best_schedule_satisfies_the_first_order_conditions(name):
    """The slopes of the cost are equal over slices with trades and no smaller in slices without."""
    market = market_of(name)
    quantity, loop = market.scenario.quantity, build_open_loop(build_problem(market))
    trades, cost = best_schedule(loop)
    traded = np.flatnonzero(trades > 1e-4 * quantity)
    largest = traded[np.argmax(trades[traded])]
    for k in range(market.slices):
        swap = np.zeros(market.slices)
        width = 1e-3 * min(trades[largest], max(trades[k], 1e-4 * quantity))
        swap[k] += width
        swap[largest] -= width
        above = float(schedule_cost(loop, trades + swap))
        if k in traded:
            slope = (above - float(schedule_cost(loop, trades - swap))) / (2.0 * width)
            assert slope * quantity == pytest.approx(0.0, abs=1e-4 * abs(cost))
        else:
            assert above > cost - 1e-8 * abs(cost)


def test_the_best_schedule_agrees_with_almgren_and_chriss():
    trades, _ = best_schedule(build_open_loop(build_problem(build_market(get_scenario("almgren-chriss")))))
    exact = almgren_chriss.trades(almgren_chriss.EXAMPLE, 1e-6)
    assert trades == pytest.approx(exact, abs=1e-5 * almgren_chriss.EXAMPLE.quantity)


def test_the_best_schedule_agrees_with_obizhaeva_and_wang():
    trades, _ = best_schedule(build_open_loop(build_problem(build_market(get_scenario("obizhaeva-wang")))))
    exact = obizhaeva_wang.neutral_trades(obizhaeva_wang.EXAMPLE, 101)
    assert trades == pytest.approx(exact, abs=1e-5 * obizhaeva_wang.EXAMPLE.quantity)


def test_with_extreme_risk_aversion_the_best_schedule_is_no_worse_than_trading_at_once():
    """The barrier starts at the scale of the cost of TWAP, which here can be a billion times the optimum."""
    for risk_aversion in (1e-3, 1.0, 1e3):
        market = build_market(replace(get_scenario("regime-day"), risk_aversion=risk_aversion, slices=5))
        loop = build_open_loop(build_problem(market))
        at_once = np.array([market.scenario.quantity, 0.0, 0.0, 0.0, 0.0])
        assert best_schedule(loop)[1] <= float(schedule_cost(loop, at_once)) * (1.0 + 1e-8)


# --- with a cap or complete = false


@pytest.mark.parametrize(
    "changes",
    [
        {"max_participation": 0.1},
        {"max_participation": 0.1, "complete": False, "risk_aversion": 1e-6},
        {"complete": False, "risk_aversion": 1e-6},
    ],
)
def test_the_search_is_no_worse_than_random_fractions(changes):
    market = build_market(replace(get_scenario("regime-day"), slices=3, volume_curve=(), **changes))
    problem, grid = build_problem(market), Grid(17, 9, 9)
    law = problem.regime_law[:, None] * problem.signal_law
    plans = [1.0 / np.arange(3, 0, -1), np.ones(3), np.zeros(3), *np.random.default_rng(0).uniform(size=(20, 3))]
    best, cost = best_fractions(problem, plans[:3], grid)
    assert ((best >= 0.0) & (best <= 1.0)).all()
    assert cost == float((law * evaluate_fractions(problem, best, grid)).sum())
    assert cost <= min(float((law * evaluate_fractions(problem, plan, grid)).sum()) for plan in plans)


def test_an_incomplete_order_may_skip_its_last_slice():
    """In this single slice the cost of trading exceeds its benefit."""
    scenario = replace(get_scenario("regime-day"), slices=1, complete=False, risk_aversion=0.0)
    problem = build_problem(build_market(scenario))
    best, cost = best_fractions(problem, [np.ones(1)], Grid(31, 16, 11))
    assert best[0] == pytest.approx(0.0, abs=1e-12)
    saved = 0.5 * problem.market.impact.permanent_slope * scenario.quantity**2
    assert cost == pytest.approx(-saved, rel=1e-9)
