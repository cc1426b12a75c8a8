"""The command `hyperexec bench`: its rows, the rows it leaves out, its JSON, and the profile of a training."""

from __future__ import annotations

import json
import pkgutil
import runpy
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env import cli
from hyperexec_env.cli.bench import Args
from hyperexec_env.evaluation.bench import LIMIT, REFERENCE, Row
from hyperexec_env.extras import MissingExtra
from hyperexec_env.training import bench, ppo
from hyperexec_env.training.bench import PARTS, plan, training_probes

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed.py"
TINY = ppo.Args(lanes=16, steps=26, batch_size=104, epochs=1, hidden=8)

LARGE = {
    "reading 10,000,000 trades of csv": (60.0, "s"),
    "reading 10,000,000 trades of csv, memory": (1.0, "GB"),
    "reading 10,000,000 trades of parquet": (60.0, "s"),
    "reading 10,000,000 trades of parquet, memory": (1.0, "GB"),
    "reading 1,000,000 bars of csv": (10.0, "s"),
    "reading 1,000,000 bars of csv, memory": (1.0, "GB"),
    "reading 1,000,000 bars of parquet": (10.0, "s"),
    "reading 1,000,000 bars of parquet, memory": (1.0, "GB"),
    "tca of 100,000 executions": (30.0, "s"),
    "tca of 100,000 executions, memory": (1.0, "GB"),
}
"""Limits of the rows of large files."""

GOALS = {
    "single environment": (1.9, "higher", REFERENCE),
    "make_vec, numba, pace, 64 lanes": (4.0, "higher", REFERENCE),
    "make_vec, numba, pace, 1,024 lanes": (4.0, "higher", REFERENCE),
    "make_vec, numba, pace, 16,384 lanes": (2.0, "higher", REFERENCE),
    "make_vec, numba, discrete with mask, 64 lanes": (3.0, "higher", REFERENCE),
    "make_vec, numba, discrete with mask, 1,024 lanes": (2.5, "higher", REFERENCE),
    "make_vec, numba, discrete with mask, 16,384 lanes": (1.5, "higher", REFERENCE),
    "benchmark_vector_step, numba, pace, 64 lanes": (1.3, "higher", REFERENCE),
    "benchmark_vector_step, numba, pace, 1,024 lanes": (1.6, "higher", REFERENCE),
    "benchmark_vector_step, numba, pace, 16,384 lanes": (1.3, "higher", REFERENCE),
    "lanes that end at all times, numba, 64 lanes": (1.4, "lower", "lanes in step"),
    "lanes that end at all times, numba, 1,024 lanes": (1.4, "lower", "lanes in step"),
    "lanes that end at all times, numba, 16,384 lanes": (1.4, "lower", "lanes in step"),
    "make_vec, numpy, 1,000 lanes in step": (0.35, "higher", REFERENCE),
    "rollouts, numba": (13.0, "higher", "rollouts, numpy"),
    "rollouts, numba, 1,000,000 episodes, memory": (1.0, "lower", LIMIT),
    "evaluate, 1,000,000 episodes, memory": (1.0, "lower", LIMIT),
    **dict.fromkeys(LARGE, (1.0, "lower", LIMIT)),
    "process() that makes 20 children": (20.0, "lower", REFERENCE),
    "generation of 20 hidden children": (5.0, "lower", REFERENCE),
    "impact estimate": (0.2, "lower", REFERENCE),
    "status": (0.1, "lower", REFERENCE),
    "process() that learns from a bin and plans anew": (1.0, "lower", LIMIT),
    "route() of a child over four venues": (1.0, "lower", LIMIT),
    "import": (1.3, "lower", "import gymnasium"),
    "first vector step, warm cache": (1.0, "lower", LIMIT),
    "first frame of render()": (1.0, "lower", LIMIT),
    "decision of a trained policy": (1.0, "lower", LIMIT),
    "basket of 2 assets": (2.6, "lower", "one asset"),
    "basket of 10 assets": (10.0, "lower", "one asset"),
    "basket of 10 assets, 1,000 numpy lanes": (13.0, "lower", "one asset"),
    "basket of 1 asset, 1,024 numba lanes": (0.9, "higher", "one asset"),
    "basket of 2 assets, 1,024 numba lanes": (2.6, "lower", "one asset"),
    "basket of 10 assets, 1,024 numba lanes": (13.0, "lower", "one asset"),
    "basket of 50 assets, 1,024 numba lanes": (100.0, "lower", "one asset"),
    "child order at the touch": (2.0, "lower", "an order of slices"),
    "child order at the touch, 1,000 numpy lanes": (2.0, "lower", "an order of slices"),
    "child order at the touch, 1,024 numba lanes": (2.0, "lower", "an order of slices"),
    "optimum of touch-5min": (1.0, "lower", LIMIT),
    "optimum of basket-day": (1.0, "lower", LIMIT),
    "optimum of unknown-volume": (1.0, "lower", LIMIT),
    "optimum of unknown-impact": (1.0, "lower", LIMIT),
    "unknown volume and its belief": (1.15, "lower", "nothing unknown"),
    "unknown volume and its belief, 1,000 numpy lanes": (1.15, "lower", "nothing unknown"),
    "unknown volume and its belief, 1,024 numba lanes": (1.15, "lower", "nothing unknown"),
    "unknown drift and its belief": (1.15, "lower", "nothing unknown"),
    "unknown impact and its belief": (1.15, "lower", "nothing unknown"),
    "four unknowns and their beliefs": (1.4, "lower", "nothing unknown"),
    "four unknowns and their beliefs, 1,000 numpy lanes": (1.4, "lower", "nothing unknown"),
    "four unknowns and their beliefs, 1,024 numba lanes": (1.4, "lower", "nothing unknown"),
    "4 venues": (6.5, "lower", "one venue"),
    "4 venues, 1,000 numpy lanes": (6.5, "lower", "one venue"),
    "4 venues, 1,024 numba lanes": (6.5, "lower", "one venue"),
    "training by PPO": (15.0, "higher", "stable-baselines3's defaults"),
    "environment's share of it": (1.0, "lower", LIMIT),
    "training by PPO-fast": (4.0, "higher", "training by PPO"),
}
"""Goal, direction and reference of every row with a goal; a limit is reached by a ratio of at most 1."""

