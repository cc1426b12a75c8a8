"""Bars from trades."""

from __future__ import annotations

import numpy as np

from .tables import Bars, Trades
from .zones import MINUTE

__all__ = ["bars_of_trades"]


def bars_of_trades(trades: Trades, minutes: int = 1) -> Bars:
    """Return the bars of trades; an interval without trades has no bar, and trades that the vendor doubts are left out.

    Args:
        trades: The trades, in ascending order of time.
        minutes: Length of a bar, a divisor of an hour or 60.

    Raises:
        ValueError: The length is none of those, or the trades are not in ascending order.
    """
    if minutes < 1 or 60 % minutes:
        raise ValueError(f"minutes must be a divisor of 60, got {minutes}")
    kept = np.flatnonzero(~trades.suspicious)
    interval = trades.time[kept] // (minutes * MINUTE)
    if (np.diff(interval) < 0).any():
        order = np.argsort(trades.time[kept], kind="stable")
        kept, interval = kept[order], interval[order]
    price, size = trades.price[kept], trades.size[kept]
    first = np.flatnonzero(np.diff(interval, prepend=interval[0] - 1)) if len(kept) else np.zeros(0, np.int64)
    last = np.append(first[1:], len(kept)) - 1
    return Bars(
        time=interval[first] * (minutes * MINUTE),
        provenance=trades.provenance,
        symbol=trades.symbol,
        row=trades.row[kept][first],
        source=trades.source[kept][first],
        lines=trades.lines,
        open=price[first],
        high=np.maximum.reduceat(price, first) if len(first) else price,
        low=np.minimum.reduceat(price, first) if len(first) else price,
        close=price[last],
        volume=np.add.reduceat(size, first) if len(first) else size,
        has_volume=True,
        minutes=minutes,
        stamp="start",
    )
