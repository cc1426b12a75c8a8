r"""Detection of a sliced order on the public tape: a periodicity detector, and the statistics of its accuracy (AUC).

A sliced parent leaves trades of one side and of similar size at regular times. The detector sorts the trades of each side by
size into overlapping bands and searches each band for a period: with times :math:`t_j` of n trades and a candidate period P,

.. math:: \sum_{h=1}^{H} \Big|\sum_j e^{2 \pi i h t_j / P}\Big|^2 / n

is a sum of H standard exponential variables if the times are random (the periodogram of a point process; Bartlett 1963), and
nH if they are regular. The surprise of a band is minus the logarithm of the probability of so large a sum, maximised over
periods and H = 1, 2, 4, 8; the score of a tape is the largest surprise over bands. Few harmonics detect jittered periods,
many harmonics detect exact ones.

The mean of each term, which is the transform of the public volume curve, is subtracted, so that a busy open is not taken for a
period. The sums are additive: a background is transformed once for all orders that are hidden in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    *("MEAN_TRADE", "MOST_CYCLES", "Spectrum", "Tape", "auc", "auc_interval", "background", "join", "score"),
    *("score_with_order", "spectrum", "truncate"),
]

Floats = NDArray[np.float64]

MEAN_TRADE: Final = 200.0
"""Mean size of a background trade, shares: about the mean print of a liquid stock on a lit market."""
SIZE_DEVIATION: Final = 1.0
"""Standard deviation of the log size of background trades (the median is therefore 121 shares)."""
LOT: Final = 100.0
ROUND_LOTS: Final = 0.6
"""Fraction of the background trades of at least half a lot that are whole lots (about half of all trades)."""

FEWEST_CYCLES: Final = 3
MOST_CYCLES: Final = 32
"""Candidate periods: the observed time divided by 3 to 32. A parent with more children goes undetected."""
HARMONICS: Final = (1, 2, 4, 8)
SMALLEST: Final = 50.0
"""Upper end of the first size class, shares; the ends of successive classes grow by the factor :data:`RATIO`."""
RATIO: Final = 1.25
CLASSES: Final = 32
WIDTHS: Final = (1, 2, 4, 8)
"""Widths of the bands, in neighbouring size classes."""
FEWEST_TRADES: Final = 4
"""Smallest number of trades of a scored band: some period fits any three trades."""

_OVERSAMPLING: Final = 8  # frequencies are 1/8 cycle apart, so the eighth harmonic is off by at most half a cycle
_BINS: Final = 1024  # time bins; four per cycle of the highest harmonic
_LENGTH: Final = _BINS * _OVERSAMPLING
_CYCLES: Final = np.arange(FEWEST_CYCLES * _OVERSAMPLING, MOST_CYCLES * _OVERSAMPLING + 1)
_FREQUENCIES: Final = MOST_CYCLES * _OVERSAMPLING * HARMONICS[-1] + 1
_TURNS: Final = np.exp(-2j * np.pi * np.arange(_LENGTH) / _LENGTH).astype(np.complex64)
_FIRST: Final = np.concatenate([np.arange(CLASSES - width + 1) for width in WIDTHS])
_LAST: Final = np.concatenate([np.arange(width, CLASSES + 1) for width in WIDTHS])  # one past the last class of each band


class Tape(NamedTuple):
    """Trades as every market participant sees them."""

    times: Floats
    """Time of each trade as a fraction of the observed time, in [0, 1), shape (trades,)."""
    sizes: Floats
    """Signed size in shares, positive if the buyer was the aggressor, negative if the seller was, shape (trades,)."""


class Spectrum(NamedTuple):
    """Fourier transform of the trades of one side of a tape, cumulative over size classes."""

    sums: NDArray[np.complex64]
    """Sums of exp(-2 pi i f t) minus its mean over the trades of all smaller size classes, (CLASSES + 1, frequencies)."""
    counts: Floats
    """Number of trades in these classes, shape (CLASSES + 1,)."""
    mean: NDArray[np.complex64]
    """Expected value of exp(-2 pi i f t) for a trade that follows the volume curve, shape (frequencies,)."""
    surprise: Floats
    """Surprise of each band, shape (bands,)."""


def background(volumes: Sequence[float] | Floats, rng: np.random.Generator) -> Tape:
    """Draw background trades: Poisson times, lognormal sizes that cluster on round lots, and random sides.

    Args:
        volumes: Expected market volume of equal parts of the observed time, shares.
        rng: Random generator.
    """
    edges = np.append(0.0, np.cumsum(volumes))
    count = int(rng.poisson(edges[-1] / MEAN_TRADE))
    times = np.interp(rng.random(count) * edges[-1], edges, np.linspace(0.0, 1.0, len(edges)))
    sizes = rng.lognormal(math.log(MEAN_TRADE) - 0.5 * SIZE_DEVIATION**2, SIZE_DEVIATION, count)
    unit = np.where((rng.random(count) < ROUND_LOTS) & (sizes >= 0.5 * LOT), LOT, 1.0)
    sides = np.where(rng.random(count) < 0.5, 1.0, -1.0)
    return Tape(times, sides * np.maximum(np.rint(sizes / unit), 1.0) * unit)


def join(tape: Tape, other: Tape) -> Tape:
    """Return the trades of both tapes, unsorted (the detector does not depend on their order)."""
    return Tape(*(np.concatenate(pair) for pair in zip(tape, other, strict=True)))


def truncate(tape: Tape, end: float) -> Tape:
    """Return the trades before `end`, a fraction of the observed time, as a tape over that shorter time."""
    early = tape.times < end
    return Tape(tape.times[early] / end, tape.sizes[early])


def spectrum(tape: Tape, side: int, volumes: Sequence[float] | Floats = (1.0,)) -> Spectrum:
    """Return the spectrum of the trades of one side of a tape.

    Args:
        tape: The trades.
        side: +1: trades with the buyer as the aggressor, -1: with the seller.
        volumes: Expected market volume of equal parts of the observed time, relative.
    """
    mean = _mean_transform(volumes)
    own = tape.sizes * side > 0.0
    cells = _size_class(tape.sizes[own]) * _BINS + _bin(tape.times[own])
    grid = np.bincount(cells, minlength=CLASSES * _BINS).reshape(CLASSES, _BINS)
    counts = grid.sum(axis=1)
    sums = np.zeros((CLASSES + 1, _FREQUENCIES), dtype=np.complex64)
    used = counts.nonzero()[0]
    if used.size:
        sums[used + 1] = np.fft.rfft(grid[used].astype(np.float32), _LENGTH, axis=1)[:, :_FREQUENCIES]
    total = np.append(0.0, np.cumsum(counts))
    sums = np.cumsum(sums, axis=0) - np.multiply.outer(total.astype(np.float32), mean)
    return Spectrum(sums, total, mean, _surprise(sums, total, slice(None)))


def _mean_transform(volumes: Sequence[float] | Floats) -> NDArray[np.complex64]:
    """Return the mean of exp(-2 pi i f t) over times distributed as the volume curve."""
    done = np.append(0.0, np.cumsum(volumes))
    shares = np.diff(np.interp(np.linspace(0.0, 1.0, _BINS + 1), np.linspace(0.0, 1.0, len(done)), done / done[-1]))
    return np.asarray(np.fft.rfft(shares.astype(np.float32), _LENGTH)[:_FREQUENCIES], dtype=np.complex64)


def score(tape: Tape, volumes: Sequence[float] | Floats = (1.0,)) -> float:
    """Return the score of a tape: the largest surprise over sides and bands. A high score indicates a sliced parent.

    The arguments are as in :func:`spectrum`.
    """
    return max(float(spectrum(tape, side, volumes).surprise.max()) for side in (1, -1))


def score_with_order(others: tuple[Spectrum, Spectrum], times: Floats, shares: Floats) -> float:
    """Return the score of a tape to which the children of a parent are added.

    Args:
        others: Spectra (from :func:`spectrum`) of the background trades on the side of the parent and on the opposite side.
        times: Times of the children, as in :class:`Tape`.
        shares: Sizes of the children, positive.
    """
    own, against = others
    rest = float(against.surprise.max())
    if not len(times):
        return max(float(own.surprise.max()), rest)
    classes = _size_class(shares)
    low, high = int(classes.min()), int(classes.max()) + 1
    turns = _TURNS[np.multiply.outer(_bin(times), np.arange(_FREQUENCIES)) % _LENGTH]
    added = np.zeros((high - low, _FREQUENCIES), dtype=np.complex64)
    for place, turn in zip(classes - low, turns - own.mean, strict=True):
        added[place:] += turn  # the sums are cumulative: a child counts in its class and all larger ones
    sums, counts = own.sums.copy(), own.counts.copy()
    sums[low + 1 : high + 1] += added
    sums[high + 1 :] += added[-1]
    counts[1:] += np.cumsum(np.bincount(classes, minlength=CLASSES))
    touched = (high > _FIRST) & (low < _LAST)
    found = _surprise(sums, counts, touched)
    untouched = own.surprise[~touched]
    return max(float(found.max()), float(untouched.max(initial=0.0)), rest)


def _size_class(sizes: Floats) -> NDArray[np.int64]:
    """Return the size class of each trade."""
    classes = np.ceil(np.log(np.abs(sizes) / SMALLEST) / math.log(RATIO))
    return np.asarray(np.clip(classes, 0, CLASSES - 1).astype(np.int64))


def _bin(times: Floats) -> NDArray[np.int64]:
    """Return the time bin of each trade."""
    return np.asarray((times * _BINS).astype(np.int64))


def _surprise(sums: NDArray[np.complex64], counts: Floats, bands: Any) -> Floats:
    """Return the surprise of the selected bands, maximised over periods and numbers of harmonics."""
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
    """Return minus the log probability that a sum of `harmonics` standard exponential variables exceeds each value."""
    terms = sum(values**power / math.factorial(power) for power in range(harmonics))
    return np.asarray(values - np.log(terms))


def auc(found: Floats, clean: Floats) -> float:
    """Return the probability that a tape with a parent scores higher than one without (Mann-Whitney); ties count one half.

    Args:
        found: Scores of tapes with a parent.
        clean: Scores of tapes without a parent.
    """
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, found, side="left") + np.searchsorted(ordered, found, side="right")
    return float(0.5 * below.mean() / len(ordered))


def auc_interval(area: float, found: int, clean: int, level: float = 0.95) -> tuple[float, float]:
    """Return a score interval of an AUC: all areas within z standard errors of the estimate, each by its own standard error.

    Like Wilson's interval of a proportion, it stays inside [0, 1] and has a positive width even if every tape with a parent
    scores higher than every tape without, unlike a bootstrap or symmetric interval. The variance is that of Hanley and McNeil
    (1982) with the mean of both sample sizes, method 5 of Newcombe (2006, Statistics in Medicine 25:559).

    Args:
        area: Estimate of the AUC.
        found: Number of tapes with a parent.
        clean: Number of tapes without a parent.
        level: Coverage probability.
    """
    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    others = 0.5 * (found + clean) - 1.0

    def outside(true: float) -> bool:
        more = others * ((1.0 - true) / (2.0 - true) + true / (1.0 + true))
        return (area - true) ** 2 > z * z * true * (1.0 - true) * (1.0 + more) / (found * clean)

    return _boundary(outside, 0.0, area), _boundary(outside, 1.0, area)


def _boundary(outside: Callable[[float], bool], start: float, inside: float) -> float:
    """Return the end of the interval between `start` and a point inside it, by bisection; `start` itself if it is inside."""
    if not outside(start):
        return start
    for _ in range(50):
        middle = 0.5 * (start + inside)
        start, inside = (middle, inside) if outside(middle) else (start, middle)
    return inside
