"""Train PPO with several seeds, evaluate it and the baselines on the same episodes, and write the leaderboard.

Writes SCENARIO.md and SCENARIO.json for each scenario, the trained policies, and one page, leaderboard.html, with tables and
figures. Policies already trained with the same options on the same scenario are reused, and every evaluated batch of episodes
is stored in results.sqlite, so that an interrupted run resumes where it stopped, and a training from its newest checkpoint.

With --replay, the boards are of real days, one for each instrument, and pooled over them: PPO trains on the first days, its
checkpoint is chosen on later ones, and all policies are judged on the last ones. It writes replay.md and replay.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperexec_env.arguments import option, refuse_changed
from hyperexec_env.baselines.replay import ReplayBoard
from hyperexec_env.cli._command import Report
from hyperexec_env.training.leaderboard import leaderboard, result_files, verified
from hyperexec_env.training.replay_board import replay_files, replay_leaderboard

ORDER = 1


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec leaderboard``."""

    scenario: tuple[str, ...] = option(
        ("regime-day",),
        "names of scenarios of any kind, .toml files, `all` (of one asset), or `archived` (old numbers)",
        file="scenario",
    )
    quick: bool = option(False, "use small defaults: one training seed, 300,000 slices, 2,000 episodes")
    episodes: int | None = option(None, "number of episodes, the same for every policy (default: 20000)")
    seed: int = option(0, "seed of the board's episodes, which no training meets")
    training_seeds: int | None = option(None, "number of training seeds, 0, 1, ... (default: 3)")
    timesteps: int | None = option(None, "slices to trade in each training (default: 2000000)")
    observe_beliefs: bool = option(False, "whether trained policies observe the beliefs about the unknowns of the scenarios")
    optimum: bool = option(True, "solve for the optimum, and show each policy's gap to it")
    out: str = option("leaderboard", "folder of the results", file="folder")
    store: str | None = option(
        None, "store the results of all episodes in this file (default: OUT/results.sqlite)", file="store"
    )
    verify: bool = option(False, "only recompute the stored results, and compare bit for bit")
    replay: tuple[str, ...] = option(
        (), "real days: files of bars, or of days that `hyperexec replay --out` prepared, one for each symbol", file="input"
    )
    train: float | None = option(None, "share of the sessions to calibrate and train on, with replay (default: 0.6)")
    validation: float | None = option(None, "share of the sessions on which checkpoints are chosen, with replay (default: 0.2)")
    purged: int | None = option(None, "sessions between the parts, with replay (default: 1)")
    workers: int = option(1, "processes that share trainings and episodes; the results are those of one process")
    ray: str = option("", "address of a ray cluster that does so instead, on a shared disk (extra dist); auto: this machine's")
    progress: bool = option(True, "show progress bars")

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the results."""
        return replay_files(self.out) if self.replay else result_files(self.scenario, self.out, self.store)


def main(args: Args) -> Report | ReplayBoard:
    """Make the boards, or verify the store; the exit code is 1 if a policy failed, or a recomputed result differs."""
    if args.replay:
        return _replay(args)
    parts = [name for name in _PARTS if getattr(args, name) is not None]
    if parts:
        raise ValueError(f"{parts[0]} is a part of the days of a replay, got {getattr(args, parts[0])} without --replay")
    if args.verify:
        found = verified(args.out, args.store, optimum=args.optimum)
        return Report(str(found), found.to_dict(), 0 if found.sound else 1)
    boards = leaderboard(
        args.scenario,
        quick=args.quick,
        episodes=args.episodes,
        seed=args.seed,
        training_seeds=args.training_seeds,
        timesteps=args.timesteps,
        observe_beliefs=args.observe_beliefs,
        optimum=args.optimum,
        out=args.out,
        store=args.store,
        progress=args.progress,
        workers=args.workers,
        ray=args.ray,
    )
    plain = [board.to_dict() for board in boards]
    text = f"wrote {args.out}/leaderboard.html and the tables and policies beside it"
    code = max(board.exit_code for board in boards)
    return Report(text, plain[0] if len(plain) == 1 else {"boards": plain}, code)


_PARTS = ("train", "validation", "purged")


def _replay(args: Args) -> ReplayBoard:
    """Make the boards of real days.

    Raises:
        ValueError: An option of simulated days is given too; the message names it.
    """
    refuse_changed(
        args,
        ("scenario", "episodes", "seed", "observe_beliefs", "store", "verify", "workers", "ray"),
        "simulated days",
        "--replay",
    )
    return replay_leaderboard(
        args.replay,
        quick=args.quick,
        training_seeds=args.training_seeds,
        timesteps=args.timesteps,
        out=args.out,
        progress=args.progress,
        **{name: getattr(args, name) for name in _PARTS},
    )
