"""Trace episodes of a policy: every child order with its fill, prices and costs by source, one row for each slice."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.trace import trace
from hyperexec_env.evaluation.table import check_ending
from hyperexec_env.evaluation.trace import Trace

ORDER = 9.5


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec trace``."""

    scenario: str = scenario_option(positional=True)
    policy: str = option("TWAP", "name or folder of a policy", file="policy")
    seed: int = option(0, "seed of the episodes")
    episodes: int = option(1, "number of episodes")
    board: bool = option(False, "trace the episodes of the board of the seed, which `hyperexec evaluate --seed` judges")
    observe_regime: bool = option(True, "whether the policy observes the regime")
    out: str | None = option(None, "write the table to this file (.parquet, .csv, .json)", file="output")


def main(args: Args) -> Trace:
    """Play the episodes, write the table if asked to, and return it."""
    if args.out:
        check_ending(args.out)
    hidden = {} if args.observe_regime else {"observe_regime": False}
    found = trace(args.scenario, args.policy, seed=args.seed, episodes=args.episodes, board=args.board, **hidden)
    if args.out:
        found.write(args.out)
    return found
