"""Cartea, Jaimungal and Penalva (2015), chapter 6: the Riccati equation, a quadratic programme, a simulation, limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import cartea_jaimungal as paper
from hyperexec_env.baselines.closed_forms.almgren_chriss import AlmgrenChriss
from hyperexec_env.baselines.closed_forms.almgren_chriss import optimum as almgren_chriss_optimum
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.linear import solve_linear
from hyperexec_env.market.tables import build_market

MODELS = st.builds(
    lambda excess, **values: paper.CarteaJaimungal(terminal_penalty=0.5 * values["permanent"] + excess, **values),
    excess=st.just(0.0) | st.floats(1e-7, 1e2),
    quantity=st.floats(1.0, 1e6),
    horizon=st.floats(0.1, 5.0),
    temporary=st.floats(1e-4, 1.0),
    permanent=st.floats(0.0, 1e-2),
    running_penalty=st.just(0.0) | st.floats(1e-8, 1.0),
)


def cost(model, sold):
    """Cost of sales at constant rates in slices, currency: impact, running penalty by Simpson's rule (exact), end penalty."""
    tau = model.horizon / len(sold)
    before = model.quantity - np.concatenate([[0.0], np.cumsum(sold[:-1])])
    after = before - sold
    running = model.running_penalty * tau * (before**2 + before * after + after**2).sum() / 3.0
    impact = model.temporary * (sold**2).sum() / tau + 0.5 * model.permanent * (model.quantity**2 - after[-1] ** 2)
    return impact + running + model.terminal_penalty * after[-1] ** 2


def test_the_value_solves_the_riccati_equation():
    """Runge-Kutta for dy/ds = phi - y^2 / k from y = alpha - b / 2 at the end."""
    for phi in (0.0, 1e-3, 0.1):
        for alpha in (5e-4, 1e-2, 10.0):
            model = replace(paper.EXAMPLE, running_penalty=phi, terminal_penalty=alpha)
            steps, y = 20_000, model.excess
            step = model.horizon / steps

            def slope(y, phi=phi, k=model.temporary):
                return phi - y * y / k

            for _ in range(steps):
                one = slope(y)
                two = slope(y + 0.5 * step * one)
                three = slope(y + 0.5 * step * two)
                y += step / 6.0 * (one + 2.0 * two + 2.0 * three + slope(y + step * three))
            assert float(paper.value(model, 0.0)) == pytest.approx(y, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 100.0])
@pytest.mark.parametrize("phi", [1e-9, 1e-3, 1e-2, 1e-1])
def test_the_curves_of_the_figure_of_the_book(alpha, phi):
    """All penalties of the figure, whose "infinity" is 100 in the notebook; the book writes zeta = (a + c) / (a - c)."""
    model = replace(paper.EXAMPLE, terminal_penalty=alpha, running_penalty=phi)
    a, c, g = model.excess, math.sqrt(model.temporary * model.running_penalty), model.urgency
    zeta, left = (a + c) / (a - c), 1.0 - np.array([0.0, 0.3, 0.7, 1.0])
    grown, shrunk = zeta * np.exp(g * left), np.exp(-g * left)
    inventory = (grown - shrunk) / (zeta * math.exp(g) - math.exp(-g))
    assert paper.remaining(model, 1.0 - left) == pytest.approx(inventory, rel=1e-9)
    assert paper.rate(model, 1.0 - left) == pytest.approx(g * (grown + shrunk) / (grown - shrunk) * inventory, rel=1e-9)


@given(MODELS)
def test_the_rate_is_the_loss_of_inventory_and_the_value_is_the_cost_of_it(model):
    times = np.linspace(0.0, model.horizon, 20_001)
    held, speed = paper.remaining(model, times), paper.rate(model, times)
    sold, step = held[0] - held[-1], times[1]
    assert (speed[1:-1].sum() + 0.5 * (speed[0] + speed[-1])) * step == pytest.approx(sold, rel=1e-4, abs=1e-9 * held[0])
    found = paper.optimum(model)
    assert found.left == held[-1]
    assert cost(model, -np.diff(held)) == pytest.approx(found.objective, rel=1e-4)


