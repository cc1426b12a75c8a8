r"""A predator: another trader who watches our children, foretells the next one and trades ahead of it.

It needs two children that are alike to expect a third. In a slice in which it expects one it buys before us (sells, where we
sell), so that we trade at a price that it has moved by the whole slope of Kyle (1985), and it sells again behind us: this is
the predatory trading of Brunnermeier and Pedersen (2005), held within the slice. What it does goes through
:func:`~hyperexec_env.market.kernel.move` like everything else, and leaves nothing behind.

A negative strength is the opposite case: an order that is seen draws out liquidity that would not have come otherwise, as in
the sunshine trading of Admati and Pfleiderer (1991). It stands on the other side and takes a part of what we trade. Beyond one
half of our own child it would pay for more than the move of that child: no market does that, so the strength ends there.

Liquidity makes a child cheaper and the price moves as far as without it. So it pays for round trips, buying in like children
and selling in like children, where spread and temporary impact cost less than it saves: a child of n shares earns where
:math:`|strength| \, \lambda_K n` exceeds both together. Orders here have one side and cannot do that; do not let an agent that
may trade both ways learn from a negative strength. (A predator makes each child dearer, so no round trip earns through it.)

The predator's memory follows from our children alone, but it is not in the observation: with a strength that is not zero the
environment is partly observed, and a policy that is to outwit it needs a memory of its own trades, recurrent or of stacked
observations. There is no random number here, and every function serves Python floats and arrays over episodes, with results
that agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hyperexec_env.market.kernel import Cost, Impact, Slice, State, move, step
from hyperexec_env.market.numeric import maximum, minimum

__all__ = ["GREATEST", "LEAST", "PredatorMemory", "predator_position", "step_with_predator", "trade", "update_memory"]

LEAST: Final = -0.5
"""Smallest strength: here liquidity pays for the whole of a child's own linear move, lambda_K n^2 / 2, and not for more."""
GREATEST: Final = 2.0
"""Largest strength: twice the child that is expected."""

_WINDOW: Final = 0.15
"""How far from the expected time the predator holds its position, in periods."""
_LOST: Final = 0.5
"""A child that is further from the expected time than this, in periods, starts the count anew."""
_TRUST_PLACE: Final = 0.5
"""Share of a child's deviation from the expected time by which the next one is expected later (or earlier)."""
_TRUST_PERIOD: Final = 0.25
"""Share of the deviation that is taken for a change of the period."""
_DUST: Final = 0.01
"""A child of at most this share of the last one is not seen: else dust between the children would hide them for nothing."""
_TINY: Final = 1e-300


class PredatorMemory(NamedTuple):
    """What the predator remembers of our children: floats, or arrays over episodes. Zeros: it has seen nothing."""

    size: Any
    """Shares of the last child."""
    since: Any
    """Slices from the (smoothed) time of the last child to the slice that comes."""
    period: Any
    """Slices from one child to the next, smoothed; 0 before the second child."""
    likeness: Any
    """How alike the last two children were: 1 for equal sizes, 0 where one was twice the other."""


def predator_position(strength: float, memory: PredatorMemory, shares: Any) -> Any:
    """Return the shares that the predator holds ahead of us in this slice (negative: what liquidity takes of ours).

    Args:
        strength: Fraction of the child that it expects, -0.5 to 2.
        memory: What it remembers.
        shares: What we trade in the slice. A predator cannot know that; liquidity takes its part of what comes.
    """
    expected = 1.0 * (abs(memory.since - memory.period) <= _WINDOW * memory.period) * memory.likeness
    return strength * expected * (memory.size if strength > 0.0 else minimum(memory.size, shares))


def update_memory(memory: PredatorMemory, shares: Any) -> PredatorMemory:
    """Return what the predator remembers after a slice in which we traded some shares (0: no child came).

    A child of at most one hundredth of the last one is taken for none. So a block hides children a hundred times smaller that
    follow it, at the price of a block.

    The expected times follow the children as a phase-locked loop does: half of a deviation is taken for the next time, a
    quarter for the period. Children that come regularly leave no deviation.
    """
    size, since, period, likeness = memory
    came = 1.0 * (shares > _DUST * size)
    same = 1.0 - came
    late = since - period
    lost = 1.0 * (abs(late) > _LOST * period)
    kept = 1.0 - lost
    alike = 2.0 * minimum(shares, size) / maximum(maximum(shares, size), _TINY) - 1.0
    size = came * shares + same * size
    return PredatorMemory(
        size=size,
        since=came * kept * (1.0 - _TRUST_PLACE) * late + same * since + 1.0 * (size > 0.0),
        period=came * (lost * since + kept * (period + _TRUST_PERIOD * late)) + same * period,
        likeness=came * maximum(alike, 0.0) + same * likeness,
    )


def step_with_predator(
    impact: tuple[Any, ...], state: tuple[Any, ...], slice: Sequence[Any], shares: Any, memory: PredatorMemory, strength: float
) -> tuple[tuple[tuple[Any, ...], tuple[Any, ...]], PredatorMemory]:
    """Trade in a slice as :func:`~hyperexec_env.market.kernel.move` does, with a predator ahead of us.

    What it holds displaces the price that our child meets; it is gone before the slice ends, so the state is the one that
    the trade leaves without it.

    Returns:
        The state after the slice and its cost, as from `move`; and what the predator remembers.
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
    """Do what :func:`~hyperexec_env.market.kernel.step` does, with a predator where its strength is not zero."""
    if not strength:
        return *step(impact, state, slice, shares), memory
    (after, cost), memory = step_with_predator(impact, state, slice, shares, memory, strength)
    return State(*after), Cost(*cost), memory
