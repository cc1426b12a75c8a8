"""The vector environment of a basket: many episodes side by side, each at its own slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_integer
from hyperexec_env.envs.basket_lanes import BasketLanes
from hyperexec_env.envs.basket_task import basket_info, build_basket_task
from hyperexec_env.envs.info import masked
from hyperexec_env.envs.seeding import chosen_lanes, lane_episodes, lane_seeds, new_tickets, set_tickets
from hyperexec_env.envs.situation import Situation
from hyperexec_env.envs.task import INFOS, check_reset_options, unseen
from hyperexec_env.market.lane import Asked
from hyperexec_env.market.noise import ONE, key
from hyperexec_env.records import map_leaves

__all__ = ["HyperExecBasketVectorEnv"]

Bools = NDArray[np.bool_]
Stepped = tuple[NDArray[np.float32], NDArray[np.float64], Bools, Bools, dict[str, Any]]


class HyperExecBasketVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
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

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's

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
        self.num_envs = check_integer("num_envs", num_envs, low=1, high=10_000_000)
        if not isinstance(autoreset_mode, AutoresetMode):
            modes = [mode.value for mode in AutoresetMode]
            autoreset_mode = AutoresetMode(check_choice("autoreset_mode", autoreset_mode, modes))
        self.autoreset_mode = autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": autoreset_mode}
        if render_mode is not None:
            raise ValueError(f"render_mode must be None for a vector of baskets, got {render_mode!r}; render a single one")
        self.render_mode = render_mode
        self._full = check_choice("info", info, INFOS) == "full"
        limit = None if max_episode_steps == -1 else max_episode_steps
        self._limit = None if limit is None else check_integer("max_episode_steps", limit, low=1, high=2**31 - 1)
        self.task = task = build_basket_task(**options)
        self.single_action_space, self.single_observation_space = task.space, task.observation_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._lanes = BasketLanes(task, self.num_envs)
        self._ticket = new_tickets(self.num_envs)
        self._begun = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of each lane.

        Args:
            seed: A whole number s, which gives lane i the seed s + i, or a list with a seed or None for each lane; a lane with
                a new seed begins with episode 0 of the seed.
            options: `reset_mask` (bool, shape (lanes,)): the lanes to reset; the first reset begins all lanes and ignores it.
                `episode`: the number of the episode to begin, or an array of shape (lanes,) of them. `board`: whether the
                seeds are those of a board, whose episodes are replayed.

        Raises:
            ValueError: A bad seed or option; the lanes stay as they are.
        """
        given = check_reset_options(options, ("reset_mask", "episode", "board"), seed is not None)
        chosen = chosen_lanes(given.get("reset_mask"), self.num_envs)
        episodes, seeds = lane_episodes(given.get("episode"), self.num_envs), lane_seeds(seed, self.num_envs)
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=seeds[0])
        if not self._begun:
            chosen = np.ones(self.num_envs, np.bool_)
        set_tickets(self._ticket, seeds, chosen, episodes, given.get("board", False))
        self._begin(np.flatnonzero(chosen))
        self._begun = True
        return self._lanes.observe(), self._info(self._running(), chosen & self._full)

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        """Begin the next episode of some lanes."""
        self._lanes.begin(chosen, key(self._ticket.seed[chosen], self._ticket.episode[chosen]))
        self._ticket.episode[chosen] += ONE

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Trade one slice in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        return self._traded(self._lanes.asked(self.task.checked(actions, (self.num_envs,))))

    def trade(self, shares: NDArray[np.float64]) -> Stepped:
        """Trade one slice in every lane: :meth:`step` with shares as actions, shape (lanes, assets)."""
        self._check_begun("trade()")
        given, shape = np.asarray(shares, dtype=np.float64), (self.num_envs, len(self.task.assets))
        if given.shape != shape or np.isnan(given).any():
            raise ValueError(f"shares to trade must be numbers of shape {shape}, one for each lane and asset, got {shares!r}")
        return self._traded([Asked(column) for column in given.T])

    def _check_begun(self, name: str) -> None:
        """Raise ResetNeeded if no episode has begun, or a lane is over and begins no episode by itself."""
        if not self._begun:
            raise ResetNeeded(f"the episodes were never begun: call reset() before {name}")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._lanes.over.any():
            lane, count = int(self._lanes.over.argmax()), int(self._lanes.over.sum())
            raise ResetNeeded(f"lane {lane} (one of {count}) is over: reset it with options={{'reset_mask': mask}}")

    def _traded(self, asked: list[Asked]) -> Stepped:
        """Trade the requests of a step, and begin the episodes that the autoreset mode begins."""
        lanes = self._lanes
        waiting = lanes.over
        rewards = lanes.trade(asked)
        if waiting.any():  # autoreset mode NextStep
            self._begin(np.flatnonzero(waiting))
            rewards[waiting] = 0.0
        terminated = lanes.over
        truncated = np.zeros(self.num_envs, np.bool_)
        if self._limit is not None:
            truncated = lanes.k >= self._limit
            lanes.stop(truncated)
        ended = terminated | truncated
        told = np.ones(self.num_envs, np.bool_) if self._full else terminated
        info = self._info({}, told, terminated)
        if self.autoreset_mode != AutoresetMode.SAME_STEP or not ended.any():
            return lanes.observe(), rewards, terminated, truncated, self._running() | info
        return self._same_step(rewards, terminated, truncated, info)

    def _same_step(self, rewards: NDArray[np.float64], terminated: Bools, truncated: Bools, info: dict[str, Any]) -> Stepped:
        """Begin the next episode of the lanes that ended, and return their last observations in `info`."""
        ended, last, masks = terminated | truncated, self._lanes.observe(), self._running()
        final = np.full(self.num_envs, None, dtype=object)
        for lane in np.flatnonzero(ended).tolist():
            final[lane] = last[lane]
        self._begin(np.flatnonzero(ended))
        made = {"final_obs": final, "_final_obs": ended, "final_info": masks | info, "_final_info": ended.copy()}
        return self._lanes.observe(), rewards, terminated, truncated, self._running() | made

    def _running(self) -> dict[str, Any]:
        """Return the `info` of running lanes: the action masks in the discrete action mode."""
        if not self.task.discrete:
            return {}
        return {"action_mask": self._lanes.masks(), "_action_mask": np.ones(self.num_envs, np.bool_)}

    def _info(self, running: dict[str, Any], told: Bools, terminated: Bools | None = None) -> dict[str, Any]:
        """Return an `info` with the results of some lanes; those of running lanes hide a regime that is not observed."""
        if not told.any():
            return running
        over = np.zeros(self.num_envs, np.bool_) if terminated is None else terminated
        settled = self._lanes.settled()
        if self.task.secret:
            settled = [unseen(one, over) for one in settled]
        shown = [map_leaves(lambda values: np.where(told, values, 0.0), one) for one in settled]
        return running | masked(basket_info(self.task, shown, self._lanes.notional), told)

    def action_masks(self) -> Bools:
        """Return the masks of all assets one after another, shape (lanes, assets * levels); True is allowed."""
        if not self.task.discrete or not self._begun:
            raise ValueError(f"action masks belong to action_mode='discrete' after reset(), got {self.task.action_mode!r}")
        return self._lanes.masks().astype(bool).reshape(self.num_envs, -1)

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features, such as `value_left` and `asset3.remaining`."""
        return self.task.names

    @property
    def situation(self) -> Situation:
        """The information of a policy now, in natural units, arrays of shape (assets, lanes)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        return self._lanes.situation()
