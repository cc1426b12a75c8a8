r"""Exact optimum of a lit market with linear impact beside a venue that fills everything with a probability, or nothing.

:func:`all_or_nothing`, for one regime without transient impact or concessions (Kratz and Schoeneborn 2014): J_k = c_k x^2 with

    B = (1 - p) (r + c_(k+1)),   c_k = eta B / (eta + B),   c_(N-1) = eta

and the order takes x B / (eta + B) and posts everything else.

:func:`solve_bernoulli`, with transient impact, concessions and regimes: controls n (lit) and y (posted), and with b = 1 where
the venue fills (probability p)

    z = n + b y,   x' = x - z,   D' = (D + kappa z) exp(-rho_m tau)

The value is a quadratic form in (x, D, 1) in each regime, and the trades are linear in them: a Riccati recursion for a Markov
jump linear system (Costa, Fragoso and Marques 2005) with one more, Bernoulli, factor. With transient impact the optimum does
not post everything. Trades of both signs are allowed; :attr:`Bernoulli.excess` says whether the limits of an order would bind.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.liquidity import AllOrNothing
from hyperexec_env.market.venue_path import VenueMarket

from .problem import build_problem, mode_slices

__all__ = ["Bernoulli", "all_or_nothing", "is_bernoulli", "solve_bernoulli"]

Floats = NDArray[np.float64]

_PATHS: Final = 20_000
"""Simulated paths on which the limits of an order are checked."""
_SIZE: Final = 5
"""Remaining shares, displacement, 1, lit request, posted request."""


def all_or_nothing(eta: float, risk: float, chance: float, slices: int) -> tuple[Floats, Floats]:
    """Return the optimum of Kratz and Schoeneborn: c_k, and the fraction of the remaining shares that takes, shape (slices,).

    Args:
        eta: Temporary impact, currency per squared share: a child of n shares costs eta n^2.
        risk: r, currency per squared remaining share and slice.
        chance: p, probability that a slice fills everything posted.
        slices: Number of slices N.
    """
    values, taken = np.full(slices, eta), np.ones(slices)
    for k in range(slices - 2, -1, -1):
        later = (1.0 - chance) * (risk + values[k + 1])
        values[k] = eta * later / (eta + later)
        taken[k] = later / (eta + later)
    return values, taken


class Bernoulli(NamedTuple):
    """Solution; shares are fractions of the order, displacements currency per share, values currency per share of the order."""

    forms: Floats
    """Value at the start of each slice as a form s'Fs of s = (x, D, 1), shape (slices, regimes, 3, 3)."""
    gains: Floats
    """Coefficients of (n, y) in s, shape (slices, regimes, 2, 3)."""
    excess: float
    """Largest amount by which a simulated trade leaves 0 <= n, 0 <= y, n + y <= x; 0 if the optimum is that of an order."""

    @property
    def values(self) -> Floats:
        """Optimal objective by the regime of the first slice, currency per share of the order, shape (regimes,)."""
        start = np.array([1.0, 0.0, 1.0])
        return np.asarray(np.einsum("mij,i,j->m", self.forms[0], start, start))


def is_bernoulli(market: VenueMarket) -> bool:
    """Return whether the control problem is linear-quadratic: linear impact, equal lit terms, one all-or-nothing venue."""
    hidden = market.scenario.hidden
    return (
        market.market.impact.beta == 1.0
        and market.scenario.equal_terms
        and len(hidden) == 1
        and isinstance(hidden[0].law, AllOrNothing)
    )


