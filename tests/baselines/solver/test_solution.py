"""Solutions of the registered scenarios: order of the objectives, agreement with simulation, lower bounds, the cache."""

import ast
import io
import json
import math
import re
from dataclasses import replace
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest

from hyperexec_env import files
from hyperexec_env.baselines.closed_forms.gatheral_schied import EXAMPLE, discrete_cost
from hyperexec_env.baselines.policies import BASELINES, SANITY, get_policy
from hyperexec_env.baselines.solver import schedule_bps, solve
from hyperexec_env.baselines.solver import solution as module
from hyperexec_env.baselines.solver.best import within
from hyperexec_env.baselines.solver.linear import is_linear
from hyperexec_env.baselines.solver.open_loop import best_schedule, build_open_loop
from hyperexec_env.baselines.solver.policies import SchedulePolicy
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.rollout import join, rollouts
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

EPISODES = 4096
UNSOLVED = ("hunted-day", "sunshine-day", "geo-compat")
BRACKETED = ("unknown-all",)
"""Scenarios that are not solved exactly, with an upper bound besides the lower one."""
SOLVED = tuple(name for name in scenario_names() if name not in (*UNSOLVED, *BRACKETED))
LONG = ("desk-5min", "sunshine-day", "unknown-all")
"""Scenarios whose solution takes most of a minute: a cap, a bound on a grid of trades, and a bound over many told numbers.
test_level.py and test_drift.py have small ones."""
OTHERS = (*BASELINES, *SANITY)
LEVEL = NormalDist().inv_cdf(1.0 - 0.025 / len(SOLVED))
"""Standard errors of a two-sided 95 % interval that holds for all solved scenarios at once (Bonferroni)."""
ONE_SIDED_LEVEL = NormalDist().inv_cdf(1.0 - 0.05 / (len(SOLVED) * len(OTHERS)))
"""The same for one-sided comparisons of all policies in all scenarios."""


def by_name(names):
    """Parametrise a test by scenario; the long ones are slow."""
    return pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in names])


every_solved = by_name(SOLVED)


@pytest.fixture(scope="session")
def outcomes_of(solution_of):
    """Outcomes of the optimal policy (if there is one) and all other policies on the episodes of seed 0, by policy name."""

    @cache
    def simulate(name):
        market, optimal = build_market(get_scenario(name)), solution_of(name).policy
        policies = [*([optimal] if optimal else []), *map(get_policy, OTHERS)]
        outcomes = zip(*rollouts(market, policies, [False] * len(policies), 0, EPISODES, backend="numpy"), strict=True)
        return {policy.name: join(batches) for policy, batches in zip(policies, outcomes, strict=True)}

    return simulate


def objectives(market, *policies, episodes=EPISODES):
    """Objectives of policies on the episodes of seed 0, in numpy: bps, an array for each policy."""
    batches = rollouts(market, policies, [False] * len(policies), 0, episodes, backend="numpy")
    return [join(outcomes).statement.objective for outcomes in zip(*batches, strict=True)]


def realised(statement, scenario):
    """The realised objective: shortfall plus risk minus g X^2 / 2, bps."""
    market = build_market(scenario)
    permanent = 0.5 * market.impact.permanent_slope * scenario.quantity**2
    return statement.shortfall + statement.risk - 1e4 * permanent / scenario.notional


def standard_error(sample):
    return float(sample.std(ddof=1)) / math.sqrt(len(sample))


def slack(solution):
    """The tolerance for J*, bps: its stated error plus rounding."""
    return (solution.relative_error + 1e-9) * abs(solution.optimum_bps)


@every_solved
def test_the_reference_objectives_are_in_order(solution_of, name):
    solution = solution_of(name)
    assert solution.reason == ""
    assert solution.method in (
        "Riccati",
        "recursion in the belief",
        "dynamic programming",
        "dynamic programming on the log-odds",
    )
    assert 0.0 <= solution.relative_error <= 1e-4
    bound = -math.inf if solution.bound_bps is None else solution.bound_bps
    known = (bound, solution.optimum_bps, solution.regime_blind_bps, solution.open_loop_bps, solution.twap_bps)
    assert known == tuple(sorted(known))  # to the last bit
    assert solution.reference.contradictions == []


