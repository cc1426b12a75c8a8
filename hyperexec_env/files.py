"""Files: check output paths, read csv files, write atomically, and cache what nobody else can change."""

from __future__ import annotations

import atexit
import contextlib
import csv
import errno
import gzip
import hashlib
import io
import os
import secrets
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from hyperexec_env.checks import printable

__all__ = [
    "cache_folder",
    "check_figure",
    "check_folder",
    "check_target",
    "csv_rows",
    "make_folder",
    "make_private_folder",
    "open_regular",
    "printable",
    "read_cached",
    "read_regular",
    "report_once",
    "write_atomically",
    "write_cached",
    "write_figure",
]

_LARGEST_CSV: Final = 2**30
"""Largest size of a csv file, bytes."""
_LONGEST_LINE: Final = 2**16
"""Largest number of characters of a line of a csv file."""
_COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""Ends of the names of the files that SQLite keeps beside a database."""


def check_target(
    path: str | os.PathLike[str] | None,
    inputs: Iterable[str | os.PathLike[str]] = (),
    others: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Check that an output file can be written, so that a long computation fails before it starts rather than at its end.

    Args:
        path: The output file; None and "-" (standard output) always pass.
        inputs: Files and folders that the computation reads; the output must not overwrite one of them, a file in one of the
            folders, or one of the files that SQLite keeps beside a store, under any name (symbolic or hard link).
        others: Files and folders that the computation writes itself, protected in the same way.

    Raises:
        ValueError: The folder is missing or not writable, or the path is a folder, a device, a pipe, the standard output or
            one of the inputs.
    """
    if path is None or path == "-":
        return
    target, name = Path(os.path.realpath(path)), os.fspath(path)
    try:
        if target.is_symlink() or (target.exists() and not (target.is_file() or _is_null(target))):  # a circle of links
            raise ValueError(f"cannot write {name}: it is not a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise ValueError(f"cannot write {name}: the file may not be written to")
    except OSError as error:  # for example, a name that is too long
        raise ValueError(f"cannot write {name}: {error.strerror or error}") from None
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {name}: there is no folder {target.parent}")
    if _is_null(target):
        return
    if _is_standard_output(target):
        raise ValueError(f"cannot write {name}: standard output goes to this file; give another name")
    for used, files in (("read", inputs), ("written", others)):
        if any(_overwrites(target, Path(os.path.realpath(file))) for file in files):
            raise ValueError(f"cannot write {name}: it is one of the files that are {used}; give another name")
    reason = _write_error(target.parent)
    if reason:
        raise ValueError(f"cannot write {name}: the folder {target.parent} may not be written to ({reason})")


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check, without creating it, that a folder of results can be created and written to.

    Raises:
        ValueError: The folder, or the nearest folder above it that exists, is not a folder or is not writable.
    """
    above = Path(os.path.realpath(path))
    try:
        while not above.exists():
            above = above.parent
    except OSError as error:  # for example, a name that is too long
        raise ValueError(f"cannot make the folder {os.fspath(path)}: {error.strerror or error}") from None
    reason = _write_error(above) if above.is_dir() else f"{above} is not a folder"
    if reason:
        raise ValueError(f"cannot make the folder {os.fspath(path)}, or write to it: {reason}")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder if it is missing, check that it is writable, and return it.

    Raises:
        ValueError: The folder cannot be created or is not writable.
    """
    check_folder(path)
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {folder}: {error.strerror or error}") from None
    return folder


def _is_null(path: Path) -> bool:
    """Return whether a path is the null device, the only device that results may be written to."""
    return path == Path(os.devnull)


def _overwrites(target: Path, used: Path) -> bool:
    """Return whether a file is another one, one of its companions, or a file in it if it is a folder; both paths are real."""
    names = [used, *(used.with_name(used.name + end) for end in _COMPANIONS)]
    if target in names or (used in target.parents and used.is_dir()):
        return True
    if not target.exists():
        return False
    if used.is_dir():
        names = list(used.iterdir())
    return any(name.exists() and os.path.samefile(target, name) for name in names)


def _is_standard_output(target: Path) -> bool:
    """Return whether standard output is redirected to a file."""
    try:
        return target.is_file() and os.path.samestat(target.stat(), os.fstat(1))
    except OSError:  # standard output is closed
        return False


def _write_error(folder: Path) -> str:
    """Create and delete a file in a folder; return the error of the system, "" if there is none."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and values of the first line of a csv or csv.gz file and of each later non-blank line.

    Raises:
        ValueError: The file cannot be read, or is larger than 1 GiB; the message names the file and the last line read.
    """
    line = 0
    try:
        with open_regular(file) as raw, _text(raw, file.name.lower().endswith(".gz")) as text:
            if os.fstat(raw.fileno()).st_size > _LARGEST_CSV:
                raise ValueError(f"cannot read {file}: it is larger than {_LARGEST_CSV:,} bytes; split it")
            reader = csv.reader(_lines(text))
            for header in islice(reader, 1):
                yield reader.line_num, header
            for values in reader:
                line = reader.line_num
                if len(values) > 1 or "".join(values).strip():
                    yield line, values
    except UnicodeDecodeError:
        raise ValueError(f"{file}, after line {line}: not text in UTF-8; is it a csv file?") from None
    except csv.Error as error:
        raise ValueError(f"{file}, after line {line}: not a csv file: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{file}, after line {line}: the compressed data are damaged or cut off ({error})") from None
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror or error}") from None


