"""The scenarios with venues that ship with the package. To add one, pass a record to `register_venues`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hyperexec_env.market.liquidity import AllOrNothing, Atoms
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.venue import Venue
from hyperexec_env.market.venue_scenario import VenueScenario, register_venues

__all__ = ["LINEAR_MARKET"]

_REGIME_DAY: Final = get_scenario("regime-day")
_POOL: Final = Venue(name="pool", kind="dark", fee=0.001, adverse_bps=0.5, liquidity=Atoms())
_EQUAL: Final = (
    Venue(name="primary", kind="home", share=0.5, share_noise=0.3),
    Venue(name="second", kind="lit", share=0.3, share_noise=0.3),
    Venue(name="third", kind="lit", share=0.2, share_noise=0.3),
)
_FEES: Final = (
    Venue(name="primary", kind="home", share=0.5, fee=0.0),
    Venue(name="second", kind="lit", share=0.3, fee=0.0),
    Venue(name="inverted", kind="lit", share=0.2, fee=-0.005),
)
_VENUE_SOURCES: Final = {
    "venue": "assumed: shares and fees of the order of US equities; a pool of 1.1 % of the volume, a good broker's aggregate"
}

register_venues(
    VenueScenario(
        replace(
            _REGIME_DAY,
            name="venues-day",
            description="regime-day over three lit venues whose shares move and a dark pool of 1.1 % of the volume",
            provenance={**_REGIME_DAY.provenance, **_VENUE_SOURCES},
        ),
        (*_EQUAL, _POOL),
    )
)
register_venues(
    VenueScenario(
        replace(
            _REGIME_DAY,
            name="passive-day",
            description="regime-day over three lit venues with different fees, and an order that rests at the touch",
            provenance={**_REGIME_DAY.provenance, **_VENUE_SOURCES},
        ),
        (*_FEES, Venue(name="touch", kind="rest", fee=-0.002, liquidity=Atoms((0.01, 0.03), (0.3, 0.15)))),
    )
)
LINEAR_MARKET: Final = Scenario(
    name="kratz-schoneborn",
    description="linear impact, and a pool that fills everything with probability 0.2 (Kratz and Schoeneborn 2014)",
    quantity=200_000.0,
    slices=6,
    risk_aversion=6e-7,
    half_spread_bps=0.0,
    perm_impact_gamma=0.0,
    kyle_lambda=0.0,
    temp_impact_alpha=2.5,
    temp_impact_beta=1.0,
    resilience=10.0,
    volume_noise=0.0,
    flow_share=0.0,
)
"""Temporary impact of 6e-6 currency per squared share, and a risk of 4e-7 currency per squared share and slice."""
_ALL: Final = (
    Venue(name="market", kind="home", share=1.0),
    Venue(name="pool", kind="dark", liquidity=AllOrNothing(0.2)),
)
register_venues(VenueScenario(LINEAR_MARKET, _ALL))
register_venues(
    VenueScenario(
        replace(
            LINEAR_MARKET,
            name="dark-linear",
            description="kratz-schoneborn with transient impact, where posting everything is not optimal",
            kyle_lambda=0.1,
        ),
        _ALL,
    )
)
