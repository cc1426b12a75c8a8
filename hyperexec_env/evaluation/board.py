"""The board: policies judged on the same episodes, with intervals. It keeps what was measured and prints itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.policy import Policy, check_policy
from hyperexec_env.evaluation.rollout import Outcome, join, rollouts
from hyperexec_env.evaluation.statistics import bootstrap_means, cvar, interval, ranks
from hyperexec_env.market.model import build_market
from hyperexec_env.market.scenario import Scenario

__all__ = ["Board", "Entrant", "Row", "judge", "text_table"]

Floats = NDArray[np.float64]


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
    diff_to_best_bps: float
    """Difference to the best classical policy (neither trained nor sanity) of the board, paired."""
    diff_to_best_low: float
    diff_to_best_high: float
    win_rate: float
    """Share of the episodes in which the objective is below TWAP's."""
    gap_percent: float | None
    """Gap to the optimum; None where the optimum is not known."""
    score: float | None
    """Share of the way from TWAP (0) to the optimum (1); None where the optimum is not known."""
    rank: int
    """1 + the number of policies that are better beyond doubt; sanity policies are ranked with the others."""
    forced_percent: float
    components_bps: dict[str, float]
    sanity: bool

    @property
    def label(self) -> str:
        """The name, with the training seed of a trained policy."""
        return self.policy if self.training_seed is None else f"{self.policy} (seed {self.training_seed})"


@dataclass(frozen=True, eq=False)
class Board:
    """Policies on one scenario. `outcomes` are the episodes behind the rows, in the same order."""

    scenario: Scenario
    episodes: int
    seed: int
    rows: tuple[Row, ...]
    outcomes: tuple[Outcome, ...] = field(repr=False)
    optimum_bps: float | None = None
    best_classical: str = "TWAP"
    """Name of the best classical policy."""

    @property
    def findings(self) -> list[str]:
        """Say how each trained policy compares with the best classical one."""
        return [
            f"{row.label} against {self.best_classical}, the best classical policy: {row.diff_to_best_bps:+.2f} "
            f"[{row.diff_to_best_low:+.2f}, {row.diff_to_best_high:+.2f}] bps"
            for row in self.rows
            if row.training_seed is not None
        ]

    @property
    def warnings(self) -> list[str]:
        """Say which sanity policies beat TWAP beyond doubt: then the market, not the policy, is to blame."""
        return [
            f"WARNING: the sanity policy {row.policy} beats TWAP by {-row.diff_to_twap_bps:.2f} bps: "
            f"do not believe rankings on this scenario"
            for row in self.rows
            if row.sanity and row.diff_to_twap_high < 0.0
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "episodes": self.episodes,
            "seed": self.seed,
            "path_hash": self.outcomes[0].path_hash,
            "optimum_bps": self.optimum_bps,
            "best_classical": self.best_classical,
            "rows": [asdict(row) for row in self.rows],
            "warnings": self.warnings,
        }

    def to_json(self) -> str:
        """Return the board as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the table that text, Markdown and the page show."""
        header = ["rank", "policy", "J [95 %]", "vs TWAP [95 %]", "%", "IS", "sd", "CVaR95", "expected", "risk", "forced %"]
        cells = []
        for row in self.rows:
            reference = math.isclose(row.diff_to_twap_low, row.diff_to_twap_high, abs_tol=1e-12)
            cells.append(
                [
                    str(row.rank),
                    row.label + (" *" if row.sanity else ""),
                    f"{row.objective_bps:.2f} [{row.objective_low:.2f}, {row.objective_high:.2f}]",
                    "-"
                    if reference
                    else f"{row.diff_to_twap_bps:+.2f} [{row.diff_to_twap_low:+.2f}, {row.diff_to_twap_high:+.2f}]",
                    f"{row.diff_to_twap_percent:+.1f}",
                    f"{row.is_bps:.2f}",
                    f"{row.is_sd_bps:.1f}",
                    f"{row.is_cvar95_bps:.1f}",
                    f"{row.expected_cost_bps:.2f}",
                    f"{row.risk_bps:.2f}",
                    f"{row.forced_percent:.1f}",
                ]
            )
        return header, cells

    def caption(self) -> str:
        """Say what the numbers of the table are."""
        return (
            f"{self.scenario.name} ({self.scenario.hash}): {self.episodes:,} episodes of seed {self.seed}, "
            f"the same for every policy. Bps of the arrival notional; J leaves out the permanent cost and the price noise "
            f"and holds the risk term; "
            f"* marks sanity policies, which must lose."
        )

    def to_markdown(self) -> str:
        """Return the board as a Markdown table."""
        header, cells = self.table()
        lines = ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *cells)]
        return "\n".join([*lines, "", self.caption(), *(f"\n{text}." for text in self.findings), *self.warnings]) + "\n"

    def __str__(self) -> str:
        """Return the board as text."""
        parts = [row.components_bps | {"risk": row.risk_bps} for row in self.rows]
        names = [name for name in parts[0] if any(abs(part[name]) >= 5e-3 for part in parts)] if parts else []
        cells = [["", row.label, *(f"{part[name]:.2f}" for name in names)] for row, part in zip(self.rows, parts, strict=True)]
        return "\n".join(
            [
                *(text_table(*self.table()), ""),
                *(text_table(["", "shortfall by component, and risk", *names], cells), ""),
                *(self.caption(), *self.findings, *self.warnings),
            ]
        )


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
    scenario: Scenario,
    entrants: Sequence[Entrant],
    reference: Policy,
    *,
    episodes: int,
    seed: int,
    optimum_bps: float | None = None,
    progress: Callable[[int], None] = lambda episodes: None,
) -> Board:
    """Judge policies on the same episodes of a scenario.

    Args:
        scenario: The scenario.
        entrants: The policies.
        reference: The policy that differences are taken to (TWAP); it need not be an entrant.
        episodes: Number of episodes, at least 2.
        seed: Seed of the episodes.
        optimum_bps: Objective of the exact optimum, where it is known.
        progress: Called with the number of episodes after each batch.

    Raises:
        ValueError: Fewer than two episodes, or a policy that returns no shares.
        RuntimeError: Two policies did not meet the same market.
    """
    if episodes < 2:
        raise ValueError(f"episodes must be at least 2, got {episodes}")
    market = build_market(scenario)
    for entrant in entrants:
        check_policy(entrant.policy, market)
    policies = [reference, *(entrant.policy for entrant in entrants)]
    hidden = [False, *(entrant.hidden for entrant in entrants)]
    batches: list[list[Outcome]] = []
    for outcomes in rollouts(market, policies, hidden, seed, episodes):
        if len({outcome.path_hash for outcome in outcomes}) != 1:
            raise RuntimeError("the policies did not meet the same market: a policy has changed the path that it was given")
        batches.append(outcomes)
        progress(len(outcomes[0].forced))
    joined = [join(column) for column in zip(*batches, strict=True)]
    return _board(scenario, entrants, joined, episodes, seed, optimum_bps)


