"""What hiding is worth: the numbers are paired, the checks are in the report, and a mistake is one line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env import cli
from hyperexec_env.baselines import fine_grid, stealth, stealth_plot
from hyperexec_env.baselines.desk import desk_config
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.stealth import study
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.evaluation.statistics import bootstrap_means, interval, share_interval
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.execution.detection import Tape, auc, auc_interval, background, join, score, truncate
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

TAPES = stealth.THRESHOLD_TAPES
EPISODES = 70
"""No share of these is one in twenty."""
DESK = get_scenario("desk-5min")
ESTIMATES = ("auc", "tracking_cost", *(f"{case}_{name}" for case in ("predator", "liquidity") for name in ("leakage", "price")))


def run(capsys, *words):
    try:
        code = cli.main(["stealth", *words])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module", autouse=True)
def few_clean_tapes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stealth, "THRESHOLD_TAPES", 100)
        yield


@pytest.fixture(scope="module")
def bench():
    return fine_grid.bench_of(DESK, 0)


@pytest.fixture(scope="module")
def found(few_clean_tapes):
    return study(DESK, (0.0, 0.3, 1.0), 0.3, EPISODES, 0)


@pytest.fixture
def two_algorithms(monkeypatch):
    """A study of these takes a third of the time: a plan, and one that is made anew when the regime changes."""
    monkeypatch.setattr(stealth, "algorithm_names", lambda: ("TWAP", "Adaptive"))


def rows_of(found, factor):
    return [row for row in found.rows if row.factor == factor]


def test_every_algorithm_is_measured_at_every_factor(found):
    assert found.algorithms == list(algorithm_names())
    assert [row.factor for row in found.rows] == [0.0, 0.3, 1.0] * len(algorithm_names())


def test_an_order_without_hiding_has_no_tracking_cost_and_is_detected(found):
    for row in rows_of(found, 0.0):
        assert row.tracking_cost == (0.0, 0.0, 0.0)
        assert row.predator.price == row.predator.leakage
        assert row.predator.against_plain == (0.0, 0.0, 0.0)
        assert row.auc.value > 0.9
        assert row.predator.leakage.low > 0.0
        assert row.liquidity.leakage.high < 0.0


def test_hiding_takes_detection_and_leakage_away_and_costs(found):
    for plain, hidden in zip(rows_of(found, 0.0), rows_of(found, 1.0), strict=True):
        assert hidden.auc.value < 0.65
        assert hidden.detected < plain.detected
        assert abs(hidden.predator.leakage.value) < plain.predator.leakage.value
        assert hidden.tracking_cost.low > 0.0


def test_hiding_may_lose_where_liquidity_comes_to_an_order_that_is_seen(found):
    assert found.liquidity == -0.3
    assert all(found.verdict(name, "liquidity").factor == 0.0 for name in found.algorithms)


def test_a_tape_without_an_order_is_no_better_than_chance(found):
    assert found.chance.low <= 0.5 <= found.chance.high
    assert found.false_alarms.low <= found.false_alarms.value <= found.false_alarms.high < 0.2


def test_the_price_is_the_sum(found):
    for row in found.rows:
        for case in (row.predator, row.liquidity):
            assert case.price.value == pytest.approx(case.leakage.value + row.tracking_cost.value, abs=1e-12)


def test_no_predator_no_leakage(two_algorithms):
    for row in study(DESK, (0.0, 1.0), 0.0, 20, 1).rows:
        assert row.predator.leakage == row.liquidity.leakage == (0.0, 0.0, 0.0)
        assert row.predator.price == row.tracking_cost


def test_the_batch_size_and_the_other_factors_change_no_number(two_algorithms, monkeypatch):
    found = study(DESK, (0.0, 0.3), 0.3, 40, 0)
    monkeypatch.setattr(stealth, "_BATCH", 17)
    assert study(DESK, (0.3, 0.0, 0.3), 0.3, 40, 0).rows == found.rows
    other = study(DESK, (0.3, 0.6), 0.3, 40, 0)
    for one, same in zip(rows_of(other, 0.3), rows_of(found, 0.3), strict=True):
        assert (one.auc, one.detected) == (same.auc, same.detected)
        assert one.tracking_cost.value == pytest.approx(same.tracking_cost.value, abs=1e-12)


def test_a_predator_of_no_strength_has_no_sign(two_algorithms):
    assert "liquidity 0 of" in str(study(DESK, (0.0,), 0.0, 20, 0))


def test_another_seed_gives_other_numbers(two_algorithms):
    assert study(DESK, (0.5,), 0.3, 20, 0).rows != study(DESK, (0.5,), 0.3, 20, 1).rows


def test_a_plan_costs_on_the_fine_grid_what_it_costs_in_the_scenario():
    """With a steady volume: the children trade half a slice later, and that matters for the risk alone."""
    scenario = replace(get_scenario("regime-day"), volume_noise=0.0, volume_curve=(), risk_aversion=0.0, regimes={})
    bench, keys = fine_grid.bench_of(scenario, 3), episode_keys(3, np.arange(4))
    path = fine_grid.draw_fine_path(bench, range(4))
    market = build_market(scenario)
    for name in ("TWAP", "VWAP", "IS", "POV"):
        orders = [fine_grid.children_of(bench, path, column, column, (name, 0.0)) for column in range(4)]
        ours = fine_grid.objectives_of(bench.fine, fine_grid.lay(orders, path), 0.0, np.zeros(4, dtype=bool))
        theirs = roll(market, get_policy(name), draw_path(market, keys, 1.0)).statement.objective
        assert ours == pytest.approx(theirs, rel=1e-3), name  # whole shares there, fractions here


def test_schedules_cost_the_same_in_regimes_that_switch():
    scenario = replace(get_scenario("regime-day"), risk_aversion=0.0, resilience=0.0)
    scenario = replace(scenario, regimes=replace(scenario.regimes, resilience=()))
    bench, keys = fine_grid.bench_of(scenario, 3), episode_keys(3, np.arange(40))
    path = fine_grid.draw_fine_path(bench, range(40))
    steady = path.slices.volume * 0.0 + bench.fine.mean_volume.take(bench.fine.cell(0, path.world.regime[:-1]))
    for name in ("TWAP", "IS"):
        orders = [fine_grid.children_of(bench, path, column, column, (name, 0.0)) for column in range(40)]
        laid = fine_grid.lay(orders, path._replace(slices=path.slices._replace(volume=steady)))
        ours = fine_grid.objectives_of(bench.fine, laid, 0.0, np.zeros(40, dtype=bool))
        market = build_market(scenario)
        coarse = draw_path(market, keys, 1.0)
        volume = coarse.slices.volume * 0.0 + steady.reshape(26, fine_grid.SPLIT, 40).sum(axis=1)
        theirs = roll(market, get_policy(name), coarse._replace(slices=coarse.slices._replace(volume=volume))).statement
        assert ours == pytest.approx(theirs.objective, rel=1e-3), name


# --- the market on the fine grid


def test_the_regimes_are_those_of_the_scenario():
    scenario = get_scenario("regime-day")
    bench = fine_grid.bench_of(scenario, 0)
    path, keys = fine_grid.draw_fine_path(bench, range(50)), episode_keys(0, np.arange(50))
    coarse = draw_path(build_market(scenario), keys, 1.0).world.regime
    assert np.array_equal(path.world.regime, np.append(np.repeat(coarse[:-1], fine_grid.SPLIT, axis=0), coarse[-1:], axis=0))
    assert (np.diff(coarse, axis=0) != 0).any()
    regime = path.world.regime[:-1]
    assert np.array_equal(path.slices.temporary_scale, bench.fine.temporary_scale[regime])
    assert np.array_equal(path.slices.risk, bench.fine.risk[np.arange(bench.fine.slices)[:, None], regime])
    assert np.array_equal(path.slices.transient_decay, bench.fine.transient_decay[regime])


def test_the_volume_that_is_expected_is_what_comes():
    bench = fine_grid.bench_of(replace(get_scenario("crisis-day"), volume_noise=0.0), 0)
    volumes = fine_grid.draw_fine_path(bench, range(4000)).slices.volume
    errors = volumes.std(axis=1) / np.sqrt(4000)
    assert (np.abs(volumes.mean(axis=1) - bench.volumes) < 5.0 * errors + 1e-6 * bench.volumes).all()
    assert bench.volumes.sum() == pytest.approx(bench.coarse.rest_volume[0, bench.coarse.unknown])


@pytest.mark.parametrize("name", ["TWAP", "Adaptive"])
def test_what_a_child_pays_does_not_depend_on_where_in_its_interval_it_trades(name):
    """Else a regime that switches within a jitter makes a few episodes dominate the tracking cost."""
    scenario = replace(get_scenario("regime-day"), risk_aversion=0.0, kyle_lambda=0.0, perm_impact_gamma=0.0, flow_share=0.0)
    bench = fine_grid.bench_of(scenario, 1)
    path = fine_grid.draw_fine_path(bench, range(40))
    plain = [fine_grid.children_of(bench, path, column, column, (name, 0.0)) for column in range(40)]
    moved = []
    for order in plain:
        late = np.minimum(order.first + 0.8 * (order.end - order.first), order.end - 1)
        moved.append(order._replace(times=late / bench.fine.slices))
    nobody = np.zeros(40, dtype=bool)
    costs = [fine_grid.objectives_of(bench.fine, fine_grid.lay(orders, path), 0.0, nobody) for orders in (plain, moved)]
    regime = path.world.regime
    calm = [  # a child of Adaptive may have an interval in which the regime turns and asks for the same plan
        all((regime[a:b, column] == regime[a, column]).all() for a, b in zip(order.first, order.end, strict=True))
        for column, order in enumerate(plain)
    ]
    assert sum(calm) >= (40 if name == "TWAP" else 25)
    assert costs[0][calm] == pytest.approx(costs[1][calm], rel=1e-12)


def test_the_grid_moves_no_child_on_average():
    """The middles of the intervals and their jitter trade at the same mean time: else the tracking cost would contain risk."""
    bench = fine_grid.bench_of(get_scenario("hunted-day"), 0)
    path = fine_grid.draw_fine_path(bench, range(200))
    grid = np.arange(bench.fine.slices)[:, None]
    means = []
    for factor, turned in ((0.0, False), (0.2, False), (0.2, True)):
        orders = [fine_grid.children_of(bench, path, e, e, ("TWAP", factor), turned) for e in range(200)]
        traded = fine_grid.lay(orders, path).shares > 0.0
        assert traded.sum() == 26 * 200
        means.append((grid * traded).sum(axis=0) / 26)
    assert means[0] == pytest.approx(0.5 * (20 * 26), abs=1e-9)
    assert (0.5 * (means[1] + means[2])).mean() == pytest.approx(means[0].mean(), abs=0.03)


def test_tracking_cost_has_no_rare_and_large_values():
    bench = fine_grid.bench_of(DESK, 0)
    path = fine_grid.draw_fine_path(bench, range(1500))
    nobody = np.zeros(1500, dtype=bool)
    plain, one, other = (
        fine_grid.objectives_of(
            bench.fine,
            fine_grid.lay([fine_grid.children_of(bench, path, e, e, ("TWAP", factor), turned) for e in range(1500)], path),
            0.0,
            nobody,
        )
        for factor, turned in ((0.0, False), (0.2, False), (0.2, True))
    )
    tracking_cost = 0.5 * (one + other) - plain
    assert tracking_cost.std() / np.sqrt(1500) < 0.0005
    assert np.abs(tracking_cost).max() < 0.5


@pytest.mark.parametrize("name", ["TWAP", "VWAP", "IS", "AC", "Adaptive"])
def test_the_children_are_those_of_the_agent(name):
    """The same times and sizes as an ExecutionAgent makes that is told the regime of each slice of the scenario."""
    bench = fine_grid.bench_of(get_scenario("regime-day"), 0)
    path, names = fine_grid.draw_fine_path(bench, range(40)), bench.fine.scenario.regimes.names
    volumes, scenario = bench.coarse.mean_volume[:-1, bench.coarse.unknown], bench.coarse.scenario
    parent = replace(
        bench.parent,
        deadline=26.0,
        volume_profile=tuple(volumes),
        expected_volume=float(volumes.sum()),
        volatility=scenario.volatility,
    )
    turned = 0
    for column in range(40):
        order = fine_grid.children_of(bench, path, column, column, (name, 0.0))
        assert order.shares.sum() == bench.parent.quantity
        assert (np.diff(order.times) > 0.0).all()
        assert (order.first <= order.times * bench.fine.slices + 1e-9).all()
        assert (order.times * bench.fine.slices <= order.end).all()
        regimes = path.world.regime[: -1 : fine_grid.SPLIT, column]
        turned += len(set(regimes.tolist())) > 1
        agent, made = ExecutionAgent(desk_config(bench.coarse, algorithm=name), seed=0), []
        agent.start()
        agent.submit_order(parent, now=0.0)
        for k, regime in enumerate(regimes):
            agent.process(regime=names[regime], now=float(k))
            while (child := agent.get_next_child(float(np.nextafter(k + 1.0, k)))) is not None:
                made.append(child)
        assert [child.schedule_time for child in made] == pytest.approx(26.0 * order.times)
        assert [child.quantity for child in made] == pytest.approx(order.shares, abs=1.0)
    assert turned > 20


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_the_volume_of_a_slice_varies_on_the_fine_grid_as_in_the_scenario(level):
    scenario = replace(DESK, regimes={}, volume_level_sd=level)
    fine = build_market(fine_grid._fine(scenario))
    assert fine.scenario == fine_grid.bench_of(scenario, 0).fine.scenario
    path = fine_grid.draw_fine_path(fine_grid.bench_of(scenario, 0), range(4000))
    volumes = path.slices.volume.reshape(scenario.slices, fine_grid.SPLIT, -1).sum(axis=1)
    assert volumes.std() / volumes.mean() == pytest.approx(np.sqrt(np.expm1(scenario.volume_noise**2 + level**2)), rel=0.1)
    coarse = draw_path(build_market(scenario), path.keys, 1.0).world.volume_level
    assert (path.world.volume_level == coarse[0]).all()
    assert volumes.mean() == pytest.approx(scenario.adv * scenario.profile()[0], rel=0.02)


def test_pov_follows_the_volume_that_it_has_seen(bench):
    path = fine_grid.draw_fine_path(bench, range(3))
    for column in range(3):
        order = fine_grid.children_of(bench, path, column, column, ("POV", 0.0))
        volumes = path.slices.volume[:, column].reshape(DESK.slices, fine_grid.SPLIT).sum(axis=1)
        assert order.shares.sum() == DESK.quantity
        shares = order.shares[1:-1]
        assert shares / shares[0] == pytest.approx((volumes / volumes[0])[: len(shares)], rel=0.01)


# --- what the predator does


def laid(bench, cell, episodes=8):
    path = fine_grid.draw_fine_path(bench, range(episodes))
    orders = [fine_grid.children_of(bench, path, episode, episode, cell) for episode in range(episodes)]
    return fine_grid.lay(orders, path)


def test_it_hunts_in_the_second_half_alone_and_only_the_orders_that_it_believes_in(bench):
    detected = np.arange(8) % 2 == 0
    order = laid(bench, ("TWAP", 0.0))
    hunted, plain = (fine_grid.objectives_of(bench.fine, order, strength, detected) for strength in (0.3, 0.0))
    extra = hunted - plain
    scenario = bench.fine.scenario
    child, slope = 1_000.0, scenario.kyle_lambda * scenario.arrival_price / scenario.adv
    assert extra == pytest.approx(np.where(detected, 1e4 * slope * 0.3 * child**2 * 5 / scenario.notional, 0.0), abs=1e-9)
    early = order._replace(shares=np.where(np.arange(bench.fine.slices)[:, None] < 100, order.shares, 0.0))
    assert np.array_equal(*(fine_grid.objectives_of(bench.fine, early, strength, detected) for strength in (0.3, 0.0)))


def measured(bench, cells, threshold, episodes=30):
    (_, found), *_ = stealth._batches(bench, cells, threshold, (0.3, -0.3), episodes)
    return found


def test_the_predator_does_not_know_the_future(bench, monkeypatch):
    """Whatever trades in the second half, the order itself too, it believes what the first half shows."""
    cells = [("TWAP", 0.0), ("TWAP", 0.2), ("IS", 0.1)]
    threshold = stealth._threshold(bench)
    before = measured(bench, cells, threshold)
    assert 0.05 < np.mean([cell.detected.mean() for cell in before]) < 0.95

    def cut_off(volumes, rng):
        tape = background(volumes, rng)
        early = tape.times < fine_grid.WATCHED
        return Tape(tape.times[early], tape.sizes[early])

    whole = fine_grid.children_of

    def stop(*args):
        order = whole(*args)
        return fine_grid._until(order, 100, 200)

    monkeypatch.setattr(stealth, "background", cut_off)
    monkeypatch.setattr(stealth, "children_of", stop)
    for one, same in zip(before, measured(bench, cells, threshold), strict=True):
        assert np.array_equal(one.detected, same.detected)
        assert not np.array_equal(one.score, same.score)


def test_it_believes_in_the_tapes_that_score_above_the_threshold_after_half_of_the_time(bench, found):
    threshold = stealth._threshold(bench)
    curve = bench.volumes[: len(bench.volumes) // 2]
    path, seen = fine_grid.draw_fine_path(bench, range(EPISODES)), []
    for episode in range(EPISODES):
        order = fine_grid.children_of(bench, path, episode, episode, ("IS", 0.0))
        tape = background(bench.volumes, np.random.default_rng([0, episode, 0]))
        seen.append(score(truncate(join(tape, Tape(order.times, order.shares)), 0.5), curve))
    row = next(row for row in found.rows if (row.algorithm, row.factor) == ("IS", 0.0))
    assert 0.0 < row.detected < 1.0
    assert row.detected == pytest.approx(np.mean(np.array(seen) > threshold), abs=1e-9)


def test_the_threshold_is_that_of_one_in_twenty_of_many_clean_tapes_of_half_the_time(bench):
    curve = bench.volumes[:100]
    scores = [
        score(background(curve, np.random.default_rng([0, number, 3])), curve) for number in range(stealth.THRESHOLD_TAPES)
    ]
    assert stealth._threshold(bench) == np.quantile(scores, 0.95)


def test_the_checks_are_made_on_tapes_that_nothing_else_uses(bench, found):
    """The threshold, the clean tapes of the AUC and the judged tapes are three sets; chance is that of whole tapes."""
    judged = np.array([stealth._detect(bench, episode, [])[0] for episode in range(EPISODES)])
    clean = stealth._clean_scores(bench, 1.0, 1, EPISODES)
    assert found.chance.value == auc(judged[:, 0], clean)
    assert found.false_alarms.value == (judged[:, 1] > stealth._threshold(bench)).mean()
    sets = [judged[:, 0], judged[:, 1], clean, stealth._clean_scores(bench, fine_grid.WATCHED, 3, EPISODES)]
    assert len(np.unique(np.concatenate(sets))) == 4 * EPISODES
    plain = next(row for row in found.rows if row.algorithm == "TWAP" and row.factor == 1.0)
    scores = np.concatenate([cell.score for cell in measured(bench, [("TWAP", 1.0)], 0.0, EPISODES)])
    assert plain.auc == (auc(scores, clean), *auc_interval(auc(scores, clean), EPISODES, EPISODES))
    count = int((judged[:, 1] > stealth._threshold(bench)).sum())
    assert found.false_alarms[1:] == share_interval(count, EPISODES)


def test_a_share_has_an_interval_even_where_nothing_happened():
    assert share_interval(20, 400) == pytest.approx((0.0326, 0.0760), abs=1e-4)  # Wilson (1927)
    low, high = share_interval(0, 400)
    assert low == 0.0
    assert high == pytest.approx(1.96**2 / (400 + 1.96**2), rel=1e-3)
    assert share_interval(400, 400) == pytest.approx((1.0 - high, 1.0))


@pytest.mark.slow  # that the threshold is the quantile of tapes that nothing else uses is tested above
def test_false_alarms_come_as_often_as_they_should(bench, monkeypatch):
    monkeypatch.setattr(stealth, "THRESHOLD_TAPES", 1500)
    fresh = stealth._clean_scores(bench, fine_grid.WATCHED, 7, 1500)
    assert (fresh > stealth._threshold(bench)).mean() == pytest.approx(0.05, abs=0.025)


def test_the_threshold_is_set_on_thousands_of_tapes():
    assert TAPES >= 2000


# --- the verdict


def estimate(value):
    return stealth.Estimate(value, value - 0.1, value + 0.1)


def row(factor, hunted, met):
    cases = (stealth.Case(estimate(0.0), estimate(price), estimate(0.0)) for price in (hunted, met))
    return stealth.Row("TWAP", factor, estimate(0.5), 0.1, estimate(0.0), *cases)


def test_the_verdict_names_the_factors_within_the_noise():
    rng = np.random.default_rng(0)
    prices = {"predator": [3.0, 1.0, 1.05, 4.0], "liquidity": [-2.0, 1.0, 2.0, 3.0]}
    rows = tuple(row(factor, *pair) for factor, *pair in zip((0.0, 0.2, 0.4, 1.0), *prices.values(), strict=True))
    means = {case: np.array(values)[:, None] + 0.1 * rng.normal(size=(4, 2000)) for case, values in prices.items()}
    hunted, met = stealth._verdicts(rows, means)
    assert (hunted.factor, hunted.rivals, hunted.dearer) == (0.2, (0.4,), (0.0, 1.0))
    assert str(hunted).endswith("; within the noise: 0.4")
    assert "less factor 0: -2.000 [-2.4" in str(hunted)
    assert (met.factor, met.rivals, met.dearer) == (0.0, (), (0.2, 0.4, 1.0))
    assert str(met).endswith("; all others cost more")
    assert "less" not in str(met)


def test_a_factor_that_is_picked_from_many_equal_ones_is_within_the_noise():
    """Of eight that cost the same, the cheapest is no cheaper: an interval for one of them would often say so."""
    rng = np.random.default_rng(3)
    wrong = naive = 0
    for _ in range(100):
        values = rng.normal(0.0, 1.0, (8, 100))
        means = bootstrap_means(values)
        rows = tuple(row(float(place), value, value) for place, value in enumerate(values.mean(axis=1)))
        verdict = stealth._verdicts(rows, {"predator": means, "liquidity": means})[0]
        wrong += bool(verdict.dearer)
        best = int(verdict.factor)
        naive += any(interval(means[other] - means[best])[0] > 0.0 for other in range(8) if other != best)
    assert wrong <= 12
    assert naive > 40


def test_one_factor_has_no_rivals():
    (verdict, _) = stealth._verdicts((row(0.3, 1.0, 1.0),), {case: np.ones((1, 5)) for case in ("predator", "liquidity")})
    assert (verdict.rivals, verdict.dearer) == ((), ())
    assert str(verdict) == "  TWAP      factor 0.3  price 1.000 [0.900, 1.100]"


@pytest.mark.parametrize("name", ["sunshine-day", "flow-signal"])
def test_other_scenarios_are_measured_too(name, two_algorithms):
    rows = study(replace(get_scenario(name), side=-1), (0.0, 1.0), 1.0, 20, 0).rows
    assert all(np.isfinite([*row.auc, *row.tracking_cost, *row.predator.price, *row.liquidity.price]).all() for row in rows)


# --- the picture


def test_the_picture_shows_detection_tracking_cost_leakage_and_price_in_both_cases(found):
    figure = stealth_plot._draw(found)
    values = [
        lambda row: row.auc.value,
        lambda row: row.predator.leakage.value,
        lambda row: row.predator.price.value,
        lambda row: row.tracking_cost.value,
        lambda row: row.liquidity.leakage.value,
        lambda row: row.liquidity.price.value,
    ]
    assert len(figure.axes) == 6
    for axis, value in zip(figure.axes, values, strict=True):
        assert len(axis.containers) == len(found.algorithms)
        for name, bars in zip(found.algorithms, axis.containers, strict=True):
            shown = bars.lines[0].get_ydata()
            assert shown.tolist() == [value(row) for row in found.rows if row.algorithm == name], axis.get_title()
    titles = [axis.get_title() for axis in figure.axes]
    assert [title for title in titles if "predator 0.3" in title] == titles[1:3]
    assert [title for title in titles if "liquidity -0.3" in title] == titles[4:]


# --- the command


def test_the_command_prints_draws_and_writes(capsys, tmp_path):
    target, picture = tmp_path / "stealth.json", tmp_path / "stealth.png"
    words = ("--episodes", "20", "--factors", "0", "0.5", "--predator", "1", "--json", str(target), "--plot", str(picture))
    code, out, _ = run(capsys, *words)
    assert code == 0
    for text in ("20 episodes of seed 0; predator 1, liquidity -0.5", "cheapest factor with a predator", "false alarms"):
        assert text in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    plain = json.loads(target.read_text())
    assert {"scenario", "scenario_hash", "episodes", "seed", "predator", "liquidity", "false_alarm_rate", "cheapest"} <= {
        *plain
    }
    for name in ("chance_auc", "false_alarm_rate"):
        assert plain[f"{name}_low"] <= plain[name] <= plain[f"{name}_high"]
    for verdict in plain["cheapest"]:
        assert verdict["smallest_factor"] == 0.0
        assert set(verdict["within_noise"]) <= {0.0, 0.5} - {verdict["factor"]}
        assert verdict["price_low"] <= verdict["price_bps"] <= verdict["price_high"]
        assert verdict["less_smallest_low"] <= verdict["less_smallest_bps"] <= verdict["less_smallest_high"]
    assert len(plain["rows"]) == 2 * len(algorithm_names())
    assert len(plain["cheapest"]) == 2 * len(algorithm_names())
    for row in plain["rows"]:
        for name in ESTIMATES:
            value = row[name if name == "auc" else f"{name}_bps"]
            assert row[f"{name}_low"] - 1e-9 <= value <= row[f"{name}_high"] + 1e-9, name


def test_the_same_command_gives_the_same_numbers_and_the_same_picture(two_algorithms, capsys, tmp_path):
    words = ("--episodes", "20", "--factors", "0.5", "--json", "--plot")
    outs = [run(capsys, *words, str(tmp_path / name))[1] for name in ("a.svg", "b.svg")]
    assert outs[0] == outs[1]
    assert json.loads(outs[0])["episodes"] == 20
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_mistake_is_one_clear_line_before_the_work(capsys, tmp_path, monkeypatch):
    for words, message in [
        (("--factors", "1.5"), "factors must be a number in [0, 1], got 1.5"),
        (("--factors", "nan"), "factors must be a number in [0, 1], got nan"),
        (("--predator", "-1"), "predator must be a number in [0, 2] of the expected child, got -1.0"),
        (("--episodes", "1"), "episodes must be a whole number in [20, 20000], got 1"),
        (("--episodes", "20001"), "episodes must be a whole number in [20, 20000], got 20001"),
        (("--factors", *(f"{k / 100}" for k in range(21))), "factors must be 1 to 20 different numbers, got 21"),
        (("--json", "x.svg", "--plot", "x.svg"), "json and plot must be two files, got 'x.svg' twice"),
        (("--json", "./x.svg", "--plot", "x.svg"), "json and plot must be two files, got 'x.svg' twice"),
        (("--seed", "-1"), "seed must be a whole number in [0, 4294967295], got -1"),
        (("--scenario", "desk5min"), "unknown scenario 'desk5min'; did you mean 'desk-5min'?"),
        (("--plot", "x.bmp"), "plot must have one of the extensions .png, .svg, .pdf, got 'x.bmp'"),
        (("--plot", "no/such/x.png"), "cannot write no/such/x.png"),
        (("--json", "no/such/x.json"), "cannot write no/such/x.json"),
    ]:
        monkeypatch.chdir(tmp_path)
        code, out, err = run(capsys, *words)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
        assert not list(tmp_path.iterdir())


def test_a_scenario_that_is_cut_too_finely_is_refused():
    with pytest.raises(ValueError, match=r"^slices of the scenario must be a whole number in \[2, 32\], got 390$"):
        study(replace(DESK, slices=390), (0.0,), 0.3, 20, 0)
