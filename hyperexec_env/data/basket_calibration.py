"""Calibration of a basket: the market of each asset from its own bars, and the correlation from the sessions they share."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, nearest
from hyperexec_env.market.basket_scenario import MOST_ASSETS, BasketScenario
from hyperexec_env.market.regime import Regimes

from .calibration import FEW_SESSIONS, NAMES, Calibration, calibration_of
from .correlation import Correlation, estimate_correlation
from .figures import estimate, samples_of
from .format import Format
from .numbers import rounded
from .reader import read_bars
from .sessions import Sessions, sessions_of
from .sources import find_sources, within_memory

__all__ = [
    *("BasketCalibration", "calibrate_basket", "correlation_lines", "names_of", "read_assets", "signed_shares"),
]

SHARE: Final = 0.04
"""Size of an order that is not given, as a share of the average daily volume; it buys."""
MOST_SHOWN: Final = 12
"""Largest number of assets whose correlations are printed pair by pair."""
_PER_ASSET: Final = ("side", "quantity", "adv")
_NOT_HERE: Final = ("regimes", "volume_level", "volume_level_sd", "posterior")


@dataclass(frozen=True, eq=False)
class BasketCalibration:
    """A calibrated basket with the bars, the correlation and the errors that it is made from; ``print`` shows them as text."""

    scenario: BasketScenario
    assets: tuple[Calibration, ...]
    """Calibration of each asset, in the order of the basket."""
    correlation: Correlation

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences on what makes the numbers doubtful."""
        dates = self.correlation.returns.dates
        last = sorted({each.bars.last for each in self.assets})
        found = []
        if len(dates) < FEW_SESSIONS:
            found.append(f"only {len(dates)} common sessions (fewer than {FEW_SESSIONS}): errors of the errors are large")
        if len(last) > 1:
            found.append(f"arrival prices are of different days, {last[0]} to {last[-1]}: the bars end on different days")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "scenario": self.scenario.to_dict(),
            "correlation": self.correlation.to_dict(),
            "assets": [{"bars": each.bars.to_dict(), "errors": dict(each.errors)} for each in self.assets],
            "notices": list(self.notices),
        }

    def __str__(self) -> str:
        """Return the calibration as text."""
        basket = self.scenario
        lines = [f"warning: {text}" for text in self.notices]
        lines += [_order_line(each) for each in self.assets]
        lines.append(f"{basket.notional:,.0f} to trade, risk aversion {basket.risk_aversion:g}")
        lines += ["", *correlation_lines(basket.symbols, self.correlation), ""]
        lines.append(f"cross_impact {basket.cross_impact:g}: {basket.provenance['cross_impact']}")
        return "\n".join(lines)


def read_assets(paths: Sequence[str], format: Format | None = None, *, lenient: bool = False) -> dict[str, Sessions]:
    """Return the sessions of several assets by symbol, in the order of their paths.

    Args:
        paths: A file, folder or pattern of bars for each asset. Its symbol is that of the data, or else its name: the part
            before the first "_" (of ``AAPL_1min.csv``: AAPL) if that distinguishes all assets, the whole name otherwise.
        format: How to read what the data do not say themselves.
        lenient: Leave out and count faulty sessions instead of raising an error.

    Raises:
        ValueError: There are fewer than 2 or more than 50 paths, two of them hold one symbol, or the bars of one of them cannot
            be read; see :func:`~hyperexec_env.data.sessions.read_sessions`.
        MissingExtra: The extra `data` is not installed.
    """
    if not 2 <= len(paths) <= MOST_ASSETS:
        raise ValueError(f"a basket needs the bars of 2 to {MOST_ASSETS} assets, a file or folder for each, got {len(paths)}")
    format = format or Format()
    symbols, found = [], []
    for path in paths:
        bars = read_bars(path, format)
        symbols.append(bars.symbol)
        with within_memory(bars.provenance.files):
            found.append(sessions_of(bars, format, lenient=lenient))
    return dict(zip(names_of(paths, symbols), found, strict=True))


def names_of(paths: Sequence[str], symbols: Sequence[str], what: str = "bars") -> list[str]:
    """Return the symbol of each asset, from its data or the name of its file of `what`; see :func:`read_assets`.

    Raises:
        ValueError: Two paths hold one symbol.
    """
    files = [path if os.path.isdir(path) else find_sources(path, what)[0].stem for path in paths]
    stems = [re.sub(r"(\.(csv|txt|json|parquet|gz|zip))+$", "", Path(file).name, flags=re.IGNORECASE) for file in files]
    short = [symbol or stem.partition("_")[0] for symbol, stem in zip(symbols, stems, strict=True)]
    if all(short) and len(set(short)) == len(short):
        return short
    names = [symbol or stem for symbol, stem in zip(symbols, stems, strict=True)]
    for at, name in enumerate(names):
        if name in names[:at]:
            first = paths[names.index(name)]
            raise ValueError(f"{first} and {paths[at]} both hold {name}: give one file, folder or pattern for each asset")
    return names


