"""The exact optimum of a scenario: what no policy can beat, and the policy that reaches it."""

from baselines.solver.solution import Solution, optimum, schedule_bps, solve

__all__ = ["Solution", "optimum", "schedule_bps", "solve"]
