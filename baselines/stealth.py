"""What order hiding is worth: can the order be seen on the tape, what does being seen cost, and what does hiding cost?

For each algorithm and hiding factor, on the same paths of the market:

- detection: the AUC of a detector that reads tapes of background trades with and without the children;
- leakage: what the market charges more because a predator trades ahead of us. It reads the first half of the order's life, and
  hunts in the second half where the tape scores above a threshold that one clean tape in twenty reaches (set on 4,000 of them);
- straying: what leaving the plan costs, without a predator: the mean of the jitter and of its mirror image, less the plan;
- the price of stealth: their sum. The opposite case, liquidity that comes to an order that is seen, stands beside it.

A child trades at its time on a grid of 20 slices for each slice of the scenario. The regimes are those of the scenario: each
holds for a whole slice of it. A child pays temporary impact on its share of the volume of its interval, as in the scenario,
wherever in the interval it trades. Adaptive plans what remains anew when the regime asks for it, as the agent does. The
participation cap is left out, and the flow has no memory.
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
from hyperexec_env.evaluation.progress import progress
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
from hyperexec_env.market.model import Market, build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, World, begin, draw_path, draw_slice
from hyperexec_env.market.predator import GREATEST, LEAST, PredatorMemory, step_with_predator, update_memory
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = ["FACTORS", "Case", "Estimate", "Row", "Study", "Verdict", "study"]

Floats = NDArray[np.float64]
Cell = tuple[str, float]
"""An algorithm and a hiding factor."""

FACTORS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Hiding factors that a study measures."""
SPLIT: Final = 20
"""Slices of the fine grid for each slice of the scenario."""
WATCHED: Final = 0.5
"""Part of the order's life that the predator reads before it hunts."""
FALSE_ALARMS: Final = 0.05
"""Share of clean tapes that reach the threshold."""
THRESHOLD_TAPES: Final = 4000
"""Clean tapes that set the threshold, however many episodes there are: it is good to a third of a percent of false alarms."""
MOST_EPISODES: Final = 20_000
MOST_FACTORS: Final = 20
"""With so many of both, the numbers that are kept take a few hundred MB."""
_BATCH: Final = 256
_CASES: Final = ("predator", "liquidity")


