"""The solutions as policies that run in the environment."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.observation import Situation
from hyperexec_env.evaluation.rule import Rule, plan_rule
from hyperexec_env.market.model import Market

from .dynamic import Table, place
from .problem import Problem
from .spline import Axis

__all__ = ["DelayedPolicy", "LinearPolicy", "SchedulePolicy", "TablePolicy"]

Floats = NDArray[np.float64]


def _digest(*arrays: Any) -> str:
    """Hash some arrays."""
    total = hashlib.sha256()
    for values in arrays:
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()[:16]


def _known(situation: Situation) -> NDArray[np.int64]:
    """Return the regime that is seen.

    Raises:
        ValueError: It is hidden, or the order is not that of the scenario.
    """
    quantity = situation.market.scenario.quantity
    if np.any(np.asarray(situation.quantity) != quantity):
        raise ValueError(f"quantity must be that of the scenario, {quantity:g}, for which the optimum was solved")
    seen = np.asarray(situation.seen)
    if (seen == situation.market.unknown).any():
        raise ValueError("the optimal policy must be told the regime, which is hidden here")
    return seen


def _between(axis: Axis, values: Any) -> tuple[NDArray[np.intp], Floats]:
    """Return the node below some values, and how far they are on the way to the next."""
    if axis.count == 1:
        return np.zeros(np.shape(values), dtype=np.intp), np.zeros(np.shape(values))
    steps = np.clip((np.asarray(values) - axis.low) / axis.spacing, 0.0, axis.count - 1.0)
    below = np.minimum(steps.astype(np.intp), axis.count - 2)
    return below, steps - below


@dataclass(eq=False)
class TablePolicy:
    """The solution of the dynamic programme: the fraction of what remains, linear between the nodes of its grid."""

    problem: Problem = field(repr=False)
    table: Table = field(repr=False)
    name: str = "optimum"

    @property
    def digest(self) -> str:
        """Hash of what the policy does."""
        axes = (self.problem.axis, self.table.remaining, self.table.transient)
        return _digest(self.table.fractions, self.problem.signal, *(np.array(axis, dtype=float) for axis in axes))

    def act(self, situation: Situation) -> Any:
        """Trade the fraction of the table."""
        return self._trade(situation, _known(situation))

    def rule(self, market: Market, hidden: bool) -> Rule | None:
        """Return the table, for compiled loops; None where the regime is hidden or the order is another."""
        problem, table = self.problem, self.table
        if hidden or market is not problem.market:
            return None
        scenario = market.scenario
        numbers = [scenario.quantity, market.impact.transient_slope, 1e-12 * scenario.arrival_price, scenario.arrival_price]
        numbers += [problem.by_flow or problem.axis.count == 1, market.regimes]
        for axis in (problem.axis, table.remaining, table.transient):
            numbers += [axis.count, axis.low, axis.spacing]
        return Rule(_from_table, np.array(numbers, dtype=float), np.ascontiguousarray(table.fractions, np.float32).ravel())

    def _trade(self, situation: Situation, row: NDArray[np.int64]) -> Any:
        """Trade the fraction of a row of the table (a regime)."""
        problem, table = self.problem, self.table
        root, share, _ = place(problem, situation.remaining, situation.transient)
        signal = problem.coordinate(np.asarray(situation.flow), np.asarray(situation.price))
        places = [
            _between(problem.axis, signal if problem.axis.count > 1 else np.zeros(np.shape(root))),
            _between(table.remaining, root),
            _between(table.transient, share),
        ]
        nodes = table.fractions.shape[2:]
        total: Any = 0.0
        for corner in range(8):
            weight: Any = 1.0
            index: list[Any] = [situation.k, row]
            for bit, (below, way) in enumerate(places):
                up = corner >> bit & 1
                index.append(np.minimum(below + up, nodes[bit] - 1))
                weight = weight * (way if up else 1.0 - way)
            total = total + weight * table.fractions[tuple(index)]
        return total * situation.remaining


@dataclass(eq=False)
class DelayedPolicy(TablePolicy):
    """The best policy of an observer who learns each regime one slice late; it remembers what it saw in the slice before."""

    name: str = "told late"
    before: Any = field(default=0, init=False, repr=False)
    """Regime of the slice before."""

    def rule(self, market: Market, hidden: bool) -> None:
        """Return none: what is remembered is no number of the market."""

    def act(self, situation: Situation) -> Any:
        """Trade the fraction for the regime of the slice before."""
        seen = _known(situation)
        row = np.where(np.equal(situation.k, 0), 0, self.before)
        self.before = seen
        return self._trade(situation, row)


@dataclass(frozen=True, eq=False)
class LinearPolicy:
    """The solution of the Riccati recursions: the trade is linear in what remains, the displacement and the signal."""

    gains: Floats = field(repr=False)
    """Shape (slices, regimes, 4)."""
    by_flow: bool = True
    """Whether the signal is the last order flow; else it is the price over the arrival price."""
    name: str = "optimum"

    @property
    def digest(self) -> str:
        """Hash of what the policy does."""
        return _digest(self.gains)

    def rule(self, market: Market, hidden: bool) -> Rule | None:
        """Return the gains, for compiled loops; None where the regime is hidden."""
        if hidden:
            return None
        scenario = market.scenario
        head = [scenario.quantity, scenario.arrival_price, self.by_flow, market.regimes]
        return Rule(_by_gains, np.concatenate([head, self.gains.ravel()]), np.zeros(1, dtype=np.float32))

    def act(self, situation: Situation) -> Any:
        """Trade what the gains say, but never the other way."""
        scenario = situation.market.scenario
        fixed, held, by_signal, constant = np.moveaxis(self.gains[situation.k, _known(situation)], -1, 0)
        signal = situation.flow if self.by_flow else np.asarray(situation.price) / scenario.arrival_price
        trade = fixed * situation.remaining + scenario.quantity * (
            held * (np.asarray(situation.transient) / scenario.arrival_price) + by_signal * signal + constant
        )
        return np.maximum(trade, 0.0)


@dataclass(frozen=True, eq=False)
class SchedulePolicy:
    """A fixed schedule, as fractions of what remains, so that what a cap forbids is carried forward."""

    fractions: Floats = field(repr=False)
    """Shape (slices,)."""
    name: str = "best schedule"

    @property
    def digest(self) -> str:
        """Hash of what the policy does."""
        return _digest(self.fractions)

    def act(self, situation: Situation) -> Any:
        """Trade the fraction of this slice."""
        return situation.remaining * self.fractions[situation.k]

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return the fractions, for compiled loops."""
        return plan_rule(self.fractions, market)


