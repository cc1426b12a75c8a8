"""Observations: what an agent sees of the market and of its own order. Past only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.market.kernel import State
from hyperexec_env.market.model import Market
from hyperexec_env.market.numeric import minimum, power, signed
from hyperexec_env.market.regime import REGIME_NAMES, UNKNOWN

__all__ = [
    "OWN",
    "Observer",
    "Situation",
    "build_observer",
    "drawn_features",
    "observation_names",
    "observation_space",
    "own_features",
]

_BIG: Final = 20.0
_FLOW: Final = 400.0  # 7.45 sqrt((1 + phi) / (1 - phi)) for the largest persistence that a scenario may have
_FARTHEST: Final = 6.77  # the largest normal number that the noise can draw
_FEATURES: Final = (
    # what depends on the agent's trades
    ("remaining", 0.0, 1.0),
    ("behind_schedule", -1.0, 1.0),
    ("required_participation", 0.0, 1.0),
    ("transient_displacement", 0.0, 1.0),
    ("price_move", -1.0, 1.0),
    ("last_participation", 0.0, 1.0),
    # what nature drew
    ("last_volume", 0.0, _BIG),
    ("last_flow", -_FLOW, _FLOW),
    ("side", -1.0, 1.0),
    # what follows from the slice and the regime: a table
    ("time_left", 0.0, 1.0),
    ("expected_volume", 0.0, _BIG),
    ("expected_volume_rest", 0.0, _BIG),
    ("volatility", 0.0, _BIG),
    ("spread", 0.0, _BIG),
    *((f"regime_{name}", 0.0, 1.0) for name in (*REGIME_NAMES, UNKNOWN)),
)
OWN: Final = 6
"""Number of features that depend on the agent's trades; they come first."""
_DRAWN: Final = 3
_FIRST_OF_TABLE: Final = OWN + _DRAWN


def observation_names() -> tuple[str, ...]:
    """Return the names of the features, in order."""
    return tuple(name for name, _, _ in _FEATURES)


def observation_space() -> spaces.Box:
    """Return the space of observations: float32, finite bounds, the same for every scenario."""
    low = np.array([low for _, low, _ in _FEATURES], dtype=np.float32)
    high = np.array([high for _, _, high in _FEATURES], dtype=np.float32)
    return spaces.Box(low, high, dtype=np.float32)


class Situation(NamedTuple):
    """What a policy may know at the start of a slice, in natural units: floats, or arrays over episodes.

    `seen` is the column of the market's tables: the regime, or `market.unknown` for an observer who is not told.
    """

    market: Market
    k: Any
    """Slice, 0..N."""
    seen: Any
    side: Any
    quantity: Any
    """Shares of the whole order."""
    remaining: Any
    """Shares still to trade."""
    permanent: Any
    """Permanent displacement, currency per share, adverse is positive."""
    transient: Any
    """Transient displacement, currency per share, adverse is positive (zero for an observer who is not told the regime)."""
    price: Any
    """Unaffected price, currency per share."""
    flow: Any
    """Order flow of the slice before, standard deviations, positive is buying."""
    last_shares: Any
    """Shares of the order that traded in the slice before."""
    last_volume: Any
    """Market volume of the slice before, shares (before the first slice: what a slice holds on average)."""
    last_price: Any
    """Average price of `last_shares`, currency per share (`price` where none traded, and where the regime is not told, which
    the impact would betray)."""


class Scales(NamedTuple):
    """Units of the features: numbers, or arrays without dimension."""

    transient: Any
    """One over the largest displacement by an order of one share: where impact is linear, 1 / kappa, shares per currency (0
    where nothing is transient)."""
    move: Any
    """One over the standard deviation of the price over the order, per currency."""
    volume: Any
    """Mean volume of a slice, shares."""


