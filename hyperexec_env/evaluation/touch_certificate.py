r"""Certificate of a touch market: what the best round trip earns that may take and rest on both sides.

A market at the touch can pay a patient trader: where adverse selection is less than half-spread plus rebate, a fill of the
queue earns. The queue bounds how much. The certificate solves the two-sided problem exactly: the trader starts and ends flat,
holds at most a few lots either way, takes on either side, and rests on both sides at once, with any number of lots at the
place it has (in a real queue a larger order joins again at the back, so this can only raise the gain). Risk costs nothing.
Its value, in half-spreads for each lot that may be held, is the *market-making value*. A scenario is sound if taking a lot
costs something, and the market-making value is at most `market_making`, which the scenario states.

The two queues lose lots independently. The mid moves up with the probability of a move away, and then sweeps the offers with
the probability of a sweep; down alike. Kyle's slope moves the mid by the same amount for lots that are taken and lots that
are filled, so that pushing the mid by taking and resting the return costs nothing and earns nothing; it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.touch import (
    AWAY,
    KEEP,
    THROUGH,
    Draw,
    TouchMarket,
    all_places,
    build_touch,
    place_index,
    turn,
    unwind,
)
from hyperexec_env.market.touch_scenario import TouchLike, get_touch

__all__ = ["TouchCertificate", "certify_touch"]

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_HELD: Final = 2
"""Largest number of lots that the trader holds either way."""
_LARGEST: Final = 30_000_000
"""Largest number of cases of a step, which take a few seconds."""
_ROUNDING: Final = 1e-9
"""Half-spreads that count as rounding."""


@dataclass(frozen=True)
class TouchCertificate:
    """The result of the tests; `str` renders it as text."""

    name: str
    hash: str
    taking: float
    """Cost of buying and selling one lot by taking, half-spreads."""
    filled: float
    """Gain of buying and selling one lot by fills of the queue, half-spreads; the queue bounds how often."""
    swept: float
    """Gain of buying and selling one lot by sweeps, half-spreads."""
    value: float
    """Market-making value, half-spreads for each lot that may be held."""
    stated: float
    """Most that the scenario states."""
    held: int
    """Largest number of lots that the trader holds either way."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, one line each; empty for a sound market."""
        found = []
        if self.taking < 0.0:
            found.append(f"buying and selling a lot by taking earns {-self.taking:.4g} half-spreads")
        if self.value > self.stated + max(_ROUNDING, 1e-6 * self.stated):
            found.append(
                f"the best round trip earns {self.value:.4g} half-spreads a lot, and the scenario states "
                f"{self.stated:g}; state market_making = {self.value:.4g} if that is meant"
            )
        return tuple(found)

    @property
    def sound(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if a fault was found."""
        return 0 if self.sound else 1

    @property
    def verdict(self) -> str:
        """The result in one line."""
        if not self.sound:
            return f"certificate of {self.name}: NOT SOUND: {'; '.join(self.faults)}"
        made = f"the market-making value is {self.value:.4f} half-spreads a lot, at most {self.stated:g} as stated"
        return f"certificate of {self.name}: sound; {made if self.value > _ROUNDING else 'no round trip earns'}"

    def __str__(self) -> str:
        """Return the certificate as text."""
        rows = [
            ["", "take, take", f"{-self.taking:.4f}", "always"],
            ["", "fill of the queue, fill of the queue", f"{self.filled:.4f}", "if both queues reach the order"],
            ["", "sweep, sweep", f"{self.swept:.4f}", "if the touch moves there and back"],
        ]
        table = text_table(["", "round trip of one lot", "gain [half-spreads]", ""], rows)
        best = (
            f"best round trip, exact over both sides with at most {self.held} lots held: {self.value:.6f} half-spreads for each"
        )
        return "\n".join([table, "", best, "", self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain values for JSON."""
        return {**vars(self), "sound": self.sound, "faults": list(self.faults)}


class _Side(NamedTuple):
    """One side of the book, for one move of the touch; shape (places, sizes, outflows)."""

    filled: Whole
    place: Whole
    gain: Floats
    """Mean gain of the fill, currency per share, shape (places, sizes)."""


def certify_touch(touch: TouchLike, *, held: int = _HELD) -> TouchCertificate:
    """Test whether a touch market is sound.

    Args:
        touch: A name, a dict, a path or a touch scenario.
        held: Largest number of lots that the trader of the round trip holds either way.

    Raises:
        ValueError: The queue is too long for an exact search.
    """
    found = get_touch(touch)
    market = build_touch(found)
    h = found.half_spread
    return TouchCertificate(
        name=found.name,
        hash=found.hash,
        taking=2.0 * (found.half_spread + found.take_fee + found.impact) / h,
        filled=2.0 * market.earned / h,
        swept=2.0 * market.swept / h,
        value=round_trip_value(market, held) / (h * held),
        stated=found.market_making,
        held=held,
    )


def _side(market: TouchMarket, moved: float, sizes: int, chances: Floats) -> _Side:
    """Return what happens to a resting order, for each place, size and outflow."""
    places, outflows = all_places(market), np.arange(float(len(chances)))
    shape = len(places.level), sizes, len(outflows)
    at = type(places)(*(np.broadcast_to(values[:, None, None], shape) for values in places))
    size = np.broadcast_to(np.arange(float(sizes))[:, None], shape)
    draw = Draw(np.broadcast_to(outflows, shape), np.full(shape, moved))
    after = turn(market, size, at, np.zeros(shape), np.full(shape, KEEP), draw)
    return _Side(after.filled.astype(np.int64), place_index(market, after.place), -after.bill.rest @ chances)


def round_trip_value(market: TouchMarket, held: int) -> float:
    """Return the mean gain of the best round trip, currency per share, summed over the lots."""
    scenario, free = market.scenario, market._replace(risk=0.0)
    chances = market.outflow_law
    kept = min(len(chances), scenario.queue + 2 * held + 1)  # a larger outflow does what the largest of these does
    chances = np.append(chances[: kept - 1], chances[kept - 1 :].sum())
    positions, sizes, places = 2 * held + 1, 2 * held + 1, scenario.queue + 3
    if positions * (places * sizes) ** 2 * kept > _LARGEST:
        raise ValueError(f"queue must be shorter for an exact certificate, got {scenario.queue} lots")
    through, away = scenario.sweep_probability, scenario.move_probability - scenario.sweep_probability
    # (probability, move as a resting buyer sees it, move as a resting seller sees it)
    moves = ((through, AWAY, THROUGH), (through, THROUGH, AWAY), (away, AWAY, 0.0), (away, 0.0, AWAY))
    events = (*moves, (1.0 - 2.0 * scenario.move_probability, 0.0, 0.0))
    sides = {move: _side(free, move, sizes, chances) for move in (AWAY, THROUGH, 0.0)}
    position, size = np.arange(positions), np.arange(sizes)
    possible = (size[:, None] <= 2 * held - position[:, None, None]) & (size <= position[:, None, None])  # bid, offer
    take = sum(unwind(market, np.arange(float(positions))))
    change = np.abs(position[:, None] - position)
    cost = np.where(change <= scenario.max_take, take[change], np.inf)
    value = np.broadcast_to(-take[np.abs(position - held)][:, None, None], (positions, places, places))
    for _ in range(scenario.steps):
        resting = np.zeros((positions, places, sizes, places, sizes))
        for chance, bid, offer in events:
            if chance > 0.0:
                resting += chance * _expected(value, sides[bid], sides[offer], chances)
        resting = np.where(possible[:, None, :, None, :], resting, -np.inf).max(axis=(2, 4))
        for axis in (1, 2):  # keep the place, join, go deeper, or rest nowhere
            joined = np.take(resting, [scenario.queue, scenario.queue + 1, scenario.queue + 2], axis=axis)
            resting = np.maximum(resting, joined.max(axis=axis, keepdims=True))
        value = (resting[None] - cost[:, :, None, None]).max(axis=1)
    return float(value[held, -1, -1])


def _expected(value: Floats, bid: _Side, offer: _Side, chances: Floats) -> Floats:
    """Return the mean gain of a step and the value after it, shape (positions, places, sizes, places, sizes)."""
    positions = len(value)
    at = np.arange(positions)[:, None, None, None]
    sold = np.maximum(at - offer.filled, 0)  # impossible sizes are shut out later
    after = value[sold, :, offer.place]  # (positions, places, sizes, outflows, places of the bid)
    of_offer = np.tensordot(after, chances, axes=([3], [0])) + offer.gain[:, :, None]  # (positions, places, sizes, bid)
    of_offer = of_offer.transpose(0, 3, 1, 2)  # (positions, bid, places, sizes)
    bought = np.minimum(at + bid.filled, positions - 1)
    both = of_offer[bought, bid.place]  # (positions, places, sizes, outflows, places, sizes)
    return np.asarray(np.tensordot(both, chances, axes=([3], [0])) + bid.gain[:, :, None, None])
