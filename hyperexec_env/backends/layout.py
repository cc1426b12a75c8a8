"""The position in memory of each number of each record of a program, and the numbers that all lanes share.

:mod:`~hyperexec_env.backends.generate` describes the buffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.backends.plan import Program, crossing, of_members
from hyperexec_env.records import fields_of, is_record, leaves, numbers

__all__ = ["OWN", "TILE", "WIDE", "Layout", "Place", "constants_of", "given_number", "local_name", "pack", "stored_as"]

TILE: Final = 264
"""Lanes of a tile: the numbers that a line needs fit into the second-level cache. Not a power of two, which would map the
columns of a lane to the same few sets of the cache."""
_MANY, _SMALL_TILE = 16, 72
"""Number of members beyond which a tile has fewer lanes: the numbers of all members of its lanes should stay in the cache."""

WIDE: Final = {"float32": "float64", "uint32": "uint64"}
"""Machine type of 64 bits that stores a number of 32 bits exactly, in a buffer of double precision."""
_BUFFERS: Final = {
    **{"kept": "float64", "draft": "float64", "single": "float32"},
    **{"own_kept": "float64", "own_draft": "float64"},
}
"""Buffers with columns of lanes and their machine types: persistent numbers, temporary numbers of 64 and of 32 bits; numbers of
members."""
OWN: Final = ("own_given", "own_tables", "own_kept", "own_draft")
"""Arrays of the members, in the order of a driver's arguments."""


class Place(NamedTuple):
    """One number in memory.

    A buffer of double precision stores integers bit for bit, and numbers of 32 bits widened (:data:`WIDE`); a buffer of single
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
            return f"{local_name(value[0])}.{value[1]}" if isinstance(value, tuple) else repr(value)
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
        buffer = "single" if kind in WIDE else "draft"
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
            return local_name(record)
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
                    parts.append(given_number(f"{self.array(record, 'given')}[{self.offsets[record, path]}]", inner))
            return f"{kind.__name__}({', '.join(parts)})"

        return f"{local_name(record)} = {text(record, values, '')}"


_NO_MEMBER: Final = Program(plans={}, kept=(), given={})


def stored_as(kind: str) -> str:
    """Return the machine type of 64 bits in which a number of a machine type is stored in `kept`, `given` and `tables`."""
    return WIDE.get(kind, kind)


def local_name(record: type) -> str:
    """Return the name of the local variable of a shared record."""
    return f"the_{record.__name__}"


def given_number(element: str, kind: str) -> str:
    """Return the expression of a number in an element of the array `given`."""
    return Place(element, kind, "float64").read()


def constants_of(member: Program) -> list[Any]:
    """Return the constants of a member, which are literals in the text."""
    shared = member.given.items()
    return [
        value
        for record, values in shared
        for (_, kind), value in zip(leaves(record), numbers(values), strict=True)
        if kind == "constant"
    ]


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
