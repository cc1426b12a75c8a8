"""Print the card of a scenario: parameters with units and sources, computed optimum, and certificate of the market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hyperexec_env.arguments import scenario_option
from hyperexec_env.baselines.kinds import card

ORDER = 10


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec card``."""

    scenario: str = scenario_option(positional=True)


def main(args: Args) -> Any:
    """Return the card of a scenario."""
    return card(args.scenario)
