"""A scenario in numbers: the slopes, tables and thresholds that the path and the kernel read."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Impact
from hyperexec_env.market.regime import REGIME_NAMES, thresholds
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.records import Constant, Real, Whole, map_leaves, numbered

__all__ = ["Market", "MarketSpec", "Numbers", "SliceRow", "Thresholds", "build_market", "must_finish"]

Floats = NDArray[np.float64]

Thresholds: Any = numbered("Thresholds", len(REGIME_NAMES) - 1, Whole)
"""Cumulative law of a regime as 32-bit integers: the regime is the number of thresholds that a draw reaches."""
_NEVER: Final = 2**40
"""A threshold that no 32-bit draw reaches."""


class MarketSpec(NamedTuple):
    """The kind of a market. Compiled loops are made for one kind, in which these values are constants."""

    beta: Constant
    """Exponent of the temporary impact."""
    transient_exponent: Constant
    flow_persistence: Constant
    regimes: Constant
    """Number of regimes M."""
    geometric: Constant
    """Whether the price is geometric; else it is arithmetic."""
    drifting: Constant
    """Whether a regime has a drift."""
    capped: Constant
    """Whether there is a participation cap."""
    price_risk: Constant
    """Whether holding has a price."""
    noisy_volume: Constant
    hunted: Constant
    """Whether a predator (or liquidity that comes to an order that is seen) watches our children."""
    complete: Constant
    """Whether the last slice trades what is left."""


class Numbers(NamedTuple):
    """The numbers of a market that depend neither on the slice nor on the regime."""

    spec: MarketSpec
    slices: Whole
    """Number of slices N."""
    width: Whole
    """Columns of a table: M + 1."""
    arrival_price: Real
    permanent_slope: Real
    """g, currency per share for each share traded."""
    transient_slope: Real
    """kappa, currency per share for each share traded (see :class:`~hyperexec_env.market.kernel.Impact`)."""
    cap: Real
    """Participation cap, infinity where there is none."""
    holding: Real
    """price_risk tau: the price of holding a unit of value over a slice."""
    by_flow: Real
    """sqrt(flow_share): standard deviation of the price that order flow brings, in volatilities."""
    by_flow_noise: Real
    """The part of `by_flow` that the flow of the slice before does not predict."""
    by_news: Real
    """sqrt(1 - flow_share)."""
    flow_share: Real
    volume_noise: Real
    """Standard deviation of the log volume."""
    predator: Real
    """Strength of the predator."""
    slice_volume: Real
    """Mean expected volume of a slice, shares: also the volume before the first slice."""


class SliceRow(NamedTuple):
    """The numbers of a market in one slice and one regime; fields have the names of the tables of :class:`Market`."""

    mean_volume: Real
    half_spread: Real
    step_volatility: Real
    step_drift: Real
    temporary_scale: Real
    transient_kept: Real
    risk: Real
    thresholds: Thresholds
    """Thresholds of the next regime."""


def must_finish(numbers: Numbers, k: Any) -> Any:
    """Return whether slice `k` has to trade what is left."""
    return (k == numbers.slices - 1) & numbers.spec.complete


@dataclass(frozen=True, eq=False)
class Market:
    """Everything about a scenario that is computed once.

    Tables have a row for each slice and one more for the end of the order, and a column for each regime and one more (the
    last, `unknown`) for an observer who is not told the regime: that column holds the mean over the law of the start.
    """

    scenario: Scenario
    impact: Impact
    regimes: int
    """Number of regimes M; also the column of the observer who does not know."""
    slices: int
    tau: float
    """Length of a slice, days."""
    numbers: Numbers
    start: Thresholds
    """Thresholds of the first regime."""
    thresholds: Thresholds
    """Thresholds of the next regime, each (M + 1,)."""
    mean_volume: Floats
    """Expected volume of the slice, shares, shape (N + 1, M + 1); zero in the last row."""
    rest_volume: Floats
    """Expected volume of the slice and of all later ones, shares, shape (N + 1, M + 1)."""
    plan: Floats
    """Share of the order that the schedule of the expected volume has left at the start of each slice, shape (N + 1,)."""
    volatility: Floats
    """sigma_m / sigma, shape (M + 1,)."""
    half_spread: Floats
    """Currency per share, shape (M + 1,)."""
    step_volatility: Floats
    """sigma_m sqrt(tau), fraction, shape (M,)."""
    step_drift: Floats
    """mu_m tau, fraction, shape (M,)."""
    temporary_scale: Floats
    """alpha_m sigma_m P0, currency per share, shape (M,)."""
    transient_kept: Floats
    """exp(-rho_m tau), shape (M,)."""
    risk: Floats
    """risk_aversion (sigma_m P0)^2 tau, currency per squared share, shape (M,)."""

    def __post_init__(self) -> None:
        """Lock the tables: policies are shown the market, and must not make it another one."""
        for array in self.arrays():
            array.flags.writeable = False

    def arrays(self) -> list[NDArray[Any]]:
        """Return all tables."""
        return [array for item in fields(self) for array in _arrays(getattr(self, item.name))] + _arrays(self.table)

    @cached_property
    def table(self) -> SliceRow:
        """The numbers of each slice and regime, one flat array for each field of :class:`SliceRow`, by :meth:`cell`."""
        shape = (self.slices + 1, self.regimes + 1)

        def flat(values: Floats) -> Floats:
            by_regime = np.append(values, values[-1:]) if values.shape == (self.regimes,) else values
            return np.ascontiguousarray(np.broadcast_to(by_regime, shape)).ravel()

        row: SliceRow = map_leaves(flat, SliceRow(*(getattr(self, name) for name in SliceRow._fields)))
        return row

    def row(self, k: Any, regime: Any) -> SliceRow:
        """Return the numbers of slice `k`, 0..N-1, in a regime: numbers, or arrays over episodes."""
        cell = self.cell(k, regime)
        row: SliceRow = map_leaves(lambda column: column.take(cell), self.table)
        return row

    @property
    def least(self) -> Floats:
        """Shares that must trade: zero, and infinity in the slice that has to finish the order, shape (N,)."""
        return np.where(must_finish(self.numbers, np.arange(self.slices)), math.inf, 0.0)

    @property
    def cap(self) -> Floats:
        """Participation cap of each slice, infinity where there is none, shape (N,)."""
        return np.where(must_finish(self.numbers, np.arange(self.slices)), math.inf, self.numbers.cap)

    def cell(self, k: Any, regime: Any) -> Any:
        """Return the flat index of a slice and a regime (or `unknown`) in the tables."""
        return k * (self.regimes + 1) + regime

    @property
    def unknown(self) -> int:
        """Column of the tables for an observer who is not told the regime."""
        return self.regimes


@lru_cache(maxsize=64)
def _compile(text: str, scenario_hash: str) -> Market:  # the text is the whole scenario; the hash only names it in tracebacks
    return _build(Scenario.from_toml(text))


def build_market(scenario: Scenario) -> Market:
    """Compute the tables of a scenario (kept for the last 64 scenarios)."""
    return _compile(scenario.to_toml(), scenario.hash)


def _build(scenario: Scenario) -> Market:
    regimes = scenario.regimes
    count, slices, tau = len(regimes), scenario.slices, scenario.tau
    price = scenario.arrival_price
    permanent = scenario.perm_impact_gamma * price / scenario.adv
    linear = scenario.transient_exponent == 1.0
    kyle = scenario.kyle_lambda * price / scenario.adv
    profile = np.array(scenario.profile()) * scenario.adv
    transition = regimes.transition(tau)
    law = regimes.start_law()

    scale = np.array(regimes.volume)
    mean_volume = np.zeros((slices + 1, count + 1))
    rest_volume = np.zeros((slices + 1, count + 1))
    laws = np.array(_powers(law, transition, slices))
    mean_volume[:slices, :count] = profile[:, None] * scale
    mean_volume[:slices, count] = profile * (laws @ scale)
    for k in range(slices - 1, -1, -1):
        rest_volume[k, :count] = mean_volume[k, :count] + transition @ rest_volume[k + 1, :count]
        rest_volume[k, count] = mean_volume[k, count] + rest_volume[k + 1, count]

    start = law if regimes.start == "stationary" else laws.mean(axis=0)
    multipliers = {name: np.array(getattr(regimes, name)) for name in ("volatility", "temporary", "resilience", "spread")}
    sigma = scenario.volatility * multipliers["volatility"]
    impact = Impact(
        permanent,
        (kyle - permanent) * (1.0 if linear else scenario.adv),
        scenario.temp_impact_beta,
        scenario.transient_exponent,
    )
    return Market(
        scenario=scenario,
        impact=impact,
        regimes=count,
        slices=slices,
        tau=tau,
        numbers=_numbers(scenario, impact, float(rest_volume[0, count]) / slices),
        start=_thresholds(thresholds(law)[:, 0]),
        thresholds=_thresholds(np.pad(thresholds(transition), ((0, 0), (0, 1)))),
        mean_volume=mean_volume,
        rest_volume=rest_volume,
        plan=rest_volume[:, count] / rest_volume[0, count],
        volatility=_with_mean(multipliers["volatility"], start),
        half_spread=_with_mean(multipliers["spread"] * scenario.half_spread_bps * 1e-4 * price, start),
        step_volatility=sigma * math.sqrt(tau),
        step_drift=np.array(regimes.drift) * tau,
        temporary_scale=scenario.temp_impact_alpha * multipliers["temporary"] * sigma * price,
        transient_kept=np.exp(-scenario.resilience * multipliers["resilience"] * tau),
        risk=scenario.risk_aversion * (sigma * price) ** 2 * tau,
    )


def _numbers(scenario: Scenario, impact: Impact, slice_volume: float) -> Numbers:
    """Return the numbers of a scenario that depend neither on the slice nor on the regime."""
    spec = MarketSpec(
        beta=float(impact.beta),
        transient_exponent=float(impact.transient_exponent),
        flow_persistence=scenario.flow_persistence,
        regimes=len(scenario.regimes),
        geometric=scenario.price_model == "gbm",
        drifting=any(scenario.regimes.drift),
        capped=scenario.max_participation is not None,
        price_risk=scenario.price_risk * scenario.tau != 0.0,
        noisy_volume=scenario.volume_noise != 0.0,
        hunted=scenario.predator != 0.0,
        complete=scenario.complete,
    )
    return Numbers(
        spec=spec,
        slices=scenario.slices,
        width=len(scenario.regimes) + 1,
        arrival_price=scenario.arrival_price,
        permanent_slope=float(impact.permanent_slope),
        transient_slope=float(impact.transient_slope),
        cap=math.inf if scenario.max_participation is None else scenario.max_participation,
        holding=scenario.price_risk * scenario.tau,
        by_flow=math.sqrt(scenario.flow_share),
        by_flow_noise=math.sqrt(scenario.flow_share * (1.0 - scenario.flow_persistence**2)),
        by_news=math.sqrt(1.0 - scenario.flow_share),
        flow_share=scenario.flow_share,
        volume_noise=scenario.volume_noise,
        predator=scenario.predator,
        slice_volume=slice_volume,
    )


def _thresholds(known: NDArray[np.uint64]) -> Thresholds:
    """Return thresholds of a market, one row each, filled up with thresholds that are never reached."""
    never = np.full(known.shape[1:], _NEVER)
    missing = len(Thresholds._fields) - len(known)
    return Thresholds(*(row.astype(np.int64) for row in known), *(never for _ in range(missing)))


def _arrays(value: Any) -> list[NDArray[Any]]:
    """Return a value as a list where it is an array, or of its fields where it is a record, else nothing."""
    if isinstance(value, np.ndarray):
        return [value]
    return [array for field in value for array in _arrays(field)] if isinstance(value, tuple) else []


def _powers(law: Floats, transition: Floats, slices: int) -> list[Floats]:
    """Return the law of the regime in each slice."""
    laws = [law]
    for _ in range(slices - 1):
        laws.append(laws[-1] @ transition)
    return laws


def _with_mean(values: Any, law: Floats) -> Floats:
    """Append the mean over a law of the regimes: what an observer who does not know would say."""
    return np.append(values, float(np.dot(values, law)))
