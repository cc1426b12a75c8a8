"""Regimes of volatility: fit a hidden Markov model to returns, and give the rates of its chain."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RegimeFit", "fit_regimes", "predicted_regimes", "refit", "transition_rates"]

Floats = NDArray[np.float64]

TAIL: Final = 10.0
"""Degrees of freedom of returns within a regime, close to the maximum-likelihood value for SPY and for single stocks."""
PRIOR: Final = 0.5
"""Pseudo-count added to each transition between regimes, so that every regime can be entered and left."""


class RegimeFit(NamedTuple):
    """Hidden Markov model of volatility, by ascending volatility; M regimes."""

    volatility: Floats
    """Root mean square of the standardised returns in each regime, scaled to a stationary mean square of one, shape (M,)."""
    flows: Floats
    """Joint distribution of successive regimes, symmetric, sums to one, shape (M, M)."""
    posterior: Floats
    """Probability of each regime given all returns of the session, shape (session, step, M)."""
    bic: float
    """Bayesian information criterion (Schwarz 1978); lower is better."""

    @property
    def law(self) -> Floats:
        """Stationary distribution, shape (M,)."""
        return np.asarray(self.flows.sum(axis=1))


def fit_regimes(returns: Floats, regimes: int) -> RegimeFit:
    """Fit a hidden Markov model of volatility to standardised returns by EM (Baum et al. 1970).

    The chain is stationary and reversible, like a scenario whose sessions start from the stationary distribution. Within a
    regime, returns have mean zero and a Student distribution with :data:`TAIL` degrees of freedom, a scale mixture of normals;
    with normal returns, rare large moves would become a separate regime (Bulla 2011).

    Args:
        returns: Returns divided by the usual volatility at their time of day, shape (session, step); sessions are independent.
        regimes: Number of regimes M.

    Returns:
        The most likely of the fits from four fixed starting points.
    """
    mean = float(_square(returns).mean())
    fits = []
    for spread in (2.0, 5.0) if regimes > 1 else (1.0,):
        for stay in (0.9, 0.98) if regimes > 1 else (1.0,):
            flows = np.full((regimes, regimes), (1.0 - stay) / regimes / max(regimes - 1, 1))
            np.fill_diagonal(flows, stay / regimes)
            fits.append(_em(returns / math.sqrt(mean), np.geomspace(1.0 / spread, spread, regimes), flows))
    return min(fits, key=lambda fit: fit.bic)


def refit(returns: Floats, start: RegimeFit) -> RegimeFit:
    """Fit the model of :func:`fit_regimes` with as many regimes as another fit, starting from that fit."""
    mean = float(_square(returns).mean())
    return _em(returns / math.sqrt(mean), _square(start.volatility), start.flows, rounds=60, tolerance=1e-5)


def predicted_regimes(returns: Floats, fit: RegimeFit) -> Floats:
    """Return the probability of each regime before each return of a session, given the earlier returns of the session alone.

    Args:
        returns: Returns over their usual size, with a stationary mean square of one, shape (session, step).
        fit: The regimes.

    Returns:
        Probabilities, shape (session, step, M); the first are those of the stationary law (Hamilton 1989, the filter).
    """
    transition = fit.flows / fit.law[:, None]
    density = _density(_square(returns)[..., None], _square(fit.volatility) * (TAIL - 2.0) / TAIL)
    found = np.empty(density.shape)
    now = np.broadcast_to(fit.law, (len(returns), len(fit.law)))
    for step in range(returns.shape[1]):
        found[:, step] = now
        weighted = now * density[:, step]
        now = (weighted / weighted.sum(axis=1, keepdims=True)) @ transition
    return found


def _density(square: Floats, scales: Floats) -> Floats:
    """Return the Student density of squared returns for each squared scale, shape (..., M)."""
    constant = math.lgamma((TAIL + 1.0) / 2.0) - math.lgamma(TAIL / 2.0) - 0.5 * math.log(TAIL * math.pi)
    return np.asarray(np.exp(constant - 0.5 * (TAIL + 1.0) * np.log1p(square / scales / TAIL)) / np.sqrt(scales) + 1e-300)


def _em(returns: Floats, scales: Floats, flows: Floats, rounds: int = 500, tolerance: float = 1e-7) -> RegimeFit:
    """Maximise the likelihood by EM, starting from given squared scales and flows; converges to a local maximum."""
    square = _square(returns)[..., None]
    last = -math.inf
    for _ in range(rounds):
        ratio, density = square / scales, _density(square, scales)
        likelihood, posterior, pairs = _forward_backward(density, flows)
        weight = posterior * (TAIL + 1.0) / (TAIL + ratio)
        scales = np.maximum((weight * square).sum(axis=(0, 1)) / posterior.sum(axis=(0, 1)), 1e-4)
        flows = _reversible(pairs + PRIOR * (1.0 - np.eye(len(scales))), posterior[:, 0].sum(axis=0))
        if likelihood - last < tolerance * abs(likelihood):
            break
        last = likelihood
    order = np.argsort(scales)
    posterior, flows = posterior[..., order], flows[np.ix_(order, order)]
    variance = (posterior * square).sum(axis=(0, 1)) / posterior.sum(axis=(0, 1))
    volatility = np.sqrt(variance / (flows.sum(axis=1) @ variance))
    count = len(scales)
    parameters = count + count * (count + 1) // 2 - 1
    return RegimeFit(volatility, flows, posterior, parameters * math.log(returns.size) - 2.0 * likelihood)


def _forward_backward(density: Floats, flows: Floats) -> tuple[float, Floats, Floats]:
    """Return log-likelihood, posterior (session, step, M) and expected number of each transition (M, M) (Rabiner 1989)."""
    law = flows.sum(axis=1)
    transition = flows / law[:, None]
    steps = density.shape[1]
    forward, scale = np.empty_like(density), np.empty(density.shape[:2])
    backward = np.ones_like(density)
    for t in range(steps):
        now = (forward[:, t - 1] @ transition if t else law) * density[:, t]
        scale[:, t] = now.sum(axis=1)
        forward[:, t] = now / scale[:, t, None]
    scaled = density / scale[..., None]
    for t in range(steps - 2, -1, -1):
        backward[:, t] = (scaled[:, t + 1] * backward[:, t + 1]) @ transition.T
    pairs = transition * np.einsum("dti,dtj->ij", forward[:, :-1], scaled[:, 1:] * backward[:, 1:])
    return float(np.log(scale).sum()), forward * backward, pairs


def _reversible(pairs: Floats, first: Floats) -> Floats:
    """Return the maximum-likelihood flows of a stationary reversible chain (Bowman, Beauchamp, Boxer and Pande 2009).

    Run 20 steps of their fixed-point iteration.

    Args:
        pairs: Number of transitions from each regime (row) to each (column), shape (M, M).
        first: Number of sessions that start in each regime, draws from the stationary distribution, shape (M,).
    """
    both = pairs + pairs.T
    flows = both / both.sum()
    for _ in range(20):
        share = (pairs.sum(axis=1) - first) / flows.sum(axis=1)
        flows = both / (share[:, None] + share + 2.0 * first.sum())
        flows = flows / flows.sum()
    return np.asarray(flows)


def transition_rates(flows: Floats, steps_per_day: int) -> Floats:
    """Return rates per day Q with expm(Q / steps) = P: the logarithm of the transition matrix P of a reversible chain.

    A reversible P is similar to a symmetric matrix, so its logarithm is real if its eigenvalues are positive. Small negative
    rates of the logarithm are set to zero (Israel, Rosenthal and Wei 2001). If an eigenvalue is not positive, the rates are
    those of P - I.
    """
    root = np.sqrt(flows.sum(axis=1))
    values, vectors = np.linalg.eigh(flows / np.outer(root, root))
    positive = values.min() > 1e-6
    symmetric = (vectors * (np.log(values) if positive else values - 1.0)) @ vectors.T
    rates = np.clip(symmetric * root / root[:, None], 0.0, None) * steps_per_day
    np.fill_diagonal(rates, 0.0)
    return np.asarray(rates - np.diag(rates.sum(axis=1)))


def _square(values: Floats) -> Floats:
    return np.asarray(values * values)
