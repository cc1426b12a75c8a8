r"""The certificate of a market: that its impact cannot be made to pay, and that its costs do not hang on the cut of the slices.

Gatheral (2010) calls a market sound in which no round trip (buying and selling that ends flat) earns money on average; Huberman
and Stanzl (2004) show that an impact that stays must be linear for that. A learner finds such a fault sooner than the author of
the market, so each market is searched for it before anything is learned in it:

- *Round trips*: plain ones, random ones, and those that a search (differential evolution, Storn and Price 1997) makes of the
  cheapest, of five sizes up to a hundred orders; on every path of the regimes where they are few, else on a sample, all
  constant paths and all with one change.
- *Halving*: the same schedule in ever shorter slices. Each part of its cost has to settle at a positive limit.
- *Bursts*: with a flat volume and one regime, trading every j-th slice must not beat the steady pace. (That is so for linear
  impact whose decay is convex: lumps on a concave potential cost more than what they were made of.)
- *Convexity*: a mixture of two schedules costs no more than the mixture of their costs. *Zero*: no trade, no cost.

Only what our trades cost is looked at: no price noise, no drift, no risk, and the expected volume. A search that finds nothing
is no proof. What it is asked of is an :class:`ImpactModel`, which a :class:`ScenarioImpact` is for a scenario.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.market.kernel import Slice, State
from hyperexec_env.market.model import Market, build_market
from hyperexec_env.market.predator import Hunt, trade, watch
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario

__all__ = [
    *("Burst", "Certificate", "Halving", "ImpactModel", "Parts", "ScenarioImpact", "Trip", "certify", "certify_model"),
    *("check_impact_model", "check_scenario", "regime_paths", "usual_trips"),
]

Floats = NDArray[np.float64]
Paths = NDArray[np.int64]

SIZES: Final = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Sizes of the round trips: what is bought (and sold again), in orders."""
_PACES: Final = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 30, 40, 60)
_POPULATION: Final = 24
_ELEMENTS: Final = 4_000_000
"""Slices times round trips of a search whose budget is not given."""
_BATCH: Final = 500_000
_FEWEST_SLICES: Final = 8
_LEGS: Final = 25
_FEW_PATHS: Final = 1_000
_MOST_PATHS: Final = 5_000
_MOST_SLICES: Final = 4_096
"""Slices that a schedule which has not settled is cut into, at most."""
_SCENARIO_SLICES: Final = 100_000
"""Slices that a scenario may have."""
_PAIRS: Final = 2_000
_ROUNDING: Final = 1e-9
"""What is taken for rounding, as a part of what the same trades cost where all of them are bought."""
_SETTLED: Final = 1e-3
"""A change by less than this, as a part of the cost, is none."""
_SHRINKS: Final = 0.95
"""Changes that shrink more slowly than this from halving to halving are taken for some that do not."""
_VANISHED: Final = 0.05
"""A limit below this part of the cost is none."""


class Parts(NamedTuple):
    """What trades cost beyond the unaffected price, fraction of the arrival notional, each (candidates,)."""

    permanent: Any
    transient: Any
    temporary: Any
    spread: Any

    @property
    def total(self) -> Any:
        """The whole cost."""
        return self.permanent + self.transient + self.temporary + self.spread


class ImpactModel(Protocol):
    """What signed trades cost in a market, in units of its order: one trade buys it, a cost of one is its arrival notional."""

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
        """Names of the regimes (one, where nothing changes)."""
        ...

    def costs(self, trades: Floats, path: Paths, fineness: int = 1) -> Parts:
        """Return the cost of some schedules of trades.

        Args:
            trades: Fractions of the order, bought where positive and sold where negative, (N fineness, candidates).
            path: Index of the regime of each slice, (N fineness, candidates) or (N fineness, 1).
            fineness: How many slices each of the N slices is cut into.
        """
        ...


