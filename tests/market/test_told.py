"""Markets whose unknowns are given numbers: the market of a draw, and the ends of the priors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import begin, expected_slice
from hyperexec_env.market.scenario import UNKNOWNS, get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.told import PRIORS, TAIL, described, prior_ends, told_market

SPREADS = {"volume_level_sd": 0.5, "drift_sd": 0.01, "temp_impact_sd": 0.6, "kyle_sd": 0.5}
DRAWN = {"volume_level_sd": "volume_level", "drift_sd": "drift", "temp_impact_sd": "slope", "kyle_sd": "kyle"}
"""Field of the world that holds the number of an unknown."""


def _scenario(**changes):
    return replace(get_scenario("regime-day"), **{**SPREADS, **changes})


@pytest.mark.fast
@pytest.mark.parametrize("cap", [None, 0.2])
def test_a_told_market_has_the_slices_of_the_draw(cap):
    """The market's own slice at a draw, against the slice of the market in which the draw is told."""
    scenario = _scenario(max_participation=cap)
    market = build_market(scenario)
    world = begin(market, episode_keys(3, np.arange(20)))
    for lane in range(20):
        one = type(world)(*(np.broadcast_to(value, 20)[lane : lane + 1] for value in world))
        told = told_market(scenario, {name: float(getattr(one, field)[0]) for name, field in DRAWN.items()})
        assert told.scenario.unknown == {}
        plain = one._replace(volume_level=np.ones(1), drift=np.zeros(1), slope=np.ones(1), kyle=np.ones(1))
        for k in (0, 7, 25):
            drawn, stated = expected_slice(market, k, one), expected_slice(told, k, plain)
            for field, value in drawn._asdict().items():
                assert getattr(stated, field) == pytest.approx(value, rel=1e-12, abs=1e-18), field


@pytest.mark.fast
def test_unknowns_that_are_not_told_stay_unknown():
    scenario = _scenario()
    assert told_market(scenario, {}) is build_market(scenario)
    for name in UNKNOWNS:
        assert set(told_market(scenario, {name: 1.0}).scenario.unknown) == set(UNKNOWNS) - {name}


def test_the_ends_are_the_quantiles_of_the_draws():
    """Of 200,000 draws one in a thousand lies beyond either end; a prior of two values has no other draws."""
    scenario, count = _scenario(), 200_000
    world = begin(build_market(scenario), episode_keys(5, np.arange(count)))
    error = np.sqrt(TAIL * (1.0 - TAIL) / count)
    for name, (low, high) in prior_ends(scenario).items():
        drawn = getattr(world, DRAWN[name])
        if name == "temp_impact_sd":
            assert sorted(set(drawn.tolist())) == [low, high]
            continue
        assert abs((drawn < low).mean() - TAIL) < 4.0 * error, name
        assert abs((drawn > high).mean() - TAIL) < 4.0 * error, name


@pytest.mark.fast
def test_every_unknown_has_a_prior_and_words():
    assert tuple(PRIORS) == UNKNOWNS
    told = {name: ends[1] for name, ends in prior_ends(_scenario()).items()}
    assert described(told) == (
        "volume 4.138 x its mean and drift +0.0309 a day and temporary impact 1.6 x its mean and "
        "Kyle's lambda of others 2.545 x its mean"
    )
    assert prior_ends(get_scenario("regime-day")) == {}
