"""Boards of scenarios with venues: baselines cost at least the optimum, and no sanity policy beats every rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.solver.venues import naive, recalibrate, solve_venues
from hyperexec_env.baselines.venue_board import evaluate_venues, venue_entrants
from hyperexec_env.baselines.venue_card import venue_card
from hyperexec_env.baselines.venue_policies import venue_policy, venue_policy_names
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.evaluation.venue_rollout import rollout_venues
from hyperexec_env.market.liquidity import Atoms
from hyperexec_env.market.venue_path import build_venues
from hyperexec_env.market.venue_scenario import VenueScenario, get_venues

SMALL = get_venues("venues-day").with_market(slices=5, regimes={"names": ["SIDEWAYS_LOW"]}, volume_curve=())
FEES = get_venues("passive-day").with_market(slices=4, regimes={"names": ["SIDEWAYS_LOW"]}, volume_curve=())


@pytest.mark.parametrize("scenario", ["kratz-schoneborn", "dark-linear", SMALL, FEES])
def test_the_simulated_optimum_costs_the_computed_one_and_nothing_beats_it(scenario):
    board = evaluate_venues(scenario, episodes=3_000)
    best = board.solution.optimum_bps
    row = next(row for row in board.rows if row.policy == "optimum")
    error = (board.solution.relative_error or 1e-9) * best
    assert row.objective_low - error <= best <= row.objective_high + error
    assert {row.policy for row in board.rows} == set(venue_policy_names())
    for other in board.rows:
        assert other.gap_high > -0.05, other.policy
        assert sum(other.components_bps.values()) == pytest.approx(other.is_bps, abs=1e-9)
        assert sum(other.filled_percent.values()) == pytest.approx(100.0)
    assert board.faults == ()
    lit_only = next(row for row in board.rows if row.policy == "lit-only")
    assert lit_only.objective_low - error <= board.solution.lit_only_bps <= lit_only.objective_high + error
    assert "J* = " in str(board)


def test_lit_venues_of_equal_terms_cost_what_one_market_costs():
    solution, plain = solve_venues(SMALL), hx.solve(SMALL.market)
    assert solution.lit_only_bps == plain.optimum_bps
    alone = solve_venues(VenueScenario(SMALL.market, SMALL.lit))
    assert alone.optimum_bps == pytest.approx(plain.optimum_bps, rel=2e-3)
    assert solution.optimum_bps < solution.lit_only_bps


def test_a_policy_costs_the_same_in_the_environment_and_on_the_board():
    market = build_venues(SMALL)
    (outcome,) = rollout_venues(market, [venue_policy("optimum")], 5, seed=3)
    env = HyperExecVenuesEnv(scenario=SMALL)
    policy = venue_policy("optimum")
    for episode in range(5):
        env.reset(seed=3, options={"board": True, "episode": episode})
        over = False
        while not over:
            _, _, over, _, info = env.trade(policy.act(env.situation))
        assert info["objective_bps"] == pytest.approx(outcome.objective[episode], abs=1e-9)
        assert info["shortfall_bps"] == pytest.approx(outcome.shortfall[episode], abs=1e-9)
        assert [*info["filled_fraction"].values()] == pytest.approx(outcome.filled[:, episode], abs=1e-12)


def test_recalibration_raises_impact_until_the_optimum_costs_what_it_cost():
    one = SMALL.with_market(temp_impact_alpha=0.142)
    made = recalibrate(one, tolerance=1e-3)
    found, plain = solve_venues(made), hx.solve(one.market)
    assert made.published_alpha == 0.142
    assert made.market.temp_impact_alpha > 0.142
    assert found.optimum_bps == pytest.approx(plain.optimum_bps, rel=1e-3)
    assert found.plain_bps == plain.optimum_bps
    shown = naive(made)
    assert shown.naive_bps == solve_venues(one).optimum_bps < shown.plain_bps
    assert "count them" in str(shown)
    assert "Recalibrated: temp_impact_alpha is" in str(found)
    assert shown.to_dict()["published_alpha"] == 0.142
    other = solve_venues(made.with_market(quantity=4e5))
    assert "Recalibrated at other values" in str(other)
    with pytest.raises(ValueError, match="published_alpha must be given for a naive optimum, got none for"):
        naive(one)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["venues-day", "passive-day"])
def test_the_shipped_scenarios_are_recalibrated(name):
    solution = solve_venues(name)
    assert solution.relative_error < 1e-3
    assert solution.optimum_bps == pytest.approx(solution.plain_bps, rel=1e-3)
    assert get_venues(name).published_alpha == hx.get_scenario("regime-day").temp_impact_alpha


def test_a_scenario_that_is_not_solved_exactly_says_why_and_has_bounds():
    two = replace(SMALL, venues=(*SMALL.venues, replace(SMALL.hidden[0], name="other", liquidity=Atoms((0.1,), (0.1,)))))
    solution = solve_venues(two)
    assert solution.optimum_bps is None
    assert solution.lower_bps < solution.upper_bps < solution.lit_only_bps
    assert "several hidden venues need one more search for each. J* is at least" in str(solution)
    board = evaluate_venues(two, ("all",), episodes=50)
    assert "several hidden venues need one more search for each. J* is at least" in str(board)
    assert "optimum" not in [row.policy for row in board.rows]
    assert next(row.gap_percent for row in board.rows if row.policy == "relaxed") == 0.0
    assert board.to_dict()["lower_bps"] == solution.lower_bps
    moving = replace(FEES, venues=(replace(FEES.venues[0], share_noise=0.3), *FEES.venues[1:]))
    assert "moving shares of the lit venues are part of the state" in str(solve_venues(moving))
    assert "lit-only" not in [row.policy for row in evaluate_venues(moving, episodes=10).rows]
    with pytest.raises(ValueError, match="there is no optimal policy for"):
        evaluate_venues(two, ["optimum"], episodes=10)


def test_a_card_shows_venues_sources_optimum_and_certificate():
    text = str(venue_card("kratz-schoneborn"))
    for words in ("market", "pool", "everything", "temp_impact_alpha", "20.3950", "certificate of kratz-schoneborn: sound"):
        assert words in text
    assert venue_card("kratz-schoneborn").to_dict()["hash"] == get_venues("kratz-schoneborn").hash


def test_solutions_are_read_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path))
    from hyperexec_env.baselines.solver import venues

    venues._solve_cached.cache_clear()
    first = solve_venues(FEES)
    venues._solve_cached.cache_clear()
    again = solve_venues(FEES)
    assert again.to_dict() == first.to_dict()
    assert np.array_equal(again.tables.lit.fractions, first.tables.lit.fractions)
    assert np.array_equal(again.tables.total.fractions, first.tables.total.fractions)


def test_names_of_policies_are_checked():
    assert [policy.name for policy in venue_entrants(["twap", "sanity"])][:2] == ["TWAP", "ping"]
    with pytest.raises(ValueError, match="unknown policy over venues 'dark-frst'; did you mean 'dark-first'"):
        venue_entrants("dark-frst")
    with pytest.raises(TypeError, match="policies must be names or objects"):
        venue_entrants([3])

    class Short:
        name = "short"

        def act(self, situation):
            return situation.order.remaining

    with pytest.raises(ValueError, match="policy 'short' must return finite shares of the shape"):
        evaluate_venues("kratz-schoneborn", [Short()], episodes=10)
