"""Replanning: the optimal policy of a market whose unknowns are what is believed of them now.

The policy learns what its observations tell, and acts as if it were certain. Temporary impact is the product of its slope and a
power of the volume, so that both beliefs are one number, the mean of

    a exp(-b (L - s^2 / 2))     a the slope over that of the scenario, L ~ N(m, P) the log level of the volume, b the exponent

which is E[a] exp(b (s^2 / 2 - m) + b^2 P / 2). The trades are interpolated between the optimal policies of some such numbers.
A belief on which the solver can plan, as it learns, stays a state of these policies.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import Policy, check_fit
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market

__all__ = ["Replan", "believed_impact", "replaced"]

Floats = NDArray[np.float64]

_SLOPES: Final = 5
"""Temporary impacts between whose optimal policies the trades are interpolated where the volume level is not replaced."""
_RATIO: Final = 0.3
"""Largest difference of the logs of two neighbouring temporary impacts where it is."""
_REACH: Final = 4.0
"""Standard deviations of the log level on each side of its mean that the temporary impacts span."""


class Replan:
    """The optimal policy for the temporary impact, and if need be the volume level, that is believed now."""

    name = "replan"

    def unfit(self, market: Market) -> str:
        """Return why a market is not solved exactly where the replaced unknowns are known; "" if it is."""
        from .solver.problem import not_solved  # a lazy import keeps the solver off the path of runs without it

        if replaced(market) is not None:
            return ""
        return not_solved(build_market(replace(market.scenario, temp_impact_sd=0.0)), " where the temporary impact is known")

    def act(self, situation: Situation) -> Any:
        """Return the shares that are optimal at the mean of the belief."""
        scenario = situation.market.scenario
        impacts, policies = _by_impact(scenario)
        trades = np.array([policy.act(situation) for policy in policies])
        place = np.interp(np.asarray(believed_impact(situation)), impacts, np.arange(len(impacts)))
        below = np.minimum(place.astype(int), len(impacts) - 2) if len(impacts) > 1 else np.zeros(place.shape, int)
        above, weight = np.minimum(below + 1, len(impacts) - 1), place - below
        columns = np.arange(trades.shape[1]) if trades.ndim > 1 else ...
        one, other = (trades[at, columns] if trades.ndim > 1 else trades[at] for at in (below, above))
        return (1.0 - weight) * one + weight * other


def replaced(market: Market) -> dict[str, float] | None:
    """Return the fields of unknowns that replanning sets to zero; None where the rest is not solved exactly then.

    With a cap, the volume level moves more than the temporary impact.
    """
    from .solver.problem import unsolved  # lazy as above

    slope = {"temp_impact_sd": 0.0}
    choices = (slope,) if market.numbers.spec.capped else (slope, {**slope, "volume_level_sd": 0.0})
    solved = (known for known in choices if not unsolved(build_market(replace(market.scenario, **known))))  # type: ignore[arg-type]
    return next(solved, None)


def believed_impact(situation: Situation) -> Any:
    """Return the mean of the belief about the temporary impact, over that of the scenario at the mean volume."""
    scenario = situation.market.scenario
    if "volume_level_sd" not in _replaced(scenario):
        return situation.slope_mean
    beta, prior = scenario.temp_impact_beta, scenario.volume_level_sd**2
    level = beta * (0.5 * prior - situation.level_mean) + 0.5 * beta * beta * situation.level_variance
    return situation.slope_mean * np.exp(level)


@lru_cache(maxsize=8)
def _replaced(scenario: Scenario) -> dict[str, float]:
    """Return :func:`replaced` of a scenario.

    Raises:
        ValueError: The scenario is not solved exactly where the replaced unknowns are known.
    """
    market = build_market(scenario)
    check_fit(Replan(), market)
    known = replaced(market)
    assert known is not None  # noqa: S101 - the line before raises
    return known


@lru_cache(maxsize=8)
def _by_impact(scenario: Scenario) -> tuple[Floats, list[Policy]]:
    """Return temporary impacts over the mean of the scenario, and the optimal policy of each."""
    from .solver.best import best_of  # lazy as above

    known, spread = _replaced(scenario), scenario.temp_impact_sd
    if "volume_level_sd" in known:
        beta, sd = scenario.temp_impact_beta, scenario.volume_level_sd
        low = math.log(1.0 - spread) + beta * (0.5 * sd * sd - _REACH * sd)
        high = math.log(1.0 + spread) + beta * (0.5 * (1.0 + beta) * sd * sd + _REACH * sd)
        impacts = np.exp(np.linspace(low, high, 1 + math.ceil((high - low) / _RATIO)))
    else:
        impacts = np.linspace(1.0 - spread, 1.0 + spread, _SLOPES) if spread else np.ones(1)
    scaled = (replace(scenario, **known, temp_impact_alpha=x * scenario.temp_impact_alpha) for x in impacts.tolist())  # type: ignore[arg-type]
    return impacts, [best_of(build_market(one)).policy for one in scaled]
