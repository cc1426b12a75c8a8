r"""A policy that infers the hidden regime by the exact Bayes filter, and acts on what it believes.

Without the regime a trader sees the volume V_k, the unaffected price S_k and the order flow u_k of each slice. In regime m

    log(V_k / E[V_k | m]) + s^2 / 2                   ~ N(0, s^2)
    r_k - mu_m tau - s_m R u_k                        ~ N(0, (1 - R^2) s_m^2)      r_k the return of slice k

and the flow itself says nothing about the regime, so that the probabilities q_k of the regime of slice k - 1, given everything
before slice k, follow from Bayes' rule and the transition matrix P (Hamilton 1989). The displacement of the price by our own
trades depends on the past regimes: its mean given the regime of the last slice follows from the same probabilities.

The trade is the mean under q_k of the trades that are optimal where the regime is observed one slice late
(:func:`~hyperexec_env.baselines.solver.dynamic.solve_delayed`), the rule QMDP of Littman, Cassandra and Kaelbling (1995). That
optimum bounds every policy without the regime from below, so that J* of the hidden regime lies between the two.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.market.belief import log_likelihood, move_regimes, weigh_regimes
from hyperexec_env.market.tables import Market

__all__ = ["Filtered", "RegimeFilter"]

Floats = NDArray[np.float64]

_LEAST_VARIANCE: Final = 1e-12
"""Variance of evidence that has no error: it tells the regime."""


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
        scenario = market.scenario
        if scenario.unknown or market.numbers.spec.volume_persistence:
            wanted = "a scenario without unknowns and without persistent volume"
            raise ValueError(f"the filter of the regimes needs {wanted}, got {scenario.name}")
        self.market = market
        self._transition, self._law = scenario.regimes.transition(market.tau), scenario.regimes.start_law()
        self._past: _Past | None = None
        self.last: Floats = np.empty((0, market.regimes))
        """Probabilities of the regime of the previous slice given the situations so far, shape (episodes, regimes)."""
        self.displaced: Floats = np.empty((0, market.regimes))
        """Mean displacement by our trades given the regime of the previous slice, currency per share, same shape."""

    @property
    def probabilities(self) -> Floats:
        """Probabilities of the regime of the coming slice given the situations so far, shape (episodes, regimes)."""
        return np.empty((0, self.market.regimes)) if self._past is None else self._past.regimes

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
        self.last = weigh_regimes(past.regimes, self._evidence(k, situation, price))
        moved = past.transient + market.impact.transient_slope * shares[:, None]
        self.displaced = moved * market.transient_decay
        coming = move_regimes(self.last, self._transition)
        mass = move_regimes(self.last * self.displaced, self._transition)
        transient = np.divide(mass, coming, out=np.zeros_like(mass), where=coming > 0.0)
        self._past = _Past(coming, transient, price)

    def _evidence(self, k: int, situation: Situation, price: Floats) -> Floats:
        """Return the log-likelihood of slice `k` in each regime, shape (episodes, regimes)."""
        market, numbers, past = self.market, self.market.numbers, self._past
        volume = np.atleast_1d(np.asarray(situation.last_volume, dtype=float))
        flow = np.broadcast_to(np.asarray(situation.flow, dtype=float), price.shape)
        count, noise = market.regimes, numbers.volume_noise**2
        ratio = np.log(volume[:, None] / market.mean_volume[k, :count]) + 0.5 * noise
        total = log_likelihood(ratio, 0.0, max(noise, _LEAST_VARIANCE))
        step = market.step_volatility[k]
        if not step.all() or past is None:
            return np.asarray(total)
        if numbers.spec.geometric:
            persistence = numbers.spec.flow_persistence
            own = 0.5 * step**2 * (1.0 - numbers.flow_share * persistence**2)
            earned = np.log(price / past.price)[:, None] + own
        else:
            earned = ((price - past.price) / numbers.arrival_price)[:, None]
        news = earned - market.step_drift - numbers.by_flow * step * flow[:, None]
        return np.asarray(total + log_likelihood(news, 0.0, np.maximum((numbers.by_news * step) ** 2, _LEAST_VARIANCE)))


class Filtered:
    """The mean, over the believed regimes, of the trades that are optimal where the regime is observed one slice late."""

    name = "filtered"
    hidden = True
    """Whether the regime is hidden from the policy on a board."""

    def __init__(self) -> None:
        """Start without a filter."""
        self._filter: RegimeFilter | None = None

    def act(self, situation: Situation) -> Any:
        """Return the mean trade under the probabilities of the filter."""
        market = situation.market
        if self._filter is None or self._filter.market is not market:
            self._filter = RegimeFilter(market)
        self._filter.see(situation)
        policy, total = _late(market), 0.0
        shape = np.shape(situation.remaining)
        for regime in range(market.regimes):
            transient, weight = (
                values[:, regime].reshape(shape) if shape else values[0, regime].item()
                for values in (self._filter.displaced, self._filter.last)
            )
            seen = np.full(shape, regime) if shape else regime
            total = total + weight * policy(situation._replace(seen=seen, transient=transient))
        return total


@lru_cache(maxsize=8)
def _late(market: Market) -> Any:
    """Return the function from situations, whose regime is that of the previous slice, to optimal shares.

    Raises:
        ValueError: The scenario is not solved exactly.
    """
    from .solver.dynamic import FINE, solve_delayed  # lazy imports keep the solver off the path of runs without it
    from .solver.policies import TablePolicy
    from .solver.problem import build_problem, unsolved

    reason = unsolved(market)
    if reason:
        raise ValueError(f"policy 'filtered' needs a scenario that is solved exactly, got {market.scenario.name} ({reason})")
    problem = build_problem(market, FINE.signal)
    rule = TablePolicy(problem, solve_delayed(problem))._rule
    return lambda situation: rule.decide(rule.parameters, situation)
