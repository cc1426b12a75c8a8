"""Cubic spline interpolation on uniform grids in one and two dimensions, with derivatives, vectorised over many surfaces."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "Surfaces", "interpolation", "surfaces"]

Floats = NDArray[np.float64]


class Axis(NamedTuple):
    """Uniform grid from `low` to `high`; a grid with one node represents a coordinate on which the values do not depend."""

    low: float
    high: float
    count: int  # type: ignore[assignment]  # hides the method of tuples
    flat: bool = False
    """Whether the spline has zero slope at the first node."""

    @property
    def nodes(self) -> Floats:
        """Nodes, shape (count,)."""
        return np.linspace(self.low, self.high, self.count)

    @property
    def spacing(self) -> float:
        """Distance between neighbouring nodes (1 for a single node)."""
        return (self.high - self.low) / max(self.count - 1, 1) or 1.0


class _Basis(NamedTuple):
    """B-splines that are non-zero at some points; arrays have the shape of the points."""

    first: NDArray[np.intp]
    """Index of the first B-spline."""
    weights: list[Floats]
    """Values of the B-splines, one array for each."""
    slopes: list[Floats]
    """Derivatives of the B-splines, one array for each."""


def _basis(axis: Axis, values: Floats) -> _Basis:
    """Evaluate the four cubic B-splines that are non-zero at each value (the constant 1 if the axis has a single node).

    Values outside the axis are extrapolated with the first or last polynomial piece.
    """
    if axis.count == 1:
        one = np.ones_like(values)
        return _Basis(np.zeros(values.shape, dtype=np.intp), [one], [0.0 * one])
    position = (values - axis.low) / axis.spacing
    first = np.clip(position.astype(np.intp), 0, axis.count - 2)
    t = position - first
    rest, square = 1.0 - t, t * t
    cube = square * t
    weights: list[Any] = [rest**3 / 6.0, (3.0 * cube - 6.0 * square + 4.0) / 6.0, 0.0, cube / 6.0]
    weights[2] = 1.0 - weights[0] - weights[1] - weights[3]
    scale = 1.0 / axis.spacing
    slopes: list[Any] = [-0.5 * scale * rest * rest, scale * (1.5 * square - 2.0 * t), 0.0, 0.5 * scale * square]
    slopes[2] = -(slopes[0] + slopes[1] + slopes[3])
    return _Basis(first, weights, slopes)


@cache
def _coefficients(count: int, flat: bool) -> Floats:
    """Return the matrix that maps values at `count` nodes to B-spline coefficients, shape (count + 2, count).

    Both ends use the not-a-knot condition (de Boor 1978): the first two pieces are one polynomial, and so are the last two.
    With `flat`, the first node has zero slope instead.
    """
    if count == 1:
        return np.ones((1, 1))
    system = np.zeros((count + 2, count + 2))
    for i in range(count):
        system[i, i : i + 3] = np.array([1.0, 4.0, 1.0]) / 6.0
    jump = np.array([-1.0, 4.0, -6.0, 4.0, -1.0]) if count > 3 else np.array([1.0, -3.0, 3.0, -1.0])
    if flat:
        system[count, :3] = -1.0, 0.0, 1.0
    else:
        system[count, : len(jump)] = jump
    system[count + 1, -len(jump) :] = jump
    return np.asarray(np.linalg.solve(system, np.eye(count + 2)[:, :count]), dtype=np.float64)


def interpolation(axis: Axis, values: Any) -> Floats:
    """Return the matrix that maps values at the nodes to spline values at given points.

    Args:
        axis: The nodes.
        values: Points, array of any shape.

    Returns:
        Matrix of shape (*values.shape, axis.count).
    """
    basis = _basis(axis, np.asarray(values, dtype=float))
    matrix = _coefficients(axis.count, axis.flat)
    return np.asarray(sum(weight[..., None] * matrix[basis.first + i] for i, weight in enumerate(basis.weights)))


class Surfaces(NamedTuple):
    """Bicubic spline surfaces over a common pair of axes."""

    first: Axis
    second: Axis
    coefficients: Floats
    """Flattened B-spline coefficients, shape (surfaces, first.count + 2, second.count + 2); size 1 for an axis of one node."""

    def at(self, index: Any, u: Floats, v: Floats, slopes: bool = False) -> tuple[Floats, Floats, Floats]:
        """Return the values of surfaces at (u, v) and their partial derivatives.

        Args:
            index: Surface index, broadcastable to the shape of `u`.
            u: Coordinate on the first axis.
            v: Coordinate on the second axis, in the shape of `u`.
            slopes: Whether to compute the derivatives; without them the derivatives are zeros.

        Returns:
            Value, derivative in u and derivative in v, each in the shape of `u`.
        """
        width = self.second.count + 2 * (self.second.count > 1)
        height = self.first.count + 2 * (self.first.count > 1)
        one, two = _basis(self.first, u), _basis(self.second, v)
        start = (index * height + one.first) * width + two.first
        value, by_u, by_v = np.zeros(u.shape), np.zeros(u.shape), np.zeros(u.shape)
        for i, (weight, slope) in enumerate(zip(one.weights, one.slopes, strict=True)):
            line, change = np.zeros(u.shape), np.zeros(u.shape)
            for j, (across, tilt) in enumerate(zip(two.weights, two.slopes, strict=True)):
                gathered = self.coefficients.take(start + (i * width + j))
                line += across * gathered
                if slopes:
                    change += tilt * gathered
            value += weight * line
            if slopes:
                by_u += slope * line
                by_v += weight * change
        return value, by_u, by_v


def surfaces(first: Axis, second: Axis, values: Floats) -> Surfaces:
    """Return the surfaces that interpolate values at the nodes, shape (surfaces, first.count, second.count)."""
    coefficients = _coefficients(first.count, first.flat) @ values @ _coefficients(second.count, second.flat).T
    return Surfaces(first, second, np.ascontiguousarray(coefficients).ravel())
