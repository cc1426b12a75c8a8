"""The schedule of an order: empty volume profiles, lots, the smallest child, and times that a clock cannot resolve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.estimates import planned_shares
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.market.regime import REGIME_NAMES
from hyperexec_env.orders import ParentOrder, lots_of

pytestmark = pytest.mark.fast


def _agent(**config):
    plain = {"steganographic_factor": 0.0, "max_participation_rate": None, "algorithm": "TWAP", **config}
    agent = ExecutionAgent(ExecutionConfig(**plain), seed=0, clock=lambda: 0.0)
    agent.start()
    return agent


def _parent(quantity=1000, **values):
    return ParentOrder(**{"symbol": "X", "side": 1, "quantity": quantity, "arrival_price": 100.0, **values})


def _release(agent, now, fill=True):
    """Release every child that is due, and fill it."""
    released = []
    while (child := agent.get_next_child(now)) is not None:
        if fill:
            agent.report_fill(child, child.quantity, 100.0, now=now)
        released.append(child)
    return released


# --- volume profiles of which nothing is left


def _traded(profile, now, deadline, algorithm, expected, pause):
    """Plan an order late, and trade it with a quoted volume; return planned and released children, as (time, shares)."""
    agent = _agent(algorithm=algorithm, max_participation_rate=None if expected else 0.1, complete=False)
    parent = _parent(deadline=deadline, volume_profile=profile, expected_volume=expected)
    if pause:
        agent.pause()
    agent.submit_order(parent, now=0.0)
    if pause:
        agent.process(now=0.5 * now)
        agent.resume()
    planned = agent.process({"X": Quote(100.0, 500.0)}, now=now)
    released = [child for step in range(101) for child in _release(agent, now + 0.00999 * step * (deadline - now))]
    return [[(child.schedule_time, child.quantity) for child in children] for children in (planned, released)]


@pytest.mark.parametrize(
    ("algorithm", "expected"), [("VWAP", 1e4), ("POV", None), ("POV", 1e4)], ids=["VWAP", "POV at the cap", "POV"]
)
@pytest.mark.parametrize(
    ("profile", "now", "deadline", "pause"),
    [
        ((1, 0), 1.0, 2.0, False),
        ((0, 1, 0), 2.1, 3.0, False),
        ((1, 1e-300), 1.0, 2.0, False),
        ((1e15, 1e-3), 1.0, 2.0, False),  # the tail is lost in the cumulative sum
        ((1e15, 0.1), 1.5, 2.0, False),  # one bit of the tail is left in it
        ((5e-324, 0), 1.0, 2.0, False),
        ((1, 0), 1.0, 2.0, True),
    ],
)
def test_an_empty_rest_of_a_volume_profile_is_flat(profile, now, deadline, pause, algorithm, expected):
    found = _traded(profile, now, deadline, algorithm, expected, pause)
    flat = _traded((), now, deadline, algorithm, expected, pause)
    assert found == flat
    assert sum(shares for _, shares in found[0]) == 1000
    assert found[1]


def test_a_small_rest_of_a_volume_profile_keeps_its_shape():
    agent = _agent(algorithm="VWAP", slices=2)
    agent.submit_order(_parent(deadline=3.0, volume_profile=(1e9, 1.0, 3.0)), now=0.0)
    assert [child.quantity for child in agent.process(now=1.0)] == [250, 750]


def test_a_tiny_expected_volume_loses_no_order():
    for algorithm in ("POV", "AC"):
        for expected in (5e-324, 1e-310, 1e-190):
            agent = _agent(algorithm=algorithm, temp_impact_beta=2.0)
            agent.submit_order(_parent(expected_volume=expected, volatility=0.02, deadline=300.0), now=0.0)
            assert sum(child.quantity for child in agent.process({"X": Quote(100.0, 1e14)}, now=0.0)) == 1000
            assert sum(child.quantity for now in range(301) for child in _release(agent, float(now))) == 1000


def test_a_distant_deadline_loses_no_order():
    agent = _agent(slices=1000, max_participation_rate=1.0)
    agent.submit_order(_parent(deadline=1e300), now=0.0)
    assert len(agent.process({"X": Quote(1.0, 1e14)}, now=0.0)) == 1000
    with pytest.raises(ValueError, match=r"deadline must be a number in \[-1e\+300, 1e\+300\] seconds on the agent's clock"):
        _parent(deadline=1.7e308)


# --- times that the clock cannot resolve


@pytest.mark.parametrize("complete", [True, False])
def test_an_interval_shorter_than_the_resolution_of_the_clock_ends_the_order(complete):
    agent, now = _agent(algorithm="VWAP", slices=1000, max_participation_rate=0.1, complete=complete), 1.7e9
    parent = _parent(deadline=now + 5e-5, volume_profile=(1, 0))  # the last child is due after half of the time
    agent.submit_order(parent, now=now)
    agent.process({"X": Quote(1.0, 10.0)}, now=now)
    released = [(child.quantity, child.forced) for child in _release(agent, now + 4e-5)]
    assert released == ([(1000, 1000)] if complete else [])
    agent.process(now=now + 1.0)
    assert agent.report(parent).reason == ("filled" if complete else "expired")


def test_an_interval_shorter_than_the_resolution_of_the_clock_ends_an_order_with_sessions():
    agent, now = _agent(slices=300, max_participation_rate=0.1, complete=False), 1.7e9
    parent = _parent(1, sessions=((now, now + 1e-5), (now + 2e-5, now + 4e-5)), deadline=now + 1.0)
    agent.submit_order(parent, now=now)
    agent.process({"X": Quote(1.0, 0.0)}, now=now)
    assert _release(agent, now + 3.9e-5) == []
    agent.process(now=now + 1.0)
    assert agent.report(parent).reason == "expired"


def test_overdue_children_that_the_cap_blocks_take_constant_time_each(monkeypatch):
    import hyperexec_env.execution.working_order as module

    counted = []
    monkeypatch.setattr(module, "round", lambda value: counted.append(1) or round(value), raising=False)
    agent = _agent(slices=1000, max_participation_rate=0.1)
    agent.submit_order(_parent(10**6), now=0.0)
    agent.process({"X": Quote(1.0, 0.0)}, now=0.0)
    counted.clear()
    assert agent.get_next_child(200.0) is None  # 667 overdue children, each of which is carried forward to the rest
    assert len(counted) <= 2 * 667


# --- lots


@given(
    lot_size=st.sampled_from([1, 100, 0.001, 0.1, 1e-8, 1 / 3, 7.5]),
    lots=st.integers(1, 10**7),
    algorithm=st.sampled_from(algorithm_names()),
    factor=st.floats(0.0, 1.0),
    smallest=st.floats(0.0, 0.5),
    rate=st.sampled_from([None, 0.0, 1.0, 1e3, 1e9]),
    regime=st.sampled_from(REGIME_NAMES),
    seed=st.integers(0, 2**32 - 1),
)
def test_children_conserve_lots(lot_size, lots, algorithm, factor, smallest, rate, regime, seed):
    config = ExecutionConfig(algorithm=algorithm, steganographic_factor=factor, max_participation_rate=0.5)
    agent = ExecutionAgent(config, seed=seed, clock=lambda: 0.0)
    agent.start()
    parent = _parent(lots * lot_size, lot_size=lot_size, min_child=smallest * lots * lot_size, expected_volume=1e6)

    def whole(quantity):
        count = lots_of(quantity, parent.lot_size)
        assert quantity == pytest.approx(count * lot_size, rel=1e-12)
        return count

    agent.submit_order(parent, now=0.0)
    assert sum(whole(child.quantity) for child in agent.process({"X": Quote(100.0, rate)}, regime, now=0.0)) == lots
    left = lots
    for now in range(301):
        for child in _release(agent, float(now)):
            left -= whole(child.quantity)
            assert child.quantity >= parent.min_child - 1e-9 * parent.quantity or not left
        pending = sum(whole(child.quantity) for child in agent.children(parent) if child.released is None)
        assert pending in (0, left)
    report = agent.report(parent)
    assert (left, report.reason, report.filled, report.unfilled) == (0, "filled", parent.quantity, 0)


def test_round_lots_and_fractions():
    for lot_size, quantity, expected in [
        (100, 1000, [200, 300, 300, 200]),
        (0.001, 0.01, [0.002, 0.003, 0.003, 0.002]),
        (0.1, 0.3, [0.1, 0.1, 0.1]),
        (1e6, 2e6, [1_000_000, 1_000_000]),
    ]:
        agent = _agent(slices=4)
        agent.submit_order(_parent(quantity, lot_size=lot_size), now=0.0)
        assert [child.quantity for child in agent.process(now=0.0)] == expected


def test_the_cap_and_pov_count_shares_not_lots():
    for algorithm, expected in (("TWAP", None), ("POV", 30_000.0)):
        agent = _agent(algorithm=algorithm, max_participation_rate=0.1, complete=False)
        agent.submit_order(_parent(3000, lot_size=0.5, expected_volume=expected), now=0.0)
        agent.process({"X": Quote(100.0, 50.55)}, now=0.0)  # 1,516.5 shares of an interval, of which a tenth may trade
        released = [child.quantity for now in range(149) for child in _release(agent, float(now))]
        assert released == pytest.approx([151.65] * 5, abs=0.5)
        assert all(shares % 0.5 == 0.0 for shares in released)
        assert algorithm == "POV" or set(released) == {151.5}


def test_a_fill_is_a_whole_number_of_lots():
    agent = _agent(slices=1)
    parent = _parent(0.3, lot_size=0.1)
    agent.submit_order(parent, now=0.0)
    agent.process(now=0.0)
    child = agent.get_next_child(150.0)
    child = agent.report_fill(child, 0.1 + 0.1, 100.0, now=150.0)
    assert (child.filled, child.remaining) == (0.2, 0.1)
    with pytest.raises(ValueError, match=r"quantity must be a multiple of the lot size 0.1, got 0.14; the nearest is 0.1"):
        agent.report_fill(child, 0.14, 100.0)
    with pytest.raises(ValueError, match=r"quantity must be a number in \[0.1, 1e\+14\] shares, got 0.0"):
        agent.report_fill(child, 0.0, 100.0)
    with pytest.raises(ValueError, match=r"at most the remaining shares of child .* \(0.1\), got 0.2"):
        agent.report_fill(child, 0.2, 100.0)
    agent.cancel(child, now=160.0)
    assert [piece.quantity for piece in agent.children(parent)] == [0.2, 0.1]
    last = agent.get_next_child(160.0)
    agent.report_fill(last, 0.1, 100.0, now=160.0)
    assert (agent.report(parent).reason, agent.report(parent).filled) == ("filled", 0.3)


# --- the smallest child


def test_small_children_are_merged_into_later_ones():
    for smallest, expected in [(0, [100] * 10), (100, [100] * 10), (101, [200] * 5), (250, [300, 300, 400]), (2000, [1000])]:
        agent = _agent()
        agent.submit_order(_parent(min_child=smallest), now=0.0)
        children = agent.process(now=0.0)
        assert [child.quantity for child in children] == expected
        assert children[-1].schedule_time >= 255.0


def test_the_smallest_child_waits_for_the_cap():
    agent = _agent(max_participation_rate=0.1, complete=False)
    agent.submit_order(_parent(300, min_child=100), now=0.0)
    agent.process({"X": Quote(100.0, 30.0)}, now=0.0)  # 90 shares of an interval
    assert _release(agent, 149.0) == []
    agent.process({"X": Quote(100.0, 50.0)}, now=150.0)  # 150 shares
    assert [child.quantity for now in range(150, 300) for child in _release(agent, float(now))] == [150, 150]


def test_a_plan_before_the_day_has_whole_lots_and_no_small_children():
    for lot_size, smallest in ((100, 0.0), (0.25, 20_000.0)):
        plan = planned_shares(_parent(200_000, lot_size=lot_size, min_child=smallest, algorithm="IS"), "regime-day")
        assert sum(plan) == 200_000
        assert all(shares % lot_size == 0.0 for shares in plan)
        assert min(filter(None, plan)) >= smallest
