"""The coupled Riccati recursions against full scenario trees and against the closed forms of the papers."""

import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from hyperexec_env.baselines.closed_forms import almgren_chriss, bertsimas_lo, gatheral_schied, obizhaeva_wang
from hyperexec_env.baselines.solver.linear import is_linear, keeps_one_side, solve_linear
from hyperexec_env.market.kernel import Slice, State, step
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

NAMES = ("BULL_TRENDING", "SIDEWAYS_LOW", "CRISIS")
RATES = ((-2.0, 1.5, 0.5), (1.0, -3.0, 2.0), (0.5, 2.5, -3.0))


def three_regimes(**changes):
    values = {"volatility": (0.8, 1.0, 2.0), "volume": (1.2, 1.0, 0.4), "spread": (0.5, 1.0, 3.0), "rates": RATES}
    return Regimes(names=NAMES, **{**values, **changes})


def linear(regimes, slices=4, **changes):
    values = {"temp_impact_beta": 1.0, "temp_impact_alpha": 1.5, "slices": slices, "regimes": regimes}
    return build_market(Scenario(**{**values, "volume_curve": (0.3, 0.2, 0.15, 0.35), **changes}))


MARKETS = {
    "trades of both signs": linear(three_regimes(drift=(0.08, 0.0, -0.15)), kyle_lambda=0.2),
    "drift by regime": linear(three_regimes(drift=(0.01, -0.005, 0.02)), side=-1, risk_aversion=1e-6),
    "transient impact": linear(three_regimes(resilience=(2.0, 0.7, 0.1)), kyle_lambda=1.4, resilience=4.0),
    "drift and transient impact": linear(
        three_regimes(resilience=(2.0, 0.7, 0.0), drift=(0.03, -0.02, -0.05)), 5, kyle_lambda=1.0, temp_impact_alpha=0.7
    ),
    "volatility over the day": linear(
        three_regimes(resilience=(2.0, 0.7, 0.1)), kyle_lambda=1.0, risk_aversion=1e-6, volatility_curve=(1.9, 0.6, 0.4, 1.1)
    ),
}


def ratio_of(scenario, k):
    """Volatility of slice k over that of the day, for a curve with one value for each slice of the whole day."""
    curve = np.array(scenario.volatility_curve or (1.0,) * scenario.slices)
    assert len(curve) == scenario.slices
    return curve[k] / math.sqrt((curve**2).mean())


