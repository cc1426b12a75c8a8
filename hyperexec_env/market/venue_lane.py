"""One episode with venues as a record, and the stages that run it: begin, draw a slice, trade the slice.

Arrays over venues have the venues first: the shape (venues, episodes), or (venues,) for one episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from hyperexec_env.market.account import Account, Components
from hyperexec_env.market.kernel import Cost, Slice, State, paid_cost
from hyperexec_env.market.lane import Lane, LastSlice
from hyperexec_env.market.noise import Words
from hyperexec_env.market.numeric import maximum, minimum, where
from hyperexec_env.market.path import World, draw_slice, impact_of
from hyperexec_env.market.tables import must_finish
from hyperexec_env.market.venue import total_cost, venue_move
from hyperexec_env.market.venue_path import (
    VenueMarket,
    available,
    moved,
    moves_price,
    next_deviations,
    selected,
    venue_slices,
    weights_of,
)
from hyperexec_env.records import plus

__all__ = [
    "VenueLane",
    "VenueSlice",
    "begin_venues",
    "draw_venue_slice",
    "fee_cash",
    "finishing",
    "limited",
    "next_shares",
    "past_of_hidden",
    "since_fill",
    "split_spread",
    "venue_turn",
]


class VenueLane(NamedTuple):
    """The state of an episode with venues at the start of a slice."""

    lane: Lane
    """The order, its account and the market."""
    deviations: Any
    """z of each lit venue, shape (lit, ...)."""
    asked: Any
    """Shares requested of each venue in the previous slice, shape (venues, ...)."""
    last: Any
    """Shares that each venue filled in the previous slice, shape (venues, ...)."""
    posted: Any
    """Shares requested of each venue so far, shape (venues, ...)."""
    filled: Any
    """Shares that each venue filled so far, shape (venues, ...)."""
    since: Any
    """Slices since the last fill of each venue, shape (venues, ...); N before the first."""
    fees: Any
    """Fees so far, currency."""
    adverse: Any
    """Adverse selection so far, currency."""


class VenueSlice(NamedTuple):
    """What nature drew for one slice."""

    slices: list[Slice]
    """Slice of each venue."""
    adverse: list[Any]
    """a of each venue, currency per share."""
    world: World
    """The market at the start of the next slice."""


def begin_venues(market: VenueMarket, lane: Lane, keys: Words) -> VenueLane:
    """Return the episode before its first slice; `lane` and `keys` have one element for each episode."""
    shape = (market.count, len(keys))
    zero = np.zeros(len(keys))
    return VenueLane(
        lane=lane,
        deviations=np.stack(next_deviations(market, keys, 0, [zero] * market.lit)),
        asked=np.zeros(shape),
        last=np.zeros(shape),
        posted=np.zeros(shape),
        filled=np.zeros(shape),
        since=np.full(shape, float(market.slices)),
        fees=zero,
        adverse=zero,
    )


def draw_venue_slice(market: VenueMarket, keys: Words, k: Any, episode: VenueLane, side: Any) -> VenueSlice:
    """Return the slice of each venue, equal to that of :func:`~hyperexec_env.market.venue_path.draw_venue_path`.

    Args:
        market: The market.
        keys: Keys of the episodes, shape (episodes,).
        k: Slice of each episode, 0..N-1.
        episode: The episodes at the start of the slice.
        side: +1 buy, -1 sell.
    """
    world, regime = episode.lane.world, episode.lane.world.regime
    slice, after = draw_slice(market.market, keys, k, world, side)
    offers = available(market, keys, k, regime)
    if moves_price(market):
        slice, price = moved(slice, world.price, side, selected(market, regime, offers))
        after = after._replace(price=price)
    slices = venue_slices(market, slice, regime, weights_of(market, list(episode.deviations)), offers)
    return VenueSlice(slices, [own.take(regime) for own in market.adverse], after)


def limited(left: Any, asked: Sequence[Any]) -> list[Any]:
    """Return requests of which none is negative and whose sum is at most the remaining shares: scaled before nature is seen.

    Args:
        left: Remaining shares.
        asked: Shares requested of each venue.
    """
    wanted = [maximum(ask, 0.0) for ask in asked]
    total = reduce(add, wanted)
    over = total > left
    factor = where(over, left, 1.0) / where(over, total, 1.0)
    return [ask * factor for ask in wanted]


def venue_turn(
    market: VenueMarket, episode: VenueLane, drawn: VenueSlice, asked: Sequence[Any], wanted: Any
) -> tuple[VenueLane, Cost]:
    """Trade one slice in all venues and book it; return the episode at the start of the next slice, and the cost, currency.

    The shares w of the lit venues are still those of this slice: :func:`next_shares` draws the next ones.

    Args:
        market: The market.
        episode: The episode at the start of the slice.
        drawn: What nature drew, from :func:`draw_venue_slice`.
        asked: Shares requested of each venue; their sum is at most the remaining shares.
        wanted: Shares that the policy asked for in all venues, before the last slice completed the order.
    """
    lane, numbers = episode.lane, market.market.numbers
    state, costs, fills = venue_move(impact_of(numbers), market.coupling, lane.state, drawn.slices, asked, drawn.adverse)
    cost, k = Cost(*total_cost(costs)), lane.k + 1
    filled, charged = np.stack(fills), fee_cash(drawn.adverse, fills)
    after = Lane(
        k=k,
        over=((k == numbers.slices) | (state[0] <= 0.0)) * 1,
        world=drawn.world,
        state=State(*state),
        memory=lane.memory,
        account=Account(plus(lane.account.cost, cost), lane.account.drift_move, lane.account.timing_move),
        last=LastSlice(
            shares=lane.state.remaining - state[0],
            volume=reduce(add, [slice.volume for slice in drawn.slices[: market.lit]]),
            price=lane.world.price,
            paid=paid_cost(cost) - charged,
            asked=wanted,
        ),
    )
    made = VenueLane(
        lane=after,
        deviations=episode.deviations,
        asked=np.stack([np.broadcast_to(ask, fill.shape) for ask, fill in zip(asked, fills, strict=True)]),
        last=filled,
        posted=episode.posted + np.stack(list(asked)),
        filled=episode.filled + filled,
        since=since_fill(episode.since, filled, float(market.slices)),
        fees=episode.fees + fee_cash(market.fees, fills),
        adverse=episode.adverse + charged,
    )
    return made, cost


def next_shares(market: VenueMarket, keys: Words, episode: VenueLane) -> VenueLane:
    """Return the episode with the shares w of the lit venues in slice `k`; after the last slice they stay."""
    k = minimum(episode.lane.k, market.slices - 1)
    drawn = np.stack(next_deviations(market, keys, k, list(episode.deviations)))
    return episode._replace(deviations=where(episode.lane.k < market.slices, drawn, episode.deviations))


def past_of_hidden(market: VenueMarket, episode: VenueLane) -> list[list[Any]]:
    """Return what each hidden venue did so far: shares asked and filled in the last slice, slices since its last fill, and
    shares requested and filled in all; a list over the hidden venues for each.
    """
    parts = (episode.asked, episode.last, episode.since, episode.posted, episode.filled)
    return [list(part[market.lit :]) for part in parts]


def since_fill(since: Any, filled: Any, slices: float) -> Any:
    """Return the slices since the last fill, at most N."""
    return where(filled > 0.0, 0.0, minimum(since + 1.0, slices))


def fee_cash(rates: Iterable[Any], fills: Iterable[Any]) -> Any:
    """Return the cash of a charge per share, currency: the sum over venues of rate times fill, added from left to right."""
    return reduce(add, [rate * fill for rate, fill in zip(rates, fills, strict=True)])


def split_spread(components: Components, fees: Any, adverse: Any) -> dict[str, Any]:
    """Return the components of the shortfall with fees and adverse selection apart from the spread; the sum stays the same.

    Args:
        components: The shortfall by source, bps.
        fees: Fees, bps.
        adverse: Adverse selection, bps.
    """
    parts = components._asdict()
    return {"spread": parts.pop("spread") - fees - adverse, "fees": fees, "adverse": adverse, **parts}


def finishing(market: VenueMarket, k: Any) -> Any:
    """Return whether slice `k` must complete the order, so that hidden venues are void."""
    return must_finish(market.market.numbers, k)
