"""Market regimes: a continuous-time Markov chain, given by rates per day, whose state scales the market."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, check_numbers, nearest

__all__ = ["REGIME_NAMES", "UNKNOWN", "Regimes", "generator", "matrix_exponential", "refuse_slopes", "thresholds"]

REGIME_NAMES: Final = ("BULL_TRENDING", "BEAR_TRENDING", "SIDEWAYS_LOW", "SIDEWAYS_HIGH", "CRISIS", "RECOVERY")
"""The regimes that a scenario may use, in the order of the one-hot observation."""
UNKNOWN: Final = "UNKNOWN"
"""Regime that a policy observes when the regime is hidden."""
_SLOPES: Final = ("permanent", "transient", "kappa", "gamma", "perm_impact_gamma", "kyle_lambda", "lambda")
"""Names of permanent and transient impact, see :func:`refuse_slopes`."""
_SAME_STEP: Final = 1e-9
"""Largest difference between a transition matrix and the exponential of its generator, and between a sum of probabilities
and 1. Where regimes change many times in a step, rounding moves the logarithm by that much."""
_ROUNDING: Final = 1e-13
"""Differences between a transition matrix and the exponential of its generator below this count as rounding."""
_LEAST_EIGENVALUE: Final = 1e-6
"""Smallest real eigenvalue of a matrix whose square roots :func:`_logarithms` iterates."""
_MAX_SQUARINGS: Final = 60
"""Largest number of square roots, and of iterations of each."""
_QUADRATURE: Final = np.polynomial.legendre.leggauss(12)


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


def generator(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the rates per step whose exponential over one step is a transition matrix, or the nearest such rates.

    The rates are the principal logarithm of the matrix. Where the logarithm is not a generator (a rate off the diagonal is
    negative, or an eigenvalue is not positive), they are the generator nearest to it: each row is projected on the rows that
    sum to zero and are non-negative off the diagonal (Israel, Rosenthal and Wei 2001; Kreinin and Sidelnikova 2001).

    Args:
        matrix: Transition matrix, rows sum to 1, shape (M, M).

    Returns:
        Rates per step, shape (M, M), and the largest difference between their exponential and the matrix.
    """
    best, error = np.zeros(matrix.shape), math.inf
    for logarithm in _logarithms(matrix):
        rates = np.array([_nearest_rates(row, i) for i, row in enumerate(logarithm)])
        difference = float(np.abs(matrix_exponential(rates) - matrix).max())
        if difference < error:
            best, error = rates, difference
        if error <= _ROUNDING:
            break
    return best, error


