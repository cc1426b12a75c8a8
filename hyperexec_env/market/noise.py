"""Counter-based noise: a draw is a hash of (seed, episode, stream, slice) and of nothing else.

Each pair (seed, episode) is hashed to a key; the draws of the episode are the SplitMix64 sequence that starts there
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), addressed by its counter instead
of being stepped. So a draw does not depend on the batch, on the order of the calls or on what the policy does: policies
are paired by construction, and an episode can be replayed alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ORDER", "PRICE", "REGIME", "STREAMS", "VOLUME", "episode_keys", "mix", "normal_pair", "upper_bits", "words"]

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

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))
_ANGLE_MASK: Final = np.uint64(0xFFFFFF)
_RADIUS_SHIFT: Final = np.uint64(24)
_RADIUS_UNIT: Final = 2.0**-40
_ANGLE_UNIT: Final = np.float32(2.0 * np.pi * 2.0**-24)
_UPPER: Final = np.uint64(32)


def mix(words: Words) -> Words:
    """Scramble 64-bit words, in place: the output function of SplitMix64. A bijection."""
    words ^= words >> _SHIFTS[0]
    words *= _FIRST
    words ^= words >> _SHIFTS[1]
    words *= _SECOND
    words ^= words >> _SHIFTS[2]
    return words


def episode_keys(seed: int, episodes: Any) -> Words:
    """Return one 64-bit key for each episode number (any shape) of a seed (0 is a seed like any other)."""
    root = mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64) + _GAMMA)
    numbers = np.atleast_1d(np.asarray(episodes)).astype(np.uint64)
    return mix(root ^ mix(numbers + _GAMMA))


def words(keys: Words, stream: Any, slice: Any) -> Words:
    """Return the random word of each key for a stream and a slice (arrays that broadcast with the keys)."""
    counter = np.asarray(slice * STREAMS + stream + 1, dtype=np.uint64)
    return mix(counter * _GAMMA + keys)


def upper_bits(word: Words) -> Words:
    """Return the upper 32 bits as an integer: discrete draws are decided on integers."""
    return word >> _UPPER


def normal_pair(word: Words) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two independent standard normals from one word each (Box and Muller 1958).

    The radius takes 40 bits (so \\|z\\| <= 7.45), the angle 24 bits in single precision, which numpy computes in SIMD.
    """
    radius = np.sqrt(-2.0 * np.log(((word >> _RADIUS_SHIFT) + np.uint64(1)) * _RADIUS_UNIT))
    angle = (word & _ANGLE_MASK).astype(np.float32) * _ANGLE_UNIT
    return radius * np.cos(angle), radius * np.sin(angle)
