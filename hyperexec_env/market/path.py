r"""The path of the market: order, volume, price, order flow and regime, which our trades do not influence.

Each slice is drawn from its own random words, so a path depends on the key of the episode alone:

    draw_words(key, k) -> Words -> draw_shocks -> Shocks -> draws_of -> Draws -> next_slice -> Slice, World

These functions of records are *stages* (:mod:`hyperexec_env.market.lane` has the others): the numbers of a record belong to
one episode, or are arrays over episodes, and compiled loops call a stage for each lane. :func:`draw_path` draws all slices of
many episodes at once.

:func:`next_slice` takes slice k in regime m from the unaffected price S_k and the last order flow u_{k-1} to S_{k+1} and u_k.
With phi = flow_persistence, R^2 = flow_share, s_m = sigma_m c_k sqrt(tau) (c_k is the shape of volatility over the day,
:meth:`Scenario.volatility_profile`), standard normals z (flow) and xi (news), and a volume shock eps and a volume level L of
mean one (both lognormal; L is drawn once per episode, and so are the drift mu around that of the regime and, where it is
unknown, Kyle's lambda l over that of the scenario; else l = 1):

    mu_k    = (mu_m + mu) tau + s_m sqrt(R^2) phi u_{k-1}                    predictable return
    e_k     = s_m [ l sqrt(R^2 (1 - phi^2)) z_k + sqrt(1 - R^2) xi_k ]       zero-mean return
    S_{k+1} = S_k + P0 mu_k + P0 e_k                                         arithmetic price
    S_{k+1} = S_k exp(mu_k + e_k - s_m^2 (1 - R^2 phi^2) / 2)                geometric price
    u_k     = phi u_{k-1} + sqrt(1 - phi^2) z_k                              order flow
    V_k     = E[V_k | m] L eps_k                                             market volume
    m_{k+1} = number of thresholds of row m that the 32-bit regime draw reaches

The predictable move (`drift`) is P0 mu_k, for a geometric price S_k (exp(mu_k) - 1); the zero-mean move (`innovation`) is the
rest of S_{k+1} - S_k.

With persistence of volume, eps_k is times a power of the ratio V_{k-1} / E[V_{k-1} | m_{k-1}]
(:mod:`~hyperexec_env.market.volume_noise`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market import noise
from hyperexec_env.market.belief import Normal, Pair
from hyperexec_env.market.days import DaySlice, day_row, day_slice
from hyperexec_env.market.kernel import Impact, Slice
from hyperexec_env.market.numeric import double, exponential, growth, logarithm, power_of, signed, where
from hyperexec_env.market.tables import Market, MarketSpec, Numbers, SliceRow, Thresholds, must_finish
from hyperexec_env.market.unknown import (
    SLIPPAGE,
    Evidence,
    draw_drift,
    draw_kyle,
    draw_slope,
    first_level,
    learn_level,
    learn_moves,
    level_evidence,
    move_evidence,
)
from hyperexec_env.market.volume_noise import first_ratio, neutral_ratio, next_ratio, slice_factor, volume_factor
from hyperexec_env.orders import Order
from hyperexec_env.records import Constant, Half, Real, Single, Whole, is_record, map_leaves, reached

__all__ = [
    "Draws",
    "Halves",
    "OrderDraw",
    "OrderNumbers",
    "Path",
    "Shocks",
    "Words",
    "World",
    "begin",
    "begin_world",
    "cost_scale",
    "day_draws",
    "day_world",
    "draw",
    "draw_all",
    "draw_number",
    "draw_order",
    "draw_orders",
    "draw_path",
    "draw_shocks",
    "draw_slice",
    "draw_words",
    "draws_of",
    "expected_slice",
    "impact_of",
    "next_slice",
    "observed_world",
    "order_numbers",
    "path_of",
    "slip_variance",
    "trace",
    "trace_step",
    "unseen_world",
]

Floats = NDArray[np.float64]


class World(NamedTuple):
    """The market at the start of a slice."""

    regime: Whole
    """Index m of the regime of the slice, 0..M-1."""
    flow: Real
    """Net order flow of the previous slice, standard deviations; positive is buying."""
    price: Real
    """Unaffected price S, currency per share."""
    volume_level: Real
    """Level L of the volume, equal in all slices of an episode: positive, mean one. Policies do not observe it."""
    volume_ratio: Real
    """Volume of the previous slice over its expectation in its regime, positive, mean one; 1 without persistence of volume."""
    drift: Real = 0.0
    """Drift of the episode around that of the regime, fraction of the arrival price a day. Policies do not observe it."""
    level_mean: Real = 0.0
    """Mean of the log level given the volumes so far (:mod:`~hyperexec_env.market.unknown`); it is 0 before any volume."""
    level_variance: Real = 0.0
    """Variance of the log level given the volumes so far."""
    drift_mean: Real = 0.0
    """Mean of `drift` given the moves of the price so far."""
    drift_variance: Real = 0.0
    """Variance of `drift` given the moves of the price so far."""
    slope: Real = 1.0
    """Temporary impact of the episode over its mean. Policies do not observe it."""
    slipped: Real = 0.0
    """Error of the slippage of our fills in the previous slice, currency per share; it is part of no account."""
    slip_variance: Real = 0.0
    """Variance of that error."""
    kyle: Real = 1.0
    """Kyle's lambda of the episode over that of the scenario. Policies do not observe it."""
    kyle_mean: Real = 1.0
    """Mean of `kyle` given flows and moves of the price so far."""
    kyle_variance: Real = 0.0
    """Variance of `kyle` given flows and moves of the price so far."""
    drift_with_kyle: Real = 0.0
    """Covariance of `drift` and `kyle` given flows and moves of the price so far."""


