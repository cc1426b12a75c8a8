"""An episode of the single environment, in Python floats, on a path drawn ahead.

Building records of floats would take four times as long as the step itself, so an episode calls the equations (`move`,
`own_features`, `settle_in_bps`, the action mode's `shares`) on plain tuples. Its results equal those of the stages to the last
bit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.unroll import NUMBER, symbolic, unrolled
from hyperexec_env.envs.action import none_allowed
from hyperexec_env.envs.feature import PASSIVE_BELIEFS
from hyperexec_env.envs.features import OWN, Feature, assemble, drawn_features, last_ratio, own_features, reach
from hyperexec_env.envs.own import extension
from hyperexec_env.envs.reward import Outcome, outcome_of
from hyperexec_env.envs.situation import REGIME_LAW, Situation, beliefs_of, is_blind, price_of_last, situation_of, with_law
from hyperexec_env.envs.task import Task, final_info, unseen
from hyperexec_env.market.account import Account, Statement, forced_shares, open_account, settle_in_bps
from hyperexec_env.market.hidden import laws_along
from hyperexec_env.market.kernel import Cost, Slice, State, close, move, paid_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, LastSlice, Settled, settle_so_far
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, World, cost_scale, draw_number, draw_orders, draw_path
from hyperexec_env.market.predator import PredatorMemory, step_with_predator
from hyperexec_env.market.tables import Market, Numbers, must_finish
from hyperexec_env.market.unknown import learn_slope, slope_moments
from hyperexec_env.orders import Order
from hyperexec_env.records import adder, map_leaves, on_numbers

__all__ = ["ROW", "Block", "Episode", "draw_block", "requested_shares"]

ROW: Final = (*Slice._fields, "base", "drifted", "plan", "rest_volume")
"""Names of the numbers of a slice in :attr:`Block.rows`."""
_write_own = struct.Struct(f"{OWN}f").pack_into  # writes all features in the time that numpy needs for one
_EMPTY_MEMORY = PredatorMemory(0.0, 0.0, 0.0, 0.0)
_NO_ACCOUNT = open_account()
_NO_SITUATION = Situation(**dict.fromkeys(Situation._fields))
_NO_WORLD = World(0, 0.0, 0.0, 1.0, 1.0)
"""Placeholder for :func:`situation_of`, which does not read the account."""
_COST = itemgetter(1)
_move = on_numbers(move)
_sum_of_costs, _sum_of_slices = adder(Cost), adder(Slice)


def _learn_fill(
    numbers: Numbers, shown: Callable[..., Any], odds: Any, factor: Any, fill: tuple[Any, Any, Any], traded: Any, volume: Any
) -> tuple[Any, Any]:
    """Return the log-odds of the higher temporary impact after the fills of a slice, and the features that show them.

    Args:
        numbers: The numbers of the market.
        shown: Function from the situation to the features.
        odds: The log-odds before.
        factor: Temporary impact of the episode over its mean.
        fill: What the fills of the slice tell (:attr:`Block.fills`).
        traded: Shares that traded.
        volume: Market volume of the slice, shares.
    """
    base, slipped, variance = fill
    odds = learn_slope(numbers, odds, base, traded / volume, factor, slipped, variance)
    slope = slope_moments(numbers, odds)
    return odds, shown(_NO_SITUATION._replace(slope_mean=slope.mean, slope_variance=slope.variance), None)


@lru_cache(maxsize=32)
def _learner(market: Market, moved: tuple[Feature, ...]) -> Callable[..., tuple[float, tuple[float, ...]]]:
    """Return :func:`_learn_fill` of a market and of some features for floats."""
    return unrolled(_learn_fill, market.numbers, symbolic(extension(moved)), NUMBER, NUMBER, (NUMBER,) * 3, NUMBER, NUMBER)


@lru_cache(maxsize=32)
def _writer(columns: tuple[int, ...]) -> Callable[[Any, tuple[float, ...]], None]:
    """Return a function that writes values into some columns of an observation, in a quarter of the time of a loop."""
    space: dict[str, Any] = {}
    text = "".join(f"observation[{column}], " for column in columns)
    exec(f"def write(observation, values):\n    {text}= values", space)  # noqa: S102 - the text holds column numbers only
    written: Callable[[Any, tuple[float, ...]], None] = space["write"]
    return written


class Block:
    """The paths of consecutive episodes of one seed, drawn together because numpy is fast only in bulk.

    Arrays have shape (episodes, time, ...). `observations` lack the features that depend on trades, which :class:`Episode`
    writes; beliefs are those without a fill of ours.
    """

    def __init__(self, task: Task, first: int, path: Path, order: Order | None = None) -> None:
        """Lay out the episodes `first`, `first + 1`, ... on their paths; the orders are drawn by `path.keys` unless given."""
        market, observer, keys = task.market, task.observer, path.keys
        order, count = order or draw_orders(market, keys, task.draw), len(keys)
        self.markets = [market] * count
        """The market that each episode meets."""
        if task.draws is not None:
            self.markets = [task.draws.markets[number] for number in draw_number(len(task.draws.markets), keys)]
        self.first, self.count, self.path = first, count, path
        self.side: list[float] = np.broadcast_to(order.side, keys.shape).tolist()
        self.quantity: list[float] = np.broadcast_to(order.quantity, keys.shape).tolist()
        # from here arrays have shape (episodes, time, ...)
        world: World = map_leaves(np.transpose, path.world)
        earlier = market.numbers.slice_volume * world.volume_ratio[:, :1]
        before = np.concatenate([earlier, path.slices.volume.T], axis=1)
        cell = market.cell(np.arange(market.slices + 1), np.ascontiguousarray(observer.seen(path.world.regime).T))
        view, side = observer.view(cell), np.reshape(order.side, (-1, 1))
        self.base = task.mode.base.take(cell)
        drifted = side * (world.price - market.scenario.arrival_price)
        known = drifted, view.plan, view.rest_volume
        self.known = _stacked(*known)
        of_next = (values[:, 1:] for values in known)
        self.rows = _stacked(*(values.T for values in path.slices), self.base[:, :-1], *of_next)
        """Numbers of each slice: its fields, the base of an action, and what is known of the next slice (:data:`ROW`)."""
        self.slices = self.rows[..., : len(Slice._fields)]
        ratio = last_ratio(market.numbers, observer.hidden, before, view.last_expected, world.volume_ratio)
        drawn = drawn_features(ratio, side, world.flow)
        self.observations = assemble(drawn, observer.rows.take(cell, axis=0), OWN)
        self.task, own = task, observer.own
        self.law: Any = map_leaves(np.transpose, laws_along(market, path)) if observer.follows else None
        """Probabilities of the regimes, for an observation that shows them."""
        self.moved = {index - len(own): feature for index, feature in enumerate(own) if feature not in PASSIVE_BELIEFS}
        """Features that show what our fills tell, by column; none if an episode writes no belief slice by slice."""
        self.writes = False
        """Whether an episode writes the values of `moved` after each slice: of beliefs that its fills move."""
        if observer.calls or not own:
            return
        told = beliefs_of(market.numbers, observer.hidden, world, 0.0)._asdict() | {"side": side}
        told |= zip(REGIME_LAW, self.law or (), strict=False)
        for column, values in enumerate(extension(own)(_NO_SITUATION._replace(**told), None), start=-len(own)):
            self.observations[..., column] = values
        self.writes = bool(self.moved) and market.numbers.spec.unknown_slope and not is_blind(market.numbers, observer.hidden)

    @cached_property
    def fills(self) -> NDArray[np.float64]:
        """What the fills of each slice tell, shape (episodes, N, 3), currency per share: temporary impact of a participation of
        one at its mean; error of the slippage, and its variance.
        """
        slices, world = self.path.slices, self.path.world
        fields = slices.temporary_scale / world.slope[1:], world.slipped[1:], world.slip_variance[1:]
        return _stacked(*(values.T for values in fields))

    @cached_property
    def learn(self) -> Callable[..., tuple[float, tuple[float, ...]]]:
        """Function from log-odds, `World.slope`, a row of `fills`, shares and volume to log-odds and values of `moved`."""
        return _learner(self.task.market, tuple(self.moved.values()))

    @cached_property
    def write(self) -> Callable[[Any, tuple[float, ...]], None]:
        """Function that writes the values of `moved` into an observation."""
        return _writer(tuple(self.moved))

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without functions made from text, which no pickle can hold."""
        return {name: value for name, value in vars(self).items() if name not in ("learn", "write")}


