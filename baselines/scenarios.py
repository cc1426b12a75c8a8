"""List the scenarios."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.files import check_target
from hyperexec_env.market.scenario import get_scenario, scenario_names

from .evaluate import show

__all__ = ["Args", "main"]


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec scenarios``."""

    json: str | None = option(None, "write the list as JSON to this file (without a file: to standard output)")


def main(args: Args) -> None:
    """Print one line for each scenario."""
    check_target(args.json)
    scenarios = [get_scenario(name) for name in scenario_names()]
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
    show(text_table(header, cells), json_format.dumps(listed, indent=2) + "\n", args.json)
