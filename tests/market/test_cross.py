"""Cross-impact: the multivariate Kyle matrix, adverse coordinates, and the checks of matrices."""

from __future__ import annotations

import numpy as np
import pytest

from hyperexec_env.market.cross import (
    adverse,
    check_correlation,
    check_impact_matrix,
    check_one_resilience,
    factor_correlation,
    impact_matrix,
    kyle_matrix,
    lower_root,
    nearest_correlation,
)

pytestmark = pytest.mark.fast


def market(seed, count=5):
    """Slopes, volatilities and a correlation matrix of full rank."""
    rng = np.random.default_rng(seed)
    loadings = rng.uniform(-0.6, 0.6, (count, 2))
    return rng.uniform(1e-6, 1e-5, count), rng.uniform(0.5, 3.0, count), factor_correlation(loadings)


@pytest.mark.parametrize("seed", range(5))
def test_flow_through_the_kyle_matrix_has_the_covariance_of_prices(seed):
    slopes, volatilities, correlation = market(seed)
    matrix, scale = kyle_matrix(slopes, volatilities, correlation), np.diag(volatilities / slopes)
    assert matrix @ scale @ scale @ matrix == pytest.approx(np.outer(volatilities, volatilities) * correlation, rel=1e-12)
    assert np.array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0.0


def test_the_kyle_matrix_of_three_assets():
    prices, adv, sigma = np.array([50.0, 100.0, 20.0]), np.array([4e6, 2e6, 1e7]), np.array([0.02, 0.015, 0.03])
    matrix = kyle_matrix(0.3 * prices / adv, sigma * prices, [[1.0, 0.5, 0.3], [0.5, 1.0, 0.4], [0.3, 0.4, 1.0]])
    found = [matrix[0, 0], matrix[0, 1], matrix[1, 2]]
    assert found == pytest.approx([3.618769804e-06, 1.672387626e-06, 4.593264933e-07], rel=1e-9)


def test_two_equal_assets_share_their_impact():
    matrix = kyle_matrix([1.0, 1.0], [1.0, 1.0], [[1.0, 0.5], [0.5, 1.0]])
    own, cross = (np.sqrt(1.5) + np.sqrt(0.5)) / 2.0, (np.sqrt(1.5) - np.sqrt(0.5)) / 2.0  # eigenvalues 1 +- 0.5
    assert matrix == pytest.approx(np.array([[own, cross], [cross, own]]), rel=1e-14)
    assert (own, cross) == pytest.approx((0.966, 0.259), abs=5e-4)


def test_an_asset_alone_keeps_its_slope_to_the_last_bit():
    slopes, volatilities, correlation = market(1)
    correlation[2, :] = correlation[:, 2] = 0.0
    correlation[2, 2] = 1.0
    assert kyle_matrix(slopes, volatilities, correlation)[2, 2] == slopes[2]
    assert impact_matrix(slopes[:1], volatilities[:1], [[1.0]], 0.7).item() == slopes[0]
    assert np.array_equal(impact_matrix(slopes, volatilities, correlation, 0.0), np.diag(slopes))


def test_a_market_without_volatility_or_impact_has_no_cross_impact():
    slopes, volatilities, correlation = market(2)
    slopes[1] = volatilities[3] = 0.0
    matrix = kyle_matrix(slopes, volatilities, correlation)
    assert np.isfinite(matrix).all()
    assert matrix[1].tolist() == [0.0] * 5
    assert matrix[3].tolist() == [0.0, 0.0, 0.0, slopes[3], 0.0]


def test_a_flip_of_all_sides_changes_nothing():
    slopes, volatilities, correlation = market(3)
    matrix, sides = kyle_matrix(slopes, volatilities, correlation), np.array([1, -1, 1, 1, -1])
    assert np.array_equal(adverse(matrix, sides), adverse(matrix, -sides))
    assert adverse(matrix, sides)[0, 1] == -matrix[0, 1]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_lower_root_of_a_correlation_is_its_cholesky_factor(count):
    correlation = market(4, count)[2]
    root = np.array(lower_root(correlation))
    assert root == pytest.approx(np.linalg.cholesky(correlation), abs=1e-14)
    assert root[0].tolist() == [1.0] + [0.0] * (count - 1)


def test_the_lower_root_of_a_singular_correlation():
    correlation = np.array([[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    root = np.array(lower_root(correlation))
    assert root @ root.T == pytest.approx(correlation, abs=1e-15)


IMPOSSIBLE = [[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]


def test_an_impossible_correlation_is_refused_with_its_eigenvalue_and_the_nearest_one():
    lowest = np.linalg.eigvalsh(IMPOSSIBLE).min()
    with pytest.raises(
        ValueError, match=rf"^correlation must be positive semidefinite, .* {lowest:.4g}; the nearest .*\[\[1, "
    ):
        check_correlation(IMPOSSIBLE, 3)
    nearest = nearest_correlation(IMPOSSIBLE)
    assert np.linalg.eigvalsh(nearest).min() > -1e-12
    assert np.array_equal(check_correlation(nearest, 3), nearest)
    assert nearest_correlation(nearest) == pytest.approx(nearest, abs=1e-12)


@pytest.mark.parametrize(
    ("correlation", "message"),
    [
        ([[1.0, 0.5], [0.4, 1.0]], r"correlation must be symmetric, got correlation\[0\]\[1\] = 0.5 .* = 0.4"),
        ([[1.0, 0.5], [0.5, 0.9]], r"correlation\[1\]\[1\] must be 1, got 0.9"),
        ([[1.0, 1.5], [1.5, 1.0]], r"correlation\[0\]\[1\] must be a number in \[-1, 1\]"),
        ([[1.0, 0.5]], "correlation must be a list of 2 rows"),
        ([[1.0], [0.5]], r"correlation\[0\] must hold 2 numbers"),
        ("identity", "correlation must be a list of 2 rows"),
    ],
)
def test_a_faulty_correlation_is_refused(correlation, message):
    with pytest.raises(ValueError, match=message):
        check_correlation(correlation, 2)


def test_faulty_impact_is_refused():
    with pytest.raises(ValueError, match=r"^gamma must be symmetric, .*; a round trip in both assets would earn"):
        check_impact_matrix("gamma", [[1e-6, 6e-7], [2e-7, 1e-6]])
    with pytest.raises(ValueError, match=r"^kappa must be positive semidefinite, got the lowest eigenvalue -1;"):
        check_impact_matrix("kappa", [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match=r"^resilience must be equal for all assets, got 5.0 \(A\) and 50.0 \(B\)"):
        check_one_resilience([5.0, 50.0], ["A", "B"])
    with pytest.raises(ValueError, match=r"^factors\[1\] must have a sum of squares of at most 1 .*, got 1.28"):
        factor_correlation([[0.1, 0.2], [0.8, 0.8]])
