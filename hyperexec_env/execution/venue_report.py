r"""The report by venue: where the shares of an order traded, how well, and what the venues charged.

With the side s, the shares n, price p and mid m just before each fill, and the best price q on the other side over all venues
when the venue order was sent, share-weighted means over the fills of a venue give

    price improvement   s (q - p) / q              positive: better than taking at the touch
    effective spread    2 s (p - m) / m            (Huang and Stoll 1996)
    markout at h        s (p - m(t + h)) / m(t)    positive is a cost: the price paid against the mid after the fill

A markout counts the fills whose horizon ends before the last mid that the desk saw. Fill rate is the filled over the sent
shares; shares that came back and were sent again count again. The fill probability is the Kaplan-Meier estimate that an order
fills completely within the longest window, from the orders in dark pools and at the touch, with Greenwood's 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from hyperexec_env.execution.fill_rates import KaplanMeier, product_limit
from hyperexec_env.execution.venue_order import MAKER, VenueOrder
from hyperexec_env.orders import Fill

if TYPE_CHECKING:
    from hyperexec_env.execution.report import ExecutionReport

__all__ = ["HORIZONS", "VENUE_NOTES", "VenueResult", "venue_results", "venue_rows", "venue_text"]

VENUE_NOTES: Final = (
    "Improvement on the touch, effective spread and markout in bps of the price, fees in bps of the paper notional.",
    "In window: Kaplan-Meier estimate that an order which waits fills completely, with its 95 % interval.",
)
"""Explanation of the table by venue."""
HORIZONS: Final = (1.0, 10.0, 60.0, 300.0)
"""Horizons of the markouts, seconds on the agent's clock."""


class VenueResult(NamedTuple):
    """What one venue did for an order; numbers are nan where the data do not say them."""

    venue: str
    kind: str
    """home, lit, dark or rest; empty if the orders that were sent are not known."""
    orders: int
    """Venue orders that were sent."""
    sent: float
    """Shares of these orders."""
    filled: float
    """Shares that traded; they sum to those of the order over all venues."""
    share: float
    """Filled shares over the quantity of the order."""
    fill_rate: float
    """Filled shares over those sent."""
    maker: float
    """Part of the filled shares that were makers."""
    average_price: float
    """Average price of the fills, currency per share."""
    price_improvement_bps: float
    effective_spread_bps: float
    markout_bps: tuple[float, ...]
    """Markout at each horizon."""
    fees: float
    """Fees of the venue, currency; negative: rebates."""
    fees_bps: float
    """The same, bps of the paper notional of the order."""
    waiting: KaplanMeier
    """Law of the time until an order in the venue fills completely, seconds."""
    window: float
    """Longest window of an order, seconds; 0 where orders take."""

    @property
    def fill_probability(self) -> tuple[float, float, float]:
        """Kaplan-Meier estimate that an order fills completely within the window, with its 95 % interval; nan where orders
        take.
        """
        if not self.window or not self.waiting.count:
            return (math.nan,) * 3
        low, high = self.waiting.interval(self.window)
        return 1.0 - float(self.waiting.beyond(self.window)), 1.0 - high, 1.0 - low

    def values(self, horizons: Sequence[float] = HORIZONS) -> dict[str, Any]:
        """Return plain values for JSON; None for unknown values."""
        plain = {name: _plain(value) for name, value in zip(self._fields, self, strict=True) if name not in _NESTED}
        curve = self.waiting
        probability = None
        if self.window and curve.count:
            names = ("estimate", "low", "high")
            probability = dict(zip(names, self.fill_probability, strict=True)) | {
                "orders": curve.count,
                "censored": len(curve.censored),
                "seconds": [0.0, *curve.times.tolist()],
                "unfilled": [1.0, *curve.survival.tolist()],
            }
        markouts = {f"{horizon:g}": _plain(value) for horizon, value in zip(horizons, self.markout_bps, strict=True)}
        return {**plain, "markout_bps": markouts, "fill_probability": probability}


_NESTED: Final = ("markout_bps", "waiting")


