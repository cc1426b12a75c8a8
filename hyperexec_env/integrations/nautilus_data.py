"""Trades, quotes and books of this package as data of nautilus_trader.

A simulated venue of nautilus_trader 1.221 fills a market order from its book. With `book_type=L1_MBP` it fills the displayed
size at the touch and the whole rest one tick beyond, however large it is, and a trade tick moves both sides of the book to its
price until the next quote. With `book_type=L2_MBP` it fills the displayed sizes of all levels and no more: use that, and
:func:`depths`. The book does not react to a fill in either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.tables import Book, Quotes, Trades
from hyperexec_env.data.tape import quotes_of_book
from hyperexec_env.extras import MissingExtra

try:
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import BookOrder, OrderBookDepth10, QuoteTick, TradeTick
    from nautilus_trader.model.enums import AggressorSide, OrderSide
    from nautilus_trader.model.identifiers import InstrumentId, TradeId
    from nautilus_trader.model.instruments import Equity
    from nautilus_trader.model.objects import Price, Quantity
except ModuleNotFoundError as error:
    raise MissingExtra('nautilus_trader is not installed: pip install "hyperexec-env[nautilus]"') from error

__all__ = ["depths", "equity", "quote_ticks", "trade_ticks"]

LEVELS = 10
"""Levels of an OrderBookDepth10."""


def equity(symbol: str, venue: str = "SIM", tick: str = "0.01") -> Any:
    """Return a stock in dollars, traded in whole shares.

    Args:
        symbol: Ticker.
        venue: Name of the venue.
        tick: Smallest step of the price, as text; its decimals are those of all prices.
    """
    name, step = InstrumentId.from_str(f"{symbol}.{venue}"), Price.from_str(tick)
    return Equity(name, name.symbol, USD, step.precision, step, Quantity.from_int(1), 0, 0)


def quote_ticks(quotes: Quotes | Book, instrument: Any) -> list[Any]:
    """Return the best quotes as QuoteTicks, from the times at which they are valid; rows that repeat the last one are left out.

    Quotes on a grid of whole seconds or minutes are the last ones of each interval, and are valid from its end. Rows without a
    bid, an ask or a size, and crossed ones, are left out.

    Args:
        quotes: Quotes or a book.
        instrument: Instrument, whose precisions prices and sizes are rounded to.

    Raises:
        ValueError: The quotes hold no sizes.
    """
    time, *columns = _levels(quotes)
    made = zip(time.tolist(), *(values[:, 0].tolist() for values in columns), strict=True)
    price, size, name = instrument.price_precision, instrument.size_precision, instrument.id
    return [
        QuoteTick(name, Price(bid, price), Price(ask, price), Quantity(bid_size, size), Quantity(ask_size, size), at, at)
        for at, bid, bid_size, ask, ask_size in made
    ]


def depths(quotes: Quotes | Book, instrument: Any) -> list[Any]:
    """Return the book as OrderBookDepth10, up to ten levels (quotes: one level); see :func:`quote_ticks`."""
    time, *columns = _levels(quotes)
    levels = range(min(columns[0].shape[1], LEVELS))
    price, size, name = instrument.price_precision, instrument.size_precision, instrument.id

    def side(kind: Any, prices: list[float], sizes: list[float]) -> list[Any]:
        return [
            BookOrder(kind, Price(prices[at], price), Quantity(sizes[at], size), at + 1) for at in levels if sizes[at] > 0.0
        ]

    made = []
    for number, (at, b, m, a, n) in enumerate(zip(time.tolist(), *(values.tolist() for values in columns), strict=True)):
        bids, asks = side(OrderSide.BUY, b, m), side(OrderSide.SELL, a, n)
        count = min(len(bids), len(asks))  # both sides of the record have the same number of levels
        made.append(OrderBookDepth10(name, bids[:count], asks[:count], [1] * count, [1] * count, 0, number, at, at))
    return made


def _levels(quotes: Quotes | Book) -> tuple[NDArray[Any], ...]:
    """Return times, and bids, bid sizes, asks and ask sizes of shape (row, level); see :func:`quote_ticks`."""
    best = quotes_of_book(quotes) if isinstance(quotes, Book) else quotes
    columns = [np.atleast_2d(values.T).T for values in (quotes.bid, quotes.bid_size, quotes.ask, quotes.ask_size)]
    if np.isnan(best.bid_size).all() or np.isnan(best.ask_size).all():
        names = ", ".join(quotes.provenance.files)
        raise ValueError(f"{names}: the quotes hold no sizes, which fill orders; name the columns of bid_size and ask_size")
    good = (best.ask > best.bid) & (best.bid_size > 0.0) & (best.ask_size > 0.0)
    time, columns = best.valid_from[good], [np.nan_to_num(values[good]) for values in columns]
    changed = np.ones(len(time), dtype=bool)
    if len(time):
        changed[1:] = np.any([(values[1:] != values[:-1]).any(axis=1) for values in columns], axis=0)
    return time[changed], *(values[changed] for values in columns)


def trade_ticks(trades: Trades, instrument: Any) -> list[Any]:
    """Return the trades as TradeTicks; those that the vendor doubts, and those without a size, are left out."""
    price, size, name = instrument.price_precision, instrument.size_precision, instrument.id
    sides = {1: AggressorSide.BUYER, -1: AggressorSide.SELLER, 0: AggressorSide.NO_AGGRESSOR}
    good = ~trades.suspicious & (trades.size > 0.0)
    columns = (trades.time[good], trades.price[good], trades.size[good], trades.side[good])
    return [
        TradeTick(name, Price(paid, price), Quantity(shares, size), sides[side], TradeId(str(number)), at, at)
        for number, (at, paid, shares, side) in enumerate(zip(*(values.tolist() for values in columns), strict=True))
    ]
