"""Orders on a live feed: a policy sees the situations of the environment, and rests and refusals find their way back."""

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.live import LiveOrders, PolicyOrder
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.journal import LiveDesk, replay_journal
from hyperexec_env.market.hidden import chain_of, later_law
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.orders import ParentOrder

QUIET = {"max_participation_rate": None, "steganographic_factor": 0.0}


class Whole:
    """Trade a changing number of whole shares; remember what was seen."""

    name = "whole"

    def __init__(self, follows_regimes=False):
        self.seen, self.follows_regimes = [], follows_regimes

    def act(self, situation):
        self.seen.append(situation)
        left = situation.market.slices - situation.k
        pace = 1.0 + 0.3 * np.sin(3.0 * situation.k)
        return situation.remaining if left == 1 else np.floor(pace * situation.remaining / left)


LIVE = ["regime-day", "flow-signal", "obizhaeva-wang", "gatheral-schied", "unknown-volume", "unknown-drift", "unknown-impact"]


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("name", "follows"), [*((name, False) for name in LIVE), *((name, True) for name in LIVE if not name.startswith("unknown"))]
)
def test_a_policy_on_a_feed_sees_the_situations_of_the_environment(name, follows, side):
    """The market of an episode, fed as quotes, trades and fills, gives the situations of the episode."""
    base = replace(get_scenario(name), side=side, quantity=10_000.0, slices=8, predator=0.0)
    market, policy = build_market(base), Whole(follows)
    path = draw_path(market, episode_keys(3, np.arange(1)), float(side))
    roll(market, policy, path)
    expected, live, names = policy.seen, Whole(follows), base.regimes.names

    desk = LiveDesk(ExecutionConfig(slices=1, **QUIET), seed=0)
    seconds = 60.0 * base.horizon_minutes / base.slices
    parent = ParentOrder(symbol="X", side=side, quantity=10_000, arrival_price=base.arrival_price, deadline=8 * seconds, id="P")
    order = PolicyOrder(desk, live, base, parent, 0.0)
    assert order.market.scenario == base
    desk.feed("X")
    for k, wanted in enumerate(expected):
        displacement = float(wanted.permanent[0] + wanted.transient[0])
        desk.feed("X").mid = float(wanted.price[0]) + side * displacement
        order.timer(k * seconds, names[int(path.world.regime[k, 0])])
        assert desk.timer(k * seconds) == []
        (child,) = desk.timer((k + 0.6) * seconds)
        later = expected[k + 1] if k + 1 < len(expected) else None
        desk.fill(child.id, child.quantity, 1.0 if later is None else float(later.last_price[0]), (k + 0.7) * seconds)
        volume = float(path.slices.volume[k, 0])
        row, slopes = market.row(k, int(path.world.regime[k, 0])), market.numbers
        slope = slopes.permanent_slope + slopes.transient_slope
        unit = slopes.by_flow * row.step_volatility * slopes.arrival_price / slope if slope else 0.0
        signed = float(path.world.flow[k + 1, 0]) * unit
        desk.feed("X").volume += volume
        desk.feed("X").signed += signed
    order.timer(8 * seconds)
    assert order.is_over
    assert all(sum(seen[-6:]) == pytest.approx(float(follows), abs=1e-12) for seen in live.seen)
    for k, (seen, wanted) in enumerate(zip(live.seen, expected, strict=True)):
        for field in seen._fields[1:]:
            if field == "flow" and (k == 0 or not market.numbers.by_flow):
                continue  # before the first slice nothing was heard; and a flow that moves no price has no unit
            assert getattr(seen, field) == pytest.approx(float(np.squeeze(getattr(wanted, field))), rel=1e-9, abs=1e-9), (
                k,
                field,
            )


