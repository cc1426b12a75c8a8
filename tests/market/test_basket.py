"""The step of a basket: the kernel, coupled; and the correlated worlds that its assets meet."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.market.basket import Coupling, Products, basket_move, basket_turn, products
from hyperexec_env.market.basket_path import begin_basket, build_basket, draw_basket_path, draw_basket_slice
from hyperexec_env.market.basket_scenario import BasketScenario, get_basket
from hyperexec_env.market.kernel import Cost, Impact, Slice, State, move
from hyperexec_env.market.lane import Asked, first_lane, turn
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, begin, draw_path, draw_slice
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.records import map_leaves

pytestmark = pytest.mark.fast

HEDGED = build_basket(get_basket("basket-hedged"))
DAY = build_basket(get_basket("basket-day"))


def hands(market, seed, lanes=None):
    """Random states, slices and trades of a basket, as floats or as arrays over lanes."""
    rng = np.random.default_rng(seed)

    def number(low, high):
        return float(rng.uniform(low, high)) if lanes is None else rng.uniform(low, high, lanes)

    states, slices, shares = [], [], []
    for each in market.markets:
        price, quantity = each.scenario.arrival_price, each.scenario.quantity
        states.append((number(0.5, 1.0) * quantity, number(0.0, 1e-3) * price, number(0.0, 1e-3) * price))
        volume, scale, risk = number(0.5, 1.5) * each.numbers.slice_volume, number(0.01, 0.02) * price, float(each.risk[0, 0])
        slices.append((volume, 0.0, math.inf, scale, 1e-4 * price, number(0.5, 0.9), 0.0, number(-1.0, 1.0), risk, 0.0))
        shares.append(number(0.0, 0.4) * quantity)
    return states, slices, shares


@pytest.mark.parametrize("seed", range(3))
def test_the_coupled_kernel_is_the_matrix_equation(seed):
    states, slices, shares = hands(HEDGED, seed)
    after, costs = basket_move(HEDGED.impacts, HEDGED.coupling, states, slices, shares)
    permanent, transient, correlation = (np.array(rows) for rows in HEDGED.coupling)
    left, before, displaced = (np.array(column) for column in zip(*states, strict=True))
    volume, _, _, scale, spread, decay, _, innovation, risk, _ = (np.array(column) for column in zip(*slices, strict=True))
    n = np.array(shares)
    x, root = left - n, np.sqrt(risk)
    cost = Cost(*np.array(costs).T)
    assert cost.permanent == pytest.approx(n * (before + permanent @ n / 2.0), rel=1e-12)
    assert cost.transient == pytest.approx(n * (displaced + transient @ n / 2.0), rel=1e-12)
    assert cost.temporary == pytest.approx(scale * n * (n / volume) ** 0.5, rel=1e-12)
    assert cost.spread == pytest.approx(spread * n, rel=1e-12)
    assert cost.timing == pytest.approx(innovation * x, rel=1e-12)
    assert cost.risk.sum() == pytest.approx((root * x) @ correlation @ (root * x), rel=1e-12)
    found = np.array(after).T
    assert found[0] == pytest.approx(x, rel=1e-12)
    assert found[1] == pytest.approx(before + permanent @ n, rel=1e-12)
    assert found[2] == pytest.approx(decay * (displaced + transient @ n), rel=1e-12)


def test_floats_and_lanes_agree_to_the_last_bit():
    states, slices, shares = hands(DAY, 5, lanes=7)
    after, costs = basket_move(DAY.impacts, DAY.coupling, states, slices, shares)
    for lane in range(7):

        def one(values):
            return [tuple(float(v[lane]) if isinstance(v, np.ndarray) else v for v in row) for row in values]  # noqa: B023

        alone, paid = basket_move(DAY.impacts, DAY.coupling, one(states), one(slices), [float(n[lane]) for n in shares])
        assert alone == one(after)
        assert paid == one(costs)


def test_the_order_of_the_assets_does_not_matter():
    states, slices, shares = hands(HEDGED, 6)
    order = [3, 1, 0, 9, 8, 7, 2, 4, 6, 5]
    turned = Coupling(*(np.array(rows)[np.ix_(order, order)].tolist() for rows in HEDGED.coupling))
    after, costs = basket_move(HEDGED.impacts, HEDGED.coupling, states, slices, shares)
    chosen = ([values[i] for i in order] for values in (HEDGED.impacts, states, slices, shares))
    impacts, *others = chosen
    found, paid = basket_move(impacts, turned, *others)
    assert np.array(found) == pytest.approx(np.array(after)[order], rel=1e-12)
    assert np.array(paid) == pytest.approx(np.array(costs)[order], rel=1e-12, abs=1e-9)


def test_a_basket_of_one_is_the_kernel_to_the_last_bit():
    single = build_basket(get_basket("regime-day"))
    states, slices, shares = hands(single, 7, lanes=100)
    after, costs = basket_move(single.impacts, single.coupling, states, slices, shares)
    alone, paid = move(build_market(get_scenario("regime-day")).impact, states[0], slices[0], shares[0])
    assert all(np.array_equal(a, b) for a, b in zip(after[0], alone, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(costs[0], paid, strict=True))


def signed_trip(coupling, trades):
    """Cost of trades of both signs, without spread, temporary impact and risk; one row per slice."""
    slice = Slice(1.0, -math.inf, math.inf, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    count = len(coupling.permanent)
    impacts = [Impact(coupling.permanent[i][i], coupling.transient[i][i], 1.0) for i in range(count)]
    states, total = [State(0.0, 0.0, 0.0)] * count, 0.0
    for row in trades:
        states, costs = basket_move(impacts, coupling, [(1e9, *state[1:]) for state in states], [slice] * count, row)
        total += sum(cost[0] + cost[1] for cost in costs)
    return total


def test_asymmetric_impact_pays_for_a_loop_and_charges_the_reversed_one():
    zeros, q = [[0.0, 0.0], [0.0, 0.0]], 10_000.0
    faulty = Coupling([[1e-6, 6e-7], [2e-7, 1e-6]], zeros, zeros)
    loop = [(q, 0.0), (0.0, q), (-q, 0.0), (0.0, -q)]
    assert signed_trip(faulty, loop) == pytest.approx((2e-7 - 6e-7) * q * q)
    assert signed_trip(faulty, [tuple(-n for n in row) for row in loop[::-1]]) == pytest.approx(40.0)
    sound = Coupling([[1e-6, 4e-7], [4e-7, 1e-6]], zeros, zeros)
    assert signed_trip(sound, loop) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_permanent_cost_does_not_depend_on_the_schedule(seed):
    rng = np.random.default_rng(seed)
    quantities = HEDGED.scenario.quantities
    trades = rng.dirichlet(np.ones(8), len(quantities)).T * quantities
    permanent_only = HEDGED.coupling._replace(transient=np.zeros((10, 10)).tolist())
    expected = 0.5 * quantities @ np.array(HEDGED.coupling.permanent) @ quantities
    assert signed_trip(permanent_only, trades) == pytest.approx(expected, rel=1e-12)


# --- worlds


@pytest.mark.parametrize("market", [HEDGED, DAY], ids=["hedged", "day"])
def test_asset_0_meets_the_path_that_it_meets_alone(market):
    keys = episode_keys(3, np.arange(50))
    path, *others = draw_basket_path(market, keys)
    alone = draw_path(build_market(market.scenario.assets[0]), keys, market.sides[0])
    for mine, own in ((path.slices, alone.slices), (path.world, alone.world)):
        assert all(np.array_equal(a, b) for a, b in zip(mine, own, strict=True))
    assert all(np.array_equal(path.world.regime, other.world.regime) for other in others)
    assert not np.array_equal(path.world.price, others[0].world.price)
    assert market is HEDGED or not np.array_equal(path.slices.volume / path.slices.volume[0], others[0].slices.volume)


def test_worlds_drawn_slice_by_slice_are_the_paths_drawn_at_once():
    keys, flip = episode_keys(4, np.arange(6)), np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    paths, worlds = draw_basket_path(DAY, keys, flip), begin_basket(DAY, keys)
    clocks = np.arange(6) % DAY.slices
    here = [World(*(values[clocks, np.arange(6)] for values in path.world)) for path in paths]
    lanes, _ = draw_basket_slice(DAY, keys, clocks, here, flip)
    for asset, path in enumerate(paths):
        for one, values in zip(lanes[asset], path.slices, strict=True):
            assert np.array_equal(np.broadcast_to(one, (6,)), values[clocks, np.arange(6)])
    for k in range(DAY.slices):
        for asset, path in enumerate(paths):
            assert all(np.array_equal(a, b[k]) for a, b in zip(worlds[asset], path.world, strict=True))
        slices, worlds = draw_basket_slice(DAY, keys, k, worlds, flip)
        for asset, path in enumerate(paths):
            for one, values in zip(slices[asset], path.slices, strict=True):
                assert np.array_equal(np.broadcast_to(one, (6,)), values[k])


def test_prices_have_the_covariance_of_the_basket():
    paths = draw_basket_path(HEDGED, episode_keys(5, np.arange(4000)))
    moves = np.array([np.diff(path.world.price, axis=0).ravel() for path in paths])
    volatility = np.array([asset.volatility * asset.arrival_price for asset in HEDGED.scenario.assets])
    wanted = np.outer(volatility, volatility) * HEDGED.scenario.matrix * HEDGED.scenario.tau
    errors = np.sqrt((wanted**2 + np.outer(np.diag(wanted), np.diag(wanted))) / moves.shape[1])
    assert np.abs((np.cov(moves) - wanted) / errors).max() < 4.5  # 55 entries: exceeded once in 2,700 seeds
    volumes = np.array([path.slices.volume.ravel() for path in paths])
    assert np.abs(np.corrcoef(volumes) - np.eye(10)).max() < 4.5 / math.sqrt(volumes.shape[1])


def test_factors_make_the_same_market_as_their_correlation():
    loadings = ((0.9, 0.0), (0.8, 0.1), (0.7, -0.3))
    assets = HEDGED.scenario.assets[:3]
    by_factor = BasketScenario(assets=assets, factors=loadings)
    by_matrix = BasketScenario(assets=assets, correlation=by_factor.matrix)
    assert by_factor.hash == by_matrix.hash
    assert build_basket(by_factor).coupling == build_basket(by_matrix).coupling


# --- episodes


def played(market, keys, fraction):
    """Trade a fraction of the remaining shares in each slice; return the lanes at the end."""
    paths = draw_basket_path(market, keys)
    numbers = [each.numbers for each in market.markets]
    lanes = [
        map_leaves(lambda values: np.broadcast_to(values, keys.shape), first_lane(each.numbers, each.scenario.quantity, world))
        for each, world in zip(market.markets, (World(*(v[0] for v in path.world)) for path in paths), strict=True)
    ]
    for k in range(market.slices):
        slices = [Slice(*(values[k] for values in path.slices)) for path in paths]
        worlds = [World(*(values[k + 1] for values in path.world)) for path in paths]
        asked = [Asked(fraction * lane.state.remaining) for lane in lanes]
        lanes, _ = basket_turn(numbers, market.coupling, lanes, slices, worlds, asked)
    return lanes


def test_a_basket_of_one_is_the_episode_of_one_asset_to_the_last_bit():
    scenario, keys = get_scenario("regime-day-2026"), episode_keys(8, np.arange(20))
    market = build_market(scenario)
    (lane,) = played(build_basket(get_basket(scenario)), keys, 0.1)
    world = begin(market, keys)
    alone = map_leaves(lambda v: np.broadcast_to(v, keys.shape), first_lane(market.numbers, scenario.quantity, world))
    for k in range(market.slices):
        slice, world = draw_slice(market, keys, k, world, float(scenario.side))
        alone, _ = turn(market.numbers, alone, slice, world, Asked(0.1 * alone.state.remaining))
    assert all(np.array_equal(a, b) for a, b in zip(lane.account.cost, alone.account.cost, strict=True))
    assert np.array_equal(lane.over, alone.over)


def test_an_episode_trades_the_whole_list_and_charges_what_the_matrices_say():
    lanes = played(HEDGED, episode_keys(9, np.arange(4)), 0.15)
    quantities = HEDGED.scenario.quantities
    assert all(np.all(lane.state.remaining == 0.0) and np.all(lane.over == 1) for lane in lanes)
    permanent = sum(lane.account.cost.permanent for lane in lanes)
    assert permanent == pytest.approx(0.5 * quantities @ np.array(HEDGED.coupling.permanent) @ quantities, rel=1e-12)
    left = np.array([quantities * 0.85 ** (k + 1) for k in range(25)])
    covariance = np.outer(HEDGED.sides, HEDGED.sides) * HEDGED.scenario.matrix
    volatility = np.array([asset.volatility * asset.arrival_price for asset in HEDGED.scenario.assets])
    held = left * volatility
    wanted = HEDGED.scenario.risk_aversion * HEDGED.scenario.tau * np.einsum("ki,ij,kj", held, covariance, held)
    assert sum(lane.account.cost.risk for lane in lanes) == pytest.approx(wanted, rel=1e-12)


def test_an_episode_lasts_until_the_last_asset_is_done():
    small = replace(get_basket("basket-10"), assets=get_basket("basket-10").assets[:2], correlation=((1.0, 0.5), (0.5, 1.0)))
    market, keys = build_basket(small), episode_keys(1, np.arange(1))
    slices = [Slice(*(values[0] for values in path.slices)) for path in draw_basket_path(market, keys)]
    worlds = begin_basket(market, keys)
    first = [
        first_lane(each.numbers, each.scenario.quantity, world) for each, world in zip(market.markets, worlds, strict=True)
    ]
    numbers = [each.numbers for each in market.markets]
    lanes, _ = basket_turn(numbers, market.coupling, first, slices, worlds, [Asked(math.inf), Asked(0.0)])
    assert [lane.over.item() for lane in lanes] == [0, 0]
    lanes, _ = basket_turn(numbers, market.coupling, lanes, slices, worlds, [Asked(0.0), Asked(math.inf)])
    assert [lane.over.item() for lane in lanes] == [1, 1]


def test_own_slopes_of_the_markets_are_the_diagonal_of_the_matrices():
    for i, market in enumerate(HEDGED.markets):
        assert market.impact.permanent_slope == HEDGED.coupling.permanent[i][i] == market.numbers.permanent_slope
        assert market.impact.transient_slope == HEDGED.coupling.transient[i][i] == market.numbers.transient_slope
    total = np.array(HEDGED.coupling.permanent) + np.array(HEDGED.coupling.transient)
    assert total == pytest.approx(np.outer(HEDGED.sides, HEDGED.sides) * HEDGED.kyle, rel=1e-12)
    alone = Scenario(name="alone", quantity=1.0)
    assert build_basket(get_basket(alone)).markets[0] is build_market(alone)


@given(st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_prepared_products_are_those_of_lists_bit_for_bit(count, seed):
    rng = np.random.default_rng(seed)
    matrix, values = rng.normal(size=(count, count)).tolist(), (rng.normal(size=count) * 10.0 ** rng.uniform(-9, 9)).tolist()
    of_one = products(matrix, values)
    assert Products(matrix)(values) == of_one
    several = Products.joined([Products(matrix), Products(matrix[::-1], matrix)])
    assert several([*values, *values[::-1], *values]) == [*of_one, *products(matrix[::-1], values[::-1]), *of_one]
