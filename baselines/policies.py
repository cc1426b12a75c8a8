"""Classical baseline policies (TWAP, VWAP, IS, AC, POV, Adaptive), and sanity policies that must not beat TWAP.

A policy has one method, `act`, which maps a :class:`~hyperexec_env.envs.situation.Situation` to shares. A new policy is a
class of a few lines and one line in a registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import nearest
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import Policy, check_fit
from hyperexec_env.evaluation.rule import Rule, RulePolicy, plan_rule, rule_of
from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ADAPTIVE, ALGORITHMS, market_outlook, resolve
from hyperexec_env.market.noise import mix
from hyperexec_env.market.regime import UNKNOWN
from hyperexec_env.market.tables import Market

from .desk import DESK, LEARNERS
from .filtered import BeliefGrid, Filtered
from .replan import MISLED, Replan

__all__ = ["BASELINES", "MANY", "SANITY", "SOLVED", "Adaptive", "Optimal", "Schedule", "get_policy", "policy_names"]

Weights = NDArray[np.float64]

_URGENCY: Final = 0.5
"""Urgency of IS, 0 to 1."""


@dataclass(frozen=True)
class Schedule(RulePolicy):
    """An algorithm of the desk as a deterministic schedule: each slice trades a fixed fraction of the remaining shares.

    Shares held back by a participation cap are carried forward.
    """

    name: str
    """Name of the algorithm."""

    def fractions(self, market: Market) -> Weights:
        """Return the fraction of the remaining shares that each slice trades, shape (slices + 1,).

        The last entry is 1, for the situation after the last slice.
        """
        return _fractions(self.name, market)

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return the schedule as a rule."""
        return plan_rule(self.fractions(market)[:-1], market)


@lru_cache(maxsize=256)
def _fractions(algorithm: str, market: Market) -> Weights:
    return np.append(schedules.fractions_of_remaining(ALGORITHMS[algorithm](market_outlook(market, _URGENCY))), 1.0)


class Adaptive:
    """The desk's adaptive algorithm: IS in calm and rising markets, else TWAP, replanned when the regime changes the choice.

    The plans equal the plans of the ExecutionAgent, computed for all episodes at once.
    """

    name = "Adaptive"

    def __init__(self) -> None:
        """Start without a plan."""
        self._plan: tuple[NDArray[np.float64], ...] = ()  # choice, start, phase, time of the last child: shape (episodes,)

    def act(self, situation: Situation) -> Any:
        """Return the shares of the current plan, after replanning the episodes whose regime calls for another algorithm."""
        market, seen = situation.market, np.asarray(situation.seen)
        k = np.broadcast_to(np.asarray(situation.k, dtype=float), seen.shape)
        choices, most = _adaptive_choices(market)
        if not self._plan or self._plan[0].shape != seen.shape:
            self._plan = tuple(np.full(seen.shape, np.nan) for _ in range(4))
        choice, start, phase, last = self._plan
        changed = (k == 0) | (choices[seen] != choice)
        choice, start = np.where(changed, choices[seen], choice), np.where(changed, k, start)
        slices = market.slices - start
        children = np.where(choice > 0, choice, slices)  # IS trades one child per slice
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
    """Return the number of TWAP children by observed regime (0 for IS; last: unknown regime), and the maximum of any plan."""
    resolved = [resolve(ADAPTIVE, name, market.slices) for name in (*market.scenario.regimes.names, UNKNOWN)]
    choices = np.array([0.0 if name == "IS" else children for name, children in resolved])
    return choices, max(market.slices, int(choices.max()))


class Pov:
    """Percentage of volume: trade a constant participation in the cumulative expected volume."""

    name = "POV"

    def __init__(self) -> None:
        """Start without a target."""
        self._target: NDArray[np.float64] = np.empty(0)  # cumulative shares, shape (episodes,)

    def act(self, situation: Situation) -> Any:
        """Return the cumulative target less the shares traded so far, so that shares held back by a cap are caught up.

        The participation rate is the quantity of the order over the volume expected for an unknown regime.
        """
        market, shape = situation.market, np.shape(situation.remaining)
        rate = situation.quantity / market.rest_volume[0, market.unknown]
        if self._target.shape != shape:
            self._target = np.zeros(shape)
        self._target = np.where(np.equal(situation.k, 0), 0.0, self._target)
        self._target = self._target + rate * market.mean_volume[situation.k, situation.seen]
        return np.maximum(self._target - (situation.quantity - situation.remaining), 0.0)


