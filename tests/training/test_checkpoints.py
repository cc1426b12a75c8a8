"""Checkpoints: what is read is what was written, or nothing."""

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="needs the extra `train`")

from hyperexec_env.training.checkpoints import checkpoint_to_resume, newest_checkpoint, save_checkpoint

RNG = np.random.default_rng(0)
TENSORS = {
    "weights": RNG.normal(size=(3, 5)).astype(np.float32),
    "transposed": RNG.normal(size=(4, 2)).T,
    "moments/step": np.array(7.0, dtype=np.float32),
    "keys": RNG.integers(0, 2**64, 6, dtype=np.uint64),
    "ended": np.array([True, False]),
    "none": np.zeros((0, 3)),
}
ABOUT = {"updates": 3, "generator": {"state": 2**127 + 1}, "name": "é", "scale": 0.1}


def steps(folder):
    """The steps of the files in a folder."""
    return sorted(int(path.stem.split("-")[1]) for path in folder.iterdir())


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    path = save_checkpoint(tmp_path / "new" / "folder", 12, TENSORS, ABOUT)
    assert path == tmp_path / "new" / "folder" / "checkpoint-12.safetensors"
    step, tensors, about = newest_checkpoint(path.parent)
    assert (step, about, set(tensors)) == (12, ABOUT, set(TENSORS))
    for name, values in TENSORS.items():
        assert tensors[name].dtype == values.dtype
        assert tensors[name].shape == values.shape
        assert tensors[name].tobytes() == values.tobytes()


def test_the_newest_two_are_kept(tmp_path):
    for step in (0, 9, 10, 100):
        save_checkpoint(tmp_path, step, TENSORS, ABOUT)
        assert newest_checkpoint(tmp_path).step == step
    assert steps(tmp_path) == [10, 100]


def test_a_checkpoint_replaces_those_of_a_run_that_was_given_up(tmp_path):
    for step in (100, 200, 50):
        save_checkpoint(tmp_path, step, TENSORS, ABOUT)
    assert steps(tmp_path) == [50]
    assert newest_checkpoint(tmp_path).step == 50


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    save_checkpoint(tmp_path, 5, TENSORS, {"version": 1})
    save_checkpoint(tmp_path, 5, TENSORS, {"version": 2})
    assert newest_checkpoint(tmp_path).about == {"version": 2}


def test_a_file_cut_off_anywhere_is_skipped(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, ABOUT)
    path = save_checkpoint(tmp_path, 2, TENSORS, ABOUT)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert newest_checkpoint(tmp_path).step == 1
    path.write_bytes(whole)
    assert newest_checkpoint(tmp_path).step == 2


def test_what_is_skipped_is_told(tmp_path, capsys):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"a": np.arange(3.0)}, {})
    newest = tmp_path / "checkpoint-2.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert checkpoint_to_resume(tmp_path).step == 1
    assert capsys.readouterr().err == f"the checkpoint {newest} is damaged and not used\n"


def test_no_changed_byte_goes_unnoticed(tmp_path):
    """Each byte changed is noticed, or (in the header) changes nothing that is read."""
    path = save_checkpoint(tmp_path, 1, {"a": np.arange(3.0)}, {"seed": 1})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for index in range(len(whole)):
        changed = bytearray(whole)
        changed[index] ^= 1 << (index % 8)
        path.write_bytes(bytes(changed))
        found = newest_checkpoint(tmp_path)
        assert found is None or (found.about, found.tensors["a"].tolist()) == ({"seed": 1}, [0.0, 1.0, 2.0])
        assert found is None or index < header


def test_a_file_under_another_name_is_not_that_checkpoint(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, ABOUT).rename(tmp_path / "checkpoint-9.safetensors")
    assert newest_checkpoint(tmp_path) is None


def test_other_files_are_neither_read_nor_removed(tmp_path):
    for name in ("notes.txt", "checkpoint-x.safetensors", "old-checkpoint-3.safetensors"):
        (tmp_path / name).write_text("mine")
    assert newest_checkpoint(tmp_path) is None
    for step in range(3):
        save_checkpoint(tmp_path, step, TENSORS, ABOUT)
    assert len(list(tmp_path.iterdir())) == 3 + 2


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / f".{'0a' * 8}.tmp").write_bytes(b"half")
    save_checkpoint(tmp_path, 1, TENSORS, ABOUT)
    assert steps(tmp_path) == [1]


def test_there_is_none_where_there_is_no_folder(tmp_path):
    assert newest_checkpoint(tmp_path / "missing") is None


def test_a_bad_step_is_refused(tmp_path):
    for step in [-1, 0.5, 10**18]:
        with pytest.raises(ValueError, match="step must be a whole number"):
            save_checkpoint(tmp_path, step, TENSORS, ABOUT)


def test_a_description_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, 1, TENSORS, {"loss": float("nan")})
    assert newest_checkpoint(tmp_path) is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot make the folder .*file"):
        save_checkpoint(tmp_path / "file", 1, TENSORS, ABOUT)
