"""Judge policies on many markets that no training met: the gap of each to the market's own optimum, and its quantiles.

    python benchmarks/universal.py --markets 200

Every policy trades the same episodes as the optimum of the market, and its gap is the paired difference of the mean objectives
over J*. Solutions are kept in the cache of the solver, so that an interrupted run goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.arguments import option, run_script
from hyperexec_env.baselines.distribution import get_distribution
from hyperexec_env.baselines.evaluate import entrants
from hyperexec_env.baselines.solver import solve
from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.rollout import paths_of, roll_on
from hyperexec_env.evaluation.table import markdown_table
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.progress import progress

Floats = NDArray[np.float64]
QUANTILES: Final = (0.5, 0.9, 0.95, 1.0)
RESAMPLES: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Args:
    """Options of the comparison."""

    distribution: str = option("markets", "name or path of a .toml file of the markets to draw", file="input")
    markets: int = option(200, "number of markets to draw (0: none)")
    scenario: tuple[str, ...] = option((), "scenarios to judge one by one, by name or path", file="scenario")
    policy: tuple[str, ...] = option(("universal", "linearised", "TWAP", "VWAP", "AC"), "policies, or folders", file="policy")
    episodes: int = option(2_000, "episodes in each market, the same for every policy")
    seed: int = option(0, "seed of the markets and of the episodes, which no training meets")


class Judged(NamedTuple):
    """Gaps of the policies in one market."""

    scenario: Scenario
    optimum_bps: float
    gaps: Floats
    """Percent of J*, shape (policies,)."""
    errors: Floats
    """Standard errors of the gaps, percent of J*."""


def judged(scenario: Scenario, policies: Sequence[Policy], keys: Any) -> Judged:
    """Return the gaps of some policies in a market.

    Raises:
        ValueError: The market is not solved exactly.
    """
    solution = solve(scenario)
    if solution.policy is None:
        raise ValueError(f"{scenario.name} is not solved exactly ({solution.reason}): there is no gap to report")
    market = build_market(scenario)
    paths = paths_of(market, keys)
    optimum = np.asarray(roll_on(market, solution.policy, paths).statement.objective)
    differences = np.array([np.asarray(roll_on(market, policy, paths).statement.objective) - optimum for policy in policies])
    unit, count = 100.0 / solution.optimum_bps, len(optimum)
    return Judged(
        scenario, solution.optimum_bps, unit * differences.mean(axis=1), unit * differences.std(axis=1) / np.sqrt(count)
    )


def quantile_table(found: Sequence[Judged], names: Iterable[str]) -> str:
    """Return the quantiles of the gaps over the markets, with 95 % intervals from resampled markets, as Markdown."""
    gaps = np.array([each.gaps for each in found])
    chosen = np.random.default_rng(0).integers(len(gaps), size=(RESAMPLES, len(gaps)))
    rows = []
    for at, name in enumerate(names):
        low, high = np.quantile(np.quantile(gaps[chosen, at], QUANTILES, axis=1), (0.025, 0.975), axis=1)
        values = np.quantile(gaps[:, at], QUANTILES)
        cells = [f"{value:.2f} [{a:.2f}, {b:.2f}]" for value, a, b in zip(values[:-1], low, high, strict=False)]
        rows.append([name, *cells, f"{values[-1]:.2f}", f"{(gaps[:, at] < 1.0).sum()} of {len(gaps)}"])
    return markdown_table(["policy", "median", "90 %", "95 %", "largest", "below 1 %"], rows)


def compare(args: Args) -> str:
    """Return the tables.

    Raises:
        ValueError: An option is out of range, or a policy or a scenario is unknown or not solved exactly.
    """
    check_integer("markets", args.markets, low=0, high=10**6)
    check_integer("episodes", args.episodes, low=2, high=10**7)
    distribution = get_distribution(args.distribution)
    policies = [entrant.policy for entrant in entrants(args.policy)]
    names, keys = [policy.name for policy in policies], episode_keys(args.seed, np.arange(args.episodes))
    texts = []
    if args.markets:
        found = []
        with progress(args.markets, "markets") as advance:
            for number in range(args.markets):
                found.append(judged(distribution.draw(args.seed, number), policies, keys))
                advance(1)
        which = f"{args.markets} markets of {distribution.name!r} ({distribution.hash}), seed {args.seed}"
        head = f"Gap to J* of each of {which}, % of J*:"
        texts.append(f"{head}\n\n{quantile_table(found, names)}")
    if args.scenario:
        rows = []
        for given in args.scenario:
            each = judged(get_scenario(given), policies, keys)
            cells = [f"{gap:.2f} +- {1.96 * error:.2f}" for gap, error in zip(each.gaps, each.errors, strict=True)]
            rows.append([each.scenario.name, f"{each.optimum_bps:.3f}", *cells])
        texts.append("Gap to J*, % of J*, with 95 % intervals:\n\n" + markdown_table(["scenario", "J*, bps", *names], rows))
    return "\n\n".join(texts)


def main(words: Sequence[str]) -> None:
    """Run the comparison and print its tables."""
    run_script(__file__, __doc__, Args, compare, words)


if __name__ == "__main__":
    main(sys.argv[1:])