LIMITS = {
    "process() that learns from a bin and plans anew": (500.0, "us"),
    "route() of a child over four venues": (500.0, "us"),
    "rollouts, numba, 1,000,000 episodes, memory": (1.0, "GB"),
    "evaluate, 1,000,000 episodes, memory": (1.0, "GB"),
    **LARGE,
    "first vector step, warm cache": (0.7, "s"),
    "first frame of render()": (1.0, "s"),
    "decision of a trained policy": (25.0, "us"),
    "optimum of touch-5min": (1.0, "s"),
    "optimum of basket-day": (1.0, "s"),
    "optimum of unknown-volume": (5.0, "s"),
    "optimum of unknown-impact": (30.0, "s"),
    "environment's share of it": (5.0, "%"),
}


@pytest.fixture
def everything_installed(monkeypatch):
    monkeypatch.setattr(bench, "left_out", lambda what, module, extra: "")


def names(**chosen):
    return {probe.name for probe in plan(**chosen).probes}


def test_everything_that_must_be_reached_is_measured(everything_installed):
    probes = plan(full=True).probes
    assert len({probe.name for probe in probes}) == len(probes)
    assert {probe.name: (probe.goal, probe.better, probe.against) for probe in probes if probe.goal is not None} == GOALS
    assert {probe.name: (probe.reference(0.0), probe.unit) for probe in probes if probe.against == LIMIT} == LIMITS


def test_an_option_measures_its_part_only_and_full_measures_all(everything_installed):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    plain, agent, training = names(), names(agent=True), names(training=True)
    assert "single environment" in plain
    assert agent == {name for name in GOALS if name.split()[0] in ("process()", "route()", "generation", "impact", "status")}
    assert training == {"training by PPO", "environment's share of it", "training by PPO-fast"}
    assert names(agent=True, training=True) == agent | training
    long = {"evaluate, 1,000,000 episodes", "evaluate, 1,000,000 episodes, memory", *LARGE}
    assert names(full=True) == plain | agent | training | long
    law = "probabilities of a hidden regime"
    assert {law, f"{law}, 1,000 numpy lanes", f"{law}, 1,024 numba lanes"} <= plain
    assert not plain & long


