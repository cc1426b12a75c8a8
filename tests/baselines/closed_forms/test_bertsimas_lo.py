"""Bertsimas and Lo (1998): published numbers, optimality against other policies, a simulation, agreement with the kernel."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import bertsimas_lo as paper
from hyperexec_env.market.kernel import Slice, State, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

MODELS = st.builds(
    paper.BertsimasLo,
    price=st.floats(1.0, 200.0),
    quantity=st.floats(1.0, 1e7),
    periods=st.integers(1, 40),
    theta=st.floats(1e-8, 1e-3),
    gamma=st.floats(0.0, 20.0),
    rho=st.floats(-0.9, 0.9),
    var_eta=st.floats(0.0, 0.1),
)
SEEDS = st.integers(0, 2**32 - 1)


def signals_of(model, episodes, seed):
    """Draw stationary signal paths, shape (time, episode)."""
    rng = np.random.default_rng(seed)
    now, seen = math.sqrt(model.stationary_variance) * rng.normal(size=episodes), []
    for _ in range(model.periods):
        seen.append(now)
        now = model.rho * now + math.sqrt(model.var_eta) * rng.normal(size=episodes)
    return np.array(seen)


def policy_cost(model, by_remaining, by_signal):
    """Expected cost of a linear policy S = by_remaining_k W + by_signal_k X with k later periods, by backward recursion."""
    a, b, c, d = model.theta, model.gamma, 0.0, 0.0
    for k in range(1, model.periods):
        share, reaction, rho = by_remaining[k], by_signal[k], model.rho
        rest = 1.0 - share
        # P W + theta S W + gamma X W + a (W - S)^2 + b rho X (W - S) + c (rho^2 X^2 + var) + d with S = share W + reaction X
        a, b, c, d = (
            model.theta * share + a * rest**2,
            model.theta * reaction + model.gamma - 2.0 * a * rest * reaction + b * rho * rest,
            a * reaction**2 - b * rho * reaction + c * rho**2,
            c * model.var_eta + d,
        )
    square = model.stationary_variance
    return model.price * model.quantity + a * model.quantity**2 + c * square + d


# --- published numbers


def test_the_costs_of_the_example():
    assert paper.naive_cost(paper.EXAMPLE) == pytest.approx(5_262_500.0, rel=1e-15)
    assert round(paper.informed_cost(paper.EXAMPLE), 2) == 5_258_349.13


# --- laws


@given(MODELS)
def test_the_coefficients_are_the_cost_of_their_own_policy(model):
    found = paper.coefficients(model)
    assert policy_cost(model, found.by_remaining, found.by_signal) == pytest.approx(paper.informed_cost(model), rel=1e-9)


@given(MODELS, SEEDS, st.floats(1e-4, 1.0))
def test_no_other_linear_policy_costs_less(model, seed, size):
    found, rng = paper.coefficients(model), np.random.default_rng(seed)
    least = paper.informed_cost(model)
    shares = found.by_remaining + size * rng.normal(size=model.periods)
    reactions = found.by_signal + size * rng.normal(size=model.periods) * max(abs(found.by_signal).max(), 1.0)
    assert policy_cost(model, shares, reactions) >= least - 1e-9 * abs(least)
    assert policy_cost(model, found.by_remaining, reactions) >= least - 1e-9 * abs(least)


@given(MODELS)
def test_information_never_raises_the_cost_and_has_no_value_without_a_signal(model):
    room = 1e-12 * paper.naive_cost(model)
    assert paper.informed_cost(model) <= paper.naive_cost(model) + room
    assert paper.naive_cost(model) == pytest.approx(policy_cost(model, 1.0 / np.arange(1.0, model.periods + 1.0), [0.0] * 99))
    for uninformative in (replace(model, rho=0.0), replace(model, var_eta=0.0), replace(model, gamma=0.0)):
        assert paper.informed_cost(uninformative) == pytest.approx(paper.naive_cost(uninformative), rel=1e-12)


@given(MODELS)
def test_the_cost_averaged_over_the_first_signal_is_the_stationary_cost(model):
    sd = math.sqrt(model.stationary_variance)
    pair = 0.5 * (paper.informed_cost(model, sd) + paper.informed_cost(model, -sd))  # the cost is quadratic in the signal
    assert pair == pytest.approx(paper.informed_cost(model), rel=1e-12)


def test_two_periods_by_hand():
    model = replace(paper.EXAMPLE, periods=2)
    # S_1 minimises theta S_1 W + theta (W - S_1)^2 + gamma rho X (W - S_1): S_1 = W / 2 + gamma rho X / (2 theta)
    assert paper.trades(model, [0.1, 7.0]) == pytest.approx([50_000.0 + 2_500.0, 50_000.0 - 2_500.0])
    saved = paper.naive_cost(model) - paper.informed_cost(model, 0.0)
    assert saved == pytest.approx(0.0, abs=1e-6)
    saved = paper.naive_cost(model) - paper.informed_cost(model)
    assert saved == pytest.approx((5.0 * 0.5) ** 2 / (4.0 * 5e-5) * 0.001 / 0.75)


@given(MODELS, SEEDS)
def test_trades_sum_to_the_quantity(model, seed):
    seen = signals_of(model, 3, seed)
    bought = paper.trades(model, seen)
    assert bought.shape == seen.shape
    assert bought.sum(axis=0) == pytest.approx([model.quantity] * 3, rel=1e-9, abs=1e-9 * (1.0 + abs(bought).max()))
    assert paper.trades(model, seen[:, 1]) == pytest.approx(bought[:, 1])


def test_a_simulation_agrees_within_its_interval():
    model, episodes = paper.EXAMPLE, 40_000
    seen = signals_of(model, episodes, 3)
    noise = 0.125 * np.random.default_rng(4).normal(size=seen.shape)
    informed = paper.trading_cost(model, paper.trades(model, seen), seen, noise)
    naive = paper.trading_cost(model, np.full_like(seen, model.quantity / model.periods), seen, noise)
    for costs, exact in (
        (informed, paper.informed_cost(model)),
        (naive, paper.naive_cost(model)),
        (naive - informed, paper.naive_cost(model) - paper.informed_cost(model)),
    ):
        assert abs(costs.mean() - exact) < 4.0 * costs.std(ddof=1) / math.sqrt(episodes)
    assert (paper.trades(model, seen) < 0.0).any()  # the optimal policy also sells, which the environment does not allow


# --- the kernel


def kernel_cost(market, path, bought):
    """The kernel's expected cost of trades of both signs on drawn paths, currency, shape (episode,)."""
    state = State(np.full(bought.shape[1], market.scenario.quantity), 0.0, 0.0)
    total = np.zeros(bought.shape[1])
    for k, shares in enumerate(bought):
        slice = Slice(*(values[k] for values in path.slices))._replace(least=np.full(len(shares), -math.inf))
        state, cost = step(market.impact, state, slice, shares)
        total += cost.permanent + cost.transient + cost.temporary + cost.spread + cost.drift
    return total


