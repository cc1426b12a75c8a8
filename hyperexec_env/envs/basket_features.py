"""Observations of a basket: a block for the whole basket, then a block for each asset.

The block of an asset has the features of :data:`~hyperexec_env.envs.features.FEATURES` that differ between assets, with
`pull` after the features that depend on trades. The block of the basket has the features that all assets share, and the value
and the variance of the remaining shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from math import inf
from operator import add, mul
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.envs.features import FEATURES, OWN, Feature, Observer, assemble, computed_features
from hyperexec_env.envs.situation import Situation
from hyperexec_env.market.basket import Rows, products
from hyperexec_env.market.basket_path import BasketMarket
from hyperexec_env.market.numeric import between, power, where

__all__ = [
    "ASSET",
    "BASKET",
    "COMMON",
    "DIFFERENT",
    "PULLED",
    "BasketSight",
    "Whole",
    "basket_columns",
    "basket_features",
    "basket_names",
    "basket_sight",
    "basket_space",
    "deviation_of",
    "joined",
    "observe_situation",
    "pull_of",
    "seen_alone",
    "side_by_side",
    "variance_left",
    "whole_of",
]

_COMPUTED: Final = (Feature("value_left", 0.0, 1.0), Feature("variance_left", 0.0, 1.0))
_PULL: Final = Feature("pull", -1.0, 1.0)
COMMON: Final = tuple(
    column for column, feature in enumerate(FEATURES) if feature.name == "time_left" or feature.name.startswith("regime_")
)
"""Columns of the features of one asset that are equal for all assets: their functions read slice and regime only."""
DIFFERENT: Final = tuple(column for column in range(OWN, len(FEATURES)) if column not in COMMON)
"""Columns of the features of one asset that depend neither on trades nor are common."""

BASKET: Final = (*_COMPUTED, *(FEATURES[column] for column in COMMON))
"""Features of the whole basket, in the order of the observation."""
ASSET: Final = (
    *(Feature(each.name, -1.0, 1.0) if each.name == "transient_displacement" else each for each in FEATURES[:OWN]),
    _PULL,
    *(FEATURES[column] for column in DIFFERENT),
)
"""Features of each asset, in the order of the observation. The trades of other assets can make a displacement negative."""
PULLED: Final = OWN + 1
"""Number of features of an asset that depend on trades; they come first."""


class BasketSight(NamedTuple):
    """The numbers of the features of a basket; lists have one element for each asset."""

    prices: tuple[float, ...]
    """Arrival price, currency per share."""
    deviations: tuple[float, ...]
    """Daily standard deviation of the price, currency per share, without regime and shape of the day."""
    correlation: Rows
    """Correlation of the price moves, each in the direction of the order, as rows."""
    reach: Rows
    """|K_ij| / K_ii as rows: the largest transient displacement of asset i is K_ii times row i times the orders."""


def basket_sight(market: BasketMarket) -> BasketSight:
    """Return the numbers of the features of a basket."""
    assets, slopes = market.scenario.assets, market.coupling.transient
    reach = [
        [abs(slope) / row[i] if row[i] > 0.0 else float(i == j) for j, slope in enumerate(row)] for i, row in enumerate(slopes)
    ]
    return BasketSight(
        tuple(asset.arrival_price for asset in assets),
        tuple(asset.volatility * asset.arrival_price for asset in assets),
        market.coupling.correlation,
        tuple(map(tuple, reach)),
    )


class Whole(NamedTuple):
    """The orders of an episode as a whole."""

    value: Any
    """Value at arrival prices, currency."""
    variance: Any
    """Daily variance of the value, currency^2."""
    reach: list[Any]
    """Largest transient displacement that all orders can cause in each asset, over that of one share of its own."""


def whole_of(sight: BasketSight, orders: Sequence[Any]) -> Whole:
    """Return the numbers of the whole basket, given the shares of each order."""
    moves, exposed = _exposures(sight, orders)
    return Whole(_total(sight.prices, orders), _total(moves, exposed), products(sight.reach, orders))


def _exposures(sight: BasketSight, shares: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the daily deviation of the shares of each asset, and its part along the basket (C times deviations), currency."""
    moves = list(map(mul, sight.deviations, shares))
    return moves, products(sight.correlation, moves)


def basket_features(sight: BasketSight, whole: Whole, lefts: Sequence[Any]) -> tuple[tuple[Any, Any], list[Any]]:
    r"""Return the features of the remaining shares: value_left and variance_left of the basket, and the pull of each asset.

    With :math:`\Sigma` the covariance of the price moves in the directions of the orders, x the remaining shares and X the
    orders, value_left is :math:`P'x / P'X`; variance_left is y / (1 + y) of :math:`y = x'\Sigma x / X'\Sigma X`, which a hedge
    that trades first raises above 1; and the pull of asset i is

    .. math:: (\Sigma x)_i / \sqrt{\Sigma_{ii}\, x'\Sigma x} \in [-1, 1],

    the correlation of asset i with the remaining basket: a negative pull is a hedge. Features without variance are 0.

    Args:
        sight: The numbers of the features.
        whole: The whole orders, from :func:`whole_of`.
        lefts: Remaining shares of each asset, x.
    """
    moves, exposed = _exposures(sight, lefts)
    variance = _total(moves, exposed)
    held, deviation = deviation_of(variance)
    computed = _total(sight.prices, lefts) / whole.value, variance_left(variance, whole.variance)
    return computed, [pull_of(own, held, deviation) for own in exposed]


