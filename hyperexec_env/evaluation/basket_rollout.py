"""Rollouts of a basket: batches of whole episodes, with every policy on the same paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.basket_task import stacked_situation, total_statement
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.market.basket import basket_turn
from hyperexec_env.market.basket_path import BasketMarket, asset_keys, draw_basket_path
from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.lane import Asked, EpisodeOrder, Lane, Settled, first_lane, settle
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, World
from hyperexec_env.records import map_leaves

__all__ = ["BasketOutcome", "Trader", "roll_assets", "roll_basket", "rollout_basket"]

Floats = NDArray[np.float64]
BATCH = 1024
"""Episodes per batch."""


class Trader(Protocol):
    """A policy of a basket: `act` returns shares of the shape (assets, episodes)."""

    @property
    def name(self) -> str:
        """Name of the policy."""

    def act(self, situation: Situation) -> Any:
        """Return the shares to trade of each asset."""


class BasketOutcome(NamedTuple):
    """Results of one policy on some episodes, bps of the arrival notional of all orders, each of shape (episodes,)."""

    objective: Floats
    """J of the expected account."""
    shortfall: Floats
    """Implementation shortfall, price noise and permanent cost included."""
    risk: Floats
    """Risk term of the objective."""


def roll_basket(market: BasketMarket, policy: Trader, paths: Sequence[Path]) -> BasketOutcome:
    """Run a policy over whole paths and return the results of the basket; arguments and errors as in :func:`roll_assets`."""
    total = total_statement([one.statement for one in roll_assets(market, policy, paths)])
    return BasketOutcome(
        *(np.broadcast_to(value, paths[0].keys.shape) for value in (total.objective, total.shortfall, total.risk))
    )


def roll_assets(market: BasketMarket, policy: Trader, paths: Sequence[Path]) -> list[Settled]:
    """Run a policy over whole paths and return the result of each asset, in bps of the basket's notional.

    Args:
        market: The market.
        policy: The policy.
        paths: The paths of each asset, from :func:`~hyperexec_env.market.basket_path.draw_basket_path`.

    Raises:
        ValueError: The policy did not return finite shares of the shape (assets, episodes).
    """
    keys, numbers = asset_keys(paths[0].keys, len(market.markets)), [each.numbers for each in market.markets]
    shape, scale = paths[0].keys.shape, -1e4 / market.scenario.notional
    orders = [
        EpisodeOrder(key, side, each.scenario.quantity, scale)
        for key, side, each in zip(keys, market.sides, market.markets, strict=True)
    ]
    lanes = [
        _first(each.numbers, each.scenario.quantity, path, shape) for each, path in zip(market.markets, paths, strict=True)
    ]
    for k in range(market.slices):
        made = [
            situation_of(each, each.numbers, False, order, lane, price_of_last(False, order, lane))
            for each, order, lane in zip(market.markets, orders, lanes, strict=True)
        ]
        shares = np.asarray(policy.act(stacked_situation(market, made)), dtype=np.float64)
        if shares.shape != (len(orders), *shape) or not np.isfinite(shares).all():
            wanted = (len(orders), *shape)
            raise ValueError(f"policy {policy.name!r} must return finite shares of the shape {wanted}, got {shares.shape}")
        slices = [Slice(*(values[k] for values in path.slices)) for path in paths]
        worlds = [World(*(values[k + 1] for values in path.world)) for path in paths]
        lanes, _ = basket_turn(numbers, market.coupling, lanes, slices, worlds, [Asked(row) for row in shares])
        lanes = [lane._replace(k=k + 1) for lane in lanes]
    return [settle(*parts) for parts in zip(numbers, orders, lanes, strict=True)]


def _first(numbers: Any, quantity: float, path: Path, shape: tuple[int, ...]) -> Lane:
    """Return the first state of an asset, fields of shape (episodes,) but for the slice."""
    world: World = map_leaves(lambda values: values[0], path.world)
    lane: Lane = map_leaves(lambda values: np.broadcast_to(values, shape), first_lane(numbers, quantity, world))
    return lane._replace(k=0)


def rollout_basket(market: BasketMarket, policies: Sequence[Trader], episodes: int, seed: int) -> list[BasketOutcome]:
    """Run policies on the same episodes of a board, in batches that bound the memory; return the outcome of each."""
    found: list[list[BasketOutcome]] = [[] for _ in policies]
    for first in range(0, episodes, BATCH):
        keys = episode_keys(seed, np.arange(first, min(first + BATCH, episodes)), board=True)
        paths = draw_basket_path(market, keys)
        for outcomes, policy in zip(found, policies, strict=True):
            outcomes.append(roll_basket(market, policy, paths))
    return [BasketOutcome(*(np.concatenate(column) for column in zip(*outcomes, strict=True))) for outcomes in found]