def test_without_numba_its_rows_are_left_out_and_a_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    for full in (False, True):
        chosen = plan(full=full)
        assert not any(
            "numba" in probe.name or "evaluate" in probe.name or "first vector" in probe.name for probe in chosen.probes
        )
        assert {"single environment", "make_vec, numpy, 1,000 lanes in step"} <= {probe.name for probe in chosen.probes}
        assert chosen.left_out[0] == 'rows with numba are left out: numba is not installed: pip install "hyperexec-env[fast]"'
    assert plan(agent=True).left_out == []


def test_without_pillow_the_first_frame_is_left_out_and_a_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    chosen = plan()
    assert "first frame of render()" not in {probe.name for probe in chosen.probes}
    assert chosen.left_out == ['the first frame is left out: PIL is not installed: pip install "hyperexec-env[plot]"']


def test_with_an_older_gymnasium_the_rows_of_its_benchmark_are_left_out(monkeypatch, everything_installed):
    before = names()
    monkeypatch.delattr("gymnasium.utils.performance.benchmark_vector_step")
    assert {name for name in before if name.startswith("benchmark_vector_step")} == before - names()
    assert plan().left_out[0].startswith("rows of benchmark_vector_step are left out: it needs gymnasium 1.4, got ")


def test_without_stable_baselines3_a_training_is_left_out_or_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    chosen = plan(full=True)
    assert "training by PPO" not in {probe.name for probe in chosen.probes}
    assert chosen.left_out[-1].endswith('pip install "hyperexec-env[train]"')
    with pytest.raises(MissingExtra, match="stable_baselines3 is not installed"):
        plan(training=True)


