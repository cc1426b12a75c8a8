"""Paired results of policies: mean, difference to a reference and gap to the optimum, each with its interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.statistics import bootstrap_means, interval

__all__ = ["Measured", "Paired", "paired"]

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """A mean over episodes and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Paired(NamedTuple):
    """The results of one policy."""

    objective: Measured
    """Mean objective J."""
    difference: Measured
    """Paired difference to the reference."""
    gap: Measured
    """Paired difference to the policy `optimum`, in percent of abs(J*)."""


def paired(objectives: Floats, reference: int, best: int, optimum: float) -> list[Paired]:
    """Return the paired results of each policy.

    Args:
        objectives: Objectives, shape (policies, episodes).
        reference: Row of the reference policy.
        best: Row of the optimal policy.
        optimum: J*, or a bound on it, in the unit of the objectives.
    """
    scale = 100.0 / abs(optimum) if optimum else np.nan
    columns = np.stack([objectives, objectives - objectives[reference], scale * (objectives - objectives[best])])
    means = bootstrap_means(columns.reshape(-1, columns.shape[2]))
    ends = np.array([interval(each) for each in means]).reshape(3, len(objectives), 2)
    return [
        Paired(*(Measured(float(columns[part, i].mean()), *map(float, ends[part, i])) for part in range(3)))
        for i in range(len(objectives))
    ]
