"""The helpers of the kernel mean the same for floats, arrays and tensors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.market import numeric
from hyperexec_env.market.numeric import between, double, exponential, growth, logarithm, maximum, minimum, power

pytestmark = pytest.mark.fast

finite = st.floats(-1e12, 1e12)


@given(finite, finite)
def test_smaller_and_larger_agree_for_floats_arrays_and_tensors(a, b):
    torch = pytest.importorskip("torch")
    for ours, reference in ((minimum, min), (maximum, max)):
        expected = reference(a, b)
        assert ours(a, b) == expected
        assert ours(np.array([a]), b) == expected
        assert ours(a, np.array([b])) == expected
        tensor = torch.tensor([a], dtype=torch.float64)
        assert ours(tensor, b).item() == expected
        assert ours(b, tensor).item() == expected
        assert ours(tensor, torch.tensor([b], dtype=torch.float64)).item() == expected


@given(finite, finite, finite, finite)
def test_between_raises_and_then_lowers(value, low, high, cap):
    torch = pytest.importorskip("torch")
    expected = min(max(value, low), high, cap)
    assert between(value, low, high, cap) == expected
    assert between(np.array([value]), low, np.array([high]), cap)[0] == expected
    assert between(value, low, np.array([high]), cap)[0] == expected
    assert (
        between(torch.tensor([value], dtype=torch.float64), low, high, torch.tensor([cap], dtype=torch.float64)).item()
        == expected
    )


def test_smaller_and_larger_take_infinity_as_no_limit():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert minimum(tensor, math.inf).tolist() == [1.0, 2.0]
    assert maximum(tensor, math.inf).tolist() == [math.inf, math.inf]
    assert minimum(3.0, math.inf) == 3.0
    assert minimum(np.array([3.0]), math.inf).tolist() == [3.0]


@given(st.floats(0.0, 1e6), st.sampled_from([0.5, 0.6, 1.5, 1.6, 2.0, 1.0, 2.7]))
def test_powers_agree_for_floats_arrays_and_tensors(base, exponent):
    torch = pytest.importorskip("torch")
    expected = base**exponent
    assert power(base, exponent) == pytest.approx(expected, rel=1e-14, abs=1e-300)
    assert power(np.array([base]), exponent)[0] == pytest.approx(expected, rel=1e-14, abs=1e-300)
    assert power(torch.tensor([base], dtype=torch.float64), exponent).item() == pytest.approx(expected, rel=1e-14, abs=1e-300)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.375, 1.5, 1.6, 2.0])
def test_powers_are_the_same_to_the_last_bit_for_floats_and_arrays(exponent):
    """Numpy's own power of an array differs from that of a float in one element of twenty on processors with AVX-512."""
    bases = np.random.default_rng(0).lognormal(-2.0, 3.0, 2000)
    assert power(bases, exponent).tolist() == [power(base, exponent) for base in bases.tolist()]
    assert power(bases, np.full(2000, exponent)).tolist() == power(bases, exponent).tolist()


@pytest.mark.parametrize("function", [exponential, growth])
def test_exponentials_are_the_same_to_the_last_bit_for_floats_arrays_and_compiled_loops(function):
    """So too the exponential; a compiled loop calls the form for single numbers."""
    values = np.random.default_rng(0).normal(0.0, 0.02, 2000)
    one_by_one = [function(value) for value in values.tolist()]
    assert function(values).tolist() == one_by_one == [function.form_for_numbers(value) for value in values.tolist()]


@pytest.mark.parametrize("function", [exponential, growth, logarithm])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 1), (2, 3)])
def test_exponentials_and_logarithms_keep_the_shape(function, shape):
    values = np.array(np.random.default_rng(0).uniform(0.5, 2.0, shape))
    made = function(values)
    assert np.shape(made) == shape
    assert made.dtype == np.float64
    assert np.ravel(made).tolist() == [function(value) for value in np.ravel(values).tolist()]
    assert np.array_equal(function(values.T), made.T)  # whatever the order in memory


@pytest.mark.parametrize("exponent", [1.3, 1.5, 1.6, 2.0])
def test_the_gradient_of_a_power_at_zero_is_zero(exponent):
    torch = pytest.importorskip("torch")
    base = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    power(base, exponent).sum().backward()
    assert base.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3, 1), (2, 3)])
def test_double_precision_keeps_the_shape(shape):
    """`np.float64` loses it for one element in numpy below 2.4: .ci/lowest runs this test there."""
    value = double(np.full(shape, 0.1, np.float32))
    assert np.shape(value) == shape
    assert value.dtype == np.float64
    assert type(double(np.float32(0.1))) is np.float64


def test_the_market_converts_arrays_by_double_alone():
    folder = Path(numeric.__file__).parent
    found = {path.name: path.read_text(encoding="utf-8").count("np.float64(") for path in folder.glob("*.py")}
    assert {name: count for name, count in found.items() if count} == {"numeric.py": found["numeric.py"]}
