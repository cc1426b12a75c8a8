"""Write the source of compiled loops from the plans of a program, the fields of its records and the signatures of its stages.

Lanes are processed in *tiles* of :data:`~hyperexec_env.backends.layout.TILE` lanes, whose numbers stay in the processor's
cache. Each line of a plan becomes a function with one short loop over the lanes j of a tile, without branches and with literal
offsets, so that the compiler can vectorise it. A *driver* calls these functions in order, tile by tile. The example of
:mod:`~hyperexec_env.backends.plan` becomes

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

All numbers are in a few flat buffers. A number of a record is one *column* of a buffer, with as many consecutive elements for
each tile as it has lanes. Indices are unsigned: a signed index may count from the end of an array, and a loop that has to ask
does not vectorise. A number of another machine type than the buffer is stored bit for bit
(:class:`~hyperexec_env.backends.layout.Place`): arrays are not viewed as another type, because numba counts the references of a
view, which takes longer than a short loop.

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
takes is a local variable, without memory. :class:`~hyperexec_env.backends.layout.Layout` is the only place that
assigns columns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.backends.layout import OWN, WIDE, Layout, Place, constants_of, given_number, local_name
from hyperexec_env.backends.order import name_of, records_in_memory
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
    taken_by,
    walk,
)
from hyperexec_env.backends.sums import SUM_ARGUMENTS, sum_text
from hyperexec_env.records import fields_of, is_record

__all__ = ["Function", "Loop", "write"]

_PER_PICK: Final = {"lanes": "lanes_{}", "count": "n_{}", "at": "start + total_{}"}
"""Arguments of functions for picked lanes, as expressions of the driver."""


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
        self.in_memory = records_in_memory(layout.program, plan)
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
                raise TypeError(f"stage {stage.__name__} takes {name_of(record)} of the members outside of an Each line")
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
                as_stored = place.buffer == "float64" and place.kind not in WIDE  # copied bit for bit
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
        given = [record for record in self.layout.shared if local_name(record) in words]
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
                times = given_number(f"given[{self.layout.offsets[line.record, line.field]}]", "int64")
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
        same = [constants_of(member) == constants_of(members[0]) for member in members]
        for last in range(1, len(members) + 1):
            if last < len(members) and constants_of(members[last]) == constants_of(members[first]):
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
