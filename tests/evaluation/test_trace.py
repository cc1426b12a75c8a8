"""A trace: every child order, whose costs sum to what `info` says of the episode."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.evaluation.trace import COSTS

pytestmark = pytest.mark.fast

CASES = {
    "day": ("regime-day", {}),
    "drift": ("trending-day", {"random_side": True, "quantity_range": (0.5, 2.0)}),
    "unfilled": (replace(hx.get_scenario("desk-5min"), max_participation=0.02, complete=False), {}),
    "drift, unfilled": (replace(hx.get_scenario("trending-day"), max_participation=0.01, complete=False), {}),
    "predator": ("hunted-day", {}),
}


def played(scenario, seed, **options):
    """Return an environment whose episode is over, its rewards and its last info."""
    env = hx.make(scenario, **options)
    rng, over, paid = np.random.default_rng(seed), False, []
    env.reset(seed=seed)
    while not over:
        _, reward, over, _, info = env.step(rng.uniform(-1.0, 0.5, 1).astype(np.float32))
        paid.append(reward)
    return env, paid, info


@pytest.mark.parametrize("case", CASES)
def test_costs_sum_to_what_info_says(case):
    scenario, options = CASES[case]
    for seed in range(3):
        env, paid, info = played(scenario, seed, **options)
        trace = hx.trace(env)
        for name, value in (info["components_bps"] | {"risk": info["risk_bps"]}).items():
            assert trace[f"{name}_bps"].sum() == pytest.approx(value, abs=1e-9), name
            assert trace.components_bps[name] == pytest.approx(value, abs=1e-9), name
        assert len(trace) == len(paid)
        unfilled = info["quantity"] - trace["shares"].sum()
        assert trace["remaining"][-1] == pytest.approx(unfilled, abs=1e-6)
        if case in ("day", "predator"):
            objective = sum(trace[f"{name}_bps"] for name in COSTS if name not in ("permanent", "timing"))
            np.testing.assert_allclose(objective, -np.array(paid), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("side", [1, -1])
def test_fills_and_mids_are_those_of_the_market(side):
    """The cash of the fills is the shortfall, and a fill is worse than the mid by half spread, temporary and half own move."""
    scenario = replace(hx.get_scenario("regime-day"), side=side)
    env, _, info = played(scenario, 4)
    trace, arrival = hx.trace(env), scenario.arrival_price
    filled = trace["shares"] > 0.0
    cash = side * float((trace["shares"][filled] * trace["fill_price"][filled]).sum() - scenario.quantity * arrival)
    assert 1e4 * cash / (scenario.quantity * arrival) == pytest.approx(info["shortfall_bps"], abs=1e-6)
    assert (side * (trace["fill_price"] - trace["mid"])[filled] > 0.0).all()
    situation = env.unwrapped.situation
    assert trace["fill_price"][-1] == pytest.approx(situation.last_price)
    assert trace["shares"][-1] == situation.last_shares
    assert trace["market_volume"][-1] == situation.last_volume
    assert np.isnan(trace["fill_price"][~filled]).all()


def test_a_trace_of_a_policy_is_what_the_board_judges():
    board = hx.evaluate("almgren-chriss", "TWAP", episodes=5, seed=3, optimum=False, backend="numpy")
    trace = hx.trace("almgren-chriss", "TWAP", seed=3, episodes=5, board=True)
    assert sorted(set(trace["episode"].tolist())) == [0, 1, 2, 3, 4]
    (row,) = board.rows
    assert sum(trace.components_bps[name] for name in COSTS if name != "risk") == pytest.approx(row.is_bps, abs=1e-9)


def test_a_trace_shows_a_policy_the_probabilities_that_it_reads():
    class Follower:
        name, follows_regimes = "follower", True

        def act(self, situation):
            return situation.regime_probability_CRISIS * situation.remaining

    entrant = hx.Entrant(Follower(), hidden=True)
    board = hx.evaluate("regime-day", entrant, episodes=3, seed=3, optimum=False, backend="numpy")
    trace = hx.trace("regime-day", entrant, seed=3, episodes=3, board=True)
    (row,) = board.rows
    assert sum(trace.components_bps[name] for name in COSTS if name != "risk") == pytest.approx(row.is_bps, abs=1e-9)
    assert trace["shares"][0] > 0.0
    chosen = hx.trace(
        "regime-day", entrant, seed=3, episodes=3, board=True, features=["time_left", "regime_probability_CRISIS"]
    )
    assert np.array_equal(chosen["shares"], trace["shares"])


def test_a_running_episode_has_a_trace_of_its_slices_so_far():
    env = hx.make("regime-day", info="full")
    env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(np.zeros(1, np.float32))
    trace = hx.trace(env)
    assert trace["slice"].tolist() == [0, 1, 2]
    for name, value in info["components_bps"].items():
        assert trace[f"{name}_bps"].sum() == pytest.approx(value, abs=1e-9)


def test_files_hold_the_table(tmp_path):
    trace = hx.trace("desk-5min", "TWAP", episodes=2)
    trace.write(str(tmp_path / "trace.csv"))
    with open(tmp_path / "trace.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(trace.columns)
    assert [float(row["shares"]) for row in rows] == trace["shares"].tolist()
    trace.write(str(tmp_path / "trace.json"))
    assert json.loads((tmp_path / "trace.json").read_text())[3]["regime"] == trace["regime"][3]
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `data`")
    trace.write(str(tmp_path / "trace.parquet"))
    table = parquet.read_table(tmp_path / "trace.parquet")
    assert table.column_names == list(trace.columns)
    np.testing.assert_array_equal(table["fill_price"].to_numpy(), trace["fill_price"])
    assert table.equals(trace.to_arrow())
    with pytest.raises(ValueError, match=r"out must be a file that ends in \.parquet, \.csv, \.json"):
        trace.write(str(tmp_path / "trace.xls"))


def test_what_has_no_trace_gets_one_line():
    env = hx.make("desk-5min")
    env.reset(seed=0)
    for given, message in [
        ((env,), "has no slice yet"),
        ((env, "TWAP"), "policy must be None with an environment"),
        ((hx.make_vec("desk-5min", num_envs=2, backend="numpy"),), "trace takes a single environment"),
        ((gym.make("CartPole-v1"),), "trace takes a single environment"),
        (("desk-5min",), "policy must name the policy"),
        (("desk-5min", "baselines"), "policy must be one policy"),
        (("desk-5mi", "TWAP"), "unknown scenario"),
    ]:
        with pytest.raises(ValueError, match=message):
            hx.trace(*given)
