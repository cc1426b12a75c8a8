"""Elementwise helpers of the market's equations, for Python floats, numpy arrays and torch tensors.

Floats, arrays and tensors may be mixed. This module does not import torch: an object with a `clamp` method is a tensor.
The functions inspect the types of their arguments, which compiled code cannot, so each has a form for single numbers
(:func:`~hyperexec_env.records.for_numbers`) that compiled loops use.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, expm1, inf, log, pow, sqrt
from typing import Any

import numpy as np

from hyperexec_env.records import for_numbers

__all__ = [
    "between",
    "double",
    "everywhere",
    "exponential",
    "growth",
    "logarithm",
    "maximum",
    "minimum",
    "power",
    "power_of",
    "present",
    "rank",
    "signed",
    "single",
    "some",
    "where",
]


def _between(value: Any, low: Any, high: Any, cap: Any) -> Any:
    value = value if value > low else low
    value = value if value < high else high
    return value if value < cap else cap


def _power(base: Any, exponent: Any) -> Any:
    if exponent == 1.5:
        return base * sqrt(base)
    if exponent == 2.0:
        return base * base
    if exponent == 1.0:
        return base
    return sqrt(base) if exponent == 0.5 else base**exponent


@for_numbers(lambda a, b: a if a < b else b)
def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two values, element by element."""
    if type(a) is float and type(b) is float:
        return a if a < b else b
    if type(a) is type(b) is np.ndarray:
        return np.minimum(a, b)
    if hasattr(a, "clamp"):
        return a.clamp(max=b)
    return b.clamp(max=a) if hasattr(b, "clamp") else np.minimum(a, b)


@for_numbers(lambda a, b: a if a > b else b)
def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two values, element by element."""
    if type(a) is float and type(b) is float:
        return a if a > b else b
    if type(a) is type(b) is np.ndarray:
        return np.maximum(a, b)
    if hasattr(a, "clamp"):
        return a.clamp(min=b)
    return b.clamp(min=a) if hasattr(b, "clamp") else np.maximum(a, b)


@for_numbers(lambda value: np.float64(value))
def double(value: Any) -> Any:
    """Return numbers in double precision.

    `np.float64` of an array is not the same: numpy below 2.4 drops the dimensions of an array of one element.
    """
    return value.astype(np.float64) if isinstance(value, np.ndarray) else np.float64(value)


@for_numbers(lambda value: np.float32(value))
def single(value: Any) -> Any:
    """Return numbers in single precision; see :func:`double`."""
    return value.astype(np.float32) if isinstance(value, np.ndarray) else np.float32(value)


@for_numbers(_between)
def between(value: Any, low: Any, high: Any, cap: Any) -> Any:
    """Return min(max(value, low), high, cap), element by element."""
    if type(value) is type(low) is type(high) is type(cap) is float:
        value = value if value > low else low
        value = value if value < high else high
        return value if value < cap else cap
    return minimum(maximum(value, low), high if type(cap) is float and cap == inf else minimum(high, cap))


@for_numbers(_power)
def power(base: Any, exponent: Any) -> Any:
    """Return a non-negative base raised to a float exponent, or to an array of exponents, element by element.

    The exponents 1/2, 3/2 and 2 (the last two: square-root and linear impact) are computed with `sqrt` and `*`, which IEEE
    arithmetic rounds correctly, so floats and arrays agree to the last bit. For other exponents arrays use `numpy.float_power`,
    which calls the C library's `pow` as floats do; `**` of an array differs in the last bit on processors with AVX-512. Tensors
    use `**`, whose gradient at zero is finite for exponents of at least 1. An array of exponents takes the time of one call for
    each element, and gives the numbers of these calls.
    """
    if type(exponent) is np.ndarray:
        return np.asarray(_powers(base, exponent), dtype=np.float64)
    if type(base) is float:
        if exponent == 1.5:
            return base * sqrt(base)
        if exponent == 2.0:
            return base * base
        return sqrt(base) if exponent == 0.5 else base**exponent
    if isinstance(base, (np.ndarray, np.generic)) and exponent == 0.5:
        return np.sqrt(base)
    if isinstance(base, (np.ndarray, np.generic)) and exponent in (1.5, 2.0):
        factor: Any = np.sqrt(base) if exponent == 1.5 else base
        return base * factor
    return np.float_power(base, exponent) if isinstance(base, (np.ndarray, np.generic)) else base**exponent


@for_numbers(lambda value: exp(value))
def exponential(value: Any) -> Any:
    """Return e^x, element by element, by the C library's `exp`: floats, arrays and compiled loops agree to the last bit.

    `numpy.exp` has an implementation of its own for processors with AVX-512, which differs in the last bit.
    """
    if type(value) is float:
        return exp(value)
    return value.exp() if hasattr(value, "clamp") else _exponentials(value)


@for_numbers(lambda value: expm1(value))
def growth(value: Any) -> Any:
    """Return e^x - 1, element by element, by the C library's `expm1`; see :func:`exponential`."""
    if type(value) is float:
        return expm1(value)
    return value.expm1() if hasattr(value, "clamp") else _growths(value)


