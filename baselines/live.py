"""A policy on a live feed: one order, whose slices a policy sizes from what was observed, and the desk's agent works.

At the start of each slice the policy sees a :class:`~hyperexec_env.envs.situation.Situation` made of observed data: the
remaining shares, the mid, the volume and the signed flow of the last slice. The displacement of the price by our own trades
cannot be observed; it is that of the model (:mod:`hyperexec_env.market.kernel`), given the shares that were filled. Beliefs
about the unknowns of the scenario take the evidence of the slices that were observed from start to end. The shares of the
slice become a TWAP order of the agent that expires with the slice; its unfilled shares return to the policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from hyperexec_env.checks import check_choice, check_number
from hyperexec_env.envs.situation import Situation, situation_of, with_law
from hyperexec_env.evaluation.policy import Policy, check_fit, follows_regimes
from hyperexec_env.execution.algorithms import check_algorithm
from hyperexec_env.execution.journal import LiveDesk
from hyperexec_env.market.hidden import Tape, chain_of, check_filter, later_law, next_law, rivals_of
from hyperexec_env.market.kernel import Cost, State, step
from hyperexec_env.market.lane import EpisodeOrder, LastSlice, first_lane
from hyperexec_env.market.path import Draws, World, next_slice, observed_world, slip_variance, unseen_world
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import SliceRow, build_market
from hyperexec_env.market.unknown import learn_slope
from hyperexec_env.market.volume_noise import neutral_ratio
from hyperexec_env.orders import ChildOrder, ParentOrder
from hyperexec_env.records import map_leaves

from .policies import get_policy

__all__ = ["LiveOrders", "PolicyOrder"]

_SECONDS: Final = 60.0
WISHES: Final = ("urgency", "volume_profile", "expected_volume", "adv", "volatility", "min_child", "sessions")
"""Fields of a :class:`~hyperexec_env.orders.ParentOrder` that whoever orders may give."""


class PolicyOrder:
    """An order that a policy works through a :class:`~hyperexec_env.execution.journal.LiveDesk`, slice by slice.

    Args:
        desk: The desk.
        policy: The policy. It has a memory of its own order only, so orders do not share a policy object.
        scenario: The market, whose side, quantity, arrival price and horizon are replaced by those of the order.
        order: The order; it has a deadline.
        start: Time of the start of the first slice, seconds on the clock of the desk.

    Raises:
        ValueError: The deadline is not after the start, the horizon does not fit into the day of the scenario, or the policy
            cannot trade in it.
    """

    def __init__(self, desk: LiveDesk, policy: Policy, scenario: Scenario, order: ParentOrder, start: float) -> None:
        """Compute the numbers of the market."""
        self.desk, self.policy, self.order, self.start = desk, policy, order, start
        self.market = build_market(_scenario_of(scenario, order, start))
        check_fit(policy, self.market)
        self.k = -1
        """Slice that is being traded; -1 before the first one, N after the last one."""
        self.seen = 0
        self.state = State(float(order.quantity), 0.0, 0.0)
        self.last_shares, self.last_price = 0.0, order.arrival_price
        self.last_volume = float(self.market.numbers.slice_volume)
        self.world, self.slope_odds = unseen_world(self.market.numbers), 0.0
        """The market as it was observed, with the beliefs about what it does not show; and log-odds of the higher impact."""
        self._whole = False  # whether the present slice was observed from its start
        self._volume = self._signed = self._paid = 0.0
        self._mid: float | None = None  # at the start of the present slice
        self._law: Any = None
        """Probabilities of the regimes of the present slice, for a policy that observes them."""
        if follows_regimes(policy):
            check_filter(self.market)
            self._law = chain_of(self.market).start

    @property
    def slice_seconds(self) -> float:
        """Length of a slice, seconds."""
        return _SECONDS * self.market.scenario.horizon_minutes / self.market.slices

    @property
    def is_over(self) -> bool:
        """Whether all slices are over, or no share is left."""
        return self.k >= self.market.slices or not self.state.remaining > 0.0

    def child_id(self, k: int) -> str:
        """Return the id of the agent's order of slice k."""
        return f"{self.order.id}:{k}"

    def timer(self, time: float, regime: str | None = None) -> None:
        """Close the slices that are over by a time; at the start of a slice, submit the shares of the policy to the agent.

        Args:
            time: Time, seconds.
            regime: Observed regime, a name of the scenario; None: unknown, which a scenario with one regime does not mind.

        Raises:
            PolicyFailure: The policy raised an error or returned no finite shares.
        """
        k = min(max(math.floor((time - self.start) / self.slice_seconds), 0), self.market.slices)
        while self.k < k and not self.is_over:
            if self.k >= 0:
                self._whole = self._whole and self.k + 1 == k
                self._close_slice(time)
            self.k += 1
            if self.k == k < self.market.slices and not self.is_over:
                self._open_slice(time, regime)

    def _open_slice(self, time: float, regime: str | None) -> None:
        """Ask the policy, and submit its shares."""
        feed, names = self.desk.feed(self.order.symbol), self.market.scenario.regimes.names
        self._whole = True
        self.seen = 0 if len(names) == 1 else names.index(regime) if regime in names else self.market.unknown
        self._volume, self._signed, self._mid = feed.volume, feed.signed, feed.mid
        self.world = self.world._replace(price=self._unaffected(feed.mid))
        wanted = float(self.policy.act(self.situation(feed.mid)))
        size, left = self.order.lot_size, self.state.remaining - self._at_venue()
        if self.k < self.market.slices - 1 or not self.market.scenario.complete:
            left = min(wanted, left)
        lots = math.floor(left / size + 0.5)
        if lots <= 0:
            return
        end = self.start + (self.k + 1) * self.slice_seconds
        self.desk.submit(
            replace(
                self.order,
                id=self.child_id(self.k),
                quantity=lots * size,
                algorithm="TWAP",
                deadline=end,
                arrival_price=self.order.arrival_price if feed.mid is None else feed.mid,
            ),
            time,
        )

    def situation(self, mid: float | None) -> Situation:
        """Return the situation at the start of the present slice, given the mid (None: unknown, then the arrival price)."""
        order, last = self.order, LastSlice(self.last_shares, self.last_volume, self.world.price, 0.0, self.last_shares)
        world = self.world._replace(regime=self.seen, price=self._unaffected(mid))
        hidden = self.seen == self.market.unknown
        lane = first_lane(self.market.numbers, float(order.quantity), world)
        lane = lane._replace(k=self.k, state=self.state, last=last, slope_odds=self.slope_odds)
        paid = self.last_price if self.last_shares and not hidden else world.price
        numbers = EpisodeOrder(0, float(order.side), float(order.quantity), 0.0)
        situation = situation_of(self.market, self.market.numbers, hidden, numbers, lane, paid)
        return situation if self._law is None else with_law(situation, self._law)

    def _unaffected(self, mid: float | None) -> float:
        """Return the unaffected price, given the mid (None: unknown, then the arrival price), currency per share."""
        observed = self.order.arrival_price if mid is None else mid
        return float(observed - self.order.side * (self.state.permanent + self.state.transient))

    def _close_slice(self, time: float) -> None:
        """Count the fills and the trades of others since the start of the slice, and move the displacement by the fills."""
        feed, size = self.desk.feed(self.order.symbol), self.order.lot_size
        shares, paid = self._filled()
        before = float(self.order.quantity) - self.state.remaining
        self.close(time)
        self.last_shares = shares - before
        self.last_price = (paid - self._paid) / self.last_shares if self.last_shares else self.last_price
        self._paid = paid
        self.last_volume = max(feed.volume - self._volume, float(size))
        numbers, row = self.market.numbers, self.market.row(self.k, self.seen)
        ratio, flow = self.last_volume / float(row.mean_volume), self._standardised(feed.signed - self._signed, row)
        draws, world = Draws(0.0, 0.0, ratio, 0), World(self.seen, 0.0, self.order.arrival_price, 1.0, neutral_ratio(numbers))
        slice, _ = next_slice(numbers, float(self.order.side), self.k, row, world, draws)
        self.state, cost = step(self.market.impact, self.state, slice._replace(least=0.0, limit=math.inf), self.last_shares)
        self._learn(row, ratio, flow, cost)

    def _learn(self, row: SliceRow, ratio: float, flow: float, cost: Cost) -> None:
        """Move the world past a slice: the beliefs too, if the slice was observed from start to end: mids, regime and trades.

        Args:
            row: The numbers of the slice.
            ratio: Its volume over its expectation.
            flow: Its order flow, standard deviations.
            cost: Costs of the own fills by the model, of which those by temporary impact are not read, currency.
        """
        numbers, start, mid = self.market.numbers, self.world, self.desk.feed(self.order.symbol).mid
        self.world = observed_world(numbers, row, start, ratio, flow, self._unaffected(mid))
        heard = self._mid is not None and mid is not None and self.desk.feed(self.order.symbol).volume > self._volume
        observed = self._whole and heard
        if self._law is not None:
            chain, rivals = chain_of(self.market), map_leaves(lambda values: values.item(self.k), rivals_of(self.market))
            tape = Tape(self.last_volume, start.price, self.world.price, flow)
            self._law = next_law(numbers, chain, rivals, self._law, tape) if observed else later_law(chain, self._law)
        if not observed or self.seen == self.market.unknown:
            price, volume_ratio = self.world.price, self.world.volume_ratio
            self.world = start._replace(flow=flow, price=price, volume_ratio=volume_ratio)
        elif numbers.spec.unknown_slope and self.last_shares:
            linear = float(cost.permanent + cost.transient + cost.spread) / self.last_shares
            slipped = float(self.order.side) * (self.last_price - start.price) - linear
            part, error = self.last_shares / self.last_volume, slip_variance(numbers, row)
            self.slope_odds = learn_slope(numbers, self.slope_odds, row.temporary_scale, part, 0.0, slipped, error)

    def close(self, time: float) -> None:
        """Cancel the order of the present slice where the agent still works it."""
        if self.desk.is_open(self.child_id(self.k)):
            self.desk.cancel(self.child_id(self.k), time)

    def _children(self) -> list[ChildOrder]:
        """Return the children of all slices that were sent."""
        children = [child for k in range(self.k + 1) for child in self.desk.agent.children(self.child_id(k))]
        return [child for child in children if child.released is not None]

    def _at_venue(self) -> float:
        """Return the shares of earlier slices that the venue has not filled and not given back."""
        return float(self.order.total(child.remaining for child in self._children()))

    def _filled(self) -> tuple[float, float]:
        """Return the shares and the currency of all fills so far; a fill after the end of its slice counts in a later one."""
        fills = [fill for child in self._children() for fill in child.fills]
        return float(self.order.total(fill.quantity for fill in fills)), math.fsum(fill.quantity * fill.price for fill in fills)

    def _standardised(self, signed: float, row: SliceRow) -> float:
        """Return signed flow (shares) in standard deviations of the model; 0 where flow does not move its price."""
        numbers = self.market.numbers
        slope = numbers.permanent_slope + numbers.transient_slope
        deviation = numbers.by_flow * float(row.step_volatility) * numbers.arrival_price
        return signed * slope / deviation if deviation > 0.0 else 0.0