class Estimate(NamedTuple):
    """A number with its 95 % interval: of the bootstrap where it is a mean, else as it says."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the number and its interval."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Case:
    """What one factor costs in one kind of market, bps of the arrival notional."""

    leakage: Estimate
    """What being seen costs (negative: what it saves)."""
    price: Estimate
    """Leakage and straying together: the price of stealth."""
    against_plain: Estimate
    """The price less that of the smallest factor, paired: negative where hiding pays. An interval for this factor alone."""


@dataclass(frozen=True)
class Row:
    """One algorithm at one hiding factor."""

    algorithm: str
    factor: float
    auc: Estimate
    """Probability that a tape with the order scores higher than one without; 0.5 is chance. A score interval (Newcombe)."""
    believed: float
    """Share of the orders that the predator believes in after half of their life."""
    straying: Estimate
    """What leaving the plan costs, bps."""
    predator: Case
    liquidity: Case


@dataclass(frozen=True)
class Verdict:
    """Which factor is the cheapest of an algorithm in one kind of market. The intervals of all differences hold together."""

    algorithm: str
    case: str
    """predator or liquidity."""
    factor: float
    """The factor with the lowest price."""
    price: Estimate
    plain: float
    """The smallest factor."""
    change: Estimate
    """The lowest price less that of the smallest factor."""
    rivals: tuple[float, ...]
    """The other factors that may be as cheap: their difference to it is within the noise."""
    dearer: tuple[float, ...]
    """The other factors that cost more beyond doubt."""

    def __str__(self) -> str:
        """Return it as a line of the report."""
        text = f"  {self.algorithm:<9} factor {self.factor:<4g} price {self.price}"
        if self.factor != self.plain:
            text += f"; less factor {self.plain:g}: {self.change}"
        if self.rivals:
            text += f"; within the noise: {', '.join(f'{factor:g}' for factor in self.rivals)}"
        return text + ("; all others cost more" if self.dearer and not self.rivals else "")


@dataclass(frozen=True)
class Study:
    """What ``hyperexec stealth`` found."""

    scenario: Scenario
    episodes: int
    seed: int
    predator: float
    """Strength of the predator."""
    liquidity: float
    """Strength of the liquidity that comes to an order that is seen (negative)."""
    chance: Estimate
    """AUC of tapes without a parent against other tapes without one: the false-alarm check."""
    false_alarms: Estimate
    """Share of fresh clean tapes that the predator believes to hold an order. Wilson's interval."""
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    """Of each algorithm in each case."""

    @property
    def algorithms(self) -> list[str]:
        """Names of the algorithms, in order."""
        return list(dict.fromkeys(row.algorithm for row in self.rows))

    def verdict(self, algorithm: str, case: str) -> Verdict:
        """Return which factor of an algorithm is the cheapest in a case: predator or liquidity."""
        return next(found for found in self.verdicts if (found.algorithm, found.case) == (algorithm, case))

    def __str__(self) -> str:
        """Return the report: the check, the table, and which factor is cheapest."""
        header = ["", "algorithm", "factor", "AUC", "believed", "straying"]
        header += [f"{case}: {name}" for case in _CASES for name in ("leakage", "price")]
        cells = [_cells(row) for row in self.rows]
        titles = {
            "predator": f"cheapest factor where a predator hunts ({self.predator:g}):",
            "liquidity": f"cheapest factor where liquidity comes to an order that is seen ({self.liquidity:g}):",
        }
        lines = [
            f"{self.scenario.name} ({self.scenario.hash}), {self.episodes:,} episodes of seed {self.seed}; "
            f"predator {self.predator:g}, liquidity {self.liquidity:g} of the child that is expected",
            "brackets are 95 % intervals; costs in bps of the arrival notional, paired on the same paths",
            "",
            text_table(header, cells),
            "",
            f"tapes without an order against others without one: AUC {self.chance}; "
            f"false alarms {_percent(self.false_alarms)} (threshold set at {100.0 * FALSE_ALARMS:g} %)",
            "below, the intervals of all differences between factors hold together; within the noise: may be as cheap",
        ]
        for case in _CASES:
            lines += ["", titles[case], *(str(found) for found in self.verdicts if found.case == case)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the numbers under plain keys."""
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
    """Return a share and its interval in percent."""
    value, low, high = (f"{100.0 * number:.1f}" for number in share)
    return f"{value} % [{low}, {high}]"


def _case(row: Row, case: str) -> Case:
    found: Case = getattr(row, case)
    return found


def _cells(row: Row) -> list[str]:
    """Return a row of the table."""
    costs = [str(value) for case in _CASES for value in (_case(row, case).leakage, _case(row, case).price)]
    return ["", row.algorithm, f"{row.factor:g}", str(row.auc), f"{100.0 * row.believed:.0f} %", str(row.straying), *costs]


def _plain(name: str, estimate: Estimate, unit: str = "") -> dict[str, float]:
    """Return an estimate under plain keys: the name with its unit, and its interval."""
    return {f"{name}{unit}": estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _plain_row(row: Row) -> dict[str, Any]:
    """Return a row under plain keys."""
    plain: dict[str, Any] = {"algorithm": row.algorithm, "factor": row.factor, "believed": row.believed}
    plain |= _plain("auc", row.auc) | _plain("straying", row.straying, "_bps")
    for case in _CASES:
        for name in asdict(_case(row, case)):
            plain |= _plain(f"{case}_{name}", getattr(_case(row, case), name), "_bps")
    return plain


def _plain_verdict(found: Verdict) -> dict[str, Any]:
    """Return a verdict under plain keys."""
    plain: dict[str, Any] = {"algorithm": found.algorithm, "case": found.case, "factor": found.factor}
    plain |= _plain("price", found.price, "_bps") | {"smallest_factor": found.plain}
    return plain | _plain("less_smallest", found.change, "_bps") | {"within_noise": list(found.rivals)}


# --- the market on a fine grid, and the children on it


def _fine(scenario: Scenario) -> Scenario:
    """Return the scenario on the fine grid, its order in whole shares.

    The noise of a fine slice is such that the volume of a slice of the scenario varies as much as it does there.
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
        predator=0.0,
    )


class Children(NamedTuple):
    """The children of one order, in the order of their times."""

    times: Floats
    """When they trade, as a fraction of the order's life."""
    shares: Floats
    """Their sizes."""
    first: NDArray[np.int64]
    """Fine slice with which the interval of each begins."""
    end: NDArray[np.int64]
    """Fine slice before which it ends."""


class Laid(NamedTuple):
    """The children of some episodes on the fine grid."""

    shares: Floats
    """What trades in each slice, shape (slices, episodes)."""
    slices: Slice
    """The slices; where a child trades, the volume is that of its interval (in which one regime holds)."""


