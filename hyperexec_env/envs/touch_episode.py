"""An episode of a child order at the touch in the single environment, in Python floats, on draws made ahead."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.touch_features import observe_touch
from hyperexec_env.envs.touch_task import TouchTask, touch_info
from hyperexec_env.market import kernel, queue, touch, touch_lane
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.touch import Draw, Place, Waited, draw_step
from hyperexec_env.market.touch_lane import TouchLane, first_touch_lane
from hyperexec_env.records import on_numbers

__all__ = ["TouchBlock", "TouchEpisode", "draw_touch_block"]

_move = on_numbers(kernel.move)
_wait = on_numbers(touch.wait, move=_move, filled=on_numbers(queue.filled), advance=on_numbers(queue.advance))
_placed, _unwind = on_numbers(touch.placed), on_numbers(touch.unwind, move=_move)
_KEPT: Final = 2**15
"""Largest number of results that a task keeps."""


@lru_cache(maxsize=16)
def _step_of(task: TouchTask) -> Callable[..., tuple[TouchLane, float]]:
    """Return the step of a task, which keeps what it has computed: places are few, and draws take few values."""

    @lru_cache(maxsize=_KEPT)
    def kept(resting: float, place: Place, draw: Draw) -> Waited:
        waited: Waited = _wait(task.market, resting, place, draw)
        return waited

    turn = on_numbers(touch.turn, move=_move, placed=_placed, wait=lambda _, *given: kept(*given))
    step: Callable[..., tuple[TouchLane, float]] = on_numbers(touch_lane.step_lane, turn=turn, unwind=_unwind)
    return step


class TouchBlock:
    """The draws of consecutive episodes of one seed."""

    def __init__(self, task: TouchTask, first: int, keys: NDArray[np.uint64]) -> None:
        """Draw the episodes `first`, `first + 1`, ... with the keys."""
        self.first, self.count, self.keys = first, len(keys), keys
        draws = draw_step(task.market, keys, np.arange(task.market.scenario.steps)[:, None])
        self._outflow, self._moved = draws.outflow.T.tolist(), draws.moved.T.tolist()

    def draws(self, number: int) -> tuple[list[float], list[float]]:
        """Return the outflow and the move of the touch in each step of an episode."""
        return self._outflow[number - self.first], self._moved[number - self.first]


def draw_touch_block(task: TouchTask, seed: int, first: int, count: int, board: bool = False) -> TouchBlock:
    """Return the draws of some consecutive episodes of a seed."""
    return TouchBlock(task, first, episode_keys(seed, np.arange(first, first + count, dtype=np.uint64), board))


class TouchEpisode:
    """A running episode."""

    def __init__(self, task: TouchTask, draws: tuple[list[float], list[float]]) -> None:
        """Begin the episode, given the outflow and the move of the touch in each step."""
        self.task, self.draws = task, draws
        self._step = _step_of(task)
        self.lanes: list[TouchLane] = [first_touch_lane(task.market)]
        """The episode before each step so far, and now."""
        self.first = observe_touch(task.market, self.lanes[0])

    @property
    def lane(self) -> TouchLane:
        """The episode now."""
        return self.lanes[-1]

    @property
    def over(self) -> bool:
        """Whether the episode is over."""
        return bool(self.lanes[-1].over)

    def trade(self, take: float, rest: int) -> tuple[NDArray[np.float32], float]:
        """Do a step; return the observation and the reward, half-spreads per lot."""
        market, lane = self.task.market, self.lanes[-1]
        outflow, moved = self.draws
        after, cost = self._step(market, lane, take, rest, Draw(outflow[lane.k], moved[lane.k]))
        self.lanes.append(after)
        return observe_touch(market, after), cost * -market.scale

    def mask(self) -> NDArray[np.int8]:
        """Return the mask of the actions, 1 is allowed."""
        lane = self.lanes[-1]
        return self.task.mask_of(lane.left, lane.place.level)

    def info(self) -> dict[str, Any]:
        """Return the `info` of the result so far."""
        return touch_info(self.task, self.lanes[-1])
