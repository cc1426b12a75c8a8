r"""Cross-impact: the matrices by which the trades of one asset move the prices of others, and their checks.

Notation for assets i = 1..d: :math:`v_i = \sigma_i P_i` is the volatility in currency per share and square root of a day,
:math:`a_i` the asset's own Kyle slope in currency per share for each share traded, C the correlation of returns and
:math:`\Sigma = diag(v) C diag(v)`. With the flow scales :math:`W = diag(v_i / a_i)`, the multivariate Kyle matrix

    Lam_K = W^-1 (W Sigma W)^(1/2) W^-1

is the only symmetric positive semidefinite solution of Lam W^2 Lam = Sigma: prices that move by Lam times independent flows of
the scales w have the covariance Sigma. Impact is the mixture

    Lam = (1 - c) diag(a) + c Lam_K,      c = `cross_impact` in [0, 1]

so that c = 0 is one market for each asset. An asset without correlation to the others keeps its slope a_i to the last bit.

A matrix of persistent impact must be symmetric and positive semidefinite, and every asset must have the same resilience:
otherwise a round trip over several assets earns money (Alfonsi, Klock and Schied 2016; Schneider and Lillo 2019). Source of
the matrix: Garcia del Molino, Mastromatteo, Benzaquen and Bouchaud (2020), "The multivariate Kyle model". The size of
cross-impact is an assumption: Cont, Cucuringu and Zhang (2023) find none at the same time, once flow on several levels of the
book is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_numbers, shown

__all__ = [
    "adverse",
    "check_correlation",
    "check_factors",
    "check_impact_matrix",
    "check_one_resilience",
    "check_same",
    "factor_correlation",
    "impact_matrix",
    "is_empty",
    "kyle_matrix",
    "lower_root",
    "nearest_correlation",
]

Floats = NDArray[np.float64]
Rows = tuple[tuple[float, ...], ...]

_ROUNDING: Final = 1e-10
"""Lowest eigenvalue, as a fraction of the largest, and asymmetry that count as rounding."""


def kyle_matrix(slopes: Any, volatilities: Any, correlation: Any) -> Floats:
    """Return the multivariate Kyle matrix, currency per share for each share traded, shape (assets, assets).

    An asset whose slope or volatility is zero, or whose correlation with every other asset is zero, keeps its own slope.

    Args:
        slopes: Own Kyle slope of each asset, currency per share for each share traded, shape (assets,).
        volatilities: Volatility of each asset, currency per share and square root of a day, shape (assets,).
        correlation: Correlation of the returns, shape (assets, assets).
    """
    slope, volatility, correlation = (np.asarray(values, dtype=float) for values in (slopes, volatilities, correlation))
    matrix = np.diag(slope)
    usable = (slope > 0.0) & (volatility > 0.0)
    pairs = (correlation != 0.0) & np.outer(usable, usable) & ~np.eye(len(slope), dtype=bool)
    joined = np.flatnonzero(pairs.any(axis=1))
    if len(joined):
        scale = volatility[joined] / slope[joined]
        exposure = scale * volatility[joined]
        root = _symmetric_root(np.outer(exposure, exposure) * correlation[np.ix_(joined, joined)])
        matrix[np.ix_(joined, joined)] = root / np.outer(scale, scale)
    return matrix


def _symmetric_root(matrix: Floats) -> Floats:
    """Return the symmetric positive semidefinite square root of a matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(0.5 * (root + root.T))


def impact_matrix(slopes: Any, volatilities: Any, correlation: Any, cross_impact: float) -> Floats:
    """Return (1 - c) diag(a) + c Lam_K; arguments as in :func:`kyle_matrix`, with c = `cross_impact` in [0, 1]."""
    own, kyle = np.diag(np.asarray(slopes, dtype=float)), kyle_matrix(slopes, volatilities, correlation)
    return np.asarray(own + cross_impact * (kyle - own))


def adverse(matrix: Any, sides: Sequence[float]) -> Floats:
    """Return S M S with S = diag(side): the matrix for trades in the direction of each asset's order, adverse is positive.

    A flip of all sides leaves the result unchanged.
    """
    return np.asarray(np.outer(sides, sides) * np.asarray(matrix, dtype=float))


def factor_correlation(factors: Sequence[Sequence[float]]) -> Floats:
    """Return the correlation B B' + diag(1 - sum of squares) of loadings B, shape (assets, factors).

    Raises:
        ValueError: The squares of a row sum to more than 1; the message names the row.
    """
    loadings = np.array(factors, dtype=float)
    matrix = loadings @ loadings.T
    for i, share in enumerate(np.diag(matrix)):
        if share > 1.0 + 1e-12:
            raise ValueError(f"factors[{i}] must have a sum of squares of at most 1 (a share of the variance), got {share:g}")
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)


def is_empty(rows: Any) -> bool:
    """Return whether a matrix is left out: it has no rows."""
    return hasattr(rows, "__len__") and not len(rows)


def check_factors(factors: Any, count: int) -> Rows:
    """Return factor loadings as rows, one for each of `count` assets; raise ValueError for a bad number or shape."""
    rows = _rows("factors", factors, count, low=-1.0, high=1.0)
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"factors must have rows of one length, got {sorted({len(row) for row in rows})}")
    factor_correlation(rows)
    return rows


