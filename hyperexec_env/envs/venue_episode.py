"""An episode with venues in the single environment, in Python floats, on paths drawn ahead.

It differs from :mod:`~hyperexec_env.envs.episode` in one place: the venues trade a slice together
(:func:`~hyperexec_env.market.venue.venue_move`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.unroll import NUMBER, unrolled
from hyperexec_env.envs.episode import Block
from hyperexec_env.envs.features import OWN, own_features, reach
from hyperexec_env.envs.situation import price_of_last, situation_of
from hyperexec_env.envs.task import unseen
from hyperexec_env.envs.venue_task import VenueSituation, VenueTask, features_of_lit, hidden_features, venue_info
from hyperexec_env.market.account import Account, Statement, forced_shares, open_account, settle_in_bps
from hyperexec_env.market.kernel import Cost, Slice, State, paid_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, LastSlice, Settled
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, World, cost_scale, draw_orders
from hyperexec_env.market.predator import PredatorMemory
from hyperexec_env.market.several import each
from hyperexec_env.market.venue import total_cost, venue_move
from hyperexec_env.market.venue_lane import fee_cash, finishing, limited, since_fill
from hyperexec_env.market.venue_path import Terms, VenuePath, by_toll, draw_venue_path, lit_terms
from hyperexec_env.orders import Order
from hyperexec_env.records import adder, map_leaves, on_numbers

__all__ = ["VenueBlock", "VenueEpisode", "draw_venue_block"]

_write_own = struct.Struct(f"{OWN}f").pack_into
_FLOAT = np.dtype(np.float32).itemsize
_NO_MEMORY = PredatorMemory(0.0, 0.0, 0.0, 0.0)
_DONE = State(0.0, 0.0, 0.0)
_sum_of_costs = adder(Cost)


class _Traded(NamedTuple):
    """What a slice changes."""

    state: Any
    """(remaining, permanent, transient) after the slice."""
    cost: Any
    """Cost, currency, in the field order of `Cost`."""
    paid: Any
    """Cost that the reward charges, currency."""
    fills: Any
    """Shares that each venue filled."""
    fees: Any
    """Fees, currency."""
    adverse: Any
    """Adverse selection, currency."""
    posted: Any
    """Shares requested of each venue so far."""
    filled: Any
    """Shares that each venue filled so far."""
    since: Any
    """Slices since the last fill of each venue."""
    seen: Any
    """Features of the next observation that depend on trades: of the order, and of the hidden venues."""


def _trade(
    task: VenueTask,
    order: tuple[Any, Any],
    state: tuple[Any, Any, Any],
    row: Any,
    asked: Any,
    adverse: Any,
    posted: Any,
    filled: Any,
    since: Any,
    volume: Any,
    known: Any,
) -> _Traded:
    """Trade one slice, and look at the next.

    Args:
        task: The task.
        order: Shares of the order, and its :func:`reach`.
        state: (remaining, permanent, transient) before the slice.
        row: Slice of each venue.
        asked: Shares requested of each venue.
        adverse: a of each venue, currency per share.
        posted: Shares requested of each venue so far.
        filled: Shares that each venue filled so far.
        since: Slices since the last fill of each venue.
        volume: Market volume of the slice.
        known: What the agent knows of the next slice beforehand, see :func:`own_features`.
    """
    market = task.market
    after, costs, fills = venue_move(market.market.impact, state, row, asked, adverse)
    cost = total_cost(costs)
    posted, filled = each(add, posted, asked), each(add, filled, fills)
    since = each(since_fill, since, fills, float(market.slices))
    seen = _look(task, order, after, state[0] - after[0], volume, known, asked, fills, since, posted, filled)
    fees, selected = fee_cash(market.fees.tolist(), fills), fee_cash(adverse, fills)
    return _Traded(after, cost, task.order.slice_cost(cost), fills, fees, selected, posted, filled, since, seen)


def _look(
    task: VenueTask,
    order: tuple[Any, Any],
    state: tuple[Any, Any, Any],
    traded: Any,
    volume: Any,
    known: Any,
    asked: Any,
    fills: Any,
    since: Any,
    posted: Any,
    filled: Any,
) -> tuple[Any, Any]:
    """Return the features that depend on trades, of the order and of the hidden venues."""
    lit = task.market.lit
    own = own_features(tuple(task.order.observer.sight.scales), *order, state, traded, volume, known)
    return own, hidden_features(task.market.slices, asked[lit:], fills[lit:], since[lit:], posted[lit:], filled[lit:])


class _Functions(NamedTuple):
    """The functions of a task for floats."""

    trade: Callable[..., Any]
    look: Callable[..., Any]
    request: Callable[..., Any]


@lru_cache(maxsize=16)
def _functions_of(task: VenueTask) -> _Functions:
    """Return the functions of a task for floats."""
    count, lit = task.market.count, task.market.lit
    order, state, venues = (NUMBER,) * 2, (NUMBER,) * 3, [NUMBER] * count
    row, known = [[NUMBER] * len(Slice._fields)] * count, [NUMBER] * 3
    trade = unrolled(_trade, task, order, state, row, *[venues] * 5, NUMBER, known)
    look = unrolled(_look, task, order, state, NUMBER, NUMBER, known, *[venues] * 5)
    if task.split is by_toll:  # a loop until it converges
        requests = on_numbers(VenueTask.requests)
        return _Functions(trade, look, lambda *given: requests(task, *given[:-1], Terms(*given[-1])))
    terms = Terms(*[[NUMBER] * lit] * 3)
    return _Functions(
        trade, look, unrolled(VenueTask.requests, task, [NUMBER] * task.shape[0], NUMBER, NUMBER, NUMBER, terms, None)
    )


class VenueBlock:
    """The paths of consecutive episodes of one seed, as plain lists by episode."""

    def __init__(self, task: VenueTask, first: int, paths: VenuePath, order: Order) -> None:
        """Lay out the episodes `first`, `first + 1`, ... on their paths."""
        market, path = task.market, paths.path
        self.whole = Block(task.order, first, path, order)
        self.first, self.count, self.paths = first, len(path.keys), paths
        regime = path.world.regime[:-1]
        self.slices = np.stack([_columns(slice) for slice in paths.slices], axis=2)
        """Slices of the venues, shape (episodes, N, venues, fields)."""
        self.volumes = np.asarray(reduce(add, [slice.volume for slice in paths.slices[: market.lit]])).T
        """Volume of all lit venues, added venue by venue as lanes do, shape (episodes, N)."""
        self.adverse = np.stack([own.take(regime).T for own in market.adverse], axis=2)
        """a of each venue, shape (episodes, N, venues)."""
        self.weights = np.stack([weight.T for weight in paths.weights], axis=2)
        """w of each lit venue, shape (episodes, N + 1, lit)."""
        seen = np.ascontiguousarray(task.order.observer.seen(path.world.regime).T)
        by_venue = list(np.moveaxis(self.weights, 2, 0))
        terms = lit_terms(market, market.market.mean_volume[np.arange(market.slices + 1), seen], seen, by_venue)
        self.terms = np.stack([np.stack(part, axis=2) for part in terms], axis=2)
        """Terms of the lit venues, shape (episodes, N + 1, terms, lit)."""
        lit = features_of_lit(market, by_venue)
        shape = (*self.weights.shape[:2], len(task.features) - self.whole.observations.shape[2])
        extra = np.zeros(shape, np.float32)
        for column, values in enumerate(lit):
            extra[..., column] = values
        self.observations = np.concatenate([self.whole.observations, extra], axis=2)
        """Observations without the features that depend on trades, shape (episodes, N + 1, features)."""


def _columns(slice: Slice) -> NDArray[np.float64]:
    """Return the fields of a slice, shape (episodes, N, fields)."""
    shape = np.broadcast_shapes(*(np.shape(values) for values in slice))
    return np.stack([np.broadcast_to(values, shape).T for values in slice], axis=2)


def draw_venue_block(task: VenueTask, seed: int, first: int, count: int, board: bool = False) -> VenueBlock:
    """Return the episodes `first`, ..., `first + count - 1` of a seed, or of the board of that seed."""
    keys = episode_keys(seed, np.uint64(first) + np.arange(count, dtype=np.uint64), board)
    order = draw_orders(task.market.market, keys, task.order.draw)
    return VenueBlock(task, first, draw_venue_path(task.market, keys, order.side), order)


class VenueEpisode:
    """A running episode: the paths as plain lists, the state of the order, and the cost and fills of each slice."""

    def __init__(self, task: VenueTask, block: VenueBlock, number: int) -> None:
        """Begin episode `number`, which must be one of the block."""
        index, market = number - block.first, task.market
        whole = block.whole
        self.task, self._block, self._index = task, block, index
        self._slices, self._functions = market.slices, _functions_of(task)
        self._rows, self._adverse, self.weights, self._terms = (
            getattr(block, name)[index].tolist() for name in ("slices", "adverse", "weights", "terms")
        )
        self._base: list[float] = whole.base[index].tolist()
        self._known: list[Any] = whole.known[index].tolist()
        self.volumes: list[float] = block.volumes[index].tolist()
        """Market volume of each slice, future included: for reports."""
        self._observations = block.observations[index].copy()
        self.side, self.quantity = whole.side[index], whole.quantity[index]
        self._size = self.quantity, reach(self.quantity, 1.0)
        self.scale = cost_scale(self.quantity, market.market.numbers.arrival_price)
        self._state: tuple[float, float, float] = (self.quantity, 0.0, 0.0)
        self.states = [self._state]
        """(remaining, permanent, transient) at the start of each slice so far."""
        self.costs: list[tuple[Any, ...]] = []
        """Cost of each slice so far, currency, in the field order of `Cost`."""
        self.fills: list[list[float]] = []
        """Shares that each venue filled, by slice so far."""
        self.requests: list[list[float]] = []
        """Shares requested of each venue, by slice so far."""
        zero = [0.0] * market.count
        self.posted: Sequence[float] = zero
        self.filled: Sequence[float] = zero
        self.since: Sequence[float] = [float(self._slices)] * market.count
        block_of_hidden = struct.Struct(f"{4 * (market.count - market.lit)}f")
        self._write_hidden = block_of_hidden.pack_into
        self._hidden_start = self._observations.shape[1] * _FLOAT - block_of_hidden.size
        self.fees = self.adverse = 0.0
        self.k, self.over, self.wanted = 0, False, 0.0
        volume = market.market.numbers.slice_volume
        look, parts = self._functions.look, (zero, zero, self.since, zero, zero)
        self._observe(0, look(self._size, self._state, 0.0, volume, self._known[0], *parts))

    @property
    def first(self) -> NDArray[np.float32]:
        """The observation before the first slice."""
        observation: NDArray[np.float32] = self._observations[0]
        return observation

    def request(self, action: Sequence[float]) -> tuple[list[float], float]:
        """Return the shares that a valid action requests of each venue, and in all."""
        k, left = self.k, self._state[0]
        last = bool(finishing(self.task.market, k))
        asked, wanted = self._functions.request(action, left, self._base[k], last, self._terms[k])
        return list(asked), wanted

    def shares(self, given: list[float]) -> tuple[list[float], float]:
        """Return requests of numbers of shares, scaled to at most the remaining shares, and in all."""
        return list(limited(self._state[0], given)), reduce(add, given)

    def trade(self, asked: list[float], wanted: float) -> tuple[NDArray[np.float32], float]:
        """Trade one slice; return the next observation and the reward, bps of the arrival notional.

        Args:
            asked: Shares requested of each venue.
            wanted: Shares requested in all.
        """
        k, before = self.k, self._state
        after, cost, paid, fills, fees, adverse, self.posted, self.filled, self.since, seen = self._functions.trade(
            *(self._size, before, self._rows[k], asked, self._adverse[k], self.posted, self.filled, self.since),
            *(self.volumes[k], self._known[k + 1]),
        )
        self.fees += fees
        self.adverse += adverse
        self.states.append(after)
        self.costs.append(cost)
        self.fills.append(list(fills))
        self.requests.append(asked)
        self._state, self.wanted = after, wanted
        self.k = k = k + 1
        self.over = k == self._slices or after[0] <= 0.0
        return self._observe(k, seen), paid * self.scale

    def _last_volume(self) -> float:
        """Return the market volume of the previous slice; before the first, the mean expected volume."""
        return self.volumes[self.k - 1] if self.k else float(self.task.market.market.numbers.slice_volume)

    def _observe(self, k: int, seen: tuple[Any, Any]) -> NDArray[np.float32]:
        """Write the features that depend on trades in the observation of slice `k`, and return it."""
        observation: Any = self._observations[k]
        _write_own(observation, 0, *seen[0])
        self._write_hidden(observation, self._hidden_start, *seen[1])
        made: NDArray[np.float32] = observation
        return made

    @property
    def path(self) -> Path:
        """The path of the market, fields of shape (time, 1), future included: for reports and audits, not for policies."""
        path, here = self._block.paths.path, slice(self._index, self._index + 1)
        slices, world = (map_leaves(lambda values: values[:, here], part) for part in (path.slices, path.world))
        return Path(slices, world, path.keys[here])

    @property
    def world(self) -> World:
        """The market at the start of each slice and at the end, fields of shape (N + 1,), future included: for reports."""
        world: World = map_leaves(lambda values: values[:, self._index], self._block.paths.path.world)
        return world

    @property
    def order(self) -> EpisodeOrder:
        """The order of the episode."""
        return EpisodeOrder(self._block.paths.path.keys[self._index], self.side, self.quantity, self.scale)

    @property
    def paid(self) -> list[float]:
        """Cash that the fills of each slice so far paid on top of the unaffected price, currency: without adverse selection."""
        charged = map(fee_cash, self._adverse, self.fills)
        return [paid_cost(cost) - selected for cost, selected in zip(self.costs, charged, strict=True)]

    def statement(self) -> Statement:
        """Return the statement of the slices up to now."""
        account = Account(_sum_of_costs(self.costs), 0.0, 0.0) if self.costs else open_account()
        return settle_in_bps(account, self.task.market.market.impact, _DONE, self.quantity, -self.scale)

    def settled(self) -> Settled:
        """Return the result of the episode up to now."""
        forced = 0.0
        if self.k:
            last = Slice(*self._rows[self.k - 1][0])
            cap = self.task.market.market.numbers.cap
            traded = self.states[-2][0] - self._state[0]
            forced = forced_shares(last.least, self._last_volume(), cap, self.wanted, traded) / self.quantity
        settled = Settled(self.statement(), forced, self.side, self.quantity)
        return unseen(settled, self.over) if self.task.secret else settled

    def info(self) -> dict[str, Any]:
        """Return the result up to now; see :func:`~hyperexec_env.envs.venue_task.venue_info`."""
        return venue_info(self.task, self.settled(), self.fees, self.adverse, self.filled, self.scale)

    def situation(self) -> VenueSituation:
        """Return the information of a policy now, in natural units, floats."""
        task, k, index = self.task, self.k, self._index
        market, path = task.market, self._block.paths.path.world
        world: World = map_leaves(lambda values: values.item(k, index), path)
        paid = self.paid[-1] if k else 0.0
        traded = self.states[-2][0] - self._state[0] if k else 0.0
        last = LastSlice(traded, self._last_volume(), path.price.item(max(k - 1, 0), index), paid, self.wanted)
        lane = Lane(k, int(self.over), world, State(*self._state), _NO_MEMORY, open_account(), last)
        price = float(price_of_last(task.hidden, self.order, lane))
        order = situation_of(market.market, market.market.numbers, task.hidden, self.order, lane, price)
        zero = [0.0] * market.count
        asked, filled = (rows[-1] if k else zero for rows in (self.requests, self.fills))
        hidden = (values[market.lit :] for values in (asked, filled, self.since, self.posted, self.filled))
        return VenueSituation(market, order, self.weights[k], *hidden)

    def begun_on(self, change: Callable[[VenuePath], VenuePath]) -> VenueEpisode:
        """Return the episode at its start on another path: what the same requests meet where nature draws otherwise."""
        here = slice(self._index, self._index + 1)
        whole = self._block.paths
        alone = VenuePath(
            self.path,
            [weight[:, here] for weight in whole.weights],
            [offer[:, here] for offer in whole.offers],
            [
                map_leaves(lambda values: np.broadcast_to(values, whole.path.slices.volume.shape)[:, here], one)
                for one in whole.slices
            ],
        )
        number = self._block.first + self._index
        return VenueEpisode(self.task, VenueBlock(self.task, number, change(alone), Order(self.side, self.quantity)), number)
