"""The upper bound on J* over venues: the policy of the relaxation in simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from hyperexec_env.evaluation.venue_rollout import rollout_venues
from hyperexec_env.market.venue_path import VenueMarket, build_venues

from .dark_dynamic import DarkTables, solve_to_tolerance
from .dark_policy import of_tables
from .dark_relaxed import mean_weights

__all__ = ["PATHS", "simulated_bound"]

PATHS: Final = 20_000
"""Simulated episodes of an upper bound."""
_SEED: Final = 2**31
"""Their seed."""


class _Tables:
    """The policy of tables."""

    name = "relaxed"

    def __init__(self, market: VenueMarket, tables: DarkTables) -> None:
        self.act = of_tables(market, tables)


def _control(market: VenueMarket) -> VenueMarket:
    """Return the market with its first hidden venue only and the lit shares at their mean, which is solved exactly."""
    scenario = market.scenario
    weights = mean_weights(market.shares, market.noises)
    lit = (replace(venue, share=share, share_noise=0.0) for venue, share in zip(scenario.lit, weights, strict=True))
    return build_venues(replace(scenario, venues=(*lit, *scenario.hidden[:1])))


def simulated_bound(market: VenueMarket, tables: DarkTables) -> tuple[float, float]:
    """Return the mean objective of the policy of tables, and the half-width of its 95 % interval, bps.

    The control variate is the simulated optimum of a market that is solved exactly, on the same regimes and volumes. The
    half-width has the error of its J*.
    """
    control = _control(market)
    money, error, best = solve_to_tolerance(control)
    known = float(money @ control.scenario.regimes.start_law()) * 1e4 / control.scenario.market.notional
    (own,), (other,) = (
        rollout_venues(one, [_Tables(one, table)], PATHS, _SEED) for one, table in ((market, tables), (control, best))
    )
    cost, check = own.objective, other.objective - known
    slope = float(np.cov(cost, check)[0, 1] / (check.var(ddof=1) or 1.0))
    kept = cost - slope * check
    return float(kept.mean()), 1.96 * float(kept.std(ddof=1)) / math.sqrt(PATHS) + abs(slope * error * known)
