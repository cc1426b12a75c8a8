"""Record real days as draws of a market: the moves of the price, the volumes and the regimes become :class:`Days`.

:func:`record_days` inverts :func:`~hyperexec_env.market.path.next_slice`. Without order flow, and with the regime m shown in
slice k, the news that takes the unaffected price from S_k to S_{k+1} is

    xi_k  = [ (S_{k+1} - S_k) / P0 - mu_m tau ] / (s_m sqrt(1 - R^2))                                        arithmetic price
    xi_k  = [ log(S_{k+1} / S_k) - mu_m tau + s_m^2 (1 - R^2 phi^2) / 2 ] / (s_m sqrt(1 - R^2))              geometric price
    eps_k = V_k / E[V_k | m], with persistence of volume V_k / (E[V_k | m] a r_{k-1}^psi), with a r_{-1}^psi = 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.market.days import Days, DaySlice, with_days
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.market.volume_noise import neutral_ratio, predicted_ratio

__all__ = ["SPLITS", "Recording", "record_days"]

Floats = NDArray[np.float64]

SPLITS: Final = ("train", "validation", "test")
"""Names of the parts of the recorded days, in the order of time."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A scenario and the recorded days of its market, split by day; sessions between the parts are purged."""

    scenario: Scenario
    """The scenario, calibrated to the training days alone."""
    train: Days
    validation: Days
    """Days on which a checkpoint is chosen; may be empty."""
    test: Days
    """Days on which policies are judged."""
    calibrated: tuple[str, str, int] = ("", "", 0)
    """First day, last day and number of the sessions of the calibration."""
    symbol: str = ""
    """Name of the instrument."""
    notes: tuple[str, ...] = ()
    """Choices that were made for the user, one sentence each."""

    def days(self, split: str) -> Days:
        """Return the days of a split.

        Raises:
            ValueError: The split is unknown or has no days.
        """
        found: Days = getattr(self, check_choice("split", split, SPLITS))
        if not found.dates:
            raise ValueError(f"split must be a part with days, got {split!r}, which has none")
        return found

    def market(self, split: str) -> Market:
        """Return the market whose episodes are the days of a split."""
        return with_days(build_market(self.scenario), self.days(split))

    @property
    def spans(self) -> dict[str, tuple[str, str, int]]:
        """First day, last day and number of days of each split that has days."""
        parts = {split: getattr(self, split).dates for split in SPLITS}
        return {split: (dates[0], dates[-1], len(dates)) for split, dates in parts.items() if dates}

    @property
    def digest(self) -> str:
        """Hash of the scenario and of all days."""
        return " ".join([self.scenario.hash, *(getattr(self, split).digest for split in SPLITS)])


def record_days(
    market: Market,
    dates: Sequence[str],
    returns: Floats,
    volume: Floats,
    regimes: NDArray[np.int64],
    half_spread_bps: Floats | None = None,
) -> Days:
    """Return the days whose prices, volumes and regimes are given, for a market without days.

    Args:
        market: The market.
        dates: Dates of the days.
        returns: Log return of each slice, shape (days, N); the price of a day starts at the arrival price of the scenario.
        volume: Market volume of each slice at the scale of the scenario's ADV, shares, positive, shape (days, N).
        regimes: Regime that is shown in each slice, shape (days, N).
        half_spread_bps: Half of the quoted spread in each slice, bps of the price, NaN where it is not known: there, and where
            it is None, the spread is that of the regime. Shape (days, N).

    Raises:
        ValueError: The order flow explains all of the moves of the market, or its price does not move.
    """
    numbers, shape = market.numbers, (len(dates), market.slices)
    row = market.row(np.arange(market.slices), regimes)
    if not numbers.by_news > 0.0 or not np.all(row.step_volatility > 0.0):
        raise ValueError("replay needs a scenario with news: volatility above 0 in each slice, and flow_share below 1")
    log_price = np.concatenate([np.zeros((len(dates), 1)), np.cumsum(returns, axis=1)], axis=1)
    price = numbers.arrival_price * np.exp(log_price)
    moved = np.diff(price, axis=1) / numbers.arrival_price
    if numbers.spec.geometric:
        explained = numbers.flow_share * numbers.spec.flow_persistence * numbers.spec.flow_persistence
        moved = returns + 0.5 * row.step_volatility * row.step_volatility * (1.0 - explained)
    if numbers.spec.drifting:
        moved = moved - row.step_drift
    spread = row.half_spread
    if half_spread_bps is not None:
        quoted = 1e-4 * half_spread_bps * price[:, :-1]
        spread = np.where(np.isnan(quoted), spread, quoted)
    following = np.concatenate([regimes[:, 1:], regimes[:, -1:]], axis=1)
    news, ratio = moved / (numbers.by_news * row.step_volatility), volume / row.mean_volume
    first = np.full((len(dates), 1), neutral_ratio(numbers))
    shock = ratio / predicted_ratio(numbers, np.concatenate([first, ratio[:, :-1]], axis=1))
    return Days(DaySlice(*(_flat(values, shape) for values in (news, shock, spread, regimes, following))), tuple(dates))


def _flat(values: Any, shape: tuple[int, int]) -> NDArray[Any]:
    """Return values by day and slice as an array of shape (days N,)."""
    return np.array(np.broadcast_to(values, shape)).ravel()
