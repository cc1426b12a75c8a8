"""The card of a basket: orders, markets, matrices and their sources, the computed optimum, and the certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hyperexec_env.evaluation.basket_certificate import certify_basket
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.basket_path import build_basket
from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario, get_basket

from .solver.basket import solve_basket

__all__ = ["BasketCard", "basket_card"]

_COMMON: Final = (
    *(
        "slices",
        "horizon_minutes",
        "risk_aversion",
        "perm_impact_gamma",
        "kyle_lambda",
        "temp_impact_alpha",
        "temp_impact_beta",
    ),
    *("resilience", "volume_noise", "flow_share"),
)
"""Numbers of the assets that the card lists as a range."""


@dataclass(frozen=True)
class BasketCard:
    """The card of a basket; `str` renders it as text, which solves the basket and tests some round trips."""

    scenario: BasketScenario

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the basket and its hash."""
        return {**self.scenario.to_dict(), "hash": self.scenario.hash}

    def __str__(self) -> str:
        """Return the card as text."""
        basket = self.scenario
        lines = [f"{basket.name} ({basket.hash}): {basket.description}", "", _orders(basket), ""]
        for name in _COMMON:
            values = [getattr(asset, name) for asset in basket.assets]
            low, high = min(values), max(values)
            metadata = basket.assets[0].__dataclass_fields__[name].metadata
            unit = f" [{metadata['unit']}]" if metadata["unit"] else ""
            lines.append(
                f"  {name:<20} {f'{low:g}' if low == high else f'{low:g} to {high:g}':>16}  {metadata['meaning']}{unit}"
            )
        lines += ["", *_matrices(basket), "", "where the numbers come from"]
        lines += _sources(basket) or ["  not stated"]
        return "\n".join([*lines, "", str(solve_basket(basket)), "", certify_basket(basket).verdict])


def basket_card(basket: BasketLike) -> BasketCard:
    """Return the card of a basket, given as a name, a dict, a path or a basket."""
    return BasketCard(get_basket(basket))


def _sources(basket: BasketScenario) -> list[str]:
    """Return where each number comes from: one line for all assets with the same source."""
    lines = [f"  {key:<20} {text}" for key, text in basket.provenance.items()]
    for key in dict.fromkeys(key for asset in basket.assets for key in asset.provenance):
        by_text: dict[str, list[str]] = {}
        for asset in basket.assets:
            by_text.setdefault(asset.provenance.get(key, "not stated"), []).append(asset.name)
        for text, names in by_text.items():
            which = "" if len(by_text) == 1 else f"{', '.join(names)}: "
            lines.append(f"  {key:<20} {which}{text}")
    return lines


def _orders(basket: BasketScenario) -> str:
    """Return the table of orders."""
    header = ["side", "asset", "shares", "% of ADV", "price", "ADV", "volatility %", "half-spread bps", "notional"]
    cells = [
        [
            "buy" if asset.side > 0 else "sell",
            asset.name,
            f"{asset.quantity:,.0f}",
            f"{100.0 * asset.quantity / asset.adv:.1f}",
            f"{asset.arrival_price:g}",
            f"{asset.adv:,.0f}",
            f"{100.0 * asset.volatility:g}",
            f"{asset.half_spread_bps:g}",
            f"{asset.notional:,.0f}",
        ]
        for asset in basket.assets
    ]
    return text_table(header, cells)


def _matrices(basket: BasketScenario) -> list[str]:
    """Return what the correlation and the impact matrix amount to."""
    market, count = build_basket(basket), len(basket.assets)
    values = np.array([asset.volatility * asset.notional for asset in basket.assets])
    signed = values * np.array(market.sides)
    hedged = float(np.sqrt(signed @ basket.matrix @ signed) / values.sum()) if values.any() else 0.0
    own = [
        market.kyle[i, i] * asset.adv / asset.arrival_price / (asset.kyle_lambda or 1.0)
        for i, asset in enumerate(basket.assets)
    ]
    off = basket.matrix[~np.eye(count, dtype=bool)]
    lines = [
        f"cross_impact {basket.cross_impact:g}: own slopes are {min(own):.3f} to {max(own):.3f} of those of each asset alone"
    ]
    if count > 1:
        lines.insert(
            0, f"correlation {off.min():g} to {off.max():g}, lowest eigenvalue {np.linalg.eigvalsh(basket.matrix)[0]:.3g}"
        )
        lines.append(f"volatility of the list: {100.0 * hedged:.0f} % of the sum of the volatilities of its orders")
    return lines
