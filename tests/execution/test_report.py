"""Post-trade reports: the components sum to the shortfall and agree with the account of the simulated market."""

import itertools
import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.report import ExecutionReport, Mark
from hyperexec_env.market import noise
from hyperexec_env.market.account import book, open_account, settle
from hyperexec_env.market.kernel import Impact, Slice, State, fill_price, mid_price, step
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.orders import ChildOrder, Fill, Order, ParentOrder

pytestmark = pytest.mark.fast

NAMES = ("delay", "spread", "temporary", "transient", "permanent", "timing", "opportunity")
DAY = 23_400.0


def make(fills=(), *, side=1, quantity=1000, arrival=100.0, start=0.0, end=100.0, adv=None, reason="filled", **more):
    """Return a report in which each fill has its own child, released a second before the fill."""
    parent = ParentOrder(symbol="XYZ", side=side, quantity=quantity, arrival_price=arrival, adv=adv)
    children = tuple(
        ChildOrder(parent, number, fill.quantity, fill.time - 1.5, fill.time - 1.0, (fill,))
        for number, fill in enumerate(fills)
    )
    return ExecutionReport(parent, children, start, end, reason, **more)


# the sum of the components


prices = st.floats(10.0, 1000.0)
times = st.floats(0.0, 100.0)


@st.composite
def reports(draw):
    quantity = draw(st.integers(1, 10**7))
    fills, left = [], quantity
    for _ in range(draw(st.integers(0, 6))):
        if left:
            shares = draw(st.integers(1, left))
            fills.append(Fill(draw(times), shares, draw(prices), draw(st.none() | prices)))
            left -= shares
    marks = sorted(
        draw(st.lists(st.builds(Mark, times, prices, st.floats(0.0, 1e6), st.none() | prices), max_size=5)),
        key=lambda mark: mark.time,
    )
    return make(
        fills,
        side=draw(st.sampled_from([1, -1])),
        quantity=quantity,
        arrival=draw(prices),
        start=draw(st.floats(0.0, 50.0)),
        adv=draw(st.none() | st.floats(max(1.0, quantity / 100.0), 1e9)),
        marks=tuple(marks),
    )


@given(reports())
def test_the_components_sum_to_the_shortfall(report):
    assert report.decomposition._fields == NAMES
    assert sum(report.decomposition) == pytest.approx(report.shortfall, rel=0.0, abs=1e-9)


@given(reports())
def test_the_shortfall_agrees_with_its_definition(report):
    parent, filled = report.parent, report.filled
    paid = math.fsum(fill.quantity * fill.price for fill in report.fills)
    cash = parent.side * (paid + (parent.quantity - filled) * report.end_mid - parent.notional)
    assert report.shortfall == pytest.approx(1e4 * cash / parent.notional, rel=1e-9, abs=1e-6)


@given(reports())
def test_every_report_prints_itself_and_is_strict_json(report):
    plain = json.loads(report.to_json())
    assert sum(plain["components_bps"].values()) == pytest.approx(plain["shortfall_bps"], rel=0.0, abs=1e-9)
    assert "nan" not in str(report)


@given(reports())
def test_selling_in_the_mirrored_market_costs_the_same(report):
    def mirrored(price):
        return None if price is None else 2.0 * parent.arrival_price - price

    parent = report.parent
    fills = [fill._replace(price=mirrored(fill.price), mid=mirrored(fill.mid)) for fill in report.fills]
    sale = replace(parent, side=-parent.side)
    other = replace(
        report,
        parent=sale,
        children=tuple(ChildOrder(sale, k, fill.quantity, fill.time, None, (fill,)) for k, fill in enumerate(fills)),
        marks=tuple(mark._replace(mid=mirrored(mark.mid)) for mark in report.marks),
    )
    assert other.decomposition == pytest.approx(report.decomposition, rel=1e-9, abs=1e-7)
    assert other.shortfall == pytest.approx(report.shortfall, rel=1e-9, abs=1e-7)


# fees


