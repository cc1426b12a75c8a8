r"""The relaxation that bounds J* over venues from below where no exact solution is known.

Two things are hard: several hidden venues, whose posts must be split before their liquidity is seen, and lit venues of unequal
terms whose shares move, which are part of the state. The relaxation has one hidden venue and fixed shares:

- *Hidden venues merged.* One venue with the liquidity A_1 + A_2 + ... at the cheapest concession fills what any split fills, at
  no higher cost. The best post in one venue fills up to t* whatever its liquidity, so it is worth as much as to see it.
- *Shares at their mean.* The toll c_v V_v^-beta z^(1 + beta) is convex in (z, V_v) together, the rest of the objective is
  convex in the trades, and the shares are independent of everything else. So by Jensen the mean of the trades over the shares
  costs no more in a market whose shares are E[w] than the trades cost in the market itself.

Both are exact for one hidden venue and lit venues of equal terms or fixed shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_weights", "merged"]

Floats = NDArray[np.float64]

_MOST_ATOMS: Final = 24
"""Largest number of atoms of merged venues; more are rounded up, which bounds the cost from below too."""
_DEVIATES: Final = np.linspace(-10.0, 10.0, 401)
"""Nodes of the standard normal law."""
_LOGS: Final = np.arange(-42.0, 45.0, 0.05)
"""Nodes of the logarithm of the auxiliary variable of :func:`mean_weights`."""


@lru_cache(maxsize=64)
def mean_weights(shares: tuple[float, ...], noises: tuple[float, ...]) -> tuple[float, ...]:
    r"""Return the mean of the moving share w of each lit venue; the shares themselves without noise.

    With :math:`r_v = \bar w_v e^{z_v}` and :math:`1 / \sum_u r_u = \int_0^\infty e^{-s \sum_u r_u} ds`, the mean is an
    integral over one variable,

    .. math:: E w_v = \int_0^\infty E[r_v e^{-s r_v}] \prod_{u \ne v} E[e^{-s r_u}] ds .

    Args:
        shares: Mean share of each venue before the noise, which sum to 1.
        noises: Standard deviation of the log share of each venue.
    """
    if not any(noises):
        return shares
    law = np.exp(-0.5 * _DEVIATES**2)
    law /= law.sum()
    s = np.exp(_LOGS)
    gone, own = [], []
    for share, noise in zip(shares, noises, strict=True):
        size = share * np.exp(noise * _DEVIATES)
        left = np.exp(-np.outer(s, size)) * law
        gone.append(left.sum(axis=1))
        own.append(left @ size)
    others = [np.prod([one for u, one in enumerate(gone) if u != v], axis=0) for v in range(len(shares))]
    means = np.array([(s * mine * rest).sum() for mine, rest in zip(own, others, strict=True)])
    return tuple((means / means.sum()).tolist())


def merged(laws: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return the sizes and the probabilities of the sum of independent sizes, rounded up to few atoms.

    Args:
        laws: Sizes in ascending order and probabilities of each law, each of shape (atoms,).
    """
    sizes, chances = laws[0]
    for more, weights in laws[1:]:
        found, place = np.unique(np.add.outer(sizes, more), return_inverse=True)
        together = np.bincount(place.ravel(), np.outer(chances, weights).ravel(), len(found)).astype(np.float64)
        sizes, chances = found[together > 0.0], together[together > 0.0]
        while len(sizes) > _MOST_ATOMS:
            at = int(np.argmin(chances[:-1] * np.diff(sizes)))
            chances[at + 1] += chances[at]
            sizes, chances = np.delete(sizes, at), np.delete(chances, at)
    return sizes, chances
