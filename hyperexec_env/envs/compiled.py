"""The step of the vector environment, compiled by numba (extra `fast`): action, market, reward and observation.

The market's part is :mod:`hyperexec_env.market.compiled`; observations and actions are those of this package, compiled as they
stand.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs import action as actions
from hyperexec_env.envs import observation as observations
from hyperexec_env.envs.action import ActionMode
from hyperexec_env.envs.observation import Observer
from hyperexec_env.envs.task import Task
from hyperexec_env.market import compiled, kernel, noise
from hyperexec_env.market.account import Components, Statement
from hyperexec_env.market.compiled import (
    ARRIVAL,
    ASKED,
    FLOW,
    HALF_SPREAD,
    INTEGERS,
    KEY,
    LAST_SHARES,
    LAST_VOLUME,
    MEAN_VOLUME,
    PAID,
    PERMANENT,
    PERMANENT_SLOPE,
    PRICE,
    PRICE_BEFORE,
    QUANTITY,
    REALISED,
    REGIME,
    REGIMES,
    REMAINING,
    ROWS,
    SCALE,
    SETTLED,
    SIDE,
    SLICES,
    STEP_VOLATILITY,
    TILE,
    TRANSIENT,
    TRANSIENT_SLOPE,
    Draft,
    K,
    Kind,
    Tables,
    apart,
    begin_tile,
    default_threads,
    hold_tile,
    kind_of,
    look_up_tile,
    new_draft,
    pack,
    settle_tile,
    tables_of,
    trade_tile,
    unpack,
    unpack_tables,
)
from hyperexec_env.market.kernel import Impact, State
from hyperexec_env.market.numeric import power, signed
from hyperexec_env.orders import Order

__all__ = [
    "DRAWN",
    "FEATURES",
    "Lanes",
    "ask_tile",
    "copy",
    "loops",
    "observe_tile",
    "tiles",
    "unpack_views",
    "views_of",
]

SHARES: Final = -1
"""In place of an action mode: the numbers that are given are shares."""
FEATURES: Final = len(observations.observation_names())
DRAWN: Final = observations.OWN + 3
"""Features that are not looked up in a table; they come first."""
_SINGLE, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
_BASE = PAID
"""Place in a draft that is free until the slice has paid."""
_PLAN, _EXPECTED, _REST = HALF_SPREAD, STEP_VOLATILITY, MEAN_VOLUME
"""Places in a draft that are free again once the slice has traded."""


class Views(NamedTuple):
    """What observations and actions are made of, in arrays that numba knows."""

    scales: NDArray[np.float64]
    """Units of the features (:class:`~hyperexec_env.envs.observation.Scales`); then the column of an observer who is not told
    the regime, -1 for one who is."""
    plan: NDArray[np.float64]
    """Share of the order that the schedule has left, by slice."""
    rest_volume: NDArray[np.float64]
    """Flat, by cell."""
    last_expected: NDArray[np.float64]
    """By slice."""
    base: NDArray[np.float64]
    """What the action multiplies, flat, by cell."""
    rows: NDArray[np.float32]
    """Shape (cells, features)."""


KIND: Any = None
"""The kind of the loop that is compiled, as in :mod:`hyperexec_env.market.compiled`."""


class Loops(NamedTuple):
    """The compiled functions of a kind of market."""

    step: Any
    begin: Any
    observe: Any
    settle: Any


def views_of(observer: Observer, mode: ActionMode) -> Views:
    """Return what observations and actions are made of."""
    return Views(
        np.array([*observer.scales, observer.market.unknown if observer.hidden else -1.0], dtype=float),
        observer.market.plan,
        observer.rest_volume.ravel(),
        observer.last_expected,
        mode.base.ravel(),
        observer.rows,
    )


def unpack_views(packed: Any, rows: Any) -> Views:
    """Return the views, which were packed after the tables of the market."""
    return Views(unpack(packed, 6), unpack(packed, 7), unpack(packed, 8), unpack(packed, 9), unpack(packed, 10), rows)


@cache
def tiles() -> compiled.Twins:
    """Return what compiles the tiles of this module."""
    twins = compiled.twins()
    twins.add(actions, ("pace_shares", "fraction_shares", "participation_shares"), _level_shares)
    twins.add(observations, ("own_features", "drawn_features"))
    twins.add(
        sys.modules[__name__],
        ("unpack_views", "show_tile", "copy", "in_order", "fetch_tile", "lay_tile"),
        by_kind=("ask_tile", "observe_tile", "end_tile"),
    )
    return twins


def _level_shares(action: Any, remaining: Any, base: Any) -> Any:
    return remaining * base * actions._LEVELS[action]


def ask_tile(
    views: Views, mode: int, width: int, scattered: bool, values: Any, whole: Any, tile: Any, draft: Draft, n: int
) -> None:
    """Turn what each lane was given into the shares that it asks for."""
    if mode == SHARES:
        for j in range(n):
            tile[ASKED * TILE + j] = values[j]
        return
    drafted = draft.numbers
    look_up_tile(views.base, width, int(views.scales[3]), scattered, whole, drafted[_BASE * TILE :], n)
    if mode == 0:
        for j in range(n):
            value = min(max(values[j], -1.0), 1.0)
            tile[ASKED * TILE + j] = actions.pace_shares(value, tile[REMAINING * TILE + j], drafted[_BASE * TILE + j])
    elif mode == 1:
        for j in range(n):
            value = min(max(values[j], -1.0), 1.0)
            tile[ASKED * TILE + j] = actions.fraction_shares(value, tile[REMAINING * TILE + j], drafted[_BASE * TILE + j])
    elif mode == 2:
        for j in range(n):
            value = min(max(values[j], -1.0), 1.0)
            tile[ASKED * TILE + j] = actions.participation_shares(value, tile[REMAINING * TILE + j], drafted[_BASE * TILE + j])
    else:
        for j in range(n):
            level = np.int64(values[j])
            tile[ASKED * TILE + j] = actions.level_shares(level, tile[REMAINING * TILE + j], drafted[_BASE * TILE + j])


def observe_tile(
    views: Views, tables: Tables, width: int, scattered: bool, whole: Any, tile: Any, draft: Draft, seen: Any, n: int
) -> None:
    """Write what depends on the trades of each lane, and what nature drew, into `seen`: a feature after the other."""
    arrival, drafted = tables.numbers[ARRIVAL], draft.numbers
    scales: Any = (views.scales[0], views.scales[1], views.scales[2])
    look_up_tile(views.plan, 1, 0, scattered, whole, drafted[_PLAN * TILE :], n)
    look_up_tile(views.last_expected, 1, 0, scattered, whole, drafted[_EXPECTED * TILE :], n)
    look_up_tile(views.rest_volume, width, int(views.scales[3]), scattered, whole, drafted[_REST * TILE :], n)
    for j in range(n):
        side, quantity = tile[SIDE * TILE + j], tile[QUANTITY * TILE + j]
        state = (tile[REMAINING * TILE + j], tile[PERMANENT * TILE + j], tile[TRANSIENT * TILE + j])
        drifted = signed(side, tile[PRICE * TILE + j] - arrival)
        last_volume = tile[LAST_VOLUME * TILE + j]
        remaining, behind, required, displaced, moved, share = observations.own_features(
            scales,
            quantity,
            quantity if KIND.transient_exponent == 1.0 else power(quantity, KIND.transient_exponent),
            state,
            tile[LAST_SHARES * TILE + j],
            last_volume,
            (drifted, drafted[_PLAN * TILE + j], drafted[_REST * TILE + j]),
        )
        volume, flow, side = observations.drawn_features(
            drafted[_EXPECTED * TILE + j], side, last_volume, tile[FLOW * TILE + j]
        )
        seen[j] = remaining
        seen[TILE + j] = behind
        seen[2 * TILE + j] = required
        seen[3 * TILE + j] = displaced
        seen[4 * TILE + j] = moved
        seen[5 * TILE + j] = share
        seen[6 * TILE + j] = volume
        seen[7 * TILE + j] = flow
        seen[8 * TILE + j] = side


def show_tile(views: Views, width: int, whole: Any, seen: Any, observation: Any, n: int) -> None:
    """Lay the observations of the lanes of a tile out, one lane after the other."""
    unknown = int(views.scales[3])
    for j in range(n):
        column = whole[REGIME * TILE + j] if unknown < 0 else unknown
        cell = whole[K * TILE + j] * width + column
        row, target = views.rows[cell, DRAWN:], observation[j]
        # all are read before the first is written: then the compiler may read and write several at once
        a, b, c, d, e, f = row[0], row[1], row[2], row[3], row[4], row[5]
        g, h, i, m, o, p = row[6], row[7], row[8], row[9], row[10], row[11]
        target[9], target[10], target[11], target[12], target[13], target[14] = a, b, c, d, e, f
        target[15], target[16], target[17], target[18], target[19], target[20] = g, h, i, m, o, p
        a, b, c, d, e = seen[j], seen[TILE + j], seen[2 * TILE + j], seen[3 * TILE + j], seen[4 * TILE + j]
        f, g, h, i = seen[5 * TILE + j], seen[6 * TILE + j], seen[7 * TILE + j], seen[8 * TILE + j]
        target[0], target[1], target[2], target[3], target[4] = a, b, c, d, e
        target[5], target[6], target[7], target[8] = f, g, h, i


def end_tile(tables: Tables, whole: Any, tile: Any, paid: Any, reward: Any, terminated: Any, n: int) -> int:
    """Say which lanes are over and what each is paid, in bps; return how many are over."""
    slices = int(tables.numbers[SLICES])
    impact = Impact(tables.numbers[PERMANENT_SLOPE], tables.numbers[TRANSIENT_SLOPE], KIND.beta, KIND.transient_exponent)
    if not KIND.complete:
        for j in range(n):
            state = State(tile[REMAINING * TILE + j], tile[PERMANENT * TILE + j], tile[TRANSIENT * TILE + j])
            realised, expected = kernel.close(impact, state, tile[QUANTITY * TILE + j])
            marked = realised if tables.numbers[REALISED] > 0.0 else expected
            over = (whole[K * TILE + j] == slices) | (state.remaining <= 0.0)
            paid[j] += marked if over else 0.0
    ended = 0
    for j in range(n):
        over = (whole[K * TILE + j] == slices) | (tile[REMAINING * TILE + j] <= 0.0)
        terminated[j] = over
        ended += over
        reward[j] = paid[j] * tile[SCALE * TILE + j]
    return ended


@cache
def loops(kind: Kind) -> Loops:
    """Compile what is done with the lanes of a kind of market; `floats` and `whole` hold all tiles, one after the other."""
    twins = tiles()

    def step(  # type: ignore[no-untyped-def]
        packed, rows, mode, floats, whole, values, observation, reward, terminated, start, stop
    ):
        """Trade in the lanes from `start` to `stop`; return how many are over, or -1 - j where lane j was given no number.

        A tile begins at `start`.
        """
        kind  # noqa: B018 - by it the compiled loop is told from others on disk
        wrong = 0
        for lane in range(start, stop):
            wrong += values[lane] != values[lane]
        if wrong > 0:
            for lane in range(start, stop):
                if values[lane] != values[lane]:
                    return -1 - lane
        tables, views = unpack_tables(packed), unpack_views(packed, rows)
        slices, width = int(tables.numbers[SLICES]), int(tables.numbers[REGIMES]) + 1
        draft, seen, ended = new_draft(), np.empty(DRAWN * TILE, np.float32), 0
        for first in range(start, stop, TILE):
            n, tile, ints = min(TILE, stop - first), floats[first // TILE], whole[first // TILE]
            hold_tile(slices, ints, n)
            scattered = apart(ints, n)
            ask_tile(views, mode, width, scattered, values[first:], ints, tile, draft, n)
            trade_tile(tables, scattered, ints, tile, draft, n)
            paid = draft.numbers[PAID * TILE :]
            ended += end_tile(tables, ints, tile, paid, reward[first:], terminated[first:], n)
            observe_tile(views, tables, width, scattered, ints, tile, draft, seen, n)
            show_tile(views, width, ints, seen, observation[first:], n)
        return ended

    def begin(  # type: ignore[no-untyped-def]
        packed, rows, floats, whole, lanes, seeds, episodes, sides, quantities
    ):
        """Begin the next episode in some lanes; one side, or one quantity, stands for all."""
        kind  # noqa: B018
        tables, views = unpack_tables(packed), unpack_views(packed, rows)
        draft, copied, integers = new_draft(), np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64)
        for first in range(0, len(lanes), TILE):
            n, here = min(TILE, len(lanes) - first), lanes[first:]
            tile, ints = copied, integers
            if in_order(here, n):
                tile, ints = floats[here[0] // TILE], whole[here[0] // TILE]
            for j in range(n):
                ints[KEY * TILE + j] = np.int64(noise.key(seeds[here[j]], np.uint64(episodes[here[j]])))
            for j in range(n):
                episodes[here[j]] += 1
            side = sides[first:] if len(sides) > 1 else sides
            quantity = quantities[first:] if len(quantities) > 1 else quantities
            begin_tile(tables, side, quantity, views.scales[2], ints, tile, draft, n)
            if not in_order(here, n):
                lay_tile(tile, PRICE_BEFORE, floats, here, n)  # the rest is written before it is read
                lay_tile(ints, INTEGERS, whole, here, n)

    def observe(packed, rows, floats, whole, lanes, observation):  # type: ignore[no-untyped-def]
        """Observe some lanes, each in its row of the observation of all."""
        kind  # noqa: B018
        tables, views = unpack_tables(packed), unpack_views(packed, rows)
        width, draft, seen = int(tables.numbers[REGIMES]) + 1, new_draft(), np.empty(DRAWN * TILE, np.float32)
        copied, integers = np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64)
        shown = np.empty((TILE, FEATURES), np.float32)
        for first in range(0, len(lanes), TILE):
            n, here = min(TILE, len(lanes) - first), lanes[first:]
            tile, ints = fetch_tile(floats, ROWS, here, copied, n), fetch_tile(whole, INTEGERS, here, integers, n)
            observe_tile(views, tables, width, apart(ints, n), ints, tile, draft, seen, n)
            if in_order(here, n):
                show_tile(views, width, ints, seen, observation[here[0] :], n)
            else:
                show_tile(views, width, ints, seen, shown, n)
                for j in range(n):
                    observation[here[j]] = shown[j]

    def settle(packed, floats, whole, lanes, settled):  # type: ignore[no-untyped-def]
        """Settle the accounts of some lanes, each in its column."""
        kind  # noqa: B018
        tables, found = unpack_tables(packed), np.empty(SETTLED * TILE)
        copied, integers = np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64)
        for first in range(0, len(lanes), TILE):
            n, here = min(TILE, len(lanes) - first), lanes[first:]
            tile, ints = fetch_tile(floats, ROWS, here, copied, n), fetch_tile(whole, INTEGERS, here, integers, n)
            settle_tile(tables, ints, tile, found, n)
            for row in range(SETTLED):
                if in_order(here, n):
                    copy(found[row * TILE :], settled[row, here[0] :], n)
                else:
                    for j in range(n):
                        settled[row, here[j]] = found[row * TILE + j]

    return Loops(*(twins.build(function, kind) for function in (step, begin, observe, settle)))


def in_order(lanes: Any, n: int) -> bool:
    """Return whether some lanes, in ascending order, are the first of a tile: then it can be worked on where it is."""
    return bool(lanes[0] % TILE == 0 and lanes[n - 1] - lanes[0] == n - 1)


def fetch_tile(memory: Any, rows: int, lanes: Any, copied: Any, n: int) -> Any:
    """Return what some lanes remember as a tile: their own, or a copy."""
    if in_order(lanes, n):
        return memory[lanes[0] // TILE]
    for j in range(n):
        number, place = lanes[j] // TILE, lanes[j] % TILE
        for row in range(rows):
            copied[row * TILE + j] = memory[number, row * TILE + place]
    return copied


def lay_tile(tile: Any, rows: int, memory: Any, lanes: Any, n: int) -> None:
    """Copy a tile into what some lanes remember."""
    for j in range(n):
        number, place = lanes[j] // TILE, lanes[j] % TILE
        for row in range(rows):
            memory[number, row * TILE + place] = tile[row * TILE + j]


def copy(source: Any, target: Any, n: int) -> None:
    """Copy the first numbers of an array into another."""
    for j in range(n):
        target[j] = source[j]


class Lanes:
    """The lanes of a vector environment, and how they are stepped.

    Args:
        task: What the lanes do.
        count: Number of lanes.
        threads: Threads that share the lanes; None: one below 4,096 lanes, else the processors there are, one for 2,048 lanes.
        copy: Whether each step returns new arrays.
    """

    def __init__(self, task: Task, count: int, threads: int | None = None, copy: bool = True) -> None:
        """Lay the lanes out and compile the loops, or find them on disk."""
        market = task.market
        self.kind, self.count, self.copy = kind_of(market), count, copy
        *views, rows = views_of(task.observer, task.mode)
        self._market = (pack(*tables_of(market, task.realised), *views), rows)
        self._mode = actions.ACTION_MODES.index(task.mode.name)
        self.threads = threads or default_threads(count)
        self.values = np.zeros(count)
        """What each lane is given in the next step: its action, or a number of shares."""
        tiles = -(-count // TILE)
        self._floats, self._whole = np.zeros((tiles, ROWS * TILE)), np.zeros((tiles, INTEGERS * TILE), dtype=np.int64)
        self._returned = self._empty()
        self._start()

    def _start(self) -> None:
        """Make what cannot be copied."""
        self._loops = loops(self.kind)
        edges = np.linspace(0, len(self._floats), self.threads + 1).astype(int) * TILE
        self._parts = list(pairwise(np.minimum(edges, self.count).tolist()))
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_loops", "_parts", "_pool")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a copy work."""
        self.__dict__.update(state)
        self._start()

    def _empty(self) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
        """Return arrays for the observations, the rewards and the ends of all lanes."""
        return np.empty((self.count, FEATURES), _SINGLE), np.empty(self.count), np.empty(self.count, _BOOL)

    def step(self, shares: bool) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], int]:
        """Trade in every lane: what the action among `values` asks for, or a number of shares.

        Returns:
            Observations, rewards, which lanes are over, and how many; or -1 - j where the value of lane j is not a number.
        """
        returned = self._empty() if self.copy else self._returned
        mode = SHARES if shares else self._mode
        given: Any = (*self._market, mode, self._floats, self._whole, self.values, *returned)
        if self._pool is None:
            return *returned, self._loops.step(*given, 0, self.count)
        if np.isnan(self.values).any():
            return *returned, -1 - int(np.isnan(self.values).argmax())
        others = [self._pool.submit(self._loops.step, *given, *part) for part in self._parts[1:]]
        try:
            ended = self._loops.step(*given, *self._parts[0])
        finally:  # whoever is interrupted here must not find others at work later
            wait(others)
        return *returned, ended + sum(other.result() for other in others)

    def begin(
        self, lanes: NDArray[np.int64], seeds: noise.Words, episodes: NDArray[np.int64], side: Any, quantity: Any
    ) -> None:
        """Begin the next episode in some lanes.

        Args:
            lanes: The lanes.
            seeds: Seed of each lane, as a word.
            episodes: Next episode of each lane; is moved on.
            side: Side of each of `lanes`, or of all.
            quantity: Quantity of each of `lanes`, or of all, shares.
        """
        order = [np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (side, quantity)]
        self._loops.begin(*self._market, self._floats, self._whole, lanes, seeds, episodes, *order)

    def rewind(self, lanes: NDArray[np.int64]) -> None:
        """Put the clocks of some lanes back to the first slice."""
        self._whole[lanes // TILE, K * TILE + lanes % TILE] = 0

    def observe(self, lanes: NDArray[np.int64], observation: NDArray[np.float32]) -> None:
        """Write what some lanes observe into their rows of an observation of all lanes."""
        self._loops.observe(*self._market, self._floats, self._whole, lanes, observation)

    def observe_all(self) -> NDArray[np.float32]:
        """Return what all lanes observe, shape (lanes, features)."""
        observation = self._empty()[0]
        self.observe(np.arange(self.count), observation)
        return observation

    def stand(self) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
        """Return observations, rewards and ends of a step in which no lane trades or ends."""
        observation, reward, terminated = returned = self._empty() if self.copy else self._returned
        self.observe(np.arange(self.count), observation)
        reward[:], terminated[:] = 0.0, False
        return returned

    def settle(self, lanes: NDArray[np.int64]) -> tuple[Statement, NDArray[np.float64], Order]:
        """Settle the accounts of some lanes.

        Returns:
            Statement, share of the order that its end forced, and order: each field of shape (all lanes,), zero in others.
        """
        settled = (np.zeros if len(lanes) < self.count else np.empty)((SETTLED, self.count))
        self._loops.settle(self._market[0], self._floats, self._whole, lanes, settled)
        shortfall, objective, expected, risk, *parts, forced, side, quantity = settled
        statement = Statement(shortfall, objective, expected, risk, Components(*parts))
        return statement, forced, Order(side, quantity)

    def remembered(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return a copy of what all lanes remember, a row for each of the fields, in numbers and in integers."""
        return self._flat(self._floats), self._flat(self._whole)

    def remember(self, floats: NDArray[np.float64], whole: NDArray[np.int64]) -> None:
        """Remember what :meth:`remembered` returned, or something in its place."""
        for memory, values in ((self._floats, floats), (self._whole, whole)):
            tiles = np.zeros((len(values), len(memory) * TILE), dtype=values.dtype)
            tiles[:, : self.count] = values
            memory[:] = tiles.reshape(len(values), -1, TILE).swapaxes(0, 1).reshape(memory.shape)

    def _flat(self, memory: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of all tiles side by side, shape (rows, lanes)."""
        tiles = memory.reshape(len(memory), -1, TILE).swapaxes(0, 1)
        return tiles.reshape(len(tiles), -1)[:, : self.count].copy()

    def close(self) -> None:
        """Let the threads go; lanes that are stepped nevertheless are stepped by one."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