def _with_fees(fills, **fees):
    return make([Fill(time, shares, 100.0) for time, shares in fills], config=ExecutionConfig(**fees))


def test_fees_by_hand():
    fills = [(10.0, 400), (20.0, 50)]
    assert _with_fees(fills).fees == 0.0
    assert _with_fees(fills, fee_per_share=0.005).fees == pytest.approx(2.25)
    assert _with_fees(fills, fee_bps=2.0).fees == pytest.approx(9.0)  # of 45,000
    assert _with_fees(fills, fee_per_share=0.005, fee_bps=2.0).fees == pytest.approx(11.25)
    assert _with_fees(fills, fee_per_share=0.005, min_fee=1.0).fees == pytest.approx(2.0 + 1.0)
    assert _with_fees([], min_fee=1.0).fees == 0.0


def test_the_smallest_fee_is_of_a_child_not_of_a_fill():
    parent = ParentOrder(symbol="XYZ", side=-1, quantity=1000, arrival_price=100.0)
    fills = tuple(Fill(float(time), 10, 100.0) for time in range(5))
    children = (ChildOrder(parent, 0, 100, 0.0, 0.0, fills), ChildOrder(parent, 1, 100, 1.0, 1.0))
    report = ExecutionReport(parent, children, 0.0, 10.0, "expired", config=ExecutionConfig(min_fee=1.0))
    assert report.fees == 1.0


def test_fees_are_shown_beside_the_shortfall_and_add_up_to_the_total():
    fills, free = [(10.0, 1000)], _with_fees([(10.0, 1000)])
    report = _with_fees(fills, fee_per_share=0.01)
    assert report.decomposition == free.decomposition
    assert report.shortfall == free.shortfall
    assert (report.fees_bps, report.total) == pytest.approx((1.0, report.shortfall + 1.0))
    assert [name for name, *_ in report.cost_table] == [*NAMES, "shortfall", "fees", "total"]
    assert report.cost_table[-2][1:] == pytest.approx((1.0, 10.0))
    assert [name for name, *_ in free.cost_table] == [*NAMES, "shortfall"]
    plain = report.to_dict()
    assert (plain["fees_bps"], plain["fees_currency"], plain["total_bps"]) == pytest.approx((1.0, 10.0, report.total))
    assert "fees                          1.00             10.00" in str(report)


# the report agrees with the account of the simulated market


def traded(slices, asked, *, side, arrival, quantity, adv, config, seconds, price=None):
    """Trade given shares in given slices; return the report and the statement of the market's account."""
    unit = arrival / adv
    impact = Impact(config.perm_impact_gamma * unit, (config.kyle_lambda - config.perm_impact_gamma) * unit, 0.5)
    state, account, unaffected = State(float(quantity), 0.0, 0.0), open_account(), arrival
    fills, marks = [], [Mark(0.0, arrival)]
    for k, (slice, shares) in enumerate(zip(slices, asked, strict=True)):
        if shares:
            mid = mid_price(state, unaffected, side)
            fills.append(Fill(k * seconds, shares, fill_price(impact, state, slice, shares, unaffected, side), mid))
        state, cost = step(impact, state, slice, float(shares))
        account = book(account, cost, slice.drift, slice.innovation)
        unaffected += side * (slice.drift + slice.innovation)
        marks.append(Mark((k + 1) * seconds, mid_price(state, unaffected, side), slice.volume))
    report = make(fills, side=side, quantity=quantity, arrival=arrival, end=len(slices) * seconds, adv=adv, config=config,
                  marks=tuple(marks))  # fmt: skip
    return report, settle(account, impact, state, Order(float(side), float(quantity)), arrival)


def assert_agreement(report, statement):
    """Assert that the report reproduces each component of the market's account."""
    components = statement.components._asdict()
    timing = components.pop("timing") + components.pop("drift")
    expected = {**components, "timing": timing, "delay": 0.0}
    assert report.decomposition._asdict() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert report.shortfall == pytest.approx(statement.shortfall, rel=1e-9, abs=1e-9)


