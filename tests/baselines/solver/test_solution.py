"""Every registered scenario is solved: the numbers are in order, simulation confirms them, and nobody does better."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from hyperexec_env.baselines.policies import BASELINES, SANITY, get_policy
from hyperexec_env.baselines.solver import solution as module
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.linear import is_linear
from hyperexec_env.baselines.solver.open_loop import best_schedule, build_open_loop
from hyperexec_env.baselines.solver.policies import SchedulePolicy
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.rollout import join, rollouts
from hyperexec_env.market.model import build_market
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario, scenario_names

EPISODES = 4096
UNSOLVED = ("hunted-day", "sunshine-day", "geo-compat")
SOLVED = tuple(name for name in scenario_names() if name not in UNSOLVED)
OTHERS = (*BASELINES, *SANITY)
LEVEL = NormalDist().inv_cdf(1.0 - 0.025 / len(SOLVED))
"""Standard errors of a two-sided 95 % interval that holds for all solved scenarios at once (Bonferroni)."""
DOUBT = NormalDist().inv_cdf(1.0 - 0.05 / (len(SOLVED) * len(OTHERS)))
"""The same for one-sided comparisons of all policies in all scenarios."""


@pytest.fixture(scope="session")
def statements_of(solution_of):
    """What the episodes of seed 0 cost the optimal policy (where there is one) and all others, by name."""
    known = {}

    def play(name):
        if name not in known:
            market, optimal = build_market(get_scenario(name)), solution_of(name).policy
            policies = [*([optimal] if optimal else []), *(get_policy(other) for other in OTHERS)]
            outcomes = zip(*rollouts(market, policies, [False] * len(policies), 0, EPISODES, backend="numpy"), strict=True)
            played = [join(batches).statement for batches in outcomes]
            known[name] = dict(zip([policy.name for policy in policies], played, strict=True))
        return known[name]

    return play


def realised(statement, scenario):
    """The objective with the noise of the price: shortfall and risk less g X^2 / 2, bps."""
    market = build_market(scenario)
    permanent = 0.5 * market.impact.permanent_slope * scenario.quantity**2
    return statement.shortfall + statement.risk - 1e4 * permanent / scenario.notional


def deviation(sample):
    return float(sample.std(ddof=1)) / math.sqrt(len(sample))


def slack(solution):
    """What J* may be off, bps: its stated error and rounding."""
    return (solution.relative_error + 1e-9) * abs(solution.optimum_bps)


def test_the_references_are_in_order(solution_of):
    for name in SOLVED:
        solution = solution_of(name)
        assert solution.reason == ""
        assert solution.method in ("Riccati", "dynamic programming")
        assert 0.0 <= solution.relative_error <= 1e-4
        error = slack(solution)
        assert solution.optimum_bps <= solution.regime_blind_bps + error
        assert solution.regime_blind_bps <= solution.open_loop_bps + error
        assert solution.open_loop_bps <= solution.twap_bps + error
        assert solution.reference.contradictions == []
        if solution.bound_bps is not None:
            assert solution.bound_bps <= solution.optimum_bps + error


def test_the_start_is_the_mean_over_the_regimes(solution_of):
    for name in SOLVED:
        solution, regimes = solution_of(name), get_scenario(name).regimes
        values = np.array([solution.by_regime[regime] for regime in regimes.names])
        assert solution.optimum_bps == pytest.approx(values @ regimes.start_law(), rel=1e-12)
        assert solution.stationary_bps == pytest.approx(values @ regimes.stationary(), rel=1e-12)
        assert solution.schedule.sum() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", SOLVED)
def test_the_optimal_policy_reaches_the_optimum(solution_of, statements_of, name):
    solution, statement = solution_of(name), statements_of(name)["optimum"]
    for sample in (statement.objective, realised(statement, solution.scenario)):
        assert abs(sample.mean() - solution.optimum_bps) <= LEVEL * deviation(sample) + slack(solution)


def test_the_optimal_policy_beats_twap_by_what_was_computed(solution_of, statements_of):
    """TWAP as a control variate: the difference is known better than either."""
    for name in SOLVED:
        solution, statements = solution_of(name), statements_of(name)
        difference = statements["optimum"].objective - statements["TWAP"].objective
        expected = solution.optimum_bps - solution.twap_bps
        assert abs(difference.mean() - expected) <= LEVEL * deviation(difference) + slack(solution) + 1e-6 * solution.twap_bps


def test_no_policy_lies_below_the_optimum_beyond_doubt(solution_of, statements_of):
    for name in SOLVED:
        solution, statements = solution_of(name), statements_of(name)
        optimal = statements["optimum"]
        for other in OTHERS:
            own = statements[other]
            for sample in (own.objective, realised(own, solution.scenario)):
                assert sample.mean() >= solution.optimum_bps - DOUBT * deviation(sample) - slack(solution), other
            for paired in (
                own.objective - optimal.objective,
                realised(own, solution.scenario) - realised(optimal, solution.scenario),
            ):
                assert paired.mean() >= -DOUBT * deviation(paired) - slack(solution), other


def test_starts_cost_what_their_regimes_say(solution_of, statements_of):
    """Simulated for each regime of the start; regimes in which few orders start say little."""
    for name in SOLVED:
        solution, regimes = solution_of(name), get_scenario(name).regimes
        market = build_market(solution.scenario)
        outcome = join([batch[0] for batch in rollouts(market, [solution.policy], [False], 0, EPISODES)])
        for m, regime in enumerate(regimes.names):
            sample = outcome.statement.objective[outcome.start_regime == m]
            if len(sample) >= 100:
                error = 1.25 * LEVEL * deviation(sample)  # six regimes: a further Bonferroni
                assert abs(sample.mean() - solution.by_regime[regime]) <= error + slack(solution)


# --- what is not solved


@pytest.mark.parametrize("name", UNSOLVED)
def test_what_is_not_solved_says_why_and_bounds_every_policy(solution_of, statements_of, name):
    solution = solution_of(name)
    assert solution.method == "bound"
    assert solution.reason
    assert solution.optimum_bps is solution.policy is solution.best_schedule is None
    assert solution.reference == Optimum(bound_bps=solution.bound_bps)
    for other, statement in statements_of(name).items():
        assert statement.objective.mean() >= solution.bound_bps - DOUBT * deviation(statement.objective), other


FORETOLD = {"quantity": 5_000.0, "flow_persistence": 0.8, "flow_share": 0.9, "risk_aversion": 0.0}
"""An order so small, in a price so well foretold, that who waits for it is paid."""
MIXED = {
    "geometric price and persistent flow": {**FORETOLD, "price_model": "gbm"},
    "with a price of holding": {**FORETOLD, "price_model": "gbm", "price_risk": 0.01},
    "with a predator": {**FORETOLD, "price_model": "gbm", "predator": 0.3},
    "with liquidity": {**FORETOLD, "price_model": "gbm", "predator": -0.3},
    "bent transient impact and persistent flow": {**FORETOLD, "transient_exponent": 0.5},
    "arithmetic price that is paid for": {"price_risk": 0.02},
}


class Timer:
    """Waits while the price is about to move in favour of the order; else in a hurry."""

    name = "timer"

    def act(self, situation):
        favourable = -situation.side * np.asarray(situation.flow) > 0.3
        return situation.remaining * np.where(favourable, 0.0, 0.7)


@pytest.mark.parametrize("name", MIXED)
def test_bounds_hold_where_several_things_stand_in_the_way(name):
    scenario = replace(get_scenario("regime-day"), name="mixed", slices=6, **MIXED[name])
    market, solution = build_market(scenario), solve(scenario, cached=False)
    assert solution.method == "bound"
    means = {}
    for policy in (Timer(), *map(get_policy, OTHERS)):
        objective = join([batch[0] for batch in rollouts(market, [policy], [False], 0, EPISODES)]).statement.objective
        means[policy.name] = objective.mean()
        assert objective.mean() >= solution.bound_bps - DOUBT * deviation(objective), policy.name
    if scenario.flow_persistence:
        assert means["timer"] < 0.0


class Watcher:
    """A schedule that trades in proportion to the price."""

    name = "watcher"

    def __init__(self, fractions):
        self.fractions = fractions

    def act(self, situation):
        price = np.asarray(situation.price) / situation.market.scenario.arrival_price
        return situation.remaining * np.clip(self.fractions[situation.k] * price, 0.0, 1.0)


def test_what_is_paid_for_an_arithmetic_price_makes_it_a_signal():
    """Who looks at it does better than the best who does not, who is therefore not the optimum."""
    scenario = replace(get_scenario("gatheral-schied"), price_model="abm", volatility=0.1, price_risk=0.1)
    market = build_market(scenario)
    trades, _ = best_schedule(build_open_loop(build_problem(market)))
    fractions = trades / np.cumsum(trades[::-1])[::-1]
    both = next(rollouts(market, [SchedulePolicy(fractions), Watcher(fractions)], [False, False], 0, EPISODES))
    saved = both[0].statement.objective - both[1].statement.objective
    assert saved.mean() > 5.0 * deviation(saved)
    assert not is_linear(market)
    assert solve(scenario, cached=False).method == "bound"


# --- strange orders


STRANGE = {
    "one slice": {"slices": 1},
    "one slice with a cap": {"slices": 1, "max_participation": 0.05},
    "one slice that need not finish": {"slices": 1, "complete": False},
    "an order that need not finish": {"complete": False},
    "no resilience": {"resilience": 0.0},
    "no transient impact": {"kyle_lambda": 0.2},
    "a huge order": {"quantity": 1e12},
    "a tiny order": {"quantity": 1e-3},
    "a falling price": {"regimes": Regimes(drift=(-0.5,))},
    "a rising price": {"regimes": Regimes(drift=(0.5,))},
    "great fear": {"risk_aversion": 1e3},
    "no volatility": {"volatility": 0.0},
    "no cost at all": {"temp_impact_alpha": 0.0, "half_spread_bps": 0.0, "kyle_lambda": 0.2, "risk_aversion": 0.0},
    "all that is linear and free": {
        "temp_impact_beta": 1.0,
        "temp_impact_alpha": 0.0,
        "kyle_lambda": 0.2,
        "risk_aversion": 0.0,
    },
    "two signals of one regime": {"slices": 3, "flow_persistence": -0.6, "regimes": Regimes()},
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_orders_are_solved(name):
    scenario = replace(get_scenario("regime-day"), **{"slices": 4, **STRANGE[name]})
    solution = solve(scenario, cached=False)
    assert solution.method != "bound"
    scale = 1e-9 * max(1.0, abs(solution.optimum_bps), abs(solution.open_loop_bps))
    error = slack(solution) + scale
    assert solution.optimum_bps <= solution.regime_blind_bps + error
    assert solution.regime_blind_bps <= solution.open_loop_bps + error
    assert solution.open_loop_bps <= solution.twap_bps + error
    market = build_market(scenario)
    sample = join([batch[0] for batch in rollouts(market, [solution.policy], [False], 0, EPISODES)]).statement.objective
    assert abs(sample.mean() - solution.optimum_bps) <= 4.0 * deviation(sample) + 3.0 * error + 1e-6 * abs(solution.optimum_bps)


def test_without_resilience_a_falling_price_is_waited_for():
    scenario = replace(get_scenario("regime-day"), slices=4, regimes=Regimes(drift=(-0.5,)))
    assert solve(scenario, cached=False).optimum_bps < 0.0


# --- the cache


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, on disk and in memory."""
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path / "kept"))
    module._remembered.cache_clear()
    yield tmp_path / "kept"
    module._remembered.cache_clear()


