"""Marks of a symbol: one log, shared by the reports of its orders."""

import copy
import pickle
import tracemalloc

import pytest

from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.marks import Mark, MarkLog
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.orders import ParentOrder

pytestmark = pytest.mark.fast


def _log(count):
    log = MarkLog()
    for time in range(count):
        log.append(Mark(float(time), 100.0 + time))
    return log


def test_a_view_is_the_tuple_of_its_marks_and_never_changes():
    log = _log(5)
    view, marks = log.since(2), tuple(Mark(float(time), 100.0 + time) for time in (2, 3, 4))
    log.append(Mark(5.0, 0.0))
    log.trim(6)
    log.append(Mark(6.0, 0.0))
    assert tuple(view) == marks
    assert view == marks
    assert marks == view
    assert view != marks[:2]
    assert hash(view) == hash(marks)
    assert repr(view) == repr(marks)
    assert (len(view), view[0], view[-1], view[1:], view[:-1]) == (3, marks[0], marks[2], marks[1:], marks[:-1])
    assert [list(reversed(view)), view.index(marks[1])] == [list(reversed(marks)), 1]
    with pytest.raises(IndexError):
        view[3]


def test_a_view_is_copied_without_the_rest_of_its_log():
    view = _log(1000).since(998)
    for other in (copy.deepcopy(view), pickle.loads(pickle.dumps(view))):  # noqa: S301 - our own bytes
        assert type(other) is tuple
        assert other == view
    assert len(pickle.dumps(view)) < 200


def test_positions_of_a_log_count_trimmed_marks():
    log = _log(1024)
    assert log.is_full
    log.trim(1000)
    assert not log.is_full
    assert (log.last_position, log.last) == (1023, Mark(1023.0, 1123.0))
    assert [mark.time for mark in log.since(1022)] == [1022.0, 1023.0]
    assert len(log.since(5000)) == 0
    assert MarkLog().last is None


def test_reports_share_the_marks_of_their_symbol():
    def agent_with_orders(orders):
        agent = ExecutionAgent(ExecutionConfig(algorithm="TWAP", slices=1), seed=0, clock=lambda: 0.0)
        agent.start()
        for number in range(orders):
            agent.submit_order(ParentOrder(symbol="X", side=1, quantity=10, arrival_price=1.0, deadline=1e6, id=str(number)))
        for now in range(500):
            agent.process({"X": Quote(1.0, 1.0)}, now=float(now))
        return agent

    def bytes_of_reports(orders):
        agent = agent_with_orders(orders)
        tracemalloc.start()
        agent.stop(now=500.0)
        shortfalls = [report.shortfall for report in agent.get_reports()]
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert shortfalls == [0.0] * orders
        return size

    more, fewer = bytes_of_reports(80), bytes_of_reports(40)
    assert (more - fewer) / 40 < 4_000  # a copy of the marks alone takes 4,000 bytes; the mids took 36,000 when they were read
    reports = agent_with_orders(2)
    reports.stop(now=500.0)
    first, second = reports.get_reports()
    assert len(first.marks) == 500
    assert first.marks[7] is second.marks[7]
