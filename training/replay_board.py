"""The leaderboard of real days: baselines, the calibrated optimum and PPO, each market on its own test days, and pooled.

For each file of one instrument, PPO trains on the training days, its checkpoint is chosen on the validation days, and all
policies are judged on the test days. The output is replay.md, replay.json, and the trained policies.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from hyperexec_env.baselines.replay import ReplayBoard, board_of
from hyperexec_env.baselines.replay import replay as run_policies
from hyperexec_env.checks import check_integer
from hyperexec_env.data.replay import symbol_of
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.files import write_atomically
from hyperexec_env.market.recording import Recording

from . import ppo
from .leaderboard import POLICIES, QUICK, USUAL, trained_policy
from .lock import LOCK, claimed
from .run import check_training
from .selection import days_of

__all__ = ["replay_files", "replay_leaderboard"]

_TABLES: Final = ("replay.json", "replay.md")


def replay_leaderboard(
    days: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    quick: bool = False,
    training_seeds: int | None = None,
    timesteps: int | None = None,
    train: float | None = None,
    validation: float | None = None,
    purged: int | None = None,
    out: str | os.PathLike[str] = "leaderboard",
    progress: bool = True,
) -> ReplayBoard:
    """Train PPO and judge all policies on the real days of each instrument, and write the results.

    Args:
        days: Files of bars or of prepared days, one for each instrument; the name of a file begins with the symbol.
        quick: Use the small defaults: one training seed, 300,000 slices.
        training_seeds: Number of training seeds, 0, 1, ... (default: 3); 0: no training.
        timesteps: Slices to trade in each training (default: 2,000,000).
        train: Share of the sessions to calibrate and train on (default: 0.6).
        validation: Share of the sessions on which the checkpoint is chosen (default: 0.2).
        purged: Sessions between the parts (default: 1).
        out: Folder of the results.
        progress: Whether to show progress bars.

    Raises:
        ValueError: An option is invalid, the data cannot be used, two files have the same symbol, or another process writes to
            the folder.
        MissingExtra: The packages of the extras `train` and `data` are not installed.
    """
    files = [os.fspath(days)] if isinstance(days, (str, os.PathLike)) else [os.fspath(file) for file in days]
    symbols = [symbol_of(file) for file in files]
    if not files or len(set(symbols)) < len(symbols):
        raise ValueError(f"replay must be files of different symbols, got {', '.join(symbols) or 'none'}")
    usual = QUICK if quick else USUAL
    seeds = check_integer(
        "training_seeds", usual.training_seeds if training_seeds is None else training_seeds, low=0, high=1000
    )
    options = ppo.Args(
        timesteps=usual.timesteps if timesteps is None else timesteps,
        train=train,
        validation=validation,
        purged=purged,
        tensorboard=False,
        progress=progress and sys.stderr.isatty(),
    )
    if seeds:
        check_training(options)
    chosen = [replace(options, replay=file) for file in files]
    recordings = [_days(each, trains=seeds > 0) for each in chosen]
    with claimed(out) as folder:
        found = []
        for each, recording in zip(chosen, recordings, strict=True):
            folders = [folder / POLICIES / f"ppo-{recording.symbol}-{seed}" for seed in range(seeds)]
            found.append(run_policies(recording, ["all", *_trained(each, recording, folders)]))
        board = board_of(found)
        _write(folder, board)
    return board


def _days(options: ppo.Args, trains: bool) -> Recording:
    """Return the days of one instrument."""
    recording = days_of(options, needs_validation=trains)
    if recording is None:
        raise ValueError("replay must name the days of an instrument, got ''")
    return recording


def _trained(options: ppo.Args, recording: Recording, folders: list[Path]) -> Iterator[NetworkPolicy]:
    """Yield the policy of a training seed for each folder."""
    for seed, folder in enumerate(folders):
        print(f"{recording.symbol}: PPO, training seed {seed} ({seed + 1} of {len(folders)})", flush=True)
        yield trained_policy(replace(options, seed=seed, out=str(folder)), recording.scenario, recording)


def _write(folder: Path, board: ReplayBoard) -> None:
    """Write the board as JSON, and as text in Markdown."""
    contents = (json.dumps(board.to_dict(), indent=2, allow_nan=False) + "\n", f"# Replay\n\n```text\n{board}\n```\n")
    for name, content in zip(_TABLES, contents, strict=True):
        write_atomically(folder / name, content)


def replay_files(out: str | os.PathLike[str]) -> list[Path]:
    """Return the files and folders that a leaderboard of real days writes."""
    return [Path(out) / name for name in (*_TABLES, POLICIES, LOCK)]
