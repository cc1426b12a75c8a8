"""What the vector environments of all kinds of orders share: options, spaces, seeds and episodes of lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_integer
from hyperexec_env.envs.seeding import chosen_lanes, lane_episodes, lane_seeds, new_tickets, set_tickets
from hyperexec_env.envs.task import INFOS, check_reset_options
from hyperexec_env.market.lane import Ticket

__all__ = ["NativeVectorEnv", "Stepped"]

Bools = NDArray[np.bool_]
Stepped = tuple[NDArray[np.float32], NDArray[np.float64], Bools, Bools, dict[str, Any]]


class NativeVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A vector environment whose lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode. A subclass calls :meth:`_open`, makes
    its lanes, and defines :meth:`_restart`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's
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
            render_mode: None, or one of the class's `metadata`.
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
            if not self.metadata["render_modes"]:
                raise ValueError(f"render_mode must be None for a vector of {what}, got {render_mode!r}; render a single one")
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
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
        board = given.get("board", False)
        return self._restart(chosen, lambda ticket: set_tickets(ticket, seeds, chosen, episodes, board))

    def _restart(self, chosen: Bools, set_tickets: Callable[[Ticket], bool]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the chosen lanes, note that lanes have begun, and return the result of a reset.

        `set_tickets` writes seeds and numbers of episodes to the tickets of all lanes, and returns whether any are new.
        """
        raise NotImplementedError

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features."""
        names: tuple[str, ...] = self.task.names
        return names
