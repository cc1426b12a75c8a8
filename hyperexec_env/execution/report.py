"""Post-trade reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = ["ExecutionReport", "Mark"]


class Mark(NamedTuple):
    """What was known of the market at a time while an order ran."""

    time: float
    """Seconds on the agent's clock."""
    mid: float
    """Currency per share."""
    volume: float = 0.0
    """Market volume since the mark before, shares (0: not known)."""


@dataclass(frozen=True)
class ExecutionReport:
    """What became of a parent order."""

    parent: ParentOrder
    children: tuple[ChildOrder, ...]
    """The children that were released, with their fills."""
    start: float
    """When the order was taken, seconds on the agent's clock."""
    end: float
    """When it was closed."""
    reason: str
    """filled, expired, cancelled or stopped."""
    marks: tuple[Mark, ...] = ()
    plan: tuple[tuple[float, float], ...] = ()
    """Times and the shares that the first plan had done by then, ascending."""
    config: ExecutionConfig = field(default_factory=ExecutionConfig)
