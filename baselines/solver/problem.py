"""A scenario as a Markov decision problem: observed states, their transition probabilities, and the slice in each state."""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.path import World, expected_slice
from hyperexec_env.market.tables import Market
from hyperexec_env.market.volume_noise import neutral_ratio

from .belief import belief_variances, drift_variances, even_evidence, level_matters, memory_matters, total_noise
from .spline import Axis, interpolation

__all__ = ["HERMITE", "Problem", "belief_modes", "build_problem", "mean_slice", "mode_slices", "not_solved", "unsolved"]

Floats = NDArray[np.float64]

_SIGNAL_RANGE: Final = 6.0
"""Range of the signal grid on either side, in standard deviations."""
_BELIEF_RANGE: Final = 5.0
"""The same for the belief about the volume level, whose grid is coarser; the range moves the value by less than 1e-6."""
_CERTAIN_ODDS: Final = 16.0
"""Largest log-odds of the grid of the belief about the temporary impact."""
_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
HERMITE: Final[tuple[Floats, Floats]] = (_POINTS, _WEIGHTS / _WEIGHTS.sum())
"""Points and weights of the Gauss-Hermite rule that averages over the next signal, a standard normal."""


Followed: TypeAlias = Literal["flow", "price", "volume", "level", "drift", "slope"]
"""What a signal may be: the last order flow, the price, the ratio of the last volume to its expectation, or the belief about
the volume level, the drift or the temporary impact."""


class Problem(NamedTuple):
    """A scenario as a Markov decision problem over modes.

    A mode is the part of the observed state that trades cannot influence: the regime of the slice and, if the scenario has a
    signal, the grid node of the signal. The signal is the last order flow if the flow is persistent, the price if it is
    geometric and costs depend on it (through a drift or price risk), the ratio of the last volume to its expectation if the
    volume is persistent, the belief about the volume level if the level varies, or the belief about the drift if it is unknown
    (:mod:`.belief`). Without a signal there is a single node. Arrays over modes have shape (regimes, nodes).
    """

    market: Market
    signal: Floats
    """Signal at each node, shape (nodes,): flow in standard deviations, price in currency per share, ratio of the last volume,
    mean log level, mean drift (fraction a day), or log-odds of the higher temporary impact."""
    axis: Axis
    """Grid of the signal coordinate: the flow, log(price / arrival price), log of the ratio, the mean log level, the mean
    drift, or the log-odds."""
    follows: Followed
    """What the signal is; "flow" if there is none."""
    regime_law: Floats
    """Probabilities of the regimes in the first slice, shape (regimes,)."""
    transition: Floats
    """Transition probabilities of the regimes from slice to slice, shape (regimes, regimes)."""
    signal_law: Floats
    """Quadrature weights of the signal in the first slice, shape (nodes,)."""
    signal_steps: tuple[Floats, ...]
    """Quadrature weights of the next signal given the regime and node of each slice, shape (regimes, nodes, nodes)."""
    levels: Floats
    """Expected volume level at each node, shape (slices, nodes)."""
    deviations: Floats
    """Standard deviation of the log volume of each slice in a mode, shape (slices,)."""

    @property
    def modes(self) -> tuple[int, int]:
        """Number of regimes and number of signal nodes."""
        return len(self.regime_law), len(self.signal)

    def laws(self) -> list[Floats]:
        """Return the distribution of the mode in each slice, one array of shape (regimes, nodes) per slice.

        The entries are quadrature weights that sum to one; some of them may be negative.
        """
        laws = [self.regime_law[:, None] * self.signal_law]
        for step in self.signal_steps[:-1]:
            moved = np.einsum("mf,mfg->mg", laws[-1], step)
            laws.append(self.transition.T @ moved)
        return laws


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
    if market.numbers.spec.unknown_slope:
        return _slope_unsolved(market)
    if level_matters(market) and market.numbers.spec.capped:
        return "the participation cap ties the traded shares to the volume, which also moves the belief about the volume level"
    if level_matters(market) and (_flow_matters(market) or _price_matters(market)):
        signal = "flow" if _flow_matters(market) else "price"
        return f"the {signal} and the belief about the volume level would be two signals, and the solver supports one"
    if market.numbers.spec.unknown_drift:
        return _drift_unsolved(market)
    if memory_matters(market):
        return _memory_unsolved(market)
    return ""


