"""Gatheral, Schied and Slynko (2012): the Fredholm equation by quadrature, Galerkin sums, kernels with known optima."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import gatheral_schied_slynko as paper
from hyperexec_env.baselines.closed_forms import obizhaeva_wang

EXPONENTS = [0.1, 0.4, 0.5, 0.8]
MODELS = st.builds(
    paper.PowerLaw,
    quantity=st.floats(1.0, 1e7),
    horizon=st.floats(0.1, 20.0),
    scale=st.floats(1e-9, 1e-3),
    exponent=st.floats(0.02, 0.95),
)


def galerkin(model, edges):
    """The kernel integrated over pairs of cells of a grid: |t - s|^-gamma is a second derivative of |t - s|^(2 - gamma)."""
    gamma = model.exponent
    powers = np.abs(edges[:, None] - edges) ** (2.0 - gamma) / ((1.0 - gamma) * (2.0 - gamma))
    return model.scale * (powers[1:, :-1] + powers[:-1, 1:] - powers[1:, 1:] - powers[:-1, :-1])


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_rate_solves_the_fredholm_equation(exponent):
    """Quadrature of the potential on both sides of t, with substitutions that remove the singularities of the integrand."""
    model = replace(paper.EXAMPLE, exponent=exponent, horizon=2.0)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    unit, weight = 0.5 * (nodes + 1.0), 0.5 * weights
    p, found = 0.5 * (1.0 + exponent), []
    for t in (0.05, 0.6, 1.0, 1.9):
        total = 0.0
        for end, span in ((0.0, t), (model.horizon, model.horizon - t)):
            # halves of the interval between t and an end: near t |t - s|^-gamma, near the end |s - end|^(p - 1) is singular
            near = 0.5 * span * unit ** (1.0 / (1.0 - exponent))
            s = t + math.copysign(1.0, end - t) * near
            steps = 0.5 * span / (1.0 - exponent) * unit ** (exponent / (1.0 - exponent)) * weight
            total += (model.decay(near) * paper.rate(model, s) * steps).sum()
            far = 0.5 * span * unit ** (1.0 / p)
            s = end + math.copysign(1.0, t - end) * far
            steps = 0.5 * span / p * unit ** (1.0 / p - 1.0) * weight
            total += (model.decay(np.abs(t - s)) * paper.rate(model, s) * steps).sum()
        found.append(total)
    assert found == pytest.approx([2.0 * paper.optimum(model) / model.quantity] * 4, rel=1e-6)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_optimum_agrees_with_the_quadratic_programme_over_piecewise_constant_rates(exponent):
    """The Galerkin optimum is an upper bound, exact for its own strategy, and converges on a grid refined at both ends."""
    model = replace(paper.EXAMPLE, exponent=exponent)
    gaps = []
    for cells in (40, 160):
        edges = 0.5 * model.horizon * (1.0 - np.cos(np.linspace(0.0, math.pi, cells + 1)))
        matrix = galerkin(model, edges)
        width = np.diff(edges)
        solved = np.linalg.solve(matrix, width)
        speed = model.quantity * solved / (width @ solved)
        gaps.append(0.5 * float(speed @ matrix @ speed) / paper.optimum(model) - 1.0)
        sold = np.append(0.0, np.cumsum(speed * width))
        assert sold == pytest.approx(paper.bought(model, edges), abs=0.02 * model.quantity / cells**0.5)
    assert 0.0 < gaps[1] < 0.3 * gaps[0]
    assert gaps[1] < 5e-4


@given(MODELS)
def test_the_shares_bought_are_the_integral_of_the_rate(model):
    """By Gauss-Legendre rules in the variable in which the rate is bounded at the start; the strategy is symmetric in time."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    p = 0.5 * (1.0 + model.exponent)
    for share in (0.1, 0.5):
        t = share * model.horizon
        s = t * (0.5 * (nodes + 1.0)) ** (1.0 / p)
        integral = float((paper.rate(model, s) * t / p * (0.5 * (nodes + 1.0)) ** (1.0 / p - 1.0) * 0.5 * weights).sum())
        assert integral == pytest.approx(float(paper.bought(model, t)), rel=1e-6)
        assert float(paper.bought(model, t) + paper.bought(model, model.horizon - t)) == pytest.approx(model.quantity)
    assert paper.bought(model, [0.0, model.horizon]).tolist() == [0.0, model.quantity]


