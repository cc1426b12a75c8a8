"""One episode of the single environment, in Python floats, and the block of paths that it is cut from."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.observation import OWN, Situation, own_features
from hyperexec_env.envs.task import Task
from hyperexec_env.market.account import Account, Statement, forced_shares, settle
from hyperexec_env.market.kernel import Cost, Slice, State, close, move, paid_cost
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, draw_orders, draw_path
from hyperexec_env.market.predator import Hunt, ambush
from hyperexec_env.orders import Order

__all__ = ["Block", "Episode", "final_info"]

_write_own = struct.Struct(f"{OWN}f").pack_into  # numpy takes as long for one feature as this for all


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
        # from here on the episode comes first
        k = np.arange(market.slices + 1)
        self.seen = np.ascontiguousarray(observer.seen(path.world.regime).T)
        cell = market.cell(k, self.seen)
        self.base = task.mode.base.take(cell)
        drifted = order.side * (path.world.price - market.scenario.arrival_price)
        self.known = _beside(drifted.T, market.plan, observer.rest_volume.take(cell))
        self.slices = _beside(*(values.T for values in path.slices))
        before = np.concatenate([np.full((1, count), observer.scales.volume), path.slices.volume])
        self.observations = observer.rows.take(cell, axis=0)
        for column, values in enumerate(observer.drawn_features(k[:, None], order.side, before, path.world.flow), start=OWN):
            self.observations[..., column] = np.broadcast_to(values, before.shape).T
        start, known = State(order.quantity, 0.0, 0.0), tuple(self.known[:, 0].T)
        reach = observer.reach(order.quantity)
        for column, values in enumerate(own_features(observer.scales, order.quantity, reach, start, 0.0, before[0], known)):
            self.observations[:, 0, column] = values


def _beside(*fields: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay fields of shape (episodes, time) side by side, shape (episodes, time, fields)."""
    table = np.empty((*fields[0].shape, len(fields)))
    for column, values in enumerate(fields):
        table[..., column] = values
    return table


