"""Signal handling: SIGINT and SIGTERM set a flag, so that a training stops at a point from which it can resume."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Signals", "exit_code"]

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Resumable work stopped by a signal. If not caught, the exception ends the process with exit code 128 + signal number."""

    def __init__(self, received: int) -> None:
        """Store the exit code of a signal number."""
        super().__init__(exit_code(received))


class Signals:
    """Context in which SIGINT and SIGTERM only set a flag; a second SIGINT raises KeyboardInterrupt immediately.

    Python handles signals in the main thread only: in other threads the context catches nothing and the flag stays 0. Signals
    that the process ignores (SIGINT in a background job of a shell) stay ignored.

    Attributes:
        received: Number of the first signal received, or 0.
    """

    def __init__(self) -> None:
        """Install no handlers yet."""
        self.received = 0
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        """Install the handlers."""
        self.received = 0
        if threading.current_thread() is threading.main_thread():
            for number in _CAUGHT:
                if signal.getsignal(number) not in (
                    None,
                    signal.SIG_IGN,
                ):  # None: not a Python handler
                    self._old[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Restore the previous handlers."""
        while self._old:
            signal.signal(*self._old.popitem())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.received != 0
        self.received = self.received or number
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt


def exit_code(received: int) -> int:
    """Return the exit code that a shell reports for a process ended by a signal: 128 + signal number."""
    return 128 + received
