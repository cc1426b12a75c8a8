"""Run a program on numpy arrays: the readable reference of the compiled loops. A record holds one array over lanes a field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.plan import (
    Add,
    For,
    Line,
    Look,
    Pass,
    Pick,
    Program,
    Refuse,
    Repeat,
    Show,
    Unless,
    made_by,
    refused,
    taken_by,
)
from hyperexec_env.records import fill_record, leaves, map_leaves, numbers

__all__ = ["ArrayLanes"]

_ALL: Any = slice(None)


class ArrayLanes:
    """The lanes of a program, run on arrays; what :class:`~hyperexec_env.backends.compiled.CompiledLanes` does in loops.

    Args:
        program: The program.
        lanes: Number of lanes.
    """

    def __init__(self, program: Program, lanes: int) -> None:
        """Remember nothing yet."""
        self.program, self.lanes = program, lanes
        self.parts = [(0, lanes)]
        self._kept: dict[Any, Any] = {}
        self._tables = {record: _Table(record, columns) for record, columns in program.tables.items()}

    def run(self, name: str, arrays: dict[str, Any]) -> list[int]:
        """Run a plan; see :meth:`CompiledLanes.run <hyperexec_env.backends.compiled.CompiledLanes.run>`."""
        plan, program = self.program.plans[name], self.program
        wrong = refused(program, name, arrays)
        if wrong:
            return [wrong]
        self._arrays = arrays
        self._known: dict[Any, Any] = {**program.given, **program.extra, **self._kept}
        self._known |= {record: record(arrays[array]) for record, array in program.inputs.items() if array in arrays}
        self._picked: dict[str, NDArray[np.int64]] = {}
        self._run(plan)
        self._kept = {record: self._known[record] for record in program.kept if record in self._known}
        for record, names in program.outputs.items():
            for array, values in zip(names, self._known.get(record, ()), strict=False):
                arrays[array][:] = values
        last = [line.name for line in plan if isinstance(line, Pick)]
        return [len(self._picked[last[-1]]) if last else 0]

    def _run(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if isinstance(line, Pick):
                flags = getattr(self._known[line.record], line.field)  # one number where it is the same for all lanes
                self._picked[line.name] = np.flatnonzero(np.broadcast_to(flags, self.lanes))
            elif isinstance(line, Unless):
                if len(self._picked[line.name]) < self.lanes:
                    self._run(line.lines)
            elif isinstance(line, For):
                if self._picked[line.name].size:
                    self._for(line.lines, self._picked[line.name])
            elif isinstance(line, Repeat):
                for _ in range(getattr(self._known[line.record], line.field)):
                    self._run(line.lines)
            elif not isinstance(line, Refuse):
                self._do(line, self._known, _ALL)

    def _for(self, lines: Iterable[Line], lanes: NDArray[np.int64]) -> None:
        """Do some lines for picked lanes: on a copy of their numbers, which is then put back."""
        fixed = {*self.program.given, *self.program.extra}
        some = {key: value if key in fixed else _taken(value, lanes) for key, value in self._known.items()}
        before = dict(some)
        for line in lines:
            self._do(line, some, lanes)
        for key, value in some.items():
            if key in self.program.listed:
                for column, values in enumerate(numbers(value)):
                    self._arrays[self.program.listed[key]][: len(lanes), column] = values
            elif value is not before.get(key):
                self._known[key] = _put(self._known.get(key), value, lanes, self.lanes)

    def _do(self, line: Line, known: dict[Any, Any], lanes: Any) -> None:
        """Do one line with the records of some lanes."""
        if isinstance(line, Pass):
            for stage in line.stages:
                made = _call(stage, known)
                known.update(zip(made_by(stage), made if len(made_by(stage)) > 1 else (made,), strict=True))
        elif isinstance(line, Look):
            place = _call(line.place, known)
            for record in line.records:
                known[record] = self._tables[record].look(place)
        elif isinstance(line, Show):
            seen = () if line.record is None else known[line.record]
            rows = self.program.rows[line.rows].take(_call(line.place, known), axis=0)
            target = self._arrays[line.target] if lanes is _ALL else self._arrays[line.target][: len(lanes)]
            for column, values in enumerate(seen):
                target[:, column] = values
            target[:, len(seen) :] = rows
        elif isinstance(line, Add):
            count = self.lanes if lanes is _ALL else len(lanes)
            index, value = (np.broadcast_to(values, count) for values in _call(line.stage, known))
            np.add.at(self._arrays[line.target][0], index, value)

    def record(self, kind: Any) -> Any:
        """Return a copy of what the lanes remember in a record, arrays of shape (lanes,)."""
        return map_leaves(lambda values: np.array(np.broadcast_to(values, self.lanes)), self._kept[kind])

    def put(self, kind: Any, record: Any) -> None:
        """Make the lanes remember a record."""
        self._kept[kind] = map_leaves(np.array, record)

    def close(self) -> None:
        """Do nothing: arrays need no threads."""


class _Table:
    """A table of records: the numbers of one machine type in one array, so that one look-up serves all of them."""

    def __init__(self, record: Any, columns: Any) -> None:
        """Stack the columns by type."""
        self._record, machines = record, [machine for _, machine in leaves(record)]
        found: dict[str, list[Any]] = {machine: [] for machine in machines}
        self._places: list[tuple[str, int]] = []
        for machine, column in zip(machines, numbers(columns), strict=True):
            self._places.append((machine, len(found[machine])))
            found[machine].append(column)
        self._stacks = {machine: np.stack(column) for machine, column in found.items()}

    def look(self, place: Any) -> Any:
        """Return the records of some rows."""
        rows = {machine: stack.take(place, axis=1) for machine, stack in self._stacks.items()}
        return fill_record(self._record, iter([rows[machine][index] for machine, index in self._places]))


def _call(stage: Any, known: dict[Any, Any]) -> Any:
    return stage(*(known[record] for record in taken_by(stage)))


def _taken(record: Any, lanes: NDArray[np.int64]) -> Any:
    """Return the numbers of some lanes; a number that is the same for all lanes stays one."""
    return map_leaves(lambda values: values[lanes] if np.ndim(values) else values, record)


def _put(record: Any, some: Any, lanes: NDArray[np.int64], count: int) -> Any:
    """Return a record in which some lanes have other numbers."""

    def put(before: Any, values: Any) -> NDArray[Any]:
        after = np.array(np.broadcast_to(before, count), dtype=np.result_type(before, values))
        after[lanes] = values
        return after

    if record is None:
        record = map_leaves(lambda values: np.zeros_like(values, shape=()), some)
    return map_leaves(put, record, some)