def not_solved(market: Market, where: str = "") -> str:
    """Return that a market is not solved exactly, and why, for a message; the empty string if it is."""
    reason = unsolved(market)
    return f"it is not solved exactly{where} ({reason})" if reason else ""


def _drift_unsolved(market: Market) -> str:
    """Return the reason why a market with an unknown drift cannot be solved exactly; the empty string if it can."""
    if market.scenario.price_model == "gbm":
        return "a geometric price and the belief about the drift would be two signals, and the solver supports one"
    if market.numbers.spec.unknown_kyle:
        return "the flow tells drift and Kyle's lambda at once, so that the variance of the belief would be a second signal"
    if not even_evidence(market):
        return (
            "regimes of different volatility tell the drift differently well, so that mean and variance of the belief would be "
            "two signals, and the solver supports one"
        )
    others = {
        "the flow": _flow_matters,
        "the last volume": memory_matters,
        "the belief about the volume level": level_matters,
    }
    for name, matters in others.items():
        if matters(market):
            return f"{name} and the belief about the drift would be two signals, and the solver supports one"
    return ""


def _slope_unsolved(market: Market) -> str:
    """Return the reason why a market with an unknown temporary impact cannot be solved exactly; the empty string if it can."""
    spec = market.numbers.spec
    linear = spec.beta == spec.transient_exponent == 1.0 and not market.impact.transient_slope
    noisy = spec.noisy_volume or spec.varying_level or spec.unknown_drift or spec.drifting or not market.step_volatility.all()
    other = spec.capped or spec.hunted or spec.price_risk or not spec.complete or market.regimes > 1
    if linear and not (noisy or other or _flow_matters(market) or _price_matters(market)):
        return ""
    return (
        "own fills show the unknown temporary impact, so that trades move the belief about it; the solver supports that where "
        "impact is linear and decays at once, and nothing else moves a cost"
    )


def _memory_unsolved(market: Market) -> str:
    """Return the reason why a market with persistent volume cannot be solved exactly; the empty string if it can."""
    if market.numbers.spec.capped:
        return "the participation cap ties the traded shares to the volume, which also predicts the next volume"
    others = {"the flow": _flow_matters, "the price": _price_matters, "the belief about the volume level": level_matters}
    for name, matters in others.items():
        if matters(market):
            return f"{name} and the last volume would be two signals, and the solver supports one"
    return ""


def _flow_matters(market: Market) -> bool:
    """Return whether the last order flow is a signal."""
    return bool(market.scenario.flow_persistence and market.numbers.by_flow)


def _price_matters(market: Market) -> bool:
    """Return whether a geometric price is a signal."""
    scenario = market.scenario
    return scenario.price_model == "gbm" and bool(market.numbers.spec.drifting or scenario.price_risk > 0.0)


def build_problem(market: Market, nodes: int = 33, learn: bool = True) -> Problem:
    """Build the decision problem of a market.

    Args:
        market: The market.
        nodes: Number of nodes of the signal; ignored if the scenario has no signal.
        learn: Whether the policy learns from past volumes or prices, if they are the only signal: the volume level, the
            deviation of a persistent volume, or the drift. Otherwise the level is a part of the volume noise, the noise has no
            memory and the drift is its mean: exact for a policy that ignores past volumes and prices, where no cap applies.
    """
    if learn and market.numbers.spec.unknown_slope and not _slope_unsolved(market):
        return _slope_problem(market, nodes)
    if learn and memory_matters(market) and not _memory_unsolved(market):
        return _memory_problem(market, nodes)
    if learn and market.numbers.spec.unknown_drift and not _drift_unsolved(market):
        return _drift_problem(market, nodes)
    if learn and level_matters(market) and not (_flow_matters(market) or _price_matters(market)):
        problem = belief_modes(market, nodes)
        return problem._replace(signal_steps=_belief_steps(problem, belief_variances(market)))
    slices = market.slices
    problem = _signal_problem(market, nodes)
    steps = problem.signal_steps
    return problem._replace(
        signal_steps=steps if len(steps) == slices else steps * slices,
        levels=np.ones((slices, len(problem.signal))),
        deviations=np.full(slices, total_noise(market)),
    )