class Tree:
    """All regime paths of an order, with one unknown trade for each regime history."""

    def __init__(self, market, start):
        self.market = market
        transition = market.scenario.regimes.transition(market.tau)
        paths = [(start, *rest) for rest in product(range(market.regimes), repeat=market.slices - 1)]
        self.paths = np.array(paths)
        self.probabilities = np.array([math.prod(transition[i, j] for i, j in pairwise(path)) for path in paths])
        histories = sorted({path[: k + 1] for path in paths for k in range(market.slices - 1)}, key=lambda h: (len(h), h))
        self.number = {history: i for i, history in enumerate(histories)}
        self.own = np.array([[self.number[path[: k + 1]] for k in range(market.slices - 1)] for path in paths])

    def slice(self, k):
        """Slice k on each path, written from the definitions; 1 / V is at its mean over the volume noise."""
        scenario, regime = self.market.scenario, self.paths[:, k]
        law, tau, price = scenario.regimes, scenario.tau, scenario.arrival_price
        sigma = scenario.volatility * price * np.array(law.volatility)[regime]
        volume = scenario.profile()[k] * scenario.adv * np.array(law.volume)[regime]
        return Slice(
            volume=volume * math.exp(-(scenario.volume_noise**2)),
            least=-math.inf,
            limit=math.inf,
            temporary_scale=scenario.temp_impact_alpha * sigma,
            half_spread=scenario.half_spread_bps * 1e-4 * price * np.array(law.spread)[regime],
            transient_decay=np.exp(-scenario.resilience * np.array(law.resilience)[regime] * tau),
            drift=scenario.side * price * np.array(law.drift)[regime] * tau,
            innovation=0.0,
            risk=scenario.risk_aversion * (sigma * ratio_of(scenario, k)) ** 2 * tau,
        )

    def cost(self, trades):
        """Expected objective of trades for the histories, shape (candidates, histories), currency."""
        market = self.market
        zero = np.zeros((len(trades), len(self.paths)))
        state, total = State(zero + market.scenario.quantity, zero, zero), zero
        for k in range(market.slices):
            shares = trades[:, self.own[:, k]] if k < market.slices - 1 else state.remaining
            state, cost = step(market.impact, state, self.slice(k), shares)
            total = total + cost.expected
        return total @ self.probabilities

    def optimum(self):
        """Optimal trades for the histories and their objective, from normal equations by differences, exact for quadratics."""
        count, quantity = len(self.number), self.market.scenario.quantity
        base = np.full(count, quantity / (2.0 * self.market.slices))  # interior trades: none is clipped or negative
        width = 0.5 * base[0]
        unit = width * np.eye(count)
        i, j = np.tril_indices(count)
        centre, up, down = self.cost(base[None])[0], self.cost(base + unit), self.cost(base - unit)
        both = self.cost(base + unit[i] + unit[j] * (i != j)[:, None])
        curvature = np.where(i == j, up[i] - 2.0 * centre + down[i], both - up[i] - up[j] + centre) / width**2
        hessian = np.zeros((count, count))
        hessian[i, j] = hessian[j, i] = curvature
        slope = (up - down) / (2.0 * width)
        move = np.linalg.solve(hessian, -slope)
        return base + move, centre + 0.5 * slope @ move

    def trades_of(self, solution):
        """Trades of the gains for the histories."""
        market, scenario = self.market, self.market.scenario
        left, displaced = np.ones(len(self.paths)), np.zeros(len(self.paths))
        found = np.zeros(len(self.number))
        slope = market.impact.transient_slope * scenario.quantity / scenario.arrival_price
        for k in range(market.slices - 1):
            state = np.stack([left, displaced, np.zeros_like(left), np.ones_like(left)], axis=1)
            traded = (solution.gains[k, self.paths[:, k]] * state).sum(axis=1)
            found[self.own[:, k]] = traded * scenario.quantity
            left, displaced = left - traded, (displaced + slope * traded) * self.slice(k).transient_decay
        return found


@pytest.mark.parametrize("name", MARKETS)
def test_the_recursion_agrees_with_the_full_scenario_tree(name):
    for start in range(3):
        market = MARKETS[name]
        tree, solution = Tree(market, start), solve_linear(market)
        trades, objective = tree.optimum()
        assert solution.values[start] * market.scenario.notional == pytest.approx(objective, rel=1e-10)
        assert tree.trades_of(solution) == pytest.approx(trades, rel=1e-7, abs=1e-7 * market.scenario.quantity)
        if name == "trades of both signs":
            assert trades.min() < -0.05 * market.scenario.quantity
            assert trades.max() > 0.5 * market.scenario.quantity
            assert not keeps_one_side(solution)


def test_the_objective_depends_on_the_regime_in_these_markets():
    """Otherwise the tests with trees would not test the coupling of the regimes."""
    for market in MARKETS.values():
        values = solve_linear(market).values
        assert values.max() - values.min() > 0.01 * abs(values).max()


# --- the papers


def bps(value, scenario):
    return 1e4 * value / scenario.notional


def test_the_optimum_agrees_with_almgren_and_chriss():
    model, scenario = almgren_chriss.EXAMPLE, get_scenario("almgren-chriss")
    solution, paper = solve_linear(build_market(scenario)), almgren_chriss.optimum(model, 1e-6)
    exact = paper.expected - 0.5 * model.gamma * model.quantity**2 + 1e-6 * paper.variance
    assert 1e4 * solution.values[0] == pytest.approx(bps(exact, scenario), rel=1e-10)
    left, traded = 1.0, []
    for gain in solution.gains[:, 0]:
        traded.append(gain[0] * left)
        left -= traded[-1]
    assert np.array(traded) * model.quantity == pytest.approx(almgren_chriss.trades(model, 1e-6), rel=1e-9)
    assert keeps_one_side(solution)


