"""Where data come from: files, folders, patterns, archives and data frames, as a list of sources."""

from __future__ import annotations

import glob
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from hyperexec_env.extras import need
from hyperexec_env.files import open_regular

__all__ = ["Data", "NoTable", "Source", "damage", "find_sources", "within_memory"]

Data = Any
"""A path (file, folder or pattern), a data frame (pandas, polars, pyarrow, duckdb), or a sequence of paths or frames."""

ENDINGS: Final = (".csv", ".txt", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zip")
"""Ends of the names of the files that are read in a folder or an archive."""
_COMPRESSED: Final = "compressed in a form that is not read; decompress it, or compress it with gzip or zip"
_OTHER_FORMS: Final = {
    b"\x28\xb5\x2f\xfd": _COMPRESSED,
    b"BZh": _COMPRESSED,
    b"\xfd7zXZ\x00": _COMPRESSED,
    b"DBN": "Databento's binary form is not read; export csv or parquet, or pass the data frame of its library",
    b"ARROW1": "an Arrow or Feather file is not read; write parquet, or pass the table",
    b"\x89HDF": "an HDF5 file is not read; write parquet, or pass the data frame",
    b"\xd0\xcf\x11\xe0": "an Excel workbook is not read; save it as csv",
}
"""First bytes of forms that are not read, and what to do."""
MOST_MEMBERS: Final = 1_000
"""Largest number of files that are read in one archive."""
LARGEST_FILE: Final = 2**34
"""Largest size of a file, bytes, as it is stored and as it is decompressed."""


class NoTable(ValueError):
    """A source holds no row of data, or no data of the kind that is read."""

    def __init__(self, message: str, *, is_empty: bool = True) -> None:
        super().__init__(message)
        self.is_empty = is_empty


class Source(NamedTuple):
    """One table of data: a file, a member of an archive, or a data frame."""

    name: str
    """Name for messages: the path, "archive.zip:member", or the type of the frame."""
    form: str
    """text, json, parquet or frame."""
    open: Callable[[], BinaryIO]
    """Open the content, decompressed."""
    frame: Any = None
    """The table, for a frame (a pyarrow.Table)."""
    within: str = ""
    """Folder, pattern or archive in which the file was found; "" if it was given by its name."""

    @property
    def stem(self) -> str:
        """Name of the file or member without its folders."""
        return self.name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(":", 1)[-1]


def find_sources(data: Data, what: str) -> list[Source]:
    """Return the sources of some data, files of a folder or a pattern in the order of their names.

    Args:
        data: See :data:`Data`.
        what: Name of the argument, for error messages.

    Raises:
        ValueError: Nothing is found, a file cannot be read, or the value is neither a path nor a frame.
        MissingExtra: The extra `data` is not installed.
    """
    items = list(data) if isinstance(data, (list, tuple)) else [data]
    sources: list[Source] = []
    for item in items:
        sources += _of_path(os.fspath(item)) if isinstance(item, (str, os.PathLike)) else [_of_frame(item, what)]
    if not sources:
        raise ValueError(f"{what} must name at least one file or data frame, got none")
    return sources


def damage(source: str, error: BaseException, line: int = 0) -> ValueError:
    """Return the error of a file that cannot be read, or is not what its name says.

    Args:
        source: Name of the source.
        error: What was raised.
        line: Last line that was read; 0: unknown.
    """
    after = f", after line {line}" if line else ""
    if isinstance(error, UnicodeError):
        return ValueError(f"{source}{after}: not text; is it a file of data?")
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)):
        return ValueError(f"{source}{after}: the compressed data are damaged or cut off ({error})")
    if isinstance(error, RuntimeError):
        return ValueError(f"cannot read {source}: the archive is encrypted or compressed in a form that is not read; unpack it")
    if isinstance(error, OSError):
        return ValueError(f"cannot read {source or repr(source)}: {error.strerror or error}")
    return ValueError(f"{source}{after}: {' '.join(str(error).split())[:300]}")


@contextmanager
def within_memory(names: Sequence[str]) -> Iterator[None]:
    """Name the sources in the error that the memory does not suffice for them.

    Raises:
        MemoryError: The block raised one; the message names the sources.
    """
    try:
        yield
    except MemoryError as error:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise MemoryError(f"{shown} ({str(error) or 'too many rows'}); give fewer rows") from None


