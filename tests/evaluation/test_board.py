"""Board: paired comparisons, gaps, warnings, and the formats it is written in."""

import json
import re
import signal
import sys
import time
from collections import namedtuple
from dataclasses import asdict, replace

import numpy as np
import pytest

from hyperexec_env.baselines.evaluate import entrants
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation import page as page_module
from hyperexec_env.evaluation.board import Entrant, markdown
from hyperexec_env.evaluation.comparison import judge
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.page import page
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.evaluation.rule import RulePolicy
from hyperexec_env.evaluation.statistics import holm, interquartile_mean, p_value
from hyperexec_env.evaluation.store import Store
from hyperexec_env.market.account import Components
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.usefixtures("without_numba")


LATER = "regime-day-2026"
"""A market whose volume comes late, in which POV costs less than VWAP, and VWAP less than TWAP."""


@pytest.fixture(scope="module")
def board():
    return judge(get_scenario("regime-day"), entrants(["all"]), get_policy("TWAP"), episodes=3000, seed=7)


def test_twap_does_not_differ_from_itself(board):
    (row,) = [row for row in board.rows if row.policy == "TWAP"]
    assert row.diff_to_twap_bps == row.diff_to_twap_low == row.diff_to_twap_high == 0.0
    assert row.win_rate == 0.0


def test_rows_are_sorted_and_agree_with_the_outcomes(board):
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
    # the price noise has mean zero for every policy: the realised shortfall and the expected cost agree
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
        env = HyperExecVectorEnv(5, "Disabled", backend="numpy", scenario=name)
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
    participants = [*entrants(["TWAP", "POV", "all-at-once"]), Entrant(get_policy("VWAP"), training_seed=5)]
    judged = judge(get_scenario(LATER), participants, get_policy("TWAP"), episodes=2000, seed=0)
    by_name = {row.policy: row for row in judged.rows}
    assert judged.best_classical == "POV"
    assert by_name["VWAP"].diff_to_best_bps == pytest.approx(by_name["VWAP"].objective_bps - by_name["POV"].objective_bps)
    assert by_name["VWAP"].diff_to_best_low > 0.0
    (finding,) = judged.findings
    assert finding.startswith("VWAP (seed 5) against POV, the best classical policy: +")
    assert finding in judged.to_markdown()


def test_a_sound_market_causes_no_warning(board):
    assert board.warnings == []


@pytest.mark.parametrize("field", ["flow", "price", "remaining", "transient", "last_volume", "seen"])
def test_a_policy_cannot_change_its_situation(field):
    class Cheat:
        name = "cheat"

        def act(self, situation):
            getattr(situation, field)[...] = 0
            return situation.remaining

    board = judge(get_scenario("regime-day"), [Entrant(Cheat())], get_policy("TWAP"), episodes=100, seed=0)
    assert "read-only" in board.failed[0].reason


class Fails:
    """Trades a tenth of the rest in each slice, and calls a function in slice 3."""

    def __init__(self, answer, name="fails", digest=None):
        self.answer, self.name = answer, name
        if digest:
            self.digest = digest

    def act(self, situation):
        return self.answer() if situation.k == 3 else situation.remaining / 10.0


FAILING = {
    "nan": (lambda: float("nan"), "'nan' must return finite shares, one for each episode, got nan in slice 3"),
    "infinite": (lambda: float("inf"), "must return finite shares, .* got inf in slice 3"),
    "shape": (lambda: [1.0, 2.0], r"must return finite shares, .* got \[1.0, 2.0\] in slice 3"),
    "nothing": (lambda: None, "must return finite shares, .* got None in slice 3"),
    "text": (lambda: "all", "must return finite shares, .* got 'all' in slice 3"),
    "raises": (lambda: 1 / 0, "^policy 'raises' raised ZeroDivisionError in slice 3: division by zero"),
    "exits": (lambda: sys.exit(5), "^policy 'exits' raised SystemExit in slice 3: 5"),
    "sleeps": (lambda: time.sleep(1e6), r"^policy 'sleeps' did not return within 0\.2 s in slice 3"),
    "never returns": (lambda: never(), r"^policy 'never returns' did not return within 0\.2 s in slice 3"),
}


