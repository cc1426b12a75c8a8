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
FINE = replace(
    paper.EXAMPLE,
    before=replace(almgren_chriss.EXAMPLE, horizon=2.0, slices=20),
    after=[
        replace(branch, slices=30, volatility=factor * 0.95)
        for branch, factor in zip(paper.EXAMPLE.after, (0.5, 2.0), strict=True)
    ],
)
"""Slices of a tenth of a day; the volatility of Table 1 halves or doubles."""
WHOLE = replace(almgren_chriss.EXAMPLE, slices=50)
"""The example of the paper without an event, in the same slices."""


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


# --- Figure 4


def test_the_trajectories_of_figure_4_are_the_formulas_of_the_paper():
    """Hyperbolic sines between X, X* and 0 with the urgency of each set of parameters; X* by a search over a grid."""
    model = paper.EXAMPLE
    found = paper.optimum(model, LAMBDA)
    grid = np.linspace(0.0, 1e6, 1_000_001)
    assert found.held == pytest.approx(grid[np.argmin(objective(paper.moments(model, grid, LAMBDA)))], abs=1.0)

    def rise(market, times):
        rate = almgren_chriss.urgency(market, LAMBDA)
        return np.sinh(rate * np.asarray(times)) / math.sinh(rate * market.horizon)

    passed = np.arange(3.0)
    before = 1e6 * rise(model.before, 2.0 - passed) + found.held * rise(model.before, passed)
    assert found.before == pytest.approx(before, rel=1e-12)
    for path, branch in zip(found.after, model.after, strict=True):
        assert path == pytest.approx(found.held * rise(branch, 3.0 - np.arange(4.0)), rel=1e-12, abs=1e-9)


def test_the_curves_of_figure_4():
    """The programme sells faster than the dashed line before the event, then slower (case 1) or faster (case 2)."""
    found = paper.optimum(paper.EXAMPLE, LAMBDA)
    dashed = almgren_chriss.holdings(replace(almgren_chriss.EXAMPLE, volatility=0.95 / 3.0), LAMBDA)
    assert (found.before[1:] < dashed[1:3]).all()
    calm, wild = (path[1:-1] / path[0] for path in found.after)
    assert (calm > dashed[3:5] / dashed[2]).all()
    assert (wild < dashed[3:5] / dashed[2]).all()


@pytest.mark.parametrize("chance", [0.0, 0.1, 0.9, 1.0])
def test_the_claims_of_figure_4_do_not_depend_on_its_probabilities(chance):
    """The paper states none: the trader holds less at the event, the likelier the volatile branch is."""
    held = [paper.optimum(replace(paper.EXAMPLE, probabilities=(1.0 - p, p)), LAMBDA).held for p in (chance, 0.5)]
    assert (held[0] - held[1]) * (0.5 - chance) > 0.0


# --- laws


def test_without_a_shift_the_programme_is_that_of_the_whole_horizon():
    """Section 3.1: the static optimum is time consistent."""
    model = replace(FINE, after=[replace(WHOLE, horizon=3.0, slices=30)] * 2, probabilities=(0.3, 0.7))
    found, whole = paper.optimum(model, LAMBDA), almgren_chriss.optimum(WHOLE, LAMBDA)
    assert found.moments.expected == pytest.approx(whole.expected, rel=1e-10)
    assert found.moments.variance == pytest.approx(whole.variance, rel=1e-8)
    held = almgren_chriss.holdings(WHOLE, LAMBDA)
    assert found.before == pytest.approx(held[:21], rel=1e-6)
    assert all(path == pytest.approx(held[20:], rel=1e-6, abs=1e-3) for path in found.after)


def test_the_programme_has_the_stated_moments_and_agrees_with_a_simulation():
    model, episodes = FINE, 40_000
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
    model, rng = FINE, np.random.default_rng(seed)
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
        name: paper.optimum(replace(FINE, after=(calm, branch)), LAMBDA).held
        for name, branch in {
            "same": calm,
            "volatile": replace(calm, volatility=3.0 * calm.volatility),
            "illiquid": replace(calm, eta=4.0 * calm.eta),
        }.items()
    }
    assert held["volatile"] < 0.95 * held["same"]
    assert held["illiquid"] < 0.95 * held["same"]


def test_the_variance_between_the_branches_lowers_the_holdings_at_the_event():
    model = replace(FINE, after=[replace(branch, epsilon=gap) for branch, gap in zip(FINE.after, (0.0, 2.0), strict=True)])
    same = replace(FINE, after=[replace(branch, epsilon=1.0) for branch in FINE.after])
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
        ({"before": replace(FINE.before, drift=0.1)}, "drift must be 0 before and after the event, got 0.1"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(FINE, **changes)
    with pytest.raises(ValueError, match=r"risk_aversion must be a number in \[0, 1e\+06\]"):
        paper.optimum(FINE, -1e-7)