def _of_frame(frame: Any, what: str) -> Source:
    """Return the source of a data frame, through the Arrow interface that pandas, polars, pyarrow and duckdb share."""
    name = type(frame).__name__
    if hasattr(frame, "collect") and not hasattr(frame, "__arrow_c_stream__"):  # a lazy frame
        frame = frame.collect()
    is_table = hasattr(frame, "columns") or hasattr(frame, "schema")  # a column alone has neither
    if not hasattr(frame, "__arrow_c_stream__") or not is_table:
        raise ValueError(f"{what} must be a path or a data frame (pandas, polars, pyarrow, duckdb), got {name}")
    arrow = need("pyarrow", "data")
    try:
        table = arrow.table(frame)
    except (arrow.ArrowException, ValueError, TypeError) as error:
        reason = "; ".join(map(str, error.args)) or type(error).__name__
        raise ValueError(f"{damage(name, ValueError(reason))}; give each column one name, and values of one type") from None
    return Source(name, "frame", lambda: io.BytesIO(), table)


def _of_path(path: str) -> list[Source]:
    """Return the sources of a file, a folder, a pattern or an archive."""
    if os.path.isdir(path):
        files = [str(file) for file in sorted(Path(path).iterdir()) if _is_data(file.name) and file.is_file()]
        if not files:
            raise ValueError(f"{path}: the folder holds no file that ends in {', '.join(ENDINGS)}")
    elif glob.has_magic(path) and not os.path.exists(path):
        files = sorted(filter(os.path.isfile, glob.glob(path)))
        if not files:
            raise ValueError(f"{path}: no file matches the pattern")
    else:
        files = [path]
    found = [source for file in files for source in _of_file(file)]
    return [source._replace(within=path) if files != [path] else source for source in found]


def _of_file(path: str) -> list[Source]:
    """Return the sources of a file: one, or those of the members of an archive."""
    if "\0" in path:
        raise ValueError(f"cannot read {path!r}: a path must not hold a NUL character")
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > LARGEST_FILE:
                raise ValueError(f"cannot read {path}: it is larger than {LARGEST_FILE:,} bytes; split it")
            head = file.read(6)
        if head[:4] == b"PK\x03\x04":
            return _of_archive(path)
        opened = (lambda: _gzip(path)) if head[:2] == b"\x1f\x8b" else (lambda: open_regular(path))
        return [Source(path, _form(opened, path), opened)]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: a password is needed
        raise damage(path, error) from None


def _gzip(path: str) -> BinaryIO:
    """Open a gzip file; closing it closes the file below."""
    raw = open_regular(path)
    file: Any = gzip.GzipFile(fileobj=raw)
    file.myfileobj = raw
    return file  # type: ignore[no-any-return]


def _of_archive(path: str) -> list[Source]:
    """Return the sources of the members of a zip archive."""
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        if "xl/workbook.xml" in archive.namelist():
            raise ValueError(f"{path}: an Excel workbook is not read; save it as csv")
        members = [item for item in archive.infolist() if not item.is_dir() and _is_data(item.filename)]
    if not members:
        raise ValueError(f"{path}: the archive holds no file that ends in {', '.join(ENDINGS)}")
    if len(members) > MOST_MEMBERS:
        raise ValueError(
            f"{path}: the archive holds {len(members):,} files (at most {MOST_MEMBERS:,}); unpack it into a folder"
        )
    for member in members:
        if member.file_size > LARGEST_FILE:
            raise ValueError(f"cannot read {path}:{member.filename}: it is larger than {LARGEST_FILE:,} bytes; split it")
    found = []
    for member in sorted(members, key=lambda item: item.filename):
        opened = _member_opener(path, member.filename)
        found.append(Source(f"{path}:{member.filename}", _form(opened, member.filename), opened, within=path))
    return found


def _member_opener(path: str, member: str) -> Callable[[], BinaryIO]:
    """Return the function that opens a member of an archive, decompressed."""

    def opened() -> BinaryIO:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_regular(path))))
            content: Any = stack.enter_context(archive.open(member))
            if member.lower().endswith(".gz"):
                content = stack.enter_context(gzip.GzipFile(fileobj=content))
            return io.BufferedReader(_Member(content, stack.pop_all()))

    return opened


class _Member(io.RawIOBase):
    """The content of a member of an archive; closing it closes the archive."""

    def __init__(self, content: Any, below: ExitStack) -> None:
        self._content, self._below = content, below

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer and return their number."""
        data = self._content.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seekable(self) -> bool:
        """Return whether the content can be read from another position on."""
        return bool(self._content.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position and return it."""
        return int(self._content.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return int(self._content.tell())

    def close(self) -> None:
        """Close the content and the archive."""
        super().close()
        self._below.close()


def _form(opened: Callable[[], BinaryIO], name: str) -> str:
    """Return the form of a content from its first bytes: parquet, json or text."""
    with opened() as file:
        head = file.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    for mark, advice in _OTHER_FORMS.items():
        if head.startswith(mark):
            raise ValueError(f"{name}: {advice}")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "json" if text[:1] in (b"{", b"[") else "text"


def _is_data(name: str) -> bool:
    """Return whether a file of a folder or an archive is read, by its name."""
    plain = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
    return not plain.startswith((".", "_")) and plain.endswith(ENDINGS)
