"""Scenarios of one asset, with or without venues, baskets and child orders at the touch by one name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, overload

from hyperexec_env.checks import nearest, shown
from hyperexec_env.market import scenario as one_asset
from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario, basket_names, get_basket, is_basket
from hyperexec_env.market.scenario import Scenario, ScenarioLike, scenario_names
from hyperexec_env.market.scenario_file import is_path
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario, get_touch, is_touch, touch_names
from hyperexec_env.market.venue_scenario import VenueLike, VenueScenario, get_venues, is_venues, venue_names

__all__ = ["get_scenario"]


@overload
def get_scenario(scenario: Scenario) -> Scenario: ...
@overload
def get_scenario(scenario: BasketScenario) -> BasketScenario: ...
@overload
def get_scenario(scenario: TouchScenario) -> TouchScenario: ...
@overload
def get_scenario(scenario: VenueScenario) -> VenueScenario: ...
@overload
def get_scenario(scenario: str | os.PathLike[str] | Mapping[str, Any]) -> Any: ...
def get_scenario(scenario: ScenarioLike | BasketLike | TouchLike | VenueLike) -> Any:
    """Return what a registered name, a dict, a path to a TOML file or a record specifies.

    Returns:
        A :class:`~hyperexec_env.market.scenario.Scenario`; for the name of a basket, and for a dict or a file with assets, a
        :class:`~hyperexec_env.market.basket_scenario.BasketScenario`; for the name of a touch scenario, and for a dict or a
        file with its fields, a :class:`~hyperexec_env.market.touch_scenario.TouchScenario`; for the name of a scenario with
        venues, and for a dict or a file with venues, a :class:`~hyperexec_env.market.venue_scenario.VenueScenario`.

    Raises:
        ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
    """
    given: Any = scenario
    if is_touch(given):
        return get_touch(given)
    if is_basket(given):
        return get_basket(given)
    if is_venues(given):
        return get_venues(given)
    names = (*scenario_names(), *basket_names(), *touch_names(), *venue_names())
    if isinstance(scenario, str) and not is_path(scenario) and scenario not in scenario_names(archived=True) + names:
        known = f"known: {', '.join(names)}; or a .toml file"
        raise ValueError(f"unknown scenario {shown(scenario)}{nearest(scenario, names)} ({known})")
    return one_asset.get_scenario(given)
