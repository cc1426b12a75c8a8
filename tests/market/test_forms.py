"""Functions with a form for the compiler: the form returns the numbers of the function, bit for bit."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

from hyperexec_env.backends.compiled import compiler, resolve_backend
from hyperexec_env.extras import MissingExtra
from hyperexec_env.market import noise, numeric, path
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import MarketSpec, build_market

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed (extra `fast`)")
DAY = get_scenario("regime-day")


def compiled(function):
    """Return a function of this file, compiled with what it calls."""
    import numba

    compiler().register(function)
    return numba.njit(error_model="numpy")(function)


def bits(values):
    return np.ascontiguousarray(values).view(np.uint8)


def draw_lane_by_lane(words, deviation, out):
    for j in range(len(words)):
        upper, lower = np.uint32(words[j] >> noise.UPPER), np.uint32(words[j] & noise.LOWER)
        first, second = noise.normals(upper, lower)
        out[0, j], out[1, j] = first, second
        out[2, j] = noise.normal(upper, lower)
        out[3, j] = path.volume_factor(first, deviation)
        out[4, j] = noise.exponential(np.float32(12.0) * second)


@needs_numba
def test_compiled_noise_equals_numpy_noise_bit_for_bit():
    rng = np.random.default_rng(3)
    words = np.concatenate([rng.integers(0, 2**64, 20_000, dtype=np.uint64), np.array([0, 1, 2**32 - 1, 2**64 - 1], np.uint64)])
    found, deviation = np.empty((5, len(words)), np.float32), np.float32(0.3)
    compiled(draw_lane_by_lane)(words, deviation, found)
    first, second = noise.normal_pair(words)
    factor = path.volume_factor(first, deviation)
    expected = np.stack([first, second, first, factor, noise.exponential(np.float32(12.0) * second)])
    assert np.array_equal(bits(found), bits(expected))


def help_lane_by_lane(a, b, c, d, out):
    for j in range(len(a)):
        out[0, j] = numeric.minimum(a[j], b[j])
        out[1, j] = numeric.maximum(a[j], b[j])
        out[2, j] = numeric.between(a[j], b[j], c[j], d[j])
        out[3, j] = numeric.signed(b[j], a[j])
        out[4, j] = numeric.where(a[j] > b[j], c[j], d[j])
        for row in range(4):
            out[5 + row, j] = numeric.power(abs(a[j]), 0.5 + 0.5 * row)


@needs_numba
def test_compiled_helpers_equal_the_helpers_on_floats_bit_for_bit():
    grid = np.array(list(product([-3.5, -0.0, 0.0, 1e-300, 0.3, 2.0, 7.0, math.inf], repeat=4)))
    found, expected = np.empty((9, len(grid))), np.empty((9, len(grid)))
    compiled(help_lane_by_lane)(*np.ascontiguousarray(grid.T), found)
    for j, (a, b, c, d) in enumerate(grid.tolist()):
        powers = [numeric.power(abs(a), 0.5 + 0.5 * row) for row in range(4)]
        chosen = numeric.where(a > b, c, d)
        expected[:, j] = [
            *(numeric.minimum(a, b), numeric.maximum(a, b), numeric.between(a, b, c, d), numeric.signed(b, a), chosen),
            *powers,
        ]
    assert np.array_equal(bits(found), bits(expected))


CHANGES = {
    "beta": {"temp_impact_beta": 0.6},
    "transient_exponent": {"transient_exponent": 0.5},
    "flow_persistence": {"flow_persistence": 0.3},
    "geometric": {"price_model": "gbm"},
    "regimes": {"regimes": get_scenario("almgren-chriss").regimes},
    "drifting": {"regimes": get_scenario("trending-day").regimes},
    "capped": {"max_participation": 0.2},
    "price_risk": {"price_risk": 0.01},
    "noisy_volume": {"volume_noise": 0.0},
    "hunted": {"predator": -0.2},
    "complete": {"complete": False},
}
"""A change of the scenario for each constant of a compiled loop."""


@pytest.mark.fast
def test_each_constant_of_a_loop_changes_with_its_field_of_the_scenario_alone():
    assert set(CHANGES) == set(MarketSpec._fields)
    same = build_market(DAY).numbers.spec
    for field, change in CHANGES.items():
        spec = build_market(replace(DAY, **change)).numbers.spec
        assert {name for name in MarketSpec._fields if getattr(spec, name) != getattr(same, name)} == {field}


@pytest.mark.fast
def test_scenarios_that_differ_in_numbers_only_share_a_loop():
    """Each specification costs seconds of compilation."""
    numbers = {"quantity": 1e5, "slices": 13, "volatility": 0.05, "risk_aversion": 0.0, "side": -1, "resilience": 0.0}
    for field, value in numbers.items():
        assert build_market(replace(DAY, **{field: value})).numbers.spec == build_market(DAY).numbers.spec, field
    specs = {build_market(get_scenario(name)).numbers.spec for name in scenario_names()}
    assert len(specs) < len(scenario_names())


@pytest.mark.fast
def test_an_unknown_backend_is_refused_with_the_known_ones():
    for name in ("Numba", "", None, 1):
        with pytest.raises(ValueError, match=f"^backend must be one of auto, numba, numpy, got {name!r}"):
            resolve_backend(name)


@pytest.mark.fast
def test_numpy_serves_where_numba_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert resolve_backend("auto") == resolve_backend("numpy") == "numpy"
    with pytest.raises(MissingExtra, match=r'^numba is not installed: pip install "hyperexec-env\[fast\]"$'):
        resolve_backend("numba")


@needs_numba
def test_numba_serves_where_it_is_installed():
    assert resolve_backend("auto") == resolve_backend("numba") == "numba"
    assert resolve_backend("numpy") == "numpy"
