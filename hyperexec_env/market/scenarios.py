"""Scenarios of one asset, with or without venues, baskets and child orders at the touch by one name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final, overload

from hyperexec_env.checks import nearest, one_line, shown
from hyperexec_env.market import scenario as one_asset
from hyperexec_env.market.basket_scenario import BASKETS, BasketLike, BasketScenario
from hyperexec_env.market.catalog import Catalog
from hyperexec_env.market.scenario import Scenario, ScenarioLike, scenario_names
from hyperexec_env.market.scenario_file import is_path
from hyperexec_env.market.touch_scenario import TOUCHES, TouchLike, TouchScenario
from hyperexec_env.market.venue_scenario import VENUES, VenueLike, VenueScenario

__all__ = [
    *("CATALOGS", "AnyScenario", "AnyScenarioLike", "Trainable", "catalog_of", "complete_scenario", "environment_of"),
    *("ONE_ASSET", "get_scenario", "kind_of", "scenario_or_basket", "unknown_field"),
]

AnyScenario = Scenario | BasketScenario
"""What a board with a store evaluates: a scenario of one asset, or a basket."""
Trainable = Scenario | BasketScenario | TouchScenario | VenueScenario
"""What a method of training takes."""
AnyScenarioLike = ScenarioLike | BasketLike
"""What names one: a name, a dict, a path of a TOML file, or the record."""

CATALOGS: Final[tuple[Catalog[Any], ...]] = (BASKETS, TOUCHES, VENUES)
"""Every kind of scenario beside that of one asset. To add one, make its catalog and put it here."""

ONE_ASSET: Final = "a scenario of one asset"
"""What the kind without a catalog is called, with its article."""
_CONTAINERS: Final = ("assets", "market", "venues")
"""Fields of records that are no fields of a file."""


def unknown_field(key: Any, known: Iterable[str], word: str = ONE_ASSET) -> ValueError:
    """Return the error for a field that a kind of scenario does not have; it names the nearest one, or whose field it is.

    Args:
        key: The field.
        known: Fields of the kind.
        word: What one is, with its article.
    """
    given, known = one_line(str(key)), {*known}
    owners = {item.name: catalog.word for catalog in CATALOGS for item in fields(catalog.record)}
    owners = {name: word for name, word in owners.items() if name not in _CONTAINERS}
    owners |= {name: catalog.word for catalog in CATALOGS for name in catalog.own}
    owners |= dict.fromkeys(("unknown", *(item.name for item in fields(Scenario))), ONE_ASSET)
    name = given if given in owners else given.removesuffix("s")
    if name in known or name not in owners:
        return ValueError(f"unknown field {given}{nearest(given, known)}")
    meant = f"`{name}`" if name == given else f"unknown field {given}; did you mean {name!r}? It"
    return ValueError(f"{meant} belongs to {owners[name]}, and this is {word}")


def catalog_of(given: Any) -> Catalog[Any] | None:
    """Return the catalog of what a name, a dict, a path or a record specifies; None for a scenario of one asset."""
    return next((catalog for catalog in CATALOGS if catalog.owns(given)), None)


def kind_of(given: Any) -> str | None:
    """Return the kind of scenario, with its article, of a name, a table or a record; None for an unknown name."""
    catalog = catalog_of(given)
    if catalog is not None:
        return catalog.word
    names = scenario_names() + scenario_names(archived=True)
    return ONE_ASSET if isinstance(given, (Mapping, Scenario)) or given in names else None


def environment_of(given: Any) -> str:
    """Return the id of the environment that executes what a name, a dict, a path or a record specifies."""
    catalog = catalog_of(given)
    return "HyperExec-v0" if catalog is None else catalog.environment


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
    catalog = catalog_of(scenario)
    if catalog is not None:
        return catalog.get(scenario)
    names = (*scenario_names(), *(name for each in CATALOGS for name in each.names()))
    if isinstance(scenario, str) and not is_path(scenario) and scenario not in scenario_names(archived=True) + names:
        known = f"known: {', '.join(names)}; or a .toml file"
        raise ValueError(f"unknown scenario {shown(scenario)}{nearest(scenario, names)} ({known})")
    return one_asset.get_scenario(scenario)  # type: ignore[arg-type]  # no other kind is left


def scenario_or_basket(scenario: AnyScenarioLike) -> AnyScenario:
    """Return the scenario of one asset, or the basket, that is given; errors as in :func:`get_scenario`.

    Raises:
        ValueError: It is a scenario of another kind.
    """
    found: Any = get_scenario(scenario)
    if not isinstance(found, (Scenario, BasketScenario)):
        raise ValueError(f"scenario must be one of an order in one asset, or a basket, got {shown(found.name)}")
    return found


def complete_scenario(values: Any) -> AnyScenario:
    """Return the scenario of one asset, or the basket, that plain values of a file describe, without any other file.

    Raises:
        ValueError: A value is invalid, or there is a base, which could name a file of this machine.
    """
    assets = values.get("asset") if isinstance(values, Mapping) else None
    tables = [values, *(assets if isinstance(assets, (list, tuple)) else ())]
    if any(isinstance(table, Mapping) and "base" in table for table in tables):
        raise ValueError("the scenario must be complete, got one with a base")
    return (Scenario if assets is None else BasketScenario).from_dict(values)
