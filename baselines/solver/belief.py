r"""Volume level and drift as hidden states: the belief of a policy about them, and markets in which they are told.

An episode draws a level L ~ N(0, s0^2) of the log volume. With V_k the volume of slice k, E V_k its expectation in its regime,
and s the sd of the volume noise, each slice shows L with an error:

    log(V_k / E V_k) + s0^2 / 2 + s^2 / 2 = L + e_k,      e_k ~ N(0, s^2)

Given the volumes of k slices, L is normal with mean m_k and variance P_k (Kalman's filter for a constant):

    m_k = s0^2 / (s^2 + k s0^2) * sum of the observed log volumes,      P_k = s0^2 s^2 / (s^2 + k s0^2)

Trades do not move the evidence, so the belief m_k is a signal like the order flow: m_{k+1} ~ N(m_k, P_k - P_{k+1}). So is the
belief about an unknown drift (:mod:`hyperexec_env.market.unknown`) where its evidence is equally good in all regimes.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.belief import Normal, gain_after, learn, variance_after
from hyperexec_env.market.scenario import UNKNOWNS
from hyperexec_env.market.tables import Market
from hyperexec_env.market.told import PRIORS, told_market

__all__ = [
    *("belief_gains", "belief_variances", "drift_variances", "even_evidence", "level_matters", "memory_matters"),
    *("told_markets", "total_noise"),
]

Floats = NDArray[np.float64]

_NODES: Final = (5, 13)
"""Nodes of the average over told levels without and with a cap, for a relative error of about 1e-8 and 1e-5: the optimum is
smooth in the level, but bends quickly where the cap begins to bind."""
_DRIFTS: Final = 11
"""Nodes of the average over told drifts, in which the optimum bends where an order begins to wait."""
_NODES_PER_SD: Final = 4
"""Additional nodes per unit of the sd of the level."""


def belief_variances(market: Market) -> Floats:
    """Return P_k, the variance of the log level given the volumes of the first k slices, shape (N + 1,)."""
    scenario = market.scenario
    level, noise = scenario.volume_level_sd**2, scenario.volume_noise**2
    seen = np.arange(1, scenario.slices + 1)
    return np.concatenate([[level], variance_after(level, noise, seen)]) if level else np.zeros(scenario.slices + 1)


def drift_variances(market: Market) -> Floats:
    """Return P_k, the variance of the drift given the prices of the first k slices, shape (N + 1,)."""
    scenario, variances = market.scenario, [market.scenario.drift_sd**2]
    for news in (market.step_volatility[:, 0] * market.numbers.by_news) ** 2:
        variances.append(learn(Normal(0.0, variances[-1]), 0.0, news, scenario.tau).variance)
    return np.array(variances)


def even_evidence(market: Market) -> bool:
    """Return whether a slice tells as much about the drift in every regime, so that P_k does not depend on the regimes."""
    return bool((market.step_volatility == market.step_volatility[:, :1]).all() or not market.numbers.by_news)


def belief_gains(market: Market) -> Floats:
    """Return m_k over the sum of the first k observed log volumes, shape (N,); the first element, of no volume, is 0."""
    scenario = market.scenario
    level, noise = scenario.volume_level_sd**2, scenario.volume_noise**2
    return np.concatenate([[0.0], gain_after(level, noise, np.arange(1, scenario.slices))])


def level_matters(market: Market) -> bool:
    """Return whether costs depend on the volume level: through temporary impact or a cap."""
    return bool(market.numbers.spec.varying_level and (market.numbers.spec.capped or market.temporary_scale.any()))


def memory_matters(market: Market) -> bool:
    """Return whether costs depend on the volume of the previous slice, which predicts the next one."""
    return bool(market.numbers.spec.volume_persistence and (market.numbers.spec.capped or market.temporary_scale.any()))


def total_noise(market: Market) -> float:
    """Return the sd of the log volume of a slice for a policy that ignores past volumes: noise and level together."""
    return math.hypot(market.scenario.volume_noise, market.scenario.volume_level_sd)


def told_markets(market: Market, kept: str = "") -> list[tuple[float, Market]]:
    """Return markets in which the unknowns are known numbers, with the weights of their draws.

    The weighted mean over these markets of an optimum is the optimum of a policy that is told level and drift; of the objective
    of a policy that ignores past volumes and prices, it is the objective of the policy.

    Args:
        market: The market.
        kept: The field of an unknown that is not told.
    """
    scenario = market.scenario
    names: list[str] = [name for name in reversed(UNKNOWNS) if name in scenario.unknown and name != kept]
    found = []
    for draw in itertools.product(*(_draws(market, name) for name in names)):
        told = {name: value for name, (_, value) in zip(names, draw, strict=True)}
        found.append((math.prod(weight for weight, _ in draw), told_market(scenario, told)))
    return found


def _draws(market: Market, name: str) -> list[tuple[float, float]]:
    """Return numbers of an unknown with their weights: those of a prior of two values, else Gauss-Hermite nodes."""
    scenario = market.scenario
    spread = getattr(scenario, name)
    if name == "kyle_sd":  # the slope in the flow of others moves no cost
        return [(1.0, 1.0)]
    if name == "temp_impact_sd":
        return [(0.5, value) for value in PRIORS[name].ends(spread)]
    if name == "drift_sd":
        points, weights = np.polynomial.hermite_e.hermegauss(_DRIFTS)
        values = spread * points
    else:
        count = _NODES[market.numbers.spec.capped] + math.ceil(_NODES_PER_SD * spread * scenario.temp_impact_beta)
        points, weights = np.polynomial.hermite_e.hermegauss(count)
        values = np.exp(spread * points - 0.5 * spread**2)
    return list(zip((weights / weights.sum()).tolist(), values.tolist(), strict=True))
