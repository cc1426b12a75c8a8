"""The single environment of a child order at the touch: one episode at a time, in Python floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.envs.rendering import Painter
from hyperexec_env.envs.seeding import EpisodeNumbers, next_block
from hyperexec_env.envs.task import INFOS
from hyperexec_env.envs.touch_episode import TouchBlock, TouchEpisode, draw_touch_block
from hyperexec_env.envs.touch_frame import describe_touch, look_at
from hyperexec_env.envs.touch_task import build_touch_task
from hyperexec_env.market.touch_lane import TouchLane

__all__ = ["HyperExecTouchEnv"]

Draws = tuple[list[float], list[float]]

_BLOCK = 8192
"""Largest number of steps whose draws are made ahead; one episode at least."""


class HyperExecTouchEnv(gym.Env[NDArray[np.float32], Any]):
    r"""Finish a child order within minutes at the least cost: take lots, or rest them in a queue and wait.

    ## Description

    The seconds inside one slice of HyperExec-v0. The order has whole lots. Taking pays the half-spread, a fee and the cost of
    walking the book. Resting earns the half-spread and a rebate, but an order at the touch waits behind the lots that came
    before it, a move of the touch away puts it at the back again, and the lots that fill it know more: the mid then moves
    against them, by a whole tick where the touch sweeps through the order. Whoever cancels and joins again loses the place.
    An order one tick deeper gives up fills now for a better place when the touch arrives. ``hyperexec solve NAME`` has the
    exact optimum.

    ## Action Space

    | action_mode | space | action |
    | --- | --- | --- |
    | `pair` (default) | `MultiDiscrete([max_take + 1, 4])` | lots to take, and what the other lots do |
    | `discrete` | `Discrete((max_take + 1) * 4)` | both as one number, take * 4 + rest |

    The other lots 0: rest nowhere, 1: join the back of the touch, 2: keep their place, 3: rest one tick deeper. An order that
    joins gives up the place it had. `info["action_mask"]` (int8, 1 is allowed) is the mask of the lots to take followed by that
    of the four requests, or for `discrete` that of all actions. Lots beyond those that are left are not taken, and an order
    that rests nowhere keeps resting nowhere. After the last step all lots that are left are taken.

    ## Observation Space

    A `Box`, float32: the past only.

    | number | name | meaning | minimum | maximum |
    | --- | --- | --- | --- | --- |
    | 0 | time_left | share of the steps that are left | 0 | 1 |
    | 1 | lots_left | share of the lots that are left | 0 | 1 |
    | 2 | at_touch | 1 if the order rests at the touch | 0 | 1 |
    | 3 | deeper | 1 if the order rests one tick deeper | 0 | 1 |
    | 4 | ahead | lots before the order at the touch, over the queue | 0 | 1 |
    | 5 | last_outflow | y / (1 + y), y: lots that left the queue in the last step over their mean plus one | 0 | 1 |
    | 6 | last_fill | lots filled in the last step, over the order | 0 | 1 |
    | 7 | last_move | move of the touch in the last step, ticks; away is positive | -1 | 1 |
    | 8 | still | steps since the touch moved, over all steps | 0 | 1 |
    | 9 | mid_move | move of the mid so far, ticks over steps | -1 | 1 |
    | 10 | behind | lots left beyond those of equal lots at equal times, over the order | -1 | 1 |

    ## Rewards

    Minus the cost of the step, in half-spreads per lot of the order, in the expected account: the zero-mean moves of the mid
    are left out, and every fill is charged its adverse selection. Over an episode the rewards sum to minus
    `info["objective"]`.

    ## Starting State

    All lots are left and rest nowhere.

    ## Episode End

    `terminated` is true when no lots are left or the last step is done; `truncated` is always false.

    ## Information

    At the end (with `info="full"` at every step) `info` has `objective` (half-spreads per lot), `objective_bps` (bps of the
    arrival notional), `costs` by source (half-spreads per lot), `taken_fraction` and `forced_fraction` of the lots, `left`
    (lots) and `mid_ticks`.

    ## Arguments

    Args:
        scenario: Name of a registered touch scenario, a dict of its values, a path to a TOML file, or a `TouchScenario`; None:
            "touch-5min".
        action_mode: "pair" or "discrete".
        render_mode: None, "ansi" (text), "rgb_array" (pixels) or "human" (a window); pictures need the extra `plot`.
        info: "final" (results at the end of an episode) or "full" (results so far at every step).

    Raises:
        ValueError: A bad option; the message names it, its value and the range.

    ## Example

    >>> import gymnasium as gym
    >>> import hyperexec_env
    >>> env = gym.make("HyperExecTouch-v0", scenario="touch-queue")
    >>> observation, info = env.reset(seed=1)
    >>> total, terminated = 0.0, False
    >>> while not terminated:
    ...     join_or_keep = 2 if observation[2] else 1
    ...     observation, reward, terminated, truncated, info = env.step([0, join_or_keep])
    ...     total += reward
    >>> abs(total + info["objective"]) < 1e-9
    True

    ## Version History

    * v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array", "human"], "render_fps": 8}  # noqa: RUF012 - gymnasium's

    def __init__(
        self,
        scenario: Any = None,
        action_mode: str = "pair",
        render_mode: str | None = None,
        info: str = "final",
        **unknown: Any,
    ) -> None:
        """Check the options, which the class documents."""
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self._full = check_choice("info", info, INFOS) == "full"
        self.task = build_touch_task(scenario, action_mode=action_mode, **unknown)
        self.render_mode = render_mode
        self.action_space = self.task.space
        space: Any = self.task.observation_space
        self.observation_space = space
        self._numbers = EpisodeNumbers()
        self._block: TouchBlock | None = None
        self._running: TouchEpisode | None = None
        self._painter = None if render_mode in (None, "ansi") else Painter(window=render_mode == "human")

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
        numbers = self._numbers
        self._block = next_block(
            self._block,
            numbers.episode,
            max(_BLOCK // self.task.market.steps, 1),
            lambda first, count: draw_touch_block(self.task, numbers.seed, first, count, numbers.board),
        )
        return self._begin(self._block.draws(numbers.episode))

    def _seeded(self, seed: int | None) -> int:
        """Reset gymnasium's generator, and return the seed that it has."""
        super().reset(seed=seed)
        return int(self.np_random_seed or 0)

    def _begin(self, draws: Draws) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode with some draws."""
        self._running = TouchEpisode(self.task, draws)
        if self.render_mode == "human":
            self.render()
        return self._running.first, self._info(self._running)

    def begin_on(self, change: Callable[[Draws], Draws]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the running episode anew with other draws: what a change of its draws returns.

        Draws are the outflow and the move of the touch in each step.

        Raises:
            ResetNeeded: No episode has begun.
        """
        return self._begin(change(self._episode(begun=True).draws))

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Do one step, given an action of the action space."""
        episode = self._episode()
        observation, reward = episode.trade(*self.task.asked(action))
        if self.render_mode == "human":
            self.render()
        return observation, reward, episode.over, False, self._info(episode)

    def _episode(self, begun: bool = False) -> TouchEpisode:
        """Return the running episode; with `begun`, also one that is over."""
        if self._running is None or (self._running.over and not begun):
            raise ResetNeeded("the episode is over or was never begun: call reset() first")
        return self._running

    def _info(self, episode: TouchEpisode) -> dict[str, Any]:
        """Return the `info` of an episode."""
        info: dict[str, Any] = {"action_mask": episode.mask()}
        return info | episode.info() if episode.over or self._full else info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the mask of the actions, as MaskablePPO reads it; True is allowed."""
        return self._episode(begun=True).mask().astype(bool)

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features."""
        return self.task.names

    @property
    def lane(self) -> TouchLane:
        """The episode now, in natural units."""
        return self._episode(begun=True).lane

    @property
    def lanes(self) -> list[TouchLane]:
        """The episode before each step so far, and now."""
        return self._episode(begun=True).lanes

    def render(self) -> Any:
        """Return the episode so far as text or pixels, or show it in the window.

        Raises:
            ResetNeeded: No episode has begun.
        """
        if self.render_mode is None:
            name = self.spec.id if self.spec else "HyperExecTouch-v0"
            gym.logger.warn(
                "You are calling render method without specifying any render mode. You can specify the render_mode at "
                f'initialization, e.g. gym.make("{name}", render_mode="rgb_array")'
            )
            return None
        frame = look_at(self._episode(begun=True))
        if self._painter is None:
            return describe_touch(frame)
        from hyperexec_env.envs.touch_picture import draw_touch  # a lazy import: drawing needs the extra `plot`

        self._painter.show(draw_touch(frame), 1.0 / self.metadata["render_fps"])
        return self._painter.pixels() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the window."""
        if self._painter is not None:
            self._painter.close()
