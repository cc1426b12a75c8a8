"""Write the source of compiled loops from the plans of a program, the fields of its records and the signatures of its stages.

Lanes are processed in *tiles* of :data:`TILE` lanes, whose numbers stay in the processor's cache. Each line of a plan becomes
a function with one short loop over the lanes j of a tile, without branches and with literal offsets, so that the compiler can
vectorise it. A *driver* calls these functions in order, tile by tile. The example of :mod:`~hyperexec_env.backends.plan`
becomes

    def tick_b13a548a(n, kept):                               the line Pass(tick); k is column 0, over is column 1
        for j in range(np.uint64(n)):
            j0 = u0 + j                                       u0 and u264 are np.uint64(0) and np.uint64(264)
            j264 = u264 + j
            a_Clock = Clock(np.float64(kept[j0]).view(np.int64), np.float64(kept[j264]).view(np.int64))
            r_Clock = tick(a_Clock)
            kept[j0] = np.int64(r_Clock.k).view(np.float64)
            kept[j264] = np.int64(r_Clock.over).view(np.float64)

    def step(given, tables, kept, draft, single, lists, start, stop):    the driver
        for first in range(start, stop, 264):
            n = min(264, stop - first)
            tile = kept[(first // 264) % len(kept)]
            tick_b13a548a(n, tile)
            ...

All numbers are in a few flat buffers. A number of a record is one *column* of a buffer, with :data:`TILE` consecutive elements
for each tile. Indices are unsigned: a signed index may count from the end of an array, and a loop that has to ask does not
vectorise. A number of another machine type than the buffer is stored bit for bit (:class:`Place`): arrays are not viewed as
another type, because numba counts the references of a view, which takes longer than a short loop.

    kept      persistent records (:attr:`Program.kept`), float64, shape (tiles, columns * TILE); a function gets one row
    draft     temporary numbers of 64 bits, float64, one tile
    single    temporary numbers of 32 bits, float32, one tile
    given     numbers of the shared records (:attr:`Program.given`), then the start of each table, float64
    tables    the tables (:attr:`Program.tables`) one after another, float64; a row of a table is contiguous
    lists     lists of picked lanes, int64, TILE elements for each Pick

Members of the lanes (:attr:`Program.members`) have buffers with a leading axis for the member; a line within :class:`Each` gets
the row of one member. Temporary numbers of a member that no other :class:`Each` or :class:`Sum` takes are in `draft`.

    own_kept  as `kept`, shape (tiles * members, columns * TILE); own_draft, own_given and own_tables likewise, one row a member

Inputs, outputs and the other arrays of a program are passed as they are. A temporary record that only the line that makes it
takes is a local variable, without memory. :class:`Layout` is the only place that assigns columns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

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
    crossing,
    made_by,
    of_members,
    taken_by,
    walk,
)
from hyperexec_env.backends.sums import SUM_ARGUMENTS, sum_text
from hyperexec_env.records import fields_of, is_record, leaves, numbers

__all__ = ["TILE", "Function", "Layout", "Loop", "Place", "pack", "stored_as", "write"]

TILE: Final = 264
"""Lanes of a tile: the numbers that a line needs fit into the second-level cache. Not a power of two, which would map the
columns of a lane to the same few sets of the cache."""
_MANY, _SMALL_TILE = 16, 72
"""Number of members beyond which a tile has fewer lanes: the numbers of all members of its lanes should stay in the cache."""

_WIDE: Final = {"float32": "float64", "uint32": "uint64"}
"""Machine type of 64 bits that stores a number of 32 bits exactly, in a buffer of double precision."""
_BUFFERS: Final = {
    **{"kept": "float64", "draft": "float64", "single": "float32"},
    **{"own_kept": "float64", "own_draft": "float64"},
}
"""Buffers with columns of lanes and their machine types: persistent numbers, temporary numbers of 64 and of 32 bits; numbers of
members."""
OWN: Final = ("own_given", "own_tables", "own_kept", "own_draft")
"""Arrays of the members, in the order of a driver's arguments."""

_PER_PICK: Final = {"lanes": "lanes_{}", "count": "n_{}", "at": "start + total_{}"}
"""Arguments of functions for picked lanes, as expressions of the driver."""
_NOT_MADE: Final = ", which no line before it makes for these lanes"
"""End of the error of a line that takes a record too early."""


