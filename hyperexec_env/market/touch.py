r"""The market of a child order at the touch: taking lots, resting in a queue, and what a step costs.

Before step t of T the order has q lots left, and they rest nowhere, at the touch with j lots before them, or one tick deeper.
The policy takes m lots and decides where the other x = q - m lots rest. Nature draws the lots o that leave the front of the
queue, Poisson with mean mu, and the move of the touch. With probability p the touch moves away: the order joins the back of the
new queue. With probability s it moves through the order, which fills every lot that rests at the touch; one that rests one tick
deeper then stands at the touch, behind the lots that came before it. The queue fills z lots
(:mod:`~hyperexec_env.market.queue`). A step costs, in currency per share, summed over the lots,

    take    (h + f) m + i m^2      half-spread h, fee f, cost i of walking the book
    rest    -(h + r - a) z         rebate r, adverse selection a: the scenario's after a fill of the queue, a tick after a sweep
    risk    lam (x - z)^2          lam = risk_aversion (sigma P lot)^2 delta / lot

After step T the lots that are left are taken at once. Both trades are :func:`hyperexec_env.market.kernel.move`: taking with
linear temporary impact, resting with the fill as its limit and a negative half-spread. The mid also moves by Kyle's lambda for
every lot that is taken or filled. That move is linear and permanent, so it costs every complete order the same and is left out,
as the permanent cost is in a scenario of slices. The other moves of the mid have mean zero given the past once `adverse` and
the tick of a sweep are charged.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.kernel import Cost, Impact, Slice, move
from hyperexec_env.market.noise import MOVE, OUTFLOW, offset, slice_key, upper_bits, word
from hyperexec_env.market.numeric import double, rank, where
from hyperexec_env.market.queue import advance, filled
from hyperexec_env.market.touch_scenario import TouchScenario
from hyperexec_env.records import Whole, Word, maker, part_of

__all__ = [
    "AWAY",
    "DEEP",
    "DEEPER",
    "JOIN",
    "KEEP",
    "NONE",
    "NOWHERE",
    "RESTS",
    "THROUGH",
    "TOUCH",
    "Bill",
    "Draw",
    "Place",
    "TouchMarket",
    "TouchNumbers",
    "Turn",
    "Waited",
    "all_places",
    "build_touch",
    "draw_step",
    "draw_touch",
    "numbers_of",
    "outflow_thresholds",
    "place_index",
    "place_row",
    "placed",
    "turn",
    "unwind",
    "wait",
]

NOWHERE: Final = 0.0
"""Level of an order that does not rest."""
TOUCH: Final = 1.0
"""Level of an order that rests at the touch."""
DEEPER: Final = 2.0
"""Level of an order that rests one tick deeper."""

RESTS: Final = ("none", "join", "keep", "deeper")
"""What the lots that are not taken do: rest nowhere, join the back of the touch, keep their place, or rest one tick deeper."""
NONE: Final = 0
JOIN: Final = 1
KEEP: Final = 2
DEEP: Final = 3

AWAY: Final = 1.0
"""Move of the touch away from the order, ticks."""
THROUGH: Final = -1.0
"""Move of the touch through the order, ticks."""

_WORDS: Final = 2**32
_OUTFLOW: Final = offset(OUTFLOW)
_MOVE: Final = offset(MOVE)
_NEVER: Final = 1e18
"""Volume of a fill, which has no impact."""


class Place(NamedTuple):
    """Where the lots of the order rest: numbers, or arrays over episodes."""

    level: Any
    """:data:`NOWHERE`, :data:`TOUCH` or :data:`DEEPER`."""
    ahead: Any
    """Lots before the order in the queue of the touch; 0 unless it rests there."""


class Draw(NamedTuple):
    """What nature draws in a step."""

    outflow: Any
    """Lots that leave the front of the queue."""
    moved: Any
    """:data:`AWAY`, :data:`THROUGH`, or 0."""


class Bill(NamedTuple):
    """What a step costs by source, currency per share, summed over the lots; positive is a cost."""

    take: Any
    """Half-spread and fee of the lots that took."""
    impact: Any
    """Cost of walking the book."""
    rest: Any
    """Adverse selection less half-spread and rebate of the lots that were filled."""
    risk: Any
    """Risk of the lots that are left."""


class Waited(NamedTuple):
    """What a step does to the lots that rest."""

    left: Any
    """Lots that are left."""
    place: Place
    filled: Any
    """Lots that were filled, by the queue or by a sweep."""
    rest: Any
    """Adverse selection less half-spread and rebate of the fills, currency per share, summed over the lots."""
    risk: Any
    """Risk of the lots that are left, currency per share, summed over the lots."""


class Turn(NamedTuple):
    """The result of a step."""

    left: Any
    """Lots that are left."""
    place: Place
    taken: Any
    """Lots that took."""
    filled: Any
    """Lots that were filled, by the queue or by a sweep."""
    bill: Bill


class TouchMarket(NamedTuple):
    """The numbers of a touch scenario, as the equations read them."""

    scenario: TouchScenario
    steps: Whole
    """Number of steps T."""
    lots: float
    """Lots of the order."""
    max_take: Whole
    """Largest number of lots to take in a step."""
    outflow: float
    """Mean lots that leave the front of the queue in a step."""
    scale: float
    """Factor from currency per share, summed over the lots, to half-spreads per lot of the order."""
    taking: Slice
    """The slice of the lots that take; its volume is one lot."""
    ending: Slice
    """The slice that takes everything that is left."""
    back: float
    """Lots before an order that joins the touch."""
    deeper_back: float
    """Lots before an order one tick deeper when the touch reaches it."""
    earned: float
    """Gain of a lot that the queue fills, currency per share."""
    swept: float
    """Gain of a lot that a sweep fills, currency per share."""
    risk: float
    """Currency per share and squared lot."""
    thresholds: NDArray[np.uint64]
    """The outflow is the number of these that 32 random bits reach, shape (largest outflow,)."""
    away: Word
    """32 random bits below the number move the touch away."""
    either: Word
    """32 random bits below the number, and not below `away`, move the touch through the order."""

    @property
    def outflow_law(self) -> NDArray[np.float64]:
        """Probability of each outflow 0, 1, ..., as the thresholds draw it."""
        edges = np.concatenate([[0], self.thresholds.astype(np.float64), [_WORDS]])
        return np.asarray(np.diff(edges) / _WORDS)

    @property
    def move_law(self) -> tuple[tuple[float, float], ...]:
        """(move, probability) of each move of the touch, as the draws have it."""
        away, either = float(self.away) / _WORDS, float(self.either) / _WORDS
        return (AWAY, away), (THROUGH, either - away), (0.0, 1.0 - either)


TouchNumbers: Any = part_of("TouchNumbers", TouchMarket, ("scenario", "thresholds"))
"""The numbers of a :class:`TouchMarket` as a record, for compiled loops; the functions of this module take either."""
_numbers_of: Final = maker(TouchNumbers, TouchMarket, ())

_IMPACT: Final = Impact(permanent_slope=0.0, transient_slope=0.0, beta=1.0)


def outflow_thresholds(mean: float) -> NDArray[np.uint64]:
    """Return the 32-bit thresholds of a Poisson law: the draw is the number of thresholds that the bits reach.

    The law is truncated where less than half of 2^-32 is left, so its mean differs from `mean` by less than 1e-7.
    """
    found: list[int] = []
    total, term, number = 0.0, math.exp(-mean), 0
    while (edge := round((total := total + term) * _WORDS)) < _WORDS and number < 10 * mean + 100:
        found.append(edge)
        number += 1
        term *= mean / number
    return np.array(found, dtype=np.uint64)


@lru_cache(maxsize=64)
def build_touch(touch: TouchScenario) -> TouchMarket:
    """Return the numbers of a touch touch."""
    free = dict.fromkeys(("transient_decay", "drift", "innovation", "risk"), 0.0)
    taking = Slice(
        volume=1.0,
        least=0.0,
        limit=float(touch.max_take),
        temporary_scale=touch.impact,
        half_spread=touch.half_spread + touch.take_fee,
        **free,
    )
    away = round(touch.move_probability * _WORDS)
    through = round(touch.sweep_probability * _WORDS)
    return TouchMarket(
        scenario=touch,
        steps=touch.steps,
        lots=float(touch.lots),
        max_take=touch.max_take,
        outflow=touch.outflow,
        scale=touch.scale,
        taking=taking,
        ending=taking._replace(least=math.inf, limit=math.inf),
        back=float(touch.queue),
        deeper_back=float(touch.deeper_queue),
        earned=touch.earned,
        swept=touch.half_spread + touch.make_rebate - touch.tick,
        risk=touch.risk,
        thresholds=outflow_thresholds(touch.outflow),
        away=np.uint64(away),
        either=np.uint64(away + through),
    )


def numbers_of(market: TouchMarket) -> Any:
    """Return the numbers of a market as a :data:`TouchNumbers` record."""
    return _numbers_of(market)


def all_places(market: TouchMarket) -> Place:
    """Return the places of an order, shape (queue + 3,): 0, 1, ... lots ahead at the touch, one tick deeper, nowhere."""
    level = np.array([TOUCH] * (market.scenario.queue + 1) + [DEEPER, NOWHERE])
    return Place(level, np.where(level == TOUCH, np.arange(len(level)), 0.0))


def place_index(market: TouchMarket, place: Place) -> NDArray[np.int64]:
    """Return the index of places in :func:`all_places`."""
    return np.asarray(place_row(market, place)).astype(np.int64)


def place_row(market: Any, place: Place) -> Any:
    """Return the index of places in :func:`all_places` as whole floats; `market` is the market or its numbers."""
    level = place.level
    return where(level == TOUCH, place.ahead, where(level == DEEPER, market.back + 1.0, market.back + 2.0))


def draw_step(market: TouchMarket, keys: NDArray[np.uint64], k: Any) -> Draw:
    """Return what nature draws in step `k` of the episodes with some keys; fields of the shape of `keys` and `k` together."""
    return draw_touch(market, market.thresholds, keys, k)


def draw_touch(numbers: Any, thresholds: NDArray[np.uint64], key: Any, k: Any) -> Draw:
    """Return what nature draws in step `k` of an episode: numbers, or arrays over episodes.

    Args:
        numbers: The market, or its numbers.
        thresholds: :attr:`TouchMarket.thresholds`.
        key: Key of the episode.
        k: Step.
    """
    of_step = slice_key(key, k)
    outflow, bits = rank(thresholds, upper_bits(word(of_step, _OUTFLOW))), upper_bits(word(of_step, _MOVE))
    return Draw(double(outflow), where(bits < numbers.away, AWAY, where(bits < numbers.either, THROUGH, 0.0)))


def placed(market: Any, place: Place, rest: Any) -> Place:
    """Return where the lots rest after the request `rest`, an index of :data:`RESTS`.

    To keep a place without resting rests nowhere.
    """
    joins, keeps, deep = rest == JOIN, rest == KEEP, rest == DEEP
    level = where(joins, TOUCH, where(keeps, place.level, where(deep, DEEPER, NOWHERE)))
    return Place(level, where(joins, market.back, where(keeps, place.ahead, 0.0)))


def turn(market: Any, left: Any, place: Place, take: Any, rest: Any, draw: Draw) -> Turn:
    """Trade one step; the arguments are numbers, or arrays over episodes.

    Args:
        market: The market, or its numbers.
        left: Lots that are left, q.
        place: Where they rest.
        take: Lots to take, lowered to `max_take` and to the lots that are left.
        rest: What the other lots do, an index of :data:`RESTS`.
        draw: What nature draws.
    """
    state, cost = move(_IMPACT, (left, 0.0, 0.0), market.taking, take)
    resting = state[0]
    waited = wait(market, resting, placed(market, place, rest), draw)
    return Turn(
        left=waited.left,
        place=waited.place,
        taken=left - resting,
        filled=waited.filled,
        bill=Bill(cost[_SPREAD], cost[_TEMPORARY], waited.rest, waited.risk),
    )


def wait(market: Any, resting: Any, place: Place, draw: Draw) -> Waited:
    """Let the lots of an order rest for a step.

    Args:
        market: The market, or its numbers.
        resting: Lots, x.
        place: Where they rest.
        draw: What nature draws.
    """
    level, ahead = place
    at_touch, through = level == TOUCH, draw.moved == THROUGH
    swept = at_touch & through
    lots = where(swept, resting, where(at_touch, filled(resting, ahead, draw.outflow), 0.0))
    gain = where(swept, market.swept, market.earned)
    filling = (_NEVER, lots, lots, 0.0, -gain, 0.0, 0.0, 0.0, market.risk, 0.0)
    after, earned = move(_IMPACT, (resting, 0.0, 0.0), filling, lots)
    left = after[0]
    reached = (level == DEEPER) & through
    waits = left > 0.0
    next_level = where(waits, where(reached, TOUCH, level), NOWHERE)
    next_ahead = advance(ahead, draw.outflow, draw.moved == AWAY, market.back)
    next_ahead = where(reached, market.deeper_back, where(at_touch & waits, next_ahead, 0.0))
    return Waited(left, Place(next_level, where(waits, next_ahead, 0.0)), lots, earned[_SPREAD], earned[_RISK])


def unwind(market: Any, left: Any) -> Bill:
    """Return what taking everything that is left costs."""
    _, cost = move(_IMPACT, (left, 0.0, 0.0), market.ending, left)
    return Bill(cost[_SPREAD], cost[_TEMPORARY], 0.0 * left, 0.0 * left)


_SPREAD, _TEMPORARY, _RISK = (Cost._fields.index(name) for name in ("spread", "temporary", "risk"))
