"""One episode of a basket as records, and the stages that begin it, draw its slices and book them.

The stages stand beside those of one asset (:mod:`~hyperexec_env.market.lane`): each takes records of one asset, and of the
episode that all assets share (:class:`Basket`). Weighted sums over the assets join them. One slice is

    common       = draw_common(basket)                              the draw of the regime
    words        = lane.draw_words(order, lane)                     of each asset, then path.draw_shocks, own_draws
    offer        = basket.offer(lane, slice, asked)                 with the slice of unmixed_draws: prices do not matter
    mixed        = sums of own draws with the root of the correlation
    coupled      = sums of offers with the matrices of the coupling
    lane, cost   = basket.turn_coupled(numbers, lane, slice, world, asked, offer, coupled)     with the slice of mixed_draws
"""

from __future__ import annotations

from typing import NamedTuple

from hyperexec_env.market import path
from hyperexec_env.market.basket_path import asset_key
from hyperexec_env.market.lane import EpisodeKey, EpisodeOrder, Lane, first_lane
from hyperexec_env.market.path import Draws, OrderNumbers, Shocks, Words, World
from hyperexec_env.market.tables import Numbers, Thresholds
from hyperexec_env.records import Real, Whole, Word, maker

__all__ = [
    *("Basket", "Common", "Entry", "Member", "Mixed", "OwnDraws", "Worth"),
    *("begin_basket_episode", "draw_common", "enter", "mixed_draws", "open_asset", "own_draws", "unmixed_draws"),
]


class Member(NamedTuple):
    """What tells the assets of a basket apart."""

    number: Word
    """Number of the asset."""
    turn: Real
    """Side of the order times the side of asset 0's."""


class Basket(NamedTuple):
    """The state of an episode of a basket at the start of a slice, which all assets share."""

    key: Word
    """Key of the episode."""
    k: Whole
    """The slice to trade next, 0..N."""
    over: Whole
    """1 if the episode is over, else 0."""
    scale: Real
    """Reward of a cost of one unit of currency, bps of the arrival notional of all orders."""


class Entry(NamedTuple):
    """An asset at the beginning of an episode."""

    key: Word
    """Key of the noise of the asset."""
    side: Real
    """+1 buy, -1 sell."""
    quantity: Real
    """Shares of the order, X."""
    value: Real
    """Arrival notional of the order, currency."""
    world: World
    """The market at the start of the first slice; the order flow is not yet mixed with that of the other assets."""


class Worth(NamedTuple):
    """The orders of an episode together."""

    value: Real
    """Arrival notional of all orders, currency."""
    variance: Real
    """Daily variance of the value, currency^2."""


class Common(NamedTuple):
    """The draw of a slice that all assets share."""

    regime_draw: Whole
    """32-bit integer that decides the regime of the next slice."""


class OwnDraws(NamedTuple):
    """The draws of a slice of one asset, independent of those of the others; units as in :class:`Draws`."""

    flow: Real
    news: Real
    volume_shock: Real


class Mixed(NamedTuple):
    """The draws of a slice with the correlation of the basket."""

    flow: Real
    news: Real


_with_regime = maker(World, World, ("regime",))
_with_flow = maker(World, World, ("flow",))


def enter(numbers: Numbers, orders: OrderNumbers, start: Thresholds, member: Member, episode: EpisodeKey) -> Entry:
    """Return the order of an asset in the episode with a key, and the market that it meets.

    All assets have the regime of asset 0 and one drawn factor of their quantities; a drawn side turns all orders around.
    """
    order, key = path.draw_order(orders, episode.key), asset_key(episode.key, member.number)
    side = order.side * member.turn if orders.random_side else order.side
    world, first = path.begin_world(numbers, start, key), path.begin_world(numbers, start, episode.key)
    return Entry(key, side, order.quantity, order.quantity * numbers.arrival_price, _with_regime(world, first.regime))


def begin_basket_episode(worth: Worth, episode: EpisodeKey) -> Basket:
    """Return the first state of an episode of a basket."""
    return Basket(episode.key, 0, 0, -1e4 / worth.value)


def open_asset(numbers: Numbers, basket: Basket, entry: Entry, mixed: Mixed) -> tuple[EpisodeOrder, Lane]:
    """Return the order and the first state of an asset."""
    order = EpisodeOrder(entry.key, entry.side, entry.quantity, basket.scale)
    return order, first_lane(numbers, entry.quantity, _with_flow(entry.world, mixed.flow))


def draw_common(basket: Basket) -> Common:
    """Return the draw of slice `basket.k` that all assets share."""
    return Common(path.draw_words(basket.key, basket.k).regime_draw)


def own_draws(words: Words, shocks: Shocks) -> OwnDraws:
    """Return the draws of a slice of one asset."""
    draws = path.draws_of(words, shocks)
    return OwnDraws(draws.flow, draws.news, draws.volume_shock)


def unmixed_draws(own: OwnDraws, common: Common) -> Draws:
    """Return the draws of a slice before the flows and news of the assets are mixed: the volume and the regime are right."""
    return Draws(own.flow, own.news, own.volume_shock, common.regime_draw, 0.0)


def mixed_draws(own: OwnDraws, mixed: Mixed, common: Common) -> Draws:
    """Return the draws of a slice, with the correlation of the basket."""
    return Draws(mixed.flow, mixed.news, own.volume_shock, common.regime_draw, 0.0)
