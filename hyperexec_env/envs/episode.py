"""One episode of the single environment, in Python floats, and the block of paths that it is cut from.

Records of floats would take four times as long as the step itself, so an episode calls the equations (`move`, `own_features`,
the action mode's `shares`) on plain tuples, on a path drawn ahead. It agrees with the stages to the last bit.
"""

from __future__ import annotations

import struct
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.features import OWN, assemble, own_features, reach, seen_of
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.envs.task import Task
from hyperexec_env.market import account
from hyperexec_env.market.account import Account, Statement
from hyperexec_env.market.kernel import Cost, Slice, State, close, move, paid_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, LastSlice, Settled, settle
from hyperexec_env.market.model import must_finish
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, cost_scale, draw_orders, draw_path
from hyperexec_env.market.predator import PredatorMemory, step_with_predator
from hyperexec_env.orders import Order
from hyperexec_env.records import map_leaves

__all__ = ["Block", "Episode"]

_write_own = struct.Struct(f"{OWN}f").pack_into  # numpy takes as long for one feature as this for all
_UNSEEN = PredatorMemory(0.0, 0.0, 0.0, 0.0)
_NOWHERE = World(0, 0.0, 0.0)
"""A market for a settlement, which does not read it."""


class Block:
    """The paths of some consecutive episodes of one seed, drawn together because numpy is fast in bulk only."""

    def __init__(self, task: Task, seed: int, first: int, count: int) -> None:
        """Draw the episodes `first`, ..., `first + count - 1`."""
        market, observer = task.market, task.observer
        keys = episode_keys(seed, np.arange(first, first + count))
        order = draw_orders(market, keys, task.draw)
        path = draw_path(market, keys, order.side)
        self.first, self.count, self.path = first, count, path
        self.side: list[float] = np.broadcast_to(order.side, keys.shape).tolist()
        self.quantity: list[float] = np.broadcast_to(order.quantity, keys.shape).tolist()
        # situations of an order that never trades, fields (time, episode): features of the draws do not depend on trades
        before = np.concatenate([np.full((1, count), market.numbers.slice_volume), path.slices.volume])
        k = np.arange(market.slices + 1)[:, None]
        seen = observer.seen(path.world.regime)
        untraded = Situation(
            *(market, k, seen, order.side, order.quantity, order.quantity, 0.0, 0.0, path.world.price, path.world.flow),
            *(0.0, before, path.world.price),
        )
        cell = market.cell(k, seen)
        view = observer.view(cell)
        observations = assemble(seen_of(market.numbers, observer.sight, view, untraded), observer.known.take(cell, axis=0))
        # from here on the episode comes first
        self.seen = np.ascontiguousarray(seen.T)
        self.base = task.mode.base.take(cell.T)
        drifted = order.side * (path.world.price - market.scenario.arrival_price)
        self.known = _beside(drifted.T, view.plan.T, view.rest_volume.T)
        self.slices = _beside(*(values.T for values in path.slices))
        self.observations = np.ascontiguousarray(observations.swapaxes(0, 1))


