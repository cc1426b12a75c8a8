"""Plans: the steps of a computation on many lanes, independent of how it is executed.

A *lane* is one of many computations of the same kind, for example one episode. A *record* is a NamedTuple of numbers
(:mod:`hyperexec_env.records`), one set for each lane. A *stage* is a pure function of records: the annotations of its
parameters and of its result name the record types that it takes and makes. A *plan* is a tuple of *lines*; every line is
executed for all lanes before the next line begins. A *program* is some plans and the data that they read and write.

    class Clock(NamedTuple):
        k: Whole
        over: Whole

    def tick(clock: Clock) -> Clock:
        return Clock(clock.k + 1, (clock.k + 1 == 3) * 1)

    def begin() -> Clock:
        return Clock(0, 0)

    plan = (Pass(tick), Pick("ended", Clock, "over"), For("ended", Pass(begin)))
    program = Program(plans={"step": plan}, kept=(Clock,), given={})
    lanes = ArrayLanes(program, 4)  # or CompiledLanes
    lanes.put(Clock, Clock(np.array([0, 1, 2, 0]), np.zeros(4, int)))
    lanes.run("step", {})           # [1]: one lane ended
    lanes.record(Clock).k           # [1, 2, 0, 1]

:class:`~hyperexec_env.backends.arrays.ArrayLanes` calls the stages on arrays over lanes;
:class:`~hyperexec_env.backends.compiled.CompiledLanes` compiles loops that call them lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import signature
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.records import is_record

__all__ = [
    *("Add", "Each", "For", "Line", "Look", "Pass", "Pick", "Program", "Refuse", "Repeat", "Show", "Sum", "Unless"),
    *("crossing", "made_by", "of_members", "refused", "taken_by", "walk"),
]

Stage = Callable[..., Any]


class Line:
    """One line of a plan: an operation on all lanes."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that the line calls."""
        return ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines nested in the line."""
        return ()


@dataclass(frozen=True, init=False)
class Pass(Line):
    """Call stages, one after another, for every lane; a stage may take the records made by earlier stages of the line.

    Stages of one line share one loop: a record that no later line takes needs no memory. Several short loops, one line each,
    vectorise better than one long loop.
    """

    called: tuple[Stage, ...]

    def __init__(self, *called: Stage) -> None:
        """Store the stages."""
        object.__setattr__(self, "called", called)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that the line calls."""
        return self.called


@dataclass(frozen=True, init=False)
class Look(Line):
    """Read records from their tables (:attr:`Program.tables`); the stage `place` returns the row of the lane."""

    place: Stage
    records: tuple[type, ...]

    def __init__(self, place: Stage, *records: type) -> None:
        """Store the stage and the record types."""
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "records", records)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stage that returns the row."""
        return (self.place,)


@dataclass(frozen=True)
class Show(Line):
    """Write the row of each lane in the array `target`: the numbers of a record, a row of a constant array, another record.

    `target` names an array of shape (lanes, numbers) given to the run, `rows` an array of :attr:`Program.rows`, of which the
    stage `place` returns the row. Within :class:`For`, the i-th picked lane of a part writes the i-th row of the part. The
    numbers begin at the number `first` of the row of the target; within :class:`Each`, each member writes behind the member
    before it.
    """

    target: str
    rows: str
    place: Stage
    record: type | None = None
    behind: type | None = None
    first: int = 0

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stage that returns the row."""
        return (self.place,)


@dataclass(frozen=True)
class Add(Line):
    """Add a number to an element of the array `target`; the stage returns the index of the element and the number.

    The array has shape (parts, elements), with a row for each part of the lanes (:attr:`CompiledLanes.parts`), which threads
    write independently; the caller adds the rows.
    """

    target: str
    stage: Stage

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stage that returns the index and the number."""
        return (self.stage,)


@dataclass(frozen=True)
class Pick(Line):
    """List the lanes whose field `field` of a record is not zero; later lines refer to the list by its name."""

    name: str
    record: type
    field: str


@dataclass(frozen=True, init=False)
class For(Line):
    """Execute lines (:class:`Pass`, :class:`Look`, :class:`Show`, :class:`Add`) for the lanes of a :class:`Pick` only."""

    name: str
    inner: tuple[Line, ...]

    def __init__(self, name: str, *inner: Line) -> None:
        """Store the name and the lines."""
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "inner", inner)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines within the line."""
        return self.inner


class Unless(For):
    """Execute lines for all lanes, but skip them if the :class:`Pick` of that name listed every lane.

    It saves time only: lines after it must overwrite the records of the listed lanes. (Compiled loops decide tile by tile.)
    """


@dataclass(frozen=True, init=False)
class Repeat(Line):
    """Execute lines repeatedly; the count is a field of a record of :attr:`Program.given`."""

    record: type
    field: str
    inner: tuple[Line, ...]

    def __init__(self, record: type, field: str, *inner: Line) -> None:
        """Store the field of the count, and the lines."""
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "field", field)
        object.__setattr__(self, "inner", inner)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines within the line."""
        return self.inner


@dataclass(frozen=True, init=False)
class Each(Line):
    """Execute lines for every member of the lanes (:attr:`Program.members`).

    The stages take records of the member and of its lane. A record that the lines make belongs to the member.
    """

    inner: tuple[Line, ...]

    def __init__(self, *inner: Line) -> None:
        """Store the lines."""
        object.__setattr__(self, "inner", inner)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines within the line."""
        return self.inner


