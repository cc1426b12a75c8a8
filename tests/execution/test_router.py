"""The agent with venues conserves shares over random fills, rejections and cancellations, and keeps its schedule."""

import math
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.fill_rates import FillRates, HiddenOrder
from hyperexec_env.execution.online import OnlineEstimates
from hyperexec_env.execution.quotes import Quote, VenueQuote
from hyperexec_env.execution.tactics import TACTICS, Placement, TouchTable
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import ParentOrder, lots_of, shares_of

pytestmark = pytest.mark.fast

VENUES = (
    Venue("primary", "home", share=0.6, fee=0.003),
    Venue("inverted", "lit", share=0.4, fee=-0.001),
    Venue("pool", "dark", fee=0.001, adverse_bps=0.1),
    Venue("touch", "rest", fee=-0.002, adverse_bps=0.5),
)
CALM = {
    "steganographic_factor": 0.0,
    "max_participation_rate": None,
    "horizon_seconds": 100.0,
    "slices": 4,
    "algorithm": "TWAP",
}
T = 12.5  # release of the first of four children; a window of half an interval lasts 12.5 s


def quote(bid=99.99, ask=100.01, rate=1000.0, size=None, **venues):
    book = VenueQuote(bid, ask, size, size)
    return Quote(0.5 * (bid + ask), rate, venues={"primary": book, "inverted": book, "touch": book, **venues})


def agent_of(tactic="cont-kukanov", venues=VENUES, rates=None, **changes):
    agent = ExecutionAgent(
        ExecutionConfig(**{**CALM, **changes}), seed=1, clock=lambda: 0.0, venues=venues, tactic=tactic, fill_rates=rates
    )
    agent.start()
    return agent


def order(quantity=4000, side=1, **changes):
    return ParentOrder(**{"symbol": "X", "side": side, "quantity": quantity, "arrival_price": 100.0, "id": "p", **changes})


def released(agent, parent=None, quotes=None, at=T):
    agent.submit_order(parent or order(), 0.0)
    agent.process({"X": quotes or quote()}, now=0.0)
    return agent.get_next_child(at)


def routed_at(now):
    agent = agent_of()
    agent.route(released(agent), now)


def known_rates(pool=(), touch=()):
    """Fill rates of fills that were observed completely, in multiples of the market volume of a window."""
    rates = FillRates(optimism=0.0)
    for venue, sizes in (("pool", pool), ("touch", touch)):
        for size in sizes:
            rates.tell("X", venue, HiddenOrder(size, False, 10.0, False))
    return rates


