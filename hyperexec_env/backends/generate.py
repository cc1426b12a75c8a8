"""Write the loops of a program from its records and the signatures of its stages.

Each line of a plan becomes one short loop over the lanes of a tile, without branches and with literal distances, which is what
lets a compiler work on several lanes at once. :class:`Layout` is the only place where columns are counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
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
_WIDE: Final = {"float32": "float64", "uint32": "uint64"}
"""Type in which a number of 32 bits is stored among numbers of 64 bits; it holds each of them exactly."""
_ROOMS: Final = {"kept": "float64", "draft": "float64", "single": "float32"}
"""Buffers and the type that each is allocated in: what is remembered, and what is needed within a run, by width."""

_NOWHERE: Final = ", which no line before it makes for these lanes"


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
                begin = int(re.findall(r"\[(\d+) \+ j\]", self.place(record, path, kind))[0])
                found[path] = (begin // (TILE * _per_place(kind)), kind)
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
        begin = self.columns[room] * TILE * (_per_place(kind) if room == "kept" else 1)
        text = f"{room}_{_VIEWS[kind]}[{begin} + j]"
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
                    parts.append(_given_number(self.offsets[record, path], inner))
            return f"{kind.__name__}({', '.join(parts)})"

        return f"{_named(record)} = {text(record, values, '')}"


def _named(record: type) -> str:
    """Return the name of the variable that holds a given record."""
    return f"the_{record.__name__}"


def _given_number(place: int, kind: str) -> str:
    """Return the text of a number in the array `given`."""
    wide = _WIDE.get(kind, kind)
    number = f"given[{place}]" if wide == "float64" else f"given.view(np.{wide})[{place}]"
    return f"np.{kind}({number})" if kind in _WIDE else number


def _per_place(kind: str) -> int:
    """Return how many numbers of a machine type have the size of one number of 64 bits."""
    return 8 // np.dtype(kind).itemsize


def _indent(lines: Sequence[str], by: int = 1) -> list[str]:
    return ["    " * by + line for line in lines]


def _words(lines: Sequence[str]) -> set[str]:
    """Return the names in a text; the name of a field is none."""
    return set(re.findall(r"(?<![\w.])[^\W\d]\w*", "\n".join(lines)))


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
        shown = {target for target, picked in _shown(plan) if not picked}
        for target in shown & {target for target, picked in _shown(plan) if picked}:
            raise TypeError(f"the array {target!r} cannot show a row for each lane and rows of picked lanes")
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
            kinds = {path: _VIEWS[_WIDE.get(kind, kind)] for path, kind in leaves(record)}
            sources += [f"tables_{kinds[path]}[c{number} + np.uint64({i})]" for i, (path, _) in enumerate(columns)]
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
        words = _words(text)
        given = [record for record in self.layout.program.given if _named(record) in words]
        head = [self.layout.given(record) for record in given]
        passed = [record for stage in stages for record in (*taken_by(stage), *made_by(stage))]
        types = [pair for record in (*given, *passed) for pair in _types(record)]
        names = _by_name([*((stage.__name__, stage) for stage in stages), *types])
        buffers = set()
        for view in sorted(w for w in words if re.fullmatch(r"(kept|draft|single|tables)_[FIUSW]", w)):
            room, letter = view.split("_")
            kind = next(kind for kind, known in _VIEWS.items() if known == letter)
            buffers.add(room)
            head.append(f"{view} = {room}.view(np.{kind})")
        words |= _words(head)
        order = ("given", "tables", "kept", "draft", "single", "lanes", "at", *self.arguments)
        arguments = (*counts, *(word for word in order if word in words or word in buffers))
        body = "\n".join(_indent([*head, *text]))
        found = hashlib.sha256(f"{arguments}{body}".encode()).hexdigest()[:8]
        label = "_".join(stage.__name__ for stage in stages) or "pick"
        name = f"{label}_{found}"
        function = Function(name, arguments, f"def {name}({', '.join(arguments)}):\n{body}\n", names)
        if self.functions.setdefault(name, function).names != names:
            raise TypeError(f"two stages or records of a plan are called alike among {sorted(names)}; rename one")
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
                times = _given_number(self.layout.offsets[line.record, line.field], "int64")
                text += [f"for _ in range({times}):", *_indent(self.calls(line.lines))]
            elif not isinstance(line, Refuse):
                text.append(self._call_line(self.function([line])))
        return text

    def _call_line(self, function: Function, picked: str = "") -> str:
        put = {"kept": "tile", "lanes": f"lanes_{picked}", "count": f"n_{picked}", "at": f"start + total_{picked}"}
        put |= {name: f"{name}[first:]" for name in self.by_lane}
        return f"{function.name}({', '.join(put.get(name, name) for name in function.arguments)})"


def _types(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the type of a record and of the records within it."""
    if is_record(record):
        yield record.__name__, record
        for _, kind in fields_of(record):
            yield from _types(kind)