def never():
    while True:
        try:
            time.time()
        except Exception:  # noqa: S112 - a policy that catches all errors
            continue


def test_policies_that_fail_are_recorded_with_the_reason_and_the_others_go_on(tmp_path):
    failing = [Fails(answer, name, digest=name) for name, (answer, _) in FAILING.items()]
    participants = [Entrant(failing[0], training_seed=7), *map(Entrant, failing[1:]), *entrants(["TWAP", "POV"])]
    twap, started = get_policy("TWAP"), time.monotonic()
    with Store(tmp_path / "s") as store:
        board = judge("regime-day", participants, twap, episodes=100, seed=0, store=store, policy_timeout=0.2)
        assert {name for _, name in store.cells()} == {"TWAP", "POV"}
    assert time.monotonic() - started < 20.0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    without = judge("regime-day", entrants(["TWAP", "POV"]), twap, episodes=100, seed=0)
    assert board.rows == without.rows
    assert board.exit_code == 1
    assert without.exit_code == 0
    assert [failure.policy for failure in board.failed] == list(FAILING)
    for failure, (_, message) in zip(board.failed, FAILING.values(), strict=True):
        assert re.search(message, failure.reason), failure
        assert f"WARNING: {failure.label} failed and has no results: {failure.reason}" in str(board)
    assert board.failed[0].label == "nan (seed 7)"
    assert board.to_dict()["failed"][0] == {"policy": "nan", "training_seed": 7, "reason": board.failed[0].reason}
    assert ["-", "raises", "failed"] in [cells[:3] for cells in board.table()[1]]
    assert "| - | raises | failed | - |" in board.to_markdown()
    assert "ZeroDivisionError" in page([board], "a command")


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_a_board_on_which_all_policies_fail_is_a_board(backend):
    """Also where a policy fails in a later batch, in its rule, or in its digest."""

    class Late(Fails):
        calls = 0

        def act(self, situation):
            self.calls += 1
            return None if self.calls == 30 else situation.remaining / 10.0

    class BadRule(RulePolicy):
        name = "bad rule"

        def rule(self, market, hidden):
            raise KeyError("no rule")

    class BadDigest(Fails):
        @property
        def digest(self):
            raise OSError("no digest")

    participants = [Entrant(policy) for policy in (Late(None, "late"), BadRule(), BadDigest(lambda: 0.0, "bad digest"))]
    board = judge("regime-day", participants, get_policy("TWAP"), episodes=5000, seed=0, backend=backend)
    assert [failure.policy for failure in board.failed] == ["late", "bad rule", "bad digest"]
    assert board.rows == ()
    assert json.loads(board.to_json())["rows"] == []
    assert "bad rule" in str(board)
    assert "no digest" in page([board], "a command")


def test_a_policy_whose_name_is_not_printable_is_refused():
    for name in ("two\nlines", "\x1b[31m", "x" * 300, 5):
        with pytest.raises(ValueError, match=r"^name of a policy must be printable text"):
            judge("regime-day", [Entrant(Fails(lambda: 0.0, name))], get_policy("TWAP"), episodes=10, seed=0)


def test_the_regime_is_hidden_from_a_hidden_policy():
    seen = []

    class Recorder:
        name = "recorder"

        def act(self, situation):
            seen.append(np.unique(situation.seen).tolist() + np.unique(situation.transient).tolist())
            return situation.remaining / 10.0

    scenario = get_scenario("regime-day")
    judge(scenario, [Entrant(Recorder(), hidden=True)], get_policy("TWAP"), episodes=50, seed=0)
    unknown = build_market(scenario).unknown
    assert all(values == [unknown, 0.0] for values in seen[1:])


@pytest.fixture(scope="module")
def known():
    """POV as the optimum: its objective comes from other episodes, with an error of four standard errors."""
    row = judge(get_scenario(LATER), entrants(["POV"]), get_policy("TWAP"), episodes=20_000, seed=99)
    objective = row.outcomes[0].statement.objective
    error = 4.0 * objective.std() / np.sqrt(len(objective)) / objective.mean()
    return Optimum(optimum_bps=float(objective.mean()), relative_error=float(error), policy=get_policy("POV"))


