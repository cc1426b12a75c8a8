"""Accumulate the outcomes of a policy batch by batch, in bounded memory."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.rollout import BATCH, Outcome, join
from hyperexec_env.evaluation.statistics import ROUNDING, cvar
from hyperexec_env.market.account import Statement
from hyperexec_env.market.kernel import Components

__all__ = ["MAX_VALUES", "Dispersion", "Tally", "group_size"]

Floats = NDArray[np.float64]

MAX_VALUES: Final = 2**21
"""Largest number of values stored per column, over all policies of a board; all columns take about 500 MB."""
_TAIL: Final = 2**17
"""Least number of episodes in a block of the CVaR; only the last block may be smaller."""


def group_size(episodes: int, policies: int) -> int:
    """Return the number of neighbouring episodes to average.

    It is 1 while all values fit into :data:`MAX_VALUES`, else the smallest power of two for which they do, at most a batch.

    Args:
        episodes: Number of episodes.
        policies: Number of policies, the reference included.
    """
    size = 1
    while size < BATCH and episodes * policies > MAX_VALUES * size:
        size *= 2
    return size


class Dispersion(NamedTuple):
    """Per-episode dispersion, which group means do not preserve."""

    shortfall_sd: float
    """Standard deviation of the shortfall over episodes, bps."""
    shortfall_cvar: float
    """CVaR 95 of the shortfall over episodes, bps; where episodes are averaged in groups, the weighted mean of the CVaR 95 of
    blocks of episodes."""
    win_rate: float
    """Fraction of the episodes in which the objective is below the reference's, by more than rounding."""


class Tally:
    """Accumulator of the outcomes of one policy.

    Args:
        group: Number of neighbouring episodes to average. Episodes are independent, so means, intervals and tests over groups
            agree with those over episodes. The exception is the last group of the run: it may hold fewer episodes at the same
            weight, which moves a mean by a small fraction of its standard error.
    """

    def __init__(self, group: int = 1) -> None:
        self.group = group
        self._outcomes: list[Outcome] = []
        self._count = self._wins = 0
        self._mean = self._squares = 0.0
        self._tail: list[Floats] = []  # shortfalls of the next block, batch by batch
        self._cvars: list[tuple[int, float]] = []  # number of episodes and CVaR of each block

    def add(self, outcome: Outcome, reference: Outcome) -> None:
        """Add a batch of the policy; `reference` is the outcome of the reference policy on the same episodes."""
        shortfall = outcome.statement.shortfall
        count, mean = len(shortfall), float(shortfall.mean())
        self._wins += int(np.sum(outcome.statement.objective < reference.statement.objective - ROUNDING))
        # update of the sum of squared deviations: Chan, Golub and LeVeque (1983)
        total, shift = self._count + count, mean - self._mean
        self._squares += float(np.square(shortfall - mean).sum()) + shift * shift * self._count * count / total
        self._mean += shift * count / total
        self._count = total
        if self.group > 1:
            self._tail.append(shortfall)
            if sum(map(len, self._tail)) >= _TAIL:
                self._reduce_tail()
        self._outcomes.append(outcome if self.group == 1 else _averaged(outcome, self.group))

    def _reduce_tail(self) -> None:
        values = np.concatenate(self._tail)
        self._cvars.append((len(values), cvar(values)))
        self._tail = []

    def joined(self) -> Outcome:
        """Return all batches as one outcome, over episodes or over groups of episodes."""
        return join(self._outcomes)

    def dispersion(self) -> Dispersion:
        """Return the dispersion over episodes, not over groups."""
        if self.group == 1:
            shortfall = np.concatenate([outcome.statement.shortfall for outcome in self._outcomes])
            return Dispersion(float(shortfall.std(ddof=1)), cvar(shortfall), self._wins / self._count)
        if self._tail:
            self._reduce_tail()
        worst = sum(count * value for count, value in self._cvars) / self._count
        return Dispersion(math.sqrt(self._squares / (self._count - 1)), worst, self._wins / self._count)


def _averaged(outcome: Outcome, group: int) -> Outcome:
    """Average groups of neighbouring episodes of a batch; the start regime of a group is that of its first episode."""
    episodes = len(outcome.forced)
    edges = np.arange(0, episodes, group)
    sizes = np.diff(np.append(edges, episodes))

    def mean(values: Floats | float) -> Floats:
        return np.asarray(np.add.reduceat(np.broadcast_to(values, (episodes,)), edges) / sizes)

    components = Components(**{name: mean(values) for name, values in outcome.statement.components._asdict().items()})
    totals = {name: mean(values) for name, values in outcome.statement._asdict().items() if name != "components"}
    statement = Statement(**totals, components=components)
    return outcome._replace(statement=statement, forced=mean(outcome.forced), start_regime=outcome.start_regime[edges])
