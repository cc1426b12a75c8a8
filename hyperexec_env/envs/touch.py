"""The single environment of a child order at the touch: one episode at a time, in Python floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.episode_env import EpisodeEnv, Stepped
from hyperexec_env.envs.rendering import Painter
from hyperexec_env.envs.touch_episode import TouchBlock, TouchEpisode, draw_touch_block
from hyperexec_env.envs.touch_frame import describe_touch, look_at
from hyperexec_env.envs.touch_task import TouchTask, build_touch_task
from hyperexec_env.market.touch_lane import TouchLane

__all__ = ["HyperExecTouchEnv"]

Draws = tuple[list[float], list[float]]

_BLOCK = 8192
"""Largest number of steps whose draws are made ahead; one episode at least."""


class HyperExecTouchEnv(EpisodeEnv):
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

    metadata: dict[str, Any] = {**EpisodeEnv.metadata, "render_fps": 8}  # noqa: RUF012 - gymnasium's
    task: TouchTask
    _id = "HyperExecTouch-v0"

    def __init__(
        self,
        scenario: Any = None,
        action_mode: str = "pair",
        render_mode: str | None = None,
        info: str = "final",
        **unknown: Any,
    ) -> None:
        """Check the options, which the class documents."""
        self._open(lambda: build_touch_task(scenario, action_mode=action_mode, **unknown), render_mode, info)
        self._largest = max(_BLOCK // self.task.market.steps, 1)

    def _draw(self, first: int, count: int) -> TouchBlock:
        """Return the draws of some consecutive episodes."""
        return draw_touch_block(self.task, self._numbers.seed, first, count, self._numbers.board)

    def _episode_of(self, block: TouchBlock, number: int) -> TouchEpisode:
        """Return an episode at its start."""
        return TouchEpisode(self.task, block.draws(number))

    def begin_on(self, change: Callable[[Draws], Draws]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the running episode anew with other draws: what a change of its draws returns.

        Draws are the outflow and the move of the touch in each step.

        Raises:
            ResetNeeded: No episode has begun.
        """
        return self._begin(TouchEpisode(self.task, change(self._begun("begin_on()").draws)))

    def step(self, action: Any) -> Stepped:
        """Do one step, given an action of the action space."""
        episode = self._open_episode()
        return self._traded(episode, *episode.trade(*self.task.asked(action)))

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features."""
        return self.task.names

    @property
    def lane(self) -> TouchLane:
        """The episode now, in natural units."""
        return self.lanes[-1]

    @property
    def lanes(self) -> list[TouchLane]:
        """The episode before each step so far, and now."""
        lanes: list[TouchLane] = self._begun().lanes
        return lanes

    @property
    def situation(self) -> TouchLane:
        """The information of a policy now: the episode in natural units."""
        return self.lane

    def _text(self) -> str:
        """Return the episode so far as text."""
        return describe_touch(look_at(self._begun()))

    def _paint(self, painter: Painter, pause: float) -> None:
        """Draw a picture of the episode so far."""
        from hyperexec_env.envs.touch_picture import draw_touch  # a lazy import: drawing needs the extra `plot`

        painter.show(draw_touch(look_at(self._begun())), pause)
