r"""The market of a basket: its numbers, and the correlated worlds that its assets meet.

Each asset has a :class:`~hyperexec_env.market.tables.Market` of its own, whose slopes are the diagonal of the matrices. Asset 0
of an episode has the key of the episode; the keys of the others are hashed from it (:func:`asset_keys`). An episode has

- one regime path, drawn with the key of asset 0, so that asset 0 meets the regimes that it meets alone;
- volume shocks of each asset, independent, drawn with its own key;
- flow and news of each asset, mixed by the lower triangular root of the correlation C = L L': z_i = sum_(j <= i) L_ij z'_j with
  z'_j drawn with the key of asset j. Prices then have the covariance P_i P_j sigma_i sigma_j C_ij per day, and asset 0 has the
  price path that it has alone.

Draw whole episodes with :func:`draw_basket_path`, one slice with :func:`begin_basket` and :func:`draw_basket_slice`, and the
draws alone, to pass to :func:`~hyperexec_env.market.path.next_slice` asset by asset, with :func:`draw_basket`. All results
are lists over assets and equal to the last bit. Sides are prices' sides: +1 buy, -1 sell; `flip` = -1 turns all orders around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market import noise
from hyperexec_env.market.basket import Coupling
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.cross import adverse, impact_matrix, lower_root
from hyperexec_env.market.kernel import Impact, Slice
from hyperexec_env.market.numeric import where
from hyperexec_env.market.path import Draws, Path, World, begin, draw, draw_all, next_slice, path_of
from hyperexec_env.market.tables import Market, build_market

__all__ = [
    "BasketMarket",
    "asset_key",
    "asset_keys",
    "begin_basket",
    "build_basket",
    "draw_basket",
    "draw_basket_path",
    "draw_basket_slice",
    "mixed",
]

Floats = NDArray[np.float64]
_NONE = np.uint64(0)


@dataclass(frozen=True, eq=False)
class BasketMarket:
    """The numbers of a basket, computed once by :func:`build_basket`; matrices have the shape (assets, assets)."""

    scenario: BasketScenario
    markets: tuple[Market, ...]
    """Market of each asset; its slopes are the diagonal of the matrices, so they include cross-impact."""
    impacts: tuple[Impact, ...]
    """Impact of each asset, with the same slopes."""
    coupling: Coupling
    """The matrices in adverse coordinates, as rows of floats."""
    kyle: Floats
    """Lam, Kyle's slopes in the coordinates of prices, currency per share for each share bought."""
    root: tuple[tuple[float, ...], ...]
    """L, lower triangular root of the correlation of the returns, as rows."""
    sides: tuple[float, ...]
    """Side of each order, +1 buy, -1 sell."""

    @property
    def slices(self) -> int:
        """Number of slices N."""
        return self.markets[0].slices

    @property
    def regimes(self) -> int:
        """Number of regimes M."""
        return self.markets[0].regimes


@lru_cache(maxsize=16)
def _compile(text: str, basket_hash: str) -> BasketMarket:  # the text is the key; the hash names the basket in tracebacks
    return basket_market_of(BasketScenario.from_toml(text))


def build_basket(basket: BasketScenario) -> BasketMarket:
    """Return the market of a basket; the markets of the last 16 baskets are cached."""
    return _compile(basket.text, basket.hash)


def basket_market_of(basket: BasketScenario) -> BasketMarket:
    """Compute the market of a basket; :func:`build_basket` keeps the last markets."""
    assets, correlation = basket.assets, basket.matrix
    slopes = np.array([asset.kyle_lambda * asset.arrival_price / asset.adv for asset in assets])
    volatilities = [asset.volatility * asset.arrival_price for asset in assets]
    kyle = impact_matrix(slopes, volatilities, correlation, basket.cross_impact)
    own = [float(kyle[i, i] / slope) if slope > 0.0 else 1.0 for i, slope in enumerate(slopes)]
    markets = tuple(_with_own_slope(build_market(asset), scale) for asset, scale in zip(assets, own, strict=True))
    sides = tuple(float(asset.side) for asset in assets)
    share = max((asset.perm_impact_gamma / asset.kyle_lambda for asset in assets if asset.kyle_lambda > 0.0), default=0.0)
    permanent, transient = share * kyle, (1.0 - share) * kyle
    for i, market in enumerate(markets):
        permanent[i, i], transient[i, i] = market.impact.permanent_slope, market.impact.transient_slope
    return BasketMarket(
        scenario=basket,
        markets=markets,
        impacts=tuple(market.impact for market in markets),
        coupling=Coupling(*(_rows(adverse(matrix, sides)) for matrix in (permanent, transient, correlation))),
        kyle=kyle,
        root=lower_root(correlation),
        sides=sides,
    )


