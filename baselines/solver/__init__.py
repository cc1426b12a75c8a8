"""Exact solver: the minimal objective J* of a scenario, a lower bound for every policy, and the policy that attains it."""

from .basket import BasketSolution
from .choose import solve
from .interval import SolutionInterval, solve_interval
from .solution import Solution, optimum, schedule_bps
from .touch import TouchSolution
from .venues import VenueSolution, naive, recalibrate

__all__ = [
    "BasketSolution",
    "Solution",
    "SolutionInterval",
    "TouchSolution",
    "VenueSolution",
    "naive",
    "optimum",
    "recalibrate",
    "schedule_bps",
    "solve",
    "solve_interval",
]
