"""The dynamic programme against brute force: nested searches over whole trees, with quadratures of their own."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.solver import dynamic
from hyperexec_env.baselines.solver.dynamic import FINE, Grid, evaluate_fractions, solve_blind, solve_informed
from hyperexec_env.baselines.solver.linear import keeps_one_side, solve_linear
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.market.kernel import Slice, State, close, step
from hyperexec_env.market.model import build_market
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario

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
    """A market of a few slices in which impact, risk and resilience all count."""
    values = {"quantity": 400_000.0, "volume_noise": 0.0, "volume_curve": (0.4, 0.25, 0.35), "risk_aversion": 3e-7}
    return build_market(Scenario(name="small", slices=slices, regimes=regimes, **{**values, **changes}))


# --- brute force


class World:
    """What brute force knows of nature beside the regime: the last flow and the price, arrays of the shape of the states."""

    def __init__(self, flow, price):
        self.flow, self.price = flow, price


def trapezoids(count=41):
    """Nodes and weights of the standard normal: the trapezoidal rule."""
    nodes = np.linspace(-8.0, 8.0, count)
    return nodes, (nodes[1] - nodes[0]) * np.exp(-0.5 * nodes**2) / math.sqrt(2.0 * math.pi)


class Brute:
    """The optimum of a few slices by a search at each state that can be met; `told` is whether the present regime is known."""

    def __init__(self, market, told=True, fractions=None):
        self.market, self.told, self.fractions = market, told, fractions
        scenario = market.scenario
        self.law = scenario.regimes
        self.transition = self.law.transition(scenario.tau)
        self.watched = bool(scenario.flow_persistence) or scenario.price_model == "gbm"

    def start(self, regime=None, flow=0.0):
        """Objective from the first slice, currency, for one who knows its regime, or (None) only the law of the start."""
        one = np.ones(1)
        scenario = self.market.scenario
        state = State(scenario.quantity * one, 0.0 * one, 0.0 * one)
        law = self.law.start_law() if regime is None else np.eye(self.market.regimes)[regime]
        return float(self.value(0, state, World(flow * one, scenario.arrival_price * one), law)[0])

    def value(self, k, state, world, law):
        """Least objective that is still to come in some states (arrays of one dimension)."""
        if k == self.market.slices:
            return close(self.market.impact, state, self.market.scenario.quantity)[1]
        if math.isinf(self.market.least[k]):
            return self.cost(k, state, world, law, state.remaining)
        if self.fractions is not None:
            return self.cost(k, state, world, law, self.fractions[k] * state.remaining)
        return least(lambda shares: self.try_out(k, state, world, law, shares), len(state.remaining))

    def try_out(self, k, state, world, law, shares):
        """Objective of trading fractions of what remains, shape (candidates, states)."""
        many = State(*(np.tile(values, len(shares)) for values in state))
        around = World(*(np.tile(values, len(shares)) for values in (world.flow, world.price)))
        return self.cost(k, many, around, law, shares.ravel() * many.remaining).reshape(shares.shape)

    def cost(self, k, state, world, law, shares):
        """Objective of trades, and of the best that can follow, in the mean over the regimes of a law."""
        return sum(chance * self.meet(k, m, state, world, shares) for m, chance in enumerate(law) if chance > 0.0)

    def meet(self, k, m, state, world, shares):
        """Objective of trades in a slice of regime m, and of the best that can follow."""
        market, scenario, count = self.market, self.market.scenario, len(shares)
        volume, weights = self.volumes(k, m, shares)
        sigma = scenario.volatility * self.law.volatility[m]
        flow_volatility = sigma * math.sqrt(scenario.tau * scenario.flow_share)
        moved = self.law.drift[m] * scenario.tau + flow_volatility * scenario.flow_persistence * world.flow
        drift = world.price * np.expm1(moved) if scenario.price_model == "gbm" else scenario.arrival_price * moved
        slice = Slice(
            volume=volume,
            least=market.least[k],
            limit=market.cap[k] * volume,
            temporary_scale=scenario.temp_impact_alpha * self.temporary(m) * sigma * scenario.arrival_price,
            half_spread=scenario.half_spread_bps * 1e-4 * scenario.arrival_price * self.law.spread[m],
            transient_kept=math.exp(-scenario.resilience * self.law.resilience[m] * scenario.tau),
            drift=scenario.side * drift[:, None],
            innovation=0.0,
            risk=scenario.risk_aversion * (sigma * scenario.arrival_price) ** 2 * scenario.tau,
            holding=scenario.price_risk * scenario.tau * world.price[:, None],
        )
        wide = State(*(np.broadcast_to(values[:, None], volume.shape) for values in state))
        after, cost = step(market.impact, wide, slice, np.broadcast_to(shares[:, None], volume.shape))
        paid = (weights * cost.expected).sum(axis=1)
        if math.isinf(market.cap[k]):  # then the volume leaves no trace in the state
            after, weights = State(*(values[:, :1] for values in after)), np.ones((count, 1))
        goes_on = self.watched and k + 1 < market.slices
        nodes, chances = trapezoids() if goes_on else (np.zeros(1), np.ones(1))
        kept = scenario.flow_persistence
        flow = kept * world.flow[:, None] + math.sqrt(1.0 - kept**2) * nodes
        growth = moved[:, None] + sigma * math.sqrt(scenario.tau) * (nodes - 0.5 * sigma * math.sqrt(scenario.tau))
        price = world.price[:, None] * np.exp(growth if scenario.price_model == "gbm" else 0.0 * growth)
        shape = (count, weights.shape[1], len(nodes))
        state = State(*(np.broadcast_to(values[:, :, None], shape).ravel() for values in after))
        world = World(*(np.broadcast_to(values[:, None, :], shape).ravel() for values in (flow, price)))
        ahead = self.ahead(k + 1, m, state, world).reshape(shape) @ chances
        return paid + (weights * ahead).sum(axis=1)

    def temporary(self, m):
        return self.law.temporary[m]

    def ahead(self, k, m, state, world):
        """Objective of what follows a slice of regime m: for one who will be told the next regime, or who knows its law."""
        law = self.transition[m]
        if not self.told:
            return self.value(k, state, world, law)
        return sum(chance * self.value(k, state, world, np.eye(len(law))[n]) for n, chance in enumerate(law))

    def volumes(self, k, m, shares):
        """Volumes and their weights, shape (states, nodes): where a cap may bind, each side of the kink has its own rule."""
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


def least(function, count, rounds=5):
    """Least value of a function of fractions (candidates, states) for each of some states: rows that are drawn ever closer."""
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


def brute(market):
    return [Brute(market).start(m) for m in range(market.regimes)]


# --- agreements


def test_it_agrees_with_riccati_where_the_optimum_has_one_side():
    for slices in [1, 2, 8, 26]:
        for kyle_lambda in [0.2, 0.6]:
            even = replace(TWO, spread=())  # waiting for a narrow spread might take trades of both signs
            market = small(
                slices,
                even,
                temp_impact_beta=1.0,
                temp_impact_alpha=1.0,
                volume_noise=0.3,
                kyle_lambda=kyle_lambda,
                volume_curve=(),
            )
            solution = solve_linear(market)
            assert keeps_one_side(solution)
            exact, fine = solution.values * market.scenario.notional, informed(market)
            stated = np.abs(fine - informed(market, FINE.coarser())).max()
            assert np.abs(fine - exact).max() <= max(stated, 1e-9 * exact.max())
            if slices < 26:  # errors add up
                assert fine == pytest.approx(exact, rel=1e-6)


def test_it_agrees_with_a_search_over_the_whole_tree():
    for regimes in [TWO, DRIFTING]:
        for beta in [0.5, 0.6]:
            market = small(regimes=regimes, temp_impact_beta=beta, kyle_lambda=0.8)
            assert informed(market) == pytest.approx(brute(market), rel=1e-6)


def test_it_agrees_with_a_search_over_a_tree_of_four_slices():
    market = small(4, kyle_lambda=0.4, volume_curve=())
    assert informed(market) == pytest.approx(brute(market), rel=1e-6)


def test_it_averages_the_noise_of_the_volume():
    market = small(volume_noise=0.7, temp_impact_beta=0.6, side=-1)
    assert informed(market) == pytest.approx(brute(market), rel=1e-6)


def test_it_averages_what_a_participation_cap_leaves():
    for noise in [0.3, 1.0]:
        for cap in [0.05, 0.3]:
            market = small(2, max_participation=cap, volume_noise=noise)
            assert informed(market) == pytest.approx(brute(market), rel=1e-6)


@pytest.mark.slow
def test_it_averages_what_a_participation_cap_leaves_twice():
    market = small(3, ONE, max_participation=0.08, volume_noise=0.5, kyle_lambda=0.5)
    assert informed(market) == pytest.approx(brute(market), rel=1e-6)


def test_an_order_that_need_not_finish_is_marked_at_the_end():
    for cap, regimes in [(None, DRIFTING), (0.08, Regimes(drift=(-0.02,)))]:
        for gamma in [0.0, 0.2]:
            changes = {"complete": False, "volume_noise": 0.5, "perm_impact_gamma": gamma, "kyle_lambda": 0.4}
            market = small(2, regimes, max_participation=cap, risk_aversion=3e-6, **changes)
            assert informed(market) == pytest.approx(brute(market), rel=1e-6)


@pytest.mark.parametrize(("slices", "regimes"), [(2, TWO), (3, ONE)])
def test_it_heeds_a_persistent_flow(slices, regimes):
    market = small(slices, regimes, flow_persistence=0.4, flow_share=0.2, kyle_lambda=0.4)
    problem = build_problem(market)
    values, search = solve_informed(problem).values, Brute(market)
    for node in (12, 18):
        expected = [search.start(m, problem.signal[node]) for m in range(market.regimes)]
        assert values[:, node] == pytest.approx(expected, rel=1e-6)


def test_it_heeds_a_flow_that_turns_back():
    market = small(2, ONE, flow_persistence=-0.4, flow_share=0.3)
    problem = build_problem(market)
    values, search = solve_informed(problem).values, Brute(market)
    for node in (8, 16, 24):
        assert values[0, node] == pytest.approx(search.start(0, problem.signal[node]), rel=1e-6)


def test_it_averages_the_flow_before_the_first_slice():
    market = small(2, ONE, flow_persistence=0.5, flow_share=0.3)
    search, (nodes, weights) = Brute(market), trapezoids(161)
    assert informed(market)[0] == pytest.approx(
        sum(w * search.start(0, u) for u, w in zip(nodes, weights, strict=True)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("slices", "regimes", "changes"),
    [
        (2, TWO, {"price_risk": 0.01}),
        (2, DRIFTING, {"side": -1}),
        (2, DRIFTING, {"price_risk": 0.02, "kyle_lambda": 0.4}),
        (3, ONE, {"price_risk": 0.02}),
    ],
)
def test_it_heeds_a_geometric_price(slices, regimes, changes):
    market = small(slices, regimes, price_model="gbm", volatility=0.1, risk_aversion=1e-8, **changes)
    assert informed(market) == pytest.approx(brute(market), rel=1e-6)


# --- told one slice late


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"volume_noise": 0.6, "temp_impact_beta": 0.6, "kyle_lambda": 0.6},
        {"regimes": replace(DRIFTING, start="CRISIS")},
        {"slices": 2, "max_participation": 0.1, "volume_noise": 0.6},
        {"slices": 2, "complete": False, "risk_aversion": 3e-6, "volume_noise": 0.6},
    ],
)
def test_who_is_told_one_slice_late_does_what_a_tree_allows_him(changes):
    market = small(**changes)
    value = float(solve_blind(build_problem(market)).values[0, 0])
    assert value == pytest.approx(Brute(market, told=False).start(), rel=1e-6)
    start = market.scenario.regimes.start_law()
    assert value > informed(market) @ start


def test_who_is_told_one_slice_late_may_still_watch_the_flow():
    market = small(2, TWO, flow_persistence=0.6, flow_share=0.5)
    problem = build_problem(market)
    values, search = solve_blind(problem).values, Brute(market, told=False)
    for node in (12, 21):
        assert values[0, node] == pytest.approx(search.start(flow=problem.signal[node]), rel=1e-6)


def test_with_one_regime_there_is_nothing_to_be_told():
    for changes in [{}, {"max_participation": 0.1, "volume_noise": 0.5}, {"flow_persistence": 0.4}]:
        problem, grid = build_problem(small(4, ONE, **changes), 17), Grid(31, 16, 17)
        assert solve_blind(problem, grid).values == pytest.approx(solve_informed(problem, grid).values, rel=1e-7)


# --- fixed fractions


@pytest.mark.parametrize(
    "changes",
    [
        {"kyle_lambda": 0.7, "volume_noise": 0.5},
        {"slices": 2, "max_participation": 0.1, "volume_noise": 0.5},
        {"slices": 2, "max_participation": 0.1, "volume_noise": 0.5, "complete": False},
        {"price_model": "gbm", "volatility": 0.1, "price_risk": 0.01, "risk_aversion": 0.0},
    ],
)
def test_fixed_fractions_cost_what_a_tree_says(changes):
    market = small(**changes)
    problem, fractions = build_problem(market), np.array([0.3, 0.6, 0.9])[-market.slices :]
    value = evaluate_fractions(problem, fractions) @ problem.signal_law
    search = Brute(market, fractions=fractions)
    assert value == pytest.approx([search.start(m) for m in range(2)], rel=1e-6)


# --- the search of the programme itself


@pytest.mark.parametrize(
    "changes",
    [
        {"kyle_lambda": 0.6},
        {"volume_noise": 0.5, "max_participation": 0.1},
        {"volume_noise": 0.5, "max_participation": 0.1, "complete": False, "risk_aversion": 3e-6},
        {"flow_persistence": 0.5},
        {"regimes": DRIFTING, "price_model": "gbm", "price_risk": 0.01},
        {"regimes": replace(DRIFTING, drift=(-0.4, 0.3))},
        {"temp_impact_alpha": 0.0, "kyle_lambda": 0.6},
    ],
)
@pytest.mark.parametrize("solver", [solve_informed, solve_blind])
def test_no_trade_of_a_row_beats_the_one_that_was_found(monkeypatch, solver, changes):
    grid, search, seen = Grid(17, 9, 9), dynamic._best, []
    market = small(4, volume_curve=(), **({"regimes": TWO} | changes))

    def checked(stage, forced):
        root = search(stage, forced)
        if not forced:
            left = stage.state[0]
            found = stage.value(left * root * root)
            rows = [stage.value(left * np.full_like(root, share)) for share in np.linspace(0.0, 1.0, 51)]
            seen.append(float((found - np.min(rows, axis=0)).max()))
        return root

    monkeypatch.setattr(dynamic, "_best", checked)
    solver(build_problem(market, grid.signal), grid)
    assert len(seen) >= 3
    assert max(seen) < 1e-8 * market.scenario.notional


@pytest.mark.parametrize("name", ["regime-day", "trending-day", "illiquid", "gatheral-schied", "bertsimas-lo"])
def test_the_difference_of_two_grids_bounds_the_error(name):
    scenario = get_scenario(name)
    market = build_market(replace(scenario, slices=min(scenario.slices, 10)))
    coarse, fine, finest = (informed(market, grid) for grid in (FINE.coarser(), FINE, FINE.finer().finer()))
    assert np.abs(fine - finest).max() <= np.abs(fine - coarse).max()


def test_grids_grow_and_shrink_by_half():
    assert FINE.finer().coarser() == FINE
    assert all(a < b < c for a, b, c in zip(FINE.coarser(), FINE, FINE.finer(), strict=True))
