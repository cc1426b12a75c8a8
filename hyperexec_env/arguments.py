"""Command lines from dataclasses: a dataclass declares each option once, with its default and its help text."""

from __future__ import annotations

import argparse
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from hyperexec_env.checks import nearest, one_line

__all__ = [
    "Parser",
    "Role",
    "add_arguments",
    "build",
    "changed",
    "files_of",
    "option",
    "parse",
    "refuse_changed",
    "run_script",
    "scenario_option",
]

Record = TypeVar("Record")
Role = Literal["input", "scenario", "policy", "output", "store", "folder"]
"""What a script does with the files that an option names: it reads a file ("input"), a scenario with its bases ("scenario") or
the folder of a trained policy ("policy"), writes a file ("output"), reads and writes a store of results ("store"), or writes to
a folder ("folder")."""


def option(
    default: Any = MISSING,
    meaning: str = "",
    *,
    positional: bool = False,
    choices: Sequence[str] = (),
    file: Role | Literal[""] = "",
    each: bool = False,
) -> Any:
    """Declare an option of a script.

    Args:
        default: Default; without one the option is required.
        meaning: One line for the help.
        positional: Whether it is an argument without a name.
        choices: Permitted words.
        file: Role of the files that the option names; "" for an option that names none.
        each: Whether an option that takes several values takes one each time, so that an argument may follow it.
    """
    metadata = {"help": meaning, "positional": positional, "choices": tuple(choices) or None, "file": file, "each": each}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def scenario_option(default: str = "regime-day", *, positional: bool = False) -> Any:
    """Declare the option that names a scenario."""
    return option(default, "name of a scenario or path of a .toml file", positional=positional, file="scenario")


def files_of(args: Any, *roles: Role) -> list[tuple[str, str]]:
    """Return what the options with some roles name, each as (option, path or name)."""
    found: list[tuple[str, str]] = []
    for item in fields(args):
        value = getattr(args, item.name)
        if item.metadata.get("file") in roles and value not in (None, ""):
            found += [(item.name, path) for path in (value if isinstance(value, tuple) else (value,))]
    return found


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and suggest the nearest valid word."""

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or version; unlike argparse, raise an OSError if that fails."""
        print(message, end="", file=file or sys.stderr, flush=True)

    def error(self, message: str) -> NoReturn:
        """Print the error on one line, with a suggestion, and exit with code 2."""
        known = [text for action in self._actions for text in action.option_strings]
        if message.startswith("unrecognized arguments:"):
            wrong = next((word for word in message.split(":", 1)[1].split() if word.startswith("-")), "")
            message += nearest(wrong.split("=")[0], known) if wrong else ""
        if "invalid choice: " in message:  # argparse lists all choices; suggest the nearest one
            wrong, _, listed = message.partition("invalid choice: ")[2].partition(" (choose from ")
            choices = [text.strip(" '") for text in listed.rstrip(")").split(",")]
            message = message.replace(wrong, wrong + nearest(wrong.strip("'"), choices), 1)
        with suppress(OSError):  # standard error is full or closed
            self._print_message(f"{self.prog}: error: {one_line(message)}\n")
        self.exit(2)


class _Several(argparse.Action):
    """Collect the values of an option that takes several, over all its occurrences; they replace the default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Append the values of one occurrence."""
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(given if isinstance(given, list) else []), *values])


def add_arguments(parser: argparse.ArgumentParser, record: type) -> None:
    """Add one argument for each field of a dataclass."""
    hints = typing.get_type_hints(record)
    for item in fields(record):
        kind = _plain(hints[item.name])
        several = typing.get_origin(kind) is tuple
        value = typing.get_args(kind)[0] if several else kind
        positional, required = item.metadata.get("positional", False), item.default is MISSING
        name = item.name if positional else "--" + item.name.replace("_", "-")
        meaning = item.metadata.get("help", "").replace("%", "%%")  # argparse formats it
        settings: dict[str, Any] = {"help": meaning, "choices": item.metadata.get("choices")}
        if not required and item.default not in (None, "", ()) and kind is not bool:
            settings["help"] += f" (default: {' '.join(map(str, typing.cast(Any, item.default))) if several else item.default})"
        if kind is bool:
            settings = {"help": settings["help"], "action": argparse.BooleanOptionalAction, "default": item.default}
        else:
            settings["type"] = value
            settings["default"] = None if required else item.default
            if several:
                settings["action"] = _Several
                settings["nargs"] = 1 if item.metadata.get("each") else "*" if positional and not required else "+"
            elif positional and not required:
                settings["nargs"] = "?"
            if required and not positional:
                settings["required"] = True
            settings["metavar"] = None if settings["choices"] else item.name.upper()
        parser.add_argument(name, **{key: value for key, value in settings.items() if key != "choices" or value})


def _plain(hint: Any) -> Any:
    """Return the type of a hint without its `| None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def parse(record: type[Record], namespace: argparse.Namespace) -> Record:
    """Return the dataclass filled with the parsed arguments."""
    values = {item.name: getattr(namespace, item.name) for item in fields(record)}  # type: ignore[arg-type]
    return record(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def run_script(
    path: str, text: str | None, record: type[Record], work: Callable[[Record], object], words: Sequence[str]
) -> None:
    """Run a script and print what it returns; a ValueError becomes one line, and the exit code 2.

    Args:
        path: Path of the script.
        text: Its docstring, whose first line describes it.
        record: Its options.
        work: Function from the options to what is printed.
        words: The command line.
    """
    parser = Parser(prog=Path(path).name, description=(text or "").split("\n")[0])
    add_arguments(parser, record)
    args = parse(record, parser.parse_args(words))
    try:
        print(work(args))
    except ValueError as error:
        parser.error(str(error))


def build(record: type[Record], args: Any, **values: Any) -> Record:
    """Make another dataclass from those options that have the names of its fields, and from further values."""
    given = {item.name: getattr(args, item.name) for item in fields(record) if hasattr(args, item.name)}  # type: ignore[arg-type]
    return record(**{**given, **values})


def changed(args: Any, names: Iterable[str]) -> Mapping[str, Any]:
    """Return those of the named options that differ from their default, by name."""
    usual = {item.name: item.default for item in fields(args)}
    return {name: getattr(args, name) for name in names if getattr(args, name) != usual[name]}


def refuse_changed(args: Any, names: Iterable[str], of: str, given: str) -> None:
    """Raise ValueError for the first of the named options that differs from its default.

    Args:
        args: The options of a command.
        names: Names of options.
        of: What the named options belong to: "simulated days".
        given: What excludes them: "--replay".
    """
    for name, value in changed(args, names).items():
        raise ValueError(f"{name} is an option of {of}, got {value!r} with {given}")