def test_the_optimum_of_gatheral_and_schied_is_its_closed_form(solution_of):
    """The grid of the dynamic programme gives 201.500718, below the optimum of an order that may trade both ways."""
    solution = solution_of("gatheral-schied")
    closed_form = 1e4 * discrete_cost(EXAMPLE, 26) / solution.scenario.notional
    assert closed_form == pytest.approx(201.500740, abs=5e-7)
    assert solution.optimum_bps == pytest.approx(closed_form, rel=1e-10)
    assert solution.optimum_bps == solution.bound_bps


def test_a_violation_of_the_order_beyond_the_error_stays_visible():
    assert within(0.999, 1.0, 2.0, error=1e-2) == 1.0
    assert within(2.001, 1.0, 2.0, error=1e-2) == 2.0
    assert within(0.9, 1.0, 2.0, error=1e-2) == 0.9
    assert within(np.array([0.999, 1.5]), np.array([1.0, 1.0]), math.inf, error=1e-2).tolist() == [1.0, 1.5]


@every_solved
def test_the_optimum_is_the_mean_over_the_first_regimes(solution_of, name):
    solution, regimes = solution_of(name), get_scenario(name).regimes
    values = np.array([solution.by_regime[regime] for regime in regimes.names])
    assert solution.optimum_bps == pytest.approx(values @ regimes.start_law(), rel=1e-12)
    assert solution.stationary_bps == pytest.approx(values @ regimes.stationary(), rel=1e-12)
    assert solution.schedule.sum() == pytest.approx(1.0, abs=1e-9)


@every_solved
def test_the_optimal_policy_attains_the_optimum(solution_of, outcomes_of, name):
    solution, statement = solution_of(name), outcomes_of(name)["optimum"].statement
    for sample in (statement.objective, realised(statement, solution.scenario)):
        assert abs(sample.mean() - solution.optimum_bps) <= LEVEL * standard_error(sample) + slack(solution)


@every_solved
def test_the_optimal_policy_beats_twap_by_the_computed_difference(solution_of, outcomes_of, name):
    """TWAP is a control variate: the difference has a smaller standard error than either objective."""
    solution, outcomes = solution_of(name), outcomes_of(name)
    difference = outcomes["optimum"].statement.objective - outcomes["TWAP"].statement.objective
    expected = solution.optimum_bps - solution.twap_bps
    error = LEVEL * standard_error(difference) + slack(solution) + 1e-6 * solution.twap_bps
    assert abs(difference.mean() - expected) <= error


@every_solved
def test_no_policy_lies_significantly_below_the_optimum(solution_of, outcomes_of, name):
    solution, outcomes = solution_of(name), outcomes_of(name)
    optimal = outcomes["optimum"].statement
    for other in OTHERS:
        own = outcomes[other].statement
        for sample in (own.objective, realised(own, solution.scenario)):
            bound = solution.optimum_bps - ONE_SIDED_LEVEL * standard_error(sample) - slack(solution)
            assert sample.mean() >= bound, other
        for paired in (
            own.objective - optimal.objective,
            realised(own, solution.scenario) - realised(optimal, solution.scenario),
        ):
            assert paired.mean() >= -ONE_SIDED_LEVEL * standard_error(paired) - slack(solution), other


@every_solved
def test_the_objective_by_first_regime_agrees_with_simulation(solution_of, name):
    """Group the episodes by their first regime; regimes with fewer than 100 episodes are skipped."""
    solution, scenario = solution_of(name), get_scenario(name)
    outcomes = rollouts(build_market(scenario), [solution.policy], [False], 0, 2 * EPISODES, backend="numpy")
    outcome = join([outcome for (outcome,) in outcomes])
    for m, regime in enumerate(scenario.regimes.names):
        sample = outcome.statement.objective[outcome.start_regime == m]
        if len(sample) >= 100:
            error = 1.25 * LEVEL * standard_error(sample)  # wider, because six regimes are compared
            assert abs(sample.mean() - solution.by_regime[regime]) <= error + slack(solution), regime


# --- the objective of a schedule


