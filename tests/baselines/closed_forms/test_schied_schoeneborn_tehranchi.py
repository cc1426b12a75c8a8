"""Schied, Schoeneborn and Tehranchi (2010): dynamic programming, adaptive strategies, a simulation, the solver."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import almgren_chriss
from hyperexec_env.baselines.closed_forms import schied_schoeneborn_tehranchi as paper
from hyperexec_env.baselines.closed_forms.almgren_chriss import EXAMPLE
from hyperexec_env.baselines.solver.linear import solve_linear
from hyperexec_env.market.tables import build_market

AVERSION = 2e-6
SEEDS = st.integers(0, 2**32 - 1)


def costs(model, holdings, noise):
    """Cost of holdings after each trade, (slice, path) or (slice, 1), along standard normal noise, shape (paths,)."""
    held = np.vstack([np.full(holdings.shape[1], model.quantity), holdings])
    sold = -np.diff(held, axis=0)
    moves = model.volatility * math.sqrt(model.tau) * noise + model.drift * model.tau
    trading = model.eta / model.tau * sold**2 + model.epsilon * abs(sold) + model.gamma * sold * held[1:]
    return (trading - moves * held[1:]).sum(axis=0)


def equivalent(values, weights, aversion):
    """Certainty equivalent of costs with the given probabilities."""
    top = float(values.max())
    return top + math.log(float(weights @ np.exp(aversion * (values - top)))) / aversion


def quadrature(count, points=60):
    """Gauss-Hermite nodes of independent standard normals, shape (count, points^count), and their weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    grids = np.meshgrid(*[nodes] * count, indexing="ij")
    product = np.ones(1)
    for _ in range(count):
        product = np.outer(product, weights / weights.sum()).ravel()
    return np.array([grid.ravel() for grid in grids]), product


def test_the_optimum_of_the_example():
    """A = 2 lambda gives the schedule that Almgren and Chriss print."""
    assert paper.trades(EXAMPLE, AVERSION).round().tolist() == [458_044, 252_101, 141_957, 85_756, 62_142]
    assert paper.optimum(EXAMPLE, AVERSION) == pytest.approx(911_227 + 1e-6 * 603_431**2, abs=2.0)


def test_dynamic_programming_with_the_exponential_utility_finds_the_same_optimum():
    """The certainty equivalent of x shares is the minimum over the shares y that are held through the next price move."""
    model, nodes, weights = replace(EXAMPLE, drift=0.02), *np.polynomial.hermite_e.hermegauss(80)
    weights, grid = weights / weights.sum(), np.linspace(0.0, model.quantity, 1_001)
    moves = model.volatility * math.sqrt(model.tau) * nodes[:, None] * grid + model.drift * model.tau * grid
    held = np.log(weights @ np.exp(-AVERSION * moves)) / AVERSION  # certainty equivalent of holding y over a slice
    sold = grid[:, None] - grid
    trading = np.where(sold >= 0.0, model.eta / model.tau * sold**2 + model.epsilon * sold + model.gamma * sold * grid, np.inf)
    value = np.where(grid > 0.0, np.inf, 0.0)
    for _ in range(model.slices):
        value = (trading + held + value).min(axis=1)
    rounding = model.slices * model.eta / model.tau * (grid[1] - grid[0]) ** 2  # of the holdings to the grid, about 12 of 1.3e6
    assert 0.0 <= value[-1] - paper.optimum(model, AVERSION) <= rounding


@given(SEEDS, st.floats(1e-3, 1.0), st.floats(1e-7, 4e-6))
def test_no_strategy_that_reacts_to_the_price_has_a_lower_certainty_equivalent(seed, size, aversion):
    """Three slices; the second trade is a random function of the first price move."""
    model, rng = replace(EXAMPLE, slices=3, horizon=3.0, epsilon=0.0), np.random.default_rng(seed)
    noise, weights = quadrature(2)
    noise = np.vstack([noise, np.zeros(noise.shape[1])])
    best = model.quantity - np.cumsum(paper.trades(model, aversion))
    change = size * model.quantity * rng.normal(size=4)
    second = best[1] + change[0] + change[1] * noise[0] + change[2] * np.tanh(3.0 * noise[0])
    ones = np.ones_like(second)
    adaptive = costs(model, np.array([(best[0] + change[3]) * ones, second, 0.0 * ones]), noise)
    least = equivalent(costs(model, best[:, None], noise), weights, aversion)
    assert least == pytest.approx(paper.optimum(model, aversion), rel=1e-9)
    assert equivalent(adaptive, weights, aversion) >= least * (1.0 - 1e-12)


def test_reacting_to_the_price_lowers_the_mean_plus_variance_but_not_the_certainty_equivalent():
    """Selling faster after a rise is better in the mean and variance of Almgren and Lorenz (2007), which is not a utility."""
    model = replace(EXAMPLE, slices=3, horizon=3.0)
    noise, weights = quadrature(2)
    noise = np.vstack([noise, np.zeros(noise.shape[1])])
    best, ones = model.quantity - np.cumsum(paper.trades(model, AVERSION)), np.ones(noise.shape[1])
    static = costs(model, best[:, None], noise)
    faster = costs(model, np.array([best[0] * ones, best[1] - 0.05 * model.quantity * noise[0], 0.0 * ones]), noise)

    def mean_variance(values):
        mean = weights @ values
        return mean + 0.5 * AVERSION * (weights @ (values - mean) ** 2)

    assert mean_variance(faster) < mean_variance(static) - 100.0
    assert equivalent(faster, weights, AVERSION) > equivalent(static, weights, AVERSION) + 100.0


def test_a_simulation_agrees_within_its_interval():
    model, episodes = replace(EXAMPLE, drift=0.02), 200_000
    noise = np.random.default_rng(8).normal(size=(model.slices, episodes))
    sold = paper.trades(model, AVERSION)
    values = np.exp(AVERSION * (costs(model, (model.quantity - np.cumsum(sold))[:, None], noise) - 9e5))
    error = values.std(ddof=1) / math.sqrt(episodes) / values.mean() / AVERSION
    simulated = 9e5 + math.log(values.mean()) / AVERSION
    assert abs(simulated - paper.certainty_equivalent(model, sold, AVERSION)) < 4.0 * error
    assert paper.certainty_equivalent(model, sold, AVERSION) == pytest.approx(paper.optimum(model, AVERSION), rel=1e-12)


def test_the_solver_finds_the_same_optimum():
    model = replace(EXAMPLE, drift=0.02)
    scenario = paper.to_scenario(model, AVERSION, arrival_price=50.0, adv=5e6)
    value = solve_linear(build_market(scenario)).values[0] * scenario.notional
    assert value + 0.5 * model.gamma * model.quantity**2 == pytest.approx(paper.optimum(model, AVERSION), rel=1e-10)


def test_without_risk_aversion_the_certainty_equivalent_is_the_expected_cost():
    sold = almgren_chriss.trades(EXAMPLE, 1e-6)
    assert paper.certainty_equivalent(EXAMPLE, sold, 0.0) == almgren_chriss.expected_cost(EXAMPLE, sold)


def test_a_wrong_aversion_is_named():
    for call in (paper.mean_variance_aversion, lambda value: paper.optimum(EXAMPLE, value)):
        with pytest.raises(ValueError, match=r"absolute_aversion must be a number in \[0, 2e\+06\] 1 / currency, got -1"):
            call(-1.0)
