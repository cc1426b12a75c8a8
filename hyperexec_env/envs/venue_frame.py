"""What a picture of an episode with venues shows, and the same as text."""

from __future__ import annotations

import itertools
from typing import Any, Final, NamedTuple

from hyperexec_env.envs.rendering import Frame, describe
from hyperexec_env.envs.venue_episode import VenueEpisode
from hyperexec_env.market.kernel import State, mid_price
from hyperexec_env.market.venue_lane import split_spread
from hyperexec_env.records import record_type

__all__ = ["VenueFrame", "describe_venues", "look_at_venues"]

_BAR: Final = 20
"""Characters of the bar of a venue."""


class VenueFrame(NamedTuple):
    """An episode so far: the past only."""

    whole: Frame
    """The order and its market, with fees and adverse selection among the costs."""
    names: tuple[str, ...]
    """Name of each venue."""
    lit: int
    """Number of lit venues; they come first."""
    fills: list[list[float]]
    """Shares that each venue filled, by slice, length k."""
    requests: list[list[float]]
    """Shares requested of each venue, by slice, length k."""


def look_at_venues(episode: VenueEpisode) -> VenueFrame:
    """Return the frame of an episode so far."""
    task, world, k = episode.task, episode.world, episode.k
    market, scenario, side = task.market.market, task.market.scenario.market, episode.side
    names = () if task.hidden else scenario.regimes.names
    states, prices = [State(*state) for state in episode.states], world.price.tolist()
    children = [before.remaining - after.remaining for before, after in itertools.pairwise(states)]
    paid: list[Any] = episode.paid
    statement = episode.statement()
    parts = split_spread(statement.components, -episode.scale * episode.fees, -episode.scale * episode.adverse)
    whole = Frame(
        name=scenario.name,
        side=side,
        quantity=episode.quantity,
        arrival_price=scenario.arrival_price,
        slices=market.slices,
        minutes=scenario.horizon_minutes / scenario.slices,
        k=k,
        over=episode.over,
        remaining=[state.remaining for state in states],
        plan=(market.plan * episode.quantity).tolist(),
        mids=[mid_price(state, price, side) for state, price in zip(states, prices, strict=False)],
        fills=[
            price + side * cash / shares if shares else float("nan")
            for price, cash, shares in zip(prices, paid, children, strict=False)
        ],
        participation=[shares / volume for shares, volume in zip(children, episode.volumes, strict=False)],
        regimes=[names[regime] for regime in world.regime[: min(k + 1, market.slices)].tolist()] if names else [],
        known=tuple(names),
        statement=statement._replace(components=record_type("VenueComponents", parts)(**parts)),
    )
    return VenueFrame(whole, task.market.scenario.names, task.market.lit, episode.fills, episode.requests)


def describe_venues(frame: VenueFrame) -> str:
    """Return the frame as text: the order, then a line for each venue with what it filled so far and in the last slice."""
    lines, width = [describe(frame.whole)], max(map(len, frame.names))
    quantity, shares = frame.whole.quantity, [0.0] * len(frame.names)
    for fills in frame.fills:
        shares = [total + fill for total, fill in zip(shares, fills, strict=True)]
    for number, (name, filled) in enumerate(zip(frame.names, shares, strict=True)):
        bar = "#" * round(_BAR * filled / quantity)
        last = "nothing yet"
        if frame.fills:
            asked, fill = frame.requests[-1][number], frame.fills[-1][number]
            hidden = number >= frame.lit and asked > 0.0
            note = ", all of it: more may have been there" if hidden and fill >= asked else ""
            last = f"{fill:,.0f} of {asked:,.0f} shares requested{note}"
        lines.append(f"{name:<{width}}  [{bar:<{_BAR}}] {filled / quantity:6.1%} of the order; last slice {last}\n")
    return "".join(lines)
