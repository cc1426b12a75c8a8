"""An episode of the single environment, in Python floats, on a path drawn ahead.

Building records of floats would take four times as long as the step itself, so an episode calls the equations (`move`,
`own_features`, the action mode's `shares`) on plain tuples. Its results equal those of the stages to the last bit.
"""

from __future__ import annotations

import struct
from functools import reduce
from operator import add, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.features import OWN, assemble, own_features, reach, seen_of
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.envs.task import Task
from hyperexec_env.market import account
from hyperexec_env.market.account import Account, Statement
from hyperexec_env.market.kernel import Cost, Slice, State, close, move, paid_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, LastSlice, Settled, settle, settle_so_far
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, cost_scale, draw_orders, draw_path
from hyperexec_env.market.predator import PredatorMemory, step_with_predator
from hyperexec_env.market.tables import must_finish
from hyperexec_env.orders import Order
from hyperexec_env.records import map_leaves

__all__ = ["Block", "Episode"]

_write_own = struct.Struct(f"{OWN}f").pack_into  # writes all features in the time that numpy needs for one
_EMPTY_MEMORY = PredatorMemory(0.0, 0.0, 0.0, 0.0)
_NO_WORLD = World(0, 0.0, 0.0)
"""Placeholder for :func:`settle`, which does not read the market."""


class Block:
    """The paths of consecutive episodes of one seed, drawn together because numpy is fast only in bulk.

    Arrays have shape (episodes, time, ...). `observations` are complete but for the features that depend on trades, which
    :class:`Episode` overwrites.
    """

    def __init__(self, task: Task, seed: int, first: int, count: int, board: bool = False) -> None:
        """Draw the episodes `first`, ..., `first + count - 1` of a seed, or of the board of that seed."""
        market, observer = task.market, task.observer
        keys = episode_keys(seed, np.uint64(first) + np.arange(count, dtype=np.uint64), board)
        order = draw_orders(market, keys, task.draw)
        path = draw_path(market, keys, order.side)
        self.first, self.count, self.path = first, count, path
        self.side: list[float] = np.broadcast_to(order.side, keys.shape).tolist()
        self.quantity: list[float] = np.broadcast_to(order.quantity, keys.shape).tolist()
        # the situations of an order that never trades, fields (time, episodes), have the right features of draws and tables
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
        # from here arrays have shape (episodes, time, ...)
        self.seen = np.ascontiguousarray(seen.T)
        self.base = task.mode.base.take(cell.T)
        drifted = order.side * (path.world.price - market.scenario.arrival_price)
        self.known = _stacked(drifted.T, view.plan.T, view.rest_volume.T)
        self.slices = _stacked(*(values.T for values in path.slices))
        self.observations = np.ascontiguousarray(observations.swapaxes(0, 1))


