"""Statistics, checked against simulations and closed forms."""

import math
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest

from hyperexec_env.evaluation.statistics import (
    GROUPS,
    bootstrap_means,
    cvar,
    group_means,
    holm,
    interquartile_interval,
    interquartile_mean,
    interval,
    p_value,
    ranks,
    smallest_difference,
)


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


def test_the_width_of_an_interval_is_the_normal_one():
    values = np.random.default_rng(2).standard_normal((1, 3000))
    low, high = interval(bootstrap_means(values)[0])
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(3000), rel=0.06)


def test_differences_of_bootstrap_means_are_paired():
    common = np.random.default_rng(3).standard_normal(2000)
    means = bootstrap_means(np.array([common, common + 0.25]))
    assert means[1] - means[0] == pytest.approx(0.25)


def test_group_means_preserve_the_mean_and_its_standard_error():
    for episodes in [GROUPS + 1, 6000, 10_000, 3 * GROUPS - 1, 50_000]:
        values = 30.0 + np.random.default_rng(4).standard_normal((2, episodes))
        grouped = group_means(values)
        assert grouped.shape == (2, GROUPS)
        assert grouped.mean(axis=1) == pytest.approx(values.mean(axis=1), abs=1e-12)
        errors = grouped.std(axis=1) / np.sqrt(GROUPS)
        assert errors == pytest.approx(values.std(axis=1) / np.sqrt(episodes), rel=0.08)


def test_policies_that_differ_by_chance_share_a_rank():
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((4, 500))
    assert ranks(noise + np.array([[0.0], [0.0], [1.0], [2.0]])) == [1, 1, 3, 4]
    assert ranks(noise + np.array([[2.0], [0.0], [1.0], [0.0]])) == [4, 1, 3, 1]


def test_equal_policies_share_a_rank_despite_rounding():
    values = np.random.default_rng(6).standard_normal(500)
    assert ranks(np.array([values, values + 1e-14, values - 1e-14])) == [1, 1, 1]
    assert ranks(np.array([values, values + 0.25, values])) == [1, 3, 1]


@pytest.mark.fast
def test_policies_that_do_not_differ_share_a_rank_and_a_better_rank_has_a_lower_mean():
    for seed in [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]:
        rng = np.random.default_rng(seed)
        values = rng.standard_normal((6, 200)) * rng.uniform(0.2, 3.0, (6, 1)) + rng.uniform(0.0, 0.8, (6, 1))
        pairs = list(combinations(range(6), 2))
        differ = holm(np.array([p_value(values[i] - values[j]) for i, j in pairs])) <= 0.05
        found, means = ranks(values), values.mean(axis=1)
        assert differ.any()
        assert not differ.all()
        for (i, j), significant in zip(pairs, differ, strict=True):
            if not significant:
                assert found[i] == found[j]
            elif found[i] != found[j]:
                assert (found[i] < found[j]) == (means[i] < means[j])
        assert found == [1 + sum(other < own for other in found) for own in found]


def test_equal_policies_get_different_ranks_no_more_often_than_the_level_allows():
    rng = np.random.default_rng(7)
    wrong = sum(len(set(ranks(rng.standard_normal((4, 60))))) > 1 for _ in range(600))
    assert wrong <= 600 * 0.05 + 2.0 * math.sqrt(600 * 0.05 * 0.95)


def test_the_p_value_with_two_degrees_of_freedom_is_students():
    # F(t) = 1/2 + t / (2 sqrt(2 + t^2)) for two degrees of freedom; Wallace's approximation is within 0.005 of it
    for shift in (0.3, 1.0, 2.0, 4.0):
        values = np.array([-1.0, 0.0, 1.0]) + shift
        t = shift * math.sqrt(3.0)
        assert p_value(values) == pytest.approx(1.0 - t / math.sqrt(2.0 + t * t), abs=0.01)


def test_the_p_value_of_many_episodes_is_the_normal_one_with_students_first_order_correction():
    values = np.random.default_rng(8).standard_normal(20_000)
    values = (values - values.mean()) / values.std(ddof=1)
    for z in (0.5, 1.959964, 3.0, 5.0):
        students = NormalDist().cdf(-z) + NormalDist().pdf(z) * (z**3 + z) / (4.0 * 19_999)  # to the first order in 1/freedom
        assert p_value(values + z / math.sqrt(20_000)) == pytest.approx(2.0 * students, rel=1e-4)


