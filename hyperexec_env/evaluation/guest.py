"""The child process of a policy of somebody else: read situations from standard input, write shares to standard output.

:class:`~hyperexec_env.evaluation.foreign.ForeignPolicy` starts it as ``python -m hyperexec_env.evaluation.guest``.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import types
from contextlib import suppress
from typing import Any, BinaryIO, Final

import numpy as np

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.onnx_policy import load_onnx
from hyperexec_env.evaluation.policy import follows_regimes
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import build_market

__all__ = ["ANSWER", "LARGEST_TEXT", "LENGTH", "main", "policy_in"]

LENGTH: Final = struct.Struct("<Q")
"""Length of a message to the child."""
ANSWER: Final = struct.Struct("<?Q")
"""Beginning of an answer: whether it holds shares (else the text of an error), and its length."""
LARGEST_TEXT: Final = 2000
"""Largest length of the text of an error, bytes."""
_MEMORY: Final = 2**33
"""Largest address space of the child, bytes."""


def policy_in(settings: dict[str, Any], content: bytes) -> Any:
    """Return the policy of an ONNX graph, or the policy that the text of a module defines, after running the module.

    Args:
        settings: `kind`, "onnx" or "code"; for a graph also `action_mode` and `observe_regime`.
        content: The graph, or the text in UTF-8.

    Raises:
        ValueError: The graph is invalid, or the module defines neither a class `Policy` nor a function `decide`.
        Exception: Any error of the module.
    """
    if settings.pop("kind") == "onnx":
        return load_onnx("graph", content, **settings)
    module = types.ModuleType("submitted_policy")
    sys.modules[module.__name__] = module  # where dataclasses look for their module
    exec(compile(content, "policy.py", "exec"), module.__dict__)  # noqa: S102 - the purpose of this process
    if hasattr(module, "Policy"):
        return module.Policy()
    if not hasattr(module, "decide"):
        raise ValueError("policy.py must define a class Policy or a function decide")
    return types.SimpleNamespace(
        act=lambda situation: module.decide(getattr(module, "parameters", None), situation),
        follows_regimes=getattr(module, "follows_regimes", False),
    )


def main() -> None:
    """Answer until standard input ends."""
    with os.fdopen(os.dup(0), "rb") as asked, os.fdopen(os.dup(1), "wb") as answers:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)  # what the policy prints
        _limit()
        settings, content = json.loads(_read(asked) or b"{}"), _read(asked) or b""
        policy = _guarded(answers, lambda: policy_in(settings, content), "cannot be loaded,", _wishes)
        market: Any = None
        while policy is not None and (head := _read(asked)) is not None:
            described = json.loads(head)
            if described["scenario"] is not None:
                market = build_market(Scenario.from_dict(described["scenario"]))
            situation = _situation(market, described["fields"], _read(asked) or b"")
            _guarded(answers, lambda given=situation: _shares(policy, given), f"raised in slice {situation.k}")


def _shares(policy: Any, situation: Situation) -> bytes:
    shares = np.asarray(policy.act(situation), dtype="<f8")
    return np.broadcast_to(shares, np.shape(situation.remaining)).tobytes()


def _wishes(policy: Any) -> bytes:
    """Return one byte: 1 if the policy observes the probabilities of the regimes, else 0."""
    return bytes([follows_regimes(policy)])


def _guarded(answers: BinaryIO, function: Any, where: str, sent: Any = bytes) -> Any:
    """Call a function, send the bytes that `sent` makes of its result, or its error; return the result, None after an error."""
    try:
        result = function()
        good, content = True, sent(result)
    except BaseException as error:  # an error of the policy, whatever its kind
        text = " ".join(f"{where} {type(error).__name__}: {error}".split())
        result, good, content = None, False, text.encode("utf-8", "replace")[:LARGEST_TEXT]
    answers.write(ANSWER.pack(good, len(content)) + content)
    answers.flush()
    return result


def _situation(market: Any, fields: list[Any], raw: bytes) -> Situation:
    values, start = {}, 0
    for name, dtype, shape in fields:
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        array = np.frombuffer(raw[start : start + size], dtype).reshape(shape)
        values[name] = array if shape else array.item()
        start += size
    return Situation(market=market, **values)


def _read(pipe: BinaryIO) -> bytes | None:
    """Return a message; None at the end of the input."""
    head = pipe.read(LENGTH.size)
    return pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def _limit() -> None:
    """Limit memory, and let files grow no larger, where the system can; files can still be created, emptied and deleted."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    main()
