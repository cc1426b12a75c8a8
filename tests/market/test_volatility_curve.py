"""The volatility over the day: it moves the price and the risk of each slice, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.solver import schedule_bps, solve
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.evaluation.certificate import certify
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.execution.algorithms import market_outlook
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import Scenario, get_scenario, load_scenario, scenario_names
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.volume import volatility_profile

DAY = get_scenario("regime-day")
CURVE = (2.0, 1.0, 0.5, 0.5, 1.0, 1.5)
SURPRISING = -NormalDist().inv_cdf(0.001 / 60)
"""A z-score that the largest of 30 exceeds once in a thousand runs."""

curves = st.lists(st.floats(0.0, 1e3), min_size=1, max_size=30).filter(lambda curve: max(curve) > 1e-3)


def paths(scenario, episodes=20_000, seed=5):
    return draw_path(build_market(scenario), episode_keys(seed, np.arange(episodes)), 1.0)


def z_of_mean(values, expected):
    """How many standard errors a mean over independent episodes lies from its expectation."""
    return abs(values.mean() - expected) / (values.std() / math.sqrt(values.size))


# --- the profile


@given(curves, st.integers(1, 400), st.floats(1.0, 1000.0))
def test_the_variance_of_a_whole_day_is_that_of_a_flat_curve(curve, slices, day):
    assert (volatility_profile(curve, slices, 0.0, day, day) ** 2).mean() == pytest.approx(1.0)


@given(curves, st.integers(1, 60), st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_the_variance_of_two_halves_is_that_of_the_slice(curve, slices, start, length):
    start, horizon = 390.0 * start * (1.0 - length), 390.0 * length
    coarse, fine = (volatility_profile(curve, count * slices, start, horizon, 390.0) ** 2 for count in (1, 2))
    assert fine.reshape(-1, 2).mean(axis=1) == pytest.approx(coarse, rel=1e-6, abs=1e-9)


@given(curves, st.sampled_from([1e-9, 0.25, 1e12]))
def test_the_profile_does_not_depend_on_the_scale_of_the_curve(curve, scale):
    scaled = volatility_profile([scale * value for value in curve], 26, 0.0, 390.0, 390.0)
    assert scaled == pytest.approx(volatility_profile(curve, 26, 0.0, 390.0, 390.0))


def test_an_order_over_a_part_of_the_day_has_the_volatility_of_its_part():
    late = replace(DAY, volatility_curve=(3.0, 1.0), start_minute=195.0, horizon_minutes=195.0, slices=4)
    assert late.volatility_profile() == pytest.approx([1.0 / math.sqrt(5.0)] * 4)
    across = replace(late, start_minute=97.5)
    assert across.volatility_profile() == pytest.approx([3.0 / math.sqrt(5.0)] * 2 + [1.0 / math.sqrt(5.0)] * 2)
    assert replace(late, slices=1, start_minute=97.5).volatility_profile() == pytest.approx([1.0])


# --- the field


def test_a_market_without_a_curve_is_the_market_before_the_field():
    for name in scenario_names():
        scenario = get_scenario(name)
        assert scenario.volatility_curve == ()
        assert replace(scenario, volatility_curve=()).hash == scenario.hash
        assert replace(scenario, volatility_curve=CURVE).hash != scenario.hash
        market = build_market(scenario)
        assert (market.volatility_profile == 1.0).all()
        sigma = scenario.volatility * np.array(scenario.regimes.volatility)
        risk = scenario.risk_aversion * (sigma * scenario.arrival_price) ** 2 * scenario.tau
        assert np.array_equal(market.step_volatility, np.tile(sigma * math.sqrt(scenario.tau), (market.slices, 1)))
        assert np.array_equal(market.risk, np.tile(risk, (market.slices, 1)))


def test_a_curve_round_trips_through_a_file(tmp_path):
    scenario = replace(DAY, name="curved", volatility_curve=CURVE)
    (tmp_path / "curved.toml").write_text(scenario.to_toml(), encoding="utf-8")
    assert load_scenario(tmp_path / "curved.toml") == scenario


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ((0.0, 0.0), "volatility_curve must have a positive value, got zeros; leave it empty for a flat curve"),
        ((1.0, -0.5), r"volatility_curve\[1\] must be .*-0.5"),
        ((1.0, math.nan), r"volatility_curve\[1\] must be .*nan"),
        ("high", "volatility_curve must be"),
    ],
)
def test_an_invalid_curve_raises(curve, message):
    with pytest.raises(ValueError, match=message):
        Scenario(volatility_curve=curve)


def test_a_curve_that_lets_an_arithmetic_price_fall_below_zero_warns():
    """The probability is that of the order's own part of the day."""
    scenario = Scenario(volatility=0.5, horizon_minutes=39.0, slices=2)
    assert not scenario.warnings
    assert "below zero" in replace(scenario, volatility_curve=(8.0, *[0.1] * 9)).warnings[0]


# --- the market


