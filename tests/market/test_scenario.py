"""Scenarios: round trips, validation, hashes, and independence of the number of slices."""

from __future__ import annotations

import json
import math
import os
import re
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.checks import shown
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import REGIME_NAMES, Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario, load_scenario, register_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

every_scenario = pytest.mark.parametrize("name", scenario_names())
LABELS = ("name", "description", "provenance")

plain_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
labels = plain_text.map(lambda text: "".join(filter(str.isprintable, text)))


@st.composite
def any_regimes(draw):
    names = draw(st.lists(st.sampled_from(REGIME_NAMES), min_size=1, max_size=6, unique=True))
    count = len(names)
    rates = np.array(draw(st.lists(st.floats(0.0, 50.0), min_size=count**2, max_size=count**2))).reshape(count, count)
    np.fill_diagonal(rates, 0.0)
    rates -= np.diag(rates.sum(axis=1))
    multipliers = st.lists(st.floats(0.1, 5.0), min_size=count, max_size=count).map(tuple)
    return Regimes(
        names=tuple(names),
        volatility=draw(multipliers),
        volume=draw(multipliers),
        spread=draw(multipliers),
        temporary=draw(multipliers | st.just(())),
        resilience=draw(multipliers),
        drift=draw(st.lists(st.floats(-1.0, 1.0), min_size=count, max_size=count).map(tuple)),
        rates=tuple(map(tuple, rates.tolist())),
        start=draw(st.sampled_from(["stationary", *names])),
    )


@st.composite
def any_scenario(draw):
    gamma = draw(st.floats(0.0, 2.0))
    day = draw(st.floats(1.0, 2000.0))
    horizon = draw(st.floats(0.01, 1.0)) * day
    exponent = draw(st.just(1.0) | st.floats(0.1, 2.0))
    return Scenario(
        name=draw(labels),
        description=draw(plain_text),
        side=draw(st.sampled_from([1, -1])),
        quantity=draw(st.floats(1e-3, 1e15)),
        arrival_price=draw(st.floats(1e-3, 1e9)),
        start_minute=draw(st.floats(0.0, 1.0)) * (day - horizon),
        horizon_minutes=horizon,
        slices=draw(st.integers(1, 500)),
        risk_aversion=draw(st.floats(0.0, 1.0)),
        price_risk=draw(st.floats(0.0, 1.0)),
        max_participation=draw(st.none() | st.floats(1e-3, 1.0)),
        complete=draw(st.booleans()),
        day_minutes=day,
        adv=draw(st.floats(1.0, 1e15)),
        volatility=draw(st.floats(0.0, 1.0)),
        half_spread_bps=draw(st.floats(0.0, 100.0)),
        perm_impact_gamma=gamma,
        kyle_lambda=gamma + draw(st.floats(0.01, 2.0)),
        temp_impact_alpha=draw(st.floats(0.0, 2.0)),
        temp_impact_beta=draw(st.floats(0.1, 2.0)),
        resilience=draw(st.floats(0.0, 1e3)),
        transient_exponent=exponent,
        volume_curve=draw(st.lists(st.floats(0.01, 10.0), max_size=30).map(tuple)),
        volatility_curve=draw(st.just(()) | st.lists(st.floats(0.01, 10.0), max_size=30).map(tuple)),
        volume_noise=draw(st.floats(0.0, 1.0)),
        volume_level_sd=draw(st.just(0.0) | st.floats(0.0, 1.0)),
        volume_persistence=draw(st.just(0.0) | st.floats(-0.999, 0.999)),
        flow_share=draw(st.floats(0.0, 1.0)),
        flow_persistence=draw(st.floats(-0.999, 0.999)),
        predator=draw(st.floats(-0.5, 2.0)) if exponent == 1.0 else 0.0,
        price_model=draw(st.sampled_from(["abm", "gbm"])),
        regimes=draw(any_regimes()),
        provenance=draw(st.dictionaries(plain_text, plain_text, max_size=3)),
    )


# --- round trips