def deviation_of(variance: Any) -> tuple[Any, Any]:
    """Return whether the remaining basket has a variance, and its standard deviation (1 where it has none)."""
    held = variance > 0.0
    return held, power(where(held, variance, 1.0), 0.5)


def variance_left(variance: Any, total: Any) -> Any:
    """Return y / (1 + y) of y, the variance of the remaining shares over the variance of the orders (0 without any)."""
    risky = total > 0.0
    ratio = where(risky, where(variance > 0.0, variance, 0.0) / where(risky, total, 1.0), 0.0)
    return ratio / (1.0 + ratio)


def pull_of(exposed: Any, held: Any, deviation: Any) -> Any:
    """Return the pull of an asset.

    Args:
        exposed: (Sigma x)_i over the standard deviation of asset i, currency.
        held: Whether the remaining basket has a variance.
        deviation: Standard deviation of the remaining basket, currency; 1 where it has none.
    """
    return between(where(held, exposed, 0.0) / deviation, -1.0, 1.0, inf)  # without the last bits that rounding adds


def _total(weights: Sequence[Any], values: Sequence[Any]) -> Any:
    """Return the sum of products, added from left to right, so that floats and arrays agree to the last bit."""
    return reduce(add, map(mul, weights, values))


def basket_names(assets: int) -> tuple[str, ...]:
    """Return the names of the features of a basket of some assets, such as `value_left` and `asset3.remaining`."""
    own = (f"asset{number}.{feature.name}" for number in range(assets) for feature in ASSET)
    return (*(feature.name for feature in BASKET), *own)


def basket_space(assets: int) -> spaces.Box:
    """Return the observation space of a basket: shape (features,), float32, finite bounds."""
    features = (*BASKET, *ASSET * assets)
    low, high = (np.array([getattr(feature, end) for feature in features], np.float32) for end in ("low", "high"))
    return spaces.Box(low, high, dtype=np.float32)


@cache
def basket_columns(assets: int) -> NDArray[np.intp]:
    """Return the columns that the observation of a basket takes from the observations of its assets alone, side by side.

    A feature that the basket computes takes a column that its value replaces.
    """
    own = (*range(PULLED), *DIFFERENT)
    return np.array([*(0,) * len(_COMPUTED), *COMMON, *(i * len(FEATURES) + column for i in range(assets) for column in own)])


def side_by_side(alone: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the observations of a basket, shape (..., features), without the features that it computes.

    Args:
        alone: Observations of each asset alone, shape (..., features).
    """
    rows: NDArray[np.float32] = np.concatenate(alone, axis=-1).take(basket_columns(len(alone)), axis=-1)
    return rows


def seen_alone(observer: Observer, reach: Any, situation: Situation) -> NDArray[np.float32]:
    """Return the features that an asset of a basket has alone, shape (episodes, features).

    Args:
        observer: Observer of the asset.
        reach: Element of :attr:`Whole.reach` of the asset.
        situation: What the agent knows of the asset; its market and the price of its last fill are not read.
    """
    cell = observer.market.cell(np.minimum(situation.k, observer.market.slices), situation.seen)
    own, drawn = computed_features(observer.market.numbers, observer.sight, observer.view(cell), situation, reach)
    return assemble((*own, *drawn), observer.rows.take(cell, axis=0))


def joined(sight: BasketSight, whole: Whole, lefts: Sequence[Any], alone: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the observations of a basket, shape (episodes, features), from those of its assets alone."""
    computed, pulls = basket_features(sight, whole, lefts)
    rows = assemble(computed, side_by_side(alone))
    for i, pull in enumerate(pulls):
        assemble((pull,), rows, len(BASKET) + i * len(ASSET) + PULLED - 1)
    return rows


def observe_situation(sight: BasketSight, observers: Sequence[Observer], situation: Situation) -> NDArray[np.float32]:
    """Return the observations, shape (episodes, features), of a basket whose situation has the shape (assets, episodes)."""
    whole = whole_of(sight, situation.quantity)
    fields = [name for name in Situation._fields if name not in ("market", "k", "seen")]
    alone = []
    for i, observer in enumerate(observers):
        own = situation._replace(market=None, **{name: getattr(situation, name)[i] for name in fields})
        alone.append(seen_alone(observer, whole.reach[i], own))
    return joined(sight, whole, situation.remaining, alone)
