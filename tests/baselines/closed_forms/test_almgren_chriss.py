"""Almgren and Chriss (2000): published numbers, optimality by independent methods, the kernel."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms import almgren_chriss as paper
from hyperexec_env.execution.estimates import estimate_schedule
from hyperexec_env.execution.schedules import almgren_chriss, twap
from hyperexec_env.market.kernel import Slice, State, step
from hyperexec_env.market.tables import build_market
from hyperexec_env.orders import ParentOrder

pytestmark = pytest.mark.fast

LAMBDA = 1e-6
MODELS = st.builds(
    paper.AlmgrenChriss,
    quantity=st.floats(1.0, 1e8),
    horizon=st.floats(0.1, 20.0),
    slices=st.integers(1, 60),
    volatility=st.floats(0.05, 5.0),
    epsilon=st.floats(0.0, 1.0),
    gamma=st.floats(0.0, 1e-6),
    eta=st.floats(2e-5, 1e-3),
)
AVERSIONS = st.one_of(st.just(0.0), st.floats(1e-14, 1e-2))
SEEDS = st.integers(0, 2**32 - 1)


def least_squares(model, aversion):
    """Trades that minimise E + lambda V, from the normal equations; the cost of epsilon is constant for one-sided trades."""
    n, left = model.slices, np.tril(np.ones((model.slices, model.slices)), -1).T
    quadratic = model.eta_tilde / model.tau * np.eye(n) + aversion * model.volatility**2 * model.tau * left.T @ left
    linear = -model.drift * model.tau * left.sum(axis=0)
    system = np.block([[2.0 * quadratic, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    scale = np.append(np.full(n, abs(quadratic).max()), 1.0)
    system = system / scale[:, None]
    return np.linalg.solve(system, np.append(-linear, model.quantity) / scale)[:n]


def objective(model, aversion, trades):
    return paper.expected_cost(model, trades) + aversion * paper.variance(model, trades)


def kernel_cost(scenario, trades):
    """The kernel's cost, squared timing cost and risk term of trades in the expected slices of a scenario."""
    market = build_market(scenario)
    state, total, risk, timing = State(float(trades.sum()), 0.0, 0.0), 0.0, 0.0, 0.0
    for k, shares in enumerate(trades.tolist()):
        slice = Slice(
            volume=float(market.mean_volume[k, 0]),
            least=-math.inf,
            limit=math.inf,
            temporary_scale=float(market.temporary_scale[0]),
            half_spread=float(market.half_spread[0]),
            transient_decay=float(market.transient_decay[0]),
            drift=scenario.side * scenario.arrival_price * float(market.step_drift[0]),
            innovation=float(market.step_volatility[0, 0]) * scenario.arrival_price,
            risk=float(market.risk[0, 0]),
        )
        state, cost = step(market.impact, state, slice, shares)
        total += cost.permanent + cost.transient + cost.temporary + cost.spread + cost.drift
        risk += cost.risk
        timing += cost.timing**2
    return total, timing, risk


# --- published numbers


def test_the_example_reproduces_the_printed_digits():
    assert paper.urgency(paper.EXAMPLE, LAMBDA) == pytest.approx(0.607076, abs=5e-7)
    assert paper.trades(paper.EXAMPLE, LAMBDA).round().tolist() == [458_044, 252_101, 141_957, 85_756, 62_142]
    found = paper.optimum(paper.EXAMPLE, LAMBDA)
    assert round(found.expected) == 911_227
    assert round(float(found.sd)) == 603_431


def test_twap_of_the_example():
    assert paper.twap(paper.EXAMPLE).expected == pytest.approx(662_500.0, rel=1e-14)
    assert round(float(paper.twap(paper.EXAMPLE).sd)) == 1_040_673


def test_table_2_gain_from_serial_correlation():
    printed = {
        2.5e-6: (19, 64, 257),
        1.25e-6: (38, 129, 514),
        0.5e-6: (96, 321, 1_286),
        0.25e-6: (192, 643, 2_571),
    }
    off = []
    for eta, row in printed.items():
        for rho, value in zip((-0.1, -0.2, -0.5), row, strict=True):
            found = 39.0 * paper.correlation_gain(0.95, eta, rho, 1.0 / 39.0)
            off += [(eta, rho, found)] if round(found) != value else []
    assert off == [(0.25e-6, -0.1, pytest.approx(191.248, abs=1e-3))]  # the table prints 192: the only entry that differs


def test_static_holdings_of_table_1():
    found = paper.static_holdings(replace(paper.EXAMPLE, drift=0.02), LAMBDA)
    assert found == pytest.approx(11_080.33, abs=0.01)  # Table 1: 11,000 shares


