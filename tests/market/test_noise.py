"""The counter-based noise: the published generator, as random as it claims, and the same however it is asked for.

Seeds are fixed, so no test here can fail by chance; the thresholds are those of an honest test all the same: `surprising` is a
z-score that the largest of so many independent ones exceeds once in a thousand runs.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hyperexec_env.market import noise
from hyperexec_env.market.noise import (
    BOARD,
    as_words,
    chord,
    episode_keys,
    exponential,
    mix,
    normal_pair,
    polar,
    sagitta,
    seed_words,
    upper_bits,
    words,
)
from hyperexec_env.market.path import volume_factor
from hyperexec_env.market.scenario import Scenario

pytestmark = pytest.mark.fast

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
MODULUS = 2**64
SEEDS = 2**63
ALL_STREAMS = tuple(range(noise.STREAMS))

REFERENCE = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)
"""First outputs of SplitMix64 from the seed 1234567, as published with the reference implementation."""


def surprising(tests):
    return -NormalDist().inv_cdf(0.001 / (2 * tests))


def normals(seeds, episodes, stream=noise.PRICE, slice=0):
    return normal_pair(words(episode_keys(seeds, episodes), (stream,), slice)[0])[0]


# --- the generator


def test_mix_is_the_output_function_of_splitmix64():
    counters = np.array([(1234567 + (i + 1) * GOLDEN_GAMMA) % MODULUS for i in range(5)], np.uint64)
    assert mix(counters).tolist() == list(REFERENCE)


def test_the_draws_of_an_episode_are_the_splitmix64_sequence_of_its_key():
    key = np.array([1234567], np.uint64)
    drawn = np.concatenate([words(key, ALL_STREAMS, k)[:, 0] for k in range(2)])
    assert drawn[:5].tolist() == list(REFERENCE)


def test_a_stream_of_the_next_slice_is_the_stream_plus_the_number_of_streams():
    keys = episode_keys(3, np.arange(50))
    ahead = words(keys, tuple(stream + noise.STREAMS for stream in ALL_STREAMS), 7)
    assert np.array_equal(ahead, words(keys, ALL_STREAMS, 8))


def test_each_episode_may_stand_at_a_slice_of_its_own():
    keys, slices = episode_keys(3, np.arange(50)), np.arange(50) % 7
    together = words(keys, ALL_STREAMS, slices)
    for i, k in enumerate(slices.tolist()):
        assert np.array_equal(together[:, i : i + 1], words(keys[i : i + 1], ALL_STREAMS, k))


def test_many_slices_may_be_drawn_at_once():
    keys = episode_keys(3, np.arange(50))
    together = words(keys, ALL_STREAMS, np.arange(7)[:, None])
    assert together.shape == (noise.STREAMS, 7, 50)
    for k in range(7):
        assert np.array_equal(together[:, k], words(keys, ALL_STREAMS, k))


def test_drawing_leaves_the_keys_alone():
    keys = episode_keys(3, np.arange(50))
    kept = keys.copy()
    words(keys, ALL_STREAMS, 2)
    assert np.array_equal(keys, kept)


@given(st.lists(st.integers(0, MODULUS - 1), unique=True, min_size=2, max_size=50))
def test_mix_is_a_bijection(numbers):
    assert len(set(mix(np.array(numbers, np.uint64)).tolist())) == len(numbers)


# --- seeds and episodes


@given(st.integers(-(2**200), 2**200))
def test_any_whole_number_is_a_seed(seed):
    assert np.array_equal(episode_keys(seed, [0, 1]), episode_keys(seed % SEEDS, [0, 1]))


@given(st.integers(0, 2**200), st.integers(0, 2**32 - 1), st.integers(0, 10**6))
@example(seed=2**63 + 7, board=7, episode=0)
@example(seed=2**64 + 2**63, board=0, episode=3)
def test_no_seed_has_an_episode_of_a_board(seed, board, episode):
    """A board has words of its own, so that the hash of a seed and an episode is never that of a board and its episode."""
    assert seed_words(seed)[0] < BOARD <= seed_words(board, board=True)[0]
    assert episode_keys(seed, episode) != episode_keys(board, episode, board=True)


def test_boards_of_two_seeds_share_no_episode():
    seeds, episodes = np.meshgrid(np.arange(500), np.arange(1000))
    keys = np.concatenate([episode_keys(seeds.ravel(), episodes.ravel(), board) for board in (False, True)])
    assert len(np.unique(keys)) == keys.size


def test_zero_and_negative_seeds_are_seeds_like_any_other():
    seeds = [0, 1, -1, -2, 2**62, 2**64 - 3, 10**30]
    keys = episode_keys(seeds, np.zeros(len(seeds), dtype=np.int64))
    assert len(set(keys.tolist())) == len(seeds)
    assert 0 not in keys.tolist()


def test_seeds_mean_the_same_as_numbers_lists_and_arrays():
    expected = episode_keys(5, [0, 3]).tolist()
    for seed in (np.int64(5), np.array(5), np.array([5]), [5, 5], np.array([5, 5], np.int32), np.uint64(5)):
        for episodes in ([0, 3], np.array([0, 3]), np.array([0, 3], np.uint64)):
            assert episode_keys(seed, episodes).tolist() == expected
    assert as_words(np.array(7)).shape == as_words(7).shape == (1,)


def test_no_two_pairs_of_seed_and_episode_share_a_key():
    seeds, episodes = np.meshgrid(np.arange(-500, 500), np.arange(1000))
    keys = episode_keys(seeds.ravel(), episodes.ravel())
    assert len(np.unique(keys)) == keys.size


def test_no_distance_between_seeds_makes_their_episodes_overlap():
    """The keys of a seed are a sequence; that of another seed must not be a later part of it."""
    keys = episode_keys(5, np.arange(1000))
    for apart in (1, 2, GOLDEN_GAMMA, -GOLDEN_GAMMA, 3 * GOLDEN_GAMMA, 2**62, 2**32):
        assert not np.isin(episode_keys(5 + apart, np.arange(1000)), keys).any(), apart
    assert not np.isin(episode_keys(keys.tolist(), np.zeros(1000, int)), keys).any()


def test_seed_and_episode_cannot_be_exchanged():
    """Nobody may find the episodes of a test seed among those of the training seeds."""
    seeds, episodes = (grid.ravel() for grid in np.meshgrid(np.arange(300), np.arange(300)))
    one, other = normals(seeds, episodes), normals(episodes, seeds)
    apart = seeds < episodes
    assert abs(np.mean(one[apart] * other[apart])) * math.sqrt(apart.sum()) < surprising(1)
    same = seeds == episodes
    assert len(np.unique(one[same])) == same.sum()


def test_a_draw_is_the_same_in_any_batch_and_order():
    episodes = np.arange(10_000)
    batch = normals(7, episodes)
    assert np.array_equal(normals(7, episodes[::-1])[::-1], batch)
    for size in (1, 2, 3, 5, 8, 13, 31, 100):
        assert np.array_equal(normals(7, episodes[:size]), batch[:size])
    assert all(normals(7, [i])[0] == batch[i] for i in range(0, 10_000, 997))


# --- statistical quality


@pytest.mark.parametrize(("stream", "slice"), [*((stream, 25) for stream in ALL_STREAMS), (1, 0), (2, 400)])
def test_normals_have_the_moments_of_a_normal(stream, slice):
    count = 200_000
    pair = normal_pair(words(episode_keys(11, np.arange(count)), (stream,), slice)[0])
    # E z^2j is 1, 3, 15, 105: the variance of z^j follows
    for z in pair:
        for power, mean, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
            assert abs(np.mean(z**power) - mean) / math.sqrt(variance / count) < surprising(4 * 2 * 12)
    assert abs(np.mean(pair[0] * pair[1])) * math.sqrt(count) < surprising(12)
    assert abs(np.mean(pair[0] ** 2 * pair[1] ** 2) - 1.0) / math.sqrt(8.0 / count) < surprising(12)


@pytest.mark.parametrize("half", [0, 1])
def test_normals_are_close_to_the_normal_law_everywhere(half):
    """Kolmogorov and Smirnov: sqrt(n) times the distance exceeds 1.95 once in a thousand."""
    count = 200_000
    z = np.sort(normal_pair(words(episode_keys(12, np.arange(count)), (noise.PRICE,), 3)[0])[half])
    grid = np.linspace(-5.0, 5.0, 4001)
    law = np.array([NormalDist().cdf(point) for point in grid])
    distance = np.max(np.abs(np.searchsorted(z, grid, side="right") / count - law))
    assert math.sqrt(count) * distance < 1.95


def test_the_tails_reach_as_far_as_they_should():
    z = np.abs(normals(13, np.arange(2_000_000)))
    for bound in (3.0, 4.0, 4.5):
        expected = 2 * NormalDist().cdf(-bound) * z.size
        assert abs(np.sum(z > bound) - expected) < surprising(3) * math.sqrt(expected)
    assert z.max() < 6.77


def largest_correlation(columns):
    """Return the largest |z| among the correlations of all pairs of columns, and the number of pairs."""
    rows, count = columns.shape
    correlation = np.corrcoef(columns, rowvar=False)
    pairs = correlation[np.triu_indices(count, 1)]
    return np.max(np.abs(pairs)) * math.sqrt(rows), pairs.size


def test_neighbouring_seeds_are_uncorrelated():
    seeds, episodes = np.meshgrid(np.arange(200), np.arange(4000))
    largest, pairs = largest_correlation(normals(seeds.ravel(), episodes.ravel()).reshape(seeds.shape))
    assert largest < surprising(pairs)


def test_neighbouring_episodes_are_uncorrelated():
    seeds, episodes = np.meshgrid(np.arange(4000), np.arange(200))
    largest, pairs = largest_correlation(normals(seeds.ravel(), episodes.ravel()).reshape(seeds.shape).T)
    assert largest < surprising(pairs)


@pytest.mark.parametrize("power", [1, 2])
def test_streams_and_slices_are_uncorrelated(power):
    keys = episode_keys(14, np.arange(20_000))
    drawn = [
        values for k in range(26) for pair in (normal_pair(words(keys, ALL_STREAMS, k)),) for half in pair for values in half
    ]
    largest, pairs = largest_correlation(np.stack(drawn, axis=1) ** power)
    assert len(drawn) == 26 * 2 * noise.STREAMS
    assert largest < surprising(pairs)


def test_upper_bits_are_uniform():
    """Chi-square over 256 bins, normal for so many degrees of freedom, for each stream."""
    keys = episode_keys(15, np.arange(300_000))
    for drawn in words(keys, ALL_STREAMS, 9):
        for bins in (upper_bits(drawn) >> np.uint64(24), upper_bits(drawn) & np.uint64(255)):
            counts = np.bincount(bins.astype(np.int64), minlength=256)
            chi_square = np.sum((counts - keys.size / 256) ** 2) / (keys.size / 256)
            assert abs(chi_square - 255) / math.sqrt(2 * 255) < surprising(2 * noise.STREAMS)


def test_every_bit_of_a_key_is_fair_and_depends_on_every_bit_of_seed_and_episode():
    seeds = np.arange(2000, dtype=np.uint64)
    base = noise.key(seeds, seeds + np.uint64(9))
    for bit in range(0, 64, 3):
        flip = np.uint64(1 << bit)
        for flipped in (noise.key(seeds ^ flip, seeds + np.uint64(9)), noise.key(seeds, (seeds + np.uint64(9)) ^ flip)):
            changed = np.unpackbits((base ^ flipped).view(np.uint8)).reshape(len(seeds), 64)
            assert np.max(np.abs(changed.mean(axis=0) - 0.5)) * 2 * math.sqrt(len(seeds)) < surprising(64 * 2 * 22)


# --- plain arithmetic

UNIT = 2.0**-24
"""Unit of single precision: the largest relative error of one rounding."""
EXTREMES = np.array([0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**32, 2**64 - 1], np.uint64)


def all_sorts_of_words():
    """The ends, words near each power of two, where a logarithm is made anew, and random ones."""
    powers = np.array([2**power for power in range(64)], np.uint64)
    drawn = words(episode_keys(16, np.arange(500_000)), (noise.PRICE,), 0)[0]
    return np.concatenate([EXTREMES, powers, powers - np.uint64(1), ~powers, drawn])


def test_the_exponential_is_that_of_single_precision():
    """x / ln 2 is rounded once, by a unit of its size, and multiplied by a constant that is rounded too: the error grows with
    |x|, to 3.8e-6 at 80. Polynomial and its evaluation add four units at most.
    """
    constant = abs(float(noise._LOG2_E) * math.log(2.0) - 1.0)
    number = np.linspace(-80.0, 80.0, 1_000_001).astype(np.float32)
    exact = np.exp(number.astype(np.float64))
    error = np.abs(exponential(number) / exact - 1.0)
    assert constant < UNIT
    assert (error <= np.abs(number) * (UNIT + constant) + 4.0 * UNIT).all()
    assert error.max() < 4e-6
    assert exponential(np.zeros(1, np.float32)).tolist() == [1.0]


@pytest.mark.parametrize(("function", "exact"), [(chord, np.sin), (sagitta, np.cos)])
def test_chord_and_sagitta_are_sine_and_cosine_of_half_a_turn(function, exact):
    """To six units: two are the polynomial's, the others roundings of numbers of up to sqrt(2)."""
    fraction = np.linspace(-0.5, 0.5, 1_000_001).astype(np.float32)
    expected = math.sqrt(2.0) * exact(math.pi * fraction.astype(np.float64))
    assert np.abs(function(fraction) - expected).max() <= 6.0 * UNIT


