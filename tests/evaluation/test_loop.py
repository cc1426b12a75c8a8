"""Compiled rollouts: those of numpy, whatever the market, the policy, the threads and the batches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the extra `fast`")

from hyperexec_env.backends.layout import TILE
from hyperexec_env.baselines.policies import get_policy, policy_names
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.dynamic import Table
from hyperexec_env.baselines.solver.policies import LinearPolicy, SchedulePolicy, TablePolicy
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.baselines.solver.spline import Axis
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.child import ends_in_time
from hyperexec_env.evaluation.identity import Cell, engine, policy_hash
from hyperexec_env.evaluation.loop import RuleLoop
from hyperexec_env.evaluation.policy import read_only
from hyperexec_env.evaluation.rollout import join, roll, roll_rule, rollouts
from hyperexec_env.evaluation.rule import Rule, RulePolicy, plan_rule, rule_of
from hyperexec_env.evaluation.store import Store, difference
from hyperexec_env.evaluation.verification import verify
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import MarketSpec, build_market

observed_or_hidden = pytest.mark.parametrize("hidden", [False, True], ids=["observed", "hidden"])

ROOT = Path(__file__).parent.parent.parent
EPISODES = 2 * TILE + 40
"""Two tiles and a part of a third."""


@dataclass(frozen=True)
class ByRegime:
    """A plan that asks for another fraction in each slice and regime, at times for less than nothing or more than all."""

    digest: str = "by regime"
    name: str = "by regime"

    def fractions(self, market):
        drawn = np.random.default_rng(market.slices).random((market.slices, market.regimes + 1))
        return 3.0 * drawn / (market.slices - np.arange(market.slices)[:, None]) - 0.02

    def act(self, situation):
        return situation.remaining * self.fractions(situation.market)[situation.k, situation.seen]

    def rule(self, market, hidden):
        return plan_rule(self.fractions(market), market)


class Curiosity(NamedTuple):
    """Parameters of the curious rule: numbers and an array of single precision."""

    share: Any
    by_displacement: Any
    arrival_price: Any
    by_slice: Any


def curious(given, now):
    share = given.share * (1.0 + 0.1 * now.flow) + given.by_displacement * now.transient / now.price
    share = share + given.by_slice[now.k] * (now.price / given.arrival_price - 1.0) + now.permanent / now.price
    bought = (now.last_shares / now.last_volume + (now.last_price / now.price - 1.0)) * now.side
    return (now.remaining * share + 0.01 * bought * now.quantity) * (1.0 + 0.05 * now.seen)


class Curious(RulePolicy):
    """A policy that asks for all that a rule may know."""

    name = "curious"

    def rule(self, market, hidden):
        by_slice = np.linspace(0.0, 8.0, market.slices).astype(np.float32)
        return Rule(curious, Curiosity(1.5 / market.slices, 2.0, market.scenario.arrival_price, by_slice))


class Nothing(NamedTuple):
    """Parameters of a rule without any; a loop wants a number."""

    unused: Any = 0.0


def a_tenth(given, now):
    return 0.1 * now.remaining


class Stuck(NamedTuple):
    """Parameters of the rule that never ends."""

    above: Any
    """The rule never ends where less than this share remains."""


def stuck(given, now):
    waited = 0.0
    while waited >= 0.0 and now.remaining < given.above * now.quantity:
        waited += 1.0
    return 0.1 * now.remaining + 0.0 * waited


@dataclass(frozen=True)
class OwnStuck:
    """A policy whose `act` returns and whose rule never ends."""

    above: float
    name: str = "stuck"

    def act(self, situation):
        return 0.1 * situation.remaining

    def rule(self, market, hidden):
        return Rule(stuck, Stuck(self.above))


def arrays(outcome):
    """The arrays of an outcome, by name."""
    statement = outcome.statement
    named = dict(zip(statement._fields[:4], statement[:4], strict=True)) | statement.components._asdict()
    return named | {"forced": outcome.forced, "inventory": outcome.inventory}


def assert_agree(ours, theirs):
    """The same regimes and keys, and every field to 1e-9 of its largest value."""
    assert ours.path_hash == theirs.path_hash
    assert np.array_equal(ours.start_regime, theirs.start_regime)
    expected = arrays(theirs)
    for name, values in arrays(ours).items():
        assert values.shape == expected[name].shape, name
        assert np.abs(values - expected[name]).max() <= 1e-9 * np.abs(expected[name]).max(), name


def run(market, policies, hidden=False, seed=3, episodes=EPISODES, batch=4096, **options):
    """The outcome of each policy over all batches."""
    batches = list(rollouts(market, policies, [hidden] * len(policies), seed, episodes, batch, **options))
    return [join(outcomes) for outcomes in zip(*batches, strict=True)]


# --- numba is numpy


FULL = {
    "base": "trending-day",
    "name": "full",
    "temp_impact_beta": 0.5,
    "predator": 0.3,
    "flow_persistence": 0.5,
    "complete": False,
    "max_participation": 0.02,
    "volume_level_sd": 0.4,
    "volume_persistence": 0.4,
    "drift_sd": 0.02,
    "temp_impact_sd": 0.3,
    "volatility_curve": [1.6, 0.8, 0.7, 1.2],
    "side": -1,
}
ROUGH = {
    "base": "gatheral-schied",
    "name": "rough",
    "kyle_lambda": 0.3,
    "resilience": 1.0,
    "transient_exponent": 0.5,
}
LEVELLED = {"base": "regime-day", "name": "levelled", "volume_level_sd": 0.5, "kyle_sd": 0.5}
MARKETS = {"regime-day": "regime-day", "full": FULL, "rough": ROUGH, "levelled": LEVELLED}
"""Markets that together have both values of each constant of a loop: every market costs seconds to compile."""


def market_of(name):
    return build_market(get_scenario(MARKETS[name]))


def test_the_markets_differ_in_each_constant_of_a_loop():
    specs = [market_of(name).numbers.spec for name in MARKETS]
    for constant in MarketSpec._fields:
        assert len({getattr(spec, constant) for spec in specs}) > 1, constant


@pytest.mark.parametrize(
    ("scenario", "hidden"),
    [
        pytest.param("regime-day", False, marks=pytest.mark.slow),  # `envs/test_agreement.py` has its compiled rollout
        ("full", True),
        pytest.param("rough", False, marks=pytest.mark.slow),
        pytest.param("levelled", False, marks=pytest.mark.slow),
    ],
)
def test_compiled_rollouts_are_those_of_numpy(scenario, hidden):
    market = market_of(scenario)
    policies = [get_policy("TWAP"), ByRegime()]  # both are plans: one loop
    numba, numpy = (run(market, policies, hidden, backend=backend) for backend in ("numba", "numpy"))
    for ours, theirs in zip(numba, numpy, strict=True):
        assert_agree(ours, theirs)
    told, other = numba
    assert told.path_hash == other.path_hash
    assert np.abs(told.statement.objective - other.statement.objective).max() > 1e-3
    if not market.scenario.complete:
        assert all(outcome.inventory[:, -1].sum() > 1.0 and outcome.statement.components.opportunity.any() for outcome in numba)


def test_scenarios_of_a_kind_agree_too():
    """One slice, and an order that begins with the day: other numbers in the same loop."""
    for change in ({"slices": 1}, {"start_minute": 0.0, "quantity": 3.0, "side": -1}):
        market = build_market(replace(get_scenario("regime-day"), **change))
        policies = [get_policy("TWAP"), ByRegime()]
        numba, numpy = (run(market, policies, backend=backend) for backend in ("numba", "numpy"))
        for ours, theirs in zip(numba, numpy, strict=True):
            assert_agree(ours, theirs)


@observed_or_hidden
def test_a_rule_knows_what_a_policy_knows(hidden):
    """Every field of the situation; a hidden regime hides the displacement and the last price too."""
    market = build_market(get_scenario("regime-day"))
    numba, numpy = (run(market, [Curious()], hidden, backend=backend) for backend in ("numba", "numpy"))
    assert_agree(numba[0], numpy[0])


def test_a_policy_without_a_rule_takes_part_as_before():
    market = build_market(get_scenario("regime-day"))
    policies = [Plain("POV"), get_policy("TWAP"), Plain("IS")]
    assert rule_of(policies[0], market, False) is None
    numba, numpy = (run(market, policies, backend=backend) for backend in ("numba", "numpy"))
    assert difference(numba[0], numpy[0]) == difference(numba[2], numpy[2]) == ""
    assert {outcome.path_hash for outcome in (*numba, *numpy)} == {numpy[0].path_hash}


# --- threads and batches


def test_the_number_of_threads_changes_no_bit():
    """Also where each of them takes many parts of the episodes."""
    market, keys = build_market(get_scenario("regime-day")), episode_keys(3, np.arange(40_000), board=True)
    rule = ByRegime().rule(market, False)
    alone = roll_rule(market, RuleLoop(market, rule), keys)
    for threads in (2, 3, 7):
        assert difference(roll_rule(market, RuleLoop(market, rule, threads=threads), keys), alone) == ""
    few = join([roll_rule(market, RuleLoop(market, rule), keys[:3_000])])
    for threads in (1, 2, None):
        assert difference(run(market, [ByRegime()], episodes=3_000, num_threads=threads)[0], few) == ""


@pytest.mark.parametrize("batch", [1, TILE - 1, TILE + 1, 1024])
def test_the_size_of_the_batches_changes_no_bit_of_an_episode(batch):
    """Sums over episodes may round otherwise: by a unit for each that is added."""
    market, episodes = build_market(get_scenario("regime-day")), 40 if batch == 1 else 2_100
    (whole,), (parts,) = (run(market, [ByRegime()], episodes=episodes, batch=size) for size in (episodes, batch))
    expected = arrays(whole)
    for name, values in arrays(parts).items():
        if name == "inventory":
            assert values == pytest.approx(expected[name], rel=episodes * 2.0**-52, abs=0.0)
        else:
            assert np.array_equal(values, expected[name]), name
    assert np.array_equal(parts.start_regime, whole.start_regime)


def test_an_episode_does_not_know_its_neighbours():
    market, keys = build_market(get_scenario("regime-day")), episode_keys(3, np.arange(2 * TILE))
    rule = plan_rule(np.full(market.slices, 0.1), market)
    loop = RuleLoop(market, rule)
    whole, alone = loop.run(keys), loop.run(keys[TILE + 5 : TILE + 6])
    assert whole.trace[TILE + 5] == alone.trace[0]
    assert whole.settled.statement.shortfall[TILE + 5] == alone.settled.statement.shortfall[0]


# --- what a policy offers is what it does


def answers(rule, situation):
    """What a rule asks for in each episode, one after the other, as compiled loops call it."""
    columns = (np.broadcast_to(values, situation.remaining.shape).tolist() for values in situation[1:])
    rows = zip(*columns, strict=True)
    return [float(rule.decide(rule.parameters, Situation(None, *row))) for row in rows]


class Plain:
    """A policy that answers as a baseline does and offers no rule."""

    def __init__(self, name):
        self.policy, self.name = get_policy(name), f"plain {name}"
        self.digest = self.name

    def act(self, situation):
        return self.policy.act(situation)


class Checking:
    """A policy that holds every answer of another one against its rule."""

    def __init__(self, policy, rule):
        self.policy, self.rule, self.name, self.answers = policy, rule, policy.name, 0

    def act(self, situation):
        shares = self.policy.act(read_only(situation))
        asked = np.broadcast_to(shares, situation.remaining.shape)
        assert asked.tolist() == answers(self.rule, situation), situation.k
        self.answers += 1
        return shares


def assert_the_rule_is_what_it_does(policy, market, hidden):
    rule = rule_of(policy, market, hidden)
    checking = Checking(policy, rule)
    roll(market, checking, draw_path(market, episode_keys(8, np.arange(7)), float(market.scenario.side)), hidden)
    assert checking.answers == market.slices


RULED = [name for name in policy_names() if rule_of(get_policy(name), build_market(get_scenario("regime-day")), False)]


def test_the_fixed_schedules_offer_a_rule():
    assert {"TWAP", "VWAP", "IS", "AC", "all-at-once", "wait-then-dump", "every-5th"} <= set(RULED)


@pytest.mark.fast
@pytest.mark.parametrize("name", RULED)
def test_every_policy_that_offers_a_rule_answers_by_it(name):
    for number, scenario in enumerate(["regime-day", "desk-5min", "flow-signal", "geo-compat"]):
        assert_the_rule_is_what_it_does(get_policy(name), build_market(get_scenario(scenario)), number % 2 == 1)


@observed_or_hidden
def test_a_schedule_of_the_solver_answers_by_its_rule(hidden):
    market = build_market(get_scenario("desk-5min"))
    assert_the_rule_is_what_it_does(SchedulePolicy(np.linspace(0.05, 1.0, market.slices)), market, hidden)


@pytest.mark.parametrize("by_flow", [True, False])
def test_gains_of_the_solver_answer_by_their_rule(by_flow):
    """With random gains, so that each of them counts; who is not told the regime has no such policy."""
    market = build_market(get_scenario("flow-signal"))
    gains = np.random.default_rng(4).normal(0.1, 0.1, (market.slices, market.regimes, 4))
    policy = LinearPolicy(gains, by_flow)
    assert rule_of(policy, market, True) is None
    assert_the_rule_is_what_it_does(policy, market, False)


def test_a_plan_of_another_shape_is_refused():
    for shape in [(), (25,), (26, 6), (7, 26), (26, 7, 1)]:
        market = build_market(get_scenario("regime-day"))
        message = f"a plan must have the shape (26,) or (26, 7), got {shape}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            plan_rule(np.zeros(shape), market)


@pytest.mark.parametrize(
    ("field", "value"),
    [("share", np.nan), ("by_displacement", -np.inf), ("by_slice", np.array([0.0, np.inf])), ("by_slice", np.array([np.nan]))],
)
def test_a_rule_of_something_that_is_no_number_is_refused(value, field):
    class Broken(Curious):
        name = "broken"

        def rule(self, market, hidden):
            rule = super().rule(market, hidden)
            return rule._replace(parameters=rule.parameters._replace(**{field: value}))

    market = build_market(get_scenario("regime-day"))
    message = f"^parameter '{field}' of the rule of 'broken' must hold finite numbers only$"
    with pytest.raises(ValueError, match=message):
        rule_of(Broken(), market, False)
    with pytest.raises(ValueError, match=message):
        run(market, [Broken()], backend="numba")


def a_share(share):
    """A rule that holds its share in a closure."""

    def decide(given, now):
        return share * now.remaining

    return decide


def from_source(share):
    """A function of the same name from the same place, as one that is defined anew in a notebook."""
    names = {}
    source = f"def decide(given, now):\n    return {share} * now.remaining\n"
    exec(compile(source, "<cell>", "exec"), names | {"__name__": "__main__"}, names)  # noqa: S102
    return names["decide"]


@pytest.mark.parametrize("make", [a_share, from_source])
def test_a_rule_is_not_taken_for_one_of_its_name_that_was_compiled_before(make, tmp_path, monkeypatch):
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path))
    market, keys = build_market(get_scenario("regime-day")), episode_keys(3, np.arange(2))
    for share in (0.1, 0.9):
        decide = make(share)
        if decide.__module__ is None:
            decide.__module__ = "__main__"
        held = RuleLoop(market, Rule(decide, Nothing())).run(keys).inventory.sum(axis=0)
        assert held[1] / held[0] == pytest.approx(1.0 - share)
    assert not list(tmp_path.rglob("*.loop"))  # nobody knows what it depends on: it is not kept


def test_a_policy_that_inherits_a_rule_and_acts_in_another_way_is_judged_by_what_it_does():
    class AtOnce(type(get_policy("TWAP"))):
        def act(self, situation):
            return situation.remaining

    market, policy = build_market(get_scenario("regime-day")), AtOnce("TWAP")
    assert rule_of(policy, market, False) is None
    (own,), (ours,) = run(market, [policy]), run(market, [get_policy("all-at-once")])
    assert np.array_equal(own.statement.objective, ours.statement.objective)


def test_a_policy_whose_answers_were_replaced_has_no_rule():
    policy, market = Curious(), build_market(get_scenario("regime-day"))
    assert rule_of(policy, market, False) is not None
    policy.act = lambda situation: situation.remaining
    assert rule_of(policy, market, False) is None


def test_a_rule_that_does_something_else_than_its_policy_is_refused():
    class TwoFaced(Curious):
        name = "two-faced"

        def act(self, situation):
            return situation.remaining

        def rule(self, market, hidden):
            return super().rule(market, hidden)

    market = build_market(get_scenario("regime-day"))
    with pytest.raises(ValueError, match=r"^the rule of policy 'two-faced' must trade as its `act`, got objectives of"):
        run(market, [TwoFaced()], backend="numba")
    run(market, [TwoFaced()], backend="numpy")


def test_a_rule_that_errs_seldom_is_refused_too():
    class Seldom(Curious):
        name = "seldom"

        def act(self, situation):
            shares = super().act(situation)
            return np.where(np.arange(len(shares)) == 7, 0.0, shares)

        def rule(self, market, hidden):
            return super().rule(market, hidden)

    market = build_market(get_scenario("regime-day"))
    with pytest.raises(ValueError, match=r"1 of 64 episodes differ"):
        run(market, [Seldom()], backend="numba")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((1.0, 2.0), "the rule of 'odd' must be a Rule or None, got tuple"),
        (Rule(a_tenth, np.zeros(2)), "the parameters of the rule of 'odd' must be a NamedTuple, got ndarray"),
        (
            Rule(a_tenth, Nothing(np.zeros((2, 2)))),
            "parameter 'unused' of the rule of 'odd' must be a number or a flat array, got array([[0., 0.],",
        ),
        (Rule(a_tenth, Nothing("x")), "parameter 'unused' of the rule of 'odd' must be a number or a flat array, got 'x'"),
    ],
)
def test_a_rule_that_is_none_is_one_clear_error(answer, message):
    class Odd(Curious):
        name = "odd"

        def rule(self, market, hidden):
            return answer

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        rule_of(Odd(), build_market(get_scenario("regime-day")), False)


def no_number(given, now):
    return now.remaining / (now.k - 3.0) * 0.0 / (now.k - 3.0)


def test_a_rule_that_answers_with_no_number_is_refused():
    market, keys = build_market(get_scenario("regime-day")), episode_keys(3, np.arange(EPISODES))
    with pytest.raises(ValueError, match=f"^a rule must return finite shares, got something else {EPISODES} times"):
        RuleLoop(market, Rule(no_number, Nothing())).run(keys)


def test_a_bad_option_gets_one_line():
    for options, message in [
        ({"backend": "cython"}, "backend must be one of auto, numba, numpy, got 'cython'"),
        ({"backend": None}, "backend must be one of auto, numba, numpy, got None"),
        ({"num_threads": 0}, "num_threads must be a whole number in [1, 256], got 0"),
        ({"num_threads": 2.5}, "num_threads must be a whole number in [1, 256], got 2.5"),
    ]:
        market = build_market(get_scenario("almgren-chriss"))
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            run(market, [get_policy("TWAP")], **options)


# --- the store


def test_results_of_the_two_engines_are_kept_apart(tmp_path):
    market, policies = build_market(get_scenario("regime-day")), [get_policy("TWAP"), Plain("POV")]
    assert engine(True) != engine(False)
    with Store(tmp_path / "s") as store:
        numpy = run(market, policies, store=store, backend="numpy")
        assert len(store.cells()) == 2
        numba = run(market, policies, store=store, backend="numba")
        assert sorted(cell.engine for cell, _ in store.cells()) == sorted([engine(), engine(), engine(True)])
        for backend, expected in (("numpy", numpy), ("numba", numba)):
            again = run(market, policies, store=store, backend=backend)
            assert all(difference(one, other) == "" for one, other in zip(again, expected, strict=True))
    assert difference(run(market, policies[:1], backend="numba")[0], numba[0]) == ""


def test_the_results_of_both_engines_are_computed_again(tmp_path):
    """Half of them in several threads; what differs in a bit is found in either."""
    market, policies = build_market(get_scenario("regime-day")), [get_policy("TWAP"), ByRegime()]
    known = {policy_hash(policy): policy for policy in policies}
    with Store(tmp_path / "s") as store:
        for backend in ("numpy", "numba"):
            run(market, policies, episodes=2_500, batch=1_500, store=store, backend=backend, num_threads=2)
        found = verify(store, known)
        assert found.sound
        assert [(finding.cells, finding.skipped) for finding in found.findings] == [(4, "")] * 2
    for mark in (engine(), engine(True)):
        with Store(tmp_path / mark) as store:
            (outcome,) = run(market, policies[:1], episodes=50, backend="numba" if mark == engine(True) else "numpy")
            cell = Cell(mark, market.scenario.hash, 3, 0, 50, policy_hash(policies[0]), False)
            outcome.statement.objective[7] = np.nextafter(outcome.statement.objective[7], np.inf)
            path_hash = roll(market, policies[0], draw_path(market, episode_keys(3, np.arange(50)), 1.0)).path_hash
            store.put(cell, outcome._replace(path_hash=path_hash), market.scenario, "TWAP")
            found = verify(store, known)
            assert not found.sound
            assert "episodes 0 to 49: DIFFERENT in 1 of 50 values of objective" in str(found)


def assert_the_same_in_both_ways(market, policy):
    """Play a policy with a rule on some episodes: compiled, and by numpy."""
    assert rule_of(policy, market, False) is not None
    ours, theirs = (next(rollouts(market, [policy], [False], 5, EPISODES, backend=way))[0] for way in ("numba", "numpy"))
    for one, other in zip((*ours.statement[:4], ours.inventory), (*theirs.statement[:4], theirs.inventory), strict=True):
        assert np.abs(one - other).max() <= 1e-9 * np.abs(other).max()


def test_the_optimum_is_the_same_policy_in_a_compiled_loop():
    assert_the_same_in_both_ways(build_market(get_scenario("regime-day")), solve(get_scenario("regime-day")).policy)


@pytest.mark.parametrize("by_flow", [True, False])
def test_tables_and_gains_with_a_signal_are_the_same_policies_in_a_compiled_loop(by_flow):
    """With random numbers, so that each of them counts; the signal is the flow, or the price."""
    market, rng = build_market(get_scenario("regime-day")), np.random.default_rng(4)
    axis = Axis(-2.0, 2.0, 9) if by_flow else Axis(-0.02, 0.02, 9)
    problem = build_problem(market)._replace(axis=axis, signal=axis.nodes, follows="flow" if by_flow else "price")
    fractions = rng.uniform(0.0, 0.3, (market.slices, market.regimes, 9, 6, 5))
    table = Table(np.zeros((market.regimes, 9)), fractions, Axis(0.0, 1.0, 6), Axis(0.0, 1.0, 5))
    assert_the_same_in_both_ways(market, TablePolicy(problem, table))
    gains = rng.normal(0.1, 0.1, (market.slices, market.regimes, 4))
    assert_the_same_in_both_ways(market, LinearPolicy(gains, by_flow))


def test_the_optimum_has_no_rule_where_the_regime_is_hidden():
    for name in ("regime-day", "almgren-chriss"):
        assert rule_of(solve(get_scenario(name)).policy, build_market(get_scenario(name)), True) is None


SPECIFICATIONS_OF_ARGUMENTS = """
import sys
from hyperexec_env.evaluation.rollout import rollouts
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.baselines.policies import get_policy

