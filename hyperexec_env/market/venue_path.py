r"""The market of venues: its numbers, and what nature draws for each venue in each slice.

The lit venues divide the volume V_k of the market. Their shares move: with wbar_v the mean share and z_kv an AR(1) process,

    w_kv = wbar_v exp(z_kv) / sum_u wbar_u exp(z_ku)          z_kv = 0.8 z_(k-1)v + 0.6 sd_v xi_kv,   z_0v = sd_v xi_0v

known at the start of the slice. A hidden venue offers A_kv = (atom of its law) E[V_k | m], and nothing in the last slice. Where
it selects adversely, its liquidity moves the unaffected price (:func:`~hyperexec_env.market.venue.adverse_move`).

All draws come from keys hashed per venue from the key of the episode, so the draws of the market are those without venues. The
functions take arrays over lanes (one slice), or arrays of shape (slices, episodes) with a column of slices (whole paths).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import add, truediv
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market import noise
from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.liquidity import atom_size
from hyperexec_env.market.numeric import double, exponential, minimum, power, signed, where
from hyperexec_env.market.path import Path, World, draw_path
from hyperexec_env.market.several import each, fold, joined
from hyperexec_env.market.tables import Market, build_market, must_finish
from hyperexec_env.market.venue import adverse_move, odds_of, proportional, route, toll
from hyperexec_env.market.venue_scenario import VenueScenario
from hyperexec_env.records import maker

__all__ = [
    "Terms",
    "VenueMarket",
    "VenuePath",
    "VenueRow",
    "alone",
    "available",
    "build_venues",
    "by_toll",
    "by_volume",
    "draw_venue_path",
    "expected_offer",
    "liquidity",
    "lit_terms",
    "lit_toll",
    "lit_volume",
    "moved",
    "moving_weights",
    "next_deviation",
    "next_deviations",
    "routed",
    "selected",
    "splitter",
    "venue_path_of",
    "venue_row",
    "venue_slices",
    "weights_of",
]

Floats = NDArray[np.float64]

PERSISTENCE: Final = 0.8
"""AR(1) coefficient of the log shares, per slice."""
_SPREAD: Final = 0.6
"""sqrt(1 - PERSISTENCE^2)."""
_VENUE_KEYS: Final = 1_000
"""Added to the number of a venue, whose key then differs from those of the assets of a basket."""
_LIQUIDITY: Final = noise.offset(noise.VOLUME)
"""Stream of the hidden liquidity, within the words of a venue."""
_SHARE: Final = noise.offset(noise.PRICE)
"""Stream of the share of a lit venue."""


@dataclass(frozen=True, eq=False)
class VenueMarket:
    """The numbers of a scenario with venues, computed once by :func:`build_venues`.

    Tables by regime have a last column for a policy that does not observe the regime: the mean over the first regime's law.
    """

    scenario: VenueScenario
    market: Market
    half_spread: Floats
    """What a fill pays for crossing the spread, currency per share, shape (venues, M + 1); negative where the order rests."""
    adverse: Floats
    """a, adverse selection of a fill, currency per share, shape (venues, M + 1)."""
    fees: Floats
    """Fee of a fill, currency per share, shape (venues,)."""
    scale: Floats
    """Temporary scale c, currency per share, shape (venues, M + 1); 0 in hidden venues."""
    equal: bool
    """Whether all lit venues have the same terms (:attr:`VenueScenario.equal_terms`)."""
    depth: float
    """Volume at which the temporary cost is its mean over the volume noise, as a fraction of the expected volume."""

    @cached_property
    def lit(self) -> int:
        """Number of lit venues; they come first."""
        return len(self.scenario.lit)

    @cached_property
    def count(self) -> int:
        """Number of venues."""
        return len(self.scenario.venues)

    @property
    def slices(self) -> int:
        """Number of slices N."""
        return self.market.slices

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Mean share of each lit venue in the volume."""
        return tuple(venue.share for venue in self.scenario.lit)

    @cached_property
    def noises(self) -> tuple[float, ...]:
        """Standard deviation of the log share of each lit venue."""
        return tuple(venue.share_noise for venue in self.scenario.lit)

    @cached_property
    def noisy(self) -> bool:
        """Whether the shares of the lit venues move."""
        return any(self.noises)

    @cached_property
    def salts(self) -> tuple[Any, ...]:
        """Words from which, with the key of an episode, the keys of the venues are hashed."""
        return tuple(noise.as_words(_VENUE_KEYS + venue) for venue in range(self.count))

    @cached_property
    def laws(self) -> tuple[tuple[NDArray[np.uint64], Floats], ...]:
        """Thresholds of a 32-bit draw and sizes of the atoms of the liquidity of each hidden venue."""
        return tuple((venue.law.limits.astype(np.uint64), venue.law.sizes) for venue in self.scenario.hidden)

    @cached_property
    def odds(self) -> tuple[float, ...]:
        """P / (1 - p) of the chance p that there is liquidity in each hidden venue."""
        return tuple(odds_of(venue.law) for venue in self.scenario.hidden)

    @cached_property
    def moving(self) -> bool:
        """Whether hidden liquidity moves the price."""
        return bool(self.adverse.any())

    @cached_property
    def q(self) -> Floats:
        """Concession: half-spread + fee + adverse selection, currency per share, shape (venues, M + 1)."""
        return self.half_spread + self.fees[:, None] + self.adverse