def test_a_registered_scenario_round_trips_through_a_dict_and_a_file(tmp_path):
    for name in scenario_names():
        scenario = get_scenario(name)
        assert Scenario.from_dict(scenario.to_dict()) == scenario
        file = tmp_path / "scenario.toml"
        file.write_text(scenario.to_toml(), encoding="utf-8")
        assert load_scenario(file) == get_scenario(str(file)) == get_scenario(file) == scenario
        assert load_scenario(file).hash == scenario.hash


@given(any_scenario())
def test_any_scenario_round_trips_through_a_dict_and_toml(scenario):
    assert Scenario.from_dict(scenario.to_dict()) == scenario
    read = Scenario.from_toml(scenario.to_toml())
    assert read == scenario
    assert read.hash == scenario.hash
    assert build_market(scenario).scenario == scenario


def test_toml_comments_give_meaning_and_unit_of_each_field():
    for name in ("regime-day", "desk-5min", "geo-compat"):
        lines = get_scenario(name).to_toml().split("\n\n")[0].splitlines()
        for item in fields(Scenario):
            meaning = item.metadata.get("meaning")
            if meaning and get_scenario(name).to_dict().get(item.name) is not None:
                (line,) = (line for line in lines if line.startswith(f"{item.name} = "))
                assert line.endswith(", ".join(text for text in (meaning, item.metadata["unit"]) if text))


def test_get_scenario_accepts_a_name_a_dict_a_path_or_a_scenario(tmp_path):
    scenario = get_scenario("regime-day")
    assert get_scenario(scenario) is scenario
    assert get_scenario(scenario.to_dict()) == scenario
    assert get_scenario(MappingProxyType({"quantity": 5.0})) == Scenario(quantity=5.0)


def test_base_provides_the_values_of_omitted_fields():
    crisis = get_scenario("crisis-day")
    assert get_scenario({"base": "crisis-day"}) == replace(crisis, name="crisis-day*")
    variant = get_scenario({"base": "crisis-day", "name": "mine", "quantity": 1000, "regimes": {"start": "RECOVERY"}})
    assert variant == replace(crisis, name="mine", quantity=1000.0, regimes=replace(crisis.regimes, start="RECOVERY"))
    assert Scenario.from_toml('base = "crisis-day"\nname = "mine"\nquantity = 1000\n[regimes]\nstart = "RECOVERY"\n') == variant


def test_base_provides_no_values_of_other_regimes():
    """The multipliers of the base belong to its regimes, so that other names would get them by position."""
    two = get_scenario({"base": "regime-day", "regimes": {"names": ["CRISIS", "RECOVERY"], "volatility": [2.0, 1.0]}}).regimes
    assert two == Regimes(names=("CRISIS", "RECOVERY"), volatility=(2.0, 1.0))
    same = get_scenario("regime-day").regimes
    assert get_scenario({"base": "regime-day", "regimes": {"names": list(same.names)}}).regimes == same


def test_numeric_types_do_not_change_the_scenario():
    plain = Scenario(side=-1, quantity=1000.0, slices=5, volume_curve=(1.0, 2.0))
    other = Scenario(side=np.int64(-1), quantity=np.float32(1000), slices=5.0, volume_curve=np.array([1, 2]))
    assert other == plain
    assert other.hash == plain.hash
    assert type(Scenario(side=-1.0).side) is type(other.slices) is int


# --- the registry


def test_the_default_scenario_is_registered_first():
    assert scenario_names()[0] == "regime-day"
    assert all(get_scenario(name).name == name for name in scenario_names())
    assert all(get_scenario(name).description for name in scenario_names())


def test_registered_scenarios_have_distinct_hashes():
    assert len({get_scenario(name).hash for name in scenario_names()}) == len(scenario_names())


def test_a_registered_name_cannot_be_reused():
    taken = get_scenario("regime-day")
    assert register_scenario(taken) is taken
    with pytest.raises(
        ValueError, match="scenario 'regime-day' is already registered with different values; choose another name"
    ):
        register_scenario(replace(taken, quantity=1.0))
    assert get_scenario("regime-day") == taken


