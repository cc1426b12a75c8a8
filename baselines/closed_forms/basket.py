r"""Almgren and Chriss (2000) and Obizhaeva and Wang (2013) with matrices, for several assets.

Vectors are over d assets, in adverse coordinates (trades in the direction of each order).

Almgren and Chriss (2000) treat portfolios with a covariance matrix and diagonal linear temporary impact. With temporary cost
n' H n per slice, H diagonal, and risk lambda tau x' Sigma x of the shares x left after it, the best remaining shares are

    x_k = H^(-1/2) sinh(A (N - k)) sinh(A N)^(-1) H^(1/2) X,      2 (cosh A - 1) = lambda tau H^(-1/2) Sigma H^(-1/2)

Obizhaeva and Wang (2013) without risk and temporary impact: with symmetric transient slopes K and one decay e per slice, every
asset trades the schedule of one asset, a block at each end and equal trades between, which costs

    (1 + e) / 2 / (2 + (N - 2) (1 - e)) X' K X
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["almgren_chriss_remaining", "almgren_chriss_value", "obizhaeva_wang_cost", "obizhaeva_wang_weights"]

Floats = NDArray[np.float64]


def _modes(temporary: Any, risk: Any) -> tuple[Floats, Floats, Floats]:
    """Return the eigenvalues of A, its eigenvectors, and the square root of the diagonal of H."""
    root = np.sqrt(np.asarray(temporary, dtype=float))
    values, vectors = np.linalg.eigh(np.asarray(risk, dtype=float) / np.outer(root, root))
    return np.arccosh(1.0 + 0.5 * np.maximum(values, 0.0)), vectors, root


def almgren_chriss_remaining(temporary: Any, risk: Any, quantities: Any, slices: int) -> Floats:
    """Return the remaining shares of the best schedule at the start of each slice and at the end, shape (slices + 1, assets).

    Args:
        temporary: Diagonal of H, currency for each squared share, positive, shape (assets,).
        risk: lambda tau Sigma, currency for each squared share, positive semidefinite, shape (assets, assets).
        quantities: Orders X, shares, shape (assets,).
        slices: Number of slices N.
    """
    rates, vectors, root = _modes(temporary, risk)
    left = slices - np.arange(slices + 1)[:, None]
    flat = rates * slices < 1e-9  # the limit of an eigenvalue of zero is the steady pace
    safe = np.where(flat, 1.0, rates)
    # sinh(a m) / sinh(a N) = exp(-a (N - m)) (1 - exp(-2 a m)) / (1 - exp(-2 a N)), which does not overflow
    ratio = np.exp(-safe * (slices - left)) * np.expm1(-2.0 * safe * left) / np.expm1(-2.0 * safe * slices)
    modes = np.where(flat, left / slices, ratio) * (vectors.T @ (root * np.asarray(quantities, dtype=float)))
    return np.asarray(modes @ vectors.T / root)


def almgren_chriss_value(temporary: Any, risk: Any, quantities: Any, slices: int) -> float:
    """Return the objective of :func:`almgren_chriss_remaining`, currency; arguments as there."""
    remaining = almgren_chriss_remaining(temporary, risk, quantities, slices)
    trades = -np.diff(remaining, axis=0)
    held = np.einsum("ki,ij,kj", remaining[1:], np.asarray(risk, dtype=float), remaining[1:])
    return float((trades**2 * np.asarray(temporary, dtype=float)).sum() + held)


def obizhaeva_wang_weights(slices: int, decay: float) -> Floats:
    """Return the fraction of each order that each slice trades, shape (slices,); `decay` is that of a slice, below 1."""
    weights = np.full(slices, 1.0 - decay)
    weights[0] = weights[-1] = 1.0
    return np.asarray(weights / weights.sum())


def obizhaeva_wang_cost(transient: Any, quantities: Any, slices: int, decay: float) -> float:
    """Return the transient cost of that schedule, currency.

    Args:
        transient: K, currency per share for each share, symmetric and positive semidefinite, shape (assets, assets).
        quantities: Orders X, shares, shape (assets,).
        slices: Number of slices N, at least 2.
        decay: Fraction of a displacement that is left after a slice, below 1.
    """
    orders = np.asarray(quantities, dtype=float)
    form = float(orders @ np.asarray(transient, dtype=float) @ orders)
    return 0.5 * (1.0 + decay) / (2.0 + (slices - 2) * (1.0 - decay)) * form
