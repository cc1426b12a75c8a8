"""Findings of an audit: the verdict of each check with its evidence, and the report."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ["FALSE_ALARM", "Audit", "Finding", "Verdict", "failed", "not_run", "passed", "verdict"]

Verdict = Literal["passed", "failed", "not run"]

FALSE_ALARM: Final = 0.001
"""Largest probability that a statistical check fails a subject without the fault, over all comparisons of the check."""
_WIDTH: Final = 120


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    """Name of the check."""
    verdict: Verdict
    """`not run` where the check could not be made: it says nothing about the subject."""
    evidence: str
    """What was compared and found; for `not run`, the reason."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """The numbers of the evidence, for JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        numbers = {name: _plain(value) for name, value in self.numbers.items()}
        return {"check": self.check, "verdict": self.verdict, "evidence": self.evidence, "numbers": numbers}


def _plain(value: Any) -> Any:
    """Return a value for JSON, which has no number that is not finite: None in its place."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def passed(check: str, evidence: str, **numbers: Any) -> Finding:
    """Return the finding of a check that found no fault."""
    return Finding(check, "passed", evidence, numbers)


def failed(check: str, evidence: str, **numbers: Any) -> Finding:
    """Return the finding of a check that found a fault."""
    return Finding(check, "failed", evidence, numbers)


def not_run(check: str, reason: str, **numbers: Any) -> Finding:
    """Return the finding of a check that could not be made."""
    return Finding(check, "not run", reason, numbers)


def verdict(check: str, sound: bool, evidence: str, **numbers: Any) -> Finding:
    """Return the finding of a check that was made: passed if the subject is sound."""
    return Finding(check, "passed" if sound else "failed", evidence, numbers)


@dataclass(frozen=True)
class Audit:
    """All findings about one subject; ``print`` shows the report."""

    subject: str
    """What was audited."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """Sentences on choices that were made for the user."""
    table: str = ""
    """Numbers that the audit computed anew, as text."""
    plain: Any = None
    """The same numbers for JSON."""

    def named(self, check: str) -> Finding:
        """Return the finding of a check.

        Raises:
            KeyError: There is no such check.
        """
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)

    def checks(self, verdict: Verdict) -> list[str]:
        """Return the names of the checks with a verdict."""
        return [finding.check for finding in self.findings if finding.verdict == verdict]

    @property
    def exit_code(self) -> int:
        """0 if no check failed, else 1. A check that was not run does not fail."""
        return int(bool(self.checks("failed")))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        counts = {name.replace(" ", "_"): len(self.checks(name)) for name in ("passed", "failed", "not run")}
        return {
            "subject": self.subject,
            **counts,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
            "recomputed": self.plain,
        }

    def __str__(self) -> str:
        """Return the report: the counts, one paragraph for each check, the numbers, and the notes."""
        counts = [f"{len(self.checks(name))} {name}" for name in ("passed", "failed", "not run")]
        width = max((len(finding.check) for finding in self.findings), default=0)
        lines = [f"audit of {self.subject}: {', '.join(counts)}", "", *_paragraphs(self.findings, width)]
        lines += ["", self.table] if self.table else []
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])


def _paragraphs(findings: Iterable[Finding], width: int) -> Iterable[str]:
    """Yield each finding as a paragraph, its evidence indented."""
    for finding in findings:
        word = "FAILED" if finding.verdict == "failed" else finding.verdict
        head = f"{word:<8} {finding.check:<{width}}  "
        yield textwrap.fill(head + finding.evidence, _WIDTH, subsequent_indent=" " * len(head), break_on_hyphens=False)
