"""Order detection: visible orders are detected, and tapes without an order score at chance level."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from hyperexec_env.execution.children import cut
from hyperexec_env.execution.detection import (
    MEAN_TRADE,
    RATIO,
    SMALLEST,
    Tape,
    auc,
    auc_interval,
    background,
    join,
    score,
    score_with_order,
    spectrum,
    truncate,
)
from hyperexec_env.execution.schedules import exponential, twap
from hyperexec_env.orders import ParentOrder

VOLUMES = np.full(10, 6_410.0)
"""Five minutes of a stock that trades five million shares a day."""
TAPES = 120


def tape_of(episode, stream):
    return background(VOLUMES, np.random.default_rng([7, episode, stream]))


def children(weights, factor, episode, side=1, quantity=10_000):
    parent = ParentOrder(symbol="X", side=side, quantity=quantity, arrival_price=100.0)
    made = cut(parent, quantity, 0.0, 1.0, weights, factor=factor, rng=np.random.default_rng([7, episode, 2]))
    times, sizes = zip(*((child.schedule_time, float(child.quantity)) for child in made), strict=True)
    return Tape(np.array(times), side * np.array(sizes))


def scores_of(weights, factor, side=1):
    found = []
    for episode in range(TAPES):
        order = children(weights, factor, episode, side)
        tape = tape_of(episode, 0)
        found.append(score_with_order((spectrum(tape, side), spectrum(tape, -side)), order.times, np.abs(order.sizes)))
    return np.array(found)


@pytest.fixture(scope="module")
def clean():
    return np.array([score(tape_of(episode, 1)) for episode in range(TAPES)])


def interval(found, clean):
    return auc_interval(auc(found, clean), len(found), len(clean))


# --- the tape


def test_the_background_has_the_expected_volume_sizes_and_sides():
    tapes = [tape_of(episode, 0) for episode in range(TAPES)]
    volumes = np.array([np.abs(tape.sizes).sum() for tape in tapes])
    assert abs(volumes.mean() - VOLUMES.sum()) < 4.0 * volumes.std() / np.sqrt(TAPES) + 0.01 * VOLUMES.sum()
    sizes = np.abs(np.concatenate([tape.sizes for tape in tapes]))
    assert sizes.mean() == pytest.approx(MEAN_TRADE, rel=0.03)
    assert (sizes == np.rint(sizes)).all()
    assert 0.45 < (sizes % 100.0 == 0.0).mean() < 0.6
    assert abs(np.mean(np.concatenate([tape.sizes for tape in tapes]) > 0.0) - 0.5) < 0.02


def test_the_background_follows_the_volume_curve():
    tape = background(np.array([9e6, 1e6]), np.random.default_rng(0))
    assert (tape.times < 0.5).mean() == pytest.approx(0.9, abs=0.01)
    assert (tape.times >= 0.0).all()
    assert (tape.times < 1.0).all()


def test_truncate_keeps_and_rescales_the_early_trades():
    tape = truncate(Tape(np.array([0.1, 0.4, 0.6]), np.array([100.0, -200.0, 300.0])), 0.5)
    assert tape.times.tolist() == [0.2, 0.8]
    assert tape.sizes.tolist() == [100.0, -200.0]


# --- the score


def test_an_unhidden_twap_is_detected(clean):
    for side in [1, -1]:
        found = scores_of(twap(10), 0.0, side)
        assert auc(found, clean) > 0.95
        assert interval(found, clean)[0] > 0.95


def test_an_unhidden_front_loaded_order_is_detected(clean):
    assert auc(scores_of(exponential(10, 0.5), 0.0), clean) > 0.9


def test_the_auc_without_an_order_is_one_half(clean):
    nothing = np.array([score(tape_of(episode, 0)) for episode in range(TAPES, 4 * TAPES)])
    low, high = interval(nothing, clean)
    assert low <= 0.5 <= high
    assert low <= auc(nothing, clean) <= high


def test_a_busy_open_and_close_are_not_taken_for_a_period():
    curve = np.array([12.0, 5.0, 4.0, 3.0, 3.0, 3.0, 4.0, 5.0, 9.0, 16.0]) * 1e5
    tapes = [background(curve, np.random.default_rng([7, episode, 3])) for episode in range(60)]
    clean, found = np.array([score(tape, curve) for tape in tapes[:30]]), []
    for episode, tape in enumerate(tapes[30:]):
        order = children(twap(10), 0.0, episode, quantity=50_000)
        found.append(score(join(tape, order), curve))
    assert auc(np.array(found), clean) > 0.95
    assert np.median([score(tape) for tape in tapes]) > 10.0 * np.median(clean)


def test_hiding_lowers_the_auc(clean):
    areas = [auc(scores_of(twap(10), factor), clean) for factor in (0.0, 0.2, 0.4, 0.7)]
    assert areas[0] > areas[1] > areas[2] > areas[3] - 0.03
    assert areas[3] < 0.65


def test_the_score_is_deterministic_and_independent_of_order_and_side():
    assert score(tape_of(3, 0)) == score(tape_of(3, 0))
    tape = tape_of(3, 0)
    turned = Tape(tape.times[::-1].copy(), tape.sizes[::-1].copy())
    assert score(turned) == score(tape)
    assert score(Tape(tape.times, -tape.sizes)) == score(tape)


def test_children_added_to_a_spectrum_score_as_children_on_the_tape():
    for weights in [twap(10), exponential(10, 1.0), twap(1), twap(30)]:
        for episode in range(5):
            order, tape = children(weights, 0.5, episode), tape_of(episode, 0)
            added = score_with_order((spectrum(tape, 1), spectrum(tape, -1)), order.times, order.sizes)
            assert added == pytest.approx(score(join(tape, order)), rel=1e-3)


def test_a_tape_with_too_few_trades_scores_zero():
    empty = Tape(np.empty(0), np.empty(0))
    assert score(empty) == 0.0
    assert score_with_order((spectrum(empty, 1), spectrum(empty, -1)), empty.times, empty.sizes) == 0.0
    assert score(Tape(np.array([0.1, 0.2, 0.3]), np.full(3, 500.0))) == 0.0


def test_more_periodic_children_score_higher():
    assert score(children(twap(20), 0.0, 0)) > score(children(twap(10), 0.0, 0)) > 20.0


@pytest.mark.parametrize(("jitter", "harmonics"), [(0.0, 8), (0.08, 4), (0.12, 2), (0.2, 1)])
def test_the_score_is_the_maximum_over_periods_and_numbers_of_harmonics(jitter, harmonics):
    """With children of one size, one band holds them all; the expected value is the sum of the module docstring."""
    rng = np.random.default_rng(5)
    times = (np.arange(16) + 0.5 + jitter * rng.uniform(-1.0, 1.0, 16)) / 16.0
    assert RATIO**3 * SMALLEST < 100.0
    bins = np.floor(times * 1024.0) / 1024.0
    steady = (np.arange(1024) / 1024.0)[:, None]
    found = {}
    for count in (1, 2, 4, 8):
        sums = np.zeros(8 * 29 + 1)
        for harmonic in range(1, count + 1):
            cycles = harmonic * np.arange(24, 257) / 8.0
            transform = np.exp(-2j * np.pi * bins[:, None] * cycles).sum(axis=0)
            transform -= len(times) * np.exp(-2j * np.pi * steady * cycles).mean(axis=0)
            sums += np.abs(transform) ** 2 / len(times)
        value = sums.max()
        found[count] = value - np.log(sum(value**power / math.factorial(power) for power in range(count)))
    assert max(found, key=found.get) == harmonics
    assert score(Tape(times, np.full(16, 100.0))) == pytest.approx(max(found.values()), rel=1e-4)


# --- the area under the curve


def test_the_auc_counts_ordered_pairs_and_half_of_ties():
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.5])) == 0.75
    assert auc(np.array([1.0]), np.array([1.0])) == 0.5
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0


def test_the_auc_agrees_with_the_comparison_of_all_pairs():
    rng = np.random.default_rng(0)
    found, clean = rng.integers(0, 30, 200) + 3.0, rng.integers(0, 30, 150) + 0.0
    pairs = (found[:, None] > clean).mean() + 0.5 * (found[:, None] == clean).mean()
    assert auc(found, clean) == pytest.approx(pairs, abs=1e-12)


def test_the_auc_of_a_million_tapes_is_fast():
    rng, start = np.random.default_rng(0), time.perf_counter()
    found, clean = rng.normal(1.0, 1.0, 1_000_000), rng.normal(0.0, 1.0, 1_000_000)
    assert auc(found, clean) == pytest.approx(0.7602, abs=0.002)
    assert time.perf_counter() - start < 10.0


def test_the_interval_agrees_with_hanley_and_mcneil_away_from_the_ends():
    low, high = auc_interval(0.76, 400, 400)
    q1, q2 = 0.76 / 1.24, 2.0 * 0.76**2 / 1.76
    error = np.sqrt((0.76 * 0.24 + 399 * (q1 - 0.76**2) + 399 * (q2 - 0.76**2)) / 400**2)
    assert high - low == pytest.approx(2.0 * 1.96 * error, rel=0.03)
    assert low < 0.76 < high


def test_the_interval_has_a_positive_width_at_an_auc_of_zero_or_one():
    low, high = auc_interval(1.0, 400, 400)
    assert high == 1.0
    assert low == pytest.approx(0.9952, abs=2e-4)
    assert auc_interval(1.0, 20, 20)[0] < 0.93
    assert auc_interval(0.0, 400, 400) == pytest.approx((0.0, 1.0 - low))


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5, 4.0])
def test_the_interval_covers_the_true_auc_in_95_percent_of_samples(shift):
    rng, size, samples = np.random.default_rng(1), 60, 2000
    true = 0.5 * (1.0 + math.erf(shift / 2.0))
    ends = [auc_interval(auc(rng.normal(shift, 1.0, size), rng.normal(0.0, 1.0, size)), size, size) for _ in range(samples)]
    assert 0.93 < np.mean([low <= true <= high for low, high in ends]) <= 1.0
