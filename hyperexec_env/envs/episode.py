"""One episode of the single environment, in Python floats, and the block of paths that it is cut from."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.observation import OWN, Situation, own_features
from hyperexec_env.envs.task import Task
from hyperexec_env.market.account import Account, Statement, settle
from hyperexec_env.market.kernel import Cost, Slice, State, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_orders, draw_path
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
        seen = observer.seen(path.world.regime).T
        drifted = (order.side * (path.world.price - market.scenario.arrival_price)).T
        self.seen, self.base = seen, task.mode.base[k, seen]
        self.slices = np.stack(path.slices, axis=-1).swapaxes(0, 1)
        self.known = np.stack([drifted, np.broadcast_to(market.plan, seen.shape), observer.rest_volume[k, seen]], axis=-1)
        before = np.concatenate([np.full((1, count), observer.scales.volume), path.slices.volume])
        self.observations = observer.table[k, seen]
        for column, values in enumerate(observer.drawn_features(k[:, None], order.side, before, path.world.flow), start=OWN):
            self.observations[..., column] = np.broadcast_to(values, before.shape).T


class Episode:
    """An episode that runs: its path as plain lists, the state of the order, and what each slice has cost."""

    __slots__ = (
        *("_base", "_block", "_index", "_known", "_observations", "_task", "asked", "costs", "k"),
        *("last_shares", "last_volume", "left", "quantity", "scale", "side", "slices", "state"),
    )

    def __init__(self, task: Task, block: Block, number: int) -> None:
        """Lay out episode `number` of a block."""
        index = number - block.first
        self._task, self._block, self._index = task, block, index
        self.slices: list[Any] = block.slices[index].tolist()
        self._base: list[float] = block.base[index].tolist()
        self._known: list[Any] = block.known[index].tolist()
        self._observations = block.observations[index].copy()
        self.side, self.quantity = block.side[index], block.quantity[index]
        self.scale = -1e4 / (self.quantity * task.scenario.arrival_price)
        self.state = State(self.quantity, 0.0, 0.0)
        self.costs: list[Cost] = []
        self.k, self.left = 0, len(self.slices)
        self.asked, self.last_shares, self.last_volume = 0.0, 0.0, task.observer.scales.volume

    def shares(self, action: Any) -> float:
        """Return the shares that a valid action asks for."""
        shares: float = self._task.mode.shares(action, self.state.remaining, self._base[self.k])
        return shares

    def trade(self, shares: float) -> Cost:
        """Trade in this slice and return what it cost."""
        task, k, before = self._task, self.k, self.state
        slice = self.slices[k]
        self.state, cost = step(task.market.impact, before, slice, shares)
        remaining = self.state.remaining
        self.asked, self.last_shares, self.last_volume = shares, before.remaining - remaining, slice[0]
        self.costs.append(cost)
        self.k = k + 1
        self.left = self.left - 1 if remaining > 0.0 else 0
        return cost

    def observe(self) -> NDArray[np.float32]:
        """Return what the agent sees now. Each slice has an observation of its own that is written once."""
        k = self.k
        observation = self._observations[k]
        own = own_features(
            self._task.observer.scales, self.quantity, self.state, self.last_shares, self.last_volume, self._known[k]
        )
        _write_own(observation, 0, *own)
        return observation

    def mask(self) -> NDArray[np.int8]:
        """Return which discrete levels are worth trying."""
        k = min(self.k, len(self.slices) - 1)
        return self._task.mode.mask(self.state.remaining, self._base[k], Slice(*self.slices[k]).least)

    def situation(self) -> Situation:
        """Return what a policy may know now, in natural units."""
        observer, world, index = self._task.observer, self._block.path.world, self._index
        return Situation(
            market=self._task.market,
            k=self.k,
            seen=int(self._block.seen[index, self.k]),
            side=self.side,
            quantity=self.quantity,
            remaining=self.state.remaining,
            permanent=self.state.permanent,
            transient=0.0 if observer.hidden else self.state.transient,
            price=float(world.price[self.k, index]),
            flow=float(world.flow[self.k, index]),
            last_shares=self.last_shares,
            last_volume=self.last_volume,
        )

    def statement(self) -> Statement:
        """Settle the account of the slices so far."""
        order = Order(self.side, self.quantity)
        total = Cost(*map(sum, zip(*self.costs, strict=True)))
        missed = [Slice(*row) for row in self.slices[: self.k]] if self.state.remaining else []
        account = Account(total, sum(slice.drift for slice in missed), sum(slice.innovation for slice in missed))
        return settle(account, self._task.market.impact, self.state, order, self._task.scenario.arrival_price)

    def final_info(self) -> dict[str, Any]:
        """Return the `info` of the ended episode."""
        last = Slice(*self.slices[self.k - 1])
        cap = self._task.scenario.max_participation
        allowed = self.asked if cap is None else min(self.asked, cap * last.volume)
        forced = max(0.0, self.last_shares - max(0.0, allowed)) if last.least > 0.0 else 0.0
        return final_info(self.statement(), Order(self.side, self.quantity), forced)


def final_info(statement: Statement, order: Order, forced: Any) -> dict[str, Any]:
    """Return the `info` of an ended episode: numbers, or arrays over lanes."""
    return {
        "shortfall_bps": statement.shortfall,
        "objective_bps": statement.objective,
        "risk_bps": statement.risk,
        "forced_fraction": forced / order.quantity,
        "side": order.side,
        "quantity": order.quantity,
        "components_bps": statement.components._asdict(),
    }
