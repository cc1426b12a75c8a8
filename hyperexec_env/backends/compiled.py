"""Run a program in loops that numba compiles (extra `fast`).

:mod:`~hyperexec_env.backends.generate` writes the text of the loops; here :class:`Compiler` compiles the text and caches the
machine code on disk, and :class:`CompiledLanes` owns the buffers and the threads. numba is imported when the first loop is
compiled.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.generate import Function, Loop, write
from hyperexec_env.backends.layout import Layout, pack, stored_as
from hyperexec_env.backends.plan import Pick, Program, refused, walk
from hyperexec_env.checks import check_choice, one_line
from hyperexec_env.extras import need
from hyperexec_env.files import cache_folder, make_private_folder, read_cached, report_once, write_atomically, write_cached
from hyperexec_env.records import fill_record, is_record, leaves, map_leaves

__all__ = [
    "BACKENDS",
    "CompiledLanes",
    "CompiledProgram",
    "Compiler",
    "compiler",
    "default_threads",
    "resolve_backend",
    "why_not_compiled",
]

BACKENDS: Final = ("auto", "numba", "numpy")
"""Names of the backends; "auto" is numba if it is installed, else numpy."""

_ALONE: Final = 4_096
"""Number of lanes below which :func:`default_threads` returns one thread."""
_A_THREAD: Final = 2_048
"""Number of lanes for each thread of :func:`default_threads`."""
_FINGERPRINTS: Final[dict[Any, str]] = {}
"""Results of :func:`_fingerprint`."""
_PREAMBLES: Final = ("Failed in nopython mode pipeline",)
"""Beginnings of lines of numba's errors that do not say what is wrong."""
_CALLED: Final = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that only compiled code calls: entry points for Python and C take a seventh of the time of compiling."""
_INLINE: Final = {**_CALLED, "forceinline": True}
"""Options of stages: inlined, because passing a record of many fields to a call takes as long as computing a lane."""


def resolve_backend(name: str) -> str:
    """Return the backend "numba" or "numpy" for one of :data:`BACKENDS`.

    Raises:
        MissingExtra: "numba" is requested and not installed.
        ValueError: No such backend.
    """
    if check_choice("backend", name, BACKENDS) == "auto":
        return "numba" if find_spec("numba") else "numpy"
    if name == "numba":
        need("numba", "fast")
    return name


def default_threads(lanes: int) -> int:
    """Return a number of threads for some lanes: one if starting a second thread could take longer than its work."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if lanes < _ALONE else max(1, min(processors, lanes // _A_THREAD))