def test_the_optimum_agrees_with_almgren_and_chriss_with_a_drift():
    model = replace(almgren_chriss.EXAMPLE, drift=0.02)
    scenario = almgren_chriss.to_scenario(model, 1e-6, arrival_price=50.0, adv=5e6)
    solution, paper = solve_linear(build_market(scenario)), almgren_chriss.optimum(model, 1e-6)
    found = solution.values[0] * scenario.notional
    assert round(found, 3) == 1_129_306.244
    assert found == pytest.approx(paper.expected - 0.5 * model.gamma * model.quantity**2 + 1e-6 * paper.variance, rel=1e-10)
    assert keeps_one_side(solution)


@pytest.mark.parametrize("risk_aversion", [0.0, 1e-7])
def test_the_optimum_agrees_with_obizhaeva_and_wang(risk_aversion):
    model = replace(obizhaeva_wang.EXAMPLE, risk_aversion=risk_aversion)
    scenario = obizhaeva_wang.to_scenario(model, 101, arrival_price=100.0, adv=1e6)
    solution = solve_linear(build_market(scenario))
    exact = obizhaeva_wang.discrete_cost(model, obizhaeva_wang.discrete_trades(model, 101)).objective
    exact -= 0.5 * model.permanent * model.quantity**2
    assert 1e4 * solution.values[0] == pytest.approx(bps(exact, scenario), rel=1e-10)
    assert keeps_one_side(solution)


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.5, 0.999])
def test_the_optimum_agrees_with_bertsimas_and_lo(rho):
    model = replace(bertsimas_lo.EXAMPLE, rho=rho)
    scenario = bertsimas_lo.to_scenario(model, sd_noise=0.125, adv=1e6)
    solution = solve_linear(build_market(scenario))
    paper = bertsimas_lo.informed_cost(model) - model.price * model.quantity - 0.5 * model.theta * model.quantity**2
    if model == bertsimas_lo.EXAMPLE:
        assert round(paper + 250_000.0, 2) == 258_349.13  # the cost of the paper without the price of the shares
    assert solution.values[0] * scenario.notional == pytest.approx(paper, rel=1e-9)
    assert keeps_one_side(solution) == (rho == 0.0)


@pytest.mark.parametrize("variance_aversion", [0.0, 1e-6])
def test_the_optimum_agrees_with_gatheral_and_schied(variance_aversion):
    model = replace(gatheral_schied.EXAMPLE, variance_aversion=variance_aversion)
    scenario = gatheral_schied.to_scenario(model, 26, adv=5e6)
    solution = solve_linear(build_market(scenario))
    assert solution.values[0] * scenario.notional == pytest.approx(
        gatheral_schied.discrete_cost(model, scenario.slices), rel=1e-10
    )
    assert not keeps_one_side(solution)


@pytest.mark.parametrize("quantity", [100_000.0, 1_000_000.0])
def test_without_transient_impact_the_holdings_solve_a_tridiagonal_system(quantity):
    """Almgren and Chriss (2000) with a volatility by slice, and eta_k the linear temporary impact over the trade:

    eta_k (x_k - x_{k+1}) - eta_{k+1} (x_{k+1} - x_{k+2}) = risk_k x_{k+1} at each time between two slices.
    """
    curve = (2.0, 1.2, 0.8, 0.6, 0.6, 0.7, 0.9, 1.6)
    scenario = Scenario(
        slices=8, temp_impact_beta=1.0, quantity=quantity, kyle_lambda=0.2, volume_noise=0.0, risk_aversion=1e-6,
        volatility_curve=curve,
    )  # fmt: skip
    price, tau = scenario.arrival_price, 1.0 / 8.0
    risk = 1e-6 * (0.02 * price) ** 2 * tau * np.array(curve) ** 2 / (np.array(curve) ** 2).mean()
    eta = scenario.temp_impact_alpha * 0.02 * price / (np.array(scenario.profile()) * scenario.adv)
    system = np.diag(eta[:-1] + eta[1:] + risk[:-1]) - np.diag(eta[1:-1], 1) - np.diag(eta[1:-1], -1)
    held = np.linalg.solve(system, np.append(eta[0] * quantity, np.zeros(6)))
    path = np.concatenate([[quantity], held, [0.0]])
    solution, left, found = solve_linear(build_market(scenario)), 1.0, []
    for gain in solution.gains[:, 0]:
        left -= gain[0] * left
        found.append(left * quantity)
    assert found == pytest.approx(path[1:], rel=1e-9, abs=1e-6)
    cost = eta @ np.diff(path) ** 2 + risk @ path[1:] ** 2 + scenario.half_spread_bps * 1e-4 * price * quantity
    assert solution.values[0] * scenario.notional == pytest.approx(cost, rel=1e-12)
    assert keeps_one_side(solution)


