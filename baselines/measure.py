"""Measure a market with a desk's own fills: their orders beside the tape, or bars, and the certificate of the scenario."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import shown
from hyperexec_env.data import measurement
from hyperexec_env.data.basket_measurement import BasketMeasurement
from hyperexec_env.data.blotter import Blotter, read_blotter
from hyperexec_env.data.calendars import calendar_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.measurement import Assumed, Measurement
from hyperexec_env.data.sources import Data
from hyperexec_env.data.tables import Bars, Book, Quotes, Trades
from hyperexec_env.data.tape import quotes_of_book, trades_of_book
from hyperexec_env.data.temporary import AFTER_SECONDS, Orders
from hyperexec_env.data.zones import SECOND
from hyperexec_env.evaluation.basket_certificate import BasketCertificate
from hyperexec_env.evaluation.certificate import Certificate, certify

from .blotter import of_fills, order_numbers
from .desk_market import checked_bars
from .instrument import Instrument, instrument_of
from .order_costs import HORIZONS, cost_orders
from .range_check import misfit

__all__ = ["Certified", "certified", "measure", "orders_of"]

Floats = NDArray[np.float64]

_TRIPS = 10_000
"""Number of round trips that the certificate of a measurement tries; ``hyperexec certify`` tries many more."""
_AFTER = next(item.name for item in HORIZONS if item.nanoseconds == AFTER_SECONDS * SECOND)


@dataclass(frozen=True)
class Certified:
    """A measurement, or a scenario from bars, with the certificate of its market; ``print`` shows both."""

    found: Measurement | Assumed | BasketMeasurement
    certificate: Certificate | BasketCertificate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**self.found.to_dict(), "certificate": self.certificate.to_dict()}

    def __str__(self) -> str:
        """Return the measurement and the verdict."""
        return f"{self.found}\n\n{self.certificate.verdict}"


def certified(found: Measurement | Assumed) -> Certified:
    """Return a measurement with the certificate of its scenario, from a short search."""
    return Certified(found, certify(found.scenario, trips=_TRIPS))


def measure(
    source: Trades | Book,
    quotes: Quotes | None = None,
    format: Format | None = None,
    *,
    bars: Bars | None = None,
    fills: Data | Blotter = None,
    fills_format: Format | None = None,
    adv: float | None = None,
    name: str = "measured",
    **order: Any,
) -> Measurement:
    """Measure spread, impact and flow of a market from its tape, and temporary impact from a desk's own fills.

    Args:
        source: The trades, or a limit order book.
        quotes: The best bids and offers; not needed for a book.
        format: Calendar and hours.
        bars: Bars of a longer time, for volume, volatility and regimes, and for fills outside the time of the tape.
        fills: Executions of the desk in this instrument, see :func:`~hyperexec_env.data.blotter.read_blotter`; None: temporary
            impact has the published values of Almgren et al. (2005).
        fills_format: How to read the executions (default: `format` without its layout, columns and stamp).
        adv: Average daily volume, shares; needed for a tape that covers only a part of its sessions.
        name: Name of the scenario.
        **order: Fields that override those of the scenario, such as ``quantity``.

    Raises:
        ValueError: Trades and quotes share no session, there is no signed flow, a field in `order` is invalid, the executions
            do not fit the market, or their orders are too few.
        MissingExtra: The extra `data` is not installed.
    """
    orders = None
    if fills is not None:
        orders = orders_of(fills, source, quotes, bars, format=format, fills_format=fills_format)
    return measurement.measure(source, quotes, format, bars=bars, orders=orders, adv=adv, name=name, **order)


def orders_of(
    fills: Data | Blotter,
    source: Trades | Book | None = None,
    quotes: Quotes | None = None,
    bars: Bars | None = None,
    *,
    format: Format | None = None,
    fills_format: Format | None = None,
) -> Orders:
    """Return the orders of a desk in one instrument, with their costs against the tape, or against bars beyond it.

    The price before an order is the mid before its first fill, so that a delay after the decision is no impact. The volume of
    the market is that from the first to the last fill, and one interval between fills more.

    Args:
        fills: Executions of the desk.
        source: Trades, or a limit order book.
        quotes: The best bids and offers.
        bars: Bars.
        format: Calendar and hours.
        fills_format: How to read the executions (default: `format` without its layout, columns and stamp).

    Raises:
        ValueError: The executions are of several instruments, or do not fit the market; the message names the likely cause.
        TypeError: The market is not what a reader of it returns.
    """
    for name, table, kinds in (("source", source, (Trades, Book)), ("quotes", quotes, (Quotes,)), ("bars", bars, (Bars,))):
        if table is not None and not isinstance(table, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{name} must be {wanted} that a reader returns, got {shown(table)}")
    format = format or Format()
    blotter = fills if isinstance(fills, Blotter) else read_blotter(fills, fills_format or of_fills(format))
    blotter = _of_one_symbol(blotter, [table.symbol for table in (source, quotes, bars) if table is not None and table.symbol])
    unknown = np.full(len(blotter), np.nan)
    blotter = replace(blotter, arrival=None, arrival_price=unknown, ordered=unknown)
    numbers, choices = order_numbers(blotter, format)
    calendar = calendar_of(format.calendar, format.hours, format.tz)
    parts: list[_Costs] = []
    left, notes = np.arange(int(numbers.max()) + 1), [*blotter.provenance.choices, *choices]
    for instrument in _instruments(blotter, calendar, source, quotes, bars, format):
        chosen = np.isin(numbers, left)
        part, local = blotter.take(chosen), np.unique(numbers[chosen], return_inverse=True)[1]
        costs = _costs(part, local, instrument)
        fault = misfit(part, instrument, costs.excess)
        if fault:
            raise ValueError(fault)
        parts.append(costs.take(costs.covered))
        if costs.covered.any():
            notes.append(f"{int(costs.covered.sum()):,} orders: {instrument.source}")
        left = left[~costs.covered]
        if not len(left):
            break
    return _joined(parts, len(left), tuple(notes))


def _of_one_symbol(blotter: Blotter, symbols: list[str]) -> Blotter:
    """Return the executions of the instrument of the market; all where neither side names one."""
    known = [blotter.symbol.words[at] for at in np.unique(blotter.symbol.at).tolist()]
    wanted = next((symbol for symbol in symbols if symbol in known), "")
    if wanted:
        return blotter.take(blotter.symbol.at == blotter.symbol.words.index(wanted))
    if len(known) > 1:
        files = ", ".join(blotter.provenance.files[:3])
        raise ValueError(f"{files}: executions in several instruments ({', '.join(known[:5])}); choose one with --symbol")
    return blotter


def _instruments(
    blotter: Blotter, calendar: Any, source: Trades | Book | None, quotes: Quotes | None, bars: Bars | None, format: Format
) -> Iterable[Instrument]:
    """Yield the market of the tape, then that of the bars."""
    symbol = blotter.symbol.of(0)
    if isinstance(source, Book):
        yield instrument_of(symbol, calendar, None, trades_of_book(source), quotes_of_book(source))
    elif source is not None:
        yield instrument_of(symbol, calendar, None, source, quotes)
    if bars is not None:
        stamp = checked_bars(bars, calendar, format)[1]
        yield instrument_of(symbol, calendar, (bars, stamp), None, None)


@dataclass(frozen=True, eq=False)
class _Costs:
    """The orders of one market while the parts of a blotter are joined; arrays have shape (order,)."""

    columns: dict[str, NDArray[Any]]
    covered: NDArray[np.bool_]
    excess: Floats
    """See :class:`~hyperexec_env.baselines.order_costs.OrderCosts`, shape (fill,)."""
    faults: NDArray[np.int64]
    """Index in :data:`_REASONS` of why an order is left out; -1: it is not."""

    def take(self, chosen: NDArray[np.bool_]) -> _Costs:
        """Return some orders."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return _Costs(columns, self.covered[chosen], self.excess, self.faults[chosen])