def calibrate_basket(
    sessions: Mapping[str, Sessions], name: str = "calibrated", *, shares: Mapping[str, float] | None = None, **order: Any
) -> BasketCalibration:
    """Return a basket calibrated to bars: the market of each asset from all its sessions, the correlation from common ones.

    Volume, volatility and their curves are those of :func:`~hyperexec_env.data.calibration.calibrate`, with one regime: a
    basket has one path of regimes, which regimes fitted asset by asset do not give. The correlation is that of returns over
    common intervals of 5 minutes within common sessions, shrunk towards its mean
    (:func:`~hyperexec_env.data.correlation.estimate_correlation`); it is positive semidefinite by construction. Bars do not
    determine `cross_impact`, which stays the assumed default, nor the impact, which is that of public tapes. The risk aversion
    is 2 / notional of all orders.

    Args:
        sessions: Sessions of 2 to 50 assets by symbol, with one calendar and one length of bars
            (:func:`~hyperexec_env.data.sessions.read_sessions`).
        name: Name of the basket.
        shares: Order of an asset as a share of its average daily volume, positive to buy, negative to sell (default: buy 0.04).
        **order: Fields that override the calibrated or default values of every asset, such as ``slices``, or ``cross_impact``;
            None is ignored.

    Raises:
        ValueError: A symbol in `shares` is unknown or its share is 0 or beyond [-1, 1]; a field in `order` belongs to one asset
            or is not supported in a basket; bars hold no volume; assets have no two sessions in common
            (:func:`~hyperexec_env.data.correlation.common_returns` lists the other reasons); or a value is invalid.
    """
    order = {key: value for key, value in order.items() if value is not None}
    _check_order(sessions, shares or {}, order)
    own = {key: order.pop(key) for key in ("cross_impact",) if key in order}
    correlation = estimate_correlation(sessions)
    found = [_asset(symbol, each, (shares or {}).get(symbol), order) for symbol, each in sessions.items()]
    if "risk_aversion" not in order:
        aversion = rounded(2.0 / sum(each.scenario.notional for each in found), 6)
        found = [_with(each, {"risk_aversion": "2 / arrival notional of the basket"}, risk_aversion=aversion) for each in found]
    few = "; few sessions: see the standard errors" if len(correlation.returns.dates) < FEW_SESSIONS else ""
    dates = correlation.returns.dates
    basket = BasketScenario(
        name=name,
        description=f"calibrated from bars of {len(found)} assets, {len(dates)} common sessions {dates[0]} to {dates[-1]}{few}",
        assets=tuple(each.scenario for each in found),
        correlation=_rows(correlation.shrunk.matrix),
        provenance={
            "correlation": _source(correlation),
            "cross_impact": "given" if own else "assumed: bars of prices do not determine it",
        },
        **own,
    )
    return BasketCalibration(basket, tuple(found), correlation)


def _check_order(sessions: Mapping[str, Sessions], shares: Mapping[str, float], order: Mapping[str, Any]) -> None:
    """Check what is given for the orders; see :func:`calibrate_basket` for the errors."""
    if not 2 <= len(sessions) <= MOST_ASSETS:
        raise ValueError(f"a basket needs the sessions of 2 to {MOST_ASSETS} assets, got {len(sessions)}")
    for key in _PER_ASSET:
        if key in order:
            raise ValueError(f"{key} must not be given for all assets, got {order[key]}: pass signed shares of ADV by asset")
    for key in _NOT_HERE:
        if key in order:
            raise ValueError(f"{key} must not be given: a calibrated basket has one regime and one daily level of volume")
    for symbol, share in shares.items():
        if symbol not in sessions:
            raise ValueError(
                f"unknown asset {symbol!r} in the orders{nearest(symbol, sessions)} (known: {', '.join([*sessions][:10])})"
            )
        if check_number(f"order of {symbol}", share, low=-1.0, high=1.0, unit="of ADV") == 0.0:
            raise ValueError(f"order of {symbol} must not be 0; leave the asset out of the basket")
    for symbol, each in sessions.items():
        if not each.has_volume:
            raise ValueError(f"{symbol}: the bars hold no volume, of which its order is a share")


