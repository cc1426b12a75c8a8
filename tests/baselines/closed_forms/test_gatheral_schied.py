"""Gatheral and Schied (2011): the closed form against dynamic programming, other strategies, a simulation and the kernel."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import almgren_chriss
from hyperexec_env.baselines.closed_forms import gatheral_schied as paper
from hyperexec_env.market.kernel import Slice, State, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast


def model_of(urgency, **values):
    """A model whose quadratic risk term has the given urgency over the whole horizon; none for a constant price."""
    model = paper.GatheralSchied(**values)
    risk = (model.volatility * model.price * model.horizon) ** 2
    return replace(model, variance_aversion=urgency**2 * model.eta / risk if model.volatility > 1e-3 else 0.0)


MODELS = st.builds(
    model_of,
    urgency=st.just(0.0) | st.floats(1e-6, 20.0),
    quantity=st.floats(1.0, 1e7),
    price=st.floats(1.0, 200.0),
    horizon=st.floats(0.1, 10.0),
    volatility=st.floats(0.0, 0.5),
    eta=st.floats(1e-7, 1e-3),
    risk_aversion=st.floats(0.0, 0.1),
)
BOTH = replace(paper.EXAMPLE, variance_aversion=1e-6)
"""The example with the risk aversion of Almgren and Chriss (2000) beside the paper's own risk term."""
SEEDS = st.integers(0, 2**32 - 1)


def prices_of(model, slices, episodes, seed):
    """Draw geometric Brownian motion without drift at the start of each slice, shape (slice, episode)."""
    tau, noise = model.horizon / slices, np.random.default_rng(seed).normal(size=(slices - 1, episodes))
    moves = model.volatility * math.sqrt(tau) * noise - 0.5 * model.volatility**2 * tau
    return model.price * np.exp(np.concatenate([np.zeros((1, episodes)), np.cumsum(moves, axis=0)]))


def path_cost(model, sold, prices):
    """Temporary cost plus risk terms of trades along price paths, shape (episode,)."""
    tau = model.horizon / len(sold)
    left = model.quantity - np.cumsum(sold, axis=0)
    risk = model.variance_aversion * (model.volatility * model.price) ** 2 * left**2 + model.risk_aversion * left * prices
    return (model.eta / tau * sold**2 + tau * risk).sum(axis=0)


def riccati(model, slices):
    """Minimal cost of the order by backward induction over quadratic value functions, without the closed form."""
    tau = model.horizon / slices
    h, risk, growth = model.eta / tau, model.risk_aversion * tau, math.exp(model.volatility**2 * tau)
    q = tau * model.variance_aversion * (model.volatility * model.price) ** 2
    a, b, c = h, 0.0, 0.0
    for _ in range(slices - 1):
        # minimise over the shares y left after the trade: h (x - y)^2 + risk y S + q y^2 + a y^2 + b y S + c growth S^2
        y_x, y_s = h / (h + q + a), -(b + risk) / (2.0 * (h + q + a))
        a, b, c = (
            h * (1.0 - y_x) ** 2 + (q + a) * y_x**2,
            -2.0 * h * (1.0 - y_x) * y_s + (risk + b) * y_x + 2.0 * (q + a) * y_x * y_s,
            h * y_s**2 + (risk + b) * y_s + (q + a) * y_s**2 + c * growth,
        )
    return a * model.quantity**2 + b * model.quantity * model.price + c * model.price**2


@given(MODELS, st.integers(1, 60))
def test_the_discrete_minimum_agrees_with_dynamic_programming(model, slices):
    found, scale = paper.discrete_cost(model, slices), model.eta * model.quantity**2 / model.horizon
    scale += model.risk_aversion * model.horizon * model.quantity * model.price
    scale += (model.risk_aversion * model.price) ** 2 * model.horizon**3 / model.eta * math.exp(2.5)
    assert found == pytest.approx(riccati(model, slices), rel=1e-9, abs=1e-9 * scale)


