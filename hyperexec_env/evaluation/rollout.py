"""Rollouts: batches of whole episodes, with every policy on the same paths."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.compiled import default_threads, resolve_backend
from hyperexec_env.checks import check_integer
from hyperexec_env.envs.situation import price_of_last, situation_of, with_law
from hyperexec_env.envs.uncertainty import Held, begin_belief, believe, believed, held_table
from hyperexec_env.evaluation.basket_rollout import roll_basket
from hyperexec_env.evaluation.child import ends_in_time
from hyperexec_env.evaluation.identity import Cell, cell_of
from hyperexec_env.evaluation.loop import RuleLoop
from hyperexec_env.evaluation.outcome import Outcome, checksum, join, path_hash
from hyperexec_env.evaluation.policy import (
    PACKAGES,
    Policy,
    PolicyFailure,
    blamed,
    checked_shares,
    follows_regimes,
    read_only,
)
from hyperexec_env.evaluation.rule import rule_of
from hyperexec_env.market.basket_path import BasketMarket, build_basket, draw_basket_path
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.hidden import laws_along
from hyperexec_env.market.lane import Asked, EpisodeOrder, Lane, Settled, first_lane, settle, turn
from hyperexec_env.market.noise import Words, episode_keys
from hyperexec_env.market.path import Path, World, draw_path, order_numbers, trace
from hyperexec_env.market.scenarios import AnyScenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.records import map_leaves
from hyperexec_env.workers import ALONE, Workers

if TYPE_CHECKING:
    from hyperexec_env.evaluation.store import Store

__all__ = ["BATCH", "Outcome", "join", "market_of", "paths_of", "roll", "roll_on", "roll_rule", "rollouts"]

BATCH: Final = 4096
"""Episodes per batch. Batches lie on a fixed grid, so that a longer run can reuse the stored results of a shorter one."""
_TRIED: Final = 64
"""Number of episodes on which a rule is compared with the `act` of its policy."""
_TOLERANCE: Final = 1e-4
"""Tolerance of the objectives in that comparison: relative, and absolute in bps."""

Floats = NDArray[np.float64]


def roll(
    market: Market, policy: Policy, path: Path, hidden: bool = False, timeout: float = 0.0, point: Market | None = None
) -> Outcome:
    """Run a policy over whole paths. The policy receives read-only situations.

    Args:
        market: The market of the paths.
        policy: The policy.
        path: The paths, fields of shape (N, episodes).
        hidden: Whether the regime is hidden from the policy.
        timeout: Largest time of one call of the policy, seconds; 0: no limit.
        point: Market of the point estimate, which the policy knows in place of the market of the paths
            (:mod:`~hyperexec_env.envs.uncertainty`); None: the policy knows the market of the paths.

    Raises:
        PolicyFailure: The policy wrote to a situation or raised another error, did not return in time, or did not return finite
            shares.
    """
    numbers, orders, episodes = market.numbers, order_numbers(market), path.keys.shape
    known, held = point or market, None if point is None else held_table(point, hidden).decay
    belief = map_leaves(lambda zero: np.full(episodes, zero), begin_belief())
    order = EpisodeOrder(path.keys, orders.side, orders.quantity, orders.scale)
    start: World = map_leaves(lambda values: values[0], path.world)
    lane: Lane = map_leaves(lambda values: np.broadcast_to(values, episodes), first_lane(known.numbers, orders.quantity, start))
    inventory = np.zeros((market.regimes, market.slices + 1))
    laws = laws_along(known, path) if follows_regimes(policy) else None
    for k in range(market.slices):
        inventory[:, k] = np.bincount(start.regime, lane.state.remaining, market.regimes)
        lane = lane._replace(k=k)
        seen = lane if held is None else believed(known.numbers, order, lane, belief)
        situation = situation_of(known, known.numbers, hidden, order, seen, price_of_last(hidden, order, seen))
        if laws is not None:
            situation = with_law(situation, map_leaves(lambda values: values[k], laws))  # noqa: B023
        shares = checked_shares(policy, read_only(situation), timeout)
        slice = map_leaves(lambda values: values[k], path.slices)  # noqa: B023
        world = map_leaves(lambda values: values[k + 1], path.world)  # noqa: B023
        before, (lane, _) = lane, turn(numbers, lane, slice, world, Asked(shares))
        if held is not None:
            decay = Held(held.take(known.cell(k, before.world.regime)))
            belief = believe(known.numbers, before, slice, lane.last.shares, belief, decay)
    inventory[:, -1] = np.bincount(start.regime, lane.state.remaining, market.regimes)
    settled: Settled = map_leaves(lambda values: np.broadcast_to(values, episodes), settle(numbers, order, lane))
    hashed = path_hash(market.scenario.hash, path.keys, trace(path.world.regime))
    return Outcome(settled.statement, settled.forced, start.regime, inventory / orders.quantity, hashed)


@dataclass
class _Entrant:
    """A policy in a comparison, and the way it is run."""

    policy: Policy
    hidden: bool
    """Whether the regime is hidden from the policy."""
    loop: RuleLoop | None
    """Compiled loop of the policy's rule; None: the policy runs in numpy."""
    tried: bool = False
    """Whether the rule has been compared with the policy's `act`."""


