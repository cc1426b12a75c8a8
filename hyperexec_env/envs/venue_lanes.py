"""Many episodes with venues at once, in numpy: each at its own slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import price_of_last, situation_of
from hyperexec_env.envs.venue_task import VenueSituation, VenueTask, observe_venues, venue_info, venue_requests
from hyperexec_env.market.kernel import expected_cost, realised_cost
from hyperexec_env.market.lane import EpisodeOrder, Settled, end, first_lane, settle
from hyperexec_env.market.path import begin, cost_scale, draw_orders
from hyperexec_env.market.venue_lane import (
    VenueLane,
    begin_venues,
    draw_venue_slice,
    finishing,
    limited,
    next_shares,
    past_of_hidden,
    venue_turn,
)
from hyperexec_env.market.venue_path import lit_terms, weights_of
from hyperexec_env.records import map_leaves

__all__ = ["VenueLanes"]

Indices = NDArray[np.int64]


class _State(NamedTuple):
    """All that the lanes hold beside their keys."""

    order: EpisodeOrder
    episode: VenueLane


class VenueLanes:
    """The running episodes of an order over venues.

    Args:
        task: The task.
        lanes: Number of episodes at once.
    """

    kind = _State
    """Type of :attr:`state`."""
    order: EpisodeOrder
    """The order of each episode, fields of shape (lanes,)."""
    episode: VenueLane
    """The episodes, numbers of shape (lanes,) or (venues, lanes)."""

    def __init__(self, task: VenueTask, lanes: int) -> None:
        """Start without episodes: :meth:`begin` makes them."""
        self.task, self.count = task, lanes
        self.keys = np.zeros(lanes, np.uint64)
        """Keys of the episodes, shape (lanes,)."""
        self._begun = False

    @property
    def state(self) -> _State:
        """All that the lanes hold beside their keys."""
        return _State(self.order, self.episode)

    @state.setter
    def state(self, state: _State) -> None:
        self.order, self.episode = state
        self._begun = True

    @property
    def k(self) -> Indices:
        """The slice to trade next, 0..N, shape (lanes,)."""
        k: Indices = self.episode.lane.k
        return k

    @property
    def over(self) -> NDArray[np.bool_]:
        """Whether the episode is over, shape (lanes,)."""
        over: NDArray[np.bool_] = self.episode.lane.over != 0
        return over

    @property
    def _slice(self) -> Indices:
        """The present slice, 0..N-1; episodes that are over are clamped to the last slice."""
        return np.minimum(self.k, self.task.market.slices - 1)

    @property
    def weights(self) -> list[Any]:
        """w, the share of each lit venue in the present slice, each of shape (lanes,)."""
        return weights_of(self.task.market, list(self.episode.deviations))

    def begin(self, chosen: Indices, keys: NDArray[np.uint64]) -> None:
        """Begin episodes with some keys in the chosen lanes.

        Args:
            chosen: Indices of the lanes.
            keys: Keys of their episodes, of the shape of `chosen`.
        """
        market, count = self.task.market.market, len(chosen)
        drawn = draw_orders(market, keys, self.task.order.draw)
        scale = cost_scale(drawn.quantity, market.numbers.arrival_price)
        order = _arrays(EpisodeOrder(keys, drawn.side, drawn.quantity, scale), count)
        lane = _arrays(first_lane(market.numbers, order.quantity, begin(market, keys)), count)
        episode = begin_venues(self.task.market, lane, keys)
        if not self._begun:
            self.order, self.episode = (_wide(record, self.count) for record in (order, episode))
            self._begun = True
        self.order, self.episode = _put(self.order, order, chosen), _put(self.episode, episode, chosen)
        self.keys[chosen] = keys

    def asked(self, actions: NDArray[np.float64]) -> tuple[list[Any], Any]:
        """Return the requests of valid actions, shape (lanes, numbers): by venue, and in all."""
        task, lane, k = self.task, self.episode.lane, self._slice
        seen = task.order.observer.seen(lane.world.regime)
        terms = lit_terms(task.market, task.market.market.mean_volume[k, seen], seen, self.weights)
        base, last = task.order.mode.base[k, seen], finishing(task.market, k)
        return venue_requests(task, list(actions.T), lane.state.remaining, base, last, terms)

    def shares(self, given: NDArray[np.float64]) -> tuple[list[Any], Any]:
        """Return requests of numbers of shares, shape (venues, lanes), scaled to at most the remaining shares."""
        return limited(self.episode.lane.state.remaining, list(given)), given.sum(axis=0)

    def trade(self, asked: tuple[Sequence[Any], Any]) -> NDArray[np.float64]:
        """Trade one slice in every lane; return the rewards, bps of the arrival notional, shape (lanes,)."""
        market = self.task.market
        drawn = draw_venue_slice(market, self.keys, self._slice, self.episode, self.order.side)
        episode, cost = venue_turn(market, self.episode, drawn, *asked)
        self.episode = next_shares(market, self.keys, episode)
        charged = realised_cost(cost) if self.task.order.realised else expected_cost(cost)
        rewards: NDArray[np.float64] = charged * self.order.scale
        return rewards

    def stop(self, ended: NDArray[np.bool_]) -> None:
        """End the episodes of some lanes before their last slice."""
        self.episode = self.episode._replace(lane=end(self.episode.lane, ended))

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of all lanes, shape (lanes, features)."""
        return observe_venues(self.task.order.observer, self._situation(0.0))

    def info(self, told: NDArray[np.bool_], hide: Any) -> dict[str, Any]:
        """Return the result of each lane that is `told` up to now, zeros elsewhere.

        Args:
            told: Lanes whose results are returned, shape (lanes,).
            hide: Function from the result of the order to what may be shown of it.
        """
        episode, numbers = self.episode, self.task.market.market.numbers
        settled: Settled = _arrays(settle(numbers, self.order, episode.lane), self.count)
        made = venue_info(self.task, hide(settled), episode.fees, episode.adverse, list(episode.filled), self.order.scale)
        return _shown(made, told)

    def situation(self) -> VenueSituation:
        """Return the information of a policy now, in natural units, arrays of shape (lanes,)."""
        return self._situation(price_of_last(self.task.hidden, self.order, self.episode.lane))

    def _situation(self, last_price: Any) -> VenueSituation:
        """Return the information of a policy; observations do not read the price of the last fills."""
        market = self.task.market
        whole = market.market
        order = situation_of(whole, whole.numbers, self.task.hidden, self.order, self.episode.lane, last_price)
        return VenueSituation(market, order, self.weights, *past_of_hidden(market, self.episode))


def _shown(info: dict[str, Any], told: NDArray[np.bool_]) -> dict[str, Any]:
    """Return results with zeros in the lanes that are not told."""
    return {key: _shown(value, told) if isinstance(value, dict) else np.where(told, value, 0.0) for key, value in info.items()}


def _arrays(record: Any, count: int) -> Any:
    """Return a record whose numbers are arrays of shape (count,)."""
    return map_leaves(lambda values: np.array(np.broadcast_to(values, count)), record)


def _wide(record: Any, count: int) -> Any:
    """Return a record of zeros with `count` lanes in the last dimension."""
    return map_leaves(lambda values: np.zeros((*values.shape[:-1], count), values.dtype), record)


def _put(record: Any, some: Any, chosen: Indices) -> Any:
    """Return a record of all lanes with the numbers `some` in the chosen lanes."""

    def put(before: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        after = before.astype(np.result_type(before, values))
        after[..., chosen] = values
        return after

    return map_leaves(put, record, some)