def _text(raw: BinaryIO, compressed: bool) -> TextIO:
    """Return the text of a csv file, decompressed."""
    content: Any = gzip.GzipFile(fileobj=raw) if compressed else raw
    return io.TextIOWrapper(content, encoding="utf-8-sig", newline="")


def _lines(text: TextIO) -> Iterator[str]:
    """Yield the lines of a text; raise csv.Error for a line too long to be one, before the rest of it is read."""
    for line in iter(lambda: text.readline(_LONGEST_LINE), ""):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"a line is longer than {_LONGEST_LINE:,} characters")
        yield line


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, as bytes; a pipe or a device, which could block or never end, is not opened.

    Raises:
        OSError: The file cannot be opened, or is not a regular file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(handle, "rb")


def read_regular(path: str | os.PathLike[str], limit: int, what: str = "the file") -> bytes:
    """Return the content of a regular file of limited size.

    Args:
        path: The file.
        limit: Largest size of the file, bytes.
        what: What the file is, for the error message.

    Raises:
        ValueError: The file cannot be read, is not a regular file, or is larger; the message names the file.
    """
    try:
        with open_regular(path) as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"cannot read {what} {os.fspath(path)}: {error.strerror or error}") from None
    if len(content) > limit:
        raise ValueError(f"cannot read {what} {os.fspath(path)}: it is larger than {limit:,} bytes")
    return content


def write_atomically(path: str | os.PathLike[str], content: str | bytes, *, private: bool = False) -> None:
    """Write a file so that a reader, or a crash, sees either the old or the new content, never a part.

    Write the content to a temporary file in the same folder, flush it to disk, rename it and flush the folder. Text is encoded
    as UTF-8. A symbolic link remains a link, and an existing file keeps its permissions.

    Args:
        path: The file; its folder must exist.
        content: The new content of the file.
        private: Whether only the user may read and write the file.

    Raises:
        ValueError: The file cannot be written; the message names it, and its previous content is unchanged.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    if _is_null(target):
        return
    if target.is_symlink() or (target.exists() and not target.is_file()):  # a real path is a link only in a circle of links
        raise ValueError(f"cannot write {os.fspath(path)}: it is not a file")
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        _write_through(temporary, data, 0o600 if private else 0o666)
        if target.exists() and not private:
            temporary.chmod(target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except OSError as error:
        raise ValueError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    _flush_folder(target.parent)


def check_figure(path: str | os.PathLike[str]) -> str:
    """Return the form of a picture, png, svg or pdf, from the end of its name.

    Raises:
        ValueError: The name has another end.
    """
    form = Path(path).suffix.lower().lstrip(".")
    if form not in ("png", "svg", "pdf"):
        raise ValueError(f"picture must end in .png, .svg or .pdf, got {os.fspath(path)!r}")
    return form


def write_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a matplotlib figure to a png, svg or pdf file; see :func:`write_atomically`.

    Raises:
        ValueError: The name of the file has another end, or the file cannot be written.
    """
    form, content = check_figure(path), io.BytesIO()
    figure.savefig(content, format=form, dpi=130, metadata={"Date": None} if form == "svg" else None)
    write_atomically(path, content.getvalue())