class Path(NamedTuple):
    """All slices of some episodes; arrays have shape (time, episodes)."""

    slices: Slice
    """The slices, each field of shape (N, episodes)."""
    world: World
    """The market at the start of each slice and at the end, each field of shape (N + 1, episodes)."""
    keys: noise.Words
    """Keys of the episodes, shape (episodes,); equal keys give equal paths."""


# --- the order of an episode


class OrderDraw(NamedTuple):
    """How orders vary between episodes; by default every episode has the order of the scenario."""

    random_side: bool = False
    """Whether each episode draws its side."""
    quantity_range: tuple[float, float] | None = None
    """Smallest and largest quantity, as multiples of the scenario's, drawn log-uniformly; None: the scenario's quantity."""


class OrderNumbers(NamedTuple):
    """The order of a scenario, and the range of its draws."""

    side: Real
    """+1 buy, -1 sell."""
    quantity: Real
    """Shares; the smallest quantity if the quantity is drawn."""
    scale: Real
    """Reward of a cost of one unit of currency, bps: :func:`cost_scale` of `quantity`."""
    ratio: Real
    """Largest over smallest quantity; 1 if the quantity is not drawn."""
    random_side: Constant
    """Whether each episode draws its side."""
    random_size: Constant
    """Whether each episode draws its quantity."""


_SAME_ORDER = OrderDraw()
_SIDE: Final = noise.offset(noise.ORDER + noise.STREAMS)
_SIZE: Final = noise.offset(noise.ORDER + 2 * noise.STREAMS)
_LEVEL: Final = noise.offset(noise.ORDER + 3 * noise.STREAMS)
_DRAW: Final = noise.offset(noise.ORDER + 4 * noise.STREAMS)
_RATIO: Final = noise.offset(noise.ORDER + 5 * noise.STREAMS)
_TOP: Final = np.uint64(63)


def order_numbers(market: Market, draw: OrderDraw = _SAME_ORDER) -> OrderNumbers:
    """Return the numbers of the orders of a market."""
    low, high = draw.quantity_range or (1.0, 1.0)
    scenario = market.scenario
    quantity = scenario.quantity * low if draw.quantity_range else scenario.quantity
    scale, random_size = cost_scale(quantity, scenario.arrival_price), draw.quantity_range is not None
    return OrderNumbers(float(scenario.side), quantity, scale, high / low, draw.random_side, random_size)


def cost_scale(quantity: Any, arrival_price: Any) -> Any:
    """Return the reward of a cost of one unit of currency, in bps of the arrival notional: -1e4 / (X P0)."""
    return -1e4 / (quantity * arrival_price)


