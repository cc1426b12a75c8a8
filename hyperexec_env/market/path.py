"""The path of the market: everything that our trades cannot influence, drawn slice by slice."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market import noise
from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.model import Market
from hyperexec_env.orders import Order

__all__ = ["OrderDraw", "Path", "World", "advance", "begin", "draw_orders", "draw_path"]

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


def draw_orders(market: Market, keys: noise.Words, draw: OrderDraw = OrderDraw()) -> Order:
    """Return the order of each episode: plain numbers where nothing varies, else arrays of shape (episodes,)."""
    scenario = market.scenario
    side: Any = float(scenario.side)
    quantity: Any = scenario.quantity
    if draw.random_side:
        side = np.where(noise.upper_bits(noise.words(keys, noise.ORDER, 1)) >> np.uint64(31), 1.0, -1.0)
    if draw.quantity_range is not None:
        low, high = draw.quantity_range
        uniform = (noise.upper_bits(noise.words(keys, noise.ORDER, 2)) + 0.5) * 2.0**-32
        quantity = scenario.quantity * low * (high / low) ** uniform
    return Order(side, quantity)


def begin(market: Market, keys: noise.Words) -> World:
    """Draw the market at the start of the first slice."""
    bits = noise.upper_bits(noise.words(keys, noise.REGIME, 0))
    regime = (bits[..., None] >= market.start_thresholds).sum(axis=-1)
    flow, _ = noise.normal_pair(noise.words(keys, noise.ORDER, 0))
    return World(regime, flow, np.full(keys.shape, market.scenario.arrival_price))


_STREAMS = np.array([[noise.PRICE], [noise.VOLUME], [noise.REGIME]], dtype=np.uint64)
_NEXT = np.array([[0], [0], [1]], dtype=np.uint64)


def advance(market: Market, keys: noise.Words, k: Any, world: World, side: Any) -> tuple[Slice, World]:
    """Draw slice `k` (one number, or one for each episode); return it and the market at the start of the next one."""
    scenario = market.scenario
    regime = world.regime
    price_word, volume_word, regime_word = noise.words(keys, _STREAMS, np.asarray(k, dtype=np.uint64) + _NEXT)

    # volume: lognormal around the expected one
    volume = market.mean_volume[k, regime]
    if scenario.volume_noise:
        shock, _ = noise.normal_pair(volume_word)
        volume = volume * np.exp(scenario.volume_noise * shock - 0.5 * scenario.volume_noise**2)

    # price: predictable drift, and the zero-mean innovation that order flow and news share
    flow_noise, news = noise.normal_pair(price_word)
    kept = scenario.flow_persistence
    flow = kept * world.flow + np.sqrt(1.0 - kept * kept) * flow_noise if kept else flow_noise
    volatility = market.step_volatility[regime]
    by_flow, by_news = np.sqrt(scenario.flow_share), np.sqrt(1.0 - scenario.flow_share)
    predictable = market.step_drift[regime]
    if kept:
        predictable = predictable + volatility * (by_flow * kept) * world.flow
    surprise = volatility * (by_flow * (flow - kept * world.flow) + by_news * news)
    if scenario.price_model == "gbm":
        variance = volatility * volatility * (1.0 - scenario.flow_share * kept * kept)
        drift = world.price * np.expm1(predictable)
        price = world.price * np.exp(predictable + surprise - 0.5 * variance)
        innovation = price - world.price - drift
    else:
        drift = scenario.arrival_price * predictable
        innovation = scenario.arrival_price * surprise
        price = world.price + (drift + innovation)

    drawn = Slice(
        volume=volume,
        least=market.least[k],
        limit=market.cap[k] * volume,
        temporary_scale=market.temporary_scale[regime],
        half_spread=market.half_spread[regime],
        transient_kept=market.transient_kept[regime],
        drift=side * drift,
        innovation=side * innovation,
        risk=market.risk[regime],
    )
    next_regime = (noise.upper_bits(regime_word)[..., None] >= market.next_thresholds[regime]).sum(axis=-1)
    return drawn, World(next_regime, flow, price)


def draw_path(market: Market, keys: noise.Words, side: Any) -> Path:
    """Draw all slices of each episode."""
    world = begin(market, keys)
    worlds, slices = [world], []
    for k in range(market.slices):
        drawn, world = advance(market, keys, k, world, side)
        slices.append(Slice(*(np.broadcast_to(value, keys.shape) for value in drawn)))
        worlds.append(world)
    stacked = Slice(*(np.stack(column) for column in zip(*slices, strict=True)))
    return Path(stacked, World(*(np.stack(column) for column in zip(*worlds, strict=True))), keys)
