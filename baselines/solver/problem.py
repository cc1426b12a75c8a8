"""A scenario as a problem of control: what one may know, how it moves on, and what a slice then charges."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.model import Market
from hyperexec_env.market.path import World, expected_slice

from .spline import Axis, interpolation

__all__ = ["Problem", "build_problem", "mean_slice", "mode_slices", "unsolved"]

Floats = NDArray[np.float64]

_FLOW_REACH: Final = 6.0
"""The nodes of the order flow reach this many standard deviations."""
_POINTS: Final = 64
"""Nodes of the Gauss-Hermite rule that averages over the next signal."""


class Problem(NamedTuple):
    """What is known at the start of a slice is a mode: a regime, and the node of a signal where there is one.

    The signal is the last order flow where flow persists, and the price where it is geometric and something hangs on it.
    Modes are arrays of shape (regimes, nodes).
    """

    market: Market
    signal: Floats
    """Value of the signal at each node (standard deviations, or currency per share), shape (nodes,)."""
    axis: Axis
    """The coordinate of the nodes: the flow, or the log of the price over the arrival price."""
    by_flow: bool
    """Whether the signal is the flow; else it is the price."""
    regime_law: Floats
    """Law of the regime in the first slice, shape (regimes,)."""
    transition: Floats
    """Law of the next regime, shape (regimes, regimes)."""
    signal_law: Floats
    """Weights that average over the signal in the first slice, shape (nodes,)."""
    signal_step: Floats
    """Weights that average over the signal of the next slice, for the regime of this one, shape (regimes, nodes, nodes)."""

    @property
    def modes(self) -> tuple[int, int]:
        """Number of regimes and of nodes."""
        return len(self.regime_law), len(self.signal)

    def laws(self) -> list[Floats]:
        """Return the law of the mode in each slice, shapes (regimes, nodes); weights of a rule, not all of them positive."""
        laws = [self.regime_law[:, None] * self.signal_law]
        for _ in range(self.market.slices - 1):
            moved = np.einsum("mf,mfg->mg", laws[-1], self.signal_step)
            laws.append(self.transition.T @ moved)
        return laws

    def coordinate(self, flow: Floats, price: Floats) -> Floats:
        """Return the place of a market on the axis of the signal."""
        return np.asarray(flow if self.by_flow else np.log(price / self.market.scenario.arrival_price))


def unsolved(market: Market) -> str:
    """Say why a scenario cannot be solved exactly ("" where it can)."""
    scenario = market.scenario
    if scenario.transient_exponent != 1.0:
        return "transient impact that is not linear is no sound market"
    if scenario.predator:
        return "what the predator remembers would be four more state variables"
    if scenario.price_model == "gbm" and scenario.flow_persistence:
        return "a geometric price and a persistent flow would be two signals"
    if scenario.price_model == "abm" and scenario.price_risk:
        return "an arithmetic price that is paid for would be a signal"
    return ""


def build_problem(market: Market, nodes: int = 33) -> Problem:
    """Lay out what is known in a scenario.

    Args:
        market: The market.
        nodes: Nodes of the signal, where there is one.
    """
    scenario = market.scenario
    regimes, tau = scenario.regimes, scenario.tau
    law, transition = regimes.start_law(), regimes.transition(tau)
    count = len(law)
    points, weights = np.polynomial.hermite_e.hermegauss(_POINTS)
    weights = weights / weights.sum()
    kept = scenario.flow_persistence
    priced = scenario.price_model == "gbm" and (market.numbers.spec.drifting or scenario.price_risk > 0.0)
    if kept and market.numbers.by_flow:
        axis = Axis(-_FLOW_REACH, _FLOW_REACH, nodes)
        ahead = kept * axis.nodes[:, None] + math.sqrt(1.0 - kept * kept) * points
        step = np.einsum("fpg,p->fg", interpolation(axis, _within(axis, ahead)), weights)
        start = np.einsum("pg,p->g", interpolation(axis, _within(axis, points)), weights)
        return Problem(market, axis.nodes, axis, True, law, transition, start, np.broadcast_to(step, (count, nodes, nodes)))
    if priced:
        spread = float(market.step_volatility.max()) * math.sqrt(market.slices)
        moves = market.slices * np.array([market.step_drift.min(), market.step_drift.max()])
        axis = Axis(min(moves[0], 0.0) - _FLOW_REACH * spread, max(moves[1], 0.0) + _FLOW_REACH * spread, nodes)
        volatility, drift = market.step_volatility[:, None, None], market.step_drift[:, None, None]
        ahead = axis.nodes[:, None] + drift - 0.5 * volatility**2 + volatility * points
        step = np.einsum("mfpg,p->mfg", interpolation(axis, _within(axis, ahead)), weights)
        price = scenario.arrival_price * np.exp(axis.nodes)
        return Problem(market, price, axis, False, law, transition, interpolation(axis, 0.0), step)
    axis = Axis(0.0, 0.0, 1)
    return Problem(market, np.zeros(1), axis, True, law, transition, np.ones(1), np.ones((count, 1, 1)))


def _within(axis: Axis, values: Floats) -> Floats:
    """Keep values on an axis: what lies beyond it has a probability of about 1e-9."""
    return np.asarray(np.clip(values, axis.low, axis.high))


def mode_slices(problem: Problem, k: int) -> Slice:
    """Return slice `k` as each mode expects it, without price noise and at the mean volume; fields (regimes, nodes)."""
    market, (count, nodes) = problem.market, problem.modes
    scenario = market.scenario
    regime = np.repeat(np.arange(count), nodes)
    signal = np.tile(problem.signal, count)
    flow = signal if problem.by_flow else np.zeros(count * nodes)
    price = np.full(count * nodes, scenario.arrival_price) if problem.by_flow else signal
    slice = expected_slice(market, k, World(regime, flow, price))
    fields = slice._replace(innovation=0.0)
    return Slice(*(np.broadcast_to(np.asarray(value, dtype=float), regime.shape).reshape(count, nodes) for value in fields))


def mean_slice(slices: Slice, law: Floats, beta: float) -> Slice:
    """Return the slice that charges what the slices of some regimes charge on average: costs are linear in all but the volume.

    Args:
        slices: Fields of shape (regimes, nodes).
        law: Weights of the regimes, shape (..., regimes).
        beta: Exponent of temporary impact, in which the volume enters as V^-beta.

    Returns:
        Fields of shape (..., nodes). What is left of the displacement is not averaged: it is 1, to be taken care of elsewhere.
    """
    mean = Slice(*(law @ values for values in slices._replace(least=slices.risk, limit=slices.risk)))
    toll = law @ (slices.temporary_scale * slices.volume**-beta)
    charged = toll > 0.0
    volume = np.where(charged, (mean.temporary_scale / np.where(charged, toll, 1.0)) ** (1.0 / beta), mean.volume)
    least = np.broadcast_to(slices.least[0], volume.shape)
    return mean._replace(volume=volume, transient_kept=np.ones_like(volume), least=least, limit=np.full(volume.shape, math.inf))
