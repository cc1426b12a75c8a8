"""The script that fills a board with the algorithms of several libraries, with a tiny budget."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sb3_contrib", reason="needs the extra `train`")

import hyperexec_env as hx
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.submission import load_submission
from hyperexec_env.market.scenario import get_scenario

pytestmark = pytest.mark.usefixtures("without_numba")
ROOT = Path(__file__).parent.parent.parent
SCENARIO = "almgren-chriss"


@pytest.fixture
def stacks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("stacks")


def _words(out, *more):
    words = ["--scenario", SCENARIO, "--stack", "A2C", "DQN", "Pathwise", "--seeds", "2", "--slices", "320"]
    return [*words, "--episodes", "64", "--out", str(out), *more]


def test_the_script_trains_judges_and_resumes(stacks, tmp_path, capsys):
    stacks.main(_words(tmp_path, "--stack", "CleanRL PPO"))
    first = capsys.readouterr().out
    assert "CleanRL PPO is left out: no --cleanrl WHEEL" in first
    assert first.count(f", {SCENARIO}, seed ") == 6
    rows = [line.split(" | ") for line in (tmp_path / "stacks.md").read_text().splitlines()]
    named = {row[0].removeprefix("| "): row for row in rows if len(row) == 6}
    assert {"A2C", "DQN", "Pathwise", "TWAP", "all-at-once *"} <= set(named)
    gaps = {name: float(row[3].split(" ")[0]) for name, row in named.items() if row[1] in "2-"}
    assert all(gap > -0.01 for gap in gaps.values())  # none below the optimum
    for stack in ("A2C", "DQN", "Pathwise"):
        low, high = map(float, named[stack][5].removesuffix(" |").split(" to "))
        assert low - 0.01 <= gaps[stack] <= high + 0.01
        policy = load_policy(tmp_path / "policies" / f"{stack}-{SCENARIO}-1")
        assert policy.about["difference"] <= 1e-6
        assert (policy.training_seed, policy.action_mode) == (1, "discrete" if stack == "DQN" else "pace")
    packed = tmp_path / "packed"
    stacks.main(_words(tmp_path, "--submissions", str(packed)))
    assert f", {SCENARIO}, seed " not in capsys.readouterr().out  # nothing is trained again
    assert len(list(packed.rglob("*.submission.zip"))) == 6
    submission = load_submission(packed / SCENARIO / "DQN-1.submission.zip")
    assert (
        submission.policy.layers[0][0].tolist()
        == load_policy(tmp_path / "policies" / f"DQN-{SCENARIO}-1").layers[0][0].tolist()
    )
    card = submission.card
    assert (card.name, card.training_seed, card.training_scenarios, card.action_mode) == ("DQN", 1, (SCENARIO,), "discrete")


def test_a_policy_that_acts_otherwise_than_its_model_is_refused(stacks, tmp_path):
    scenario, args = get_scenario(SCENARIO), replace(stacks.Args(), slices=80, out=str(tmp_path))
    trained = stacks.train("A2C", scenario, 0, args)
    assert stacks.check_same(trained, scenario) <= 1e-6
    wrong = trained._replace(act=lambda seen: np.ravel(trained.act(seen)) + 1e-3)
    with pytest.raises(ValueError, match="acts otherwise than its model"):
        stacks.check_same(wrong, scenario)


def test_small_networks_act_in_the_policy_files_of_off_policy_algorithms_only(stacks, tmp_path):
    scenario, args = get_scenario(SCENARIO), replace(stacks.Args(), slices=320, network=(8, 4), out=str(tmp_path))
    for stack, hidden in {"SAC": [8, 4], "QRDQN": [8, 4], "A2C": [64, 64]}.items():
        policy = stacks.obtain(stack, scenario, 0, args)
        assert [len(bias) for _, bias in policy.layers[:-1]] == hidden, stack
        assert ("8 and 4 hidden units" in stacks.card_of(policy, SCENARIO)["method"]) == (hidden == [8, 4])
    assert stacks.obtain("SAC", scenario, 0, replace(args, network=()), may_train=False) is None  # another network


def test_a_recurrent_policy_becomes_a_graph_with_memory(stacks, tmp_path):
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module, reason="needs the extra `export`")
    scenario, args = get_scenario(SCENARIO), replace(stacks.Args(), slices=160, network=(8, 4), out=str(tmp_path))
    policy = stacks.obtain("RecurrentPPO", scenario, 0, args)
    assert len(policy.graph) < 10_000  # the weights of a small LSTM
    assert policy.about["difference"] <= 1e-6  # on whole episodes, slice by slice
    assert stacks.obtain("RecurrentPPO", scenario, 0, args, may_train=False).graph == policy.graph
    stacks.write_submissions(replace(args, submissions=str(tmp_path / "packed")), {SCENARIO: [policy]})
    board = hx.evaluate(scenario, ["TWAP", str(tmp_path / "packed" / SCENARIO / "RecurrentPPO-0.submission.zip")], episodes=20)
    assert {row.label for row in board.rows} == {"TWAP", "RecurrentPPO (seed 0)", "optimum"}


def test_an_unknown_stack_is_one_line(stacks, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        stacks.main(["--stack", "PPP", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "stack must be one of" in capsys.readouterr().err