class RoutedMachine(RuleBasedStateMachine):
    """Fills, cancels, rejects and routes in random order; every fill is booked independently of the agent."""

    @initialize(
        tactic=st.sampled_from([*TACTICS]), patience=st.sampled_from([0.3, 1.0]), lot=st.sampled_from([1, 0.1, 100]),
        lots=st.integers(1, 3000), side=st.sampled_from([1, -1]), complete=st.booleans(),
    )  # fmt: skip
    def begin(self, tactic, patience, lot, lots, side, complete):
        self.agent = agent_of(replace(TACTICS[tactic], patience=patience), complete=complete)
        self.parent = order(shares_of(lots, lot), side, lot_size=lot)
        self.lot, self.now, self.agent_now = lot, 0.0, 0.0
        self.agent.submit_order(self.parent, 0.0)
        self.booked, self.children = {}, []
        self.quotes = quote()

    @rule(seconds=st.sampled_from([0.0, 1.0, 9.0, 26.0]), move=st.integers(-2, 2), size=st.sampled_from([None, 0.0, 300.0]))
    def wait(self, seconds, move, size):
        self.now += seconds
        self.agent.process({"X": quote(99.99 + 0.01 * move, 100.01 + 0.01 * move, size=size)}, now=self.now)
        while (child := self.agent.get_next_child(self.now)) is not None:
            self.children.append(child.id)

    def venue_orders(self):
        return [one for one in self.agent.router.orders(self.children) if one.remaining]

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def route(self, data):
        child = data.draw(st.sampled_from(self.children))
        routing = self.agent.route(child, self.now)
        for cancel in routing.cancels:
            assert 0 < cancel.quantity <= self.agent.router.find(cancel.order).remaining
            if data.draw(st.booleans()):
                self.agent.cancel(cancel.order, self.now, quantity=cancel.quantity)
        assert all(sent.quantity > 0 and sent.child == child for sent in routing.orders)

    @precondition(lambda self: self.venue_orders())
    @rule(data=st.data(), part=st.floats(0.0, 1.0))
    def fill(self, data, part):
        sent = data.draw(st.sampled_from(self.venue_orders()))
        left = lots_of(sent.remaining, self.lot)
        lots = max(1, round(part * left))
        self.agent.report_fill(sent, shares_of(lots, self.lot), 100.0, self.now)
        self.booked[sent.venue] = self.booked.get(sent.venue, 0) + lots
        with pytest.raises(ValueError, match="quantity"):
            self.agent.report_fill(sent, shares_of(left + 1, self.lot), 100.0, self.now)

    @precondition(lambda self: self.venue_orders())
    @rule(data=st.data(), rejected=st.booleans())
    def end_order(self, data, rejected):
        sent = data.draw(st.sampled_from(self.venue_orders()))
        self.agent.cancel(sent, self.now, rejected=rejected)

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def cancel_child(self, data):
        child = data.draw(st.sampled_from(self.children))
        if any(one.id == child and one.remaining for one in self.agent.children(self.parent)):
            self.agent.cancel(child, self.now)
            assert not [one for one in self.venue_orders() if one.child == child]

    @invariant()
    def shares_are_conserved(self):
        if not hasattr(self, "agent"):
            return
        report = self.agent.report(self.parent)
        children = {one.id: one for one in self.agent.children(self.parent)}
        filled = 0
        for child in self.children:
            orders = self.agent.router.orders([child])
            record = children[child]
            in_venues = sum(lots_of(one.remaining, self.lot) for one in orders)
            of_venues = sum(lots_of(one.filled, self.lot) for one in orders)
            assert lots_of(record.filled, self.lot) == of_venues
            assert 0 <= in_venues <= lots_of(record.remaining, self.lot)
            assert sorted(fill for one in orders for fill in one.fills) == sorted(record.fills)
            filled += of_venues
        assert filled == sum(self.booked.values())
        assert sum(lots_of(one.quantity, self.lot) for one in children.values()) <= lots_of(self.parent.quantity, self.lot)
        if report is not None:
            assert lots_of(report.filled, self.lot) == filled
            by_venue = {}
            for one in report.venue_orders:
                by_venue[one.venue] = by_venue.get(one.venue, 0) + lots_of(one.filled, self.lot)
            assert {venue: lots for venue, lots in by_venue.items() if lots} == self.booked
            assert report.fees == pytest.approx(math.fsum(fill.fee for fill in report.fills), abs=1e-9)


TestRoutedMachine = RoutedMachine.TestCase
TestRoutedMachine.settings = hypothesis.settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_take_is_water_filled_over_the_lit_venues_with_fees():
    agent = agent_of("take", VENUES[:2])
    child = released(agent)
    routing = agent.route(child, T)
    assert [one.venue for one in routing.orders] == ["primary", "inverted"]
    assert sum(one.quantity for one in routing.orders) == child.quantity
    home, cheaper = (one.quantity for one in routing.orders)
    assert cheaper > 0.4 * (home + cheaper)  # more than its share of the volume
    assert all(one.price == 100.01 and one.touch == 100.01 and one.mid == 100.0 for one in routing.orders)
    assert agent.route(child, T) == ((), ())


def test_the_touch_is_the_best_price_of_all_quoted_venues():
    agent = agent_of("take", VENUES[:2])
    better = VenueQuote(99.995, 100.005)
    sent = agent.route(released(agent, quotes=quote(elsewhere=better)._replace(mid=None)), T).orders
    assert {(one.touch, one.mid, one.price) for one in sent} == {(100.005, 100.0, 100.01)}
    agent = agent_of("take", VENUES[:2])
    sent = agent.route(released(agent, order(side=-1), quotes=quote(elsewhere=better)), T).orders
    assert {(one.touch, one.price) for one in sent} == {(99.995, 99.99)}


