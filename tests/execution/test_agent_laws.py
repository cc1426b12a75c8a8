"""The agent under random call sequences: shares are conserved, and each child is released between its time and the deadline."""

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hyperexec_env.execution.agent import ExecutionAgent, Quote
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.market.regime import REGIME_NAMES
from hyperexec_env.orders import ParentOrder

pytestmark = pytest.mark.fast


class AgentMachine(RuleBasedStateMachine):
    """Calls the agent in random order and books every fill independently of it."""

    @initialize(
        factor=st.sampled_from([0.0, 0.3, 1.0]), cap=st.sampled_from([None, 0.05, 1.0]), complete=st.booleans(),
        slices=st.integers(1, 12), seed=st.integers(0, 99),
    )  # fmt: skip
    def begin(self, factor, cap, complete, slices, seed):
        config = ExecutionConfig(
            steganographic_factor=factor, max_participation_rate=cap, complete=complete, slices=slices, horizon_seconds=100.0
        )
        self.agent = ExecutionAgent(config, seed=seed, clock=lambda: self.now)
        self.agent.start()
        self.now, self.parents, self.working, self.booked, self.deadlines = 0.0, {}, {}, {}, {}

    @rule(quantity=st.integers(1, 5000), algorithm=st.sampled_from(algorithm_names()), horizon=st.floats(0.0, 150.0))
    def submit(self, quantity, algorithm, horizon):
        parent = ParentOrder(
            symbol="X", side=1, quantity=quantity, arrival_price=10.0, algorithm=algorithm, expected_volume=20_000.0,
            deadline=self.now + horizon, id=f"{len(self.parents):04d}",
        )  # fmt: skip
        self.agent.submit_order(parent)
        self.parents[parent.id], self.booked[parent.id], self.deadlines[parent.id] = parent, 0, self.now + horizon

    @rule(regime=st.sampled_from(REGIME_NAMES), rate=st.sampled_from([None, 0.0, 20.0, 1000.0]))
    def process(self, regime, rate):
        for child in self.agent.process({"X": Quote(10.0, rate)}, regime):
            assert child.quantity > 0
            assert self.now <= child.schedule_time < self.deadlines[child.parent.id]

    @rule(seconds=st.floats(0.0, 40.0))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def take(self):
        child = self.agent.get_next_child()
        if child is not None:
            assert child.id not in self.working
            assert child.schedule_time <= self.now < self.deadlines[child.parent.id]
            self.working[child.id] = child

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def fill(self, data):
        child = self.working[data.draw(st.sampled_from(sorted(self.working)))]
        shares = data.draw(st.integers(1, child.remaining))
        child = self.agent.report_fill(child, shares, 10.0)
        self.booked[child.parent.id] += shares
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

    def _update(self, child):
        if child.remaining:
            self.working[child.id] = child
        else:
            del self.working[child.id]

    @invariant()
    def shares_are_conserved(self):
        if not hasattr(self, "agent"):
            return
        for name, parent in self.parents.items():
            children = self.agent.children(name)
            assert sum(child.filled for child in children) == self.booked[name] <= parent.quantity
            assert sum(child.quantity for child in children) <= parent.quantity
            report = self.agent.report(name)
            if report is not None:
                assert sum(child.filled for child in report.children) == self.booked[name]
                assert report.reason != "filled" or self.booked[name] == parent.quantity
            elif any(child.released is None for child in children):  # some children are pending
                assert sum(child.quantity for child in children) == parent.quantity
        status = self.agent.status
        assert status.working == len(self.working)
        assert status.queued + status.active + status.closed == len(self.parents)


AgentMachine.TestCase.settings = hypothesis.settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
TestAgent = AgentMachine.TestCase
