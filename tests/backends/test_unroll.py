"""Straight-line functions compute what the functions that they are written from compute, to the last bit."""

from __future__ import annotations

import dis
from typing import Any, NamedTuple

import numpy as np
import pytest

from hyperexec_env.backends.unroll import NUMBER, opaque, unrolled
from hyperexec_env.market import basket, kernel, venue
from hyperexec_env.market.kernel import Impact, Slice
from hyperexec_env.market.numeric import between, exponential, maximum, minimum, power, where
from hyperexec_env.market.several import each, fold, joined, others
from hyperexec_env.records import on_numbers

pytestmark = pytest.mark.fast


class Pair(NamedTuple):
    """A record of two numbers."""

    a: Any
    b: Any


def flat(value):
    """Return the numbers of nested tuples and lists."""
    return [number for part in value for number in flat(part)] if isinstance(value, (tuple, list)) else [value]


def a_power(base, exponent, cap):
    """A function with a helper whose form has several statements and returns."""
    return power(maximum(base, 0.0), exponent), between(base, -1.0, cap, 2.0), where(base > cap, exponential(base), -base)


@pytest.mark.parametrize("exponent", [0.5, 1.5, 2.0, 0.6, 1.0])
def test_helpers_give_the_numbers_of_their_forms(exponent):
    ours, theirs = unrolled(a_power, NUMBER, exponent, NUMBER), on_numbers(a_power)
    for base in (-3.0, 0.0, 0.25, 1.75, 7.0):
        assert ours(base, 1.5) == theirs(base, exponent, 1.5)


def test_an_exponent_may_be_a_number_of_the_call():
    ours = unrolled(a_power, NUMBER, NUMBER, 1.0)
    assert [ours(3.0, e)[0] for e in (0.5, 1.5, 2.0, 0.6)] == [3.0**0.5, 3.0 * 3.0**0.5, 9.0, 3.0**0.6]


def several(values, pair):
    """A function of several numbers and of a record."""
    sums = others(each(minimum, values, pair.a))
    return Pair(fold(minimum, joined(sums, (pair.b,))), sums[0] + 0.0 * values[1]), 3.0


def test_loops_over_several_numbers_and_records_vanish():
    ours = unrolled(several, [NUMBER] * 4, Pair(NUMBER, NUMBER))
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=4).tolist()
        assert flat(ours(values, (0.3, -0.2))) == flat(several(values, Pair(0.3, -0.2)))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_step_of_venues_is_the_step_to_the_last_bit(count):
    impact, rng = Impact(4e-6, 2e-6, 0.6), np.random.default_rng(count)
    row = [NUMBER] * len(Slice._fields)
    ours = unrolled(venue.venue_move, impact, (NUMBER,) * 3, [row] * count, [NUMBER] * count, [NUMBER] * count)
    for _ in range(20):
        state, rows = [1e5, *rng.uniform(0.0, 1.0, 2)], rng.uniform(0.0, 1e5, (count, len(row))).tolist()
        asked, adverse = rng.uniform(-1e3, 1e5, count).tolist(), rng.uniform(0.0, 0.01, count).tolist()
        assert flat(ours(state, rows, asked, adverse)) == flat(venue.venue_move(impact, state, rows, asked, adverse))


def test_a_step_of_an_asset_is_the_kernel_to_the_last_bit():
    impact = Impact(4e-6, 2e-6, 0.6)
    ours = unrolled(basket.moved_by_others, impact, (NUMBER,) * 3, [NUMBER] * 10, *[NUMBER] * 5)
    alone = unrolled(kernel.move, impact, (NUMBER,) * 3, [NUMBER] * 10, NUMBER)
    row = [2e4, 0.0, np.inf, 0.3, 0.01, 0.7, 0.0, 0.02, 1e-9, 0.0]
    assert alone((1e4, 0.1, 0.2), row, 3e3) == kernel.move(impact, (1e4, 0.1, 0.2), row, 3e3)
    assert ours((1e4, 0.1, 0.2), row, 3e3, 0.0, 0.0, 0.0, 0.0) == alone((1e4, 0.1, 0.2), row, 3e3)


def branch(value):
    """A function whose text depends on a number."""
    return value if value > 0.0 else -value


def test_a_branch_on_a_number_is_refused():
    with pytest.raises(TypeError, match="must be written with `where`"):
        unrolled(branch, NUMBER)


@pytest.mark.parametrize("joins", [True, False])
def test_calls_that_do_not_need_one_another_are_one_call(joins):
    lengths = []

    def called(factors):
        def function(values):
            lengths.append(len(values))
            return [factor * value for factor, value in zip(factors, values, strict=True)]

        function.factors = factors
        return function

    def join(several):
        return called([factor for each in several for factor in each.factors])

    first, second, third = (opaque(called([factor, 0.5]), 2, join if joins else None) for factor in (2.0, 3.0, 5.0))

    def chain(values):
        (a, b), (c, _) = first(values), second(values[::-1])
        return third([a + c, b])[0] - b

    assert unrolled(chain, [NUMBER] * 2)([0.1, 0.7]) == 5.0 * (2.0 * 0.1 + 3.0 * 0.7) - 0.5 * 0.7
    assert lengths == ([4, 2] if joins else [2, 2, 2])


def twice(left, right):
    """A function that computes a product and a minimum twice."""
    return minimum(left * right, 1.0) + left * right, minimum(left * right, 1.0) - 0.0, right * left - -0.0


def test_an_operation_on_the_same_numbers_is_computed_once():
    ours = unrolled(twice, NUMBER, NUMBER)
    assert [ours(left, 0.5) for left in (0.3, 7.0)] == [twice(left, 0.5) for left in (0.3, 7.0)]
    products = [line for line in dis.Bytecode(ours) if line.opname == "BINARY_OP" and line.argrepr == "*"]
    assert len(products) == 2  # left * right and right * left


def test_names_are_used_again_once_their_numbers_are_not_needed():
    def chain(value, other):
        for _ in range(40):
            value, other = value * 0.5 - other, other + value * value * 0.1
        return value, other

    ours = unrolled(chain, NUMBER, NUMBER)
    assert ours(0.1, 0.2) == chain(0.1, 0.2)
    assert ours.__code__.co_nlocals < 10
