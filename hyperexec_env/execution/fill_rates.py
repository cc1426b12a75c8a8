r"""Fill rates from censored fills: the Kaplan-Meier estimate of hidden liquidity, and of the time until a resting order fills.

An order of y shares in a dark pool, or one that rests in a book, fills z = min(y, A) of the hidden liquidity A. A fill z < y
shows A; a fill of the whole order shows only A >= y: it is *censored*, and an average of fills underestimates A. The time until
an order fills is censored by its cancellation in the same way. With d_i events among n_i observations at risk at the value t_i,

.. math::
    \hat S(t) = \prod_{t_i \le t} \left( 1 - \frac{d_i}{n_i} \right), \qquad
    \widehat{\mathrm{Var}}\, \hat S(t) = \hat S(t)^2 \sum_{t_i \le t} \frac{d_i}{n_i (n_i - d_i)} .

Sources: Kaplan and Meier (1958); Greenwood (1926) for the variance; Kalbfleisch and Prentice (1980) for its interval on the
scale log(-log S), which stays inside [0, 1]; Ganchev, Kearns, Nevmyvaka and Vaughan (2010) for dark pools.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_flag, check_integer, check_number, shown

__all__ = ["FillRates", "HiddenOrder", "KaplanMeier", "product_limit"]

Floats = NDArray[np.float64]

_MOST: Final = 10_000
"""Orders of a venue that are retained by default: the newest ones."""


@dataclass(frozen=True, eq=False)
class KaplanMeier:
    """Estimate of the law of a quantity T that some observations only bound from below; :func:`product_limit` makes it."""

    times: Floats
    """Distinct values at which an event was observed, ascending, shape (events,)."""
    survival: Floats
    """P(T > t) at each of these values, shape (events,)."""
    greenwood: Floats
    """Greenwood's sum of d / (n (n - d)) up to each of these values, shape (events,); infinite where the estimate is 0."""
    events: Floats
    """All values at which T was observed, ascending."""
    censored: Floats
    """All values that T is known to reach, ascending."""

    @property
    def count(self) -> int:
        """Number of observations."""
        return len(self.events) + len(self.censored)

    @property
    def censored_fraction(self) -> float:
        """Fraction of the observations that are censored; nan without observations."""
        return len(self.censored) / self.count if self.count else math.nan

    @property
    def largest(self) -> float:
        """Largest observation, beyond which nothing is known; 0 without observations."""
        return max((float(values[-1]) for values in (self.events, self.censored) if len(values)), default=0.0)

    def beyond(self, t: Any) -> Any:
        """Return P(T > t), element by element; beyond the largest observation, the estimate there (Gill 1980)."""
        return self._after(np.searchsorted(self.times, t, side="right"))

    def at_least(self, t: Any) -> Any:
        """Return P(T >= t), element by element."""
        return self._after(np.searchsorted(self.times, t, side="left"))

    def _after(self, events: Any) -> Any:
        """Return the estimate after numbers of distinct event values."""
        return np.concatenate([[1.0], self.survival])[events]

    def reaches(self, probability: float) -> float:
        """Return the largest t with P(T >= t) >= `probability`; infinity if the estimate never falls below it."""
        below = int(np.searchsorted(-self.survival, -probability, side="right"))
        return float(self.times[below]) if below < len(self.times) else math.inf

    def mean_up_to(self, t: float) -> float:
        """Return E min(T, t), the integral of the estimate from 0 to t: the expected fill of an order of size t."""
        edges = np.concatenate([[0.0], self.times[self.times < t], [t]])
        return float(np.diff(edges) @ self._after(np.arange(len(edges) - 1)))

    def interval(self, t: float, level: float = 0.95, *, at_least: bool = False) -> tuple[float, float]:
        """Return an interval of P(T > t), or of P(T >= t).

        The interval is Greenwood's on the scale log(-log S). Where no event was observed up to t, the lower limit is that of n
        successes in n trials (Clopper and Pearson); where the estimate is 0, the upper limit is the one before the last event;
        beyond the largest observation the lower limit is 0.

        Args:
            t: The value.
            level: Coverage, in (0, 1).
            at_least: Whether the interval is that of P(T >= t).

        Raises:
            ValueError: The coverage is out of range.
        """
        if not 0.0 < check_number("level", level, low=0.0, high=1.0, unit="probability") < 1.0:
            raise ValueError(f"level must be a number in (0, 1), got {shown(level)}")
        passed = int(np.searchsorted(self.times, t, side="left" if at_least else "right"))
        known = self._reaching(t, at_least)
        if not passed:
            return (((1.0 - level) / 2.0) ** (1.0 / known) if known else 0.0), 1.0
        estimate = float(self.survival[passed - 1])
        if estimate <= 0.0:
            return 0.0, self._limits(passed - 1, level)[1]
        low, high = self._limits(passed, level)
        return (low if known else 0.0), high

    def _reaching(self, t: float, at_least: bool) -> int:
        """Return the number of observations of which T > t, or T >= t, is known."""
        seen = np.searchsorted(self.events, t, side="left" if at_least else "right")
        return int(len(self.events) - seen + len(self.censored) - np.searchsorted(self.censored, t, side="left"))

    def _limits(self, passed: int, level: float) -> tuple[float, float]:
        """Return the limits of the estimate, which is above 0, after a number of distinct event values."""
        if not passed:
            return 0.0, 1.0
        estimate, spread = float(self.survival[passed - 1]), math.sqrt(float(self.greenwood[passed - 1]))
        width = NormalDist().inv_cdf(0.5 + level / 2.0) * spread / -math.log(estimate)
        return estimate ** math.exp(min(width, 700.0)), estimate ** math.exp(-width)


