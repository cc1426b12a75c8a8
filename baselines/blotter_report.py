"""The costs of the orders of a blotter: one row per order, weighted means with standard errors by group, and outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.tables import Provenance
from hyperexec_env.data.zones import DAY, HOUR, Nanoseconds, local_of
from hyperexec_env.evaluation.table import arrow_table, write_columns

from .order_costs import MEASURES
from .venue_costs import VenueCosts, venue_table

__all__ = ["GROUPS", "BlotterReport", "Mean", "Unmeasured"]

Floats = NDArray[np.float64]

GROUPS: Final = ("broker", "algorithm", "symbol", "side", "time of day")
"""What the orders are grouped by."""
MANY_SESSIONS: Final = 10
"""Sessions from which on standard errors are those of means of sessions."""
FAR: Final = 5.0
"""Robust standard deviations (1.4826 x median absolute deviation) beyond which the cost of an order is an outlier."""
LEAST_FAR: Final = 25.0
"""Smallest distance from the median of an outlier, bps."""
_SHOWN: Final = 12
_MAIN: Final = ("shortfall_bps", "vwap_bps", "twap_bps", "pwp10_bps")


class Unmeasured(NamedTuple):
    """Orders that have no costs, and the reason."""

    symbol: str
    orders: int
    fills: int
    reason: str

    def __str__(self) -> str:
        """Return the reason with symbol and counts."""
        name = f"{self.symbol}: " if self.symbol and not self.reason.startswith(self.symbol) else ""
        return f"{name}{self.reason} ({self.orders:,} orders, {self.fills:,} executions)"


class Mean(NamedTuple):
    """Mean of a measure over orders, weighted by paper notional."""

    mean: float
    error: float
    """Standard error; NaN for fewer than two orders."""
    orders: int
    """Orders that have the measure."""

    def __str__(self) -> str:
        """Return the mean with its standard error."""
        if not self.orders:
            return "-"
        return f"{self.mean:+,.2f}" + (f" ± {self.error:,.2f}" if math.isfinite(self.error) else "")


@dataclass(frozen=True, eq=False)
class BlotterReport:
    """Costs of the orders of a blotter; ``print`` shows the summary, :meth:`write` writes one row per order.

    Arrays have shape (order,); orders are in ascending order of their first fills.
    """

    texts: dict[str, tuple[str, ...]]
    """symbol, order_id, side, broker, algorithm and date (the session) of each order, and its currency if there are several."""
    start: Nanoseconds
    """Arrival, UTC."""
    end: Nanoseconds
    """Last fill (the end of its bar), UTC."""
    values: dict[str, Floats]
    """The measures of :data:`~hyperexec_env.baselines.order_costs.MEASURES`, prices, shares and currency amounts."""
    moved: NDArray[np.int64]
    """Fills that the market data do not hold, compared with the nearest price of their session."""
    outside: NDArray[np.int64]
    """Fills outside the low-high range of their bar."""
    zones: tuple[str, ...]
    """Time zone of the market of each order."""
    calendar: str
    provenance: Provenance
    """How the executions were read."""
    fills: int
    """Executions that were read, measured or not."""
    without: tuple[Unmeasured, ...] = ()
    notes: tuple[str, ...] = ()
    venues: Mapping[str, VenueCosts] = field(default_factory=dict)
    """Costs of the measured executions by venue; empty if the blotter has no venues."""

    def __len__(self) -> int:
        """Return the number of orders that have costs."""
        return len(self.start)

    @cached_property
    def notional(self) -> Floats:
        """Paper notional of each order, its size times the arrival price, in one currency: the weight of every mean."""
        return np.asarray(self.values["ordered"] * self.values["arrival_price"] * self.values.get("rate", 1.0))

    @cached_property
    def hour(self) -> tuple[str, ...]:
        """Hour of the arrival by the clock of the market, such as 10:00-11:00."""
        hours = np.empty(len(self), dtype=np.int64)
        for zone in set(self.zones):
            mine = np.array(self.zones) == zone
            hours[mine] = (local_of(self.start[mine], zone) % DAY) // HOUR
        return tuple(f"{hour:02d}:00-{hour + 1:02d}:00" for hour in hours.tolist())

    def keys(self, group: str) -> tuple[str, ...]:
        """Return the value of each order in one of :data:`GROUPS`."""
        return self.hour if group == "time of day" else tuple(key or "not given" for key in self.texts[group])

    def mean(self, name: str, chosen: NDArray[np.bool_] | None = None) -> Mean:
        r"""Return the mean of a measure over orders, weighted by paper notional, with its standard error.

        With weights :math:`w`, the error is
        :math:`\sqrt{n / (n - 1) \sum_g (\sum_{i \in g} w_i (x_i - \bar x))^2} / \sum w` over the n groups g: the sessions
        where there are :data:`MANY_SESSIONS` at least, otherwise single orders, which
        understates the error if the orders of a day move together.

        Args:
            name: A measure, or another key of `values`.
            chosen: The orders to take, shape (order,); None: all.
        """
        value = self.values[name]
        good = np.isfinite(value) & np.isfinite(self.notional)
        good &= True if chosen is None else chosen
        count, weight = int(good.sum()), self.notional[good]
        if not count:
            return Mean(math.nan, math.nan, 0)
        mean = float(weight @ value[good] / weight.sum())
        groups = self._groups[good]
        sums = np.bincount(groups, weights=weight * (value[good] - mean))
        number = len(np.unique(groups))
        if number < 2:
            return Mean(mean, math.nan, count)
        return Mean(mean, float(np.sqrt(number / (number - 1.0) * (sums @ sums)) / weight.sum()), count)

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        """Group of each order for the standard errors."""
        dates = self.texts["date"]
        if len(set(dates)) < MANY_SESSIONS:
            return np.arange(len(dates))
        return np.asarray(np.unique(np.array(dates), return_inverse=True)[1])

    def by(self, group: str, name: str = "shortfall_bps") -> dict[str, Mean]:
        """Return the mean of a measure by one of :data:`GROUPS`, the most costly first in currency (times in their order)."""
        keys = np.array(self.keys(group))
        found = {key: self.mean(name, keys == key) for key in sorted(set(keys.tolist()))}
        if group == "time of day":
            return found
        cash = np.nan_to_num(self.values["shortfall"])
        return dict(sorted(found.items(), key=lambda item: -float(cash[keys == item[0]].sum())))

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """What is unusual in each order, for example a cost far from the others; "" if nothing is."""
        cost = self.values["arrival_bps"]
        middle = float(np.nanmedian(cost))
        width = max(FAR * 1.4826 * float(np.nanmedian(np.abs(cost - middle))), LEAST_FAR)
        found = []
        for at in range(len(self)):
            texts = [
                (f"fills outside the range of their bars: {self.outside[at]}", self.outside[at] > 0),
                (f"arrival cost {cost[at]:+,.0f} bps, median {middle:+,.1f}", abs(cost[at] - middle) > width),
                ("more than the volume of the market", self.values["participation_percent"][at] > 100.0),
                ("filled more than ordered", self.values["overfilled"][at] > 0.0),
                (f"{self.values['lacking'][at]:.0%} of its bars are missing", self.values["lacking"][at] > 0.05),
            ]
            found.append("; ".join(text for text, true in texts if true))
        return tuple(found)

    @cached_property
    def outliers(self) -> list[int]:
        """Indices of the orders with a flag, the largest cost (of either sign, in currency) first."""
        flagged = [at for at, text in enumerate(self.flags) if text]
        return sorted(flagged, key=lambda at: -abs(float(self.values["shortfall"][at])))

    @property
    def remarks(self) -> list[str]:
        """Choices, counts of what was left out or is unusual, and assumptions."""
        provenance = self.provenance
        found = [*provenance.choices, *(f"{count:,} rows left out: {reason}" for reason, count in provenance.dropped.items())]
        found += [f"WARNING: without costs: {item}" for item in self.without]
        outside, orders = int(self.outside.sum()), int((self.outside > 0).sum())
        if outside:
            found.append(
                f"WARNING: fills outside the low-high range of their bars: {outside:,} of {self.fills:,}, in {orders:,} orders"
            )
        if self.moved.sum():
            found.append(
                "fills before the open, after the close or in a gap, which the market data do not hold, are compared with the "
                f"nearest price of their session: {int(self.moved.sum()):,}"
            )
        unresolved = [
            name[8:-4] for name in MEASURES if name.startswith("markout_") and not np.isfinite(self.values[name]).any()
        ]
        if unresolved:
            found.append(f"the market data do not resolve the horizons {', '.join(unresolved)}: their columns are empty")
        sessions = len(set(self.texts["date"]))
        base = "sessions" if sessions >= MANY_SESSIONS else f"orders ({sessions} sessions are too few), as if independent"
        return [*found, *self.notes, f"standard errors are those of means over {base}"]

    def rows(self) -> dict[str, list[Any]]:
        """Return the table of orders by column; None for unknown values."""

        def plain(values: Floats) -> list[float | None]:
            return [value if math.isfinite(value) else None for value in values.tolist()]

        stamps = {
            name: [str(np.datetime64(time, "ns").astype("datetime64[ms]")) + "Z" for time in getattr(self, name).tolist()]
            for name in ("start", "end")
        }
        counts = {"fills": self.values["fills"].astype(np.int64).tolist(), "fills_outside": self.outside.tolist()}
        amounts = ("ordered", "filled", "average_price", "arrival_price", "vwap", "twap", "market_volume", "shortfall", "fees")
        return {
            **{name: list(found) for name, found in self.texts.items()},
            **stamps,
            **counts,
            **{name: plain(self.values[name]) for name in (*amounts, *(["rate"] if "rate" in self.values else []))},
            **{name: plain(self.values[name]) for name in MEASURES},
            "flags": list(self.flags),
        }

    def to_arrow(self) -> Any:
        """Return the table of orders as a pyarrow.Table; see :func:`rows`.

        Raises:
            MissingExtra: The extra `data` is not installed.
        """
        return arrow_table(self.rows(), self._numeric)

    @property
    def _numeric(self) -> list[str]:
        """Names of the columns of numbers, some of which may be unknown in every row."""
        return [name for name in self.rows() if name in MEASURES or (name in self.values and name != "fills")]

    def write(self, path: str) -> None:
        """Write the table of orders to a file that ends in .parquet, .csv or .json.

        Raises:
            ValueError: The name has another end, or the file cannot be written.
        """
        write_columns(path, self.rows(), self._numeric)

    @property
    def totals(self) -> dict[str, float]:
        """Sums over the orders: notional, shortfall, fees and total, currency."""
        shortfall, fees = float(np.nansum(self.values["shortfall"])), float(self.values["fees"].sum())
        return {"notional": float(np.nansum(self.notional)), "shortfall": shortfall, "fees": fees, "total": shortfall + fees}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: totals, means, groups, remarks and the table of orders."""
        columns = self.rows()
        return {
            "orders": len(self),
            "fills": self.fills,
            "totals": self.totals,
            "means": {name: _plain(self.mean(name)) for name in MEASURES},
            "groups": {
                group: {
                    key: {name: _plain(self.mean(name, np.array(self.keys(group)) == key)) for name in _MAIN}
                    for key in self.by(group)
                }
                for group in GROUPS
            },
            **({"venues": {venue: costs.to_dict() for venue, costs in self.venues.items()}} if self.venues else {}),
            "remarks": self.remarks,
            "provenance": self.provenance.to_dict(),
            "table": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        }

    @property
    def headline(self) -> str:
        """Summary in one line."""
        totals, dates = self.totals, sorted(set(self.texts["date"]))
        return (
            f"{len(self):,} orders, {int(self.values['fills'].sum()):,} executions, "
            f"{len(set(self.texts['symbol'])):,} instruments, "
            f"{dates[0]} to {dates[-1]}: notional {totals['notional']:,.0f}, shortfall {totals['shortfall']:+,.0f} "
            f"({self.mean('shortfall_bps')} bps), fees {totals['fees']:,.0f}"
        )

    def group_table(self, group: str) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the means by one of :data:`GROUPS`."""
        keys = np.array(self.keys(group))
        rows = []
        for key in self.by(group):
            chosen = keys == key
            cells = [str(self.mean(name, chosen)) for name in _MAIN]
            rows.append([key, f"{int(chosen.sum()):,}", f"{np.nansum(self.notional[chosen]):,.0f}", *cells])
        return [group, "orders", "notional", "shortfall", "VWAP", "TWAP", "PWP 10 %"], rows

    def outlier_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the orders with a flag."""
        rows = [
            [
                self.texts["date"][at],
                self.texts["symbol"][at],
                self.texts["order_id"][at] or "-",
                self.texts["side"][at],
                f"{self.values['filled'][at]:,.10g}",
                f"{self.values['shortfall_bps'][at]:+,.1f}",
                f"{self.values['shortfall'][at]:+,.0f}",
                self.flags[at],
            ]
            for at in self.outliers
        ]
        return ["date", "symbol", "order", "side", "filled", "bps", "currency", "why"], rows

    def __str__(self) -> str:
        """Return the summary as text."""
        lines = [self.headline, ""]
        width = max(len(name) for name in MEASURES)
        for name, measure in MEASURES.items():
            found = self.mean(name)
            if found.orders:
                lines.append(f"{name:<{width}}  {found!s:>20}  {measure.unit:<16}  {found.orders:>7,} orders")
        for group in GROUPS:
            if len(set(self.keys(group))) > 1:
                lines += ["", *_aligned(*self.group_table(group))]
        if self.venues:
            lines += ["", *_aligned(*venue_table(self.venues))]
        if self.outliers:
            lines += ["", f"{len(self.outliers):,} orders are unusual:", *_aligned(*self.outlier_table())]
        lines += ["", "Means are weighted by paper notional, ± standard error; positive is a cost for buys and for sells."]
        return "\n".join([*lines, *(f"{text}." for text in self.remarks)])


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of text, the first rows of a long one."""
    shown = [header, *rows[:_SHOWN]]
    widths = [max(len(row[at]) for row in shown) for at in range(len(header))]
    last = len(header) - 1
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 or (at == last and header[-1] == "why") else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in shown
    ]
    return [*lines, *([f"... {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else [])]


def _plain(found: Mean) -> dict[str, Any]:
    """Return a mean for JSON."""
    return {
        "mean": found.mean if math.isfinite(found.mean) else None,
        "standard_error": found.error if math.isfinite(found.error) else None,
        "orders": found.orders,
    }
