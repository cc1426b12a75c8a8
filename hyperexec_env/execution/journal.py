"""A desk on a live feed: an execution agent that hears quotes, trades and timers, with a journal from which it replays.

Everything that reaches the desk is one line of JSON, in order, and so is every child that the desk releases. The agent has a
seed and no clock of its own, so that :func:`replay_journal` releases the same children from the same lines.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from hyperexec_env.checks import check_number, check_seed, nearest
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.basket_order import BasketOrder
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.fill_rates import FillRates
from hyperexec_env.execution.quotes import Quote, VenueQuote
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.execution.tactics import Tactic, plain_tactic, tactic_from, tactic_of
from hyperexec_env.execution.venue_order import Cancel, Routing, VenueOrder
from hyperexec_env.files import read_regular
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = ["Feed", "LiveDesk", "replay_journal"]

VERSION: Final = 1
"""Version of the journal."""
LARGEST: Final = 2**28
"""Largest size of a journal that is read, bytes."""
EVENTS: Final = ("quote", "trade", "timer", "route", "fill", "cancel", "stop")
"""Events of a journal beside start, order, list, child and sent; each is the method of the same name."""
RELEASED: Final = ("child", "sent")
"""Events that the desk makes itself: a child, and a venue order."""


@dataclass
class Feed:
    """What the desk has heard of one symbol."""

    window: float
    """Seconds of the past whose trades give the volume rate."""
    mid: float | None = None
    """Mid of the last quote that holds both sides, currency per share."""
    volume: float = 0.0
    """Shares traded so far."""
    signed: float = 0.0
    """Shares bought minus shares sold by aggressors so far; a trade without a side is signed by the quote rule."""
    since: float | None = None
    """Time of the first event."""
    trades: deque[tuple[float, float]] = field(default_factory=deque)
    """Time and size of the trades in the window."""
    recent: float = 0.0
    """Shares of the trades in the window."""
    venues: dict[str, VenueQuote] = field(default_factory=dict)
    """Last quote of each venue."""

    def hear_quote(self, time: float, bid: float, ask: float) -> None:
        """Take the mid of a quote; a crossed quote leaves the mid as it was."""
        self.since = time if self.since is None else self.since
        if 0.0 < bid <= ask:
            self.mid = 0.5 * (bid + ask)

    def hear_venue(self, time: float, venue: str, quote: VenueQuote) -> None:
        """Take the quote of a venue, and the mid of the best bid and offer over all venues unless they are crossed."""
        self.venues[venue] = quote
        bids, asks = ([price for one in self.venues.values() if (price := one[side]) is not None] for side in (0, 1))
        if bids and asks:
            self.hear_quote(time, max(bids), min(asks))

    def hear_trade(self, time: float, price: float, size: float, side: int) -> None:
        """Count a trade."""
        self.since = time if self.since is None else self.since
        self.volume += size
        if not side and self.mid is not None:
            side = (price > self.mid) - (price < self.mid)
        self.signed += side * size
        self.trades.append((time, size))
        self.recent += size

    def rate(self, time: float) -> float | None:
        """Return the market volume a second in the window before a time; None until a trade and a second have passed."""
        while self.trades and self.trades[0][0] < time - self.window:
            self.recent -= self.trades.popleft()[1]
        heard = 0.0 if self.since is None else min(time - self.since, self.window)
        return max(self.recent, 0.0) / heard if heard >= 1.0 and self.volume else None


class LiveDesk:
    """An :class:`~hyperexec_env.execution.agent.ExecutionAgent` on a feed of market events.

    The volume rate that the agent caps its children by is that of the trades heard in the last `volume_window` seconds. Times
    are seconds on one clock (seconds since 1970 in live trading), and do not run backwards.

    Args:
        config: Settings of the agent; None: the defaults.
        seed: Seed of the order hiding; None: drawn, and stored in the journal.
        volume_window: Seconds of the past whose trades give the volume rate.
        journal: Path of a new file that stores the session line by line, or a function that stores a line (without its line
            break); None: no journal.
        venues: Venues over which :meth:`route` splits the children; empty: none. The quotes of a venue are those of its name.
        tactic: How a child trades in its venues; see :class:`~hyperexec_env.execution.agent.ExecutionAgent`.
        fill_rates: What is known of hidden liquidity, which the journal stores; None: nothing.

    Raises:
        ValueError: A value is out of range, or the file exists.
    """

    def __init__(
        self,
        config: ExecutionConfig | None = None,
        *,
        seed: int | None = None,
        volume_window: float = 300.0,
        journal: str | os.PathLike[str] | Callable[[str], object] | None = None,
        venues: Sequence[Venue] = (),
        tactic: str | Tactic = "cont-kukanov",
        fill_rates: FillRates | None = None,
    ) -> None:
        """Start the agent, and the journal."""
        self.config = ExecutionConfig() if config is None else config
        self.seed = secrets.randbits(62) if seed is None else check_seed(seed)
        self.volume_window = check_number("volume_window", volume_window, low=1.0, high=1e6, unit="seconds")
        routing = {}
        if venues:
            known = None if fill_rates is None else fill_rates.to_dict()
            given = {"venues": [venue.to_dict() for venue in venues], "tactic": plain_tactic(tactic_of(tactic))}
            routing = given if known is None else {**given, "fill_rates": known}
        self.agent = ExecutionAgent(
            self.config, seed=self.seed, clock=lambda: 0.0, venues=venues, tactic=tactic, fill_rates=fill_rates
        )
        self.agent.start()
        self.feeds: dict[str, Feed] = {}
        self.children: dict[str, ChildOrder] = {}
        """Released children by id, with their fills."""
        self.lists: dict[str, BasketOrder] = {}
        """Accepted lists by id; `desk.agent.basket_report(id)` is the report of one."""
        self._orders: set[str] = set()
        self._open: dict[str, None] = {}  # children with shares that have not traded
        self._file: TextIO | None = None
        self._write = journal if callable(journal) else None
        if isinstance(journal, (str, os.PathLike)):
            self._file = _new_file(Path(journal))
        self._log("start", version=VERSION, seed=self.seed, volume_window=volume_window, config=asdict(self.config), **routing)

    def _log(self, event: str, **values: Any) -> None:
        if self._write is None and self._file is None:
            return
        line = json.dumps({"event": event, **values}, separators=(",", ":"), allow_nan=False)
        if self._write is not None:
            self._write(line)
        if self._file is not None:
            self._file.write(line + "\n")

    def feed(self, symbol: str) -> Feed:
        """Return what the desk has heard of a symbol."""
        return self.feeds.setdefault(symbol, Feed(self.volume_window))

    def submit(self, order: ParentOrder | BasketOrder, time: float) -> None:
        """Accept a parent order or a list; see the methods `submit_order` and `submit_basket` of the agent."""
        if isinstance(order, BasketOrder):
            self.agent.submit_basket(order, time)
            self.lists[order.id] = order
            self._orders.update(each.id for each in order.orders)
            self._log("list", time=time, order=asdict(order))
            return
        self.agent.submit_order(order, time)
        self._orders.add(order.id)
        self._log("order", time=time, order=asdict(order))

    def is_open(self, order: str) -> bool:
        """Return whether the agent works a parent order, or an order of a list."""
        names = [each.id for each in self.lists[order].orders] if order in self.lists else [order]
        return any(name in self._orders and self.agent.report(name) is None for name in names)

    def quote(
        self,
        symbol: str,
        bid: float,
        ask: float,
        time: float,
        venue: str | None = None,
        bid_size: float | None = None,
        ask_size: float | None = None,
    ) -> None:
        """Hear a quote: bid and ask, currency per share; of a venue, also the visible shares, if they are known."""
        of_venue = {} if venue is None else {"venue": venue, "bid_size": bid_size, "ask_size": ask_size}
        self._log("quote", time=time, symbol=symbol, bid=bid, ask=ask, **of_venue)
        if venue is None:
            self.feed(symbol).hear_quote(time, bid, ask)
        else:
            self.feed(symbol).hear_venue(time, venue, VenueQuote(bid, ask, bid_size, ask_size))

    def trade(self, symbol: str, price: float, size: float, time: float, side: int = 0) -> None:
        """Hear a trade of others: its price, its size in shares, and the side of the aggressor (0: unknown)."""
        self._log("trade", time=time, symbol=symbol, price=price, size=size, side=side)
        self.feed(symbol).hear_trade(time, price, size, side)

    def timer(self, time: float, regime: str | None = None) -> list[ChildOrder]:
        """Tell the agent the time, the feeds and the regime (None: as before); return the children that are due."""
        quotes = {
            symbol: Quote(feed.mid, feed.rate(time), venues=dict(feed.venues) or None) for symbol, feed in self.feeds.items()
        }
        self.agent.process(quotes, regime, time)
        self._log("timer", time=time, regime=regime)
        children: list[ChildOrder] = []
        while (child := self.agent.get_next_child(time)) is not None:
            self._log("child", time=time, id=child.id, side=child.side, quantity=child.quantity)
            self.children[child.id] = child
            self._open[child.id] = None
            children.append(child)
        return children

    def route(self, time: float) -> Routing:
        """Return what to cancel in the venues, and new venue orders, for all children; call it after each :meth:`timer`.

        Cancellations are repeated until :meth:`cancel` confirms them or a fill comes first.

        Raises:
            RuntimeError: The desk has no venues.
        """
        self._log("route", time=time)
        cancels: list[Cancel] = []
        orders: list[VenueOrder] = []
        for child in list(self._open):
            routing = self.agent.route(child, time)
            self.children[child] = self.agent.child(child)  # lots of later children may wait with it
            if not any(routing) and self.agent.report(self.children[child].parent) is not None:
                del self._open[child]  # of a closed order, and in no venue
            cancels += routing.cancels
            orders += routing.orders
        for sent in orders:
            self._log("sent", time=time, id=sent.id, venue=sent.venue, quantity=sent.quantity, price=sent.price)
        return Routing(tuple(cancels), tuple(orders))

    def fill(
        self,
        child: str,
        quantity: float,
        price: float,
        time: float,
        fee: float | None = None,
        liquidity: str | None = None,
    ) -> ChildOrder:
        """Book a fill of a child or a venue order, by its id; the mid before the fill is that of the last quote.

        Return the updated child.

        Raises:
            ValueError: See :meth:`~hyperexec_env.execution.agent.ExecutionAgent.report_fill`.
        """
        known = self.children.get(self._child_of(child))
        mid = None if known is None else self.feed(known.symbol).mid
        booked = self.agent.report_fill(child, quantity, price, time, mid, fee=fee, liquidity=liquidity)
        told = {key: value for key, value in (("fee", fee), ("liquidity", liquidity)) if value is not None}
        self._log("fill", time=time, child=child, quantity=quantity, price=price, **told)
        self._keep(booked)
        return booked

    def _child_of(self, name: str) -> str:
        """Return the id of the child that a venue order, or a child, belongs to."""
        sent = None if self.agent.router is None else self.agent.router.find(name)
        return name if sent is None else sent.child

    def _keep(self, child: ChildOrder) -> None:
        """Store the present record of a child."""
        self.children[child.id] = child
        if not child.remaining:
            self._open.pop(child.id, None)

    def cancel(self, order: str, time: float, quantity: float | None = None, rejected: bool = False) -> None:
        """Cancel a parent, or the rest of a child or of a venue order, which returns to its parent or child.

        Args:
            order: Id of the order.
            time: The time.
            quantity: Of a venue order: shares that its venue cancelled; None: all that remain.
            rejected: Of a venue order: whether its venue rejected it.
        """
        self.agent.cancel(order, time, quantity=quantity, rejected=rejected)
        if order in self.children:
            child = self.children[order]
            self._keep(child._replace(quantity=child.filled))
        told = {key: value for key, value in (("quantity", quantity), ("rejected", rejected)) if value}
        self._log("cancel", time=time, order=order, **told)

    def stop(self, time: float) -> list[ExecutionReport]:
        """Close all orders and the journal at the end of the session; return the reports of all closed orders."""
        self.agent.stop(time)
        self._log("stop", time=time)
        if self._file is not None:
            self._file.close()
            self._file = None
        return self.agent.get_reports()


def _new_file(path: Path) -> TextIO:
    """Open a new file that stores each line as soon as it is written."""
    try:
        return path.open("x", encoding="utf-8", buffering=1)
    except FileExistsError:
        raise ValueError(f"journal must be a new file, but {path} exists") from None
    except OSError as error:
        raise ValueError(f"journal cannot be written to {path}: {error.strerror}") from None


def replay_journal(lines: str | os.PathLike[str] | Iterable[str]) -> LiveDesk:
    """Feed a new desk with a journal, and check that it releases the children of the journal.

    A last line without its line break, which a session that was killed leaves behind, is not used.

    Args:
        lines: The path of a journal, or its lines.

    Returns:
        The desk after the last line: `desk.agent` holds reports and children.

    Raises:
        ValueError: A line is no event of a journal, or the desk releases another child; the message names the line.
    """
    path = str(lines) if isinstance(lines, (str, os.PathLike)) else "the journal"
    if isinstance(lines, (str, os.PathLike)):
        lines = _whole_lines(Path(lines))
    desk: LiveDesk | None = None
    released: list[str] = []
    due: deque[str] = deque()
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            event = json.loads(line)
            kind = event.pop("event")
            if desk is None:
                desk = _started(kind, event, released.append)
            elif kind in RELEASED:
                _check_child(due, line)
            elif due:
                raise ValueError(f"the replay releases {due[0]} before it")
            else:
                _tell(desk, kind, event)
                due.extend(text for text in released if text.startswith(_RELEASED))
            released.clear()
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(f"{where}: {_reason(error)}") from None
    if desk is None:
        raise ValueError(f"{path}: no lines")
    return desk


_RELEASED: Final = tuple(f'{{"event":"{kind}"' for kind in RELEASED)


def _whole_lines(path: Path) -> list[str]:
    """Return the lines of a journal that end with a line break; raise ValueError if there are none."""
    content = read_regular(path, LARGEST, "the journal")
    try:
        whole, _, torn = content.decode("utf-8").rpartition("\n")
    except UnicodeDecodeError:
        raise ValueError(f"cannot read the journal {path}: not text in UTF-8") from None
    if not whole:
        raise ValueError(f"{path}: no whole line" + (", only a torn one" if torn else ""))
    return whole.split("\n")


def _reason(error: Exception) -> str:
    """Return the message of an error; that of a missing key is only its name."""
    return f"no field {error}" if isinstance(error, KeyError) else str(error)


def _started(kind: str, event: dict[str, Any], write: Callable[[str], object]) -> LiveDesk:
    """Return the desk that the first line of a journal describes."""
    if kind != "start" or event["version"] != VERSION:
        raise ValueError(f"a journal of version {VERSION} begins with its event 'start', got {kind!r} {event}")
    config, known = ExecutionConfig(**event["config"]), event.get("fill_rates")
    return LiveDesk(
        config,
        seed=event["seed"],
        volume_window=event["volume_window"],
        journal=write,
        venues=[Venue(**values) for values in event.get("venues", ())],
        tactic=tactic_from(event["tactic"]) if "tactic" in event else "cont-kukanov",
        fill_rates=None if known is None else FillRates.from_dict(known),
    )


def _check_child(due: deque[str], line: str) -> None:
    """Check that a child of the journal is the next one that the replay has released."""
    expected, line = (due.popleft() if due else "no child"), line.strip()
    if line != expected:
        raise ValueError(f"the journal holds {line}, the replay releases {expected}")


def _order_of(values: dict[str, Any]) -> ParentOrder:
    """Return the parent order of a journal."""
    return ParentOrder(**{**values, "sessions": tuple(map(tuple, values["sessions"]))})


def _list_of(values: dict[str, Any]) -> BasketOrder:
    """Return the list of a journal."""
    return BasketOrder(**{**values, "orders": tuple(map(_order_of, values["orders"]))})


_READERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {"order": _order_of, "list": _list_of}
"""Function from the values of an order in a journal to the order, by the event that submits it."""


def _tell(desk: LiveDesk, kind: str, event: dict[str, Any]) -> None:
    """Tell a desk one event."""
    if kind in _READERS:
        desk.submit(_READERS[kind](event["order"]), event["time"])
        return
    if kind not in EVENTS:
        raise ValueError(f"unknown event {kind!r}{nearest(kind, EVENTS)}")
    getattr(desk, kind)(**event)
