"""Plans: what is done with many lanes, stated in lines. A backend runs a plan on arrays, or writes a loop from it.

A *lane* is one episode. A *stage* is a function of records; its signature says which records it takes and makes. A plan is a
tuple of lines, in the order in which they are done for all lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import signature
from typing import Any, get_args, get_origin, get_type_hints

from numpy.typing import NDArray

from hyperexec_env.records import is_record

__all__ = [
    *("Add", "For", "Line", "Look", "Pass", "Pick", "Program", "Refuse", "Repeat", "Show", "Unless"),
    *("made_by", "refused", "taken_by", "walk"),
]

Stage = Callable[..., Any]


class Line:
    """One line of a plan."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that the line calls."""
        return ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines within the line."""
        return ()


@dataclass(frozen=True, init=False)
class Pass(Line):
    """Call stages for every lane; a stage may take what a stage before it in the line makes."""

    called: tuple[Stage, ...]

    def __init__(self, *called: Stage) -> None:
        """Keep the stages."""
        object.__setattr__(self, "called", called)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that the line calls."""
        return self.called


@dataclass(frozen=True, init=False)
class Look(Line):
    """Look records up in their tables; the stage `place` returns the row."""

    place: Stage
    records: tuple[type, ...]

    def __init__(self, place: Stage, *records: type) -> None:
        """Keep the stage and the records."""
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "records", records)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stage that returns the row."""
        return (self.place,)


@dataclass(frozen=True)
class Show(Line):
    """Lay a record out in a row of the array `target`, and behind it a row of the array `rows`, which `place` returns."""

    target: str
    rows: str
    place: Stage
    record: type | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stage that returns the row."""
        return (self.place,)


@dataclass(frozen=True)
class Add(Line):
    """Add a number to an element of the array `target`; the stage returns the index and the number.

    The array has a row for each part of the lanes (:attr:`CompiledLanes.parts`), to be added up by the caller.
    """

    target: str
    stage: Stage

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stage that returns index and number."""
        return (self.stage,)


@dataclass(frozen=True)
class Pick(Line):
    """List the lanes in which a field of a record is not zero, under a name."""

    name: str
    record: type
    field: str


@dataclass(frozen=True, init=False)
class For(Line):
    """Do some lines for the lanes that were picked under a name."""

    name: str
    inner: tuple[Line, ...]

    def __init__(self, name: str, *inner: Line) -> None:
        """Keep the name and the lines."""
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "inner", inner)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines within the line."""
        return self.inner


class Unless(For):
    """Do some lines for all lanes, unless all of them were picked under a name."""


@dataclass(frozen=True, init=False)
class Repeat(Line):
    """Do some lines as often as a field of a record that is given says."""

    record: type
    field: str
    inner: tuple[Line, ...]

    def __init__(self, record: type, field: str, *inner: Line) -> None:
        """Keep the count and the lines."""
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "field", field)
        object.__setattr__(self, "inner", inner)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines within the line."""
        return self.inner


@dataclass(frozen=True)
class Refuse(Line):
    """Do nothing at all if a number that some lane is given lies outside a range, or is none."""

    record: type
    field: str
    low: float
    high: float


@dataclass(frozen=True)
class Program:
    """Plans, and the data that they work on."""

    plans: Mapping[str, tuple[Line, ...]]
    kept: tuple[type, ...]
    """Records that lanes remember from run to run."""
    given: Mapping[type, Any]
    """Records that are the same for all lanes."""
    inputs: Mapping[type, str] = field(default_factory=dict)
    """Records of one number that each lane is given: the name of the array, shape (lanes,)."""
    outputs: Mapping[type, tuple[str, ...]] = field(default_factory=dict)
    """Records whose numbers are put into arrays of shape (lanes,): the names of the arrays."""
    listed: Mapping[type, str] = field(default_factory=dict)
    """Records made for picked lanes only, laid out in a row each: the name of the array, whose rows are filled in order."""
    tables: Mapping[type, Any] = field(default_factory=dict)
    """Records that are looked up: a record of flat arrays with one number for each row of the table."""
    rows: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Arrays of shape (rows, numbers) that are shown row by row."""
    fixed: Mapping[tuple[type, str], Any] = field(default_factory=dict)
    """Fields that are the same for all lanes, by record and dotted name: a number, or record and name of a given field."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What stages take beside records, by the name of the parameter."""


@lru_cache(maxsize=4096)
def taken_by(stage: Stage) -> tuple[Any, ...]:
    """Return the records that a stage takes, in the order of its parameters; a parameter that is no record by its name."""
    hints = get_type_hints(stage)
    return tuple(hints[name] if is_record(hints.get(name)) else name for name in signature(stage).parameters)


@lru_cache(maxsize=4096)
def made_by(stage: Stage) -> tuple[Any, ...]:
    """Return the types that a stage makes."""
    made = get_type_hints(stage)["return"]
    return get_args(made) if get_origin(made) is tuple else (made,)


def walk(lines: tuple[Line, ...]) -> Iterator[Line]:
    """Yield the lines of a plan, and the lines within them, in order."""
    for line in lines:
        yield line
        yield from walk(line.lines)


def refused(program: Program, name: str, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return -1 - lane for the first lane whose input a plan refuses, else 0."""
    for line in program.plans[name]:
        if isinstance(line, Refuse):
            values = arrays[program.inputs[line.record]]
            wrong = ~((line.low <= values) & (values <= line.high))
            if wrong.any():
                return -1 - int(wrong.argmax())
    return 0
