"""The vector environment: many episodes side by side, each at its own slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hyperexec_env.backends.arrays import ArrayLanes
from hyperexec_env.backends.compiled import CompiledLanes, resolve_backend
from hyperexec_env.checks import check_choice, check_flag, check_integer
from hyperexec_env.envs.action import OwnAction, none_allowed
from hyperexec_env.envs.features import Known, observation_space
from hyperexec_env.envs.info import LazyInfo, masked
from hyperexec_env.envs.lanes import SETTLED, lane_program, output_arrays
from hyperexec_env.envs.own import allow_stage, name_of
from hyperexec_env.envs.rendering import Gallery
from hyperexec_env.envs.reward import PARTS, reward_space
from hyperexec_env.envs.seeding import chosen_lanes, lane_episodes, lane_seeds, new_tickets, set_tickets
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.envs.task import INFOS, build_task, check_reset_options, final_info, unseen
from hyperexec_env.envs.trial import compilable, nan_message, try_own
from hyperexec_env.envs.uncertainty import Belief, believed
from hyperexec_env.market.lane import EpisodeOrder, Lane, Settled, Ticket, settle_so_far
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import fill_record, leaves, map_leaves, numbers

__all__ = ["HyperExecVectorEnv"]

_FINAL = (("final", "observation"), ("final_mask", "mask"))
"""Array with a row for each lane that ended, and the array over all lanes whose rows it has."""
Stepped = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class HyperExecVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
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
    _lanes: Any = None

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
        self.num_envs = check_integer("num_envs", num_envs, low=1, high=10_000_000)
        if not isinstance(autoreset_mode, AutoresetMode):
            autoreset_mode = AutoresetMode(
                check_choice("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode])
            )
        self.autoreset_mode = autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": autoreset_mode}
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self._full = check_choice("info", info, INFOS) == "full"
        if max_episode_steps == -1:  # gymnasium's other way to say that there is no limit
            max_episode_steps = None
        if max_episode_steps is not None:
            max_episode_steps = check_integer("max_episode_steps", max_episode_steps, low=1, high=2**31 - 1)
        self._limit = max_episode_steps
        self._compiled = resolve_backend(backend) == "numba"
        if num_threads is not None:
            num_threads = check_integer("num_threads", num_threads, low=1, high=256)
        check_flag("copy", copy)
        self._copy, self._threads = copy, num_threads
        self.task = task = build_task(**options)
        trials = try_own(task)
        self._compiled = self._compiled and compilable(trials, required=backend == "numba")
        self.single_action_space = task.mode.space
        self.single_observation_space = observation_space(task.observer.features)
        if task.parts:
            self.reward_space, self.reward_dim = batch_space(reward_space(), self.num_envs), len(PARTS)
        self._checks_own = bool(task.observer.own) or task.own_reward is not None or task.mode.own is not None
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._same_step, self._disabled = (autoreset_mode == mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED))
        self._discrete, self._shape = task.mode.discrete, self.action_space.shape
        self._lanes = self._new_lanes()
        self._outputs = output_arrays(task, self.num_envs, self._limit)
        self._returned = self._empty()
        self._given = {"values": np.zeros(self.num_envs), "chosen": np.zeros(self.num_envs, np.bool_)}
        self._ended = {"settled": np.zeros((self.num_envs, len(SETTLED)))}
        """Results of the lanes that ended in the last step, in the first rows of each part; the next step overwrites them."""
        if self._same_step:
            self._ended |= {final: np.zeros_like(self._returned[name]) for final, name in _FINAL if name in self._returned}
        self._begun = False
        self._over = np.zeros(self.num_envs, dtype=np.bool_)
        """Lanes that must be reset before the next step (autoreset mode "Disabled"), shape (lanes,)."""
        self._gallery = Gallery(task, self.num_envs) if render_mode else None
        self._watching = self._full or self._gallery is not None

    def _new_lanes(self) -> CompiledLanes | ArrayLanes:
        """Return new lanes, without persistent records."""
        program = lane_program(self.task, self.autoreset_mode, self._limit)
        return CompiledLanes(program, self.num_envs, self._threads) if self._compiled else ArrayLanes(program, self.num_envs)

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, with the records of the lanes in place of the lanes, whose stages cannot be pickled."""
        records = [self._lanes.record(kind) for kind in self._lanes.program.kept] if self._begun else []
        return {**self.__dict__, "_lanes": records}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes and make new lanes with the records."""
        self.__dict__.update(state)
        records, self._lanes = self._lanes, self._new_lanes()
        for kind, record in zip(self._lanes.program.kept, records, strict=False):
            self._lanes.put(kind, record)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of each lane.

        Args:
            seed: A whole number s, which gives lane i the seed s + i, or a list with a seed or None for each lane; a lane with
                a new seed begins with episode 0 of the seed.
            options: `reset_mask` (bool, shape (lanes,)): the lanes to reset; the first reset begins all lanes and ignores it.
                `episode`: the number of the episode to begin, or an array of shape (lanes,) of them. `board`: whether the
                seeds are those of a board, whose episodes are replayed.

        Raises:
            ValueError: A bad seed or option; the lanes stay as they are.
        """
        given = check_reset_options(options, ("reset_mask", "episode", "board"), seed is not None)
        chosen = chosen_lanes(given.get("reset_mask"), self.num_envs)
        if not self._begun:
            chosen = np.ones(self.num_envs, np.bool_)
        self._seed_lanes(seed, chosen, lane_episodes(given.get("episode"), self.num_envs), given.get("board", False))
        self._begun = True
        return self._observe(chosen)

    def _observe(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the chosen lanes, and return the observations of all lanes."""
        self._given["chosen"][:] = chosen
        arrays = self._empty()  # never overwrite the arrays of the last step: they show how lanes ended
        self._lanes.run("reset", self._given | arrays)
        self._over &= ~chosen
        info = self._running_info(arrays)
        if self._watching:
            info = self._watched(info, info, False, chosen.copy())
        if self._checks_own:
            self._check_own({name: arrays[name] for name in ("observation", "mask") if name in arrays}, ~chosen)
        return self.task.observer.select(arrays["observation"]), info

    def _empty(self) -> dict[str, NDArray[Any]]:
        """Return new output arrays of a plan, by name."""
        return {name: np.empty(shape, kind) for name, (shape, kind) in self._outputs.items()}

    def _seed_lanes(
        self, seed: int | list[int | None] | None, chosen: NDArray[np.bool_], episodes: NDArray[np.uint64] | None, board: bool
    ) -> None:
        """Set the seeds and the episode numbers of the chosen lanes; a lane with a new seed begins with episode 0."""
        seeds = lane_seeds(seed, self.num_envs)
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=seeds[0])
        ticket: Ticket = self._lanes.record(Ticket) if self._begun else new_tickets(self.num_envs)
        if set_tickets(ticket, seeds, chosen, episodes, board) or not self._begun:
            self._lanes.put(Ticket, ticket)

    def step(self, actions: NDArray[Any]) -> Stepped:
        """Trade one slice in every lane, given the actions of all lanes."""
        if not self._begun:
            raise ResetNeeded("the episodes were never begun: call reset() before step()")
        self._given["values"].reshape(self._shape or ())[...] = self._checked(actions)
        return self._run("step", actions)

    def trade(self, shares: NDArray[np.float64]) -> Stepped:
        """Trade one slice in every lane: :meth:`step` with shares as actions, shape (lanes,)."""
        if not self._begun:
            raise ResetNeeded("the episodes were never begun: call reset() before trade()")
        shares = np.asarray(shares, dtype=np.float64)
        if shares.shape != (self.num_envs,) or np.isnan(shares).any():
            raise ValueError(f"shares to trade must be {self.num_envs} numbers, one for each lane, got {shares!r}")
        self._given["values"][:] = shares
        return self._run("trade", shares)

    def _run(self, plan: str, given: Any) -> Stepped:
        """Run the plan `step` or `trade`; `given` are the actions, for the message of a refused action."""
        if self._disabled and self._over.any():
            lane, count = int(self._over.argmax()), int(self._over.sum())
            raise ResetNeeded(f"lane {lane} (one of {count}) is over: reset it with options={{'reset_mask': mask}}")
        arrays = self._empty() if self._copy else self._returned
        counts = self._lanes.run(plan, {**self._given, **arrays, **self._ended})
        if counts[0] < 0:
            raise self._refusal(given, -1 - counts[0])
        info = running = self._running_info(arrays)
        terminated = arrays["terminated"]
        truncated = np.zeros(self.num_envs, np.bool_) if self._limit is None else arrays["truncated"]
        if any(counts):
            ended = terminated if self._limit is None else terminated | truncated
            if self._disabled:
                self._over = ended.copy()
            info = self._final_info(terminated, ended, counts, running)
        if self._watching:
            info = self._watched(running, info, terminated.copy(), np.ones(self.num_envs, np.bool_))
        if self._checks_own:
            self._check_own(arrays, terminated | truncated)
        reward = np.stack([arrays["reward"], arrays["risk_reward"]], axis=1) if self.task.parts else arrays["reward"]
        return self.task.observer.select(arrays["observation"]), reward, terminated, truncated, info

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
            raise self._refusal(actions, 0)
        if actions.dtype.kind not in "fiub":
            raise ValueError(f"actions must be numbers in {self._range()}, got an array of {actions.dtype}")
        return actions

    def _refusal(self, actions: Any, lane: int) -> ValueError:
        """Return the error for the invalid action of a lane."""
        if self._discrete:
            return ValueError(f"actions must be whole numbers in [0, {self.task.mode.levels - 1}], got {actions!r}")
        return ValueError(f"actions must be numbers in {self._range()}, got nan in lane {lane}")

    def _range(self) -> str:
        """Return the range of a continuous action, for messages."""
        low, high = self.task.mode.bounds
        return f"[{low:g}, {high:g}]"

    def _running_info(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Return the `info` of running lanes: the action masks in the discrete action mode."""
        if not self._discrete:
            return {}
        return {"action_mask": arrays["mask"], "_action_mask": np.ones(self.num_envs, np.bool_)}

    def _final_info(
        self, terminated: NDArray[np.bool_], ended: NDArray[np.bool_], counts: list[int], running: dict[str, Any]
    ) -> LazyInfo:
        """Return the `info` of a step in which lanes ended (terminated, or truncated too).

        Results are copied now and put into arrays when `info` is read.
        """
        settled, terminated = self._filled("settled", counts), terminated.copy()
        ended = terminated if self._limit is None else ended.copy()
        finals = {name: self._filled(name, counts) for name, _ in _FINAL if name in self._ended} if self._same_step else {}
        if finals:
            finals["final"] = self.task.observer.select(finals["final"])

        def build() -> dict[str, Any]:
            columns = np.zeros((len(SETTLED), self.num_envs))
            columns[:, ended] = settled.T
            told = ended if self._full else terminated
            info = self._told(fill_record(Settled, iter(columns)), terminated, told) if told.any() else {}
            if not self._same_step:
                return info
            if self._discrete:
                masks = np.zeros((self.num_envs, self.task.mode.levels), np.int8)
                masks[ended] = finals["final_mask"]
                info |= {"action_mask": masks, "_action_mask": ended.copy()}
            last = np.full(self.num_envs, None, dtype=object)
            for lane, row in zip(np.flatnonzero(ended).tolist(), finals["final"], strict=True):
                last[lane] = row
            return {"final_obs": last, "_final_obs": ended, "final_info": info, "_final_info": ended.copy()}

        return LazyInfo(running, build)

    def _filled(self, name: str, counts: list[int]) -> NDArray[Any]:
        """Return a copy of the rows that the lanes which ended wrote to an array, in the order of the lanes."""
        rows = self._ended[name]
        if len(counts) == 1:
            return rows[: counts[0]].copy()
        parts = zip(self._lanes.parts, counts, strict=True)
        return np.concatenate([rows[first : first + count] for (first, _), count in parts])

    def _told(self, settled: Settled, terminated: NDArray[np.bool_], lanes: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the results of some lanes as `info`, given the lanes whose episode terminated."""
        hide = self._full and self.task.secret
        return masked(final_info(unseen(settled, terminated) if hide else settled), lanes)

    def _watched(
        self, running: dict[str, Any], info: dict[str, Any], terminated: Any, lanes: NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Note the lanes for their pictures, and return the `info` of some lanes, in full where that is asked for."""
        lane: Lane = self._lanes.record(Lane)
        if self._gallery is not None:
            self._gallery.note(lane)
        if not self._full:
            return info
        order, over = self._lanes.record(EpisodeOrder), terminated & (lane.over != 0)

        def build() -> dict[str, Any]:
            draws, numbers = self.task.draws, self.task.market.numbers
            settled = settle_so_far(numbers if draws is None else draws.numbers_of(numbers, order.key), order, lane, over)
            values = map_leaves(lambda value: np.array(np.broadcast_to(value, self.num_envs)), settled)
            return dict(info.items()) | self._told(values, over, lanes)

        return LazyInfo(running, build)

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
        return situation_of(market, market.numbers, hidden, order, lane, price_of_last(hidden, order, lane))

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

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the state of all lanes, for :meth:`go_on`: arrays of shape (lanes,) by name."""
        return {
            f"{kind.__name__}.{path}": values
            for kind in self._lanes.program.kept
            for (path, _), values in zip(leaves(kind), numbers(self._lanes.record(kind)), strict=True)
        }

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the state of all lanes from :meth:`position` of an environment with equal options; return their observations.

        Raises:
            KeyError: The position lacks an array; the message names the array.
        """
        for kind in self._lanes.program.kept:
            values = [position[f"{kind.__name__}.{path}"] for path, _ in leaves(kind)]
            self._lanes.put(kind, fill_record(kind, iter(values)))
        self._begun = True
        if self._gallery is not None:
            self._gallery = Gallery(self.task, self.num_envs)
        self._over = np.asarray(position["Lane.over"] != 0) & self._disabled
        return self._observe(np.zeros(self.num_envs, np.bool_))[0]

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads of the compiled loops; gymnasium also closes an environment whose options were refused."""
        if self._lanes is not None:
            self._lanes.close()
