"""Trainings whose policy observes the beliefs about what an episode does not show."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.envs.features import observation_names
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.training import dqn, leaderboard, pathwise, ppo, ppo_fast, sac
from hyperexec_env.training.interruption import Interrupted

pytestmark = pytest.mark.usefixtures("without_numba")

NAME = "unknown-all"
SEEN = tuple(f"{unknown}_belief{end}" for unknown in ("level", "drift", "slope") for end in ("", "_sd"))
SHORT = {"lanes": 4, "hidden": 4, "scenario": NAME, "observe_beliefs": True, "progress": False}
REPLAY = {**SHORT, "timesteps": 80, "learning_starts": 20, "batch_size": 16, "gradient_steps": 1, "tensorboard": False}
TINY = {
    "ppo": (ppo, ppo.Args(**SHORT, timesteps=80, steps=10, batch_size=20, epochs=1, tensorboard=False)),
    "sac": (sac, sac.Args(**REPLAY)),
    "dqn": (dqn, dqn.Args(**REPLAY)),
    "pathwise": (pathwise, pathwise.Args(**SHORT, steps=2, validation=4)),
}


@pytest.mark.parametrize("algorithm", TINY)
def test_a_trained_policy_observes_the_beliefs_of_its_environment(algorithm, tmp_path):
    module, args = TINY[algorithm]
    module.train(replace(args, out=str(tmp_path / "seen")))
    policy = load_policy(tmp_path / "seen")
    assert policy.names == (*observation_names(), *SEEN) == hx.make(NAME, observe_beliefs=True).unwrapped.observation_names
    assert policy.about["args"]["observe_beliefs"] is True
    module.train(replace(args, out=str(tmp_path / "not"), observe_beliefs=False))
    assert load_policy(tmp_path / "not").names == observation_names()
    board = hx.evaluate(NAME, [str(tmp_path / "seen"), str(tmp_path / "not")], episodes=20, optimum=False, backend="numpy")
    assert len(board.rows) == 2


@pytest.mark.parametrize("algorithm", TINY)
@pytest.mark.parametrize("scenario", ["regime-day", "basket-hedged", "touch-5min", "venues-day"])
def test_beliefs_without_unknowns_are_refused(algorithm, scenario, tmp_path):
    module, args = TINY[algorithm]
    with pytest.raises(ValueError, match=f"observe_beliefs must be False without unknowns .*, got True with '{scenario}'"):
        module.train(replace(args, scenario=scenario, out=str(tmp_path / "run")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("algorithm", [*TINY, "ppo-fast"])
def test_a_policy_without_the_regime_observes_its_probabilities(algorithm, tmp_path):
    fast = ppo_fast.Args(**SHORT, timesteps=200, steps=26, batch_size=104, paired=2, compile=False)
    module, args = {**TINY, "ppo-fast": (ppo_fast, fast)}[algorithm]
    module.train(replace(args, scenario="regime-day", observe_regime=False, out=str(tmp_path / "run")))
    policy, options = load_policy(tmp_path / "run"), {"observe_beliefs": True, "observe_regime": False}
    assert policy.names == hx.make("regime-day", **options).unwrapped.observation_names
    assert policy.names[-6:] == tuple(f"regime_probability_{name}" for name in hx.get_scenario("regime-day").regimes.names)
    board = hx.evaluate("regime-day", [str(tmp_path / "run")], episodes=20, optimum=False, backend="numpy")
    assert len(board.rows) == 1
    assert not board.failed


def test_beliefs_with_hidden_regimes_are_refused(tmp_path):
    scenario = {"base": "regime-day", "name": "two unknowns", "drift_sd": 0.01}
    for module, args in TINY.values():
        with pytest.raises(ValueError, match="observe_beliefs must be False where the regime is not observed"):
            module.train(replace(args, scenario=scenario, observe_regime=False, out=str(tmp_path / "run")))


def test_a_training_goes_on_with_the_same_beliefs_only(tmp_path, monkeypatch):
    args = replace(TINY["pathwise"][1], out=str(tmp_path), checkpoint_every=1, resume=True)
    whole = pathwise.train(replace(args, out=str(tmp_path / "whole")))
    original = pathwise.Trainer.save

    def interrupted(self, folder, scenario):
        original(self, folder, scenario)
        raise Interrupted(2)

    with monkeypatch.context() as patch:
        patch.setattr(pathwise.Trainer, "save", interrupted)
        with pytest.raises(Interrupted):
            pathwise.train(args)
    with pytest.raises(ValueError, match="cannot resume: observe_beliefs must be True as in the checkpoint, got False"):
        pathwise.train(replace(args, observe_beliefs=False))
    assert pathwise.train(args).digest == whole.digest


def test_a_leaderboard_trains_with_beliefs(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    budget = {"training_seeds": 1, "timesteps": 100, "episodes": 10, "optimum": False, "progress": False}
    board = leaderboard.leaderboard(NAME, **budget, observe_beliefs=True, out=tmp_path)[0]
    assert any(row.label.startswith("PPO") for row in board.rows)
    assert load_policy(tmp_path / "policies" / f"ppo-{NAME}-0").names[-6:] == SEEN
    assert "--observe-beliefs" in (tmp_path / "leaderboard.html").read_text()
    assert leaderboard.verified(tmp_path, optimum=False).sound
    with pytest.raises(ValueError, match="observe_beliefs must be False without unknowns"):
        leaderboard.leaderboard([NAME, "regime-day"], **budget, observe_beliefs=True, out=tmp_path / "other")


def test_a_submission_of_a_policy_with_beliefs_is_verified(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathwise.train(replace(TINY["pathwise"][1], out="run"))
    hx.pack_folder("run", "x.submission.zip", {"authors": ["A"], "licence": "MIT"})
    content, _ = hx.make_bundle("x.submission.zip", NAME, policies="TWAP", episodes=10, optimum=False)
    (tmp_path / "x.bundle.zip").write_bytes(content)
    assert hx.verify_file("x.bundle.zip").exit_code == 0


def test_a_tuning_trains_with_beliefs(tmp_path, monkeypatch):
    pytest.importorskip("optuna", reason="needs the extra `tune`")
    monkeypatch.chdir(tmp_path)
    words = f"tune pathwise --scenario {NAME} --trials 2 --batch 2 --rungs 2 --reduction 2 --episodes 32 --out study"
    fixed = "--no-progress --vary hidden=4,5 --set steps=2 lanes=4 validation=4 observe_beliefs=true"
    assert cli.main([*words.split(), *fixed.split(), "--json", "best.json"]) == 0
    policies = list(tmp_path.glob("study/**/policy.json"))
    assert policies
    assert all(tuple(json.loads(file.read_text())["observation_names"][-6:]) == SEEN for file in policies)
