"""The fills of one order of one day, by the clock of its market: the order of a single report."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.blotter import Blotter, read_blotter
from hyperexec_env.data.calendars import zone_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.tables import Provenance
from hyperexec_env.data.zones import DAY, SECOND, date_of, local_of
from hyperexec_env.execution.venue_order import MAKER, TAKER
from hyperexec_env.orders import check_lot_size, check_quantity, lots_of, shares_of

__all__ = ["DeskFill", "DeskOrder", "desk_order", "read_fills"]


class DeskFill(NamedTuple):
    """One fill."""

    number: int
    """Number of the fill in its blotter; see :meth:`DeskOrder.where`."""
    time: float
    """Wall-clock time, seconds after midnight."""
    quantity: float
    """Shares, a whole number of lots."""
    price: float
    """Currency per share."""
    venue: str = ""
    """Name of the venue; empty: unknown."""
    liquidity: str = ""
    """"maker", "taker", or empty: unknown."""
    fee: float = 0.0
    """Fee, currency, where the venue is known."""


@dataclass(frozen=True)
class DeskOrder:
    """The fills of one order on one day."""

    file: str
    date: str
    side: int
    """+1 buy, -1 sell."""
    fills: tuple[DeskFill, ...]
    """Fills in ascending order of time."""
    zone: timezone
    """Offset of the times from UTC: that of the market on the day."""
    symbol: str = ""
    order_id: str = ""
    lot_size: float = 1
    """Shares of a lot."""
    notes: tuple[str, ...] = ()
    """Sentences on how the fills were read."""
    places: Callable[[int], str] = field(default=str, repr=False, compare=False)
    """Function from the number of a fill to its file and line."""

    def where(self, fill: DeskFill) -> str:
        """Return file and line of a fill; finding the line reads the file."""
        return self.places(fill.number)

    @property
    def filled(self) -> float:
        """Total shares of the fills, exact in lots."""
        return shares_of(sum(lots_of(fill.quantity, self.lot_size) for fill in self.fills), self.lot_size)


def read_fills(path: str | os.PathLike[str], lot_size: float = 1, format: Format | None = None) -> DeskOrder:
    """Read the fills of one order of one day; see :func:`~hyperexec_env.data.blotter.read_blotter`, and :func:`desk_order`."""
    format = format or Format()
    return desk_order(read_blotter(path, format), zone_of(format.calendar), lot_size)


def desk_order(blotter: Blotter, zone: str, lot_size: float = 1) -> DeskOrder:
    """Return the order that all executions of a blotter belong to.

    Args:
        blotter: The executions.
        zone: Time zone of the market.
        lot_size: Shares of a lot; each quantity must be a whole number of lots.

    Raises:
        ValueError: The executions are of several days, sides, symbols or order ids, or a quantity is no whole number of lots;
            the message names the line.
    """
    lot_size, local = check_lot_size(lot_size), local_of(blotter.time, zone)
    _check_one(blotter, local // DAY)
    clock = (local % DAY).tolist()
    rows = enumerate(zip(clock, blotter.quantity.tolist(), blotter.price.tolist(), strict=True))
    fills = [_fill(blotter, at, *row, lot_size) for at, row in rows]
    offset = timezone(timedelta(seconds=int(local[0] - blotter.time[0]) // SECOND))
    return DeskOrder(
        ", ".join(blotter.provenance.files),
        date_of(int(local[0])),
        int(blotter.side[0]),
        tuple(fills),
        offset,
        blotter.symbol.of(0),
        blotter.order_id.of(0),
        lot_size,
        tuple(_notes(blotter.provenance, zone, offset)),
        blotter.where,
    )


def _check_one(blotter: Blotter, days: NDArray[np.int64]) -> None:
    """Raise ValueError if executions are of several days, sides, symbols or order ids."""
    for name, values in (
        ("day", days),
        ("side", blotter.side),
        ("symbol", blotter.symbol.at),
        ("order_id", blotter.order_id.at),
    ):
        other = np.flatnonzero(values != values[0])
        if len(other):
            raise ValueError(
                f"{blotter.where(int(other[0]))}: {name} differs from that of {blotter.where(0)}; one order is expected"
            )


def _fill(blotter: Blotter, at: int, time: int, quantity: float, price: float, lot_size: float) -> DeskFill:
    """Return a fill; its time is given in nanoseconds after midnight."""
    seconds = time // SECOND + time % SECOND / 1000 * 1e-6
    shares = int(quantity) if quantity == int(quantity) else quantity
    try:
        fill = DeskFill(at, seconds, check_quantity("quantity", shares, lot_size), price)
    except ValueError as error:
        raise ValueError(f"{blotter.where(at)}: {error}; see --lot-size") from None
    if "venue" not in blotter.provenance.columns:
        return fill
    fee = 0.0 if blotter.fee is None or np.isnan(blotter.fee[at]) else float(blotter.fee[at])
    liquidity = _LIQUIDITY.get(blotter.liquidity.of(at).strip().lower(), "")
    return fill._replace(venue=blotter.venue.of(at), liquidity=liquidity, fee=fee)


_LIQUIDITY: Final = {
    **dict.fromkeys(("1", "maker", "added", "add", "adds", "a", "m", "passive", "provide"), MAKER),
    **dict.fromkeys(("2", "taker", "removed", "remove", "removes", "r", "t", "aggressive", "take"), TAKER),
}
"""Liquidity of an execution by the words of brokers; 1 and 2 are those of FIX (LastLiquidityInd)."""


def _notes(provenance: Provenance, zone: str, offset: timezone) -> list[str]:
    """Return sentences on how the fills were read."""
    notes = [*provenance.choices, *(f"{count:,} rows left out: {reason}" for reason, count in provenance.dropped.items())]
    if "fee" in provenance.columns and "venue" not in provenance.columns:
        column = provenance.columns["fee"]
        notes.append(f"the fees of column {column} are not in this report; the table of orders (--out) holds them")
    if provenance.zone != zone:
        notes.append(f"the times of the fills are converted from {provenance.zone} to {offset}, the time zone of the market")
    return notes
