"""Counter-based noise: a draw is a hash of (seed, episode, stream, slice) only.

Each pair (seed, episode) is hashed to a key. The draws of the episode are elements of the SplitMix64 sequence that starts at
the key (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), read by index instead of
stepped. A draw does not depend on the batch, on the order of calls or on the policy: all policies meet the same noise
(common random numbers), and an episode can be replayed alone.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.records import for_numbers

__all__ = [
    "BOARD",
    "LOWER",
    "MOVE",
    "ONE",
    "ORDER",
    "OUTFLOW",
    "PRICE",
    "REGIME",
    "STREAMS",
    "UPPER",
    "VOLUME",
    "as_words",
    "chord",
    "counter",
    "episode_keys",
    "exponential",
    "halves",
    "key",
    "logarithm",
    "mix",
    "normal",
    "normal_pair",
    "normals",
    "octave",
    "offset",
    "polar",
    "polynomial",
    "power_of_two",
    "root",
    "sagitta",
    "seed_words",
    "slice_key",
    "upper_bits",
    "word",
    "words",
]

Words = NDArray[np.uint64]

REGIME: Final = 0
"""Stream of the regime of a slice."""
PRICE: Final = 1
"""Stream of order flow and news."""
VOLUME: Final = 2
"""Stream of the volume shock."""
ORDER: Final = 3
"""Stream of the draws made once per episode: order flow and volume before the first slice, side, quantity, volume level and
draw of the posterior."""
STREAMS: Final = 4
"""Number of streams, which is the number of words of a slice."""
OUTFLOW: Final = REGIME
"""Stream of the outflow of a queue. A market at the touch has neither regimes nor volumes and draws from their words."""
MOVE: Final = VOLUME
"""Stream of the moves of the touch."""

ONE: Final = np.uint64(1)
BOARD: Final = np.uint64(2**63)
"""Added to the word of a seed for the episodes of boards, see :func:`seed_words`."""
_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_STRIDE: Final = np.uint64((STREAMS * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))
UPPER: Final = np.uint64(32)
"""Right shift that leaves the upper 32 bits of a word."""
LOWER: Final = np.uint64(0xFFFFFFFF)
"""Mask that leaves the lower 32 bits of a word."""
_UPPER_HALF: Final = 1 if sys.byteorder == "little" else 0
_ROOT_HALF: Final = np.int32(0x3F3504F3)
"""Bits of sqrt(1/2) in single precision."""
_FRACTION_BITS: Final = np.int32(23)
_FRACTION: Final = np.int32(0x7FFFFF)
_UNIT: Final = np.float32(2.0**-32)
_HALF: Final = np.float32(0.5)
_ONE: Final = np.float32(1.0)
_MINUS_HALF: Final = np.float32(-0.5)
_PER_OCTAVE: Final = np.float32(-2.0 * math.log(2.0))
# minimax polynomials: coefficients, highest power first
_LOGARITHM: Final = tuple(map(np.float32, (-0.8259003913035537, -1.3330452858686865, -4.000000471713916)))
"""-2 ln((1 + x) / (1 - x)) / x in powers of x^2, for abs(x) up to 3 - sqrt(8)."""
_CHORD: Final = tuple(
    map(np.float32, (0.10982204433919414, -0.8461104138748002, 3.6063540251301247, -7.308245676836437, 4.442882919048678))
)
"""sqrt(2) sin(pi f) / f in powers of f^2, for abs(f) up to 1/2."""
_SAGITTA: Final = tuple(
    map(np.float32, (0.31067786283529075, -1.8835528214742334, 5.7394595819777825, -6.978850908781727, 1.414213495943966))
)
"""sqrt(2) cos(pi f) in powers of f^2, for abs(f) up to 1/2."""


_LOG2_E: Final = np.float32(1.0 / math.log(2.0))
_ROUND: Final = np.float32(1.5 * 2.0**23)
"""Adding and subtracting it rounds a single-precision number to the nearest whole number."""
_EXPONENT_OF_ONE: Final = np.int32(127)
_POWER: Final = tuple(
    map(
        np.float32,
        (
            *(0.0001546144469856913, 0.0013400428177615838, 0.009618056678524637, 0.05550327226670302),
            *(0.24022650922288757, 0.6931472067028326, 1.0),
        ),
    )
)
"""2^f in powers of f, for abs(f) up to 1/2."""


def mix(words: Words) -> Words:
    """Return 64-bit words scrambled by the output function of SplitMix64, a bijection. Arrays are overwritten."""
    words ^= words >> _SHIFTS[0]
    words *= _FIRST
    words ^= words >> _SHIFTS[1]
    words *= _SECOND
    words ^= words >> _SHIFTS[2]
    return words


def as_words(numbers: Any) -> Words:
    """Return integers of any size, modulo 2^64, as an array of words of at least one dimension."""
    if isinstance(numbers, np.ndarray) and numbers.dtype.kind in "iu":
        return np.atleast_1d(numbers).astype(np.uint64)
    return np.array(
        [int(number) & 0xFFFFFFFFFFFFFFFF for number in np.atleast_1d(np.asarray(numbers, dtype=object))], np.uint64
    )


def seed_words(seeds: Any, board: bool = False) -> Words:
    """Return the words of seeds: the seeds modulo 2^63, plus :data:`BOARD` for the episodes on which boards judge.

    The words of boards differ from the words of all seeds that an environment or a training draws from, so no such seed has
    an episode of a board.
    """
    words: Words = as_words(seeds) % BOARD
    return words + BOARD if board else words


def episode_keys(seeds: Any, episodes: Any, board: bool = False) -> Words:
    """Return the 64-bit key of each pair of seed and episode number, shape (episodes,).

    The keys of a seed are the SplitMix64 sequence that starts at the hash of the seed, so seed and episode are not
    interchangeable. Seeds are taken modulo 2^63; 0 is a valid seed. A single seed or episode is broadcast.

    Args:
        seeds: Seeds.
        episodes: Episode numbers.
        board: Whether the episodes are those of a board, which has its own stream (:func:`seed_words`).
    """
    keys: Words = key(seed_words(seeds, board), as_words(episodes))
    return keys


def key(seed: Any, episode: Any) -> Any:
    """Return the key of a seed and an episode, both 64-bit words or arrays of words; see :func:`episode_keys`."""
    return mix(mix(seed + _GAMMA) + (episode + ONE) * _GAMMA)


@for_numbers(lambda k: np.uint64(k))
def counter(k: Any) -> Any:
    """Return slice numbers as an array of 64-bit words, whose arithmetic wraps around."""
    return np.asarray(k, dtype=np.uint64)


def slice_key(key: Any, k: Any) -> Any:
    """Return the key of slice `k`, given the key of the episode; the key of slice 0 is the key of the episode."""
    return key + counter(k) * _STRIDE


def word(key: Any, offset: Any) -> Any:
    """Return the random word of a stream, given the key of a slice and the :func:`offset` of the stream."""
    return mix(key + offset)


def offset(stream: int) -> np.uint64:
    """Return the offset of a stream within the words of a slice, for :func:`word`; `stream + STREAMS` is in the next slice."""
    return np.uint64(((stream + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)


def words(keys: Words, streams: tuple[int, ...], slice: Any) -> Words:
    """Return the random word of each stream for each key, shape (streams, episodes).

    `slice` is a number, an array of shape (episodes,), or a column of shape (slices, 1), which gives the shape (streams,
    slices, episodes). `stream + STREAMS` is a stream of the *next* slice.
    """
    return mix(np.add.outer(_offsets(streams), keys + np.asarray(slice, dtype=np.uint64) * _STRIDE))


@cache
def _offsets(streams: tuple[int, ...]) -> Words:
    """Return the :func:`offset` of each stream, shape (streams,)."""
    return np.array([stream + 1 for stream in streams], dtype=np.uint64) * _GAMMA


def upper_bits(word: Words) -> Words:
    """Return the upper 32 bits of words as integers; discrete draws compare integers."""
    return word >> UPPER


def _halves(word: Any) -> Any:
    upper, lower = np.uint32(word >> UPPER), np.uint32(word & LOWER)
    return np.float32(upper), np.float32(np.int32(lower))


@for_numbers(_halves)
def halves(word: Any) -> tuple[Any, Any]:
    """Return the upper 32 bits of words, read as unsigned integers, and the lower 32, read as signed, in single precision."""
    parts = word.view(np.uint32).reshape(*word.shape, 2)
    return parts[..., _UPPER_HALF].astype(np.float32), parts[..., 1 - _UPPER_HALF].view(np.int32).astype(np.float32)


def _octave(number: Any) -> Any:
    bits = np.int32(np.float32(number).view(np.int32) - _ROOT_HALF)
    power = np.float32(np.int32(bits >> _FRACTION_BITS))
    return power, np.int32((bits & _FRACTION) + _ROOT_HALF).view(np.float32)


@for_numbers(_octave)
def octave(number: Any) -> tuple[Any, Any]:
    """Return p and m, with m in [sqrt(1/2), sqrt(2)), for positive single-precision numbers m 2^p."""
    bits = number.view(np.int32) - _ROOT_HALF
    power = (bits >> _FRACTION_BITS).astype(np.float32)
    bits &= _FRACTION
    bits += _ROOT_HALF
    return power, bits.view(np.float32)


@for_numbers(lambda number: np.sqrt(number))
def root(number: Any) -> Any:
    """Return the square root. Arrays are overwritten."""
    return np.sqrt(number, out=number)


def polar(word: Any) -> tuple[Any, Any]:
    """Return a radius r and an angle f, in turns, for each word: r cos 2 pi f and r sin 2 pi f are independent normals.

    The method is that of Box and Muller (1958). The radius sqrt(-2 ln u), at most 6.77, and the angle, within 1/2, use 32
    bits each and are in single precision. This function and those below use only arithmetic that IEEE 754 rounds equally on
    every machine; logarithms and sines of libraries differ in their last bits.
    """
    return _polar(*halves(word))


def _polar(uniform: Any, fraction: Any) -> tuple[Any, Any]:
    """Return :func:`polar` of words given as :func:`halves`. Arrays are overwritten."""
    uniform += _HALF
    uniform *= _UNIT
    fraction *= _UNIT
    return root(_minus_two_logs(uniform)), fraction


def _minus_two_logs(number: Any) -> Any:
    """Return -2 ln x of positive numbers, in single precision."""
    power, rest = octave(number)
    power *= _PER_OCTAVE
    ratio = rest - _ONE
    rest += _ONE
    ratio /= rest
    total = polynomial(_LOGARITHM, ratio * ratio)
    total *= ratio
    total += power
    return total


def polynomial(coefficients: tuple[Any, ...], value: Any) -> Any:
    """Return the value of a polynomial of degree one or more by Horner's rule; coefficients are highest power first."""
    total = value * coefficients[0]
    for coefficient in coefficients[1:-1]:
        total += coefficient
        total *= value
    total += coefficients[-1]
    return total


