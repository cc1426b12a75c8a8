"""Audit files of market data: running totals, spikes, placeholders, frozen prices, gaps and unusable sessions.

The findings are those of `hyperexec data check`, as verdicts. The exit code is 1 if a check failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import build, option
from hyperexec_env.audit.data import audit_data
from hyperexec_env.audit.findings import Audit
from hyperexec_env.data.format import Format
from hyperexec_env.data.inspection import KINDS

ORDER = 11.4


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec audit data``."""

    files: tuple[str, ...] = option(meaning="files, folders or patterns of data", positional=True, file="input")
    kind: str = option("", "what the data are (default: determined)", choices=KINDS)
    adv: float | None = option(None, "average daily volume, shares, which the data must agree with")


def main(args: Args) -> Audit:
    """Return the audit."""
    return audit_data(args.files, build(Format, args), args.kind, args.adv)
