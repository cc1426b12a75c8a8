"""The adapter of HyperExecVenues-v0. The trades of an audit are lit: hidden venues get no request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hyperexec_env.audit.adapter import Adapter
from hyperexec_env.envs.action import PACE_LIMIT
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.market.path import Path, World, begin, draw, path_of
from hyperexec_env.market.tables import Market
from hyperexec_env.market.venue_path import VenueMarket, VenuePath, venue_path_of

__all__ = ["another_liquidity", "venue_adapter"]

_PACE_SLOPE = 1.0 - 2.0 / PACE_LIMIT
_OTHER = np.uint64(0xA5A5A5A5A5A5A5A5)
"""Turns the key of an episode into the key from which the other draws come."""


def venue_adapter(make: Callable[[], Any], plain: HyperExecVenuesEnv) -> Adapter:
    """Return the adapter of an environment with venues, of the class of `plain`."""
    task = plain.task
    scenario = task.market.scenario
    options: dict[str, Any] = {
        "router": task.router,
        "reward": "realised" if task.order.realised else "expected",
        "observe_regime": not task.hidden,
        "random_side": task.order.draw.random_side,
        "quantity_range": task.order.draw.quantity_range,
    }

    def action(env: Any, shares: float) -> Any:
        order, own = env.unwrapped.situation.order, env.unwrapped.task
        base = float(own.order.mode.base.take(own.market.market.cell(order.k, order.seen)))
        pace = shares / (order.remaining * base) if order.remaining * base > 0.0 else 0.0
        value = np.full(own.shape, -1.0, dtype=np.float32)
        value[0] = min(max((pace - 1.0) / (1.0 + _PACE_SLOPE * pace), -1.0), 1.0)
        value[1 + own.market.count - own.market.lit :] = 0.0
        return value

    def sliced(slices: int) -> Any:
        regimes = replace(scenario.regimes, rates=())
        return type(plain)(scenario=scenario.with_market(slices=slices, regimes=regimes), **options)

    def account(env: Any, info: Mapping[str, Any]) -> float:
        return -float(info["shortfall_bps"] + info["risk_bps"] if task.order.realised else info["objective_bps"])

    def fill(env: Any, info: Mapping[str, Any]) -> tuple[float, float]:
        order = env.unwrapped.situation.order
        return order.last_shares, order.last_price

    return Adapter(
        make=make,
        slices=lambda env: env.unwrapped.task.market.slices,
        action=action,
        remaining=lambda env: env.unwrapped.situation.order.remaining,
        cost=lambda env, info: info["objective_bps"],
        account=account,
        price=lambda env: env.unwrapped.situation.order.price,
        arrival_price=lambda env: scenario.market.arrival_price,
        fill=None if task.hidden else fill,
        shortfall_bps=None if task.hidden else lambda env, info: info["shortfall_bps"],
        side=lambda env: int(env.unwrapped.situation.order.side),
        sliced=sliced,
        perturb_future=lambda env, k: env.unwrapped.begin_on(another_liquidity(task.market, k, _side(env)))[0],
    )


def _side(env: Any) -> float:
    """Return the side of the running episode."""
    return float(env.unwrapped.situation.order.side)


def another_liquidity(market: VenueMarket, k: int, side: float) -> Callable[[VenuePath], VenuePath]:
    """Return the change of the path of an episode after which nature draws differently from slice `k` on.

    What is known at the start of slice k stays: its regime, its price and the shares of the lit venues.
    """

    def changed(paths: VenuePath) -> VenuePath:
        other = venue_path_of(market, _redrawn(market.market, paths.path, side), side)

        def joined(before: Any, after: Any, first: int) -> Any:
            shape = np.broadcast_shapes(np.shape(before), np.shape(after), (market.slices, 1) if first == k else ())
            return np.concatenate([np.broadcast_to(before, shape)[:first], np.broadcast_to(after, shape)[first:]])

        slices = [
            type(mine)(*(joined(a, b, k) for a, b in zip(mine, theirs, strict=True)))
            for mine, theirs in zip((paths.path.slices, *paths.slices), (other.path.slices, *other.slices), strict=True)
        ]
        world = World(*(joined(a, b, k + 1) for a, b in zip(paths.path.world, other.path.world, strict=True)))
        return VenuePath(
            Path(slices[0], world, paths.path.keys),
            [joined(a, b, k + 1) for a, b in zip(paths.weights, other.weights, strict=True)],
            [joined(a, b, k) for a, b in zip(paths.offers, other.offers, strict=True)],
            slices[1:],
        )

    return changed


def _redrawn(market: Market, path: Path, side: float) -> Path:
    """Return a path with other draws, and keys from which venues draw otherwise too."""
    keys = path.keys ^ _OTHER
    return path_of(market, keys, side, begin(market, keys), draw(market, keys, np.arange(market.slices)[:, None]))
