"""Observations: what an agent sees of the market and of its own order. Past only.

A feature is one :class:`Feature` in a list. Spaces, names, tables and the records of every execution follow from the lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation, situation_of
from hyperexec_env.market.lane import EpisodeOrder, Lane
from hyperexec_env.market.model import Market, Numbers
from hyperexec_env.market.numeric import minimum, power, signed
from hyperexec_env.market.regime import REGIME_NAMES, UNKNOWN
from hyperexec_env.records import Real, Single, Whole, record_type

__all__ = [
    "FEATURES",
    "OWN",
    "Feature",
    "Observer",
    "Scales",
    "Seen",
    "Sight",
    "View",
    "build_observer",
    "drawn_features",
    "observation_names",
    "observation_space",
    "observe",
    "own_features",
    "shown",
    "view_cell",
]

_BIG: Final = 20.0
_FLOW: Final = 400.0  # 7.45 sqrt((1 + phi) / (1 - phi)) for the largest persistence that a scenario may have
_FARTHEST: Final = 6.77  # the largest normal number that the noise can draw


class Scales(NamedTuple):
    """Units of the features."""

    transient: Real
    """One over the largest displacement by an order of one share: where impact is linear, 1 / kappa, shares per currency (0
    where nothing is transient, or where the regime is not observed)."""
    move: Real
    """One over the standard deviation of the price over the order, per currency."""


class Feature(NamedTuple):
    """One number of the observation."""

    name: str
    low: float
    high: float
    table: Callable[[Market], Any] | None = None
    """Values by slice and regime, to be broadcast to shape (N + 1, M + 1); None: the feature is computed from the lane."""


# computed from the agent's trades, by own_features
_OWN: Final = (
    Feature("remaining", 0.0, 1.0),
    Feature("behind_schedule", -1.0, 1.0),
    Feature("required_participation", 0.0, 1.0),
    Feature("transient_displacement", 0.0, 1.0),
    Feature("price_move", -1.0, 1.0),
    Feature("last_participation", 0.0, 1.0),
)
# computed from the draws, by drawn_features
_DRAWN: Final = (
    Feature("last_volume", 0.0, _BIG),
    Feature("last_flow", -_FLOW, _FLOW),
    Feature("side", -1.0, 1.0),
)


def own_features(
    scales: Scales,
    quantity: Any,
    reach: Any,
    state: tuple[Any, Any, Any],
    last_shares: Any,
    last_volume: Any,
    known: tuple[Any, Any, Any],
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Return the features that depend on the agent's trades. Bounded by their form, not by clipping.

    `reach` is :func:`reach` of the quantity. `known` holds the move of the unaffected price against the order since arrival,
    the share of the order that the schedule has left, and the expected volume of the rest. The price move is x / (1 + |x|) of
    the move of the mid in standard deviations over the whole order (without the transient displacement where the regime is
    not observed).
    """
    remaining, permanent, transient = state
    by_transient, by_move = scales
    drifted, plan, rest_volume = known
    left = remaining / quantity
    move = (drifted + permanent + (transient if by_transient else 0.0)) * by_move
    return (
        left,
        left - plan,
        remaining / (remaining + rest_volume),
        transient * by_transient / reach,
        move / (1.0 + abs(move)),
        last_shares / (last_shares + last_volume),
    )


def drawn_features(last_expected: Any, side: Any, last_volume: Any, flow: Any) -> tuple[Any, Any, Any]:
    """Return the features of the draws: last volume over its expectation, last flow against us, side."""
    return minimum(last_volume / last_expected, _BIG), signed(side, flow), side


def _one_hot(name: str) -> Callable[[Market], Any]:
    """Return the table of whether a regime holds."""
    return lambda market: np.array([name == other for other in (*market.scenario.regimes.names, UNKNOWN)], dtype=float)


# looked up by slice and regime
_KNOWN: Final = (
    Feature("time_left", 0.0, 1.0, lambda market: (1.0 - np.arange(market.slices + 1) / market.slices)[:, None]),
    Feature("expected_volume", 0.0, _BIG, lambda market: market.mean_volume / market.numbers.slice_volume),
    Feature("expected_volume_rest", 0.0, _BIG, lambda market: market.rest_volume / market.rest_volume[0, market.unknown]),
    Feature("volatility", 0.0, _BIG, lambda market: market.volatility),
    Feature("spread", 0.0, _BIG, lambda market: market.half_spread / (market.half_spread[market.unknown] or 1.0)),
    *(Feature(f"regime_{name}", 0.0, 1.0, _one_hot(name)) for name in (*REGIME_NAMES, UNKNOWN)),
)

