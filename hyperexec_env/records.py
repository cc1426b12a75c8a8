"""Records of numbers: NamedTuples whose fields state the order of numbers once, for every execution.

A field is a number for one episode, or an array over episodes. Its annotation names the machine type that compiled loops
store it in: `Real` (double precision; also any field annotated `Any`), `Single`, `Whole` (64-bit integer), `Word` and `Half`
(64 and 32 random bits); `Constant` values are written into the text of a loop. A field may hold another record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

__all__ = [
    "Constant",
    "Half",
    "Real",
    "Single",
    "Whole",
    "Word",
    "fields_of",
    "fill_record",
    "filler",
    "for_numbers",
    "for_records",
    "is_record",
    "leaves",
    "maker",
    "map_leaves",
    "numbered",
    "numbers",
    "plus",
    "reached",
    "record_type",
    "scaled",
    "sum_of",
]

Real = Any
Single = Annotated[Any, "float32"]
Whole = Annotated[Any, "int64"]
Word = Annotated[Any, "uint64"]
Half = Annotated[Any, "uint32"]
Constant = Annotated[Any, "constant"]

Function = TypeVar("Function", bound=Callable[..., Any])


def is_record(kind: Any) -> bool:
    """Return whether a type, or a value, is a record."""
    return hasattr(kind, "_fields")


@cache
def fields_of(record: Any) -> tuple[tuple[str, Any], ...]:
    """Return the name and the kind of each field of a record: a record type, or the name of a machine type."""
    hints = get_type_hints(record, include_extras=True).items()
    return tuple((name, hint if is_record(hint) else _machine_type(hint)) for name, hint in hints)


def _machine_type(hint: Any) -> str:
    """Return the machine type that an annotation names; double precision where it names none."""
    named = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, str)]
    return named[0] if named else "float64"


@cache
def leaves(record: Any) -> tuple[tuple[str, str], ...]:
    """Return the dotted name and the machine type of each number of a record, nested records included, in order."""
    found: list[tuple[str, str]] = []
    for name, kind in fields_of(record):
        inner = ((f"{name}.{path}", machine) for path, machine in leaves(kind)) if is_record(kind) else ((name, kind),)
        found += inner
    return tuple(found)


def map_leaves(function: Callable[..., Any], record: Any, *others: Any) -> Any:
    """Return the record of what a function makes of each number of a record, and of the same number of others."""
    parts = zip(record, *others, strict=True)
    return type(record)(*(map_leaves(function, *part) if is_record(part[0]) else function(*part) for part in parts))


def numbers(record: Any) -> list[Any]:
    """Return the numbers of a record, nested records included, in order."""
    return [number for value in record for number in (numbers(value) if is_record(value) else [value])]


def fill_record(kind: Any, values: Iterator[Any]) -> Any:
    """Return a record whose numbers, nested records included, are taken from an iterator in order."""
    return kind(*(fill_record(inner, values) if is_record(inner) else next(values) for _, inner in fields_of(kind)))


def numbered(name: str, count: int, kind: Any = Any) -> Any:
    """Return a new record type of `count` numbers of one kind."""
    return record_type(name, (f"at_{index}" for index in range(count)), kind, sys._getframe(1).f_globals["__name__"])


def record_type(name: str, fields: Iterable[str], kind: Any = Any, module: str = "") -> Any:
    """Return a new record type of numbers of one kind; pickles find it in a module, that of the caller, by its name."""
    made: Any = NamedTuple(name, [(field, kind) for field in fields])  # type: ignore[misc]
    made.__module__ = module or sys._getframe(1).f_globals["__name__"]
    return made


def for_numbers(form: Callable[..., Any]) -> Callable[[Function], Function]:
    """Give a function that looks at the types of its arguments a form for single numbers, which the compiler reads instead."""

    def mark(function: Function) -> Function:
        function.form_for_numbers = form  # type: ignore[attr-defined]
        return function

    return mark


def for_records(write: Callable[..., str]) -> Callable[[Function], Function]:
    """Give a function of whole records a form for the compiler: `write(fields)` returns it as the text of a lambda.

    `fields` are the names of the fields of the record among the arguments; the text may call its type `Record`.
    """

    def mark(function: Function) -> Function:
        function.form_for_records = write  # type: ignore[attr-defined]
        return function

    return mark


@for_records(lambda fields: f"lambda a, b: Record({', '.join(f'a.{name} + b.{name}' for name in fields)})")
def plus(a: Any, b: Any) -> Any:
    """Return the sum of two records of one type, field by field."""
    return type(a)(*(x + y for x, y in zip(a, b, strict=True)))


@for_records(lambda fields: f"lambda record, factor: Record({', '.join(f'record.{name} * factor' for name in fields)})")
def scaled(record: Any, factor: Any) -> Any:
    """Return a record with each field multiplied by a factor."""
    return type(record)(*(value * factor for value in record))


@for_records(lambda fields: f"lambda value, limits: {' + '.join(f'(value >= limits.{name}) * 1' for name in fields)}")
def reached(value: Any, limits: Any) -> Any:
    """Return how many of the limits, the fields of a record, a value reaches."""
    return sum(value >= limit for limit in limits)


def sum_of(record: type, names: Iterable[str]) -> Callable[[Any], Any]:
    """Return a function that adds some fields, in the order of the record, of a record or of a plain tuple in its place."""
    chosen, fields = set(names), record._fields  # type: ignore[attr-defined]
    text = " + ".join(f"record[{index}]" for index, name in enumerate(fields) if name in chosen)
    function: Callable[[Any], Any] = eval(f"lambda record: {text}", {})  # noqa: S307 - made of the names of fields
    return function


def maker(target: type, source: type, given: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function `(source, *given)` that makes a record of another type.

    Fields whose names are `given` are taken from the arguments, all others from the fields of the same name of the source.

    Raises:
        TypeError: A field of the target is in neither.
    """
    fields, known = target._fields, source._fields  # type: ignore[attr-defined]
    for name in fields:
        if name not in known and name not in given:
            raise TypeError(f"field {name!r} of {target.__name__} is neither a field of {source.__name__} nor given")
    values = ", ".join(name if name in given else f"source.{name}" for name in fields)
    text = f"lambda source, {', '.join(given)}: target({values})"
    function: Callable[..., Any] = eval(text, {"target": target})  # noqa: S307 - made of the names of fields
    return function


def filler(target: type) -> Callable[[Any], Any]:
    """Return a function that makes a record with the same value in each field."""
    fields = target._fields  # type: ignore[attr-defined]
    text = f"lambda value: target({', '.join('value' for _ in fields)})"
    function: Callable[[Any], Any] = eval(text, {"target": target})  # noqa: S307 - made of the number of fields
    return function
