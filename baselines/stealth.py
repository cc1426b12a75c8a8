"""Study of order hiding: how detectable the order is on the tape, what detection costs, and what hiding costs.

For each algorithm and hiding factor, on the same paths of the market, the study measures:

- detection: the AUC of a detector that scores tapes of background trades with and without the children;
- leakage: the extra cost when a predator trades ahead of the children. The predator scores the first half of the order's life,
  and trades in the second half if the score exceeds a threshold with a false-alarm rate of 5 % (set on 4,000 clean tapes);
- tracking cost: the cost of deviating from the plan, without a predator: the mean cost of the jittered order and of its
  antithetic mirror image, less the cost of the plan;
- price of stealth: leakage plus tracking cost. The study repeats leakage and price for the opposite case, in which a detected
  order attracts liquidity.

Each child trades at its scheduled time on a grid of 20 fine slices per slice of the scenario. Regimes switch on the slices of
the scenario only. A child pays temporary impact on its share of the volume of its interval, as in the scenario, wherever in the
interval it trades. Adaptive replans the remaining shares when the regime changes its choice, as the agent does. The study omits
the participation cap and the persistence of the flow.
"""

from __future__ import annotations

import json as json_format
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.statistics import bootstrap_means, group_means, interval, share_interval, simultaneous_intervals
from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ALGORITHMS, POV, Outlook, algorithm_names, market_outlook, resolve
from hyperexec_env.execution.children import cut
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.detection import (
    MOST_CYCLES,
    auc,
    auc_interval,
    background,
    score,
    score_with_order,
    spectrum,
    truncate,
)
from hyperexec_env.execution.hiding import TIME_JITTER
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.market.kernel import Slice, expected_cost, move
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, World, begin, draw_path, draw_slice
from hyperexec_env.market.predator import GREATEST, LEAST, PredatorMemory, step_with_predator, update_memory
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.orders import ChildOrder, ParentOrder
from hyperexec_env.progress import progress

__all__ = ["FACTORS", "Case", "Estimate", "Row", "Study", "Verdict", "study"]

Floats = NDArray[np.float64]
Cell = tuple[str, float]
"""An algorithm and a hiding factor."""

FACTORS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Default hiding factors of a study."""
SPLIT: Final = 20
"""Fine slices per slice of the scenario."""
WATCHED: Final = 0.5
"""Fraction of the order's life that the predator scores before it trades."""
FALSE_ALARMS: Final = 0.05
"""Fraction of clean tapes that reach the threshold."""
THRESHOLD_TAPES: Final = 4000
"""Number of clean tapes that set the threshold, independent of the number of episodes. The standard error of the false-alarm
rate is a third of a percent."""
MOST_EPISODES: Final = 20_000
MOST_FACTORS: Final = 20
"""At both limits the stored results take a few hundred MB."""
_BATCH: Final = 256
_CASES: Final = ("predator", "liquidity")


