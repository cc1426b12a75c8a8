"""Child orders at the touch in hftbacktest: its queue, its sweeps, and a market in which predicted and obtained must agree."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "hftbacktest", reason="needs the extra `hftbacktest`, in an environment of its own (docs/explanation/touch.md)"
)

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from touch_orders import QUEUES, Engine, Setting, Trader, compare, measure, settings  # noqa: E402 - a script beside the package
from touch_tape import Tape, events, measured, mirrored, scenario_of  # noqa: E402

from hyperexec_env.baselines.touch_policies import touch_policy, touch_policy_names  # noqa: E402
from hyperexec_env.market.touch import build_touch  # noqa: E402

DATA = Path(os.environ.get("HYPEREXEC_DATA", ROOT.parent / "shared" / "data"))
SECOND = 1_000_000_000
QUEUE = 3


def tape(bids, sells=(), size=QUEUE):
    """A tape of (second, bid) and of sales (second, price, lots): one cent wide, `size` lots of one share on both sides.

    A sale at the bid takes its lots from the size, which others restore at once behind everybody.
    """
    quotes = [(time, bid, size) for time, bid in bids]
    for time, price, lots in sells:
        bid = next(bid for start, bid in reversed(bids) if start <= time)
        if price == bid:
            quotes += [(time, bid, size - lots), (time + 1e-6, bid, size)]
    quotes.sort(key=lambda quote: quote[0])
    times, bid, sizes = (np.array(column, float) for column in zip(*quotes, strict=True))
    trades = np.array(sells, float).reshape(-1, 3)
    return Tape(
        name="made",
        time=np.round(times * SECOND).astype(np.int64),
        bid=bid,
        bid_size=sizes,
        ask=np.round(bid + 0.01, 2),
        ask_size=np.full(len(bid), float(size)),
        trade_time=np.round(trades[:, 0] * SECOND).astype(np.int64),
        price=trades[:, 1],
        size=trades[:, 2],
        seller=np.ones(len(trades), bool),
        increment=0.01,
        smallest=1.0,
        late=0,
    )


def engine_of(made, queue="trades only"):
    return Engine(made, events(made), queue, 1.0)


def test_the_engine_quotes_the_tape():
    """Levels that a worse best price leaves behind are gone, however often the best price came back."""
    rng = np.random.default_rng(0)
    bids = [(float(second), 100.0 + 0.01 * int(step)) for second, step in enumerate(rng.integers(-3, 4, 200).cumsum())]
    for made in (tape([*bids, (201.0, 100.0)]), mirrored(tape([*bids, (201.0, 100.0)]))):
        engine = engine_of(made)
        for at, time in enumerate(made.time):
            engine.wait(int(time) + 1)
            assert engine.quotes == pytest.approx((made.bid[at], made.bid_size[at], made.ask[at]))
        engine.close()


@pytest.mark.parametrize("queue", QUEUES)
def test_an_order_is_filled_by_what_comes_past_the_queue(queue):
    """Three lots stand ahead; the lots of an order that is partly filled are not counted again by the next trade."""
    sells = [(1.5, 100.0, 2.0), (2.5, 100.0, 2.0), (3.5, 100.0, 1.0), (4.5, 99.99, 1.0)]
    engine = engine_of(tape([(0.0, 100.0), (9.0, 100.0)], sells), queue)
    engine.wait(SECOND)
    number, passed = engine.rest(100.0), []
    for second in (2, 3, 4, 5):
        engine.wait(second * SECOND)
        passed.append(engine.passed(number))
    assert passed == [0.0, 1.0, 2.0, np.inf]  # the last trade is below the price of the order
    assert engine.rest(100.01) == 0  # it would take
    engine.close()


def _market(lots=4, steps=10, **changes):
    """A market that the tapes of these tests measure: one share a lot, a step of a second."""
    facts = measured(tape([(0.0, 100.0), (99.0, 100.0)], [(1.0, 100.0, 1.0)]), 0, 90 * SECOND, SECOND, 1.0)
    given = {"name": "made", "lots": lots, "lot": 1.0, "steps": steps, "step": SECOND, "ahead": 0.0, "fees": (3e-5, -2e-5)}
    scenario = scenario_of(facts, **given, urgency=0.0, increment=0.01)
    return build_touch(replace(scenario, **changes))


def _order(name, made, start=1, **changes):
    """Return what an order that begins after some seconds costs, in half-spreads per lot without the fees."""
    market, engine = _market(**changes), engine_of(made)
    order = Trader(touch_policy(name), market, made, engine).trade(start * SECOND)
    engine.close()
    return order


def test_taking_pays_half_the_spread_and_the_fee():
    for made in (tape([(0.0, 100.0), (99.0, 100.0)]), mirrored(tape([(0.0, 100.0), (99.0, 100.0)]))):
        order, mid = _order("take-at-once", made), 0.5 * (made.bid[0] + made.ask[0])
        assert order.cost == pytest.approx(1e4 * 0.005 / mid + 0.3, rel=1e-3)
        assert (order.rested, order.shortfall) == (0.0, pytest.approx(order.cost))


def test_resting_earns_it_and_a_fall_of_the_mid_costs_it():
    sells = [(2.5, 100.0, 3.0), (3.5, 100.0, 3.0), (4.5, 100.0, 3.0)]
    order = _order("join-and-wait", tape([(0.0, 100.0), (99.0, 100.0)], sells))
    assert (order.rested, order.swept) == (1.0, 0.0)
    assert order.cost == pytest.approx(-1e4 * 0.005 / 100.005 - 0.2, rel=1e-3)
    swept = _order("join-and-wait", tape([(0.0, 100.0), (4.6, 99.9), (99.0, 99.9)], [(4.5, 99.95, 1.0)]))
    assert (swept.rested, swept.swept) == (1.0, 1.0)
    assert swept.cost == pytest.approx(1e4 * (100.0 - 99.905) / 100.005 - 0.2, rel=1e-3)


def test_an_order_follows_the_touch_away_and_joins_its_back():
    """At 101 the order joins behind three lots: the sale of three fills nobody, the next one two lots."""
    sells = [(4.5, 101.0, 3.0), (5.5, 101.0, 2.0)]
    order = _order("join-and-wait", tape([(0.0, 100.0), (2.5, 101.0), (99.0, 101.0)], sells))
    assert order.rested == 0.5
    assert order.shortfall == pytest.approx(
        1e4 * (0.5 * (101.0 - 100.005) + 0.5 * (101.01 - 100.005)) / 100.005 + 0.05, rel=1e-3
    )


def _even_tape(seconds=3000, mean=1.2, seed=0):
    """A tape in which the touch stays, and sales of one lot come evenly: the market that the model assumes."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(1.0, seconds - 1.0, rng.poisson(mean * seconds)))
    return tape([(0.0, 100.0), (float(seconds), 100.0)], [(float(time), 100.0, 1.0) for time in times])


