"""The detector: it finds an order that does not hide, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from hyperexec_env.execution.children import cut
from hyperexec_env.execution.detection import (
    MEAN_TRADE,
    Tape,
    auc,
    background,
    join,
    listen,
    resampled_auc,
    score,
    score_with,
    until,
)
from hyperexec_env.execution.schedules import exponential, twap
from hyperexec_env.orders import ParentOrder

VOLUMES = np.full(10, 6_410.0)
"""Five minutes of a share that trades five million a day."""
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
        found.append(score_with((listen(tape, side), listen(tape, -side)), side, order.times, np.abs(order.sizes)))
    return np.array(found)


@pytest.fixture(scope="module")
def clean():
    return np.array([score(tape_of(episode, 1)) for episode in range(TAPES)])


def interval(found, clean):
    return np.quantile(resampled_auc(found, clean), [0.025, 0.975])


# --- the tape


def test_the_background_holds_the_volume_that_is_expected():
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


def test_a_tape_is_cut_to_what_has_been_seen():
    tape = until(Tape(np.array([0.1, 0.4, 0.6]), np.array([100.0, -200.0, 300.0])), 0.5)
    assert tape.times.tolist() == [0.2, 0.8]
    assert tape.sizes.tolist() == [100.0, -200.0]


# --- the verdict


@pytest.mark.parametrize("side", [1, -1])
def test_it_finds_a_twap_that_does_not_hide(clean, side):
    found = scores_of(twap(10), 0.0, side)
    assert auc(found, clean) > 0.95
    assert interval(found, clean)[0] > 0.95


def test_it_finds_a_front_loaded_order_that_does_not_hide(clean):
    assert auc(scores_of(exponential(10, 0.5), 0.0), clean) > 0.9


def test_it_is_no_better_than_chance_where_there_is_no_order(clean):
    nothing = np.array([score(tape_of(episode, 0)) for episode in range(TAPES, 4 * TAPES)])
    low, high = interval(nothing, clean)
    assert low <= 0.5 <= high
    assert low <= auc(nothing, clean) <= high


def test_a_busy_open_and_close_are_no_rhythm():
    curve = np.array([12.0, 5.0, 4.0, 3.0, 3.0, 3.0, 4.0, 5.0, 9.0, 16.0]) * 1e5
    tapes = [background(curve, np.random.default_rng([7, episode, 3])) for episode in range(60)]
    clean, found = np.array([score(tape, curve) for tape in tapes[:30]]), []
    for episode, tape in enumerate(tapes[30:]):
        order = children(twap(10), 0.0, episode, quantity=50_000)
        found.append(score(join(tape, order), curve))
    assert auc(np.array(found), clean) > 0.95
    assert np.median([score(tape) for tape in tapes]) > 10.0 * np.median(clean)


def test_hiding_makes_the_order_harder_to_find(clean):
    areas = [auc(scores_of(twap(10), factor), clean) for factor in (0.0, 0.2, 0.4, 0.7)]
    assert areas[0] > areas[1] > areas[2] > areas[3] - 0.03
    assert areas[3] < 0.65


def test_the_same_tape_has_the_same_score():
    assert score(tape_of(3, 0)) == score(tape_of(3, 0))
    tape = tape_of(3, 0)
    turned = Tape(tape.times[::-1].copy(), tape.sizes[::-1].copy())
    assert score(turned) == score(tape)
    assert score(Tape(tape.times, -tape.sizes)) == score(tape)


@pytest.mark.parametrize("weights", [twap(10), exponential(10, 1.0), twap(1), twap(30)], ids=["twap", "steep", "one", "many"])
def test_children_added_to_a_spectrum_score_as_on_the_tape(weights):
    for episode in range(5):
        order, tape = children(weights, 0.5, episode), tape_of(episode, 0)
        added = score_with((listen(tape, 1), listen(tape, -1)), 1, order.times, order.sizes)
        assert added == pytest.approx(score(join(tape, order)), rel=1e-3)


def test_a_tape_without_trades_shows_nothing():
    empty = Tape(np.empty(0), np.empty(0))
    assert score(empty) == 0.0
    assert score_with((listen(empty, 1), listen(empty, -1)), 1, empty.times, empty.sizes) == 0.0
    assert score(Tape(np.array([0.1, 0.2, 0.3]), np.full(3, 500.0))) == 0.0


def test_a_perfect_rhythm_is_the_greatest_surprise():
    assert score(children(twap(20), 0.0, 0)) > score(children(twap(10), 0.0, 0)) > 20.0


# --- the area under the curve


def test_the_area_is_the_share_of_pairs_in_order():
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.5])) == 0.75
    assert auc(np.array([1.0]), np.array([1.0])) == 0.5
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0


def test_its_bootstrap_is_centred_and_as_wide_as_the_sample_asks():
    rng = np.random.default_rng(0)
    found, clean = rng.normal(1.0, 1.0, 400), rng.normal(0.0, 1.0, 300)
    areas = resampled_auc(found, clean)
    area = auc(found, clean)
    assert areas.mean() == pytest.approx(area, abs=0.003)
    # Hanley and McNeil (1982)
    q1, q2 = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    variance = (area * (1 - area) + 399 * (q1 - area**2) + 299 * (q2 - area**2)) / (400 * 300)
    assert areas.std() == pytest.approx(np.sqrt(variance), rel=0.15)
    assert np.array_equal(areas, resampled_auc(found, clean))
