"""The command ``hyperexec``: one module per command, named by its words (``train_ppo`` is ``hyperexec train ppo``).

A command module has a docstring, whose first line (up to a colon) is the description in ``hyperexec --help``; a dataclass
`Args` of the options; and `main(args)`, which returns the result. The number `ORDER` sets the position in the list; a command
without it comes last. :mod:`hyperexec_env.cli._command` implements the behaviour of all commands, such as ``--json``. No module
outside this package imports it.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hyperexec_env import __version__
from hyperexec_env.arguments import Parser
from hyperexec_env.extras import MissingExtra

__all__ = ["commands", "main"]


class _Entry(NamedTuple):
    """A line of ``hyperexec --help``."""

    order: float
    words: str
    meaning: str


def commands() -> dict[tuple[str, ...], str]:
    """Return the module name of each command, by the words of the command."""
    names = (found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    return {tuple(name.split("_")): f"{__name__}.{name}" for name in names}


class _Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Raise an exception in the block on SIGTERM, as Python does on SIGINT, so that files are closed or removed.

    Signals that the process ignores stay ignored. Outside the main thread, which alone receives signals, nothing changes.
    """

    def terminate(number: int, frame: Any) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 success, 1 failure, 2 bad input, 130 interrupted, 143 terminated (SIGTERM)."""
    words = list(sys.argv[1:] if words is None else words)
    try:
        with _sigterm_as_exception():
            return _run(words)
    except _Terminated:
        print("terminated", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _run(words: list[str]) -> int:
    """Run one command and return the exit code."""
    known = commands()
    key = next((key for size in (2, 1) if (key := tuple(words[:size])) in known), None)
    if key is None:
        return _explain(words, known)
    try:
        from hyperexec_env.cli._command import run

        return run(importlib.import_module(known[key]), f"hyperexec {' '.join(key)}", words[len(key) :])
    except MissingExtra as error:
        return _fail(str(error))
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _explain(words: list[str], known: dict[tuple[str, ...], str]) -> int:
    """Print the help, the version or an error for words that name no command."""
    parser = Parser(prog="hyperexec", description="Optimal execution: environment, baselines, training, leaderboard.")
    parser.add_argument("--version", action="version", version=f"hyperexec {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for entry in sorted(_entry(" ".join(key), module) for key, module in known.items()):
        subparsers.add_parser(entry.words, help=entry.meaning, add_help=False)
    groups = {key[0] for key in known if len(key) > 1}
    parser.parse_args([" ".join(words[:2])] if len(words) > 1 and words[0] in groups else words)
    return 0


def _entry(words: str, module: str) -> _Entry:
    """Return the help line of a command, parsed from its source, because importing every command takes seconds."""
    spec = find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else "")
    meaning = (ast.get_docstring(tree) or "").partition("\n")[0].partition(":")[0].rstrip(".")
    constants = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    order = ast.literal_eval(constants["ORDER"]) if "ORDER" in constants else float("inf")
    return _Entry(order, words, meaning.replace("%", "%%"))


def _fail(message: str) -> int:
    """Print an error message on one line and return exit code 2."""
    print(f"hyperexec: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