def _judged(optimum, names=("TWAP", "VWAP", "AC", "all-at-once"), episodes=2000, **changes):
    scenario, twap = get_scenario(LATER), get_policy("TWAP")
    return judge(scenario, entrants(names), twap, episodes=episodes, seed=0, optimum=optimum, **changes)


@pytest.fixture(scope="module")
def solved(known):
    return _judged(known)


def _named(board):
    return {row.policy: row for row in board.rows}


def test_the_score_is_0_for_twap_and_1_for_the_optimum_whose_gap_is_zero(solved):
    rows = _named(solved)
    assert rows["TWAP"].score == 0.0
    assert rows["optimum"].score == 1.0
    gaps = [getattr(rows["optimum"], name) for name in ("gap_bps", "gap_low", "gap_high", "gap_percent", "gap_percent_low")]
    assert gaps == [0.0] * 5
    assert 0.0 < rows["VWAP"].score < 1.0
    assert rows["all-at-once"].score < 0.0


def test_the_optimum_has_its_own_row_and_is_not_a_classical_policy(solved):
    assert [row.policy for row in solved.rows if row.optimum] == ["optimum"]
    assert _named(solved)["optimum"].rank == 0
    assert solved.best_classical == "VWAP"
    assert solved.rows[0].policy == "optimum"
    assert solved.warnings == []


def test_a_gap_is_the_paired_difference_to_the_optimal_policy(solved, known):
    objective = {row.policy: outcome.statement.objective for row, outcome in zip(solved.rows, solved.outcomes, strict=True)}
    for name, row in _named(solved).items():
        difference = objective[name] - objective["optimum"]
        assert row.gap_bps == pytest.approx(difference.mean(), abs=1e-12)
        assert row.gap_low <= row.gap_bps <= row.gap_high
        scale = 100.0 / known.optimum_bps
        assert row.gap_percent == pytest.approx(scale * row.gap_bps)
        assert (row.gap_percent_low, row.gap_percent_high) == pytest.approx((scale * row.gap_low, scale * row.gap_high))
        half = 1.96 * difference.std() / np.sqrt(len(difference))
        assert row.gap_high - row.gap_low == pytest.approx(2.0 * half, rel=0.1)
        expected = (objective["TWAP"].mean() - objective[name].mean()) / (
            objective["TWAP"].mean() - objective["optimum"].mean()
        )
        assert row.score == pytest.approx(expected)


def test_pairing_narrows_the_gaps(solved):
    row, best = _named(solved)["VWAP"], _named(solved)["optimum"]
    unpaired = np.hypot(row.objective_high - row.objective_low, best.objective_high - best.objective_low)
    assert row.gap_high - row.gap_low < 0.6 * unpaired


def test_the_optimum_does_not_change_the_other_columns(solved):
    plain = _judged(None)
    gap = ("gap_bps", "gap_low", "gap_high", "gap_percent", "gap_percent_low", "gap_percent_high", "score")
    for row in plain.rows:
        assert [getattr(row, name) for name in gap] == [None] * 7
        assert asdict(replace(_named(solved)[row.policy], **dict.fromkeys(gap))) == asdict(row)
    assert "gap" not in str(plain)


def test_without_the_optimal_policy_gaps_are_to_the_value_of_the_optimum():
    row = _named(_judged(Optimum(optimum_bps=20.0)))["VWAP"]
    assert row.gap_bps == pytest.approx(row.objective_bps - 20.0)
    assert (row.gap_low, row.gap_high) == pytest.approx((row.objective_low - 20.0, row.objective_high - 20.0))
    assert row.gap_percent == pytest.approx(5.0 * row.gap_bps)
    assert row.score == pytest.approx(-row.diff_to_twap_bps / (row.objective_bps - row.diff_to_twap_bps - 20.0))


def test_gaps_to_a_negative_optimum_are_positive():
    row = _named(_judged(Optimum(optimum_bps=-10.0)))["VWAP"]
    assert row.gap_percent == pytest.approx(10.0 * (row.objective_bps + 10.0))


