"""Rewards: what a slice pays. The built-in rewards, and the outcome of a slice, from which a user's function computes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces

from hyperexec_env.market.kernel import ROLES, Cost, close, expected_cost, realised_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane
from hyperexec_env.market.numeric import where
from hyperexec_env.market.path import impact_of
from hyperexec_env.market.tables import Numbers
from hyperexec_env.records import Real, Whole, sum_of

__all__ = [
    "COST_RISK",
    "PARTS",
    "REWARDS",
    "Outcome",
    "Paid",
    "PaidRisk",
    "Reward",
    "charged_cost",
    "cost_and_risk",
    "no_pay",
    "no_pay_risk",
    "outcome_of",
    "pay",
    "pay_parts",
    "reward_space",
]

COST_RISK: Final = "cost-risk"
"""Name of the vector reward."""
PARTS: Final = ("cost", "risk")
"""Names of the parts of the vector reward."""
REWARDS: Final = ("expected", "realised", COST_RISK)
"""Names of the rewards."""


def reward_space() -> spaces.Box:
    """Return the space of the vector reward, shape (parts,), unbounded: the attribute `reward_space` of MO-Gymnasium.

    It is float64, so that the parts add up to the scalar reward.
    """
    return spaces.Box(-np.inf, np.inf, (len(PARTS),), np.float64)


class Reward(NamedTuple):
    """The kind of the reward."""

    realised: Whole
    """1 if the reward includes the price noise and the permanent cost, else 0."""


class Paid(NamedTuple):
    """The reward of a slice."""

    reward: Real
    """Bps of the arrival notional; a cost is negative."""
    terminated: Any
    """Whether the slice ended the episode."""


class PaidRisk(NamedTuple):
    """The second part of the vector reward of a slice."""

    risk: Real
    """Bps of the arrival notional; a cost is negative."""


class Outcome(NamedTuple):
    """One slice that has traded: the argument of a user's reward. Each number is a float or an int."""

    k: Whole
    """The slice that traded, 0..N-1."""
    slices: Whole
    """Number of slices of the order, N."""
    over: Whole
    """1 if the slice ended the episode, else 0."""
    side: Real
    """+1 buy, -1 sell."""
    quantity: Real
    """Shares of the whole order, X."""
    asked: Real
    """Shares that the action requested."""
    shares: Real
    """Shares that traded."""
    remaining: Real
    """Shares still to trade after the slice."""
    volume: Real
    """Market volume of the slice, shares, without the order's own."""
    arrival_price: Real
    """Price at arrival, P0, currency per share."""
    price: Real
    """Unaffected price at the start of the slice, currency per share."""
    next_price: Real
    """Unaffected price at the end of the slice, currency per share."""
    permanent: Real
    """Own permanent displacement of the price after the slice, currency per share; adverse is positive."""
    transient: Real
    """Own transient displacement of the price after the slice, currency per share; adverse is positive."""
    cost: Cost
    """Cost of the slice by component, currency; positive is a cost."""
    mark_shortfall: Real
    """Mark of the unfilled shares in the shortfall, currency: 0 unless the slice ended the episode with unfilled shares."""
    mark_objective: Real
    """Mark of the unfilled shares in the objective, currency: 0 unless the slice ended the episode with unfilled shares."""
    scale: Real
    """Reward of a cost of one unit of currency, bps: -1e4 / (X P0)."""


def outcome_of(numbers: Numbers, order: EpisodeOrder, lane: Lane, cost: Cost) -> Outcome:
    """Return the outcome of a slice, given the episode after the slice and the cost of the slice, currency."""
    last, state = lane.last, lane.state
    mark_shortfall = mark_objective = 0.0
    if not numbers.spec.complete:
        marked, marked_in_objective = close(impact_of(numbers), state, order.quantity)
        over = lane.over != 0
        mark_shortfall, mark_objective = where(over, marked, 0.0), where(over, marked_in_objective, 0.0)
    return Outcome(
        k=lane.k - 1,
        slices=numbers.slices,
        over=lane.over,
        side=order.side,
        quantity=order.quantity,
        asked=last.asked,
        shares=last.shares,
        remaining=state.remaining,
        volume=last.volume,
        arrival_price=numbers.arrival_price,
        price=last.price,
        next_price=lane.world.price,
        permanent=state.permanent,
        transient=state.transient,
        cost=cost,
        mark_shortfall=mark_shortfall,
        mark_objective=mark_objective,
        scale=order.scale,
    )


def pay(numbers: Numbers, reward: Reward, order: EpisodeOrder, lane: Lane, cost: Cost) -> Paid:
    """Return the reward of a slice: minus its cost, currency, in bps of the arrival notional.

    At the end of an episode with unfilled shares the cost includes their mark at the final mid. `lane` is the episode after
    the slice.
    """
    realised, over = reward.realised != 0, lane.over != 0
    charged = charged_cost(reward, cost)
    if not numbers.spec.complete:
        marked, marked_in_objective = close(impact_of(numbers), lane.state, order.quantity)
        charged = charged + where(over, where(realised, marked, marked_in_objective), 0.0)
    return Paid(charged * order.scale, over)


def charged_cost(reward: Reward, cost: Cost) -> Any:
    """Return the cost of a slice that a reward charges, currency, without the mark of unfilled shares."""
    return where(reward.realised != 0, realised_cost(cost), expected_cost(cost))


def no_pay() -> Paid:
    """Return the reward 0 of a step that begins an episode."""
    return Paid(0.0, False)


def _objective_part(in_shortfall: bool) -> Callable[[Any], Any]:
    """Return the function that adds the components of the objective that are, or are not, part of the shortfall."""
    return sum_of(Cost, [name for name, role in ROLES.items() if role.objective and role.shortfall == in_shortfall])


_cost_part, _risk_part = _objective_part(True), _objective_part(False)


def cost_and_risk(outcome: Outcome) -> tuple[Any, Any]:
    """Return the cost part and the risk part of the reward "expected", bps of the arrival notional; a cost is negative.

    Over an episode they sum to minus (`objective_bps` - `risk_bps`) and to minus `risk_bps`. The larger part is the scalar
    reward minus the smaller part, so that two parts of one sign add up to the scalar reward to the last bit (Sterbenz 1974).
    """
    total = (expected_cost(outcome.cost) + outcome.mark_objective) * outcome.scale
    paid = (_cost_part(outcome.cost) + outcome.mark_objective) * outcome.scale
    risk = _risk_part(outcome.cost) * outcome.scale
    smaller = abs(risk) <= abs(paid)
    return where(smaller, paid, total - risk), where(smaller, total - paid, risk)


def pay_parts(numbers: Numbers, order: EpisodeOrder, lane: Lane, cost: Cost) -> tuple[Paid, PaidRisk]:
    """Return the vector reward of a slice (:func:`cost_and_risk`)."""
    paid, risk = cost_and_risk(outcome_of(numbers, order, lane, cost))
    return Paid(paid, lane.over != 0), PaidRisk(risk)


def no_pay_risk() -> PaidRisk:
    """Return the second reward 0 of a step that begins an episode."""
    return PaidRisk(0.0)