# --- laws


@given(MODELS, AVERSIONS)
def test_equation_20_equals_the_moments_of_the_optimal_trades(model, aversion):
    sold, found = paper.trades(model, aversion), paper.optimum(model, aversion)
    assert found.expected == pytest.approx(paper.expected_cost(model, sold), rel=1e-9)
    scale = paper.twap(model).variance
    assert found.variance == pytest.approx(paper.variance(model, sold), rel=1e-7, abs=1e-9 * scale)


@given(MODELS, AVERSIONS, st.floats(-1.0, 1.0))
def test_the_optimal_trades_solve_the_normal_equations(model, aversion, drift):
    model = replace(model, drift=drift * model.eta * model.quantity / model.horizon**2)
    found, solved = paper.trades(model, aversion), least_squares(model, aversion)
    assert found == pytest.approx(solved, rel=1e-6, abs=1e-6 * model.quantity)


@given(MODELS, AVERSIONS, st.floats(-1.0, 1.0), SEEDS, st.floats(1e-4, 1.0))
def test_no_other_schedule_has_a_lower_objective(model, aversion, drift, seed, size):
    model = replace(model, epsilon=0.0, drift=drift * model.eta * model.quantity / model.horizon**2)
    best = paper.trades(model, aversion)
    other = np.random.default_rng(seed).normal(size=model.slices)
    other = best + size * model.quantity * (other - other.mean())
    least = objective(model, aversion, best)
    assert objective(model, aversion, other) >= least - 1e-9 * abs(least) - 1e-9 * paper.twap(model).expected


@given(MODELS)
def test_the_optimum_without_risk_aversion_is_twap(model):
    assert paper.trades(model, 0.0) == pytest.approx(model.quantity * twap(model.slices))
    assert paper.optimum(model, 0.0).expected == pytest.approx(paper.twap(model).expected)
    assert paper.optimum(model, 0.0).variance == pytest.approx(paper.twap(model).variance, rel=1e-9, abs=1e-9)


def test_high_risk_aversion_sells_everything_in_the_first_slice():
    found = paper.optimum(paper.EXAMPLE, 1e5)
    x, tau = 1e6, 1.0
    assert found.expected == pytest.approx(0.0625 * x + 2.5e-6 * x * x / tau, rel=1e-9)  # equation 13
    assert found.variance == pytest.approx(0.0, abs=1e-3)


def test_the_optimal_trades_are_the_schedule_of_the_desk():
    rate = paper.urgency(paper.EXAMPLE, LAMBDA)
    assert paper.trades(paper.EXAMPLE, LAMBDA) == pytest.approx(1e6 * almgren_chriss(5, rate), rel=1e-14)
    assert paper.half_life(paper.EXAMPLE, LAMBDA) == pytest.approx(1.0 / rate)
    assert paper.half_life(paper.EXAMPLE, 0.0) == math.inf


def test_a_schedule_is_time_consistent():
    """Section 3.1: the remainder of an optimal schedule is optimal for the remaining order."""
    held = paper.holdings(paper.EXAMPLE, LAMBDA)
    rest = replace(paper.EXAMPLE, quantity=float(held[2]), horizon=3.0, slices=3)
    assert paper.holdings(rest, LAMBDA) == pytest.approx(held[2:])


@given(MODELS, SEEDS)
def test_the_frontier_is_decreasing_and_convex(model, seed):
    aversions = np.sort(10.0 ** np.random.default_rng(seed).uniform(-10.0, -3.0, 12))
    found = paper.frontier(model, aversions)
    expected, variance = found.expected, found.variance
    room = 1e-9 * paper.twap(model).variance
    assert (np.diff(expected) >= -1e-9 * expected[0]).all()
    assert (np.diff(variance) <= room).all()
    for k, aversion in enumerate(aversions):  # each point lies above each tangent
        assert (expected - expected[k] + aversion * (variance - variance[k]) >= -1e-8 * (expected + aversion * variance)).all()


def test_the_slope_of_the_frontier_is_the_risk_aversion():
    for aversion in [1e-8, 1e-7, 1e-6, 1e-5]:
        step_size = 1e-4 * aversion
        up, down = paper.optimum(paper.EXAMPLE, aversion + step_size), paper.optimum(paper.EXAMPLE, aversion - step_size)
        slope = (up.expected - down.expected) / (up.variance - down.variance)
        assert slope == pytest.approx(-aversion, rel=1e-5)


# --- negative risk aversion


