"""Write one straight-line Python function of floats from functions of numbers and records, for single environments.

Python spends more time on calls, records and loops over members than on arithmetic. :func:`unrolled` runs a function once on
*symbols* in place of numbers. What the function computes becomes a graph of operations, and the graph becomes the text of a
function without calls and records, with the same operations in the same order for each number: the same result to the last bit.

    def cost(state, shares):                      unrolled(cost, State(NUMBER, 0.5), NUMBER)
        return minimum(shares, state.left) * state.price

    def function(given0, given1):
        s0, _ = given0
        return (given1 if given1 < s0 else s0) * 0.5
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import inf, nan
from types import BuiltinFunctionType
from typing import Any, Final, NamedTuple

from hyperexec_env.records import is_record, rebuilt

__all__ = ["NUMBER", "Symbol", "opaque", "symbolic", "unrolled"]

NUMBER: Final = object()
"""An argument, or an element of one, that is a number of a call; all other numbers are constants of the function."""
Function = Callable[[list[float]], Sequence[float]]
"""A function of a list of numbers that is called as it is."""
Join = Callable[[Sequence[Any]], Function]
"""A function from several functions to one function of all their lists."""
_NAMES: Final = re.compile(r"\b[st]\d+\b")
"""Names of numbers in the text: arguments and results of operations."""
_DEEPEST: Final = 12
"""Largest number of operations nested in one expression."""
_SHAPES: Final = {
    **{name: f"{{}} {sign} {{}}" for name, sign in (("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("pow", "**"))},
    **{name: f"{{}} {sign} {{}}" for name, sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="))},
    **{"ne": "{} != {}", "and": "{} & {}", "or": "{} | {}", "neg": "-{}", "abs": "abs({})"},
}
"""Text of each operator, by the name of its method."""


_RESULT: Final = ""
"""Text of a result of a call, whose name the call assigns."""


class Symbol:
    """A number that is not known yet: an operation and its operands."""

    __slots__ = ("number", "operands", "shape")
    _numbers = itertools.count()
    __hash__ = object.__hash__

    def __init__(self, shape: str, *operands: Any) -> None:
        """Store the text of the operation with a pair of braces for each operand."""
        self.shape, self.operands = shape, operands
        self.number = next(self._numbers)
        """Position in the order of computation."""

    def __bool__(self) -> bool:
        """Raise TypeError: a branch in Python cannot depend on a number that is not known yet."""
        raise TypeError("a condition on a number must be written with `where` to be unrolled")


def _operator(shape: str, swapped: bool = False) -> Callable[..., Symbol]:
    """Return the method of an operator."""

    def method(self: Any, *other: Any) -> Symbol:
        return Symbol(f"({shape})", *(reversed((self, *other)) if swapped else (self, *other)))

    return method


for _name, _shape in _SHAPES.items():
    setattr(Symbol, f"__{_name}__", _operator(_shape))
    if _name in ("add", "sub", "mul", "truediv", "pow", "and", "or"):
        setattr(Symbol, f"__r{_name}__", _operator(_shape, swapped=True))


def _symbolic(values: Sequence[Any]) -> bool:
    """Return whether a symbol is among some values."""
    return any(isinstance(value, Symbol) for value in values)


@cache
def _source(form: Any) -> tuple[tuple[str, ...], tuple[ast.stmt, ...]]:
    """Return the parameters and the statements of the form of a function for numbers."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(form)))
    wanted = ast.FunctionDef if form.__name__ != "<lambda>" else ast.Lambda
    found = [node for node in ast.walk(tree) if isinstance(node, wanted)]
    node: Any = found[0]
    body = [ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body
    return tuple(argument.arg for argument in node.args.args), tuple(body)


def _caller(form: Any) -> Callable[..., Any]:
    """Return a form for numbers that also takes symbols, for which its conditions become part of the text."""

    def call(*given: Any) -> Any:
        if not _symbolic(given):
            return form(*given)
        parameters, body = _source(form)
        names = {name: _called(value) for name, value in form.__globals__.items() if name in form.__code__.co_names}
        return _run(body, names, dict(zip(parameters, given, strict=True)))

    return call


def _called(function: Any) -> Any:
    """Return a function of C, such as `math.sqrt`, that also takes symbols; any other value as it is."""
    if not isinstance(function, BuiltinFunctionType):
        return function

    def call(*given: Any) -> Any:
        if not _symbolic(given):
            return function(*given)
        return Symbol(f"{{}}({', '.join('{}' for _ in given)})", _Name(function), *given)

    return call


def _run(body: Sequence[ast.stmt], names: dict[str, Any], values: dict[str, Any]) -> Any:
    """Return what statements return: assignments, conditions that return, and a return."""
    statement: Any = body[0]
    if isinstance(statement, ast.Return) and statement.value is not None:
        return _value(statement.value, names, values)
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return _run(body[1:], names, {**values, statement.targets[0].id: _value(statement.value, names, values)})
    if isinstance(statement, ast.If) and not statement.orelse:
        return _chosen(
            _value(statement.test, names, values),
            lambda: _run(statement.body, names, values),
            lambda: _run(body[1:], names, values),
        )
    raise TypeError(f"a form for numbers with {type(statement).__name__} cannot be unrolled")


def _value(node: ast.expr, names: dict[str, Any], values: dict[str, Any]) -> Any:
    """Return the value of an expression; a condition on a symbol becomes part of the text."""
    if isinstance(node, ast.IfExp):
        test = _value(node.test, names, values)
        return _chosen(test, lambda: _value(node.body, names, values), lambda: _value(node.orelse, names, values))
    return eval(compile(ast.Expression(node), "<form>", "eval"), names, values)  # noqa: S307 - source of this package


def _chosen(test: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """Return one of two values."""
    if not isinstance(test, Symbol):
        return yes() if test else no()
    return Symbol("({1} if {0} else {2})", test, yes(), no())


def opaque(function: Function, count: int, join: Join | None = None) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function from a list of numbers to a list of `count` numbers that :func:`unrolled` calls as it is.

    Args:
        function: The function of floats.
        count: Number of results.
        join: Joins several such functions: the joint function takes their lists, one after another, and returns their results
            likewise. The text then calls functions that do not need the results of one another at once.
    """
    known: dict[tuple[int, ...], list[Symbol]] = {}

    def call(values: Sequence[Any]) -> list[Symbol]:
        key = tuple(value.number for value in values)
        if key not in known:  # the text calls the function once for the same numbers
            made = _Call(function, values, join)
            made.results = known[key] = [Symbol(_RESULT, made) for _ in range(count)]
        return known[key]

    return call


class _Call(Symbol):
    """A call of an opaque function."""

    __slots__ = ("join", "results")

    def __init__(self, function: Function, values: Sequence[Any], join: Join | None) -> None:
        """Store the call."""
        super().__init__(f"{{}}([{', '.join('{}' for _ in values)}])", _Name(function), *values)
        self.join = join
        self.results: list[Symbol] = []


def _joined(join: Join, calls: Sequence[_Call]) -> _Call:
    """Return one call in place of several."""
    names, values = zip(*((call.operands[0], call.operands[1:]) for call in calls), strict=True)
    made = _Call(join([name.function for name in names]), list(itertools.chain(*values)), join)
    made.results = [result for call in calls for result in call.results]
    return made


class _Name(NamedTuple):
    """A function that the text calls."""

    function: Any


def symbolic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of numbers and records that also takes symbols: an argument of a function that is unrolled."""
    made: Callable[..., Any] = rebuilt(function, _caller)
    return made


def unrolled(function: Callable[..., Any], *given: Any, **inner: Any) -> Callable[..., Any]:
    """Return a function of floats that computes what a function of numbers and records computes.

    The function takes one argument for each argument of `given` that has a :data:`NUMBER`, and returns tuples where the
    function returns tuples, lists or records.

    Args:
        function: The function; its conditions on numbers are written with `where` and other functions that have a form for
            numbers (:func:`~hyperexec_env.records.for_numbers`).
        given: Arguments: numbers, or nested lists, tuples and records, with :data:`NUMBER` for each number of a call.
        inner: Replacements, by name, of functions that are called.

    Raises:
        TypeError: A branch of the function depends on a number of a call.
    """
    arguments, names, heads = [], [], []
    leaves = itertools.count()
    for index, value in enumerate(given):
        symbols, text = _opened(value, leaves, f"given{index}")
        arguments.append(symbols)
        if text != "_":
            names.append(f"given{index}")
            heads += [] if text == f"given{index}" else [f"{text} = given{index}"]
    made = rebuilt(function, _caller, **inner)(*arguments)
    body, used = _written(made)
    lines = [f"def function({', '.join(names)}):", *(f"    {line}" for line in _renamed([*heads, *body]))]
    space: dict[str, Any] = {"inf": inf, "nan": nan, **used}
    exec("\n".join(lines), space)  # noqa: S102 - the text holds operators and numbers only
    result: Callable[..., Any] = space["function"]
    return result


def _renamed(lines: Sequence[str]) -> list[str]:
    """Return statements in which the name of a number that is not needed any more is used again.

    Python then frees the number, whose memory the next one takes.
    """
    last = {name: number for number, line in enumerate(lines) for name in _NAMES.findall(line)}
    chosen: dict[str, str] = {}
    free: list[str] = []
    made = []
    for number, line in enumerate(lines):
        targets, sign, value = line.rpartition(" = ") if not line.startswith("return ") else ("", "", line)
        used, set_here = dict.fromkeys(_NAMES.findall(value)), dict.fromkeys(_NAMES.findall(targets))
        read = _NAMES.sub(lambda match: chosen[match.group()], value)
        free += [chosen[name] for name in used if last[name] == number]
        for name in set_here:
            chosen[name] = free.pop() if free else f"v{len(chosen)}"
        free += [chosen[name] for name in set_here if last[name] == number]
        made.append(_NAMES.sub(lambda match: chosen[match.group()], targets) + sign + read)
    return made


def _opened(value: Any, leaves: Iterator[int], name: str) -> tuple[Any, str]:
    """Return an argument with symbols for its numbers, and the text that unpacks it; "_" for one that is constant."""
    if value is NUMBER:
        return Symbol(name), name
    if not isinstance(value, (tuple, list)):
        return value, "_"
    parts = [_opened(part, leaves, f"s{next(leaves)}") for part in value]
    symbols = [symbol for symbol, _ in parts]
    made = type(value)(*symbols) if is_record(value) else type(value)(symbols)
    text = ", ".join(text for _, text in parts)
    return made, "_" if all(text == "_" for _, text in parts) else f"({text},)"


def _children(value: Any) -> tuple[Any, ...]:
    """Return the elements of a tuple or list, or the operands of a symbol."""
    if isinstance(value, Symbol):
        return value.operands
    if isinstance(value, _Name):
        return ()
    return tuple(value) if isinstance(value, (tuple, list)) else ()


def _shared(made: Any) -> Any:
    """Return a value in which equal operations on the same numbers are one symbol."""
    nodes, _ = _uses_of(made)
    kept: dict[Any, Symbol] = {}
    instead: dict[int, Symbol] = {}

    def replaced(value: Any) -> Any:
        if isinstance(value, Symbol):
            return instead[value.number]
        return tuple(map(replaced, value)) if type(value) in (tuple, list) or is_record(value) else value

    for number, symbol in sorted(nodes.items()):
        symbol.operands = tuple(instead[part.number] if isinstance(part, Symbol) else part for part in symbol.operands)
        alone = isinstance(symbol, _Call) or symbol.shape == _RESULT
        key = number if alone else (symbol.shape, *map(_identity, symbol.operands))
        instead[number] = kept.setdefault(key, symbol)
    return replaced(made)


def _identity(operand: Any) -> Any:
    """Return a key that is equal for equal operands only: 0.0 and -0.0 are two numbers."""
    return operand.number if isinstance(operand, Symbol) else (type(operand), repr(operand))


def _uses_of(made: Any) -> tuple[dict[int, Symbol], Counter[int]]:
    """Return the symbols that a value needs, in the order of computation, and how often each is used, by number."""
    uses: Counter[int] = Counter()
    nodes: dict[int, Symbol] = {}
    queue = [made]
    while queue:
        value = queue.pop()
        if isinstance(value, Symbol):
            uses[value.number] += 1
            if value.number in nodes:
                continue
            nodes[value.number] = value
        queue += _children(value)
    return nodes, uses


def _ordered(nodes: dict[int, Symbol]) -> list[Symbol]:
    """Return symbols in an order of computation in which calls that can be joined are one call."""
    stages: dict[int, int] = {}
    """Number of calls, each on results of the one before, that each symbol needs."""
    order: list[tuple[int, int, Symbol]] = []
    calls: dict[tuple[int, Join], list[_Call]] = {}
    for number, symbol in sorted(nodes.items()):
        needed = (stages[operand.number] for operand in symbol.operands if isinstance(operand, Symbol))
        stage = stages[number] = max(needed, default=0) + (symbol.shape == _RESULT)
        if isinstance(symbol, _Call) and symbol.join:
            calls.setdefault((stage, symbol.join), []).append(symbol)
        else:
            order.append((stage, number, symbol))
    for (stage, join), several in calls.items():
        call = _joined(join, several) if len(several) > 1 else several[0]
        order.append((stage, call.number, call))
    return [symbol for *_, symbol in sorted(order)]


def _written(made: Any) -> tuple[list[str], dict[str, Any]]:
    """Return the statements that compute and return a value, and the functions that they call, by name."""
    made = _shared(made)
    nodes, uses = _uses_of(made)
    texts: dict[int, tuple[str, int]] = {}
    """Text and depth of each symbol."""
    body: list[str] = []
    functions: dict[str, Any] = {}

    def text(value: Any) -> tuple[str, int]:
        if isinstance(value, Symbol):
            return texts[value.number]
        if isinstance(value, _Name):
            name = f"f{id(value.function)}"
            functions[name] = value.function
            return name, 0
        if isinstance(value, (tuple, list)):
            return f"({''.join(f'{text(part)[0]}, ' for part in value)})", 0
        return f"({float(value) if isinstance(value, float) else value!r})", 0

    for symbol in _ordered(nodes):
        number = symbol.number
        if symbol.shape == _RESULT:
            texts[number] = f"t{number}", 0
            continue
        parts = [text(operand) for operand in symbol.operands]
        line = symbol.shape.format(*(part for part, _ in parts))
        depth = 1 + max((depth for _, depth in parts), default=-1)
        if isinstance(symbol, _Call):
            body.append(f"{''.join(f't{result.number}, ' for result in symbol.results)}= {line}")
        elif symbol.operands and (uses[number] > 1 or depth > _DEEPEST):
            body.append(f"t{number} = {line}")
            line, depth = f"t{number}", 0
        texts[number] = line, depth
    return [*body, f"return {text(made)[0]}"], functions
