"""Run a program in loops that numba compiles (extra `fast`). numba is imported when the first program is compiled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.generate import TILE, Function, Layout, Loop, pack, write
from hyperexec_env.backends.plan import Pick, Program, refused, walk
from hyperexec_env.checks import check_choice
from hyperexec_env.extras import need
from hyperexec_env.files import cache_folder
from hyperexec_env.records import fill_record, is_record, leaves, map_leaves

__all__ = ["BACKENDS", "CompiledLanes", "Compiler", "compiler", "default_threads", "resolve_backend"]

BACKENDS: Final = ("auto", "numba", "numpy")
"""How lanes may be executed; auto: by numba where it is installed."""

_ALONE: Final = 4_096
"""Below so many lanes one thread works."""
_A_THREAD: Final = 2_048
"""Lanes for which a thread is worth it."""
_INLINE: Final = {"forceinline": True, "error_model": "numpy"}
"""How stages are compiled: a call with records of many fields takes as long as a lane."""


def resolve_backend(name: str) -> str:
    """Return "numba" or "numpy".

    Raises:
        MissingExtra: "numba" is asked for and not installed.
        ValueError: No such backend.
    """
    if check_choice("backend", name, BACKENDS) == "auto":
        return "numba" if find_spec("numba") else "numpy"
    if name == "numba":
        need("numba", "fast")
    return name


def default_threads(lanes: int) -> int:
    """Return how many threads should share some lanes: one where waiting for a second could take longer than the work."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if lanes < _ALONE else max(1, min(processors, lanes // _A_THREAD))


class Compiler:
    """Makes the functions of stages readable for numba as they stand, and compiles loops.

    Raises:
        MissingExtra: numba is not installed.
    """

    def __init__(self) -> None:
        """Import numba."""
        self._numba = need("numba", "fast")
        self._extending = need("numba.extending", "fast")
        self._readable: dict[int, Any] = {}
        self._lines: dict[str, Any] = {}
        self._drivers: dict[str, Callable[..., int]] = {}

    def compile(self, loop: Loop) -> Callable[..., int]:
        """Return the compiled driver of a loop; the result is stored on disk where that is possible."""
        marks = [self._line(function) for function in loop.lines]
        lines = {function.name: self._lines[mark] for function, mark in zip(loop.lines, marks, strict=True)}
        key = hashlib.sha256("\n".join([_own_source(), loop.driver.text, *marks]).encode()).hexdigest()[:24]
        if key not in self._drivers:
            self._drivers[key] = self._driver(loop, lines, key)
        return self._drivers[key]

    def _driver(self, loop: Loop, lines: dict[str, Any], key: str) -> Callable[..., int]:
        """Compile the driver of a loop."""
        name, text = _renamed(loop.driver, key)
        file = _stored(key, text) if _storable(loop) else None
        names: dict[str, Any] = {"__name__": __name__, "np": np, "inf": np.inf, **lines}
        exec(compile(text, str(file or "<loop>"), "exec"), names)  # noqa: S102 - the text was written here
        options = {"error_model": "numpy", "nogil": True, "cache": file is not None}
        try:
            driver: Callable[..., int] = self._numba.njit(**options)(names[name])
        except RuntimeError:  # numba finds no folder to store it in
            driver = self._numba.njit(**{**options, "cache": False})(names[name])
        return driver

    def _line(self, function: Function) -> str:
        """Compile the function of a line, once for all loops that have it; return its mark."""
        digest = hashlib.sha256(function.text.encode())
        for name, value in sorted(function.names.items()):
            digest.update(name.encode())
            digest.update(repr(list(leaves(value)) if is_record(value) else _fingerprint(value)).encode())
        mark = digest.hexdigest()
        if mark not in self._lines:
            names = {"__name__": __name__, "np": np, "inf": np.inf, **function.names}
            for value in function.names.values():
                if not is_record(value):
                    self.make_readable(value)
            name, text = _renamed(function, mark)
            exec(compile(text, f"<{name}>", "exec"), names)  # noqa: S102 - the text was written here
            self._lines[mark] = self._numba.njit(error_model="numpy")(names[name])
        return mark

    def make_readable(self, function: Any) -> None:
        """Make a function, and the functions that it calls, callable in compiled code."""
        if id(function) in self._readable:
            return
        self._readable[id(function)] = function  # and keep it: an id is unique only while its object lives
        form = getattr(function, "form_for_numbers", None)
        written = getattr(function, "form_for_records", None)
        if form is not None:
            self._extending.overload(function, jit_options=_INLINE, strict=False)(lambda *types: form)
        elif written is not None:
            self._extending.overload(function, jit_options=_INLINE, strict=False)(lambda *types: _form_of(written, types))
        else:
            self._extending.register_jitable(**_INLINE)(function)
        for called in _functions(form or function):
            self.make_readable(called)