def draw_order(numbers: OrderNumbers, key: Any) -> Order:
    """Return the order of the episode with a key.

    A drawn side is +1 or -1 with equal probability; a drawn quantity is quantity * ratio^U, with U uniform on (0, 1).
    """
    side, quantity = numbers.side, numbers.quantity
    if numbers.random_side:
        side = where(noise.word(key, _SIDE) >> _TOP > 0, 1.0, -1.0)
    if numbers.random_size:
        uniform = (double(noise.upper_bits(noise.word(key, _SIZE))) + 0.5) * 2.0**-32
        quantity = numbers.quantity * power_of(numbers.ratio, uniform)
    return Order(side, quantity)


def draw_orders(market: Market, keys: noise.Words, draw: OrderDraw = _SAME_ORDER) -> Order:
    """Return the order of each episode; a drawn side or quantity is an array of shape (episodes,), else a number."""
    return draw_order(order_numbers(market, draw), keys)


def draw_number(draws: Any, key: Any) -> Any:
    """Return the draw of a posterior, 0..draws - 1, that the episode with a key meets."""
    upper = noise.upper_bits(noise.word(key, _DRAW))
    return np.int64((upper * np.uint64(draws)) >> noise.UPPER)


# --- draws


class Halves(NamedTuple):
    """A random word as two 32-bit integers, from which compiled loops draw eight normals at a time."""

    upper: Half
    """Upper 32 bits."""
    lower: Half
    """Lower 32 bits."""


class Words(NamedTuple):
    """The random words of a slice."""

    prices: Halves
    """Word of the order flow and the news."""
    volume: Halves
    """Word of the volume shock."""
    regime_draw: Whole
    """32-bit integer, 0..2^32 - 1, that decides the regime of the next slice."""


class Shocks(NamedTuple):
    """The shocks of a slice in single precision, in which they are drawn."""

    flow: Single
    """Standard normal of the order flow."""
    news: Single
    """Standard normal of the news."""
    volume: Single
    """Market volume over its expectation given the slice before: positive, mean one."""
    slippage: Single
    """Standard normal of the error of the slippage of own fills; 0 where the temporary impact is known."""


class Draws(NamedTuple):
    """The draws of a slice, in double precision."""

    flow: Real
    """Standard normal of the order flow."""
    news: Real
    """Standard normal of the news."""
    volume_shock: Real
    """Market volume over its expectation given the slice before: positive, mean one."""
    regime_draw: Whole
    """32-bit integer, 0..2^32 - 1, that decides the regime of the next slice."""
    slippage: Real = 0.0
    """Standard normal of the error of the slippage of own fills; 0 where the temporary impact is known."""


_NO_SHOCK, _NO_SLIPPAGE = np.float32(1.0), np.float32(0.0)
_PRICE_WORD: Final = noise.offset(noise.PRICE)
_VOLUME_WORD: Final = noise.offset(noise.VOLUME)
_REGIME_WORD: Final = noise.offset(noise.REGIME)
_NEXT_REGIME_WORD: Final = noise.offset(noise.REGIME + noise.STREAMS)
_ORDER_WORD: Final = noise.offset(noise.ORDER)
_AT_ONCE = 16_384
"""Slices, counted over all episodes, whose noise :func:`draw_path` draws at once: their arrays stay in the caches."""


def _halves(word: Any) -> Halves:
    """Return a word as two 32-bit halves."""
    return Halves(np.uint32(word >> noise.UPPER), np.uint32(word & noise.LOWER))


def draw_words(key: Any, k: Any) -> Words:
    """Return the random words of slice `k` of the episode with a key."""
    start = noise.slice_key(key, k)
    return Words(
        _halves(noise.word(start, _PRICE_WORD)),
        _halves(noise.word(start, _VOLUME_WORD)),
        np.int64(noise.upper_bits(noise.word(start, _NEXT_REGIME_WORD))),
    )


