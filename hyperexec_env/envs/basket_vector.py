"""The vector environment of a basket: many episodes side by side, each at its own slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.envs.basket_lanes import BasketLanes
from hyperexec_env.envs.basket_task import BasketTask, basket_info, build_basket_task
from hyperexec_env.envs.info import masked
from hyperexec_env.envs.lane_vector import LaneVectorEnv, Stepped
from hyperexec_env.envs.situation import Situation
from hyperexec_env.envs.task import unseen
from hyperexec_env.market.lane import Asked, EpisodeOrder, Lane
from hyperexec_env.records import fill_record, leaves, map_leaves, numbers

__all__ = ["HyperExecBasketVectorEnv"]

Bools = NDArray[np.bool_]


class HyperExecBasketVectorEnv(LaneVectorEnv):
    """``gym.make_vec("HyperExecBasket-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode.

    Args:
        num_envs: Number of lanes.
        autoreset_mode: "NextStep" (default), "SameStep" or "Disabled", as for HyperExec-v0; or a member of gymnasium's
            `AutoresetMode`.
        max_episode_steps: Largest number of steps of an episode, after which the lane is truncated; None or -1: no limit.
        render_mode: None; pictures of many baskets are not supported.
        info: "final" or "full", as for the single environment.
        options: Options of :class:`~hyperexec_env.envs.basket.HyperExecBasketEnv`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    task: BasketTask

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = "NextStep",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        info: str = "final",
        **options: Any,
    ) -> None:
        """Check the options, which the class documents."""
        self._open(
            num_envs, autoreset_mode, max_episode_steps, info, render_mode, lambda: build_basket_task(**options), "baskets"
        )
        self._lanes: BasketLanes = BasketLanes(self.task, self.num_envs)

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Trade one slice in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        asked = self._lanes.asked(self.task.checked(actions, (self.num_envs,)))
        return self._stepped(lambda: self._lanes.trade(asked))

    def trade(self, shares: NDArray[np.float64]) -> Stepped:
        """Trade one slice in every lane: :meth:`step` with shares as actions, shape (lanes, assets)."""
        self._check_begun("trade()")
        given, shape = np.asarray(shares, dtype=np.float64), (self.num_envs, len(self.task.assets))
        if given.shape != shape or np.isnan(given).any():
            raise ValueError(f"shares to trade must be numbers of shape {shape}, one for each lane and asset, got {shares!r}")
        return self._stepped(lambda: self._lanes.trade([Asked(column) for column in given.T]))

    def _running(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return the `info` of running lanes: the action masks in the discrete action mode."""
        if not self.task.discrete:
            return known
        return {"action_mask": self._lanes.masks(), "_action_mask": np.ones(self.num_envs, np.bool_), **known}

    def _results(self, told: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the results of some lanes; those of running lanes hide a regime that is not observed."""
        settled = self._lanes.settled()
        if self.task.secret:
            settled = [unseen(one, terminated) for one in settled]
        shown = [map_leaves(lambda values: np.where(told, values, 0.0), one) for one in settled]
        return masked(basket_info(self.task, shown, self._lanes.notional), told)

    def action_masks(self) -> Bools:
        """Return the masks of all assets one after another, shape (lanes, assets * levels); True is allowed."""
        if not self.task.discrete or not self._begun:
            raise ValueError(f"action masks belong to action_mode='discrete' after reset(), got {self.task.action_mode!r}")
        return self._lanes.masks().astype(bool).reshape(self.num_envs, -1)

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the state of all lanes, for :meth:`go_on`: arrays of shape (lanes,) by name."""
        lanes, found = self._lanes, {"seed": self._ticket.seed.copy(), "episode": self._ticket.episode.copy()}
        for i, records in enumerate(zip(lanes.lanes, lanes.orders, strict=True)):
            for record in records:
                kind: Any = type(record)
                names = (f"{i}.{kind.__name__}.{name}" for name, _ in leaves(kind))
                found |= dict(zip(names, numbers(record), strict=True))
        return {**found, "keys": lanes.keys.copy(), "flip": lanes.flip.copy(), "notional": lanes.notional.copy()}

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the state of all lanes from :meth:`position` of an environment with equal options; return their observations.

        Raises:
            KeyError: The position lacks an array; the message names the array.
        """

        def restored(i: int, kind: Any) -> Any:
            """Return a record of an asset from its arrays."""
            return fill_record(kind, iter([np.array(position[f"{i}.{kind.__name__}.{name}"]) for name, _ in leaves(kind)]))

        lanes, assets = self._lanes, range(len(self.task.assets))
        lanes.lanes, lanes.orders = ([restored(i, kind) for i in assets] for kind in (Lane, EpisodeOrder))
        for name in ("keys", "flip", "notional"):
            getattr(lanes, name)[:] = position[name]
        self._ticket.seed[:], self._ticket.episode[:] = position["seed"], position["episode"]
        self._begun = True
        return lanes.observe()

    @property
    def situation(self) -> Situation:
        """The information of a policy now, in natural units, arrays of shape (assets, lanes)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        return self._lanes.situation()
