"""Bertsimas and Lo (1998), section 3: other policies, a quadratic programme, a search by hand and a simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import bertsimas_lo_percentage as paper

MODELS = st.builds(
    paper.LinearPercentage,
    price=st.floats(1.0, 200.0),
    quantity=st.floats(1.0, 1e6),
    periods=st.integers(1, 30),
    theta=st.floats(1e-9, 1e-5),
    gamma=st.floats(-0.5, 0.5),
    rho=st.floats(-0.9, 0.9),
    var_eta=st.floats(0.0, 0.1),
    mu_z=st.floats(-0.02, 0.02),
    sigma_z=st.floats(0.0, 0.1),
)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(model, episodes, seed):
    """Stationary signal paths and no-impact prices, shape (time, episode)."""
    rng = np.random.default_rng(seed)
    now, seen = math.sqrt(model.stationary_variance) * rng.normal(size=episodes), []
    for _ in range(model.periods):
        seen.append(now)
        now = model.rho * now + math.sqrt(model.var_eta) * rng.normal(size=episodes)
    returns = model.mu_z + model.sigma_z * rng.normal(size=(model.periods - 1, episodes))
    prices = model.price * np.exp(np.vstack([np.zeros(episodes), np.cumsum(returns, axis=0)]))
    return np.array(seen), prices


def policy_cost(model, by_remaining, by_signal, constant):
    """Expected cost of any linear policy, from the moments (1, E W, E X W, E W^2) of its state, forward in time."""
    q, square = model.growth, model.stationary_variance
    w, xw, ww, total = model.quantity, 0.0, model.quantity**2, 0.0
    for t in range(model.periods):
        k = model.periods - 1 - t
        r, s, c = (1.0, 0.0, 0.0) if k == 0 else (by_remaining[k], by_signal[k], constant[k])
        bought, signal_bought = r * w + c, r * xw + s * square
        bought_square = r * r * ww + s * s * square + c * c + 2.0 * (r * s * xw + r * c * w)
        total += model.price * q**t * (bought + model.theta * bought_square + model.gamma * signal_bought)
        bought_w = r * ww + s * xw + c * w
        w, xw, ww = w - bought, model.rho * (xw - signal_bought), ww - 2.0 * bought_w + bought_square
    return total


def scale_of(model):
    """Size of the costs that cancel: of the shares and of the trades on the signal, at the largest expected price."""
    top = model.price * max(1.0, model.growth**model.periods)
    return top * (model.quantity + model.periods * (model.gamma**2 * model.stationary_variance + 1e-2) / model.theta)


@given(MODELS)
def test_the_coefficients_are_the_cost_of_their_own_policy(model):
    found = paper.coefficients(model)
    own = policy_cost(model, found.by_remaining, found.by_signal, found.constant)
    assert own == pytest.approx(paper.informed_cost(model), rel=1e-9, abs=1e-11 * scale_of(model))
    even = 1.0 / np.arange(1.0, model.periods + 1.0)
    assert policy_cost(model, even, 0.0 * even, 0.0 * even) == pytest.approx(paper.naive_cost(model), rel=1e-9)


@given(MODELS, SEEDS, st.floats(1e-4, 1.0))
def test_no_other_linear_policy_costs_less(model, seed, size):
    found, rng = paper.coefficients(model), np.random.default_rng(seed)
    least, room = paper.informed_cost(model), 1e-10 * scale_of(model)
    for name in ("by_remaining", "by_signal", "constant"):
        best = getattr(found, name)
        other = found._replace(**{name: best + size * rng.normal(size=model.periods) * max(abs(best).max(), 1.0)})
        assert policy_cost(model, other.by_remaining, other.by_signal, other.constant) >= least - room
    assert paper.naive_cost(model) >= least - room


def test_without_a_signal_and_a_trend_equal_purchases_are_optimal():
    model = replace(paper.EXAMPLE, gamma=0.0, mu_z=-0.5 * paper.EXAMPLE.sigma_z**2)
    assert paper.trades(model, np.zeros(20)) == pytest.approx([5_000.0] * 20)
    assert paper.informed_cost(model) == pytest.approx(paper.naive_cost(model), rel=1e-12)
    assert paper.naive_cost(model) == pytest.approx(5e6 * (1.0 + 5e-7 * 1e5 / 20.0), rel=1e-12)


def test_a_rising_price_is_bought_earlier():
    """Without a signal the purchases solve a quadratic programme: expected prices P q^t, temporary impact theta P q^t S."""
    model = replace(paper.EXAMPLE, gamma=0.0, mu_z=1e-4)
    bought, level = paper.trades(model, np.zeros(20)), model.growth ** np.arange(20)
    system = np.block([[2.0 * model.theta * np.diag(level), np.ones((20, 1))], [np.ones((1, 20)), np.zeros((1, 1))]])
    assert bought == pytest.approx(np.linalg.solve(system, np.append(-level, model.quantity))[:20], rel=1e-9)
    assert (np.diff(bought) < 0.0).all()


def test_two_periods_by_hand():
    """S minimises (1 + theta S + gamma X) S + q (1 + theta (W - S) + gamma rho X) (W - S)."""
    model = replace(paper.EXAMPLE, periods=2, mu_z=0.01)
    q, x, w = model.growth, 0.04, model.quantity
    grid = np.linspace(0.0, w, 1_000_001)
    cost = (1.0 + 5e-7 * grid + 0.1 * x) * grid + q * (1.0 + 5e-7 * (w - grid) + 0.1 * 0.5 * x) * (w - grid)
    assert paper.trades(model, [x, 9.0])[0] == pytest.approx(grid[np.argmin(cost)], abs=0.2)
    assert paper.informed_cost(model, x) == pytest.approx(50.0 * cost.min(), rel=1e-10)


def test_a_simulation_agrees_within_its_interval():
    model, episodes = replace(paper.EXAMPLE, mu_z=2e-4), 40_000
    seen, prices = drawn(model, episodes, 3)
    bought = paper.trades(model, seen)
    assert bought.sum(axis=0) == pytest.approx(np.full(episodes, model.quantity))
    informed = paper.trading_cost(model, bought, seen, prices)
    naive = paper.trading_cost(model, np.full_like(seen, 5_000.0), seen, prices)
    for costs, exact in (
        (informed, paper.informed_cost(model)),
        (naive, paper.naive_cost(model)),
        (naive - informed, paper.naive_cost(model) - paper.informed_cost(model)),
    ):
        assert abs(costs.mean() - exact) < 4.0 * costs.std(ddof=1) / math.sqrt(episodes)
    assert paper.naive_cost(model) - paper.informed_cost(model) > 1_000.0


@given(MODELS)
def test_the_cost_averaged_over_the_first_signal_is_the_stationary_cost(model):
    sd = math.sqrt(model.stationary_variance)
    pair = 0.5 * (paper.informed_cost(model, sd) + paper.informed_cost(model, -sd))  # the cost is quadratic in the signal
    assert pair == pytest.approx(paper.informed_cost(model), rel=1e-9, abs=1e-11 * scale_of(model))


def test_wrong_values_are_named():
    for changes, message in [
        ({"price": 0.0}, "price must be a number"),
        ({"periods": 1.5}, r"periods must be a whole number in \[1, 100000\], got 1.5"),
        ({"theta": 0.0}, r"theta must be a number in \(0, 1e\+09\] per share, got 0.0"),
        ({"rho": 1.0}, "rho must be a number"),
        ({"sigma_z": 2.0}, r"sigma_z must be a number in \[0, 1\] .*, got 2.0; for 2 % pass 0.02"),
        ({"mu_z": 0.6, "periods": 200}, r"mu_z \+ sigma_z\^2 / 2 must be within 100 / periods of 0, got 0.6"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)
    with pytest.raises(ValueError, match="signals must hold 20 periods"):
        paper.trades(paper.EXAMPLE, [0.0] * 19)
    with pytest.raises(ValueError, match="prices must hold 20 periods"):
        paper.trading_cost(paper.EXAMPLE, np.zeros(20), np.zeros(20), 50.0)
    with pytest.raises(ValueError, match="first_signal must be a number"):
        paper.informed_cost(paper.EXAMPLE, math.inf)
