"""Order hiding: random jitter of the times and sizes of child orders, so that the tape does not reveal the schedule.

A factor in [0, 1] scales the jitter: at 1, the time of a child changes by up to 30 % of its interval and its size by up to
20 %. The jitter is centred on the plan, respects the deadline and conserves the quantity. ``hyperexec stealth`` measures
whether it hides an order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hyperexec_env.execution.schedules import Weights

__all__ = ["SIZE_JITTER", "TIME_JITTER", "jitter", "jittered_times", "jittered_weights"]

TIME_JITTER: Final = 0.3
"""Largest change of the time of a child at a factor of one, in intervals."""
SIZE_JITTER: Final = 0.2
"""Largest change of the size of a child at a factor of one, as a share of the size."""


def jittered_times(times: Sequence[float] | Weights, interval: float, factor: float, rng: np.random.Generator) -> list[float]:
    """Return times shifted by independent uniform draws of up to +-30 % of the interval times the factor.

    A child planned mid-interval stays inside its interval, so the children keep their order and respect the deadline.
    """
    reach = TIME_JITTER * factor * interval
    return [time + reach * (2.0 * draw - 1.0) for time, draw in zip(times, rng.random(len(times)).tolist(), strict=True)]


def jittered_weights(weights: Weights, factor: float, rng: np.random.Generator) -> list[float]:
    """Return weights changed by up to +-20 % of themselves times the factor, with an unchanged sum.

    The changes are uniform draws minus their weighted mean, scaled down where one would exceed the range. Their distribution
    is symmetric, so the mean of each weight is unchanged. A single weight does not change.
    """
    draws, plain = 2.0 * rng.random(len(weights)) - 1.0, list[float](weights.tolist())
    total = float(weights.sum())
    if not total > 0.0:
        return plain
    mean, moves = float(weights @ draws) / total, draws.tolist()
    scale = SIZE_JITTER * factor / max(max(moves) - mean, mean - min(moves), 1.0)
    return [weight * (1.0 + scale * (move - mean)) for weight, move in zip(plain, moves, strict=True)]


def jitter(factor: float, rng: np.random.Generator) -> float:
    """Return a random multiplier for the size of one child: uniform in 1 +-20 % times the factor; 1 if the factor is 0."""
    return 1.0 + SIZE_JITTER * factor * (2.0 * rng.random() - 1.0) if factor else 1.0
