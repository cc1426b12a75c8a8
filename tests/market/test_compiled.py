"""The compiled market: its forms are the functions they stand for, and a loop is known by all that it was made for.

That compiled lanes and rollouts are those of numpy is tested where they are used.
"""

from __future__ import annotations

import math
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env.extras import MissingExtra
from hyperexec_env.market import compiled, noise, numeric, path
from hyperexec_env.market.compiled import kind_of, resolve_backend, tables_of, twins
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")

DAY = get_scenario("regime-day")
KIND = kind_of(build_market(DAY))
PACKAGE = Path(compiled.__file__).parent.parent


def bits(values):
    return np.asarray(values).view(f"u{np.asarray(values).itemsize}")


# --- compiled forms


@needs_numba
def test_compiled_noise_is_that_of_numpy_bit_for_bit():
    def run(drawn, deviation, out):
        kind  # noqa: B018
        for j in range(len(drawn)):
            word = noise.mix(drawn[j])
            out[0, j], out[1, j] = noise.normal_pair(word)
            out[2, j], out[3, j] = noise.polar(word)
            out[4, j] = path.volume_factor(out[0, j], deviation)
            out[5, j] = noise.exponential(np.float32(12.0) * out[1, j])

    kind = KIND
    rng = np.random.default_rng(5)
    ends = np.array([0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**32, 2**64 - 1], np.uint64)
    wanted = np.concatenate([ends, rng.integers(0, 2**64, 20_000, np.uint64)])
    drawn = unmixed(wanted)
    words, deviation = noise.mix(drawn.copy()), np.float32(0.8)
    assert np.array_equal(words, wanted)
    found = np.empty((6, len(drawn)), np.float32)
    twins().build(run, kind)(drawn, deviation, found)
    crowd, news = noise.normal_pair(words)
    factor = path.volume_factor(crowd, deviation)
    expected = np.stack([crowd, news, *noise.polar(words), factor, noise.exponential(np.float32(12.0) * news)])
    assert np.array_equal(bits(found), bits(expected))


def unmixed(words):
    """The words that `mix` turns into these: its steps backwards, each of which is a bijection."""
    words = words.copy()
    for shift, factor in zip(noise._SHIFTS[::-1], (None, noise._SECOND, noise._FIRST), strict=True):
        if factor is not None:
            words *= np.uint64(pow(int(factor), -1, 2**64))
        shifted = words >> shift
        while shifted.any():
            words ^= shifted
            shifted >>= np.uint64(shift)
    return words


@needs_numba
def test_compiled_helpers_are_those_of_python_floats_bit_for_bit():
    def run(a, b, c, d, out):
        kind  # noqa: B018
        for j in range(len(a)):
            out[0, j] = numeric.minimum(a[j], b[j])
            out[1, j] = numeric.maximum(a[j], b[j])
            out[2, j] = numeric.between(a[j], b[j], c[j], d[j])
            out[3, j] = numeric.signed(b[j], a[j])
            for row in range(4):
                out[4 + row, j] = numeric.power(abs(a[j]), 0.5 + 0.5 * row)

    kind = KIND
    grid = np.array(list(product([-3.5, -0.0, 0.0, 1e-300, 0.3, 2.0, 7.0, math.inf], repeat=4)))
    found = np.empty((8, len(grid)))
    twins().build(run, kind)(*np.ascontiguousarray(grid.T), found)
    expected = [
        [
            numeric.minimum(a, b),
            numeric.maximum(a, b),
            numeric.between(a, b, c, d),
            numeric.signed(b, a),
            *(numeric.power(abs(a), 0.5 + 0.5 * row) for row in range(4)),
        ]
        for a, b, c, d in grid.tolist()
    ]
    assert np.array_equal(bits(found), bits(np.array(expected).T.copy()))


# --- kinds and tables


CHANGES = {
    "beta": {"temp_impact_beta": 0.6},
    "transient_exponent": {"transient_exponent": 0.5},
    "flow_persistence": {"flow_persistence": 0.3},
    "geometric": {"price_model": "gbm"},
    "regimes": {"regimes": get_scenario("almgren-chriss").regimes},
    "drifting": {"regimes": get_scenario("trending-day").regimes},
    "capped": {"max_participation": 0.2},
    "held": {"price_risk": 0.01},
    "noisy": {"volume_noise": 0.0},
    "hunted": {"predator": -0.2},
    "complete": {"complete": False},
}
"""What a compiled loop is made for, and a scenario in which it is otherwise."""


def test_a_kind_tells_all_that_branches():
    assert {*CHANGES, "fingerprint", "martingale"} == set(KIND._fields)
    for field, change in CHANGES.items():
        kind = kind_of(build_market(replace(DAY, **change)))
        also = {"martingale"} if field in ("drifting", "flow_persistence") else set()
        assert {name for name in KIND._fields if getattr(kind, name) != getattr(KIND, name)} == {field, *also}