def draw_shocks(numbers: Numbers, words: Words) -> Shocks:
    """Return the shocks of the words of a slice."""
    flow, news = noise.normals(words.prices.upper, words.prices.lower)
    volume, slippage = _NO_SHOCK, _NO_SLIPPAGE
    if numbers.spec.noisy_volume:
        volume = volume_factor(noise.normal(words.volume.upper, words.volume.lower), np.float32(numbers.volume_noise))
    if numbers.spec.unknown_slope:  # the second normal of the word, which is independent of the first
        slippage = noise.normals(words.volume.upper, words.volume.lower)[1]
    return Shocks(flow, news, volume, slippage)


def draws_of(words: Words, shocks: Shocks) -> Draws:
    """Return the draws of a slice: its shocks in double precision, and its regime draw."""
    return Draws(double(shocks.flow), double(shocks.news), double(shocks.volume), words.regime_draw, double(shocks.slippage))


def draw(market: Market, keys: noise.Words, k: Any) -> Draws:
    """Return the draws of slice `k` of the episodes with some keys.

    `k` is a number, an array of shape (episodes,), or a column of shape (slices, 1); the fields have the shape of `keys`
    broadcast with `k`. The draws of a market with recorded days are those of the day.
    """
    if market.days is not None:
        return day_draws(day_slice(market, keys, k))
    words = draw_words(keys, k)
    return draws_of(words, draw_shocks(market.numbers, words))


def day_draws(day: DaySlice) -> Draws:
    """Return the draws of a slice of a recorded day, whose order flow is not known and is zero."""
    return Draws(day.news * 0.0, day.news, day.volume_shock, day.next_regime, 0.0)


# --- slices


def impact_of(numbers: Numbers) -> Impact:
    """Return the impact parameters of a market."""
    spec = numbers.spec
    return Impact(numbers.permanent_slope, numbers.transient_slope, spec.beta, spec.transient_exponent)


def _is_martingale(spec: MarketSpec) -> Any:
    """Return whether the unaffected price is a martingale: no drift, and no persistence of the order flow."""
    return not spec.drifting and not spec.unknown_drift and spec.flow_persistence == 0.0


def _returns(numbers: Numbers, row: SliceRow, world: World, draws: Draws) -> tuple[Any, Any]:
    """Return the predictable return mu_k and the zero-mean return e_k of a slice, given the market at its start."""
    spec, predictable = numbers.spec, row.step_drift if numbers.spec.drifting else 0.0
    if spec.unknown_drift:
        predictable = predictable + world.drift * numbers.tau
    if spec.flow_persistence != 0.0:
        predictable = predictable + row.step_volatility * (numbers.by_flow * spec.flow_persistence) * world.flow
    by_flow = numbers.by_flow_noise * world.kyle if spec.unknown_kyle else numbers.by_flow_noise
    return predictable, (by_flow * draws.flow + numbers.by_news * draws.news) * row.step_volatility


def _move_price(numbers: Numbers, volatility: Any, price: Any, predictable: Any, surprise: Any) -> tuple[Any, Any, Any]:
    """Return the predictable and the zero-mean move of the unaffected price over a slice, and S_{k+1}; currency per share.

    `volatility` is s_m, `price` S_k, `predictable` mu_k and `surprise` e_k.
    """
    spec = numbers.spec
    if spec.geometric:
        variance = volatility * volatility * (1.0 - numbers.flow_share * spec.flow_persistence * spec.flow_persistence)
        drift = price * growth(predictable)
        moved = price * exponential(predictable + surprise - 0.5 * variance)
        return drift, moved - price - drift, moved
    innovation = numbers.arrival_price * surprise
    if _is_martingale(spec):
        return 0.0, innovation, price + innovation
    drift = numbers.arrival_price * predictable
    return drift, innovation, price + (drift + innovation)


def _next_flow(spec: MarketSpec, last_flow: Any, flow_noise: Any) -> Any:
    """Return the order flow u_k = phi u_{k-1} + sqrt(1 - phi^2) z_k: AR(1) with variance one."""
    persistence = spec.flow_persistence
    if persistence != 0.0:
        return persistence * last_flow + math.sqrt(1.0 - persistence * persistence) * flow_noise
    return flow_noise