def test_with_a_bound_only_the_board_has_no_gaps_and_states_the_bound():
    board = _judged(Optimum(bound_bps=20.0, open_loop_bps=30.0, twap_bps=31.0))
    plain = json.loads(board.to_json())
    assert (plain["optimum_bps"], plain["bound_bps"], plain["open_loop_bps"], plain["twap_bps"]) == (None, 20.0, 30.0, 31.0)
    for row in plain["rows"]:
        assert row["gap_bps"] is row["gap_low"] is row["gap_percent"] is row["score"] is None
    header, cells = board.table()
    assert {line[header.index(name)] for line in cells for name in ("gap [95 %]", "gap %", "score")} == {"-"}
    assert "not solved exactly; J* is at least 20.00" in board.caption()
    assert board.gap_decomposition == ""
    assert board.warnings == []


def test_a_correct_optimum_causes_no_warning_on_other_episodes(known):
    twap = get_policy("TWAP")
    for seed in range(8):
        judged = judge(get_scenario(LATER), entrants(["TWAP"]), twap, episodes=500, seed=seed, optimum=known)
        assert judged.warnings == []


def test_a_wrong_value_of_the_optimum_causes_a_warning(known):
    for factor in [0.8, 1.2]:
        board = _judged(replace(known, optimum_bps=factor * known.optimum_bps))
        (warning,) = board.warnings
        assert warning.startswith("WARNING: the optimal policy has a mean of ")
        assert f"but J* is {factor * known.optimum_bps:.2f}" in warning
        assert warning in str(board)
        assert warning.replace("*", r"\*") in board.to_markdown()
        assert json.loads(board.to_json())["warnings"] == [warning]
        assert f'<p class="warning">{warning}</p>' in page([board], "hyperexec leaderboard")


def test_a_wrong_value_of_twap_causes_a_warning(known):
    (warning,) = _judged(replace(known, twap_bps=40.0)).warnings
    assert warning.startswith("WARNING: TWAP has a mean of ")
    assert "but its exact objective is 40.00" in warning


def test_the_caption_of_a_board_of_few_episodes_warns_of_narrow_intervals(board):
    few = judge(get_scenario("regime-day"), entrants(["TWAP"]), get_policy("TWAP"), episodes=49, seed=0)
    assert "With so few episodes, intervals are too narrow" in few.caption()
    assert "so few episodes" not in board.caption()


def test_a_difference_by_rounding_is_not_a_win():
    flat = replace(get_scenario("regime-day"), name="flat", volume_curve=())
    board = judge(flat, entrants(["TWAP", "VWAP"]), get_policy("TWAP"), episodes=200, seed=0)
    assert [row.win_rate for row in board.rows] == [0.0, 0.0]


def test_the_page_does_not_draw_group_means_as_the_cost_of_episodes(board, monkeypatch):
    monkeypatch.setattr("hyperexec_env.evaluation.tally.MAX_VALUES", 1000)
    grouped = judge(get_scenario("regime-day"), entrants(["TWAP", "VWAP"]), get_policy("TWAP"), episodes=1000, seed=0)
    text = page([grouped], "hyperexec leaderboard")
    assert "The cost of an episode is not drawn: only the means of 250 groups of the 1,000 episodes are stored." in text
    assert "Cost of an episode. Box: quartiles" not in text
    assert "Cost of an episode. Box: quartiles" in page([board], "hyperexec leaderboard")


def test_a_policy_that_beats_the_optimum_causes_a_warning(known):
    objective = _named(_judged(None))["AC"].objective_bps
    wrong = Optimum(optimum_bps=objective, relative_error=1e-3, policy=get_policy("AC"))
    board = _judged(wrong, ("TWAP", "VWAP", "POV"))
    gaps = {name: -_named(board)[name].gap_bps for name in ("VWAP", "POV")}
    for name, gap in gaps.items():
        assert gap > 0.0
        assert any(text.startswith(f"WARNING: {name} is {gap:.2f} bps below the optimum") for text in board.warnings)
    assert len(board.warnings) == 2
    tolerant = replace(wrong, relative_error=1.01 * gaps["VWAP"] / objective)
    assert [text.split()[1] for text in _judged(tolerant, ("TWAP", "VWAP", "POV")).warnings] == ["POV"]


