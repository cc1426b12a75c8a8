"""What makes a result: the code that ran, and the policy that was judged. Equal identities mean equal results, bit for bit."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.backends.compiled import resolve_backend
from hyperexec_env.evaluation.policy import Policy, offers
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.version import __version__

__all__ = ["Cell", "cell_of", "engine", "engines", "policy_hash"]

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_FOLDERS: Final = ("market", "envs", "execution", "evaluation", "baselines")
"""Subpackages whose code :func:`engine` covers."""


class Cell(NamedTuple):
    """What names a result, in the order of the store's key."""

    engine: str
    """Fingerprint of the code, :func:`engine`."""
    scenario: str
    """Hash of the scenario."""
    seed: int
    """Seed of the episodes."""
    first: int
    """Number of the first episode."""
    episodes: int
    """Number of episodes."""
    policy: str
    """Hash of the policy, :func:`policy_hash`."""
    hidden: bool
    """Whether the policy is not told the regime."""


def cell_of(scenario: Scenario, policy: Policy, hidden: bool, seed: int, compiled: bool = False) -> Cell | None:
    """Return the cell of a policy before its episodes are given; None where the policy has no identity."""
    identity = policy_hash(policy)
    return None if identity is None else Cell(engine(compiled), scenario.hash, seed, 0, 0, identity, hidden)


@cache
def engine(compiled: bool = False) -> str:
    """Return the fingerprint of what computes results, 32 hexadecimal digits; the compiled loops have one of their own.

    It covers the version, the source files of the market, the environments, the desk, the evaluation and the baselines, the
    version of numpy, and the instructions of the processor that numpy found: a change of any of them may move the last bits of
    a result, and must not be taken for chance.
    """
    digest = hashlib.sha256()
    simd: Any = np.show_config(mode="dicts")
    machine = [platform.system(), platform.machine(), simd.get("SIMD Extensions", {}).get("found", [])]
    digest.update(json.dumps([__version__, np.__version__, machine]).encode())
    if compiled:
        digest.update(f"numba {version('numba')}".encode())
    for name, path in sorted(_sources().items()):
        digest.update(name.encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def engines() -> set[str]:
    """Return the fingerprints of all that can compute results here."""
    return {engine(), *([engine(True)] if resolve_backend("auto") == "numba" else [])}


def _sources() -> dict[str, Path]:
    """Return the source files that results depend on, by name; the names are the same for every kind of installation."""
    files = {"orders.py": _PACKAGE / "orders.py"}
    for name in _FOLDERS:
        folder = _folder(name)
        files |= {f"{name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
    return files


def _folder(name: str) -> Path:
    """Return the folder of a subpackage: below the package, or where an editable installation keeps it."""
    spec = None if (_PACKAGE / name).is_dir() else find_spec(f"hyperexec_env.{name}")
    return Path(spec.origin).parent if spec and spec.origin else _PACKAGE / name


def _covered(kind: type) -> bool:
    """Whether :func:`engine` covers the code of a class."""
    package, *below = kind.__module__.split(".")
    return package == "hyperexec_env" and bool(below) and below[0] in _FOLDERS


def policy_hash(policy: Policy) -> str | None:
    """Return the identity of a policy, 32 hexadecimal digits; None where there is none to rely on.

    - A policy that offers a text `digest` vouches for it: it must cover everything that moves an answer, code included, and
      the answer for an episode must not depend on the other episodes of the batch. Trained networks do. One that a class
      elsewhere inherits says nothing of what that class has changed.
    - A policy of this package is known by its class and name, a frozen dataclass by its fields too: :func:`engine` covers the
      code. One whose constructor takes arguments that it does not keep in such fields is not known.
    - Any other policy is code that nobody has seen: None.
    """
    kind = type(policy)
    name = f"{kind.__module__}.{kind.__qualname__}"
    digest = getattr(policy, "digest", None)
    if isinstance(digest, str) and offers(policy, "digest"):
        return _short([name, "digest", digest])
    if not _covered(kind) or "act" in getattr(policy, "__dict__", {}):
        return None
    if is_dataclass(policy):
        try:
            return _short([name, _plain(policy)])
        except TypeError:
            return None
    return None if inspect.signature(kind).parameters else _short([name, policy.name])


def _short(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """Return a value as what JSON can hold: equal for equal values.

    Raises:
        TypeError: It is not made of frozen dataclasses, arrays, mappings, sequences, numbers and texts.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return [value.dtype.str, list(value.shape), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if is_dataclass(value) and getattr(value, "__dataclass_params__").frozen:  # noqa: B009 - the types do not know of it
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    raise TypeError(f"{type(value).__name__} has no stable identity")
