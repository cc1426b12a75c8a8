"""Solver solutions as policies that run in the environment: optimal table, delayed table, linear feedback, fixed schedule."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.rule import Rule, RulePolicy, plan_rule
from hyperexec_env.market.belief import log_volume_ratio
from hyperexec_env.market.numeric import maximum, minimum
from hyperexec_env.market.tables import Market

from .belief import belief_gains, total_noise
from .dynamic import Table
from .problem import Problem

__all__ = ["BeliefPolicy", "DelayedPolicy", "LinearPolicy", "SchedulePolicy", "TablePolicy", "table_policy"]

Floats = NDArray[np.float64]


def _digest(*arrays: Any) -> str:
    """Return the sha256 of some arrays, 16 hex digits."""
    content = hashlib.sha256()
    for values in arrays:
        content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()[:16]


def _check_solved(situation: Situation) -> None:
    """Check that a situation is one that the optimum was solved for.

    Raises:
        ValueError: The regime is hidden, or the quantity differs from the quantity of the scenario.
    """
    quantity = situation.market.scenario.quantity
    if np.any(np.asarray(situation.quantity) != quantity):
        raise ValueError(f"quantity must be the quantity of the scenario, {quantity:g}, for which the optimum was solved")
    if np.any(np.asarray(situation.seen) == situation.market.unknown):
        raise ValueError("the optimal policy must observe the regime, which is hidden here; pass observe_regime=True")


def _same_market(market: Market, other: Market) -> bool:
    """Return whether two markets are that of one scenario, which may have been built twice."""
    return market is other or (market.days is None and other.days is None and market.scenario.hash == other.scenario.hash)


@dataclass(eq=False)
class TablePolicy:
    """Policy of the dynamic programme: a fraction of the remaining shares, interpolated linearly on the solution's grid."""

    problem: Problem = field(repr=False)
    table: Table = field(repr=False)
    name: str = "optimum"

    @property
    def digest(self) -> str:
        """Hash of the numbers that determine the trades."""
        axes = (self.problem.axis, self.table.remaining, self.table.transient)
        return _digest(self.table.fractions, self.problem.signal, *(np.array(axis, dtype=float) for axis in axes))

    @cached_property
    def _rule(self) -> Rule:
        """Rule that interpolates the table."""
        problem, table, market = self.problem, self.table, self.problem.market
        scenario = market.scenario
        return Rule(
            _table_shares,
            TableParameters(
                quantity=scenario.quantity,
                slope=float(market.impact.transient_slope),
                least=1e-12 * scenario.arrival_price,
                arrival_price=scenario.arrival_price,
                by_flow=float(problem.follows in ("flow", "level") or problem.axis.count == 1),
                by_volume=float(problem.follows == "volume"),
                by_drift=float(problem.follows == "drift"),
                by_slope=float(problem.follows == "slope"),
                slope_least=1.0 - scenario.temp_impact_sd,
                slope_range=2.0 * scenario.temp_impact_sd or 1.0,
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
        """Return the rule; None if the regime is hidden or the market is not the market of the solution."""
        return self._rule if not hidden and _same_market(market, self.problem.market) else None

    def act(self, situation: Situation) -> Any:
        """Return the interpolated fraction times the remaining shares."""
        _check_solved(situation)
        return self._rule.decide(self._rule.parameters, situation)


@dataclass(eq=False)
class _Belief:
    """Memory of a policy that learns the volume level (:mod:`.belief`)."""

    evidence: Any = 0.0
    """Sum of the observed log volumes over their expectations, by episode."""
    expected: Any = 1.0
    """Expected volume of the previous slice in its regime, shares, by episode."""

    def after(self, market: Market, situation: Situation) -> Any:
        """Return the mean log level given the volumes before a slice, and remember the volume expected in the slice."""
        shape, k = np.shape(situation.last_volume), np.asarray(situation.k)
        if np.shape(self.evidence) != shape:  # a batch of another size begins
            self.evidence, self.expected = np.zeros(shape), 1.0
        observed = log_volume_ratio(situation.last_volume, self.expected, total_noise(market) ** 2)
        self.evidence = np.where(k == 0, 0.0, self.evidence + observed)
        slice = np.minimum(k, market.slices - 1)
        self.expected = market.mean_volume[slice, situation.seen]
        return belief_gains(market)[slice] * self.evidence


@dataclass(eq=False)
class DelayedPolicy(TablePolicy):
    """Optimal policy if the regime is observed one slice late; the policy remembers the regime of the previous slice.

    The volume of that slice, given its regime, is what the policy learns about the volume level.
    """

    name: str = "regime one slice late"
    previous: Any = field(default=0, init=False, repr=False)
    """Regime of the previous slice."""
    _belief: _Belief = field(default_factory=_Belief, init=False, repr=False)

    def rule(self, market: Market, hidden: bool) -> None:
        """Return None, because a situation does not contain the regime of the previous slice."""

    def act(self, situation: Situation) -> Any:
        """Return the fraction for the regime of the previous slice times the remaining shares."""
        _check_solved(situation)
        if self.problem.follows == "level":
            situation = situation._replace(flow=self._belief.after(self.problem.market, situation))
        row = np.where(np.equal(situation.k, 0), 0, self.previous)
        self.previous = np.asarray(situation.seen)
        return self._rule.decide(self._rule.parameters, situation._replace(seen=row))


@dataclass(eq=False)
class BeliefPolicy(TablePolicy):
    """Policy of the dynamic programme if the volume level varies; the policy remembers the volumes of the episode.

    The signal is the belief about the level (:mod:`.belief`), which takes the place of the flow in the rule.
    """

    _belief: _Belief = field(default_factory=_Belief, init=False, repr=False)

    @property
    def digest(self) -> str:
        """Hash of the numbers that determine the trades."""
        return _digest(np.frombuffer(bytes.fromhex(super().digest), np.uint8), self.problem.deviations)

    def rule(self, market: Market, hidden: bool) -> None:
        """Return None, because a situation does not contain the volumes before the previous slice."""

    def act(self, situation: Situation) -> Any:
        """Return the fraction for the belief given the volumes so far, times the remaining shares."""
        _check_solved(situation)
        belief = self._belief.after(self.problem.market, situation)
        return self._rule.decide(self._rule.parameters, situation._replace(flow=belief))


def table_policy(problem: Problem, table: Table) -> TablePolicy:
    """Return the policy of a table: a :class:`BeliefPolicy` if the signal is the belief about the volume level."""
    return (BeliefPolicy if problem.follows == "level" else TablePolicy)(problem, table)


@dataclass(frozen=True, eq=False)
class LinearPolicy:
    """Policy of the Riccati recursions: a trade linear in the remaining shares, the transient displacement and the signal."""

    gains: Floats = field(repr=False)
    """Gains on (remaining, displacement, signal, constant), shape (slices, regimes, 4)."""
    by_flow: bool = True
    """Whether the signal is the order flow of the previous slice; otherwise it is price / arrival price."""
    name: str = "optimum"

    @property
    def digest(self) -> str:
        """Hash of the numbers that determine the trades."""
        return _digest(self.gains)

    def rule(self, market: Market, hidden: bool) -> Rule | None:
        """Return the rule; None if the regime is hidden."""
        return None if hidden else self._rule(market)

    def _rule(self, market: Market) -> Rule:
        scenario = market.scenario
        gains = LinearParameters(
            scenario.quantity, scenario.arrival_price, float(self.by_flow), market.regimes, self.gains.ravel()
        )
        return Rule(_linear_shares, gains)

    def act(self, situation: Situation) -> Any:
        """Return the linear trade, floored at zero."""
        _check_solved(situation)
        rule = self._rule(situation.market)
        return rule.decide(rule.parameters, situation)


@dataclass(frozen=True, eq=False)
class SchedulePolicy(RulePolicy):
    """A deterministic schedule. Fractions refer to the remaining shares, so shares held back by a cap are carried forward."""

    fractions: Floats = field(repr=False)
    """Fraction of the remaining shares that each slice trades, shape (slices,)."""
    name: str = "best schedule"

    @property
    def digest(self) -> str:
        """Hash of the numbers that determine the trades."""
        return _digest(self.fractions)

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return the schedule as a rule."""
        return plan_rule(self.fractions, market)


class TableParameters(NamedTuple):
    """Parameters of a table rule: the solution of the dynamic programme as numbers and one flat array."""

    quantity: float
    slope: float
    """kappa, currency per share for each share traded."""
    least: float
    """Lower bound of the displacement that scales the share axis, currency per share."""
    arrival_price: float
    by_flow: float
    """1 if the signal is the order flow, or takes its place."""
    by_volume: float
    """1 if the signal is the log of the ratio of the last volume."""
    by_drift: float
    """1 if the signal is the belief about the drift."""
    by_slope: float
    """1 if the signal is the belief about the temporary impact; if all four are 0, it is log(price / arrival price)."""
    slope_least: float
    """The lower temporary impact over its mean."""
    slope_range: float
    """Difference of the two temporary impacts over their mean."""
    rows: int
    """Rows of the table per slice, one per regime."""
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
    """Fraction of the remaining shares, flattened from (slices, rows, signal, root of remaining share, displacement share)."""


class LinearParameters(NamedTuple):
    """Parameters of a linear rule."""

    quantity: float
    arrival_price: float
    by_flow: float
    """1 if the signal is the order flow, 0 if it is price / arrival price."""
    regimes: int
    gains: Floats
    """Gains, flattened from (slices, regimes, 4)."""


def _table_shares(table: TableParameters, situation: Situation) -> Any:
    """Return the shares of a table rule: the fraction interpolated trilinearly, times the remaining shares."""
    remaining = maximum(situation.remaining, 0.0)
    largest = maximum(table.slope * (table.quantity - remaining), table.least)
    if table.by_flow > 0.0:
        signal = situation.flow
    elif table.by_volume > 0.0:
        signal = np.log(situation.volume_ratio)
    elif table.by_drift > 0.0:
        signal = situation.drift_mean
    elif table.by_slope > 0.0:
        chance = minimum(maximum((situation.slope_mean - table.slope_least) / table.slope_range, 1e-12), 1.0 - 1e-12)
        signal = np.log(chance / (1.0 - chance))
    else:
        signal = np.log(situation.price / table.arrival_price)
    x, u = _locate(signal, table.signal_low, table.signal_spacing, table.signal_count)
    y, v = _locate(np.sqrt(remaining / table.quantity), table.root_low, table.root_spacing, table.root_count)
    z, w = _locate(minimum(situation.transient / largest, 1.0), table.share_low, table.share_spacing, table.share_count)
    fraction, index = 0.0, situation.k * table.rows + situation.seen
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
        weight = (u if a else 1.0 - u) * (v if b else 1.0 - v) * (w if c else 1.0 - w)
        row = index * table.signal_count + minimum(x + a, table.signal_count - 1)
        row = row * table.root_count + minimum(y + b, table.root_count - 1)
        fraction = fraction + weight * table.fractions[row * table.share_count + minimum(z + c, table.share_count - 1)]
    return fraction * situation.remaining


def _locate(value: Any, low: Any, spacing: Any, count: Any) -> tuple[Any, Any]:
    """Return the index of the node below a value, and the fraction of the distance to the next node (0 to 1)."""
    if count == 1:
        return np.int64(0), 0.0
    position = minimum(maximum((value - low) / spacing, 0.0), count - 1.0)
    below = minimum(np.int64(position), count - 2)
    return below, position - below


def _linear_shares(linear: LinearParameters, situation: Situation) -> Any:
    """Return the shares of a linear rule, floored at zero."""
    row = 4 * (situation.k * linear.regimes + situation.seen)
    signal = situation.flow if linear.by_flow > 0.0 else situation.price / linear.arrival_price
    on_remaining, on_displacement, on_signal, constant = (
        linear.gains[row],
        linear.gains[row + 1],
        linear.gains[row + 2],
        linear.gains[row + 3],
    )
    fraction = on_displacement * (situation.transient / linear.arrival_price) + on_signal * signal + constant
    return maximum(on_remaining * situation.remaining + linear.quantity * fraction, 0.0)
