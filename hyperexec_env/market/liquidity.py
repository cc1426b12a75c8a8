r"""Hidden liquidity of a dark pool, or of the flow that reaches a resting order: laws of the shares A that a slice offers.

Every law is discrete: A is one of some *atoms*, multiples of the expected volume of the slice, so that expectations are exact
sums. A draw compares a 32-bit integer with the cumulative law, also a list of 32-bit integers, and is exact on every machine:

    A = sizes[number of thresholds that the draw reaches] E[V_k]

| law | A | source |
| --- | --- | --- |
| `atoms` | given sizes with given probabilities | |
| `all-or-nothing` | everything with a probability, otherwise nothing | Kratz and Schoeneborn (2014) |
| `power` | nothing with probability `zero`, else s = 1..`cap` lots, P(s) as s^-`power` | Ganchev et al. (2009) |

The draw of a venue in a slice is a hash of the episode, the venue and the slice: it depends neither on requests nor on other
venues. Draws of different slices are independent, so a small order that finds liquidity learns nothing about the next slice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_integer, check_numbers, nearest, put_number, shown
from hyperexec_env.market.numeric import rank
from hyperexec_env.market.regime import thresholds

__all__ = ["AllOrNothing", "Atoms", "Liquidity", "PowerLaw", "allocate", "atom_size", "draw_size", "expected_fill", "law_of"]

Floats = NDArray[np.float64]

_MOST_ATOMS: Final = 1_000
"""Largest number of atoms of a law."""


@dataclass(frozen=True)
class _Law:
    """A law of the liquidity of a slice. Sizes are multiples of the expected volume of the slice; infinity is everything."""

    def _parts(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return sizes in ascending order, the first one 0, and their probabilities."""
        raise NotImplementedError

    @cached_property
    def sizes(self) -> Floats:
        """Sizes of the atoms in ascending order, shape (atoms,); the first one is 0."""
        return np.array(self._parts()[0], dtype=float)

    @cached_property
    def probabilities(self) -> Floats:
        """Probability of each atom, shape (atoms,)."""
        return np.array(self._parts()[1], dtype=float)

    @cached_property
    def limits(self) -> NDArray[np.int64]:
        """Cumulative law as 32-bit integers, shape (atoms - 1,): the atom of a draw is the number of limits that it reaches."""
        return thresholds(self.probabilities)[:, 0].astype(np.int64)

    @property
    def found(self) -> float:
        """Probability that there is liquidity, P(A > 0)."""
        return float(self.probabilities[1:].sum())

    def tail(self, size: Any) -> Any:
        """Return P(A >= size) for sizes above 0, element by element."""
        reached = self.sizes[:, None] >= np.atleast_1d(size)
        return (self.probabilities[:, None] * reached).sum(axis=0).reshape(np.shape(size))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; :func:`law_of` is the inverse."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"law": _NAMES[type(self)], **plain}


@dataclass(frozen=True)
class Atoms(_Law):
    """Given sizes with given probabilities; the remaining probability is that of nothing.

    Args:
        atoms: Positive sizes in ascending order, multiples of the expected volume of the slice.
        chances: Probability of each size; their sum is at most 1.

    Raises:
        ValueError: The sizes do not ascend, or the probabilities do not fit them.
    """

    atoms: tuple[float, ...] = (0.0104, 0.052, 0.26)
    chances: tuple[float, ...] = (0.2, 0.08, 0.02)

    def __post_init__(self) -> None:
        """Check the atoms."""
        atoms = check_numbers("liquidity.atoms", self.atoms, low=0.0, high=1e6, most=_MOST_ATOMS)
        if not atoms or not all(a < b for a, b in zip((0.0, *atoms[:-1]), atoms, strict=True)):
            raise ValueError(f"liquidity.atoms must be positive numbers in ascending order, got {shown(list(atoms))}")
        chances = check_numbers("liquidity.chances", self.chances, low=0.0, high=1.0, length=len(atoms), unit="probability")
        if sum(chances) > 1.0 + 1e-9:
            raise ValueError(f"liquidity.chances must sum to at most 1, got {sum(chances):g}")
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "chances", chances)

    def _parts(self) -> tuple[Sequence[float], Sequence[float]]:
        return (0.0, *self.atoms), (max(1.0 - sum(self.chances), 0.0), *self.chances)