class Place(NamedTuple):
    """One number in memory.

    A buffer of double precision stores integers bit for bit, and numbers of 32 bits widened (:data:`_WIDE`); a buffer of single
    precision stores 32 random bits bit for bit.
    """

    element: str
    """Expression of the element of an array, such as `kept[np.uint64(264) + j]`."""
    kind: str
    """Machine type of the number."""
    buffer: str = ""
    """Machine type of the array; "": that of the number."""

    def read(self) -> str:
        """Return the expression of the number."""
        if self.buffer in ("", self.kind):
            return self.element
        wide = stored_as(self.kind) if self.buffer == "float64" else self.kind
        held = self.element if wide == self.buffer else f"np.{self.buffer}({self.element}).view(np.{wide})"
        return held if wide == self.kind else f"np.{self.kind}({held})"

    def write(self, value: str) -> str:
        """Return the statement that stores the value of an expression."""
        if self.buffer in ("", self.kind):
            return f"{self.element} = {value}"
        wide = stored_as(self.kind) if self.buffer == "float64" else self.kind
        return f"{self.element} = np.{wide}({value})" + ("" if wide == self.buffer else f".view(np.{self.buffer})")


class Function(NamedTuple):
    """The source of one function: of a line of a plan, or of a driver."""

    name: str
    arguments: tuple[str, ...]
    text: str
    names: dict[str, Any]
    """Stages and record types that the text uses, by name."""
    constants: dict[str, Any]
    """Numbers that the text uses, by name: `u264` is np.uint64(264)."""


class Loop(NamedTuple):
    """The source of a plan."""

    driver: Function
    """The function that calls the functions of the lines for each tile."""
    lines: tuple[Function, ...]
    """The functions of the lines."""
    arrays: tuple[str, ...]
    """Names of the arrays that the plan reads or writes besides the buffers, in the order of the driver's arguments."""
    sums: frozenset[str]
    """Names of those arrays that :class:`Add` lines add to; each part of the lanes passes its own row."""


