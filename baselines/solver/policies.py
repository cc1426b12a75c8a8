"""The solutions as policies that run in the environment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.rule import Rule, RulePolicy, plan_rule
from hyperexec_env.market.model import Market
from hyperexec_env.market.numeric import maximum, minimum

from .dynamic import Table
from .problem import Problem

__all__ = ["DelayedPolicy", "LinearPolicy", "SchedulePolicy", "TablePolicy"]

Floats = NDArray[np.float64]


def _digest(*arrays: Any) -> str:
    """Hash some arrays."""
    total = hashlib.sha256()
    for values in arrays:
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()[:16]


def _check_known(situation: Situation) -> None:
    """Refuse a situation that the optimum was not solved for.

    Raises:
        ValueError: The regime is hidden, or the order is not the order of the scenario.
    """
    quantity = situation.market.scenario.quantity
    if np.any(np.asarray(situation.quantity) != quantity):
        raise ValueError(f"quantity must be that of the scenario, {quantity:g}, for which the optimum was solved")
    if np.any(np.asarray(situation.seen) == situation.market.unknown):
        raise ValueError("the optimal policy must be told the regime, which is hidden here")


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

    @cached_property
    def _rule(self) -> Rule:
        """The table as a rule."""
        problem, table, market = self.problem, self.table, self.problem.market
        scenario = market.scenario
        return Rule(
            _from_table,
            TableParameters(
                quantity=scenario.quantity,
                slope=float(market.impact.transient_slope),
                least=1e-12 * scenario.arrival_price,
                arrival_price=scenario.arrival_price,
                by_flow=float(problem.by_flow or problem.axis.count == 1),
                rows=table.fractions.shape[1],
                **{
                    f"{name}_{key}": getattr(axis, key)
                    for name, axis in (("signal", problem.axis), ("root", table.remaining), ("share", table.transient))
                    for key in ("count", "low", "spacing")
                },
                fractions=np.ascontiguousarray(table.fractions, np.float32).ravel(),
            ),
        )

    def rule(self, market: Market, hidden: bool) -> Rule | None:
        """Return the table; None where the regime is hidden or the market is another."""
        return None if hidden or market is not self.problem.market else self._rule

    def act(self, situation: Situation) -> Any:
        """Trade the fraction of the table."""
        _check_known(situation)
        return self._rule.decide(self._rule.parameters, situation)


@dataclass(eq=False)
class DelayedPolicy(TablePolicy):
    """The best policy of an observer who learns each regime one slice late; it remembers what it saw in the slice before."""

    name: str = "told late"
    before: Any = field(default=0, init=False, repr=False)
    """Regime of the slice before."""

    def rule(self, market: Market, hidden: bool) -> None:
        """Return None: the regime of the slice before is no part of a situation."""

    def act(self, situation: Situation) -> Any:
        """Trade the fraction for the regime of the slice before."""
        _check_known(situation)
        row = np.where(np.equal(situation.k, 0), 0, self.before)
        self.before = np.asarray(situation.seen)
        return self._rule.decide(self._rule.parameters, situation._replace(seen=row))


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
        """Return the gains; None where the regime is hidden."""
        return None if hidden else self._rule(market)

    def _rule(self, market: Market) -> Rule:
        scenario = market.scenario
        gains = LinearParameters(
            scenario.quantity, scenario.arrival_price, float(self.by_flow), market.regimes, self.gains.ravel()
        )
        return Rule(_by_gains, gains)

    def act(self, situation: Situation) -> Any:
        """Trade what the gains say, but never the other way."""
        _check_known(situation)
        rule = self._rule(situation.market)
        return rule.decide(rule.parameters, situation)


@dataclass(frozen=True, eq=False)
class SchedulePolicy(RulePolicy):
    """A fixed schedule, as fractions of what remains, so that what a cap forbids is carried forward."""

    fractions: Floats = field(repr=False)
    """Shape (slices,)."""
    name: str = "best schedule"

    @property
    def digest(self) -> str:
        """Hash of what the policy does."""
        return _digest(self.fractions)

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return the fractions."""
        return plan_rule(self.fractions, market)


class TableParameters(NamedTuple):
    """The solution of a dynamic programme, flat."""

    quantity: float
    slope: float
    """kappa, currency per share for each share traded."""
    least: float
    """Smallest displacement that counts, currency per share."""
    arrival_price: float
    by_flow: float
    """1 where the signal is the order flow, 0 where it is the log of the price over the arrival price."""
    rows: int
    """Rows of the table in each slice: regimes."""
    signal_count: int
    signal_low: float
    signal_spacing: float
    root_count: int
    root_low: float
    root_spacing: float
    share_count: int
    share_low: float
    share_spacing: float
    fractions: NDArray[np.float32]
    """Fraction of what remains, flat, shape (slices, rows, signal, root of the remaining share, share of the displacement)."""


class LinearParameters(NamedTuple):
    """The gains of a linear policy, flat."""

    quantity: float
    arrival_price: float
    by_flow: float
    """1 where the signal is the order flow, 0 where it is the price over the arrival price."""
    regimes: int
    gains: Floats
    """Shape (slices, regimes, 4), flat."""


def _from_table(table: TableParameters, situation: Situation) -> Any:
    """Trade the fraction of the table, linear between the nodes of its grid."""
    left = maximum(situation.remaining, 0.0)
    most = maximum(table.slope * (table.quantity - left), table.least)
    signal = situation.flow if table.by_flow > 0.0 else np.log(situation.price / table.arrival_price)
    first, up = _on_axis(signal, table.signal_low, table.signal_spacing, table.signal_count)
    second, wide = _on_axis(np.sqrt(left / table.quantity), table.root_low, table.root_spacing, table.root_count)
    third, far = _on_axis(minimum(situation.transient / most, 1.0), table.share_low, table.share_spacing, table.share_count)
    total, index = 0.0, situation.k * table.rows + situation.seen
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
        weight = (up if a else 1.0 - up) * (wide if b else 1.0 - wide) * (far if c else 1.0 - far)
        row = index * table.signal_count + minimum(first + a, table.signal_count - 1)
        row = row * table.root_count + minimum(second + b, table.root_count - 1)
        total = total + weight * table.fractions[row * table.share_count + minimum(third + c, table.share_count - 1)]
    return total * situation.remaining


def _on_axis(value: Any, low: Any, spacing: Any, count: Any) -> tuple[Any, Any]:
    """Return the node below a value on an axis, and how far the value is on the way to the next node."""
    if count == 1:
        return np.int64(0), 0.0
    steps = minimum(maximum((value - low) / spacing, 0.0), count - 1.0)
    below = minimum(np.int64(steps), count - 2)
    return below, steps - below


def _by_gains(linear: LinearParameters, situation: Situation) -> Any:
    """Trade linearly in what remains, the displacement and the signal, but never the other way."""
    row = 4 * (situation.k * linear.regimes + situation.seen)
    signal = situation.flow if linear.by_flow > 0.0 else situation.price / linear.arrival_price
    fixed, held, by_signal, constant = (
        linear.gains[row],
        linear.gains[row + 1],
        linear.gains[row + 2],
        linear.gains[row + 3],
    )
    moved = held * (situation.transient / linear.arrival_price) + by_signal * signal + constant
    return maximum(fixed * situation.remaining + linear.quantity * moved, 0.0)
