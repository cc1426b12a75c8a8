"""The leaderboard's store: a run that was interrupted goes on, and what is stored can be verified."""

import json
import os
import signal
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
pytest.importorskip("matplotlib", reason="needs the extra `plot`")

from hyperexec_env import cli
from hyperexec_env.baselines.policies import Pov
from hyperexec_env.evaluation import rollout
from hyperexec_env.evaluation.store import Store
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.training import leaderboard, ppo
from hyperexec_env.training.adapter import BatchVecEnv
from hyperexec_env.training.checkpoints import newest_checkpoint
from hyperexec_env.training.run import begun

pytestmark = pytest.mark.usefixtures("without_numba")

WORDS = ["leaderboard", "--scenario", "desk-5min", "--episodes", "60", "--training-seeds", "1", "--timesteps", "2000"]
WORDS += ["--no-progress", "--no-optimum", "--out"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which a leaderboard was made; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("made")
    assert cli.main([*WORDS, str(folder)]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    for path in sorted(made.rglob("*")):
        target = tmp_path / path.relative_to(made)
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
    return tmp_path


def _verify(folder, *words):
    """The exit code of a verification."""
    try:
        return cli.main([*WORDS, str(folder), "--verify", *words])
    except SystemExit as end:
        return end.code


def test_every_policy_of_the_board_is_in_the_store(made):
    board = json.loads((made / "desk-5min.json").read_text())
    with Store(made / "results.sqlite") as store:
        assert {name for _, name in store.cells()} == {row["policy"] for row in board["rows"]}
        assert all(cell.episodes == board["episodes"] for cell, _ in store.cells())


def test_the_board_is_the_same_from_the_store_and_nothing_is_rolled(folder, monkeypatch):
    before = (folder / "desk-5min.json").read_bytes()
    monkeypatch.setattr(rollout, "draw_path", lambda *args: pytest.fail("drawn"))
    monkeypatch.setattr(leaderboard, "announce", lambda *args: None)  # its pilot has episodes of its own
    assert cli.main([*WORDS, str(folder)]) == 0
    assert (folder / "desk-5min.json").read_bytes() == before


def test_a_training_that_is_interrupted_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leaderboard, "announce", lambda *args: None)
    board = SimpleNamespace(to_dict=dict, exit_code=0)  # only the training matters here
    monkeypatch.setattr(leaderboard, "evaluate", lambda *args, **named: board)
    monkeypatch.setattr(leaderboard, "_write", lambda *args: None)
    monkeypatch.setattr(leaderboard, "page", lambda *args: "")
    words = [*WORDS[: WORDS.index("2000")], "40000", *WORDS[WORDS.index("2000") + 1 :]]
    assert cli.main([*words, str(tmp_path / "whole")]) == 0
    steps, step = [], BatchVecEnv.step_wait

    def step_wait(env):
        steps.append(1)
        if len(steps) == 120:  # in the second of three updates
            os.kill(os.getpid(), signal.SIGTERM)
        return step(env)

    monkeypatch.setattr(BatchVecEnv, "step_wait", step_wait)
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words, str(tmp_path / "cut")])
    assert stopped.value.code == 143
    place = tmp_path / "cut" / "policies" / "ppo-desk-5min-0" / "checkpoints"
    said = f"interrupted after {newest_checkpoint(place).step:,} of 40,000 slices; the same command continues "
    assert capsys.readouterr().err == f"{said}(checkpoint in {place})\n"
    assert cli.main([*words, str(tmp_path / "cut")]) == 0
    assert "resumed from the checkpoint" in capsys.readouterr().err
    weights = [(tmp_path / run / "policies/ppo-desk-5min-0/policy.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_a_policy_of_another_seed_budget_or_version_is_trained_anew(folder, monkeypatch):
    path, trained = folder / "policies" / "ppo-desk-5min-0" / "policy.json", []
    monkeypatch.setattr(ppo, "train", lambda options, **more: trained.append(options.seed))
    options = ppo.Args(scenario="desk-5min", timesteps=2000, out=str(path.parent), tensorboard=False)
    saved = json.loads(path.read_text())
    own = saved["about"]
    for changes in (
        {"training_seed": 5},
        {"about": {**own, "timesteps": 1}},
        {"about": {**own, "versions": {"hyperexec_env": "0.0.1"}}},
    ):
        path.write_text(json.dumps({**saved, **changes}))
        leaderboard.trained_policy(options, get_scenario("desk-5min"))
    assert trained == [0, 0, 0]


def test_the_checkpoint_of_another_training_is_not_taken_up(tmp_path):
    scenario = get_scenario("desk-5min")
    args = ppo.Args(
        scenario="desk-5min", timesteps=200, lanes=16, steps=10, batch_size=80, out=str(tmp_path), tensorboard=False
    )
    args = replace(args, progress=False)
    assert not begun("ppo", scenario, args)
    ppo.train(args)
    assert begun("ppo", scenario, replace(args, threads=2, progress=True))
    assert not begun("ppo", scenario, replace(args, timesteps=400))
    assert not begun("ppo", replace(scenario, quantity=2.0 * scenario.quantity), args)


def test_a_run_that_is_interrupted_goes_on(made, tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "announce", lambda *args: None)
    act = Pov.act

    def interrupted(policy, situation):
        if situation.k == 5:
            raise KeyboardInterrupt
        return act(policy, situation)

    monkeypatch.setattr(Pov, "act", interrupted)
    assert cli.main([*WORDS, str(tmp_path)]) == 130
    with Store(tmp_path / "results.sqlite") as store:
        stored = len(store.cells())
    assert stored > 0
    rolled = []
    monkeypatch.setattr(Pov, "act", act)
    monkeypatch.setattr(rollout, "_check_rule", lambda *args: None)  # which rolls a few episodes of its own
    roll, roll_rule = rollout.roll, rollout.roll_rule
    monkeypatch.setattr(rollout, "roll", lambda *args: rolled.append("roll") or roll(*args))
    monkeypatch.setattr(rollout, "roll_rule", lambda *args: rolled.append("rule") or roll_rule(*args))
    assert cli.main([*WORDS, str(tmp_path)]) == 0
    with Store(tmp_path / "results.sqlite") as store:
        assert len(rolled) == len(store.cells()) - stored
    assert (tmp_path / "desk-5min.json").read_bytes() == (made / "desk-5min.json").read_bytes()


def test_the_optimum_is_solved_again_and_verified(tmp_path, capsys):
    words = [
        "leaderboard",
        "--scenario",
        "almgren-chriss",
        "--episodes",
        "60",
        "--training-seeds",
        "0",
        "--no-progress",
        "--out",
    ]
    assert cli.main([*words, str(tmp_path)]) == 0
    capsys.readouterr()
    assert cli.main([*words, str(tmp_path), "--verify"]) == 0
    text = capsys.readouterr().out
    assert "optimum" in text
    assert "0 skipped" in text


def test_a_sound_store_is_verified(folder, capsys):
    before = sorted(os.listdir(folder))
    assert _verify(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("equal bit for bit" in line for line in lines)
    assert sum("PPO" in line for line in lines) == 1
    assert lines[-1] == f"{len(lines) - 1} cells: {len(lines) - 1} equal bit for bit, 0 different or damaged, 0 skipped"
    assert sorted(os.listdir(folder)) == before


def test_a_forged_row_ends_a_verification_with_code_1(folder, capsys):
    with Store(folder / "results.sqlite") as store:
        cell, name = next((cell, name) for cell, name in store.cells() if name == "VWAP")
        outcome, scenario = store.get(cell), store.scenario(cell.scenario)
        store._connection.execute("DELETE FROM cells WHERE policy = ?", (cell.policy,))
        shortfall = outcome.statement.shortfall.copy()
        shortfall[7] = np.nextafter(shortfall[7], np.inf)
        store.put(cell, outcome._replace(statement=outcome.statement._replace(shortfall=shortfall)), scenario, name)
    assert _verify(folder) == 1
    printed = capsys.readouterr().out
    assert "VWAP" in next(line for line in printed.splitlines() if "DIFFERENT in 1 of 60 values of shortfall" in line)
    assert _verify(folder, "--json") == 1
    plain = json.loads(capsys.readouterr().out)
    assert (plain["sound"], plain["different"], plain["skipped"]) == (False, 1, 0)
    assert [row["policy"] for row in plain["rows"] if row["differences"]] == ["VWAP"]


def test_a_policy_that_is_gone_is_skipped(folder, capsys):
    (folder / "policies" / "ppo-desk-5min-0" / "policy.json").unlink()
    assert _verify(folder) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "PPO" in line]
    assert line.endswith("skipped, the policy is not available")


def test_a_verification_without_a_store_is_one_clear_error(tmp_path, capsys):
    assert _verify(tmp_path / "none") == 2
    assert "there is no store of results at" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_contradiction_ends_a_run_with_code_1_and_keeps_what_was_stored(folder, capsys, monkeypatch):
    with sqlite3.connect(folder / "results.sqlite") as connection:
        connection.execute("DELETE FROM cells WHERE name <> 'VWAP'")
    connection.close()
    monkeypatch.setattr(rollout, "episode_keys", lambda *given, **board: episode_keys(*given, **board) + np.uint64(1))
    with pytest.raises(SystemExit) as ended:
        cli.main([*WORDS, str(folder)])
    assert "the market differs from the stored market of policy VWAP" in str(ended.value)
    assert ended.value.code not in (0, 2)
    with Store(folder / "results.sqlite") as store:
        assert [name for _, name in store.cells()] == ["VWAP"]


def test_the_store_may_lie_elsewhere(folder, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other") / "all.sqlite"
    os.replace(folder / "results.sqlite", other)
    assert _verify(folder, "--store", str(other)) == 0
    assert cli.main([*WORDS, str(folder), "--store", str(other), "--json", str(other)]) == 2
    assert "one of the files that are read" in capsys.readouterr().err
