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
_ALPHA: Final = _REGIME_DAY.temp_impact_alpha
"""Published temporary impact, fitted to orders that already used hidden liquidity."""


def _market(name: str, description: str, alpha: float) -> Scenario:
    """Return regime-day with temporary impact raised until its optimum with venues costs what it costs without them."""
    sources = {
        "temp_impact_alpha": f"recalibrated: the published {_ALPHA:g}, raised until the optimum with venues costs what it cost",
        "venue": "assumed: shares and fees of the order of US equities; hidden liquidity of about 1 % of the volume",
    }
    return replace(
        _REGIME_DAY,
        name=name,
        description=description,
        temp_impact_alpha=alpha,
        provenance={**_REGIME_DAY.provenance, **sources},
    )


register_venues(
    VenueScenario(
        _market(
            "venues-day",
            "regime-day over three lit venues whose shares move and a dark pool of 1.1 % of the volume",
            0.174584,
        ),
        (*_EQUAL, _POOL),
        _ALPHA,
    )
)
register_venues(
    VenueScenario(
        _market(
            "passive-day",
            "regime-day over three lit venues with different fees, and an order that rests at the touch",
            0.183618,
        ),
        (*_FEES, Venue(name="touch", kind="rest", fee=-0.002, liquidity=Atoms((0.01, 0.03), (0.3, 0.15)))),
        _ALPHA,
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