class Estimate(NamedTuple):
    """A number with its 95 % interval. The interval of a mean is a bootstrap interval; other fields name their method."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the number and its interval."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Case:
    """Costs of one algorithm and factor with a predator, or with attracted liquidity, bps of the arrival notional."""

    leakage: Estimate
    """Cost of being detected; a saving is negative."""
    price: Estimate
    """Price of stealth: leakage plus tracking cost."""
    against_plain: Estimate
    """Price less the price of the smallest factor, paired; negative if hiding pays. The interval is pointwise."""


@dataclass(frozen=True)
class Row:
    """One algorithm at one hiding factor."""

    algorithm: str
    factor: float
    auc: Estimate
    """Probability that a tape with the order scores higher than a clean tape; 0.5 is chance. Score interval of Newcombe."""
    detected: float
    """Fraction of the orders that the predator detects in the first half of their life."""
    tracking_cost: Estimate
    """Cost of deviating from the plan, bps of the arrival notional."""
    predator: Case
    liquidity: Case


@dataclass(frozen=True)
class Verdict:
    """The cheapest factor of one algorithm in one case. The intervals of all factor differences hold simultaneously."""

    algorithm: str
    case: str
    """"predator" or "liquidity"."""
    factor: float
    """Factor with the lowest price."""
    price: Estimate
    plain: float
    """Smallest factor."""
    change: Estimate
    """Lowest price less the price of the smallest factor."""
    rivals: tuple[float, ...]
    """Other factors whose price is not significantly higher."""
    dearer: tuple[float, ...]
    """Other factors whose price is significantly higher."""

    def __str__(self) -> str:
        """Return the verdict as a line of the report."""
        text = f"  {self.algorithm:<9} factor {self.factor:<4g} price {self.price}"
        if self.factor != self.plain:
            text += f"; less factor {self.plain:g}: {self.change}"
        if self.rivals:
            text += f"; within the noise: {', '.join(f'{factor:g}' for factor in self.rivals)}"
        return text + ("; all others cost more" if self.dearer and not self.rivals else "")


@dataclass(frozen=True)
class Study:
    """Result of ``hyperexec stealth``."""

    scenario: Scenario
    episodes: int
    seed: int
    predator: float
    """Strength of the predator, fraction of the expected child."""
    liquidity: float
    """Strength of the attracted liquidity, a negative fraction of the expected child."""
    chance: Estimate
    """AUC of clean tapes against other clean tapes, a check of the detector: 0.5 is expected."""
    false_alarms: Estimate
    """Fraction of new clean tapes that the predator takes for an order. Wilson's interval."""
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    """One verdict per algorithm and case."""

    @property
    def algorithms(self) -> list[str]:
        """Names of the algorithms, in order."""
        return list(dict.fromkeys(row.algorithm for row in self.rows))

    def verdict(self, algorithm: str, case: str) -> Verdict:
        """Return the verdict on an algorithm in a case ("predator" or "liquidity")."""
        return next(found for found in self.verdicts if (found.algorithm, found.case) == (algorithm, case))

    def __str__(self) -> str:
        """Return the report: the table, the false-alarm check, and the cheapest factors."""
        header = ["", "algorithm", "factor", "AUC", "detected", "tracking"]
        header += [f"{case}: {name}" for case in _CASES for name in ("leakage", "price")]
        cells = [_cells(row) for row in self.rows]
        titles = {
            "predator": f"cheapest factor with a predator ({self.predator:g}):",
            "liquidity": f"cheapest factor where a detected order attracts liquidity ({self.liquidity:g}):",
        }
        lines = [
            f"{self.scenario.name} ({self.scenario.hash}), {self.episodes:,} episodes of seed {self.seed}; "
            f"predator {self.predator:g}, liquidity {self.liquidity:g} of the expected child",
            "brackets are 95 % intervals; costs in bps of the arrival notional, paired on the same paths",
            "",
            text_table(header, cells),
            "",
            f"clean tapes against other clean tapes: AUC {self.chance}; "
            f"false alarms {_percent(self.false_alarms)} (threshold set at {100.0 * FALSE_ALARMS:g} %)",
            "below, the intervals of all differences between factors hold simultaneously; within the noise: not significant",
        ]
        for case in _CASES:
            lines += ["", titles[case], *(str(found) for found in self.verdicts if found.case == case)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the result as JSON with flat keys."""
        plain: dict[str, Any] = {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "episodes": self.episodes,
            "seed": self.seed,
            "predator": self.predator,
            "liquidity": self.liquidity,
            "watched": WATCHED,
            "false_alarm_target": FALSE_ALARMS,
            **_plain("false_alarm_rate", self.false_alarms),
            **_plain("chance_auc", self.chance),
            "rows": [_plain_row(row) for row in self.rows],
            "cheapest": [_plain_verdict(found) for found in self.verdicts],
        }
        return json_format.dumps(plain, indent=2) + "\n"


def _percent(share: Estimate) -> str:
    """Return a fraction and its interval in percent."""
    value, low, high = (f"{100.0 * number:.1f}" for number in share)
    return f"{value} % [{low}, {high}]"


def _case(row: Row, case: str) -> Case:
    found: Case = getattr(row, case)
    return found


def _cells(row: Row) -> list[str]:
    """Return the cells of a table row."""
    costs = [str(value) for case in _CASES for value in (_case(row, case).leakage, _case(row, case).price)]
    return ["", row.algorithm, f"{row.factor:g}", str(row.auc), f"{100.0 * row.detected:.0f} %", str(row.tracking_cost), *costs]


def _plain(name: str, estimate: Estimate, unit: str = "") -> dict[str, float]:
    """Return an estimate under flat keys: the name with its unit, and the bounds of the interval."""
    return {f"{name}{unit}": estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _plain_row(row: Row) -> dict[str, Any]:
    """Return a row under flat keys."""
    plain: dict[str, Any] = {"algorithm": row.algorithm, "factor": row.factor, "detected": row.detected}
    plain |= _plain("auc", row.auc) | _plain("tracking_cost", row.tracking_cost, "_bps")
    for case in _CASES:
        for name in asdict(_case(row, case)):
            plain |= _plain(f"{case}_{name}", getattr(_case(row, case), name), "_bps")
    return plain


def _plain_verdict(found: Verdict) -> dict[str, Any]:
    """Return a verdict under flat keys."""
    plain: dict[str, Any] = {"algorithm": found.algorithm, "case": found.case, "factor": found.factor}
    plain |= _plain("price", found.price, "_bps") | {"smallest_factor": found.plain}
    return plain | _plain("less_smallest", found.change, "_bps") | {"within_noise": list(found.rivals)}


# --- the market on a fine grid, and the children on it


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


def _bench(scenario: Scenario, seed: int) -> Bench:
    """Build the inputs of a study."""
    coarse, fine = build_market(scenario), build_market(_fine(scenario))
    quantity = int(fine.scenario.quantity)
    parent = ParentOrder(
        symbol="X", side=scenario.side, quantity=quantity, arrival_price=scenario.arrival_price, deadline=1.0, id="parent"
    )
    within = fine.mean_volume[:-1, 0].reshape(scenario.slices, SPLIT)
    volumes = within / within.sum(axis=1, keepdims=True) * coarse.mean_volume[:-1, [coarse.unknown]]
    return Bench(coarse, fine, parent, market_outlook(coarse, ExecutionConfig().urgency), volumes.ravel(), seed)


def _draw_path(bench: Bench, episodes: range) -> Path:
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


def _children(bench: Bench, path: Path, column: int, episode: int, cell: Cell, mirrored: bool = False) -> Children:
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


def _lay(orders: list[Children], path: Path) -> Placement:
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


def _objectives(market: Market, placement: Placement, strength: float, detected: NDArray[np.bool_]) -> Floats:
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


# --- the measurements


class Measured(NamedTuple):
    """Measurements of one cell; arrays of shape (episodes,)."""

    score: Floats
    """Score of the whole tape."""
    detected: NDArray[np.bool_]
    """Whether the predator detects the order in the first half of its life."""
    tracking_cost: Floats
    """Tracking cost, bps."""
    leakage: tuple[Floats, Floats]
    """Leakage with a predator, and with attracted liquidity, bps."""


def _clean_scores(bench: Bench, end: float, stream: int, count: int) -> Floats:
    """Return the scores of clean tapes up to time `end` (fraction of the order's life), drawn from a stream of their own."""
    volumes, scores = bench.volumes[: round(end * len(bench.volumes))], np.empty(count)
    with progress(count, f"clean tapes, {100.0 * end:.0f} % of the time") as advance:
        for number in range(count):
            scores[number] = score(background(volumes, np.random.default_rng([bench.seed, number, stream])), volumes)
            advance(1)
    return scores


def _threshold(bench: Bench) -> float:
    """Return the score that a fraction `FALSE_ALARMS` of the clean tapes reaches in the first half of the order's life."""
    return float(np.quantile(_clean_scores(bench, WATCHED, 3, THRESHOLD_TAPES), 1.0 - FALSE_ALARMS))


def _detect(bench: Bench, episode: int, orders: list[Children]) -> list[tuple[float, float]]:
    """Return (score of the whole tape, score of its first half) for the clean tape, then for the tape with each order."""
    side = bench.parent.side
    volumes = bench.volumes
    tape = background(volumes, np.random.default_rng([bench.seed, episode, 0]))
    scores = []
    for end in (1.0, WATCHED):
        early, curve = truncate(tape, end), volumes[: round(end * len(volumes))]
        others = (spectrum(early, side, curve), spectrum(early, -side, curve))
        scores.append([
            score_with_order(others, times[times < end] / end, shares[times < end])
            for times, shares in ((np.empty(0), np.empty(0)), *((order.times, order.shares) for order in orders))
        ])  # fmt: skip
    return list(zip(*scores, strict=True))


def _batches(
    bench: Bench, cells: list[Cell], threshold: float, strengths: tuple[float, float], episodes: int
) -> Iterator[tuple[Floats, list[Measured]]]:
    """Yield, for each batch, the scores of clean tapes, shape (whole and half, episodes), and the measurements of each cell."""
    plain = {algorithm: (algorithm, 0.0) for algorithm, _ in cells}
    for first in range(0, episodes, _BATCH):
        numbers = range(first, min(first + _BATCH, episodes))
        path = _draw_path(bench, numbers)
        wanted = dict.fromkeys([*cells, *plain.values()])
        orders, mirrored = (
            {
                cell: [_children(bench, path, column, number, cell, turned) for column, number in enumerate(numbers)]
                for cell in wanted
            }
            for turned in (False, True)
        )
        scores = np.array([
            _detect(bench, episode, [orders[cell][column] for cell in cells]) for column, episode in enumerate(numbers)
        ])  # fmt: skip
        undetected = np.zeros(len(numbers), dtype=bool)
        direct, antithetic = (
            {cell: _objectives(bench.fine, _lay(own, path), 0.0, undetected) for cell, own in each.items()}
            for each in (orders, mirrored)
        )
        measured = []
        for index, cell in enumerate(cells, start=1):
            placement, detected = _lay(orders[cell], path), scores[:, index, 1] > threshold
            predator, liquidity = (
                _objectives(bench.fine, placement, strength, detected) - direct[cell] for strength in strengths
            )
            tracking_cost = 0.5 * (direct[cell] + antithetic[cell]) - direct[plain[cell[0]]]
            measured.append(Measured(scores[:, index, 0], detected, tracking_cost, (predator, liquidity)))
        yield scores[:, 0].T, measured


def _gather(parts: list[Measured]) -> Measured:
    """Join the batches of a cell."""
    score, detected, tracking_cost, leakage = zip(*parts, strict=True)
    predator, liquidity = (np.concatenate(column) for column in zip(*leakage, strict=True))
    return Measured(np.concatenate(score), np.concatenate(detected), np.concatenate(tracking_cost), (predator, liquidity))


def study(
    scenario: ScenarioLike = "desk-5min",
    factors: tuple[float, ...] = FACTORS,
    predator: float = 0.3,
    episodes: int = 400,
    seed: int = 0,
) -> Study:
    """Measure every algorithm at every factor, in ascending order, with a progress bar.

    Args:
        scenario: The market, as a name, a dict, a path or a scenario; its own predator and its participation cap are ignored.
        factors: Hiding factors, 0 to 1.
        predator: Position of the predator ahead of a child, as a fraction of the expected child, 0 to 2. Attracted liquidity
            has the same strength, at most 0.5.
        episodes: Number of episodes.
        seed: Seed of all draws.

    Raises:
        ValueError: A value is out of range.
    """
    scenario = get_scenario(scenario)
    _check(scenario.slices, factors, predator, episodes, seed)
    episodes, seed = int(episodes), int(seed)
    factors = tuple(sorted(set(factors)))
    strengths = (predator, max(0.0 - predator, LEAST))
    bench = _bench(scenario, seed)
    cells = [(algorithm, factor) for algorithm in algorithm_names() for factor in factors]
    threshold, clean = _threshold(bench), _clean_scores(bench, 1.0, 1, episodes)
    empty, parts = [], []
    with progress(episodes, f"stealth {scenario.name}") as advance:
        for scores, measured in _batches(bench, cells, threshold, strengths, episodes):
            empty.append(scores)
            parts.append(measured)
            advance(scores.shape[1])
    whole, half = np.concatenate(empty, axis=1)
    found = dict(zip(cells, (_gather(list(column)) for column in zip(*parts, strict=True)), strict=True))
    rows, means = _rows(found, clean)
    return Study(
        scenario=scenario,
        episodes=episodes,
        seed=seed,
        predator=strengths[0],
        liquidity=strengths[1],
        chance=_auc(whole, clean),
        false_alarms=Estimate(float((half > threshold).mean()), *share_interval(int((half > threshold).sum()), episodes)),
        rows=rows,
        verdicts=_verdicts(rows, means),
    )


def _auc(found: Floats, clean: Floats) -> Estimate:
    area = auc(found, clean)
    return Estimate(area, *auc_interval(area, len(found), len(clean)))


def _rows(found: dict[Cell, Measured], clean: Floats) -> tuple[tuple[Row, ...], dict[str, Floats]]:
    """Return the rows, and for each case the bootstrap means of their prices, shape (rows, resamples).

    All means use the same resampled episodes.
    """
    table: list[Floats] = []
    first: dict[str, tuple[Floats, ...]] = {}
    for (algorithm, _), measured in found.items():
        prices = tuple(leakage + measured.tracking_cost for leakage in measured.leakage)
        changes = (p - f for p, f in zip(prices, first.setdefault(algorithm, prices), strict=True))
        table.append(group_means(np.array([measured.tracking_cost, *measured.leakage, *prices, *changes])))
    resampled = bootstrap_means(np.concatenate(table)).reshape(len(table), 7, -1)
    rows = []
    for (algorithm, factor), values, draws in zip(found, table, resampled, strict=True):
        tracking, *rest = (Estimate(float(own.mean()), *interval(means)) for own, means in zip(values, draws, strict=True))
        predator, liquidity = (Case(*rest[offset::2]) for offset in (0, 1))
        measured = found[algorithm, factor]
        area, detected = _auc(measured.score, clean), float(measured.detected.mean())
        rows.append(Row(algorithm, factor, area, detected, tracking, predator, liquidity))
    return tuple(rows), {case: resampled[:, place] for case, place in zip(_CASES, (3, 4), strict=True)}


def _verdicts(rows: tuple[Row, ...], means: dict[str, Floats]) -> tuple[Verdict, ...]:
    """Return the cheapest factor of each algorithm in each case.

    The cheapest factor is selected on the same data, so the intervals of all pairwise factor differences hold simultaneously.
    """
    algorithms = dict.fromkeys(row.algorithm for row in rows)
    own = {name: [index for index, row in enumerate(rows) if row.algorithm == name] for name in algorithms}
    pairs = [(case, pair) for case in _CASES for name in algorithms for pair in combinations(own[name], 2)]
    prices = {case: np.array([_case(row, case).price.value for row in rows]) for case in _CASES}
    changes = np.array([prices[case][b] - prices[case][a] for case, (a, b) in pairs])
    ends = np.zeros((2, 0))
    if pairs:
        ends = simultaneous_intervals(changes, np.array([means[case][b] - means[case][a] for case, (a, b) in pairs]))
    less = {
        (case, a, b): Estimate(float(change), float(low), float(high))
        for (case, (a, b)), change, low, high in zip(pairs, changes, *ends, strict=True)
    }
    less |= {(case, b, a): Estimate(-value, -high, -low) for (case, a, b), (value, low, high) in less.items()}
    verdicts = []
    for case in _CASES:
        for name in algorithms:
            best = min(own[name], key=lambda index: prices[case][index])
            others = [i for i in own[name] if i != best]
            rivals, dearer = (
                tuple(rows[i].factor for i in others if (less[case, best, i].low > 0.0) is sure) for sure in (False, True)
            )
            plain = own[name][0]
            change = less.get((case, plain, best), Estimate(0.0, 0.0, 0.0))
            price = _case(rows[best], case).price
            verdicts.append(Verdict(name, case, rows[best].factor, price, rows[plain].factor, change, rivals, dearer))
    return tuple(verdicts)


def _check(slices: int, factors: tuple[float, ...], strength: float, episodes: int, seed: int) -> None:
    """Raise a ValueError if an option is out of range."""
    check_integer("slices of the scenario", slices, low=2, high=MOST_CYCLES)
    if not 1 <= len(set(factors)) <= MOST_FACTORS:
        raise ValueError(f"factors must be 1 to {MOST_FACTORS} different numbers, got {len(set(factors))}")
    for factor in factors:
        check_number("factors", factor, low=0.0, high=1.0)
    check_number("predator", strength, low=0.0, high=GREATEST, unit="of the expected child")
    check_integer("episodes", episodes, low=20, high=MOST_EPISODES)
    check_integer("seed", seed, low=0, high=2**32 - 1)