def belief_modes(market: Market, nodes: int) -> Problem:
    """Return the decision problem whose signal is the belief about the volume level, without the steps of the signal."""
    scenario = market.scenario
    regimes, deviation = scenario.regimes, scenario.volume_level_sd
    variances = belief_variances(market)
    # the expected cost, proportional to exp(-beta L), moves the mass of its integral by beta s0 standard deviations
    reach = _BELIEF_RANGE + scenario.temp_impact_beta * deviation
    axis = Axis(-reach * deviation, _BELIEF_RANGE * deviation, nodes)
    return Problem(
        market=market,
        signal=axis.nodes,
        axis=axis,
        follows="level",
        regime_law=regimes.start_law(),
        transition=regimes.transition(scenario.tau),
        signal_law=interpolation(axis, 0.0),
        signal_steps=(),
        levels=np.exp(axis.nodes - 0.5 * deviation**2 + 0.5 * variances[:-1, None]),
        deviations=np.sqrt(scenario.volume_noise**2 + variances[:-1]),
    )


def _memory_problem(market: Market, nodes: int) -> Problem:
    """Return the decision problem whose signal is the ratio of the last volume to its expectation."""
    scenario, (points, weights) = market.scenario, HERMITE
    regimes, slices, phi, deviation = scenario.regimes, market.slices, scenario.volume_persistence, scenario.volume_noise
    # the expected cost, proportional to ratio^(-beta phi), moves the mass of its integral by beta phi s standard deviations
    reach = deviation * (_SIGNAL_RANGE + scenario.temp_impact_beta * abs(phi) * deviation)
    mean = -0.5 * deviation**2
    axis = Axis(mean - reach, mean + reach, nodes)
    own = deviation * math.sqrt(1.0 - phi * phi)
    following = mean + phi * (axis.nodes[:, None] - mean) + own * points
    step = np.einsum("fpg,p->fg", interpolation(axis, _clip(axis, following)), weights)
    return Problem(
        market=market,
        signal=np.exp(axis.nodes),
        axis=axis,
        follows="volume",
        regime_law=regimes.start_law(),
        transition=regimes.transition(scenario.tau),
        signal_law=np.einsum("pg,p->g", interpolation(axis, _clip(axis, mean + deviation * points)), weights),
        signal_steps=(np.broadcast_to(step, (market.regimes, nodes, nodes)),) * slices,
        levels=np.ones((slices, nodes)),
        deviations=np.full(slices, own),
    )


def _drift_problem(market: Market, nodes: int) -> Problem:
    """Return the decision problem whose signal is the belief about the drift."""
    scenario = market.scenario
    reach = _SIGNAL_RANGE * scenario.drift_sd
    axis = Axis(-reach, reach, nodes)
    problem = Problem(
        market=market,
        signal=axis.nodes,
        axis=axis,
        follows="drift",
        regime_law=scenario.regimes.start_law(),
        transition=scenario.regimes.transition(scenario.tau),
        signal_law=interpolation(axis, 0.0),
        signal_steps=(),
        levels=np.ones((market.slices, nodes)),
        deviations=np.full(market.slices, total_noise(market)),
    )
    return problem._replace(signal_steps=_belief_steps(problem, drift_variances(market)))


def _slope_problem(market: Market, nodes: int) -> Problem:
    """Return the decision problem whose signal is the belief about the temporary impact, which moves with the trades."""
    axis = Axis(-_CERTAIN_ODDS, _CERTAIN_ODDS, nodes)
    return Problem(
        market=market,
        signal=axis.nodes,
        axis=axis,
        follows="slope",
        regime_law=market.scenario.regimes.start_law(),
        transition=market.scenario.regimes.transition(market.tau),
        signal_law=interpolation(axis, 0.0),
        signal_steps=(),
        levels=np.ones((market.slices, nodes)),
        deviations=np.full(market.slices, total_noise(market)),
    )


