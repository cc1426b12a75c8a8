"""Keys of stored results: fingerprints of the code and of the policy. Equal keys mean equal results, bit for bit."""

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
from hyperexec_env.market.scenarios import AnyScenario
from hyperexec_env.version import __version__

__all__ = ["Cell", "cell_of", "engine", "engines", "policy_hash"]

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_FOLDERS: Final = ("backends", "market", "envs", "execution", "evaluation", "baselines")
"""Subpackages whose code :func:`engine` covers."""


class Cell(NamedTuple):
    """Key of a stored result, fields in the order of the store's primary key."""

    engine: str
    """Fingerprint of the code, see :func:`engine`."""
    scenario: str
    """Hash of the scenario."""
    seed: int
    """Seed of the episodes."""
    first: int
    """Index of the first episode."""
    episodes: int
    """Number of episodes."""
    policy: str
    """Hash of the policy, see :func:`policy_hash`."""
    hidden: bool
    """Whether the regime is hidden from the policy."""


def cell_of(scenario: AnyScenario, policy: Policy, hidden: bool, seed: int, compiled: bool = False) -> Cell | None:
    """Return the cell of a policy with no episodes yet (`first` and `episodes` are 0); None where the policy has no hash."""
    identity = policy_hash(policy)
    return None if identity is None else Cell(engine(compiled), scenario.hash, seed, 0, 0, identity, hidden)


@cache
def engine(compiled: bool = False) -> str:
    """Return the fingerprint of the code that computes results, 32 hexadecimal digits.

    The fingerprint covers the version, the source files of the records, the backends, the market, the environments, the desk,
    the evaluation and the baselines, the version of numpy, and the processor instructions that numpy found: a change of any of
    them may move the last bits of a result. The fingerprint of compiled loops also covers the version of numba.

    Args:
        compiled: Whether compiled loops compute the results.
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
    """Return the fingerprints of the engines available in this installation."""
    return {engine(), *([engine(True)] if resolve_backend("auto") == "numba" else [])}


def _sources() -> dict[str, Path]:
    """Return the source files that results depend on, by name; names do not depend on the kind of installation."""
    files = {name: _PACKAGE / name for name in ("orders.py", "records.py")}
    for name in _FOLDERS:
        folder = _folder(name)
        files |= {f"{name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
    return files


def _folder(name: str) -> Path:
    """Return the folder of a subpackage: below the package, or elsewhere in an editable installation."""
    spec = None if (_PACKAGE / name).is_dir() else find_spec(f"hyperexec_env.{name}")
    return Path(spec.origin).parent if spec and spec.origin else _PACKAGE / name


def _covered(kind: type) -> bool:
    """Return whether :func:`engine` covers the code of a class."""
    package, *below = kind.__module__.split(".")
    return package == "hyperexec_env" and bool(below) and below[0] in _FOLDERS


def policy_hash(policy: Policy) -> str | None:
    """Return the hash of a policy, 32 hexadecimal digits; None where its behaviour cannot be identified.

    - A policy with a string attribute `digest` is hashed by its class and the digest. The digest must cover everything that
      affects its shares, code included, and the shares of an episode must not depend on the other episodes of the batch.
      Trained networks have such a digest. A digest that a class outside this package inherits is ignored, because it does not
      cover what the subclass changes.
    - A policy of this package is hashed by its class and name, a frozen dataclass by its class and fields: :func:`engine`
      covers the code. The hash is None if the constructor takes arguments that are not such fields.
    - The hash of any other policy is None.
    """
    kind = type(policy)
    name = f"{kind.__module__}.{kind.__qualname__}"
    digest = getattr(policy, "digest", None)
    if isinstance(digest, str) and offers(policy, "digest"):
        return _short_hash([name, "digest", digest])
    if not _covered(kind) or "act" in getattr(policy, "__dict__", {}):
        return None
    if is_dataclass(policy):
        try:
            return _short_hash([name, _plain(policy)])
        except TypeError:
            return None
    return None if inspect.signature(kind).parameters else _short_hash([name, policy.name])


def _short_hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """Return a JSON representation of a value; equal values have equal representations.

    Raises:
        TypeError: The value contains anything but frozen dataclasses, arrays, mappings, sequences, numbers and strings.
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
    if is_dataclass(value) and getattr(value, "__dataclass_params__").frozen:  # noqa: B009 - missing in the type stubs
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    raise TypeError(f"{type(value).__name__} has no stable identity")
