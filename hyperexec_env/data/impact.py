"""Market impact from the tape: spreads, Kyle's lambda at several scales, and its permanent and transient part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .tape import Flow, Tape, TapeDay, flow_of
from .zones import MINUTE, SECOND

__all__ = [
    "Decay",
    "Figure",
    "Response",
    "Spell",
    "Spreads",
    "block_seconds",
    "by_volatility",
    "decay_grid",
    "decay_of",
    "decay_products",
    "decay_slopes",
    "figure_of",
    "profile_interval",
    "quoted_of",
    "resampling_weights",
    "response_of",
    "response_products",
    "response_slope",
    "spreads_of",
    "student_quantile",
    "volatility_of",
    "volatility_seconds",
]

Floats = NDArray[np.float64]

REPLICATES: Final = 400
"""Number of resamples of the bootstrap."""
BLOCK_SECONDS: Final = 1800.0
"""Length of the blocks that are resampled where the tape has too few days to resample days."""
LEAST_BLOCKS: Final = 20
"""Least number of blocks; blocks of a short tape are shorter."""
FEW_DAYS: Final = 10
"""Number of days below which blocks within days are resampled."""
CHI2_95: Final = 3.841
"""95 % quantile of the chi-square law with one degree of freedom."""
SEED: Final = 20_260_102
"""Seed of the resamples, so that a measurement is repeatable."""


class Figure(NamedTuple):
    """A measured number with its error."""

    value: float
    error: float
    """Standard error."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""

    def __str__(self) -> str:
        """Return value and error."""
        return f"{self.value:.4g} +- {self.error:.2g}"


class Spreads(NamedTuple):
    """Half-spreads, bps of the mid."""

    quoted: Figure
    """Mean over time."""
    effective: Figure
    """Mean over shares: signed distance of the price of a trade from the mid before it (Huang and Stoll 1996)."""
    by_time: tuple[float, ...]
    """Quoted half-spread in each half-hour of the session; NaN in one without quotes."""


class Response(NamedTuple):
    """Regression of moves of the mid on signed flow (Kyle 1985): move = lambda x flow + noise, at one scale."""

    seconds: float
    kyle_lambda: Figure
    """Arrival prices for one ADV; standard error and interval by block bootstrap."""
    robust_error: float
    """Standard error that heteroscedasticity does not distort (White 1980)."""
    r_squared: float
    """Share of the variance of moves that flow explains."""
    persistence: Figure
    """First autocorrelation of the flow."""
    intervals: int
    """Number of intervals."""


class Spell(NamedTuple):
    """Spread and response in one half of the tape."""

    volatility: float
    """Volatility of that half, fraction per square root of a day."""
    half_spread: Figure
    """Quoted half-spread, mean over time, bps of the mid."""
    response: Response

    @property
    def half_spread_volatilities(self) -> float:
        """Half-spread in daily volatilities of that half."""
        return 1e-4 * self.half_spread.value / self.volatility

    @property
    def lambda_volatilities(self) -> float:
        """Kyle's lambda in daily volatilities of that half, for one ADV."""
        return self.response.kyle_lambda.value / self.volatility


class Decay(NamedTuple):
    """The permanent and the transient part of the response, and the recovery of the transient part.

    move_k = gamma q_k + transient (x_{k+1} - x_k) + noise,    x_{k+1} = (x_k + q_k) exp(-resilience tau)

    See Obizhaeva and Wang (2013).
    """

    gamma: Figure
    """Permanent part, arrival prices for one ADV."""
    transient: Figure
    """Transient part, arrival prices for one ADV; the immediate response is the sum of both."""
    resilience: float
    """Maximum of the profile likelihood, per day."""
    low: float
    """Lower end of the 95 % profile-likelihood interval of the resilience; 0 where the data set no lower bound."""
    high: float
    """Upper end of the interval; infinity where the data set no upper bound."""
    identified: bool
    """Whether the transient part differs from zero and the interval of the resilience is bounded on both sides."""
    seconds: float
    """Length of the intervals of the regression."""