def _asset(symbol: str, sessions: Sessions, share: float | None, order: Mapping[str, Any]) -> Calibration:
    """Return the calibration of one asset with its order, with one regime and without a posterior."""
    size = SHARE if share is None else share
    side = 1 if size > 0.0 else -1
    try:
        figures = estimate(samples_of(sessions), most_regimes=1)
        quantity = max(1.0, float(round(abs(size) * figures.adv)))
        found = calibration_of(sessions, symbol, figures=figures, side=side, quantity=quantity, **order)
    except ValueError as error:
        raise ValueError(f"{symbol}: {error}") from None
    stated = "default" if share is None else "given"
    texts = {
        "side": f"{stated}: {'buy' if side > 0 else 'sell'}",
        "quantity": f"{stated}: {100.0 * abs(size):g} % of the average daily volume",
        "regimes": "one regime: the regimes of several assets, fitted one by one, do not give the one path of a basket",
    }
    return _with(found, texts, posterior=None, regimes=Regimes(names=NAMES[:1], rates=((0.0,),)))


def _with(calibration: Calibration, sources: Mapping[str, str], **values: Any) -> Calibration:
    """Return a calibration with some fields of its scenario replaced, and their provenance."""
    before = {key: text for key, text in calibration.scenario.provenance.items() if key != "posterior"}
    return replace(calibration, scenario=replace(calibration.scenario, provenance={**before, **sources}, **values))


def _rows(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """Return a correlation matrix as rows, rounded to six decimals if it is then still positive semidefinite."""
    short = np.round(matrix, 6)
    chosen = short if np.linalg.eigvalsh(short)[0] >= 0.0 else matrix
    return tuple(tuple(row) for row in chosen.tolist())


def _pairs(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of all pairs of different assets."""
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def _source(correlation: Correlation) -> str:
    """Return the provenance of a correlation."""
    errors = _pairs(correlation.errors)
    return (
        f"{_sample(correlation)}, without nights; {_shrinkage(correlation)}; standard errors {errors.min():.2g} to "
        f"{errors.max():.2g} (moving blocks of days, Kuensch 1989); shorter intervals lower a correlation (Epps 1979)"
    )


def _sample(correlation: Correlation) -> str:
    """Return which returns a correlation is estimated from."""
    returns = correlation.returns
    return (
        f"returns of {returns.minutes:g} minutes within {len(returns.dates)} common sessions {returns.dates[0]} to "
        f"{returns.dates[-1]}, {returns.intervals:,} of {returns.possible:,} intervals: all assets trade at both ends"
    )


def _shrinkage(correlation: Correlation) -> str:
    """Return how a correlation is shrunk."""
    shrunk = correlation.shrunk
    if len(shrunk.matrix) == 2:
        return "two assets have one correlation, which is not shrunk"
    return f"shrunk by {shrunk.intensity:.3f} towards the mean correlation {shrunk.mean:.3f} (Ledoit and Wolf 2004)"


def _order_line(found: Calibration) -> str:
    """Return one line on the order and the measured figures of an asset."""
    asset, errors, bars = found.scenario, found.errors, found.bars
    share = f"{100.0 * asset.quantity / asset.adv:.3g} % of ADV, {asset.provenance['quantity'].partition(':')[0]}"
    return (
        f"{asset.name}: {'buy' if asset.side > 0 else 'sell'} {asset.quantity:,.0f} ({share}) at {asset.arrival_price:g}; "
        f"ADV {asset.adv:,.0f} +- {errors['adv']:,.0f}, volatility {asset.volatility:.2%} +- {errors['volatility']:.2%} a day; "
        f"{bars.used} sessions {bars.first} to {bars.last}"
    )


def correlation_lines(symbols: Sequence[str], correlation: Correlation) -> list[str]:
    """Return the correlation with its errors, pair by pair for few assets, and how it was estimated."""
    matrix, errors = correlation.shrunk.matrix, correlation.errors
    lowest, pairs = float(np.linalg.eigvalsh(matrix)[0]), _pairs(matrix)
    lines = [
        f"correlation: {_sample(correlation)}",
        f"{_shrinkage(correlation)}; lowest eigenvalue {lowest:.3g}",
        f"correlations {pairs.min():.3f} to {pairs.max():.3f}, standard errors up to {_pairs(errors).max():.3f}",
    ]
    if len(symbols) > MOST_SHOWN:
        return lines
    width = max(15, *map(len, symbols))
    lines.append("  ".join(text.rjust(width) for text in ("", *symbols[:-1])))
    for at in range(1, len(symbols)):
        cells = [f"{matrix[at, other]:.3f} +- {errors[at, other]:.3f}" for other in range(at)]
        lines.append("  ".join(text.rjust(width) for text in (symbols[at], *cells)))
    return lines


def signed_shares(orders: Sequence[str]) -> dict[str, float]:
    """Return the signed share of ADV of each asset; raise ValueError for a text that is not SYMBOL=SHARE."""
    shares: dict[str, float] = {}
    for text in orders:
        symbol, _, share = text.rpartition("=")
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        if not symbol or not math.isfinite(number) or symbol in shares:
            raise ValueError(f"orders must be pairs such as AAPL=0.04 or MSFT=-0.02, one for each asset, got {text!r}")
        shares[symbol] = number
    return shares
