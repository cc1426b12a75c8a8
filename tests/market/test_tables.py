"""The tables of a scenario: the formulas of the field, and nothing that depends on how finely the day is cut."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market.kernel import Slice, State, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.tables import MarketSpec, SliceRow, build_market
from hyperexec_env.records import numbers

pytestmark = pytest.mark.fast


def test_tables_are_the_formulas():
    for name in scenario_names():
        scenario = get_scenario(name)
        market, regimes = build_market(scenario), scenario.regimes
        price, adv, tau = scenario.arrival_price, scenario.adv, scenario.tau
        permanent, transient, beta, exponent = market.impact
        assert permanent == pytest.approx(scenario.perm_impact_gamma * price / adv)
        per_share = transient if exponent == 1.0 else transient / adv  # any other exponent counts in participation
        assert permanent + per_share == pytest.approx(scenario.kyle_lambda * price / adv)
        assert (beta, exponent) == (scenario.temp_impact_beta, scenario.transient_exponent)
        assert market.numbers.holding == pytest.approx(scenario.price_risk * tau)
        for m in range(len(regimes)):
            sigma = scenario.volatility * regimes.volatility[m]
            assert market.volatility[m] == pytest.approx(regimes.volatility[m])
            curve = np.array(scenario.volatility_profile())
            assert market.step_volatility[:, m] == pytest.approx(sigma * curve * math.sqrt(tau))
            assert market.step_drift[m] == pytest.approx(regimes.drift[m] * tau)
            assert market.temporary_scale[m] == pytest.approx(scenario.temp_impact_alpha * regimes.temporary[m] * sigma * price)
            assert market.half_spread[m] == pytest.approx(scenario.half_spread_bps * 1e-4 * regimes.spread[m] * price)
            assert market.transient_decay[m] == pytest.approx(math.exp(-scenario.resilience * regimes.resilience[m] * tau))
            assert market.risk[:, m] == pytest.approx(scenario.risk_aversion * (sigma * curve * price) ** 2 * tau)
            assert market.mean_volume[:-1, m] == pytest.approx(adv * np.array(scenario.profile()) * regimes.volume[m])
        assert market.numbers.by_flow**2 + market.numbers.by_news**2 == pytest.approx(1.0)


def test_shapes_have_a_row_for_the_end_and_a_column_for_who_does_not_know():
    for name in scenario_names():
        market = build_market(get_scenario(name))
        shape = (market.slices + 1, market.regimes + 1)
        assert market.mean_volume.shape == market.rest_volume.shape == shape
        assert market.plan.shape == (market.slices + 1,)
        assert market.volatility.shape == market.half_spread.shape == (market.regimes + 1,)
        assert market.unknown == market.regimes
        assert market.mean_volume[-1].tolist() == market.rest_volume[-1].tolist() == [0.0] * (market.regimes + 1)
        assert np.arange(shape[0] * shape[1]).reshape(shape)[3, 1] == market.cell(3, 1)


def test_the_volume_still_to_come_is_the_expectation_over_the_chain():
    for name in scenario_names():
        scenario = get_scenario(name)
        market = build_market(scenario)
        profile, transition = scenario.adv * np.array(scenario.profile()), scenario.regimes.transition(scenario.tau)
        scale, law = np.array(scenario.regimes.volume), scenario.regimes.start_law()
        for k in range(market.slices):
            ahead, expected = np.eye(market.regimes), np.zeros(market.regimes)
            for j in range(k, market.slices):
                expected += profile[j] * ahead @ scale
                ahead = ahead @ transition
            assert market.rest_volume[k, : market.regimes] == pytest.approx(expected)
            assert market.rest_volume[k, market.unknown] == pytest.approx(law @ expected)
            assert market.mean_volume[k, market.unknown] == pytest.approx(law @ (profile[k] * scale))
            law = law @ transition


def test_the_plan_runs_from_everything_to_nothing():
    for name in scenario_names():
        plan = build_market(get_scenario(name)).plan
        assert plan[0] == 1.0
        assert plan[-1] == 0.0
        assert (np.diff(plan) < 0.0).all()


def totals(scenario, slices):
    """Volume, variance and costs of an order in some number of slices."""
    market, law = build_market(replace(scenario, slices=slices)), scenario.regimes.stationary()
    return {
        "volume": market.rest_volume[0, market.unknown],
        "variance": (market.step_volatility**2 @ law).sum(),
        "risk": (market.risk @ law).sum(),
        "holding": slices * market.numbers.holding,
        "drift": slices * (law @ market.step_drift),
        "kept": (market.transient_decay**slices).tolist(),
    }


def test_volume_and_variance_of_the_order_do_not_depend_on_the_number_of_slices():
    for name in scenario_names():
        scenario = get_scenario(name)
        scenario = replace(scenario, regimes=replace(scenario.regimes, start="stationary"))
        coarse = totals(scenario, scenario.slices)
        for slices in (2 * scenario.slices, 7 * scenario.slices):
            for key, value in totals(scenario, slices).items():
                assert value == pytest.approx(coarse[key], rel=1e-9), key


def test_the_law_of_the_regime_at_the_end_does_not_depend_on_the_number_of_slices():
    for name in scenario_names():
        scenario = get_scenario(name)
        laws = [
            scenario.regimes.start_law()
            @ np.linalg.matrix_power(scenario.regimes.transition(replace(scenario, slices=slices).tau), slices)
            for slices in (scenario.slices, 2 * scenario.slices, 390)
        ]
        assert laws[1] == pytest.approx(laws[0], abs=1e-10)
        assert laws[2] == pytest.approx(laws[0], abs=1e-10)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("slices", [1, 26])
def test_only_the_last_slice_may_force_and_only_where_the_order_has_to_be_completed(slices, complete):
    for cap in (None, 0.05):
        market = build_market(replace(get_scenario("regime-day"), slices=slices, complete=complete, max_participation=cap))
        limit = math.inf if cap is None else cap
        assert market.least.tolist() == [0.0] * (market.slices - 1) + [math.inf if complete else 0.0]
        assert market.cap.tolist() == [limit] * (market.slices - 1) + [math.inf if complete else limit]
        assert market.numbers.spec.capped == (cap is not None)


def test_another_exponent_pushes_by_kappa_at_a_participation_of_one():
    """A child of the volume of its slice moves the price by (lambda - gamma) P0, however large that volume is."""
    for exponent in (0.3, 0.5, 1.5, 2.0):
        for adv, slices in ((5e6, 26), (1e4, 3)):
            scenario = Scenario(kyle_lambda=0.5, perm_impact_gamma=0.2, transient_exponent=exponent, adv=adv, slices=slices)
            market = build_market(scenario)
            volume = market.mean_volume[0, 0]
            slice = Slice(volume, 0.0, math.inf, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
            state, _ = step(market.impact, State(volume, 0.0, 0.0), slice, volume)
            assert state.transient == pytest.approx(0.3 * scenario.arrival_price)
            state, _ = step(market.impact, State(volume, 0.0, 0.0), slice, 0.25 * volume)
            assert state.transient == pytest.approx(0.25**exponent * 0.3 * scenario.arrival_price)


@pytest.mark.parametrize("price_model", ["abm", "gbm"])
def test_the_price_is_a_martingale_without_drift_and_persistent_flow(price_model):
    def drifts(**change):
        market = build_market(Scenario(price_model=price_model, **change))
        return bool(draw_path(market, episode_keys(0, np.arange(3)), 1.0).slices.drift.any())

    assert not drifts()
    assert drifts(flow_persistence=0.1)
    assert drifts(regimes=Regimes(drift=(0.01,)))


def test_a_row_holds_the_numbers_of_its_slice_and_regime():
    for name in scenario_names():
        market = build_market(get_scenario(name))
        count, never = market.regimes, 2**32
        assert all(len(column) == (market.slices + 1) * (count + 1) for column in numbers(market.table))
        for k in (0, 1, market.slices - 1):
            for m in range(count):
                row = market.row(k, m)
                by_slice = {"mean_volume", "step_volatility", "risk"}
                for field in set(SliceRow._fields) - {"thresholds"}:
                    values = getattr(market, field)
                    assert getattr(row, field) == (values[k, m] if field in by_slice else values[m]), field
                law = scenario_law(name)[m]
                cuts = np.array([0, *row.thresholds[: count - 1], never])
                assert np.diff(cuts) / 2.0**32 == pytest.approx(law, abs=1e-9)
                assert all(threshold >= never for threshold in row.thresholds[count - 1 :])
        assert all(threshold >= never for threshold in market.start[count - 1 :])
        rows = market.row(np.array([0, 2]), np.array([0, 0]))
        assert rows.mean_volume.tolist() == [market.mean_volume[0, 0], market.mean_volume[2, 0]]


def scenario_law(name):
    """Transition matrix of the regimes over a slice."""
    scenario = get_scenario(name)
    return scenario.regimes.transition(scenario.tau)


# --- the kind of a market

DAY = get_scenario("regime-day")
SPEC = build_market(DAY).numbers.spec
CHANGES = {
    "beta": {"temp_impact_beta": 0.5},
    "transient_exponent": {"transient_exponent": 0.5},
    "flow_persistence": {"flow_persistence": 0.3},
    "volume_persistence": {"volume_persistence": 0.3},
    "regimes": {"regimes": get_scenario("almgren-chriss").regimes},
    "geometric": {"price_model": "gbm"},
    "drifting": {"regimes": get_scenario("trending-day").regimes},
    "capped": {"max_participation": 0.2},
    "price_risk": {"price_risk": 0.01},
    "noisy_volume": {"volume_noise": 0.0},
    "varying_level": {"volume_level_sd": 0.4},
    "unknown_drift": {"drift_sd": 0.01},
    "unknown_slope": {"temp_impact_sd": 0.3},
    "unknown_kyle": {"kyle_sd": 0.3},
    "hunted": {"predator": -0.2},
    "complete": {"complete": False},
}
"""Field of a market's specification -> a change of the scenario that changes it and no other field."""


