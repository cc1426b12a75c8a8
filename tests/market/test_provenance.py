"""Sources of the numbers: each field of a default has one, and one line says what was measured, published or assumed."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from hyperexec_env.market.provenance import described_sources, sources_of
from hyperexec_env.market.published import ALMGREN_2005, PUBLIC_TAPES
from hyperexec_env.market.scenario import MULTIPLES, Scenario, get_scenario, scenario_names

pytestmark = pytest.mark.fast

LABELS = {"name", "description", "provenance", "posterior", *MULTIPLES.values()}
SOURCED = [name.removesuffix("-2026") for name in scenario_names(archived=True)]
sourced = pytest.mark.parametrize("name", SOURCED)


@sourced
def test_every_field_of_a_default_has_a_source(name):
    texts = get_scenario(name).provenance
    assert set(texts) == {item.name for item in fields(Scenario)} - LABELS
    assert {text.split(":")[0] for text in texts.values()} == {"chosen", "measured", "published", "assumed"}


@sourced
def test_impact_is_that_of_public_tapes_and_of_the_literature(name):
    scenario = get_scenario(name)
    multiple, share = PUBLIC_TAPES["kyle_lambda"][0], PUBLIC_TAPES["perm_impact_gamma"][0]
    assert (scenario.kyle_multiple, scenario.perm_impact_multiple) == (multiple, share * multiple)
    for field in ("resilience", "flow_share"):
        assert getattr(scenario, field) == PUBLIC_TAPES[field][0]
    for field, (value, error) in ALMGREN_2005.items():
        assert getattr(scenario, field) == value
        assert f"standard error {error:g}" in scenario.provenance[field]


def test_a_variant_says_what_differs_from_the_default():
    """Different numbers do not have the same source."""
    start = get_scenario("regime-day")
    for name in SOURCED[1:]:
        scenario = get_scenario(name)
        for field, text in scenario.provenance.items():
            if field in MULTIPLES or text == "chosen" or field in ("adv", "regimes"):
                continue
            if getattr(scenario, field) != getattr(start, field):
                assert text != start.provenance[field], (name, field)


def test_the_sources_of_a_market_are_one_line():
    found = sources_of(get_scenario("regime-day"))
    assert found["measured"] == ("volatility", "half_spread_bps")
    assert found["published"] == ("temp_impact_alpha", "temp_impact_beta")
    assert found["assumed"] == ("adv", "kyle_lambda", "perm_impact_gamma", "resilience", "flow_share")
    line = described_sources(replace(get_scenario("regime-day"), half_spread_bps=2.0))
    assert "; given half_spread_bps;" in line
    assert "\n" not in line


def test_a_market_without_sources_is_assumed():
    for scenario in (Scenario(), get_scenario("regime-day-2026"), Scenario(provenance={"adv": "default: not identified"})):
        assert described_sources(scenario) == "numbers of the market: all assumed"
    assert sources_of(Scenario(provenance={"adv": "mean daily volume of 5 sessions"}))["measured"] == ("adv",)