def test_a_radius_is_that_of_box_and_muller():
    """sqrt(-2 ln u): to four units for the u that single precision holds, and for the true one as near as that can be."""
    drawn = all_sorts_of_words()
    upper = upper_bits(drawn)
    held = (upper.astype(np.float32) + np.float32(0.5)).astype(np.float64) * 2.0**-32
    radius, fraction = polar(drawn)
    squares = -2.0 * np.log(held)
    assert (np.abs(radius - np.sqrt(squares)) <= 4.0 * UNIT * np.sqrt(squares)).all()
    true = -2.0 * np.log((upper + 0.5) * 2.0**-32)
    assert (np.abs(radius.astype(np.float64) ** 2 - true) <= 4.0 * UNIT + 8.0 * UNIT * true).all()
    lower = (drawn & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32)
    assert (np.abs(fraction - lower * 2.0**-32) <= UNIT * np.abs(fraction)).all()


def test_the_extreme_words_are_the_farthest_and_the_nearest_normals():
    radius, fraction = polar(np.array([0, 2**64 - 1], np.uint64))
    assert radius[0] == pytest.approx(math.sqrt(66.0 * math.log(2.0)), rel=4.0 * UNIT)
    assert radius[1] == 0.0
    assert fraction.tolist() == [0.0, -(2.0**-32)]
    assert np.abs(polar(all_sorts_of_words())[0]).max() == radius[0] < 6.77
    assert np.isfinite(normal_pair(all_sorts_of_words())).all()