def _rows(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    """Return a matrix as tuples of floats."""
    return tuple(tuple(row) for row in matrix.tolist())


def _with_own_slope(market: Market, scale: float) -> Market:
    """Return a market with its slopes multiplied by Lam_ii / a_i, the part of the own slope that the matrix leaves."""
    if scale == 1.0:
        return market
    impact = market.impact
    impact = impact._replace(permanent_slope=impact.permanent_slope * scale, transient_slope=impact.transient_slope * scale)
    numbers = market.numbers._replace(permanent_slope=impact.permanent_slope, transient_slope=impact.transient_slope)
    return replace(market, impact=impact, numbers=numbers)


def asset_keys(keys: Any, assets: int) -> list[Any]:
    """Return the keys of each asset: the keys of the episodes for asset 0, and hashes of them for the others.

    Args:
        keys: Keys of the episodes, shape (episodes,).
        assets: Number of assets.
    """
    column = np.arange(assets, dtype=np.uint64).reshape(-1, *(1,) * np.ndim(keys))
    return list(asset_key(keys[None], column))


def asset_key(key: Any, number: Any) -> Any:
    """Return the key of an asset of the episode with a key; `number` is that of the asset, a word."""
    return where(number == _NONE, key, noise.key(key, key * _NONE + number))


def _mixed(row: Sequence[float], values: Sequence[Any]) -> Any:
    """Return the sum of a row of L times independent values, added from left to right."""
    total = row[0] * values[0]
    for j in range(1, len(values)):
        if row[j] != 0.0:
            total = total + row[j] * values[j]
    return total


def mixed(market: BasketMarket, draws: Sequence[Draws]) -> list[Draws]:
    """Return the draws of each asset with the correlation of the basket, given independent ones; the regime is asset 0's."""
    flows, news = [each.flow for each in draws], [each.news for each in draws]
    return [
        Draws(_mixed(row, flows), _mixed(row, news), each.volume_shock, draws[0].regime_draw)
        for row, each in zip(market.root, draws, strict=True)
    ]


def draw_basket(market: BasketMarket, keys: Any, k: Any) -> list[Draws]:
    """Return the correlated draws of slice `k` of each asset; `keys` and `k` as in :func:`~hyperexec_env.market.path.draw`."""
    by_asset = asset_keys(keys, len(market.markets))
    return mixed(market, [draw(each, own, k) for each, own in zip(market.markets, by_asset, strict=True)])


def begin_basket(market: BasketMarket, keys: noise.Words) -> list[World]:
    """Return the market of each asset at the start of the first slice, fields of shape (episodes,)."""
    return _begun(market, asset_keys(keys, len(market.markets)))


def _begun(market: BasketMarket, by_asset: Sequence[noise.Words]) -> list[World]:
    """Return :func:`begin_basket`, given the keys of each asset."""
    worlds = [begin(each, own) for each, own in zip(market.markets, by_asset, strict=True)]
    flows = [world.flow for world in worlds]
    return [
        world._replace(regime=worlds[0].regime.copy(), flow=_mixed(row, flows))
        for row, world in zip(market.root, worlds, strict=True)
    ]


def draw_basket_slice(
    market: BasketMarket, keys: noise.Words, k: Any, worlds: Sequence[World], flip: Any = 1.0
) -> tuple[list[Slice], list[World]]:
    """Return slice `k` of each asset, and its market at the start of the next slice.

    Args:
        market: The market.
        keys: Keys of the episodes, shape (episodes,).
        k: Slice, a number or an array of shape (episodes,).
        worlds: The market of each asset at the start of the slice.
        flip: +1, or -1 where all orders are turned around: a number or an array of shape (episodes,).
    """
    draws = draw_basket(market, keys, k)
    made = [
        next_slice(each.numbers, side * flip, k, each.row(k, world.regime), world, drawn)
        for each, side, world, drawn in zip(market.markets, market.sides, worlds, draws, strict=True)
    ]
    return [slice for slice, _ in made], [world for _, world in made]


def draw_basket_path(market: BasketMarket, keys: noise.Words, flip: Any = 1.0) -> list[Path]:
    """Return the paths of each asset over whole episodes, equal to :func:`draw_basket_slice` slice by slice.

    Args:
        market: The market.
        keys: Keys of the episodes, shape (episodes,).
        flip: +1, or -1 where all orders are turned around: a number or an array of shape (episodes,).

    Returns:
        One :class:`~hyperexec_env.market.path.Path` per asset, fields of shape (N, episodes); all have the same regimes.
    """
    by_asset = asset_keys(keys, len(market.markets))
    draws = mixed(market, [draw_all(each, own) for each, own in zip(market.markets, by_asset, strict=True)])
    first = _begun(market, by_asset)
    parts = zip(market.markets, by_asset, market.sides, first, draws, strict=True)
    return [path_of(each, own, side * flip, world, drawn) for each, own, side, world, drawn in parts]
