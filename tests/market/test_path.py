"""The path of the market: the laws it is drawn from, and that it does not depend on how it is drawn."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import OrderDraw, World, begin, draw_orders, draw_path, draw_slice, trace
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

PLAIN = Scenario(risk_aversion=0.0)


def surprising(tests):
    """The z-score that the largest of so many tests exceeds once in a thousand runs."""
    return -NormalDist().inv_cdf(0.001 / (2 * tests))


def paths(scenario, episodes=None, seed=31, side=1.0):
    """Draw paths, by default as many as make the same number of slices in every scenario."""
    episodes = episodes or min(20_000, 520_000 // scenario.slices)
    return draw_path(build_market(scenario), episode_keys(seed, np.arange(episodes)), side)


def z_of_mean(values, expected):
    """How many standard errors a mean lies from its expectation."""
    values = np.ravel(values)
    error = values.std() / math.sqrt(values.size)
    return abs(values.mean() - expected) / (error + 1e-12 * (1.0 + abs(expected)))


def fields_of(path):
    """Every array of a path by name."""
    return {**path.slices._asdict(), **{f"world.{key}": value for key, value in path.world._asdict().items()}}


# --- the same path however it is drawn


VARIANTS = [(name, {}) for name in scenario_names()] + [
    ("trending-day", {"price_model": "gbm"}),
    ("flow-signal", {"flow_persistence": -0.3}),
    ("trending-day", {"price_model": "gbm", "flow_persistence": -0.3}),
    ("regime-day", {"volume_level_sd": 0.5}),
    ("regime-day", {"volume_persistence": 0.4}),
    ("desk-5min", {"volume_persistence": -0.4, "volume_level_sd": 0.5}),
    ("regime-day", {"volatility_curve": (2.0, 0.5, 1.0)}),
    ("trending-day", {"price_model": "gbm", "volatility_curve": (2.0, 0.5, 1.0)}),
]
"""Every scenario as it is, and the equations of the price that no scenario has."""
every_variant = pytest.mark.parametrize(
    ("name", "change"), VARIANTS, ids=["-".join([name, *change]) for name, change in VARIANTS]
)


@every_variant
def test_an_episode_is_the_same_in_any_batch_to_the_last_bit(name, change):
    market = build_market(replace(get_scenario(name), **change))
    count = 10_000 if name == "regime-day" else 1_000
    batch = fields_of(draw_path(market, episode_keys(5, np.arange(count)), 1.0))
    backwards = fields_of(draw_path(market, episode_keys(5, np.arange(count)[::-1]), 1.0))
    for field, values in batch.items():
        assert np.array_equal(values, backwards[field][:, ::-1]), field
    for first, size in ((0, 1), (1, 1), (count - 1, 1), (3, 2), (10, 3), (40, 7), (100, 17), (500, 64)):
        part = fields_of(draw_path(market, episode_keys(5, np.arange(first, first + size)), 1.0))
        for field, values in part.items():
            assert np.array_equal(values, batch[field][:, first : first + size]), (field, first, size)


@every_variant
def test_a_path_drawn_slice_by_slice_is_the_path_drawn_at_once(name, change):
    market = build_market(replace(get_scenario(name), **change))
    keys = episode_keys(6, np.arange(9))
    whole = draw_path(market, keys, 1.0)
    start = world = begin(market, keys)
    for k in range(market.slices):
        drawn, world = draw_slice(market, keys, k, world, 1.0)
        for one, values in zip(
            (*drawn, *world), (*(s[k] for s in whole.slices), *(w[k + 1] for w in whole.world)), strict=True
        ):
            assert np.array_equal(np.broadcast_to(one, (9,)), values)
    # lanes in different slices, as in the vector environment
    clocks = np.arange(9) % market.slices
    here = World(*(values[clocks, np.arange(9)] for values in whole.world))
    drawn, after = draw_slice(market, keys, clocks, here, 1.0)
    for one, values in zip(Slice(*drawn), whole.slices, strict=True):
        assert np.array_equal(np.broadcast_to(one, (9,)), values[clocks, np.arange(9)])
    for one, values in zip(after, whole.world, strict=True):
        assert np.array_equal(one, values[clocks + 1, np.arange(9)])
    for one, values in zip(start, whole.world, strict=True):
        assert np.array_equal(one, values[0])


PRINT_DIGEST = """
import hashlib, numpy as np
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names
digest = hashlib.sha256()
for name in scenario_names():
    path = draw_path(build_market(get_scenario(name)), episode_keys(-7, np.arange(20)), 1.0)
    for values in (*path.slices, *path.world, path.keys):
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(get_scenario(name).hash.encode())
print(digest.hexdigest())
"""


def test_another_process_draws_the_same_paths():
    digest = hashlib.sha256()
    for name in scenario_names():
        path = draw_path(build_market(get_scenario(name)), episode_keys(-7, np.arange(20)), 1.0)
        for values in (*path.slices, *path.world, path.keys):
            digest.update(np.ascontiguousarray(values).tobytes())
        digest.update(get_scenario(name).hash.encode())
    for hash_seed in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", PRINT_DIGEST], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == digest.hexdigest()


def test_another_regime_anywhere_leaves_another_trace():
    regimes = np.random.default_rng(2).integers(0, 6, (27, 40))
    traces = trace(regimes)
    assert traces.dtype == np.uint64
    assert len(set(traces.tolist())) == 40
    for k, changed in enumerate(np.repeat(regimes[None], 27, axis=0)):
        changed[k] = (changed[k] + 1 + np.arange(40) % 5) % 6
        assert (trace(changed) != traces).all()
    assert np.array_equal(trace(regimes.astype(np.int8)[:, :3]), traces[:3])


def test_a_seller_meets_the_market_of_the_buyer():
    for name in scenario_names():
        buyer, seller = (fields_of(paths(get_scenario(name), 50, side=side)) for side in (1.0, -1.0))
        for field, values in buyer.items():
            sign = -1.0 if field in ("drift", "innovation") else 1.0
            assert np.array_equal(sign * values, seller[field]), field


def test_the_price_moves_by_its_drift_and_its_innovation():
    for name in scenario_names():
        path = paths(get_scenario(name), 200)
        moves = np.diff(path.world.price, axis=0)
        assert np.abs(moves - (path.slices.drift + path.slices.innovation)).max() < 1e-12 * get_scenario(name).arrival_price
        assert (path.world.price[0] == get_scenario(name).arrival_price).all()


def test_what_a_slice_holds_is_what_its_regime_says():
    for name in scenario_names():
        market = build_market(get_scenario(name))
        path = paths(get_scenario(name), 200)
        regime = path.world.regime[:-1]
        assert np.array_equal(path.slices.temporary_scale, market.temporary_scale[regime] * path.world.slope[:-1])
        assert np.array_equal(path.slices.half_spread, market.half_spread[regime])
        assert np.array_equal(path.slices.transient_decay, market.transient_decay[regime])
        assert np.array_equal(path.slices.risk, market.risk[np.arange(market.slices)[:, None], regime])
        assert path.slices.holding == pytest.approx(get_scenario(name).price_risk * market.tau * path.world.price[:-1])
        assert np.array_equal(path.slices.least, np.broadcast_to(market.least[:, None], regime.shape))
        if market.numbers.spec.capped:
            assert np.array_equal(path.slices.limit, market.cap[:, None] * path.slices.volume)
        else:
            assert np.isinf(path.slices.limit).all()


# --- the laws of the price


def test_the_variance_of_the_price_is_the_sum_over_the_regimes():
    for name in scenario_names():
        scenario = replace(get_scenario(name), flow_persistence=0.0)
        market, path = build_market(scenario), paths(scenario)
        # given the regimes the zero-mean moves are independent: the variance is the sum of sigma_m^2 P0^2 tau
        each = market.step_volatility[np.arange(market.slices)[:, None], path.world.regime[:-1]]
        variance = (each * scenario.arrival_price) ** 2
        if not scenario.volatility:
            assert not path.slices.innovation.any()
            continue
        total = path.slices.innovation.sum(axis=0) / np.sqrt(variance.sum(axis=0))
        checks = 4
        assert z_of_mean(total, 0.0) < surprising(checks)
        assert z_of_mean(total**2, 1.0) < surprising(checks)
        transition, law = scenario.regimes.transition(scenario.tau), scenario.regimes.start_law()
        laws = [law @ np.linalg.matrix_power(transition, k) for k in range(scenario.slices)]
        expected = sum(law @ row for law, row in zip(laws, (market.step_volatility * scenario.arrival_price) ** 2, strict=True))
        assert z_of_mean(path.slices.innovation.sum(axis=0) ** 2, expected) < surprising(checks)


def test_the_variance_over_the_day_does_not_depend_on_the_number_of_slices():
    for slices in (5, 50):
        moves = paths(replace(PLAIN, slices=slices)).world.price[-1] / PLAIN.arrival_price - 1.0
        assert z_of_mean(moves**2, PLAIN.volatility**2) < surprising(2)


@pytest.mark.parametrize(("share", "persistence"), [(0.0, 0.6), (0.1, -0.4), (0.35, 0.0), (0.35, 0.6), (1.0, 0.0), (1.0, -0.4)])
def test_order_flow_explains_its_share_of_the_price(share, persistence):
    """R^2 of the move on the flow of the same slice is flow_share, and the slope of the price in the flow is Kyle's."""
    scenario = replace(PLAIN, flow_share=share, flow_persistence=persistence)
    path = paths(scenario, 10_000)
    moves, flow = np.diff(path.world.price, axis=0), path.world.flow[1:]
    unit = scenario.volatility * scenario.arrival_price * math.sqrt(scenario.tau)
    products = (moves / unit * flow).mean(axis=0)  # one value for each episode: these are independent
    assert z_of_mean(products, math.sqrt(share)) < surprising(24)
    assert z_of_mean(((moves / unit) ** 2).mean(axis=0), 1.0) < surprising(24)
    if share == 1.0:
        assert np.abs(moves - flow * unit).max() < 1e-9


