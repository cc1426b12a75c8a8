"""The result of a tuning: its trials, the table of the best ones, and what to run next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hyperexec_env.evaluation.table import text_table

__all__ = ["Trial", "Tuned"]

_SHOWN: Final = 10
"""Trials in the table."""


class Trial(NamedTuple):
    """A set of parameters, and what it reached."""

    number: int
    parameters: dict[str, Any]
    values: tuple[float, ...]
    """Mean value over the training seeds in each rung that the trial reached; infinite where a training diverged."""
    unit: str = ""
    reason: str = ""
    """Why the trial failed; "" if it did not."""

    def finished(self, rungs: int) -> bool:
        """Return whether the trial was trained with the whole budget, and did not fail."""
        return len(self.values) == rungs and math.isfinite(self.values[-1])


@dataclass(frozen=True)
class Tuned:
    """Result of a tuning."""

    algorithm: str
    scenario: str
    rungs: int
    trials: tuple[Trial, ...]
    command: str
    """Command line that trains with the parameters of the best trial."""
    evaluation: str
    """Command line that judges the policy of that training."""
    validation_seed: int
    """Seed of the episodes that judged the trials."""

    @property
    def best(self) -> Trial:
        """The finished trial with the smallest value."""
        return min((trial for trial in self.trials if trial.finished(self.rungs)), key=lambda trial: trial.values[-1])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; an infinite value is null."""
        return {
            "algorithm": self.algorithm,
            "scenario": self.scenario,
            "unit": self.best.unit,
            "validation_seed": self.validation_seed,
            "best": _plain(self.best),
            "command": self.command,
            "trials": [_plain(trial) for trial in self.trials],
        }

    def __str__(self) -> str:
        """Return the table of the best trials, and the command lines of the best one."""
        finished = sorted(
            (trial for trial in self.trials if trial.finished(self.rungs)), key=lambda trial: (trial.values[-1], trial.number)
        )
        failed = [trial for trial in self.trials if trial.reason]
        header = ["trial", self.best.unit, *self.best.parameters]
        cells = [
            [str(trial.number), f"{trial.values[-1]:.4g}", *(_short(value) for value in trial.parameters.values())]
            for trial in finished[:_SHOWN]
        ]
        pruned = len(self.trials) - len(finished) - len(failed)
        counts = (
            f"{len(self.trials)} trials: {len(finished)} trained with the whole budget, {pruned} pruned, {len(failed)} failed"
        )
        return "\n".join(
            [
                text_table(header, cells),
                "",
                counts,
                *(f"trial {trial.number} failed: {trial.reason}" for trial in failed[:_SHOWN]),
                "The value of the winner is optimistic, because it is the least of many: judge it with other seeds.",
                f"train:    {self.command}",
                f"evaluate: {self.evaluation}",
            ]
        )


def _short(value: Any) -> str:
    """Return a parameter for a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(trial: Trial) -> dict[str, Any]:
    """Return a trial as plain values."""
    values = [value if math.isfinite(value) else None for value in trial.values]
    return {**trial._asdict(), "values": values}