def _slice_of(
    numbers: Numbers, side: Any, k: Any, row: SliceRow, world: World, factor: Any, drift: Any, innovation: Any
) -> Slice:
    """Return slice `k` for the order of a side, given the market at its start and the moves of the unaffected price in it.

    `factor` is that of :func:`~hyperexec_env.market.volume_noise.slice_factor`.
    """
    spec = numbers.spec
    volume, finish, scale = row.mean_volume * factor, must_finish(numbers, k), row.temporary_scale
    if spec.unknown_slope:
        scale = scale * world.slope
    if spec.varying_level:
        volume = volume * world.volume_level
    return Slice(
        volume=volume,
        least=where(finish, math.inf, 0.0),
        limit=where(finish, math.inf, numbers.cap * volume) if spec.capped else math.inf,
        temporary_scale=scale,
        half_spread=row.half_spread,
        transient_decay=row.transient_decay,
        drift=0.0 if _is_martingale(spec) else signed(side, drift),
        innovation=signed(side, innovation),
        risk=row.risk,
        holding=numbers.holding * world.price if spec.price_risk else 0.0,
    )


def next_slice(numbers: Numbers, side: Any, k: Any, row: SliceRow, world: World, draws: Draws) -> tuple[Slice, World]:
    """Return slice `k` for the order of a side, and the market at the start of slice `k + 1`; the module has the equations.

    Args:
        numbers: The numbers of the market.
        side: +1 buy, -1 sell.
        k: Slice, 0..N-1.
        row: The numbers of the market in slice `k` and in the regime of `world` (:meth:`Market.row`).
        world: The market at the start of slice `k`.
        draws: The draws of slice `k`.
    """
    predictable, surprise = _returns(numbers, row, world, draws)
    drift, innovation, price = _move_price(numbers, row.step_volatility, world.price, predictable, surprise)
    factor = slice_factor(numbers, world.volume_ratio, world.volume_level, draws.volume_shock)
    slice = _slice_of(numbers, side, k, row, world, factor, drift, innovation)
    regime, flow = reached(draws.regime_draw, row.thresholds), _next_flow(numbers.spec, world.flow, draws.flow)
    ratio = next_ratio(numbers, world.volume_ratio, world.volume_level, factor)
    level, moves = _learn(numbers, row, world, factor, predictable + surprise, flow)
    slipped, error = _slip(numbers, row, world, draws.slippage)
    return slice, World(
        regime=regime,
        flow=flow,
        price=price,
        volume_level=world.volume_level,
        volume_ratio=ratio,
        drift=world.drift,
        level_mean=level.mean,
        level_variance=level.variance,
        drift_mean=moves.first,
        drift_variance=moves.first_variance,
        slope=world.slope,
        slipped=slipped,
        slip_variance=error,
        kyle=world.kyle,
        kyle_mean=moves.second,
        kyle_variance=moves.second_variance,
        drift_with_kyle=moves.covariance,
    )


def observed_world(numbers: Numbers, row: SliceRow, before: World, ratio: Any, flow: Any, price: Any) -> World:
    """Return the market at the start of the next slice as its trader knows it, in the regime of the last slice.

    Args:
        numbers: The numbers of the market.
        row: The numbers of the slice that is over, in its regime.
        before: The market at its start, as its trader knows it: with a volume level of one.
        ratio: Market volume of the slice over its expectation in its regime.
        flow: Order flow of the slice, standard deviations.
        price: Unaffected price at its end, currency per share.
    """
    earned = earned_return(numbers, row.step_volatility, before.price, price)
    level, moves = _learn(numbers, row, before, ratio, earned, flow)
    return before._replace(
        flow=flow,
        price=price,
        volume_ratio=next_ratio(numbers, before.volume_ratio, before.volume_level, ratio),
        level_mean=level.mean,
        level_variance=level.variance,
        drift_mean=moves.first,
        drift_variance=moves.first_variance,
        kyle_mean=moves.second,
        kyle_variance=moves.second_variance,
        drift_with_kyle=moves.covariance,
    )


def earned_return(numbers: Numbers, volatility: Any, before: Any, after: Any) -> Any:
    """Return mu_k + e_k of a slice, given the unaffected price at its start and end: the inverse of :func:`_move_price`.

    Args:
        numbers: The numbers of the market.
        volatility: Volatility of the slice, fraction.
        before: Unaffected price at its start, currency per share.
        after: Unaffected price at its end, currency per share.
    """
    spec = numbers.spec
    if spec.geometric:
        variance = volatility * volatility * (1.0 - numbers.flow_share * spec.flow_persistence * spec.flow_persistence)
        return logarithm(after / before) + 0.5 * variance
    return (after - before) / numbers.arrival_price


