"""The command ``hyperexec``: one module for each command, named by its words (``train_ppo`` is ``hyperexec train ppo``).

A command module has a docstring, whose first line (up to a colon) describes the command in ``hyperexec --help``; a dataclass
`Args`, the options; and `main(args)`, which returns the result. `ORDER`, a number, places the command in the list; without it
the command comes last. What all commands share, ``--json`` above all, is in :mod:`hyperexec_env.cli._command`. No module
outside this package imports it.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

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
    """Return the words of each command and the name of its module."""
    names = (found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    return {tuple(name.split("_")): f"{__name__}.{name}" for name in names}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 for a failure, 2 for bad input, 130 for an interruption."""
    words = list(sys.argv[1:] if words is None else words)
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
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _explain(words: list[str], known: dict[tuple[str, ...], str]) -> int:
    """Answer words that name no command: with the help, the version, or an error."""
    parser = Parser(prog="hyperexec", description="Optimal execution: environment, baselines, training, leaderboard.")
    parser.add_argument("--version", action="version", version=f"hyperexec {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for entry in sorted(_entry(" ".join(key), module) for key, module in known.items()):
        subparsers.add_parser(entry.words, help=entry.meaning, add_help=False)
    groups = {key[0] for key in known if len(key) > 1}
    parser.parse_args([" ".join(words[:2])] if len(words) > 1 and words[0] in groups else words)
    return 0


def _entry(words: str, module: str) -> _Entry:
    """Return the line of a command, read from its source: importing all commands would take seconds."""
    spec = find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else "")
    meaning = (ast.get_docstring(tree) or "").partition("\n")[0].partition(":")[0].rstrip(".")
    constants = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    order = ast.literal_eval(constants["ORDER"]) if "ORDER" in constants else float("inf")
    return _Entry(order, words, meaning.replace("%", "%%"))


def _fail(message: str) -> int:
    """Print on one line what is wrong with the input."""
    print(f"hyperexec: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
