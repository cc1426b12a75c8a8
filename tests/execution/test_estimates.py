"""Pre-trade estimates: hand calculations, properties, published values, and closed form against simulation."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution import estimates
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.estimates import estimate_impact, estimate_schedule, planned_shares
from hyperexec_env.execution.schedules import almgren_chriss
from hyperexec_env.market.library import U_CURVE
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.orders import ParentOrder

pytestmark = pytest.mark.fast

USUAL = {"quantity": 10_000, "arrival_price": 100.0, "daily_volatility": 0.02, "volume": 250_000.0, "adv": 5_000_000.0}
QUANTITIES = st.integers(1, 10**12)


def order(**changes):
    return ParentOrder(**{"symbol": "XYZ", "side": 1, "quantity": 200_000, "arrival_price": 100.0, **changes})


# --- estimate_impact


def test_temporary_and_permanent_impact_by_hand():
    found = estimate_impact(**USUAL)
    assert found.participation == pytest.approx(0.04)
    assert found.days == pytest.approx(0.05)
    assert found.temporary_bps == pytest.approx(1e4 * 0.3 * 0.02 * 0.2)  # sqrt(0.04) = 0.2: 12 bps
    assert found.permanent_bps == pytest.approx(1e4 * 0.2 * 0.002)  # 4 bps
    assert found.cost_bps == pytest.approx(14.0)
    assert found.cost == pytest.approx(0.0014 * 1e6)
    assert found.expected_price == pytest.approx(100.14)
    assert found.risk_bps == pytest.approx(1e4 * 0.02 * math.sqrt(0.05 / 3.0))


def test_kyles_move_is_reported_but_not_part_of_the_cost():
    found = estimate_impact(**USUAL)
    more = estimate_impact(**USUAL, config=ExecutionConfig(kyle_lambda=3.0))
    assert found.kyle_bps == pytest.approx(6.0)
    assert more.kyle_bps == pytest.approx(60.0)
    assert more.cost_bps == found.cost_bps


def test_a_fifth_of_a_percent_of_the_daily_volume_costs_a_few_bps():
    """With the size of an average trade in place of the volume, the formula gives over 600 bps."""
    assert estimate_impact(10_000, 100.0, 0.02, 5_000_000, 5_000_000).cost_bps < 5.0
    assert estimate_impact(10_000, 100.0, 0.02, 100, 5_000_000).cost_bps > 600.0  # volume = average trade size


def test_buys_mirror_sells():
    buy, sell = estimate_impact(**USUAL), estimate_impact(**USUAL, side=-1)
    assert buy.cost_bps == sell.cost_bps
    assert buy.expected_price + sell.expected_price == pytest.approx(200.0)
    assert sell.expected_price < 100.0


@given(QUANTITIES, QUANTITIES, st.floats(0.1, 1.0))
def test_cost_rises_with_the_quantity_and_is_concave(first, second, beta):
    config = ExecutionConfig(temp_impact_beta=beta)
    low, high = sorted((first, second))
    middle = (low + high) // 2
    cost = {n: estimate_impact(n, 100.0, 0.02, 1e6, 5e6, config=config).cost_bps for n in (low, middle, high)}
    assert cost[low] <= cost[middle] <= cost[high]
    if high > low:
        chord = cost[low] + (cost[high] - cost[low]) * ((middle - low) / (high - low))
        assert cost[middle] >= chord * (1.0 - 1e-9)


@given(QUANTITIES, st.floats(1.0, 1e12), st.floats(1.1, 100.0))
def test_more_market_volume_lowers_the_cost_and_raises_the_risk(quantity, volume, factor):
    fast, slow = (estimate_impact(quantity, 50.0, 0.03, v, 1e7) for v in (volume, volume * factor))
    assert slow.temporary_bps < fast.temporary_bps
    assert slow.permanent_bps == fast.permanent_bps
    assert slow.risk_bps > fast.risk_bps


def test_an_invalid_value_is_named():
    for value in [0, -1, -0.5, math.nan, math.inf, -math.inf, "1", None, np.array([1.0, 2.0]), 1e30, 1j]:
        for field in USUAL:
            with pytest.raises(ValueError, match=rf"^{field} must be a (whole )?number in [\[(].*, got ") as said:
                estimate_impact(**{**USUAL, field: value})
            assert "\n" not in str(said.value)


def test_a_quantity_must_be_whole():
    for value in [1.5, True, np.float64(2.5), 10**15 + 1]:
        with pytest.raises(ValueError, match=r"^quantity must be a whole number in \[1, 1000000000000000\], got "):
            estimate_impact(**{**USUAL, "quantity": value})


def test_a_fractional_quantity_is_a_whole_number_of_lots():
    found = estimate_impact(**{**USUAL, "quantity": 1.5}, lot_size=0.5)
    assert (found.quantity, found.participation) == (1.5, 1.5 / USUAL["volume"])
    assert str(found).startswith("buy 1.5 at 100, ")
    assert ExecutionAgent().estimate_impact(1.5, 100.0, 0.02, 250_000.0, 5e6, lot_size=0.5) == found
    for quantity, lot_size in [(1.5, 1), (1.5, 1.0), (0.25, 0.5), (1.75, 0.5), (150, 100)]:
        with pytest.raises(ValueError, match=r"^quantity must be a "):
            estimate_impact(**{**USUAL, "quantity": quantity}, lot_size=lot_size)
    estimate = estimate_schedule(order(quantity=1.5, lot_size=0.5), "almgren-chriss", algorithm="TWAP")
    assert (sum(estimate.shares), estimate.quantity) == (1.5, 1.5)


def test_an_invalid_side_is_named():
    for side in [0, 2, "buy", None, math.nan]:
        with pytest.raises(ValueError, match=r"^side must be \+1 \(buy\) or -1 \(sell\), got "):
            estimate_impact(**USUAL, side=side)


def test_whole_quantities_of_any_numeric_type_become_int():
    for kind in [int, float, np.int64, np.int32, np.uint16, np.float64]:
        found = estimate_impact(**{**USUAL, "quantity": kind(10_000)})
        assert found == estimate_impact(**USUAL)
        assert type(found.quantity) is int


def test_the_largest_values_give_finite_numbers():
    config = ExecutionConfig(temp_impact_beta=2.0, temp_impact_alpha=1e6, kyle_lambda=1e6, perm_impact_gamma=1e6)
    found = estimate_impact(10**15, 1e9, 1.0, 1e-6, 1e-6, config=config)
    assert all(math.isfinite(value) for value in found.to_dict().values())


def test_the_text_and_json_of_an_impact_estimate():
    found = estimate_impact(**{**USUAL, "quantity": np.int64(10_000), "volume": np.float32(250_000.0)})
    assert str(found).startswith("buy 10,000 at 100, 4 % of the market volume over 0.05 days")
    assert "14.00 bps = temporary 12.00 + half of permanent 4.00" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["cost_bps"] == pytest.approx(14.0)


# --- estimate_schedule

ALMGREN_CHRISS = Scenario(
    name="five days of Almgren and Chriss",
    quantity=1e6,
    arrival_price=50.0,
    horizon_minutes=1950.0,  # their five days are the day of the scenario
    day_minutes=1950.0,
    slices=5,
    adv=25e6,
    volatility=0.95 * math.sqrt(5.0) / 50.0,
    half_spread_bps=12.5,
    perm_impact_gamma=2.5e-7 * 25e6 / 50.0,
    kyle_lambda=2.5e-7 * 25e6 / 50.0,
    temp_impact_alpha=(2.5e-6 - 0.5 * 2.5e-7) * 5e6 / (0.95 * math.sqrt(5.0)),  # their fill precedes their permanent move
    temp_impact_beta=1.0,
    volume_noise=0.0,
)


FIVE_DAYS = order(quantity=1_000_000, arrival_price=50.0)


def test_equal_trades_have_the_published_mean_and_deviation_of_almgren_and_chriss():
    found = estimate_schedule(FIVE_DAYS, ALMGREN_CHRISS, algorithm="TWAP")
    assert found.method == "closed form"
    assert found.cost == pytest.approx(662_500, abs=0.01)
    assert found.sd_bps * 5000.0 == pytest.approx(1_040_673, abs=0.5)
    assert found.components_bps["transient"] == 0.0


def test_the_optimum_has_the_published_cost_of_almgren_and_chriss():
    """Risk aversion 1e-6; the published cost is that of the trades before rounding to whole shares."""
    kappa_tau = math.acosh(1.0 + 1e-6 * 0.95**2 / (2.0 * 2.375e-6))
    found = estimate_schedule(FIVE_DAYS, ALMGREN_CHRISS, (1e6 * almgren_chriss(5, kappa_tau)).tolist())
    assert found.cost == pytest.approx(911_227, abs=0.5)
    assert found.sd_bps * 5000.0 == pytest.approx(603_431, abs=0.5)


def test_ac_plans_the_published_trades_of_almgren_and_chriss():
    found = estimate_schedule(FIVE_DAYS, replace(ALMGREN_CHRISS, risk_aversion=1e-6), algorithm="AC")
    assert found.shares == pytest.approx((458_044, 252_101, 141_957, 85_756, 62_142), abs=1)
    assert found.cost == pytest.approx(911_227, abs=1.5)
    assert found.sd_bps * 5000.0 == pytest.approx(603_431, abs=1.0)


def _both(scenario, plan, episodes=20_000):
    """Return the closed-form and the simulated values of a schedule."""
    market = build_market(scenario)
    assert estimates._has_closed_form(market, plan)
    return estimates._closed_form(market, plan, episodes, 1), estimates._simulation(market, plan, episodes, 2)


CLOSED = (
    {},
    {"flow_persistence": 0.6},
    {"flow_persistence": -0.5, "flow_share": 1.0},
    {"regimes": Regimes(drift=(0.03,), volatility=(1.4,), volume=(0.5,), resilience=(2.0,))},
    {"predator": 1.0},
    {"complete": False},
    {"volume_level_sd": 0.5},
    {"volume_level_sd": 0.3, "flow_persistence": 0.4},
    {"volatility_curve": (3.0, 0.5, 0.2, 1.0), "flow_persistence": 0.4},
    {"drift_sd": 0.03},
    {"temp_impact_sd": 0.8},
    {"volume_level_sd": 0.4, "drift_sd": 0.02, "temp_impact_sd": 0.5, "flow_persistence": 0.4},
)
PAIRWISE = [
    (changes, noise, (0.5, 1.0)[(i + j) % 2], (1, -1)[(i // 2 + j) % 2])
    for i, changes in enumerate(CLOSED)
    for j, noise in enumerate((0.0, 0.3, 1.0))
]
"""Each pair of a market, a volume noise, an exponent and a side occurs."""


@pytest.mark.parametrize(("changes", "noise", "beta", "side"), PAIRWISE, ids=str)
def test_closed_form_and_simulation_agree(changes, noise, beta, side):
    scenario = Scenario(
        side=side, slices=8, volume_curve=U_CURVE, temp_impact_beta=beta, volume_noise=noise, temp_impact_alpha=3.0, **changes
    )
    plan = np.array([40_000, 30_000, 30_000, 0, 30_000, 20_000, 40_000, 10_000], dtype=float)
    exact, simulated = _both(scenario, plan)
    assert abs(exact["mean_bps"] - simulated["mean_bps"]) < 4.5 * simulated["error_bps"] + 1e-9
    assert simulated["sd_bps"] == pytest.approx(exact["sd_bps"], rel=0.03)
    assert exact["objective_bps"] == pytest.approx(simulated["objective_bps"], abs=4.5 * simulated["error_bps"] + 1e-9)
    for name, value in simulated["components_bps"].items():
        assert exact["components_bps"][name] == pytest.approx(value, abs=4.5 * simulated["error_bps"] + 1e-9), name
    if exact["sample"] is not None:
        for level in (0.05, 0.5, 0.95):
            two = [np.quantile(values["sample"], level) for values in (exact, simulated)]
            assert two[0] == pytest.approx(two[1], abs=0.06 * exact["sd_bps"])


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_closed_form_and_simulation_agree_for_a_single_slice(level):
    """No shares remain after the slice, so only the volume contributes risk."""
    exact, simulated = _both(Scenario(slices=1, volume_noise=0.5, volume_level_sd=level), np.array([200_000.0]), 100_000)
    assert exact["sd_bps"] == pytest.approx(simulated["sd_bps"], rel=0.02)
    assert exact["mean_bps"] == pytest.approx(simulated["mean_bps"], abs=4.5 * simulated["error_bps"])


def test_the_distribution_is_normal_without_volume_noise():
    found = estimate_schedule(order(), Scenario(volume_noise=0.0), algorithm="TWAP")
    assert found.sample is None
    assert found.error_bps == 0.0
    assert found.quantile(0.5) == pytest.approx(found.mean_bps)
    assert found.quantile(0.95) == pytest.approx(found.mean_bps + 1.6448536 * found.sd_bps)


def test_which_scenarios_have_a_closed_form():
    for changes, closed in [
        ({"volume_noise": 0.0}, True),
        ({"volume_noise": 0.3}, True),
        ({"volume_noise": 0.0, "max_participation": 0.2}, True),  # the cap cannot bind
        ({"volume_noise": 0.0, "max_participation": 0.01}, False),
        ({"volume_noise": 0.3, "max_participation": 0.2}, False),
        ({"volume_level_sd": 0.5}, True),
        ({"volume_noise": 0.0, "volume_level_sd": 0.5, "max_participation": 0.2}, False),
        ({"price_model": "gbm"}, False),
        ({"drift_sd": 0.01, "temp_impact_sd": 0.5}, True),
        ({"kyle_sd": 0.5}, False),
        ({"regimes": get_scenario("regime-day").regimes}, False),
    ]:
        found = estimate_schedule(order(), Scenario(**changes), algorithm="TWAP", episodes=10)
        assert found.method.startswith("closed form" if closed else "simulation (10 episodes of seed 0)")


def test_components_sum_to_the_mean():
    for complete in [True, False]:
        for name in ["regime-day", "desk-5min", "trending-day", "illiquid", "flow-signal"]:
            scenario = replace(get_scenario(name), complete=complete, max_participation=0.05)
            found = estimate_schedule(order(quantity=int(scenario.quantity)), scenario, algorithm="IS", episodes=200)
            assert sum(found.components_bps.values()) == pytest.approx(found.mean_bps, abs=1e-9)
            assert found.components_bps["timing"] == 0.0


def test_buying_mirrors_selling_without_drift():
    buy, sell = (estimate_schedule(order(side=side), Scenario(), algorithm="VWAP") for side in (1, -1))
    assert buy.mean_bps == pytest.approx(sell.mean_bps, abs=1e-12)
    assert buy.sd_bps == sell.sd_bps
    assert buy.expected_price + sell.expected_price == pytest.approx(200.0)


def test_a_drift_has_opposite_costs_for_the_two_sides():
    drifting = Scenario(regimes=Regimes(drift=(0.02,)))
    buy, sell = (estimate_schedule(order(side=side), drifting, algorithm="VWAP") for side in (1, -1))
    assert buy.components_bps["drift"] == pytest.approx(-sell.components_bps["drift"])
    assert buy.components_bps["drift"] > 0.0


def test_results_depend_on_the_seed_but_not_on_the_batch_size(monkeypatch):
    first = estimate_schedule(order(), "regime-day", algorithm="IS", episodes=300, seed=5)
    monkeypatch.setattr(estimates, "_CELLS", 26 * 7)
    second = estimate_schedule(order(), "regime-day", algorithm="IS", episodes=300, seed=5)
    other = estimate_schedule(order(), "regime-day", algorithm="IS", episodes=300, seed=6)
    assert np.array_equal(first.sample, second.sample)
    assert first.mean_bps == second.mean_bps
    assert first.components_bps == pytest.approx(second.components_bps)
    assert first.mean_bps != other.mean_bps


def test_the_mean_excludes_the_noise_of_zero_mean_price_moves():
    few = estimate_schedule(order(), "regime-day", algorithm="TWAP", episodes=1_000)
    many = estimate_schedule(order(), "regime-day", algorithm="TWAP", episodes=50_000, seed=1)
    assert few.error_bps < 0.2 * few.sd_bps / math.sqrt(1_000)
    assert abs(few.mean_bps - many.mean_bps) < 4.0 * few.error_bps


def test_the_parent_overrides_the_order_of_the_scenario():
    found = estimate_schedule(order(side=-1, quantity=1_000, arrival_price=20.0), "mid-cap", algorithm="TWAP", episodes=50)
    assert (found.side, found.quantity, found.arrival_price) == (-1, 1_000, 20.0)
    assert sum(found.shares) == 1_000
    assert found.expected_price < 20.0


def test_a_plan_has_whole_shares_that_sum_to_the_quantity():
    for algorithm in ["TWAP", "VWAP", "IS", "AC", "POV", "Adaptive", None]:
        shares = planned_shares(order(quantity=12_347), get_scenario("regime-day"), algorithm)
        assert len(shares) == 26
        assert sum(shares) == 12_347
        assert all(isinstance(piece, int) and piece >= 0 for piece in shares)


def test_the_plan_uses_the_algorithm_and_urgency_of_the_parent():
    scenario = get_scenario("regime-day")
    assert planned_shares(order(algorithm="IS", urgency=0.0), scenario) == planned_shares(order(algorithm="TWAP"), scenario)
    steep = planned_shares(order(algorithm="IS", urgency=1.0), scenario)
    assert steep[0] / steep[-1] == pytest.approx(math.exp(3.0), rel=0.01)
    assert sum(piece > 0 for piece in planned_shares(order(), scenario)) == 10  # Adaptive without a known regime


def test_a_schedule_can_be_given():
    shares = [50_000.0, 50_000.0, 99_999.5, 0.5]
    found = estimate_schedule(order(), Scenario(slices=4), shares)
    assert found.algorithm == estimates.GIVEN
    assert found.shares == tuple(shares)


def test_an_invalid_argument_raises_one_line():
    for values, message in [
        ({"shares": [1.0, 2.0]}, "shares must hold 26 numbers, got 2"),
        ({"shares": [200_001.0] + [0.0] * 25}, r"shares must sum to the quantity of the order \(200000\), got 200001"),
        ({"shares": [-1.0] + [0.0] * 25}, r"shares\[0\] must be a number in"),
        ({"shares": [math.nan] * 26}, r"shares\[0\] must be a number in"),
        ({"shares": [0.0] * 26, "algorithm": "TWAP"}, "algorithm must be None where shares are given, got 'TWAP'"),
        ({"algorithm": "TWPA"}, "algorithm must be one of .*did you mean 'TWAP'"),
        ({"episodes": 1}, r"episodes must be a whole number in \[2, 10000000\], got 1"),
        ({"seed": -1}, "seed must be a whole number in"),
        ({"scenario": "regme-day"}, "did you mean 'regime-day'"),
    ]:
        with pytest.raises(ValueError, match=message):
            estimate_schedule(order(), **{"scenario": "regime-day", **values})


def test_a_quantile_level_must_lie_between_0_and_1():
    for level in [0.0, 1.0, -1.0, math.nan, "0.5"]:
        found = estimate_schedule(order(), Scenario(), algorithm="TWAP", episodes=10)
        with pytest.raises(ValueError, match="level must be a number in"):
            found.quantile(level)


def test_the_text_and_json_of_a_cost_estimate():
    found = estimate_schedule(order(), "regime-day", algorithm="VWAP", episodes=100)
    for text in ("VWAP: buy 200,000 at 100 in regime-day (26 slices)", "95 % interval", "permanent 50.00", "100 episodes"):
        assert text in str(found)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["mean_bps"] == found.mean_bps
    assert list(plain["quantiles_bps"]) == ["0.05", "0.25", "0.5", "0.75", "0.95", "0.99"]
    marks = list(found.quantiles.values())
    assert marks == sorted(marks)
