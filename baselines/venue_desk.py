"""The desk's execution agent as a policy over venues: one agent per episode, which routes its children slice by slice.

The agent's clock counts slices. A child that is released in a slice is routed at once; what its venues did not fill by the end
of the slice returns to the order. In the last slice everything trades in lit venues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import floor, nextafter
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_integer
from hyperexec_env.envs.situation import Situation
from hyperexec_env.envs.venue_task import VenueSituation
from hyperexec_env.evaluation.venue_rollout import roll_venues
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.algorithms import algorithm_names
from hyperexec_env.execution.fill_rates import FillRates
from hyperexec_env.execution.quotes import Quote, VenueQuote
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.execution.tactics import TACTICS, Placement
from hyperexec_env.execution.venue_order import VenueOrder
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.regime import UNKNOWN
from hyperexec_env.market.venue_path import VenueMarket, build_venues, draw_venue_path
from hyperexec_env.market.venue_scenario import VenueLike, get_venues
from hyperexec_env.orders import ChildOrder

from .desk import desk_config, episode_order, episode_seed

__all__ = ["SYMBOL", "VENUE_DESK", "VenueAgentPolicy", "learnt_rates"]

SYMBOL: Final = "X"
"""Symbol of the orders of the agents."""
_WHOLE: Final = 1e-6
"""Part of a share by which a fill may differ from a whole number."""


@dataclass
class _Lane:
    """The agent of one episode, and its venue orders of the current slice."""

    agent: ExecutionAgent
    children: list[ChildOrder] = field(default_factory=list)
    sent: list[VenueOrder] = field(default_factory=list)
    mid: float = 0.0
    k: int = -1
    answer: list[float] = field(default_factory=list)

    def book(self, now: Situation, hidden: dict[str, float]) -> None:
        """Report the fills of the previous slice, and return what did not fill to the order."""
        left = now.last_shares - sum(hidden.values())
        for order in self.sent:
            found = hidden.get(order.venue, left)
            shares = min(floor(found + _WHOLE), order.quantity)
            left -= shares if order.takes else 0.0
            if shares > 0:
                self.agent.report_fill(order, shares, now.last_price, float(now.k), self.mid)
        for child in self.children:
            if any(one.remaining for one in self.agent.router.orders([child.id])):  # type: ignore[union-attr]
                self.agent.cancel(child, float(now.k))
        self.children, self.sent = [], []

    def send(self, now: Situation, quote: Quote, regime: str) -> None:
        """Route the children that are due before the slice ends."""
        clock = float(now.k)
        self.agent.process({SYMBOL: quote}, regime, clock)
        end = nextafter(clock + 1.0, clock)
        while (child := self.agent.get_next_child(end)) is not None:
            self.children.append(child)
            self.sent += self.agent.route(child, clock).orders


class VenueAgentPolicy:
    """A policy over venues that trades each episode with its own :class:`~hyperexec_env.execution.agent.ExecutionAgent`.

    Args:
        algorithm: Name of the algorithm of the agents.
        tactic: Name of a tactic: `take`, `peg`, `cont-kukanov` or `post-ahead`.
        fill_rates: What all agents know, and add to unless it is frozen; None: each agent begins without knowledge.
        training: Episodes in which agents learn the fill rates of a market before its first episode (:func:`learnt_rates`); 0:
            none.
        changes: Changes to :func:`~hyperexec_env.baselines.desk.desk_config`.
    """

    def __init__(
        self,
        algorithm: str = "IS",
        tactic: str = "cont-kukanov",
        *,
        fill_rates: FillRates | None = None,
        training: int = 0,
        **changes: Any,
    ) -> None:
        """Create no agents yet; each episode creates its own in slice 0."""
        self.name = f"desk:{algorithm}:{tactic}"
        self.tactic: Placement = replace(TACTICS[tactic], patience=1.0)
        self.fill_rates, self.training = fill_rates, check_integer("training", training, low=0, high=1_000_000)
        self._changes = {"algorithm": algorithm, **changes}
        self._lanes: list[_Lane] = []
        self._learnt: VenueMarket | None = None  # market whose fill rates were learnt

    def act(self, situation: VenueSituation) -> Any:
        """Return the shares that the agents send to each venue in this slice, shape (venues, episodes)."""
        market, order = situation.market, situation.order
        if self.training and market is not self._learnt:
            self._learnt = market
            self.fill_rates = learnt_rates(market.scenario, self.training, tactic=self.tactic.name, **self._changes)
        shape = np.shape(order.remaining)
        columns = [np.broadcast_to(values, shape).ravel().tolist() for values in order[1:]]
        weights, filled = (
            np.array([np.broadcast_to(one, shape).ravel() for one in given], dtype=float).reshape(-1, len(columns[0]))
            for given in (situation.weights, situation.filled)
        )
        if len(self._lanes) != len(columns[0]):
            self._lanes = [_Lane(ExecutionAgent()) for _ in columns[0]]
        asked = [
            self._trade(lane, market, Situation(market.market, *row), weights[:, lane], filled[:, lane])
            for lane, row in enumerate(zip(*columns, strict=True))
        ]
        return np.array(asked, dtype=float).T.reshape(market.count, *shape)

    def _trade(self, number: int, market: VenueMarket, now: Situation, weights: Any, filled: Any) -> list[float]:
        """Book the fills of one episode in the previous slice, and return its requests in this slice."""
        if now.k == 0:
            self._lanes[number] = _Lane(self._new_agent(market, now))
        lane = self._lanes[number]
        if now.k == lane.k:
            return lane.answer
        if now.k:
            hidden = [venue.name for venue in market.scenario.hidden]
            lane.book(now, dict(zip(hidden, filled.tolist(), strict=True)))
        lane.k, lane.mid = now.k, now.price + now.side * (now.permanent + now.transient)
        if now.k < market.slices:
            regime = UNKNOWN if now.seen == market.market.unknown else market.scenario.regimes.names[now.seen]
            lane.send(now, self._quote(market, now, lane.mid, weights), regime)
        else:
            lane.agent.process(now=float(now.k))
        asked = dict.fromkeys(market.scenario.names, 0.0)
        for order in lane.sent:
            asked[order.venue] += order.quantity
        lane.answer = list(asked.values())
        return lane.answer

    def _quote(self, market: VenueMarket, now: Situation, mid: float, weights: Any) -> Quote:
        """Return the quote at the start of a slice."""
        venues = {}
        for number, venue in enumerate(market.scenario.venues):
            away = abs(float(market.half_spread[number, now.seen]))
            share = min(float(weights[number]), 1.0) if venue.lit else None
            venues[venue.name] = VenueQuote(mid - away, mid + away, share=share)
        return Quote(mid, float(market.market.mean_volume[now.k, now.seen]), venues=venues)

    def _new_agent(self, market: VenueMarket, now: Situation) -> ExecutionAgent:
        """Start an agent with the order of an episode."""
        agent = ExecutionAgent(
            desk_config(market.market, **self._changes),
            seed=episode_seed(now),
            clock=lambda: 0.0,
            venues=market.scenario.venues,
            tactic=self.tactic,
            fill_rates=self.fill_rates,
        )
        agent.start()
        agent.submit_order(episode_order(market.market, now, SYMBOL))
        return agent

    def reports(self) -> list[ExecutionReport]:
        """Return the report of each finished episode; :meth:`act` must have been called with the situation at its end."""
        return [report for lane in self._lanes for report in lane.agent.get_reports()]


def learnt_rates(
    venues: VenueLike, episodes: int = 100, seed: int = 1, algorithm: str = "IS", tactic: str = "cont-kukanov", **changes: Any
) -> FillRates:
    """Return what agents learn of the hidden venues of a scenario in some training episodes, frozen.

    Args:
        venues: A name, a dict, a path or a scenario with venues.
        episodes: Number of episodes.
        seed: Seed of the training episodes; no board meets them.
        algorithm: Name of the algorithm of the agents.
        tactic: Name of their tactic.
        changes: Changes to :func:`~hyperexec_env.baselines.desk.desk_config`.
    """
    market, rates = build_venues(get_venues(venues)), FillRates()
    side = float(market.market.scenario.side)
    for first in range(0, episodes, _TOGETHER):
        keys = episode_keys(seed, np.arange(first, min(first + _TOGETHER, episodes)))
        policy = VenueAgentPolicy(algorithm, tactic, fill_rates=rates, **changes)
        roll_venues(market, policy, draw_venue_path(market, keys, side))
    rates.frozen = True
    return rates


def _maker(algorithm: str, tactic: str) -> Callable[[], VenueAgentPolicy]:
    return lambda: VenueAgentPolicy(algorithm, tactic, training=_TRAINING)


_TOGETHER: Final = 20
"""Episodes whose agents trade at the same time while they learn."""
_TRAINING: Final = 100
"""Training episodes of the policies by name."""
VENUE_DESK: Final[dict[str, Callable[[], VenueAgentPolicy]]] = {
    f"desk:{algorithm}:{tactic}": _maker(algorithm, tactic) for algorithm in algorithm_names() for tactic in TACTICS
}
"""The desk's agent with each of its algorithms and tactics, by name. It learns fill rates in 100 training episodes."""
