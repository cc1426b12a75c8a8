"""Search for round trips that earn: trades that buy and sell and end flat, over the regime paths of a market.

Deterministic and random round trips come first; differential evolution (Storn and Price 1997) refines the cheapest ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.evaluation.impact_model import Floats, ImpactModel, Paths

__all__ = [
    "BATCH",
    "INTERVALS",
    "ROUNDING",
    "SIZES",
    "Trip",
    "random_schedules",
    "random_trips",
    "regime_paths",
    "search_trips",
]

SIZES: Final = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Sizes of the round trips: the quantity that is bought and sold again, in orders."""
INTERVALS: Final = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 30, 40, 60)
"""Intervals between children of bursts and of alternating round trips, in slices."""
_POPULATION: Final = 24
"""Number of round trips of each size in the population of the search."""
BATCH: Final = 500_000
"""Slices times candidates in one batch."""
_LEGS: Final = 25
"""Largest number of lengths of a leg (slices that buy, or that sell) among the deterministic round trips."""
_FEW_PATHS: Final = 1_000
"""Number of regime paths up to which every path is tried."""
_MAX_PATHS: Final = 5_000
"""Largest number of sampled paths with one change of regime."""
ROUNDING: Final = 1e-9
"""Rounding error, relative to the cost of buying the absolute values of the same trades."""


@dataclass(frozen=True)
class Trip:
    """The cheapest round trip of one size."""

    size: float
    """Quantity that it buys and sells again, in orders."""
    tried: int
    """Number of round trips of this size that were tried."""
    cost_bps: float
    """Cost, bps of the notional traded (twice the size)."""
    earns: bool
    """Whether the round trip earns money, beyond rounding."""
    trades: tuple[float, ...] = field(repr=False)
    """Trades in orders, one per slice."""
    path: tuple[str, ...] = field(repr=False)
    """Regime of each slice."""


