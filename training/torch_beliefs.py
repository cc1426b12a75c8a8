"""Beliefs about the unknowns of an episode as features in torch: the market's own filters, with gradients through our fills.

Beliefs about volume, drift and hidden regime do not depend on our trades, and are constants of an episode. The belief about the
temporary impact does: its log-odds follow :func:`hyperexec_env.market.unknown.learn_slope` on tensors, so that a gradient knows
what a trade teaches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from hyperexec_env.envs.features import Observer
from hyperexec_env.envs.own import extension
from hyperexec_env.envs.situation import Situation, with_law
from hyperexec_env.market.hidden import laws_along
from hyperexec_env.market.path import Path, World
from hyperexec_env.market.unknown import learn_slope, slope_moments

__all__ = ["belief_features", "laws_of", "worlds_of"]

_SHARED: Final = tuple(name for name in World._fields if name in Situation._fields)
"""Fields of a situation that are the market's and do not depend on our trades."""
_NOTHING: Final = Situation(**dict.fromkeys(Situation._fields))
_LEAST_PART: Final = 1e-9
"""Smallest participation of a fill that is evidence: below it, the slope of a concave impact has no finite gradient."""
_LEAST_VARIANCE: Final = 1e-8
"""Smallest variance of the temporary impact, below which single precision rounds it, and its root has no finite gradient."""
_CERTAIN: Final = 40.0
"""Largest log-odds; more would make no difference to the moments."""


def worlds_of(observer: Observer, path: Path, dtype: torch.dtype, device: str) -> tuple[World, ...]:
    """Return the market at the start of each slice, tensors of shape (episodes,); () if the observer shows no belief."""
    return _by_slice(path.world, dtype, device) if observer.own else ()


def laws_of(observer: Observer, path: Path, dtype: torch.dtype, device: str) -> tuple[Any, ...]:
    """Return the probabilities of the regimes at the start of each slice as :func:`worlds_of`; () if none is shown."""
    return _by_slice(laws_along(observer.market, path), dtype, device) if observer.follows else ()


def _by_slice(record: Any, dtype: torch.dtype, device: str) -> tuple[Any, ...]:
    """Return a record for each slice, given one with fields of shape (N + 1, episodes)."""
    fields = [torch.tensor(np.ascontiguousarray(values[:-1]), dtype=dtype, device=device).unbind() for values in record]
    return tuple(type(record)(*values) for values in zip(*fields, strict=True))


def belief_features(
    observer: Observer, slices: tuple[Any, ...], worlds: tuple[World, ...], laws: tuple[Any, ...] = ()
) -> Callable[[int, Any], list[Any]]:
    """Return the function of slice and remaining shares that returns the features of beliefs, each of shape (episodes,).

    It must be called for the slices of an episode in their order.
    """
    if not worlds:
        return lambda k, remaining: []
    numbers, features, side = observer.market.numbers, extension(observer.own), float(observer.market.scenario.side)
    odds, before = torch.zeros_like(worlds[0].slope), None

    def believed(k: int, remaining: Any) -> list[Any]:
        nonlocal odds, before
        world = worlds[k]
        situation = _NOTHING._replace(side=side, **{name: getattr(world, name) for name in _SHARED})
        if laws:
            situation = with_law(situation, laws[k])
        if numbers.spec.unknown_slope:
            if before is not None:
                part = ((before - remaining) / slices[k - 1].volume).clamp(min=_LEAST_PART)
                base = slices[k - 1].temporary_scale / world.slope
                learned = learn_slope(numbers, odds, base, part, world.slope, world.slipped, world.slip_variance)
                odds = learned.clamp(-_CERTAIN, _CERTAIN)
            moments = slope_moments(numbers, odds)
            situation = situation._replace(slope_mean=moments.mean, slope_variance=moments.variance.clamp(min=_LEAST_VARIANCE))
        before = remaining
        return list(features(situation, None))

    return believed
