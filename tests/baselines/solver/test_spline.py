"""Splines: exactness for cubic polynomials, order of convergence, agreement of interpolation matrix and surfaces."""

import numpy as np
import pytest

from hyperexec_env.baselines.solver.spline import Axis, interpolation, surfaces

pytestmark = pytest.mark.fast


def cubic(rng, flat=False):
    """Return a random cubic polynomial; with `flat` its slope at zero is zero."""
    coefficients = rng.normal(size=4)
    coefficients[1] *= not flat
    return np.polynomial.Polynomial(coefficients)


@pytest.mark.parametrize("flat", [False, True])
def test_products_of_cubic_polynomials_and_their_derivatives_are_exact(flat):
    for counts in [(4, 4), (5, 9), (12, 4), (33, 61)]:
        rng = np.random.default_rng(counts[0])
        first, second = Axis(0.0, 2.0, counts[0], flat), Axis(-1.0, 3.0, counts[1])
        pairs = [(cubic(rng, flat), cubic(rng)) for _ in range(3)]
        values = np.array([np.outer(p(first.nodes), q(second.nodes)) for p, q in pairs])
        made, index = surfaces(first, second, values), rng.integers(0, 3, 500)
        u, v = rng.uniform(0.0, 2.0, 500), rng.uniform(-1.0, 3.0, 500)
        value, by_u, by_v = made.at(index, u, v, slopes=True)
        for i, (p, q) in enumerate(pairs):
            own, (x, y) = index == i, (u[index == i], v[index == i])
            assert value[own] == pytest.approx(p(x) * q(y), rel=1e-10, abs=1e-10)
            assert by_u[own] == pytest.approx(p.deriv()(x) * q(y), rel=1e-10, abs=1e-9)
            assert by_v[own] == pytest.approx(p(x) * q.deriv()(y), rel=1e-10, abs=1e-9)


def test_a_surface_interpolates_its_nodes():
    rng = np.random.default_rng(0)
    first, second = Axis(0.0, 1.0, 7), Axis(0.0, 1.0, 5)
    values = rng.normal(size=(1, 7, 5))
    u, v = np.meshgrid(first.nodes, second.nodes, indexing="ij")
    assert surfaces(first, second, values).at(0, u, v)[0] == pytest.approx(values[0], abs=1e-12)


def test_the_slopes_are_the_derivatives_of_the_value():
    rng = np.random.default_rng(1)
    made = surfaces(Axis(0.0, 1.0, 9, flat=True), Axis(0.0, 1.0, 6), rng.normal(size=(2, 9, 6)))
    index, u, v, h = rng.integers(0, 2, 200), rng.uniform(0.01, 0.99, 200), rng.uniform(0.01, 0.99, 200), 1e-6
    _, by_u, by_v = made.at(index, u, v, slopes=True)
    assert (made.at(index, u + h, v)[0] - made.at(index, u - h, v)[0]) / (2.0 * h) == pytest.approx(by_u, rel=1e-6, abs=1e-6)
    assert (made.at(index, u, v + h)[0] - made.at(index, u, v - h)[0]) / (2.0 * h) == pytest.approx(by_v, rel=1e-6, abs=1e-6)


def test_a_flat_first_node_has_zero_slope():
    rng = np.random.default_rng(2)
    first, second = Axis(-1.0, 1.0, 8, flat=True), Axis(0.0, 0.0, 1)
    made = surfaces(first, second, rng.normal(size=(1, 8, 1)))
    at_first = made.at(0, np.array([-1.0]), np.array([0.0]), slopes=True)[1]
    assert at_first == pytest.approx(0.0, abs=1e-12)
    free = surfaces(first._replace(flat=False), second, rng.normal(size=(1, 8, 1)))
    assert abs(free.at(0, np.array([-1.0]), np.array([0.0]), slopes=True)[1][0]) > 1e-3


@pytest.mark.parametrize("swapped", [False, True])
def test_a_surface_does_not_depend_on_an_axis_with_a_single_node(swapped):
    rng = np.random.default_rng(3)
    long, single, curve = Axis(0.0, 1.0, 6), Axis(0.0, 0.0, 1), cubic(rng)
    axes, shape = ((single, long), (1, 1, 6)) if swapped else ((long, single), (1, 6, 1))
    made = surfaces(*axes, curve(long.nodes).reshape(shape))
    x, anything = rng.uniform(size=50), rng.normal(size=50)
    value, by_u, by_v = made.at(0, *((anything, x) if swapped else (x, anything)), slopes=True)
    assert value == pytest.approx(curve(x), abs=1e-12)
    assert (by_v if swapped else by_u) == pytest.approx(curve.deriv()(x), abs=1e-10)
    assert ((by_u if swapped else by_v) == 0.0).all()
    assert interpolation(single, anything) == pytest.approx(np.ones((50, 1)))


@pytest.mark.parametrize("flat", [False, True])
def test_interpolation_weights_sum_to_one_and_agree_with_the_surfaces(flat):
    for count in [4, 5, 20]:
        rng = np.random.default_rng(count)
        axis, points = Axis(-2.0, 1.5, count, flat), rng.uniform(-2.0, 1.5, (7, 30))
        matrix, values = interpolation(axis, points), rng.normal(size=count)
        assert matrix.shape == (7, 30, count)
        assert matrix.sum(axis=-1) == pytest.approx(1.0, abs=1e-12)
        made = surfaces(axis, Axis(0.0, 0.0, 1), values.reshape(1, -1, 1))
        assert matrix @ values == pytest.approx(made.at(0, points, np.zeros_like(points))[0], abs=1e-12)
        assert interpolation(axis, axis.nodes) == pytest.approx(np.eye(count), abs=1e-12)


def test_halving_the_node_spacing_divides_the_error_by_sixteen():
    points = np.linspace(0.0, 1.0, 1001)
    errors = [
        np.abs(interpolation(axis, points) @ np.exp(np.sin(5.0 * axis.nodes)) - np.exp(np.sin(5.0 * points))).max()
        for axis in (Axis(0.0, 1.0, 41), Axis(0.0, 1.0, 81))
    ]
    assert 12.0 < errors[0] / errors[1] < 24.0


def test_three_nodes_interpolate_a_parabola_exactly():
    axis, points = Axis(0.0, 1.0, 3), np.linspace(0.0, 1.0, 11)
    curve = np.polynomial.Polynomial([0.3, -1.2, 0.7])
    assert interpolation(axis, points) @ curve(axis.nodes) == pytest.approx(curve(points), abs=1e-12)