def test_the_components_agree_with_the_account_of_random_slices():
    for seed in range(3):
        for complete in [True, False]:
            for volatility in [0.0, 0.05]:
                for side in [1, -1]:
                    rng = np.random.default_rng(seed)
                    count, seconds, arrival, adv = 12, 600.0, 80.0, 1e6
                    config = ExecutionConfig(
                        kyle_lambda=0.5, perm_impact_gamma=0.2, half_spread_bps=2.5, resilience=7.0, day_seconds=DAY
                    )
                    asked = (rng.integers(0, 2, count) * rng.integers(1, 5000, count)).tolist()
                    quantity = sum(asked) + (0 if complete else 3000)
                    slices = [
                        Slice(
                            volume=float(rng.uniform(2e4, 6e4)),
                            least=0.0,
                            limit=math.inf,
                            temporary_scale=0.5,
                            half_spread=2.5e-4 * arrival,
                            transient_decay=math.exp(-7.0 * seconds / DAY),
                            drift=0.0,
                            innovation=volatility * float(rng.standard_normal()),
                            risk=0.0,
                        )
                        for _ in range(count)
                    ]
                    report, statement = traded(
                        slices, asked, side=side, arrival=arrival, quantity=quantity, adv=adv, config=config, seconds=seconds
                    )
                    assert report.decomposition.temporary > 0.1
                    assert (report.decomposition.timing == pytest.approx(0.0, abs=1e-9)) == (volatility == 0.0)
                    assert report.decomposition.permanent == pytest.approx(1e4 * 0.5 * 0.2 / adv * sum(asked) ** 2 / quantity)
                    assert_agreement(report, statement)


def test_the_components_agree_with_the_account_of_a_scenario():
    for episode in range(3):
        for side in [1, -1]:
            calm = Regimes(names=("SIDEWAYS_LOW",), volatility=(1.0,), volume=(1.0,), rates=((0.0,),))
            scenario = replace(get_scenario("regime-day"), side=side, regimes=calm)
            market = build_market(scenario)
            path = draw_path(market, noise.episode_keys(5, np.arange(3)), float(side))
            slices = [Slice(*(float(values[k, episode]) for values in path.slices)) for k in range(market.slices)]
            config = ExecutionConfig(
                kyle_lambda=scenario.kyle_lambda,
                perm_impact_gamma=scenario.perm_impact_gamma,
                half_spread_bps=scenario.half_spread_bps,
                resilience=scenario.resilience,
            )
            asked = [5000] * market.slices
            report, statement = traded(
                [slice._replace(least=0.0) for slice in slices],
                asked,
                side=side,
                arrival=scenario.arrival_price,
                quantity=int(scenario.quantity),
                adv=scenario.adv,
                config=config,
                seconds=DAY / market.slices,
            )
            assert report.filled == 130_000
            assert_agreement(report, statement)


def test_permanent_cost_does_not_depend_on_the_schedule():
    costs = []
    for pieces in ([1000], [500, 500], [1, 998, 1], [100] * 10):
        fills = [Fill(10.0 * k, shares, 100.0, 100.0) for k, shares in enumerate(pieces)]
        costs.append(make(fills, adv=1e5).decomposition.permanent)
    assert costs == pytest.approx([1e4 * 0.2 * 1000 / 1e5 / 2.0] * 4)


def test_simultaneous_partial_fills_have_the_impact_of_one_fill():
    whole = make([Fill(5.0, 600, 100.0, 100.0), Fill(50.0, 400, 100.0, 100.0)], adv=1e5).decomposition
    pieces = make([Fill(5.0, 200, 100.0, 100.0), Fill(5.0, 400, 100.0, 100.0), Fill(50.0, 400, 100.0, 100.0)], adv=1e5)
    assert pieces.decomposition.transient == pytest.approx(whole.transient)
    assert pieces.decomposition.permanent == pytest.approx(whole.permanent)


