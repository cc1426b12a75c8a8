"""Training that is interrupted, killed or diverges, and what it is resumed from."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

from hyperexec_env import __version__
from hyperexec_env.cli import main
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.training import dqn, pathwise, ppo, sac
from hyperexec_env.training.checkpoints import newest_checkpoint, save_checkpoint
from hyperexec_env.training.interruption import Interrupted

pytestmark = pytest.mark.usefixtures("without_numba")

QUIET = {"progress": False, "tensorboard": False}
OFF_POLICY = {"lanes": 16, "learning_starts": 200, "batch_size": 64, "gradient_steps": 1, **QUIET}
TINY = {
    "ppo": ppo.Args(timesteps=2000, lanes=16, steps=13, batch_size=104, epochs=1, **QUIET),
    "sac": sac.Args(timesteps=800, buffer_size=640, **OFF_POLICY),
    "dqn": dqn.Args(timesteps=800, buffer_size=640, target_interval=100, **OFF_POLICY),
}
TRAIN = {"ppo": ppo.train, "sac": sac.train, "dqn": dqn.train}
CONSOLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.modules["numba"] = None  # to compile takes longer than to train
from hyperexec_env.cli import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def ordinary_interruption():
    """The handler of an ordinary process, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def raise_in_step(monkeypatch, number, action):
    """Do something in the n-th step of the environments."""
    from hyperexec_env.training.adapter import BatchVecEnv

    steps, original = [], BatchVecEnv.step_wait

    def step_wait(self):
        steps.append(1)
        if len(steps) == number:
            action()
        return original(self)

    monkeypatch.setattr(BatchVecEnv, "step_wait", step_wait)


def interrupt(monkeypatch, train, args, step, number=signal.SIGINT):
    """Train, with a signal in the n-th step of the environments."""
    with monkeypatch.context() as patch:
        raise_in_step(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted) as stopped:
            train(args)
    return stopped.value


def same_policy(policy, other):
    return all(
        np.array_equal(weight, weight_) and np.array_equal(bias, bias_)
        for (weight, bias), (weight_, bias_) in zip(policy.layers, other.layers, strict=True)
    )


def same_checkpoint(folder, other):
    """Whether the newest checkpoints of two runs hold the same bits in every array, and the same random states."""
    (step, tensors, about), (step_, tensors_, about_) = (newest_checkpoint(run / "checkpoints") for run in (folder, other))
    assert set(tensors) == set(tensors_)
    different = [name for name in tensors if tensors[name].tobytes() != tensors_[name].tobytes()]
    assert different == []
    return (step, {**about, "seconds": 0}) == (step_, {**about_, "seconds": 0})


@pytest.mark.parametrize("algorithm", TINY)
def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not_interrupted(algorithm, tmp_path, monkeypatch):
    args, train = TINY[algorithm], TRAIN[algorithm]
    whole = train(replace(args, out=str(tmp_path / "whole")))
    for step in (1, 22, 44):
        parts = replace(args, out=str(tmp_path / str(step)), resume=True)
        interrupt(monkeypatch, train, parts, step)
        assert not (tmp_path / str(step) / "policy.json").exists()
        assert same_policy(train(parts), whole)
        assert same_checkpoint(tmp_path / str(step), tmp_path / "whole")


def test_a_run_may_be_interrupted_again_and_again(tmp_path, monkeypatch):
    whole = ppo.train(replace(TINY["ppo"], out=str(tmp_path / "whole")))
    parts = replace(TINY["ppo"], out=str(tmp_path / "parts"), resume=True)
    for _ in range(4):
        interrupt(monkeypatch, ppo.train, parts, 14)
    assert newest_checkpoint(tmp_path / "parts" / "checkpoints").step == 4 * 2 * 13 * 16
    assert same_policy(ppo.train(parts), whole)


