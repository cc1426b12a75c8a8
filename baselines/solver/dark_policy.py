"""Requests over venues, and the policy of tables of the dynamic programme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.venue_task import VenueSituation
from hyperexec_env.market.liquidity import expected_fill
from hyperexec_env.market.venue_path import VenueMarket, expected_offer, lit_toll, routed, venue_row

from .dark_dynamic import DarkTables
from .policies import TablePolicy
from .problem import build_problem

__all__ = ["Router", "lit_request", "of_tables", "requests", "split_post", "water_filling"]

Floats = NDArray[np.float64]

_ROUNDS: Final = 5
"""Rounds of substitution of the posts in several hidden venues."""
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
    """Return posts in the hidden venues after which the order expects to stop at a total.

    The derivative of the cost in the post y_v is P(A_v > y_v) E[q_v + W'(n + y_v + fills of the others)]. Where W is quadratic
    near t*, it is zero at n + y_v + (expected fills of the others) = t*, which a few rounds of substitution solve. Venues whose
    concession is above the marginal toll of the lit request get nothing; all posts fit into what the lit request leaves.

    Args:
        situation: The situation.
        lit: n, the lit request, shares.
        shares: t* - n, shares.
    """
    market, order = situation.market, situation.order
    if market.count - market.lit == 1:
        return [shares]
    row, unit = venue_row(market, order.seen), np.maximum(expected_offer(market, order.k, order.seen), 1e-9)
    toll = lit_toll(market, np.maximum(lit, 0.0), situation.terms)[1]
    wanted = [np.where(toll > q, np.maximum(shares, 0.0), 0.0) for q in row.hidden]
    laws = [venue.law for venue in market.scenario.hidden]
    posts, fills = list(wanted), [unit * expected_fill(law, most / unit) for law, most in zip(laws, wanted, strict=True)]
    for _ in range(_ROUNDS):
        for number, law in enumerate(laws):
            others = sum(fills) - fills[number]
            posts[number] = np.clip(shares - others, 0.0, wanted[number])
            fills[number] = unit * expected_fill(law, posts[number] / unit)
    return _within(np.maximum(order.remaining - lit, 0.0), posts, [law.found for law in laws])


def _within(room: Any, posts: Sequence[Any], chances: Sequence[float]) -> list[Any]:
    """Return posts that together need at most some room; where it is short, they share it by their chance of liquidity."""
    given = [0.0 * post for post in posts]
    for _ in range(_ROUNDS):
        open_posts = [chance * (post - own) for chance, post, own in zip(chances, posts, given, strict=True)]
        scale = np.maximum(room - sum(given), 0.0) / np.maximum(sum(open_posts), 1e-300)
        given = [own + np.minimum(scale * part, post - own) for own, part, post in zip(given, open_posts, posts, strict=True)]
    return given