@dataclass(frozen=True)
class ScenarioImpact:
    """The impact of a scenario, through the market's own step.

    What sells meets the mirror of the market: the same step, with displacements of the other sign. A predator watches
    buying and selling apart.
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
        """Return the tables of the scenario in finer slices."""
        if fineness not in self._markets:
            self._markets[fineness] = build_market(replace(self.scenario, slices=self.slices * fineness))
        return self._markets[fineness]

    def costs(self, trades: Floats, path: Paths, fineness: int = 1) -> Parts:
        """Return the cost of some schedules of trades, as :class:`ImpactModel` says."""
        market, scenario = self.market(fineness), self.scenario
        zero = np.zeros(trades.shape[1])
        left, permanent, transient = 2.0 * scenario.quantity * np.abs(trades).sum(axis=0), zero, zero
        mine, other, bought = Hunt(zero, zero, zero, zero), Hunt(zero, zero, zero, zero), zero >= 0.0
        spent = [zero] * 4
        for k, shares in enumerate(scenario.quantity * trades):
            buys = shares >= 0.0
            side = np.where(buys, 1.0, -1.0)
            if scenario.predator:
                mine, other = _swapped(mine, other, buys != bought)
                other, bought = watch(other, zero), buys
            state = State(left, side * permanent, side * transient)
            after, cost, mine = trade(market.impact, state, _slice(market, k, path[k]), abs(shares), mine, scenario.predator)
            left, permanent, transient = after.remaining, side * after.permanent, side * after.transient
            spent = [total + part for total, part in zip(spent, cost, strict=False)]
        return Parts(*(total / scenario.notional for total in spent))


def _slice(market: Market, k: int, regime: Paths) -> Slice:
    """Return slice `k` without noise, drift, risk and limits."""
    return Slice(
        volume=market.mean_volume[k].take(regime),
        least=0.0,
        limit=math.inf,
        temporary_scale=market.temporary_scale.take(regime),
        half_spread=market.half_spread.take(regime),
        transient_kept=market.transient_kept.take(regime),
        drift=0.0,
        innovation=0.0,
        risk=0.0,
    )


def _swapped(mine: Hunt, other: Hunt, turned: NDArray[np.bool_]) -> tuple[Hunt, Hunt]:
    """Exchange what the predator remembers of buying and of selling where the side has turned."""
    both = list(zip(mine, other, strict=True))
    return Hunt(*(np.where(turned, b, a) for a, b in both)), Hunt(*(np.where(turned, a, b) for a, b in both))


@dataclass(frozen=True)
class Trip:
    """The cheapest round trip of one size."""

    size: float
    """What it buys, and sells again, in orders."""
    tried: int
    """Number of round trips of that size."""
    cost_bps: float
    """What it costs, bps of the notional that it trades (twice its size)."""
    earns: bool
    """Whether it earns money, beyond rounding."""
    trades: tuple[float, ...] = field(repr=False)
    """Its trades, in orders, one for each slice."""
    path: tuple[str, ...] = field(repr=False)
    """The regime of each slice."""


@dataclass(frozen=True)
class Halving:
    """One part of the cost of one schedule in ever shorter slices."""

    schedule: str
    regimes: str
    """The regime that holds throughout, or `mixed`."""
    part: str
    """Part of the cost: permanent, transient, temporary or spread."""
    costs_bps: tuple[float, ...]
    """The cost with the slices cut into 1, 2, 4, 8, ... bps of the arrival notional."""

    @property
    def settled(self) -> bool:
        """Whether the last halving has changed next to nothing."""
        return abs(self._change(-1)) <= _SETTLED * abs(self.costs_bps[-1])

    @property
    def ratio(self) -> float:
        """The last change over the one before: below one where the changes shrink, a half for an error of first order."""
        return self._change(-1) / self._change(-2) if self._change(-2) else math.inf

    @property
    def limit_bps(self) -> float | None:
        """What the costs run to (the changes taken for a geometric series; Aitken 1926), bps; None where they diverge."""
        if self.settled or len(self.costs_bps) < 3:
            return self.costs_bps[-1]
        return self.costs_bps[-1] + self._change(-1) * self.ratio / (1.0 - self.ratio) if abs(self.ratio) < _SHRINKS else None

    @property
    def trouble(self) -> str:
        """What is wrong with it in a word or two ("" where nothing is)."""
        limit = self.limit_bps
        if limit is None:
            return "does not settle"
        return "runs to zero" if limit < max(_VANISHED * self.costs_bps[-1], 0.0) else ""

    @property
    def fault(self) -> str:
        """What is wrong with it, in a sentence ("" where nothing is)."""
        listed = ", ".join(f"{cost:.4g}" for cost in self.costs_bps[:4])
        where = f"the {self.part} cost of a {self.schedule} schedule ({self.regimes})"
        return f"{where} {self.trouble} as slices are halved: {listed} bps" if self.trouble else ""

    def _change(self, index: int) -> float:
        """Return a change from one halving to the next."""
        changes = [after - before for before, after in itertools.pairwise(self.costs_bps)]
        return changes[index] if len(changes) >= -index else 0.0


@dataclass(frozen=True)
class Burst:
    """Trading every j-th slice against trading in each, with a flat volume and one regime."""

    every: int
    regime: str
    burst_bps: float
    """Cost of equal children in every j-th slice, bps of the arrival notional."""
    steady_bps: float
    """Cost of equal children in every slice (of as many whole groups of j as there are)."""

    @property
    def saving_percent(self) -> float:
        """What the burst saves against the steady pace, in per cent of its cost; negative where it costs more."""
        return 100.0 * (1.0 - self.burst_bps / self.steady_bps) if self.steady_bps else 0.0

    @property
    def pays(self) -> bool:
        """Whether the burst is cheaper, beyond rounding."""
        return self.burst_bps < self.steady_bps - _ROUNDING * abs(self.steady_bps)


@dataclass(frozen=True)
class Certificate:
    """What a market was tried for, and what came out. It prints itself as the report."""

    name: str
    hash: str
    """Hash of the scenario ("" for a model that is none)."""
    seed: int
    paths: int
    """Number of paths of the regimes that round trips were tried on."""
    every_path: bool
    """Whether those are all that there are."""
    trips: tuple[Trip, ...]
    """The cheapest round trip of each size."""
    halvings: tuple[Halving, ...]
    bursts: tuple[Burst, ...]
    """For each j the regime in which it does best."""
    pairs: int
    """Number of pairs of schedules whose mixture was tried."""
    excess: float
    """Most that a mixture costs beyond the mean of the two costs, as a part of what it costs to buy as much; not positive
    (but for rounding) where the cost is convex."""
    idle_bps: float
    """What not trading costs."""
    notes: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        """Number of round trips tried."""
        return sum(trip.tried for trip in self.trips)

    @property
    def cheapest(self) -> Trip:
        """The round trip that costs least by the notional that it trades."""
        return min(self.trips, key=lambda trip: trip.cost_bps)

    @property
    def lumpiest(self) -> Burst:
        """The burst that saves most."""
        return max(self.bursts, key=lambda burst: burst.saving_percent)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the market, one line each."""
        found = []
        earning = [trip for trip in self.trips if trip.earns]
        if earning:
            trip = min(earning, key=lambda trip: abs(math.log(trip.size)))
            found.append(
                f"a round trip of {trip.size:g} x the order earns {-trip.cost_bps:.4g} bps of the notional that it trades"
            )
        broken: dict[tuple[str, str], str] = {}
        for halving in self.halvings:
            if halving.trouble:
                broken.setdefault((halving.part, halving.trouble), halving.fault)
        found += broken.values()
        if any(burst.pays for burst in self.bursts):
            burst = self.lumpiest
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
        """Whether nothing was found."""
        return not self.faults

    @property
    def verdict(self) -> str:
        """The verdict in a short block."""
        paths = (
            "one regime path"
            if self.paths == 1
            else f"{self.paths:,} regime paths{' (all there are)' if self.every_path else ''}"
        )
        smallest = f"smallest cost {self.cheapest.cost_bps:.4g} bps of the notional traded"
        lines = [*self.faults, f"{self.tried:,} round trips tried on {paths}: {smallest}", *self.notes]
        head = "certified" if self.sound else "NOT SOUND, do not believe what is learned in this market"
        return "\n".join([f"certificate: {head}", *(f"  {line}" for line in lines)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and texts."""
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
                *(f"{named}: what its impact was tried for", ""),
                *("round trips, the cheapest of each size [bps of the notional traded]", self._trip_table(), ""),
                *("a schedule whose slices are halved [bps of the arrival notional]", self._halving_table(), ""),
                *("every j-th slice against the steady pace [bps of the arrival notional]", self._burst_table(), ""),
                f"convexity: {self.pairs:,} mixtures of two schedules, largest excess over their mean {self.excess:.2g}",
                *(f"no trade: {self.idle_bps:g} bps", "", self.verdict),
            ]
        )

    def _trip_table(self) -> str:
        """Return a line for each size."""
        cells = [[f"{trip.size:g}", "", f"{trip.tried:,}", f"{trip.cost_bps:.4f}"] for trip in self.trips]
        return text_table(["orders", "", "tried", "cost"], cells)

    def _halving_table(self) -> str:
        """Return a line for each part of the cost of the steady schedule, and for whatever is at fault."""
        shown = [
            halving
            for halving in self.halvings
            if halving.trouble or (halving.schedule, halving.regimes) == (self.halvings[0].schedule, self.halvings[0].regimes)
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
        """Return a line for each j."""
        cells = [
            [str(row.every), row.regime, f"{row.burst_bps:.4f}", f"{row.steady_bps:.4f}", f"{row.saving_percent:+.1f}"]
            for row in self.bursts
        ]
        return text_table(["j", "regime", "bursts", "steady", "saving %"], cells)


def _finite(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return value if math.isfinite(value) else None


def _ordinal(number: int) -> str:
    """Return "15th" for 15."""
    return "2nd" if number == 2 else "3rd" if number == 3 else f"{number}th"


def certify(
    scenario: ScenarioLike, *, trips: int | None = None, seed: int = 0, advance: Callable[[int], None] = lambda trips: None
) -> Certificate:
    """Try whether the market of a scenario is sound.

    A predator is not part of the impact: mixtures are tried without it (whoever is watched may well pay for being regular).

    Args:
        scenario: A name, a dict, a path or a scenario.
        trips: Number of round trips to try (None: what some seconds allow).
        seed: Seed of the search.
        advance: Called with the number of round trips after each batch.

    Raises:
        ValueError: The number or the seed is out of range.
    """
    scenario = get_scenario(scenario)
    flat, notes = replace(scenario, volume_curve=()), []
    tried = scenario if all(scenario.volume_curve) else flat
    if tried is not scenario:
        notes.append("tried with a flat volume: the volume curve has gaps, in which finer slices would find no volume")
    alone = replace(tried, predator=0.0)
    if scenario.predator:
        notes.append("mixtures of schedules were tried without the predator")
    found = _examine(ScenarioImpact(tried), ScenarioImpact(flat), ScenarioImpact(alone), trips, seed, advance)
    return replace(found, hash=scenario.hash, notes=tuple(notes))


def certify_model(
    model: ImpactModel, *, trips: int | None = None, seed: int = 0, advance: Callable[[int], None] = lambda trips: None
) -> Certificate:
    """Try whether an impact model is sound; the arguments are those of :func:`certify`.

    Raises:
        ValueError: The number or the seed is out of range, or the model returns no costs.
    """
    return _examine(model, model, model, trips, seed, advance)


def check_scenario(scenario: ScenarioLike, *, trips: int | None = None, seed: int = 0) -> None:
    """Refuse a scenario whose market is not sound.

    Raises:
        ValueError: It is not; the message says why.
    """
    _demand(certify(scenario, trips=trips, seed=seed), "scenario")


def check_impact_model(model: ImpactModel, *, trips: int | None = None, seed: int = 0) -> None:
    """Refuse an impact model that is not sound.

    Raises:
        ValueError: It is not, or it returns no costs; the message says why.
    """
    _demand(certify_model(model, trips=trips, seed=seed), "impact model")


def _demand(certificate: Certificate, kind: str) -> None:
    if not certificate.sound:
        raise ValueError(f"{kind} {certificate.name!r} is not sound: {'; '.join(certificate.faults)}")


def _examine(
    model: ImpactModel, flat: ImpactModel, alone: ImpactModel, trips: int | None, seed: int, advance: Callable[[int], None]
) -> Certificate:
    """Try a model; `flat` is the same with a flat volume, `alone` without others who watch our trades."""
    rng = np.random.default_rng(check_integer("seed", seed, low=0, high=2**32 - 1))
    budget = check_integer("trips", usual_trips(model.slices) if trips is None else trips, low=1_000, high=1_000_000_000)
    fineness = _fineness(model.slices)
    paths, every = regime_paths(len(model.regimes), model.slices * fineness, rng)
    _answered(model, paths[:, :1], fineness)
    found = _search(model, paths, fineness, budget, rng, advance)
    excess = _convexity(alone, paths, fineness, rng)
    return Certificate(
        name=model.name,
        hash="",
        seed=seed,
        paths=paths.shape[1],
        every_path=every,
        trips=found,
        halvings=_halve(model, rng),
        bursts=_burst(flat),
        pairs=_PAIRS,
        excess=excess,
        idle_bps=_idle(model, paths, fineness),
    )


def usual_trips(slices: int) -> int:
    """Return the number of round trips that a second or so allows, in a market of some slices."""
    return max(1_000, _ELEMENTS // (slices * _fineness(slices)))


def _fineness(slices: int) -> int:
    """Return how many slices each is cut into where they are too few for a search."""
    return max(1, math.ceil(_FEWEST_SLICES / slices))


def _answered(model: ImpactModel, path: Paths, fineness: int) -> None:
    """Refuse a model whose costs are not finite numbers, one for each candidate."""
    trades = np.zeros((len(path), 3))
    trades[0], trades[-1] = 1.0, -0.5
    total = np.asarray(model.costs(trades, path, fineness).total, dtype=float)
    if total.shape != (3,) or not np.isfinite(total).all():
        raise ValueError(
            f"costs of the impact model {model.name!r} must be finite, of shape (3,) for 3 candidates, got {total!r}"
        )


# --- paths of the regimes


def regime_paths(regimes: int, slices: int, rng: np.random.Generator) -> tuple[Paths, bool]:
    """Return paths of the regimes, whether likely or not, and whether they are all that there are.

    All of them where they are at most 1,000; else those that never change, those that change once (a sample of many or
    long ones), and 500 that change at random.

    Args:
        regimes: Number of regimes M.
        slices: Number of slices N.
        rng: What draws the sample.

    Returns:
        Indices of the regimes, (N, paths).
    """
    if slices * math.log(regimes) <= math.log(_FEW_PATHS):
        return np.array(list(itertools.product(range(regimes), repeat=slices)), dtype=np.int64).T, True
    row, constant = np.arange(slices)[:, None], np.broadcast_to(np.arange(regimes), (slices, regimes))
    first, second, change = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (regimes, regimes, slices)), indexing="ij"))
    moves = np.flatnonzero((first != second) & (change > 0))
    room = max(10, 2 * _BATCH // slices)
    if len(moves) > min(_MOST_PATHS, room):
        moves = rng.choice(moves, min(_MOST_PATHS, room), replace=False)
    once = np.where(row < change[moves], first[moves], second[moves])
    drawn = rng.integers(regimes, size=(slices, min(_FEW_PATHS // 2, room)))
    stays = rng.random(drawn.shape) < rng.random(drawn.shape[1])
    for k in range(1, slices):
        drawn[k] = np.where(stays[k], drawn[k - 1], drawn[k])
    return np.concatenate([constant, once, drawn], axis=1), False


# --- round trips


class _Candidates(NamedTuple):
    """Round trips of one size (or of all): trades and paths (slices, candidates), sizes and costs (candidates,)."""

    trades: Floats
    path: Paths
    size: Floats
    cost: Floats

    def take(self, chosen: Any) -> _Candidates:
        """Return some of them."""
        return _Candidates(self.trades[:, chosen], self.path[:, chosen], self.size[chosen], self.cost[chosen])


def _search(
    model: ImpactModel, paths: Paths, fineness: int, budget: int, rng: np.random.Generator, advance: Callable[[int], None]
) -> tuple[Trip, ...]:
    """Return the cheapest round trip of each size: half of the budget on random ones, half on refining the cheapest.

    Before that come, on the paths that never change and beyond the budget, those that a fault is known to pay: in at a steady
    pace and out at another one (Gatheral 2010), and to and fro, which pays where somebody makes like children cheaper.
    """
    none = np.zeros(0)
    tried, best = 0, _Candidates(np.zeros((len(paths), 0)), paths[:, :0], none, none)
    starts = itertools.chain(
        _plain_trips(len(paths), len(model.regimes)),
        ((_random_trips(path.shape[0], path.shape[1], rng), path) for path in _spread_over(paths, budget // 2, rng)),
    )
    for trades, path in starts:
        found = _priced(model, trades, path, np.resize(SIZES, path.shape[1]), fineness)
        best = _best(_joined(best, found))
        tried += path.shape[1]
        advance(path.shape[1])
    last = tried + budget // 2
    while tried < last:
        child = _offspring(model, best, paths, fineness, rng)
        better = child.cost < best.cost
        best = _Candidates(*(np.where(better, new, old) for new, old in zip(child, best, strict=True)))
        tried += len(child.size)
        advance(len(child.size))
    return tuple(_trip(model, best, size, tried // len(SIZES), fineness) for size in SIZES)


def _plain_trips(slices: int, regimes: int) -> Iterator[tuple[Floats, Paths]]:
    """Yield the round trips that nothing is drawn for, in each size and each regime, and the regime of each slice."""
    trades = np.repeat(np.concatenate([_in_and_out(slices), _to_and_fro(slices)], axis=1), len(SIZES), axis=1)
    for regime in range(regimes):
        yield trades, np.full(trades.shape, regime)


def _in_and_out(slices: int) -> Floats:
    """Return trades that buy steadily in the first slices and sell steadily in the last ones."""
    legs = np.unique(np.linspace(1, slices - 1, min(slices - 1, _LEGS)).astype(np.int64))
    first, last = (axis.ravel() for axis in np.meshgrid(legs, legs))
    first, last = first[first + last <= slices], last[first + last <= slices]
    row = np.arange(slices)[:, None]
    return np.asarray((row < first) / first - (row >= slices - last) / last)


def _to_and_fro(slices: int) -> Floats:
    """Return trades that buy and sell in turn, equal children at equal intervals."""
    row = np.arange(slices)
    rhythms = [(every, gap) for every in _PACES for gap in sorted({1, every // 2, every - 1}) if every <= slices]
    bought = [(row % every == 0) & (row + gap < slices) for every, gap in rhythms]
    sold = [(row >= gap) & ((row - gap) % every == 0) for every, gap in rhythms]
    return np.asarray(np.array(bought, dtype=float).T - np.array(sold, dtype=float).T)


def _spread_over(paths: Paths, count: int, rng: np.random.Generator) -> Iterator[Paths]:
    """Yield batches of paths, each path at least once."""
    count, batch = max(count, paths.shape[1] * len(SIZES)), len(SIZES) * max(_POPULATION, _BATCH // len(paths) // len(SIZES))
    order = np.repeat(rng.permutation(paths.shape[1]), len(SIZES))
    for first in range(0, count, batch):
        yield paths[:, order[np.arange(first, min(first + batch, count)) % len(order)]]


def _random_trips(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Draw round trips: noise, one stretch of buying and one of selling, and a single buy and a single sell, a third each."""
    noise, pair = rng.standard_normal((slices, count)), _transfers(slices, count, rng)
    row, cuts = np.arange(slices)[:, None], np.sort(rng.integers(slices, size=(4, count)), axis=0)
    bought, sold = ((row >= first) & (row <= last) for first, last in (cuts[:2], cuts[2:]))
    stretches = bought / bought.sum(axis=0) - sold / sold.sum(axis=0)
    kind = np.where(np.abs(stretches).sum(axis=0) > 0.0, rng.integers(3, size=count), 0)  # one stretch in one slice is no trip
    return np.asarray(rng.choice([-1.0, 1.0], count) * np.choose(kind, [pair, noise, stretches]))


def _transfers(slices: int, count: int, rng: np.random.Generator) -> Floats:
    """Return trades that buy one in a slice and sell it in another."""
    one = rng.integers(slices, size=count)
    other = (one + rng.integers(1, slices, size=count)) % slices
    moved, column = np.zeros((slices, count)), np.arange(count)
    moved[one, column], moved[other, column] = 1.0, -1.0
    return moved


def _flat(trades: Floats, size: Floats) -> Floats:
    """Make trades end flat and buy (and sell) a size."""
    trades = trades - trades.mean(axis=0)
    return np.asarray(trades * (2.0 * size / np.maximum(np.abs(trades).sum(axis=0), 1e-300)))


def _priced(model: ImpactModel, trades: Floats, path: Paths, size: Floats, fineness: int) -> _Candidates:
    """Return round trips of given sizes with their cost by the notional traded."""
    trades = _flat(trades, size)
    return _Candidates(trades, path, size, np.asarray(model.costs(trades, path, fineness).total) / (2.0 * size))


def _joined(*some: _Candidates) -> _Candidates:
    """Return candidates side by side."""
    return _Candidates(*(np.concatenate(parts, axis=-1) for parts in zip(*some, strict=True)))


def _best(found: _Candidates) -> _Candidates:
    """Return the population: the cheapest of each size, size by size."""
    order = np.lexsort((found.cost, found.size))
    rank = np.arange(len(order)) - np.searchsorted(found.size[order], found.size[order])
    return found.take(order[rank < _POPULATION])


def _offspring(model: ImpactModel, parents: _Candidates, paths: Paths, fineness: int, rng: np.random.Generator) -> _Candidates:
    """Return a child of each parent: moved along the difference of two others, half of them towards one of the best, too.

    A third moves some trade from one slice to another, besides, and a tenth tries another path. One in ten is no child but
    another random trip on the path of its parent.
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
    return _priced(model, trades, path, parents.size, fineness)


def _trip(model: ImpactModel, found: _Candidates, size: float, tried: int, fineness: int) -> Trip:
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


# --- the other trials


def _halve(model: ImpactModel, rng: np.random.Generator) -> tuple[Halving, ...]:
    """Return each part of the cost of two schedules, the slices cut in two three times, and more where it may run to zero."""
    slices, count = model.slices, len(model.regimes)
    path = np.broadcast_to(np.arange(count), (slices, count))
    labels = list(model.regimes)
    if count > 1 and slices > 1:
        path, labels = np.concatenate([path, rng.integers(count, size=(slices, 1))], axis=1), [*labels, "mixed"]
    fineness, found = 1, tuple[Halving, ...]()
    costs: dict[tuple[str, str, str], tuple[float, ...]] = {}
    while slices * fineness <= (_SCENARIO_SLICES if fineness <= 8 else _MOST_SLICES):
        middle = (np.arange(slices * fineness) + 0.5) / (slices * fineness)
        for schedule, pace in (("steady", np.ones_like(middle)), ("front-loaded", 2.0 - 2.0 * middle)):
            trades = pace[:, None] / (slices * fineness)
            parts = model.costs(np.repeat(trades, len(labels), axis=1), np.repeat(path, fineness, axis=0), fineness)
            for part, values in zip(parts._fields, parts, strict=True):
                for label, value in zip(labels, np.broadcast_to(values, len(labels)), strict=True):
                    key = (schedule, label, part)
                    costs[key] = (*costs.get(key, ()), 1e4 * float(value))
        found = tuple(Halving(*key, values) for key, values in costs.items() if any(values))
        if fineness >= 8 and not any(halving.trouble == "runs to zero" for halving in found):
            break  # a fast decay may yet show its limit in finer slices
        fineness *= 2
    return found


def _burst(model: ImpactModel) -> tuple[Burst, ...]:
    """Return, for each j, the burst of every j-th slice in the regime in which it does best."""
    fineness, names = _fineness(model.slices), model.regimes
    slices = model.slices * fineness
    path = np.broadcast_to(np.arange(len(names)), (slices, len(names)))
    rows = []
    for every in sorted({*(j for j in _PACES if j <= slices), slices}):
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


def _convexity(model: ImpactModel, paths: Paths, fineness: int, rng: np.random.Generator) -> float:
    """Return the most that the mean of two schedules costs beyond the mean of their costs."""
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
    """Draw schedules of all sizes: round trips and one-sided ones."""
    trips = _random_trips(slices, count, rng)
    trips = np.where(rng.random(count) < 0.5, trips, np.maximum(trips, 0.0))
    sizes = np.exp(rng.uniform(math.log(SIZES[0]), math.log(SIZES[-1]), count))
    return np.asarray(sizes * trips / np.maximum(np.abs(trips).sum(axis=0), 1e-300))


def _idle(model: ImpactModel, paths: Paths, fineness: int) -> float:
    """Return what not trading costs at most, bps."""
    path = paths[:, : _BATCH // len(paths) + 1]
    costs = 1e4 * np.asarray(model.costs(np.zeros(path.shape), path, fineness).total)
    return float(costs[np.argmax(np.abs(costs))])
