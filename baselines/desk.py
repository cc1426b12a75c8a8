"""The desk's execution agent as a policy: one ExecutionAgent per episode, polled for child orders slice by slice.

The agent's clock counts slices, so that agent and market share one time. Children are whole shares; the fractional share of an
order trades in the last slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor, nextafter
from typing import Any, Final

import numpy as np

from hyperexec_env.envs.situation import Situation
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.algorithms import ADAPTIVE, algorithm_names
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.online import OnlineEstimates
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.market.noise import mix
from hyperexec_env.market.regime import UNKNOWN
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = ["DESK", "LEARNERS", "AgentPolicy", "desk_config", "episode_order", "episode_seed"]

_SYMBOL: Final = "X"


def desk_config(market: Market, **changes: Any) -> ExecutionConfig:
    """Return the configuration of an agent for a market: one interval per slice, the market's impact, time in slices.

    By default the agent has no participation cap of its own and does not hide the order. The cap of the market always binds.

    Args:
        market: The market.
        changes: Fields of :class:`~hyperexec_env.execution.config.ExecutionConfig` that override these settings.
    """
    scenario = market.scenario
    values: dict[str, Any] = {
        "slices": market.slices,
        "horizon_seconds": float(market.slices),
        "day_seconds": 1.0 / market.tau,
        "max_participation_rate": None,
        "complete": scenario.complete,
        "steganographic_factor": 0.0,
        "kyle_lambda": scenario.kyle_lambda,
        "temp_impact_alpha": scenario.temp_impact_alpha,
        "temp_impact_beta": scenario.temp_impact_beta,
        "perm_impact_gamma": scenario.perm_impact_gamma,
        "half_spread_bps": scenario.half_spread_bps,
        "resilience": scenario.resilience,
        "risk_aversion": scenario.risk_aversion,
    }
    return ExecutionConfig(**{**values, **changes})


def episode_seed(now: Situation) -> int:
    """Return the seed of an agent: a hash of the first flow of its episode, so that hiding does not depend on the batch."""
    return int(mix(np.array([now.flow]).view(np.uint64) + np.uint64(1))[0])


def episode_order(market: Market, now: Situation, symbol: str) -> ParentOrder:
    """Return the order of an episode, in whole shares, with what its agent may know of the market; times count slices."""
    scenario, volumes = market.scenario, market.mean_volume[:-1, market.unknown]
    return ParentOrder(
        symbol=symbol,
        side=int(now.side),
        quantity=max(1, floor(now.quantity + 0.5)),
        arrival_price=scenario.arrival_price,
        deadline=float(market.slices),
        volume_profile=tuple(volumes.tolist()),
        expected_volume=float(volumes.sum()),
        adv=scenario.adv,
        volatility=scenario.volatility,
        id="parent",
    )


@dataclass
class _Lane:
    """The agent of one episode, and the fills of its children so far."""

    agent: ExecutionAgent
    working: list[ChildOrder] = field(default_factory=list)
    """Children sent to the market in the current slice."""
    mid: float = 0.0
    """Mid when the working children were sent, currency per share."""
    traded: float = 0.0
    """Shares traded so far."""
    booked: float = 0
    """Whole shares already reported to the agent as fills."""
    k: int = -1
    """Slice of the last call."""
    answer: float = 0
    """Shares returned by the last call."""
    seen: int = 0
    """Column of the market's tables in the last slice."""

    def book(self, now: Situation) -> None:
        """Report the fills of the previous slice to the agent, and cancel the unfilled rest of the working children."""
        self.traded += now.last_shares
        left = floor(self.traded + 0.5) - self.booked
        for child in self.working:
            filled = min(child.quantity, left)
            if filled > 0:
                mid = None if now.seen == now.market.unknown else self.mid  # where the regime is hidden, so are fill prices
                self.agent.report_fill(child, filled, now.last_price, float(now.k), mid)
                self.booked += filled
                left -= filled
            if filled < child.quantity:
                self.agent.cancel(child, float(now.k))
        self.working = []

    def poll(self, now: Situation) -> float:
        """Send the children that are due before the slice ends, and return their total shares."""
        market, clock = now.market, float(now.k)
        self.mid = now.price + now.side * (now.permanent + now.transient)
        regime = UNKNOWN if now.seen == market.unknown else market.scenario.regimes.names[now.seen]
        self.agent.process({_SYMBOL: self._quote(now)}, regime, clock)
        end = nextafter(clock + 1.0, clock)
        while (child := self.agent.get_next_child(end)) is not None:
            self.working.append(child)
        return sum(child.quantity for child in self.working)

    def _quote(self, now: Situation) -> Quote:
        """Return the quote at the start of a slice; an agent that learns gets the tape of the last slice instead of a rate."""
        market, k, before, self.seen = now.market, now.k, self.seen, int(now.seen)
        if not self.agent.estimates:
            return Quote(self.mid, float(market.mean_volume[k, now.seen]))
        if not k:
            return Quote(self.mid)
        scenario, flow = market.scenario, None
        if scenario.kyle_lambda > 0.0:
            moved = scenario.volatility * market.volatility[before] * market.volatility_profile[k - 1] * market.tau**0.5
            flow = float(now.flow * moved * market.numbers.by_flow * scenario.adv / scenario.kyle_lambda)
        return Quote(self.mid, None, float(now.last_volume), flow, 2.0 * float(market.half_spread[before]))


