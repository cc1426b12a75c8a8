"""The specification of a market, which loops are compiled for, and the backends."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest

from hyperexec_env.backends.compiled import resolve_backend
from hyperexec_env.extras import MissingExtra
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import MarketSpec, build_market

pytestmark = pytest.mark.fast

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed (extra `fast`)")
DAY = get_scenario("regime-day")


CHANGES = {
    "beta": {"temp_impact_beta": 0.5},
    "transient_exponent": {"transient_exponent": 0.5},
    "flow_persistence": {"flow_persistence": 0.3},
    "volume_persistence": {"volume_persistence": 0.3},
    "geometric": {"price_model": "gbm"},
    "regimes": {"regimes": get_scenario("almgren-chriss").regimes},
    "drifting": {"regimes": get_scenario("trending-day").regimes},
    "capped": {"max_participation": 0.2},
    "price_risk": {"price_risk": 0.01},
    "noisy_volume": {"volume_noise": 0.0},
    "varying_level": {"volume_level_sd": 0.4},
    "unknown_drift": {"drift_sd": 0.01},
    "unknown_slope": {"temp_impact_sd": 0.3},
    "unknown_kyle": {"kyle_sd": 0.3},
    "hunted": {"predator": -0.2},
    "complete": {"complete": False},
}
"""A change of the scenario for each constant of a compiled loop."""


def test_each_constant_of_a_loop_changes_with_its_field_of_the_scenario_alone():
    assert set(CHANGES) == set(MarketSpec._fields)
    same = build_market(DAY).numbers.spec
    for field, change in CHANGES.items():
        spec = build_market(replace(DAY, **change)).numbers.spec
        assert {name for name in MarketSpec._fields if getattr(spec, name) != getattr(same, name)} == {field}


def test_scenarios_that_differ_in_numbers_only_share_a_loop():
    """Each specification costs seconds of compilation."""
    numbers = {"quantity": 1e5, "slices": 13, "volatility": 0.05, "risk_aversion": 0.0, "side": -1, "resilience": 0.0}
    for field, value in numbers.items():
        assert build_market(replace(DAY, **{field: value})).numbers.spec == build_market(DAY).numbers.spec, field
    specs = {build_market(get_scenario(name)).numbers.spec for name in scenario_names()}
    assert len(specs) < len(scenario_names())


def test_an_unknown_backend_is_refused_with_the_known_ones():
    for name in ("Numba", "", None, 1):
        with pytest.raises(ValueError, match=f"^backend must be one of auto, numba, numpy, got {name!r}"):
            resolve_backend(name)


def test_numpy_serves_where_numba_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert resolve_backend("auto") == resolve_backend("numpy") == "numpy"
    with pytest.raises(MissingExtra, match=r'^numba is not installed: pip install "hyperexec-env\[fast\]"$'):
        resolve_backend("numba")


@needs_numba
def test_numba_serves_where_it_is_installed():
    assert resolve_backend("auto") == resolve_backend("numba") == "numba"
    assert resolve_backend("numpy") == "numpy"
