"""The classical policies, and the sanity policies that must not win.

A policy is one `act` method: a :class:`~hyperexec_env.envs.observation.Situation` goes in, shares come out. A new one is a
class of a few lines and one line in a registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from baselines.desk import DESK
from hyperexec_env.checks import nearest
from hyperexec_env.envs.observation import Situation
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ADAPTIVE, ALGORITHMS, market_outlook, resolve
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import mix
from hyperexec_env.market.regime import UNKNOWN

__all__ = ["BASELINES", "SANITY", "Adaptive", "Schedule", "get_policy", "policy_names"]

Weights = NDArray[np.float64]

_URGENCY: Final = 0.5


@dataclass(frozen=True)
class Schedule:
    """An algorithm of the desk as a fixed schedule: each slice trades its weight of what remains."""

    name: str
    """Name of the algorithm."""

    def act(self, situation: Situation) -> Any:
        """Trade the slice's share of what remains, so that what a cap forbids is carried forward."""
        return situation.remaining * _fractions(self.name, situation.market)[situation.k]


@lru_cache(maxsize=256)
def _fractions(algorithm: str, market: Market) -> Weights:
    return np.append(schedules.of_remaining(ALGORITHMS[algorithm](market_outlook(market, _URGENCY))), 1.0)


class Adaptive:
    """The desk's adaptive algorithm: IS in calm and rising markets, else TWAP; a change of regime plans the rest anew."""

    name = "Adaptive"

    def __init__(self) -> None:
        """Remember nothing."""
        self._seen: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._start = self._seen

    def act(self, situation: Situation) -> Any:
        """Follow the plan that was made when the regime last changed."""
        seen = np.asarray(situation.seen)
        k = np.broadcast_to(situation.k, seen.shape)
        if self._seen.shape != seen.shape:
            self._seen, self._start = np.full_like(seen, -1), np.zeros_like(k)
        self._start = np.where((k == 0) | (seen != self._seen), k, self._start)
        self._seen = seen
        front_loaded, children = _adaptive_choices(situation.market)
        slices, done = situation.market.slices - self._start, k - self._start
        fraction = np.where(
            front_loaded[seen],
            schedules.exponential_fraction(slices, done, _URGENCY),
            schedules.children_fraction(slices, done, children[seen]),
        )
        return situation.remaining * fraction


@lru_cache(maxsize=16)
def _adaptive_choices(market: Market) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether each regime (or unknown, the last) asks for IS, and otherwise for how many children of TWAP."""
    choices = [resolve(ADAPTIVE, name, market.slices) for name in (*market.scenario.regimes.names, UNKNOWN)]
    return np.array([name == "IS" for name, _ in choices]), np.array([children for _, children in choices])


class Pov:
    """Percentage of volume: the same participation in the expected volume of every slice."""

    name = "POV"

    def act(self, situation: Situation) -> Any:
        """Trade the participation that the expected volume of the whole order asks for."""
        market = situation.market
        rate = situation.quantity / market.rest_volume[0, market.unknown]
        return rate * market.mean_volume[situation.k, situation.seen]


class AllAtOnce:
    """Everything in the first slice."""

    name = "all-at-once"

    def act(self, situation: Situation) -> Any:
        """Trade what remains."""
        return situation.remaining


class WaitThenDump:
    """Nothing until the last slice."""

    name = "wait-then-dump"

    def act(self, situation: Situation) -> Any:
        """Trade what remains in the last slice."""
        return situation.remaining * (situation.k == situation.market.slices - 1)


@dataclass(frozen=True)
class EveryKth:
    """Equal children in every k-th slice, the last one among them."""

    every: int = 5
    name: str = "every-5th"

    def act(self, situation: Situation) -> Any:
        """Trade an equal share of what remains in every k-th slice, counted from the end."""
        left = situation.market.slices - 1 - situation.k
        return situation.remaining * ((left % self.every == 0) / (left // self.every + 1))


class Random:
    """A uniformly random fraction of twice the TWAP pace; the draw is a hash of the flow, so that batches do not matter."""

    name = "random"

    def act(self, situation: Situation) -> Any:
        """Trade a random multiple, 0 to 2, of an equal share of what remains."""
        bits = np.array(situation.flow, dtype=np.float64, ndmin=1).view(np.uint64)
        uniform = ((mix(bits + np.uint64(1)) >> np.uint64(11)) * 2.0**-53).reshape(np.shape(situation.flow))
        return situation.remaining * (2.0 * uniform / (situation.market.slices - situation.k))


BASELINES: Final[dict[str, Callable[[], Policy]]] = {
    "TWAP": lambda: Schedule("TWAP"),
    "VWAP": lambda: Schedule("VWAP"),
    "IS": lambda: Schedule("IS"),
    "AC": lambda: Schedule("AC"),
    "POV": Pov,
    "Adaptive": Adaptive,
}
"""The classical policies by name."""
SANITY: Final[dict[str, Callable[[], Policy]]] = {
    "random": Random,
    "all-at-once": AllAtOnce,
    "wait-then-dump": WaitThenDump,
    "every-5th": EveryKth,
}
"""Policies that must not beat TWAP where the market is sound."""


def policy_names() -> tuple[str, ...]:
    """Return the names of all policies that ship with the package."""
    return (*BASELINES, *SANITY, *DESK)


def get_policy(name: str) -> Policy:
    """Return a fresh policy by name (case does not matter).

    Raises:
        ValueError: No such policy; the message names the nearest one.
    """
    known = {key.lower(): make for key, make in {**BASELINES, **SANITY, **DESK}.items()}
    if name.lower() not in known:
        raise ValueError(
            f"unknown policy {name!r}{nearest(name, policy_names())} (known: {', '.join(policy_names())}; or a folder)"
        )
    return known[name.lower()]()
