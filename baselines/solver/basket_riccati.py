r"""Coupled Riccati recursion of a basket: the optimum where temporary impact is linear, trades of both signs allowed.

The state is z = (x, D, 1) with the remaining shares x and the transient displacements D, all d assets at once. In regime m of
slice k, with T = diag(E[h / V]) + K / 2, R the risk matrix, N the matrix of notionals (x and D are in units of the orders and
of the arrival prices), e the decay of the transient displacement and n the trades, a slice costs

    n' T n + n' N D + spread' n + (x - n)' R (x - n)          x -> x - n,   D -> e (D + K n)

so that the value is a quadratic form z' P_km z, and the best trades are linear in z. P at the end of a slice is averaged over
the next regime: the recursion of Markov jump linear systems (Costa, Fragoso and Marques 2005). The last slice trades x.

Orders trade one side only, so the form is a lower bound, and the optimum where the best trades never leave [0, x];
:func:`clipped` measures what limiting them costs.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.basket_path import BasketMarket
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path

__all__ = ["BasketRiccati", "Clipped", "clipped", "is_linear", "solve_riccati"]

Floats = NDArray[np.float64]

_PATHS: Final = 2_000
"""Regime paths over which the cost of limiting the trades is averaged."""
_LIMIT: Final = 1e-12
"""Trade beyond [0, x], as a fraction of the order, that counts as rounding."""


class BasketRiccati(NamedTuple):
    """Solution; trades are fractions of the orders, displacements of the arrival prices, costs currency."""

    forms: Floats
    """Value function of each slice and regime, shape (slices, regimes, 2 assets + 1, 2 assets + 1)."""
    gains: Floats
    """Coefficients of the best trades in the state, shape (slices, regimes, assets, 2 assets + 1)."""

    @property
    def values(self) -> Floats:
        """Objective by the regime of the first slice, currency, shape (regimes,)."""
        assets = self.gains.shape[2]
        start = np.concatenate([np.ones(assets), np.zeros(assets), [1.0]])
        return np.asarray(np.einsum("i,mij,j->m", start, self.forms[0], start))


class _Slice(NamedTuple):
    """The numbers of one slice in one regime, in units of the orders and of the arrival prices."""

    own: Floats
    """T, currency, shape (assets, assets)."""
    risk: Floats
    """R, currency, shape (assets, assets)."""
    spread: Floats
    """Currency, shape (assets,)."""


def is_linear(market: BasketMarket) -> bool:
    """Return whether the control problem of a basket is linear-quadratic: linear temporary impact and no cap."""
    return all(each.impact.beta == 1.0 and not each.numbers.spec.capped for each in market.markets)


def _units(market: BasketMarket) -> tuple[Floats, Floats, Floats]:
    """Return the notionals, K in units of prices per order, and K in currency, shapes (assets,) and (assets, assets)."""
    quantities = market.scenario.quantities
    prices = np.array([each.scenario.arrival_price for each in market.markets])
    slopes = np.array(market.coupling.transient)
    return quantities * prices, slopes * quantities / prices[:, None], slopes * np.outer(quantities, quantities)


def _slice(market: BasketMarket, k: int, regime: int) -> _Slice:
    """Return the numbers of slice `k` in a regime; the expected inverse volume includes the volume noise."""
    quantities = market.scenario.quantities
    temporary = [
        each.temporary_scale[regime] * math.exp(each.scenario.volume_noise**2) / each.mean_volume[k, regime]
        for each in market.markets
    ]
    scale = quantities * np.sqrt([each.risk[k, regime] for each in market.markets])
    spread = quantities * np.array([each.half_spread[regime] for each in market.markets])
    return _Slice(
        np.diag(np.array(temporary) * quantities**2) + 0.5 * _units(market)[2],
        np.outer(scale, scale) * np.array(market.coupling.correlation),
        spread,
    )


def _stage(notionals: Floats, step: _Slice) -> tuple[Floats, Floats, Floats]:
    """Return the cost of a slice as (uu, ux, xx): u'(uu)u + 2 u'(ux)z + z'(xx)z with the trades u and the state z."""
    assets = len(notionals)
    uu = step.own + step.risk
    ux = np.concatenate([-step.risk, 0.5 * np.diag(notionals), 0.5 * step.spread[:, None]], axis=1)
    xx = np.zeros((2 * assets + 1, 2 * assets + 1))
    xx[:assets, :assets] = step.risk
    return uu, ux, xx


