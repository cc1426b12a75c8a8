"""Run a program on numpy arrays: the readable reference for the compiled loops.

Every stage is called once for all lanes, on records whose numbers are arrays of shape (lanes,).
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.plan import (
    Add,
    Each,
    For,
    Line,
    Look,
    Pass,
    Pick,
    Program,
    Refuse,
    Repeat,
    Show,
    Sum,
    Unless,
    made_by,
    of_members,
    refused,
    taken_by,
)
from hyperexec_env.records import fill_record, filler, leaves, map_leaves, numbers

__all__ = ["ArrayLanes"]

_ALL: Any = slice(None)


class ArrayLanes:
    """The lanes of a program, run on arrays; :class:`~hyperexec_env.backends.compiled.CompiledLanes` has the same methods.

    Args:
        program: The program.
        lanes: Number of lanes.
    """

    def __init__(self, program: Program, lanes: int) -> None:
        """Start without persistent records: the first run makes them, or :meth:`put` sets them."""
        self.program, self.lanes = program, lanes
        self.parts = [(0, lanes)]
        self._persistent: dict[Any, Any] = {}
        self._own = of_members(program)
        self._of_members: list[dict[Any, Any]] = [{} for _ in program.members]
        """Persistent records of each member."""
        self._tables, *self._member_tables = (
            {record: _Table(record, columns) for record, columns in source.tables.items()}
            for source in (program, *program.members)
        )

    def run(self, name: str, arrays: dict[str, Any]) -> list[int]:
        """Run a plan; see :meth:`CompiledLanes.run <hyperexec_env.backends.compiled.CompiledLanes.run>`."""
        plan, program = self.program.plans[name], self.program
        wrong = refused(program, name, arrays)
        if wrong:
            return [wrong]
        self._arrays = arrays
        self._known: dict[Any, Any] = {**program.given, **program.extra, **self._persistent}
        self._known |= {record: record(arrays[array]) for record, array in program.inputs.items() if array in arrays}
        self._members: list[dict[Any, Any]] = []
        for number, (member, kept) in enumerate(zip(program.members, self._of_members, strict=True)):
            given = {record: record(arrays[array][number]) for record, array in member.inputs.items() if array in arrays}
            self._members.append({**member.given, **kept, **given})
        self._picked: dict[str, NDArray[np.int64]] = {}
        self._run(plan)
        self._persistent = {record: self._known[record] for record in program.kept if record in self._known}
        self._of_members = [
            {record: known[record] for record in member.kept if record in known}
            for member, known in zip(program.members, self._members, strict=True)
        ]
        for record, names in program.outputs.items():
            for array, values in zip(names, self._known.get(record, ()), strict=False):
                arrays[array][:] = values
        last = [line.name for line in plan if isinstance(line, Pick)]
        return [len(self._picked[last[-1]]) if last else 0]

    def _run(self, lines: Iterable[Line]) -> None:
        """Execute lines for all lanes."""
        for line in lines:
            if isinstance(line, Pick):
                flags = getattr(self._known[line.record], line.field)  # a single number is the flag of all lanes
                self._picked[line.name] = np.flatnonzero(np.broadcast_to(flags, self.lanes))
            elif isinstance(line, Unless):
                if len(self._picked[line.name]) < self.lanes:
                    self._run(line.lines)
            elif isinstance(line, For):
                if self._picked[line.name].size:
                    self._run_for(line.lines, self._picked[line.name])
            elif isinstance(line, Repeat):
                for _ in range(getattr(self._known[line.record], line.field)):
                    self._run(line.lines)
            elif not isinstance(line, Refuse):
                self._execute(line, self._known, self._members, _ALL)

    def _run_for(self, lines: Iterable[Line], lanes: NDArray[np.int64]) -> None:
        """Execute lines for picked lanes: gather their numbers, execute, scatter the records that changed."""
        sources = (self.program, *self.program.members)
        fixed = [{*source.given, *source.extra} for source in sources]
        every = [self._known, *self._members]
        some = [_some(known, names, lanes) for known, names in zip(every, fixed, strict=True)]
        before = [dict(known) for known in some]
        for line in lines:
            self._execute(line, some[0], some[1:], lanes)
        for number, (source, known) in enumerate(zip(sources, some, strict=True)):
            for key, value in known.items():
                if key in source.listed:
                    target = self._arrays[source.listed[key]]
                    rows = target[number - 1] if number else target
                    for column, values in enumerate(numbers(value)):
                        rows[: len(lanes), column] = values
                elif value is not before[number].get(key):
                    every[number][key] = _scattered(every[number].get(key), value, lanes, self.lanes)

    def _execute(self, line: Line, known: dict[Any, Any], members: list[dict[Any, Any]], lanes: Any) -> None:
        """Execute one line on the records `known` of `lanes` and those of their members; the line adds the records it makes."""
        if isinstance(line, Each):
            for number, own in enumerate(members):
                both = {**known, **own}
                for inner in line.lines:
                    self._execute_line(inner, both, lanes, number)
                own.update((record, value) for record, value in both.items() if record in self._own)
        elif isinstance(line, Sum):
            values = np.stack([np.broadcast_to(_leaf(own[line.source], line.path), self._count(lanes)) for own in members])
            weights = self.program.weights[line.weights]
            totals = _weighted(weights, values)
            if weights.ndim > 1:
                for own, total in zip(members, totals, strict=True):
                    _set(own, line, total)
            else:
                _set(known, line, totals)
        else:
            self._execute_line(line, known, lanes)

    def _count(self, lanes: Any) -> int:
        """Return the number of the lanes of a line."""
        return self.lanes if lanes is _ALL else len(lanes)

    def _execute_line(self, line: Line, known: dict[Any, Any], lanes: Any, member: int | None = None) -> None:
        """Execute one line on the records of the lanes, or of one of their members."""
        tables = self._tables if member is None else {**self._tables, **self._member_tables[member]}
        if isinstance(line, Pass):
            for stage in line.stages:
                made = _call(stage, known)
                known.update(zip(made_by(stage), made if len(made_by(stage)) > 1 else (made,), strict=True))
        elif isinstance(line, Look):
            place = _call(line.place, known)
            for record in line.records:
                known[record] = tables[record].look(place)
        elif isinstance(line, Show):
            rows = self.program.rows if member is None else {**self.program.rows, **self.program.members[member].rows}
            row = rows[line.rows].take(_call(line.place, known), axis=0)
            target = self._arrays[line.target] if lanes is _ALL else self._arrays[line.target][: len(lanes)]
            seen, behind = (() if record is None else known[record] for record in (line.record, line.behind))
            width = len(seen) + row.shape[-1] + len(behind)
            first = line.first + (member or 0) * width
            for column, values in enumerate(seen, start=first):
                target[:, column] = values
            target[:, first + len(seen) : first + width - len(behind)] = row
            for column, values in enumerate(behind, start=first + width - len(behind)):
                target[:, column] = values
        elif isinstance(line, Add):
            count = self._count(lanes)
            index, value = (np.broadcast_to(values, count) for values in _call(line.stage, known))
            np.add.at(self._arrays[line.target][0], index, value)

    def record(self, kind: Any) -> Any:
        """Return a copy of a persistent record, arrays of shape (lanes,); of members, a list over members."""

        def copied(record: Any) -> Any:
            return map_leaves(lambda values: np.array(np.broadcast_to(values, self.lanes)), record)

        return [copied(own[kind]) for own in self._of_members] if kind in self._own else copied(self._persistent[kind])

    def put(self, kind: Any, record: Any) -> None:
        """Set a persistent record to a copy of `record`, arrays of shape (lanes,), for members a list of them."""
        if kind in self._own:
            for own, one in zip(self._of_members, record, strict=True):
                own[kind] = map_leaves(np.array, one)
        else:
            self._persistent[kind] = map_leaves(np.array, record)

    def close(self) -> None:
        """Do nothing: there are no threads to stop."""


def _some(known: dict[Any, Any], fixed: set[Any], lanes: NDArray[np.int64]) -> dict[Any, Any]:
    """Return the records of some lanes; those that all lanes share stay."""
    return {key: value if key in fixed else _gathered(value, lanes) for key, value in known.items()}


def _weighted(weights: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return weighted sums of the rows of `values`, added from the first row to the last, for each row of weights."""
    weights = weights.T[..., None]
    total: NDArray[np.float64] = weights[0] * values[0]
    for weight, row in zip(weights[1:], values[1:], strict=True):
        total += weight * row
    return total


