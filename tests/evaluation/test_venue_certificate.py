"""The certificate of venues: sound scenarios pass, and broken copies fail for the reason that was broken."""

from __future__ import annotations

import pytest

from hyperexec_env.evaluation.venue_certificate import certify_venues, certify_venues_model, impact_of_venues
from hyperexec_env.market.venue_path import build_venues
from hyperexec_env.market.venue_scenario import get_venues, venue_names

FEW = {"trips": 10, "paths": 200}


def _model(name, **changes):
    """Return the model of a scenario with the last venue, which is hidden, changed."""
    model = impact_of_venues(build_venues(get_venues(name)))
    return model._replace(places=(*model.places[:-1], model.places[-1]._replace(**changes)))


@pytest.mark.parametrize("name", venue_names())
def test_every_scenario_of_the_package_is_sound(name):
    certificate = certify_venues(name, trips=10)
    assert certificate.sound, certificate.faults
    assert certificate.exit_code == 0
    assert "sound" in str(certificate)
    assert certificate.to_dict()["sound"]
    assert certificate.hash == get_venues(name).hash


@pytest.mark.parametrize("chi", [0.0, 0.5])
def test_a_pool_that_carries_less_than_the_whole_slope_is_caught(chi):
    certificate = certify_venues_model(_model("venues-day", chi=chi), **FEW)
    assert f"a fill of pool carries {chi:g} of Kyle's slope, not all of it" in certificate.faults
    peg = next(trip for trip in certificate.trips if trip.kind == "lit there, hidden back")
    assert peg.worst_bps < 0.0
    assert any("the round trip 'lit there, hidden back' earns" in fault for fault in certificate.faults)


def test_the_peg_earns_what_the_formula_says():
    """V6 of the design: buy n lit, sell n dark, g n^2 (1 - chi) / 2, where the pool fills everything and nothing decays."""
    model = _model("kratz-schoneborn", chi=0.5)._replace(permanent=4e-6, transient=0.0)
    certificate = certify_venues_model(model, **FEW)
    peg = next(trip for trip in certificate.trips if trip.kind == "lit there, hidden back")
    shares = peg.size * model.adv
    assert peg.worst_bps * 1e-4 * 2.0 * shares * model.price == pytest.approx(-4e-6 * shares**2 * 0.5 / 2.0)


def test_a_rebate_that_pays_is_caught():
    certificate = certify_venues_model(_model("passive-day", q=-0.002), **FEW)
    assert "a fill of touch earns 0.002 a share" in certificate.faults
    making = next(trip for trip in certificate.trips if trip.kind == "hidden there and back")
    assert making.cost_bps < 0.0
    assert not certificate.sound
    assert certificate.exit_code == 1
    assert "NOT SOUND" in certificate.verdict


def test_a_search_is_repeatable_and_its_options_are_checked():
    assert certify_venues("dark-linear", trips=10).to_dict() == certify_venues("dark-linear", trips=10).to_dict()
    with pytest.raises(ValueError, match="trips must be a whole number"):
        certify_venues("dark-linear", trips=1)