def test_a_schedule_holds_shares_of_the_order(solution_of):
    """[0.2] * 5 is TWAP, 324.10 bps; as fractions of the remaining shares it leaves 41 % to the last slice, 403.17 bps."""
    twap = schedule_bps("almgren-chriss", [0.2] * 5)
    assert twap == pytest.approx(324.1, abs=1e-9)
    assert twap == pytest.approx(solution_of("almgren-chriss").twap_bps, rel=1e-12)
    assert schedule_bps("almgren-chriss", fractions=[0.2] * 5) == pytest.approx(403.1675788800, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "difference"), [("regime-day", 1e-9), pytest.param("desk-5min", 1e-6, marks=pytest.mark.slow)]
)
def test_both_forms_of_a_schedule_have_the_same_objective(solution_of, name, difference):
    """The second scenario has a participation cap: what is carried beyond the last planned trade has no fraction of its own."""
    solution = solution_of(name)
    by_fractions = schedule_bps(name, fractions=solution.fractions)
    assert schedule_bps(name, solution.schedule) == pytest.approx(by_fractions, rel=difference)
    assert by_fractions == pytest.approx(solution.open_loop_bps, rel=1e-12)


def test_a_schedule_may_end_before_the_deadline():
    at_once = schedule_bps("almgren-chriss", [1, 0, 0, 0, 0])
    assert at_once == pytest.approx(schedule_bps("almgren-chriss", fractions=[1.0, 0.0, 0.0, 0.0, 0.0]))
    assert at_once == pytest.approx(487.5)  # half-spread 12.5 bps, temporary cost (2.5e-6 - 2.5e-7 / 2) 1e12 / 1 over 5e7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"schedule": [0.5, 0.5, 0.5, 0.5, 1.0]},
            "schedule must sum to 1 (shares of the order), got a sum of 3; pass fractions=...",
        ),
        (
            {"schedule": [0.2, 0.2, 0.2, 0.2, 0.1]},
            "schedule must sum to 1 (shares of the order), got a sum of 0.9; pass fractions=...",
        ),
        ({"schedule": [0.5, 0.5]}, "schedule must hold 5 numbers, got 2"),
        ({"schedule": [1.5, -0.5, 0, 0, 0]}, "schedule[0] must be a number in [0, 1] fraction of the order, got 1.5"),
        ({"schedule": "TWAP"}, "schedule must be a list of numbers, got 'TWAP'"),
        (
            {"fractions": [0.5, 0.5, 0.5, 0.5, math.nan]},
            "fractions[4] must be a number in [0, 1] fraction of the remaining shares, got nan",
        ),
        ({}, "schedule (shares of the order) or fractions (of the remaining shares) must be given, and not both"),
        ({"schedule": [0.2] * 5, "fractions": [0.2] * 5}, "schedule (shares of the order) or fractions"),
    ],
)
def test_an_invalid_schedule_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        schedule_bps("almgren-chriss", **arguments)


# --- scenarios without an exact solution


@by_name(UNSOLVED)
def test_unsolved_scenarios_have_a_reason_and_a_lower_bound(solution_of, outcomes_of, name):
    solution = solution_of(name)
    assert solution.method == "bound"
    assert solution.reason
    assert solution.optimum_bps is solution.policy is solution.best_schedule is None
    assert solution.reference == Optimum(bound_bps=solution.bound_bps)
    for other, outcome in outcomes_of(name).items():
        objective = outcome.statement.objective
        assert objective.mean() >= solution.bound_bps - ONE_SIDED_LEVEL * standard_error(objective), other


@by_name(BRACKETED)
def test_bracketed_scenarios_have_a_bound_on_either_side_and_schedules(solution_of, outcomes_of, name):
    solution = solution_of(name)
    assert solution.method == "bound"
    assert solution.optimum_bps is solution.policy is None
    assert solution.bound_bps < solution.upper_bps <= solution.open_loop_bps < solution.twap_bps
    assert solution.reference.contradictions == []
    for other, outcome in outcomes_of(name).items():
        objective = outcome.statement.objective
        assert objective.mean() >= solution.bound_bps - ONE_SIDED_LEVEL * standard_error(objective), other


PREDICTABLE = {"quantity": 5_000.0, "flow_persistence": 0.8, "flow_share": 0.9, "risk_aversion": 0.0}
"""An order so small and a price so predictable that waiting for favourable prices earns money."""
MIXED = {
    "geometric price and persistent flow": {**PREDICTABLE, "price_model": "gbm"},
    "with price risk": {**PREDICTABLE, "price_model": "gbm", "price_risk": 0.01},
    "with a predator": {**PREDICTABLE, "price_model": "gbm", "predator": 0.3},
    "with liquidity": {**PREDICTABLE, "price_model": "gbm", "predator": -0.3},
    "nonlinear transient impact and persistent flow": {**PREDICTABLE, "transient_exponent": 0.5},
    "arithmetic price and price risk": {"price_risk": 0.02},
}


