"""Tallies: the outcomes of a policy, gathered batch by batch in bounded memory."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.rollout import BATCH, Outcome, join
from hyperexec_env.evaluation.statistics import ROUNDING, cvar
from hyperexec_env.market.account import Components, Statement

__all__ = ["MOST", "Spread", "Tally", "group_size"]

Floats = NDArray[np.float64]

MOST: Final = 2**21
"""The most numbers that are kept of each column, over all policies of a board: some 500 MB."""
_TAIL: Final = 2**17
"""Episodes whose worst twentieth is averaged at once, where not all are kept."""


def group_size(episodes: int, policies: int) -> int:
    """Return how many neighbouring episodes are averaged: 1 while all can be kept, then a power of two, at most a batch."""
    size = 1
    while size < BATCH and episodes * policies > MOST * size:
        size *= 2
    return size


class Spread(NamedTuple):
    """What the means of groups cannot tell."""

    shortfall_sd: float
    """Standard deviation of the shortfall of an episode, bps."""
    shortfall_cvar: float
    """CVaR 95 of the shortfall of an episode, bps; of more than :data:`MOST` episodes it is the mean over parts of them."""
    win_rate: float
    """Share of the episodes in which the objective is below the reference's, by more than rounding."""


class Tally:
    """The outcomes of one policy.

    Args:
        group: Neighbouring episodes that are averaged. Episodes are independent, so that means, their intervals and their tests
            are those of the episodes, but for the end of the run: fewer episodes are a group too, which weighs as much as the
            others (which moves a mean by a small part of its standard error).
    """

    def __init__(self, group: int = 1) -> None:
        """Begin with nothing."""
        self.group = group
        self._outcomes: list[Outcome] = []
        self._count = self._wins = 0
        self._mean = self._squares = 0.0
        self._tail: list[Floats] = []  # shortfalls that are still to be looked at for the worst
        self._worst: list[tuple[int, float]] = []

    def add(self, outcome: Outcome, reference: Outcome) -> None:
        """Add a batch, and that of the reference on the same episodes."""
        shortfall = outcome.statement.shortfall
        count, mean = len(shortfall), float(shortfall.mean())
        self._wins += int(np.sum(outcome.statement.objective < reference.statement.objective - ROUNDING))
        # the update of Chan, Golub and LeVeque (1983) for the sum of squared deviations
        total, apart = self._count + count, mean - self._mean
        self._squares += float(np.square(shortfall - mean).sum()) + apart * apart * self._count * count / total
        self._mean += apart * count / total
        self._count = total
        if self.group > 1:
            self._tail.append(shortfall)
            if sum(map(len, self._tail)) >= _TAIL:
                self._look_at_tail()
        self._outcomes.append(outcome if self.group == 1 else _averaged(outcome, self.group))

    def _look_at_tail(self) -> None:
        values = np.concatenate(self._tail)
        self._worst.append((len(values), cvar(values)))
        self._tail = []

    def joined(self) -> Outcome:
        """Return all batches as one outcome: of episodes, or of groups of them."""
        return join(self._outcomes)

    def spread(self) -> Spread:
        """Return what the means of groups cannot tell."""
        if self.group == 1:
            shortfall = np.concatenate([outcome.statement.shortfall for outcome in self._outcomes])
            return Spread(float(shortfall.std(ddof=1)), cvar(shortfall), self._wins / self._count)
        if self._tail:
            self._look_at_tail()
        worst = sum(count * value for count, value in self._worst) / self._count
        return Spread(math.sqrt(self._squares / (self._count - 1)), worst, self._wins / self._count)


def _averaged(outcome: Outcome, group: int) -> Outcome:
    """Average neighbouring episodes of a batch; the regime of the start is that of the first."""
    episodes = len(outcome.forced)
    edges = np.arange(0, episodes, group)
    sizes = np.diff(np.append(edges, episodes))

    def mean(values: Floats | float) -> Floats:
        return np.asarray(np.add.reduceat(np.broadcast_to(values, (episodes,)), edges) / sizes)

    components = Components(**{name: mean(values) for name, values in outcome.statement.components._asdict().items()})
    totals = {name: mean(values) for name, values in outcome.statement._asdict().items() if name != "components"}
    statement = Statement(**totals, components=components)
    return outcome._replace(statement=statement, forced=mean(outcome.forced), start_regime=outcome.start_regime[edges])
