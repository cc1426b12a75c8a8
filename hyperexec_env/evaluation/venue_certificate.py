r"""Certificate of a scenario with venues: no round trip over its venues earns money, whatever its hidden legs fill.

With z_v the signed fills of a slice, z their sum and chi_v the share of Kyle's slope that a fill of venue v carries, the slice
costs

    z (G + D) + z sum_v chi_v (g + kappa) z_v / 2 + sum_v [q_v |z_v| + c_v V_v (|z_v| / V_v)^(1 + beta)]

and moves G by g sum_v chi_v z_v and D by kappa sum_v chi_v z_v, which decays. For chi = 1 the persistent part is the quadratic
form of Obizhaeva and Wang (2013) in the *total* flow, which is not negative on round trips, on any path of fills; with q >= 0
the tolls are not negative either. The certificate checks both conditions and, as a second way, plays round trips with random
hidden legs:

- lit there, hidden back (the peg: with chi < 1 the order sells at the mid that its own purchase raised)
- hidden there, lit back
- hidden there and back, resting until it is filled (with q < 0 a market maker that nobody selects against)
- signed requests at random
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.liquidity import Liquidity
from hyperexec_env.market.venue_path import VenueMarket, build_venues
from hyperexec_env.market.venue_scenario import VenueLike, get_venues

__all__ = [
    "VenueCertificate",
    "VenueImpact",
    "VenuePlace",
    "VenueTrip",
    "certify_venues",
    "certify_venues_model",
    "impact_of_venues",
]

Floats = NDArray[np.float64]

_ROUNDING: Final = 1e-9
"""Gain, as a fraction of the traded value, that counts as rounding."""
_SIZES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
"""Sizes of a round trip, fractions of ADV."""
_SLICES: Final = 12
"""Slices of a round trip."""
_ERRORS: Final = 4.0
"""Standard errors by which the mean cost of a round trip must be below zero to count as a gain."""


class VenuePlace(NamedTuple):
    """One venue of an impact model; it need not be sound."""

    name: str
    q: float
    """Concession: half-spread + fee + adverse selection, currency per share."""
    scale: float
    """Temporary scale c, currency per share; 0 in a hidden venue."""
    volume: float
    """Volume of a slice, shares; of a hidden venue, the expected volume that its sizes are multiples of."""
    law: Liquidity | None = None
    """Law of the hidden liquidity; None for a lit venue."""
    chi: float = 1.0
    """Share of Kyle's slope that a fill carries."""


class VenueImpact(NamedTuple):
    """An impact model over venues, the first of them lit; it need not be sound."""

    name: str
    permanent: float
    """g, currency per share for each share."""
    transient: float
    """kappa, currency per share for each share."""
    decays: tuple[float, ...]
    """Decay of the transient displacement in a slice, by regime."""
    beta: float
    """Exponent of the temporary impact."""
    adv: float
    """Average daily volume, shares."""
    price: float
    """Arrival price, currency per share."""
    places: tuple[VenuePlace, ...]


class VenueTrip(NamedTuple):
    """The cheapest round trip of one kind, in bps of the traded value."""

    kind: str
    linear_bps: float
    """Mean persistent cost over the paths of fills; negative earns money before tolls."""
    worst_bps: float
    """Lowest persistent cost on any path of fills."""
    cost_bps: float
    """Mean cost with tolls."""
    error_bps: float
    """Standard error of the mean cost."""
    size: float
    """Size of the round trip, fraction of ADV."""

    @property
    def earns(self) -> bool:
        """Whether the round trip earns money, before tolls on some path or with tolls in the mean."""
        return self.worst_bps < -1e4 * _ROUNDING or self.cost_bps < -_ERRORS * self.error_bps - 1e4 * _ROUNDING


