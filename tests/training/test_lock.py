"""Lock of a folder: one writer at a time, and a dead writer is no obstacle."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("fcntl", reason="POSIX locks")
pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

from hyperexec_env.training import dqn, pathwise, ppo, sac
from hyperexec_env.training.leaderboard import leaderboard
from hyperexec_env.training.lock import LOCK, claimed

QUIET = {"progress": False}
TRAIN = {
    "ppo": lambda out: ppo.train(ppo.Args(out=out, timesteps=26, lanes=2, batch_size=26, tensorboard=False, **QUIET)),
    "sac": lambda out: sac.train(sac.Args(out=out, timesteps=26, lanes=2, buffer_size=100, tensorboard=False, **QUIET)),
    "dqn": lambda out: dqn.train(dqn.Args(out=out, timesteps=26, lanes=2, buffer_size=100, tensorboard=False, **QUIET)),
    "pathwise": lambda out: pathwise.train(pathwise.Args(out=out, steps=1, lanes=2, validation=2, **QUIET)),
    "leaderboard": lambda out: leaderboard(out=out, training_seeds=0, episodes=10, optimum=False, **QUIET),
}


@pytest.mark.parametrize("name", TRAIN)
def test_a_second_writer_of_a_folder_is_refused_and_changes_nothing(name, tmp_path):
    pytest.importorskip("matplotlib")
    with claimed(tmp_path), pytest.raises(ValueError, match=rf"process {os.getpid()} writes to the folder .*{tmp_path.name}"):
        TRAIN[name](str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    code = f"import os; from hyperexec_env.training.lock import claimed\nwith claimed({str(tmp_path)!r}): os._exit(7)"
    dead = subprocess.Popen([sys.executable, "-c", code])
    assert dead.wait(timeout=120) == 7
    assert (tmp_path / LOCK).read_text() == f"{dead.pid}\n"
    with claimed(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path) == []


def test_the_lock_ends_with_an_error_and_with_a_training(tmp_path):
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path):
        raise KeyboardInterrupt
    TRAIN["ppo"](str(tmp_path))
    assert LOCK not in os.listdir(tmp_path)
    (tmp_path / LOCK).mkdir()
    with pytest.raises(ValueError, match="cannot lock the folder"), claimed(tmp_path):
        pytest.fail("locked a folder")


def test_a_new_folder_in_which_nothing_was_written_is_deleted(tmp_path):
    for name, block in (("empty", lambda folder: None), ("used", lambda folder: (folder / "x").touch())):
        with claimed(tmp_path / name) as folder:
            block(folder)
    (tmp_path / "own").mkdir()
    with claimed(tmp_path / "own"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["own", "used"]


def test_a_lock_that_was_deleted_by_its_holder_does_not_let_two_in(tmp_path, monkeypatch):
    """The file is deleted between the opening and the locking of it."""
    import fcntl

    original = fcntl.flock

    def flock(handle, how):
        monkeypatch.undo()
        (tmp_path / LOCK).unlink()
        original(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path), pytest.raises(ValueError, match="writes to the folder"), claimed(tmp_path):
        pytest.fail("two writers")
