"""Functions of several values at once, such as the numbers of some venues, in Python and in compiled loops.

*Several* values are a tuple, a list, or a record made by :func:`~hyperexec_env.records.numbered`; their number is known when a
loop is compiled, which then calls the functions one after another, without a loop. The values are floats, arrays or records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import chain, repeat
from typing import Any

from hyperexec_env.records import for_several, is_numbered

__all__ = ["each", "fold", "joined", "others"]


def _is_several(value: Any) -> bool:
    """Return whether an argument is several values."""
    kind = type(value)
    return kind is tuple or kind is list or is_numbered(kind)


def _each(counts: Sequence[int | None]) -> str:
    names = [f"given{i}" for i in range(len(counts) - 1)]
    several = {name for name, count in zip(names, counts[1:], strict=True) if count is not None}
    count = next(count for count in counts[1:] if count is not None)
    calls = [f"function({', '.join(f'{name}[{i}]' if name in several else name for name in names)})" for i in range(count)]
    return f"lambda function, {', '.join(names)}: ({''.join(f'{call}, ' for call in calls)})"


@for_several(_each)
def each(function: Callable[..., Any], *given: Any) -> tuple[Any, ...]:
    """Return the results of a function for each of several values; an argument that is one value is passed to every call."""
    return tuple(map(function, *(value if _is_several(value) else repeat(value) for value in given)))


def _joined(counts: Sequence[int | None]) -> str:
    names = [f"values{i}" for i in range(len(counts))]
    parts = (f"{name}[{i}], " for name, count in zip(names, counts, strict=True) for i in range(count or 0))
    return f"lambda {', '.join(names)}: ({''.join(parts)})"


@for_several(_joined)
def joined(*values: Sequence[Any]) -> tuple[Any, ...]:
    """Return several values, one after another, as a plain tuple."""
    return tuple(chain(*values))


def _fold(counts: Sequence[int | None]) -> str:
    text = "values[0]"
    for i in range(1, counts[1] or 1):
        text = f"function({text}, values[{i}])"
    return f"lambda function, values: {text}"


@for_several(_fold)
def fold(function: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    """Return f(f(v_0, v_1), v_2)...: with `operator.add`, the sum from left to right."""
    return reduce(function, values)


def _others(counts: Sequence[int | None]) -> str:
    count = counts[0] or 0
    sums = ["0.0" + "".join(f" + values[{j}]" for j in range(count) if j != i) for i in range(count)]
    return f"lambda values: ({''.join(f'{text}, ' for text in sums)})"


@for_several(_others)
def others(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return for each value the sum of the others, added to 0.0 from left to right."""
    made = []
    for own in range(len(values)):
        total: Any = 0.0
        for other, value in enumerate(values):
            if other != own:
                total = total + value
        made.append(total)
    return tuple(made)
