"""The folder of a run: its name, its files, its lock, and the run that it may already contain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

from hyperexec_env.evaluation.network import load_policy, policy_files
from hyperexec_env.files import write_atomically
from hyperexec_env.market.scenarios import Trainable, get_scenario

from .checkpoints import FOLDER, Checkpoint, checkpoint_files, checkpoint_to_resume
from .lock import LOCK, claimed
from .selection import scenario_name

__all__ = [
    *("LAST_GOOD", "LOG", "check_free", "claimed_folder", "file_name", "files_in", "run_files", "run_folder"),
    *("save_scenario", "seed_folder", "starting_point"),
]

LOG: Final = "tensorboard"
LAST_GOOD: Final = "last-good"
_SCENARIO: Final = "scenario.toml"
"""Names in the folder of a run: the folder of the logs, the folder of the last finite policy, and the scenario."""
_SEED: Final = "seed-"
"""Start of the name of the folder of each policy, in the folder of a run of several seeds."""


def run_folder(out: str, algorithm: str, scenario: Trainable | str, seed: int) -> Path:
    """Return the folder of a run (default: runs/ALGORITHM-SCENARIO-SEED)."""
    return Path(out) if out else Path("runs") / f"{algorithm}-{file_name(scenario)}-{seed}"


def seed_folder(folder: Path, seed: int) -> Path:
    """Return the folder of the policy of one seed, in the folder of a run of several seeds."""
    return folder / f"{_SEED}{seed}"


def file_name(scenario: Trainable | str) -> str:
    """Return the name of a scenario as a file name, with all other characters replaced by "-"."""
    name = scenario if isinstance(scenario, str) else scenario.name
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".") or "scenario"


def claimed_folder(out: str, algorithm: str, scenario: Trainable, seed: int) -> AbstractContextManager[Path]:
    """Return a context that creates the folder of a run if it is missing, locks it, and yields it.

    Raises:
        ValueError: The folder cannot be created or is not writable, or another process writes to it.
    """
    return claimed(run_folder(out, algorithm, scenario, seed))


def run_files(args: Any, algorithm: str) -> list[Path]:
    """Return the files and folders that a training with some options writes."""
    return files_in(run_folder(args.out, algorithm, scenario_name(args), args.seed))


def files_in(folder: Path) -> list[Path]:
    """Return the files and folders that a training writes to the folder of its run."""
    return [*policy_files(folder), *(folder / name for name in (_SCENARIO, FOLDER, LOCK, LOG, LAST_GOOD))]


def save_scenario(scenario: Trainable, folder: Path) -> None:
    """Write the scenario of a run to its folder, unless the file there already describes it: it may be the user's own text."""
    file = folder / _SCENARIO
    with suppress(ValueError):
        if file.exists() and get_scenario(str(file)) == scenario:
            return
    write_atomically(file, scenario.to_toml())


def starting_point(folder: Path, *, resume: bool, overwrite: bool) -> Checkpoint | None:
    """Return the checkpoint from which a training starts; None: it starts from the beginning, in a folder without a run.

    Args:
        folder: Folder of the run, locked.
        resume: Whether to continue from the newest intact checkpoint, if there is one.
        overwrite: Whether to delete another run that the folder contains.

    Raises:
        ValueError: The folder contains a run, and the options neither continue nor overwrite it.
    """
    checkpoint = checkpoint_to_resume(folder / FOLDER) if resume else None
    if checkpoint is None:
        damaged_only = resume and not any(file.exists() for file in _policies(folder))
        check_free(folder, overwrite=overwrite or damaged_only, resumable=True)
        if resume:
            print(f"no checkpoint in {folder / FOLDER}: training starts from the beginning", file=sys.stderr)
    return checkpoint


def check_free(folder: Path, *, overwrite: bool, resumable: bool = False) -> None:
    """Check that a folder contains no run, so that the files of two runs do not mix; or delete the policies and checkpoints.

    Args:
        folder: The folder.
        overwrite: Whether to delete the run. Its scenario and its logs remain, but not the folders of its seeds.
        resumable: Whether the caller has an option `resume`.

    Raises:
        ValueError: The folder contains a run; the message names it and the options that help.
    """
    checkpoints = checkpoint_files(folder / FOLDER)
    held = [file for file in [*_policies(folder), *checkpoints.values()] if file.exists()]
    if overwrite:
        for file in held:
            file.unlink(missing_ok=True)
        for own in _seed_folders(folder):
            (own / _SCENARIO).unlink(missing_ok=True)
            with suppress(OSError):
                own.rmdir()  # unless it holds files of the user
    elif held:
        resume = "--resume to continue it, " if resumable and checkpoints else ""
        what = f"the folder {folder} already contains {_described(folder, max(checkpoints, default=0))}"
        raise ValueError(f"{what}; pass {resume}--overwrite to replace it, or another --out")


def _policies(folder: Path) -> Iterator[Path]:
    """Yield the paths of the policies of a run and of its last finite policy, whether they exist or not."""
    for place in _places(folder):
        yield from policy_files(place)


def _places(folder: Path) -> list[Path]:
    """Return the folders that can hold a policy of a run."""
    return [folder, folder / LAST_GOOD, *_seed_folders(folder)]


def _seed_folders(folder: Path) -> list[Path]:
    """Return the folders of the policies of a run of several seeds."""
    return sorted(path for path in folder.glob(f"{_SEED}*") if path.name[len(_SEED) :].isdecimal() and path.is_dir())


def _described(folder: Path, newest: int) -> str:
    """Return a run as text: its policy, or the number of its newest checkpoint."""
    for place in _places(folder):
        if policy_files(place)[0].exists():
            try:
                policy = load_policy(place)
                traded, scenario = policy.about["timesteps"], policy.about["scenario"]["name"]
                return f"{policy.name} of training seed {policy.training_seed} ({traded:,} slices of {scenario})"
            except (ValueError, KeyError, TypeError):
                return f"a policy ({policy_files(place)[0].name})"
    return f"the checkpoints of an unfinished training (newest: {newest:,})"