class AllAtOnce(RulePolicy):
    """Trade the whole order in the first slice."""

    name = "all-at-once"

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return a rule that trades all remaining shares in every slice."""
        return plan_rule(np.ones(market.slices), market)


class WaitThenDump(RulePolicy):
    """Trade nothing until the last slice, then the whole order."""

    name = "wait-then-dump"

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return a rule that trades in the last slice only."""
        return plan_rule(np.arange(market.slices) == market.slices - 1, market)


@dataclass(frozen=True)
class EveryKth(RulePolicy):
    """Trade equal children in every k-th slice, counted from the end, so that the last slice trades."""

    every: int = 5
    name: str = "every-5th"

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return a rule that splits the remaining shares equally over the remaining k-th slices."""
        left = market.slices - 1 - np.arange(market.slices)
        return plan_rule((left % self.every == 0) / (left // self.every + 1), market)


class Random:
    """Trade at a random multiple of the TWAP pace, uniform on [0, 2].

    The draw is a hash of the flow of the previous slice, so that results do not depend on the batch size.
    """

    name = "random"

    def act(self, situation: Situation) -> Any:
        """Return a random multiple, 0 to 2, of the remaining shares over the remaining slices."""
        bits = np.array(situation.flow, dtype=np.float64, ndmin=1).view(np.uint64)
        uniform = ((mix(bits + np.uint64(1)) >> np.uint64(11)) * 2.0**-53).reshape(np.shape(situation.flow))
        return situation.remaining * (2.0 * uniform / (situation.market.slices - situation.k))


class Optimal:
    """The optimal policy of any scenario that is solved exactly; the scenario is solved when the policy first acts in it."""

    name = "optimum"

    def unfit(self, market: Market) -> str:
        """Return why a market is not solved exactly; "" if it is."""
        from .solver.problem import not_solved  # a lazy import keeps the solver off the path of runs without an optimum

        return not_solved(market)

    def rule(self, market: Market, hidden: bool) -> Rule | None:
        """Return the rule of the optimal policy."""
        return rule_of(_optimal(market), market, hidden)

    def act(self, situation: Situation) -> Any:
        """Return the optimal shares."""
        return _optimal(situation.market).act(situation)


def _optimal(market: Market) -> Policy:
    """Return the optimal policy of a market.

    Raises:
        ValueError: The scenario is not solved exactly.
    """
    from .solver import solve  # lazy as above

    check_fit(Optimal(), market)
    return cast(Policy, solve(market.scenario).policy)


BASELINES: Final[dict[str, Callable[[], Policy]]] = {
    "TWAP": lambda: Schedule("TWAP"),
    "VWAP": lambda: Schedule("VWAP"),
    "IS": lambda: Schedule("IS"),
    "AC": lambda: Schedule("AC"),
    "POV": Pov,
    "Adaptive": Adaptive,
}
"""Factories of the classical policies by name."""
SANITY: Final[dict[str, Callable[[], Policy]]] = {
    "random": Random,
    "all-at-once": AllAtOnce,
    "wait-then-dump": WaitThenDump,
    "every-5th": EveryKth,
}
"""Factories of the sanity policies by name. In a market without a defect they do not beat TWAP."""


def _linearised() -> Policy:
    """Return the optimum of the linearised market."""
    from .universal import linearised_policy  # lazy as above

    return linearised_policy()


def _universal() -> Policy:
    """Return the shipped policy for many markets."""
    from .universal import universal_policy  # lazy as above

    return universal_policy()


MANY: Final[dict[str, Callable[[], Policy]]] = {"linearised": _linearised, "universal": _universal}
"""Factories of the policies for many markets by name (:mod:`.universal`)."""


SOLVED: Final[dict[str, Callable[[], Policy]]] = {kind.name: kind for kind in (Optimal, Replan, *MISLED, Filtered, BeliefGrid)}
"""Factories by name of the policies that solve the scenario in which they trade."""


def policy_names() -> tuple[str, ...]:
    """Return the names of all policies of the package but those of :data:`SOLVED`."""
    return (*BASELINES, *SANITY, *DESK, *LEARNERS, *MANY)


def get_policy(name: str) -> Policy:
    """Return a new policy by name (case-insensitive).

    Raises:
        ValueError: The name is unknown; the message suggests the nearest name.
    """
    known: dict[str, Callable[[], Policy]] = {**BASELINES, **SANITY, **DESK, **LEARNERS, **MANY, **SOLVED}
    by_word = {key.lower(): make for key, make in known.items()}
    if name.lower() not in by_word:
        raise ValueError(f"unknown policy {name!r}{nearest(name, known)} (known: {', '.join(known)}; or a folder)")
    return by_word[name.lower()]()
