"""Lists of orders: children in balance, the optimum of the list, and a report whose parts sum to the shortfall."""

import json
from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.solver.basket import basket_schedule_bps, solve_basket
from hyperexec_env.execution.balance import balanced, imbalance, imbalance_form
from hyperexec_env.execution.basket_order import market_of
from hyperexec_env.market.basket_scenario import get_basket

pytestmark = pytest.mark.fast

DAY = 23_400.0
LEGS = (
    ("AAA", 1, 100_000, 50.0, 4e6, 0.02),
    ("BBB", 1, 50_000, 100.0, 2e6, 0.015),
    ("CCC", -1, 300_000, 20.0, 1e7, 0.03),
)
CORRELATION = ((1.0, 0.5, 0.3), (0.5, 1.0, 0.4), (0.3, 0.4, 1.0))


def legs(**changes):
    return [
        hx.ParentOrder(
            **{
                **{"symbol": name, "side": side, "quantity": shares, "arrival_price": price},
                **{"adv": adv, "volatility": volatility, "deadline": DAY, "id": name},
                **changes,
            }
        )
        for name, side, shares, price, adv, volatility in LEGS
    ]


def listed(**changes):
    given = {"orders": legs(), "correlation": CORRELATION, "id": "list", **changes}
    return hx.BasketOrder(**given)


def traded(order, *, skip=(), rates=None, every=60.0, halted=None, prices=None, seed=3, **config):
    """Run an agent with a list; fill each child at once; return the agent and the shares done after each release."""
    agent = hx.ExecutionAgent(hx.ExecutionConfig(**{"max_participation_rate": None, **config}), seed=seed)
    agent.start()
    agent.submit_basket(order, now=0.0)
    done, path = dict.fromkeys(order.symbols, 0.0), []
    for now in np.arange(0.0, DAY + every, every):
        if halted and now == halted[1]:
            agent.pause(halted[0])
        if halted and now == halted[2]:
            agent.resume(halted[0])
        mids = {leg.symbol: (prices or (lambda leg, now: leg.arrival_price))(leg, now) for leg in order.orders}
        agent.process({name: hx.Quote(mid, (rates or {}).get(name)) for name, mid in mids.items()}, now=now)
        together = False
        while (child := agent.get_next_child(now=now)) is not None:
            together = True
            done[child.symbol] += child.quantity
            mid = mids[child.symbol]
            agent.report_fill(child, child.quantity, mid * (1.0 + child.side * 4e-4), now=now, mid=mid)
        if together:
            path.append(tuple(done.values()))
    return agent, np.array(path)


def test_a_list_is_cut_into_children_of_each_order_at_the_same_times():
    order = listed()
    agent, _ = traded(order)
    times = []
    for leg in order.orders:
        children = agent.children(leg)
        assert sum(child.quantity for child in children) == leg.quantity
        times.append([child.schedule_time for child in children])
    assert times[0] == times[1] == times[2]


def test_the_plan_is_the_optimum_of_the_list():
    """In whole shares, so to the rounding of the shares."""
    config, order = {"risk_aversion": 1e-6, "slices": 13}, listed()
    agent, _ = traded(order, steganographic_factor=0.0, **config)
    shares = np.array([[child.quantity for child in agent.children(leg)] for leg in order.orders])
    market = market_of(order, hx.ExecutionConfig(**config), DAY)
    solution = solve_basket(market)
    assert shares.T / shares.sum(axis=1) == pytest.approx(solution.schedule, abs=2e-5)
    assert basket_schedule_bps(market, shares.T / shares.sum(axis=1)) == pytest.approx(solution.optimum_bps, rel=1e-7)


