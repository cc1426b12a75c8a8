"""What is to be executed: the parent order as the market and its observers see it."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Order"]


class Order(NamedTuple):
    """Side and size of a parent order: plain numbers, or arrays over episodes."""

    side: Any
    """+1 buy, -1 sell."""
    quantity: Any
    """Shares to execute, X."""