def _plan(algorithm: str, view: Outlook, regime: str, volumes: Callable[[int], Floats], rate: float) -> Weights:
    """Return the weights of the intervals of an order, or of what remains of it, in a regime.

    POV sizes its children by the volume that the market showed in the interval before (in the first: the expected one), and the
    last one takes the rest.
    """
    name, intervals = resolve(algorithm, regime, view.intervals)
    if name != POV:
        return ALGORITHMS[name](view._replace(intervals=intervals))
    weights = rate * volumes(intervals)
    left = np.maximum(1.0 - np.append(0.0, np.cumsum(weights)[:-1]), 0.0)
    return np.asarray(np.append(np.minimum(weights, left)[:-1], left[-1]))


class Bench(NamedTuple):
    """What all cells of a study share."""

    coarse: Market
    fine: Market
    parent: ParentOrder
    view: Outlook
    volumes: Floats
    """Market volume that is expected in each fine slice, shares."""
    seed: int


def _bench(scenario: Scenario, seed: int) -> Bench:
    """Lay out a study."""
    coarse, fine = build_market(scenario), build_market(_fine(scenario))
    quantity = int(fine.scenario.quantity)
    parent = ParentOrder(
        symbol="X", side=scenario.side, quantity=quantity, arrival_price=scenario.arrival_price, deadline=1.0, id="parent"
    )
    within = fine.mean_volume[:-1, 0].reshape(scenario.slices, SPLIT)
    volumes = within / within.sum(axis=1, keepdims=True) * coarse.mean_volume[:-1, [coarse.unknown]]
    return Bench(coarse, fine, parent, market_outlook(coarse, ExecutionConfig().urgency), volumes.ravel(), seed)


def _draw_path(bench: Bench, episodes: range) -> Path:
    """Draw some episodes on the fine grid, in the regimes of the scenario: each holds for a whole slice of it."""
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
    """A generator whose uniform draws are mirrored at one half: what it jitters moves the other way."""

    def random(self, *args: Any, **kwargs: Any) -> Any:
        """Return one minus the draw."""
        return 1.0 - super().random(*args, **kwargs)


