"""Measure what order hiding is worth: can the order be seen on the tape, what does being seen cost, and what does hiding cost?

For each algorithm and hiding factor, on the same paths of the market:

- detection: the AUC of a detector that reads tapes of background trades with and without the children;
- leakage: what the market charges more because a predator trades ahead of us. It reads the first half of the order's life, and
  hunts in the second half where the tape scores above a threshold that one clean tape in twenty reaches;
- straying: what leaving the plan costs, without a predator: the mean of the jitter and of its mirror image, less the plan;
- the price of stealth: their sum. The opposite case, liquidity that comes to an order that is seen, stands beside it.

A child trades at its time on a grid of 20 slices for each slice of the scenario, and pays temporary impact on its share of the
volume of its interval, as it does in the scenario. The participation cap is left out, and the flow has no memory.
"""

from __future__ import annotations

import json as json_format
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.evaluate import show
from baselines.stealth_plot import check_plot, picture
from hyperexec_env.arguments import option
from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.progress import progress
from hyperexec_env.evaluation.statistics import bootstrap_means, interval
from hyperexec_env.execution.algorithms import ALGORITHMS, POV, Outlook, algorithm_names, market_outlook, resolve
from hyperexec_env.execution.children import cut
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.detection import MOST_CYCLES, auc, background, listen, resampled_auc, score, score_with, until
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.files import check_target, write_atomically
from hyperexec_env.market.kernel import Slice, expected_cost, move
from hyperexec_env.market.model import Market, build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, draw_path
from hyperexec_env.market.predator import GREATEST, LEAST, Hunt, ambush, watch
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.orders import ParentOrder

__all__ = ["Args", "Case", "Estimate", "Row", "Study", "main", "study"]

Floats = NDArray[np.float64]
Cell = tuple[str, float]
"""An algorithm and a hiding factor."""

SPLIT: Final = 20
"""Slices of the fine grid for each slice of the scenario."""
WATCHED: Final = 0.5
"""Part of the order's life that the predator reads before it hunts."""
FALSE_ALARMS: Final = 0.05
"""Share of clean tapes that reach the threshold."""
_BATCH: Final = 256
_CASES: Final = ("predator", "liquidity")


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec stealth``."""

    scenario: str = option("desk-5min", "name of a scenario or path of a .toml file")
    factors: tuple[float, ...] = option((0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0), "hiding factors, 0 to 1")
    predator: float = option(0.3, "what the predator trades ahead, as a fraction of the child that it expects, 0 to 2")
    episodes: int = option(400, "number of episodes, the same for every algorithm and factor")
    seed: int = option(0, "seed of the episodes, the tapes and the hiding")
    json: str | None = option(None, "write the numbers as JSON to this file (without a file: to standard output)")
    plot: str | None = option(None, "draw the curves to this file (.png, .svg or .pdf)")


class Estimate(NamedTuple):
    """A mean with its 95 % bootstrap interval."""

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
    """The price less that of the smallest factor, paired: negative where hiding pays."""


@dataclass(frozen=True)
class Row:
    """One algorithm at one hiding factor."""

    algorithm: str
    factor: float
    auc: Estimate
    """Probability that a tape with the order scores higher than one without; 0.5 is chance."""
    believed: float
    """Share of the orders that the predator believes in after half of their life."""
    straying: Estimate
    """What leaving the plan costs, bps."""
    predator: Case
    liquidity: Case


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
    false_alarms: float
    """Share of fresh clean tapes that the predator believes to hold an order."""
    rows: tuple[Row, ...]

    def cheapest(self, algorithm: str, case: str) -> Row:
        """Return the row of the factor with the lowest price."""
        own = [row for row in self.rows if row.algorithm == algorithm]
        return min(own, key=lambda row: _case(row, case).price.value)

    @property
    def algorithms(self) -> list[str]:
        """Names of the algorithms, in order."""
        return list(dict.fromkeys(row.algorithm for row in self.rows))

    def verdicts(self, case: str) -> list[str]:
        """Return for each algorithm which factor is cheapest, and whether that is beyond doubt."""
        lines = []
        for algorithm in self.algorithms:
            first, *others = (row for row in self.rows if row.algorithm == algorithm)
            best = self.cheapest(algorithm, case)
            other = best if best is not first else others[0] if others else None
            text = f"  {algorithm:<9} factor {best.factor:<4g} price {_case(best, case).price}"
            if other is not None:
                change = _case(other, case).against_plain
                sure = "" if change.high < 0.0 or change.low > 0.0 else ", within the noise"
                text += f"; factor {other.factor:g} less factor {first.factor:g}: {change}{sure}"
            lines.append(text)
        return lines

    def __str__(self) -> str:
        """Return the report: the check, the table, and which factor is cheapest."""
        header = ["", "algorithm", "factor", "AUC", "believed", "straying"]
        header += [f"{case}: {name}" for case in _CASES for name in ("leakage", "price")]
        cells = [_cells(row) for row in self.rows]
        return "\n".join([
            f"{self.scenario.name} ({self.scenario.hash}), {self.episodes:,} episodes of seed {self.seed}; "
            f"predator {self.predator:g}, liquidity {self.liquidity:g} of the child that is expected",
            "brackets are 95 % bootstrap intervals; costs in bps of the arrival notional, paired on the same paths",
            "",
            text_table(header, cells),
            "",
            f"tapes without an order against others without one: AUC {self.chance}; "
            f"false alarms {100.0 * self.false_alarms:.1f} % (threshold set at {100.0 * FALSE_ALARMS:g} %)",
            "",
            f"cheapest factor where a predator hunts ({self.predator:g}):",
            *self.verdicts("predator"),
            f"cheapest factor where liquidity comes to an order that is seen ({self.liquidity:g}):",
            *self.verdicts("liquidity"),
        ])  # fmt: skip

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
            "false_alarm_rate": self.false_alarms,
            **_plain("chance_auc", self.chance),
            "rows": [_plain_row(row) for row in self.rows],
            "cheapest": [
                {"algorithm": name, "case": case, "factor": self.cheapest(name, case).factor}
                for name in self.algorithms
                for case in _CASES
            ],
        }
        return json_format.dumps(plain, indent=2) + "\n"


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
    intervals: int
    """Into how many intervals the order was cut."""


class Laid(NamedTuple):
    """The children of some episodes on the fine grid, shape (slices, episodes)."""

    shares: Floats
    """What trades in each slice."""
    volume: Floats
    """Market volume of the interval of each child; that of the slice where none trades."""


def _plan(algorithm: str, view: Outlook, regime: str, volumes: Callable[[int], Floats], rate: float) -> Weights:
    """Return the weights of the intervals of an order that begins in a regime.

    POV sizes its children by the volume that the market showed in the interval before (in the first: the expected one), and the
    last one takes the rest. Adaptive follows the regime of the start.
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
    seed: int


