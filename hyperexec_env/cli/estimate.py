"""Estimate the cost of an order before it trades: distribution of the shortfall by algorithm, and a closed-form estimate."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option, refuse_changed, scenario_option
from hyperexec_env.baselines.basket_estimate import BasketEstimates, estimate_basket
from hyperexec_env.baselines.estimate import SIDES, Estimates, estimate
from hyperexec_env.market.basket_scenario import BASKETS

ORDER = 12


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec estimate``."""

    scenario: str = scenario_option()
    quantity: float | None = option(None, "size of the order, whole lots of shares (default: quantity of the scenario)")
    lot_size: float = option(1, "shares of a lot; 0.001 allows thousandths of a share")
    side: str | None = option(None, "buy or sell (default: side of the scenario)", choices=tuple(SIDES))
    algorithm: tuple[str, ...] = option(("all",), "algorithms of the desk, or `all`; of a basket: TWAP, VWAP, IS (the optimum)")
    episodes: int = option(10_000, "number of episodes of each simulated estimate, the same for every algorithm")
    seed: int = option(0, "seed of the episodes")


def main(args: Args) -> Estimates | BasketEstimates:
    """Return the estimates, of an order or of a basket.

    Raises:
        ValueError: The orders of a basket are given by an option of one order.
    """
    if BASKETS.owns(args.scenario):
        refuse_changed(args, ("quantity", "lot_size", "side"), "one order", f"the basket {args.scenario}")
        return estimate_basket(args.scenario, algorithms=args.algorithm, episodes=args.episodes, seed=args.seed)
    return estimate(
        args.scenario,
        quantity=args.quantity,
        lot_size=args.lot_size,
        side=args.side,
        algorithms=args.algorithm,
        episodes=args.episodes,
        seed=args.seed,
    )
