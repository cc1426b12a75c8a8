"""The desk at the touch: `touch-optimal` does what the solved table says, in every state that its episodes meet."""

import numpy as np
import pytest

from hyperexec_env.baselines.solver.touch import solve_touch
from hyperexec_env.baselines.touch_desk import TouchAgentPolicy, touch_tactic, touch_venues
from hyperexec_env.baselines.touch_policies import touch_policy
from hyperexec_env.evaluation.touch_rollout import rollout_touch
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.quotes import Quote, VenueQuote
from hyperexec_env.market.touch import build_touch
from hyperexec_env.market.touch_scenario import get_touch
from hyperexec_env.orders import ParentOrder

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", ["touch-5min", "touch-thin", "touch-queue"])
def test_the_desk_costs_what_the_optimum_costs_in_every_episode(name):
    market = build_touch(get_touch(name))
    desk, optimum = rollout_touch(market, [TouchAgentPolicy(), touch_policy("optimum")], 60, 3)
    assert desk.objective == pytest.approx(optimum.objective, abs=1e-12)
    assert desk.taken == pytest.approx(optimum.taken, abs=1e-12)
    spread = 4.0 * desk.objective.std(ddof=1) / np.sqrt(len(desk.objective))
    assert abs(desk.objective.mean() - solve_touch(name).optimum) < spread


def child_of(tactic, quantity, price=50.0):
    config = ExecutionConfig(algorithm="TWAP", slices=2, horizon_seconds=1200.0, steganographic_factor=0.0)
    agent = ExecutionAgent(config, seed=0, clock=lambda: 0.0, venues=touch_venues("touch-5min"), tactic=tactic)
    agent.start()
    agent.submit_order(ParentOrder(symbol="X", side=1, quantity=quantity, arrival_price=price, id="p"), 0.0)
    agent.process({"X": quote(price)}, now=0.0)
    return agent, agent.get_next_child(300.0)


def quote(mid, ahead=None):
    book = VenueQuote(mid - 0.005, mid + 0.005, ahead=ahead)
    return Quote(mid, venues={"market": book, "touch": book})


def test_a_child_joins_the_touch_follows_it_and_takes_the_rest_when_its_window_ends():
    agent, child = child_of(touch_tactic("touch-5min", patience=0.5), 6000)
    (resting,) = agent.route(child, 300.0).orders
    assert (resting.venue, resting.quantity) == ("touch", 3000)
    assert resting.price == pytest.approx(49.985)  # one tick deeper than the touch at 49.995
    assert agent.route(child, 302.0) == ((), ())  # the step is not over
    agent.process({"X": quote(50.01)}, now=305.0)  # the touch moved away
    ((cancel,), orders) = agent.route(child, 305.0)
    assert (cancel.order.id, cancel.quantity, orders) == (resting.id, 3000, ())
    agent.cancel(cancel.order, 305.0)
    (again,) = agent.route(child, 305.0).orders
    assert again.price == pytest.approx(49.995)
    agent.report_fill(again, 1000, again.price, 306.0)
    (cancel,) = agent.route(child, 600.0).cancels
    agent.cancel(cancel.order, 600.0)
    (taking,) = agent.route(child, 600.0).orders
    assert (taking.venue, taking.quantity) == ("market", 2000)


def test_a_child_with_more_lots_than_the_table_is_refused():
    agent, child = child_of(touch_tactic("touch-5min", patience=0.5), 300_000)
    with pytest.raises(ValueError, match=r"at most 20 lots of 1000, got 150"):
        agent.route(child, 300.0)
    assert agent.router.orders([child.id]) == ()
