"""The vector environment: many episodes at once, each with its own clock, in numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_flag, check_integer
from hyperexec_env.envs.action import PACES
from hyperexec_env.envs.compiled import Lanes
from hyperexec_env.envs.episode import final_info
from hyperexec_env.envs.observation import Situation, observation_space
from hyperexec_env.envs.task import Task, build_task, check_reset_options
from hyperexec_env.market.account import Account, forced_shares, settle_in_bps
from hyperexec_env.market.compiled import COST, FIELDS, resolve_backend
from hyperexec_env.market.kernel import Cost, Slice, State, close, move, paid_cost
from hyperexec_env.market.noise import as_words, episode_keys
from hyperexec_env.market.path import Draws, World, begin, draw, draw_orders, follow
from hyperexec_env.market.predator import Hunt, ambush
from hyperexec_env.orders import Order

__all__ = ["HyperExecVectorEnv"]

_ZERO, _ONE = np.array(0.0), np.array(1)  # numpy takes longer to look at a scalar
_NONE: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
_BOOL = np.dtype(bool)
_LOOK_AHEAD = 8_192
"""Slices of which the noise is drawn ahead, over all lanes: numpy is fast in bulk, but not beyond the caches."""
_LARGEST_SEED = 2**1000
_AHEAD = 16_384
"""Starts of episodes that are drawn ahead, over all lanes."""


class HyperExecVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """``gym.make_vec("HyperExec-v0", num_envs=N)``: lane i is the single environment with the seed of lane i.

    The options are those of :class:`HyperExecEnv`. A seed s gives lane i the seed s + i; every reset of a lane begins its
    next episode.

    Args:
        num_envs: Number of lanes.
        backend: "numba" (compiled, extra `fast`), "numpy", or "auto" (default: numba where it is installed). Both give the same
            to 1e-9, and the same regimes.
        num_threads: Threads of the compiled lanes, each of which takes 264 at least; None: one below 4,096 lanes, else the
            processors there are, one for 2,048.
        copy: Whether returned arrays are never changed later (default). With False compiled lanes return the same observations,
            rewards and ends in each step, overwritten.
        autoreset_mode: "NextStep" (default: the step after the end begins the next episode and pays 0), "SameStep" (the last
            step returns the first observation of the next episode, and the last one in `info["final_obs"]`) or "Disabled"
            (lanes that ended wait for `reset(options={"reset_mask": mask})`); or gymnasium's enumeration.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = "NextStep",
        backend: str = "auto",
        num_threads: int | None = None,
        copy: bool = True,
        **options: Any,
    ) -> None:
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
        compiled = resolve_backend(backend) == "numba"
        if num_threads is not None:
            num_threads = check_integer("num_threads", num_threads, low=1, high=256)
        check_flag("copy", copy)
        self.task = task = build_task(**options)
        self.single_action_space = task.mode.space
        self.single_observation_space = observation_space()
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        # what each step asks for: looking it up takes as long as a good part of a small step
        self._discrete, self._shape = task.mode.discrete, self.action_space.shape
        self._same_step, self._disabled = (autoreset_mode == mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        impact = task.market.impact
        self._impact = impact._replace(
            permanent_slope=np.array(impact.permanent_slope), transient_slope=np.array(impact.transient_slope)
        )
        self._lanes = Lanes(task, self.num_envs, num_threads, copy) if compiled else None
        self._hand_over()
        self._end, self._complete = np.array(task.market.slices), task.scenario.complete
        self._order = Order(float(task.scenario.side), task.scenario.quantity)  # of every lane, unless they vary
        self._seeds: Any = None  # one word for each lane, once they are seeded
        self._first = np.zeros(self.num_envs, dtype=np.int64)  # the next episodes, where no starts are drawn
        self._starts: _Starts | None = None
        self._waiting = np.zeros(0, dtype=np.int64)
        """Lanes that are over and not yet begun anew; they stand at their end, and show it, until the next step."""
        # what the lanes remember, laid out at the first reset
        self._keys: NDArray[np.uint64]
        self._k: NDArray[np.int64]
        self._world: World
        self._state: State
        self._hunt: Hunt | None
        self._account: NDArray[np.float64]
        self._side: NDArray[np.float64]
        self._quantity: NDArray[np.float64]
        self._scale: NDArray[np.float64]
        self._last_shares: NDArray[np.float64]
        self._last_volume: NDArray[np.float64]
        self._begun = False
        self._ahead = self._row = 0  # slices of which the noise is drawn ahead, and the next of them
        self._draws: Draws
        self._met: tuple[Any, tuple[Any, ...]]  # the unaffected price that the last slice began with, and what it cost
        self._asked: tuple[Any, Any]  # what the last slice was asked for, and the least that it demanded

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the next episode of each lane, or of the lanes of `options["reset_mask"]` (bool, shape (lanes,)).

        The first reset starts all lanes, whatever the mask.
        """
        given = check_reset_options(options, ("reset_mask",))
        mask = given.get("reset_mask")
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
                raise ValueError(
                    f"reset option 'reset_mask' must be a bool array of shape ({self.num_envs},) with a True in it, "
                    f"got {mask!r}"
                )
        lanes = np.arange(self.num_envs) if mask is None or not self._begun else mask.nonzero()[0]
        self._seed_lanes(seed, lanes)
        self._restart(lanes)
        observation = self._observe()
        if self._waiting.size:
            self._waiting = self._waiting[np.isin(self._waiting, lanes, invert=True)]
        return observation, self._info()

    def _seed_lanes(self, seed: int | list[int | None] | None, lanes: NDArray[np.int64]) -> None:
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=int(seed))
            seed = [int(seed) + lane for lane in range(self.num_envs)]
        if seed is None:
            seed = [None] * self.num_envs
        if not isinstance(seed, (list, tuple, np.ndarray)) or len(seed) != self.num_envs:
            raise ValueError(f"seed must be a whole number or a list of {self.num_envs} of them, got {seed!r}")
        seed = [None if value is None else check_integer("seed", value, low=0, high=_LARGEST_SEED) for value in seed]
        if self._seeds is None:
            self._seeds = np.random.SeedSequence().generate_state(self.num_envs, np.uint64)
        given = [lane for lane in lanes.tolist() if seed[lane] is not None]
        self._seeds[given] = as_words([seed[lane] for lane in given])
        if given:
            if self._starts is not None:
                self._first, self._starts = self._starts.episodes(), None
            self._first[given] = 0

    def _places(self, lanes: NDArray[np.int64]) -> Any:
        """Return what indexes some lanes: a slice where they are all, which numpy does without copies."""
        return slice(None) if len(lanes) == self.num_envs else lanes

    def _restart(self, lanes: NDArray[np.int64]) -> None:
        """Begin the next episode of some lanes, which are in ascending order."""
        task = self.task
        if self._lanes is not None:
            self._begun, order = True, self._order
            if task.draw.varies:
                order = draw_orders(task.market, episode_keys(self._seeds[lanes], self._first[lanes]), task.draw)
            self._lanes.begin(lanes, self._seeds, self._first, *order)
            return
        start = self._starts.take(lanes) if self._starts is not None else None
        if self._starts is None or start is None:
            self._starts = self._more_starts()
            start = self._starts.take(lanes)
        if not self._begun:
            self._begun = True
            self._lay_out()
        here = self._places(lanes)
        self._keys[here], self._world.regime[here], self._world.flow[here], side, quantity = start
        self._together = len(lanes) == self.num_envs
        if self._row < self._ahead:  # the slices that were drawn ahead are those of the episodes that ended
            fresh = draw(task.market, self._keys[here], np.arange(self._ahead - self._row)[:, None])
            for values, new in zip(self._draws, fresh, strict=True):
                if type(values) is np.ndarray:
                    values[self._row :, here] = new
        if task.draw.varies:
            self._side[here], self._quantity[here] = side, quantity
            self._scale[here] = -1e4 / (quantity * task.scenario.arrival_price)
        self._world.price[here] = task.scenario.arrival_price
        self._state.remaining[here] = quantity
        self._last_volume[here] = task.observer.scales.volume
        for array in (self._k, self._state.permanent, self._state.transient, self._last_shares, *(self._hunt or ())):
            array[here] = 0
        self._account[:, here] = 0.0

    def _more_starts(self) -> _Starts:
        """Draw the next episodes of all lanes, twice as many as the last time while lanes go on."""
        if self._starts is None:
            return _Starts(self.task, self._seeds, self._first.copy(), 1)
        depth = min(2 * self._starts.depth, max(1, _AHEAD // self.num_envs))
        return _Starts(self.task, self._seeds, self._starts.episodes(), depth)

    def _lay_out(self) -> None:
        """Make the arrays of the lanes."""
        lanes, scenario = self.num_envs, self.task.scenario
        self._keys, self._k = np.zeros(lanes, dtype=np.uint64), np.zeros(lanes, dtype=np.int64)
        self._world = World(np.zeros(lanes, dtype=np.int64), np.zeros(lanes), np.zeros(lanes))
        self._state = State(np.zeros(lanes), np.zeros(lanes), np.zeros(lanes))
        self._last_shares, self._last_volume = np.zeros(lanes), np.zeros(lanes)
        self._hunt = Hunt(*np.zeros((len(Hunt._fields), lanes))) if self.task.market.hunted else None
        self._side, self._quantity = (np.full(lanes, value) for value in self._order)
        self._scale = np.full(lanes, -1e4 / (scenario.quantity * scenario.arrival_price))
        self._account = np.zeros((len(Cost._fields) + 2, lanes))  # cash cost by component, then the moves of the price
        self._totals = list(self._account)

    def _recall(self) -> None:
        """Copy what compiled lanes remember into the fields that it has in numpy; they are not kept up to date."""
        if self._lanes is None:
            return
        self._recalled = floats, whole = self._lanes.remembered()
        fields = dict(zip(FIELDS, floats, strict=True))
        self._k, regime, keys = whole
        self._keys, self._world = keys.view(np.uint64), World(regime, fields["flow"], fields["price"])
        self._seen = self.task.observer.seen(regime)
        self._state = State(*(fields[name] for name in State._fields))
        self._hunt = Hunt(*(fields[name] for name in Hunt._fields)) if self.task.market.hunted else None
        self._account = floats[COST : COST + len(Cost._fields) + 2]
        self._side, self._quantity, self._scale = fields["side"], fields["quantity"], fields["scale"]
        self._last_shares, self._last_volume = fields["last_shares"], fields["last_volume"]
        self._paid = fields["price_before"], fields["paid_before"]

    def _lay_back(self) -> None:
        """Make compiled lanes remember what was recalled, with what has been changed in it."""
        if self._lanes is not None:
            self._lanes.remember(*self._recalled)

    def _hand_over(self) -> None:
        """Look at what compiled lanes are given as an array of actions."""
        if self._lanes is not None:
            self._given = self._lanes.values.reshape(self._shape or ())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a copy whose fields belong to its own lanes."""
        self.__dict__.update(state)
        self._hand_over()
        if self._begun and self._lanes is None:
            self._totals = list(self._account)

    def close_extras(self, **kwargs: Any) -> None:
        """Let the threads go."""
        if self._lanes is not None:
            self._lanes.close()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Trade one slice in every lane as its action says."""
        if not self._begun:
            raise ResetNeeded("the episodes were never begun: call reset() before step()")
        return self._trade(self._values(actions), False)

    def trade(
        self, shares: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Trade a number of shares in each lane: what :meth:`step` does with actions, for policies that count in shares."""
        if not self._begun:
            raise ResetNeeded("the episodes were never begun: call reset() before trade()")
        shares = np.asarray(shares, dtype=np.float64)
        if shares.shape != (self.num_envs,) or np.isnan(shares).any():
            raise ValueError(f"shares to trade must be {self.num_envs} numbers, one for each lane, got {shares!r}")
        if self._lanes is not None:
            self._lanes.values[:] = shares
        return self._trade(shares, True)

    def _trade(
        self, values: NDArray[Any], shares: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Trade one slice in every lane, by actions or by shares, and begin the episodes that are to begin."""
        waiting = self._waiting
        if waiting.size and self._disabled:
            raise ResetNeeded(
                f"lane {waiting[0]} (one of {len(waiting)}) is over: reset it with options={{'reset_mask': mask}}"
            )
        if waiting.size == self.num_envs:
            return self._begin_all(values)
        if waiting.size:
            self._rewind(waiting)
        observation, reward, terminated, some_ended = self._move(values, shares)
        if waiting.size:  # NEXT_STEP: lanes that ended a step ago begin anew, whatever their action was
            self._restart(waiting)
            here = self._places(waiting)
            reward[here] = 0.0
            terminated[here] = False
        ended = terminated.nonzero()[0] if some_ended else _NONE
        info = self._final(terminated, ended) if ended.size else {}
        begun = waiting
        if ended.size and self._same_step:
            info = self._last_seen(observation, terminated, ended, info)
            self._restart(ended)
            begun, ended = ended, _NONE
        if observation is None:
            observation = self._observe()
        elif begun.size:
            self._lanes.observe(begun, observation)  # type: ignore[union-attr]
        self._waiting, shown = ended, self._info()
        return observation, reward, terminated, np.zeros(self.num_envs, _BOOL), info | shown if shown else info

    def _rewind(self, lanes: NDArray[np.int64]) -> None:
        """Put lanes that wait at the first slice: they are stepped with the others, and nothing of that step is kept."""
        if self._lanes is not None:
            self._lanes.rewind(lanes)
            return
        self._k[lanes] = 0
        self._cell[lanes] = self.task.market.cell(0, self._seen[lanes])

    def _begin_all(
        self, values: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Begin the next episode of every lane, where all wait for it: none trades in this step, whatever it was given."""
        if np.isnan(values).any():
            raise _not_a_number(int(np.isnan(values).argmax()))
        self._restart(self._waiting)
        self._waiting = _NONE
        if self._lanes is None:
            observation, reward, terminated = self._observe(), np.zeros(self.num_envs), np.zeros(self.num_envs, _BOOL)
        else:
            observation, reward, terminated = self._lanes.stand()
        return observation, reward, terminated, np.zeros(self.num_envs, _BOOL), self._info()

    def _move(
        self, values: NDArray[Any], shares: bool
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float64], NDArray[np.bool_], Any]:
        """Trade one slice in every lane.

        Returns:
            Observations (None where they are made later), rewards, which lanes are over, and whether any is.
        """
        if self._lanes is None:
            return self._move_arrays(values, shares)
        observation, reward, terminated, ended = self._lanes.step(shares)
        if ended < 0:
            raise _not_a_number(-1 - ended)
        return observation, reward, terminated, ended

    def _move_arrays(
        self, values: NDArray[Any], shares: bool
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float64], NDArray[np.bool_], Any]:
        """Trade one slice in every lane, in numpy."""
        task, market, before = self.task, self.task.market, self._state
        asked = values if shares else task.mode.shares(values, before.remaining, task.mode.base.take(self._cell))
        cell = market.cell(self._k, self._world.regime) if task.observer.hidden else self._cell
        price = self._world.price
        slice, self._world = follow(market, self._k, cell, self._world, self._next_draws(), self._one_side())
        if self._hunt is None:
            after, cost = move(self._impact, before, slice, asked)
        else:
            (after, cost), self._hunt = ambush(self._impact, before, slice, asked, self._hunt, market.scenario.predator)
        self._state = state = State(*after)
        self._k = self._k + _ONE
        self._last_shares, self._last_volume, self._met = before.remaining - state.remaining, slice.volume, (price, cost)
        self._asked = asked, slice.least
        self._book(cost, slice)
        terminated = self._k == self._end
        terminated |= state.remaining <= _ZERO
        reward = task.paid(cost)
        if not self._complete:
            marked = close(market.impact, state, self._quantity)[0 if task.realised else 1]
            reward = reward + np.where(terminated, marked, 0.0)
        return None, reward * self._scale, terminated, True

    def _next_draws(self) -> Draws:
        """Return what nature draws for the slice of each lane; lanes that began together get several slices at a time."""
        if self._row == self._ahead:
            self._ahead = max(1, min(8, _LOOK_AHEAD // self.num_envs)) if self._together else 1
            k = self._k + np.arange(self._ahead)[:, None]
            self._row, self._draws = 0, draw(self.task.market, self._keys, k)
        row, (flow, news, crowd, chance) = self._row, self._draws
        self._row = row + 1
        return Draws(flow[row], news[row], crowd[row] if type(crowd) is np.ndarray else crowd, chance[row])

    def _book(self, cost: tuple[Any, ...], slice: Slice) -> None:
        """Add the cost of a slice to the account; the moves of the price matter where an order may stay unfilled."""
        moves = () if self._complete else (slice.drift, slice.innovation)
        for total, values in zip(self._totals, (*cost, *moves), strict=False):
            total += values

    def _values(self, given: Any) -> NDArray[Any]:
        """Return the actions as numbers within the bounds, shape (lanes,)."""
        actions: NDArray[Any] = np.asarray(given)
        if actions.shape != self._shape:
            raise ValueError(f"actions must be an array of shape {self._shape}, got shape {actions.shape}")
        if self._discrete:
            if actions.dtype.kind not in "iu" or actions.min() < 0 or actions.max() >= len(PACES):
                raise ValueError(f"actions must be whole numbers in [0, {len(PACES) - 1}], got {actions!r}")
            return actions if self._lanes is None else self._handed(actions)
        if actions.dtype.kind not in "fiub":
            raise ValueError(f"actions must be numbers in [-1, 1], got an array of {actions.dtype}")
        if self._lanes is not None:  # which looks at each of them anyway
            return self._handed(actions)
        values: NDArray[np.float64] = actions.ravel().astype(np.float64)
        low, high = values[values.argmin()], values[values.argmax()]  # several times faster than min() and max(); finds nan
        if low >= -1.0 and high <= 1.0:
            return values
        if np.isnan(low):
            raise _not_a_number(int(np.isnan(values).argmax()))
        return np.clip(values, -1.0, 1.0)

    def _handed(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        """Hand actions to the compiled lanes."""
        self._given[...] = actions
        return self._given

    @property
    def situation(self) -> Situation:
        """What a policy may know now, in natural units (arrays over lanes)."""
        if not self._begun:
            raise ResetNeeded("call reset() before asking for the situation")
        self._recall()
        market, *fields = self._situation(self._side)._replace(last_price=self._last_price())
        return Situation(market, *(values.copy() for values in fields))  # lanes are changed in place

    def _last_price(self) -> NDArray[np.float64]:
        """Return the average price of the shares of the slice before (the price now where none traded, or is not told)."""
        price, shares = self._world.price, self._last_shares
        traded = shares > 0.0
        if self.task.observer.hidden or not traded.any():
            return price
        if self._lanes is None:
            before, cost = self._met
            paid = paid_cost(cost)
        else:
            before, paid = self._paid
        paid = np.divide(paid, shares, out=np.zeros_like(price), where=traded)
        return np.where(traded, before + self._side * paid, price)

    def _situation(self, side: Any) -> Situation:
        observer, state = self.task.observer, self._state
        return Situation(
            market=self.task.market,
            k=self._k,
            seen=self._seen,
            side=side,
            quantity=self._quantity,
            remaining=state.remaining,
            permanent=state.permanent,
            transient=np.zeros_like(state.transient) if observer.hidden else state.transient,
            price=self._world.price,
            flow=self._world.flow,
            last_shares=self._last_shares,
            last_volume=self._last_volume,
            last_price=self._world.price,
        )

    def _observe(self) -> NDArray[np.float32]:
        """Return what the agents see now; the cell of each lane in the tables is kept for the next step."""
        task = self.task
        if self._lanes is not None:
            return self._lanes.observe_all()
        self._seen = task.observer.seen(self._world.regime)
        self._cell = task.market.cell(self._k, self._seen)
        return task.observer.observe(self._situation(self._one_side()), self._cell)

    def _one_side(self) -> Any:
        """Return the side of each lane: one number where it does not vary."""
        return self._side if self.task.draw.random_side else self._order.side

    def _last_seen(
        self,
        observation: NDArray[np.float32] | None,
        terminated: NDArray[np.bool_],
        ended: NDArray[np.int64],
        info: dict[str, Any],
    ) -> dict[str, Any]:
        """Return the `info` of SAME_STEP: the last observation and the last `info` of the lanes that ended."""
        if observation is None:
            self._seen = self.task.observer.seen(self._world.regime)
            market, *fields = self.situation
            last = self.task.observer.observe(Situation(market, *(values[ended] for values in fields)))
        else:
            last = observation[ended]
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
        if not self._begun:
            raise ResetNeeded("call reset() before asking for action masks")
        self._recall()
        market = self.task.market
        k = np.minimum(self._k, market.slices - 1)
        return self.task.mode.mask(self._state.remaining, self.task.mode.base[k, self._seen], market.least[k]).astype(bool)

    def _info(self) -> dict[str, Any]:
        if not self._discrete:
            return {}
        return {"action_mask": self.action_masks().astype(np.int8), "_action_mask": np.ones(self.num_envs, dtype=bool)}

    def _final(self, terminated: NDArray[np.bool_], ended: NDArray[np.int64]) -> dict[str, Any]:
        """Return the `info` of the lanes that ended, in gymnasium's form: arrays over lanes and a mask of each."""
        mask = terminated.copy()
        if self._lanes is not None:
            statement, forced, order = self._lanes.settle(ended)
            return _masked(final_info(statement, order, forced), mask)
        task, market = self.task, self.task.market
        varies = task.draw.varies
        here = self._places(ended)
        order = Order(self._side[here], self._quantity[here]) if varies else self._order
        bps = self._scale[here] if varies else self._scale[0]
        totals = self._account[:, here]
        account = Account(Cost(*(totals[:-2] * -bps)), totals[-2], totals[-1])
        state = State(0.0, 0.0, 0.0) if self._complete else State(*(values[here] for values in self._state))
        statement = settle_in_bps(account, market.impact, state, order.quantity, -bps)
        asked, least = (values[here] for values in self._asked)
        cap = task.scenario.max_participation
        forced = forced_shares(least, self._last_volume[here], cap, asked, self._last_shares[here])
        info = final_info(statement, order, forced / order.quantity)
        rows = np.zeros((len(info) - 1 + len(statement.components), self.num_envs))
        return _masked(self._spread(info, here, iter(rows)), mask)

    def _spread(self, values: dict[str, Any], lanes: Any, rows: Iterator[Any]) -> dict[str, Any]:
        """Lay the values of some lanes out over all lanes, each in a row of zeros."""
        info: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, dict):
                info[key] = self._spread(value, lanes, rows)
            else:
                info[key] = next(rows)
                info[key][lanes] = value
        return info


def _masked(info: dict[str, Any], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Put a mask, the same for all, beside each of the arrays over lanes."""
    masked: dict[str, Any] = {}
    for key, value in info.items():
        masked[key] = _masked(value, mask) if isinstance(value, dict) else value
        masked["_" + key] = mask
    return masked


def _not_a_number(lane: int) -> ValueError:
    """Return the error of a lane whose action is not a number."""
    return ValueError(f"actions must be numbers in [-1, 1], got nan in lane {lane}")


class _Starts:
    """The starts of the next episodes of every lane, drawn together because numpy is fast in bulk only."""

    def __init__(self, task: Task, seeds: NDArray[np.uint64], first: NDArray[np.int64], depth: int) -> None:
        """Draw the episodes `first`, ..., `first + depth - 1` of each lane."""
        self.first, self.depth, self.lanes = first, depth, len(first)
        self._next = np.arange(self.lanes)  # row of the tables below from which a lane starts next
        self._keys = episode_keys(seeds, first + np.arange(depth)[:, None]).ravel()
        self._regime, self._flow, _ = begin(task.market, self._keys)
        self._order = draw_orders(task.market, self._keys, task.draw)

    def episodes(self) -> NDArray[np.int64]:
        """Return the number of the next episode of each lane."""
        return self.first + self._next // self.lanes

    def take(self, lanes: NDArray[np.int64]) -> Any:
        """Return keys, regime, flow, side and quantity at the next starts of some lanes, and move on.

        None where one of them is not drawn yet.
        """
        row = self._next[lanes]
        if row[row.argmax()] >= len(self._keys):
            return None
        self._next[lanes] = row + self.lanes
        side, quantity = (values[row] if isinstance(values, np.ndarray) else values for values in self._order)
        return self._keys[row], self._regime[row], self._flow[row], side, quantity
