"""The dynamic programme against brute_force force: nested searches over full scenario trees, with independent quadratures."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.solver import dynamic
from hyperexec_env.baselines.solver.dynamic import FINE, Grid, evaluate_fractions, solve_delayed, solve_informed
from hyperexec_env.baselines.solver.linear import keeps_one_side, solve_linear
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.market.kernel import Slice, State, close, step
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import build_market

TWO = Regimes(
    names=("SIDEWAYS_LOW", "CRISIS"),
    volatility=(0.8, 2.5),
    volume=(1.2, 0.3),
    spread=(1.0, 3.0),
    resilience=(1.5, 0.3),
    rates=((-2.0, 2.0), (3.0, -3.0)),
)
DRIFTING = replace(TWO, drift=(-0.02, 0.015))
ONE = Regimes()


def small(slices=3, regimes=TWO, **changes):
    """A market of a few slices in which impact, risk and resilience all affect the optimum."""
    values = {"quantity": 400_000.0, "volume_noise": 0.0, "volume_curve": (0.4, 0.25, 0.35), "risk_aversion": 3e-7}
    return build_market(Scenario(name="small", slices=slices, regimes=regimes, **{**values, **changes}))


# --- brute_force force


class Signals:
    """Last order flow and price in each state; arrays in the shape of the states."""

    def __init__(self, flow, price):
        self.flow, self.price = flow, price


def trapezoids(count=41):
    """Nodes and weights of the trapezoidal rule for the standard normal distribution."""
    nodes = np.linspace(-8.0, 8.0, count)
    return nodes, (nodes[1] - nodes[0]) * np.exp(-0.5 * nodes**2) / math.sqrt(2.0 * math.pi)


class BruteForce:
    """Optimum of a few slices by a search in every reachable state; `observed` is whether the policy observes the regime."""

    def __init__(self, market, observed=True, fractions=None):
        self.market, self.observed, self.fractions = market, observed, fractions
        scenario = market.scenario
        self.law = scenario.regimes
        self.transition = self.law.transition(scenario.tau)
        curve = np.array(scenario.volatility_curve or (1.0,) * scenario.slices)
        assert len(curve) == scenario.slices
        self.ratio = curve / math.sqrt((curve**2).mean())
        self.has_signal = bool(scenario.flow_persistence) or scenario.price_model == "gbm"

    def start(self, regime=None, flow=0.0):
        """Objective from the first slice, currency, given its regime, or given only the distribution at the start (None)."""
        one = np.ones(1)
        scenario = self.market.scenario
        state = State(scenario.quantity * one, 0.0 * one, 0.0 * one)
        law = self.law.start_law() if regime is None else np.eye(self.market.regimes)[regime]
        return float(self.value(0, state, Signals(flow * one, scenario.arrival_price * one), law)[0])

    def value(self, k, state, signals, law):
        """Value function in states given as arrays of one dimension, currency."""
        if k == self.market.slices:
            return close(self.market.impact, state, self.market.scenario.quantity)[1]
        if math.isinf(self.market.least[k]):
            return self.cost(k, state, signals, law, state.remaining)
        if self.fractions is not None:
            return self.cost(k, state, signals, law, self.fractions[k] * state.remaining)
        return minimum(lambda shares: self.cost_of_fractions(k, state, signals, law, shares), len(state.remaining))

    def cost_of_fractions(self, k, state, signals, law, shares):
        """Objective of trading fractions of the remaining shares, shape (candidates, states)."""
        many = State(*(np.tile(values, len(shares)) for values in state))
        repeated = Signals(*(np.tile(values, len(shares)) for values in (signals.flow, signals.price)))
        return self.cost(k, many, repeated, law, shares.ravel() * many.remaining).reshape(shares.shape)

    def cost(self, k, state, signals, law, shares):
        """Objective of trades and optimal later trades, averaged over the regimes by their probabilities `law`."""
        return sum(p * self.cost_in_regime(k, m, state, signals, shares) for m, p in enumerate(law) if p > 0.0)

    def cost_in_regime(self, k, m, state, signals, shares):
        """Objective of trades in a slice of regime m and optimal later trades."""
        market, scenario, count = self.market, self.market.scenario, len(shares)
        volume, weights = self.volumes(k, m, shares)
        daily = scenario.volatility * self.law.volatility[m]
        sigma = daily * self.ratio[k]
        flow_volatility = sigma * math.sqrt(scenario.tau * scenario.flow_share)
        moved = self.law.drift[m] * scenario.tau + flow_volatility * scenario.flow_persistence * signals.flow
        drift = signals.price * np.expm1(moved) if scenario.price_model == "gbm" else scenario.arrival_price * moved
        slice = Slice(
            volume=volume,
            least=market.least[k],
            limit=market.cap[k] * volume,
            temporary_scale=scenario.temp_impact_alpha * self.law.temporary[m] * daily * scenario.arrival_price,
            half_spread=scenario.half_spread_bps * 1e-4 * scenario.arrival_price * self.law.spread[m],
            transient_decay=math.exp(-scenario.resilience * self.law.resilience[m] * scenario.tau),
            drift=scenario.side * drift[:, None],
            innovation=0.0,
            risk=scenario.risk_aversion * (sigma * scenario.arrival_price) ** 2 * scenario.tau,
            holding=scenario.price_risk * scenario.tau * signals.price[:, None],
        )
        before = State(*(np.broadcast_to(values[:, None], volume.shape) for values in state))
        after, cost = step(market.impact, before, slice, np.broadcast_to(shares[:, None], volume.shape))
        paid = (weights * cost.expected).sum(axis=1)
        if math.isinf(market.cap[k]):  # then the state does not depend on the volume
            after, weights = State(*(values[:, :1] for values in after)), np.ones((count, 1))
        has_next = self.has_signal and k + 1 < market.slices
        nodes, probabilities = trapezoids() if has_next else (np.zeros(1), np.ones(1))
        phi = scenario.flow_persistence
        flow = phi * signals.flow[:, None] + math.sqrt(1.0 - phi**2) * nodes
        growth = moved[:, None] + sigma * math.sqrt(scenario.tau) * (nodes - 0.5 * sigma * math.sqrt(scenario.tau))
        price = signals.price[:, None] * np.exp(growth if scenario.price_model == "gbm" else 0.0 * growth)
        shape = (count, weights.shape[1], len(nodes))
        state = State(*(np.broadcast_to(values[:, :, None], shape).ravel() for values in after))
        signals = Signals(*(np.broadcast_to(values[:, None, :], shape).ravel() for values in (flow, price)))
        continuation = self.continuation(k + 1, m, state, signals).reshape(shape) @ probabilities
        return paid + (weights * continuation).sum(axis=1)

    def continuation(self, k, m, state, signals):
        """Value after a slice of regime m, for a policy that observes the next regime or knows only its probabilities."""
        law = self.transition[m]
        if not self.observed:
            return self.value(k, state, signals, law)
        return sum(p * self.value(k, state, signals, np.eye(len(law))[n]) for n, p in enumerate(law))

    def volumes(self, k, m, shares):
        """Volumes and their weights, shape (states, nodes); with a cap, each side of the kink has its own quadrature rule."""
        scenario = self.market.scenario
        mean, deviation = scenario.profile()[k] * scenario.adv * self.law.volume[m], scenario.volume_noise
        if not deviation:
            return np.full((len(shares), 1), mean), np.ones((len(shares), 1))
        if math.isinf(self.market.cap[k]):
            nodes, weights = (np.broadcast_to(values, (len(shares), 41)) for values in trapezoids())
        else:
            kink = (np.log(np.maximum(shares, 1e-9) / (self.market.cap[k] * mean)) + 0.5 * deviation**2) / deviation
            kink = np.clip(kink, -7.0, 7.0)[:, None]
            points, rule = np.polynomial.legendre.leggauss(26)
            halves = [(0.5 * (kink + 7.0), -7.0), (0.5 * (7.0 - kink), kink)]
            nodes = np.concatenate([half * (points + 1.0) + low for half, low in halves], axis=1)
            weights = np.concatenate([half * rule for half, _ in halves], axis=1)
            weights = weights * np.exp(-0.5 * nodes**2) / math.sqrt(2.0 * math.pi)
        return mean * np.exp(deviation * nodes - 0.5 * deviation**2), weights


def minimum(function, count, rounds=5):
    """Minimum over fractions of a function on (candidates, states), for each state, by successively finer grids."""
    row, centre, reach, lowest = np.linspace(-1.0, 1.0, 17), np.full(count, 0.5), 0.5, np.full(count, np.inf)
    for _ in range(rounds + 1):
        shares = np.clip(centre + reach * row[:, None], 0.0, 1.0)
        values = function(shares)
        best = values.argmin(axis=0)
        centre, lowest = shares[best, np.arange(count)], np.minimum(lowest, values.min(axis=0))
        row, reach = np.linspace(-1.0, 1.0, 9), 2.0 * reach / (len(row) - 1)
    return lowest


def informed(market, grid=FINE):
    problem = build_problem(market, grid.signal)
    return solve_informed(problem, grid).values @ problem.signal_law


def brute_force(market):
    return [BruteForce(market).start(m) for m in range(market.regimes)]


# --- agreements


@pytest.mark.parametrize(("slices", "kyle_lambda"), [(1, 0.2), (2, 0.6), (8, 0.2), (26, 0.6)])
def test_it_agrees_with_riccati_where_the_optimum_is_one_sided(slices, kyle_lambda):
    even = replace(TWO, spread=())  # a spread by regime could make trades of both signs optimal
    market = small(
        slices, even, temp_impact_beta=1.0, temp_impact_alpha=1.0, volume_noise=0.3, kyle_lambda=kyle_lambda, volume_curve=()
    )
    solution = solve_linear(market)
    assert keeps_one_side(solution)
    exact, fine = solution.values * market.scenario.notional, informed(market)
    stated = np.abs(fine - informed(market, FINE.coarser())).max()
    assert np.abs(fine - exact).max() <= max(stated, 1e-9 * exact.max())
    if slices < 26:  # errors accumulate over slices
        assert fine == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(("beta", "regimes"), [(0.5, TWO), (0.6, DRIFTING)], ids=["no drift", "drift"])
def test_it_agrees_with_a_search_over_the_full_tree(beta, regimes):
    market = small(regimes=regimes, temp_impact_beta=beta, kyle_lambda=0.8)
    assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)


def test_it_agrees_with_a_search_over_a_tree_of_four_slices():
    market = small(4, kyle_lambda=0.4, volume_curve=())
    assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)


def test_it_averages_the_noise_of_the_volume():
    market = small(volume_noise=0.7, temp_impact_beta=0.6, side=-1)
    assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)


@pytest.mark.parametrize(("cap", "noise"), [(0.05, 1.0), (0.3, 0.3)])
def test_it_averages_the_volume_noise_under_a_participation_cap(cap, noise):
    market = small(2, max_participation=cap, volume_noise=noise)
    assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)


@pytest.mark.slow
def test_it_averages_the_volume_noise_under_a_cap_over_three_slices():
    market = small(3, ONE, max_participation=0.08, volume_noise=0.5, kyle_lambda=0.5)
    assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)


@pytest.mark.parametrize(
    ("cap", "regimes", "gamma"), [(None, DRIFTING, 0.0), (0.08, Regimes(drift=(-0.02,)), 0.2)], ids=["free", "capped"]
)
def test_an_incomplete_order_is_marked_at_the_end(cap, regimes, gamma):
    changes = {"complete": False, "volume_noise": 0.5, "perm_impact_gamma": gamma, "kyle_lambda": 0.4}
    market = small(2, regimes, max_participation=cap, risk_aversion=3e-6, **changes)
    assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)


@pytest.mark.parametrize(("slices", "regimes"), [(2, TWO), pytest.param(3, ONE, marks=pytest.mark.slow)])
def test_it_uses_a_persistent_flow(slices, regimes):
    market = small(slices, regimes, flow_persistence=0.4, flow_share=0.2, kyle_lambda=0.4)
    problem = build_problem(market)
    values, search = solve_informed(problem).values, BruteForce(market)
    for node in (12, 18):
        expected = [search.start(m, problem.signal[node]) for m in range(market.regimes)]
        assert values[:, node] == pytest.approx(expected, rel=1e-6)


def test_it_uses_a_mean_reverting_flow():
    market = small(2, ONE, flow_persistence=-0.4, flow_share=0.3)
    problem = build_problem(market)
    values, search = solve_informed(problem).values, BruteForce(market)
    for node in (8, 16, 24):
        assert values[0, node] == pytest.approx(search.start(0, problem.signal[node]), rel=1e-6)


def test_it_averages_the_flow_before_the_first_slice():
    market = small(2, ONE, flow_persistence=0.5, flow_share=0.3)
    search, (nodes, weights) = BruteForce(market), trapezoids(161)
    assert informed(market)[0] == pytest.approx(
        sum(w * search.start(0, u) for u, w in zip(nodes, weights, strict=True)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("slices", "regimes", "changes"),
    [
        (2, DRIFTING, {"side": -1, "price_risk": 0.02, "kyle_lambda": 0.4}),
        (3, ONE, {"price_risk": 0.02}),
    ],
)
def test_it_uses_a_geometric_price(slices, regimes, changes):
    market = small(slices, regimes, price_model="gbm", volatility=0.1, risk_aversion=1e-8, **changes)
    assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)


CURVE = (1.7, 0.5, 0.9)
"""Relative volatility of the slices of a market of three."""


@pytest.mark.parametrize(
    ("slices", "regimes", "changes"),
    [
        (3, TWO, {"kyle_lambda": 0.8, "risk_aversion": 1e-6}),
        (2, TWO, {"flow_persistence": 0.4, "flow_share": 0.2, "kyle_lambda": 0.4}),
        (2, DRIFTING, {"side": -1, "price_risk": 0.02, "price_model": "gbm", "volatility": 0.1, "risk_aversion": 1e-8}),
        (3, ONE, {"price_risk": 0.02, "price_model": "gbm", "volatility": 0.1, "risk_aversion": 1e-8}),
        (2, ONE, {"max_participation": 0.1, "volume_noise": 0.5, "risk_aversion": 1e-6}),
    ],
)
def test_it_uses_the_volatility_of_each_slice(slices, regimes, changes):
    flat, market = (small(slices, regimes, volatility_curve=curve, **changes) for curve in ((), CURVE[:slices]))
    if changes.get("flow_persistence"):
        problem, search = build_problem(market), BruteForce(market)
        values = solve_informed(problem).values
        for node in (12, 18):
            expected = [search.start(m, problem.signal[node]) for m in range(market.regimes)]
            assert values[:, node] == pytest.approx(expected, rel=1e-6)
    else:
        assert informed(market) == pytest.approx(brute_force(market), rel=1e-6)
    assert np.abs(informed(market) / informed(flat) - 1.0).max() > 1e-4


# --- regime observed one slice late


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"volume_noise": 0.6, "temp_impact_beta": 0.6, "kyle_lambda": 0.6},
        {"regimes": replace(DRIFTING, start="CRISIS")},
        {"slices": 2, "max_participation": 0.1, "volume_noise": 0.6},
        {"slices": 2, "complete": False, "risk_aversion": 3e-6, "volume_noise": 0.6},
        {"volatility_curve": CURVE, "risk_aversion": 1e-6},
    ],
)
def test_the_delayed_optimum_agrees_with_a_search_over_the_full_tree(changes):
    market = small(**changes)
    value = float(solve_delayed(build_problem(market)).values[0, 0])
    assert value == pytest.approx(BruteForce(market, observed=False).start(), rel=1e-6)
    start = market.scenario.regimes.start_law()
    assert value > informed(market) @ start


def test_the_delayed_optimum_uses_a_persistent_flow():
    market = small(2, TWO, flow_persistence=0.6, flow_share=0.5)
    problem = build_problem(market)
    values, search = solve_delayed(problem).values, BruteForce(market, observed=False)
    for node in (12, 21):
        assert values[0, node] == pytest.approx(search.start(flow=problem.signal[node]), rel=1e-6)


@pytest.mark.parametrize("changes", [{}, {"max_participation": 0.1, "volume_noise": 0.5}, {"flow_persistence": 0.4}])
def test_with_one_regime_the_delayed_and_the_informed_optimum_are_equal(changes):
    problem, grid = build_problem(small(4, ONE, **changes), 17), Grid(31, 16, 17)
    assert solve_delayed(problem, grid).values == pytest.approx(solve_informed(problem, grid).values, rel=1e-7)


# --- fixed fractions


@pytest.mark.parametrize(
    "changes",
    [
        {"kyle_lambda": 0.7, "volume_noise": 0.5},
        {"slices": 2, "max_participation": 0.1, "volume_noise": 0.5},
        {"slices": 2, "max_participation": 0.1, "volume_noise": 0.5, "complete": False},
        {"price_model": "gbm", "volatility": 0.1, "price_risk": 0.01, "risk_aversion": 0.0},
        {"volatility_curve": CURVE, "risk_aversion": 1e-6},
    ],
)
def test_the_cost_of_fixed_fractions_agrees_with_the_full_tree(changes):
    market = small(**changes)
    problem, fractions = build_problem(market), np.array([0.3, 0.6, 0.9])[-market.slices :]
    value = evaluate_fractions(problem, fractions) @ problem.signal_law
    search = BruteForce(market, fractions=fractions)
    assert value == pytest.approx([search.start(m) for m in range(2)], rel=1e-6)


# --- the minimisation in a slice


@pytest.mark.parametrize(
    ("solver", "changes"),
    [
        (solve_informed, {"kyle_lambda": 0.6}),
        (solve_delayed, {"volume_noise": 0.5, "max_participation": 0.1}),
        (solve_informed, {"volume_noise": 0.5, "max_participation": 0.1, "complete": False, "risk_aversion": 3e-6}),
        (solve_delayed, {"flow_persistence": 0.5}),
        (solve_informed, {"regimes": DRIFTING, "price_model": "gbm", "price_risk": 0.01}),
        (solve_delayed, {"regimes": replace(DRIFTING, drift=(-0.4, 0.3))}),
        (solve_informed, {"temp_impact_alpha": 0.0, "kyle_lambda": 0.6}),
    ],
)
def test_no_trade_on_a_grid_beats_the_optimal_trade(monkeypatch, solver, changes):
    grid, search, excess = Grid(17, 9, 9), dynamic.best_root, []
    market = small(4, volume_curve=(), **({"regimes": TWO} | changes))

    def checked(stage, forced):
        root = search(stage, forced)
        if not forced:
            left = stage.state[0]
            found = stage.value(left * root * root)
            rows = [stage.value(left * np.full_like(root, share)) for share in np.linspace(0.0, 1.0, 51)]
            excess.append(float((found - np.min(rows, axis=0)).max()))
        return root

    monkeypatch.setattr(dynamic, "best_root", checked)
    solver(build_problem(market, grid.signal), grid)
    assert len(excess) >= 3
    assert max(excess) < 1e-8 * market.scenario.notional


@pytest.mark.parametrize("name", ["trending-day", "gatheral-schied", "bertsimas-lo"])
def test_the_difference_between_two_grids_bounds_the_error(name):
    scenario = get_scenario(name)
    market = build_market(replace(scenario, slices=min(scenario.slices, 10)))
    coarse, fine, finest = (informed(market, grid) for grid in (FINE.coarser(), FINE, FINE.finer().finer()))
    assert np.abs(fine - finest).max() <= np.abs(fine - coarse).max()


def test_coarser_and_finer_grids_are_inverse():
    assert FINE.finer().coarser() == FINE
    assert all(a < b < c for a, b, c in zip(FINE.coarser(), FINE, FINE.finer(), strict=True))