class Compiler:
    """Compiles loops, and registers the plain Python functions that they call with numba.

    Each line of a plan is a function of its own, compiled once per process for all loops that contain it. Only drivers are
    cached on disk; the machine code of a driver contains that of its lines.

    Raises:
        MissingExtra: numba is not installed.
    """

    def __init__(self) -> None:
        """Import numba."""
        self._numba = need("numba", "fast")
        self._extending = need("numba.extending", "fast")
        self._registered: dict[int, Any] = {}
        """Functions that compiled code can call, by id."""
        self._lines: dict[str, Any] = {}
        """Compiled functions of lines, by digest."""
        self._drivers: dict[str, Callable[..., int]] = {}
        """Compiled drivers, by digest."""

    def compile(self, loop: Loop) -> Callable[..., int]:
        """Return the compiled driver of a loop, from the disk cache if it is there."""
        digests = [self._line(function) for function in loop.lines]
        lines = {function.name: self._lines[digest] for function, digest in zip(loop.lines, digests, strict=True)}
        key = hashlib.sha256("\n".join([_own_source(), loop.driver.text, *digests]).encode()).hexdigest()[:24]
        if key not in self._drivers:
            self._drivers[key] = self._driver(loop, lines, key)
        return self._drivers[key]

    def _driver(self, loop: Loop, lines: dict[str, Any], key: str) -> Callable[..., int]:
        """Compile the driver of a loop; `lines` are the compiled functions that it calls, `key` is its digest."""
        name, text = _renamed(loop.driver, key)
        file = _source_file(key, text) if _cacheable(loop) else None
        names: dict[str, Any] = {"__name__": __name__, "np": np, "inf": np.inf, **lines}
        exec(compile(text, str(file or "<loop>"), "exec"), names)  # noqa: S102 - the text is generated
        options = {"error_model": "numpy", "no_cfunc_wrapper": True, "nogil": True, "cache": file is not None}
        try:
            driver: Callable[..., int] = self._numba.njit(**options)(names[name])
        except RuntimeError:  # numba can write to no cache folder
            driver = self._numba.njit(**{**options, "cache": False})(names[name])
        cache: Any = getattr(driver, "_cache", None)
        if hasattr(cache, "_cache_file"):
            cache._cache_file = _LoopFiles(Path(cache.cache_path), [self._numba.__version__, sys.version, key])
            driver._cache = _LoopCache(cache)  # type: ignore[attr-defined]
        return driver

    def _line(self, function: Function) -> str:
        """Compile the function of a line unless it is compiled; return the digest of its text and of all code that it calls."""
        sha = hashlib.sha256(function.text.encode())
        for name, value in sorted(function.names.items()):
            sha.update(name.encode())
            sha.update(repr(list(leaves(value)) if is_record(value) else _fingerprint(value)).encode())
        digest = sha.hexdigest()
        if digest not in self._lines:
            names = {"__name__": __name__, "np": np, "inf": np.inf, **function.names, **function.constants}
            for value in function.names.values():
                if not is_record(value):
                    self.register(value)
            name, text = _renamed(function, digest)
            exec(compile(text, f"<{name}>", "exec"), names)  # noqa: S102 - the text is generated
            self._lines[digest] = self._numba.njit(**_CALLED)(names[name])
        return digest

    def alone(self, function: Any) -> Any:
        """Return a function compiled for itself; it compiles at its first call."""
        self.register(function)
        return self._numba.njit(error_model="numpy")(function)

    def register(self, function: Any) -> None:
        """Make a function, and the functions that it calls, callable in compiled code.

        A function with a form for the compiler (:func:`~hyperexec_env.records.for_numbers`,
        :func:`~hyperexec_env.records.for_records`,
        :func:`~hyperexec_env.records.for_several`) is overloaded with that form; numba compiles any other function as it is.
        """
        if id(function) in self._registered:
            return
        self._registered[id(function)] = function  # holds a reference: an id is unique only while its object lives
        form = getattr(function, "form_for_numbers", None)
        write_form, write_several = (getattr(function, f"form_for_{kind}", None) for kind in ("records", "several"))
        if form is not None:
            self._extending.overload(function, jit_options=_INLINE, strict=False)(lambda *types: form)
        elif write_form is not None:
            self._extending.overload(function, jit_options=_INLINE, strict=False)(lambda *types: _form_of(write_form, types))
        elif write_several is not None:
            self._extending.overload(function, jit_options=_INLINE, strict=False)(lambda *types: _several(write_several, types))
        else:
            self._extending.register_jitable(**_INLINE)(function)
        for called in _functions(form or function):
            self.register(called)


def why_not_compiled(function: Any, given: Sequence[tuple[Any, ...]]) -> str:
    """Return why compiled loops cannot call a function of numbers and records, or "" if they can.

    The compiled function must return the numbers that it returns in Python, to a relative 1e-9.

    Args:
        function: The function.
        given: Arguments of calls that succeed in Python, one tuple for each call.
    """
    if not isinstance(function, FunctionType):
        return f"compiled loops call functions made by `def` or `lambda`, got {type(function).__name__}"
    try:
        compiled = compiler().alone(function)
        for arguments in given:
            ours, theirs = float(compiled(*arguments)), float(function(*arguments))
            if not np.isclose(ours, theirs, rtol=1e-9, atol=1e-12, equal_nan=True):
                return f"it returns {ours!r} when compiled and {theirs!r} in Python"
    except Exception as error:  # numba's errors, and those of code that behaves differently when compiled
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith(_PREAMBLES)]
        return one_line(f"{type(error).__name__}: {told[0]}" if told else type(error).__name__)
    return ""


