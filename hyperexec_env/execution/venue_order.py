"""Venue orders: the pieces of a child order that a router sends to venues. Immutable, in whole lots of the parent."""

from __future__ import annotations

from typing import NamedTuple

from hyperexec_env.market.venue import LIT
from hyperexec_env.orders import Fill, ParentOrder

__all__ = ["MAKER", "TAKER", "Cancel", "Routing", "VenueOrder"]

MAKER, TAKER = "maker", "taker"
"""Liquidity of a fill: of an order that waited for it, or of one that took it."""


class VenueOrder(NamedTuple):
    """An order in one venue: a piece of a child order."""

    parent: ParentOrder
    """The parent order."""
    child: str
    """Identifier of the child order."""
    number: int
    """Sequence number within the child, from 0."""
    venue: str
    """Name of the venue."""
    kind: str
    """Kind of the venue: an order takes in `home` and `lit`, waits for hidden liquidity in `dark`, and rests in `rest`."""
    quantity: float
    """Shares, a whole number of lots of the parent."""
    sent: float
    """Time at which it was sent, seconds on the agent's clock."""
    price: float | None = None
    """Price at which it takes or rests, currency per share; None: no quote of the venue is known."""
    mid: float | None = None
    """Mid when it was sent, currency per share; None: unknown."""
    touch: float | None = None
    """Best price on the other side over all venues when it was sent, currency per share; None: unknown."""
    window: float = 0.0
    """Seconds that it is to wait; 0: it takes at once, and what is not there is cancelled."""
    scale: float = 1.0
    """Shares of one unit of the fill rates: market volume expected in the window; 1: the volume is unknown."""
    fills: tuple[Fill, ...] = ()
    """Fills, in the order in which they were reported."""
    cancelled: float = 0
    """Shares that were cancelled or rejected."""
    rejected: bool = False
    """Whether the venue rejected it."""
    ended: float | None = None
    """Time of its last fill or of its cancellation, seconds on the agent's clock; None: it is in the market."""

    @property
    def id(self) -> str:
        """Identifier of the order, unique within an agent."""
        return f"{self.child}/{self.number}"

    @property
    def takes(self) -> bool:
        """Whether the order takes visible liquidity."""
        return self.kind in LIT

    @property
    def liquidity(self) -> str:
        """Liquidity of its fills, unless the venue reports another one."""
        return TAKER if self.takes else MAKER

    @property
    def filled(self) -> float:
        """Shares that have traded."""
        return self.parent.total(fill.quantity for fill in self.fills)

    @property
    def remaining(self) -> float:
        """Shares that are in the market."""
        return self.parent.total((self.quantity, -self.cancelled, *(-fill.quantity for fill in self.fills)))

    @property
    def complete(self) -> bool:
        """Whether all of it has traded."""
        return self.filled == self.quantity


class Cancel(NamedTuple):
    """Shares of a venue order that the desk wants back from its venue."""

    order: VenueOrder
    """The order."""
    quantity: float
    """Shares to cancel: all that remain, or a part of them, which keeps the place of the others."""


class Routing(NamedTuple):
    """What a desk asks its broker to do for a child order."""

    cancels: tuple[Cancel, ...] = ()
    """Cancellations; shares are routed anew after the venue confirmed them."""
    orders: tuple[VenueOrder, ...] = ()
    """New orders."""
