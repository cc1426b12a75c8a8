"""The vector environment: many episodes at once, each with its own clock, in numpy arrays."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hyperexec_env.envs.action import PACES
from hyperexec_env.envs.episode import final_info
from hyperexec_env.envs.observation import Situation, observation_space
from hyperexec_env.envs.task import Task, build_task, check_reset_options
from hyperexec_env.market.account import Account, settle
from hyperexec_env.market.checks import check_choice, check_integer
from hyperexec_env.market.kernel import Cost, Slice, State, close, step
from hyperexec_env.market.noise import as_words, episode_keys
from hyperexec_env.market.path import World, advance, begin, draw_orders
from hyperexec_env.orders import Order

__all__ = ["HyperExecVectorEnv"]

_AHEAD = 16_384
"""Starts of episodes that are drawn ahead, over all lanes."""


class HyperExecVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """``gym.make_vec("HyperExec-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    The options are those of :class:`HyperExecEnv`. A seed s gives lane i the seed s + i; every reset of a lane begins its
    next episode. Returned arrays are never changed later.

    Args:
        num_envs: Number of lanes.
        autoreset_mode: "NextStep" (default: the step after the end begins the next episode and pays 0), "SameStep" (the last
            step returns the first observation of the next episode, and the last one in `info["final_obs"]`) or "Disabled"
            (lanes that ended wait for `reset(options={"reset_mask": mask})`); or gymnasium's enumeration.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, autoreset_mode: str | AutoresetMode = "NextStep", **options: Any) -> None:
        """Check the options; see the class for what they mean."""
        self.num_envs = check_integer("num_envs", num_envs, low=1, high=10_000_000)
        if not isinstance(autoreset_mode, AutoresetMode):
            autoreset_mode = AutoresetMode(
                check_choice("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode])
            )
        self.autoreset_mode = autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": autoreset_mode}
        self.render_mode = options.pop("render_mode", None)
        if self.render_mode is not None:
            raise ValueError(
                f"render_mode must be None for the vector environment (render one lane alone), got {self.render_mode!r}"
            )
        self.task = task = build_task(**options)
        self.single_action_space = task.mode.space
        self.single_observation_space = observation_space()
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        cap = task.scenario.max_participation
        self._cap = math.inf if cap is None else cap
        self._seeds: NDArray[np.uint64] | None = None
        self._episodes = np.zeros(self.num_envs, dtype=np.int64)  # the next ones
        self._starts: _Starts | None = None
        self._waiting = np.zeros(0, dtype=np.int64)
        self._begun = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the next episode of each lane, or of the lanes of `options["reset_mask"]` (bool, shape (lanes,))."""
        given = check_reset_options(options, ("reset_mask",))
        mask = given.get("reset_mask")
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
                raise ValueError(
                    f"reset option 'reset_mask' must be a bool array of shape ({self.num_envs},) with a True in it, got {mask!r}"
                )
        lanes = np.arange(self.num_envs) if mask is None or not self._begun else mask.nonzero()[0]
        self._seed_lanes(seed, lanes)
        self._restart(lanes)
        self._waiting = np.setdiff1d(self._waiting, lanes, assume_unique=True)
        observation = self._observe()
        if len(lanes) < self.num_envs:  # lanes that were not reset show what they showed
            kept = self._shown.copy()
            kept[lanes] = observation[lanes]
            observation = kept
        self._shown = observation
        return observation, self._info()

    def _seed_lanes(self, seed: int | list[int | None] | None, lanes: NDArray[np.int64]) -> None:
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=int(seed))
            seed = [int(seed) + lane for lane in range(self.num_envs)]
        if seed is None:
            seed = [None] * self.num_envs
        if len(seed) != self.num_envs:
            raise ValueError(f"seed must be a number or a list of {self.num_envs} numbers, got a list of {len(seed)}")
        if self._seeds is None:
            self._seeds = np.random.SeedSequence().generate_state(self.num_envs, np.uint64)
        given = [lane for lane in lanes.tolist() if seed[lane] is not None]
        self._seeds[given] = as_words([seed[lane] for lane in given])
        if given:
            self._episodes[given] = 0
            self._starts = None

    def _restart(self, lanes: NDArray[np.int64]) -> None:
        """Begin the next episode of some lanes."""
        task, episodes, starts = self.task, self._episodes[lanes], self._starts
        if starts is None or not starts.reach(lanes, episodes):
            assert self._seeds is not None  # noqa: S101 - reset() has seeded the lanes
            depth = 1 if starts is None else min(2 * starts.depth, max(1, _AHEAD // self.num_envs))
            starts = self._starts = _Starts(task, self._seeds, self._episodes.copy(), depth)
        self._episodes[lanes] = episodes + 1
        if not self._begun:
            self._begun = True
            self._lay_out()
        keys, (regime, flow, _), side, quantity = starts.take(lanes, episodes)
        for array, values in ((self._keys, keys), (self._world.regime, regime), (self._world.flow, flow)):
            array[lanes] = values
        if task.draw.varies:
            self._side[lanes], self._quantity[lanes] = side, quantity
            self._scale[lanes] = -1e4 / (quantity * task.scenario.arrival_price)
        self._world.price[lanes] = task.scenario.arrival_price
        self._state.remaining[lanes] = quantity
        self._last_volume[lanes] = task.observer.scales.volume
        for array in (self._k, self._state.permanent, self._state.transient, self._last_shares):
            array[lanes] = 0
        self._account[:, lanes] = 0.0

    def _lay_out(self) -> None:
        """Make the arrays of the lanes."""
        lanes, scenario = self.num_envs, self.task.scenario
        self._keys, self._k = np.zeros(lanes, dtype=np.uint64), np.zeros(lanes, dtype=np.int64)
        self._world = World(np.zeros(lanes, dtype=np.int64), np.zeros(lanes), np.zeros(lanes))
        self._state = State(np.zeros(lanes), np.zeros(lanes), np.zeros(lanes))
        self._last_shares, self._last_volume = np.zeros(lanes), np.zeros(lanes)
        self._side, self._quantity = np.full(lanes, float(scenario.side)), np.full(lanes, scenario.quantity)
        self._scale = np.full(lanes, -1e4 / (scenario.quantity * scenario.arrival_price))
        self._account = np.zeros((len(Cost._fields) + 2, lanes))  # cash cost by component, then the moves of the price
        self._shown = np.zeros(0, dtype=np.float32)

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Trade one slice in every lane as its action says."""
        if not self._begun:
            raise ResetNeeded("the episodes were never begun: call reset() before step()")
        mode = self.task.mode
        return self.trade(mode.shares(self._values(actions), self._state.remaining, mode.base.take(self._cell)))

    def trade(
        self, shares: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Trade a number of shares in each lane: what :meth:`step` does with actions, for policies that count in shares."""
        if not self._begun:
            raise ResetNeeded("the episodes were never begun: call reset() before trade()")
        task, waiting = self.task, self._waiting
        market = task.market
        if waiting.size and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(
                f"lane {waiting[0]} (one of {len(waiting)}) is over: reset it with options={{'reset_mask': mask}}"
            )
        before = self._state
        slice, self._world = advance(market, self._keys, self._k, self._world, self._side)
        self._state, cost = state, _ = step(market.impact, before, slice, shares)
        self._k = self._k + 1
        self._last_shares, self._last_volume = before.remaining - state.remaining, slice.volume
        self._book(cost, slice)
        terminated = self._k == market.slices
        terminated |= state.remaining <= 0.0
        reward = task.paid(cost)
        if not task.scenario.complete:
            marked = close(market.impact, state, self._quantity)[0 if task.realised else 1]
            reward = reward + np.where(terminated, marked, 0.0)
        reward = reward * self._scale
        if waiting.size:  # NEXT_STEP: lanes that ended a step ago begin anew, whatever their action was
            self._restart(waiting)
            reward[waiting] = 0.0
            terminated[waiting] = False
        (ended,) = terminated.nonzero()
        info = self._final(terminated, ended, shares, slice) if ended.size else {}
        if ended.size and self.autoreset_mode == AutoresetMode.SAME_STEP:
            info = self._last_seen(terminated, ended, info)
            self._restart(ended)
            ended = ended[:0]
        self._waiting, self._shown = ended, self._observe()
        shown = self._info()
        if ended.size:  # a lane that waits is stepped with the others; nothing of that step is kept
            self._k[ended] = 0
            self._cell[ended] = market.cell(0, self._seen[ended])
        return self._shown, reward, terminated, np.zeros(self.num_envs, dtype=bool), info | shown

    def _book(self, cost: Cost, slice: Slice) -> None:
        """Add the cost of a slice to the account; the moves of the price matter where an order may stay unfilled."""
        moves = () if self.task.scenario.complete else (slice.drift, slice.innovation)
        for total, values in zip(self._account, (*cost, *moves), strict=False):
            total += values

    def _values(self, actions: Any) -> NDArray[Any]:
        """Return the actions as numbers within the bounds, shape (lanes,)."""
        actions = np.asarray(actions)
        shape = self.action_space.shape
        if actions.shape != shape:
            raise ValueError(f"actions must be an array of shape {shape}, got shape {actions.shape}")
        if self.task.mode.discrete:
            if actions.dtype.kind not in "iu" or actions.min() < 0 or actions.max() >= len(PACES):
                raise ValueError(f"actions must be whole numbers in [0, {len(PACES) - 1}], got {actions!r}")
            return actions
        values = actions[:, 0].astype(np.float64)
        largest = np.abs(values).max()  # nan goes through
        if largest <= 1.0:
            return values
        if np.isnan(largest):
            raise ValueError(f"actions must be numbers in [-1, 1], got nan in lane {int(np.flatnonzero(np.isnan(values))[0])}")
        return np.clip(values, -1.0, 1.0)

    @property
    def situation(self) -> Situation:
        """What a policy may know now, in natural units (arrays over lanes)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        observer, state = self.task.observer, self._state
        return Situation(
            market=self.task.market,
            k=self._k,
            seen=self._seen,
            side=self._side,
            quantity=self._quantity,
            remaining=state.remaining,
            permanent=state.permanent,
            transient=np.zeros_like(state.transient) if observer.hidden else state.transient,
            price=self._world.price,
            flow=self._world.flow,
            last_shares=self._last_shares,
            last_volume=self._last_volume,
        )

    def _observe(self) -> NDArray[np.float32]:
        """Return what the agents see now; the cell of each lane in the tables is kept for the next step."""
        task = self.task
        self._seen = task.observer.seen(self._world.regime)
        self._cell = task.market.cell(self._k, self._seen)
        return task.observer.observe(self.situation, self._cell)

    def _last_seen(self, terminated: NDArray[np.bool_], ended: NDArray[np.int64], info: dict[str, Any]) -> dict[str, Any]:
        """Return the `info` of SAME_STEP: the last observation and the last `info` of the lanes that ended."""
        self._seen = self.task.observer.seen(self._world.regime)
        market, *fields = self.situation
        last = self.task.observer.observe(Situation(market, *(values[ended] for values in fields)))
        if self.task.mode.discrete:
            info |= {"action_mask": self._info()["action_mask"] * terminated[:, None], "_action_mask": terminated.copy()}
        final = np.full(self.num_envs, None, dtype=object)
        for lane, row in zip(ended.tolist(), last, strict=True):
            final[lane] = row
        return {"final_obs": final, "_final_obs": terminated.copy(), "final_info": info, "_final_info": terminated.copy()}

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which discrete levels are worth trying in each lane, shape (lanes, levels)."""
        if not self.task.mode.discrete:
            raise ValueError(f"action masks belong to action_mode='discrete', got {self.task.mode.name!r}")
        market = self.task.market
        k = np.minimum(self._k, market.slices - 1)
        return self.task.mode.mask(self._state.remaining, self.task.mode.base[k, self._seen], market.least[k]).astype(bool)

    def _info(self) -> dict[str, Any]:
        if not self.task.mode.discrete:
            return {}
        return {"action_mask": self.action_masks().astype(np.int8), "_action_mask": np.ones(self.num_envs, dtype=bool)}

    def _final(
        self, terminated: NDArray[np.bool_], ended: NDArray[np.int64], shares: NDArray[np.float64], slice: Slice
    ) -> dict[str, Any]:
        """Return the `info` of the lanes that ended, in gymnasium's form: arrays over lanes and a mask of each."""
        order = Order(self._side[ended], self._quantity[ended])
        *cost, drift_move, timing_move = self._account.take(ended, axis=1)
        state = State(*(values[ended] for values in self._state))
        account = Account(Cost(*cost), drift_move, timing_move)
        statement = settle(account, self.task.market.impact, state, order, self.task.scenario.arrival_price)
        asked = np.minimum(np.maximum(shares[ended], 0.0), self._cap * slice.volume[ended])
        forced = np.where(slice.least[ended] > 0.0, np.maximum(self._last_shares[ended] - asked, 0.0), 0.0)
        return self._spread(final_info(statement, order, forced), ended, terminated.copy())

    def _spread(self, values: dict[str, Any], lanes: NDArray[np.int64], mask: NDArray[np.bool_]) -> dict[str, Any]:
        """Lay the values of some lanes out over all lanes; all keys share one mask."""
        info: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, dict):
                info[key] = self._spread(value, lanes, mask)
            else:
                info[key] = np.zeros(self.num_envs)
                info[key][lanes] = value
            info[f"_{key}"] = mask
        return info


class _Starts:
    """The starts of the next episodes of every lane, drawn together because numpy is fast in bulk only."""

    def __init__(self, task: Task, seeds: NDArray[np.uint64], first: NDArray[np.int64], depth: int) -> None:
        """Draw the episodes `first`, ..., `first + depth - 1` of each lane."""
        self.first, self.depth = first, depth
        self._keys = episode_keys(seeds, first + np.arange(depth)[:, None]).ravel()
        self._world = begin(task.market, self._keys)
        self._order = draw_orders(task.market, self._keys, task.draw)

    def reach(self, lanes: NDArray[np.int64], episodes: NDArray[np.int64]) -> bool:
        """Return whether the next episodes of some lanes are among those drawn."""
        return bool((episodes - self.first[lanes]).max() < self.depth)

    def take(self, lanes: NDArray[np.int64], episodes: NDArray[np.int64]) -> tuple[NDArray[np.uint64], World, Any, Any]:
        """Return keys, market, side and quantity at the start of an episode of each of some lanes."""
        place = (episodes - self.first[lanes]) * len(self.first) + lanes
        side, quantity = (values[place] if isinstance(values, np.ndarray) else values for values in self._order)
        return self._keys[place], World(*(values[place] for values in self._world)), side, quantity