# --- one side


def random_market(seed):
    """A market without drift and with random impact, resilience and regimes, whose optimum may be one-sided."""
    rng = np.random.default_rng(seed)
    regimes = three_regimes(
        volatility=tuple(np.exp(rng.normal(size=3))),
        volume=tuple(np.exp(rng.normal(size=3))),
        resilience=tuple(np.exp(rng.normal(size=3))),
        spread=(1.0, 1.0, 1.0),
    )
    return linear(
        regimes,
        5,
        kyle_lambda=0.2 + float(np.exp(rng.normal())),
        temp_impact_alpha=0.3 * float(np.exp(rng.normal())),
        resilience=10.0 * float(np.exp(rng.normal())),
        risk_aversion=1e-6 * float(np.exp(rng.normal())),
    )


def is_one_sided(solution):
    """Whether the trades lie between zero and the remaining shares on every regime path, by enumeration."""
    market = solution.market
    left = [Tree(market, start).trades_of(solution) for start in range(market.regimes)]
    for start, trades in enumerate(left):
        tree = Tree(market, start)
        sold = trades[tree.own]
        if sold.min() < -1e-9 * market.scenario.quantity or sold.sum(axis=1).max() > market.scenario.quantity * (1.0 + 1e-9):
            return False
    return True


def test_keeps_one_side_agrees_with_the_enumeration_of_paths():
    solutions = [solve_linear(random_market(seed)) for seed in range(60)]
    enumerated = [is_one_sided(solution) for solution in solutions]
    assert [keeps_one_side(solution) for solution in solutions] == enumerated
    assert 6 <= sum(enumerated) <= 54  # both outcomes occur


def test_markets_with_a_signal_or_a_drift_by_regime_are_not_reported_as_one_sided():
    assert not keeps_one_side(solve_linear(MARKETS["drift by regime"]))
    assert not keeps_one_side(solve_linear(build_market(get_scenario("flow-signal"))))


@pytest.mark.parametrize(("drift", "one_sided"), [(0.002, True), (-0.2, False), (0.4, False)])
def test_a_single_regime_keeps_one_side_if_its_drift_is_weak(drift, one_sided):
    """A strong downward drift makes the optimum sell first, a strong upward drift makes it buy more than the order."""
    solution = solve_linear(linear(Regimes(drift=(drift,)), 5))
    left, sides = 1.0, []
    for gain in solution.gains[:, 0]:
        traded = gain[0] * left + gain[3]
        sides.append(0.0 <= traded <= left * (1.0 + 1e-12))
        left -= traded
    assert all(sides) == one_sided
    assert keeps_one_side(solution) == one_sided


# --- markets that are not linear


@pytest.mark.parametrize(
    "changes",
    [
        {"temp_impact_beta": 0.5},
        {"max_participation": 0.3},
        {"predator": 0.2},
        {"complete": False},
        {"transient_exponent": 0.5},
        {"price_model": "gbm", "flow_persistence": 0.3},
        {"price_risk": 0.1},
    ],
)
def test_a_market_that_is_not_linear_is_rejected(changes):
    market = build_market(replace(get_scenario("flow-signal"), **{"name": "nonlinear", "flow_persistence": 0.0, **changes}))
    assert not is_linear(market)
    with pytest.raises(ValueError, match="'nonlinear' must have temp_impact_beta 1"):
        solve_linear(market)


@pytest.mark.parametrize("changes", [{"kyle_lambda": 0.2}, {"resilience": 0.0}])
def test_a_market_without_convex_costs_is_rejected(changes):
    """With a drift the objective is unbounded below; without a drift every schedule costs the same."""
    for drift in ((), (0.01,)):
        free = {"temp_impact_alpha": 0.0, "risk_aversion": 0.0, "flow_persistence": 0.0, "regimes": Regimes(drift=drift)}
        market = build_market(replace(get_scenario("flow-signal"), **free, **changes))
        with pytest.raises(ValueError, match="'flow-signal' must have an impact or a risk that makes the objective convex"):
            solve_linear(market)