# --- invalid values


def test_an_invalid_value_raises_one_line_that_names_field_value_and_range():
    for name, value, allowed in [
        *(
            ("quantity", value, "a number in (0, 1e+15] shares")
            for value in (0, -1, math.nan, math.inf, "x", True, None, 10**400)
        ),
        *(("arrival_price", value, "a number in (0, 1e+09] currency per share") for value in (0.0, -2.0, math.nan)),
        ("start_minute", -1.0, "a number in [0, 1e+06] minutes after the open"),
        ("horizon_minutes", 0.0, "a number in (0, 1e+06] minutes"),
        *(("slices", value, "a whole number in [1, 100000]") for value in (0, -3, 2.5, math.nan, math.inf, "5", True, 10**400)),
        *(("side", value, "+1 (buy) or -1 (sell)") for value in (0, 2, True, "buy", None, math.nan)),
        ("risk_aversion", -1e-9, "a number in [0, 1e+06] 1 / currency"),
        *(("price_risk", value, "a number in [0, 1e+06] per day") for value in (-1e-9, math.nan)),
        *(("max_participation", value, "a number in (0, 1]") for value in (0.0, 1.5, math.nan, "all")),
        *(("complete", value, "true or false") for value in (1, "yes", None)),
        ("day_minutes", -390.0, "a number in (0, 1e+06] minutes"),
        ("adv", 0.0, "a number in (0, 1e+15] shares a day"),
        ("volatility", -0.01, "a number in [0, 10] fraction per square root of a day"),
        ("half_spread_bps", math.inf, "a number in [0, 5000] bps of the arrival price"),
        ("perm_impact_gamma", -0.1, "a number in [0, 1e+06]"),
        ("kyle_lambda", math.nan, "a number in [0, 1e+06]"),
        ("kyle_lambda", 0.1, "at least perm_impact_gamma (0.2)"),
        ("temp_impact_alpha", -0.3, "a number in [0, 1e+06]"),
        *(("temp_impact_beta", value, "a number in (0, 2]") for value in (0.0, 2.5)),
        ("resilience", -1.0, "a number in [0, 1e+06] per day"),
        *(("transient_exponent", value, "a number in (0, 2]") for value in (0.0, 2.5, math.nan, None)),
        ("volume_noise", -0.1, "a number in [0, 3]"),
        *(("volume_level_sd", value, "a number in [0, 3] sd of the log") for value in (-0.1, 3.1, math.nan)),
        *(("flow_share", value, "a number in [0, 1]") for value in (-0.1, 1.1)),
        *(("flow_persistence", value, "a number in [-0.999, 0.999]") for value in (1.0, -1.0)),
        *(("volume_persistence", value, "a number in [-0.999, 0.999]") for value in (1.0, -1.0, math.nan)),
        *(("predator", value, "a number in [-0.5, 2] fraction of the expected child order") for value in (-0.6, 2.1, math.nan)),
        *(("price_model", value, "one of abm, gbm") for value in ("gmb", "", 3, None)),
        *(("volume_curve", value, "a list of numbers") for value in (5, "flat", None)),
        *(("name", value, "printable text of at most 200 bytes") for value in (5, None, "\x1b[31m", "two\nlines", "é" * 101)),
        ("description", 5, "text"),
        ("provenance", "a file", "a table of texts"),
    ]:
        with pytest.raises(ValueError, match=f"^{name} must be {re.escape(allowed)}") as caught:
            Scenario(**{name: value})
        assert "\n" not in str(caught.value)
        assert (f"got {shown(value)}" in str(caught.value)) or f"got {value:g}" in str(caught.value)


