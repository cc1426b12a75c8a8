"""Which numbers of a market were measured, published or assumed, by the provenance of the scenario."""

from __future__ import annotations

from typing import Final

from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.scenario import Scenario

__all__ = ["described_sources", "sources_of"]

_DECISIVE: Final = (
    *("adv", "volatility", "half_spread_bps", "kyle_lambda", "perm_impact_gamma", "resilience", "flow_share"),
    *("temp_impact_alpha", "temp_impact_beta"),
)
"""Fields that decide costs and rankings."""
_KINDS: Final = {"published": "published", "given": "given", "assumed": "assumed", "default": "assumed"}
"""Kind by the first word of a text; any other text describes a measurement."""


def sources_of(scenario: Scenario | BasketScenario) -> dict[str, tuple[str, ...]]:
    """Return the decisive fields of a scenario by kind: measured, published, given by the user, or assumed.

    A field without provenance is assumed. A field of a basket has the kinds that it has in any asset, and correlation and
    cross-impact are fields of it.
    """
    texts: list[tuple[str, str]] = []
    assets = scenario.assets if isinstance(scenario, BasketScenario) else (scenario,)
    for name in _DECISIVE:
        texts += [(name, asset.provenance.get(name, "assumed")) for asset in assets]
    if isinstance(scenario, BasketScenario):
        texts += [(name, scenario.provenance.get(name, "assumed")) for name in ("correlation", "cross_impact")]
    found: dict[str, tuple[str, ...]] = {}
    for kind in ("measured", "published", "given", "assumed"):
        names = tuple(dict.fromkeys(name for name, text in texts if _kind(text) == kind))
        if names:
            found[kind] = names
    return found


def _kind(text: str) -> str:
    """Return the kind of a source."""
    return _KINDS.get(text.split(":")[0].strip(), "measured")


def described_sources(scenario: Scenario | BasketScenario) -> str:
    """Return one line that says which numbers of the market were measured, published, given or assumed."""
    found = sources_of(scenario)
    if list(found) == ["assumed"]:
        return "numbers of the market: all assumed"
    return "numbers of the market: " + "; ".join(f"{kind} {', '.join(names)}" for kind, names in found.items())