def _dynamics(slopes: Floats, decay: float) -> tuple[Floats, Floats]:
    """Return A and B of the next state z' = A z + B u."""
    assets = len(slopes)
    a = np.diag(np.concatenate([np.ones(assets), np.full(assets, decay), [1.0]]))
    return a, np.concatenate([-np.eye(assets), decay * slopes, np.zeros((1, assets))])


def solve_riccati(market: BasketMarket) -> BasketRiccati:
    """Solve a basket for which :func:`is_linear` holds; trades of both signs are allowed."""
    notionals, slopes, _ = _units(market)
    assets, regimes, slices = len(notionals), market.regimes, market.slices
    size = 2 * assets + 1
    transition = market.scenario.regimes.transition(market.scenario.tau)
    decays = market.markets[0].transient_decay
    forms, gains = np.zeros((slices, regimes, size, size)), np.zeros((slices, regimes, assets, size))
    everything = np.concatenate([np.eye(assets), np.zeros((assets, assets + 1))], axis=1)
    following = np.zeros((regimes, size, size))
    for k in range(slices - 1, -1, -1):
        for regime in range(regimes):
            uu, ux, xx = _stage(notionals, _slice(market, k, regime))
            a, b = _dynamics(slopes, float(decays[regime]))
            ahead = np.tensordot(transition[regime], following, axes=1)
            uu, ux, xx = uu + b.T @ ahead @ b, ux + b.T @ ahead @ a, xx + a.T @ ahead @ a
            gain = everything if k == slices - 1 else -np.linalg.lstsq(uu, ux, rcond=1e-14)[0]
            form = xx + gain.T @ uu @ gain + gain.T @ ux + ux.T @ gain
            forms[k, regime], gains[k, regime] = 0.5 * (form + form.T), gain
        following = forms[k]
    return BasketRiccati(forms, gains)


class Clipped(NamedTuple):
    """What limiting the trades of the recursion to [0, x] costs, over simulated paths of the regimes."""

    excess: float
    """Mean additional objective, currency: an upper bound on J* minus the value of the recursion."""
    error: float
    """Standard error of the excess."""
    share: float
    """Share of the trades that are limited."""
    risk: float
    """Mean risk part of the objective, currency."""


def clipped(market: BasketMarket, solution: BasketRiccati, paths: int = _PATHS) -> Clipped:
    """Simulate the linear policy with and without limits on the same paths of the regimes (one path if there is one regime)."""
    notionals, slopes, _ = _units(market)
    count = paths if market.regimes > 1 else 1
    keys = episode_keys(0, np.arange(count))
    regimes = draw_path(market.markets[0], keys, 1.0).world.regime
    assets, decays = len(notionals), market.markets[0].transient_decay
    steps = [[_slice(market, k, m) for m in range(market.regimes)] for k in range(market.slices)]
    totals, risks, limited = [], [], 0
    for limit in (False, True):
        left, displaced = np.ones((count, assets)), np.zeros((count, assets))
        total, risk = np.zeros(count), np.zeros(count)
        for k in range(market.slices):
            for m in np.unique(regimes[k]):
                here = regimes[k] == m
                x, d, step = left[here], displaced[here], steps[k][m]
                state = np.concatenate([x, d, np.ones((len(x), 1))], axis=1)
                trade = state @ solution.gains[k, m].T
                if limit:
                    asked, trade = trade, np.clip(trade, 0.0, x)
                    limited += int((np.abs(asked - trade) > _LIMIT).sum())
                after = x - trade
                held = np.einsum("pi,ij,pj->p", after, step.risk, after)
                cost = np.einsum("pi,ij,pj->p", trade, step.own, trade) + (trade * (notionals * d + step.spread)).sum(axis=1)
                total[here] += cost + held
                risk[here] += held
                left[here], displaced[here] = after, decays[m] * (d + trade @ slopes.T)
        totals.append(total)
        risks.append(risk)
    excess = totals[1] - totals[0]
    error = float(excess.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    trades = count * assets * market.slices
    return Clipped(float(excess.mean()), error, limited / trades, float(risks[1].mean()))
