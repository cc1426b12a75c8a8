"""The vector environment: many episodes side by side, each at its own slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hyperexec_env.backends.plan import Program
from hyperexec_env.checks import check_flag
from hyperexec_env.envs.action import OwnAction, none_allowed
from hyperexec_env.envs.features import Known
from hyperexec_env.envs.info import masked
from hyperexec_env.envs.lanes import lane_program, output_arrays
from hyperexec_env.envs.native_vector import Stepped
from hyperexec_env.envs.own import allow_stage, name_of
from hyperexec_env.envs.program_vector import ProgramVectorEnv
from hyperexec_env.envs.rendering import Gallery
from hyperexec_env.envs.reward import PARTS, reward_space
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of, with_law
from hyperexec_env.envs.task import Task, build_task, final_info, unseen
from hyperexec_env.envs.trial import compilable, nan_message, try_own
from hyperexec_env.envs.uncertainty import Belief, believed
from hyperexec_env.market.hidden import RegimeLaw
from hyperexec_env.market.lane import EpisodeOrder, Lane, Settled, Ticket, settle_so_far
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import map_leaves

__all__ = ["HyperExecVectorEnv"]


class HyperExecVectorEnv(ProgramVectorEnv):
    """``gym.make_vec("HyperExec-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    The other options are those of :class:`HyperExecEnv`. A seed s gives lane i the seed s + i; every reset of a lane begins its
    next episode. The results of lanes that ended are computed in `info` when it is first read, so they cost nothing unread.

    Args:
        num_envs: Number of lanes.
        max_episode_steps: Largest number of steps of an episode, after which the lane is truncated as by gymnasium's
            `TimeLimit`; None or -1: no limit.
        render_mode: None or "rgb_array", see :meth:`render`.
        autoreset_mode: "NextStep" (default: the step after the end begins the next episode, with reward 0), "SameStep" (the
            last step returns the first observation of the next episode, and the last observation in `info["final_obs"]`) or
            "Disabled" (lanes that ended wait for `reset(options={"reset_mask": mask})`); or a member of gymnasium's
            `AutoresetMode`.
        backend: "numba" (compiled loops, extra `fast`), "numpy" (the readable reference), or "auto" (default: numba if it is
            installed). Both return the same numbers to 1e-9, and the same regimes.
        num_threads: Threads of the compiled loops, at least 264 lanes for each; None: one below 4,096 lanes, else one for
            each 2,048 lanes, at most one per processor.
        copy: Whether every step returns new arrays (default). If False, each step overwrites and returns the same arrays of
            observations, rewards and terminations.
        options: Options of :class:`HyperExecEnv`.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - gymnasium's
        "render_modes": ["rgb_array"],
        "render_fps": HyperExecEnv.metadata["render_fps"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    task: Task
    _clock, _result = Lane, Settled

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = "NextStep",
        backend: str = "auto",
        num_threads: int | None = None,
        copy: bool = True,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        info: str = "final",
        **options: Any,
    ) -> None:
        """Check the options, which the class documents."""
        self._open(num_envs, autoreset_mode, max_episode_steps, info, render_mode, lambda: build_task(**options), "orders")
        self._check_backend(backend, num_threads)
        self._copy, task = check_flag("copy", copy), self.task
        trials = try_own(task)
        self._compiled = self._compiled and compilable(trials, required=backend == "numba")
        if task.parts:
            self.reward_space, self.reward_dim = batch_space(reward_space(), self.num_envs), len(PARTS)
        self._checks_own = bool(task.observer.own) or task.own_reward is not None or task.mode.own is not None
        self._discrete, self._shape = task.mode.discrete, self.action_space.shape
        self._start()
        self._gallery = Gallery(task, self.num_envs) if render_mode else None
        self._watching = self._full or self._gallery is not None

    def _program(self) -> Program:
        """Return the program of the lanes."""
        return lane_program(self.task, self.autoreset_mode, self._limit)

    def _outputs_of(self, lanes: int, limit: int | None) -> dict[str, tuple[Any, Any]]:
        """Return (shape, dtype) of each array that the plans write for all lanes, by name."""
        return output_arrays(self.task, lanes, limit)

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Trade one slice in every lane, given the actions of all lanes."""
        self._check_begun("step()")
        self._given["values"].reshape(self._shape or ())[...] = self._checked(actions)
        return self._run("step", actions)

    def trade(self, shares: NDArray[np.float64]) -> Stepped:
        """Trade one slice in every lane: :meth:`step` with shares as actions, shape (lanes,)."""
        self._check_begun("trade()")
        shares = np.asarray(shares, dtype=np.float64)
        if shares.shape != (self.num_envs,) or np.isnan(shares).any():
            raise ValueError(f"shares to trade must be {self.num_envs} numbers, one for each lane, got {shares!r}")
        self._given["values"][:] = shares
        return self._run("trade", shares)

    def _selected(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the observations that the agent asked for."""
        return self.task.observer.select(observations)

    def _rewards(self, arrays: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the rewards: of the vector reward, cost and risk."""
        return np.stack([arrays["reward"], arrays["risk_reward"]], axis=1) if self.task.parts else arrays["reward"]

    def _check_outputs(self, arrays: dict[str, NDArray[Any]], over: NDArray[np.bool_]) -> None:
        """Check what the user's functions returned."""
        if self._checks_own:
            self._check_own(arrays, over)

    def _check_own(self, arrays: Mapping[str, NDArray[Any]], over: NDArray[np.bool_]) -> None:
        """Check what the user's functions returned.

        Raises:
            ValueError: A reward is not finite, a feature or requested shares are NaN, or a mask allows no level in a lane that
                is not over; the message names the lane.
        """
        task, shares = self.task, arrays.get("asked")
        if task.own_reward is not None and "reward" in arrays and not np.isfinite(arrays["reward"]).all():
            lane = int(np.isfinite(arrays["reward"]).argmin())
            got = f"got {arrays['reward'][lane]} in lane {lane}"
            raise ValueError(f"reward {name_of(task.own_reward)} must return a finite number, {got}")
        if shares is not None and np.isnan(shares).any():
            where = f"got nan in lane {int(np.isnan(shares).argmax())}"
            raise ValueError(f"shares of action mode {task.mode.name!r} must be a number, {where}")
        if task.mode.own is not None and "mask" in arrays:
            barred = ~(arrays["mask"].any(axis=1) | over)
            if barred.any():
                raise ValueError(none_allowed(task.mode.own, f"lane {int(barred.argmax())}"))
        seen = task.observer.select(arrays["observation"])
        if task.observer.own and np.isnan(seen).any():
            raise ValueError(nan_message(task, seen, f"lane {int(np.isnan(seen).any(axis=1).argmax())}"))

    def _checked(self, given: Any) -> NDArray[Any]:
        """Check shape and dtype of actions; the compiled step checks their values."""
        actions: NDArray[Any] = np.asarray(given)
        if actions.shape != self._shape:
            raise ValueError(f"actions must be an array of shape {self._shape}, got shape {actions.shape}")
        if self._discrete and actions.dtype.kind not in "iu":
            raise self._refused(actions, 0)
        if actions.dtype.kind not in "fiub":
            raise ValueError(f"actions must be numbers in {self._range()}, got an array of {actions.dtype}")
        return actions

    def _refused(self, given: Any, lane: int) -> ValueError:
        """Return the error for the invalid action of a lane."""
        if self._discrete:
            return ValueError(f"actions must be whole numbers in [0, {self.task.mode.levels - 1}], got {given!r}")
        return ValueError(f"actions must be numbers in {self._range()}, got nan in lane {lane}")

    def _range(self) -> str:
        """Return the range of a continuous action, for messages."""
        low, high = self.task.mode.bounds
        return f"[{low:g}, {high:g}]"

    def _told(self, settled: Settled, terminated: NDArray[np.bool_], lanes: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the results of some lanes as `info`, given the lanes whose episode terminated."""
        hide = self._full and self.task.secret
        return masked(final_info(unseen(settled, terminated) if hide else settled), lanes)

    def _so_far(self, over: NDArray[np.bool_]) -> Callable[[], Settled]:
        """Note the lanes now, and return the function that computes their results so far."""
        order, lane = self._lanes.record(EpisodeOrder), self._lanes.record(Lane)

        def settled() -> Settled:
            draws, numbers = self.task.draws, self.task.market.numbers
            made = settle_so_far(numbers if draws is None else draws.numbers_of(numbers, order.key), order, lane, over)
            filled: Settled = map_leaves(lambda value: np.array(np.broadcast_to(value, self.num_envs)), made)
            return filled

        return settled

    def _watched(self, info: dict[str, Any], lanes: NDArray[np.bool_], terminated: NDArray[np.bool_]) -> dict[str, Any]:
        """Note the lanes for their pictures, and return the `info` of some lanes, in full where that is asked for."""
        if self._gallery is not None:
            self._gallery.note(self._lanes.record(Lane))
        return super()._watched(info, lanes, terminated)

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return a picture of every lane, from which gymnasium's `RecordVideo` tiles one picture; None without a render mode.

        The pictures have shape (640, 960, 3) for up to 4 lanes, and are smaller for more. Lanes beyond the first 16 are black.

        Raises:
            ResetNeeded: No episode has begun.
            DependencyNotInstalled: A picture needs Pillow: the extra `plot`.
        """
        if self._gallery is None:
            return None
        if not self._begun:
            raise ResetNeeded("there is no episode to render yet: call reset() before render()")
        return self._gallery.pictures(self._lanes.record(Ticket))

    @property
    def situation(self) -> Situation:
        """The information of a policy now, in natural units (arrays over lanes)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        order, lane = self._lanes.record(EpisodeOrder), self._lanes.record(Lane)
        market, hidden = self.task.market, self.task.observer.hidden
        if self.task.draws is not None:
            lane = believed(market.numbers, order, lane, self._lanes.record(Belief))
        situation = situation_of(market, market.numbers, hidden, order, lane, price_of_last(hidden, order, lane))
        return with_law(situation, self._lanes.record(RegimeLaw)) if self.task.observer.follows else situation

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the mask of the discrete levels in each lane, shape (lanes, levels); True is allowed."""
        if not self._discrete:
            raise ValueError(f"action masks belong to action_mode='discrete', got {self.task.mode.name!r}")
        if not self._begun:
            raise ResetNeeded("call reset() before asking for action masks")
        if self.task.mode.own is not None:
            return self._own_masks(self.task.mode.own)
        task, market, lane = self.task, self.task.market, self._lanes.record(Lane)
        k = np.minimum(lane.k, market.slices - 1)
        base = task.mode.base[k, task.observer.seen(lane.world.regime)]
        return task.mode.mask(lane.state.remaining, base, must_finish(market.numbers, k)).astype(bool)

    def _own_masks(self, own: OwnAction) -> NDArray[np.bool_]:
        """Return the mask of the user's levels in each lane, shape (lanes, levels)."""
        if own.mask is None:
            return np.ones((self.num_envs, own.levels), np.bool_)
        situation, market = self.situation._replace(market=None), self.task.market
        cell = market.cell(np.minimum(situation.k, market.slices), situation.seen)
        known = Known(*(column.take(cell) for column in self.task.observer.facts))
        allowed = np.broadcast_arrays(*allow_stage(own)[1](situation, known))
        return np.stack(allowed, axis=1).astype(bool)

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the state of all lanes from :meth:`position`; see :meth:`ProgramVectorEnv.go_on`."""
        if self._gallery is not None:
            self._gallery = Gallery(self.task, self.num_envs)
        return super().go_on(position)
