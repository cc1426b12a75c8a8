"""What all commands share: options from `Args`, checks of files before the work, results as text and as JSON, the exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from itertools import combinations
from types import ModuleType
from typing import Any, NamedTuple

from hyperexec_env.arguments import Parser, add_arguments, files_of, parse
from hyperexec_env.files import check_target, write_atomically

__all__ = ["Report", "run"]


class Report(NamedTuple):
    """A result that has no class of its own."""

    text: str
    plain: Any
    """What ``--json`` writes: dicts, lists, texts and numbers."""
    exit_code: int = 0

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def to_dict(self) -> Any:
        """Return the plain values."""
        return self.plain


def run(command: ModuleType, prog: str, words: Sequence[str]) -> int:
    """Parse the options of a command, check its files, run it, and show its result.

    The result of `command.main` prints itself (`str`) and has `to_json()` or `to_dict()`; its `exit_code`, if it has one, is
    returned. With JSON on standard output, whatever the command prints on its way goes to standard error.

    Raises:
        ValueError: Bad input; nothing was written.
        SystemExit: Words that the parser refuses, ``--help``, or a determinism alarm of the store.
    """
    parser = Parser(prog=prog, description=command.__doc__, allow_abbrev=False)
    add_arguments(parser, command.Args)
    meaning = "write the result as JSON to this file (without a file: to standard output)"
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help=meaning)
    given = parser.parse_args(words)
    args: Any = parse(command.Args, given)
    _check_files(args, given.json)
    with redirect_stdout(sys.stderr) if given.json == "-" else nullcontext():
        try:
            result = command.main(args)
        except RuntimeError as error:
            if not _is_alarm(error):
                raise
            raise SystemExit(f"hyperexec: alarm: {error}") from None
    _show(result, [path for _, path in files_of(args, "output")], given.json)
    return getattr(result, "exit_code", 0)


def _check_files(args: Any, target: str | None) -> None:
    """Refuse, before the work, files that could not be written after it, or that would replace an input or each other."""
    outputs = files_of(args, "output")
    inputs = [path for _, path in files_of(args, "input")] + list(getattr(args, "inputs", ()))
    for name, path in outputs:
        check_target(path, inputs)
        if path == "-":
            raise ValueError(f"{name} must be a file, got '-'")
    check_target(target, inputs)
    named = outputs if target in (None, "-") else [("json", target), *outputs]
    for (name, path), (other, second) in combinations(named, 2):
        if os.path.realpath(path) == os.path.realpath(second):
            raise ValueError(f"{name} and {other} must be two files, got {second!r} twice")


def _is_alarm(error: RuntimeError) -> bool:
    """Whether an error is the determinism alarm of a store; the store is imported only by commands that use it."""
    store = sys.modules.get("hyperexec_env.evaluation.store")
    return store is not None and isinstance(error, store.DeterminismAlarm)


def _show(result: Any, written: Sequence[str], target: str | None) -> None:
    """Print a result: as JSON where `target` is "-", else as text; write JSON to any other target."""
    if target is not None:
        content = (
            result.to_json() if hasattr(result, "to_json") else json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n"
        )
        if target == "-":
            print(content, end="")
            return
        write_atomically(target, content)
    print("\n".join([str(result), *([""] if written else []), *(f"wrote {path}" for path in written)]))