def test_p_values_are_uniform_without_a_difference():
    for episodes in [5, 12, 100]:
        rng, draws = np.random.default_rng(episodes), 4000
        found = np.array([p_value(rng.standard_normal(episodes)) for _ in range(draws)])
        for level in (0.01, 0.05, 0.25, 0.5):
            assert abs(np.mean(found <= level) - level) < 4.0 * math.sqrt(level * (1.0 - level) / draws)


def test_the_p_value_is_1_without_a_difference_and_0_for_a_constant_one():
    assert p_value(np.zeros(50)) == 1.0
    assert p_value(np.full(50, 1e-13)) == 1.0
    assert p_value(np.full(50, 0.1)) == 0.0


@pytest.mark.fast
def test_holm_is_the_closure_of_bonferroni():
    for seed in range(20):
        # closed testing: the p-value of a hypothesis is the largest Bonferroni p-value of the subsets that contain it
        found = np.random.default_rng(seed).uniform(size=5) ** 3
        subsets = [set(chosen) for size in range(1, 6) for chosen in combinations(range(5), size)]
        closed = [max(min(1.0, len(s) * min(found[k] for k in s)) for s in subsets if i in s) for i in range(5)]
        assert holm(found) == pytest.approx(closed, rel=1e-12)


def test_holm_does_not_change_a_single_p_value_and_accepts_none():
    assert holm(np.array([0.03])).tolist() == [0.03]
    assert holm(np.empty(0)).tolist() == []


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    assert interquartile_mean(np.array([9.0, 1.0, 4.0, 2.0])) == 3.0
    assert interquartile_mean(np.array([9.0, 1.0, 2.0])) == 4.0
    assert interquartile_mean(np.arange(8.0)[::-1]) == pytest.approx((2.0 + 3.0 + 4.0 + 5.0) / 4.0)
    assert interquartile_mean(np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 8.0], [9.0, 4.0]])).tolist() == [3.0, 2.0]


def test_one_failed_training_does_not_move_the_interquartile_mean():
    values = np.array([3.0, 1.0, 2.0, 4.0])
    assert interquartile_mean(values) == interquartile_mean(np.where(values == 4.0, 1e6, values))


def test_the_interval_of_the_interquartile_mean_covers_it_over_seeds_and_episodes():
    # the true mean is 0; the deviations of the 24 training seeds and of the 30 episodes, which all seeds share, have equal sd
    rng, hits = np.random.default_rng(9), 0
    for draw in range(150):
        values = rng.standard_normal((24, 1)) + rng.standard_normal(30) + 0.3 * rng.standard_normal((24, 30))
        low, high = interquartile_interval(values, seed=draw)
        hits += low <= 0.0 <= high
    # 95 % of 150 is 142; four of its standard errors are 11
    assert 131 <= hits <= 150


def test_the_interval_of_identical_training_seeds_is_the_interval_over_episodes():
    values = np.random.default_rng(10).standard_normal(400)
    assert interquartile_interval(np.array([values] * 3), seed=4) == pytest.approx(
        interval(bootstrap_means(values[None], 4)[0])
    )


def test_the_smallest_difference_is_detected_as_often_as_its_power_says():
    for power in [0.5, 0.8, 0.95]:
        rng, episodes, draws, sd = np.random.default_rng(11), 200, 3000, 7.0
        shift = smallest_difference(sd, episodes, power=power)
        found = np.mean([p_value(shift + sd * rng.standard_normal(episodes)) <= 0.05 for _ in range(draws)])
        assert abs(found - power) < 4.0 * math.sqrt(power * (1.0 - power) / draws)


def test_the_smallest_difference_halves_with_four_times_the_episodes():
    assert smallest_difference(3.0, 400) == pytest.approx(0.5 * smallest_difference(3.0, 100))
    assert smallest_difference(0.0, 100) == 0.0


def test_smallest_difference_rejects_arguments_out_of_range():
    for arguments, message in [
        ((-1.0, 10), "sd must be a number in"), ((1.0, 0), "episodes must be a whole number in"),
        ((1.0, 10, 1.0), r"level must be a number in \(0, 1\), got 1.0"),
        ((1.0, 10, 0.95, 0.0), r"power must be a number in \(0, 1\), got 0.0"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            smallest_difference(*arguments)
