"""Solve a scenario: exact optimum, best deterministic schedule, and the value of observing the regime.

For a scenario with a posterior, each of its first draws is solved too, and J*, TWAP's objective and their difference are shown
with the interval that the error of the calibration leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.solver import BasketSolution, Solution, SolutionInterval, TouchSolution, solve, solve_interval
from hyperexec_env.baselines.solver.interval import DRAWS
from hyperexec_env.checks import check_integer
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.scenarios import get_scenario
from hyperexec_env.market.touch_scenario import TouchScenario

ORDER = 9


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec solve``."""

    scenario: str = scenario_option(positional=True)
    draws: int = option(DRAWS, "largest number of draws of the posterior to solve (0: the point estimate alone)")
    cache: bool = option(True, "read and store solutions (in HYPEREXEC_CACHE, or hyperexec in the user's cache folder)")


def main(args: Args) -> Solution | SolutionInterval | BasketSolution | TouchSolution:
    """Return the solution, with its interval where the scenario has a posterior."""
    scenario: Scenario | BasketScenario | TouchScenario = get_scenario(args.scenario)
    if isinstance(scenario, TouchScenario):
        return solve(scenario, cached=args.cache)
    if isinstance(scenario, BasketScenario):
        return solve(scenario, cached=args.cache)
    if args.draws == 0 or scenario.posterior is None:
        check_integer("draws", args.draws, low=0, high=1000)
        return solve(scenario, cached=args.cache)
    return solve_interval(scenario, args.draws, cached=args.cache)