class _Comparison(NamedTuple):
    """What a worker needs to know to run policies on the same paths."""

    market: Market | BasketMarket
    policies: tuple[Policy, ...]
    hidden: tuple[bool, ...]
    seed: int
    compiled: bool
    """Whether policies with a rule run in a compiled loop."""
    threads: int
    timeout: float
    record: bool
    """Whether the failure of a policy is recorded and the others go on; else it is raised."""


class _Piece(NamedTuple):
    """Episodes that some policies run."""

    numbers: range
    wanted: tuple[int, ...]
    """Numbers of the policies."""


Keep: TypeAlias = Callable[[_Piece, int, Outcome], None]
"""Function that gets each outcome: the piece, the number of the policy, and the outcome."""


class _Found(NamedTuple):
    """The outcomes of a piece, and the reasons of failures, each by the number of the policy."""

    outcomes: dict[int, Outcome]
    failures: dict[int, str]


def rollouts(
    market: Market | BasketMarket,
    policies: Sequence[Policy],
    hidden: Sequence[bool],
    seed: int,
    episodes: int,
    batch: int = BATCH,
    store: Store | None = None,
    backend: str = "auto",
    num_threads: int | None = None,
    policy_timeout: float = 0.0,
    failures: dict[int, str] | None = None,
    workers: Workers = ALONE,
) -> Iterator[list[Any]]:
    """Yield the outcomes of all policies on the same paths, batch by batch; results do not depend on the batch size.

    With a store, stored outcomes are read, which equal recomputed outcomes bit for bit; other outcomes are computed, and stored
    before they are yielded. A policy without a hash (:func:`~hyperexec_env.evaluation.identity.policy_hash`) is never stored.

    Args:
        market: The market of one asset, or of a basket, whose policies all run in numpy.
        policies: The policies.
        hidden: Whether the regime is hidden, one value per policy.
        seed: Seed of the episodes, which come from the stream of boards (:func:`~hyperexec_env.market.noise.seed_words`).
        episodes: Number of episodes.
        batch: Episodes per batch.
        store: Store that results are read from and written to.
        backend: "numba": policies with a rule (:class:`~hyperexec_env.evaluation.rule.Ruled`) run in one compiled loop, with
            the same results to 1e-9; "numpy"; "auto": numba where it is installed.
        num_threads: Threads of the compiled loop; None: one below 4,096 episodes per batch, else one per processor. Results do
            not depend on it.
        policy_timeout: Largest time of one call of a policy (one slice of a batch), seconds; 0: no limit. It also limits the
            trial of a compiled rule on its first 64 episodes, in a child process; later batches of the rule have no limit.
        failures: Reasons by number of the policy, of policies that are not run (again). If it is given, a policy that fails is
            added to it and has the outcome None from then on, and the others go on; otherwise the failure is raised.
        workers: Who runs the batches; results do not depend on it.

    Raises:
        PolicyFailure: `failures` is None, and a policy raised an error, did not return in time, did not return finite shares,
            or has a rule that fails or disagrees with its `act`.
        ValueError: The store is unusable.
        MissingExtra: numba is requested and not installed.
        DeterminismAlarm: A computed outcome contradicts the store.
        RuntimeError: A policy changed the market or the path.
    """
    compiled = resolve_backend(backend) == "numba"
    threads = default_threads(batch) if num_threads is None else check_integer("num_threads", num_threads, low=1, high=256)
    recorded: dict[int, str] | None = failures
    shared = _Comparison(market, tuple(policies), tuple(hidden), seed, compiled, threads, policy_timeout, recorded is not None)
    entrants = _entrants(shared, recorded)
    cells: list[Cell | None] = []
    for number, entrant in enumerate(entrants):
        cell = None
        if entrant is not None:
            with _recorded(recorded, number), blamed(entrant.policy, "in its rule or its digest", policy_timeout):
                cell = cell_of(market.scenario, entrant.policy, entrant.hidden, seed, compiled=entrant.loop is not None)
        cells.append(cell)
    twins = [cells.index(cell) if cell and cells.index(cell) < number else None for number, cell in enumerate(cells)]
    stored: deque[dict[int, Outcome]] = deque()

    def pieces() -> Iterator[_Piece]:
        for first in range(0, episodes, batch):
            numbers = range(first, min(first + batch, episodes))
            known = {} if store is None else _stored(store, cells, numbers)
            stored.append(known)
            failed = recorded or {}
            needed = (number for number, twin in enumerate(twins) if twin is None and number not in known)
            yield _Piece(numbers, tuple(number for number in needed if number not in failed))

    def keep(piece: _Piece, number: int, outcome: Outcome) -> None:
        cell = cells[number]
        if store and cell:
            cell = cell._replace(first=piece.numbers.start, episodes=len(piece.numbers))
            store.put(cell, outcome, market.scenario, policies[number].name)

    alone = partial(_worker, entrants, keep)  # outcomes are stored one by one, so that an interrupted batch keeps them
    for piece, found in _paired(workers, alone if workers.alone else _worker_of, shared, pieces()):
        known = stored.popleft()
        for number, reason in found.failures.items():
            if recorded is not None:
                recorded.setdefault(number, reason)
        for number, outcome in found.outcomes.items():
            if not workers.alone:
                keep(piece, number, outcome)
        yield [_outcome_of(number, twins, {**known, **found.outcomes}, recorded) for number in range(len(policies))]