@pytest.mark.parametrize("name", scenario_names())
def test_the_curve_moves_price_and_risk_and_nothing_else(name):
    scenario = get_scenario(name)
    curved = replace(scenario, volatility_curve=CURVE)
    plain, found = paths(scenario, 200), paths(curved, 200)
    ratio = np.array(curved.volatility_profile())[:, None]
    assert ratio.std() > 0.0 or scenario.horizon_minutes < 65.0
    for field, values in plain.slices._asdict().items():
        ours = getattr(found.slices, field)
        if field == "risk":
            assert ours == pytest.approx(values * ratio**2, rel=1e-12)
        elif scenario.price_model == "abm" and field == "innovation":
            assert ours == pytest.approx(values * ratio, rel=1e-12)
        elif field not in ("innovation", "drift", "holding"):
            assert np.array_equal(ours, values), field
    for field in ("regime", "flow", "volume_level"):
        assert np.array_equal(getattr(plain.world, field), getattr(found.world, field)), field


@pytest.mark.parametrize("changes", [{}, {"price_model": "gbm"}, {"flow_persistence": 0.5}])
def test_the_returns_of_a_slice_have_the_volatility_of_the_slice(changes):
    scenario = replace(DAY, regimes={}, slices=12, volatility_curve=CURVE, **changes)
    price = paths(scenario).world.price
    moves = np.diff(np.log(price) if changes.get("price_model") else price / scenario.arrival_price, axis=0)
    expected = 0.02**2 / 12.0 * np.repeat(np.array(CURVE) ** 2 / (np.array(CURVE) ** 2).mean(), 2)
    for k in range(12):
        assert z_of_mean(moves[k] ** 2, expected[k]) < SURPRISING


def test_the_realised_variance_of_a_day_is_that_of_the_scenario():
    """Curve and regimes multiply: with regimes of mean square one, the variance of a day is volatility^2."""
    multipliers, law = np.array(DAY.regimes.volatility), DAY.regimes.stationary()
    scaled = tuple((multipliers / math.sqrt(law @ multipliers**2)).tolist())
    scenario = replace(DAY, regimes=replace(DAY.regimes, volatility=scaled), volatility_curve=CURVE)
    moves = np.diff(paths(scenario).world.price, axis=0) / scenario.arrival_price
    assert z_of_mean((moves**2).sum(axis=0), 0.02**2) < SURPRISING


# --- policies


def test_the_optimum_is_the_mean_of_its_simulated_episodes():
    scenario = replace(DAY, name="curved", slices=8, risk_aversion=1e-6, volatility_curve=CURVE)
    solution = solve(scenario, cached=False)
    market = build_market(scenario)
    path = paths(scenario)
    optimum, twap = (roll(market, policy, path).statement.objective for policy in (solution.policy, get_policy("TWAP")))
    assert z_of_mean(optimum, solution.optimum_bps) < SURPRISING
    assert z_of_mean(twap, solution.twap_bps) < SURPRISING
    flat = solve(replace(scenario, volatility_curve=()), cached=False)
    unaware = roll(market, flat.policy, path).statement.objective
    difference = unaware - optimum
    assert difference.mean() / (difference.std() / math.sqrt(difference.size)) > SURPRISING
    assert schedule_bps(scenario, fractions=flat.fractions) > solution.open_loop_bps


def test_the_optimum_trades_more_before_volatile_slices():
    """A share that is left after slice k bears the risk of slice k: a volatile morning moves trades into the morning."""
    values = {"regimes": {}, "slices": 6, "risk_aversion": 1e-6, "volume_curve": ()}
    morning, flat, evening = (
        solve(replace(DAY, volatility_curve=curve, **values), cached=False).fractions[0]
        for curve in ((2.0, 1.0, 0.5), (), (0.5, 1.0, 2.0))
    )
    assert morning > flat > evening


def test_the_observation_does_not_depend_on_the_curve_before_the_price_moves():
    plain, curved = (HyperExecEnv(replace(DAY, volatility_curve=curve)) for curve in ((), CURVE))
    assert np.array_equal(plain.reset(seed=4)[0], curved.reset(seed=4)[0])


def test_the_rate_of_almgren_and_chriss_is_that_of_the_volatility_over_the_order():
    part = replace(DAY, start_minute=0.0, horizon_minutes=130.0, slices=8)
    ratio = math.sqrt(np.mean(np.square(replace(part, volatility_curve=CURVE).volatility_profile())))
    curved, scaled = replace(part, volatility_curve=CURVE), replace(part, volatility=part.volatility * ratio)
    # the temporary impact of `scaled` has the daily volatility of `part` too
    scaled = replace(scaled, temp_impact_alpha=part.temp_impact_alpha / ratio)
    rates = [market_outlook(build_market(scenario), 0.5).rate for scenario in (curved, scaled)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)
    assert rates[0] != pytest.approx(market_outlook(build_market(part), 0.5).rate, rel=0.01)


def test_a_market_with_a_curve_is_sound():
    assert certify(replace(DAY, volatility_curve=CURVE), trips=1000).sound
