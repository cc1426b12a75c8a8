"""The optimum of a basket: Riccati recursion, convex program and closed forms, each checked by a second way of computing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.closed_forms import basket as closed
from hyperexec_env.baselines.solver import basket as solver
from hyperexec_env.baselines.solver.basket import basket_schedule_bps, solve_basket, unsolved_basket
from hyperexec_env.baselines.solver.basket_riccati import clipped, solve_riccati
from hyperexec_env.baselines.solver.best import best_of, even_bps
from hyperexec_env.execution.basket_program import best_schedule, best_two_sided, build_program, gap, schedule_cost
from hyperexec_env.market.basket import basket_move
from hyperexec_env.market.basket_path import build_basket
from hyperexec_env.market.basket_scenario import BasketScenario, get_basket
from hyperexec_env.market.kernel import Slice, expected_cost
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

QUIET = {"volume_noise": 0.0, "half_spread_bps": 0.0}
LINEAR = {"temp_impact_beta": 1.0, "temp_impact_alpha": 1.5}


def three(sides=(1, 1, -1), cross_impact=0.5, **values):
    """Three assets of the design, one day."""
    rows = zip((50.0, 100.0, 20.0), (4e6, 2e6, 1e7), (0.02, 0.015, 0.03), (1e5, 5e4, 3e5), sides, strict=True)
    values = {**QUIET, **LINEAR, "risk_aversion": 1e-6, "slices": 13, **values}
    assets = tuple(
        Scenario(name=f"a{i}", arrival_price=p, adv=a, volatility=s, quantity=q, side=side, **values)
        for i, (p, a, s, q, side) in enumerate(rows)
    )
    return BasketScenario(assets=assets, correlation=((1, 0.5, 0.3), (0.5, 1, 0.4), (0.3, 0.4, 1)), cross_impact=cross_impact)


def ten(**values):
    """Ten buys of 4 % without noise and spread."""
    return get_basket("basket-10").with_assets(**{**QUIET, **values})


def by_both(basket):
    """The minimum by the recursion and by the program, which agree, and the first trades, shares."""
    market = build_basket(basket)
    solution, best = solve_riccati(market), best_schedule(build_program(market))
    assert best.cost == pytest.approx(solution.values[0], rel=1e-10)
    assert best.cost - best.bound < 1e-10 * best.cost
    start = np.concatenate([np.ones(len(basket.assets)), np.zeros(len(basket.assets)), [1.0]])
    first = solution.gains[0, 0] @ start * basket.quantities
    assert best.shares[0] * basket.quantities == pytest.approx(first, rel=1e-5)
    return best.cost, first


def simulated(market, shares):
    """The objective of a schedule in a market of one regime without noise, slice by slice through the coupled kernel."""
    states = [(asset.quantity, 0.0, 0.0) for asset in market.scenario.assets]
    total = 0.0
    for k, row in enumerate(shares):
        slices = [
            Slice(
                float(each.mean_volume[k, 0]),
                0.0,
                np.inf,
                float(each.temporary_scale[0]),
                float(each.half_spread[0]),
                float(each.transient_decay[0]),
                0.0,
                0.0,
                float(each.risk[k, 0]),
            )
            for each in market.markets
        ]
        trades = [float(share * asset.quantity) for share, asset in zip(row, market.scenario.assets, strict=True)]
        states, costs = basket_move(market.impacts, market.coupling, states, slices, trades)
        total += sum(expected_cost(cost) for cost in costs)
    return total


def test_two_assets_of_almgren_and_chriss():
    """Case B3: matrix sinh against the recursion and the program."""
    rows = zip((50.0, 100.0), (4e6, 2e6), (0.02, 0.015), (2e5, 1e5), (1, -1), strict=True)
    values = {**QUIET, **LINEAR, "risk_aversion": 1e-6, "slices": 10, "perm_impact_gamma": 0.3}
    assets = tuple(
        Scenario(name=f"a{i}", arrival_price=p, adv=a, volatility=s, quantity=q, side=side, **values)
        for i, (p, a, s, q, side) in enumerate(rows)
    )
    basket = BasketScenario(assets=assets, correlation=((1.0, 0.6), (0.6, 1.0)))
    cost, first = by_both(basket)
    risk = 1e-6 * 0.1 * np.array([[1.0, -0.9], [-0.9, 2.25]])
    temporary = [1.5 * 0.02 * 50.0 / 4e5, 1.5 * 0.015 * 100.0 / 2e5]
    remaining = closed.almgren_chriss_remaining(temporary, risk, basket.quantities, 10)
    assert closed.almgren_chriss_value(temporary, risk, basket.quantities, 10) == pytest.approx(cost, rel=1e-10)
    assert basket.quantities - remaining[1] == pytest.approx(first, rel=1e-9)
    assert cost == pytest.approx(33_167.79557, rel=1e-9)
    assert remaining[5] == pytest.approx([85_084.48898, 46_890.76174], rel=1e-9)
    calm = closed.almgren_chriss_remaining(temporary, 0.0 * risk, basket.quantities, 10)
    assert calm[5] == pytest.approx(0.5 * basket.quantities)


def test_blocks_of_obizhaeva_and_wang():
    """Case B4: full cross-impact, neither risk nor temporary impact."""
    basket = three(cross_impact=1.0, risk_aversion=0.0, temp_impact_alpha=0.0)
    market = build_basket(basket)
    decay = float(market.markets[0].transient_decay[0])
    cost = closed.obizhaeva_wang_cost(market.coupling.transient, basket.quantities, 13, decay)
    assert cost == pytest.approx(3_535.12108, rel=1e-9)
    assert solve_riccati(market).values[0] == pytest.approx(cost, rel=1e-9)
    program = build_program(market)
    assert best_schedule(program).cost == pytest.approx(cost, rel=1e-9)
    weights = np.repeat(closed.obizhaeva_wang_weights(13, decay)[:, None], 3, axis=1)
    assert schedule_cost(program, weights) == pytest.approx(cost, rel=1e-12)


def test_three_assets_with_linear_impact():
    """Case B5: recursion, program, and the coupled kernel slice by slice."""
    cost, first = by_both(three())
    assert cost == pytest.approx(27_236.07104, rel=1e-9)
    assert first == pytest.approx([12_112.675, 5_418.068, 37_772.123], rel=1e-7)
    market = build_basket(three())
    best = best_schedule(build_program(market))
    assert simulated(market, best.shares) == pytest.approx(cost, rel=1e-9)
    assert clipped(market, solve_riccati(market)).excess == 0.0


def test_ten_assets_with_linear_impact():
    """Case B6."""
    cost, first = by_both(ten(**LINEAR))
    assert cost == pytest.approx(755_683.2102, rel=1e-9)
    assert 1e4 * cost / ten().notional == pytest.approx(49.585512, rel=1e-7)
    assert first[:3] == pytest.approx([39_873.896, 15_182.096, 62_285.693], rel=1e-7)


def test_three_assets_with_square_root_impact():
    """Case B8: the certificate, the coupled kernel, and no better schedule nearby."""
    basket = three(slices=6, temp_impact_alpha=0.3, temp_impact_beta=0.5)
    market = build_basket(basket)
    program = build_program(market)
    best = best_schedule(program)
    assert best.cost == pytest.approx(28_920.24315, rel=1e-9)
    assert best.shares[0] * basket.quantities == pytest.approx([28_842.482, 12_340.097, 94_358.873], rel=1e-6)
    assert 0.0 <= gap(program, best.shares) < 1e-9 * best.cost
    assert simulated(market, best.shares) == pytest.approx(best.cost, rel=1e-12)
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        others = (1.0 - size) * best.shares + size * rng.dirichlet(np.ones(6), (50, 3)).transpose(0, 2, 1)
        costs = np.array([schedule_cost(program, other) for other in others])
        assert (costs > best.cost).all()
        assert all(cost - gap(program, other) <= best.cost for cost, other in zip(costs, others, strict=True))


@pytest.mark.parametrize(
    ("name", "best", "twap"), [("basket-10", 41.302, 64.1), ("basket-pairs", 27.279, 28.4)], ids=["buys", "pairs"]
)
def test_baskets_of_the_design_without_noise_and_spread(name, best, twap):
    basket = get_basket(name).with_assets(**QUIET)
    solution = solve_basket(basket)
    assert solution.optimum_bps == pytest.approx(best, abs=5e-4)
    assert 100.0 * (solution.twap_bps / solution.optimum_bps - 1.0) == pytest.approx(twap, abs=0.05)
    assert basket_schedule_bps(basket, np.full((26, 10), 1.0 / 26.0)) == pytest.approx(solution.twap_bps, rel=1e-12)
    assert solution.relative_error < 1e-10


def test_orders_that_may_trade_both_ways_hedge_with_the_small_name():
    big, small, *_ = ten().assets
    basket = BasketScenario(
        assets=(replace(big, quantity=0.1 * big.adv), replace(small, quantity=1e-3 * small.adv)),
        correlation=((1.0, 0.9), (0.9, 1.0)),
    )
    program = build_program(build_basket(basket))
    one, two = best_schedule(program), best_two_sided(program)
    assert two.shares[:, 1].min() < -0.3  # the small name is overbought first, and sold again
    assert two.cost < 0.999 * one.cost
    assert two.cost - two.bound < 1e-8 * two.cost
    assert two.bound < one.bound
    linear = build_basket(basket.with_assets(**LINEAR))
    assert best_two_sided(build_program(linear)).cost == pytest.approx(solve_riccati(linear).values[0], rel=1e-9)
    text = str(solve_basket(basket))
    assert "Orders that may trade both ways: " in text
    assert clipped(linear, solve_riccati(linear)).excess > 0.0


def test_the_recursion_over_regimes_is_the_recursion_of_one_asset():
    asset = replace(hx.get_scenario("regime-day"), temp_impact_beta=1.0, temp_impact_alpha=1.5, volume_noise=0.2)
    found, alone = solve_basket(asset), best_of(build_market(asset))
    assert alone.method == found.method == "Riccati"
    assert found.optimum_bps == pytest.approx(alone.value, rel=1e-9)
    assert list(found.by_regime.values()) == pytest.approx(alone.values.tolist(), rel=1e-9)
    assert found.twap_bps == pytest.approx(even_bps(build_market(asset), alone), rel=1e-9)
    assert found.open_loop_bps == pytest.approx(hx.schedule_bps(asset, found.schedule[:, 0]), rel=1e-9)


def test_assets_without_correlation_are_solved_one_by_one():
    basket = replace(three(cross_impact=1.0), correlation=())
    singles = [solve_basket(asset) for asset in basket.assets]
    total = sum(single.optimum_bps * asset.notional for single, asset in zip(singles, basket.assets, strict=True))
    assert solve_basket(basket).optimum_bps == pytest.approx(total / basket.notional, rel=1e-9)


def test_six_regimes_and_ten_assets_are_bracketed_tightly():
    solution = solve_basket("basket-day")
    assert solution.method == "Riccati"
    assert 0.0 < solution.relative_error < 1e-3
    assert solution.optimum_bps < solution.open_loop_bps < solution.twap_bps
    assert 0.0 < solution.clipped < 0.01
    assert set(solution.by_regime) == set(get_basket("basket-day").regimes.names)


def test_regimes_and_square_root_impact_have_no_exact_optimum(monkeypatch):
    monkeypatch.setattr(solver, "_CLAIRVOYANT", 6)
    few = replace(get_basket("basket-day"), correlation=((1.0, 0.6), (0.6, 1.0)), assets=get_basket("basket-day").assets[:2])
    solution = solve_basket(few.with_assets(temp_impact_beta=0.5, temp_impact_alpha=0.3), cached=False)
    assert solution.optimum_bps is None
    assert solution.lower_bps < solution.upper_bps == solution.open_loop_bps < solution.twap_bps
    assert "not solved exactly: several regimes and temp_impact_beta other than 1" in str(solution)
    linear = solve_basket(few)
    exact = replace(
        solution, scenario=few, **solver._bracket(build_basket(few), best_schedule(build_program(build_basket(few))))
    )
    assert exact.lower_bps < linear.optimum_bps < exact.upper_bps


def test_a_cap_is_a_reason_not_to_solve():
    capped = three(max_participation=0.3)
    assert "max_participation" in unsolved_basket(build_basket(capped))
    solution = solve_basket(capped)
    assert solution.optimum_bps is None
    assert solution.upper_bps is None
    assert solution.lower_bps == pytest.approx(solve_basket(three()).optimum_bps, rel=1e-3)


def test_solve_takes_baskets_in_every_form(tmp_path):
    (tmp_path / "three.toml").write_text(three().to_toml())
    found = [hx.solve(form).optimum_bps for form in (three(), three().to_dict(), tmp_path / "three.toml")]
    assert len(set(found)) == 1
    plain = hx.solve(three()).to_dict()
    assert plain["scenario_hash"] == three().hash
    assert np.array(plain["schedule"]).shape == (13, 3)
    with pytest.raises(ValueError, match=r"schedule must be non-negative fractions of the shape \(13, 3\)"):
        basket_schedule_bps(three(), np.ones((13, 2)))
    with pytest.raises(ValueError, match="schedule must sum to 1 for each asset"):
        basket_schedule_bps(three(), np.ones((13, 3)))