def _paired(workers: Workers, make: Any, shared: _Comparison, pieces: Iterator[_Piece]) -> Iterator[tuple[_Piece, _Found]]:
    """Yield each piece with what the workers found."""
    given: deque[_Piece] = deque()

    def remembered() -> Iterator[_Piece]:
        for piece in pieces:
            given.append(piece)
            yield piece

    for found in workers.map(make, shared, remembered()):
        yield given.popleft(), found


def _stored(store: Store, cells: Sequence[Cell | None], numbers: range) -> dict[int, Outcome]:
    """Return the stored outcomes of a batch, by the number of the policy."""
    asked = {number: cell._replace(first=numbers.start, episodes=len(numbers)) for number, cell in enumerate(cells) if cell}
    found = {number: store.get(cell) for number, cell in asked.items()}
    return {number: outcome for number, outcome in found.items() if outcome is not None}


def _outcome_of(
    number: int, twins: Sequence[int | None], outcomes: Mapping[int, Outcome], failures: dict[int, str] | None
) -> Outcome | None:
    """Return the outcome of a policy, which may be that of an earlier one with the same cell; None if it failed."""
    twin = twins[number]
    if failures is not None and twin in failures:
        failures.setdefault(number, failures[twin])
    if failures is not None and number in failures:
        return None
    return outcomes[number if twin is None else twin]


def _entrants(shared: _Comparison, failures: dict[int, str] | None) -> list[_Entrant | None]:
    """Return the policies with their compiled loops; None for one whose rule fails."""
    entrants: list[_Entrant | None] = []
    for number, (policy, hidden) in enumerate(zip(shared.policies, shared.hidden, strict=True)):
        entrant = None
        with _recorded(failures, number), blamed(policy, "in its rule or its digest", shared.timeout):
            loop = None
            if shared.compiled and isinstance(shared.market, Market):
                rule = rule_of(policy, shared.market, hidden)
                loop = None if rule is None else RuleLoop(shared.market, rule, hidden, shared.threads)
            entrant = _Entrant(policy, hidden, loop)
        entrants.append(entrant)
    return entrants


def _worker_of(shared: _Comparison) -> Callable[[_Piece], _Found]:
    """Return the function of a piece, in another process."""
    shared = shared._replace(threads=1)
    return _worker(_entrants(shared, {}), lambda *_: None, shared)


def _worker(entrants: Sequence[_Entrant | None], keep: Keep, shared: _Comparison) -> Callable[[_Piece], _Found]:
    """Return the function of a piece, which gives each outcome to `keep` as soon as it is computed."""
    return lambda piece: _found(shared, entrants, piece, keep)


@contextmanager
def _recorded(failures: dict[int, str] | None, number: int) -> Iterator[None]:
    """Record the failure of a policy; raise it if there is no record of failures."""
    try:
        yield
    except PolicyFailure as error:
        if failures is None:
            raise
        failures[number] = str(error)


