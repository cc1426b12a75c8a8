"""Scenarios of one asset, baskets and child orders at the touch by one name."""

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

__all__ = ["get_scenario"]


@overload
def get_scenario(scenario: Scenario) -> Scenario: ...
@overload
def get_scenario(scenario: BasketScenario) -> BasketScenario: ...
@overload
def get_scenario(scenario: TouchScenario) -> TouchScenario: ...
@overload
def get_scenario(scenario: str | os.PathLike[str] | Mapping[str, Any]) -> Any: ...
def get_scenario(scenario: ScenarioLike | BasketLike | TouchLike) -> Any:
    """Return what a registered name, a dict, a path to a TOML file or a record specifies.

    Returns:
        A :class:`~hyperexec_env.market.scenario.Scenario`; for the name of a basket, and for a dict or a file with assets, a
        :class:`~hyperexec_env.market.basket_scenario.BasketScenario`; for the name of a touch scenario, and for a dict or a
        file with its fields, a :class:`~hyperexec_env.market.touch_scenario.TouchScenario`.

    Raises:
        ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
    """
    if isinstance(scenario, TouchScenario) or is_touch(scenario):
        return get_touch(scenario)
    if isinstance(scenario, BasketScenario) or is_basket(scenario):
        return get_basket(scenario)
    names = (*scenario_names(), *basket_names(), *touch_names())
    if isinstance(scenario, str) and not is_path(scenario) and scenario not in scenario_names(archived=True) + names:
        known = f"known: {', '.join(names)}; or a .toml file"
        raise ValueError(f"unknown scenario {shown(scenario)}{nearest(scenario, names)} ({known})")
    return one_asset.get_scenario(scenario)
