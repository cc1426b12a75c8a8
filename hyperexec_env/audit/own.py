"""The adapters of the environments of this package."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hyperexec_env.audit.adapter import Adapter
from hyperexec_env.audit.own_touch import touch_adapter
from hyperexec_env.audit.own_venues import venue_adapter
from hyperexec_env.envs.action import PACE_LIMIT, PACES
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.task import Task
from hyperexec_env.envs.touch import HyperExecTouchEnv
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.market.path import Draws, Path, World, begin, draw, draw_orders, path_of
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market

__all__ = ["another_future", "another_regime", "own_adapter"]

_OTHER: Final = np.uint64(0xA5A5A5A5A5A5A5A5)
"""Turns the key of an episode into the key from which the other draws come."""
_PACE_SLOPE: Final = 1.0 - 2.0 / PACE_LIMIT


def own_adapter(make: Callable[[], Any], made: Any) -> Adapter | None:
    """Return the adapter of an environment of this package, or of a class derived from it; None for any other environment.

    Costs are the objective, without the zero-mean price noise. An environment with another number of slices keeps the regime of
    its first slice: regimes that change would add noise that slices of different length do not share. It is made by the class
    of the environment.

    Args:
        make: Function that makes the environment.
        made: An environment that it made.
    """
    plain = getattr(made, "unwrapped", made)
    if isinstance(plain, HyperExecTouchEnv):
        return touch_adapter(make, plain)
    if isinstance(plain, HyperExecVenuesEnv):
        return venue_adapter(make, plain)
    if isinstance(plain, HyperExecBasketEnv):
        return _basket_adapter(make, plain)
    if not isinstance(plain, HyperExecEnv):
        return None
    task = plain.task
    hidden = bool(task.observer.hidden)
    options: dict[str, Any] = {
        "action_mode": task.mode.own or task.mode.name,
        "reward": task.paid,
        "features": task.observer.listed,
        "observe_regime": not hidden,
        "random_side": task.draw.random_side,
        "quantity_range": task.draw.quantity_range,
    }

    def variant(scenario: Scenario) -> Any:
        return type(plain)(scenario=scenario, **options)

    def twins() -> Iterator[tuple[Any, Any]]:
        for one, other in _twins(task.scenario):
            yield variant(one), variant(other)

    return Adapter(
        make=make,
        slices=lambda env: env.unwrapped.task.market.slices,
        action=_action,
        remaining=lambda env: env.unwrapped.situation.remaining,
        cost=lambda env, info: info["objective_bps"],
        account=None if task.parts or task.own_reward is not None else _account,
        price=lambda env: env.unwrapped.situation.price,
        arrival_price=lambda env: env.unwrapped.task.scenario.arrival_price,
        fill=None if hidden else _fill,
        shortfall_bps=None if hidden else lambda env, info: info["shortfall_bps"],
        side=lambda env: int(env.unwrapped.situation.side),
        sliced=lambda slices: variant(_steady(task.scenario, slices)),
        perturb_future=lambda env, k: _begun_on(env, another_future(env.unwrapped.task, k)),
        perturb_hidden=(lambda env, k: _begun_on(env, another_regime(env.unwrapped.task, k))) if hidden else None,
        twins=twins if hidden else None,
    )


def _steady(scenario: Scenario, slices: int) -> Scenario:
    """Return a scenario with another number of slices, whose regimes do not change."""
    return replace(scenario, slices=slices, regimes=replace(scenario.regimes, rates=()))


def _action(env: Any, shares: float) -> Any:
    """Return the action that requests a number of shares, the nearest of the action mode."""
    task, situation = env.unwrapped.task, env.unwrapped.situation
    if task.mode.own is not None:
        raise ValueError(
            f"audit of an own action mode ({task.mode.name}): pass an adapter whose `action` maps shares to its actions"
        )
    value = _value(task, situation.k, situation.seen, situation.remaining, shares)
    return value if task.mode.discrete else np.array([value], dtype=np.float32)


def _value(task: Task, k: int, seen: int, remaining: float, shares: float) -> Any:
    """Return the number, or the index of the level, that requests some shares of an order."""
    mode = task.mode
    base = float(mode.base.take(task.market.cell(k, seen)))
    scale = base if mode.name == "participation" else remaining * base
    pace = shares / scale if scale > 0.0 else 0.0
    if mode.discrete:
        return int(np.argmin(np.abs(np.array(PACES) - pace)))
    value = (pace - 1.0) / (1.0 + _PACE_SLOPE * pace) if mode.name == "pace" else 2.0 * pace - 1.0
    return min(max(value, -1.0), 1.0)


def _account(env: Any, info: Mapping[str, Any]) -> float:
    """Return what the rewards of an episode sum to: minus the objective, or minus shortfall and risk."""
    realised = env.unwrapped.task.realised
    return -float(info["shortfall_bps"] + info["risk_bps"] if realised else info["objective_bps"])


def _fill(env: Any, info: Mapping[str, Any]) -> tuple[float, float]:
    """Return the shares of the last slice and their average price."""
    situation = env.unwrapped.situation
    return situation.last_shares, situation.last_price


# --- baskets


def _basket_adapter(make: Callable[[], Any], made: HyperExecBasketEnv) -> Adapter:
    """Return the adapter of a basket. Its `shares` are the arrival notional of all orders, in currency; a request trades the
    same fraction of what is left of each asset.
    """
    task = made.task
    basket = task.market.scenario
    options: dict[str, Any] = {
        "action_mode": task.action_mode,
        "reward": "realised" if task.reward.realised else "expected",
        "observe_regime": not task.hidden,
        "random_side": task.draw.random_side,
        "quantity_range": task.draw.quantity_range,
    }
    prices = np.array([asset.arrival_price for asset in basket.assets])

    def remaining(env: Any) -> float:
        return float(prices @ env.unwrapped.situation.remaining)

    def action(env: Any, amount: float) -> Any:
        plain, left = env.unwrapped, remaining(env)
        situation = plain.situation
        asked = situation.remaining * (amount / left if left else 0.0)
        parts = zip(plain.task.assets, situation.remaining, asked, strict=True)
        values = [_value(each, situation.k, situation.seen, own, shares) for each, own, shares in parts]
        return np.array(values[: math.prod(task.shape)], dtype=np.int64 if task.discrete else np.float32)

    def sliced(slices: int) -> Any:
        regimes = replace(basket.assets[0].regimes, rates=())
        return type(made)(scenario=basket.with_assets(slices=slices, regimes=regimes), **options)

    def account(env: Any, info: Mapping[str, Any]) -> float:
        return -float(info["shortfall_bps"] + info["risk_bps"] if task.reward.realised else info["objective_bps"])

    return Adapter(
        make=make,
        slices=lambda env: env.unwrapped.task.market.slices,
        action=action,
        remaining=remaining,
        cost=lambda env, info: info["objective_bps"],
        account=account,
        sliced=sliced,
    )


# --- other draws of nature


def _begun_on(env: Any, change: Callable[[Path], Path]) -> Any:
    """Begin the running episode anew on another path, and return its first observation."""
    return env.unwrapped.begin_on(change)[0]


def _draws(market: Market, path: Path) -> tuple[Draws, Draws]:
    """Return the draws of a path, and other draws, each field of shape (N, episodes) or one number."""
    column = np.arange(market.slices)[:, None]
    return draw(market, path.keys, column), draw(market, path.keys ^ _OTHER, column)


def _relaid(task: Task, path: Path, first: World, draws: Draws) -> Path:
    return path_of(task.market, path.keys, draw_orders(task.market, path.keys, task.draw).side, first, draws)


def another_future(task: Task, k: int) -> Callable[[Path], Path]:
    """Return the change of a path after which nature draws differently from slice `k` on.

    Price and volume differ from slice k on, and the regime in the slices after it.
    """
    market = task.market

    def changed(path: Path) -> Path:
        own, other = _draws(market, path)
        later = np.arange(market.slices)[:, None] >= k
        draws = Draws(*(np.where(later, values, kept) for kept, values in zip(own, other, strict=True)))
        return _relaid(task, path, begin(market, path.keys), draws)

    return changed


def another_regime(task: Task, k: int) -> Callable[[Path], Path]:
    """Return the change of a path after which nature draws another regime in slice `k`; later regimes follow from it."""
    market = task.market

    def changed(path: Path) -> Path:
        own, other = _draws(market, path)
        first = begin(market, path.keys)
        if k == 0:
            first = first._replace(regime=begin(market, path.keys ^ _OTHER).regime)
        at = np.arange(market.slices)[:, None] == k - 1
        draws = own._replace(regime_draw=np.where(at, other.regime_draw, own.regime_draw))
        return _relaid(task, path, first, draws)

    return changed


def _twins(scenario: Scenario) -> Iterator[tuple[Scenario, Scenario]]:
    """Yield pairs of scenarios with one constant regime, which differ only in its name and in one effect that no market shows:
    the speed of recovery, the temporary impact, or the spread.
    """
    names, ones, still = ("BULL_TRENDING", "CRISIS"), (1.0, 1.0), ((0.0, 0.0), (0.0, 0.0))
    for multiplier in ("resilience", "temporary", "spread"):
        regimes = Regimes(names=names, volatility=ones, volume=ones, rates=still, **{multiplier: (1.0, 5.0)})  # type: ignore[arg-type]
        one, other = (replace(scenario, regimes=replace(regimes, start=start)) for start in names)
        yield one, other
