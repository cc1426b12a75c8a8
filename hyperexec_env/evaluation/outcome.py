"""The results of one policy on some episodes, and hashes of what it met."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.account import Statement
from hyperexec_env.market.kernel import Components
from hyperexec_env.market.noise import Words

__all__ = ["Outcome", "checksum", "join", "path_hash"]

Floats = NDArray[np.float64]


class Outcome(NamedTuple):
    """Results of one policy on some episodes; arrays have shape (episodes,) unless stated otherwise."""

    statement: Statement
    """Costs, bps of the arrival notional."""
    forced: Floats
    """Shares forced at the end of the order, fraction of the order."""
    start_regime: NDArray[np.int64]
    """Regime of the first slice."""
    inventory: Floats
    """Remaining fraction at the start of each slice and at the end, summed over the episodes that start in each regime:
    shape (regimes, N + 1)."""
    path_hash: str
    """Hash of the paths (regimes and noise keys); equal for all policies that are compared."""


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """Concatenate the outcomes of the batches of one policy."""
    statements = [outcome.statement for outcome in outcomes]
    shortfall, objective, expected, risk = (
        np.concatenate(column) for column in zip(*(statement[:4] for statement in statements), strict=True)
    )
    parts = (np.concatenate(column) for column in zip(*(statement.components for statement in statements), strict=True))
    return Outcome(
        Statement(shortfall, objective, expected, risk, Components(*parts)),
        np.concatenate([outcome.forced for outcome in outcomes]),
        np.concatenate([outcome.start_regime for outcome in outcomes]),
        np.sum([outcome.inventory for outcome in outcomes], axis=0),
        hashlib.sha256("".join(outcome.path_hash for outcome in outcomes).encode()).hexdigest()[:16],
    )


def path_hash(scenario_hash: str, keys: Words, traces: Words) -> str:
    """Return a hash of scenario, noise keys and regimes: integers and text only, so that it is equal for every backend."""
    digest = hashlib.sha256(scenario_hash.encode())
    digest.update(np.ascontiguousarray(keys).tobytes())
    digest.update(traces.tobytes())
    return digest.hexdigest()[:16]


def checksum(arrays: Iterable[NDArray[Any]]) -> int:
    """Return a checksum over the bits of some arrays of 64-bit numbers, to detect changes."""
    return sum(place * int(np.add.reduce(values.view(np.uint64), axis=None)) for place, values in enumerate(arrays, start=1))
