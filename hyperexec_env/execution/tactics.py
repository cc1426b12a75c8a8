"""Tactics: how a child order trades over its venues until its shares are due: take, rest, or both.

| tactic | until the child's window ends | then |
| --- | --- | --- |
| `take` | takes in lit venues, and posts in dark pools what is cheaper there | takes the rest |
| `peg` | posts everything in dark pools and at the touch, and follows the touch | takes the rest |
| `cont-kukanov` | takes, posts and rests at the least expected cost (Cont and Kukanov 2017) | takes the rest |
| `post-ahead` | as `cont-kukanov`, and posts and rests a fifth of the later children too | takes the rest of its own lots |
| `touch-optimal` | takes and rests by the solved table of a touch scenario (:class:`TouchTable`) | takes the rest |

The window of a child is the fraction `patience` of the interval between children. It ends two calls of the desk before the
deadline at the latest, in time to cancel and to take; a child whose window would last until the deadline takes at once.

Lots of later children wait too (`reach`) only if the next child is due well after the window. What fills makes the later
children smaller, and what does not returns to them, so takes in lit venues keep the pace of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_flag, check_label, check_number, shown
from hyperexec_env.execution.quotes import VenueQuote
from hyperexec_env.execution.routing import HiddenOffer, LitOffer, allocate
from hyperexec_env.execution.venue_order import Cancel, VenueOrder
from hyperexec_env.market.touch import DEEP, JOIN, KEEP, NONE
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import lots_of, shares_of

__all__ = ["TACTICS", "Decision", "Placement", "Tactic", "TouchTable", "View", "plain_tactic", "tactic_from", "tactic_of"]


class View(NamedTuple):
    """What a tactic decides on."""

    lots: int
    """Lots of the child that are in no venue."""
    late: bool
    """Whether the window is over, or the deadline close: what waits is to be cancelled, and everything taken."""
    venues: Sequence[Venue]
    """The venues."""
    quotes: Sequence[VenueQuote]
    """The last quote of each venue; without values if there is none."""
    offers: Sequence[LitOffer | HiddenOffer]
    """What each venue offers, no lots where it has rejected an order of the child; empty where there are no lots to split."""
    waiting: Sequence[VenueOrder]
    """Orders of the child that wait in dark pools or rest."""
    side: int
    """+1 buy, -1 sell."""
    lot_size: float
    """Shares of a lot."""
    remaining: int
    """Lots of the child that have not traded."""
    elapsed: float
    """Seconds since the child was released."""
    memory: dict[str, Any]
    """What the tactic remembers of the child."""
    spare: int = 0
    """Lots of later children that may be sent to hidden venues."""
    ahead: int = 0
    """Lots of later children that wait in hidden venues."""


class Decision(NamedTuple):
    """What a tactic does."""

    lots: Sequence[int]
    """Lots to send to each venue."""
    cancels: Sequence[Cancel] = ()
    """Shares to cancel; they can be sent once the venue has confirmed."""
    extra: Sequence[int] = ()
    """Lots of later children to send to each hidden venue too; what does not fill returns to them. Empty: none."""
    depth: float = 0.0
    """Distance of the resting price from the touch, away from the mid, currency per share."""


class Tactic(Protocol):
    """A tactic."""

    @property
    def name(self) -> str:
        """Name of the tactic."""

    @property
    def patience(self) -> float:
        """Window of a child as a fraction of the interval between children, (0, 1]."""

    @property
    def penalty_bps(self) -> float | None:
        """Cost of a share that does not fill in its window, bps of the arrival price; None: the marginal toll of the child."""

    def decide(self, view: View) -> Decision:
        """Return what to do now."""


_BY_TABLE: Final = "touch-optimal"
"""Name of the tactic that needs a table."""


def _check_own(name: str) -> None:
    """Raise ValueError if a name alone does not make a tactic."""
    check_label("name", name)
    if name == _BY_TABLE:
        raise ValueError('touch-optimal needs the table of a touch scenario: tactic=hx.touch_tactic("touch-5min")')


def _check_patience(patience: float) -> None:
    check_number("patience", patience, low=0.0, high=1.0, open_low=True, unit="fraction of the interval")


def _lit(view: View) -> list[int]:
    """Split all lots over the lit venues."""
    return _split(view, lambda venue: venue.lit)


def _split(view: View, used: Callable[[Venue], bool], penalty: float | None = None) -> list[int]:
    """Split all lots over some of the venues at the least expected cost.

    Args:
        view: The view.
        used: Whether a venue is used.
        penalty: Cost of a share that does not fill, currency per share; None: that of the offers.
    """
    if not view.lots:
        return [0] * len(view.venues)
    offers = [
        replace(offer, penalty=penalty) if penalty is not None and isinstance(offer, HiddenOffer) else offer
        for venue, offer in zip(view.venues, view.offers, strict=True)
        if used(venue)
    ]
    lots = iter(allocate(view.lots, offers))
    return [next(lots) if used(venue) else 0 for venue in view.venues]


def _ahead(view: View, reach: float, rests: bool) -> list[int]:
    """Split a part of the spare lots over the hidden venues at the least expected cost."""
    lots = int(reach * (view.spare + view.ahead)) - view.ahead
    return _split(view._replace(lots=lots), lambda venue: not venue.lit and (rests or venue.kind != "rest")) if lots > 0 else []


def _all_of(orders: Sequence[VenueOrder]) -> list[Cancel]:
    return [Cancel(order, order.remaining) for order in orders]


_OF_NAME: Final[Any] = None
"""Default of a value that the name of the tactic determines."""
_USUAL: Final[dict[str, Any]] = {"takes": True, "rests": True, "reach": 0.0}
_NAMED: Final[dict[str, dict[str, Any]]] = {
    "take": {"rests": False},
    "peg": {"takes": False},
    "cont-kukanov": {},
    "post-ahead": {"reach": 0.2},
}
"""What the tactics have in place of the usual values, by name."""


@dataclass(frozen=True)
class Placement:
    """A tactic that splits a child once, and what comes back anew, by the fill rates of the hidden venues.

    Args:
        name: Name of the tactic: one of :data:`TACTICS`, whose values are the defaults, or your own (as "cont-kukanov").
        takes: Whether it takes before its window ends; all but "peg" do.
        rests: Whether it uses venues of kind `rest`; all but "take" do.
        patience: Window of a child as a fraction of the interval between children, (0, 1].
        penalty_bps: u, cost of a share that does not fill in its window, bps of the arrival price; None: the marginal toll of
            taking the whole child.
        reach: Part of the lots of later children that waits in hidden venues too, [0, 1]: 0.2 of "post-ahead", 0 of others.
            What does not fill in the window returns to them; what fills makes them smaller.

    Raises:
        ValueError: A value is out of range, or the name is that of the tactic that needs a table.
    """

    name: str
    takes: bool = _OF_NAME
    rests: bool = _OF_NAME
    patience: float = 0.5
    penalty_bps: float | None = None
    reach: float = _OF_NAME

    def __post_init__(self) -> None:
        """Take the values of the name, and check all of them."""
        _check_own(self.name)
        for key, value in {**_USUAL, **_NAMED.get(self.name, {})}.items():
            if getattr(self, key) is _OF_NAME:
                object.__setattr__(self, key, value)
        check_number("reach", self.reach, low=0.0, high=1.0, unit="fraction of the later children")
        _check_patience(self.patience)
        check_flag("takes", self.takes)
        check_flag("rests", self.rests)
        if self.penalty_bps is not None:
            check_number("penalty_bps", self.penalty_bps, low=0.0, high=1e4, unit="bps of the arrival price")

    def decide(self, view: View) -> Decision:
        """Return the cheapest split; after the window, cancel what waits and take everything."""
        if view.late:
            return Decision(_lit(view), _all_of(view.waiting))
        moved = [order for order in view.waiting if _left_behind(order, view)]
        hidden = [offer for offer in view.offers if isinstance(offer, HiddenOffer) and offer.limit]
        extra = _ahead(view, self.reach, self.rests) if hidden else []
        if not self.takes and hidden:
            worse = max(2.0 * abs(offer.q) + abs(offer.penalty) for offer in hidden)
            return Decision(_split(view, lambda venue: not venue.lit, worse or 1.0), _all_of(moved), extra)
        return Decision(_split(view, lambda venue: self.rests or venue.kind != "rest"), _all_of(moved), extra)


def _left_behind(order: VenueOrder, view: View) -> bool:
    """Return whether the touch moved away from an order that rests."""
    if order.kind != "rest" or order.price is None:
        return False
    quote = view.quotes[[venue.name for venue in view.venues].index(order.venue)]
    near = quote.near(view.side)
    return near is not None and view.side * (near - order.price) > 0.0


@dataclass(frozen=True, eq=False)
class TouchTable:
    """The tactic `touch-optimal`: the solved table of a child order at the touch; ``hx.touch_tactic`` makes it of a scenario.

    The table has an action, take * 4 + rest, for each step, number of lots left and place, as
    :func:`~hyperexec_env.baselines.solver.touch.solve_touch` makes it. Lots are taken in the lit venues by the router, and rest
    in the first venue of kind `rest`. The place in the queue is that of the quote (`ahead`); unknown, it is the last one.
    """

    actions: NDArray[np.int64]
    """Actions, shape (steps, lots + 1, places)."""
    step_seconds: float
    """Time between two decisions, seconds."""
    lot_shares: float
    """Shares of a lot of the table."""
    tick: float
    """Distance of the deeper price from the touch, currency per share."""
    patience: float = 1.0
    """Window of a child as a fraction of the interval between children, (0, 1]."""
    penalty_bps: float | None = None
    """Cost of a share that does not fill: the table has its own."""
    name: str = _BY_TABLE

    def __post_init__(self) -> None:
        """Check the patience."""
        _check_patience(self.patience)

    @property
    def queue(self) -> int:
        """Lots before an order that joins the touch, the largest number that the table knows."""
        return int(self.actions.shape[2]) - 3

    def decide(self, view: View) -> Decision:
        """Return what the action of this step has not done yet.

        Raises:
            ValueError: The child has more lots than the table, or there is no place to rest.
        """
        if view.late:
            return Decision(_lit(view), _all_of(view.waiting))
        number = next((at for at, venue in enumerate(view.venues) if venue.kind == "rest"), None)
        if number is None:
            raise ValueError("touch-optimal needs a venue of kind rest")
        step = min(int(view.elapsed / self.step_seconds * (1.0 + 1e-12)), len(self.actions) - 1)
        memory, per_lot = view.memory, lots_of(self.lot_shares, view.lot_size)
        if memory.get("step") != step:
            left = -(-view.remaining // per_lot)
            if left >= self.actions.shape[1]:
                most = self.actions.shape[1] - 1
                raise ValueError(f"a child of touch-optimal must have at most {most} lots of {self.lot_shares:g}, got {left}")
            place, behind = self._place(view, number)
            taken, rest = divmod(int(self.actions[step, left, place]), 4)
            if behind and rest == KEEP:
                rest = DEEP if memory.get("deep") else JOIN
            memory.update(step=step, take=min(taken * per_lot, view.remaining), rest=rest, moved=rest in (JOIN, DEEP))
        return self._act(view, number)

    def _place(self, view: View, number: int) -> tuple[int, bool]:
        """Return the place of the resting lots as an index of the table, and whether the touch moved away from them.

        Lots that were left behind count as the last ones in the queue of the new touch, which they are about to join.
        """
        if not view.waiting:
            return self.queue + 2, False
        quote, price, deep = view.quotes[number], view.waiting[-1].price, bool(view.memory.get("deep"))
        near = quote.near(view.side)
        gap = 0.0 if near is None or price is None else view.side * (near - price)
        behind = gap - self.tick * deep > 0.5 * self.tick
        if deep and (near is None or gap > 0.5 * self.tick):
            return self.queue + 1, behind
        view.memory["deep"] = False
        if behind:
            return self.queue, True
        lots = self.queue if quote.ahead is None else round(quote.ahead / self.lot_shares)
        return min(max(lots, 0), self.queue), False

    def _act(self, view: View, number: int) -> Decision:
        """Return the cancellations that the action needs, or else the orders."""
        memory = view.memory
        resting = sum(lots_of(order.remaining, view.lot_size) for order in view.waiting)
        kept = 0 if memory["rest"] == NONE or memory["moved"] else resting
        surplus = resting - min(kept, view.remaining - memory["take"])
        if surplus > 0:
            return Decision([0] * len(view.venues), _reduced(view.waiting, surplus, view.lot_size))
        memory["moved"] = False  # what rested before has gone
        taken = min(memory["take"], view.lots)
        split = _lit(view._replace(lots=taken))
        memory["take"] -= sum(split)
        if memory["rest"] in (JOIN, DEEP) and view.lots > taken:
            split[number] = view.lots - taken
            memory["deep"], memory["rest"] = memory["rest"] == DEEP, KEEP
        return Decision(split, depth=self.tick if memory.get("deep") else 0.0)


def _reduced(orders: Sequence[VenueOrder], lots: int, lot_size: float) -> list[Cancel]:
    """Return cancellations of a number of lots, newest orders first."""
    cancels = []
    for order in reversed(orders):
        part = min(lots_of(order.remaining, lot_size), lots)
        if part:
            cancels.append(Cancel(order, shares_of(part, lot_size)))
        lots -= part
    return cancels


TACTICS: Final[dict[str, Placement]] = {name: Placement(name) for name in _NAMED}
"""Tactics by name."""


def plain_tactic(tactic: Tactic) -> dict[str, Any]:
    """Return a tactic as plain values for JSON; :func:`tactic_from` is the inverse.

    Raises:
        ValueError: The tactic is a user's own.
    """
    if not isinstance(tactic, (Placement, TouchTable)):
        raise ValueError(f"a journal stores the tactics {', '.join((*TACTICS, TouchTable.name))}, got {tactic.name!r}")
    values = {item.name: getattr(tactic, item.name) for item in fields(tactic)}
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in values.items()}


def tactic_from(values: Mapping[str, Any]) -> Tactic:
    """Return the tactic of plain values."""
    if "actions" in values:
        return TouchTable(**{**values, "actions": np.array(values["actions"], dtype=np.int64)})
    return Placement(**values)


def tactic_of(given: str | Tactic) -> Tactic:
    """Return the tactic of a name, or the given one.

    Raises:
        ValueError: There is no such tactic; `touch-optimal` needs a table.
    """
    if not isinstance(given, str):
        if isinstance(given, type) or not callable(getattr(given, "decide", None)):
            raise ValueError(f"tactic must be a name or a record with a method decide, got {shown(given)}")
        return given
    _check_own(given)
    return TACTICS[check_choice("tactic", given, (*TACTICS, _BY_TABLE))]
