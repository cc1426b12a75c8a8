"""Market observations of a symbol, recorded once and shared by the reports of all its orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, overload

__all__ = ["Mark", "MarkLog", "Marks"]

_MIN_TRIM_SIZE: Final = 1024
"""Number of marks below which a log is not trimmed."""


class Mark(NamedTuple):
    """An observation of the market during the life of an order."""

    time: float
    """Time of the observation, seconds on the agent's clock."""
    mid: float
    """Mid, currency per share."""
    volume: float = 0.0
    """Market volume since the previous mark, shares; 0: unknown."""
    vwap: float | None = None
    """Average price of that volume, currency per share; None: estimated by the mean of the previous mid and this mid."""


class Marks(Sequence[Mark]):
    """Consecutive marks of a log: a sequence that compares and hashes like a tuple, without a copy of the marks."""

    __slots__ = ("_end", "_log", "_start")

    def __init__(self, log: list[Mark], start: int) -> None:
        """Refer to the marks of a log from an index to its present end."""
        self._log, self._start, self._end = log, min(start, len(log)), len(log)

    def __len__(self) -> int:
        """Return the number of marks."""
        return self._end - self._start

    @overload
    def __getitem__(self, index: int) -> Mark: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Mark, ...]: ...

    def __getitem__(self, index: int | slice) -> Mark | tuple[Mark, ...]:
        """Return a mark, or a tuple of marks."""
        positions = range(self._start, self._end)
        if isinstance(index, slice):
            return tuple(self._log[position] for position in positions[index])
        return self._log[positions[index]]

    def __iter__(self) -> Iterator[Mark]:
        """Iterate over the marks."""
        return iter(self._log[self._start : self._end])

    def __eq__(self, other: Any) -> bool:
        """Return whether another sequence holds equal marks."""
        return tuple(self) == tuple(other) if isinstance(other, (tuple, Marks)) else NotImplemented

    def __hash__(self) -> int:
        """Return the hash of the marks as a tuple."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """Return the representation of the marks as a tuple."""
        return repr(tuple(self))

    def __reduce__(self) -> Any:
        """Copy and pickle as a tuple, without the rest of the log."""
        return tuple, (tuple(self),)


class MarkLog:
    """The marks of a symbol since its first open order. Positions count all marks ever appended."""

    __slots__ = ("_dropped", "_marks", "_trim_size")

    def __init__(self) -> None:
        """Start an empty log."""
        self._marks: list[Mark] = []
        self._dropped, self._trim_size = 0, _MIN_TRIM_SIZE

    @property
    def last(self) -> Mark | None:
        """The last mark."""
        return self._marks[-1] if self._marks else None

    @property
    def last_position(self) -> int:
        """Position of the last mark; 0 if there is none."""
        return max(self._dropped + len(self._marks) - 1, 0)

    @property
    def is_full(self) -> bool:
        """Whether the log should be trimmed."""
        return len(self._marks) >= self._trim_size

    def append(self, mark: Mark) -> None:
        """Append a mark; existing views do not change."""
        self._marks.append(mark)

    def trim(self, position: int) -> None:
        """Drop the marks before a position.

        Views keep the list that they refer to. The log doubles before the next trim, so that all lists together hold at most
        twice the marks.
        """
        if position > self._dropped:
            self._marks = self._marks[position - self._dropped :]
            self._dropped = position
        self._trim_size = max(_MIN_TRIM_SIZE, 2 * len(self._marks))

    def since(self, position: int) -> Marks:
        """Return the marks from a position on."""
        return Marks(self._marks, position - self._dropped)
