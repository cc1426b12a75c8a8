"""The decision problem of a scenario: distributions of regimes and signals, and the slices in each mode."""

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.solver.problem import build_problem, mean_slice, mode_slices, unsolved
from hyperexec_env.market.kernel import State, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast


def problem_of(name, nodes=33, **changes):
    return build_problem(build_market(replace(get_scenario(name), **changes)), nodes)


def test_probabilities_and_quadrature_weights_sum_to_one():
    for name in scenario_names():
        problem = problem_of(name)
        assert problem.modes == (len(get_scenario(name).regimes), len(problem.signal))
        assert problem.signal_law.sum() == pytest.approx(1.0, abs=1e-12)
        if not problem.signal_steps:
            assert name == "unknown-impact"  # two points of the temporary impact: their solver draws the steps of the log-odds
            continue
        assert problem.signal_steps[0].sum(axis=-1) == pytest.approx(1.0, abs=1e-12)
        laws = problem.laws()
        assert len(laws) == problem.market.slices
        for law in laws:
            assert law.sum() == pytest.approx(1.0, abs=1e-10)


def test_the_flow_has_the_moments_of_an_autoregression():
    for phi in [0.4, -0.7, 0.95]:
        problem = problem_of("flow-signal", flow_persistence=phi)
        flow = problem.signal
        inner = np.abs(flow) <= 2.0  # beyond, the quadrature rule is clipped at the end of the axis
        assert (problem.signal_steps[0][0] @ flow)[inner] == pytest.approx(phi * flow[inner], abs=1e-6)
        assert (problem.signal_steps[0][0] @ flow**2)[inner] == pytest.approx((phi * flow[inner]) ** 2 + 1.0 - phi**2, abs=1e-6)
        for law in problem.laws():
            assert law[0] @ flow == pytest.approx(0.0, abs=1e-6)
            assert law[0] @ flow**2 == pytest.approx(1.0, abs=1e-6)


def test_a_geometric_price_has_the_moments_of_its_distribution():
    regimes = get_scenario("trending-day").regimes
    problem = problem_of("gatheral-schied", 65, regimes=regimes)
    market, price = problem.market, problem.signal
    middle = len(price) // 2
    for m in range(market.regimes):
        mean = price[middle] * np.exp(market.step_drift[m])
        assert problem.signal_steps[0][m, middle] @ price == pytest.approx(mean, rel=1e-6)
        square = mean**2 * np.exp(market.step_volatility[0, m] ** 2)
        assert problem.signal_steps[0][m, middle] @ price**2 == pytest.approx(square, rel=1e-6)
    assert problem.signal_law @ price == pytest.approx(50.0, rel=1e-9)


def test_a_geometric_price_keeps_its_moments_in_all_slices():
    problem = problem_of("gatheral-schied", 65)
    for k, law in enumerate(problem.laws()):
        assert law[0] @ problem.signal == pytest.approx(50.0, rel=1e-6)
        grown = 2500.0 * np.exp(k * problem.market.step_volatility[0, 0] ** 2)
        assert law[0] @ problem.signal**2 == pytest.approx(grown, rel=1e-6)


def test_regime_probabilities_agree_with_drawn_paths():
    problem = problem_of("crisis-day")
    path = draw_path(problem.market, episode_keys(0, np.arange(20_000)), 1.0)
    for k in (0, 3, 12, 25):
        counts = np.bincount(path.world.regime[k], minlength=6) / 20_000
        expected = problem.laws()[k][:, 0]
        assert (np.abs(counts - expected) <= 5.0 * np.sqrt(expected * (1.0 - expected) / 20_000) + 1e-9).all()


def test_only_scenarios_with_a_signal_have_signal_nodes():
    for name, changes in (("regime-day", {}), ("trending-day", {}), ("regime-day", {"price_model": "gbm"})):
        assert problem_of(name, **changes).modes[1] == 1
    for name, changes in (
        ("flow-signal", {}),
        ("gatheral-schied", {}),
        ("trending-day", {"price_model": "gbm"}),
    ):
        assert problem_of(name, **changes).modes[1] == 33


@pytest.mark.parametrize("name", ["regime-day", "trending-day", "flow-signal", "gatheral-schied", "desk-5min"])
def test_the_slice_of_a_mode_agrees_with_drawn_paths(name):
    """Compare without volume noise and signal, which the paths draw; price noise is not compared."""
    problem = problem_of(name, volume_noise=0.0, flow_persistence=0.0, price_risk=0.0)
    market = problem.market
    path = draw_path(market, episode_keys(0, np.arange(200)), float(market.scenario.side))
    for k in (0, market.slices - 1):
        slices, regime = mode_slices(problem, k), path.world.regime[k]
        for field in ("volume", "least", "limit", "temporary_scale", "half_spread", "transient_decay", "drift", "risk"):
            assert getattr(slices, field)[regime, 0] == pytest.approx(getattr(path.slices, field)[k]), field


@pytest.mark.parametrize("name", ["trending-day", "flow-signal"])
def test_the_mean_slice_charges_the_mean_cost_of_the_regimes(name):
    for beta in [0.5, 0.6, 1.0]:
        regimes = get_scenario("trending-day").regimes
        problem = problem_of(name, 9, regimes=regimes, temp_impact_beta=beta)
        market, law = problem.market, np.random.default_rng(0).dirichlet(np.ones(6), 4)
        slices = mode_slices(problem, 3)
        mean = mean_slice(slices, law, beta)
        state = State(150_000.0, 0.0, 0.7)
        for shares in (0.0, 10.0, 40_000.0, 150_000.0):
            each = step(market.impact, state, slices, np.full(problem.modes, shares))[1].expected
            assert np.broadcast_to(
                step(market.impact, state, mean, np.full((4, 1), shares))[1].expected, (4, each.shape[1])
            ) == (pytest.approx(law @ each, rel=1e-12))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"flow_persistence": 0.3, "max_participation": 0.1, "complete": False}, ""),
        ({"price_model": "gbm", "price_risk": 0.1}, ""),
        ({"transient_exponent": 0.5}, "not linear"),
        ({"predator": -0.2}, "predator"),
        ({"price_model": "gbm", "flow_persistence": 0.3}, "two signals"),
        ({"price_risk": 0.1}, "arithmetic price"),
    ],
)
def test_a_scenario_that_cannot_be_solved_has_a_reason(changes, reason):
    found = unsolved(build_market(replace(get_scenario("regime-day"), **changes)))
    assert reason in found
    assert bool(found) == bool(reason)
