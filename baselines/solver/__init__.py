"""The exact optimum of a scenario: what no policy can beat, and the policy that reaches it."""

from .solution import Solution, optimum, schedule_bps, solve

__all__ = ["Solution", "optimum", "schedule_bps", "solve"]
