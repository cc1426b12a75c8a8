"""Compiled rollouts: those of numpy, whatever the market, the policy, the threads and the batches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the extra `fast`")

from hyperexec_env.baselines.policies import get_policy, policy_names
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.policies import LinearPolicy, SchedulePolicy
from hyperexec_env.evaluation.fused import fused
from hyperexec_env.evaluation.identity import Cell, engine, policy_hash
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.policy import read_only
from hyperexec_env.evaluation.rollout import join, roll, roll_rule, rollouts
from hyperexec_env.evaluation.rule import Rule, plan_rule, rule_of
from hyperexec_env.evaluation.store import Store, difference
from hyperexec_env.evaluation.verification import verify
from hyperexec_env.market.compiled import TILE
from hyperexec_env.market.model import build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names

every_scenario = pytest.mark.parametrize("scenario", scenario_names())
told_or_not = pytest.mark.parametrize("hidden", [False, True], ids=["told", "hidden"])

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


def curious(numbers, table, k, seen, remaining, transient, flow, price):
    share = numbers[0] * (1.0 + 0.1 * flow) + numbers[1] * transient / price + table[k] * (price / numbers[2] - 1.0)
    return remaining * share * (1.0 + 0.05 * seen)


class Curious:
    """A policy that asks for all that a rule is told."""

    name = "curious"

    def act(self, situation):
        rule = self.rule(situation.market, False)
        _, k, seen, _, _, remaining, _, transient, price, flow, *_ = situation
        return curious(rule.numbers, rule.table, k, seen, remaining, transient, flow, price)

    def rule(self, market, hidden):
        numbers = np.array([1.5 / market.slices, 2.0, market.scenario.arrival_price])
        return Rule(curious, numbers, np.linspace(0.0, 8.0, market.slices).astype(np.float32))


def a_tenth(numbers, table, k, seen, remaining, transient, flow, price):
    return 0.1 * remaining


def a_fifth(numbers, table, k, seen, remaining, transient, flow, price):
    return 0.2 * remaining


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


@every_scenario
@told_or_not
def test_compiled_rollouts_are_those_of_numpy(scenario, hidden):
    market = build_market(get_scenario(scenario))
    policies = [get_policy("TWAP"), ByRegime()]
    numba, numpy = (run(market, policies, hidden, backend=backend) for backend in ("numba", "numpy"))
    for ours, theirs in zip(numba, numpy, strict=True):
        assert_agree(ours, theirs)
    told, other = numba
    assert told.path_hash == other.path_hash
    assert np.abs(told.statement.objective - other.statement.objective).max() > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"complete": False, "max_participation": 0.02},
        {"slices": 1},
        {"start_minute": 0.0, "quantity": 3.0, "side": -1},
    ],
    ids=lambda change: "-".join(change),
)
def test_variants_of_a_scenario_agree_too(change):
    """What stays unfilled and what the end forces are told as well."""
    market = build_market(replace(get_scenario("regime-day"), **change))
    policies = [get_policy("TWAP"), ByRegime(), get_policy("wait-then-dump")]
    numba, numpy = (run(market, policies, backend=backend) for backend in ("numba", "numpy"))
    for ours, theirs in zip(numba, numpy, strict=True):
        assert_agree(ours, theirs)
    if not change.get("complete", True):
        assert all(
            (outcome.inventory[:, -1].sum() > 1.0) and outcome.statement.components.opportunity.any() for outcome in numba
        )


@told_or_not
@pytest.mark.parametrize("scenario", ["flow-signal", "regime-day"])
def test_a_rule_is_told_what_a_policy_is_told(scenario, hidden):
    """Flow, price, displacement and regime at the start of the slice; who is not told the regime sees no displacement."""
    market = build_market(get_scenario(scenario))
    numba, numpy = (run(market, [Curious()], hidden, backend=backend) for backend in ("numba", "numpy"))
    assert_agree(numba[0], numpy[0])


def test_a_policy_without_a_rule_takes_part_as_before():
    market = build_market(get_scenario("regime-day"))
    policies = [get_policy("POV"), get_policy("TWAP"), get_policy("random")]
    assert rule_of(policies[0], market, False) is None
    numba, numpy = (run(market, policies, backend=backend) for backend in ("numba", "numpy"))
    assert difference(numba[0], numpy[0]) == difference(numba[2], numpy[2]) == ""
    assert {outcome.path_hash for outcome in (*numba, *numpy)} == {numpy[0].path_hash}


# --- threads and batches


def test_the_number_of_threads_changes_no_bit():
    """Also where each of them takes many parts of the episodes."""
    market, keys = build_market(get_scenario("regime-day")), episode_keys(3, np.arange(40_000))
    rule = ByRegime().rule(market, False)
    alone = roll_rule(market, rule, keys)
    for threads in (2, 3, 7):
        assert difference(roll_rule(market, rule, keys, threads=threads), alone) == ""
    few = join([roll_rule(market, rule, keys[:3_000])])
    for threads in (1, 2, None):
        assert difference(run(market, [ByRegime()], episodes=3_000, num_threads=threads)[0], few) == ""


@pytest.mark.parametrize("batch", [1, TILE - 1, TILE + 1, 1000, 1024, 1025])
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
    whole, alone = fused(market, rule, keys), fused(market, rule, keys[TILE + 5 : TILE + 6])
    assert whole.trace[TILE + 5] == alone.trace[0]
    assert whole.statement.shortfall[TILE + 5] == alone.statement.shortfall[0]


# --- what a policy offers is what it does


def answers(rule, situation):
    """What a rule asks for in each episode, one after the other."""
    seen, remaining, transient, flow, price = (
        np.broadcast_to(values, situation.remaining.shape).tolist()
        for values in (situation.seen, situation.remaining, situation.transient, situation.flow, situation.price)
    )
    rows = zip(seen, remaining, transient, flow, price, strict=True)
    return [float(rule.decide(rule.numbers, rule.table, situation.k, *row)) for row in rows]


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


@every_scenario
@told_or_not
@pytest.mark.parametrize("name", RULED)
def test_every_policy_that_offers_a_rule_answers_by_it(name, scenario, hidden):
    assert_the_rule_is_what_it_does(get_policy(name), build_market(get_scenario(scenario)), hidden)


@told_or_not
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


@pytest.mark.parametrize("shape", [(), (25,), (26, 6), (7, 26), (26, 7, 1)])
def test_a_plan_of_another_shape_is_refused(shape):
    market = build_market(get_scenario("regime-day"))
    message = f"a plan must have the shape (26,) or (26, 7), got {shape}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plan_rule(np.zeros(shape), market)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["numbers", "table"])
def test_a_rule_of_something_that_is_no_number_is_refused(value, field):
    class Broken(Curious):
        name = "broken"

        def rule(self, market, hidden):
            rule = super().rule(market, hidden)
            getattr(rule, field)[1] = value
            return rule

    market = build_market(get_scenario("regime-day"))
    with pytest.raises(ValueError, match=r"^the rule of 'broken' must hold finite numbers only"):
        rule_of(Broken(), market, False)
    with pytest.raises(ValueError, match=r"^the rule of 'broken' must hold finite numbers only"):
        run(market, [Broken()], backend="numba")


def test_rules_of_one_file_are_not_taken_for_one_another(tmp_path, monkeypatch):
    """Not even those that differ in a constant only, when their loops are looked for on disk."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    market, keys = build_market(get_scenario("almgren-chriss")), episode_keys(3, np.arange(2))
    for decide, share in ((a_tenth, 0.1), (a_fifth, 0.2)):
        held = fused(market, Rule(decide, np.zeros(1), np.zeros(1, np.float32)), keys).inventory
        assert held[0, 1] / held[0, 0] == pytest.approx(1.0 - share)


