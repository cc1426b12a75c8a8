"""Order hiding: times and sizes that an observer of the tape cannot foretell.

A factor in [0, 1] scales the jitter: at 1, a child moves by up to 30 % of its interval and its size by up to 20 %. Both are
centred (their mean is the plan), stay inside the deadline, and conserve the quantity. Whether that hides an order is a
measurement: ``hyperexec stealth``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hyperexec_env.execution.schedules import Weights

__all__ = ["SIZE_JITTER", "TIME_JITTER", "jitter", "jittered_times", "jittered_weights"]

TIME_JITTER: Final = 0.3
"""Largest move of a child at a factor of one, in intervals."""
SIZE_JITTER: Final = 0.2
"""Largest change of its size at a factor of one, as a share of the size."""


def jittered_times(times: Weights, interval: float, factor: float, rng: np.random.Generator) -> Weights:
    """Move each time by a uniform draw from +-30 % of the interval times the factor.

    A child that was planned in the middle of its interval stays inside it, so children keep their order and the deadline.
    """
    return times + (TIME_JITTER * factor * interval) * (2.0 * rng.random(len(times)) - 1.0)


def jittered_weights(weights: Weights, factor: float, rng: np.random.Generator) -> Weights:
    """Change each weight by up to +-20 % of itself times the factor; the sum stays what it is.

    The draws are uniform, less their weighted mean, shrunk where one would leave the range: symmetric, so each weight keeps
    its mean. One weight alone cannot change.
    """
    draws = 2.0 * rng.random(len(weights)) - 1.0
    total = weights.sum()
    if not total > 0.0:
        return weights
    draws -= weights @ draws / total
    widest = max(np.abs(draws).max(), 1.0)
    return np.asarray(weights * (1.0 + (SIZE_JITTER * factor / widest) * draws))


def jitter(factor: float, rng: np.random.Generator) -> float:
    """Return a multiplier for the size of one child: uniform in 1 +-20 % times the factor; 1 where the factor is 0."""
    return 1.0 + SIZE_JITTER * factor * (2.0 * rng.random() - 1.0) if factor else 1.0
