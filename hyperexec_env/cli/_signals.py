"""Signals that end a command: SIGINT and SIGTERM raise an exception, also where foreign code swallows the first one."""

from __future__ import annotations

import _thread
import gc
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["Ended", "Raiser", "destructors_silenced", "signals_as_exceptions"]

_AGAIN: Final = 1.0
"""Seconds between two raises of a signal whose exception was swallowed."""
_DEFAULTS: Final[dict[int, Any]] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""The signals, and their handlers in a process that has set none."""


class Ended(KeyboardInterrupt):
    """A signal that ends the command was received."""

    def __init__(self, number: int) -> None:
        """Store the number of the signal."""
        super().__init__()
        self.number = number


@contextmanager
def destructors_silenced(raiser: Raiser) -> Iterator[None]:
    """Do not report, in the block, what destructors and callbacks of C code raise once a signal was received.

    The signal interrupts code anywhere, and the destructor of an object that is half made may fail.
    """
    report = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None if raiser.received else report(unraisable)
    try:
        yield
        if raiser.received:
            gc.collect()
    finally:
        sys.unraisablehook = report


@contextmanager
def signals_as_exceptions(raiser: Raiser) -> Iterator[None]:
    """Raise :class:`Ended` in the block on SIGINT and SIGTERM, so that files are closed or removed.

    Code in C that calls Python (a compiler, a destructor) can swallow the exception. The signal is therefore raised again every
    second until the exception propagates, and a block that nevertheless ends, with a result or an error, raises it at its end.
    Signals that the process ignores stay ignored. Outside the main thread, which alone receives signals, nothing changes.

    Raises:
        Ended: A signal was received.
    """
    caught = [number for number, default in _DEFAULTS.items() if signal.getsignal(number) == default]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in caught:
        signal.signal(number, raiser.receive)
    try:
        yield
    except Exception:
        raiser.check()
        raise
    else:
        raiser.check()
    finally:
        raiser.stop()
        for number in caught:
            signal.signal(number, _DEFAULTS[number])


class Raiser:
    """Raises an exception on a signal, and again until it propagates."""

    def __init__(self) -> None:
        """Wait for a signal."""
        self.received = 0  # number of the first signal
        self._repeated = False  # whether the next signal is a repetition
        self._stopped = False
        self._lock = _thread.allocate_lock()

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; a repetition does not disturb code that cleans up after the exception."""
        repeated, self._repeated = self._repeated, False
        if not self.received:
            self.received = number
            _thread.start_new_thread(self._repeat, ())  # a `threading.Thread` could wait here for a lock of this very thread
        if not (repeated and _propagates(sys.exception())):
            raise Ended(self.received)

    def check(self) -> None:
        """Raise :class:`Ended` if a signal was received."""
        if self.received:
            raise Ended(self.received) from None

    def stop(self) -> None:
        """Stop the repetitions."""
        with self._lock:
            self._stopped = True

    def _repeat(self) -> None:
        """Send the signal to the main thread again and again, until a handler of other code (a training) receives it."""
        own = True
        while own:
            time.sleep(_AGAIN)
            with self._lock:
                if self._stopped:
                    return
                own = self._repeated = signal.getsignal(self.received) == self.receive
                _send(self.received)


def _propagates(error: BaseException | None) -> bool:
    """Return whether an exception that is being handled is an :class:`Ended`, or was raised while one was handled."""
    while error is not None and not isinstance(error, Ended):
        error = error.__context__
    return error is not None


def _send(number: int) -> None:
    """Send a signal to the main thread, which interrupts its system calls; on Windows, let Python handle the signal."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