def test_the_kernel_agrees_with_the_paper():
    """Compare costs on drawn market paths, with the order flow as the signal."""
    model = paper.EXAMPLE
    market = build_market(paper.to_scenario(model, sd_noise=0.125, adv=1e6))
    path = draw_path(market, episode_keys(0, np.arange(20_000)), 1.0)
    seen = math.sqrt(model.stationary_variance) * path.world.flow[:-1]
    news = model.gamma * (seen[1:] - model.rho * seen[:-1])
    bought = paper.trades(model, seen)
    # the kernel clips purchases at the remaining shares: compare only paths on which it does not
    inside = ((model.quantity - np.cumsum(bought, axis=0)) > -1e-6).all(axis=0)
    assert inside.mean() > 0.9
    kernel = kernel_cost(market, path, bought)[inside]
    left = model.quantity - np.cumsum(bought, axis=0)
    full = paper.trading_cost(model, bought, seen)
    news_cost = (left[:-1] * news).sum(axis=0) + model.gamma * seen[0] * model.quantity
    assert kernel == pytest.approx((full - news_cost)[inside] - model.price * model.quantity, rel=1e-9, abs=1e-3)


def test_the_scenario_has_the_moments_of_the_paper():
    model = paper.EXAMPLE
    scenario = paper.to_scenario(model, sd_noise=0.125, adv=1e6)
    market = build_market(scenario)
    per_period = (market.step_volatility[0, 0] * scenario.arrival_price) ** 2
    assert per_period == pytest.approx(25.0 * 0.001 / 0.75 + 0.125**2)
    assert per_period * scenario.flow_share == pytest.approx(25.0 * 0.001 / 0.75)
    assert market.impact.permanent_slope == pytest.approx(5e-5)
    assert market.impact.transient_slope == pytest.approx(0.0, abs=1e-20)


# --- errors


def test_a_wrong_parameter_is_named():
    for changes, message in [
        ({"price": 0.0}, "price must be a number"),
        ({"quantity": math.inf}, "quantity must be a number"),
        ({"periods": 1.5}, r"periods must be a whole number in \[1, 100000\], got 1.5"),
        ({"theta": 0.0}, "theta must be a number"),
        ({"gamma": math.nan}, "gamma must be a number"),
        ({"rho": 1.0}, r"rho must be a number in \[-0.999, 0.999\], got 1.0"),
        ({"var_eta": -1.0}, "var_eta must be a number"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)


def test_other_wrong_values_are_named():
    with pytest.raises(ValueError, match="signals must hold 20 periods"):
        paper.trades(paper.EXAMPLE, [0.0] * 19)
    with pytest.raises(ValueError, match="signals must hold 20 periods"):
        paper.trades(paper.EXAMPLE, [math.nan] * 20)
    with pytest.raises(ValueError, match="first_signal must be a number"):
        paper.informed_cost(paper.EXAMPLE, math.inf)
    with pytest.raises(ValueError, match="sd_noise must be a number"):
        paper.to_scenario(paper.EXAMPLE, sd_noise=0.0, adv=1e6)
