"""Venues: water-filling, one price for all venues, and adverse selection that keeps the price a martingale."""

from __future__ import annotations

import numpy as np
import pytest

from hyperexec_env.market.kernel import Cost, Impact, Slice, State, expected_cost, move
from hyperexec_env.market.liquidity import Atoms
from hyperexec_env.market.venue import adverse_move, odds_of, proportional, route, toll, total_cost, venue_move

pytestmark = pytest.mark.fast

VOLUMES = [share * 5e6 / 26 for share in (0.5, 0.3, 0.2)]
CONCESSIONS = [0.013, 0.013, 0.008]
IMPACT = Impact(4e-6, 2e-6, 0.5)


def _toll(split, scale, beta):
    return sum(toll(q, scale, v, beta, z) for q, v, z in zip(CONCESSIONS, VOLUMES, split, strict=True))


@pytest.mark.parametrize(
    ("scale", "beta", "shares", "split", "expected"),
    [
        (0.6, 0.5, 7692.3, (3803.0615, 2281.8369, 1607.4016), 1015.211254),
        (3.0, 1.0, 7692.3, (3830.1244, 2298.0746, 1564.1010), 1015.318574),
        (3.0, 1.0, 40.0, (3.97436, 2.38462, 33.64103), 0.4408574359),
    ],
)
def test_water_filling_has_the_least_toll(scale, beta, shares, split, expected):
    routed = route(shares, CONCESSIONS, [scale] * 3, VOLUMES, beta)
    assert sum(routed) == pytest.approx(shares, rel=1e-14)
    assert routed == pytest.approx(split, abs=5e-5)
    assert _toll(routed, scale, beta) == pytest.approx(expected, rel=1e-9)
    # second way: no split of a fine simplex around it costs less, and the best of them costs the same
    moves = np.linspace(-1e-4, 1e-4, 41) * shares
    first, second = (moves[:, None], moves[None, :])
    others = [routed[0] + first, routed[1] + second, routed[2] - first - second]
    costs = _toll([np.maximum(z, 0.0) for z in others], scale, beta)
    assert costs.min() == pytest.approx(_toll(routed, scale, beta), rel=2e-15)


def test_other_routers_cost_more():
    even = proportional(7692.3, VOLUMES)
    assert _toll(even, 0.6, 0.5) == pytest.approx(1015.383138, rel=1e-9)
    assert _toll([0.0, 0.0, 7692.3], 0.6, 0.5) == pytest.approx(2125.598052, rel=1e-9)


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.6, 1.0])
def test_floats_and_arrays_route_alike_and_the_water_level_is_one(beta):
    scales, shares = [0.6, 0.9, 0.4], np.array([0.0, 1e-6, 3.0, 7692.3, 1e6])
    arrays = route(shares, CONCESSIONS, scales, VOLUMES, beta)
    singles = [route(float(n), CONCESSIONS, scales, VOLUMES, beta) for n in shares]
    assert np.array_equal(np.array(arrays).T, np.array(singles))
    assert sum(arrays) == pytest.approx(shares, rel=1e-12)
    marginal = [q + (1.0 + beta) * c * (z / v) ** beta for q, c, v, z in zip(CONCESSIONS, scales, VOLUMES, arrays, strict=True)]
    level = np.max([np.where(z > 0.0, m, -np.inf) for z, m in zip(arrays, marginal, strict=True)], axis=0)
    for z, m in zip(arrays, marginal, strict=True):
        assert np.where(z > 0.0, m, level)[1:] == pytest.approx(level[1:], rel=1e-9)


@pytest.mark.parametrize("beta", [0.5, 0.6, 1.0])
def test_equal_terms_are_one_venue_of_the_whole_volume(beta):
    routed = route(5000.0, [0.01] * 3, [0.6] * 3, VOLUMES, beta)
    assert routed == pytest.approx(proportional(5000.0, VOLUMES), rel=1e-12)
    total = sum(toll(0.01, 0.6, v, beta, z) for v, z in zip(VOLUMES, routed, strict=True))
    assert total == pytest.approx(toll(0.01, 0.6, sum(VOLUMES), beta, 5000.0), rel=1e-13)


