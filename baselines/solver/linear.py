r"""Coupled Riccati recursions: the exact optimum where temporary impact is linear (beta 1), trades of both signs allowed.

In each regime the value function is a quadratic form in (remaining, transient displacement, signal, 1), and the optimal trade
is linear in them. The cost of a slice is also quadratic; its coefficients are computed from finite differences of
:func:`hyperexec_env.market.kernel.move`, which are exact for a quadratic function. The recursion over regimes is the recursion
for Markov jump linear systems (Costa, Fragoso and Marques 2005). Bertsimas and Lo (1998), Obizhaeva and Wang (2013) and
Gatheral and Schied (2011) are special cases.

An order in the environment trades on one side only. If the optimal trades always lie between zero and the remaining shares
(:func:`keeps_one_side`), the optimum also holds for one-sided orders; otherwise it is a lower bound.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import expected_cost, move
from hyperexec_env.market.path import World, expected_slice
from hyperexec_env.market.tables import Market
from hyperexec_env.market.volume_noise import neutral_ratio

from .belief import drift_variances, even_evidence, level_matters, memory_matters

__all__ = ["Riccati", "is_linear", "keeps_one_side", "solve_linear"]

Floats = NDArray[np.float64]

_MIN_CURVATURE: Final = 1e-11
"""Curvature in the trade, as a fraction of the largest coefficient, below which it counts as zero."""
_STATE: Final = 4
"""Size of the state (remaining, transient displacement, signal, 1), in units of the order, the arrival price and the signal."""


class Riccati(NamedTuple):
    """Solution; quantities are fractions of the order, displacements of the arrival price, costs of the arrival notional."""

    market: Market
    by_flow: bool
    """Whether the signal is the last order flow (standard deviations); if neither, it is the price over the arrival price."""
    by_drift: bool
    """Whether the signal is the belief about the drift (fraction a day)."""
    forms: Floats
    """Value function at the start of each slice as a quadratic form z'Fz of the state z, shape (slices, regimes, 4, 4)."""
    gains: Floats
    """Coefficients of the optimal trade gains @ z, shape (slices, regimes, 4)."""

    @property
    def values(self) -> Floats:
        """Optimal objective for each regime of the first slice, as a fraction of the notional, shape (regimes,)."""
        mean, square = (0.0, 0.0) if self.by_drift else (0.0, 1.0) if self.by_flow else (1.0, 1.0)
        start = np.array([1.0, 0.0, mean, 1.0])
        covariance = np.zeros((_STATE, _STATE))
        covariance[2, 2] = square - mean * mean
        return np.asarray(np.einsum("mij,ij->m", self.forms[0], np.outer(start, start) + covariance))


def is_linear(market: Market) -> bool:
    """Return whether the optimal control problem of a market is linear-quadratic."""
    scenario = market.scenario
    return (
        scenario.temp_impact_beta == 1.0
        and scenario.transient_exponent == 1.0
        and not scenario.predator
        and not scenario.temp_impact_sd
        and not market.numbers.spec.capped
        and not level_matters(market)
        and not memory_matters(market)
        and not (market.numbers.spec.unknown_drift and _flow_or_uneven(market))
        and scenario.complete
        and not (scenario.flow_persistence if scenario.price_model == "gbm" else scenario.price_risk)
    )


def _flow_or_uneven(market: Market) -> bool:
    """Return whether the belief about the drift would be a second signal, or its variance one."""
    scenario = market.scenario
    return scenario.price_model == "gbm" or bool(scenario.flow_persistence) or not even_evidence(market)


