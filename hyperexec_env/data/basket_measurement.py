"""Measurement of a basket: the impact of each asset from its own tape, and the correlation from the sessions they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.scenario import Scenario

from .basket_calibration import BasketCalibration, correlation_lines
from .correlation import Correlation
from .measurement import Measurement, precise
from .numbers import rounded

__all__ = ["BasketMeasurement", "measure_basket"]


@dataclass(frozen=True, eq=False)
class BasketMeasurement:
    """A basket measured from the tapes of its assets; ``print`` shows it as text."""

    scenario: BasketScenario
    measured: Mapping[str, Measurement]
    """Measurement of each asset alone."""
    calibration: BasketCalibration
    """Volume, volatility and correlation from bars of the tapes."""
    moved: tuple[str, ...]
    """One sentence for each number that the assets must share."""

    @property
    def correlation(self) -> Correlation:
        """Correlation of synchronised returns, with standard errors."""
        return self.calibration.correlation

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "scenario": self.scenario.to_dict(),
            "correlation": self.correlation.to_dict(),
            "assets": {name: found.to_dict() for name, found in self.measured.items()},
            "moved": list(self.moved),
            "notices": list(self.calibration.notices),
        }

    def __str__(self) -> str:
        """Return one line for each asset, what they share, and the correlation."""
        lines = [f"warning: {text}" for text in self.calibration.notices]
        for asset in self.scenario.assets:
            found = self.measured[asset.name]
            chosen = precise(found.responses)
            side = "buy" if asset.side > 0 else "sell"
            lines.append(
                f"{asset.name}: {side} {asset.quantity:,.0f} at {asset.arrival_price:g}; ADV {asset.adv:,.0f}, volatility "
                f"{asset.volatility:.2%} a day, half-spread {asset.half_spread_bps:.3g} bps, lambda {asset.kyle_lambda:.3g} "
                f"({chosen.kyle_lambda} at {chosen.seconds:g} s), {len(found.tape.dates)} sessions"
            )
        basket = self.scenario
        lines += ["", *self.moved, "", *correlation_lines(basket.symbols, self.correlation), ""]
        lines.append(f"cross_impact {basket.cross_impact:g}: {basket.provenance['cross_impact']}")
        return "\n".join(lines)


def measure_basket(calibration: BasketCalibration, measured: Mapping[str, Measurement]) -> BasketMeasurement:
    """Return a calibrated basket with the impact of its assets' own tapes.

    Volume, volatility, orders and correlation are those of the calibration; half-spread and Kyle's lambda in daily volatilities
    are each asset's own. A basket is free of round trips that earn money if its assets share resilience, flow share and the
    ratio of permanent impact to lambda: these are means over the assets (of logarithms for the resilience), and `moved` says
    what each asset had.

    Args:
        calibration: The basket from bars of the tapes (:func:`~hyperexec_env.data.basket_calibration.calibrate_basket`).
        measured: Measurement of each asset by symbol (:func:`~hyperexec_env.data.measurement.measure`).
    """
    found = {asset.name: measured[asset.name].scenario for asset in calibration.scenario.assets}
    common, moved = _common(found)
    assets = tuple(_asset(asset, found[asset.name], common, moved) for asset in calibration.scenario.assets)
    basket = replace(calibration.scenario, assets=assets, description=f"measured; {calibration.scenario.description}")
    return BasketMeasurement(basket, dict(measured), calibration, tuple(moved.values()))


def _common(found: Mapping[str, Scenario]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values that all assets share, and a sentence on each."""
    moving = [each for each in found.values() if each.kyle_lambda > 0.0]
    speeds = {name: each.resilience for name, each in found.items()}
    flows = {name: each.flow_share for name, each in found.items()}
    ratios = {name: each.perm_impact_gamma / each.kyle_lambda for name, each in found.items() if each.kyle_lambda > 0.0}
    positive = all(speed > 0.0 for speed in speeds.values())
    speed = math.exp(sum(map(math.log, speeds.values())) / len(speeds)) if positive else 0.0
    ratio = sum(ratios.values()) / len(ratios) if ratios else 0.0
    flow = sum(flows.values()) / len(flows) if len(moving) == len(found) else 0.0
    common = {"resilience": rounded(speed, 3), "flow_share": rounded(flow, 3), "ratio": rounded(ratio, 3)}
    kinds = {"resilience": (speeds, " a day, geometric mean"), "flow_share": (flows, ", mean"), "ratio": (ratios, ", mean")}
    texts = {}
    for key, (values, unit) in kinds.items():
        listed = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        label = "perm_impact_gamma / kyle_lambda" if key == "ratio" else key
        texts[key] = f"{label} is {common[key]:g}{unit} of {listed or 'none'}: assets of a basket share it"
    if len(moving) < len(found):
        texts["flow_share"] = "flow_share is 0: the flow of an asset does not move its price, and assets of a basket share it"
    return common, texts


def _asset(asset: Scenario, own: Scenario, common: Mapping[str, float], texts: Mapping[str, str]) -> Scenario:
    """Return an asset of the calibrated basket with the impact of its own tape and the values that all share."""
    multiple = own.kyle_lambda / own.volatility if own.volatility else 0.0
    fields: dict[str, Any] = {
        "half_spread_bps": own.half_spread_bps,
        "kyle_multiple": multiple,
        "perm_impact_multiple": common["ratio"] * multiple,
        "resilience": common["resilience"],
        "flow_share": common["flow_share"],
    }
    sources = {key: own.provenance[key] for key in ("half_spread_bps", "kyle_lambda") if key in own.provenance}
    shared = {"perm_impact_gamma": texts["ratio"], "resilience": texts["resilience"], "flow_share": texts["flow_share"]}
    return replace(asset, **fields, provenance={**asset.provenance, **sources, **shared})
