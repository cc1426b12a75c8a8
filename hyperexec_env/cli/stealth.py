"""Measure the value of order hiding: how detectable the order is on the tape, what detection costs, and what hiding costs.

For each algorithm and hiding factor, on the same paths of the market, the study measures:

- detection: the AUC of a detector that scores tapes of background trades with and without the children;
- leakage: the extra cost when a predator trades ahead of the children. The predator scores the first half of the order's life,
  and trades in the second half if the score exceeds a threshold with a false-alarm rate of 5 % (set on 4,000 clean tapes);
- tracking cost: the cost of deviating from the plan, without a predator: the mean cost of the jittered order and of its
  antithetic mirror image, less the cost of the plan;
- price of stealth: leakage plus tracking cost. The study repeats leakage and price for the opposite case, in which a detected
  order attracts liquidity.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.stealth import FACTORS, Study, study
from hyperexec_env.baselines.stealth_plot import picture
from hyperexec_env.evaluation.plotting import check_plot
from hyperexec_env.files import write_atomically

ORDER = 15


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec stealth``."""

    scenario: str = scenario_option("desk-5min")
    factors: tuple[float, ...] = option(FACTORS, "hiding factors, 0 to 1")
    predator: float = option(0.3, "position of the predator ahead of a child, as a fraction of the expected child, 0 to 2")
    episodes: int = option(400, "number of episodes, the same for every algorithm and factor")
    seed: int = option(0, "seed of the episodes, the tapes and the hiding")
    plot: str | None = option(None, "draw the curves to this file (.png, .svg or .pdf)", file="output")


def main(args: Args) -> Study:
    """Run the study, write the figure if asked for, and return the study."""
    check_plot(args.plot)
    found = study(args.scenario, args.factors, args.predator, args.episodes, args.seed)
    if args.plot is not None:
        write_atomically(args.plot, picture(found, args.plot))
    return found
