"""The baskets that ship with the package. To add one, pass a record to `register_basket`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from hyperexec_env.market.basket_scenario import BasketScenario, register_basket
from hyperexec_env.market.library import SIX_REGIMES, U_CURVE
from hyperexec_env.market.scenario import Scenario

__all__ = ["SECTORS"]

SECTORS: Final = (4, 3, 3)
"""Number of assets in each sector."""
_INSIDE, _ACROSS = 0.6, 0.35
"""Correlation within a sector and between sectors."""
_PRICES: Final = (50.0, 120.0, 35.0, 80.0, 200.0, 65.0, 150.0, 30.0, 95.0, 110.0)
_ADV: Final = (8e6, 3e6, 12e6, 5e6, 2e6, 6e6, 2.5e6, 10e6, 4e6, 3.5e6)
_VOLATILITY: Final = (0.018, 0.022, 0.025, 0.016, 0.020, 0.024, 0.019, 0.028, 0.017, 0.021)
_NAMES: Final = tuple(f"{sector}{number + 1}" for sector, count in zip("ABC", SECTORS, strict=True) for number in range(count))
_PROVENANCE: Final = {
    "adv": "assumed: stocks of this size",
    "volatility": "assumed: the range of US large caps",
    "kyle_lambda": "assumed: the default of the package, above what public tapes show",
    "perm_impact_gamma": "assumed: two thirds of lambda",
    "temp_impact_alpha": "assumed: the default of the package",
    "temp_impact_beta": "assumed: the square-root law",
    "resilience": "assumed: half-life of 27 minutes, slower than public tapes show",
    "flow_share": "assumed",
}


def _sector_correlation() -> tuple[tuple[float, ...], ...]:
    """Return the correlation of ten assets in three sectors."""
    sector = [number for number, count in enumerate(SECTORS) for _ in range(count)]
    matrix = [[_INSIDE if a == b else _ACROSS for b in sector] for a in sector]
    return tuple(tuple(1.0 if i == j else value for j, value in enumerate(row)) for i, row in enumerate(matrix))


def _assets(shares: Sequence[float], sides: Sequence[int], **values: Any) -> tuple[Scenario, ...]:
    """Return ten assets, given the size of each order as a share of ADV, its side and the fields that all have in common."""
    columns = zip(_NAMES, _PRICES, _ADV, _VOLATILITY, shares, sides, strict=True)
    return tuple(
        Scenario(
            name=name,
            side=side,
            quantity=share * adv,
            arrival_price=price,
            adv=adv,
            volatility=volatility,
            **{"provenance": _PROVENANCE, **values},
        )
        for name, price, adv, volatility, share, side in columns
    )


_SHARES: Final = (0.12, 0.01, 0.08, 0.02, 0.10, 0.03, 0.06, 0.05, 0.04, 0.09)
_SEVEN_TO_THREE: Final = (1, 1, 1, -1, 1, 1, -1, 1, 1, -1)
_OWN_SOURCES: Final = {
    "correlation": f"assumed: {_INSIDE} within a sector, {_ACROSS} between sectors, as daily returns of large caps",
    "cross_impact": "assumed: bars of prices do not determine it",
}

BASKET_HEDGED = register_basket(
    BasketScenario(
        name="basket-hedged",
        description="seven buys and three sells, one in each sector, of 1 to 12 % of the daily volume; the hedge pays",
        assets=_assets(_SHARES, _SEVEN_TO_THREE, risk_aversion=5e-7),
        correlation=_sector_correlation(),
        provenance=_OWN_SOURCES,
    )
)
register_basket(
    replace(
        BASKET_HEDGED,
        name="basket-10",
        description="ten buys of 4 % of the daily volume each; nearly a problem of one dimension",
        assets=_assets((0.04,) * 10, (1,) * 10, risk_aversion=5e-7),
    )
)
register_basket(
    replace(
        BASKET_HEDGED,
        name="basket-pairs",
        description="five buys and five sells of 4 % of the daily volume each: a long-short list with a high price of risk",
        assets=_assets((0.04,) * 10, (1, -1) * 5, risk_aversion=2e-6),
    )
)
register_basket(
    replace(
        BASKET_HEDGED,
        name="basket-day",
        description="seven buys and three sells of 4 % of the daily volume through six regimes, with linear impact",
        assets=_assets(
            (0.04,) * 10,
            _SEVEN_TO_THREE,
            risk_aversion=5e-7,
            temp_impact_alpha=1.5,
            temp_impact_beta=1.0,
            volume_curve=U_CURVE,
            regimes=SIX_REGIMES,
            provenance={
                **_PROVENANCE,
                "temp_impact_alpha": "assumed: five times the default of the square-root law, for linear impact",
                "temp_impact_beta": "assumed: linear, which the Riccati recursions solve exactly",
                "regimes": "assumed: six regimes of the trading day",
            },
        ),
    )
)