class Layout:
    """The position in memory of each number of each record, and the expressions that read it.

    `self.columns` counts the columns of each buffer.
    """

    def __init__(self, program: Program) -> None:
        """Assign columns to the persistent records; other records get columns when an expression first uses them."""
        self.program = program
        self.tile = _SMALL_TILE if len(program.members) > _MANY else TILE
        """Lanes of a tile."""
        self.member = program.members[0] if program.members else _NO_MEMBER
        """The member whose constants are written into the text."""
        self.own, self._crossing = of_members(program), crossing(program)
        self.columns = dict.fromkeys(_BUFFERS, 0)
        self._places: dict[tuple[type, str], Place] = {}
        self._columns: dict[tuple[type, str], int] = {}
        self.fixed = {**program.fixed, **self.member.fixed}
        self.inputs = {**program.inputs, **self.member.inputs}
        self.listed = {**program.listed, **self.member.listed}
        self.offsets: dict[tuple[type, str], int] = {}
        """Index in `given` (of members: in `own_given`) of each number of a shared record, by (record type, dotted name)."""
        self.tables: dict[type, int] = {}
        """Index in `given` (`own_given`) of the start of a record's table in `tables` (`own_tables`)."""
        for source in (program, self.member):
            given = [(record, path) for record in source.given for path, kind in leaves(record) if kind != "constant"]
            self.offsets |= {number: index for index, number in enumerate(given)}
            self.tables |= {record: len(given) + index for index, record in enumerate(source.tables)}
            for record in source.kept:
                for path, _ in leaves(record):
                    self.number(record, path)

    def array(self, record: type, name: str) -> str:
        """Return the name of the array `given` or `tables` with the numbers of a record type."""
        return f"own_{name}" if record in self.own else name

    @property
    def shared(self) -> dict[type, Any]:
        """The records that all lanes share, by type: of the program and of the member."""
        return {**self.program.given, **self.member.given}

    def kept_columns(self, record: type) -> dict[str, tuple[int, str]]:
        """Return (column, machine type) of each number of a persistent record, by dotted name; fixed fields have no column."""
        return {path: (self._columns[record, path], place.kind) for path, place in self.stored(record)}

    def number(self, record: type, path: str) -> str:
        """Return the expression of one number of a record in lane j, such as `kept[np.uint64(528) + j]`.

        A fixed field is a literal, or a field of a shared record, such as `the_OrderNumbers.side`.
        """
        if (record, path) in self.fixed:
            value = self.fixed[record, path]
            return f"{_local_name(value[0])}.{value[1]}" if isinstance(value, tuple) else repr(value)
        return self.place(record, path).read()

    def place(self, record: type, path: str) -> Place:
        """Return the place of a number that is not fixed: an element of an array, or of a column."""
        if (record, path) not in self._places:
            self._places[record, path] = self._new_place(record, path, dict(leaves(record))[path])
        return self._places[record, path]

    def _new_place(self, record: type, path: str, kind: str) -> Place:
        """Return the element of an array of the program, or of a new column."""
        program = self.program
        if record in self.inputs:
            return Place(f"{self.inputs[record]}[j]", kind)
        names = [name for name, _ in leaves(record)]
        if record in program.outputs:
            return Place(f"{program.outputs[record][names.index(path)]}[j]", kind)
        if record in self.listed:
            return Place(f"{self.listed[record]}[at + i, {names.index(path)}]", kind)
        buffer = "single" if kind in _WIDE else "draft"
        if record in program.kept:
            buffer = "kept"
        elif record in self.member.kept or record in self._crossing:
            buffer = "own_kept" if record in self.member.kept else "own_draft"
        column = self._columns[record, path] = self.columns[buffer]
        self.columns[buffer] += 1
        return Place(f"{buffer}[np.uint64({column * self.tile}) + j]", kind, _BUFFERS[buffer])

    def stored(self, record: type) -> list[tuple[str, Place]]:
        """Return (dotted name, place) of each number of a record that is not fixed."""
        return [(path, self.place(record, path)) for path, _ in leaves(record) if (record, path) not in self.fixed]

    def construct(self, record: Any, top: Any = None, prefix: str = "") -> str:
        """Return the expression of a whole record in lane j, such as `Price(kept[np.uint64(0) + j], kept[np.uint64(264) + j])`.

        A string, the name of an extra argument, is its own expression. `top` and `prefix` are the outermost record type and
        the dotted name within it when the method calls itself for a nested record.
        """
        if isinstance(record, str):
            return record
        if top is None and record in self.shared:
            return _local_name(record)
        parts = []
        for name, kind in fields_of(record):
            path = prefix + name
            parts.append(
                self.construct(kind, top or record, f"{path}.") if is_record(kind) else self.number(top or record, path)
            )
        return f"{record.__name__}({', '.join(parts)})"

    def given(self, record: type) -> str:
        """Return the statement that builds a shared record, such as `the_Sight = Sight(given[24], given[25])`."""
        values = self.shared[record]

        def text(kind: type, value: Any, prefix: str) -> str:
            parts = []
            for (name, inner), part in zip(fields_of(kind), value, strict=True):
                path = prefix + name
                if is_record(inner):
                    parts.append(text(inner, part, f"{path}."))
                elif inner == "constant":
                    parts.append(repr(part))
                else:
                    parts.append(_given_number(f"{self.array(record, 'given')}[{self.offsets[record, path]}]", inner))
            return f"{kind.__name__}({', '.join(parts)})"

        return f"{_local_name(record)} = {text(record, values, '')}"


_NO_MEMBER: Final = Program(plans={}, kept=(), given={})


def stored_as(kind: str) -> str:
    """Return the machine type of 64 bits in which a number of a machine type is stored in `kept`, `given` and `tables`."""
    return _WIDE.get(kind, kind)


def _local_name(record: type) -> str:
    """Return the name of the local variable of a shared record."""
    return f"the_{record.__name__}"


def _given_number(element: str, kind: str) -> str:
    """Return the expression of a number in an element of the array `given`."""
    return Place(element, kind, "float64").read()


def _indent(lines: Sequence[str]) -> list[str]:
    """Return lines of source with one more level of indentation."""
    return ["    " + line for line in lines]


def _identifiers(lines: Sequence[str]) -> set[str]:
    """Return the identifiers in lines of source, without field names (those after a dot)."""
    return set(re.findall(r"(?<![\w.])[^\W\d]\w*", "\n".join(lines)))


def _with_indices(text: Sequence[str]) -> list[str]:
    """Return the statements of lane j with the index of each column computed once, before them: `j264 = np.uint64(264) + j`."""
    index = re.compile(r"np\.uint64\((\d+)\) \+ j\b")
    offsets = dict.fromkeys(index.findall("\n".join(text)))
    return [*(f"j{offset} = np.uint64({offset}) + j" for offset in offsets), *(index.sub(r"j\1", line) for line in text)]


