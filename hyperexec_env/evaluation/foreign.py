"""Policies of somebody else, Python code or an ONNX graph, run in a child process that receives situations and returns shares.

The child process protects the *board* from mistakes: the path, the outcomes and the other policies are objects of another
process, the answers of the child are interpreted as numbers and text only, and a child that does not answer is killed. The
child process is no protection from *hostile* code, which has the rights of the user: it can read, empty and delete files, use
the network, and read the seed in the arguments of this process, from which it can compute every episode. Run only code that
you have read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import one_line
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.guest import ANSWER, LARGEST_TEXT, LENGTH
from hyperexec_env.evaluation.policy import PolicyFailure

__all__ = ["ForeignPolicy"]

_PASSED_ON: Final = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TMPDIR", "TEMP", "VIRTUAL_ENV", "PYTHONPATH")
"""Environment variables of the child process; all others may hold secrets."""


class ForeignPolicy:
    """A policy that runs in a process of its own from the first question to it on.

    Args:
        name: Name on the board.
        content: Text of a module that defines a class `Policy` with `act(situation)`, or a function `decide(parameters,
            situation)` and a NamedTuple `parameters`; or an ONNX graph (:mod:`~hyperexec_env.evaluation.onnx_policy`).
        settings: Arguments of :func:`~hyperexec_env.evaluation.guest.policy_in`.
    """

    def __init__(self, name: str, content: bytes, **settings: Any) -> None:
        self.name, self._content, self._settings = name, content, settings
        self._child: subprocess.Popen[bytes] | None = None
        self._known: Any = None  # market that the child has been told
        self._follows = False

    @property
    def follows_regimes(self) -> bool:
        """Whether the code observes the probabilities of the regimes.

        Raises:
            PolicyFailure: The code cannot be loaded.
        """
        try:
            if self._child is None:
                self._started()
        except BaseException:
            self.close()
            raise
        return self._follows

    def act(self, situation: Situation) -> Any:
        """Return the shares that the code returns.

        Raises:
            PolicyFailure: The code raised an error, ended the process, or returned no numbers of the right shape.
        """
        try:
            child = self._child or self._started()
            return self._asked(child, situation)
        except BaseException:  # an interrupted exchange cannot go on, and an endless loop must not
            self.close()
            raise

    def close(self) -> None:
        """Kill the child process; the next call starts another one."""
        if self._child is not None:
            _end(self._child)
        self._child = self._known = None

    def _started(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-P", "-m", "hyperexec_env.evaluation.guest"]
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._child = subprocess.Popen(  # noqa: S603 - the program of this package
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**passed, "OMP_NUM_THREADS": "1"},
            cwd=tempfile.gettempdir(),
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._child)
        _send(self._child, json.dumps(self._settings).encode(), self._content)
        self._follows = self._answer(self._child, 1) == bytes([True])
        return self._child

    def _asked(self, child: subprocess.Popen[bytes], situation: Situation) -> Any:
        values = {name: np.asarray(value) for name, value in situation._asdict().items() if name != "market"}
        told = situation.market is self._known
        described = {
            "scenario": None if told else situation.market.scenario.to_dict(),
            "fields": [[name, value.dtype.str, list(value.shape)] for name, value in values.items()],
        }
        raw = b"".join(np.ascontiguousarray(value).tobytes() for value in values.values())
        _send(child, json.dumps(described).encode(), raw)
        self._known = situation.market
        shape = np.shape(situation.remaining)
        content = self._answer(child, 8 * int(np.prod(shape)))
        shares = np.frombuffer(content, "<f8").reshape(shape)
        return shares if shape else float(shares)

    def _answer(self, child: subprocess.Popen[bytes], size: int) -> bytes:
        """Return the answer of the child: `size` bytes, or the text of an error, which is raised."""
        pipe: Any = child.stdout
        head = pipe.read(ANSWER.size)
        if len(head) < ANSWER.size:
            raise PolicyFailure(f"policy {self.name!r}: its process has ended")
        good, length = ANSWER.unpack(head)
        if length > (size if good else LARGEST_TEXT):
            raise PolicyFailure(f"policy {self.name!r}: its process sent {length:,} bytes, not {size:,}")
        content: bytes = pipe.read(length)
        if not good:
            raise PolicyFailure(f"policy {self.name!r} {one_line(content.decode('utf-8', 'replace'))}")
        if len(content) != size:
            raise PolicyFailure(f"policy {self.name!r} must return one number for each episode")
        return content


def _send(child: subprocess.Popen[bytes], *parts: bytes) -> None:
    pipe: Any = child.stdin
    try:
        for part in parts:
            pipe.write(LENGTH.pack(len(part)) + part)
        pipe.flush()
    except OSError:  # the child has ended; reading its answer says so
        return


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child process with the processes that it started, and close its pipes."""
    if child.returncode is None:  # its id is still its own
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL) if hasattr(os, "killpg") else child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):  # unwritten bytes for a process that has ended
                pipe.close()
    child.wait()
