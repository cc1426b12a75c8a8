"""Impact models: the cost of our own trades, whatever their sign, which a certificate tests.

The cost is without price noise, drift and risk, at the expected volume, and at the means of the unknowns of an episode or at
numbers that are given for them (:mod:`~hyperexec_env.market.told`).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import ROLES, Cost, Slice, State
from hyperexec_env.market.path import World, expected_slice
from hyperexec_env.market.predator import PredatorMemory, trade, update_memory
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market
from hyperexec_env.market.told import told_market
from hyperexec_env.market.volume_noise import neutral_ratio

__all__ = ["COMPONENTS", "Floats", "ImpactCost", "ImpactModel", "Paths", "ScenarioImpact", "child_components"]

Floats = NDArray[np.float64]
Paths = NDArray[np.int64]


def child_components(names: Sequence[str]) -> tuple[str, ...]:
    """Return the cost components that the shares of a slice pay beyond the unaffected price, in the given order.

    Args:
        names: Names of all components of a cost.

    Raises:
        TypeError: A component is unknown.
    """
    for name in names:
        if name not in ROLES:
            raise TypeError(f"cost component {name!r} is unknown: state its Role in kernel.Cost")
    return tuple(name for name in names if ROLES[name].child)


COMPONENTS: Final = child_components(Cost._fields)
"""Cost components of impact, in the order of :class:`~hyperexec_env.market.kernel.Cost`: the certificate judges these."""


class ImpactCost(dict[str, Any]):
    """Cost of trades beyond the unaffected price by component, fractions of the arrival notional, each (candidates,).

    Args:
        components: Costs by name, see :data:`COMPONENTS`; a component that is not given is zero.

    Raises:
        TypeError: A component is unknown.
    """

    def __init__(self, **components: Any) -> None:
        for name in components:
            if name not in COMPONENTS:
                raise TypeError(f"cost component {name!r} is unknown: the components are {', '.join(COMPONENTS)}")
        super().__init__({name: components.get(name, 0.0) for name in COMPONENTS})

    @property
    def total(self) -> Any:
        """Sum of the components."""
        return functools.reduce(operator.add, self.values())


class ImpactModel(Protocol):
    """Cost of signed trades in a market, in units of an order: a trade of 1 buys it, a cost of 1 is its arrival notional."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def slices(self) -> int:
        """Number of slices N."""
        ...

    @property
    def regimes(self) -> Sequence[str]:
        """Names of the regimes; one name for a market without regimes."""
        ...

    def costs(self, trades: Floats, path: Paths, fineness: int = 1) -> ImpactCost:
        """Return the cost of schedules of trades, one per candidate.

        Args:
            trades: Fractions of the order, positive to buy, negative to sell, shape (N fineness, candidates).
            path: Index of the regime of each slice, shape (N fineness, candidates) or (N fineness, 1).
            fineness: Number of slices into which each of the N slices is cut.
        """
        ...


@dataclass(frozen=True)
class ScenarioImpact:
    """Impact of a scenario, computed by the market's own step.

    Args:
        scenario: The scenario.
        told: Numbers of unknowns (:func:`~hyperexec_env.market.told.told_market`); the others have their means.

    Sells trade in the mirrored market: the same step, with displacements of the opposite sign. A predator has separate
    memories of buys and of sells.
    """

    scenario: Scenario
    told: Mapping[str, float] = field(default_factory=dict, hash=False)
    _markets: dict[int, Market] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.scenario.name

    @property
    def slices(self) -> int:
        """Number of slices N."""
        return self.scenario.slices

    @property
    def regimes(self) -> Sequence[str]:
        """Names of the regimes."""
        return self.scenario.regimes.names

    def market(self, fineness: int) -> Market:
        """Return the market of the scenario with each slice cut into `fineness` slices."""
        if fineness not in self._markets:
            self._markets[fineness] = told_market(replace(self.scenario, slices=self.slices * fineness), self.told)
        return self._markets[fineness]

    def costs(self, trades: Floats, path: Paths, fineness: int = 1) -> ImpactCost:
        """Return the cost of schedules of trades, see :meth:`ImpactModel.costs`."""
        market, scenario = self.market(fineness), self.scenario
        zero = np.zeros(trades.shape[1])
        left, permanent, transient = 2.0 * scenario.quantity * np.abs(trades).sum(axis=0), zero, zero
        mine, other, bought = PredatorMemory(zero, zero, zero, zero), PredatorMemory(zero, zero, zero, zero), zero >= 0.0
        spent = dict.fromkeys(COMPONENTS, zero)
        for k, shares in enumerate(scenario.quantity * trades):
            buys = shares >= 0.0
            side = np.where(buys, 1.0, -1.0)
            if scenario.predator:
                mine, other = _swapped(mine, other, buys != bought)
                other, bought = update_memory(other, zero), buys
            state = State(left, side * permanent, side * transient)
            after, cost, mine = trade(market.impact, state, _slice(market, k, path[k]), abs(shares), mine, scenario.predator)
            left, permanent, transient = after.remaining, side * after.permanent, side * after.transient
            spent = {name: total + getattr(cost, name) for name, total in spent.items()}
        return ImpactCost(**{name: total / scenario.notional for name, total in spent.items()})


def _slice(market: Market, k: int, regime: Paths) -> Slice:
    """Return slice `k` without noise, drift, risk and limits."""
    zero, neutral = np.zeros(regime.shape), neutral_ratio(market.numbers)
    expected = expected_slice(market, k, World(regime, zero, zero + market.scenario.arrival_price, zero + 1.0, zero + neutral))
    return expected._replace(least=0.0, limit=math.inf, drift=0.0, innovation=0.0, risk=0.0, holding=0.0)


def _swapped(mine: PredatorMemory, other: PredatorMemory, turned: NDArray[np.bool_]) -> tuple[PredatorMemory, PredatorMemory]:
    """Swap the predator's memories of this side and of the other side where the side of the trade has changed."""
    both = list(zip(mine, other, strict=True))
    return PredatorMemory(*(np.where(turned, b, a) for a, b in both)), PredatorMemory(
        *(np.where(turned, a, b) for a, b in both)
    )