for name in sys.argv[1:]:
    market = build_market(get_scenario(name))
    both = (next(rollouts(market, [get_policy("TWAP")], [False], 3, 50, backend=way)) for way in ("numba", "numpy"))
    (ours,), (theirs,) = both
    assert abs(ours.statement.objective - theirs.statement.objective).max() < 1e-9, name
"""


@pytest.mark.slow
def test_loops_that_other_processes_compiled_are_not_mixed_up(tmp_path):
    """Each of two processes compiles the loop of a kind of market; a third one reads both from disk and compiles another."""
    environment = {**os.environ, "HYPEREXEC_CACHE": str(tmp_path)}
    for names in (
        ["almgren-chriss"],
        ["desk-5min"],
        ["almgren-chriss", "desk-5min", "bertsimas-lo"],
        ["desk-5min", "bertsimas-lo"],
    ):
        words = [sys.executable, "-c", SPECIFICATIONS_OF_ARGUMENTS, *names]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_compiled_rule_that_never_ends_fails_alone():
    market, failures = build_market(get_scenario("desk-5min")), {}
    policies = [OwnStuck(0.5), get_policy("TWAP"), OwnStuck(0.0, name="ends")]
    started = time.monotonic()
    (outcomes,) = rollouts(market, policies, [False] * 3, 0, 100, backend="numba", policy_timeout=0.5, failures=failures)
    assert time.monotonic() - started < 60.0
    assert failures == {0: "policy 'stuck' did not return within 0.5 s in its compiled rule"}
    assert [outcome is None for outcome in outcomes] == [True, False, False]
    with pytest.raises(ChildProcessError):  # no child is left
        os.waitpid(-1, os.WNOHANG)


def test_a_function_ends_in_time_or_not():
    assert ends_in_time(lambda: None, 60.0)
    assert ends_in_time(lambda: 1 / 0, 60.0)
    assert not ends_in_time(lambda: time.sleep(60.0), 0.05)


def test_a_loop_without_episodes_only_compiles():
    market = build_market(get_scenario("desk-5min"))
    loop = RuleLoop(market, rule_of(get_policy("TWAP"), market, False), threads=2)
    ran = loop.run(episode_keys(0, np.arange(0)))
    assert ran.trace.shape == (0,)
    assert not ran.inventory.any()