def test_visible_size_limits_a_take_and_the_last_child_completes_at_home():
    agent = agent_of("take", VENUES[:2], slices=2)
    child = released(agent, quotes=quote(size=300.0), at=25.0)
    sent = agent.route(child, 25.0).orders
    assert [one.quantity for one in sent] == [300, 300]
    for one in sent:
        agent.report_fill(one, one.quantity, 100.01, T)
    assert agent.children("p")[0].remaining == child.quantity - 600
    assert sum(one.quantity for one in agent.route(child, 26.0).orders) == 600  # the book was refilled
    agent.process({"X": quote(size=300.0)}, now=75.0)
    last = agent.get_next_child(76.0)
    sent = agent.route(last, 76.0).orders
    assert [(one.venue, one.quantity) for one in sent] == [("primary", last.quantity - 300), ("inverted", 300)]


def test_a_rejection_goes_to_the_next_venue_and_a_partial_fill_to_the_rest():
    agent = agent_of("take", VENUES[:2])
    child = released(agent)
    home, other = agent.route(child, T).orders
    agent.report_fill(other, 100, 100.01, T)
    agent.cancel(other, T)  # immediate or cancel: what was not there comes back
    agent.cancel(home, T, rejected=True)
    again = agent.route(child, T).orders
    assert [(one.venue, one.quantity) for one in again] == [("inverted", child.quantity - 100)]
    agent.cancel(again[0], T, rejected=True)
    assert agent.route(child, T).orders == ()
    assert (
        sum(one.quantity for one in agent.route(child, T + 1.0).orders) == child.quantity - 100
    )  # all have rejected: try again


def test_peg_posts_everything_follows_the_touch_and_takes_the_rest():
    agent = agent_of("peg", (*VENUES[:2], VENUES[3]))
    child = released(agent)
    (resting,) = agent.route(child, T).orders
    assert (resting.venue, resting.price, resting.quantity, resting.window) == ("touch", 99.99, child.quantity, 12.5)
    agent.report_fill(resting, 100, 99.99, T + 2.0)
    agent.process({"X": quote(100.00, 100.02)}, now=T + 3.0)
    ((cancel,), orders) = agent.route(child, T + 3.0)
    assert (cancel.order.id, cancel.quantity, orders) == (resting.id, child.quantity - 100, ())
    agent.cancel(cancel.order, T + 3.0, quantity=cancel.quantity)
    (again,) = agent.route(child, T + 3.0).orders
    assert (again.price, again.quantity) == (100.00, child.quantity - 100)
    window_ends = child.released + 12.5
    (cancel,) = agent.route(child, window_ends).cancels
    agent.cancel(cancel.order, window_ends)
    takes = agent.route(child, window_ends).orders
    assert {one.venue for one in takes} == {"primary", "inverted"}
    assert sum(one.quantity for one in takes) == child.quantity - 100


def filled_at_the_deadline(agent, parent, quotes, tick, broker, halt=()):
    """Work an order by calls a tick apart; the lit venues fill, the hidden ones never do, a broker may confirm a call later."""
    agent.submit_order(parent, 0.0)
    children, number = [], 0
    while agent.report(parent) is None:
        now, number = number * tick, number + 1
        if number in halt:
            (agent.resume if number == halt[-1] else agent.pause)("X")
        agent.process({"X": quotes}, now=now)
        while (child := agent.get_next_child(now)) is not None:
            children.append(child.id)
        for child in children if agent.report(parent) is None else ():
            for _ in range(broker):
                routing = agent.route(child, now)
                for sent, shares in routing.cancels:
                    agent.cancel(sent, now, quantity=shares)
                for sent in routing.orders:
                    if sent.takes:
                        agent.report_fill(sent, sent.quantity, 100.01, now)
    return agent.report(parent).filled


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    tactic=st.sampled_from([*TACTICS]),
    algorithm=st.sampled_from(["TWAP", "VWAP", "IS", "AC"]),
    slices=st.integers(1, 8),
    patience=st.floats(0.3, 1.0),
    calls=st.floats(2.0, 40.0),
    horizon=st.floats(30.0, 600.0),
    jitter=st.sampled_from([0.0, 0.3, 1.0]),
    size=st.sampled_from([None, 2500.0]),
    broker=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
