"""List the scenarios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.scenarios import CATALOGS
from hyperexec_env.market.touch_scenario import TouchScenario
from hyperexec_env.market.venue_scenario import VenueScenario

ORDER = 8

_COLUMNS: Final[dict[type, dict[str, Callable[[Any], str]]]] = {
    Scenario: {
        "name": lambda each: each.name,
        "slices": lambda each: str(each.slices),
        "regimes": lambda each: str(len(each.regimes)),
        "% of volume": lambda each: f"{100.0 * each.quantity / (each.adv * sum(each.profile())):.1f}",
    },
    BasketScenario: {
        "basket": lambda each: each.name,
        "slices": lambda each: str(each.slices),
        "regimes": lambda each: str(len(each.regimes)),
        "assets": lambda each: str(len(each.assets)),
    },
    TouchScenario: {
        "at the touch": lambda each: each.name,
        "steps": lambda each: str(each.steps),
        "seconds": lambda each: f"{each.horizon_seconds:g}",
        "lots": lambda each: str(each.lots),
    },
    VenueScenario: {
        "with venues": lambda each: each.name,
        "slices": lambda each: str(each.slices),
        "regimes": lambda each: str(len(each.regimes)),
        "venues": lambda each: ", ".join(each.names),
    },
}
"""Columns of the table of each kind of scenario, between its hash and its description."""


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec scenarios``."""

    archived: bool = option(False, "list the scenarios with old numbers, which reproduce old results")


def main(args: Args) -> Report:
    """Return a table for each kind of scenario, with one line for each scenario."""
    groups: list[list[Any]] = [[get_scenario(name) for name in scenario_names(archived=args.archived)]]
    more = ""
    if not args.archived:
        groups += [[catalog.get(name) for name in catalog.names()] for catalog in CATALOGS]
        more = "\n\n`hyperexec scenarios --archived` lists those with old numbers, such as regime-day-2026."
    tables = []
    for scenarios in groups:
        columns = _COLUMNS[type(scenarios[0])]
        lines = [[each.hash, *(cell(each) for cell in columns.values()), each.description] for each in scenarios]
        tables.append(text_table(["hash", *columns, "description"], lines))
    listed = [{"name": each.name, "hash": each.hash, "description": each.description} for group in groups for each in group]
    return Report("\n\n".join(tables) + more, listed)
