"""Policies of a basket on paired episodes: the simulated optimum, the table of gaps, and sanity policies that lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.basket_policies import (
    BASKET_BASELINES,
    BASKET_SANITY,
    Plan,
    basket_policy,
    basket_policy_names,
)
from hyperexec_env.baselines.evaluate import entrants, evaluate, reference_of
from hyperexec_env.baselines.solver.basket import basket_schedule_bps, solve_basket
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.evaluation.basket_rollout import roll_basket
from hyperexec_env.evaluation.identity import policy_hash
from hyperexec_env.evaluation.page import page
from hyperexec_env.evaluation.store import Store
from hyperexec_env.evaluation.verification import verify
from hyperexec_env.market.basket_path import build_basket, draw_basket_path
from hyperexec_env.market.basket_scenario import get_basket
from hyperexec_env.market.noise import episode_keys

pytestmark = pytest.mark.fast

QUIET = {"volume_noise": 0.0, "half_spread_bps": 0.0}


def rolled(basket, name, episodes=1, seed=0):
    market = build_basket(basket)
    paths = draw_basket_path(market, episode_keys(seed, np.arange(episodes)))
    return roll_basket(market, basket_policy(name), paths).statement


GAPS = {
    "basket-10": {"TWAP": 64.1, "AC-own": 18.1, "one-dial": 0.1, "AC-basket": 5.3, "every-5th": 91, "all-at-once": 130},
    "basket-pairs": {
        **{"TWAP": 28.4, "AC-own": 6.4, "one-dial": 1.4, "AC-basket": 4.1, "every-5th": 75, "all-at-once": 195},
        "buys-first": 262,
    },
}
"""Gaps of an independent computation, percent, for flat volume without noise and spread."""


@pytest.mark.parametrize("name", GAPS)
def test_gaps_of_the_baselines(name):
    basket = get_basket(name).with_assets(**QUIET)
    best = solve_basket(basket).optimum_bps
    for policy, gap in GAPS[name].items():
        (objective,) = rolled(basket, policy).objective
        assert 100.0 * (objective / best - 1.0) == pytest.approx(gap, abs=0.06 if gap < 70 else 0.6), policy
    assert rolled(basket, "optimum").objective[0] == pytest.approx(best, rel=1e-9)


def test_the_simulated_optimum_is_the_computed_one():
    for name in ("basket-hedged", "basket-day"):
        board = evaluate(name, "TWAP", episodes=400)
        rows = {row.policy: row for row in board.rows}
        error = (rows["optimum"].objective_high - rows["optimum"].objective_low) / 3.92
        assert abs(rows["optimum"].objective_bps - board.optimum.optimum_bps) < 4.0 * error
        error = (rows["TWAP"].objective_high - rows["TWAP"].objective_low) / 3.92
        assert abs(rows["TWAP"].objective_bps - board.optimum.twap_bps) < 4.0 * error


@pytest.mark.parametrize("name", ["basket-hedged", "basket-10", "basket-day"])
def test_sanity_policies_lose_and_no_policy_beats_the_optimum(name):
    board = evaluate(name, episodes=30)
    assert board.rows[0].policy == "optimum"
    assert board.warnings == []
    assert board.exit_code == 0
    assert all(row.diff_to_twap_low > 0.0 for row in board.rows if row.sanity)
    assert all(abs(sum(row.components_bps.values()) - row.is_bps) < 1e-9 for row in board.rows)
    assert ("buys-first" in {row.policy for row in board.rows}) == (name != "basket-10")
    assert "numbers of the market: all assumed" in str(board).lower()
    assert board.to_dict()["scenario_hash"] == get_basket(name).hash


def test_a_schedule_costs_what_the_program_says_in_expectation():
    basket = get_basket("basket-10")
    shares = np.random.default_rng(1).dirichlet(np.ones(26), 10).T

    class Fixed:
        name = "fixed"

        def act(self, situation):
            k = situation.k
            return situation.remaining * (shares[k] / shares[k:].sum(axis=0))[:, None]

    market = build_basket(basket)
    found = roll_basket(market, Fixed(), draw_basket_path(market, episode_keys(3, np.arange(1000)))).statement.objective
    assert abs(found.mean() - basket_schedule_bps(basket, shares)) < 4.0 * found.std() / np.sqrt(1000)


def test_a_basket_of_one_asset_trades_as_the_asset():
    scenario = hx.Scenario(name="alone", slices=10)
    (objective,) = rolled(get_basket(scenario), "TWAP").objective
    board = hx.evaluate(scenario, "TWAP", episodes=2, backend="numpy", optimum=False)
    market = build_basket(get_basket(scenario))
    path = draw_basket_path(market, episode_keys(0, np.arange(2), board=True))
    found = roll_basket(market, basket_policy("TWAP"), path).statement.objective
    assert found.mean() == pytest.approx(board.rows[0].objective_bps, rel=1e-12)
    assert objective > 0.0


def test_policies_act_on_floats_and_on_lanes():
    market = build_basket(get_basket("basket-day"))
    seen = {}

    class Watch:
        name = "watch"

        def act(self, situation):
            if situation.k == 5:
                seen["lanes"] = situation
            return situation.remaining / (market.slices - situation.k)

    roll_basket(market, Watch(), draw_basket_path(market, episode_keys(0, np.arange(3))))
    lanes = seen["lanes"]
    one = lanes._replace(
        seen=int(lanes.seen[1]),
        **{name: getattr(lanes, name)[:, 1] for name in lanes._fields if name not in ("market", "k", "seen")},
    )
    for name in basket_policy_names():
        whole, single = basket_policy(name).act(lanes), basket_policy(name).act(one)
        assert whole.shape == (10, 3), name
        assert single == pytest.approx(whole[:, 1], rel=1e-12), name
        assert (whole >= 0.0).all(), name
        assert (whole <= lanes.remaining * (1.0 + 1e-12)).all() or name == "random", name


def test_entrants_are_names_groups_and_objects():
    basket = get_basket("basket-10")
    assert [each.policy.name for each in entrants("twap", basket)] == ["TWAP"]
    assert {each.policy.name for each in entrants("baselines", basket)} == set(BASKET_BASELINES)
    assert {each.policy.name for each in entrants("sanity", basket) if each.sanity} == set(BASKET_SANITY) - {"buys-first"}
    assert reference_of(basket).fractions(build_basket(basket)).shape == (26, 10)
    with pytest.raises(ValueError, match="unknown policy of baskets 'AC-wn'; did you mean 'AC-own'"):
        entrants("AC-wn", basket)
    with pytest.raises(TypeError, match="policies must be names, folders, entrants, or objects"):
        entrants([3], basket)

    class Wrong:
        name = "wrong"

        def act(self, situation):
            return situation.remaining[0]

    small = replace(basket, assets=basket.assets[:2], correlation=())
    board = evaluate(small, [Wrong(), "TWAP"], episodes=4, optimum=False)
    assert "policy 'wrong' must return finite shares" in board.failed[0].reason
    assert board.exit_code == 1


def test_stored_results_of_a_basket_are_reused_and_verified_bit_for_bit(tmp_path):
    basket = get_basket("basket-hedged")
    small = replace(basket, assets=basket.assets[:3], correlation=(), name="small")
    with Store(tmp_path / "results.sqlite") as store:
        first = evaluate(small, "all", episodes=20, store=store)
        again = evaluate(small, "all", episodes=20, store=store)
        assert first.to_json() == again.to_json()
        cells = store.cells()
        assert {name for _, name in cells} == {*basket_policy_names()} - {"buys-first"}
        known = {policy_hash(policy): policy for policy in map(basket_policy, basket_policy_names())}
        found = verify(store, known)
        assert found.sound
        assert not any(finding.skipped for finding in found.findings)
        assert store.scenario(small.hash) == small


def test_plans_of_other_functions_are_never_stored():
    assert policy_hash(basket_policy("TWAP")) != policy_hash(basket_policy("VWAP"))
    assert policy_hash(basket_policy("all-at-once")) != policy_hash(basket_policy("wait-then-dump"))
    assert policy_hash(Plan("TWAP", lambda market: np.ones((26, 10)))) is None


def test_the_page_of_a_basket_has_tables_and_figures():
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    basket = get_basket("basket-hedged")
    small = replace(basket, assets=basket.assets[:2], correlation=(), name="small")
    text = page([evaluate(small, "baselines", episodes=8)], "hyperexec leaderboard --scenario small")
    assert text.count("<svg") == 3
    assert "AC-basket" in text


def test_the_card_states_orders_assumptions_risk_and_certificate():
    text = str(hx.card(replace(get_basket("basket-hedged"), assets=get_basket("basket-hedged").assets[:2], correlation=())))
    for part in (
        "  960,000 ",
        "cross_impact 0.5",
        "where the numbers come from",
        "Risk is ",
        "certificate of basket-hedged: sound",
    ):
        assert part in text
    assert hx.card("basket-10").to_dict()["hash"] == get_basket("basket-10").hash


def test_the_card_names_the_source_of_every_asset():
    first, second = get_basket("basket-hedged").assets[:2]
    told = replace(second, provenance={**second.provenance, "adv": "five days of bars"})
    text = str(hx.card(replace(get_basket("basket-hedged"), assets=(first, told), correlation=())))
    assert "  adv                  A1: assumed: stocks of this size\n  adv                  A2: five days of bars\n" in text
    assert text.count("  volatility           assumed") == 1


@pytest.mark.parametrize("name", ["basket-hedged", "basket-day"])
def test_the_optimum_costs_in_the_environment_what_it_costs_in_a_rollout(name):
    env, policy, objectives = HyperExecBasketEnv(scenario=name), basket_policy("optimum"), []
    for episode in range(3):
        env.reset(seed=5 if episode == 0 else None)
        total, done = 0.0, False
        while not done:
            _, reward, done, _, _ = env.trade(np.asarray(policy.act(env.situation)))
            total += reward
        objectives.append(-total)
    assert objectives == pytest.approx(rolled(get_basket(name), "optimum", episodes=3, seed=5).objective, rel=1e-12)