def least_aversion(model):
    """Limit of lambda, from the smallest eigenvalue of the trades' cost relative to the risk of the holdings between them."""
    n = model.slices
    second = 2.0 * np.eye(n - 1) - np.eye(n - 1, k=1) - np.eye(n - 1, k=-1)
    return -np.linalg.eigvalsh(second).min() * model.eta_tilde / (model.volatility * model.tau) ** 2


@given(MODELS, st.floats(0.0, 0.98), st.floats(-1.0, 1.0))
def test_a_negative_risk_aversion_solves_the_normal_equations_too(model, share, drift):
    model = replace(model, slices=max(model.slices, 2), drift=drift * model.eta * model.quantity / model.horizon**2)
    aversion = max(share * least_aversion(model), -1e6)
    found, solved = paper.trades(model, aversion), least_squares(model, aversion)
    assert found == pytest.approx(solved, rel=1e-6, abs=1e-6 * (model.quantity + abs(found).max()))
    assert paper.holdings(model, aversion)[1:] == pytest.approx(model.quantity - np.cumsum(found), abs=1e-8 * abs(found).sum())
    point = paper.optimum(model, aversion)
    assert point.variance == pytest.approx(paper.variance(model, found), rel=1e-9, abs=1e-12 * point.variance)


def test_a_trader_who_likes_risk_postpones_the_sale():
    """Trajectory C of Figure 2 has this lambda; the paper prints no numbers of it."""
    held, even = paper.holdings(paper.EXAMPLE, -2e-7), paper.holdings(paper.EXAMPLE, 0.0)
    assert (held[1:-1] > even[1:-1]).all()
    assert (np.diff(held, 2) < 0.0).all()
    point, steady = paper.optimum(paper.EXAMPLE, -2e-7), paper.twap(paper.EXAMPLE)
    assert point.expected > steady.expected
    assert point.variance > steady.variance
    assert paper.holdings(paper.EXAMPLE, -1e-17) == pytest.approx(even, rel=1e-9)


def test_a_risk_aversion_below_the_limit_is_refused():
    limit = least_aversion(paper.EXAMPLE)
    assert paper.trades(paper.EXAMPLE, 0.999 * limit).min() < 0.0  # buys first
    with pytest.raises(
        ValueError, match=r"risk_aversion must be more than -1\.00517e-06, where round trips .* got -1\.00618e-06"
    ):
        paper.trades(paper.EXAMPLE, 1.001 * limit)
    for function in (paper.half_life, paper.static_holdings):
        with pytest.raises(ValueError, match=r"risk_aversion must be a number in \[0, 1e\+06\]"):
            function(paper.EXAMPLE, -1e-7)
    with pytest.raises(ValueError, match=r"risk_aversion must be a number in \[0, 1e\+06\]"):
        paper.to_scenario(paper.EXAMPLE, -1e-7, arrival_price=50.0, adv=5e6)


# --- drift


@given(MODELS, st.floats(1e-12, 1e-3), st.floats(-2.0, 2.0))
def test_the_drift_gain_is_the_reduction_of_the_objective(model, aversion, drift):
    model = replace(model, epsilon=0.0, drift=drift * model.eta * model.quantity / model.horizon**2)
    ignored = paper.trades(replace(model, drift=0.0), aversion)
    known = paper.trades(model, aversion)
    fall = objective(model, aversion, ignored) - objective(model, aversion, known)
    room = 1e-9 * (paper.twap(model).expected + objective(replace(model, drift=0.0), aversion, ignored))
    assert fall == pytest.approx(paper.drift_gain(model, aversion), rel=1e-6, abs=room)
    assert fall <= paper.drift_gain_bound(model, aversion) + room


def test_the_bound_of_the_drift_gain_is_the_formula_of_the_paper():
    model = replace(paper.EXAMPLE, drift=0.02)
    rate, held = paper.urgency(model, LAMBDA), paper.static_holdings(model, LAMBDA)
    bound = 0.02 * held * 5.0 * (1.0 - 0.2 * math.tanh(2.5 * rate) / math.tanh(0.5 * rate))
    assert paper.drift_gain_bound(model, LAMBDA) == pytest.approx(bound, rel=1e-12)
    assert paper.drift_gain(replace(model, quantity=5.0), LAMBDA) == pytest.approx(0.5 * bound, rel=1e-12)


def test_holdings_with_drift_satisfy_equation_26():
    model = replace(paper.EXAMPLE, drift=0.02)
    rate, held, times = paper.urgency(model, LAMBDA), paper.static_holdings(model, LAMBDA), np.arange(6.0)
    head, tail = np.sinh(rate * (5.0 - times)), np.sinh(rate * times)
    formula = head / np.sinh(5.0 * rate) * 1e6 + (1.0 - (head + tail) / np.sinh(5.0 * rate)) * held
    assert paper.holdings(model, LAMBDA) == pytest.approx(formula, rel=1e-12, abs=1e-6)


