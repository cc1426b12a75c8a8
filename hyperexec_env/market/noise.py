"""Counter-based noise: a draw is a hash of (seed, episode, stream, slice) and of nothing else.

Each pair (seed, episode) is hashed to a key; the draws of the episode are the SplitMix64 sequence that starts there
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), addressed by its counter instead
of being stepped. So a draw does not depend on the batch, on the order of the calls or on what the policy does: policies
are paired by construction, and an episode can be replayed alone.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ORDER",
    "PRICE",
    "REGIME",
    "STREAMS",
    "VOLUME",
    "as_words",
    "episode_keys",
    "mix",
    "normal_pair",
    "polar",
    "upper_bits",
    "words",
]

Words = NDArray[np.uint64]

REGIME: Final = 0
"""Stream of the regime that holds in a slice."""
PRICE: Final = 1
"""Stream of the price innovation: order flow and news."""
VOLUME: Final = 2
"""Stream of the volume noise."""
ORDER: Final = 3
"""Stream of what is drawn once an episode: side, size and the flow before the first slice."""
STREAMS: Final = 4
"""Number of streams: the words of a slice."""

# numbers as arrays without dimension: numpy combines them with arrays in less time than it takes to look at a scalar
_GAMMA: Final = np.array(0x9E3779B97F4A7C15, np.uint64)
_STRIDE: Final = np.array((STREAMS * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF, np.uint64)
_FIRST: Final = np.array(0xBF58476D1CE4E5B9, np.uint64)
_SECOND: Final = np.array(0x94D049BB133111EB, np.uint64)
_SHIFTS: Final = (np.array(30, np.uint64), np.array(27, np.uint64), np.array(31, np.uint64))
_UPPER: Final = np.array(32, np.uint64)
_UPPER_HALF: Final = 1 if sys.byteorder == "little" else 0
_HALF: Final = np.array(0.5, np.float32)
_MINUS_TWO: Final = np.array(-2.0, np.float32)
_RADIUS_UNIT: Final = np.array(2.0**-32, np.float32)
_ANGLE_UNIT: Final = np.array(2.0 * np.pi * 2.0**-32, np.float32)


def mix(words: Words) -> Words:
    """Scramble 64-bit words, in place: the output function of SplitMix64. A bijection."""
    words ^= words >> _SHIFTS[0]
    words *= _FIRST
    words ^= words >> _SHIFTS[1]
    words *= _SECOND
    words ^= words >> _SHIFTS[2]
    return words


def as_words(numbers: Any) -> Words:
    """Return whole numbers (any size, taken modulo 2^64) as an array of words of at least one dimension."""
    if isinstance(numbers, np.ndarray) and numbers.dtype.kind in "iu":
        return np.atleast_1d(numbers).astype(np.uint64)
    return np.array(
        [int(number) & 0xFFFFFFFFFFFFFFFF for number in np.atleast_1d(np.asarray(numbers, dtype=object))], np.uint64
    )


def episode_keys(seeds: Any, episodes: Any) -> Words:
    """Return one 64-bit key for each pair of seed and episode number, shape (episodes,).

    The keys of a seed are the SplitMix64 sequence that starts at the hash of the seed, so seed and episode are not
    interchangeable. Seeds are taken modulo 2^64; 0 is a seed like any other. One seed may serve many episodes.
    """
    return mix(mix(as_words(seeds) + _GAMMA) + (as_words(episodes) + np.uint64(1)) * _GAMMA)


def words(keys: Words, streams: tuple[int, ...], slice: Any) -> Words:
    """Return the random word of each stream for each key, shape (streams, episodes).

    `slice` is one number or one for each key, or a column of numbers: then the shape is (streams, slices, episodes). A
    stream of the *next* slice is `stream + STREAMS`.
    """
    return mix(np.add.outer(_offsets(streams), keys + np.asarray(slice, dtype=np.uint64) * _STRIDE))


@cache
def _offsets(streams: tuple[int, ...]) -> Words:
    """Return where the streams start within the words of a slice, shape (streams,)."""
    return np.array([stream + 1 for stream in streams], dtype=np.uint64) * _GAMMA


def upper_bits(word: Words) -> Words:
    """Return the upper 32 bits as an integer: discrete draws are decided on integers."""
    return word >> _UPPER


def polar(word: Words) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a radius and an angle from each word: (r cos a, r sin a) are two independent standard normals.

    This is the method of Box and Muller (1958). Radius and angle take 32 bits each, in single precision, which numpy
    computes in SIMD; the radius is at most 6.77.
    """
    halves = word.view(np.uint32).reshape(*word.shape, 2)
    radius = halves[..., _UPPER_HALF].astype(np.float32)
    radius += _HALF
    radius *= _RADIUS_UNIT
    np.log(radius, out=radius)
    radius *= _MINUS_TWO
    angle = halves[..., 1 - _UPPER_HALF].astype(np.float32)
    angle *= _ANGLE_UNIT
    return np.sqrt(radius, out=radius), angle


def normal_pair(word: Words) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two independent standard normals from one word each, of size 6.77 at most."""
    radius, angle = polar(word)
    return (radius * np.cos(angle)).astype(np.float64), (radius * np.sin(angle)).astype(np.float64)