def _by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return what a text calls, by name.

    Raises:
        TypeError: Two stages, or records, of one name.
    """
    names: dict[str, Any] = {}
    for name, value in pairs:
        if names.setdefault(name, value) is not value:
            raise TypeError(f"two stages or records that meet in a line are called {name!r}; rename one")
    return names


def _through_memory(program: Program, plan: tuple[Line, ...]) -> set[Any]:
    """Return the records that a line takes from another, or that outlive the plan.

    Raises:
        TypeError: A stage takes a record that nothing before it makes; the message names both.
    """
    lasting = {*program.kept, *program.outputs, *program.listed}
    needed: set[Any] = set(lasting)
    _follow(program, plan, {*lasting, *program.given, *program.inputs, *program.extra}, needed)
    return needed


def _follow(program: Program, lines: tuple[Line, ...], there: set[Any], needed: set[Any]) -> set[Any]:
    """Add what the lines take from each other to `needed`; return what they make for all lanes that they are done for.

    Lines for picked lanes leave a record only where the lines for the other lanes make it too.
    """
    made: set[Any] = set()
    some: dict[tuple[str, type], set[Any]] = {}
    for line in lines:
        known = there | made
        if isinstance(line, For):
            some[line.name, type(line)] = some.get((line.name, type(line)), set()) | _follow(program, line.lines, known, needed)
            made |= some.get((line.name, For), set()) & some.get((line.name, Unless), set())
        elif isinstance(line, Repeat):
            made |= _follow(program, line.lines, known, needed)
        else:
            made |= _made_in(program, line, known, needed)
    return made


def _made_in(program: Program, line: Line, known: set[Any], needed: set[Any]) -> set[Any]:
    """Add what one line takes from others to `needed`; return what it makes."""
    made: set[Any] = set()
    for stage in line.stages:
        taken = set(taken_by(stage)) - made
        for record in taken - known:
            raise TypeError(f"stage {stage.__name__} takes {_title(record)}{_NOWHERE}")
        needed |= taken
        made |= set(made_by(stage)) if isinstance(line, Pass) else set()
    if isinstance(line, (Pick, Show)) and line.record is not None:
        if line.record not in known - {*program.given}:
            raise TypeError(f"line {type(line).__name__} takes {_title(line.record)}{_NOWHERE}")
        needed.add(line.record)
    for record in line.records if isinstance(line, Look) else ():
        if record not in program.tables:
            raise TypeError(f"line Look takes {_title(record)}, which has no table")
        made.add(record)
    return made


def _title(record: Any) -> str:
    """Return the name of a record, or of what is taken by its name."""
    return record if isinstance(record, str) else str(record.__name__)


def _shown(lines: Iterable[Line], picked: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the arrays that rows are shown in, and whether the rows are those of picked lanes."""
    for line in lines:
        if isinstance(line, Show):
            yield line.target, picked
        yield from _shown(line.lines, picked or type(line) is For)


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
    words = _words(text)
    arrays = tuple(array for array in writer.arguments if array in words)
    every = ("given", "tables", "kept", "draft", "single", "lists", *arrays, "start", "stop")
    body = "\n".join(_indent(text))
    driver = Function(name, every, f"def {name}({', '.join(every)}):\n{body}\n", {})
    sums = frozenset(line.target for line in walk(plan) if isinstance(line, Add))
    return Loop(driver, tuple(writer.functions.values()), arrays, sums)


def pack(program: Program, layout: Layout) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the arrays `given` and `tables` of a program."""
    given = [_stored(value, kind) for record in program.given for value, kind in _numbers(record, program.given[record])]
    parts: list[np.ndarray[Any, Any]] = []
    begins: list[float] = []
    length = 0
    for record, columns in program.tables.items():
        flat = dict(_columns(record, columns))
        words = [_stored(flat[path], kind) for path, kind in leaves(record) if (record, path) not in program.fixed]
        begins.append(float(length))
        parts.append(np.stack(words, axis=1).ravel())
        length += parts[-1].size
    return np.concatenate([*given, begins]), np.concatenate([*parts, np.zeros(1)])


def _stored(values: Any, kind: str) -> np.ndarray[Any, Any]:
    """Return numbers of a machine type as they are stored among numbers of 64 bits.

    Raises:
        TypeError: The machine type cannot hold what it is given.
    """
    given = np.atleast_1d(values)
    held = np.ascontiguousarray(given, dtype=kind)
    if kind != "float32" and not np.array_equal(held, given, equal_nan=given.dtype.kind == "f"):
        raise TypeError(f"numbers of type {given.dtype} cannot be stored as {kind}")
    return held.astype(_WIDE.get(kind, kind)).view(np.float64)


def _numbers(kind: Any, record: Any) -> Iterator[tuple[Any, str]]:
    """Yield the numbers of a given record that are not written into the text, and their machine types."""
    machines = dict(leaves(kind))
    return ((value, machines[path]) for path, value in _columns(kind, record) if machines[path] != "constant")


def _columns(kind: Any, record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each number of a record."""
    return zip((path for path, _ in leaves(kind)), numbers(record), strict=True)