def _bench(scenario: Scenario, seed: int) -> Bench:
    """Lay out a study."""
    coarse, fine = build_market(scenario), build_market(_fine(scenario))
    quantity = int(fine.scenario.quantity)
    parent = ParentOrder(
        symbol="X", side=scenario.side, quantity=quantity, arrival_price=scenario.arrival_price, deadline=1.0, id="parent"
    )
    return Bench(coarse, fine, parent, market_outlook(coarse, ExecutionConfig().urgency), seed)


def _edges(slices: int, intervals: int) -> NDArray[np.int64]:
    """Return the fine slices at which the intervals of an order begin and end."""
    return np.arange(intervals + 1) * slices // intervals


class _Mirrored(np.random.Generator):
    """A generator whose uniform draws are mirrored at one half: what it jitters moves the other way."""

    def random(self, *args: Any, **kwargs: Any) -> Any:
        """Return one minus the draw."""
        return 1.0 - super().random(*args, **kwargs)


def _children(bench: Bench, path: Path, column: int, episode: int, cell: Cell, mirrored: bool = False) -> Children:
    """Cut the order of an episode (a column of the path)."""
    algorithm, factor = cell
    expected = bench.fine.mean_volume[:-1, bench.fine.unknown]
    seen = np.append(0.0, np.cumsum(path.slices.volume[:, column]))

    def volumes(intervals: int) -> Floats:
        edges = _edges(bench.fine.slices, intervals)
        return np.append(expected[: edges[1]].sum(), np.diff(seen[edges])[:-1])

    regime = bench.fine.scenario.regimes.names[path.world.regime[0, column]]
    weights = _plan(algorithm, bench.view, regime, volumes, 1.0 / float(expected.sum()))
    rng = np.random.default_rng([bench.seed, episode, 2])  # the same draws for every cell: curves are smooth in the factor
    rng = _Mirrored(rng.bit_generator) if mirrored else rng
    made = cut(bench.parent, bench.parent.quantity, 0.0, 1.0, weights, factor=factor, rng=rng)
    times = np.array([child.schedule_time for child in made])
    return Children(times, np.array([float(child.quantity) for child in made]), len(weights))