@dataclass(frozen=True)
class VenueCertificate:
    """The result of the tests; `str` renders it as text."""

    name: str
    hash: str
    chi: dict[str, float]
    """Share of Kyle's slope that a fill carries, by venue."""
    concessions: dict[str, float]
    """Lowest q over the regimes, currency per share, by venue."""
    trips: tuple[VenueTrip, ...]
    tried: int
    """Number of round trips that were played, each on many paths of fills."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, one line each; empty for a sound market."""
        found = [
            f"a fill of {name} carries {chi:g} of Kyle's slope, not all of it" for name, chi in self.chi.items() if chi != 1.0
        ]
        found += [f"a fill of {name} earns {-q:.4g} a share" for name, q in self.concessions.items() if q < -_ROUNDING]
        found += [
            f"the round trip '{trip.kind}' earns {-min(trip.worst_bps, trip.cost_bps):.3g} bps of the traded value"
            for trip in self.trips
            if trip.earns
        ]
        return tuple(found)

    @property
    def sound(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if a fault was found."""
        return 0 if self.sound else 1

    @property
    def verdict(self) -> str:
        """The result in one line."""
        if self.sound:
            return f"certificate of {self.name}: sound; none of {self.tried:,} round trips with random hidden legs earns"
        return f"certificate of {self.name}: NOT SOUND: {'; '.join(self.faults)}"

    def __str__(self) -> str:
        """Return the certificate as text."""
        header = ["", "cheapest round trip", "persistent cost [bps]", "lowest on a path", "with tolls", "size [% of ADV]"]
        rows = [
            ["", trip.kind, f"{trip.linear_bps:.4g}", f"{trip.worst_bps:.4g}", f"{trip.cost_bps:.4g}", f"{100.0 * trip.size:g}"]
            for trip in self.trips
        ]
        places = [["", name, f"{self.chi[name]:g}", f"{q:.4g}"] for name, q in self.concessions.items()]
        names = ["", "venue", "share of Kyle's slope", "lowest concession [currency per share]"]
        return "\n".join([text_table(header, rows), "", text_table(names, places), "", self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain values for JSON."""
        plain = {key: value for key, value in vars(self).items() if key != "trips"}
        return {**plain, "trips": [trip._asdict() for trip in self.trips], "sound": self.sound, "faults": list(self.faults)}


def impact_of_venues(market: VenueMarket) -> VenueImpact:
    """Return the impact of a market, with the lowest concession and temporary scale of each venue over the regimes."""
    whole, order = market.market, market.scenario.market
    volume = float(whole.mean_volume[: market.slices, : whole.regimes].mean())
    places = []
    for number, venue in enumerate(market.scenario.venues):
        hidden = number >= market.lit
        places.append(
            VenuePlace(
                name=venue.name,
                q=float(market.q[number, : whole.regimes].min()),
                scale=float(market.scale[number, : whole.regimes].min()),
                volume=volume if hidden else volume * venue.share,
                law=venue.law if hidden else None,
                chi=venue.chi,
            )
        )
    impact = whole.impact
    decays = tuple(sorted(set(map(float, whole.transient_decay))))
    return VenueImpact(
        order.name,
        impact.permanent_slope,
        impact.transient_slope,
        decays,
        impact.beta,
        order.adv,
        order.arrival_price,
        tuple(places),
    )


def certify_venues(venues: VenueLike, *, trips: int = 400, seed: int = 0) -> VenueCertificate:
    """Test whether the market of a scenario with venues is sound.

    Args:
        venues: A name, a dict, a path or a scenario with venues.
        trips: Number of random round trips, beside those between all pairs of venues.
        seed: Seed of the search and of the fills.

    Raises:
        ValueError: `trips` or `seed` is out of range.
    """
    found = get_venues(venues)
    return certify_venues_model(impact_of_venues(build_venues(found)), trips=trips, seed=seed, hash=found.hash)


def certify_venues_model(
    model: VenueImpact, *, trips: int = 400, seed: int = 0, paths: int = 400, hash: str = ""
) -> VenueCertificate:
    """Test whether an impact model over venues is sound; arguments as in :func:`certify_venues`.

    Args:
        model: The model.
        trips: Number of random round trips.
        seed: Seed of the search and of the fills.
        paths: Number of paths of fills of each round trip.
        hash: Hash of the scenario.
    """
    rng = np.random.default_rng(check_integer("seed", seed, low=0, high=2**32 - 1))
    count = check_integer("trips", trips, low=10, high=1_000_000)
    offers = _offers(model, paths, rng)
    best: dict[str, VenueTrip] = {}
    tried = 0
    for kind, plan in _plans(model, count, rng):
        for size in _SIZES:
            for decay in model.decays:
                trip = _played(model, kind, plan, size, decay, offers)
                tried += 1
                if kind not in best or _rank(trip) < _rank(best[kind]):
                    best[kind] = trip
    return VenueCertificate(
        name=model.name,
        hash=hash,
        chi={place.name: place.chi for place in model.places},
        concessions={place.name: place.q for place in model.places},
        trips=tuple(best.values()),
        tried=tried,
    )


def _rank(trip: VenueTrip) -> float:
    """Return the order of round trips: the most profitable first."""
    return min(trip.worst_bps, trip.cost_bps + _ERRORS * trip.error_bps)


def _offers(model: VenueImpact, paths: int, rng: np.random.Generator) -> Floats:
    """Return what each venue offers, shares, shape (paths, slices, venues): infinity in a lit one."""
    found = np.full((paths, _SLICES, len(model.places)), np.inf)
    for number, place in enumerate(model.places):
        if place.law is not None:
            atom = rng.choice(len(place.law.sizes), size=(paths, _SLICES), p=place.law.probabilities)
            found[..., number] = np.where(atom > 0, place.law.sizes[atom] * place.volume, 0.0)
    return found


Plan = tuple[int, int] | Floats
"""Venue to buy in and venue to sell in, or signed requests of shape (slices, venues)."""


def _plans(model: VenueImpact, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Plan]]:
    """Yield (kind, plan) of the round trips."""
    lit = [number for number, place in enumerate(model.places) if place.law is None]
    hidden = [number for number, place in enumerate(model.places) if place.law is not None]
    for kind, there, back in (
        ("lit there, lit back", lit, lit),
        ("lit there, hidden back", lit, hidden),
        ("hidden there, lit back", hidden, lit),
        ("hidden there and back", hidden, hidden),
    ):
        for bought in there:
            for sold in back:
                yield kind, (bought, sold)
    for _ in range(count):
        requests = rng.standard_normal((_SLICES, len(model.places))) * (rng.random((_SLICES, len(model.places))) < 0.3)
        yield "random", requests / max(float(np.abs(requests).max()), 1e-12)


