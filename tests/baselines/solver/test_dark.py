"""The optimum beside hidden liquidity: recursions and dynamic programming against scenario trees, simulation and each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.solver.dark import all_or_nothing, is_bernoulli, solve_bernoulli
from hyperexec_env.baselines.solver.dark_dynamic import solve_dark
from hyperexec_env.baselines.solver.dynamic import Grid
from hyperexec_env.market.liquidity import AllOrNothing, Atoms
from hyperexec_env.market.venue import Venue
from hyperexec_env.market.venue_path import build_venues
from hyperexec_env.market.venue_scenario import get_venues

KRATZ, LINEAR = get_venues("kratz-schoneborn"), get_venues("dark-linear")
ETA, RISK, KAPPA, ORDER = 6e-6, 4e-7, 2e-6, 2e5


def tree_optimum(chance, slices, kappa, decay, eta, risk):
    """Return J*, first lit and first posted request, from one linear system in the requests of all nodes of the tree of fills.

    A node is the sequence of slices that filled or not. The cost is a quadratic function of all requests, whose coefficients
    are its values at unit requests; at the minimum its gradient is zero, and there the limits of an order must hold.
    """
    levels = [[()]]
    for _ in range(slices - 2):
        levels.append([(*node, b) for node in levels[-1] for b in (0, 1)])
    nodes = [node for level in levels for node in level]
    place = {node: number for number, node in enumerate(nodes)}
    count = len(nodes)

    def walk(requests, node=(), left=1.0, displaced=0.0):
        """Return the expected cost from a node on, over the shares of the order, and the least room of a request."""
        if len(node) == slices - 1:
            return left * (displaced + 0.5 * kappa * ORDER * left) + eta * ORDER * left * left, left
        n, y = requests[place[node]], requests[count + place[node]]
        total, room = eta * ORDER * n * n, min(n, y, left - n - y)
        for b, probability in ((0, 1.0 - chance), (1, chance)):
            z = n + b * y
            own = z * (displaced + 0.5 * kappa * ORDER * z) + risk * ORDER * (left - z) ** 2
            later, least = walk(requests, (*node, b), left - z, decay * (displaced + kappa * ORDER * z))
            total, room = total + probability * (own + later), min(room, least)
        return total, room

    unit = np.eye(2 * count)
    zero = walk(np.zeros(2 * count))[0]
    single = np.array([walk(row)[0] for row in unit]) - zero
    pairs = np.array([[walk(a + b)[0] - zero for b in unit[: i + 1]] for i, a in enumerate(unit)], dtype=object)
    form = np.zeros((2 * count, 2 * count))
    for i, row in enumerate(pairs):
        for j, both in enumerate(row):
            form[i, j] = form[j, i] = both - single[i] - single[j]
    slope = single - 0.5 * np.diag(form)
    best = -np.linalg.solve(form, slope)
    value, room = walk(best)
    assert room > -1e-9, "the limits of an order bind"
    return value * ORDER, best[0] * ORDER, best[count] * ORDER


@pytest.mark.fast
def test_kratz_and_schoeneborn():
    values, taken = all_or_nothing(ETA, RISK, 0.2, 6)
    assert values[0] * ORDER**2 == pytest.approx(40_790.09666, abs=5e-6)
    assert taken[0] * ORDER == pytest.approx(33_991.7472, abs=5e-5)
    assert all_or_nothing(ETA, RISK, 0.0, 6)[0][0] * ORDER**2 == pytest.approx(60_440.14015, abs=5e-6)
    solved = solve_bernoulli(build_venues(KRATZ))
    assert solved.excess == 0.0
    assert solved.values[0] * ORDER == pytest.approx(values[0] * ORDER**2, rel=1e-12)
    lit, dark = solved.gains[0, 0] @ np.array([1.0, 0.0, 1.0]) * ORDER
    assert (lit, dark) == pytest.approx((33_991.7472, 166_008.2528), abs=5e-5)


@pytest.mark.fast
def test_the_recursion_is_what_its_policy_costs_in_simulation():
    chance, slices, paths = 0.1, 26, 100_000
    values, taken = all_or_nothing(ETA, RISK, chance, slices)
    assert values[0] * ORDER**2 == pytest.approx(44_203.97800, abs=5e-6)
    assert all_or_nothing(ETA, RISK, 0.0, slices)[0][0] * ORDER**2 == pytest.approx(54_482.18878, abs=5e-6)
    rng, left, cost = np.random.default_rng(3), np.full(paths, ORDER), np.zeros(paths)
    for k in range(slices):
        lit = taken[k] * left
        left = np.where(rng.random(paths) < chance, 0.0, left - lit)
        cost += ETA * lit**2 + RISK * left**2
    error = cost.std() / np.sqrt(paths)
    assert abs(cost.mean() - values[0] * ORDER**2) < 3.5 * error


@pytest.mark.parametrize(("slices", "kappa"), [(5, 0.0), (5, KAPPA), (4, 5e-6)])
def test_recursions_are_the_optimum_of_the_tree(slices, kappa):
    scenario = LINEAR.with_market(slices=slices, kyle_lambda=kappa * 5e4)
    market = build_venues(scenario)
    solved = solve_bernoulli(market)
    eta = float(market.scale[0, 0]) / (5e6 / slices)
    risk = float(market.market.risk[0, 0])
    assert solved.excess == 0.0
    value, lit, dark = tree_optimum(0.2, slices, kappa, float(np.exp(-10.0 / slices)), eta, risk)
    assert solved.values[0] * ORDER == pytest.approx(value, rel=1e-10)
    gains = solved.gains[0, 0] @ np.array([1.0, 0.0, 1.0]) * ORDER
    assert gains == pytest.approx([lit, dark], rel=1e-7)


@pytest.mark.fast
def test_with_transient_impact_the_optimum_does_not_post_everything():
    solved = solve_bernoulli(build_venues(LINEAR))
    assert solved.values[0] * ORDER == pytest.approx(57_454.15552, abs=5e-6)
    lit, dark = solved.gains[0, 0] @ np.array([1.0, 0.0, 1.0]) * ORDER
    assert (lit, dark) == pytest.approx((36_914.2733, 97_602.4660), abs=1e-4)
    assert solved.excess == 0.0


def _adverse(bps):
    scenario = KRATZ.with_market(half_spread_bps=1.0)
    return replace(scenario, venues=(scenario.venues[0], replace(scenario.venues[1], adverse_bps=bps)))


@pytest.mark.parametrize(
    ("bps", "value", "dark"), [(1.0, 42_790.0967, 166_008.0), (3.0, 44_333.8172, 160_400.0), (60.0, 62_434.7332, 3_754.0)]
)
def test_adverse_selection_makes_the_pool_dear(bps, value, dark):
    """The Riccati recursion holds at first; then the limits of an order bind, and the dynamic programme takes over."""
    market = build_venues(_adverse(bps))
    solved = solve_bernoulli(market)
    assert (solved.excess == 0.0) == (bps == 1.0)
    assert solved.values[0] * ORDER <= value * (1.0 + 1e-9)
    if solved.excess == 0.0:
        assert solved.values[0] * ORDER == pytest.approx(value, rel=1e-9)
    _, tables = solve_dark(market, Grid(61, 1, 1))
    assert tables.lit.values[0, 0] == pytest.approx(value, rel=1e-6)
    posted = (tables.total.fractions - tables.lit.fractions)[0, 0, 0, -1, 0] * ORDER
    assert posted == pytest.approx(dark, rel=2e-3)


def test_a_resting_order_that_fills_a_part():
    """30,000 shares reach the order with probability 0.4; no certificate passes the concession of -0.002."""
    rests = Venue(name="touch", kind="rest", adverse_bps=1.0, liquidity=Atoms((30_000.0 / (5e6 / 6),), (0.4,)))
    scenario = KRATZ.with_market(half_spread_bps=1.0)
    market = build_venues(replace(scenario, venues=(scenario.venues[0], rests)))
    paid = replace(market, adverse=0.0 * market.adverse, half_spread=np.array([[0.01] * 2, [-0.002] * 2]))
    _, tables = solve_dark(paid, Grid(121, 1, 1))
    assert tables.lit.values[0, 0] == pytest.approx(43_312.2872, rel=2e-7)
    assert tables.lit.fractions[0, 0, 0, -1, 0] * ORDER == pytest.approx(40_151.44, rel=1e-4)
    _, lit_only = solve_dark(replace(paid, scenario=replace(scenario, venues=scenario.lit)), Grid(121, 1, 1))
    assert lit_only.lit.values[0, 0] == pytest.approx(62_440.152, rel=1e-6)


def test_the_grid_reproduces_the_recursions():
    for scenario in (KRATZ, LINEAR):
        market = build_venues(scenario)
        _, tables = solve_dark(market, Grid(41, 21, 1))
        exact = solve_bernoulli(market).values * ORDER
        assert tables.lit.values[:, 0] == pytest.approx(exact, rel=1e-6)


def test_regimes_mix_the_forms():
    base = get_venues("regime-day").market.regimes
    scenario = LINEAR.with_market(regimes=base, slices=4, half_spread_bps=0.0)
    market = build_venues(scenario)
    solved = solve_bernoulli(market)
    _, tables = solve_dark(market, Grid(31, 16, 1))
    assert is_bernoulli(market)
    assert solved.excess < 0.05
    assert tables.lit.values[:, 0] == pytest.approx(solved.values * ORDER, rel=2e-4)


@pytest.mark.fast
def test_only_linear_all_or_nothing_markets_have_the_recursion():
    other = replace(KRATZ, venues=(KRATZ.venues[0], replace(KRATZ.venues[1], liquidity=Atoms())))
    assert not is_bernoulli(build_venues(other))
    with pytest.raises(
        ValueError, match="must have temp_impact_beta 1, lit venues of equal terms and one venue that is all or"
    ):
        solve_bernoulli(build_venues(other))
    never = replace(KRATZ, venues=(KRATZ.venues[0], replace(KRATZ.venues[1], liquidity=AllOrNothing(0.0))))
    assert solve_bernoulli(build_venues(never)).values[0] * ORDER == pytest.approx(60_440.14015, abs=5e-6)
