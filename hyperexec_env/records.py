"""Records of numbers: NamedTuples from whose fields every execution derives its memory layout.

    class State(NamedTuple):
        remaining: Real
        k: Whole

    State(100.0, 0)                                  one episode
    State(np.full(8, 100.0), np.zeros(8, int))       arrays over eight episodes
    leaves(State)                                    (("remaining", "float64"), ("k", "int64"))

A field holds a number of one episode, an array over episodes, or another record. The annotation of a field names the machine
type in which compiled loops store the number: `Real` (double precision; also `Any`), `Single` (single precision), `Whole`
(64-bit integer), `Word` and `Half` (64 and 32 random bits). A `Constant` is a literal in the text of a loop and takes no
memory. The *numbers* of a record, its *leaves*, are the fields that hold no record, those of nested records included, in
order of definition.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import add
from types import CodeType, FunctionType
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

__all__ = [
    "Constant",
    "Half",
    "Real",
    "Single",
    "Whole",
    "Word",
    "adder",
    "extended",
    "fields_of",
    "fill_record",
    "filler",
    "for_numbers",
    "for_records",
    "for_several",
    "is_numbered",
    "is_record",
    "leaves",
    "maker",
    "map_leaves",
    "numbered",
    "numbers",
    "on_numbers",
    "part_of",
    "plus",
    "reached",
    "rebuilt",
    "record_type",
    "replacer",
    "scaled",
    "sum_of",
]

Real = Any
"""Annotation of a double-precision number."""
Single = Annotated[Any, "float32"]
"""Annotation of a single-precision number."""
Whole = Annotated[Any, "int64"]
"""Annotation of a 64-bit integer."""
Word = Annotated[Any, "uint64"]
"""Annotation of 64 random bits."""
Half = Annotated[Any, "uint32"]
"""Annotation of 32 random bits."""
Constant = Annotated[Any, "constant"]
"""Annotation of a value on which compiled loops are specialised."""

_PACKAGE = __name__.partition(".")[0]
Function = TypeVar("Function", bound=Callable[..., Any])


def is_record(kind: Any) -> bool:
    """Return whether a type is a record type, or a value is a record."""
    return hasattr(kind, "_fields")


@cache
def fields_of(record: Any) -> tuple[tuple[str, Any], ...]:
    """Return (name, kind) of each field of a record type; a kind is a record type or the name of a machine type."""
    hints = get_type_hints(record, include_extras=True).items()
    return tuple((name, hint if is_record(hint) else _machine_type(hint)) for name, hint in hints)


def _machine_type(hint: Any) -> str:
    """Return the machine type that an annotation names, by default "float64"."""
    named = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, str)]
    return named[0] if named else "float64"


@cache
def leaves(record: Any) -> tuple[tuple[str, str], ...]:
    """Return (dotted name, machine type) of each number of a record type, for example ("state.remaining", "float64")."""
    found: list[tuple[str, str]] = []
    for name, kind in fields_of(record):
        inner = ((f"{name}.{path}", machine) for path, machine in leaves(kind)) if is_record(kind) else ((name, kind),)
        found += inner
    return tuple(found)


def map_leaves(function: Callable[..., Any], record: Any, *others: Any) -> Any:
    """Return a record of the values of a function of each number of `record` (and of the same number of `others`)."""
    parts = zip(record, *others, strict=True)
    return type(record)(*(map_leaves(function, *part) if is_record(part[0]) else function(*part) for part in parts))


def numbers(record: Any) -> list[Any]:
    """Return the numbers of a record, in the order of :func:`leaves`."""
    return [number for value in record for number in (numbers(value) if is_record(value) else [value])]


def fill_record(kind: Any, values: Iterator[Any]) -> Any:
    """Return a record of type `kind` with the next values of an iterator as its numbers, in the order of :func:`leaves`."""
    return kind(*(fill_record(inner, values) if is_record(inner) else next(values) for _, inner in fields_of(kind)))


def numbered(name: str, count: int, kind: Any = Any) -> Any:
    """Return a new record type with the fields at_0, at_1, ... of one kind, `count` in number."""
    return record_type(name, (f"at_{index}" for index in range(count)), kind, sys._getframe(1).f_globals["__name__"])


def record_type(name: str, fields: Iterable[str], kind: Any = Any, module: str = "") -> Any:
    """Return a new record type with some field names, all of one kind.

    `module`, by default the caller's, is the module in which pickles find the type by its name.
    """
    made: Any = NamedTuple(name, [(field, kind) for field in fields])  # type: ignore[misc]
    made.__module__ = module or sys._getframe(1).f_globals["__name__"]
    return made


def extended(record: Any, fields: Iterable[str], default: Any, kind: Any = Any) -> Any:
    """Return the record type in whose place stands one with more fields at its end, all of one kind with one default.

    The type has the name, the module and the docstring of the first, so that it can take its place under its name.
    """
    hints, more = get_type_hints(record, include_extras=True), list(fields)
    made: Any = NamedTuple(record.__name__, [*hints.items(), *((field, kind) for field in more)])  # type: ignore[misc]
    defaults = {**record._field_defaults, **dict.fromkeys(more, default)}
    made.__new__.__defaults__, made._field_defaults = tuple(defaults.values()), defaults
    made.__module__, made.__qualname__, made.__doc__ = record.__module__, record.__qualname__, record.__doc__
    return made


def part_of(name: str, record: type, without: tuple[str, ...]) -> Any:
    """Return a new record type with the fields of a record, of the same kinds, except those named in `without`."""
    hints = get_type_hints(record, include_extras=True).items()
    made: Any = NamedTuple(name, [(field, hint) for field, hint in hints if field not in without])  # type: ignore[misc]
    made.__module__ = sys._getframe(1).f_globals["__name__"]
    return made


def for_numbers(form: Callable[..., Any]) -> Callable[[Function], Function]:
    """Return a decorator for a function that inspects the types of its arguments, which compiled code cannot.

    Compiled loops call `form`, the same function for single numbers, in its place.
    """

    def mark(function: Function) -> Function:
        function.form_for_numbers = form  # type: ignore[attr-defined]
        return function

    return mark


def on_numbers(function: Any, **inner: Any) -> Any:
    """Return a function with each helper that has a form for single numbers (:func:`for_numbers`) replaced with that form.

    The functions of this package that the function calls are replaced likewise. Compiled loops do the same. The single
    environment saves the time in which helpers inspect the types of their arguments. `inner` are replacements, by name, of
    functions that are called.
    """
    return rebuilt(function, lambda form: form, **inner)


def rebuilt(function: Any, replacement: Callable[[Any], Any], **inner: Any) -> Any:
    """Return a function with each helper that has a form for single numbers replaced with a replacement of the form.

    The functions of this package that the function calls are rebuilt likewise.

    Args:
        function: The function.
        replacement: Function from the form of a helper to its replacement.
        inner: Replacements, by name, of functions that are called.
    """
    names = dict(function.__globals__)
    for name in _called(function.__code__):
        value = names.get(name)
        form = getattr(value, "form_for_numbers", None)
        if form is not None:
            names[name] = replacement(form)
        elif isinstance(value, FunctionType) and _is_own(value) and name not in inner:
            names[name] = rebuilt(value, replacement, **inner)
    made = FunctionType(function.__code__, names | inner, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _is_own(function: FunctionType) -> bool:
    """Return whether a function belongs to this package, but not to this module, whose functions know no numbers."""
    module = function.__module__ or ""  # None: made from text
    return module.startswith(f"{_PACKAGE}.") and module != __name__


def _called(code: CodeType) -> Iterator[str]:
    """Yield the names that a function reads, nested functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _called(constant)


