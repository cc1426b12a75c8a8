"""The situation of a trader at the start of a slice: what a policy may know, in natural units. Past only."""

from __future__ import annotations

from typing import Any, NamedTuple

from hyperexec_env.market.lane import EpisodeOrder, Lane
from hyperexec_env.market.model import Numbers
from hyperexec_env.market.numeric import where
from hyperexec_env.records import Whole

__all__ = ["Situation", "price_of_last", "situation_of"]


class Situation(NamedTuple):
    """What a policy may know at the start of a slice: floats, or arrays over episodes.

    `seen` is the column of the market's tables: the regime, or `market.unknown` where the regime is not observed.
    """

    market: Any
    """The :class:`~hyperexec_env.market.model.Market`; None in compiled loops."""
    k: Whole
    """Slice, 0..N."""
    seen: Whole
    side: Any
    quantity: Any
    """Shares of the whole order."""
    remaining: Any
    """Shares still to trade."""
    permanent: Any
    """Permanent displacement, currency per share, adverse is positive."""
    transient: Any
    """Transient displacement, currency per share, adverse is positive (zero where the regime is not observed)."""
    price: Any
    """Unaffected price, currency per share."""
    flow: Any
    """Order flow of the slice before, standard deviations, positive is buying."""
    last_shares: Any
    """Shares of the order that traded in the slice before."""
    last_volume: Any
    """Market volume of the slice before, shares (before the first slice: the mean expected volume of a slice)."""
    last_price: Any
    """Average price of `last_shares`, currency per share (`price` where none traded, and where the regime is not observed,
    which the impact would betray)."""


def situation_of(market: Any, numbers: Numbers, hidden: Any, order: EpisodeOrder, lane: Lane, last_price: Any) -> Situation:
    """Return the situation of a lane.

    Args:
        market: The market, for policies in Python; None in compiled loops.
        numbers: The numbers of the market.
        hidden: Whether the regime, and what would betray it, is kept from the observer.
        order: The order of the episode.
        lane: The episode.
        last_price: See :func:`price_of_last`; observations do not need it.
    """
    last, state, regime = lane.last, lane.state, lane.world.regime
    return Situation(
        market=market,
        k=lane.k,
        seen=regime * 0 + (numbers.width - 1) if hidden else regime,
        side=order.side,
        quantity=order.quantity,
        remaining=state.remaining,
        permanent=state.permanent,
        transient=state.transient * 0.0 if hidden else state.transient,
        price=lane.world.price,
        flow=lane.world.flow,
        last_shares=last.shares,
        last_volume=last.volume,
        last_price=last_price,
    )


def price_of_last(hidden: Any, order: EpisodeOrder, lane: Lane) -> Any:
    """Return the average price of the shares of the slice before, as :attr:`Situation.last_price` states it."""
    last = lane.last
    priced = (last.shares > 0.0) & (hidden == 0)
    paid = last.paid / where(priced, last.shares, 1.0)
    return where(priced, last.price + order.side * paid, lane.world.price)