def a_share(share):
    """A rule that holds its share in a closure."""

    def decide(numbers, table, k, seen, remaining, transient, flow, price):
        return share * remaining

    return decide


def from_source(share):
    """A function of the same name from the same place, as one that is defined anew in a notebook."""
    names = {}
    source = f"def decide(numbers, table, k, seen, remaining, transient, flow, price):\n    return {share} * remaining\n"
    exec(compile(source, "<cell>", "exec"), names | {"__name__": "__main__"}, names)  # noqa: S102
    return names["decide"]


@pytest.mark.parametrize("make", [a_share, from_source])
def test_a_rule_is_not_taken_for_one_of_its_name_that_was_compiled_before(make, tmp_path, monkeypatch):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    market, keys = build_market(get_scenario("almgren-chriss")), episode_keys(3, np.arange(2))
    for share in (0.1, 0.9, 0.1):
        decide = make(share)
        if decide.__module__ is None:
            decide.__module__ = "__main__"
        held = fused(market, Rule(decide, np.zeros(1), np.zeros(1, np.float32)), keys).inventory
        assert held[0, 1] / held[0, 0] == pytest.approx(1.0 - share)
    assert not list(tmp_path.rglob("*.nbi"))  # nobody knows what it depends on: it is not kept


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
    with pytest.raises(ValueError, match="others in 1 of 64 episodes"):
        run(market, [Seldom()], backend="numba")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((1.0, 2.0), "must be a Rule, a Network or None, got tuple"),
        (Rule(curious, np.zeros((2, 2)), np.zeros(1, np.float32)), "must hold flat arrays, got shapes (2, 2), (1,)"),
    ],
)
def test_a_rule_that_is_none_is_one_clear_error(answer, message):
    class Odd(Curious):
        name = "odd"

        def rule(self, market, hidden):
            return answer

    with pytest.raises(ValueError, match=re.escape(f"the rule of 'odd' {message}")):
        rule_of(Odd(), build_market(get_scenario("regime-day")), False)


