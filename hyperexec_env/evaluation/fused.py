"""Rollouts in one compiled loop (extra `fast`): nature, the policy, the trades and the account, without numpy in between.

What is compiled is the source of the other executions (:mod:`hyperexec_env.market.compiled`); no path is stored. A policy takes
part if it can say its answers as a :class:`Plan`: a fraction of what remains for each slice and regime.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.account import Account, Statement, forced_shares, settle
from hyperexec_env.market.compiled import (
    ASKED,
    COST,
    DRIFT_MOVE,
    FLOW,
    INTEGERS,
    LAST_SHARES,
    LAST_VOLUME,
    PERMANENT,
    PRICE,
    REGIME,
    REMAINING,
    ROWS,
    SIDE,
    SINGLES,
    TILE,
    TIMING_MOVE,
    TRANSIENT,
    WORDS,
    K,
    Kind,
    kind_of,
    pack,
    tables_of,
    trade_tile,
    twins,
    unpack_tables,
)
from hyperexec_env.market.kernel import Cost, State
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import Words
from hyperexec_env.market.path import begin
from hyperexec_env.orders import Order

__all__ = ["Plan", "Planned", "Run", "fused", "plan_of"]

_PART: Final = 1024
"""Episodes that one thread takes at a time; the results do not depend on the number of threads."""

Floats = NDArray[np.float64]
Plan = Floats
"""Fraction of what remains to trade in each slice and regime, shape (slices, regimes + 1); the last column is for who is not
told the regime."""


@runtime_checkable
class Planned(Protocol):
    """A policy whose answer is a fraction of what remains, known for each slice and regime before the first episode."""

    def plan(self, market: Market) -> Plan:
        """Return the plan. `act` must return `situation.remaining * plan[situation.k, situation.seen]`."""
        ...


class Run(NamedTuple):
    """What some episodes came to; fields of the same name are those of :class:`~hyperexec_env.evaluation.rollout.Outcome`."""

    statement: Statement
    forced: Floats
    start_regime: NDArray[np.int64]
    inventory: Floats
    regimes: NDArray[np.int8]
    """Regime at the start of each slice and at the end, shape (N + 1, episodes)."""


def plan_of(policy: Any, market: Market) -> Plan | None:
    """Return the plan of a policy, None where it has none.

    Raises:
        ValueError: It has a plan that is not finite numbers of the shape it should have.
    """
    if not isinstance(policy, Planned):
        return None
    plan, shape = np.asarray(policy.plan(market), dtype=float), (market.slices, market.regimes + 1)
    if plan.shape != shape or not np.isfinite(plan).all():
        raise ValueError(f"plan must be finite numbers of shape {shape}, got {plan!r}")
    return plan


def fused(market: Market, plan: Plan, keys: Words, hidden: bool = False, threads: int = 1) -> Run:
    """Run a plan over whole episodes.

    Args:
        market: The market.
        plan: The plan.
        keys: Keys of the episodes.
        hidden: Whether the policy is not told the regime.
        threads: Threads that share the episodes.

    Raises:
        MissingExtra: numba is not installed.
    """
    order, world = Order(float(market.scenario.side), market.scenario.quantity), begin(market, keys)
    loop, packed = _loop(kind_of(market)), pack(*tables_of(market), plan.ravel())
    ends, regimes = np.empty((ROWS, len(keys))), np.empty((market.slices + 1, len(keys)), dtype=np.int8)
    starts = range(0, len(keys), _PART)
    inventory = np.zeros((len(starts), market.regimes, market.slices + 1))
    numbers = (market.slices, market.regimes, market.unknown if hidden else -1, order.side, order.quantity)
    given = (*packed, *numbers, keys, world.regime, world.flow, ends, regimes, inventory)
    parts = [(first, min(first + _PART, len(keys)), number) for number, first in enumerate(starts)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            loop(*given, *part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(loop, *given, *part) for part in parts]:
                done.result()
    account = Account(Cost(*ends[COST : COST + len(Cost._fields)]), ends[DRIFT_MOVE], ends[TIMING_MOVE])
    state = State(ends[REMAINING], ends[PERMANENT], ends[TRANSIENT])
    statement = settle(account, market.impact, state, order, market.scenario.arrival_price)
    cap, asked, traded = market.scenario.max_participation, ends[ASKED], ends[LAST_SHARES]
    forced = forced_shares(market.least[-1], ends[LAST_VOLUME], cap, asked, traded)
    held = np.add.reduce(inventory, axis=0)
    return Run(statement, forced / order.quantity, world.regime, held / order.quantity, regimes)


@cache
def _loop(kind: Kind) -> Callable[..., None]:
    """Compile the rollout of a kind of market."""

    def run(  # type: ignore[no-untyped-def]
        packed, edges, slices, count, seen_as, side, quantity, keys, start_regime, start_flow, ends, regimes, inventory,
        start, stop, part,
    ):  # fmt: skip
        """Run the episodes from `start` to `stop`."""
        kind  # noqa: B018 - by it the compiled loop is told from others on disk
        tables, plan, width = unpack_tables(packed, edges), packed[edges[5] : edges[6]], count + 1
        tile, ints = np.empty(ROWS * TILE), np.empty(INTEGERS * TILE, np.int64)
        words, singles = np.empty(WORDS * TILE, np.uint64), np.empty(SINGLES * TILE, np.float32)
        held = inventory[part]
        for first in range(start, stop, TILE):
            n = min(TILE, stop - first)
            tile[:] = 0.0
            for j in range(n):
                tile[FLOW * TILE + j], tile[PRICE * TILE + j] = start_flow[first + j], tables.numbers[0]
                tile[REMAINING * TILE + j], tile[SIDE * TILE + j] = quantity, side
                ints[K * TILE + j], ints[REGIME * TILE + j] = 0, start_regime[first + j]
            for k in range(slices):
                for j in range(n):
                    regimes[k, first + j] = ints[REGIME * TILE + j]
                    held[start_regime[first + j], k] += tile[REMAINING * TILE + j]
                for j in range(n):
                    seen = ints[REGIME * TILE + j] if seen_as < 0 else seen_as
                    tile[ASKED * TILE + j] = tile[REMAINING * TILE + j] * plan[k * width + seen]
                trade_tile(tables, slices, count, keys[first:], ints, words, singles, tile, n)
            for j in range(n):
                regimes[slices, first + j] = ints[REGIME * TILE + j]
                held[start_regime[first + j], slices] += tile[REMAINING * TILE + j]
            for row in range(ROWS):
                for j in range(n):
                    ends[row, first + j] = tile[row * TILE + j]

    loop: Callable[..., None] = twins().build(run, kind)
    return loop
