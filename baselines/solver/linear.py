r"""Coupled Riccati recursions: the exact optimum where temporary impact is linear (beta 1), trades of both signs allowed.

The objective that is still to come is a quadratic form in (remaining, transient displacement, signal, 1), one for each regime,
and its best trade is linear in them. The forms of a slice are read off :func:`hyperexec_env.market.kernel.move`, which is
quadratic there, by differences; the recursion over regimes is that of Markov jump linear systems (Costa, Fragoso and Marques
2005). Bertsimas and Lo (1998), Obizhaeva and Wang (2013) and Gatheral and Schied (2011) are special cases.

An order trades one way in the environment. Where the best trades never want the other way, both optima are one; else this one
is a lower bound.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import expected_cost, move
from hyperexec_env.market.model import Market
from hyperexec_env.market.path import World, expected_slice

__all__ = ["Riccati", "is_linear", "keeps_one_side", "solve_linear"]

Floats = NDArray[np.float64]

_FLAT: Final = 1e-11
"""A curvature below this share of the largest coefficient is rounding."""
_STATE: Final = 4
"""Remaining, transient displacement, signal, 1: in units of the order, of the price, of the signal."""


class Riccati(NamedTuple):
    """The solution; quantities in units of the order, displacements of the arrival price, money of the notional."""

    market: Market
    by_flow: bool
    """Whether the signal is the last order flow (standard deviations); else it is the price over the arrival price."""
    forms: Floats
    """Objective still to come at the start of each slice as a form z'Fz, shape (slices, regimes, 4, 4)."""
    gains: Floats
    """The best trade is gains @ z, shape (slices, regimes, 4)."""

    @property
    def values(self) -> Floats:
        """Objective from the first slice on for each regime, as a fraction of the notional, shape (regimes,)."""
        mean, square = (0.0, 1.0) if self.by_flow else (1.0, 1.0)
        start = np.array([1.0, 0.0, mean, 1.0])
        spread = np.zeros((_STATE, _STATE))
        spread[2, 2] = square - mean * mean
        return np.asarray(np.einsum("mij,ij->m", self.forms[0], np.outer(start, start) + spread))


def is_linear(market: Market) -> bool:
    """Return whether the optimum is one of linear trades and quadratic costs."""
    scenario = market.scenario
    return (
        scenario.temp_impact_beta == 1.0
        and scenario.transient_exponent == 1.0
        and not scenario.predator
        and not market.numbers.spec.capped
        and scenario.complete
        and not (scenario.flow_persistence if scenario.price_model == "gbm" else scenario.price_risk)
    )


def _costs(market: Market, k: int, points: Floats) -> Floats:
    """Return what slice `k` charges at points (remaining, transient, trade, signal), shape (points, 4), in each regime.

    Returns:
        Fraction of the notional, shape (regimes, points). Volume is at its mean, raised for its noise: linear impact hangs on
        the mean of 1 / V.
    """
    scenario, count = market.scenario, market.regimes
    remaining, transient, trade, signal = (np.tile(column, count) for column in points.T)
    regime = np.repeat(np.arange(count), len(points))
    by_flow = scenario.price_model == "abm"
    world = World(
        regime,
        signal if by_flow else np.zeros(signal.shape),
        scenario.arrival_price * (np.ones(signal.shape) if by_flow else signal),
    )
    slice = expected_slice(market, k, world)
    slice = slice._replace(volume=slice.volume * math.exp(-(scenario.volume_noise**2)), innovation=0.0, least=-math.inf)
    state = (remaining * scenario.quantity, 0.0, transient * scenario.arrival_price)
    _, cost = move(market.impact, state, slice, trade * scenario.quantity)
    return np.asarray(expected_cost(cost) / scenario.notional).reshape(count, len(points))


def _forms(market: Market, k: int) -> Floats:
    """Return the forms of slice `k` in (remaining, transient, trade, signal, 1), shape (regimes, 5, 5)."""
    base, width = np.array([1.0, 0.0, 0.5, 1.0]), 0.25  # trades between nothing and all: no bound is met
    unit = width * np.eye(4)
    pairs = [(i, j) for i in range(4) for j in range(i + 1)]
    points = [base, *(base + unit[i] for i in range(4)), *(base - unit[i] for i in range(4))]
    points += [base + unit[i] + unit[j] for i, j in pairs]
    values = _costs(market, k, np.array(points)).T
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


