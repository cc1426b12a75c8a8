"""Show frontiers: the expected cost of policies against the risk of the realised cost, over a range of risk aversions.

Policies are compared at equal risk: each point shows its cost above the curve of the optimum at the same standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.frontier import POLICIES, URGENCIES, Frontier, frontier, frontier_picture
from hyperexec_env.evaluation.plotting import check_plot
from hyperexec_env.files import write_atomically

ORDER = 11.05


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec frontier``."""

    scenario: str = scenario_option(positional=True)
    policy: tuple[str, ...] = option(POLICIES, "names of policies")
    urgency: tuple[float, ...] = option(URGENCIES, "risk aversions times the arrival notional")
    episodes: int = option(10_000, "number of episodes, the same for every point")
    seed: int = option(0, "seed of the episodes")
    plot: str | None = option(None, "draw the frontiers to this file (.png, .svg or .pdf)", file="output")


def main(args: Args) -> Frontier:
    """Return the frontiers, and write the figure if asked for."""
    check_plot(args.plot)
    found = frontier(args.scenario, args.policy, args.urgency, args.episodes, args.seed)
    if args.plot is not None:
        write_atomically(args.plot, frontier_picture(found, args.plot))
    return found
