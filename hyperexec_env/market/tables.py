"""The numbers of a scenario: slopes, tables by slice and regime, and transition thresholds, computed once per scenario."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Impact
from hyperexec_env.market.regime import REGIME_NAMES, thresholds
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.records import Constant, Real, Whole, map_leaves, numbered

if TYPE_CHECKING:
    from hyperexec_env.market.days import Days

__all__ = ["Market", "MarketSpec", "Numbers", "SliceRow", "Thresholds", "build_market", "market_of", "must_finish"]

Floats = NDArray[np.float64]

Thresholds: Any = numbered("Thresholds", len(REGIME_NAMES) - 1, Whole)
"""Cumulative distribution of the regime as 32-bit integers, one per regime but the last: the regime of a draw is the number of
thresholds that it reaches."""
_NEVER: Final = 2**40
"""Threshold that no 32-bit draw reaches; it fills the record of a market with fewer than six regimes."""


class MarketSpec(NamedTuple):
    """The numbers of a market that select code: compiled loops are specialised on them, so they are constants in a loop."""

    beta: Constant
    """Exponent of the temporary impact."""
    transient_exponent: Constant
    """Exponent of the transient impact; 1 is linear."""
    flow_persistence: Constant
    """AR(1) coefficient phi of the order flow, per slice."""
    volume_persistence: Constant
    """AR(1) coefficient of the log volume around its expectation, per slice; 0 without volume noise."""
    regimes: Constant
    """Number of regimes M."""
    geometric: Constant
    """Whether the unaffected price is a geometric Brownian motion; if not, it is arithmetic."""
    drifting: Constant
    """Whether any regime has a drift."""
    capped: Constant
    """Whether the scenario has a participation cap."""
    price_risk: Constant
    """Whether the scenario charges price_risk S_k tau on each remaining share."""
    noisy_volume: Constant
    """Whether the volume of a slice has noise of its own."""
    varying_level: Constant
    """Whether each episode draws a level of its volume."""
    unknown_drift: Constant
    """Whether each episode draws a drift."""
    unknown_slope: Constant
    """Whether each episode draws its temporary impact."""
    unknown_kyle: Constant
    """Whether each episode draws Kyle's lambda of the order flow."""
    hunted: Constant
    """Whether the strength of the predator is not zero (:mod:`hyperexec_env.market.predator`)."""
    complete: Constant
    """Whether the last slice trades all remaining shares."""


class Numbers(NamedTuple):
    """The numbers of a market that depend neither on the slice nor on the regime."""

    spec: MarketSpec
    slices: Whole
    """Number of slices N."""
    width: Whole
    """Columns of a table: M + 1."""
    arrival_price: Real
    """P0, currency per share."""
    permanent_slope: Real
    """g, currency per share for each share traded."""
    transient_slope: Real
    """kappa, currency per share for each share traded (see :class:`~hyperexec_env.market.kernel.Impact`)."""
    cap: Real
    """Participation cap, fraction of the market volume; infinity without a cap."""
    holding: Real
    """price_risk tau: charge for each unit of remaining value per slice, fraction."""
    by_flow: Real
    """sqrt(flow_share): loading of the return of a slice on its order flow, in step volatilities."""
    by_flow_noise: Real
    """sqrt(flow_share (1 - flow_persistence^2)): loading on the innovation of the order flow, in step volatilities."""
    by_news: Real
    """sqrt(1 - flow_share): loading on the news, in step volatilities."""
    flow_share: Real
    """Share of the price variance that order flow explains, fraction."""
    volume_noise: Real
    """Standard deviation of the log of the volume shock."""
    volume_level_sd: Real
    """Standard deviation of the log of the volume level."""
    drift_sd: Real
    """Standard deviation of the drift of an episode, fraction of the arrival price a day."""
    tau: Real
    """Length of a slice, days."""
    temp_impact_sd: Real
    """Distance of the two possible temporary impacts from their mean, fraction of the mean."""
    kyle_sd: Real
    """Standard deviation of Kyle's lambda of an episode, fraction of that of the scenario."""
    predator: Real
    """Strength of the predator: fraction of the expected child that it trades ahead."""
    slice_volume: Real
    """Mean expected volume of a slice, shares; also used as the volume of the slice before the first."""


class SliceRow(NamedTuple):
    """The numbers of a market in one slice and one regime; units are those of the table of the same name in :class:`Market`."""

    mean_volume: Real
    half_spread: Real
    step_volatility: Real
    step_drift: Real
    temporary_scale: Real
    transient_decay: Real
    risk: Real
    thresholds: Thresholds
    """Thresholds of the regime of the next slice."""


def must_finish(numbers: Numbers, k: Any) -> Any:
    """Return whether slice `k` must trade all remaining shares."""
    return (k == numbers.slices - 1) & numbers.spec.complete