def _moves(market: Market) -> Floats:
    """Return how (remaining, transient, trade, signal, 1) leads to (remaining, transient, signal, 1), shape (regimes, 4, 5)."""
    scenario, moves = market.scenario, np.zeros((market.regimes, _STATE, 5))
    slope = market.impact.transient_slope * scenario.quantity / scenario.arrival_price
    moves[:, 0, 0], moves[:, 0, 2] = 1.0, -1.0
    moves[:, 1, 1], moves[:, 1, 2] = market.transient_kept, slope * market.transient_kept
    moves[:, 2, 3] = scenario.flow_persistence if scenario.price_model == "abm" else np.exp(market.step_drift)
    moves[:, 3, 4] = 1.0
    return moves


def solve_linear(market: Market) -> Riccati:
    """Solve the coupled Riccati recursions.

    Raises:
        ValueError: The market is not linear (see :func:`is_linear`), or no cost grows faster than the trade, so that
            there is no best one.
    """
    if not is_linear(market):
        raise ValueError(
            f"scenario {market.scenario.name!r} must have temp_impact_beta 1 and transient_exponent 1, no participation "
            "cap, no predator and one signal at most, and be completed, to be linear; "
            f"got temp_impact_beta {market.scenario.temp_impact_beta:g}"
        )
    scenario, slices = market.scenario, market.slices
    transition, moves = scenario.regimes.transition(market.tau), _moves(market)
    by_flow = scenario.price_model == "abm"
    noise = 1.0 - scenario.flow_persistence**2
    growth = np.exp(market.step_volatility**2) if not by_flow else np.ones(market.regimes)
    forms = np.zeros((slices + 1, market.regimes, _STATE, _STATE))
    gains = np.zeros((slices, market.regimes, _STATE))
    keep = np.array([0, 1, 3, 4])  # all but the trade
    for k in range(slices - 1, -1, -1):
        later = np.einsum("mn,nij->mij", transition, forms[k + 1])
        total = _forms(market, k) + np.einsum("mai,mab,mbj->mij", moves, later, moves)
        if by_flow:
            total[:, 4, 4] += noise * later[:, 2, 2]
        else:  # the price moves in proportion to itself, and so does its variance
            total[:, 3, 3] += (growth - 1.0) * moves[:, 2, 3] ** 2 * later[:, 2, 2]
        if k == slices - 1:
            gain = np.zeros((market.regimes, _STATE))
            gain[:, 0] = 1.0
        else:
            curvature = total[:, 2, 2]
            if not (curvature > _FLAT * np.abs(total).max(axis=(1, 2))).all():
                raise ValueError(
                    f"scenario {scenario.name!r} must have an impact or a risk that grows with the trade, got none"
                )
            gain = -total[:, 2][:, keep] / curvature[:, None]
        choose = np.zeros((market.regimes, 5, _STATE))
        choose[:, keep, np.arange(_STATE)] = 1.0
        choose[:, 2] = gain
        forms[k] = np.einsum("mai,mab,mbj->mij", choose, total, choose)
        gains[k] = gain
    return Riccati(market, by_flow, forms[:-1], gains)


def keeps_one_side(solution: Riccati) -> bool:
    """Return whether the best trades are certain to lie between nothing and what remains, whatever the regimes do.

    It looks at markets whose trades hang on the remaining shares and the displacement alone, and in proportion: there only
    the ratio r of the two counts, and as the next ratio is monotone in r, the ends of an interval of ratios go to the ends of
    the next. Where trades hang on anything else the answer is no, unless nothing is left to chance.
    """
    market, gains = solution.market, solution.gains
    slope = market.impact.transient_slope * market.scenario.quantity / market.scenario.arrival_price
    if market.regimes == 1 and not np.abs(gains[:, :, 2]).max() > 1e-12:
        return _certain_path(solution, slope)
    if np.abs(gains[:, :, 2:]).max() > 1e-12:
        return False
    low = high = 0.0
    for gain in gains:
        ends: list[Any] = []
        for row, kept in zip(gain, market.transient_kept, strict=True):
            for ratio in (low, high):
                traded = row[0] + row[1] * ratio
                if not -1e-12 <= traded <= 1.0 + 1e-12:
                    return False
                if traded < 1.0 - 1e-12:
                    ends.append((ratio + slope * traded) * kept / (1.0 - traded))
        if not ends:
            return True
        low, high = min(ends), max(ends)
    return True


def _certain_path(solution: Riccati, slope: float) -> bool:
    """Return whether the only path there is trades one way."""
    state = np.array([1.0, 0.0, 0.0, 1.0])
    for gain in solution.gains[:, 0]:
        traded = float(gain @ state)
        if not -1e-12 <= traded <= state[0] + 1e-12:
            return False
        kept = float(solution.market.transient_kept[0])
        state = np.array([state[0] - traded, (state[1] + slope * traded) * kept, 0.0, 1.0])
    return True