def test_holdings_with_drift_are_continuous_at_zero_risk_aversion():
    model = replace(paper.EXAMPLE, drift=0.02)
    assert paper.holdings(model, 1e-18) == pytest.approx(paper.holdings(model, 0.0), rel=1e-9)


# --- serial correlation


def test_the_gain_from_serial_correlation_agrees_with_a_simulation():
    """Simulate the policy of the docstring on AR(1) price moves; the mean gain lies within 4 standard errors."""
    for rho in [-0.5, -0.2, 0.3, 0.7]:
        sigma, eta, tau, periods, episodes = 0.95, 2.5e-6, 1.0 / 39.0, 80, 4_000
        rng = np.random.default_rng(7)
        move = rng.normal(size=episodes)
        signal, bought, gains = [], [], np.zeros(episodes)
        for _ in range(periods):
            signal.append(rho * sigma * math.sqrt(tau) * move)
            bought.append(signal[-1] * tau / (2.0 * eta * (1.0 - rho)))
            move = rho * move + math.sqrt(1.0 - rho**2) * rng.normal(size=episodes)
            gains += sum(bought) * sigma * math.sqrt(tau) * move - eta / tau * bought[-1] ** 2
        # value of the final position: the expected sum of all later moves per share
        gains += sum(bought) * rho * sigma * math.sqrt(tau) * move / (1.0 - rho)
        per_period = gains / periods
        error = per_period.std(ddof=1) / math.sqrt(episodes)
        assert abs(per_period.mean() - paper.correlation_gain(sigma, eta, rho, tau)) < 4.0 * error


def test_the_policy_for_serial_correlation_is_optimal():
    """A quadratic programme over the trades that follow one shock, over a long horizon, has the same gain."""
    rho, sigma, eta, tau, periods = -0.4, 0.95, 2.5e-6, 1.0 / 39.0, 60
    signal = sigma * math.sqrt(tau) * rho ** np.arange(1, periods + 1)  # expected moves after a unit shock
    held = np.tril(np.ones((periods, periods)))
    bought = np.linalg.solve(2.0 * eta / tau * np.eye(periods), held.T @ signal)
    gain = bought @ held.T @ signal - eta / tau * bought @ bought
    # one shock has variance 1 - rho^2; the AR(1) process is the sum of the responses to all shocks
    assert (1.0 - rho**2) * gain == pytest.approx(paper.correlation_gain(sigma, eta, rho, tau), rel=1e-12)


def test_the_estimate_of_equation_28_holds_for_small_correlation():
    near = paper.correlation_gain_estimate(0.95, 2.5e-6, 0.001, 0.1)
    assert near == pytest.approx((0.001 * 0.95 * 0.1) ** 2 / 1e-5)
    assert paper.correlation_gain(0.95, 2.5e-6, 0.001, 0.1) == pytest.approx(near, rel=3e-3)
    for rho, larger in ((0.3, True), (-0.3, False)):  # footnote 16
        far, near = (f(0.95, 2.5e-6, rho, 0.1) for f in (paper.correlation_gain, paper.correlation_gain_estimate))
        assert (far > near) is larger


# --- value at risk


@given(MODELS, st.floats(0.5, 0.9999), SEEDS)
def test_no_strategy_has_a_lower_value_at_risk(model, confidence, seed):
    quantile = NormalDist().inv_cdf(confidence)
    found = paper.liquidity_var(model, confidence)
    rng = np.random.default_rng(seed)
    for concentration in (0.1, 1.0, 10.0):
        sold = model.quantity * rng.dirichlet(np.full(model.slices, concentration))
        assert paper.expected_cost(model, sold) + quantile * math.sqrt(paper.variance(model, sold)) >= found.value * (1 - 1e-9)
    for aversion in [0.0, *10.0 ** rng.uniform(-12.0, 0.0, 5)]:
        point = paper.optimum(model, aversion)
        assert point.expected + quantile * float(point.sd) >= found.value * (1 - 1e-9)


def test_value_at_risk_of_the_example():
    found = paper.liquidity_var(paper.EXAMPLE, 0.95)
    grid = 10.0 ** np.linspace(-9.0, -4.0, 2_001)
    points = paper.frontier(paper.EXAMPLE, grid)
    values = points.expected + 1.6448536269514722 * points.sd
    assert found.value == pytest.approx(values.min(), rel=1e-6)
    assert found.value <= values.min()
    assert found.risk_aversion == pytest.approx(grid[values.argmin()], rel=1e-2)
    assert found.risk_aversion == pytest.approx(1.6448536 / (2.0 * float(found.moments.sd)), rel=1e-6)


