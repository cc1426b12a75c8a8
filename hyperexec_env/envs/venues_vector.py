"""The vector environment of an order over venues: many episodes side by side, each at its own slice."""

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
from hyperexec_env.envs.situation import price_of_last, situation_of
from hyperexec_env.envs.task import unseen
from hyperexec_env.envs.venue_lanes import input_names, venue_arrays, venue_kinds, venue_program
from hyperexec_env.envs.venue_task import VenueSituation, VenueTask, build_venue_task, venue_info
from hyperexec_env.market.lane import EpisodeOrder, Lane, Settled
from hyperexec_env.market.venue_lane import past_of_hidden, stages_of
from hyperexec_env.records import map_leaves

__all__ = ["HyperExecVenuesVectorEnv"]

Bools = NDArray[np.bool_]


class HyperExecVenuesVectorEnv(ProgramVectorEnv):
    """``gym.make_vec("HyperExecVenues-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode.

    Args:
        num_envs: Number of lanes.
        autoreset_mode: "NextStep" (default), "SameStep" or "Disabled", as for HyperExec-v0; or a member of gymnasium's
            `AutoresetMode`.
        max_episode_steps: Largest number of steps of an episode, after which the lane is truncated; None or -1: no limit.
        render_mode: None; render a single environment.
        info: "final" or "full", as for the single environment.
        backend, num_threads: As for HyperExec-v0: "numba" (compiled loops, extra `fast`), "numpy", or "auto" (default).
        options: Options of :class:`~hyperexec_env.envs.venues.HyperExecVenuesEnv`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    task: VenueTask
    _clock = Lane

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
            num_envs, autoreset_mode, max_episode_steps, info, render_mode, lambda: build_venue_task(**options), "venues"
        )
        self._check_backend(backend, num_threads)
        self._kinds, self._shape = venue_kinds(self.task), self.action_space.shape
        self._result = self._kinds.Settled
        self._start()
        names = input_names(self._kinds)
        self._values = np.zeros((len(names), self.num_envs))
        """Numbers of the actions, or shares requested of each venue, shape (numbers, lanes)."""
        self._given |= dict(zip(names, self._values, strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without record types, which cannot be pickled."""
        return {name: value for name, value in super().__getstate__().items() if name not in ("_kinds", "_result")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes."""
        self._kinds = venue_kinds(state["task"])
        self._result = self._kinds.Settled
        super().__setstate__(state)
        self._given |= dict(zip(input_names(self._kinds), self._values, strict=True))

    def _program(self) -> Program:
        """Return the program of the lanes."""
        return venue_program(self.task, self.autoreset_mode, self._limit)

    def _outputs_of(self, lanes: int, limit: int | None) -> dict[str, tuple[Any, Any]]:
        """Return (shape, dtype) of each array that the plans write for all lanes, by name."""
        return venue_arrays(self.task, lanes, limit)

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Trade one slice in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        given: NDArray[Any] = np.asarray(actions)
        if given.shape != self._shape or given.dtype.kind not in "fiub":
            self.task.checked(actions, (self.num_envs,))  # raises the error
        self._values[: given.shape[1]] = given.T
        return self._run("step", actions)

    def trade(self, shares: NDArray[np.float64]) -> Stepped:
        """Trade one slice in every lane: :meth:`step` with requests of shares as actions, shape (lanes, venues)."""
        self._check_begun("trade()")
        given, shape = np.asarray(shares, dtype=np.float64), (self.num_envs, self.task.market.count)
        if given.shape != shape or np.isnan(given).any():
            raise ValueError(f"shares to trade must be numbers of shape {shape}, one for each lane and venue, got {shares!r}")
        self._values[: given.shape[1]] = given.T
        return self._run("trade", shares)

    def _told(self, settled: Any, terminated: Bools, lanes: Bools) -> dict[str, Any]:
        """Return the results of some lanes as `info`; those of running lanes hide a regime that is not observed."""
        order: Settled = settled.settled
        order = order._replace(quantity=np.where(lanes, order.quantity, 1.0))
        if self._full and self.task.secret:
            order = unseen(order, terminated)
        made = venue_info(self.task, order, settled.fees, settled.adverse, settled.filled, settled.scale)
        return masked(_shown(made, lanes), lanes)

    def _so_far(self, over: Bools) -> Callable[[], Any]:
        """Note the lanes now, and return the function that computes their results so far."""
        order, lane, state = (self._lanes.record(kind) for kind in (EpisodeOrder, Lane, stages_of(self.task.market).State))

        def settled() -> Any:
            made = self._kinds.settle(self.task.market.market.numbers, order, lane, state)
            return map_leaves(lambda values: np.broadcast_to(values, self.num_envs), made)

        return settled

    @property
    def situation(self) -> VenueSituation:
        """The information of a policy now, in natural units, arrays of shape (lanes,)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        task, whole = self.task, self.task.market.market
        order, lane, state = (self._lanes.record(kind) for kind in (EpisodeOrder, Lane, stages_of(task.market).State))
        last = price_of_last(task.hidden, order, lane)
        seen = situation_of(whole, whole.numbers, task.hidden, order, lane, last)
        return VenueSituation(task.market, seen, list(state.weights), *past_of_hidden(task.market, state))


def _shown(info: dict[str, Any], told: Bools) -> dict[str, Any]:
    """Return results with zeros in the lanes that are not told."""
    return {key: _shown(value, told) if isinstance(value, dict) else np.where(told, value, 0.0) for key, value in info.items()}