def _slip(numbers: Numbers, row: SliceRow, before: World, slippage: Any) -> tuple[Any, Any]:
    """Return the error of the slippage of own fills in a slice, currency per share, and its variance."""
    if not numbers.spec.unknown_slope:
        return before.slipped, before.slip_variance
    deviation = numbers.arrival_price * row.step_volatility * SLIPPAGE
    return deviation * slippage, slip_variance(numbers, row)


def slip_variance(numbers: Numbers, row: SliceRow) -> Any:
    """Return the variance of the error of the slippage of own fills in a slice, (currency per share) squared."""
    deviation = numbers.arrival_price * row.step_volatility * SLIPPAGE
    return deviation * deviation


def _learn(numbers: Numbers, row: SliceRow, before: World, factor: Any, earned: Any, flow: Any) -> tuple[Normal, Pair]:
    """Return the beliefs about the log level, and about drift and lambda, after a slice, whose return is `earned`."""
    level = Normal(before.level_mean, before.level_variance)
    moves = Pair(before.drift_mean, before.kyle_mean, before.drift_variance, before.drift_with_kyle, before.kyle_variance)
    if numbers.spec.varying_level:
        level = learn_level(numbers, level, level_evidence(numbers, before.volume_ratio, factor * before.volume_level))
    if numbers.spec.unknown_drift or numbers.spec.unknown_kyle:
        moves = learn_moves(numbers, moves, move_evidence(numbers, row, earned, flow))
    return level, moves


def begin_world(numbers: Numbers, start: Thresholds, key: Any) -> World:
    """Return the market at the start of the first slice of the episode with a key."""
    regime_draw = np.int64(noise.upper_bits(noise.word(key, _REGIME_WORD)))
    halves = _halves(noise.word(key, _ORDER_WORD))
    flow, _ = noise.normals(halves.upper, halves.lower)
    level = _draw_level(numbers, key)
    ratio = _draw_ratio(numbers, key, level)
    believed, drift = first_level(numbers, ratio), draw_drift(numbers, key)
    regime, slope, kyle = reached(regime_draw, start), draw_slope(numbers, key), draw_kyle(numbers, key)
    return _first_world(numbers, regime, double(flow), level, ratio, believed, drift, slope, kyle)


def unseen_world(numbers: Numbers) -> World:
    """Return the market before the first slice as its trader knows it: nothing observed, and unknowns at their means."""
    ratio = neutral_ratio(numbers)
    return _first_world(numbers, 0, 0.0, 1.0, ratio, first_level(numbers, ratio), 0.0, 1.0, 1.0)


def _first_world(
    numbers: Numbers, regime: Any, flow: Any, level: Any, ratio: Any, believed: Normal, drift: Any, slope: Any, kyle: Any
) -> World:
    """Return the market at the start of the first slice, with the beliefs before any evidence."""
    return World(
        regime=regime,
        flow=flow,
        price=numbers.arrival_price,
        volume_level=level,
        volume_ratio=ratio,
        drift=drift,
        level_mean=believed.mean,
        level_variance=believed.variance,
        drift_mean=0.0,
        drift_variance=numbers.drift_sd * numbers.drift_sd,
        slope=slope,
        slipped=0.0,
        slip_variance=0.0,
        kyle=kyle,
        kyle_mean=1.0,
        kyle_variance=numbers.kyle_sd * numbers.kyle_sd,
        drift_with_kyle=0.0,
    )


def day_world(numbers: Numbers, day: DaySlice) -> World:
    """Return the market at the start of a recorded day, given its first slice."""
    zero = day.news * 0.0
    ratio = zero + neutral_ratio(numbers)
    level = first_level(numbers, ratio)
    mean, variance = zero + level.mean, zero + level.variance
    price, one = zero + numbers.arrival_price, zero + 1.0
    unknown = zero, mean, variance, zero, zero, one, zero, zero, one, one, zero, zero
    return World(day.regime, zero, price, one, ratio, *unknown)