def test_json_carries_the_rows_and_the_profile(monkeypatch, tmp_path, capsys, everything_installed):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    row = Row("training by PPO", 2.0, "slices/s", 1.0, 2.0, 15.0, "higher", "the defaults")
    profiles = [dict(zip(PARTS, shares, strict=True)) for shares in ((97.0, 1.0, 1.0, 1.0), (4.0, 10.0, 2.0, 84.0))]
    chosen = bench.Plan([], ["something is left out"], profiles)
    monkeypatch.setattr(bench, "plan", lambda **options: chosen)
    monkeypatch.setattr(bench, "bench", lambda probes, rounds, seconds: [row])
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "--rounds", "1", "--seconds", "0.1", "--json", str(path)]) == 0
    said, numbers = capsys.readouterr().out, json.loads(path.read_text())
    assert bench.measure(rounds=1, seconds=0.1).to_dict() == numbers
    assert numbers["rows"] == [
        {
            "name": "training by PPO", "rate": 2.0, "unit": "slices/s", "reference": 1.0, "ratio": 2.0,
            "goal": 15.0, "better": "higher", "against": "the defaults", "reached": False,
        }
    ]  # fmt: skip
    assert numbers["profile"] == profiles[1]  # the warm-up does not count
    assert all(part in said for part in (*PARTS, "training by PPO", "missed", "something is left out", "84.0 %"))
    assert cli.main(["bench", "--rounds", "1", "--seconds", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == numbers


def test_the_table_of_the_readme_has_every_row():
    rows = [
        Row("fast", 250_000.0, "steps/s", 100_000.0, 2.5, 2.5, "higher"),
        Row("slow", 1.0, "s", 0.7, 1.0 / 0.7, 1.0, "lower", LIMIT),
    ]
    profile = dict.fromkeys(PARTS, 25.0)
    numbers = bench.Result(1, 0.1, rows, profile, ["something is left out"]).to_dict()
    lines = runpy.run_path(str(SPEED))["tables"](json.loads(json.dumps(numbers))).splitlines()
    assert lines[2] == "| fast | 250,000 steps/s | 100,000 (CartPole-v1) | 2.50 | at least 2.5 | reached |"
    assert lines[3] == "| slow | 1 s | 0.7 (the limit) | 1.43 | at most 1 | missed |"
    assert "something is left out" in lines
    assert [line for line in lines if "25.0" in line] == [f"| {part} | 25.0 |" for part in PARTS]


def test_every_option_is_explained():
    assert all(item.metadata["help"] for item in fields(Args))


def test_a_wrong_argument_is_one_line(capsys):
    for words, said in [
        (("--rounds", "0"), "rounds must be a whole number in [1, 1000], got 0"),
        (("--seconds", "nan"), "seconds must be a number in (0, 60], got nan"),
        (("--seconds", "soon"), "argument --seconds: invalid float value: 'soon'"),
        (("--trainin",), "unrecognized arguments: --trainin; did you mean '--training'?"),
    ]:
        try:
            code = cli.main(["bench", *words])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert said in err


@pytest.fixture
def numpy_lanes(monkeypatch):
    """Trainings step in numpy: to compile takes longer than to train."""
    monkeypatch.setitem(sys.modules, "numba", None)


def test_the_model_that_is_measured_is_the_one_of_the_script(numpy_lanes, monkeypatch, tmp_path):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    built, weights, build = [], [], ppo.build_model

    def remembered(*what):
        built.append(build(*what))
        weights.append([values.detach().numpy().copy() for values in built[-1].policy.parameters()])
        return built[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ppo, "build_model", remembered)
    training_probes([dict.fromkeys(PARTS, 0.0)], TINY, updates=1)[0].ours(0.001)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(ppo, "learn", lambda model, *rest: model)
    assert ppo.train(TINY) is built[1]
    ours, theirs = built
    assert len(weights[0]) == len(weights[1])
    assert all(map(np.array_equal, *weights))
    for option in ("n_envs", "n_steps", "batch_size", "n_epochs", "gae_lambda", "gamma"):
        assert getattr(ours, option) == getattr(theirs, option)
    assert type(ours.env) is type(theirs.env)


def test_a_training_is_measured_with_its_profile(numpy_lanes):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    history = []
    rows = bench.bench(training_probes(history, TINY, updates=1, steps=16), rounds=2, seconds=0.001)
    assert len(history) == 3  # the warm-up, and one for each round
    for shares in history:
        assert tuple(shares) == PARTS
        assert all(0.0 < share < 100.0 for share in shares.values())
        assert sum(shares.values()) == pytest.approx(100.0)
    assert rows[1].rate == pytest.approx(np.median([shares["environment steps"] for shares in history[1:]]))
    assert all(row.rate > 0.0 and row.reference > 0.0 for row in rows)


@pytest.mark.parametrize(
    ("owner", "method", "part", "calls"),
    [
        ("hyperexec_env.training.adapter.BatchVecEnv", "step_wait", "environment steps", TINY.steps),
        ("stable_baselines3.common.policies.ActorCriticPolicy", "forward", "policy inference in collection", TINY.steps),
        ("stable_baselines3.common.policies.ActorCriticPolicy", "predict_values", "policy inference in collection", 1),
        ("stable_baselines3.common.buffers.RolloutBuffer", "add", "rest of collection", TINY.steps),
        ("stable_baselines3.PPO", "train", "gradient updates", 1),
    ],
)
def test_the_profile_finds_where_the_time_goes(numpy_lanes, monkeypatch, owner, method, part, calls):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    pause = 0.3 / calls
    slow(monkeypatch, f"{owner}.{method}", pause)
    history = []
    probe, *_ = training_probes(history, TINY, updates=1, steps=16)
    probe.ours(1e-6)
    took = TINY.lanes * TINY.steps / probe.ours(1e-6)
    assert took * history[-1][part] / 100.0 >= calls * pause
    assert max(history[-1], key=history[-1].get) == part


def slow(monkeypatch, path, pause):
    """Let a method wait before each call."""
    owner, _, method = path.rpartition(".")
    owner = pkgutil.resolve_name(owner)
    original = getattr(owner, method)

    def later(*given, **named):
        time.sleep(pause)
        return original(*given, **named)

    monkeypatch.setattr(owner, method, later)
