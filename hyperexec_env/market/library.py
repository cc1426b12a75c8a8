"""The scenarios that ship with the package. To add one, pass a record to `register_scenario`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hyperexec_env.market.published import public_impact
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
    *(0.1330, 0.0588, 0.0530, 0.0436, 0.0402, 0.0369, 0.0361, 0.0325, 0.0302, 0.0279, 0.0266, 0.0258, 0.0254),
    *(0.0245, 0.0238, 0.0232, 0.0233, 0.0232, 0.0248, 0.0247, 0.0263, 0.0269, 0.0297, 0.0331, 0.0391, 0.1075),
)
"""Relative volume of the 26 quarter-hours of a day, auctions included: mean of the calibrated curves of AAPL, MSFT, BA, OXY and
ORCL, 41 to 57 sessions each from 2025-12-23 to 2026-03-20."""

_SESSIONS: Final = "sessions of 5-minute bars, 2025-12-23 to 2026-03-20"
_CHOICES: Final = (
    *("side", "quantity", "arrival_price", "start_minute", "horizon_minutes", "slices", "risk_aversion", "price_risk"),
    *("max_participation", "complete", "day_minutes", "price_model"),
)
"""Fields that define the order and the clock: a choice, not a number of a market."""
_IMPACT, _SOURCES = public_impact()
_PROVENANCE: Final = {
    **dict.fromkeys(_CHOICES, "chosen"),
    "adv": "assumed: a stock of this size",
    "volatility": f"measured: 1.85 % BA, 2.05 % OXY, 2.73 % ORCL a day, 56 to 57 {_SESSIONS}",
    "half_spread_bps": "measured: quoted half-spread of IBM, 6 sessions, 2013-10-04 to 2013-10-11",
    **_SOURCES,
    "transient_exponent": "assumed: linear transient impact, which no round trip exploits",
    "volume_curve": f"measured: mean of AAPL, MSFT, BA, OXY and ORCL, 41 to 57 {_SESSIONS}",
    "volatility_curve": "assumed: flat over the day",
    "volume_noise": f"measured: 0.36 BA, 0.34 OXY, 0.31 ORCL, 56 to 57 {_SESSIONS}",
    "volume_level_sd": "assumed: no variation of the daily level (0.2 to 0.4 in the same bars)",
    "volume_persistence": "assumed: none (0.3 from one 15 minutes to the next in the year of SPY)",
    "drift_sd": "assumed: none, an order without a view on the price",
    "temp_impact_sd": "assumed: none, the published impact is known",
    "kyle_sd": "assumed: none, the slope of the price in the flow is known",
    "flow_persistence": "assumed: none",
    "predator": "assumed: none",
    "regimes": "assumed: six regimes of the trading day",
}


def _made(base: Scenario, sources: Mapping[str, str], **values: Any) -> Scenario:
    """Register and return a variant of a scenario, with the provenance of what differs."""
    return register_scenario(replace(base, **values, provenance={**base.provenance, **sources}))


REGIME_DAY = register_scenario(
    Scenario(
        name="regime-day",
        description="4 % of the daily volume in one day of 26 slices through six regimes; watching the regime pays",
        half_spread_bps=1.3,
        volume_noise=0.33,
        volume_curve=U_CURVE,
        regimes=SIX_REGIMES,
        provenance=_PROVENANCE,
        **_IMPACT,
    )
)
_made(
    REGIME_DAY,
    {
        "volume_curve": "assumed: flat within five minutes",
        "volume_noise": "assumed: that of 15 minutes; thirty seconds vary more",
    },
    name="desk-5min",
    description="the desk's defaults: 10,000 shares in 300 seconds; a cap of 10 % of the volume cannot finish it",
    quantity=10_000.0,
    arrival_price=150.0,
    start_minute=180.0,
    horizon_minutes=5.0,
    slices=10,
    risk_aversion=1e-6,
    max_participation=0.1,
    volume_curve=(),
)
_made(
    REGIME_DAY,
    {
        "volatility": f"measured: 1.34 % AAPL, 1.37 % MSFT a day, 41 {_SESSIONS}",
        "half_spread_bps": "measured: quoted half-spread of AAPL, 3 sessions, 2014-06-05 to 2014-06-09",
        "volume_noise": f"measured: 0.27 AAPL, 0.27 MSFT, 41 {_SESSIONS}",
    },
    name="large-cap",
    description="a liquid stock: 20 M shares a day, a volatility of 1.35 %",
    quantity=800_000.0,
    arrival_price=150.0,
    adv=20_000_000.0,
    volatility=0.0135,
    half_spread_bps=0.8,
    volume_noise=0.27,
    risk_aversion=1.7e-8,
)
_SMALLER: Final = {
    "volatility": "assumed: no bars of such a stock were measured",
    "volume_noise": "assumed: no bars of such a stock were measured",
}
_made(
    REGIME_DAY,
    {
        "volatility": _SMALLER["volatility"],
        "half_spread_bps": "assumed: 3 cents quoted; the median of stocks of 2 to 5 billion is 1 cent in the lowest class of "
        "price and more in others (Collver 2014, SEC, year 2013)",
    },
    name="mid-cap",
    description="2 M shares a day, a volatility of 2.2 %",
    quantity=80_000.0,
    arrival_price=60.0,
    adv=2_000_000.0,
    volatility=0.022,
    half_spread_bps=2.5,
    risk_aversion=4e-7,
)
_made(
    REGIME_DAY,
    {
        **_SMALLER,
        "half_spread_bps": "assumed: 3.2 cents quoted, between the medians of stocks of 2 to 5 billion and of stocks below 100 "
        "million (Collver 2014, SEC, year 2013)",
    },
    name="small-cap",
    description="400,000 shares a day, a volatility of 3 %",
    quantity=16_000.0,
    arrival_price=20.0,
    adv=400_000.0,
    volatility=0.03,
    half_spread_bps=8.0,
    volume_noise=0.5,
    risk_aversion=6e-6,
)
_made(
    REGIME_DAY,
    {
        **_SMALLER,
        "half_spread_bps": "published: 6.22 cents quoted, the smallest median by class of price of stocks below 100 million "
        "(Collver 2014, SEC, year 2013)",
    },
    name="illiquid",
    description="60,000 shares a day, a volatility of 4.5 %, a wide spread",
    quantity=2_400.0,
    arrival_price=8.0,
    adv=60_000.0,
    volatility=0.045,
    half_spread_bps=39.0,
    volume_noise=0.8,
    risk_aversion=1e-4,
)
_made(
    REGIME_DAY,
    {},
    name="crisis-day",
    description="regime-day that starts in a crisis",
    regimes=replace(SIX_REGIMES, start="CRISIS"),
)
_made(
    REGIME_DAY,
    {"regimes": f"{_PROVENANCE['regimes']}, with drifts"},
    name="trending-day",
    description="regime-day with drifts: up in a bull market and in a recovery, down in a bear market and a crisis",
    regimes=replace(SIX_REGIMES, drift=(0.01, -0.01, 0.0, 0.0, -0.02, 0.005)),
)
_made(
    REGIME_DAY,
    {"predator": "assumed"},
    name="hunted-day",
    description="regime-day with a predator that trades ahead of regular child orders of like size",
    predator=0.3,
)
_made(
    REGIME_DAY,
    {"predator": "assumed: at -0.2 the benefit stays below the transient cost of the same shares"},
    name="sunshine-day",
    description="regime-day in which a visible order attracts liquidity: regular trading pays",
    predator=-0.2,
)
_UNKNOWN: Final = Scenario(
    name="unknown",
    temp_impact_alpha=1.5,
    temp_impact_beta=1.0,
    kyle_lambda=0.2,
    half_spread_bps=0.0,
)
"""A flat day in one regime with linear temporary impact that decays at once, in which learning is solved exactly."""
register_scenario(
    replace(
        _UNKNOWN,
        name="unknown-volume",
        description="the volume of the day is uncertain by half (sd of the log 0.5) and shows itself slice by slice",
        risk_aversion=1e-6,
        volume_level_sd=0.5,
    )
)
register_scenario(
    replace(
        _UNKNOWN,
        name="unknown-drift",
        description="the price has a drift of 1 % a day (sd) that its own path shows slowly (Almgren and Lorenz 2006)",
        volume_noise=0.0,
        flow_share=0.0,
        drift_sd=0.01,
    )
)
register_scenario(
    replace(
        _UNKNOWN,
        name="unknown-impact",
        description="the temporary impact is 0.4 or 1.6 times its mean, and own fills show it with the noise of the price",
        risk_aversion=1e-6,
        volume_noise=0.0,
        temp_impact_sd=0.6,
    )
)
register_scenario(
    replace(
        _UNKNOWN,
        name="unknown-all",
        description="volume of the day, drift and temporary impact are unknown at once, in ten slices",
        slices=10,
        risk_aversion=1e-6,
        volume_level_sd=0.5,
        drift_sd=0.01,
        temp_impact_sd=0.6,
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
