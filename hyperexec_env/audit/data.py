"""The audit of data: the findings of an inspection of market data, as verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hyperexec_env.audit.findings import Audit, Finding, failed, not_run, passed, verdict
from hyperexec_env.data.days import CALENDAR_KINDS, LeftOut
from hyperexec_env.data.format import Format
from hyperexec_env.data.inspection import Inspection, inspect_data
from hyperexec_env.data.sources import Data

__all__ = ["FAULTS", "audit_data"]

FAULTS: Final = {
    "contaminated": "volumes that are running totals of the day, or hold the whole day",
    "spike": "prices that jump and return",
    "stub": "prices that are placeholders",
    "frozen": "prices that stand still although volume trades",
    "gap": "bars that are missing within a session",
}
"""Kind of fault of a session -> what it is."""
_LEAST_USED: Final = 0.5
"""Fraction of the sessions that must be used."""


def audit_data(data: Data, format: Format | None = None, kind: str = "", adv: float | None = None) -> Audit:
    """Audit market data: :func:`~hyperexec_env.data.inspection.inspect_data` with a verdict on each kind of fault.

    Args:
        data: Files, folders or frames, see :func:`~hyperexec_env.data.reader.read_bars`.
        format: How to read what the data do not say themselves.
        kind: bars, trades, quotes or messages; "": determined.
        adv: Average daily volume, shares, that the data must agree with; None if it is not known.

    Raises:
        ValueError: The data cannot be read; the message names file, line, column and value.
        MissingExtra: The extra `data` is not installed.
    """
    found = inspect_data(data, format, kind, adv)
    findings = [_usable(found), _sessions(found), *(_fault(name, found) for name in FAULTS)]
    symbol = f" of {found.table.symbol}" if found.table.symbol else ""
    return Audit(f"the {found.kind}{symbol}", tuple(findings), found.report.notes if found.report else (), str(found))


def _usable(found: Inspection) -> Finding:
    """The data can be used."""
    return failed("usable", found.fault) if found.fault else passed("usable", f"{found.table.provenance}".replace("\n", "; "))


def _sessions(found: Inspection) -> Finding:
    """Most sessions can be used."""
    if not found.lines:
        return not_run("sessions", "no row lies in a session of the calendar")
    if found.fault and not found.left_out:
        return not_run("sessions", "the data cannot be used")
    used = sum(line.state == "used" for line in found.lines)
    text = (
        f"{used} of {len(found.lines)} sessions are used, {found.outside:,} rows lie outside the hours of {found.calendar.name}"
    )
    by_calendar = [item for item in found.left_out if item.kind in CALENDAR_KINDS]
    if by_calendar:
        text += f"; left out by the calendar: {_first(by_calendar)}"
    return verdict("sessions", used >= _LEAST_USED * len(found.lines), text, used=used, sessions=len(found.lines))


def _fault(name: str, found: Inspection) -> Finding:
    """No session has a fault of one kind."""
    if found.kind == "quotes":
        return not_run(name, "quotes are not checked for it")
    if found.report is None and not found.left_out:
        return not_run(name, "no session can be checked")
    faulty = [item for item in found.left_out if item.kind == name]
    if faulty:
        return failed(name, f"{FAULTS[name]}: {_first(faulty)}", sessions=[item.date for item in faulty])
    used = sum(line.state == "used" for line in found.lines)
    if not used:
        return not_run(name, "every session is left out for another fault, which is found first")
    return passed(name, f"no {FAULTS[name]} in the sessions that are used: {used} of {len(found.lines)}")


def _first(items: Sequence[LeftOut]) -> str:
    """Return the number of sessions that are left out, and the first one with its place."""
    first = items[0]
    return f"{len(items)} {'session' if len(items) == 1 else 'sessions'}, first {first}"
