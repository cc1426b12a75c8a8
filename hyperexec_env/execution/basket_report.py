"""Post-trade report of a list: the cost of each order and of the list by source, with cross-impact, and the imbalance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.execution.balance import CURRENCY, RISK, imbalance, imbalance_form
from hyperexec_env.execution.basket_order import BasketOrder
from hyperexec_env.execution.report import Decomposition, ExecutionReport, quiet_slice
from hyperexec_env.market.basket import Coupling, basket_move
from hyperexec_env.market.cross import adverse, impact_matrix
from hyperexec_env.market.kernel import Cost, Impact
from hyperexec_env.orders import Fill

__all__ = ["BasketReport"]

Floats = NDArray[np.float64]


class _Together(NamedTuple):
    """Fills of one time, at most one of each order."""

    time: float
    fills: dict[int, Fill]
    """Fill by number of the order."""


@dataclass(frozen=True)
class BasketReport:
    r"""The outcome and the cost of a list; ``print`` shows it as text.

    All costs are in bps of the list's paper notional :math:`\sum X_i P_i`, so the costs of the orders sum to the list's. The
    shortfall and its parts are those of :class:`~hyperexec_env.execution.report.ExecutionReport`, with one difference: the
    displacement of an order's mid by our own trades includes that by the other orders of the list, through the matrices of
    :mod:`~hyperexec_env.market.cross`. Transient and permanent cost of an order are the displacement before each fill plus half
    of the move of this fill and of fills of other orders at the same time.
    """

    order: BasketOrder
    reports: tuple[ExecutionReport, ...]
    """Report of each order, in the order of the list."""

    @property
    def shortfall(self) -> float:
        """Implementation shortfall of the list, bps of its paper notional."""
        return math.fsum(self.shortfalls)

    @cached_property
    def shortfalls(self) -> tuple[float, ...]:
        """Implementation shortfall of each order, bps of the paper notional of the list."""
        return tuple(each.shortfall * each.parent.notional / self.order.notional for each in self.reports)

    @property
    def decomposition(self) -> Decomposition:
        """Shortfall of the list by source, bps of its paper notional."""
        return Decomposition(*(math.fsum(column) for column in zip(*self.decompositions, strict=True)))

    @cached_property
    def decompositions(self) -> tuple[Decomposition, ...]:
        """Shortfall of each order by source, bps of the paper notional of the list."""
        parts: list[dict[str, list[float]]] = [{key: [] for key in Decomposition._fields} for _ in self.reports]
        for found, report in zip(parts, self.reports, strict=True):
            parent, opening = report.parent, report.start_mid
            found["delay"].append(parent.side * report.filled * (opening - parent.arrival_price))
            found["opportunity"].append(parent.side * report.unfilled * (report.end_mid - parent.arrival_price))
        for together, costs, before in self._charged():
            for i, fill in together.fills.items():
                report, cost, found = self.reports[i], costs[i], parts[i]
                side, shares = report.parent.side, float(fill.quantity)
                mid = report.mid_at(fill.time) if fill.mid is None else fill.mid
                own_half = cost.permanent + cost.transient - shares * before[i]
                found["spread"].append(cost.spread)
                found["temporary"] += [side * shares * (fill.price - mid), -cost.spread, -own_half]
                found["transient"].append(cost.transient)
                found["permanent"].append(cost.permanent)
                found["timing"] += [side * shares * (mid - report.start_mid), -shares * before[i]]
        scale = 1e4 / self.order.notional
        return tuple(Decomposition(**{key: scale * math.fsum(values) for key, values in found.items()}) for found in parts)

    def _charged(self) -> Iterator[tuple[_Together, list[Cost], list[float]]]:
        """Yield the fills of each time, the model's cost of each order, and the displacement of its mid before the fill."""
        config = self.reports[0].config
        impacts, coupling = self._impacts
        spreads = [1e-4 * config.half_spread_bps * each.parent.arrival_price for each in self.reports]
        rate = config.resilience / config.day_seconds
        states: Any = [(float(each.filled), 0.0, 0.0) for each in self.reports]
        groups = list(self._together())
        for number, together in enumerate(groups):
            after = groups[min(number + 1, len(groups) - 1)].time
            decay = math.exp(-rate * self.reports[0].seconds_between(together.time, after))
            slices = [quiet_slice(half_spread, decay) for half_spread in spreads]
            shares = [float(together.fills[i].quantity) if i in together.fills else 0.0 for i in range(len(states))]
            before = [permanent + transient for _, permanent, transient in states]
            states, costs = basket_move(impacts, coupling, states, slices, shares)
            yield together, [Cost(*cost) for cost in costs], before

    def _together(self) -> Iterator[_Together]:
        """Yield the fills of all orders by time; several fills of one order at one time follow each other."""
        fills = sorted((fill.time, i, fill) for i, report in enumerate(self.reports) for fill in report.fills)
        for time, group in groupby(fills, key=lambda entry: entry[0]):
            rest = [(i, fill) for _, i, fill in group]
            while rest:
                first: dict[int, Fill] = {}
                later = []
                for i, fill in rest:
                    if i in first:
                        later.append((i, fill))
                    else:
                        first[i] = fill
                yield _Together(time, first)
                rest = later

    @property
    def _impacts(self) -> tuple[list[Impact], Coupling]:
        """Impact model of our own trades: the matrices of the list, without impact where the ADV is unknown."""
        parents, config = self.order.orders, self.reports[0].config
        unit = np.array([each.arrival_price / each.adv if each.adv else 0.0 for each in parents])
        volatilities = [each.arrival_price * (each.volatility or 0.0) for each in parents]
        matrix = impact_matrix(config.kyle_lambda * unit, volatilities, self.order.matrix, self.order.cross_impact)
        share = config.perm_impact_gamma / config.kyle_lambda if config.kyle_lambda > 0.0 else 0.0
        matrix = adverse(matrix, [each.side for each in parents])
        permanent, transient = ((part * matrix).tolist() for part in (share, 1.0 - share))
        impacts = [Impact(permanent[i][i], transient[i][i], 1.0) for i in range(len(parents))]
        return impacts, Coupling(permanent, transient, np.zeros_like(matrix).tolist())

    @property
    def fees(self) -> float:
        """Fees of all orders, currency."""
        return math.fsum(each.fees for each in self.reports)

    @property
    def total(self) -> float:
        """Shortfall plus fees, bps of the paper notional of the list."""
        return self.shortfall + 1e4 * self.fees / self.order.notional

    @property
    def fill_rate(self) -> float:
        """Filled value over the paper notional, at arrival prices."""
        return math.fsum(each.filled * each.parent.arrival_price for each in self.reports) / self.order.notional

    def largest_imbalance(self, measure: str = CURRENCY) -> float:
        """Return the largest imbalance of the filled shares, currency; fills of one time count together.

        Args:
            measure: "currency" or "risk", see :mod:`~hyperexec_env.execution.balance`; nan where `risk` lacks a volatility.
        """
        if measure == RISK and not all(each.volatility for each in self.order.orders):
            return math.nan
        form, done, largest = imbalance_form(self.order, measure), np.zeros(len(self.reports)), 0.0
        fills = sorted((fill.time, i, fill.quantity) for i, report in enumerate(self.reports) for fill in report.fills)
        for _, group in groupby(fills, key=lambda entry: entry[0]):
            for _, i, quantity in group:
                done[i] += quantity
            largest = max(largest, imbalance(form, done))
        return largest

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None for unknown values."""
        risk = self.largest_imbalance(RISK)
        return {
            "id": self.order.id,
            "algorithm": self.order.algorithm,
            "notional": self.order.notional,
            "cross_impact": self.order.cross_impact,
            "fill_rate": self.fill_rate,
            "shortfall_bps": self.shortfall,
            "components_bps": self.decomposition._asdict(),
            "fees_currency": self.fees,
            "total_bps": self.total,
            "largest_imbalance": self.largest_imbalance(),
            "largest_imbalance_risk": None if math.isnan(risk) else risk,
            "assets": {
                report.parent.symbol: {
                    "shortfall_bps": shortfall,
                    "components_bps": parts._asdict(),
                    "report": report.to_dict(),
                }
                for report, shortfall, parts in zip(self.reports, self.shortfalls, self.decompositions, strict=True)
            },
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def __str__(self) -> str:
        """Return the report as text: one line for each order, and the list."""
        order, names = self.order, Decomposition._fields
        lines = [
            f"list of {len(self.reports)} orders, {order.algorithm}: {self.fill_rate:.1%} of {order.notional:,.0f} filled",
            "",
            "".join([f"{'asset':<10}{'':5}", *(f"{name:>12}" for name in ("shares", *names, "shortfall"))]),
        ]
        rows = zip(self.reports, self.decompositions, self.shortfalls, strict=True)
        for report, parts, shortfall in rows:
            side = "buy" if report.parent.side > 0 else "sell"
            lines.append(f"{report.parent.symbol:<10}{side:<5}{report.filled:>12,}" + _numbers((*parts, shortfall)))
        lines.append(f"{'list':<15}{'':12}" + _numbers((*self.decomposition, self.shortfall)))
        if self.fees:
            lines += ["", f"fees {self.fees:,.2f}: {self.total:.2f} bps with the shortfall"]
        risk = self.largest_imbalance(RISK)
        shown = "" if math.isnan(risk) else f", in risk {risk:,.0f} a day"
        lines += ["", f"largest imbalance: {self.largest_imbalance():,.0f}{shown}"]
        if order.max_imbalance is not None:
            lines[-1] += f" (limit of the shares released: {order.max_imbalance:,.0f}, {order.imbalance})"
        lines.append("Costs in bps of the list's paper notional; positive is a cost for buys and for sells.")
        lines.append(f"assumed, not measured: cross_impact {order.cross_impact:g}.")
        lines += dict.fromkeys(f"{text}." for report in self.reports for text in report.remarks)
        return "\n".join(lines)


def _numbers(values: tuple[float, ...]) -> str:
    """Return numbers as columns of text."""
    return "".join(f"{value:>12.2f}" for value in values)