FEATURES: Final = (*_OWN, *_DRAWN, *_KNOWN)
"""All features, in the order of the observation."""
OWN: Final = len(_OWN)
"""Number of features that depend on the agent's trades; they come first."""
Seen: Any = record_type("Seen", (feature.name for feature in (*_OWN, *_DRAWN)), Single)
"""The features that are computed from a lane; the features of a table follow."""


def _check() -> None:
    """Compare the lists of features with what the functions return.

    Raises:
        TypeError: A feature was added in one place and not in another; the message names the place.
    """
    own = own_features(Scales(1.0, 1.0), 1.0, 1.0, (1.0, 0.0, 0.0), 0.0, 1.0, (0.0, 1.0, 1.0))
    for name, listed, returned in (("own", _OWN, own), ("drawn", _DRAWN, drawn_features(1.0, 1.0, 1.0, 0.0))):
        if len(listed) != len(returned):
            raise TypeError(f"features.{name}_features returns {len(returned)} values for {len(listed)} features")


_check()


def observation_names() -> tuple[str, ...]:
    """Return the names of the features, in order."""
    return tuple(feature.name for feature in FEATURES)


def observation_space() -> spaces.Box:
    """Return the space of observations: float32, finite bounds, the same for every scenario."""
    return spaces.Box(*_bounds(FEATURES), dtype=np.float32)


