"""The bars of full sessions with the figures that checks of their content need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from .calendars import Calendar
from .days import Flags, Floats, Grid

__all__ = ["EDGE_MINUTES", "Fault", "View", "listed", "runs_of"]

EDGE_MINUTES: Final = 5
"""First and last minutes of the session, which hold the auctions; any volume is plausible there."""


class Fault(NamedTuple):
    """A fault of a session."""

    session: int
    bar: int
    kind: str
    """contaminated, no volume, spike, stub, frozen, gap or incomplete."""
    reason: str


class View(NamedTuple):
    """A grid with figures that several checks need; arrays have shape (session, bar), those of a session (session, 1)."""

    grid: Grid
    calendar: Calendar
    minutes: Floats
    """Length of each bar, shape (bar,)."""
    inside: Flags
    """Whether a bar lies between the auctions, shape (bar,)."""
    median: Floats
    """Median of the volumes above zero of each session."""
    share: Floats
    """Volume as a fraction of the session's."""
    liquid: Flags
    """Whether most bars of a session hold trades."""
    move: Floats
    """Log return of each bar from the close before it, of the first from its open."""
    usual: Floats
    """Median absolute move of the session or, if it is larger, of the data; bars without a move do not count."""

    @classmethod
    def of(cls, grid: Grid, calendar: Calendar) -> View:
        """Return the view of a grid."""
        volume, edges = grid.volume, grid.edges
        inside = (edges[:-1] >= EDGE_MINUTES) & (edges[1:] <= edges[-1] - EDGE_MINUTES)
        total = volume.sum(axis=1, keepdims=True)
        share = volume / np.where(total > 0.0, total, 1.0)
        before = np.concatenate([grid.open[:, :1], grid.close[:, :-1]], axis=1)
        move = np.log(grid.close / before)
        usual = np.maximum(_median_above_zero(np.abs(move)), np.median(np.abs(move[move != 0.0]) if move.any() else 0.0))
        liquid = (volume > 0.0).mean(axis=1, keepdims=True) >= 0.8
        return cls(grid, calendar, np.diff(edges), inside, _median_above_zero(volume), share, liquid, move, usual)

    def clock(self, session: int, bar: int) -> str:
        """Return the time of day at which a bar starts."""
        return self.grid.clock(session, bar, self.calendar)

    def first(self, wrong: Flags) -> Iterator[tuple[int, int]]:
        """Yield each session with a wrong bar, and the first such bar."""
        for session in np.flatnonzero(wrong.any(axis=1)).tolist():
            yield session, int(wrong[session].argmax())


def _median_above_zero(values: Floats) -> Floats:
    """Return the median of the values above zero in each row, shape (row, 1); 0 for a row without one."""
    ordered = np.sort(np.where(values > 0.0, values, np.inf), axis=1)
    count = (values > 0.0).sum(axis=1)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[:, None] // 2, axis=1)
    return np.asarray(np.where(np.isfinite(middle), middle, 0.0))


def runs_of(flags: Flags, widths: Floats) -> Floats:
    """Return the total width of the unbroken run of flags that ends at each bar, shape (session, bar)."""
    total = np.cumsum(np.where(flags, widths, 0.0), axis=1)
    return np.asarray(total - np.maximum.accumulate(np.where(flags, 0.0, total), axis=1))


def listed(texts: list[str]) -> str:
    """Return up to ten texts as a list."""
    return ", ".join(texts[:10]) + (f" and {len(texts) - 10} more" if len(texts) > 10 else "")
