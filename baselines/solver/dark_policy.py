"""Requests over venues, and the policy of tables of the dynamic programme."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.venue_task import VenueSituation
from hyperexec_env.market.venue_path import VenueMarket, expected_offer, lit_toll, routed, venue_row

from .dark_dynamic import DarkTables
from .policies import TablePolicy
from .problem import build_problem

__all__ = ["Router", "lit_request", "of_tables", "requests", "split_post", "water_filling"]

Floats = NDArray[np.float64]

Router = Callable[[VenueSituation, Any], Sequence[Any]]
"""Function from a situation and a lit request to the shares of each lit venue."""


def water_filling(situation: VenueSituation, shares: Any) -> Sequence[Any]:
    """Split a lit request at the least toll."""
    return routed(situation.market, shares, situation.terms)


def requests(situation: VenueSituation, lit: Any, posts: Sequence[Any], router: Router = water_filling) -> Floats:
    """Return the requests of a lit request, split by a router, and of posts; in the last slice everything left is lit.

    Args:
        situation: The situation.
        lit: Shares to trade in lit venues.
        posts: Shares to post in each hidden venue.
        router: The router of the lit request.
    """
    left, last = np.asarray(situation.order.remaining), situation.finishing
    lit = np.where(last, left, np.clip(lit, 0.0, left))
    parts = [*router(situation, lit), *(np.where(last, 0.0, np.maximum(post, 0.0)) for post in posts)]
    return np.stack([np.broadcast_to(part, left.shape) for part in parts])


def lit_request(market: VenueMarket, tables: DarkTables) -> Callable[[VenueSituation], Any]:
    """Return the lit request of tables, as a function of the situation."""
    lit = TablePolicy(build_problem(market.market, 1), tables.lit)
    return lambda situation: lit.act(situation.order)


def of_tables(market: VenueMarket, tables: DarkTables) -> Callable[[VenueSituation], Floats]:
    """Return the requests of tables, as a function of the situation: up to the optimal total in the hidden venues."""
    lit = lit_request(market, tables)
    if not market.scenario.hidden:
        return lambda situation: requests(situation, lit(situation), [])
    total = TablePolicy(build_problem(market.market, 1), tables.total)

    def act(situation: VenueSituation) -> Floats:
        taken = lit(situation)
        return requests(situation, taken, split_post(situation, taken, total.act(situation.order) - taken))

    return act


def split_post(situation: VenueSituation, lit: Any, shares: Any) -> Sequence[Any]:
    """Split a post over the hidden venues so that it saves most.

    A share that does not fill costs the marginal toll u of the lit request, so the next share saves (u - q_v) P(A_v >= y_v):
    the pieces between the atoms of all venues are filled in the order of what they save.

    Args:
        situation: The situation.
        lit: The lit request, shares.
        shares: Shares to post.
    """
    market, order = situation.market, situation.order
    if market.count - market.lit == 1:
        return [shares]
    row, unit = venue_row(market, order.seen), expected_offer(market, order.k, order.seen)
    toll = lit_toll(market, np.maximum(lit, 0.0), situation.terms)[1]
    lengths, saved, venues = [], [], []
    for number, (venue, q) in enumerate(zip(market.scenario.hidden, row.hidden, strict=True)):
        law = venue.law
        for low, high in zip(law.sizes[:-1].tolist(), law.sizes[1:].tolist(), strict=True):
            up_to = shares if math.isinf(high) else np.minimum(high * unit, shares)
            lengths.append(up_to - np.minimum(low * unit, shares))
            saved.append((toll - q) * law.tail(high))
            venues.append(number)
    return _in_turn(np.maximum(np.stack(lengths), 0.0), np.stack(saved), venues, shares)


def _in_turn(lengths: Floats, saved: Floats, venues: Sequence[int], shares: Any) -> Sequence[Any]:
    """Return the shares of each venue if pieces are filled in the order of what a share in them saves, while it saves anything.

    Args:
        lengths: Shares of each piece, shape (pieces, episodes).
        saved: What a share in it saves, currency per share, in the shape of `lengths`.
        venues: Venue of each piece.
        shares: Shares to distribute, shape (episodes,).
    """
    turn = np.argsort(-saved, axis=0, kind="stable")
    sorted_lengths = np.take_along_axis(np.where(saved > 0.0, lengths, 0.0), turn, axis=0)
    before = np.cumsum(sorted_lengths, axis=0) - sorted_lengths
    filled = np.empty_like(lengths)
    np.put_along_axis(filled, turn, np.clip(shares - before, 0.0, sorted_lengths), axis=0)
    return [filled[[own == number for own in venues]].sum(axis=0) for number in range(max(venues) + 1)]
