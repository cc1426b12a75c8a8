"""Rollouts: whole batches of episodes, every policy on the same paths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.compiled import default_threads, resolve_backend
from hyperexec_env.checks import check_integer
from hyperexec_env.envs.situation import price_of_last, situation_of
from hyperexec_env.evaluation.identity import Cell, cell_of
from hyperexec_env.evaluation.loop import RuleLoop
from hyperexec_env.evaluation.policy import Policy, checked_shares, read_only
from hyperexec_env.evaluation.rule import rule_of
from hyperexec_env.market.account import Statement
from hyperexec_env.market.kernel import Components
from hyperexec_env.market.lane import Asked, EpisodeOrder, Lane, Settled, first_lane, settle, turn
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import Words, episode_keys
from hyperexec_env.market.path import Path, World, draw_path, order_numbers, trace
from hyperexec_env.records import map_leaves

if TYPE_CHECKING:
    from hyperexec_env.evaluation.store import Store

__all__ = ["BATCH", "Outcome", "join", "roll", "roll_rule", "rollouts"]

BATCH: Final = 4096
"""Episodes of a batch; a fixed grid, so that a longer run finds what a shorter one has stored."""
_TRIED: Final = 64
"""Episodes on which a rule is compared with the answers of its policy."""
_NEAR: Final = 1e-4
"""How far apart, relative and in bps, an objective may be."""

Floats = NDArray[np.float64]


class Outcome(NamedTuple):
    """What some episodes of one policy came to; arrays are over episodes unless they say otherwise."""

    statement: Statement
    """Costs, bps of the arrival notional."""
    forced: Floats
    """Shares that the end of the order forced, fraction of the order."""
    start_regime: NDArray[np.int64]
    """Regime of the first slice."""
    inventory: Floats
    """Remaining fraction at the start of each slice and at the end, summed over the episodes that start in each regime:
    shape (regimes, N + 1)."""
    path_hash: str
    """Hash of the market that the policy met (its regimes and the keys of its noise): equal for all that are compared."""


def roll(market: Market, policy: Policy, path: Path, hidden: bool = False) -> Outcome:
    """Run a policy over whole paths. The policy may read what it is given, not change it.

    Args:
        market: The market of the paths.
        policy: The policy.
        path: The paths, fields of shape (N, episodes).
        hidden: Whether the policy is not told the regime.

    Raises:
        ValueError: The policy changed what it was given, or returned something that is not shares.
    """
    numbers, orders, episodes = market.numbers, order_numbers(market), path.keys.shape
    order = EpisodeOrder(path.keys, orders.side, orders.quantity, orders.scale)
    start: World = map_leaves(lambda values: values[0], path.world)
    lane: Lane = map_leaves(lambda values: np.broadcast_to(values, episodes), first_lane(numbers, orders.quantity, start))
    inventory = np.zeros((market.regimes, market.slices + 1))
    for k in range(market.slices):
        inventory[:, k] = np.bincount(start.regime, lane.state.remaining, market.regimes)
        lane = lane._replace(k=k)
        situation = situation_of(market, numbers, hidden, order, lane, price_of_last(hidden, order, lane))
        shares = checked_shares(policy, read_only(situation))
        slice = map_leaves(lambda values: values[k], path.slices)  # noqa: B023
        world = map_leaves(lambda values: values[k + 1], path.world)  # noqa: B023
        lane, _ = turn(numbers, lane, slice, world, Asked(shares))
    inventory[:, -1] = np.bincount(start.regime, lane.state.remaining, market.regimes)
    settled: Settled = map_leaves(lambda values: np.broadcast_to(values, episodes), settle(numbers, order, lane))
    met = _hash(market, path.keys, trace(path.world.regime))
    return Outcome(settled.statement, settled.forced, start.regime, inventory / orders.quantity, met)


@dataclass
class _Entrant:
    """A policy that takes part, and how."""

    policy: Policy
    hidden: bool
    loop: RuleLoop | None
    """The compiled loop of its rule, where it has one."""
    cell: Cell | None
    """Its cell in the store, before the episodes are given."""
    twin: int | None
    """Which of the entrants before it is the same policy: its outcomes are taken."""
    tried: bool = False
    """Whether its rule has been compared with its answers."""


def rollouts(
    market: Market,
    policies: Sequence[Policy],
    hidden: Sequence[bool],
    seed: int,
    episodes: int,
    batch: int = BATCH,
    store: Store | None = None,
    backend: str = "auto",
    num_threads: int | None = None,
) -> Iterator[list[Outcome]]:
    """Yield the outcomes of all policies on the same paths, batch after batch; the batch size changes no result.

    With a store, what it holds is read, bit for bit what would be rolled, and the rest is rolled and put there before it is
    yielded. A policy without an identity (:func:`~hyperexec_env.evaluation.identity.policy_hash`) is always rolled.

    Args:
        market: The market.
        policies: The policies.
        hidden: Whether each of them is not told the regime.
        seed: Seed of the episodes.
        episodes: Number of episodes.
        batch: Episodes of a batch.
        store: Where results are kept, and taken from.
        backend: "numba": policies that offer a rule (:class:`~hyperexec_env.evaluation.rule.Ruled`) run in one compiled loop,
            with the same results to 1e-9; "numpy"; "auto": numba where it is installed.
        num_threads: Threads of the compiled loop; None: one below 4,096 episodes a batch, else the processors there are. It
            changes no result.

    Raises:
        ValueError: A policy returned something that is not shares, its rule does something else than it does itself, or the
            store cannot be used.
        MissingExtra: numba is asked for and not installed.
        DeterminismAlarm: What was rolled contradicts what the store holds.
        RuntimeError: A policy changed the market or the path.
    """
    compiled = resolve_backend(backend) == "numba"
    threads = default_threads(batch) if num_threads is None else check_integer("num_threads", num_threads, low=1, high=256)
    entrants: list[_Entrant] = []
    cells: list[Cell | None] = []
    for policy, blind in zip(policies, hidden, strict=True):
        rule = rule_of(policy, market, blind) if compiled else None
        loop = None if rule is None else RuleLoop(market, rule, blind, threads)
        cell = cell_of(market.scenario, policy, blind, seed, compiled=loop is not None)
        twin = cells.index(cell) if cell and cell in cells else None
        cells.append(cell)
        entrants.append(_Entrant(policy, blind, loop, cell if store else None, twin))
    for first in range(0, episodes, batch):
        numbers = range(first, min(first + batch, episodes))
        yield _batch(market, entrants, seed, numbers, store)


def _batch(market: Market, entrants: Sequence[_Entrant], seed: int, numbers: range, store: Store | None) -> list[Outcome]:
    """Return the outcomes of some episodes: read where they are stored, else rolled; a path is drawn where one is needed."""
    path: Path | None = None
    trial: Path | None = None
    keys = episode_keys(seed, np.arange(numbers.start, numbers.stop))
    outcomes: list[Outcome] = []
    sealed, sealed_path = _market_seal(market), 0
    for entrant in entrants:
        policy, blind, loop = entrant.policy, entrant.hidden, entrant.loop
        if entrant.twin is not None:
            outcomes.append(outcomes[entrant.twin])
            continue
        cell = entrant.cell and entrant.cell._replace(first=numbers.start, episodes=len(numbers))
        outcome = store.get(cell) if store and cell else None
        if outcome is None:
            if loop is None:
                if path is None:
                    path = draw_path(market, keys, float(market.scenario.side))
                    sealed_path = _seal((*path.slices, *path.world))
                outcome = roll(market, policy, path, blind)
            else:
                if not entrant.tried:
                    trial = trial or draw_path(market, keys[:_TRIED], float(market.scenario.side))
                    _try_rule(market, policy, loop, trial, blind)
                    entrant.tried = True
                outcome = roll_rule(market, loop, keys)
            if _market_seal(market) != sealed:
                raise RuntimeError(f"policy {policy.name!r} has changed the market that it was given")
            if store and cell:
                store.put(cell, outcome, market.scenario, policy.name)
        outcomes.append(outcome)
    if path is not None and _seal((*path.slices, *path.world)) != sealed_path:
        raise RuntimeError("the policies did not meet the same market: a policy has changed the path that it was given")
    return outcomes


def _try_rule(market: Market, policy: Policy, loop: RuleLoop, path: Path, hidden: bool) -> None:
    """Compare the rule of a policy with its own answers, on some episodes.

    Raises:
        ValueError: The objectives differ.
    """
    own = roll(market, policy, path, hidden).statement.objective
    ruled = roll_rule(market, loop, path.keys).statement.objective
    off = ~(np.abs(ruled - own) <= _NEAR * (1.0 + np.abs(own)))
    if off.any():
        worst = int(np.argmax(np.abs(ruled - own)))
        raise ValueError(
            f"the rule of policy {policy.name!r} must do what its `act` does, got objectives of {ruled[worst]:.6g} and "
            f"{own[worst]:.6g} bps in one (others in {off.sum()} of {len(off)} episodes); correct it, or use backend='numpy'"
        )


def roll_rule(market: Market, loop: RuleLoop, keys: Words) -> Outcome:
    """Run a policy by its rule over whole episodes, in a compiled loop; what :func:`roll` does, to 1e-9."""
    settled, start, inventory, traces = loop.run(keys)
    return Outcome(settled.statement, settled.forced, start, inventory, _hash(market, keys, traces))


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of the batches of one policy."""
    statements = [outcome.statement for outcome in outcomes]
    shortfall, objective, expected, risk = (
        np.concatenate(column) for column in zip(*(statement[:4] for statement in statements), strict=True)
    )
    parts = (np.concatenate(column) for column in zip(*(statement.components for statement in statements), strict=True))
    return Outcome(
        Statement(shortfall, objective, expected, risk, Components(*parts)),
        np.concatenate([outcome.forced for outcome in outcomes]),
        np.concatenate([outcome.start_regime for outcome in outcomes]),
        np.sum([outcome.inventory for outcome in outcomes], axis=0),
        hashlib.sha256("".join(outcome.path_hash for outcome in outcomes).encode()).hexdigest()[:16],
    )


def _hash(market: Market, keys: Words, traces: Words) -> str:
    """Hash what tells a market from others and is a whole number: the same however it was computed."""
    digest = hashlib.sha256(market.scenario.hash.encode())
    digest.update(np.ascontiguousarray(keys).tobytes())
    digest.update(traces.tobytes())
    return digest.hexdigest()[:16]


def _seal(arrays: Iterable[NDArray[Any]]) -> int:
    """Return a sum over the bits of some arrays of 64-bit numbers: another one after a change."""
    return sum(place * int(np.add.reduce(values.view(np.uint64), axis=None)) for place, values in enumerate(arrays, start=1))


def _market_seal(market: Market) -> tuple[Any, ...]:
    """Return what is another one after a change of a market."""
    return _seal(market.arrays()), market.impact, market.numbers, market.scenario
