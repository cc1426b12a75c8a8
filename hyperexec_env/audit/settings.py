"""Settings of an audit of an environment."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Settings"]


class Settings(NamedTuple):
    """How much an audit plays, and from which seeds."""

    episodes: int
    """Episodes of each statistical comparison."""
    seed: int
    """First seed."""

    def seeds(self, count: int) -> range:
        """Return the first seeds."""
        return range(self.seed, self.seed + count)
