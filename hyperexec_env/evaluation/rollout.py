"""Rollouts: whole batches of episodes, every policy on the same paths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer
from hyperexec_env.envs.observation import Situation
from hyperexec_env.evaluation.fused import fused
from hyperexec_env.evaluation.identity import Cell, cell_of
from hyperexec_env.evaluation.policy import Policy, checked_shares, read_only
from hyperexec_env.evaluation.rule import Network, Rule, rule_of
from hyperexec_env.market.account import Components, Statement, book, forced_shares, open_account, settle
from hyperexec_env.market.compiled import default_threads, resolve_backend
from hyperexec_env.market.kernel import Slice, State, paid_cost
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import Words, episode_keys
from hyperexec_env.market.path import Path, draw_path, trace
from hyperexec_env.market.predator import Hunt, trade
from hyperexec_env.orders import Order

if TYPE_CHECKING:
    from hyperexec_env.evaluation.store import Store

__all__ = ["BATCH", "Outcome", "join", "roll", "roll_rule", "rollouts"]

BATCH: Final = 4096
"""Episodes of a batch; a fixed grid, so that a longer run finds what a shorter one has stored."""
_TRIED: Final = 64
"""Episodes on which a rule is compared with the answers of its policy."""
_NEAR: Final = 1e-4
"""How far apart, relative and in bps, an objective may be: the weights of networks are single-precision numbers."""
_MAY_BE_OFF: Final = 0.05
"""Share of episodes in which a network may be further apart: rounding can tip its choice between two actions."""

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
    scenario, unknown, impact = market.scenario, market.unknown, market.impact
    order = Order(float(scenario.side), scenario.quantity)
    episodes = len(path.keys)
    zero = np.zeros(episodes)
    state = State(zero + order.quantity, zero, zero)
    account = open_account()
    last_shares, last_volume, last_price = zero, zero + market.rest_volume[0, unknown] / market.slices, path.world.price[0]
    start = path.world.regime[0]
    inventory = np.zeros((market.regimes, market.slices + 1))
    forced: Any = zero
    hunt = Hunt(zero, zero, zero, zero)
    for k in range(market.slices):
        inventory[:, k] = np.bincount(start, state.remaining, market.regimes)
        regime, flow, price = (values[k] for values in path.world)
        situation = Situation(
            market=market,
            k=k,
            seen=np.full_like(regime, unknown) if hidden else regime,
            side=order.side,
            quantity=order.quantity,
            remaining=state.remaining,
            permanent=state.permanent,
            transient=zero if hidden else state.transient,
            price=price,
            flow=flow,
            last_shares=last_shares,
            last_volume=last_volume,
            last_price=last_price,
        )
        shares = checked_shares(policy, read_only(situation))
        slice = Slice(*(values[k] for values in path.slices))
        before = state.remaining
        state, cost, hunt = trade(impact, state, slice, shares, hunt, scenario.predator)
        account = book(account, cost, slice.drift, slice.innovation)
        last_shares, last_volume = before - state.remaining, slice.volume
        last_price = path.world.price[k + 1]
        if not hidden:
            paid = np.divide(paid_cost(cost), last_shares, out=np.zeros(episodes), where=last_shares > 0.0)
            last_price = np.where(last_shares > 0.0, price + order.side * paid, last_price)
        if k == market.slices - 1:
            forced = forced_shares(slice.least, slice.volume, scenario.max_participation, shares, last_shares)
    inventory[:, -1] = np.bincount(start, state.remaining, market.regimes)
    statement = settle(account, impact, state, order, scenario.arrival_price)
    met = _hash(market, path.keys, trace(path.world.regime))
    return Outcome(statement, forced / order.quantity, start, inventory / order.quantity, met)


@dataclass
class _Entrant:
    """A policy that takes part, and how."""

    policy: Policy
    hidden: bool
    rule: Rule | Network | None
    """What it does, where the compiled loop is to run it."""
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
            with the same results to 1e-9 (networks: to 1e-6 of an action); "numpy"; "auto": numba where it is installed.
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
        cell = cell_of(market.scenario, policy, blind, seed, compiled=rule is not None)
        twin = cells.index(cell) if cell and cell in cells else None
        cells.append(cell)
        entrants.append(_Entrant(policy, blind, rule, cell if store else None, twin))
    for first in range(0, episodes, batch):
        numbers = range(first, min(first + batch, episodes))
        yield _batch(market, entrants, seed, numbers, store, threads)


def _batch(
    market: Market, entrants: Sequence[_Entrant], seed: int, numbers: range, store: Store | None, threads: int
) -> list[Outcome]:
    """Return the outcomes of some episodes: read where they are stored, else rolled; a path is drawn where one is needed."""
    path: Path | None = None
    trial: Path | None = None
    keys = episode_keys(seed, np.arange(numbers.start, numbers.stop))
    outcomes: list[Outcome] = []
    sealed, sealed_path = _market_seal(market), 0
    for entrant in entrants:
        policy, blind, rule = entrant.policy, entrant.hidden, entrant.rule
        if entrant.twin is not None:
            outcomes.append(outcomes[entrant.twin])
            continue
        cell = entrant.cell and entrant.cell._replace(first=numbers.start, episodes=len(numbers))
        outcome = store.get(cell) if store and cell else None
        if outcome is None:
            if rule is None:
                if path is None:
                    path = draw_path(market, keys, float(market.scenario.side))
                    sealed_path = _seal((*path.slices, *path.world))
                outcome = roll(market, policy, path, blind)
            else:
                if not entrant.tried:
                    trial = trial or draw_path(market, keys[:_TRIED], float(market.scenario.side))
                    _try_rule(market, policy, rule, trial, blind)
                    entrant.tried = True
                outcome = roll_rule(market, rule, keys, blind, threads)
            if _market_seal(market) != sealed:
                raise RuntimeError(f"policy {policy.name!r} has changed the market that it was given")
            if store and cell:
                store.put(cell, outcome, market.scenario, policy.name)
        outcomes.append(outcome)
    if path is not None and _seal((*path.slices, *path.world)) != sealed_path:
        raise RuntimeError("the policies did not meet the same market: a policy has changed the path that it was given")
    return outcomes


def _try_rule(market: Market, policy: Policy, rule: Rule | Network, path: Path, hidden: bool) -> None:
    """Compare the rule of a policy with its own answers, on some episodes.

    Raises:
        ValueError: They come to something else.
    """
    own = roll(market, policy, path, hidden).statement.objective
    ruled = roll_rule(market, rule, path.keys, hidden).statement.objective
    off = ~(np.abs(ruled - own) <= _NEAR * (1.0 + np.abs(own)))
    if off.mean() > (_MAY_BE_OFF if isinstance(rule, Network) else 0.0):
        worst = int(np.argmax(np.abs(ruled - own)))
        raise ValueError(
            f"the rule of policy {policy.name!r} must do what its `act` does, got objectives of {ruled[worst]:.6g} and "
            f"{own[worst]:.6g} bps in one (others in {off.sum()} of {len(off)} episodes); correct it, or use backend='numpy'"
        )


def roll_rule(market: Market, rule: Rule | Network, keys: Words, hidden: bool = False, threads: int = 1) -> Outcome:
    """Run a policy by its rule over whole episodes, in a compiled loop; what :func:`roll` does, to 1e-9 (networks: 1e-6)."""
    statement, forced, start, inventory, traces = fused(market, rule, keys, hidden, threads)
    return Outcome(statement, forced, start, inventory, _hash(market, keys, traces))


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
    values = [getattr(market, item.name) for item in fields(market)]
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    return _seal(arrays), *(value for value in values if not isinstance(value, np.ndarray))