def _board(
    scenario: Scenario,
    entrants: Sequence[Entrant],
    joined: Sequence[Outcome],
    episodes: int,
    seed: int,
    optimum_bps: float | None,
) -> Board:
    """Make the rows of a board; the first outcome is the reference's."""
    objectives = np.array([outcome.statement.objective for outcome in joined])
    shortfalls = np.array([outcome.statement.shortfall for outcome in joined])
    means, realised = bootstrap_means(objectives, seed), bootstrap_means(shortfalls, seed)
    places = ranks(means[1:])
    twap = float(objectives[0].mean())
    classical = [i for i, entrant in enumerate(entrants, start=1) if entrant.training_seed is None and not entrant.sanity] or [
        0
    ]
    best = min(classical, key=lambda index: float(objectives[index].mean()))
    rows = []
    for index, (entrant, outcome) in enumerate(zip(entrants, joined[1:], strict=True), start=1):
        statement = outcome.statement
        objective = float(objectives[index].mean())
        low, high = interval(means[index])
        diff_low, diff_high = interval(means[index] - means[0])
        best_low, best_high = interval(means[index] - means[best])
        realised_low, realised_high = interval(realised[index] - realised[0])
        rows.append(
            Row(
                policy=entrant.policy.name,
                training_seed=entrant.training_seed,
                objective_bps=objective,
                objective_low=low,
                objective_high=high,
                is_bps=float(shortfalls[index].mean()),
                is_sd_bps=float(shortfalls[index].std(ddof=1)),
                is_cvar95_bps=cvar(shortfalls[index]),
                expected_cost_bps=float(np.mean(statement.expected)),
                risk_bps=float(np.mean(statement.risk)),
                diff_to_twap_bps=objective - twap,
                diff_to_twap_low=diff_low,
                diff_to_twap_high=diff_high,
                diff_to_twap_percent=100.0 * (objective - twap) / abs(twap) if twap else 0.0,
                realised_diff_to_twap_bps=float(shortfalls[index].mean() - shortfalls[0].mean()),
                realised_diff_to_twap_low=realised_low,
                realised_diff_to_twap_high=realised_high,
                diff_to_best_bps=objective - float(objectives[best].mean()),
                diff_to_best_low=best_low,
                diff_to_best_high=best_high,
                win_rate=float(np.mean(objectives[index] < objectives[0])),
                gap_percent=100.0 * (objective - optimum_bps) / abs(optimum_bps) if optimum_bps else None,
                score=None if optimum_bps is None or optimum_bps == twap else (twap - objective) / (twap - optimum_bps),
                rank=places[index - 1],
                forced_percent=100.0 * float(outcome.forced.mean()),
                components_bps={key: float(np.mean(value)) for key, value in statement.components._asdict().items()},
                sanity=entrant.sanity,
            )
        )
    order = sorted(range(len(rows)), key=lambda index: rows[index].objective_bps)
    return Board(
        scenario,
        episodes,
        seed,
        tuple(rows[index] for index in order),
        tuple(joined[1 + index] for index in order),
        optimum_bps,
        entrants[best - 1].policy.name if best else "TWAP",
    )
