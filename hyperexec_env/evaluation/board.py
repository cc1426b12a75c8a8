"""Leaderboard of policies on one scenario: the results of each policy, as text, Markdown or JSON.

:func:`~hyperexec_env.evaluation.comparison.judge` runs the policies and returns a :class:`Board`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.situation import REGIME_LAW
from hyperexec_env.evaluation.calibration_error import CalibrationError
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.outcome import Outcome
from hyperexec_env.evaluation.policy import Policy, follows_regimes
from hyperexec_env.evaluation.table import markdown, markdown_table, text_table
from hyperexec_env.market.kernel import Components
from hyperexec_env.market.provenance import described_sources, sources_of
from hyperexec_env.market.scenarios import AnyScenario

__all__ = ["REALISM", "Board", "Entrant", "Failure", "Row", "TrainingGroup", "markdown", "text_table"]

Floats = NDArray[np.float64]

REALISM: Final = "realism"
"""Entry of the provenance of a scenario that says how its market compares with real sessions."""
_LOOSE: Final = 0.1
"""Part of the worth of the past regimes that `filtered` does not save, above which the bound is loose."""
_FEW: Final = 50
"""Number of episodes below which bootstrap intervals cover less often than their level."""


@dataclass(frozen=True)
class Entrant:
    """A policy on a board."""

    policy: Policy
    training_seed: int | None = None
    """Seed of the training; None for a policy that was not trained."""
    hidden: bool = False
    """Whether the regime is hidden from the policy."""
    sanity: bool = False
    """Whether the policy is a sanity policy, which must lose: a board on which it beats TWAP carries a warning."""

    @property
    def label(self) -> str:
        """Name of the policy, with the training seed if it was trained."""
        return self.policy.name if self.training_seed is None else f"{self.policy.name} (seed {self.training_seed})"

    def options(self, **given: Any) -> dict[str, Any]:
        """Return options of an environment of one asset whose situations show what the policy reads.

        Args:
            given: Other options; to `features`, those that the policy needs are added.
        """
        made = {"observe_regime": not self.hidden, **given}
        if follows_regimes(self.policy):
            chosen = given.get("features")
            chosen = observation_names() if chosen is None else tuple(chosen)
            made["features"] = (*chosen, *(name for name in REGIME_LAW if name not in chosen))
        return made


@dataclass(frozen=True)
class Row:
    """Results of one policy, bps of the arrival notional unless the name says otherwise.

    `_low` and `_high` are the ends of 95 % bootstrap intervals; differences and gaps are paired by episode.
    """

    policy: str
    training_seed: int | None
    objective_bps: float
    """Mean objective J: without the permanent cost and the price noise, with the risk term."""
    objective_low: float
    objective_high: float
    is_bps: float
    """Mean implementation shortfall."""
    is_sd_bps: float
    """Standard deviation of the shortfall over episodes."""
    is_cvar95_bps: float
    """Mean shortfall of the 5 % of episodes with the largest."""
    expected_cost_bps: float
    """Mean objective without the risk term."""
    risk_bps: float
    """Mean risk term."""
    diff_to_twap_bps: float
    """Mean paired difference of the objective to TWAP's."""
    diff_to_twap_low: float
    diff_to_twap_high: float
    diff_to_twap_percent: float
    realised_diff_to_twap_bps: float
    """Mean paired difference of the shortfall to TWAP's."""
    realised_diff_to_twap_low: float
    realised_diff_to_twap_high: float
    p_twap: float
    """p-value of the difference to TWAP, Holm-adjusted across the board; 1 for TWAP itself."""
    diff_to_best_bps: float
    """Paired difference to the best classical policy (neither trained nor sanity) of the board."""
    diff_to_best_low: float
    diff_to_best_high: float
    win_rate: float
    """Fraction of the episodes in which the objective is below TWAP's."""
    gap_bps: float | None
    """Mean difference to the optimal policy on the same episodes, or to J* where that policy is unknown. All gap columns and
    the score are None where J* is unknown."""
    gap_low: float | None
    gap_high: float | None
    gap_percent: float | None
    """The gap in percent of abs(J*)."""
    gap_percent_low: float | None
    gap_percent_high: float | None
    score: float | None
    """Fraction of TWAP's gap that the policy closes, by paired means: 0 for TWAP, 1 for the optimum."""
    rank: int
    """1 + the number of policies with a better rank, all of which are significantly better. Sanity policies are ranked too;
    the optimum is not ranked, its rank is 0."""
    forced_percent: float
    """Mean number of shares that the end of the order forced to trade, percent of the order."""
    components_bps: dict[str, float]
    """Mean shortfall by component; the components sum to `is_bps`."""
    sanity: bool
    optimum: bool = False
    """Whether the row is the optimal policy, shown for comparison."""

    @property
    def label(self) -> str:
        """Name of the policy, with the training seed if it was trained."""
        return self.policy if self.training_seed is None else f"{self.policy} (seed {self.training_seed})"


