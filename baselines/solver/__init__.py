"""Exact solver: the minimal objective J* of a scenario, a lower bound for every policy, and the policy that attains it."""

from .interval import SolutionInterval, solve_interval
from .solution import Solution, optimum, schedule_bps, solve

__all__ = ["Solution", "SolutionInterval", "optimum", "schedule_bps", "solve", "solve_interval"]