@lru_cache(maxsize=16)
def _compile(text: str, scenario_hash: str) -> VenueMarket:  # the text is the key; the hash names the scenario in tracebacks
    return _market_of(VenueScenario.from_toml(text))


def build_venues(venues: VenueScenario) -> VenueMarket:
    """Return the market of a scenario with venues; the markets of the last 16 scenarios are cached."""
    return _compile(venues.text, venues.hash)


def _market_of(scenario: VenueScenario) -> VenueMarket:
    """Compute the market of a scenario with venues."""
    market, venues = build_market(scenario.market), scenario.venues
    law = scenario.regimes.start_law()

    def table(rows: Sequence[Any]) -> Floats:
        values = np.array(rows)
        return np.concatenate([values, values @ law[:, None]], axis=1)

    beta, deviation = market.impact.beta, scenario.market.volume_noise
    return VenueMarket(
        scenario=scenario,
        market=market,
        half_spread=table([scenario.half_spreads(venue) for venue in venues]),
        adverse=table([scenario.adverse(venue) for venue in venues]),
        fees=np.array([venue.fee for venue in venues]),
        scale=table([venue.temporary * market.temporary_scale for venue in venues]),
        equal=scenario.equal_terms,
        depth=float(np.exp(-0.5 * (1.0 + beta) * deviation**2)),
    )


# --- draws


def _start(key: Any, salt: Any, k: Any) -> Any:
    """Return the key of slice `k` of a venue, hashed from the key of the episode and the word of the venue."""
    return noise.slice_key(noise.key(key, salt), k)


def expected_offer(market: VenueMarket, k: Any, regime: Any) -> Any:
    """Return the expected volume of slice `k`, of which hidden venues offer multiples, shares; 0 in the last slice."""
    whole = market.market
    return where(must_finish(whole.numbers, np.asarray(k)), 0.0, whole.table.mean_volume.take(whole.cell(k, regime)))


def liquidity(law: tuple[Any, Any], salt: Any, key: Any, k: Any, expected: Any) -> Any:
    """Return what a hidden venue offers in slice `k`, shares.

    Args:
        law: Thresholds of a draw, and sizes of the atoms (:attr:`VenueMarket.laws`).
        salt: Word of the venue.
        key: Key of the episode.
        k: Slice: a number, an array over episodes or a column of slices.
        expected: :func:`expected_offer`.
    """
    limits, sizes = law
    draw = noise.upper_bits(noise.word(_start(key, salt, k), _LIQUIDITY))
    size, trading = atom_size(limits, sizes, draw), expected > 0.0
    return where(trading, size, 0.0) * where(trading, expected, 1.0)


def available(market: VenueMarket, keys: Any, k: Any, regime: Any) -> tuple[Any, ...]:
    """Return what each hidden venue offers in slice `k`, shares; arguments as in :func:`liquidity`."""
    return each(liquidity, market.laws, market.salts[market.lit :], keys, k, expected_offer(market, k, regime))


def next_deviation(deviation: float, salt: Any, key: Any, k: Any, old: Any) -> Any:
    """Return z of a lit venue in slice `k`, given that of the slice before, which slice 0 does not read.

    Args:
        deviation: Standard deviation of the log share.
        salt: Word of the venue.
        key: Key of the episode.
        k: Slice: a number or an array over episodes.
        old: z of the slice before.
    """
    fresh = deviation * double(noise.normal_pair(noise.word(_start(key, salt, k), _SHARE))[0])
    return where(k == 0, fresh, PERSISTENCE * old + _SPREAD * fresh)


def next_deviations(market: VenueMarket, keys: Any, k: Any, before: Sequence[Any]) -> tuple[Any, ...]:
    """Return z of each lit venue in slice `k`; arguments as in :func:`next_deviation`."""
    if not market.noisy:
        return tuple(before)
    return each(next_deviation, market.noises, market.salts[: market.lit], keys, k, tuple(before))


