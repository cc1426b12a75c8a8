"""What hiding is worth: the numbers are paired, the checks are in the report, and a mistake is one line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from baselines import stealth
from baselines.policies import get_policy
from baselines.stealth import study
from hyperexec_env import cli
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.market.model import build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario

DESK = get_scenario("desk-5min")
ESTIMATES = ("auc", "straying", *(f"{case}_{name}" for case in ("predator", "liquidity") for name in ("leakage", "price")))


def run(capsys, *words):
    try:
        code = cli.main(["stealth", *words])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def found():
    return study(DESK, (0.0, 0.3, 1.0), 0.3, 60, 0)


def rows_of(found, factor):
    return [row for row in found.rows if row.factor == factor]


def test_every_algorithm_is_measured_at_every_factor(found):
    assert found.algorithms == list(algorithm_names())
    assert [row.factor for row in found.rows] == [0.0, 0.3, 1.0] * len(algorithm_names())


def test_an_order_that_does_not_hide_does_not_stray_and_is_seen(found):
    for row in rows_of(found, 0.0):
        assert row.straying == (0.0, 0.0, 0.0)
        assert row.predator.price == row.predator.leakage
        assert row.predator.against_plain == (0.0, 0.0, 0.0)
        assert row.auc.value > 0.9
        assert row.predator.leakage.low > 0.0
        assert row.liquidity.leakage.high < 0.0


def test_hiding_takes_detection_and_leakage_away_and_costs(found):
    for plain, hidden in zip(rows_of(found, 0.0), rows_of(found, 1.0), strict=True):
        assert hidden.auc.value < 0.65
        assert hidden.believed < plain.believed
        assert abs(hidden.predator.leakage.value) < plain.predator.leakage.value
        assert hidden.straying.low > 0.0


def test_hiding_may_lose_where_liquidity_comes_to_an_order_that_is_seen(found):
    assert found.liquidity == -0.3
    assert all(found.cheapest(name, "liquidity").factor == 0.0 for name in found.algorithms)


def test_a_tape_without_an_order_is_no_better_than_chance(found):
    assert found.chance.low <= 0.5 <= found.chance.high
    assert found.false_alarms < 0.2


def test_the_price_is_the_sum(found):
    for row in found.rows:
        for case in (row.predator, row.liquidity):
            assert case.price.value == pytest.approx(case.leakage.value + row.straying.value, abs=1e-12)


def test_no_predator_no_leakage():
    for row in study(DESK, (0.0, 1.0), 0.0, 20, 1).rows:
        assert row.predator.leakage == row.liquidity.leakage == (0.0, 0.0, 0.0)
        assert row.predator.price == row.straying


def test_the_batch_size_and_the_other_factors_change_no_number(found, monkeypatch):
    monkeypatch.setattr(stealth, "_BATCH", 17)
    assert study(DESK, (1.0, 0.3, 0.0, 0.3), 0.3, 60, 0).rows == found.rows
    other = study(DESK, (0.3, 0.6), 0.3, 60, 0)
    for one, same in zip(rows_of(other, 0.3), rows_of(found, 0.3), strict=True):
        assert (one.auc, one.believed) == (same.auc, same.believed)
        assert one.straying.value == pytest.approx(same.straying.value, abs=1e-12)


def test_another_seed_gives_other_numbers():
    assert study(DESK, (0.5,), 0.3, 20, 0).rows != study(DESK, (0.5,), 0.3, 20, 1).rows


def test_a_plan_costs_on_the_fine_grid_what_it_costs_in_the_scenario():
    """In one regime, with a steady volume: the children trade half a slice later, and that matters for the risk alone."""
    scenario = replace(get_scenario("regime-day"), volume_noise=0.0, volume_curve=(), regimes={}, risk_aversion=0.0)
    bench, keys = stealth._bench(scenario, 3), episode_keys(3, np.arange(4))
    path = draw_path(bench.fine, keys, 1.0)
    market = build_market(scenario)
    for name in ("TWAP", "VWAP", "IS", "POV"):
        orders = [stealth._children(bench, path, column, column, (name, 0.0)) for column in range(4)]
        ours = stealth._objectives(bench.fine, path, stealth._lay(orders, path), 0.0, np.zeros(4, dtype=bool))
        theirs = roll(market, get_policy(name), draw_path(market, keys, 1.0)).statement.objective
        assert ours == pytest.approx(theirs, rel=1e-3), name  # whole shares there, fractions here


def test_the_volume_of_a_slice_varies_on_the_fine_grid_as_in_the_scenario():
    scenario = replace(DESK, regimes={})
    fine = build_market(stealth._fine(scenario))
    path = draw_path(fine, episode_keys(0, np.arange(4000)), 1.0)
    volumes = path.slices.volume.reshape(scenario.slices, stealth.SPLIT, -1).sum(axis=1)
    assert volumes.std() / volumes.mean() == pytest.approx(np.sqrt(np.expm1(scenario.volume_noise**2)), rel=0.1)
    assert volumes.mean() == pytest.approx(scenario.adv * scenario.profile()[0], rel=0.02)


def test_pov_follows_the_volume_that_it_has_seen():
    bench = stealth._bench(DESK, 0)
    path = draw_path(bench.fine, episode_keys(0, np.arange(3)), 1.0)
    for column in range(3):
        order = stealth._children(bench, path, column, column, ("POV", 0.0))
        volumes = path.slices.volume[:, column].reshape(DESK.slices, stealth.SPLIT).sum(axis=1)
        assert order.shares.sum() == DESK.quantity
        shares = order.shares[1:-1]
        assert shares / shares[0] == pytest.approx((volumes / volumes[0])[: len(shares)], rel=0.01)


@pytest.mark.parametrize("name", ["sunshine-day", "small-cap", "flow-signal"])
def test_other_scenarios_are_measured_too(name):
    rows = study(replace(get_scenario(name), side=-1), (0.0, 1.0), 1.0, 20, 0).rows
    assert all(np.isfinite([*row.auc, *row.straying, *row.predator.price, *row.liquidity.price]).all() for row in rows)


# --- the command


def test_the_command_prints_draws_and_writes(capsys, tmp_path):
    target, picture = tmp_path / "stealth.json", tmp_path / "stealth.png"
    words = ("--episodes", "20", "--factors", "0", "0.5", "--predator", "1", "--json", str(target), "--plot", str(picture))
    code, out, _ = run(capsys, *words)
    assert code == 0
    for text in ("20 episodes of seed 0; predator 1, liquidity -0.5", "cheapest factor where a predator hunts", "false alarms"):
        assert text in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    plain = json.loads(target.read_text())
    assert {"scenario", "scenario_hash", "episodes", "seed", "predator", "liquidity", "false_alarm_rate", "cheapest"} <= {
        *plain
    }
    assert plain["chance_auc_low"] <= plain["chance_auc"] <= plain["chance_auc_high"]
    assert len(plain["rows"]) == 2 * len(algorithm_names())
    assert len(plain["cheapest"]) == 2 * len(algorithm_names())
    for row in plain["rows"]:
        for name in ESTIMATES:
            value = row[name if name == "auc" else f"{name}_bps"]
            assert row[f"{name}_low"] - 1e-9 <= value <= row[f"{name}_high"] + 1e-9, name


def test_the_same_command_gives_the_same_numbers_and_the_same_picture(capsys, tmp_path):
    words = ("--episodes", "20", "--factors", "0.5", "--json", "--plot")
    outs = [run(capsys, *words, str(tmp_path / name))[1] for name in ("a.svg", "b.svg")]
    assert outs[0] == outs[1]
    assert json.loads(outs[0])["episodes"] == 20
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--factors", "1.5"), "factors must be a number in [0, 1], got 1.5"),
        (("--factors", "nan"), "factors must be a number in [0, 1], got nan"),
        (("--predator", "-1"), "predator must be a number in [0, 2] of the child that is expected, got -1.0"),
        (("--episodes", "1"), "episodes must be a whole number in [20, 1000000], got 1"),
        (("--seed", "-1"), "seed must be a whole number in [0, 4294967295], got -1"),
        (("--scenario", "desk5min"), "unknown scenario 'desk5min'; did you mean 'desk-5min'?"),
        (("--plot", "x.bmp"), "plot must be a file that ends in .png, .svg, .pdf, got 'x.bmp'"),
        (("--plot", "no/such/x.png"), "cannot write no/such/x.png"),
        (("--json", "no/such/x.json"), "cannot write no/such/x.json"),
    ],
)
def test_a_mistake_is_one_clear_line_before_the_work(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_scenario_that_is_cut_too_finely_is_refused():
    with pytest.raises(ValueError, match=r"^slices of the scenario must be a whole number in \[2, 32\], got 390$"):
        study(replace(DESK, slices=390), (0.0,), 0.3, 20, 0)
