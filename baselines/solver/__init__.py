"""The exact optimum of a scenario: what no policy can beat, and the policy that reaches it."""

from baselines.solver.solution import Solution, optimum, solve

__all__ = ["Solution", "optimum", "solve"]
