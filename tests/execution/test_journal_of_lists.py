"""A list on a live feed: kept in balance, and a journal that replays to the same children, after a kill too."""

import json

import pytest

from hyperexec_env.cli.journal import Args, main
from hyperexec_env.execution.basket_order import BasketOrder
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.journal import LiveDesk, replay_journal
from hyperexec_env.orders import ParentOrder

MARKET = {"ABC": (1, 6_000, 50.0), "DEF": (-1, 2_000, 100.0), "XYZ": (-1, 9_000, 20.0)}


def leg(symbol, **changes):
    side, quantity, price = MARKET[symbol]
    given = {"side": side, "quantity": quantity, "arrival_price": price, "adv": 1e6, "volatility": 0.02, "deadline": 60.0}
    return ParentOrder(symbol=symbol, id=f"L-{symbol}", **{**given, **changes})


def a_list(**changes):
    given = {"id": "L", "correlation": ((1.0, 0.5, 0.3), (0.5, 1.0, 0.4), (0.3, 0.4, 1.0)), "max_imbalance": 20_000.0}
    return BasketOrder(orders=tuple(map(leg, MARKET)), **{**given, **changes})


def begin(journal=None, **changes):
    desk = LiveDesk(ExecutionConfig(max_participation_rate=0.5, slices=8), seed=5, volume_window=20.0, journal=journal)
    hear(desk, 0)
    desk.submit(a_list(**changes), 0.0)
    return desk


def hear(desk, second):
    for number, (symbol, (_, quantity, price)) in enumerate(MARKET.items()):
        at = price * (1.0 + 1e-4 * ((second + number) % 5))
        desk.quote(symbol, at - 0.01, at + 0.01, float(second))
        traded = 10 if symbol == "XYZ" and second < 25 else quantity // 10  # XYZ is thin at first, and holds the others back
        desk.trade(symbol, at, traded, second + 0.1, side=1)


def trade(desk, seconds):
    """Trade some seconds: fills in parts, and a child that the market refuses; return the children."""
    released = []
    for second in seconds:
        hear(desk, second)
        for child in desk.timer(second + 0.5):
            released.append((child.id, child.quantity))
            if second == 30:
                desk.cancel(child.id, second + 0.6)
                continue
            half = child.quantity // 2
            for part in filter(None, (half, child.quantity - half)):
                desk.fill(child.id, part, MARKET[child.symbol][2], second + 0.7)
    return released


@pytest.mark.parametrize("algorithm", ["IS", "TWAP"])
@pytest.mark.parametrize("imbalance", ["currency", "risk"])
def test_a_list_in_a_journal_replays_to_the_same_children_and_reports(tmp_path, algorithm, imbalance):
    path = tmp_path / "session.jsonl"
    desk = begin(path, algorithm=algorithm, imbalance=imbalance)
    assert desk.is_open("L")
    assert desk.is_open("L-DEF")
    released = trade(desk, range(61))
    desk.stop(61.0)
    assert not desk.is_open("L")
    assert not desk.is_open("L-DEF")
    report = desk.agent.basket_report("L")
    assert {child.split("/")[0] for child, _ in released} == {"L-ABC", "L-DEF", "L-XYZ"}
    assert report.fill_rate == 1.0
    again = replay_journal(path)
    assert again.lists == {"L": a_list(algorithm=algorithm, imbalance=imbalance)}
    assert again.agent.basket_report("L").to_dict() == report.to_dict()
    assert [(name, child.quantity) for name, child in again.children.items()] == [
        (name, child.quantity) for name, child in desk.children.items()
    ]


def test_the_desk_keeps_a_list_in_balance():
    largest = []
    for limit in (20_000.0, None):
        desk = begin(max_imbalance=limit)
        trade(desk, range(61))
        desk.stop(61.0)
        largest.append(desk.agent.basket_report("L").largest_imbalance())
    assert largest[0] <= 20_000.0 < largest[1]


@pytest.mark.parametrize("second", [7, 29, 44])
def test_a_desk_from_the_journal_of_a_killed_session_goes_on_as_the_session_would(tmp_path, second):
    path = tmp_path / "session.jsonl"
    desk = begin(path)
    trade(desk, range(second))
    with path.open("a") as file:
        file.write('{"event":"quo')  # torn by the kill
    restarted = replay_journal(path)
    assert restarted.is_open("L")
    assert trade(restarted, range(second, 61)) == trade(desk, range(second, 61)) != []
    reports = [one.stop(61.0) and one.agent.basket_report("L").to_dict() for one in (restarted, desk)]
    assert reports[0] == reports[1]


def test_a_list_that_is_refused_leaves_the_journal_as_it_was():
    lines = []
    desk = LiveDesk(ExecutionConfig(max_participation_rate=None, slices=8), seed=5, journal=lines.append)
    hear(desk, 0)
    with pytest.raises(ValueError, match="volatility of DEF must be a positive number"):
        desk.submit(BasketOrder(orders=(leg("ABC"), leg("DEF", volatility=None)), id="bad"), 0.0)
    assert not desk.is_open("bad")
    desk.submit(a_list(), 0.0)
    released = trade(desk, range(61))
    assert list(replay_journal(lines).children) == [name for name, _ in released]  # the same jitter


def test_a_list_is_cancelled_as_all_its_orders(tmp_path):
    path = tmp_path / "session.jsonl"
    desk = begin(path)
    trade(desk, range(20))
    desk.cancel("L", 20.5)
    assert not desk.is_open("L")
    desk.stop(20.6)
    report = desk.agent.basket_report("L")
    assert {each.reason for each in report.reports} == {"cancelled"}
    assert replay_journal(path).agent.basket_report("L").to_dict() == report.to_dict()


def test_the_command_prints_the_report_of_a_list(tmp_path):
    path = tmp_path / "session.jsonl"
    desk = begin(path)
    trade(desk, range(20))
    assert "0 of 1 lists closed" in main(Args(journal=str(path))).text
    desk.stop(20.5)
    report = main(Args(journal=str(path)))
    assert "3 orders closed; 1 of 1 lists closed" in report.text
    assert "list of 3 orders" in report.text
    assert report.plain["lists"] == [json.loads(json.dumps(desk.agent.basket_report("L").to_dict()))]


def test_a_faulty_list_of_a_journal_is_named():
    lines = []
    begin(lines.append)
    at = next(number for number, line in enumerate(lines) if '"list"' in line)
    lines[at] = lines[at].replace('"deadline":60.0', '"deadline":50.0', 1)
    with pytest.raises(ValueError, match=rf"line {at + 1}: deadline .*one horizon"):
        replay_journal(lines)