@dataclass(frozen=True)
class Sum(Line):
    """Set a number to a weighted sum of a number of each member, added from the first member to the last.

    `weights` names an array of :attr:`Program.weights`. With a row for each member, shape (members, members), `field` of the
    record `target` of member i is the sum with row i; with the shape (members,), the record `target` belongs to the lane.
    """

    weights: str
    source: type
    path: str
    target: type
    field: str


@dataclass(frozen=True)
class Refuse(Line):
    """Stop the run before its first line if the input of any lane, or member of a lane, is NaN or outside [low, high]."""

    record: type
    field: str
    low: float
    high: float


@dataclass(frozen=True)
class Program:
    """Plans, and the records, tables and arrays that they work on."""

    plans: Mapping[str, tuple[Line, ...]]
    """The plans by name."""
    kept: tuple[type, ...]
    """Record types that persist between runs, numbers per lane; all other records are temporary."""
    given: Mapping[type, Any]
    """Records that all lanes share, by type."""
    inputs: Mapping[type, str] = field(default_factory=dict)
    """Record types of one number that a run reads for each lane: name of the array of shape (lanes,)."""
    outputs: Mapping[type, tuple[str, ...]] = field(default_factory=dict)
    """Record types that a run writes to arrays of shape (lanes,): the name of the array of each number."""
    listed: Mapping[type, str] = field(default_factory=dict)
    """Record types made within :class:`For`: name of the array of shape (lanes, numbers), in which the i-th picked lane of a
    part writes the i-th row of the part."""
    tables: Mapping[type, Any] = field(default_factory=dict)
    """Record types that :class:`Look` reads: a record of arrays of shape (rows,)."""
    rows: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Constant arrays of shape (rows, numbers) that :class:`Show` reads, by name."""
    fixed: Mapping[tuple[type, str], Any] = field(default_factory=dict)
    """Fields equal in all lanes, which need no memory, by (record type, dotted name): a number, or (type, field) of `given`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of stages that are no records, by the name of the parameter."""
    members: tuple[Program, ...] = ()
    """The members that every lane has, such as the assets of a basket: programs without plans, with the records and numbers of
    one member. They differ in their numbers only. Their arrays `inputs` and `listed` have a leading axis for the member."""
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """The weights of :class:`Sum`, by name."""


@lru_cache(maxsize=4096)
def taken_by(stage: Stage) -> tuple[Any, ...]:
    """Return, for each parameter of a stage, the record type that it takes, or the parameter's name if it takes no record."""
    hints = get_type_hints(stage)
    return tuple(hints[name] if is_record(hints.get(name)) else name for name in signature(stage).parameters)


@lru_cache(maxsize=4096)
def made_by(stage: Stage) -> tuple[Any, ...]:
    """Return the record types that a stage makes (for a stage of :class:`Look`, :class:`Show`, :class:`Add`: plain types)."""
    made = get_type_hints(stage)["return"]
    return get_args(made) if get_origin(made) is tuple else (made,)


def walk(lines: tuple[Line, ...]) -> Iterator[Line]:
    """Yield the lines of a plan in order, each followed by the lines nested in it."""
    for line in lines:
        yield line
        yield from walk(line.lines)


def of_members(program: Program) -> set[Any]:
    """Return the record types that belong to the members of the lanes of a program."""
    found: set[Any] = set()
    for member in program.members[:1]:
        found |= {*member.kept, *member.given, *member.inputs, *member.listed, *member.tables}
    for line in (line for plan in program.plans.values() for line in walk(plan)):
        if isinstance(line, Each):
            passes = (inner for inner in walk(line.lines) if isinstance(inner, Pass))
            found |= {record for inner in passes for stage in inner.stages for record in made_by(stage)}
        elif isinstance(line, Sum) and program.weights[line.weights].ndim > 1:
            found.add(line.target)
    return found


def crossing(program: Program) -> set[Any]:
    """Return the temporary record types of members that a line takes from another :class:`Each` or :class:`Sum`."""
    found: set[Any] = set()
    for line in (line for plan in program.plans.values() for line in walk(plan)):
        if isinstance(line, Sum):
            found |= {line.source, line.target}
        elif isinstance(line, Each):
            made: set[Any] = set()
            for inner in walk(line.lines):
                for stage in inner.stages:
                    found |= set(taken_by(stage)) - made
                    made |= set(made_by(stage)) if isinstance(inner, Pass) else set()
                shown = (inner.record, inner.behind) if isinstance(inner, Show) else ()
                found |= {record for record in shown if record is not None} - made
                made |= set(inner.records) if isinstance(inner, Look) else set()
    outliving = {record for member in program.members[:1] for record in (*member.kept, *member.given, *member.inputs)}
    return (found & of_members(program)) - outliving


def refused(program: Program, name: str, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return -1 - lane for the first lane whose input a :class:`Refuse` line of the plan rejects, else 0."""
    for line in program.plans[name]:
        if isinstance(line, Refuse):
            inputs = {**program.inputs, **(program.members[0].inputs if program.members else {})}
            values = np.atleast_2d(arrays[inputs[line.record]])
            wrong = ~((line.low <= values) & (values <= line.high)).all(axis=0)
            if wrong.any():
                return -1 - int(wrong.argmax())
    return 0
