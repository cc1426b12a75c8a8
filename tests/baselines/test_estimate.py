"""The command that estimates an order before it trades."""

import json
from dataclasses import replace

import pytest

from hyperexec_env import cli
from hyperexec_env.baselines.estimate import estimate, impact_in
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.evaluation.board import Entrant, judge
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.market.scenario import get_scenario, scenario_names


def _run(capsys, *words):
    try:
        code = cli.main(("estimate", *words))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_prints_a_line_for_each_algorithm(capsys):
    code, out, _ = _run(capsys, "--episodes", "50")
    assert code == 0
    assert all(f"  {name} " in out for name in algorithm_names())
    assert "buy 200,000 at 100 in regime-day" in out
    assert "simulation (50 episodes of seed 0)" in out
    assert "simple estimate" in out


def test_json_holds_the_same_numbers(capsys, tmp_path):
    words = ("--scenario", "mid-cap", "--quantity", "5000", "--side", "sell", "--algorithm", "twap", "AC", "--episodes", "20")
    code, out, _ = _run(capsys, *words, "--seed", "3", "--json")
    plain = json.loads(out)
    assert code == 0
    assert (plain["quantity"], plain["side"], plain["seed"], plain["episodes"]) == (5000, -1, 3, 20)
    assert [row["algorithm"] for row in plain["rows"]] == ["TWAP", "AC"]
    assert plain["impact"]["expected_price"] < plain["arrival_price"]
    _run(capsys, *words, "--seed", "3", "--json", str(tmp_path / "x.json"))
    assert json.loads((tmp_path / "x.json").read_text()) == plain


def test_a_mistake_is_one_clear_line(capsys):
    for words, message in [
        (("--quantity", "0"), "quantity must be a whole number in [1, 1000000000000000], got 0"),
        (("--quantity", "1.5"), "quantity must be a whole number in [1, 1000000000000000], got 1.5"),
        (
            ("--quantity", "1.5", "--lot-size", "0.4"),
            "quantity must be a multiple of the lot size 0.4, got 1.5; the nearest is 1.6",
        ),
        (("--quantity", "much"), "argument --quantity: invalid float value: 'much'"),
        (("--side", "bui"), "did you mean 'buy'?"),
        (("--algorithm", "TWPA"), "did you mean 'TWAP'?"),
        (("--episodes", "1"), "episodes must be a whole number in [2, 10000000], got 1"),
        (("--seed", "-1"), "seed must be a whole number in"),
        (("--scenario", "regme-day"), "did you mean 'regime-day'?"),
        (("--json", "no/such/x.json"), "cannot write no/such/x.json"),
    ]:
        code, out, err = _run(capsys, *words)
        assert code == 2
        assert out == ""
        assert message in err
        assert err.count("\n") == 1


def test_a_fractional_order_can_be_estimated():
    found = estimate("almgren-chriss", quantity=1.5, lot_size=0.5, algorithms="TWAP")
    assert (found.parent.quantity, found.impact.quantity, sum(found.schedules[0].shares)) == (1.5, 1.5, 1.5)
    assert estimate("almgren-chriss", lot_size=0.5, algorithms="TWAP").parent.quantity == 1_000_000.0


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_can_be_estimated(name):
    found = estimate(get_scenario(name), episodes=20)
    assert [row.algorithm for row in found.schedules] == list(algorithm_names())
    assert get_scenario(name).hash in str(found)


def test_the_estimate_of_a_schedule_is_what_the_board_measures():
    """The same paths and the same market: what is left is the rounding to whole shares."""
    for scenario in ["regime-day", "desk-5min", "trending-day"]:
        for name in ["TWAP", "VWAP", "IS", "AC"]:
            found = estimate(get_scenario(scenario), algorithms=[name], episodes=500, seed=4).schedules[0]
            board = judge(get_scenario(scenario), [Entrant(get_policy(name))], get_policy("TWAP"), episodes=500, seed=4)
            (row,) = [row for row in board.rows if row.policy == name]
            assert found.objective_bps == pytest.approx(row.objective_bps, abs=0.01)
            assert found.sd_bps == pytest.approx(row.is_sd_bps, rel=1e-3)
            for part in ("spread", "temporary", "transient", "permanent", "drift"):
                assert found.components_bps[part] == pytest.approx(row.components_bps[part], abs=0.01)


def test_the_simple_estimate_and_the_steady_schedule_agree_in_a_plain_market():
    """Flat volume, no noise, no transient part, no spread: temporary, half of the permanent move, sigma sqrt(T / 3)."""
    plain = replace(get_scenario("flow-signal"), volume_noise=0.0, flow_persistence=0.0, half_spread_bps=0.0, slices=1000)
    plain = replace(plain, perm_impact_gamma=plain.kyle_lambda)
    found = estimate(plain, algorithms=["TWAP"])
    assert found.impact.cost_bps == pytest.approx(found.schedules[0].mean_bps, rel=1e-6)
    assert found.impact.risk_bps == pytest.approx(found.schedules[0].sd_bps, rel=2e-3)


def test_a_market_without_volatility_has_no_simple_estimate():
    still = replace(get_scenario("flow-signal"), volatility=0.0)
    found = estimate(still, algorithms=["TWAP"])
    assert impact_in(still, found.parent) is None
    assert "simple estimate" not in str(found)
