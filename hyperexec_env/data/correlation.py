"""Correlation of returns: bars of several instruments synchronised on common intervals, shrinkage, and standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.cross import check_same

from .blocks import resampled_days
from .figures import REPLICATES, SEED, price_columns, return_parts
from .sessions import Sessions

__all__ = ["CommonReturns", "Correlation", "Shrunk", "common_returns", "estimate_correlation", "shrunk_correlation"]

Floats = NDArray[np.float64]


class CommonReturns(NamedTuple):
    """Log returns of several instruments over the same intervals of the same sessions."""

    dates: tuple[str, ...]
    """Sessions that all instruments have."""
    days: tuple[Floats, ...]
    """Returns of each session, shape (interval, instrument); intervals that an instrument does not trade are left out."""
    minutes: float
    """Length of an interval."""
    possible: int
    """Number of intervals of the sessions; the others are left out for all instruments."""

    @property
    def intervals(self) -> int:
        """Number of intervals used."""
        return sum(map(len, self.days))


class Shrunk(NamedTuple):
    """A correlation matrix shrunk towards one correlation of all pairs; matrices have the shape (instrument, instrument)."""

    matrix: Floats
    """Shrunk correlation."""
    sample: Floats
    """Sample correlation."""
    intensity: float
    """Weight of the constant correlation, 0 to 1."""
    mean: float
    """Mean sample correlation of all pairs: the constant correlation."""


class Correlation(NamedTuple):
    """Correlation of synchronised returns, with the standard error of each pair."""

    returns: CommonReturns
    shrunk: Shrunk
    errors: Floats
    """Standard error of each shrunk correlation, shape (instrument, instrument); 0 on the diagonal."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "matrix": self.shrunk.matrix.tolist(),
            "errors": self.errors.tolist(),
            "sample": self.shrunk.sample.tolist(),
            "intensity": self.shrunk.intensity,
            "mean": self.shrunk.mean,
            "dates": list(self.returns.dates),
            "minutes": self.returns.minutes,
            "intervals": self.returns.intervals,
            "possible_intervals": self.returns.possible,
        }


def common_returns(sessions: Mapping[str, Sessions]) -> CommonReturns:
    """Return the returns of all instruments over common intervals of 5 minutes (or of one bar, if bars are longer).

    The intervals divide each session equally, so that no return spans a night. A price is the last one of the bar that ends
    with the interval, or the first one of the session. No earlier price stands in for a missing one: an interval at an end of
    which the bar of any instrument is absent or has no volume is left out for all of them, which keeps the sample correlation
    positive semidefinite. Daily bars give one return a day, from open to close.

    Args:
        sessions: Sessions of each instrument by name, two instruments at least, with bars of one length and one calendar.

    Raises:
        ValueError: There are fewer than two instruments, their calendars or bars differ, they have fewer than two sessions or
            no interval in common, or the prices of one of them do not move, or are those of another one.
    """
    names, every = list(sessions), list(sessions.values())
    if len(every) < 2:
        raise ValueError(f"a correlation needs at least two assets, got {len(every)}: {', '.join(names)}")
    reason = "returns are synchronised on one grid"
    check_same("calendar", (each.calendar for each in every), names, reason)
    check_same("bar_minutes", (each.bar_minutes for each in every), names, reason)
    check_same("day_minutes", (each.day_minutes for each in every), names, reason)
    check_same("edges", (tuple(each.edges.tolist()) for each in every), names, reason)
    dates = _common_dates(names, every)
    parts = return_parts(every[0].bar_minutes, every[0].day_minutes)
    columns = price_columns(every[0], parts)
    moves, known = zip(*(_moves(each, dates, columns) for each in every), strict=True)
    together = np.logical_and.reduce(known)
    days = tuple(np.stack([move[day][kept] for move in moves], axis=1) for day, kept in enumerate(together))
    _check_moves(names, days, every[0].day_minutes / parts)
    return CommonReturns(dates, days, every[0].day_minutes / parts, together.size)


def _common_dates(names: Sequence[str], every: Sequence[Sessions]) -> tuple[str, ...]:
    """Return the dates that all instruments have; raise ValueError for fewer than two."""
    common = set(every[0].dates).intersection(*(each.dates for each in every[1:]))
    if len(common) < 2:
        spans = [f"{name} {each.dates[0]} to {each.dates[-1]}" for name, each in zip(names, every, strict=True)]
        raise ValueError(f"a correlation needs at least two common sessions, got {len(common)}: {', '.join(spans[:10])}")
    return tuple(sorted(common))