def moving_weights(shares: Sequence[float], deviations: Sequence[Any]) -> tuple[Any, ...]:
    """Return w, the share of each lit venue in the volume, given its mean share and its z: positive, summing to 1."""
    raised = each(_raised, shares, deviations)
    return each(truediv, raised, fold(add, raised))


def _raised(share: float, deviation: Any) -> Any:
    """Return a share times e^z."""
    return share * exponential(deviation)


def weights_of(market: VenueMarket, deviations: Sequence[Any]) -> tuple[Any, ...]:
    """Return w of each lit venue, given its z; the mean share without noise."""
    if not market.noisy:
        return tuple(share + 0.0 * z for share, z in zip(market.shares, deviations, strict=True))
    return moving_weights(market.shares, tuple(deviations))


# --- slices


def venue_slices(slice: Slice, weights: Any, offers: Any, row: VenueRow) -> tuple[Slice, ...]:
    """Return the slice of each venue of several.

    Args:
        slice: The slice of the whole market.
        weights: w of each lit venue.
        offers: A of each hidden venue, shares (:func:`available`).
        row: The terms of the venues in the regime of the slice.
    """
    home = _home_slice(slice, slice.volume * weights[0], row.scale[0], row.lit[0])
    lit = each(_lit_slice, slice, weights[1:], row.scale[1:], row.lit[1:])
    return joined((home,), lit, each(_hidden_slice, slice, offers, row.hidden))


_home_slice: Final = maker(Slice, Slice, ("volume", "temporary_scale", "half_spread"))
_other_slice: Final = maker(Slice, Slice, tuple(name for name in Slice._fields if name != "transient_decay"))


def _lit_slice(slice: Slice, weight: Any, scale: Any, q: Any) -> Any:
    """Return the slice of a lit venue beside home."""
    return _other_slice(slice, slice.volume * weight, 0.0, slice.limit, scale, q, 0.0, 0.0, 0.0, 0.0)


def _hidden_slice(slice: Slice, offer: Any, q: Any) -> Any:
    """Return the slice of a hidden venue."""
    return _other_slice(slice, slice.volume, 0.0, offer, 0.0, q, 0.0, 0.0, 0.0, 0.0)


class VenueRow(NamedTuple):
    """The terms of the venues in a regime; fields are tuples."""

    lit: Any
    """Concession of each lit venue, currency per share."""
    scale: Any
    """Temporary scale c of each lit venue, currency per share."""
    hidden: Any
    """Concession of each hidden venue, currency per share."""
    adverse: Any
    """a of each hidden venue, currency per share."""


def venue_row(market: VenueMarket, regime: Any) -> VenueRow:
    """Return the terms of the venues in a regime: an array, or numbers of regimes of any shape."""
    lit, hidden = range(market.lit), range(market.lit, market.count)
    q = market.q
    return VenueRow(
        tuple(q[v].take(regime) for v in lit),
        tuple(market.scale[v].take(regime) for v in lit),
        tuple(q[v].take(regime) for v in hidden),
        tuple(market.adverse[v].take(regime) for v in hidden),
    )


class Terms(NamedTuple):
    """The terms of the lit venues in a slice, on which the router decides; tuples have one element for each lit venue."""

    q: Any
    """Concession, currency per share."""
    scales: Any
    """Temporary scale c, currency per share."""
    volumes: Any
    """Volume at which the temporary cost is its mean, shares."""


def lit_terms(market: VenueMarket, expected: Any, seen: Any, weights: Sequence[Any]) -> Terms:
    """Return the terms of the lit venues.

    Args:
        market: The market.
        expected: Expected volume of the slice, shares.
        seen: Regime of the slice, or the column of an unobserved one.
        weights: w of each lit venue.
    """
    row = venue_row(market, seen)
    return Terms(row.lit, row.scale, each(lit_volume, expected, market.depth, tuple(weights)))


def lit_volume(expected: Any, depth: float, weight: Any) -> Any:
    """Return the volume of a lit venue at which the temporary cost is its mean, shares."""
    return expected * depth * weight


def alone(shares: Any, terms: Terms, beta: float) -> tuple[Any, ...]:
    """Return the split of a lit request over one venue."""
    return (shares,)


def by_volume(shares: Any, terms: Terms, beta: float) -> tuple[Any, ...]:
    """Return the split of a lit request at the least toll over venues of equal terms."""
    return proportional(shares, terms.volumes)


