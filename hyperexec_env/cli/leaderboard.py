"""Evaluate the baselines, train PPO with several seeds, judge all on the same episodes, and write the board.

Writes, for each scenario, SCENARIO.md and SCENARIO.json, the trained policies, and one page, leaderboard.html, with the tables
and the pictures. A policy that was trained with the same options on the same scenario is not trained again, and every batch of
episodes that was judged is kept in results.sqlite: a run that was interrupted goes on where it stopped, a training from its
newest checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.training.leaderboard import leaderboard, store_path, verified

ORDER = 1


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec leaderboard``."""

    scenario: tuple[str, ...] = option(
        ("regime-day",), "names of scenarios, paths of .toml files, or `all` that ship", file="input"
    )
    quick: bool = option(False, "a small run: what is not given is one training seed, 300,000 slices, 2,000 episodes")
    episodes: int | None = option(None, "number of episodes, the same for every policy (default: 20000)")
    seed: int = option(0, "seed of the episodes (training never uses the seeds below 2^32)")
    training_seeds: int | None = option(None, "number of training seeds, 0, 1, ... (default: 3)")
    timesteps: int | None = option(None, "slices to trade in each training (default: 2000000)")
    optimum: bool = option(True, "solve for the optimum, and show each policy's gap to it")
    out: str = option("leaderboard", "folder of the results")
    store: str | None = option(None, "keep the results of all episodes in this file (default: OUT/results.sqlite)")
    verify: bool = option(False, "train and judge nothing: compute again what is stored, and compare bit for bit")
    progress: bool = option(True, "show progress bars")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The store, which no result may replace."""
        return (str(store_path(self.out, self.store)),)


def main(args: Args) -> Report:
    """Make the boards, or verify the store: the exit code is 1 if a result differs from the stored one."""
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
    return Report(text, plain[0] if len(plain) == 1 else {"boards": plain})
