"""One episode of a child order at the touch: all that it remembers, and its step."""

from __future__ import annotations

from typing import Any, NamedTuple

from hyperexec_env.market.numeric import some, where
from hyperexec_env.market.touch import NOWHERE, Bill, Draw, Place, turn, unwind
from hyperexec_env.records import Whole

__all__ = ["TouchLane", "first_touch_lane", "step_lane"]


class TouchLane(NamedTuple):
    """State and account of an episode: numbers, or arrays over episodes."""

    k: Whole
    """Steps done, 0..T."""
    left: Any
    """Lots that are left."""
    place: Place
    """Where they rest."""
    outflow: Any
    """Lots that left the front of the queue in the last step."""
    filled: Any
    """Lots of the order that were filled in the last step."""
    moved: Any
    """Move of the touch in the last step, ticks; away from the order is positive."""
    since: Any
    """Steps since the touch moved, or since the start."""
    ticks: Any
    """Move of the mid since the start, ticks; away from the order is positive."""
    bill: Bill
    """Cost so far, currency per share, summed over the lots."""
    taken: Any
    """Lots that took, those at the end included."""
    forced: Any
    """Lots that were taken after the last step."""
    over: Whole
    """1 if the episode is over, else 0."""


def first_touch_lane(market: Any) -> TouchLane:
    """Return the start of an episode, as numbers; `market` is the market or its numbers."""
    return TouchLane(0, market.lots, Place(NOWHERE, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, Bill(0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0)


def step_lane(market: Any, lane: TouchLane, take: Any, rest: Any, draw: Draw) -> tuple[TouchLane, Any]:
    """Trade one step, and after the last one everything that is left.

    Args:
        market: The market, or its numbers.
        lane: The episode.
        take: Lots to take.
        rest: What the other lots do, an index of :data:`~hyperexec_env.market.touch.RESTS`.
        draw: What nature draws.

    Returns:
        The episode after the step, and the cost of the step, currency per share, summed over the lots.
    """
    done = turn(market, lane.left, lane.place, take, rest, draw)
    k, left, place, taken, forced = lane.k + 1, done.left, done.place, lane.taken + done.taken, lane.forced
    take_cost, impact, rest_cost, risk = done.bill
    last = k >= market.steps
    if some(last):
        rests = where(last, left, 0.0)
        ending = unwind(market, rests)
        left, taken, forced = left - rests, taken + rests, forced + rests
        take_cost, impact = take_cost + ending.take, impact + ending.impact
        place = Place(where(last, NOWHERE, place.level), where(last, 0.0, place.ahead))
    paid = lane.bill
    after = TouchLane(
        k=k,
        left=left,
        place=place,
        outflow=draw.outflow,
        filled=done.filled,
        moved=draw.moved,
        since=where(draw.moved == 0.0, lane.since + 1.0, 0.0),
        ticks=lane.ticks + draw.moved,
        bill=Bill(paid.take + take_cost, paid.impact + impact, paid.rest + rest_cost, paid.risk + risk),
        taken=taken,
        forced=forced,
        over=(left <= 0.0) * 1,
    )
    return after, take_cost + impact + rest_cost + risk
