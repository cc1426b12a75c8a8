"""The agent under random call sequences: lots are conserved, and each child is released when it may trade.

The sequences set the clock back, halt symbols and interrupt replans; the orders have lots, smallest children and sessions.
Every order ends, and an order that may exceed the cap is filled if its children are filled until its last moment.
"""

import math
from itertools import accumulate

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.market.regime import REGIME_NAMES
from hyperexec_env.orders import ParentOrder, lots_of, shares_of

pytestmark = pytest.mark.fast


SYMBOLS = ("X", "Y")


def _lots(parent, quantity):
    return lots_of(quantity, parent.lot_size)


def _end(parent):
    """Return the last close before the deadline of an order; its deadline if that is in a session or before all of them."""
    closes = [min(closing, parent.deadline) for opening, closing in parent.sessions if opening < parent.deadline]
    return closes[-1] if closes else parent.deadline


def _open(parent, time):
    return not parent.sessions or any(opening <= time < closing for opening, closing in parent.sessions)


class AgentMachine(RuleBasedStateMachine):
    """Calls the agent in random order and books every fill independently of it."""

    @initialize(
        factor=st.sampled_from([0.0, 0.3, 1.0]), cap=st.sampled_from([None, 0.05, 1.0]), complete=st.booleans(),
        slices=st.integers(1, 12), seed=st.integers(0, 99), latency=st.sampled_from([1.0, 500.0]),
    )  # fmt: skip
    def begin(self, factor, cap, complete, slices, seed, latency):
        config = ExecutionConfig(
            steganographic_factor=factor, max_participation_rate=cap, complete=complete, slices=slices, horizon_seconds=100.0,
            max_latency_us=latency,
        )  # fmt: skip
        self.agent, self.complete = ExecutionAgent(config, seed=seed, clock=lambda: self.now), complete
        self.agent.start()
        self.now, self.latest, self.halted = 0.0, 0.0, set()
        self.parents, self.working, self.booked = {}, {}, {}

    @rule(
        symbol=st.sampled_from(SYMBOLS), lots=st.integers(1, 5000), algorithm=st.sampled_from(algorithm_names()),
        horizon=st.floats(0.0, 150.0), lot_size=st.sampled_from([1, 1, 0.1, 100]), smallest=st.sampled_from([0.0, 0.0, 0.2]),
        profile=st.sampled_from([(), (1, 0), (1, 2, 1)]), breaks=st.lists(st.floats(1.0, 40.0), max_size=6),
        before=st.sampled_from([0.0, 20.0, 3600.0]),
    )  # fmt: skip
    def submit(self, symbol, lots, algorithm, horizon, lot_size, smallest, profile, breaks, before):
        edges = [self.latest + time for time in accumulate(breaks)]
        edges[:1] = [opening - before for opening in edges[:1]]
        quantity = shares_of(lots, lot_size)
        parent = ParentOrder(
            symbol=symbol, side=1, quantity=quantity, arrival_price=10.0, algorithm=algorithm, expected_volume=20_000.0,
            deadline=self.latest + horizon, id=f"{len(self.parents):04d}", lot_size=lot_size, min_child=smallest * quantity,
            volume_profile=profile, sessions=tuple(zip(edges[::2], edges[1::2], strict=False)),
        )  # fmt: skip
        self.agent.submit_order(parent)
        self.latest = max(self.latest, self.now)
        self.parents[parent.id], self.booked[parent.id] = parent, 0

    @rule(regime=st.sampled_from(REGIME_NAMES), rate=st.sampled_from([None, 0.0, 20.0, 1000.0]))
    def process(self, regime, rate):
        made = self.agent.process({"X": Quote(10.0, rate)}, regime)
        self.latest = max(self.latest, self.now)
        for child in made:
            assert child.quantity > 0
            assert child.schedule_time < child.parent.deadline
            assert _open(child.parent, child.schedule_time)

    @rule(seconds=st.floats(0.0, 40.0))
    def wait(self, seconds):
        self.now += seconds

    @rule(seconds=st.sampled_from([1.0, 50.0, 1e6]))
    def set_the_clock_back(self, seconds):
        self.now -= seconds

    @rule()
    def catch_up(self):
        self.now = max(self.now, self.latest)

    @rule()
    def take(self):
        child, now = self.agent.get_next_child(), max(self.now, self.latest)
        if child is not None:
            parent = child.parent
            assert child.id not in self.working
            assert child.schedule_time <= child.released == now < parent.deadline
            assert _open(parent, now)
            assert parent.symbol not in self.halted
            left = _lots(parent, parent.quantity) - sum(_lots(parent, piece.quantity) for piece in self._released(parent))
            assert child.quantity > parent.min_child * (1.0 - 1e-9) or not left
            self.working[child.id] = child

    def _released(self, parent):
        return [child for child in self.agent.children(parent) if child.released is not None]

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def fill(self, data):
        child = self.working[data.draw(st.sampled_from(sorted(self.working)))]
        lots = data.draw(st.integers(1, _lots(child.parent, child.remaining)))
        child = self.agent.report_fill(child, shares_of(lots, child.parent.lot_size), 10.0)
        self.booked[child.parent.id] += lots
        self._update(child)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def cancel_child(self, data):
        name = data.draw(st.sampled_from(sorted(self.working)))
        self.agent.cancel(name)
        del self.working[name]

    @rule(data=st.data())
    def cancel_parent(self, data):
        open_orders = [name for name in self.parents if self.agent.report(name) is None]
        if open_orders:
            self.agent.cancel(data.draw(st.sampled_from(sorted(open_orders))))

    @rule()
    def stop_and_start(self):
        self.agent.stop()
        assert all(self.agent.report(name) is not None for name in self.parents)
        self.agent.start()

    @rule()
    def pause_and_resume(self):
        self.agent.pause()
        assert self.agent.get_next_child() is None
        self.agent.resume()

    @rule(symbol=st.sampled_from(SYMBOLS))
    def halt_or_resume(self, symbol):
        if symbol in self.halted:
            self.agent.resume(symbol)
        else:
            self.agent.pause(symbol)
        self.halted ^= {symbol}

    def _update(self, child):
        if child.remaining:
            self.working[child.id] = child
        else:
            del self.working[child.id]

    def teardown(self):
        """Let every order end, with a call at its last moment."""
        if not hasattr(self, "agent"):
            return
        for symbol in self.halted:
            self.agent.resume(symbol)
        for name, child in self.working.items():
            self.agent.report_fill(name, child.remaining, 10.0)
        open_orders = {name: parent for name, parent in self.parents.items() if self.agent.report(name) is None}
        for end in sorted({_end(parent) for parent in open_orders.values()}):
            last = math.nextafter(end, -math.inf)
            if last < max(self.now, self.latest):
                continue
            self.now = last
            self.agent.process()
            while (child := self.agent.get_next_child()) is not None:
                self.agent.report_fill(child, child.quantity, 10.0)
            for name, parent in open_orders.items():
                if self.complete and _end(parent) == end and _open(parent, last):
                    assert self.agent.report(name).reason == "filled"
        self.now = max([self.now, self.latest, *map(_end, open_orders.values())])
        self.agent.process()
        assert all(self.agent.report(name) is not None for name in self.parents)

    @invariant()
    def lots_are_conserved(self):
        if not hasattr(self, "agent"):
            return
        for name, parent in self.parents.items():
            children, whole = self.agent.children(name), _lots(parent, parent.quantity)
            assert sum(_lots(parent, child.filled) for child in children) == self.booked[name] <= whole
            total = sum(_lots(parent, child.quantity) for child in children)
            assert total <= whole
            assert all(child.quantity >= 0 for child in children)
            report = self.agent.report(name)
            if report is not None:
                assert _lots(parent, report.filled) == self.booked[name]
                assert report.reason != "filled" or self.booked[name] == whole
            elif any(child.released is None for child in children):  # some children are pending
                assert total == whole
        status = self.agent.status
        assert status.working == len(self.working)
        assert status.queued + status.active + status.closed == len(self.parents)


AgentMachine.TestCase.settings = hypothesis.settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
TestAgent = AgentMachine.TestCase
