"""Replay the journal of a desk's session: check that it releases the same children again, and report the cost of its orders.

A journal is what the desk stores in a live session, on paper or in a backtest (docs/nautilus.md). Each child of the replay is
compared with that of the journal; the first one that differs is an error with its line.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.execution.journal import replay_journal

from ._command import Report

ORDER = 14.5


@dataclass(frozen=True, kw_only=True)
class Args:
    """Options of ``hyperexec journal``."""

    journal: str = option(meaning="file of the session, .jsonl", positional=True, file="input")


def main(args: Args) -> Report:
    """Replay the journal, and return the reports of its closed orders and lists."""
    desk = replay_journal(args.journal)
    reports, released = desk.agent.get_reports(), len(desk.children)
    lists = [report for name in desk.lists if (report := desk.agent.basket_report(name)) is not None]
    head = f"{released} children released again as in the journal; {len(reports)} orders closed"
    plain = {"children": released, "orders": [report.to_dict() for report in reports]}
    if desk.lists:
        head += f"; {len(lists)} of {len(desk.lists)} lists closed"
        plain["lists"] = [report.to_dict() for report in lists]
    return Report("\n\n".join([head, *map(str, reports), *map(str, lists)]), plain)
