"""The board of a basket: policies on the same episodes, their gap to the optimum, and the paired difference to TWAP."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_integer, check_seed
from hyperexec_env.evaluation.basket_network import load_basket_policy
from hyperexec_env.evaluation.basket_rollout import BasketOutcome, rollout_basket
from hyperexec_env.evaluation.paired import paired
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.basket_path import build_basket
from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario, get_basket

from .basket_policies import BASKET_BASELINES, BASKET_SANITY, BasketPolicy, basket_policy, basket_policy_names
from .solver.basket import BasketSolution, solve_basket

__all__ = ["BasketBoard", "BasketRow", "basket_entrants", "evaluate_basket"]

_REFERENCE: Final = "TWAP"
_GROUPS: Final = {
    "baselines": (*BASKET_BASELINES, "optimum"),
    "sanity": tuple(BASKET_SANITY),
    "all": (*BASKET_BASELINES, "optimum", *BASKET_SANITY),
}


@dataclass(frozen=True)
class BasketRow:
    """The results of one policy, bps of the arrival notional of all orders; `low` and `high` are 95 % bootstrap intervals."""

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
    diff_to_twap_bps: float
    diff_to_twap_low: float
    diff_to_twap_high: float
    gap_percent: float
    """Paired difference to the policy `optimum` on the same episodes, in percent of J*; NaN without an optimum."""
    gap_low: float
    gap_high: float


@dataclass(frozen=True, eq=False)
class BasketBoard:
    """The rows of a board, best first."""

    scenario: BasketScenario
    solution: BasketSolution
    rows: tuple[BasketRow, ...]
    episodes: int
    seed: int

    @property
    def faults(self) -> tuple[str, ...]:
        """Sanity policies that beat TWAP, which no sound market allows."""
        return tuple(row.policy for row in self.rows if row.sanity and row.diff_to_twap_high < 0.0)

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if a sanity policy beats TWAP."""
        return 1 if self.faults else 0

    def __str__(self) -> str:
        """Return the board as text."""
        header = ["", "policy", "J [bps]", "95 %", "gap %", "95 %", "J - TWAP", "95 %", "IS", "sd of IS", "risk"]
        cells = [
            [
                "sanity" if row.sanity else "",
                row.policy if row.training_seed is None else f"{row.policy} (seed {row.training_seed})",
                f"{row.objective_bps:.3f}",
                f"{row.objective_low:.3f} to {row.objective_high:.3f}",
                f"{row.gap_percent:.2f}",
                f"{row.gap_low:.2f} to {row.gap_high:.2f}",
                f"{row.diff_to_twap_bps:+.3f}",
                f"{row.diff_to_twap_low:+.3f} to {row.diff_to_twap_high:+.3f}",
                f"{row.is_bps:.1f}",
                f"{row.is_sd_bps:.1f}",
                f"{row.risk_bps:.2f}",
            ]
            for row in self.rows
        ]
        basket, solution, best = self.scenario, self.solution, self.solution.optimum_bps
        lines = [
            text_table(header, cells),
            "",
            f"{basket.name} ({basket.hash}), {len(basket.assets)} assets, {self.episodes:,} episodes of seed {self.seed}.",
            f"J*: {solution.bounds}." if best is None else f"J* = {best:.4f} bps: {solution.accuracy}.",
            "Gap: paired difference to the policy `optimum`, in percent of J* (of the lower bound where J* is not known).",
            f"cross_impact {basket.cross_impact:g}: {basket.provenance.get('cross_impact', 'an assumption')}.",
        ]
        lines += [f"RED: the sanity policy {name} beats TWAP; this market rewards a fault." for name in self.faults]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the board as plain values for JSON."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "episodes": self.episodes,
            "seed": self.seed,
            "optimum_bps": self.solution.optimum_bps,
            "lower_bps": self.solution.lower_bps,
            "rows": [vars(row) for row in self.rows],
        }


