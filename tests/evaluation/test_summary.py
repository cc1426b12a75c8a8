"""The table of several boards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hyperexec_env.baselines.evaluate import entrants
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.solver import solve
from hyperexec_env.evaluation.comparison import judge
from hyperexec_env.evaluation.summary import summary
from hyperexec_env.market.scenario import get_scenario

pytestmark = pytest.mark.usefixtures("without_numba")


def _board(name, optimum=True, policies=("TWAP", "VWAP", "random")):
    scenario = get_scenario(name)
    known = solve(scenario).reference if optimum else None
    return judge(scenario, entrants(policies), get_policy("TWAP"), episodes=64, seed=0, optimum=known)


def _line(board):
    header, cells, _ = summary([board])
    return dict(zip(header[1:], cells[0][1:], strict=True))


def test_a_solved_scenario_shows_computed_and_measured_gaps():
    board = _board("crisis-day")
    line, known = _line(board), board.optimum
    assert line["scenario"] == "crisis-day"
    assert float(line["J* [bps]"]) == pytest.approx(known.optimum_bps, abs=5e-4)
    assert float(line["best schedule %"]) == pytest.approx(100 * (known.open_loop_bps / known.optimum_bps - 1), abs=0.06)
    twap = next(row for row in board.rows if row.policy == "TWAP")
    assert float(line["TWAP %"]) == pytest.approx(twap.gap_percent, abs=0.06)
    assert "random %" not in line


def test_a_scenario_that_is_not_solved_shows_its_bound():
    board = _board("hunted-day")
    line = _line(board)
    assert line["J* [bps]"].startswith(">=")
    assert line["error"] == line["best schedule %"] == "-"
    twap = next(row for row in board.rows if row.policy == "TWAP")
    bound = board.optimum.bound_bps
    assert float(line["TWAP %"].removeprefix("<=")) == pytest.approx(100 * (twap.objective_bps / bound - 1), abs=0.06)


def test_several_training_seeds_are_one_column_and_boards_without_an_optimum_have_none():
    board = _board("crisis-day")
    judged = [row for row in board.rows if not (row.optimum or row.sanity)]
    trained = replace(board, rows=tuple(replace(row, policy="PPO", training_seed=k) for k, row in enumerate(judged)))
    gaps = [row.gap_percent for row in judged]
    assert float(_line(trained)["PPO %"]) == pytest.approx(sum(gaps) / len(gaps), abs=0.06)
    assert set(list(_line(_board("crisis-day", optimum=False)).values())[1:]) == {"-"}
