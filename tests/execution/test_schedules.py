"""Schedules: weights, limits and published values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution import schedules

pytestmark = pytest.mark.fast

SLICES = st.integers(1, 300)


@given(SLICES, st.floats(-1.0, 2.0), st.floats(0.0, 5.0), st.integers(1, 60))
def test_weights_are_never_negative_and_sum_to_one(slices, urgency, kappa_tau, children):
    for weights in (
        schedules.twap(slices),
        schedules.exponential(slices, urgency),
        schedules.almgren_chriss(slices, kappa_tau),
        schedules.twap_in_children(slices, children),
        schedules.vwap(np.arange(1, slices + 1), slices),
    ):
        assert weights.shape == (slices,)
        assert weights.min() >= 0.0
        assert weights.sum() == pytest.approx(1.0, abs=1e-12)


@given(st.integers(2, 100), st.floats(0.01, 1.0))
def test_urgency_front_loads_the_schedule(slices, urgency):
    weights = schedules.exponential(slices, urgency)
    assert (np.diff(weights) < 0.0).all()
    assert weights[0] / weights[-1] == pytest.approx(np.exp(3.0 * urgency))


def test_urgency_is_clamped():
    assert np.array_equal(schedules.exponential(7, 5.0), schedules.exponential(7, 1.0))
    assert np.array_equal(schedules.exponential(7, -1.0), schedules.twap(7))


def test_almgren_chriss_reproduces_the_published_trades():
    # Almgren and Chriss (2000): X 1e6, five days, kappa 0.607076
    trades = 1e6 * schedules.almgren_chriss(5, 0.607076)
    assert trades == pytest.approx([458_044, 252_101, 141_957, 85_756, 62_142], abs=1.0)


def test_almgren_chriss_converges_to_twap_and_to_immediate_execution():
    assert schedules.almgren_chriss(10, 1e-6) == pytest.approx(schedules.twap(10), abs=1e-9)
    assert schedules.almgren_chriss(10, 1e-10) == pytest.approx(schedules.twap(10), abs=1e-12)
    assert schedules.almgren_chriss(10, 800.0) == pytest.approx([1.0] + [0.0] * 9)


def test_an_empty_volume_profile_means_flat():
    assert np.array_equal(schedules.vwap([], 4), schedules.twap(4))


def test_vwap_is_proportional_to_the_volume():
    assert schedules.vwap([1.0, 3.0], 2) == pytest.approx([0.25, 0.75])


@given(st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_fractions_of_remaining_reproduce_the_schedule(slices, seed):
    weights = np.random.default_rng(seed).dirichlet(np.ones(slices))
    left, traded = 1.0, []
    for fraction in schedules.fractions_of_remaining(weights):
        traded.append(left * fraction)
        left -= traded[-1]
    assert traded == pytest.approx(weights, abs=1e-12)
    assert left == pytest.approx(0.0, abs=1e-12)


@given(st.integers(1, 90), st.floats(0.0, 1.0))
def test_exponential_fraction_agrees_with_the_exponential_weights(slices, urgency):
    weights, fractions = (
        schedules.exponential(slices, urgency),
        schedules.exponential_fraction(slices, np.arange(slices), urgency),
    )
    rest = np.cumsum(weights[::-1])[::-1]
    assert fractions * rest == pytest.approx(weights, abs=1e-12)
    assert fractions[-1] == pytest.approx(1.0)


@given(st.integers(1, 90), st.integers(1, 40), st.floats(0.0, 0.5))
def test_child_times_agree_with_twap_in_children(slices, children, phase):
    times = schedules.child_times(np.array([0.0, 3.0]), np.full(2, slices), np.full(2, children), np.array([0.5, phase]), 50)
    assert times.shape == (2, 50)
    assert np.isinf(times[:, children:]).all()
    counts = np.bincount(times[0, :children].astype(int), minlength=slices)
    assert counts / children == pytest.approx(schedules.twap_in_children(slices, children))
    assert times[1, 0] == pytest.approx(3.0 + phase * slices / children)
    assert np.diff(times[1, :children]) == pytest.approx(slices / children)
    assert times[1, children - 1] < 3.0 + slices


def test_twap_in_children_spreads_the_children_evenly():
    assert np.count_nonzero(schedules.twap_in_children(26, 10)) == 10
    assert schedules.twap_in_children(5, 20) == pytest.approx(schedules.twap(5))
    assert schedules.twap_in_children(26, 26) == pytest.approx(schedules.twap(26))
    lumps = schedules.twap_in_children(26, 10)
    assert np.array_equal(lumps, lumps[::-1])  # mid-interval children are symmetric in time


def test_a_profile_of_zeros_is_flat():
    for volumes in ((), (0.0, 0.0, 0.0), np.zeros(3)):
        assert np.array_equal(schedules.vwap(volumes, 3), schedules.twap(3))


def test_the_rate_of_almgren_and_chriss_is_finite_for_the_smallest_volume():
    values = {"quantity": 1e15, "slices": 10, "volatility": 0.02, "alpha": 0.3, "beta": 2.0, "risk_aversion": 1e-6}
    assert 0.0 <= schedules.almgren_chriss_rate(**values, volume=5e-324, tau=0.1) < 1e-6  # impact dominates the risk
    assert schedules.almgren_chriss_rate(**{**values, "risk_aversion": 0.0}, volume=1e6, tau=np.inf) == 0.0