def _played(model: VenueImpact, kind: str, plan: Plan, size: float, decay: float, offers: Floats) -> VenueTrip:
    """Return the cost of a round trip over all paths of fills. The last slice trades back, at home, what the fills left
    open.
    """
    paths, venues = len(offers), len(model.places)
    chi, q, scale, volume = (
        np.array([getattr(place, name) for place in model.places]) for name in ("chi", "q", "scale", "volume")
    )
    shares = size * model.adv
    held, traded = np.zeros(paths), np.zeros(paths)
    permanent, transient, linear, tolls = (np.zeros(paths) for _ in range(4))
    for k in range(_SLICES):
        asked = _asked(model, plan, k, shares, held)
        fills = np.sign(asked) * np.minimum(np.abs(asked), offers[:, k])
        if k == _SLICES - 1:
            fills = np.zeros((paths, venues))
            fills[:, 0] = -held
        total, carried = fills.sum(axis=1), fills @ chi
        linear += total * (permanent + transient + 0.5 * (model.permanent + model.transient) * carried)
        sizes = np.abs(fills)
        tolls += sizes @ q + (scale * volume * (sizes / volume) ** (1.0 + model.beta)).sum(axis=1)
        permanent = permanent + model.permanent * carried
        transient = (transient + model.transient * carried) * decay
        held, traded = held + total, traded + sizes.sum(axis=1)
    value = max(float(traded.mean()), 1e-12 * shares) * model.price
    cost = (linear + tolls) / value
    bps = 1e4 / value
    error = 1e4 * float(cost.std(ddof=1)) / np.sqrt(paths)
    return VenueTrip(kind, float(linear.mean()) * bps, float(linear.min()) * bps, 1e4 * float(cost.mean()), error, size)


def _asked(model: VenueImpact, plan: Plan, k: int, shares: float, held: Floats) -> Floats:
    """Return the signed requests of slice `k`, shape (paths, venues).

    A pair of venues buys until the size is held, for one slice in a lit venue and for half of the slices in a hidden one, and
    then sells what it holds.
    """
    asked = np.zeros((len(held), len(model.places)))
    if not isinstance(plan, tuple):
        asked[:] = shares * plan[k]
        return asked
    bought, sold = plan
    until = 1 if model.places[bought].law is None else _SLICES // 2
    if k < until:
        asked[:, bought] = shares - held
    else:
        asked[:, sold] = -held
    return asked
