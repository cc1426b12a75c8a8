"""A parent order that is being executed: its schedule, and the size of each child at its release.

All quantities are in lots, so that they are whole numbers and conserved exactly. All times of the schedule are in trading time
(see :mod:`~hyperexec_env.execution.sessions`), which for an order without sessions is the agent's clock.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import accumulate
from sys import float_info
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ALGORITHMS, POV, Outlook, resolve
from hyperexec_env.execution.children import cut, smallest_lots
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.hiding import TIME_JITTER, jitter
from hyperexec_env.execution.sessions import Sessions
from hyperexec_env.market.volume import slice_profile
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder, lots_of, shares_of

if TYPE_CHECKING:
    from hyperexec_env.execution.basket_state import WorkingBasket
    from hyperexec_env.execution.online import OnlineEstimates

__all__ = ["WorkingOrder"]

_SMALLEST_REST: Final = 1e-12
"""Share of the volume profile below which its rest is rounding error of the cumulative sums."""
_SMALLEST_VOLUME: Final = 1e-200
"""Expected volume of the rest of an order below which its participation would not be a finite number."""
_MARGIN: Final = 0.1
"""Part of an interval that lots of later children need to return to them before the next child is due."""
_MANY: Final = 1e18
"""More lots than any order has."""
_record = tuple.__new__  # builds a named tuple in half the time of calling its class


class WorkingOrder:
    """Execution state of one parent order, guarded by the lock of the agent."""

    __slots__ = (
        *("algorithm", "basket", "children", "choice", "closed", "config", "deadline", "estimates", "filled", "first_mark"),
        *("held", "interval", "last_scheduled", "lots", "next_index", "next_number", "outdated", "parent", "pending"),
        *(
            "planned_at",
            "pov_rate",
            "pov_target",
            "profile",
            "rng",
            "sessions",
            "start",
            "submitted",
            "version",
            "seen",
            "window_end",
            "window_lots",
        ),
        *("working", "_base", "_end", "_first", "_first_plan", "_scale", "_smallest", "_spread", "_sums"),
    )

    def __init__(
        self,
        parent: ParentOrder,
        algorithm: str,
        submitted: float,
        config: ExecutionConfig,
        rng: np.random.Generator,
        basket: WorkingBasket | None = None,
        estimates: OnlineEstimates | None = None,
    ) -> None:
        """Accept a parent, without a plan yet."""
        self.estimates, self.outdated = estimates, False  # what is learned of the market, and whether it has news for the plan
        self.basket = basket  # the list that the order is a leg of
        self.profile = parent.volume_profile  # of VWAP and POV: relative shares of equal parts of the life of the order
        self.parent, self.algorithm, self.config, self.rng = parent, algorithm, config, rng
        self.sessions = sessions = Sessions(parent.sessions) if parent.sessions else None
        deadline, horizon = parent.deadline, config.horizon_seconds
        if deadline is None:
            deadline = submitted + horizon if sessions is None else sessions.later(submitted, horizon)
        self.deadline = deadline if sessions is None else sessions.last_close(deadline)
        self.start = submitted  # time of the first plan, on the agent's clock
        self._end = self.deadline if sessions is None else sessions.trading_time(self.deadline)
        self.submitted = self.trading_time(submitted)
        self.lots, self._smallest = lots_of(parent.quantity, parent.lot_size), smallest_lots(parent)
        self.closed = False
        self.held = False  # whether a halt held back a child since the last plan
        self.choice: tuple[str, int] | None = None  # algorithm and intervals of the last plan, by its regime
        self._first = self.planned_at = self.interval = 0.0  # times of the first and the last plan, length of the intervals
        self.last_scheduled = 0.0  # schedule time of the last released child
        self.pending: list[ChildOrder] = []  # children of the last plan; those before `next_index` have been released
        self._sums = [0]  # cumulative planned lots of the pending children, from 0
        # since the last carry forward, `_spread` lots are distributed over the pending children from `_base` on; `_scale` is
        # their ratio to the planned lots of these children
        self._base, self._spread, self._scale = 0, 0, 1.0
        # `version` counts schedule changes, so that the heap of due children can skip outdated entries; `seen` is the number of
        # the last change of regime that was applied; `working` counts lots in the market; `first_mark` is the position of
        # the first mark that the order needs
        self.next_index = self.next_number = self.version = self.seen = self.filled = self.working = self.first_mark = 0
        self.children: dict[str, ChildOrder] = {}  # released children by id
        self._first_plan: tuple[list[ChildOrder], list[int]] = ([], [0])  # children and cumulative lots of the first plan
        self.pov_rate = self.pov_target = 0.0  # POV only: participation, and the target for the shares released so far
        self.window_end = self.submitted  # end of the current interval of the participation cap
        self.window_lots = 0  # lots released in that interval

    @property
    def unreleased(self) -> int:
        """Lots that are neither filled nor in the market."""
        return self.lots - self.filled - self.working

    @property
    def seconds(self) -> float:
        """Trading time from the submission to the deadline."""
        return self._end - self.submitted

    @property
    def next_time(self) -> float | None:
        """Schedule time of the next pending child, on the agent's clock; None if there is none."""
        return self.pending[self.next_index].schedule_time if self.next_index < len(self.pending) else None

    @property
    def first_plan(self) -> tuple[tuple[float, float], ...]:
        """Cumulative shares of the first plan, as (time, shares)."""
        children, sums = self._first_plan
        size = self.parent.lot_size
        return tuple(
            (child.schedule_time, float(shares_of(lots, size))) for child, lots in zip(children, sums[1:], strict=True)
        )

    # --- time

    def trading_time(self, time: float) -> float:
        """Return the trading time at a time on the agent's clock: before the deadline, a time before the end."""
        if self.sessions is None:
            return time
        passed = self.sessions.trading_time(time)
        return min(passed, math.nextafter(self._end, 0.0)) if time < self.deadline else passed  # rounding may reach the end

    def next_open(self, now: float) -> float:
        """Return the time from which children may trade: now, the next open, or infinity after the last close."""
        return now if self.sessions is None else self.sessions.next_open(now)

    def window_of(self, child: ChildOrder, patience: float) -> float:
        """Return the seconds that a released child may wait in venues: a fraction of the interval between children.

        They are 0 for a child whose window would last until the end of the order.
        """
        released = child.schedule_time if child.released is None else child.released
        later = self.trading_time(released) + patience * self.interval
        return max(self._clock_time(later, -math.inf) - released, 0.0) if later < self._end else 0.0

    def ends_within(self, seconds: float, at: float) -> bool:
        """Return whether the order ends within some seconds of trading time from a trading time on."""
        return at + seconds >= self._end

    def expected_volume(self, now: float) -> float | None:
        """Return the market volume of an interval from now on that the parent expected, shares; None: unknown."""
        expected, whole = self.parent.expected_volume, self.seconds
        if expected is None or not whole > 0.0:
            return None
        since = (self.trading_time(now) - self.submitted) / whole
        return expected * float(slice_profile(self.profile, 1, since, self.interval / whole, 1.0)[0])

    # --- plans

    def begin(self, now: float, regime: str) -> None:
        """Make the first plan."""
        self.start = now
        self._first = self.window_end = self.trading_time(now)
        self.plan(now, regime)
        self._first_plan = self.pending, self._sums

    def plan(self, now: float, regime: str) -> int:
        """Cut the unreleased lots into children over the remaining time; return the number of intervals."""
        config, at = self.config, self.trading_time(now)
        left = self._end - at
        self.held = False
        if not left > 0.0:  # no session is left
            self._schedule([])
            return 0
        intervals = max(1, round(config.slices * left / (self._end - self._first)))
        algorithm, intervals = resolve(self.algorithm, regime, intervals)
        if self.estimates is None:
            outlook = self._outlook(algorithm, intervals, at)
        else:
            outlook = self._learned_outlook(self.estimates, algorithm, intervals, at)
        weights = ALGORITHMS[algorithm](outlook)
        self.interval, self.planned_at = max(left / intervals, float_info.min), at
        if self.choice is None:
            self.last_scheduled = at - 0.5 * self.interval
        phase = schedules.phase_after(at - self.last_scheduled, self.interval, TIME_JITTER * config.steganographic_factor)
        self.choice = resolve(self.algorithm, regime, config.slices)
        children = cut(
            self.parent,
            self.unreleased,
            at,
            self._end,
            weights,
            phase=phase,
            factor=config.steganographic_factor,
            rng=self.rng,
            number=self.next_number,
            clock=None if self.sessions is None else partial(self._clock_time, now=self.next_open(now)),
        )
        self.next_number += len(children)
        self._schedule(children)
        return intervals

    def _clock_time(self, time: float, now: float) -> float:
        """Return a trading time on the agent's clock, where conversion errors respect the present time and the deadline."""
        if self.sessions is None:
            return time
        return max(min(self.sessions.clock_time(time), math.nextafter(self.deadline, -math.inf)), now)

    def _outlook(self, algorithm: str, intervals: int, at: float) -> Outlook:
        """Return the inputs of the algorithm for the remaining time."""
        parent, config = self.parent, self.config
        urgency = config.urgency if parent.urgency is None else parent.urgency
        volumes: Any = ()
        if algorithm in ("VWAP", POV):
            whole = self._end - self.submitted
            since, left = (at - self.submitted) / whole, (self._end - at) / whole
            volumes = slice_profile(self.profile, intervals, since, left, 1.0)
            if not volumes.sum() > _SMALLEST_REST:
                volumes = slice_profile((), intervals, since, left, 1.0)
        if algorithm == POV:
            self._restart_pov(float(volumes.sum()), at, parent.expected_volume)
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
                    tau=(self._end - at) / config.day_seconds / intervals,
                )
        return Outlook(intervals, urgency, volumes, rate)

    def _learned_outlook(self, learned: OnlineEstimates, algorithm: str, intervals: int, at: float) -> Outlook:
        """Return the inputs of the algorithm for the remaining time, by what was learned of the market.

        Without news a new plan continues the old one: the steepness of IS and AC per interval is that of the first plan.
        """
        parent, config = self.parent, self.config
        urgency = config.urgency if parent.urgency is None else parent.urgency
        volumes: Any = ()
        rate = 0.0
        if algorithm in ("VWAP", POV):
            edges = np.linspace(at, self._end, intervals + 1).tolist()
            volumes = learned.volumes_between([self._clock_time(edge, -math.inf) for edge in edges])
            if not volumes.sum() > 0.0:  # the order is outside of the day of the estimates
                return self._outlook(algorithm, intervals, at)
            if algorithm == POV:
                self._restart_pov(1.0, at, float(volumes.sum()))
        elif algorithm == "IS":
            urgency = urgency * learned.rate_ratio() * ((intervals - 1) / max(config.slices - 1, 1))
        elif algorithm == "AC":
            rate = learned.urgency(
                parent,
                slices=config.slices,
                tau=(self._end - self._first) / config.day_seconds / config.slices,
                window=(self._clock_time(self._first, -math.inf), self._clock_time(self._end, -math.inf)),
                risk_aversion=config.risk_aversion,
            )
        return Outlook(intervals, urgency, volumes, rate)

    def _restart_pov(self, volume: float, at: float, expected: float | None) -> None:
        """Set the participation for the unreleased lots, and count volume from now or from the end of the cap interval on.

        Args:
            volume: Expected market volume of the remaining time, as a share of the expected volume.
            at: Present trading time.
            expected: The expected volume, shares; None: unknown.
        """
        size = self.parent.lot_size
        self.window_end = max(self.window_end, at)  # a halt has no volume
        self.pov_target = float(shares_of(self.filled + self.working, size))
        self.pov_rate = self.config.max_participation_rate or 0.0
        if expected is not None:
            counted = volume * ((self._end - self.window_end) / (self._end - at))
            self.pov_rate = shares_of(self.unreleased, size) / max(expected * counted, _SMALLEST_VOLUME)

    def _schedule(self, children: list[ChildOrder]) -> None:
        """Replace the pending children."""
        size = self.parent.lot_size
        self.pending, self.next_index, self._base = children, 0, 0
        lots = [int(child.quantity) if size == 1 else lots_of(child.quantity, size) for child in children]
        self._sums = list(accumulate(lots, initial=0))
        self._spread, self._scale = self._sums[-1], 1.0
        self.version += 1

    def carry_forward(self, time: float) -> None:
        """Distribute the unreleased lots over the pending children, in proportion to their planned lots.

        Without pending children, the unreleased lots become one new child at a trading time, if that is before the end.
        """
        self.version += 1
        if self.next_index < len(self.pending):
            self._base, self._spread = self.next_index, self.unreleased
            self._scale = self._spread / (self._sums[-1] - self._sums[self._base])
        elif self.unreleased and time < self._end:
            shares = shares_of(self.unreleased, self.parent.lot_size)
            self._schedule([ChildOrder(self.parent, self.next_number, shares, self._clock_time(time, -math.inf))])
            self.next_number += 1

    def skip(self, now: float) -> None:
        """Give up the children that a halt held back until now and carry their lots forward: a leg keeps its list's times."""
        at = self.trading_time(now)
        self.held, self.window_end = False, max(self.window_end, at)  # a halt has no volume
        while self.next_index < len(self.pending) and self.pending[self.next_index].schedule_time <= now:
            self.next_index += 1
        self.carry_forward(at)

    def _pending_lots(self, index: int) -> int:
        """Return the lots of a pending child: as planned, plus its part of the lots carried forward since."""
        return self._cumulative(index + 1) - self._cumulative(index)

    def _cumulative(self, index: int) -> int:
        """Return the lots of the pending children from `_base` to an index."""
        if index == len(self.pending):
            return self._spread
        return round((self._sums[index] - self._sums[self._base]) * self._scale)

    def pending_children(self) -> list[ChildOrder]:
        """Return the children that have not been released, with their present quantities."""
        size, numbers = self.parent.lot_size, range(self.next_index, len(self.pending))
        children = [self.pending[index]._replace(quantity=shares_of(self._pending_lots(index), size)) for index in numbers]
        return [child for child in children if child.quantity]

    # --- releases

    def release(self, now: float, volume_rate: float | None, most: int | None = None) -> ChildOrder | None:
        """Size and release the next child; return None if none of its lots may trade.

        Args:
            now: Time of the release, seconds on the agent's clock.
            volume_rate: Quoted market volume, shares a second; None: unknown.
            most: Largest number of lots, which the last child exceeds to complete the order; None: no limit.
        """
        index, at = self.next_index, self.trading_time(now)
        planned, wanted = self._planned_and_wanted(at, volume_rate)
        if most is not None and most < wanted:
            wanted = self._large_enough(most)
        scheduled = self.trading_time(self.pending[index].schedule_time)
        later = scheduled + self.interval  # time to which unreleased lots of the last child are carried
        ends = self._ends()
        lots = self.unreleased if ends and self.config.complete else min(wanted, self.unreleased)
        self.next_index += 1
        self.last_scheduled = scheduled
        child = self._released(self.pending[index], lots, lots - min(wanted, lots), now) if lots else None
        if lots != planned and not ends:
            self.carry_forward(later)
        return child

    def next_lots(self, now: float, volume_rate: float | None) -> tuple[int, int]:
        """Return the lots that :meth:`release` would release without a limit, and the lots whatever the limit."""
        if self._ends() and self.config.complete:
            return self.unreleased, self.unreleased
        return min(self._planned_and_wanted(self.trading_time(now), volume_rate)[1], self.unreleased), 0

    def _planned_and_wanted(self, at: float, volume_rate: float | None) -> tuple[int, int]:
        """Return the planned lots of the next child, and those that algorithm, cap and smallest child leave of them."""
        planned = self._pending_lots(self.next_index)
        if self.held:  # not planned anew since a halt, which has no volume
            self.window_end = max(self.window_end, at)
        return planned, self._permitted_lots(planned, volume_rate, at)

    def _ends(self) -> bool:
        """Return whether the next child is the last one: no later child can carry its lots."""
        child = self.pending[self.next_index]
        later = self.trading_time(child.schedule_time) + self.interval
        return self.next_index == len(self.pending) - 1 and not self._comes_after(later, child.schedule_time)

    def _comes_after(self, time: float, clock_time: float) -> bool:
        """Return whether a trading time is before the end of the order, and later than a clock time on the agent's clock.

        Where the float resolution of the clock is longer than an interval it may not be later, and the order ends.
        """
        return time < self._end and self._clock_time(time, -math.inf) > clock_time

    def _released(self, planned: ChildOrder, lots: int, forced: int, now: float) -> ChildOrder:
        """Return a released child, and count its lots."""
        size = self.parent.lot_size
        child = _record(
            ChildOrder,
            (self.parent, planned.number, shares_of(lots, size), planned.schedule_time, now, (), shares_of(forced, size)),
        )
        self.children[child.id] = child
        self.working += lots
        self.window_lots += lots
        return child

    def _permitted_lots(self, planned: int, volume_rate: float | None, now: float) -> int:
        """Return the lots of a child that the algorithm asks for and the participation cap and the smallest child permit.

        The cap applies to all lots released in an interval, so overdue children of one interval share it.
        """
        begun, wanted, cap = self._advance_window(now), planned, self.config.max_participation_rate
        if self.algorithm == POV:
            wanted = self._pov_lots(planned, volume_rate, begun)
        if cap is not None and volume_rate is not None:
            permitted = min(cap * volume_rate * self.interval / self.parent.lot_size, _MANY)
            wanted = min(wanted, max(int(permitted) - self.window_lots, 0))
        return self._large_enough(wanted)

    def _large_enough(self, lots: int) -> int:
        """Return the lots of a child, or 0 if they are fewer than the smallest child and do not complete the order."""
        return 0 if lots < self._smallest and lots < self.unreleased else lots

    def _advance_window(self, now: float) -> float:
        """Advance the cap interval to the one that contains `now`; return the seconds by which its end moved."""
        if now < self.window_end:
            return 0.0
        end = self.planned_at + (int((now - self.planned_at) / self.interval) + 1) * self.interval
        if end <= now:  # the division rounded down
            end += self.interval
        begun = end - self.window_end
        self.window_end, self.window_lots = end, 0
        return begun

    def _pov_lots(self, planned: int, volume_rate: float | None, begun: float) -> int:
        """Return the lots that POV asks for: its share of the volume so far, minus the lots already released.

        Without a quoted volume rate, return the planned lots, which come from the expected volume.
        """
        done, size = self.filled + self.working, self.parent.lot_size
        if volume_rate is None:
            self.pov_target = float(shares_of(done + planned, size))
        elif begun:
            self.pov_target += self.pov_rate * volume_rate * begun * jitter(self.config.steganographic_factor, self.rng)
        return max(0, int(min(self.pov_target / size, self.lots) + 0.5) - done)

    # --- fills and cancellations

    def book(self, name: str, fill: Fill) -> ChildOrder:
        """Book a fill of a child in the market; return the updated child."""
        child = self.children[name]
        child = self.children[name] = child._replace(fills=(*child.fills, fill))
        lots = lots_of(fill.quantity, self.parent.lot_size)
        self.filled += lots
        self.working -= lots
        return child

    def spare(self, until: float, volume_rate: float | None) -> int:
        """Return the unreleased lots that a released child may post too until a time, well before the next child is due.

        The participation cap applies to them; the legs of a list keep their balance, and have none.
        """
        due = self.next_time
        if self.basket is not None or due is None or due < until + _MARGIN * self.interval:
            return 0
        most, cap = self.unreleased, self.config.max_participation_rate
        if cap is not None and volume_rate is not None:
            most = min(most, int(min(cap * volume_rate * self.interval / self.parent.lot_size, _MANY)) - self.window_lots)
        return max(most, 0)

    def lend(self, name: str, lots: int, now: float) -> None:
        """Move unreleased lots to a released child, or give lots of it back where the number is negative."""
        size, child = self.parent.lot_size, self.children[name]
        self.children[name] = child._replace(quantity=shares_of(lots_of(child.quantity, size) + lots, size))
        self.working += lots
        self.window_lots = max(self.window_lots + lots, 0)
        self.carry_forward(self.trading_time(now))

    def withdraw(self, name: str) -> None:
        """Return the remaining lots of a child in the market to the order. Its filled shares become its quantity."""
        child = self.children[name]
        lots = lots_of(child.remaining, self.parent.lot_size)
        self.working -= lots
        self.window_lots = max(self.window_lots - lots, 0)
        self.children[name] = child._replace(quantity=child.filled, forced=min(child.forced, child.filled))
