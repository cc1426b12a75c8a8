"""The market at the touch: the queue, the draws, and the step."""

import math

import numpy as np
import pytest

from hyperexec_env.market import queue
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.touch import (
    AWAY,
    DEEP,
    DEEPER,
    JOIN,
    KEEP,
    NONE,
    NOWHERE,
    THROUGH,
    TOUCH,
    Draw,
    Place,
    all_places,
    build_touch,
    draw_step,
    place_index,
    turn,
    unwind,
)
from hyperexec_env.market.touch_scenario import TouchScenario, get_touch, touch_names

pytestmark = pytest.mark.fast

SCENARIO = TouchScenario(lots=9, queue=5, deeper_queue=2, outflow=1.5, move_probability=0.2, sweep_probability=0.1)
MARKET = build_touch(SCENARIO)
AT_BACK = Place(TOUCH, 5.0)


def step(left=9.0, place=AT_BACK, take=0.0, rest=KEEP, outflow=0.0, moved=0.0):
    return turn(MARKET, left, place, take, rest, Draw(outflow, moved))


@pytest.mark.parametrize(("outflow", "lots"), [(0.0, 0.0), (5.0, 0.0), (6.0, 1.0), (8.0, 3.0), (30.0, 4.0)])
def test_the_queue_serves_lots_in_their_order(outflow, lots):
    assert queue.filled(4.0, 5.0, outflow) == lots
    assert queue.advance(5.0, outflow, False, 7.0) == max(5.0 - outflow, 0.0)
    assert queue.advance(5.0, outflow, True, 7.0) == 7.0


def test_an_order_keeps_its_place_and_gives_it_up_when_it_joins_again():
    first = step(outflow=3.0)
    assert (first.left, first.place) == (9.0, Place(TOUCH, 2.0))
    assert step(place=first.place, outflow=3.0).filled == 1.0
    assert step(place=first.place, rest=JOIN, outflow=3.0).filled == 0.0
    assert step(place=first.place, rest=NONE, outflow=30.0).place == Place(NOWHERE, 0.0)
    assert step(place=Place(NOWHERE, 0.0), rest=KEEP, outflow=30.0).filled == 0.0


def test_a_move_away_puts_the_order_at_the_back_and_a_move_through_fills_it():
    assert step(place=Place(TOUCH, 1.0), moved=AWAY).place == AT_BACK
    swept = step(place=AT_BACK, moved=THROUGH)
    assert (swept.left, swept.filled, swept.place) == (0.0, 9.0, Place(NOWHERE, 0.0))
    assert swept.bill.rest == pytest.approx(9.0 * (SCENARIO.tick - SCENARIO.half_spread - SCENARIO.make_rebate))


def test_an_order_one_tick_deeper_waits_for_the_touch_and_comes_before_later_lots():
    deep = step(rest=DEEP, outflow=50.0)
    assert (deep.filled, deep.place) == (0.0, Place(DEEPER, 0.0))
    assert step(place=deep.place, moved=AWAY).place == Place(DEEPER, 0.0)
    reached = step(place=deep.place, moved=THROUGH)
    assert (reached.filled, reached.place) == (0.0, Place(TOUCH, 2.0))


def test_a_step_costs_what_the_equations_say():
    h, f, r, a = SCENARIO.half_spread, SCENARIO.take_fee, SCENARIO.make_rebate, SCENARIO.adverse
    done = step(take=3.0, outflow=7.0)
    assert (done.taken, done.filled, done.left) == (3.0, 2.0, 4.0)
    assert done.bill == pytest.approx((3 * (h + f), 9 * SCENARIO.impact, -2 * (h + r - a), 16 * SCENARIO.risk))
    assert sum(unwind(MARKET, 4.0)) == pytest.approx(4 * (h + f) + 16 * SCENARIO.impact)
    assert sum(unwind(MARKET, 0.0)) == 0.0
    assert sum(step(left=0.0, place=Place(NOWHERE, 0.0), outflow=9.0).bill) == 0.0


def test_takes_are_limited_to_the_largest_take_and_to_what_is_left():
    assert step(take=8.0).taken == SCENARIO.max_take
    assert step(left=2.0, take=5.0).taken == 2.0


def test_lots_are_conserved_and_arrays_are_numbers_to_the_last_bit():
    rng = np.random.default_rng(0)
    count = 400
    places = all_places(MARKET)
    chosen = rng.integers(0, len(places.level), count)
    left, take, rest = (
        rng.integers(1, 10, count).astype(float),
        rng.integers(0, 6, count).astype(float),
        rng.integers(0, 4, count),
    )
    draws = Draw(rng.integers(0, 9, count).astype(float), rng.integers(-1, 2, count).astype(float))
    together = turn(MARKET, left, Place(places.level[chosen], places.ahead[chosen]), take, rest, draws)
    assert (together.left + together.taken + together.filled == left).all()
    for i in range(count):
        place = Place(float(places.level[chosen[i]]), float(places.ahead[chosen[i]]))
        draw = Draw(float(draws.outflow[i]), float(draws.moved[i]))
        alone = turn(MARKET, float(left[i]), place, float(take[i]), int(rest[i]), draw)
        for name in ("left", "taken", "filled"):
            assert getattr(together, name)[i] == getattr(alone, name)
        assert tuple(part[i] for part in together.bill) == tuple(alone.bill)
        assert tuple(part[i] for part in together.place) == tuple(alone.place)


def test_the_index_of_a_place_is_its_position():
    assert place_index(MARKET, all_places(MARKET)).tolist() == list(range(SCENARIO.queue + 3))


@pytest.mark.parametrize("name", touch_names())
def test_draws_follow_the_law_that_the_solver_uses(name):
    market = build_touch(get_touch(name))
    mean = market.scenario.outflow
    law, numbers = market.outflow_law, np.arange(len(market.outflow_law))
    poisson = [math.exp(n * math.log(mean) - mean - math.lgamma(n + 1.0)) for n in numbers]
    assert law == pytest.approx(poisson, abs=1e-9)
    assert law.sum() == 1.0
    assert sum(chance for _, chance in market.move_law) == 1.0
    draws = draw_step(market, episode_keys(3, np.arange(4000)), np.arange(10)[:, None])
    error = 5.0 / math.sqrt(draws.outflow.size)
    assert np.bincount(draws.outflow.astype(int).ravel(), minlength=len(law)) / draws.outflow.size == pytest.approx(
        law, abs=error
    )
    for move, chance in market.move_law:
        assert (draws.moved == move).mean() == pytest.approx(chance, abs=error)


def test_a_draw_depends_on_seed_episode_and_step_only():
    keys = episode_keys(1, np.arange(50))
    whole = draw_step(MARKET, keys, np.arange(20)[:, None])
    late = draw_step(MARKET, keys[7:9], 13)
    assert whole.outflow[13, 7:9].tolist() == late.outflow.tolist()
    assert whole.moved[13, 7:9].tolist() == late.moved.tolist()


@pytest.mark.parametrize("name", touch_names())
def test_fills_and_moves_of_the_touch_leave_the_mid_without_drift(name):
    """A sweep costs the tick by which the mid falls, and sweeps are at most as frequent as moves away."""
    market = build_touch(get_touch(name))
    assert market.swept == pytest.approx(market.scenario.half_spread + market.scenario.make_rebate - market.scenario.tick)
    laws = dict(market.move_law)
    assert laws[THROUGH] <= laws[AWAY]