def test_numbers_make_no_kind():
    """A loop serves all scenarios that differ in numbers only: each kind costs seconds of compilation."""
    numbers = {"quantity": 1e5, "slices": 13, "volatility": 0.05, "risk_aversion": 0.0, "side": -1, "resilience": 0.0}
    for field, value in numbers.items():
        assert kind_of(build_market(replace(DAY, **{field: value}))) == KIND, field
    assert len({kind_of(build_market(get_scenario(name))) for name in scenario_names()}) < len(scenario_names())


@pytest.mark.parametrize("name", scenario_names())
def test_the_tables_hold_the_numbers_of_every_slice_and_regime(name):
    market = build_market(get_scenario(name))
    tables = tables_of(market, realised=True)
    count, most = market.regimes, kind_of(market).regimes
    for row, field in zip(tables.by_regime.reshape(-1, most), compiled.BY_REGIME, strict=True):
        assert np.array_equal(row[:count], getattr(market, field)[:count])
    assert np.array_equal(tables.mean_volume.reshape(market.mean_volume.shape), market.mean_volume)
    assert np.array_equal(tables.thresholds.reshape(most - 1, most)[: count - 1, :count], market.next_thresholds)
    assert (tables.thresholds.reshape(most - 1, most)[count - 1 :] >= 2**32).all()  # are never reached
    assert np.array_equal(tables.start[: count - 1], market.start_thresholds[:, 0])
    assert (tables.start[count - 1 :] >= 2**32).all()
    assert tables.ends.tolist() == [*market.least[[0, -1]], *market.cap[[0, -1]]]
    assert (tables.numbers[10], tables_of(market).numbers[10]) == (1.0, 0.0)


def test_what_is_packed_is_unpacked():
    parts = [np.arange(3.0), np.zeros(0), np.array([7.0]), np.full(200, -1.0)]
    packed = compiled.pack(*parts)
    for number, part in enumerate(parts):
        assert np.array_equal(compiled.unpack(packed, number), part)
    assert len(packed) >= sum(map(len, parts)) + compiled.SIZES[-1]  # the last row may be read beyond its end


@pytest.mark.parametrize("field", ["least", "cap"])
def test_a_market_that_asks_otherwise_of_a_slice_in_the_middle_is_refused(field):
    market = build_market(replace(DAY, max_participation=0.1))
    values = getattr(market, field).copy()
    values[7] = 0.05
    with pytest.raises(ValueError, match=r"^a compiled market must ask the same of all slices but the last"):
        tables_of(replace(market, **{field: values}))


# --- backends


@pytest.mark.parametrize("name", ["Numba", "", None, 1])
def test_a_backend_that_does_not_exist_gets_one_line(name):
    with pytest.raises(ValueError, match=f"^backend must be one of auto, numba, numpy, got {name!r}"):
        resolve_backend(name)


def test_numpy_serves_where_numba_is_missing_and_is_not_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert resolve_backend("auto") == resolve_backend("numpy") == "numpy"
    with pytest.raises(MissingExtra, match=r'^numba is not installed: pip install "hyperexec-env\[fast\]"$'):
        resolve_backend("numba")


@needs_numba
def test_numba_serves_where_it_is_installed():
    assert resolve_backend("auto") == resolve_backend("numba") == "numba"
    assert resolve_backend("numpy") == "numpy"


# --- loops that are kept on disk


@pytest.fixture
def fingerprint_in(tmp_path, monkeypatch):
    """The fingerprint of a copy of the source, in the folder that is given."""
    shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "package" / "market" / "compiled.py"))
    return tmp_path / "package", compiled._fingerprint.__wrapped__


COVERED = (
    *("market/account.py", "market/kernel.py", "market/noise.py", "market/numeric.py", "market/path.py", "market/predator.py"),
    *("market/compiled.py", "envs/compiled.py", "envs/action.py", "envs/observation.py", "evaluation/fused.py"),
)
"""The source of all that is compiled."""


@pytest.mark.parametrize("file", COVERED)
def test_a_change_of_the_source_makes_another_kind(fingerprint_in, file):
    folder, fingerprint = fingerprint_in
    assert fingerprint() == KIND.fingerprint
    with (folder / file).open("a", encoding="utf-8") as text:
        text.write("\n")
    assert fingerprint() not in ("", KIND.fingerprint)


@needs_numba
def test_a_loop_on_disk_is_used_for_its_kind_only(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    def loaded(kind):
        def run(value):
            kind  # noqa: B018
            return value + 1.0

        loop = twins().build(run, kind)
        assert loop(1.0) == 2.0
        return bool(loop.stats.cache_hits)

    assert not loaded(KIND)
    assert loaded(KIND)
    others = [KIND._replace(fingerprint="another"), *(KIND._replace(**{field: 0.25}) for field in CHANGES)]
    for other in others:
        assert not loaded(other), other
    assert loaded(KIND)


@needs_numba
def test_where_nothing_can_be_kept_a_loop_is_compiled_all_the_same():
    """As for a function that stands in no file."""
    names = {}
    source = "def made_for(kind):\n    def run(value):\n        kind\n        return value + 1.0\n    return run\n"
    exec(compile(source, "<nowhere>", "exec"), names)  # noqa: S102 - the text stands above
    loop = twins().build(names["made_for"](KIND), KIND)
    assert loop(1.0) == 2.0
    assert loop.stats.cache_path is None
