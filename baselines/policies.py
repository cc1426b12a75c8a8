"""The classical policies, and the sanity policies that must not win.

A policy is one `act` method: a :class:`~hyperexec_env.envs.situation.Situation` goes in, shares come out. A new one is a
class of a few lines and one line in a registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import nearest
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.rule import Rule, RulePolicy, plan_rule
from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ADAPTIVE, ALGORITHMS, market_outlook, resolve
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import mix
from hyperexec_env.market.regime import UNKNOWN

from .desk import DESK

__all__ = ["BASELINES", "SANITY", "Adaptive", "Schedule", "get_policy", "policy_names"]

Weights = NDArray[np.float64]

_URGENCY: Final = 0.5


@dataclass(frozen=True)
class Schedule(RulePolicy):
    """An algorithm of the desk as a fixed schedule: each slice trades its weight of what remains.

    Shares that a participation cap forbids are carried forward.
    """

    name: str
    """Name of the algorithm."""

    def fractions(self, market: Market) -> Weights:
        """Return the fraction of what remains for each slice, shape (slices + 1,); the last is 1, for an order that is over."""
        return _fractions(self.name, market)

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return the fractions."""
        return plan_rule(self.fractions(market)[:-1], market)


@lru_cache(maxsize=256)
def _fractions(algorithm: str, market: Market) -> Weights:
    return np.append(schedules.fractions_of_remaining(ALGORITHMS[algorithm](market_outlook(market, _URGENCY))), 1.0)


class Adaptive:
    """The desk's adaptive algorithm: IS in calm and rising markets, else TWAP; where a regime asks for the other, a new plan.

    The same plans as those of the ExecutionAgent, for all episodes at once.
    """

    name = "Adaptive"

    def __init__(self) -> None:
        """Remember nothing."""
        self._plan: tuple[NDArray[np.float64], ...] = ()

    def act(self, situation: Situation) -> Any:
        """Follow the plan that was made when the regime last asked for another."""
        market, seen = situation.market, np.asarray(situation.seen)
        k = np.broadcast_to(np.asarray(situation.k, dtype=float), seen.shape)
        asked, most = _adaptive_choices(market)
        if not self._plan or self._plan[0].shape != seen.shape:
            self._plan = tuple(np.full(seen.shape, np.nan) for _ in range(4))
        choice, start, phase, last = self._plan
        changed = (k == 0) | (asked[seen] != choice)
        choice, start = np.where(changed, asked[seen], choice), np.where(changed, k, start)
        slices = market.slices - start
        children = np.where(choice > 0, choice, slices)  # IS: one in each slice
        interval = slices / children
        last = np.where(k == 0, -0.5 * interval, last)
        phase = np.where(changed, schedules.phase_after(k - last, interval), phase)
        times = schedules.child_times(start, slices, children, phase, most)
        before, after = ((times < bound[..., None]).sum(axis=-1) for bound in (k, k + 1.0))
        newest = np.take_along_axis(times, np.maximum(after - 1, 0)[..., None], axis=-1)[..., 0]
        self._plan = (choice, start, phase, np.where(after > before, newest, last))
        equal = (after - before) / np.maximum(children - before, 1)
        return situation.remaining * np.where(choice > 0, equal, schedules.exponential_fraction(slices, k - start, _URGENCY))


@lru_cache(maxsize=16)
def _adaptive_choices(market: Market) -> tuple[NDArray[np.float64], int]:
    """Return how many children of TWAP each regime (or unknown, the last) asks for, 0 for IS; and the most there can be."""
    choices = [resolve(ADAPTIVE, name, market.slices) for name in (*market.scenario.regimes.names, UNKNOWN)]
    asked = np.array([0.0 if name == "IS" else children for name, children in choices])
    return asked, max(market.slices, int(asked.max()))


class Pov:
    """Percentage of volume: the same participation in the expected volume so far, less what has traded."""

    name = "POV"

    def __init__(self) -> None:
        """Remember nothing."""
        self._target: NDArray[np.float64] = np.empty(0)

    def act(self, situation: Situation) -> Any:
        """Trade the participation that the expected volume of the whole order asks for, and what a cap has forbidden."""
        market, shape = situation.market, np.shape(situation.remaining)
        rate = situation.quantity / market.rest_volume[0, market.unknown]
        if self._target.shape != shape:
            self._target = np.zeros(shape)
        self._target = np.where(np.equal(situation.k, 0), 0.0, self._target)
        self._target = self._target + rate * market.mean_volume[situation.k, situation.seen]
        return np.maximum(self._target - (situation.quantity - situation.remaining), 0.0)


class AllAtOnce(RulePolicy):
    """The whole order in the first slice."""

    name = "all-at-once"

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Trade all that remains, in every slice."""
        return plan_rule(np.ones(market.slices), market)


class WaitThenDump(RulePolicy):
    """Nothing until the last slice."""

    name = "wait-then-dump"

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return nothing but in the last slice."""
        return plan_rule(np.arange(market.slices) == market.slices - 1, market)


@dataclass(frozen=True)
class EveryKth(RulePolicy):
    """Equal children in every k-th slice, the last one among them."""

    every: int = 5
    name: str = "every-5th"

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Trade an equal share of what remains in every k-th slice, counted from the end."""
        left = market.slices - 1 - np.arange(market.slices)
        return plan_rule((left % self.every == 0) / (left // self.every + 1), market)


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
