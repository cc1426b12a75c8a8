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
from hyperexec_env.envs.task import build_task, check_reset_options
from hyperexec_env.market.account import Account, Statement, book, open_account, settle
from hyperexec_env.market.checks import check_choice, check_integer
from hyperexec_env.market.kernel import Cost, State, close, step
from hyperexec_env.market.noise import as_words, episode_keys
from hyperexec_env.market.path import World, advance, begin, draw_orders
from hyperexec_env.orders import Order

__all__ = ["HyperExecVectorEnv"]


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
            autoreset_mode = AutoresetMode(check_choice("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode]))
        self.autoreset_mode = autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": autoreset_mode}
        self.render_mode = options.pop("render_mode", None)
        if self.render_mode is not None:
            raise ValueError(f"render_mode must be None for the vector environment (render one lane alone), got {self.render_mode!r}")
        self.task = task = build_task(**options)
        self.single_action_space = task.mode.space
        self.single_observation_space = observation_space()
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        cap = task.scenario.max_participation
        self._cap = math.inf if cap is None else cap
        self._seeds: NDArray[np.uint64] | None = None
        self._episodes = np.full(self.num_envs, -1, dtype=np.int64)
        self._ended = np.ones(self.num_envs, dtype=bool)
        self._arrays_made = False

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
        lanes = np.arange(self.num_envs) if mask is None or not self._arrays_made else np.flatnonzero(mask)
        self._seed_lanes(seed, lanes)
        self._restart(lanes)
        self._ended[lanes] = False
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
            entropy = np.random.SeedSequence().generate_state(self.num_envs, np.uint64)
            self._seeds = entropy
        given = [lane for lane in lanes.tolist() if seed[lane] is not None]
        self._seeds[given] = as_words([seed[lane] for lane in given])
        self._episodes[given] = -1

    def _restart(self, lanes: NDArray[np.int64]) -> None:
        """Begin the next episode of some lanes."""
        task, seeds = self.task, self._seeds
        assert seeds is not None  # noqa: S101 - reset() has seeded the lanes
        self._episodes[lanes] += 1
        keys = episode_keys(seeds[lanes], self._episodes[lanes])
        order = draw_orders(task.market, keys, task.draw)
        world = begin(task.market, keys)
        zero = np.zeros(len(lanes))
        fresh = (
            (keys, np.zeros(len(lanes), dtype=np.int64)),
            (np.broadcast_to(order.side, keys.shape), np.broadcast_to(order.quantity, keys.shape)),
            world,
            State(zero + order.quantity, zero, zero),
            (zero, zero + task.observer.scales.volume, zero - 1e4 / (order.quantity * task.scenario.arrival_price)),
        )
        if not self._arrays_made:
            self._arrays_made = True
            values = [np.array(array) for group in fresh for array in group]
            self._keys, self._k, self._side, self._quantity = values[:4]
            self._world, self._state = World(*values[4:7]), State(*values[7:10])
            self._last_shares, self._last_volume, self._scale = values[10:]
            self._account = _zeros(self.num_envs)
            return
        current = (
            (self._keys, self._k),
            (self._side, self._quantity),
            self._world,
            self._state,
            (self._last_shares, self._last_volume, self._scale),
        )
        for group, new in zip(current, fresh, strict=True):
            for array, values in zip(group, new, strict=True):
                array[lanes] = values
        for array in (*self._account.cost, self._account.drift_move, self._account.timing_move):
            array[lanes] = 0.0

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Trade one slice in every lane as its action says."""
        if not self._arrays_made:
            raise ResetNeeded("the episodes were never begun: call reset() before step()")
        mode = self.task.mode
        seen = self.task.observer.seen(self._world.regime)
        return self.trade(mode.shares(self._values(actions), self._state.remaining, mode.base.take(self.task.market.cell(self._k, seen))))

    def trade(
        self, shares: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Trade a number of shares in each lane: what :meth:`step` does with actions, for policies that count in shares."""
        if not self._arrays_made:
            raise ResetNeeded("the episodes were never begun: call reset() before trade()")
        task, waiting = self.task, self._ended
        market = task.market
        if self.autoreset_mode == AutoresetMode.DISABLED and waiting.any():
            lanes = np.flatnonzero(waiting)
            raise ResetNeeded(f"lane {lanes[0]} (one of {len(lanes)}) is over: reset it with options={{'reset_mask': mask}}")
        before, k = self._state, self._k
        slice, world = advance(market, self._keys, k, self._world, self._side)
        state, cost = step(market.impact, before, slice, shares)
        self._state, self._world, self._k = state, world, k + 1
        self._last_shares, self._last_volume = before.remaining - state.remaining, slice.volume
        self._account = book(self._account, cost, slice.drift, slice.innovation)
        paid = cost.shortfall + cost.risk if task.realised else cost.expected
        terminated = (self._k == market.slices) | (state.remaining <= 0.0)
        info: dict[str, Any] = {}
        ends = bool(terminated.any())
        if ends and not task.scenario.complete:
            marked = close(market.impact, state, self._quantity)[0 if task.realised else 1]
            paid = paid + np.where(terminated, marked, 0.0)
        reward = paid * self._scale
        if waiting.any():  # NEXT_STEP: lanes that ended a step ago begin anew, whatever their action was
            lanes = np.flatnonzero(waiting)
            self._restart(lanes)
            reward[lanes] = 0.0
            terminated[lanes] = False
            ends = bool(terminated.any())
        if ends:
            capped = np.minimum(np.maximum(shares, 0.0), self._cap * slice.volume)
            forced = np.where(slice.least > 0.0, np.maximum(self._last_shares - capped, 0.0), 0.0)
            info = self._final(terminated, forced)
        observation = self._observe()
        if ends and self.autoreset_mode == AutoresetMode.SAME_STEP:
            lanes = np.flatnonzero(terminated)
            final = np.full(self.num_envs, None, dtype=object)
            for lane in lanes.tolist():
                final[lane] = observation[lane].copy()
            info = {"final_obs": final, "_final_obs": terminated.copy(), "final_info": info, "_final_info": terminated.copy()}
            self._restart(lanes)
            observation = self._observe()
        elif ends:
            self._ended = terminated.copy()
            self._k[terminated] = 0  # a lane that waits is stepped with the others; nothing of that step is kept
        else:
            self._ended = np.zeros(self.num_envs, dtype=bool)
        self._shown = observation
        return observation, reward, terminated, np.zeros(self.num_envs, dtype=bool), info | self._info()

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
        low, high = values.min(), values.max()  # nan goes through
        if low >= -1.0 and high <= 1.0:
            return values
        if np.isnan(low):
            raise ValueError(f"actions must be numbers in [-1, 1], got nan in lane {int(np.flatnonzero(np.isnan(values))[0])}")
        return np.clip(values, -1.0, 1.0)

    @property
    def situation(self) -> Situation:
        """What a policy may know now, in natural units (arrays over lanes)."""
        if not self._arrays_made:
            raise ResetNeeded("call reset() before asking for the situation")
        observer, state = self.task.observer, self._state
        return Situation(
            market=self.task.market,
            k=self._k,
            seen=observer.seen(self._world.regime),
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
        return self.task.observer.observe(self.situation)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which discrete levels are worth trying in each lane, shape (lanes, levels)."""
        if not self.task.mode.discrete:
            raise ValueError(f"action masks belong to action_mode='discrete', got {self.task.mode.name!r}")
        market = self.task.market
        k = np.minimum(self._k, market.slices - 1)
        seen = self.task.observer.seen(self._world.regime)
        return self.task.mode.mask(self._state.remaining, self.task.mode.base[k, seen], market.least[k]).astype(bool)

    def _info(self) -> dict[str, Any]:
        if not self.task.mode.discrete:
            return {}
        return {"action_mask": self.action_masks().astype(np.int8), "_action_mask": np.ones(self.num_envs, dtype=bool)}

    def _final(self, ended: NDArray[np.bool_], forced: NDArray[np.float64]) -> dict[str, Any]:
        """Return the `info` of the lanes that ended, in gymnasium's form: arrays over lanes and a mask of each."""
        lanes = np.flatnonzero(ended)
        order = Order(self._side[lanes], self._quantity[lanes])
        account = Account(
            Cost(*(values[lanes] for values in self._account.cost)),
            self._account.drift_move[lanes],
            self._account.timing_move[lanes],
        )
        state = State(*(values[lanes] for values in self._state))
        statement: Statement = settle(account, self.task.market.impact, state, order, self.task.scenario.arrival_price)
        return self._spread(final_info(statement, order, forced[lanes]), lanes, ended)

    def _spread(self, values: dict[str, Any], lanes: NDArray[np.int64], ended: NDArray[np.bool_]) -> dict[str, Any]:
        """Lay the values of some lanes out over all lanes."""
        info: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, dict):
                info[key] = self._spread(value, lanes, ended)
            else:
                info[key] = np.zeros(self.num_envs)
                info[key][lanes] = value
            info[f"_{key}"] = ended.copy()
        return info


def _zeros(lanes: int) -> Account:
    """Return an account of zeros for every lane."""
    empty = open_account()
    cost = Cost(*(np.zeros(lanes) for _ in empty.cost))
    return Account(cost, np.zeros(lanes), np.zeros(lanes))