@dataclass(frozen=True)
class AllOrNothing(_Law):
    """Everything with a probability, otherwise nothing (Kratz and Schoeneborn 2014).

    Args:
        chance: Probability of everything.
    """

    chance: float = 0.1

    def __post_init__(self) -> None:
        """Check the probability."""
        put_number(self, "chance", low=0.0, high=1.0, unit="probability")

    def _parts(self) -> tuple[Sequence[float], Sequence[float]]:
        return (0.0, math.inf), (1.0 - self.chance, self.chance)


@dataclass(frozen=True)
class PowerLaw(_Law):
    """Nothing with a probability, otherwise 1 to `cap` lots with a power law (fitted by Ganchev et al. 2009).

    Args:
        zero: Probability of nothing.
        power: Exponent: P(s lots) is proportional to s^-power.
        cap: Largest number of lots.
        lot: Size of a lot, multiple of the expected volume of the slice.
    """

    zero: float = 0.7
    power: float = 1.2
    cap: int = 60
    lot: float = 0.001

    def __post_init__(self) -> None:
        """Check the numbers."""
        put_number(self, "zero", low=0.0, high=1.0, unit="probability")
        put_number(self, "power", low=0.0, high=20.0)
        object.__setattr__(self, "cap", check_integer("liquidity.cap", self.cap, low=1, high=_MOST_ATOMS))
        put_number(self, "lot", low=0.0, high=1e6, open_low=True)

    def _parts(self) -> tuple[Sequence[float], Sequence[float]]:
        lots = np.arange(1.0, self.cap + 1.0)
        weights = lots**-self.power
        return [0.0, *(self.lot * lots)], [self.zero, *((1.0 - self.zero) * weights / weights.sum())]


Liquidity = Atoms | AllOrNothing | PowerLaw
"""A law of hidden liquidity."""
_LAWS: Final[dict[str, Any]] = {"atoms": Atoms, "all-or-nothing": AllOrNothing, "power": PowerLaw}
_NAMES: Final = {kind: name for name, kind in _LAWS.items()}


def law_of(values: Any) -> Liquidity:
    """Return the law of plain values: `law` is its name, the other keys are its arguments.

    Raises:
        ValueError: There is no such law, or an argument is unknown or invalid.
    """
    if isinstance(values, (Atoms, AllOrNothing, PowerLaw)):
        return values
    if not isinstance(values, Mapping):
        raise ValueError(f"liquidity must be a table with `law`, got {shown(values)}")
    given = dict(values)
    kind = _LAWS[check_choice("liquidity.law", given.pop("law", "atoms"), _LAWS)]
    known = [item.name for item in fields(kind)]
    for key in given:
        if key not in known:
            raise ValueError(f"unknown field liquidity.{key}{nearest(key, known)} (known: {', '.join(known)})")
    made: Liquidity = kind(**given)
    return made


def draw_size(law: Liquidity, draw: Any) -> Any:
    """Return the size of 32-bit draws, multiples of the expected volume, in the shape of `draw`."""
    return atom_size(law.limits, law.sizes, draw)


def atom_size(limits: Any, sizes: Any, draw: Any) -> Any:
    """Return the size of the atom of a draw: the number of `limits` that it reaches is the place of the atom in `sizes`."""
    return sizes[rank(limits, draw)]


def expected_fill(law: Liquidity, request: Any) -> Any:
    """Return E[min(request, A)], element by element; requests are multiples of the expected volume."""
    filled = np.minimum(law.sizes, np.asarray(request, dtype=float)[..., None])
    return (filled * law.probabilities).sum(axis=-1)


def allocate(laws: Sequence[Liquidity], lots: int, lot: float) -> tuple[list[int], float]:
    """Split lots over pools of equal terms so that the expected fill is largest (Ganchev et al. 2009).

    The next lot goes to the pool whose chance to fill it is largest. Chances fall with the lots a pool already holds, so the
    greedy split is optimal.

    Args:
        laws: Law of each pool.
        lots: Lots to split.
        lot: Size of a lot, multiple of the expected volume.

    Returns:
        Lots for each pool, and the expected number of lots that fill.
    """
    tails = np.array([law.tail(lot * (1.0 - 1e-9) * np.arange(1.0, lots + 1.0)) for law in laws])
    split, filled = [0] * len(laws), 0.0
    for _ in range(lots):
        chances = [tails[pool, held] for pool, held in enumerate(split)]
        best = int(np.argmax(chances))
        filled += float(chances[best])
        split[best] += 1
    return split, filled
