"""Calibration: estimate a scenario from sessions of bars, and record the provenance of each parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.draws import with_bar_draws
from hyperexec_env.data.figures import Figures, Samples, estimate, samples_of, standard_errors
from hyperexec_env.data.numbers import rounded
from hyperexec_env.data.regime_fit import transition_rates
from hyperexec_env.data.sessions import BarReport, Sessions
from hyperexec_env.market.published import public_impact
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import MULTIPLES, Scenario
from hyperexec_env.market.volume import slice_profile, volatility_profile

__all__ = ["Calibration", "calibrate", "calibration_of"]

Floats = NDArray[np.float64]

NAMES: Final = ("SIDEWAYS_LOW", "SIDEWAYS_HIGH", "CRISIS")
"""Regimes by ascending volatility."""
FEW_SESSIONS: Final = 20
"""Number of sessions below which the description of a scenario says that they are few."""


@dataclass(frozen=True)
class Calibration:
    """A calibrated scenario and the summary of its bars; ``print`` shows both as text."""

    scenario: Scenario
    bars: BarReport
    errors: Mapping[str, Any] = field(default_factory=dict)
    """Standard error of each measured figure, in its unit and shape: a number, one for each part of the day or regime, or
    one for each transition between regimes."""
    volume_level: float | None = None
    """Sd of the log of the daily level of volume; None if the bars hold no volume."""
    volume_persistence: float | None = None
    """Measured AR(1) coefficient of the log volume from slice to slice; None if the bars do not identify it."""

    @property
    def half_hours(self) -> tuple[float, ...]:
        """Share of the daily volume in each half-hour."""
        day = self.scenario.day_minutes
        return tuple(slice_profile(self.scenario.volume_curve, math.ceil(day / 30.0), 0.0, day, day).tolist())

    @property
    def half_hour_volatilities(self) -> tuple[float, ...]:
        """Volatility of each half-hour over that of the day."""
        day = self.scenario.day_minutes
        return tuple(volatility_profile(self.scenario.volatility_curve, math.ceil(day / 30.0), 0.0, day, day).tolist())

    @property
    def volatilities(self) -> dict[str, float]:
        """Volatility of each regime, fraction per square root of a day."""
        regimes = self.scenario.regimes
        return {name: self.scenario.volatility * scale for name, scale in zip(regimes.names, regimes.volatility, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "scenario": self.scenario.to_dict(),
            "bars": self.bars.to_dict(),
            "errors": dict(self.errors),
            "volume_level": self.volume_level,
            "volume_persistence": self.volume_persistence,
            "half_hours": list(self.half_hours),
            "half_hour_volatilities": list(self.half_hour_volatilities),
            "regime_volatilities": self.volatilities,
            "regime_law": self.scenario.regimes.stationary().tolist(),
        }

    def __str__(self) -> str:
        """Return the calibration as text."""
        scenario, shares, errors = self.scenario, self.half_hours, self.errors

        def plus_minus(name: str, scale: float = 1.0, digits: str = ".2%") -> str:
            return f" +- {errors[name] * scale:{digits}}" if name in errors else ""

        lines = [
            str(self.bars),
            f"average daily volume {scenario.adv:,.0f}{plus_minus('adv', digits=',.0f')}, "
            f"volatility {scenario.volatility:.2%}{plus_minus('volatility')} a day",
            f"volume by half-hours: first {shares[0]:.1%}, lowest {min(shares):.1%}, last {shares[-1]:.1%}"
            f"{_mean_error(errors, 'volume_curve', 'share')}",
            f"sd of the log volume: {scenario.volume_noise:.3f}{plus_minus('volume_noise', digits='.3f')} within a day, "
            f"{self.volume_level:.3f}{plus_minus('volume_level', digits='.3f')} of the daily level"
            if self.volume_level is not None
            else "volume: not in the data",
        ]
        if self.volume_persistence is not None:
            error = plus_minus("volume_persistence", digits=".3f")
            lines.append(f"persistence of the log volume from slice to slice: {self.volume_persistence:.3f}{error}")
        if scenario.volatility_curve:
            ratios = self.half_hour_volatilities
            error = f" (+- {np.mean(errors['volatility_curve']):.2f})" if "volatility_curve" in errors else ""
            extremes = f"first {ratios[0]:.2f}, lowest {min(ratios):.2f}, last {ratios[-1]:.2f}"
            lines.append(f"volatility by half-hours over that of the day: {extremes}{error}")
        return "\n".join([*lines, *self._regime_lines()])

    def _regime_lines(self) -> list[str]:
        """Return one line for each regime."""
        regimes, day = self.scenario.regimes, self.scenario.day_minutes
        errors = self.errors if len(regimes) > 1 else {}

        def plus_minus(name: str, at: int, digits: str = ".2f") -> str:
            found = np.asarray(errors[name])[at] if name in errors else None
            return "" if found is None else f" +- {np.ravel(found)[at if found.ndim else 0]:{digits}}"

        lines = []
        for at, (name, volatility) in enumerate(self.volatilities.items()):
            share, leave = regimes.stationary()[at], -regimes.rates[at][at]
            line = (
                f"regime {name}: volatility {volatility:.2%} a day (x {regimes.volatility[at]:.2f}"
                f"{plus_minus('regime_volatility', at)}), {share:.0%}{plus_minus('regime_share', at, '.0%')} of the time, "
                f"volume x {regimes.volume[at]:.2f}{plus_minus('regime_volume', at)}"
            )
            if leave:
                rate = f"{leave:.2f}{plus_minus('regime_rates', at)}"
                line += f", left {rate} times a day (stays {day / leave:.0f} minutes)"
            lines.append(line)
        return lines


def calibrate(
    sessions: Sessions,
    name: str = "calibrated",
    *,
    volume_level: bool = False,
    volume_persistence: bool | float = False,
    **order: Any,
) -> Scenario:
    """Return a scenario calibrated to sessions of bars.

    The default order is 4 % of the average daily volume at the last close, over the whole day in slices of 15 minutes (or of
    the length of a bar, if bars are longer), with a risk aversion of 2 / notional. Impact, which bars do not identify, is that
    of public tapes at the volatility of the bars (:func:`~hyperexec_env.market.published.public_impact`); the spread and other
    parameters keep the defaults of :class:`Scenario`. The provenance gives the source and the standard error of each field, and
    the posterior joint draws of what is estimated or assumed with an error (:mod:`~hyperexec_env.data.draws`).

    Daily bars give the average daily volume and the volatility (Rogers and Satchell 1991); the volume curve is that of the
    scenario ``regime-day``, and there is one regime. Bars without a volume need `adv`; their volume curve is flat, or given.

    Args:
        sessions: At least two sessions from :func:`hyperexec_env.data.sessions.read_sessions`.
        name: Name of the scenario.
        volume_level: Whether the scenario has the measured variation of the daily volume (`volume_level_sd`); by default the
            volume varies within the day only.
        volume_persistence: Whether the scenario has the measured persistence of the volume from slice to slice, which makes
            the last volume a signal; or a number, the persistence itself. By default the volumes of the slices are
            independent.
        **order: Fields that override the calibrated or default values, such as ``quantity`` or ``side``; None is ignored.

    Raises:
        ValueError: There are fewer than two sessions, prices are constant, bars without a volume come without `adv`, or a value
            in `order` is invalid.
    """
    found = calibration_of(sessions, name, volume_level=volume_level, volume_persistence=volume_persistence, **order)
    return found.scenario


def calibration_of(
    sessions: Sessions,
    name: str = "calibrated",
    *,
    volume_level: bool = False,
    volume_persistence: bool | float = False,
    figures: Figures | None = None,
    with_errors: bool = True,
    **order: Any,
) -> Calibration:
    """Return the scenario of :func:`calibrate` with the report on the bars and the standard error of each measured figure.

    `figures` are those of the sessions, if they are known already. Without `with_errors`, no standard error is computed, which
    takes most of the time.
    """
    order = {key: value for key, value in order.items() if value is not None}
    if not isinstance(volume_persistence, bool):  # the number of the field in place of the measured one
        order["volume_persistence"] = volume_persistence
    if len(sessions.dates) < 2:
        raise ValueError(f"calibration needs at least two full sessions, got {len(sessions.dates)}")
    if not sessions.has_volume and "adv" not in order:
        raise ValueError("the bars hold no volume: pass adv, the average daily volume (--adv)")
    samples = samples_of(sessions)
    figures = figures or estimate(samples)
    errors = standard_errors(samples, figures) if with_errors else {}
    measured = _measured(sessions, samples, figures, name)
    if volume_level and sessions.has_volume:
        measured["volume_level_sd"] = _digits(figures.volume_level)
    persistence = None if figures.volume_noise is None else figures.volume_persistence
    if volume_persistence is True and figures.volume_noise is not None:
        measured["volume_persistence"] = _digits(_per_slice(figures.volume_persistence, samples, measured, order))
        measured["volume_noise"] = _digits(figures.persistent_noise)
    impact, sources = public_impact(order)
    values = {**measured, **impact, **order}
    if "quantity" not in order:
        values["quantity"] = max(1.0, float(round(0.04 * order.get("adv", figures.adv))))
    if "risk_aversion" not in order:
        draft = Scenario.from_dict(values)
        values["risk_aversion"] = _digits(2.0 / draft.notional)
    level = figures.volume_level if sessions.has_volume else None
    provenance = _provenance(sessions, samples, figures, errors, measured, sources, order)
    scenario = with_bar_draws(Scenario.from_dict({**values, "provenance": provenance}), samples, order)
    return Calibration(scenario, sessions.report, errors, level, persistence)


def _per_slice(persistence: float, samples: Samples, measured: Mapping[str, Any], order: Mapping[str, Any]) -> float:
    """Return the persistence over a slice of the order, given that over a slice of the samples: phi^(ratio of the lengths).

    A negative persistence is kept for slices of the same length only.
    """
    values = {**measured, **order}
    ratio = values["horizon_minutes"] / values["slices"] / samples.slice_minutes
    return persistence if ratio == 1.0 else max(persistence, 0.0) ** ratio


def _measured(sessions: Sessions, samples: Samples, figures: Figures, name: str) -> dict[str, Any]:
    """Return the fields of the scenario that the bars determine."""
    count = len(sessions.dates)
    few = "; few sessions: see the standard errors in the provenance" if count < FEW_SESSIONS else ""
    measured: dict[str, Any] = {
        "name": name,
        "description": f"calibrated from {count} sessions, {sessions.dates[0]} to {sessions.dates[-1]}{few}",
        "arrival_price": float(sessions.close[-1, -1]),
        "horizon_minutes": float(sessions.day_minutes),
        "slices": samples.slices,
        "day_minutes": float(sessions.day_minutes),
        "volatility": _digits(figures.volatility),
        "regimes": _regimes(figures, samples.slices),
    }
    if sessions.has_volume:
        measured |= {"adv": _digits(figures.adv), "volume_curve": tuple(map(_digits, figures.curve))}
    if not samples.is_daily:
        measured["volatility_curve"] = tuple(map(_digits, figures.volatility_curve))
    if figures.volume_noise is not None:
        measured["volume_noise"] = _digits(figures.volume_noise)
    return measured


def _regimes(figures: Figures, steps_per_day: int) -> Regimes:
    """Return the regimes of a fit, with the rates of the continuous-time chain."""
    fit, volume = figures.fit, figures.regime_volume
    if fit is None:
        return Regimes(names=NAMES[:1], rates=((0.0,),))
    rates = np.array([[_digits(rate) for rate in row] for row in transition_rates(fit.flows, steps_per_day)])
    np.fill_diagonal(rates, 0.0)
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return Regimes(
        names=NAMES[: len(volume)],
        volatility=tuple(map(_digits, fit.volatility)),
        volume=tuple(map(_digits, volume)),
        rates=tuple(tuple(row) for row in rates.tolist()),
    )


def _digits(value: float) -> float:
    """Return a value rounded to six significant digits, for readable files."""
    return rounded(value, 6)


def _provenance(
    sessions: Sessions,
    samples: Samples,
    figures: Figures,
    errors: Mapping[str, Any],
    measured: Iterable[str],
    impact: Mapping[str, str],
    given: Iterable[str],
) -> dict[str, str]:
    """Return the provenance of each field of the scenario."""
    names = [Path(file).name for file in sessions.report.files]
    files = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    source = f"{len(sessions.dates)} sessions {sessions.dates[0]} to {sessions.dates[-1]} of {files}"

    def error(name: str) -> str:
        return f"; standard error {errors[name]:.2g}" if name in errors else ""

    level = f" (sd of the log {figures.volume_level:.2f}{error('volume_level')})" if sessions.has_volume else ""
    texts = {
        "adv": f"mean daily volume of {source}{error('adv')}",
        "volatility": f"root of the mean {samples.variance_of}, {source}; overnight moves are excluded{error('volatility')}",
        "volume_curve": f"mean share of the day in each {samples.slice_minutes:g} minutes, {source}"
        + _mean_error(errors, "volume_curve", "share"),
        "volatility_curve": f"root of the mean {samples.variance_of}, of each {samples.slice_minutes:g} minutes over that of "
        f"the day, shrunk towards flat by its sampling error (weight {figures.curve_weight:.2f}), {source}"
        f"{_mean_error(errors, 'volatility_curve', 'ratio')}",
        "volume_noise": f"sd of the log volume of {samples.slice_minutes:g} minutes around curve, daily level and regime as "
        f"far as returns identify it, {source}; the variation of the daily level{level} is excluded{error('volume_noise')}",
        "volume_level_sd": f"sd of the log of the daily level of the volume around the mean of the sample, {source}"
        f"{error('volume_level')}",
        "volume_persistence": "AR(1) coefficient of that log volume, less the part of regimes that returns do not show, "
        f"{source}{error('volume_persistence')}",
        "regimes": f"hidden Markov model of {samples.slice_minutes:g}-minute returns over their usual size at that time of day "
        "(Student distribution, stationary reversible chain, EM; number of regimes by BIC), "
        f"{source}; rates are the logarithm of the transition matrix; volatility (root mean square) and volume (least squares) "
        "of each regime are normalised over the stationary distribution; spread, temporary, resilience and drift are defaults"
        + _regime_errors(errors),
        "arrival_price": f"last close, {sessions.dates[-1]}",
        "horizon_minutes": "the whole day",
        "slices": f"slices of {samples.slice_minutes:g} minutes",
        "day_minutes": f"minutes of trading of a session, calendar {sessions.report.calendar}",
    }
    if "volume_persistence" in measured:
        texts["volume_noise"] = f"stationary sd of the AR(1) of volume_persistence{error('volume_noise')}"
    if samples.is_daily:
        texts["regimes"] = "one regime: daily bars do not identify regimes within a day"
        texts["volume_curve"] = "default: that of the scenario regime-day; daily bars do not identify it"
    plain = {item.name: "default: bars do not identify it" for item in fields(Scenario)}
    choices = ("side", "start_minute", "max_participation", "complete", "price_model")
    plain |= dict.fromkeys(choices, "default: a choice, not a measurement")
    plain["volume_level_sd"] = f"default: the variation of the daily level{level} is not requested (volume_level)"
    if figures.volume_noise is not None:
        found = f" ({figures.volume_persistence:.2f}{error('volume_persistence')})"
        plain["volume_persistence"] = f"default: the persistence of the volume{found} is not requested (volume_persistence)"
    plain |= {**{name: texts[name] for name in measured if name in texts}, **impact}
    plain |= {"quantity": "4 % of the average daily volume", "risk_aversion": "2 / arrival notional"}
    if not sessions.has_volume:
        plain["volume_curve"] = "flat: the bars hold no volume"
    if samples.is_daily:
        plain["volatility_curve"] = "flat: daily bars do not identify it"
    numbers = {multiple: number for number, multiple in MULTIPLES.items()}
    plain |= dict.fromkeys((numbers.get(name, name) for name in given), "given")
    return {name: text for name, text in plain.items() if name not in ("name", "description", "provenance", *numbers)}


def _mean_error(errors: Mapping[str, Any], name: str, part: str) -> str:
    """Return the mean standard error of the parts of a curve, as text."""
    return f"; standard error of the {part} of a slice {np.mean(errors[name]):.2g} in the mean" if name in errors else ""


def _regime_errors(errors: Mapping[str, Any]) -> str:
    """Return the standard errors of the regimes, as text; those of the rates by row."""
    if len(errors.get("regime_volatility", ())) < 2:
        return ""
    keys = [key for key in ("regime_volatility", "regime_volume", "regime_share", "regime_rates") if key in errors]
    shown = ", ".join(f"{key.partition('_')[2]} {_slashed(errors[key])}" for key in keys)
    return f"; standard errors: {shown}"


def _slashed(values: Iterable[Any]) -> str:
    """Return numbers, or rows of numbers, between slashes."""
    return "/".join(f"{value:.2g}" if isinstance(value, float) else f"({_slashed(value)})" for value in values)
