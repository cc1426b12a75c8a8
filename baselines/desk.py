"""The desk's own agent as a policy: an ExecutionAgent for each episode, asked for its children slice by slice.

Time is counted in slices, so that the agent's clock and the market's are one. Children are whole shares; what is smaller than a
share is left to the last slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor, nextafter
from typing import Any, Final

import numpy as np

from hyperexec_env.envs.situation import Situation
from hyperexec_env.execution.agent import ExecutionAgent, Quote
from hyperexec_env.execution.algorithms import ADAPTIVE, algorithm_names
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import mix
from hyperexec_env.market.regime import UNKNOWN
from hyperexec_env.orders import ChildOrder, ParentOrder

__all__ = ["DESK", "AgentPolicy", "desk_config"]

_SYMBOL: Final = "X"


def desk_config(market: Market, **changes: Any) -> ExecutionConfig:
    """Return the settings of an agent that trades in a market: one interval a slice, the market's impact, a clock in slices.

    The agent keeps no cap of its own and hides nothing, unless the changes say so: the market's cap holds in any case.
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


@dataclass
class _Lane:
    """The agent of one episode, and what of its children the market has filled."""

    agent: ExecutionAgent
    out: list[ChildOrder] = field(default_factory=list)
    """Children in the market."""
    mid: float = 0.0
    """Mid when they went there."""
    traded: float = 0.0
    """Shares that traded so far."""
    booked: int = 0
    """Those of them that were reported as fills, whole shares."""
    k: int = -1
    """Slice in which it was asked last."""
    asked: int = 0
    """What it answered."""

    def book(self, now: Situation) -> None:
        """Report what traded in the slice before, and take back what did not."""
        self.traded += now.last_shares
        left = floor(self.traded + 0.5) - self.booked
        for child in self.out:
            filled = min(child.quantity, left)
            if filled > 0:
                self.agent.report_fill(child, filled, now.last_price, float(now.k), self.mid)
                self.booked += filled
                left -= filled
            if filled < child.quantity:
                self.agent.cancel(child, float(now.k))
        self.out = []

    def ask(self, now: Situation) -> int:
        """Return the shares of the children that are due before the slice ends."""
        market, clock = now.market, float(now.k)
        self.mid = now.price + now.side * (now.permanent + now.transient)
        regime = UNKNOWN if now.seen == market.unknown else market.scenario.regimes.names[now.seen]
        self.agent.process({_SYMBOL: Quote(self.mid, float(market.mean_volume[now.k, now.seen]))}, regime, clock)
        end = nextafter(clock + 1.0, clock)
        while (child := self.agent.get_next_child(end)) is not None:
            self.out.append(child)
        return sum(child.quantity for child in self.out)


class AgentPolicy:
    """An :class:`~hyperexec_env.execution.agent.ExecutionAgent` that trades an episode of the environment.

    Args:
        algorithm: Name of its algorithm.
        changes: Changes to :func:`desk_config`, for example ``steganographic_factor=0.3`` or ``max_participation_rate=0.1``.
    """

    def __init__(self, algorithm: str = ADAPTIVE, **changes: Any) -> None:
        """Have no agent yet: each episode gets one of its own when it begins."""
        self.name = f"desk:{algorithm}"
        self._changes = {"algorithm": algorithm, **changes}
        self._lanes: list[_Lane] = []
        self._blind = False  # whether an episode was traded in which the prices of the fills were not told
        self._market: Market | None = None

    def act(self, situation: Situation) -> Any:
        """Ask the agent of each episode for the shares of its children in this slice.

        A situation after the last slice is taken too: the agents book their last fills and close their orders.

        Raises:
            ValueError: An episode was not shown from its first slice on, slice by slice.
        """
        market, shape = situation.market, np.shape(situation.remaining)
        if market is not self._market:
            self._market, self._config = market, desk_config(market, **self._changes)
        columns = [np.broadcast_to(values, shape).ravel().tolist() for values in situation[1:]]
        if len(self._lanes) != len(columns[0]):
            self._lanes = [_Lane(ExecutionAgent()) for _ in columns[0]]
        shares = [self._trade(lane, Situation(market, *row)) for lane, row in enumerate(zip(*columns, strict=True))]
        return np.array(shares, dtype=float).reshape(shape)

    def _trade(self, number: int, now: Situation) -> int:
        """Book what one episode traded in the slice before, and return what it trades in this one."""
        market, k = now.market, now.k
        if k == 0:
            self._lanes[number] = _Lane(self._new_agent(now))
        lane = self._lanes[number]
        if k == lane.k:  # asked again
            return lane.asked
        if k != lane.k + 1:
            raise ValueError(
                f"k must be the slice after the one before ({lane.k + 1}): an agent sees all of its order, got {k}"
            )
        if k:
            lane.book(now)
        self._blind |= now.seen == market.unknown
        lane.k, lane.asked = k, lane.ask(now) if k < market.slices else 0
        if k == market.slices:
            lane.agent.process(now=float(k))
        return lane.asked

    def _new_agent(self, now: Situation) -> ExecutionAgent:
        """Start an agent with the order of an episode; its hiding follows from the episode, so that batches do not matter."""
        market, scenario = now.market, now.market.scenario
        volumes = market.mean_volume[:-1, market.unknown]
        seed = int(mix(np.array([now.flow]).view(np.uint64) + np.uint64(1))[0])
        agent = ExecutionAgent(self._config, seed=seed, clock=lambda: 0.0)
        agent.start()
        agent.submit_order(
            ParentOrder(
                symbol=_SYMBOL,
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
        )
        return agent

    def reports(self) -> list[ExecutionReport]:
        """Return the report of each episode that is over, after :meth:`act` has seen the situation at its end.

        Raises:
            ValueError: The regime was not told, and with it the prices of the fills, without which there is nothing to report.
        """
        if self._blind:
            raise ValueError(
                "observe_regime must be true for reports: the prices of the fills are not told without it, got false"
            )
        return [report for lane in self._lanes for report in lane.agent.get_reports()]


def _maker(algorithm: str) -> Callable[[], AgentPolicy]:
    return lambda: AgentPolicy(algorithm)


DESK: Final[dict[str, Callable[[], AgentPolicy]]] = {f"desk:{name}": _maker(name) for name in algorithm_names()}
"""The desk's agent with each of its algorithms, by name."""
