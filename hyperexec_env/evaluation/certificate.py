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

A scenario with unknowns (:mod:`~hyperexec_env.market.told`) must pass at each draw of them: trades move no draw, and each draw
is made before the order. The tests run at the means, and at two corners of the ends of the priors. With f the temporary impact
over its mean, v the volume over its expectation and linear transient impact, the cost of trades x on a regime path is

    C(x; f, v) = A(x) + f v^-beta B(x)          A permanent, transient and spread cost, B >= 0 the convex temporary cost

so that min C over round trips rises with f v^-beta, and so do the margins of the other tests: a fault of any draw shows where f
is lowest and v highest, at the corner of the smallest temporary impact. The opposite corner tests the other end of each prior;
there a transient impact with another exponent, which v moves too, may show a fault. Drift and Kyle's lambda of the flow of
others move no cost of our own trades.

A search that finds no fault (:mod:`~hyperexec_env.evaluation.round_trips`) is not a proof. The tests need an
:class:`~hyperexec_env.evaluation.impact_model.ImpactModel`, the cost of our own trades without price noise, drift and risk;
:class:`~hyperexec_env.evaluation.impact_model.ScenarioImpact` is the one of a scenario.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.impact_model import COMPONENTS as COMPONENTS
from hyperexec_env.evaluation.impact_model import ImpactCost as ImpactCost
from hyperexec_env.evaluation.impact_model import ImpactModel, Paths, ScenarioImpact
from hyperexec_env.evaluation.impact_model import child_components as child_components
from hyperexec_env.evaluation.round_trips import (
    BATCH,
    INTERVALS,
    ROUNDING,
    Trip,
    random_schedules,
    regime_paths,
    search_trips,
)
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.told import PRIORS, described, prior_ends

__all__ = [
    *("COMPONENTS", "Burst", "Certificate", "Halving", "ImpactCost", "ImpactModel", "ScenarioImpact", "Trip", "certify"),
    *("certify_model", "check_impact_model", "check_scenario", "child_components", "end_corners", "regime_paths"),
    "usual_trips",
]