def _renamed(function: Function, digest: str) -> tuple[str, str]:
    """Return a unique name for a function, and the text with that name.

    numba links compiled and loaded loops by the names of their functions, so functions with different code need different
    names, also if their texts are equal and only the code of a stage differs.
    """
    name = f"{function.name}_{digest[:24]}"
    return name, function.text.replace(f"def {function.name}(", f"def {name}(", 1)


def _form_of(write_form: Callable[..., str], types: tuple[Any, ...]) -> Any:
    """Return the form of a function of whole records for numba types of arguments, one of which is a NamedTuple."""
    record = next(kind for kind in types if hasattr(kind, "instance_class"))
    return eval(write_form(record.fields), {"Record": record.instance_class})  # noqa: S307 - the text holds field names only


def _several(write: Callable[..., str], types: tuple[Any, ...]) -> Any:
    """Return the form of a function of several values for numba types of arguments (:func:`for_several`)."""
    fields = [getattr(kind, "fields", ("at_0",)) for kind in types]
    several = [hasattr(kind, "types") and names[:1] in ((), ("at_0",)) for kind, names in zip(types, fields, strict=True)]
    return eval(write([len(kind.types) if many else None for kind, many in zip(types, several, strict=True)]))  # noqa: S307 - numbers only


@cache
def compiler() -> Compiler:
    """Return the compiler of this process."""
    return Compiler()


@cache
def _own_source() -> str:
    """Return the source of this module: part of the cache key, because it holds the compiler options."""
    return Path(__file__).read_text(encoding="utf-8")