def test_a_policy_below_the_lower_bound_causes_a_warning():
    (warning,) = _judged(Optimum(bound_bps=40.0), ("POV",)).warnings
    assert "below the lower bound on J*" in warning


def test_only_hidden_policies_are_compared_with_the_optimum_one_slice_late(known):
    scenario, twap, late = get_scenario(LATER), get_policy("TWAP"), replace(known, regime_blind_bps=40.0)
    participants = [Entrant(get_policy("AC")), Entrant(get_policy("VWAP"), hidden=True)]
    assert judge(scenario, participants[:1], twap, episodes=2000, seed=0, optimum=late).warnings == []
    board = judge(scenario, participants, twap, episodes=2000, seed=0, optimum=late)
    (warning,) = board.warnings
    below = 40.0 - _named(board)["VWAP"].objective_bps
    assert f"VWAP is {below:.2f} bps below the optimum with the regime observed one slice late" in warning


def test_contradictory_values_of_the_optimum_cause_a_warning(known):
    wrong = replace(known, regime_blind_bps=0.5 * known.optimum_bps)
    assert any("optimum_bps" in text and "is above regime_blind_bps" in text for text in _judged(wrong).warnings)


def test_the_decomposition_of_twaps_gap_adds_up():
    full = Optimum(optimum_bps=20.0, regime_blind_bps=23.0, open_loop_bps=25.0, twap_bps=26.5)
    line = "of TWAP's gap of 6.50 bps (32.5 %): 1.50 a better fixed schedule, "
    assert [part.bps for part in full.parts] == [1.5, 2.0, 3.0]
    board = _judged(full)
    assert board.gap_decomposition == line + "2.00 inferring the regime from the past, 3.00 observing it"
    for text in (str(board), board.to_markdown(), page([board], "hyperexec leaderboard").replace("&#x27;", "'")):
        assert board.gap_decomposition in text
    part = _judged(replace(full, regime_blind_bps=None))
    assert part.gap_decomposition == line + "5.00 inferring the regime from the past and observing it"
    for changes in ({"regime_blind_bps": None}, {"open_loop_bps": None}, {"open_loop_bps": None, "regime_blind_bps": None}):
        assert sum(part.bps for part in replace(full, **changes).parts) == pytest.approx(6.5)
    assert _judged(replace(full, twap_bps=None)).gap_decomposition == ""
    rounded = _judged(replace(full, regime_blind_bps=20.0 - 1e-9)).gap_decomposition
    assert rounded.endswith("5.00 inferring the regime from the past, 0.00 observing it")


def test_with_one_regime_the_decomposition_has_no_part_for_observing_it():
    one = get_scenario("almgren-chriss")
    assert len(one.regimes) == 1
    full = Optimum(optimum_bps=20.0, regime_blind_bps=20.0, open_loop_bps=25.0, twap_bps=26.5)
    board = judge(one, entrants(["POV"]), get_policy("TWAP"), episodes=10, seed=0, optimum=full)
    assert board.gap_decomposition.endswith("1.50 a better fixed schedule, 5.00 acting on past observations")
    told = judge(one, entrants(["POV"]), get_policy("TWAP"), episodes=10, seed=0, optimum=replace(full, told_bps=17.75))
    assert told.gap_decomposition == f"{board.gap_decomposition}; 2.25 more if the unknowns were told"
    assert replace(full, told_bps=20.5).contradictions == ["told_bps 20.5000 is above optimum_bps 20.0000"]


