"""Solve a scenario: exact optimum, best deterministic schedule, and the value of observing the regime."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.solver import Solution, solve

ORDER = 9


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec solve``."""

    scenario: str = scenario_option(positional=True)
    cache: bool = option(True, "read and store solutions (in HYPEREXEC_CACHE, or hyperexec in the user's cache folder)")


def main(args: Args) -> Solution:
    """Return the solution."""
    return solve(args.scenario, cached=args.cache)