def venue_results(report: ExecutionReport, horizons: Sequence[float] = HORIZONS) -> tuple[VenueResult, ...]:
    """Return what each venue did for an order, in the order in which the venues were first used; none without venues.

    Args:
        report: The report of the order.
        horizons: Horizons of the markouts, seconds on the agent's clock.
    """
    sent: dict[str, list[VenueOrder]] = {}
    for order in report.venue_orders:
        sent.setdefault(order.venue, []).append(order)
    fills: dict[str, list[tuple[Fill, float | None]]] = {venue: [] for venue in sent}
    for venue, orders in sent.items():
        fills[venue] = [(fill, order.touch) for order in orders for fill in order.fills]
    for fill in report.fills:
        if fill.venue not in sent:
            fills.setdefault(fill.venue, []).append((fill, None))
    if set(fills) <= {""}:
        return ()
    return tuple(_result(report, venue, sent.get(venue, []), of_venue, horizons) for venue, of_venue in fills.items())


def _result(
    report: ExecutionReport,
    venue: str,
    orders: Sequence[VenueOrder],
    fills: Sequence[tuple[Fill, float | None]],
    horizons: Sequence[float],
) -> VenueResult:
    """Return what one venue did."""
    parent = report.parent
    side, filled = parent.side, parent.total(fill.quantity for fill, _ in fills)
    sent = parent.total(order.quantity for order in orders)
    mids = [(fill, report.mid_at(fill.time) if fill.mid is None else fill.mid) for fill, _ in fills]
    last, fees = report.mids[-1][0], math.fsum(fill.fee for fill, _ in fills)
    waits = [order for order in orders if not order.takes and not order.rejected and order.ended is not None]
    seconds = [max((order.ended or 0.0) - order.sent, 0.0) for order in waits]
    return VenueResult(
        venue=venue or "not known",
        kind=orders[0].kind if orders else "",
        orders=len(orders),
        sent=sent,
        filled=filled,
        share=filled / parent.quantity,
        fill_rate=filled / sent if sent else math.nan,
        maker=_mean((fill.quantity, float(fill.liquidity == MAKER) if fill.liquidity else math.nan) for fill, _ in fills),
        average_price=_mean((fill.quantity, fill.price) for fill, _ in fills),
        price_improvement_bps=_mean(
            (fill.quantity, 1e4 * side * (touch - fill.price) / touch) for fill, touch in fills if touch is not None
        ),
        effective_spread_bps=_mean((fill.quantity, 2e4 * side * (fill.price - mid) / mid) for fill, mid in mids),
        markout_bps=tuple(
            _mean(
                (fill.quantity, 1e4 * side * (fill.price - report.mid_at(fill.time + horizon)) / mid)
                for fill, mid in mids
                if fill.time + horizon <= last
            )
            for horizon in horizons
        ),
        fees=fees,
        fees_bps=1e4 * fees / parent.notional,
        waiting=product_limit(seconds, [order.complete for order in waits]),
        window=max((order.window for order in waits), default=0.0),
    )


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    """Return a mean of (weight, value); nan without weight."""
    pairs = list(weighted)
    if not pairs:
        return math.nan
    weights, values = np.array(pairs, dtype=float).T
    return float(weights @ values / weights.sum())


def venue_rows(report: ExecutionReport, horizon: int = 2) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of the table by venue, with the sums in the last row; no cells without venues.

    Args:
        report: The report of the order.
        horizon: Number of the horizon whose markout the table shows.
    """
    header = ["venue", "shares", "of order %", "fill rate %", "maker %", "improvement", "eff. spread"]
    header += [f"markout {HORIZONS[horizon]:g} s", "fees bps", "in window %"]
    rows = [
        [
            one.venue,
            f"{one.filled:,}",
            f"{100.0 * one.share:.1f}",
            *(_shown(100.0 * value, ".1f") for value in (one.fill_rate, one.maker)),
            *(_shown(value, "+.2f") for value in (one.price_improvement_bps, one.effective_spread_bps)),
            _shown(one.markout_bps[horizon], "+.2f"),
            f"{one.fees_bps:+.3f}",
            _probability(one),
        ]
        for one in report.venues
    ]
    fees = math.fsum(one.fees_bps for one in report.venues)
    total = ["all", f"{report.filled:,}", f"{100.0 * report.fill_rate:.1f}", *[""] * 5, f"{fees:+.3f}", ""]
    return header, [*rows, total] if rows else []


def venue_text(report: ExecutionReport) -> list[str]:
    """Return the table by venue as lines of text; none without venues."""
    header, cells = venue_rows(report)
    if not cells:
        return []
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))])
        for row in (header, *cells)
    ]
    return [*(line.rstrip() for line in lines), *VENUE_NOTES, ""]


def _probability(result: VenueResult) -> str:
    estimate, low, high = (100.0 * value for value in result.fill_probability)
    return "" if estimate != estimate else f"{estimate:.0f} ({low:.0f} to {high:.0f})"


def _shown(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else ""


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
