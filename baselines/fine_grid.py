"""The market of a scenario on a fine grid, and the children of orders on it.

Each child trades at its scheduled time on a grid of 20 fine slices per slice of the scenario. Regimes switch on the slices of
the scenario only. A child pays temporary impact on its share of the volume of its interval, as in the scenario, wherever in the
interval it trades. Adaptive replans the remaining shares when the regime changes its choice, as the agent does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ALGORITHMS, POV, Outlook, market_outlook, resolve
from hyperexec_env.execution.children import cut
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.hiding import TIME_JITTER
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.market.kernel import Slice, expected_cost, move
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, World, begin, draw_path, draw_slice
from hyperexec_env.market.predator import PredatorMemory, step_with_predator, update_memory
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = [
    "SPLIT",
    "WATCHED",
    "Bench",
    "Cell",
    "Children",
    "Placement",
    "bench_of",
    "children_of",
    "draw_fine_path",
    "lay",
    "objectives_of",
]

Floats = NDArray[np.float64]
Cell = tuple[str, float]
"""An algorithm and a hiding factor."""

SPLIT: Final = 20
"""Fine slices per slice of the scenario."""
WATCHED: Final = 0.5
"""Fraction of the order's life that the predator scores before it trades."""


def _fine(scenario: Scenario) -> Scenario:
    """Return the scenario on the fine grid, with a quantity in whole shares.

    The volume noise of the fine slices is scaled so that the volume of a slice of the scenario keeps its variance.
    """
    variance = math.expm1(scenario.volume_noise**2)
    return replace(
        scenario,
        quantity=float(max(1, round(scenario.quantity))),
        slices=SPLIT * scenario.slices,
        volume_noise=min(3.0, math.sqrt(math.log1p(SPLIT * variance))),
        max_participation=None,
        complete=True,
        flow_persistence=0.0,
        volume_persistence=0.0,
        predator=0.0,
    )


class Children(NamedTuple):
    """The children of one order in ascending order of time; arrays of shape (children,)."""

    times: Floats
    """Trading time, fraction of the order's life."""
    shares: Floats
    """Size, shares."""
    first: NDArray[np.int64]
    """First fine slice of the child's interval."""
    end: NDArray[np.int64]
    """Fine slice after the last one of the child's interval."""


class Placement(NamedTuple):
    """The children of some episodes placed on the fine grid."""

    shares: Floats
    """Shares that trade in each fine slice, shape (slices, episodes)."""
    slices: Slice
    """The fine slices. Where a child trades, the volume is the volume of the child's interval (in one regime)."""


def _plan(algorithm: str, view: Outlook, regime: str, volumes: Callable[[int], Floats], rate: float) -> Weights:
    """Return the weights of the intervals of an order, or of its remaining shares, in a regime; they sum to one.

    POV sizes each child by the market volume of the previous interval (the first child: by the expected volume), and the last
    child takes the rest.

    Args:
        algorithm: Name of the algorithm.
        view: Inputs of the algorithm for the remaining time.
        regime: Name of the regime.
        volumes: Function of the number of intervals that returns the volume of the interval before each one, shares.
        rate: Weight of POV per share of market volume.
    """
    name, intervals = resolve(algorithm, regime, view.intervals)
    if name != POV:
        return ALGORITHMS[name](view._replace(intervals=intervals))
    weights = rate * volumes(intervals)
    left = np.maximum(1.0 - np.append(0.0, np.cumsum(weights)[:-1]), 0.0)
    return np.asarray(np.append(np.minimum(weights, left)[:-1], left[-1]))


class Bench(NamedTuple):
    """Inputs shared by all cells of a study."""

    coarse: Market
    fine: Market
    parent: ParentOrder
    view: Outlook
    volumes: Floats
    """Expected market volume of each fine slice, shares."""
    seed: int


def bench_of(scenario: Scenario, seed: int) -> Bench:
    """Build the inputs of a study."""
    coarse, fine = build_market(scenario), build_market(_fine(scenario))
    quantity = int(fine.scenario.quantity)
    parent = ParentOrder(
        symbol="X", side=scenario.side, quantity=quantity, arrival_price=scenario.arrival_price, deadline=1.0, id="parent"
    )
    within = fine.mean_volume[:-1, 0].reshape(scenario.slices, SPLIT)
    volumes = within / within.sum(axis=1, keepdims=True) * coarse.mean_volume[:-1, [coarse.unknown]]
    return Bench(coarse, fine, parent, market_outlook(coarse, ExecutionConfig().urgency), volumes.ravel(), seed)


