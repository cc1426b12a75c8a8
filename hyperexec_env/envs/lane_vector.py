"""What vector environments in numpy share: seeds and episodes of lanes, autoreset modes, and limits of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_integer
from hyperexec_env.envs.seeding import chosen_lanes, lane_episodes, lane_seeds, new_tickets, set_tickets
from hyperexec_env.envs.task import INFOS, check_reset_options
from hyperexec_env.market.noise import ONE, key

__all__ = ["LaneVectorEnv", "Lanes", "Stepped"]

Bools = NDArray[np.bool_]
Stepped = tuple[NDArray[np.float32], NDArray[np.float64], Bools, Bools, dict[str, Any]]


class Lanes(Protocol):
    """The running episodes of a vector environment."""

    @property
    def k(self) -> Any:
        """The step to do next, shape (lanes,)."""

    @property
    def over(self) -> Bools:
        """Whether the episode is over, shape (lanes,)."""

    def begin(self, chosen: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Begin episodes with some keys in the chosen lanes."""

    def stop(self, ended: Bools) -> None:
        """End the episodes of some lanes before their last step."""

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of all lanes, shape (lanes, features)."""


class LaneVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A vector environment whose lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode. A subclass makes its lanes, calls
    :meth:`_open`, and defines :meth:`_running` and :meth:`_results`, or :meth:`_told`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's
    _lanes: Lanes
    task: Any

    def _open(
        self,
        num_envs: Any,
        autoreset_mode: Any,
        max_episode_steps: Any,
        info: Any,
        render_mode: Any,
        build: Callable[[], Any],
        what: str,
    ) -> None:
        """Check the options that all vector environments have, make the task by `build`, and make the spaces.

        Args:
            num_envs: Number of lanes.
            autoreset_mode: A member of gymnasium's `AutoresetMode`, or its value.
            max_episode_steps: Largest number of steps of an episode; None or -1: no limit.
            info: "final" or "full".
            render_mode: None.
            build: Function that makes the task.
            what: What the lanes execute, plural, for a message.
        """
        self.num_envs = check_integer("num_envs", num_envs, low=1, high=10_000_000)
        if not isinstance(autoreset_mode, AutoresetMode):
            modes = [mode.value for mode in AutoresetMode]
            autoreset_mode = AutoresetMode(check_choice("autoreset_mode", autoreset_mode, modes))
        self.autoreset_mode = autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": autoreset_mode}
        if render_mode is not None:
            raise ValueError(f"render_mode must be None for a vector of {what}, got {render_mode!r}; render a single one")
        self.render_mode = render_mode
        self._full = check_choice("info", info, INFOS) == "full"
        limit = None if max_episode_steps == -1 else max_episode_steps
        self._limit = None if limit is None else check_integer("max_episode_steps", limit, low=1, high=2**31 - 1)
        self.task = build()
        self.single_action_space, self.single_observation_space = self.task.space, self.task.observation_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
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
        return self._lanes.observe(), self._told(chosen & self._full, np.zeros(self.num_envs, np.bool_))

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        """Begin the next episode of some lanes."""
        self._lanes.begin(chosen, key(self._ticket.seed[chosen], self._ticket.episode[chosen]))
        self._ticket.episode[chosen] += ONE

    def _check_begun(self, name: str) -> None:
        """Raise ResetNeeded if no episode has begun, or a lane is over and begins no episode by itself."""
        if not self._begun:
            raise ResetNeeded(f"the episodes were never begun: call reset() before {name}")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._lanes.over.any():
            lane, count = int(self._lanes.over.argmax()), int(self._lanes.over.sum())
            raise ResetNeeded(f"lane {lane} (one of {count}) is over: reset it with options={{'reset_mask': mask}}")

    def _stepped(self, trade: Callable[[], NDArray[np.float64]]) -> Stepped:
        """Do a step by `trade`, which returns the rewards, and begin the episodes that the autoreset mode begins."""
        lanes = self._lanes
        waiting = lanes.over
        rewards = trade()
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
        info = self._told(told, terminated)
        if self.autoreset_mode != AutoresetMode.SAME_STEP or not ended.any():
            return lanes.observe(), rewards, terminated, truncated, info
        return self._same_step(rewards, terminated, truncated, info)

    def _same_step(self, rewards: NDArray[np.float64], terminated: Bools, truncated: Bools, info: dict[str, Any]) -> Stepped:
        """Begin the next episode of the lanes that ended, and return their last observations in `info`."""
        ended, last = terminated | truncated, self._lanes.observe()
        final = np.full(self.num_envs, None, dtype=object)
        for lane in np.flatnonzero(ended).tolist():
            final[lane] = last[lane]
        self._begin(np.flatnonzero(ended))
        made = {"final_obs": final, "_final_obs": ended, "final_info": info, "_final_info": ended.copy()}
        return self._lanes.observe(), rewards, terminated, truncated, self._running(made)

    def _running(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return the `info` of running lanes, with some known entries."""
        raise NotImplementedError

    def _results(self, told: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the results of some lanes, given those that have just terminated, as `masked` lays them out."""
        raise NotImplementedError

    def _told(self, told: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the `info` of running lanes and the results of some lanes."""
        return self._running(self._results(told, terminated) if told.any() else {})

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features."""
        names: tuple[str, ...] = self.task.names
        return names
