"""The interval of J* over a posterior: each draw is solved for itself, shown with the point estimate, and cached."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env import cli
from hyperexec_env.baselines.solver import interval, schedule_bps, solve, solve_interval
from hyperexec_env.market.posterior import draws_of
from hyperexec_env.market.scenario import get_scenario

RNG = np.random.default_rng(7)
EXAMPLE = get_scenario("almgren-chriss")
LINEAR = replace(
    EXAMPLE,
    posterior={
        name: (getattr(EXAMPLE, name) * np.append(RNG.uniform(0.7, 1.3, 10), [0.7, 1.3])).tolist()
        for name in ("temp_impact_alpha", "volatility")
    },
)
DAY = get_scenario("regime-day")
SHORT = replace(
    DAY,
    slices=4,
    posterior={
        "resilience": [DAY.resilience * factor for factor in (0.5, 1.0, 2.0)],
        "temp_impact_beta": [DAY.temp_impact_beta + change for change in (0.0, 0.1, -0.1)],
    },
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("scenario", [LINEAR, SHORT], ids=["Riccati", "dynamic programming"])
def test_each_draw_has_the_objectives_of_its_own_solution(scenario):
    found = solve_interval(scenario)
    alone = [solve(draw) for draw in draws_of(scenario)]
    assert found.optimum == pytest.approx([one.optimum_bps for one in alone], rel=1e-12)
    assert found.twap == pytest.approx([one.twap_bps for one in alone], rel=1e-12)
    assert found.solution.optimum_bps == solve(replace(scenario, posterior=None)).optimum_bps
    assert found.solution.optimum_bps < found.solution.twap_bps
    low, high = found.intervals["optimum_bps"]
    assert found.optimum.min() <= low < found.solution.optimum_bps < high <= found.optimum.max()
    assert found.intervals["twap_above_bps"][0] >= 0.0


def test_equal_draws_leave_an_interval_of_no_width():
    found = solve_interval(replace(LINEAR, posterior={"temp_impact_alpha": [EXAMPLE.temp_impact_alpha] * 2}))
    assert found.intervals["optimum_bps"] == pytest.approx([found.solution.optimum_bps] * 2, rel=1e-12)
    assert found.twap == pytest.approx([schedule_bps(LINEAR, [0.2] * 5)] * 2)


def test_draws_that_are_solved_are_kept_and_more_of_them_go_on(monkeypatch):
    first = solve_interval(LINEAR, 5)
    solved = []
    monkeypatch.setattr(interval, "best_of", lambda market: solved.append(market) or best_of(market))
    again, more = solve_interval(LINEAR, 5), solve_interval(LINEAR, 8)
    assert again.optimum.tolist() == first.optimum.tolist() == more.optimum[:5].tolist()
    assert len(solved) == 3
    assert len(solve_interval(LINEAR, 5, cached=False).optimum) == 5
    assert len(solved) == 8


best_of = interval.best_of


def command(capsys, tmp_path, *words, scenario=LINEAR):
    file = tmp_path / "measured.toml"
    file.write_text(scenario.to_toml(), encoding="utf-8")
    code = cli.main(["solve", str(file), *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_prints_the_point_estimate_and_the_interval(capsys, tmp_path):
    code, out, _ = command(capsys, tmp_path, "--draws", "8")
    found = solve_interval(LINEAR, 8)
    assert code == 0
    assert str(found.solution).split("\n")[0] in out
    for low, high in found.intervals.values():
        assert f"{low:.4f}" in out
        assert f"{high:.4f}" in out
    assert "the middle 95 % of the first 8 of 12 draws (--draws) of the posterior" in out
    assert "all 12 draws" in command(capsys, tmp_path)[1]
    code, out, _ = command(capsys, tmp_path, "--draws", "8", "--json")
    plain = json.loads(out)
    assert plain["optimum_bps"]["start"] == found.solution.optimum_bps
    assert plain["interval"]["draws"] == 8
    assert plain["interval"]["of"] == 12
    assert plain["interval"]["twap_above_bps"] == list(found.intervals["twap_above_bps"])
    assert plain["interval"]["optimum_by_draw_bps"] == found.optimum.tolist()


def test_without_draws_the_command_prints_the_point_estimate_alone(capsys, tmp_path):
    code, out, _ = command(capsys, tmp_path, "--draws", "0")
    assert code == 0
    assert "posterior" not in out
    assert "interval" not in json.loads(command(capsys, tmp_path, "--draws", "0", "--json")[1])


@pytest.mark.parametrize("draws", ["1", "-1", "1001"])
def test_a_number_of_draws_out_of_range_is_refused(capsys, tmp_path, draws):
    code, _, err = command(capsys, tmp_path, "--draws", draws)
    assert code == 2
    assert f"draws must be a whole number in [2, 1000], got {draws}" in err


def test_a_market_that_is_not_solved_exactly_has_no_interval(capsys, tmp_path):
    hunted = replace(get_scenario("hunted-day"), posterior={"resilience": [5.0, 20.0]})
    code, out, _ = command(capsys, tmp_path, scenario=hunted)
    assert code == 0
    assert "no interval of J*: the scenario is not solved exactly" in out
