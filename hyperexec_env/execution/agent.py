"""The execution agent: accepts parent orders, releases child orders on schedule, books fills and reports the cost.

One lock guards all state, so several threads may submit orders, process, take children and report fills concurrently.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from typing import Final

import numpy as np

from hyperexec_env.checks import check_choice, check_number, check_seed, nearest, shown
from hyperexec_env.execution.algorithms import ADAPTIVE, POV, check_algorithm, resolve
from hyperexec_env.execution.basket_order import BasketOrder
from hyperexec_env.execution.basket_report import BasketReport
from hyperexec_env.execution.basket_state import WorkingBasket
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.estimates import MarketImpactEstimate, estimate_impact
from hyperexec_env.execution.fill_rates import FillRates
from hyperexec_env.execution.marks import Mark, MarkLog
from hyperexec_env.execution.online import OnlineEstimates
from hyperexec_env.execution.quotes import Portfolio, Quote, check_quote, check_time
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.execution.router import Router
from hyperexec_env.execution.status import AgentStatus
from hyperexec_env.execution.tactics import Tactic
from hyperexec_env.execution.venue_order import MAKER, TAKER, Routing, VenueOrder
from hyperexec_env.execution.working_order import WorkingOrder
from hyperexec_env.market.regime import REGIME_NAMES, UNKNOWN
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder, check_quantity, shares_of

__all__ = ["ExecutionAgent"]

_log = logging.getLogger("hyperexec_env.execution")
_REGIMES: Final = (*REGIME_NAMES, UNKNOWN)
PLAN_US, INTERVAL_US, REVIEW_US = 30.0, 1.0, 1.0
"""Nominal times of a plan, of each of its intervals, and of the review of an order that needs no new plan, microseconds. They,
and not a clock, bound the orders that a call replans, so that a seed gives the same children on every machine."""
_record = tuple.__new__  # builds a named tuple in half the time of calling its class
CREATED, RUNNING, PAUSED, STOPPED = "created", "running", "paused", "stopped"


class ExecutionAgent:
    """Cuts parent orders into child orders, releases the children on schedule, and reports the execution cost.

    The life of an order: :meth:`submit_order` accepts it, the next :meth:`process` cuts it into children,
    :meth:`get_next_child` releases each child when it is due, and :meth:`report_fill` books its fills. When the order is
    filled, expired, cancelled or stopped, :meth:`get_reports` returns its report. While a parent has pending children, its
    children sum to its quantity. A fill that arrives after the order closed is booked, and the report is updated.

    Time never runs backwards: a time before the latest :meth:`process` or :meth:`submit_order` is taken to be that latest time.
    The time of a fill is stored as given.

    Args:
        config: Settings; None: the defaults.
        seed: Seed of the order hiding; None: entropy of the operating system, so that the jitter is unpredictable.
        clock: Function that returns the time in seconds, in the unit of the deadlines; by default ``time.time``.
        estimates: What the agent learns, by symbol (:class:`~hyperexec_env.execution.online.OnlineEstimates`), from quotes,
            fills and regimes. At the end of each bin of theirs the orders of the symbol whose algorithm depends on the market
            are replanned: the forecast replaces `volume_profile` and `expected_volume` of the order in VWAP, POV and AC; AC has
            the learned alpha; the urgency of IS moves as that of AC does; Adaptive has the believed regime while the caller
            passes none. TWAP and the legs of a list keep their plans.
        venues: Venues over which :meth:`route` splits the children, home first; empty: the caller's broker routes.
        tactic: How a child trades in its venues, by name or as a record (:mod:`~hyperexec_env.execution.tactics`).
        fill_rates: What is known of hidden liquidity; None: nothing yet. Agents may share it.
    """

    def __init__(
        self,
        config: ExecutionConfig | None = None,
        *,
        seed: int | None = None,
        clock: Callable[[], float] = time.time,
        estimates: Mapping[str, OnlineEstimates] | None = None,
        venues: Sequence[Venue] = (),
        tactic: str | Tactic = "cont-kukanov",
        fill_rates: FillRates | None = None,
    ) -> None:
        """Make an agent in the state "created"."""
        self.estimates = _checked_estimates(estimates)
        self.config = ExecutionConfig() if config is None else config
        self.router = Router(venues, tactic, fill_rates, self.config) if venues else None
        self._name = self.config.name
        self._rng = np.random.default_rng(None if seed is None else check_seed(seed))
        self._clock = clock
        self._latest = -math.inf  # latest time of `process` and `submit_order`
        self._lock = RLock()
        self._tie_breaker = itertools.count()
        self._state, self._regime, self._regime_changed = CREATED, UNKNOWN, False
        self._regime_number = 0  # number of changes of regime; an order that has not seen the last one needs a review
        self._choice = resolve(ADAPTIVE, UNKNOWN, self.config.slices)  # algorithm and intervals of Adaptive in this regime
        self._resumed: deque[WorkingOrder] = deque()  # orders to review after a halt
        self._created: list[ChildOrder] = []  # children made since the last `process` returned
        self._halted: tuple[str, ...] = ()
        self._quotes: dict[str, Quote] = {}
        self._marks: dict[str, MarkLog] = {}
        self._symbols: dict[str, dict[str, WorkingOrder]] = {}  # open orders by symbol and id
        self._ids: set[str] = set()  # ids of all orders ever submitted
        self._queue: OrderedDict[str, WorkingOrder] = OrderedDict()
        self._active: dict[str, WorkingOrder] = {}
        # active orders whose algorithm is Adaptive; those that have not seen the last change of regime come first
        self._adaptive: OrderedDict[str, WorkingOrder] = OrderedDict()
        self._closed: dict[str, WorkingOrder] = {}
        self._reports: dict[str, ExecutionReport] = {}
        self._baskets: dict[str, WorkingBasket] = {}
        self._owners: dict[str, WorkingOrder] = {}  # order of each released child
        self._due: list[tuple[float, int, int, WorkingOrder]] = []  # heap: schedule time, tie-breaker, version of the plan
        self._deadlines: list[tuple[float, int, WorkingOrder]] = []  # heap: deadline, tie-breaker
        self._working = self._processed = self._nanoseconds = self._slow = 0
        self._status: AgentStatus | None = None

    # --- life cycle

    def start(self) -> None:
        """Start the agent, which then accepts orders."""
        self._transition("start", (CREATED, STOPPED), RUNNING)

    def pause(self, symbol: str | None = None) -> None:
        """Stop releasing children until :meth:`resume`; the agent still accepts orders and fills, and deadlines still apply.

        Args:
            symbol: The symbol to pause, for example during a trading halt; None: all symbols.

        Raises:
            RuntimeError: The agent is not running, or the symbol is paused already.
        """
        if symbol is None:
            self._transition("pause", (RUNNING,), PAUSED)
            return
        with self._lock:
            if symbol in self._halted:
                raise RuntimeError(f"cannot pause {symbol!r}, which is paused already")
            self._halted, self._status = (*self._halted, symbol), None

    def resume(self, symbol: str | None = None) -> None:
        """Continue after :meth:`pause`.

        Args:
            symbol: The symbol to resume; None: the agent, whose overdue children are then due at once. If the pause of a symbol
                held back a child, its order is replanned: the unreleased shares are spread over the remaining time (of a leg of
                a list, over the remaining children, at the times of the list).

        Raises:
            RuntimeError: The agent, or the symbol, is not paused.
        """
        if symbol is None:
            self._transition("resume", (PAUSED,), RUNNING)
            return
        with self._lock:
            if symbol not in self._halted:
                raise RuntimeError(f"cannot resume {symbol!r}, which is not paused{nearest(symbol, self._halted)}")
            self._halted, self._status = tuple(name for name in self._halted if name != symbol), None
            for order in self._symbols.get(symbol, {}).values():
                if order.held:
                    order.version += 1  # outdates a due entry that the order may still have
                    self._resumed.append(order)
                    self._queue_next_child(order)

    def stop(self, now: float | None = None) -> None:
        """Close all orders, with reports, and accept no more. Fills of children in the market are still booked."""
        with self._lock:
            self._transition("stop", (CREATED, RUNNING, PAUSED), STOPPED)
            moment = self._time(now)
            for order in [*self._queue.values(), *self._active.values()]:
                self._close(order, moment, "stopped")

    def _transition(self, action: str, allowed: tuple[str, ...], state: str) -> None:
        with self._lock:
            if self._state not in allowed:
                raise RuntimeError(f"cannot {action} an agent that is {self._state} (only one that is {' or '.join(allowed)})")
            if self.config.verbose:
                _log.info("%s: %s -> %s", self.config.name, self._state, state)
            self._state, self._status = state, None

    # --- orders

    def submit_order(self, parent: ParentOrder, now: float | None = None) -> str:
        """Accept a parent order and return its id. The next :meth:`process` cuts it, or closes it if it has expired.

        Raises:
            TypeError: `parent` is not a ParentOrder.
            RuntimeError: The agent is neither running nor paused, or is not enabled.
            ValueError: The id was used before, the algorithm is unknown, or POV has neither an expected volume nor a cap.
        """
        if not isinstance(parent, ParentOrder):
            raise TypeError(f"parent must be a ParentOrder, got {type(parent).__name__}")
        config = self.config
        algorithm = check_algorithm("algorithm", config.algorithm if parent.algorithm is None else parent.algorithm)
        known = parent.expected_volume is not None or parent.symbol in self.estimates
        if algorithm == POV and not known and config.max_participation_rate is None:
            raise ValueError("POV needs expected_volume of the order or max_participation_rate of the config, got neither")
        with self._lock:
            self._check_acceptable([parent.id])
            self._latest = moment = self._time(now)
            self._accept(
                WorkingOrder(parent, algorithm, moment, config, self._rng, estimates=self.estimates.get(parent.symbol))
            )
        return parent.id

    def submit_basket(self, order: BasketOrder, now: float | None = None) -> str:
        """Accept a list and return its id; each of its orders then lives as one that :meth:`submit_order` accepted.

        The plan of the list is made here. Legs have their children at the same times; at a release, a child that would put the
        list out of balance is reduced, and later children of its leg carry its shares (the last one completes its order).

        Raises:
            TypeError: `order` is not a BasketOrder.
            RuntimeError: The agent is neither running nor paused, or is not enabled.
            ValueError: An id was used before, or the optimum of the list needs an ADV or a volatility that is missing.
        """
        if not isinstance(order, BasketOrder):
            raise TypeError(f"order must be a BasketOrder, got {type(order).__name__}")
        ids = [*(each.id for each in order.orders), order.id]
        with self._lock:
            self._check_acceptable(ids)
            self._latest = moment = self._time(now)
        basket = WorkingBasket(order, moment, self.config)  # a long calculation, during which other threads may trade
        with self._lock:
            self._check_acceptable(ids)
            basket.hide(int(self._rng.integers(2**63)))  # not earlier: a list that is refused draws nothing
            self._ids.add(order.id)
            self._baskets[order.id] = basket
            for leg in basket.legs:
                self._accept(leg)
        return order.id

    def _check_acceptable(self, ids: Sequence[str]) -> None:
        """Raise an error if the agent accepts no orders, or not with these ids."""
        if self._state not in (RUNNING, PAUSED) or not self.config.enabled:
            state = self._state if self.config.enabled else "not enabled"
            raise RuntimeError(f"an agent that is {state} accepts no orders; call start() first")
        for at, name in enumerate(ids):
            if name in self._ids or name in ids[:at]:
                raise ValueError(f"id must be new to the agent, but {name!r} was submitted before")

    def _accept(self, order: WorkingOrder) -> None:
        """Queue an order for its first plan."""
        parent = order.parent
        self._ids.add(parent.id)
        self._queue[parent.id] = order
        heapq.heappush(self._deadlines, (order.deadline, next(self._tie_breaker), order))
        self._symbols.setdefault(parent.symbol, {})[parent.id] = order
        if parent.symbol in self._marks:
            order.first_mark = self._marks[parent.symbol].last_position
        self._status = None

    def process(
        self, portfolio: Portfolio | None = None, regime: str | None = None, now: float | None = None
    ) -> list[ChildOrder]:
        """Update all orders: close expired ones, replan where the regime changed, and cut submitted ones into children.

        A call replans only as many orders as fit into ``max_latency_us`` by nominal times (10 plans of 20 children for the
        default), at least one; the next calls of this method and of :meth:`get_next_child` continue.

        Args:
            portfolio: Quotes by symbol; symbols without a new quote keep their last one.
            regime: Current market regime; None: the regime of the last call (UNKNOWN at first).
            now: Time, seconds; None: from the clock.

        Returns:
            The new children since the last call, sorted by time within each parent.

        Raises:
            ValueError: The regime is unknown, or a mid or a volume rate is out of range.
        """
        with self._lock:
            begin = time.perf_counter_ns()
            moment = self._time(now)
            if regime is not None and regime not in _REGIMES:
                check_choice("regime", regime, _REGIMES)
            if portfolio:
                self._store_quotes(portfolio, moment)
            self._latest = moment
            if regime is not None and regime != self._regime:
                self._regime, self._regime_changed = regime, True
            for learned in self.estimates.values():
                learned.tell(self._regime)
            while self._deadlines and self._deadlines[0][0] <= moment:
                order = heapq.heappop(self._deadlines)[2]
                if not order.closed:
                    self._close(order, order.deadline, "expired")
            created, self._created = self._created, []
            if self._state == RUNNING:
                self._replan(moment, created)
                while self._queue:
                    self._start_order(self._queue.popitem(last=False)[1], moment, created)
            self._record_latency(time.perf_counter_ns() - begin)
            return created

    def _record_latency(self, nanoseconds: int) -> None:
        self._processed += 1
        self._nanoseconds += nanoseconds
        self._status = None
        if nanoseconds > 1e3 * self.config.max_latency_us:
            self._slow += 1
            if self.config.verbose:
                _log.warning("%s: process took %.0f us", self.config.name, nanoseconds / 1e3)

    def _store_quotes(self, portfolio: Portfolio, now: float) -> None:
        """Store the quotes, and a mark for each symbol with open orders; store nothing if any quote is invalid."""
        for symbol, quote in portfolio.items():
            check_quote(symbol, quote)
        for symbol, quote in portfolio.items():
            before = self._quotes.get(symbol)
            self._quotes[symbol] = quote
            if quote[0] is not None and symbol in self._symbols:
                self._add_mark(symbol, quote[0], before, now)
            learned = self.estimates.get(symbol)
            if learned is not None and learned.observe(now, quote[0], *quote[2:5]):
                self._outdate_plans(symbol)

    def _outdate_plans(self, symbol: str) -> None:
        """Queue the orders of a symbol that use its estimates for new plans."""
        for order in self._symbols.get(symbol, {}).values():
            if order.estimates is not None and not order.outdated and order.choice is not None:
                order.outdated = True
                self._resumed.append(order)

    def _add_mark(self, symbol: str, mid: float, before: Quote | None, now: float) -> None:
        """Append a mark of a symbol, with the market volume since the last mark by the rate quoted then."""
        log = self._marks.setdefault(symbol, MarkLog())
        seconds = 0.0 if log.last is None else now - log.last.time
        rate = before.volume_rate if before is not None else None
        log.append(Mark(now, mid, seconds * rate if rate and seconds > 0.0 else 0.0))
        if log.is_full:  # drop marks that no open order needs
            log.trim(min(order.first_mark for order in self._symbols[symbol].values()))

    def _start_order(self, order: WorkingOrder, now: float, created: list[ChildOrder]) -> None:
        """Make the first plan of a parent."""
        parent = order.parent
        order.seen = self._regime_number
        try:
            order.begin(now, self._regime_of(order))
        except Exception:
            self._close(order, now, "failed")  # other orders continue
            raise
        self._queue_next_child(order)
        self._active[parent.id] = order
        if order.algorithm == ADAPTIVE:
            self._adaptive[parent.id] = order
        created += order.pending
        if self.config.verbose:
            _log.info("%s: cut %s into %d children by %s", self.config.name, parent.id, len(order.pending), order.algorithm)

    def _replan(self, now: float, created: list[ChildOrder]) -> None:
        """Review the orders that a halt held back and those that a change of regime concerns, as many as one call may."""
        if self._regime_changed:
            self._regime_changed = False
            self._regime_number += 1
            self._choice = resolve(ADAPTIVE, self._regime, self.config.slices)
        left = self.config.max_latency_us
        while self._resumed and left > 0.0:
            left -= self._review(self._resumed.popleft(), now, created)
        while self._adaptive and left > 0.0:
            order = next(iter(self._adaptive.values()))
            if order.seen == self._regime_number:
                break
            left -= self._review(order, now, created)

    def _review(self, order: WorkingOrder, now: float, created: list[ChildOrder]) -> float:
        """Replan an order if a halt held it back, or if its algorithm or number of intervals changes with the regime.

        Return the nominal time that this takes, microseconds.
        """
        order.seen = self._regime_number
        adaptive = order.parent.id in self._adaptive
        if adaptive:
            self._adaptive.move_to_end(order.parent.id)
        regime, wanted = self._regime, self._choice
        if order.estimates is not None:
            regime = self._regime_of(order)
            wanted = resolve(order.algorithm, regime, self.config.slices)
        changed = adaptive and order.choice != wanted
        learned, order.outdated = order.outdated and wanted[0] != "TWAP", False
        if order.closed or not order.unreleased or not (order.held or changed or learned):
            return REVIEW_US
        if order.basket is not None:
            order.skip(now)
            self._queue_next_child(order)
            return REVIEW_US
        intervals = order.plan(now, regime)
        self._queue_next_child(order)
        created += order.pending
        return PLAN_US + INTERVAL_US * intervals

    def _regime_of(self, order: WorkingOrder) -> str:
        """Return the regime that an order is planned for: that of the caller, or the believed one while the caller has none."""
        return self._regime if order.estimates is None or self._regime != UNKNOWN else order.estimates.regime

    def _queue_next_child(self, order: WorkingOrder) -> None:
        """Push the next pending child of an order onto the heap."""
        due = order.next_time
        if due is not None:
            heapq.heappush(self._due, (due, next(self._tie_breaker), order.version, order))

    # --- children and fills

    def get_next_child(self, now: float | None = None) -> ChildOrder | None:
        """Release and return the earliest child that is due; None if no child is due.

        Call it at least as often as children are scheduled: a child that becomes due after the last call before the deadline
        is never released. The time may lie ahead of the other calls, to look ahead to the next call. An order that waits for a
        new plan is replanned when its next child is due, unless the call has made as many plans as :meth:`process` may: then it
        releases the child by the earlier plan, so that no child waits.
        """
        with self._lock:
            if self._state != RUNNING:
                return None
            moment, left = self._time(now), self.config.max_latency_us  # for plans, see `process`
            while self._due and self._due[0][0] <= moment:
                _, _, version, order = heapq.heappop(self._due)
                if version != order.version:
                    continue
                if moment >= order.deadline:
                    self._close(order, order.deadline, "expired")
                elif order.parent.symbol in self._halted:
                    order.held = True
                elif (opening := order.next_open(moment)) > moment:
                    heapq.heappush(self._due, (opening, next(self._tie_breaker), version, order))
                else:
                    late = order.algorithm == ADAPTIVE and order.seen != self._regime_number
                    if left > 0.0 and (order.held or order.outdated or late):
                        left -= self._review(order, moment, self._created)
                        if version != order.version:
                            continue
                    child = self._release(order, moment)
                    if child is not None:
                        return child
            return None

    def _release(self, order: WorkingOrder, now: float) -> ChildOrder | None:
        """Size and release the next child of an order; return None if none of its shares may trade."""
        most = None if order.basket is None else order.basket.limit(order, now, self._quotes, self._halted)
        child = order.release(now, self._volume_rate(order, now), most)
        if child is not None:
            self._owners[child.id] = order
            self._working += 1
            self._status = None
        self._queue_next_child(order)
        return child

    def _volume_rate(self, order: WorkingOrder, now: float) -> float | None:
        """Return the market volume that is expected, shares a second: as quoted, else as estimated; None: unknown."""
        quote = self._quotes.get(order.parent.symbol)
        rate = None if quote is None else quote.volume_rate
        return order.estimates.volume_rate(now) if rate is None and order.estimates is not None else rate

    def route(self, child: ChildOrder | str, now: float | None = None) -> Routing:
        """Return what to cancel in the venues, and new venue orders for the shares of a child that are in none.

        Call it after the release of the child, after a cancellation or a rejection, and as often as the tactic is to decide:
        at least once when the window of the child ends. A cancellation counts once :meth:`cancel` confirmed it. The window ends
        two calls before the deadline at the latest, by the longest time between two calls for the child so far: one call
        cancels, the next one takes. During a pause, and while no session is open, the result is empty.

        Raises:
            RuntimeError: The agent has no venues.
            ValueError: The child is unknown, or does not fit the tactic.
        """
        with self._lock:
            if self.router is None:
                raise RuntimeError("an agent without venues routes no orders: ExecutionAgent(venues=[...])")
            name, order = self._find_child(child)
            moment = self._time(now)
            symbol, rate = order.parent.symbol, self._volume_rate(order, moment)
            held = self._state == PAUSED or symbol in self._halted or order.next_open(moment) > moment
            if held and not order.closed:
                self.router.wait(order, name, moment)
                return Routing()
            version, open_before = order.version, bool(order.children[name].remaining)
            routing = self.router.route(order, name, self._quotes.get(symbol), rate, moment)
            if order.version != version:  # lots of later children wait too, or no longer
                self._queue_next_child(order)
                self._working += bool(order.children[name].remaining) - open_before
                self._status = None
            return routing

    def report_fill(
        self,
        child: ChildOrder | VenueOrder | str,
        quantity: float,
        price: float,
        now: float | None = None,
        mid: float | None = None,
        *,
        fee: float | None = None,
        liquidity: str | None = None,
    ) -> ChildOrder:
        """Book a fill of a child in the market, or of one of its venue orders; return the updated child.

        Args:
            child: The child or the venue order, or its id; a child that was routed has fills of venue orders only.
            quantity: Shares that traded, a whole number of lots, at most the remaining shares.
            price: Fill price, currency per share.
            now: Time of the fill, seconds; None: from the clock.
            mid: Mid just before the fill, currency per share, if known; it makes the cost decomposition more accurate.
            fee: Fee of the venue, currency, negative for a rebate; None: the venue's fee for each share, or 0.
            liquidity: "maker" or "taker"; None: by the kind of the venue, if it is known.

        Raises:
            ValueError: The order is unknown, the fill exceeds its remaining shares, or a value is invalid; nothing is booked.
        """
        with self._lock:
            sent = None if self.router is None else self.router.find(child)
            name, order = self._find_child(child if sent is None else sent.child)
            left = order.children[name].remaining
            remaining = left if sent is None else sent.remaining
            shares = check_quantity("quantity", quantity, order.parent.lot_size)
            if shares > remaining:
                whose = f"child {name}" if sent is None else f"venue order {sent.id}"
                raise ValueError(f"quantity must be at most the remaining shares of {whose} ({remaining}), got {quantity}")
            paid = check_number("price", price, low=0.0, high=1e9, open_low=True)
            if mid is not None:
                mid = check_number("mid", mid, low=0.0, high=1e9, open_low=True)
            fill = Fill(self._time(None) if now is None else check_time(now), shares, paid, mid)
            charged = None if fee is None else check_number("fee", fee, low=-1e12, high=1e12, unit="currency")
            kind = None if liquidity is None else check_choice("liquidity", liquidity, (MAKER, TAKER))
            fill = fill._replace(fee=charged or 0.0, liquidity=kind or "")
            if self.router is not None:
                fill = self.router.book(sent, name, fill, charged, kind)
            current = order.book(name, fill)
            if order.parent.symbol in self.estimates:  # a fill that waited says nothing of the cost of taking
                known = None if fill.liquidity == MAKER else mid
                self.estimates[order.parent.symbol].fill(order.parent.side, shares, paid, known)
            if shares == left:
                self._working -= 1
            self._status = None
            if order.closed:
                self._update_report(order)
            elif order.filled == order.lots:
                self._close(order, fill.time, "filled")
            return current

    def _find_child(self, child: ChildOrder | VenueOrder | str) -> tuple[str, WorkingOrder]:
        """Return the id of a released child and the state of its order."""
        name = child if isinstance(child, str) else str(getattr(child, "id", child))
        order = self._owners.get(name)
        if order is None:
            raise ValueError(f"unknown child {name!r}{nearest(name, list(self._owners)[-1000:])}")
        return name, order

    def cancel(
        self,
        order: BasketOrder | ParentOrder | ChildOrder | VenueOrder | str,
        now: float | None = None,
        *,
        quantity: float | None = None,
        rejected: bool = False,
    ) -> None:
        """Cancel a parent, which closes with a report, or a child in the market, whose remaining shares return to its parent.

        A list is cancelled as all its parents that are open. The shares of a venue order return to its child, which
        :meth:`route` then sends elsewhere; a child takes those that are in venues with it.

        The quantity of a cancelled child becomes its filled shares, so that the children still sum to their parent.

        Args:
            order: The order, or its id.
            now: Time, seconds; None: from the clock.
            quantity: Of a venue order: shares that its venue cancelled; None: all that remain.
            rejected: Of a venue order: whether its venue rejected it. The child is then routed to other venues.

        Raises:
            ValueError: The order is unknown or closed, or has no remaining shares; it is no venue order, of which alone a part
                can be cancelled or rejected.
        """
        with self._lock:
            name = order if isinstance(order, str) else order.id
            moment = self._time(now)
            if (quantity is not None or rejected) and (self.router is None or self.router.find(order) is None):
                given = "rejected" if quantity is None else "quantity"
                raise ValueError(f"{given} must be that of a venue order, got {name!r}; others are cancelled whole")
            if not isinstance(order, ChildOrder) and name in self._ids:
                self._cancel_parents(name, moment)
                return
            sent = None if self.router is None else self.router.find(order)
            if self.router is not None and sent is not None:
                self.router.withdraw(sent, quantity, rejected, moment)
                owner = self._owners[sent.child]
                if owner.closed:
                    self._update_report(owner)
                return
            name, owner = self._find_child(name)
            if not owner.children[name].remaining:
                raise ValueError(f"child {name!r} has nothing left to cancel")
            if self.router is not None:
                self.router.end(name, moment)
            owner.withdraw(name)
            self._working -= 1
            self._status = None
            if owner.closed:
                self._update_report(owner)
            else:
                owner.carry_forward(owner.trading_time(moment))
                self._queue_next_child(owner)

    def _cancel_parents(self, name: str, now: float) -> None:
        """Close a parent, or the open parents of a list."""
        basket = self._baskets.get(name)
        legs = [name] if basket is None else [leg.parent.id for leg in basket.legs if not leg.closed]
        if not legs:
            raise ValueError(f"list {name!r} is closed: all its orders are")
        for leg in legs:
            self._cancel_parent(leg, now)

    def _cancel_parent(self, name: str, now: float) -> None:
        """Close a parent that is queued or active."""
        order = self._active.get(name) or self._queue.get(name)
        if order is None:
            reason = self._reports[name].reason if name in self._reports else "its report was forgotten"
            raise ValueError(f"order {name!r} is closed: {reason}")
        self._close(order, now, "cancelled")

    # --- ends

    def _close(self, order: WorkingOrder, now: float, reason: str) -> None:
        """Close an order and make its report."""
        parent = order.parent
        for orders in (self._active, self._adaptive, self._queue):
            orders.pop(parent.id, None)
        self._closed[parent.id], order.closed = order, True
        order.version += 1
        order.pending = []
        log = self._marks.get(parent.symbol)
        self._report(order, now, reason, () if log is None else log.since(order.first_mark))
        del self._symbols[parent.symbol][parent.id]
        if not self._symbols[parent.symbol]:
            del self._symbols[parent.symbol]
            self._marks.pop(parent.symbol, None)
        self._status = None
        if self.config.verbose:
            filled = shares_of(order.filled, parent.lot_size)
            _log.info("%s: %s %s, %s of %s shares", self.config.name, parent.id, reason, filled, parent.quantity)

    def _report(self, order: WorkingOrder, end: float, reason: str, marks: Sequence[Mark]) -> None:
        """Make or update the report of an order."""
        self._reports[order.parent.id] = ExecutionReport(
            parent=order.parent,
            children=tuple(order.children.values()),
            start=order.start,
            end=end,
            reason=reason,
            marks=marks,
            plan=order.first_plan,
            config=self.config,
            venue_orders=() if self.router is None else self.router.orders(order.children),
            learned=None if order.estimates is None else order.estimates.summary,
        )

    def _update_report(self, order: WorkingOrder) -> None:
        """Update the report of a closed order, after a late fill or a cancellation."""
        report = self._reports[order.parent.id]
        self._report(order, report.end, report.reason, report.marks)

    def get_reports(self, forget: bool = False) -> list[ExecutionReport]:
        """Return the reports of the closed orders, in the order of their closing.

        Args:
            forget: Whether to drop these orders, which bounds the memory of a long-lived agent. Orders with a child in the
                market are retained for late fills, and their reports are returned again. Ids are never reusable.
        """
        with self._lock:
            reports = list(self._reports.values())
            if forget:
                for name in [name for name, order in self._closed.items() if not order.working]:
                    children = self._closed.pop(name).children
                    if self.router is not None:
                        self.router.forget(children)
                    for child in children:
                        del self._owners[child]
                    del self._reports[name]
                for name in [name for name, basket in self._baskets.items() if basket.forgotten(self._reports)]:
                    del self._baskets[name]
                self._drop_outdated()
                self._status = None
            return reports

    def _drop_outdated(self) -> None:
        """Drop the entries of closed orders and of earlier plans once they are most of a heap: they retain forgotten orders."""
        most = 2 * (len(self._queue) + len(self._active))
        if len(self._deadlines) > most:
            self._deadlines = [entry for entry in self._deadlines if not entry[-1].closed]
            heapq.heapify(self._deadlines)
        if len(self._due) > most:
            self._due = [entry for entry in self._due if entry[2] == entry[-1].version]
            heapq.heapify(self._due)

    def report(self, parent: ParentOrder | str) -> ExecutionReport | None:
        """Return the report of an order; None if the order is open, unknown or forgotten."""
        with self._lock:
            return self._reports.get(parent if isinstance(parent, str) else parent.id)

    def basket_report(self, order: BasketOrder | str) -> BasketReport | None:
        """Return the report of a list; None if one of its orders is open or forgotten, or the list is unknown."""
        with self._lock:
            basket = self._baskets.get(order if isinstance(order, str) else order.id)
            return None if basket is None else basket.report(self._reports)

    # --- queries

    def children(self, parent: ParentOrder | str) -> tuple[ChildOrder, ...]:
        """Return the released children of an order, with their fills, and then its pending children."""
        with self._lock:
            name = parent if isinstance(parent, str) else parent.id
            order = self._active.get(name) or self._closed.get(name)
            return () if order is None else (*order.children.values(), *order.pending_children())

    def child(self, child: ChildOrder | str) -> ChildOrder:
        """Return the present record of a released child, with its fills.

        Raises:
            ValueError: The child is unknown.
        """
        with self._lock:
            name, order = self._find_child(child)
            return order.children[name]

    def estimate_impact(
        self,
        quantity: float,
        arrival_price: float,
        daily_volatility: float,
        volume: float,
        adv: float,
        *,
        side: int = 1,
        lot_size: float = 1,
        symbol: str | None = None,
    ) -> MarketImpactEstimate:
        """Estimate the cost of an order with the impact model of the configuration, or with what was learned of a symbol.

        See :func:`~hyperexec_env.execution.estimates.estimate_impact`. With a symbol that has estimates, alpha and lambda are
        their posterior means, and `learned` holds the 90 % interval, the prior's cost and the evidence.

        Raises:
            ValueError: A value is out of range, or the symbol has no estimates.
        """
        if symbol is not None:
            check_choice("symbol", symbol, tuple(self.estimates))
            with self._lock:
                return self.estimates[symbol].estimate_impact(
                    quantity, arrival_price, daily_volatility, volume, adv, side=side, lot_size=lot_size
                )
        return estimate_impact(
            quantity, arrival_price, daily_volatility, volume, adv, side=side, lot_size=lot_size, config=self.config
        )

    @property
    def status(self) -> AgentStatus:
        """Current snapshot of the agent."""
        status = self._status
        if status is not None:
            return status
        with self._lock:
            count = self._processed
            self._status = status = _record(
                AgentStatus,
                (
                    self._name,
                    self._state,
                    self._regime,
                    len(self._queue),
                    len(self._active),
                    self._working,
                    len(self._closed),
                    count,
                    self._nanoseconds / count if count else 0.0,
                    self._slow,
                    self._halted,
                ),
            )
            return status

    @property
    def process_count(self) -> int:
        """Number of calls of :meth:`process`."""
        return self._processed

    @property
    def avg_latency_ns(self) -> float:
        """Mean duration of a :meth:`process` call, nanoseconds; 0 before the first call."""
        return self._nanoseconds / self._processed if self._processed else 0.0

    def _time(self, now: float | None) -> float:
        """Return the time of a call, at least the latest time: the one place where a clock that runs backwards is clamped."""
        moment = check_time(self._clock() if now is None else now)
        return moment if moment > self._latest else self._latest


def _checked_estimates(estimates: Mapping[str, OnlineEstimates] | None) -> dict[str, OnlineEstimates]:
    """Return estimates by symbol; raise ValueError unless each symbol has an object of its own."""
    if not isinstance(estimates, Mapping | None):
        raise ValueError(f"estimates must be a mapping from symbol to OnlineEstimates, got {shown(estimates)}")
    owners: dict[int, str] = {}
    for symbol, each in (estimates or {}).items():
        if not isinstance(each, OnlineEstimates):
            raise ValueError(f"estimates of {symbol} must be OnlineEstimates, got {shown(each)}")
        other = owners.setdefault(id(each), symbol)
        if other != symbol:
            raise ValueError(f"estimates must be one object for each symbol, got the same for {other} and {symbol}")
    return dict(estimates or {})
