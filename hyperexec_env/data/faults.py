"""Faults of the content of sessions: which sessions are left out, and what is unusual but kept.

"Clean files" in the reasons of the thresholds are 18 files of US equities (1 and 5 minutes, 650 sessions) and 3 of Bitcoin
(1 minute, 99 days) that were checked by hand; "dirty files" are 42 sessions with running totals.
"""

from __future__ import annotations

from .calendars import Calendar
from .days import Grid
from .gaps import find_gaps
from .prices import frozen, spikes, stubs
from .views import Fault, View, listed
from .volumes import large_bars, odd_days, single_totals, totals, without_volume

__all__ = ["find_faults"]


def find_faults(grid: Grid, calendar: Calendar) -> tuple[dict[int, Fault], list[str]]:
    """Return the first fault of each faulty session, and sentences on halts that are kept."""
    if not grid.hours:
        return {}, []
    view = View.of(grid, calendar)
    found: dict[int, Fault] = {}
    halts: list[tuple[int, str]] = []
    gaps = list(find_gaps(view, halts))
    edges = (fault for fault in gaps if fault.kind == "incomplete")
    volumes = (without_volume(view), totals(view), single_totals(view), large_bars(view), odd_days(view))
    checks = (edges, *volumes, spikes(view), stubs(view), frozen(view), gaps)
    for check in checks:
        for fault in check:
            found.setdefault(fault.session, fault)
    kept = [text for session, text in halts if session not in found]
    return found, [f"halts are kept as bars without trades: {listed(kept)}"] if kept else []