def _logarithms(matrix: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield the principal logarithm of a transition matrix, computed from its eigenvectors and by inverse scaling and squaring.

    The eigenvectors are accurate unless eigenvalues coincide; repeated square roots are accurate unless an eigenvalue is close
    to zero. Where an eigenvalue is not positive, the first logarithm is replaced by its real part, and the second is the
    logarithm of a mixture of the matrix and the identity whose real eigenvalues are positive.
    """
    identity = np.eye(len(matrix))
    values, vectors = np.linalg.eig(matrix)
    if np.linalg.cond(vectors) < 1e12 and np.abs(values).min() > 0.0:
        yield np.real(vectors * np.log(values.astype(complex)) @ np.linalg.inv(vectors))
    least = _least_eigenvalue(matrix)
    share = max(0.0, (_LEAST_EIGENVALUE - least) / (1.0 - least)) if least < 1.0 else 0.0
    root, squarings = (1.0 - share) * matrix + share * identity, 0
    with np.errstate(all="ignore"), contextlib.suppress(np.linalg.LinAlgError):
        while squarings < _MAX_SQUARINGS and np.abs(root - identity).sum(axis=1).max() > 0.25:
            root, squarings = _square_root(root), squarings + 1
        distance = root - identity
        points, weights = 0.5 * (_QUADRATURE[0] + 1.0), 0.5 * _QUADRATURE[1]
        # log(1 + x) is the integral of x / (1 + t x) over t from 0 to 1
        terms = [weight * np.linalg.solve(identity + t * distance, distance) for t, weight in zip(points, weights, strict=True)]
        logarithm = 2.0**squarings * np.sum(terms, axis=0)
        if np.isfinite(logarithm).all():
            yield logarithm


def _least_eigenvalue(matrix: NDArray[np.float64]) -> float:
    """Return the smallest real eigenvalue of a transition matrix."""
    values = np.linalg.eigvals(matrix)
    return float(np.real(values[np.abs(np.imag(values)) < 1e-9]).min())


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the principal square root of a matrix (Denman and Beavers 1976)."""
    root, inverse = matrix, np.eye(len(matrix))
    for _ in range(_MAX_SQUARINGS):
        before = root
        root, inverse = 0.5 * (root + np.linalg.inv(inverse)), 0.5 * (inverse + np.linalg.inv(root))
        if np.abs(root - before).max() <= 1e-15:
            break
    return root


def _nearest_rates(row: NDArray[np.float64], own: int) -> NDArray[np.float64]:
    """Return the row of rates nearest to a row in the Euclidean norm: non-negative except at `own`, with a sum of zero."""
    free = np.ones(len(row), dtype=bool)
    for _ in range(len(row)):
        rates = np.where(free, row - row[free].mean(), 0.0)
        free = free & ((rates > 0.0) | (np.arange(len(row)) == own))
    rates = np.where(free, row - row[free].mean(), 0.0)
    rates[own] = 0.0
    rates[own] = 0.0 - rates.sum()
    return np.asarray(rates)


def thresholds(distribution: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the cumulative distribution of each row, scaled to 2^32, as integers of shape (M - 1, rows).

    The regime of a 32-bit random word is the number of thresholds at or below the word.
    """
    cumulative = np.cumsum(np.atleast_2d(distribution), axis=-1)[:, :-1]
    return np.ascontiguousarray(np.rint(np.clip(cumulative, 0.0, 1.0) * 2.0**32).astype(np.uint64).T)


def refuse_slopes(names: Iterable[str]) -> None:
    """Raise ValueError if one of the names is a slope of the impact, which no regime may scale."""
    for name in names:
        if name in _SLOPES:
            raise ValueError(
                f"regimes.{name} must not be given: permanent and transient impact have one slope in all regimes, because "
                "a round trip across regimes with different slopes could earn money (Huberman and Stanzl 2004; Gatheral 2010); "
                "scale temporary, spread, volume or resilience, or test such an impact as an ImpactModel with certify_model"
            )


@dataclass(frozen=True)
class Regimes:
    """The regimes of a market: the multipliers of each regime, and the transition rates between regimes.

    A regime scales volatility, volume, spread, temporary impact and resilience, and may add a drift. It does not scale the
    permanent or the transient slope, because a round trip across two regimes could then earn money. A multiplier that is not
    given is 1 in every regime, a drift that is not given 0.

    Args:
        names: Names of the regimes: a subset of :data:`REGIME_NAMES`, without repetition.
        volatility: Multiplier of the volatility, one per regime, positive.
        volume: Multiplier of the market volume, positive.
        spread: Multiplier of the half-spread, non-negative.
        temporary: Multiplier of the temporary impact, non-negative.
        resilience: Multiplier of the resilience, non-negative.
        drift: Drift of the unaffected price, fraction per day.
        rates: Transition rates per day; each row sums to zero, off-diagonal entries are non-negative. Without rates every
            episode keeps its first regime.
        start: Regime of the first slice, or "stationary" to draw it from the stationary distribution.

    Raises:
        ValueError: A value is missing or out of range, or a row of rates does not sum to zero.
    """

    names: tuple[str, ...] = ("SIDEWAYS_LOW",)
    volatility: tuple[float, ...] = ()
    volume: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    temporary: tuple[float, ...] = ()
    resilience: tuple[float, ...] = ()
    drift: tuple[float, ...] = ()
    rates: tuple[tuple[float, ...], ...] = ()
    start: str = "stationary"

    def __new__(cls, *_: Any, **named: Any) -> Regimes:
        """Refuse the slopes of the impact by name."""
        refuse_slopes(named)
        return super().__new__(cls)

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
            high = 10.0 if field == "drift" else 1e3
            values = check_numbers(f"regimes.{field}", values, low=lows.get(field, 0.0), high=high, length=count)
            object.__setattr__(self, field, values)
        given = self.rates if len(self.rates) else ((0.0,) * count,) * count
        if len(given) != count:
            raise ValueError(f"regimes.rates must have {count} rows, one per regime, got {len(given)}")
        rates = tuple(
            check_numbers(f"regimes.rates[{i}]", row, low=-1e6, high=1e6, length=count) for i, row in enumerate(given)
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
    def from_transition(
        cls, matrix: Sequence[Sequence[float]], steps_per_day: float, *, nearest: bool = False, **values: Any
    ) -> Regimes:
        """Return regimes that move by a transition matrix in each step: :meth:`transition` of one step is the matrix.

        The rates are the principal logarithm of the matrix times the steps per day (:func:`generator`).

        Args:
            matrix: Probability of each regime (column) one step after each regime (row); each row sums to 1.
            steps_per_day: Number of steps in a day, positive.
            nearest: Whether to accept a matrix that has no generator, and to take the nearest generator instead.
            **values: The other fields.

        Raises:
            ValueError: The matrix is not square, a probability is out of range, a row does not sum to 1, or the matrix has no
                generator: no rates lead to it in one step.
        """
        steps = check_number("steps_per_day", steps_per_day, low=0.0, high=1e6, open_low=True)
        probabilities = _check_transition(matrix)
        rates, error = generator(probabilities)
        if error > _SAME_STEP and not nearest:
            raise ValueError(
                f"matrix must be the exponential of transition rates over one step, but {_obstacle(probabilities)}; pass "
                f"nearest=True for the nearest rates, whose step differs from the matrix by at most {error:.2g}"
            )
        return cls(rates=tuple(tuple(row) for row in (steps * rates).tolist()), **values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain lists, numbers and texts, for TOML and JSON."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["rates"] = [list(row) for row in self.rates]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _check_transition(matrix: Any) -> NDArray[np.float64]:
    """Validate a transition matrix and return it as an array whose rows sum to 1.

    Raises:
        ValueError: The matrix is not square, a probability is out of range, or a row does not sum to 1.
    """
    if not isinstance(matrix, (list, tuple, np.ndarray)) or not len(matrix):
        raise ValueError(f"matrix must be a list of rows of probabilities, one row per regime, got {matrix!r}")
    rows = [
        check_numbers(f"matrix[{i}]", row, low=0.0, high=1.0, unit="probability", length=len(matrix))
        for i, row in enumerate(matrix)
    ]
    for i, row in enumerate(rows):
        if abs(sum(row) - 1.0) > _SAME_STEP:
            raise ValueError(f"matrix[{i}] must sum to 1 (probabilities), got a sum of {sum(row):.10g}")
    checked = np.array(rows)
    return np.asarray(checked / checked.sum(axis=1, keepdims=True))


def _obstacle(matrix: NDArray[np.float64]) -> str:
    """Return why a transition matrix has no generator, in a few words."""
    least = _least_eigenvalue(matrix)
    if least <= 0.0:
        return f"its eigenvalue {least:.3g} is not positive"
    logarithm = next(_logarithms(matrix))
    np.fill_diagonal(logarithm, 0.0)
    i, j = divmod(int(logarithm.argmin()), len(matrix))
    return f"its logarithm has the negative rate {logarithm[i, j]:.3g} per step at matrix[{i}][{j}]"