def product_limit(values: Any, observed: Any, weights: Any = None, *, censored_first: bool = False) -> KaplanMeier:
    """Return the Kaplan-Meier estimate of the law of a quantity T >= 0.

    Args:
        values: T where it was observed, otherwise a lower bound of T, shape (observations,); infinity is a bound only.
        observed: Whether T was observed, shape (observations,).
        weights: Weight of each observation in the numbers of events and at risk; None: 1. The intervals take a total weight for
            a number of observations. Observations of weight 0 are left out.
        censored_first: Whether an observation censored at t was at risk at t only below it. False: T > t is known, as of a
            patient who was alive at t. True: T >= t is known, as of an order of t shares that filled completely.

    Raises:
        ValueError: The shapes differ, or a value or a weight is negative or not a number.
    """
    at, seen = np.asarray(values, dtype=float), np.asarray(observed, dtype=bool)
    weight = np.ones(at.shape) if weights is None else np.asarray(weights, dtype=float)
    if at.ndim != 1 or seen.shape != at.shape or weight.shape != at.shape:
        raise ValueError(f"values and observed must be of one shape (observations,), got {at.shape} and {seen.shape}")
    if not (at >= 0.0).all() or not np.isfinite(at[seen]).all():
        raise ValueError("values must be numbers of at least 0, finite where they were observed")
    if not ((weight >= 0.0) & (weight < np.inf)).all():
        raise ValueError(f"weights must be finite numbers of at least 0, got {shown(weights)}")
    at, seen, weight = at[weight > 0.0], seen[weight > 0.0], weight[weight > 0.0]
    events, counts = at[seen], weight[seen]
    times, place = np.unique(events, return_inverse=True)
    dead = np.bincount(place, counts, minlength=len(times))
    order = np.argsort(at[~seen], kind="stable")
    bounds, bound_weights = at[~seen][order], weight[~seen][order]
    later = np.concatenate([[0.0], np.cumsum(bound_weights[::-1])])[::-1]
    at_risk = np.cumsum(dead[::-1])[::-1] + later[np.searchsorted(bounds, times, side="right" if censored_first else "left")]
    left = np.where(at_risk - dead > 1e-12 * at_risk, at_risk - dead, 0.0)
    with np.errstate(divide="ignore"):
        greenwood = np.cumsum(dead / (at_risk * left))
    return KaplanMeier(times, np.cumprod(left / at_risk), greenwood, np.sort(events), bounds)


class HiddenOrder(NamedTuple):
    """What one order in a dark pool, or one that rested, showed of its venue."""

    filled: float
    """Shares that traded, over the scale."""
    censored: bool
    """Whether more may have been there: the order filled completely, or was cancelled before its time."""
    seconds: float
    """Time from the order to its complete fill, or to its end without one."""
    complete: bool
    """Whether it filled completely."""


