"""Which values of a scenario its hash covers, so that every stored hash stays valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, Final

__all__ = ["HASHED_FIELDS", "HASHED_REGIME_FIELDS", "hashed_values"]

# Never edit these two lists: every hash that is stored (leaderboards, solutions, trained policies) depends on them. A field in
# a list is hashed by its value, so its default may change. A new field stays out of the lists: it is hashed only where it
# differs from its default, so every present hash stays valid, and the default of a new field may never change.
HASHED_FIELDS: Final = (
    *("side", "quantity", "arrival_price", "start_minute", "horizon_minutes", "slices", "risk_aversion", "price_risk"),
    *("max_participation", "complete", "day_minutes", "adv", "volatility", "half_spread_bps", "perm_impact_gamma"),
    *("kyle_lambda", "temp_impact_alpha", "temp_impact_beta", "resilience", "transient_exponent", "volume_curve"),
    *("volume_noise", "flow_share", "flow_persistence", "predator", "price_model", "regimes"),
)
HASHED_REGIME_FIELDS: Final = (
    *("names", "volatility", "volume", "spread", "temporary", "resilience", "drift", "rates", "start"),
)


def hashed_values(
    record: Any, plain: Mapping[str, Any], always: tuple[str, ...], never: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the plain values that the hash covers: those of the `always` fields, and of later fields not at their default."""
    later = [item for item in fields(record) if item.name not in (*always, *never)]
    return {name: plain[name] for name in (*always, *(item.name for item in later if not _at_default(record, item)))}


def _at_default(record: Any, item: Field[Any]) -> bool:
    """Return whether replacing the field by its default would leave its value unchanged, after the checks of the record."""
    if item.default is MISSING and item.default_factory is MISSING:
        return False
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    try:
        return bool(getattr(replace(record, **{item.name: default}), item.name) == getattr(record, item.name))
    except ValueError:  # the default is invalid beside the other values of the record
        return False