def _scales(market: Market) -> Scales:
    """Return the units of the features for a market."""
    displacement = _of_one_share(market)
    scenario = market.scenario
    deviation = scenario.volatility * scenario.arrival_price * np.sqrt(market.tau * market.slices)
    return Scales(
        1.0 / displacement if displacement > 0.0 else 0.0,
        float(1.0 / deviation) if deviation > 0.0 else 0.0,
        float(market.rest_volume[0, market.unknown]) / market.slices,
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

    `reach` is :meth:`Observer.reach` of the quantity. `known` holds the move of the unaffected price against the order since
    arrival, the share of the order that the schedule has left, and the expected volume of the rest. The price move is
    x / (1 + |x|) of the move of the mid in standard deviations over the whole order (without the transient displacement for an
    observer who is not shown it).
    """
    remaining, permanent, transient = state
    by_transient, by_move, _ = scales
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


def drawn_features(expected: Any, side: Any, last_volume: Any, flow: Any) -> tuple[Any, Any, Any]:
    """Return the features that nature drew: last volume against what the schedule expected, last flow against us, side."""
    return minimum(last_volume / expected, _BIG), signed(side, flow), side


@dataclass(frozen=True, eq=False)
class Observer:
    """How the situations of one market become observations: the tables that are computed once."""

    market: Market
    hidden: bool
    """Whether the regime, and what would betray it, is kept from the observer."""
    scales: Scales
    units: Scales
    """The same as arrays without dimension, which numpy combines with arrays in less time than scalars."""
    arrival_price: NDArray[np.float64]
    """Arrival price, also without dimension."""
    table: NDArray[np.float32]
    """Observation of each slice and regime, the other features zero, shape (N + 1, M + 1, features)."""
    rows: NDArray[np.float32]
    """The table as one row for each cell, shape ((N + 1) (M + 1), features)."""
    rest_volume: NDArray[np.float64]
    """Expected volume of the rest, at least one share, so that nothing is divided by zero, shape (N + 1, M + 1)."""
    last_expected: NDArray[np.float64]
    """What the schedule expected of the slice before each slice, shares, shape (N + 1,)."""

    def observe(self, situation: Situation, cell: Any = None) -> NDArray[np.float32]:
        """Return the observations of a batch of situations, shape (episodes, features).

        `cell` is their place in the tables, `market.cell(situation.k, situation.seen)`, for who has it already.
        """
        k, side = situation.k, situation.side
        if cell is None:
            cell = self.market.cell(k, situation.seen)
        observation: NDArray[np.float32] = self.rows.take(cell, axis=0)
        drifted = signed(side, situation.price - self.arrival_price)
        own = own_features(
            self.units,
            situation.quantity,
            self.reach(situation.quantity),
            State(situation.remaining, situation.permanent, situation.transient),
            situation.last_shares,
            situation.last_volume,
            (drifted, self.market.plan.take(k), self.rest_volume.take(cell)),
        )
        drawn = self.drawn_features(k, side, situation.last_volume, situation.flow)
        for column, values in zip(observation.T, (*own, *drawn), strict=False):
            column[:] = values
        return observation

    def reach(self, quantity: Any) -> Any:
        """Return the largest transient displacement by an order, in those of one share: its shares, where impact is linear."""
        exponent = self.market.impact.transient_exponent
        return quantity if exponent == 1.0 else power(quantity, exponent)

    def seen(self, regime: Any) -> Any:
        """Return the column of the tables that the observer sees."""
        return np.full_like(regime, self.market.unknown) if self.hidden else regime

    def drawn_features(self, k: Any, side: Any, last_volume: Any, flow: Any) -> tuple[Any, Any, Any]:
        """Return :func:`drawn_features` for a slice, or some."""
        return drawn_features(self.last_expected.take(k), side, last_volume, flow)


def build_observer(market: Market, observe_regime: bool = True) -> Observer:
    """Compute the tables of the observations of a market.

    An observer who is not told the regime sees expectations over the law of the regimes where others see the regime's, and
    no transient displacement: its decay would tell the resilience.
    """
    slices, unknown = market.slices, market.unknown
    units = _scales(market)
    if not observe_regime:
        units = units._replace(transient=0.0)
    table = np.zeros((slices + 1, unknown + 1, len(_FEATURES)))
    named = table[..., _FIRST_OF_TABLE:]
    named[..., 0] = (1.0 - np.arange(slices + 1) / slices)[:, None]
    named[..., 1] = market.mean_volume / units.volume
    named[..., 2] = market.rest_volume / market.rest_volume[0, unknown]
    named[..., 3] = market.volatility
    named[..., 4] = market.half_spread / (market.half_spread[unknown] or 1.0)
    names = (*market.scenario.regimes.names, UNKNOWN)
    for index, name in enumerate((*REGIME_NAMES, UNKNOWN), start=5):
        if name in names:
            named[:, names.index(name), index] = 1.0
    rows = np.clip(table, 0.0, _BIG).astype(np.float32)
    return Observer(
        market,
        not observe_regime,
        units,
        Scales(*(np.array(unit) for unit in units)),
        np.array(market.scenario.arrival_price),
        rows,
        rows.reshape(-1, rows.shape[-1]),
        np.maximum(market.rest_volume, 1.0),
        np.append(units.volume, market.mean_volume[:-1, unknown]),
    )