def test_an_order_completes_whenever_the_lit_venues_can_take_it(
    tactic, algorithm, slices, patience, calls, horizon, jitter, size, broker, seed
):
    """Each window has at least two calls; nothing that waits in a hidden venue until the deadline is lost."""
    placed = replace(TACTICS[tactic], patience=patience)
    agent = ExecutionAgent(
        ExecutionConfig(algorithm=algorithm, slices=slices, horizon_seconds=horizon, steganographic_factor=jitter),
        seed=seed, clock=lambda: 0.0, venues=VENUES, tactic=placed,
    )  # fmt: skip
    agent.start()
    tick = patience * horizon / slices / calls
    hypothesis.assume(tick < 0.2 * horizon / slices)  # a last child that is released between two calls has a third one
    assert filled_at_the_deadline(agent, order(), quote(size=size, rate=None), tick, broker) == 4000


@pytest.mark.parametrize("broker", [1, 2])
def test_a_window_that_would_end_within_a_call_of_the_deadline_ends_in_time(broker):
    """The last of four children is released at 88 s, and would wait until 99.75 s of 100 s."""
    agent = agent_of(Placement("peg", takes=False, patience=0.47), VENUES[:3])
    assert filled_at_the_deadline(agent, order(), quote(), 1.0, broker) == 4000
    last = agent.router.orders(["p/3"])
    assert [one.sent for one in last if one.takes] == [98.0 if broker == 2 else 99.0] * 2


def test_a_halt_is_no_pause_between_calls():
    """After a halt of 30 s with 20 s left the last child still waits until the end of its window."""
    agent = agent_of(Placement("peg", takes=False, patience=0.48), VENUES[:3], slices=1)
    assert filled_at_the_deadline(agent, order(), quote(), 1.0, 1, halt=(52, 82)) == 4000
    assert [one.sent for one in agent.router.orders(["p/0"]) if one.takes] == [99.0] * 2


def lit_fills(tactic, algorithm, jitter, seed, pool=None):
    """Work an order by calls a second apart, where the pool fills whole orders in some calls; return the fills by venue."""
    agent = ExecutionAgent(
        ExecutionConfig(algorithm=algorithm, slices=6, horizon_seconds=300.0, steganographic_factor=jitter),
        seed=seed, clock=lambda: 0.0, venues=VENUES[:3], tactic=tactic, fill_rates=known_rates(pool=[0.0, 0.05, 0.2]),
    )  # fmt: skip
    agent.router.rates.frozen = True
    agent.start()
    agent.submit_order(order(), 0.0)
    children, fills = [], {True: [], False: []}
    for now in range(300):
        agent.process({"X": quote()}, now=float(now))
        while (child := agent.get_next_child(float(now))) is not None:
            children.append(child.id)
        for child in children if agent.report("p") is None else ():
            routing = agent.route(child, float(now))
            for sent, shares in routing.cancels:
                agent.cancel(sent, float(now), quantity=shares)
            for sent in routing.orders:
                if sent.takes or (pool is not None and pool.random() < 0.3):
                    fills[sent.takes].append((now, sent.quantity))
                    agent.report_fill(sent, sent.quantity, 100.0, float(now))
    assert agent.report("p").filled == 4000
    return fills


@pytest.mark.parametrize("algorithm", ["TWAP", "VWAP", "IS", "AC"])
@pytest.mark.parametrize("patience", [0.5, 1.0])
def test_posting_ahead_keeps_the_pace_of_the_lit_venues(algorithm, patience):
    """Where the pool never fills, lit venues take the same shares at the same times, whatever was posted ahead."""
    for seed in range(3):
        plain, ahead = (
            lit_fills(Placement("x", reach=reach, patience=patience), algorithm, 0.3, seed)[True] for reach in (0.0, 1.0)
        )
        taken = [sum(shares for at, shares in fills if at <= now) for fills in (plain, ahead) for now in range(0, 300, 10)]
        assert taken[:30] == pytest.approx(taken[30:], abs=8)  # lots of later children are rounded anew


def test_posting_ahead_fills_more_in_pools_and_never_more_than_the_order():
    hidden = {}
    for reach in (0.0, 0.3, 1.0):
        runs = [lit_fills(Placement("x", reach=reach), "TWAP", 0.3, seed, np.random.default_rng(seed)) for seed in range(10)]
        hidden[reach] = sum(shares for fills in runs for _, shares in fills[False])
    assert hidden[0.0] < 0.8 * hidden[0.3] < 0.8 * hidden[1.0]


