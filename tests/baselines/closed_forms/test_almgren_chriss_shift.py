"""Almgren and Chriss (2000), section 4.3: a shift of the parameters against other programmes, a simulation and limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import almgren_chriss
from hyperexec_env.baselines.closed_forms import almgren_chriss_shift as paper

LAMBDA = 1e-6
WHOLE = replace(almgren_chriss.EXAMPLE, slices=50)
"""The example of the paper in the slices of the example with an event."""


def objective(found, aversion=LAMBDA):
    return found.expected + aversion * found.variance


def costs(model, path, noise):
    """Cost of holdings (slice + 1,) along standard normal noise (slice, episode), without what is sold after the end."""
    sold = -np.diff(path)
    trading = model.eta / model.tau * sold**2 + model.epsilon * abs(sold) + model.gamma * sold * path[1:]
    return trading.sum() - model.volatility * math.sqrt(model.tau) * (path[1:] @ noise)


def own_moments(model, before, after):
    """Mean and variance of any programme, by the law of total variance."""
    rows = [(model.before, np.asarray(before), 1.0), *zip(model.after, after, model.probabilities, strict=True)]
    means = [float(costs(part, path, np.zeros((part.slices, 1)))[0]) for part, path, _ in rows]
    spread = [part.volatility**2 * part.tau * float(path[1:] @ path[1:]) for part, path, _ in rows]
    chances = np.array(model.probabilities)
    mean = chances @ means[1:]
    between = chances @ (np.array(means[1:]) - mean) ** 2
    return almgren_chriss.Moments(means[0] + mean, spread[0] + chances @ spread[1:] + between)


def test_without_a_shift_the_programme_is_that_of_the_whole_horizon():
    """Section 3.1: the static optimum is time consistent."""
    model = replace(paper.EXAMPLE, after=[replace(WHOLE, horizon=3.0, slices=30)] * 2, probabilities=(0.3, 0.7))
    found, whole = paper.optimum(model, LAMBDA), almgren_chriss.optimum(WHOLE, LAMBDA)
    assert found.moments.expected == pytest.approx(whole.expected, rel=1e-10)
    assert found.moments.variance == pytest.approx(whole.variance, rel=1e-8)
    held = almgren_chriss.holdings(WHOLE, LAMBDA)
    assert found.before == pytest.approx(held[:21], rel=1e-6)
    assert all(path == pytest.approx(held[20:], rel=1e-6, abs=1e-3) for path in found.after)


def test_the_programme_has_the_stated_moments_and_agrees_with_a_simulation():
    model, episodes = paper.EXAMPLE, 40_000
    found = paper.optimum(model, LAMBDA)
    own = own_moments(model, found.before, found.after)
    assert found.moments == (pytest.approx(own.expected, rel=1e-12), pytest.approx(own.variance, rel=1e-12))
    rng = np.random.default_rng(4)
    total = costs(model.before, found.before, rng.normal(size=(20, episodes)))
    drawn = rng.random(episodes) < model.probabilities[0]
    one, other = (
        costs(branch, path, rng.normal(size=(30, episodes))) for branch, path in zip(model.after, found.after, strict=True)
    )
    total = total + np.where(drawn, one, other)
    assert abs(total.mean() - found.moments.expected) < 4.0 * total.std(ddof=1) / math.sqrt(episodes)
    squares = (total - found.moments.expected) ** 2
    assert abs(squares.mean() - found.moments.variance) < 4.0 * squares.std(ddof=1) / math.sqrt(episodes)


@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 0.3), st.floats(1e-8, 1e-5))
def test_no_other_programme_before_the_event_has_a_lower_objective(seed, size, aversion):
    """Random trades until the event, from X to any holdings, followed by the static optimum of each branch."""
    model, rng = paper.EXAMPLE, np.random.default_rng(seed)
    found = paper.optimum(model, aversion)
    path = found.before + size * model.before.quantity * np.append(0.0, rng.normal(size=20))
    if path[-1] <= 0.0:
        return
    after = [almgren_chriss.holdings(replace(branch, quantity=path[-1]), aversion) for branch in model.after]
    assert objective(own_moments(model, path, after), aversion) >= objective(found.moments, aversion) * (1.0 - 1e-12)


def test_a_branch_with_higher_risk_or_lower_liquidity_is_prepared_for():
    """A trader sells faster before the event if volatility or temporary impact will rise in one branch."""
    calm = replace(WHOLE, horizon=3.0, slices=30)
    held = {
        name: paper.optimum(replace(paper.EXAMPLE, after=(calm, branch)), LAMBDA).held
        for name, branch in {
            "same": calm,
            "volatile": replace(calm, volatility=3.0 * calm.volatility),
            "illiquid": replace(calm, eta=4.0 * calm.eta),
        }.items()
    }
    assert held["volatile"] < 0.95 * held["same"]
    assert held["illiquid"] < 0.95 * held["same"]


def test_the_variance_between_the_branches_lowers_the_holdings_at_the_event():
    model = replace(
        paper.EXAMPLE, after=[replace(branch, epsilon=gap) for branch, gap in zip(paper.EXAMPLE.after, (0.0, 2.0), strict=True)]
    )
    same = replace(paper.EXAMPLE, after=[replace(branch, epsilon=1.0) for branch in paper.EXAMPLE.after])
    one, other = paper.optimum(model, LAMBDA), paper.optimum(same, LAMBDA)
    assert one.held < other.held
    found = paper.moments(model, np.array([1e5, 2e5]), LAMBDA)
    assert found.expected.shape == (2,)
    assert paper.moments(model, 2e5, LAMBDA).variance == pytest.approx(found.variance[1], rel=1e-15)


def test_a_wrong_parameter_is_named():
    for changes, message in [
        ({"probabilities": (0.5, 0.4)}, "probabilities must sum to 1 over the branches, got"),
        ({"probabilities": (1.0,)}, "probabilities must hold 2 numbers, got 1"),
        ({"after": (), "probabilities": ()}, "probabilities must sum to 1 over the branches"),
        ({"before": replace(paper.EXAMPLE.before, drift=0.1)}, "drift must be 0 before and after the event, got 0.1"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)
    with pytest.raises(ValueError, match=r"risk_aversion must be a number in \[0, 1e\+06\]"):
        paper.optimum(paper.EXAMPLE, -1e-7)
