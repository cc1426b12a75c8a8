"""A desk on a live feed: what it hears of a market, and a journal that replays to the same children."""

import json

import numpy as np
import pytest

from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.fill_rates import FillRates, HiddenOrder
from hyperexec_env.execution.journal import Feed, LiveDesk, replay_journal
from hyperexec_env.execution.tactics import TouchTable
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import ParentOrder


def order(**changes):
    given = {
        "symbol": "X",
        "side": 1,
        "quantity": 1_000,
        "arrival_price": 100.0,
        "deadline": 60.0,
        "algorithm": "VWAP",
        "id": "P",
    }
    return ParentOrder(**{**given, "volume_profile": (3.0, 1.0, 2.0), **changes})


def session(journal=None, seed=5):
    """A session of a minute: quotes and trades, an order of each side, fills in parts, a refused child, a cancelled order."""
    desk = LiveDesk(ExecutionConfig(max_participation_rate=0.5), seed=seed, volume_window=20.0, journal=journal)
    desk.quote("X", 99.99, 100.01, 0.0)
    desk.submit(order(), 0.0)
    desk.submit(order(side=-1, algorithm="Adaptive", id="Q", deadline=50.0, sessions=((0.0, 55.0),)), 0.5)
    released = []
    for second in range(60):
        desk.trade("X", 100.0 + 0.01 * (second % 3), 80 + second, float(second), side=(second % 2) - 1)
        desk.quote("X", 99.99 + 0.01 * (second % 7), 100.01 + 0.01 * (second % 7), second + 0.25)
        for child in desk.timer(second + 0.5, regime="CRISIS" if second == 20 else None):
            released.append((child.id, child.quantity))
            if len(released) % 5 == 4:
                desk.cancel(child.id, second + 0.6)
                continue
            half = child.quantity // 2
            for part in filter(None, (half, child.quantity - half)):
                desk.fill(child.id, part, 100.02, second + 0.7)
        if second == 40 and desk.is_open("Q"):
            desk.cancel("Q", second + 0.8)
    return desk, released, desk.stop(60.0)


def test_a_journal_replays_to_the_same_children_and_reports(tmp_path):
    path = tmp_path / "session.jsonl"
    desk, released, reports = session(path)
    assert len(released) > 12
    replayed = replay_journal(path)
    assert {name: child.quantity for name, child in replayed.children.items()} == {
        name: child.quantity for name, child in desk.children.items()
    }
    assert [report.shortfall for report in replayed.agent.get_reports()] == [report.shortfall for report in reports]
    assert [(event["id"], event["quantity"]) for event in events(path) if event["event"] == "child"] == released


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_drawn_seed_is_stored(tmp_path):
    _, first, _ = session(tmp_path / "a", seed=None)
    _, second, _ = session(tmp_path / "b", seed=None)
    assert first != second  # hidden by different jitter
    assert [(child.id, child.quantity) for child in replay_journal(tmp_path / "a").children.values()] != []


def test_a_changed_line_is_named(tmp_path):
    path = tmp_path / "session.jsonl"
    session(path)
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"child"' in line)
    event = json.loads(lines[at])
    lines[at] = json.dumps({**event, "quantity": event["quantity"] + 1}, separators=(",", ":"))
    with pytest.raises(ValueError, match=rf"the journal, line {at + 1}: the journal holds .*the replay releases"):
        replay_journal(lines)


def test_a_missing_child_is_named(tmp_path):
    path = tmp_path / "session.jsonl"
    session(path)
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"event":"child"' in line)
    with pytest.raises(ValueError, match=rf"line {at + 1}: the replay releases .*before it"):
        replay_journal(lines[:at] + lines[at + 1 :])


def test_a_torn_last_line_is_not_used(tmp_path):
    path = tmp_path / "session.jsonl"
    session(path)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    replayed = replay_journal(path)
    assert 0 < len(replayed.children) <= whole.count('"child"')


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no lines"),
        (["{"], "line 1: "),
        (['{"event":"quote"}'], "begins with its event 'start'"),
        (['{"event":"start"}'], "no field 'version'"),
        (["START", '{"event":"quotes"}'], "line 2: unknown event 'quotes'; did you mean 'quote'"),
        (["START", '{"event":"quote","time":1}'], "line 2: .*missing"),
        (["START", '{"event":"fill","time":1,"child":"P/0","quantity":1,"price":1}'], "line 2: unknown child"),
    ],
)
def test_a_faulty_journal_is_refused(lines, message):
    started = []
    LiveDesk(seed=1, journal=started.append)
    with pytest.raises(ValueError, match=message):
        replay_journal([started[0] if line == "START" else line for line in lines])


def test_a_journal_is_a_new_file(tmp_path):
    path = tmp_path / "session.jsonl"
    path.write_text("")
    with pytest.raises(ValueError, match="journal must be a new file"):
        LiveDesk(journal=path)
    with pytest.raises(ValueError, match="cannot be written"):
        LiveDesk(journal=tmp_path / "missing" / "session.jsonl")
    with pytest.raises(ValueError, match=r"no whole line$"):
        replay_journal(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="no whole line, only a torn one"):
        replay_journal(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="not text in UTF-8"):
        replay_journal(path)
    with pytest.raises(ValueError, match=r"cannot read the journal .*missing"):
        replay_journal(tmp_path / "missing")