def test_lots_that_wait_ahead_return_to_the_later_children():
    agent = agent_of(Placement("x", reach=1.0), VENUES[:3], known_rates(pool=[0.2] * 9))
    first = released(agent)
    sent = {one.venue: one for one in agent.route(first, T).orders}
    assert sent["pool"].quantity == 4000 - sum(one.quantity for one in sent.values() if one.takes)
    assert [one.quantity for one in agent.children("p")] == [4000]
    agent.report_fill(sent["pool"], 1600, 100.0, T + 1.0)
    ((waiting, shares),) = agent.route(first, 2.0 * T).cancels
    agent.cancel(waiting, 2.0 * T, quantity=shares)
    assert agent.route(first, 2.0 * T).orders == ()
    own, *later = agent.children("p")
    assert own.remaining == sum(one.remaining for one in sent.values() if one.takes)
    assert sum(one.quantity for one in later) == 4000 - own.quantity
    assert len(later) == 3
    assert agent.status.working == (1 if own.remaining else 0)


def test_cont_kukanov_rests_more_where_orders_were_filled_more():
    def rested(sizes):
        agent = agent_of(Placement("cont-kukanov", penalty_bps=20.0), (*VENUES[:2], VENUES[3]), known_rates(touch=sizes))
        return sum(one.quantity for one in agent.route(released(agent), T).orders if one.venue == "touch")

    never, seldom, mostly = rested([0.0] * 10), rested([0.0] * 6 + [0.05] * 4), rested([0.0] + [0.05] * 9)
    assert never == 0 < seldom <= mostly


def test_a_pool_gets_no_more_than_it_was_seen_to_hold():
    """A pool that held 100 shares in nine of ten windows gets those 100; one that held nothing gets nothing."""
    volume = 12.5 * 1000.0
    agent = agent_of("take", VENUES[:3], known_rates(pool=[0.0] + [100.0 / volume] * 9))
    assert [one.quantity for one in agent.route(released(agent), T).orders if one.venue == "pool"] == [100]
    agent = agent_of("take", VENUES[:3], known_rates(pool=[0.0] * 9))
    assert [one for one in agent.route(released(agent), T).orders if one.venue == "pool"] == []


def test_hidden_orders_teach_the_fill_rates_once_they_end():
    agent = agent_of("peg", VENUES[:3])
    child = released(agent)
    (sent,) = agent.route(child, T).orders
    agent.report_fill(sent, 500, 100.0, T + 3.0)
    assert agent.router.rates.orders("X", "pool") == ()
    agent.cancel(sent, sent.sent + sent.window)
    (seen,) = agent.router.rates.orders("X", "pool")
    assert seen == HiddenOrder(500 / (12.5 * 1000.0), False, 12.5, False)
    other = agent_of("peg", VENUES[:3], rates=agent.router.rates)
    (sent,) = other.route(released(other), T).orders
    other.cancel(sent, T + 2.0)  # too early to say what the pool had
    assert [one.censored for one in other.router.rates.orders("X", "pool")] == [False, True]
    (sent,) = other.route("p/0", T + 3.0).orders
    other.report_fill(sent, sent.quantity, 100.0, T + 5.0)
    assert other.router.rates.orders("X", "pool")[-1] == HiddenOrder(sent.quantity / 12500.0, True, 2.0, True)


def test_fees_and_liquidity_are_those_of_the_venue_unless_reported():
    agent = agent_of("peg", VENUES[:3])
    child = released(agent)
    sent = {one.venue: one for one in agent.route(child, T).orders}
    agent.report_fill(sent["pool"], 10, 100.0, T)
    agent.report_fill(sent["pool"], 10, 100.0, T, fee=0.5, liquidity="taker")
    first, second = agent.children("p")[0].fills
    assert (first.venue, first.liquidity, first.fee) == ("pool", "maker", pytest.approx(0.01))
    assert (second.liquidity, second.fee) == ("taker", 0.5)
    with pytest.raises(ValueError, match="liquidity"):
        agent.report_fill(sent["pool"], 10, 100.0, T, liquidity="midway")
    with pytest.raises(ValueError, match="was routed"):
        agent.report_fill(child, 10, 100.0, T)
    assert len(agent.children("p")[0].fills) == 2