def test_without_an_adv_temporary_and_timing_include_our_own_displacement():
    report = make([Fill(5.0, 1000, 100.2, 100.1)])
    assert report.decomposition == pytest.approx((0.0, 1.0, 9.0, 0.0, 0.0, 10.0, 0.0))
    assert any("ADV is not known" in text for text in report.remarks)
    assert not any("ADV is not known" in text for text in make(adv=1e6).remarks)


# by hand


@pytest.fixture
def by_hand():
    """A buy of 1000 shares decided at 100 and started at 100.1; 800 shares fill; half-spread 0.02, no impact model."""
    return make(
        [Fill(20.0, 500, 100.25, 100.2), Fill(60.0, 300, 100.45)],
        marks=(Mark(0.0, 100.1), Mark(40.0, 100.3, 4000.0), Mark(80.0, 100.5, 2000.0), Mark(100.0, 100.6, 2000.0, 100.58)),
        plan=((0.0, 0.0), (20.0, 500.0), (60.0, 1000.0)),
        config=ExecutionConfig(half_spread_bps=2.0),
        close_price=101.0,
        reason="expired",
    )


def test_components_by_hand(by_hand):
    delay, spread = 0.1 * 800, 0.02 * 800
    temporary = 500 * 0.05 + 300 * 0.05 - spread  # the mid at 60 s is 100.4
    timing, opportunity = 500 * 0.1 + 300 * 0.3, 200 * 0.6
    expected = [value / 10.0 for value in (delay, spread, temporary, 0.0, 0.0, timing, opportunity)]
    assert by_hand.decomposition == pytest.approx(expected)
    assert by_hand.shortfall == pytest.approx((500 * 0.25 + 300 * 0.45 + 200 * 0.6) / 10.0)


def test_benchmarks_by_hand(by_hand):
    average = (500 * 100.25 + 300 * 100.45) / 800
    prices = {
        "arrival": 100.0,
        "vwap": (4000 * 100.2 + 2000 * 100.4 + 2000 * 100.58) / 8000,
        "twap": (40 * 100.2 + 40 * 100.4 + 20 * 100.55) / 100,
        "close": 101.0,
    }
    assert by_hand.average_price == pytest.approx(average)
    for name, price in prices.items():
        assert by_hand.benchmarks[name].price == pytest.approx(price)
        assert by_hand.benchmarks[name].bps == pytest.approx(1e4 * (average - price) / price)
    sale = replace(by_hand, parent=replace(by_hand.parent, side=-1))
    for name, benchmark in sale.benchmarks.items():
        assert benchmark.bps == -by_hand.benchmarks[name].bps


def test_execution_measures_by_hand(by_hand):
    assert by_hand.participation == pytest.approx(0.1)
    assert by_hand.fill_rate == pytest.approx(0.8)
    assert by_hand.release_latency == pytest.approx(0.5)
    assert by_hand.fill_latency == pytest.approx(1.0)
    assert by_hand.tracking_error == pytest.approx(100.0 * math.sqrt(0.2**2 * 40.0 / 100.0))


def test_fills_that_follow_the_plan_have_no_tracking_error():
    plan = ((0.0, 0.0), (20.0, 300.0), (70.0, 1000.0))
    assert make([Fill(20.0, 300, 100.0), Fill(70.0, 700, 100.0)], plan=plan).tracking_error == 0.0


def test_a_continuous_plan_is_a_straight_line_between_its_times():
    plan = ((0.0, 0.0), (100.0, 1000.0))
    one = [Fill(50.0, 1000, 100.0)]
    assert make(one, plan=plan).tracking_error == pytest.approx(100.0 * math.sqrt(0.5))
    assert make(one, plan=plan, plan_is_continuous=True).tracking_error == pytest.approx(100.0 / math.sqrt(12.0))
    even = [Fill(10.0 * k + 5.0, 100, 100.0) for k in range(10)]
    assert make(even, plan=plan, plan_is_continuous=True).tracking_error == pytest.approx(10.0 / math.sqrt(12.0))
    assert json.loads(make(plan=plan, plan_is_continuous=True).to_json())["plan_is_continuous"] is True


