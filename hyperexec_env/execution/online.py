r"""What a desk learns of its market while it trades: volume of the day, Kyle's lambda, slope of its slippage, and the regime.

The prior is a scenario, with the draws of its posterior where it has some. The day is cut into bins as long as a slice of the
scenario; at the end of each bin the filters of :mod:`hyperexec_env.market.belief` take its evidence:

* the market's volume, on the level of the day and, where the scenario has several regimes, on the regime;
* the move of the mid less our own displacement, and the spread, on the regime;
* that move against the net shares of the others, on lambda;
* the slippage of our own fills from the mid just before each, less half-spread and half of the fill's own linear move, against
  our share of the bin's volume, on alpha. Its error is the price noise within the bin: sigma sqrt(tau / fills).

Each filter is exact for its own evidence. Where the regime is hidden, the volume level is the normal with the moments of the
mixture over regimes, and the error of a regression is the mean variance over regimes. The belief about lambda corrects no
earlier evidence: our own displacement is that of the prior.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, shown
from hyperexec_env.execution import schedules
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.day_prior import day_prior, lognormal_interval
from hyperexec_env.execution.estimates import LearnedCost, MarketImpactEstimate, estimate_impact
from hyperexec_env.execution.quotes import Quote, check_quote, check_time
from hyperexec_env.market import belief
from hyperexec_env.market.belief import Normal, VolumeBelief
from hyperexec_env.market.prior import impact_prior
from hyperexec_env.market.scenario import ScenarioLike, get_scenario
from hyperexec_env.orders import ParentOrder

__all__ = ["Estimate", "Learned", "OnlineEstimates"]

Floats = NDArray[np.float64]

_WHOLE: Final = 1.0 - 1e-6
"""Share of a bin that evidence must cover."""
_MOST_BINS: Final = 10_000
_LEAST_ALPHA: Final = 0.05
"""Smallest alpha that a plan uses, over that of the prior."""
_LEAST_VOLUME: Final = 1e-6
"""Smallest volume of an order's window that a plan uses, shares."""


class Estimate(NamedTuple):
    """One number that the desk learns."""

    name: str
    unit: str
    prior: float
    """Mean before any evidence."""
    prior_low: float
    """Lower end of the 90 % interval before any evidence."""
    prior_high: float
    mean: float
    low: float
    """Lower end of the 90 % interval."""
    high: float
    evidence: int
    """Number of bins whose evidence the estimate holds."""

    @property
    def text(self) -> str:
        """The estimate in one line."""
        prior = f"prior {self.prior:.4g} [{self.prior_low:.4g}, {self.prior_high:.4g}]"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}] {self.unit}; {prior}; {self.evidence} bins"


class Learned(NamedTuple):
    """What was learned by some time, for a report."""

    values: dict[str, Any]
    """Result of :meth:`OnlineEstimates.to_dict`."""
    text: str


class _Bin:
    """Evidence of a bin that has not ended."""

    __slots__ = (
        *("fills", "flow_seconds", "mid", "own", "shares", "signed", "slipped", "spread", "spread_seconds", "traded", "volume"),
        "volume_seconds",
    )

    def __init__(self, mid: float | None) -> None:
        self.mid = mid  # at the start of the bin
        self.volume = self.volume_seconds = self.signed = self.flow_seconds = self.spread = self.spread_seconds = 0.0
        self.own = self.traded = 0.0  # own shares, bought less sold and in all
        self.shares = self.slipped = 0.0  # own shares whose slippage is known, and the sum of their slippage, currency
        self.fills = 0


