"""Certify the market of a scenario: search for profitable round trips, slice-dependent costs, and bursts that pay."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.evaluation.basket_certificate import BasketCertificate, certify_basket
from hyperexec_env.evaluation.certificate import Certificate, certify, usual_trips
from hyperexec_env.evaluation.touch_certificate import TouchCertificate, certify_touch
from hyperexec_env.market.basket_scenario import is_basket
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.touch_scenario import is_touch
from hyperexec_env.progress import progress

ORDER = 11


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec certify``."""

    scenario: str = scenario_option(positional=True)
    trips: int | None = option(None, "number of round trips to try (default: a few seconds' worth)")
    seed: int = option(0, "seed of the search")


def main(args: Args) -> Certificate | BasketCertificate | TouchCertificate:
    """Return the certificate of a scenario, of a basket or of a touch scenario (whose search is exact: it needs no seed)."""
    if is_touch(args.scenario):
        return certify_touch(args.scenario)
    if is_basket(args.scenario):
        return certify_basket(args.scenario, seed=args.seed, **({} if args.trips is None else {"trips": args.trips}))
    scenario = get_scenario(args.scenario)
    total = usual_trips(scenario.slices) if args.trips is None else args.trips
    with progress(total, f"certify {scenario.name}") as advance:
        return certify(scenario, trips=args.trips, seed=args.seed, advance=advance)
