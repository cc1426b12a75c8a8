"""The board: policies judged on the same episodes, with intervals. It keeps what was measured and prints itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.policy import Policy, check_policy
from hyperexec_env.evaluation.rollout import Outcome, rollouts
from hyperexec_env.evaluation.statistics import (
    bootstrap_means,
    group_means,
    holm,
    interquartile_interval,
    interquartile_mean,
    interval,
    p_value,
    ranks,
)
from hyperexec_env.evaluation.store import Store
from hyperexec_env.evaluation.tally import Spread, Tally, group_size
from hyperexec_env.market.account import Components
from hyperexec_env.market.model import build_market
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario

__all__ = ["Board", "Entrant", "Row", "TrainingGroup", "judge", "play", "text_table"]

Floats = NDArray[np.float64]

_FEW: Final = 50
"""Below so many episodes intervals hold less often than they say: a bootstrap knows too little."""
_SCHEDULE_ERROR: Final = 1e-6
"""Relative error of the computed value of a schedule, at least."""
_DOUBT: Final = 0.001
"""Probability that a board warns without cause that the optimum is none."""


@dataclass(frozen=True)
class Entrant:
    """A policy that takes part."""

    policy: Policy
    training_seed: int | None = None
    """Seed of its training; None for a policy that was not trained."""
    hidden: bool = False
    """Whether it is not told the regime."""
    sanity: bool = False
    """Whether it is there to lose: a board on which it beats TWAP says so."""


@dataclass(frozen=True)
class Row:
    """What is known of one policy; bps of the arrival notional unless the name says otherwise."""

    policy: str
    training_seed: int | None
    objective_bps: float
    objective_low: float
    objective_high: float
    is_bps: float
    is_sd_bps: float
    is_cvar95_bps: float
    expected_cost_bps: float
    risk_bps: float
    diff_to_twap_bps: float
    diff_to_twap_low: float
    diff_to_twap_high: float
    diff_to_twap_percent: float
    realised_diff_to_twap_bps: float
    realised_diff_to_twap_low: float
    realised_diff_to_twap_high: float
    p_twap: float
    """p-value of the difference to TWAP, Holm-adjusted across the board; 1 for TWAP itself."""
    diff_to_best_bps: float
    """Difference to the best classical policy (neither trained nor sanity) of the board, paired."""
    diff_to_best_low: float
    diff_to_best_high: float
    win_rate: float
    """Share of the episodes in which the objective is below TWAP's."""
    gap_bps: float | None
    """Mean difference to the optimal policy on the same episodes (to J* where there is no such policy); this one and those
    below are None where J* is not known."""
    gap_low: float | None
    gap_high: float | None
    gap_percent: float | None
    """The gap in percent of abs(J*)."""
    gap_percent_low: float | None
    gap_percent_high: float | None
    score: float | None
    """Share of the way from TWAP (0) to the optimum (1), of paired means."""
    rank: int
    """1 + the number of policies with a better rank: these are better beyond doubt. Sanity policies are ranked with the
    others; the optimum takes no part, its rank is 0."""
    forced_percent: float
    components_bps: dict[str, float]
    sanity: bool
    optimum: bool = False
    """Whether it is the optimal policy, there to be compared with."""

    @property
    def label(self) -> str:
        """The name, with the training seed of a trained policy."""
        return self.policy if self.training_seed is None else f"{self.policy} (seed {self.training_seed})"


@dataclass(frozen=True)
class TrainingGroup:
    """Trained policies of one name, that differ by the seed of their training only."""

    policy: str
    training_seeds: tuple[int, ...]
    objectives_bps: tuple[float, ...]
    """Objective of each."""
    interquartile_mean_bps: float
    """Interquartile mean of the objectives."""
    low: float
    high: float

    def __str__(self) -> str:
        """Return the group as a line."""
        objectives = ", ".join(f"{value:.2f}" for value in self.objectives_bps)
        return (
            f"{self.policy}, {len(self.training_seeds)} training seeds: {objectives}; "
            f"interquartile mean {self.interquartile_mean_bps:.2f} [{self.low:.2f}, {self.high:.2f}]"
        )


