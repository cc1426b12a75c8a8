r"""A predator: another trader that detects our child orders, predicts the next one and trades ahead of it.

The predator needs two children of similar size to expect a third. In a slice in which it expects a child it buys before us
(sells, if we sell), so our child trades at a price that it has moved by Kyle's whole slope (Kyle 1985), and it reverses its
position after us. This is the predatory trading of Brunnermeier and Pedersen (2005) within one slice. Its price impact goes
through :func:`~hyperexec_env.market.kernel.move` and is gone at the end of the slice.

A negative strength is the opposite case: a visible order attracts liquidity that would not have come otherwise, the sunshine
trading of Admati and Pfleiderer (1991). This liquidity takes the other side of a part of our child. Beyond one half of the
child it would pay for more than the child's own price move, which no market does, so -0.5 is the smallest strength.

Liquidity makes a child cheaper but does not reduce the price move. It therefore pays for round trips of equal children where
spread and temporary impact cost less than it saves: a child of n shares earns money if :math:`|strength| \, \lambda_K n`
exceeds the sum of both. Orders here trade one side only and cannot make a round trip; do not train an agent that may trade
both sides with a negative strength. (A predator makes each child more expensive, so no round trip earns money through it.)

The predator's memory is a function of our children, but the observation does not hold it: with a strength other than zero the
environment is partially observed, and a policy that is to outwit the predator needs a memory of its own trades (recurrence or
stacked observations). This module draws no random numbers. Its functions take Python floats and arrays over episodes, with
results that agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hyperexec_env.market.kernel import Cost, Impact, Slice, State, move, step
from hyperexec_env.market.numeric import maximum, minimum

__all__ = ["GREATEST", "LEAST", "PredatorMemory", "predator_position", "step_with_predator", "trade", "update_memory"]

LEAST: Final = -0.5
"""Smallest strength: liquidity then pays for the child's whole linear move, lambda_K n^2 / 2."""
GREATEST: Final = 2.0
"""Largest strength: a position of twice the expected child."""

_WINDOW: Final = 0.15
"""Largest distance from the expected time at which the predator takes a position, in periods."""
_LOST: Final = 0.5
"""Distance from the expected time beyond which a child resets the period, in periods."""
_TRUST_PLACE: Final = 0.5
"""Fraction of a child's deviation from the expected time that shifts the expected time of the next child."""
_TRUST_PERIOD: Final = 0.25
"""Fraction of the deviation that is added to the period."""
_DUST: Final = 0.01
"""The predator ignores a child of at most this fraction of the last one; otherwise tiny trades would hide children for free."""
_TINY: Final = 1e-300
"""Lower bound of a divisor."""


class PredatorMemory(NamedTuple):
    """The predator's memory of our children: floats, or arrays over episodes; all zero before the first child."""

    size: Any
    """Shares of the last child."""
    since: Any
    """Slices from the smoothed time of the last child to the slice traded next."""
    period: Any
    """Smoothed number of slices between children; 0 before the second child."""
    likeness: Any
    """Similarity of the last two children, max(0, 2 smaller / larger - 1): 1 for equal sizes, 0 from a ratio of two."""


def predator_position(strength: float, memory: PredatorMemory, shares: Any) -> Any:
    """Return the predator's position ahead of our child in this slice, shares; negative: shares that liquidity takes from us.

    Args:
        strength: Position as a fraction of the expected child, -0.5 to 2.
        memory: The predator's memory at the start of the slice.
        shares: Shares that we trade in the slice. Only liquidity (a negative strength) reads them; a predator cannot.
    """
    expected = 1.0 * (abs(memory.since - memory.period) <= _WINDOW * memory.period) * memory.likeness
    return strength * expected * (memory.size if strength > 0.0 else minimum(memory.size, shares))


def update_memory(memory: PredatorMemory, shares: Any) -> PredatorMemory:
    """Return the predator's memory after a slice in which we traded some shares (0: no child).

    The predator ignores a child of at most one hundredth of the last one. A block therefore hides the children after it that
    are a hundred times smaller, at the cost of a block.

    The expected time follows the children as a phase-locked loop: half of a child's deviation from its expected time shifts
    the expected time of the next child, a quarter is added to the period. Children at regular times have no deviation.
    """
    size, since, period, likeness = memory
    came = 1.0 * (shares > _DUST * size)
    same = 1.0 - came
    late = since - period
    lost = 1.0 * (abs(late) > _LOST * period)
    regular = 1.0 - lost
    alike = 2.0 * minimum(shares, size) / maximum(maximum(shares, size), _TINY) - 1.0
    size = came * shares + same * size
    return PredatorMemory(
        size=size,
        since=came * regular * (1.0 - _TRUST_PLACE) * late + same * since + 1.0 * (size > 0.0),
        period=came * (lost * since + regular * (period + _TRUST_PERIOD * late)) + same * period,
        likeness=came * maximum(alike, 0.0) + same * likeness,
    )


def step_with_predator(
    impact: tuple[Any, ...], state: tuple[Any, ...], slice: Sequence[Any], shares: Any, memory: PredatorMemory, strength: float
) -> tuple[tuple[tuple[Any, ...], tuple[Any, ...]], PredatorMemory]:
    """Trade one slice as :func:`~hyperexec_env.market.kernel.move` does, with a predator ahead of our child.

    The predator's position displaces the price of our child by lambda_K times the position. The position is closed before the
    slice ends, so the state after the slice is the state without the predator.

    Returns:
        State after the slice and cost, as from `move`; and the predator's memory after the slice.
    """
    left, permanent, transient = state
    permanent_slope, transient_slope = impact[:2]
    after, _ = move(impact, state, slice, shares)
    traded = left - after[0]
    pushed = (permanent_slope + transient_slope) * predator_position(strength, memory, traded)
    _, cost = move(impact, (left, permanent, transient + pushed), slice, shares)
    return (after, cost), update_memory(memory, traded)


def trade(
    impact: Impact, state: State, slice: Slice, shares: Any, memory: PredatorMemory, strength: float
) -> tuple[State, Cost, PredatorMemory]:
    """Trade one slice as :func:`~hyperexec_env.market.kernel.step` does, with a predator unless `strength` is zero."""
    if not strength:
        return *step(impact, state, slice, shares), memory
    (after, cost), memory = step_with_predator(impact, state, slice, shares, memory, strength)
    return State(*after), Cost(*cost), memory