def test_a_specification_holds_what_branches_and_nothing_else():
    assert tuple(CHANGES) == MarketSpec._fields
    for field, change in CHANGES.items():
        spec = build_market(replace(DAY, **change)).numbers.spec
        assert [name for name in spec._fields if getattr(spec, name) != getattr(SPEC, name)] == [field]


def test_scenarios_that_differ_in_numbers_share_a_specification():
    """One compiled loop serves them all: each specification costs seconds of compilation."""
    numbers = {"quantity": 1e5, "slices": 13, "volatility": 0.05, "risk_aversion": 0.0, "side": -1, "resilience": 0.0}
    for field, value in numbers.items():
        assert build_market(replace(DAY, **{field: value})).numbers.spec == SPEC, field
    assert len({build_market(get_scenario(name)).numbers.spec for name in scenario_names()}) < len(scenario_names())


def test_the_tables_of_a_market_are_locked():
    for array in build_market(DAY).arrays():
        assert not array.flags.writeable


def test_tables_are_computed_once_for_a_scenario():
    assert build_market(get_scenario("regime-day")) is build_market(get_scenario("regime-day"))
    named = replace(get_scenario("regime-day"), name="another")
    assert build_market(named).scenario == named


def test_a_scenario_is_written_once_however_often_its_market_is_asked_for(monkeypatch):
    scenario, written = replace(DAY, description="written once"), []
    monkeypatch.setattr(Scenario, "to_toml", lambda self, to_toml=Scenario.to_toml: written.append(self) or to_toml(self))
    assert build_market(scenario) is build_market(scenario)
    assert len(written) == 1


def test_the_limits_are_the_thresholds_of_all_regimes():
    for name in scenario_names():
        market = build_market(get_scenario(name))
        for limits, thresholds in zip(market.limits, market.thresholds, strict=True):
            assert np.array_equal(limits, thresholds)