@dataclass(frozen=True)
class Failure:
    """A policy that could not be evaluated, and the reason."""

    policy: str
    training_seed: int | None
    reason: str

    @property
    def label(self) -> str:
        """Name of the policy, with the training seed if it was trained."""
        return self.policy if self.training_seed is None else f"{self.policy} (seed {self.training_seed})"


@dataclass(frozen=True)
class TrainingGroup:
    """Trained policies of one name that differ only by their training seed."""

    policy: str
    training_seeds: tuple[int, ...]
    objectives_bps: tuple[float, ...]
    """Objective of each training seed."""
    interquartile_mean_bps: float
    """Interquartile mean of the objectives; `low` and `high` are its 95 % bootstrap interval."""
    low: float
    high: float

    def __str__(self) -> str:
        """Return the group as one line."""
        objectives = ", ".join(f"{value:.2f}" for value in self.objectives_bps)
        return (
            f"{self.policy}, {len(self.training_seeds)} training seeds: {objectives}; "
            f"interquartile mean {self.interquartile_mean_bps:.2f} [{self.low:.2f}, {self.high:.2f}]"
        )


@dataclass(frozen=True, eq=False)
class Board:
    """Results of all policies on one scenario, best objective first."""

    scenario: AnyScenario
    episodes: int
    seed: int
    rows: tuple[Row, ...]
    outcomes: tuple[Outcome, ...] = field(repr=False)
    """Outcomes of the policies in the order of the rows: over episodes, or over groups of episodes where there are many."""
    optimum: Optimum | None = None
    """The computed optimum of the scenario; None where it was not requested."""
    best_classical: str = "TWAP"
    """Name of the best classical policy."""
    groups: tuple[TrainingGroup, ...] = ()
    """Trained policies with at least two training seeds."""
    optimum_faults: tuple[str, ...] = ()
    """Evidence that the given optimum is wrong, one line each."""
    failed: tuple[Failure, ...] = ()
    """Policies that failed; they have no row."""
    calibration: CalibrationError | None = None
    """The rows in the draws of the posterior; None for a scenario without one."""

    @property
    def exit_code(self) -> int:
        """Exit code of a command that prints the board: 1 if a policy failed."""
        return 1 if self.failed else 0

    @property
    def findings(self) -> list[str]:
        """Lines below the table: TWAP's gap by source, trained policies against the best classical one, training seeds, and
        how the market of the scenario compares with real sessions, if that is known.
        """
        against = [
            f"{row.label} against {self.best_classical}, the best classical policy: {row.diff_to_best_bps:+.2f} "
            f"[{row.diff_to_best_low:+.2f}, {row.diff_to_best_high:+.2f}] bps"
            for row in self.rows
            if row.training_seed is not None
        ]
        compared = self.scenario.provenance.get(REALISM, "")
        market = f"the market beside real sessions: {compared} (the card names them)" if compared else ""
        unsure = "" if self.calibration is None else self.calibration.finding
        return [
            *filter(None, [self.gap_decomposition, self.filter_share]),
            *against,
            *map(str, self.groups),
            *filter(None, [unsure, market]),
        ]

    @property
    def gap_decomposition(self) -> str:
        """TWAP's gap to the optimum by source, computed, in one line; "" where the optimum or TWAP's objective is unknown."""
        known = self.optimum
        if known is None or known.twap_bps is None or not known.optimum_bps:
            return ""
        gap, past = known.twap_bps - known.optimum_bps, "inferring the regime from the past"
        if len(self.scenario.regimes) == 1:
            past = "acting on past observations"
        elif getattr(self.scenario, "flow_persistence", 0.0) or getattr(self.scenario, "price_risk", 0.0):
            past = "acting on past observations, past regimes included"
        names = {"schedule": "a better fixed schedule", "past": past, "regime": "observing it"}
        if len(self.scenario.regimes) == 1:
            del names["regime"]  # a single regime carries no information
        steps = [(part.bps, [names[step] for step in part.steps if step in names]) for part in known.parts]
        parts = [f"{bps:z.2f} {' and '.join(saved_by)}" for bps, saved_by in steps if saved_by]
        told = "" if known.told_bps is None else f"; {known.optimum_bps - known.told_bps:z.2f} more if the unknowns were told"
        return f"of TWAP's gap of {gap:z.2f} bps ({100.0 * gap / abs(known.optimum_bps):.1f} %): {', '.join(parts)}{told}"

    @property
    def filter_share(self) -> str:
        """What the policy `filtered` saves of the worth of the past regimes, in one line; "" without its row or J*."""
        known, row = self.optimum, next((row for row in self.rows if row.policy == "filtered"), None)
        if known is None or row is None or row.gap_bps is None or row.gap_high is None:
            return ""
        best, plan, late = known.optimum_bps, known.open_loop_bps, known.regime_blind_bps
        if best is None or plan is None or late is None or not plan > late:
            return ""
        saved, worth = plan - best - row.gap_bps, plan - late
        left = row.gap_high - (late - best)
        closer = "; `hyperexec solve SCENARIO --hidden` bounds it closer" if worth - saved > _LOOSE * worth else ""
        return (
            f"filtered, from which the regime is hidden, saves {saved:z.2f} of the {worth:.2f} bps between the best fixed "
            f"schedule and the regime observed one slice late ({100.0 * saved / worth:.0f} %); no policy without the regime is "
            f"more than {left:.2f} bps better (95 %){closer}"
        )

    @property
    def warnings(self) -> list[str]:
        """Warnings, one line each.

        They name faults of the scenario and of the optimum, policies that failed, and sanity policies that beat TWAP
        significantly (a fault of the market).
        """
        sanity = [
            f"WARNING: the sanity policy {row.policy} beats TWAP by {-row.diff_to_twap_bps:.2f} bps: "
            f"do not trust rankings on this scenario"
            for row in self.rows
            if row.sanity and row.diff_to_twap_high < 0.0
        ]
        failed = [f"WARNING: {failure.label} failed and has no results: {failure.reason}" for failure in self.failed]
        return [
            *self.scenario.warnings,
            *failed,
            *sanity,
            *(f"WARNING: {text}: do not trust gaps on this board" for text in self.optimum_faults),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the board as JSON-compatible values."""
        known = self.optimum or Optimum()
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "sources": {kind: list(names) for kind, names in sources_of(self.scenario).items()},
            "episodes": self.episodes,
            "seed": self.seed,
            "path_hash": self.outcomes[0].path_hash if self.outcomes else None,
            "optimum_bps": known.optimum_bps,
            "bound_bps": known.bound_bps,
            "upper_bps": known.upper_bps,
            "open_loop_bps": known.open_loop_bps,
            "regime_blind_bps": known.regime_blind_bps,
            "twap_bps": known.twap_bps,
            "relative_error": known.relative_error,
            "best_classical": self.best_classical,
            "rows": [asdict(row) for row in self.rows],
            "failed": [asdict(failure) for failure in self.failed],
            "training": [asdict(group) for group in self.groups],
            **({} if self.calibration is None else {"calibration": self.calibration.to_dict()}),
            "warnings": self.warnings,
        }

    def to_json(self) -> str:
        """Return the board as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the main table; the gap columns appear where the optimum was requested.

        Policies that failed come last.
        """
        gaps = ["gap [95 %]", "gap %", "score"] if self.optimum is not None else []
        header = ["rank", "policy", "J [95 %]", *gaps, "vs TWAP [95 %]", "%", "p", "IS"]
        failed = [["-", failure.label, "failed", *("-" for _ in header[3:])] for failure in self.failed]
        return header, [*(self._cells(row) for row in self.rows), *failed]

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
        """Return the header and the cells of the second table: J by part, the shortfall by component, and its tail."""
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

    def caption(self, name: str = "") -> str:
        """Return the caption of the main table; `name` replaces the name of the scenario."""
        return (
            f"{name or self.scenario.name} ({self.scenario.hash}): {self.episodes:,} episodes of seed {self.seed}, "
            f"the same for every policy. Bps of the arrival notional; J excludes the permanent cost and the price noise "
            f"and includes the risk term; {self._gap_caption()}p: of the difference to TWAP, Holm-adjusted; a better rank is "
            f"significantly better (95 %, Holm over all pairs); * marks sanity policies, which must lose."
            + f" {described_sources(self.scenario).capitalize()}."
            + (" With so few episodes, intervals are too narrow and CVaR is too small." if self.episodes < _FEW else "")
        )

    def _gap_caption(self) -> str:
        """Return the part of the caption that defines gap and score."""
        known = self.optimum
        if known is None:
            return ""
        if known.optimum_bps is None:
            upper = "" if known.upper_bps is None else f" and at most {known.upper_bps:.2f}"
            return "not solved exactly; " + (
                "" if known.bound_bps is None else f"J* is at least {known.bound_bps:.2f}{upper}; "
            )
        error = "" if known.relative_error is None else f" (relative error {known.relative_error:.1g})"
        paired = ", paired with the optimal policy" if known.policy is not None else ""
        return f"gap: to the optimum{paired}, in % of J* = {known.optimum_bps:.2f}{error}; score: 0 is TWAP, 1 the optimum; "

    def details_caption(self) -> str:
        """Return the caption of the second table."""
        return (
            "J = expected + risk; the components, sd and CVaR95 are those of the shortfall IS; "
            "win rate: episodes in which J is below TWAP's."
        )

    def to_markdown(self) -> str:
        """Return the board as Markdown tables; the names of the scenario and of the policies are escaped."""
        board = self._with_escaped_names()
        lines = [
            *(f"**{text}.**\n" for text in board.warnings),
            markdown_table(*board.table()),
            f"\n{board.caption(markdown(self.scenario.name))}\n",
            *(f"- {text}." for text in board.findings),
            *([""] if board.findings else []),
            markdown_table(*board.details()),
            f"\n{board.details_caption()}",
            *([] if board.calibration is None else ["", board.calibration.to_markdown()]),
        ]
        return "\n".join(lines) + "\n"

    def _with_escaped_names(self) -> Board:
        """Return the board with every text that contains a name of a policy escaped for Markdown."""
        return replace(
            self,
            rows=tuple(replace(row, policy=markdown(row.policy)) for row in self.rows),
            best_classical=markdown(self.best_classical),
            groups=tuple(replace(group, policy=markdown(group.policy)) for group in self.groups),
            optimum_faults=tuple(map(markdown, self.optimum_faults)),
            calibration=self.calibration and self.calibration.renamed(markdown),
            failed=tuple(
                replace(failure, policy=markdown(failure.policy), reason=markdown(failure.reason)) for failure in self.failed
            ),
        )

    def __str__(self) -> str:
        """Return the board as text."""
        first, second = text_table(*self.table()), text_table(*self.details())
        unsure = [] if self.calibration is None else ["", str(self.calibration), ""]
        lines = [first, "", second, self.details_caption(), *unsure, "", self.caption(), *self.findings, *self.warnings]
        return "\n".join(lines)


def _name_cells(row: Row) -> list[str]:
    """Return the first two cells of a row."""
    return ["-" if row.optimum else str(row.rank), row.label + (" *" if row.sanity else "")]


def _gap_cells(row: Row) -> list[str]:
    """Return the cells of the gap and the score."""
    if row.gap_bps is None or row.gap_percent is None:
        return ["-", "-", "-"]
    gap = "-" if row.optimum else f"{row.gap_bps:+.2f} [{row.gap_low:+.2f}, {row.gap_high:+.2f}]"
    return [gap, f"{row.gap_percent:.1f}", "-" if row.score is None else f"{row.score:.2f}"]