def _draw_level(numbers: Numbers, key: Any) -> Any:
    """Return the volume level of the episode with a key."""
    if not numbers.spec.varying_level:
        return 1.0
    halves = _halves(noise.word(key, _LEVEL))
    return double(volume_factor(noise.normal(halves.upper, halves.lower), np.float32(numbers.volume_level_sd)))


def _draw_ratio(numbers: Numbers, key: Any, level: Any) -> Any:
    """Return the volume ratio before the first slice of the episode with a key, given its volume level."""
    if numbers.spec.volume_persistence == 0.0:
        return 1.0
    halves = _halves(noise.word(key, _RATIO))
    return first_ratio(numbers, level, halves.upper, halves.lower)


def begin(market: Market, keys: noise.Words) -> World:
    """Return the market at the start of the first slice of some episodes, each field of shape (episodes,)."""
    if market.days is not None:
        return day_world(market.numbers, day_slice(market, keys, 0))
    world = begin_world(market.numbers, market.start, keys)
    filled: World = map_leaves(lambda values: np.broadcast_to(values, keys.shape).copy(), world)
    return filled


def draw_slice(market: Market, keys: noise.Words, k: int, world: World, side: Any) -> tuple[Slice, World]:
    """Return slice `k` of some episodes, and the market at the start of the next slice, each field of shape (episodes,)."""
    row = _row_of_day(market, keys, k, market.row(k, world.regime))
    return next_slice(market.numbers, side, k, row, world, draw(market, keys, k))


def _row_of_day(market: Market, keys: noise.Words, k: Any, row: SliceRow) -> SliceRow:
    """Return the numbers of the market in slice `k`, with the spread of the day where days are recorded."""
    return row if market.days is None else day_row(row, day_slice(market, keys, k))


def expected_slice(market: Market, k: Any, world: World) -> Slice:
    """Return slice `k` for the scenario's order without noise: the volume expected at the level and the last volume of the
    world, and no zero-mean move of the price.

    Args:
        market: The market.
        k: Slice, or an array of slices.
        world: The market at the start of the slice; fields are arrays.
    """
    zero = np.zeros(np.shape(world.flow))
    draws = Draws(zero, zero, 1.0, np.zeros(zero.shape, dtype=np.int64))
    side = float(market.scenario.side)
    return next_slice(market.numbers, side, k, market.row(k, world.regime), world, draws)[0]


# --- whole paths


TRACE: Final = np.uint64(0x9E3779B97F4A7C15)
"""Multiplier of the trace; odd, so that a change of one regime always changes the trace."""


def trace_step(word: Any, regime: Any) -> Any:
    """Return the trace of the regimes up to and including a slice, given the trace before the slice."""
    return word * TRACE + np.uint64(regime)


def trace(regimes: NDArray[Any]) -> noise.Words:
    """Return one word for the regimes of each episode, shape (episodes,), to compare paths of different executions.

    `regimes` has shape (time, episodes).
    """
    word = np.zeros(regimes.shape[1], dtype=np.uint64)
    for row in regimes:
        word = trace_step(word, row)
    return word