def _lay(orders: list[Children], path: Path) -> Laid:
    """Lay the children of some episodes on the fine grid."""
    volume = path.slices.volume.copy()
    shares = np.zeros(volume.shape)
    slices = len(volume)
    for column, order in enumerate(orders):
        edges = _edges(slices, order.intervals)
        seen = np.append(0.0, np.cumsum(path.slices.volume[:, column]))
        place = (order.times * slices).astype(np.int64)
        interval_of = (order.times * order.intervals).astype(np.int64)
        shares[place, column] = order.shares
        volume[place, column] = seen[edges[interval_of + 1]] - seen[edges[interval_of]]
    return Laid(shares, volume)


def _objectives(market: Market, path: Path, laid: Laid, strength: float, believed: NDArray[np.bool_]) -> Floats:
    """Return the objective J of each episode, bps, with another trader who acts in the second half where it believes."""
    slices = Slice(*path.slices)._replace(volume=laid.volume)
    zero, half = np.zeros(laid.shares.shape[1]), round(WATCHED * market.slices)
    state: tuple[Any, ...] = (zero + market.scenario.quantity, zero, zero)
    hunt, total = Hunt(zero, zero, zero, zero), zero
    for k in range(market.slices):
        slice, shares = [values[k] for values in slices], laid.shares[k]
        if strength and k >= half:
            gated = hunt._replace(likeness=hunt.likeness * believed)
            (state, cost), _ = ambush(market.impact, state, slice, shares, gated, strength)
        else:
            state, cost = move(market.impact, state, slice, shares)
        hunt = watch(hunt, shares)
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


def _clean_scores(bench: Bench, episodes: int) -> tuple[Floats, Floats]:
    """Return the scores of clean tapes that no cell uses: of the whole tape and of its first half."""
    volumes = bench.fine.mean_volume[:-1, bench.fine.unknown]
    tapes = [background(volumes, np.random.default_rng([bench.seed, episode, 1])) for episode in range(episodes)]
    whole, half = (
        np.array([score(until(tape, end), volumes[: round(end * len(volumes))]) for tape in tapes]) for end in (1.0, WATCHED)
    )
    return whole, half


def _detect(bench: Bench, episode: int, orders: list[Children]) -> list[tuple[float, float]]:
    """Return the scores of the whole tape and of its first half: without an order, then with each of some orders in it."""
    side = bench.parent.side
    volumes = bench.fine.mean_volume[:-1, bench.fine.unknown]
    tape = background(volumes, np.random.default_rng([bench.seed, episode, 0]))
    nothing = Children(np.empty(0), np.empty(0), 1)
    scores = []
    for end in (1.0, WATCHED):
        early, curve = until(tape, end), volumes[: round(end * len(volumes))]
        others = (listen(early, side, curve), listen(early, -side, curve))
        scores.append([
            score_with(others, side, order.times[order.times < end] / end, order.shares[order.times < end])
            for order in (nothing, *orders)
        ])  # fmt: skip
    return list(zip(*scores, strict=True))


def _batches(
    bench: Bench, cells: list[Cell], threshold: float, strengths: tuple[float, float], episodes: int
) -> Iterator[tuple[Floats, list[Measured]]]:
    """Yield the scores without an order, (whole and half, episodes), and what was measured in each cell, batch after batch."""
    plain = {algorithm: (algorithm, 0.0) for algorithm, _ in cells}
    for first in range(0, episodes, _BATCH):
        numbers = range(first, min(first + _BATCH, episodes))
        path = draw_path(bench.fine, episode_keys(bench.seed, np.array(numbers)), float(bench.parent.side))
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
            {cell: _objectives(bench.fine, path, _lay(own, path), 0.0, nobody) for cell, own in each.items()}
            for each in (orders, mirrored)
        )
        measured = []
        for index, cell in enumerate(cells, start=1):
            laid, believed = _lay(orders[cell], path), scores[:, index, 1] > threshold
            hunted, met = (_objectives(bench.fine, path, laid, strength, believed) - alone[cell] for strength in strengths)
            straying = 0.5 * (alone[cell] + turned[cell]) - alone[plain[cell[0]]]
            measured.append(Measured(scores[:, index, 0], believed, straying, (hunted, met)))
        yield scores[:, 0].T, measured