def _moves(sessions: Sessions, dates: Sequence[str], columns: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the log return of each interval, and whether the bars at both ends hold trades, shape (session, interval)."""
    place = {date: row for row, date in enumerate(sessions.dates)}
    rows = [place[date] for date in dates]
    prices = np.concatenate([sessions.open[rows, :1], sessions.close[rows]], axis=1)[:, columns]
    traded = ~sessions.missing[rows]
    if sessions.has_volume:
        traded &= sessions.volume[rows] > 0.0
    known = np.concatenate([traded[:, :1], traded], axis=1)[:, columns]
    return np.diff(np.log(prices), axis=1), known[:, 1:] & known[:, :-1]


def _check_moves(names: Sequence[str], days: Sequence[Floats], minutes: float) -> None:
    """Raise ValueError if there are too few common intervals, or prices that do not move or are those of another instrument."""
    returns = np.concatenate(days)
    if len(returns) < 3:
        raise ValueError(f"only {len(returns)} intervals of {minutes:g} minutes hold trades of all of {', '.join(names[:10])}")
    for at, name in enumerate(names):
        if not np.ptp(returns[:, at]) > 0.0:
            raise ValueError(f"{name}: its prices do not move in the common sessions, so that it has no correlation")
        for other in range(at):
            if np.allclose(returns[:, other], returns[:, at], rtol=0.0, atol=1e-9):
                raise ValueError(f"{names[other]} and {name} have the same returns: pass one file of each instrument")


def shrunk_correlation(returns: Floats) -> Shrunk:
    """Return the correlation of returns, shrunk towards the mean correlation of all pairs.

    The covariance S becomes (1 - intensity) S + intensity F, where F has the variances of S and its mean correlation, and the
    intensity minimises the expected squared (Frobenius) distance to the true covariance: Ledoit and Wolf (2004, "Honey, I
    shrunk the sample covariance matrix", appendix), with n - 1 in place of n for the estimated mean, as in the authors'
    program. It takes returns to be independent over time. S and F are positive semidefinite, and so is their mixture. Two
    instruments have one correlation, which is not shrunk.

    Args:
        returns: Returns, shape (time, instrument).
    """
    x = returns - returns.mean(axis=0)
    count = len(x) - 1
    covariance = x.T @ x / count
    variance = np.diag(covariance)
    size = np.sqrt(variance)
    sample = covariance / np.outer(size, size)
    others = ~np.eye(len(size), dtype=bool)
    mean = float(sample[others].mean())
    target = np.where(others, mean * np.outer(size, size), covariance)
    noise = (x * x).T @ (x * x) / count - covariance * covariance
    cross = (x * x * x).T @ x / count - variance[:, None] * covariance  # of the variance of i with the covariance of i and j
    shared = np.trace(noise) + mean * (np.outer(1.0 / size, size) * cross)[others].sum()
    distance = float(((covariance - target) ** 2).sum())
    is_constant = distance <= 1e-20 * float((covariance**2).sum())
    intensity = 0.0 if is_constant else float(np.clip((noise.sum() - shared) / distance / count, 0.0, 1.0))
    matrix = np.where(others, (1.0 - intensity) * sample + intensity * mean, 1.0)
    return Shrunk(0.5 * (matrix + matrix.T), sample, intensity, mean)


def estimate_correlation(sessions: Mapping[str, Sessions]) -> Correlation:
    """Return the shrunk correlation of :func:`common_returns`, with standard errors by a moving-block bootstrap over days.

    Each resample is shrunk by its own intensity (Kuensch 1989 for the blocks).

    Raises:
        ValueError: See :func:`common_returns`.
    """
    returns = common_returns(sessions)
    found = [
        shrunk_correlation(np.concatenate([returns.days[day] for day in chosen])).matrix
        for chosen in resampled_days(len(returns.days), REPLICATES, SEED).tolist()
    ]
    return Correlation(returns, shrunk_correlation(np.concatenate(returns.days)), np.std(found, axis=0, ddof=1))
