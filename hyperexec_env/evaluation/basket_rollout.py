"""Rollouts of a basket: whole episodes, with every policy on the same paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.basket_task import total_statement
from hyperexec_env.evaluation.basket_situation import basket_orders, basket_situation, first_lanes
from hyperexec_env.evaluation.outcome import Outcome, path_hash
from hyperexec_env.evaluation.policy import Policy, checked_shares, read_only
from hyperexec_env.market.basket import basket_turn
from hyperexec_env.market.basket_path import BasketMarket
from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.lane import Asked, Settled, settle
from hyperexec_env.market.path import Path, World, trace
from hyperexec_env.records import map_leaves

__all__ = ["roll_assets", "roll_basket"]

Floats = NDArray[np.float64]
BATCH = 1024
"""Episodes of a batch that bounds the memory of a rollout."""


def roll_basket(
    market: BasketMarket, policy: Policy, paths: Sequence[Path], hidden: bool = False, timeout: float = 0.0
) -> Outcome:
    """Run a policy over whole paths and return the results of the basket, bps of the arrival notional of all orders.

    The inventory is the remaining value at arrival prices, as a fraction of that of all orders. Arguments and errors as in
    :func:`roll_assets`.
    """
    values = np.array([asset.notional for asset in market.scenario.assets]) / market.scenario.notional
    start, shape = paths[0].world.regime[0], paths[0].keys.shape
    inventory = np.zeros((market.regimes, market.slices + 1))

    def watch(k: int, left: list[Any]) -> None:
        """Add the remaining value at the start of a slice."""
        value = sum(share * each for share, each in zip(values, left, strict=True))
        inventory[:, k] = np.bincount(start, np.broadcast_to(value, shape), market.regimes)

    settled = roll_assets(market, policy, paths, hidden, timeout, watch)
    statement = map_leaves(lambda part: np.broadcast_to(part, shape), total_statement([one.statement for one in settled]))
    forced = sum(share * one.forced for share, one in zip(values, settled, strict=True))
    hashed = path_hash(market.scenario.hash, paths[0].keys, trace(paths[0].world.regime))
    return Outcome(statement, np.broadcast_to(forced, shape), start, inventory, hashed)


def roll_assets(
    market: BasketMarket,
    policy: Policy,
    paths: Sequence[Path],
    hidden: bool = False,
    timeout: float = 0.0,
    watch: Any = lambda k, left: None,
) -> list[Settled]:
    """Run a policy over whole paths and return the result of each asset, in bps of the basket's notional.

    Args:
        market: The market.
        policy: The policy, which receives read-only situations.
        paths: The paths of each asset, from :func:`~hyperexec_env.market.basket_path.draw_basket_path`.
        hidden: Whether the regime is hidden from the policy.
        timeout: Largest time of one call of the policy, seconds; 0: no limit.
        watch: Called with the number of a slice and the remaining fractions of the orders at its start, and at the end.

    Raises:
        PolicyFailure: The policy raised an error, did not return in time, or did not return finite shares of the shape
            (assets, episodes).
    """
    numbers, shape, orders = (
        [each.numbers for each in market.markets],
        paths[0].keys.shape,
        basket_orders(market, paths[0].keys),
    )
    quantities = [each.scenario.quantity for each in market.markets]
    worlds: list[World] = [map_leaves(lambda values: values[0], path.world) for path in paths]
    lanes = first_lanes(market, worlds, shape)
    for k in range(market.slices):
        watch(k, [lane.state.remaining / quantity for lane, quantity in zip(lanes, quantities, strict=True)])
        shares = checked_shares(policy, read_only(basket_situation(market, orders, lanes, hidden)), timeout)
        slices = [Slice(*(values[k] for values in path.slices)) for path in paths]
        worlds = [World(*(values[k + 1] for values in path.world)) for path in paths]
        asked = [Asked(row) for row in np.broadcast_to(shares, (len(orders), *shape))]
        lanes, _ = basket_turn(numbers, market.coupling, lanes, slices, worlds, asked)
        lanes = [lane._replace(k=k + 1) for lane in lanes]
    watch(market.slices, [lane.state.remaining / quantity for lane, quantity in zip(lanes, quantities, strict=True)])
    return [settle(*parts) for parts in zip(numbers, orders, lanes, strict=True)]