def _bounds(features: tuple[Feature, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the smallest and the largest value of some features."""
    low, high = (np.array([getattr(feature, end) for feature in features], np.float32) for end in ("low", "high"))
    return low, high


class Sight(NamedTuple):
    """What an observer is shown, in numbers."""

    scales: Scales
    hidden: Whole
    """1 where the regime, and what would betray it, is kept from the observer, else 0."""


class View(NamedTuple):
    """The numbers of one slice and one regime that observations are made of; fields have the names of :class:`Observer`."""

    plan: Real
    """Share of the order that the schedule of the expected volume has left."""
    last_expected: Real
    """Volume that the schedule expected of the slice before, shares."""
    rest_volume: Real
    """Expected volume of the rest, shares."""


def reach(quantity: Any, exponent: float) -> Any:
    """Return the largest transient displacement by an order, in those of one share: its shares, where impact is linear."""
    return quantity if exponent == 1.0 else power(quantity, exponent)


def view_cell(numbers: Numbers, lane: Lane) -> int:
    """Return the place of the slice that comes, or of the end, in the tables of an observer."""
    cell: int = minimum(lane.k, numbers.slices) * numbers.width + lane.world.regime
    return cell


def seen_of(numbers: Numbers, sight: Sight, view: View, situation: Situation) -> Any:
    """Return the features (:data:`Seen`) of a situation."""
    drifted = signed(situation.side, situation.price - numbers.arrival_price)
    own = own_features(
        sight.scales,
        situation.quantity,
        reach(situation.quantity, numbers.spec.transient_exponent),
        (situation.remaining, situation.permanent, situation.transient),
        situation.last_shares,
        situation.last_volume,
        (drifted, view.plan, view.rest_volume),
    )
    drawn = drawn_features(view.last_expected, situation.side, situation.last_volume, situation.flow)
    return Seen(*own, *drawn)


def observe(numbers: Numbers, sight: Sight, order: EpisodeOrder, lane: Lane, view: View) -> Seen:
    """Return the features of a lane."""
    situation = situation_of(None, numbers, sight.hidden, order, lane, lane.world.price)
    return seen_of(numbers, sight, view, situation)


def _scales(market: Market, hidden: bool) -> Scales:
    """Return the units of the features for a market."""
    displacement = _of_one_share(market)
    scenario = market.scenario
    deviation = scenario.volatility * scenario.arrival_price * np.sqrt(market.tau * market.slices)
    return Scales(
        1.0 / displacement if displacement > 0.0 and not hidden else 0.0,
        float(1.0 / deviation) if deviation > 0.0 else 0.0,
    )


def _of_one_share(market: Market) -> float:
    """Return the largest transient displacement that an order of one share could cause, currency per share.

    An order of X shares can cause X^p times as much, p the exponent of the transient impact: traded at once where p is at least
    1, else spread over the slices as n_j ~ kept^(j / (1 - p)), j slices before the end (Hoelder's inequality).
    """
    impact, exponent, noise = market.impact, market.impact.transient_exponent, market.scenario.volume_noise
    if exponent == 1.0:
        return float(impact.transient_slope)
    least_volume = market.mean_volume[:-1, : market.unknown].min() * math.exp(-noise * (_FARTHEST + 0.5 * noise))
    at_once = float(impact.transient_slope * least_volume**-exponent)
    if exponent > 1.0:
        return at_once
    kept = market.transient_kept.max() ** (np.arange(market.slices) / (1.0 - exponent))
    return at_once * float(kept.sum() ** (1.0 - exponent))


@dataclass(frozen=True, eq=False)
class Observer:
    """How the situations of one market become observations: the tables that are computed once.

    An observer who does not observe the regime is shown expectations over the law of the regimes where others see the regime's
    numbers, and no transient displacement: its decay would betray the resilience.
    """

    market: Market
    hidden: bool
    """Whether the regime, and what would betray it, is kept from the observer."""
    sight: Sight
    plan: NDArray[np.float64]
    """Share of the order that the schedule of the expected volume has left, by cell."""
    last_expected: NDArray[np.float64]
    """Volume that the schedule expected of the slice before, shares, by cell."""
    rest_volume: NDArray[np.float64]
    """Expected volume of the rest, at least one share, so that nothing is divided by zero, by cell."""
    known: NDArray[np.float32]
    """The features of a table, shape (cells, features)."""

    @property
    def table(self) -> View:
        """The numbers of each cell, one array for each field of :class:`View`."""
        return View(*(getattr(self, name) for name in View._fields))

    def view(self, cell: Any) -> View:
        """Return what observations are made of in some cells."""
        return View(*(column.take(cell) for column in self.table))

    def observe(self, situation: Situation) -> NDArray[np.float32]:
        """Return the observations of a batch of situations, shape (episodes, features)."""
        cell = self.market.cell(situation.k, situation.seen)
        seen = seen_of(self.market.numbers, self.sight, self.view(cell), situation)
        return assemble(seen, self.known.take(cell, axis=0))

    def seen(self, regime: Any) -> Any:
        """Return the column of the tables that the observer sees."""
        return np.full_like(regime, self.market.unknown) if self.hidden else regime


def assemble(seen: Any, known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the observations: the features of :data:`Seen`, then those of a table, shape (..., features)."""
    observation = np.empty((*known.shape[:-1], len(FEATURES)), np.float32)
    for column, values in enumerate(seen):
        observation[..., column] = values
    observation[..., len(seen) :] = known
    return observation


def shown(market: Market, table: NDArray[Any], hidden: bool) -> NDArray[Any]:
    """Return a table, to be broadcast to shape (N + 1, M + 1), with one row a cell, as an observer is shown it.

    Where the regime is not observed, each regime has the numbers of the last column, the expectations.
    """
    shape = (market.slices + 1, market.regimes + 1)
    columns = table[:, -1:] if hidden else table
    return np.ascontiguousarray(np.broadcast_to(columns, shape)).ravel()


def build_observer(market: Market, observe_regime: bool = True) -> Observer:
    """Compute the tables of the observations of a market."""
    hidden = not observe_regime

    def by_cell(table: Any) -> NDArray[Any]:
        return shown(market, table, hidden)

    expected = np.append(market.numbers.slice_volume, market.mean_volume[:-1, market.unknown])
    columns = [np.atleast_2d(feature.table(market)) for feature in _KNOWN if feature.table is not None]
    known = np.stack([by_cell(column) for column in columns], axis=1)
    return Observer(
        market,
        hidden,
        Sight(_scales(market, hidden), int(hidden)),
        by_cell(market.plan[:, None]),
        by_cell(expected[:, None]),
        by_cell(np.maximum(market.rest_volume, 1.0)),
        np.clip(known, *_bounds(_KNOWN)).astype(np.float32),
    )
