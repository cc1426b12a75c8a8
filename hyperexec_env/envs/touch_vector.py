"""The vector environment of a child order at the touch: many episodes side by side, each at its own step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.backends.plan import Program
from hyperexec_env.envs.info import masked
from hyperexec_env.envs.native_vector import Stepped
from hyperexec_env.envs.program_vector import ProgramVectorEnv
from hyperexec_env.envs.touch_lanes import touch_arrays, touch_program
from hyperexec_env.envs.touch_task import TouchSettled, TouchTask, build_touch_task, settle_touch, touch_info
from hyperexec_env.market.touch_lane import TouchLane
from hyperexec_env.records import map_leaves

__all__ = ["HyperExecTouchVectorEnv"]

Bools = NDArray[np.bool_]


class HyperExecTouchVectorEnv(ProgramVectorEnv):
    """``gym.make_vec("HyperExecTouch-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode.

    Args:
        num_envs: Number of lanes.
        autoreset_mode: "NextStep" (default), "SameStep" or "Disabled", as for HyperExec-v0; or a member of gymnasium's
            `AutoresetMode`.
        max_episode_steps: Largest number of steps of an episode, after which the lane is truncated; None or -1: no limit.
        render_mode: None; render a single environment.
        info: "final" or "full", as for the single environment.
        backend, num_threads: As for HyperExec-v0: "numba" (compiled loops, extra `fast`), "numpy", or "auto" (default).
        options: Options of :class:`~hyperexec_env.envs.touch.HyperExecTouchEnv`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    task: TouchTask
    _clock, _result = TouchLane, TouchSettled

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = "NextStep",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        info: str = "final",
        backend: str = "auto",
        num_threads: int | None = None,
        **options: Any,
    ) -> None:
        """Check the options, which the class documents."""
        self._open(
            num_envs, autoreset_mode, max_episode_steps, info, render_mode, lambda: build_touch_task(**options), "queues"
        )
        self._check_backend(backend, num_threads)
        self._shape = self.action_space.shape
        self._start()
        if not self.task.flat:
            self._given |= {"takes": np.zeros(self.num_envs), "rests": np.zeros(self.num_envs)}

    def _program(self) -> Program:
        """Return the program of the lanes."""
        return touch_program(self.task, self.autoreset_mode, self._limit)

    def _outputs_of(self, lanes: int, limit: int | None) -> dict[str, tuple[Any, Any]]:
        """Return (shape, dtype) of each array that the plans write for all lanes, by name."""
        return touch_arrays(self.task, lanes, limit)

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Do one step in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        given: NDArray[Any] = np.asarray(actions)
        if given.shape != self._shape or given.dtype.kind not in "iu":
            self.task.checked(actions, (self.num_envs,))  # raises the error
        if self.task.flat:
            self._given["values"][:] = given
        else:
            self._given["takes"][:], self._given["rests"][:] = given.T
        return self._run("step", actions)

    def _told(self, settled: TouchSettled, terminated: Bools, lanes: Bools) -> dict[str, Any]:
        """Return the results of some lanes as `info`."""
        return masked(touch_info(self.task, map_leaves(lambda values: np.where(lanes, values, 0.0), settled)), lanes)

    def _so_far(self, over: Bools) -> Callable[[], TouchSettled]:
        """Note the lanes now, and return the function that computes their results so far."""
        lane: TouchLane = self._lanes.record(TouchLane)
        return lambda: settle_touch(lane)

    def action_masks(self) -> Bools:
        """Return the masks of the actions, shape (lanes, actions), as MaskablePPO reads them; True is allowed."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for action masks")
        lane: TouchLane = self._lanes.record(TouchLane)
        return self.task.masks(lane.left, lane.place.level).astype(bool)
