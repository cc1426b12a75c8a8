"""The board of a child order at the touch: policies on the same episodes, and their gap to the exact optimum."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_integer, check_seed
from hyperexec_env.evaluation.paired import paired
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.evaluation.touch_network import load_touch_policy
from hyperexec_env.evaluation.touch_rollout import TouchOutcome, rollout_touch
from hyperexec_env.market.touch import build_touch
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario, get_touch
from hyperexec_env.workers import check_workers

from .solver.touch import TouchSolution, policy_value, solve_touch
from .touch_policies import TOUCH_BASELINES, TOUCH_SANITY, TablePolicy, TouchPolicy, touch_policy, touch_policy_names

__all__ = ["TouchBoard", "TouchRow", "evaluate_touch", "touch_entrants"]

_REFERENCE: Final = "join-and-wait"
"""The plainest passive policy, which no sanity policy may beat."""
_GROUPS: Final = {
    "baselines": (*TOUCH_BASELINES, "optimum"),
    "sanity": tuple(TOUCH_SANITY),
    "all": (*TOUCH_BASELINES, "optimum", *TOUCH_SANITY),
}


@dataclass(frozen=True)
class TouchRow:
    """The results of one policy, half-spreads per lot of the order; `low` and `high` are 95 % bootstrap intervals."""

    policy: str
    training_seed: int | None
    """Seed of the training; None for a policy that was not trained."""
    sanity: bool
    objective: float
    objective_low: float
    objective_high: float
    exact: float | None
    """The objective without simulation; None for a policy that is not a table over the states."""
    diff_to_join: float
    """Paired difference to `join-and-wait`."""
    diff_to_join_low: float
    diff_to_join_high: float
    gap_percent: float
    """Paired difference to the policy `optimum` on the same episodes, in percent of abs(J*)."""
    gap_low: float
    gap_high: float
    take: float
    impact: float
    rest: float
    risk: float
    taken_percent: float
    """Share of the lots that took."""
    forced_percent: float
    """Share of the lots that were left after the last step."""


@dataclass(frozen=True, eq=False)
class TouchBoard:
    """The rows of a board, best first."""

    scenario: TouchScenario
    solution: TouchSolution
    rows: tuple[TouchRow, ...]
    episodes: int
    seed: int

    @property
    def faults(self) -> tuple[str, ...]:
        """What no sound board shows: a sanity policy that beats `join-and-wait`, or a policy that beats the optimum."""
        found = [
            f"the sanity policy {row.policy} beats {_REFERENCE}"
            for row in self.rows
            if row.sanity and row.diff_to_join_high < 0.0
        ]
        found += [f"{row.policy} beats the optimum" for row in self.rows if row.gap_high < 0.0]
        return tuple(found)

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if the board shows a fault."""
        return 1 if self.faults else 0

    @property
    def warnings(self) -> list[str]:
        """What no sound board shows, one sentence each."""
        return [f"RED: {fault}: this market rewards a fault." for fault in self.faults]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the table."""
        header = ["", "policy", "J", "95 %", "exact", "gap %", "95 %", "J - join", "take", "impact", "rest", "risk", "taken %"]
        header.append("forced %")
        cells = [
            [
                "sanity" if row.sanity else "",
                row.policy if row.training_seed is None else f"{row.policy} (seed {row.training_seed})",
                f"{row.objective:.4f}",
                f"{row.objective_low:.4f} to {row.objective_high:.4f}",
                "-" if row.exact is None else f"{row.exact:.4f}",
                f"{row.gap_percent:z.2f}",
                f"{row.gap_low:z.2f} to {row.gap_high:z.2f}",
                f"{row.diff_to_join:+.4f}",
                *(f"{value:.4f}" for value in (row.take, row.impact, row.rest, row.risk)),
                f"{row.taken_percent:.1f}",
                f"{row.forced_percent:.1f}",
            ]
            for row in self.rows
        ]
        return header, cells

    def notes(self) -> list[str]:
        """Return the lines below the table: unit, optimum and what the scenario warns of."""
        scenario, best = self.scenario, self.solution.optimum
        return [
            f"{scenario.name} ({scenario.hash}), {scenario.lots} lots in {scenario.steps} steps, {self.episodes:,} episodes of "
            f"seed {self.seed}; half-spreads per lot of the order.",
            f"J* = {best:.6f}, exact. Gap: paired difference to the policy `optimum`, in percent of J*.",
            *(f"WARNING: {text}" for text in scenario.warnings),
        ]

    def __str__(self) -> str:
        """Return the board as text."""
        return "\n".join([text_table(*self.table()), "", *self.notes(), *self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """Return the board as plain values for JSON."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "unit": "half-spreads per lot",
            "episodes": self.episodes,
            "seed": self.seed,
            "optimum": self.solution.optimum,
            "rows": [vars(row) for row in self.rows],
            "faults": list(self.faults),
        }


