"""Measure what order hiding is worth: can the order be seen on the tape, what does being seen cost, and what does hiding cost?

For each algorithm and hiding factor, on the same paths of the market:

- detection: the AUC of a detector that reads tapes of background trades with and without the children;
- leakage: what the market charges more because a predator trades ahead of us. It reads the first half of the order's life, and
  hunts in the second half where the tape scores above a threshold that one clean tape in twenty reaches (set on 4,000 of them);
- straying: what leaving the plan costs, without a predator: the mean of the jitter and of its mirror image, less the plan;
- the price of stealth: their sum. The opposite case, liquidity that comes to an order that is seen, stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.stealth import FACTORS, Study, study
from hyperexec_env.baselines.stealth_plot import check_plot, picture
from hyperexec_env.files import write_atomically

ORDER = 15


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec stealth``."""

    scenario: str = scenario_option("desk-5min")
    factors: tuple[float, ...] = option(FACTORS, "hiding factors, 0 to 1")
    predator: float = option(0.3, "what the predator trades ahead, as a fraction of the child that it expects, 0 to 2")
    episodes: int = option(400, "number of episodes, the same for every algorithm and factor")
    seed: int = option(0, "seed of the episodes, the tapes and the hiding")
    plot: str | None = option(None, "draw the curves to this file (.png, .svg or .pdf)", file="output")


def main(args: Args) -> Study:
    """Measure, draw, and return the study."""
    check_plot(args.plot)
    found = study(args.scenario, args.factors, args.predator, args.episodes, args.seed)
    if args.plot is not None:
        write_atomically(args.plot, picture(found, args.plot))
    return found
