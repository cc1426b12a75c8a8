"""Records of numbers: their fields are the only place where an order of numbers is stated."""

from __future__ import annotations

import copy
import pickle
from functools import reduce
from operator import add
from typing import Annotated, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.records import (
    Constant,
    Half,
    Real,
    Single,
    Whole,
    Word,
    adder,
    extended,
    fields_of,
    fill_record,
    filler,
    for_numbers,
    for_records,
    is_record,
    leaves,
    maker,
    map_leaves,
    numbered,
    numbers,
    on_numbers,
    plus,
    reached,
    record_type,
    replacer,
    scaled,
    sum_of,
)

pytestmark = pytest.mark.fast


class Inner(NamedTuple):
    one: Real
    two: Whole


class Outer(NamedTuple):
    first: Single
    inner: Inner
    word: Word
    half: Half
    fixed: Constant
    last: Any


class Pair(NamedTuple):
    one: Any
    two: Any


Limits: Any = numbered("Limits", 3, Whole)
Named: Any = record_type("Named", ("left", "right"), Single)
EXAMPLE = Outer(1.0, Inner(2.0, 3), 4, 5, 6, 7.0)


def test_a_record_type_and_its_values_are_records():
    assert is_record(Outer)
    assert is_record(EXAMPLE)
    assert not is_record((1.0, 2.0))
    assert not is_record(float)


def test_fields_state_records_and_machine_types():
    assert fields_of(Outer) == (
        ("first", "float32"),
        ("inner", Inner),
        ("word", "uint64"),
        ("half", "uint32"),
        ("fixed", "constant"),
        ("last", "float64"),
    )


def test_another_note_on_a_field_is_no_machine_type():
    class Noted(NamedTuple):
        one: Annotated[Any, 3.0]
        two: Annotated[Any, 3.0, "int64"]

    assert fields_of(Noted) == (("one", "float64"), ("two", "int64"))


def test_leaves_are_the_numbers_in_order_with_dotted_names():
    assert leaves(Outer) == (
        ("first", "float32"),
        ("inner.one", "float64"),
        ("inner.two", "int64"),
        ("word", "uint64"),
        ("half", "uint32"),
        ("fixed", "constant"),
        ("last", "float64"),
    )
    assert [path for path, _ in leaves(Limits)] == ["at_0", "at_1", "at_2"]
    assert leaves(Named) == (("left", "float32"), ("right", "float32"))


def test_numbers_and_fill_record_are_inverse():
    assert numbers(EXAMPLE) == [1.0, 2.0, 3, 4, 5, 6, 7.0]
    assert fill_record(Outer, iter(numbers(EXAMPLE))) == EXAMPLE
    assert len(leaves(Outer)) == len(numbers(EXAMPLE))


def test_map_leaves_keeps_the_form():
    assert map_leaves(lambda value: 2 * value, EXAMPLE) == Outer(2.0, Inner(4.0, 6), 8, 10, 12, 14.0)
    summed = map_leaves(lambda *values: sum(values), EXAMPLE, EXAMPLE, EXAMPLE)
    assert summed == map_leaves(lambda value: 3 * value, EXAMPLE)
    with pytest.raises(ValueError, match="zip"):
        map_leaves(lambda *values: sum(values), Limits(1, 2, 3), Pair(1.0, 2.0))


@pytest.mark.parametrize("value", [Limits(1, 2, 3), Named(1.0, 2.0)])
def test_records_that_are_made_can_be_pickled_and_copied(value):
    """They name the module that has them."""
    assert type(value).__module__ == __name__
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value  # noqa: S301


floats = st.floats(-1e6, 1e6)


@given(floats, floats, floats, floats)
def test_plus_and_scaled_go_field_by_field(a, b, c, d):
    assert plus(Pair(a, b), Pair(c, d)) == Pair(a + c, b + d)
    assert scaled(Pair(a, b), c) == Pair(a * c, b * c)
    assert plus(Pair(a, b), scaled(Pair(a, b), 0.0)) == Pair(a, b)


@given(st.integers(0, 20), st.lists(st.integers(0, 20), min_size=3, max_size=3))
def test_reached_counts_limits(value, limits):
    assert reached(value, Limits(*limits)) == sum(limit <= value for limit in limits)


def test_reached_counts_limits_of_arrays():
    found = reached(np.array([0, 5, 10]), Limits(1, np.array([5, 6, 7]), 10))
    assert found.tolist() == [0, 1, 3]