def _stacked(*fields: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stack fields of shape (episodes, time) along a new last axis, shape (episodes, time, fields)."""
    table = np.empty((*fields[0].shape, len(fields)))
    for column, values in enumerate(fields):
        table[..., column] = values
    return table


class Episode:
    """A running episode: its path as plain lists, the state of the order, and the cost of each slice."""

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
        *("_slice_cost", "_state", "_history", "asked", "k", "over", "quantity", "scale", "side", "task"),
    )

    def __init__(self, task: Task, block: Block, number: int) -> None:
        """Begin episode `number`, which must be one of the block."""
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
        self._history: list[tuple[Any, Any]] = []
        self._memory = _EMPTY_MEMORY if task.market.numbers.spec.hunted else None
        self.k, self.over, self.asked = 0, False, 0.0

    @property
    def first(self) -> NDArray[np.float32]:
        """The observation before the first slice."""
        observation: NDArray[np.float32] = self._observations[0]
        return observation

    def act(self, action: Any) -> tuple[NDArray[np.float32], float]:
        """Trade the shares that a valid action requests; see :meth:`trade`."""
        shares = self._shares  # a local variable saves the attempt to bind a method
        return self.trade(shares(action, self._state[0], self._base[self.k]))

    def trade(self, shares: float) -> tuple[NDArray[np.float32], float]:
        """Trade some shares in this slice; return the next observation and the reward, bps of the arrival notional."""
        k, before, slice_cost = self.k, self._state, self._slice_cost
        row = self._rows[k]
        if self._memory is None:
            result = move(self._impact, before, row, shares)
        else:
            result, self._memory = step_with_predator(
                self._impact, before, row, shares, self._memory, self.task.scenario.predator
            )
        after, cost = result
        self._history.append(result)
        self._state, self.asked = after, shares
        self.k = k = k + 1
        paid = slice_cost(cost)
        left = after[0]
        if left <= 0.0 or k == len(self._rows):
            self.over = True
            paid += close(self._impact, self.state, self.quantity)[0 if self.task.realised else 1]
        observation = self._observations[k]  # every slice has an array of its own, written once
        own = own_features(self._scales, self.quantity, self._reach, after, before[0] - left, row[0], self._known[k])
        _write_own(observation, 0, *own)
        return observation, paid * self.scale

    def mask(self) -> NDArray[np.int8]:
        """Return the mask of the discrete levels, shape (levels,), 1 is allowed."""
        k = min(self.k, len(self._rows) - 1)
        return self.task.mode.mask(self._state[0], self._base[k], must_finish(self.task.market.numbers, k))

    @property
    def order(self) -> EpisodeOrder:
        """The order of the episode."""
        return EpisodeOrder(self._block.path.keys[self._index], self.side, self.quantity, self.scale)

    @property
    def lane(self) -> Lane:
        """The episode as a record of floats, at the start of the present slice."""
        world: World = map_leaves(lambda values: values[self.k, self._index].item(), self._block.path.world)
        before = self._block.path.world.price[max(self.k - 1, 0), self._index].item()
        return self._lane(world, before)

    def _lane(self, world: World, price_before: float) -> Lane:
        """Return the episode as a record, given the market now and the unaffected price at the start of the previous slice."""
        last = LastSlice(0.0, self.task.market.numbers.slice_volume, price_before, 0.0, 0.0)
        if self.k:
            paid = paid_cost(self._history[-1][1])
            last = LastSlice(self.last_shares, self._rows[self.k - 1][0], price_before, paid, self.asked)
        return Lane(self.k, int(self.over), world, self.state, self._memory or _EMPTY_MEMORY, self._account(), last)

    def _account(self) -> Account:
        """Return the account of the slices so far."""
        columns = zip(*map(itemgetter(1), self._history), strict=True) if self._history else ((),) * len(Cost._fields)
        cost = Cost(*(reduce(add, column, 0.0) for column in columns))  # sum() may round differently from arrays
        moves = (0.0, 0.0)
        if self._state[0] > 0.0:
            booked = self.slices[: self.k]
            moves = reduce(add, (s.drift for s in booked), 0.0), reduce(add, (s.innovation for s in booked), 0.0)
        return Account(cost, *moves)

    def situation(self) -> Situation:
        """Return the information of a policy now, in natural units."""
        market, hidden, order, lane = self.task.market, self.task.observer.hidden, self.order, self.lane
        return situation_of(market, market.numbers, hidden, order, lane, float(price_of_last(hidden, order, lane)))

    @property
    def state(self) -> State:
        """The state of the order now."""
        return State(*self._state)

    @property
    def last_shares(self) -> float:
        """Shares that traded in the previous slice."""
        before = self._history[-2][0][0] if self.k > 1 else self.quantity
        return before - self._state[0]

    @property
    def slices(self) -> list[Slice]:
        """All slices of the path, future slices included: for reports, not for policies."""
        return [Slice(*row) for row in self._rows]

    @property
    def costs(self) -> list[Cost]:
        """The cost of each slice so far, currency."""
        return [Cost(*cost) for _, cost in self._history]

    @property
    def states(self) -> list[State]:
        """The state at the start of each slice up to now; one element more than `costs`."""
        return [State(self.quantity, 0.0, 0.0), *(State(*state) for state, _ in self._history)]

    @property
    def world(self) -> World:
        """The market at the start of each slice and at the end, each field of shape (N + 1,), future included: for reports."""
        world: World = map_leaves(lambda values: values[:, self._index], self._block.path.world)
        return world

    def settled(self) -> Settled:
        """Return the result of the episode up to now."""
        numbers, order, lane = self.task.market.numbers, self.order, self._lane(_NO_WORLD, 0.0)
        return settle(numbers, order, lane) if self.over else settle_so_far(numbers, order, lane, over=False)

    def statement(self) -> Statement:
        """Return the statement of the slices up to now, with the remaining shares marked at the mid."""
        order, market = Order(self.side, self.quantity), self.task.market
        return account.settle(self._account(), self._impact, self.state, order, market.scenario.arrival_price)
