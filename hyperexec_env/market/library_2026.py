"""Scenarios with the numbers of 2026, which were assumed: impact in arrival prices, with no source. They reproduce old results.

No list of all scenarios holds them; a name does, as in ``get_scenario("regime-day-2026")``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hyperexec_env.market.library import SIX_REGIMES
from hyperexec_env.market.scenario import Scenario, register_scenario

__all__ = ["U_CURVE_2026"]

U_CURVE_2026: Final = (
    *(0.0650, 0.0500, 0.0440, 0.0405, 0.0380, 0.0360, 0.0345, 0.0330, 0.0320, 0.0312, 0.0306, 0.0302, 0.0300),
    *(0.0300, 0.0302, 0.0306, 0.0312, 0.0322, 0.0335, 0.0350, 0.0370, 0.0395, 0.0430, 0.0480, 0.0560, 0.0888),
)
"""Relative volume of the 26 quarter-hours of a day, as assumed in 2026: high at the open, highest at the close."""

_REGIME_DAY = register_scenario(
    Scenario(
        name="regime-day-2026",
        description="4 % of the daily volume in one day of 26 slices through six regimes; watching the regime pays",
        volume_curve=U_CURVE_2026,
        regimes=SIX_REGIMES,
    ),
    archived=True,
)
register_scenario(
    Scenario(
        name="desk-5min-2026",
        description="the desk's defaults: 10,000 shares in 300 seconds; a cap of 10 % of the volume cannot finish it",
        quantity=10_000.0,
        arrival_price=150.0,
        start_minute=180.0,
        horizon_minutes=5.0,
        slices=10,
        risk_aversion=1e-6,
        max_participation=0.1,
        resilience=50.0,
        regimes=SIX_REGIMES,
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="large-cap-2026",
        description="a liquid stock: 20 M shares a day, Kyle's lambda 0.2",
        quantity=800_000.0,
        arrival_price=150.0,
        adv=20_000_000.0,
        volatility=0.015,
        half_spread_bps=0.5,
        kyle_lambda=0.2,
        perm_impact_gamma=0.1,
        resilience=20.0,
        risk_aversion=1.7e-8,
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="mid-cap-2026",
        description="2 M shares a day, Kyle's lambda 0.45",
        quantity=80_000.0,
        arrival_price=60.0,
        adv=2_000_000.0,
        volatility=0.022,
        half_spread_bps=2.5,
        kyle_lambda=0.45,
        perm_impact_gamma=0.2,
        risk_aversion=4e-7,
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="small-cap-2026",
        description="400,000 shares a day, Kyle's lambda 0.8",
        quantity=16_000.0,
        arrival_price=20.0,
        adv=400_000.0,
        volatility=0.03,
        half_spread_bps=8.0,
        kyle_lambda=0.8,
        perm_impact_gamma=0.3,
        resilience=6.0,
        volume_noise=0.5,
        risk_aversion=6e-6,
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="illiquid-2026",
        description="60,000 shares a day, Kyle's lambda 1.2, a wide spread",
        quantity=2_400.0,
        arrival_price=8.0,
        adv=60_000.0,
        volatility=0.045,
        half_spread_bps=30.0,
        kyle_lambda=1.2,
        perm_impact_gamma=0.4,
        resilience=4.0,
        volume_noise=0.8,
        risk_aversion=1e-4,
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="crisis-day-2026",
        description="regime-day-2026 that starts in a crisis",
        regimes=replace(SIX_REGIMES, start="CRISIS"),
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="trending-day-2026",
        description="regime-day-2026 with drifts: up in a bull market and in a recovery, down in a bear market and a crisis",
        regimes=replace(SIX_REGIMES, drift=(0.01, -0.01, 0.0, 0.0, -0.02, 0.005)),
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="hunted-day-2026",
        description="regime-day-2026 with a predator that trades ahead of regular child orders of like size",
        predator=0.3,
    ),
    archived=True,
)
register_scenario(
    replace(
        _REGIME_DAY,
        name="sunshine-day-2026",
        description="regime-day-2026 in which a visible order attracts liquidity: regular trading pays",
        predator=-0.3,
    ),
    archived=True,
)