def test_the_market_of_a_list_is_that_of_the_basket_whatever_its_unit_of_time():
    """Half of a day with the volume of half a day is the scenario of half a day, to rounding."""
    config = hx.ExecutionConfig(slices=7, risk_aversion=1e-6)
    basket = hx.BasketScenario(
        assets=tuple(
            hx.Scenario(
                name=name,
                side=side,
                quantity=float(shares),
                arrival_price=price,
                adv=adv,
                volatility=volatility,
                horizon_minutes=195.0,
                slices=7,
                risk_aversion=1e-6,
                volume_noise=0.0,
                flow_share=0.0,
            )
            for name, side, shares, price, adv, volatility in LEGS
        ),
        correlation=CORRELATION,
    )
    found = solve_basket(market_of(listed(), config, 0.5 * DAY))
    assert found.optimum_bps == pytest.approx(solve_basket(basket).optimum_bps, rel=1e-9)
    doubled = listed(orders=[replace(leg, expected_volume=0.5 * leg.adv) for leg in legs()])
    assert solve_basket(market_of(doubled, config, 0.5 * DAY)).optimum_bps == pytest.approx(found.optimum_bps, rel=1e-9)


def test_twap_of_a_list_stays_in_balance_by_itself():
    order = listed(algorithm="TWAP")
    _, path = traded(order)
    form = imbalance_form(order, "currency")
    assert max(imbalance(form, done) for done in path) < 200.0  # a share or two of each


@pytest.mark.parametrize(("measure", "limit"), [("currency", 30_000.0), ("risk", 5_000.0)])
def test_the_imbalance_stays_within_its_limit(measure, limit):
    free, bound = listed(), listed(max_imbalance=limit, imbalance=measure)
    form = imbalance_form(free, measure)
    _, before = traded(free)
    assert max(imbalance(form, done) for done in before) > 1.2 * limit
    agent, path = traded(bound)
    assert max(imbalance(form, done) for done in path[:-1]) <= limit * (1.0 + 1e-9)
    assert path[-1].tolist() == [leg.quantity for leg in bound.orders]
    assert agent.basket_report(bound).largest_imbalance(measure) <= limit * (1.0 + 1e-9)


def test_the_other_orders_wait_for_one_that_the_cap_holds_back():
    rates = {"AAA": 1e3, "BBB": 1e3, "CCC": 40.0}
    order = listed(algorithm="TWAP", max_imbalance=250_000.0)
    agent, path = traded(order, rates=rates, max_participation_rate=0.1, complete=False)
    form = imbalance_form(order, "currency")
    assert max(imbalance(form, done) for done in path) <= 250_000.0 * (1.0 + 1e-9)
    report = agent.basket_report(order)
    assert max(each.fill_rate for each in report.reports[:2]) < 0.5  # the capped order trades 31 %
    _, free = traded(replace(order, max_imbalance=None), rates=rates, max_participation_rate=0.1, complete=False)
    assert free[-1][0] == 100_000


def test_a_halt_of_one_symbol_holds_the_list_back():
    order = listed(algorithm="TWAP", max_imbalance=700_000.0)
    _, path = traded(order, halted=("CCC", 4_800.0, 15_000.0))
    form = imbalance_form(order, "currency")
    assert max(imbalance(form, done) for done in path) <= 700_000.0 * (1.0 + 1e-9)
    assert path[-1].tolist() == [leg.quantity for leg in order.orders]


def test_balanced_trades_are_whole_lots_that_never_exceed_what_is_wanted():
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(2, 8))
        loading = rng.standard_normal((count, count))
        form, done, wanted = loading @ loading.T, rng.integers(0, 50, count) * 10.0, rng.integers(0, 50, count) * 10.0
        limit = imbalance(form, done) + 50.0 * float(rng.random())
        trades = balanced(form, limit, done, wanted, np.zeros(count), np.full(count, 10.0))
        assert (trades % 10.0 == 0.0).all()
        assert ((trades >= 0.0) & (trades <= wanted)).all()
        assert imbalance(form, done + trades) <= limit * (1.0 + 1e-9)