def _gather(parts: list[Measured]) -> Measured:
    """Join the batches of a cell."""
    whole, believed, straying, leakage = zip(*parts, strict=True)
    hunted, met = (np.concatenate(column) for column in zip(*leakage, strict=True))
    return Measured(np.concatenate(whole), np.concatenate(believed), np.concatenate(straying), (hunted, met))


def study(scenario: Scenario, factors: tuple[float, ...], strength: float, episodes: int, seed: int) -> Study:
    """Measure every algorithm at every factor, in ascending order, with a progress bar.

    Args:
        scenario: The market; its own predator and its cap are left out.
        factors: Hiding factors, 0 to 1.
        strength: Strength of the predator; the liquidity of the opposite case has the same strength, at most 0.5.
        episodes: Number of episodes.
        seed: Seed of everything that is drawn.

    Raises:
        ValueError: A value is out of range.
    """
    _check(scenario.slices, factors, strength, episodes, seed)
    factors = tuple(sorted(set(factors)))
    strengths = (strength, max(-strength, LEAST))
    bench = _bench(scenario, seed)
    cells = [(algorithm, factor) for algorithm in algorithm_names() for factor in factors]
    clean, clean_half = _clean_scores(bench, episodes)
    threshold = float(np.quantile(clean_half, 1.0 - FALSE_ALARMS))
    nothing, parts = [], []
    with progress(episodes, f"stealth {scenario.name}") as advance:
        for without, measured in _batches(bench, cells, threshold, strengths, episodes):
            nothing.append(without)
            parts.append(measured)
            advance(without.shape[1])
    whole, half = np.concatenate(nothing, axis=1)
    found = [_gather(list(column)) for column in zip(*parts, strict=True)]
    return Study(
        scenario=scenario,
        episodes=episodes,
        seed=seed,
        predator=strengths[0],
        liquidity=strengths[1],
        chance=_auc(whole, clean),
        false_alarms=float((half > threshold).mean()),
        rows=tuple(_rows(cells, found, clean)),
    )


def _auc(found: Floats, clean: Floats) -> Estimate:
    return Estimate(auc(found, clean), *interval(resampled_auc(found, clean)))


def _rows(cells: list[Cell], found: list[Measured], clean: Floats) -> Iterator[Row]:
    """Yield the rows; all means are of the same resampled episodes."""
    values = []
    start: dict[str, tuple[Floats, ...]] = {}
    for (algorithm, _), measured in zip(cells, found, strict=True):
        prices = tuple(leakage + measured.straying for leakage in measured.leakage)
        first = start.setdefault(algorithm, prices)
        values += [measured.straying, *measured.leakage, *prices, *(p - f for p, f in zip(prices, first, strict=True))]
    table = np.array(values)
    estimates = iter([
        Estimate(float(own.mean()), *interval(means)) for own, means in zip(table, bootstrap_means(table), strict=True)
    ])  # fmt: skip
    for (algorithm, factor), measured in zip(cells, found, strict=True):
        straying, *rest = (next(estimates) for _ in range(7))
        hunted, met = (Case(*rest[offset::2]) for offset in (0, 1))
        yield Row(algorithm, factor, _auc(measured.score, clean), float(measured.believed.mean()), straying, hunted, met)


def _check(slices: int, factors: tuple[float, ...], strength: float, episodes: int, seed: int) -> None:
    """Refuse what is out of range."""
    check_integer("slices of the scenario", slices, low=2, high=MOST_CYCLES)
    for factor in factors:
        check_number("factors", factor, low=0.0, high=1.0)
    check_number("predator", strength, low=0.0, high=GREATEST, unit="of the child that is expected")
    check_integer("episodes", episodes, low=20, high=1_000_000)
    check_integer("seed", seed, low=0, high=2**32 - 1)


def main(args: Args) -> Study:
    """Measure, print, draw, and return the study."""
    check_target(args.json)
    check_plot(args.plot)
    found = study(get_scenario(args.scenario), args.factors, args.predator, args.episodes, args.seed)
    show(str(found), found.to_json(), args.json)
    if args.plot is not None:
        write_atomically(args.plot, picture(found, args.plot))
    return found
