"""The optimum of the linearised market: linear temporary impact, with the marginal cost of the market's own, in its place.

A concave temporary impact alpha sigma (n/V)^beta has no closed solution; with alpha' sigma (n/V) the coupled Riccati recursions
(:mod:`.linear`) solve the market in milliseconds, with any number of regimes. alpha' makes the marginal costs equal, weighted
by the traded shares, along the mean schedule of the solution before: 2 alpha' <p> = alpha (1 + beta) <p^beta>, from the
participation p = X / V of the whole order. Two iterations are enough: a third one changes costs by less than 0.2 %.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.scenario import UNKNOWNS, Scenario
from hyperexec_env.market.tables import Market, market_of

from .linear import solve_linear

__all__ = ["linearised_gains"]

Floats = NDArray[np.float64]
_ITERATIONS: Final = 2


@lru_cache(maxsize=64)
def linearised_gains(market: Market) -> Floats:
    """Return the gains of the trade of the linearised market on (remaining, displacement, signal, 1).

    The units are those of :class:`~.linear.Riccati`. The linearised market has no participation cap, no volume level, no
    persistence of volume and no predator, and completes the order; with an arithmetic price it has no price risk, with a
    geometric one no persistence of the order flow.

    Returns:
        Shape (slices + 1, regimes + 1, 4): the last column holds the mean over the distribution of the regime in the slice, for
        a policy that does not observe it; the last row, for the end of the order, is zero.

    Raises:
        ValueError: The market has neither impact nor risk that would make the objective convex.
    """
    scenario, laws = market.scenario, market.laws
    volume = market.mean_volume[:-1, market.unknown]
    beta = scenario.temp_impact_beta
    traded = volume / volume.sum()  # the schedule of the first linearisation: in proportion to the volume
    for _ in range(_ITERATIONS):
        pace = traded * scenario.quantity / volume
        factor = 0.5 * (1.0 + beta) * (traded @ pace**beta) / (traded @ pace)
        gains = solve_linear(market_of(_linear(scenario, factor))).gains
        traded = _mean_schedule(market, np.einsum("km,kmi->ki", laws, gains), laws)
    filled = np.zeros((market.slices + 1, market.regimes + 1, gains.shape[2]))
    filled[:-1, :-1], filled[:-1, -1] = gains, np.einsum("km,kmi->ki", laws, gains)
    filled.flags.writeable = False
    return filled


def _linear(scenario: Scenario, factor: float) -> Scenario:
    """Return a scenario with linear temporary impact, and without what the Riccati recursions do not take."""
    plain: dict[str, Any] = dict.fromkeys((*UNKNOWNS, "volume_persistence", "predator"), 0.0)
    plain["flow_persistence" if scenario.price_model == "gbm" else "price_risk"] = 0.0
    return replace(
        scenario,
        temp_impact_beta=1.0,
        temp_impact_alpha=scenario.temp_impact_alpha * factor,
        transient_exponent=1.0,
        max_participation=None,
        complete=True,
        posterior=None,
        **plain,
    )


def _mean_schedule(market: Market, gains: Floats, laws: Floats) -> Floats:
    """Return the fractions of the order that gains trade on the mean path, floored at 1e-6, shape (slices,)."""
    slope = market.impact.transient_slope * market.scenario.quantity / market.scenario.arrival_price
    left, displaced, traded = 1.0, 0.0, np.empty(market.slices)
    for k, (gain, decay) in enumerate(zip(gains, laws @ market.transient_decay, strict=True)):
        trade = min(max(float(gain[0] * left + gain[1] * displaced + gain[3]), 0.0), left)
        left, displaced, traded[k] = left - trade, (displaced + slope * trade) * float(decay), trade
    return np.maximum(traded, 1e-6)