def test_inconsistent_values_raise_one_line():
    for values, message in [
        ({"volume_curve": (1.0, -1.0)}, "volume_curve[1] must be a number in [0, 1e+15], got -1.0"),
        ({"volume_curve": (1.0, math.nan)}, "volume_curve[1] must be a number in [0, 1e+15], got nan"),
        ({"volume_curve": (0.0, 0.0)}, "volume_curve must sum to a positive number, got 0.0; leave it empty for a flat curve"),
        ({"volume_curve": (1.0, 0.0), "slices": 4}, "volume_curve must give every slice some volume, got none in slice 2 of 4"),
        ({"horizon_minutes": 391.0}, "start_minute + horizon_minutes must be at most day_minutes (390), got 0 + 391"),
        ({"start_minute": 1.0}, "start_minute + horizon_minutes must be at most day_minutes (390), got 1 + 390"),
        (
            {"kyle_lambda": 0.0, "perm_impact_gamma": 0.0},
            "flow_share must be 0 where kyle_lambda is 0 (flow cannot move the price), got 0.35",
        ),
        (
            {"predator": 0.3, "transient_exponent": 0.5},
            "transient_exponent must be 1 where predator is not 0 (a predator moves the price by Kyle's lambda), got 0.5",
        ),
        ({"regimes": 5}, "regimes must be a table of values, got 5"),
        ({"regimes": {"name": ["CRISIS"]}}, "unknown field regimes.name; did you mean 'names'?"),
        ({"quanttiy": 5}, "unknown field quanttiy; did you mean 'quantity'?"),
        ({"kyle": 5}, "unknown field kyle"),
        ({"base": "regime-dya"}, "unknown scenario 'regime-dya'; did you mean 'regime-day'? (known: regime-day, "),
        ({"base": ["regime-day"]}, "unknown scenario ['regime-day']"),
        ({"base": "desk-5min", "quantity": -1}, "quantity must be a number in (0, 1e+15] shares, got -1"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
            Scenario.from_dict(values)
        assert "\n" not in str(caught.value)


def test_an_unknown_scenario_is_named_in_the_error():
    for scenario in ("regime_day", "nothing like it", "", 5, None, ["regime-day"]):
        with pytest.raises(ValueError, match=re.escape(f"unknown scenario {scenario!r}")):
            get_scenario(scenario)


def test_an_invalid_file_is_named_in_the_error(tmp_path):
    missing, broken, wrong = tmp_path / "missing.toml", tmp_path / "broken.toml", tmp_path / "wrong.toml"
    broken.write_text("quantity = = 3", encoding="utf-8")
    wrong.write_text("quantity = -3", encoding="utf-8")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (missing, "cannot read the scenario file {}: "),
        (tmp_path / "binary.toml", "cannot read the scenario file {}: "),
        (tmp_path, "cannot read the scenario file {}: "),
        (broken, "{}: not a scenario in TOML: "),
        (wrong, "{}: quantity must be a number in (0, 1e+15] shares, got -3"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message.format(path))}"):
            get_scenario(path)


# --- warnings


@every_scenario
def test_shipped_scenarios_have_no_warning(name):
    assert get_scenario(name).warnings == ()


def test_a_price_that_falls_below_zero_is_a_warning_with_its_probability():
    """Against simulated paths: the price is seen at the ends of slices only, so a little less often."""
    wild = Scenario(volatility=1.0, slices=200, kyle_lambda=0.2, flow_share=0.0)
    (warning,) = wild.warnings
    assert "the price falls below zero with a probability of up to 32 %" in warning
    market = build_market(wild)
    path = draw_path(market, episode_keys(0, np.arange(4_000)), 1.0)
    share = float((path.world.price.min(axis=0) <= 0.0).mean())
    assert 0.27 < share < 0.317
    assert replace(wild, price_model="gbm").warnings == ()
    assert replace(wild, volatility=0.2).warnings == ()


def test_a_percentage_is_a_warning_with_the_fraction_to_pass():
    (warning,) = Scenario(volatility=1.57, price_model="gbm").warnings
    assert warning == "WARNING: volatility = 1.57 is 157 % of the price in a day; for 1.57 % pass 0.0157"
    (warning,) = Scenario(regimes=Regimes(drift=(-2.0,))).warnings
    assert warning == "WARNING: regimes.drift = -2 is -200 % of the price in a day; for -2 % pass -0.02"
    (warning,) = replace(get_scenario("unknown-drift"), drift_sd=1.5).warnings
    assert warning == "WARNING: drift_sd = 1.5 is 150 % of the price in a day; for 1.5 % pass 0.015"
    month = Scenario(volatility=1.57, price_model="gbm", day_minutes=21 * 390.0)  # 34 % in a session of the month
    assert month.warnings == ()


def test_a_sell_order_whose_impact_exceeds_the_price_is_a_warning():
    huge = Scenario(side=-1, quantity=2e7, adv=1e6, perm_impact_gamma=0.2)
    (warning,) = huge.warnings
    assert "the permanent impact of the sell order is 400 % of the arrival price" in warning
    assert replace(huge, side=1).warnings == replace(huge, quantity=2e6).warnings == ()


HOSTILE = {
    "nested arrays": ("v = " + "[" * 10_000 + "]" * 10_000, "nested too deeply"),
    "nested tables": ("v = " + "{a = " * 10_000, "nested too deeply"),
    "a long key": (".".join("a" * 100_000) + " = 1", "a key has more than 32 parts"),
    "a long header": ("[" + " . ".join("a" * 50_000) + "]", "a key has more than 32 parts"),
    "a quoted key": ('"a"' + '."a"' * 50_000 + " = 1", "a key has more than 32 parts"),
    "many parts": ("volume_curve = [" + "1," * 120_000 + "]", "volume_curve must hold at most 10,000 numbers, got 120,000"),
    "a million parts": ("volume_curve = [" + "1," * 1_000_000 + "]", "larger than 262,144 bytes"),
    "digits": ("quantity = " + "9" * 200_000, "not a scenario in TOML"),
    "hexadecimal digits": (
        "slices = 0x" + "f" * 200_000,
        "slices must be a whole number in [1, 100000], got a whole number of",
    ),
    "a long word": ('price_model = "' + "x" * 200_000 + '"', "price_model must be one of abm, gbm, got 'xxx"),
    "a long field": ("x" * 200_000 + " = 1", "unknown field xxx"),
    "nothing": ("", "the file is empty"),
    "comments": ("# nothing\n", "the file is empty"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_one_short_error_within_a_second(tmp_path, kind):
    text, message = HOSTILE[kind]
    (tmp_path / "h.toml").write_text(text)
    started = time.process_time()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_scenario(tmp_path / "h.toml")
    assert time.process_time() - started < 1.0
    assert len(str(caught.value)) < 700
    assert "h.toml" in str(caught.value)


def test_a_chain_of_bases_is_bounded_in_files_and_in_bytes(tmp_path):
    for number in range(1_500):
        (tmp_path / f"{number}.toml").write_text(f'base = "{number + 1}.toml"\n')
    (tmp_path / "1500.toml").write_text('base = "regime-day"\n')
    assert load_scenario(tmp_path / "1485.toml").name.startswith("regime-day*")
    with pytest.raises(ValueError, match=r"1484\.toml: a chain of bases may hold 16 files, got more"):
        load_scenario(tmp_path / "1484.toml")
    for number in (1_498, 1_499):
        (tmp_path / f"{number}.toml").write_text(f'base = "{number + 1}.toml"\n' + "#" * 200_000)
    with pytest.raises(ValueError, match=r"1499\.toml: it is larger than"):
        load_scenario(tmp_path / "1498.toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
def test_a_scenario_is_read_from_a_regular_file_only(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "base.toml").write_text('base = "pipe.toml"\n')
    for name in ("pipe", "zero", "base"):
        with pytest.raises(ValueError, match=r"cannot read the scenario file .*: not a regular file"):
            load_scenario(tmp_path / f"{name}.toml")


def test_the_longest_volume_curve_fits_into_a_file(tmp_path):
    rng = np.random.default_rng(0)
    scenario = Scenario(volume_curve=tuple(rng.lognormal(sigma=9.0, size=10_000)))
    (tmp_path / "long.toml").write_text(scenario.to_toml())
    assert load_scenario(tmp_path / "long.toml") == scenario


def test_a_scenario_is_frozen():
    with pytest.raises(AttributeError):
        get_scenario("regime-day").quantity = 5.0


# --- the hash

GOLDEN = json.loads((Path(__file__).parent.parent / "golden_objectives.json").read_text(encoding="utf-8"))
GOLDEN_HASHES = {name: values["scenario_hash"] for name, values in GOLDEN.items()}
"""Hashes under which results are stored."""

OTHER_VALUES = {
    "side": -1,
    "quantity": 1.0,
    "arrival_price": 1.0,
    "start_minute": 1.0,
    "horizon_minutes": 100.0,
    "slices": 3,
    "risk_aversion": 1.0,
    "price_risk": 1.0,
    "max_participation": 0.5,
    "complete": False,
    "day_minutes": 400.0,
    "adv": 1.0,
    "volatility": 1.0,
    "half_spread_bps": 2.0,
    "perm_impact_gamma": 0.1,
    "perm_impact_multiple": 5.0,
    "kyle_lambda": 1.0,
    "kyle_multiple": 50.0,
    "temp_impact_alpha": 1.0,
    "temp_impact_beta": 1.0,
    "resilience": 1.0,
    "transient_exponent": 0.5,
    "volume_curve": (1.0, 2.0),
    "volatility_curve": (2.0, 1.0),
    "volume_noise": 1.0,
    "volume_level_sd": 1.0,
    "volume_persistence": 0.3,
    "flow_share": 0.1,
    "flow_persistence": 0.1,
    "predator": 0.3,
    "drift_sd": 0.01,
    "temp_impact_sd": 0.3,
    "kyle_sd": 0.3,
    "price_model": "gbm",
    "regimes": Regimes(drift=(0.1,)),
    "posterior": {"adv": [4e6, 6e6]},
}


def test_the_hash_depends_on_every_field_except_the_labels():
    for name in [item.name for item in fields(Scenario)]:
        start = Scenario(horizon_minutes=300.0)
        if name in LABELS:
            label = {"source": "elsewhere"} if name == "provenance" else "another"
            assert replace(start, **{name: label}).hash == start.hash
        else:
            assert replace(start, **{name: OTHER_VALUES[name]}).hash != start.hash


def test_the_hash_depends_on_every_field_of_the_regimes():
    start = get_scenario("regime-day")
    for name in [item.name for item in fields(Regimes)]:
        values = getattr(start.regimes, name)
        change = {
            "names": values[::-1],
            "start": "CRISIS",
            "rates": tuple(tuple(2.0 * rate for rate in row) for row in values) if name == "rates" else None,
        }.get(name) or tuple(value + 0.1 for value in values)
        assert replace(start, regimes=replace(start.regimes, **{name: change})).hash != start.hash


@pytest.mark.renewed_by("python benchmarks/golden_objectives.py")
@every_scenario
def test_the_hash_of_a_registered_scenario_never_changes(name):
    assert get_scenario(name).hash == GOLDEN_HASHES[name]


ARCHIVE = {
    "regime-day-2026": "50c4c156d6e16792",
    "desk-5min-2026": "f825001e0c03182d",
    "large-cap-2026": "40d0bda44934af8f",
    "mid-cap-2026": "b7c658bab48b7d23",
    "small-cap-2026": "670917daa6c4d790",
    "illiquid-2026": "f0e5b4cb232cff71",
    "crisis-day-2026": "5d232e57db16b4a0",
    "trending-day-2026": "6c2d34d6b429acf5",
    "hunted-day-2026": "d3c84bf0cbc57213",
    "sunshine-day-2026": "eb9d49e6590f8482",
}
"""Hashes under which the results of version 0.2 are stored."""


def test_archived_scenarios_have_the_hashes_of_their_results():
    assert {name: get_scenario(name).hash for name in scenario_names(archived=True)} == ARCHIVE
    assert not set(scenario_names()) & set(ARCHIVE)
    assert {name.removesuffix("-2026") for name in ARCHIVE} < set(scenario_names())


@dataclass(frozen=True)
class LaterScenario(Scenario):
    """A scenario of a later version with two more fields: a number, and a tuple that needs the number to be positive."""

    auction_share: float = 0.0
    halts: tuple[float, ...] = field(default_factory=tuple)

    def __post_init__(self, _replaced):
        super().__post_init__(_replaced)
        if self.halts and not self.auction_share:
            raise ValueError("auction_share must be positive where there are halts")


@dataclass(frozen=True)
class LaterRegimes(Regimes):
    """Regimes of a later version with one more multiplier, whose default is filled in for each regime."""

    depth: tuple[float, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "depth", tuple(self.depth) or (1.0,) * len(self.names))


def later(scenario, **values):
    """Return a scenario as a record of the later version."""
    return LaterScenario(**{item.name: getattr(scenario, item.name) for item in fields(Scenario)}, **values)


def test_a_new_field_at_its_default_does_not_change_the_hash():
    for name in scenario_names():
        scenario = get_scenario(name)
        assert later(scenario).hash == later(scenario, auction_share=0, halts=()).hash == GOLDEN_HASHES[name]


def test_a_new_field_with_another_value_changes_the_hash():
    start = get_scenario("regime-day")
    variants = [
        later(start, auction_share=0.1),
        later(start, auction_share=0.2),
        later(start, auction_share=0.1, halts=(60.0,)),
    ]
    assert len({start.hash, *(variant.hash for variant in variants)}) == 4


def test_a_new_field_of_the_regimes_changes_the_hash_only_away_from_its_default():
    for name in scenario_names():
        scenario = get_scenario(name)
        plain = {item.name: getattr(scenario.regimes, item.name) for item in fields(Regimes)}
        assert replace(scenario, regimes=LaterRegimes(**plain)).hash == GOLDEN_HASHES[name]
        neutral = (1.0,) * len(scenario.regimes)
        assert replace(scenario, regimes=LaterRegimes(**plain, depth=neutral)).hash == GOLDEN_HASHES[name]
        thin = tuple(0.5 * value for value in neutral)
        assert replace(scenario, regimes=LaterRegimes(**plain, depth=thin)).hash != GOLDEN_HASHES[name]


def test_a_new_field_without_a_default_is_hashed_always():
    @dataclass(frozen=True, kw_only=True)
    class Required(Scenario):
        tick: float

    assert len({Scenario().hash, Required(tick=0.01).hash, Required(tick=0.02).hash}) == 3


def test_a_changed_default_does_not_change_the_hash_of_a_value():
    @dataclass(frozen=True)
    class OtherDefaults(Scenario):
        quantity: float = 300_000.0
        regimes: Regimes = field(default_factory=lambda: Regimes(volatility=(2.0,)))

    assert OtherDefaults().hash == Scenario(quantity=300_000.0, regimes=Regimes(volatility=(2.0,))).hash
    assert OtherDefaults(quantity=200_000.0, regimes=Regimes()).hash == Scenario().hash


# --- independence of the number of slices


def test_the_expected_volume_of_an_order_does_not_depend_on_the_number_of_slices():
    for name in scenario_names():
        scenario = get_scenario(name)
        total = sum(scenario.profile())
        for slices in (1, 7, 2 * scenario.slices, 390):
            assert sum(replace(scenario, slices=slices).profile()) == pytest.approx(total, rel=1e-12)


def test_slice_length_times_slices_is_the_horizon():
    for name in scenario_names():
        scenario = get_scenario(name)
        assert scenario.tau * scenario.slices * scenario.day_minutes == pytest.approx(scenario.horizon_minutes)
        assert scenario.notional == scenario.quantity * scenario.arrival_price


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    """Editors of Windows write one."""
    (tmp_path / "mine.toml").write_text('base = "almgren-chriss"\n', encoding="utf-8-sig")
    assert load_scenario(tmp_path / "mine.toml").hash == get_scenario("almgren-chriss").hash
