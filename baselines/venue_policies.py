"""Policies over venues: routers, plans, the optimum, and sanity policies that must not beat every rule.

A policy has one method, `act`, which maps a :class:`~hyperexec_env.envs.venue_task.VenueSituation` to a request of shares for
each venue, shape (venues, episodes): home and the other lit venues first, then the hidden ones.

| policy | lit request | router | hidden venues |
| --- | --- | --- | --- |
| TWAP | what is left over the slices that are left | water-filling | nothing |
| lit-only | the optimum without hidden venues | water-filling | nothing |
| proportional | TWAP | by mean shares, not today's | nothing |
| dark-first | TWAP | water-filling | everything else posted |
| Kratz-Schoeneborn | their plan, with impact and fill rate linearised | water-filling | everything else posted |
| optimum | the exact optimum (:mod:`~hyperexec_env.baselines.solver.venues`) | water-filling | up to the optimal total |
| relaxed | that of the relaxation (:mod:`~hyperexec_env.baselines.solver.dark_relaxed`) | water-filling | its total, split |

`relaxed` takes part where the optimum is not known; there its cost is an upper bound on J*.

The policies `desk:ALGORITHM:TACTIC` (:mod:`~hyperexec_env.baselines.venue_desk`) are the desk's agent with its router.

| sanity policy | what it does wrong |
| --- | --- |
| ping | posts one lot, and everything else only after it filled: liquidity does not persist, so it learns nothing |
| dark-then-dump | waits for the pools, and trades what is left in the last slice |
| random-venue | dark-first, but each lit request goes to one lit venue, drawn at random |
| cheapest | dark-first, but each lit request goes to the lit venue with the lowest concession |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import nearest
from hyperexec_env.envs.venue_task import VenueSituation
from hyperexec_env.market.liquidity import expected_fill
from hyperexec_env.market.noise import mix
from hyperexec_env.market.venue_path import VenueMarket

from .solver.dark import all_or_nothing
from .solver.dark_policy import Router, lit_request, of_tables, requests, water_filling
from .solver.solution import solve as solve_market
from .solver.venues import solve_venues
from .venue_desk import VENUE_DESK

__all__ = ["VENUE_BASELINES", "VENUE_SANITY", "VenuePolicy", "venue_policy", "venue_policy_names"]

Floats = NDArray[np.float64]

_LOT: Final = 100.0
"""Shares of the order with which `ping` looks for liquidity."""


class VenuePolicy(Protocol):
    """A policy over venues."""

    @property
    def name(self) -> str:
        """Name of the policy."""

    def act(self, situation: VenueSituation) -> Any:
        """Return the shares requested of each venue, in the shape (venues, ...) of `situation.order.remaining`."""


def _by_mean_share(situation: VenueSituation, shares: Any) -> Sequence[Any]:
    """Split a lit request by the mean shares of the venues."""
    return [shares * venue.share for venue in situation.market.scenario.lit]


def _cheapest(situation: VenueSituation, shares: Any) -> Sequence[Any]:
    """Send a lit request to the venue with the lowest concession."""
    best = int(np.argmin(situation.market.q[: situation.market.lit, -1]))
    return [shares * float(number == best) for number in range(situation.market.lit)]


def _at_random(situation: VenueSituation, shares: Any) -> Sequence[Any]:
    """Send a lit request to a venue drawn with equal chances: a hash of the flow of the previous slice."""
    drawn = (_uniform(situation) * situation.market.lit).astype(np.int64)
    return [np.where(drawn == number, shares, 0.0) for number in range(situation.market.lit)]


def _uniform(situation: VenueSituation) -> Floats:
    """Return numbers uniform on [0, 1), a hash of the flow of the previous slice, so that they do not depend on the batch."""
    bits = np.array(situation.order.flow, dtype=np.float64, ndmin=1).view(np.uint64)
    return ((mix(bits + np.uint64(7)) >> np.uint64(11)) * 2.0**-53).reshape(np.shape(situation.order.flow))


def even(situation: VenueSituation) -> Any:
    """Return the lit request of TWAP: what is left over the slices that are left."""
    order = situation.order
    return order.remaining / np.maximum(situation.market.slices - order.k, 1)


def everything(situation: VenueSituation, lit: Any) -> list[Any]:
    """Return posts of everything that a lit request leaves, split evenly over the hidden venues."""
    hidden = situation.market.count - situation.market.lit
    return [(situation.order.remaining - lit) / hidden] * hidden


def nothing(situation: VenueSituation, lit: Any) -> list[Any]:
    """Return posts of nothing."""
    return [0.0 * np.asarray(situation.order.remaining)] * (situation.market.count - situation.market.lit)


@dataclass(frozen=True)
class Routed:
    """A lit pace, a router, and a rule for the hidden venues."""

    name: str
    pace: Callable[[VenueSituation], Any] = field(default=even, repr=False)
    router: Router = field(default=water_filling, repr=False)
    posts: Callable[[VenueSituation, Any], list[Any]] = field(default=everything, repr=False)

    def act(self, situation: VenueSituation) -> Floats:
        """Return the requests."""
        lit = self.pace(situation)
        return requests(situation, lit, self.posts(situation, lit), self.router)


def _lit_optimum(situation: VenueSituation) -> Any:
    """Return the lit request that is optimal without hidden venues."""
    return _lit_policy(situation.market)(situation)


@lru_cache(maxsize=8)
def _lit_policy(market: VenueMarket) -> Callable[[VenueSituation], Any]:
    """Return the lit request of the optimum of the lit venues alone, as a function of the situation."""
    scenario = market.scenario
    if market.equal:  # one market of the whole volume
        first = scenario.lit[0]
        alpha = scenario.market.temp_impact_alpha * first.temporary
        policy = solve_market(replace(scenario.market, temp_impact_alpha=alpha)).policy
        if policy is None:
            raise ValueError(f"there is no optimum of the lit venues of {scenario.name}")
        return lambda situation: policy.act(situation.order)
    alone = solve_venues(replace(scenario, venues=scenario.lit, published_alpha=None))
    return lit_request(market, alone.exact_tables)


class _KratzSchoeneborn:
    """The plan of Kratz and Schoeneborn (2014): linear impact, and a pool that fills all or nothing.

    Temporary impact is linearised at the pace of TWAP, and the chance is the part of half of the order that the hidden venues
    fill in a mean slice.
    """

    name = "Kratz-Schoeneborn"

    def act(self, situation: VenueSituation) -> Floats:
        """Return their lit request, and post everything else."""
        taken = _plan(situation.market)
        lit = situation.order.remaining * taken[np.minimum(situation.order.k, situation.market.slices - 1)]
        return requests(situation, lit, everything(situation, lit))


@lru_cache(maxsize=8)
def _plan(market: VenueMarket) -> Floats:
    """Return the fraction of what remains that takes in each slice, shape (slices,)."""
    whole, order = market.market, market.scenario.market
    pace = order.quantity / market.slices
    volume = float(whole.numbers.slice_volume) * market.depth
    eta = float(market.scale[0, -1]) * (pace / volume) ** whole.impact.beta / pace
    risk = float((whole.risk @ order.regimes.stationary()).mean())
    half = 0.5 * order.quantity
    fills = [float(expected_fill(venue.law, half / whole.numbers.slice_volume)) for venue in market.scenario.hidden]
    chance = min(sum(fills) * float(whole.numbers.slice_volume) / half, 1.0)
    return all_or_nothing(eta, risk, chance, market.slices)[1]


class _Optimal:
    """The optimal policy of a scenario that is solved exactly."""

    name = "optimum"

    def act(self, situation: VenueSituation) -> Floats:
        """Return the optimal requests."""
        return _optimal(situation.market)(situation)


@lru_cache(maxsize=8)
def _optimal(market: VenueMarket) -> Callable[[VenueSituation], Floats]:
    """Return the optimal requests of a market, as a function of the situation.

    Raises:
        ValueError: The scenario is not solved exactly.
    """
    solution = solve_venues(market.scenario)
    if solution.gains.size:
        return lambda situation: _linear(solution.gains, situation)
    return of_tables(market, solution.exact_tables)


def _linear(gains: Floats, situation: VenueSituation) -> Floats:
    """Return the requests of linear feedback."""
    order = situation.order
    left = np.asarray(order.remaining, dtype=float)
    k = np.minimum(np.broadcast_to(order.k, left.shape), len(gains) - 1)
    gain = gains[k, np.broadcast_to(order.seen, left.shape)]  # (..., 2, 3)
    state = np.stack([left / order.quantity, np.broadcast_to(order.transient, left.shape), np.ones(left.shape)], axis=-1)
    lit, posted = np.moveaxis(np.einsum("...us,...s->...u", gain, state), -1, 0) * order.quantity
    return requests(situation, lit, [posted])


class _Relaxed:
    """The optimum of the relaxation that bounds J* of a scenario from below; the optimum itself where it is exact."""

    name = "relaxed"

    def act(self, situation: VenueSituation) -> Floats:
        """Return the requests."""
        return _relaxed(situation.market)(situation)


@lru_cache(maxsize=8)
def _relaxed(market: VenueMarket) -> Callable[[VenueSituation], Floats]:
    """Return the requests of the relaxation of a market, as a function of the situation."""
    solution = solve_venues(market.scenario)
    return _optimal(market) if solution.tables is None else of_tables(market, solution.tables)


class _Ping:
    """Post one lot, and everything else only in the slice after the lot was filled."""

    name = "ping"

    def act(self, situation: VenueSituation) -> Floats:
        """Return the lit request of TWAP, and a lot or everything for each hidden venue."""
        lit = even(situation)
        rest = everything(situation, lit)
        lot = np.minimum(_LOT, situation.order.remaining)
        found = [(asked > 0.0) & (filled >= asked) for asked, filled in zip(situation.asked, situation.filled, strict=True)]
        return requests(situation, lit, [np.where(hit, all_of_it, lot) for hit, all_of_it in zip(found, rest, strict=True)])


def _none(situation: VenueSituation) -> Any:
    """Return the lit request of a policy that waits for hidden liquidity: nothing."""
    return 0.0 * np.asarray(situation.order.remaining)


VENUE_BASELINES: Final[dict[str, Callable[[], VenuePolicy]]] = {
    "TWAP": lambda: Routed("TWAP", posts=nothing),
    "lit-only": lambda: Routed("lit-only", pace=_lit_optimum, posts=nothing),
    "proportional": lambda: Routed("proportional", router=_by_mean_share, posts=nothing),
    "dark-first": lambda: Routed("dark-first"),
    "Kratz-Schoeneborn": _KratzSchoeneborn,
}
"""Factories of the classical policies by name."""
VENUE_SANITY: Final[dict[str, Callable[[], VenuePolicy]]] = {
    "ping": _Ping,
    "dark-then-dump": lambda: Routed("dark-then-dump", pace=_none),
    "random-venue": lambda: Routed("random-venue", router=_at_random),
    "cheapest": lambda: Routed("cheapest", router=_cheapest),
}
"""Factories of the sanity policies by name. In a market without a defect none beats every rule."""


def venue_policy_names() -> tuple[str, ...]:
    """Return the names of the policies over venues that a board of all policies has."""
    return (*VENUE_BASELINES, "optimum", *VENUE_SANITY)


def venue_policy(name: str) -> VenuePolicy:
    """Return a new policy over venues by name (case-insensitive).

    Raises:
        ValueError: The name is unknown; the message suggests the nearest name.
    """
    known: dict[str, Callable[[], VenuePolicy]] = {
        **VENUE_BASELINES,
        "optimum": _Optimal,
        "relaxed": _Relaxed,
        **VENUE_SANITY,
        **VENUE_DESK,
    }
    by_word = {key.lower(): make for key, make in known.items()}
    if name.lower() not in by_word:
        raise ValueError(f"unknown policy over venues {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    return by_word[name.lower()]()