class Timer:
    """Policy that waits while the expected price move favours the order and trades fast otherwise."""

    name = "timer"

    def act(self, situation):
        favourable = -situation.side * np.asarray(situation.flow) > 0.3
        return situation.remaining * np.where(favourable, 0.0, 0.7)


@pytest.mark.parametrize("name", MIXED)
def test_lower_bounds_hold_for_combinations_of_unsolved_features(name):
    scenario = replace(get_scenario("regime-day"), name="mixed", slices=6, **MIXED[name])
    market, solution = build_market(scenario), solve(scenario, cached=False)
    assert solution.method == "bound"
    means = {}
    policies = (Timer(), *map(get_policy, OTHERS))
    for policy, objective in zip(policies, objectives(market, *policies), strict=True):
        means[policy.name] = objective.mean()
        assert objective.mean() >= solution.bound_bps - ONE_SIDED_LEVEL * standard_error(objective), policy.name
    if scenario.flow_persistence:
        assert means["timer"] < 0.0


class PriceScaled:
    """Fixed schedule whose fractions are scaled by the price over the arrival price."""

    name = "price-scaled"

    def __init__(self, fractions):
        self.fractions = fractions

    def act(self, situation):
        price = np.asarray(situation.price) / situation.market.scenario.arrival_price
        return situation.remaining * np.clip(self.fractions[situation.k] * price, 0.0, 1.0)


def test_price_risk_makes_an_arithmetic_price_a_signal():
    """A policy that uses the price beats the best fixed schedule, which is therefore not the optimum."""
    scenario = replace(get_scenario("gatheral-schied"), price_model="abm", volatility=0.1, price_risk=0.1)
    market = build_market(scenario)
    trades, _ = best_schedule(build_open_loop(build_problem(market)))
    fractions = trades / np.cumsum(trades[::-1])[::-1]
    fixed, scaled = objectives(market, SchedulePolicy(fractions), PriceScaled(fractions))
    saved = fixed - scaled
    assert saved.mean() > 5.0 * standard_error(saved)
    assert not is_linear(market)
    assert solve(scenario, cached=False).method == "bound"


# --- edge cases


DAY = get_scenario("regime-day")
NO_TRANSIENT = {"kyle_multiple": DAY.perm_impact_multiple}
EDGE_CASES = {
    "one slice": {"slices": 1},
    "one slice with a cap": {"slices": 1, "max_participation": 0.05},
    "one slice with complete = false": {"slices": 1, "complete": False},
    "complete = false": {"complete": False},
    "no resilience": {"resilience": 0.0},
    "no transient impact": NO_TRANSIENT,
    "a huge order": {"quantity": 1e12},
    "a tiny order": {"quantity": 1e-3},
    "a falling price": {"regimes": Regimes(drift=(-0.5,))},
    "a rising price": {"regimes": Regimes(drift=(0.5,))},
    "extreme risk aversion": {"risk_aversion": 1e3},
    "no volatility": {"volatility": 0.0, "kyle_multiple": None, "perm_impact_multiple": None},
    "no cost at all": {"temp_impact_alpha": 0.0, "half_spread_bps": 0.0, "risk_aversion": 0.0, **NO_TRANSIENT},
    "no cost at all and linear impact": {
        "temp_impact_beta": 1.0,
        "temp_impact_alpha": 0.0,
        "risk_aversion": 0.0,
        **NO_TRANSIENT,
    },
    "one regime and a mean-reverting flow": {"slices": 3, "flow_persistence": -0.6, "regimes": Regimes()},
}


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases_are_solved(name):
    scenario = replace(DAY, **{"slices": 4, **EDGE_CASES[name]})
    solution = solve(scenario, cached=False)
    assert solution.method != "bound"
    scale = 1e-9 * max(1.0, abs(solution.optimum_bps), abs(solution.open_loop_bps))
    error = slack(solution) + scale
    assert solution.optimum_bps <= solution.regime_blind_bps + error
    assert solution.regime_blind_bps <= solution.open_loop_bps + error
    assert solution.open_loop_bps <= solution.twap_bps + error
    market = build_market(scenario)
    (sample,) = objectives(market, solution.policy)
    assert abs(sample.mean() - solution.optimum_bps) <= 4.0 * standard_error(sample) + 3.0 * error + 1e-6 * abs(
        solution.optimum_bps
    )