def _slice_costs(market: Market, k: int, points: Floats) -> Floats:
    """Return the expected cost of slice `k` in each regime, as a fraction of the notional, shape (regimes, points).

    The slice volume is 1 / E[1 / V] under the volume noise, because linear impact is proportional to 1 / V.

    Args:
        market: The market.
        k: Slice.
        points: Points (remaining, transient, trade, signal), shape (points, 4).
    """
    scenario, count = market.scenario, market.regimes
    remaining, transient, trade, signal = (np.tile(column, count) for column in points.T)
    regime = np.repeat(np.arange(count), len(points))
    by_drift, arithmetic = market.numbers.spec.unknown_drift, scenario.price_model == "abm"
    world = World(
        regime,
        signal if arithmetic and not by_drift else np.zeros(signal.shape),
        scenario.arrival_price * (np.ones(signal.shape) if arithmetic else signal),
        np.ones(signal.shape),
        np.full(signal.shape, neutral_ratio(market.numbers)),
        signal if by_drift else np.zeros(signal.shape),
    )
    slice = expected_slice(market, k, world)
    slice = slice._replace(volume=slice.volume * math.exp(-(scenario.volume_noise**2)), innovation=0.0, least=-math.inf)
    state = (remaining * scenario.quantity, 0.0, transient * scenario.arrival_price)
    _, cost = move(market.impact, state, slice, trade * scenario.quantity)
    return np.asarray(expected_cost(cost) / scenario.notional).reshape(count, len(points))


def _cost_forms(market: Market, k: int) -> Floats:
    """Return the cost of slice `k` as a form in (remaining, transient, trade, signal, 1), shape (regimes, 5, 5)."""
    # all trades lie between zero and the remaining shares, so that the kernel clips none
    base, width = np.array([1.0, 0.0, 0.5, 1.0]), 0.25
    unit = width * np.eye(4)
    pairs = [(i, j) for i in range(4) for j in range(i + 1)]
    points = [base, *(base + unit[i] for i in range(4)), *(base - unit[i] for i in range(4))]
    points += [base + unit[i] + unit[j] for i, j in pairs]
    values = _slice_costs(market, k, np.array(points)).T
    centre, up, down = values[0], values[1:5], values[5:9]
    quadratic = np.zeros((market.regimes, 4, 4))
    for (i, j), both in zip(pairs, values[9:], strict=True):
        change = (up[i] - 2.0 * centre + down[i]) if i == j else (both - up[i] - up[j] + centre)
        quadratic[:, i, j] = quadratic[:, j, i] = 0.5 * change / width**2
    slope = (0.5 * (up - down) / width).T - 2.0 * quadratic @ base
    form = np.zeros((market.regimes, 5, 5))
    form[:, :4, :4] = quadratic
    form[:, 4, :4] = form[:, :4, 4] = 0.5 * slope
    form[:, 4, 4] = centre - slope @ base - np.einsum("i,mij,j->m", base, quadratic, base)
    return form


def _dynamics(market: Market) -> Floats:
    """Return the matrices from (remaining, transient, trade, signal, 1) to the next mean state, shape (regimes, 4, 5)."""
    scenario, matrices = market.scenario, np.zeros((market.regimes, _STATE, 5))
    slope = market.impact.transient_slope * scenario.quantity / scenario.arrival_price
    matrices[:, 0, 0], matrices[:, 0, 2] = 1.0, -1.0
    matrices[:, 1, 1], matrices[:, 1, 2] = market.transient_decay, slope * market.transient_decay
    matrices[:, 2, 3] = scenario.flow_persistence if scenario.price_model == "abm" else np.exp(market.step_drift)
    if market.numbers.spec.unknown_drift:  # a belief is a martingale
        matrices[:, 2, 3] = 1.0
    matrices[:, 3, 4] = 1.0
    return matrices