def test_checkpoints_change_nothing(tmp_path):
    often, never = (
        ppo.train(replace(TINY["ppo"], out=str(tmp_path / str(every)), checkpoint_every=every)) for every in (1, 10**6)
    )
    assert same_policy(often, never)
    files = {every: len(list((tmp_path / str(every) / "checkpoints").iterdir())) for every in (1, 10**6)}
    assert files == {1: 2, 10**6: 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(number, tmp_path, monkeypatch, capsys):
    stopped = interrupt(monkeypatch, ppo.train, replace(TINY["ppo"], out=str(tmp_path)), 20, number)
    assert stopped.code == 128 + number
    said = f"interrupted after 416 of 2,000 slices; pass --resume to continue (checkpoint in {tmp_path / 'checkpoints'})\n"
    assert capsys.readouterr().err == said


def test_a_signal_in_the_last_update_still_gives_the_policy(tmp_path, monkeypatch):
    steps = -(-2000 // 16)  # of the environments, and then to the end of the rollout
    interrupt(monkeypatch, ppo.train, replace(TINY["ppo"], out=str(tmp_path)), steps)
    assert load_policy(tmp_path).about["timesteps"] >= 2000


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    args = replace(TINY["ppo"], out=str(tmp_path), resume=True)
    policy = ppo.train(args)
    raise_in_step(monkeypatch, 1, lambda: pytest.fail("trained again"))
    assert same_policy(ppo.train(args), policy)


def test_where_there_is_no_checkpoint_training_starts_from_the_beginning(tmp_path, capsys):
    new, resumed = (ppo.train(replace(TINY["ppo"], out=str(tmp_path / str(flag)), resume=flag)) for flag in (False, True))
    assert same_policy(new, resumed)
    assert re.search("no checkpoint in .*True.*: training starts from the beginning", capsys.readouterr().err)


def test_without_resume_a_run_starts_from_the_beginning(tmp_path, monkeypatch):
    args = replace(TINY["ppo"], out=str(tmp_path / "again"), overwrite=True)
    interrupt(monkeypatch, ppo.train, args, 100)
    again = ppo.train(args)
    assert same_policy(again, ppo.train(replace(args, out=str(tmp_path / "new"))))
    assert same_checkpoint(tmp_path / "again", tmp_path / "new")


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


HELP = "pass --resume to continue it, --overwrite to replace it, or another --out"
EVERY = {**TINY, "pathwise": pathwise.Args(steps=1, lanes=4, validation=4, progress=False)}


@pytest.mark.parametrize("second", EVERY)
def test_a_second_run_in_a_folder_is_refused_and_changes_nothing(second, tmp_path):
    ppo.train(replace(TINY["ppo"], out=str(tmp_path)))
    before = files_of(tmp_path)
    args, train = replace(EVERY[second], out=str(tmp_path), seed=1), {**TRAIN, "pathwise": pathwise.train}[second]
    what = rf"the folder .*{tmp_path.name} already contains PPO of training seed 0 \(2,080 slices of regime-day\); {HELP}"
    with pytest.raises(ValueError, match=f"^{what}$"):
        train(args)
    assert files_of(tmp_path) == before
    train(replace(args, overwrite=True))
    assert load_policy(tmp_path).training_seed == 1
    assert newest_checkpoint(tmp_path / "checkpoints") is None or second != "pathwise"  # a run this short writes none


def test_a_run_that_was_interrupted_is_not_overwritten_either(tmp_path, monkeypatch):
    args = replace(TINY["ppo"], out=str(tmp_path))
    interrupt(monkeypatch, ppo.train, args, 20)
    what = f"already contains the checkpoints of an unfinished training (newest: 416); {HELP}"
    with pytest.raises(ValueError, match=re.escape(what)):
        ppo.train(args)
    assert newest_checkpoint(tmp_path / "checkpoints").step == 416


def test_a_replaced_run_leaves_nothing_beside_the_checkpoints_of_the_new_one(tmp_path, monkeypatch):
    args = replace(TINY["ppo"], out=str(tmp_path))
    ppo.train(args)
    interrupt(monkeypatch, ppo.train, replace(args, seed=1, overwrite=True), 20)
    assert newest_checkpoint(tmp_path / "checkpoints").step == 416
    assert not list(tmp_path.glob("policy.*"))
    assert ppo.train(replace(args, seed=1, overwrite=True, resume=True)).training_seed == 1


def test_where_there_is_a_policy_and_no_checkpoint_to_resume_the_policy_stays(tmp_path, capsys):
    args = replace(TINY["ppo"], out=str(tmp_path))
    ppo.train(args)
    for file in (tmp_path / "checkpoints").iterdir():
        file.write_bytes(b"damaged")
    before = files_of(tmp_path)
    with pytest.raises(ValueError, match="already contains PPO of training seed 0"):
        ppo.train(replace(args, resume=True))
    assert files_of(tmp_path) == before
    (tmp_path / "policy.json").unlink()
    (tmp_path / "policy.safetensors").unlink()
    ppo.train(replace(args, resume=True))  # nothing of the old run can be read
    assert "training starts from the beginning" in capsys.readouterr().err


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    args = replace(TINY["ppo"], out=str(tmp_path))
    ppo.train(args)
    for option, value, message in [
        ("learning_rate", 0.5, "learning_rate must be 0.001 as in the checkpoint in .*, got 0.5"),
        ("hidden", 8, "hidden must be 64"), ("seed", 3, "seed must be 0"), ("scenario", "desk-5min", "scenario_hash must be"),
        ("timesteps", 5000, "timesteps must be 2000"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"cannot resume: {message}"):
            ppo.train(replace(args, resume=True, **{option: value}))


@pytest.mark.parametrize("kind", ["ppo", "pathwise"])
def test_the_checkpoint_of_another_version_is_refused_with_both_sides(kind, tmp_path, capsys):
    few = pathwise.Args(steps=2, lanes=4, validation=4, checkpoint_every=1, out=str(tmp_path), progress=False)
    args, train = (replace(TINY["ppo"], out=str(tmp_path)), ppo.train) if kind == "ppo" else (few, pathwise.train)
    made = train(args)
    folder = tmp_path / "checkpoints"
    step, tensors, about = newest_checkpoint(folder)
    assert about["versions"] == made.about["versions"]
    assert set(about["versions"]) >= {"hyperexec_env", "torch"}

    def resume(**changed):
        save_checkpoint(folder, step, tensors, {**about, "versions": {**about["versions"], **changed}})
        return train(replace(args, resume=True))

    sides = rf"hyperexec_env 0\.0\.1, .*torch .* made the checkpoint in .*, hyperexec_env {re.escape(__version__)}, .*torch"
    with pytest.raises(ValueError, match=f"^cannot resume: {sides}"):
        resume(hyperexec_env="0.0.1")
    capsys.readouterr()
    assert same_policy(resume(torch="1.0"), made)
    assert "torch 1.0 made the checkpoint" in capsys.readouterr().err


def test_options_that_do_not_change_the_policy_may_differ(tmp_path, monkeypatch):
    args = replace(TINY["ppo"], out=str(tmp_path / "a"))
    interrupt(monkeypatch, ppo.train, args, 30)
    (tmp_path / "a").rename(tmp_path / "b")
    ppo.train(replace(args, out=str(tmp_path / "b"), resume=True, checkpoint_every=7))


def spoil(model, where):
    """Make a weight, or a loss, that is not a number."""
    if where == "weights":
        next(model.policy.parameters()).data[0] = float("nan")
    else:
        model.logger.record("train/loss", float("nan"))


@pytest.mark.parametrize(("algorithm", "where"), [("ppo", "weights"), ("sac", "loss"), ("dqn", "weights")])
def test_a_run_that_diverges_keeps_its_last_good_policy_and_says_so(algorithm, where, tmp_path, monkeypatch):
    from stable_baselines3 import DQN, PPO, SAC

    kind, kept = {"ppo": PPO, "sac": SAC, "dqn": DQN}[algorithm], []
    original = kind.train

    def train(self, *args, **kwargs):
        original(self, *args, **kwargs)
        kept.append(self.num_timesteps)
        if len(kept) == 3:
            spoil(self, where)

    monkeypatch.setattr(kind, "train", train)
    args = replace(TINY[algorithm], out=str(tmp_path), checkpoint_every=1)
    with pytest.raises(ValueError, match=r"training diverged: the \w+ policy .*last good policy .* is in .*last-good"):
        TRAIN[algorithm](args)
    assert not (tmp_path / "policy.json").exists()
    good = load_policy(tmp_path / "last-good")
    assert good.about["timesteps"] == kept[1]
    checkpoint = newest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint.step == kept[1]
    assert all(np.isfinite(values).all() for name, values in checkpoint.tensors.items() if values.dtype.kind == "f")


def test_a_full_disk_under_the_log_is_one_line_and_leaves_a_whole_checkpoint(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.summary.writer.record_writer import RecordWriter

    left, original = [25], RecordWriter.write

    def write(self, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        original(self, data)

    args = replace(TINY["ppo"], out=str(tmp_path), tensorboard=True, checkpoint_every=1)
    words = [word for name in ("timesteps", "lanes", "steps", "batch_size", "epochs", "checkpoint_every", "out")
             for word in (f"--{name.replace('_', '-')}", str(getattr(args, name)))]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", write)
        assert main(["train", "ppo", *words, "--no-progress"]) == 2
    said = capsys.readouterr().err
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert said == (
        f"hyperexec: error: cannot write to {tmp_path}: No space left on device; it holds the checkpoint of "
        f"{newest.step:,} slices, from which --resume continues\n"
    )
    assert not (tmp_path / "policy.json").exists()
    resumed = ppo.train(replace(args, tensorboard=False, resume=True))
    assert same_policy(resumed, ppo.train(replace(TINY["ppo"], out=str(tmp_path / "other"))))


def start(args, *more):
    """Train in a process of its own."""
    plain = {key: value for key, value in asdict(args).items() if type(value) in (int, float, str)}
    words = [word for key, value in plain.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command = [sys.executable, "-c", CONSOLE, "train", "ppo", *words, "--no-tensorboard", "--no-progress", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(folder, process, newer_than=-1):
    """Wait until a process has written a checkpoint."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        found = newest_checkpoint(folder)
        if found is not None and found.step > newer_than:
            return found.step
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint was written: {process.communicate()}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)])
def test_the_process_of_an_interrupted_run_ends_with_the_code_of_the_signal(number, code, tmp_path):
    process = start(replace(TINY["ppo"], out=str(tmp_path), timesteps=10**9, checkpoint_every=1))
    wait_for_checkpoint(tmp_path / "checkpoints", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert errors.startswith(f"interrupted after {newest_checkpoint(tmp_path / 'checkpoints').step:,} of ")
    assert errors.count("\n") == 1


@pytest.mark.slow
def test_killing_at_any_moment_leaves_a_newest_checkpoint_that_can_be_read(tmp_path):
    args = replace(TINY["ppo"], out=str(tmp_path), timesteps=10**9, checkpoint_every=1)
    folder, rng, step = tmp_path / "checkpoints", random.Random(0), -1  # noqa: S311 - moments, not secrets
    for _ in range(20):
        process = start(args, "--resume")
        step = wait_for_checkpoint(folder, process, newer_than=step)
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        process.communicate()
        newest = max(int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.safetensors"))
        assert newest_checkpoint(folder).step == newest >= step
        step = newest
