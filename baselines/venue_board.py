"""The board of a scenario with venues: policies on the same episodes, their gap to the optimum, and where they filled."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_integer, check_seed
from hyperexec_env.evaluation.paired import paired
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.evaluation.venue_network import load_venue_policy
from hyperexec_env.evaluation.venue_rollout import VenueOutcome, rollout_venues
from hyperexec_env.market.venue_path import build_venues
from hyperexec_env.market.venue_scenario import VenueLike, VenueScenario, get_venues
from hyperexec_env.workers import check_workers

from .solver.venues import VenueSolution, recalibration_line, solve_venues
from .venue_desk import VENUE_DESK
from .venue_policies import VENUE_BASELINES, VENUE_SANITY, VenuePolicy, venue_policy, venue_policy_names

__all__ = ["VenueBoard", "VenueRow", "evaluate_venues", "venue_entrants"]

_REFERENCE: Final = "dark-first"
"""The plainest rule that uses every venue."""
_GROUPS: Final = {
    "baselines": (*VENUE_BASELINES, "optimum"),
    "desk": tuple(name for name in VENUE_DESK if name.endswith(":cont-kukanov")),
    "sanity": tuple(VENUE_SANITY),
    "all": (*VENUE_BASELINES, "optimum", *VENUE_SANITY),
}


@dataclass(frozen=True)
class VenueRow:
    """The results of one policy, bps of the arrival notional; `low` and `high` are 95 % bootstrap intervals."""

    policy: str
    training_seed: int | None
    """Seed of the training; None for a policy that was not trained."""
    sanity: bool
    objective_bps: float
    objective_low: float
    objective_high: float
    is_bps: float
    is_sd_bps: float
    risk_bps: float
    diff_to_dark_first_bps: float
    """Paired difference to `dark-first`."""
    diff_to_dark_first_low: float
    diff_to_dark_first_high: float
    gap_percent: float
    """Paired difference to the policy `optimum` on the same episodes, in percent of J*; where J* is not known, to the policy
    `relaxed`, in percent of the lower bound; NaN if these are 0."""
    gap_low: float
    gap_high: float
    components_bps: dict[str, float]
    """Mean shortfall by source, with fees and adverse selection apart."""
    filled_percent: dict[str, float]
    """Mean share of the order that each venue filled."""
    fault: bool
    """Whether this is a sanity policy that beats every rule of the baselines, which no sound market allows."""


@dataclass(frozen=True, eq=False)
class VenueBoard:
    """The rows of a board, best first."""

    scenario: VenueScenario
    solution: VenueSolution
    rows: tuple[VenueRow, ...]
    episodes: int
    seed: int

    @property
    def faults(self) -> tuple[str, ...]:
        """Sanity policies that beat every rule of the baselines, which no sound market allows."""
        return tuple(row.policy for row in self.rows if row.fault)

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if a sanity policy beats every rule of the baselines."""
        return 1 if self.faults else 0

    @property
    def warnings(self) -> list[str]:
        """What no sound board shows, one sentence each."""
        return [f"RED: the sanity policy {name} beats every rule; this market rewards a fault." for name in self.faults]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the table."""
        header = ["", "policy", "J [bps]", "95 %", "gap %", "95 %", "J - dark-first", "IS", "risk", "fees", "adverse"]
        header += [f"{name} %" for name in self.scenario.names]
        cells = [
            [
                "sanity" if row.sanity else "",
                row.policy if row.training_seed is None else f"{row.policy} (seed {row.training_seed})",
                f"{row.objective_bps:.3f}",
                f"{row.objective_low:.3f} to {row.objective_high:.3f}",
                f"{row.gap_percent:z.2f}",
                f"{row.gap_low:z.2f} to {row.gap_high:z.2f}",
                f"{row.diff_to_dark_first_bps:+.3f}",
                f"{row.is_bps:.1f}",
                f"{row.risk_bps:.2f}",
                f"{row.components_bps['fees']:z.3f}",
                f"{row.components_bps['adverse']:z.3f}",
                *(f"{share:.1f}" for share in row.filled_percent.values()),
            ]
            for row in self.rows
        ]
        return header, cells

    def notes(self) -> list[str]:
        """Return the lines below the table: unit, optimum and recalibration."""
        scenario, solution, best = self.scenario, self.solution, self.solution.optimum_bps
        return [
            f"{scenario.name} ({scenario.hash}), {self.episodes:,} episodes of seed {self.seed}; the last columns are the "
            "share of the order that each venue filled.",
            f"{scenario.name} is {solution.bounds}. Gap: paired difference to `relaxed`, in percent of the lower bound."
            if best is None
            else f"J* = {best:.4f} bps: {solution.accuracy}. Gap: paired difference to the policy `optimum`, in percent of J*.",
            recalibration_line(solution),
        ]

    def __str__(self) -> str:
        """Return the board as text."""
        return "\n".join([text_table(*self.table()), "", *self.notes(), *self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """Return the board as plain values for JSON; a gap that is no number is null."""
        rows = [
            vars(row) | {key: None for key in ("gap_percent", "gap_low", "gap_high") if np.isnan(vars(row)[key])}
            for row in self.rows
        ]
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "episodes": self.episodes,
            "seed": self.seed,
            "optimum_bps": self.solution.optimum_bps,
            "lower_bps": self.solution.lower_bps,
            "upper_bps": self.solution.upper_bps,
            "upper_error_bps": self.solution.upper_error_bps,
            "rows": rows,
            "faults": list(self.faults),
        }


def venue_entrants(policies: Any) -> list[VenuePolicy]:
    """Return policies: names, groups (`baselines`, `desk`, `sanity`, `all`), folders of trained policies, or objects.

    Objects have `name` and `act`. A known name takes precedence over a folder of that name.
    """
    given: Iterable[Any] = [policies] if isinstance(policies, str) or hasattr(policies, "act") else policies
    found: dict[tuple[str, int | None, str], VenuePolicy] = {}
    for entry in given:
        for name in _GROUPS.get(entry, (entry,)) if isinstance(entry, str) else (entry,):
            if isinstance(name, (str, os.PathLike)):
                policy: VenuePolicy = _named(os.fspath(name))
            elif hasattr(name, "act") and hasattr(name, "name"):
                policy = name
            else:
                raise TypeError(f"policies must be names or objects with `name` and `act`, got {name!r}")
            identity = policy.name, getattr(policy, "training_seed", None), getattr(policy, "digest", "")
            found.setdefault(identity, policy)
    return list(found.values())


def _named(name: str) -> VenuePolicy:
    """Return the policy of a name, or of the folder of a trained policy."""
    if name.lower() not in map(str.lower, venue_policy_names()) and os.path.isdir(name):
        policy: Any = load_venue_policy(name)
        return policy  # type: ignore[no-any-return]
    return venue_policy(name)


def evaluate_venues(
    venues: VenueLike,
    policies: Any = "all",
    *,
    episodes: int = 10_000,
    seed: int = 0,
    workers: int = 1,
    ray: str = "",
) -> VenueBoard:
    """Evaluate policies over venues on the same episodes.

    Args:
        venues: A name, a dict, a path or a scenario with venues.
        policies: Names, groups, folders or policies (:func:`venue_entrants`); `dark-first` and, where they are known, the
            optimum and the optimum without hidden venues always take part; `relaxed` does where the optimum is not known.
        episodes: Number of episodes.
        seed: Seed of the board's episodes, which no training meets.
        workers: Processes that share the batches of episodes; results do not depend on their number.
        ray: Address of a ray cluster that does so instead (extra `dist`); "": none.

    Raises:
        ValueError: A name is unknown, a number is out of range, or a policy did not return finite shares.
    """
    found, count = get_venues(venues), check_integer("episodes", episodes, low=2, high=10_000_000)
    shared_by = check_workers(workers, ray)
    seed, solution = check_seed(seed), solve_venues(found)
    entrants = venue_entrants(policies)
    optima = {"lit-only": solution.lit_only_bps, "optimum": solution.optimum_bps}
    known = [name for name, value in optima.items() if value is not None]
    asked = [policies] if isinstance(policies, str) or hasattr(policies, "act") else list(policies)  # not as one of a group
    kept = {*known, *(name.lower() for name in asked if isinstance(name, str))}
    entrants = [policy for policy in entrants if policy.name in kept or policy.name not in optima]
    names = [policy.name for policy in entrants]
    wanted = dict.fromkeys((_REFERENCE, *known, _best(solution)))
    entrants += [venue_policy(name) for name in wanted if name not in names]
    outcomes = rollout_venues(build_venues(found), entrants, count, seed, shared_by)
    return VenueBoard(found, solution, _rows(entrants, outcomes, solution), count, seed)


def _best(solution: VenueSolution) -> str:
    """Return the name of the policy to which gaps are measured."""
    return "relaxed" if solution.optimum_bps is None else "optimum"


def _rows(entrants: list[VenuePolicy], outcomes: list[VenueOutcome], solution: VenueSolution) -> tuple[VenueRow, ...]:
    """Return the rows of a board, best first."""
    names = [policy.name for policy in entrants]
    objectives = np.array([outcome.objective for outcome in outcomes])
    scale, reference = solution.optimum_bps or solution.lower_bps or 0.0, names.index(_REFERENCE)
    results = paired(objectives, reference, names.index(_best(solution)), scale)
    rules = [number for number, name in enumerate(names) if name in VENUE_BASELINES]
    to_best_rule = paired(objectives, min(rules, key=lambda number: float(objectives[number].mean())), reference, 0.0)
    rows = []
    for policy, outcome, result, to_rule in zip(entrants, outcomes, results, to_best_rule, strict=True):
        rows.append(
            VenueRow(
                policy=policy.name,
                training_seed=getattr(policy, "training_seed", None),
                sanity=policy.name in VENUE_SANITY,
                objective_bps=result.objective.mean,
                objective_low=result.objective.low,
                objective_high=result.objective.high,
                is_bps=float(outcome.shortfall.mean()),
                is_sd_bps=float(outcome.shortfall.std(ddof=1)),
                risk_bps=float(outcome.risk.mean()),
                diff_to_dark_first_bps=result.difference.mean,
                diff_to_dark_first_low=result.difference.low,
                diff_to_dark_first_high=result.difference.high,
                gap_percent=result.gap.mean,
                gap_low=result.gap.low,
                gap_high=result.gap.high,
                components_bps={name: float(part.mean()) for name, part in outcome.components.items()},
                filled_percent={
                    name: 100.0 * float(part.mean()) for name, part in zip(solution.scenario.names, outcome.filled, strict=True)
                },
                fault=policy.name in VENUE_SANITY and to_rule.difference.high < 0.0,
            )
        )
    return tuple(sorted(rows, key=lambda row: row.objective_bps))
