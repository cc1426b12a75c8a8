"""File input and output: read csv files, check output paths, and write files atomically."""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

__all__ = ["cache_folder", "check_target", "csv_rows", "printable", "write_atomically"]


def check_target(path: str | os.PathLike[str] | None, inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Check that an output file can be written, so that a long computation fails before it starts rather than at its end.

    Args:
        path: The output file; None and "-" (standard output) always pass.
        inputs: Files that the computation reads; the output must not overwrite them.

    Raises:
        ValueError: The folder is missing or not writable, or the path is a folder, a device, a pipe or one of the inputs.
    """
    if path is None or path == "-":
        return
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {os.fspath(path)}: it is not a file")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {os.fspath(path)}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise ValueError(f"cannot write {os.fspath(path)}: the folder {target.parent} may not be written to")
    if target.exists() and any(os.path.exists(file) and os.path.samefile(target, file) for file in inputs):
        raise ValueError(f"cannot write {os.fspath(path)}: it is one of the files that are read; give another name")


def printable(text: str) -> str:
    """Return text with control characters escaped, so that untrusted content and file names are safe to print."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and values of the first line of a csv or csv.gz file and of each later non-blank line.

    Raises:
        ValueError: The file cannot be read; the message names the file and the last line read.
    """
    line = 0
    try:
        with (gzip.open if file.name.lower().endswith(".gz") else open)(file, "rt", encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
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


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees either the old or the new content, never a part.

    Write the content to a temporary file in the same folder, flush it to disk, rename it and flush the folder. Text is encoded
    as UTF-8. A symbolic link remains a link, and an existing file keeps its permissions.

    Args:
        path: The file; its folder must exist.
        content: The new content of the file.

    Raises:
        ValueError: The file cannot be written; the message names it, and its previous content is unchanged.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {os.fspath(path)}: it is not a file")
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        _write_through(temporary, data)
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except OSError as error:
        raise ValueError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    _flush_folder(target.parent)


def _write_through(path: Path, data: bytes) -> None:
    """Create a file and flush its content to disk."""
    with open(path, "xb") as file:
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


def cache_folder() -> Path:
    """Return the folder for cached solutions and compiled loops: HYPEREXEC_CACHE, or hyperexec in the user's cache folder."""
    given = os.environ.get("HYPEREXEC_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyperexec"
