r"""A market whose unknowns are given numbers: the market of one draw, for a trader who knows the draw.

The fields of :data:`~hyperexec_env.market.scenario.UNKNOWNS` are the spreads of the priors. Each episode draws the number of an
unknown (:mod:`~hyperexec_env.market.unknown`), which has the name of the field here:

    volume_level_sd   v   volume over its expectation             log v ~ N(-s0^2 / 2, s0^2)
    drift_sd          mu  drift added to that of the regime       mu ~ N(0, nu^2), fraction of the arrival price a day
    temp_impact_sd    f   temporary impact over its mean          1 - s or 1 + s
    kyle_sd           l   Kyle's lambda of the flow of others     l ~ N(1, q^2), over that of the scenario

Of the cost of our own trades beyond the unaffected price, v and f move the temporary part, which is proportional to f v^-beta,
and v moves a transient impact whose exponent is not 1. mu moves the unaffected price, and l scales the flow of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import Any, Final, NamedTuple

from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market

__all__ = ["PRIORS", "TAIL", "Prior", "described", "prior_ends", "told_market"]

TAIL: Final = 0.001
"""Probability beyond either end of a normal prior."""
_FAR: Final = NormalDist().inv_cdf(1.0 - TAIL)


class Prior(NamedTuple):
    """The prior of the number of an unknown."""

    name: str
    """The unknown, in words."""
    shown: str
    """Format of the unknown with its number."""
    ends: Callable[[float], tuple[float, float]]
    """Lowest and highest number by the spread: the quantiles .001 and .999, or the two values of a prior of two values."""
    costs: int
    """Sign of the change of the temporary cost of our own trades as the number rises; 0: the number moves no cost of them."""


PRIORS: Final[Mapping[str, Prior]] = {
    "volume_level_sd": Prior(
        name="volume level",
        shown="volume {:.4g} x its mean",
        ends=lambda sd: (math.exp(-_FAR * sd - 0.5 * sd * sd), math.exp(_FAR * sd - 0.5 * sd * sd)),
        costs=-1,
    ),
    "drift_sd": Prior(
        name="drift",
        shown="drift {:+.4g} a day",
        ends=lambda sd: (-_FAR * sd, _FAR * sd),
        costs=0,
    ),
    "temp_impact_sd": Prior(
        name="temporary impact",
        shown="temporary impact {:.4g} x its mean",
        ends=lambda sd: (1.0 - sd, 1.0 + sd),
        costs=1,
    ),
    "kyle_sd": Prior(
        name="Kyle's lambda",
        shown="Kyle's lambda of others {:.4g} x its mean",
        ends=lambda sd: (1.0 - _FAR * sd, 1.0 + _FAR * sd),
        costs=0,
    ),
}
"""Prior of each unknown, by the field of its spread."""


def prior_ends(scenario: Scenario) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest number of each unknown of a scenario, see :attr:`Prior.ends`."""
    return {name: PRIORS[name].ends(spread) for name, spread in scenario.unknown.items()}


def described(told: Mapping[str, float]) -> str:
    """Return numbers of unknowns in words, such as "volume 4.138 x its mean and temporary impact 0.4 x its mean"."""
    return " and ".join(PRIORS[name].shown.format(value) for name, value in told.items())


def told_market(scenario: Scenario, told: Mapping[str, float]) -> Market:
    """Return the market of a scenario in which some unknowns are known numbers; the other unknowns stay unknown.

    The scenario of the market states drift and temporary impact as they are told, but not the volume, which its tables hold.

    Args:
        scenario: The scenario.
        told: Number of each unknown that is told, by the field of its spread.

    Raises:
        ValueError: A number leads out of the range of the field of the scenario that it moves.
    """
    changes: dict[str, Any] = dict.fromkeys(told, 0.0)
    if "temp_impact_sd" in told:
        changes["temp_impact_alpha"] = told["temp_impact_sd"] * scenario.temp_impact_alpha
    if "drift_sd" in told:
        drift = tuple(mean + told["drift_sd"] for mean in scenario.regimes.drift)
        changes["regimes"] = replace(scenario.regimes, drift=drift)
    market = build_market(replace(scenario, **changes) if told else scenario)
    if "volume_level_sd" not in told:
        return market
    factor = told["volume_level_sd"]
    return replace(market, mean_volume=market.mean_volume * factor, rest_volume=market.rest_volume * factor)
