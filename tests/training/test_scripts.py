"""The training scripts, run with a tiny budget as their user runs them."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.training import dqn, leaderboard, ppo, sac

pytestmark = pytest.mark.usefixtures("without_numba")

TINY = {
    "ppo": ppo.Args(timesteps=2000, lanes=16, steps=13, batch_size=104, epochs=1, progress=False, tensorboard=False),
    "sac": sac.Args(
        timesteps=1500, lanes=16, learning_starts=200, batch_size=64, gradient_steps=1, progress=False, tensorboard=False
    ),
    "dqn": dqn.Args(
        timesteps=1500, lanes=16, learning_starts=200, batch_size=64, gradient_steps=1, progress=False, tensorboard=False
    ),
}
TRAIN = {"ppo": ppo.train, "sac": sac.train, "dqn": dqn.train}


@pytest.mark.parametrize("algorithm", TINY)
def test_a_script_trains_saves_and_is_judged(algorithm, tmp_path):
    args = replace(TINY[algorithm], out=str(tmp_path / "run"), scenario="desk-5min", seed=4)
    policy = TRAIN[algorithm](args)
    assert policy.training_seed == 4
    assert {"policy.json", "policy.safetensors", "scenario.toml"} <= {path.name for path in (tmp_path / "run").iterdir()}
    saved = json.loads((tmp_path / "run" / "policy.json").read_text())["about"]
    assert saved["args"]["timesteps"] == args.timesteps
    assert saved["scenario_hash"] == get_scenario("desk-5min").hash
    board = evaluate("desk-5min", [str(tmp_path / "run"), "TWAP"], episodes=50, optimum=False)
    assert {row.training_seed for row in board.rows} == {4, None}


@pytest.mark.parametrize("algorithm", TINY)
def test_training_is_repeatable_from_its_seed(algorithm, tmp_path):
    runs = [TRAIN[algorithm](replace(TINY[algorithm], out=str(tmp_path / str(run)), threads=1)) for run in range(2)]
    other = TRAIN[algorithm](replace(TINY[algorithm], out=str(tmp_path / "other"), threads=1, seed=1))
    for (weight, _), (same, _), (different, _) in zip(*(run.layers for run in (*runs, other)), strict=True):
        assert np.array_equal(weight, same)
        assert not np.array_equal(weight, different)


@pytest.mark.parametrize("algorithm", TINY)
def test_the_exported_policy_is_the_one_that_was_trained(algorithm, tmp_path, monkeypatch):
    from hyperexec_env.training import run

    kept = {}
    original = run.save_policy
    monkeypatch.setattr(run, "save_policy", lambda policy, folder: (kept.update(policy=policy), original(policy, folder)))
    learned = {}
    module = {"ppo": ppo, "sac": sac, "dqn": dqn}[algorithm]
    monkeypatch.setattr(module, "learn", lambda model, *rest: (learned.update(model=model), run.learn(model, *rest))[1])
    TRAIN[algorithm](replace(TINY[algorithm], out=str(tmp_path)))
    env = HyperExecVectorEnv(64, scenario="regime-day", action_mode=TINY[algorithm].action_mode)
    observation, _ = env.reset(seed=0)
    expected, _ = learned["model"].predict(observation, deterministic=True)
    assert load_policy(tmp_path).action(observation) == pytest.approx(np.ravel(expected), abs=1e-6)


@pytest.mark.parametrize("algorithm", TINY)
def test_tensorboard_writes_into_the_folder_of_the_run(algorithm, tmp_path):
    pytest.importorskip("tensorboard")
    TRAIN[algorithm](replace(TINY[algorithm], out=str(tmp_path), tensorboard=True))
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_an_update_of_ppo_holds_whole_episodes_in_equal_batches(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(ppo, "learn", lambda model, *rest: taken.append(model))
    for scenario, steps, whole in [
        ("regime-day", 13, 26), ("regime-day", 26, 26), ("regime-day", 51, 26), ("regime-day", 52, 52),
        ("almgren-chriss", 13, 10),
    ]:  # fmt: skip
        ppo.train(replace(TINY["ppo"], scenario=scenario, steps=steps, batch_size=100, out=str(tmp_path)))
        model = taken.pop()
        assert model.n_steps == whole
        rows = model.n_steps * model.n_envs
        assert model.batch_size <= 100
        assert rows % model.batch_size == 0
        assert all(rows % larger for larger in range(model.batch_size + 1, 101))


def test_an_episode_that_is_longer_than_the_steps_of_an_update_is_held_whole():
    assert ppo.whole_episodes(13, 101) == 101
    assert ppo.whole_episodes(101, 101) == 101


def test_an_update_of_ppo_that_cannot_be_cut_equally_is_not_cut_into_crumbs():
    assert ppo.equal_batches(101, 64) == 64
    assert ppo.equal_batches(101, 128) == 101


def test_the_defaults_of_ppo_fit_a_whole_episode_of_every_scenario_that_ships():
    for slices in (get_scenario(name).slices for name in scenario_names()):
        assert ppo.whole_episodes(ppo.Args().steps, slices) % slices == 0


def test_ppo_needs_two_slices_in_an_update(tmp_path):
    options = {"scenario": {"base": "regime-day", "slices": 1}, "lanes": 1, "steps": 1, "out": str(tmp_path)}
    with pytest.raises(ValueError, match="lanes must be at least 2 where an update holds one slice, got 1"):
        ppo.train(replace(TINY["ppo"], **options))


def test_an_unusable_folder_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot make the folder"):
        ppo.train(replace(TINY["ppo"], out=str(tmp_path / "file" / "run")))


def test_a_bad_option_is_refused(tmp_path):
    for option, value, message in [
        ("timesteps", 0, "timesteps must be a whole number"), ("lanes", -1, "lanes must be a whole number"),
        ("seed", -1, "seed must be"), ("epochs", 0, "epochs must be"), ("batch_size", 0, "batch_size must be"),
        ("learning_rate", float("nan"), "learning_rate must be"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            ppo.train(replace(TINY["ppo"], out=str(tmp_path), **{option: value}))


def test_the_leaderboard_writes_everything_and_does_not_train_twice(tmp_path, monkeypatch):
    options = {
        "episodes": 200,
        "training_seeds": 2,
        "timesteps": 2000,
        "optimum": False,
        "out": tmp_path / "board",
        "progress": False,
    }
    first = leaderboard.leaderboard(("desk-5min", "flow-signal"), **options)
    names = {path.name for path in (tmp_path / "board").iterdir()}
    assert names == {
        *("desk-5min.md", "desk-5min.json", "flow-signal.md", "flow-signal.json"),
        *("leaderboard.html", "policies", "results.sqlite"),
    }
    assert sum(row.training_seed is not None for row in first[0].rows) == 2
    assert json.loads((tmp_path / "board" / "flow-signal.json").read_text()) == json.loads(first[1].to_json())
    assert (tmp_path / "board" / "leaderboard.html").read_text().count("<h2>") == 2

    monkeypatch.setattr(ppo, "train", lambda options, **more: pytest.fail("trained again"))
    again = leaderboard.leaderboard(("desk-5min", "flow-signal"), **options)
    assert [board.to_json() for board in again] == [board.to_json() for board in first]


def test_the_leaderboard_trains_again_when_an_option_has_changed(tmp_path, monkeypatch):
    options = {"episodes": 50, "training_seeds": 1, "optimum": False, "out": tmp_path, "progress": False}
    monkeypatch.setattr(leaderboard, "page", lambda *args: "")
    leaderboard.leaderboard("desk-5min", timesteps=2000, **options)
    trained = []
    original = ppo.train
    monkeypatch.setattr(ppo, "train", lambda options, **more: (trained.append(options.timesteps), original(options, **more))[1])
    leaderboard.leaderboard("desk-5min", timesteps=3000, **options)
    assert trained == [3000]


def test_two_scenarios_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="scenario names must differ"):
        leaderboard.leaderboard(("desk-5min", "desk-5min"), out=tmp_path)
