"""Run a function in a child process with a time limit: machine code that never returns cannot be stopped in this one."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

__all__ = ["ends_in_time"]


def ends_in_time(function: Callable[[], Any], seconds: float) -> bool:
    """Return whether a function, called in a forked process, returns or raises an error within a time limit.

    The process is killed at the end, and the result of the function is lost. On a system without `fork` (Windows) the function
    is not called, and the result is True.

    Args:
        function: The function. It must not need the threads of this process.
        seconds: The time limit, seconds.
    """
    if not hasattr(os, "fork"):
        return True
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: the child calls the function and nothing else
        child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os.write(writing, b"1")
            os._exit(0)
    try:
        return bool(wait([reading], seconds))
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