@given(MODELS)
def test_a_constant_rate_costs_more(model):
    assert paper.optimum(model) < paper.constant_rate_cost(model)
    one_cell = galerkin(model, np.array([0.0, model.horizon]))[0, 0] / model.horizon**2
    assert 0.5 * model.quantity**2 * one_cell == pytest.approx(paper.constant_rate_cost(model), rel=1e-12)


def test_permanent_impact_is_the_limit_of_a_small_exponent():
    model = replace(paper.EXAMPLE, exponent=0.01)
    assert paper.optimum(model) == pytest.approx(0.5 * model.scale * model.quantity**2, rel=2e-2)


# --- discrete time


def test_an_exponential_kernel_gives_obizhaeva_and_wang():
    model = obizhaeva_wang.EXAMPLE
    times = np.linspace(0.0, model.horizon, 21)

    def decay(lags):
        return model.permanent + model.kappa * np.exp(-model.resilience * lags)

    trades = paper.discrete_trades(decay, times, model.quantity)
    assert trades == pytest.approx(obizhaeva_wang.neutral_trades(model, 21), rel=1e-9)
    assert paper.discrete_cost(decay, times, trades) == pytest.approx(obizhaeva_wang.discrete_cost(model, trades).expected)


def test_a_linear_kernel_trades_at_the_ends_only():
    """G(t) = 1 - rho t with rho T < 1: two equal blocks."""
    times = np.linspace(0.0, 1.0, 9)
    trades = paper.discrete_trades(lambda lags: 1.0 - 0.7 * lags, times, 1000.0)
    assert trades == pytest.approx([500.0, *[0.0] * 7, 500.0], abs=1e-8)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_convex_kernel_has_positive_trades_and_no_cheaper_schedule(exponent):
    model, rng = replace(paper.EXAMPLE, exponent=exponent), np.random.default_rng(2)
    times = np.sort(rng.random(30))

    def decay(lags):
        return model.decay(lags, cutoff=0.01)

    trades = paper.discrete_trades(decay, times, model.quantity)
    least = paper.discrete_cost(decay, times, trades)
    assert trades.min() > 0.0
    assert trades.sum() == pytest.approx(model.quantity, rel=1e-12)
    for _ in range(50):
        other = rng.normal(size=30)
        other = trades + rng.uniform(1e-3, 1.0) * model.quantity * (other - other.mean())
        assert paper.discrete_cost(decay, times, other) >= least * (1.0 - 1e-12)


def test_a_power_law_with_a_small_cutoff_approaches_the_closed_form():
    """Equal trades in fine slices with a cutoff of a fraction of a slice have nearly the shape of the closed form."""
    model, count = paper.EXAMPLE, 150
    times = (np.arange(count) + 0.5) / count
    trades = paper.discrete_trades(lambda lags: model.decay(lags, cutoff=0.2 / count), times, model.quantity)
    assert np.cumsum(trades)[:-1] == pytest.approx(paper.bought(model, np.arange(1, count) / count), abs=0.01 * model.quantity)


def test_a_kernel_that_rewards_round_trips_is_refused():
    """A move that grows before it decays is not positive definite."""
    with pytest.raises(ValueError, match="decay must be positive definite, otherwise a round trip between these times earns"):
        paper.discrete_trades(lambda lags: np.exp(-((lags - 0.3) ** 2) / 0.02), np.linspace(0.0, 1.0, 11), 1.0)


def test_wrong_values_are_named():
    for changes, message in [
        ({"quantity": 0.0}, "quantity must be a number"),
        ({"exponent": 1.0}, r"exponent must be a number in \[0.01, 0.99\], got 1.0"),
        ({"scale": -1.0}, "scale must be a number"),
        ({"horizon": math.inf}, "horizon must be a number"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)
    with pytest.raises(ValueError, match=r"times must be in \[0, 1\] days"):
        paper.rate(paper.EXAMPLE, -0.1)
    with pytest.raises(ValueError, match="times must increase"):
        paper.discrete_trades(np.exp, [0.0, 0.0], 1.0)
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=r"decay must return a finite number .* needs a cutoff"):
        paper.discrete_trades(paper.EXAMPLE.decay, [0.0, 1.0], 1.0)
    with pytest.raises(ValueError, match="trades must hold 2 numbers, got 1"):
        paper.discrete_cost(lambda lags: np.exp(-lags), [0.0, 1.0], [1.0])
