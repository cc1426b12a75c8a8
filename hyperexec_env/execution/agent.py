"""The execution agent: accepts parent orders, releases child orders on schedule, books fills and reports the cost.

One lock guards all state, so several threads may submit orders, process, take children and report fills concurrently.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from sys import float_info
from threading import RLock
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.checks import check_choice, check_integer, check_number, check_seed, nearest
from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ADAPTIVE, ALGORITHMS, POV, Outlook, check_algorithm, resolve
from hyperexec_env.execution.children import cut, whole_shares
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.estimates import MarketImpactEstimate, estimate_impact
from hyperexec_env.execution.hiding import TIME_JITTER, jitter
from hyperexec_env.execution.report import ExecutionReport, Mark
from hyperexec_env.market.regime import REGIME_NAMES, UNKNOWN
from hyperexec_env.market.volume import slice_profile
from hyperexec_env.orders import MAX_SHARES, ChildOrder, Fill, ParentOrder

__all__ = ["AgentStatus", "ExecutionAgent", "Portfolio", "Quote"]

_log = logging.getLogger("hyperexec_env.execution")
_REGIMES: Final = (*REGIME_NAMES, UNKNOWN)
_MIN_TRIM_SIZE: Final = 1024
"""Number of marks per symbol below which the agent does not trim them."""
_record = tuple.__new__  # builds a named tuple in half the time of calling its class
CREATED, RUNNING, PAUSED, STOPPED = "created", "running", "paused", "stopped"


class Quote(NamedTuple):
    """Market data of a symbol, as the caller provides it."""

    mid: float | None = None
    """Midpoint of the best bid and offer, currency per share; None: unknown."""
    volume_rate: float | None = None
    """Market volume expected from now on, shares a second; None: unknown, so no cap binds."""


Portfolio = Mapping[str, Quote]
"""Quote of each symbol that the agent trades."""


class AgentStatus(NamedTuple):
    """Snapshot of an agent: its state, counts of orders and children, and latency."""

    name: str
    state: str
    """created, running, paused or stopped."""
    regime: str
    """The regime last passed to `process`."""
    queued: int
    """Parents that were submitted but not yet cut into children."""
    active: int
    """Parents that are being executed."""
    working: int
    """Children in the market: released, neither filled nor cancelled."""
    closed: int
    """Parents that have a report, except those that `get_reports` forgot."""
    process_count: int
    avg_latency_ns: float
    """Mean duration of a `process` call, nanoseconds."""
    slow_count: int
    """Number of `process` calls that took longer than `max_latency_us`."""


class _OrderState:
    """Execution state of one parent order, guarded by the lock of the agent."""

    __slots__ = (
        *("algorithm", "children", "choice", "closed", "deadline", "filled", "first_mark", "first_plan", "interval"),
        *("last_scheduled", "next_index", "next_number", "parent", "pending", "planned_at", "planned_shares", "pov_rate"),
        *("pov_target", "start", "submitted", "version", "window_end", "window_shares", "working"),
    )

    def __init__(self, parent: ParentOrder, algorithm: str, submitted: float, deadline: float) -> None:
        self.parent, self.algorithm, self.submitted, self.deadline = parent, algorithm, submitted, deadline
        self.start = submitted  # time of the first plan
        self.closed = False
        self.choice: tuple[str, int] | None = None  # algorithm and intervals of the last plan, by its regime
        self.planned_at = self.interval = 0.0  # time of the last plan, and the length of its intervals
        self.last_scheduled = 0.0  # schedule time of the last released child
        self.pending: list[ChildOrder] = []  # children of the last plan; those before `next_index` have been released
        self.planned_shares: list[int] = []  # shares of each pending child as planned, before any shares were carried forward
        # `version` counts schedule changes, so that the heap of due children can skip outdated entries; `working` counts shares
        # in the market; `first_mark` is the index of the first mark that the order needs
        self.next_index = self.next_number = self.version = self.filled = self.working = self.first_mark = 0
        self.children: dict[str, ChildOrder] = {}  # released children by id
        self.first_plan: list[ChildOrder] = []  # children of the first plan
        self.pov_rate = self.pov_target = 0.0  # POV only: participation, and the target for the shares released so far
        self.window_end = submitted  # end of the current interval of the participation cap
        self.window_shares = 0  # shares released in that interval

    @property
    def unreleased(self) -> int:
        """Shares that are neither filled nor in the market."""
        return self.parent.quantity - self.filled - self.working


class ExecutionAgent:
    """Cuts parent orders into child orders, releases the children on schedule, and reports the execution cost.

    The life of an order: :meth:`submit_order` accepts it, the next :meth:`process` cuts it into children,
    :meth:`get_next_child` releases each child when it is due, and :meth:`report_fill` books its fills. When the order is
    filled, expired, cancelled or stopped, :meth:`get_reports` returns its report. While a parent has pending children, its
    children sum to its quantity. A fill that arrives after the order closed is booked, and the report is updated.

    Args:
        config: Settings; None: the defaults.
        seed: Seed of the order hiding; None: entropy of the operating system, so that the jitter is unpredictable.
        clock: Function that returns the time in seconds, in the unit of the deadlines; by default ``time.time``.
    """

    def __init__(
        self, config: ExecutionConfig | None = None, *, seed: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Make an agent in the state "created"."""
        self.config = ExecutionConfig() if config is None else config
        self._name = self.config.name
        self._rng = np.random.default_rng(None if seed is None else check_seed(seed))
        self._clock = clock
        self._lock = RLock()
        self._tie_breaker = itertools.count()
        self._state, self._regime, self._regime_changed = CREATED, UNKNOWN, False
        self._quotes: dict[str, Quote] = {}
        self._marks: dict[str, list[Mark]] = {}
        self._trim_sizes: dict[str, int] = {}  # by symbol: number of marks at which to trim them
        self._symbols: dict[str, int] = {}  # number of open parents by symbol
        self._ids: set[str] = set()  # ids of all orders ever submitted
        self._queue: deque[_OrderState] = deque()
        self._active: dict[str, _OrderState] = {}
        self._closed: dict[str, _OrderState] = {}
        self._reports: dict[str, ExecutionReport] = {}
        self._owners: dict[str, _OrderState] = {}  # order of each released child
        self._due: list[tuple[float, int, int, _OrderState]] = []  # heap: schedule time, tie-breaker, version of the plan
        self._deadlines: list[tuple[float, int, _OrderState]] = []  # heap: deadline, tie-breaker
        self._working = self._processed = self._nanoseconds = self._slow = 0
        self._status: AgentStatus | None = None

    # --- life cycle

    def start(self) -> None:
        """Start the agent, which then accepts orders."""
        self._transition("start", (CREATED, STOPPED), RUNNING)

    def pause(self) -> None:
        """Stop releasing children until :meth:`resume`; the agent still accepts orders and fills, and deadlines still apply."""
        self._transition("pause", (RUNNING,), PAUSED)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        self._transition("resume", (PAUSED,), RUNNING)

    def stop(self, now: float | None = None) -> None:
        """Close all orders, with reports, and accept no more. Fills of children in the market are still booked."""
        with self._lock:
            self._transition("stop", (CREATED, RUNNING, PAUSED), STOPPED)
            moment = self._time(now)
            for order in [*self._queue, *self._active.values()]:
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
        if algorithm == POV and parent.expected_volume is None and config.max_participation_rate is None:
            raise ValueError("POV needs expected_volume of the order or max_participation_rate of the config, got neither")
        with self._lock:
            if self._state not in (RUNNING, PAUSED) or not config.enabled:
                raise RuntimeError(
                    f"an agent that is {self._state if config.enabled else 'not enabled'} accepts no orders; call start() first"
                )
            if parent.id in self._ids:
                raise ValueError(f"id must be new to the agent, but {parent.id!r} was submitted before")
            moment = self._time(now)
            deadline = moment + config.horizon_seconds if parent.deadline is None else parent.deadline
            order = _OrderState(parent, algorithm, moment, deadline)
            self._ids.add(parent.id)
            self._queue.append(order)
            heapq.heappush(self._deadlines, (deadline, next(self._tie_breaker), order))
            self._symbols[parent.symbol] = self._symbols.get(parent.symbol, 0) + 1
            order.first_mark = max(len(self._marks.get(parent.symbol, ())) - 1, 0)
            self._status = None
        return parent.id

    def process(
        self, portfolio: Portfolio | None = None, regime: str | None = None, now: float | None = None
    ) -> list[ChildOrder]:
        """Update all orders: close expired ones, replan where the regime changed, and cut submitted ones into children.

        Args:
            portfolio: Quotes by symbol; symbols without a new quote keep their last one.
            regime: Current market regime; None: the regime of the last call (UNKNOWN at first).
            now: Time, seconds; None: from the clock.

        Returns:
            The new children, sorted by time within each parent.

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
            if regime is not None and regime != self._regime:
                self._regime, self._regime_changed = regime, True
            while self._deadlines and self._deadlines[0][0] <= moment:
                order = heapq.heappop(self._deadlines)[2]
                if not order.closed:
                    self._close(order, order.deadline, "expired")
            created: list[ChildOrder] = []
            if self._state == RUNNING:
                if self._regime_changed:
                    self._replan_for_regime(moment, created)
                while self._queue:
                    self._start_order(self._queue.popleft(), moment, created)
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
        for symbol, (mid, rate) in portfolio.items():
            if mid is not None and not 0.0 < mid < 1e9:
                check_number(f"mid of {symbol}", mid, low=0.0, high=1e9, open_low=True)
            if rate is not None and not 0.0 <= rate < 1e15:
                check_number(f"volume_rate of {symbol}", rate, low=0.0, high=1e15)
        for symbol, quote in portfolio.items():
            before = self._quotes.get(symbol)
            self._quotes[symbol] = quote
            if quote[0] is not None and symbol in self._symbols:
                self._add_mark(symbol, quote[0], before, now)

    def _add_mark(self, symbol: str, mid: float, before: Quote | None, now: float) -> None:
        """Append a mark of a symbol, at the time of the last mark or later even if the clock runs backwards."""
        marks = self._marks.setdefault(symbol, [])
        last = marks[-1].time if marks else now
        rate = before.volume_rate if before is not None else None
        marks.append(Mark(max(now, last), mid, (now - last) * rate if rate and now > last else 0.0))
        if len(marks) >= self._trim_sizes.get(symbol, _MIN_TRIM_SIZE):  # drop marks that no open order needs
            orders = [order for order in (*self._queue, *self._active.values()) if order.parent.symbol == symbol]
            first = min(order.first_mark for order in orders)
            del marks[:first]
            for order in orders:
                order.first_mark -= first
            self._trim_sizes[symbol] = max(_MIN_TRIM_SIZE, 2 * len(marks))

    def _start_order(self, order: _OrderState, now: float, created: list[ChildOrder]) -> None:
        """Make the first plan of a parent."""
        parent = order.parent
        order.start = order.window_end = now
        try:
            self._plan(order, now)
        except Exception:
            self._close(order, now, "failed")  # other orders continue
            raise
        self._active[parent.id] = order
        order.first_plan = order.pending
        created += order.pending
        if self.config.verbose:
            _log.info("%s: cut %s into %d children by %s", self.config.name, parent.id, len(order.pending), order.algorithm)

    def _replan_for_regime(self, now: float, created: list[ChildOrder]) -> None:
        """Replan the unreleased shares of the orders whose algorithm or number of intervals changes with the regime."""
        self._regime_changed = False
        choice = resolve(ADAPTIVE, self._regime, self.config.slices)
        for order in self._active.values():
            if order.algorithm == ADAPTIVE and order.unreleased and order.choice != choice:
                self._plan(order, now)
                created += order.pending

    # --- plans

    def _plan(self, order: _OrderState, now: float) -> None:
        """Cut the unreleased shares of an order into children over the remaining time."""
        config, left = self.config, order.deadline - now
        intervals = max(1, round(config.slices * left / (order.deadline - order.start)))
        algorithm, intervals = resolve(order.algorithm, self._regime, intervals)
        weights = ALGORITHMS[algorithm](self._outlook(order, algorithm, intervals, now))
        order.interval, order.planned_at = max(left / intervals, float_info.min), now
        if order.choice is None:
            order.last_scheduled = now - 0.5 * order.interval
        phase = schedules.phase_after(now - order.last_scheduled, order.interval, TIME_JITTER * config.steganographic_factor)
        order.choice = resolve(order.algorithm, self._regime, config.slices)
        children = cut(
            order.parent,
            order.unreleased,
            now,
            order.deadline,
            weights,
            phase=phase,
            factor=config.steganographic_factor,
            rng=self._rng,
            number=order.next_number,
        )
        order.next_number += len(children)
        self._schedule(order, children, [child.quantity for child in children])

    def _outlook(self, order: _OrderState, algorithm: str, intervals: int, now: float) -> Outlook:
        """Return the inputs of the algorithm for the remaining time."""
        parent, config = order.parent, self.config
        urgency = config.urgency if parent.urgency is None else parent.urgency
        volumes: Any = ()
        if algorithm in ("VWAP", POV):
            whole = order.deadline - order.submitted
            since, left = (now - order.submitted) / whole, (order.deadline - now) / whole
            volumes = slice_profile(parent.volume_profile, intervals, since, left, 1.0)
        if algorithm == POV:
            expected, cap = parent.expected_volume, config.max_participation_rate
            order.pov_rate = parent.quantity / (expected * float(volumes.sum())) if expected is not None else cap or 0.0
        rate = 0.0
        if algorithm == "AC":
            rate = schedules.STEEPNESS * urgency / intervals  # market unknown: use the steepness of IS
            if parent.volatility is not None and parent.expected_volume is not None:
                rate = schedules.almgren_chriss_rate(
                    quantity=parent.quantity,
                    slices=intervals,
                    volume=parent.expected_volume,
                    volatility=parent.volatility * parent.arrival_price,
                    alpha=config.temp_impact_alpha,
                    beta=config.temp_impact_beta,
                    risk_aversion=config.risk_aversion,
                    tau=(order.deadline - now) / config.day_seconds / intervals,
                )
        return Outlook(intervals, urgency, volumes, rate)

    def _schedule(self, order: _OrderState, children: list[ChildOrder], planned_shares: list[int]) -> None:
        """Replace the pending children of an order."""
        order.pending, order.planned_shares, order.next_index = children, planned_shares, 0
        order.version += 1
        self._queue_next_child(order)

    def _queue_next_child(self, order: _OrderState) -> None:
        """Push the next pending child of an order onto the heap."""
        if order.next_index < len(order.pending):
            entry = (order.pending[order.next_index].schedule_time, next(self._tie_breaker), order.version, order)
            heapq.heappush(self._due, entry)

    def _carry_forward(self, order: _OrderState, at: float) -> None:
        """Distribute the unreleased shares over the pending children, in proportion to their planned shares.

        Without pending children, the unreleased shares become one new child at the time `at`, if that is before the deadline.
        """
        rest, shape = order.pending[order.next_index :], order.planned_shares[order.next_index :]
        if rest:
            pieces = whole_shares(order.unreleased, shape)
            rest = [child._replace(quantity=piece) for child, piece in zip(rest, pieces, strict=True)]
        elif order.unreleased and at < order.deadline:
            rest, shape = [ChildOrder(order.parent, order.next_number, order.unreleased, at)], [order.unreleased]
            order.next_number += 1
        self._schedule(order, rest, shape)

    # --- children and fills

    def get_next_child(self, now: float | None = None) -> ChildOrder | None:
        """Release and return the earliest child that is due; None if no child is due.

        Call it at least as often as children are scheduled: a child that becomes due after the last call before the deadline
        is never released.
        """
        with self._lock:
            if self._state != RUNNING:
                return None
            moment = self._time(now)
            while self._due and self._due[0][0] <= moment:
                _, _, version, order = heapq.heappop(self._due)
                if version != order.version:
                    continue
                if moment >= order.deadline:
                    self._close(order, order.deadline, "expired")
                    continue
                child = self._release(order, moment)
                if child is not None:
                    return child
            return None

    def _release(self, order: _OrderState, now: float) -> ChildOrder | None:
        """Size and release the next child of an order; return None if none of its shares may trade."""
        planned = order.pending[order.next_index]
        wanted = self._permitted_shares(order, planned, now)
        later = planned.schedule_time + order.interval  # time to which unreleased shares of the last child are carried
        ends = order.next_index == len(order.pending) - 1 and later >= order.deadline
        shares = order.unreleased if ends and self.config.complete else min(wanted, order.unreleased)
        order.next_index += 1
        order.last_scheduled = planned.schedule_time
        child = planned._replace(quantity=shares, released=now, forced=shares - min(wanted, shares))
        if shares:
            order.children[child.id] = child
            order.working += shares
            order.window_shares += shares
            self._owners[child.id] = order
            self._working += 1
            self._status = None
        if shares != planned.quantity and not ends:
            self._carry_forward(order, later)
        else:
            self._queue_next_child(order)
        return child if shares else None

    def _advance_window(self, order: _OrderState, now: float) -> float:
        """Advance the cap interval to the one that contains `now`; return the seconds by which its end moved."""
        if now < order.window_end:
            return 0.0
        end = order.planned_at + (int((now - order.planned_at) / order.interval) + 1) * order.interval
        if end <= now:  # the division rounded down
            end += order.interval
        begun = end - order.window_end
        order.window_end, order.window_shares = end, 0
        return begun

    def _permitted_shares(self, order: _OrderState, planned: ChildOrder, now: float) -> int:
        """Return the shares of a child that the algorithm asks for and the participation cap permits.

        The cap applies to all shares released in an interval, so overdue children of one interval share it.
        """
        begun = self._advance_window(order, now)
        quote, wanted = self._quotes.get(order.parent.symbol), planned.quantity
        volume_rate = None if quote is None else quote.volume_rate
        if order.algorithm == POV:
            wanted = self._pov_shares(order, wanted, volume_rate, begun)
        cap = self.config.max_participation_rate
        if cap is None or volume_rate is None:
            return wanted
        return min(wanted, max(int(cap * volume_rate * order.interval) - order.window_shares, 0))

    def _pov_shares(self, order: _OrderState, planned: int, volume_rate: float | None, begun: float) -> int:
        """Return the shares that POV asks for: its share of the volume so far, minus the shares already released.

        Without a quoted volume rate, return the planned shares, which come from the expected volume.
        """
        done = order.filled + order.working
        if volume_rate is None:
            order.pov_target = float(done + planned)
        elif begun:
            order.pov_target += order.pov_rate * volume_rate * begun * jitter(self.config.steganographic_factor, self._rng)
        return max(0, int(order.pov_target + 0.5) - done)

    def report_fill(
        self, child: ChildOrder | str, quantity: int, price: float, now: float | None = None, mid: float | None = None
    ) -> ChildOrder:
        """Book a fill of a child in the market; return the updated child.

        Args:
            child: The child, or its id.
            quantity: Whole shares that traded, at most the remaining shares of the child.
            price: Fill price, currency per share.
            now: Time of the fill, seconds; None: from the clock.
            mid: Mid just before the fill, currency per share, if known; it makes the cost decomposition more accurate.

        Raises:
            ValueError: The child is unknown, the fill exceeds its remaining shares, or a value is invalid; nothing is booked.
        """
        with self._lock:
            name, order = self._find_child(child)
            current = order.children[name]
            remaining = current.remaining
            check_integer("quantity", quantity, low=1, high=MAX_SHARES)
            if quantity > remaining:
                raise ValueError(f"quantity must be at most the remaining shares of child {name} ({remaining}), got {quantity}")
            paid = check_number("price", price, low=0.0, high=1e9, open_low=True)
            if mid is not None:
                mid = check_number("mid", mid, low=0.0, high=1e9, open_low=True)
            fill = Fill(self._time(now), int(quantity), paid, mid)
            current = order.children[name] = current._replace(fills=(*current.fills, fill))
            order.filled += fill.quantity
            order.working -= fill.quantity
            if not current.remaining:
                self._working -= 1
            self._status = None
            if order.parent.id in self._closed:
                self._report(order, self._reports[order.parent.id].end, self._reports[order.parent.id].reason)
            elif order.filled == order.parent.quantity:
                self._close(order, fill.time, "filled")
            return current

    def _find_child(self, child: ChildOrder | str) -> tuple[str, _OrderState]:
        """Return the id of a released child and the state of its order."""
        name = child.id if isinstance(child, ChildOrder) else child
        order = self._owners.get(name)
        if order is None:
            raise ValueError(f"unknown child {name!r}{nearest(name, list(self._owners)[-1000:])}")
        return name, order

    def cancel(self, order: ParentOrder | ChildOrder | str, now: float | None = None) -> None:
        """Cancel a parent, which closes with a report, or a child in the market, whose remaining shares return to its parent.

        The quantity of a cancelled child becomes its filled shares, so that the children still sum to their parent.

        Raises:
            ValueError: The order is unknown or closed, or the child has no remaining shares.
        """
        with self._lock:
            name = order if isinstance(order, str) else order.id
            moment = self._time(now)
            if not isinstance(order, ChildOrder) and name in self._ids:
                self._cancel_parent(name, moment)
                return
            name, owner = self._find_child(name)
            child = owner.children[name]
            if not child.remaining:
                raise ValueError(f"child {name!r} has nothing left to cancel")
            owner.working -= child.remaining
            owner.window_shares = max(owner.window_shares - child.remaining, 0)
            self._working -= 1
            owner.children[name] = child._replace(quantity=child.filled, forced=min(child.forced, child.filled))
            self._status = None
            if owner.parent.id in self._active:
                self._carry_forward(owner, moment)
            else:
                report = self._reports[owner.parent.id]
                self._report(owner, report.end, report.reason)

    def _cancel_parent(self, name: str, now: float) -> None:
        """Close a parent that is queued or active."""
        if name not in self._active and name not in {order.parent.id for order in self._queue}:
            reason = self._reports[name].reason if name in self._reports else "its report was forgotten"
            raise ValueError(f"order {name!r} is closed: {reason}")
        self._close(self._active.get(name) or next(order for order in self._queue if order.parent.id == name), now, "cancelled")

    # --- ends

    def _close(self, order: _OrderState, now: float, reason: str) -> None:
        """Close an order and make its report."""
        parent = order.parent
        if self._active.pop(parent.id, None) is None and order in self._queue:
            self._queue.remove(order)
        self._closed[parent.id], order.closed = order, True
        order.version += 1
        order.pending = []
        self._report(order, now, reason)
        self._symbols[parent.symbol] -= 1
        if not self._symbols[parent.symbol]:
            del self._symbols[parent.symbol]
            self._marks.pop(parent.symbol, None)
            self._trim_sizes.pop(parent.symbol, None)
        self._status = None
        if self.config.verbose:
            _log.info("%s: %s %s, %d of %d shares", self.config.name, parent.id, reason, order.filled, parent.quantity)

    def _report(self, order: _OrderState, end: float, reason: str) -> None:
        """Make or update the report of an order."""
        parent, earlier = order.parent, self._reports.get(order.parent.id)
        marks = tuple(self._marks.get(parent.symbol, ())[order.first_mark :]) if earlier is None else earlier.marks
        done = list(itertools.accumulate(child.quantity for child in order.first_plan))
        self._reports[parent.id] = ExecutionReport(
            parent=parent,
            children=tuple(order.children.values()),
            start=order.start,
            end=end,
            reason=reason,
            marks=marks,
            plan=tuple((child.schedule_time, float(shares)) for child, shares in zip(order.first_plan, done, strict=True)),
            config=self.config,
        )

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
                    for child in self._closed.pop(name).children:
                        del self._owners[child]
                    del self._reports[name]
                self._status = None
            return reports

    def report(self, parent: ParentOrder | str) -> ExecutionReport | None:
        """Return the report of an order; None if the order is open, unknown or forgotten."""
        with self._lock:
            return self._reports.get(parent if isinstance(parent, str) else parent.id)

    # --- queries

    def children(self, parent: ParentOrder | str) -> tuple[ChildOrder, ...]:
        """Return the released children of an order, with their fills, and then its pending children."""
        with self._lock:
            name = parent if isinstance(parent, str) else parent.id
            order = self._active.get(name) or self._closed.get(name)
            if order is None:
                return ()
            return (*order.children.values(), *(child for child in order.pending[order.next_index :] if child.quantity))

    def estimate_impact(
        self, quantity: int, arrival_price: float, daily_volatility: float, volume: float, adv: float, *, side: int = 1
    ) -> MarketImpactEstimate:
        """Estimate the cost of an order with the impact model of the configuration.

        See :func:`~hyperexec_env.execution.estimates.estimate_impact`.
        """
        return estimate_impact(quantity, arrival_price, daily_volatility, volume, adv, side=side, config=self.config)

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
        moment = self._clock() if now is None else now
        return moment if -1e15 < moment < 1e15 else check_number("now", moment, low=-1e15, high=1e15, unit="seconds")
