r"""The evidence of a slice on its hidden regime, and the exact filter of the regimes along whole paths.

Without the regime a trader sees the volume V_k, the unaffected price S_k and the order flow u_k of each slice. In regime m

    log(V_k / E[V_k | m]) + s^2 / 2                   ~ N(0, s^2)
    r_k - mu_m tau - s_m R u_k                        ~ N(0, (1 - R^2) s_m^2)      r_k the return of slice k

and the flow itself says nothing about the regime, so that the probabilities q_k of the regime of slice k - 1, given everything
before slice k, follow from Bayes' rule and the transition matrix P (Hamilton 1989).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.belief import log_likelihood, move_regimes, weigh_regimes
from hyperexec_env.market.path import Path
from hyperexec_env.market.tables import Market

__all__ = ["follow_regimes", "regime_evidence", "unfiltered"]

Floats = NDArray[np.float64]

_LEAST_VARIANCE: Final = 1e-12
"""Variance of evidence that has no error: it tells the regime."""


def unfiltered(market: Market) -> str:
    """Return what a market must not have for the filter of its regimes to be exact; the empty string if it has none of it."""
    if market.scenario.unknown or market.numbers.spec.volume_persistence:
        return f"a scenario without unknowns and without persistent volume, got {market.scenario.name}"
    return ""


def regime_evidence(market: Market, k: int, volume: Floats, before: Floats, price: Floats, flow: Floats) -> Floats:
    """Return the log-likelihood of slice `k` in each regime, shape (episodes, regimes).

    Args:
        market: The market.
        k: Slice.
        volume: Market volume of the slice, shares, shape (episodes,).
        before: Unaffected price at the start of the slice, currency per share, same shape.
        price: Unaffected price at its end.
        flow: Order flow of the slice, standard deviations.
    """
    numbers, count = market.numbers, market.regimes
    noise = numbers.volume_noise**2
    ratio = np.log(volume[:, None] / market.mean_volume[k, :count]) + 0.5 * noise
    total = log_likelihood(ratio, 0.0, max(noise, _LEAST_VARIANCE))
    step = market.step_volatility[k]
    if not step.all():
        return np.asarray(total)
    if numbers.spec.geometric:
        persistence = numbers.spec.flow_persistence
        own = 0.5 * step**2 * (1.0 - numbers.flow_share * persistence**2)
        earned = np.log(price / before)[:, None] + own
    else:
        earned = ((price - before) / numbers.arrival_price)[:, None]
    news = earned - market.step_drift - numbers.by_flow * step * flow[:, None]
    return np.asarray(total + log_likelihood(news, 0.0, np.maximum((numbers.by_news * step) ** 2, _LEAST_VARIANCE)))


def follow_regimes(market: Market, path: Path) -> tuple[Floats, Floats]:
    """Return what the filter says along paths, two arrays of shape (slices, episodes, regimes).

    Args:
        market: The market.
        path: Its paths.

    Returns:
        Probabilities of the regime of each slice given everything before the slice, and given the slice too.
    """
    world, transition = path.world, market.scenario.regimes.transition(market.tau)
    coming = np.broadcast_to(market.scenario.regimes.start_law(), (len(path.keys), market.regimes))
    before, after = [], []
    for k in range(market.slices):
        shown = regime_evidence(market, k, path.slices.volume[k], world.price[k], world.price[k + 1], world.flow[k + 1])
        before.append(coming)
        after.append(weigh_regimes(coming, shown))
        coming = move_regimes(after[-1], transition)
    return np.array(before), np.array(after)