class OnlineEstimates:
    """Estimates of one instrument over one day, updated at the end of each bin; ``print`` shows them.

    Pass them to an agent, ``ExecutionAgent(config, estimates={"XYZ": OnlineEstimates("regime-day", start=...)})``, which feeds
    them quotes, fills and regimes, or call :meth:`observe`, :meth:`fill` and :meth:`tell` yourself. Without a `volume_level_sd`
    in the scenario the volume of the day is known but for regime and noise, and there is no level to learn.

    Args:
        scenario: The prior: a name, a dict, a file or a scenario. Its order gives the length of the bins (one slice).
        start: Open of the market, seconds on the agent's clock.
        day_seconds: Length of the trading day, seconds on the agent's clock.
        impact_sd: Standard deviation of lambda and of alpha over their mean; None: that of the scenario's draws, 0.5 without.
        spread_noise: Standard deviation of the log of a quoted spread around that of its regime; None: spreads are no evidence.

    Raises:
        ValueError: A value is out of range, or a bin of the day has no volume in the scenario.
    """

    def __init__(
        self,
        scenario: ScenarioLike,
        *,
        start: float = 0.0,
        day_seconds: float = 23_400.0,
        impact_sd: float | None = None,
        spread_noise: float | None = None,
    ) -> None:
        """Take the prior."""
        self.scenario = chosen = get_scenario(scenario)
        self.start = check_number("start", start, low=-1e15, high=1e15, unit="seconds")
        self.day_seconds = check_number("day_seconds", day_seconds, low=0.0, high=1e9, open_low=True, unit="seconds")
        bins = max(1, round(1.0 / chosen.tau))
        if bins > _MOST_BINS:
            raise ValueError(f"a day must have at most {_MOST_BINS:,} slices of the scenario, got {bins:,}")
        self.bins, self.bin_seconds = bins, self.day_seconds / bins
        if spread_noise is not None:
            spread_noise = check_number("spread_noise", spread_noise, low=0.0, high=10.0, open_low=True)
        self._prior = day_prior(chosen, bins)
        self._spread_noise = spread_noise
        found = impact_prior(chosen, ("lambda", "alpha"), impact_sd)
        self.source = found.source
        self.prior_kyle, self.prior_alpha = (
            Normal(float(mean), float(variance)) for mean, variance in zip(found.mean, np.diag(found.covariance), strict=True)
        )
        self.kyle, self.alpha = self.prior_kyle, self.prior_alpha
        self.volume = self._prior.volume
        self.probabilities: Floats = self._prior.law
        self.bin = 0
        """Bins that have ended."""
        self.seen = {"volume": 0, "lambda": 0, "alpha": 0, "regime": 0}
        self.volumes: list[float] = []
        """Market volume of each bin that has ended, shares; nan where it is not known."""
        self._told: int | None = None
        self._last: float | None = None  # time of the last quote, seconds after the open
        self._mid: float | None = None
        self._first_mid: float | None = None
        self._open = _Bin(None)
        self._permanent = self._transient = 0.0  # own displacement of the mid, fraction
        self._curve: Floats | None = None  # see `_forecast`
        self._ratios = 1.0, 1.0  # see `ratios`
        self._forecast()

    # --- evidence

    def observe(
        self,
        now: float,
        mid: float | None = None,
        volume: float | None = None,
        signed_volume: float | None = None,
        spread: float | None = None,
    ) -> int:
        """Take a quote; return the number of bins that ended.

        A number since the last quote counts for each bin in proportion to time. A bin is evidence only if such numbers cover
        all of it, from quotes that are at most one bin apart.

        Args:
            now: Time on the agent's clock, seconds.
            mid: Midpoint, currency per share.
            volume: Market volume of the others since the last quote, shares.
            signed_volume: Shares that they bought less those that they sold, as aggressors, since the last quote.
            spread: Quoted spread, ask less bid, currency per share.

        Raises:
            ValueError: A number is out of range.
        """
        clock = check_time(now) - self.start
        check_quote("the quote", Quote(mid, None, volume, signed_volume, spread))
        last, width = self._last, self.bin_seconds
        if last is not None and clock < last:
            return 0
        if last is None:
            last = clock
            self.bin, self._first_mid = self._skip_to(clock), mid
            self._open = _Bin(mid if abs(clock - self.bin * width) <= 1e-6 * width else None)
        gap, ended = clock - last, 0
        known = 0.0 < gap <= width * (2.0 - _WHOLE)
        while self.bin < self.bins and clock >= (self.bin + 1) * width - 1e-9 * width:
            edge = (self.bin + 1) * width
            if known:
                self._add((edge - max(last, self.bin * width)) / gap, gap, volume, signed_volume, spread)
            before = self._mid if known else None  # a mid from before a hole is no mid of this time
            self._end_bin(mid if mid is not None and clock <= edge + 1e-6 * width else before)
            ended += 1
        if known and 0 <= self.bin < self.bins:
            self._add(max(clock - max(last, self.bin * width), 0.0) / gap, gap, volume, signed_volume, spread)
        self._last = clock
        if mid is not None:
            self._mid = mid
            self._first_mid = self._first_mid or mid
        return ended

    def _skip_to(self, clock: float) -> int:
        """Return the bin of a time; the bins before it have no evidence, but their regimes moved on."""
        skipped = min(max(int(clock / self.bin_seconds + 1e-9), 0), self.bins)
        for _ in range(skipped):
            self.volumes.append(math.nan)
            self.probabilities = belief.move_regimes(self.probabilities, self._prior.transition)
        return skipped

    def _add(self, part: float, gap: float, volume: float | None, signed: float | None, spread: float | None) -> None:
        """Add a part of what happened between two quotes to the open bin."""
        here, seconds = self._open, part * gap
        if volume is not None:
            here.volume += part * volume
            here.volume_seconds += seconds
        if signed is not None:
            here.signed += part * signed
            here.flow_seconds += seconds
        if spread is not None:
            here.spread += seconds * spread
            here.spread_seconds += seconds

    def fill(self, side: int, shares: float, price: float, mid: float | None = None) -> None:
        """Take an own fill; without the mid just before it, the fill is no evidence on alpha.

        Args:
            side: +1 buy, -1 sell.
            shares: Shares, positive.
            price: Price, currency per share.
            mid: Midpoint just before, currency per share.

        Raises:
            ValueError: A number is out of range.
        """
        if side not in (1, -1):
            raise ValueError(f"side must be 1 or -1, got {shown(side)}")
        check_number("shares", shares, low=0.0, high=1e15, open_low=True)
        for name, value in (("price", price), ("mid", mid)):
            if value is not None:
                check_number(name, value, low=0.0, high=1e9, open_low=True)
        here = self._open
        here.own += side * shares
        here.traded += shares
        if mid is not None and self._first_mid:
            own_half = 0.5 * self.kyle.mean / self.scenario.adv * shares * self._first_mid
            here.shares += shares
            here.slipped += shares * (side * (price - mid) - own_half)
            here.fills += 1

    def tell(self, regime: str | None) -> None:
        """Take the regime of the open bin; a regime that the scenario does not have counts as hidden."""
        names = self.scenario.regimes.names
        if regime not in names:
            return
        self._told = names.index(regime)
        if self.probabilities[self._told] != 1.0:
            self.probabilities, self._curve = np.eye(len(names))[self._told], None

    def _end_bin(self, mid: float | None) -> None:
        """Update all beliefs by the evidence of the open bin, and open the next one."""
        here, prior, scenario, row = self._open, self._prior, self.scenario, self.bin
        whole = _WHOLE * self.bin_seconds
        variances = prior.step_variance[row]
        moved = self._move(mid)
        likelihoods = np.zeros(len(self.probabilities))
        ratios: Any = None
        if here.volume_seconds >= whole and here.volume > 0.0:
            ratios = belief.log_volume_ratio(here.volume, prior.mean_volume[row], prior.log_variance)
            if self.volume.variance > 0.0:
                likelihoods = likelihoods + belief.log_likelihood(ratios, self.volume.mean, self.volume.variance)
        if moved is not None and (variances > 0.0).all():
            likelihoods = likelihoods + belief.log_likelihood(moved, prior.step_drift, variances)
        if (
            self._spread_noise is not None
            and here.spread_seconds >= whole
            and here.spread > 0.0
            and prior.log_spread is not None
        ):
            half = math.log(0.5 * here.spread / here.spread_seconds / (self._first_mid or scenario.arrival_price))
            likelihoods = likelihoods + belief.log_likelihood(half, prior.log_spread, self._spread_noise**2)
        if self._told is None and likelihoods.any():
            self.probabilities = belief.weigh_regimes(self.probabilities, likelihoods)
            self.seen["regime"] += 1
        chances = self.probabilities
        if ratios is not None:
            ratio = float(chances @ ratios)
            self.volume = belief.learn_volume(self.volume, ratio, float(chances @ (ratios - ratio) ** 2))
            self.seen["volume"] += 1
        if moved is not None and here.flow_seconds >= whole and here.signed != 0.0:
            noise = float(chances @ variances) * (1.0 - scenario.flow_share)
            news = moved - float(chances @ prior.step_drift)
            if noise > 0.0:
                self.kyle = belief.learn(self.kyle, news, noise, here.signed / scenario.adv)
                self.seen["lambda"] += 1
        if ratios is not None and here.fills:
            self._learn_alpha(here, chances)
        self.volumes.append(here.volume if here.volume_seconds >= whole else math.nan)
        self.volume = belief.next_volume(self.volume, prior.persistence, prior.noise_variance)
        self.probabilities = belief.move_regimes(self.probabilities, prior.transition)
        self.bin, self._told = self.bin + 1, None
        self._open, self._curve = _Bin(mid), None

    def _move(self, mid: float | None) -> float | None:
        """Return the unaffected return of the open bin; None if a mid is not known. Follow our own displacement."""
        scenario, own = self.scenario, self._open.own / self.scenario.adv
        before = self._permanent + self._transient
        self._permanent += scenario.perm_impact_gamma * own
        slope = (scenario.kyle_lambda - scenario.perm_impact_gamma) * own
        self._transient = (self._transient + slope) * float(self.probabilities @ self._prior.decay)
        if mid is None or self._open.mid is None or not self._first_mid:
            return None
        return (mid - self._open.mid) / self._first_mid - (self._permanent + self._transient - before)

    def _learn_alpha(self, here: _Bin, chances: Floats) -> None:
        """Update alpha by the mean slippage of the fills of a bin."""
        scenario, prior = self.scenario, self._prior
        slope = float(chances @ prior.temporary) * (here.traded / here.volume) ** scenario.temp_impact_beta
        half = 1e-4 * scenario.half_spread_bps * float(chances @ prior.spread)
        if here.spread_seconds >= _WHOLE * self.bin_seconds and self._first_mid:
            half = 0.5 * here.spread / here.spread_seconds / self._first_mid
        slippage = here.slipped / here.shares / (self._first_mid or scenario.arrival_price) - half
        noise = float(chances @ prior.step_variance[self.bin]) / here.fills
        if noise > 0.0:
            self.alpha = belief.learn(self.alpha, slippage, noise, slope)
            self.seen["alpha"] += 1

    # --- forecasts

    @property
    def regime(self) -> str:
        """The most likely regime of the present bin; the one that was told, if one was."""
        return self.scenario.regimes.names[int(self.probabilities.argmax())]

    def volumes_between(self, edges: Any) -> Floats:
        """Return the expected market volume between consecutive times on the agent's clock, shares; 0 outside of the day."""
        curve, times = self._forecast(), np.array([check_time(each) for each in edges])
        at = (times - self.start) / self.bin_seconds
        return np.diff(np.interp(at, np.arange(self.bins + 1), curve))

    def volume_rate(self, now: float) -> float:
        """Return the expected market volume at a time, shares a second; 0 outside of the day."""
        at = int((check_time(now) - self.start) // self.bin_seconds)
        curve = self._forecast()
        return float(curve[at + 1] - curve[at]) / self.bin_seconds if 0 <= at < self.bins else 0.0

    def _forecast(self) -> Floats:
        """Return the cumulative volume at the edges of all bins: seen before the open bin, expected from there on.

        Curve and :attr:`ratios` are computed once a bin.
        """
        if self._curve is None:
            expected = self._prior.forecast(self.bin, self.volume, self.probabilities)
            before = np.array(self.volumes, dtype=float)
            before = np.where(np.isnan(before), self._prior.unconditional[: self.bin], before)
            self._curve = np.concatenate([[0.0], np.cumsum(np.concatenate([before, expected]))])
            self._ratios = self._ratios_after(float(self._curve[-1] - self._curve[self.bin]))
        return self._curve

    @property
    def ratios(self) -> tuple[float, float]:
        """Risk and slope of the temporary impact in the rest of the day over those of the prior: 1 without evidence."""
        self._forecast()
        return self._ratios

    def _ratios_after(self, now: float) -> tuple[float, float]:
        """Return :attr:`ratios` given the expected volume of the rest of the day.

        With v the variance of the log volume, E[V^-beta] = E[V]^-beta exp(beta (beta + 1) v / 2): a random volume costs more
        than a known one. A learned alpha counts as at least a twentieth of the prior's.
        """
        prior, beta, row = self._prior, self.scenario.temp_impact_beta, self.bin
        before = float(prior.cumulative[-1] - prior.cumulative[row])
        if not (before > 0.0 and now > 0.0 and self.prior_alpha.mean > 0.0):
            return 1.0, 1.0
        risk, scale = prior.rest_of_regimes(row, self.probabilities)
        usual_risk, usual_scale = prior.rest_of_regimes(row, prior.law_at(row))
        if not (usual_risk > 0.0 and usual_scale > 0.0 and scale > 0.0):
            return 1.0, 1.0
        less = self._log_variance(self.volume) - self._log_variance(prior.volume)
        alpha = max(float(self.alpha.mean) / self.prior_alpha.mean, _LEAST_ALPHA) * (scale / usual_scale)
        return risk / usual_risk, alpha * math.pow(now / before, -beta) * math.exp(0.5 * beta * (beta + 1.0) * less)

    def _log_variance(self, now: VolumeBelief) -> float:
        """Return the variance of the log volume of a slice to come."""
        return float(belief.volume_after(now, 0.0, self._prior.noise_variance).variance)

    def rate_ratio(self) -> float:
        """Return the urgency kappa of Almgren and Chriss, the root of risk over slope, over that of the prior."""
        risk, slope = self.ratios
        return math.sqrt(risk / slope)

    def urgency(
        self, parent: ParentOrder, *, slices: int, tau: float, window: tuple[float, float], risk_aversion: float
    ) -> float:
        """Return the urgency kappa tau of an order (:func:`~hyperexec_env.execution.schedules.almgren_chriss_rate`).

        Args:
            parent: The order; a volatility that it does not give is that of the prior.
            slices: Intervals of the first plan.
            tau: Length of such an interval, days.
            window: Start and end of the order, seconds on the agent's clock.
            risk_aversion: Price of quadratic variation, 1 / currency.
        """
        edges = (np.array(window) - self.start) / self.bin_seconds
        volume = float(np.diff(np.interp(edges, np.arange(self.bins + 1), self._prior.cumulative))[0])
        scenario = self.scenario
        sigma = scenario.volatility if parent.volatility is None else parent.volatility
        risk, slope = self.ratios
        return schedules.almgren_chriss_rate(
            quantity=parent.quantity,
            slices=slices,
            volume=max(volume, _LEAST_VOLUME),
            volatility=sigma * parent.arrival_price,
            alpha=self.prior_alpha.mean * slope,
            beta=scenario.temp_impact_beta,
            risk_aversion=risk_aversion * risk,
            tau=tau,
        )

    # --- reports

    def estimate_impact(
        self,
        quantity: float,
        arrival_price: float,
        daily_volatility: float,
        volume: float,
        adv: float,
        *,
        side: int = 1,
        lot_size: float = 1,
    ) -> MarketImpactEstimate:
        """Estimate the cost of an order with the learned alpha and lambda: posterior mean, 90 % interval, and the prior's cost.

        The permanent part of lambda is that of the prior. Arguments and errors are those of
        :func:`~hyperexec_env.execution.estimates.estimate_impact`; the volume is taken as given.
        """
        scenario = self.scenario
        share = scenario.perm_impact_gamma / scenario.kyle_lambda if scenario.kyle_lambda else 0.0
        found = []
        for alpha, kyle in ((self.alpha.mean, self.kyle.mean), (self.prior_alpha.mean, self.prior_kyle.mean)):
            impact: dict[str, float] = {"temp_impact_alpha": max(alpha, 0.0), "temp_impact_beta": scenario.temp_impact_beta}
            impact |= {"kyle_lambda": max(kyle, 0.0), "perm_impact_gamma": share * max(kyle, 0.0)}
            config = ExecutionConfig(**impact)  # type: ignore[arg-type]
            given = (quantity, arrival_price, daily_volatility, volume, adv)
            found.append(estimate_impact(*given, side=side, lot_size=lot_size, config=config))
        now, before = found
        on_alpha = 1e4 * daily_volatility * now.participation**scenario.temp_impact_beta
        on_kyle = 0.5 * share * 1e4 * quantity / adv
        variance = on_alpha**2 * self.alpha.variance + on_kyle**2 * self.kyle.variance
        low, high = belief.interval(Normal(now.cost_bps, variance))
        evidence = self.seen["alpha"], self.seen["lambda"]
        return now._replace(learned=LearnedCost((max(low, 0.0), high), before.cost_bps, *evidence))

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """The numbers with their prior, mean, 90 % interval and count of evidence."""
        kyle, alpha = "arrival prices for one ADV", "volatilities of a day"
        day, before = self._day_volume(), self._prior.day
        return (
            _estimate("day_volume", "shares", before, day, self.seen["volume"]),
            _estimate(
                "volume_level",
                "of the expected",
                self._level(self._prior.volume),
                self._level(self.volume),
                self.seen["volume"],
            ),
            _estimate("kyle_lambda", kyle, _line(self.prior_kyle), _line(self.kyle), self.seen["lambda"]),
            _estimate("temp_impact_alpha", alpha, _line(self.prior_alpha), _line(self.alpha), self.seen["alpha"]),
        )

    @property
    def remaining_volume(self) -> Estimate:
        """Expected market volume of the rest of the day, from the open bin on, shares."""
        done = float(self._forecast()[self.bin])
        low, mean, high = (max(value - done, 0.0) for value in self._day_volume())
        now = self._prior.rest(self.bin, self._prior.volume, self._prior.law_at(self.bin))
        return _estimate("remaining_volume", "shares", now, (low, mean, high), self.seen["volume"])

    @property
    def volume_curve(self) -> tuple[float, ...]:
        """Volume of each bin of the day, shares: seen, or expected where the bin has not ended or was not seen."""
        return tuple(np.diff(self._forecast()).tolist())

    def _level(self, now: VolumeBelief) -> tuple[float, float, float]:
        """Return lower end, mean and upper end of the level exp(L - s0^2 / 2), whose expectation before any evidence is 1."""
        return lognormal_interval(Normal(now.level - 0.5 * self._prior.volume.level_variance, now.level_variance))

    def _day_volume(self) -> tuple[float, float, float]:
        """Return lower end, mean and upper end of the volume of the day, shares."""
        done = float(self._forecast()[self.bin])
        low, mean, high = self._prior.rest(self.bin, self.volume, self.probabilities)
        return done + low, done + mean, done + high

    @property
    def summary(self) -> Learned:
        """The numbers of this moment, which later evidence does not change."""
        return Learned(self.to_dict(), str(self))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        regimes = dict(zip(self.scenario.regimes.names, self.probabilities.tolist(), strict=True))
        names = [*self.estimates, self.remaining_volume]
        return {
            "prior": self.scenario.name,
            "prior_hash": self.scenario.hash,
            "source": self.source,
            "bins": self.bin,
            "of_bins": self.bins,
            "interval": belief.LEVEL,
            "estimates": {each.name: {key: value for key, value in each._asdict().items() if key != "name"} for each in names},
            "regimes": regimes,
            "regime_evidence": self.seen["regime"],
            "volume_curve": list(self.volume_curve),
        }

    def __str__(self) -> str:
        """Return the estimates as text."""
        rows = [f"  {each.name:<18} {each.text}" for each in (*self.estimates, self.remaining_volume)]
        chances = sorted(zip(self.probabilities.tolist(), self.scenario.regimes.names, strict=True), reverse=True)
        likely = ", ".join(f"{name} {chance:.0%}" for chance, name in chances if chance >= 0.005)
        told = " (told)" if self._told is not None else f"; {self.seen['regime']} bins"
        return "\n".join(
            [
                f"estimates after {self.bin} of {self.bins} bins, prior {self.scenario.name} ({self.source})",
                *rows,
                f"  {'regime':<18} {likely}{told}",
            ]
        )


def _estimate(
    name: str, unit: str, prior: tuple[float, float, float], now: tuple[float, float, float], evidence: int
) -> Estimate:
    (low, mean, high), (least, middle, most) = map(float, prior), map(float, now)
    return Estimate(name, unit, mean, low, high, middle, least, most, evidence)


def _line(law: Normal) -> tuple[float, float, float]:
    """Return lower end, mean and upper end of a number that is not negative."""
    low, high = belief.interval(law)
    return max(low, 0.0), law.mean, max(high, 0.0)
