r"""Conjugate update of the impact of a scenario by a desk's own orders: the prior enters, and the posterior is a prior again.

With the notation of :mod:`~hyperexec_env.data.temporary`, theta = (alpha, gamma, kappa) and the scenario's exponent, recovery,
spread and volatility, each order gives two linear equations with normal errors:

.. math::
    J - c &= \alpha \sigma v^\beta + \gamma q / 2 + \kappa q \varphi + e_J, \\
    I &= \gamma q + \kappa q \psi + e_I, \qquad \mathrm{Cov}(e_J, e_I) = \sigma^2 D / 2.

The posterior mean and covariance of theta are those of the normal law (Lindley and Smith 1972), and orders in two batches give
those of all at once. Draws of the posterior have this mean and covariance exactly, and are positive.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.posterior import Posterior
from hyperexec_env.market.prior import Moments, impact_prior, typical_participation
from hyperexec_env.market.scenario import Scenario

from .temporary import AFTER_SECONDS, KnownImpact, Orders, linear_parts

__all__ = ["NAMES", "Evidence", "evidence_of", "learned_scenario", "positive_draws", "updated"]

Floats = NDArray[np.float64]

NAMES: Final = ("alpha", "gamma", "kappa")
"""Temporary, permanent and transient impact."""
_DRAWS: Final = 100
"""Number of draws of a scenario whose prior has none."""
_SEED: Final = 20_050
_TRIES: Final = 1_000
_SAMPLE: Final = 200_000
"""Size of the sample that gives the moments of a law without its negative part."""
_FAR: Final = 1.0
"""Mean over standard deviation below which a law is replaced by its positive part."""


class Evidence(NamedTuple):
    """What orders say of theta: the normal equation A theta = b, by the precision of each equation."""

    matrix: Floats
    """A, shape (3, 3)."""
    vector: Floats
    """b, shape (3,)."""
    squares: float
    """Sum of the squared observations by their precision."""
    equations: int
    """Number of equations: one or two for each order."""

    def scale(self, mean: Floats) -> float:
        """Return the root mean square of the residuals at a theta over their size by the volatility."""
        rest = self.squares - 2.0 * float(self.vector @ mean) + float(mean @ self.matrix @ mean)
        return math.sqrt(max(rest, 0.0) / self.equations)


def evidence_of(orders: Orders, scenario: Scenario) -> Evidence:
    """Return what orders say of the impact of a scenario, each order independent of the others given theta.

    Raises:
        ValueError: The volatility of the scenario is 0, or there is no order.
    """
    if not len(orders.cost):
        left = "; ".join(f"{count:,} left out: {reason}" for reason, count in orders.left_out.items())
        raise ValueError(f"fills: no order can be compared with the market{f' ({left})' if left else ''}")
    if not scenario.volatility > 0.0:
        raise ValueError(
            f"volatility of the prior must be above 0, which is the error of the fills, got {scenario.volatility:g}"
        )
    known = _known(scenario)
    q, span, paid, kept = linear_parts(orders, known)
    sigma, after = scenario.volatility, AFTER_SECONDS / (60.0 * scenario.day_minutes)
    zero = np.zeros_like(q)
    power = sigma * orders.participation**scenario.temp_impact_beta
    x = np.stack([np.stack([power, 0.5 * q, q * paid], axis=1), np.stack([zero, q, q * kept], axis=1)], axis=1)
    y = np.stack([orders.cost - 1e-4 * scenario.half_spread_bps, np.nan_to_num(orders.move)], axis=1)
    own = span * (2.0 * orders.moments - 1.0) / (6.0 * orders.moments)
    variance = sigma**2 * np.stack([own, 0.5 * span, 0.5 * span, span + after], axis=1).reshape(-1, 2, 2)
    precision = np.linalg.inv(variance)
    alone = ~np.isfinite(orders.move)  # the session ends before the price after the order is known
    precision[alone] = 0.0
    precision[alone, 0, 0] = 1.0 / variance[alone, 0, 0]
    weighted = np.einsum("nij,njk->nik", precision, x)
    return Evidence(
        np.einsum("nij,nik->jk", x, weighted),
        np.einsum("nij,ni->j", weighted, y),
        float(np.einsum("ni,nij,nj->", y, precision, y)),
        int(2 * len(q) - alone.sum()),
    )


def _known(scenario: Scenario) -> KnownImpact:
    """Return the numbers of a scenario that orders do not change."""
    return KnownImpact(
        volatility=scenario.volatility,
        half_spread_bps=scenario.half_spread_bps,
        kyle_lambda=scenario.kyle_lambda,
        gamma=scenario.perm_impact_gamma,
        resilience=scenario.resilience,
        adv=scenario.adv,
        day_minutes=scenario.day_minutes,
        is_measured=True,
    )


def updated(prior: Moments, evidence: Evidence) -> Moments:
    """Return mean and covariance of theta after evidence; a covariance without an inverse holds what is known exactly."""
    gain = prior.covariance @ np.linalg.inv(np.eye(len(NAMES)) + evidence.matrix @ prior.covariance)
    mean = prior.mean + gain @ (evidence.vector - evidence.matrix @ prior.mean)
    return Moments(mean, 0.5 * (gain + gain.T), prior.source)


def positive_part(law: Moments) -> tuple[Moments, tuple[str, ...]]:
    """Return the moments of a law, given that theta is positive, where a mean is less than one standard deviation above 0.

    Returns:
        The moments, and the names for which the negative part matters; without such a name the law is unchanged.
    """
    error = np.sqrt(np.diag(law.covariance))
    near = tuple(name for name, mean, sd in zip(NAMES, law.mean, error, strict=True) if sd > 0.0 and mean < _FAR * sd)
    if not near:
        return law, near
    rng = np.random.default_rng(_SEED)
    sample = law.mean + rng.standard_normal((_SAMPLE, len(NAMES))) @ _root(law.covariance).T
    kept = sample[(sample[:, error > 0.0] > 0.0).all(axis=1)]
    if len(kept) < len(NAMES) * 100:
        raise ValueError(
            f"the orders contradict the prior: {', '.join(near)} would be negative (mean {law.mean.round(4).tolist()} and "
            f"standard deviation {error.round(4).tolist()} of {', '.join(NAMES)}); check side, prices and market of the fills"
        )
    covariance = np.cov(kept.T)
    covariance[error == 0.0] = covariance[:, error == 0.0] = 0.0
    return Moments(kept.mean(axis=0), covariance, law.source), near


def positive_draws(law: Moments, count: int) -> Floats:
    """Return positive draws with exactly the mean and the covariance of a law, shape (count, n).

    The draws are lognormal, and then moved by the linear map nearest to the identity that makes the moments exact.

    Raises:
        ValueError: No such draws are found: the number of draws is too small for the errors.
    """
    wide = np.flatnonzero(np.diag(law.covariance) > 0.0)
    draws = np.tile(law.mean, (count, 1))
    if not len(wide):
        return draws
    mean, covariance = law.mean[wide], law.covariance[np.ix_(wide, wide)]
    logs = np.log1p(np.maximum(covariance / np.outer(mean, mean), -0.99))
    scale, target = _root(logs), _root(covariance)
    for seed in range(_TRIES):
        rng = np.random.default_rng([_SEED, seed])
        sample = np.exp(np.log(mean) - 0.5 * np.diag(logs) + rng.standard_normal((count, len(wide))) @ scale.T)
        away = sample - sample.mean(axis=0)
        moved = mean + away @ np.linalg.pinv(_root(np.atleast_2d(np.cov(away.T)))) @ target
        if (moved > 0.0).all():
            draws[:, wide] = moved
            return draws
    raise ValueError(f"{count} draws with these errors cannot all be positive; give the prior a [posterior] of more draws")


def _root(matrix: Floats) -> Floats:
    """Return the symmetric root of a covariance; rounding below zero counts as zero."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)