def draw_fine_path(bench: Bench, episodes: range) -> Path:
    """Draw paths on the fine grid, with the regimes of the scenario's own paths: one regime per slice of the scenario."""
    keys, side = episode_keys(bench.seed, np.array(episodes)), float(bench.parent.side)
    regimes = draw_path(bench.coarse, keys, side).world.regime
    worlds, slices, world = [], [], begin(bench.fine, keys)
    for k in range(bench.fine.slices):
        worlds.append(world._replace(regime=regimes[k // SPLIT]))
        slice, world = draw_slice(bench.fine, keys, k, worlds[-1], side)
        slices.append(slice)
    worlds.append(world._replace(regime=regimes[-1]))
    shape = (bench.fine.slices, len(keys))
    columns = (np.broadcast_to(np.array(values).reshape(shape[0], -1), shape) for values in zip(*slices, strict=True))
    return Path(Slice(*columns), World(*(np.array(values) for values in zip(*worlds, strict=True))), keys)


class _Mirrored(np.random.Generator):
    """A generator whose uniform draws u are replaced by 1 - u, so that jitter has the opposite sign (antithetic draws)."""

    def random(self, *args: Any, **kwargs: Any) -> Any:
        """Return one minus the draw."""
        return 1.0 - super().random(*args, **kwargs)


def children_of(bench: Bench, path: Path, column: int, episode: int, cell: Cell, mirrored: bool = False) -> Children:
    """Return the children of the order of an episode.

    Adaptive replans the remaining shares when the regime changes its choice.

    Args:
        bench: Inputs of the study.
        path: Paths of a batch.
        column: Column of the episode in the path.
        episode: Number of the episode, which seeds the jitter.
        cell: Algorithm and hiding factor.
        mirrored: Whether to mirror the jitter.
    """
    algorithm, factor = cell
    slices, names = bench.fine.slices, bench.fine.scenario.regimes.names
    regimes = [names[regime] for regime in path.world.regime[:-1:SPLIT, column]]
    choices = [resolve(algorithm, regime, bench.view.intervals) for regime in regimes]
    changes = [k for k in range(1, len(choices)) if choices[k] != choices[k - 1]]
    rng = np.random.default_rng([bench.seed, episode, 2])  # common draws for all cells make curves smooth in the factor
    rng = _Mirrored(rng.bit_generator) if mirrored else rng
    remaining, parts, last = int(bench.parent.quantity), list[Children](), 0.0
    for start, end in pairwise([0, *(SPLIT * k for k in changes), slices]):
        view = bench.view._replace(intervals=bench.view.intervals - start // SPLIT)
        weights = _plan(
            algorithm,
            view,
            regimes[start // SPLIT],
            lambda count: _previous_volumes(bench, path, column, count),
            1.0 / bench.volumes.sum(),
        )
        now, interval = start / slices, (1.0 - start / slices) / len(weights)
        phase = schedules.phase_after(now - last, interval, TIME_JITTER * factor) if start else 0.5
        children = cut(bench.parent, remaining, now, 1.0, weights, phase=phase, factor=factor, rng=rng)
        parts.append(_until(_place(children, start, slices, len(weights)), end, slices))
        remaining -= int(parts[-1].shares.sum())
        last = float(parts[-1].times[-1]) if len(parts[-1].times) else last if start else -0.5 * interval
    times, shares, first, ends = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Children(times, shares, first, ends)


def _until(children: Children, end: int, slices: int) -> Children:
    """Return the children that trade before a fine slice, at which the rest is replanned."""
    early = children.times * slices < end - 1e-6
    return Children(children.times[early], children.shares[early], children.first[early], np.minimum(children.end[early], end))


def _previous_volumes(bench: Bench, path: Path, column: int, intervals: int) -> Floats:
    """Return the market volume of the interval before each interval; for the first interval, its own expected volume."""
    edges = _edges(0, bench.fine.slices, intervals)
    before = np.diff(np.append(0.0, np.cumsum(path.slices.volume[:, column]))[edges])[:-1]
    return np.append(bench.volumes[: edges[1]].sum(), before)


def _edges(first: int, slices: int, intervals: int) -> NDArray[np.int64]:
    """Return the edges of the intervals of a plan that starts at fine slice `first`, shape (intervals + 1,)."""
    return first + np.arange(intervals + 1) * (slices - first) // intervals


def _place(children: list[ChildOrder], first: int, slices: int, intervals: int) -> Children:
    """Return the children of a plan that starts at fine slice `first`, with their intervals."""
    times = np.array([child.schedule_time for child in children])
    interval_of = ((times * slices - first) * (intervals / (slices - first)) + 1e-9).astype(np.int64)
    edges = _edges(first, slices, intervals)
    shares = np.array([float(child.quantity) for child in children])
    return Children(times, shares, edges[interval_of], edges[interval_of + 1])


def lay(orders: list[Children], path: Path) -> Placement:
    """Place the children of some episodes on the fine grid, each in the nearest fine slice of its interval."""
    volume = path.slices.volume.copy()
    slices, episodes = volume.shape
    times, traded, first, end = (np.concatenate(values) for values in zip(*orders, strict=True))
    column = np.repeat(np.arange(episodes), [len(order.times) for order in orders])
    place = np.clip((times * slices + 0.5 + 1e-9).astype(np.int64), first, end - 1)
    cumulative = np.concatenate([np.zeros((1, episodes)), np.cumsum(volume, axis=0)])
    shares = np.zeros(volume.shape)
    shares[place, column] = traded
    volume[place, column] = cumulative[end, column] - cumulative[first, column]
    return Placement(shares, path.slices._replace(volume=volume))


def objectives_of(market: Market, placement: Placement, strength: float, detected: NDArray[np.bool_]) -> Floats:
    """Return the objective J of each episode, bps, with a predator that trades in the second half of the detected orders.

    Args:
        market: The market on the fine grid.
        placement: The children on the fine grid.
        strength: Strength of the predator; negative: attracted liquidity; 0: none.
        detected: Whether the predator has detected the order, shape (episodes,).
    """
    zero, half = np.zeros(placement.shares.shape[1]), round(WATCHED * market.slices)
    state: tuple[Any, ...] = (zero + market.scenario.quantity, zero, zero)
    memory, total = PredatorMemory(zero, zero, zero, zero), zero
    for k in range(market.slices):
        slice, shares = [values[k] for values in placement.slices], placement.shares[k]
        if strength and k >= half:
            gated = memory._replace(likeness=memory.likeness * detected)
            (state, cost), _ = step_with_predator(market.impact, state, slice, shares, gated, strength)
        else:
            state, cost = move(market.impact, state, slice, shares)
        memory = update_memory(memory, shares)
        total = total + expected_cost(cost)
    return np.asarray(total * (1e4 / market.scenario.notional))