def _beside(*fields: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay fields of shape (episodes, time) side by side, shape (episodes, time, fields)."""
    table = np.empty((*fields[0].shape, len(fields)))
    for column, values in enumerate(fields):
        table[..., column] = values
    return table


class Episode:
    """An episode that runs: its path as plain lists, the state of the order, and the cost of each slice."""

    __slots__ = (
        *(
            "_base",
            "_block",
            "_impact",
            "_index",
            "_known",
            "_memory",
            "_observations",
            "_reach",
            "_rows",
            "_scales",
            "_shares",
        ),
        *("_slice_cost", "_state", "_trail", "asked", "k", "over", "quantity", "scale", "side", "task"),
    )

    def __init__(self, task: Task, block: Block, number: int) -> None:
        """Lay out episode `number` of a block."""
        index = number - block.first
        self.task, self._block, self._index = task, block, index
        self._impact, self._scales = task.market.impact, task.observer.sight.scales
        self._shares, self._slice_cost = task.mode.shares, task.slice_cost
        self._rows: list[Any] = block.slices[index].tolist()
        self._base: list[float] = block.base[index].tolist()
        self._known: list[Any] = block.known[index].tolist()
        self._observations = list(block.observations[index].copy())
        self.side, self.quantity = block.side[index], block.quantity[index]
        self._reach = reach(self.quantity, self._impact.transient_exponent)
        self.scale = cost_scale(self.quantity, task.scenario.arrival_price)
        self._state: tuple[float, float, float] = (self.quantity, 0.0, 0.0)
        self._trail: list[tuple[Any, Any]] = []
        self._memory = _UNSEEN if task.market.numbers.spec.hunted else None
        self.k, self.over, self.asked = 0, False, 0.0

    @property
    def first(self) -> NDArray[np.float32]:
        """The observation before the first slice."""
        observation: NDArray[np.float32] = self._observations[0]
        return observation

    def act(self, action: Any) -> tuple[NDArray[np.float32], float]:
        """Trade what a valid action asks for; see :meth:`trade`."""
        shares = self._shares  # calling an attribute of an instance in place costs a look-up that this saves
        return self.trade(shares(action, self._state[0], self._base[self.k]))

    def trade(self, shares: float) -> tuple[NDArray[np.float32], float]:
        """Trade in this slice; return the next observation and the reward, bps."""
        k, before, slice_cost = self.k, self._state, self._slice_cost
        row = self._rows[k]
        if self._memory is None:
            done = move(self._impact, before, row, shares)
        else:
            done, self._memory = step_with_predator(
                self._impact, before, row, shares, self._memory, self.task.scenario.predator
            )
        after, cost = done
        self._trail.append(done)
        self._state, self.asked = after, shares
        self.k = k = k + 1
        paid = slice_cost(cost)
        left = after[0]
        if left <= 0.0 or k == len(self._rows):
            self.over = True
            paid += close(self._impact, self.state, self.quantity)[0 if self.task.realised else 1]
        observation = self._observations[k]  # each slice has an observation of its own, which is completed once
        own = own_features(self._scales, self.quantity, self._reach, after, before[0] - left, row[0], self._known[k])
        _write_own(observation, 0, *own)
        return observation, paid * self.scale

    def mask(self) -> NDArray[np.int8]:
        """Return which discrete levels are worth trying."""
        k = min(self.k, len(self._rows) - 1)
        return self.task.mode.mask(self._state[0], self._base[k], must_finish(self.task.market.numbers, k))

    @property
    def order(self) -> EpisodeOrder:
        """The order of the episode."""
        return EpisodeOrder(self._block.path.keys[self._index], self.side, self.quantity, self.scale)

    @property
    def lane(self) -> Lane:
        """The episode as a record of floats."""
        world: World = map_leaves(lambda values: values[self.k, self._index].item(), self._block.path.world)
        before = self._block.path.world.price[max(self.k - 1, 0), self._index].item()
        return self._lane(world, before)

    def _lane(self, world: World, price_before: float) -> Lane:
        """Return the episode as a record, given the market now and the unaffected price a slice before."""
        last = LastSlice(0.0, self.task.market.numbers.slice_volume, price_before, 0.0, 0.0)
        if self.k:
            paid = paid_cost(self._trail[-1][1])
            last = LastSlice(self.last_shares, self._rows[self.k - 1][0], price_before, paid, self.asked)
        return Lane(self.k, int(self.over), world, self.state, self._memory or _UNSEEN, self._account(), last)

    def _account(self) -> Account:
        """Return the account of the slices so far."""
        columns = zip(*(cost for _, cost in self._trail), strict=True) if self._trail else ((),) * len(Cost._fields)
        cost = Cost(*(reduce(add, column, 0.0) for column in columns))  # sum() may round in another way than arrays do
        moves = (0.0, 0.0)
        if self._state[0] > 0.0:
            booked = self.slices[: self.k]
            moves = reduce(add, (s.drift for s in booked), 0.0), reduce(add, (s.innovation for s in booked), 0.0)
        return Account(cost, *moves)

    def situation(self) -> Situation:
        """Return what a policy may know now, in natural units."""
        market, hidden, order, lane = self.task.market, self.task.observer.hidden, self.order, self.lane
        return situation_of(market, market.numbers, hidden, order, lane, float(price_of_last(hidden, order, lane)))

    @property
    def state(self) -> State:
        """What the trades have done so far."""
        return State(*self._state)

    @property
    def last_shares(self) -> float:
        """Shares that traded in the slice before."""
        before = self._trail[-2][0][0] if self.k > 1 else self.quantity
        return before - self._state[0]

    @property
    def slices(self) -> list[Slice]:
        """The slices of the whole path, the future too: for reports, not for policies."""
        return [Slice(*row) for row in self._rows]

    @property
    def costs(self) -> list[Cost]:
        """The cost of each slice so far, currency."""
        return [Cost(*cost) for _, cost in self._trail]

    @property
    def states(self) -> list[State]:
        """The state at the start of each slice up to now, one more than costs."""
        return [State(self.quantity, 0.0, 0.0), *(State(*state) for state, _ in self._trail)]

    @property
    def world(self) -> World:
        """The market at the start of each slice and at the end, each field (N + 1,), the future too: for reports."""
        world: World = map_leaves(lambda values: values[:, self._index], self._block.path.world)
        return world

    def settled(self) -> Settled:
        """Settle the account of the slices so far."""
        return settle(self.task.market.numbers, self.order, self._lane(_NOWHERE, 0.0))

    def statement(self) -> Statement:
        """Return the statement of the slices so far, what is left marked at the mid."""
        order, market = Order(self.side, self.quantity), self.task.market
        return account.settle(self._account(), self._impact, self.state, order, market.scenario.arrival_price)