def basket_entrants(policies: Any, basket: BasketScenario) -> list[BasketPolicy]:
    """Return policies, given as names, groups (`baselines`, `sanity`, `all`), folders of trained policies, or objects.

    Objects have `name` and `act`. A known name takes precedence over a folder of that name. A group leaves out `buys-first`
    where all orders have one side: the policy is then no worse than a faster TWAP.
    """
    given: Iterable[Any] = [policies] if isinstance(policies, str) or hasattr(policies, "act") else policies
    found: dict[tuple[str, int | None, str], BasketPolicy] = {}
    for entry in given:
        names = _GROUPS.get(entry, (entry,)) if isinstance(entry, str) else (entry,)
        for name in names:
            if isinstance(name, str):
                if name == "buys-first" and entry in _GROUPS and len(set(basket.sides)) == 1:
                    continue
                known = name.lower() in map(str.lower, basket_policy_names())
                policy = load_basket_policy(name) if not known and os.path.isdir(name) else basket_policy(name)
            elif hasattr(name, "act") and hasattr(name, "name"):
                policy = name
            else:
                raise TypeError(f"policies must be names or objects with `name` and `act`, got {name!r}")
            found.setdefault((policy.name, _seed_of(policy), getattr(policy, "digest", "")), policy)
    return list(found.values())


def _seed_of(policy: BasketPolicy) -> int | None:
    """Return the training seed of a policy, or None."""
    seed: int | None = getattr(policy, "training_seed", None)
    return seed


def evaluate_basket(basket: BasketLike, policies: Any = "all", *, episodes: int = 2_000, seed: int = 0) -> BasketBoard:
    """Evaluate policies of a basket on the same episodes.

    Args:
        basket: A name, a dict, a path or a basket.
        policies: Names, groups, folders or policies (:func:`basket_entrants`); TWAP and the optimum always take part.
        episodes: Number of episodes.
        seed: Seed of the board's episodes, which no training meets.

    Raises:
        ValueError: A name is unknown, a number is out of range, or a policy did not return finite shares.
    """
    found, count = get_basket(basket), check_integer("episodes", episodes, low=2, high=10_000_000)
    seed = check_seed(seed)
    entrants = basket_entrants(policies, found)
    names = [policy.name for policy in entrants]
    entrants += [basket_policy(name) for name in (_REFERENCE, "optimum") if name not in names]
    outcomes = rollout_basket(build_basket(found), entrants, count, seed)
    solution = solve_basket(found)
    return BasketBoard(found, solution, _rows(entrants, outcomes, solution), count, seed)


def _rows(entrants: list[BasketPolicy], outcomes: list[BasketOutcome], solution: BasketSolution) -> tuple[BasketRow, ...]:
    """Return the rows of a board, best first."""
    names = [policy.name for policy in entrants]
    objectives = np.array([outcome.objective for outcome in outcomes])
    optimum = solution.lower_bps if solution.optimum_bps is None else solution.optimum_bps
    results = paired(objectives, names.index(_REFERENCE), names.index("optimum"), optimum)
    rows = []
    for policy, outcome, result in zip(entrants, outcomes, results, strict=True):
        rows.append(
            BasketRow(
                policy=policy.name,
                training_seed=_seed_of(policy),
                sanity=policy.name in BASKET_SANITY,
                objective_bps=result.objective.mean,
                objective_low=result.objective.low,
                objective_high=result.objective.high,
                is_bps=float(outcome.shortfall.mean()),
                is_sd_bps=float(outcome.shortfall.std(ddof=1)),
                risk_bps=float(outcome.risk.mean()),
                diff_to_twap_bps=result.difference.mean,
                diff_to_twap_low=result.difference.low,
                diff_to_twap_high=result.difference.high,
                gap_percent=result.gap.mean,
                gap_low=result.gap.low,
                gap_high=result.gap.high,
            )
        )
    return tuple(sorted(rows, key=lambda row: row.objective_bps))
