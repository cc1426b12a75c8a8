"""An episode of a basket in the single environment, in Python floats, on paths drawn ahead.

It differs from :mod:`~hyperexec_env.envs.episode` in one place: the assets trade a slice together
(:func:`~hyperexec_env.market.basket.basket_move`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs import basket_features
from hyperexec_env.envs.basket_features import ASSET, BASKET, PULLED, asset_rows, basket_rows, whole_of
from hyperexec_env.envs.basket_task import BasketTask, basket_info, notional_of, stacked_situation
from hyperexec_env.envs.episode import Block
from hyperexec_env.envs.features import own_features
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.envs.task import unseen
from hyperexec_env.market import basket
from hyperexec_env.market.account import Account, forced_shares, open_account, settle_in_bps
from hyperexec_env.market.basket import Products
from hyperexec_env.market.basket_path import draw_basket_path
from hyperexec_env.market.kernel import Cost, Slice, State, move, paid_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, LastSlice, Settled
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World
from hyperexec_env.market.predator import PredatorMemory
from hyperexec_env.market.tables import must_finish
from hyperexec_env.records import adder, map_leaves, on_numbers

__all__ = ["BasketBlock", "BasketEpisode", "draw_basket_block"]

_write_basket = struct.Struct("2f").pack_into
_write_asset = struct.Struct(f"{PULLED}f").pack_into
_FLOAT = np.dtype(np.float32).itemsize
_STARTS = len(BASKET) * _FLOAT, len(ASSET) * _FLOAT
"""Bytes before the block of asset 0, and bytes of the block of an asset."""


def _prepared(matrix: Products, values: list[float]) -> list[float]:
    """Return the products of a matrix that is prepared for floats."""
    return matrix(values)


_basket_move = on_numbers(
    basket.basket_move,
    _offered=on_numbers(basket._offered),
    _coupled=on_numbers(basket._coupled, of_others=_prepared),
    moved_by_others=on_numbers(basket.moved_by_others, move=on_numbers(move)),
)
_features = on_numbers(
    basket_features.basket_features,
    _exposures=on_numbers(basket_features._exposures, products=_prepared),
    pull_of=on_numbers(basket_features.pull_of),
    deviation_of=on_numbers(basket_features.deviation_of),
    variance_left=on_numbers(basket_features.variance_left),
)
_sum_of_costs = adder(Cost)
_NO_MEMORY = PredatorMemory(0.0, 0.0, 0.0, 0.0)
_DONE = State(0.0, 0.0, 0.0)


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
        self._impacts = [tuple(impact) for impact in market.impacts]
        self._scales = [tuple(asset.observer.sight.scales) for asset in task.assets]
        self._slice_cost, self._slices = task.assets[0].slice_cost, market.slices
        self._requests = [asset.mode.shares for asset in task.assets]
        self._rows, self._bases, self._known = (values[index].tolist() for values in (block.slices, block.base, block.known))
        self._observations = block.observations[index].copy()
        self.sides = [each.side[index] for each in blocks]
        self.quantities = [each.quantity[index] for each in blocks]
        self.notional = notional_of(market, self.quantities)
        self.scale = -1e4 / self.notional
        self._whole = whole_of(task.sight, self.quantities)
        self._states: list[tuple[float, float, float]] = [(quantity, 0.0, 0.0) for quantity in self.quantities]
        self._history: list[tuple[Any, Any]] = []
        self.k, self.over = 0, False
        self.asked: list[float] = [0.0] * len(blocks)
        self._observe(0, self.asked, [numbers.slice_volume for numbers in self._numbers])

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
        parts = zip(self._requests, actions, self._states, self._bases[self.k], strict=True)
        return [request(action, state[0], base) for request, action, state, base in parts]

    def trade(self, shares: list[float]) -> tuple[NDArray[np.float32], float]:
        """Trade one slice; return the next observation and the reward, bps of the basket's arrival notional.

        Args:
            shares: Shares that each asset requests.
        """
        k, before = self.k, self._states
        rows = self._rows[k]
        result = _basket_move(self._impacts, self.task.coupling, before, rows, shares)
        after, costs = result
        self._history.append(result)
        self._states, self.asked = after, shares
        self.k = k = k + 1
        self.over = k == self._slices or all(state[0] <= 0.0 for state in after)
        charged = [self._slice_cost(cost) for cost in costs]
        paid = charged[0]
        for part in charged[1:]:
            paid = paid + part
        traded = [old[0] - new[0] for old, new in zip(before, after, strict=True)]
        self._observe(k, traded, [row[0] for row in rows])
        return self._observations[k], paid * self.scale

    def _observe(self, k: int, traded: Sequence[float], volumes: Sequence[float]) -> None:
        """Write the features that depend on trades in the observation of slice `k`.

        Args:
            k: Slice, 0..N.
            traded: Shares that traded in the previous slice, by asset.
            volumes: Market volume of the previous slice, by asset.
        """
        observation, states, start = self._observations[k], self._states, _STARTS[0]
        computed, pulls = _features(self.task.prepared, self._whole, [state[0] for state in states])
        _write_basket(observation, 0, *computed)
        own = map(own_features, self._scales, self.quantities, self._whole.reach, states, traded, volumes, self._known[k])
        for features, pull in zip(own, pulls, strict=True):
            _write_asset(observation, start, *features, pull)
            start += _STARTS[1]

    def mask(self) -> NDArray[np.int8]:
        """Return the masks of the discrete levels, shape (assets, levels), 1 is allowed."""
        k = min(self.k, self._slices - 1)
        parts = zip(self.task.assets, self._states, self._bases[k], strict=True)
        return np.stack([asset.mode.mask(state[0], base, must_finish(asset.market.numbers, k)) for asset, state, base in parts])

    def _account(self, asset: int) -> Account:
        """Return the account of an asset over the slices so far."""
        return Account(_sum_of_costs(costs[asset] for _, costs in self._history), 0.0, 0.0)

    def settled(self) -> list[Settled]:
        """Return the result of each asset up to now, in bps of the basket's notional."""
        made = []
        for i, numbers in enumerate(self._numbers):
            account = self._account(i) if self._history else open_account()
            statement = settle_in_bps(account, self.task.market.impacts[i], _DONE, self.quantities[i], -self.scale)
            forced = 0.0
            if self.k:
                last = Slice(*self._rows[self.k - 1][i])
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
        found: tuple[tuple[float, float], list[float]] = _features(self.task.prepared, self._whole, list(remaining))
        return found

    def text(self) -> str:
        """Return the episode so far as text: one line for the basket, one for each asset with a bar of its remaining shares."""
        task, k = self.task, self.k
        (value, variance), pulls = _features(task.prepared, self._whole, [state[0] for state in self._states])
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
        volume = self._rows[k - 1][asset][0] if k else numbers.slice_volume
        last = LastSlice(self.last_shares(asset), volume, before, paid, self.asked[asset])
        lane = Lane(k, int(self.over), world, State(*self._states[asset]), _NO_MEMORY, open_account(), last)
        order = EpisodeOrder(self._block.keys[index], self.sides[asset], self.quantities[asset], self.scale)
        last_price = float(price_of_last(task.hidden, order, lane))
        return situation_of(task.market.markets[asset], numbers, task.hidden, order, lane, last_price)
