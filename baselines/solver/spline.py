"""Cubic splines on even nodes, in one and two dimensions, with their slopes: many surfaces at once. numpy only."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "Surfaces", "interpolation", "surfaces"]

Floats = NDArray[np.float64]


class Axis(NamedTuple):
    """Even nodes from `low` to `high`; a single node stands for a coordinate that nothing depends on."""

    low: float
    high: float
    count: int  # type: ignore[assignment]  # hides the method of tuples
    flat: bool = False
    """Whether the slope is known to be zero at the first node."""

    @property
    def nodes(self) -> Floats:
        """The nodes, shape (count,)."""
        return np.linspace(self.low, self.high, self.count)

    @property
    def spacing(self) -> float:
        """Distance of two nodes."""
        return (self.high - self.low) / max(self.count - 1, 1) or 1.0


class Taps(NamedTuple):
    """Where a value stands on an axis: the first of its B-splines, and the weights of all of them."""

    first: NDArray[np.intp]
    weights: list[Floats]
    slopes: list[Floats]
    """Derivatives of the weights."""


def _taps(axis: Axis, values: Floats) -> Taps:
    """Return the four cubic B-splines that a value meets (one constant where the axis has one node).

    Beyond the last node the last piece goes on.
    """
    if axis.count == 1:
        one = np.ones_like(values)
        return Taps(np.zeros(values.shape, dtype=np.intp), [one], [0.0 * one])
    place = (values - axis.low) / axis.spacing
    first = np.clip(place.astype(np.intp), 0, axis.count - 2)
    t = place - first
    rest, square = 1.0 - t, t * t
    cube = square * t
    weights: list[Any] = [rest**3 / 6.0, (3.0 * cube - 6.0 * square + 4.0) / 6.0, 0.0, cube / 6.0]
    weights[2] = 1.0 - weights[0] - weights[1] - weights[3]
    scale = 1.0 / axis.spacing
    slopes: list[Any] = [-0.5 * scale * rest * rest, scale * (1.5 * square - 2.0 * t), 0.0, 0.5 * scale * square]
    slopes[2] = -(slopes[0] + slopes[1] + slopes[3])
    return Taps(first, weights, slopes)


@cache
def _coefficients(count: int, flat: bool) -> Floats:
    """Return the matrix from values at `count` nodes to the B-spline coefficients, shape (count + 2, count).

    The ends are "not a knot": the first two pieces are one polynomial, and so are the last two (de Boor 1978); but a first node
    with a slope of zero has that.
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
    """Return the matrix that takes values at the nodes to the spline at some points, shape (*points, count)."""
    taps = _taps(axis, np.asarray(values, dtype=float))
    matrix = _coefficients(axis.count, axis.flat)
    return np.asarray(sum(weight[..., None] * matrix[taps.first + i] for i, weight in enumerate(taps.weights)))


class Surfaces(NamedTuple):
    """Spline surfaces over two axes, numbered."""

    first: Axis
    second: Axis
    coefficients: Floats
    """Shape (surfaces, first.count + 2, second.count + 2), flat."""

    def at(self, number: Any, u: Floats, v: Floats, slopes: bool = False) -> tuple[Floats, Floats, Floats]:
        """Return the value of surface `number` at (u, v), and where asked for its two slopes, all of the shape of `u`."""
        width = self.second.count + 2 * (self.second.count > 1)
        height = self.first.count + 2 * (self.first.count > 1)
        one, two = _taps(self.first, u), _taps(self.second, v)
        start = (number * height + one.first) * width + two.first
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
    """Return the surfaces through values at the nodes, shape (surfaces, first.count, second.count)."""
    made = _coefficients(first.count, first.flat) @ values @ _coefficients(second.count, second.flat).T
    return Surfaces(first, second, np.ascontiguousarray(made).ravel())