def test_a_child_that_no_venue_has_keeps_its_reported_fee_and_is_in_the_table():
    for agent in (agent_of(), agent_of(venues=())):
        first = released(agent)
        agent.report_fill(first, 10, 100.0, T, fee=2.5, liquidity="taker")
        assert agent.children("p")[0].fills[0][-2:] == ("taker", 2.5)
        with pytest.raises(ValueError, match="fee"):
            agent.report_fill(first, 1, 100.0, T, fee=math.nan)
    agent = agent_of("take")
    first, second = released(agent), agent.get_next_child(3 * T)
    agent.report_fill(first, 100, 100.0, 3 * T)
    for sent in agent.route(second, 3 * T).orders:
        agent.report_fill(sent, sent.quantity, 100.0, 3 * T)
    agent.cancel("p", 4 * T)
    report = agent.report("p")
    assert {one.venue: one.filled for one in report.venues}["not known"] == 100
    assert sum(one.filled for one in report.venues) == report.filled == 1100


@pytest.mark.parametrize("venues", [(), VENUES])
@pytest.mark.parametrize("part", [{"quantity": 10}, {"rejected": True}])
def test_a_part_of_a_child_or_a_parent_cannot_be_cancelled(venues, part):
    agent = agent_of(venues=venues)
    child = released(agent)
    for whole in (child, child.id, "p"):
        with pytest.raises(ValueError, match="of a venue order"):
            agent.cancel(whole, T, **part)
    assert agent.children("p")[0].remaining == 1000
    assert agent.report("p") is None


def test_a_closed_order_only_cancels_and_books_late_fills():
    agent = agent_of("peg", VENUES[:3])
    child = released(agent)
    (sent,) = agent.route(child, T).orders
    agent.cancel("p", T)
    routing = agent.route(child, T + 2.0)
    assert [(one.order.id, one.quantity) for one in routing.cancels] == [(sent.id, sent.quantity)]
    assert routing.orders == ()
    agent.report_fill(sent, 40, 100.0, T + 2.5)
    agent.cancel(sent, T + 3.0)
    report = agent.report("p")
    assert report.filled == 40
    assert [one.cancelled for one in report.venue_orders] == [sent.quantity - 40]
    agent.cancel(child, T + 3.0)
    agent.get_reports(forget=True)
    assert agent.router.find(sent) is None


def test_nothing_is_routed_during_a_halt_or_outside_of_sessions():
    agent = agent_of("take", VENUES[:2])
    child = released(agent)
    agent.pause("X")
    assert agent.route(child, T) == ((), ())
    agent.resume("X")
    agent.pause()
    assert agent.route(child, T) == ((), ())
    agent.resume()
    assert sum(one.quantity for one in agent.route(child, T).orders) == child.quantity
    agent = agent_of("take", VENUES[:2])
    child = released(agent, order(sessions=((0.0, 20.0), (40.0, 120.0)), deadline=100.0), at=10.0)
    assert agent.route(child, 30.0) == ((), ())
    assert len(agent.route(child, 40.0).orders) == 2


@pytest.mark.parametrize(("liquidity", "counts"), [(None, 0), ("taker", 1)])
def test_a_fill_that_waited_is_no_evidence_on_the_cost_of_taking(liquidity, counts):
    learned = OnlineEstimates("regime-day")
    agent = ExecutionAgent(
        ExecutionConfig(**CALM), clock=lambda: 0.0, venues=VENUES[:3], tactic="peg", estimates={"X": learned}
    )
    agent.start()
    child = released(agent)
    (sent,) = agent.route(child, T).orders
    agent.report_fill(sent, 10, 100.0, T, 100.0, liquidity=liquidity)
    assert (learned._open.traded, learned._open.fills) == (10, counts)