@given(MODELS, SEEDS, st.integers(2, 20), st.floats(1e-3, 1.0))
def test_no_other_schedule_beats_the_deterministic_schedule_at_a_constant_price(model, seed, slices, size):
    constant = np.full(slices, model.price)
    best = paper.discrete_trades(model, constant)
    least = path_cost(model, best, constant)
    scale = abs(path_cost(model, best, 0.0 * constant)) + model.risk_aversion * model.horizon * model.quantity * model.price
    assert least == pytest.approx(paper.discrete_static_cost(model, slices), rel=1e-8, abs=1e-9 * scale)
    other = np.random.default_rng(seed).normal(size=slices)
    other = best + size * model.quantity * (other - other.mean())
    assert path_cost(model, other, constant) >= least - 1e-9 * scale


@pytest.mark.parametrize("aversion", [0.0, 1e-6])
def test_discrete_time_converges_to_the_theorem(aversion):
    for volatility in [0.0, 0.019, 0.3]:
        model = replace(
            paper.EXAMPLE, volatility=volatility, variance_aversion=aversion * 0.019**2 / max(volatility, 0.019) ** 2
        )
        exact = paper.expected_cost(model)
        errors = [abs(paper.discrete_cost(model, n) / exact - 1.0) for n in (100, 200, 400)]
        assert errors[0] < 2e-2
        assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)
        assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.05)
        static = [paper.discrete_static_cost(model, n) for n in (2_000, 4_000)]
        assert 2.0 * static[1] - static[0] == pytest.approx(paper.static_cost(model), rel=1e-6)


@given(MODELS)
def test_adapting_to_the_price_never_raises_the_cost(model):
    room = 1e-12 * (paper.static_cost(replace(model, risk_aversion=0.0)) + abs(paper.static_cost(model)))
    assert paper.expected_cost(model) <= paper.static_cost(model) + room
    constant = replace(model, volatility=0.0)
    assert paper.expected_cost(constant) == pytest.approx(paper.static_cost(constant), rel=1e-12, abs=room)


@pytest.mark.parametrize("volatility", [0.019, 0.2236, 0.3162, 1.0])
def test_without_a_quadratic_term_the_cost_is_the_formula_of_the_paper(volatility):
    model = replace(paper.EXAMPLE, volatility=volatility, risk_aversion=0.02)
    v, shape = volatility**2 * 5.0, 0.0
    for n in range(30, 2, -1):  # (exp(v) - 1 - v - v^2 / 2) / v^3, from its series
        shape = (shape * v + 1.0) / n if n > 3 else (shape * v + 1.0) / 6.0
    saved = (0.02 * 50.0) ** 2 / (8.0 * model.eta) * 5.0**3 * shape
    expected = model.eta * 1e12 / 5.0 + 0.5 * 0.02 * 5.0 * 1e6 * 50.0 - saved
    assert paper.expected_cost(model) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("urgency", [0.0, 0.5, 8.0])
@pytest.mark.parametrize("volatility", [0.2236, 1.0])
def test_the_value_solves_the_hamilton_jacobi_bellman_equation(volatility, urgency):
    """The value v of x shares with time s left satisfies v_s = sigma^2 S^2 v_SS / 2 + lambda x S + q x^2 - v_x^2 / (4 eta)."""
    model = replace(paper.EXAMPLE, volatility=volatility, risk_aversion=0.02)
    q = (urgency / model.horizon) ** 2 * model.eta

    def value(x, s, left):
        aversion = q / (volatility * s) ** 2  # the quadratic term does not depend on the price
        return paper.expected_cost(replace(model, quantity=x, price=s, horizon=left, variance_aversion=aversion))

    x, s, left = 1e6, 50.0, 5.0
    dx, ds, dt = 1e2, 1e-1, 1e-3
    v_s = (value(x, s, left + dt) - value(x, s, left - dt)) / (2.0 * dt)
    v_x = (value(x + dx, s, left) - value(x - dx, s, left)) / (2.0 * dx)
    v_ss = (value(x, s + ds, left) - 2.0 * value(x, s, left) + value(x, s - ds, left)) / ds**2
    right = 0.5 * volatility**2 * s**2 * v_ss + model.risk_aversion * x * s + q * x**2 - v_x**2 / (4.0 * model.eta)
    assert v_s == pytest.approx(right, rel=1e-5, abs=1e-5 * q * x**2)