def _slice(volume, limit=np.inf, scale=0.5, spread=0.01, **others):
    return Slice(
        **{
            "volume": volume,
            "least": 0.0,
            "limit": limit,
            "temporary_scale": scale,
            "half_spread": spread,
            "transient_decay": 0.7,
            "drift": 0.0,
            "innovation": 0.0,
            "risk": 0.0,
            **others,
        }
    )


def test_one_venue_is_the_market_to_the_last_bit():
    state, whole = State(1e4, 0.3, 0.2), _slice(2e4, innovation=0.05, risk=1e-7)
    after, (cost,), (filled,) = venue_move(IMPACT, state, [whole], [3e3], [0.0])
    assert (after, cost) == move(IMPACT, state, whole, 3e3)
    assert filled == 3e3


def test_a_joint_child_pays_the_whole_slope_wherever_it_fills():
    state = State(1e4, 0.3, 0.2)
    slices = [_slice(2e4, innovation=0.05, risk=1e-7), _slice(1e4), _slice(1e4, limit=1200.0, scale=0.0)]
    after, costs, fills = venue_move(IMPACT, state, slices, [2000.0, 500.0, 4000.0], [0.0, 0.0, 0.004])
    whole, one = move(IMPACT, state, _slice(2e4, innovation=0.05, risk=1e-7), 3700.0)
    total = total_cost(costs)
    assert fills == (2000.0, 500.0, 1200.0)
    assert after == pytest.approx(whole, rel=1e-14)
    for name in ("permanent", "transient", "spread", "risk"):
        assert getattr(total, name) == pytest.approx(getattr(Cost(*one), name), rel=1e-13)
    assert total.timing == pytest.approx(Cost(*one).timing - 0.004 * 1200.0)
    assert total.temporary == pytest.approx(toll(0.0, 0.5, 2e4, 0.5, 2000.0) + toll(0.0, 0.5, 1e4, 0.5, 500.0))


def test_the_last_slice_completes_the_order_at_home():
    home = _slice(2e4, least=np.inf)
    after, _, fills = venue_move(IMPACT, State(1e4, 0.0, 0.0), [home, _slice(1e4)], [0.0, 3e3], [0.0] * 2)
    assert fills == (7e3, 3e3)
    assert after[0] == 0.0


@pytest.mark.parametrize(("chi", "gain"), [(0.0, -20_000.0), (0.5, -10_000.0), (1.0, 0.0)])
def test_a_pool_whose_fills_carry_less_than_the_whole_slope_pays_for_round_trips(chi, gain):
    free = {"temporary_scale": 0.0, "half_spread": 0.0, "transient_decay": 1.0, "drift": 0.0, "innovation": 0.0, "risk": 0.0}
    place = Slice(volume=1e6, least=-np.inf, limit=np.inf, **free)
    state, bought = move((4e-6, 0.0, 1.0, 1.0), (1e9, 0.0, 0.0), place, 1e5)
    _, sold = move((chi * 4e-6, 0.0, 1.0, 1.0), state, place, -1e5)
    assert bought[0] + sold[0] == pytest.approx(gain, abs=1e-6)
    assert gain == pytest.approx(-4e-6 * 1e5**2 * (1.0 - chi) / 2.0)


def test_adverse_selection_has_mean_zero_and_costs_a_per_share():
    law, adverse, left, lit, posted = Atoms((0.1, 0.4), (0.2, 0.1)), 0.006, 1e4, 800.0, 3000.0
    available = law.sizes * 1e4
    moves = adverse_move(odds_of(law), adverse, available)
    fills = np.minimum(posted, available)
    assert float(law.probabilities @ moves) == pytest.approx(0.0, abs=1e-15)
    assert float(law.probabilities @ ((left - lit - fills) * moves)) == pytest.approx(
        adverse * float(law.probabilities @ fills)
    )


def test_the_expected_account_charges_adverse_selection_and_the_realised_one_does_not_charge_it_twice():
    pool = _slice(1e4, limit=1e3, scale=0.0, spread=0.006)
    _, costs, _ = venue_move(IMPACT, State(1e4, 0.0, 0.0), [_slice(1e4), pool], [0.0, 2e3], [0.0, 0.006])
    assert Cost(*costs[1]).spread == pytest.approx(6.0)
    assert Cost(*costs[1]).timing == pytest.approx(-6.0)
    assert expected_cost(costs[1]) > 6.0
