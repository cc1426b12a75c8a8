"""Scenarios with venues: round trips through dicts and TOML, hashes, the registry, and one clear error for each bad value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hyperexec_env.market import scenario as one_asset
from hyperexec_env.market.basket_scenario import basket_names
from hyperexec_env.market.liquidity import Atoms
from hyperexec_env.market.scenario import Scenario, scenario_names
from hyperexec_env.market.scenarios import get_scenario
from hyperexec_env.market.venue import Venue
from hyperexec_env.market.venue_scenario import VENUES, VenueScenario, get_venues, register_venues, venue_names

pytestmark = pytest.mark.fast

HOME = Venue(name="home", share=0.7)
LIT = Venue(name="lit", kind="lit", share=0.3, fee=0.001)
POOL = Venue(name="pool", kind="dark", adverse_bps=0.5)
THREE = VenueScenario(Scenario(name="three"), (HOME, LIT, POOL))


@pytest.mark.parametrize("name", venue_names())
def test_a_scenario_survives_a_dict_and_a_file(name, tmp_path):
    scenario, path = get_venues(name), tmp_path / "venues.toml"
    path.write_text(scenario.to_toml())
    assert get_venues(path) == get_scenario(str(path)) == VenueScenario.from_dict(scenario.to_dict()) == scenario
    assert get_venues(path).hash == scenario.hash
    assert get_scenario(name) is scenario
    assert VENUES.owns(path)


def test_names_differ_from_those_of_scenarios_and_baskets():
    assert venue_names() == ("venues-day", "passive-day", "kratz-schoneborn", "dark-linear")
    assert not set(venue_names()) & {*scenario_names(), *scenario_names(archived=True), *basket_names()}
    assert len({get_venues(name).hash for name in venue_names()}) == 4


def test_a_hash_covers_every_value_that_moves_a_result():
    variants = [
        THREE,
        replace(THREE, venues=(HOME, LIT)),
        replace(THREE, venues=(HOME, LIT, replace(POOL, liquidity=Atoms((0.1,), (0.1,))))),
        replace(THREE, venues=(HOME, replace(LIT, fee=0.0), POOL)),
        THREE.with_market(risk_aversion=1e-6),
    ]
    assert len({scenario.hash for scenario in variants}) == len(variants)
    named = replace(THREE, venues=(replace(HOME, name="NYSE"), LIT, POOL)).with_market(name="other", description="text")
    assert named.hash == THREE.hash


def test_a_base_provides_the_rest(tmp_path):
    made = get_venues({"base": "venues-day", "quantity": 1e5})
    assert (made.name, made.market.quantity, made.venues) == ("venues-day*", 1e5, get_venues("venues-day").venues)
    made = get_venues({"base": "regime-day", "venue": [{"name": "all", "share": 1.0}]})
    assert (made.market.regimes, made.names) == (get_scenario("regime-day").regimes, ("all",))
    (tmp_path / "three.toml").write_text(THREE.to_toml())
    (tmp_path / "less.toml").write_text('base = "three.toml"\nslices = 4\n')
    assert get_venues(tmp_path / "less.toml") == THREE.with_market(name="three*", slices=4)
    assert get_venues("regime-day") == VenueScenario(get_scenario("regime-day"))


def test_the_naive_scenario_has_the_published_impact():
    scenario = replace(THREE.with_market(temp_impact_alpha=0.4), published_alpha=0.3)
    assert scenario.naive == THREE.with_market(temp_impact_alpha=0.3)
    assert scenario.plain == replace(THREE.market, temp_impact_alpha=0.3)
    assert (THREE.naive, THREE.plain) == (THREE, THREE.market)
    assert get_venues({"base": scenario, "temp_impact_alpha": 0.5}).published_alpha is None
    assert scenario.with_market(temp_impact_alpha=0.5).published_alpha is None
    assert scenario.with_market(quantity=5.0).published_alpha == 0.3
    assert get_venues({"base": scenario, "quantity": 5.0}).published_alpha == 0.3


def test_a_resting_order_saves_the_spread_and_earns_nothing():
    touch = Venue(name="touch", kind="rest", fee=-0.002)
    scenario = VenueScenario(get_scenario("regime-day"), (Venue(share=1.0), touch))
    assert scenario.half_spreads(touch) == pytest.approx([-0.013] * 6)
    assert scenario.adverse(touch) == pytest.approx([0.015] * 6)
    assert scenario.concessions(touch) == pytest.approx([0.0] * 6, abs=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Venue(kind="grey"), "venue.kind must be one of home, lit, dark, rest, got 'grey'"),
        (lambda: Venue(share=0.0), "share must be above 0 for a home venue, got 0 for home"),
        (lambda: Venue(kind="dark", share=0.2), "share must be 0 for a dark venue, got 0.2"),
        (lambda: Venue(kind="dark", temporary=0.5), "temporary must be left out for a dark venue, got 0.5"),
        (lambda: Venue(share=0.5, liquidity=Atoms()), "liquidity must be left out for a home venue"),
        (lambda: Venue(kind="dark", chi=0.5), "chi must be 1, the share of Kyle's slope that a fill carries.*got 0.5"),
        (lambda: Venue(kind="dark", adverse_bps=1.0, liquidity={"law": "all-or-nothing", "chance": 1.0}), "always liquidity"),
        (lambda: replace(THREE, venues=(HOME, POOL)), "share must sum to 1 over home and lit venues, got .* with the sum 0.7"),
        (lambda: replace(THREE, venues=(LIT, HOME, POOL)), "venues must begin with the one venue of kind home"),
        (lambda: replace(THREE, venues=(HOME, POOL, LIT)), "venues must list home and lit before dark and rest"),
        (lambda: replace(THREE, venues=(HOME, LIT, POOL, POOL)), "venues must have different names, got two called 'pool'"),
        (
            lambda: replace(THREE, venues=(HOME, replace(LIT, fee=-0.02))),
            "must not be negative, got -0.01 .* in SIDEWAYS_LOW for lit",
        ),
        (
            lambda: replace(THREE, venues=(HOME, LIT, Venue(name="touch", kind="rest", fee=-0.002, adverse_bps=1.0))),
            "must not be negative, got -0.002 currency per share .* for touch: a round trip over such a venue earns",
        ),
        (lambda: THREE.with_market(flow_persistence=0.1), "flow_persistence must be 0.0 with venues, got 0.1 for three"),
        (lambda: THREE.with_market(max_participation=0.1), "max_participation must be None with venues"),
        (lambda: THREE.with_market(temp_impact_beta=1.5), "temp_impact_beta must be at most 1 with several lit venues"),
        (lambda: THREE.with_market(temp_impact_alpha=0.0), "temp_impact_alpha must be above 0 with several lit venues"),
        (lambda: replace(THREE, published_alpha=-1.0), "published_alpha must be a number in"),
        (lambda: get_venues("venue-day"), "unknown scenario with venues 'venue-day'; did you mean 'venues-day'"),
        (lambda: get_venues({"venue": [{"nam": "x"}]}), r"unknown field venue\[0\].nam; did you mean 'name'"),
        (
            lambda: get_venues({"venue": [{"name": "x", "share": 2.0}]}),
            r"venue\[0\] \('x'\): share must be a number in \[0, 1\]",
        ),
        (lambda: get_venues({"venue": 3}), "venue must be a list of tables, got 3"),
        (lambda: get_venues({"quantty": 3.0, "venue": []}), "unknown field quantty; did you mean 'quantity'"),
        (
            lambda: one_asset.get_scenario("venues-day"),
            "'venues-day' is a scenario with venues, and this needs a scenario of HyperExec-v0",
        ),
        (lambda: one_asset.get_scenario(THREE.to_dict()), "a table with `venue` is a scenario with venues"),
        (lambda: register_venues(THREE.with_market(name="venues-day")), "already registered with different values"),
    ],
)
def test_a_bad_value_is_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
