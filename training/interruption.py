"""Interruption: a signal becomes a flag, so that work stops where it can be taken up again."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Signals", "exit_code"]

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Work stopped because of a signal, and may be resumed; not caught, it ends the process with 128 + the signal's number."""

    def __init__(self, received: int) -> None:
        """Take the number of the signal."""
        super().__init__(exit_code(received))


class Signals:
    """While the block runs, SIGINT and SIGTERM only set a flag; a second SIGINT raises KeyboardInterrupt at once.

    Python lets only the main thread handle signals: in another one nothing is caught and the flag stays 0. A signal that
    the process was told to ignore (SIGINT in a background job of a shell) stays ignored.

    Attributes:
        received: Number of the first signal that came, or 0.
    """

    def __init__(self) -> None:
        """Catch nothing yet."""
        self.received = 0
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        """Take over the handlers."""
        self.received = 0
        if threading.current_thread() is threading.main_thread():
            for number in _CAUGHT:
                if signal.getsignal(number) not in (None, signal.SIG_IGN):  # None: not Python's, it could not be restored
                    self._old[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Put the old handlers back."""
        while self._old:
            signal.signal(*self._old.popitem())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.received != 0
        self.received = self.received or number
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt


def exit_code(received: int) -> int:
    """Return the exit code of a process that a signal ended, as a shell reports it: 128 + its number."""
    return 128 + received