def spreads_of(tape: Tape) -> Spreads:
    """Return quoted and effective half-spread of a tape, with errors by block bootstrap."""
    quoted, effective = [], []
    parts = max(1, tape.day_minutes // 30)
    by_time = np.zeros((len(tape.days), parts, 2))
    for number, day in enumerate(tape.days):
        bps, length = quoted_of(day)
        block = _blocks_of(day.quote_time, day, tape)
        quoted.append(_sums(block, bps * length, length))
        at = np.minimum((np.maximum(day.quote_time, day.start) - day.start) // (30 * MINUTE), parts - 1).astype(np.int64)
        by_time[number] = np.stack([np.bincount(at, bps * length, parts), np.bincount(at, length, parts)], axis=1)
        paid = 1e4 * day.side * (day.price - day.mid_before) / day.mid_before
        effective.append(_sums(_blocks_of(day.trade_time, day, tape), paid * day.size, day.size))
    total = by_time.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = tuple((total[:, 0] / total[:, 1]).tolist())
    return Spreads(_ratio(quoted), _ratio(effective), means)


def quoted_of(day: TapeDay) -> tuple[Floats, Floats]:
    """Return the half-spread of each quote of a day, bps of the mid, and how long the quote is valid within the day, ns."""
    last = np.append(day.quote_time[1:], day.end)
    length = np.maximum(np.minimum(last, day.end) - np.maximum(day.quote_time, day.start), 0).astype(np.float64)
    return 1e4 * day.half_spread / day.mid, length


def response_of(tape: Tape, seconds: float) -> Response:
    """Return the response of the mid to signed flow at one scale.

    Args:
        tape: The tape.
        seconds: Length of the intervals.

    Raises:
        ValueError: There are fewer than ten intervals, or no signed flow.
    """
    flow = flow_of(tape, seconds)
    return _response(flow, _block_index(tape, flow))


def by_volatility(tape: Tape, seconds: float = 60.0) -> tuple[Spell, Spell]:
    """Return spread and response in the calmer and in the more volatile half of the blocks of the tape.

    Raises:
        ValueError: See :func:`response_of`; or the tape has fewer than four blocks.
    """
    flow = flow_of(tape, seconds)
    block = np.unique(_block_index(tape, flow), return_inverse=True)[1]
    count = np.bincount(block)
    if len(count) < 4:
        raise ValueError(f"the tape has {len(count)} blocks; at least 4 are needed to tell calm from volatile ones")
    variance = np.bincount(block, flow.move**2) / count
    volatile = (variance > np.median(variance))[block]
    length = 60.0 * tape.day_minutes / seconds
    quoted = _quoted_by_interval(tape, flow)
    halves = []
    for chosen in (~volatile, volatile):
        part = Flow(flow.move[chosen], flow.flow[chosen], flow.day[chosen], seconds)
        volatility = math.sqrt(float((part.move**2).mean()) * length)
        spread = _ratio_of(_chunks(block[chosen], quoted[chosen]))
        halves.append(Spell(volatility, spread, _response(part, block[chosen])))
    return halves[0], halves[1]


def _quoted_by_interval(tape: Tape, flow: Flow) -> Floats:
    """Return half-spread times duration, and duration, of the quotes that begin in each interval, shape (interval, 2)."""
    step, sums = round(flow.seconds * SECOND), []
    for day, count in zip(tape.days, np.bincount(flow.day, minlength=len(tape.days)).tolist(), strict=True):
        bps, length = quoted_of(day)
        at = (np.maximum(day.quote_time, day.start) - day.start) // step
        sums.append(_sums(np.minimum(at, count), bps * length, length, count + 1)[:count])
    return np.concatenate(sums)


def _response(flow: Flow, block: NDArray[np.int64]) -> Response:
    """Return the response of moves to flow, with errors by resampling blocks of intervals."""
    count = len(flow.move)
    if count < 10:
        raise ValueError(f"the tape has {count} intervals of {flow.seconds:g} s; at least 10 are needed")
    if not np.any(flow.flow):
        raise ValueError("the tape has no signed flow")
    chunks = _chunks(block, response_products(flow))
    slope, level, share, persistence = response_slope(chunks.sum(axis=0))
    residual = flow.move - level - slope * flow.flow
    centred = flow.flow - flow.flow.mean()
    robust = math.sqrt((centred**2 * residual**2).sum()) / float((centred**2).sum()) * math.sqrt(count / (count - 2))
    found, blocks = _resampled(chunks, response_slope), len(chunks)
    return Response(
        flow.seconds, figure_of(slope, found[:, 0], blocks), robust, share, figure_of(persistence, found[:, 3], blocks), count
    )


def decay_of(tape: Tape, seconds: float = 30.0, points: int = 60) -> Decay:
    """Return the permanent and the transient part of the response, and the recovery of the transient part.

    Args:
        tape: The tape.
        seconds: Length of the intervals of the regression.
        points: Number of values of the resilience that are tried: half-lives from half an interval to two days.

    Raises:
        ValueError: There are fewer than ten intervals, or no signed flow.
    """
    flow = flow_of(tape, seconds)
    if len(flow.move) < 10 or not np.any(flow.flow):
        raise ValueError(f"the tape has no signed flow on at least 10 intervals of {seconds:g} s")
    tau = seconds / (60.0 * tape.day_minutes)
    grid = decay_grid(tau, points)
    block = _block_index(tape, flow)
    chunks = np.stack([_chunks(block, decay_products(flow, rho, tau)) for rho in grid])  # (resilience, block, product)
    fits = decay_slopes(chunks.sum(axis=1))
    profile = -0.5 * len(flow.move) * np.log(fits[:, 2])
    best = int(profile.argmax())
    low, high = _interval(np.log(grid), 2.0 * (profile[best] - profile))
    alone = -0.5 * len(flow.move) * math.log(_one_part(flow))
    apart = 2.0 * (profile[best] - alone) > CHI2_95
    found = np.array([_best(totals) for totals in np.moveaxis(resampling_weights(chunks.shape[1]) @ chunks, 1, 0)])
    gamma, transient = (figure_of(fits[best, at], found[:, at], chunks.shape[1]) for at in (0, 1))
    return Decay(
        gamma,
        transient,
        float(grid[best]),
        low,
        high,
        bool(apart and transient.value > 0.0 and low > 0.0 and high < math.inf),
        seconds,
    )


def decay_grid(tau: float, points: int = 60) -> Floats:
    """Return the values of the resilience that are tried, per day: half-lives from two days to half an interval of tau days."""
    return np.asarray(np.geomspace(math.log(2.0) / 2.0, math.log(2.0) / (0.5 * tau), points))


def _interval(log_rho: Floats, ratio: Floats) -> tuple[float, float]:
    """Return the 95 % interval of the resilience; 0 and infinity where the ratio stays below its quantile up to the end."""
    low, high = profile_interval(log_rho, ratio, CHI2_95)
    return 0.0 if low is None else math.exp(low), math.inf if high is None else math.exp(high)


def profile_interval(tried: Floats, ratio: Floats, limit: float) -> tuple[float | None, float | None]:
    """Return the interval in which a profile likelihood ratio stays below a limit, linear between the values that were tried.

    Args:
        tried: Values that were tried, ascending.
        ratio: Twice the log likelihood ratio against the best value.
        limit: Quantile of the ratio.

    Returns:
        The ends; None where the ratio stays below the limit up to the last value.
    """
    inside = np.flatnonzero(ratio <= limit)
    ends: list[float | None] = []
    for at, beyond in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        if not 0 <= beyond < len(ratio):
            ends.append(None)
            continue
        part = (limit - ratio[at]) / (ratio[beyond] - ratio[at])
        ends.append(float(tried[at] + part * (tried[beyond] - tried[at])))
    return ends[0], ends[1]


def _best(totals: Floats) -> Floats:
    """Return permanent and transient slope at the most likely resilience, from totals of shape (resilience, product)."""
    fits = decay_slopes(totals)
    return np.asarray(fits[fits[:, 2].argmin(), :2])


def volatility_seconds(tape: Tape) -> float:
    """Return the length of the moves that give the volatility: 300 s, or shorter on a tape with too few of them."""
    span = sum(day.end - day.start for day in tape.days) / SECOND
    return next((seconds for seconds in (300.0, 60.0) if span >= LEAST_BLOCKS * seconds), 10.0)


def volatility_of(tape: Tape) -> Figure:
    """Return the volatility of the mid, fraction per square root of a day, from moves of :func:`volatility_seconds`."""
    seconds = volatility_seconds(tape)
    flow = flow_of(tape, seconds)
    length = 60.0 * tape.day_minutes
    chunks = _chunks(_block_index(tape, flow), np.stack([flow.move**2, np.full(len(flow.move), seconds / length)], axis=1))

    def root(total: Floats) -> tuple[float, ...]:
        return (math.sqrt(total[0] / total[1]),)

    return figure_of(root(chunks.sum(axis=0))[0], _resampled(chunks, root)[:, 0], len(chunks))


def displacement(flow: Flow, rho: float, tau: float) -> Floats:
    """Return the transient part of the price before each interval, for a unit slope; it is zero at the start of a day."""
    decay, x = math.exp(-rho * tau), np.zeros(len(flow.flow))
    value, day = 0.0, -1
    for at, (part, index) in enumerate(zip(flow.flow.tolist(), flow.day.tolist(), strict=True)):
        value = 0.0 if index != day else value
        x[at], day = value, index
        value = (value + part) * decay
    return x


def _transient(flow: Flow, rho: float, tau: float) -> Floats:
    """Return the change of the transient part over each interval, for a unit slope."""
    before = displacement(flow, rho, tau)
    return np.asarray((before + flow.flow) * math.exp(-rho * tau) - before)


def _one_part(flow: Flow) -> float:
    """Return the residual variance without a transient part."""
    slope = (flow.flow @ flow.move) / (flow.flow @ flow.flow)
    return float(np.mean((flow.move - slope * flow.flow) ** 2))


def decay_products(flow: Flow, rho: float, tau: float) -> Floats:
    """Return the products of the normal equations of two regressors, shape (interval, 7)."""
    q, x, y = flow.flow, _transient(flow, rho, tau), flow.move
    return np.stack([q * q, q * x, x * x, q * y, x * y, y * y, np.ones(len(q))], axis=1)


def decay_slopes(total: Floats) -> Floats:
    """Solve the normal equations of two regressors; return both slopes and the residual variance, shape (..., 3).

    Args:
        total: Sums of :func:`decay_products`, shape (..., 7).
    """
    qq, qx, xx, qy, xy, yy, count = np.moveaxis(total, -1, 0)
    det = qq * xx - qx * qx
    alike = ~(det > 1e-12 * qq * xx)  # then the first regressor alone
    safe = np.where(alike, 1.0, det)
    gamma = np.where(alike, qy / qq, (qy * xx - xy * qx) / safe)
    transient = np.where(alike, 0.0, (xy * qq - qy * qx) / safe)
    variance = np.maximum((yy - gamma * qy - transient * xy) / count, 1e-300)
    return np.stack([gamma, transient, variance], axis=-1)


def response_products(flow: Flow) -> Floats:
    """Return the products from which slope, R^2 and autocorrelation of the flow follow, shape (interval, 9)."""
    q, y = flow.flow, flow.move
    same = np.append(flow.day[1:] == flow.day[:-1], False)
    later = np.append(q[1:], 0.0)
    one = np.ones(len(q))
    return np.stack([one, q, y, q * q, q * y, y * y, same * q * later, same * q * q, same * 1.0], axis=1)


def response_slope(total: Floats) -> tuple[float, float, float, float]:
    """Return slope, intercept, R^2 and first autocorrelation of the flow from the sums of :func:`response_products`."""
    count, q, y, qq, qy, yy, lagged, lagged_square, pairs = total
    variance, covariance, spread = qq - q * q / count, qy - q * y / count, yy - y * y / count
    slope = covariance / variance
    mean = q / count
    below = lagged_square - pairs * mean**2
    persistence = (lagged - pairs * mean**2) / below if below > 1e-9 * qq else 0.0  # resampled blocks may hold no pair
    return slope, (y - slope * q) / count, covariance**2 / (variance * max(spread, 1e-300)), persistence


def _block_index(tape: Tape, flow: Flow) -> NDArray[np.int64]:
    """Return the block of each interval: its day, or a part of it where the tape has few days."""
    if len(tape.days) >= FEW_DAYS:
        return flow.day
    within = np.concatenate([np.arange(count) for count in np.bincount(flow.day)])
    part = (within * flow.seconds // max(block_seconds(tape), flow.seconds)).astype(np.int64)
    return np.asarray(flow.day * (int(part.max()) + 1) + part)


def _chunks(block: NDArray[np.int64], terms: Floats) -> Floats:
    """Return the sums of terms over the blocks that are resampled, shape (block, term)."""
    places = np.unique(block, return_inverse=True)[1]
    return np.stack([np.bincount(places, column) for column in terms.T], axis=1)


def resampling_weights(count: int) -> Floats:
    """Return how often each resample draws each block, shape (replicate, block)."""
    rng = np.random.default_rng(SEED)
    return np.asarray(rng.multinomial(count, np.full(count, 1.0 / count), size=REPLICATES).astype(np.float64))


def _resampled(chunks: Floats, figure: Callable[[Floats], tuple[float, ...]]) -> Floats:
    """Return figures of resampled blocks, shape (replicate, figure)."""
    return np.array([figure(total) for total in resampling_weights(len(chunks)) @ chunks])


def figure_of(value: float, found: Floats, blocks: int, least: float = 0.0) -> Figure:
    """Return a figure from its bootstrap over blocks, with the interval of Student's law; its error is `least` at least."""
    error = max(float(found.std(ddof=1)) * math.sqrt(blocks / max(blocks - 1, 1)), least)
    quantile = student_quantile(blocks - 1)
    return Figure(float(value), error, float(value) - quantile * error, float(value) + quantile * error)


def student_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's law by Fisher's expansion, right to 0.3 % from five degrees of freedom on."""
    freedom, z = max(freedom, 1), 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def block_seconds(tape: Tape) -> float:
    """Return the length of the blocks that are resampled."""
    return min(BLOCK_SECONDS, sum(day.end - day.start for day in tape.days) / SECOND / LEAST_BLOCKS)


def _blocks_of(time: NDArray[np.int64], day: TapeDay, tape: Tape) -> NDArray[np.int64]:
    """Return the block of each time of a day."""
    return np.maximum(time - day.start, 0) // round(block_seconds(tape) * SECOND)


def _sums(block: NDArray[np.int64], above: Floats, below: Floats, blocks: int = 0) -> Floats:
    """Return the sums of two columns over blocks, of which there are some at least, shape (block, 2)."""
    return np.stack([np.bincount(block, above, blocks), np.bincount(block, below, blocks)], axis=1)


def _ratio(days: list[Floats]) -> Figure:
    """Return the ratio of two sums, resampled by day, or by half-hour where days are few."""
    return _ratio_of(np.stack([day.sum(axis=0) for day in days]) if len(days) >= FEW_DAYS else np.concatenate(days))


def _ratio_of(chunks: Floats) -> Figure:
    """Return the ratio of two sums over blocks, shape (block, 2), with its error by resampling them."""

    def ratio(total: Floats) -> tuple[float, ...]:
        return (float(total[0] / max(total[1], 1e-300)),)

    return figure_of(ratio(chunks.sum(axis=0))[0], _resampled(chunks, ratio)[:, 0], len(chunks))