def learned_scenario(
    prior: Scenario, orders: Orders, impact_sd: float | None = None, name: str = ""
) -> tuple[Scenario, Moments, Moments, Evidence]:
    """Return the scenario after orders, the moments of theta before and after, and the evidence.

    The exponent of the temporary impact is that of the prior; where the prior has draws of it, a draw's alpha has the learned
    cost at the participation of the scenario's order. Draws of other fields stay as they are.

    Args:
        prior: The scenario before.
        orders: The orders.
        impact_sd: Standard deviation of impact over its mean; None: that of the prior's draws, 0.5 without.
        name: Name of the scenario after (default: that of the prior).

    Raises:
        ValueError: See :func:`evidence_of` and :func:`positive_draws`.
    """
    before, evidence = impact_prior(prior, NAMES, impact_sd), evidence_of(orders, prior)
    after, near = positive_part(updated(before, evidence))
    known = {} if prior.posterior is None else prior.posterior.to_dict()
    count = len(prior.posterior) if prior.posterior else _DRAWS
    alpha, gamma, kappa = positive_draws(after, count).T
    sigma: Any = np.array(known.get("volatility", [prior.volatility] * count))
    betas = np.array(known.get("temp_impact_beta", [prior.temp_impact_beta] * count))
    drawn = {"temp_impact_alpha": alpha * typical_participation(prior) ** (prior.temp_impact_beta - betas)}
    values: dict[str, Any] = {"temp_impact_alpha": float(after.mean[0])}
    for number, multiple, column, value in (
        ("kyle_lambda", "kyle_multiple", gamma + kappa, float(after.mean[1] + after.mean[2])),
        ("perm_impact_gamma", "perm_impact_multiple", gamma, float(after.mean[1])),
    ):
        by_volatility = getattr(prior, multiple) is not None
        drawn[multiple if by_volatility else number] = column / sigma if by_volatility else column
        values[multiple if by_volatility else number] = value / prior.volatility if by_volatility else value
    kept = {name: column for name, column in known.items() if name not in drawn}
    spread = {name: column.tolist() for name, column in drawn.items() if np.ptp(column) > 0.0}
    texts = _texts(prior, orders, before, after, near)
    texts = {**prior.provenance, **texts}
    posterior = Posterior.of({**kept, **spread}) if kept or spread else None
    made = replace(prior, name=name or prior.name, **values, posterior=posterior, provenance=texts)
    return made, before, after, evidence


def _texts(prior: Scenario, orders: Orders, before: Moments, after: Moments, near: tuple[str, ...]) -> dict[str, str]:
    """Return the provenance of the fields that were learned."""
    source = (
        f"{len(orders.cost):,} own orders of {len(np.unique(orders.day))} sessions on the prior {prior.name} ({prior.hash})"
    )
    texts = {}
    for field, at in (("temp_impact_alpha", [0]), ("perm_impact_gamma", [1]), ("kyle_lambda", [1, 2])):
        (was, error_before), (_, error) = (
            (float(law.mean[at].sum()), math.sqrt(max(float(law.covariance[np.ix_(at, at)].sum()), 0.0)))
            for law in (before, after)
        )
        texts[field] = f"{source}; standard deviation {error:.2g}, before {was:.3g} with {error_before:.2g}"
    cut = f"; {', '.join(near)}: the positive part of the law" if near else ""
    return {**texts, "posterior": f"{source}; prior: {before.source}{cut}; other fields as before"}
