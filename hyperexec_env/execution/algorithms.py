"""Execution algorithms: TWAP, VWAP, IS, AC, POV and Adaptive, each a schedule for the remaining shares of an order.

An algorithm maps an :class:`Outlook` to weights that sum to one. To add one, write the function and add it to
:data:`ALGORITHMS`. The :class:`~hyperexec_env.execution.agent.ExecutionAgent` and the leaderboard's baselines share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.checks import check_choice
from hyperexec_env.execution import schedules
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.market.tables import Market

__all__ = ["ADAPTIVE", "ALGORITHMS", "POV", "Outlook", "algorithm_names", "check_algorithm", "market_outlook", "resolve"]

ADAPTIVE: Final = "Adaptive"
"""The algorithm that depends on the regime: it delegates to IS or TWAP; see :func:`resolve`."""
POV: Final = "POV"
"""Percentage of volume: the agent sizes each child at its release, from the market volume at that time."""
_FRONT_LOADED: Final = ("BULL_TRENDING", "SIDEWAYS_LOW", "RECOVERY")
_STRESSED: Final = ("CRISIS", "SIDEWAYS_HIGH")


class Outlook(NamedTuple):
    """The inputs of an algorithm: what the desk knows when it plans the remaining shares of an order."""

    intervals: int
    """Number of equal intervals until the deadline."""
    urgency: float = 0.5
    """0 (equal slices) to 1 (front-loaded)."""
    volumes: Sequence[float] | Weights = ()
    """Expected market volume of each interval, relative; empty: flat."""
    rate: float = 0.0
    """Urgency kappa tau of Almgren and Chriss (2000); see :func:`~hyperexec_env.execution.schedules.almgren_chriss_rate`."""


def market_outlook(market: Market, urgency: float) -> Outlook:
    """Return the outlook of a market at the arrival of an order, with one interval per slice and the regime unknown.

    The rate of Almgren and Chriss (2000) supposes a constant risk: that of the mean of c_k^2 over the order.
    """
    scenario, volume = market.scenario, market.mean_volume[:-1, market.unknown]
    rate = schedules.almgren_chriss_rate(
        quantity=scenario.quantity,
        slices=market.slices,
        volume=float(volume.sum()),
        volatility=scenario.volatility * scenario.arrival_price,
        alpha=scenario.temp_impact_alpha,
        beta=scenario.temp_impact_beta,
        risk_aversion=scenario.risk_aversion * float(np.mean(market.volatility_profile**2)),
        tau=market.tau,
    )
    return Outlook(market.slices, urgency, volume, rate)


ALGORITHMS: Final[dict[str, Callable[[Outlook], Weights]]] = {
    "TWAP": lambda outlook: schedules.twap(outlook.intervals),
    "VWAP": lambda outlook: schedules.vwap(outlook.volumes, outlook.intervals),
    "IS": lambda outlook: schedules.exponential(outlook.intervals, outlook.urgency),
    "AC": lambda outlook: schedules.almgren_chriss(outlook.intervals, outlook.rate),
    POV: lambda outlook: schedules.vwap(outlook.volumes, outlook.intervals),
}
"""Schedule of each algorithm. AC is IS with the sinh schedule of Almgren and Chriss (2000) in place of the exponential one."""


def algorithm_names() -> tuple[str, ...]:
    """Return the names of the algorithms; :data:`ADAPTIVE` comes last."""
    return (*ALGORITHMS, ADAPTIVE)


def check_algorithm(field: str, name: Any) -> str:
    """Return the name of an algorithm; raise ValueError and name the nearest one if it is unknown."""
    return check_choice(field, name, algorithm_names())


def resolve(algorithm: str, regime: str, intervals: int) -> tuple[str, int]:
    """Return the algorithm that plans in a regime, and its number of intervals.

    Only :data:`ADAPTIVE` depends on the regime: IS in BULL_TRENDING, SIDEWAYS_LOW and RECOVERY; TWAP with 20 children in CRISIS
    and SIDEWAYS_HIGH; TWAP with 10 otherwise.
    """
    if algorithm != ADAPTIVE:
        return algorithm, intervals
    if regime in _FRONT_LOADED:
        return "IS", intervals
    return "TWAP", 20 if regime in _STRESSED else 10
