"""The vector environment of a child order at the touch: many episodes side by side in numpy, each at its own step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.envs.info import LazyInfo, masked
from hyperexec_env.envs.lane_vector import LaneVectorEnv, Stepped
from hyperexec_env.envs.touch_features import observe_touch
from hyperexec_env.envs.touch_task import TouchTask, build_touch_task, touch_info
from hyperexec_env.market.touch import draw_step
from hyperexec_env.market.touch_lane import TouchLane, first_touch_lane, step_lane
from hyperexec_env.records import fill_record, leaves, map_leaves, numbers

__all__ = ["HyperExecTouchVectorEnv", "TouchLanes"]

Bools = NDArray[np.bool_]


class TouchLanes:
    """The running episodes.

    Args:
        task: The task.
        count: Number of episodes at once.
    """

    def __init__(self, task: TouchTask, count: int) -> None:
        """Start without episodes: :meth:`begin` makes them."""
        self.task, self.count = task, count
        self.keys = np.zeros(count, np.uint64)
        """Keys of the episodes, shape (lanes,)."""
        self._first = first_touch_lane(task.market)
        self.lane: TouchLane = map_leaves(lambda value: np.full(count, value), self._first)
        """The episodes, fields of shape (lanes,)."""

    @property
    def k(self) -> NDArray[np.int64]:
        """The step to do next, 0..T, shape (lanes,)."""
        k: NDArray[np.int64] = self.lane.k
        return k

    @property
    def over(self) -> Bools:
        """Whether the episode is over, shape (lanes,)."""
        over: Bools = self.lane.over
        return over

    def begin(self, chosen: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Begin episodes with some keys in the chosen lanes."""
        self.keys[chosen] = keys

        def put(values: NDArray[Any], start: Any) -> NDArray[Any]:
            values = values.copy()  # a step may still hold the old array
            values[chosen] = start
            return values

        self.lane = map_leaves(put, self.lane, self._first)

    def trade(self, take: NDArray[np.float64], rest: NDArray[np.int64]) -> NDArray[np.float64]:
        """Do one step in every lane; return the rewards, half-spreads per lot, shape (lanes,)."""
        market = self.task.market
        self.lane, cost = step_lane(market, self.lane, take, rest, draw_step(market, self.keys, self.lane.k))
        rewards: NDArray[np.float64] = cost * -market.scale
        return rewards

    def stop(self, ended: Bools) -> None:
        """End the episodes of some lanes before their last step."""
        self.lane = self.lane._replace(over=self.lane.over | ended)

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of all lanes, shape (lanes, features)."""
        return observe_touch(self.task.market, self.lane)


class HyperExecTouchVectorEnv(LaneVectorEnv):
    """``gym.make_vec("HyperExecTouch-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode. Lanes step in numpy.

    Args:
        num_envs: Number of lanes.
        autoreset_mode: "NextStep" (default), "SameStep" or "Disabled", as for HyperExec-v0; or a member of gymnasium's
            `AutoresetMode`.
        max_episode_steps: Largest number of steps of an episode, after which the lane is truncated; None or -1: no limit.
        render_mode: None; render a single environment.
        info: "final" or "full", as for the single environment.
        options: Options of :class:`~hyperexec_env.envs.touch.HyperExecTouchEnv`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    task: TouchTask

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
            num_envs, autoreset_mode, max_episode_steps, info, render_mode, lambda: build_touch_task(**options), "queues"
        )
        self._lanes: TouchLanes = TouchLanes(self.task, self.num_envs)

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Do one step in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        take, rest = self.task.checked(actions, (self.num_envs,))
        return self._stepped(lambda: self._lanes.trade(take, rest))

    def _running(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return the `info` of running lanes: the action masks, computed when they are read."""
        lane = self._lanes.lane
        return LazyInfo(known, lambda: self._masks(lane))

    def _told(self, told: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the masks and the results of some lanes, computed when they are read."""
        lane = self._lanes.lane  # a step makes new arrays and writes into none
        return LazyInfo({}, lambda: self._masks(lane) | self._results_of(lane, told))

    def _masks(self, lane: TouchLane) -> dict[str, Any]:
        """Return the action masks of all lanes."""
        return {
            "action_mask": self.task.masks(lane.left, lane.place.level),
            "_action_mask": np.ones(self.num_envs, np.bool_),
        }

    def _results_of(self, lane: TouchLane, told: Bools) -> dict[str, Any]:
        """Return the results of some lanes."""
        if not told.any():
            return {}
        return masked(touch_info(self.task, map_leaves(lambda values: np.where(told, values, 0), lane)), told)

    def action_masks(self) -> Bools:
        """Return the masks of the actions, shape (lanes, actions), as MaskablePPO reads them; True is allowed."""
        lane = self._lanes.lane
        return self.task.masks(lane.left, lane.place.level).astype(bool)

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the state of all lanes, for :meth:`go_on`: arrays of shape (lanes,) by name."""
        names = (name for name, _ in leaves(TouchLane))
        state = dict(zip(names, numbers(self._lanes.lane), strict=True))
        return {
            **state,
            "keys": self._lanes.keys.copy(),
            "seed": self._ticket.seed.copy(),
            "episode": self._ticket.episode.copy(),
        }

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the state of all lanes from :meth:`position` of an environment with equal options; return their observations.

        Raises:
            KeyError: The position lacks an array; the message names the array.
        """
        self._lanes.lane = fill_record(TouchLane, iter([np.array(position[name]) for name, _ in leaves(TouchLane)]))
        self._lanes.keys[:] = position["keys"]
        self._ticket.seed[:], self._ticket.episode[:] = position["seed"], position["episode"]
        self._begun = True
        return self._lanes.observe()
