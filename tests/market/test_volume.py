"""Volume profile: the volume of an order does not depend on the number of slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.market.library import U_CURVE
from hyperexec_env.market.volume import slice_profile

pytestmark = pytest.mark.fast

curves = st.lists(st.floats(0.01, 10.0), min_size=0, max_size=30)


@given(curves, st.integers(1, 400), st.floats(1.0, 1000.0))
def test_the_profile_of_a_whole_day_sums_to_one(curve, slices, day):
    assert slice_profile(curve, slices, 0.0, day, day).sum() == pytest.approx(1.0)


@given(curves, st.integers(1, 60), st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_the_halves_of_a_slice_sum_to_the_slice(curve, slices, start, length):
    start, horizon = 390.0 * start * (1.0 - length), 390.0 * length
    coarse = slice_profile(curve, slices, start, horizon, 390.0)
    fine = slice_profile(curve, 2 * slices, start, horizon, 390.0)
    assert fine.reshape(-1, 2).sum(axis=1) == pytest.approx(coarse, rel=1e-9, abs=1e-14)
    assert (coarse > 0.0).all()


@given(curves, st.floats(0.1, 100.0))
def test_the_profile_does_not_depend_on_the_scale_of_the_curve(curve, scale):
    scaled = slice_profile([scale * value for value in curve], 26, 0.0, 390.0, 390.0)
    assert scaled == pytest.approx(slice_profile(curve, 26, 0.0, 390.0, 390.0))


def test_an_empty_curve_is_flat():
    assert slice_profile((), 10, 180.0, 5.0, 390.0) == pytest.approx(np.full(10, 0.5 / 390.0))


def test_one_slice_per_part_of_the_day_returns_the_curve():
    assert slice_profile(U_CURVE, 26, 0.0, 390.0, 390.0) == pytest.approx(np.array(U_CURVE) / sum(U_CURVE))


def test_an_order_that_starts_later_gets_the_volume_of_its_own_time():
    assert slice_profile((3.0, 1.0), 2, 195.0, 97.5, 390.0) == pytest.approx([0.0625, 0.0625])
    assert slice_profile((3.0, 1.0), 2, 97.5, 195.0, 390.0) == pytest.approx([0.375, 0.125])


@pytest.mark.parametrize("curve", [(0.0,), (0.0, 0.0), (float("nan"), 1.0)])
def test_a_curve_without_volume_raises(curve):
    with pytest.raises(
        ValueError, match=r"^volume_curve must sum to a positive number, got .*; leave it empty for a flat curve"
    ):
        slice_profile(curve, 4, 0.0, 390.0, 390.0)
