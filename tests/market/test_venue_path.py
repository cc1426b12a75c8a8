"""Paths with venues: draws that depend on nothing but the key, moving shares, and a price that stays a martingale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market.lane import EpisodeOrder, first_lane
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, draw, draw_path, next_slice
from hyperexec_env.market.venue import Venue
from hyperexec_env.market.venue_lane import numbers_of, stages_of
from hyperexec_env.market.venue_path import build_venues, draw_venue_path, venue_row, venue_slices
from hyperexec_env.market.venue_scenario import VenueScenario, get_venues
from hyperexec_env.records import map_leaves

DAY, PASSIVE = get_venues("venues-day"), get_venues("passive-day")


@pytest.mark.parametrize("name", ["venues-day", "passive-day", "kratz-schoneborn"])
def test_slices_drawn_one_by_one_are_those_of_the_path(name):
    market, keys = build_venues(get_venues(name)), episode_keys(3, np.arange(7))
    paths = draw_venue_path(market, keys, -1.0)
    whole, venues, stages = market.market, numbers_of(market), stages_of(market)
    numbers = whole.numbers
    start: World = map_leaves(lambda values: values[0], paths.path.world)
    order, lane = EpisodeOrder(keys, -1.0, 1e5, 1.0), first_lane(numbers, 1e5, start)
    state = stages.open(numbers, venues, order)
    nothing = stages.Asked(stages.Every(*[np.zeros(7)] * market.count), np.zeros(7))
    for k in range(market.slices):
        world, table = lane.world, whole.row(k, lane.world.regime)
        offers = stages.offer(numbers, venues, market.laws, table, order, lane)
        for mine, theirs in zip(offers.shares, paths.offers, strict=True):
            assert np.array_equal(np.broadcast_to(mine, 7), theirs[k])
        for mine, theirs in zip(state.weights, paths.weights, strict=True):
            assert np.array_equal(np.broadcast_to(mine, 7), theirs[k])
        slice, after = next_slice(numbers, -1.0, k, table, world, draw(whole, keys, k))
        lane, state, _ = stages.turn(
            numbers, venues, order, lane, state, slice, after, venue_row(market, world.regime), offers, nothing
        )
        if market.noisy:
            state = stages.weigh(numbers, venues, order, lane, state)
        assert np.array_equal(lane.world.price, paths.path.world.price[k + 1])


@pytest.mark.parametrize("name", ["venues-day", "passive-day"])
def test_only_home_carries_risk_and_price_moves(name):
    market = build_venues(get_venues(name))
    paths = draw_venue_path(market, episode_keys(3, np.arange(7)), 1.0)
    regime = paths.path.world.regime[:-1]
    home, *rest = venue_slices(paths.path.slices, [w[:-1] for w in paths.weights], paths.offers, venue_row(market, regime))
    assert np.array_equal(home.innovation, paths.path.slices.innovation)
    assert np.array_equal(home.risk, paths.path.slices.risk)
    for slice in rest:
        assert (slice.least, slice.drift, slice.innovation, slice.risk, slice.holding) == (0.0,) * 5


@pytest.mark.fast
def test_without_adverse_selection_the_market_is_that_without_venues():
    free = replace(DAY, venues=(*DAY.lit, replace(DAY.hidden[0], adverse_bps=0.0)))
    keys = episode_keys(1, np.arange(20))
    paths = draw_venue_path(build_venues(free), keys, 1.0).path
    plain = draw_path(build_venues(free).market, keys, 1.0)
    assert all(np.array_equal(a, b) for a, b in zip(paths.slices, plain.slices, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(paths.world, plain.world, strict=True))


@pytest.mark.fast
def test_shares_sum_to_one_and_stray_as_stated():
    market = build_venues(DAY)
    weights = np.stack(draw_venue_path(market, episode_keys(1, np.arange(2_000)), 1.0).weights)
    assert weights.sum(axis=0) == pytest.approx(1.0, abs=1e-12)
    assert (weights > 0.0).all()
    assert weights.mean(axis=(1, 2)) == pytest.approx([0.5, 0.3, 0.2], abs=0.01)
    log_ratio = np.log(weights[0] / weights[1])[:-1]
    assert log_ratio.std() == pytest.approx(0.3 * np.sqrt(2.0), rel=0.05)
    centred = log_ratio - log_ratio.mean()
    assert (centred[1:] * centred[:-1]).mean() / centred.var() == pytest.approx(0.8, abs=0.02)


@pytest.mark.fast
def test_hidden_liquidity_has_its_law_and_nothing_in_the_last_slice():
    market = build_venues(DAY)
    paths = draw_venue_path(market, episode_keys(1, np.arange(2_000)), 1.0)
    regime = paths.path.world.regime[:-1]
    expected = market.market.mean_volume[np.arange(market.slices)[:, None], regime]
    sizes = paths.offers[0] / expected
    law = DAY.hidden[0].law
    assert not sizes[-1].any()
    assert sizes[:-1].mean() == pytest.approx(0.01144, rel=0.05)
    assert (sizes[:-1] > 0.0).mean() == pytest.approx(law.found, abs=0.01)
    found = sizes[:-1] > 0.0
    assert (found[1:] & found[:-1]).mean() == pytest.approx(law.found**2, abs=0.01)  # it does not persist


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_adverse_selection_keeps_the_price_a_martingale(side):
    """The move that comes with liquidity is -a, without it the balance; given the past, the price does not drift."""
    strong = replace(DAY, venues=(*DAY.lit, replace(DAY.hidden[0], adverse_bps=40.0)))
    market = build_venues(strong)
    paths = draw_venue_path(market, episode_keys(5, np.arange(20_000)), side)
    moves = side * np.diff(paths.path.world.price, axis=0)[:-1]
    found = paths.offers[0][:-1] > 0.0
    for chosen, mean in ((found, -0.4), (~found, 0.4 * 0.3 / 0.7)):
        values = moves[chosen]
        assert abs(values.mean() - mean) < 4.0 * values.std() / np.sqrt(values.size)
    assert abs(moves.mean()) < 4.0 * moves.std() / np.sqrt(moves.size)
    after_a_fill = moves[1:][found[:-1]]
    assert abs(after_a_fill.mean()) < 4.0 * after_a_fill.std() / np.sqrt(after_a_fill.size)


def test_timing_has_mean_zero_for_a_policy_that_stops_when_it_is_filled():
    """If the price did not balance, a policy that posts early and stops after a fill would own a free option."""
    pool = replace(DAY.hidden[0], adverse_bps=40.0, liquidity={"law": "all-or-nothing", "chance": 0.5})
    scenario = VenueScenario(DAY.market, (Venue(name="home", share=1.0), pool)).with_market(slices=5)
    market, count = build_venues(scenario), 40_000
    keys = episode_keys(9, np.arange(count))
    paths = draw_venue_path(market, keys, 1.0)
    start: World = map_leaves(lambda values: values[0], paths.path.world)
    lane = map_leaves(lambda values: np.broadcast_to(values, count), first_lane(market.market.numbers, 2e5, start))
    numbers, venues, stages = market.market.numbers, numbers_of(market), stages_of(market)
    state = stages.open(numbers, venues, EpisodeOrder(keys, 1.0, 2e5, 1.0))
    for k in range(market.slices):
        lane = lane._replace(k=k)
        adverse = (0.0, *venue_row(market, paths.path.world.regime[k]).adverse)
        slices = [map_leaves(lambda values: values if np.ndim(values) == 0 else values[k], one) for one in paths.slices]  # noqa: B023
        world = map_leaves(lambda values: values[k + 1], paths.path.world)  # noqa: B023
        asked = [np.zeros(count), np.where(state.filled[1] == 0.0, 0.5 * lane.state.remaining, 0.0)]
        lane, state, _ = stages.book(numbers, venues, lane, state, slices, adverse, world, asked, asked[1])
    timing = lane.account.cost.timing
    assert abs(timing.mean()) < 4.0 * timing.std() / np.sqrt(count)
    assert state.adverse.mean() > 10.0 * timing.std() / np.sqrt(count)  # the test would see what it looks for
