"""The desk's tactic `touch-optimal`: its table from a touch scenario, and the desk as a policy at the touch."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from hyperexec_env.evaluation.touch_rollout import TouchSituation
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.quotes import Quote, VenueQuote
from hyperexec_env.execution.tactics import TouchTable
from hyperexec_env.market.touch import DEEP, JOIN, KEEP, NONE, RESTS
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario, get_touch
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import ParentOrder

from .solver.touch import solve_touch

__all__ = ["TouchAgentPolicy", "touch_tactic", "touch_venues"]

_SYMBOL: Final = "X"


def touch_tactic(touch: TouchLike, patience: float = 1.0) -> TouchTable:
    """Return the tactic `touch-optimal` of a touch scenario: its exact optimum as a table.

    A child of the desk should have at most the lots of the scenario, and its window its horizon.

    Args:
        touch: A name, a dict, a path or a touch scenario.
        patience: Window of a child as a fraction of the interval between children, (0, 1].
    """
    scenario = get_touch(touch)
    actions = solve_touch(scenario).actions
    return TouchTable(actions, scenario.step_seconds, scenario.lot_shares, scenario.tick, patience)


def touch_venues(touch: TouchLike) -> tuple[Venue, Venue]:
    """Return the market of a touch scenario as venues of a desk: one to take in, and one to rest in."""
    scenario = get_touch(touch)
    bps = 1e4 / scenario.arrival_price
    return (
        Venue("market", "home", share=1.0, fee=scenario.take_fee, half_spread_bps=scenario.half_spread * bps),
        Venue("touch", "rest", fee=-scenario.make_rebate, adverse_bps=scenario.adverse * bps),
    )


class TouchAgentPolicy:
    """A policy at the touch whose lots an :class:`~hyperexec_env.execution.agent.ExecutionAgent` works, one agent per episode.

    The agent has one child, which `touch-optimal` trades; cancellations are confirmed and takes are filled at once.
    """

    name = "desk:touch-optimal"

    def __init__(self) -> None:
        """Create no agents yet."""
        self._lanes: list[_Lane] = []

    def act(self, situation: TouchSituation) -> Any:
        """Return the actions of the agents, take * 4 + rest, in the shape of `situation.left`."""
        scenario, shape = situation.market.scenario, np.shape(situation.left)
        columns = [
            np.broadcast_to(np.asarray(values, dtype=float), shape).ravel().tolist()
            for values in (situation.left, situation.place.ahead, situation.filled, situation.ticks)
        ]
        if situation.k == 0:
            self._lanes = [_Lane(scenario) for _ in columns[0]]
        rows = zip(self._lanes, *columns, strict=True)
        actions = [lane.step(situation.k, *values) if values[0] > 0.0 else 0 for lane, *values in rows]
        return np.array(actions, dtype=np.int64).reshape(shape)


class _Lane:
    """The agent of one episode: a buy order whose only child is released in the middle of three horizons."""

    def __init__(self, scenario: TouchScenario) -> None:
        self.scenario, self.start = scenario, 1.5 * scenario.horizon_seconds
        config = ExecutionConfig(
            algorithm="TWAP",
            slices=1,
            horizon_seconds=3.0 * scenario.horizon_seconds,
            max_participation_rate=None,
            steganographic_factor=0.0,
            temp_impact_alpha=0.0,
        )
        tactic = touch_tactic(scenario, patience=1.0 / 3.0)
        self.agent = ExecutionAgent(config, seed=0, clock=lambda: 0.0, venues=touch_venues(scenario), tactic=tactic)
        self.agent.start()
        shares = round(scenario.lots * scenario.lot_shares)
        self.agent.submit_order(ParentOrder(symbol=_SYMBOL, side=1, quantity=shares, arrival_price=scenario.arrival_price), 0.0)
        self.agent.process(now=0.0)
        self.child = self.agent.get_next_child(self.start)

    def step(self, k: int, left: float, ahead: float, filled: float, ticks: float) -> int:
        """Book the lots that rested and were filled in the last step, and return the action of this one."""
        scenario, agent, now = self.scenario, self.agent, self.start + k * self.scenario.step_seconds
        if self.child is None:
            raise ValueError("the child of the order was not released")
        mid = scenario.arrival_price + scenario.tick * ticks
        resting = [order for order in agent.router.orders([self.child.id]) if order.remaining]  # type: ignore[union-attr]
        if filled:
            price = resting[0].price or mid
            agent.report_fill(resting[0], round(filled * scenario.lot_shares), price, now, mid)
        book = VenueQuote(mid - scenario.half_spread, mid + scenario.half_spread, ahead=ahead * scenario.lot_shares)
        agent.process({_SYMBOL: Quote(mid, venues={"market": book, "touch": book})}, now=now)
        taken, rest = 0.0, KEEP
        routing = agent.route(self.child, now)
        if routing.cancels:
            for order, shares in routing.cancels:
                agent.cancel(order, now, quantity=shares)
            routing = agent.route(self.child, now)
        for order in routing.orders:
            if order.takes:
                agent.report_fill(order, order.quantity, order.price or mid, now, mid)
                taken += order.quantity / scenario.lot_shares
            else:
                rest = DEEP if (order.price or mid) < mid - scenario.half_spread - 0.5 * scenario.tick else JOIN
        waits = any(order.remaining for order in agent.router.orders([self.child.id]))  # type: ignore[union-attr]
        return round(taken) * len(RESTS) + (rest if waits else NONE)