@pytest.mark.parametrize("persistence", [0.0, 0.4, 0.9, -0.7])
def test_the_flow_is_autoregressive_and_stationary(persistence):
    flow = paths(replace(PLAIN, flow_persistence=persistence)).world.flow
    for k in (0, 5, 26):
        assert z_of_mean(flow[k], 0.0) < surprising(40)
        assert z_of_mean(flow[k] ** 2, 1.0) < surprising(40)
    for lag in (1, 2, 5):
        assert z_of_mean(flow[7] * flow[7 + lag], persistence**lag) < surprising(40)
    # what is new in the flow knows nothing of the past
    assert z_of_mean((flow[9] - persistence * flow[8]) * flow[8], 0.0) < surprising(40)


@pytest.mark.parametrize(("price_model", "persistence"), [("abm", 0.5), ("gbm", 0.0), ("gbm", 0.5)])
def test_innovations_have_mean_zero_whatever_is_known_before(price_model, persistence):
    regimes = replace(get_scenario("trending-day").regimes, drift=(0.5, -0.5, 0.1, 0.0, -1.0, 0.2))
    scenario = replace(PLAIN, regimes=regimes, flow_persistence=persistence, price_model=price_model, volatility=0.2)
    path = paths(scenario, 40_000)
    for k in (0, 3, 12, 25):
        innovation = path.slices.innovation[k]
        known = [np.ones(innovation.size), path.world.flow[k], path.world.price[k] - 100.0]
        known += [(path.world.regime[k] == m).astype(float) for m in range(6)]
        for signal in known:
            assert z_of_mean(innovation * signal, 0.0) < surprising(4 * 4 * len(known))


