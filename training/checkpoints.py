"""Checkpoints: the state of a training in one file, verified by a hash before it is used.

A checkpoint is a safetensors file. Its metadata contain a description in JSON, and the sha256 of description and tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env import __version__
from hyperexec_env.checks import check_integer
from hyperexec_env.extras import need
from hyperexec_env.files import make_folder, read_regular, write_atomically

__all__ = [
    "FOLDER",
    "Checkpoint",
    "check_versions",
    "checkpoint_files",
    "checkpoint_to_resume",
    "newest_checkpoint",
    "save_checkpoint",
    "versions",
    "versions_text",
]

FOLDER = "checkpoints"
"""Name of the checkpoint folder within the folder of a run."""
FORMAT = "hyperexec-checkpoint-1"
_NAME = re.compile(r"checkpoint-(\d{1,18})\.safetensors")
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
_LARGEST = 2**34
"""Largest size of a checkpoint, bytes; replay buffers are part of it."""
_STORED = 2
"""Number of checkpoints that remain in the folder."""


class Checkpoint(NamedTuple):
    """The state of a training."""

    step: int  # progress of the training; the unit is the caller's (slices, or gradient steps)
    tensors: dict[str, NDArray[Any]]
    about: dict[str, Any]  # description, of JSON types


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Path:
    """Write a checkpoint, then delete checkpoints of later steps (from an abandoned run) and all but the newest two.

    The folder must belong to one run: temporary files of a killed writer are deleted too.

    Args:
        folder: Folder of the checkpoints, created if missing.
        step: Progress of the training, at least 0.
        tensors: Arrays by name, of dtypes that safetensors supports.
        about: Description, of JSON types; numbers must be finite.

    Raises:
        ValueError: The step is invalid, the description is not JSON, or the file cannot be written.
        MissingExtra: safetensors is not installed.
    """
    check_integer("step", step, low=0, high=10**18 - 1)
    arrays = {name: np.array(values, order="C") for name, values in tensors.items()}
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    metadata = {"format": FORMAT, "step": str(step), "about": text, "sha256": _digest(step, arrays, text)}
    path = make_folder(folder) / f"checkpoint-{step}.safetensors"
    write_atomically(path, need("safetensors.numpy", "train").save(arrays, metadata=metadata))
    _clean(folder, step)
    return path


def newest_checkpoint(folder: Path, skipped: Callable[[Path], None] = lambda path: None) -> Checkpoint | None:
    """Return the newest checkpoint of a folder whose hash is valid, or None.

    Args:
        folder: Folder of the checkpoints.
        skipped: Called with the path of each newer file that is damaged.
    """
    for step, path in sorted(checkpoint_files(folder).items(), reverse=True):
        checkpoint = _read(path, step)
        if checkpoint is not None:
            return checkpoint
        skipped(path)
    return None


def checkpoint_to_resume(folder: Path) -> Checkpoint | None:
    """Return the newest valid checkpoint, or None; report newer ones, which are damaged, on standard error."""

    def warn(path: Path) -> None:
        print(f"the checkpoint {path} is damaged and not used", file=sys.stderr)

    return newest_checkpoint(folder, warn)


def checkpoint_files(folder: Path) -> dict[int, Path]:
    """Return the paths of a folder that have the name of a checkpoint, by step."""
    if not folder.is_dir():
        return {}
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in named if match}


def versions(*modules: str) -> dict[str, str]:
    """Return the version of this package and the versions of other modules, by name."""
    return {"hyperexec_env": __version__, **{module: str(need(module, "train").__version__) for module in modules}}


def versions_text(known: Mapping[str, str] | None) -> str:
    """Return versions as text; "an unknown version" where a checkpoint records none."""
    return ", ".join(f"{name} {version}" for name, version in (known or {}).items()) or "an unknown version"


def check_versions(checkpoint: Checkpoint, folder: Path, *modules: str) -> None:
    """Check that the installed versions can continue the training of a checkpoint.

    Another version of this package may simulate another market. With another version of the other modules, the training
    continues, and a line on standard error says that its result may differ from the result of an uninterrupted training.

    Args:
        checkpoint: The checkpoint.
        folder: Folder of the checkpoint, for the message.
        modules: Names of the other modules.

    Raises:
        ValueError: Another version of this package made the checkpoint; the message gives all versions of both sides.
    """
    made, here = checkpoint.about.get("versions") or {}, versions(*modules)
    if made == here:
        return
    both = f"{versions_text(made)} made the checkpoint in {folder}, {versions_text(here)} is installed"
    if made.get("hyperexec_env") != here["hyperexec_env"]:
        raise ValueError(f"cannot resume: {both}")
    print(f"{both}: the result may differ from an uninterrupted training", file=sys.stderr)


def _read(path: Path, step: int) -> Checkpoint | None:
    """Return the checkpoint in a file, or None if the file is unreadable or fails its hash."""
    safetensors, broken = need("safetensors.numpy", "train"), need("safetensors", "train").SafetensorError
    try:
        data = read_regular(path, _LARGEST)
        tensors = safetensors.load(data)  # checks the header
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        same = metadata["sha256"] == _digest(step, tensors, metadata["about"])
        if metadata["format"] != FORMAT or not same:
            return None
        return Checkpoint(step, tensors, json.loads(metadata["about"]))
    except (OSError, ValueError, KeyError, TypeError, broken):
        return None


def _digest(step: int, tensors: Mapping[str, NDArray[Any]], about: str) -> str:
    """Return the sha256 of step, description and tensors."""
    described = [(name, str(values.dtype), values.shape) for name, values in sorted(tensors.items())]
    content = hashlib.sha256(json.dumps([step, about, described]).encode())
    for _, values in sorted(tensors.items()):
        content.update(values.tobytes())
    return content.hexdigest()


def _clean(folder: Path, step: int) -> None:
    """Delete checkpoints of later steps, all but the newest ones up to a step, and temporary files."""
    files = checkpoint_files(folder)
    stored = sorted(other for other in files if other <= step)[-_STORED:]
    unneeded = [path for other, path in files.items() if other not in stored]
    for path in [*unneeded, *(path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name))]:
        with contextlib.suppress(OSError):
            path.unlink()
