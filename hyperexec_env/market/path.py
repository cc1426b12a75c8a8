"""The path of the market: everything that our trades cannot influence, drawn slice by slice."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market import noise
from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.model import Market
from hyperexec_env.market.numeric import signed
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.orders import Order

__all__ = [
    "Draws",
    "OrderDraw",
    "Path",
    "World",
    "advance",
    "begin",
    "draw",
    "draw_orders",
    "draw_path",
    "follow",
    "geometric",
    "trace",
    "volume_factor",
]

Floats = NDArray[np.float64]


class World(NamedTuple):
    """The market at the start of a slice, one value for each episode."""

    regime: NDArray[np.int64]
    """Index m of the regime that holds in the slice."""
    flow: Floats
    """Net order flow of the slice before, in standard deviations, positive is buying."""
    price: Floats
    """Unaffected price S, currency per share."""


class Path(NamedTuple):
    """A whole path; arrays are (time, episode)."""

    slices: Slice
    """The slices, each field (N, episodes)."""
    world: World
    """The market at the start of each slice and at the end, each field (N + 1, episodes)."""
    keys: noise.Words
    """The keys of the episodes, (episodes,): equal keys mean equal paths."""


class OrderDraw(NamedTuple):
    """How orders vary from episode to episode; the default is the scenario's order, always."""

    random_side: bool = False
    quantity_range: tuple[float, float] | None = None
    """Smallest and largest size, as multiples of the scenario's quantity (log-uniform)."""

    @property
    def varies(self) -> bool:
        """Whether orders differ from episode to episode."""
        return self.random_side or self.quantity_range is not None


_NOTHING_VARIES = OrderDraw()


def draw_orders(market: Market, keys: noise.Words, draw: OrderDraw = _NOTHING_VARIES) -> Order:
    """Return the order of each episode: plain numbers where nothing varies, else arrays of shape (episodes,)."""
    scenario = market.scenario
    side: Any = float(scenario.side)
    quantity: Any = scenario.quantity
    if draw.varies:
        side_bits, size_bits = noise.upper_bits(
            noise.words(keys, (noise.ORDER + noise.STREAMS, noise.ORDER + 2 * noise.STREAMS), 0)
        )
        if draw.random_side:
            side = np.where(side_bits >> np.uint64(31), 1.0, -1.0)
        if draw.quantity_range is not None:
            low, high = draw.quantity_range
            quantity = scenario.quantity * low * (high / low) ** ((size_bits + 0.5) * 2.0**-32)
    return Order(side, quantity)


def begin(market: Market, keys: noise.Words) -> World:
    """Draw the market at the start of the first slice."""
    regime_word, flow_word = noise.words(keys, (noise.REGIME, noise.ORDER), 0)
    regime = (noise.upper_bits(regime_word) >= market.start_thresholds).sum(axis=0)
    flow = noise.normal_pair(flow_word)[0].astype(np.float64)
    return World(regime, flow, np.full(keys.shape, market.scenario.arrival_price))


class Draws(NamedTuple):
    """What nature draws for a slice, whatever the market is like: one value for each episode, or (slices, episodes)."""

    flow: Floats
    """Standard normal of the order flow."""
    news: Floats
    """Standard normal of the news."""
    crowd: Any
    """Market volume over its expectation, positive, mean one."""
    chance: noise.Words
    """32-bit integer that decides the next regime."""


_HALF = np.float32(0.5)
_AT_ONCE = 16_384
"""Slices, over all episodes, whose noise is drawn at once."""
_SLICE_STREAMS = (noise.PRICE, noise.VOLUME, noise.REGIME + noise.STREAMS)


def draw(market: Market, keys: noise.Words, k: Any) -> Draws:
    """Draw what a slice needs; `k` as for :func:`noise.words`."""
    words = noise.words(keys, _SLICE_STREAMS, k)
    radius, fraction = noise.polar(words[:2])
    sine = noise.chord(fraction)
    leg = radius * sine
    news = leg[0] * noise.sagitta(fraction[0])
    leg *= sine
    radius -= leg
    deviation = market.scenario.volume_noise
    crowd: Any = volume_factor(radius[1], np.float32(deviation)).astype(np.float64) if deviation else 1.0
    return Draws(radius[0].astype(np.float64), news.astype(np.float64), crowd, noise.upper_bits(words[2]))


def volume_factor(normal: Any, deviation: Any) -> Any:
    """Return market volume over its expectation: lognormal with mean one, from a standard normal, in single precision."""
    return noise.exponential(deviation * normal - _HALF * deviation * deviation)


def _next_regime(market: Market, regime: NDArray[np.int64], chance: noise.Words) -> NDArray[np.int64]:
    """Return the regime that follows: the number of thresholds that the draw reaches."""
    reached = chance >= market.next_thresholds.take(regime, axis=1)
    return np.asarray(np.add.reduce(reached.view(np.int8), axis=0, dtype=np.int8), dtype=np.int64)


def _next_flow(market: Market, last_flow: Floats, noise_now: Floats) -> Floats:
    """Return the order flow of a slice: AR(1) with variance one."""
    kept = market.scenario.flow_persistence
    return kept * last_flow + math.sqrt(1.0 - kept * kept) * noise_now if kept else noise_now