@dataclass(frozen=True, eq=False)
class Market:
    """The numbers of a scenario, computed once by :func:`build_market`.

    Tables have a row for each slice and a last row for the end of the order; they have a column for each regime and a last
    column, `unknown`, for a policy that does not observe the regime. For volumes that column holds the mean over the
    distribution of the regime in each slice; for volatility and spread, the mean over the stationary distribution (where the
    scenario names the first regime: over the average distribution of the slices). Tables of shape (M,) have no such column,
    and tables of shape (N, M) neither that column nor a last row.
    """

    scenario: Scenario
    impact: Impact
    regimes: int
    """Number of regimes M."""
    slices: int
    """Number of slices N."""
    tau: float
    """Length of a slice, days."""
    numbers: Numbers
    start: Thresholds
    """Thresholds of the regime of the first slice."""
    thresholds: Thresholds
    """Thresholds of the regime of the next slice, each of shape (M + 1,), by the present regime."""
    mean_volume: Floats
    """Expected volume of the slice, shares, shape (N + 1, M + 1); zero in the last row."""
    rest_volume: Floats
    """Expected volume of the slice and of all later slices, shares, shape (N + 1, M + 1)."""
    plan: Floats
    """Remaining fraction of the order in the expected-volume (VWAP) schedule at the start of each slice, shape (N + 1,)."""
    volatility: Floats
    """sigma_m / sigma, shape (M + 1,)."""
    half_spread: Floats
    """Half of the quoted spread, currency per share, shape (M + 1,)."""
    volatility_profile: Floats
    """c_k, volatility of each slice over that of the day (:meth:`Scenario.volatility_profile`), shape (N,)."""
    step_volatility: Floats
    """sigma_m c_k sqrt(tau), fraction, shape (N, M)."""
    step_drift: Floats
    """mu_m tau, fraction, shape (M,)."""
    temporary_scale: Floats
    """alpha_m sigma_m P0 with the daily volatility sigma_m (Almgren et al. 2005), currency per share, shape (M,)."""
    transient_decay: Floats
    """exp(-rho_m tau), decay of the transient displacement over a slice, shape (M,)."""
    risk: Floats
    """risk_aversion (sigma_m c_k P0)^2 tau, currency per squared share, shape (N, M)."""
    days: Days | None = None
    """Recorded days, of which each episode is one (:func:`~hyperexec_env.market.days.with_days`); None: noise."""

    def __post_init__(self) -> None:
        """Make the tables read-only: policies receive the market and must not change it."""
        for array in self.arrays():
            array.flags.writeable = False

    def __reduce__(self) -> Any:
        """Pickle a market of :func:`build_market` by its scenario, so that policies of the market recognise it afterwards."""
        if self is build_market(self.scenario):
            return build_market, (self.scenario,)
        return super().__reduce__()

    def arrays(self) -> list[NDArray[Any]]:
        """Return all tables."""
        own = [array for item in fields(self) for array in _arrays(getattr(self, item.name))]
        return [*own, *_arrays(self.table), self.limits]

    @cached_property
    def table(self) -> SliceRow:
        """The numbers of all slices and regimes: one array of shape ((N + 1)(M + 1),) for each field, indexed by :meth:`cell`.

        Fields of shape (M,) or (N, M) repeat the last regime in the column `unknown`, and the last slice in the row of the end,
        as padding.
        """
        shape = (self.slices + 1, self.regimes + 1)

        def flat(values: Floats) -> Floats:
            missing = [(0, wanted - have) for wanted, have in zip(shape[-values.ndim :], values.shape, strict=True)]
            return np.ascontiguousarray(np.broadcast_to(np.pad(values, missing, mode="edge"), shape)).ravel()

        row: SliceRow = map_leaves(flat, SliceRow(*(getattr(self, name) for name in SliceRow._fields)))
        return row

    @cached_property
    def limits(self) -> NDArray[np.int64]:
        """The thresholds of all regimes in one array of shape (thresholds, M + 1)."""
        return np.stack(self.thresholds)

    def row(self, k: Any, regime: Any) -> SliceRow:
        """Return the numbers of slice `k`, 0..N-1, in a regime; `k` and `regime` may be arrays."""
        cell = self.cell(k, regime)
        row: SliceRow = map_leaves(lambda column: column.take(cell), self.table)
        return row

    @cached_property
    def laws(self) -> Floats:
        """Distribution of the regime in each slice, shape (N, M)."""
        regimes = self.scenario.regimes
        return np.array(_laws(regimes.start_law(), regimes.transition(self.tau), self.slices))

    @property
    def least(self) -> Floats:
        """Shares that must trade in each slice: zero, or infinity in the slice that must complete the order, shape (N,)."""
        return np.where(must_finish(self.numbers, np.arange(self.slices)), math.inf, 0.0)

    @property
    def cap(self) -> Floats:
        """Participation cap of each slice, fraction; infinity where no cap applies, shape (N,)."""
        return np.where(must_finish(self.numbers, np.arange(self.slices)), math.inf, self.numbers.cap)

    def cell(self, k: Any, regime: Any) -> Any:
        """Return the index of a slice and a regime (or `unknown`) in the flat arrays of :attr:`table`."""
        return k * (self.regimes + 1) + regime

    @property
    def unknown(self) -> int:
        """Column of the tables for a policy that does not observe the regime: M."""
        return self.regimes


