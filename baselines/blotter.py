"""Transaction cost analysis of a blotter: the orders in its executions, their market, and the costs of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.blotter import Blotter, read_blotter
from hyperexec_env.data.calendars import Calendar
from hyperexec_env.data.format import Format
from hyperexec_env.data.listings import Listing, Listings, in_shares, read_listings
from hyperexec_env.data.sources import Data
from hyperexec_env.data.zones import DAY, date_of, local_of

from .blotter_report import BlotterReport, Unmeasured
from .desk_market import DeskMarket, listed_calendar
from .instrument import Grid
from .order_costs import OrderCosts, Settings, cost_orders
from .range_check import misfit
from .venue_costs import VenueCosts, add_costs, cost_venues

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
    lot: float = 1.0,
    instruments: Data | Listings = None,
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
        lot: Shares of a unit of quantity of the executions.
        instruments: Calendar, currency, lot and rate of each symbol, see :func:`~hyperexec_env.data.listings.read_listings`.

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
    listings = instruments if isinstance(instruments, dict) else read_listings(instruments) if instruments is not None else {}
    blotter = in_shares(blotter, lot, listings)
    rates = _rates(blotter, listings)
    symbols = sorted({blotter.symbol.words[at] for at in np.unique(blotter.symbol.at).tolist()})
    data = DeskMarket(symbols, market, trades, quotes, format, listings)
    _check_zones(blotter, data, symbols)
    order, choices = order_numbers(blotter, format, listings)
    desk = _Desk(blotter, order, data, settings, lenient, rates)
    for symbol in symbols:
        desk.measure(symbol)
    if not any(costs.covered.any() for _, costs in desk.parts):
        example = f"; {desk.without[0]}" if desk.without else ""
        raise ValueError(f"{', '.join(blotter.provenance.files[:3])}: no order has market data at its times{example}")
    return desk.report((*choices, *dict.fromkeys([*data.notes, *desk.notes])))


class _Desk:
    """The orders of a blotter while their costs are computed, one instrument after the other."""

    def __init__(
        self,
        blotter: Blotter,
        order: NDArray[np.int64],
        data: DeskMarket,
        settings: Settings,
        lenient: bool,
        rates: dict[str, Rate],
    ) -> None:
        """Start without costs."""
        self.rates = rates
        self.blotter, self.order, self.data, self.settings, self.lenient = blotter, order, data, settings, lenient
        self.parts: list[tuple[NDArray[np.int64], OrderCosts]] = []
        """Numbers and costs of the orders of each instrument."""
        self.venues: dict[str, VenueCosts] = {}
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
        rate = self.rates[symbol].rate if symbol in self.rates else 1.0
        self.venues = add_costs(self.venues, cost_venues(part, instrument, self.settings, rate))
        self.sources.append(instrument.source)
        self.notes += instrument.notes

    def report(self, notes: Sequence[str]) -> BlotterReport:
        """Return the report on all orders that have costs, in the order of their first fills."""
        numbers = np.concatenate([found[costs.covered] for found, costs in self.parts])
        rank = np.argsort(numbers)

        def joined(pick: Callable[[OrderCosts], NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate([pick(costs)[costs.covered] for _, costs in self.parts])[rank]

        texts = self._texts(numbers[rank])
        values = {name: joined(_value(name)) for name in self.parts[0][1].values}
        if self.rates:
            rate = np.array([self.rates[symbol].rate for symbol in texts["symbol"]])
            values |= {"rate": rate, "shortfall": rate * values["shortfall"], "fees": rate * values["fees"]}
            texts["currency"] = tuple(self.rates[symbol].currency for symbol in texts["symbol"])
            notes = [*notes, _rate_note(self.rates)]
        calendars = {symbol: self.data.calendar_of(symbol) for symbol in dict.fromkeys(texts["symbol"])}
        return BlotterReport(
            texts=texts,
            start=joined(lambda costs: costs.start),
            end=joined(lambda costs: costs.end),
            values=values,
            moved=joined(lambda costs: costs.moved),
            outside=joined(lambda costs: costs.outside),
            zones=tuple(calendars[symbol].zone for symbol in texts["symbol"]),
            calendar=", ".join(dict.fromkeys(calendar.name for calendar in calendars.values())),
            provenance=self.blotter.provenance,
            fills=len(self.blotter),
            without=tuple(self.without),
            venues=self.venues,
            notes=(*dict.fromkeys(self.sources), *notes),
        )

    def _texts(self, chosen: NDArray[np.int64]) -> dict[str, tuple[str, ...]]:
        """Return the columns of words of the chosen orders."""
        blotter = self.blotter
        first = np.full(int(self.order.max()) + 1, -1)
        first[self.order[::-1]] = np.arange(len(self.order))[::-1]
        at = first[chosen]
        dates = np.empty(len(at), dtype=object)
        words = np.array(blotter.symbol.words)[blotter.symbol.at[at]]
        for calendar, mine in _by_calendar(words, self.data.calendar_of):
            grid = Grid(calendar, int(blotter.time[0]), int(blotter.time[-1]))
            time = blotter.time[at[mine]]
            days = zip(grid.session(time).tolist(), local_of(time, calendar.zone).tolist(), strict=True)
            dates[mine] = [grid.sessions[index].date if index >= 0 else date_of(local) for index, local in days]
        return {
            "symbol": tuple(blotter.symbol.of(index) for index in at),
            "order_id": tuple(blotter.order_id.of(index) for index in at),
            "side": tuple("buy" if side > 0 else "sell" for side in blotter.side[at]),
            "broker": tuple(_labels(blotter, self.order, chosen, "broker")),
            "algorithm": tuple(_labels(blotter, self.order, chosen, "algorithm")),
            "date": tuple(dates.tolist()),
        }


def of_fills(format: Format) -> Format:
    """Return the format of executions that goes with a format of market data."""
    return replace(format, layout="", columns=(), stamp="")


class Rate(NamedTuple):
    """The currency of an instrument."""

    currency: str
    rate: float
    """Units of the currency of the report for one unit of it."""


def _rates(blotter: Blotter, listings: Listings) -> dict[str, Rate]:
    """Return the currency of each symbol where there are several; empty for one currency.

    Raises:
        ValueError: A symbol has several currencies, or there are several and one has no rate, so that costs have no sum.
    """
    found: dict[str, Rate] = {}
    known: list[str] = []
    clear = True
    for at in np.unique(blotter.symbol.at).tolist():
        listing = listings.get(blotter.symbol.words[at], Listing())
        own = {blotter.currency.words[index] for index in np.unique(blotter.currency.at[blotter.symbol.at == at]).tolist()}
        currencies = sorted(filter(None, {*own, listing.currency}))
        known += currencies
        found[blotter.symbol.words[at]] = Rate("".join(currencies[:1]), listing.rate)
        clear = clear and len(currencies) == 1 and listing.rate > 0.0
    if len(set(known)) < 2:
        return {}
    if not clear or len(set(found.values())) > len(set(known)):
        files, names = ", ".join(blotter.provenance.files[:3]), ", ".join(sorted(set(known))[:5])
        raise ValueError(
            f"{files}: executions in several currencies ({names}), "
            "whose costs have no sum; give each symbol one currency and each currency one rate in a table --instruments "
            "(columns symbol, currency, rate), give each currency a file of its own, or choose an instrument with --symbol"
        )
    return found


def _rate_note(rates: dict[str, Rate]) -> str:
    """Return a sentence on the currency of the amounts."""
    known = dict(sorted(rates.values()))
    base = next((currency for currency, rate in known.items() if rate == 1.0), "the currency of the rates")
    shown = ", ".join(f"1 {currency} = {rate:g}" for currency, rate in known.items() if rate != 1.0)
    return f"notional, shortfall and fees are in {base} ({shown}), prices in the currency of the instrument"


def _check_zones(blotter: Blotter, data: DeskMarket, symbols: Sequence[str]) -> None:
    """Raise ValueError if stamps without an offset are of instruments in several time zones."""
    zones = sorted({data.calendar_of(symbol).zone for symbol in symbols})
    if len(zones) > 1 and any("carry no offset" in text for text in blotter.provenance.choices):
        raise ValueError(
            f"{', '.join(blotter.provenance.files[:3])}: the times of the fills carry no offset, and the instruments trade in "
            f"several time zones ({', '.join(zones)}); pass the zone of the stamps with --fills-tz"
        )


def _by_calendar(symbols: NDArray[np.str_], calendar_of: Callable[[str], Calendar]) -> list[tuple[Calendar, NDArray[np.int64]]]:
    """Return the distinct calendars of symbols, each with the indices of its symbols."""
    found: dict[Calendar, list[NDArray[np.int64]]] = {}
    for symbol in np.unique(symbols).tolist():
        found.setdefault(calendar_of(symbol), []).append(np.flatnonzero(symbols == symbol))
    return [(calendar, np.sort(np.concatenate(parts))) for calendar, parts in found.items()]


def order_numbers(
    blotter: Blotter, format: Format | None = None, listings: Listings | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the number of the order of each execution (shape (fill,), from 0), and sentences on choices.

    Executions with one order id, symbol and side are one order, over any number of days. Executions without an order id are
    one order where symbol, side, session and broker agree.
    """
    format = format or Format()
    day = np.empty(len(blotter), dtype=np.int64)
    words = np.array(blotter.symbol.words)[blotter.symbol.at]
    for calendar, mine in _by_calendar(words, lambda symbol: listed_calendar(symbol, format, listings or {})):
        grid = Grid(calendar, int(blotter.time[0]), int(blotter.time[-1]))
        session, local = grid.session(blotter.time[mine]), local_of(blotter.time[mine], calendar.zone)
        day[mine] = np.where(session >= 0, session, len(grid.sessions) + local // DAY)
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