def test_predicted_and_obtained_agree_where_the_market_is_that_of_the_model():
    made = _even_tape()
    setting = Setting(made, 4, 1.0, 10, SECOND, (3e-5, -2e-5), 60 * SECOND, 0)
    names = [name for name in touch_policy_names() if name != "random"]
    report = compare(replace(setting, tape=_two_sided(made)), "trades only", names)
    facts = report.facts[0]
    assert (facts.queue, facts.rises, facts.sweeps, facts.adverse) == pytest.approx((QUEUE, 0.0, 0.0, 0.0), abs=1e-3)
    assert facts.burst == pytest.approx(1.0, abs=0.15)
    assert {row.policy for row in report.rows} == set(names)
    for row in report.rows:
        half = 0.5 * (row.high - row.low) + 1e-3
        assert abs(row.obtained - row.predicted) < 1.5 * half, row
        assert row.by_tape == pytest.approx(row.predicted, abs=0.01)
        assert abs(row.rested_obtained - row.rested) < 0.06, row


class Trained:
    """A network that was trained to take everything at once."""

    name, training_seed = "net", 3

    def __init__(self, scenario_hash):
        self.about = {"scenario_hash": scenario_hash}

    def act(self, situation):
        return touch_policy("take-at-once").act(situation)


def test_a_trained_policy_trades_in_the_scenario_of_its_training_only():
    made = _two_sided(_even_tape(600))
    setting = Setting(made, 4, 1.0, 10, SECOND, (3e-5, -2e-5), 60 * SECOND, 0)
    own, other = Trained(measure(setting, "trades only").scenario.hash), Trained("another")
    report = compare(setting, "trades only", ["take-at-once", own])
    named, trained = report.rows if report.rows[0].policy == "take-at-once" else report.rows[::-1]
    assert trained == named._replace(policy="net (seed 3)")
    assert [row.policy for row in compare(setting, "trades only", ["take-at-once", other]).rows] == ["take-at-once"]


def _two_sided(made):
    """The tape with the same trades on its other side."""
    order = np.argsort(np.concatenate([made.trade_time, made.trade_time]), kind="stable")
    both = {
        "trade_time": np.concatenate([made.trade_time, made.trade_time])[order],
        "price": np.concatenate([made.price, np.full(len(made.price), made.ask[0])])[order],
        "size": np.concatenate([made.size, made.size])[order],
        "seller": np.concatenate([made.seller, ~made.seller])[order],
    }
    return replace(made, ask_size=made.bid_size, **both)


@pytest.mark.skipif(not (DATA / "lobster").is_dir(), reason="real books: set HYPEREXEC_DATA to the folder that holds lobster/")
def test_what_takes_costs_on_a_real_book_what_was_measured():
    """The sides of the tape pay the same spread; an order that never rests costs the measured half-spread and fee."""
    setting = settings(DATA)[0]
    report = compare(setting, "trades only", ["take-at-once", "join-and-wait"])
    taken = next(row for row in report.rows if row.policy == "take-at-once")
    half_spread, price = report.facts[1].half_spread, report.facts[1].price
    risk = taken.predicted - 1e4 * (report.scenario.half_spread + report.scenario.take_fee) / report.scenario.arrival_price
    assert taken.low < 1e4 * (half_spread + report.scenario.take_fee) / price + risk < taken.high
    assert taken.rested_obtained == 0.0
