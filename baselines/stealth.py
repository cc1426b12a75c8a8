"""Study of order hiding: how detectable the order is on the tape, what detection costs, and what hiding costs.

For each algorithm and hiding factor, on the same paths of the market, the study measures:

- detection: the AUC of a detector that scores tapes of background trades with and without the children;
- leakage: the extra cost when a predator trades ahead of the children. The predator scores the first half of the order's life,
  and trades in the second half if the score exceeds a threshold with a false-alarm rate of 5 % (set on 4,000 clean tapes);
- tracking cost: the cost of deviating from the plan, without a predator: the mean cost of the jittered order and of its
  antithetic mirror image, less the cost of the plan;
- price of stealth: leakage plus tracking cost. The study repeats leakage and price for the opposite case, in which a detected
  order attracts liquidity.

Children trade on a fine grid (:mod:`~hyperexec_env.baselines.fine_grid`). The study omits the participation cap and the
persistence of the flow.
"""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.statistics import bootstrap_means, group_means, interval, share_interval, simultaneous_intervals
from hyperexec_env.execution.algorithms import algorithm_names
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
from hyperexec_env.market.predator import GREATEST, LEAST
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.progress import progress

from .fine_grid import WATCHED, Bench, Cell, Children, bench_of, children_of, draw_fine_path, lay, objectives_of

__all__ = ["FACTORS", "Case", "Estimate", "Row", "Study", "Verdict", "study"]

Floats = NDArray[np.float64]
FACTORS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Default hiding factors of a study."""
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
        path = draw_fine_path(bench, numbers)
        wanted = dict.fromkeys([*cells, *plain.values()])
        orders, mirrored = (
            {
                cell: [children_of(bench, path, column, number, cell, turned) for column, number in enumerate(numbers)]
                for cell in wanted
            }
            for turned in (False, True)
        )
        scores = np.array([
            _detect(bench, episode, [orders[cell][column] for cell in cells]) for column, episode in enumerate(numbers)
        ])  # fmt: skip
        undetected = np.zeros(len(numbers), dtype=bool)
        direct, antithetic = (
            {cell: objectives_of(bench.fine, lay(own, path), 0.0, undetected) for cell, own in each.items()}
            for each in (orders, mirrored)
        )
        measured = []
        for index, cell in enumerate(cells, start=1):
            placement, detected = lay(orders[cell], path), scores[:, index, 1] > threshold
            predator, liquidity = (
                objectives_of(bench.fine, placement, strength, detected) - direct[cell] for strength in strengths
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
    bench = bench_of(scenario, seed)
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
