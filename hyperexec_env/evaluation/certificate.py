r"""Certificate of a market: tests that its impact cannot be exploited and that its costs do not depend on the slicing.

A market is sound if no round trip (trades that buy and sell and end flat) earns money on average (Gatheral 2010); permanent
impact must be linear for that (Huberman and Stanzl 2004). A learner finds such a fault sooner than the author of the market,
so each market is tested before anything is trained in it:

- *Round trips* must not earn. The certificate tries deterministic and random round trips and refines the cheapest ones by
  differential evolution (Storn and Price 1997), in five sizes up to a hundred orders. It tries every regime path where there
  are few, else a sample with all constant paths and the paths with one change.
- *Halving*: as the slices of a schedule are halved, each component of its cost must converge to a positive limit.
- *Bursts*: with a flat volume and one regime, trading every j-th slice must not beat the steady pace. (This holds for linear
  impact with a convex decay: a lump on a concave potential costs more than the children that it merges.)
- *Convexity*: a mixture of two schedules costs at most the mixture of their costs. *Zero*: not trading costs nothing.

The cost is the cost of our own trades: without price noise, drift and risk, at the expected volume. (A volume level scales the
temporary cost of all slices of an episode by one positive number.) A search that finds no fault is not a proof. The tests need
an :class:`ImpactModel`; :class:`ScenarioImpact` is the one of a scenario.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.market.kernel import ROLES, Cost, Slice, State
from hyperexec_env.market.path import World, expected_slice
from hyperexec_env.market.predator import PredatorMemory, trade, update_memory
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.market.volume_noise import neutral_ratio

__all__ = [
    *("COMPONENTS", "Burst", "Certificate", "Halving", "ImpactCost", "ImpactModel", "ScenarioImpact", "Trip", "certify"),
    *("certify_model", "check_impact_model", "check_scenario", "child_components", "regime_paths", "usual_trips"),
]

Floats = NDArray[np.float64]
Paths = NDArray[np.int64]

SIZES: Final = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Sizes of the round trips: the quantity that is bought and sold again, in orders."""
_INTERVALS: Final = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 30, 40, 60)
"""Intervals between children of bursts and of alternating round trips, in slices."""
_POPULATION: Final = 24
"""Number of round trips of each size in the population of the search."""
_ELEMENTS: Final = 4_000_000
"""Default budget of the search: slices times round trips."""
_BATCH: Final = 500_000
"""Slices times candidates in one batch."""
_MIN_SLICES: Final = 8
"""Least number of slices of a round trip; a market with fewer slices is cut finer."""
_LEGS: Final = 25
"""Largest number of lengths of a leg (slices that buy, or that sell) among the deterministic round trips."""
_FEW_PATHS: Final = 1_000
"""Number of regime paths up to which every path is tried."""
_MAX_PATHS: Final = 5_000
"""Largest number of sampled paths with one change of regime."""
_MAX_SLICES: Final = 4_096
"""Largest number of slices to which a schedule is cut while its cost seems to have no positive limit."""
_SCENARIO_SLICES: Final = 100_000
"""Largest number of slices of a scenario."""
_PAIRS: Final = 2_000
"""Pairs of schedules in the test of convexity."""
_ROUNDING: Final = 1e-9
"""Rounding error, relative to the cost of buying the absolute values of the same trades."""
_CONVERGED: Final = 1e-3
"""Relative change of a cost below which it counts as converged."""
_MAX_RATIO: Final = 0.95
"""Absolute ratio of successive changes from which a cost counts as diverging."""
_ZERO_LIMIT: Final = 0.05
"""Fraction of the last cost below which the limit counts as zero."""


def child_components(names: Sequence[str]) -> tuple[str, ...]:
    """Return the cost components that the shares of a slice pay beyond the unaffected price, in the given order.

    Args:
        names: Names of all components of a cost.

    Raises:
        TypeError: A component is unknown.
    """
    for name in names:
        if name not in ROLES:
            raise TypeError(f"cost component {name!r} is unknown: state its Role in kernel.Cost")
    return tuple(name for name in names if ROLES[name].child)


COMPONENTS: Final = child_components(Cost._fields)
"""Cost components of impact, in the order of :class:`~hyperexec_env.market.kernel.Cost`: the certificate judges these."""


class ImpactCost(dict[str, Any]):
    """Cost of trades beyond the unaffected price by component, fractions of the arrival notional, each (candidates,).

    Args:
        components: Costs by name, see :data:`COMPONENTS`; a component that is not given is zero.

    Raises:
        TypeError: A component is unknown.
    """

    def __init__(self, **components: Any) -> None:
        for name in components:
            if name not in COMPONENTS:
                raise TypeError(f"cost component {name!r} is unknown: the components are {', '.join(COMPONENTS)}")
        super().__init__({name: components.get(name, 0.0) for name in COMPONENTS})

    @property
    def total(self) -> Any:
        """Sum of the components."""
        return functools.reduce(operator.add, self.values())