def test_large_positions_are_sold_closer_to_the_straight_line():
    """Section 3.2: value at risk grows linearly in the position, impact cost quadratically."""
    aversion = [paper.liquidity_var(replace(paper.EXAMPLE, quantity=q)).risk_aversion for q in (2e5, 1e6, 5e6)]
    assert aversion == sorted(aversion, reverse=True)


def test_a_small_position_is_sold_at_once_under_value_at_risk():
    small = replace(paper.EXAMPLE, quantity=1e4)
    found = paper.liquidity_var(small, 0.95)
    assert found.risk_aversion == math.inf
    assert found.moments.variance == 0.0
    assert found.value == pytest.approx(0.0625 * 1e4 + 2.5e-6 * 1e8)


def test_value_at_risk_at_confidence_one_half_is_the_cost_of_twap():
    assert paper.liquidity_var(paper.EXAMPLE, 0.5).value == pytest.approx(662_500.0)


# --- the kernel


@given(MODELS, st.floats(1e-12, 1e-3), st.floats(-1.0, 1.0), SEEDS)
def test_the_kernel_agrees_with_the_paper(model, aversion, drift, seed):
    model = replace(model, drift=drift * model.volatility)
    scenario = paper.to_scenario(model, aversion, arrival_price=50.0, adv=5e6)
    sold = model.quantity * np.random.default_rng(seed).dirichlet(np.ones(model.slices))
    total, timing, risk = kernel_cost(scenario, sold)
    scale = abs(model.drift) * model.horizon * model.quantity
    assert total == pytest.approx(paper.expected_cost(model, sold), rel=1e-9, abs=1e-9 * scale)
    assert timing == pytest.approx(paper.variance(model, sold), rel=1e-9, abs=1e-12 * paper.twap(model).variance)
    assert risk == pytest.approx(aversion * paper.variance(model, sold), rel=1e-9, abs=1e-20)


def test_the_estimate_of_the_example_scenario_agrees_with_the_paper():
    scenario = paper.to_scenario(paper.EXAMPLE, LAMBDA, arrival_price=50.0, adv=5e6)
    parent = ParentOrder(symbol="X", side=-1, quantity=1_000_000, arrival_price=50.0)
    found = estimate_schedule(parent, scenario, shares=paper.trades(paper.EXAMPLE, LAMBDA))
    assert round(found.cost) == 911_227
    assert round(1e-4 * found.sd_bps * scenario.notional) == 603_431


# --- errors


def test_a_wrong_parameter_is_named():
    for changes, message in [
        ({"quantity": 0.0}, r"quantity must be a number in \(0, 1e\+15\] shares, got 0.0"),
        ({"horizon": math.nan}, "horizon must be a number"),
        ({"slices": 0}, r"slices must be a whole number in \[1, 100000\], got 0"),
        ({"volatility": -1.0}, "volatility must be a number"),
        ({"epsilon": "x"}, "epsilon must be a number"),
        ({"gamma": math.inf}, "gamma must be a number"),
        ({"drift": None}, "drift must be a number"),
        ({"eta": 1e-7}, "eta must be more than gamma tau / 2 = 1.25e-07.*got 1e-07"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(paper.EXAMPLE, **changes)


def test_other_wrong_values_are_named():
    with pytest.raises(ValueError, match=r"risk_aversion must be a number in \[-1e\+06, 1e\+06\]"):
        paper.trades(paper.EXAMPLE, math.nan)
    with pytest.raises(ValueError, match="trades must hold 5 numbers, got 2"):
        paper.expected_cost(paper.EXAMPLE, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"trades must sum to the quantity \(1e\+06\), got 5"):
        paper.variance(paper.EXAMPLE, [1.0] * 5)
    with pytest.raises(ValueError, match="confidence must be below 1"):
        paper.liquidity_var(paper.EXAMPLE, 1.0)
    with pytest.raises(ValueError, match="drift must be 0"):
        paper.liquidity_var(replace(paper.EXAMPLE, drift=0.02))
    with pytest.raises(ValueError, match="risk_aversion and volatility must be positive"):
        paper.static_holdings(replace(paper.EXAMPLE, drift=0.02), 0.0)
    with pytest.raises(ValueError, match="rho must be a number"):
        paper.correlation_gain(0.95, 2.5e-6, 1.0, 0.1)
    with pytest.raises(ValueError, match="volatility must be positive in a scenario"):
        paper.to_scenario(replace(paper.EXAMPLE, volatility=0.0), 0.0, arrival_price=50.0, adv=5e6)