def check_correlation(correlation: Any, count: int) -> Rows:
    """Return a correlation matrix as rows, exactly symmetric and with a diagonal of 1.

    Raises:
        ValueError: A number is out of range, or the matrix has another shape than (count, count), is not symmetric, has
            another diagonal than 1, or is not positive semidefinite. The message names the entry, or the lowest eigenvalue
            and the nearest correlation matrix.
    """
    rows = _rows("correlation", correlation, count, low=-1.0, high=1.0, length=count)
    for i, row in enumerate(rows):
        if abs(row[i] - 1.0) > _ROUNDING:
            raise ValueError(f"correlation[{i}][{i}] must be 1, got {row[i]:g}")
    matrix = check_impact_matrix("correlation", rows)
    np.fill_diagonal(matrix, 1.0)
    return tuple(tuple(row) for row in matrix.tolist())


def _rows(field: str, rows: Any, count: int, **bounds: Any) -> Rows:
    """Return a list of `count` lists of numbers as tuples of floats."""
    if not isinstance(rows, (list, tuple, np.ndarray)) or len(rows) != count:
        raise ValueError(f"{field} must be a list of {count} rows, one per asset, got {shown(rows)}")
    return tuple(check_numbers(f"{field}[{i}]", row, **bounds) for i, row in enumerate(rows))


def check_impact_matrix(field: str, rows: Any) -> Floats:
    """Return a matrix of persistent impact, or of correlation, exactly symmetric.

    Raises:
        ValueError: The matrix is not square, not symmetric, or not positive semidefinite. The message names the field and the
            entry, or the lowest eigenvalue and the nearest matrix that is positive semidefinite.
    """
    matrix = np.array(rows, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise ValueError(f"{field} must be a square matrix of finite numbers, got the shape {matrix.shape}")
    scale = float(np.abs(matrix).max(initial=0.0))
    gaps = np.abs(matrix - matrix.T)
    if gaps.max(initial=0.0) > _ROUNDING * scale:
        i, j = divmod(int(gaps.argmax()), len(matrix))
        raise ValueError(
            f"{field} must be symmetric, got {field}[{i}][{j}] = {matrix[i, j]:g} and {field}[{j}][{i}] = {matrix[j, i]:g}; "
            "a round trip in both assets would earn their difference"
        )
    matrix = np.asarray(0.5 * (matrix + matrix.T))
    lowest = float(np.linalg.eigvalsh(matrix).min(initial=0.0))
    if lowest < -_ROUNDING * scale:
        raise ValueError(
            f"{field} must be positive semidefinite, got the lowest eigenvalue {lowest:.4g}; the nearest such matrix is "
            f"{_offered(field, matrix)}"
        )
    return np.asarray(matrix)


def _offered(field: str, matrix: Floats) -> str:
    """Return the nearest positive semidefinite matrix as text, or the function that computes it where the text is long."""
    nearest = nearest_correlation(matrix) if field == "correlation" else _clipped(matrix)
    if len(matrix) > 4:
        return "what hyperexec_env.market.cross.nearest_correlation returns"
    return "[" + ", ".join("[" + ", ".join(f"{value:.4g}" for value in row) + "]" for row in nearest) + "]"


def _clipped(matrix: Floats) -> Floats:
    """Return a symmetric matrix with its negative eigenvalues set to zero: the nearest one in the Frobenius norm."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def nearest_correlation(matrix: Any) -> Floats:
    """Return a correlation matrix near a symmetric matrix: negative eigenvalues clipped, then the diagonal rescaled to 1."""
    clipped = _clipped(0.5 * (np.asarray(matrix, dtype=float) + np.asarray(matrix, dtype=float).T))
    scale = np.sqrt(np.diag(clipped))
    nearest = clipped / np.outer(scale, scale)
    np.fill_diagonal(nearest, 1.0)
    return np.asarray(0.5 * (nearest + nearest.T))


def check_same(field: str, values: Iterable[Any], names: Sequence[str], reason: str) -> None:
    """Check that all assets have the same value of a field.

    Raises:
        ValueError: Two assets differ; the message names the field, both assets, both values and the reason.
    """
    listed: list[Any] = list(values)
    first, others = listed[0], listed[1:]
    for name, value in zip(names[1:], others, strict=True):
        same = math.isclose(first, value, rel_tol=1e-12) if isinstance(first, float) else first == value
        if not same:
            raise ValueError(
                f"{field} must be equal for all assets, got {shown(first)} ({names[0]}) and {shown(value)} ({name}): {reason}"
            )


def check_one_resilience(values: Iterable[float], names: Sequence[str]) -> None:
    """Check that all assets have one resilience; raise ValueError otherwise."""
    reason = "with unequal speeds the decayed impact is not symmetric, and a round trip over two assets earns money"
    check_same("resilience", values, names, reason)


def lower_root(correlation: Any) -> Rows:
    """Return L, lower triangular with L L' = C, as rows; C may be singular. The first row is (1, 0, 0, ...) to the last bit."""
    matrix = np.asarray(correlation, dtype=float)
    root = np.zeros(matrix.shape)
    for j in range(len(matrix)):
        rest = matrix[j, j] - root[j, :j] @ root[j, :j]
        if rest > _ROUNDING:
            root[j, j] = math.sqrt(rest)
            root[j + 1 :, j] = (matrix[j + 1 :, j] - root[j + 1 :, :j] @ root[j, :j]) / root[j, j]
    return tuple(tuple(float(value) for value in row) for row in root)
