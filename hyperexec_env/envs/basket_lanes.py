"""Many episodes of a basket at once, in numpy: each at its own slice, with a record of arrays over episodes for each asset.

The stages are those of one asset (:mod:`~hyperexec_env.market.lane`), and
:func:`~hyperexec_env.market.basket.basket_turn` trades the assets together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.action import Action, Base
from hyperexec_env.envs.basket_features import joined, seen_alone, whole_of
from hyperexec_env.envs.basket_task import BasketTask, notional_of, stacked_situation
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.market.basket import basket_turn
from hyperexec_env.market.basket_path import begin_basket, draw_basket_slice
from hyperexec_env.market.kernel import Cost, expected_cost, realised_cost
from hyperexec_env.market.lane import Asked, EpisodeOrder, Lane, Settled, end, first_lane, settle
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import map_leaves

__all__ = ["BasketLanes"]

Indices = NDArray[np.int64]


class BasketLanes:
    """The running episodes of a basket.

    Args:
        task: The task.
        lanes: Number of episodes at once.
    """

    def __init__(self, task: BasketTask, lanes: int) -> None:
        """Start without episodes: :meth:`begin` makes them."""
        self.task, self.count = task, lanes
        self.keys = np.zeros(lanes, np.uint64)
        """Keys of the episodes, shape (lanes,)."""
        self.flip = np.ones(lanes)
        """+1, or -1 where all orders are turned around, shape (lanes,)."""
        self.notional = np.zeros(lanes)
        """Arrival notional of the basket, currency, shape (lanes,)."""
        self.orders: list[EpisodeOrder] = []
        """The order of each asset, fields of shape (lanes,)."""
        self.lanes: list[Lane] = []
        """The episode of each asset, fields of shape (lanes,)."""

    @property
    def k(self) -> Indices:
        """The slice to trade next, 0..N, shape (lanes,)."""
        k: Indices = self.lanes[0].k
        return k

    @property
    def over(self) -> NDArray[np.bool_]:
        """Whether the episode is over, shape (lanes,)."""
        over: NDArray[np.bool_] = self.lanes[0].over != 0
        return over

    def begin(self, chosen: Indices, keys: NDArray[np.uint64]) -> None:
        """Begin episodes with some keys in the chosen lanes.

        Args:
            chosen: Indices of the lanes.
            keys: Keys of their episodes, of the shape of `chosen`.
        """
        task, market, count = self.task, self.task.market, len(chosen)
        orders, flip = task.orders(keys)
        worlds = begin_basket(market, keys)
        notional = np.broadcast_to(notional_of(market, [order.quantity for order in orders]), count)
        new_orders, new_lanes = [], []
        for each, order, world in zip(market.markets, orders, worlds, strict=True):
            new_orders.append(_arrays(EpisodeOrder(keys, order.side, order.quantity, -1e4 / notional), count))
            new_lanes.append(_arrays(first_lane(each.numbers, new_orders[-1].quantity, world), count))
        if not self.lanes:
            self.orders = [map_leaves(lambda values: _wide(values, self.count), each) for each in new_orders]
            self.lanes = [map_leaves(lambda values: _wide(values, self.count), each) for each in new_lanes]
        for kept, made in ((self.orders, new_orders), (self.lanes, new_lanes)):
            for asset, record in enumerate(made):
                kept[asset] = _put(kept[asset], record, chosen)
        self.keys[chosen], self.flip[chosen], self.notional[chosen] = keys, flip, notional

    def asked(self, actions: NDArray[Any]) -> list[Asked]:
        """Return the request of valid actions, shape (lanes, assets), for each asset."""
        made = []
        for i, (asset, lane) in enumerate(zip(self.task.assets, self.lanes, strict=True)):
            made.append(asset.mode.ask(lane, Base(self._base(i)), Action(actions[:, i])))
        return made

    def _base(self, asset: int) -> NDArray[np.float64]:
        """Return the factor of the actions of an asset in the present slice, shape (lanes,)."""
        own, lane = self.task.assets[asset], self.lanes[asset]
        base: NDArray[np.float64] = own.mode.base[self._slice, own.observer.seen(lane.world.regime)]
        return base

    @property
    def _slice(self) -> Indices:
        """The present slice, 0..N-1; episodes that are over are clamped to the last slice."""
        return np.minimum(self.k, self.task.market.slices - 1)

    def trade(self, asked: Sequence[Asked]) -> NDArray[np.float64]:
        """Trade one slice in every lane; return the rewards, bps of the basket's notional, shape (lanes,)."""
        market = self.task.market
        numbers = [each.numbers for each in market.markets]
        slices, worlds = draw_basket_slice(market, self.keys, self._slice, [lane.world for lane in self.lanes], self.flip)
        self.lanes, costs = basket_turn(numbers, market.coupling, self.lanes, slices, worlds, asked)
        charged = [self._charged(cost) for cost in costs]
        paid = charged[0]
        for part in charged[1:]:
            paid = paid + part
        rewards: NDArray[np.float64] = paid * self.orders[0].scale
        return rewards

    def _charged(self, cost: Cost) -> Any:
        """Return the cost of a slice that the reward charges, currency."""
        return realised_cost(cost) if self.task.reward.realised else expected_cost(cost)

    def stop(self, ended: NDArray[np.bool_]) -> None:
        """End the episodes of some lanes before their last slice."""
        self.lanes = [end(lane, ended) for lane in self.lanes]

    def settled(self) -> list[Settled]:
        """Return the result of each asset up to now, in bps of the basket's notional, fields of shape (lanes,)."""
        parts = zip(self.task.market.markets, self.orders, self.lanes, strict=True)
        return [_arrays(settle(market.numbers, order, lane), self.count) for market, order, lane in parts]

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of all lanes, shape (lanes, features)."""
        sight = self.task.sight
        whole = whole_of(sight, [order.quantity for order in self.orders])
        alone = []
        for asset, order, lane, reach in zip(self.task.assets, self.orders, self.lanes, whole.reach, strict=True):
            situation = situation_of(None, asset.market.numbers, self.task.hidden, order, lane, 0.0)
            alone.append(seen_alone(asset.observer, reach, situation))
        return joined(sight, whole, [lane.state.remaining for lane in self.lanes], alone)

    def masks(self) -> NDArray[np.int8]:
        """Return the masks of the discrete levels, shape (lanes, assets, levels), 1 is allowed."""
        k, made = self._slice, []
        for i, (asset, lane) in enumerate(zip(self.task.assets, self.lanes, strict=True)):
            made.append(asset.mode.mask(lane.state.remaining, self._base(i), must_finish(asset.market.numbers, k)))
        return np.stack(made, axis=1)

    def situation(self) -> Situation:
        """Return the information of a policy now, in natural units, arrays of shape (assets, lanes)."""
        task, made = self.task, []
        for market, order, lane in zip(task.market.markets, self.orders, self.lanes, strict=True):
            price = price_of_last(task.hidden, order, lane)
            made.append(situation_of(market, market.numbers, task.hidden, order, lane, price))
        return stacked_situation(task.market, made)


def _wide(values: Any, count: int) -> NDArray[Any]:
    """Return zeros of shape (count,) of the type of some values."""
    return np.zeros(count, np.asarray(values).dtype)


def _arrays(record: Any, count: int) -> Any:
    """Return a record whose numbers are arrays of shape (count,)."""
    return map_leaves(lambda values: np.array(np.broadcast_to(values, count)), record)


def _put(record: Any, some: Any, chosen: Indices) -> Any:
    """Return a record of all lanes with the numbers `some` in the chosen lanes."""

    def put(before: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        after = before.astype(np.result_type(before, values))
        after[chosen] = values
        return after

    return map_leaves(put, record, some)
