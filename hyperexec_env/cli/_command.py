"""Shared behaviour of all commands: parse `Args`, check files before the work, show results as text or JSON, exit code."""

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
from hyperexec_env.checks import one_line, printable
from hyperexec_env.evaluation.network import policy_files
from hyperexec_env.files import check_folder, check_target, write_atomically
from hyperexec_env.market.scenario import scenario_files

__all__ = ["Report", "run"]


class Report(NamedTuple):
    """Result of a command without a result class of its own."""

    text: str
    plain: Any
    """Value for ``--json``: dicts, lists, texts and numbers."""
    exit_code: int = 0

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def to_dict(self) -> Any:
        """Return the plain values."""
        return self.plain


def run(command: ModuleType, prog: str, words: Sequence[str]) -> int:
    """Parse the options of a command, check its files, run it, show its result, and return the exit code.

    The result of `command.main` must support `str` and have `to_json()` or `to_dict()`; its attribute `exit_code`, if any, is
    the exit code. With JSON on standard output, the other output of the command goes to standard error.

    Args:
        command: Module of the command.
        prog: Name of the command in the help.
        words: Command-line arguments.

    Raises:
        ValueError: The input is invalid; nothing was written.
        SystemExit: The parser rejects the arguments, ``--help``, or a determinism alarm of the store.
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
            raise SystemExit(one_line(f"hyperexec: alarm: {error}")) from None
    _show(result, [path for _, path in files_of(args, "output")], given.json)
    return getattr(result, "exit_code", 0)


def _check_files(args: Any, json_target: str | None) -> None:
    """Check, before the work, that output files are writable and replace neither each other nor a file that the command uses.

    The command uses what its options name, and what the properties `inputs` and `outputs` of `Args` return, if it has them:
    files and folders that it reads, or writes itself.

    Raises:
        ValueError: An output file is invalid; the message names it.
    """
    for name, path in files_of(args, "output"):
        if path == "-":
            raise ValueError(f"{name} must be a file, got '-'")
    for _, path in files_of(args, "folder"):
        check_folder(path)
    stores, outputs = files_of(args, "store"), files_of(args, "output")
    read = [*(path for _, path in files_of(args, "input")), *getattr(args, "inputs", ())]
    policies = [path for _, path in files_of(args, "policy")]
    read += [file for path in policies for file in policy_files(path)] + [path for path in policies if os.path.isfile(path)]
    read += [file for _, scenario in files_of(args, "scenario") for file in scenario_files(scenario)]
    for _, path in stores:
        check_target(path, read)
    read += [path for _, path in stores]
    written = getattr(args, "outputs", ())
    named = outputs if json_target in (None, "-") else [("json", json_target), *outputs]
    for _, path in named:
        check_target(path, read, written)
    for (name, path), (other, second) in combinations(named, 2):
        if os.path.realpath(path) == os.path.realpath(second) != os.devnull:
            raise ValueError(f"{name} and {other} must be two files, got {second!r} twice")


def _is_alarm(error: RuntimeError) -> bool:
    """Return whether an error is a determinism alarm of the store, without importing the store."""
    store = sys.modules.get("hyperexec_env.evaluation.store")
    return store is not None and isinstance(error, store.DeterminismAlarm)


def _show(result: Any, written: Sequence[str], target: str | None) -> None:
    """Print a result as JSON if `target` is "-", else as text; write JSON to any other target.

    Warnings of the scenario that the text does not contain go to standard error.
    """
    warnings = getattr(getattr(result, "scenario", None), "warnings", ())
    if target is not None:
        content = (
            result.to_json() if hasattr(result, "to_json") else json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n"
        )
        if target == "-":
            print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)
            print(content, end="")
            return
        write_atomically(target, content)
    text = str(result)
    for warning in warnings:
        if warning not in text:
            print(warning, file=sys.stderr)
    lines = [*text.split("\n"), *([""] if written else []), *(f"wrote {path}" for path in written)]
    print("\n".join(map(printable, lines)))  # names and descriptions come from files of others
