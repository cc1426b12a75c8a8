"""Kyle (1985): equilibrium conditions (efficient prices, insider optimality), the continuous limit, and a simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import kyle as paper
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

MODELS = st.builds(paper.Kyle, prior_variance=st.floats(1e-6, 1e6), noise=st.floats(1e-3, 1e9))
SEEDS = st.integers(0, 2**32 - 1)


def profit_of(model, found, intensity):
    """Expected profit of an insider who buys intensity_n (v - p) dt at the price slopes of an equilibrium."""
    dt = 1.0 / len(found.slope)
    variance, profit = model.prior_variance, 0.0
    for slope, beta in zip(found.slope, intensity, strict=True):
        moved = 1.0 - slope * beta * dt
        profit += moved * beta * dt * variance
        variance = moved**2 * variance + slope**2 * model.noise**2 * dt
    return profit


@given(MODELS)
def test_a_single_auction_agrees_with_the_sequence_of_one_auction(model):
    found = paper.single_auction(model)
    assert found.slope == pytest.approx(math.sqrt(model.prior_variance) / (2.0 * model.noise), rel=1e-14)
    assert found.posterior_variance == pytest.approx(0.5 * model.prior_variance)
    same = paper.sequential(model, 1)
    assert same.slope[0] == pytest.approx(found.slope, rel=1e-12)
    assert same.intensity[0] == pytest.approx(found.intensity, rel=1e-12)
    assert same.variance[0] == pytest.approx(found.posterior_variance, rel=1e-12)
    assert same.profit == pytest.approx(found.profit, rel=1e-12)
    assert profit_of(model, same, same.intensity) == pytest.approx(found.profit, rel=1e-12)


@given(MODELS, st.integers(1, 60))
def test_prices_are_efficient(model, auctions):
    """The slope is the regression coefficient of the value on the order flow; the variance is the residual variance."""
    found, dt, before = paper.sequential(model, auctions), 1.0 / auctions, model.prior_variance
    for slope, beta, after in zip(found.slope, found.intensity, found.variance, strict=True):
        flow = (beta * dt) ** 2 * before + model.noise**2 * dt
        regression = beta * dt * before / flow
        assert slope == pytest.approx(regression, rel=1e-9)
        assert after == pytest.approx(before - regression * beta * dt * before, rel=1e-9)
        before = after


@given(MODELS, st.integers(1, 30), SEEDS, st.floats(1e-3, 1.0))
def test_no_other_intensity_earns_the_insider_more(model, auctions, seed, size):
    found = paper.sequential(model, auctions)
    assert profit_of(model, found, found.intensity) == pytest.approx(found.profit, rel=1e-9)
    other = found.intensity * (1.0 + size * np.random.default_rng(seed).normal(size=auctions))
    assert profit_of(model, found, other) <= found.profit * (1.0 + 1e-9)


@given(MODELS, st.integers(2, 40))
def test_the_equilibrium_solves_the_difference_equations(model, auctions):
    """Check equations (3.15) to (3.20) of Theorem 2."""
    found, dt = paper.sequential(model, auctions), 1.0 / auctions
    slope, alpha, delta = found.slope, found.alpha, found.delta
    assert alpha[-1] == delta[-1] == 0.0
    assert alpha[:-1] == pytest.approx(1.0 / (4.0 * slope[1:] * (1.0 - alpha[1:] * slope[1:])), rel=1e-9)
    assert delta[:-1] == pytest.approx(delta[1:] + alpha[1:] * slope[1:] ** 2 * model.noise**2 * dt, rel=1e-9)
    shares = (1.0 - 2.0 * alpha * slope) / (2.0 * slope * (1.0 - alpha * slope))
    assert found.intensity * dt == pytest.approx(shares, rel=1e-6)
    assert slope == pytest.approx(found.intensity * found.variance / model.noise**2, rel=1e-9)
    assert (slope * (1.0 - alpha * slope) > 0.0).all()  # the second-order condition
    assert (np.diff(slope) < 0.0).all()


def test_sequential_auctions_converge_to_continuous_trading():
    model = paper.Kyle(prior_variance=4.0, noise=3.0)
    limit, errors = paper.continuous(model), []
    for auctions in (100, 400, 1_600):
        found = paper.sequential(model, auctions)
        half = auctions // 2 - 1
        errors.append(
            (
                abs(found.slope[0] / limit.slope - 1.0),
                abs(found.profit / limit.profit - 1.0),
                abs(found.variance[half] / paper.continuous(model, 0.5).variance - 1.0),
                abs(found.intensity[half] / paper.continuous(model, 0.5).intensity - 1.0),
            )
        )
    errors = np.array(errors)
    assert (errors[0] < 0.07).all()
    assert (errors[1:] < 0.5 * errors[:-1]).all()
    assert (errors[2] < 0.007).all()


def test_continuous_trading_has_the_published_properties():
    model = paper.Kyle(prior_variance=4.0, noise=3.0)
    found = paper.continuous(model, [0.0, 0.5])
    assert found.slope == pytest.approx(2.0 * paper.single_auction(model).slope)
    assert found.profit == pytest.approx(2.0 * paper.single_auction(model).profit)
    assert found.variance == pytest.approx([4.0, 2.0])
    # d Sigma / dt = -(slope noise)^2 = -beta slope Sigma
    assert found.intensity * found.slope * found.variance == pytest.approx([(found.slope * 3.0) ** 2] * 2)


@given(MODELS, st.floats(0.1, 10.0), st.integers(1, 20))
def test_the_equilibrium_scales_with_its_units(model, factor, auctions):
    """Lambda scales as the sd of the value over the noise, intensities as noise over sd."""
    found = paper.sequential(model, auctions)
    wider = paper.sequential(replace(model, prior_variance=factor**2 * model.prior_variance), auctions)
    noisier = paper.sequential(replace(model, noise=factor * model.noise), auctions)
    assert wider.slope == pytest.approx(factor * found.slope, rel=1e-9)
    assert noisier.slope == pytest.approx(found.slope / factor, rel=1e-9)
    assert noisier.intensity == pytest.approx(factor * found.intensity, rel=1e-9)
    assert wider.profit == pytest.approx(factor * found.profit, rel=1e-9)
    assert noisier.variance == pytest.approx(found.variance, rel=1e-9)


@pytest.mark.parametrize("auctions", [1, 4])
def test_a_simulation_agrees_within_its_interval(auctions):
    model, episodes = paper.Kyle(prior_variance=4.0, noise=3.0), 100_000
    found, dt, rng = paper.sequential(model, auctions), 1.0 / auctions, np.random.default_rng(2)
    value, price, profit = 2.0 * rng.normal(size=episodes), np.zeros(episodes), np.zeros(episodes)
    for slope, beta, left in zip(found.slope, found.intensity, found.variance, strict=True):
        bought = beta * dt * (value - price)
        flow = bought + 3.0 * math.sqrt(dt) * rng.normal(size=episodes)
        regression = np.cov(value - price, flow)
        assert regression[0, 1] / regression[1, 1] == pytest.approx(slope, rel=0.03)
        price = price + slope * flow
        profit += bought * (value - price)
        assert np.var(value - price) == pytest.approx(left, rel=4.0 * math.sqrt(2.0 / episodes))
    assert abs(profit.mean() - found.profit) < 4.0 * profit.std(ddof=1) / math.sqrt(episodes)


def test_the_kernel_has_the_slope_of_the_auction():
    """The permanent and transient slopes of a scenario with kyle_lambda from a slope sum to that slope."""
    slope = paper.single_auction(paper.Kyle(prior_variance=0.25, noise=50_000.0)).slope
    value = paper.kyle_lambda(slope, arrival_price=100.0, adv=5e6)
    market = build_market(Scenario(adv=5e6, arrival_price=100.0, kyle_lambda=value, perm_impact_gamma=0.1))
    assert market.impact.permanent_slope + market.impact.transient_slope == pytest.approx(slope, rel=1e-12)
    assert slope == pytest.approx(0.5 / 1e5)


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="prior_variance must be a number"):
        paper.Kyle(prior_variance=0.0, noise=1.0)
    with pytest.raises(ValueError, match="noise must be a number"):
        paper.Kyle(prior_variance=1.0, noise=math.nan)
    with pytest.raises(ValueError, match=r"auctions must be a whole number in \[1, 10000\], got 0"):
        paper.sequential(paper.Kyle(1.0, 1.0), 0)
    with pytest.raises(ValueError, match=r"times must be in \[0, 1\) of a day"):
        paper.continuous(paper.Kyle(1.0, 1.0), 1.0)
    with pytest.raises(ValueError, match="adv must be a number"):
        paper.kyle_lambda(1e-6, arrival_price=100.0, adv=0.0)
