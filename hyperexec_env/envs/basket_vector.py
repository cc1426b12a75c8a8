"""The vector environment of a basket: many episodes side by side, each at its own slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.backends.plan import Program
from hyperexec_env.envs.basket_lanes import basket_arrays, basket_program
from hyperexec_env.envs.basket_task import (
    BasketTask,
    basket_info,
    build_basket_task,
    notional_of,
    stacked_situation,
    total_settled,
)
from hyperexec_env.envs.info import masked
from hyperexec_env.envs.native_vector import Stepped
from hyperexec_env.envs.program_vector import ProgramVectorEnv
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.envs.task import unseen
from hyperexec_env.market.basket_lane import Basket
from hyperexec_env.market.lane import EpisodeOrder, Lane, Settled, settle
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import map_leaves

__all__ = ["HyperExecBasketVectorEnv"]

Bools = NDArray[np.bool_]


class HyperExecBasketVectorEnv(ProgramVectorEnv):
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
    _clock, _result = Basket, Settled

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
        self._check_backend(backend, num_threads)
        count, self._shape = len(self.task.assets), self.action_space.shape
        self._kinds = "iu" if self.task.discrete else "fiub"
        """Kinds of the dtype of actions."""
        self._start((count,), (count,))

    def _program(self) -> Program:
        """Return the program of the lanes."""
        return basket_program(self.task, self.autoreset_mode, self._limit)

    def _outputs_of(self, lanes: int, limit: int | None) -> dict[str, tuple[Any, Any]]:
        """Return (shape, dtype) of each array that the plans write for all lanes, by name."""
        return basket_arrays(self.task, lanes, limit)

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

    def _mask_of(self, masks: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return masks of all levels of all assets in the shape (lanes, assets, levels)."""
        return masks.reshape(len(masks), len(self.task.assets), -1)

    def _told(self, settled: list[Settled], terminated: Bools, lanes: Bools) -> dict[str, Any]:
        """Return the results of some lanes as `info`, given the lanes whose episode terminated."""
        if self._full and self.task.secret:
            settled = [unseen(one, terminated) for one in settled]
        shown = [map_leaves(lambda values: np.where(lanes, values, 0.0), one) for one in settled]
        market = self.task.market
        notional = np.where(lanes, notional_of(market, [one.quantity for one in shown]), 1.0)
        return masked(basket_info(self.task, shown, total_settled(market, shown, notional)), lanes)

    def _so_far(self, over: Bools) -> Callable[[], list[Settled]]:
        """Note the lanes now, and return the function that computes their results so far."""
        orders, states = self._lanes.record(EpisodeOrder), self._lanes.record(Lane)

        def settled() -> list[Settled]:
            numbers = (market.numbers for market in self.task.market.markets)
            made = [settle(*parts) for parts in zip(numbers, orders, states, strict=True)]
            return [map_leaves(lambda value: np.array(np.broadcast_to(value, self.num_envs)), one) for one in made]

        return settled

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
