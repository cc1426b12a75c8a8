"""Recorded days: the draws of each slice of some real days, in place of the noise.

A market with days (:attr:`~hyperexec_env.market.tables.Market.days`) runs the same stages as every market. An episode is the
day number `key % days` of the episode's key, so that keys 0, 1, ... are the days in order, and the keys of a seed resample the
days. The regime of a day is recorded, not drawn: :func:`with_days` replaces the thresholds of the market by 1, 2, ..., which
the number of the regime reaches as often as its value.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hyperexec_env.market.tables import Market, SliceRow, Thresholds
from hyperexec_env.records import Real, Whole, Word, maker, map_leaves

__all__ = ["DayCount", "DaySlice", "Days", "day_of", "day_row", "day_slice", "with_days"]


class DaySlice(NamedTuple):
    """One slice of a recorded day."""

    news: Real
    """Standard normal of the news with which the unaffected price moves as the day's did, without order flow."""
    volume_shock: Real
    """Market volume over its expectation in the regime, positive."""
    half_spread: Real
    """Half of the quoted spread, currency per share."""
    regime: Whole
    """Index of the regime that is shown in the slice, 0..M-1."""
    next_regime: Whole
    """Index of the regime that is shown in the next slice; in the last slice, that of the slice."""


class DayCount(NamedTuple):
    """The number of the days."""

    days: Word


class Days(NamedTuple):
    """Some recorded days."""

    slices: DaySlice
    """Each field of shape (days N,): N slices for each day."""
    dates: tuple[str, ...]
    """Dates of the days, such as 2024-03-26."""

    @property
    def day_count(self) -> DayCount:
        """The number of the days, for the stages."""
        return DayCount(np.uint64(len(self.dates)))

    @property
    def digest(self) -> str:
        """Hash of dates and numbers, 16 hex digits."""
        content = hashlib.sha256("\n".join(self.dates).encode())
        for values in self.slices:
            content.update(np.ascontiguousarray(values).tobytes())
        return content.hexdigest()[:16]


def day_of(count: DayCount, key: Any) -> Any:
    """Return the number of the day of the episode with a key."""
    return np.int64(key % count.days)


def day_slice(market: Market, keys: Any, k: Any) -> DaySlice:
    """Return slice `k`, 0..N-1, of the days of some episodes; `k` is a number or a column of shape (slices, 1)."""
    days: Any = market.days
    cell = day_of(days.day_count, keys) * market.slices + k
    found: DaySlice = map_leaves(lambda values: values.take(cell), days.slices)
    return found


_with_spread = maker(SliceRow, SliceRow, ("half_spread",))


def day_row(row: SliceRow, day: DaySlice) -> SliceRow:
    """Return the numbers of the market in a slice with the spread of the day."""
    quoted: SliceRow = _with_spread(row, day.half_spread)
    return quoted


def with_days(market: Market, days: Days) -> Market:
    """Return the market whose episodes are recorded days.

    Raises:
        ValueError: There is no day, or the days have another number of slices or regimes than the market.
    """
    slices, count = days.slices, len(days.dates)
    if not count:
        raise ValueError("replay needs at least one day, got none")
    if len(slices.news) != count * market.slices:
        raise ValueError(f"the days must have {market.slices} slices as the scenario, got {len(slices.news) / count:g}")
    if slices.regime.max() >= market.regimes:
        raise ValueError(f"the days must have at most {market.regimes} regimes as the scenario, got {slices.regime.max() + 1}")
    at = np.arange(1, len(Thresholds._fields) + 1)
    thresholds = Thresholds(*(np.full(market.regimes + 1, value) for value in at))
    return replace(market, days=days, start=Thresholds(*at), thresholds=thresholds)