_REASONS = (
    "fills of several sessions",
    "fills outside the hours",
    "fills at one moment, so that the market at the same time is unknown",
    "the market has no volume while they trade, or less than they",
)


def _costs(blotter: Blotter, order: NDArray[np.int64], instrument: Instrument) -> _Costs:
    """Return the orders of executions against one market."""
    costs = cost_orders(blotter, order, instrument)
    values, path, count = costs.values, instrument.path, len(costs.start)
    session = instrument.grid.session(blotter.time)
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(first, order, blotter.time)
    np.maximum.at(last, order, blotter.time)
    sessions = np.unique(np.stack([order, session]), axis=1)[0]
    moments = np.bincount(np.unique(np.stack([order, blotter.time]), axis=1)[0], minlength=count).astype(float)
    seconds = values["duration_seconds"]
    with np.errstate(invalid="ignore", divide="ignore"):
        span = seconds * moments / (moments - 1.0)  # one interval more than from the first to the last fill
        market = values["market_volume"] * span / path.elapsed(costs.start, costs.end)
        participation = values["filled"] / market
        before, final = values["arrival_price"], path.mid(last)
        side = np.sign(np.bincount(order, blotter.side, count))
        after = final * (1.0 - 1e-4 * side * values[f"reversion_{_AFTER}_bps"])
        move = side * (after - before) / before
    wrong = np.stack(
        [
            np.bincount(sessions, minlength=count) > 1,
            (costs.moved > 0) | (np.bincount(order, session < 0, count) > 0),
            (moments < 2) | ~(seconds > 0.0),
            ~((participation > 0.0) & (participation <= 1.0)),
        ]
    )
    days = np.array([np.datetime64(item.date, "D").astype(np.int64) for item in instrument.grid.sessions])
    columns: dict[str, NDArray[Any]] = {
        "day": days[np.maximum(instrument.grid.session(first), 0)],
        "start": first,
        "shares": values["filled"],
        "participation": participation,
        "seconds": seconds,
        "moments": moments,
        "cost": 1e-4 * values["arrival_bps"],
        "move": move,
    }
    return _Costs(columns, costs.covered, costs.excess, np.where(wrong.any(axis=0), wrong.argmax(axis=0), -1))


def _joined(parts: list[_Costs], without: int, notes: tuple[str, ...]) -> Orders:
    """Return the orders of all parts without those that are left out, in ascending order of their first fills."""
    faults = np.concatenate([part.faults for part in parts])
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    good = np.flatnonzero(faults < 0)
    good = good[np.argsort(columns["start"][good], kind="stable")]
    left_out = {reason: int((faults == at).sum()) for at, reason in enumerate(_REASONS)}
    left_out["no market data at their times"] = without
    kept: dict[str, Any] = {name: values[good] for name, values in columns.items()}
    return Orders(**kept, left_out={reason: count for reason, count in left_out.items() if count}, sources=notes)