def _found(shared: _Comparison, entrants: Sequence[_Entrant | None], piece: _Piece, keep: Keep) -> _Found:
    """Return the outcomes of a piece. Paths are drawn only if a policy runs in numpy."""
    market, timeout = shared.market, shared.timeout
    path: Any = None
    trial: Path | None = None
    keys = episode_keys(shared.seed, np.arange(piece.numbers.start, piece.numbers.stop), board=True)
    outcomes: dict[int, Outcome] = {}
    failures: dict[int, str] = {}
    market_checksum, path_checksum = _market_checksum(market), 0
    for number in piece.wanted:
        entrant = entrants[number]
        if entrant is None:
            continue
        policy, hidden, loop = entrant.policy, entrant.hidden, entrant.loop
        with _recorded(failures if shared.record else None, number):
            if loop is None or isinstance(market, BasketMarket):
                if path is None:
                    path = paths_of(market, keys)
                    path_checksum = checksum(_arrays_of(path))
                outcomes[number] = roll_on(market, policy, path, hidden, timeout)
            else:
                if not entrant.tried:
                    trial = trial or draw_path(market, keys[:_TRIED], float(market.scenario.side))
                    _check_rule(market, policy, loop, trial, hidden, timeout)
                    entrant.tried = True
                with blamed(policy, "in its compiled rule"):
                    outcomes[number] = roll_rule(market, loop, keys)
        if _market_checksum(market) != market_checksum:
            raise RuntimeError(f"policy {policy.name!r} has changed the market")
        if number in outcomes:
            keep(piece, number, outcomes[number])
    if path is not None and checksum(_arrays_of(path)) != path_checksum:
        raise RuntimeError("the policies did not meet the same market: a policy has changed the path")
    return _Found(outcomes, failures)


def _check_rule(market: Market, policy: Policy, loop: RuleLoop, path: Path, hidden: bool, timeout: float) -> None:
    """Check, on the episodes of a path, that the rule of a policy and its `act` have equal objectives.

    A child process first runs a rule from outside this package, because a compiled loop that never ends cannot be stopped. A
    rule that ends in these episodes and never in others is not noticed.

    Raises:
        PolicyFailure: The policy or its rule fails or does not return in time, or the objectives differ by more than the
            tolerance.
    """
    own = roll(market, policy, path, hidden, timeout).statement.objective
    with blamed(policy, "in its compiled rule"):
        loop.run(path.keys[:0])  # compiles the loop, which takes seconds
        foreign = loop.rule.decide.__module__.partition(".")[0] not in PACKAGES
        if timeout and foreign and not ends_in_time(lambda: loop.run(path.keys), timeout):
            raise PolicyFailure(f"policy {policy.name!r} did not return within {timeout:g} s in its compiled rule")
        ruled = roll_rule(market, loop, path.keys).statement.objective
    off = ~(np.abs(ruled - own) <= _TOLERANCE * (1.0 + np.abs(own)))
    if off.any():
        worst = int(np.argmax(np.abs(ruled - own)))
        raise PolicyFailure(
            f"the rule of policy {policy.name!r} must trade as its `act`, got objectives of {ruled[worst]:.6g} and "
            f"{own[worst]:.6g} bps in one episode ({off.sum()} of {len(off)} episodes differ); correct the rule, or use "
            "backend='numpy'"
        )


def roll_rule(market: Market, loop: RuleLoop, keys: Words) -> Outcome:
    """Run a rule over whole episodes in a compiled loop; the outcome equals that of :func:`roll` to 1e-9.

    Args:
        market: The market.
        loop: Compiled loop of the rule.
        keys: Noise keys of the episodes, shape (episodes,).
    """
    settled, start, inventory, traces = loop.run(keys)
    return Outcome(settled.statement, settled.forced, start, inventory, path_hash(market.scenario.hash, keys, traces))


def market_of(scenario: AnyScenario) -> Market | BasketMarket:
    """Return the numbers of the market of a scenario of one asset, or of a basket."""
    return build_basket(scenario) if isinstance(scenario, BasketScenario) else build_market(scenario)


def paths_of(market: Market | BasketMarket, keys: Words) -> Any:
    """Return the paths of whole episodes: one :class:`Path`, or for a basket a list over assets."""
    if isinstance(market, BasketMarket):
        return draw_basket_path(market, keys)
    return draw_path(market, keys, float(market.scenario.side))


def roll_on(market: Market | BasketMarket, policy: Policy, paths: Any, hidden: bool = False, timeout: float = 0.0) -> Outcome:
    """Run a policy over the paths of :func:`paths_of`: :func:`roll`, or for a basket
    :func:`~hyperexec_env.evaluation.basket_rollout.roll_basket`.
    """
    if isinstance(market, BasketMarket):
        return roll_basket(market, policy, paths, hidden, timeout)
    return roll(market, policy, paths, hidden, timeout)


def _arrays_of(paths: Any) -> list[NDArray[Any]]:
    """Return the arrays of the paths of :func:`paths_of`."""
    return [values for path in (paths if isinstance(paths, list) else [paths]) for values in (*path.slices, *path.world)]


def _market_checksum(market: Market | BasketMarket) -> tuple[Any, ...]:
    """Return a value that differs after a change of the market."""
    if isinstance(market, BasketMarket):
        return (*map(_market_checksum, market.markets), market.coupling, market.scenario)
    return checksum(market.arrays()), market.impact, market.numbers, market.scenario