def _values(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of the globals, attributes of modules and closure variables that a function reads."""
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
    """Return the Python functions among :func:`_values`."""
    return [value for _, value in _values(function) if isinstance(value, FunctionType)]


def _forms(function: Any) -> Iterator[Any]:
    """Yield a function and its forms for the compiler."""
    forms = (getattr(function, f"form_for_{kind}", None) for kind in ("numbers", "records", "several"))
    return filter(None, (function, *forms))


def _reached(function: Any) -> list[Any]:
    """Return a function and all functions that it calls, directly or through others, each once."""
    found: dict[int, Any] = {}
    queue = [function]
    while queue:
        current = queue.pop()
        if id(current) not in found:
            found[id(current)] = current
            queue += [inner for form in _forms(current) for inner in _functions(form)]
    return list(found.values())


def _fingerprint(function: Any) -> str:
    """Return a digest of the code of a function, of all functions that it calls, and of the constants that they read.

    The digest of a function that calls this package only is computed once: the package does not change while it runs.
    """
    if function not in _FINGERPRINTS:
        digest = _new_fingerprint(function)
        if not all(map(_is_own, _reached(function))):
            return digest
        _FINGERPRINTS[function] = digest
    return _FINGERPRINTS[function]


def _new_fingerprint(function: Any) -> str:
    """Return the digest of :func:`_fingerprint`."""
    digest = hashlib.sha256()
    for form in (form for reached in _reached(function) for form in _forms(reached)):
        digest.update(repr((form.__module__, _code(form.__code__), form.__defaults__, form.__kwdefaults__)).encode())
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
    """Return a code object as text that is equal in all processes."""
    constants = [_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return repr((code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars))


def _cacheable(loop: Loop) -> bool:
    """Return whether :func:`_fingerprint` covers all that the functions of a loop depend on.

    It covers this package, and functions of others that read functions, numbers, texts, tuples and arrays only.
    """
    called = [value for function in loop.lines for value in function.names.values() if not is_record(value)]
    return all(_is_own(inner) or _is_closed(inner) for value in called for inner in _reached(value))


def _is_closed(function: Any) -> bool:
    """Return whether everything that a function reads is part of its fingerprint, and a process that loads it can import it.

    Machine code of a function whose module cannot be imported cannot be loaded.
    """
    return inspect.getmodule(function) is not None and all(
        _is_plain(value) for form in _forms(function) for _, value in _values(form)
    )


def _is_plain(value: Any) -> bool:
    """Return whether :func:`_fingerprint` covers a value that a function reads."""
    if isinstance(value, tuple) and not is_record(value):
        return all(map(_is_plain, value))
    if isinstance(value, ModuleType):
        return value.__name__.split(".")[0] in ("numpy", "math")
    return isinstance(value, (FunctionType, BuiltinFunctionType, int, float, str, np.generic)) or (
        isinstance(value, np.ndarray) and value.dtype != object
    )


def _is_own(function: Any) -> bool:
    """Return whether a function belongs to this package."""
    package = __name__.split(".")[0]
    return bool((function.__module__ or package).split(".")[0] == package)


def _source_file(key: str, text: str) -> Path | None:
    """Write the text of a loop to a file, beside which numba caches the machine code; return None if it cannot be written.

    The file only locates the cache: its text is not read back.
    """
    try:
        file = make_private_folder(cache_folder() / "compiled" / key) / "loop.py"
        make_private_folder(file.parent / "__pycache__")  # otherwise numba creates it, with any permissions
        if not file.exists():
            write_atomically(file, text)
        return file
    except ValueError as error:
        report_once(f"compiled loops are not cached: {error}")
        return None


class _LoopFiles:
    """The files of a driver in numba's cache, in numba's protocol: each has a checksum and is written atomically.

    numba unpickles its own files as they are, so that a damaged one ends every run, and a changed one runs any code.
    """

    def __init__(self, folder: Path, about: list[str]) -> None:
        """Store the folder, and texts that the files depend on besides numba's key."""
        self.folder, self.about = folder, about

    def _file(self, key: Any) -> Path:
        """Return the file for a key of numba: types of the arguments, and processor."""
        digest = hashlib.sha256(repr((self.about, key)).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.loop"

    def load(self, key: Any) -> Any:
        """Return the compiled code for a key, or None."""
        content = read_cached(self._file(key))
        return None if content is None else pickle.loads(content)  # noqa: S301 - the checksum and the owner were checked

    def save(self, key: Any, data: Any) -> None:
        """Write the compiled code for a key."""
        write_cached(self._file(key), need("numba.core.serialize", "fast").dumps(data))


class _LoopCache:
    """numba's cache of a driver, except that a disk that cannot be written is reported and not an error."""

    def __init__(self, cache: Any) -> None:
        """Store numba's cache."""
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of numba's cache."""
        return getattr(self._cache, name)

    def save_overload(self, signature: Any, data: Any) -> None:
        """Write compiled code, if possible."""
        try:
            self._cache.save_overload(signature, data)
        except OSError as error:
            report_once(f"compiled loops are not cached: {error}")


class CompiledPlan(NamedTuple):
    """A compiled plan."""

    driver: Callable[..., int]
    arrays: tuple[tuple[str, NDArray[Any] | None], ...]
    """(name, constant array or None) of each array argument."""
    sums: frozenset[str]
    """Names of the arrays of which each part gets a row."""


class CompiledProgram:
    """The text of the plans of a program, compiled when they are first run, and the numbers that all lanes share.

    Args:
        program: The program.
    """

    def __init__(self, program: Program) -> None:
        """Write the plans and pack the numbers."""
        self.program, self.layout = program, Layout(program)
        self.given, self.tables = pack(program, self.layout)
        self._rows: dict[str, Any] = {name: np.ascontiguousarray(rows).ravel() for name, rows in program.rows.items()}
        self._rows |= {name: np.ascontiguousarray(weights, dtype=np.float64) for name, weights in program.weights.items()}
        self._rows |= program.extra
        self.own: tuple[NDArray[Any], ...] = ()
        """The arrays `own_given` and `own_tables` of the members."""
        if program.members:
            packed = [pack(member, self.layout) for member in program.members]
            self.own = tuple(np.stack(arrays) for arrays in zip(*packed, strict=True))
            for name in program.members[0].rows:
                self._rows[name] = np.stack([np.ascontiguousarray(member.rows[name]).ravel() for member in program.members])
        self._loops = {name: write(name, self.layout) for name in program.plans}
        self._plans: dict[str, CompiledPlan] = {}

    def plan(self, name: str) -> CompiledPlan:
        """Return a compiled plan."""
        if name not in self._plans:
            loop = self._loops[name]
            arrays = tuple((key, self._rows.get(key)) for key in loop.arrays)
            self._plans[name] = CompiledPlan(compiler().compile(loop), arrays, loop.sums)
        return self._plans[name]

    def scratch(self) -> tuple[NDArray[Any], ...]:
        """Return new temporary buffers `draft`, `single` and `lists` for one tile, and `own_draft` of the members."""
        columns, tile, picks = self.layout.columns, self.layout.tile, max(_picks(plan) for plan in self.program.plans.values())
        return (
            np.zeros(columns["draft"] * tile + 1),
            np.zeros(columns["single"] * tile + 2, np.float32)[: columns["single"] * tile],
            np.zeros(picks * tile, np.int64),
            *([np.zeros((len(self.program.members), columns["own_draft"] * tile))] if self.own else []),
        )


class CompiledLanes:
    """The lanes of a program, run by compiled loops.

    The lanes are split into *parts* of whole tiles; a thread runs the driver of a plan on one part at a time.

    Args:
        program: The program, or a compiled program, which several lanes can share.
        lanes: Number of lanes.
        threads: Number of threads; None: one below 4,096 lanes, else one for each 2,048 lanes, at most one per processor.
        part: Lanes of a part, a multiple of the lanes of a tile; None: one part for each thread.
    """

    def __init__(
        self, program: Program | CompiledProgram, lanes: int, threads: int | None = None, part: int | None = None
    ) -> None:
        """Allocate the buffers; plans are compiled when they are first run."""
        self._compiled = program if isinstance(program, CompiledProgram) else CompiledProgram(program)
        self.program, self.lanes, self.part = self._compiled.program, lanes, part
        self.threads = threads or default_threads(lanes)
        self._tile = tile = self._compiled.layout.tile
        if part is not None and (part < tile or part % tile):
            raise ValueError(f"part must be a multiple of {tile}, got {part}")
        self._start()
        tiles, columns, members = -(-lanes // tile), self._compiled.layout.columns, len(self.program.members)
        self._kept = np.zeros((tiles, columns["kept"] * tile))
        """Persistent records, shape (tiles, columns * lanes of a tile): a row for each tile, see :class:`Layout`."""
        self._own_kept = np.zeros((tiles * members, columns["own_kept"] * tile))
        """Persistent records of the members, a row for each member of each tile."""

    def _start(self) -> None:
        """Make the temporary buffers and the threads, which cannot be pickled."""
        tile = self._tile
        edges = np.linspace(0, -(-self.lanes // tile), self.threads + 1).astype(int) * tile
        if self.part is not None:
            edges = np.arange(0, self.lanes + self.part, self.part)
        self.parts = [part for part in pairwise(np.minimum(edges, self.lanes).tolist()) if part[0] < part[1]] or [(0, 0)]
        """(first lane, end) of each part; one empty part without lanes, on which a run only compiles its plan."""
        self._scratch = [self._compiled.scratch() for _ in self.parts]
        self._pool = self._new_pool()
        _POOLED.add(self)

    def _new_pool(self) -> ThreadPoolExecutor | None:
        """Return new threads, one fewer than the parts need, because the calling thread works too; None for no other thread."""
        others = min(self.threads, len(self.parts)) - 1
        return ThreadPoolExecutor(others) if others > 0 else None

    def __getstate__(self) -> dict[str, Any]:
        """Return the arguments and the persistent records, for copy and pickle."""
        return {name: getattr(self, name) for name in ("program", "lanes", "threads", "part", "_kept", "_own_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from the arguments and the persistent records."""
        self.__dict__.update(state)
        self._compiled = CompiledProgram(self.program)
        self._tile = self._compiled.layout.tile
        self._start()

    def run(self, name: str, arrays: dict[str, Any]) -> list[int]:
        """Run a plan.

        Args:
            name: Name of the plan.
            arrays: The input and output arrays of the program, by name.

        Returns:
            For each part, in the order of :attr:`parts`, the number of lanes in the last :class:`Pick` of the plan (0 without
            one); or the single number -1 - lane if a :class:`Refuse` line rejects the input of a lane.
        """
        compiled = self._compiled
        driver, names, sums = compiled.plan(name)
        passed = [arrays[key] if rows is None else rows for key, rows in names]
        if len(self.parts) == 1 and not sums:
            return [driver(*self._buffers(0), *passed, 0, self.lanes)]
        wrong = refused(self.program, name, arrays)  # check all parts before any part begins
        if wrong:
            return [wrong]

        def call(part: int) -> int:
            own = [array[part] if key in sums else array for (key, _), array in zip(names, passed, strict=True)]
            picked: int = driver(*self._buffers(part), *own, *self.parts[part])
            return picked

        mine = range(0, len(self.parts), self.threads if self._pool else 1)  # parts of the calling thread
        others = {part: self._pool.submit(call, part) for part in range(len(self.parts)) if part not in mine and self._pool}
        try:
            found = {part: call(part) for part in mine}
        finally:  # after an interrupt no thread may still write to the buffers
            wait(others.values())
        return [found[part] if part in found else others[part].result() for part in range(len(self.parts))]

    def _buffers(self, part: int) -> tuple[NDArray[Any], ...]:
        """Return the buffers of a part, in the order of a driver's arguments."""
        compiled, (draft, single, lists, *own) = self._compiled, self._scratch[part]
        members = (*compiled.own, self._own_kept, *own) if own else ()
        return (compiled.given, compiled.tables, self._kept, draft, single, lists, *members)

    def record(self, kind: Any) -> Any:
        """Return a copy of a persistent record, arrays of shape (lanes,); of members, a list over members."""
        if kind in self._compiled.layout.own:
            return [self._record(kind, member, number) for number, member in enumerate(self.program.members)]
        return self._record(kind, self.program)

    def _record(self, kind: Any, source: Program, member: int | None = None) -> Any:
        """Return a copy of a persistent record of the lanes or of a member."""
        columns = self._compiled.layout.kept_columns(kind)

        def number(path: str) -> Any:
            if path in columns:
                return self._column(*columns[path], member).ravel()[: self.lanes].astype(columns[path][1])
            value = source.fixed[kind, path]
            value = attrgetter(value[1])(source.given[value[0]]) if isinstance(value, tuple) else value
            return np.full(self.lanes, value)

        return fill_record(kind, iter([number(path) for path, _ in leaves(kind)]))

    def put(self, kind: Any, record: Any) -> None:
        """Set a persistent record to a copy of `record`, arrays of shape (lanes,); fixed fields are ignored.

        Of members, `record` is a list over members.
        """
        if kind in self._compiled.layout.own:
            for member, one in enumerate(record):
                self._put(kind, one, member)
        else:
            self._put(kind, record)

    def _put(self, kind: Any, record: Any, member: int | None = None) -> None:
        """Set a persistent record of the lanes or of a member."""
        columns = self._compiled.layout.kept_columns(kind)

        def number(path: str, values: Any) -> None:
            if path in columns:
                tiles = np.zeros(len(self._kept) * self._tile, dtype=columns[path][1])
                tiles[: self.lanes] = values
                self._column(*columns[path], member)[:] = tiles.reshape(-1, self._tile)

        paths = (path for path, _ in leaves(kind))
        map_leaves(lambda values: number(next(paths), values), record)

    def _column(self, column: int, machine: str, member: int | None = None) -> NDArray[Any]:
        """Return the view of one column as the machine type in which it is stored, shape (tiles, lanes of a tile)."""
        rows = self._kept if member is None else self._own_kept[member :: len(self.program.members)]
        return rows[:, column * self._tile : (column + 1) * self._tile].view(stored_as(machine))

    def close(self) -> None:
        """Stop the threads; a later run works in the calling thread."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


_POOLED: Final[weakref.WeakSet[CompiledLanes]] = weakref.WeakSet()
"""The lanes of this process."""


def _restart_threads() -> None:
    """Give the lanes of a forked process threads of its own: only the thread that forks lives on in it."""
    for lanes in _POOLED:
        if lanes._pool is not None:
            lanes._pool = lanes._new_pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_threads)


def _picks(plan: tuple[Any, ...]) -> int:
    """Return the number of :class:`Pick` lines of a plan."""
    return sum(isinstance(line, Pick) for line in walk(plan))