def _scenario_of(scenario: Scenario, order: ParentOrder, start: float) -> Scenario:
    """Return the scenario of an order, with its side, quantity and arrival price; the horizon ends at its deadline."""
    if order.deadline is None or not order.deadline > start:
        raise ValueError(f"deadline must be after the start of the order ({start:g} seconds), got {order.deadline}")
    return replace(
        scenario,
        side=order.side,
        quantity=float(order.quantity),
        arrival_price=order.arrival_price,
        horizon_minutes=round(order.deadline - start, 6) / _SECONDS,  # clocks of seconds since 1970 resolve no more
    )


class LiveOrders:
    """The orders that a desk works at a venue: which children to send, to send again, and to cancel there.

    Args:
        desk: The desk.
    """

    def __init__(self, desk: LiveDesk) -> None:
        """Begin without orders."""
        self.desk = desk
        self._open: dict[str, PolicyOrder | None] = {}
        self._rests: dict[str, None] = {}
        """Children whose rest came back unfilled."""

    def __len__(self) -> int:
        """Return the number of open orders."""
        return len(self._open)

    def accept(self, order: ParentOrder, time: float, policy: Policy | None = None, scenario: Scenario | None = None) -> None:
        """Accept an order: for the agent, or for a policy with the scenario of its market.

        Raises:
            ValueError: See :meth:`~hyperexec_env.execution.journal.LiveDesk.submit` and :class:`PolicyOrder`.
        """
        if policy is None or scenario is None:
            self.desk.submit(order, time)
            self._open[order.id] = None
        else:
            self._open[order.id] = PolicyOrder(self.desk, policy, scenario, order, time)

    def accept_wishes(self, order: Mapping[str, Any], wishes: Mapping[str, Any], time: float) -> None:
        """Accept an order whose wishes are plain values, as an engine transports them.

        Args:
            order: Fields of the :class:`~hyperexec_env.orders.ParentOrder` that the engine knows.
            wishes: `strategy`, an algorithm of the agent (default: that of its settings); `horizon_seconds` (default: that of
                the settings); and further fields of the order: :data:`WISHES`. With a `scenario` (a name, a dict or a path of a
                TOML file) the strategy is the name of a policy instead, such as "optimum".
            time: Time of the order, seconds.

        Raises:
            ValueError: A wish is unknown or out of range; the message names it.
        """
        left, config = dict(wishes), self.desk.config
        strategy, scenario = left.pop("strategy", config.algorithm), left.pop("scenario", None)
        seconds = left.pop("horizon_seconds", config.horizon_seconds)
        horizon = check_number("horizon_seconds", seconds, low=0.0, high=1e9, open_low=True, unit="seconds")
        for name in left:
            check_choice("parameter", name, ("strategy", "scenario", "horizon_seconds", *WISHES))
        parent = ParentOrder(**order, deadline=time + horizon, **left)
        if scenario is None:
            self.accept(replace(parent, algorithm=check_algorithm("strategy", strategy)), time)
        else:
            self.accept(parent, time, get_policy(strategy), get_scenario(scenario))

    def owner(self, child: ChildOrder) -> str:
        """Return the id of the order that was accepted; above the children of a policy there is the order of a slice first."""
        name = child.parent.id
        return name if name in self._open else name.rpartition(":")[0]

    def timer(self, time: float, regime: str | None = None) -> list[ChildOrder]:
        """Return the children to send now: the rests of open orders, and those that are due."""
        for policy in filter(None, self._open.values()):
            policy.timer(time, regime)
        due = self.desk.timer(time, regime)
        rests, self._rests = [self.desk.children[name] for name in self._rests], {}
        for child in rests:
            if not self.desk.is_open(child.parent.id):
                self.desk.cancel(child.id, time)
        return [*(child for child in rests if self.desk.is_open(child.parent.id)), *due]

    def come_back(self, child: str, time: float, refused: bool = False) -> None:
        """Take back the rest of a child: to send it again at the next timer; or, if it was refused or is late, to its order."""
        if refused or not self.desk.is_open(self.desk.children[child].parent.id):
            self.desk.cancel(child, time)
        else:
            self._rests[child] = None

    def over(self) -> list[str]:
        """Return the orders that are over: filled, expired, cancelled, or traded by their policy to the last slice."""
        return [name for name, policy in self._open.items() if (policy.is_over if policy else not self.desk.is_open(name))]

    def close(self, name: str, time: float) -> None:
        """Close an order: cancel what the agent still works of it, and take back the rests of its children."""
        for child in [child for child in self._rests if self.owner(self.desk.children[child]) == name]:
            del self._rests[child]
            self.desk.cancel(child, time)
        policy = self._open.pop(name)
        if policy is not None:
            policy.close(time)
        elif self.desk.is_open(name):
            self.desk.cancel(name, time)