class AgentPolicy:
    """A policy that trades each episode with its own :class:`~hyperexec_env.execution.agent.ExecutionAgent`.

    Args:
        algorithm: Name of the algorithm of the agents.
        learn: Whether each agent learns while it trades (:class:`~hyperexec_env.execution.online.OnlineEstimates`), with the
            market's scenario as prior; or the scenario that is the prior.
        changes: Changes to :func:`desk_config`, for example ``steganographic_factor=0.3`` or ``max_participation_rate=0.1``.
    """

    def __init__(self, algorithm: str = ADAPTIVE, *, learn: bool | Scenario = False, **changes: Any) -> None:
        """Create no agents yet; each episode creates its own in slice 0."""
        self.name = f"{'learn' if learn else 'desk'}:{algorithm}"
        self._learn = learn
        self._changes = {"algorithm": algorithm, **changes}
        self._lanes: list[_Lane] = []
        self._hidden = False  # whether any episode had a hidden regime, and with it hidden fill prices
        self._market: Market | None = None

    def act(self, situation: Situation) -> Any:
        """Return the shares of the children that the agent of each episode sends in this slice.

        A situation after the last slice (k = N) is accepted: the agents book their last fills and close their orders.

        Raises:
            ValueError: The situations of an episode do not start at slice 0 or skip a slice.
        """
        market, shape = situation.market, np.shape(situation.remaining)
        if market is not self._market:
            self._market, self._config = market, desk_config(market, **self._changes)
        columns = [np.broadcast_to(values, shape).ravel().tolist() for values in situation[1:]]
        if len(self._lanes) != len(columns[0]):
            self._lanes = [_Lane(ExecutionAgent()) for _ in columns[0]]
        shares = [self._trade(lane, Situation(market, *row)) for lane, row in enumerate(zip(*columns, strict=True))]
        return np.array(shares, dtype=float).reshape(shape)

    def _trade(self, number: int, now: Situation) -> float:
        """Book the fills of one episode in the previous slice, and return its shares in this slice."""
        market, k = now.market, now.k
        if k == 0:
            self._lanes[number] = _Lane(self._new_agent(now))
        lane = self._lanes[number]
        if k == lane.k:  # a repeated call for the same slice
            return lane.answer
        if k != lane.k + 1:
            raise ValueError(
                f"k must be the next slice, {lane.k + 1}, because an agent must see every slice of its order, got {k}"
            )
        if k:
            lane.book(now)
        self._hidden |= now.seen == market.unknown
        lane.k, lane.answer = k, lane.poll(now) if k < market.slices else 0
        if k == market.slices:
            lane.agent.process(now=float(k))
        return lane.answer

    def _new_agent(self, now: Situation) -> ExecutionAgent:
        """Start an agent with the order of an episode."""
        estimates = {_SYMBOL: self._new_estimates(now.market)} if self._learn else None
        agent = ExecutionAgent(self._config, seed=episode_seed(now), clock=lambda: 0.0, estimates=estimates)
        agent.start()
        agent.submit_order(episode_order(now.market, now, _SYMBOL))
        return agent

    def _new_estimates(self, market: Market) -> OnlineEstimates:
        """Return estimates whose bins are the slices of a market, on the agent's clock."""
        prior = market.scenario if isinstance(self._learn, bool) else self._learn
        opened = prior.start_minute / prior.horizon_minutes * prior.slices
        return OnlineEstimates(prior, start=-opened, day_seconds=1.0 / market.tau)

    def reports(self) -> list[ExecutionReport]:
        """Return the report of each finished episode; :meth:`act` must have been called with the situation at its end (k = N).

        Raises:
            ValueError: The regime was hidden in an episode. Fill prices are hidden with it, and a report needs fill prices.
        """
        if self._hidden:
            raise ValueError("observe_regime must be true for reports: without it the fill prices are hidden, got false")
        return [report for lane in self._lanes for report in lane.agent.get_reports()]


def _maker(algorithm: str, learn: bool = False) -> Callable[[], AgentPolicy]:
    return lambda: AgentPolicy(algorithm, learn=learn)


LEARNERS: Final[dict[str, Callable[[], AgentPolicy]]] = {
    f"learn:{name}": _maker(name, learn=True) for name in algorithm_names() if name != "TWAP"
}
"""The desk's agent that learns while it trades, with each algorithm that depends on what it learns, by name."""
DESK: Final[dict[str, Callable[[], AgentPolicy]]] = {f"desk:{name}": _maker(name) for name in algorithm_names()}
"""The desk's agent with each of its algorithms, by name."""
