"""Train PPO with several seeds, evaluate it and the baselines on the same episodes, and write the leaderboard.

Writes SCENARIO.md and SCENARIO.json for each scenario, the trained policies, and one page, leaderboard.html, with tables and
figures. Policies already trained with the same options on the same scenario are reused, and every evaluated batch of episodes
is stored in results.sqlite, so that an interrupted run resumes where it stopped, and a training from its newest checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.training.leaderboard import leaderboard, result_files, verified

ORDER = 1


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec leaderboard``."""

    scenario: tuple[str, ...] = option(
        ("regime-day",), "names of scenarios, paths of .toml files, `all`, or `archived` (old numbers)", file="scenario"
    )
    quick: bool = option(False, "use small defaults: one training seed, 300,000 slices, 2,000 episodes")
    episodes: int | None = option(None, "number of episodes, the same for every policy (default: 20000)")
    seed: int = option(0, "seed of the board's episodes, which no training meets")
    training_seeds: int | None = option(None, "number of training seeds, 0, 1, ... (default: 3)")
    timesteps: int | None = option(None, "slices to trade in each training (default: 2000000)")
    optimum: bool = option(True, "solve for the optimum, and show each policy's gap to it")
    out: str = option("leaderboard", "folder of the results", file="folder")
    store: str | None = option(
        None, "store the results of all episodes in this file (default: OUT/results.sqlite)", file="store"
    )
    verify: bool = option(False, "only recompute the stored results, and compare bit for bit")
    progress: bool = option(True, "show progress bars")

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the results."""
        return result_files(self.scenario, self.out, self.store)


def main(args: Args) -> Report:
    """Make the boards, or verify the store; the exit code is 1 if a policy failed, or a recomputed result differs."""
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
        optimum=args.optimum,
        out=args.out,
        store=args.store,
        progress=args.progress,
    )
    plain = [board.to_dict() for board in boards]
    text = f"wrote {args.out}/leaderboard.html and the tables and policies beside it"
    code = max(board.exit_code for board in boards)
    return Report(text, plain[0] if len(plain) == 1 else {"boards": plain}, code)
