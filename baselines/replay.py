"""Replay: run policies on real days. Price and volume of the slices come from bars, our own impact from the kernel on top.

The market is calibrated to the first days, and policies are judged on later ones, which nothing was fitted to. On a day that is
replayed:

- the unaffected price moves as the bars did, from the arrival price of the scenario on;
- the volume of a slice is that of the bars, scaled by the mean volume of the twenty sessions before the day;
- the spread of a slice is that of the quotes if there are any, else that of the regime;
- the regime that a policy observes is the most likely one given the earlier returns of the day (Hamilton 1989), and the
  temporary impact is that of the regime; the order flow is not known, and zero.

The price does not react to our own trading beyond the kernel: volume and moves of the day are those of a market without us.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.blocks import two_way_means
from hyperexec_env.data.replay import recording_of
from hyperexec_env.data.sessions import Sessions
from hyperexec_env.evaluation.board import Entrant, text_table
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.policy import check_fit
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.path import Path, draw_path
from hyperexec_env.market.recording import Recording
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market

from .evaluate import PolicyLike, entrants
from .hindsight import hindsight, unbounded
from .policies import Optimal, get_policy
from .solver import solve

__all__ = ["FIXED", "HINDSIGHT", "OPTIMUM", "Replay", "ReplayBoard", "ReplayRow", "board_of", "replay", "replay_path"]

Floats = NDArray[np.float64]

FEW_DAYS: Final = 20
"""Number of replayed days below which the table says that the intervals are too narrow."""
FEW_SYMBOLS: Final = 10
"""The same for the instruments of a pooled table."""
RESAMPLES: Final = 2000
"""Number of bootstrap resamples of blocks of days."""
SEED: Final = 20_260_104
"""Seed of the resamples."""
TWAP: Final = "TWAP"
OPTIMUM: Final = "optimum"
"""Name of the row of the optimal policy of the calibrated scenario."""
FIXED: Final = "best schedule"
"""Name of the row of the best fixed schedule of the calibrated scenario: the others minus it is what adaptivity is worth."""
HINDSIGHT: Final = "hindsight (bound)"
"""Name of the row of the best schedule of each day, given its prices and volumes: no policy."""
NOTE: Final = (
    "bps of the arrival notional, 95 % intervals; J: impact, spread and the price of risk; IS: with the moves of the price\n"
    "best fixed: the best fixed schedule of the calibrated scenario\n"
    "hindsight: the least J and the least IS of any schedule that knows the day: a bound, no policy"
)

Interval = tuple[float, float, float]
"""A mean difference with the ends of its interval."""


class ReplayRow(NamedTuple):
    """One policy on the replayed days; bps of the arrival notional, intervals of 95 % from blocks of days."""

    policy: str
    objective: float
    """Mean objective: expected cost and price of risk, without the moves of the price."""
    objective_vs: Interval
    """Difference of the objective to TWAP, paired by day, with the ends of its interval."""
    objective_vs_fixed: Interval | None
    """Difference of the objective to the best fixed schedule; None where that schedule is not known."""
    shortfall: float
    """Mean implementation shortfall, with the moves of the price."""
    shortfall_vs: Interval
    """Difference of the shortfall to TWAP, paired by day, with the ends of its interval."""
    shortfall_vs_fixed: Interval | None
    """Difference of the shortfall to the best fixed schedule."""


class DayCosts(NamedTuple):
    """The costs of one policy on each day, bps of the arrival notional, shape (days,)."""

    objective: Floats
    shortfall: Floats


@dataclass(frozen=True)
class Replay:
    """Policies on the test days of one market; ``print`` shows a table."""

    symbol: str
    scenario: Scenario
    """The scenario, calibrated to the days before."""
    calibrated: tuple[str, str, int]
    """First and last day, and number of sessions, of the calibration."""
    replayed: tuple[str, str, int]
    """First and last day, and number of sessions, of the replay."""
    rows: tuple[ReplayRow, ...]
    notes: tuple[str, ...] = ()
    dates: tuple[str, ...] = field(default=(), repr=False)
    costs: dict[str, DayCosts] = field(default_factory=dict, repr=False, compare=False)
    """Costs by day of each row, by the name of the row."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        days = {name: {key: values.tolist() for key, values in each._asdict().items()} for name, each in self.costs.items()}
        return {
            "symbol": self.symbol,
            "scenario": self.scenario.to_dict(),
            "calibrated": list(self.calibrated),
            "replayed": list(self.replayed),
            "rows": [row._asdict() for row in self.rows],
            "notes": list(self.notes),
            "dates": list(self.dates),
            "days": days,
        }

    def __str__(self) -> str:
        """Return the table."""
        head = (
            f"{self.symbol}: calibrated to {self.calibrated[2]} sessions, {self.calibrated[0]} to {self.calibrated[1]}; "
            f"replayed {self.replayed[2]} sessions, {self.replayed[0]} to {self.replayed[1]}"
        )
        few = [f"fewer than {FEW_DAYS} days: the intervals are too narrow"] if self.replayed[2] < FEW_DAYS else []
        return "\n".join([head, _table(self.rows), NOTE, *few, *self.notes])