@pytest.mark.parametrize("persistence", [0.0, 0.6])
def test_flow_is_a_signal_of_the_next_move_where_it_persists(persistence):
    """The predictable move is phi times what the last flow brought (Bertsimas and Lo 1998)."""
    scenario = replace(PLAIN, flow_persistence=persistence)
    path = paths(scenario, 100)
    unit = scenario.volatility * scenario.arrival_price * math.sqrt(scenario.tau) * math.sqrt(scenario.flow_share)
    assert path.slices.drift == pytest.approx(persistence * unit * path.world.flow[:-1], abs=1e-12)


def test_a_regime_with_a_drift_drifts():
    scenario = replace(PLAIN, regimes=Regimes(drift=(-0.03,)))
    path = paths(scenario)
    assert np.abs(path.slices.drift + 0.03 * 100.0 * scenario.tau).max() < 1e-12
    assert z_of_mean(path.world.price[-1], 97.0) < surprising(1)


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_geometric_prices_are_positive_and_grow_at_their_drift(drift):
    scenario = replace(PLAIN, volatility=0.8, price_model="gbm", regimes=Regimes(drift=(drift,)))
    price = paths(scenario, 50_000).world.price
    assert (price > 0.0).all()
    assert z_of_mean(price[-1], 100.0 * math.exp(drift)) < surprising(4)
    logs = np.log(price[-1] / 100.0)
    assert z_of_mean(logs, drift - 0.5 * 0.8**2) < surprising(4)
    assert z_of_mean((logs - logs.mean()) ** 2, 0.8**2) < surprising(4)


