"""The step of the vector environment, compiled by numba (extra `fast`): action, market, reward and observation.

The market's part is :mod:`hyperexec_env.market.compiled`; observations and actions are those of this package, compiled as they
stand. The lanes keep what they remember in two arrays, one field after the other; a tile of lanes at a time is worked on.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
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
from hyperexec_env.market import compiled, kernel
from hyperexec_env.market.compiled import (
    ASKED,
    CROWD,
    DRIFT_MOVE,
    FIELDS,
    FLOW,
    FLOW_NOISE,
    INTEGERS,
    LAST_SHARES,
    LAST_VOLUME,
    LIKENESS,
    NEWS,
    PAID,
    PERMANENT,
    PRICE,
    QUANTITY,
    REGIME,
    REMAINING,
    ROWS,
    SCALE,
    SIDE,
    SINGLES,
    SIZE,
    TILE,
    TIMING_MOVE,
    TRANSIENT,
    WORDS,
    K,
    Kind,
    Tables,
    default_threads,
    kind_of,
    pack,
    tables_of,
    trade_tile,
    unpack_tables,
)
from hyperexec_env.market.kernel import Impact, State
from hyperexec_env.market.numeric import power, signed

__all__ = [
    "DRAWN",
    "FEATURES",
    "SHARES",
    "Lanes",
    "Loops",
    "Views",
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
_OBSERVED: Final = (FLOW, PRICE, REMAINING, PERMANENT, TRANSIENT, SIDE, QUANTITY, LAST_SHARES, LAST_VOLUME)
"""Fields of a lane that an observation is made of."""
_SINGLE, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
_PLAN, _EXPECTED, _REST = FLOW_NOISE, NEWS, CROWD
"""Fields of a tile that are free again once the slice has traded."""


class Views(NamedTuple):
    """What observations and actions are made of, in arrays that numba knows."""

    scales: NDArray[np.float64]
    """Units of the features (:class:`~hyperexec_env.envs.observation.Scales`); then the column of an observer who is not told
    the regime, -1 for one who is; then whether orders vary."""
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
    observe: Any


def views_of(observer: Observer, mode: ActionMode, varies: bool = False) -> Views:
    """Return what observations and actions are made of; `varies` says whether orders do."""
    return Views(
        np.array([*observer.scales, observer.market.unknown if observer.hidden else -1.0, varies], dtype=float),
        observer.market.plan,
        observer.rest_volume.ravel(),
        observer.last_expected,
        mode.base.ravel(),
        observer.rows,
    )


def unpack_views(packed: Any, edges: Any, rows: Any) -> Views:
    """Return the views, which were packed after the tables of the market."""
    return Views(
        packed[edges[5] : edges[6]],
        packed[edges[6] : edges[7]],
        packed[edges[7] : edges[8]],
        packed[edges[8] : edges[9]],
        packed[edges[9] : edges[10]],
        rows,
    )


@cache
def tiles() -> compiled.Twins:
    """Return what compiles the tiles of this module."""
    twins = compiled.twins()
    twins.add(actions, ("pace_shares", "fraction_shares", "participation_shares"), _level_shares)
    twins.add(observations, ("own_features", "drawn_features"))
    own = ("unpack_views", "ask_tile", "show_tile", "copy")
    twins.add(sys.modules[__name__], own, by_kind=("observe_tile", "end_tile", "remembered"))
    return twins


def _level_shares(action: Any, remaining: Any, base: Any) -> Any:
    return remaining * base * actions._LEVELS[action]


def ask_tile(views: Views, mode: int, regimes: int, values: Any, ints: Any, tile: Any, n: int) -> None:
    """Turn what each lane was given into the shares that it asks for."""
    width, unknown = regimes + 1, int(views.scales[3])
    if mode == SHARES:
        for j in range(n):
            tile[ASKED * TILE + j] = values[j]
        return
    base = tile[PAID * TILE :]  # not needed before the slice has paid
    for j in range(n):
        seen = ints[REGIME * TILE + j] if unknown < 0 else unknown
        base[j] = views.base[ints[K * TILE + j] * width + seen]
    if mode == 0:
        for j in range(n):
            value = min(max(values[j], -1.0), 1.0)
            tile[ASKED * TILE + j] = actions.pace_shares(value, tile[REMAINING * TILE + j], tile[PAID * TILE + j])
    elif mode == 1:
        for j in range(n):
            value = min(max(values[j], -1.0), 1.0)
            tile[ASKED * TILE + j] = actions.fraction_shares(value, tile[REMAINING * TILE + j], tile[PAID * TILE + j])
    elif mode == 2:
        for j in range(n):
            value = min(max(values[j], -1.0), 1.0)
            tile[ASKED * TILE + j] = actions.participation_shares(value, tile[REMAINING * TILE + j], tile[PAID * TILE + j])
    else:
        for j in range(n):
            level = np.int64(values[j])
            tile[ASKED * TILE + j] = actions.level_shares(level, tile[REMAINING * TILE + j], tile[PAID * TILE + j])


def observe_tile(views: Views, tables: Tables, regimes: int, ints: Any, tile: Any, seen: Any, n: int) -> None:
    """Write what depends on the trades of each lane, and what nature drew, into `seen`: a feature after the other."""
    width, unknown, arrival = regimes + 1, int(views.scales[3]), tables.numbers[0]
    scales: Any = (views.scales[0], views.scales[1], views.scales[2])
    for j in range(n):
        k, regime = ints[K * TILE + j], ints[REGIME * TILE + j]
        column = regime if unknown < 0 else unknown
        tile[_PLAN * TILE + j] = views.plan[k]
        tile[_EXPECTED * TILE + j] = views.last_expected[k]
        tile[_REST * TILE + j] = views.rest_volume[k * width + column]
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
            (drifted, tile[_PLAN * TILE + j], tile[_REST * TILE + j]),
        )
        volume, flow, side = observations.drawn_features(tile[_EXPECTED * TILE + j], side, last_volume, tile[FLOW * TILE + j])
        seen[j] = remaining
        seen[TILE + j] = behind
        seen[2 * TILE + j] = required
        seen[3 * TILE + j] = displaced
        seen[4 * TILE + j] = moved
        seen[5 * TILE + j] = share
        seen[6 * TILE + j] = volume
        seen[7 * TILE + j] = flow
        seen[8 * TILE + j] = side


def show_tile(views: Views, regimes: int, ints: Any, seen: Any, observation: Any, n: int) -> None:
    """Lay the observations of the lanes of a tile out, one lane after the other."""
    width, unknown = regimes + 1, int(views.scales[3])
    for j in range(n):
        column = ints[REGIME * TILE + j] if unknown < 0 else unknown
        cell = ints[K * TILE + j] * width + column
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


def end_tile(tables: Tables, slices: int, ints: Any, tile: Any, reward: Any, terminated: Any, n: int) -> int:
    """Say which lanes are over and what each is paid, in bps; return how many are over."""
    impact = Impact(tables.numbers[6], tables.numbers[7], KIND.beta, KIND.transient_exponent)
    if not KIND.complete:
        for j in range(n):
            state = State(tile[REMAINING * TILE + j], tile[PERMANENT * TILE + j], tile[TRANSIENT * TILE + j])
            realised, expected = kernel.close(impact, state, tile[QUANTITY * TILE + j])
            marked = realised if tables.numbers[10] > 0.0 else expected
            over = (ints[K * TILE + j] == slices) | (state.remaining <= 0.0)
            tile[PAID * TILE + j] += marked if over else 0.0
    ended = 0
    for j in range(n):
        over = (ints[K * TILE + j] == slices) | (tile[REMAINING * TILE + j] <= 0.0)
        terminated[j] = over
        ended += over
        reward[j] = tile[PAID * TILE + j] * tile[SCALE * TILE + j]
    return ended


@cache
def loops(kind: Kind) -> Loops:
    """Compile the step and the observation of a kind of market."""
    twins = tiles()

    def step(  # type: ignore[no-untyped-def]
        packed, edges, rows, slices, regimes, mode, floats, whole, keys, values, observation, reward, terminated, start, stop,
    ):  # fmt: skip
        """Trade in the lanes from `start` to `stop`; return how many are over, or -1 - j where lane j was given no number."""
        for lane in range(start, stop):
            if values[lane] != values[lane]:
                return -1 - lane
        kind  # noqa: B018 - by it the compiled loop is told from others on disk
        tables, views = unpack_tables(packed, edges), unpack_views(packed, edges, rows)
        tile, ints = np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64)
        words, singles = np.empty(WORDS * TILE, np.uint64), np.empty(SINGLES * TILE, np.float32)
        seen = np.empty(DRAWN * TILE, np.float32)
        ended, varies = 0, views.scales[4] > 0.0
        for j in range(min(TILE, stop - start)):
            tile[SIDE * TILE + j], tile[QUANTITY * TILE + j], tile[SCALE * TILE + j] = (
                floats[SIDE, start], floats[QUANTITY, start], floats[SCALE, start]
            )  # fmt: skip
        for first in range(start, stop, TILE):
            n = min(TILE, stop - first)
            for row in range(SCALE + 1):
                if remembered(varies, row):
                    copy(floats[row, first:], tile[row * TILE :], n)
            copy(whole[K, first:], ints[K * TILE :], n)
            copy(whole[REGIME, first:], ints[REGIME * TILE :], n)
            ask_tile(views, mode, regimes, values[first:], ints, tile, n)
            trade_tile(tables, slices, regimes, keys[first:], ints, words, singles, tile, n)
            ended += end_tile(tables, slices, ints, tile, reward[first:], terminated[first:], n)
            observe_tile(views, tables, regimes, ints, tile, seen, n)
            show_tile(views, regimes, ints, seen, observation[first:], n)
            for row in range(len(FIELDS)):
                if remembered(False, row):
                    copy(tile[row * TILE :], floats[row, first:], n)
            copy(ints[K * TILE :], whole[K, first:], n)
            copy(ints[REGIME * TILE :], whole[REGIME, first:], n)
        return ended

    def observe(packed, edges, rows, regimes, floats, whole, lanes, observation):  # type: ignore[no-untyped-def]
        """Observe some lanes, in their order."""
        kind  # noqa: B018
        tables, views = unpack_tables(packed, edges), unpack_views(packed, edges, rows)
        tile, ints, seen = np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64), np.empty(DRAWN * TILE, np.float32)
        for first in range(0, len(lanes), TILE):
            n = min(TILE, len(lanes) - first)
            for row in _OBSERVED:
                for j in range(n):
                    tile[row * TILE + j] = floats[row, lanes[first + j]]
            for j in range(n):
                ints[K * TILE + j] = whole[K, lanes[first + j]]
                ints[REGIME * TILE + j] = whole[REGIME, lanes[first + j]]
            observe_tile(views, tables, regimes, ints, tile, seen, n)
            show_tile(views, regimes, ints, seen, observation[first:], n)

    return Loops(twins.build(step, kind), twins.build(observe, kind))


def remembered(varies: bool, row: int) -> bool:
    """Return whether a field of the lanes changes from slice to slice, or from lane to lane where orders vary."""
    if SIZE <= row <= LIKENESS:
        return bool(KIND.hunted)
    if row in (DRIFT_MOVE, TIMING_MOVE):
        return not KIND.complete
    return varies or row not in (SIDE, QUANTITY, SCALE)


def copy(source: Any, target: Any, n: int) -> None:
    """Copy the first numbers of an array into another."""
    for j in range(n):
        target[j] = source[j]


class Lanes:
    """The lanes of a vector environment, and how they are stepped: what they remember is in arrays that are changed in place.

    Args:
        task: What the lanes do.
        count: Number of lanes.
        threads: Threads that share the lanes; None: one below 4,096 lanes, else the processors there are, one for 2,048 lanes.
        copy: Whether each step returns new arrays.
    """

    def __init__(self, task: Task, count: int, threads: int | None = None, copy: bool = True) -> None:
        """Lay the lanes out and compile the loops, or find them on disk."""
        market = task.market
        self.kind, self.slices, self.count, self.copy = kind_of(market), market.slices, count, copy
        *views, rows = views_of(task.observer, task.mode, task.draw.varies)
        self._market = (*pack(*tables_of(market, task.realised), *views), rows)
        self._regimes, self._mode = market.regimes, actions.ACTION_MODES.index(task.mode.name)
        self.threads = threads or default_threads(count)
        self.floats, self.whole = np.zeros((len(FIELDS), count)), np.zeros((2, count), dtype=np.int64)
        self.keys = np.zeros(count, dtype=np.uint64)
        self._returned = self._empty()
        self._start()

    def _start(self) -> None:
        """Make what cannot be copied."""
        self._loops = loops(self.kind)
        edges = np.linspace(0, self.count, self.threads + 1).astype(int).tolist()
        self._parts = list(pairwise(edges))
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

    def step(
        self, values: NDArray[np.float64], shares: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], int]:
        """Trade in every lane: what its action asks for, or a number of shares.

        Returns:
            Observations, rewards, which lanes are over, and how many; or -1 - j where the value of lane j is not a number.
        """
        returned = self._empty() if self.copy else self._returned
        mode = SHARES if shares else self._mode
        lanes = (self.floats, self.whole, self.keys, values, *returned)
        given: tuple[Any, ...] = (*self._market, self.slices, self._regimes, mode, *lanes)
        if self._pool is None:
            return *returned, self._loops.step(*given, 0, self.count)
        if np.isnan(values).any():
            return *returned, -1 - int(np.isnan(values).argmax())
        others = [self._pool.submit(self._loops.step, *given, *part) for part in self._parts[1:]]
        ended = self._loops.step(*given, *self._parts[0])
        return *returned, ended + sum(other.result() for other in others)

    def observe(self, lanes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what some lanes observe, in their order, shape (lanes, features)."""
        observation = np.empty((len(lanes), FEATURES), dtype=np.float32)
        self._loops.observe(*self._market, self._regimes, self.floats, self.whole, lanes, observation)
        return observation

    def close(self) -> None:
        """Let the threads go; lanes that are stepped nevertheless are stepped by one."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