@given(st.lists(st.integers(0, 20), min_size=1), st.lists(st.integers(0, 20), min_size=3, max_size=3))
def test_limits_may_be_the_rows_of_one_array(values, limits):
    column = np.array(limits)[:, None]
    assert reached(np.array(values), column).tolist() == [reached(value, Limits(*limits)) for value in values]


@given(st.lists(st.tuples(st.floats(-1e20, 1e20), st.floats(-1.0, 1.0))))
def test_adder_adds_field_by_field_from_left_to_right(rows):
    one, two = ([row[index] for row in rows] for index in (0, 1))
    assert adder(Pair)(rows) == Pair(reduce(add, one, 0.0), reduce(add, two, 0.0))


def test_adder_rounds_each_sum_as_an_account_does():
    """The built-in `sum` of some versions of Python returns 1.0 here."""
    assert adder(Pair)([(1e16, 0.1), (1.0, 0.2), (-1e16, 0.3)]) == Pair(0.0, 0.1 + 0.2 + 0.3)


def test_sum_of_adds_in_the_order_of_the_record_whatever_the_names_order():
    total = sum_of(Outer, ["last", "first"])
    assert total(EXAMPLE) == total(tuple(EXAMPLE)) == 8.0
    values = Pair(1e16, 1.0)
    assert sum_of(Pair, ["two", "one"])(values) == 1e16 + 1.0


def test_the_form_for_the_compiler_does_what_the_function_does():
    """The compiler reads a text made of the names of the fields; here Python does."""
    pair, other = Pair(0.1, 0.2), Pair(0.3, 0.4)
    fields, names = Pair._fields, {"Record": Pair}
    forms = [eval(function.form_for_records(fields), names) for function in (plus, scaled, reached)]  # noqa: S307
    assert forms[0](pair, other) == plus(pair, other)
    assert forms[1](pair, 0.3) == scaled(pair, 0.3)
    assert forms[2](0.15, pair) == reached(0.15, pair) == 1


def test_marks_leave_a_function_as_it_is():
    def double(value):
        return 2 * value

    def text(fields):
        return ", ".join(fields)

    assert for_numbers(abs)(double) is double
    assert for_records(text)(double) is double
    assert double.form_for_numbers is abs
    assert double.form_for_records is text
    assert double(2) == 4


@for_numbers(lambda value: value + 1)
def inspecting(value):
    raise AssertionError(f"inspected {value}")


def calling(value, more=1, *, most=10):
    return min(inspecting(value) * more, most)


def test_on_numbers_calls_the_forms_of_helpers():
    assert on_numbers(calling)(2) == 3
    assert on_numbers(calling)(2, more=2) == 6
    assert on_numbers(calling)(2, more=9) == 10
    with pytest.raises(AssertionError, match="inspected 2"):
        calling(2)


def test_maker_takes_fields_of_the_source_and_what_is_given():
    class Target(NamedTuple):
        two: Any
        new: Any
        one: Any

    make = maker(Target, Pair, ("new", "one"))
    assert make(Pair(1.0, 2.0), 3.0, 4.0) == Target(two=2.0, new=3.0, one=4.0)
    with pytest.raises(TypeError, match="'new' of Target is neither a field of Pair nor given"):
        maker(Target, Pair, ())


def test_a_replacer_replaces_one_field_of_records_and_of_plain_tuples():
    replace_two = replacer(Inner, "two")
    assert replace_two(Inner(1.0, 2), 5) == replace_two((1.0, 2), 5) == (1.0, 5)
    with pytest.raises(TypeError, match="three"):
        replacer(Inner, "three")


def test_filler_puts_one_value_everywhere():
    assert filler(Pair)(0.5) == Pair(0.5, 0.5)


class Two(NamedTuple):
    """Two numbers."""

    first: Whole
    second: Real = 2.0


Longer = extended(Two, ("third", "fourth"), 0.5)


def test_a_record_is_extended_in_its_place():
    assert leaves(Longer) == (("first", "int64"), ("second", "float64"), ("third", "float64"), ("fourth", "float64"))
    assert Longer(1) == (1, 2.0, 0.5, 0.5)
    assert Longer(1)._replace(fourth=3.0) == (1, 2.0, 0.5, 3.0)
    assert (Longer.__name__, Longer.__doc__, Longer.__module__) == ("Two", "Two numbers.", __name__)