def by_toll(shares: Any, terms: Terms, beta: float) -> tuple[Any, ...]:
    """Return the split of a lit request at the least toll."""
    return route(shares, terms.q, terms.scales, terms.volumes, beta)


def splitter(market: VenueMarket) -> Callable[[Any, Terms, float], tuple[Any, ...]]:
    """Return the function that splits a lit request at the least expected toll."""
    return alone if market.lit == 1 else by_volume if market.equal else by_toll


def routed(market: VenueMarket, shares: Any, terms: Terms) -> tuple[Any, ...]:
    """Split a lit request over the lit venues at the least expected toll."""
    return splitter(market)(shares, terms, market.market.impact.beta)


def lit_toll(market: VenueMarket, shares: Any, terms: Terms) -> tuple[Any, Any]:
    r"""Return the least expected toll of a lit request, currency, and its derivative, currency per share.

    The derivative is the marginal toll of every venue that trades; a venue that does not trade has a higher one.
    """
    beta, split = market.market.impact.beta, routed(market, shares, terms)
    parts = list(zip(*terms, split, strict=True))
    paid = [toll(own, scale, volume, beta, z) for own, scale, volume, z in parts]
    rates = [own + (1.0 + beta) * scale * power(z / volume, beta) for own, scale, volume, z in parts]
    return fold(add, paid), fold(minimum, rates)


def selected(odds: Any, adverse: Any, offers: Any) -> Any:
    """Return the move of the unaffected price that comes with the hidden liquidity, in the direction of the order.

    Args:
        odds: :attr:`VenueMarket.odds`.
        adverse: a of each hidden venue, currency per share.
        offers: A of each hidden venue, shares.
    """
    return fold(add, joined((0.0,), each(adverse_move, odds, adverse, offers)))


def moved(slice: Slice, price: Any, side: Any, move: Any) -> tuple[Any, Any]:
    """Return a slice and the price at its end with a move of the price added, in the direction of the order."""
    innovation = slice.innovation + move
    return _with_innovation(slice, innovation), price + signed(side, innovation)


_with_innovation: Final = maker(Slice, Slice, ("innovation",))


@dataclass(frozen=True, eq=False)
class VenuePath:
    """All slices of some episodes; arrays have shape (time, episodes)."""

    path: Path
    """The path of the market; its price has the moves of adverse selection."""
    weights: Sequence[Any]
    """w of each lit venue, each of shape (N + 1, episodes); the last row, of no slice, repeats the one before."""
    offers: Sequence[Any]
    """A of each hidden venue, shares, each of shape (N, episodes)."""
    slices: Sequence[Slice]
    """Slice of each venue, fields of shape (N, episodes)."""


def draw_venue_path(market: VenueMarket, keys: noise.Words, side: Any) -> VenuePath:
    """Return the paths of some episodes.

    Args:
        market: The market.
        keys: Keys of the episodes, shape (episodes,).
        side: +1 buy, -1 sell: a number or an array of shape (episodes,).
    """
    return venue_path_of(market, draw_path(market.market, keys, side), side)


def venue_path_of(market: VenueMarket, path: Path, side: Any) -> VenuePath:
    """Return the paths of the venues on a path of the market, whose price has no adverse selection yet."""
    keys, column = path.keys, np.arange(market.slices)[:, None]
    regime = path.world.regime[:-1]
    offers = available(market, keys, column, regime)
    deviations: list[Any] = []
    z: Sequence[Any] = [np.zeros(len(keys))] * market.lit
    for k in range(market.slices):
        z = next_deviations(market, keys, k, z)
        deviations.append(np.stack(z))
    weights = weights_of(market, list(np.stack([*deviations, deviations[-1]], axis=1)))
    row = venue_row(market, regime)
    if market.moving:
        path = _with_selection(path, side, selected(market.odds, row.adverse, offers))
    alone = market.count == 1
    slices = (path.slices,) if alone else venue_slices(path.slices, tuple(w[:-1] for w in weights), offers, row)
    return VenuePath(path, weights, offers, slices)


def _with_selection(path: Path, side: Any, move: Floats) -> Path:
    """Return a path with moves of the price added, in the direction of the order, shape (N, episodes)."""
    price, innovations = path.world.price.copy(), []
    for k, step in enumerate(move):
        slice, price[k + 1] = moved(Slice(*(values[k] for values in path.slices)), price[k], side, step)
        innovations.append(slice.innovation)
    world: World = path.world._replace(price=price)
    return Path(path.slices._replace(innovation=np.stack(innovations)), world, path.keys)
