"""The board as a user sees it: the order of policies that must hold, and golden values of every objective."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env.baselines.evaluate import entrants
from hyperexec_env.baselines.policies import BASELINES, SANITY, get_policy
from hyperexec_env.baselines.solver import solve
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.comparison import judge
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.rollout import rollouts
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.usefixtures("without_numba")

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden_objectives.json").read_text(encoding="utf-8"))
EPISODES = 512
golden = pytest.mark.renewed_by("python benchmarks/golden_objectives.py")
TRAIN = "hyperexec train ppo --scenario regime-day-2026 --seed 0 --timesteps 2000000 --no-tensorboard"
trained = pytest.mark.renewed_by(f"{TRAIN} --out tests/data/ppo-regime-day")
COMPUTED = ("optimum_bps", "stationary_bps", "bound_bps", "open_loop_bps", "regime_blind_bps", "twap_bps")
EVERY = (*scenario_names(), *scenario_names(archived=True))
LONG = {"sunshine-day", "desk-5min"}
"""Scenarios whose solution takes most of a minute: a bound on a grid of trades, and a cap."""
CURRENT = [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in scenario_names()]
every_scenario = pytest.mark.parametrize("name", CURRENT)
ARCHIVED = [
    pytest.param(name, marks=[] if name == "regime-day-2026" else pytest.mark.slow) for name in scenario_names(archived=True)
]
"""Their hashes are held by the tests of the market; their values change with the code that also computes the others."""
also_archived = pytest.mark.parametrize("name", [*CURRENT, *ARCHIVED])


@golden
def test_every_scenario_has_golden_values():
    assert set(GOLDEN) == set(EVERY)
    for values in GOLDEN.values():
        assert set(values["simulated"]) == {*BASELINES, *SANITY}


@golden
@also_archived
def test_computed_objectives_are_the_golden_ones(name):
    """Up to what the grids leave open: a solver may become better, a scenario may not become another."""
    solution = solve(get_scenario(name))
    assert get_scenario(name).hash == GOLDEN[name]["scenario_hash"]
    for key in COMPUTED:
        value = GOLDEN[name]["computed"][key]
        if value is None:
            assert getattr(solution, key) is None, key
        else:
            assert getattr(solution, key) == pytest.approx(value, rel=1e-5), key


@golden
@also_archived
def test_simulated_objectives_are_the_golden_ones(name):
    policies = [get_policy(policy) for policy in GOLDEN[name]["simulated"]]
    market, hidden = build_market(get_scenario(name)), [False] * len(policies)
    (outcomes,) = rollouts(market, policies, hidden, 0, EPISODES, backend="numpy")
    means = {policy.name: outcome.statement.objective.mean() for policy, outcome in zip(policies, outcomes, strict=True)}
    assert means == pytest.approx(GOLDEN[name]["simulated"], rel=1e-9)


def _trained():
    """PPO of the command :data:`TRAIN`."""
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    policy = load_policy(HERE / "data" / "ppo-regime-day")
    return Entrant(policy, training_seed=policy.training_seed)


@every_scenario
def test_nothing_beats_the_optimum(name):
    """Not beyond doubt: no baseline, no trained and no sanity policy; and where it is not solved, none beats the bound."""
    scenario = get_scenario(name)
    reference = solve(scenario).reference
    taking_part = [*entrants(["all"]), _trained()]
    board = judge(scenario, taking_part, get_policy("TWAP"), episodes=1024, seed=1, optimum=reference)
    if reference.optimum_bps is None:
        assert all(row.objective_high >= reference.bound_bps for row in board.rows)
        assert all(row.gap_bps is None and row.score is None for row in board.rows)
        return
    rows = {row.policy: row for row in board.rows}
    best = rows.pop("optimum")
    assert best.optimum
    assert (best.gap_bps, best.score) == (0.0, 1.0)
    assert rows["TWAP"].score == 0.0
    assert all(row.gap_high >= -reference.error_bps for row in rows.values())
    assert not [text for text in board.warnings if "sanity" not in text]
    realised = [outcome.statement.shortfall + outcome.statement.risk for outcome in board.outcomes]
    least = realised[[row.optimum for row in board.rows].index(True)]
    for cost in realised:  # with the noise of the price too, four standard errors for some 200 comparisons
        assert (cost - least).mean() >= -4.0 * (cost - least).std(ddof=1) / len(cost) ** 0.5 - reference.error_bps


@trained
def test_the_order_of_the_board_where_it_must_hold():
    """Beyond doubt: optimum < trained policy < best fixed schedule < TWAP."""
    scenario = get_scenario("regime-day-2026")
    solution, trained = solve(scenario), _trained()
    taking_part = [trained, Entrant(solution.best_schedule), *entrants(["TWAP", "VWAP", "AC"])]
    board = judge(scenario, taking_part, get_policy("TWAP"), episodes=4096, seed=0, optimum=solution.reference)
    rows = {row.policy: row for row in board.rows}
    learned = rows["PPO"]
    assert [row.policy for row in board.rows][:3] == ["optimum", "PPO", "best schedule"]
    assert 0.0 < learned.gap_low <= learned.gap_high < 5.0
    assert learned.gap_high < rows["best schedule"].gap_low < rows["best schedule"].gap_high < rows["TWAP"].gap_low
    assert learned.diff_to_best_high < 0.0  # the best classical policy here is the best schedule
    assert 0.8 < learned.score < 1.0
    assert not board.warnings
    assert np.isclose(rows["TWAP"].objective_bps, solution.twap_bps, rtol=0.03)


def test_a_failed_comparison_with_a_stored_result_prints_the_command_that_renews_it(tmp_path):
    (tmp_path / "conftest.py").write_bytes((HERE / "conftest.py").read_bytes())
    (tmp_path / "test_stored.py").write_text(
        "import pytest\n\n@pytest.mark.renewed_by('make it')\ndef test_value():\n    assert 1 == 2\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a change that is meant to move this result renews it: make it" in done.stdout