def draw_all(market: Market, keys: noise.Words) -> Draws:
    """Return the draws of all slices, fields of shape (N, episodes) or one number, drawn in cache-sized groups of slices."""
    rows = max(1, _AT_ONCE // len(keys)) if len(keys) else market.slices
    column = np.arange(market.slices)[:, None]
    groups = [draw(market, keys, column[first : first + rows]) for first in range(0, market.slices, rows)]
    if len(groups) == 1:
        return groups[0]
    fields = zip(*groups, strict=True)
    return Draws(*(np.concatenate(values) if np.ndim(values[0]) else values[0] for values in fields))


def draw_path(market: Market, keys: noise.Words, side: Any) -> Path:
    """Return the paths of some episodes, equal to :func:`next_slice` slice by slice.

    Args:
        market: The market.
        keys: Keys of the episodes, shape (episodes,).
        side: +1 buy, -1 sell: a number, or an array of shape (episodes,).
    """
    return path_of(market, keys, side, begin(market, keys), draw_all(market, keys))


def path_of(market: Market, keys: noise.Words, side: Any, first: World, draws: Draws) -> Path:
    """Return the paths that follow from the market at the start of the first slice and from the draws of all slices.

    Only regime, order flow, persistent volume and price are computed in a loop over slices; everything else is computed for all
    slices at once.

    Args:
        market: The market.
        keys: Keys of the episodes, shape (episodes,).
        side: +1 buy, -1 sell: a number, or an array of shape (episodes,).
        first: The market at the start of the first slice, fields of shape (episodes,).
        draws: The draws, fields of shape (N, episodes); the volume shock may be one number.
    """
    numbers, spec = market.numbers, market.numbers.spec
    world: World = map_leaves(lambda values: np.repeat(values[None], market.slices + 1, axis=0), first)
    for k in range(market.slices if market.regimes > 1 else 0):
        world.regime[k + 1] = reached(draws.regime_draw[k], market.limits.take(world.regime[k], axis=1))
    if spec.flow_persistence == 0.0:
        world.flow[1:] = draws.flow
    else:
        for k in range(market.slices):
            world.flow[k + 1] = _next_flow(spec, world.flow[k], draws.flow[k])
    before: World = map_leaves(lambda values: values[:-1], world)
    factor = draws.volume_shock
    if spec.volume_persistence != 0.0:
        factor = np.empty((market.slices, len(keys)))
        for k in range(market.slices):
            ratio, level = world.volume_ratio[k], world.volume_level[k]
            factor[k] = slice_factor(numbers, ratio, level, draws.volume_shock[k])
            world.volume_ratio[k + 1] = next_ratio(numbers, ratio, level, factor[k])
    column = np.arange(market.slices)[:, None]
    cell = market.cell(column, world.regime[:-1])
    row: SliceRow = SliceRow(
        *(None if is_record(values) else values.take(cell) for values in market.table)
    )  # thresholds are not read
    row = _row_of_day(market, keys, column, row)
    volatility, (predictable, surprise) = row.step_volatility, _returns(numbers, row, before, draws)
    # a geometric price is a product of moves, an arithmetic price a sum
    combine, start = (np.multiply, 1.0) if spec.geometric else (np.add, 0.0)
    moves = _move_price(numbers, volatility, start, predictable, surprise)[2]
    for k in range(market.slices):
        combine(world.price[k], moves[k], out=world.price[k + 1])
    drift, innovation, _ = _move_price(numbers, volatility, world.price[:-1], predictable, surprise)
    if spec.unknown_slope:
        world.slipped[1:], world.slip_variance[1:] = _slip(numbers, row, before, draws.slippage)
    if spec.varying_level:
        level = Normal(world.level_mean, world.level_variance)
        _follow(numbers, learn_level, level, level_evidence(numbers, before.volume_ratio, factor * before.volume_level))
    if spec.unknown_drift or spec.unknown_kyle:
        pair = Pair(world.drift_mean, world.kyle_mean, world.drift_variance, world.drift_with_kyle, world.kyle_variance)
        _follow(numbers, learn_moves, pair, move_evidence(numbers, row, predictable + surprise, world.flow[1:]))
    fields = _slice_of(numbers, side, column, row, before, factor, drift, innovation)
    shape = market.slices, len(keys)
    slices = (values if np.shape(values) == shape else np.broadcast_to(values, shape) for values in fields)
    return Path(Slice(*slices), world, keys)


def _follow(numbers: Numbers, update: Callable[[Numbers, Any, Evidence], Any], beliefs: Any, evidence: Evidence) -> None:
    """Write the beliefs after each slice into those of some episodes.

    Args:
        numbers: The numbers of the market.
        update: Function from the belief before a slice and the evidence of the slice to the belief after it.
        beliefs: A record of arrays of shape (N + 1, episodes), whose first rows are the prior.
        evidence: The evidence of all slices, each field of shape (N, episodes) or one number.
    """
    belief = type(beliefs)(*(column[0] for column in beliefs))
    for k in range(len(evidence.value)):
        belief = update(numbers, belief, Evidence(*(part[k] if np.ndim(part) else part for part in evidence)))
        for column, value in zip(beliefs, belief, strict=True):
            column[k + 1] = value
