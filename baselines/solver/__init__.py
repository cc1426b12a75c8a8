"""Exact solver: the minimal objective J* of a scenario, a lower bound for every policy, and the policy that attains it."""

from .basket import BasketSolution
from .choose import solve
from .interval import SolutionInterval, solve_interval
from .solution import Solution, optimum, schedule_bps
from .touch import TouchSolution

__all__ = [
    "BasketSolution",
    "Solution",
    "SolutionInterval",
    "TouchSolution",
    "optimum",
    "schedule_bps",
    "solve",
    "solve_interval",
]