class FillRates:
    """What a desk has learnt of hidden liquidity from its own orders, for each symbol and venue.

    Liquidity is measured in multiples of a scale, the market volume that was expected while the order waited, so that quiet and
    busy hours are one sample. Orders that look at the same liquidity at the same time are one observation each: space them out.

    Args:
        most: Number of orders that are retained for each symbol and venue; the oldest are forgotten.
        optimism: Weight of one imagined order that everything filled, in :meth:`belief` only. It makes a router try venues that
            it does not know, and larger orders than before, and its influence falls as 1 / n. 0: none.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(self, most: int = _MOST, optimism: float = 1.0) -> None:
        """Know nothing."""
        self.most = check_integer("most", most, low=1, high=10_000_000)
        self.optimism = check_number("optimism", optimism, low=0.0, high=1e6)
        self.frozen = False
        """Whether orders are no longer added, so that what is known stays fixed."""
        self._orders: dict[tuple[str, str], deque[HiddenOrder]] = {}
        self._made: dict[tuple[str, str, str], KaplanMeier] = {}

    def tell(self, symbol: str, venue: str, order: HiddenOrder) -> None:
        """Add an order, unless the fill rates are frozen."""
        if self.frozen:
            return
        self._orders.setdefault((symbol, venue), deque(maxlen=self.most)).append(order)
        for kind in ("liquidity", "waiting", "belief"):
            self._made.pop((symbol, venue, kind), None)

    def orders(self, symbol: str, venue: str) -> Sequence[HiddenOrder]:
        """Return the orders of a symbol in a venue, oldest first."""
        return tuple(self._orders.get((symbol, venue), ()))

    def liquidity(self, symbol: str, venue: str) -> KaplanMeier:
        """Return the law of the hidden liquidity, in multiples of the scale."""
        return self._estimate(symbol, venue, "liquidity")

    def waiting(self, symbol: str, venue: str) -> KaplanMeier:
        """Return the law of the time until an order fills completely, seconds."""
        return self._estimate(symbol, venue, "waiting")

    def belief(self, symbol: str, venue: str) -> KaplanMeier:
        """Return the law of the hidden liquidity with the optimism, for a router."""
        return self._estimate(symbol, venue, "belief")

    def _estimate(self, symbol: str, venue: str, kind: str) -> KaplanMeier:
        key = symbol, venue, kind
        if key not in self._made:
            orders = self._orders.get((symbol, venue), ())
            if kind == "waiting":
                self._made[key] = product_limit([one.seconds for one in orders], [one.complete for one in orders])
            else:
                extra = 1 if kind == "belief" and self.optimism else 0
                values = [*(one.filled for one in orders), *[math.inf] * extra]
                seen = [*(not one.censored for one in orders), *[False] * extra]
                weights = [*[1.0] * len(orders), *[self.optimism] * extra]
                self._made[key] = product_limit(values, seen, weights, censored_first=True)
        return self._made[key]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; :meth:`from_dict` is the inverse."""
        found = [
            {"symbol": symbol, "venue": venue, "orders": [list(one) for one in orders]}
            for (symbol, venue), orders in self._orders.items()
        ]
        return {"most": self.most, "optimism": self.optimism, "frozen": self.frozen, "venues": found}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FillRates:
        """Return the fill rates of plain values.

        Raises:
            ValueError: The values are not those of :meth:`to_dict`.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"fill rates must be the table of FillRates.to_dict, got {shown(values)}")
        rates = cls(_of(values, "most", "fill rates"), _of(values, "optimism", "fill rates"))
        for number, group in enumerate(_listed(_of(values, "venues", "fill rates"), "venues")):
            where = f"venues[{number}]"
            if not isinstance(group, Mapping):
                raise ValueError(f"{where} must be a table, got {shown(group)}")
            symbol, venue = (_text(_of(group, name, where), f"{where}.{name}") for name in ("symbol", "venue"))
            for place, row in enumerate(_listed(_of(group, "orders", where), f"{where}.orders")):
                rates.tell(symbol, venue, _order_of(row, f"{where}.orders[{place}]"))
        rates.frozen = check_flag("frozen", values.get("frozen", False))
        return rates


def _of(values: Mapping[str, Any], key: str, where: str) -> Any:
    """Return the value of a key; raise ValueError if it is missing."""
    if key not in values:
        raise ValueError(f"{where} must have {key!r}, as FillRates.to_dict writes it, got the keys {shown(list(values))}")
    return values[key]


def _listed(values: Any, where: str) -> list[Any]:
    """Return a list; raise ValueError for anything else."""
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{where} must be a list, got {shown(values)}")
    return list(values)


def _text(value: Any, where: str) -> str:
    """Return a text; raise ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a text, got {shown(value)}")
    return value


def _order_of(row: Any, where: str) -> HiddenOrder:
    """Return the order of a list of its fields; raise ValueError if it is none."""
    given = dict(zip(HiddenOrder._fields, _listed(row, where), strict=False))
    if len(given) != len(HiddenOrder._fields) or len(row) != len(given):
        raise ValueError(f"{where} must be [{', '.join(HiddenOrder._fields)}], got {shown(row)}")
    for name in ("filled", "seconds"):
        given[name] = check_number(f"{where}.{name}", given[name], low=0.0)
    for name in ("censored", "complete"):
        given[name] = check_flag(f"{where}.{name}", given[name])
    return HiddenOrder(**given)