@pytest.mark.parametrize("how", ["in time", "late", "without trades", "without a regime"])
def test_only_slices_that_were_observed_from_start_to_end_are_evidence(how):
    scenario, live = {"base": "regime-day", "slices": 4, "unknown": {"volume_level_sd": 0.4, "drift_sd": 0.02}}, Whole()
    desk = LiveDesk(ExecutionConfig(slices=1, **QUIET), seed=0)
    parent = ParentOrder(symbol="X", side=1, quantity=400, arrival_price=100.0, deadline=40.0, id="P")
    order = PolicyOrder(desk, live, get_scenario(scenario), parent, 0.0)
    for time in (0.0, 20.0, 30.0) if how == "late" else (0.0, 10.0, 20.0):
        desk.quote("X", 99.99, 100.01, time)
        if how != "without trades":
            desk.trade("X", 100.0, 50_000, time)
        order.timer(time, None if how == "without a regime" and not time else "CRISIS")
    prior, now, _ = live.seen
    assert (prior.level_variance, prior.drift_variance) == pytest.approx((0.16, 4e-4))
    assert bool(now.level_variance < prior.level_variance) == (how == "in time")
    assert bool(now.drift_variance < prior.drift_variance) == (how == "in time")


@pytest.mark.parametrize("how", ["in time", "late", "without trades", "without a regime"])
def test_the_probabilities_of_the_regimes_move_without_evidence_where_a_slice_was_not_observed(how):
    live, desk = Whole(follows_regimes=True), LiveDesk(ExecutionConfig(slices=1, **QUIET), seed=0)
    parent = ParentOrder(symbol="X", side=1, quantity=400, arrival_price=100.0, deadline=40.0, id="P")
    order = PolicyOrder(desk, live, get_scenario({"base": "regime-day", "slices": 4}), parent, 0.0)
    for time in (0.0, 20.0, 30.0) if how == "late" else (0.0, 10.0, 20.0):
        desk.quote("X", 99.99, 100.01, time)
        if how != "without trades":
            desk.trade("X", 100.0, 50_000, time)
        order.timer(time, None if how == "without a regime" else "CRISIS")
    chain, now = chain_of(order.market), live.seen[1]
    forecast = later_law(chain, chain.start)
    if now.k == 2:
        forecast = later_law(chain, forecast)
    heard = how in ("in time", "without a regime")
    assert (now[-6:] == pytest.approx(tuple(forecast), rel=1e-12)) == (not heard)
    assert sum(now[-6:]) == pytest.approx(1.0, rel=1e-12)


def test_an_order_without_an_exact_filter_of_its_regimes_is_refused():
    desk = LiveDesk(ExecutionConfig(slices=1, **QUIET), seed=0)
    parent = ParentOrder(symbol="X", side=1, quantity=400, arrival_price=100.0, deadline=40.0, id="P")
    with pytest.raises(ValueError, match="the filter of the regimes needs a scenario without unknowns"):
        PolicyOrder(desk, Whole(follows_regimes=True), get_scenario("unknown-drift"), parent, 0.0)


def started(**changes):
    desk = LiveDesk(ExecutionConfig(**{"slices": 4, **QUIET, **changes}), seed=1)
    desk.quote("X", 99.99, 100.01, 0.0)
    return desk, LiveOrders(desk)


def wish(orders, time=0.0, quantity=400, **wishes):
    order = {"symbol": "X", "side": 1, "quantity": quantity, "arrival_price": 100.0, "id": "P"}
    orders.accept_wishes(order, {"strategy": "TWAP", "horizon_seconds": 40, **wishes}, time)
    assert orders.timer(time) == []


def test_a_rest_is_sent_again_until_it_is_filled():
    desk, orders = started()
    wish(orders)
    (child,) = orders.timer(5.0)
    desk.fill(child.id, 30, 100.01, 5.0)
    orders.come_back(child.id, 5.0)
    (again,) = orders.timer(6.0)
    assert (again.id, again.remaining) == (child.id, 70)
    desk.fill(child.id, 70, 100.02, 6.0)
    assert orders.timer(7.0) == []
    assert orders.over() == []


def test_a_refused_child_returns_to_its_order():
    desk, orders = started()
    wish(orders)
    (child,) = orders.timer(5.0)
    orders.come_back(child.id, 5.0, refused=True)
    left = [item.quantity for item in desk.agent.children("P") if item.released is None]
    assert sum(left) == 400
    assert desk.children[child.id].remaining == 0


