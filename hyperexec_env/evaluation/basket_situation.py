"""What a policy of a basket knows: the situations of its assets with a leading asset axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperexec_env.envs.basket_task import stacked_situation
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.market.basket_path import BasketMarket, asset_keys, begin_basket
from hyperexec_env.market.lane import EpisodeOrder, Lane, first_lane
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World
from hyperexec_env.records import map_leaves

__all__ = ["basket_orders", "basket_situation", "first_basket_situation", "first_lanes"]


def first_basket_situation(market: BasketMarket, episodes: int) -> Situation:
    """Return the situation at the start of some episodes of seed 0."""
    keys = episode_keys(0, np.arange(episodes))
    return basket_situation(
        market, basket_orders(market, keys), first_lanes(market, begin_basket(market, keys), keys.shape), False
    )


def basket_orders(market: BasketMarket, keys: Any) -> list[EpisodeOrder]:
    """Return the order of each asset."""
    scale = -1e4 / market.scenario.notional
    parts = zip(asset_keys(keys, len(market.markets)), market.sides, market.markets, strict=True)
    return [EpisodeOrder(key, side, each.scenario.quantity, scale) for key, side, each in parts]


def first_lanes(market: BasketMarket, worlds: Sequence[World], shape: tuple[int, ...]) -> list[Lane]:
    """Return the first state of each asset, fields of shape (episodes,) but for the slice."""
    lanes = []
    for each, world in zip(market.markets, worlds, strict=True):
        first = first_lane(each.numbers, each.scenario.quantity, world)
        lane: Lane = map_leaves(lambda values: np.broadcast_to(values, shape), first)
        lanes.append(lane._replace(k=0))
    return lanes


def basket_situation(market: BasketMarket, orders: Sequence[EpisodeOrder], lanes: Sequence[Lane], hidden: bool) -> Situation:
    """Return what a policy knows, with a leading asset axis."""
    made = [
        situation_of(each, each.numbers, hidden, order, lane, price_of_last(hidden, order, lane))
        for each, order, lane in zip(market.markets, orders, lanes, strict=True)
    ]
    return stacked_situation(market, made)