def test_normals_are_the_radius_in_the_direction_of_the_fraction():
    """To twenty-four units of the radius: an error of six units in the chord counts 2 sqrt(2) times in its square."""
    drawn = all_sorts_of_words()
    radius, fraction = (values.astype(np.float64) for values in polar(drawn))
    for found, exact in zip(normal_pair(drawn), (np.cos, np.sin), strict=True):
        assert (np.abs(found - radius * exact(2.0 * math.pi * fraction)) <= 24.0 * UNIT * radius).all()


@pytest.mark.parametrize("deviation", [0.1, 0.3, 0.8])
def test_the_volume_is_its_expectation_on_average(deviation):
    count = 1_000_000
    factor = volume_factor(normals(17, np.arange(count), noise.VOLUME), np.float32(deviation)).astype(np.float64)
    # a lognormal number of mean one has the variance exp(deviation^2) - 1
    assert abs(factor.mean() - 1.0) * math.sqrt(count / math.expm1(deviation**2)) < surprising(3 * 2)
    logarithm = np.log(factor)
    assert abs(logarithm.mean() + 0.5 * deviation**2) * math.sqrt(count) / deviation < surprising(3 * 2)


def test_the_largest_noise_of_the_volume_stays_within_reach_of_the_exponential():
    """To eighty units: numbers of up to 25 are rounded three times, and once more by the constant."""
    with pytest.raises(ValueError, match="volume_noise") as refused:
        Scenario(volume_noise=1e9)
    largest = 3.0
    assert f"[0, {largest:g}]" in str(refused.value)
    assert largest * (6.77 + 0.5 * largest) < 80.0
    factor = volume_factor(np.array([-6.77, 6.77], np.float32), np.float32(largest))
    assert factor == pytest.approx(np.exp(largest * np.array([-6.77, 6.77]) - 0.5 * largest**2), rel=80.0 * UNIT)


