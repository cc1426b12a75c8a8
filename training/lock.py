"""The lock of a folder of results, so that two processes do not mix their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

from hyperexec_env.files import make_folder

__all__ = ["LOCK", "claimed"]

LOCK: Final = "run.lock"
"""Name of the lock file. It holds the pid of the process that writes to the folder."""


@contextmanager
def claimed(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Create a folder if it is missing, and lock it while the block runs; if the block leaves a new folder empty, delete it.

    The system releases the lock of a process that dies, so that the next process takes it over. On a system without POSIX
    locks (Windows) nothing is locked.

    Args:
        folder: The folder.

    Yields:
        The folder.

    Raises:
        ValueError: Another process holds the lock (the message names its pid), or the folder is not writable.
    """
    new = not os.path.lexists(folder)
    path = make_folder(folder)
    if fcntl is None:
        yield path
        return
    handle = _locked(path / LOCK)
    try:
        yield path
    finally:
        with suppress(OSError):
            (path / LOCK).unlink()
            if new:
                path.rmdir()  # of a block that wrote nothing
        os.close(handle)


def _locked(lock: Path) -> int:
    """Return the open handle of a lock file that this process has locked and that holds its pid.

    Raises:
        ValueError: Another process holds the lock, or the file cannot be written.
    """
    try:
        while True:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # the previous holder may have deleted the file between the opening and the locking of it
                if lock.exists() and os.path.samestat(os.fstat(handle), lock.stat()):
                    os.ftruncate(handle, 0)
                    os.write(handle, f"{os.getpid()}\n".encode())
                    return handle
            except BlockingIOError:
                pid = os.read(handle, 20).decode(errors="replace").strip()
                os.close(handle)
                who = f"process {pid}" if pid else "another process"
                raise ValueError(
                    f"{who} writes to the folder {lock.parent}; wait for its end, or give another folder"
                ) from None
            except OSError:
                os.close(handle)
                raise
            os.close(handle)
    except OSError as error:
        raise ValueError(f"cannot lock the folder {lock.parent}: {error.strerror or error}") from None