def test_the_optimum_without_risk_aversion_is_twap():
    model = replace(paper.EXAMPLE, risk_aversion=0.0)
    assert paper.expected_cost(model) == pytest.approx(model.eta * 1e12 / 5.0)
    assert paper.discrete_trades(model, [50.0, 70.0, 20.0, 30.0]) == pytest.approx([2.5e5] * 4)
    assert paper.remaining(model, [0.0, 2.5, 5.0], [0.0, 1.0, 2.0]) == pytest.approx([1e6, 5e5, 0.0])


def test_a_higher_price_is_sold_faster():
    """The risk term of a share is proportional to its price, so a higher price speeds up the sale."""
    low, constant, high = (paper.discrete_trades(paper.EXAMPLE, [50.0, p, p, p, p]) for p in (40.0, 50.0, 60.0))
    held = [1e6 - np.cumsum(trades)[2] for trades in (low, constant, high)]
    assert held[0] > held[1] > held[2]
    assert low[0] == constant[0] == high[0]


@pytest.mark.parametrize("model", [paper.EXAMPLE, BOTH])
def test_discrete_trades_converge_to_the_continuous_holdings(model):
    slices = 20_000
    times = np.linspace(0.0, model.horizon, slices + 1)
    prices = model.price * (1.0 + 0.1 * np.sin(times))
    weighted = prices * paper.price_weight(model, times)
    integral = np.append(0.0, np.cumsum(0.5 * (weighted[1:] + weighted[:-1]))) * times[1]
    held = model.quantity - np.cumsum(paper.discrete_trades(model, prices[:-1]))
    assert held == pytest.approx(paper.remaining(model, times[1:], integral[1:]), rel=2e-4, abs=25.0)
    level = model.price * np.append(0.0, np.cumsum(paper.price_weight(model, 0.5 * (times[1:] + times[:-1])))) * times[1]
    assert paper.static_remaining(model, times) == pytest.approx(paper.remaining(model, times, level), abs=1e-2)
    if model is paper.EXAMPLE:
        assert integral == pytest.approx(model.price * (times + 0.1 * (1.0 - np.cos(times))), rel=1e-7)


def test_the_quadratic_term_alone_gives_almgren_and_chriss():
    model = replace(BOTH, risk_aversion=0.0)
    same = almgren_chriss.AlmgrenChriss(1e6, 5.0, 26, 0.95, epsilon=0.0, gamma=0.0, eta=2.375e-6)
    assert paper.discrete_trades(model, np.full(26, 50.0)) == pytest.approx(almgren_chriss.trades(same, 1e-6), rel=1e-9)
    found = almgren_chriss.optimum(same, 1e-6)
    assert paper.discrete_cost(model, 26) == pytest.approx(found.expected + 1e-6 * found.variance, rel=1e-10)
    assert paper.expected_cost(model) == paper.static_cost(model)


@pytest.mark.parametrize("aversion", [0.0, 1e-8])
def test_a_simulation_agrees_within_its_interval(aversion):
    model, slices, episodes = replace(paper.EXAMPLE, volatility=0.2, variance_aversion=aversion), 20, 40_000
    prices = prices_of(model, slices, episodes, 5)
    adaptive = path_cost(model, paper.discrete_trades(model, prices), prices)
    plan = paper.discrete_trades(model, np.full(slices, model.price))
    static = path_cost(model, plan[:, None], prices)
    exact = paper.discrete_cost(model, slices), paper.discrete_static_cost(model, slices)
    for costs, value in ((adaptive, exact[0]), (static, exact[1]), (static - adaptive, exact[1] - exact[0])):
        assert abs(costs.mean() - value) < 4.0 * costs.std(ddof=1) / math.sqrt(episodes)
    assert exact[0] < exact[1]


