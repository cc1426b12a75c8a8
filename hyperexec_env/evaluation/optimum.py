"""What is known of the best that can be done in a scenario. A solver makes it; a board compares with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final

from hyperexec_env.checks import check_number
from hyperexec_env.evaluation.policy import Policy

__all__ = ["Optimum", "Part"]

_ROUNDING: Final = 1e-9
"""Relative error of a sum of costs, at least; what is closer is equal."""


@dataclass(frozen=True)
class Part:
    """A part of TWAP's gap to the optimum."""

    bps: float
    """Size, bps of the arrival notional."""
    steps: tuple[str, ...]
    """What it is saved by: some of "schedule", "past" and "told"."""


@dataclass(frozen=True)
class Optimum:
    """Objectives in bps of the arrival notional, computed and not simulated; None is what is not known.

    Where all are known, optimum <= regime_blind <= open_loop <= twap.
    """

    optimum_bps: float | None = None
    """J*, the least that any policy can reach; None where the scenario is not solved exactly."""
    bound_bps: float | None = None
    """A lower bound on J*, where it is not solved."""
    open_loop_bps: float | None = None
    """That of the best fixed schedule."""
    regime_blind_bps: float | None = None
    """The least of an observer who is not told the regime of the slice and has found out perfectly which came before: no
    policy from which the regime is hidden can reach less."""
    twap_bps: float | None = None
    """That of equal slices."""
    relative_error: float | None = None
    """Error of J*, as a fraction of it."""
    policy: Policy | None = None
    """The optimal policy, which runs in the environment."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: A value that is not a finite number, a negative error, or a policy without the value of the optimum.
        """
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "policy" and value is not None:
                check_number(item.name, value, low=0.0 if item.name == "relative_error" else -math.inf)
        if self.policy is not None and self.optimum_bps is None:
            raise ValueError("optimum_bps must be a number where policy is the optimal one, got None")

    @property
    def error_bps(self) -> float:
        """Error of J*, bps: that of rounding where none is stated, and at least."""
        return abs(self.optimum_bps or 0.0) * max(self.relative_error or 0.0, _ROUNDING)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What TWAP's gap consists of, from equal slices to the optimum; empty where either is not known.

        A better fixed schedule ("schedule"), acting on what came before ("past"), being told the regime of the slice ("told");
        neighbours are one part where what lies between them is not known.
        """
        if self.twap_bps is None or self.optimum_bps is None:
            return ()
        found: list[Part] = []
        above, steps = self.twap_bps, tuple[str, ...]()
        values = (("schedule", self.open_loop_bps), ("past", self.regime_blind_bps), ("told", self.optimum_bps))
        for step, value in values:
            steps = (*steps, step)
            if value is not None:
                found.append(Part(above - value, steps))
                above, steps = value, ()
        return tuple(found)

    @property
    def contradictions(self) -> list[str]:
        """Say which values are not in the order that they must have, by more than the stated error of both."""
        names = ("bound_bps", "optimum_bps", "regime_blind_bps", "open_loop_bps", "twap_bps")
        known = [(name, value) for name in names if (value := getattr(self, name)) is not None]
        return [
            f"{lower} {low:.4f} lies above {upper} {high:.4f}"
            for (lower, low), (upper, high) in pairwise(known)
            if low - high > max(2.0 * self.error_bps, _ROUNDING * abs(high))
        ]
