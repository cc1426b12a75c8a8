"""Calibration: estimate a scenario from sessions of bars, and record the provenance of each parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.bars import BarReport, Sessions
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.volume import slice_profile

__all__ = ["Calibration", "RegimeFit", "calibrate", "fit_regimes"]

Floats = NDArray[np.float64]

SLICE_MINUTES: Final = 15
"""Length of the volume bins and of the returns of the regime model: the slice length of the default order."""
RETURN_MINUTES: Final = 5
"""Length of the returns that estimate volatility: short for a large sample, long enough to avoid bid-ask bounce."""
TAIL: Final = 10.0
"""Degrees of freedom of returns within a regime, close to the maximum-likelihood value for SPY and for single stocks."""
PRIOR: Final = 0.5
"""Pseudo-count added to each transition between regimes, so that every regime can be entered and left."""
NAMES: Final = ("SIDEWAYS_LOW", "SIDEWAYS_HIGH", "CRISIS")
"""Regimes by ascending volatility."""


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


@dataclass(frozen=True)
class Calibration:
    """A calibrated scenario and the summary of its bars; ``print`` shows both as text."""

    scenario: Scenario
    bars: BarReport

    @property
    def half_hours(self) -> tuple[float, ...]:
        """Share of the daily volume in each half-hour."""
        day = self.scenario.day_minutes
        return tuple(slice_profile(self.scenario.volume_curve, math.ceil(day / 30.0), 0.0, day, day).tolist())

    @property
    def volatilities(self) -> dict[str, float]:
        """Volatility of each regime, fraction per square root of a day."""
        regimes = self.scenario.regimes
        return {name: self.scenario.volatility * scale for name, scale in zip(regimes.names, regimes.volatility, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "scenario": self.scenario.to_dict(),
            "bars": self.bars.to_dict(),
            "half_hours": list(self.half_hours),
            "regime_volatilities": self.volatilities,
            "regime_law": self.scenario.regimes.stationary().tolist(),
        }

    def __str__(self) -> str:
        """Return the calibration as text."""
        scenario, shares = self.scenario, self.half_hours
        lines = [
            str(self.bars),
            f"average daily volume {scenario.adv:,.0f}, volatility {scenario.volatility:.2%} a day",
            f"volume by half-hours: first {shares[0]:.1%}, lowest {min(shares):.1%}, last {shares[-1]:.1%}",
        ]
        regimes = scenario.regimes
        table = zip(self.volatilities.items(), regimes.stationary(), regimes.volume, np.diag(regimes.rates), strict=True)
        for (name, volatility), share, volume, leave in table:
            stay = f", stays {-scenario.day_minutes / leave:.0f} minutes" if leave else ""
            lines.append(
                f"regime {name}: volatility {volatility:.2%} a day, {share:.0%} of the time, volume x {volume:.2f}{stay}"
            )
        return "\n".join(lines)


def calibrate(sessions: Sessions, name: str = "calibrated", *, volume_level: bool = False, **order: Any) -> Scenario:
    """Return a scenario calibrated to sessions of bars.

    The default order is 4 % of the average daily volume at the last close, over the whole day in slices of 15 minutes, with a
    risk aversion of 2 / notional. Parameters that bars do not identify keep the defaults of :class:`Scenario`; the provenance
    gives the source of each field.

    Args:
        sessions: At least two sessions from :func:`hyperexec_env.data.bars.read_sessions`.
        name: Name of the scenario.
        volume_level: Whether the scenario has the measured variation of the daily volume (`volume_level_sd`); by default the
            volume varies within the day only.
        **order: Fields that override the calibrated or default values, such as ``quantity`` or ``side``; None is ignored.

    Raises:
        ValueError: There are fewer than two sessions, prices are constant, or a value in `order` is invalid.
    """
    order = {key: value for key, value in order.items() if value is not None}
    if len(sessions.dates) < 2:
        raise ValueError(f"calibration needs at least two full sessions, got {len(sessions.dates)}")
    variance = _square(_returns(sessions, RETURN_MINUTES))
    if not variance.sum() > 0.0:
        raise ValueError("the prices of the bars do not move: volatility cannot be calibrated")
    volume = _binned(sessions.volume, SLICE_MINUTES // sessions.bar_minutes)
    adv = float(volume.sum(axis=1).mean())
    curve = (volume / volume.sum(axis=1, keepdims=True)).mean(axis=0)
    fit = _choose_regimes(sessions)
    relative = volume / (adv * curve)
    volume_scale = _regime_volume(relative, fit)
    noise, level = _volume_noise(relative, fit.posterior @ np.log(volume_scale))
    quantity = max(1.0, float(round(0.04 * adv)))
    price = float(sessions.close[-1, -1])
    files = ", ".join(Path(file).name for file in sessions.report.files)
    measured: dict[str, Any] = {
        "name": name,
        "description": f"calibrated from {len(sessions.dates)} sessions, {sessions.dates[0]} to {sessions.dates[-1]}",
        "quantity": quantity,
        "arrival_price": price,
        "horizon_minutes": float(sessions.day_minutes),
        "slices": sessions.day_minutes // SLICE_MINUTES,
        "day_minutes": float(sessions.day_minutes),
        "adv": _digits(adv),
        "volatility": _digits(math.sqrt(variance.sum(axis=1).mean())),
        "volume_curve": tuple(_digits(share) for share in curve),
        "volume_noise": _digits(noise),
        "regimes": _regimes(fit, volume_scale, sessions.day_minutes // SLICE_MINUTES),
    }
    if volume_level:
        measured["volume_level_sd"] = _digits(level)
    values = {**measured, **order}
    if "risk_aversion" not in order:
        draft = Scenario.from_dict(values)
        values["risk_aversion"] = _digits(2.0 / draft.notional)
    return Scenario.from_dict({**values, "provenance": _provenance(files, sessions, level, volume_level, order)})


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


def _em(returns: Floats, scales: Floats, flows: Floats, rounds: int = 500, tolerance: float = 1e-7) -> RegimeFit:
    """Maximise the likelihood by EM, starting from given squared scales and flows; converges to a local maximum."""
    square = _square(returns)[..., None]
    constant = math.lgamma((TAIL + 1.0) / 2.0) - math.lgamma(TAIL / 2.0) - 0.5 * math.log(TAIL * math.pi)
    last = -math.inf
    for _ in range(rounds):
        ratio = square / scales
        density = np.exp(constant - 0.5 * (TAIL + 1.0) * np.log1p(ratio / TAIL)) / np.sqrt(scales) + 1e-300
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


def _choose_regimes(sessions: Sessions) -> RegimeFit:
    """Return the fit with one, two or three regimes that has the lowest BIC."""
    pattern = _binned(np.abs(_returns(sessions, RETURN_MINUTES)), SLICE_MINUTES // RETURN_MINUTES).mean(axis=0)
    pattern = np.maximum(pattern, 0.05 * pattern.mean())
    returns = _returns(sessions, SLICE_MINUTES) / pattern
    if not np.abs(returns).sum() > 0.0:
        raise ValueError(f"the prices of the bars do not move in {SLICE_MINUTES} minutes: regimes cannot be calibrated")
    return min((fit_regimes(returns, count) for count in range(1, len(NAMES) + 1)), key=lambda fit: fit.bic)


def _regime_volume(relative: Floats, fit: RegimeFit) -> Floats:
    """Return the relative volume of each regime, scaled to a stationary mean of one, shape (M,).

    Given the returns, the expected volume is linear in the posterior, so least squares on the posterior is unbiased; a
    posterior-weighted mean would be biased towards equal volumes.
    """
    posterior = fit.posterior.reshape(-1, len(fit.law))
    volume = np.maximum(np.linalg.lstsq(posterior, relative.ravel(), rcond=None)[0], 0.1)
    return np.asarray(volume / (fit.law @ volume))


def _volume_noise(relative: Floats, regime: Floats) -> tuple[float, float]:
    """Return the sd of the log volume within a day, and the sd of its daily level (two-way analysis of variance)."""
    days, bins = relative.shape
    residual = np.log(np.maximum(relative, 1e-6)) - regime
    level = residual.mean(axis=1, keepdims=True)
    residual = residual - level - residual.mean(axis=0) + residual.mean()
    return math.sqrt(_square(residual).sum() / ((days - 1) * (bins - 1))), float(level.std(ddof=1))


def _regimes(fit: RegimeFit, volume: Floats, steps_per_day: int) -> Regimes:
    """Return the regimes of a fit, with the rates of the continuous-time chain."""
    rates = np.array([[_digits(rate) for rate in row] for row in _rates(fit.flows, steps_per_day)])
    np.fill_diagonal(rates, 0.0)
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return Regimes(
        names=NAMES[: len(volume)],
        volatility=tuple(map(_digits, fit.volatility)),
        volume=tuple(map(_digits, volume)),
        rates=tuple(tuple(row) for row in rates.tolist()),
    )


def _rates(flows: Floats, steps_per_day: int) -> Floats:
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


def _returns(sessions: Sessions, minutes: int) -> Floats:
    """Return log returns within each session, the first from the opening price, shape (session, day_minutes / minutes)."""
    step = minutes // sessions.bar_minutes
    price = np.concatenate([sessions.open[:, :1], sessions.close[:, step - 1 :: step]], axis=1)
    return np.diff(np.log(price), axis=1)


def _binned(values: Floats, count: int) -> Floats:
    """Return the sums of `count` consecutive values along the last axis."""
    return np.asarray(values.reshape(len(values), -1, count).sum(axis=2))


def _square(values: Floats) -> Floats:
    return np.asarray(values * values)


def _digits(value: float) -> float:
    """Return a value rounded to six significant digits, for readable files."""
    return float(f"{value:.6g}")


def _provenance(files: str, sessions: Sessions, level: float, has_level: bool, given: Iterable[str]) -> dict[str, str]:
    """Return the provenance of each field of the scenario."""
    source = f"{len(sessions.dates)} sessions {sessions.dates[0]} to {sessions.dates[-1]} of {files}"
    measured = {
        "adv": f"mean daily volume of {source}",
        "volatility": f"root of the mean realised variance of {RETURN_MINUTES}-minute returns, open to close, {source}; "
        "overnight moves are excluded",
        "volume_curve": f"mean share of the day in each {SLICE_MINUTES} minutes, {source}",
        "volume_noise": f"sd of the log volume of {SLICE_MINUTES} minutes around curve, daily level and regime as far as "
        f"returns identify it, {source}; the variation of the daily level (sd of the log {level:.2f}) is excluded",
        "volume_level_sd": f"sd of the log of the daily level of the volume around the mean of the sample, {source}"
        if has_level
        else f"default: the variation of the daily level (sd of the log {level:.2f}) is not requested (volume_level)",
        "regimes": f"hidden Markov model of {SLICE_MINUTES}-minute returns over their usual size at that time of day "
        "(Student distribution, stationary reversible chain, EM; number of regimes by BIC), "
        f"{source}; rates are the logarithm of the transition matrix; volatility (root mean square) and volume (least squares) "
        "of each regime are normalised over the stationary distribution; spread, temporary, resilience and drift are defaults",
        "quantity": "4 % of the average daily volume",
        "arrival_price": f"last close, {sessions.dates[-1]}",
        "horizon_minutes": "the whole day",
        "slices": f"slices of {SLICE_MINUTES} minutes",
        "risk_aversion": "2 / arrival notional",
        "day_minutes": "session length with which the bars were read",
    }
    plain = {item.name: "default: bars do not identify it" for item in fields(Scenario)}
    choices = ("side", "start_minute", "max_participation", "complete", "price_model")
    plain |= dict.fromkeys(choices, "default: a choice, not a measurement")
    plain |= measured | dict.fromkeys(given, "given")
    return {name: text for name, text in plain.items() if name not in ("name", "description", "provenance")}
