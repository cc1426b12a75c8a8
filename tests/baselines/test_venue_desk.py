"""The desk over simulated venues: its orders are complete, what it learns is the truth, and the optimum costs less."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env.baselines.venue_board import evaluate_venues
from hyperexec_env.baselines.venue_desk import SYMBOL, VENUE_DESK, VenueAgentPolicy, learnt_rates
from hyperexec_env.baselines.venue_policies import venue_policy
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.evaluation.venue_rollout import rollout_venues
from hyperexec_env.market.liquidity import AllOrNothing
from hyperexec_env.market.venue_path import build_venues
from hyperexec_env.market.venue_scenario import get_venues

SMALL = get_venues("venues-day").with_market(slices=5, regimes={"names": ["SIDEWAYS_LOW"]}, volume_curve=())
RESTING = get_venues("passive-day").with_market(slices=5, regimes={"names": ["SIDEWAYS_LOW"]}, volume_curve=())


@pytest.mark.parametrize("tactic", ["take", "peg", "cont-kukanov", "post-ahead"])
@pytest.mark.parametrize("scenario", [SMALL, RESTING], ids=["venues", "resting"])
def test_the_desk_costs_the_same_in_the_environment_and_on_the_board(scenario, tactic):
    market = build_venues(scenario)
    (outcome,) = rollout_venues(market, [VenueAgentPolicy("TWAP", tactic)], 4, seed=3)
    env, policy = HyperExecVenuesEnv(scenario=scenario), VenueAgentPolicy("TWAP", tactic)
    for episode in range(4):
        env.reset(seed=3, options={"board": True, "episode": episode})
        over = False
        while not over:
            _, _, over, _, info = env.trade(policy.act(env.situation))
        assert info["objective_bps"] == pytest.approx(outcome.objective[episode], abs=1e-9)
    assert outcome.filled.sum(axis=0) == pytest.approx(np.ones(4))


@pytest.mark.parametrize("scenario", [SMALL, RESTING], ids=["venues", "resting"])
def test_the_agents_know_what_the_market_filled(scenario):
    """What the agents booked differs from the fills of the market by less than a share for each slice and venue."""
    policy = VenueAgentPolicy("TWAP", "cont-kukanov")
    asked, act = [], policy.act
    policy.act = lambda situation: asked.append(act(situation)) or asked[-1]
    (outcome,) = rollout_venues(build_venues(scenario), [policy], 20, seed=1)
    for lane, agent in enumerate(one.agent for one in policy._lanes):
        orders = agent.router.orders([child.id for child in agent.children("parent")])
        for number, venue in enumerate(scenario.names[1:], start=1):
            booked = sum(one.filled for one in orders if one.venue == venue and one.sent < scenario.slices - 1)
            last = asked[-1][number, lane]
            filled = scenario.market.quantity * outcome.filled[number, lane]
            assert abs(filled - booked - last) <= scenario.slices + 1


def test_the_fill_rates_that_are_learnt_are_the_scenarios():
    """The interval at 99.9 % holds the chance of each size, although the router asks for more where it saw more."""
    rates = learnt_rates("venues-day", 20)
    (pool,) = get_venues("venues-day").hidden
    learnt = rates.liquidity(SYMBOL, pool.name)
    assert learnt.count == 20 * 25
    for size in pool.law.sizes[1:]:
        low, high = learnt.interval(0.985 * size, 0.999, at_least=True)
        assert low <= pool.law.tail(size) <= high


def test_a_pool_whose_fills_are_all_censored_is_a_lower_bound():
    """A pool that always holds everything: no fill says how much, so the estimate stays 1 up to the largest order."""
    pool = replace(SMALL.hidden[0], liquidity=AllOrNothing(1.0), adverse_bps=0.0)
    rates = learnt_rates(replace(SMALL, venues=(*SMALL.lit, pool), published_alpha=None), 20)
    learnt = rates.liquidity(SYMBOL, pool.name)
    assert learnt.censored_fraction == 1.0
    low, high = learnt.interval(learnt.largest / 2.0, at_least=True)
    assert 0.9 < low < high == 1.0
    assert learnt.interval(2.0 * learnt.largest) == (0.0, 1.0)


def test_the_optimum_costs_less_than_the_desk_and_the_pool_saves():
    board = evaluate_venues(SMALL, [VenueAgentPolicy("TWAP", training=20), "TWAP"], episodes=150)
    rows = {row.policy: row for row in board.rows}
    desk = rows["desk:TWAP:cont-kukanov"]
    assert desk.gap_low > 0.0
    assert desk.filled_percent["pool"] > 1.0
    assert board.faults == ()


def test_every_desk_has_a_name():
    for name, make in VENUE_DESK.items():
        assert make().name == name == venue_policy(name.upper()).name


def test_the_comparison_of_the_page_runs(monkeypatch, capsys):
    script = Path(__file__).parents[2] / "benchmarks" / "desk_venues.py"
    words = ["--episodes", "3", "--training", "2", "--scenarios", "kratz-schoneborn"]
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    runpy.run_path(str(script), run_name="__main__")
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [len(row) for row in rows[2:]] == [7] * 8
    assert rows[2][-1] == "0.0 |"  # the desk without hidden venues
