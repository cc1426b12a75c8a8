"""Impact that was measured on public tapes or published, with its range or standard error and its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hyperexec_env.checks import check_number

__all__ = ["ALMGREN_2005", "PUBLIC_TAPES", "public_impact"]

ALMGREN_2005: Final = {"temp_impact_alpha": (0.142, 0.0062), "temp_impact_beta": (0.600, 0.038)}
"""Temporary impact (eta, beta) and its standard error, for US stocks of 2001 to 2003: Almgren, Thum, Hauptmann and Li (2005,
section 4.3). Their permanent impact is 0.314 +- 0.041 volatilities times (shares outstanding / ADV)^(1/4) for one ADV."""
PUBLIC_TAPES: Final = {
    "kyle_lambda": (25.0, 16.0, 37.0),
    "perm_impact_gamma": (0.5, 0.47, 0.81),
    "resilience": (20.0, 1.0, 510.0),
    "flow_share": (0.35, 0.21, 0.54),
}
"""Value and range on public tapes (AMZN 2012, IBM and SPY 2013): Kyle's lambda in daily volatilities for one ADV, gamma over
lambda, resilience a day, R^2 of flow. The ranges are those of the scenarios that ``hyperexec measure`` writes; that of the
resilience spans the ends of its 95 % intervals, of which SPY's has no upper one."""
_MEANINGS: Final = {
    "kyle_lambda": "{:g} daily volatilities for one ADV",
    "perm_impact_gamma": "{:g} of lambda",
    "resilience": "{:g} a day",
    "flow_share": "R^2 of {:g}",
}


def public_impact(given: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the impact of public tapes and published temporary impact as fields of a scenario, and their provenance.

    Impact is stated in daily volatilities, so that it follows the volatility of the scenario. A number that is given replaces
    its multiple, and permanent impact then is the usual part of the given lambda.

    Args:
        given: Fields of the scenario that the caller states; they are left out of the result.
    """
    given = given or {}
    multiple, share = PUBLIC_TAPES["kyle_lambda"][0], PUBLIC_TAPES["perm_impact_gamma"][0]
    values: dict[str, Any] = {
        "kyle_multiple": multiple,
        "perm_impact_multiple": share * multiple,
        "resilience": PUBLIC_TAPES["resilience"][0],
        "flow_share": PUBLIC_TAPES["flow_share"][0],
        **{name: value for name, (value, _) in ALMGREN_2005.items()},
    }
    for kyle, gamma in (("kyle_lambda", "perm_impact_gamma"), ("kyle_multiple", "perm_impact_multiple")):
        if kyle in given:
            values.pop("kyle_multiple", None)
            values.pop("perm_impact_multiple", None)
            values[gamma] = share * check_number(kyle, given[kyle], low=0.0)
    texts = {
        name: f"assumed: {_MEANINGS[name].format(value)} ({low:g} to {high:g} on the public tapes of AMZN, IBM and SPY)"
        for name, (value, low, high) in PUBLIC_TAPES.items()
    }
    texts |= {
        name: f"published: Almgren, Thum, Hauptmann and Li (2005), standard error {error:g}"
        for name, (_, error) in ALMGREN_2005.items()
    }
    if "perm_impact_gamma" in given:
        values.pop("perm_impact_multiple", None)
    return {name: value for name, value in values.items() if name not in given}, texts