def _forms(market: VenueMarket, k: int, later: Floats) -> tuple[Floats, float]:
    """Return the expected value of slice `k` as forms in (x, D, 1, n, y), shape (regimes, 5, 5), and the probability p.

    `later` are the forms of the next slice in its regime, shape (regimes, 3, 3).
    """
    whole, scenario = market.market, market.scenario
    problem = build_problem(whole)
    slice, quantity = mode_slices(problem, k), scenario.market.quantity
    chance = scenario.hidden[0].law.found
    following = np.einsum("mn,nij->mij", problem.transition, later)
    kappa = whole.impact.transient_slope * quantity
    unit = np.eye(_SIZE)

    def product(a: Any, b: Any) -> Floats:
        return 0.5 * (np.outer(a, b) + np.outer(b, a))

    made = np.zeros((whole.regimes, _SIZE, _SIZE))
    for m in range(whole.regimes):
        eta = float(market.scale[0, m] / (slice.volume[m, 0] * market.depth)) * quantity
        risk, decay = float(slice.risk[m, 0]) * quantity, float(whole.transient_decay[m])
        lit, dark = float(market.q[0, m]), float(market.q[market.lit, m])
        for filled, weight in ((0.0, 1.0 - chance), (1.0, chance)):
            x, displaced, one, n, y = unit
            z = n + filled * y
            after = np.stack([x - z, decay * (displaced + kappa * z), one])
            form = product(z, displaced + 0.5 * kappa * z) + eta * product(n, n) + lit * product(n, one)
            form = form + filled * dark * product(y, one) + risk * product(x - z, x - z) + after.T @ following[m] @ after
            made[m] += weight * form
    return made, chance


def _completion(market: VenueMarket, k: int) -> Floats:
    """Return the value of the last slice, which completes the order, as forms in (x, D, 1), shape (regimes, 3, 3)."""
    nothing = np.zeros((market.market.regimes, 3, 3))
    forms, _ = _forms(market, k, nothing)
    everything = np.zeros((_SIZE, 3))  # n = x, y = 0
    everything[[0, 1, 2], [0, 1, 2]], everything[3, 0] = 1.0, 1.0
    return np.asarray(np.einsum("ai,mab,bj->mij", everything, forms, everything))


def solve_bernoulli(market: VenueMarket) -> Bernoulli:
    """Solve the Bernoulli Riccati recursion of a market.

    Raises:
        ValueError: The market is not linear-quadratic (:func:`is_bernoulli`), or its objective is not convex in the trades.
    """
    if not is_bernoulli(market):
        raise ValueError(
            f"scenario {market.scenario.name!r} must have temp_impact_beta 1, lit venues of equal terms and one venue that is "
            "all or nothing"
        )
    slices, regimes = market.slices, market.market.regimes
    forms, gains = np.zeros((slices, regimes, 3, 3)), np.zeros((slices, regimes, 2, 3))
    forms[-1], gains[-1, :, 0, 0] = _completion(market, slices - 1), 1.0
    for k in range(slices - 2, -1, -1):
        total, chance = _forms(market, k, forms[k + 1])
        controls = [3, 4] if chance > 0.0 else [3]
        for m, form in enumerate(total):
            curvature = form[np.ix_(controls, controls)]
            if not np.linalg.eigvalsh(curvature)[0] > 1e-13 * np.abs(form).max():
                raise ValueError(
                    f"scenario {market.scenario.name!r} must have an impact or a risk that makes it convex, got none"
                )
            gains[k, m, : len(controls)] = -np.linalg.solve(curvature, form[controls, :3])
            closed = np.concatenate([np.eye(3), gains[k, m]])
            forms[k, m] = closed.T @ form @ closed
    return Bernoulli(forms, gains, _excess(market, gains))


def _excess(market: VenueMarket, gains: Floats) -> float:
    """Return :attr:`Bernoulli.excess`."""
    rng, whole = np.random.default_rng(0), market.market
    regimes = market.scenario.regimes
    law, moves = regimes.start_law(), regimes.transition(whole.tau).cumsum(axis=1)
    regime = rng.choice(whole.regimes, size=_PATHS, p=law)
    chance = market.scenario.hidden[0].law.found
    kappa = whole.impact.transient_slope * market.scenario.market.quantity
    state = np.stack([np.ones(_PATHS), np.zeros(_PATHS), np.ones(_PATHS)])
    worst = 0.0
    for gain in gains[:-1]:
        n, y = np.einsum("pus,sp->up", gain[regime], state)
        out = np.maximum.reduce([-n, -y, n + y - state[0], np.zeros(_PATHS)])
        worst = max(worst, float(out.max()))
        z = n + (rng.random(_PATHS) < chance) * y
        decay = whole.transient_decay[regime]
        state = np.stack([state[0] - z, decay * (state[1] + kappa * z), np.ones(_PATHS)])
        regime = np.minimum((rng.random(_PATHS)[:, None] >= moves[regime]).sum(axis=1), whole.regimes - 1)
    return worst if worst > 1e-9 and math.isfinite(worst) else 0.0