def _returns(market: Market, regime: NDArray[np.int64], last_flow: Floats, draws: Draws) -> tuple[Any, Floats]:
    """Return the predictable and the zero-mean return of a slice."""
    volatility = market.step_volatility.take(regime)
    predictable: Any = market.step_drift.take(regime) if market.drifting else 0.0
    kept = market.scenario.flow_persistence
    if kept:
        predictable = predictable + volatility * (market.by_flow * kept) * last_flow
    surprise = market.by_flow_noise * draws.flow
    surprise += market.by_news * draws.news
    surprise *= volatility
    return predictable, surprise


def geometric(scenario: Scenario) -> bool:
    """Return whether the price is geometric; else it is arithmetic."""
    return scenario.price_model == "gbm"


def _move_price(
    market: Market, regime: NDArray[np.int64], price: Floats, predictable: Any, surprise: Floats
) -> tuple[Any, Any, Any]:
    """Return the predictable move of the price over a slice, the zero-mean move, and the price after it."""
    scenario = market.scenario
    if geometric(scenario):
        kept, volatility = scenario.flow_persistence, market.step_volatility.take(regime)
        variance = volatility * volatility * (1.0 - scenario.flow_share * kept * kept)
        drift = price * np.expm1(predictable)
        moved = price * np.exp(predictable + surprise - 0.5 * variance)
        return drift, moved - price - drift, moved
    drift = scenario.arrival_price * predictable
    innovation = scenario.arrival_price * surprise
    return drift, innovation, price + innovation if market.martingale else price + (drift + innovation)


def _meet(market: Market, k: Any, cell: Any, world: World, crowd: Any, drift: Any, innovation: Any, side: Any) -> Slice:
    """Return a slice as our trades meet it."""
    regime, volume = world.regime, market.mean_volume.take(cell) * crowd
    return Slice(
        volume=volume,
        least=market.least.take(k),
        limit=market.cap.take(k) * volume if market.capped else math.inf,
        temporary_scale=market.temporary_scale.take(regime),
        half_spread=market.half_spread.take(regime),
        transient_kept=market.transient_kept.take(regime),
        drift=0.0 if market.martingale else signed(side, drift),
        innovation=signed(side, innovation),
        risk=market.risk.take(regime),
        holding=market.holding * world.price if market.holding else 0.0,
    )


def advance(market: Market, keys: noise.Words, k: Any, world: World, side: Any) -> tuple[Slice, World]:
    """Draw slice `k` (one number, or one for each episode); return it and the market at the start of the next one."""
    return follow(market, k, market.cell(k, world.regime), world, draw(market, keys, k), side)


def follow(market: Market, k: Any, cell: Any, world: World, draws: Draws, side: Any) -> tuple[Slice, World]:
    """Return slice `k` and the market at the start of the next one, as :func:`advance` does, from draws made before.

    `cell` is the place of the slice in the tables, `market.cell(k, world.regime)`.
    """
    regime, flow, price = world
    predictable, surprise = _returns(market, regime, flow, draws)
    drift, innovation, moved = _move_price(market, regime, price, predictable, surprise)
    slice = _meet(market, k, cell, world, draws.crowd, drift, innovation, side)
    return slice, World(_next_regime(market, regime, draws.chance), _next_flow(market, flow, draws.flow), moved)


TRACE: Final = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that a change of one regime always changes the trace."""


def trace(regimes: NDArray[Any]) -> noise.Words:
    """Return the regimes of each episode, shape (time, episodes), as one word: the same for all executions."""
    word = np.zeros(regimes.shape[1], dtype=np.uint64)
    for row in regimes:
        word *= TRACE
        word += row.astype(np.uint64)
    return word


def _draw_all(market: Market, keys: noise.Words, column: NDArray[np.int64]) -> Draws:
    """Draw what all slices need, as many at once as stay within the caches of the processor."""
    rows = max(1, _AT_ONCE // len(keys)) if len(keys) else market.slices
    parts = [draw(market, keys, column[first : first + rows]) for first in range(0, market.slices, rows)]
    flow, news, crowd, chance = zip(*parts, strict=True)
    return Draws(
        np.concatenate(flow),
        np.concatenate(news),
        np.concatenate(crowd) if market.scenario.volume_noise else 1.0,
        np.concatenate(chance),
    )


def draw_path(market: Market, keys: noise.Words, side: Any) -> Path:
    """Draw all slices of each episode: what :func:`advance` draws one by one, the slices together where they can be."""
    column = np.arange(market.slices)[:, None]
    draws = _draw_all(market, keys, column)
    size = (market.slices + 1, len(keys))
    world = World(np.empty(size, dtype=np.int64), np.empty(size), np.empty(size))
    world.regime[0], world.flow[0], world.price[0] = begin(market, keys)
    for k in range(market.slices):
        world.regime[k + 1] = _next_regime(market, world.regime[k], draws.chance[k])
        world.flow[k + 1] = _next_flow(market, world.flow[k], draws.flow[k])
    regime = world.regime[:-1]
    predictable, surprise = _returns(market, regime, world.flow[:-1], draws)
    predictable = np.broadcast_to(predictable, surprise.shape)
    drift, innovation = np.empty_like(surprise), np.empty_like(surprise)
    for k in range(market.slices):
        drift[k], innovation[k], world.price[k + 1] = _move_price(
            market, regime[k], world.price[k], predictable[k], surprise[k]
        )
    start = World(world.regime[:-1], world.flow[:-1], world.price[:-1])
    slices = _meet(market, column, market.cell(column, regime), start, draws.crowd, drift, innovation, side)
    return Path(Slice(*(np.broadcast_to(values, surprise.shape) for values in slices)), world, keys)