_ELEMENTS: Final = 4_000_000
"""Default budget of the search: slices times round trips."""
_MIN_SLICES: Final = 8
"""Least number of slices of a round trip; a market with fewer slices is cut finer."""
_MAX_SLICES: Final = 4_096
"""Largest number of slices to which a schedule is cut while its cost seems to have no positive limit."""
_SCENARIO_SLICES: Final = 100_000
"""Largest number of slices of a scenario."""
_PAIRS: Final = 2_000
"""Pairs of schedules in the test of convexity."""
_CONVERGED: Final = 1e-3
"""Relative change of a cost below which it counts as converged."""
_MAX_RATIO: Final = 0.95
"""Absolute ratio of successive changes from which a cost counts as diverging."""
_ZERO_LIMIT: Final = 0.05
"""Fraction of the last cost below which the limit counts as zero."""


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
        return self.burst_bps < self.steady_bps - ROUNDING * abs(self.steady_bps)


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
    told: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Number of each unknown that is given one, by the field of its spread; the others have their means."""
    ends: tuple[Certificate, ...] = ()
    """Certificates at the corners of the ends of the priors (:func:`end_corners`); empty where no unknown moves the cost."""
    unmoved: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    """Ends of the prior of each unknown that moves no cost of our own trades, by the field of its spread."""

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
        """Faults of the market, one line each, those at the means of the unknowns first; the line of a fault at a corner of the
        unknowns names their numbers. At each corner, no more than one line for each kind of fault and cost component.
        """
        return (*self._own_faults, *(f"with {described(end.told)}: {fault}" for end in self.ends for fault in end.faults))

    @property
    def _own_faults(self) -> tuple[str, ...]:
        """Faults without those of the corners."""
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
        if self.excess > ROUNDING:
            found.append(
                f"the cost is not convex: a mixture of two schedules costs more than their mean (by {self.excess:.2g})"
            )
        if self.idle_bps:
            found.append(f"not trading costs {self.idle_bps:.3g} bps")
        return tuple(found)

    @property
    def exit_code(self) -> int:
        """Exit code of ``hyperexec certify``: 1 if the market is not sound, else 0."""
        return 0 if self.sound else 1

    @property
    def sound(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def verdict(self) -> str:
        """The verdict, the faults and the extent of the search, in a few lines."""
        ends = [f"with {described(end.told)}: {end.tried:,} tried, {end._smallest}" for end in self.ends]
        means = "unknowns at their means: " if ends else ""
        lines = [*self.faults, means + self._extent, *ends, *self._unmoved, *self.notes]
        head = "certified" if self.sound else "NOT SOUND, do not trust policies trained in this market"
        return "\n".join([f"certificate: {head}", *(f"  {line}" for line in lines)])

    @property
    def _extent(self) -> str:
        """The extent of the search for round trips, and its result."""
        paths = (
            "one regime path"
            if self.paths == 1
            else f"{self.paths:,} regime paths{' (all possible)' if self.every_path else ''}"
        )
        return f"{self.tried:,} round trips tried on {paths}: {self._smallest}"

    @property
    def _smallest(self) -> str:
        """The cost of the cheapest round trip."""
        return f"smallest cost {self.cheapest.cost_bps:.4g} bps of the notional traded"

    @property
    def _unmoved(self) -> list[str]:
        """The unknowns that move no cost of our own trades, one line each."""
        return [
            f"{' or '.join(described({name: end}) for end in ends)}: no search, {PRIORS[name].name} moves no cost of own trades"
            for name, ends in self.unmoved.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON-compatible values.

        A certificate at given numbers of unknowns has the key `told`; one of a scenario with unknowns has the keys `ends`, the
        certificates at the corners, and `unmoved`.
        """
        unknowns: dict[str, Any] = {"told": dict(self.told)} if self.told else {}
        if self.ends or self.unmoved:
            unmoved = {name: list(ends) for name, ends in self.unmoved.items()}
            unknowns |= {"ends": [end.to_dict() for end in self.ends], "unmoved": unmoved}
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
            **unknowns,
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
                *(f"no trade: {self.idle_bps:g} bps", ""),
                *(("unknowns at their means, and at the ends of their priors", self._end_table(), "") if self.ends else ()),
                self.verdict,
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

    def _end_table(self) -> str:
        """Return the results at the means and at the corners of the unknowns, one line each."""
        cells = [
            [
                *(str(len(found._own_faults)), described(found.told) or "means", f"{found.cheapest.cost_bps:.4f}"),
                *(f"{found.best_burst.saving_percent:+.1f}", f"{found.excess:.2g}"),
            ]
            for found in (self, *self.ends)
        ]
        return text_table(["faults", "unknowns", "cheapest trip", "best burst %", "convexity"], cells)


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

    Convexity is tested without a predator: with a predator, a regular schedule may cost more than an irregular one. A scenario
    with unknowns is tested at their means and at the corners of the ends of their priors (:func:`end_corners`).

    Args:
        scenario: A name, a dict, a path or a scenario.
        trips: Number of round trips to try, 1,000 to 10^9; None chooses a number that takes a few seconds. Each corner of the
            unknowns tries as many again.
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

    def at(told: Mapping[str, float]) -> Certificate:
        model, even, unwatched = (ScenarioImpact(one, told) for one in (tested, flat, alone))
        found = _certify(model, even, unwatched, trips, seed, advance)
        return replace(found, hash=scenario.hash, told=told)

    return replace(
        at({}),
        notes=(*notes, *scenario.warnings),
        ends=tuple(at(told) for told in end_corners(scenario)),
        unmoved={name: ends for name, ends in prior_ends(scenario).items() if not PRIORS[name].costs},
    )


def end_corners(scenario: Scenario) -> tuple[dict[str, float], ...]:
    """Return the numbers of the unknowns with which :func:`certify` tests a scenario beside their means.

    Each unknown that moves the cost of our own trades has both ends of its prior: first the corner of the smallest temporary
    impact (low multiple of alpha, high volume), then the opposite corner. Empty where no unknown moves the cost.
    """
    ends = {name: both[:: PRIORS[name].costs] for name, both in prior_ends(scenario).items() if PRIORS[name].costs}
    return tuple({name: both[corner] for name, both in ends.items()} for corner in (0, 1) if ends)


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
    found = search_trips(model, paths, fineness, budget, rng, advance)
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
    for every in sorted({*(j for j in INTERVALS if j <= slices), slices}):
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
    batch = max(1, BATCH // len(paths))
    for first in range(0, _PAIRS, batch):
        count = min(batch, _PAIRS - first)
        path = paths[:, rng.integers(paths.shape[1], size=count)]
        one, other = (random_schedules(len(paths), count, rng) for _ in range(2))
        ends = [np.asarray(model.costs(trades, path, fineness).total) for trades in (one, other)]
        middle = np.asarray(model.costs(0.5 * (one + other), path, fineness).total)
        gross = [np.abs(model.costs(np.abs(trades), path, fineness).total) for trades in (one, other)]
        scale = np.maximum(0.5 * (gross[0] + gross[1]), 1e-300)
        worst = max(worst, float(((middle - 0.5 * (ends[0] + ends[1])) / scale).max()))
    return worst


def _idle_bps(model: ImpactModel, paths: Paths, fineness: int) -> float:
    """Return the cost of not trading, bps: over a batch of paths, the value with the largest magnitude."""
    path = paths[:, : BATCH // len(paths) + 1]
    costs = 1e4 * np.asarray(model.costs(np.zeros(path.shape), path, fineness).total)
    return float(costs[np.argmax(np.abs(costs))])
