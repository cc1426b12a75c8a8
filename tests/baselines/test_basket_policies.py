"""Policies of a basket on paired episodes: the simulated optimum, the table of gaps, and sanity policies that lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.basket_board import basket_entrants, evaluate_basket
from hyperexec_env.baselines.basket_card import basket_card
from hyperexec_env.baselines.basket_policies import BASKET_BASELINES, basket_policy, basket_policy_names
from hyperexec_env.baselines.solver.basket import basket_schedule_bps, solve_basket
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.evaluation.basket_rollout import roll_basket
from hyperexec_env.market.basket_path import build_basket, draw_basket_path
from hyperexec_env.market.basket_scenario import get_basket
from hyperexec_env.market.noise import episode_keys

pytestmark = pytest.mark.fast

QUIET = {"volume_noise": 0.0, "half_spread_bps": 0.0}


def rolled(basket, name, episodes=1, seed=0):
    market = build_basket(basket)
    return roll_basket(market, basket_policy(name), draw_basket_path(market, episode_keys(seed, np.arange(episodes))))


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
        board = evaluate_basket(name, ["optimum", "TWAP"], episodes=400)
        rows = {row.policy: row for row in board.rows}
        error = (rows["optimum"].objective_high - rows["optimum"].objective_low) / 3.92
        assert abs(rows["optimum"].objective_bps - board.solution.optimum_bps) < 4.0 * error
        error = (rows["TWAP"].objective_high - rows["TWAP"].objective_low) / 3.92
        assert abs(rows["TWAP"].objective_bps - board.solution.twap_bps) < 4.0 * error


@pytest.mark.parametrize("name", ["basket-hedged", "basket-10", "basket-day"])
def test_sanity_policies_lose_and_no_policy_beats_the_optimum(name):
    board = evaluate_basket(name, episodes=30)
    assert board.rows[0].policy == "optimum"
    assert board.faults == ()
    assert board.exit_code == 0
    assert all(row.diff_to_twap_low > 0.0 for row in board.rows if row.sanity)
    assert ("buys-first" in {row.policy for row in board.rows}) == (name != "basket-10")
    assert "cross_impact 0.5: assumed" in str(board)
    assert board.to_dict()["rows"][0]["policy"] == "optimum"


def test_a_schedule_costs_what_the_program_says_in_expectation():
    basket = get_basket("basket-10")
    shares = np.random.default_rng(1).dirichlet(np.ones(26), 10).T

    class Fixed:
        name = "fixed"

        def act(self, situation):
            k = situation.k
            return situation.remaining * (shares[k] / shares[k:].sum(axis=0))[:, None]

    market = build_basket(basket)
    found = roll_basket(market, Fixed(), draw_basket_path(market, episode_keys(3, np.arange(1000)))).objective
    assert abs(found.mean() - basket_schedule_bps(basket, shares)) < 4.0 * found.std() / np.sqrt(1000)


def test_a_basket_of_one_asset_trades_as_the_asset():
    scenario = hx.Scenario(name="alone", slices=10)
    (objective,) = rolled(get_basket(scenario), "TWAP").objective
    board = hx.evaluate(scenario, "TWAP", episodes=2, backend="numpy", optimum=False)
    market = build_basket(get_basket(scenario))
    path = draw_basket_path(market, episode_keys(0, np.arange(2), board=True))
    found = roll_basket(market, basket_policy("TWAP"), path).objective
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
    assert [policy.name for policy in basket_entrants("twap", basket)] == ["TWAP"]
    assert {policy.name for policy in basket_entrants("baselines", basket)} == {*BASKET_BASELINES, "optimum"}
    with pytest.raises(ValueError, match="unknown policy of baskets 'AC-wn'; did you mean 'AC-own'"):
        basket_entrants("AC-wn", basket)
    with pytest.raises(TypeError, match="policies must be names or objects"):
        basket_entrants([3], basket)

    class Wrong:
        name = "wrong"

        def act(self, situation):
            return situation.remaining[0]

    small = replace(basket, assets=basket.assets[:2], correlation=())
    with pytest.raises(ValueError, match=r"policy 'wrong' must return finite shares of the shape \(2, 4\), got \(4,\)"):
        evaluate_basket(small, Wrong(), episodes=4)


def test_the_card_states_orders_assumptions_risk_and_certificate():
    text = str(basket_card(replace(get_basket("basket-hedged"), assets=get_basket("basket-hedged").assets[:2], correlation=())))
    for part in (
        "  960,000 ",
        "cross_impact 0.5",
        "where the numbers come from",
        "Risk is ",
        "certificate of basket-hedged: sound",
    ):
        assert part in text
    assert basket_card("basket-10").to_dict()["hash"] == get_basket("basket-10").hash


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
