"""Faults of the prices of bars: spikes, stub quotes, frozen feeds, splits inside the data, and two instruments in one.

Large moves over the night that are real are kept and noted. "Clean files" in the reasons of the thresholds are those of
:mod:`hyperexec_env.data.faults`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from .days import Grid, Placed
from .tables import Bars
from .views import Fault, View, listed, runs_of
from .zones import DAY

__all__ = ["check_instrument", "check_nights", "frozen", "spikes", "stubs"]

SPIKE_MOVES: Final = 40.0
"""Move of one bar that the next bar takes back, as a multiple of the median move, from which it is an error. Clean files: at
most 18 (Bitcoin)."""
RETURNS: Final = 0.7
"""Share of a spike that the next bar takes back at least."""
LEAST_SPIKE: Final = 0.01
"""Smallest move (log) that is called a spike. Clean files of one minute: at most 0.8 % (OXY) among stocks."""
STUB_MOVES, LEAST_STUB = 100.0, 0.05
"""Distance of high, low or open from the other prices, as a multiple of the median move and as a log, from which it is an
error. Clean files: at most 2.1 % (ORCL, five minutes), and at most 39 median moves
(SPY)."""
CRASH: Final = 1.6
"""Move of one bar (log; a factor of five) that is an error even if it is not taken back. Clean files: 0.033."""
NIGHT_MOVE: Final = 0.25
"""Move over the night (log) from which split and instrument are doubted. Clean files: 0.107 (ORCL)."""
NIGHT_DAYS: Final = 8
"""Days between two sessions beyond which any move of the price is plausible."""
EVENT_TURNOVER: Final = 3.0
"""Volume and turnover of the day after a real large move, as multiples of their medians before; a split leaves the turnover as
it is, another unit of the price leaves the volume."""
FEWEST_PAIRS: Final = 50
"""Bars next to each other that are needed to compare their opens and closes."""
SPLITS: Final = (1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)
"""Usual ratios of splits."""
MOST_CONTRADICTING: Final = 0.2
"""Share of bars that are given twice with other values from which they belong to two instruments."""
MOST_LEAPS: Final = 0.02
"""Share of bars that move by more than 25 % from which the prices are those of two instruments. Clean files: none."""
_TWO: Final = "bars of two instruments? Choose one with --symbol, or give the files of one alone"
FROZEN_ODDS: Final = 20.0
"""Minus the log of the probability of a run of unchanged prices, from which it is a frozen feed; shares whose price often
stays are allowed longer runs. Clean files: 0.13 % of the bars are unchanged, none twice in a row."""
FROZEN_MINUTES: Final = 15
"""Shortest run of unchanged prices that is called frozen."""


def spikes(view: View) -> Iterator[Fault]:
    """Find closes that leave the other prices and return, and moves beyond any plausible size."""
    move = view.move
    far = np.maximum(LEAST_SPIKE, SPIKE_MOVES * view.usual)
    night = np.zeros((len(move), 1))
    night[:-1, 0] = np.log(view.grid.open[1:, 0] / view.grid.close[:-1, -1])
    night = np.where(np.abs(night) > 0.1, night, 0.0)
    later = np.concatenate([move[:, 1:], night], axis=1)
    back = (np.sign(move) == -np.sign(later)) & (np.abs(later) > RETURNS * np.abs(move))
    wrong = ((np.abs(move) > far) & back) | (np.abs(move) > CRASH)
    quiet = view.grid.volume <= EVENT_TURNOVER * view.median if view.grid.has_volume else np.ones(move.shape, dtype=bool)
    leap = (np.abs(move) > NIGHT_MOVE) & quiet & ~wrong & (view.grid.row >= 0) & (move.shape[1] > 1)
    for session, bar in view.first(leap):
        close, change = view.grid.close[session, bar], np.exp(move[session, bar]) - 1.0
        reason = (
            f"the price moves by {change:+.1%} to {close:g} at {view.clock(session, bar)} without the volume of a real move"
        )
        yield Fault(session, bar, "spike", f"{reason}: a split within the day?")
    for session, bar in view.first(wrong & (view.grid.row >= 0)):
        change = f"{view.grid.close[session, bar]:g}, {np.exp(move[session, bar]) - 1.0:+.1%} from the bar before"
        yield Fault(session, bar, "spike", f"the close of {view.clock(session, bar)} is {change}, and the prices return")


def stubs(view: View) -> Iterator[Fault]:
    """Find highs, lows and opens that lie far from the other prices, such as stub quotes."""
    grid = view.grid
    far = np.maximum(LEAST_STUB, STUB_MOVES * view.usual)
    before = np.concatenate([grid.open[:, :1], grid.close[:, :-1]], axis=1)
    top, bottom = np.maximum(grid.close, before), np.minimum(grid.close, before)
    for field, distance in (("high", np.log(grid.high / top)), ("low", np.log(bottom / grid.low))):
        for session, bar in view.first((distance > far) & (grid.row >= 0)):
            value, beyond = getattr(grid, field)[session, bar], np.exp(distance[session, bar]) - 1.0
            reason = (
                f"the {field} of {view.clock(session, bar)} is {value:g}, {beyond:.0%} beyond open and close: a stub quote?"
            )
            yield Fault(session, bar, "stub", reason)


def frozen(view: View) -> Iterator[Fault]:
    """Find runs of bars with trades at one unchanged price, longer than this share has by chance."""
    grid = view.grid
    flat = (grid.high == grid.low) & (view.move == 0.0) & (grid.row >= 0)
    if grid.has_volume:
        flat &= grid.volume > 0.0
    odds = -np.log(np.clip(np.median(flat.mean(axis=1)), 0.02, 0.999))
    count, minutes = runs_of(flat, np.ones(flat.shape[1])), runs_of(flat, view.minutes)
    wrong = (count * odds > FROZEN_ODDS) & (minutes >= FROZEN_MINUTES)
    for session, bar in view.first(wrong):
        first = bar - int(count[session, bar]) + 1
        stands = f"{grid.close[session, bar]:g} for {minutes[session].max():.0f} minutes from {view.clock(session, first)} on"
        yield Fault(session, first, "frozen", f"the price stands at {stands} although volume is traded: a frozen feed")


def check_instrument(bars: Bars, placed: Placed) -> None:
    """Raise ValueError if bars contradict each other, or prices alternate between two levels, as those of two instruments do.

    Args:
        bars: The table.
        placed: Its bars on the grid of their sessions.
    """
    grid = placed.grid
    if len(placed.contradicting) > MOST_CONTRADICTING * (grid.row >= 0).sum():
        place, count = bars.where(int(placed.contradicting[0])), len(placed.contradicting)
        raise ValueError(f"{place}: {count:,} bars are given twice with other prices or volumes: {_TWO}")
    _check_order(bars, grid)
    leaps = np.abs(np.diff(np.log(grid.close), axis=1)) > NIGHT_MOVE
    if leaps.size and leaps.shape[1] >= 5 and leaps.mean() > MOST_LEAPS:
        raise ValueError(f"{', '.join(bars.provenance.files)}: {leaps.mean():.0%} of the bars move by more than 25 %: {_TWO}")


def _check_order(bars: Bars, grid: Grid) -> None:
    """Raise ValueError if each bar closes where the bar before it opens, as if open and close, or the order, were swapped."""
    both = (grid.row[:, 1:] >= 0) & (grid.row[:, :-1] >= 0)
    if both.sum() < FEWEST_PAIRS:
        return
    forward, backward = (
        float(np.median(np.abs(np.log(later[:, 1:] / earlier[:, :-1]))[both]))
        for later, earlier in ((grid.open, grid.close), (grid.close, grid.open))
    )
    if backward < 0.3 * forward:
        raise ValueError(
            f"{', '.join(bars.provenance.files)}: bars close where the bars before them open: open and close are swapped, "
            "or the times run backwards; name the columns with --columns open=NAME,close=NAME"
        )


def check_nights(bars: Bars, grid: Grid) -> list[str]:
    """Check that no split and no other instrument lies between two sessions; return a sentence on large moves that are kept.

    Raises:
        ValueError: The price moves by more than 25 % over the night without the turnover of a real event.
    """
    if len(grid.close) < 2:
        return []
    before, after = grid.close[:-1, -1], grid.open[1:, 0]
    opens = np.array([item.open for item in grid.hours])
    near = np.diff(opens) < NIGHT_DAYS * DAY
    turnover = (grid.volume * grid.close).sum(axis=1)
    kept = []
    for at in np.flatnonzero((np.abs(np.log(after / before)) > NIGHT_MOVE) & near).tolist():
        days = f"from {grid.hours[at].date} to {grid.hours[at + 1].date}"
        text = f"the price moves from {before[at]:g} to {after[at]:g} {days}"
        first, row = grid.nearest_row(at, grid.close.shape[1] - 1), grid.nearest_row(at + 1, 0)
        if grid.has_volume and _is_event(grid, at + 1, bool(bars.source[first] != bars.source[row])):
            kept.append(f"{text} ({turnover[at + 1] / np.median(turnover[: at + 1]):.0f} times the usual turnover)")
            continue
        why = _split(before[at], after[at], grid.hours[at + 1].date) or _TWO
        raise ValueError(f"{bars.where(row)}: {text} without the turnover of a real move: {why}")
    return [f"large moves over the night are kept as real: {listed(kept)}"] if kept else []


def _split(before: float, after: float, date: str) -> str:
    """Return the advice for two prices whose ratio is that of a split before a day; "" for another ratio."""
    ratio = max(after / before, before / after)
    near = min(SPLITS, key=lambda item: abs(np.log(ratio / item)))
    if abs(np.log(ratio / near)) > 0.04:
        return ""
    named = f"{near:g} for 1" if after < before else f"1 for {near:g}"
    return f"a split of {named}? Give prices adjusted for splits, or pass --since {date} for the sessions after it"


def _is_event(grid: Grid, at: int, new_source: bool) -> bool:
    """Return whether volume and turnover of a session leap, and do not stay up as those of another instrument would."""
    shares = grid.volume.sum(axis=1)
    turnover = (grid.volume * grid.close).sum(axis=1)
    first = max(0, at - 20)
    leaps = all(item[at] > EVENT_TURNOVER * float(np.median(item[first:at])) for item in (shares, turnover))
    later = turnover[at + 1 : at + 21]
    return bool(leaps and (not new_source if len(later) < 3 else turnover[at] > 1.5 * float(np.median(later))))
