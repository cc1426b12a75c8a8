"""Order hiding and whole-share cuts: conservation, ranges and means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution.children import cut, whole_shares
from hyperexec_env.execution.hiding import SIZE_JITTER, TIME_JITTER, jitter, jittered_times, jittered_weights
from hyperexec_env.orders import MAX_SHARES, ParentOrder

pytestmark = pytest.mark.fast

FACTORS = st.floats(0.0, 1.0)
WEIGHTS = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60).filter(lambda weights: sum(weights) > 1e-3)
SEEDS = st.integers(0, 2**32 - 1)


def _parent(quantity):
    return ParentOrder(symbol="X", side=1, quantity=quantity, arrival_price=10.0)


@given(st.integers(0, MAX_SHARES), WEIGHTS)
def test_pieces_are_whole_never_negative_and_sum_to_the_quantity(quantity, weights):
    pieces = whole_shares(quantity, weights)
    assert sum(pieces) == quantity
    assert min(pieces) >= 0
    assert all(type(piece) is int for piece in pieces)
    exact = quantity * (np.array(weights) / np.sum(weights))
    assert np.abs(np.array(pieces) - exact).max() <= 1.0 + 1e-9 * quantity


@given(st.integers(1, 10**9), WEIGHTS, FACTORS, SEEDS, st.floats(0.0, 1e9), st.floats(1.0, 1e5))
def test_hiding_conserves_the_quantity_and_keeps_the_deadline(quantity, weights, factor, seed, start, span):
    rng = np.random.default_rng(seed)
    children = cut(_parent(quantity), quantity, start, start + span, np.array(weights), factor=factor, rng=rng)
    assert sum(child.quantity for child in children) == quantity
    assert all(child.quantity > 0 for child in children)
    times = [child.schedule_time for child in children]
    assert times == sorted(times)
    assert start <= times[0]
    assert times[-1] < start + span


@given(st.integers(1, 60), FACTORS, SEEDS)
def test_times_change_by_at_most_30_percent_of_the_interval(count, factor, seed):
    times = np.arange(count) + 0.5
    moved = jittered_times(times, 1.0, factor, np.random.default_rng(seed)) - times
    assert np.abs(moved).max() <= TIME_JITTER * factor + 1e-12


@given(WEIGHTS, FACTORS, SEEDS)
def test_sizes_change_by_at_most_20_percent_and_their_sum_is_unchanged(weights, factor, seed):
    weights = np.array(weights)
    changed = np.array(jittered_weights(weights, factor, np.random.default_rng(seed)))
    assert changed.sum() == pytest.approx(weights.sum())
    assert (np.abs(changed - weights) <= SIZE_JITTER * factor * weights + 1e-9 * weights.sum()).all()


def test_jitter_is_centred():
    rng, weights, times = np.random.default_rng(5), np.array([1.0, 2.0, 3.0, 4.0]), np.arange(4) + 0.5
    draws = 20_000
    sizes = np.array([jittered_weights(weights, 1.0, rng) for _ in range(draws)]) / weights - 1.0
    moves = np.array([jittered_times(times, 1.0, 1.0, rng) for _ in range(draws)]) - times
    for values in (sizes, moves):
        assert np.abs(values.mean(axis=0) / (values.std(axis=0) / np.sqrt(draws))).max() < 4.0
        assert values.std(axis=0).min() > 0.05  # the jitter is not degenerate


def test_jitter_uses_its_whole_range():
    rng, times = np.random.default_rng(6), np.arange(20_000) + 0.5
    moves = np.abs(jittered_times(times, 1.0, 1.0, rng) - times)
    assert 0.2999 < moves.max() <= 0.3
    sizes = [np.abs(np.array(jittered_weights(np.ones(4), 0.5, rng)) - 1.0).max() for _ in range(5000)]
    assert 0.0999 < max(sizes) <= 0.1 + 1e-12


def test_no_jitter_without_a_factor():
    plain = cut(_parent(1000), 1000, 0.0, 300.0, np.ones(10))
    assert [child.quantity for child in plain] == [100] * 10
    assert [child.schedule_time for child in plain] == [15.0 + 30.0 * j for j in range(10)]
    assert plain == cut(plain[0].parent, 1000, 0.0, 300.0, np.ones(10), factor=0.0, rng=np.random.default_rng(1))


def test_hiding_is_reproducible_from_its_generator():
    parent = _parent(1000)
    same, again, other = (
        cut(parent, 1000, 0.0, 300.0, np.ones(10), factor=0.5, rng=np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    assert same == again
    assert same != other


def test_cut_skips_intervals_without_shares():
    children = cut(_parent(3), 3, 0.0, 100.0, np.ones(10))
    assert [child.quantity for child in children] == [1, 1, 1]
    assert [child.number for child in children] == [0, 1, 2]


def test_jitter_of_children_uses_its_whole_range_and_is_centred():
    parent, rng = _parent(10_000), np.random.default_rng(9)
    orders = [cut(parent, 10_000, 0.0, 10.0, np.ones(10), factor=1.0, rng=rng) for _ in range(2000)]
    moves = np.array([[child.schedule_time for child in children] for children in orders]) - (np.arange(10) + 0.5)
    sizes = np.array([[child.quantity for child in children] for children in orders]) / 1000.0 - 1.0
    assert 0.299 < np.abs(moves).max() <= 0.3
    assert 0.19 < np.abs(sizes).max() <= 0.201
    multipliers = np.array([jitter(1.0, rng) for _ in range(20_000)])
    assert 0.2 >= np.abs(multipliers - 1.0).max() > 0.1999
    assert multipliers.mean() == pytest.approx(1.0, abs=4.0 * 0.2 / np.sqrt(3.0 * 20_000))


def test_the_phase_is_the_position_of_a_child_within_its_interval():
    for phase in [0.0, 0.2, 0.5]:
        children = cut(_parent(100), 100, 20.0, 30.0, np.ones(5), phase=phase)
        assert [child.schedule_time for child in children] == pytest.approx([20.0 + 2.0 * (j + phase) for j in range(5)])


def test_negative_weights_are_refused():
    for weights in [[2.0, -1.0], [-1.0, 2.0, 3.0]]:
        with pytest.raises(ValueError, match="weights must be non-negative"):
            whole_shares(10, weights)


def test_weights_without_a_positive_finite_sum_are_refused():
    for weights in [[], [0.0, 0.0], [np.nan], [np.inf, 1.0], [0.0, 1e-300]]:
        with pytest.raises(ValueError, match="weights must sum to a positive number"):
            whole_shares(10, weights)


def test_jitter_needs_a_generator():
    with pytest.raises(ValueError, match=r"rng must be a generator where the hiding factor is positive \(0.5\), got None"):
        cut(_parent(10), 10, 0.0, 1.0, np.ones(2), factor=0.5)
