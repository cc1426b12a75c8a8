"""Almgren (2003): the power-law cost against quadrature, other schedules and Almgren and Chriss (2000)."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import almgren as paper
from hyperexec_env.baselines.closed_forms.almgren_chriss import AlmgrenChriss, optimum
from hyperexec_env.baselines.solver import solve
from hyperexec_env.execution.schedules import almgren_chriss, twap

pytestmark = pytest.mark.fast

SEEDS = st.integers(0, 2**32 - 1)
POWERS = st.builds(
    paper.PowerCost,
    quantity=st.floats(1.0, 1e7),
    volatility=st.floats(0.1, 5.0),
    eta=st.floats(1e-7, 1e-2),
    beta=st.floats(0.2, 3.0),
    risk_aversion=st.floats(1e-10, 1e-3),
)


@given(POWERS)
def test_the_power_moments_agree_with_quadrature(model):
    time = paper.power_time(model)
    grid = time * np.concatenate([[0.0], np.geomspace(1e-5, 1e5, 200_001)])
    held = paper.power_holdings(model, grid)
    rate, middle = -np.diff(held) / np.diff(grid), 0.5 * (held[1:] + held[:-1])
    expected = float((model.eta * rate ** (model.beta + 1.0) * np.diff(grid)).sum())
    variance = float((model.volatility**2 * middle**2 * np.diff(grid)).sum())
    found = paper.power_moments(model)
    assert expected == pytest.approx(found.expected, rel=2e-4)
    assert variance == pytest.approx(found.variance, rel=2e-4)


@given(POWERS)
def test_the_initial_rate_of_the_power_cost_is_the_order_over_its_characteristic_time(model):
    time = paper.power_time(model)
    slope = (model.quantity - paper.power_holdings(model, 1e-6 * time)) / (1e-6 * time)
    assert slope == pytest.approx(model.quantity / time, rel=1e-4)
    assert model.beta * model.eta * (model.quantity / time) ** (model.beta + 1.0) == pytest.approx(
        model.risk_aversion * model.volatility**2 * model.quantity**2
    )


def test_linear_power_cost_is_almgren_chriss_without_deadline():
    model = paper.PowerCost(quantity=1e6, volatility=0.95, eta=2.5e-6, beta=1.0, risk_aversion=1e-6)
    rate = math.sqrt(1e-6 * 0.95**2 / 2.5e-6)
    assert paper.power_time(model) == pytest.approx(1.0 / rate)
    assert paper.power_holdings(model, [0.0, 2.0]) == pytest.approx([1e6, 1e6 * math.exp(-2.0 * rate)])
    near = replace(model, beta=1.0 + 1e-9)
    assert paper.power_holdings(near, 2.0) == pytest.approx(paper.power_holdings(model, 2.0), rel=1e-6)
    long = AlmgrenChriss(1e6, 40.0, 20_000, 0.95, 0.0, 0.0, 2.5e-6)
    limit, found = paper.power_moments(model), optimum(long, 1e-6)
    assert found.expected == pytest.approx(limit.expected, rel=1e-2)
    assert found.variance == pytest.approx(limit.variance, rel=1e-2)


def test_a_convex_cost_ends_in_finite_time():
    model = paper.PowerCost(quantity=1e6, volatility=0.95, eta=1e-9, beta=2.0, risk_aversion=1e-6)
    end = 3.0 * paper.power_time(model)
    assert paper.power_holdings(model, [0.99 * end, end, 2.0 * end]) == pytest.approx([1.0, 0.0, 0.0], abs=1e-3)


def test_square_root_cost_starts_fast_and_has_a_long_tail():
    root, linear = (
        paper.PowerCost(quantity=1e6, volatility=0.95, eta=eta, beta=beta, risk_aversion=1e-6)
        for eta, beta in ((2.5e-3, 0.5), (2.5e-6, 1.0))
    )
    late = 30.0
    assert paper.power_holdings(root, late * paper.power_time(root)) > paper.power_holdings(
        linear, late * paper.power_time(linear)
    )


@given(st.integers(1, 60), st.floats(0.2, 2.0), st.one_of(st.just(0.0), st.floats(1e-6, 1e4)), SEEDS)
def test_no_other_schedule_beats_the_power_schedule(slices, beta, risk, seed):
    best = paper.power_schedule(slices, beta, risk)
    rng = np.random.default_rng(seed)

    def cost(weights):
        left = np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)
        return float((weights ** (1.0 + beta)).sum() + risk * left @ left)

    assert best.min() >= 0.0
    assert best.sum() == pytest.approx(1.0, abs=1e-12)
    for size in (1.0, 0.1, 1e-3):
        assert cost((1.0 - size) * best + size * rng.dirichlet(np.ones(slices))) >= cost(best) * (1.0 - 1e-9)
    if risk == 0.0:
        assert best == pytest.approx(twap(slices))


@given(st.integers(1, 100), st.floats(1e-6, 1e3))
def test_the_linear_power_schedule_is_almgren_chriss(slices, risk):
    found = paper.power_schedule(slices, 1.0, risk)
    assert found == pytest.approx(almgren_chriss(slices, 2.0 * math.asinh(0.5 * math.sqrt(risk))), abs=1e-9)


def test_the_power_schedule_converges_to_the_holdings_without_deadline():
    model = paper.PowerCost(quantity=1e6, volatility=0.95, eta=1e-3, beta=0.5, risk_aversion=1e-6)
    horizon, slices = 200.0 * paper.power_time(model), 20_000
    tau = horizon / slices
    temporary = model.eta * model.quantity**1.5 / tau**0.5
    weights = paper.power_schedule(slices, 0.5, 1e-6 * 0.95**2 * model.quantity**2 * tau / temporary)
    held = 1.0 - np.cumsum(weights)
    exact = paper.power_holdings(model, tau * np.arange(1, slices + 1)) / model.quantity
    assert abs(held - exact).max() < 5e-3


# --- errors


def test_a_wrong_value_is_named():
    with pytest.raises(ValueError, match="times must be non-negative"):
        paper.power_holdings(paper.PowerCost(1e6, 0.95, 1e-9, 2.0, 1e-6), [-1.0])
    with pytest.raises(ValueError, match="beta must be a number"):
        paper.power_schedule(5, 0.0, 1.0)
    with pytest.raises(ValueError, match="risk_aversion must be a number"):
        paper.PowerCost(1e6, 0.95, 1e-9, 2.0, 0.0)


# --- the scenario


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
def test_the_best_schedule_of_the_scenario_is_the_power_schedule(beta):
    """The solver of the market agrees with the first-order conditions of the paper's problem with a deadline."""
    model, slices = paper.PowerCost(1e6, 0.95, 2.5e-6 * 2e5 ** (1.0 - beta), beta, 1e-6), 10
    scenario = paper.to_scenario(model, 5.0, slices, arrival_price=50.0, adv=5e6)
    tau, x = 0.5, model.quantity
    trading, holding = model.eta * x ** (1.0 + beta) / tau**beta, model.risk_aversion * model.volatility**2 * tau * x**2
    weights = paper.power_schedule(slices, beta, holding / trading)
    left = 1.0 - np.cumsum(weights)
    cost = trading * (weights ** (1.0 + beta)).sum() + holding * (left**2).sum()
    solution = solve(scenario, cached=False)
    assert solution.open_loop_bps == pytest.approx(1e4 * cost / scenario.notional, rel=1e-9)
    assert solution.optimum_bps == pytest.approx(solution.open_loop_bps, rel=1e-5)
    assert solution.schedule == pytest.approx(weights, abs=1e-4)
