"""Interval of the optimum: J* and TWAP's objective in the draws of a posterior, each draw solved for itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.files import cache_folder, read_cached, write_cached
from hyperexec_env.market.posterior import draws_of
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.progress import progress

from .best import best_of, even_bps
from .problem import unsolved
from .solution import Solution, code_hash, solve

__all__ = ["DRAWS", "SolutionInterval", "solve_interval"]

Floats = NDArray[np.float64]

DRAWS: Final = 32
"""Default number of draws that are solved; the ends of an interval then have an error of a fifth of its width."""
_LEVELS: Final = (0.025, 0.975)
"""Quantiles of a 95 % interval."""


@dataclass(frozen=True, eq=False)
class SolutionInterval:
    """The solution of the point estimate, and J* and TWAP's objective in each of some draws; ``print`` shows it as text.

    J* of a draw is that of a trader who knows the numbers of the draw. An interval holds the middle 95 % of the draws.
    """

    solution: Solution
    """Solution of the point estimate."""
    optimum: Floats = field(repr=False)
    """J* in each draw, bps, shape (draws,); empty where the scenario is not solved exactly."""
    twap: Floats = field(repr=False)
    """Objective of TWAP in each draw, bps, shape (draws,)."""

    @property
    def draws(self) -> int:
        """Number of draws of the posterior, solved or not."""
        return len(self.solution.scenario.posterior or ())

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % intervals of J*, of TWAP's objective and of their difference, bps; empty where no draw was solved."""
        if not len(self.optimum):
            return {}
        values = {"optimum_bps": self.optimum, "twap_bps": self.twap, "twap_above_bps": self.twap - self.optimum}
        return {name: _ends(each) for name, each in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the solution of the point estimate and, under `interval`, the draws and the intervals, for JSON."""
        ends = {name: list(pair) for name, pair in self.intervals.items()}
        values = {"optimum_by_draw_bps": self.optimum.tolist(), "twap_by_draw_bps": self.twap.tolist()}
        return {**self.solution.to_dict(), "interval": {"draws": len(self.optimum), "of": self.draws, **ends, **values}}

    def __str__(self) -> str:
        """Return the solution of the point estimate, and the intervals over the draws."""
        if not len(self.optimum):
            return f"{self.solution}\nThe posterior has no interval of J*: the scenario is not solved exactly."
        point, ends = self.solution, self.intervals
        best, twap = point.optimum_bps or 0.0, point.twap_bps or 0.0
        known = (("optimum J*", "optimum_bps", best), ("TWAP", "twap_bps", twap), ("TWAP - J*", "twap_above_bps", twap - best))
        cells = [["", label, f"{value:.4f}", *(f"{end:.4f}" for end in ends[name])] for label, name, value in known]
        table = text_table(["", "over the posterior [bps]", "point estimate", "2.5 %", "97.5 %"], cells)
        solved = len(self.optimum)
        count = f"all {solved} draws" if solved == self.draws else f"the first {solved} of {self.draws} draws (--draws)"
        return f"{point}\n\n{table}\n\nIntervals: the middle 95 % of {count} of the posterior, each solved for itself."


def _ends(values: Floats) -> tuple[float, float]:
    """Return the ends of a 95 % interval of draws: quantiles of Weibull (1939), between which a new draw lies so often."""
    low, high = np.quantile(values, _LEVELS, method="weibull")
    return float(low), float(high)


def solve_interval(scenario: ScenarioLike, draws: int = DRAWS, *, cached: bool = True) -> SolutionInterval:
    """Solve a scenario, and its first draws, with a progress bar.

    Args:
        scenario: A scenario with a posterior: a name, a dict, a path or a scenario.
        draws: Largest number of draws to solve.
        cached: Whether to read and write the cache.

    Raises:
        ValueError: The scenario has no posterior, or `draws` is out of range.
    """
    scenario = get_scenario(scenario)
    drawn = draws_of(scenario, check_integer("draws", draws, low=2, high=1000))
    solution = solve(scenario, cached=cached)
    if solution.optimum_bps is None:
        return SolutionInterval(solution, np.empty(0), np.empty(0))
    known = _read(scenario) if cached else []
    found = known[: len(drawn)]
    if len(found) < len(drawn):
        with progress(len(drawn), f"solve the draws of {scenario.name}") as advance:
            advance(len(found))
            for one in drawn[len(found) :]:
                found.append(_pair(one))
                advance(1)
                if cached:
                    _write(scenario, found)
    optimum, twap = np.array(found).T
    return SolutionInterval(solution, optimum, twap)


def _pair(scenario: Scenario) -> list[float]:
    """Return J* and the objective of TWAP of one draw, bps.

    Raises:
        ValueError: The draw is not solved exactly, although the point estimate is.
    """
    market = build_market(scenario)
    reason = unsolved(market)
    if reason:
        raise ValueError(f"a draw of the posterior of {scenario.name!r} is not solved exactly: {reason}")
    best = best_of(market)
    return [best.value, even_bps(market, best)]


def _file(scenario: Scenario) -> Any:
    """Return the cache file of the draws of a scenario."""
    return cache_folder() / f"draws-{scenario.hash}-{code_hash()}.json"


def _read(scenario: Scenario) -> list[list[float]]:
    """Return the pairs of the first draws that the cache holds."""
    content = read_cached(_file(scenario))
    return [] if content is None else json.loads(content)


def _write(scenario: Scenario, found: list[list[float]]) -> None:
    """Write the pairs of the first draws to the cache, so that an interrupted run goes on where it stopped."""
    write_cached(_file(scenario), json.dumps(found).encode())
