"""Resamples clustered by day and instrument: against the clustered variance, and against plain resamples of days."""

import numpy as np
import pytest

from hyperexec_env.data.blocks import resampled_days, two_way_means

pytestmark = pytest.mark.fast


def clustered_variance(values):
    """Return the two-way clustered variance of a mean (Cameron, Gelbach and Miller 2011, equation 2.9): V_d + V_s - V_ds."""
    residual, count = values - values.mean(), values.size
    by_day, by_symbol = (residual.sum(axis=axis) for axis in (1, 0))
    return ((by_day**2).sum() + (by_symbol**2).sum() - (residual**2).sum()) / count**2


def test_the_spread_of_the_means_is_the_clustered_standard_error():
    rng = np.random.default_rng(0)
    days, symbols = 400, 30
    values = rng.standard_normal((days, 1)) + 0.5 * rng.standard_normal(symbols) + 0.5 * rng.standard_normal((days, symbols))
    means = two_way_means(values, 4000, 1)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.std() == pytest.approx(np.sqrt(clustered_variance(values)), rel=0.1)
    assert means.std() > 3.0 * values.std() / np.sqrt(values.size)  # independent cells would be far too narrow


def test_one_instrument_is_a_block_bootstrap_of_days():
    values = np.random.default_rng(2).standard_normal(50)
    expected = values[resampled_days(50, 300, 7)].mean(axis=1)
    assert two_way_means(values[:, None], 300, 7) == pytest.approx(expected, abs=1e-12)


def test_missing_days_have_no_weight():
    values = np.random.default_rng(3).standard_normal((40, 3))
    values[5:25, 1] = np.nan
    values[0] = np.nan
    means = two_way_means(values, 2000, 4)
    known = values[~np.isnan(values)]
    assert np.isfinite(means).all()
    assert means.mean() == pytest.approx(known.mean(), abs=0.03)
    constant = np.where(np.isnan(values), np.nan, 2.5)
    assert two_way_means(constant, 200, 4) == pytest.approx(np.full(200, 2.5))


def test_means_are_repeatable_from_their_seed():
    values = np.random.default_rng(3).standard_normal((40, 3))
    assert np.array_equal(two_way_means(values, 50, 4), two_way_means(values, 50, 4))
    assert not np.array_equal(two_way_means(values, 50, 4), two_way_means(values, 50, 5))