class ImpactModel(Protocol):
    """Cost of signed trades in a market, in units of an order: a trade of 1 buys it, a cost of 1 is its arrival notional."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def slices(self) -> int:
        """Number of slices N."""
        ...

    @property
    def regimes(self) -> Sequence[str]:
        """Names of the regimes; one name for a market without regimes."""
        ...

    def costs(self, trades: Floats, path: Paths, fineness: int = 1) -> ImpactCost:
        """Return the cost of schedules of trades, one per candidate.

        Args:
            trades: Fractions of the order, positive to buy, negative to sell, shape (N fineness, candidates).
            path: Index of the regime of each slice, shape (N fineness, candidates) or (N fineness, 1).
            fineness: Number of slices into which each of the N slices is cut.
        """
        ...


@dataclass(frozen=True)
class ScenarioImpact:
    """Impact of a scenario, computed by the market's own step.

    Sells trade in the mirrored market: the same step, with displacements of the opposite sign. A predator has separate
    memories of buys and of sells.
    """

    scenario: Scenario
    _markets: dict[int, Market] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.scenario.name

    @property
    def slices(self) -> int:
        """Number of slices N."""
        return self.scenario.slices

    @property
    def regimes(self) -> Sequence[str]:
        """Names of the regimes."""
        return self.scenario.regimes.names

    def market(self, fineness: int) -> Market:
        """Return the market of the scenario with each slice cut into `fineness` slices."""
        if fineness not in self._markets:
            self._markets[fineness] = build_market(replace(self.scenario, slices=self.slices * fineness))
        return self._markets[fineness]

    def costs(self, trades: Floats, path: Paths, fineness: int = 1) -> ImpactCost:
        """Return the cost of schedules of trades, see :meth:`ImpactModel.costs`."""
        market, scenario = self.market(fineness), self.scenario
        zero = np.zeros(trades.shape[1])
        left, permanent, transient = 2.0 * scenario.quantity * np.abs(trades).sum(axis=0), zero, zero
        mine, other, bought = PredatorMemory(zero, zero, zero, zero), PredatorMemory(zero, zero, zero, zero), zero >= 0.0
        spent = dict.fromkeys(COMPONENTS, zero)
        for k, shares in enumerate(scenario.quantity * trades):
            buys = shares >= 0.0
            side = np.where(buys, 1.0, -1.0)
            if scenario.predator:
                mine, other = _swapped(mine, other, buys != bought)
                other, bought = update_memory(other, zero), buys
            state = State(left, side * permanent, side * transient)
            after, cost, mine = trade(market.impact, state, _slice(market, k, path[k]), abs(shares), mine, scenario.predator)
            left, permanent, transient = after.remaining, side * after.permanent, side * after.transient
            spent = {name: total + getattr(cost, name) for name, total in spent.items()}
        return ImpactCost(**{name: total / scenario.notional for name, total in spent.items()})


def _slice(market: Market, k: int, regime: Paths) -> Slice:
    """Return slice `k` without noise, drift, risk and limits."""
    zero, neutral = np.zeros(regime.shape), neutral_ratio(market.numbers)
    expected = expected_slice(market, k, World(regime, zero, zero + market.scenario.arrival_price, zero + 1.0, zero + neutral))
    return expected._replace(least=0.0, limit=math.inf, drift=0.0, innovation=0.0, risk=0.0, holding=0.0)


def _swapped(mine: PredatorMemory, other: PredatorMemory, turned: NDArray[np.bool_]) -> tuple[PredatorMemory, PredatorMemory]:
    """Swap the predator's memories of this side and of the other side where the side of the trade has changed."""
    both = list(zip(mine, other, strict=True))
    return PredatorMemory(*(np.where(turned, b, a) for a, b in both)), PredatorMemory(
        *(np.where(turned, a, b) for a, b in both)
    )


@dataclass(frozen=True)
class Trip:
    """The cheapest round trip of one size."""

    size: float
    """Quantity that it buys and sells again, in orders."""
    tried: int
    """Number of round trips of this size that were tried."""
    cost_bps: float
    """Cost, bps of the notional traded (twice the size)."""
    earns: bool
    """Whether the round trip earns money, beyond rounding."""
    trades: tuple[float, ...] = field(repr=False)
    """Trades in orders, one per slice."""
    path: tuple[str, ...] = field(repr=False)
    """Regime of each slice."""