def test_the_parts_of_the_report_sum_to_the_shortfall_per_asset_and_in_total():
    rng = np.random.default_rng(1)
    order = listed(max_imbalance=40_000.0)
    moves = {leg.symbol: rng.standard_normal(1000).cumsum() for leg in order.orders}
    agent, _ = traded(
        order,
        prices=lambda leg, now: leg.arrival_price * (1.0 + 1e-4 * moves[leg.symbol][int(now / 60.0)]),
        fee_bps=0.5,
        complete=False,
    )
    report = agent.basket_report(order)
    for parts, shortfall, own in zip(report.decompositions, report.shortfalls, report.reports, strict=True):
        assert sum(parts) == pytest.approx(shortfall, abs=1e-9)
        assert shortfall * order.notional == pytest.approx(own.shortfall * own.parent.notional, rel=1e-12)
    assert sum(report.decomposition) == pytest.approx(report.shortfall, abs=1e-9)
    assert sum(report.shortfalls) == pytest.approx(report.shortfall, abs=1e-12)
    plain = json.loads(report.to_json())
    assert sum(plain["components_bps"].values()) == pytest.approx(plain["shortfall_bps"], abs=1e-9)
    assert set(plain["assets"]) == {"AAA", "BBB", "CCC"}
    assert "CCC       sell" in str(report)


def test_without_cross_impact_the_report_of_each_order_is_its_own():
    order = listed(cross_impact=0.0)
    report = traded(order)[0].basket_report(order)
    for parts, own in zip(report.decompositions, report.reports, strict=True):
        scaled = [value * own.parent.notional / order.notional for value in own.decomposition]
        assert list(parts) == pytest.approx(scaled, abs=1e-9)


def test_the_report_agrees_with_the_account_of_the_simulated_basket():
    """Children of the agent trade in the environment, whose own components are those of the report, and J is J*."""
    hedged = get_basket("basket-hedged")
    correlation = tuple(row[3:7] for row in hedged.correlation[3:7])
    basket = replace(hedged, assets=hedged.assets[3:7], correlation=correlation).with_assets(volume_noise=0.0)
    env = hx.make(basket).unwrapped
    env.reset(seed=5)
    slices = basket.slices
    orders = [
        hx.ParentOrder(
            symbol=asset.name,
            side=asset.side,
            quantity=round(asset.quantity),
            arrival_price=asset.arrival_price,
            adv=asset.adv,
            volatility=asset.volatility,
            deadline=float(slices),
        )
        for asset in basket.assets
    ]
    order = hx.BasketOrder(orders=orders, correlation=basket.correlation, cross_impact=basket.cross_impact)
    config = hx.ExecutionConfig(
        slices=slices,
        day_seconds=float(slices),
        max_participation_rate=None,
        steganographic_factor=0.0,
        risk_aversion=basket.risk_aversion,
    )
    agent = hx.ExecutionAgent(config, seed=0)
    agent.start()
    agent.submit_basket(order, now=0.0)
    over, k = False, 0
    while not over:
        situation = env.situation
        mids = situation.price + situation.side * (situation.permanent + situation.transient)
        agent.process({name: hx.Quote(mid) for name, mid in zip(basket.symbols, mids, strict=True)}, now=float(k))
        children = {}
        while (child := agent.get_next_child(now=k + 0.999)) is not None:
            children[child.symbol] = child
        _, _, over, _, info = env.trade([children[name].quantity if name in children else 0.0 for name in basket.symbols])
        prices = env.situation.last_price
        for name, price, mid in zip(basket.symbols, prices, mids, strict=True):
            if name in children:
                agent.report_fill(children[name], children[name].quantity, price, now=float(k), mid=mid)
        k += 1
    report = agent.basket_report(order)
    assert info["objective_bps"] == pytest.approx(solve_basket(basket).optimum_bps, rel=1e-6)
    assert report.shortfall == pytest.approx(info["shortfall_bps"], abs=1e-6)
    ours = report.decomposition
    for name in ("spread", "temporary", "transient", "permanent"):
        assert getattr(ours, name) == pytest.approx(info["components_bps"][name], abs=1e-6), name
    for parts, asset in zip(report.decompositions, basket.assets, strict=True):
        assert parts.transient == pytest.approx(info["assets"][asset.name]["components_bps"]["transient"], abs=1e-6)