def chord(fraction: Any) -> Any:
    """Return s = sqrt(2) sin(pi f), for which cos 2 pi f = 1 - s^2."""
    return polynomial(_CHORD, fraction * fraction) * fraction


def sagitta(fraction: Any) -> Any:
    """Return c = sqrt(2) cos(pi f), for which sin 2 pi f = s c with s from :func:`chord`."""
    return polynomial(_SAGITTA, fraction * fraction)


@for_numbers(lambda whole: np.int32((np.int32(whole) + _EXPONENT_OF_ONE) << _FRACTION_BITS).view(np.float32))
def power_of_two(whole: Any) -> Any:
    """Return 2^k in single precision for whole numbers k, abs(k) up to 126."""
    bits = whole.astype(np.int32)
    bits += _EXPONENT_OF_ONE
    bits <<= _FRACTION_BITS
    return bits.view(np.float32)


def logarithm(number: Any) -> Any:
    """Return ln x of positive numbers, in single precision."""
    return _minus_two_logs(number) * _MINUS_HALF


def exponential(number: Any) -> Any:
    """Return e^x in single precision, for abs(x) up to 80."""
    rest = number * _LOG2_E
    whole = rest + _ROUND
    whole -= _ROUND
    rest -= whole
    return polynomial(_POWER, rest) * power_of_two(whole)


def normal_pair(word: Any) -> tuple[Any, Any]:
    """Return two independent standard normals for each word, in single precision, at most 6.77 in absolute value."""
    radius, fraction = polar(word)
    return _pair(radius, fraction)


def normals(upper: Any, lower: Any) -> tuple[Any, Any]:
    """Return :func:`normal_pair` of words given as two 32-bit integers each, of which compiled loops draw eight at a time."""
    radius, fraction = _polar(np.float32(upper), np.float32(np.int32(lower)))
    return _pair(radius, fraction)


def normal(upper: Any, lower: Any) -> Any:
    """Return the first normal of :func:`normals`."""
    radius, fraction = _polar(np.float32(upper), np.float32(np.int32(lower)))
    sine = chord(fraction)
    return radius - radius * sine * sine


def _pair(radius: Any, fraction: Any) -> tuple[Any, Any]:
    """Return r cos 2 pi f and r sin 2 pi f of a radius and an angle in turns."""
    sine = chord(fraction)
    leg = radius * sine
    return radius - leg * sine, leg * sagitta(fraction)
