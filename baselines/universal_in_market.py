"""The policy for many markets in one of them: a function of the environment's observation, as other networks are."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.features import Scales, observation_names, reach
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.graph import Graph, Value
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.market.regime import UNKNOWN
from hyperexec_env.market.tables import Market

from .universal import OWN_COLUMNS, Tables, UniversalPolicy, anchor, correction_of, tables_of

__all__ = ["UniversalInMarket", "in_market"]

_COLUMN: Final = {name: column for column, name in enumerate(observation_names())}
_LEAST: Final = 1e-9
"""Smallest part of the order that counts as remaining shares."""


@dataclass(frozen=True, eq=False)
class UniversalInMarket(NetworkPolicy):
    """The policy for many markets as a function of the observations of one market, for orders of the scenario's quantity.

    Its action is that of the action mode `fraction`; the other fields are those of
    :class:`~hyperexec_env.evaluation.network.NetworkPolicy`.
    """

    _: KW_ONLY
    policy: UniversalPolicy
    market: Market

    @cached_property
    def _tables(self) -> Tables:
        return tables_of(self.market)

    @property
    def _scales(self) -> Scales:
        return self._tables.observer.sight.scales

    @property
    def _largest(self) -> float:
        """Transient displacement of a feature of 1, currency per share; 0 where the feature is always 0."""
        scenario, unit = self.market.scenario, self._scales.transient
        return float(reach(scenario.quantity, self.market.impact.transient_exponent) / unit) if unit else 0.0

    def _regimes(self) -> tuple[list[int], NDArray[np.float64]]:
        """Return the columns of the regimes of the market in an observation, and the column of each in the market's tables."""
        names = (*self.market.scenario.regimes.names, UNKNOWN)
        return [_COLUMN[f"regime_{name}"] for name in names], np.arange(len(names), dtype=np.float64)

    def action(self, observation: NDArray[np.float32]) -> NDArray[Any]:
        """Return the action for each observation, shape (episodes, features) -> (episodes,)."""
        shares = self.policy.act(self._situation(observation.astype(np.float64)))
        remaining = np.maximum(observation[:, _COLUMN["remaining"]].astype(np.float64), _LEAST) * self.market.scenario.quantity
        return np.asarray(2.0 * shares / remaining - 1.0)

    def sizes(self, *given: NDArray[Any]) -> NDArray[np.float32]:
        """Return 1 for each observation: the network only corrects log-odds, by terms of about that size."""
        return np.ones(len(given[0]), np.float32)

    def _situation(self, seen: NDArray[np.float64]) -> Situation:
        """Return the situations that observations show; the policy does not read what is zero in them."""
        scenario, zeros = self.market.scenario, np.zeros(len(seen))
        columns, numbers = self._regimes()
        values = {name: seen[:, column] for name, column in _COLUMN.items()}
        remaining, transient = values["remaining"] * scenario.quantity, values["transient_displacement"] * self._largest
        return Situation(
            market=self.market,
            k=np.rint((1.0 - values["time_left"]) * self.market.slices).astype(int),
            seen=(seen[:, columns] @ numbers).astype(int),
            side=values["side"],
            quantity=zeros + scenario.quantity,
            remaining=remaining,
            permanent=zeros,
            transient=transient,
            price=self._relative_price(values, remaining, transient) * scenario.arrival_price,
            flow=values["side"] * values["last_flow"],
            last_shares=zeros,
            last_volume=zeros + 1.0,
            last_price=zeros,
        )

    def _relative_price(self, seen: Any, remaining: Any, transient: Any) -> Any:
        """Return the unaffected price over the arrival price."""
        scenario, impact, unit = self.market.scenario, self.market.impact, self._scales.move or np.inf
        move, permanent = seen["price_move"], (scenario.quantity - remaining) * float(impact.permanent_slope)
        drifted = move / (1.0 - abs(move)) / unit - permanent - (transient if self._scales.transient else 0.0)
        return seen["side"] * drifted / scenario.arrival_price + 1.0

    def act(self, situation: Situation) -> Any:
        """Return the shares of :class:`~.universal.UniversalPolicy`."""
        return self.policy.act(situation)

    def write(self, graph: Graph) -> Value:
        """Add the inputs and the nodes of :meth:`action` to an ONNX graph, and return the action."""
        scenario, tables = self.market.scenario, self._tables
        given = graph.input("observation", len(self.names))
        exact = given.astype(np.float64)
        seen = {name: exact[column] for name, column in _COLUMN.items()}
        columns, numbers = self._regimes()
        slice = graph.node("Round", (1.0 - seen["time_left"]) * float(self.market.slices))
        cell = (slice * float(self.market.regimes + 1) + exact[columns] @ numbers).astype(np.int64)
        remaining, transient = seen["remaining"] * scenario.quantity, seen["transient_displacement"] * self._largest
        gbm = scenario.price_model == "gbm"
        signal = self._relative_price(seen, remaining, transient) if gbm else seen["side"] * seen["last_flow"]
        gain = cell.take(tables.gains)
        trade = gain[0] * remaining + gain[1] * transient + gain[2] * signal + gain[3]
        left = graph.node("Max", remaining, _LEAST * scenario.quantity)
        odds, pace = anchor(trade, left, cell.take(tables.pace), graph)
        anchors = graph.node("Concat", odds.reshape(-1, 1), pace.reshape(-1, 1), axis=1).astype(np.float32)
        inputs = graph.node("Concat", given[OWN_COLUMNS], anchors, cell.take(tables.known), axis=1)
        output = graph.single(graph.layers(self.layers, self.activation, inputs)).astype(np.float64)
        correction = correction_of(output, scenario.temp_impact_beta)
        fraction = remaining / left / (graph.exp(-odds - correction) + 1.0)
        return (fraction * 2.0 - 1.0).astype(np.float32)

    def examples(self, rows: int) -> tuple[NDArray[Any], ...]:
        """Return observations of the market in any slice, regime and state of the order, shape (rows, features)."""
        rng, market, scenario = np.random.default_rng(0), self.market, self.market.scenario
        remaining = scenario.quantity * rng.uniform(0.0, 1.0, rows)
        drifted = 0.3 * rng.standard_normal(rows) / (self._scales.move or np.inf)
        situation = Situation(
            market=market,
            k=rng.integers(market.slices, size=rows),
            seen=rng.integers(market.regimes, size=rows),
            side=np.full(rows, float(scenario.side)),
            quantity=np.full(rows, scenario.quantity),
            remaining=remaining,
            permanent=(scenario.quantity - remaining) * float(market.impact.permanent_slope),
            transient=self._largest * rng.uniform(0.0, 1.0, rows),
            price=scenario.arrival_price + drifted,
            flow=rng.standard_normal(rows),
            last_shares=np.zeros(rows),
            last_volume=np.ones(rows),
            last_price=np.zeros(rows),
        )
        return (self._tables.observer.observe(situation),)


def in_market(policy: UniversalPolicy, market: Market) -> UniversalInMarket:
    """Return the policy for many markets in one of them.

    Raises:
        ValueError: The price of the market cannot be seen: geometric, with permanent displacement that a predator causes.
    """
    scenario = market.scenario
    if scenario.price_model == "gbm" and scenario.predator:
        raise ValueError(
            f"predator must be 0 for a graph in a geometric price, got {scenario.predator}: it moves the price too"
        )
    about = {**policy.about, "scenario": scenario.to_dict(), "scenario_hash": scenario.hash}
    values = {each.name: getattr(policy, each.name) for each in fields(policy)} | {"about": about}
    return UniversalInMarket(**values, policy=policy, market=market)