@lru_cache(maxsize=64)
def _compile(text: str, scenario_hash: str) -> Market:  # the text is the key; the hash names the scenario in tracebacks
    return market_of(Scenario.from_toml(text))


def build_market(scenario: Scenario) -> Market:
    """Return the market of a scenario; the markets of the last 64 scenarios are cached."""
    return _compile(scenario.text, scenario.hash)


def market_of(scenario: Scenario) -> Market:
    """Compute the market of a scenario; :func:`build_market` keeps the last markets."""
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
    laws = np.array(_laws(law, transition, slices))
    mean_volume[:slices, :count] = profile[:, None] * scale
    mean_volume[:slices, count] = profile * (laws @ scale)
    for k in range(slices - 1, -1, -1):
        rest_volume[k, :count] = mean_volume[k, :count] + transition @ rest_volume[k + 1, :count]
        rest_volume[k, count] = mean_volume[k, count] + rest_volume[k + 1, count]

    start = law if regimes.start == "stationary" else laws.mean(axis=0)
    multipliers = {name: np.array(getattr(regimes, name)) for name in ("volatility", "temporary", "resilience", "spread")}
    sigma, curve = scenario.volatility * multipliers["volatility"], np.array(scenario.volatility_profile())
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
        volatility_profile=curve,
        step_volatility=sigma * math.sqrt(tau) * curve[:, None],
        step_drift=np.array(regimes.drift) * tau,
        temporary_scale=scenario.temp_impact_alpha * multipliers["temporary"] * sigma * price,
        transient_decay=np.exp(-scenario.resilience * multipliers["resilience"] * tau),
        risk=scenario.risk_aversion * (sigma * price * curve[:, None]) ** 2 * tau,
    )


def _numbers(scenario: Scenario, impact: Impact, slice_volume: float) -> Numbers:
    """Return the numbers of a scenario that depend neither on the slice nor on the regime."""
    spec = MarketSpec(
        beta=float(impact.beta),
        transient_exponent=float(impact.transient_exponent),
        flow_persistence=scenario.flow_persistence,
        volume_persistence=scenario.volume_persistence if scenario.volume_noise else 0.0,
        regimes=len(scenario.regimes),
        geometric=scenario.price_model == "gbm",
        drifting=any(scenario.regimes.drift),
        capped=scenario.max_participation is not None,
        price_risk=scenario.price_risk * scenario.tau != 0.0,
        noisy_volume=scenario.volume_noise != 0.0,
        varying_level=scenario.volume_level_sd != 0.0,
        unknown_drift=scenario.drift_sd != 0.0,
        unknown_slope=scenario.temp_impact_sd != 0.0,
        unknown_kyle=scenario.kyle_sd != 0.0,
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
        volume_noise=scenario.volume_noise * math.sqrt(1.0 - scenario.volume_persistence**2),
        volume_level_sd=scenario.volume_level_sd,
        drift_sd=scenario.drift_sd,
        tau=scenario.tau,
        temp_impact_sd=scenario.temp_impact_sd,
        kyle_sd=scenario.kyle_sd,
        predator=scenario.predator,
        slice_volume=slice_volume,
    )


def _thresholds(known: NDArray[np.uint64]) -> Thresholds:
    """Return the record of thresholds whose first fields are the rows of `known`; draws never reach the others."""
    never = np.full(known.shape[1:], _NEVER)
    missing = len(Thresholds._fields) - len(known)
    return Thresholds(*(row.astype(np.int64) for row in known), *(never for _ in range(missing)))


def _arrays(value: Any) -> list[NDArray[Any]]:
    """Return the arrays within a value: the value itself, or the arrays among the fields of a record."""
    if isinstance(value, np.ndarray):
        return [value]
    return [array for field in value for array in _arrays(field)] if isinstance(value, tuple) else []


def _laws(law: Floats, transition: Floats, slices: int) -> list[Floats]:
    """Return the distribution of the regime in each slice, N arrays of shape (M,): `law` times powers of `transition`."""
    laws = [law]
    for _ in range(slices - 1):
        laws.append(laws[-1] @ transition)
    return laws


def _with_mean(values: Any, law: Floats) -> Floats:
    """Return the values by regime with their mean under a distribution appended, shape (M + 1,): the column `unknown`."""
    return np.append(values, float(np.dot(values, law)))