def test_the_tracking_error_agrees_with_a_fine_grid():
    """Plan and fills may begin before the order starts or end after it closes."""
    for seed in range(5):
        for continuous in [True, False]:
            rng = np.random.default_rng(seed)
            times = np.sort(rng.uniform(-10.0, 120.0, 6))
            sums = np.cumsum(rng.integers(0, 200, 6)).astype(float)
            fills = [
                Fill(float(at), int(shares), 100.0) for at, shares in zip(rng.uniform(-5.0, 105.0, 7), [100] * 7, strict=True)
            ]
            plan = tuple(zip(times.tolist(), sums.tolist(), strict=True))
            grid = (np.arange(1_000_000) + 0.5) * 1e-4
            steps = np.concatenate([[0.0], sums])[np.searchsorted(times, grid, "right")]
            planned = np.interp(grid, times, sums) if continuous else steps
            done = sum(100.0 * (grid >= fill.time) for fill in fills)
            brute = 100.0 * math.sqrt(((done - planned) ** 2).mean()) / 1000
            assert make(fills, plan=plan, plan_is_continuous=continuous).tracking_error == pytest.approx(brute, rel=1e-4)


def test_the_displacement_decays_in_trading_days_of_the_configuration():
    config = ExecutionConfig(kyle_lambda=0.5, perm_impact_gamma=0.2, resilience=8.0, day_seconds=1000.0)
    report = make([Fill(0.0, 600, 100.0, 100.0), Fill(50.0, 400, 100.0, 100.0)], adv=1e5, config=config)
    kappa = 0.3 * 100.0 / 1e5
    cash = 0.5 * kappa * 600**2 + 400 * kappa * 600 * math.exp(-8.0 * 50.0 / 1000.0) + 0.5 * kappa * 400**2
    assert report.decomposition.transient == pytest.approx(1e4 * cash / 1e5)


def test_the_fill_latency_is_share_weighted():
    report = make([Fill(5.0, 900, 100.0), Fill(9.0, 100, 100.0)])
    late = report.children[1]._replace(released=2.0)  # seven seconds before its fill; the other one second
    assert replace(report, children=(report.children[0], late)).fill_latency == pytest.approx(0.9 * 1.0 + 0.1 * 7.0)


def test_the_twap_ends_at_the_close_of_the_order():
    marks = (Mark(0.0, 100.0), Mark(80.0, 104.0), Mark(120.0, 108.0), Mark(500.0, 900.0))
    assert make(marks=marks, end=100.0).twap == pytest.approx((80 * 102.0 + 20 * 105.0) / 100)


def test_the_twap_of_the_shortest_order_is_its_last_mid():
    report = make([Fill(0.0, 10, 3.0)], end=5e-324, marks=(Mark(0.0, 0.5),), reason="expired")
    assert report.twap == report.end_mid == 0.5
    assert "interval TWAP" in str(report)


def test_a_market_volume_too_small_for_an_average_price_is_unknown():
    marks = (Mark(0.0, 1e-6), Mark(50.0, 1e-6, 5e-321))
    report = make([Fill(0.0, 10, 3.0)], marks=marks)
    assert math.isnan(report.market_volume)
    assert math.isnan(report.vwap)
    assert "interval VWAP            not known" in str(report)


def test_a_fill_at_the_benchmark_price_costs_zero_bps():
    marks = (Mark(0.0, 50.0), Mark(50.0, 51.0, 300.0, 50.7), Mark(100.0, 50.0, 100.0, 50.3))
    for side in (1, -1):
        assert make([Fill(10.0, 1000, 50.6)], side=side, marks=marks).benchmarks["vwap"].bps == pytest.approx(0.0, abs=1e-9)
        assert make([Fill(10.0, 1000, 50.5)], side=side, marks=marks).benchmarks["twap"].bps == pytest.approx(0.0, abs=1e-9)


