"""The situation of a trader at the start of a slice: the information of a policy, in natural units, past only."""

from __future__ import annotations

from typing import Any, NamedTuple

from hyperexec_env.market.lane import EpisodeOrder, Lane
from hyperexec_env.market.numeric import where
from hyperexec_env.market.tables import Numbers
from hyperexec_env.records import Whole

__all__ = ["Situation", "price_of_last", "situation_of"]


class Situation(NamedTuple):
    """The information of a policy at the start of a slice: each number is a float, or an array over episodes."""

    market: Any
    """The :class:`~hyperexec_env.market.tables.Market`; None in compiled loops."""
    k: Whole
    """Slice, 0..N."""
    seen: Whole
    """Column of the market's tables: the index of the regime, or `market.unknown` if the regime is not observed."""
    side: Any
    """+1 buy, -1 sell."""
    quantity: Any
    """Shares of the whole order."""
    remaining: Any
    """Shares still to trade."""
    permanent: Any
    """Permanent displacement, currency per share; adverse is positive."""
    transient: Any
    """Transient displacement, currency per share; adverse is positive. Zero if the regime is not observed, because its decay
    would reveal the regime."""
    price: Any
    """Unaffected price, currency per share."""
    flow: Any
    """Order flow of the previous slice, standard deviations; positive is buying."""
    last_shares: Any
    """Shares of the order that traded in the previous slice."""
    last_volume: Any
    """Market volume of the previous slice, shares; before the first slice, the mean expected volume of a slice, with persistent
    volume times the ratio that was drawn for the time before."""
    last_price: Any
    """Average fill price of `last_shares`, currency per share. Equal to `price` if no shares traded, and if the regime is not
    observed, because the impact would reveal it."""
    volume_ratio: Any = 1.0
    """`last_volume` over its expectation in the regime of that slice, where the volume is persistent. 1 in other markets, and
    if the regime is not observed, because the ratio would reveal the regime of the previous slice."""


def situation_of(market: Any, numbers: Numbers, hidden: Any, order: EpisodeOrder, lane: Lane, last_price: Any) -> Situation:
    """Return the situation of a lane.

    Args:
        market: The market, for policies in Python; None in compiled loops and for observations.
        numbers: The numbers of the market.
        hidden: Whether the regime is not observed; quantities that would reveal it are then hidden too.
        order: The order of the episode.
        lane: The episode at the start of the slice.
        last_price: The result of :func:`price_of_last`; observations do not read it.
    """
    last, state, world, regime = lane.last, lane.state, lane.world, lane.world.regime
    return Situation(
        market=market,
        k=lane.k,
        seen=regime * 0 + (numbers.width - 1) if hidden else regime,
        side=order.side,
        quantity=order.quantity,
        remaining=state.remaining,
        permanent=state.permanent,
        transient=state.transient * 0.0 if hidden else state.transient,
        price=world.price,
        flow=world.flow,
        last_shares=last.shares,
        last_volume=last.volume,
        last_price=last_price,
        volume_ratio=world.volume_ratio * 0.0 + 1.0 if hidden else world.volume_ratio,
    )


def price_of_last(hidden: Any, order: EpisodeOrder, lane: Lane) -> Any:
    """Return :attr:`Situation.last_price`, currency per share: S_{k-1} plus the side times the cost per share paid on top."""
    last = lane.last
    priced = (last.shares > 0.0) & (hidden == 0)
    paid = last.paid / where(priced, last.shares, 1.0)
    return where(priced, last.price + order.side * paid, lane.world.price)
