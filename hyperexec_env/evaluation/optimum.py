"""The optimum of a scenario as a solver computes it: J*, bounds, reference schedules and the optimal policy."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final

from hyperexec_env.checks import check_number
from hyperexec_env.evaluation.policy import Policy

__all__ = ["GapPart", "Optimum"]

_ROUNDING: Final = 1e-9
"""Relative rounding error of a sum of costs; closer values count as equal."""


@dataclass(frozen=True)
class GapPart:
    """One part of TWAP's gap to the optimum."""

    bps: float
    """Size of the part, bps of the arrival notional."""
    steps: tuple[str, ...]
    """The improvements that close this part, from "schedule", "past" and "regime" (see :attr:`Optimum.parts`)."""


@dataclass(frozen=True)
class Optimum:
    """Objectives in bps of the arrival notional, computed, not simulated; None where unknown.

    Where all are known, optimum <= regime_blind <= open_loop <= twap.
    """

    optimum_bps: float | None = None
    """J*, the minimum over all policies; None where the scenario is not solved exactly."""
    bound_bps: float | None = None
    """Lower bound on J*, where the scenario is not solved."""
    upper_bps: float | None = None
    """Upper bound on J*, where the scenario is not solved and one is known."""
    open_loop_bps: float | None = None
    """Objective of the best deterministic schedule."""
    regime_blind_bps: float | None = None
    """Minimum over policies that observe each regime one slice late. It bounds from below every policy from which the regime
    is hidden: such a policy can at best infer the past regimes exactly."""
    twap_bps: float | None = None
    """Objective of TWAP (equal slices)."""
    told_bps: float | None = None
    """Minimum over policies that are told the unknowns of each episode, less its error; None without unknowns."""
    relative_error: float | None = None
    """Error of J*, as a fraction of J*."""
    policy: Policy | None = None
    """The optimal policy; it runs in the environment like any other policy."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: A value is not a finite number, the error is negative, or `policy` is given without `optimum_bps`.
        """
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "policy" and value is not None:
                check_number(item.name, value, low=0.0 if item.name == "relative_error" else -math.inf)
        if self.policy is not None and self.optimum_bps is None:
            raise ValueError("optimum_bps must be a number where policy is given, got None")

    @property
    def error_bps(self) -> float:
        """Error of J*, bps; at least the rounding error."""
        return abs(self.optimum_bps or 0.0) * max(self.relative_error or 0.0, _ROUNDING)

    @property
    def parts(self) -> tuple[GapPart, ...]:
        """TWAP's gap, decomposed from TWAP to the optimum; empty where either objective is unknown.

        The steps are the best deterministic schedule ("schedule"), acting on past observations ("past"), and observing the
        regime of the current slice ("regime"). Where the objective between two steps is unknown, one part holds both steps.
        """
        if self.twap_bps is None or self.optimum_bps is None:
            return ()
        found: list[GapPart] = []
        above, steps = self.twap_bps, tuple[str, ...]()
        values = (("schedule", self.open_loop_bps), ("past", self.regime_blind_bps), ("regime", self.optimum_bps))
        for step, value in values:
            steps = (*steps, step)
            if value is not None:
                found.append(GapPart(above - value, steps))
                above, steps = value, ()
        return tuple(found)

    @property
    def contradictions(self) -> list[str]:
        """Pairs of values whose order contradicts theory by more than their error, one line each."""
        names = ("told_bps", "bound_bps", "optimum_bps", "upper_bps", "regime_blind_bps", "open_loop_bps", "twap_bps")
        known = [(name, value) for name in names if (value := getattr(self, name)) is not None]
        return [
            f"{lower} {low:.4f} is above {upper} {high:.4f}"
            for (lower, low), (upper, high) in pairwise(known)
            if low - high > max(2.0 * self.error_bps, _ROUNDING * abs(high))
        ]
