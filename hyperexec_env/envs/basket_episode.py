"""An episode of a basket in the single environment, in Python floats, on paths drawn ahead.

It differs from :mod:`~hyperexec_env.envs.episode` in one place: the assets trade a slice together
(:func:`~hyperexec_env.market.basket.basket_move`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from operator import add, and_
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.unroll import NUMBER, opaque, unrolled
from hyperexec_env.envs.basket_features import (
    ASSET,
    BASKET,
    PULLED,
    BasketSight,
    Whole,
    basket_features,
    side_by_side,
    whole_of,
)
from hyperexec_env.envs.basket_task import BasketTask, basket_info, notional_of, stacked_situation, total_settled
from hyperexec_env.envs.episode import ROW, Block, requested_shares
from hyperexec_env.envs.features import own_features
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.envs.task import unseen
from hyperexec_env.market.account import Account, Components, Statement, forced_shares, open_account, settle_in_bps
from hyperexec_env.market.basket import Coupling, Products, basket_move, products, without_own
from hyperexec_env.market.basket_path import draw_basket_path
from hyperexec_env.market.kernel import Cost, Slice, State, paid_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, LastSlice, Settled
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World
from hyperexec_env.market.predator import PredatorMemory
from hyperexec_env.market.several import each, fold, joined
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import map_leaves

__all__ = ["BasketBlock", "BasketEpisode", "draw_basket_block"]

_write_basket = struct.Struct("2f").pack_into
_FIELDS, _COSTS = len(ROW), len(Cost._fields)
_BASE = ROW.index("base")
_SLICE, _KNOWN = slice(0, _BASE), slice(_BASE + 1, _FIELDS)
_INLINE: Final = 6
"""Largest number of assets whose sums over the others are written out; numpy computes those of more assets in less time."""


def _prepared(matrix: Any, values: Sequence[Any]) -> list[Any]:
    """Return the products of a matrix: written out, or computed by the function that is prepared for floats."""
    made: list[Any] = matrix(values) if callable(matrix) else products(matrix, values)
    return made


def _matrices_of(*matrices: Any) -> Any:
    """Return matrices as :func:`_prepared` takes them."""
    count = len(matrices[0])
    return matrices if count <= _INLINE else [opaque(Products(rows), count, Products.joined) for rows in matrices]


_PREPARED: Final = {"of_others": _prepared, "products": _prepared}


class _Traded(NamedTuple):
    """What a slice changes."""

    states: Any
    """(remaining, permanent, transient) of each asset after the slice."""
    costs: Any
    """Cost of one asset after another, currency, in the field order of `Cost`."""
    paid: Any
    """Cost that the reward charges, currency."""
    seen: Any
    """Features of the next observation that depend on trades: of the basket, and of one asset after another."""
    asked: Any
    """Shares that each asset requested."""
    done: Any
    """Whether no asset has shares left."""


def _trade(
    task: BasketTask, sight: BasketSight, coupling: Any, requests: Any, whole: Any, states: Any, row: Any, actions: Any
) -> _Traded:
    """Trade one slice, and look at the next.

    Args:
        task: The task.
        sight: Its sight, with the correlation as :func:`_prepared` takes it.
        coupling: Its coupling, likewise.
        requests: Function (action, remaining shares, base) -> shares of each asset.
        whole: Shares of each order, and the orders as a whole.
        states: (remaining, permanent, transient) of each asset before the slice.
        row: The numbers of the slice (:data:`ROW`), one asset after another.
        actions: Action of each asset.
    """
    parts = [row[start : start + _FIELDS] for start in range(0, len(row), _FIELDS)]
    rows, known = [part[_SLICE] for part in parts], [part[_KNOWN] for part in parts]
    left, bases = [state[0] for state in states], [part[_BASE] for part in parts]
    asked = [ask(*given) for ask, *given in zip(requests, actions, left, bases, strict=True)]
    after, costs = basket_move(task.market.impacts, coupling, states, rows, asked)
    traded = [old - new[0] for old, new in zip(left, after, strict=True)]
    seen = _look(task, sight, whole, after, traded, [slice[0] for slice in rows], known)
    done = fold(and_, [state[0] <= 0.0 for state in after])
    return _Traded(after, joined(*costs), fold(add, each(task.assets[0].slice_cost, costs)), seen, asked, done)


def _look(
    task: BasketTask, sight: BasketSight, whole: Any, states: Any, traded: Any, volumes: Any, known: Any
) -> tuple[Any, tuple[Any, ...]]:
    """Return the features that depend on trades, of the basket and of one asset after another."""
    orders, basket = whole
    computed, pulls = basket_features(sight, basket, [state[0] for state in states])
    scales = [tuple(asset.observer.sight.scales) for asset in task.assets]
    own = map(own_features, scales, orders, basket.reach, states, traded, volumes, known)
    return computed, joined(*((*features, pull) for features, pull in zip(own, pulls, strict=True)))


def _start(task: BasketTask, sight: BasketSight, orders: Any, known: Any) -> tuple[Whole, Any]:
    """Return the orders as a whole, and the features at the start that depend on trades."""
    basket, none = whole_of(sight, orders), [0.0] * len(orders)
    volumes = [asset.market.numbers.slice_volume for asset in task.assets]
    states = [(order, 0.0, 0.0) for order in orders]
    return basket, _look(task, sight, (orders, basket), states, none, volumes, known)


def _settle(task: BasketTask, costs: Any, lasts: Any, whole: Any, asked: Any, traded: Any, notional: Any, bps: Any) -> Any:
    """Return the result of each completed order, and of all together.

    Args:
        task: The task.
        costs: Cost of each asset over the episode, currency, in the field order of `Cost`.
        lasts: Last slice of each asset.
        whole: Shares of each order.
        asked: Shares that each asset requested in the last slice.
        traded: Shares of each asset that traded in the last slice.
        notional: Arrival notional, currency.
        bps: One unit of currency in bps of the notional.
    """
    made = []
    for asset, cost, last, order, *shares in zip(task.assets, costs, lasts, whole, asked, traded, strict=True):
        statement = settle_in_bps(Account(Cost(*cost), 0.0, 0.0), asset.market.impact, State(0.0, 0.0, 0.0), 0.0, bps)
        forced = forced_shares(last.least, last.volume, asset.market.numbers.cap, *shares)
        made.append(Settled(statement, forced / order, 0.0, order))
    return made, total_settled(task.market, made, notional)


def _settled_of(made: Any, side: float) -> Settled:
    """Return the result of an order of a side from its numbers."""
    statement, forced, _, quantity = made
    return Settled(Statement._make((*statement[:-1], Components(*statement[-1]))), forced, side, quantity)


class _Functions:
    """The functions of a task for floats."""

    def __init__(self, task: BasketTask) -> None:
        """Store the task; its functions are written when they are called first."""
        self.task, self.count = task, len(task.assets)
        self.numbers = [NUMBER] * self.count
        self.row, self.costs = (struct.Struct(f"{self.count * numbers}d") for numbers in (_FIELDS, _COSTS))
        self.write_seen = struct.Struct(f"{self.count * PULLED}f").pack_into

    def _sight(self, *matrices: Any) -> tuple[BasketSight, list[Any]]:
        """Return the sight and matrices as :func:`_prepared` takes them."""
        sight = self.task.sight
        correlation, reach, *prepared = _matrices_of(sight.correlation, sight.reach, *matrices)
        return sight._replace(correlation=correlation, reach=reach), prepared

    def _trades(self, requests: Any) -> Callable[..., Any]:
        """Return :func:`_trade` with some requests."""
        sight, coupling = self._sight(*map(without_own, self.task.market.coupling))
        whole, states = (self.numbers, Whole(NUMBER, NUMBER, self.numbers)), [(NUMBER,) * 3] * self.count
        row = [NUMBER] * (_FIELDS * self.count)
        return unrolled(_trade, self.task, sight, Coupling(*coupling), requests, whole, states, row, self.numbers, **_PREPARED)

    @cached_property
    def trade(self) -> Callable[..., Any]:
        """Return :func:`_trade` for actions that are shares."""
        return self._trades([requested_shares] * self.count)

    @cached_property
    def step(self) -> Callable[..., Any]:
        """Return :func:`_trade` for actions."""
        requests = [asset.mode.shares for asset in self.task.assets]
        if not self.task.discrete:
            return self._trades(requests)

        def by_level(whole: Any, states: Any, row: Any, levels: Any) -> Any:
            given = zip(requests, levels, states, row[_BASE::_FIELDS], strict=True)
            return self.trade(whole, states, row, [ask(level, state[0], base) for ask, level, state, base in given])

        return by_level

    @cached_property
    def start(self) -> Callable[..., Any]:
        """Return :func:`_start`."""
        return unrolled(_start, self.task, self._sight()[0], self.numbers, [[NUMBER] * 3] * self.count, **_PREPARED)

    @cached_property
    def settle(self) -> Callable[..., Any]:
        """Return :func:`_settle`."""
        costs, lasts = [(NUMBER,) * len(Cost._fields)] * self.count, [Slice(*[NUMBER] * _BASE)] * self.count
        return unrolled(_settle, self.task, costs, lasts, *[self.numbers] * 3, NUMBER, NUMBER)


_functions_of = lru_cache(maxsize=16)(_Functions)
_NO_MEMORY = PredatorMemory(0.0, 0.0, 0.0, 0.0)


class BasketBlock:
    """The paths of consecutive episodes of one seed: a :class:`Block` for each asset, drawn together."""

    def __init__(self, task: BasketTask, first: int, keys: NDArray[np.uint64]) -> None:
        """Draw the episodes `first`, `first + 1`, ... with the keys."""
        orders, flip = task.orders(keys)
        self.first, self.count, self.keys = first, len(keys), keys
        paths = draw_basket_path(task.market, keys, flip)
        self.assets = [Block(own, first, path, order) for own, path, order in zip(task.assets, paths, orders, strict=True)]


def draw_basket_block(task: BasketTask, seed: int, first: int, count: int, board: bool = False) -> BasketBlock:
    """Return the episodes `first`, ..., `first + count - 1` of a seed, or of the board of that seed."""
    return BasketBlock(task, first, episode_keys(seed, np.uint64(first) + np.arange(count, dtype=np.uint64), board))


class BasketEpisode:
    """A running episode: the paths as plain lists, the state of each order, and the cost of each slice."""

    def __init__(self, task: BasketTask, block: BasketBlock, number: int) -> None:
        """Begin episode `number`, which must be one of the block."""
        index = number - block.first
        self.task, self._block, self._index = task, block, index
        market, blocks = task.market, block.assets
        self._functions, self._slices = _functions_of(task), market.slices
        self._rows: Any = np.concatenate([own.rows[index] for own in blocks], axis=1)
        self._costs: Any = np.empty((market.slices, len(blocks) * _COSTS))
        self._observations = side_by_side([own.observations[index] for own in blocks])
        shape = market.slices + 1, len(blocks), len(ASSET)
        self._own = self._observations[:, len(BASKET) :].reshape(shape)[..., :PULLED]
        self._seen: Any = np.empty((len(blocks), PULLED), np.float32)
        self.sides = [each.side[index] for each in blocks]
        self.quantities = [each.quantity[index] for each in blocks]
        self.notional = notional_of(market, self.quantities)
        self.scale = -1e4 / self.notional
        self._states: Sequence[tuple[float, float, float]] = [(quantity, 0.0, 0.0) for quantity in self.quantities]
        self._history: list[Any] = []
        self.k, self.over = 0, False
        self.asked: Sequence[float] = [0.0] * len(blocks)
        whole, seen = self._functions.start(self.quantities, [own.known[index, 0].tolist() for own in blocks])
        self._whole = self.quantities, Whole(*whole)
        self._observe(0, seen)

    @property
    def _numbers(self) -> list[Any]:
        """The numbers of the market of each asset."""
        return [market.numbers for market in self.task.market.markets]

    @property
    def first(self) -> NDArray[np.float32]:
        """The observation before the first slice."""
        observation: NDArray[np.float32] = self._observations[0]
        return observation

    def step(self, actions: Sequence[Any]) -> tuple[NDArray[np.float32], float]:
        """Trade one slice by a valid action for each asset: :meth:`trade` of the shares that they request."""
        return self._turn(self._functions.step, actions)

    def trade(self, shares: Sequence[float]) -> tuple[NDArray[np.float32], float]:
        """Trade one slice; return the next observation and the reward, bps of the basket's arrival notional.

        Args:
            shares: Shares that each asset requests.
        """
        return self._turn(self._functions.trade, shares)

    def _turn(self, trade: Callable[..., Any], actions: Sequence[Any]) -> tuple[NDArray[np.float32], float]:
        """Trade one slice by a function of actions."""
        k, layout, into = self.k, self._functions.row, self._functions.costs
        row = layout.unpack_from(self._rows, k * layout.size)
        after, costs, paid, seen, self.asked, done = trade(self._whole, self._states, row, actions)
        into.pack_into(self._costs, k * into.size, *costs)
        self._history.append(after)
        self._states = after
        self.k = k = k + 1
        self.over = done or k == self._slices
        return self._observe(k, seen), paid * self.scale

    def _observe(self, k: int, seen: tuple[Any, Any]) -> NDArray[np.float32]:
        """Write the features that depend on trades in the observation of slice `k`, and return it."""
        observation: Any = self._observations[k]
        _write_basket(observation, 0, *seen[0])
        self._functions.write_seen(self._seen, 0, *seen[1])
        self._own[k] = self._seen
        made: NDArray[np.float32] = observation
        return made

    def mask(self) -> NDArray[np.int8]:
        """Return the masks of the discrete levels, shape (assets, levels), 1 is allowed."""
        k = min(self.k, self._slices - 1)
        parts = zip(self.task.assets, self._states, self._rows[k, _BASE::_FIELDS].tolist(), strict=True)
        return np.stack([asset.mode.mask(state[0], base, must_finish(asset.market.numbers, k)) for asset, state, base in parts])

    def _slice_of(self, k: int) -> list[list[float]]:
        """Return slice `k` of each asset, in the field order of `Slice`."""
        slices: list[list[float]] = self._rows[k].reshape(len(self.sides), _FIELDS)[:, _SLICE].tolist()
        return slices

    def _settled(self) -> tuple[list[Settled], Settled]:
        """Return the result of each asset up to now, and of all together, in bps of the basket's notional."""
        costs = np.add.reduce(self._costs[: self.k], axis=0) + 0.0  # a sum that starts at 0.0 is never -0.0
        traded = [self.last_shares(i) for i in range(len(self.sides))]
        last = self._slice_of(max(self.k - 1, 0))
        given = costs.reshape(-1, _COSTS).tolist(), last, self.quantities, self.asked, traded, self.notional, -self.scale
        assets, total = self._functions.settle(*given)
        made = list(map(_settled_of, (*assets, total), (*self.sides, self.sides[0])))
        if self.task.secret:
            made = [unseen(one, self.over) for one in made]
        return made[:-1], made[-1]

    def settled(self) -> list[Settled]:
        """Return the result of each asset up to now, in bps of the basket's notional."""
        return self._settled()[0]

    def last_shares(self, asset: int) -> float:
        """Return the shares of an asset that traded in the previous slice."""
        if not self._history:
            return 0.0
        before = self._history[-2][asset][0] if self.k > 1 else self.quantities[asset]
        left: float = before - self._states[asset][0]
        return left

    def info(self) -> dict[str, Any]:
        """Return the result up to now; see :func:`~hyperexec_env.envs.basket_task.basket_info`."""
        return basket_info(self.task, *self._settled())

    @property
    def remaining(self) -> list[list[float]]:
        """The remaining shares of each asset at the start of each slice so far, one list for each slice."""
        return [list(self.quantities), *([state[0] for state in after] for after in self._history)]

    @property
    def regime(self) -> int:
        """The regime of the current slice, or of the last one."""
        regime: int = self._block.assets[0].path.world.regime.item(min(self.k, self._slices - 1), self._index)
        return regime

    def seen(self, remaining: Sequence[float]) -> tuple[tuple[float, float], list[float]]:
        """Return (value left, variance left) and the pull of each asset, as observed, for some remaining shares."""
        found: tuple[tuple[float, float], list[float]] = basket_features(self.task.sight, self._whole[1], list(remaining))
        return found

    def text(self) -> str:
        """Return the episode so far as text: one line for the basket, one for each asset with a bar of its remaining shares."""
        task, k = self.task, self.k
        (value, variance), pulls = basket_features(task.sight, self._whole[1], [state[0] for state in self._states])
        ratio = variance / (1.0 - variance)
        shown = self.settled()
        cost = sum(one.statement.objective for one in shown)
        lines = [
            f"{task.market.scenario.name}  slice {k}/{self._slices}  value left {value:.1%}  variance left {ratio:.1%}  "
            f"objective so far {cost:.2f} bps"
        ]
        for i, (one, pull) in enumerate(zip(shown, pulls, strict=True)):
            left = self._states[i][0] / self.quantities[i]
            bar = "#" * round(20 * left)
            name, side = task.market.scenario.assets[i].name, "buy " if self.sides[i] > 0 else "sell"
            lines.append(f"{name:>8} {side} {left:6.1%} [{bar:<20}] pull {pull:+.2f}  {one.statement.objective:8.3f} bps")
        return "\n".join(lines)

    def situation(self) -> Situation:
        """Return the information of a policy now, in natural units, arrays of shape (assets,)."""
        return stacked_situation(self.task.market, [self._situation(i) for i in range(len(self.sides))])

    def _situation(self, asset: int) -> Situation:
        """Return the situation of one asset."""
        task, k, index = self.task, self.k, self._index
        path, numbers = self._block.assets[asset].path.world, self._numbers[asset]
        world: World = map_leaves(lambda values: values.item(k, index), path)
        before = path.price.item(max(k - 1, 0), index)
        paid = paid_cost(self._costs[k - 1].reshape(-1, _COSTS)[asset].tolist()) if k else 0.0
        volume = self._slice_of(k - 1)[asset][0] if k else numbers.slice_volume
        last = LastSlice(self.last_shares(asset), volume, before, paid, self.asked[asset])
        lane = Lane(k, int(self.over), world, State(*self._states[asset]), _NO_MEMORY, open_account(), last)
        order = EpisodeOrder(self._block.keys[index], self.sides[asset], self.quantities[asset], self.scale)
        last_price = float(price_of_last(task.hidden, order, lane))
        return situation_of(task.market.markets[asset], numbers, task.hidden, order, lane, last_price)