def test_no_other_reaction_to_the_price_costs_less():
    """Compare the optimal policy with policies that react more or less to the price, on common paths."""
    model, slices, episodes = replace(paper.EXAMPLE, volatility=0.1), 10, 20_000
    prices = prices_of(model, slices, episodes, 6)
    best = path_cost(model, paper.discrete_trades(model, prices), prices)
    for factor in (0.0, 0.5, 0.9, 1.1, 1.5):
        reacted = model.price + factor * (prices - model.price)
        worse = path_cost(model, paper.discrete_trades(model, reacted), prices) - best
        assert worse.mean() > -4.0 * worse.std(ddof=1) / math.sqrt(episodes)
        assert worse.mean() == pytest.approx(
            (1.0 - factor) ** 2 * (paper.discrete_static_cost(model, slices) - best.mean()), rel=0.3, abs=40.0
        )


# --- the kernel


@pytest.mark.parametrize("aversion", [0.0, 1e-7])
def test_the_kernel_agrees_with_the_paper(aversion):
    """Compare costs on drawn paths of the market's geometric price."""
    model, slices = replace(paper.EXAMPLE, risk_aversion=0.004, variance_aversion=aversion), 20
    market = build_market(paper.to_scenario(model, slices, adv=5e6))
    path = draw_path(market, episode_keys(0, np.arange(500)), -1.0)
    prices = path.world.price[:-1]
    sold = paper.discrete_trades(model, prices)
    assert sold.min() > 0.0
    state, total = State(np.full(500, model.quantity), 0.0, 0.0), np.zeros(500)
    for k, shares in enumerate(sold):
        slice = Slice(*(values[k] for values in path.slices))
        state, cost = step(market.impact, state, slice, shares)
        total += cost.expected + cost.permanent
    assert total == pytest.approx(path_cost(model, sold, prices), rel=1e-9)
    exact = paper.discrete_cost(model, slices)
    assert abs(total.mean() - exact) < 4.0 * total.std(ddof=1) / math.sqrt(500)
    returns = np.log(path.world.price[-1] / model.price)
    assert returns.std(ddof=1) == pytest.approx(model.volatility * math.sqrt(5.0), rel=0.15)


# --- errors


def test_a_wrong_parameter_is_named():
    for changes, message in [
        ({"quantity": 0.0}, "quantity must be a number"),
        ({"price": -1.0}, "price must be a number"),
        ({"horizon": math.nan}, "horizon must be a number"),
        ({"volatility": 1.9}, r"volatility must be a number in \[0, 1\] .*, got 1.9; for 1.9 % pass 0.019"),
        ({"volatility": 1.0, "horizon": 101.0}, "volatility must be at most 10 over the whole horizon"),
        ({"eta": 0.0}, "eta must be a number"),
        ({"risk_aversion": -1.0}, "risk_aversion must be a number"),
        ({"variance_aversion": -1.0}, "variance_aversion must be a number"),
        ({"variance_aversion": 1.0}, "variance_aversion must give an urgency of at most 500 over the whole horizon, got 3082"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)


def test_other_wrong_values_are_named():
    with pytest.raises(ValueError, match=r"times must be in \[0, 5\] days"):
        paper.remaining(paper.EXAMPLE, 6.0, 1.0)
    with pytest.raises(ValueError, match="prices must be positive numbers"):
        paper.discrete_trades(paper.EXAMPLE, [50.0, 0.0])
    with pytest.raises(ValueError, match="prices must be positive numbers"):
        paper.discrete_trades(paper.EXAMPLE, 50.0)
    with pytest.raises(ValueError, match="slices must be a whole number"):
        paper.discrete_cost(paper.EXAMPLE, 0)
    with pytest.raises(ValueError, match="volatility must be a number"):
        paper.to_scenario(replace(paper.EXAMPLE, volatility=0.0), 5, adv=5e6)
