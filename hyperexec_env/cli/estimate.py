"""Estimate the cost of an order before it trades: distribution of the shortfall by algorithm, and a closed-form estimate."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.estimate import SIDES, Estimates, estimate

ORDER = 12


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec estimate``."""

    scenario: str = scenario_option()
    quantity: int | None = option(None, "size of the order, whole shares (default: quantity of the scenario)")
    side: str | None = option(None, "buy or sell (default: side of the scenario)", choices=tuple(SIDES))
    algorithm: tuple[str, ...] = option(("all",), "algorithms of the desk, or `all`")
    episodes: int = option(10_000, "number of episodes of each simulated estimate, the same for every algorithm")
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