@pytest.mark.parametrize("algorithm", ["TWAP", "VWAP", "IS", "Adaptive", "POV", "AC"])
def test_venues_do_not_change_the_children(algorithm):
    """With or without venues, a child that fills at once leaves the same schedule and the same report of prices."""
    outcomes = []
    for venues in ((), VENUES[:2]):
        agent = ExecutionAgent(
            ExecutionConfig(slices=6, horizon_seconds=100.0), seed=3, clock=lambda: 0.0, venues=venues, tactic="take"
        )
        agent.start()
        agent.submit_order(order(algorithm=algorithm, expected_volume=1e5), 0.0)
        for now in range(101):
            agent.process({"X": quote()}, "SIDEWAYS_LOW", float(now))
            while (child := agent.get_next_child(float(now))) is not None:
                pieces = agent.route(child, float(now)).orders if venues else [child]
                for piece in pieces:
                    agent.report_fill(piece, piece.quantity, 100.01, float(now), 100.0)
        report = agent.report("p")
        outcomes.append(([(c.number, c.quantity, c.released) for c in report.children], report.shortfall, report.filled))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][1:] == pytest.approx(outcomes[1][1:], rel=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: agent_of(venues=VENUES[1:]), ValueError, "begin with the one venue of kind home"),
        (lambda: agent_of(venues=("primary",)), ValueError, "list of Venue"),
        (lambda: agent_of("pegg"), ValueError, "peg"),
        (lambda: agent_of("touch-optimal"), ValueError, "touch_tactic"),
        (lambda: agent_of(Placement("peg", patience=0.0)), ValueError, "patience"),
        (lambda: agent_of(Placement("peg", reach=1.5)), ValueError, "reach must be a number in"),
        (lambda: agent_of(venues=VENUES[0]), ValueError, "list of Venue"),
        (lambda: agent_of(None), ValueError, "tactic must be"),
        (lambda: agent_of(Placement), ValueError, "tactic must be"),
        (lambda: agent_of(Placement("peg", takes="no")), ValueError, "takes"),
        (lambda: agent_of(Placement("touch-optimal")), ValueError, "needs the table of a touch scenario"),
        (lambda: agent_of(Placement(3)), ValueError, "name must be printable text"),
        (lambda: agent_of(TouchTable(np.zeros((1, 2, 3), int), 1.0, 100.0, 0.01, patience=7.0)), ValueError, "patience"),
        (lambda: agent_of(rates={}), ValueError, "fill_rates"),
        (lambda: agent_of().route("p/0", 0.0), ValueError, "unknown child"),
        (lambda: agent_of().route(None, 0.0), ValueError, "unknown child"),
        (lambda: routed_at("x"), ValueError, "now must be a number"),
        (lambda: routed_at(math.nan), ValueError, "now must be a number"),
        (lambda: released(agent_of(), quotes=quote(pool=None)), ValueError, "pool of X must be a VenueQuote"),
        (lambda: released(agent_of(), quotes=Quote(100.0, venues=[VENUES[0]])), ValueError, "venues of X must be a mapping"),
        (lambda: ExecutionAgent().route("p/0", 0.0), RuntimeError, "without venues"),
        (lambda: released(agent_of(), quotes=quote(pool=VenueQuote(100.0, 99.0))), ValueError, "ask of X in pool"),
        (lambda: released(agent_of(), quotes=quote(pool=VenueQuote(share=1.5))), ValueError, "share of X in pool"),
    ],
)
def test_a_bad_value_is_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("name", [*TACTICS])
def test_a_placement_has_the_values_of_its_name_unless_they_are_given(name):
    assert Placement(name) == TACTICS[name]
    assert Placement(name, patience=0.9) == replace(TACTICS[name], patience=0.9)
    assert Placement(name, takes=False, rests=True, reach=0.1) == replace(Placement("own", takes=False, reach=0.1), name=name)


def test_shares_wait_where_the_market_is_quieter_than_expected():
    """With the volume that the parent expected the child takes nearly all; in a tenth of it, waiting is worth more."""
    sizes = [0.0] * 9 + [1e-3]  # a pool that hardly ever has anything

    def taken(rate):
        agent = agent_of("take", VENUES[:3], known_rates(pool=sizes))
        child = released(agent, order(expected_volume=100_000.0), quotes=quote(rate=rate))
        return sum(one.quantity for one in agent.route(child, T).orders if one.takes) / child.quantity

    assert taken(1000.0) > 0.8
    assert taken(100.0) < 0.5 * taken(1000.0)
    assert taken(4000.0) >= taken(1000.0)


def test_the_volume_that_an_order_expects_follows_its_profile():
    agent = agent_of("take", VENUES[:2])
    agent.submit_order(order(expected_volume=1000.0, volume_profile=(1.0, 3.0)), 0.0)
    agent.process({"X": quote()}, now=0.0)
    working = agent._active["p"]
    assert [working.expected_volume(now) for now in (0.0, 37.5, 50.0)] == pytest.approx([125.0, 250.0, 375.0])