def test_with_a_falling_price_the_optimum_is_negative():
    scenario = replace(get_scenario("regime-day"), slices=4, regimes=Regimes(drift=(-0.5,)))
    assert solve(scenario, cached=False).optimum_bps < 0.0


# --- the cache


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Set up an empty cache on disk and in memory; return its folder."""
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path / "cache"))
    module._solve_cached.cache_clear()
    yield tmp_path / "cache"
    module._solve_cached.cache_clear()


def solve_anew(scenario):
    """Solve without the cache in memory, as a new process does."""
    module._solve_cached.cache_clear()
    return solve(scenario)


def fail(scenario):
    raise AssertionError(f"{scenario.name} was solved again")


CACHED = {
    "table": replace(get_scenario("regime-day"), slices=3),
    "gains": get_scenario("almgren-chriss"),
    "signal": replace(get_scenario("gatheral-schied"), slices=3),
    "bound": replace(get_scenario("hunted-day"), slices=3),
}


@pytest.mark.parametrize("kind", CACHED)
def test_a_cached_solution_is_read_and_acts_identically(folder, monkeypatch, kind):
    scenario = CACHED[kind]
    first = solve(scenario)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(module, "_solve", fail)
    second = solve_anew(scenario)
    assert second is not first
    assert second.to_dict() == first.to_dict()
    assert np.array_equal(second.fractions, first.fractions)
    if first.policy:
        assert second.policy.digest == first.policy.digest
        assert np.array_equal(*objectives(build_market(scenario), first.policy, second.policy, episodes=200))
    assert solve(scenario) is second


def test_a_damaged_or_changed_cache_file_is_replaced(folder, capsys):
    scenario, other = CACHED["gains"], replace(CACHED["gains"], risk_aversion=2e-6)
    first, _ = solve(scenario), solve(other)
    file, foreign = module._cache_file(scenario), module._cache_file(other)
    whole = file.read_bytes()
    arrays = dict(np.load(io.BytesIO(whole[64:])))
    about = json.loads(str(arrays.pop("about")))
    about["optimum_bps"]["start"] = 1.0
    changed = io.BytesIO()
    np.savez_compressed(changed, about=np.array(json.dumps(about)), **arrays)
    for damage in (b"", whole[: len(whole) // 2], whole[:64] + changed.getvalue(), foreign.read_bytes()):
        files._REPORTED.clear()
        file.write_bytes(damage)
        assert solve_anew(scenario).optimum_bps == first.optimum_bps
        assert "is not used (it is damaged)" in capsys.readouterr().err
        assert module._read_cache(scenario) is not None  # the file was rewritten


def test_the_hash_of_the_code_covers_what_the_solver_is_made_of():
    """The rooms that the covered files import are covered, except those that change no number of a stored solution.

    Of the desk, only baskets use the program of the best schedule; their solutions are not stored.
    """
    sources = module._sources()
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources]
    imported = {node.module for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    rooms = {name.split(".")[1] for name in imported if name.startswith("hyperexec_env.")}
    covered = {"market", "orders", "records"}
    assert covered <= rooms <= covered | {"checks", "envs", "evaluation", "execution", "files", "progress"}
    assert {"records.py", "kernel.py", "dynamic.py"} <= {path.name for path in sources}


def test_scenarios_do_not_share_cache_files(folder):
    scenario = CACHED["gains"]
    assert solve(scenario).optimum_bps != solve(replace(scenario, risk_aversion=2e-6)).optimum_bps
    assert len(list(folder.iterdir())) == 2


def test_an_unwritable_cache_folder_is_ignored(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path / "file" / "cache"))
    assert solve_anew(CACHED["gains"]).method == "Riccati"
    module._solve_cached.cache_clear()


def test_without_the_cache_nothing_is_read_or_written(folder):
    assert solve(CACHED["gains"], cached=False).method == "Riccati"
    assert not folder.exists()


def test_environment_variables_set_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path))
    assert module.cache_folder() == tmp_path
    monkeypatch.delenv("HYPEREXEC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert module.cache_folder() == tmp_path / "xdg" / "hyperexec"