def for_records(write: Callable[..., str]) -> Callable[[Function], Function]:
    """Return a decorator for a function that iterates over the fields of a record, which compiled code cannot.

    Compiled loops call, in its place, the lambda whose source `write(fields)` returns. `fields` are the field names of the
    first record among the arguments; the source may use the name `Record` for its type.
    """

    def mark(function: Function) -> Function:
        function.form_for_records = write  # type: ignore[attr-defined]
        return function

    return mark


def for_several(write: Callable[..., str]) -> Callable[[Function], Function]:
    """Return a decorator for a function of tuples whose lengths are known when a loop is compiled.

    Compiled loops call, in its place, the lambda whose source `write(counts)` returns. `counts` has for each argument the
    number of its values, or None for an argument that is neither a plain tuple nor a record of :func:`numbered`.
    """

    def mark(function: Function) -> Function:
        function.form_for_several = write  # type: ignore[attr-defined]
        return function

    return mark


def is_numbered(record: Any) -> bool:
    """Return whether a type is a record type made by :func:`numbered`: its first field is at_0, or it has none."""
    return getattr(record, "_fields", ("",))[:1] in ((), ("at_0",))


@for_records(lambda fields: f"lambda a, b: Record({', '.join(f'a.{name} + b.{name}' for name in fields)})")
def plus(a: Any, b: Any) -> Any:
    """Return the sum of two records of one type, field by field; fields are numbers."""
    return type(a)._make(map(add, a, b))


