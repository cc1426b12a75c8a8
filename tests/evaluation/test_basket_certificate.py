"""The certificate of baskets: sound baskets pass, and three faulty models are caught by eigenvalues and by search."""

from __future__ import annotations

import numpy as np
import pytest

from hyperexec_env.evaluation.basket_certificate import BasketImpact, certify_basket, certify_basket_model
from hyperexec_env.market.basket_scenario import basket_names, get_basket

pytestmark = pytest.mark.fast


def model(permanent, transient, decays=((0.7, 0.7),)):
    """Two assets of price 1 and ADV 1 without spread and temporary impact."""
    zeros, ones = np.zeros(2), np.ones(2)
    return BasketImpact("two", permanent, transient, decays, zeros, 1.5 * ones, zeros, ones, ones)


NONE = ((0.0, 0.0), (0.0, 0.0))
SOUND = ((1e-4, 6e-5), (6e-5, 1e-4))


@pytest.mark.parametrize("name", basket_names())
def test_shipped_baskets_are_sound(name):
    certificate = certify_basket(name, trips=200)
    assert certificate.sound, certificate.faults
    assert certificate.hash == get_basket(name).hash
    assert certificate.exit_code == 0
    assert "sound" in str(certificate)
    assert all(trip.linear_bps > 0.0 for trip in certificate.trips)
    assert all(trip.cost_bps > trip.linear_bps for trip in certificate.trips)


FAULTY = {
    "permanent impact is not symmetric": model(((1e-4, 6e-5), (2e-5, 1e-4)), NONE),
    "assets recover at different speeds": model(NONE, ((1e-4, 9e-5), (9e-5, 1e-4)), ((np.exp(-5 / 26), np.exp(-50 / 26)),)),
    "transient impact is not positive semidefinite": model(NONE, ((1e-4, 2e-4), (2e-4, 1e-4))),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_faulty_models_are_caught_by_eigenvalues_and_by_search(fault):
    certificate = certify_basket_model(FAULTY[fault], trips=20_000)
    text = "; ".join(certificate.faults)
    assert not certificate.sound
    assert certificate.exit_code == 1
    assert fault in text
    assert "a round trip earns money" in text
    assert "earns" in text.rpartition("the round trip '")[2]  # the search finds one too
    assert "NOT SOUND" in certificate.verdict


def test_a_sound_model_passes_and_a_loop_costs_its_spread():
    assert certify_basket_model(model(SOUND, SOUND)).sound
    plain = certify_basket_model(model(SOUND, SOUND)).to_dict()
    assert plain["sound"]
    assert plain["faults"] == []
    with pytest.raises(ValueError, match="trips must be a whole number in"):
        certify_basket("basket-10", trips=3)
