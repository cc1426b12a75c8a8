"""Solve a scenario: exact optimum, best deterministic schedule, and the value of observing the regime.

For a scenario with a posterior, each of its first draws is solved too, and J*, TWAP's objective and their difference are shown
with the interval that the error of the calibration leaves.

With --hidden, J* is that of a policy from which the regime is hidden: between the objective of the policy `belief-grid` and an
information relaxation, beside what a policy reaches that observes the regime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hyperexec_env.arguments import option, refuse_changed, scenario_option
from hyperexec_env.baselines.solver import naive, solve, solve_interval
from hyperexec_env.baselines.solver.dual import bracket_hidden
from hyperexec_env.baselines.solver.interval import DRAWS
from hyperexec_env.checks import check_integer
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.scenarios import get_scenario
from hyperexec_env.market.venue_scenario import VenueScenario

ORDER = 9


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec solve``."""

    scenario: str = scenario_option(positional=True)
    draws: int = option(DRAWS, "largest number of draws of the posterior to solve (0: the point estimate alone)")
    naive: bool = option(
        False,
        "with venues: show the optimum with the published impact too, which counts hidden fills twice, and why it is wrong",
    )
    hidden: bool = option(False, "bracket J* of policies from which the regime is hidden, on 2,000 simulated days")
    cache: bool = option(True, "read and store solutions (in HYPEREXEC_CACHE, or hyperexec in the user's cache folder)")


def main(args: Args) -> Any:
    """Return the solution, with its interval where the scenario has a posterior, or the bracket of a hidden regime.

    Raises:
        ValueError: The number of draws is out of range, or an option is given for a kind of scenario that has no such thing.
    """
    scenario = get_scenario(args.scenario)
    if not isinstance(scenario, Scenario):
        refuse_changed(args, ("draws", "hidden"), "scenarios of one asset", repr(scenario.name))
    if not isinstance(scenario, VenueScenario):
        refuse_changed(args, ("naive",), "scenarios with venues", repr(scenario.name))
    elif args.naive:
        return naive(scenario, cached=args.cache)
    if isinstance(scenario, Scenario) and args.hidden:
        refuse_changed(args, ("draws",), "the optimum with the observed regime", "--hidden")
        return bracket_hidden(scenario)
    if isinstance(scenario, Scenario) and scenario.posterior is not None and args.draws != 0:
        return solve_interval(scenario, args.draws, cached=args.cache)
    check_integer("draws", args.draws, low=0, high=1000)
    return solve(scenario, cached=args.cache)
