"""Trading sessions: the clock of an order that trades over midnight and over several days."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.execution.sessions import Sessions
from hyperexec_env.orders import ParentOrder

pytestmark = pytest.mark.fast

DAY = 86_400.0
TWO_DAYS = ((34_200.0, 57_600.0), (34_200.0 + DAY, 57_600.0 + DAY))
"""09:30 to 16:00 on two days, seconds after the first midnight."""
MIDNIGHT = ((79_200.0, DAY + 7_200.0),)
"""22:00 to 02:00."""

sessions = st.lists(st.floats(0.1, 1e5), min_size=2, max_size=12).map(
    lambda steps: tuple(zip((ends := [sum(steps[: n + 1]) for n in range(len(steps))])[::2], ends[1::2], strict=False))
)


def _agent(**config):
    plain = {"steganographic_factor": 0.0, "max_participation_rate": None, "algorithm": "TWAP", **config}
    agent = ExecutionAgent(ExecutionConfig(**plain), seed=0, clock=lambda: 0.0)
    agent.start()
    return agent


def _parent(quantity=1000, **values):
    return ParentOrder(**{"symbol": "X", "side": 1, "quantity": quantity, "arrival_price": 100.0, **values})


def _plan(parent, now, **config):
    agent = _agent(**config)
    agent.submit_order(parent, now=now)
    return agent, agent.process(now=now)


def _release(agent, now):
    """Release and fill every child that is due."""
    released = []
    while (child := agent.get_next_child(now)) is not None:
        agent.report_fill(child, child.quantity, 100.0, now=now)
        released.append(child)
    return released


# --- conversions


@given(sessions, st.floats(0.0, 1.0))
def test_the_clock_of_a_trading_time_is_in_a_session_and_back(pairs, part):
    clock = Sessions(pairs)
    whole = sum(closing - opening for opening, closing in pairs)
    time = clock.clock_time(part * whole)
    assert any(opening <= time < closing for opening, closing in pairs)
    assert clock.trading_time(time) == pytest.approx(part * whole, abs=1e-6)


@given(sessions, st.floats(-1e5, 1e6), st.floats(0.0, 1e5))
def test_trading_time_never_runs_backwards_or_faster_than_the_clock(pairs, time, wait):
    clock = Sessions(pairs)
    passed = clock.trading_time(time + wait) - clock.trading_time(time)
    assert -1e-6 <= passed <= wait + 1e-6


def test_sessions_by_hand():
    clock = Sessions(TWO_DAYS)
    assert [clock.trading_time(time) for time in (0.0, 34_200.0, 57_599.0, 60_000.0, DAY + 34_201.0, 1e9)] == [
        *(0.0, 0.0, 23_399.0, 23_400.0, 23_401.0, 46_800.0)
    ]
    assert clock.clock_time(23_400.0) == DAY + 34_200.0  # the open, not the close
    assert [clock.next_open(time) for time in (0.0, 40_000.0, 57_600.0, 2.0 * DAY)] == [
        *(34_200.0, 40_000.0, DAY + 34_200.0, math.inf)
    ]
    assert clock.later(57_000.0, 600.0) == 57_600.0  # the close, not the next open
    assert clock.later(57_000.0, 660.0) == DAY + 34_260.0
    assert [clock.last_close(time) for time in (0.0, 40_000.0, DAY, 1e9)] == [0.0, 40_000.0, 57_600.0, DAY + 57_600.0]


def test_invalid_sessions_are_named():
    for value, message in [
        (5.0, r"sessions must be a list of pairs \(open, close\), got 5.0"),
        ("ab", "sessions must be a list of pairs"),
        (((1.0,),), r"sessions\[0\] must hold 2 numbers, got 1"),
        (((1.0, math.nan),), r"sessions\[0\]\[1\] must be a number"),
        (((2.0, 2.0),), r"sessions\[0\] must open before it closes, got \(2.0, 2.0\)"),
        (((1.0, 3.0), (2.0, 4.0)), r"sessions\[1\] must open at or after the close before it \(3\), got \(2.0, 4.0\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            _parent(sessions=value)


# --- plans


def test_an_order_over_two_days_trades_in_both_sessions():
    _, children = _plan(_parent(sessions=TWO_DAYS, deadline=2.0 * DAY), now=0.0)
    opens = [34_200.0 + 2_340.0 + 4_680.0 * j for j in range(5)]
    assert [child.schedule_time for child in children] == [*opens, *(DAY + time for time in opens)]
    assert [child.quantity for child in children] == [100] * 10


def test_an_order_over_midnight_trades_in_one_session():
    _, children = _plan(_parent(sessions=MIDNIGHT, deadline=DAY + 3_600.0), now=79_200.0, slices=3)
    assert [child.schedule_time for child in children] == [81_000.0, 84_600.0, 88_200.0]


def test_the_profile_covers_trading_time():
    agent, children = _plan(
        _parent(sessions=TWO_DAYS, deadline=2.0 * DAY, algorithm="VWAP", volume_profile=(1.0, 3.0)), now=0.0, slices=4
    )
    assert [child.quantity for child in children] == [125, 125, 375, 375]
    parent = _parent(sessions=TWO_DAYS, deadline=2.0 * DAY, algorithm="VWAP", volume_profile=(1.0, 1.0, 3.0, 1.0))
    agent.submit_order(parent, now=0.0)
    late = agent.process(now=DAY)  # the night after the first session
    assert [child.quantity for child in late] == [375, 375, 125, 125]
    assert late[0].schedule_time == DAY + 34_200.0 + 2_925.0


def test_the_default_horizon_counts_trading_time():
    agent, children = _plan(_parent(sessions=TWO_DAYS), now=57_500.0, horizon_seconds=300.0)
    assert [child.schedule_time for child in children[:4]] == [57_515.0, 57_545.0, 57_575.0, DAY + 34_205.0]
    agent.process(now=DAY + 34_399.0)
    assert agent.status.active == 1
    agent.process(now=DAY + 34_400.0)
    assert agent.get_reports()[0].end == DAY + 34_400.0


def test_an_order_without_a_session_before_its_deadline_expires_untraded():
    for deadline in (30_000.0, 34_200.0):
        agent, children = _plan(_parent(sessions=TWO_DAYS, deadline=deadline), now=0.0)
        assert children == []
        agent.process(now=deadline)
        assert (agent.get_reports()[0].reason, agent.get_reports()[0].children) == ("expired", ())
    agent, children = _plan(_parent(sessions=TWO_DAYS, deadline=9.0 * DAY), now=3.0 * DAY)  # after the last close
    assert (children, agent.get_reports()[0].reason) == ([], "expired")


def test_adaptive_replans_over_the_remaining_trading_time():
    agent, _ = _plan(_parent(sessions=TWO_DAYS, deadline=2.0 * DAY, algorithm="Adaptive"), now=0.0)
    first = [child for now in range(34_200, 57_601, 60) for child in _release(agent, float(now))]
    assert sum(child.quantity for child in first) == 500
    made = agent.process(regime="CRISIS", now=70_000.0)
    assert len(made) == 20
    assert sum(child.quantity for child in made) == 500
    assert all(DAY + 34_200.0 <= child.schedule_time < DAY + 57_600.0 for child in made)


# --- releases


def test_no_child_is_released_outside_the_sessions():
    agent, children = _plan(_parent(sessions=TWO_DAYS, deadline=2.0 * DAY), now=0.0)
    assert agent.get_next_child(50_000.0) == children[0]._replace(released=50_000.0)
    for night in (57_600.0, 70_000.0, DAY + 34_199.0):  # four children of the first day are overdue
        assert agent.get_next_child(night) is None
    assert [child.number for child in _release(agent, DAY + 34_200.0)] == [1, 2, 3, 4]


def test_the_end_of_the_last_session_completes_the_order_or_closes_it():
    for complete in (True, False):
        agent = _agent(max_participation_rate=0.1, complete=complete)
        parent = _parent(sessions=TWO_DAYS, deadline=3.0 * DAY)
        agent.submit_order(parent, now=0.0)
        released = []
        for now in range(0, int(2.0 * DAY), 600):
            agent.process({"X": Quote(100.0, 0.1)}, now=float(now))  # 46 shares of an interval
            released += _release(agent, float(now))
        agent.process(now=2.0 * DAY)
        assert [child.quantity for child in released[:9]] == [46] * 9
        report = agent.report(parent)
        if complete:
            assert (released[9].quantity, released[9].forced, report.reason) == (586, 540, "filled")
        else:
            assert (released[9].quantity, report.reason, report.end) == (46, "expired", DAY + 57_600.0)


def test_an_order_trades_until_the_last_moment_that_the_clock_can_tell():
    last = math.nextafter(7_200.0, 0.0)  # here the trading time, 10,800 seconds, is coarser than the clock
    values = {"sessions": ((-3_600.0, 7_200.0),), "deadline": 9_000.0}
    submitted, children = _plan(_parent(**values), now=last, slices=1)
    assert [(child.quantity, child.schedule_time) for child in children] == [(1000, last)]
    assert len(_release(submitted, last)) == 1
    cancelled, _ = _plan(_parent(**values), now=0.0, slices=1)
    cancelled.cancel(cancelled.get_next_child(4_000.0), now=last)
    replanned, _ = _plan(_parent(**values, algorithm="Adaptive"), now=0.0)
    replanned.process(regime="CRISIS", now=last)
    for agent in (cancelled, replanned):
        assert sum(child.quantity for child in _release(agent, last)) == 1000
        assert agent.get_reports()[0].reason == "filled"


def test_a_session_too_short_for_its_trading_time_still_trades():
    opening = 1.0
    closing = math.nextafter(opening, 2.0)  # after 10^6 seconds of trading time, this session has no length
    parent = _parent(sessions=((-1e6, 0.0), (opening, closing)), deadline=2.0)
    agent, children = _plan(parent, now=0.5, slices=1)
    assert [(child.quantity, child.schedule_time) for child in children] == [(1000, opening)]
    assert _release(agent, 0.75) == []
    assert len(_release(agent, opening)) == 1


def test_a_cancelled_child_returns_at_the_next_open():
    agent, _ = _plan(_parent(sessions=TWO_DAYS, deadline=2.0 * DAY), now=0.0, slices=1)
    child = agent.get_next_child(DAY + 34_200.0)
    agent.cancel(child, now=DAY + 57_000.0)
    assert agent.get_next_child(DAY + 57_000.0).quantity == 1000
    agent, _ = _plan(_parent(sessions=TWO_DAYS, deadline=2.0 * DAY), now=0.0, slices=2)
    first = agent.get_next_child(50_000.0)
    agent.cancel(first, now=70_000.0)
    (pending,) = (child for child in agent.children(first.parent) if child.released is None)
    assert (pending.quantity, pending.schedule_time) == (1000, DAY + 45_900.0)


# --- reports


def test_a_report_counts_trading_time_only():
    agent, _ = _plan(_parent(sessions=TWO_DAYS, deadline=2.0 * DAY), now=0.0, slices=2)
    for now, mid in ((34_200.0, 100.0), (57_000.0, 102.0), (DAY + 34_800.0, 104.0), (DAY + 57_600.0, 104.0)):
        agent.process({"X": Quote(mid, 10.0)}, now=now)
    (report,) = agent.get_reports()
    assert report.market_volume == 10.0 * 46_800.0  # the night between the second and the third mark has no volume
    steps = [(22_800.0, 101.0), (1_200.0, 103.0), (22_800.0, 104.0)]
    assert report.twap == pytest.approx(sum(seconds * mid for seconds, mid in steps) / 46_800.0)
    assert report.vwap == pytest.approx(report.twap)


def test_transient_impact_does_not_recover_overnight():
    agent, _ = _plan(_parent(adv=1e5, sessions=TWO_DAYS, deadline=2.0 * DAY), now=0.0, slices=2)
    for look, now in ((50_000.0, 57_599.0), (DAY + 57_000.0, DAY + 34_201.0)):  # fills a second before and after the night
        child = agent.get_next_child(look)
        agent.report_fill(child, child.quantity, 100.0, now=now, mid=100.0)
    (report,) = agent.get_reports()
    alone = replace(report, parent=replace(report.parent, sessions=()))
    own = report.impact.transient_slope * 500.0**2 / report.parent.notional * 1e4  # two halves, and the first on the second
    kept = math.exp(-report.config.resilience * 2.0 / report.config.day_seconds)
    assert report.decomposition.transient == pytest.approx(own * (1.0 + kept))
    assert alone.decomposition.transient == pytest.approx(own)  # without sessions the night recovers all of it


def test_tracking_error_counts_trading_time_only():
    agent, _ = _plan(_parent(sessions=TWO_DAYS, deadline=2.0 * DAY), now=0.0, slices=2)
    for now in (45_900.0, DAY + 34_200.0 + 11_700.0 + 1_170.0):  # the second fill is late by a fortieth of the trading time
        _release(agent, now)
    (report,) = agent.get_reports()
    alone = replace(report, parent=replace(report.parent, sessions=()))
    assert report.tracking_error == pytest.approx(100.0 * math.sqrt(0.5**2 * 1_170.0 / (23_400.0 + 11_700.0 + 1_170.0)))
    assert alone.tracking_error < report.tracking_error