@given(MODELS, st.integers(0, 2**32 - 1), st.floats(1e-3, 1.0))
def test_no_other_strategy_costs_less(model, seed, size):
    rng = np.random.default_rng(seed)
    best = -np.diff(paper.remaining(model, np.linspace(0.0, model.horizon, 41)))
    least = paper.optimum(model).objective
    for sold in (best, np.full(40, model.quantity / 40.0), best + size * model.quantity * rng.normal(size=40) / 40.0):
        assert cost(model, sold) >= least * (1.0 - 1e-9)


def test_a_quadratic_programme_converges_to_the_optimum():
    """Least cost over sales at constant rates in N slices; no constraint on what is left."""
    model, gaps = paper.EXAMPLE, []
    for slices in (20, 40, 80):
        unit = np.eye(slices)
        zero = cost(model, np.zeros(slices))
        up, down = (np.array([cost(model, sign * row) for row in unit]) for sign in (1.0, -1.0))
        both = np.array([[cost(model, one + other) for other in unit] for one in unit])
        hessian = both - up[:, None] - up + zero
        np.fill_diagonal(hessian, up - 2.0 * zero + down)
        sold = np.linalg.solve(hessian, -0.5 * (up - down))
        gaps.append(cost(model, sold) / paper.optimum(model).objective - 1.0)
        assert model.quantity - sold.sum() == pytest.approx(paper.optimum(model).left, rel=1e-2)
    assert 0.0 < gaps[2] < 2e-4
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(4.0, rel=0.05)


def test_a_simulation_agrees_within_its_interval():
    """Cash and final inventory along simulated prices, with the strategy sold in small steps."""
    model, steps, episodes, price, sigma = replace(paper.EXAMPLE, quantity=10.0), 200, 5_000, 50.0, 0.05
    times = np.linspace(0.0, 1.0, steps + 1)
    held = paper.remaining(model, times)
    sold, tau = -np.diff(held), 1.0 / steps
    noise = sigma * math.sqrt(tau) * np.random.default_rng(3).normal(size=(steps, episodes))
    mid = price + np.cumsum(noise, axis=0) - noise  # at the start of each step
    own = model.permanent * (model.quantity - held)
    fills = mid - (0.5 * (own[1:] + own[:-1]) + model.temporary * sold / tau)[:, None]
    end = price + noise.sum(axis=0) - own[-1]
    revenue = (fills * sold[:, None]).sum(axis=0) + held[-1] * (end - model.terminal_penalty * held[-1])
    penalty = model.running_penalty * tau * ((held[1:] ** 2 + held[1:] * held[:-1] + held[:-1] ** 2) / 3.0).sum()
    criterion = price * model.quantity - revenue + penalty
    error = criterion.std(ddof=1) / math.sqrt(episodes)
    assert abs(criterion.mean() - paper.optimum(model).objective) < 4.0 * error


# --- limits


def test_without_permanent_impact_and_running_penalty_the_rate_is_the_closed_form_of_the_book():
    model = replace(paper.EXAMPLE, permanent=0.0, running_penalty=0.0, quantity=100.0)
    times = np.array([0.0, 0.4, 1.0])
    assert paper.rate(model, times) == pytest.approx(paper.remaining(model, times) / (1.0 - times + 1e-3 / 1e-2), rel=1e-12)
    assert paper.rate(model, times) == pytest.approx(np.full(3, 100.0 / 1.1), rel=1e-12)


def test_a_large_terminal_penalty_gives_almgren_and_chriss():
    model = paper.CarteaJaimungal(1e6, 5.0, 2.5e-6, 2.5e-7, terminal_penalty=1e3, running_penalty=1e-6 * 0.95**2)
    fine = AlmgrenChriss(1e6, 5.0, 50_000, 0.95, epsilon=0.0, gamma=2.5e-7, eta=2.5e-6)
    expected, variance = almgren_chriss_optimum(fine, 1e-6)
    found = paper.optimum(model)
    assert found.objective == pytest.approx(expected + 1e-6 * variance, rel=1e-4)
    assert found.left < 1e-2


