"""A scenario as a Markov decision problem: observed states, their transition probabilities, and the slice in each state."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.path import World, expected_slice
from hyperexec_env.market.tables import Market

from .spline import Axis, interpolation

__all__ = ["Problem", "build_problem", "mean_slice", "mode_slices", "unsolved"]

Floats = NDArray[np.float64]

_SIGNAL_RANGE: Final = 6.0
"""Range of the signal grid on either side, in standard deviations."""
_HERMITE_POINTS: Final = 64
"""Nodes of the Gauss-Hermite rule that averages over the next signal."""


class Problem(NamedTuple):
    """A scenario as a Markov decision problem over modes.

    A mode is the part of the observed state that trades cannot influence: the regime of the slice and, if the scenario has a
    signal, the grid node of the signal. The signal is the last order flow if the flow is persistent, or the price if it is
    geometric and costs depend on it (through a drift or price risk). Without a signal there is a single node. Arrays over
    modes have shape (regimes, nodes).
    """

    market: Market
    signal: Floats
    """Signal at each node, in standard deviations of the flow or currency per share, shape (nodes,)."""
    axis: Axis
    """Grid of the signal coordinate: the flow, or log(price / arrival price)."""
    by_flow: bool
    """Whether the signal is the order flow; otherwise it is the price."""
    regime_law: Floats
    """Probabilities of the regimes in the first slice, shape (regimes,)."""
    transition: Floats
    """Transition probabilities of the regimes from slice to slice, shape (regimes, regimes)."""
    signal_law: Floats
    """Quadrature weights of the signal in the first slice, shape (nodes,)."""
    signal_step: Floats
    """Quadrature weights of the next signal given the current regime and node, shape (regimes, nodes, nodes)."""

    @property
    def modes(self) -> tuple[int, int]:
        """Number of regimes and number of signal nodes."""
        return len(self.regime_law), len(self.signal)

    def laws(self) -> list[Floats]:
        """Return the distribution of the mode in each slice, one array of shape (regimes, nodes) per slice.

        The entries are quadrature weights that sum to one; some of them may be negative.
        """
        laws = [self.regime_law[:, None] * self.signal_law]
        for _ in range(self.market.slices - 1):
            moved = np.einsum("mf,mfg->mg", laws[-1], self.signal_step)
            laws.append(self.transition.T @ moved)
        return laws

    def coordinate(self, flow: Floats, price: Floats) -> Floats:
        """Return the signal coordinate of flows (standard deviations) or prices (currency per share), in their shape."""
        return np.asarray(flow if self.by_flow else np.log(price / self.market.scenario.arrival_price))


def unsolved(market: Market) -> str:
    """Return the reason why the scenario of a market cannot be solved exactly; the empty string if it can."""
    scenario = market.scenario
    if scenario.transient_exponent != 1.0:
        return "transient impact is not linear, so the market is not sound"
    if scenario.predator:
        return "the memory of the predator would add four state variables"
    if scenario.price_model == "gbm" and scenario.flow_persistence:
        return "a geometric price and a persistent flow would be two signals, and the solver supports one"
    if scenario.price_model == "abm" and scenario.price_risk:
        return "an arithmetic price with price_risk would be a signal, and the solver supports only a geometric price"
    return ""


def build_problem(market: Market, nodes: int = 33) -> Problem:
    """Build the decision problem of a market.

    Args:
        market: The market.
        nodes: Number of nodes of the signal; ignored if the scenario has no signal.
    """
    scenario = market.scenario
    regimes, tau = scenario.regimes, scenario.tau
    law, transition = regimes.start_law(), regimes.transition(tau)
    count = len(law)
    points, weights = np.polynomial.hermite_e.hermegauss(_HERMITE_POINTS)
    weights = weights / weights.sum()
    phi = scenario.flow_persistence
    price_matters = scenario.price_model == "gbm" and (market.numbers.spec.drifting or scenario.price_risk > 0.0)
    if phi and market.numbers.by_flow:
        axis = Axis(-_SIGNAL_RANGE, _SIGNAL_RANGE, nodes)
        following = phi * axis.nodes[:, None] + math.sqrt(1.0 - phi * phi) * points
        step = np.einsum("fpg,p->fg", interpolation(axis, _clip(axis, following)), weights)
        start = np.einsum("pg,p->g", interpolation(axis, _clip(axis, points)), weights)
        return Problem(market, axis.nodes, axis, True, law, transition, start, np.broadcast_to(step, (count, nodes, nodes)))
    if price_matters:
        deviation = float(market.step_volatility.max()) * math.sqrt(market.slices)
        drifts = market.slices * np.array([market.step_drift.min(), market.step_drift.max()])
        reach = _SIGNAL_RANGE * deviation
        axis = Axis(min(drifts[0], 0.0) - reach, max(drifts[1], 0.0) + reach, nodes)
        volatility, drift = market.step_volatility[:, None, None], market.step_drift[:, None, None]
        following = axis.nodes[:, None] + drift - 0.5 * volatility**2 + volatility * points
        step = np.einsum("mfpg,p->mfg", interpolation(axis, _clip(axis, following)), weights)
        price = scenario.arrival_price * np.exp(axis.nodes)
        return Problem(market, price, axis, False, law, transition, interpolation(axis, 0.0), step)
    axis = Axis(0.0, 0.0, 1)
    return Problem(market, np.zeros(1), axis, True, law, transition, np.ones(1), np.ones((count, 1, 1)))


def _clip(axis: Axis, values: Floats) -> Floats:
    """Clip values to an axis; values outside it have a probability of about 1e-9."""
    return np.asarray(np.clip(values, axis.low, axis.high))


def mode_slices(problem: Problem, k: int) -> Slice:
    """Return slice `k` in each mode, without price noise and at the mean volume; fields have shape (regimes, nodes)."""
    market, (count, nodes) = problem.market, problem.modes
    scenario = market.scenario
    regime = np.repeat(np.arange(count), nodes)
    signal = np.tile(problem.signal, count)
    flow = signal if problem.by_flow else np.zeros(count * nodes)
    price = np.full(count * nodes, scenario.arrival_price) if problem.by_flow else signal
    slice = expected_slice(market, k, World(regime, flow, price, np.ones(count * nodes)))
    fields = slice._replace(innovation=0.0)
    return Slice(*(np.broadcast_to(np.asarray(value, dtype=float), regime.shape).reshape(count, nodes) for value in fields))


def mean_slice(slices: Slice, law: Floats, beta: float) -> Slice:
    """Return the slice whose cost is the average of the costs of the slices over regimes.

    The cost is linear in every field except the volume, so the volume is chosen such that the temporary cost is the average.

    Args:
        slices: Slices in each mode, fields of shape (regimes, nodes).
        law: Probabilities of the regimes, shape (..., regimes).
        beta: Exponent of the temporary impact, which is proportional to V^-beta.

    Returns:
        Slice with fields of shape (..., nodes). It has no participation limit, and its `transient_decay` is 1: the caller must
        average over the decay of the displacement.
    """
    mean = Slice(*(law @ values for values in slices._replace(least=slices.risk, limit=slices.risk)))
    coefficient = law @ (slices.temporary_scale * slices.volume**-beta)
    positive = coefficient > 0.0
    volume = np.where(positive, (mean.temporary_scale / np.where(positive, coefficient, 1.0)) ** (1.0 / beta), mean.volume)
    least = np.broadcast_to(slices.least[0], volume.shape)
    return mean._replace(
        volume=volume, transient_decay=np.ones_like(volume), least=least, limit=np.full(volume.shape, math.inf)
    )