@for_records(lambda fields: f"lambda record, factor: Record({', '.join(f'record.{name} * factor' for name in fields)})")
def scaled(record: Any, factor: Any) -> Any:
    """Return a record with each field multiplied by a factor; fields are numbers."""
    return type(record)._make([value * factor for value in record])


@for_records(lambda fields: f"lambda value, limits: {' + '.join(f'(value >= limits.{name}) * 1' for name in fields)}")
def reached(value: Any, limits: Any) -> Any:
    """Return the number of `limits` that are at most `value`.

    `limits` is a record of numbers or arrays, or one array with a row for each limit, for which numpy calls are fewest.
    """
    return sum(value >= limit for limit in limits) if isinstance(limits, tuple) else (value >= limits).sum(axis=0)


def sum_of(record: type, names: Iterable[str]) -> Callable[[Any], Any]:
    """Return a function that adds the named fields, in field order, of a record or of a plain tuple in the same order."""
    chosen, fields = set(names), record._fields  # type: ignore[attr-defined]
    text = " + ".join(f"record[{index}]" for index, name in enumerate(fields) if name in chosen)
    function: Callable[[Any], Any] = eval(f"lambda record: {text}", {})  # noqa: S307 - the text holds field numbers only
    return function


def adder(record: type) -> Callable[[Iterable[Any]], Any]:
    """Return a function that adds plain tuples in the field order of a record, and returns a record of the sums.

    Each sum starts at 0.0 and adds from left to right, as arrays do; `sum` rounds differently in some versions of Python.
    """
    fields = record._fields  # type: ignore[attr-defined]
    sums, values = ([f"{letter}{index}" for index in range(len(fields))] for letter in "sv")
    lines = [f"{' = '.join(sums)} = 0.0", f"for {', '.join(values)} in rows:"]
    lines += [f"    {total} += {value}" for total, value in zip(sums, values, strict=True)]
    lines += [f"return record({', '.join(sums)})"]
    names: dict[str, Any] = {"record": record}
    exec("\n    ".join(("def function(rows):", *lines)), names)  # noqa: S102 - the text holds field numbers only
    function: Callable[[Iterable[Any]], Any] = names["function"]
    return function


def maker(target: type, source: type, given: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function `(source, *given)` that builds a `target` record from a `source` record.

    The fields named in `given` are arguments; every other field has the value of the source's field of the same name.

    Raises:
        TypeError: A field of the target is neither a field of the source nor named in `given`.
    """
    fields, in_source = target._fields, source._fields  # type: ignore[attr-defined]
    for name in fields:
        if name not in in_source and name not in given:
            raise TypeError(f"field {name!r} of {target.__name__} is neither a field of {source.__name__} nor given")
    values = ", ".join(name if name in given else f"source.{name}" for name in fields)
    text = f"lambda source, {', '.join(given)}: target({values})"
    function: Callable[..., Any] = eval(text, {"target": target})  # noqa: S307 - the text holds field names only
    return function


def replacer(record: type, name: str) -> Callable[[Any, Any], tuple[Any, ...]]:
    """Return a function `(values, value)` that replaces the named field in a record, or in a plain tuple in its field order.

    The function returns a plain tuple.
    """
    fields = record._fields  # type: ignore[attr-defined]
    if name not in fields:
        raise TypeError(f"{record.__name__} has no field {name!r}")
    names: dict[str, Any] = {}
    lines = f"{', '.join(fields)} = values", f"return {', '.join('value' if field == name else field for field in fields)}"
    exec("\n    ".join(("def function(values, value):", *lines)), names)  # noqa: S102 - the text holds field names only
    function: Callable[[Any, Any], tuple[Any, ...]] = names["function"]
    return function


def filler(target: type) -> Callable[[Any], Any]:
    """Return a function that builds a record with one value in every field."""
    fields = target._fields  # type: ignore[attr-defined]
    text = f"lambda value: target({', '.join('value' for _ in fields)})"
    function: Callable[[Any], Any] = eval(text, {"target": target})  # noqa: S307 - the text holds no outside input
    return function
