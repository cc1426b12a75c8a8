"""An episode of a child order at the touch in the single environment, in Python floats, on draws made ahead."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.unroll import NUMBER, unrolled
from hyperexec_env.envs.touch_features import TOUCH_FEATURES
from hyperexec_env.envs.touch_task import TouchTask, mask_row, touch_info
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.touch import Bill, Draw, Place, TouchMarket, draw_step
from hyperexec_env.market.touch_lane import TouchLane, step_lane
from hyperexec_env.records import fill_record

__all__ = ["TouchBlock", "TouchEpisode", "draw_touch_block"]

_OVER, _PLACE, _BILL = map(TouchLane._fields.index, ("over", "place", "bill"))
_write = struct.Struct(f"{len(TOUCH_FEATURES)}f").pack_into


def _trade(
    market: TouchMarket, lane: TouchLane, take: Any, rest: Any, draw: Draw
) -> tuple[TouchLane, Any, tuple[Any, ...], Any]:
    """Return the episode after a step, the reward, half-spreads per lot, the features, and the row of the mask, a float."""
    after, cost = step_lane(market, lane, take, rest, draw)
    seen = tuple(feature.value(market, after) for feature in TOUCH_FEATURES)
    return after, cost * -market.scale, seen, mask_row(market.max_take, after.left, after.place.level)


@lru_cache(maxsize=16)
def _step_of(task: TouchTask) -> Callable[..., tuple[Any, float, tuple[float, ...], float]]:
    """Return :func:`_trade` of a task for floats."""
    lane, draw = fill_record(TouchLane, repeat(NUMBER)), Draw(NUMBER, NUMBER)
    return unrolled(_trade, task.market, lane, NUMBER, NUMBER, draw, some=lambda condition: True, whole=lambda row: row)


def _record(lane: Any) -> TouchLane:
    """Return an episode in plain tuples as a record."""
    return TouchLane(*lane)._replace(place=Place(*lane[_PLACE]), bill=Bill(*lane[_BILL]))


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
        self._lanes: list[Any] = [task.start]
        """The episode before each step so far, and now, as plain tuples."""
        self.k, self.over, self._row = 0, False, task.first_row
        self.first = task.first.copy()

    @property
    def lanes(self) -> list[TouchLane]:
        """The episode before each step so far, and now."""
        return [_record(lane) for lane in self._lanes]

    @property
    def lane(self) -> TouchLane:
        """The episode now."""
        return _record(self._lanes[-1])

    def trade(self, take: float, rest: int) -> tuple[NDArray[np.float32], float]:
        """Do a step; return the observation and the reward, half-spreads per lot."""
        k = self.k
        outflow, moved = self.draws
        after, reward, seen, self._row = self._step(self._lanes[-1], take, rest, (outflow[k], moved[k]))
        self._lanes.append(after)
        self.k, self.over = k + 1, after[_OVER] != 0
        observation: Any = np.empty(len(seen), np.float32)
        _write(observation, 0, *seen)
        return observation, reward

    def mask(self) -> NDArray[np.int8]:
        """Return the mask of the actions, 1 is allowed."""
        return self.task.masks_by_row[int(self._row)].copy()

    def info(self) -> dict[str, Any]:
        """Return the `info` of the result so far."""
        return touch_info(self.task, self.lane)
