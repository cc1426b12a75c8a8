r"""The best fixed schedule of a basket: a convex program, with a certificate of its error.

With trades n_k (a vector over assets), K the transient slopes, R_k the risk matrices and E_jk the expected fraction of a
displacement by slice j that is left in slice k (E_kk = 1), the expected objective is, in adverse coordinates,

    J(n) = 1/2 sum_jk E_jk n_j' K n_k + sum_ki c_ki n_ki^(1 + beta_i) + sum_k spread_k' n_k + sum_k x_(k+1)' R_k x_(k+1)

with x_(k+1) = sum_(j > k) n_j. J is convex, and minimised over n >= 0 with sum_k n_k = X by Newton steps with a logarithmic
barrier (Boyd and Vandenberghe 2004, chapter 11), with analytic gradients and Hessians. In a market of one regime the prices
are martingales and nothing that is observed helps, so the best fixed schedule is the optimal policy.

**Certificate.** J lies above its tangent, whose minimum over the schedules is known (Frank and Wolfe 1956; Jaggi 2013):

    J(n) - J* <= sum_i [ grad_i . n_i - X_i min_k grad_ki ]

An order that may trade both ways pays the same on abs(n). That program replaces abs(n) by sqrt(n^2 + width^2), whose minimum
is above the true one by at most the sum of c width^(1 + beta) + spread width: the printed lower bound is rigorous.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.basket_path import BasketMarket

__all__ = ["Best", "Program", "best_schedule", "best_two_sided", "build_program", "gap", "schedule_cost"]

Floats = NDArray[np.float64]

_TOLERANCE: Final = 1e-11
"""Barrier at which the search ends, as a fraction of the objective, summed over all trades."""
_CENTRED: Final = 0.05
"""Newton decrement, in units of the barrier, below which the barrier is lowered."""
_STEPS: Final = 300


class Program(NamedTuple):
    """The numbers that determine the objective of a fixed schedule; trades are fractions of the orders, costs currency."""

    quantities: Floats
    """Shares of each order X, shape (assets,)."""
    quadratic: Floats
    """Hessian of the transient and the risk cost, shape (slices x assets, slices x assets)."""
    risk: Floats
    """Part of `quadratic` that is risk."""
    temporary: Floats
    """Temporary cost of trading a whole order in one slice, shape (slices, assets)."""
    power: Floats
    """1 + beta of each asset, shape (assets,)."""
    spread: Floats
    """Half-spread cost of trading a whole order in one slice, shape (slices, assets)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of slices and of assets."""
        slices, assets = self.temporary.shape
        return slices, assets


class Best(NamedTuple):
    """A minimal schedule."""

    shares: Floats
    """Fraction of each order that each slice trades, shape (slices, assets); columns sum to 1."""
    cost: float
    """Its objective, currency."""
    bound: float
    """Lower bound on the minimum, currency."""
    steps: int
    """Number of Newton steps."""


def build_program(market: BasketMarket, regimes: Any = None) -> Program:
    """Return the program of a basket.

    Args:
        market: The market.
        regimes: Regime of each slice, shape (slices,), for a policy that knows the path; None: averages over paths.
    """
    laws, decay = _laws(market) if regimes is None else _known(market, regimes)
    quantities = market.scenario.quantities
    slices, assets = market.slices, len(quantities)
    temporary, spread = np.empty((slices, assets)), np.empty((slices, assets))
    scales = np.empty((slices, market.regimes, assets))
    for i, each in enumerate(market.markets):
        beta, deviation = each.impact.beta, each.scenario.volume_noise
        # E[V^-beta] of a lognormal volume with the given mean
        noise = math.exp(0.5 * beta * (1.0 + beta) * deviation * deviation)
        volume = each.mean_volume[:slices, : market.regimes]
        cost = each.temporary_scale * volume * (quantities[i] / volume) ** (1.0 + beta) * noise
        temporary[:, i] = (laws * cost).sum(axis=1)
        spread[:, i] = (laws * (each.half_spread[: market.regimes] * quantities[i])).sum(axis=1)
        scales[:, :, i] = np.sqrt(each.risk) * quantities[i]
    held = np.einsum("km,kmi,kmj->kij", laws, scales, scales) * np.array(market.coupling.correlation)
    before = np.concatenate([np.zeros((1, assets, assets)), np.cumsum(held, axis=0)[:-1]])
    later = np.minimum.outer(np.arange(slices), np.arange(slices))
    risk = 2.0 * before[later].transpose(0, 2, 1, 3).reshape(slices * assets, slices * assets)
    transient = np.array(market.coupling.transient) * np.outer(quantities, quantities)
    power = np.array([1.0 + each.impact.beta for each in market.markets])
    return Program(quantities, np.kron(decay, transient) + risk, risk, temporary, power, spread)


def _laws(market: BasketMarket) -> tuple[Floats, Floats]:
    """Return the distribution of the regime in each slice, shape (slices, regimes), and E, shape (slices, slices)."""
    slices, first = market.slices, market.markets[0]
    transition = market.scenario.regimes.transition(market.scenario.tau)
    laws = np.empty((slices, market.regimes))
    laws[0] = market.scenario.regimes.start_law()
    for k in range(1, slices):
        laws[k] = laws[k - 1] @ transition
    decay = np.eye(slices)
    for j in range(slices):
        left = laws[j]
        for k in range(j + 1, slices):
            left = (left * first.transient_decay) @ transition
            decay[j, k] = decay[k, j] = left.sum()
    return laws, decay


def _known(market: BasketMarket, regimes: Any) -> tuple[Floats, Floats]:
    """Return :func:`_laws` of a known path of regimes."""
    path = np.asarray(regimes)
    laws = np.eye(market.regimes)[path]
    total = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(market.markets[0].transient_decay[path], 1e-300)))[:-1]])
    return laws, np.exp(-np.abs(np.subtract.outer(total, total)))


def schedule_cost(program: Program, shares: Floats) -> float:
    """Return the expected objective of a fixed schedule, currency; trades of both signs pay on their absolute value.

    Args:
        program: The program.
        shares: Fraction of each order that each slice trades, shape (slices, assets); columns sum to 1.
    """
    flat, size = shares.ravel(), np.abs(shares)
    local = program.temporary * size**program.power + program.spread * size
    return float(0.5 * flat @ program.quadratic @ flat + local.sum())


def risk_cost(program: Program, shares: Floats) -> float:
    """Return the part of the objective of a fixed schedule that is risk, currency."""
    flat = shares.ravel()
    return float(0.5 * flat @ program.risk @ flat)


def _gradient(program: Program, shares: Floats) -> Floats:
    """Return the gradient of the objective, for shares that are not negative, shape (slices, assets)."""
    linear = (program.quadratic @ shares.ravel()).reshape(shares.shape)
    return np.asarray(linear + program.temporary * program.power * shares ** (program.power - 1.0) + program.spread)


def gap(program: Program, shares: Floats) -> float:
    """Return an upper bound on J(n) - J* of a one-sided schedule by the tangent of J, currency."""
    slopes = _gradient(program, shares)
    return float((slopes * shares).sum() - slopes.min(axis=0).sum())


def best_schedule(program: Program, tolerance: float = _TOLERANCE) -> Best:
    """Return the best schedule of trades that are not negative.

    Args:
        program: The program.
        tolerance: Relative error of the objective at which the search ends.
    """
    slices, assets = program.shape
    shares = np.full((slices, assets), 1.0 / slices)
    cost, steps = schedule_cost(program, shares), 0
    barrier, last = 0.1 * cost / shares.size, tolerance * abs(cost) / shares.size
    while steps < _STEPS:
        shares, decrement = _centre(program, shares, barrier)
        steps += 1
        if decrement < _CENTRED:
            if barrier <= last:
                break
            barrier = max(0.1 * barrier, last)
    shares = shares / shares.sum(axis=0)
    cost = schedule_cost(program, shares)
    return Best(shares, cost, cost - max(gap(program, shares), 0.0), steps)


def _centre(program: Program, shares: Floats, barrier: float) -> tuple[Floats, float]:
    """Return the shares after one Newton step on J - barrier sum(log shares), and the decrement in units of the barrier.

    The step is computed for relative changes of the shares, so that shares near zero do not spoil the condition.
    """
    power, flat = program.power, shares.ravel()
    slopes = flat * _gradient(program, shares).ravel() - barrier
    bend = program.temporary * power * (power - 1.0) * shares**power
    matrix = program.quadratic * np.outer(flat, flat)
    matrix[np.diag_indices_from(matrix)] += bend.ravel() + barrier
    step, decrement = _newton(matrix, slopes, shares)
    step = step * flat
    falling = step < 0.0
    length = min(1.0, 0.95 * float(np.min(-flat[falling] / step[falling]))) if falling.any() else 1.0

    def merit(candidate: Floats) -> float:
        return schedule_cost(program, candidate) - barrier * float(np.log(candidate).sum())

    start, step = merit(shares), step.reshape(shares.shape)
    while length > 1e-8 and merit(shares + length * step) > start + 1e-14 * abs(start):
        length *= 0.5
    return shares + length * step, decrement / barrier if length > 0.5 else math.inf


def _newton(matrix: Floats, slopes: Floats, weights: Floats) -> tuple[Floats, float]:
    """Return the Newton step that leaves the weighted sum of each asset unchanged, and the squared decrement.

    Args:
        matrix: Hessian, shape (slices x assets, slices x assets).
        slopes: Gradient, shape (slices x assets,).
        weights: Weight of each trade in the sum of its asset, shape (slices, assets).
    """
    slices, assets = weights.shape
    fixed = np.zeros((slices, assets, assets))
    fixed[:, np.arange(assets), np.arange(assets)] = weights
    sums = fixed.reshape(slices * assets, assets)
    solved = np.linalg.solve(matrix, np.column_stack([slopes, sums]))
    prices = np.linalg.solve(sums.T @ solved[:, 1:], sums.T @ solved[:, 0])
    step = solved[:, 1:] @ prices - solved[:, 0]
    return step, float(-slopes @ step)


def best_two_sided(program: Program) -> Best:
    """Return the best schedule of orders that may trade both ways, with a lower bound on its objective."""
    slices, assets = program.shape
    shares, steps, width, slack = np.full((slices, assets), 1.0 / slices), 0, 0.1 / slices, math.inf
    for _ in range(8):
        cost = math.inf
        for _ in range(60):
            shares, smooth = _smooth_step(program, shares, width)
            steps += 1
            if cost - smooth <= 1e-13 * abs(smooth):
                break
            cost = smooth
        slack = float((program.temporary * width**program.power + program.spread * width).sum())
        if slack < 1e-9 * abs(smooth):
            break
        width *= 0.05
    return Best(shares, schedule_cost(program, shares), smooth - slack, steps)


def _smooth_cost(program: Program, shares: Floats, width: float) -> float:
    """Return the objective with sqrt(n^2 + width^2) in place of abs(n)."""
    flat, size = shares.ravel(), np.sqrt(shares * shares + width * width)
    local = program.temporary * size**program.power + program.spread * size
    return float(0.5 * flat @ program.quadratic @ flat + local.sum())


def _smooth_step(program: Program, shares: Floats, width: float) -> tuple[Floats, float]:
    """Return the shares after one Newton step on :func:`_smooth_cost`, and the objective there."""
    power, size = program.power, np.sqrt(shares * shares + width * width)
    c, s = program.temporary, program.spread
    first = c * power * size ** (power - 2.0) + s / size
    second = first + shares * shares * (c * power * (power - 2.0) * size ** (power - 4.0) - s / size**3)
    slopes = program.quadratic @ shares.ravel() + (first * shares).ravel()
    matrix = program.quadratic.copy()
    matrix[np.diag_indices_from(matrix)] += second.ravel() + 1e-15 * float(np.trace(matrix)) / len(matrix)
    step = _newton(matrix, slopes, np.ones(shares.shape))[0].reshape(shares.shape)
    length, start = 1.0, _smooth_cost(program, shares, width)
    while length > 1e-8 and _smooth_cost(program, shares + length * step, width) > start + 1e-15 * abs(start):
        length *= 0.5
    return shares + length * step, _smooth_cost(program, shares + length * step, width)