def _with_constants(text: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return statements with `u3` for each `np.uint64(3)`, one instruction for the compiler and not four; and the values."""
    literal = re.compile(r"np\.uint64\((\d+)\)")
    values = dict.fromkeys(literal.findall("\n".join(text)))
    return [literal.sub(r"u\1", line) for line in text], {f"u{value}": np.uint64(value) for value in values}


def _copies(sources: Sequence[str], targets: Sequence[Place]) -> list[str]:
    """Return statements that copy numbers, all reads before the first write, so that the compiler can vectorise the copies."""
    return [f"t{i} = {s}" for i, s in enumerate(sources)] + [t.write(f"t{i}") for i, t in enumerate(targets)]


class _Writer:
    """Writes the functions of the lines of one plan, and the calls of its driver."""

    def __init__(self, layout: Layout, plan: tuple[Line, ...]) -> None:
        """Find the records that need memory and the arrays that are passed by tile."""
        self.layout, self.arguments = layout, _arrays(layout.program, plan)
        self.in_memory = _records_in_memory(layout.program, plan)
        self.functions: dict[str, Function] = {}
        """The functions written so far, by name."""
        shown = {target for target, picked in _show_targets(plan) if not picked}
        for target in shown & {target for target, picked in _show_targets(plan) if picked}:
            raise TypeError(f"the array {target!r} cannot show a row for each lane and rows of picked lanes")
        outputs = {name for names in layout.program.outputs.values() for name in names}
        self.by_lane = {*layout.program.inputs.values(), *layout.member.inputs.values(), *outputs, *shown}
        """Arrays with one row for each lane, of which a function gets the rows from the first lane of the tile."""
        self.picks = [line.name for line in walk(plan) if isinstance(line, Pick)]
        self.inside = False
        """Whether the function being written is for picked lanes."""
        self.each = False
        """Whether the function being written is for a member."""
        member = layout.member
        self.by_member = {*member.inputs.values(), *member.listed.values(), *member.rows}
        """Arrays with a leading axis for the member."""

    # statements of a line for lane j

    def body(self, line: Line) -> list[str]:
        """Return the statements of a line for lane j."""
        if isinstance(line, Pass):
            return self._pass(line)
        if isinstance(line, Look):
            return self._look(line)
        if isinstance(line, Show):
            return self._show(line)
        if isinstance(line, Add):
            return [f"index, value = {self._call(line.stage, {})}", f"{line.target}[index] += value"]
        raise TypeError(f"a {type(line).__name__} line cannot be nested in a For line")

    def _call(self, stage: Callable[..., Any], made: dict[Any, str]) -> str:
        """Return the call of a stage; `made` has the local variables of the records that the line has made already."""
        for record in taken_by(stage):
            if record in self.layout.own and not self.each:
                raise TypeError(f"stage {stage.__name__} takes {_name_of(record)} of the members outside of an Each line")
        return f"{stage.__name__}({', '.join(made.get(record) or self.layout.construct(record) for record in taken_by(stage))})"

    def _pass(self, line: Pass) -> list[str]:
        """Return the calls of the stages, and the writes of the records that need memory."""
        text: list[str] = []
        made: dict[Any, str] = {}
        for stage in line.stages:
            for record in taken_by(stage):  # a record that several stages take is built once
                if is_record(record) and record not in made and record not in self.layout.shared:
                    made[record] = f"a_{record.__name__}"
                    text.append(f"{made[record]} = {self.layout.construct(record)}")
            call, results = self._call(stage, made), made_by(stage)
            made |= {record: f"r_{record.__name__}" for record in results}
            text.append(f"{', '.join(made[record] for record in results)} = {call}")
        for record in dict.fromkeys(record for stage in line.stages for record in made_by(stage)):
            if record in self.in_memory:
                text += [place.write(f"{made[record]}.{path}") for path, place in self.layout.stored(record)]
        return text

    def _look(self, line: Look) -> list[str]:
        """Return the copies of one row of each table to the columns of lane j; the row of a table starts at c0, c1, ..."""
        text = [f"c = {self._call(line.place, {})}"]
        sources: list[str] = []
        targets: list[Place] = []
        for number, record in enumerate(line.records):
            places = [place for _, place in self.layout.stored(record)]
            start = f"{self.layout.array(record, 'given')}[{self.layout.tables[record]}]"
            text.append(f"c{number} = np.uint64({start}) + np.uint64(c) * np.uint64({len(places)})")
            table = self.layout.array(record, "tables")
            elements = [f"{table}[c{number} + np.uint64({i})]" for i in range(len(places))]
            for place, element in zip(places, elements, strict=True):
                as_stored = place.buffer == "float64" and place.kind not in _WIDE  # copied bit for bit
                sources.append(element if as_stored else Place(element, place.kind, "float64").read())
                targets.append(Place(place.element, "float64", "float64") if as_stored else place)
        return text + _copies(sources, targets)

    def _show(self, line: Show) -> list[str]:
        """Return the copies of a record, of the row behind it, and of the record behind the row, to one row of the target."""
        rows = {**self.layout.program.rows, **self.layout.member.rows}[line.rows]
        width = rows.shape[1]
        seen, behind = (
            [] if record is None else [place.read() for _, place in self.layout.stored(record)]
            for record in (line.record, line.behind)
        )
        row, count = "at + i" if self.inside else "j", len(seen) + width + len(behind)
        text = [f"c = np.uint64({self._call(line.place, {})}) * np.uint64({width})", f"target = {line.target}[{row}]"]
        targets = [Place(f"target[{line.first + i}]", "float32") for i in range(count)]
        if self.each:
            text.append(f"d = np.uint64({line.first}) + np.uint64(m) * np.uint64({count})")
            targets = [Place(f"target[d + np.uint64({i})]", "float32") for i in range(count)]
        first, last = len(seen), len(seen) + width
        text += _copies([f"{line.rows}[c + np.uint64({i})]" for i in range(width)], targets[first:last])
        return text + _copies([*seen, *behind], [*targets[:first], *targets[last:]])

    # functions

    def function(self, lines: Sequence[Line], name: str = "") -> Function:
        """Return the function of lines for all lanes of a tile; with the name of a :class:`Pick`, for its lanes only."""
        self.inside = bool(name)
        text = [part for line in lines for part in self.body(line)]
        if name:
            text = ["for i in range(count):", "    j = np.uint64(lanes[i])", *_indent(_with_indices(text))]
        else:
            text = ["for j in range(np.uint64(n)):", *_indent(_with_indices(text))]
        return self._finish(text, [stage for line in lines for stage in line.stages], ["n" if not name else "count"])

    def pick(self, line: Pick) -> Function:
        """Return the function that writes the list of a :class:`Pick` and returns its length.

        The loop that writes has no branch: a lane that is not picked is overwritten by the next one.
        """
        flag = self.layout.number(line.record, line.field)
        text = ["count = 0", "for j in range(np.uint64(n)):", f"    count += {flag} != 0", "if count > 0:", "    i = 0"]
        text += ["    for j in range(np.uint64(n)):", "        lanes[i] = j", f"        i += {flag} != 0", "return count"]
        return self._finish(text, [], ["n"])

    def _finish(self, text: list[str], stages: list[Any], counts: list[str]) -> Function:
        """Return the function of some statements: add the shared records that they use, and the arguments.

        The name is that of the stages and a hash of the text, so equal lines of several plans are one function.
        """
        text, constants = _with_constants(text)
        words = _identifiers(text)
        given = [record for record in self.layout.shared if _local_name(record) in words]
        head = [self.layout.given(record) for record in given]
        passed = [record for stage in stages for record in (*taken_by(stage), *made_by(stage))]
        types = [pair for record in (*given, *passed) for pair in _types(record)]
        names = _by_name([*((stage.__name__, stage) for stage in stages), *types])
        words |= _identifiers(head)
        order = ("given", "tables", "kept", "draft", "single", *OWN, "lanes", "at", "m", *self.arguments)
        arguments = (*counts, *(word for word in order if word in words))
        label = "_".join(stage.__name__ for stage in stages) or "pick"
        return self._new_function(arguments, [*head, *text], label, names, constants)

    def _new_function(
        self, arguments: tuple[str, ...], text: list[str], label: str, names: dict[str, Any], constants: dict[str, Any]
    ) -> Function:
        """Return the function with some statements, named by a label and a hash of its text."""
        body = "\n".join(_indent(text))
        digest = hashlib.sha256(f"{arguments}{body}".encode()).hexdigest()[:8]
        name = f"{label}_{digest}"
        function = Function(name, arguments, f"def {name}({', '.join(arguments)}):\n{body}\n", names, constants)
        if self.functions.setdefault(name, function).names != names:
            raise TypeError(f"two stages or records of a plan are called alike among {sorted(names)}; rename one")
        return function

    # the driver

    def calls(self, plan: tuple[Line, ...]) -> list[str]:
        """Return the statements of the driver for one tile; `n_NAME` is the number of lanes that the Pick of a name listed."""
        text: list[str] = []
        for line in plan:
            if isinstance(line, Pick):
                text.append(f"n_{line.name} = {self._call_line(self.pick(line), line.name)}")
            elif isinstance(line, Unless):
                text += [f"if n_{line.name} < n:", *_indent(self.calls(line.lines))]
            elif isinstance(line, For):
                text += [f"if n_{line.name} > 0:", *_indent(self._picked(line))]
            elif isinstance(line, Each):
                text += self._for_each(line.lines)
            elif isinstance(line, Sum):
                text.append(self._sum(line))
            elif isinstance(line, Repeat):
                times = _given_number(f"given[{self.layout.offsets[line.record, line.field]}]", "int64")
                text += [f"for _ in range({times}):", *_indent(self.calls(line.lines))]
            elif not isinstance(line, Refuse):
                text.append(self._call_line(self.function([line])))
        return text

    def _picked(self, line: For) -> list[str]:
        """Return the calls for the lanes of a :class:`Pick`: one function up to an :class:`Each` or :class:`Sum`."""
        text: list[str] = []
        alone: list[Line] = []
        for inner in (*line.lines, None):
            if inner is not None and not isinstance(inner, (Each, Sum)):
                alone.append(inner)
                continue
            if alone:
                text.append(self._call_line(self.function(alone, line.name), line.name))
                alone = []
            if isinstance(inner, Each):
                text += self._for_each(inner.lines, line.name)
            elif isinstance(inner, Sum):
                text.append(self._sum(inner, line.name))
        return text

    def _for_each(self, lines: tuple[Line, ...], picked: str = "") -> list[str]:
        """Return the loops over the members that execute lines, one for each run of members with the same constants.

        Each line is a function; with the name of a :class:`Pick`, the lines are one function for its lanes.
        """
        groups = [lines] if picked else [(line,) for line in lines]
        text: list[str] = []
        members, first = self.layout.program.members, 0
        same = [_constants(member) == _constants(members[0]) for member in members]
        for last in range(1, len(members) + 1):
            if last < len(members) and _constants(members[last]) == _constants(members[first]):
                continue
            self.layout.member, self.each = members[first], True
            text.append("for m in range(len(own_given)):" if all(same) else f"for m in range({first}, {last}):")
            text.append("    m_given, m_tables, m_kept, m_draft = own_given[m], own_tables[m], own_kept[own + m], own_draft[m]")
            text += _indent([self._call_line(self.function(group, picked), picked) for group in groups])
            self.layout.member, self.each, first = members[0], False, last
        return text

    def _sum(self, line: Sum, picked: str = "") -> str:
        """Return the driver's call of a :class:`Sum`, for all lanes or for those of a :class:`Pick`."""
        layout, weights = self.layout, self.layout.program.weights[line.weights]
        places = [layout.place(*number) for number in ((line.source, line.path), (line.target, line.field))]
        if {place.kind for place in places} != {"float64"}:
            raise TypeError(f"a sum needs numbers in double precision, got {line.path!r} and {line.field!r}")
        arrays, columns = zip(*(re.findall(r"^(\w+)\[np.uint64\((\d+)\)", place.element)[0] for place in places), strict=True)
        text = sum_text(rows=weights.ndim > 1, picked=bool(picked))
        arguments = ("count", "lanes") if picked else ("n",)
        function = self._new_function((*arguments, *SUM_ARGUMENTS), text, "sum", {}, {})
        values = line.weights, arrays[0], columns[0], arrays[1], columns[1]
        given = [self._value(name, picked) for name in (*arguments, *values)]
        return f"{function.name}({', '.join(given)})"

    def _call_line(self, function: Function, picked: str = "") -> str:
        """Return the driver's call of a function, whose parameters stand for names of the driver; `picked` names its Pick."""
        return f"{function.name}({', '.join(self._value(name, picked) for name in function.arguments)})"

    def _value(self, name: str, picked: str) -> str:
        """Return the driver's expression of an argument of a function; `picked` names its Pick."""
        if name in _PER_PICK:
            return _PER_PICK[name].format(picked)
        if name == "kept":
            return "tile"
        if name in OWN:
            rows = "own_kept[own : own + len(own_given)]" if name == "own_kept" else name
            return name.replace("own_", "m_") if self.each else rows
        row = "[m]" if name in self.by_member else ""
        return f"{name}{row}[first:]" if name in self.by_lane else f"{name}{row}"


def _constants(member: Program) -> list[Any]:
    """Return the constants of a member, which are literals in the text."""
    shared = member.given.items()
    return [
        value
        for record, values in shared
        for (_, kind), value in zip(leaves(record), numbers(values), strict=True)
        if kind == "constant"
    ]


def _types(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, type) of a record type and of the record types nested in it."""
    if is_record(record):
        yield record.__name__, record
        for _, kind in fields_of(record):
            yield from _types(kind)


def _by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the stages and record types of a function, by name.

    Raises:
        TypeError: Two stages or record types have one name.
    """
    names: dict[str, Any] = {}
    for name, value in pairs:
        if names.setdefault(name, value) is not value:
            raise TypeError(f"two stages or records that meet in a line are called {name!r}; rename one")
    return names


def _records_in_memory(program: Program, plan: tuple[Line, ...]) -> set[Any]:
    """Return the record types that need memory: those that one line makes and another takes, and those that outlive the run.

    Raises:
        TypeError: A line takes a record that no line before it makes; the message names both.
    """
    outliving: set[Any] = {*program.outputs}
    known: set[Any] = {*program.extra}
    for source in (program, *program.members[:1]):
        outliving |= {*source.kept, *source.listed}
        known |= {*source.given, *source.inputs}
    in_memory: set[Any] = set(outliving)
    _check_lines(program, plan, outliving | known, in_memory)
    return in_memory


def _check_lines(program: Program, lines: tuple[Line, ...], available: set[Any], in_memory: set[Any]) -> set[Any]:
    """Add the records that the lines take from each other to `in_memory`; return the records that they make in all lanes.

    `available` are the records made before the lines. A record made in a :class:`For` is made in all lanes only if the
    :class:`Unless` of the same name makes it too.
    """
    made: set[Any] = set()
    partial: dict[tuple[str, type], set[Any]] = {}
    for line in lines:
        known = available | made
        if isinstance(line, For):
            within = _check_lines(program, line.lines, known, in_memory)
            partial[line.name, type(line)] = partial.get((line.name, type(line)), set()) | within
            made |= partial.get((line.name, For), set()) & partial.get((line.name, Unless), set())
        elif isinstance(line, (Each, Repeat)):
            made |= _check_lines(program, line.lines, known, in_memory)
        else:
            made |= _check_line(program, line, known, in_memory)
    return made


def _check_line(program: Program, line: Line, known: set[Any], in_memory: set[Any]) -> set[Any]:
    """Add the records that one line takes from other lines to `in_memory`; return the records that it makes."""
    made: set[Any] = set()
    for stage in line.stages:
        taken = set(taken_by(stage)) - made
        for record in taken - known:
            raise TypeError(f"stage {stage.__name__} takes {_name_of(record)}{_NOT_MADE}")
        in_memory |= taken
        made |= set(made_by(stage)) if isinstance(line, Pass) else set()
    shown = (line.record, line.behind) if isinstance(line, Show) else (line.record,) if isinstance(line, Pick) else ()
    if isinstance(line, Sum):
        shown = (line.source,)
        made.add(line.target)
        in_memory.add(line.target)
    for record in (record for record in shown if record is not None):
        if record not in known - {*program.given}:
            raise TypeError(f"line {type(line).__name__} takes {_name_of(record)}{_NOT_MADE}")
        in_memory.add(record)
    for record in line.records if isinstance(line, Look) else ():
        if not any(record in source.tables for source in (program, *program.members[:1])):
            raise TypeError(f"line Look takes {_name_of(record)}, which has no table")
        made.add(record)
    return made


def _name_of(record: Any) -> str:
    """Return the name of a record type, or of an extra argument."""
    return record if isinstance(record, str) else str(record.__name__)


def _show_targets(lines: Iterable[Line], picked: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the target of each :class:`Show` line, and whether the line is for picked lanes only."""
    for line in lines:
        if isinstance(line, Show):
            yield line.target, picked
        yield from _show_targets(line.lines, picked or type(line) is For)


def _arrays(program: Program, plan: tuple[Line, ...]) -> tuple[str, ...]:
    """Return the names of the arrays that a plan may read or write besides the buffers, in the order of arguments."""
    outputs = [name for names in program.outputs.values() for name in names]
    sources = (program, *program.members[:1])
    names = [name for source in sources for name in source.inputs.values()] + outputs
    names += [name for source in sources for name in source.listed.values()]
    lines = [line for line in walk(plan) if isinstance(line, (Add, Show))]
    names += [getattr(line, key) for line in lines for key in ("target", "rows") if hasattr(line, key)]
    names += [line.weights for line in walk(plan) if isinstance(line, Sum)]
    return tuple(dict.fromkeys([*names, *program.extra]))


def write(name: str, layout: Layout) -> Loop:
    """Return the source of a plan of a program.

    The driver is `name(given, tables, kept, draft, single, lists, *arrays, start, stop)`. It runs the plan for the lanes from
    `start`, the first lane of a tile, to `stop`, and returns the number of lanes in the last :class:`Pick`, or -1 - lane if a
    :class:`Refuse` line rejects the input of a lane.

    Args:
        name: Name of the plan.
        layout: The layout of the program; all plans of the program share it, because they share the persistent records.

    Raises:
        TypeError: A line takes a record that no line before it makes, or is nested where it cannot be.
    """
    plan, tile = layout.program.plans[name], layout.tile
    writer = _Writer(layout, plan)
    inside = [
        f"n = min({tile}, stop - first)",
        f"tile = kept[(first // {tile}) % len(kept)]",
        *([f"own = (first // {tile}) % len(kept) * len(own_given)"] if layout.program.members else []),
        *writer.calls(plan),
        *(f"total_{pick} += n_{pick}" for pick in writer.picks),
    ]
    text: list[str] = []
    for line in plan:
        if isinstance(line, Refuse):
            values = layout.inputs[line.record]
            rows = ["for row in range(1):"] if line.record not in layout.own else [f"for row in range(len({values})):"]
            value = f"{values}[row, lane]" if line.record in layout.own else f"{values}[lane]"
            test = f"not ({line.low!r} <= {value} <= {line.high!r})"
            text += ["wrong = 0", *rows, "    for lane in range(start, stop):", f"        wrong += {test}", "if wrong > 0:"]
            text += _indent([*rows, "    for lane in range(start, stop):", f"        if {test}:"])
            text += ["                return -1 - lane"]
    for index, pick in enumerate(writer.picks):
        text += [f"total_{pick} = 0", f"lanes_{pick} = lists[{index * tile} : {(index + 1) * tile}]"]
    text += [f"for first in range(start, stop, {tile}):", *_indent(inside)]
    text.append(f"return total_{writer.picks[-1]}" if writer.picks else "return 0")
    words = _identifiers(text)
    arrays = tuple(array for array in writer.arguments if array in words)
    own = OWN if layout.program.members else ()
    every = ("given", "tables", "kept", "draft", "single", "lists", *own, *arrays, "start", "stop")
    body = "\n".join(_indent(text))
    driver = Function(name, every, f"def {name}({', '.join(every)}):\n{body}\n", {}, {})
    sums = frozenset(line.target for line in walk(plan) if isinstance(line, Add))
    return Loop(driver, tuple(writer.functions.values()), arrays, sums)


def pack(program: Program, layout: Layout) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the arrays `given` and `tables` of a program, float64; integers keep their bits."""
    shared = program.given
    given = [_as_float64(value, kind) for record in shared for value, kind in _numbers(record, shared[record])]
    parts: list[np.ndarray[Any, Any]] = []
    starts: list[float] = []
    length = 0
    for record, columns in program.tables.items():
        flat = dict(_columns(record, columns))
        words = [_as_float64(flat[path], kind) for path, kind in leaves(record) if (record, path) not in program.fixed]
        starts.append(float(length))
        parts.append(np.stack(words, axis=1).ravel())
        length += parts[-1].size
    return np.concatenate([*given, starts]), np.concatenate([*parts, np.zeros(1)])


def _as_float64(values: Any, kind: str) -> np.ndarray[Any, Any]:
    """Return the bits of numbers of a machine type, widened to 64 bits, as float64, shape (numbers,).

    Raises:
        TypeError: A value is not representable in the machine type (single precision is rounded).
    """
    given = np.atleast_1d(values)
    held = np.ascontiguousarray(given, dtype=kind)
    if kind != "float32" and not np.array_equal(held, given, equal_nan=given.dtype.kind == "f"):
        raise TypeError(f"numbers of type {given.dtype} cannot be stored as {kind}")
    return held.astype(stored_as(kind)).view(np.float64)


def _numbers(kind: Any, record: Any) -> Iterator[tuple[Any, str]]:
    """Yield (number, machine type) of the numbers of a shared record that are not literals in the text."""
    machines = dict(leaves(kind))
    return ((value, machines[path]) for path, value in _columns(kind, record) if machines[path] != "constant")


def _columns(kind: Any, record: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of each number of a record of type `kind`."""
    return zip((path for path, _ in leaves(kind)), numbers(record), strict=True)
