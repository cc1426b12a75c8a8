"""The board: paired, complete, honest."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from baselines.evaluate import entrants
from baselines.policies import get_policy
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.board import Entrant, judge
from hyperexec_env.evaluation.page import page
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.model import build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names


@pytest.fixture(scope="module")
def board():
    return judge(get_scenario("regime-day"), entrants(["all"]), get_policy("TWAP"), episodes=3000, seed=7)


def test_twap_differs_from_itself_by_nothing(board):
    (row,) = [row for row in board.rows if row.policy == "TWAP"]
    assert row.diff_to_twap_bps == row.diff_to_twap_low == row.diff_to_twap_high == 0.0
    assert row.win_rate == 0.0


def test_rows_are_sorted_and_hold_what_they_say(board):
    objectives = [row.objective_bps for row in board.rows]
    assert objectives == sorted(objectives)
    for row, outcome in zip(board.rows, board.outcomes, strict=True):
        assert row.is_bps == pytest.approx(outcome.statement.shortfall.mean())
        assert row.is_sd_bps == pytest.approx(np.std(outcome.statement.shortfall, ddof=1))
        assert row.objective_bps == pytest.approx(row.expected_cost_bps + row.risk_bps)
        assert row.objective_low < row.objective_bps < row.objective_high
        assert sum(row.components_bps.values()) == pytest.approx(row.is_bps, abs=1e-9)


def test_components_sum_to_the_shortfall_in_every_episode(board):
    for outcome in board.outcomes:
        assert sum(outcome.statement.components) == pytest.approx(outcome.statement.shortfall, abs=1e-9)


def test_every_policy_met_the_same_market(board):
    assert len({outcome.path_hash for outcome in board.outcomes}) == 1


def test_pairing_narrows_the_interval(board):
    (row,) = [row for row in board.rows if row.policy == "VWAP"]
    assert row.diff_to_twap_high - row.diff_to_twap_low < 0.5 * (row.objective_high - row.objective_low)


def test_both_accounts_have_the_same_mean():
    # the price noise has mean zero whatever a policy does: the realised shortfall and the expected cost agree
    scenario = get_scenario("regime-day")
    market = build_market(scenario)
    path = draw_path(market, episode_keys(1, np.arange(60_000)), 1.0)
    for name in ("TWAP", "POV", "Adaptive"):
        statement = roll(market, get_policy(name), path).statement
        noise = statement.shortfall - statement.expected - statement.components.permanent
        assert abs(noise.mean()) < 4.0 * noise.std() / np.sqrt(len(noise))
        assert noise.std() > 100.0


def test_the_rollout_equals_the_vector_environment():
    for name in scenario_names():
        scenario = get_scenario(name)
        market = build_market(scenario)
        outcome = roll(market, get_policy("IS"), draw_path(market, _lane_keys(5), float(scenario.side)))
        env = HyperExecVectorEnv(5, "Disabled", scenario=name)
        env.reset(seed=40)
        policy, objective = get_policy("IS"), np.zeros(5)
        while True:
            _, _, ended, _, info = env.trade(policy.act(env.situation))
            if ended.any():
                assert ended.all(), "IS ends every lane in the last slice"
                objective[ended] = info["objective_bps"][ended]
                break
        assert np.array_equal(outcome.statement.objective, objective), name


def _lane_keys(lanes):
    return episode_keys(np.arange(40, 40 + lanes), np.zeros(lanes, dtype=np.int64))


def test_a_sanity_policy_that_wins_puts_a_warning_on_the_board():
    board = judge(get_scenario("desk-5min"), entrants(["TWAP", "all-at-once"]), get_policy("TWAP"), episodes=2000, seed=0)
    assert any("all-at-once beats TWAP" in text for text in board.warnings)
    assert board.warnings[0] in board.to_markdown()
    assert 'class="warning"' in page([board], "hyperexec leaderboard")


def test_a_trained_policy_is_compared_with_the_best_classical_one():
    taking_part = [*entrants(["TWAP", "POV", "all-at-once"]), Entrant(get_policy("VWAP"), training_seed=5)]
    judged = judge(get_scenario("regime-day"), taking_part, get_policy("TWAP"), episodes=2000, seed=0)
    by_name = {row.policy: row for row in judged.rows}
    assert judged.best_classical == "POV"
    assert by_name["VWAP"].diff_to_best_bps == pytest.approx(by_name["VWAP"].objective_bps - by_name["POV"].objective_bps)
    assert by_name["VWAP"].diff_to_best_low > 0.0
    (finding,) = judged.findings
    assert finding.startswith("VWAP (seed 5) against POV, the best classical policy: +")
    assert finding in judged.to_markdown()


def test_no_warning_where_the_market_is_sound(board):
    assert board.warnings == []


@pytest.mark.parametrize("field", ["flow", "price", "remaining", "transient", "last_volume", "seen"])
def test_a_policy_cannot_change_what_it_was_given(field):
    class Cheat:
        name = "cheat"

        def act(self, situation):
            getattr(situation, field)[...] = 0
            return situation.remaining

    with pytest.raises(ValueError, match="read-only"):
        judge(get_scenario("regime-day"), [Entrant(Cheat())], get_policy("TWAP"), episodes=100, seed=0)


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), [1.0, 2.0], None, "all"])
def test_a_policy_that_fails_in_the_middle_is_named_with_the_slice(answer):
    class Fails:
        name = "fails"

        def act(self, situation):
            return answer if situation.k == 3 else situation.remaining / 10.0

    with pytest.raises(ValueError, match=r"'fails' must return finite shares, .* in slice 3"):
        judge(get_scenario("regime-day"), [Entrant(Fails())], get_policy("TWAP"), episodes=100, seed=0)


def test_a_hidden_policy_is_not_told_the_regime():
    seen = []

    class Curious:
        name = "curious"

        def act(self, situation):
            seen.append(np.unique(situation.seen).tolist() + np.unique(situation.transient).tolist())
            return situation.remaining / 10.0

    scenario = get_scenario("regime-day")
    judge(scenario, [Entrant(Curious(), hidden=True)], get_policy("TWAP"), episodes=50, seed=0)
    unknown = build_market(scenario).unknown
    assert all(values == [unknown, 0.0] for values in seen[1:])


def test_the_optimum_gives_gap_and_score():
    scenario = get_scenario("regime-day")
    known = judge(scenario, entrants(["TWAP", "POV"]), get_policy("TWAP"), episodes=200, seed=0, optimum_bps=20.0)
    by_name = {row.policy: row for row in known.rows}
    assert by_name["TWAP"].score == 0.0
    assert by_name["POV"].gap_percent == pytest.approx(100.0 * (by_name["POV"].objective_bps / 20.0 - 1.0))
    assert 0.0 < by_name["POV"].score < 1.0


def test_json_holds_the_keys_that_tools_rely_on(board):
    plain = json.loads(board.to_json())
    assert {"scenario", "scenario_hash", "episodes", "seed", "optimum_bps", "rows"} <= set(plain)
    keys = set(plain["rows"][0])
    assert keys == set(asdict(board.rows[0]))
    assert keys >= {
        *(
            "policy",
            "training_seed",
            "objective_bps",
            "objective_low",
            "objective_high",
            "is_bps",
            "is_sd_bps",
            "is_cvar95_bps",
        ),
        *("expected_cost_bps", "risk_bps", "diff_to_twap_bps", "diff_to_twap_low", "diff_to_twap_high", "gap_percent", "score"),
        *("rank", "components_bps", "forced_percent"),
    }


def test_the_page_needs_nothing_from_outside(board):
    text = page([board], "hyperexec leaderboard --scenario <x>")
    assert text.count("<svg") == 3
    assert "&lt;x&gt;" in text
    for forbidden in ("<script", "http-equiv", "<link", "<img", 'src="', "url(http"):
        assert forbidden not in text
    assert page([board], "hyperexec leaderboard --scenario <x>") == text


def test_fewer_than_two_episodes_are_refused():
    with pytest.raises(ValueError, match="episodes must be at least 2, got 1"):
        judge(get_scenario("regime-day"), [], get_policy("TWAP"), episodes=1, seed=0)


def test_selling_costs_what_buying_costs():
    for side in (1, -1):
        scenario = replace(get_scenario("regime-day"), side=side)
        rows = judge(scenario, entrants(["POV"]), get_policy("TWAP"), episodes=300, seed=2).rows
        if side == 1:
            bought = rows[0]
    assert rows[0].objective_bps == pytest.approx(bought.objective_bps, rel=1e-12)
    assert rows[0].components_bps["timing"] == pytest.approx(-bought.components_bps["timing"], rel=1e-9)
