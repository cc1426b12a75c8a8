"""Training on real days: the checkpoint of the validation days, a resumed training, and the board of the test days."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
pytest.importorskip("pyarrow", reason="needs the extra `data`")

from hyperexec_env.baselines.replay import replay, replay_path
from hyperexec_env.cli import main
from hyperexec_env.data.replay import read_replay, write_days
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.posterior import Posterior
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.training import dqn, ppo, sac
from hyperexec_env.training.replay_board import replay_leaderboard
from hyperexec_env.training.run import Run
from hyperexec_env.training.selection import Selection

from ..recorded import sessions_of_days

pytestmark = pytest.mark.usefixtures("without_numba")

TINY = ppo.Args(timesteps=1300, lanes=10, steps=26, batch_size=130, epochs=1, hidden=8, progress=False, tensorboard=False)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    path = tmp_path_factory.mktemp("days") / "ABC.parquet"
    write_days(sessions_of_days(40), None, path)
    return str(path)


@pytest.fixture(scope="module")
def trained(days, tmp_path_factory):
    """A policy, and the weights that were considered for it."""
    considered, original = [], Selection.consider

    def consider(self, weights, timesteps):
        original(self, weights, timesteps)
        considered.append((weights, timesteps))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "numba", None)
        patch.setattr(Selection, "consider", consider)
        folder = tmp_path_factory.mktemp("runs") / "run"
        policy = ppo.train(replace(TINY, replay=days, out=str(folder)))
    return policy, considered, folder


def test_the_policy_is_the_best_of_the_validation_days(days, trained):
    policy, considered, folder = trained
    recording = read_replay(days)
    market = recording.market("validation")
    objectives = []
    for weights, _ in considered:
        candidate = replace(policy, layers=weights)
        objectives.append(float(roll(market, candidate, replay_path(market)).statement.objective.mean()))
    best = int(np.argmin(objectives))
    about = policy.about["replay"]
    assert len(considered) >= 5
    assert about["chosen"] == {"timesteps": considered[best][1], "objective_bps": pytest.approx(objectives[best], abs=1e-12)}
    assert policy.digest == replace(policy, layers=considered[best][0]).digest == load_policy(folder).digest
    assert about["days"] == recording.digest
    assert about["last"] == recording.validation.dates[-1]
    assert policy.about["scenario_hash"] == recording.scenario.hash


def test_off_policy_methods_train_on_real_days_and_on_draws_too(days, tmp_path):
    small = {"timesteps": 600, "lanes": 10, "learning_starts": 300, "batch_size": 32, "gradient_steps": 1, "hidden": 8}
    small |= {"progress": False, "tensorboard": False}
    policy = sac.train(sac.Args(replay=days, out=str(tmp_path / "sac"), **small))
    market = read_replay(days).market("validation")
    objective = float(roll(market, policy, replay_path(market)).statement.objective.mean())
    assert policy.about["replay"]["chosen"]["objective_bps"] == pytest.approx(objective, abs=1e-12)
    with pytest.raises(ValueError, match="uncertainty draws the market of simulated days: leave it out with replay"):
        dqn.train(dqn.Args(replay=days, uncertainty=True, out=str(tmp_path / "both"), **small))
    measured = replace(get_scenario("regime-day"), posterior=Posterior.of({"half_spread_bps": [1.0, 9.0]}))
    known, drawn = (
        dqn.train(dqn.Args(scenario=measured, uncertainty=drawn, out=str(tmp_path / f"dqn-{drawn}"), **small))
        for drawn in (False, True)
    )
    assert known.digest != drawn.digest


def test_training_never_reads_the_test_days(days, trained, tmp_path, monkeypatch):
    """The same policy comes out if the test days are others."""
    from ..recorded import changed

    sessions = sessions_of_days(40)
    for day in range(33, 40):
        sessions = changed(sessions, day, 0, 1.7)
    write_days(sessions, None, tmp_path / "ABC.parquet")
    again = ppo.train(replace(TINY, replay=str(tmp_path / "ABC.parquet"), out=str(tmp_path / "run")))
    assert again.digest == trained[0].digest
    assert again.about["replay"]["days"] != trained[0].about["replay"]["days"]


def test_a_resumed_training_chooses_the_same_policy(days, trained, tmp_path, monkeypatch):
    args = replace(TINY, replay=days, out=str(tmp_path / "run"), checkpoint_every=260)
    saves, original = [], Run.save

    def save(self):
        original(self)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save)
        with pytest.raises(KeyboardInterrupt):
            ppo.train(args)
    policy = ppo.train(replace(args, resume=True))
    assert policy.digest == trained[0].digest
    assert policy.about["replay"]["chosen"] == trained[0].about["replay"]["chosen"]


def test_wrong_options_are_refused(days, tmp_path):
    with pytest.raises(ValueError, match="scenario must be left out with replay, which calibrates one, got 'desk-5min'"):
        ppo.train(replace(TINY, replay=days, scenario="desk-5min", out=str(tmp_path / "run")))
    with pytest.raises(ValueError, match="validation must be"):
        ppo.train(replace(TINY, replay=days, validation=0.0, out=str(tmp_path / "run")))
    with pytest.raises(ValueError, match="replay must be files of different symbols, got ABC, ABC"):
        replay_leaderboard([days, days], out=tmp_path / "board")


def test_a_policy_that_has_seen_the_test_days_is_named(days, trained):
    own = replay(read_replay(days), ["TWAP", trained[2]], bound=False)
    assert [row.policy for row in own.rows][-1] == "PPO (seed 0)"
    assert not any("WARNING" in note for note in own.notes)
    other = replay(read_replay(days, train=0.4), ["TWAP", trained[2]], bound=False)
    assert any(note.startswith("WARNING: PPO (seed 0) was trained or chosen on days up to") for note in other.notes)


def test_the_command_makes_the_board_and_reuses_its_policies(days, tmp_path, capsys, monkeypatch):
    out = tmp_path / "board"
    words = ["leaderboard", "--replay", days, "--training-seeds", "1", "--timesteps", "1300", "--out", str(out)]
    small = {"lanes": 10, "steps": 26, "batch_size": 130, "epochs": 1, "hidden": 8}
    original = ppo.Args
    monkeypatch.setattr(ppo, "Args", lambda **given: original(**{**small, **given}))
    assert main(words) == 0
    board = json.loads((out / "replay.json").read_text())
    assert [row["policy"] for row in board["pooled"]][-2:] == ["PPO (seed 0)", "hindsight (bound)"]
    assert "ABC: calibrated to 24 sessions" in (out / "replay.md").read_text()
    first = load_policy(out / "policies" / "ppo-ABC-0").digest
    monkeypatch.setattr(ppo, "train", lambda *_, **__: pytest.fail("the policy is trained already"))
    capsys.readouterr()
    assert main(words) == 0
    assert load_policy(out / "policies" / "ppo-ABC-0").digest == first
    assert main(["leaderboard", "--replay", days, "--episodes", "5"]) == 2
    assert "episodes is an option of simulated days, got 5 with --replay" in capsys.readouterr().err
    assert main(["leaderboard", "--train", "0.5"]) == 2
    assert "train is a part of the days of a replay, got 0.5 without --replay" in capsys.readouterr().err