@dataclass(frozen=True)
class ReplayBoard:
    """Policies on the test days of several markets, and pooled over all of them; ``print`` shows the tables."""

    replays: tuple[Replay, ...]
    rows: tuple[ReplayRow, ...]
    """The rows that all markets have, as means over all days of all markets; intervals are clustered by day and symbol."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"boards": [each.to_dict() for each in self.replays], "pooled": [row._asdict() for row in self.rows]}

    def __str__(self) -> str:
        """Return the tables, the pooled one last."""
        texts = [str(each) for each in self.replays]
        if len(self.replays) > 1:
            cells = sum(len(each.dates) for each in self.replays)
            head = f"pooled: {cells} days of {len(self.replays)} symbols; intervals clustered by day (in blocks) and symbol"
            few = f"\nfewer than {FEW_SYMBOLS} symbols: the intervals are too narrow" if len(texts) < FEW_SYMBOLS else ""
            texts.append(f"{head}\n{_table(self.rows)}{few}")
        return "\n\n".join(texts)


def replay(
    days: Recording | Sessions,
    policies: PolicyLike | Iterable[PolicyLike] = "baselines",
    *,
    bound: bool = True,
    **options: Any,
) -> Replay:
    """Run policies on the test days of a recording, in order.

    The optimum and the best fixed schedule of the calibrated scenario are always among the policies, if they are known.

    Args:
        days: A recording (:func:`~hyperexec_env.data.replay.read_replay`), or sessions of bars with a volume, which are split
            and recorded here.
        policies: Names, groups, folders, policies or entrants; see :func:`~hyperexec_env.baselines.evaluate.entrants`.
        bound: Whether to add the best schedule of each day in hindsight, which takes a fraction of a second a day.
        **options: With sessions: `train`, `validation`, `purged`, and fields of the scenario, such as ``quantity`` or
            ``kyle_lambda``; see :func:`~hyperexec_env.data.replay.recording_of`.

    Raises:
        ValueError: The parts have too few sessions, or a value is out of range.
        PolicyFailure: A policy fails.
    """
    if isinstance(days, Sessions):
        days = recording_of(days, **options)
    elif options:
        raise ValueError(f"a recording is split and calibrated already, got {', '.join(options)}")
    market, dates = days.market("test"), days.test.dates
    path = replay_path(market)
    chosen = _chosen(market, policies)
    costs = {}
    for entrant in chosen:
        statement = roll(market, entrant.policy, path, entrant.hidden).statement
        costs[_label(entrant)] = DayCosts(np.array(statement.objective), np.array(statement.shortfall))
    notes = [*days.notes, *_warnings(chosen, dates)]
    why = unbounded(market)
    if bound and not why:
        costs[HINDSIGHT] = DayCosts(*hindsight(market, path))
    elif bound:
        notes.append(f"no bound in hindsight: {why}")
    rows = tuple(_row(name, costs, lambda values: values[:, None]) for name in costs)
    span = dates[0], dates[-1], len(dates)
    return Replay(days.symbol, days.scenario, days.calibrated, span, rows, tuple(notes), dates, costs)


def replay_path(market: Market) -> Path:
    """Return the paths of all days of a market with recorded days, in order, fields of shape (N, day)."""
    count = 0 if market.days is None else len(market.days.dates)
    return draw_path(market, np.arange(count, dtype=np.uint64), float(market.scenario.side))


def board_of(replays: Sequence[Replay]) -> ReplayBoard:
    """Return the board of some replays: pooled rows of the policies that all of them have.

    A pooled figure is the mean over all days of all markets; intervals are those of
    :func:`~hyperexec_env.data.blocks.two_way_means`.

    Raises:
        ValueError: There is no replay, or two have the same symbol.
    """
    symbols = [each.symbol for each in replays]
    if not replays or len(set(symbols)) < len(symbols):
        raise ValueError(f"replays must be of different symbols, got {', '.join(symbols) or 'none'}")
    dates = sorted({date for each in replays for date in each.dates})
    places = [np.searchsorted(dates, each.dates) for each in replays]
    counts = np.cumsum([0, *(len(each.dates) for each in replays)])

    def grid(values: Floats) -> Floats:
        found = np.full((len(dates), len(replays)), np.nan)
        for symbol, place in enumerate(places):
            found[place, symbol] = values[counts[symbol] : counts[symbol + 1]]
        return found

    names = [name for name in replays[0].costs if all(name in each.costs for each in replays)]
    costs = {
        name: DayCosts(*(np.concatenate(parts) for parts in zip(*(each.costs[name] for each in replays), strict=True)))
        for name in names
    }
    return ReplayBoard(tuple(replays), tuple(_row(name, costs, grid) for name in names))


def _chosen(market: Market, policies: PolicyLike | Iterable[PolicyLike]) -> list[Entrant]:
    """Return the entrants: the optimum and the best fixed schedule first, where they are known, and TWAP always."""
    chosen = [entrant for entrant in entrants(policies) if not isinstance(entrant.policy, Optimal)]
    if not any(entrant.policy.name == TWAP for entrant in chosen):
        chosen.insert(0, Entrant(get_policy(TWAP)))
    for entrant in chosen:
        check_fit(entrant.policy, market)
    solution = solve(market.scenario)
    known = [solution.reference.policy, solution.best_schedule]
    return [*(Entrant(policy) for policy in known if policy is not None), *chosen]


def _label(entrant: Entrant) -> str:
    """Return the name of the row of an entrant."""
    seed = "" if entrant.training_seed is None else f" (seed {entrant.training_seed})"
    return f"{entrant.policy.name}{seed}"


def _warnings(chosen: Iterable[Entrant], dates: Sequence[str]) -> list[str]:
    """Return a line for each trained policy that has seen days of the test."""
    found = []
    for entrant in chosen:
        seen = entrant.policy.about.get("replay", {}) if isinstance(entrant.policy, NetworkPolicy) else {}
        last = str(seen.get("last", ""))
        if last >= dates[0]:
            found.append(f"WARNING: {_label(entrant)} was trained or chosen on days up to {last}: the test begins {dates[0]}")
    return found


def _row(name: str, costs: dict[str, DayCosts], grid: Any) -> ReplayRow:
    """Return the row of a policy; `grid` lays values by day out by day and symbol."""
    own, base, fixed = costs[name], costs[TWAP], costs.get(FIXED)

    def versus(values: Floats, other: Floats) -> Interval:
        low, high = np.nanquantile(two_way_means(grid(values - other), RESAMPLES, SEED), (0.025, 0.975))
        return float((values - other).mean()), float(low), float(high)

    return ReplayRow(
        name,
        float(own.objective.mean()),
        versus(own.objective, base.objective),
        None if fixed is None else versus(own.objective, fixed.objective),
        float(own.shortfall.mean()),
        versus(own.shortfall, base.shortfall),
        None if fixed is None else versus(own.shortfall, fixed.shortfall),
    )


def _table(rows: Iterable[ReplayRow]) -> str:
    """Return rows as a text table."""
    header = ["", "policy", "J", "vs TWAP", "vs best fixed", "IS", "vs TWAP", "vs best fixed"]
    cells = [
        [
            "",
            row.policy,
            *(f"{row.objective:.2f}", _interval(row.objective_vs), _interval(row.objective_vs_fixed)),
            *(f"{row.shortfall:.2f}", _interval(row.shortfall_vs), _interval(row.shortfall_vs_fixed)),
        ]
        for row in rows
    ]
    return text_table(header, cells)


def _interval(found: Interval | None) -> str:
    """Return a difference and its interval as text."""
    if found is None or not any(found):
        return "-"
    return f"{found[0]:+.2f} [{found[1]:+.2f}, {found[2]:+.2f}]"