@pytest.mark.parametrize(
    "function",
    [
        lambda drawn: mix(drawn.copy()),
        normal_pair,
        polar,
        lambda drawn: chord(polar(drawn)[1]),
        lambda drawn: sagitta(polar(drawn)[1]),
        lambda drawn: exponential(np.float32(11.0) * normal_pair(drawn)[0]),
        lambda drawn: volume_factor(normal_pair(drawn)[1], np.float32(0.8)),
    ],
    ids=["mix", "normal_pair", "polar", "chord", "sagitta", "exponential", "volume_factor"],
)
def test_a_number_is_the_same_in_an_array_of_any_length_and_place(function):
    """However many numbers a processor works on at once, and wherever in memory they start."""
    drawn = np.concatenate([EXTREMES, words(episode_keys(18, np.arange(200)), (noise.PRICE,), 0)[0]])
    whole = np.atleast_2d(function(drawn))
    for first in range(17):
        for length in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 127):
            part = function(drawn[first : first + length])
            assert np.array_equal(np.atleast_2d(part), whole[:, first : first + length]), (first, length)
    table = function(drawn[:200].reshape(8, 25))
    assert np.array_equal(np.reshape(table, (-1, 200)), whole[:, :200])
    odd = np.frombuffer(b"\0" + drawn.tobytes(), np.uint8)[1:].view(np.uint64)
    assert not odd.flags.aligned
    assert np.array_equal(np.atleast_2d(function(odd)), whole)
