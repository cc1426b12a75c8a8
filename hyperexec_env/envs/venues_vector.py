"""The vector environment of an order over venues: many episodes side by side, each at its own slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.envs.info import masked
from hyperexec_env.envs.lane_vector import LaneVectorEnv, Stepped
from hyperexec_env.envs.task import unseen
from hyperexec_env.envs.venue_lanes import VenueLanes
from hyperexec_env.envs.venue_task import VenueSituation, VenueTask, build_venue_task

__all__ = ["HyperExecVenuesVectorEnv"]

Bools = NDArray[np.bool_]


class HyperExecVenuesVectorEnv(LaneVectorEnv):
    """``gym.make_vec("HyperExecVenues-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    A seed s gives lane i the seed s + i; every reset of a lane begins its next episode.

    Args:
        num_envs: Number of lanes.
        autoreset_mode: "NextStep" (default), "SameStep" or "Disabled", as for HyperExec-v0; or a member of gymnasium's
            `AutoresetMode`.
        max_episode_steps: Largest number of steps of an episode, after which the lane is truncated; None or -1: no limit.
        render_mode: None; render a single environment.
        info: "final" or "full", as for the single environment.
        options: Options of :class:`~hyperexec_env.envs.venues.HyperExecVenuesEnv`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    task: VenueTask

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
            num_envs, autoreset_mode, max_episode_steps, info, render_mode, lambda: build_venue_task(**options), "venues"
        )
        self._lanes: VenueLanes = VenueLanes(self.task, self.num_envs)

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Trade one slice in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        asked = self._lanes.asked(self.task.checked(actions, (self.num_envs,)))
        return self._stepped(lambda: self._lanes.trade(asked))

    def trade(self, shares: NDArray[np.float64]) -> Stepped:
        """Trade one slice in every lane: :meth:`step` with requests of shares as actions, shape (lanes, venues)."""
        self._check_begun("trade()")
        given, shape = np.asarray(shares, dtype=np.float64), (self.num_envs, self.task.market.count)
        if given.shape != shape or np.isnan(given).any():
            raise ValueError(f"shares to trade must be numbers of shape {shape}, one for each lane and venue, got {shares!r}")
        return self._stepped(lambda: self._lanes.trade(self._lanes.shares(given.T)))

    def _running(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return the `info` of running lanes: nothing more."""
        return known

    def _results(self, told: Bools, terminated: Bools) -> dict[str, Any]:
        """Return the results of some lanes; those of running lanes hide a regime that is not observed."""
        return masked(
            self._lanes.info(told, lambda settled: unseen(settled, terminated) if self.task.secret else settled), told
        )

    @property
    def situation(self) -> VenueSituation:
        """The information of a policy now, in natural units, arrays of shape (lanes,)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        return self._lanes.situation()