def _leaf(record: Any, path: str) -> Any:
    """Return a number of a record by its dotted name."""
    return attrgetter(path)(record)


def _set(known: dict[Any, Any], line: Sum, total: Any) -> None:
    """Set the field of a record that a :class:`Sum` makes; a record begins without numbers."""
    record = known.get(line.target) or filler(line.target)(0.0)
    known[line.target] = record._replace(**{line.field: total})


class _Table:
    """A table of records, with all numbers of one machine type in one array, which one `take` reads."""

    def __init__(self, record: Any, columns: Any) -> None:
        """Stack the columns of each machine type."""
        self._record, machines = record, [machine for _, machine in leaves(record)]
        by_machine: dict[str, list[Any]] = {machine: [] for machine in machines}
        self._places: list[tuple[str, int]] = []
        """Machine type and row of the stack of each number of the record."""
        for machine, column in zip(machines, numbers(columns), strict=True):
            self._places.append((machine, len(by_machine[machine])))
            by_machine[machine].append(column)
        self._stacks = {machine: np.stack(column) for machine, column in by_machine.items()}

    def look(self, place: Any) -> Any:
        """Return the record of some rows of the table, arrays of the shape of `place`."""
        rows = {machine: stack.take(place, axis=1) for machine, stack in self._stacks.items()}
        return fill_record(self._record, iter([rows[machine][index] for machine, index in self._places]))


def _call(stage: Any, known: dict[Any, Any]) -> Any:
    """Call a stage on the records that it takes."""
    return stage(*(known[record] for record in taken_by(stage)))


def _gathered(record: Any, lanes: NDArray[np.int64]) -> Any:
    """Return a record with the numbers of some lanes; a number that is no array is equal in all lanes and stays."""
    return map_leaves(lambda values: values[lanes] if np.ndim(values) else values, record)


def _scattered(record: Any, some: Any, lanes: NDArray[np.int64], count: int) -> Any:
    """Return a record of `count` lanes: the numbers `some` in the lanes `lanes`, those of `record` (None: zeros) elsewhere."""

    def put(before: Any, values: Any) -> NDArray[Any]:
        after = np.array(np.broadcast_to(before, count), dtype=np.result_type(before, values))
        after[lanes] = values
        return after

    if record is None:
        record = map_leaves(lambda values: np.zeros_like(values, shape=()), some)
    return map_leaves(put, record, some)
