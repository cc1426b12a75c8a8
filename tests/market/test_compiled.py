"""Compiled functions of the market: the noise and the helpers of the kernel, read by the compiler, return the same bits.

That compiled lanes and rollouts are those of numpy is tested where they are used.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

from hyperexec_env.backends.compiled import compiler
from hyperexec_env.market import noise, numeric, path

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")


def compiled(function, *called):
    """A function as a loop, with the functions that it calls."""
    import numba

    for one in called:
        compiler().register(one)
    return numba.njit(error_model="numpy")(function)


def bits(values):
    return np.asarray(values).view(f"u{np.asarray(values).itemsize}")


def unmixed(words):
    """The words that `mix` turns into these: its steps backwards, each of which is a bijection."""
    words = words.copy()
    for shift, factor in zip(noise._SHIFTS[::-1], (None, noise._SECOND, noise._FIRST), strict=True):
        if factor is not None:
            words *= np.uint64(pow(int(factor), -1, 2**64))
        shifted = words >> shift
        while shifted.any():
            words ^= shifted
            shifted >>= np.uint64(shift)
    return words


mix, normal_pair, polar, exponential = noise.mix, noise.normal_pair, noise.polar, noise.exponential
volume_factor = path.volume_factor
minimum, maximum, between, signed, power = (
    *(numeric.minimum, numeric.maximum, numeric.between),
    *(numeric.signed, numeric.power),
)


def draw_all(drawn, deviation, out):
    for j in range(len(drawn)):
        word = mix(drawn[j])
        out[0, j], out[1, j] = normal_pair(word)
        out[2, j], out[3, j] = polar(word)
        out[4, j] = volume_factor(out[0, j], deviation)
        out[5, j] = exponential(np.float32(12.0) * out[1, j])


def test_compiled_noise_equals_numpy_to_the_last_bit():
    rng = np.random.default_rng(5)
    ends = np.array([0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**32, 2**64 - 1], np.uint64)
    wanted = np.concatenate([ends, rng.integers(0, 2**64, 20_000, np.uint64)])
    drawn = unmixed(wanted)
    words, deviation = noise.mix(drawn.copy()), np.float32(0.8)
    assert np.array_equal(words, wanted)
    found = np.empty((6, len(drawn)), np.float32)
    compiled(draw_all, mix, normal_pair, polar, exponential, volume_factor)(drawn, deviation, found)
    flow, news = noise.normal_pair(words)
    factor = path.volume_factor(flow, deviation)
    expected = np.stack([flow, news, *noise.polar(words), factor, noise.exponential(np.float32(12.0) * news)])
    assert np.array_equal(bits(found), bits(expected))


def help_all(a, b, c, d, out):
    for j in range(len(a)):
        out[0, j] = minimum(a[j], b[j])
        out[1, j] = maximum(a[j], b[j])
        out[2, j] = between(a[j], b[j], c[j], d[j])
        out[3, j] = signed(b[j], a[j])
        for row in range(4):
            out[4 + row, j] = power(abs(a[j]), 0.5 + 0.5 * row)


def test_compiled_helpers_equal_floats_to_the_last_bit():
    grid = np.array(list(product([-3.5, -0.0, 0.0, 1e-300, 0.3, 2.0, 7.0, math.inf], repeat=4)))
    found = np.empty((8, len(grid)))
    compiled(help_all, minimum, maximum, between, signed, power)(*np.ascontiguousarray(grid.T), found)
    expected = [
        [
            numeric.minimum(a, b),
            numeric.maximum(a, b),
            numeric.between(a, b, c, d),
            numeric.signed(b, a),
            *(numeric.power(abs(a), 0.5 + 0.5 * row) for row in range(4)),
        ]
        for a, b, c, d in grid.tolist()
    ]
    assert np.array_equal(bits(found), bits(np.array(expected).T.copy()))