def test_forced_shares_are_counted():
    report = make([Fill(5.0, 600, 100.0), Fill(9.0, 400, 100.0)])
    children = (report.children[0], report.children[1]._replace(forced=150))
    assert replace(report, children=children).forced == 150


def test_an_unreported_mid_is_interpolated_or_the_arrival_price():
    marks = (Mark(10.0, 101.0), Mark(20.0, 102.0))
    assert make(marks=marks).mid_at(12.5) == pytest.approx(101.25)
    assert make(marks=marks).mid_at(5.0) == pytest.approx(100.5)  # from the arrival price at the start, 0 s
    assert make(marks=marks).end_mid == 102.0
    assert make([Fill(5.0, 1000, 100.0, 99.0)]).end_mid == 99.0
    assert make([Fill(5.0, 1000, 100.0)]).end_mid == 100.0
    assert make(marks=marks, start=15.0).start_mid == pytest.approx(101.5)


def test_an_order_without_fills_has_only_opportunity_cost():
    report = make(marks=(Mark(0.0, 100.0), Mark(100.0, 101.0)), reason="cancelled", side=-1)
    assert report.decomposition == pytest.approx((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -100.0))
    assert report.shortfall == pytest.approx(-100.0)
    plain = json.loads(report.to_json())
    assert plain["average_price"] is None
    assert plain["benchmarks"]["arrival"] == {"price": 100.0, "bps": None}
    assert plain["tracking_error_percent"] is None
    assert plain["participation"] is None
    assert "cancelled, 0 shares (0.0%)" in str(report)
    assert "not known" in str(report)


# the record


def test_a_report_computes_its_metrics_lazily():
    report = make([Fill(5.0, 1000, 100.0)])
    assert set(vars(report)) == {item.name for item in fields(report)}
    assert report == replace(report)


def test_fills_are_sorted_by_time():
    report = make([Fill(60.0, 400, 100.4), Fill(20.0, 600, 100.2)], adv=1e6)
    assert [fill.time for fill in report.fills] == [20.0, 60.0]
    assert report.decomposition == pytest.approx(make(report.fills, adv=1e6).decomposition)


def test_the_text_contains_the_numbers(by_hand):
    text = str(by_hand)
    assert text.startswith("XYZ: buy 1,000 at an arrival price of 100.0000: expired, 800 shares (80.0%) at 100.3250 on average")
    for name in (*NAMES, "shortfall", "interval VWAP", "interval TWAP", "close of the day", "tracking error", "forced shares"):
        assert name in text
    assert f"{by_hand.shortfall:,.2f}" in text
    assert "half-spread 2 bps" in text
    sale = str(replace(by_hand, parent=replace(by_hand.parent, side=-1), date="2024-05-14", start=36000.0, end=36001.5))
    assert "sell 1,000" in sale
    assert "2024-05-14 10:00:00 to 10:00:01.500, 2 fills" in sale


def test_json_contains_the_values_of_the_report(by_hand):
    plain = json.loads(by_hand.to_json())
    assert list(plain["components_bps"]) == list(NAMES)
    assert plain["shortfall_currency"] == pytest.approx(by_hand.shortfall * 10.0)
    assert plain["fills"] == [
        {"time": 20.0, "quantity": 500, "price": 100.25, "mid": 100.2},
        {"time": 60.0, "quantity": 300, "price": 100.45, "mid": None},
    ]
    assert {"half_spread_bps": 2.0, "kyle_lambda": 0.3}.items() <= plain["model"].items()
    assert plain["remarks"] == list(by_hand.remarks)


def test_the_components_of_a_thousand_fills_sum_to_the_shortfall():
    rng = np.random.default_rng(0)
    fills = [Fill(0.1 * k, int(rng.integers(1, 100)), 100.0 + rng.normal(0.0, 0.1), 100.0) for k in range(1000)]
    report = make(fills, quantity=100_000, adv=1e7, end=100.0)
    assert sum(report.decomposition) == pytest.approx(report.shortfall, rel=0.0, abs=1e-9)
    assert all(a.time <= b.time for a, b in itertools.pairwise(report.fills))
