"""Learn the impact of a market across the orders of a desk: prior scenario and executions to a posterior scenario."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperexec_env.data.blotter import Blotter
from hyperexec_env.data.format import Format
from hyperexec_env.data.learned import NAMES, Evidence, learned_scenario
from hyperexec_env.data.sources import Data
from hyperexec_env.data.tables import Bars, Book, Quotes, Trades
from hyperexec_env.data.temporary import Orders
from hyperexec_env.market.belief import LEVEL, Normal, interval
from hyperexec_env.market.prior import Moments
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario

from .measure import orders_of

__all__ = ["Learned", "Row", "learn", "learn_orders"]

_UNITS = {
    "alpha": "temporary impact at a participation of one, daily volatilities",
    "gamma": "permanent impact, arrival prices for one ADV",
    "kappa": "transient impact, arrival prices for one ADV",
}
_LARGE = 1.2
"""Size of the residuals above which a report warns."""
_FAR = 3.0
"""Change in standard deviations of the prior above which a report warns."""


@dataclass(frozen=True)
class Row:
    """One number before and after the orders."""

    name: str
    prior: float
    """Mean before."""
    prior_sd: float
    """Standard deviation before."""
    mean: float
    sd: float
    """Standard deviation after."""
    low: float
    """Lower end of the 90 % interval after the orders."""
    high: float


@dataclass(frozen=True)
class Learned:
    """The scenario after the orders of a desk; ``print`` shows what they changed."""

    prior: Scenario
    scenario: Scenario
    """The posterior: its numbers are the means, and its draws have their standard deviations."""
    before: Moments
    after: Moments
    evidence: Evidence
    orders: Orders

    @property
    def rows(self) -> tuple[Row, ...]:
        """Alpha, gamma and kappa before and after."""
        errors, now = np.sqrt(np.diag(self.before.covariance)), np.diag(self.after.covariance)
        found = []
        for at, name in enumerate(NAMES):
            mean, variance = float(self.after.mean[at]), float(now[at])
            low, high = interval(Normal(mean, variance))
            numbers = float(self.before.mean[at]), float(errors[at]), mean, math.sqrt(variance)
            found.append(Row(name, *numbers, max(low, 0.0), high))
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on the orders and on what the update supposes."""
        start, end = self.orders.start, self.orders.start + (1e9 * self.orders.seconds).astype(np.int64)
        overlapping = int((start[1:] < np.maximum.accumulate(end)[:-1]).sum()) if len(start) > 1 else 0
        scale = self.evidence.scale(self.after.mean)
        notes = [f"{count:,} orders left out: {reason}" for reason, count in self.orders.left_out.items()]
        notes += [*self.orders.sources, f"prior: {self.before.source}"]
        notes += [f"residuals are {scale:.2f} of what the volatility {self.scenario.volatility:g} of the prior explains"]
        if scale > _LARGE:
            notes.append("WARNING: the residuals are larger than the volatility explains, so that the intervals are too narrow")
        for row in self.rows:
            moved = abs(row.mean - row.prior)
            if moved > _FAR * row.prior_sd:
                notes.append(
                    f"WARNING: {row.name} moved by {moved / row.prior_sd:.1f} standard deviations of the prior, which is too "
                    "sure of itself for this desk; give a wider one (--impact-sd)"
                )
        if overlapping:
            notes.append(
                f"WARNING: {overlapping:,} orders begin before an earlier one ends; they share moves of the price and count as "
                "independent, so that the intervals are too narrow"
            )
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "prior": self.prior.name,
            "prior_hash": self.prior.hash,
            "orders": len(self.orders.cost),
            "days": len(np.unique(self.orders.day)),
            "interval": LEVEL,
            "learned": [vars(row) for row in self.rows],
            "residual_scale": self.evidence.scale(self.after.mean),
            "notes": list(self.notes),
            "scenario": self.scenario.to_dict(),
        }

    def __str__(self) -> str:
        """Return the numbers before and after as text."""
        orders, days = len(self.orders.cost), len(np.unique(self.orders.day))
        lines = [f"{self.prior.name} ({self.prior.hash}) after {orders:,} own orders of {days} sessions"]
        lines += [
            f"  {row.name:<6} {row.mean:.4g} +- {row.sd:.2g} [{row.low:.4g}, {row.high:.4g}]; "
            f"prior {row.prior:.4g} +- {row.prior_sd:.2g}; {_UNITS[row.name]}"
            for row in self.rows
        ]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def learn(
    fills: Data | Blotter,
    prior: ScenarioLike,
    source: Trades | Book | None = None,
    quotes: Quotes | None = None,
    bars: Bars | None = None,
    *,
    format: Format | None = None,
    fills_format: Format | None = None,
    impact_sd: float | None = None,
    name: str = "",
) -> Learned:
    """Update temporary, permanent and transient impact of a scenario by the executions of a desk in one instrument.

    Args:
        fills: Executions of the desk, see :func:`~hyperexec_env.data.blotter.read_blotter`.
        prior: The scenario before: a name, a dict, a file or a scenario. Its draws are the prior of the fields that they hold.
        source: Trades of the market, or a limit order book.
        quotes: The best bids and offers.
        bars: Bars of the market.
        format: Calendar and hours.
        fills_format: How to read the executions (default: `format` without its layout, columns and stamp).
        impact_sd: Standard deviation of impact over its mean, in place of the prior's draws; None: the draws, 0.5 without.
        name: Name of the posterior scenario (default: that of the prior).

    Raises:
        ValueError: The executions are of several instruments or do not fit the market, no order can be compared with it, or the
            prior has no volatility.
    """
    orders = orders_of(fills, source, quotes, bars, format=format, fills_format=fills_format)
    return learn_orders(orders, prior, impact_sd=impact_sd, name=name)


def learn_orders(orders: Orders, prior: ScenarioLike, *, impact_sd: float | None = None, name: str = "") -> Learned:
    """Update the impact of a scenario by orders; see :func:`learn`."""
    scenario = get_scenario(prior)
    if scenario.transient_exponent != 1.0:
        exponent = f"transient_exponent of the prior must be 1, got {scenario.transient_exponent:g}"
        raise ValueError(f"{exponent}: the equations of the orders are linear in the transient impact")
    made, before, after, evidence = learned_scenario(scenario, orders, impact_sd, name or scenario.name)
    return Learned(scenario, made, before, after, evidence, orders)
