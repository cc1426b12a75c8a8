r"""Costs of orders against the market of one instrument: the conventions of transaction cost analysis, one definition each.

Notation: an order of side :math:`s` (1 buy, -1 sell) has fills of :math:`q_j` shares at :math:`p_j` at times :math:`t_j`,
:math:`F = \sum q_j`, average price :math:`\bar p = \sum q_j p_j / F`, size :math:`X` (the filled shares where it is unknown),
arrival at :math:`t_0`, last fill at :math:`T`, and :math:`m(t)` is the mid. Every cost is positive for a loss of the desk, on
either side of the market. :data:`MEASURES` holds formula, unit and source of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.blotter import Blotter
from hyperexec_env.data.zones import MINUTE, SECOND, Nanoseconds

from .instrument import Instrument

__all__ = [
    *("HORIZONS", "MEASURES", "PWP_RATES", "Fills", "Horizon", "Measure", "OrderCosts", "Settings"),
    *("cost_orders", "fill_markouts", "fill_spreads", "fills_of"),
]

Floats = NDArray[np.float64]


class Measure(NamedTuple):
    """The definition of a column of the table of orders."""

    unit: str
    meaning: str
    source: str = ""

    @property
    def text(self) -> str:
        """Unit, meaning and source in one line."""
        return f"[{self.unit}] {self.meaning}" + (f" ({self.source})" if self.source else "")


class Horizon(NamedTuple):
    """A time after a fill."""

    name: str
    nanoseconds: int
    """0 for the close of the session."""


HORIZONS: Final = (
    Horizon("1s", SECOND),
    Horizon("10s", 10 * SECOND),
    Horizon("1m", MINUTE),
    Horizon("5m", 5 * MINUTE),
    Horizon("30m", 30 * MINUTE),
    Horizon("close", 0),
)
REALISED: Final = "5m"
"""Horizon of the realised spread, as in Huang and Stoll (1996)."""
PWP_RATES: Final = (5, 10, 20)
"""Participation rates of the participation-weighted price, percent."""

MEASURES: Final = {
    "shortfall_bps": Measure(
        "bps of X m(t0)",
        "s [sum q (p - m(t0)) + (X - F) (m(T) - m(t0))] / (X m(t0)): implementation shortfall, with the opportunity cost of "
        "the shares that were ordered and not filled",
        "Perold 1988",
    ),
    "arrival_bps": Measure(
        "bps", "s (average price - m(t0)) / m(t0): slippage of the filled shares from the arrival", "Perold 1988"
    ),
    "vwap_bps": Measure("bps", "s (average price - VWAP) / VWAP, VWAP of the market from the arrival to the last fill"),
    "twap_bps": Measure("bps", "s (average price - TWAP) / TWAP, TWAP the time-weighted mid over the same trading time"),
    "close_bps": Measure("bps", "s (average price - close) / close, the last mid of the session of the last fill"),
    **{
        f"pwp{rate}_bps": Measure(
            "bps",
            f"s (average price - PWP) / PWP, PWP the VWAP of the market from the arrival until it has traded F / {rate} % "
            f"shares: the price of a trader who takes {rate} % of the volume; absent if the last session ends first",
            "participation-weighted price, as brokers report it",
        )
        for rate in PWP_RATES
    },
    **{
        f"markout_{item.name}_bps": Measure(
            "bps",
            f"s (p - m(t + h)) / m(t), mean over the fills by notional, h = {item.name}: the price paid against the mid after "
            "the fill; absent for fills whose horizon passes the close",
            "half of the realised spread of Huang and Stoll 1996",
        )
        for item in HORIZONS
    },
    **{
        f"reversion_{item.name}_bps": Measure(
            "bps",
            f"s (m(T) - m(T + h)) / m(T), h = {item.name}: return of the mid after the last fill, the temporary impact",
            "Almgren, Thum, Hauptmann and Li 2005",
        )
        for item in HORIZONS
    },
    "quoted_spread_bps": Measure("bps", "(ask - bid) / m(t) just before each fill, mean over the fills by notional"),
    "effective_spread_bps": Measure(
        "bps",
        "2 s (p - m(t)) / m(t), m(t) the mid of the quotes just before each fill, mean by notional",
        "Huang and Stoll 1996",
    ),
    "realised_spread_bps": Measure(
        "bps", f"2 s (p - m(t + {REALISED})) / m(t), mid of the quotes, mean over the fills by notional", "Huang and Stoll 1996"
    ),
    "fees_bps": Measure("bps of X m(t0)", "fees of broker and venue / (X m(t0))"),
    "total_bps": Measure("bps of X m(t0)", "shortfall + fees"),
    "participation_percent": Measure(
        "%", "F / volume of the market from the arrival to the last fill, which holds these fills"
    ),
    "duration_seconds": Measure("s", "trading time from the first to the last fill"),
}
"""Definitions of the measures; positive is a cost in each that has bps."""


@dataclass(frozen=True)
class Settings:
    """Fees that the data do not hold."""

    fee_per_share: float = 0.0
    """Currency per share."""
    fee_bps: float = 0.0
    """Bps of the traded notional, in addition."""
    min_fee: float = 0.0
    """Smallest fee of an execution, currency."""

    @property
    def any(self) -> bool:
        """Whether there are fees."""
        return bool(self.fee_per_share or self.fee_bps or self.min_fee)

    def fees(self, quantity: Floats, price: Floats) -> Floats:
        """Return the fee of each execution, currency."""
        return np.maximum(self.fee_per_share * quantity + 1e-4 * self.fee_bps * quantity * price, self.min_fee)


class OrderCosts(NamedTuple):
    """Costs of the orders of one instrument; arrays have shape (order,), NaN where a value is unknown."""

    values: dict[str, Floats]
    """Measures by name, and prices, shares and currency amounts."""
    start: Nanoseconds
    """Arrival, UTC."""
    end: Nanoseconds
    """Last fill (the end of its bar), UTC."""
    covered: NDArray[np.bool_]
    """Whether the data hold the market of all fills; otherwise the measures are NaN."""
    moved: NDArray[np.int64]
    """Fills outside the data and the hours, which are compared with the nearest price of their session."""
    outside: NDArray[np.int64]
    """Fills outside the low-high range of their bar or minute."""
    excess: Floats
    """How far each fill lies outside the range, as a fraction of its price, shape (fill,); NaN if the range is unknown."""


class Fills(NamedTuple):
    """The fills of one instrument, with the order of each."""

    order: NDArray[np.int64]
    orders: int
    side: Floats
    quantity: Floats
    price: Floats
    time: Nanoseconds
    session: NDArray[np.int64]

    def total(self, values: Floats) -> Floats:
        """Return the sum over the fills of each order."""
        return np.asarray(np.bincount(self.order, weights=values, minlength=self.orders), dtype=float)

    def mean(self, values: Floats) -> Floats:
        """Return the mean over the fills of each order that have a value, weighted by notional; NaN if none has."""
        good = np.isfinite(values)
        weight = np.where(good, self.quantity * self.price, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total(weight * np.where(good, values, 0.0)) / self.total(weight)

    def first(self, values: Any) -> Any:
        """Return the smallest value of each order."""
        result = np.full(self.orders, np.iinfo(np.int64).max)
        np.minimum.at(result, self.order, values)
        return result

    def last(self, values: Any) -> Any:
        """Return the largest value of each order."""
        result = np.full(self.orders, np.iinfo(np.int64).min)
        np.maximum.at(result, self.order, values)
        return result


def fills_of(blotter: Blotter, group: NDArray[np.int64], instrument: Instrument) -> tuple[Fills, NDArray[np.bool_]]:
    """Return the fills of one instrument with the number of the group of each, and whether the data hold their market.

    Args:
        blotter: Its executions.
        group: Number of the order, or other group, of each execution, from 0, shape (fill,).
        instrument: Its market.
    """
    session = instrument.grid.session(blotter.time)
    time = _within(blotter.time, session, instrument)
    fills = Fills(group, int(group.max()) + 1, blotter.side.astype(float), blotter.quantity, blotter.price, time, session)
    return fills, np.asarray(instrument.path.held(time) & (session >= 0))


def cost_orders(
    blotter: Blotter, order: NDArray[np.int64], instrument: Instrument, settings: Settings | None = None
) -> OrderCosts:
    """Return the costs of the orders of one instrument.

    Args:
        blotter: Its executions.
        order: Number of the order of each execution, from 0, shape (fill,).
        instrument: Its market.
        settings: Fees, where the blotter holds none.
    """
    fills, held = fills_of(blotter, order, instrument)
    covered = fills.total((~held).astype(float)) == 0.0
    start, end = _interval(blotter, fills, instrument)
    values = {**_amounts(blotter, fills, settings or Settings()), **_unknown(fills.orders)}
    values |= _benchmarks(blotter, fills, instrument, start, end, values)
    values |= _markouts(fills, instrument)
    if instrument.quotes is not None:
        values |= _spreads(fills, instrument)
    for name in (*MEASURES, "arrival_price", "vwap", "twap", "market_volume", "shortfall", "lacking"):
        values[name] = np.where(covered, values[name], np.nan)
    excess = instrument.ranges.excess(blotter.time, blotter.price)
    moved = fills.total((fills.time != blotter.time).astype(float)).astype(np.int64)
    outside = fills.total((excess > 1e-9).astype(float)).astype(np.int64)
    return OrderCosts(values, start, end, covered, moved, outside, excess)


def _unknown(count: int) -> dict[str, Floats]:
    return {name: np.full(count, np.nan) for name in MEASURES}


def _within(time: Nanoseconds, session: NDArray[np.int64], instrument: Instrument) -> Nanoseconds:
    """Return times, those that the data do not hold moved to the open or the close of their session."""
    at = np.maximum(session, 0)
    moved = np.clip(time, instrument.grid.session_opens[at], instrument.grid.session_closes[at])
    return np.asarray(np.where(instrument.path.held(time) | (session < 0), time, moved))


def _interval(blotter: Blotter, fills: Fills, instrument: Instrument) -> tuple[Nanoseconds, Nanoseconds]:
    """Return arrival and end of each order: without a time of arrival, those of the first and last fill (or of their bars)."""
    first, last = fills.first(fills.time), fills.last(fills.time)
    start, end = _bar_edges(first, instrument)[0], _bar_edges(last, instrument)[1]
    if blotter.arrival is not None:
        given = fills.first(blotter.arrival)
        late = np.flatnonzero(given > first + SECOND)
        if len(late):
            at = int(np.flatnonzero(fills.order == late[0])[0])
            raise ValueError(
                f"{blotter.where(at)}: the arrival of the order is {(given[late[0]] - first[late[0]]) / SECOND:g} s after its "
                "first fill; check the time zone of both columns, or leave the arrival out"
            )
        start = np.minimum(_within(given, instrument.grid.session(given), instrument), first)
    return start, end


def _bar_edges(time: Nanoseconds, instrument: Instrument) -> tuple[Nanoseconds, Nanoseconds]:
    """Return start and end of the bar of each time; the time itself where the market is not that of bars."""
    if not instrument.bar:
        return time, time
    at = instrument.path.segment(time)
    start, end = instrument.path.start[at].copy(), instrument.path.end[at].copy()
    grid = instrument.grid
    session = grid.session(time)
    closing = np.isin(time, grid.closes)
    piece = grid.piece(np.where(closing, time - 1, time))
    inside = np.flatnonzero((piece >= 0) & (session >= 0))
    opens, closes = grid.opens[piece[inside]], grid.closes[piece[inside]]
    number = (np.where(closing, time - 1, time)[inside] - opens) // instrument.bar
    start[inside] = opens + number * instrument.bar
    end[inside] = np.minimum(start[inside] + instrument.bar, closes)
    return start, end


def _amounts(blotter: Blotter, fills: Fills, settings: Settings) -> dict[str, Floats]:
    """Return shares, average price and currency amounts of each order."""
    filled = fills.total(fills.quantity)
    paid = fills.total(fills.quantity * fills.price)
    given = np.full(fills.orders, -np.inf)
    np.maximum.at(given, fills.order, np.nan_to_num(blotter.ordered, nan=-np.inf))
    fee = blotter.fee if blotter.fee is not None else settings.fees(fills.quantity, fills.price)
    return {
        "filled": filled,
        "ordered": np.maximum(given, filled),
        "overfilled": np.where(np.isfinite(given), np.maximum(filled - given * (1.0 + 1e-9), 0.0), 0.0),
        "average_price": paid / filled,
        "fees": fills.total(fee),
        "fills": fills.total(np.ones(len(fills.order))),
    }


def _benchmarks(
    blotter: Blotter, fills: Fills, instrument: Instrument, start: Nanoseconds, end: Nanoseconds, values: dict[str, Floats]
) -> dict[str, Floats]:
    """Return the costs against prices of the market."""
    path, flow = instrument.path, instrument.flow
    filled, ordered, average = values["filled"], values["ordered"], values["average_price"]
    side = fills.total(fills.side) / values["fills"]
    ticks_arrival = not instrument.bar and blotter.arrival is None
    given = np.full(fills.orders, -np.inf)
    np.maximum.at(given, fills.order, np.nan_to_num(blotter.arrival_price, nan=-np.inf))
    arrival = np.where(given > 0.0, given, path.mid(start, before=ticks_arrival))
    closing = instrument.grid.session_closes[np.maximum(fills.last(fills.session), 0)]
    close = np.where(path.held(closing), path.mid(closing), np.nan)
    nothing = np.full(fills.orders, np.nan)
    volume, notional = flow.between(start, end) if flow else (nothing, nothing)
    with np.errstate(invalid="ignore", divide="ignore"):
        prices = {
            "arrival": arrival,
            "vwap": np.where(volume > 0.0, notional / volume, np.nan),
            "twap": path.twap(start, end),
            "close": close,
            **{
                f"pwp{rate}": flow.price_of_next(start, 100.0 * filled / rate, np.maximum(closing, end)) if flow else nothing
                for rate in PWP_RATES
            },
        }
        participation = np.where(volume > 0.0, 100.0 * filled / volume, np.nan)
    paper = ordered * arrival
    shortfall = side * (filled * (average - arrival) + (ordered - filled) * (path.mid(end) - arrival))
    return {
        **{f"{name}_bps": 1e4 * side * (average - price) / price for name, price in prices.items()},
        "shortfall": shortfall,
        "shortfall_bps": 1e4 * shortfall / paper,
        "fees_bps": 1e4 * values["fees"] / paper,
        "total_bps": 1e4 * (shortfall + values["fees"]) / paper,
        "participation_percent": participation,
        "market_volume": volume,
        "duration_seconds": path.elapsed(fills.first(fills.time), fills.last(fills.time)),
        "arrival_price": arrival,
        "vwap": prices["vwap"],
        "twap": prices["twap"],
        "lacking": path.lacking(start, end),
    }


def _later(path: Any, instrument: Instrument, time: Nanoseconds, session: NDArray[np.int64], horizon: Horizon) -> Floats:
    """Return the mid a horizon after some times; NaN where the session ends before, or the data do not resolve it."""
    close = instrument.grid.session_closes[np.maximum(session, 0)]
    later = time + horizon.nanoseconds if horizon.nanoseconds else close
    known = (later <= close) & path.held(later) & (not horizon.nanoseconds or horizon.nanoseconds >= path.resolution)
    return np.where(known, path.mid(later), np.nan)


def _markouts(fills: Fills, instrument: Instrument) -> dict[str, Floats]:
    """Return the markouts of the fills and the reversion after the last fill."""
    path = instrument.path
    last, session = fills.last(fills.time), fills.last(fills.session)
    final, side = path.mid(last), fills.total(fills.side) / fills.total(np.ones(len(fills.order)))
    found = {name: 1e4 * fills.mean(moved) for name, moved in fill_markouts(fills, instrument).items()}
    for item in HORIZONS:
        found[f"reversion_{item.name}_bps"] = 1e4 * side * (final - _later(path, instrument, last, session, item)) / final
    return found


def fill_markouts(fills: Fills, instrument: Instrument) -> dict[str, Floats]:
    """Return the markouts of each fill by name, fractions of the mid before it; NaN where the data do not say them."""
    path = instrument.path
    mid = path.mid(fills.time, before=not instrument.bar)
    return {
        f"markout_{item.name}_bps": fills.side * (fills.price - _later(path, instrument, fills.time, fills.session, item)) / mid
        for item in HORIZONS
    }


def _spreads(fills: Fills, instrument: Instrument) -> dict[str, Floats]:
    """Return the spreads from quotes."""
    return {name: 1e4 * fills.mean(values) for name, values in fill_spreads(fills, instrument).items()}


def fill_spreads(fills: Fills, instrument: Instrument) -> dict[str, Floats]:
    """Return the spreads of each fill by name, from quotes, fractions of the mid before it; NaN before the first quote."""
    quotes, (times, half) = instrument.quotes, instrument.half_spread or (np.zeros(0, np.int64), np.zeros(0))
    assert quotes is not None  # noqa: S101 - the caller has checked
    mid = quotes.mid(fills.time, before=True)
    known = fills.time > quotes.start[0]
    later = _later(quotes, instrument, fills.time, fills.session, next(item for item in HORIZONS if item.name == REALISED))
    before = np.maximum(np.searchsorted(times, fills.time, side="left") - 1, 0)
    spreads = {
        "quoted_spread_bps": 2.0 * half[before] / mid,
        "effective_spread_bps": 2.0 * fills.side * (fills.price - mid) / mid,
        "realised_spread_bps": 2.0 * fills.side * (fills.price - later) / mid,
    }
    return {name: np.where(known, values, np.nan) for name, values in spreads.items()}