def _children(bench: Bench, path: Path, column: int, episode: int, cell: Cell, mirrored: bool = False) -> Children:
    """Cut the order of an episode (a column of the path); Adaptive cuts what remains anew when the regime asks for it."""
    algorithm, factor = cell
    slices, names = bench.fine.slices, bench.fine.scenario.regimes.names
    regimes = [names[regime] for regime in path.world.regime[:-1:SPLIT, column]]
    choices = [resolve(algorithm, regime, bench.view.intervals) for regime in regimes]
    changes = [k for k in range(1, len(choices)) if choices[k] != choices[k - 1]]
    rng = np.random.default_rng([bench.seed, episode, 2])  # the same draws for every cell: curves are smooth in the factor
    rng = _Mirrored(rng.bit_generator) if mirrored else rng
    left, parts, last = bench.parent.quantity, list[Children](), 0.0
    for turn, end in pairwise([0, *(SPLIT * k for k in changes), slices]):
        view = bench.view._replace(intervals=bench.view.intervals - turn // SPLIT)
        weights = _plan(
            algorithm, view, regimes[turn // SPLIT], lambda count: _seen(bench, path, column, count), 1.0 / bench.volumes.sum()
        )
        now, interval = turn / slices, (1.0 - turn / slices) / len(weights)
        phase = schedules.phase_after(now - last, interval, TIME_JITTER * factor) if turn else 0.5
        made = cut(bench.parent, left, now, 1.0, weights, phase=phase, factor=factor, rng=rng)
        part = _place(made, turn, slices, len(weights))
        parts.append(_until(part, end, slices))
        left -= int(parts[-1].shares.sum())
        last = float(parts[-1].times[-1]) if len(parts[-1].times) else last if turn else -0.5 * interval
    times, shares, first, ends = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Children(times, shares, first, ends)


def _until(part: Children, end: int, slices: int) -> Children:
    """Return the children that trade before a fine slice; what is due at it is planned anew."""
    out = part.times * slices < end - 1e-6
    return Children(part.times[out], part.shares[out], part.first[out], np.minimum(part.end[out], end))


def _seen(bench: Bench, path: Path, column: int, intervals: int) -> Floats:
    """Return the volume of the interval before each interval of an order: of the first, what is expected of itself."""
    edges = _edges(0, bench.fine.slices, intervals)
    before = np.diff(np.append(0.0, np.cumsum(path.slices.volume[:, column]))[edges])[:-1]
    return np.append(bench.volumes[: edges[1]].sum(), before)


def _edges(first: int, slices: int, intervals: int) -> NDArray[np.int64]:
    """Return the fine slices at which the intervals of what is planned from a fine slice on begin and end."""
    return first + np.arange(intervals + 1) * (slices - first) // intervals


def _place(made: list[ChildOrder], first: int, slices: int, intervals: int) -> Children:
    """Return children that were cut from a fine slice on, with their intervals."""
    times = np.array([child.schedule_time for child in made])
    interval_of = ((times * slices - first) * (intervals / (slices - first)) + 1e-9).astype(np.int64)
    edges = _edges(first, slices, intervals)
    return Children(times, np.array([float(child.quantity) for child in made]), edges[interval_of], edges[interval_of + 1])


def _lay(orders: list[Children], path: Path) -> Laid:
    """Lay the children of some episodes on the fine grid, each at the nearest time that its interval has there."""
    volume = path.slices.volume.copy()
    slices, episodes = volume.shape
    times, traded, first, end = (np.concatenate(values) for values in zip(*orders, strict=True))
    column = np.repeat(np.arange(episodes), [len(order.times) for order in orders])
    place = np.clip((times * slices + 0.5 + 1e-9).astype(np.int64), first, end - 1)
    seen = np.concatenate([np.zeros((1, episodes)), np.cumsum(volume, axis=0)])
    shares = np.zeros(volume.shape)
    shares[place, column] = traded
    volume[place, column] = seen[end, column] - seen[first, column]
    return Laid(shares, path.slices._replace(volume=volume))


def _objectives(market: Market, laid: Laid, strength: float, believed: NDArray[np.bool_]) -> Floats:
    """Return the objective J of each episode, bps, with another trader who acts in the second half where it believes."""
    zero, half = np.zeros(laid.shares.shape[1]), round(WATCHED * market.slices)
    state: tuple[Any, ...] = (zero + market.scenario.quantity, zero, zero)
    memory, total = PredatorMemory(zero, zero, zero, zero), zero
    for k in range(market.slices):
        slice, shares = [values[k] for values in laid.slices], laid.shares[k]
        if strength and k >= half:
            gated = memory._replace(likeness=memory.likeness * believed)
            (state, cost), _ = step_with_predator(market.impact, state, slice, shares, gated, strength)
        else:
            state, cost = move(market.impact, state, slice, shares)
        memory = update_memory(memory, shares)
        total = total + expected_cost(cost)
    return np.asarray(total * (1e4 / market.scenario.notional))


# --- what is measured


class Measured(NamedTuple):
    """Numbers of one cell, one for each episode."""

    score: Floats
    """Score of the whole tape."""
    believed: NDArray[np.bool_]
    """Whether the predator believes in the order after half of its life."""
    straying: Floats
    """bps."""
    leakage: tuple[Floats, Floats]
    """With a predator, and with liquidity that comes; bps."""


def _clean_scores(bench: Bench, end: float, stream: int, count: int) -> Floats:
    """Return the scores of clean tapes, of the time until `end`, that no cell uses; each is scored as it is drawn."""
    volumes, scores = bench.volumes[: round(end * len(bench.volumes))], np.empty(count)
    with progress(count, f"clean tapes, {100.0 * end:.0f} % of the time") as advance:
        for number in range(count):
            scores[number] = score(background(volumes, np.random.default_rng([bench.seed, number, stream])), volumes)
            advance(1)
    return scores


def _threshold(bench: Bench) -> float:
    """Return the score that one clean tape in twenty reaches after half of the time."""
    return float(np.quantile(_clean_scores(bench, WATCHED, 3, THRESHOLD_TAPES), 1.0 - FALSE_ALARMS))


def _detect(bench: Bench, episode: int, orders: list[Children]) -> list[tuple[float, float]]:
    """Return the scores of the whole tape and of its first half: without an order, then with each of some orders in it."""
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
    """Yield the scores without an order, (whole and half, episodes), and what was measured in each cell, batch after batch."""
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
        nobody = np.zeros(len(numbers), dtype=bool)
        alone, turned = (
            {cell: _objectives(bench.fine, _lay(own, path), 0.0, nobody) for cell, own in each.items()}
            for each in (orders, mirrored)
        )
        measured = []
        for index, cell in enumerate(cells, start=1):
            laid, believed = _lay(orders[cell], path), scores[:, index, 1] > threshold
            hunted, met = (_objectives(bench.fine, laid, strength, believed) - alone[cell] for strength in strengths)
            straying = 0.5 * (alone[cell] + turned[cell]) - alone[plain[cell[0]]]
            measured.append(Measured(scores[:, index, 0], believed, straying, (hunted, met)))
        yield scores[:, 0].T, measured


def _gather(parts: list[Measured]) -> Measured:
    """Join the batches of a cell."""
    whole, believed, straying, leakage = zip(*parts, strict=True)
    hunted, met = (np.concatenate(column) for column in zip(*leakage, strict=True))
    return Measured(np.concatenate(whole), np.concatenate(believed), np.concatenate(straying), (hunted, met))


def study(
    scenario: ScenarioLike = "desk-5min",
    factors: tuple[float, ...] = FACTORS,
    predator: float = 0.3,
    episodes: int = 400,
    seed: int = 0,
) -> Study:
    """Measure every algorithm at every factor, in ascending order, with a progress bar.

    Args:
        scenario: The market, as a name, a dict, a path or a scenario; its own predator and its cap are left out.
        factors: Hiding factors, 0 to 1.
        predator: What the predator trades ahead, as a fraction of the child that it expects, 0 to 2; the liquidity of the
            opposite case has the same strength, at most 0.5.
        episodes: Number of episodes.
        seed: Seed of everything that is drawn.

    Raises:
        ValueError: A value is out of range.
    """
    scenario = get_scenario(scenario)
    _check(scenario.slices, factors, predator, episodes, seed)
    factors = tuple(sorted(set(factors)))
    strengths = (predator, max(0.0 - predator, LEAST))
    bench = _bench(scenario, seed)
    cells = [(algorithm, factor) for algorithm in algorithm_names() for factor in factors]
    threshold, clean = _threshold(bench), _clean_scores(bench, 1.0, 1, episodes)
    nothing, parts = [], []
    with progress(episodes, f"stealth {scenario.name}") as advance:
        for without, measured in _batches(bench, cells, threshold, strengths, episodes):
            nothing.append(without)
            parts.append(measured)
            advance(without.shape[1])
    whole, half = np.concatenate(nothing, axis=1)
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
    """Return the rows, and for each case the bootstrap means of their prices, (rows, resamples).

    All means are of the same resampled episodes.
    """
    table: list[Floats] = []
    first: dict[str, tuple[Floats, ...]] = {}
    for (algorithm, _), measured in found.items():
        prices = tuple(leakage + measured.straying for leakage in measured.leakage)
        changes = (p - f for p, f in zip(prices, first.setdefault(algorithm, prices), strict=True))
        table.append(group_means(np.array([measured.straying, *measured.leakage, *prices, *changes])))
    resampled = bootstrap_means(np.concatenate(table)).reshape(len(table), 7, -1)
    rows = []
    for (algorithm, factor), values, draws in zip(found, table, resampled, strict=True):
        straying, *rest = (Estimate(float(own.mean()), *interval(means)) for own, means in zip(values, draws, strict=True))
        hunted, met = (Case(*rest[offset::2]) for offset in (0, 1))
        measured = found[algorithm, factor]
        area, believed = _auc(measured.score, clean), float(measured.believed.mean())
        rows.append(Row(algorithm, factor, area, believed, straying, hunted, met))
    return tuple(rows), {case: resampled[:, place] for case, place in zip(_CASES, (3, 4), strict=True)}


def _verdicts(rows: tuple[Row, ...], means: dict[str, Floats]) -> tuple[Verdict, ...]:
    """Return which factor is the cheapest, of each algorithm in each case.

    The choice is made on the same numbers, so the intervals of the differences of all pairs of factors hold together.
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
    """Refuse what is out of range."""
    check_integer("slices of the scenario", slices, low=2, high=MOST_CYCLES)
    if not 1 <= len(set(factors)) <= MOST_FACTORS:
        raise ValueError(f"factors must be 1 to {MOST_FACTORS} different numbers, got {len(set(factors))}")
    for factor in factors:
        check_number("factors", factor, low=0.0, high=1.0)
    check_number("predator", strength, low=0.0, high=GREATEST, unit="of the child that is expected")
    check_integer("episodes", episodes, low=20, high=MOST_EPISODES)
    check_integer("seed", seed, low=0, high=2**32 - 1)
