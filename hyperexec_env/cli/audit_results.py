"""Audit results: unpaired, one training seed, a checkpoint chosen on the test, no interval, and the like.

FILE is a table (csv or JSON) of anybody with one row for each episode of a policy (columns policy, seed, episode, cost, and
training_seed, split, checkpoint, selection_seed, status where they exist; other names by --columns), or one row for each
policy; a board of `hyperexec evaluate --json`; or a store. Paired differences with intervals are computed anew. docs/audit.md
explains the checks. The exit code is 1 if a check failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.audit.findings import Audit
from hyperexec_env.audit.results import audit_results
from hyperexec_env.checks import shown

ORDER = 11.3


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec audit results``."""

    file: str = option(meaning="csv, JSON, board or store of results", positional=True, file="input")
    against: str = option("", "reference policy (default: TWAP if it is there, else the first one)")
    columns: tuple[str, ...] = option((), "COLUMN=NAME, where the table names a column otherwise, e.g. cost=total")
    scenario: str = option("", "scenario to audit, if the file holds several")


def main(args: Args) -> Audit:
    """Return the audit."""
    named = dict(text.partition("=")[::2] for text in args.columns)
    for column, name in named.items():
        if not column or not name:
            raise ValueError(f"columns must be COLUMN=NAME, got {shown(f'{column}={name}')}")
    return audit_results(args.file, against=args.against, columns=named, of_scenario=args.scenario)