@for_numbers(lambda value: log(value))
def logarithm(value: Any) -> Any:
    """Return the natural logarithm of positive values, by the C library's `log`; see :func:`exponential`."""
    if type(value) is float:
        return log(value)
    return value.log() if hasattr(value, "clamp") else _logarithms(value)


@for_numbers(lambda value: value != 0.0)
def present(value: Any) -> Any:
    """Return False for the float zero, for which a term can be skipped, and True for every other float, array or tensor."""
    return type(value) is not float or value != 0.0


@for_numbers(lambda condition: condition)
def some(condition: Any) -> Any:
    """Return whether a condition holds for an element, so that a term which is zero otherwise can be skipped."""
    return condition if isinstance(condition, bool) else condition.any()


def _rank(limits: Any, value: Any) -> Any:
    low, high = 0, len(limits)
    while low < high:
        middle = (low + high) // 2
        if value < limits[middle]:
            high = middle
        else:
            low = middle + 1
    return low


@for_numbers(_rank)
def rank(limits: Any, value: Any) -> Any:
    """Return the number of `limits`, an ascending array, that are at most `value`, element by element."""
    return np.searchsorted(limits, value, side="right")


@for_numbers(lambda condition: condition)
def everywhere(condition: Any) -> bool:
    """Return whether a condition holds for every element."""
    return condition if isinstance(condition, bool) else bool(np.all(condition))


@for_numbers(lambda side, value: value if side > 0.0 else -value)
def signed(side: Any, value: Any) -> Any:
    """Return the value times the side, +1 or -1; a float side takes no multiplication."""
    if type(side) is float:
        return value if side > 0.0 else -value
    return side * value


@for_numbers(lambda condition, a, b: a if condition else b)
def where(condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the condition holds, else `b`, element by element."""
    if isinstance(condition, bool):
        return a if condition else b
    if hasattr(condition, "clamp"):
        if not hasattr(b, "clamp"):
            return a.masked_fill(~condition, b)
        return a.where(condition, b) if hasattr(a, "clamp") else b.masked_fill(condition, a)
    return np.where(condition, a, b)


@for_numbers(lambda base, exponent: base**exponent)
def power_of(base: float, exponent: Any) -> Any:
    """Return base**exponent for an array of exponents, by the C library's `pow`: equal to single numbers to the last bit."""
    return np.asarray(_pow(base, exponent), dtype=np.float64)


def _elementwise(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """Return a function of arrays that calls a function of floats for each element, faster than :func:`numpy.frompyfunc`."""

    def call(values: Any) -> Any:
        given = np.asarray(values, dtype=np.float64)
        return np.fromiter(map(function, given.ravel().data), np.float64, given.size).reshape(given.shape)[()]

    return call


_exponentials, _growths, _logarithms = map(_elementwise, (exp, expm1, log))
_pow = np.frompyfunc(pow, 2, 1)
_powers = np.frompyfunc(_power, 2, 1)
