"""The path of the market: everything that our trades cannot influence, drawn slice by slice."""

from __future__ import annotations

import math
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
    if draw.random_side or draw.quantity_range is not None:
        side_bits, size_bits = noise.upper_bits(noise.words(keys, (noise.ORDER + noise.STREAMS, noise.ORDER + 2 * noise.STREAMS), 0))
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
    flow, _ = noise.normal_pair(flow_word)
    return World(regime, flow, np.full(keys.shape, market.scenario.arrival_price))


_SLICE_STREAMS = (noise.PRICE, noise.VOLUME, noise.REGIME + noise.STREAMS)


def advance(market: Market, keys: noise.Words, k: Any, world: World, side: Any) -> tuple[Slice, World]:
    """Draw slice `k` (one number, or one for each episode); return it and the market at the start of the next one."""
    scenario = market.scenario
    regime, last_flow, price = world
    words = noise.words(keys, _SLICE_STREAMS, k)
    (flow_noise, shock), (news, _) = noise.normal_pair(words[:2])

    # volume: lognormal around the expected one
    volume = market.mean_volume.take(market.cell(k, regime))
    if scenario.volume_noise:
        volume = volume * np.exp(scenario.volume_noise * shock - 0.5 * scenario.volume_noise**2)

    # price: predictable drift, and the zero-mean innovation that order flow and news share
    volatility = market.step_volatility.take(regime)
    flow, kept = flow_noise, scenario.flow_persistence
    predictable: Any = market.step_drift.take(regime) if market.drifting else 0.0
    surprise = volatility * (market.by_flow_noise * flow_noise + market.by_news * news)
    if kept:
        flow = kept * last_flow + math.sqrt(1.0 - kept * kept) * flow_noise
        predictable = predictable + volatility * (market.by_flow * kept) * last_flow
    if scenario.price_model == "gbm":
        variance = volatility * volatility * (1.0 - scenario.flow_share * kept * kept)
        drift = price * np.expm1(predictable)
        moved = price * np.exp(predictable + surprise - 0.5 * variance)
        innovation = moved - price - drift
    else:
        drift = scenario.arrival_price * predictable
        innovation = scenario.arrival_price * surprise
        moved = price + innovation if market.martingale else price + (drift + innovation)

    drawn = Slice(
        volume=volume,
        least=market.least.take(k),
        limit=market.cap.take(k) * volume if market.capped else math.inf,
        temporary_scale=market.temporary_scale.take(regime),
        half_spread=market.half_spread.take(regime),
        transient_kept=market.transient_kept.take(regime),
        drift=0.0 if market.martingale else side * drift,
        innovation=side * innovation,
        risk=market.risk.take(regime),
    )
    next_regime = (noise.upper_bits(words[2]) >= market.next_thresholds.take(regime, axis=1)).sum(axis=0)
    return drawn, World(next_regime, flow, moved)


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