def test_a_list_lives_and_ends_as_its_orders_do():
    order = listed()
    agent = hx.ExecutionAgent(seed=0)
    with pytest.raises(RuntimeError, match="call start"):
        agent.submit_basket(order, now=0.0)
    agent.start()
    agent.submit_basket(order, now=0.0)
    with pytest.raises(ValueError, match="'AAA' was submitted before"):
        agent.submit_basket(order, now=0.0)
    agent.process(now=0.0)
    assert agent.basket_report(order) is None
    agent.cancel(order, now=10.0)
    assert agent.basket_report("list").fill_rate == 0.0
    assert agent.basket_report("list").shortfall == 0.0
    with pytest.raises(ValueError, match="list 'list' is closed"):
        agent.cancel(order, now=11.0)
    agent.get_reports(forget=True)
    assert agent.basket_report(order) is None


def test_an_estimate_of_a_list_agrees_with_its_objective_and_its_parts_sum():
    order = listed()
    found = hx.estimate_basket(order, episodes=400)
    market = market_of(order, hx.ExecutionConfig(), DAY)
    rows = {row.algorithm: row for row in found.rows}
    assert rows["IS"].objective_bps == pytest.approx(solve_basket(market).optimum_bps, rel=1e-9)
    assert rows["TWAP"].objective_bps == pytest.approx(solve_basket(market).twap_bps, rel=1e-9)
    for row in found.rows:
        assert row.error_bps == 0.0
        assert sum(sum(parts.values()) for parts in row.assets_bps.values()) == pytest.approx(row.mean_bps, abs=1e-9)
        assert sum(row.components_bps.values()) == pytest.approx(row.mean_bps, abs=1e-9)
    basket = market.with_assets(volume_noise=0.3)
    noisy = hx.estimate_basket(basket, algorithms="IS", episodes=2_000)
    (row,) = noisy.rows
    assert row.error_bps > 0.0
    assert abs(row.objective_bps - solve_basket(basket).optimum_bps) < 5.0 * row.error_bps
    assert "sell" in str(found)
    assert "permanent" in str(noisy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orders": []}, "orders must be 1 to 50 orders, got 0"),
        ({"orders": legs()[:2] * 2}, "two in 'AAA'; net them into one order"),
        ({"orders": [*legs()[:2], replace(legs()[2], deadline=100.0)]}, "deadline must be equal for all assets"),
        ({"orders": legs(algorithm="TWAP")}, "algorithm must be left out of the orders of a list"),
        ({"algorithm": "Adaptive"}, "algorithm must be one of"),
        ({"correlation": ((1.0, 0.5), (0.5, 1.0))}, "correlation must be a list of 3 rows"),
        ({"correlation": ((1, 0.5, 0.3), (0.4, 1, 0.4), (0.3, 0.4, 1))}, "correlation must be symmetric"),
        ({"correlation": ((1, 0.9, -0.9), (0.9, 1, 0.9), (-0.9, 0.9, 1))}, "lowest eigenvalue -0.8"),
        ({"max_imbalance": 0.0}, "max_imbalance must be a number"),
        ({"imbalance": "shares"}, "imbalance must be one of"),
        ({"orders": legs(volatility=None), "max_imbalance": 1.0, "imbalance": "risk"}, "volatility of AAA must be a positive"),
    ],
)
def test_a_bad_list_is_one_clear_error(changes, message):
    with pytest.raises(ValueError, match=message):
        listed(**changes)


def test_the_optimum_needs_the_market_of_every_order():
    agent = hx.ExecutionAgent(seed=0)
    agent.start()
    with pytest.raises(ValueError, match="adv of AAA must be a positive number for the market of a list"):
        agent.submit_basket(listed(orders=legs(adv=None)), now=0.0)
    agent.submit_basket(listed(orders=legs(adv=None, volatility=None), algorithm="VWAP"), now=0.0)


@pytest.mark.parametrize("make", [hx.ParentOrder, hx.Scenario])
def test_a_negative_quantity_is_refused_because_the_side_has_the_sign(make):
    """A signed quantity beside a side would turn a hedge around."""
    given = {"symbol": "X", "side": 1, "arrival_price": 10.0} if make is hx.ParentOrder else {}
    with pytest.raises(ValueError, match=r"quantity must be .* got -100; the side says whether it sells"):
        make(quantity=-100, **given)
