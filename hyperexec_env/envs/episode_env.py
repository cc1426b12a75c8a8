"""What the single environments of all kinds of orders share: options, reset, information, rendering and closing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.envs.rendering import Painter
from hyperexec_env.envs.seeding import EpisodeNumbers, next_block
from hyperexec_env.envs.task import INFOS

__all__ = ["OVER", "EpisodeEnv", "Stepped"]

Stepped = tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]
"""The result of a step."""

OVER: Final = "the episode is over or was never begun: call reset() first"
"""Message of the error of a step without a running episode."""


class EpisodeEnv(gym.Env[NDArray[np.float32], Any]):
    """A single environment: one episode at a time, in Python floats, on draws made ahead in blocks of episodes.

    A subclass calls :meth:`_open` and defines :meth:`_draw`, :meth:`_episode_of`, :meth:`_text` and :meth:`_paint`. Its
    episodes have `first`, the first observation, `over`, and `info()`, the `info` of the result so far.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array", "human"], "render_fps": 4}  # noqa: RUF012 - gymnasium's
    task: Any
    _block: Any = None
    _running: Any = None
    _painter: Painter | None = None

    def _open(self, build: Callable[[], Any], render_mode: str | None, info: str, largest: int = 128) -> None:
        """Check the options that all environments have, make the task by `build`, and store the spaces.

        Args:
            build: Function that makes the task.
            render_mode: None, "ansi", "rgb_array" or "human".
            info: "final" or "full".
            largest: Largest number of episodes of a block.
        """
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self._full = check_choice("info", info, INFOS) == "full"
        self.task, self._largest = build(), largest
        self.render_mode, self._human = render_mode, render_mode == "human"
        self._discrete: bool = self.task.discrete
        self._plain = not (self._human or self._full or self._discrete)
        """Whether a step that does not end the episode returns an empty `info` and shows nothing."""
        self.action_space = self.task.space
        self.observation_space = self.task.observation_space
        self._numbers = EpisodeNumbers()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the seed; of a new seed, episode 0.

        Args:
            seed: Seed, a whole number of any size; None: the seed of the last reset, or a random one.
            options: `episode`: the number of the episode to begin; `board`: whether the seed is that of a board, whose
                episodes are replayed.

        Raises:
            ValueError: A bad seed or option; the environment stays as it is.
        """
        if self._numbers.advance(seed, options, self._seeded):
            self._block = None
        number = self._numbers.episode
        self._block = next_block(self._block, number, self._largest, self._draw)
        return self._begin(self._episode_of(self._block, number))

    def _seeded(self, seed: int | None) -> int:
        """Reset gymnasium's generator, and return the seed that it has."""
        super().reset(seed=seed)
        return int(self.np_random_seed or 0)

    def _draw(self, first: int, count: int) -> Any:
        """Return the block of the episodes `first`, ..., `first + count - 1` of the seed."""
        raise NotImplementedError

    def _episode_of(self, block: Any, number: int) -> Any:
        """Return an episode of a block at its start."""
        raise NotImplementedError

    def _begin(self, episode: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        self._running = episode
        if self._human:
            self.render()
        return self._first(episode), self._info(episode)

    def _first(self, episode: Any) -> NDArray[np.float32]:
        """Return the first observation of an episode."""
        first: NDArray[np.float32] = episode.first
        return first

    def _open_episode(self) -> Any:
        """Return the running episode.

        Raises:
            ResetNeeded: It is over, or no episode has begun.
        """
        episode = self._running
        if episode is None or episode.over:
            raise ResetNeeded(OVER)
        return episode

    def _begun(self, need: str = "asking for the episode") -> Any:
        """Return the episode that was begun last, which may be over.

        Args:
            need: What needs the episode, for the error.

        Raises:
            ResetNeeded: No episode has begun.
        """
        if self._running is None:
            raise ResetNeeded(f"call reset() before {need}")
        return self._running

    def _traded(self, episode: Any, observation: NDArray[np.float32], reward: float) -> Stepped:
        """Return the result of a step that an episode has done."""
        if self._plain and not episode.over:
            return observation, reward, False, False, {}
        if self._human:
            self.render()
        return observation, reward, episode.over, False, self._info(episode)

    def _info(self, episode: Any) -> dict[str, Any]:
        """Return the `info` of an episode: the masks of discrete actions, and the result where it is asked for."""
        info: dict[str, Any] = {"action_mask": episode.mask()} if self._discrete else {}
        return info | episode.info() if episode.over or self._full else info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the masks of all actions one after another, True is allowed; sb3-contrib's MaskablePPO calls this name."""
        if not self.task.discrete or self._running is None:
            raise ValueError(f"action masks belong to action_mode='discrete' after reset(), got {self.task.action_mode!r}")
        masks: NDArray[np.bool_] = self._running.mask().astype(bool).ravel()
        return masks

    @property
    def situation(self) -> Any:
        """The information of a policy now, in natural units."""
        return self._begun("asking for the situation").situation()

    def render(self) -> Any:
        """Show the episode so far: text ("ansi"), pixels of shape (640, 960, 3) ("rgb_array") or a window ("human").

        Raises:
            ResetNeeded: No episode has begun.
            DependencyNotInstalled: A picture needs Pillow, and a window matplotlib: the extra `plot`.
        """
        if self.render_mode is None:
            name = self.spec.id if self.spec else self._id
            gym.logger.warn(
                "You are calling render method without specifying any render mode. You can specify the render_mode at "
                f'initialization, e.g. gym.make("{name}", render_mode="rgb_array")'
            )
            return None
        if self._running is None:
            raise ResetNeeded("there is no episode to render yet: call reset() before render()")
        if self.render_mode == "ansi":
            return self._text()
        if self._painter is None:
            self._painter = Painter(window=self._human)
        self._paint(self._painter, 1.0 / self.metadata["render_fps"])
        return None if self._human else self._painter.pixels()

    _id: str
    """Id of the environment, for a message."""

    def _text(self) -> str:
        """Return the episode so far as text."""
        raise NotImplementedError

    def _paint(self, painter: Painter, pause: float) -> None:
        """Let a painter draw the episode so far; an open window shows it for `pause` seconds."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the window or picture. The environment can be used again."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None
