"""The router of an execution agent: which pieces of its children are in which venue.

A child order of n shares is split into venue orders. At all times

    n = filled + in the market, by venue + not routed

in whole lots. A fill moves shares from the second term to the first; a cancellation or a rejection moves them from the second
to the third, and the next call routes them anew. Nothing else moves shares.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import shown
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.fill_rates import FillRates, HiddenOrder
from hyperexec_env.execution.quotes import Quote, VenueQuote
from hyperexec_env.execution.routing import MANY, HiddenOffer, LitOffer, allocate
from hyperexec_env.execution.tactics import Decision, Tactic, View, tactic_of
from hyperexec_env.execution.venue_order import Cancel, Routing, VenueOrder
from hyperexec_env.execution.working_order import WorkingOrder
from hyperexec_env.market.venue import Venue, check_venues
from hyperexec_env.orders import ChildOrder, Fill, check_quantity, lots_of, shares_of

__all__ = ["VOLATILITY", "Router"]

VOLATILITY: Final = 0.02
"""Daily volatility that the temporary impact has for an order without one."""
_PARTICIPATION: Final = 0.1
"""Participation of a child where neither the market volume nor a cap is known."""
_EARLY: Final = 1e-9
"""Part of a window by which a cancellation may come early and still show what the venue had."""
_SMALLEST_SHARE: Final = 1e-9
"""Least share of the market volume of a lit venue."""
_NO_QUOTE: Final = VenueQuote()


class _Route:
    """The venue orders of a child."""

    __slots__ = ("called", "lots", "memory", "orders", "pause", "rejected", "until", "window")

    def __init__(self, lots: int, released: float, window: float, called: float) -> None:
        self.lots = lots  # lots of the child itself, without those of later children
        self.until, self.window = released + window, window
        self.called, self.pause = called, 0.0  # trading time of the last call, and longest trading time between two calls
        self.orders: list[str] = []
        self.rejected: dict[str, float] = {}  # time of the last rejection by venue
        self.memory: dict[str, Any] = {}

    def call(self, at: float) -> None:
        """Note a call at a trading time."""
        self.called, self.pause = at, max(self.pause, at - self.called)


class _Case(NamedTuple):
    """A child that is to be routed, and its market."""

    child: ChildOrder
    route: _Route
    last: bool
    """Whether no later child and no later call can carry what does not fill."""
    late: bool
    """Whether the window is over, or the order ends before a later call could still take what a venue gives back."""
    quotes: Sequence[VenueQuote]
    mid: float | None
    touch: float | None
    """Best price on the other side over all venues that are quoted, currency per share."""
    volume: float
    """Market volume until the next child, shares."""
    expected: float
    """The same as the parent expected it, shares; as it is now if the parent expected none."""
    unit: float
    """Shares of one unit of the fill rates: market volume expected in the window; 1: unknown."""
    lots: int
    """Lots that are in no venue."""
    spare: int
    """Lots of later children that may be sent to hidden venues."""
    ahead: int
    """Lots of later children that wait in hidden venues."""
    now: float


class Router:
    """Venue orders of an agent, guarded by its lock.

    Args:
        venues: The venues, home first (:class:`~hyperexec_env.market.venue.Venue`); fees and adverse selection are taken from
            them, their liquidity is not: that is learnt.
        tactic: Name of a tactic, or a tactic.
        rates: What is known of the fill rates; None: nothing yet.
        config: The configuration of the agent.

    Raises:
        ValueError: The venues do not begin with home, the tactic is unknown, or the rates are no fill rates.
    """

    def __init__(self, venues: Sequence[Venue], tactic: str | Tactic, rates: FillRates | None, config: ExecutionConfig) -> None:
        self.venues = () if isinstance(venues, Venue) else tuple(venues)
        if not self.venues or not all(isinstance(venue, Venue) for venue in self.venues):
            raise ValueError(f"venues must be a list of Venue, got {shown(venues)}")
        if not isinstance(rates, FillRates | None):
            raise ValueError(f"fill_rates must be FillRates, got {shown(rates)}; FillRates.from_dict reads stored ones")
        check_venues(self.venues)
        self.tactic, self.config = tactic_of(tactic), config
        self.rates = FillRates() if rates is None else rates
        self._orders: dict[str, VenueOrder] = {}
        self._routes: dict[str, _Route] = {}

    # --- look-ups

    def find(self, order: Any) -> VenueOrder | None:
        """Return the present record of a venue order or its id; None if it is no venue order."""
        return self._orders.get(order if isinstance(order, str) else getattr(order, "id", ""))

    def orders(self, children: Iterable[str]) -> tuple[VenueOrder, ...]:
        """Return the venue orders of children, in the order in which they were sent."""
        return tuple(self._orders[name] for child in children if child in self._routes for name in self._routes[child].orders)

    def forget(self, children: Iterable[str]) -> None:
        """Drop the venue orders of children."""
        for child in children:
            for name in self._routes.pop(child).orders if child in self._routes else ():
                del self._orders[name]

    # --- routing

    def wait(self, working: WorkingOrder, name: str, now: float) -> None:
        """Note a call for a child that may not be routed now."""
        if name in self._routes:
            self._routes[name].call(working.trading_time(now))

    def route(self, working: WorkingOrder, name: str, quote: Quote | None, rate: float | None, now: float) -> Routing:
        """Return what to cancel, and new venue orders for the shares of a child that are in no venue.

        Args:
            working: The parent of the child.
            name: Id of the child.
            quote: The last quote of the symbol; None: unknown.
            rate: Expected market volume, shares a second; None: unknown.
            now: The time.
        """
        child, size = working.children[name], working.parent.lot_size
        present = [order for order in self.orders([name]) if order.remaining]
        if working.closed:
            return Routing(tuple(Cancel(order, order.remaining) for order in present))
        case = self._case(working, child, quote, rate, now)
        child = case.child
        view = View(
            lots=case.lots,
            late=case.late,
            venues=self.venues,
            quotes=case.quotes,
            offers=self._offers(case) if case.lots or case.spare else [],
            waiting=[order for order in present if not order.takes],
            side=child.side,
            lot_size=size,
            remaining=lots_of(child.remaining, size),
            elapsed=now - (case.route.until - case.route.window),
            memory=case.route.memory,
            spare=case.spare,
            ahead=case.ahead,
        )
        decision = self.tactic.decide(view)
        if extra := sum(decision.extra):
            working.lend(name, extra, now)
            decision = decision._replace(lots=[own + more for own, more in zip(decision.lots, decision.extra, strict=True)])
        return Routing(tuple(decision.cancels), self._sent(case, decision))

    def _returned(self, working: WorkingOrder, child: ChildOrder, route: _Route, now: float) -> tuple[ChildOrder, int]:
        """Give lots of later children that are in no venue back to them; return the child, and its own lots in no venue.

        Fills count for the child's own lots first. Where no later child is left the child keeps all.
        """
        size = child.parent.lot_size
        present = [(order.takes, lots_of(order.remaining, size)) for order in self.orders([child.id])]
        free = lots_of(child.remaining, size) - sum(lots for _, lots in present)
        taking = sum(lots for takes, lots in present if takes)
        own = min(free, max(route.lots - lots_of(child.filled, size) - taking, 0))
        if free > own and working.next_time is not None:
            working.lend(child.id, own - free, now)
            return working.children[child.id], own
        return child, free

    def _case(self, working: WorkingOrder, child: ChildOrder, quote: Quote | None, rate: float | None, now: float) -> _Case:
        """Return a child that is to be routed, and its market."""
        route, at, size = self._routes.get(child.id), working.trading_time(now), child.parent.lot_size
        if route is None:
            released = now if child.released is None else child.released
            window = working.window_of(child, self.tactic.patience)
            route = self._routes[child.id] = _Route(lots_of(child.quantity, size), released, window, at)
        route.call(at)
        ends = working.ends_within(2.0 * route.pause, at)  # a call to cancel, and a call to take
        known, late = rate is not None and rate > 0.0, ends or now >= route.until
        child, lots = self._returned(working, child, route, now)
        of_venues = {} if quote is None or quote.venues is None else quote.venues
        quotes = [of_venues.get(venue.name, _NO_QUOTE) for venue in self.venues]
        usual = shares_of(max(route.lots, 1), size) / (self.config.max_participation_rate or _PARTICIPATION)
        volume = rate * working.interval if rate and known else usual
        return _Case(
            child=child,
            route=route,
            last=ends or not route.window,
            late=late,
            quotes=quotes,
            mid=_mid(quote, of_venues.values()),
            touch=_best(-child.side, (own.far(child.side) for own in of_venues.values())),
            volume=volume,
            expected=(working.expected_volume(now) or volume) if known else volume,
            unit=rate * route.window if rate and known and route.window else 1.0,
            lots=lots,
            spare=0 if late else working.spare(min(route.until, now + route.window), rate),
            ahead=max(lots_of(child.remaining, size) - max(route.lots - lots_of(child.filled, size), 0), 0),
            now=now,
        )

    def _offers(self, case: _Case) -> list[LitOffer | HiddenOffer]:
        """Return what each venue offers to a child."""
        shut = self._shut(case.route, case.now)
        lit = {
            venue.name: self._lit_offer(case, venue, quote, venue.name in shut)
            for venue, quote in zip(self.venues, case.quotes, strict=True)
            if venue.lit
        }
        penalty = self._penalty(case, list(lit.values()))
        return [
            lit[venue.name] if venue.lit else self._hidden_offer(case, venue, quote, penalty, venue.name in shut)
            for venue, quote in zip(self.venues, case.quotes, strict=True)
        ]

    def _lit_offer(self, case: _Case, venue: Venue, quote: VenueQuote, shut: bool) -> LitOffer:
        """Return what a lit venue offers; home completes the order beyond its visible size."""
        parent, config = case.child.parent, self.config
        volatility = VOLATILITY if parent.volatility is None else parent.volatility
        visible = quote.far_size(parent.side)
        everything = visible is None or (case.last and venue.kind == "home")
        return LitOffer(
            q=self._spread(case, venue, quote) + venue.fee,
            scale=config.temp_impact_alpha * volatility * parent.arrival_price * venue.temporary,
            volume=case.volume * max(venue.share if quote.share is None else quote.share, _SMALLEST_SHARE),
            beta=config.temp_impact_beta,
            lot=float(parent.lot_size),
            most=0 if shut else MANY if visible is None or everything else int(visible / parent.lot_size + _EARLY),
        )

    def _hidden_offer(self, case: _Case, venue: Venue, quote: VenueQuote, penalty: float, shut: bool) -> HiddenOffer:
        """Return what a dark pool or a place to rest offers, by the fill rates that were learnt."""
        parent, spread = case.child.parent, self._spread(case, venue, quote)
        adverse = (venue.adverse_bps or 0.0) * 1e-4 * parent.arrival_price
        if venue.adverse_bps is None and venue.kind == "rest":
            adverse = max(-spread - venue.fee, 0.0)  # resting saves the spread and earns nothing
        return HiddenOffer(
            q=spread + venue.fee + adverse,
            penalty=penalty,
            law=self.rates.belief(parent.symbol, venue.name),
            unit=case.unit,
            lot=float(parent.lot_size),
            limit=0 if shut or case.last else MANY,
        )

    def _shut(self, route: _Route, now: float) -> set[str]:
        """Return the venues that rejected an order of a child; once every lit venue has, all are tried again later."""
        rejected = set(route.rejected)
        if all(venue.name in rejected for venue in self.venues if venue.lit):
            rejected = {name for name, time in route.rejected.items() if time >= now}
        return rejected

    def _spread(self, case: _Case, venue: Venue, quote: VenueQuote) -> float:
        """Return what a fill pays for crossing the spread of a venue, currency per share; negative where it rests."""
        parent, rests = case.child.parent, venue.kind == "rest"
        quoted = quote.near(parent.side) if rests else quote.far(parent.side)
        if venue.kind != "dark" and quoted is not None and case.mid is not None:
            return parent.side * (quoted - case.mid)
        usual = 0.0 if venue.kind == "dark" else self.config.half_spread_bps
        crossed = (usual if venue.half_spread_bps is None else venue.half_spread_bps) * 1e-4 * parent.arrival_price
        return -crossed if rests else crossed

    def _penalty(self, case: _Case, lit: Sequence[LitOffer]) -> float:
        """Return the cost of a share that does not fill: the tactic's, or the marginal toll of taking all lots in the volume
        that the parent expected. Where the market is quieter, shares then wait.
        """
        if self.tactic.penalty_bps is not None:
            return self.tactic.penalty_bps * 1e-4 * case.child.parent.arrival_price
        usual = [replace(offer, volume=offer.volume * (case.expected / case.volume)) for offer in lit]
        split = allocate(max(case.lots, 1), usual)
        return max((offer.marginal(own) for own, offer in zip(split, usual, strict=True) if own), default=0.0)

    def _sent(self, case: _Case, decision: Decision) -> tuple[VenueOrder, ...]:
        """Record and return the venue orders of a decision."""
        child, route, side = case.child, case.route, case.child.side
        made = []
        for venue, quote, lots in zip(self.venues, case.quotes, decision.lots, strict=True):
            if not lots:
                continue
            price = {"rest": quote.near(side), "dark": None}.get(venue.kind, quote.far(side))
            if venue.kind == "rest" and price is not None:
                price -= side * decision.depth
            order = VenueOrder(
                parent=child.parent,
                child=child.id,
                number=len(route.orders),
                venue=venue.name,
                kind=venue.kind,
                quantity=shares_of(lots, child.parent.lot_size),
                sent=case.now,
                price=price,
                mid=case.mid,
                touch=case.touch,
                window=0.0 if venue.lit else route.window,
                scale=1.0 if venue.lit else case.unit,
            )
            route.orders.append(order.id)
            self._orders[order.id] = order
            made.append(order)
        return tuple(made)

    # --- what the venues report

    def book(self, order: VenueOrder | None, child: str, fill: Fill, fee: float | None, liquidity: str | None) -> Fill:
        """Book a fill of a venue order; return it with venue, liquidity and fee.

        Raises:
            ValueError: The child was routed, and the fill is that of no venue order.
        """
        if order is None:
            if child in self._routes:
                raise ValueError(f"child {child!r} was routed: report the fills of its venue orders, {child}/0 and so on")
            return fill
        venue = next(venue for venue in self.venues if venue.name == order.venue)
        charged = venue.fee * fill.quantity if fee is None else fee
        fill = fill._replace(venue=order.venue, liquidity=liquidity or order.liquidity, fee=charged)
        order = order._replace(fills=(*order.fills, fill), ended=fill.time)
        self._orders[order.id] = order
        if not order.remaining:
            self._learn(order, complete=True)
        return fill

    def withdraw(self, order: VenueOrder, quantity: float | None, rejected: bool, now: float) -> VenueOrder:
        """Take shares of a venue order back, which its venue cancelled or rejected; return the updated order.

        Raises:
            ValueError: The order has fewer shares left.
        """
        left = order.remaining
        shares = left if quantity is None else check_quantity("quantity", quantity, order.parent.lot_size)
        if not left:
            raise ValueError(f"venue order {order.id!r} has nothing left to cancel")
        if shares > left:
            raise ValueError(f"quantity must be at most the remaining shares of {order.id} ({left}), got {quantity}")
        order = order._replace(cancelled=order.parent.total((order.cancelled, shares)), ended=now, rejected=rejected)
        self._orders[order.id] = order
        if rejected:
            self._routes[order.child].rejected[order.venue] = now
        elif shares == left:
            self._learn(order, complete=False)
        return order

    def end(self, child: str, now: float) -> None:
        """Take back all shares of a child that are in venues."""
        for order in self.orders([child]):
            if order.remaining:
                self.withdraw(order, None, False, now)

    def _learn(self, order: VenueOrder, complete: bool) -> None:
        """Add a dark or resting order that has ended, by its last fill or by a cancellation, to the fill rates."""
        if order.takes or order.ended is None:
            return
        lived = max(order.ended - order.sent, 0.0)
        size, asked = (_rounded(shares, order.scale) for shares in (order.filled, order.quantity))
        censored = complete or size >= asked or lived < order.window * (1.0 - _EARLY)
        self.rates.tell(order.parent.symbol, order.venue, HiddenOrder(size, censored, lived, complete))


def _rounded(shares: float, scale: float) -> float:
    """Return shares in multiples of a market volume, rounded to three significant digits; shares where it is unknown.

    Whole lots scatter a size that recurs. A router that asks for just that size must not take its complete fills for smaller
    sizes than those that it has seen, nor fills that miss it by a rounding for the whole truth.
    """
    return float(shares) if scale == 1.0 else float(f"{shares / scale:.3g}")


def _best(side: int, prices: Iterable[float | None]) -> float | None:
    """Return the highest (side 1) or lowest (side -1) of the prices that are known; None if none is."""
    return (max if side > 0 else min)((price for price in prices if price is not None), default=None)


def _mid(quote: Quote | None, quotes: Collection[VenueQuote]) -> float | None:
    """Return the mid of a symbol: as quoted, or of the best bid and offer over all venues."""
    if quote is not None and quote.mid is not None:
        return quote.mid
    bid, ask = _best(1, (own.bid for own in quotes)), _best(-1, (own.ask for own in quotes))
    return None if bid is None or ask is None else 0.5 * (bid + ask)