def no_number(numbers, table, k, seen, remaining, transient, flow, price):
    return remaining / (k - 3.0) * 0.0 / (k - 3.0)


def test_a_rule_that_answers_with_no_number_is_refused():
    market, keys = build_market(get_scenario("regime-day")), episode_keys(3, np.arange(EPISODES))
    with pytest.raises(ValueError, match=f"^a rule must return finite shares, got something else {EPISODES} times"):
        fused(market, Rule(no_number, np.zeros(1), np.zeros(1, np.float32)), keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "cython"}, "backend must be one of auto, numba, numpy, got 'cython'"),
        ({"backend": None}, "backend must be one of auto, numba, numpy, got None"),
        ({"num_threads": 0}, "num_threads must be a whole number in [1, 256], got 0"),
        ({"num_threads": 2.5}, "num_threads must be a whole number in [1, 256], got 2.5"),
    ],
)
def test_a_bad_option_gets_one_line(options, message):
    market = build_market(get_scenario("almgren-chriss"))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        run(market, [get_policy("TWAP")], **options)


# --- the store


def test_results_of_the_two_engines_are_kept_apart(tmp_path):
    market, policies = build_market(get_scenario("regime-day")), [get_policy("TWAP"), get_policy("POV")]
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


def _in_both_ways(name, policy, hidden=False):
    """The outcomes of a policy on some episodes of a scenario: compiled, and by numpy."""
    market = build_market(get_scenario(name))
    assert rule_of(policy, market, hidden) is not None
    return [next(rollouts(market, [policy], [hidden], 5, EPISODES, backend=way))[0] for way in ("numba", "numpy")]


@pytest.mark.parametrize(
    "name", ["regime-day", "desk-5min", "flow-signal", "almgren-chriss", "obizhaeva-wang", "bertsimas-lo", "gatheral-schied"]
)
def test_the_optimum_is_the_same_policy_in_a_compiled_loop(name):
    """Tables and gains of the solver, with a cap, with a signal of the flow and of the price, and without."""
    ours, theirs = _in_both_ways(name, solve(get_scenario(name)).policy)
    for one, other in zip((*ours.statement[:4], ours.inventory), (*theirs.statement[:4], theirs.inventory), strict=True):
        assert np.abs(one - other).max() <= 1e-9 * np.abs(other).max()


def test_the_optimum_has_no_rule_where_the_regime_is_hidden():
    for name in ("regime-day", "almgren-chriss"):
        assert rule_of(solve(get_scenario(name)).policy, build_market(get_scenario(name)), True) is None


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(
    ("head", "mode"), [("clip", "pace"), ("tanh", "fraction"), ("clip", "participation"), ("argmax", "discrete")]
)
def test_a_network_is_the_same_policy_in_a_compiled_loop(head, mode, activation, hidden):
    rng, widths = np.random.default_rng(4), (21, 10, 7, 7 if head == "argmax" else 1)
    layers = tuple(
        (rng.normal(0.0, inputs**-0.5, (outputs, inputs)).astype(np.float32), rng.normal(0.0, 0.1, outputs).astype(np.float32))
        for inputs, outputs in pairwise(widths)
    )
    policy = NetworkPolicy("network", layers, activation, head, mode, not hidden, 0)
    ours, theirs = _in_both_ways("regime-day", policy, hidden)
    one, other = ours.statement.objective, theirs.statement.objective
    assert (np.abs(one - other) <= 2e-5 * np.abs(other)).all()
    assert len(np.unique(other)) > EPISODES / 2


TWO_KINDS = """
import sys
from hyperexec_env.evaluation.rollout import rollouts
from hyperexec_env.market.model import build_market
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.baselines.policies import get_policy

for name in sys.argv[1:]:
    market = build_market(get_scenario(name))
    both = (next(rollouts(market, [get_policy("TWAP")], [False], 3, 50, backend=way)) for way in ("numba", "numpy"))
    (ours,), (theirs,) = both
    assert abs(ours.statement.objective - theirs.statement.objective).max() < 1e-9, name
"""


def test_loops_that_other_processes_compiled_are_not_mixed_up(tmp_path):
    """Each of two processes compiles the loop of a kind of market; a third one reads both from disk and compiles another."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for names in (
        ["almgren-chriss"],
        ["desk-5min"],
        ["almgren-chriss", "desk-5min", "bertsimas-lo"],
        ["desk-5min", "bertsimas-lo"],
    ):
        words = [sys.executable, "-c", TWO_KINDS, *names]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