def _renamed(function: Function, mark: str) -> tuple[str, str]:
    """Return a name of its own for a function, and its text under that name.

    Two functions of one name and different code must not meet in a process: loops that are loaded and loops that are compiled
    are linked by the names of their functions, and the text is the same where a stage has another code.
    """
    name = f"{function.name}_{mark[:24]}"
    return name, function.text.replace(f"def {function.name}(", f"def {name}(", 1)


def _form_of(write_form: Callable[..., str], types: tuple[Any, ...]) -> Any:
    """Return the form of a function of whole records for the types of its arguments."""
    record = next(kind for kind in types if hasattr(kind, "instance_class"))
    return eval(write_form(record.fields), {"Record": record.instance_class})  # noqa: S307 - made of the names of fields


@cache
def compiler() -> Compiler:
    """Return the compiler of this process."""
    return Compiler()


@cache
def _own_source() -> str:
    """Return the source of this module, which decides how loops are compiled."""
    return Path(__file__).read_text(encoding="utf-8")


def _values(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values that a function takes from around it."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType) and value.__name__.split(".")[0] not in ("numpy", "math"):
                yield from ((inner, getattr(value, inner)) for inner in code.co_names if hasattr(value, inner))
            elif value is not None:
                yield name, value
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents


def _functions(function: Any) -> list[Any]:
    """Return the functions that a function calls by name."""
    return [value for _, value in _values(function) if isinstance(value, FunctionType)]


def _forms(function: Any) -> Iterator[Any]:
    """Yield a function, and the forms of it that the compiler reads."""
    forms = (function, getattr(function, "form_for_numbers", None), getattr(function, "form_for_records", None))
    return filter(None, forms)


def _reached(function: Any) -> list[Any]:
    """Return a function, and the functions that it calls, and those that they call, each once."""
    found: dict[int, Any] = {}
    left = [function]
    while left:
        here = left.pop()
        if id(here) not in found:
            found[id(here)] = here
            left += [inner for form in _forms(here) for inner in _functions(form)]
    return list(found.values())


def _fingerprint(function: Any) -> str:
    """Return a hash of the code of a function, of the functions that it calls, and of the constants that they read."""
    digest = hashlib.sha256()
    for form in (form for here in _reached(function) for form in _forms(here)):
        digest.update(repr((_code(form.__code__), form.__defaults__, form.__kwdefaults__)).encode())
        for name, value in _values(form):
            if isinstance(value, FunctionType):
                digest.update(f"{name} {value.__module__} {value.__qualname__}".encode())
            elif is_record(value):
                digest.update(f"{name} {list(leaves(value)) if isinstance(value, type) else value}".encode())
            elif isinstance(value, np.ndarray):
                digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
            elif isinstance(value, (int, float, str, tuple, np.generic)):
                digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()


def _code(code: CodeType) -> str:
    """Return a code object as text that is the same in all processes."""
    constants = [_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return repr((code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars))


def _storable(loop: Loop) -> bool:
    """Return whether all stages are functions of this package: nobody knows what the functions of others depend on."""
    package = __name__.split(".")[0]
    called = [value for function in loop.lines for value in function.names.values() if not is_record(value)]
    reached = [inner for value in called for inner in _reached(value)]
    return all((inner.__module__ or package).split(".")[0] == package for inner in reached)


def _stored(key: str, text: str) -> Path | None:
    """Return the file of a loop in a folder of its own; None where it cannot be written.

    Each loop has its own folder because numba numbers the files of a folder, and processes that compile at the same time would
    take the same numbers. The file only says where the machine code belongs: its text is never read back.
    """
    try:
        folder = cache_folder() / "compiled" / key
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "loop.py"
        if not file.exists():
            part = folder / f"loop.{os.getpid()}.tmp"
            part.write_text(text, encoding="utf-8")
            part.replace(file)
        return file
    except OSError:
        return None


class CompiledLanes:
    """The lanes of a program, run by compiled loops.

    Args:
        program: The program.
        lanes: Number of lanes.
        threads: Threads that share the lanes; None: one below 4,096 lanes, else the processors there are, one for 2,048 lanes.
        part: Lanes of a part, which one thread works on at a time, a multiple of :data:`TILE`; None: one part a thread.
    """

    def __init__(self, program: Program, lanes: int, threads: int | None = None, part: int | None = None) -> None:
        """Lay the lanes out."""
        self.program, self.lanes, self.part = program, lanes, part
        self.threads = threads or default_threads(lanes)
        if part is not None and (part < TILE or part % TILE):
            raise ValueError(f"part must be a multiple of {TILE}, got {part}")
        self._start()
        self._kept = np.zeros((-(-lanes // TILE), self._layout.columns["kept"] * TILE))

    def _start(self) -> None:
        """Make what cannot be copied."""
        self._layout = Layout(self.program)
        self._plans: dict[str, Any] = {}  # compiled when they are first run
        self._texts = {name: write(name, self._layout) for name in self.program.plans}
        self._given, self._tables = pack(self.program, self._layout)
        self._rows = {name: np.ascontiguousarray(rows).ravel() for name, rows in self.program.rows.items()}
        edges = np.linspace(0, -(-self.lanes // TILE), self.threads + 1).astype(int) * TILE
        if self.part is not None:
            edges = np.arange(0, self.lanes + self.part, self.part)
        self.parts = [part for part in pairwise(np.minimum(edges, self.lanes).tolist()) if part[0] < part[1]]
        """First lane and end of each part that one thread works on."""
        self._scratch = [self._new_scratch() for _ in self.parts]
        helpers = min(self.threads, len(self.parts)) - 1
        self._pool = ThreadPoolExecutor(helpers) if helpers > 0 else None

    def _new_scratch(self) -> tuple[NDArray[Any], ...]:
        columns, picks = self._layout.columns, max(_picks(plan) for plan in self.program.plans.values())
        return (
            np.zeros(columns["draft"] * TILE + 1),
            np.zeros(columns["single"] * TILE + 2, np.float32)[: columns["single"] * TILE],
            np.zeros(picks * TILE, np.int64),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs."""
        return {name: getattr(self, name) for name in ("program", "lanes", "threads", "part", "_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a copy work."""
        self.__dict__.update(state)
        self._start()

    def run(self, name: str, arrays: dict[str, Any]) -> list[int]:
        """Run a plan.

        Args:
            name: Name of the plan.
            arrays: Its inputs and outputs by name.

        Returns:
            For each part, how many lanes were picked last, in the order of :attr:`parts`; or one number, -1 - lane, where a
            line refuses what the lane is given.
        """
        loop, names, sums = self._plans.get(name) or self._prepared(name)
        chosen = [arrays[key] if rows is None else rows for key, rows in names]
        if len(self.parts) == 1 and not sums:
            return [loop(*self._common, *self._scratch[0], *chosen, 0, self.lanes)]
        wrong = refused(self.program, name, arrays)  # no part may begin where another one refuses
        if wrong:
            return [wrong]

        def call(part: int) -> int:
            own = [array[part] if key in sums else array for (key, _), array in zip(names, chosen, strict=True)]
            picked: int = loop(*self._common, *self._scratch[part], *own, *self.parts[part])
            return picked

        mine = range(0, len(self.parts), self.threads if self._pool else 1)
        others = {part: self._pool.submit(call, part) for part in range(len(self.parts)) if part not in mine and self._pool}
        try:
            found = {part: call(part) for part in mine}
        finally:  # an interrupt must not leave threads at work on lanes that are used again
            wait(others.values())
        return [found[part] if part in found else others[part].result() for part in range(len(self.parts))]

    def _prepared(self, name: str) -> tuple[Any, list[tuple[str, Any]], frozenset[str]]:
        """Compile a plan; return its driver, its arrays by name (with those that never change), and those that it adds to."""
        text = self._texts[name]
        names = [(key, self._rows.get(key)) for key in text.arrays]
        prepared = self._plans[name] = compiler().compile(text), names, text.sums
        return prepared

    @property
    def _common(self) -> tuple[NDArray[Any], ...]:
        """The arrays that every driver takes first."""
        return self._given, self._tables, self._kept

    def record(self, kind: Any) -> Any:
        """Return a copy of what the lanes remember in a record, arrays of shape (lanes,)."""
        columns = self._layout.kept_columns(kind)

        def number(path: str) -> Any:
            if path in columns:
                return self._column(*columns[path]).ravel()[: self.lanes].copy()
            value = self.program.fixed[kind, path]
            value = attrgetter(value[1])(self.program.given[value[0]]) if isinstance(value, tuple) else value
            return np.full(self.lanes, value)

        return fill_record(kind, iter([number(path) for path, _ in leaves(kind)]))

    def put(self, kind: Any, record: Any) -> None:
        """Make the lanes remember a record."""
        columns = self._layout.kept_columns(kind)

        def number(path: str, values: Any) -> None:
            if path in columns:
                column, machine = columns[path]
                tiles = np.zeros(len(self._kept) * TILE, dtype=machine)
                tiles[: self.lanes] = values
                self._column(column, machine)[:] = tiles.reshape(-1, TILE)

        paths = (path for path, _ in leaves(kind))
        map_leaves(lambda values: number(next(paths), values), record)

    def _column(self, column: int, machine: str) -> NDArray[Any]:
        begin = column * TILE * (8 // np.dtype(machine).itemsize)  # a number of 32 bits has the place of one of 64
        return self._kept.view(machine)[:, begin : begin + TILE]

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _picks(plan: tuple[Any, ...]) -> int:
    return sum(isinstance(line, Pick) for line in walk(plan))
