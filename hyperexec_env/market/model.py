"""A scenario in numbers: the slopes, tables and thresholds that the path and the kernel read."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Impact
from hyperexec_env.market.regime import thresholds
from hyperexec_env.market.scenario import Scenario

__all__ = ["Market", "build_market"]

Floats = NDArray[np.float64]


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
    start_thresholds: NDArray[np.uint64]
    """Cumulative start law as 32-bit integers, shape (M - 1, 1)."""
    next_thresholds: NDArray[np.uint64]
    """Cumulative transition law of one slice as 32-bit integers, shape (M - 1, M)."""
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
    holding: float
    """price_risk tau: the price of holding a unit of value over a slice."""
    least: Floats
    """Shares that must trade: zero, and infinity in the slice that has to finish the order, shape (N,)."""
    cap: Floats
    """Participation cap of each slice, infinity where there is none, shape (N,)."""

    by_flow: float
    """sqrt(flow_share): standard deviation of the price that order flow brings, in volatilities."""
    by_flow_noise: float
    """The same of the part of the flow that the flow before does not foretell."""
    by_news: float
    """sqrt(1 - flow_share)."""
    drifting: bool
    """Whether a regime has a drift."""
    capped: bool
    """Whether there is a participation cap."""
    hunted: bool
    """Whether a predator (or liquidity that comes to an order that is seen) watches our children."""

    @property
    def martingale(self) -> bool:
        """Whether the unaffected price has no predictable move at all."""
        return not self.drifting and not self.scenario.flow_persistence

    def __post_init__(self) -> None:
        """Lock the tables: policies are shown the market, and must not make it another one."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

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
    last = np.arange(slices) == slices - 1
    forced = last & scenario.complete
    cap = math.inf if scenario.max_participation is None else scenario.max_participation
    return Market(
        scenario=scenario,
        impact=Impact(
            permanent,
            (kyle - permanent) * (1.0 if linear else scenario.adv),
            scenario.temp_impact_beta,
            scenario.transient_exponent,
        ),
        regimes=count,
        slices=slices,
        tau=tau,
        start_thresholds=thresholds(law),
        next_thresholds=thresholds(transition),
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
        holding=scenario.price_risk * tau,
        least=np.where(forced, math.inf, 0.0),
        cap=np.where(forced, math.inf, cap),
        by_flow=math.sqrt(scenario.flow_share),
        by_flow_noise=math.sqrt(scenario.flow_share * (1.0 - scenario.flow_persistence**2)),
        by_news=math.sqrt(1.0 - scenario.flow_share),
        drifting=any(regimes.drift),
        capped=scenario.max_participation is not None,
        hunted=scenario.predator != 0.0,
    )


def _powers(law: Floats, transition: Floats, slices: int) -> list[Floats]:
    """Return the law of the regime in each slice."""
    laws = [law]
    for _ in range(slices - 1):
        laws.append(laws[-1] @ transition)
    return laws


def _with_mean(values: Any, law: Floats) -> Floats:
    """Append the mean over a law of the regimes: what an observer who does not know would say."""
    return np.append(values, float(np.dot(values, law)))
