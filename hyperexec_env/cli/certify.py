"""Certify the market of a scenario: search for profitable round trips, slice-dependent costs, and bursts that pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hyperexec_env.arguments import changed, option, scenario_option
from hyperexec_env.baselines.kinds import certify
from hyperexec_env.evaluation.certificate import end_corners, usual_trips
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.scenarios import get_scenario
from hyperexec_env.progress import progress

ORDER = 11


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec certify``."""

    scenario: str = scenario_option(positional=True)
    trips: int | None = option(None, "number of round trips to try in each tested market (default: a few seconds' worth)")
    seed: int = option(0, "seed of the search")


def main(args: Args) -> Any:
    """Return the certificate of a scenario."""
    scenario = get_scenario(args.scenario)
    options = changed(args, ("trips", "seed"))
    if not isinstance(scenario, Scenario):
        return certify(scenario, **options)
    total = usual_trips(scenario.slices) if args.trips is None else args.trips
    with progress(total * (1 + len(end_corners(scenario))), f"certify {scenario.name}") as advance:
        return certify(scenario, **options, advance=advance)
