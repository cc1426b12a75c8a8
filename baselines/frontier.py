"""Frontiers: the expected cost of policies against the risk of the realised cost, over a range of risk aversions.

A policy that follows the risk aversion of the scenario (the optimum, `universal`, `linearised`, AC) gives a curve; one that
does not (TWAP) a point. Policies are compared at *equal risk*: the cost of each point is held against the curve of the optimum
at the same standard deviation. Every point trades the same episodes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_numbers
from hyperexec_env.evaluation.page import COLOURS, plain_label
from hyperexec_env.evaluation.plotting import picture_of
from hyperexec_env.evaluation.policy import check_fit
from hyperexec_env.evaluation.rollout import paths_of, roll_on
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.extras import need
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import build_market

from .policies import BASELINES, get_policy

__all__ = ["Frontier", "Point", "frontier", "frontier_picture"]

Floats = NDArray[np.float64]
POLICIES: Final = ("optimum", "universal", "AC", "VWAP", "TWAP")
URGENCIES: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Risk aversions times the arrival notional."""
_LEVEL: Final = 0.95
_ROUNDING: Final = 1e-9
"""Relative rounding error of a standard deviation, within which a point lies on the end of the curve."""
_FIXED: Final = tuple(name for name in BASELINES if name != "AC")
"""Policies that do not follow the risk aversion."""


class Point(NamedTuple):
    """A policy at one risk aversion; costs in bps of the arrival notional."""

    policy: str
    urgency: float
    """Risk aversion times the arrival notional."""
    cost: float
    """Mean cost in the expected account: without the price noise, the permanent cost and the risk term."""
    error: float
    """Standard error of the cost."""
    sd: float
    """Standard deviation of the implementation shortfall."""
    cvar: float
    """Mean of the largest 5 % of the implementation shortfalls (CVaR, Rockafellar and Uryasev 2000)."""
    excess: float
    """Cost above the curve of the optimum at the same standard deviation; nan outside the curve, or without it."""


@dataclass(frozen=True)
class Frontier:
    """The frontiers of some policies in one scenario."""

    scenario: Scenario
    episodes: int
    seed: int
    points: tuple[Point, ...]
    curve: tuple[Point, ...] = ()
    """The optimum at finer steps of the risk aversion, the curve at equal risk; empty without the optimum."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        points = [{key: None if value != value else value for key, value in each._asdict().items()} for each in self.points]
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "episodes": self.episodes,
            "seed": self.seed,
            "points": points,
        }

    def __str__(self) -> str:
        """Return the points as a table."""
        header = ["urgency", "policy", "cost, bps", "+-", "sd", "CVaR 95 %", "above the optimum at equal risk"]
        cells = [
            [
                f"{each.urgency:g}" if each.policy not in _FIXED else "any",
                each.policy,
                f"{each.cost:.3f}",
                f"{1.96 * each.error:.3f}",
                f"{each.sd:.2f}",
                f"{each.cvar:.2f}",
                "-" if math.isnan(each.excess) else f"{each.excess:+.3f}",
            ]
            for each in self.points
        ]
        head = f"{self.scenario.name}: cost against risk, bps of the notional; {self.episodes:,} episodes, seed {self.seed}"
        return f"{head}\n\n{text_table(header, cells)}"


def frontier(
    scenario: ScenarioLike,
    policies: Iterable[str] = POLICIES,
    urgencies: Sequence[float] = URGENCIES,
    episodes: int = 10_000,
    seed: int = 0,
) -> Frontier:
    """Return the frontiers of some policies.

    Args:
        scenario: The scenario, whose risk aversion is replaced.
        policies: Names of policies.
        urgencies: Risk aversions times the arrival notional.
        episodes: Number of episodes, the same for every point.
        seed: Seed of the episodes.

    Raises:
        ValueError: A policy is unknown or cannot trade in the scenario, or an option is out of range.
    """
    base, names = get_scenario(scenario), [get_policy(name).name for name in policies]
    check_integer("episodes", episodes, low=2, high=10**7)
    check_integer("seed", seed, low=0, high=2**40)
    wanted = sorted(set(check_numbers("urgency", urgencies, low=1e-6, high=1e6)))
    if not names or not wanted:
        raise ValueError("policies and urgencies must not be empty, got none")
    for name in names:
        check_fit(get_policy(name), build_market(base))
    keys, names = episode_keys(seed, np.arange(episodes)), list(dict.fromkeys(names))
    curve = [_point(base, "optimum", urgency, keys) for urgency in _refined(wanted)] if "optimum" in names else []
    risks, costs = np.array(sorted((each.sd, each.cost) for each in curve)).T if curve else (np.zeros(1), np.zeros(1))
    points = []
    for name in names:
        for urgency in wanted[:1] if name in _FIXED else wanted:
            found = next((each for each in curve if (each.policy, each.urgency) == (name, urgency)), None)
            point = found or _point(base, name, urgency, keys)
            inside = risks[0] * (1.0 - _ROUNDING) <= point.sd <= risks[-1] * (1.0 + _ROUNDING)
            optimal = float(np.interp(point.sd, risks, costs)) if len(curve) > 1 and inside else math.nan
            points.append(point._replace(excess=point.cost - optimal))
    return Frontier(base, episodes, seed, tuple(points), tuple(curve))


def _point(base: Scenario, name: str, urgency: float, keys: Any) -> Point:
    """Return a policy at one risk aversion, without its excess."""
    market = build_market(replace(base, risk_aversion=urgency / base.notional))
    statement = roll_on(market, get_policy(name), paths_of(market, keys)).statement
    expected, shortfall = np.asarray(statement.expected), np.asarray(statement.shortfall)
    worst = np.sort(shortfall)[-max(1, round((1.0 - _LEVEL) * len(shortfall))) :]
    error = float(expected.std(ddof=1)) / math.sqrt(len(expected))
    deviation = float(shortfall.std(ddof=1))
    return Point(name, urgency, float(expected.mean()), error, deviation, float(worst.mean()), math.nan)


def _refined(values: Sequence[float]) -> list[float]:
    """Return the values with three geometric means between neighbours, between which the curve is nearly straight."""
    between = [low * (high / low) ** (step / 4.0) for low, high in itertools.pairwise(values) for step in (1, 2, 3)]
    return sorted([*values, *between])


def frontier_picture(found: Frontier, path: str) -> bytes:
    """Return the figure of the frontiers as the bytes of a file; the format follows the extension."""
    figure = need("matplotlib.figure", "plot").Figure(figsize=(8.0, 5.2), layout="constrained")
    axis = figure.subplots()
    for place, name in enumerate(dict.fromkeys(each.policy for each in found.points)):
        own = [each for each in found.points if each.policy == name]
        style = {"color": COLOURS[place % len(COLOURS)], "marker": "o", "markersize": 4.0, "linestyle": ""}
        fine = found.curve if name == "optimum" else own
        axis.plot([each.sd for each in fine], [each.cost for each in fine], color=style["color"], linewidth=1.4)
        axis.plot([each.sd for each in own], [each.cost for each in own], label=name, **style)
    axis.set(xlabel="standard deviation of the shortfall, bps", ylabel="expected cost, bps")
    axis.set_title(f"{plain_label(found.scenario.name)}: cost against risk ({found.episodes:,} episodes)", fontsize=11)
    axis.grid(color="#eee")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return picture_of(figure, path)