def regime_paths(regimes: int, slices: int, rng: np.random.Generator) -> tuple[Paths, bool]:
    """Return regime paths for the round trips, whatever their probability.

    All paths where there are at most 1,000. Else all constant paths, the paths with one change (a sample where they are many
    or long), and up to 500 random paths.

    Args:
        regimes: Number of regimes M.
        slices: Number of slices N.
        rng: Generator of the sample.

    Returns:
        Indices of the regimes, shape (N, paths), and whether these are all possible paths.
    """
    if slices * math.log(regimes) <= math.log(_FEW_PATHS):
        return np.array(list(itertools.product(range(regimes), repeat=slices)), dtype=np.int64).T, True
    row, constant = np.arange(slices)[:, None], np.broadcast_to(np.arange(regimes), (slices, regimes))
    first, second, change = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (regimes, regimes, slices)), indexing="ij"))
    moves = np.flatnonzero((first != second) & (change > 0))
    room = max(10, 2 * BATCH // slices)
    if len(moves) > min(_MAX_PATHS, room):
        moves = rng.choice(moves, min(_MAX_PATHS, room), replace=False)
    once = np.where(row < change[moves], first[moves], second[moves])
    drawn = rng.integers(regimes, size=(slices, min(_FEW_PATHS // 2, room)))
    stays = rng.random(drawn.shape) < rng.random(drawn.shape[1])
    for k in range(1, slices):
        drawn[k] = np.where(stays[k], drawn[k - 1], drawn[k])
    return np.concatenate([constant, once, drawn], axis=1), False


class _Candidates(NamedTuple):
    """Round trips: trades and paths of shape (slices, candidates), sizes and costs per notional of shape (candidates,)."""

    trades: Floats
    path: Paths
    size: Floats
    cost: Floats

    def take(self, chosen: Any) -> _Candidates:
        """Return the chosen candidates."""
        return _Candidates(self.trades[:, chosen], self.path[:, chosen], self.size[chosen], self.cost[chosen])


def search_trips(
    model: ImpactModel, paths: Paths, fineness: int, budget: int, rng: np.random.Generator, advance: Callable[[int], None]
) -> tuple[Trip, ...]:
    """Return the cheapest round trip of each size; half of the budget goes to random trips, half to refining the cheapest.

    Deterministic round trips on constant paths come first, in addition to the budget. They exploit known faults: buying at
    one steady pace and selling at another (Gatheral 2010), and alternating buys and sells, which earn where liquidity makes
    regular children cheaper.
    """
    none = np.zeros(0)
    tried, best = 0, _Candidates(np.zeros((len(paths), 0)), paths[:, :0], none, none)
    starts = itertools.chain(
        _deterministic_trips(len(paths), len(model.regimes)),
        ((random_trips(path.shape[0], path.shape[1], rng), path) for path in _spread_over(paths, budget // 2, rng)),
    )
    for trades, path in starts:
        found = _evaluated(model, trades, path, np.resize(SIZES, path.shape[1]), fineness)
        best = _cheapest(_concatenated(best, found))
        tried += path.shape[1]
        advance(path.shape[1])
    last = tried + budget // 2
    while tried < last:
        child = _offspring(model, best, paths, fineness, rng)
        better = child.cost < best.cost
        best = _Candidates(*(np.where(better, new, old) for new, old in zip(child, best, strict=True)))
        tried += len(child.size)
        advance(len(child.size))
    return tuple(_cheapest_trip(model, best, size, tried // len(SIZES), fineness) for size in SIZES)


def _deterministic_trips(slices: int, regimes: int) -> Iterator[tuple[Floats, Paths]]:
    """Yield, for each constant path, the trades of the deterministic round trips (one per size) and the path."""
    trades = np.repeat(np.concatenate([_two_legs(slices), _alternating(slices)], axis=1), len(SIZES), axis=1)
    for regime in range(regimes):
        yield trades, np.full(trades.shape, regime)


def _two_legs(slices: int) -> Floats:
    """Return trades that buy at a steady pace in the first slices and sell at a steady pace in the last ones."""
    legs = np.unique(np.linspace(1, slices - 1, min(slices - 1, _LEGS)).astype(np.int64))
    first, last = (axis.ravel() for axis in np.meshgrid(legs, legs))
    first, last = first[first + last <= slices], last[first + last <= slices]
    row = np.arange(slices)[:, None]
    return np.asarray((row < first) / first - (row >= slices - last) / last)


def _alternating(slices: int) -> Floats:
    """Return trades that buy and sell alternately, in equal children at equal intervals."""
    row = np.arange(slices)
    patterns = [(every, gap) for every in INTERVALS for gap in sorted({1, every // 2, every - 1}) if every <= slices]
    bought = [(row % every == 0) & (row + gap < slices) for every, gap in patterns]
    sold = [(row >= gap) & ((row - gap) % every == 0) for every, gap in patterns]
    return np.asarray(np.array(bought, dtype=float).T - np.array(sold, dtype=float).T)


def _spread_over(paths: Paths, count: int, rng: np.random.Generator) -> Iterator[Paths]:
    """Yield batches of at least `count` paths in total, each path at least once for each size."""
    count, batch = max(count, paths.shape[1] * len(SIZES)), len(SIZES) * max(_POPULATION, BATCH // len(paths) // len(SIZES))
    order = np.repeat(rng.permutation(paths.shape[1]), len(SIZES))
    for first in range(0, count, batch):
        yield paths[:, order[np.arange(first, min(first + batch, count)) % len(order)]]


def random_trips(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Draw round trips, a third each: normal noise; one buying and one selling stretch; a single buy and a single sell."""
    noise, pair = rng.standard_normal((slices, count)), _transfers(slices, count, rng)
    row, cuts = np.arange(slices)[:, None], np.sort(rng.integers(slices, size=(4, count)), axis=0)
    bought, sold = ((row >= first) & (row <= last) for first, last in (cuts[:2], cuts[2:]))
    stretches = bought / bought.sum(axis=0) - sold / sold.sum(axis=0)
    kind = np.where(np.abs(stretches).sum(axis=0) > 0.0, rng.integers(3, size=count), 0)  # coinciding stretches cancel
    return np.asarray(rng.choice([-1.0, 1.0], count) * np.choose(kind, [pair, noise, stretches]))


def random_schedules(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Draw schedules of all sizes, half of them round trips, half of them one-sided."""
    trips = random_trips(slices, count, rng)
    trips = np.where(rng.random(count) < 0.5, trips, np.maximum(trips, 0.0))
    sizes = np.exp(rng.uniform(math.log(SIZES[0]), math.log(SIZES[-1]), count))
    return np.asarray(sizes * trips / np.maximum(np.abs(trips).sum(axis=0), 1e-300))


def _transfers(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Draw trades that buy 1 in one slice and sell 1 in another."""
    one = rng.integers(slices, size=count)
    other = (one + rng.integers(1, slices, size=count)) % slices
    moved, column = np.zeros((slices, count)), np.arange(count)
    moved[one, column], moved[other, column] = 1.0, -1.0
    return moved


def _round_trip(trades: Floats, size: Floats) -> Floats:
    """Return trades shifted and scaled so that they end flat and buy (and sell) `size`."""
    trades = trades - trades.mean(axis=0)
    return np.asarray(trades * (2.0 * size / np.maximum(np.abs(trades).sum(axis=0), 1e-300)))


def _evaluated(model: ImpactModel, trades: Floats, path: Paths, size: Floats, fineness: int) -> _Candidates:
    """Return round trips of the given sizes with their cost per notional traded."""
    trades = _round_trip(trades, size)
    return _Candidates(trades, path, size, np.asarray(model.costs(trades, path, fineness).total) / (2.0 * size))


def _concatenated(*candidates: _Candidates) -> _Candidates:
    """Return all candidates in one record."""
    return _Candidates(*(np.concatenate(parts, axis=-1) for parts in zip(*candidates, strict=True)))


def _cheapest(found: _Candidates) -> _Candidates:
    """Return the population: the cheapest candidates of each size, sorted by size."""
    order = np.lexsort((found.cost, found.size))
    rank = np.arange(len(order)) - np.searchsorted(found.size[order], found.size[order])
    return found.take(order[rank < _POPULATION])


def _offspring(model: ImpactModel, parents: _Candidates, paths: Paths, fineness: int, rng: np.random.Generator) -> _Candidates:
    """Return one child per parent: the parent plus a multiple of the difference of two others of its size.

    Half of the children also move towards one of the cheapest candidates of their size, a third shift an amount from one
    slice to another, and a tenth change the path. A tenth are replaced by random trips.
    """
    slices, count = parents.trades.shape
    base = np.arange(count) // _POPULATION * _POPULATION
    one, other = base + rng.integers(_POPULATION, size=(2, count))
    cheap = np.lexsort((parents.cost, parents.size))[base + rng.integers(_POPULATION // 8, size=count)]
    step = rng.uniform(0.3, 0.9, count)
    trades = parents.trades + step * (parents.trades[:, one] - parents.trades[:, other])
    trades += step * (rng.random(count) < 0.5) * (parents.trades[:, cheap] - parents.trades)
    jump = parents.size * (rng.random(count) < 1.0 / 3.0) * np.exp(rng.uniform(-7.0, 0.0, count))
    trades += jump * _transfers(slices, count, rng)
    trades = np.where(rng.random(count) < 0.1, random_trips(slices, count, rng), trades)
    path = np.where(rng.random(count) < 0.1, paths[:, rng.integers(paths.shape[1], size=count)], parents.path)
    return _evaluated(model, trades, path, parents.size, fineness)


def _cheapest_trip(model: ImpactModel, found: _Candidates, size: float, tried: int, fineness: int) -> Trip:
    """Return the cheapest round trip of a size."""
    best = found.take(np.flatnonzero(found.size == size))
    best = best.take([int(np.argmin(best.cost))])
    gross = float(np.abs(model.costs(np.abs(best.trades), best.path, fineness).total)[0]) / (2.0 * size)
    cost = float(best.cost[0])
    return Trip(
        size=size,
        tried=tried,
        cost_bps=1e4 * cost,
        earns=cost < -ROUNDING * gross,
        trades=tuple(map(float, best.trades[:, 0])),
        path=tuple(model.regimes[regime] for regime in best.path[:, 0]),
    )
