"""An episode of a basket in the single environment, in Python floats, on paths drawn ahead.

It differs from :mod:`~hyperexec_env.envs.episode` in one place: the assets trade a slice together
(:func:`~hyperexec_env.market.basket.basket_move`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import add
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.unroll import NUMBER, opaque, unrolled
from hyperexec_env.envs.basket_features import ASSET, BASKET, PULLED, Whole, asset_rows, basket_features, basket_rows, whole_of
from hyperexec_env.envs.basket_task import BasketTask, basket_info, notional_of, stacked_situation
from hyperexec_env.envs.episode import Block
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
from hyperexec_env.market.several import each, fold
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import adder, filler, map_leaves

__all__ = ["BasketBlock", "BasketEpisode", "draw_basket_block"]

_write_basket = struct.Struct("2f").pack_into
_write_asset = struct.Struct(f"{PULLED}f").pack_into
_FLOAT = np.dtype(np.float32).itemsize
_STARTS = len(BASKET) * _FLOAT, len(ASSET) * _FLOAT
"""Bytes before the block of asset 0, and bytes of the block of an asset."""


_INLINE: Final = 6
"""Largest number of assets whose sums over the others are written out; numpy computes those of more assets in less time."""


def _prepared(matrix: Any, values: Sequence[Any]) -> list[Any]:
    """Return the products of a matrix: written out, or computed by the function that is prepared for floats."""
    made: list[Any] = matrix(values) if callable(matrix) else products(matrix, values)
    return made


class _Traded(NamedTuple):
    """What a slice changes."""

    states: Any
    """(remaining, permanent, transient) of each asset after the slice."""
    costs: Any
    """Cost of each asset, currency, in the field order of `Cost`."""
    paid: Any
    """Cost that the reward charges, currency."""
    seen: Any
    """Features of the next observation that depend on trades: of the basket, and of each asset."""


def _trade(
    task: BasketTask, matrices: Any, orders: Any, whole: Whole, states: Any, rows: Any, shares: Any, known: Any
) -> _Traded:
    """Trade one slice, and look at the next.

    Args:
        task: The task.
        matrices: The coupling, and the correlation of the features, as :func:`_prepared` takes them.
        orders: Shares of each order.
        whole: The orders as a whole.
        states: (remaining, permanent, transient) of each asset before the slice.
        rows: Slice of each asset.
        shares: Shares that each asset requests.
        known: What the agent knows of the next slice beforehand, of each asset.
    """
    coupling, correlation = matrices
    after, costs = basket_move(task.market.impacts, coupling, states, rows, shares)
    traded = [old[0] - new[0] for old, new in zip(states, after, strict=True)]
    seen = _look(task, correlation, orders, whole, after, traded, [row[0] for row in rows], known)
    return _Traded(after, costs, fold(add, each(task.assets[0].slice_cost, costs)), seen)


def _look(
    task: BasketTask, correlation: Any, orders: Any, whole: Whole, states: Any, traded: Any, volumes: Any, known: Any
) -> tuple[Any, list[Any]]:
    """Return the features that depend on trades, of the basket and of each asset."""
    sight = task.sight._replace(correlation=correlation)
    computed, pulls = basket_features(sight, whole, [state[0] for state in states])
    scales = [tuple(asset.observer.sight.scales) for asset in task.assets]
    own = map(own_features, scales, orders, whole.reach, states, traded, volumes, known)
    return computed, [(*features, pull) for features, pull in zip(own, pulls, strict=True)]


def _ask(requests: Any, actions: Any, states: Any, bases: Any) -> list[Any]:
    """Return the shares that actions request, one for each asset."""
    return [ask(action, state[0], base) for ask, action, state, base in zip(requests, actions, states, bases, strict=True)]


class _Functions(NamedTuple):
    """The functions of a task for floats."""

    trade: Callable[..., Any]
    look: Callable[..., Any]
    ask: Callable[..., Any]


@lru_cache(maxsize=16)
def _functions_of(task: BasketTask) -> _Functions:
    """Return the functions of a task for floats."""
    count = len(task.assets)
    numbers, states, rows = [NUMBER] * count, [(NUMBER,) * 3] * count, [[NUMBER] * len(Slice._fields)] * count
    whole, known = Whole(NUMBER, NUMBER, numbers), [[NUMBER] * 3] * count
    coupling, correlation = Coupling(*map(without_own, task.market.coupling)), task.sight.correlation
    matrices: Any = coupling, correlation
    if count > _INLINE:
        moves = opaque(Products([*coupling.permanent, *coupling.transient]), 2 * count)
        held, along = (opaque(Products(rows), count) for rows in (coupling.correlation, correlation))
        matrices = Coupling(lambda halves: moves(halves)[:count], lambda halves: moves(halves)[count:], held), along  # type: ignore[arg-type]
    inner = {"of_others": _prepared, "products": _prepared}
    trade = unrolled(_trade, task, matrices, numbers, whole, states, rows, numbers, known, **inner)
    look = unrolled(_look, task, matrices[1], numbers, whole, states, numbers, numbers, known, **inner)
    requests = [asset.mode.shares for asset in task.assets]
    if task.discrete:
        return _Functions(trade, look, lambda *given: _ask(requests, *given))
    return _Functions(trade, look, unrolled(_ask, requests, numbers, states, numbers))


_sum_of_costs = adder(Cost)
_NO_MEMORY = PredatorMemory(0.0, 0.0, 0.0, 0.0)
_DONE = State(0.0, 0.0, 0.0)


@lru_cache(maxsize=1)
def _settle() -> Callable[..., Any]:
    """Return :func:`settle_in_bps` of a completed order for floats, which reads its costs and the unit of the result."""
    account = Account(filler(Cost)(NUMBER), 0.0, 0.0)
    return unrolled(settle_in_bps, account, None, State(0.0, 0.0, 0.0), 0.0, NUMBER)


def _statement_of(cost: Cost, bps: float) -> Statement:
    """Return the statement of a completed order."""
    made: Any = _settle()((cost, 0.0, 0.0), bps)
    return Statement._make((*made[:-1], Components(*made[-1])))


class BasketBlock:
    """The paths of consecutive episodes of one seed: a :class:`Block` for each asset, drawn together."""

    def __init__(self, task: BasketTask, first: int, keys: NDArray[np.uint64]) -> None:
        """Draw the episodes `first`, `first + 1`, ... with the keys."""
        orders, flip = task.orders(keys)
        self.first, self.count, self.keys = first, len(keys), keys
        paths = draw_basket_path(task.market, keys, flip)
        self.assets = [Block(own, first, path, order) for own, path, order in zip(task.assets, paths, orders, strict=True)]
        own = [asset_rows(block.observations) for block in self.assets]
        self.observations = np.concatenate([basket_rows(self.assets[0].observations), *own], axis=2)
        """Observations without the features that depend on trades, shape (episodes, N + 1, features)."""
        self.slices, self.base, self.known = (
            np.stack([getattr(block, name) for block in self.assets], axis=2) for name in ("slices", "base", "known")
        )
        """Arrays of the blocks of this name, with an axis for the assets: shape (episodes, time, assets, ...)."""


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
        self._rows, self._bases, self._known = (values[index] for values in (block.slices, block.base, block.known))
        self._observations = block.observations[index].copy()
        self.sides = [each.side[index] for each in blocks]
        self.quantities = [each.quantity[index] for each in blocks]
        self.notional = notional_of(market, self.quantities)
        self.scale = -1e4 / self.notional
        self._whole = whole_of(task.sight, self.quantities)
        self._orders = self.quantities, self._whole
        self._states: Sequence[tuple[float, float, float]] = [(quantity, 0.0, 0.0) for quantity in self.quantities]
        self._history: list[tuple[Any, Any]] = []
        self.k, self.over = 0, False
        self.asked: list[float] = [0.0] * len(blocks)
        volumes = [numbers.slice_volume for numbers in self._numbers]
        self._observe(0, self._functions.look(*self._orders, self._states, self.asked, volumes, self._known[0].tolist()))

    @property
    def _numbers(self) -> list[Any]:
        """The numbers of the market of each asset."""
        return [market.numbers for market in self.task.market.markets]

    @property
    def first(self) -> NDArray[np.float32]:
        """The observation before the first slice."""
        observation: NDArray[np.float32] = self._observations[0]
        return observation

    def request(self, actions: Sequence[Any]) -> list[float]:
        """Return the shares that valid actions request, one for each asset."""
        return list(self._functions.ask(actions, self._states, self._bases[self.k].tolist()))

    def trade(self, shares: list[float]) -> tuple[NDArray[np.float32], float]:
        """Trade one slice; return the next observation and the reward, bps of the basket's arrival notional.

        Args:
            shares: Shares that each asset requests.
        """
        k, rows = self.k, self._rows[self.k].tolist()
        after, costs, paid, seen = self._functions.trade(*self._orders, self._states, rows, shares, self._known[k + 1].tolist())
        self._history.append((after, costs))
        self._states, self.asked = after, shares
        self.k = k = k + 1
        self.over = k == self._slices or all(state[0] <= 0.0 for state in after)
        return self._observe(k, seen), paid * self.scale

    def _observe(self, k: int, seen: tuple[Any, Any]) -> NDArray[np.float32]:
        """Write the features that depend on trades in the observation of slice `k`, and return it."""
        observation: Any = self._observations[k]
        _write_basket(observation, 0, *seen[0])
        start, step = _STARTS
        for features in seen[1]:
            _write_asset(observation, start, *features)
            start += step
        made: NDArray[np.float32] = observation
        return made

    def mask(self) -> NDArray[np.int8]:
        """Return the masks of the discrete levels, shape (assets, levels), 1 is allowed."""
        k = min(self.k, self._slices - 1)
        parts = zip(self.task.assets, self._states, self._bases[k].tolist(), strict=True)
        return np.stack([asset.mode.mask(state[0], base, must_finish(asset.market.numbers, k)) for asset, state, base in parts])

    def settled(self) -> list[Settled]:
        """Return the result of each asset up to now, in bps of the basket's notional."""
        made = []
        for i, numbers in enumerate(self._numbers):
            statement = _statement_of(_sum_of_costs(costs[i] for _, costs in self._history), -self.scale)
            forced = 0.0
            if self.k:
                last = Slice(*self._rows[self.k - 1, i].tolist())
                forced = forced_shares(last.least, last.volume, numbers.cap, self.asked[i], self.last_shares(i))
            made.append(Settled(statement, forced / self.quantities[i], self.sides[i], self.quantities[i]))
        return [unseen(one, self.over) for one in made] if self.task.secret else made

    def last_shares(self, asset: int) -> float:
        """Return the shares of an asset that traded in the previous slice."""
        if not self._history:
            return 0.0
        before = self._history[-2][0][asset][0] if self.k > 1 else self.quantities[asset]
        left: float = before - self._states[asset][0]
        return left

    def info(self) -> dict[str, Any]:
        """Return the result up to now; see :func:`~hyperexec_env.envs.basket_task.basket_info`."""
        return basket_info(self.task, self.settled(), self.notional)

    @property
    def remaining(self) -> list[list[float]]:
        """The remaining shares of each asset at the start of each slice so far, one list for each slice."""
        return [list(self.quantities), *([state[0] for state in after] for after, _ in self._history)]

    @property
    def regime(self) -> int:
        """The regime of the current slice, or of the last one."""
        regime: int = self._block.assets[0].path.world.regime.item(min(self.k, self._slices - 1), self._index)
        return regime

    def seen(self, remaining: Sequence[float]) -> tuple[tuple[float, float], list[float]]:
        """Return (value left, variance left) and the pull of each asset, as observed, for some remaining shares."""
        found: tuple[tuple[float, float], list[float]] = basket_features(self.task.sight, self._whole, list(remaining))
        return found

    def text(self) -> str:
        """Return the episode so far as text: one line for the basket, one for each asset with a bar of its remaining shares."""
        task, k = self.task, self.k
        (value, variance), pulls = basket_features(task.sight, self._whole, [state[0] for state in self._states])
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
        paid = paid_cost(Cost(*self._history[-1][1][asset])) if k else 0.0
        volume = float(self._rows[k - 1, asset, 0]) if k else numbers.slice_volume
        last = LastSlice(self.last_shares(asset), volume, before, paid, self.asked[asset])
        lane = Lane(k, int(self.over), world, State(*self._states[asset]), _NO_MEMORY, open_account(), last)
        order = EpisodeOrder(self._block.keys[index], self.sides[asset], self.quantities[asset], self.scale)
        last_price = float(price_of_last(task.hidden, order, lane))
        return situation_of(task.market.markets[asset], numbers, task.hidden, order, lane, last_price)