def touch_entrants(policies: Any) -> list[TouchPolicy]:
    """Return policies, given as names, groups (`baselines`, `sanity`, `all`), folders of trained policies, or objects.

    Objects have `name` and `act`. A known name takes precedence over a folder of that name.
    """
    given: Iterable[Any] = [policies] if isinstance(policies, str) or hasattr(policies, "act") else policies
    found: dict[tuple[str, int | None, str], TouchPolicy] = {}
    for entry in given:
        for name in _GROUPS.get(entry, (entry,)) if isinstance(entry, str) else (entry,):
            if isinstance(name, (str, os.PathLike)):
                policy: TouchPolicy = _named(os.fspath(name))
            elif hasattr(name, "act") and hasattr(name, "name"):
                policy = name
            else:
                raise TypeError(f"policies must be names or objects with `name` and `act`, got {name!r}")
            found.setdefault((policy.name, _seed_of(policy), getattr(policy, "digest", "")), policy)
    return list(found.values())


def _named(name: str) -> TouchPolicy:
    """Return the policy of a name, or of the folder of a trained policy."""
    if name.lower() not in map(str.lower, touch_policy_names()) and os.path.isdir(name):
        return load_touch_policy(name)
    return touch_policy(name)


def _seed_of(policy: TouchPolicy) -> int | None:
    """Return the training seed of a policy, or None."""
    seed: int | None = getattr(policy, "training_seed", None)
    return seed


def evaluate_touch(
    touch: TouchLike,
    policies: Any = "all",
    *,
    episodes: int = 10_000,
    seed: int = 0,
    workers: int = 1,
    ray: str = "",
    backend: str = "auto",
) -> TouchBoard:
    """Evaluate policies of a child order at the touch on the same episodes.

    Args:
        touch: A name, a dict, a path or a touch scenario.
        policies: Names, groups, folders or policies (:func:`touch_entrants`); `join-and-wait` and the optimum always take part.
        episodes: Number of episodes.
        seed: Seed of the board's episodes, which no training meets.
        workers: Processes that share the batches of episodes; results do not depend on their number.
        ray: Address of a ray cluster that does so instead (extra `dist`); "": none.
        backend: Backend of policies that are tables: "numba" (compiled loops), "numpy", or "auto" (numba from 50,000 episodes
            on, where it is installed). Results do not depend on it.

    Raises:
        ValueError: A name is unknown, a number is out of range, or a policy did not return action numbers in the range.
    """
    found, count = get_touch(touch), check_integer("episodes", episodes, low=2, high=10_000_000)
    shared_by = check_workers(workers, ray)
    seed = check_seed(seed)
    entrants = touch_entrants(policies)
    names = [policy.name for policy in entrants]
    entrants += [touch_policy(name) for name in (_REFERENCE, "optimum") if name not in names]
    outcomes = rollout_touch(build_touch(found), entrants, count, seed, shared_by, backend)
    solution = solve_touch(found)
    return TouchBoard(found, solution, _rows(entrants, outcomes, solution), count, seed)


def _rows(entrants: list[TouchPolicy], outcomes: list[TouchOutcome], solution: TouchSolution) -> tuple[TouchRow, ...]:
    """Return the rows of a board, best first."""
    names = [policy.name for policy in entrants]
    objectives = np.array([outcome.objective for outcome in outcomes])
    results = paired(objectives, names.index(_REFERENCE), names.index("optimum"), solution.optimum)
    rows = []
    for policy, outcome, result in zip(entrants, outcomes, results, strict=True):
        actions = policy.actions(solution.scenario) if isinstance(policy, TablePolicy) else None
        rows.append(
            TouchRow(
                policy=policy.name,
                training_seed=_seed_of(policy),
                sanity=policy.name in TOUCH_SANITY,
                objective=result.objective.mean,
                objective_low=result.objective.low,
                objective_high=result.objective.high,
                exact=None if actions is None else policy_value(solution.scenario, actions),
                diff_to_join=result.difference.mean,
                diff_to_join_low=result.difference.low,
                diff_to_join_high=result.difference.high,
                gap_percent=result.gap.mean,
                gap_low=result.gap.low,
                gap_high=result.gap.high,
                **{name: float(np.mean(part)) for name, part in outcome.bill._asdict().items()},
                taken_percent=100.0 * float(outcome.taken.mean()),
                forced_percent=100.0 * float(outcome.forced.mean()),
            )
        )
    return tuple(sorted(rows, key=lambda row: row.objective))