@dataclass(frozen=True)
class Halving:
    """One cost component of one schedule as its slices are halved."""

    schedule: str
    """Name of the schedule: `steady` or `front-loaded`."""
    regimes: str
    """Name of the regime that holds in all slices, or `mixed`."""
    part: str
    """Cost component, see :data:`COMPONENTS`."""
    costs_bps: tuple[float, ...]
    """Cost with each slice cut into 1, 2, 4, 8, ... slices, bps of the arrival notional."""

    @property
    def converged(self) -> bool:
        """Whether the last halving changed the cost by less than 0.1 %."""
        return abs(self._change(-1)) <= _CONVERGED * abs(self.costs_bps[-1])

    @property
    def ratio(self) -> float:
        """Last change over the change before it: below 1 where the changes shrink, 1/2 for a first-order error."""
        return self._change(-1) / self._change(-2) if self._change(-2) else math.inf

    @property
    def limit_bps(self) -> float | None:
        """Limit of the costs, bps: the last cost where they converged, else the changes extrapolated as a geometric series
        (Aitken 1926); None where they diverge.
        """
        if self.converged or len(self.costs_bps) < 3:
            return self.costs_bps[-1]
        return self.costs_bps[-1] + self._change(-1) * self.ratio / (1.0 - self.ratio) if abs(self.ratio) < _MAX_RATIO else None

    @property
    def failure(self) -> str:
        """How the cost fails to converge to a positive limit, in a few words; "" where it does converge."""
        limit = self.limit_bps
        if limit is None:
            return "does not converge"
        return "converges to zero" if limit < max(_ZERO_LIMIT * self.costs_bps[-1], 0.0) else ""

    @property
    def fault(self) -> str:
        """Description of the failure with the costs; "" where there is no failure."""
        listed = ", ".join(f"{cost:.4g}" for cost in self.costs_bps[:4])
        where = f"the {self.part} cost of a {self.schedule} schedule ({self.regimes})"
        return f"{where} {self.failure} as slices are halved: {listed} bps" if self.failure else ""

    def _change(self, index: int) -> float:
        """Return the change of the cost by one halving; 0 where there was no such halving."""
        changes = [after - before for before, after in itertools.pairwise(self.costs_bps)]
        return changes[index] if len(changes) >= -index else 0.0


@dataclass(frozen=True)
class Burst:
    """Cost of trading every j-th slice against trading every slice, with a flat volume and one regime."""

    every: int
    """j, in slices."""
    regime: str
    burst_bps: float
    """Cost of equal children in every j-th slice, bps of the arrival notional."""
    steady_bps: float
    """Cost of equal children in every slice of the same whole groups of j slices, bps of the arrival notional."""

    @property
    def saving_percent(self) -> float:
        """Saving of the burst against the steady pace, in percent of the steady cost; negative where the burst costs more."""
        return 100.0 * (1.0 - self.burst_bps / self.steady_bps) if self.steady_bps else 0.0

    @property
    def pays(self) -> bool:
        """Whether the burst is cheaper, beyond rounding."""
        return self.burst_bps < self.steady_bps - _ROUNDING * abs(self.steady_bps)