def test_the_volume_rate_is_that_of_the_window():
    feed = Feed(window=10.0)
    assert feed.rate(0.0) is None
    feed.hear_quote(0.0, 10.0, 10.2)
    assert feed.rate(0.5) is feed.rate(5.0) is None
    for second in range(30):
        feed.hear_trade(float(second), 10.0, second, 0)
    assert feed.rate(29.0) == pytest.approx(sum(range(19, 30)) / 10.0)
    assert feed.rate(100.0) == 0.0
    assert feed.volume == sum(range(30))


def test_trades_without_a_side_are_signed_by_the_quote_rule():
    feed = Feed(window=10.0)
    feed.hear_trade(0.0, 10.0, 7, 0)  # before the first quote: no sign
    feed.hear_quote(1.0, 10.0, 10.2)
    for price, size, side in ((10.2, 5, 0), (10.0, 3, 0), (10.1, 100, 0), (10.0, 11, 1)):
        feed.hear_trade(2.0, price, size, side)
    assert feed.signed == 5 - 3 + 11


def test_a_crossed_or_one_sided_quote_leaves_the_mid():
    feed = Feed(window=10.0)
    feed.hear_quote(0.0, 10.0, 10.2)
    feed.hear_quote(1.0, 10.3, 10.2)
    feed.hear_quote(2.0, 0.0, 10.2)
    assert feed.mid == 10.1


VENUES = (
    Venue("primary", "home", share=0.7, fee=0.003),
    Venue("other", "lit", share=0.3, fee=-0.001),
    Venue("pool", "dark", fee=0.001),
    Venue("rest", "rest", fee=-0.002, adverse_bps=0.5),
)


def routed_session(journal, tactic):
    """A minute over venues: quotes by venue, fills in parts, rejections, and an order that is cancelled."""
    rates = FillRates()
    rates.tell("X", "pool", HiddenOrder(0.01, False, 3.0, False))
    config = ExecutionConfig(max_participation_rate=None, slices=6)
    desk = LiveDesk(config, seed=5, volume_window=20.0, journal=journal, venues=VENUES, tactic=tactic, fill_rates=rates)
    desk.submit(order(), 0.0)
    sent = []
    for second in range(60):
        at = 0.01 * (second % 5)
        for venue in ("primary", "other", "rest"):
            desk.quote("X", 99.99 + at, 100.01 + at, float(second), venue, 400, 300)
        desk.trade("X", 100.0 + at, 200, second + 0.1, side=1)
        desk.timer(second + 0.5)
        routing = desk.route(second + 0.5)
        for each, shares in routing.cancels:
            desk.cancel(each.id, second + 0.6, quantity=shares)
        for number, each in enumerate(routing.orders):
            sent.append((each.id, each.venue, each.quantity))
            if each.takes and number % 3 == 2:
                desk.cancel(each.id, second + 0.7, rejected=True)
            elif each.takes or len(sent) % 2:
                desk.fill(each.id, max(1, each.quantity // 2), 100.0 + at, second + 0.7, fee=0.01 if number else None)
            if each.takes and number % 3 != 2 and each.quantity > 1:
                desk.cancel(each.id, second + 0.8)
    return desk, sent, desk.stop(60.0)


@pytest.mark.parametrize("tactic", ["take", "peg", "cont-kukanov", "post-ahead"])
def test_a_journal_of_venues_replays_to_the_same_venue_orders(tmp_path, tactic):
    path = tmp_path / "session.jsonl"
    desk, sent, (report,) = routed_session(path, tactic)
    assert len({venue for _, venue, _ in sent}) > 1
    (replayed,) = replay_journal(path).agent.get_reports()
    assert replayed.venue_orders == report.venue_orders
    assert replayed.to_dict() == report.to_dict()
    assert report.filled == sum(one.filled for one in report.venues) > 0
    assert [(event["id"], event["venue"], event["quantity"]) for event in events(path) if event["event"] == "sent"] == sent
    assert desk.feed("X").mid == pytest.approx(100.04)
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"sent"' in line)
    lines[at] = lines[at].replace('"venue":"', '"venue":"un')
    with pytest.raises(ValueError, match=f"line {at + 1}: the journal holds"):
        replay_journal(lines)


def test_a_table_of_the_touch_is_stored_in_the_journal():
    table = TouchTable(np.zeros((2, 3, 4), np.int64), 5.0, 100.0, 0.01)
    lines = []
    LiveDesk(seed=1, journal=lines.append, venues=VENUES, tactic=table)
    again = replay_journal(lines).agent.router.tactic
    assert again.actions.tolist() == table.actions.tolist()
    assert (again.step_seconds, again.lot_shares, again.tick, again.patience) == (5.0, 100.0, 0.01, 1.0)


def test_a_desk_without_venues_writes_what_it_wrote(tmp_path):
    path = tmp_path / "session.jsonl"
    session(path)
    first, *rest = events(path)
    assert list(first) == ["event", "version", "seed", "volume_window", "config"]
    assert {tuple(event) for event in rest if event["event"] == "quote"} == {("event", "time", "symbol", "bid", "ask")}
    assert {tuple(event) for event in rest if event["event"] == "fill"} == {("event", "time", "child", "quantity", "price")}
