"""The command ``hyperexec``: one module per command, named by its words (``train_ppo`` is ``hyperexec train ppo``).

A command module has a docstring, whose first line (up to a colon) is the description in ``hyperexec --help``; a dataclass
`Args` of the options; and `main(args)`, which returns the result. The number `ORDER` sets the position in the list; a command
without it comes last. :mod:`hyperexec_env.cli._command` implements the behaviour of all commands, such as ``--json``. No module
outside this package imports it.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from hyperexec_env import __version__
from hyperexec_env.arguments import Parser
from hyperexec_env.checks import after_echo, one_line
from hyperexec_env.cli._signals import Raiser, destructors_silenced, signals_as_exceptions
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
    return {tuple(name.replace("__", "-").split("_")): f"{__name__}.{name}" for name in names}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 success, 1 failure, 2 bad input, 130 interrupted, 143 terminated (SIGTERM)."""
    raiser = Raiser()
    with destructors_silenced(raiser):
        return _exit_code(list(sys.argv[1:] if words is None else words), raiser)


def _exit_code(words: list[str], raiser: Raiser) -> int:
    """Run one command, report its error on one line, and return the exit code."""
    try:
        with signals_as_exceptions(raiser):
            try:
                return _run(words)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # a full disk is found here, not in the shutdown of Python
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        return _fail("terminated" if number == signal.SIGTERM else "interrupted", 128 + number, prefix=after_echo())
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}")
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except RecursionError:
        return _fail("the input is nested too deeply")
    except (MissingExtra, ValueError) as error:
        return _fail(str(error))


def _run(words: list[str]) -> int:
    """Run one command and return the exit code."""
    known = commands()
    key = next((key for size in (2, 1) if (key := tuple(words[:size])) in known), None)
    if key is None:
        return _explain(words, known)
    from hyperexec_env.cli._command import run

    return run(importlib.import_module(known[key]), f"hyperexec {' '.join(key)}", words[len(key) :])


def _drop_output() -> None:
    """Send standard output to nowhere, so that Python does not try to write the rest again when it ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(words: list[str], known: dict[tuple[str, ...], str]) -> int:
    """Print the help, the version or an error for words that name no command."""
    parser = Parser(prog="hyperexec", description="Optimal execution: environment, baselines, training, leaderboard.")
    parser.add_argument("--version", action="version", version=f"hyperexec {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    groups = {key[0] for key in known if len(key) > 1}
    if len(words) == 2 and words[0] in groups and words[1] in ("-h", "--help"):
        known = {key: module for key, module in known.items() if key[0] == words[0]}
        words = ["--help"]
    for entry in sorted(_entry(" ".join(key), module) for key, module in known.items()):
        subparsers.add_parser(entry.words, help=entry.meaning, add_help=False)
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


def _fail(message: str, code: int = 2, prefix: str = "hyperexec: error: ") -> int:
    """Print a message on one line of standard error and return the exit code."""
    with suppress(OSError):  # standard error is full or closed
        print(prefix + one_line(message), file=sys.stderr, flush=True)
    return code