class Episode:
    """An episode that runs: its path as plain lists, the state of the order, and what each slice has cost."""

    __slots__ = (
        *("_base", "_block", "_hunt", "_impact", "_index", "_known", "_observations", "_paid", "_reach", "_rows", "_scales"),
        *("_shares", "_state", "_trail", "asked", "k", "over", "quantity", "scale", "side", "task"),
    )

    def __init__(self, task: Task, block: Block, number: int) -> None:
        """Lay out episode `number` of a block."""
        index = number - block.first
        self.task, self._block, self._index = task, block, index
        self._impact, self._scales = task.market.impact, task.observer.scales
        self._shares, self._paid = task.mode.shares, task.paid
        self._rows: list[Any] = block.slices[index].tolist()
        self._base: list[float] = block.base[index].tolist()
        self._known: list[Any] = block.known[index].tolist()
        self._observations = list(block.observations[index].copy())
        self.side, self.quantity = block.side[index], block.quantity[index]
        self._reach = task.observer.reach(self.quantity)
        self.scale = -1e4 / (self.quantity * task.scenario.arrival_price)
        self._state: tuple[float, float, float] = (self.quantity, 0.0, 0.0)
        self._trail: list[tuple[Any, Any]] = []
        self._hunt = Hunt(0.0, 0.0, 0.0, 0.0) if task.market.hunted else None
        self.k, self.over, self.asked = 0, False, 0.0

    @property
    def first(self) -> NDArray[np.float32]:
        """What the agent sees before the first slice."""
        observation: NDArray[np.float32] = self._observations[0]
        return observation

    def act(self, action: Any) -> tuple[NDArray[np.float32], float]:
        """Trade what a valid action asks for; see :meth:`trade`."""
        shares = self._shares  # calling an attribute of an instance in place costs a look-up that this saves
        return self.trade(shares(action, self._state[0], self._base[self.k]))

    def trade(self, shares: float) -> tuple[NDArray[np.float32], float]:
        """Trade in this slice; return what the agent sees next and what it is paid, in bps."""
        k, before, count = self.k, self._state, self._paid
        row = self._rows[k]
        if self._hunt is None:
            done = move(self._impact, before, row, shares)
        else:
            done, self._hunt = ambush(self._impact, before, row, shares, self._hunt, self.task.scenario.predator)
        after, cost = done
        self._trail.append(done)
        self._state, self.asked = after, shares
        self.k = k = k + 1
        paid = count(cost)
        left = after[0]
        if left <= 0.0 or k == len(self._rows):
            self.over = True
            paid += close(self._impact, self.state, self.quantity)[0 if self.task.realised else 1]
        observation = self._observations[k]  # each slice has an observation of its own, which is completed once
        own = own_features(self._scales, self.quantity, self._reach, after, before[0] - left, row[0], self._known[k])
        remaining, behind, required, displaced, moved, share = own
        _write_own(observation, 0, remaining, behind, required, displaced, moved, share)
        return observation, paid * self.scale

    def mask(self) -> NDArray[np.int8]:
        """Return which discrete levels are worth trying."""
        k = min(self.k, len(self._rows) - 1)
        return self.task.mode.mask(self._state[0], self._base[k], Slice(*self._rows[k]).least)

    def situation(self) -> Situation:
        """Return what a policy may know now, in natural units."""
        observer, world, index, state = self.task.observer, self._block.path.world, self._index, self.state
        return Situation(
            market=self.task.market,
            k=self.k,
            seen=int(self._block.seen[index, self.k]),
            side=self.side,
            quantity=self.quantity,
            remaining=state.remaining,
            permanent=state.permanent,
            transient=0.0 if observer.hidden else state.transient,
            price=float(world.price[self.k, index]),
            flow=float(world.flow[self.k, index]),
            last_shares=self.last_shares,
            last_volume=self._rows[self.k - 1][0] if self.k else observer.scales.volume,
            last_price=self._last_price(),
        )

    def _last_price(self) -> float:
        """Return the average price of the shares of the slice before (the price now where none traded, or is not told)."""
        price, shares = self._block.path.world.price[:, self._index], self.last_shares
        if not shares or self.task.observer.hidden:
            return float(price[self.k])
        return float(price[self.k - 1] + self.side * (paid_cost(self._trail[-1][1]) / shares))

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
        """What each slice so far has cost, currency."""
        return [Cost(*cost) for _, cost in self._trail]

    @property
    def states(self) -> list[State]:
        """The state at the start of each slice up to now, one more than costs."""
        return [State(self.quantity, 0.0, 0.0), *(State(*state) for state, _ in self._trail)]

    @property
    def world(self) -> World:
        """The market at the start of each slice and at the end, each field (N + 1,), the future too: for reports."""
        regime, flow, price = self._block.path.world
        return World(regime[:, self._index], flow[:, self._index], price[:, self._index])

    def statement(self) -> Statement:
        """Settle the account of the slices so far."""
        permanent = transient = temporary = spread = drift = timing = risk = 0.0
        for _, (a, b, c, d, e, f, g) in self._trail:  # in the order of Cost; sum() would round in another way than arrays do
            permanent += a
            transient += b
            temporary += c
            spread += d
            drift += e
            timing += f
            risk += g
        total = Cost(permanent, transient, temporary, spread, drift, timing, risk)
        drift_move = timing_move = 0.0
        if self._state[0] > 0.0:
            for slice in self.slices[: self.k]:
                drift_move += slice.drift
                timing_move += slice.innovation
        account, order = Account(total, drift_move, timing_move), Order(self.side, self.quantity)
        return settle(account, self._impact, self.state, order, self.task.scenario.arrival_price)

    def final_info(self) -> dict[str, Any]:
        """Return the `info` of the ended episode."""
        last = Slice(*self._rows[self.k - 1])
        cap = self.task.scenario.max_participation
        forced = forced_shares(last.least, last.volume, cap, self.asked, self.last_shares)
        return final_info(self.statement(), Order(self.side, self.quantity), forced / self.quantity)


def final_info(statement: Statement, order: Order, forced_fraction: Any) -> dict[str, Any]:
    """Return the `info` of an ended episode: numbers, or arrays over lanes."""
    return {
        "shortfall_bps": statement.shortfall,
        "objective_bps": statement.objective,
        "risk_bps": statement.risk,
        "forced_fraction": forced_fraction,
        "side": order.side,
        "quantity": order.quantity,
        "components_bps": statement.components._asdict(),
    }