def _from_table(
    numbers: Any, table: Any, k: Any, seen: Any, remaining: Any, transient: Any, flow: Any, price: Any
) -> Any:  # TablePolicy.act for one episode
    quantity, slope, least, start = numbers[0], numbers[1], numbers[2], numbers[3]
    left = max(remaining, 0.0)
    share = min(transient / max(slope * (quantity - left), least), 1.0)
    signal = flow if numbers[4] > 0.0 else math.log(price / start)
    total, index = 0.0, k * np.int64(numbers[5]) + seen
    values = (signal, math.sqrt(left / quantity), share)
    counts = (np.int64(numbers[6]), np.int64(numbers[9]), np.int64(numbers[12]))
    first, up = _on_axis(values[0], numbers[7], numbers[8], counts[0])
    second, wide = _on_axis(values[1], numbers[10], numbers[11], counts[1])
    third, far = _on_axis(values[2], numbers[13], numbers[14], counts[2])
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
        weight = (up if a else 1.0 - up) * (wide if b else 1.0 - wide) * (far if c else 1.0 - far)
        row = (index * counts[0] + min(first + a, counts[0] - 1)) * counts[1] + min(second + b, counts[1] - 1)
        total += weight * table[row * counts[2] + min(third + c, counts[2] - 1)]
    return total * remaining


def _on_axis(value: Any, low: Any, spacing: Any, count: Any) -> Any:  # _between for one number
    if count == 1:
        return 0, 0.0
    steps = min(max((value - low) / spacing, 0.0), count - 1.0)
    below = min(np.int64(steps), count - 2)
    return below, steps - below


def _by_gains(
    numbers: Any, table: Any, k: Any, seen: Any, remaining: Any, transient: Any, flow: Any, price: Any
) -> Any:  # LinearPolicy.act for one episode
    quantity, start, row = numbers[0], numbers[1], 4 + 4 * (k * np.int64(numbers[3]) + seen)
    signal = flow if numbers[2] > 0.0 else price / start
    fixed, held, by_signal, constant = numbers[row], numbers[row + 1], numbers[row + 2], numbers[row + 3]
    return max(fixed * remaining + quantity * (held * (transient / start) + by_signal * signal + constant), 0.0)
