"""Costs of the executions of a blotter by venue: effective spread, markouts and fees, means weighted by notional."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.data.blotter import Blotter

from .instrument import Instrument
from .order_costs import MEASURES, Settings, fill_markouts, fill_spreads, fills_of

__all__ = ["VENUE_MEASURES", "VenueCosts", "add_costs", "cost_venues", "venue_table"]

VENUE_MEASURES: Final = tuple(
    name for name in MEASURES if name.startswith("markout_") or name in ("effective_spread_bps", "realised_spread_bps")
)
"""Measures of a fill that have a mean by venue; :data:`~hyperexec_env.baselines.order_costs.MEASURES` defines them."""
_SHOWN: Final = ("effective_spread_bps", "markout_1m_bps", "markout_5m_bps", "markout_30m_bps")


class VenueCosts(NamedTuple):
    """Executions in one venue."""

    fills: int
    shares: float
    notional: float
    """Sum of shares times price, in the currency of the report."""
    fees: float
    """Fees, in the currency of the report; negative: rebates."""
    sums: Mapping[str, tuple[float, float]]
    """Sum of value times notional, and of the notional of the fills with a value, of each of :data:`VENUE_MEASURES`."""

    def mean(self, name: str) -> float:
        """Return the mean of a measure, bps, weighted by notional; NaN if no fill has it."""
        total, weight = self.sums[name]
        return total / weight if weight else math.nan

    @property
    def fees_bps(self) -> float:
        """Fees, bps of the notional."""
        return 1e4 * self.fees / self.notional

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None for unknown values."""
        means = {name: self.mean(name) for name in VENUE_MEASURES}
        known = {name: value if math.isfinite(value) else None for name, value in means.items()}
        return {**{name: getattr(self, name) for name in ("fills", "shares", "notional", "fees", "fees_bps")}, **known}


def cost_venues(
    blotter: Blotter, instrument: Instrument, settings: Settings | None = None, rate: float = 1.0
) -> dict[str, VenueCosts]:
    """Return the costs of the executions of one instrument by venue; none if the blotter has no venues.

    Args:
        blotter: Its executions.
        instrument: Its market.
        settings: Fees, where the blotter holds none.
        rate: Units of the currency of the report for one unit of that of the instrument.
    """
    if "venue" not in blotter.provenance.columns:
        return {}
    fills, held = fills_of(blotter, blotter.venue.at, instrument)
    values = fill_markouts(fills, instrument)
    if instrument.quotes is not None:
        values |= fill_spreads(fills, instrument)
    fee = blotter.fee if blotter.fee is not None else (settings or Settings()).fees(fills.quantity, fills.price)
    notional = rate * fills.quantity * fills.price
    found = {}
    for at in np.unique(blotter.venue.at).tolist():
        mine = blotter.venue.at == at
        sums = {}
        for name in VENUE_MEASURES:
            value = values.get(name, np.full(len(fee), np.nan))
            good = mine & held & np.isfinite(value)
            sums[name] = float(1e4 * (notional[good] @ value[good])), float(notional[good].sum())
        found[blotter.venue.words[at] or "not given"] = VenueCosts(
            int(mine.sum()), float(fills.quantity[mine].sum()), float(notional[mine].sum()), float(rate * fee[mine].sum()), sums
        )
    return found


def add_costs(first: Mapping[str, VenueCosts], second: Mapping[str, VenueCosts]) -> dict[str, VenueCosts]:
    """Return the costs by venue of two instruments together."""
    found = dict(first)
    for venue, costs in second.items():
        if venue in found:
            costs = _sum(found[venue], costs)
        found[venue] = costs
    return found


def _sum(first: VenueCosts, second: VenueCosts) -> VenueCosts:
    """Return the costs of two parts of the executions in one venue."""
    sums = {name: (total + second.sums[name][0], weight + second.sums[name][1]) for name, (total, weight) in first.sums.items()}
    return VenueCosts(
        fills=first.fills + second.fills,
        shares=first.shares + second.shares,
        notional=first.notional + second.notional,
        fees=first.fees + second.fees,
        sums=sums,
    )


def venue_table(venues: Mapping[str, VenueCosts]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table by venue, the largest notional first."""
    total = sum(costs.notional for costs in venues.values())
    rows = [
        [
            venue,
            f"{costs.fills:,}",
            f"{costs.notional:,.0f}",
            f"{100.0 * costs.notional / total:.1f}",
            *(f"{mean:+,.2f}" if math.isfinite(mean := costs.mean(name)) else "-" for name in _SHOWN),
            f"{costs.fees_bps:+,.3f}",
        ]
        for venue, costs in sorted(venues.items(), key=lambda item: -item[1].notional)
    ]
    measures = ["effective spread", *(name[:-4].replace("_", " ") for name in _SHOWN[1:])]
    return ["venue", "fills", "notional", "of all %", *measures, "fees bps"], rows