def _belief_steps(problem: Problem, variances: Floats) -> tuple[Floats, ...]:
    """Return the steps of a belief whose variance is that of each slice, shape (N + 1,)."""
    axis, (points, weights) = problem.axis, HERMITE
    steps = []
    for spread in np.sqrt(variances[:-1] - variances[1:]):
        following = _clip(axis, axis.nodes[:, None] + spread * points)
        step = np.einsum("fpg,p->fg", interpolation(axis, following), weights)
        steps.append(np.broadcast_to(step, (problem.market.regimes, *step.shape)))
    return tuple(steps)


def _signal_problem(market: Market, nodes: int) -> Problem:
    """Build the decision problem whose signal is the flow or the price, or that has none; without the volume.

    Its steps of the signal are those of all slices, or one that holds in every slice.
    """
    scenario, (points, weights) = market.scenario, HERMITE
    regimes, tau = scenario.regimes, scenario.tau
    law, transition = regimes.start_law(), regimes.transition(tau)
    count, none = len(law), np.empty(0)

    def problem(signal: Floats, axis: Axis, follows: Followed, start: Floats, *steps: Floats) -> Problem:
        return Problem(market, signal, axis, follows, law, transition, start, steps, none, none)

    if _flow_matters(market):
        phi = scenario.flow_persistence
        axis = Axis(-_SIGNAL_RANGE, _SIGNAL_RANGE, nodes)
        following = phi * axis.nodes[:, None] + math.sqrt(1.0 - phi * phi) * points
        step = np.einsum("fpg,p->fg", interpolation(axis, _clip(axis, following)), weights)
        start = np.einsum("pg,p->g", interpolation(axis, _clip(axis, points)), weights)
        return problem(axis.nodes, axis, "flow", start, np.broadcast_to(step, (count, nodes, nodes)))
    if _price_matters(market):
        curve = market.volatility_profile
        deviation = scenario.volatility * max(regimes.volatility) * math.sqrt(tau) * math.sqrt(float(curve @ curve))
        drifts = market.slices * np.array([market.step_drift.min(), market.step_drift.max()])
        reach = _SIGNAL_RANGE * deviation
        axis = Axis(min(drifts[0], 0.0) - reach, max(drifts[1], 0.0) + reach, nodes)
        drift, steps = market.step_drift[:, None, None], []
        distinct, which = np.unique(market.step_volatility, axis=0, return_inverse=True)
        for volatility in distinct[:, :, None, None]:
            following = axis.nodes[:, None] + drift - 0.5 * volatility**2 + volatility * points
            steps.append(np.einsum("mfpg,p->mfg", interpolation(axis, _clip(axis, following)), weights))
        price = scenario.arrival_price * np.exp(axis.nodes)
        return problem(price, axis, "price", interpolation(axis, 0.0), *(steps[at] for at in which.ravel()))
    return problem(np.zeros(1), Axis(0.0, 0.0, 1), "flow", np.ones(1), np.ones((count, 1, 1)))


def _clip(axis: Axis, values: Floats) -> Floats:
    """Clip values to an axis; values outside it have a probability of about 1e-9."""
    return np.asarray(np.clip(values, axis.low, axis.high))


def mode_slices(problem: Problem, k: int) -> Slice:
    """Return slice `k` in each mode, without price noise and at the mean volume; fields have shape (regimes, nodes)."""
    market, (count, nodes) = problem.market, problem.modes
    scenario = market.scenario
    regime = np.repeat(np.arange(count), nodes)
    signal = np.tile(problem.signal, count)
    flow = signal if problem.follows == "flow" else np.zeros(count * nodes)
    price = signal if problem.follows == "price" else np.full(count * nodes, scenario.arrival_price)
    ratio = signal if problem.follows == "volume" else np.full(count * nodes, neutral_ratio(market.numbers))
    levels = np.tile(problem.levels[k], count)
    # a neutral ratio is that of the volume over its level, and the expected volume then the level times the curve
    drift = signal if problem.follows == "drift" else np.zeros(count * nodes)
    slice = expected_slice(market, k, World(regime, flow, price, levels, ratio * levels, drift))
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
