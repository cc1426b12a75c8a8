"""What routing is worth to the desk in simulated venues: with hidden venues, and taking everything in lit ones.

python benchmarks/desk_venues.py                    # some minutes
python benchmarks/desk_venues.py --episodes 20      # a try
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product

import numpy as np

import hyperexec_env as hx
from hyperexec_env.baselines.venue_desk import SYMBOL, VenueAgentPolicy, learnt_rates
from hyperexec_env.baselines.venue_policies import venue_policy
from hyperexec_env.evaluation.paired import paired
from hyperexec_env.evaluation.venue_rollout import rollout_venues
from hyperexec_env.execution.fill_rates import FillRates, HiddenOrder
from hyperexec_env.market.venue_path import build_venues

NEVER = 1e4
"""Cost of a share that does not fill, bps, for which a desk takes everything."""


def nothing_known(scenario: hx.VenueScenario) -> FillRates:
    """Return fill rates of hidden venues that never filled: the desk then trades in lit venues only."""
    rates = FillRates(optimism=0.0)
    for venue in scenario.hidden:
        rates.tell(SYMBOL, venue.name, HiddenOrder(0.0, False, 1.0, False))
    rates.frozen = True
    return rates


def policies(scenario: hx.VenueScenario, training: int) -> list[tuple[str, object]]:
    """Return the policies by the names of the table."""
    takes = VenueAgentPolicy("IS", "take", fill_rates=nothing_known(scenario))
    takes.tactic = replace(takes.tactic, penalty_bps=NEVER)
    rates = learnt_rates(scenario, training)
    return [
        ("desk:IS, lit venues only", takes),
        *(
            (f"desk:{name}:{tactic}", VenueAgentPolicy(name, tactic, fill_rates=rates))
            for name, tactic in product(("IS", "VWAP"), ("cont-kukanov", "post-ahead"))
        ),
        *((name, venue_policy(name)) for name in ("TWAP", "dark-first", "optimum")),
    ]


def main() -> None:
    """Print one table for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--training", type=int, default=100, help="episodes in which the desk learns the fill rates")
    parser.add_argument("--scenarios", nargs="+", default=["venues-day", "passive-day"])
    args = parser.parse_args()
    for name in args.scenarios:
        scenario = hx.get_venues(name)
        entrants = policies(scenario, args.training)
        outcomes = rollout_venues(build_venues(scenario), [policy for _, policy in entrants], args.episodes, 0)
        optimum = hx.solve(name).optimum_bps
        results = paired(np.array([outcome.objective for outcome in outcomes]), 0, len(entrants) - 1, optimum)
        print(
            f"\n| {name} | J | 95 % | J - lit only | 95 % | gap, % | hidden, % |\n| --- | --- | --- | --- | --- | --- | --- |"
        )
        for (label, _), outcome, row in zip(entrants, outcomes, results, strict=True):
            hidden = 100.0 * outcome.filled[len(scenario.lit) :].sum(axis=0).mean()
            j, diff = row.objective, row.difference
            spans = [f"{one.mean:z.2f} | {one.low:z.2f} to {one.high:z.2f}" for one in (j, diff)]
            print(f"| {label} | {spans[0]} | {spans[1]} | {row.gap.mean:z.1f} | {hidden:.1f} |")


if __name__ == "__main__":
    main()