def test_the_rest_of_an_expired_order_returns_to_it():
    desk, orders = started()
    wish(orders)
    children = [child for second in range(40) for child in orders.timer(float(second))]
    assert sum(child.quantity for child in children) == 400
    for child in children[:-1]:
        desk.fill(child.id, child.quantity, 100.01, 39.0)
    orders.come_back(children[-1].id, 39.5)
    assert orders.timer(41.0) == []
    assert orders.over() == ["P"]
    orders.close("P", 41.0)
    report = desk.agent.report("P")
    assert (report.reason, report.filled, report.unfilled, len(orders)) == ("expired", 300, 100, 0)
    assert desk.children[children[-1].id].remaining == 0


def test_a_late_rest_returns_at_once():
    desk, orders = started()
    wish(orders)
    (child,) = orders.timer(5.0)
    orders.close("P", 6.0)
    orders.come_back(child.id, 7.0)
    assert desk.children[child.id].remaining == 0
    assert desk.agent.report("P").reason == "cancelled"


def test_a_policy_never_orders_more_than_the_venue_may_still_fill():
    """Children of a slice that is over stay at the venue: their shares are not ordered a second time."""
    desk, orders = started(slices=1)
    scenario = {"base": "almgren-chriss", "slices": 4, "quantity": 400}
    wish(orders, strategy="TWAP", scenario=scenario)
    sent = [child for second in range(41) for child in orders.timer(float(second))]
    assert sum(child.quantity for child in sent) == 400
    for child in sent:
        desk.fill(child.id, child.quantity, 100.0, 41.0)
    orders.timer(42.0)
    assert orders.over() == ["P"]


def test_a_session_with_a_policy_replays():
    lines = []
    desk = LiveDesk(ExecutionConfig(slices=2, max_participation_rate=None), seed=1, journal=lines.append)
    desk.quote("X", 99.99, 100.01, 0.0)
    orders = LiveOrders(desk)
    wish(orders, strategy="optimum", scenario={"base": "obizhaeva-wang", "slices": 4})
    for second in range(42):
        for child in orders.timer(float(second)):
            desk.fill(child.id, child.quantity, 100.01, float(second))
    assert orders.over() == ["P"]
    assert sum(child.filled for child in desk.children.values()) == 400
    assert replay_journal(lines).children == desk.children


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"strategy": "TWOP"}, "strategy must be one of .*did you mean 'TWAP'"),
        ({"horizon": 3}, "parameter must be one of .*horizon_seconds"),
        ({"horizon_seconds": 0}, r"horizon_seconds must be .* got 0"),
        ({"urgency": "much"}, "urgency must be a number"),
        ({"strategy": "optimal", "scenario": "regime-day"}, "unknown policy 'optimal'"),
        ({"scenario": "regime-dya"}, "unknown scenario 'regime-dya'"),
        ({"scenario": {"day_minutes": 390, "start_minute": 390.0, "horizon_minutes": 1}}, "start_minute"),
    ],
)
def test_a_wrong_wish_is_refused(wishes, message):
    _, orders = started()
    with pytest.raises(ValueError, match=message):
        wish(orders, **wishes)
    assert len(orders) == 0


def test_the_optimum_needs_the_regime_where_there_are_several():
    _, orders = started()
    regimes = {"names": ["BULL_TRENDING", "CRISIS"]}
    with pytest.raises(ValueError, match="must observe the regime"):
        wish(orders, strategy="optimum", scenario={"base": "almgren-chriss", "slices": 4, "regimes": regimes})


def test_an_order_without_time_is_refused():
    order = ParentOrder(symbol="X", side=1, quantity=1, arrival_price=1.0, deadline=5.0)
    desk, _ = started()
    with pytest.raises(ValueError, match="deadline must be after the start"):
        PolicyOrder(desk, Whole(), get_scenario("regime-day"), order, 5.0)
    work = PolicyOrder(desk, Whole(), get_scenario("regime-day"), order, -55.0)
    assert work.market.scenario.horizon_minutes == 1.0