def again(scenario):
    """Solve as a new process does, which has nothing in memory."""
    module._remembered.cache_clear()
    return solve(scenario)


def never(scenario):
    raise AssertionError(f"{scenario.name} was solved again")


CACHED = {
    "table": replace(get_scenario("regime-day"), slices=3),
    "gains": get_scenario("almgren-chriss"),
    "signal": replace(get_scenario("gatheral-schied"), slices=3),
    "bound": replace(get_scenario("hunted-day"), slices=3),
}


@pytest.mark.parametrize("kind", CACHED)
def test_what_was_solved_is_read_and_acts_identically(cache, monkeypatch, kind):
    scenario = CACHED[kind]
    first = solve(scenario)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(module, "_solve", never)
    second = again(scenario)
    assert second is not first
    assert second.to_dict() == first.to_dict()
    assert np.array_equal(second.fractions, first.fractions)
    if first.policy:
        assert second.policy.digest == first.policy.digest
        market = build_market(scenario)
        played = next(rollouts(market, [first.policy, second.policy], [False, False], 0, 200))
        assert np.array_equal(played[0].statement.objective, played[1].statement.objective)
    assert solve(scenario) is second


@pytest.mark.parametrize("damage", [b"", b"not a file of arrays", None])
def test_a_damaged_file_is_solved_anew(cache, damage):
    scenario = CACHED["gains"]
    first = solve(scenario)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    found = again(scenario)
    assert found.optimum_bps == first.optimum_bps
    module._remembered.cache_clear()
    assert module._read(scenario) is not None  # it was mended


def test_another_scenario_is_not_taken_for_this_one(cache):
    scenario = CACHED["gains"]
    assert solve(scenario).optimum_bps != solve(replace(scenario, risk_aversion=2e-6)).optimum_bps
    assert len(list(cache.iterdir())) == 2


def test_a_folder_that_cannot_be_written_does_no_harm(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path / "file" / "kept"))
    assert again(CACHED["gains"]).method == "Riccati"
    module._remembered.cache_clear()


def test_without_the_cache_nothing_is_read_or_written(cache):
    assert solve(CACHED["gains"], cached=False).method == "Riccati"
    assert not cache.exists()


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path))
    assert module.cache_folder() == tmp_path
    monkeypatch.delenv("HYPEREXEC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert module.cache_folder() == tmp_path / "xdg" / "hyperexec"
