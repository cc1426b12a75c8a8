"""Rollouts of a child order at the touch: batches of whole episodes, with every policy on the same draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.compiled import resolve_backend
from hyperexec_env.envs.touch_task import TouchSettled
from hyperexec_env.evaluation.touch_loop import TouchLoop
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.touch import RESTS, Bill, Draw, Place, TouchMarket, draw_step
from hyperexec_env.market.touch_lane import TouchLane, first_touch_lane, step_lane
from hyperexec_env.records import map_leaves
from hyperexec_env.workers import ALONE, Workers, batches_of

__all__ = ["TouchOutcome", "TouchSituation", "TouchTrader", "check_actions", "roll_touch", "rollout_touch", "situation_at"]

Floats = NDArray[np.float64]
_BATCH = 8192
"""Episodes per batch."""
_MANY = 50_000
"""Episodes from which a loop is worth its compilation, which takes some seconds once."""
_TRIED = 64
"""Episodes in which a table is compared with what its policy does."""


class TouchSituation(NamedTuple):
    """What a policy knows before a step: the past only, in natural units; numbers, or arrays over episodes."""

    market: TouchMarket
    k: Any
    """Steps done."""
    left: Any
    """Lots that are left."""
    place: Place
    """Where they rest."""
    outflow: Any
    """Lots that left the front of the queue in the last step."""
    filled: Any
    """Lots of the order that were filled in the last step."""
    moved: Any
    """Move of the touch in the last step, ticks."""
    since: Any
    """Steps since the touch moved."""
    ticks: Any
    """Move of the mid since the start, ticks."""


class TouchTrader(Protocol):
    """A policy: `act` returns action numbers, take * 4 + rest."""

    @property
    def name(self) -> str:
        """Name of the policy."""

    def act(self, situation: TouchSituation) -> Any:
        """Return action numbers, take * 4 + rest, in the shape of `situation.left`."""


class TouchOutcome(NamedTuple):
    """Results of one policy on some episodes, each of shape (episodes,); costs in half-spreads per lot of the order."""

    objective: Floats
    """J of the expected account."""
    bill: Bill
    """J by source."""
    taken: Floats
    """Share of the lots that took."""
    forced: Floats
    """Share of the lots that were taken after the last step."""


def situation_at(market: TouchMarket, lane: TouchLane) -> TouchSituation:
    """Return what a policy knows before a step."""
    return TouchSituation(market, lane.k, lane.left, lane.place, lane.outflow, lane.filled, lane.moved, lane.since, lane.ticks)


def check_actions(market: TouchMarket, actions: Any, shape: tuple[int, ...], name: str) -> tuple[Floats, NDArray[np.int64]]:
    """Return the lots to take and the requests of action numbers.

    Raises:
        ValueError: The actions have another shape, are not whole numbers, or are out of range.
    """
    given, most = np.asarray(actions), (market.scenario.max_take + 1) * len(RESTS)
    if given.shape != shape or given.dtype.kind not in "iu" or ((given < 0) | (given >= most)).any():
        raise ValueError(
            f"policy {name!r} must return whole numbers in [0, {most - 1}] of the shape {shape}, got {given.dtype} of "
            f"{given.shape}"
        )
    return (given // len(RESTS)).astype(np.float64), (given % len(RESTS)).astype(np.int64)


def roll_touch(market: TouchMarket, policy: TouchTrader, draws: Draw) -> TouchOutcome:
    """Run a policy over whole episodes.

    Args:
        market: The market.
        policy: The policy.
        draws: What nature draws, fields of shape (steps, episodes).

    Raises:
        ValueError: The policy did not return action numbers in the range.
    """
    count = draws.outflow.shape[1]
    lane: TouchLane = map_leaves(lambda value: np.full(count, value), first_touch_lane(market))._replace(k=0)
    for k in range(market.scenario.steps):
        take, rest = check_actions(market, policy.act(situation_at(market, lane)), (count,), policy.name)
        lane, _ = step_lane(market, lane, take, rest, Draw(draws.outflow[k], draws.moved[k]))
    return _outcome(market, lane)


def _outcome(market: TouchMarket, lane: TouchLane | TouchSettled) -> TouchOutcome:
    """Return the outcome of finished episodes."""
    scale, lots = market.scenario.scale, market.scenario.lots
    bill = Bill(*(np.asarray(part) * scale for part in lane.bill))
    return TouchOutcome(sum(bill), bill, lane.taken / lots, lane.forced / lots)


def rollout_touch(
    market: TouchMarket,
    policies: Sequence[TouchTrader],
    episodes: int,
    seed: int,
    workers: Workers = ALONE,
    backend: str = "auto",
) -> list[TouchOutcome]:
    """Run policies on the same episodes of a board, in batches that bound the memory; return the outcome of each.

    Args:
        market: The market.
        policies: The policies; one with a method `actions(scenario)` is that table over (step, lots left, place).
        episodes: Number of episodes.
        seed: Seed of the board's episodes.
        workers: Who runs the batches.
        backend: "numba": tables run in one compiled loop, with the same results to the last bit; "numpy"; "auto": numba from
            50,000 episodes on, where it is installed.

    Raises:
        ValueError: A policy did not return action numbers in the range, or its table is another policy.
        MissingExtra: numba is requested and not installed.
    """
    compiled = resolve_backend(backend) == "numba" and (backend == "numba" or episodes >= _MANY)
    batches = workers.map(_rolled, (market, tuple(policies), seed, compiled), batches_of(episodes, _BATCH))
    return [joined(outcomes) for outcomes in zip(*batches, strict=True)]


def _rolled(shared: tuple[TouchMarket, Sequence[TouchTrader], int, bool]) -> Callable[[range], list[TouchOutcome]]:
    """Return the function of a batch of episodes, which returns the outcome of each policy."""
    market, policies, seed, compiled = shared
    steps = np.arange(market.scenario.steps)[:, None]
    loops = [_loop_of(market, policy, seed) if compiled else None for policy in policies]

    def roll(numbers: range) -> list[TouchOutcome]:
        keys = episode_keys(seed, np.array(numbers), board=True)
        draws = None if all(loops) else draw_step(market, keys, steps)
        return [
            roll_touch(market, policy, draws) if loop is None else _outcome(market, loop.run(keys))  # type: ignore[arg-type]
            for policy, loop in zip(policies, loops, strict=True)
        ]

    return roll


def _loop_of(market: TouchMarket, policy: TouchTrader, seed: int) -> TouchLoop | None:
    """Return the compiled loop of a policy that is a table, tried on its first episodes; None for another policy."""
    if not hasattr(policy, "actions"):
        return None
    loop, keys = TouchLoop(market, policy.actions(market.scenario)), episode_keys(seed, np.arange(_TRIED), board=True)
    acted = roll_touch(market, policy, draw_step(market, keys, np.arange(market.scenario.steps)[:, None]))
    if not np.array_equal(_outcome(market, loop.run(keys)).objective, acted.objective):
        raise ValueError(
            f"policy {policy.name!r} must act by its table `actions`, got other costs in the first {_TRIED} episodes"
        )
    return loop


def joined(outcomes: Sequence[TouchOutcome]) -> TouchOutcome:
    """Return the outcomes of several batches as one."""
    first, *others = outcomes
    together: TouchOutcome = map_leaves(lambda *parts: np.concatenate(parts), first, *others)
    return together
