"""Checks of plans: every line takes records that a line before it makes."""

from __future__ import annotations

from typing import Any, Final

from hyperexec_env.backends.plan import Each, For, Line, Look, Pass, Pick, Program, Repeat, Show, Sum, Unless, made_by, taken_by

__all__ = ["name_of", "records_in_memory"]

_NOT_MADE: Final = ", which no line before it makes for these lanes"
"""End of the error of a line that takes a record too early."""


def records_in_memory(program: Program, plan: tuple[Line, ...]) -> set[Any]:
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
            raise TypeError(f"stage {stage.__name__} takes {name_of(record)}{_NOT_MADE}")
        in_memory |= taken
        made |= set(made_by(stage)) if isinstance(line, Pass) else set()
    shown = (line.record, line.behind) if isinstance(line, Show) else (line.record,) if isinstance(line, Pick) else ()
    if isinstance(line, Sum):
        shown = (line.source,)
        made.add(line.target)
        in_memory.add(line.target)
    for record in (record for record in shown if record is not None):
        if record not in known - {*program.given}:
            raise TypeError(f"line {type(line).__name__} takes {name_of(record)}{_NOT_MADE}")
        in_memory.add(record)
    for record in line.records if isinstance(line, Look) else ():
        if not any(record in source.tables for source in (program, *program.members[:1])):
            raise TypeError(f"line Look takes {name_of(record)}, which has no table")
        made.add(record)
    return made


def name_of(record: Any) -> str:
    """Return the name of a record type, or of an extra argument."""
    return record if isinstance(record, str) else str(record.__name__)
