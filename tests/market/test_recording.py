"""Recorded days run the stages of every market: prices, volumes, regimes and spreads come out as they went in."""

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market.days import with_days
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import begin, draw_path, draw_slice
from hyperexec_env.market.recording import Recording, record_days
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.records import numbers

DAYS = 7


def scenarios():
    """Arithmetic and geometric prices, with drift, a persistent flow, and a varying level of volume or volatility."""
    base = get_scenario("regime-day")
    trending = get_scenario("trending-day")
    return {
        "arithmetic": base,
        "geometric": replace(base, price_model="gbm"),
        "drift": trending,
        "geometric drift and flow": replace(trending, price_model="gbm", flow_persistence=0.4),
        "flow and level": replace(base, flow_persistence=0.5, volume_level_sd=0.3),
        "persistent volume": replace(base, volume_persistence=0.4),
        "volatility over the day": replace(base, volatility_curve=(2.0, 1.0, 0.5, 0.5, 1.0, 1.5)),
        "geometric over the day": replace(trending, price_model="gbm", volatility_curve=(2.0, 1.0, 0.5, 0.5, 1.0, 1.5)),
    }


def given(market, seed=0):
    """Return the returns, volumes, regimes and spreads of some days."""
    rng = np.random.default_rng(seed)
    shape = DAYS, market.slices
    returns = 0.003 * rng.standard_normal(shape)
    volume = market.scenario.adv / market.slices * rng.lognormal(0.0, 0.5, shape)
    return returns, volume, rng.integers(0, market.regimes, shape), rng.uniform(0.5, 4.0, shape)


def recorded(market, quoted=True):
    """Return the market of the days, and what was given."""
    returns, volume, regimes, spread = given(market)
    dates = [f"2024-03-{day:02d}" for day in range(1, DAYS + 1)]
    return with_days(market, record_days(market, dates, returns, volume, regimes, spread if quoted else None))


@pytest.mark.parametrize("name", scenarios())
def test_a_recorded_day_has_its_own_moves_volumes_regimes_and_spreads(name):
    market = build_market(scenarios()[name])
    returns, volume, regimes, spread = given(market)
    path = draw_path(recorded(market), np.arange(DAYS, dtype=np.uint64), 1.0)
    assert pytest.approx(returns, abs=1e-13) == np.log(path.world.price[1:] / path.world.price[:-1]).T
    assert pytest.approx(volume, rel=1e-13) == path.slices.volume.T
    assert np.array_equal(path.world.regime[:-1].T, regimes)
    assert path.slices.half_spread == pytest.approx(1e-4 * spread.T * path.world.price[:-1], rel=1e-12)
    assert not path.world.flow.any()


def test_a_recorded_day_has_the_risk_of_the_volatility_over_the_day():
    """The moves of a day are its own, whatever the curve; the price of risk is that of each slice."""
    plain, curved = (recorded(build_market(scenarios()[name])) for name in ("arithmetic", "volatility over the day"))
    paths = [draw_path(market, np.arange(DAYS, dtype=np.uint64), 1.0) for market in (plain, curved)]
    assert paths[1].world.price == pytest.approx(paths[0].world.price, rel=1e-14)
    assert paths[1].slices.risk == pytest.approx(paths[0].slices.risk * curved.volatility_profile[:, None] ** 2, rel=1e-12)
    assert np.array_equal(paths[1].slices.temporary_scale, paths[0].slices.temporary_scale)


def test_a_slice_without_a_quote_has_the_spread_of_the_regime():
    market = build_market(get_scenario("regime-day"))
    returns, volume, regimes, spread = given(market)
    spread[2, 5] = np.nan
    days = record_days(market, [str(day) for day in range(DAYS)], returns, volume, regimes, spread)
    half = days.slices.half_spread.reshape(DAYS, -1)
    assert half[2, 5] == market.half_spread[regimes[2, 5]]
    assert half[2, 6] == pytest.approx(1e-4 * spread[2, 6] * market.scenario.arrival_price * np.exp(returns[2, :6].sum()))


@pytest.mark.parametrize("name", scenarios())
def test_whole_paths_equal_the_stages_slice_by_slice(name):
    market = recorded(build_market(scenarios()[name]))
    keys = episode_keys(4, np.arange(9))
    path, world = draw_path(market, keys, -1.0), begin(market, keys)
    for k in range(market.slices):
        assert all(np.array_equal(a[k], b) for a, b in zip(numbers(path.world), numbers(world), strict=True))
        slice, world = draw_slice(market, keys, k, world, -1.0)
        for values, one in zip(path.slices, slice, strict=True):
            assert np.array_equal(values[k], np.broadcast_to(one, keys.shape))


def test_the_keys_of_a_seed_resample_the_days_and_small_keys_are_the_days_in_order():
    market = recorded(build_market(get_scenario("regime-day")))
    in_order = draw_path(market, np.arange(DAYS, dtype=np.uint64), 1.0).world.price[-1]
    drawn = draw_path(market, episode_keys(1, np.arange(7000)), 1.0).world.price[-1]
    assert len(set(in_order.tolist())) == DAYS
    counts = np.array([(drawn == value).sum() for value in in_order])
    assert counts.sum() == 7000
    # 1000 days each, with a standard deviation of 29
    assert np.abs(counts - 1000).max() < 130
    assert np.array_equal(drawn, draw_path(market, episode_keys(1, np.arange(7000)), 1.0).world.price[-1])


def test_days_that_do_not_fit_are_refused():
    market = build_market(get_scenario("regime-day"))
    days = recorded(market).days
    with pytest.raises(ValueError, match="the days must have 10 slices as the scenario, got 26"):
        with_days(build_market(get_scenario("desk-5min")), days)
    with pytest.raises(ValueError, match="at most 1 regimes as the scenario, got 6"):
        with_days(build_market(replace(market.scenario, regimes={})), days)
    with pytest.raises(ValueError, match="volatility above 0 in each slice, and flow_share below 1"):
        recorded(build_market(replace(market.scenario, flow_share=1.0)))
    empty = record_days(market, [], *(np.zeros((0, 26)) for _ in range(2)), np.zeros((0, 26), dtype=np.int64))
    recording = Recording(market.scenario, days, empty, days)
    with pytest.raises(ValueError, match="split must be a part with days, got 'validation', which has none"):
        recording.market("validation")
    with pytest.raises(ValueError, match="split must be one of train, validation, test"):
        recording.market("tset")
    assert recording.spans == {"train": ("2024-03-01", "2024-03-07", 7), "test": ("2024-03-01", "2024-03-07", 7)}
