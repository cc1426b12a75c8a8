"""Episodes of an environment under audit: play one with a plan of trades, and record what happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.audit.adapter import Adapter

__all__ = ["MOST_STEPS", "Episode", "Plan", "evenly", "in_bursts", "play", "randomly"]

MOST_STEPS: Final = 10_000
"""Steps after which an episode that does not end is left."""

Plan = Callable[[int, float, int], float]
"""Function (slice k, remaining shares, slices N) -> shares to trade in slice k."""


@dataclass
class Episode:
    """What happened in an episode. Functions that the adapter lacks leave their fields empty or None."""

    observations: list[NDArray[Any]] = field(default_factory=list)
    """Flattened observations, the first of `reset`: one more than rewards."""
    rewards: list[float] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)
    """Price at each observation."""
    remaining: list[float] = field(default_factory=list)
    """Remaining shares at each observation."""
    fills: list[tuple[float, float]] = field(default_factory=list)
    """Shares and average price of each slice."""
    quantity: float = 0.0
    """Remaining shares after the reset."""
    arrival_price: float | None = None
    ended: bool = False
    cost: float | None = None
    account: float | None = None
    shortfall_bps: float | None = None
    side: int = 1


def evenly(k: int, remaining: float, slices: int) -> float:
    """Return the shares of the steady pace (TWAP): the remaining shares over the remaining slices."""
    return remaining / (slices - k) if k < slices else remaining


def in_bursts(every: int) -> Plan:
    """Return the plan of equal trades in the middle slice of each group of some slices, and none in the others.

    Middle slices keep the mean time of the trades, so that a burst differs from the steady pace by its lumps alone.
    """

    def shares(k: int, remaining: float, slices: int) -> float:
        groups = max(1, slices // every)
        group, place = divmod(k, every)
        if group >= groups or place != every // 2:
            return 0.0
        return remaining / (groups - group)

    return shares


def randomly(seed: int) -> Plan:
    """Return the plan of random multiples of the steady pace, uniform on [0, 2]."""
    rng = np.random.default_rng([seed, 1])

    def shares(k: int, remaining: float, slices: int) -> float:
        return min(2.0 * float(rng.random()) * evenly(k, remaining, slices), remaining)

    return shares


def play(
    adapter: Adapter,
    env: Any,
    seed: int | None,
    plan: Plan | None = None,
    change: Callable[[Any], Any] | None = None,
    steps: int = MOST_STEPS,
    brief: bool = False,
) -> Episode:
    """Play an episode and return what happened.

    Args:
        adapter: The adapter of the environment.
        env: The environment.
        seed: Seed of the reset; None: a reset without a seed.
        plan: The trades; None: actions drawn from the action space, the same for the same seed.
        change: Called with the environment after its reset; may return another first observation.
        steps: Steps after which the episode is left.
        brief: Whether to record only rewards, the remaining shares at the end, and the results.
    """
    if plan is None:
        env.action_space.seed(0 if seed is None else seed)
    observation, info = env.reset(seed=seed)
    other = None if change is None else change(env)
    episode = Episode()
    if not brief:
        _observe(adapter, env, episode, observation if other is None else other)
    episode.arrival_price = None if adapter.arrival_price is None else float(adapter.arrival_price(env))
    episode.quantity = 0.0 if adapter.remaining is None else float(adapter.remaining(env))
    episode.side = int(adapter.side(env))
    slices = adapter.slices_of(env) if adapter.slices is not None else 0
    for k in range(steps):
        action = env.action_space.sample() if plan is None else _planned(adapter, env, plan, k, slices)
        observation, reward, terminated, truncated, info = env.step(action)
        episode.rewards.append(float(reward))
        if not brief:
            _observe(adapter, env, episode, observation)
        if adapter.fill is not None and not brief:
            shares, price = adapter.fill(env, info)
            episode.fills.append((float(shares), float(price)))
        if terminated or truncated:
            _end(adapter, env, episode, info)
            break
    return episode


def _planned(adapter: Adapter, env: Any, plan: Plan, k: int, slices: int) -> Any:
    """Return the action of a plan in slice `k`."""
    if adapter.action is None or adapter.remaining is None:
        raise ValueError("a plan needs the functions action and remaining of the adapter")
    return adapter.action(env, plan(k, float(adapter.remaining(env)), slices))


def _observe(adapter: Adapter, env: Any, episode: Episode, observation: Any) -> None:
    """Append what is known now to an episode."""
    episode.observations.append(np.array(spaces.flatten(env.observation_space, observation), copy=True))
    if adapter.price is not None:
        episode.prices.append(float(adapter.price(env)))
    if adapter.remaining is not None:
        episode.remaining.append(float(adapter.remaining(env)))


def _end(adapter: Adapter, env: Any, episode: Episode, info: Any) -> None:
    """Read the results of an episode that has ended."""
    episode.ended = True
    if not episode.remaining and adapter.remaining is not None:
        episode.remaining.append(float(adapter.remaining(env)))
    for name in ("cost", "account", "shortfall_bps"):
        read = getattr(adapter, name)
        if read is not None:
            setattr(episode, name, float(read(env, info)))
