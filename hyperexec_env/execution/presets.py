"""Presets: configurations of the agent from a trader's categories (liquidity tier, volatility, ...) or a published fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_choice, check_number, nearest
from hyperexec_env.execution.config import ExecutionConfig

__all__ = ["INFORMATION", "LIQUIDITY", "PREDATION", "VOLATILITY", "Range", "almgren_2005", "preset"]


class Range(NamedTuple):
    """Usual range of a setting."""

    low: float
    high: float

    def at(self, position: float) -> float:
        """Return the value at a position from 0 (low) to 1 (high)."""
        return self.low + position * (self.high - self.low)


LIQUIDITY: Final[Mapping[str, Range]] = {
    "large_cap": Range(0.1, 0.3),
    "mid_cap": Range(0.3, 0.6),
    "small_cap": Range(0.6, 1.0),
    "illiquid": Range(1.0, 2.0),
}
"""Kyle's lambda by liquidity tier, arrival prices for one ADV. Practitioners quote "above 1" for illiquid stocks; the upper
end of 2 is our assumption."""
VOLATILITY: Final[Mapping[str, Range]] = {
    "low": Range(0.1, 0.2),
    "normal": Range(0.2, 0.4),
    "high": Range(0.4, 0.6),
}
"""Temporary impact alpha by volatility regime, volatilities of a day at a participation of one."""
INFORMATION: Final[Mapping[str, Range]] = {
    "low": Range(0.0, 0.1),
    "medium": Range(0.1, 0.3),
    "high": Range(0.3, 0.5),
}
"""Permanent impact gamma by the information content of the order, arrival prices for one ADV."""
PREDATION: Final[Mapping[str, Range]] = {
    "none": Range(0.0, 0.2),
    "low": Range(0.2, 0.4),
    "medium": Range(0.4, 0.6),
    "high": Range(0.6, 1.0),
}
"""Hiding factor by the activity of predatory traders."""

_MAX_VOLATILITY: Final = 0.25
"""Largest daily volatility that :func:`almgren_2005` accepts, several times that of any stock of the fit."""


def preset(
    liquidity: str = "mid_cap",
    volatility: str = "normal",
    information: str = "medium",
    predation: str = "low",
    *,
    position: float = 0.5,
    **changes: Any,
) -> ExecutionConfig:
    """Return a configuration from categories, such as ``preset("small_cap", predation="high", slices=20)``.

    Args:
        liquidity: Key of :data:`LIQUIDITY`; sets `kyle_lambda`.
        volatility: Key of :data:`VOLATILITY`; sets `temp_impact_alpha`.
        information: Key of :data:`INFORMATION`; sets `perm_impact_gamma`.
        predation: Key of :data:`PREDATION`; sets `steganographic_factor`.
        position: Position of the value within each range, 0 (low) to 1 (high).
        **changes: Settings of :class:`ExecutionConfig`, which override the values of the categories.

    Raises:
        ValueError: A name is unknown (the message gives the nearest one), a value is out of range, or the permanent impact
            exceeds Kyle's lambda, of which it is a part, as for "large_cap" with "high" information.
    """
    position = check_number("position", position, low=0.0, high=1.0)
    values: dict[str, Any] = {
        "kyle_lambda": LIQUIDITY[check_choice("liquidity", liquidity, LIQUIDITY)].at(position),
        "temp_impact_alpha": VOLATILITY[check_choice("volatility", volatility, VOLATILITY)].at(position),
        "perm_impact_gamma": INFORMATION[check_choice("information", information, INFORMATION)].at(position),
        "steganographic_factor": PREDATION[check_choice("predation", predation, PREDATION)].at(position),
    }
    gamma, kyle = values["perm_impact_gamma"], values["kyle_lambda"]
    if gamma > kyle and not {"perm_impact_gamma", "kyle_lambda"} & set(changes):
        raise ValueError(
            f"information {information!r} (gamma {gamma:g}) must go with a liquidity whose Kyle's lambda is at least gamma, "
            f"because permanent impact is part of Kyle's lambda, got {liquidity!r} ({kyle:g}); choose lower information or a "
            "less liquid tier"
        )
    return _config({**values, **changes})


def almgren_2005(daily_volatility: float, turnover_ratio: float, **changes: Any) -> ExecutionConfig:
    """Return the configuration of one stock by "Direct Estimation of Equity Market Impact" (Almgren, Thum, Hauptmann, Li 2005).

    Their cost is J = I / 2 + 0.142 sigma (Q / V)^(3/5) with I = 0.314 sigma (Q / ADV) (Theta / ADV)^(1/4), fitted to US orders
    of 2001 to 2003. Their model has no transient impact, so Kyle's lambda equals gamma and the resilience has no effect.

    Args:
        daily_volatility: sigma, fraction per square root of a day, positive, at most 0.25.
        turnover_ratio: Theta / ADV, shares outstanding over the average daily volume, positive.
        **changes: Other settings of :class:`ExecutionConfig`.

    Raises:
        ValueError: A value is out of range.
    """
    unit = "fraction per square root of a day"
    sigma = check_number("daily_volatility", daily_volatility, low=0.0, high=_MAX_VOLATILITY, open_low=True, unit=unit)
    ratio = check_number("turnover_ratio", turnover_ratio, low=0.0, high=1e9, open_low=True, unit="days of average volume")
    gamma = 0.314 * sigma * ratio**0.25
    values = {"temp_impact_alpha": 0.142, "temp_impact_beta": 0.6, "perm_impact_gamma": gamma, "kyle_lambda": gamma}
    return _config({**values, **changes})


def _config(values: Mapping[str, Any]) -> ExecutionConfig:
    """Return a configuration; raise ValueError for an unknown setting and name the nearest one."""
    known = [item.name for item in fields(ExecutionConfig)]
    for key in values:
        if key not in known:
            raise ValueError(f"unknown setting {key}{nearest(key, known)}")
    return ExecutionConfig(**values)
