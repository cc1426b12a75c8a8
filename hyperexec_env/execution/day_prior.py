"""The prior of a day: expected volume, volatility and regimes of each bin, and the volume from a bin to the close."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market import belief
from hyperexec_env.market.belief import Normal, VolumeBelief
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import build_market

__all__ = ["DayPrior", "day_prior", "lognormal_interval"]

Floats = NDArray[np.float64]


def lognormal_interval(law: Normal) -> tuple[float, float, float]:
    """Return lower end, mean and upper end of a number whose log has a normal law; the interval is one of 90 %."""
    low, high = belief.interval(law)
    return math.exp(low), math.exp(law.mean + 0.5 * law.variance), math.exp(high)


class DayPrior:
    """The tables of a scenario over a whole day of bins, M regimes."""

    def __init__(self, scenario: Scenario, bins: int) -> None:
        whole = {"start_minute": 0.0, "horizon_minutes": scenario.day_minutes, "slices": bins}
        market = build_market(replace(scenario, **whole, posterior=None))  # type: ignore[arg-type]
        regimes = scenario.regimes
        self.bins, self.mean_volume = bins, market.mean_volume[:-1, :-1]
        self.unconditional = market.mean_volume[:-1, -1]
        self.cumulative = np.concatenate([[0.0], np.cumsum(self.unconditional)])
        self.step_variance, self.step_drift = market.step_volatility**2, market.step_drift
        self.transition, self.law = regimes.transition(scenario.tau), regimes.start_law()
        self.decay = market.transient_decay
        self.spread = np.array(regimes.spread)
        half = 1e-4 * scenario.half_spread_bps * self.spread
        self.log_spread = np.log(half) if (half > 0.0).all() else None
        self.temporary = scenario.volatility * np.array(regimes.temporary) * np.array(regimes.volatility)
        self.noise_variance, level = scenario.volume_noise**2, scenario.volume_level_sd**2
        self.persistence = scenario.volume_persistence
        self.log_variance = level + self.noise_variance
        self.volume = belief.start_volume(level, self.noise_variance)

    @cached_property
    def powers(self) -> Floats:
        """Transition matrices over 0, 1, ... bins, shape (bins, M, M)."""
        found = [np.eye(len(self.law))]
        for _ in range(self.bins - 1):
            found.append(found[-1] @ self.transition)
        return np.stack(found)

    @cached_property
    def moments(self) -> tuple[Floats, Floats]:
        """First and second moment of the volume from each bin to the close at a level of one, by its regime: (bins + 1, M).

        Persistent noise counts as independent noise of the variance that its sum has over a long day.
        """
        mean, square = np.zeros((2, self.bins + 1, len(self.law)))
        memory = (1.0 + self.persistence) / (1.0 - self.persistence)
        again = 1.0 + math.expm1(self.noise_variance) * memory
        for k in range(self.bins - 1, -1, -1):
            now, later = self.mean_volume[k], self.transition @ mean[k + 1]
            mean[k] = now + later
            square[k] = now * now * again + 2.0 * now * later + self.transition @ square[k + 1]
        return mean, square

    @cached_property
    def day(self) -> tuple[float, float, float]:
        """Lower end, mean and upper end of the volume of the day before any evidence."""
        return self.rest(0, self.volume, self.law)

    def law_at(self, row: int) -> Floats:
        """Return the probabilities of the regimes in a bin before any evidence."""
        return np.asarray(self.law @ self.powers[min(row, self.bins - 1)])

    def rest_of_regimes(self, row: int, chances: Floats) -> tuple[float, float]:
        """Return the variance of the price and the scale of temporary impact, each the sum over the bins from a bin on."""
        law = np.einsum("m,hmk->hk", chances, self.powers[: self.bins - row])
        return float((law * self.step_variance[row:]).sum()), float((law @ self.temporary).sum())

    def forecast(self, row: int, now: VolumeBelief, chances: Floats) -> Floats:
        """Return the expected volume of each bin from a bin on."""
        ahead = self.bins - row
        by_regime = np.einsum("m,hmk,hk->h", chances, self.powers[:ahead], self.mean_volume[row:])
        decay = self.persistence ** np.arange(ahead) if self.persistence else np.eye(1, ahead)[0]
        law = belief.volume_after(now, decay, self.noise_variance)
        return np.asarray(by_regime * np.exp(law.mean + 0.5 * (law.variance - self.log_variance)))

    def rest(self, row: int, now: VolumeBelief, chances: Floats) -> tuple[float, float, float]:
        """Return lower end, mean and upper end of the volume from a bin to the close, a lognormal of the same two moments."""
        mean = float(self.forecast(row, now, chances).sum()) if row < self.bins else 0.0
        if not mean > 0.0:
            return 0.0, 0.0, 0.0
        first, second = (float(chances @ table[row]) for table in self.moments)
        variance = math.log(max(second / first**2, 1.0)) + now.level_variance
        return lognormal_interval(Normal(math.log(mean) - 0.5 * variance, variance))


@lru_cache(maxsize=64)
def day_prior(scenario: Scenario, bins: int) -> DayPrior:
    """Return the tables of a scenario over a day of bins; those of the last 64 are kept."""
    return DayPrior(scenario, bins)