# --- the laws of the volume


def test_volume_is_lognormal_around_what_is_expected():
    for name in scenario_names():
        scenario = get_scenario(name)
        market, path = build_market(scenario), paths(scenario)
        k = np.arange(market.slices)[:, None]
        ratio = path.slices.volume / market.mean_volume[k, path.world.regime[:-1]]
        assert (ratio > 0.0).all()
        assert z_of_mean(ratio, 1.0) < surprising(3)
        noise = np.log(ratio / path.world.volume_level[:-1])
        assert z_of_mean(noise, -0.5 * scenario.volume_noise**2) < surprising(3)
        assert z_of_mean((noise + 0.5 * scenario.volume_noise**2) ** 2, scenario.volume_noise**2) < surprising(3)


def test_volume_and_price_are_independent():
    path = paths(PLAIN)
    volume = np.log(path.slices.volume) - np.log(path.slices.volume).mean()
    assert z_of_mean(volume * path.slices.innovation, 0.0) < surprising(2)
    assert z_of_mean((volume**2 - volume.var()) * (path.slices.innovation**2 - path.slices.innovation.var()), 0.0) < surprising(
        2
    )


def test_the_expected_volume_of_the_order_is_what_markets_show():
    for name in scenario_names():
        scenario = get_scenario(name)
        market = build_market(scenario)
        assert z_of_mean(paths(scenario).slices.volume.sum(axis=0), market.rest_volume[0, market.unknown]) < surprising(
            len(scenario_names())
        )


# --- the orders


def test_the_order_is_that_of_the_scenario_unless_it_is_drawn():
    scenario = replace(PLAIN, side=-1, quantity=123.0)
    assert draw_orders(build_market(scenario), episode_keys(0, [0, 1])) == (-1.0, 123.0)


def test_sides_are_drawn_evenly():
    side, quantity = draw_orders(build_market(PLAIN), episode_keys(1, np.arange(50_000)), OrderDraw(random_side=True))
    assert set(side.tolist()) == {1.0, -1.0}
    assert quantity == PLAIN.quantity
    assert z_of_mean(side, 0.0) < surprising(1)


def test_sizes_are_log_uniform_within_their_range():
    draw = OrderDraw(quantity_range=(0.25, 4.0))
    side, quantity = draw_orders(build_market(PLAIN), episode_keys(1, np.arange(50_000)), draw)
    assert side == 1.0
    place = np.log(quantity / PLAIN.quantity / 0.25) / math.log(16.0)
    assert 0.0 <= place.min() < 1e-3
    assert 1.0 - 1e-3 < place.max() <= 1.0
    for power in (1, 2, 3):
        assert z_of_mean(place**power, 1.0 / (power + 1)) < surprising(3)
    assert (
        draw_orders(build_market(PLAIN), episode_keys(1, [0, 1]), OrderDraw(quantity_range=(2.0, 2.0))).quantity == 4e5
    ).all()


def test_orders_are_drawn_apart_from_the_market_and_from_each_other():
    market, keys = build_market(PLAIN), episode_keys(2, np.arange(40_000))
    side, quantity = draw_orders(market, keys, OrderDraw(True, (0.5, 2.0)))
    path = draw_path(market, keys, 1.0)
    size = np.log(quantity / PLAIN.quantity)
    for other in (path.world.flow[0], path.world.flow[1], path.slices.innovation[0], np.log(path.slices.volume[0]), size):
        assert z_of_mean(side * (other - other.mean()), 0.0) < surprising(10)
    for other in (path.world.flow[0], path.slices.innovation[0], np.log(path.slices.volume[0])):
        assert z_of_mean((size - size.mean()) * (other - other.mean()), 0.0) < surprising(10)


def test_an_order_does_not_depend_on_the_batch():
    market, draw = build_market(PLAIN), OrderDraw(True, (0.5, 2.0))
    side, quantity = draw_orders(market, episode_keys(2, np.arange(5000)), draw)
    for i in (0, 1, 17, 4999):
        alone = draw_orders(market, episode_keys(2, [i]), draw)
        assert (alone.side[0], alone.quantity[0]) == (side[i], quantity[i])
