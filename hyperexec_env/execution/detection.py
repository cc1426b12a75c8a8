r"""Can an order be seen on the tape? A detector that looks for children, and what its verdict is worth.

A sliced parent leaves trades of one side, of like sizes, at regular times. The detector sorts the trades of each side by size
into overlapping bands and looks in each band for a rhythm: with times :math:`t_j` of n trades and a candidate period P,

.. math:: \sum_{h=1}^{H} \Big|\sum_j e^{2 \pi i h t_j / P}\Big|^2 / n

is a sum of H standard exponentials where the times are random (the periodogram of a point process; Bartlett 1963), and nH
where they are regular. The score of a tape is the largest surprise over bands, periods and H = 1, 2, 4, 8: minus the
logarithm of the probability of so large a sum. Few harmonics find a rhythm that jitters, many find one that does not.

From each term its mean is taken off, the transform of the volume curve that everybody knows: a busy open is no rhythm. The
sums are additive, so a background is transformed once, whatever order is hidden in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    *("MEAN_TRADE", "MOST_CYCLES", "Spectrum", "Tape", "auc", "auc_interval", "background", "join", "listen", "score"),
    *("score_with", "until"),
]

Floats = NDArray[np.float64]

MEAN_TRADE: Final = 200.0
"""Mean size of a trade of the others, shares: about what prints on a lit market in a liquid share."""
SIZE_DEVIATION: Final = 1.0
"""Standard deviation of the logarithm of their size (so the median is 121 shares)."""
LOT: Final = 100.0
ROUND_LOTS: Final = 0.6
"""Share of those of at least half a lot that come in whole lots; so do about half of all."""

FEWEST_CYCLES: Final = 3
MOST_CYCLES: Final = 32
"""Candidate periods: the time that the detector sees, divided by 3 to 32. A parent with more children is beyond it."""
HARMONICS: Final = (1, 2, 4, 8)
SMALLEST: Final = 50.0
"""Upper end of the first class of sizes, shares; each class is wider than the last by :data:`RATIO`."""
RATIO: Final = 1.25
CLASSES: Final = 32
WIDTHS: Final = (1, 2, 4, 8)
"""Bands: this many neighbouring classes."""
FEWEST_TRADES: Final = 4
"""A band with fewer trades says nothing: some period fits any three."""

_OVERSAMPLING: Final = 8  # frequencies lie 1/8 of a cycle apart, so that the eighth harmonic misses none by more than half
_BINS: Final = 1024  # of time; four for each cycle of the highest harmonic
_LENGTH: Final = _BINS * _OVERSAMPLING
_CYCLES: Final = np.arange(FEWEST_CYCLES * _OVERSAMPLING, MOST_CYCLES * _OVERSAMPLING + 1)
_FREQUENCIES: Final = MOST_CYCLES * _OVERSAMPLING * HARMONICS[-1] + 1
_TURNS: Final = np.exp(-2j * np.pi * np.arange(_LENGTH) / _LENGTH).astype(np.complex64)
_FIRST: Final = np.concatenate([np.arange(CLASSES - width + 1) for width in WIDTHS])
_LAST: Final = np.concatenate([np.arange(width, CLASSES + 1) for width in WIDTHS])  # one beyond the last class of each band


class Tape(NamedTuple):
    """Trades as everybody sees them."""

    times: Floats
    """When, as a fraction of the time that is watched, in [0, 1), shape (trades,)."""
    sizes: Floats
    """Shares, positive where the buyer was the active side, negative where the seller was, shape (trades,)."""


class Spectrum(NamedTuple):
    """One side of a tape, transformed."""

    sums: NDArray[np.complex64]
    """Sums of exp(-2 pi i f t), less its mean, over the trades of all smaller classes of size, (CLASSES + 1, frequencies)."""
    counts: Floats
    """Trades in these classes, shape (CLASSES + 1,)."""
    steady: NDArray[np.complex64]
    """What one trade of the volume curve is expected to add to the sums; it is taken off there, shape (frequencies,)."""
    surprise: Floats
    """The score of each band, shape (bands,)."""


def background(volumes: Sequence[float] | Floats, rng: np.random.Generator) -> Tape:
    """Draw the trades of the others: a Poisson process, lognormal sizes that cluster on round lots, sides by coin.

    Args:
        volumes: Expected market volume of equal parts of the time that is watched, shares.
        rng: Where the trades come from.
    """
    edges = np.append(0.0, np.cumsum(volumes))
    count = int(rng.poisson(edges[-1] / MEAN_TRADE))
    times = np.interp(rng.random(count) * edges[-1], edges, np.linspace(0.0, 1.0, len(edges)))
    sizes = rng.lognormal(math.log(MEAN_TRADE) - 0.5 * SIZE_DEVIATION**2, SIZE_DEVIATION, count)
    unit = np.where((rng.random(count) < ROUND_LOTS) & (sizes >= 0.5 * LOT), LOT, 1.0)
    sides = np.where(rng.random(count) < 0.5, 1.0, -1.0)
    return Tape(times, sides * np.maximum(np.rint(sizes / unit), 1.0) * unit)


def join(tape: Tape, other: Tape) -> Tape:
    """Return the trades of both tapes (in no order: the detector needs none)."""
    return Tape(*(np.concatenate(pair) for pair in zip(tape, other, strict=True)))


def until(tape: Tape, end: float) -> Tape:
    """Return what was traded before `end`, a fraction of the time, as a tape of that shorter time."""
    early = tape.times < end
    return Tape(tape.times[early] / end, tape.sizes[early])


def listen(tape: Tape, side: int, volumes: Sequence[float] | Floats = (1.0,)) -> Spectrum:
    """Transform the trades of one side of a tape.

    Args:
        tape: The trades.
        side: +1: where the buyer was the active side, -1: the seller.
        volumes: Expected market volume of equal parts of the time that is watched; relative numbers.
    """
    steady = _steady(volumes)
    own = tape.sizes * side > 0.0
    cells = _size_class(tape.sizes[own]) * _BINS + _bin(tape.times[own])
    grid = np.bincount(cells, minlength=CLASSES * _BINS).reshape(CLASSES, _BINS)
    counts = grid.sum(axis=1)
    sums = np.zeros((CLASSES + 1, _FREQUENCIES), dtype=np.complex64)
    used = counts.nonzero()[0]
    if used.size:
        sums[used + 1] = np.fft.rfft(grid[used].astype(np.float32), _LENGTH, axis=1)[:, :_FREQUENCIES]
    total = np.append(0.0, np.cumsum(counts))
    sums = np.cumsum(sums, axis=0) - np.multiply.outer(total.astype(np.float32), steady)
    return Spectrum(sums, total, steady, _surprise(sums, total, slice(None)))


def _steady(volumes: Sequence[float] | Floats) -> NDArray[np.complex64]:
    """Return the mean of exp(-2 pi i f t) over times that follow a volume curve."""
    done = np.append(0.0, np.cumsum(volumes))
    shares = np.diff(np.interp(np.linspace(0.0, 1.0, _BINS + 1), np.linspace(0.0, 1.0, len(done)), done / done[-1]))
    return np.asarray(np.fft.rfft(shares.astype(np.float32), _LENGTH)[:_FREQUENCIES], dtype=np.complex64)


def score(tape: Tape, volumes: Sequence[float] | Floats = (1.0,)) -> float:
    """Return how much a tape looks as if a sliced parent were in it: minus the logarithm of a probability.

    The arguments are those of :func:`listen`.
    """
    return max(float(listen(tape, side, volumes).surprise.max()) for side in (1, -1))


def score_with(others: tuple[Spectrum, Spectrum], times: Floats, shares: Floats) -> float:
    """Return the score of a tape with the children of a parent in it.

    Args:
        others: The trades of the others on the side of the parent, and on the other one, from :func:`listen`.
        times: When the children trade, as for :class:`Tape`.
        shares: Their sizes, positive.
    """
    own, against = others
    rest = float(against.surprise.max())
    if not len(times):
        return max(float(own.surprise.max()), rest)
    classes = _size_class(shares)
    low, high = int(classes.min()), int(classes.max()) + 1
    turns = _TURNS[np.multiply.outer(_bin(times), np.arange(_FREQUENCIES)) % _LENGTH]
    added = np.zeros((high - low, _FREQUENCIES), dtype=np.complex64)
    for place, turn in zip(classes - low, turns - own.steady, strict=True):
        added[place:] += turn  # it counts in its own class and in all larger ones: the sums are cumulative
    sums, counts = own.sums.copy(), own.counts.copy()
    sums[low + 1 : high + 1] += added
    sums[high + 1 :] += added[-1]
    counts[1:] += np.cumsum(np.bincount(classes, minlength=CLASSES))
    touched = (high > _FIRST) & (low < _LAST)
    found = _surprise(sums, counts, touched)
    untouched = own.surprise[~touched]
    return max(float(found.max()), float(untouched.max(initial=0.0)), rest)


def _size_class(sizes: Floats) -> NDArray[np.int64]:
    """Return the class of each size."""
    classes = np.ceil(np.log(np.abs(sizes) / SMALLEST) / math.log(RATIO))
    return np.asarray(np.clip(classes, 0, CLASSES - 1).astype(np.int64))


def _bin(times: Floats) -> NDArray[np.int64]:
    """Return the bin of each time."""
    return np.asarray((times * _BINS).astype(np.int64))


def _surprise(sums: NDArray[np.complex64], counts: Floats, bands: Any) -> Floats:
    """Return the score of some bands: the largest over periods and numbers of harmonics."""
    first, last = _FIRST[bands], _LAST[bands]
    trades = counts[last] - counts[first]
    best, full = np.zeros(len(trades)), trades >= FEWEST_TRADES
    transform = sums[last[full]] - sums[first[full]]
    power = transform.real**2 + transform.imag**2
    total = np.zeros((len(power), len(_CYCLES)), dtype=np.float32)
    for harmonic in range(1, HARMONICS[-1] + 1):
        total += power[:, harmonic * _CYCLES]
        if harmonic in HARMONICS and len(total):
            best[full] = np.maximum(best[full], _minus_log_tail(total.max(axis=1) / trades[full], harmonic))
    return best


def _minus_log_tail(values: Floats, harmonics: int) -> Floats:
    """Return minus the logarithm of the probability that a sum of standard exponentials is larger."""
    terms = sum(values**power / math.factorial(power) for power in range(harmonics))
    return np.asarray(values - np.log(terms))


def auc(found: Floats, clean: Floats) -> float:
    """Return the probability that a tape with a parent scores higher than one without: the rank statistic of Mann and Whitney.

    Args:
        found: Scores of tapes with a parent.
        clean: Scores of tapes without one. Ties count one half.
    """
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, found, side="left") + np.searchsorted(ordered, found, side="right")
    return float(0.5 * below.mean() / len(ordered))


def auc_interval(area: float, found: int, clean: int, level: float = 0.95) -> tuple[float, float]:
    """Return a score interval of an AUC: all areas that lie within z of their own standard errors of the one that was measured.

    It is to the AUC what Wilson's interval is to a share: it stays inside [0, 1], and it has a width where every tape with a
    parent scores higher than every one without, which a bootstrap and a symmetric interval have not. The variance is that of
    Hanley and McNeil (1982) with the mean of both sample sizes, method 5 of Newcombe (2006, Statistics in Medicine 25:559).

    Args:
        area: The AUC that was measured.
        found: Number of tapes with a parent.
        clean: Number of tapes without one.
        level: Probability that it holds the true area.
    """
    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    others = 0.5 * (found + clean) - 1.0

    def beyond(true: float) -> bool:
        more = others * ((1.0 - true) / (2.0 - true) + true / (1.0 + true))
        return (area - true) ** 2 > z * z * true * (1.0 - true) * (1.0 + more) / (found * clean)

    return _border(beyond, 0.0, area), _border(beyond, 1.0, area)


def _border(beyond: Callable[[float], bool], out: float, inside: float) -> float:
    """Return where a test begins to fail between a number and one inside the interval, by bisection."""
    if not beyond(out):
        return out
    for _ in range(50):
        middle = 0.5 * (out + inside)
        out, inside = (middle, inside) if beyond(middle) else (out, middle)
    return inside
