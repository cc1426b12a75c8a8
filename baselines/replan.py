"""Replanning: the optimal policy of a market whose unknowns are what is believed of them now.

The policy learns what its observations tell, and acts as if it were certain. Temporary impact is the product of its slope and a
power of the volume, so that both beliefs are one number, the mean of

    a exp(-b (L - s^2 / 2))     a the slope over that of the scenario, L ~ N(m, P) the log level of the volume, b the exponent

which is E[a] exp(b (s^2 / 2 - m) + b^2 P / 2). The trades are interpolated between the optimal policies of some such numbers.
A belief on which the solver can plan, as it learns, stays a state of these policies.

Three policies err in what they believe, and must lose to `replan`: :data:`MISLED`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import Policy, check_fit
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market

__all__ = ["MISLED", "Believer", "Prober", "Replan", "Stubborn", "believed_impact", "evidence", "replaced"]

Floats = NDArray[np.float64]

_SLOPES: Final = 5
"""Temporary impacts between whose optimal policies the trades are interpolated where the volume level is not replaced."""
_RATIO: Final = 0.3
"""Largest difference of the logs of two neighbouring temporary impacts where it is."""
_REACH: Final = 4.0
"""Standard deviations of the log level on each side of its mean that the temporary impacts span."""
_PROBE: Final = 3.0
"""Pace of the prober in its first slices, over that of `replan`."""
_PROBED: Final = 8
"""The first slice of so many is probed, at least one."""
_CONVINCED: Final = 4.0
"""Temporary impact of the stubborn policy over the mean of the prior."""


class Replan:
    """The optimal policy for the temporary impact, and if need be the volume level, that is believed now."""

    name = "replan"
    replaces_level: ClassVar[bool] = False
    """Whether the volume level is replaced even where the solver can plan on the belief about it."""

    def unfit(self, market: Market) -> str:
        """Return why a market is not solved exactly where the replaced unknowns are known; "" if it is."""
        from .solver.problem import not_solved  # a lazy import keeps the solver off the path of runs without it

        if replaced(market, self.replaces_level) is not None:
            return ""
        return not_solved(build_market(replace(market.scenario, temp_impact_sd=0.0)), " where the temporary impact is known")

    def act(self, situation: Situation) -> Any:
        """Return the shares that are optimal at the mean of the belief."""
        impacts, policies = _by_impact(situation.market.scenario, self.replaces_level)
        trades = np.array([policy.act(situation) for policy in policies])
        believed = believed_impact(situation, self.replaces_level)
        place = np.interp(np.asarray(believed), impacts, np.arange(len(impacts)))
        below = np.minimum(place.astype(int), len(impacts) - 2) if len(impacts) > 1 else np.zeros(place.shape, int)
        above, weight = np.minimum(below + 1, len(impacts) - 1), place - below
        columns = np.arange(trades.shape[1]) if trades.ndim > 1 else ...
        one, other = (trades[at, columns] if trades.ndim > 1 else trades[at] for at in (below, above))
        return (1.0 - weight) * one + weight * other


class _Misled(Replan):
    """`replan` with an error, where something is unknown."""

    def unfit(self, market: Market) -> str:
        """Return why a market has nothing to learn, or is not solved exactly; "" if neither."""
        return _nothing_unknown(market) or super().unfit(market)


class Prober(_Misled):
    """`replan`, which first trades three times as fast in order to learn its temporary impact sooner."""

    name = "prober"

    def act(self, situation: Situation) -> Any:
        """Return the shares, at most those that remain."""
        pace = _PROBE if situation.k < max(1, situation.market.slices // _PROBED) else 1.0
        return np.minimum(pace * super().act(situation), situation.remaining)


class Believer(_Misled):
    """`replan`, which takes the evidence of the last slice for the truth.

    The evidence of a slice is what moved a belief: (m' / P' - m / P) / (1 / P' - 1 / P) for a normal belief whose mean and
    variance moved from (m, P) to (m', P'); of two temporary impacts, the one whose probability rose.
    """

    name = "believer"
    replaces_level = True

    def __init__(self) -> None:
        """Start without a slice."""
        self._before: Situation | None = None

    def act(self, situation: Situation) -> Any:
        """Return the shares that are optimal if the last slice told the truth."""
        before, self._before = self._before, situation
        if before is None or not situation.k:
            return super().act(situation)
        spread = situation.market.scenario.temp_impact_sd
        changed = {name: evidence(before, situation, name) for name in ("level", "drift")}
        slope = 1.0 + spread * np.sign(np.asarray(situation.slope_mean) - before.slope_mean)
        return super().act(
            situation._replace(level_mean=changed["level"], drift_mean=changed["drift"], slope_mean=slope, level_variance=0.0)
        )


class Stubborn:
    """The optimal policy of four times the temporary impact of the prior, whatever the episode shows."""

    name = "stubborn"

    def unfit(self, market: Market) -> str:
        """Return why a market has nothing to learn, or is not solved exactly if its unknowns are known; "" if neither."""
        from .solver.problem import not_solved  # lazy as above

        return _nothing_unknown(market) or not_solved(build_market(_convinced(market.scenario)))

    def act(self, situation: Situation) -> Any:
        """Return the shares."""
        return _stubborn(situation.market.scenario).act(situation)


MISLED: Final = (Prober, Believer, Stubborn)
"""Policies that must lose to `replan` where something is unknown."""


def _nothing_unknown(market: Market) -> str:
    """Return that a market has no unknown; "" if it has one."""
    return "" if market.scenario.unknown else "it needs a scenario with unknowns, of which there is none"


def evidence(before: Situation, after: Situation, name: str) -> Any:
    """Return the observation that moved a normal belief, or its mean where none did."""
    means, variances = ([np.asarray(getattr(s, f"{name}_{part}")) for s in (before, after)] for part in ("mean", "variance"))
    with np.errstate(divide="ignore", invalid="ignore"):
        precise, more = 1.0 / variances[0], 1.0 / variances[1]
        seen = (means[1] * more - means[0] * precise) / (more - precise)
    return np.where(np.isfinite(seen), seen, means[1])


def _convinced(scenario: Scenario) -> Scenario:
    """Return the scenario with four times the temporary impact, and no unknown."""
    known = dict.fromkeys(scenario.unknown, 0.0)
    return replace(scenario, **known, temp_impact_alpha=_CONVINCED * scenario.temp_impact_alpha)  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def _stubborn(scenario: Scenario) -> Policy:
    """Return the optimal policy of :func:`_convinced`."""
    from .solver.best import best_of  # lazy as above

    market = build_market(scenario)
    check_fit(Stubborn(), market)
    return best_of(build_market(_convinced(scenario))).policy


def replaced(market: Market, level: bool = False) -> dict[str, float] | None:
    """Return the fields of unknowns that replanning sets to zero; None where the rest is not solved exactly then.

    With a cap, the volume level moves more than the temporary impact.

    Args:
        market: The market.
        level: Whether the volume level is among them even where the solver can plan on the belief about it.
    """
    from .solver.problem import unsolved  # lazy as above

    slope = {"temp_impact_sd": 0.0}
    both = {**slope, "volume_level_sd": 0.0}
    choices = [slope] if market.numbers.spec.capped else [both] if level else [slope, both]
    solved = (known for known in choices if not unsolved(build_market(replace(market.scenario, **known))))  # type: ignore[arg-type]
    return next(solved, None)


def believed_impact(situation: Situation, level: bool = False) -> Any:
    """Return the mean of the belief about the temporary impact, over that of the scenario at the mean volume."""
    scenario = situation.market.scenario
    if "volume_level_sd" not in _replaced(scenario, level):
        return situation.slope_mean
    beta, prior = scenario.temp_impact_beta, scenario.volume_level_sd**2
    log = beta * (0.5 * prior - situation.level_mean) + 0.5 * beta * beta * situation.level_variance
    return situation.slope_mean * np.exp(log)


@lru_cache(maxsize=8)
def _replaced(scenario: Scenario, level: bool) -> dict[str, float]:
    """Return :func:`replaced` of a scenario.

    Raises:
        ValueError: The scenario is not solved exactly where the replaced unknowns are known.
    """
    market = build_market(scenario)
    known = replaced(market, level)
    if known is None:
        raise ValueError(f"policy {Replan.name!r} cannot trade {scenario.name}: {Replan().unfit(market)}")
    return known


@lru_cache(maxsize=8)
def _by_impact(scenario: Scenario, level: bool) -> tuple[Floats, list[Policy]]:
    """Return temporary impacts over the mean of the scenario, and the optimal policy of each."""
    from .solver.best import best_of  # lazy as above

    known, spread = _replaced(scenario, level), scenario.temp_impact_sd
    if "volume_level_sd" in known:
        beta, sd = scenario.temp_impact_beta, scenario.volume_level_sd
        low = math.log(1.0 - spread) + beta * (0.5 * sd * sd - _REACH * sd)
        high = math.log(1.0 + spread) + beta * (0.5 * (1.0 + beta) * sd * sd + _REACH * sd)
        impacts = np.exp(np.linspace(low, high, 1 + math.ceil((high - low) / _RATIO)))
    else:
        impacts = np.linspace(1.0 - spread, 1.0 + spread, _SLOPES) if spread else np.ones(1)
    scaled = (replace(scenario, **known, temp_impact_alpha=x * scenario.temp_impact_alpha) for x in impacts.tolist())  # type: ignore[arg-type]
    return impacts, [best_of(build_market(one)).policy for one in scaled]
