"""The execution agent: parent orders go in, child orders come out on time, fills come back, reports are left.

One lock guards it, so that several threads may submit, process, take children and report fills at once.
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

from hyperexec_env.checks import check_choice, check_integer, check_number, nearest
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
_MARKS: Final = 1024
"""Marks of a symbol that are kept before it is asked which are needed."""
_record = tuple.__new__  # makes a named tuple in half the time of a call
CREATED, RUNNING, PAUSED, STOPPED = "created", "running", "paused", "stopped"


class Quote(NamedTuple):
    """What the desk is told of a symbol."""

    mid: float | None = None
    """Middle of the best bid and offer, currency per share; None: not known."""
    volume_rate: float | None = None
    """Market volume expected from now on, shares a second; None: not known, and then no cap can bind."""


Portfolio = Mapping[str, Quote]
"""What the desk is told of each symbol that it trades."""


class AgentStatus(NamedTuple):
    """Where an agent stands."""

    name: str
    state: str
    """created, running, paused or stopped."""
    regime: str
    """The regime that it was told last."""
    queued: int
    """Parents that were submitted and are not cut yet."""
    active: int
    """Parents that are in work."""
    working: int
    """Children that are in the market."""
    closed: int
    """Parents that have a report, but for those that were forgotten."""
    process_count: int
    avg_latency_ns: float
    """Mean time of a `process`, nanoseconds."""
    slow_count: int
    """Number of `process` calls that took longer than `max_latency_us`."""


class _Work:
    """A parent in work. Guarded by the lock of the agent; `left` is what is neither filled nor in the market."""

    __slots__ = (
        *("algorithm", "children", "choice", "closed", "deadline", "filled", "first_mark", "interval", "last"),
        *("next", "number", "parent", "pending", "plan", "planned", "rate", "shape", "start", "submitted"),
        *("target", "used", "version", "window_end", "working"),
    )

    def __init__(self, parent: ParentOrder, algorithm: str, submitted: float, deadline: float) -> None:
        self.parent, self.algorithm, self.submitted, self.deadline = parent, algorithm, submitted, deadline
        self.start = submitted  # when it was cut for the first time
        self.closed = False
        self.choice: tuple[str, int] | None = None  # what the regime of the last plan asked for
        self.planned = self.interval = 0.0  # when the last plan was made, and the length of its intervals
        self.last = 0.0  # schedule time of the child that was released last
        self.pending: list[ChildOrder] = []  # the children to come; those before `next` have been released
        self.shape: list[int] = []  # of each of them, the shares of the last plan, before anything was carried forward
        self.next = self.number = self.version = self.filled = self.working = self.first_mark = 0
        self.children: dict[str, ChildOrder] = {}  # those that were released, by name
        self.plan: list[ChildOrder] = []  # the first plan
        self.rate = self.target = 0.0  # of POV: participation, and the shares that it asks for so far
        self.window_end = submitted  # end of the interval that the participation cap looks at
        self.used = 0  # shares that were released in it

    @property
    def left(self) -> int:
        return self.parent.quantity - self.filled - self.working


class ExecutionAgent:
    """Cuts parent orders into children, releases them on time, and reports what they cost.

    The life of an order: :meth:`submit_order` takes it, the next :meth:`process` cuts it, :meth:`get_next_child` hands out its
    children when they are due, :meth:`report_fill` brings their fills back, and when it is filled, expired or cancelled it
    has a report in :meth:`get_reports`. Children of a parent always sum to it. A fill that arrives after the end is booked,
    and the report is made anew.

    Args:
        config: Settings; None: the defaults.
        seed: Seed of the order hiding; None: from the operating system, so that nobody can foretell it.
        clock: Returns the time in seconds, the one that deadlines are given in; by default ``time.time``.
    """

    def __init__(
        self, config: ExecutionConfig | None = None, *, seed: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Make an agent that has not started."""
        self.config = ExecutionConfig() if config is None else config
        self._name = self.config.name
        self._rng = np.random.default_rng(seed)
        self._clock = clock
        self._lock = RLock()
        self._count = itertools.count()
        self._state, self._regime, self._turned = CREATED, UNKNOWN, False  # turned: and no order has been asked about it yet
        self._quotes: dict[str, Quote] = {}
        self._marks: dict[str, list[Mark]] = {}
        self._limits: dict[str, int] = {}  # of the marks of a symbol: when to look which are needed
        self._symbols: dict[str, int] = {}  # how many open parents each symbol has
        self._names: set[str] = set()  # of all orders that were ever submitted
        self._queue: deque[_Work] = deque()
        self._active: dict[str, _Work] = {}
        self._closed: dict[str, _Work] = {}
        self._reports: dict[str, ExecutionReport] = {}
        self._owners: dict[str, _Work] = {}  # of each child that was released
        self._due: list[tuple[float, int, int, _Work]] = []  # heap: schedule time, tie-breaker, version of the plan
        self._ends: list[tuple[float, int, _Work]] = []  # heap: deadline, tie-breaker
        self._working = self._processed = self._nanoseconds = self._slow = 0
        self._status: AgentStatus | None = None

    # --- life cycle

    def start(self) -> None:
        """Begin to work; orders may be submitted from now on."""
        self._turn("start", (CREATED, STOPPED), RUNNING)

    def pause(self) -> None:
        """Release no children until :meth:`resume`; orders and fills are still taken, deadlines still count."""
        self._turn("pause", (RUNNING,), PAUSED)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._turn("resume", (PAUSED,), RUNNING)

    def stop(self, now: float | None = None) -> None:
        """Close all orders, with reports, and take no more. Fills of children that are in the market are still booked."""
        with self._lock:
            self._turn("stop", (CREATED, RUNNING, PAUSED), STOPPED)
            moment = self._time(now)
            for work in [*self._queue, *self._active.values()]:
                self._close(work, moment, "stopped")

    def _turn(self, action: str, allowed: tuple[str, ...], state: str) -> None:
        with self._lock:
            if self._state not in allowed:
                raise RuntimeError(f"cannot {action} an agent that is {self._state} (only one that is {' or '.join(allowed)})")
            if self.config.verbose:
                _log.info("%s: %s -> %s", self.config.name, self._state, state)
            self._state, self._status = state, None

    # --- orders

    def submit_order(self, parent: ParentOrder, now: float | None = None) -> str:
        """Take a parent order; return its name. The next :meth:`process` cuts it, or closes it if it has expired.

        Raises:
            TypeError: It is not a ParentOrder.
            RuntimeError: The agent is not running, or not enabled.
            ValueError: The agent knows an order of that name, the algorithm is unknown, or POV has no volume to go by.
        """
        if not isinstance(parent, ParentOrder):
            raise TypeError(f"parent must be a ParentOrder, got {type(parent).__name__}")
        config = self.config
        algorithm = check_algorithm("algorithm", config.algorithm if parent.algorithm is None else parent.algorithm)
        if algorithm == POV and parent.expected_volume is None and config.max_participation_rate is None:
            raise ValueError("POV needs expected_volume of the order or max_participation_rate of the config, got None twice")
        with self._lock:
            if self._state not in (RUNNING, PAUSED) or not config.enabled:
                raise RuntimeError(
                    f"an agent that is {self._state if config.enabled else 'not enabled'} takes no orders; call start() first"
                )
            if parent.id in self._names:
                raise ValueError(f"id must be new to the agent, got {parent.id!r} again")
            moment = self._time(now)
            deadline = moment + config.horizon_seconds if parent.deadline is None else parent.deadline
            work = _Work(parent, algorithm, moment, deadline)
            self._names.add(parent.id)
            self._queue.append(work)
            heapq.heappush(self._ends, (deadline, next(self._count), work))
            self._symbols[parent.symbol] = self._symbols.get(parent.symbol, 0) + 1
            work.first_mark = max(len(self._marks.get(parent.symbol, ())) - 1, 0)
            self._status = None
        return parent.id

    def process(
        self, portfolio: Portfolio | None = None, regime: str | None = None, now: float | None = None
    ) -> list[ChildOrder]:
        """Do what is due: close what has expired, plan anew where the regime has changed, cut what was submitted.

        Args:
            portfolio: What the desk is told of each symbol; symbols that are not named keep their last quote.
            regime: Regime of the market now; None: as it was told last (UNKNOWN at first).
            now: Time, seconds; None: from the clock.

        Returns:
            The children that were made, in the order of their times within each parent.

        Raises:
            ValueError: An unknown regime, or a quote that is not a positive mid and a non-negative volume rate.
        """
        with self._lock:
            begin = time.perf_counter_ns()
            moment = self._time(now)
            if regime is not None and regime not in _REGIMES:
                check_choice("regime", regime, _REGIMES)
            if portfolio:
                self._note(portfolio, moment)
            if regime is not None and regime != self._regime:
                self._regime, self._turned = regime, True
            while self._ends and self._ends[0][0] <= moment:
                work = heapq.heappop(self._ends)[2]
                if not work.closed:
                    self._close(work, work.deadline, "expired")
            made: list[ChildOrder] = []
            if self._state == RUNNING:
                if self._turned:
                    self._follow_regime(moment, made)
                while self._queue:
                    self._begin(self._queue.popleft(), moment, made)
            self._book_time(time.perf_counter_ns() - begin)
            return made

    def _book_time(self, nanoseconds: int) -> None:
        self._processed += 1
        self._nanoseconds += nanoseconds
        self._status = None
        if nanoseconds > 1e3 * self.config.max_latency_us:
            self._slow += 1
            if self.config.verbose:
                _log.warning("%s: process took %.0f us", self.config.name, nanoseconds / 1e3)

    def _note(self, portfolio: Portfolio, now: float) -> None:
        """Remember the quotes, and what the market did while orders are open; nothing of them where one is wrong."""
        for symbol, (mid, rate) in portfolio.items():
            if mid is not None and not 0.0 < mid < 1e9:
                check_number(f"mid of {symbol}", mid, low=0.0, high=1e9, open_low=True)
            if rate is not None and not 0.0 <= rate < 1e15:
                check_number(f"volume_rate of {symbol}", rate, low=0.0, high=1e15)
        for symbol, quote in portfolio.items():
            before = self._quotes.get(symbol)
            self._quotes[symbol] = quote
            if quote[0] is not None and symbol in self._symbols:
                self._mark(symbol, quote[0], before, now)

    def _mark(self, symbol: str, mid: float, before: Quote | None, now: float) -> None:
        """Add a mark of a symbol; time does not run backwards in them, whatever the clock does."""
        marks = self._marks.setdefault(symbol, [])
        last = marks[-1].time if marks else now
        flowed = before.volume_rate if before is not None else None
        marks.append(Mark(max(now, last), mid, (now - last) * flowed if flowed and now > last else 0.0))
        if len(marks) >= self._limits.get(symbol, _MARKS):  # let go of those that no open order needs
            works = [work for work in (*self._queue, *self._active.values()) if work.parent.symbol == symbol]
            first = min(work.first_mark for work in works)
            del marks[:first]
            for work in works:
                work.first_mark -= first
            self._limits[symbol] = max(_MARKS, 2 * len(marks))

    def _begin(self, work: _Work, now: float, made: list[ChildOrder]) -> None:
        """Cut a parent for the first time."""
        parent = work.parent
        work.start = work.window_end = now
        try:
            self._plan(work, now)
        except Exception:
            self._close(work, now, "failed")  # the others go on
            raise
        self._active[parent.id] = work
        work.plan = work.pending
        made += work.pending
        if self.config.verbose:
            _log.info("%s: cut %s into %d children by %s", self.config.name, parent.id, len(work.pending), work.algorithm)

    def _follow_regime(self, now: float, made: list[ChildOrder]) -> None:
        """Plan anew what remains of the orders of which the regime now asks something else."""
        self._turned = False
        choice = resolve(ADAPTIVE, self._regime, self.config.slices)
        for work in self._active.values():
            if work.algorithm == ADAPTIVE and work.left and work.choice != choice:
                self._plan(work, now)
                made += work.pending

    # --- plans

    def _plan(self, work: _Work, now: float) -> None:
        """Cut what is left of a parent over the time that is left."""
        config, left = self.config, work.deadline - now
        intervals = max(1, round(config.slices * left / (work.deadline - work.start)))
        algorithm, intervals = resolve(work.algorithm, self._regime, intervals)
        weights = ALGORITHMS[algorithm](self._outlook(work, algorithm, intervals, now))
        work.interval, work.planned = max(left / intervals, float_info.min), now
        if work.choice is None:
            work.last = now - 0.5 * work.interval
        phase = schedules.phase_after(now - work.last, work.interval, TIME_JITTER * config.steganographic_factor)
        work.choice = resolve(work.algorithm, self._regime, config.slices)
        children = cut(
            work.parent,
            work.left,
            now,
            work.deadline,
            weights,
            phase=phase,
            factor=config.steganographic_factor,
            rng=self._rng,
            number=work.number,
        )
        work.number += len(children)
        self._schedule(work, children, [child.quantity for child in children])

    def _outlook(self, work: _Work, algorithm: str, intervals: int, now: float) -> Outlook:
        """Return what the algorithm may know of the time that is left."""
        parent, config = work.parent, self.config
        urgency = config.urgency if parent.urgency is None else parent.urgency
        volumes: Any = ()
        if algorithm in ("VWAP", POV):
            whole = work.deadline - work.submitted
            since, left = (now - work.submitted) / whole, (work.deadline - now) / whole
            volumes = slice_profile(parent.volume_profile, intervals, since, left, 1.0)
        if algorithm == POV:
            expected, cap = parent.expected_volume, config.max_participation_rate
            work.rate = parent.quantity / (expected * float(volumes.sum())) if expected is not None else cap or 0.0
        rate = 0.0
        if algorithm == "AC":
            rate = schedules.STEEPNESS * urgency / intervals  # where the market is not known, as steep as IS
            if parent.volatility is not None and parent.expected_volume is not None:
                rate = schedules.almgren_chriss_rate(
                    quantity=parent.quantity,
                    slices=intervals,
                    volume=parent.expected_volume,
                    volatility=parent.volatility * parent.arrival_price,
                    alpha=config.temp_impact_alpha,
                    beta=config.temp_impact_beta,
                    risk_aversion=config.risk_aversion,
                    tau=(work.deadline - now) / config.day_seconds / intervals,
                )
        return Outlook(intervals, urgency, volumes, rate)

    def _schedule(self, work: _Work, children: list[ChildOrder], shape: list[int]) -> None:
        """Put children in the place of those that were to come."""
        work.pending, work.shape, work.next = children, shape, 0
        work.version += 1
        self._await(work)

    def _await(self, work: _Work) -> None:
        """Put the next child of a parent on the heap."""
        if work.next < len(work.pending):
            entry = (work.pending[work.next].schedule_time, next(self._count), work.version, work)
            heapq.heappush(self._due, entry)

    def _carry(self, work: _Work, at: float) -> None:
        """Spread what is left over the children to come, in proportion to what was planned for them.

        Where there is none to come, what is left is a child of its own, at the time `at`.
        """
        rest, shape = work.pending[work.next :], work.shape[work.next :]
        if rest:
            pieces = whole_shares(work.left, shape)
            rest = [child._replace(quantity=piece) for child, piece in zip(rest, pieces, strict=True)]
        elif work.left and at < work.deadline:
            rest, shape = [ChildOrder(work.parent, work.number, work.left, at)], [work.left]
            work.number += 1
        self._schedule(work, rest, shape)

    # --- children and fills

    def get_next_child(self, now: float | None = None) -> ChildOrder | None:
        """Return the child that is due, the earliest first, and count it as being in the market; None where none is due.

        Ask at least as often as children come: what falls due after the last call before a deadline is not released.
        """
        with self._lock:
            if self._state != RUNNING:
                return None
            moment = self._time(now)
            while self._due and self._due[0][0] <= moment:
                _, _, version, work = heapq.heappop(self._due)
                if version != work.version:
                    continue
                if moment >= work.deadline:
                    self._close(work, work.deadline, "expired")
                    continue
                child = self._release(work, moment)
                if child is not None:
                    return child
            return None

    def _release(self, work: _Work, now: float) -> ChildOrder | None:
        """Size the next child of a parent and hand it out; None where nothing of it may trade."""
        planned = work.pending[work.next]
        wanted = self._allowed(work, planned, now)
        later = planned.schedule_time + work.interval  # where what the last child may not trade goes
        ends = work.next == len(work.pending) - 1 and later >= work.deadline
        shares = work.left if ends and self.config.complete else min(wanted, work.left)
        work.next += 1
        work.last = planned.schedule_time
        child = planned._replace(quantity=shares, released=now, forced=shares - min(wanted, shares))
        if shares:
            work.children[child.id] = child
            work.working += shares
            work.used += shares
            self._owners[child.id] = work
            self._working += 1
            self._status = None
        if shares != planned.quantity and not ends:
            self._carry(work, later)
        else:
            self._await(work)
        return child if shares else None

    def _open_window(self, work: _Work, now: float) -> float:
        """Go to the interval that holds the time; return how many seconds of the order have begun since the one before."""
        if now < work.window_end:
            return 0.0
        end = work.planned + (int((now - work.planned) / work.interval) + 1) * work.interval
        if end <= now:  # the division was rounded down
            end += work.interval
        begun = end - work.window_end
        work.window_end, work.used = end, 0
        return begun

    def _allowed(self, work: _Work, planned: ChildOrder, now: float) -> int:
        """Return what of a child the algorithm wants and the participation cap allows now.

        The cap is on what is released in an interval, so children that are overdue together share it.
        """
        begun = self._open_window(work, now)
        quote, wanted = self._quotes.get(work.parent.symbol), planned.quantity
        volume_rate = None if quote is None else quote.volume_rate
        if work.algorithm == POV:
            wanted = self._by_volume(work, wanted, volume_rate, begun)
        cap = self.config.max_participation_rate
        if cap is None or volume_rate is None:
            return wanted
        return min(wanted, max(int(cap * volume_rate * work.interval) - work.used, 0))

    def _by_volume(self, work: _Work, planned: int, volume_rate: float | None, begun: float) -> int:
        """Return what POV asks for: its participation in the volume so far, less what it has traded.

        Where no volume is told, it is what was planned by the volume that was expected.
        """
        done = work.filled + work.working
        if volume_rate is None:
            work.target = float(done + planned)
        elif begun:
            work.target += work.rate * volume_rate * begun * jitter(self.config.steganographic_factor, self._rng)
        return max(0, int(work.target + 0.5) - done)

    def report_fill(
        self, child: ChildOrder | str, quantity: int, price: float, now: float | None = None, mid: float | None = None
    ) -> ChildOrder:
        """Book a fill of a child that is in the market; return the child with it.

        Args:
            child: The child, or its name.
            quantity: Whole shares that traded, at most what of the child has not.
            price: Price that was paid, currency per share.
            now: When, seconds; None: from the clock.
            mid: Middle of the market just before, currency per share, if known; it makes the report finer.

        Raises:
            ValueError: An unknown child, an over-fill, or a bad value. Nothing is booked.
        """
        with self._lock:
            name, work = self._find(child)
            current = work.children[name]
            remaining = current.remaining
            check_integer("quantity", quantity, low=1, high=MAX_SHARES)
            if quantity > remaining:
                raise ValueError(f"quantity must be at most what is left of child {name} ({remaining}), got {quantity}")
            paid = check_number("price", price, low=0.0, high=1e9, open_low=True)
            if mid is not None:
                mid = check_number("mid", mid, low=0.0, high=1e9, open_low=True)
            fill = Fill(self._time(now), int(quantity), paid, mid)
            current = work.children[name] = current._replace(fills=(*current.fills, fill))
            work.filled += fill.quantity
            work.working -= fill.quantity
            if not current.remaining:
                self._working -= 1
            self._status = None
            if work.parent.id in self._closed:
                self._report(work, self._reports[work.parent.id].end, self._reports[work.parent.id].reason)
            elif work.filled == work.parent.quantity:
                self._close(work, fill.time, "filled")
            return current

    def _find(self, child: ChildOrder | str) -> tuple[str, _Work]:
        """Return the name and the parent of a child that was released."""
        name = child.id if isinstance(child, ChildOrder) else child
        work = self._owners.get(name)
        if work is None:
            raise ValueError(f"unknown child {name!r}{nearest(name, list(self._owners)[-1000:])}")
        return name, work

    def cancel(self, order: ParentOrder | ChildOrder | str, now: float | None = None) -> None:
        """Cancel a parent, which closes it with a report, or a child in the market, whose rest goes back to its parent.

        A child that is cancelled keeps what of it has traded as its quantity, so that children go on summing to their parent.

        Raises:
            ValueError: No such order is open.
        """
        with self._lock:
            name = order if isinstance(order, str) else order.id
            moment = self._time(now)
            if not isinstance(order, ChildOrder) and name in self._names:
                self._cancel_parent(name, moment)
                return
            name, work = self._find(name)
            child = work.children[name]
            if not child.remaining:
                raise ValueError(f"child {name!r} has nothing left to cancel")
            work.working -= child.remaining
            work.used = max(work.used - child.remaining, 0)
            self._working -= 1
            work.children[name] = child._replace(quantity=child.filled, forced=min(child.forced, child.filled))
            self._status = None
            if work.parent.id in self._active:
                self._carry(work, moment)
            else:
                report = self._reports[work.parent.id]
                self._report(work, report.end, report.reason)

    def _cancel_parent(self, name: str, now: float) -> None:
        """Close a parent that is queued or in work."""
        if name not in self._active and name not in {work.parent.id for work in self._queue}:
            reason = self._reports[name].reason if name in self._reports else "its report was forgotten"
            raise ValueError(f"order {name!r} is closed: {reason}")
        self._close(self._active.get(name) or next(work for work in self._queue if work.parent.id == name), now, "cancelled")

    # --- ends

    def _close(self, work: _Work, now: float, reason: str) -> None:
        """End a parent and report on it."""
        parent = work.parent
        if self._active.pop(parent.id, None) is None and work in self._queue:
            self._queue.remove(work)
        self._closed[parent.id], work.closed = work, True
        work.version += 1
        work.pending = []
        self._report(work, now, reason)
        self._symbols[parent.symbol] -= 1
        if not self._symbols[parent.symbol]:
            del self._symbols[parent.symbol]
            self._marks.pop(parent.symbol, None)
            self._limits.pop(parent.symbol, None)
        self._status = None
        if self.config.verbose:
            _log.info("%s: %s %s, %d of %d shares", self.config.name, parent.id, reason, work.filled, parent.quantity)

    def _report(self, work: _Work, end: float, reason: str) -> None:
        """Make the report of a parent, or make it anew."""
        parent, earlier = work.parent, self._reports.get(work.parent.id)
        marks = tuple(self._marks.get(parent.symbol, ())[work.first_mark :]) if earlier is None else earlier.marks
        done = list(itertools.accumulate(child.quantity for child in work.plan))
        self._reports[parent.id] = ExecutionReport(
            parent=parent,
            children=tuple(work.children.values()),
            start=work.start,
            end=end,
            reason=reason,
            marks=marks,
            plan=tuple((child.schedule_time, float(shares)) for child, shares in zip(work.plan, done, strict=True)),
            config=self.config,
        )

    def get_reports(self, forget: bool = False) -> list[ExecutionReport]:
        """Return the reports of the orders that were closed, in that order.

        Args:
            forget: Whether to let go of these orders, so that an agent that works for months does not grow. Orders with a child
                in the market are kept, so that late fills find it, and their reports come again; names stay taken.
        """
        with self._lock:
            reports = list(self._reports.values())
            if forget:
                for name in [name for name, work in self._closed.items() if not work.working]:
                    for child in self._closed.pop(name).children:
                        del self._owners[child]
                    del self._reports[name]
                self._status = None
            return reports

    def report(self, parent: ParentOrder | str) -> ExecutionReport | None:
        """Return the report of an order; None while it is open or where it is not known."""
        with self._lock:
            return self._reports.get(parent if isinstance(parent, str) else parent.id)

    # --- what one may ask

    def children(self, parent: ParentOrder | str) -> tuple[ChildOrder, ...]:
        """Return the children of an order that were released (with their fills) and those to come."""
        with self._lock:
            name = parent if isinstance(parent, str) else parent.id
            work = self._active.get(name) or self._closed.get(name)
            if work is None:
                return ()
            return (*work.children.values(), *(child for child in work.pending[work.next :] if child.quantity))

    def estimate_impact(
        self, quantity: int, arrival_price: float, daily_volatility: float, volume: float, adv: float, *, side: int = 1
    ) -> MarketImpactEstimate:
        """Estimate what an order would cost, by the model of the configuration.

        See :func:`~hyperexec_env.execution.estimates.estimate_impact`.
        """
        return estimate_impact(quantity, arrival_price, daily_volatility, volume, adv, side=side, config=self.config)

    @property
    def status(self) -> AgentStatus:
        """Where the agent stands now."""
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
        """Mean time of a :meth:`process`, nanoseconds; 0 before the first."""
        return self._nanoseconds / self._processed if self._processed else 0.0

    def _time(self, now: float | None) -> float:
        moment = self._clock() if now is None else now
        return moment if -1e15 < moment < 1e15 else check_number("now", moment, low=-1e15, high=1e15, unit="seconds")
