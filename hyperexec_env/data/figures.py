"""Figures that bars determine, and their standard errors by a block bootstrap over sessions."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.library import U_CURVE

from .blocks import resampled_days
from .regime_fit import RegimeFit, fit_regimes, refit, transition_rates
from .sessions import Sessions

__all__ = [
    "Figures",
    "Samples",
    "estimate",
    "price_columns",
    "return_parts",
    "samples_of",
    "standard_errors",
]

Floats = NDArray[np.float64]

SLICE_MINUTES: Final = 15
"""Length of the slices of the default order, the volume bins and the returns of the regimes; longer for longer bars."""
RETURN_MINUTES: Final = 5
"""Length of the returns that estimate volatility: short for a large sample, long enough to avoid bid-ask bounce."""
MOST_REGIMES: Final = 3
"""Largest number of regimes that are tried."""
REPLICATES: Final = 50
"""Number of resamples of the bootstrap; a standard error is then known to 10 %."""
_MOST_PERSISTENT: Final = 0.99
SEED: Final = 20_260_101
"""Seed of the resamples, so that a calibration is repeatable."""


class Samples(NamedTuple):
    """What the figures are computed from; the arrays have one row per session, so that sessions can be resampled."""

    variance: Floats
    """Variance of each session, open to close, shape (session,)."""
    volume: Floats
    """Volume of each slice, shares, shape (session, slice); of the day, shape (session, 1), for daily bars."""
    moves: Floats
    """Absolute returns of :data:`RETURN_MINUTES` summed over a slice, shape (session, slice): the usual size of returns."""
    squares: Floats
    """Realised variance of each slice, from returns of :data:`RETURN_MINUTES`, shape (session, slice)."""
    returns: Floats
    """Log return of each slice, shape (session, slice)."""
    slices: int
    slice_minutes: float
    variance_of: str
    """What the variance is, for the provenance."""
    has_volume: bool

    @property
    def is_daily(self) -> bool:
        """Whether the bars are days."""
        return len(self.volume[0]) != self.slices

    def of_sessions(self, chosen: NDArray[np.int64]) -> Samples:
        """Return the samples of some sessions."""
        rows = {name: getattr(self, name)[chosen] for name in ("variance", "volume", "moves", "squares", "returns")}
        return self._replace(**rows)


class Memory(NamedTuple):
    """AR(1) of the log volume of a slice around level, curve and regime."""

    persistence: float
    noise: float
    """Stationary sd."""


class Figures(NamedTuple):
    """Estimates."""

    adv: float
    """Mean daily volume, shares."""
    volatility: float
    """Root of the mean variance, fraction per square root of a day."""
    curve: Floats
    """Share of the daily volume in each slice, shape (slice,)."""
    volume_noise: float | None
    """Sd of the log volume of a slice around level and curve, if it has no memory; None where bars do not identify it."""
    volume_persistence: float
    """AR(1) coefficient of that log volume from slice to slice; 0 where bars do not identify it."""
    persistent_noise: float
    """Stationary sd of that AR(1); 0 where bars do not identify it."""
    volume_level: float
    """Sd of the log of the daily level of volume."""
    fit: RegimeFit | None
    """Regimes; None where bars do not identify them."""
    regime_volume: Floats
    """Relative volume of each regime, shape (regime,)."""
    volatility_curve: Floats
    """Volatility of each slice over that of the day, with mean square one, shape (slice,)."""
    curve_weight: float
    """Weight of the measured variances in that curve, 0 to 1; the rest of it is flat."""
    usual_size: Floats
    """Usual size of the return of each slice, over which the regimes were fitted, shape (slice,): the mean absolute move,
    scaled such that returns over it have mean square one."""


def samples_of(sessions: Sessions) -> Samples:
    """Return the samples of sessions.

    Raises:
        ValueError: The prices do not move.
    """
    step, length = sessions.bar_minutes, sessions.day_minutes
    slices = _slices(step, length)
    if step == 1440:
        variance = _range_variance(sessions)
        nothing = np.zeros((len(variance), 1))
        volume, moves, squares, returns = sessions.volume, nothing, nothing, nothing
        text = "variance of open, high, low and close of a day (Rogers and Satchell 1991)"
    else:
        minutes = return_parts(step, length)
        short = np.diff(np.log(_prices(sessions, minutes)), axis=1)
        variance = _square(short).sum(axis=1)
        volume = _binned(sessions, slices)
        moves, squares = _folded(np.abs(short), slices), _folded(_square(short), slices)
        returns = np.diff(np.log(_prices(sessions, slices)), axis=1)
        text = f"realised variance of {length / minutes:g}-minute returns, open to close"
    if not variance.sum() > 0.0:
        raise ValueError("the prices of the bars do not move: volatility cannot be calibrated")
    return Samples(variance, volume, moves, squares, returns, slices, length / slices, text, sessions.has_volume)


def return_parts(step: int, length: int) -> int:
    """Return the number of returns of a day: each of :data:`RETURN_MINUTES`, or of the whole bars next above it.

    Args:
        step: Length of a bar, minutes.
        length: Length of a session, minutes.
    """
    return max(1, round(length / (step * math.ceil(RETURN_MINUTES / step))))


def _slices(step: int, length: int) -> int:
    """Return the number of slices of a day: of whole bars and about :data:`SLICE_MINUTES` long, if the day has such parts.

    Args:
        step: Length of a bar, minutes.
        length: Length of a session, minutes.
    """
    if step == 1440:
        return len(U_CURVE)
    wanted = max(SLICE_MINUTES, step)
    whole = [size for size in range(step, 2 * wanted + 1, step) if length % size == 0]
    best = min(whole, key=lambda size: abs(math.log(size / wanted)), default=0)
    return length // best if best else max(1, round(length / wanted))


def estimate(samples: Samples, start: Figures | None = None, *, most_regimes: int = MOST_REGIMES) -> Figures:
    """Return the figures of some sessions.

    Args:
        samples: The samples.
        start: Figures whose number of regimes is kept, and from which the fit of the regimes starts; None: choose the number
            by the Bayesian information criterion (Schwarz 1978).
        most_regimes: Largest number of regimes that are tried where no figures are given to start from.

    Raises:
        ValueError: The prices do not move.
    """
    volatility = math.sqrt(samples.variance.mean())
    day = samples.volume.sum(axis=1)
    adv = float(day.mean())
    if samples.is_daily:
        curve = np.array(U_CURVE) / sum(U_CURVE)
        level = float(np.log(np.maximum(day, 1.0)).std(ddof=1)) if samples.has_volume else 0.0
        return Figures(adv, volatility, curve, None, 0.0, 0.0, level, None, np.ones(1), np.ones(1), 0.0, np.ones(1))
    returns, size = _standardised(samples)
    fit, (shape, weight) = _fit(returns, start, most_regimes), _volatility_curve(samples)
    if not samples.has_volume:
        flat = np.full(samples.slices, 1.0 / samples.slices)
        return Figures(0.0, volatility, flat, None, 0.0, 0.0, 0.0, fit, np.ones(len(fit.law)), shape, weight, size)
    curve = (samples.volume / day[:, None]).mean(axis=0)
    relative = samples.volume / (adv * np.maximum(curve, 1e-12))
    scale = _regime_volume(relative, fit)
    noise, level, memory = _volume_noise(relative, fit, scale)
    return Figures(adv, volatility, curve, noise, *memory, level, fit, scale, shape, weight, size)


def standard_errors(samples: Samples, figures: Figures) -> dict[str, Any]:
    """Return the standard error of each figure, in its shape, by a moving-block bootstrap over sessions (Kuensch 1989)."""
    resamples = resampled_days(len(samples.variance), REPLICATES, SEED)
    found = [_numbers(estimate(samples.of_sessions(chosen), figures)) for chosen in resamples]
    errors = {name: np.std([each[name] for each in found], axis=0, ddof=1) for name in found[0]}
    plain: dict[str, Any] = {name: value.tolist() if np.ndim(value) else float(value) for name, value in errors.items()}
    if not samples.has_volume:
        return {name: error for name, error in plain.items() if name not in ("adv", "volume_level", "regime_volume")}
    return plain


def _numbers(figures: Figures) -> dict[str, Any]:
    """Return the figures that have a standard error, by name."""
    values: dict[str, Any] = {"adv": figures.adv, "volatility": figures.volatility, "volume_level": figures.volume_level}
    if figures.fit is None:
        return values
    values |= {"volatility_curve": figures.volatility_curve}
    values |= {"regime_volatility": figures.fit.volatility, "regime_share": figures.fit.law}
    values |= {"regime_volume": figures.regime_volume}
    values |= {"regime_rates": transition_rates(figures.fit.flows, len(figures.curve))}
    if figures.volume_noise is None:
        return values
    noise = {"volume_noise": figures.volume_noise, "volume_persistence": figures.volume_persistence}
    return values | {"volume_curve": figures.curve} | noise


def _volatility_curve(samples: Samples) -> tuple[Floats, float]:
    """Return the volatility of each slice over that of the day, with mean square one, shape (slice,), and its weight.

    c_k^2 is the mean realised variance of the slice over that of a slice of the day, shrunk towards one by its sampling error:
    c_k^2 = 1 + w (v_k - 1). The weight w = 1 - (error variance of v_k) / (variance of v_k over the slices) is that of the best
    linear predictor of random effects in a two-way analysis of variance of slices and sessions (Searle, Casella and McCulloch
    1992): near one for a year, small for two or three sessions, whose slices differ by chance, and zero for one session, which
    does not tell chance from shape. The variances of all slices sum to volatility^2. A slice in which prices do not move has
    at least 5 % of the mean volatility.
    """
    relative = samples.squares / samples.squares.mean()
    sessions, slices = relative.shape
    mean, weight = relative.mean(axis=0), 0.0
    spread = float(_square(mean - 1.0).sum()) / max(slices - 1, 1)
    if sessions > 1 and spread > 0.0:
        residual = relative - relative.mean(axis=1, keepdims=True) - mean + 1.0
        error = float(_square(residual).sum()) / ((sessions - 1) * (slices - 1)) / sessions
        weight = max(0.0, 1.0 - error / spread)
    size = np.sqrt(1.0 + weight * (mean - 1.0))
    size = np.maximum(size, 0.05 * size.mean())
    return np.asarray(size / math.sqrt(float(_square(size).mean()))), weight


def _standardised(samples: Samples) -> tuple[Floats, Floats]:
    """Return the returns over their usual size at that time of day, with mean square one, and that size, shape (slice,).

    Raises:
        ValueError: The prices do not move.
    """
    pattern = samples.moves.mean(axis=0)
    pattern = np.maximum(pattern, 0.05 * pattern.mean())
    returns = samples.returns / pattern
    mean = math.sqrt(float(_square(returns).mean()))
    if not mean > 0.0:
        length = f"{samples.slice_minutes:g} minutes"
        raise ValueError(f"the prices of the bars do not move in {length}: regimes cannot be calibrated")
    return returns, pattern * mean


def _fit(returns: Floats, start: Figures | None, most_regimes: int) -> RegimeFit:
    """Return the regimes of returns over their usual size."""
    if start is not None and start.fit is not None:
        return refit(returns, start.fit)
    return min((fit_regimes(returns, count) for count in range(1, most_regimes + 1)), key=lambda fit: fit.bic)


def _regime_volume(relative: Floats, fit: RegimeFit) -> Floats:
    """Return the relative volume of each regime, scaled to a stationary mean of one, shape (M,).

    Given the returns, the expected volume is linear in the posterior, so least squares on the posterior is unbiased; a
    posterior-weighted mean would be biased towards equal volumes.
    """
    posterior = fit.posterior.reshape(-1, len(fit.law))
    volume = np.maximum(np.linalg.lstsq(posterior, relative.ravel(), rcond=None)[0], 0.1)
    return np.asarray(volume / (fit.law @ volume))


def _volume_noise(relative: Floats, fit: RegimeFit, scale: Floats) -> tuple[float, float, Memory]:
    """Return the sd of the log volume within a day and of its daily level (two-way analysis of variance), and its memory."""
    days, bins = relative.shape
    regime = fit.posterior @ np.log(scale)
    residual = np.log(np.maximum(relative, 1e-6)) - regime
    level = residual.mean(axis=1, keepdims=True)
    residual = residual - level - residual.mean(axis=0) + residual.mean()
    total = float(_square(residual).sum()) / (days - 1)
    lagged = float((residual[:, :-1] * residual[:, 1:]).sum()) / (days - 1)
    unseen = _unseen_regimes(fit, np.log(scale), regime)
    return math.sqrt(total / max(bins - 1, 1)), float(level.std(ddof=1)), _memory(total, lagged, bins, *unseen)


def _unseen_regimes(fit: RegimeFit, logs: Floats, regime: Floats) -> tuple[float, float]:
    """Return the variance of the log volume of the regime that its posterior mean does not show, and its lag-one correlation.

    A scenario draws its regimes, so that this part comes back there, beside the noise.
    """
    variance = max(float(fit.law @ _square(logs)) - float(_square(regime).mean()), 0.0)
    covariance = float(logs @ fit.flows @ logs) - float((regime[:, :-1] * regime[:, 1:]).mean())
    return variance, min(max(covariance / variance, 0.0), _MOST_PERSISTENT) if variance > 1e-12 else 0.0


def _memory(total: float, lagged: float, bins: int, unseen: float, slow: float) -> Memory:
    """Return the AR(1) of the log volume whose sums of squares and of lagged products, around the mean of a day, are given.

    Deviations from the mean of the day understate a memory: with independent values, lagged products over squares are
    -1 / bins in the mean. The part of unseen regimes is an AR(1) of its own.

    Args:
        total: Mean over days of the sum of squared deviations from the mean of the day.
        lagged: Mean over days of the sum of products of successive deviations.
        bins: Slices of a day.
        unseen: Variance of the part of unseen regimes.
        slow: AR(1) coefficient of that part.
    """
    if bins < 3:
        return Memory(0.0, math.sqrt(total / max(bins - 1, 1)))
    square, product = _around_mean(slow, bins)
    own = max(total - unseen * square, 0.1 * total)
    ratio = (lagged - unseen * product) / max(own, 1e-300)
    low, high = -_MOST_PERSISTENT, _MOST_PERSISTENT
    for _ in range(40):
        middle = 0.5 * (low + high)
        square, product = _around_mean(middle, bins)
        low, high = (middle, high) if product < ratio * square else (low, middle)
    return Memory(middle, math.sqrt(own / _around_mean(middle, bins)[0]))


def _around_mean(phi: float, bins: int) -> tuple[float, float]:
    """Return the expected sums of squares and of lagged products of an AR(1) of variance one around its mean in `bins`."""
    place = np.arange(bins)
    covariance = phi ** np.abs(place[:, None] - place)
    centred = covariance - covariance.mean(axis=0) - covariance.mean(axis=1, keepdims=True) + covariance.mean()
    return float(np.trace(centred)), float(np.trace(centred, offset=1))


def _range_variance(sessions: Sessions) -> Floats:
    """Return the variance of each day from its open, high, low and close (Rogers and Satchell 1991), shape (session,)."""
    opening, high, low, closing = (
        np.log(values[:, 0]) for values in (sessions.open, sessions.high, sessions.low, sessions.close)
    )
    up, down, move = high - opening, low - opening, closing - opening
    return np.asarray(up * (up - move) + down * (down - move))


def _prices(sessions: Sessions, parts: int) -> Floats:
    """Return the open, then the last close until the end of each equal part of the day, shape (session, part + 1)."""
    prices = np.concatenate([sessions.open[:, :1], sessions.close], axis=1)
    return np.asarray(prices[:, price_columns(sessions, parts)])


def price_columns(sessions: Sessions, parts: int) -> NDArray[np.int64]:
    """Return the number of bars that end by the start, and by the end of each equal part of the day, shape (part + 1,)."""
    wanted = np.linspace(0.0, sessions.day_minutes, parts + 1)
    return np.asarray(np.searchsorted(sessions.edges, wanted + 1e-9, side="right") - 1)


def _binned(sessions: Sessions, parts: int) -> Floats:
    """Return the volume of equal parts of the day, shape (session, part); a bar over an edge is split by time."""
    bars = sessions.volume.shape[1]
    if bars % parts == 0 and sessions.day_minutes % sessions.bar_minutes == 0:
        return np.asarray(sessions.volume.reshape(len(sessions.volume), parts, -1).sum(axis=2))
    return _spread(sessions.volume, sessions.edges, parts)


def _folded(values: Floats, parts: int) -> Floats:
    """Return the sums of consecutive values in equal parts of the day, shape (session, part); a value over an edge is split."""
    count = values.shape[1]
    if count % parts == 0:
        return np.asarray(values.reshape(len(values), parts, -1).sum(axis=2))
    return _spread(values, np.linspace(0.0, 1.0, count + 1), parts)


def _spread(values: Floats, edges: Floats, parts: int) -> Floats:
    """Return the sums of values in equal parts of the span of their edges; a value over an edge is split in proportion."""
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    wanted = np.linspace(edges[0], edges[-1], parts + 1)
    return np.asarray(np.diff(np.array([np.interp(wanted, edges, row) for row in sums]), axis=1))


def _square(values: Floats) -> Floats:
    return np.asarray(values * values)
