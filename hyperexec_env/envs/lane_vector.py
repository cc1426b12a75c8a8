"""Vector environments whose lanes are arrays: the autoreset modes, and limits of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.envs.native_vector import NativeVectorEnv, Stepped
from hyperexec_env.market.lane import Ticket
from hyperexec_env.market.noise import ONE, key
from hyperexec_env.records import fill_record, leaves, numbers

__all__ = ["LaneVectorEnv", "Lanes", "Stepped"]

Bools = NDArray[np.bool_]


class Lanes(Protocol):
    """The running episodes of a vector environment."""

    kind: Any
    """Type of :attr:`state`, a record."""
    state: Any
    """All that the lanes hold beside their keys, arrays with the lanes in the last dimension."""
    keys: NDArray[np.uint64]
    """Keys of the episodes, shape (lanes,)."""

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


class LaneVectorEnv(NativeVectorEnv):
    """A vector environment whose lanes are arrays, in numpy.

    A subclass makes its lanes, calls :meth:`_open`, and defines :meth:`_running` and :meth:`_results`, or :meth:`_told`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    _lanes: Lanes

    def _restart(self, chosen: Bools, set_tickets: Callable[[Ticket], bool]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the chosen lanes."""
        set_tickets(self._ticket)
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

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the state of all lanes, for :meth:`go_on`: arrays with the lanes in the last dimension, by name."""
        names = (name for name, _ in leaves(self._lanes.kind))
        return {
            **dict(zip(names, numbers(self._lanes.state), strict=True)),
            "keys": self._lanes.keys.copy(),
            "seed": self._ticket.seed.copy(),
            "episode": self._ticket.episode.copy(),
        }

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the state of all lanes from :meth:`position` of an environment with equal options; return their observations.

        Raises:
            KeyError: The position lacks an array; the message names the array.
        """
        kind = self._lanes.kind
        self._lanes.state = fill_record(kind, iter([np.array(position[name]) for name, _ in leaves(kind)]))
        self._lanes.keys[:] = position["keys"]
        self._ticket.seed[:], self._ticket.episode[:] = position["seed"], position["episode"]
        self._begun = True
        return self._lanes.observe()

    def _running(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return the `info` of running lanes, with some known entries."""
        raise NotImplementedError

    def _results(self, told: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the results of some lanes, given those that have just terminated, as `masked` lays them out."""
        raise NotImplementedError

    def _told(self, told: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the `info` of running lanes and the results of some lanes."""
        return self._running(self._results(told, terminated) if told.any() else {})
