"""The account of an episode against the definition of the implementation shortfall, worked out from fills and mids."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.market.account import book, open_account, settle
from hyperexec_env.market.kernel import Cost, Impact, Slice, State, fill_price, mid_price, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market
from hyperexec_env.orders import Order

pytestmark = pytest.mark.fast


def episodes(name, *, complete, side, seed, price_model="abm", count=30):
    """Trade random shares through some episodes; return the statement and the tape of what the desk sees."""
    scenario = replace(get_scenario(name), complete=complete, side=side, price_model=price_model)
    market = build_market(scenario)
    path = draw_path(market, episode_keys(seed, np.arange(count)), float(side))
    wish = np.random.default_rng(seed).uniform(0.0, 1.6, (market.slices, count)) * scenario.quantity / market.slices
    order, account = Order(float(side), scenario.quantity), open_account()
    state = State(np.full(count, scenario.quantity), np.zeros(count), np.zeros(count))
    fills, traded, drift_only = np.zeros_like(wish), np.zeros_like(wish), np.zeros(count)
    for k in range(market.slices):
        slice = Slice(*(values[k] for values in path.slices))
        before = state
        state, cost = step(market.impact, before, slice, wish[k])
        traded[k] = before.remaining - state.remaining
        whole = np.where(traded[k] > 0.0, traded[k], 1.0)
        fills[k] = np.where(
            traded[k] > 0.0, fill_price(market.impact, before, slice, whole, path.world.price[k], order.side), 0.0
        )
        account = book(account, cost, slice.drift, slice.innovation)
        drift_only += state.remaining * slice.innovation
    statement = settle(account, market.impact, state, order, scenario.arrival_price)
    return scenario, market, path, state, traded, fills, drift_only, statement


PAIRS = (((True, 1, "abm"), (False, -1, "gbm")), ((True, -1, "gbm"), (False, 1, "abm")))
"""Each scenario finishes an order and leaves one open, one of them a buy and one in a geometric price."""


@pytest.mark.parametrize(
    ("name", "complete", "side", "price_model"),
    [(name, *case) for name, cases in zip(scenario_names(), cycle(PAIRS), strict=False) for case in cases],
)
def test_the_shortfall_is_what_the_fills_and_the_final_mid_say(name, complete, side, price_model):
    """IS = 1e4 s [sum n fill + (X - sum n) mid_end - X P0] / (X P0)."""
    scenario, _, path, state, traded, fills, _, statement = episodes(
        name, complete=complete, side=side, seed=3, price_model=price_model
    )
    mid_end = mid_price(state, path.world.price[-1], side)
    left = scenario.quantity - traded.sum(axis=0)
    paid = (traded * fills).sum(axis=0) + left * mid_end
    shortfall = 1e4 * side * (paid - scenario.quantity * scenario.arrival_price) / scenario.notional
    assert np.abs(statement.shortfall - shortfall).max() < 1e-9 * max(1.0, np.abs(shortfall).max())
    assert np.abs(sum(statement.components) - statement.shortfall).max() < 1e-9
    if complete:
        assert state.remaining.tolist() == [0.0] * len(state.remaining)
    else:
        assert (left > 0.0).any()


@pytest.mark.parametrize("name", scenario_names())
def test_the_objective_is_the_shortfall_without_noise_and_constant_and_with_the_risk(name):
    """J = IS - sum x_{k+1} innovation - g X^2 / 2 + risk."""
    for complete in (True, False):
        scenario, market, path, _, traded, _, noise, statement = episodes(name, complete=complete, side=1, seed=4)
        bps = 1e4 / scenario.notional
        constant = 0.5 * market.impact.permanent_slope * scenario.quantity**2
        assert statement.expected == pytest.approx(statement.shortfall - (noise + constant) * bps, abs=1e-9)
        left = scenario.quantity - np.cumsum(traded, axis=0)
        risk = (path.slices.risk * left**2 + path.slices.holding * left).sum(axis=0)
        assert statement.risk == pytest.approx(risk * bps, rel=1e-9)
        assert statement.objective == pytest.approx(statement.expected + statement.risk, abs=1e-12)


@pytest.mark.parametrize("name", scenario_names())
def test_the_components_mean_what_they_are_called(name):
    scenario, market, path, _, traded, _, _, statement = episodes(name, complete=True, side=-1, seed=5)
    bps, components = 1e4 / scenario.notional, statement.components
    assert components.spread == pytest.approx((traded * path.slices.half_spread).sum(axis=0) * bps)
    beta = scenario.temp_impact_beta
    temporary = path.slices.temporary_scale * traded * (traded / path.slices.volume) ** beta
    assert components.temporary == pytest.approx(temporary.sum(axis=0) * bps)
    constant = 0.5 * market.impact.permanent_slope * scenario.quantity**2
    assert components.permanent == pytest.approx(np.full(traded.shape[1], constant * bps))
    assert components.opportunity == pytest.approx(np.zeros(traded.shape[1]), abs=1e-9)
    # timing and drift: the shares still to trade times how the unaffected price moved against them
    left = scenario.quantity - np.cumsum(traded, axis=0)
    assert components.timing == pytest.approx((left * path.slices.innovation).sum(axis=0) * bps, abs=1e-8)
    assert components.drift == pytest.approx((left * path.slices.drift).sum(axis=0) * bps, abs=1e-8)


def test_doing_nothing_costs_the_opportunity_alone():
    impact = Impact(4e-6, 2e-6, 0.5)
    slice = Slice(1e4, 0.0, np.inf, 0.6, 0.01, 0.9, 0.02, -0.5, 0.0)
    state, cost = step(impact, State(1000.0, 0.0, 0.0), slice, 0.0)
    statement = settle(book(open_account(), cost, slice.drift, slice.innovation), impact, state, Order(1.0, 1000.0), 50.0)
    missed = 1e4 * (0.02 - 0.5) / 50.0
    assert statement.shortfall == pytest.approx(missed)
    assert statement.components.opportunity == pytest.approx(missed)
    assert sum(map(abs, statement.components[:-1])) == pytest.approx(0.0, abs=1e-12)
    # the permanent cost that was not caused counts for the policy
    assert statement.expected == pytest.approx(1e4 * 0.02 / 50.0 - 1e4 * 0.5 * 4e-6 * 1000.0 / 50.0)


costs = st.builds(Cost, *[st.floats(-1e6, 1e6)] * 7)


@given(st.lists(st.tuples(costs, st.floats(-1.0, 1.0), st.floats(-1.0, 1.0)), max_size=6))
def test_booking_adds_up(entries):
    account = open_account()
    for entry in entries:
        account = book(account, *entry)
    for component, total in account.cost._asdict().items():
        assert total == pytest.approx(sum(getattr(cost, component) for cost, _, _ in entries), abs=1e-6)
    assert account.drift_move == pytest.approx(sum(drift for _, drift, _ in entries), abs=1e-12)
    assert account.timing_move == pytest.approx(sum(innovation for _, _, innovation in entries), abs=1e-12)


def test_an_empty_account_settles_to_nothing_traded():
    statement = settle(open_account(), Impact(0.0, 0.0, 0.5), State(10.0, 0.0, 0.0), Order(1.0, 10.0), 5.0)
    assert statement.shortfall == statement.objective == statement.risk == 0.0