def draw_block(task: Task, seed: int, first: int, count: int, board: bool = False) -> Block:
    """Return the episodes `first`, ..., `first + count - 1` of a seed, or of the board of that seed."""
    keys = episode_keys(seed, np.uint64(first) + np.arange(count, dtype=np.uint64), board)
    side = draw_orders(task.market, keys, task.draw).side
    return Block(task, first, draw_path(task.market, keys, side) if task.draws is None else task.draws.path(keys, side))


def _stacked(*fields: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stack fields of shape (episodes, time) along a new last axis, shape (episodes, time, fields)."""
    table = np.empty((*fields[0].shape, len(fields)))
    for column, values in enumerate(fields):
        table[..., column] = values
    return table


def requested_shares(shares: float, remaining: float, base: float) -> float:
    """Return the shares of an action that is a number of shares."""
    return shares


class Episode:
    """A running episode: its path as plain lists, the state of the order, and the cost of each slice."""

    __slots__ = (
        *("_base", "_block", "_fills", "_history", "_impact", "_index", "_known", "_memory", "_odds"),
        *("_observations", "_reach", "_rows", "_scales", "_slice_cost", "_slices", "_slope", "_state", "asked", "k", "market"),
        *("over", "quantity", "scale", "side", "task"),
    )

    def __init__(self, task: Task, block: Block, number: int) -> None:
        """Begin episode `number`, which must be one of the block."""
        index, market = number - block.first, task.market
        self.task, self._block, self._index = task, block, index
        self.market = block.markets[index]
        self._impact: Any = tuple(self.market.impact)  # unpacking a record takes longer
        self._scales: Any = tuple(task.observer.sight.scales)
        self._slice_cost, self._slices = task.slice_cost, market.slices
        self._rows: list[Any] = block.slices[index].tolist()
        self._base: list[float] = block.base[index].tolist()
        self._known: list[Any] = block.known[index].tolist()
        self._observations = block.observations[index].copy()
        self.side, self.quantity = block.side[index], block.quantity[index]
        self._reach = reach(self.quantity, market.impact.transient_exponent)
        self.scale = cost_scale(self.quantity, market.numbers.arrival_price)
        self._state: tuple[float, float, float] = (self.quantity, 0.0, 0.0)
        self._history: list[tuple[Any, Any]] = []
        self._memory = _EMPTY_MEMORY if market.numbers.spec.hunted else None
        self.k, self.over, self.asked = 0, False, 0.0
        self._odds, self._slope = [0.0], block.path.world.slope.item(0, index)
        self._fills: list[Any] | None = block.fills[index].tolist() if block.writes else None
        own = own_features(
            self._scales, self.quantity, self._reach, self._state, 0.0, market.numbers.slice_volume, self._known[0]
        )
        _write_own(self._observations[0], 0, *own)

    @property
    def first(self) -> NDArray[np.float32]:
        """The observation before the first slice."""
        observation: NDArray[np.float32] = self._observations[0]
        return observation

    def trade(self, request: Callable[[Any, Any, Any], Any], action: Any) -> tuple[NDArray[np.float32], float]:
        """Trade the shares that an action requests; return the next observation and the reward, bps of the arrival notional.

        Args:
            request: Function (action, remaining shares, base) -> shares, see :attr:`ActionMode.shares`.
            action: A valid action.
        """
        k, before, slice_cost = self.k, self._state, self._slice_cost
        row, shares = self._rows[k], request(action, before[0], self._base[k])
        if self._memory is None:
            result = _move(self._impact, before, row, shares)
        else:
            result, self._memory = step_with_predator(
                self._impact, before, row, shares, self._memory, self.task.scenario.predator
            )
        after, cost = result
        self._history.append(result)
        self._state, self.asked = after, shares
        self.k = k = k + 1
        paid, left = slice_cost(cost), after[0]
        if left <= 0.0 or k == self._slices:
            self.over = True
            if left > 0.0:
                paid += close(self.market.impact, self.state, self.quantity)[0 if self.task.realised else 1]
        observation, traded = self._observations[k], before[0] - left  # every slice has an array of its own, written once
        own = own_features(self._scales, self.quantity, self._reach, after, traded, row[0], self._known[k])
        _write_own(observation, 0, *own)
        if self._fills is not None:
            block = self._block
            odds, shown = block.learn(self._odds[-1], self._slope, self._fills[k - 1], traded, row[0])
            self._odds.append(odds)
            block.write(observation, shown)
        return observation, paid * self.scale

    def outcome(self) -> Outcome:
        """Return the outcome of the previous slice, for a user's reward."""
        k, index, world = self.k, self._index, self._block.path.world
        after = _NO_WORLD._replace(price=world.price.item(k, index))
        lane = self._lane(after, world.price.item(k - 1, index), _NO_ACCOUNT)
        lane = lane._replace(state=State(*self._state))
        return outcome_of(self.market.numbers, self.order, lane, Cost(*self._history[-1][1]))

    def noticed(self) -> tuple[Situation, Any]:
        """Return the arguments of a user's function of what the agent may see: the situation, and what is known."""
        situation = self.situation()._replace(market=None)
        return situation, self.task.observer.facts_of(situation.k, situation.seen)

    def observation(self) -> NDArray[np.float32]:
        """Return the present observation with the user's features, and its columns in the user's order."""
        observer, written = self.task.observer, self._observations[self.k]
        if observer.calls:
            written[-len(observer.own) :] = extension(observer.own)(*self.noticed())
        return observer.select(written)

    def mask(self) -> NDArray[np.int8]:
        """Return the mask of the discrete levels, shape (levels,), 1 is allowed.

        Raises:
            ValueError: The mask of the user's action mode allows no level of a slice.
        """
        own = self.task.mode.own
        if own is not None:
            given = () if own.mask is None else self.noticed()
            allowed = [own.mask is None or bool(own.mask(level, *given)) for level in range(own.levels)]
            if not (self.over or any(allowed)):
                raise ValueError(none_allowed(own, f"slice {self.k}"))
            return np.array(allowed, dtype=np.int8)
        k = min(self.k, self._slices - 1)
        return self.task.mode.mask(self._state[0], self._base[k], must_finish(self.task.market.numbers, k)).copy()

    @property
    def order(self) -> EpisodeOrder:
        """The order of the episode."""
        return EpisodeOrder(self._block.path.keys[self._index], self.side, self.quantity, self.scale)

    def _lane(self, world: World, price_before: float, account: Account) -> Lane:
        """Return the episode as a record of floats, at the start of the present slice.

        Args:
            world: The market now.
            price_before: Unaffected price at the start of the previous slice, currency per share.
            account: The account of the slices so far.
        """
        if self.k:
            paid = paid_cost(self._history[-1][1])
            if self.market.numbers.spec.unknown_slope:
                paid += self.last_shares * self._block.path.world.slipped.item(self.k, self._index)
            last = LastSlice(self.last_shares, self._rows[self.k - 1][0], price_before, paid, self.asked)
        else:
            last = LastSlice(0.0, self.task.market.numbers.slice_volume * world.volume_ratio, price_before, 0.0, 0.0)
        odds = self._slope_odds()
        return Lane(self.k, int(self.over), world, self.state, self._memory or _EMPTY_MEMORY, account, last, odds)

    def _slope_odds(self) -> float:
        """Return the log-odds of the higher temporary impact given the fills so far."""
        numbers = self.market.numbers
        if not numbers.spec.unknown_slope:
            return 0.0
        for k in range(len(self._odds) - 1, len(self._history)):  # the fills since the last call
            left = self._history[k - 1][0][0] if k else self.quantity
            base, slipped, variance = self._block.fills[self._index, k].tolist()
            part = (left - self._history[k][0][0]) / self._rows[k][0]
            self._odds.append(learn_slope(numbers, self._odds[-1], base, part, self._slope, slipped, variance))
        return self._odds[-1]

    def _account(self) -> Account:
        """Return the account of the slices so far."""
        moves = (0.0, 0.0)
        if self._state[0] > 0.0:
            booked = _sum_of_slices(self._rows[: self.k])
            moves = booked.drift, booked.innovation
        return Account(_sum_of_costs(map(_COST, self._history)), *moves)

    def situation(self) -> Situation:
        """Return the information of a policy now, in natural units."""
        market, hidden, order = self.task.market, self.task.observer.hidden, self.order
        k, index, path = self.k, self._index, self._block.path.world
        world: World = map_leaves(lambda values: values.item(k, index), path)
        lane = self.seen(self._lane(world, path.price.item(max(k - 1, 0), index), _NO_ACCOUNT))
        situation = situation_of(market, market.numbers, hidden, order, lane, float(price_of_last(hidden, order, lane)))
        law = self._block.law
        return situation if law is None else with_law(situation, map_leaves(lambda values: values.item(index, k), law))

    def seen(self, lane: Lane) -> Lane:
        """Return the episode as the agent sees it."""
        return lane

    @property
    def state(self) -> State:
        """The state of the order now."""
        return State(*self._state)

    @property
    def last_shares(self) -> float:
        """Shares that traded in the previous slice."""
        before = self._history[-2][0][0] if self.k > 1 else self.quantity
        return before - self._state[0]

    @property
    def slices(self) -> list[Slice]:
        """All slices of the path, future slices included: for reports, not for policies."""
        return [Slice(*row) for row in self._rows]

    @property
    def costs(self) -> list[Cost]:
        """The cost of each slice so far, currency."""
        return [Cost(*cost) for _, cost in self._history]

    @property
    def states(self) -> list[State]:
        """The state at the start of each slice up to now; one element more than `costs`."""
        return [State(self.quantity, 0.0, 0.0), *(State(*state) for state, _ in self._history)]

    @property
    def path(self) -> Path:
        """The path of the episode, fields of shape (time, 1), future included: for reports and audits, not for policies."""
        path, here = self._block.path, slice(self._index, self._index + 1)
        slices, world = (map_leaves(lambda values: values[:, here], part) for part in (path.slices, path.world))
        return Path(slices, world, path.keys[here])

    @property
    def world(self) -> World:
        """The market at the start of each slice and at the end, each field of shape (N + 1,), future included: for reports."""
        world: World = map_leaves(lambda values: values[:, self._index], self._block.path.world)
        return world

    def statement(self) -> Statement:
        """Return the statement of the slices up to now, with the remaining shares marked at the mid."""
        return settle_in_bps(self._account(), self.market.impact, self.state, self.quantity, -self.scale)

    def settled(self) -> Settled:
        """Return the result of the episode up to now."""
        if not self.over:
            lane = self._lane(_NO_WORLD, 0.0, self._account())
            return settle_so_far(self.market.numbers, self.order, lane, over=False)
        last = Slice(*self._rows[self.k - 1])
        cap = self.task.market.numbers.cap
        forced = forced_shares(last.least, last.volume, cap, self.asked, self.last_shares) / self.quantity
        return Settled(self.statement(), forced, self.side, self.quantity)

    def info(self) -> dict[str, Any]:
        """Return the `info` of the result up to now."""
        settled = self.settled()
        return final_info(unseen(settled, self.over) if self.task.secret and not self.over else settled)
