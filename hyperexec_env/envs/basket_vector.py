"""The vector environment of a basket: many episodes side by side, each at its own slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.backends.arrays import ArrayLanes
from hyperexec_env.backends.compiled import CompiledLanes, resolve_backend
from hyperexec_env.checks import check_integer
from hyperexec_env.envs.basket_lanes import basket_arrays, basket_program
from hyperexec_env.envs.basket_task import BasketTask, basket_info, build_basket_task, notional_of, stacked_situation
from hyperexec_env.envs.info import LazyInfo, masked
from hyperexec_env.envs.lanes import SETTLED
from hyperexec_env.envs.native_vector import NativeVectorEnv, Stepped
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.envs.task import unseen
from hyperexec_env.market.basket_lane import Basket
from hyperexec_env.market.lane import EpisodeOrder, Lane, Settled, Ticket, settle
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import fill_record, leaves, map_leaves, numbers

__all__ = ["HyperExecBasketVectorEnv"]

_FINAL = (("final", "observation"), ("final_mask", "mask"))
"""Array with a row for each lane that ended, and the array over all lanes whose rows it has."""
Bools = NDArray[np.bool_]


class HyperExecBasketVectorEnv(NativeVectorEnv):
    """``gym.make_vec("HyperExecBasket-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode.

    Args:
        num_envs: Number of lanes.
        autoreset_mode: "NextStep" (default), "SameStep" or "Disabled", as for HyperExec-v0; or a member of gymnasium's
            `AutoresetMode`.
        max_episode_steps: Largest number of steps of an episode, after which the lane is truncated; None or -1: no limit.
        render_mode: None; pictures of many baskets are not supported.
        info: "final" or "full", as for the single environment.
        backend, num_threads: As for HyperExec-v0: "numba" (compiled loops, extra `fast`), "numpy", or "auto" (default).
        options: Options of :class:`~hyperexec_env.envs.basket.HyperExecBasketEnv`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    task: BasketTask
    _lanes: Any = None

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = "NextStep",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        info: str = "final",
        backend: str = "auto",
        num_threads: int | None = None,
        **options: Any,
    ) -> None:
        """Check the options, which the class documents."""
        self._open(
            num_envs, autoreset_mode, max_episode_steps, info, render_mode, lambda: build_basket_task(**options), "baskets"
        )
        task = self.task
        self._compiled = resolve_backend(backend) == "numba"
        self._threads = None if num_threads is None else check_integer("num_threads", num_threads, low=1, high=256)
        self._lanes = self._new_lanes()
        count, self._discrete, self._shape = len(task.assets), task.discrete, self.action_space.shape
        self._kinds = "iu" if task.discrete else "fiub"
        """Kinds of the dtype of actions."""
        self._outputs = basket_arrays(task, self.num_envs, self._limit)
        self._given = {"values": np.zeros((count, self.num_envs)), "chosen": np.zeros(self.num_envs, np.bool_)}
        self._ended = {"settled": np.zeros((count, self.num_envs, len(SETTLED)))}
        """Results of the lanes that ended in the last step, in the first rows of each part; the next step overwrites them."""
        self._same_step, self._disabled = (
            self.autoreset_mode == mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
        )
        if self._same_step:
            last = self._empty()
            self._ended |= {final: last[name] for final, name in _FINAL if name in last}
        self._begun = False
        self._over = np.zeros(self.num_envs, np.bool_)
        """Lanes that must be reset before the next step (autoreset mode "Disabled"), shape (lanes,)."""

    def _new_lanes(self) -> CompiledLanes | ArrayLanes:
        """Return new lanes, without persistent records."""
        program = basket_program(self.task, self.autoreset_mode, self._limit)
        return CompiledLanes(program, self.num_envs, self._threads) if self._compiled else ArrayLanes(program, self.num_envs)

    def _kept(self) -> tuple[Any, ...]:
        """Return the types of the records that persist between steps: of the episodes, and of each asset."""
        program = self._lanes.program
        return (*program.kept, *program.members[0].kept)

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, with the records of the lanes in place of the lanes, whose stages cannot be pickled."""
        return {**self.__dict__, "_lanes": [self._lanes.record(kind) for kind in self._kept()] if self._begun else []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes and make new lanes with the records."""
        self.__dict__.update(state)
        records: Any = self._lanes
        self._lanes = self._new_lanes()
        for kind, record in zip(self._kept(), records, strict=False):
            self._lanes.put(kind, record)

    def _empty(self) -> dict[str, NDArray[Any]]:
        """Return new output arrays of a plan, by name."""
        return {name: np.empty(shape, kind) for name, (shape, kind) in self._outputs.items()}

    def _restart(self, chosen: Bools, set_tickets: Callable[[Ticket], bool]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the chosen lanes."""
        ticket: Ticket = self._lanes.record(Ticket) if self._begun else self._ticket
        if set_tickets(ticket) or not self._begun:
            self._lanes.put(Ticket, ticket)
        self._begun = True
        self._given["chosen"][:] = chosen
        arrays = self._empty()
        self._lanes.run("reset", self._given | arrays)
        self._over &= ~chosen
        return arrays["observation"], self._in_full(self._running_info(arrays), chosen, np.zeros(self.num_envs, np.bool_))

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Trade one slice in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        self._given["values"][:] = self._checked(actions).T
        return self._run("step", actions)

    def _checked(self, given: Any) -> NDArray[Any]:
        """Check shape and dtype of actions; the lanes check their values."""
        actions: NDArray[Any] = np.asarray(given)
        if actions.shape != self._shape or actions.dtype.kind not in self._kinds:
            self.task.checked(given, (self.num_envs,))  # raises the error
        return actions

    def trade(self, shares: NDArray[np.float64]) -> Stepped:
        """Trade one slice in every lane: :meth:`step` with shares as actions, shape (lanes, assets)."""
        self._check_begun("trade()")
        given, shape = np.asarray(shares, dtype=np.float64), (self.num_envs, len(self.task.assets))
        if given.shape != shape or np.isnan(given).any():
            raise ValueError(f"shares to trade must be numbers of shape {shape}, one for each lane and asset, got {shares!r}")
        self._given["values"][:] = given.T
        return self._run("trade", shares)

    def _check_begun(self, name: str) -> None:
        """Raise ResetNeeded if no episode has begun, or a lane is over and begins no episode by itself."""
        if not self._begun:
            raise ResetNeeded(f"the episodes were never begun: call reset() before {name}")
        if self._disabled and self._over.any():
            lane, count = int(self._over.argmax()), int(self._over.sum())
            raise ResetNeeded(f"lane {lane} (one of {count}) is over: reset it with options={{'reset_mask': mask}}")

    def _run(self, plan: str, given: Any) -> Stepped:
        """Run the plan `step` or `trade`; `given` are the actions, for the message of a refused action."""
        arrays = self._empty()
        counts = self._lanes.run(plan, {**self._given, **arrays, **self._ended})
        if counts[0] < 0:
            self.task.checked(given, (self.num_envs,))  # raises the error
        terminated = arrays["terminated"]
        truncated = np.zeros(self.num_envs, np.bool_) if self._limit is None else arrays["truncated"]
        info = running = self._running_info(arrays)
        if any(counts):
            ended = terminated if self._limit is None else terminated | truncated
            if self._disabled:
                self._over = ended.copy()
            info = self._final_info(terminated.copy(), ended.copy(), counts, running)
        if self._full:
            info = self._in_full(info, np.ones(self.num_envs, np.bool_), terminated.copy())
        return arrays["observation"], arrays["reward"], terminated, truncated, info

    def _running_info(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Return the `info` of running lanes: the action masks in the discrete action mode."""
        if not self._discrete:
            return {}
        return {"action_mask": self._by_asset(arrays["mask"]), "_action_mask": np.ones(self.num_envs, np.bool_)}

    def _by_asset(self, masks: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return masks of all levels of all assets in the shape (lanes, assets, levels)."""
        return masks.reshape(len(masks), len(self.task.assets), -1)

    def _final_info(self, terminated: Bools, ended: Bools, counts: list[int], running: dict[str, Any]) -> LazyInfo:
        """Return the `info` of a step in which lanes ended (terminated, or truncated too).

        Results are copied now and put into arrays when `info` is read.
        """
        settled = self._filled("settled", counts)
        finals = {name: self._filled(name, counts) for name, _ in _FINAL if name in self._ended}

        def build() -> dict[str, Any]:
            columns = np.zeros((len(settled), len(SETTLED), self.num_envs))
            columns[:, :, ended] = settled.transpose(0, 2, 1)
            told = ended if self._full else terminated
            info = self._told([fill_record(Settled, iter(each)) for each in columns], terminated, told) if told.any() else {}
            if not self._same_step:
                return info
            if self.task.discrete:
                masks = np.zeros((self.num_envs, finals["final_mask"].shape[1]), np.int8)
                masks[ended] = finals["final_mask"]
                info |= {"action_mask": self._by_asset(masks), "_action_mask": ended.copy()}
            last = np.full(self.num_envs, None, dtype=object)
            for lane, row in zip(np.flatnonzero(ended).tolist(), finals["final"], strict=True):
                last[lane] = row
            return {"final_obs": last, "_final_obs": ended, "final_info": info, "_final_info": ended.copy()}

        return LazyInfo(running, build)

    def _filled(self, name: str, counts: list[int]) -> NDArray[Any]:
        """Return a copy of the rows that the lanes which ended wrote to an array, in the order of the lanes."""
        rows, axis = self._ended[name], int(name == "settled")
        if len(counts) == 1:
            return (rows[:, : counts[0]] if axis else rows[: counts[0]]).copy()
        parts = zip(self._lanes.parts, counts, strict=True)
        return np.concatenate([np.take(rows, np.arange(first, first + count), axis) for (first, _), count in parts], axis)

    def _told(self, settled: list[Settled], terminated: Bools, lanes: Bools) -> dict[str, Any]:
        """Return the results of some lanes as `info`, given the lanes whose episode terminated."""
        if self._full and self.task.secret:
            settled = [unseen(one, terminated) for one in settled]
        shown = [map_leaves(lambda values: np.where(lanes, values, 0.0), one) for one in settled]
        notional = notional_of(self.task.market, [one.quantity for one in shown])
        return masked(basket_info(self.task, shown, np.where(lanes, notional, 1.0)), lanes)

    def _in_full(self, info: dict[str, Any], lanes: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the `info` of some lanes with their results so far, if `info` is to be full."""
        if not self._full:
            return info
        orders, states = self._lanes.record(EpisodeOrder), self._lanes.record(Lane)
        over = terminated & (self._lanes.record(Basket).over != 0)

        def build() -> dict[str, Any]:
            numbers = (market.numbers for market in self.task.market.markets)
            made = [settle(*parts) for parts in zip(numbers, orders, states, strict=True)]
            settled = [map_leaves(lambda value: np.array(np.broadcast_to(value, self.num_envs)), one) for one in made]
            return dict(info.items()) | self._told(settled, over, lanes)

        return LazyInfo(info, build)

    def action_masks(self) -> Bools:
        """Return the masks of all assets one after another, shape (lanes, assets * levels); True is allowed."""
        if not self.task.discrete or not self._begun:
            raise ValueError(f"action masks belong to action_mode='discrete' after reset(), got {self.task.action_mode!r}")
        made = []
        for asset, lane in zip(self.task.assets, self._lanes.record(Lane), strict=True):
            k = np.minimum(lane.k, asset.market.slices - 1)
            base = asset.mode.base[k, asset.observer.seen(lane.world.regime)]
            made.append(asset.mode.mask(lane.state.remaining, base, must_finish(asset.market.numbers, k)).astype(bool))
        return np.concatenate(made, axis=1)

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the state of all lanes, for :meth:`go_on`: arrays of shape (lanes,) by name."""
        return {
            name: values
            for kind in self._kept()
            for name, values in zip(self._names(kind), numbers(tuple(self._lanes.record(kind))), strict=True)
        }

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the state of all lanes from :meth:`position` of an environment with equal options; return their observations.

        Raises:
            KeyError: The position lacks an array; the message names the array.
        """
        for kind in self._kept():
            values = iter([position[name] for name in self._names(kind)])
            if kind in self._lanes.program.kept:
                self._lanes.put(kind, fill_record(kind, values))
            else:
                self._lanes.put(kind, [fill_record(kind, values) for _ in self.task.assets])
        self._begun = True
        self._over = np.asarray(position["Basket.over"] != 0) & self._disabled
        return self._restart(np.zeros(self.num_envs, np.bool_), lambda ticket: False)[0]

    def _names(self, kind: Any) -> list[str]:
        """Return the names of the arrays of a record type in a position."""
        names = [f"{kind.__name__}.{path}" for path, _ in leaves(kind)]
        if kind in self._lanes.program.kept:
            return names
        return [f"{asset}.{name}" for asset in range(len(self.task.assets)) for name in names]

    @property
    def situation(self) -> Situation:
        """The information of a policy now, in natural units, arrays of shape (assets, lanes)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        task, made = self.task, []
        for market, order, lane in zip(
            task.market.markets, self._lanes.record(EpisodeOrder), self._lanes.record(Lane), strict=True
        ):
            price = price_of_last(task.hidden, order, lane)
            made.append(situation_of(market, market.numbers, task.hidden, order, lane, price))
        return stacked_situation(task.market, made)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads of the compiled loops; gymnasium also closes an environment whose options were refused."""
        if self._lanes is not None:
            self._lanes.close()
