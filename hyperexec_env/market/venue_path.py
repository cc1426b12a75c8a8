r"""The market of venues: its numbers, and what nature draws for each venue in each slice.

The lit venues divide the volume V_k of the market. Their shares move: with wbar_v the mean share and z_kv an AR(1) process,

    w_kv = wbar_v exp(z_kv) / sum_u wbar_u exp(z_ku)          z_kv = 0.8 z_(k-1)v + 0.6 sd_v xi_kv,   z_0v = sd_v xi_0v

known at the start of the slice. A hidden venue offers A_kv = (atom of its law) E[V_k | m], and nothing in the last slice. Where
it selects adversely, its liquidity moves the unaffected price (:func:`~hyperexec_env.market.venue.adverse_move`).

All draws come from keys hashed per venue from the key of the episode, so the draws of the market are those without venues. The
functions take arrays over lanes (one slice), or arrays of shape (slices, episodes) with a column of slices (whole paths).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from operator import add
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market import noise
from hyperexec_env.market.basket import Coupling
from hyperexec_env.market.kernel import Slice
from hyperexec_env.market.liquidity import draw_size
from hyperexec_env.market.numeric import double, exponential, minimum, power, signed, where
from hyperexec_env.market.path import Path, World, draw_path
from hyperexec_env.market.tables import Market, build_market, must_finish
from hyperexec_env.market.venue import adverse_move, one_price, proportional, route, toll
from hyperexec_env.market.venue_scenario import VenueScenario

__all__ = [
    "Terms",
    "VenueMarket",
    "VenuePath",
    "available",
    "build_venues",
    "draw_venue_path",
    "lit_terms",
    "lit_toll",
    "moved",
    "moves_price",
    "next_deviations",
    "routed",
    "selected",
    "venue_path_of",
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
    coupling: Coupling
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
        coupling=one_price(market.impact, len(venues)),
        half_spread=table([scenario.half_spreads(venue) for venue in venues]),
        adverse=table([scenario.adverse(venue) for venue in venues]),
        fees=np.array([venue.fee for venue in venues]),
        scale=table([venue.temporary * market.temporary_scale for venue in venues]),
        equal=scenario.equal_terms,
        depth=float(np.exp(-0.5 * (1.0 + beta) * deviation**2)),
    )


# --- draws


def venue_keys(keys: Any, venue: int) -> Any:
    """Return the keys of a venue, hashed from those of the episodes."""
    return noise.key(keys, noise.as_words(_VENUE_KEYS + venue))


def available(market: VenueMarket, keys: Any, k: Any, regime: Any) -> list[Any]:
    """Return what each hidden venue offers in slice `k`, shares.

    Args:
        market: The market.
        keys: Keys of the episodes.
        k: Slice: a number, an array over episodes or a column of slices.
        regime: Regime of the slice, of the shape of the result.
    """
    whole = market.market
    expected = where(must_finish(whole.numbers, np.asarray(k)), 0.0, whole.table.mean_volume.take(whole.cell(k, regime)))
    found = []
    for number, venue in enumerate(market.scenario.venues[market.lit :], start=market.lit):
        start = noise.slice_key(venue_keys(keys, number), noise.counter(k))
        size = draw_size(venue.law, noise.upper_bits(noise.word(start, _LIQUIDITY)).astype(np.int64))
        found.append(where(expected > 0.0, size, 0.0) * where(expected > 0.0, expected, 1.0))
    return found


def next_deviations(market: VenueMarket, keys: Any, k: Any, before: Sequence[Any]) -> list[Any]:
    """Return z of each lit venue in slice `k`, given those of the slice before, which slice 0 does not read; 0 without noise.

    Args:
        market: The market.
        keys: Keys of the episodes, shape (episodes,).
        k: Slice: a number or an array of shape (episodes,).
        before: z of the slice before, one array for each lit venue.
    """
    made = []
    for number, (venue, old) in enumerate(zip(market.scenario.lit, before, strict=True)):
        if venue.share_noise == 0.0:
            made.append(old * 0.0)
            continue
        word = noise.word(noise.slice_key(venue_keys(keys, number), noise.counter(k)), _SHARE)
        fresh = venue.share_noise * double(noise.normal_pair(word)[0])
        made.append(where(np.asarray(k) == 0, fresh, PERSISTENCE * old + _SPREAD * fresh))
    return made


def weights_of(market: VenueMarket, deviations: Sequence[Any]) -> list[Any]:
    """Return w, the share of each lit venue in the volume, given its z: positive, summing to 1; the mean share without
    noise.
    """
    lit = market.scenario.lit
    if not any(venue.share_noise for venue in lit):
        return [venue.share + 0.0 * z for venue, z in zip(lit, deviations, strict=True)]
    raised = [venue.share * exponential(z) for venue, z in zip(lit, deviations, strict=True)]
    total = reduce(add, raised)
    return [value / total for value in raised]


# --- slices


def venue_slices(market: VenueMarket, slice: Slice, regime: Any, weights: Sequence[Any], offers: Sequence[Any]) -> list[Slice]:
    """Return the slice of each venue.

    Args:
        market: The market.
        slice: The slice of the whole market.
        regime: Regime of the slice.
        weights: w of each lit venue.
        offers: A of each hidden venue, shares (:func:`available`).
    """
    if market.count == 1:
        return [slice]
    q, made = market.q, []
    for number in range(market.count):
        lit, home = number < market.lit, number == 0
        made.append(
            slice._replace(
                volume=slice.volume * weights[number] if lit else slice.volume,
                limit=slice.limit if lit else offers[number - market.lit],
                temporary_scale=market.scale[number].take(regime),
                half_spread=q[number].take(regime),
                least=slice.least if home else 0.0,
                drift=slice.drift if home else 0.0,
                innovation=slice.innovation if home else 0.0,
                risk=slice.risk if home else 0.0,
                holding=slice.holding if home else 0.0,
            )
        )
    return made


class Terms(NamedTuple):
    """The terms of the lit venues in a slice, on which the router decides; lists have one element for each lit venue."""

    q: list[Any]
    """Concession, currency per share."""
    scales: list[Any]
    """Temporary scale c, currency per share."""
    volumes: list[Any]
    """Volume at which the temporary cost is its mean, shares."""


def lit_terms(market: VenueMarket, expected: Any, seen: Any, weights: Sequence[Any]) -> Terms:
    """Return the terms of the lit venues.

    Args:
        market: The market.
        expected: Expected volume of the slice, shares.
        seen: Regime of the slice, or the column of an unobserved one.
        weights: w of each lit venue.
    """
    q, lit = market.q, range(market.lit)
    volumes = [expected * market.depth * weight for weight in weights]
    return Terms([q[v].take(seen) for v in lit], [market.scale[v].take(seen) for v in lit], volumes)


def routed(market: VenueMarket, shares: Any, terms: Terms) -> list[Any]:
    """Split a lit request over the lit venues at the least expected toll."""
    if market.lit == 1:
        return [shares]
    if market.equal:
        return proportional(shares, terms.volumes)
    return route(shares, *terms, market.market.impact.beta)


def lit_toll(market: VenueMarket, shares: Any, terms: Terms) -> tuple[Any, Any]:
    r"""Return the least expected toll of a lit request, currency, and its derivative, currency per share.

    The derivative is the marginal toll of every venue that trades; a venue that does not trade has a higher one.
    """
    beta, split = market.market.impact.beta, routed(market, shares, terms)
    parts = list(zip(*terms, split, strict=True))
    paid = [toll(own, scale, volume, beta, z) for own, scale, volume, z in parts]
    rates = [own + (1.0 + beta) * scale * power(z / volume, beta) for own, scale, volume, z in parts]
    return reduce(add, paid), reduce(minimum, rates)


def selected(market: VenueMarket, regime: Any, offers: Sequence[Any]) -> Any:
    """Return the move of the unaffected price that comes with the hidden liquidity, in the direction of the order."""
    total = 0.0
    for number, (venue, offer) in enumerate(zip(market.scenario.hidden, offers, strict=True), start=market.lit):
        if venue.law.found < 1.0:
            total = total + adverse_move(venue.law, market.adverse[number].take(regime), offer)
    return total


def moved(slice: Slice, price: Any, side: Any, move: Any) -> tuple[Slice, Any]:
    """Return a slice and the price at its end with a move of the price added, in the direction of the order."""
    innovation = slice.innovation + move
    return slice._replace(innovation=innovation), price + signed(side, innovation)


def moves_price(market: VenueMarket) -> bool:
    """Return whether hidden liquidity moves the price."""
    return bool(market.adverse.any())


@dataclass(frozen=True, eq=False)
class VenuePath:
    """All slices of some episodes; arrays have shape (time, episodes)."""

    path: Path
    """The path of the market; its price has the moves of adverse selection."""
    weights: list[Any]
    """w of each lit venue, each of shape (N + 1, episodes); the last row, of no slice, repeats the one before."""
    offers: list[Any]
    """A of each hidden venue, shares, each of shape (N, episodes)."""
    slices: list[Slice]
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
    deviations, z = [], [np.zeros(len(keys))] * market.lit
    for k in range(market.slices):
        z = next_deviations(market, keys, k, z)
        deviations.append(np.stack(z))
    weights = weights_of(market, list(np.stack([*deviations, deviations[-1]], axis=1)))
    if moves_price(market):
        path = _with_selection(path, side, selected(market, regime, offers))
    slices = venue_slices(market, path.slices, regime, [w[:-1] for w in weights], offers)
    return VenuePath(path, weights, offers, slices)


def _with_selection(path: Path, side: Any, move: Floats) -> Path:
    """Return a path with moves of the price added, in the direction of the order, shape (N, episodes)."""
    price, innovations = path.world.price.copy(), []
    for k, step in enumerate(move):
        slice, price[k + 1] = moved(Slice(*(values[k] for values in path.slices)), price[k], side, step)
        innovations.append(slice.innovation)
    world: World = path.world._replace(price=price)
    return Path(path.slices._replace(innovation=np.stack(innovations)), world, path.keys)