def test_rounding_causes_no_warning_in_a_deterministic_market():
    # flat volume, linear impact and no risk: TWAP is the optimum, and every episode costs the same
    market = replace(get_scenario("almgren-chriss"), risk_aversion=0.0)
    twap = judge(market, entrants(["TWAP"]), get_policy("TWAP"), episodes=10, seed=0).rows[0].objective_bps
    for factor, warnings in ((1.0 + 1e-12, 0), (1.0 - 1e-12, 0), (1.0 + 1e-6, 1), (1.0 - 1e-6, 1)):
        known = Optimum(optimum_bps=factor * twap, policy=get_policy("TWAP"))
        board = judge(market, entrants(["TWAP"]), get_policy("TWAP"), episodes=400, seed=0, optimum=known)
        assert len(board.warnings) == warnings


def test_an_optimum_rejects_values_out_of_range():
    for values, message in [
        ({"optimum_bps": float("nan")}, "optimum_bps must be a number"),
        ({"twap_bps": float("inf")}, "twap_bps must be a number"),
        ({"relative_error": -0.1}, r"relative_error must be a number in \[0, inf\), got -0.1"),
        ({"bound_bps": 3.0, "policy": get_policy("TWAP")}, "optimum_bps must be a number where policy is given, got None"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Optimum(**values)


def test_p_values_are_of_the_differences_to_twap_with_holm_across_the_board(board):
    twap = next(outcome for row, outcome in zip(board.rows, board.outcomes, strict=True) if row.policy == "TWAP")
    others = [(row, outcome) for row, outcome in zip(board.rows, board.outcomes, strict=True) if row.policy != "TWAP"]
    expected = holm(np.array([p_value(outcome.statement.objective - twap.statement.objective) for _, outcome in others]))
    assert [row.p_twap for row, _ in others] == pytest.approx(expected.tolist())
    assert _named(board)["TWAP"].p_twap == 1.0


def test_the_same_policy_under_two_names_shares_a_rank(board):
    participants = [*entrants(["TWAP", "POV"]), Entrant(get_policy("TWAP"), training_seed=1)]
    rows = judge(get_scenario("regime-day"), participants, get_policy("TWAP"), episodes=1000, seed=0).rows
    assert [row.rank for row in rows] == [1, 2, 2]


def test_training_seeds_are_summarised_in_a_line_with_their_interquartile_mean():
    participants = [
        *entrants(["TWAP", "POV"]),
        *(Entrant(_Slower(pace), training_seed=seed) for seed, pace in ((4, 0.7), (0, 1.0), (2, 0.9), (3, 0.8))),
        Entrant(get_policy("VWAP"), training_seed=0),
    ]
    judged = judge(get_scenario("regime-day"), participants, get_policy("TWAP"), episodes=1000, seed=0)
    (group,) = judged.groups
    by_seed = {row.training_seed: row for row in judged.rows if row.policy == "slower"}
    assert group.training_seeds == (0, 2, 3, 4)
    assert group.objectives_bps == pytest.approx([by_seed[seed].objective_bps for seed in (0, 2, 3, 4)])
    assert group.interquartile_mean_bps == pytest.approx(float(interquartile_mean(np.array(group.objectives_bps))))
    assert group.low < group.interquartile_mean_bps < group.high
    line = next(text for text in judged.findings if "training seeds" in text)
    assert line.startswith(f"slower, 4 training seeds: {by_seed[0].objective_bps:.2f}, {by_seed[2].objective_bps:.2f}, ")
    assert f"; interquartile mean {group.interquartile_mean_bps:.2f} [{group.low:.2f}, {group.high:.2f}]" in line
    assert line in str(judged)
    assert json.loads(judged.to_json())["training"][0]["objectives_bps"] == list(group.objectives_bps)


class _Slower:
    name = "slower"

    def __init__(self, pace):
        self.pace = pace

    def act(self, situation):
        return self.pace * situation.remaining / (situation.market.slices - situation.k)


def test_the_tables_fit_into_150_columns(solved):
    tables = str(solved).split(solved.details_caption())[0]
    assert max(map(len, tables.splitlines())) <= 150


def test_the_page_marks_the_optimum(solved):
    assert '<tr class="optimum"><td>-</td><td>optimum</td>' in page([solved], "hyperexec leaderboard")


def test_a_board_from_the_store_is_the_board(solved, known, tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        first, again = (_judged(known, store=store) for _ in range(2))
    assert first.to_json() == again.to_json() == solved.to_json()


def test_json_has_the_documented_keys(board):
    plain = json.loads(board.to_json())
    assert {"scenario", "scenario_hash", "episodes", "seed", "optimum_bps", "bound_bps", "open_loop_bps", "rows"} <= set(plain)
    assert {"regime_blind_bps", "twap_bps", "relative_error", "warnings", "training"} <= set(plain)
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
        *("rank", "components_bps", "forced_percent", "p_twap", "optimum", "gap_bps", "gap_low", "gap_high"),
        *("gap_percent_low", "gap_percent_high"),
    }


ODD_NAMES = ("<script>alert(1)</script>", "a|b", "$x^$", "$x$", "_hidden", "**bold** [x](y)", "back\\`slash")


class Steady:
    """Trades a fixed multiple of the TWAP pace."""

    def __init__(self, name, pace=1.0):
        self.name, self.pace = name, pace

    def act(self, situation):
        return self.pace * situation.remaining / (situation.market.slices - situation.k)


@pytest.fixture(scope="module")
def odd():
    """A board of 33 untrained policies, some of which have names that mean something to Markdown, HTML or matplotlib."""
    names = [*ODD_NAMES, *(f"policy {number}" for number in range(26))]
    participants = [Entrant(Steady(name, 1.0 + 0.01 * number)) for number, name in enumerate(names)]
    participants += [Entrant(Steady("a|b", 0.5), training_seed=seed) for seed in (1, 2)]
    participants.append(Entrant(Fails(lambda: None, "<b>|fails")))
    scenario = replace(get_scenario(LATER), name="<i>day|*", description="a\x1b[31m <u>", regimes=Regimes())
    return judge(scenario, participants, get_policy("TWAP"), episodes=60, seed=0)


def test_names_mean_nothing_to_markdown(odd):
    text = odd.to_markdown()
    for raw in ("<", "**bold**", "[x](y)", " |b"):
        assert raw not in text.replace("<0.001", "")
    columns = {line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(columns) == 2  # the two tables
    assert r"| a\|b (seed 1) |" in text
    assert r"&lt;b&gt;\|fails | failed" in text
    assert r"&lt;i&gt;day\|\* (" in text
    assert markdown("all-at-once (seed 0) 1.5 %") == "all-at-once (seed 0) 1.5 %"
    assert odd.rows[0].policy in ODD_NAMES  # only the text is escaped


def test_names_mean_nothing_to_the_page(odd):
    text = page([odd], "hyperexec <u>")
    for raw in ("<script>", "<i>day", "<b>|", "<u>", "\x1b"):
        assert raw not in text
    assert text.count("<svg") == 3


def test_names_are_drawn_as_they_are():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axis = figure.subplots()
    for name in ODD_NAMES:
        axis.plot([0, 1], label=page_module.plain_label(name))
    figure.canvas.draw()
    _, labels = axis.get_legend_handles_labels()
    drawn = [text.get_text() for text in axis.legend().get_texts()]
    assert len(labels) == len(drawn) == len(ODD_NAMES)


def test_more_policies_than_colours_share_them(odd):
    colours = [colour for _, _, colour in page_module._figure_rows(odd)]
    assert len(colours) == 35
    assert set(page_module.COLOURS) < set(colours)


def test_the_page_loads_nothing_from_elsewhere(board):
    text = page([board], "hyperexec leaderboard --scenario <x>")
    assert text.count("<svg") == 3
    assert "&lt;x&gt;" in text
    for forbidden in ("<script", "http-equiv", "<link", "<img", 'src="', "url(http"):
        assert forbidden not in text
    assert page([board], "hyperexec leaderboard --scenario <x>") == text


def test_the_figure_of_the_components_shows_all_but_timing_and_also_new_ones(monkeypatch):
    assert set(page_module._part_colours()) == {*Components._fields, "risk"} - {"timing"}
    monkeypatch.setattr(page_module, "Components", namedtuple("wider", (*Components._fields, "fee")))
    colours = page_module._part_colours()
    assert len(set(colours.values())) == len(colours) == len(Components._fields) + 1


def test_fewer_than_two_episodes_raise():
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