def _write_through(path: Path, data: bytes, mode: int) -> None:
    """Create a file with a mode (less the umask) and flush its content to disk."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, where the system supports it."""
    if hasattr(os, "O_DIRECTORY"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


# --- the cache


def cache_folder() -> Path:
    """Return the folder for cached solutions and compiled loops: HYPEREXEC_CACHE, or hyperexec in the user's cache folder.

    The folder is created if it is missing, for the user alone. If that fails, or if another user owns the folder or may write
    to it, a line on standard error says so, and the function returns a temporary folder, which is deleted at the end of the
    process: compiled loops are code.
    """
    given = os.environ.get("HYPEREXEC_CACHE")
    folder = Path(given or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / ("" if given else "hyperexec")
    fault = _folder_fault(folder)
    if fault:
        report_once(f"the cache folder {folder} is not used ({fault}): this process uses a temporary folder")
        return _temporary_folder()
    return folder


def read_cached(file: Path) -> bytes | None:
    """Return the content of a file that :func:`write_cached` wrote; None if the file is missing.

    The result is None too, and a line on standard error says so, if the content is not what was written under this name, or if
    another user owns the file or its folder, or may write to it.
    """
    try:
        with open_regular(file) as stream:
            fault = _distrust(os.fstat(stream.fileno())) or _distrust(file.parent.stat())
            checksum, content = (b"", b"") if fault else (stream.read(_CHECKSUM), stream.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        fault = error.strerror or str(error)
    if not fault and checksum != _checksum(file, content):
        fault = "it is damaged"
    if fault:
        report_once(f"the cached file {file} is not used ({fault}): it is computed again")
        return None
    return content


def write_cached(file: Path, content: bytes) -> None:
    """Write a file to the cache, with a checksum of its name and content; if that fails, a line on standard error says so."""
    try:
        make_private_folder(file.parent)
        write_atomically(file, _checksum(file, content) + content, private=True)
    except ValueError as error:
        report_once(f"results are not cached: {error}")


def make_private_folder(folder: Path) -> Path:
    """Create a folder for the user alone if it is missing, and return it.

    Raises:
        ValueError: The folder cannot be created, another user owns it, or others may write to it.
    """
    fault = _folder_fault(folder)
    if fault:
        raise ValueError(f"cannot use the folder {folder}: {fault}")
    return folder


def report_once(text: str) -> None:
    """Print a line on standard error, unless this process has printed it before."""
    if text not in _REPORTED:
        _REPORTED.add(text)
        print(f"hyperexec: {printable(text)}", file=sys.stderr, flush=True)


_CHECKSUM: Final = 64
"""Bytes of a checksum at the beginning of a cached file."""
_REPORTED: Final[set[str]] = set()


def _checksum(file: Path, content: bytes) -> bytes:
    """Return the SHA-256 of the name and the content of a cached file, in hexadecimal digits."""
    return hashlib.sha256(os.fsencode(file.name) + b"\0" + content).hexdigest().encode()


def _folder_fault(folder: Path) -> str:
    """Create a folder for the user alone if it is missing; return why it cannot be trusted, "" if it can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _distrust(folder.stat())
    except OSError as error:
        return error.strerror or str(error)


def _distrust(status: os.stat_result) -> str:
    """Return why a file or folder cannot be trusted: its owner or its permissions; "" if it can."""
    if not hasattr(os, "geteuid"):  # a system without POSIX permissions
        return ""
    if status.st_uid != os.geteuid():
        return "another user owns it"
    return "others may write to it" if status.st_mode & 0o022 else ""


@cache
def _temporary_folder() -> Path:
    """Create a folder for the user alone, and delete it at the end of the process."""
    folder, owner = Path(tempfile.mkdtemp(prefix="hyperexec-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked process leaves it to its parent
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
