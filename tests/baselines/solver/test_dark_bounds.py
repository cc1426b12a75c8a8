"""The bounds on J* over venues hold the optimum of trees, and meet where the relaxation is exact."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from hyperexec_env.baselines.solver.dark import all_or_nothing
from hyperexec_env.baselines.solver.dark_bounds import simulated_bound
from hyperexec_env.baselines.solver.dark_dynamic import solve_to_tolerance
from hyperexec_env.baselines.solver.dark_relaxed import mean_weights, merged
from hyperexec_env.baselines.solver.venues import solve_venues
from hyperexec_env.market.liquidity import AllOrNothing, Atoms
from hyperexec_env.market.venue import Venue, route, toll
from hyperexec_env.market.venue_path import build_venues
from hyperexec_env.market.venue_scenario import get_venues

KRATZ = get_venues("kratz-schoneborn").with_market(slices=4)


def with_pools(*laws, **changes):
    pools = (Venue(name=f"pool{number}", kind="dark", liquidity=law, **changes) for number, law in enumerate(laws))
    return replace(KRATZ, venues=(KRATZ.venues[0], *pools))


def tree_of_pools(eta, risk, chances, slices):
    """Return J* / X^2 with pools that fill all or nothing and no concession, by a search over every post.

    The cost is homogeneous: with c_(k+1) the optimum of an order of one share in the next slice, a slice costs
    eta n^2 + E (risk + c_(k+1)) (1 - n - sum of the posts that filled)^2.
    """
    value, count = eta, 1 + len(chances)
    for _ in range(slices - 1):
        centre, width, best = np.full(count, 0.5), 0.5, np.inf
        while width > 1e-9:  # ever finer grids around the best point so far
            axes = [np.linspace(max(at - width, 0.0), min(at + width, 1.0), 25) for at in centre]
            lit, *posts = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(count, -1)
            cost = eta * lit**2 + np.where(lit + sum(posts) > 1.0 + 1e-12, np.inf, 0.0)
            for found in product((0.0, 1.0), repeat=len(chances)):
                weight = np.prod([p if one else 1.0 - p for p, one in zip(chances, found, strict=True)])
                left = 1.0 - lit - sum(one * post for one, post in zip(found, posts, strict=True))
                cost += weight * (risk + value) * left**2
            at = int(np.argmin(cost))
            if cost[at] < best:
                best, centre = float(cost[at]), np.array([lit[at], *(post[at] for post in posts)])
            width *= 0.5
        value = best
    return value


@pytest.mark.fast
def test_the_tree_of_one_pool_is_the_recursion():
    assert tree_of_pools(6e-6, 4e-7, (0.2,), 5) == pytest.approx(all_or_nothing(6e-6, 4e-7, 0.2, 5)[0][0], rel=1e-7)


@pytest.mark.parametrize("chances", [(0.2, 0.3), (0.1, 0.1)])
def test_the_bounds_hold_the_optimum_of_the_tree_of_two_pools(chances):
    scenario = with_pools(*map(AllOrNothing, chances))
    market, solution = build_venues(scenario), solve_venues(scenario)
    quantity = scenario.market.quantity
    eta = float(market.scale[0, 0]) / (market.market.numbers.slice_volume * market.depth)
    risk = float(market.market.risk[0, 0])
    best = tree_of_pools(eta, risk, chances, market.slices) * quantity**2 * 1e4 / scenario.market.notional
    assert solution.lower_bps < best < solution.upper_bps + solution.upper_error_bps
    assert solution.upper_bps < 1.03 * best  # the posts are nearly optimal; the lower bound is far off


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_the_bounds_hold_the_optimum_of_the_tree_of_moving_shares(beta):
    """Two slices, two lit venues of unequal depth: the first trade is the best one for each log share, over the next ones."""
    lit = (
        Venue(name="home", kind="home", share=0.6, share_noise=0.5, temporary=1.0),
        Venue(name="deep", kind="lit", share=0.4, share_noise=0.5, temporary=0.4),
    )
    scenario = replace(KRATZ.with_market(slices=2, temp_impact_beta=beta), venues=lit)
    market, solution = build_venues(scenario), solve_venues(scenario)
    x, risk = scenario.market.quantity, float(market.market.risk[0, 0])
    volume, scales = float(market.market.numbers.slice_volume) * market.depth, market.scale[:, 0].tolist()
    nodes, law = np.polynomial.hermite_e.hermegauss(15)
    law = law / law.sum()
    fractions = np.linspace(0.0, 1.0, 1001)

    def cost(shares, difference):
        weight = 0.6 / (0.6 + 0.4 * np.exp(-difference))
        volumes = (volume * weight, volume * (1.0 - weight))
        parts = route(shares, (0.0, 0.0), scales, volumes, beta)
        return sum(toll(0.0, c, v, beta, z) for c, v, z in zip(scales, volumes, parts, strict=True))

    best, spread = 0.0, 0.5 * np.sqrt(2.0)  # z_home - z_deep is one AR(1) process
    for at, probability in zip(nodes, law, strict=True):
        later = sum(
            p * cost(x * (1.0 - fractions), spread * (0.8 * at + 0.6 * move)) for move, p in zip(nodes, law, strict=True)
        )
        best += probability * (cost(x * fractions, spread * at) + later + risk * (x * (1.0 - fractions)) ** 2).min()
    best *= 1e4 / scenario.market.notional
    assert solution.lower_bps < best < solution.upper_bps + solution.upper_error_bps
    assert solution.upper_bps - solution.lower_bps < 0.05 * best


def test_the_bounds_are_close_where_no_pool_fills_the_order():
    solution = solve_venues(with_pools(Atoms((0.002, 0.01), (0.3, 0.1)), Atoms((0.003,), (0.4,)), Atoms((0.001,), (0.5,))))
    assert solution.lower_bps < solution.upper_bps + solution.upper_error_bps < 1.02 * solution.lower_bps


def test_the_bounds_meet_where_the_relaxation_is_exact():
    market = build_venues(with_pools(Atoms((0.02,), (0.3,))))
    money, error, tables = solve_to_tolerance(market)
    best = float(money[0]) * 1e4 / market.scenario.market.notional
    upper, spread = simulated_bound(market, tables)
    assert upper == pytest.approx(best, rel=2.0 * error + 1e-9)
    assert spread <= 1.1 * error * best + 1e-9


def test_a_pool_that_never_fills_changes_no_bound():
    one, none = Atoms((0.02, 0.1), (0.3, 0.1)), Atoms((0.5,), (0.0,))
    solution, alone = solve_venues(with_pools(one, none)), solve_venues(with_pools(one))
    assert solution.lower_bps == pytest.approx(alone.optimum_bps, rel=2.0 * alone.relative_error)
    assert solution.upper_bps == pytest.approx(alone.optimum_bps, abs=solution.upper_error_bps + 1e-9)


@pytest.mark.fast
@pytest.mark.parametrize(("shares", "noises"), [((0.5, 0.3, 0.2), (0.4, 0.3, 0.5)), ((0.6, 0.4), (2.0, 0.0))])
def test_the_mean_of_moving_shares_is_that_of_their_draws(shares, noises):
    z = np.array(noises)[:, None] * np.random.default_rng(1).standard_normal((len(shares), 400_000))
    raised = np.array(shares)[:, None] * np.exp(z)
    weights = raised / raised.sum(axis=0)
    error = weights.std(axis=1) / np.sqrt(weights.shape[1])
    means = mean_weights(shares, noises)
    assert np.all(np.abs(np.array(means) - weights.mean(axis=1)) < 4.0 * error)
    assert sum(means) == pytest.approx(1.0, abs=1e-12)
    assert mean_weights(shares, (0.0,) * len(shares)) == shares


@pytest.mark.fast
def test_merged_sizes_are_those_of_the_sum_and_few_are_rounded_up():
    pools = [Atoms((0.01, 0.05), (0.2, 0.1)), Atoms((0.02,), (0.4,)), AllOrNothing(0.1)]
    laws = [(one.sizes, one.probabilities) for one in pools]
    sizes, chances = merged(laws)
    exact = {}
    for parts in product(*(list(zip(*law, strict=True)) for law in laws)):
        size = round(sum(part[0] for part in parts), 12)
        exact[size] = exact.get(size, 0.0) + float(np.prod([part[1] for part in parts]))
    assert dict(zip(sizes.round(12).tolist(), chances.tolist(), strict=True)) == pytest.approx(exact)
    many = Atoms(tuple(np.linspace(0.001, 0.1, 40)), (0.02,) * 40)
    few, weights = merged([(many.sizes, many.probabilities)] * 2)
    assert len(few) <= 24
    assert weights.sum() == pytest.approx(1.0)
    assert few @ weights >= 2.0 * float(many.sizes @ many.probabilities)
