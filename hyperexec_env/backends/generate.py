"""Write the loops of a program from its records and the signatures of its stages.

Each line of a plan becomes one short loop over the lanes of a tile, without branches and with literal distances, which is what
lets a compiler work on several lanes at once. :class:`Layout` is the only place where columns are counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

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
    taken_by,
    walk,
)
from hyperexec_env.records import fields_of, is_record, leaves, numbers

__all__ = ["TILE", "Layout", "Loop", "write"]

TILE: Final = 264
"""Lanes of a tile: what a line needs of them stays within the second cache. Not a power of two, which would map the columns
of a lane to the same few sets of the cache."""

_VIEWS: Final = {"float64": "F", "int64": "I", "uint64": "U", "float32": "S", "uint32": "W"}
_ROOMS: Final = {"kept": "float64", "draft": "float64", "single": "float32"}
"""Buffers and the type that each is allocated in: what is remembered, and what is needed within a run, by width."""


class Function(NamedTuple):
    """A function of a loop as text."""

    name: str
    arguments: tuple[str, ...]
    text: str
    names: dict[str, Any]
    """Stages and records that the text calls."""


class Loop(NamedTuple):
    """A plan as text: a driver over the tiles, and one function for each of its lines."""

    driver: Function
    lines: tuple[Function, ...]
    arrays: tuple[str, ...]
    """Names of the arrays that the plan reads or writes beside the buffers, in the order of the driver's arguments."""
    sums: frozenset[str]
    """Arrays of these that numbers are added to: each part of the lanes has its own."""


