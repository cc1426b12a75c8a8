"""The report by venue: sums equal the order's, measures equal hand-computed ones, and unknown values say so."""

import json
import math

import numpy as np
import pytest

from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.quotes import Quote, VenueQuote
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.execution.tactics import Placement
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder

pytestmark = pytest.mark.fast

VENUES = (
    Venue("primary", "home", share=1.0, fee=0.003),
    Venue("pool", "dark", fee=0.001, adverse_bps=0.1),
    Venue("touch", "rest", fee=-0.002, adverse_bps=0.9),
)


def simulated(side=1, seed=0, **changes):
    """An order of ten minutes in a market that ticks, with fills of a crude broker; the report and the prices by second."""
    rng = np.random.default_rng(seed)
    config = ExecutionConfig(
        algorithm="TWAP", slices=6, horizon_seconds=600.0, max_participation_rate=None, steganographic_factor=0.0, **changes
    )
    agent = ExecutionAgent(config, seed=1, venues=VENUES, tactic=Placement("peg", takes=False), clock=lambda: 0.0)
    agent.start()
    agent.submit_order(ParentOrder(symbol="X", side=side, quantity=6000, arrival_price=100.0, id="p"), 0.0)
    mids, children = (100.0 + 0.01 * np.cumsum(rng.integers(-1, 2, 601))).tolist(), []
    for now, mid in enumerate(mids):
        book = VenueQuote(mid - 0.02, mid + 0.02)
        agent.process({"X": Quote(mid, 100.0, venues={"primary": book, "touch": book})}, now=float(now))
        while (child := agent.get_next_child(float(now))) is not None:
            children.append(child.id)
        for child in children:
            routing = agent.route(child, float(now))
            for sent, shares in routing.cancels:
                agent.cancel(sent, float(now), quantity=shares)
            for sent in agent.router.orders([child]):
                found = sent.remaining if sent.takes else min(sent.remaining, int(rng.integers(0, 60)))
                price = sent.price if sent.price is not None else mid
                if found:
                    agent.report_fill(sent, found, price, float(now), mid)
    return agent.report("p"), mids


@pytest.mark.parametrize("side", [1, -1])
def test_the_venues_sum_to_the_order(side):
    report, _ = simulated(side, fee_bps=1.0)
    assert [one.venue for one in report.venues] == list(dict.fromkeys(one.venue for one in report.venue_orders))
    assert sum(one.filled for one in report.venues) == report.filled == 6000
    assert sum(one.share for one in report.venues) == pytest.approx(report.fill_rate)
    assert sum(one.filled * one.average_price for one in report.venues) / report.filled == pytest.approx(report.average_price)
    broker = 1e-4 * sum(fill.quantity * fill.price for fill in report.fills)
    assert math.fsum(one.fees for one in report.venues) + broker == pytest.approx(report.fees)
    assert {name: cash for name, _, cash in report.cost_table}["fees"] == pytest.approx(report.fees)


@pytest.mark.parametrize("side", [1, -1])
def test_measures_are_those_of_their_formulas(side):
    report, mids = simulated(side)
    (rest,) = (one for one in report.venues if one.venue == "touch")
    fills = [(fill, sent) for sent in report.venue_orders if sent.venue == "touch" for fill in sent.fills]
    shares = np.array([fill.quantity for fill, _ in fills])
    improved = [1e4 * side * (sent.touch - fill.price) / sent.touch for fill, sent in fills]
    spread = [2e4 * side * (fill.price - mids[int(fill.time)]) / mids[int(fill.time)] for fill, _ in fills]
    assert rest.price_improvement_bps == pytest.approx(np.average(improved, weights=shares))
    assert rest.effective_spread_bps == pytest.approx(np.average(spread, weights=shares))
    assert rest.maker == 1.0
    assert rest.fees == pytest.approx(-0.002 * rest.filled)
    known = report.mids[-1][0]
    kept = [(fill, w) for (fill, _), w in zip(fills, shares, strict=True) if fill.time + 60.0 <= known]
    moved = [1e4 * side * (fill.price - report.mid_at(fill.time + 60.0)) / fill.mid for fill, _ in kept]
    assert rest.markout_bps[2] == pytest.approx(np.average(moved, weights=[w for _, w in kept]))
    (home,) = (one for one in report.venues if one.venue == "primary")
    assert home.price_improvement_bps == pytest.approx(0.0, abs=1e-9)  # takes at the touch
    assert home.fill_rate == 1.0
    assert math.isnan(home.fill_probability[0])


def test_the_fill_probability_counts_cancelled_orders_as_censored():
    report, _ = simulated(seed=4)
    (rest,) = (one for one in report.venues if one.venue == "touch")
    waits = [sent for sent in report.venue_orders if sent.venue == "touch"]
    assert rest.waiting.count == len(waits)
    assert len(rest.waiting.events) == sum(sent.complete for sent in waits)
    estimate, low, high = rest.fill_probability
    assert 0.0 <= low <= estimate <= high <= 1.0
    assert rest.orders == len(waits)


def test_json_and_text_show_the_venues():
    report, _ = simulated()
    plain = json.loads(report.to_json())
    assert [one["venue"] for one in plain["venues"]] == [one.venue for one in report.venues]
    assert set(plain["venues"][0]["markout_bps"]) == {"1", "10", "60", "300"}
    assert plain["fills"][0]["venue"] in {"primary", "touch", "pool"}
    lines = str(report).splitlines()
    row = next(line for line in lines if line.startswith("all "))
    assert row.split()[1:3] == ["6,000", "100.0"]


def test_without_venues_the_report_says_nothing_of_them():
    parent = ParentOrder(symbol="X", side=1, quantity=10, arrival_price=100.0, id="p")
    child = ChildOrder(parent, 0, 10, 0.0, 0.0, (Fill(1.0, 10, 100.1, 100.0),))
    report = ExecutionReport(parent, (child,), 0.0, 2.0, "filled")
    assert report.venues == ()
    assert "venues" not in report.to_dict()
    assert list(report.to_dict()["fills"][0]) == ["time", "quantity", "price", "mid"]
    assert "Improvement" not in str(report)


def test_fills_with_a_venue_are_reported_where_the_orders_are_not_known():
    parent = ParentOrder(symbol="X", side=1, quantity=30, arrival_price=100.0, id="p")
    fills = (Fill(1.0, 10, 100.1, 100.0, "A", "taker", 0.1), Fill(2.0, 20, 100.0, 100.0, "B"))
    report = ExecutionReport(parent, (ChildOrder(parent, 0, 30, 0.0, None, fills),), 0.0, 3.0, "filled")
    first, second = report.venues
    assert (first.venue, first.filled, first.fees, first.maker) == ("A", 10, 0.1, 0.0)
    assert first.effective_spread_bps == pytest.approx(20.0)
    assert math.isnan(second.maker)
    assert math.isnan(first.fill_rate)
    assert report.fees == pytest.approx(0.1)
