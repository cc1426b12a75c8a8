"""Transaction cost analysis of a blotter: the orders in its executions, their market, and the costs of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.blotter import Blotter, read_blotter
from hyperexec_env.data.calendars import calendar_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.sources import Data
from hyperexec_env.data.zones import DAY, date_of, local_of

from .blotter_report import BlotterReport, Unmeasured
from .desk_market import DeskMarket
from .instrument import Grid
from .order_costs import OrderCosts, Settings, cost_orders
from .range_check import misfit

__all__ = ["of_fills", "order_numbers", "tca_blotter"]

SEVERAL: Final = "several"
"""Broker or algorithm of an order that has several."""


def tca_blotter(
    fills: Data | Blotter,
    market: Data = None,
    *,
    trades: Data = None,
    quotes: Data = None,
    format: Format | None = None,
    fills_format: Format | None = None,
    settings: Settings | None = None,
    lenient: bool = False,
) -> BlotterReport:
    """Return the costs of all orders of a blotter, against bars, trades or quotes of their instruments.

    Args:
        fills: Executions; see :func:`~hyperexec_env.data.blotter.read_blotter`.
        market: Bars of the instruments (trades and quotes are recognised too): paths, frames, or a list. Instruments are
            told apart by a column of symbols, otherwise by the names of the files.
        trades: Trades of the instruments; they give the exact VWAP of an interval.
        quotes: Best bids and offers; they give mids and spreads.
        format: How to read the market data, and the calendar of the market.
        fills_format: How to read the executions (default: `format` without its layout, columns and stamp).
        settings: Fees, where the executions hold none.
        lenient: Leave out an instrument whose executions do not fit its market data, instead of raising an error.

    Raises:
        ValueError: Data cannot be read, or most executions of an instrument lie outside the price range of their bars; the
            message names instrument, line, and the likely cause.
        MissingExtra: The extra `data` is not installed.
    """
    format = format or Format()
    blotter = fills if isinstance(fills, Blotter) else read_blotter(fills, fills_format or of_fills(format))
    settings = settings or Settings()
    if settings.any and blotter.fee is not None:
        column = blotter.provenance.columns.get("fee", "fee")
        raise ValueError(f"the executions hold fees (column {column}): leave out fee_per_share, fee_bps and min_fee")
    _check_currency(blotter)
    symbols = sorted({blotter.symbol.words[at] for at in np.unique(blotter.symbol.at).tolist()})
    data = DeskMarket(symbols, market, trades, quotes, format)
    order, choices = order_numbers(blotter, format)
    desk = _Desk(blotter, order, data, settings, lenient)
    for symbol in symbols:
        desk.measure(symbol)
    if not any(costs.covered.any() for _, costs in desk.parts):
        example = f"; {desk.without[0]}" if desk.without else ""
        raise ValueError(f"{', '.join(blotter.provenance.files[:3])}: no order has market data at its times{example}")
    return desk.report((*choices, *dict.fromkeys([*data.notes, *desk.notes])))


class _Desk:
    """The orders of a blotter while their costs are computed, one instrument after the other."""

    def __init__(self, blotter: Blotter, order: NDArray[np.int64], data: DeskMarket, settings: Settings, lenient: bool) -> None:
        """Start without costs."""
        self.blotter, self.order, self.data, self.settings, self.lenient = blotter, order, data, settings, lenient
        self.parts: list[tuple[NDArray[np.int64], OrderCosts]] = []
        """Numbers and costs of the orders of each instrument."""
        self.without: list[Unmeasured] = []
        self.notes: list[str] = []
        self.sources: list[str] = []

    def measure(self, symbol: str) -> None:
        """Compute the costs of the orders of an instrument, or note why there are none.

        Raises:
            ValueError: Most executions do not fit the market data, and `lenient` is False.
        """
        chosen = np.flatnonzero(self.blotter.symbol.at == self.blotter.symbol.words.index(symbol))
        part = self.blotter.take(chosen)
        numbers, local = np.unique(self.order[chosen], return_inverse=True)
        if not self.data.has(symbol):
            self.without.append(Unmeasured(symbol, len(numbers), len(chosen), "no market data"))
            return
        instrument = self.data.instrument(symbol)
        costs = cost_orders(part, local, instrument, self.settings)
        fault = misfit(part, instrument, costs.excess)
        if fault and not self.lenient:
            raise ValueError(f"{fault}; pass --lenient to leave such an instrument out")
        if fault:
            self.without.append(Unmeasured(symbol, len(numbers), len(chosen), fault))
            return
        if not costs.covered.all():
            bare = np.isin(local, np.flatnonzero(~costs.covered))
            reason = f"no market data at the time of a fill, as in {part.where(int(bare.argmax()))}"
            self.without.append(Unmeasured(symbol, int((~costs.covered).sum()), int(bare.sum()), reason))
        self.parts.append((numbers, costs))
        self.sources.append(instrument.source)
        self.notes += instrument.notes

    def report(self, notes: Sequence[str]) -> BlotterReport:
        """Return the report on all orders that have costs, in the order of their first fills."""
        numbers = np.concatenate([found[costs.covered] for found, costs in self.parts])
        rank = np.argsort(numbers)

        def joined(pick: Callable[[OrderCosts], NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate([pick(costs)[costs.covered] for _, costs in self.parts])[rank]

        calendar = self.data.calendar
        return BlotterReport(
            texts=self._texts(numbers[rank]),
            start=joined(lambda costs: costs.start),
            end=joined(lambda costs: costs.end),
            values={name: joined(_value(name)) for name in self.parts[0][1].values},
            moved=joined(lambda costs: costs.moved),
            outside=joined(lambda costs: costs.outside),
            zone=calendar.zone,
            calendar=calendar.name,
            provenance=self.blotter.provenance,
            fills=len(self.blotter),
            without=tuple(self.without),
            notes=(*dict.fromkeys(self.sources), *notes),
        )

    def _texts(self, chosen: NDArray[np.int64]) -> dict[str, tuple[str, ...]]:
        """Return the columns of words of the chosen orders."""
        blotter = self.blotter
        first = np.full(int(self.order.max()) + 1, -1)
        first[self.order[::-1]] = np.arange(len(self.order))[::-1]
        at = first[chosen]
        grid = Grid(self.data.calendar, int(blotter.time[0]), int(blotter.time[-1]))
        local = local_of(blotter.time[at], grid.calendar.zone).tolist()
        days = zip(grid.session(blotter.time[at]).tolist(), local, strict=True)
        return {
            "symbol": tuple(blotter.symbol.of(index) for index in at),
            "order_id": tuple(blotter.order_id.of(index) for index in at),
            "side": tuple("buy" if side > 0 else "sell" for side in blotter.side[at]),
            "broker": tuple(_labels(blotter, self.order, chosen, "broker")),
            "algorithm": tuple(_labels(blotter, self.order, chosen, "algorithm")),
            "date": tuple(grid.sessions[index].date if index >= 0 else date_of(time) for index, time in days),
        }


def of_fills(format: Format) -> Format:
    """Return the format of executions that goes with a format of market data."""
    return replace(format, layout="", columns=(), stamp="")


def _check_currency(blotter: Blotter) -> None:
    """Raise ValueError if the notionals are of several currencies, which have no sum."""
    known = [blotter.currency.words[at] for at in np.unique(blotter.currency.at).tolist()]
    if len([word for word in known if word]) > 1:
        raise ValueError(
            f"{', '.join(blotter.provenance.files[:3])}: executions in several currencies ({', '.join(known[:5])}), whose "
            "costs have no sum; give each currency a file of its own, or choose an instrument with --symbol"
        )


def order_numbers(blotter: Blotter, format: Format | None = None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the number of the order of each execution (shape (fill,), from 0), and sentences on choices.

    Executions with one order id, symbol and side are one order, over any number of days. Executions without an order id are
    one order where symbol, side, session and broker agree.
    """
    format = format or Format()
    grid = Grid(calendar_of(format.calendar, format.hours, format.tz), int(blotter.time[0]), int(blotter.time[-1]))
    session = grid.session(blotter.time)
    day = np.where(session >= 0, session, len(grid.sessions) + local_of(blotter.time, grid.calendar.zone) // DAY)
    named = np.array([bool(word) for word in blotter.order_id.words])[blotter.order_id.at]
    key = np.stack(
        [
            np.where(named, blotter.order_id.at, -1),
            blotter.symbol.at,
            blotter.side,
            np.where(named, -1, day),
            np.where(named, -1, blotter.broker.at),
        ],
        axis=1,
    )
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first))[inverse.ravel()]
    choices = []
    if not named.all():
        choices.append(
            f"{(~named).sum():,} executions have no order id: those of one symbol, side, session and broker are one order"
        )
    shared = len(np.unique(key[named][:, :3], axis=0)) - len(np.unique(key[named][:, 0]))
    if shared:
        choices.append(f"{shared:,} order ids occur with several symbols or sides: each combination is an order")
    return numbers, tuple(choices)


def _value(name: str) -> Callable[[OrderCosts], NDArray[Any]]:
    """Return the function that takes a value from costs."""
    return lambda costs: costs.values[name]


def _labels(blotter: Blotter, order: NDArray[np.int64], chosen: NDArray[np.int64], name: str) -> list[str]:
    """Return broker or algorithm of the chosen orders; "several" where their executions differ."""
    labels = getattr(blotter, name)
    count = int(order.max()) + 1
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, order, labels.at)
    np.maximum.at(high, order, labels.at)
    return [labels.words[low[at]] if low[at] == high[at] else SEVERAL for at in chosen.tolist()]
