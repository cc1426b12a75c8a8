r"""Policies that infer the hidden regime by the exact Bayes filter, and act on what they believe.

The probabilities of the regimes are those of :mod:`hyperexec_env.market.hidden`. The displacement of the price by our own
trades depends on the past regimes: its mean given the regime of the last slice follows from the same probabilities.

`filtered` trades the mean under q_k of the trades that are optimal where the regime is observed one slice late
(:func:`~hyperexec_env.baselines.solver.dynamic.solve_delayed`), the rule QMDP of Littman, Cassandra and Kaelbling (1995). That
optimum bounds every policy without the regime from below, so that J* of the hidden regime lies between the two. `belief-grid`
plans with the beliefs that it will have (:mod:`~hyperexec_env.baselines.solver.hidden`);
:func:`~hyperexec_env.baselines.solver.dual.bracket_hidden` brackets J* closely.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import check_fit
from hyperexec_env.market.belief import move_regimes, weigh_regimes
from hyperexec_env.market.hidden import check_filter, regime_evidence, unfiltered
from hyperexec_env.market.tables import Market

__all__ = ["BeliefGrid", "Filtered", "RegimeFilter"]

Floats = NDArray[np.float64]


class _Past(NamedTuple):
    """What the filter remembers, by episode."""

    regimes: Floats
    """Probabilities of the regime of the coming slice, shape (episodes, regimes)."""
    transient: Floats
    """Mean displacement by our trades in each regime of the coming slice, currency per share, shape (episodes, regimes)."""
    price: Floats
    """Unaffected price at the start of the previous slice, shape (episodes,)."""


class RegimeFilter:
    """The probabilities of the hidden regimes of some episodes, given the situations slice by slice.

    Args:
        market: The market.

    Raises:
        ValueError: The scenario has unknowns or a persistent volume, with which the filter would not be finite or not exact.
    """

    def __init__(self, market: Market) -> None:
        """Take the tables of the market."""
        check_filter(market)
        self.market, regimes = market, market.scenario.regimes
        self._transition, self._law = regimes.transition(market.tau), regimes.start_law()
        self._past: _Past | None = None
        self.last: Floats = np.empty((0, market.regimes))
        """Probabilities of the regime of the previous slice given the situations so far, shape (episodes, regimes)."""
        self.displaced: Floats = np.empty((0, market.regimes))
        """Mean displacement by our trades given the regime of the previous slice, currency per share, same shape."""

    @property
    def probabilities(self) -> Floats:
        """Probabilities of the regime of the coming slice given the situations so far, shape (episodes, regimes)."""
        return np.empty((0, self.market.regimes)) if self._past is None else self._past.regimes

    @property
    def transient(self) -> Floats:
        """Mean displacement by our trades given the situations so far, currency per share, shape (episodes,)."""
        return np.empty(0) if self._past is None else (self._past.regimes * self._past.transient).sum(axis=1)

    def see(self, situation: Situation) -> None:
        """Take the situation at the start of the next slice; that of slice 0 begins the episodes."""
        price = np.atleast_1d(np.asarray(situation.price, dtype=float))
        if self._past is None or int(np.max(situation.k)) == 0 or self._past.price.shape != price.shape:
            start = np.broadcast_to(self._law, (len(price), len(self._law)))
            self._past = _Past(start, np.zeros(start.shape), price)
            self.last, self.displaced = start, np.zeros(start.shape)
            return
        market, past, k = self.market, self._past, int(np.max(situation.k)) - 1
        shares = np.broadcast_to(np.asarray(situation.last_shares, dtype=float), price.shape)
        volume = np.broadcast_to(np.asarray(situation.last_volume, dtype=float), price.shape)
        flow = np.broadcast_to(np.asarray(situation.flow, dtype=float), price.shape)
        self.last = weigh_regimes(past.regimes, regime_evidence(market, k, volume, past.price, price, flow))
        moved = past.transient + market.impact.transient_slope * shares[:, None]
        self.displaced = moved * market.transient_decay
        coming = move_regimes(self.last, self._transition)
        mass = move_regimes(self.last * self.displaced, self._transition)
        transient = np.divide(mass, coming, out=np.zeros_like(mass), where=coming > 0.0)
        self._past = _Past(coming, transient, price)


class Filtered:
    """The mean, over the believed regimes, of the trades that are optimal where the regime is observed one slice late."""

    name = "filtered"
    hidden = True
    """Whether the regime is hidden from the policy on a board."""

    def __init__(self) -> None:
        """Start without a filter."""
        self._filter: RegimeFilter | None = None

    def unfit(self, market: Market) -> str:
        """Return why the filter or the optimum one slice late is not known in a market; "" if both are."""
        from .solver.problem import not_solved  # lazy imports keep the solver off the path of runs without it

        return unfiltered(market) or not_solved(market)

    def act(self, situation: Situation) -> Any:
        """Return the shares for what the filter says of the situation."""
        market = situation.market
        if self._filter is None or self._filter.market is not market:
            check_fit(self, market)
            self._filter = RegimeFilter(market)
        self._filter.see(situation)
        return self._shares(self._filter, situation)

    def _shares(self, known: RegimeFilter, situation: Situation) -> Any:
        """Return the mean trade under the probabilities of the filter."""
        policy, total = _late(known.market), 0.0
        shape = np.shape(situation.remaining)
        for regime in range(known.market.regimes):
            transient, weight = (
                values[:, regime].reshape(shape) if shape else values[0, regime].item()
                for values in (known.displaced, known.last)
            )
            seen = np.full(shape, regime) if shape else regime
            total = total + weight * policy(situation._replace(seen=seen, transient=transient))
        return total


class BeliefGrid(Filtered):
    """The optimal trades on a grid of beliefs about the regime, interpolated at the belief of the filter."""

    name = "belief-grid"

    def unfit(self, market: Market) -> str:
        """Return why a market is not solved on a grid of beliefs; "" if it is."""
        from .solver.hidden import unplanned  # lazy as above

        return unplanned(market)

    def _shares(self, known: RegimeFilter, situation: Situation) -> Any:
        """Return the trade at the mean displacement, interpolated between the nearest beliefs of the grid."""
        from .solver.hidden import near, plan_hidden  # lazy as above

        plan, shape, total = plan_hidden(known.market), np.shape(situation.remaining), 0.0
        cells, weights = near(plan.points, known.probabilities)
        transient = known.transient.reshape(shape) if shape else known.transient.item()
        for cell, weight in zip(cells.T, weights.T, strict=True):
            seen = cell.reshape(shape) if shape else cell.item()
            shares = plan.rule.decide(plan.rule.parameters, situation._replace(seen=seen, transient=transient))
            total = total + (weight.reshape(shape) if shape else weight.item()) * shares
        return total


@lru_cache(maxsize=8)
def _late(market: Market) -> Any:
    """Return the function from situations, whose regime is that of the previous slice, to optimal shares."""
    from .solver.dynamic import FINE, solve_delayed  # lazy as above
    from .solver.policies import TablePolicy
    from .solver.problem import build_problem

    problem = build_problem(market, FINE.signal)
    rule = TablePolicy(problem, solve_delayed(problem))._rule
    return lambda situation: rule.decide(rule.parameters, situation)
