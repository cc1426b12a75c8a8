"""Estimate what an order costs before it trades: the distribution of the shortfall by each algorithm, and a simple estimate."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.estimate import SIDES, Estimates, estimate

ORDER = 12


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec estimate``."""

    scenario: str = scenario_option()
    quantity: int | None = option(None, "whole shares to execute (default: as the scenario says)")
    side: str | None = option(None, "buy or sell (default: as the scenario says)", choices=tuple(SIDES))
    algorithm: tuple[str, ...] = option(("all",), "algorithms of the desk, or `all`")
    episodes: int = option(10_000, "number of episodes where an estimate is simulated, the same for every algorithm")
    seed: int = option(0, "seed of the episodes")


def main(args: Args) -> Estimates:
    """Return the estimates."""
    return estimate(
        args.scenario,
        quantity=args.quantity,
        side=args.side,
        algorithms=args.algorithm,
        episodes=args.episodes,
        seed=args.seed,
    )