@pytest.mark.parametrize("phi", [1e-12, 1e-16, 1e-30])
def test_the_solution_is_continuous_at_zero_running_penalty(phi):
    times = np.linspace(0.0, 1.0, 7)
    for change in ({}, {"terminal_penalty": 5e-4}):
        model, limit = (replace(paper.EXAMPLE, running_penalty=value, **change) for value in (phi, 0.0))
        assert paper.remaining(model, times) == pytest.approx(paper.remaining(limit, times), rel=1e-6)


def test_an_inventory_that_costs_nothing_is_kept():
    model = replace(paper.EXAMPLE, terminal_penalty=5e-4, running_penalty=0.0)
    assert paper.optimum(model) == (pytest.approx(5e-4), 1.0, 5e-4)


@given(MODELS)
def test_a_larger_terminal_penalty_leaves_less_and_costs_more(model):
    one, other = paper.optimum(model), paper.optimum(replace(model, terminal_penalty=2.0 * model.terminal_penalty + 1e-6))
    assert other.left <= one.left
    assert other.objective >= one.objective * (1.0 - 1e-12)


# --- the scenario


def solved(model, slices):
    """Optimum of the scenario by the solver, currency, with the permanent cost that the objective leaves out."""
    scenario = paper.to_scenario(model, slices, volatility=0.5, arrival_price=50.0, adv=1e6)
    value = solve_linear(build_market(scenario)).values[0] * scenario.notional
    return value + 0.5 * model.permanent * model.quantity**2


@pytest.mark.parametrize(("alpha", "phi"), [(1e-2, 1e-2), (1e-3, 1e-1), (100.0, 1e-3)])
def test_the_solver_converges_to_the_optimum_of_the_book(alpha, phi):
    """The running penalty is a sum over slices, whose error is of first order; the rest is exact."""
    model = replace(paper.EXAMPLE, quantity=1e4, terminal_penalty=alpha, running_penalty=phi)
    exact = paper.optimum(model).objective
    gaps = [solved(model, slices) / exact - 1.0 for slices in (200, 400)]
    assert abs(2.0 * gaps[1] - gaps[0]) < 1e-3  # Richardson
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.03)
    assert solved(replace(model, running_penalty=0.0), 3) == pytest.approx(
        paper.optimum(replace(model, running_penalty=0.0)).objective, rel=1e-10
    )


def test_the_last_trade_of_the_scenario_is_what_the_book_leaves_to_the_end():
    model = replace(paper.EXAMPLE, quantity=1e4, running_penalty=0.0)
    solution = solve(paper.to_scenario(model, 10, volatility=0.5, arrival_price=50.0, adv=1e6), cached=False)
    sold = model.quantity * solution.schedule
    assert sold[-1] == pytest.approx(paper.optimum(model).left, rel=1e-6)
    assert sold[:-1] == pytest.approx(0.1 * paper.rate(model, np.arange(10) / 10.0), rel=1e-6)


def test_shares_that_cost_nothing_at_the_end_have_no_scenario():
    model = replace(paper.EXAMPLE, terminal_penalty=5e-4)
    with pytest.raises(ValueError, match=r"terminal_penalty must exceed permanent / 2 = 0.0005 in a scenario.*, got 0.0005"):
        paper.to_scenario(model, 10, volatility=0.5, arrival_price=50.0, adv=1e6)


# --- errors


def test_a_wrong_parameter_is_named():
    for changes, message in [
        ({"quantity": 0.0}, "quantity must be a number"),
        ({"temporary": 0.0}, "temporary must be a number"),
        ({"running_penalty": -1.0}, "running_penalty must be a number"),
        ({"terminal_penalty": math.inf}, "terminal_penalty must be a number"),
        ({"permanent": 0.1}, "terminal_penalty must be at least permanent / 2 = 0.05, .* got 0.01"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)
    with pytest.raises(ValueError, match=r"times must be in \[0, 1\] days"):
        paper.rate(paper.EXAMPLE, 1.5)
