"""The statistics do what their names say, checked against simulations and closed forms."""

import numpy as np
import pytest

from hyperexec_env.evaluation.statistics import GROUPS, bootstrap_means, cvar, group_means, interval, ranks


def test_cvar_is_the_mean_of_the_worst_twentieth():
    assert cvar(np.arange(100.0)) == pytest.approx(np.arange(95.0, 100.0).mean())
    assert cvar(np.array([3.0])) == 3.0


def test_cvar_of_a_normal_is_the_closed_form():
    values = np.random.default_rng(0).standard_normal(400_000)
    assert cvar(values) == pytest.approx(np.exp(-(1.6448536**2) / 2) / np.sqrt(2 * np.pi) / 0.05, abs=0.01)


def test_bootstrap_intervals_cover_the_mean_at_their_level():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        low, high = interval(bootstrap_means(rng.exponential(size=(1, 120)), seed=2)[0])
        hits += low <= 1.0 <= high
    # 95 % of 300 is 285; the percentile bootstrap of 120 skewed values is known to cover a little less
    assert 268 <= hits <= 298


def test_the_width_of_an_interval_is_that_of_the_normal_one():
    values = np.random.default_rng(2).standard_normal((1, 3000))
    low, high = interval(bootstrap_means(values)[0])
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(3000), rel=0.06)


def test_differences_of_bootstrap_means_are_paired():
    common = np.random.default_rng(3).standard_normal(2000)
    means = bootstrap_means(np.array([common, common + 0.25]))
    assert means[1] - means[0] == pytest.approx(0.25)


@pytest.mark.parametrize("episodes", [GROUPS + 1, 6000, 10_000, 3 * GROUPS - 1, 50_000])
def test_groups_keep_the_mean_and_its_standard_error(episodes):
    values = 30.0 + np.random.default_rng(4).standard_normal((2, episodes))
    grouped = group_means(values)
    assert grouped.shape == (2, GROUPS)
    assert grouped.mean(axis=1) == pytest.approx(values.mean(axis=1), abs=1e-12)
    errors = grouped.std(axis=1) / np.sqrt(GROUPS)
    assert errors == pytest.approx(values.std(axis=1) / np.sqrt(episodes), rel=0.08)


def test_policies_that_differ_by_chance_share_a_rank():
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((4, 500))
    means = bootstrap_means(noise + np.array([[0.0], [0.0], [1.0], [2.0]]))
    assert ranks(means) == [1, 1, 3, 4]


def test_equal_policies_share_a_rank_whatever_the_rounding():
    values = np.random.default_rng(6).standard_normal(500)
    assert ranks(bootstrap_means(np.array([values, values + 1e-14, values - 1e-14]))) == [1, 1, 1]
