"""Impact in daily volatilities: the number follows the volatility, and a stated number replaces the multiple."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.market.scenario import Scenario, get_scenario, load_scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

numbers = st.floats(1e-3, 1e3)
volatilities = st.floats(1e-4, 1.0)
shares = st.floats(0.0, 1.0)


@st.composite
def scaled_scenarios(draw):
    kyle = draw(numbers)
    return Scenario(volatility=draw(volatilities), kyle_multiple=kyle, perm_impact_multiple=kyle * draw(shares))


# --- the number is the multiple times the volatility


@given(scaled_scenarios(), volatilities)
def test_impact_follows_the_volatility(scenario, volatility):
    for one in (scenario, replace(scenario, volatility=volatility), replace(scenario, volatility=volatility, quantity=1.0)):
        assert one.kyle_lambda == one.kyle_multiple * one.volatility
        assert one.perm_impact_gamma == one.perm_impact_multiple * one.volatility
        assert (one.kyle_multiple, one.perm_impact_multiple) == (scenario.kyle_multiple, scenario.perm_impact_multiple)


@given(scaled_scenarios(), volatilities)
def test_replacing_a_replacement_is_the_same_as_replacing_once(scenario, volatility):
    twice = replace(replace(scenario, volatility=volatility), quantity=7.0)
    assert twice == replace(scenario, volatility=volatility, quantity=7.0)
    assert replace(twice, volatility=scenario.volatility, quantity=scenario.quantity) == scenario


@given(scaled_scenarios(), volatilities, st.floats(0.01, 1.0))
def test_a_stated_number_replaces_the_multiple(scenario, volatility, more):
    kyle = scenario.perm_impact_gamma + more
    for one in (replace(scenario, kyle_lambda=kyle), Scenario.from_dict({"base": scenario, "kyle_lambda": kyle})):
        assert (one.kyle_lambda, one.kyle_multiple) == (kyle, None)
        assert one.perm_impact_multiple == scenario.perm_impact_multiple
        fixed = replace(one, volatility=volatility, perm_impact_gamma=0.0)
        assert (fixed.kyle_lambda, fixed.perm_impact_gamma, fixed.perm_impact_multiple) == (kyle, 0.0, None)


@given(st.floats(0.0, 0.3), numbers)
def test_a_stated_multiple_replaces_the_number(gamma, multiple):
    plain = Scenario(perm_impact_gamma=gamma)
    start = replace(plain, perm_impact_gamma=0.0)
    for one in (
        replace(start, kyle_multiple=multiple),
        Scenario.from_dict({"base": start, "kyle_multiple": multiple}),
        Scenario(perm_impact_gamma=0.0, kyle_multiple=multiple),
    ):
        assert one.kyle_lambda == multiple * 0.02
    assert plain.kyle_multiple is None


def test_without_a_multiple_the_number_keeps_its_value_at_any_volatility():
    scenario = Scenario(kyle_multiple=25.0, perm_impact_multiple=12.5)
    frozen = replace(scenario, kyle_multiple=None, perm_impact_multiple=None, volatility=0.03)
    assert (frozen.kyle_lambda, frozen.perm_impact_gamma) == (scenario.kyle_lambda, scenario.perm_impact_gamma)
    assert replace(scenario, kyle_multiple=None, perm_impact_multiple=None) == Scenario(kyle_lambda=0.5, perm_impact_gamma=0.25)


def test_a_number_of_another_scenario_is_a_statement():
    """A permanent impact of the whole of lambda, and numbers or multiples of another scenario, are taken as they are."""
    one = Scenario(kyle_multiple=25.0, perm_impact_multiple=12.5)
    other = replace(one, volatility=0.03, kyle_multiple=20.0)
    assert replace(one, perm_impact_gamma=one.kyle_lambda).perm_impact_gamma == one.kyle_lambda
    assert replace(one, kyle_lambda=other.kyle_lambda).kyle_lambda == other.kyle_lambda
    assert replace(one, kyle_multiple=other.kyle_multiple).kyle_lambda == pytest.approx(20.0 * 0.02)
    half = 0.5
    assert replace(Scenario(kyle_lambda=half), kyle_lambda=half, volatility=0.04).kyle_lambda == half


# --- contradictions


@pytest.mark.parametrize("number", ["kyle_lambda", "perm_impact_gamma"])
def test_number_and_multiple_that_disagree_are_one_clear_error(number):
    multiple = {"kyle_lambda": "kyle_multiple", "perm_impact_gamma": "perm_impact_multiple"}[number]
    message = f"{number} must be {multiple} x volatility (10 x 0.02 = 0.2) where both are given, got 0.25; give one of them"
    both = {number: 0.25, multiple: 10.0}
    literal = Scenario(**{number: 0.25})
    for made in (
        lambda: Scenario(**both),
        lambda: Scenario.from_dict(both),
        lambda: Scenario.from_toml(f"{number} = 0.25\n{multiple} = 10\n"),
        lambda: replace(Scenario(), **both),
        lambda: replace(literal, **{number: 0.25, multiple: 10.0}),
        lambda: Scenario.from_dict({"base": Scenario(kyle_multiple=25.0, perm_impact_multiple=12.5), **both}),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            made()


def test_number_and_multiple_may_be_given_where_they_agree():
    scenario = Scenario(kyle_lambda=0.5, kyle_multiple=25.0)
    assert scenario == Scenario(kyle_multiple=25.0)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "25", True, 2e5])
def test_an_invalid_multiple_names_field_value_and_range(value):
    for name in ("kyle_multiple", "perm_impact_multiple"):
        with pytest.raises(
            ValueError, match=rf"^{name} must be a number in \[0, 100000\] daily volatilities for one ADV, got "
        ):
            Scenario(**{name: value})


def test_derived_numbers_obey_the_rules_of_stated_ones():
    with pytest.raises(ValueError, match=r"^kyle_lambda must be at least perm_impact_gamma \(0\.4\)"):
        Scenario(kyle_multiple=10.0, perm_impact_multiple=20.0)
    with pytest.raises(ValueError, match=r"^flow_share must be 0 where kyle_lambda is 0"):
        Scenario(kyle_multiple=0.0, perm_impact_multiple=0.0)
    with pytest.raises(ValueError, match=r"^volatility must be a number in"):
        Scenario(kyle_multiple=25.0, volatility="high")


def test_impact_in_volatilities_needs_a_volatility():
    message = "volatility must be above 0 where kyle_multiple (25) states impact in daily volatilities, got 0; "
    message += "pass kyle_multiple=None to keep kyle_lambda, or state kyle_lambda"
    scaled = Scenario(kyle_multiple=25.0, perm_impact_multiple=12.5)
    for made in (
        lambda: replace(scaled, volatility=0.0),
        lambda: Scenario(kyle_multiple=25.0, perm_impact_multiple=12.5, volatility=0.0),
        lambda: Scenario.from_dict({"base": scaled, "volatility": 0.0}),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            made()
    with pytest.raises(ValueError, match=r"pass perm_impact_multiple=None to keep perm_impact_gamma"):
        replace(scaled, volatility=0.0, kyle_multiple=None)
    still = replace(scaled, volatility=0.0, kyle_multiple=None, perm_impact_multiple=None)
    assert (still.kyle_lambda, still.perm_impact_gamma) == (scaled.kyle_lambda, scaled.perm_impact_gamma)


# --- files, copies and the hash


@given(scaled_scenarios())
def test_a_scaled_scenario_round_trips_and_writes_what_was_stated(scenario):
    plain, text = scenario.to_dict(), scenario.to_toml()
    assert plain["kyle_multiple"] == scenario.kyle_multiple
    assert not {"kyle_lambda", "perm_impact_gamma"} & set(plain)
    assert "\nkyle_lambda" not in text
    assert Scenario.from_dict(plain) == Scenario.from_toml(text) == scenario
    assert Scenario.from_dict({**plain, "volatility": 0.5}) == replace(scenario, volatility=0.5)


@given(scaled_scenarios(), volatilities)
def test_copies_and_pickles_are_equal_and_follow_the_volatility(scenario, volatility):
    for same in (copy.copy(scenario), copy.deepcopy(scenario), pickle.loads(pickle.dumps(scenario))):  # noqa: S301 - its own bytes
        assert same == scenario
        assert hash(same) == hash(scenario)
        assert same.hash == scenario.hash
        assert replace(same, volatility=volatility) == replace(scenario, volatility=volatility)
        assert replace(same, kyle_lambda=1e4).kyle_multiple is None


@given(scaled_scenarios())
def test_the_hash_covers_the_number_and_not_how_it_is_stated(scenario):
    stated = replace(scenario, kyle_multiple=None, perm_impact_multiple=None)
    assert stated != scenario
    assert stated.hash == scenario.hash
    assert replace(scenario, kyle_multiple=2e3).hash != scenario.hash
    assert build_market(stated).impact == build_market(scenario).impact


def test_a_file_with_a_base_states_a_number_or_another_volatility(tmp_path):
    (tmp_path / "base.toml").write_text("kyle_multiple = 25\nperm_impact_multiple = 12.5\n")
    (tmp_path / "wild.toml").write_text('base = "base.toml"\nvolatility = 0.04\n')
    (tmp_path / "mine.toml").write_text('base = "wild.toml"\nkyle_lambda = 0.6\n')
    wild, mine = load_scenario(tmp_path / "wild.toml"), load_scenario(tmp_path / "mine.toml")
    assert (wild.kyle_lambda, wild.perm_impact_gamma) == (1.0, 0.5)
    assert (mine.kyle_lambda, mine.kyle_multiple, mine.perm_impact_multiple) == (0.6, None, 12.5)


def test_the_replaced_scenario_is_no_field():
    assert "_replaced" not in {item.name for item in fields(Scenario)}
    assert inspect.signature(Scenario).parameters["_replaced"].default is None
    with pytest.raises(ValueError, match="unknown field _replaced"):
        Scenario.from_dict({"_replaced": Scenario()})


# --- provenance


def test_a_replaced_field_is_given():
    texts = {"kyle_lambda": "measured", "half_spread_bps": "published", "quantity": "assumed"}
    start = Scenario(kyle_multiple=25.0, provenance=texts)
    assert replace(start, volatility=0.03, name="mine").provenance == texts
    assert replace(start, half_spread_bps=2.0).provenance == {**texts, "half_spread_bps": "given"}
    assert replace(start, half_spread_bps=start.half_spread_bps).provenance == texts
    for change in ({"kyle_lambda": 0.3}, {"kyle_multiple": 20.0}):
        assert replace(start, **change).provenance == {**texts, "kyle_lambda": "given"}
        assert get_scenario({"base": start, **change}).provenance == {**texts, "kyle_lambda": "given"}
    assert replace(start, quantity=1.0, provenance={"quantity": "mine"}).provenance == {"quantity": "mine"}
