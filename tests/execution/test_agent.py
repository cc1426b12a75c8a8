"""The execution agent: life cycle, scheduling, regimes, the participation cap, fills, reports and thread safety."""

import gc
import logging
import math
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution import schedules
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.algorithms import ALGORITHMS, algorithm_names
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.execution.status import AgentStatus
from hyperexec_env.execution.working_order import WorkingOrder
from hyperexec_env.market.regime import REGIME_NAMES, UNKNOWN
from hyperexec_env.orders import ChildOrder, ParentOrder

PLAIN = {"steganographic_factor": 0.0, "max_participation_rate": None}


class Clock:
    """A clock that tests set by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _agent(seed=0, **config):
    agent = ExecutionAgent(ExecutionConfig(**{**PLAIN, **config}), seed=seed, clock=Clock())
    agent.start()
    return agent


def _parent(quantity=1000, **values):
    return ParentOrder(**{"symbol": "X", "side": 1, "quantity": quantity, "arrival_price": 100.0, **values})


def _cut(agent, parent, **values):
    agent.submit_order(parent)
    return agent.process(**values)


def _run(agent, until, step=1.0, fill=lambda child: child.quantity, portfolio=None, regime=lambda now: UNKNOWN):
    """Advance the clock in steps; process, release and fill due children, cancel their rest; return the released children."""
    released = []
    for now in np.arange(agent._clock.now, until + step / 2, step):
        agent._clock.now = float(now)
        agent.process(portfolio, regime(float(now)))
        while (child := agent.get_next_child()) is not None:
            released.append(child)
            if shares := fill(child):
                agent.report_fill(child, shares, 100.0)
            if shares < child.quantity:
                agent.cancel(child)
    return released


# --- creation and life cycle


def test_the_default_configuration_and_status_of_an_agent():
    agent = ExecutionAgent()
    config = agent.config
    assert (config.algorithm, config.kyle_lambda, config.perm_impact_gamma) == ("Adaptive", 0.3, 0.2)
    assert (config.temp_impact_alpha, config.temp_impact_beta) == (0.3, 0.5)
    assert (config.max_participation_rate, config.steganographic_factor) == (0.1, 0.3)
    assert (config.horizon_seconds, config.slices, config.enabled, config.priority) == (300.0, 10, True, 100)
    assert (config.verbose, config.max_latency_us) == (False, 500.0)
    assert agent.status == AgentStatus("ExecutionAgent", "created", UNKNOWN, 0, 0, 0, 0, 0, 0.0, 0)


def test_life_cycle_transitions():
    agent = ExecutionAgent()
    for action in (agent.pause, agent.resume):
        with pytest.raises(RuntimeError, match=r"cannot .* an agent that is created"):
            action()
    agent.start()
    with pytest.raises(RuntimeError, match=r"cannot start an agent that is running \(only one that is created or stopped\)"):
        agent.start()
    agent.pause()
    agent.resume()
    assert agent.status.state == "running"
    agent.stop()
    assert agent.status.state == "stopped"
    agent.start()
    assert agent.status.state == "running"


def test_an_agent_that_is_not_running_or_not_enabled_accepts_no_orders():
    with pytest.raises(RuntimeError, match="created accepts no orders"):
        ExecutionAgent().submit_order(_parent())
    agent = _agent(enabled=False)
    with pytest.raises(RuntimeError, match="not enabled accepts no orders"):
        agent.submit_order(_parent())
    with pytest.raises(TypeError, match="must be a ParentOrder, got dict"):
        agent.submit_order({})


def test_a_paused_agent_releases_no_children_and_continues_after_resume():
    agent = _agent()
    _cut(agent, _parent(), regime="CRISIS")
    agent.pause()
    agent._clock.now = 100.0
    agent.submit_order(_parent(500))
    assert agent.process(regime="CRISIS") == []
    assert agent.get_next_child() is None
    agent.resume()
    assert len(agent.process(regime="BULL_TRENDING")) == 7 + 10  # the first order is replanned, and the second order is cut
    assert sum(child.quantity for child in _run(agent, 450.0)) == 1500


def test_an_order_expires_while_the_agent_is_paused():
    agent = _agent()
    _cut(agent, _parent())
    agent.pause()
    agent._clock.now = 300.0
    agent.process()
    assert agent.get_reports()[0].reason == "expired"


def test_stop_closes_every_order_with_a_report():
    agent = _agent()
    first, second = _parent(), _parent()
    _cut(agent, first)
    agent._clock.now = 100.0
    child = agent.get_next_child()
    agent.submit_order(second)
    agent.stop()
    assert {report.parent.id: report.reason for report in agent.get_reports()} == {first.id: "stopped", second.id: "stopped"}
    assert agent.get_next_child() is None
    agent.report_fill(child, 10, 100.0)  # the fill was already under way
    assert sum(child.filled for child in agent.report(first).children) == 10


# --- children


@pytest.mark.fast
@pytest.mark.parametrize("algorithm", algorithm_names())
@given(
    quantity=st.integers(1, 10**7),
    slices=st.integers(1, 40),
    factor=st.floats(0.0, 1.0),
    urgency=st.floats(-1.0, 2.0),
    seed=st.integers(0, 2**32 - 1),
    regime=st.sampled_from((*REGIME_NAMES, UNKNOWN)),
)
def test_children_sum_to_their_parent_before_the_deadline(algorithm, quantity, slices, factor, urgency, seed, regime):
    agent = _agent(seed, slices=slices, steganographic_factor=factor)
    parent = _parent(quantity, algorithm=algorithm, urgency=urgency, expected_volume=1e6, volatility=0.02)
    children = _cut(agent, parent, regime=regime)
    assert sum(child.quantity for child in children) == quantity
    assert all(type(child.quantity) is int and child.quantity > 0 for child in children)
    times = [child.schedule_time for child in children]
    assert times == sorted(times)
    assert 0.0 <= times[0] <= times[-1] < 300.0
    assert {child.parent for child in children} == {parent}
    assert len({child.id for child in children}) == len(children)


def test_twap_makes_equal_children():
    children = _cut(_agent(), _parent(algorithm="TWAP"))
    assert [child.quantity for child in children] == [100] * 10
    assert [child.schedule_time for child in children] == [15.0 + 30.0 * j for j in range(10)]


def test_vwap_is_proportional_to_the_volume_profile():
    children = _cut(_agent(slices=4), _parent(algorithm="VWAP", volume_profile=(4.0, 1.0, 2.0, 3.0)))
    assert [child.quantity for child in children] == [400, 100, 200, 300]
    children = _cut(_agent(slices=4), _parent(algorithm="VWAP", volume_profile=(4.0, 1.0)))
    assert [child.quantity for child in children] == [400, 400, 100, 100]
    flat = _cut(_agent(slices=4), _parent(algorithm="VWAP"))
    assert [child.quantity for child in flat] == [250] * 4


def test_is_front_loads_by_urgency():
    sizes = {}
    for urgency in (0.0, 0.5, 1.0):
        children = _cut(_agent(), _parent(10_000, algorithm="IS", urgency=urgency))
        sizes[urgency] = [child.quantity for child in children]
        assert sum(sizes[urgency]) == 10_000
    assert sizes[0.0] == [1000] * 10
    assert sizes[0.5] == sorted(sizes[0.5], reverse=True)
    assert sizes[1.0][0] > sizes[0.5][0] > 1000
    assert sizes[1.0][0] / sizes[1.0][-1] == pytest.approx(math.exp(3.0), rel=0.02)


def test_almgren_chriss_is_exact_only_with_known_volatility_and_volume():
    # Almgren and Chriss (2000), section 3.4: kappa tau = 0.607 with X = 1e6, five days, lambda 1e-6
    unknown = _cut(_agent(), _parent(100_000, algorithm="AC", urgency=1.0))  # as steep as IS: kappa T = 3
    trades = 100_000 * schedules.almgren_chriss(10, 3.0 / 10)
    assert [child.quantity for child in unknown] == pytest.approx(trades, abs=1.0)
    known = {"volatility": 0.95 / 50.0, "expected_volume": 25e6, "adv": 5e6}
    config = {
        "slices": 5,
        "horizon_seconds": 5.0,
        "day_seconds": 1.0,
        "temp_impact_beta": 1.0,
        # their eta less half of their gamma tau is the slope of the temporary impact, currency per share a day
        "temp_impact_alpha": (2.5e-6 - 2.5e-7 / 2.0) * 5e6 / 0.95,
        "perm_impact_gamma": 0.0,
        "risk_aversion": 1e-6,
    }
    parent = _parent(10**6, arrival_price=50.0, algorithm="AC", **known)
    trades = [child.quantity for child in _cut(_agent(**config), parent)]
    assert trades == pytest.approx([458_044, 252_101, 141_957, 85_756, 62_142], abs=1)


def test_children_are_released_when_due_in_the_order_of_their_times():
    agent = _agent(steganographic_factor=1.0)
    for quantity in (1000, 700, 300):
        agent.submit_order(_parent(quantity, algorithm="TWAP"))
    agent.process()
    assert agent.get_next_child() is None
    taken = []
    for now in np.arange(0.0, 301.0, 0.5):
        while (child := agent.get_next_child(float(now))) is not None:
            assert now - 0.5 < child.schedule_time <= now
            assert child.released == now
            assert 0.0 <= child.latency < 0.5
            taken.append(child)
    times = [child.schedule_time for child in taken]
    assert times == sorted(times)
    assert sum(child.quantity for child in taken) == 2000
    assert agent.status.working == len(taken) == 30


def test_children_are_scheduled_before_the_deadline_on_a_coarse_clock():
    agent = _agent(slices=10)
    now = 1.7e9  # here one step of a float is 240 nanoseconds
    agent.submit_order(_parent(algorithm="TWAP", deadline=now + 1e-6), now=now)
    children = agent.process(now=now)
    assert len(children) == 10
    assert all(now <= child.schedule_time < now + 1e-6 for child in children)


def test_the_default_clock_is_the_system_clock():
    agent = ExecutionAgent(ExecutionConfig(horizon_seconds=0.2, slices=4, **PLAIN))
    agent.start()
    before = time.time()
    children = _cut(agent, _parent(8, algorithm="TWAP"))
    assert before <= children[0].schedule_time <= time.time() + 0.2
    time.sleep(0.21)
    agent.process()
    assert agent.get_reports()[0].reason == "expired"


def test_hiding_is_reproducible_from_a_seed_and_random_without_one():
    def plan(seed):
        agent = ExecutionAgent(ExecutionConfig(), seed=seed, clock=Clock())
        agent.start()
        return _cut(agent, _parent(10_000, id="p"))

    assert plan(3) == plan(3)
    assert plan(3) != plan(4)
    assert plan(None) != plan(None)


# --- regimes


def test_adaptive_plans_by_the_regime():
    for regime, count in [
        ("BULL_TRENDING", 12), ("SIDEWAYS_LOW", 12), ("RECOVERY", 12), ("CRISIS", 20), ("SIDEWAYS_HIGH", 20),
        ("BEAR_TRENDING", 10), ("UNKNOWN", 10),
    ]:  # fmt: skip
        children = _cut(_agent(slices=12), _parent(12_000), regime=regime)
        assert len(children) == count
        assert (children[0].quantity == children[-1].quantity) == (count != 12)


def test_a_change_of_regime_replans_only_the_unreleased_shares():
    agent = _agent()
    first = _cut(agent, _parent(), regime="BEAR_TRENDING")
    released = _run(agent, 150.0, regime=lambda now: "BEAR_TRENDING")
    assert released == [child._replace(released=child.schedule_time) for child in first[:5]]
    agent._clock.now = 160.0
    made = agent.process(regime="CRISIS")
    assert len(made) == 20
    assert sum(child.quantity for child in made) == 500
    assert all(160.0 <= child.schedule_time < 300.0 for child in made)
    later = _run(agent, 300.0, regime=lambda now: "CRISIS")
    assert [child.id for child in later] == [child.id for child in made]
    report = agent.get_reports()[0]
    assert report.reason == "filled"
    assert sum(child.filled for child in report.children) == 1000
    assert len({child.id for child in report.children}) == 25


def test_an_unchanged_regime_does_not_replan():
    agent = _agent()
    _cut(agent, _parent(), regime="CRISIS")
    assert agent.process(regime="CRISIS", now=10.0) == []


def test_other_algorithms_do_not_replan_when_the_regime_changes():
    agent = _agent(algorithm="TWAP")
    _cut(agent, _parent(), regime="BULL_TRENDING")
    assert agent.process(regime="CRISIS", now=10.0) == []


def test_frequent_regime_changes_do_not_delay_an_order():
    regimes = ("BEAR_TRENDING", "CRISIS")
    for every in (1.0, 5.0):
        agent = _agent()
        agent.submit_order(_parent())
        released = _run(agent, 200.0, regime=lambda now, every=every: regimes[int(now / every) % 2])
        assert sum(child.quantity for child in released) == pytest.approx(667, abs=67)  # as TWAP would


def test_a_regime_with_the_same_choice_does_not_replan():
    agent = _agent()
    _cut(agent, _parent(), regime="BEAR_TRENDING")
    assert agent.process(regime="UNKNOWN", now=10.0) == []
    assert agent.process(regime="CRISIS", now=20.0) != []
    assert agent.process(regime="SIDEWAYS_HIGH", now=30.0) == []
    assert agent.status.regime == "SIDEWAYS_HIGH"


def test_without_a_regime_the_last_one_applies():
    agent = _agent()
    _cut(agent, _parent(), regime="CRISIS")
    assert agent.process({"X": Quote(100.0)}, now=10.0) == []
    assert agent.status.regime == "CRISIS"


def test_a_regime_change_during_a_pause_replans_after_resume():
    agent = _agent()
    _cut(agent, _parent(), regime="BEAR_TRENDING")
    agent.pause()
    assert agent.process(regime="CRISIS", now=10.0) == []
    assert agent.status.regime == "CRISIS"
    agent.resume()
    assert len(agent.process(now=20.0)) == 20


def test_replanning_does_not_lengthen_the_wait_for_the_next_child():
    agent = _agent()
    _cut(agent, _parent(), regime="CRISIS")  # twenty children, each 15 seconds
    assert agent.get_next_child(8.0).schedule_time == 7.5
    made = agent.process(regime="BEAR_TRENDING", now=20.0)  # ten, each 28 seconds, and 12.5 have passed
    assert made[0].schedule_time == pytest.approx(20.0 + 14.0)  # at most half an interval
    made = agent.process(regime="CRISIS", now=24.0)  # twenty again, each 13.8 seconds, and 16.5 have passed
    assert made[0].schedule_time == 24.0
    assert np.diff([child.schedule_time for child in made]) == pytest.approx(13.8)


def test_a_change_of_regime_leaves_children_in_the_market_unchanged():
    agent = _agent()
    _cut(agent, _parent(), regime="BEAR_TRENDING")
    child = agent.get_next_child(20.0)
    made = agent.process(regime="CRISIS", now=30.0)
    assert sum(piece.quantity for piece in made) == 1000 - child.quantity
    assert agent.report_fill(child, child.quantity, 100.0, now=31.0).remaining == 0


# --- halts


def test_a_paused_symbol_releases_no_children_and_its_rest_is_replanned_after_resume():
    agent = _agent(algorithm="TWAP")
    halted, other = _parent(), _parent(symbol="Y")
    for parent in (halted, other):
        agent.submit_order(parent)
    _run(agent, 60.0)
    agent.pause("X")
    assert agent.status.halted == ("X",)
    assert {child.symbol for child in _run(agent, 200.0)} == {"Y"}
    agent.resume("X")
    assert agent.status.halted == ()
    released = [child for child in _run(agent, 299.0) if child.symbol == "X"]
    assert [child.schedule_time for child in released] == pytest.approx([200.0, 200.0 + 100.0 / 3, 200.0 + 200.0 / 3])
    assert sum(child.quantity for child in released) == 800
    assert [agent.report(parent).reason for parent in (halted, other)] == ["filled", "filled"]


def _run_with_a_halt(agent, orders, quoted_in_the_halt):
    """Trade POV orders with a halt from 60 to 150 of 300 seconds; return the quantities of the children of each order."""
    for number in range(orders):
        agent.submit_order(_parent(3000, id=str(number), algorithm="POV", expected_volume=30_000.0))
    _run(agent, 59.0, portfolio={"X": Quote(100.0, 100.0)})
    agent.pause("X")
    assert _run(agent, 149.0, portfolio={"X": Quote(100.0, quoted_in_the_halt)}) == []
    agent.resume("X")
    agent._clock.now = 150.0
    _run(agent, 299.0, portfolio={"X": Quote(100.0, 100.0)})
    assert [report.reason for report in agent.get_reports()] == ["filled"] * orders
    return [[child.quantity for child in report.children] for report in agent.get_reports()]


@pytest.mark.parametrize("quoted_in_the_halt", [0.0, 100.0])
def test_pov_spreads_its_rest_after_a_halt_because_a_halt_has_no_volume(quoted_in_the_halt):
    assert _run_with_a_halt(_agent(complete=False), 1, quoted_in_the_halt) == [[300] * 2 + [480] * 5]


def test_a_pov_order_that_waits_for_its_plan_after_a_halt_does_not_count_the_halt():
    for children in _run_with_a_halt(_agent(complete=False, max_latency_us=1e-3), 10, 100.0):
        assert max(children) < 700  # of 2,400 shares that the halt would count


def test_a_child_is_replanned_after_a_halt_even_if_it_is_asked_for_before_process():
    agent = _agent(algorithm="TWAP")
    _cut(agent, _parent())
    agent.pause("X")
    assert agent.get_next_child(160.0) is None
    agent.resume("X")
    first = agent.get_next_child(160.0)
    assert (first.quantity, first.schedule_time) == (200, 160.0)
    assert agent.get_next_child(160.0) is None  # the five overdue children are no longer due
    assert sum(child.quantity for child in agent.process(now=160.0)) == 1000  # the plan that get_next_child made


def test_a_halt_without_a_due_child_changes_nothing():
    agent = _agent(algorithm="TWAP")
    children = _cut(agent, _parent())
    agent.pause("X")
    assert agent.get_next_child(14.0) is None
    agent.resume("X")
    assert agent.process(now=14.5) == []
    assert agent.get_next_child(15.0) == children[0]._replace(released=15.0)


def test_orders_of_a_paused_symbol_are_accepted_cut_filled_cancelled_and_expire():
    agent = _agent(algorithm="TWAP")
    first, second = _parent(), _parent(deadline=500.0)
    _cut(agent, first)
    child = agent.get_next_child(15.0)
    agent.pause("X")
    assert len(_cut(agent, second)) == 10
    agent.report_fill(child, 60, 100.0, now=20.0)
    agent.cancel(child, now=30.0)  # its rest returns to the parent, which stays held
    assert agent.get_next_child(299.0) is None
    agent.process(now=300.0)
    assert (agent.report(first).reason, agent.report(first).filled) == ("expired", 60)
    agent.resume("X")
    assert sum(piece.quantity for piece in agent.process(now=300.0)) == 1000
    agent._clock.now = 300.0
    _run(agent, 500.0)
    assert agent.report(second).reason == "filled"


def test_a_symbol_is_paused_and_resumed_once():
    agent = ExecutionAgent()  # a halt does not depend on the state of the agent
    agent.pause("XYZ")
    with pytest.raises(RuntimeError, match="cannot pause 'XYZ', which is paused already"):
        agent.pause("XYZ")
    with pytest.raises(RuntimeError, match=r"cannot resume 'XZY', which is not paused; did you mean 'XYZ'\?"):
        agent.resume("XZY")
    agent.resume("XYZ")
    with pytest.raises(RuntimeError, match=r"cannot resume 'XYZ', which is not paused$"):
        agent.resume("XYZ")


# --- a clock that runs backwards


@pytest.mark.parametrize("algorithm", algorithm_names())
def test_a_clock_that_is_set_back_plans_at_most_the_intervals_of_the_order(algorithm):
    agent, now, year = _agent(), 1.7e9, 3.15e7
    parent = _parent(10**6, algorithm=algorithm, deadline=now + 300.0, volume_profile=(1.0, 2.0), expected_volume=1e6)
    agent.submit_order(parent, now=now)
    made = agent.process(regime="BULL_TRENDING", now=now - year)  # before the submission
    assert [child.schedule_time for child in made] == [now + 15.0 + 30.0 * j for j in range(10)]
    agent.process(regime="CRISIS", now=now + 100.0)
    made = agent.process(regime="BULL_TRENDING", now=now - year)  # after the first plan
    assert len(made) == (7 if algorithm == "Adaptive" else 0)
    assert all(now + 100.0 <= child.schedule_time < now + 300.0 for child in made)
    assert agent.get_next_child(now - year).released == now + 100.0
    agent.stop(now - year)
    assert agent.report(parent).end == now + 100.0


@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["submit", "process", "take", "cancel"]), st.floats(-400.0, 400.0), st.sampled_from(REGIME_NAMES)
        ),
        max_size=40,
    ),
    algorithm=st.sampled_from(algorithm_names()),
)
def test_a_clock_that_runs_backwards_has_the_effect_of_one_that_stands_still(calls, algorithm):
    def trade(clamped):
        agent = _agent(algorithm=algorithm, steganographic_factor=0.3, max_participation_rate=0.2)
        latest, child = -1e6, None
        for number, (call, told, regime) in enumerate([*calls, ("stop", -1e6, "")]):
            now = max(told, latest) if clamped else told
            if call == "submit":
                agent.submit_order(_parent(id=str(number), expected_volume=1e4, volume_profile=(1.0, 3.0, 0.0)), now=now)
            elif call == "process":
                agent.process({"X": Quote(100.0, 30.0)}, regime, now=now)
            elif call == "take":
                child = agent.get_next_child(now)
            elif call == "stop":
                agent.stop(now)
            elif child is not None:
                agent.cancel(child, now=now)
                child = None
            latest = max(latest, told) if call in ("submit", "process") else latest
        return [(report.children, report.start, report.end, report.marks, report.plan) for report in agent.get_reports()]

    assert trade(clamped=False) == trade(clamped=True)


def test_a_call_that_fails_does_not_move_the_clock():
    agent = _agent(algorithm="TWAP")
    with pytest.raises(ValueError, match="mid of X"):
        agent.process({"X": Quote(-1.0)}, now=1e9)
    with pytest.raises(ValueError, match="regime must be"):
        agent.process(regime="CALM", now=1e9)
    assert _cut(agent, _parent())[0].schedule_time == 15.0


def test_looking_ahead_and_fills_do_not_move_the_clock():
    agent = _agent(algorithm="TWAP")
    _cut(agent, _parent())
    child = agent.get_next_child(20.0)
    filled = agent.report_fill(child, 100, 100.0, now=25.0)
    assert filled.fills[0].time == 25.0
    assert _cut(agent, _parent())[0].schedule_time == 15.0
    agent.process(now=200.0)
    late = agent.report_fill(agent.get_next_child(200.0), 100, 100.0, now=190.0)
    assert late.fills[0].time == 190.0  # as the venue stamped it


# --- bounded work


def test_a_change_of_regime_replans_as_many_orders_a_call_as_fit_into_the_latency():
    agent = _agent(max_latency_us=200.0)
    for number in range(40):
        _cut(agent, _parent(id=str(number)), regime="BEAR_TRENDING")
    counts, order = [], []
    while made := agent.process(regime="CRISIS", now=1.0 + len(counts)):
        counts.append(len({child.parent.id for child in made}))
        order += dict.fromkeys(child.parent.id for child in made)
        assert len(made) == 20 * counts[-1]
    assert counts == [4] * 10
    assert order == [str(number) for number in range(40)]
    assert agent.process(now=20.0) == []


def test_a_change_of_regime_reviews_as_many_orders_a_call_as_fit_into_the_latency(monkeypatch):
    agent, reviewed = _agent(max_latency_us=10.0), []
    for number in range(40):
        _cut(agent, _parent(id=str(number)), regime="CRISIS")
    review = agent._review
    monkeypatch.setattr(agent, "_review", lambda order, *values: reviewed.append(order.parent.id) or review(order, *values))
    counts = []
    for _ in range(5):
        assert agent.process(regime="SIDEWAYS_HIGH", now=1.0) == []  # the same plan as in a crisis
        counts.append(len(reviewed) - sum(counts))
    assert counts == [10, 10, 10, 10, 0]
    assert reviewed == [str(number) for number in range(40)]


def test_a_call_replans_at_least_one_order():
    agent = _agent(max_latency_us=1e-3)
    for number in range(3):
        _cut(agent, _parent(id=str(number)), regime="BEAR_TRENDING")
    assert [len(agent.process(regime="CRISIS", now=1.0)) for _ in range(4)] == [20, 20, 20, 0]


def test_an_order_that_waits_for_its_new_plan_gets_it_when_its_next_child_is_due():
    agent = _agent(max_latency_us=100.0)
    for number in range(4):
        _cut(agent, _parent(id=str(number)), regime="BEAR_TRENDING")
    assert {child.parent.id for child in agent.process(regime="CRISIS", now=1.0)} == {"0", "1"}
    released = [agent.get_next_child(15.0) for _ in range(4)]
    assert [child.id for child in released] == ["0/10", "1/10", "2/10", "3/10"]  # the first of twenty children
    assert {child.parent.id for child in agent.process(now=30.0)} == {"2", "3"}  # the plans that get_next_child made


def test_no_child_waits_for_the_new_plan_of_its_order():
    agent = _agent(max_latency_us=1e-3)
    for number in range(4):
        _cut(agent, _parent(id=str(number)), regime="BEAR_TRENDING")
    agent.process(regime="CRISIS", now=1.0)
    released = [agent.get_next_child(15.0) for _ in range(5)]
    # the second call plans the second order anew, may plan no more, and releases a child of the third by its earlier plan
    assert [child and child.id for child in released] == ["0/10", "2/0", "1/10", "3/10", None]
    for number in range(4):
        assert sum(child.quantity for child in agent.children(str(number))) == 1000


def test_many_orders_are_filled_although_a_change_of_regime_is_spread_over_many_calls():
    agent, orders = _agent(slices=3, max_latency_us=1e-3), 100
    for number in range(orders):
        agent.submit_order(_parent(10, id=str(number)))
    _run(agent, 290.0, step=10.0, regime=lambda now: "BEAR_TRENDING" if now < 200.0 else "CRISIS")
    agent._clock.now = 299.0
    _run(agent, 299.0, regime=lambda now: "CRISIS")
    assert [report.reason for report in agent.get_reports()] == ["filled"] * orders


def test_a_second_change_of_regime_during_the_first_one_replans_every_order():
    agent = _agent(max_latency_us=100.0)
    for number in range(20):
        _cut(agent, _parent(id=str(number)), regime="BEAR_TRENDING")
    agent.process(regime="CRISIS", now=1.0)
    agent.cancel("3")
    _cut(agent, _parent(id="new"), regime="BULL_TRENDING", now=2.0)
    for _ in range(30):
        agent.process(now=3.0)
    made = {number: [child for child in agent.children(str(number)) if child.released is None] for number in range(20)}
    assert {number: len(children) for number, children in made.items()} == {n: 0 if n == 3 else 10 for n in range(20)}
    assert all(children[0].quantity > children[-1].quantity for children in made.values() if children)  # front-loaded


def test_a_queue_of_many_orders_expires_in_linear_time():
    def seconds(orders):
        agent = _agent()
        agent.pause()
        for number in range(orders):
            agent.submit_order(_parent(10, deadline=1000.0 - 1e-3 * number, id=str(number)), now=0.0)
        begin = time.thread_time()
        agent.process(now=1000.0)
        assert agent.status[3:7] == (0, 0, 0, orders)
        return time.thread_time() - begin

    assert min(seconds(4000) for _ in range(3)) < 8.0 * min(seconds(1000) for _ in range(3))


# --- the participation cap


def test_the_cap_limits_children_and_the_excess_is_carried_forward():
    agent = _agent(max_participation_rate=0.1, complete=False, algorithm="TWAP")
    thin, thick = {"X": Quote(100.0, 20.0)}, {"X": Quote(100.0, 100.0)}  # 60, then 300 shares of an interval of 30 s
    agent.submit_order(_parent())
    early = _run(agent, 149.0, portfolio=thin)
    assert [child.quantity for child in early] == [60] * 5
    late = _run(agent, 299.0, portfolio=thick)
    assert [child.quantity for child in late] == [140] * 5
    assert all(child.forced == 0 for child in (*early, *late))
    assert agent.get_reports()[0].reason == "filled"


@pytest.mark.parametrize("complete", [True, False])
def test_the_last_child_completes_the_order_or_leaves_it_unfilled(complete):
    agent = _agent(max_participation_rate=0.1, complete=complete, algorithm="TWAP")
    agent.submit_order(_parent())
    released = _run(agent, 300.0, portfolio={"X": Quote(100.0, 20.0)})
    report = agent.get_reports()[0]
    done = sum(child.filled for child in report.children)
    if complete:
        assert [child.quantity for child in released] == [60] * 9 + [460]
        assert [child.forced for child in released] == [0] * 9 + [400]
        assert (report.reason, done) == ("filled", 1000)
    else:
        assert [child.quantity for child in released] == [60] * 10
        assert (report.reason, done) == ("expired", 600)


@given(
    rates=st.lists(st.floats(0.0, 50.0), min_size=11, max_size=11),
    cap=st.floats(0.01, 1.0),
    algorithm=st.sampled_from(algorithm_names()),
    quantity=st.integers(1, 100_000),
    complete=st.booleans(),
)
def test_no_child_is_larger_than_the_cap_unless_it_is_forced(rates, cap, algorithm, quantity, complete):
    agent = _agent(max_participation_rate=cap, complete=complete, algorithm=algorithm, steganographic_factor=0.5)
    agent.submit_order(_parent(quantity, expected_volume=9000.0))
    released = []
    for now in range(0, 301):
        agent._clock.now = float(now)
        agent.process({"X": Quote(100.0, rates[now // 30])})
        while (child := agent.get_next_child()) is not None:
            released.append((child, rates[now // 30]))
            agent.report_fill(child, child.quantity, 100.0)
    interval = 30.0
    for child, rate in released:
        assert child.quantity - child.forced <= cap * rate * interval + 1e-9
        assert complete or child.forced == 0
    total = sum(child.quantity for child, _ in released)
    assert total == quantity if complete else total <= quantity


def test_overdue_children_share_the_cap_of_an_interval():
    agent = _agent(max_participation_rate=0.1, algorithm="TWAP")
    _cut(agent, _parent(), portfolio={"X": Quote(100.0, 50.0)})  # 150 shares of an interval
    released = _run(agent, 145.0, step=145.0)  # after 145 s without a call, five children of 100 are due
    assert [child.quantity for child in released] == [100, 50]
    later = _run(agent, 300.0)
    assert [child.quantity for child in later] == [150, 150, 150, 150, 250]
    assert [child.forced for child in later] == [0, 0, 0, 0, 100]


def test_a_cancelled_child_releases_its_share_of_the_cap():
    agent = _agent(max_participation_rate=0.1, complete=False, algorithm="TWAP", slices=1)
    _cut(agent, _parent(), portfolio={"X": Quote(100.0, 20.0)})  # 600 shares of the interval
    child = agent.get_next_child(150.0)
    assert child.quantity == 600
    agent.report_fill(child, 200, 100.0, now=151.0)
    agent.cancel(child, now=160.0)
    assert agent.get_next_child(160.0).quantity == 400


def test_only_the_last_interval_is_forced():
    agent = _agent(max_participation_rate=0.1, algorithm="VWAP", slices=4)
    agent.submit_order(_parent(volume_profile=(1.0, 0.0, 0.0, 0.0)))  # one child, but three more intervals until the deadline
    released = _run(agent, 300.0, portfolio={"X": Quote(100.0, 20.0)})
    assert [child.quantity for child in released] == [150, 150, 150, 550]
    assert [child.forced for child in released] == [0, 0, 0, 400]
    assert [child.number for child in released] == [0, 1, 2, 3]


def test_a_child_blocked_by_the_cap_waits_for_volume():
    for complete in [True, False]:
        agent = _agent(max_participation_rate=0.1, complete=complete, algorithm="IS", urgency=1.0)
        agent.submit_order(_parent(1))
        assert _run(agent, 199.0, portfolio={"X": Quote(100.0, 0.0)}) == []
        (child,) = _run(agent, 299.0, portfolio={"X": Quote(100.0, 1000.0)})
        assert (child.quantity, child.forced) == (1, 0)


def test_replanning_does_not_reset_the_cap():
    agent = _agent(max_participation_rate=0.1)
    regimes = ("BEAR_TRENDING", "CRISIS")
    agent.submit_order(_parent(100_000))
    quote = {"X": Quote(100.0, 100.0)}
    released = _run(agent, 200.0, portfolio=quote, regime=lambda now: regimes[int(now / 3.0) % 2])
    assert sum(child.quantity for child in released) <= 0.1 * 100.0 * 230.0


def test_pov_counts_the_volume_of_an_interval_once():
    agent = _agent(algorithm="POV", slices=1, max_participation_rate=None, complete=False)
    agent.submit_order(_parent(90_000, expected_volume=900_000.0))
    agent.process({"X": Quote(100.0, 100.0)}, now=0.0)
    filled = 0
    for now in range(150, 299):
        child = agent.get_next_child(float(now))
        if child is not None and child.quantity > 1:
            agent.report_fill(child, child.quantity - 1, 100.0, now=float(now))
            filled += child.quantity - 1
        if child is not None:
            agent.cancel(child, now=float(now))
    assert 2900 < filled <= 0.1 * 100.0 * 300.0


def test_pov_jitters_the_size_of_its_children():
    def sizes(factor):
        agent = _agent(3, algorithm="POV", steganographic_factor=factor, complete=False)
        agent.submit_order(_parent(30_000, expected_volume=300_000.0))
        return [child.quantity for child in _run(agent, 240.0, portfolio={"X": Quote(100.0, 1000.0)})]

    assert set(sizes(0.0)) == {3000}
    hidden = np.array(sizes(1.0)) / 3000.0
    assert 0.8 <= hidden.min() < 0.95 < 1.05 < hidden.max() <= 1.2


def test_pov_uses_its_plan_without_a_quoted_volume():
    agent = _agent(algorithm="POV", slices=4)
    agent.submit_order(_parent(1000, expected_volume=10_000.0, volume_profile=(4.0, 3.0, 2.0, 1.0)))
    assert [child.quantity for child in _run(agent, 300.0)] == [400, 300, 200, 100]


def test_without_a_quoted_volume_no_cap_binds():
    agent = _agent(max_participation_rate=0.1, algorithm="TWAP")
    assert [child.quantity for child in _cut(agent, _parent())] == [100] * 10
    assert [child.quantity for child in _run(agent, 300.0)] == [100] * 10


def test_pov_trades_its_participation_in_the_quoted_volume():
    agent = _agent(algorithm="POV", complete=False)
    parent = _parent(3000, expected_volume=30_000.0)  # 10 % of 100 shares a second
    agent.submit_order(parent)
    released = _run(agent, 149.0, portfolio={"X": Quote(100.0, 50.0)})
    assert [child.quantity for child in released] == [150] * 5
    released = _run(agent, 299.0, portfolio={"X": Quote(100.0, 200.0)})
    assert [child.quantity for child in released] == [600, 600, 600, 450]
    assert agent.report(parent).reason == "filled"


def test_pov_without_an_expected_volume_trades_at_the_cap():
    agent = _agent(algorithm="POV", max_participation_rate=0.2, complete=False)
    agent.submit_order(_parent(3000))
    assert [child.quantity for child in _run(agent, 29.0, portfolio={"X": Quote(100.0, 10.0)})] == [60]
    with pytest.raises(ValueError, match="POV needs expected_volume"):
        _agent(algorithm="POV").submit_order(_parent())


def test_pov_uses_the_expected_volume_rather_than_the_cap():
    agent = _agent(algorithm="POV", max_participation_rate=0.5, complete=False)
    agent.submit_order(_parent(3000, expected_volume=30_000.0))
    assert [child.quantity for child in _run(agent, 29.0, portfolio={"X": Quote(100.0, 50.0)})] == [150]


# --- fills


def test_partial_fills_and_over_fills():
    agent = _agent(algorithm="TWAP")
    parent = _parent()
    _cut(agent, parent)
    child = agent.get_next_child(20.0)
    child = agent.report_fill(child, 30, 100.5, now=21.0)
    child = agent.report_fill(child.id, 50, 101.0, now=22.0, mid=100.9)
    assert (child.filled, child.remaining) == (80, 20)
    assert child.vwap == pytest.approx((30 * 100.5 + 50 * 101.0) / 80)
    with pytest.raises(ValueError, match=r"quantity must be at most the remaining shares of child .* \(20\), got 21"):
        agent.report_fill(child, 21, 101.0)
    assert agent.children(parent)[0] == child  # nothing was booked
    agent.report_fill(child, 20, 101.0, now=23.0)
    with pytest.raises(ValueError, match=r"the remaining shares of child .* \(0\), got 1"):
        agent.report_fill(child, 1, 101.0)


def test_an_invalid_fill_is_refused_and_not_booked():
    for values, message in [
        ((0, 100.0), "quantity must be a whole number"), ((-1, 100.0), "quantity must be"), ((1.5, 100.0), "quantity must be"),
        ((1, 0.0), "price must be"), ((1, math.nan), "price must be"), ((1, -5.0), "price must be"),
        ((1, 100.0, None, math.nan), "mid must be"),
    ]:  # fmt: skip
        agent = _agent()
        parent = _parent()
        _cut(agent, parent)
        child = agent.get_next_child(20.0)
        with pytest.raises(ValueError, match=message):
            agent.report_fill(child, *values)
        assert agent.children(parent)[0] == child
        assert agent.status.working == 1


def test_a_fill_of_an_unknown_child_names_the_nearest_one():
    agent = _agent()
    _cut(agent, _parent(id="parent"))
    agent.get_next_child(20.0)
    with pytest.raises(ValueError, match="unknown child 'parnt/0'; did you mean 'parent/0'"):
        agent.report_fill("parnt/0", 1, 100.0)
    with pytest.raises(ValueError, match="unknown child"):
        agent.report_fill(ChildOrder(_parent(), 0, 10, 0.0), 1, 100.0)


def test_the_remaining_shares_of_a_cancelled_child_return_to_its_parent():
    agent = _agent(algorithm="TWAP")
    parent = _parent()
    _cut(agent, parent)
    child = agent.get_next_child(20.0)
    agent.report_fill(child, 10, 100.0)
    agent.cancel(child)
    assert sum(piece.quantity for piece in agent.children(parent)) == 1000
    assert [piece.quantity for piece in agent.children(parent)] == [10] + [110] * 9
    with pytest.raises(ValueError, match="nothing left to cancel"):
        agent.cancel(child)


def test_cancelled_shares_do_not_count_as_forced():
    agent = _agent(algorithm="TWAP", slices=1, max_participation_rate=0.1)
    _cut(agent, _parent(), portfolio={"X": Quote(100.0, 20.0)})
    child = agent.get_next_child(150.0)
    assert (child.quantity, child.forced) == (1000, 400)
    agent.report_fill(child, 300, 100.0, now=151.0)
    agent.cancel(child, now=152.0)
    assert [(piece.quantity, piece.forced) for piece in agent.children(child.parent)] == [(300, 300), (700, 0)]


def test_shares_cancelled_after_the_deadline_are_not_rescheduled():
    agent = _agent(algorithm="TWAP", slices=1)
    parent = _parent()
    _cut(agent, parent)
    child = agent.get_next_child(150.0)
    agent.cancel(child, now=300.0)  # before process() notices the deadline
    assert sum(piece.quantity for piece in agent.children(parent)) == 0
    agent.process(now=300.0)
    assert agent.report(parent).reason == "expired"


def test_shares_cancelled_after_the_last_child_become_a_new_child():
    agent = _agent(algorithm="TWAP", slices=2)
    _cut(agent, _parent())
    first, last = agent.get_next_child(75.0), agent.get_next_child(225.0)
    agent.report_fill(first, 500, 100.0)
    agent.report_fill(last, 400, 100.0)
    agent.cancel(last, now=250.0)
    again = agent.get_next_child(250.0)
    assert again.quantity == 100
    agent.report_fill(again, 100, 100.0, now=251.0)
    assert agent.get_reports()[0].reason == "filled"


def test_an_expired_order_is_closed_and_late_fills_update_its_report():
    agent = _agent(algorithm="TWAP")
    parent = _parent()
    _cut(agent, parent)
    working = agent.get_next_child(20.0)
    assert agent.process(now=299.9) == []
    assert agent.report(parent) is None
    agent.process(now=300.0)
    report = agent.report(parent)
    assert (report.reason, report.end) == ("expired", 300.0)
    assert agent.status[3:7] == (0, 0, 1, 1)
    agent.report_fill(working, 60, 100.0, now=300.5)  # a late fill is booked, and the report updated
    assert sum(child.filled for child in agent.report(parent).children) == 60
    assert agent.report(parent).reason == "expired"
    agent.cancel(working)
    assert agent.status.working == 0
    assert sum(child.quantity for child in agent.report(parent).children) == 60


def test_an_order_whose_deadline_has_passed_is_never_cut():
    agent = _agent()
    parent = _parent(deadline=-1.0)
    agent.submit_order(parent)
    assert agent.process() == []
    assert agent.report(parent).reason == "expired"
    assert agent.report(parent).children == ()


def test_an_order_expires_in_the_queue_of_a_paused_agent():
    agent = _agent()
    agent.pause()
    parent = _parent(deadline=10.0)
    agent.submit_order(parent, now=0.0)
    agent.process(now=100.0)
    assert agent.report(parent).reason == "expired"
    assert agent.status[3:7] == (0, 0, 0, 1)


def test_an_expired_order_ends_at_its_deadline_however_late_the_agent_notices():
    agent = _agent()
    first, second = _parent(), _parent()
    for parent in (first, second):
        agent.submit_order(parent)
    agent.process()
    assert agent.get_next_child(300.0) is None  # a late call closes it
    assert agent.get_next_child(200.0) is None  # a clock that runs backwards does not reopen it
    agent.process(now=86_400.0)
    assert {(report.reason, report.end) for report in agent.get_reports()} == {("expired", 300.0)}


def test_an_invalid_time_raises_and_changes_nothing():
    agent = _agent()
    parent = _parent()
    for call in (
        lambda now: agent.submit_order(parent, now=now),
        lambda now: agent.process(now=now),
        lambda now: agent.get_next_child(now),
        lambda now: agent.cancel(parent, now=now),
    ):
        for now in (math.nan, math.inf):
            with pytest.raises(ValueError, match=r"now must be a number in \[-1e\+15, 1e\+15\] seconds, got"):
                call(now)
    agent.submit_order(parent)
    assert len(agent.process()) == 10


def test_an_order_that_cannot_be_cut_does_not_block_other_orders(monkeypatch):
    agent = _agent()
    bad, good = _parent(algorithm="AC"), _parent(algorithm="TWAP")
    agent.submit_order(bad)
    agent.submit_order(good)
    monkeypatch.setitem(ALGORITHMS, "AC", lambda outlook: np.full(outlook.intervals, np.nan))
    with pytest.raises(ValueError, match="weights must sum to a positive number"):
        agent.process()
    assert agent.report(bad).reason == "failed"
    assert len(agent.process()) == 10


def test_stop_closes_queued_orders():
    agent = _agent()
    agent.submit_order(_parent())
    agent.stop()
    agent.start()
    assert agent.process() == []
    assert agent.status[3:7] == (0, 0, 0, 1)


def test_rescheduled_shares_get_a_new_child_id():
    agent = _agent(algorithm="TWAP", slices=1)
    _cut(agent, _parent())
    names = []
    for now in (150.0, 160.0, 170.0):
        child = agent.get_next_child(now)
        names.append(child.id)
        agent.report_fill(child, 100, 100.0, now=now)
        agent.cancel(child, now=now)
    assert len(set(names)) == 3
    assert sum(piece.quantity for piece in agent.children(child.parent)) == 1000


def test_a_filled_order_ends_at_the_time_of_its_last_fill():
    agent = _agent(algorithm="TWAP", slices=1)
    parent = _parent()
    _cut(agent, parent)
    agent.report_fill(agent.get_next_child(150.0), 1000, 100.0, now=151.5)
    assert (agent.report(parent).start, agent.report(parent).end) == (0.0, 151.5)


def test_the_volume_profile_starts_at_the_submission():
    agent = _agent(slices=4)
    parent = _parent(algorithm="VWAP", deadline=300.0, volume_profile=(8.0, 4.0, 2.0, 2.0))
    agent.submit_order(parent, now=0.0)
    children = agent.process(now=150.0)  # half of the day has passed
    assert [child.quantity for child in children] == [250, 250, 250, 250]
    assert children[0].schedule_time == 150.0 + 18.75


def test_marks_that_no_open_order_needs_are_dropped():
    agent = _agent()
    long = _parent(deadline=1e6)
    agent.submit_order(long, now=0.0)
    for now in range(3000):
        if now % 100 == 0:
            agent.submit_order(_parent(deadline=now + 50.0, id=f"short-{now}"), now=float(now))
        agent.process({"X": Quote(100.0, 1.0)}, now=float(now))
        if now == 1000:
            agent.cancel(long, now=1000.0)
    assert len(agent.report(long).marks) == 1001
    assert len(agent.report("short-2900").marks) == pytest.approx(52, abs=1)
    assert len(agent._marks.get("X", [])) < 1100


def test_marks_ascend_in_time_even_if_the_clock_runs_backwards():
    agent = _agent()
    parent = _parent()
    agent.submit_order(parent, now=0.0)
    for now in (0.0, 100.0, 50.0, 300.0):
        agent.process({"X": Quote(100.0, 10.0)}, now=now)
    assert [mark[::2] for mark in agent.report(parent).marks] == [(0.0, 0.0), (100.0, 1000.0), (100.0, 0.0), (300.0, 2000.0)]


def test_cancel_closes_queued_and_active_parents():
    agent = _agent()
    queued, active = _parent(), _parent()
    _cut(agent, active)
    agent.submit_order(queued)
    agent.cancel(queued)
    agent.cancel(active.id)
    assert [report.reason for report in agent.get_reports()] == ["cancelled", "cancelled"]
    assert agent.process() == []
    assert agent.get_next_child(299.0) is None
    with pytest.raises(ValueError, match="is closed: cancelled"):
        agent.cancel(active)
    with pytest.raises(ValueError, match="unknown child 'nothing'"):
        agent.cancel("nothing")


def test_cancel_distinguishes_a_child_from_a_parent_with_the_same_id():
    agent = _agent(algorithm="TWAP")
    first, second = _parent(id="a"), _parent(id="a/0")
    for parent in (first, second):
        agent.submit_order(parent)
    agent.process()
    child = agent.get_next_child(15.0)
    assert child.id == "a/0"
    agent.cancel(child)
    assert agent.report(second) is None
    agent.cancel("a/0")
    assert agent.report(second).reason == "cancelled"


def test_an_order_id_is_accepted_once():
    agent = _agent()
    parent = _parent()
    agent.submit_order(parent)
    for _ in range(2):
        with pytest.raises(ValueError, match="id must be new to the agent"):
            agent.submit_order(parent)
        agent.process()
    agent.cancel(parent)
    with pytest.raises(ValueError, match="id must be new to the agent"):
        agent.submit_order(parent)


def test_get_reports_forgets_orders_except_those_with_children_in_the_market():
    agent = _agent(algorithm="TWAP", slices=1)
    done, late = _parent(), _parent()
    for parent in (done, late):
        agent.submit_order(parent)
    agent.process()
    first, second = agent.get_next_child(150.0), agent.get_next_child(150.0)
    agent.report_fill(first, 1000, 100.0)
    agent.process(now=300.0)
    assert len(agent.get_reports()) == len(agent.get_reports(forget=True)) == 2
    assert [report.parent for report in agent.get_reports()] == [late]
    with pytest.raises(ValueError, match="unknown child"):
        agent.report_fill(first, 1, 100.0)
    agent.report_fill(second, 1000, 100.0)
    assert sum(child.filled for child in agent.get_reports(forget=True)[0].children) == 1000
    assert agent.get_reports() == []
    assert agent.status[3:7] == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="id must be new to the agent"):
        agent.submit_order(done)


@pytest.mark.parametrize("deadline", [10.0, 1e9])
def test_forgotten_orders_are_not_retained_until_their_times(deadline):
    agent = _agent(algorithm="TWAP")
    names = {f"forgotten-{number}" for number in range(50)}
    for name in names:
        agent.submit_order(_parent(id=name, deadline=deadline))
    kept = _parent(deadline=1e9)
    _cut(agent, kept)
    for name in names:
        agent.cancel(name)
    assert len(agent.get_reports(forget=True)) == 50
    found = [found for found in gc.get_objects() if type(found) is WorkingOrder and found.parent.id in names]
    assert found == []
    assert agent.get_next_child(1e8).parent == kept  # the orders that are open still trade and expire
    agent.process(now=1e9)
    assert agent.report(kept).reason == "expired"


# --- quotes, marks and status


def test_an_invalid_quote_is_named():
    for portfolio, message in [
        ({"X": Quote(0.0, 1.0)}, "mid of X must be"), ({"X": Quote(math.nan, 1.0)}, "mid of X must be"),
        ({"X": Quote(1.0, -1.0)}, "volume_rate of X must be"), ({"X": Quote(1.0, math.nan)}, "volume_rate of X must be"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            _agent().process(portfolio)


def test_no_quote_is_stored_if_one_is_invalid():
    agent = _agent()
    agent.submit_order(_parent())
    with pytest.raises(ValueError, match="mid of Y"):
        agent.process({"X": Quote(100.0, 1.0), "Y": Quote(-1.0, 1.0)})
    assert agent.status.queued == 1
    assert agent._quotes == {}
    assert agent._marks == {}


def test_an_unknown_regime_names_the_nearest_one():
    with pytest.raises(ValueError, match=r"regime must be one of .* got 'CRYSIS'; did you mean 'CRISIS'"):
        _agent().process(regime="CRYSIS")


def test_the_report_holds_the_marks_of_the_life_of_the_order():
    agent = _agent(algorithm="TWAP")
    parent = _parent()
    agent.submit_order(parent)
    for now, mid in ((0.0, 100.0), (100.0, 101.0), (200.0, 102.0), (300.0, 103.0)):
        agent.process({"X": Quote(mid, 10.0), "Y": Quote(5.0, 1.0)}, now=now)
    marks = tuple(mark[:3] for mark in agent.report(parent).marks)
    assert marks == ((0.0, 100.0, 0.0), (100.0, 101.0, 1000.0), (200.0, 102.0, 1000.0), (300.0, 103.0, 1000.0))
    assert agent.report(parent).plan[-1] == (285.0, 1000.0)


def test_volume_between_two_marks_uses_the_rate_quoted_at_the_first():
    agent = _agent()
    parent = _parent()
    agent.submit_order(parent)
    for now, rate in ((0.0, 10.0), (100.0, 50.0), (300.0, 7.0)):
        agent.process({"X": Quote(100.0, rate)}, now=now)
    assert [mark.volume for mark in agent.report(parent).marks] == [0.0, 1000.0, 10_000.0]


def test_each_order_has_the_marks_of_its_life_and_the_last_one_before():
    agent = _agent()
    early, late, next_day = _parent(deadline=400.0), _parent(deadline=300.0), _parent(deadline=9000.0)
    agent.submit_order(early, now=0.0)
    for now in (0.0, 50.0, 90.0):
        agent.process({"X": Quote(100.0 + now, 10.0)}, now=now)
    agent.submit_order(late, now=95.0)
    for now in (100.0, 200.0, 300.0):
        agent.process({"X": Quote(100.0 + now, 10.0)}, now=now)
    assert [mark.time for mark in agent.report(late).marks] == [90.0, 100.0, 200.0, 300.0]
    child = agent.get_next_child(300.0)
    agent.process({"X": Quote(500.0, 10.0)}, now=400.0)
    assert [mark.time for mark in agent.report(early).marks] == [0.0, 50.0, 90.0, 100.0, 200.0, 300.0, 400.0]
    assert agent._marks == {}  # no marks without open orders
    agent.submit_order(next_day, now=8000.0)
    agent.process({"X": Quote(700.0, 10.0)}, now=8000.0)
    agent.report_fill(child, 1, 500.0, now=8000.0)  # a late fill does not add the marks of another order
    assert agent.report(early).marks[-1].time == 400.0


def test_every_state_change_holds_the_lock(monkeypatch):
    agent = _agent()
    called, names = set(), {
        ExecutionAgent: (
            *("_store_quotes", "_start_order", "_release", "_close", "_report", "_update_report", "_record_latency", "_replan"),
            *("_find_child", "_queue_next_child", "_review", "_cancel_parent", "_add_mark"),
        ),
        WorkingOrder: ("begin", "plan", "carry_forward", "release", "book", "withdraw", "pending_children"),
    }  # fmt: skip

    def guarded(owner, name):
        inner = getattr(owner, name)

        def call(*values):
            assert agent._lock._is_owned(), name
            called.add(name)
            return inner(*values)

        monkeypatch.setattr(owner, name, call)

    for owner, methods in names.items():
        for name in methods:
            guarded(owner, name)
    first, second = _parent(), _parent()
    _cut(agent, first, portfolio={"X": Quote(100.0, 10.0)}, regime="CRISIS")
    child = agent.get_next_child(100.0)
    agent.report_fill(child, 1, 100.0)
    agent.cancel(child)
    agent.process(regime="BEAR_TRENDING")
    agent.children(first)
    last = agent.get_next_child(100.0)
    agent.cancel(first)
    agent.report_fill(last, 1, 100.0)
    agent.submit_order(second)
    agent.stop()
    assert called == {name for methods in names.values() for name in methods}


def test_process_count_and_mean_latency():
    agent = _agent()
    assert agent.avg_latency_ns == 0.0
    for _ in range(5):
        agent.process()
    assert agent.process_count == agent.status.process_count == 5
    assert 0.0 < agent.avg_latency_ns < 1e9
    assert agent.status.avg_latency_ns == agent.avg_latency_ns


def test_a_slow_call_takes_longer_than_the_limit_in_microseconds(monkeypatch):
    times = iter([0, 500_000, 0, 500_001])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(times))
    agent = _agent()
    agent.process()
    assert agent.status.slow_count == 0
    agent.process()
    assert agent.status.slow_count == 1
    assert agent.avg_latency_ns == 500_000.5


def test_slow_calls_are_counted_and_logged(caplog):
    agent = _agent(max_latency_us=1e-6, verbose=True)
    with caplog.at_level(logging.INFO, logger="hyperexec_env.execution"):
        _cut(agent, _parent())
    assert agent.status.slow_count == 1
    assert "process took" in caplog.text
    assert "into 10 children by Adaptive" in caplog.text


def test_an_invalid_setting_is_named():
    for field, value in [
        ("slices", 0), ("slices", 2.5), ("urgency", 1.5), ("urgency", math.nan), ("horizon_seconds", 0.0), ("algorithm", "TWP"),
        ("max_participation_rate", 0.0), ("max_participation_rate", 1.1), ("steganographic_factor", -0.1), ("kyle_lambda", 0.1),
        ("steganographic_factor", 1.1), ("temp_impact_beta", 0.0), ("name", ""), ("enabled", 1), ("day_seconds", 0.0),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"{field} must be"):
            ExecutionConfig(**{field: value})


# --- threads


def test_eight_threads_conserve_shares_and_orders():
    agent = ExecutionAgent(ExecutionConfig(horizon_seconds=1e6, slices=3, max_participation_rate=None), seed=1, clock=Clock())
    agent.start()
    clock, orders, threads = agent._clock, 3_200, 8
    fills, errors, submitted = [[] for _ in range(threads)], [], [0] * threads

    def work(number):
        rng = np.random.default_rng(number)
        try:
            while True:
                if submitted[number] < orders // threads:
                    for _ in range(25):
                        quantity = int(rng.integers(1, 1000))
                        agent.submit_order(_parent(quantity, id=f"{number}-{submitted[number]}", algorithm="TWAP"))
                        submitted[number] += 1
                agent.process(now=clock.now)
                for _ in range(100):
                    child = agent.get_next_child(clock.now + 9e5)
                    if child is None:
                        break
                    first = int(rng.integers(0, child.quantity + 1))
                    for shares in filter(None, (first, child.quantity - first)):
                        agent.report_fill(child, shares, 100.0, now=clock.now)
                        fills[number].append((child.id, shares))
                if sum(submitted) == orders and not agent.status.queued and not agent.status.active:
                    return
        except Exception as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(timeout=120.0)
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert not any(thread.is_alive() for thread in running)
    reports = agent.get_reports()
    assert len(reports) == len({report.parent.id for report in reports}) == orders
    assert all(report.reason == "filled" for report in reports)
    assert all(sum(child.filled for child in report.children) == report.parent.quantity for report in reports)
    assert sum(1 for lane in fills if lane) > 1  # more than one thread traded
    booked = sum(shares for lane in fills for _, shares in lane)
    assert booked == sum(report.parent.quantity for report in reports)
    assert len({name for lane in fills for name, _ in lane}) == sum(len(report.children) for report in reports)
    assert agent.status[3:7] == (0, 0, 0, orders)
