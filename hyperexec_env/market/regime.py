"""Market regimes: a continuous-time Markov chain, given by rates per day, whose state scales the market."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_numbers, nearest

__all__ = ["REGIME_NAMES", "UNKNOWN", "Regimes", "matrix_exponential", "thresholds"]

REGIME_NAMES: Final = ("BULL_TRENDING", "BEAR_TRENDING", "SIDEWAYS_LOW", "SIDEWAYS_HIGH", "CRISIS", "RECOVERY")
"""The regimes that a scenario may use, in the order of the one-hot observation."""
UNKNOWN: Final = "UNKNOWN"
"""Regime that a policy observes when the regime is hidden."""


def matrix_exponential(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exponential of a small square matrix (Taylor series with scaling and squaring)."""
    squarings = max(0, int(np.ceil(np.log2(max(float(np.abs(matrix).sum(axis=1).max()), 1e-300)))) + 4)
    scaled = matrix / 2.0**squarings
    result = term = np.eye(len(matrix))
    for order in range(1, 16):
        term = term @ scaled / order
        result = result + term
    for _ in range(squarings):
        result = result @ result
    return result


def thresholds(distribution: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the cumulative distribution of each row, scaled to 2^32, as integers of shape (M - 1, rows).

    The regime of a 32-bit random word is the number of thresholds at or below the word.
    """
    cumulative = np.cumsum(np.atleast_2d(distribution), axis=-1)[:, :-1]
    return np.ascontiguousarray(np.rint(np.clip(cumulative, 0.0, 1.0) * 2.0**32).astype(np.uint64).T)


@dataclass(frozen=True)
class Regimes:
    """The regimes of a market: the multipliers of each regime, and the transition rates between regimes.

    A regime scales volatility, volume, spread, temporary impact and resilience, and may add a drift. It does not scale the
    permanent or the transient slope, because a round trip across two regimes could then earn money.

    Args:
        names: Names of the regimes: a subset of :data:`REGIME_NAMES`, without repetition.
        volatility: Multiplier of the volatility, one per regime, positive.
        volume: Multiplier of the market volume, positive.
        spread: Multiplier of the half-spread, non-negative.
        temporary: Multiplier of the temporary impact, non-negative.
        resilience: Multiplier of the resilience, non-negative.
        drift: Drift of the unaffected price, fraction per day.
        rates: Transition rates per day; each row sums to zero, off-diagonal entries are non-negative.
        start: Regime of the first slice, or "stationary" to draw it from the stationary distribution.

    Raises:
        ValueError: A value is missing or out of range, or a row of rates does not sum to zero.
    """

    names: tuple[str, ...] = ("SIDEWAYS_LOW",)
    volatility: tuple[float, ...] = (1.0,)
    volume: tuple[float, ...] = (1.0,)
    spread: tuple[float, ...] = ()
    temporary: tuple[float, ...] = ()
    resilience: tuple[float, ...] = ()
    drift: tuple[float, ...] = ()
    rates: tuple[tuple[float, ...], ...] = ((0.0,),)
    start: str = "stationary"

    def __post_init__(self) -> None:
        """Fill in the defaults and check every value once."""
        for field in ("names", "rates"):
            if not isinstance(getattr(self, field), (list, tuple, np.ndarray)):
                raise ValueError(f"regimes.{field} must be a list with one entry per regime, got {getattr(self, field)!r}")
        names = tuple(self.names)
        count = len(names)
        for name in names:
            if name not in REGIME_NAMES:
                raise ValueError(
                    f"regimes.names must be among {', '.join(REGIME_NAMES)}, got {name!r}{nearest(name, REGIME_NAMES)}"
                )
        if not count or len(set(names)) != count:
            raise ValueError(f"regimes.names must name at least one regime and none twice, got {list(names)}")
        object.__setattr__(self, "names", names)
        lows = {"volatility": 1e-6, "volume": 1e-6, "drift": -10.0}
        for field in ("volatility", "volume", "spread", "temporary", "resilience", "drift"):
            neutral = 0.0 if field == "drift" else 1.0
            values = getattr(self, field)
            values = (neutral,) * count if isinstance(values, (list, tuple)) and not values else values
            values = check_numbers(f"regimes.{field}", values, low=lows.get(field, 0.0), high=1e3, length=count)
            object.__setattr__(self, field, values)
        if len(self.rates) != count:
            raise ValueError(f"regimes.rates must have {count} rows, one per regime, got {len(self.rates)}")
        rates = tuple(
            check_numbers(f"regimes.rates[{i}]", row, low=-1e6, high=1e6, length=count) for i, row in enumerate(self.rates)
        )
        for i, row in enumerate(rates):
            if abs(sum(row)) > 1e-9 * max(1.0, abs(row[i])):
                raise ValueError(f"regimes.rates[{i}] ({names[i]}) must sum to 0 (rates per day), got a sum of {sum(row):g}")
            if any(rate < 0.0 for j, rate in enumerate(row) if j != i):
                raise ValueError(f"regimes.rates[{i}] ({names[i]}) must be non-negative off the diagonal, got {list(row)}")
        object.__setattr__(self, "rates", rates)
        if self.start != "stationary" and self.start not in names:
            choices = ("stationary", *names)
            raise ValueError(
                f"regimes.start must be one of {', '.join(choices)}, got {self.start!r}{nearest(self.start, choices)}"
            )

    def __len__(self) -> int:
        """Return the number of regimes."""
        return len(self.names)

    def transition(self, days: float) -> NDArray[np.float64]:
        """Return P = expm(Q t): the probability of each regime (column) `days` after each regime (row)."""
        matrix = np.clip(matrix_exponential(np.array(self.rates) * days), 0.0, None)
        return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))

    def stationary(self) -> NDArray[np.float64]:
        """Return the stationary distribution; if it is not unique, the limit from a uniform initial distribution."""
        rates = np.array(self.rates)
        moves = rates[rates > 0.0]
        if not moves.size:
            return np.full(len(self), 1.0 / len(self))
        # square P = I + Q / (2 max |q|) until even the slowest rate has converged
        fastest = float(np.abs(rates).max())
        matrix = np.eye(len(self)) + 0.5 * (rates / fastest)
        for _ in range(60 + math.ceil(math.log2(fastest) - math.log2(moves.min()))):
            matrix = matrix @ matrix
            matrix /= matrix.sum(axis=1, keepdims=True)
        return np.asarray(matrix.mean(axis=0))

    def start_law(self) -> NDArray[np.float64]:
        """Return the distribution of the regime in the first slice."""
        if self.start == "stationary":
            return self.stationary()
        return np.asarray(np.eye(len(self))[self.names.index(self.start)])

    @classmethod
    def from_transition(cls, matrix: Sequence[Sequence[float]], steps_per_day: float, **values: Any) -> Regimes:
        """Return regimes with rates Q = (P - I) x steps per day, P being the transition matrix of one short step."""
        rates = (np.array(matrix) - np.eye(len(matrix))) * steps_per_day
        rates -= np.diag(rates.sum(axis=1))
        return cls(rates=tuple(tuple(float(rate) for rate in row) for row in rates), **values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain lists, numbers and texts, for TOML and JSON."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["rates"] = [list(row) for row in self.rates]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
