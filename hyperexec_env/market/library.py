"""The scenarios that ship with the package. To add one, pass a record to `register_scenario`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, register_scenario

__all__ = ["SIX_REGIMES", "U_CURVE"]

_PER_QUARTER_HOUR: Final = (
    (0.90, 0.02, 0.05, 0.02, 0.005, 0.005),
    (0.02, 0.88, 0.02, 0.05, 0.03, 0.00),
    (0.05, 0.03, 0.88, 0.03, 0.01, 0.00),
    (0.02, 0.05, 0.05, 0.80, 0.08, 0.00),
    (0.00, 0.02, 0.00, 0.08, 0.75, 0.15),
    (0.15, 0.02, 0.10, 0.03, 0.02, 0.68),
)
"""Off the diagonal, rates per quarter-hour from regime (row) to regime (column). The probabilities of a quarter-hour are the
exponential of these rates, which the card of a scenario prints."""


def _rates_per_day() -> tuple[tuple[float, ...], ...]:
    rates = (np.array(_PER_QUARTER_HOUR) - np.eye(6)) * 26.0
    rates -= np.diag(rates.sum(axis=1))
    return tuple(tuple(row) for row in rates.tolist())


SIX_REGIMES: Final = Regimes(
    names=("BULL_TRENDING", "BEAR_TRENDING", "SIDEWAYS_LOW", "SIDEWAYS_HIGH", "CRISIS", "RECOVERY"),
    volatility=(0.9, 1.2, 0.6, 1.5, 3.0, 1.3),
    volume=(1.1, 1.0, 0.8, 1.2, 0.15, 0.7),
    resilience=(1.0, 0.8, 1.0, 0.6, 0.2, 0.6),
    rates=_rates_per_day(),
)
"""The six intraday regimes. In CRISIS, volatility is three times the base; volume and resilience nearly vanish."""

U_CURVE: Final = (
    *(0.0650, 0.0500, 0.0440, 0.0405, 0.0380, 0.0360, 0.0345, 0.0330, 0.0320, 0.0312, 0.0306, 0.0302, 0.0300),
    *(0.0300, 0.0302, 0.0306, 0.0312, 0.0322, 0.0335, 0.0350, 0.0370, 0.0395, 0.0430, 0.0480, 0.0560, 0.0888),
)
"""Relative volume of the 26 quarter-hours of a day: high at the open, highest at the close."""

REGIME_DAY = register_scenario(
    Scenario(
        name="regime-day",
        description="4 % of the daily volume in one day of 26 slices through six regimes; watching the regime pays",
        volume_curve=U_CURVE,
        regimes=SIX_REGIMES,
    )
)
register_scenario(
    Scenario(
        name="desk-5min",
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
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="large-cap",
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
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="mid-cap",
        description="2 M shares a day, Kyle's lambda 0.45",
        quantity=80_000.0,
        arrival_price=60.0,
        adv=2_000_000.0,
        volatility=0.022,
        half_spread_bps=2.5,
        kyle_lambda=0.45,
        perm_impact_gamma=0.2,
        risk_aversion=4e-7,
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="small-cap",
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
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="illiquid",
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
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="crisis-day",
        description="regime-day that starts in a crisis",
        regimes=replace(SIX_REGIMES, start="CRISIS"),
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="trending-day",
        description="regime-day with drifts: up in a bull market and in a recovery, down in a bear market and a crisis",
        regimes=replace(SIX_REGIMES, drift=(0.01, -0.01, 0.0, 0.0, -0.02, 0.005)),
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="hunted-day",
        description="regime-day with a predator that trades ahead of regular child orders of like size",
        predator=0.3,
    )
)
register_scenario(
    replace(
        REGIME_DAY,
        name="sunshine-day",
        description="regime-day in which a visible order attracts liquidity: regular trading pays",
        predator=-0.3,
    )
)
register_scenario(
    Scenario(
        name="flow-signal",
        description="persistent order flow is a signal of the next price move (Bertsimas and Lo 1998); linear impact",
        temp_impact_alpha=1.5,
        temp_impact_beta=1.0,
        volume_noise=0.0,
        flow_share=0.1,
        flow_persistence=0.4,
    )
)
_PAPER: Final = Scenario(
    name="paper", risk_aversion=0.0, half_spread_bps=0.0, temp_impact_beta=1.0, resilience=0.0, volume_noise=0.0, flow_share=0.0
)
register_scenario(
    replace(
        _PAPER,
        name="almgren-chriss",
        description="the example of Almgren and Chriss (2000): five days, five trades, lambda 1e-6",
        side=-1,
        quantity=1_000_000.0,
        arrival_price=50.0,
        horizon_minutes=1950.0,
        day_minutes=1950.0,
        slices=5,
        risk_aversion=1e-6,
        adv=25_000_000.0,
        volatility=0.95 / 50.0 * 5.0**0.5,
        half_spread_bps=12.5,
        perm_impact_gamma=0.125,
        kyle_lambda=0.125,
        temp_impact_alpha=12.5 / 5.0**0.5,
    )
)
register_scenario(
    replace(
        _PAPER,
        name="obizhaeva-wang",
        description="the example of Obizhaeva and Wang (2013): no temporary impact, 101 trades, a block at each end",
        quantity=100_000.0,
        horizon_minutes=393.9,
        day_minutes=393.9,
        slices=101,
        adv=1_010_000.0,
        volatility=0.0,
        perm_impact_gamma=1.01,
        kyle_lambda=2.02,
        temp_impact_alpha=0.0,
        resilience=2.02,
    )
)
register_scenario(
    replace(
        _PAPER,
        name="bertsimas-lo",
        description="the example of Bertsimas and Lo (1998): permanent impact and a persistent signal of the price",
        quantity=100_000.0,
        arrival_price=50.0,
        slices=20,
        adv=1_000_000.0,
        volatility=0.019790570145063194,
        perm_impact_gamma=1.0,
        kyle_lambda=1.0,
        temp_impact_alpha=1.2632278815997786,
        flow_share=32.0 / 47.0,
        flow_persistence=0.5,
    )
)
register_scenario(
    replace(
        _PAPER,
        name="gatheral-schied",
        description="Gatheral and Schied (2011): risk lambda x S, geometric price; sell faster after the price has risen",
        side=-1,
        quantity=1_000_000.0,
        arrival_price=50.0,
        horizon_minutes=1950.0,
        day_minutes=1950.0,
        price_risk=0.025,
        adv=25_000_000.0,
        volatility=0.95 / 50.0 * 5.0**0.5,
        perm_impact_gamma=0.0,
        kyle_lambda=0.0,
        temp_impact_alpha=12.5 / 5.0**0.5,
        price_model="gbm",
    )
)
register_scenario(
    replace(
        _PAPER,
        name="geo-compat",
        description="WARNING, not a sound market: square-root impact that decays exponentially, as published; lumps pay",
        quantity=0.05 * 5_000_000.0 * 120.0 / 390.0,
        horizon_minutes=120.0,
        slices=120,
        perm_impact_gamma=0.0,
        kyle_lambda=7.3e-5,
        transient_exponent=0.5,
        temp_impact_alpha=0.5 * 7.3e-5 / 0.02,
        temp_impact_beta=0.5,
        resilience=390.0 / 64.3,
    )
)