@dataclass(frozen=True, eq=False)
class Board:
    """Policies on one scenario. `outcomes` are the episodes behind the rows, in the same order."""

    scenario: Scenario
    episodes: int
    seed: int
    rows: tuple[Row, ...]
    outcomes: tuple[Outcome, ...] = field(repr=False)
    """What the policies came to, in the order of the rows; of very many episodes, the means of groups of them."""
    optimum: Optimum | None = None
    """What is known of the optimum; None where nobody asked."""
    best_classical: str = "TWAP"
    """Name of the best classical policy."""
    groups: tuple[TrainingGroup, ...] = ()
    """The policies with two or more training seeds."""
    doubts: tuple[str, ...] = ()
    """What speaks against the optimum that was given."""

    @property
    def findings(self) -> list[str]:
        """Say how each trained policy compares with the best classical one, and what the training seeds come to."""
        against = [
            f"{row.label} against {self.best_classical}, the best classical policy: {row.diff_to_best_bps:+.2f} "
            f"[{row.diff_to_best_low:+.2f}, {row.diff_to_best_high:+.2f}] bps"
            for row in self.rows
            if row.training_seed is not None
        ]
        return [*([self.split] if self.split else []), *against, *map(str, self.groups)]

    @property
    def split(self) -> str:
        """Say what TWAP's gap to the optimum consists of, computed; "" where it is not known."""
        known = self.optimum
        if known is None or known.twap_bps is None or not known.optimum_bps:
            return ""
        gap, past = known.twap_bps - known.optimum_bps, "inferring the regime from the past"
        if len(self.scenario.regimes) == 1:
            past = "acting on what was seen"
        elif self.scenario.flow_persistence or self.scenario.price_risk:
            past = "acting on what was seen, past regimes among it"
        names = {"schedule": "a better fixed schedule", "past": past, "told": "being told it"}
        if len(self.scenario.regimes) == 1:
            del names["told"]  # there is nothing to tell
        steps = [(part.bps, [names[step] for step in part.steps if step in names]) for part in known.parts]
        parts = [f"{bps:z.2f} {' and '.join(saved_by)}" for bps, saved_by in steps if saved_by]
        return f"of TWAP's gap of {gap:z.2f} bps ({100.0 * gap / abs(known.optimum_bps):.1f} %): {', '.join(parts)}"

    @property
    def warnings(self) -> list[str]:
        """Say which sanity policies beat TWAP beyond doubt (then the market is to blame), and what the optimum cannot be."""
        sanity = [
            f"WARNING: the sanity policy {row.policy} beats TWAP by {-row.diff_to_twap_bps:.2f} bps: "
            f"do not believe rankings on this scenario"
            for row in self.rows
            if row.sanity and row.diff_to_twap_high < 0.0
        ]
        return [*sanity, *(f"WARNING: {text}: do not believe gaps on this board" for text in self.doubts)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        known = self.optimum or Optimum()
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "episodes": self.episodes,
            "seed": self.seed,
            "path_hash": self.outcomes[0].path_hash,
            "optimum_bps": known.optimum_bps,
            "bound_bps": known.bound_bps,
            "open_loop_bps": known.open_loop_bps,
            "regime_blind_bps": known.regime_blind_bps,
            "twap_bps": known.twap_bps,
            "relative_error": known.relative_error,
            "best_classical": self.best_classical,
            "rows": [asdict(row) for row in self.rows],
            "training": [asdict(group) for group in self.groups],
            "warnings": self.warnings,
        }

    def to_json(self) -> str:
        """Return the board as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the table that text, Markdown and the page show; gaps where J* was asked for."""
        gaps = ["gap [95 %]", "gap %", "score"] if self.optimum is not None else []
        header = ["rank", "policy", "J [95 %]", *gaps, "vs TWAP [95 %]", "%", "p", "IS"]
        return header, [self._cells(row) for row in self.rows]

    def _cells(self, row: Row) -> list[str]:
        """Return the cells of a row."""
        reference = max(abs(row.diff_to_twap_low), abs(row.diff_to_twap_high)) < 1e-9
        versus = f"{row.diff_to_twap_bps:+.2f} [{row.diff_to_twap_low:+.2f}, {row.diff_to_twap_high:+.2f}]"
        return [
            *_name_cells(row),
            f"{row.objective_bps:.2f} [{row.objective_low:.2f}, {row.objective_high:.2f}]",
            *(_gap_cells(row) if self.optimum is not None else []),
            "-" if reference else versus,
            f"{row.diff_to_twap_percent:+.1f}",
            "-" if reference else "<0.001" if row.p_twap < 0.001 else f"{row.p_twap:.3f}",
            f"{row.is_bps:.2f}",
        ]

    def details(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the second table: the parts of J and of the shortfall, and its tail."""
        names = [name for name in Components._fields if any(abs(row.components_bps[name]) >= 5e-3 for row in self.rows)]
        header = ["rank", "policy", "expected", "risk", *names, "sd", "CVaR95", "win rate %", "forced %"]
        cells = [
            [
                *_name_cells(row),
                *(f"{value:.2f}" for value in (row.expected_cost_bps, row.risk_bps)),
                *(f"{row.components_bps[name]:.2f}" for name in names),
                *(f"{value:.1f}" for value in (row.is_sd_bps, row.is_cvar95_bps, 100.0 * row.win_rate, row.forced_percent)),
            ]
            for row in self.rows
        ]
        return header, cells

    def caption(self) -> str:
        """Say what the numbers of the table are."""
        return (
            f"{self.scenario.name} ({self.scenario.hash}): {self.episodes:,} episodes of seed {self.seed}, "
            f"the same for every policy. Bps of the arrival notional; J leaves out the permanent cost and the price noise "
            f"and holds the risk term; {self._about_the_gap()}p: of the difference to TWAP, Holm-adjusted; a better rank is "
            f"better beyond doubt (95 %, Holm over all pairs); * marks sanity policies, which must lose."
            + (" So few episodes: intervals are too narrow, and CVaR too small." if self.episodes < _FEW else "")
        )

    def _about_the_gap(self) -> str:
        """Say what the gaps are taken to."""
        known = self.optimum
        if known is None:
            return ""
        if known.optimum_bps is None:
            return "not solved exactly; " + ("" if known.bound_bps is None else f"J* is at least {known.bound_bps:.2f}; ")
        error = "" if known.relative_error is None else f" (relative error {known.relative_error:.1g})"
        paired = ", paired with the optimal policy" if known.policy is not None else ""
        return f"gap: to the optimum{paired}, in % of J* = {known.optimum_bps:.2f}{error}; score: 0 is TWAP, 1 the optimum; "

    def details_caption(self) -> str:
        """Say what the numbers of the second table are."""
        return (
            "J = expected + risk; then the shortfall IS by component, its standard deviation and its CVaR; "
            "win rate: episodes in which J is below TWAP's."
        )

    def to_markdown(self) -> str:
        """Return the board as Markdown tables."""
        lines = [
            *(f"**{text}.**\n" for text in self.warnings),
            _markdown_table(*self.table()),
            f"\n{self.caption()}\n",
            *(f"- {text}." for text in self.findings),
            *([""] if self.findings else []),
            _markdown_table(*self.details()),
            f"\n{self.details_caption()}",
        ]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        """Return the board as text."""
        first, second = text_table(*self.table()), text_table(*self.details())
        return "\n".join([first, "", second, self.details_caption(), "", self.caption(), *self.findings, *self.warnings])


def _name_cells(row: Row) -> list[str]:
    """Return the first two cells of a row."""
    return ["-" if row.optimum else str(row.rank), row.label + (" *" if row.sanity else "")]


def _gap_cells(row: Row) -> list[str]:
    """Return the cells of the gap and the score."""
    if row.gap_bps is None or row.gap_percent is None:
        return ["-", "-", "-"]
    gap = "-" if row.optimum else f"{row.gap_bps:+.2f} [{row.gap_low:+.2f}, {row.gap_high:+.2f}]"
    return [gap, f"{row.gap_percent:.1f}", "-" if row.score is None else f"{row.score:.2f}"]


def _markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *cells))


def text_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Lay a table out in columns: the second one to the left, the others to the right."""
    widths = [max(len(line[column]) for line in (header, *cells)) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 1 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (header, ["-" * width for width in widths], *cells)
    )


def judge(
    scenario: ScenarioLike,
    entrants: Sequence[Entrant],
    reference: Policy,
    *,
    episodes: int,
    seed: int,
    optimum: Optimum | None = None,
    store: Store | None = None,
    progress: Callable[[int], None] = lambda episodes: None,
    backend: str = "auto",
    num_threads: int | None = None,
) -> Board:
    """Judge policies on the same episodes of a scenario.

    Args:
        scenario: A name, a dict, a path or a scenario.
        entrants: The policies.
        reference: The policy that differences are taken to (TWAP); it need not be an entrant.
        episodes: Number of episodes, at least 2.
        seed: Seed of the episodes.
        optimum: What is known of the optimum. Its policy, where there is one, runs on the same episodes.
        store: Where results are kept, and taken from.
        progress: Called with the number of episodes after each batch.
        backend: "numba", "numpy" or "auto", see :func:`~hyperexec_env.evaluation.rollout.rollouts`.
        num_threads: Threads of compiled loops; None: as many as help.

    Raises:
        ValueError: Fewer than two episodes, or a policy that returns no shares.
        MissingExtra: numba is asked for and not installed.
        RuntimeError: Two policies did not meet the same market.
    """
    scenario, taking_part = get_scenario(scenario), [*entrants]
    if optimum is not None and optimum.policy is not None:
        taking_part.append(Entrant(optimum.policy))
    tallies = _gather(scenario, taking_part, reference, episodes, seed, store, progress, backend, num_threads)
    joined = [tally.joined() for tally in tallies]
    match = _match(entrants, joined, [tally.spread() for tally in tallies], seed, optimum)
    rows = _rows(entrants, joined, match)
    order = sorted(range(len(rows)), key=lambda index: rows[index].objective_bps)
    return Board(
        scenario,
        episodes,
        seed,
        tuple(rows[index] for index in order),
        tuple(joined[1 + index] for index in order),
        optimum,
        entrants[match.best - 1].policy.name if match.best else "TWAP",
        _groups(entrants, match.objectives[1:], seed),
        tuple(_doubts(entrants, match)),
    )


def play(
    scenario: ScenarioLike,
    entrants: Sequence[Entrant],
    reference: Policy,
    *,
    episodes: int,
    seed: int,
    store: Store | None = None,
    progress: Callable[[int], None] = lambda episodes: None,
    backend: str = "auto",
    num_threads: int | None = None,
) -> list[Outcome]:
    """Run policies on the same episodes of a scenario; arguments and errors as in :func:`judge`.

    Returns:
        The outcome of the reference, and that of each entrant; of very many episodes, the means of groups of them.
    """
    tallies = _gather(get_scenario(scenario), entrants, reference, episodes, seed, store, progress, backend, num_threads)
    return [tally.joined() for tally in tallies]


def _gather(
    scenario: Scenario,
    entrants: Sequence[Entrant],
    reference: Policy,
    episodes: int,
    seed: int,
    store: Store | None,
    progress: Callable[[int], None],
    backend: str,
    num_threads: int | None,
) -> list[Tally]:
    """Run policies on the same episodes; return the tally of the reference and that of each entrant."""
    if episodes < 2:
        raise ValueError(f"episodes must be at least 2, got {episodes}")
    market = build_market(scenario)
    for entrant in entrants:
        check_policy(entrant.policy, market)
    policies = [reference, *(entrant.policy for entrant in entrants)]
    hidden = [False, *(entrant.hidden for entrant in entrants)]
    tallies = [Tally(group_size(episodes, len(policies))) for _ in policies]
    for outcomes in rollouts(market, policies, hidden, seed, episodes, store=store, backend=backend, num_threads=num_threads):
        if len({outcome.path_hash for outcome in outcomes}) != 1:
            raise RuntimeError("the policies did not meet the same market: a policy has changed the path that it was given")
        for tally, outcome in zip(tallies, outcomes, strict=True):
            tally.add(outcome, outcomes[0])
        progress(len(outcomes[0].forced))
    return tallies


class _Match(NamedTuple):
    """The numbers of a board. Arrays begin with the reference, then come the entrants, then the optimum where it runs."""

    objectives: Floats
    """Shape (policies, episodes)."""
    shortfalls: Floats
    spreads: Sequence[Spread]
    means: Floats
    """Bootstrap means of the objectives, paired, shape (policies, resamples)."""
    realised: Floats
    """Those of the shortfalls."""
    optimum: Optimum
    """What is known of the optimum."""
    best: int
    """Index of the best classical policy; 0 is the reference."""
    places: list[int]
    """Rank of each policy after the reference; 0 of the optimum."""
    p_twap: list[float]
    """p-values of the differences to the reference; Holm-adjusted but for the optimum, which takes no part."""

    @property
    def target(self) -> Floats | float | None:
        """Objectives of the optimum: of its policy in each episode, else J*; None where it is not known."""
        return self.optimum.optimum_bps if self.optimum.policy is None else self.objectives[-1]


def _match(
    entrants: Sequence[Entrant], joined: Sequence[Outcome], spreads: Sequence[Spread], seed: int, optimum: Optimum | None
) -> _Match:
    """Work out what the rows of a board share; the first outcome is the reference's."""
    objectives = np.array([outcome.statement.objective for outcome in joined])
    shortfalls = np.array([outcome.statement.shortfall for outcome in joined])
    classical = [i for i, entrant in enumerate(entrants, start=1) if entrant.training_seed is None and not entrant.sanity]
    count = len(entrants)
    resampled = bootstrap_means(np.concatenate([group_means(objectives), group_means(shortfalls)]), seed)
    return _Match(
        objectives,
        shortfalls,
        spreads,
        resampled[: len(objectives)],
        resampled[len(objectives) :],
        optimum or Optimum(),
        min(classical or [0], key=lambda index: float(objectives[index].mean())),
        [*ranks(objectives[1 : 1 + count]), *(0 for _ in objectives[1 + count :])],
        [
            1.0,
            *_against(objectives[1 : 1 + count], objectives[0]),
            *(p_value(own - objectives[0]) for own in objectives[1 + count :]),
        ],
    )


def _against(objectives: Floats, other: Floats | float) -> list[float]:
    """Return the Holm-adjusted p-values of differences to another policy; 1 for that policy itself, which is no question."""
    found = np.array([p_value(own - other) for own in objectives])
    asked = found < 1.0
    found[asked] = holm(found[asked])
    return [float(p) for p in found]


def _rows(entrants: Sequence[Entrant], joined: Sequence[Outcome], match: _Match) -> list[Row]:
    """Make the rows of a board, that of the optimum last."""
    rows = [_row(index, entrant, joined[index], match) for index, entrant in enumerate(entrants, start=1)]
    if match.optimum.policy is not None:
        own = Entrant(match.optimum.policy)
        rows.append(replace(_row(len(joined) - 1, own, joined[-1], match), policy="optimum", optimum=True))
    return rows


def _row(index: int, entrant: Entrant, outcome: Outcome, match: _Match) -> Row:
    """Make one row."""
    objectives, shortfalls, spreads, means, realised = match[:5]
    statement, best, spread = outcome.statement, match.best, spreads[index]
    objective, twap = float(objectives[index].mean()), float(objectives[0].mean())
    low, high = interval(means[index])
    diff_low, diff_high = interval(means[index] - means[0])
    best_low, best_high = interval(means[index] - means[best])
    realised_low, realised_high = interval(realised[index] - realised[0])
    return Row(
        policy=entrant.policy.name,
        training_seed=entrant.training_seed,
        objective_bps=objective,
        objective_low=low,
        objective_high=high,
        is_bps=float(shortfalls[index].mean()),
        is_sd_bps=spread.shortfall_sd,
        is_cvar95_bps=spread.shortfall_cvar,
        expected_cost_bps=float(np.mean(statement.expected)),
        risk_bps=float(np.mean(statement.risk)),
        diff_to_twap_bps=objective - twap,
        diff_to_twap_low=diff_low,
        diff_to_twap_high=diff_high,
        diff_to_twap_percent=100.0 * (objective - twap) / abs(twap) if twap else 0.0,
        realised_diff_to_twap_bps=float(shortfalls[index].mean() - shortfalls[0].mean()),
        realised_diff_to_twap_low=realised_low,
        realised_diff_to_twap_high=realised_high,
        p_twap=match.p_twap[index],
        diff_to_best_bps=objective - float(objectives[best].mean()),
        diff_to_best_low=best_low,
        diff_to_best_high=best_high,
        win_rate=spread.win_rate,
        **_gap(index, match)._asdict(),
        rank=match.places[index - 1],
        forced_percent=100.0 * float(outcome.forced.mean()),
        components_bps={key: float(np.mean(value)) for key, value in statement.components._asdict().items()},
        sanity=entrant.sanity,
    )


class _Gap(NamedTuple):
    """The columns of a row that hang on the optimum."""

    gap_bps: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    gap_percent: float | None = None
    gap_percent_low: float | None = None
    gap_percent_high: float | None = None
    score: float | None = None


def _gap(index: int, match: _Match) -> _Gap:
    """Return the gap and the score of a policy."""
    target, exact = match.target, match.optimum.optimum_bps
    if target is None or exact is None:
        return _Gap()
    objective, twap, best = (float(np.mean(values)) for values in (match.objectives[index], match.objectives[0], target))
    low, high = interval(match.means[index] - (exact if match.optimum.policy is None else match.means[-1]))
    gap = _Gap(objective - best, low, high, score=(twap - objective) / (twap - best) if twap != best else None)
    if exact == 0.0:
        return gap
    scale = 100.0 / abs(exact)
    return gap._replace(gap_percent=scale * (objective - best), gap_percent_low=scale * low, gap_percent_high=scale * high)


def _groups(entrants: Sequence[Entrant], objectives: Floats, seed: int) -> tuple[TrainingGroup, ...]:
    """Gather the trained policies of one name that have two or more training seeds."""
    found: dict[str, dict[int, int]] = {}
    for index, entrant in enumerate(entrants):
        if entrant.training_seed is not None:
            found.setdefault(entrant.policy.name, {})[entrant.training_seed] = index
    groups = []
    for name, indices in found.items():
        if len(indices) >= 2:
            seeds = sorted(indices)
            values = objectives[[indices[key] for key in seeds]]
            means = values.mean(axis=1)
            ends = interquartile_interval(values, seed)
            groups.append(TrainingGroup(name, tuple(seeds), tuple(means.tolist()), float(interquartile_mean(means)), *ends))
    return tuple(groups)


def _doubts(entrants: Sequence[Entrant], match: _Match) -> list[str]:
    """Say what speaks against the optimum: its values, its own simulated mean, and policies that are better."""
    known, own = match.optimum, match.objectives[1 : 1 + len(entrants)]
    doubts = [f"values of the optimum contradict each other: {text}" for text in known.contradictions]
    if known.policy is not None and known.optimum_bps is not None:
        doubts += _missed("the optimal policy", match.objectives[-1], "J*", known.optimum_bps, known.error_bps)
    if known.twap_bps is not None:
        error = abs(known.twap_bps) * max(known.relative_error or 0.0, _SCHEDULE_ERROR)
        doubts += _missed("TWAP", match.objectives[0], "its exact value", known.twap_bps, error)
    names = [entrant.policy.name for entrant in entrants]
    blind = [index for index, entrant in enumerate(entrants) if entrant.hidden]
    doubts += _beaten("the optimum", match.target, names, own, known.error_bps)
    doubts += _beaten("the lower bound on J*", known.bound_bps, names, own)
    told = "what can be reached without being told the regime"
    return doubts + _beaten(told, known.regime_blind_bps, [names[i] for i in blind], own[blind], known.error_bps)


def _missed(who: str, objectives: Floats, what: str, exact: float, error: float) -> list[str]:
    """Say whether the simulated mean of a policy is not what was computed for it: then the market was another one."""
    mean = float(objectives.mean())
    if abs(mean - exact) <= error or p_value(objectives - exact) >= _DOUBT:
        return []
    return [f"{who} came to {mean:.2f} +- {_width(objectives):.2f} bps (99.9 %), but {what} is {exact:.2f}"]


def _width(objectives: Floats) -> float:
    """Return how far the mean of episodes may lie from the truth, beyond doubt."""
    return NormalDist().inv_cdf(1.0 - 0.5 * _DOUBT) * float(objectives.std(ddof=1)) / math.sqrt(len(objectives))


def _beaten(what: str, floor: Floats | float | None, names: Sequence[str], objectives: Floats, error: float = 0.0) -> list[str]:
    """Say which policies lie below what none can beat: beyond doubt, Holm-adjusted, and by more than its error."""
    if floor is None:
        return []
    gaps = (objectives - floor).mean(axis=1)
    return [
        f"{name} lies {-gap:.2f} bps below {what}"
        for name, gap, p in zip(names, gaps, _against(objectives, floor), strict=True)
        if gap < -error and p < _DOUBT
    ]
