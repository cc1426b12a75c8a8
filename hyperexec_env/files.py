"""Files: a result is written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, meets either the old content or the new one, never a part.

    The content goes to a temporary file in the same folder, which is flushed to the disk and renamed; then the folder
    is flushed too. Text is written as UTF-8. A symbolic link stays a link, and a file that exists keeps its permissions.

    Args:
        path: The file; its folder must exist.
        content: What it is to hold.

    Raises:
        ValueError: The file cannot be written; the message names it, and what stood there before is untouched.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        _write_through(temporary, data)
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        raise ValueError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _write_through(path: Path, data: bytes) -> None:
    """Make a new file and wait until the disk holds it."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Wait until the disk holds the names in a folder, where the system can say so."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
