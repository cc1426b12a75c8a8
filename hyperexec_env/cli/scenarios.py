"""List the scenarios."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.market.basket_scenario import basket_names, get_basket
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.touch_scenario import get_touch, touch_names
from hyperexec_env.market.venue_scenario import get_venues, venue_names

ORDER = 8


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec scenarios``."""

    archived: bool = option(False, "list the scenarios with old numbers, which reproduce old results")


def main(args: Args) -> Report:
    """Return a table with a line per scenario, and one for baskets, touch scenarios and scenarios with venues each."""
    scenarios = [get_scenario(name) for name in scenario_names(archived=args.archived)]
    header = ["hash", "name", "slices", "regimes", "% of volume", "description"]
    cells = [
        [
            scenario.hash,
            scenario.name,
            str(scenario.slices),
            str(len(scenario.regimes)),
            f"{100.0 * scenario.quantity / (scenario.adv * sum(scenario.profile())):.1f}",
            scenario.description,
        ]
        for scenario in scenarios
    ]
    listed = [{"name": scenario.name, "hash": scenario.hash, "description": scenario.description} for scenario in scenarios]
    baskets = [] if args.archived else [get_basket(name) for name in basket_names()]
    listed += [{"name": basket.name, "hash": basket.hash, "description": basket.description} for basket in baskets]
    basket_header = ["hash", "basket", "slices", "regimes", "assets", "description"]
    lines = [
        [each.hash, each.name, str(each.slices), str(len(each.regimes)), str(len(each.assets)), each.description]
        for each in baskets
    ]
    at_touch = [] if args.archived else [get_touch(name) for name in touch_names()]
    listed += [{"name": touch.name, "hash": touch.hash, "description": touch.description} for touch in at_touch]
    touch_header = ["hash", "at the touch", "steps", "seconds", "lots", "description"]
    touch_lines = [
        [each.hash, each.name, str(each.steps), f"{each.horizon_seconds:g}", str(each.lots), each.description]
        for each in at_touch
    ]
    venues = [] if args.archived else [get_venues(name) for name in venue_names()]
    listed += [{"name": each.name, "hash": each.hash, "description": each.description} for each in venues]
    venue_header = ["hash", "with venues", "slices", "regimes", "venues", "description"]
    places = [
        [each.hash, each.name, str(each.slices), str(len(each.regimes)), ", ".join(each.names), each.description]
        for each in venues
    ]
    more = (
        "" if args.archived else "\n\n`hyperexec scenarios --archived` lists those with old numbers, such as regime-day-2026."
    )
    groups = ((header, cells), (basket_header, lines), (touch_header, touch_lines), (venue_header, places))
    tables = [text_table(names, rows) for names, rows in groups if rows]
    return Report("\n\n".join(tables) + more, listed)
