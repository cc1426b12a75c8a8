"""Snapshot of an execution agent."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["AgentStatus"]


class AgentStatus(NamedTuple):
    """Snapshot of an agent: its state, counts of orders and children, and latency."""

    name: str
    state: str
    """created, running, paused or stopped."""
    regime: str
    """The regime last passed to `process`."""
    queued: int
    """Parents that were submitted but not yet cut into children."""
    active: int
    """Parents that are being executed."""
    working: int
    """Children in the market: released, neither filled nor cancelled."""
    closed: int
    """Parents that have a report, except those that `get_reports` forgot."""
    process_count: int
    avg_latency_ns: float
    """Mean duration of a `process` call, nanoseconds."""
    slow_count: int
    """Number of `process` calls that took longer than `max_latency_us`."""
    halted: tuple[str, ...] = ()
    """Symbols that are paused."""
