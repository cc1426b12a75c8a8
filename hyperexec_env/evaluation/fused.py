"""Rollouts in one compiled loop (extra `fast`): nature, the policy, the trades and the account, without Python in between.

What is compiled is the source of the other executions (:mod:`hyperexec_env.market.compiled`); no path is stored. A policy takes
part if it offers a rule (:mod:`hyperexec_env.evaluation.rule`): schedules, the tables of the solver, trained networks.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.action import ACTION_MODES
from hyperexec_env.envs.compiled import (
    DRAWN,
    FEATURES,
    ask_tile,
    copy,
    observe_tile,
    tiles,
    unpack_views,
    views_of,
)
from hyperexec_env.evaluation.policy import PACKAGES
from hyperexec_env.evaluation.rule import Network, Rule
from hyperexec_env.market import noise, path
from hyperexec_env.market.account import Components, Statement
from hyperexec_env.market.compiled import (
    ASKED,
    FLOW,
    INTEGERS,
    KEY,
    PRICE,
    REGIME,
    REGIMES,
    REMAINING,
    ROWS,
    SETTLED,
    SLICES,
    TILE,
    TRANSIENT,
    Draft,
    K,
    Kind,
    Tables,
    Twins,
    begin_tile,
    kind_of,
    new_draft,
    pack,
    settle_tile,
    tables_of,
    trade_tile,
    unpack,
    unpack_tables,
)
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import Words

__all__ = ["Run", "fused"]

_PART: Final = 4 * TILE
"""Episodes that one thread takes at a time; the results do not depend on the number of threads."""
_FLAT: Final = np.float32(10.0)
"""Where tanh is one in single precision."""
_ONE: Final = np.float32(1.0)
_TWO: Final = np.float32(2.0)
_HEADS: Final = ("clip", "tanh", "argmax")
decide: Any = None
"""The function of the rule that a loop is compiled for, set by :meth:`~hyperexec_env.market.compiled.Twins.build`."""

Floats = NDArray[np.float64]


class Run(NamedTuple):
    """What some episodes came to; fields of the same name are those of :class:`~hyperexec_env.evaluation.rollout.Outcome`."""

    statement: Statement
    forced: Floats
    start_regime: NDArray[np.int64]
    inventory: Floats
    trace: Words
    """The regimes of each episode as one word, see :func:`~hyperexec_env.market.path.trace`."""


def fused(market: Market, rule: Rule | Network, keys: Words, hidden: bool = False, threads: int = 1) -> Run:
    """Run a policy over whole episodes.

    Args:
        market: The market.
        rule: What the policy does.
        keys: Keys of the episodes.
        hidden: Whether the policy is not told the regime.
        threads: Threads that share the episodes.

    Raises:
        MissingExtra: numba is not installed.
        ValueError: A rule returned something that is not a finite number.
    """
    starts = range(0, len(keys), _PART)
    inventory = np.zeros((len(starts), market.regimes, market.slices + 1))
    settled, start_regime = np.empty((SETTLED, len(keys))), np.empty(len(keys), dtype=np.int64)
    trace = np.empty(len(keys), dtype=np.uint64)
    loop, policy = _prepared(market, rule)
    order = np.array([market.scenario.side, market.scenario.quantity], dtype=float)
    numbers = (market.unknown if hidden else -1, market.rest_volume[0, market.unknown] / market.slices, order)
    given = (*policy, *numbers, keys, start_regime, settled, trace, inventory)
    parts = [(first, min(first + _PART, len(keys)), number) for number, first in enumerate(starts)]
    if threads == 1 or len(parts) == 1:
        missing = sum(loop(*given, *part) for part in parts)
    else:
        with ThreadPoolExecutor(threads) as pool:
            missing = sum(done.result() for done in [pool.submit(loop, *given, *part) for part in parts])
    if missing:
        raise ValueError(f"a rule must return finite shares, got something else {missing:,} times")
    shortfall, objective, expected, risk, *components, forced, _, _ = settled
    statement = Statement(shortfall, objective, expected, risk, Components(*components))
    return Run(statement, forced, start_regime, np.add.reduce(inventory, axis=0) / market.scenario.quantity, trace)


def _prepared(market: Market, rule: Rule | Network) -> tuple[Callable[..., int], tuple[Any, ...]]:
    """Return the loop of a rule, and what it needs of market and rule."""
    if isinstance(rule, Rule):
        packed = pack(*tables_of(market), rule.numbers)
        return _rule_loop(kind_of(market), rule.decide, *_stamp(rule.decide)), (packed, rule.table)
    *views, rows = views_of(rule.observer, rule.mode)
    packed = pack(*tables_of(market), *views)
    sizes = np.array([FEATURES, *(len(bias) for _, bias in rule.layers)])
    weights = np.concatenate([np.ravel(part) for layer in rule.layers for part in layer])
    codes = (rule.activation == "tanh", _HEADS.index(rule.head), ACTION_MODES.index(rule.mode.name))
    return _network_loop(kind_of(market)), (packed, rows, sizes, weights, *codes)


@cache
def _stamp(function: Callable[..., Any]) -> tuple[str, bool]:
    """Return what a loop is told by that a function is compiled into, and whether it may be kept on disk.

    Only functions of the package are kept, which stand in a module and are told by its source. Of others nobody knows what
    they depend on: they are compiled in each process, and each on its own.
    """
    code, package = function.__code__, function.__module__.split(".")[0]
    file = Path(code.co_filename)
    alone = function.__closure__ is None and not function.__defaults__ and not function.__kwdefaults__
    if package not in PACKAGES or not alone or not file.is_file():
        return os.urandom(8).hex(), False
    named = f"{function.__module__} {function.__qualname__} {code.co_firstlineno} ".encode()
    return hashlib.sha256(named + code.co_code + file.read_bytes()).hexdigest()[:16], True


@cache
def _tiles() -> Twins:
    """Return what compiles the tiles of this module."""
    twins = tiles()
    own = ("new_record", "start_tile", "record_tile", "tanh", "show_network", "layer_tile", "head_tile")
    twins.add(sys.modules[__name__], own, by_kind=("finish_tile",))
    return twins


class Record(NamedTuple):
    """What is recorded of the episodes of a tile on their way."""

    trace: Words
    left: Floats
    """What remains at the start of each slice and at the end."""
    settled: Floats


def new_record(slices: int) -> Record:
    """Return an empty record."""
    return Record(np.empty(TILE, np.uint64), np.empty((slices + 1) * TILE), np.empty(SETTLED * TILE))


def start_tile(
    tables: Tables, order: Any, volume: float, keys: Any, ints: Any, tile: Any, draft: Draft, record: Any, starts: Any, n: int
) -> None:
    """Begin the episodes of a tile."""
    for j in range(n):
        ints[KEY * TILE + j] = np.int64(keys[j])
    begin_tile(tables, order[:1], order[1:], volume, ints, tile, draft, n)
    for j in range(n):
        starts[j] = ints[REGIME * TILE + j]
        record.trace[j] = 0


def record_tile(k: int, ints: Any, tile: Any, record: Any, n: int) -> None:
    """Record the regimes and what remains at the start of a slice."""
    for j in range(n):
        record.trace[j] = record.trace[j] * path.TRACE + np.uint64(ints[REGIME * TILE + j])
    copy(tile[REMAINING * TILE :], record.left[k * TILE :], n)


def finish_tile(
    tables: Tables, ints: Any, tile: Any, record: Any, starts: Any, settled: Any, traces: Any, held: Any, n: int
) -> None:
    """Keep what the episodes of a tile came to."""
    settle_tile(tables, ints, tile, record.settled, n)
    for row in range(SETTLED):
        copy(record.settled[row * TILE :], settled[row], n)
    copy(record.trace, traces, n)
    for j in range(n):
        for k in range(held.shape[1]):
            held[starts[j], k] += record.left[k * TILE + j]


@cache
def _rule_loop(kind: Kind, function: Callable[..., Any], stamp: str, kept: bool) -> Callable[..., int]:
    """Compile the rollout of a kind of market under a rule; `kept` says whether the result may be kept on disk."""

    def run(  # type: ignore[no-untyped-def]
        packed, table, seen_as, volume, order, keys, starts, settled, traces, inventory, start, stop, part
    ):
        """Run the episodes from `start` to `stop`; return how often the rule answered with what is no number."""
        kind, stamp  # noqa: B018 - by them the compiled loop is told from others on disk
        tables, numbers = unpack_tables(packed), unpack(packed, 6)
        tile, ints = np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64)
        slices, missing = int(tables.numbers[SLICES]), 0
        draft, record = new_draft(), new_record(slices)
        for first in range(start, stop, TILE):
            n = min(TILE, stop - first)
            start_tile(tables, order, volume, keys[first:], ints, tile, draft, record, starts[first:], n)
            for k in range(slices):
                record_tile(k, ints, tile, record, n)
                for j in range(n):
                    seen = ints[REGIME * TILE + j] if seen_as < 0 else seen_as
                    transient = tile[TRANSIENT * TILE + j] if seen_as < 0 else 0.0
                    tile[ASKED * TILE + j] = decide(
                        numbers,
                        table,
                        k,
                        seen,
                        tile[REMAINING * TILE + j],
                        transient,
                        tile[FLOW * TILE + j],
                        tile[PRICE * TILE + j],
                    )
                for j in range(n):
                    missing += not abs(tile[ASKED * TILE + j]) < np.inf
                trade_tile(tables, False, ints, tile, draft, n)
            record_tile(slices, ints, tile, record, n)
            held = inventory[part]
            finish_tile(tables, ints, tile, record, starts[first:], settled[:, first:], traces[first:], held, n)
        return missing

    loop: Callable[..., int] = _tiles().build(run, kind, kept, decide=function)
    return loop


def tanh(value: Any) -> Any:
    """Return the hyperbolic tangent to 2e-7, in single precision."""
    return _ONE - _TWO / (noise.exponential(_TWO * min(max(value, -_FLAT), _FLAT)) + _ONE)


def show_network(rows: Any, width: int, unknown: int, ints: Any, seen: Any, features: Any, n: int) -> None:
    """Lay the observations of a tile out, feature after feature."""
    for feature in range(DRAWN):
        copy(seen[feature * TILE :], features[feature * TILE :], n)
    for feature in range(DRAWN, FEATURES):
        column = features[feature * TILE :]
        for j in range(n):
            regime = ints[REGIME * TILE + j] if unknown < 0 else unknown
            column[j] = rows[ints[K * TILE + j] * width + regime, feature]


def layer_tile(weights: Any, inputs: int, outputs: int, source: Any, target: Any, n: int) -> None:
    """Compute a layer, without its activation, for the lanes of a tile: weights of shape (outputs, inputs), then biases."""
    for output in range(outputs):
        total, factors = target[output * TILE :], weights[output * inputs :]
        bias = weights[outputs * inputs + output]
        for j in range(n):
            total[j] = bias
        whole = inputs - inputs % 4
        for first in range(0, whole, 4):
            a, b, c, d = factors[first], factors[first + 1], factors[first + 2], factors[first + 3]
            w, x = source[first * TILE :], source[(first + 1) * TILE :]
            y, z = source[(first + 2) * TILE :], source[(first + 3) * TILE :]
            for j in range(n):
                total[j] += (a * w[j] + b * x[j]) + (c * y[j] + d * z[j])
        for one in range(whole, inputs):
            a, w = factors[one], source[one * TILE :]
            for j in range(n):
                total[j] += a * w[j]


def head_tile(head: int, outputs: int, values: Any, actions: Any, n: int) -> None:
    """Turn the values of the last layer into actions."""
    for j in range(n):
        if head == 0:
            actions[j] = min(max(values[j], -_ONE), _ONE)
        elif head == 1:
            actions[j] = tanh(values[j])
        else:
            best = 0
            for other in range(1, outputs):
                best = other if values[other * TILE + j] > values[best * TILE + j] else best
            actions[j] = best


@cache
def _network_loop(kind: Kind) -> Callable[..., int]:
    """Compile the rollout of a kind of market under a network."""

    def run(  # type: ignore[no-untyped-def]
        packed, rows, sizes, weights, smooth, head, mode, seen_as, volume, order, keys, starts, settled, traces, inventory,
        start, stop, part,
    ):  # fmt: skip
        """Run the episodes from `start` to `stop`."""
        kind  # noqa: B018
        tables, views = unpack_tables(packed), unpack_views(packed, rows)
        tile, ints = np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64)
        slices, width = int(tables.numbers[SLICES]), int(tables.numbers[REGIMES]) + 1
        draft, record = new_draft(), new_record(slices)
        seen, actions = np.empty(DRAWN * TILE, np.float32), np.empty(TILE)
        source, target = np.empty(sizes.max() * TILE, np.float32), np.empty(sizes.max() * TILE, np.float32)
        for first in range(start, stop, TILE):
            n = min(TILE, stop - first)
            start_tile(tables, order, volume, keys[first:], ints, tile, draft, record, starts[first:], n)
            for k in range(slices):
                record_tile(k, ints, tile, record, n)
                observe_tile(views, tables, width, False, ints, tile, draft, seen, n)
                show_network(rows, width, seen_as, ints, seen, source, n)
                place, last = 0, len(sizes) - 2
                for layer in range(last + 1):
                    inputs, outputs = sizes[layer], sizes[layer + 1]
                    layer_tile(weights[place:], inputs, outputs, source, target, n)
                    place += (inputs + 1) * outputs
                    if layer < last:
                        for output in range(outputs):
                            values = target[output * TILE :]
                            if smooth:
                                for j in range(n):
                                    values[j] = tanh(values[j])
                            else:
                                for j in range(n):
                                    values[j] = max(values[j], np.float32(0.0))
                        source, target = target, source
                head_tile(head, sizes[last + 1], target, actions, n)
                ask_tile(views, mode, width, False, actions, ints, tile, draft, n)
                trade_tile(tables, False, ints, tile, draft, n)
            record_tile(slices, ints, tile, record, n)
            held = inventory[part]
            finish_tile(tables, ints, tile, record, starts[first:], settled[:, first:], traces[first:], held, n)
        return 0

    loop: Callable[..., int] = _tiles().build(run, kind)
    return loop