class Layout:
    """Where each number of each record of lane j lies."""

    def __init__(self, program: Program) -> None:
        """Lay out what lanes remember; the rest is laid out when it is first used."""
        self.program = program
        self.columns = dict.fromkeys(_ROOMS, 0)
        self._places: dict[tuple[type, str], str] = {}
        self.offsets: dict[tuple[type, str], int] = {}
        """Place of each number of a given record in the array `given`."""
        for record in program.given:
            for path, kind in leaves(record):
                if kind != "constant":
                    self.offsets[record, path] = len(self.offsets)
        self.tables = {record: len(self.offsets) + index for index, record in enumerate(program.tables)}
        """Place in the array `given` of the number that says where the table of a record begins."""
        for record in program.kept:
            for path, kind in leaves(record):
                self.place(record, path, kind)

    def kept_columns(self, record: type) -> dict[str, tuple[int, str]]:
        """Return column and machine type of each number of a kept record that has a column."""
        found = {}
        for path, kind in leaves(record):
            if (record, path) not in self.program.fixed:
                found[path] = (int(re.findall(r"\[(\d+) \+ j\]", self.place(record, path, kind))[0]) // TILE, kind)
        return found

    def place(self, record: type, path: str, kind: str) -> str:
        """Return the text of one number of a record of lane j."""
        program, key = self.program, (record, path)
        if key in program.fixed:
            value = program.fixed[key]
            return f"{_named(value[0])}.{value[1]}" if isinstance(value, tuple) else repr(value)
        if key not in self._places:
            self._places[key] = self._new_place(record, path, kind)
        return self._places[key]

    def _new_place(self, record: type, path: str, kind: str) -> str:
        program = self.program
        if record in program.inputs:
            return f"{program.inputs[record]}[j]"
        names = [name for name, _ in leaves(record)]
        if record in program.outputs:
            return f"{program.outputs[record][names.index(path)]}[j]"
        if record in program.listed:
            return f"{program.listed[record]}[at + i, {names.index(path)}]"
        room = "kept" if record in program.kept else "single" if kind in ("float32", "uint32") else "draft"
        text = f"{room}_{_VIEWS[kind]}[{self.columns[room] * TILE} + j]"
        self.columns[room] += 1
        return text

    def stored(self, record: type) -> list[tuple[str, str]]:
        """Return name and text of each number of a record that goes through memory."""
        fixed = self.program.fixed
        return [(path, self.place(record, path, kind)) for path, kind in leaves(record) if (record, path) not in fixed]

    def load(self, record: Any, top: Any = None, prefix: str = "") -> str:
        """Return the text that makes a record of lane j."""
        if isinstance(record, str):
            return record
        if top is None and record in self.program.given:
            return _named(record)
        parts = []
        for name, kind in fields_of(record):
            path = prefix + name
            parts.append(self.load(kind, top or record, f"{path}.") if is_record(kind) else self._number(top or record, path))
        return f"{record.__name__}({', '.join(parts)})"

    def _number(self, record: type, path: str) -> str:
        return self.place(record, path, dict(leaves(record))[path])

    def given(self, record: type) -> str:
        """Return the text that makes a given record."""
        values = self.program.given[record]

        def text(kind: type, value: Any, prefix: str) -> str:
            parts = []
            for (name, inner), part in zip(fields_of(kind), value, strict=True):
                path = prefix + name
                if is_record(inner):
                    parts.append(text(inner, part, f"{path}."))
                elif inner == "constant":
                    parts.append(repr(part))
                else:
                    number = f"given[{self.offsets[record, path]}]"
                    parts.append(f"int({number})" if inner == "int64" else number)
            return f"{kind.__name__}({', '.join(parts)})"

        return f"{_named(record)} = {text(record, values, '')}"


def _named(record: type) -> str:
    """Return the name of the variable that holds a given record."""
    return f"the_{record.__name__}"


def _indent(lines: Sequence[str], by: int = 1) -> list[str]:
    return ["    " * by + line for line in lines]


def _at_once(sources: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Read all numbers before the first is written: then the compiler may move several at once."""
    return [f"t{i} = {s}" for i, s in enumerate(sources)] + [f"{t} = t{i}" for i, t in enumerate(targets)]


class _Writer:
    """Writes the lines of one plan."""

    def __init__(self, layout: Layout, plan: tuple[Line, ...]) -> None:
        """Find out which records go through memory."""
        self.layout, self.arguments = layout, _arrays(layout.program, plan)
        self.needed = _through_memory(layout.program, plan)
        self.functions: dict[str, Function] = {}
        shown = {line.target for line in plan if isinstance(line, Show)}
        outputs = {name for names in layout.program.outputs.values() for name in names}
        self.by_lane = {*layout.program.inputs.values(), *outputs, *shown}
        """Arrays with one row for each lane: a line gets the rows of its tile."""
        self.picks = [line.name for line in walk(plan) if isinstance(line, Pick)]

    # what a line does with lane j

    def body(self, line: Line) -> list[str]:
        """Return what a line does with lane j."""
        if isinstance(line, Pass):
            return self._pass(line)
        if isinstance(line, Look):
            return self._look(line)
        if isinstance(line, Show):
            return self._show(line)
        if isinstance(line, Add):
            return [f"index, value = {self._call(line.stage, {})}", f"{line.target}[index] += value"]
        raise TypeError(f"a {type(line).__name__} cannot stand within another line")

    def _call(self, stage: Callable[..., Any], made: dict[Any, str]) -> str:
        return f"{stage.__name__}({', '.join(made.get(record) or self.layout.load(record) for record in taken_by(stage))})"

    def _pass(self, line: Pass) -> list[str]:
        text: list[str] = []
        made: dict[Any, str] = {}
        for stage in line.stages:
            call, results = self._call(stage, made), made_by(stage)
            made |= {record: f"r_{record.__name__}" for record in results}
            text.append(f"{', '.join(made[record] for record in results)} = {call}")
        for record, name in made.items():
            if record in self.needed:
                text += [f"{place} = {name}.{path}" for path, place in self.layout.stored(record)]
        return text

    def _look(self, line: Look) -> list[str]:
        text = [f"c = {self._call(line.place, {})}"]
        sources: list[str] = []
        targets: list[str] = []
        for number, record in enumerate(line.records):
            columns = self.layout.stored(record)
            begin = f"np.uint64(given[{self.layout.tables[record]}])"
            text.append(f"c{number} = {begin} + np.uint64(c) * np.uint64({len(columns)})")
            kinds = dict(leaves(record))
            sources += [f"tables_{_VIEWS[kinds[path]]}[c{number} + np.uint64({i})]" for i, (path, _) in enumerate(columns)]
            targets += [place for _, place in columns]
        return text + _at_once(sources, targets)

    def _show(self, line: Show) -> list[str]:
        width = self.layout.program.rows[line.rows].shape[1]
        seen = [] if line.record is None else [place for _, place in self.layout.stored(line.record)]
        row = "at + i" if self.inside else "j"
        text = [f"c = np.uint64({self._call(line.place, {})}) * np.uint64({width})", f"target = {line.target}[{row}]"]
        text += _at_once(
            [f"{line.rows}[c + np.uint64({i})]" for i in range(width)], [f"target[{len(seen) + i}]" for i in range(width)]
        )
        return text + _at_once(seen, [f"target[{i}]" for i in range(len(seen))])

    inside = False
    """Whether the line is written for picked lanes."""

    # functions

    def function(self, lines: Sequence[Line], name: str = "") -> Function:
        """Return the function of a line for all lanes of a tile, or of some lines for picked lanes."""
        self.inside = bool(name)
        text = [part for line in lines for part in self.body(line)]
        if name:
            text = ["for i in range(count):", "    j = lanes[i]", *_indent(text)]
        else:
            text = ["for j in range(n):", *_indent(text)]
        return self._finish(text, [stage for line in lines for stage in line.stages], ["n" if not name else "count"])

    def pick(self, line: Pick) -> Function:
        """Return the function that lists lanes and returns how many they are."""
        flag = self.layout._number(line.record, line.field)
        text = ["count = 0", "for j in range(n):", f"    count += {flag} != 0", "if count > 0:", "    i = 0"]
        text += ["    for j in range(n):", "        lanes[i] = j", f"        i += {flag} != 0", "return count"]
        return self._finish(text, [], ["n"])

    def _finish(self, text: list[str], stages: list[Any], counts: list[str]) -> Function:
        words = set(re.findall(r"\w+", "\n".join(text)))
        names: dict[str, Any] = {stage.__name__: stage for stage in stages}
        head = []
        for record in self.layout.program.given:
            if _named(record) in words:
                head.append(self.layout.given(record))
                names |= _types(record)
        for record in [r for stage in stages for r in (*taken_by(stage), *made_by(stage))]:
            names |= _types(record)
        buffers = set()
        for view in sorted(w for w in words if re.fullmatch(r"(kept|draft|single|tables)_[FIUSW]", w)):
            room, letter = view.split("_")
            kind = next(kind for kind, known in _VIEWS.items() if known == letter)
            buffers.add(room)
            head.append(f"{view} = {room}.view(np.{kind})")
        words |= set(re.findall(r"\w+", "\n".join(head)))
        order = ("given", "tables", "kept", "draft", "single", "lanes", "at", *self.arguments)
        arguments = (*counts, *(word for word in order if word in words or word in buffers))
        body = "\n".join(_indent([*head, *text]))
        found = hashlib.sha256(f"{arguments}{body}".encode()).hexdigest()[:8]
        label = "_".join(stage.__name__ for stage in stages) or "pick"
        name = f"{label}_{found}"
        function = Function(name, arguments, f"def {name}({', '.join(arguments)}):\n{body}\n", names)
        self.functions[name] = function
        return function

    # the driver

    def calls(self, plan: tuple[Line, ...]) -> list[str]:
        """Return the lines of the driver within a tile."""
        text: list[str] = []
        for line in plan:
            if isinstance(line, Pick):
                text.append(f"n_{line.name} = {self._call_line(self.pick(line), line.name)}")
            elif isinstance(line, Unless):
                text += [f"if n_{line.name} < n:", *_indent(self.calls(line.lines))]
            elif isinstance(line, For):
                call = self._call_line(self.function(line.lines, line.name), line.name)
                text += [f"if n_{line.name} > 0:", f"    {call}"]
            elif isinstance(line, Repeat):
                times = f"int(given[{self.layout.offsets[line.record, line.field]}])"
                text += [f"for _ in range({times}):", *_indent(self.calls(line.lines))]
            elif not isinstance(line, Refuse):
                text.append(self._call_line(self.function([line])))
        return text

    def _call_line(self, function: Function, picked: str = "") -> str:
        put = {"kept": "tile", "lanes": f"lanes_{picked}", "count": f"n_{picked}", "at": f"start + total_{picked}"}
        put |= {name: f"{name}[first:]" for name in self.by_lane}
        return f"{function.name}({', '.join(put.get(name, name) for name in function.arguments)})"


def _types(record: Any) -> dict[str, Any]:
    """Return a record and the records within it, by name."""
    if not is_record(record):
        return {}
    inner = [kind for _, kind in fields_of(record) if is_record(kind)]
    return {record.__name__: record} | {name: kind for part in inner for name, kind in _types(part).items()}


def _through_memory(program: Program, plan: tuple[Line, ...]) -> set[Any]:
    """Return the records that a line takes from another, or that outlive the plan.

    Raises:
        TypeError: A stage takes a record that nothing before it makes; the message names both.
    """
    lasting = {*program.kept, *program.outputs, *program.listed}
    there = {*lasting, *program.given, *program.inputs, *program.extra}
    needed: set[Any] = set(lasting)
    for line in walk(plan):
        made: set[Any] = set()
        for stage in line.stages:
            for record in set(taken_by(stage)) - made:
                if record not in there:
                    name = record if isinstance(record, str) else record.__name__
                    raise TypeError(f"stage {stage.__name__} takes {name}, which no line before it makes")
                needed.add(record)
            made |= set(made_by(stage)) if isinstance(line, Pass) else set()
        if isinstance(line, Show) and line.record is not None:
            if line.record not in there:
                raise TypeError(f"line Show takes {line.record.__name__}, which no line before it makes")
            needed.add(line.record)
        if isinstance(line, Pick) and line.record not in there:
            raise TypeError(f"line Pick takes {line.record.__name__}, which no line before it makes")
        for record in line.records if isinstance(line, Look) else ():
            if record not in program.tables:
                raise TypeError(f"line Look takes {record.__name__}, which has no table")
        there |= made | set(line.records if isinstance(line, Look) else ())
    return needed


def _arrays(program: Program, plan: tuple[Line, ...]) -> tuple[str, ...]:
    """Return the names of the arrays that a plan may read or write beside the buffers."""
    outputs = [name for names in program.outputs.values() for name in names]
    names = [*program.inputs.values(), *outputs, *program.listed.values()]
    names += [getattr(line, key) for line in walk(plan) for key in ("target", "rows") if hasattr(line, key)]
    return tuple(dict.fromkeys([*names, *program.extra]))


def write(name: str, layout: Layout) -> Loop:
    """Return the source of a plan of a program.

    The driver is `name(given, tables, kept, draft, single, lists, *arrays, start, stop)`; it works on the lanes from `start`,
    where a tile begins, to `stop`, and returns how many lanes were picked last, or -1 - lane where a line refuses a number.

    Args:
        name: Name of the plan.
        layout: The layout of the program, shared by its plans.

    Raises:
        TypeError: The lines do not fit together.
    """
    plan = layout.program.plans[name]
    writer = _Writer(layout, plan)
    inside = [
        f"n = min({TILE}, stop - first)",
        f"tile = kept[(first // {TILE}) % len(kept)]",
        *writer.calls(plan),
        *(f"total_{pick} += n_{pick}" for pick in writer.picks),
    ]
    text: list[str] = []
    for line in plan:
        if isinstance(line, Refuse):
            value = f"{layout.program.inputs[line.record]}[lane]"
            test = f"not ({line.low!r} <= {value} <= {line.high!r})"
            text += ["wrong = 0", "for lane in range(start, stop):", f"    wrong += {test}", "if wrong > 0:"]
            text += ["    for lane in range(start, stop):", f"        if {test}:", "            return -1 - lane"]
    for index, pick in enumerate(writer.picks):
        text += [f"total_{pick} = 0", f"lanes_{pick} = lists[{index * TILE} : {(index + 1) * TILE}]"]
    text += [f"for first in range(start, stop, {TILE}):", *_indent(inside)]
    text.append(f"return total_{writer.picks[-1]}" if writer.picks else "return 0")
    words = set(re.findall(r"\w+", "\n".join(text)))
    arrays = tuple(array for array in writer.arguments if array in words)
    every = ("given", "tables", "kept", "draft", "single", "lists", *arrays, "start", "stop")
    body = "\n".join(_indent(text))
    driver = Function(name, every, f"def {name}({', '.join(every)}):\n{body}\n", {})
    sums = frozenset(line.target for line in walk(plan) if isinstance(line, Add))
    return Loop(driver, tuple(writer.functions.values()), arrays, sums)


def pack(program: Program, layout: Layout) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the arrays `given` and `tables` of a program."""
    given = [float(value) for record in program.given for value in _numbers(record, program.given[record])]
    parts: list[np.ndarray[Any, Any]] = []
    begins: list[float] = []
    length = 0
    for record, columns in program.tables.items():
        flat = dict(_columns(record, columns))
        stored = [flat[path] for path, _ in leaves(record) if (record, path) not in program.fixed]
        words = [np.ascontiguousarray(column).view(np.float64) for column in stored]
        begins.append(float(length))
        parts.append(np.stack(words, axis=1).ravel())
        length += parts[-1].size
    return np.array([*given, *begins]), np.concatenate([*parts, np.zeros(1)])


def _numbers(kind: Any, record: Any) -> Iterator[Any]:
    """Yield the numbers of a given record that are not written into the text."""
    machines = dict(leaves(kind))
    return (value for path, value in _columns(kind, record) if machines[path] != "constant")


def _columns(kind: Any, record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each number of a record."""
    return zip((path for path, _ in leaves(kind)), numbers(record), strict=True)
