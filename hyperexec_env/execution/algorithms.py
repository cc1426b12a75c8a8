"""The algorithms of the desk: how each cuts what remains of an order into intervals.

An algorithm is one function from an :class:`Outlook` to weights that sum to one; a new one is a function and a line in
:data:`ALGORITHMS`. The :class:`~hyperexec_env.execution.agent.ExecutionAgent` and the leaderboard's baselines use the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_choice
from hyperexec_env.execution import schedules
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.market.model import Market

__all__ = ["ADAPTIVE", "ALGORITHMS", "POV", "Outlook", "algorithm_names", "check_algorithm", "market_outlook", "resolve"]

ADAPTIVE: Final = "Adaptive"
"""The algorithm that follows the regime: it is one of the others at any time."""
POV: Final = "POV"
"""Percentage of volume: its children are sized when they are released, by the volume that the market has then."""
_FRONT_LOADED: Final = ("BULL_TRENDING", "SIDEWAYS_LOW", "RECOVERY")
_CAREFUL: Final = ("CRISIS", "SIDEWAYS_HIGH")


class Outlook(NamedTuple):
    """What an algorithm may know when it plans what remains of an order."""

    intervals: int
    """Number of equal intervals until the deadline."""
    urgency: float = 0.5
    """0 (equal slices) to 1 (front-loaded)."""
    volumes: Sequence[float] | Weights = ()
    """Expected market volume of each interval, relative numbers; empty: flat."""
    rate: float = 0.0
    """Urgency kappa tau of Almgren and Chriss (2000); see :func:`~hyperexec_env.execution.schedules.almgren_chriss_rate`."""


def market_outlook(market: Market, urgency: float) -> Outlook:
    """Return what the desk knows of a market when an order arrives, one interval for each slice."""
    scenario, volume = market.scenario, market.mean_volume[:-1, market.unknown]
    rate = schedules.almgren_chriss_rate(
        quantity=scenario.quantity,
        slices=market.slices,
        volume=float(volume.sum()),
        volatility=scenario.volatility * scenario.arrival_price,
        alpha=scenario.temp_impact_alpha,
        beta=scenario.temp_impact_beta,
        risk_aversion=scenario.risk_aversion,
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
"""The algorithms that plan. AC is IS with the exact sinh shape of Almgren and Chriss (2000) instead of the exponential one."""


def algorithm_names() -> tuple[str, ...]:
    """Return the names of the algorithms, :data:`ADAPTIVE` the last."""
    return (*ALGORITHMS, ADAPTIVE)


def check_algorithm(field: str, name: Any) -> str:
    """Return the name of an algorithm, or raise ValueError that names the nearest one."""
    return check_choice(field, name, algorithm_names())


def resolve(algorithm: str, regime: str, intervals: int) -> tuple[str, int]:
    """Return the algorithm to plan by in a regime, and into how many intervals.

    Only :data:`ADAPTIVE` follows the regime: IS in BULL_TRENDING, SIDEWAYS_LOW and RECOVERY; TWAP with 20 children in CRISIS
    and SIDEWAYS_HIGH; TWAP with 10 otherwise.
    """
    if algorithm != ADAPTIVE:
        return algorithm, intervals
    if regime in _FRONT_LOADED:
        return "IS", intervals
    return "TWAP", 20 if regime in _CAREFUL else 10