@dataclass(frozen=True)
class Certificate:
    """Results of all tests of a market; `str(certificate)` is the report."""

    name: str
    """Name of the scenario or of the impact model."""
    hash: str
    """Hash of the scenario; "" for an impact model."""
    seed: int
    """Seed of the search."""
    paths: int
    """Number of regime paths on which round trips were tried."""
    every_path: bool
    """Whether these are all possible regime paths."""
    trips: tuple[Trip, ...]
    """The cheapest round trip of each size."""
    halvings: tuple[Halving, ...]
    bursts: tuple[Burst, ...]
    """For each j, the burst in the regime where it saves most."""
    pairs: int
    """Number of pairs of schedules in the test of convexity."""
    excess: float
    """Largest excess of the cost of a mixture of two schedules over the mean of their costs, relative to the cost of buying
    the same amounts; at most 0, up to rounding, where the cost is convex."""
    idle_bps: float
    """Cost of not trading, bps of the arrival notional: over a batch of paths, the value with the largest magnitude."""
    notes: tuple[str, ...] = ()
    """Differences between the tested market and the scenario."""

    @property
    def tried(self) -> int:
        """Number of round trips tried."""
        return sum(trip.tried for trip in self.trips)

    @property
    def cheapest(self) -> Trip:
        """The round trip with the lowest cost per notional traded."""
        return min(self.trips, key=lambda trip: trip.cost_bps)

    @property
    def best_burst(self) -> Burst:
        """The burst with the largest saving."""
        return max(self.bursts, key=lambda burst: burst.saving_percent)

    @property
    def faults(self) -> tuple[str, ...]:
        """Faults of the market, one line each; no more than one line for each kind of fault and cost component."""
        found = []
        earning = [trip for trip in self.trips if trip.earns]
        if earning:
            trip = min(earning, key=lambda trip: abs(math.log(trip.size)))
            found.append(f"a round trip of {trip.size:g} x the order earns {-trip.cost_bps:.4g} bps of the notional traded")
        diverging: dict[tuple[str, str], str] = {}
        for halving in self.halvings:
            if halving.failure:
                diverging.setdefault((halving.part, halving.failure), halving.fault)
        found += diverging.values()
        if any(burst.pays for burst in self.bursts):
            burst = self.best_burst
            found.append(
                f"trading every {_ordinal(burst.every)} slice costs {burst.saving_percent:.1f} % less than the steady pace"
            )
        if self.excess > _ROUNDING:
            found.append(
                f"the cost is not convex: a mixture of two schedules costs more than their mean (by {self.excess:.2g})"
            )
        if self.idle_bps:
            found.append(f"not trading costs {self.idle_bps:.3g} bps")
        return tuple(found)

    @property
    def sound(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def verdict(self) -> str:
        """The verdict, the faults and the extent of the search, in a few lines."""
        paths = (
            "one regime path"
            if self.paths == 1
            else f"{self.paths:,} regime paths{' (all possible)' if self.every_path else ''}"
        )
        smallest = f"smallest cost {self.cheapest.cost_bps:.4g} bps of the notional traded"
        lines = [*self.faults, f"{self.tried:,} round trips tried on {paths}: {smallest}", *self.notes]
        head = "certified" if self.sound else "NOT SOUND, do not trust policies trained in this market"
        return "\n".join([f"certificate: {head}", *(f"  {line}" for line in lines)])

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON-compatible values."""
        halvings = [
            {**asdict(halving), "limit_bps": halving.limit_bps, "ratio": _finite(halving.ratio), "fault": halving.fault or None}
            for halving in self.halvings
        ]
        return {
            "scenario": self.name,
            "scenario_hash": self.hash,
            "seed": self.seed,
            "sound": self.sound,
            "faults": list(self.faults),
            "paths": self.paths,
            "every_path": self.every_path,
            "round_trips": self.tried,
            "smallest_cost_bps": self.cheapest.cost_bps,
            "trips": [asdict(trip) for trip in self.trips],
            "halvings": halvings,
            "bursts": [{**asdict(burst), "saving_percent": burst.saving_percent, "pays": burst.pays} for burst in self.bursts],
            "pairs": self.pairs,
            "convexity_excess": self.excess,
            "idle_bps": self.idle_bps,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Return the report."""
        named = f"{self.name} ({self.hash})" if self.hash else self.name
        return "\n".join(
            [
                *(f"{named}: tests of its impact", ""),
                *("round trips, the cheapest of each size [bps of the notional traded]", self._trip_table(), ""),
                *("a schedule whose slices are halved [bps of the arrival notional]", self._halving_table(), ""),
                *("every j-th slice against the steady pace [bps of the arrival notional]", self._burst_table(), ""),
                f"convexity: {self.pairs:,} mixtures of two schedules, largest excess over their mean {self.excess:.2g}",
                *(f"no trade: {self.idle_bps:g} bps", "", self.verdict),
            ]
        )

    def _trip_table(self) -> str:
        """Return the table of round trips, one line per size."""
        cells = [[f"{trip.size:g}", "", f"{trip.tried:,}", f"{trip.cost_bps:.4f}"] for trip in self.trips]
        return text_table(["orders", "", "tried", "cost"], cells)

    def _halving_table(self) -> str:
        """Return the table of halvings: the steady schedule in the first regime, and every failure."""
        shown = [
            halving
            for halving in self.halvings
            if halving.failure or (halving.schedule, halving.regimes) == (self.halvings[0].schedule, self.halvings[0].regimes)
        ]
        counts = range(max((len(halving.costs_bps[:4]) for halving in shown), default=0))
        cells = [
            [
                *(halving.part, f"{halving.schedule}, {halving.regimes}"),
                *(f"{cost:.4f}" for cost in halving.costs_bps[:4]),
                "none" if halving.limit_bps is None else f"{halving.limit_bps:.4f}",
            ]
            for halving in shown
        ]
        return text_table(["part", "schedule", *(f"/{2**count}" for count in counts), "limit"], cells)

    def _burst_table(self) -> str:
        """Return the table of bursts, one line per j."""
        cells = [
            [str(row.every), row.regime, f"{row.burst_bps:.4f}", f"{row.steady_bps:.4f}", f"{row.saving_percent:+.1f}"]
            for row in self.bursts
        ]
        return text_table(["j", "regime", "bursts", "steady", "saving %"], cells)


def _finite(value: float) -> float | None:
    """Return a finite value; None for infinities and NaN, which JSON does not allow."""
    return value if math.isfinite(value) else None


def _ordinal(number: int) -> str:
    """Return "15th" for 15."""
    return "2nd" if number == 2 else "3rd" if number == 3 else f"{number}th"


def certify(
    scenario: ScenarioLike, *, trips: int | None = None, seed: int = 0, advance: Callable[[int], None] = lambda trips: None
) -> Certificate:
    """Test whether the market of a scenario is sound.

    Convexity is tested without a predator: with a predator, a regular schedule may cost more than an irregular one.

    Args:
        scenario: A name, a dict, a path or a scenario.
        trips: Number of round trips to try, 1,000 to 10^9; None chooses a number that takes a few seconds.
        seed: Seed of the search.
        advance: Called with the number of round trips after each batch.

    Raises:
        ValueError: `trips` or `seed` is out of range.
    """
    scenario = get_scenario(scenario)
    flat, notes = replace(scenario, volume_curve=()), []
    tested = scenario if all(scenario.volume_curve) else flat
    if tested is not scenario:
        notes.append("tested with a flat volume: the volume curve has zeros, where finer slices would have no volume")
    alone = replace(tested, predator=0.0)
    if scenario.predator:
        notes.append("convexity was tested without the predator")
    found = _certify(ScenarioImpact(tested), ScenarioImpact(flat), ScenarioImpact(alone), trips, seed, advance)
    return replace(found, hash=scenario.hash, notes=(*notes, *scenario.warnings))


def certify_model(
    model: ImpactModel, *, trips: int | None = None, seed: int = 0, advance: Callable[[int], None] = lambda trips: None
) -> Certificate:
    """Test whether an impact model is sound; other arguments as in :func:`certify`.

    Raises:
        TypeError: The model returns an unknown cost component.
        ValueError: `trips` or `seed` is out of range, or the model returns costs that are not finite or of the wrong shape.
    """
    return _certify(model, model, model, trips, seed, advance)


def check_scenario(scenario: ScenarioLike, *, trips: int | None = None, seed: int = 0) -> None:
    """Raise ValueError if the market of a scenario is not sound; arguments as in :func:`certify`.

    Raises:
        ValueError: The market is not sound; the message lists the faults.
    """
    _raise_unless_sound(certify(scenario, trips=trips, seed=seed), "scenario")


def check_impact_model(model: ImpactModel, *, trips: int | None = None, seed: int = 0) -> None:
    """Raise ValueError if an impact model is not sound; arguments as in :func:`certify_model`.

    Raises:
        ValueError: The model is not sound, or returns bad costs; the message lists the faults.
    """
    _raise_unless_sound(certify_model(model, trips=trips, seed=seed), "impact model")


def _raise_unless_sound(certificate: Certificate, kind: str) -> None:
    if not certificate.sound:
        raise ValueError(f"{kind} {certificate.name!r} is not sound: {'; '.join(certificate.faults)}")


def _certify(
    model: ImpactModel, flat: ImpactModel, alone: ImpactModel, trips: int | None, seed: int, advance: Callable[[int], None]
) -> Certificate:
    """Test a model; `flat` is the same model with a flat volume, `alone` the same model without a predator."""
    rng = np.random.default_rng(check_integer("seed", seed, low=0, high=2**32 - 1))
    budget = check_integer("trips", usual_trips(model.slices) if trips is None else trips, low=1_000, high=1_000_000_000)
    fineness = _fineness(model.slices)
    paths, every = regime_paths(len(model.regimes), model.slices * fineness, rng)
    _check_costs(model, paths[:, :1], fineness)
    found = _search(model, paths, fineness, budget, rng, advance)
    excess = _convexity_excess(alone, paths, fineness, rng)
    return Certificate(
        name=model.name,
        hash="",
        seed=seed,
        paths=paths.shape[1],
        every_path=every,
        trips=found,
        halvings=_halvings(model, rng),
        bursts=_bursts(flat),
        pairs=_PAIRS,
        excess=excess,
        idle_bps=_idle_bps(model, paths, fineness),
    )


def usual_trips(slices: int) -> int:
    """Return the default number of round trips to try in a market of N slices; they take about a second."""
    return max(1_000, _ELEMENTS // (slices * _fineness(slices)))


def _fineness(slices: int) -> int:
    """Return the number of slices into which each slice is cut, so that the search has enough of them."""
    return max(1, math.ceil(_MIN_SLICES / slices))


def _check_costs(model: ImpactModel, path: Paths, fineness: int) -> None:
    """Raise ValueError if the total cost of a model is not one finite number per candidate."""
    trades = np.zeros((len(path), 3))
    trades[0], trades[-1] = 1.0, -0.5
    total = np.asarray(model.costs(trades, path, fineness).total, dtype=float)
    if total.shape != (3,) or not np.isfinite(total).all():
        raise ValueError(
            f"costs of the impact model {model.name!r} must be finite, of shape (3,) for 3 candidates, got {total!r}"
        )


# --- paths of the regimes


def regime_paths(regimes: int, slices: int, rng: np.random.Generator) -> tuple[Paths, bool]:
    """Return regime paths for the round trips, whatever their probability.

    All paths where there are at most 1,000. Else all constant paths, the paths with one change (a sample where they are many
    or long), and up to 500 random paths.

    Args:
        regimes: Number of regimes M.
        slices: Number of slices N.
        rng: Generator of the sample.

    Returns:
        Indices of the regimes, shape (N, paths), and whether these are all possible paths.
    """
    if slices * math.log(regimes) <= math.log(_FEW_PATHS):
        return np.array(list(itertools.product(range(regimes), repeat=slices)), dtype=np.int64).T, True
    row, constant = np.arange(slices)[:, None], np.broadcast_to(np.arange(regimes), (slices, regimes))
    first, second, change = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (regimes, regimes, slices)), indexing="ij"))
    moves = np.flatnonzero((first != second) & (change > 0))
    room = max(10, 2 * _BATCH // slices)
    if len(moves) > min(_MAX_PATHS, room):
        moves = rng.choice(moves, min(_MAX_PATHS, room), replace=False)
    once = np.where(row < change[moves], first[moves], second[moves])
    drawn = rng.integers(regimes, size=(slices, min(_FEW_PATHS // 2, room)))
    stays = rng.random(drawn.shape) < rng.random(drawn.shape[1])
    for k in range(1, slices):
        drawn[k] = np.where(stays[k], drawn[k - 1], drawn[k])
    return np.concatenate([constant, once, drawn], axis=1), False


# --- round trips


class _Candidates(NamedTuple):
    """Round trips: trades and paths of shape (slices, candidates), sizes and costs per notional of shape (candidates,)."""

    trades: Floats
    path: Paths
    size: Floats
    cost: Floats

    def take(self, chosen: Any) -> _Candidates:
        """Return the chosen candidates."""
        return _Candidates(self.trades[:, chosen], self.path[:, chosen], self.size[chosen], self.cost[chosen])


def _search(
    model: ImpactModel, paths: Paths, fineness: int, budget: int, rng: np.random.Generator, advance: Callable[[int], None]
) -> tuple[Trip, ...]:
    """Return the cheapest round trip of each size; half of the budget goes to random trips, half to refining the cheapest.

    Deterministic round trips on constant paths come first, in addition to the budget. They exploit known faults: buying at
    one steady pace and selling at another (Gatheral 2010), and alternating buys and sells, which earn where liquidity makes
    regular children cheaper.
    """
    none = np.zeros(0)
    tried, best = 0, _Candidates(np.zeros((len(paths), 0)), paths[:, :0], none, none)
    starts = itertools.chain(
        _deterministic_trips(len(paths), len(model.regimes)),
        ((_random_trips(path.shape[0], path.shape[1], rng), path) for path in _spread_over(paths, budget // 2, rng)),
    )
    for trades, path in starts:
        found = _evaluated(model, trades, path, np.resize(SIZES, path.shape[1]), fineness)
        best = _cheapest(_concatenated(best, found))
        tried += path.shape[1]
        advance(path.shape[1])
    last = tried + budget // 2
    while tried < last:
        child = _offspring(model, best, paths, fineness, rng)
        better = child.cost < best.cost
        best = _Candidates(*(np.where(better, new, old) for new, old in zip(child, best, strict=True)))
        tried += len(child.size)
        advance(len(child.size))
    return tuple(_cheapest_trip(model, best, size, tried // len(SIZES), fineness) for size in SIZES)


def _deterministic_trips(slices: int, regimes: int) -> Iterator[tuple[Floats, Paths]]:
    """Yield, for each constant path, the trades of the deterministic round trips (one per size) and the path."""
    trades = np.repeat(np.concatenate([_two_legs(slices), _alternating(slices)], axis=1), len(SIZES), axis=1)
    for regime in range(regimes):
        yield trades, np.full(trades.shape, regime)


def _two_legs(slices: int) -> Floats:
    """Return trades that buy at a steady pace in the first slices and sell at a steady pace in the last ones."""
    legs = np.unique(np.linspace(1, slices - 1, min(slices - 1, _LEGS)).astype(np.int64))
    first, last = (axis.ravel() for axis in np.meshgrid(legs, legs))
    first, last = first[first + last <= slices], last[first + last <= slices]
    row = np.arange(slices)[:, None]
    return np.asarray((row < first) / first - (row >= slices - last) / last)


def _alternating(slices: int) -> Floats:
    """Return trades that buy and sell alternately, in equal children at equal intervals."""
    row = np.arange(slices)
    patterns = [(every, gap) for every in _INTERVALS for gap in sorted({1, every // 2, every - 1}) if every <= slices]
    bought = [(row % every == 0) & (row + gap < slices) for every, gap in patterns]
    sold = [(row >= gap) & ((row - gap) % every == 0) for every, gap in patterns]
    return np.asarray(np.array(bought, dtype=float).T - np.array(sold, dtype=float).T)


def _spread_over(paths: Paths, count: int, rng: np.random.Generator) -> Iterator[Paths]:
    """Yield batches of at least `count` paths in total, each path at least once for each size."""
    count, batch = max(count, paths.shape[1] * len(SIZES)), len(SIZES) * max(_POPULATION, _BATCH // len(paths) // len(SIZES))
    order = np.repeat(rng.permutation(paths.shape[1]), len(SIZES))
    for first in range(0, count, batch):
        yield paths[:, order[np.arange(first, min(first + batch, count)) % len(order)]]


def _random_trips(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Draw round trips, a third each: normal noise; one buying and one selling stretch; a single buy and a single sell."""
    noise, pair = rng.standard_normal((slices, count)), _transfers(slices, count, rng)
    row, cuts = np.arange(slices)[:, None], np.sort(rng.integers(slices, size=(4, count)), axis=0)
    bought, sold = ((row >= first) & (row <= last) for first, last in (cuts[:2], cuts[2:]))
    stretches = bought / bought.sum(axis=0) - sold / sold.sum(axis=0)
    kind = np.where(np.abs(stretches).sum(axis=0) > 0.0, rng.integers(3, size=count), 0)  # coinciding stretches cancel
    return np.asarray(rng.choice([-1.0, 1.0], count) * np.choose(kind, [pair, noise, stretches]))


def _transfers(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Draw trades that buy 1 in one slice and sell 1 in another."""
    one = rng.integers(slices, size=count)
    other = (one + rng.integers(1, slices, size=count)) % slices
    moved, column = np.zeros((slices, count)), np.arange(count)
    moved[one, column], moved[other, column] = 1.0, -1.0
    return moved


def _round_trip(trades: Floats, size: Floats) -> Floats:
    """Return trades shifted and scaled so that they end flat and buy (and sell) `size`."""
    trades = trades - trades.mean(axis=0)
    return np.asarray(trades * (2.0 * size / np.maximum(np.abs(trades).sum(axis=0), 1e-300)))


def _evaluated(model: ImpactModel, trades: Floats, path: Paths, size: Floats, fineness: int) -> _Candidates:
    """Return round trips of the given sizes with their cost per notional traded."""
    trades = _round_trip(trades, size)
    return _Candidates(trades, path, size, np.asarray(model.costs(trades, path, fineness).total) / (2.0 * size))


def _concatenated(*candidates: _Candidates) -> _Candidates:
    """Return all candidates in one record."""
    return _Candidates(*(np.concatenate(parts, axis=-1) for parts in zip(*candidates, strict=True)))


def _cheapest(found: _Candidates) -> _Candidates:
    """Return the population: the cheapest candidates of each size, sorted by size."""
    order = np.lexsort((found.cost, found.size))
    rank = np.arange(len(order)) - np.searchsorted(found.size[order], found.size[order])
    return found.take(order[rank < _POPULATION])


def _offspring(model: ImpactModel, parents: _Candidates, paths: Paths, fineness: int, rng: np.random.Generator) -> _Candidates:
    """Return one child per parent: the parent plus a multiple of the difference of two others of its size.

    Half of the children also move towards one of the cheapest candidates of their size, a third shift an amount from one
    slice to another, and a tenth change the path. A tenth are replaced by random trips.
    """
    slices, count = parents.trades.shape
    base = np.arange(count) // _POPULATION * _POPULATION
    one, other = base + rng.integers(_POPULATION, size=(2, count))
    cheap = np.lexsort((parents.cost, parents.size))[base + rng.integers(_POPULATION // 8, size=count)]
    step = rng.uniform(0.3, 0.9, count)
    trades = parents.trades + step * (parents.trades[:, one] - parents.trades[:, other])
    trades += step * (rng.random(count) < 0.5) * (parents.trades[:, cheap] - parents.trades)
    jump = parents.size * (rng.random(count) < 1.0 / 3.0) * np.exp(rng.uniform(-7.0, 0.0, count))
    trades += jump * _transfers(slices, count, rng)
    trades = np.where(rng.random(count) < 0.1, _random_trips(slices, count, rng), trades)
    path = np.where(rng.random(count) < 0.1, paths[:, rng.integers(paths.shape[1], size=count)], parents.path)
    return _evaluated(model, trades, path, parents.size, fineness)


def _cheapest_trip(model: ImpactModel, found: _Candidates, size: float, tried: int, fineness: int) -> Trip:
    """Return the cheapest round trip of a size."""
    best = found.take(np.flatnonzero(found.size == size))
    best = best.take([int(np.argmin(best.cost))])
    gross = float(np.abs(model.costs(np.abs(best.trades), best.path, fineness).total)[0]) / (2.0 * size)
    cost = float(best.cost[0])
    return Trip(
        size=size,
        tried=tried,
        cost_bps=1e4 * cost,
        earns=cost < -_ROUNDING * gross,
        trades=tuple(map(float, best.trades[:, 0])),
        path=tuple(model.regimes[regime] for regime in best.path[:, 0]),
    )


# --- halving, bursts, convexity, zero


def _halvings(model: ImpactModel, rng: np.random.Generator) -> tuple[Halving, ...]:
    """Return the halvings of two schedules: three of them, and more while a component seems to have no positive limit.

    Errors of first order in the slice (changes of regime, ends of the order) and of second order (decay within a slice) may
    cancel at one fineness: a change may then exceed the one before it although the costs converge.
    """
    slices, count = model.slices, len(model.regimes)
    path = np.broadcast_to(np.arange(count), (slices, count))
    labels = list(model.regimes)
    if count > 1 and slices > 1:
        path, labels = np.concatenate([path, rng.integers(count, size=(slices, 1))], axis=1), [*labels, "mixed"]
    fineness, found = 1, tuple[Halving, ...]()
    costs: dict[tuple[str, str, str], tuple[float, ...]] = {}
    while slices * fineness <= (_SCENARIO_SLICES if fineness <= 8 else _MAX_SLICES):
        middle = (np.arange(slices * fineness) + 0.5) / (slices * fineness)
        for schedule, pace in (("steady", np.ones_like(middle)), ("front-loaded", 2.0 - 2.0 * middle)):
            trades = pace[:, None] / (slices * fineness)
            parts = model.costs(np.repeat(trades, len(labels), axis=1), np.repeat(path, fineness, axis=0), fineness)
            for part, values in parts.items():
                for label, value in zip(labels, np.broadcast_to(values, len(labels)), strict=True):
                    key = (schedule, label, part)
                    costs[key] = (*costs.get(key, ()), 1e4 * float(value))
        found = tuple(Halving(*key, values) for key, values in costs.items() if any(values))
        if fineness >= 8 and not any(halving.failure for halving in found):
            break  # else finer slices may show the limit
        fineness *= 2
    return found


def _bursts(model: ImpactModel) -> tuple[Burst, ...]:
    """Return, for each j, the burst of every j-th slice in the regime where it saves most."""
    fineness, names = _fineness(model.slices), model.regimes
    slices = model.slices * fineness
    path = np.broadcast_to(np.arange(len(names)), (slices, len(names)))
    rows = []
    for every in sorted({*(j for j in _INTERVALS if j <= slices), slices}):
        groups = np.arange(slices) < slices // every * every
        steady = groups / groups.sum()
        last = groups & (np.arange(slices) % every == every - 1)
        burst = last / last.sum()
        costs = [
            1e4 * np.asarray(model.costs(np.repeat(trades[:, None], len(names), axis=1), path, fineness).total)
            for trades in (burst, steady)
        ]
        tried = [Burst(every, name, float(b), float(s)) for name, b, s in zip(names, *costs, strict=True)]
        rows.append(max(tried, key=lambda burst: burst.saving_percent))
    return tuple(rows)


def _convexity_excess(model: ImpactModel, paths: Paths, fineness: int, rng: np.random.Generator) -> float:
    """Return the largest excess of the cost of the mean of two schedules over the mean of their costs, see `excess`."""
    worst = -math.inf
    batch = max(1, _BATCH // len(paths))
    for first in range(0, _PAIRS, batch):
        count = min(batch, _PAIRS - first)
        path = paths[:, rng.integers(paths.shape[1], size=count)]
        one, other = (_random_schedules(len(paths), count, rng) for _ in range(2))
        ends = [np.asarray(model.costs(trades, path, fineness).total) for trades in (one, other)]
        middle = np.asarray(model.costs(0.5 * (one + other), path, fineness).total)
        gross = [np.abs(model.costs(np.abs(trades), path, fineness).total) for trades in (one, other)]
        scale = np.maximum(0.5 * (gross[0] + gross[1]), 1e-300)
        worst = max(worst, float(((middle - 0.5 * (ends[0] + ends[1])) / scale).max()))
    return worst


def _random_schedules(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Draw schedules of all sizes, half of them round trips, half of them one-sided."""
    trips = _random_trips(slices, count, rng)
    trips = np.where(rng.random(count) < 0.5, trips, np.maximum(trips, 0.0))
    sizes = np.exp(rng.uniform(math.log(SIZES[0]), math.log(SIZES[-1]), count))
    return np.asarray(sizes * trips / np.maximum(np.abs(trips).sum(axis=0), 1e-300))


def _idle_bps(model: ImpactModel, paths: Paths, fineness: int) -> float:
    """Return the cost of not trading, bps: over a batch of paths, the value with the largest magnitude."""
    path = paths[:, : _BATCH // len(paths) + 1]
    costs = 1e4 * np.asarray(model.costs(np.zeros(path.shape), path, fineness).total)
    return float(costs[np.argmax(np.abs(costs))])
