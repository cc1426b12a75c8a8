"""Replay: run policies on real days. Price and volume of the slices come from bars, our own impact from the kernel on top.

The market is calibrated to the first days, and policies are judged on later ones, which nothing was fitted to. On a day that is
replayed:

- the unaffected price moves as the bars did, from the arrival price of the scenario on;
- the volume of a slice is that of the bars, scaled by the mean volume of the twenty sessions before the day;
- the regime that a policy observes is the most likely one given the earlier returns of the day (Hamilton 1989), and spread and
  temporary impact are those of that regime; the order flow is not known, and zero.

The price does not react to our own trading beyond the kernel: volume and moves of the day are those of a market without us.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number
from hyperexec_env.data.blocks import resampled_days
from hyperexec_env.data.calibration import calibration_of
from hyperexec_env.data.figures import Figures, Samples, estimate, samples_of
from hyperexec_env.data.regime_fit import predicted_regimes
from hyperexec_env.data.sessions import Sessions
from hyperexec_env.evaluation.board import Entrant, text_table
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.path import Draws, Path, World, next_slice
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.records import map_leaves

from .evaluate import PolicyLike, entrants, known_optimum
from .policies import Optimal, get_policy

__all__ = ["Replay", "ReplayRow", "replay", "replay_path"]

Floats = NDArray[np.float64]

PAST: Final = 20
"""Sessions before a day whose mean volume scales the volume of the day."""
PURGED: Final = 1
"""Sessions between the days of the calibration and the days of the replay."""
FEW_DAYS: Final = 20
"""Number of replayed days below which the table says that the intervals are too narrow."""
RESAMPLES: Final = 2000
"""Number of bootstrap resamples of blocks of days."""
SEED: Final = 20_260_104
"""Seed of the resamples."""


class ReplayRow(NamedTuple):
    """One policy on the replayed days; bps of the arrival notional, intervals of 95 % from blocks of days."""

    policy: str
    objective: float
    """Mean objective: expected cost and price of risk, without the moves of the price."""
    objective_vs: tuple[float, float, float]
    """Difference of the objective to TWAP, paired by day, with the ends of its interval."""
    shortfall: float
    """Mean implementation shortfall, with the moves of the price."""
    shortfall_vs: tuple[float, float, float]
    """Difference of the shortfall to TWAP, paired by day, with the ends of its interval."""


@dataclass(frozen=True)
class Replay:
    """Policies on replayed days; ``print`` shows a table."""

    scenario: Scenario
    """The scenario, calibrated to the days before."""
    calibrated: tuple[str, str, int]
    """First and last day, and number of sessions, of the calibration."""
    replayed: tuple[str, str, int]
    """First and last day, and number of sessions, of the replay."""
    rows: tuple[ReplayRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [row._asdict() for row in self.rows]
        return {
            "scenario": self.scenario.to_dict(),
            "calibrated": list(self.calibrated),
            "replayed": list(self.replayed),
            "rows": rows,
        }

    def __str__(self) -> str:
        """Return the table."""
        head = (
            f"calibrated to {self.calibrated[2]} sessions, {self.calibrated[0]} to {self.calibrated[1]}; "
            f"replayed {self.replayed[2]} sessions, {self.replayed[0]} to {self.replayed[1]}"
        )
        cells = [["", row.policy, *_cells(row)] for row in self.rows]
        table = text_table(["", "policy", "J [bps]", "vs TWAP [95 %]", "IS [bps]", "vs TWAP [95 %]"], cells)
        few = f"\nfewer than {FEW_DAYS} days: the intervals are too narrow" if self.replayed[2] < FEW_DAYS else ""
        return f"{head}\n{table}\nJ holds impact, spread and the price of risk; IS adds the moves of the price{few}"


def replay(
    sessions: Sessions, policies: PolicyLike | Iterable[PolicyLike] = "baselines", train: float = 0.6, **order: Any
) -> Replay:
    """Calibrate to the first days, and run policies on the later ones.

    The optimum of the calibrated market is always among the policies, if it is known.

    Args:
        sessions: Sessions of bars, with a volume.
        policies: Names, groups, folders, policies or entrants; see :func:`~hyperexec_env.baselines.evaluate.entrants`.
        train: Share of the sessions that the market is calibrated to.
        **order: Fields of the scenario, such as ``quantity`` or ``kyle_lambda``; see
            :func:`~hyperexec_env.data.calibration.calibrate`.

    Raises:
        ValueError: Fewer than two sessions are left for the replay, or a value is out of range.
    """
    check_number("train", train, low=0.0, high=1.0, open_low=True)
    count = len(sessions.dates)
    first = round(train * count)
    tested = np.arange(first + PURGED, count)
    if first < 2 or len(tested) < 2:
        raise ValueError(
            f"replay needs two sessions for the calibration and two for the replay, got {first} and {len(tested)} of {count} "
            f"(train {train:g})"
        )
    before = _chosen(sessions, np.arange(first))
    figures, samples = estimate(samples_of(before)), samples_of(sessions)
    scenario = calibration_of(before, "replay", figures=figures, **order).scenario
    if scenario.slices != samples.slices or scenario.horizon_minutes != scenario.day_minutes:
        raise ValueError(f"slices must be {samples.slices} over the whole day: those are the slices of the bars")
    market = build_market(scenario)
    path = replay_path(market, samples, figures, tested)
    rows = _rows(market, path, policies)
    spans = [(sessions.dates[days[0]], sessions.dates[days[-1]], len(days)) for days in (np.arange(first), tested)]
    return Replay(scenario, spans[0], spans[1], rows)


def replay_path(market: Market, samples: Samples, figures: Figures, days: NDArray[np.int64]) -> Path:
    """Return the paths of some real days, fields of shape (N, day).

    Nothing at slice k depends on a return or a volume of slice k or later, but the slice itself.

    Args:
        market: The market.
        samples: Returns and volumes of all sessions, on the slices of the market.
        figures: Figures of the sessions of the calibration: usual sizes of returns, and regimes.
        days: The sessions to replay; each needs earlier sessions for the scale of its volume.
    """
    numbers, regimes = market.numbers, np.zeros((len(days), market.slices), dtype=np.int64)
    returns = samples.returns[days]
    if figures.fit is not None and len(figures.fit.law) > 1:
        regimes = predicted_regimes(returns / figures.usual_size, figures.fit).argmax(axis=2)
    daily = samples.volume.sum(axis=1)
    scale = market.scenario.adv / np.array([daily[max(0, day - PAST) : day].mean() for day in days])
    volume = samples.volume[days] * scale[:, None]
    price = numbers.arrival_price * np.exp(np.concatenate([np.zeros((len(days), 1)), np.cumsum(returns, axis=1)], axis=1))
    zero = np.zeros(len(days))
    world = World(regimes[:, 0], zero, np.full(len(days), numbers.arrival_price), np.ones(len(days)))
    slices, worlds = [], [world]
    for k in range(market.slices):
        row = market.row(k, world.regime)
        news = (price[:, k + 1] - price[:, k]) / (numbers.arrival_price * row.step_volatility * numbers.by_news)
        draws = Draws(zero, news, volume[:, k] / row.mean_volume, np.zeros(len(days), np.int64))
        slice, after = next_slice(numbers, market.scenario.side, k, row, world, draws)
        world = after._replace(regime=regimes[:, min(k + 1, market.slices - 1)], flow=zero)
        slices.append(map_leaves(lambda value: np.broadcast_to(value, len(days)), slice))
        worlds.append(world)
    keys = np.asarray(days, dtype=np.uint64)
    return Path(_stacked(slices), _stacked(worlds), keys)


def _rows(market: Market, path: Path, policies: PolicyLike | Iterable[PolicyLike]) -> tuple[ReplayRow, ...]:
    """Return the rows of the policies, the optimum first."""
    chosen = [entrant for entrant in entrants(policies) if not isinstance(entrant.policy, Optimal)]
    if not any(entrant.policy.name == "TWAP" for entrant in chosen):
        chosen.insert(0, Entrant(get_policy("TWAP")))
    known = known_optimum(market.scenario)
    if known.policy is not None:
        chosen.insert(0, Entrant(known.policy))
    statements = {entrant.policy.name: roll(market, entrant.policy, path, entrant.hidden).statement for entrant in chosen}
    base = statements["TWAP"]
    rows = []
    for name, own in statements.items():
        differences = [_bootstrap(own.objective - base.objective), _bootstrap(own.shortfall - base.shortfall)]
        rows.append(ReplayRow(name, float(own.objective.mean()), differences[0], float(own.shortfall.mean()), differences[1]))
    return tuple(rows)


def _bootstrap(values: Floats) -> tuple[float, float, float]:
    """Return the mean of values by day with the ends of its interval, by resampling blocks of days."""
    chosen = resampled_days(len(values), RESAMPLES, SEED)
    low, high = np.quantile(values[chosen].mean(axis=1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def _chosen(sessions: Sessions, days: NDArray[np.int64]) -> Sessions:
    """Return some of the sessions, in their order; the report is that of all."""
    columns: dict[str, Any] = {
        name: getattr(sessions, name)[days] for name in ("open", "high", "low", "close", "volume", "missing")
    }
    columns |= {name: tuple(getattr(sessions, name)[day] for day in days) for name in ("dates", "hours")}
    return replace(sessions, **columns)


def _stacked(records: list[Any]) -> Any:
    """Return one record whose fields are those of some records, stacked along a new first axis."""
    return type(records[0])(*(np.stack(values) for values in zip(*records, strict=True)))


def _cells(row: ReplayRow) -> list[str]:
    """Return the numbers of a row as text."""
    return [
        f"{row.objective:.2f}",
        _interval(row.objective_vs),
        f"{row.shortfall:.2f}",
        _interval(row.shortfall_vs),
    ]


def _interval(found: tuple[float, float, float]) -> str:
    """Return a difference and its interval as text."""
    return f"{found[0]:+.2f} [{found[1]:+.2f}, {found[2]:+.2f}]"
