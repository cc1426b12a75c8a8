"""Obizhaeva and Wang (2013): published numbers, optimality by independent methods, discrete against continuous, the kernel."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import obizhaeva_wang as paper
from hyperexec_env.execution.estimates import estimate_schedule
from hyperexec_env.market.kernel import Slice, State, step
from hyperexec_env.market.tables import build_market
from hyperexec_env.orders import ParentOrder

pytestmark = pytest.mark.fast

MODELS = st.builds(
    lambda depth, share, **rest: paper.ObizhaevaWang(depth=depth, permanent=share / depth, **rest),
    depth=st.floats(10.0, 1e6),
    share=st.floats(0.0, 0.95),
    quantity=st.floats(1.0, 1e7),
    horizon=st.floats(0.05, 5.0),
    resilience=st.floats(0.05, 50.0),
    volatility=st.floats(0.01, 5.0),
    risk_aversion=st.one_of(st.just(0.0), st.floats(1e-12, 1e-1)),
)
SEEDS = st.integers(0, 2**32 - 1)


def quadratic_programme(model, count):
    """Optimal trades at equally spaced times, from the normal equations of the propagator matrix."""
    times = np.linspace(0.0, model.horizon, count)
    tau = model.horizon / (count - 1)
    propagator = model.kappa * np.exp(-model.resilience * abs(times[:, None] - times))
    left = np.triu(np.ones((count, count)), 1)
    hessian = propagator + 2.0 * model.aversion * tau * left.T @ left
    scale = abs(hessian).max()
    system = np.block([[hessian / scale, np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
    return np.linalg.solve(system, np.append(np.zeros(count), model.quantity))[:count]


# --- published numbers


def test_the_blocks_of_the_example():
    found = paper.continuous(paper.EXAMPLE)
    assert found.first == pytest.approx(25_000.0, rel=1e-14)
    assert found.last == pytest.approx(25_000.0, rel=1e-14)
    assert paper.rate(paper.EXAMPLE, [0.0, 0.3, 1.0]) == pytest.approx([50_000.0] * 3, rel=1e-14)
    assert paper.remaining(paper.EXAMPLE, [0.0, 0.5, 1.0]) == pytest.approx([75_000.0, 50_000.0, 25_000.0], rel=1e-14)


def test_the_savings_of_the_example():
    assert round(100.0 * paper.saving(paper.EXAMPLE), 2) == 4.32  # lambda = kappa
    assert round(100.0 * paper.saving(replace(paper.EXAMPLE, permanent=0.0)), 2) == 11.92


def test_the_cost_of_the_risk_neutral_optimum():
    found = paper.continuous(paper.EXAMPLE)
    assert found.expected == pytest.approx(0.5 * 1e-4 * 1e10 + 1e-4 * 1e10 / 4.0, rel=1e-14)  # kappa X^2 / (2 + rho T)
    assert found.variance == 0.0


# --- laws


@given(MODELS)
def test_block_trades_and_rate_sum_to_the_quantity(model):
    found = paper.continuous(model)
    grid = np.linspace(0.0, model.horizon, 2_001)
    held, pace = paper.remaining(model, grid), paper.rate(model, grid)
    assert min(found.first, found.last, pace.min()) >= 0.0
    assert held[0] == pytest.approx(model.quantity - found.first, rel=1e-6, abs=1e-9 * model.quantity)
    assert held[-1] == pytest.approx(found.last, rel=1e-9, abs=1e-12 * model.quantity)
    slope = -np.diff(held) / np.diff(grid)
    bent = abs(np.diff(pace)).max()
    assert slope == pytest.approx(0.5 * (pace[1:] + pace[:-1]), rel=1e-3, abs=bent + 1e-9 * model.quantity)


@given(MODELS)
def test_the_moments_agree_with_quadrature(model):
    """Integrate the cost of the block trades and of continuous trading on a grid."""
    found, count = paper.continuous(model), 4_001
    grid = np.linspace(0.0, model.horizon, count)
    held = paper.remaining(model, grid)
    bought = np.concatenate([[found.first], -np.diff(held), [found.last]])  # continuous trades are placed at interval midpoints
    tau = model.horizon / (count - 1)
    half, displacement, cost = math.exp(-0.5 * model.resilience * tau), 0.0, 0.0
    for k, shares in enumerate(bought):
        displacement *= half if k == count else (half if k == 1 else half * half) if k else 1.0
        cost += shares * (displacement + 0.5 * model.kappa * shares)
        displacement += model.kappa * shares
    cost += 0.5 * model.permanent * model.quantity**2
    square = float((0.5 * (held[1:] ** 2 + held[:-1] ** 2)).sum()) * tau
    assert cost == pytest.approx(found.expected, rel=2e-3)
    assert model.volatility**2 * square == pytest.approx(found.variance, rel=2e-3, abs=1e-12 * model.quantity**2)


@given(MODELS, st.integers(2, 60))
def test_discrete_trades_solve_the_normal_equations(model, count):
    found, solved = paper.discrete_trades(model, count), quadratic_programme(model, count)
    assert found == pytest.approx(solved, rel=1e-5, abs=1e-6 * model.quantity)
    assert found.sum() == pytest.approx(model.quantity, rel=1e-9)


@given(MODELS, st.integers(2, 60))
def test_neutral_trades_are_the_discrete_trades_without_risk_aversion(model, count):
    neutral = replace(model, risk_aversion=0.0)
    found = paper.discrete_trades(neutral, count)
    assert found == pytest.approx(paper.neutral_trades(model, count), rel=1e-6, abs=1e-9 * model.quantity)


@given(MODELS, st.integers(2, 40), SEEDS, st.floats(1e-4, 1.0))
def test_no_other_trades_have_a_lower_objective(model, count, seed, size):
    best = paper.discrete_trades(model, count)
    other = np.random.default_rng(seed).normal(size=count)
    least = paper.discrete_cost(model, best).objective
    changed = paper.discrete_cost(model, best + size * model.quantity * (other - other.mean())).objective
    assert changed >= least * (1.0 - 1e-9)
    assert least >= paper.continuous(model).objective * (1.0 - 1e-9)  # continuous trading is never worse


def test_discrete_trades_converge_to_continuous_trading():
    for aversion in [0.0, 1e-6, 1e-4, 1e-2]:
        model = replace(paper.EXAMPLE, volatility=1.0, risk_aversion=aversion)
        limit, errors = paper.continuous(model), []
        for count in (101, 201, 401):
            trades = paper.discrete_trades(model, count)
            errors.append(paper.discrete_cost(model, trades).objective / limit.objective - 1.0)
        assert 0.0 < errors[2] < errors[1] < errors[0] < 2e-2
        assert errors[1] / errors[2] > 1.8  # convergence is at least of first order in the time between trades
        trades = paper.discrete_trades(model, 4_001)
        assert trades[0] == pytest.approx(limit.first, rel=1e-2)
        assert trades[-1] == pytest.approx(limit.last, rel=2e-2, abs=1.0)
        left = model.quantity - np.cumsum(trades)
        assert left[[1_000, 2_000, 3_000]] == pytest.approx(paper.remaining(model, [0.25, 0.5, 0.75]), rel=1e-2, abs=1.0)


@given(MODELS)
def test_the_optimum_is_continuous_at_zero_risk_aversion(model):
    neutral, near = (paper.continuous(replace(model, risk_aversion=value)) for value in (0.0, 1e-20))
    assert tuple(near) == pytest.approx(tuple(neutral), rel=1e-6)


@given(MODELS, st.floats(1.1, 100.0))
def test_risk_aversion_lowers_the_variance_and_raises_the_cost(model, factor):
    model = replace(model, risk_aversion=max(model.risk_aversion, 1e-10))
    low, high = paper.continuous(model), paper.continuous(replace(model, risk_aversion=factor * model.risk_aversion))
    assert high.expected >= low.expected * (1.0 - 1e-9)
    assert high.variance <= low.variance * (1.0 + 1e-9)
    assert high.first >= low.first * (1.0 - 1e-9)
    assert low.first >= low.last * (1.0 - 1e-9)


@given(MODELS)
def test_the_variance_is_the_slope_of_the_objective_in_the_risk_aversion(model):
    model = replace(model, risk_aversion=max(model.risk_aversion, 1e-8))
    up, down = (paper.continuous(replace(model, risk_aversion=model.risk_aversion * factor)) for factor in (1.001, 0.999))
    slope = (up.objective - down.objective) / (0.002 * model.risk_aversion)
    room = 1e-11 * up.objective / (0.002 * model.risk_aversion)
    assert slope == pytest.approx(paper.continuous(model).variance, rel=1e-4, abs=room)


def test_limits_of_resilience_and_risk_aversion():
    fast = paper.continuous(replace(paper.EXAMPLE, resilience=1e5))
    assert fast.first == pytest.approx(1e5 / (2.0 + 1e5))
    slow = paper.continuous(replace(paper.EXAMPLE, resilience=1e-6))
    assert slow.expected == pytest.approx(0.5 * 1e10 / 5_000.0, rel=1e-5)  # without recovery every schedule costs X^2 / (2 q)
    averse = paper.continuous(replace(paper.EXAMPLE, volatility=1.0, risk_aversion=1e5))
    assert averse.first == pytest.approx(1e5, rel=1e-4)
    assert averse.expected == pytest.approx(0.5 * 1e10 / 5_000.0, rel=1e-4)
    assert paper.discrete_trades(paper.EXAMPLE, 1).tolist() == [1e5]


def test_a_constant_rate_agrees_with_equal_trades():
    for resilience in [1e-4, 9.9e-3, 1.01e-2, 1.0, 30.0]:
        model = replace(paper.EXAMPLE, resilience=resilience, volatility=0.5, risk_aversion=1e-5)
        found, count = paper.constant_rate(model), 4_000
        trades = paper.discrete_cost(model, np.full(count, model.quantity / count))
        assert found.expected == pytest.approx(trades.expected, rel=5e-3)
        assert found.variance == pytest.approx(trades.variance, rel=1e-3)
        assert found.objective == pytest.approx(found.expected + 1e-5 * found.variance, rel=1e-12)
        assert found.objective >= paper.continuous(model).objective


# --- the kernel


@given(MODELS, st.integers(2, 40), SEEDS)
def test_the_kernel_agrees_with_the_paper(model, count, seed):
    scenario = paper.to_scenario(model, count, arrival_price=100.0, adv=1e6)
    market = build_market(scenario)
    trades = model.quantity * np.random.default_rng(seed).dirichlet(np.ones(count))
    state, total, timing, risk = State(model.quantity, 0.0, 0.0), 0.0, 0.0, 0.0
    for shares in trades.tolist():
        slice = Slice(
            volume=1.0,
            least=0.0,
            limit=math.inf,
            temporary_scale=float(market.temporary_scale[0]),
            half_spread=float(market.half_spread[0]),
            transient_decay=float(market.transient_decay[0]),
            drift=0.0,
            innovation=float(market.step_volatility[0, 0]) * 100.0,
            risk=float(market.risk[0, 0]),
        )
        state, cost = step(market.impact, state, slice, shares)
        total += cost.permanent + cost.transient + cost.temporary + cost.spread
        timing += cost.timing**2
        risk += cost.risk
    found = paper.discrete_cost(model, trades)
    assert total == pytest.approx(found.expected, rel=1e-9)
    assert timing == pytest.approx(found.variance, rel=1e-9)
    assert risk == pytest.approx(model.risk_aversion * found.variance, rel=1e-9)


def test_the_estimate_of_the_example_scenario_agrees_with_the_paper():
    scenario = paper.to_scenario(paper.EXAMPLE, 101, arrival_price=100.0, adv=1e6)
    trades = paper.discrete_trades(paper.EXAMPLE, 101)
    parent = ParentOrder(symbol="X", side=1, quantity=100_000, arrival_price=100.0)
    found = estimate_schedule(parent, scenario, shares=trades)
    assert found.cost == pytest.approx(paper.discrete_cost(paper.EXAMPLE, trades).expected, rel=1e-9)
    assert found.cost == pytest.approx(750_000.0, rel=1e-4)


# --- errors


def test_a_wrong_parameter_is_named():
    for changes, message in [
        ({"quantity": -1.0}, "quantity must be a number"),
        ({"horizon": 0.0}, "horizon must be a number"),
        ({"depth": math.nan}, "depth must be a number"),
        ({"permanent": 3e-4}, "permanent must be below 1 / depth = 0.0002, got 0.0003"),
        ({"permanent": -1.0}, "permanent must be a number"),
        ({"resilience": 0.0}, r"resilience must be a number in \(0, 1e\+06\] per day, got 0.0"),
        ({"volatility": "x"}, "volatility must be a number"),
        ({"risk_aversion": -1e-9}, "risk_aversion must be a number"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)


def test_other_wrong_values_are_named():
    with pytest.raises(ValueError, match=r"times must be in \[0, 1\] days"):
        paper.remaining(paper.EXAMPLE, 1.5)
    with pytest.raises(ValueError, match="count must be a whole number"):
        paper.discrete_trades(paper.EXAMPLE, 0)
    with pytest.raises(ValueError, match="count must be a whole number"):
        paper.neutral_trades(paper.EXAMPLE, 1)
    with pytest.raises(ValueError, match="trades must sum to the quantity"):
        paper.discrete_cost(paper.EXAMPLE, [1.0, 2.0])