def solve_linear(market: Market) -> Riccati:
    """Solve the coupled Riccati recursions of a market.

    Raises:
        ValueError: The market is not linear (see :func:`is_linear`), or the objective is not strictly convex in the trade, so
            that no unique optimal trade exists.
    """
    if not is_linear(market):
        raise ValueError(
            f"scenario {market.scenario.name!r} must have temp_impact_beta 1 and transient_exponent 1, no participation "
            "cap, no volume level, no unknown impact, no persistence of volume, no predator, at most one signal and complete = "
            f"true to be linear; got temp_impact_beta {market.scenario.temp_impact_beta:g}"
        )
    scenario, slices = market.scenario, market.slices
    transition, dynamics = scenario.regimes.transition(market.tau), _dynamics(market)
    by_drift = market.numbers.spec.unknown_drift
    by_flow = scenario.price_model == "abm" and not by_drift
    signal_variance = np.full(slices, 1.0 - scenario.flow_persistence**2)
    if by_drift:
        signal_variance = -np.diff(drift_variances(market))
    growth = np.exp(market.step_volatility**2)
    forms = np.zeros((slices + 1, market.regimes, _STATE, _STATE))
    gains = np.zeros((slices, market.regimes, _STATE))
    state = np.array([0, 1, 3, 4])  # indices of the state within (remaining, transient, trade, signal, 1)
    for k in range(slices - 1, -1, -1):
        later = np.einsum("mn,nij->mij", transition, forms[k + 1])
        total = _cost_forms(market, k) + np.einsum("mai,mab,mbj->mij", dynamics, later, dynamics)
        if by_flow or by_drift:
            total[:, 4, 4] += signal_variance[k] * later[:, 2, 2]
        else:  # the variance of the next price is proportional to the squared price
            total[:, 3, 3] += (growth[k] - 1.0) * dynamics[:, 2, 3] ** 2 * later[:, 2, 2]
        if k == slices - 1:
            gain = np.zeros((market.regimes, _STATE))
            gain[:, 0] = 1.0
        else:
            curvature = total[:, 2, 2]
            if not (curvature > _MIN_CURVATURE * np.abs(total).max(axis=(1, 2))).all():
                raise ValueError(
                    f"scenario {scenario.name!r} must have an impact or a risk that makes the objective convex, got none"
                )
            gain = -total[:, 2][:, state] / curvature[:, None]
        closed_loop = np.zeros((market.regimes, 5, _STATE))  # substitutes the optimal trade
        closed_loop[:, state, np.arange(_STATE)] = 1.0
        closed_loop[:, 2] = gain
        forms[k] = np.einsum("mai,mab,mbj->mij", closed_loop, total, closed_loop)
        gains[k] = gain
    return Riccati(market, by_flow, by_drift, forms[:-1], gains)


def keeps_one_side(solution: Riccati) -> bool:
    """Return whether the optimal trades lie between zero and the remaining shares on every regime path.

    The check applies to trades that are linear in the remaining shares and the displacement alone. The traded fraction of the
    remaining shares then depends only on the ratio of displacement to remaining shares, and the next ratio is monotone in this
    ratio, so the check follows the ends of an interval of ratios through all slices. If the trades have other terms, the
    result is False, except with a single regime and no signal term, where the single deterministic path is checked.
    """
    market, gains = solution.market, solution.gains
    slope = market.impact.transient_slope * market.scenario.quantity / market.scenario.arrival_price
    if market.regimes == 1 and not np.abs(gains[:, :, 2]).max() > 1e-12:
        return _path_keeps_one_side(solution, slope)
    if np.abs(gains[:, :, 2:]).max() > 1e-12:
        return False
    low = high = 0.0
    for gain in gains:
        ends: list[Any] = []
        for row, decay in zip(gain, market.transient_decay, strict=True):
            for ratio in (low, high):
                traded = row[0] + row[1] * ratio
                if not -1e-12 <= traded <= 1.0 + 1e-12:
                    return False
                if traded < 1.0 - 1e-12:
                    ends.append((ratio + slope * traded) * decay / (1.0 - traded))
        if not ends:
            return True
        low, high = min(ends), max(ends)
    return True


def _path_keeps_one_side(solution: Riccati, slope: float) -> bool:
    """Return whether the trades of a deterministic market with one regime lie between zero and the remaining shares."""
    state = np.array([1.0, 0.0, 0.0, 1.0])
    for gain in solution.gains[:, 0]:
        traded = float(gain @ state)
        if not -1e-12 <= traded <= state[0] + 1e-12:
            return False
        decay = float(solution.market.transient_decay[0])
        state = np.array([state[0] - traded, (state[1] + slope * traded) * decay, 0.0, 1.0])
    return True
