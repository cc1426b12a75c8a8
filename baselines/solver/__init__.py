"""Exact solver: the minimal objective J* of a scenario, a lower bound for every policy, and the policy that attains it."""

from .solution import Solution, optimum, schedule_bps, solve

__all__ = ["Solution", "optimum", "schedule_bps", "solve"]
