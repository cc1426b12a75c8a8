"""Try whether the market of a scenario is sound: round trips that earn, costs that hang on the slices, bursts that pay."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.evaluation.certificate import Certificate, certify, usual_trips
from hyperexec_env.evaluation.progress import progress
from hyperexec_env.files import check_target
from hyperexec_env.market.scenario import get_scenario

from .evaluate import show

__all__ = ["Args", "main"]


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec certify``."""

    scenario: str = option("regime-day", "name of a scenario or path of a .toml file", positional=True)
    trips: int | None = option(None, "number of round trips to try (default: what some seconds allow)")
    seed: int = option(0, "seed of the search")
    json: str | None = option(None, "write the certificate as JSON to this file (without a file: to standard output)")


def main(args: Args) -> Certificate:
    """Try the scenario, print what came out, and return it."""
    check_target(args.json)
    scenario = get_scenario(args.scenario)
    total = usual_trips(scenario.slices) if args.trips is None else args.trips
    with progress(total, f"certify {scenario.name}") as advance:
        found = certify(scenario, trips=args.trips, seed=args.seed, advance=advance)
    show(str(found), json_format.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n", args.json)
    return found
