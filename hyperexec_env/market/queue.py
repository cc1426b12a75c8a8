"""A queue at the touch, in whole lots: who is filled when lots leave its front, and where an order stands afterwards.

An order with `ahead` lots before it is filled by the lots that leave beyond those, first come, first served. Lots leave by
trades and by cancellations, which this market does not tell apart. The functions use comparisons only, so they hold for
numbers, for arrays over episodes and in compiled loops.
"""

from __future__ import annotations

from typing import Any

from hyperexec_env.market.numeric import maximum, minimum, where

__all__ = ["advance", "filled"]


def filled(resting: Any, ahead: Any, outflow: Any) -> Any:
    """Return the lots of a resting order that are filled, min((outflow - ahead)+, resting).

    Args:
        resting: Lots of the order.
        ahead: Lots before it in the queue.
        outflow: Lots that leave the front of the queue.
    """
    return minimum(maximum(outflow - ahead, 0.0), resting)


def advance(ahead: Any, outflow: Any, moved: Any, back: Any) -> Any:
    """Return the lots before an order after a step, (ahead - outflow)+, or `back` where the touch moved away.

    Args:
        ahead: Lots before the order in the queue.
        outflow: Lots that leave the front of the queue.
        moved: Whether the touch moved away, after which the order joins the queue of the new touch.
        back: Lots before an order that joins the queue.
    """
    return where(moved, back, maximum(ahead - outflow, 0.0))
