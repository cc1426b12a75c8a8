"""Actions: how the number that an agent gives becomes shares to trade in the slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.market.model import Market

__all__ = ["ACTION_MODES", "PACES", "ActionMode", "build_action_mode"]

PACE_LIMIT: Final = 8.0
"""Largest pace of the continuous action, in multiples of the pace that finishes on time."""
PACES: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Paces of the discrete action."""
_PACE_SLOPE: Final = 1.0 - 2.0 / PACE_LIMIT
_LEVELS: Final = np.array(PACES)


def pace_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Trade at a pace relative to the schedule that finishes on time; the base is that schedule's fraction.

    The pace (1 + a) / (1 - 3a/4) of an action in [-1, 1] is 0 at -1, 1 at 0 and 8 at +1: a smooth log-like scale that, unlike a
    logarithm, reaches zero; plain arithmetic, so that floats and arrays agree to the last bit.
    """
    return remaining * base * ((1.0 + action) / (1.0 - _PACE_SLOPE * action))


def fraction_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Trade a fraction (1 + a) / 2 of what remains."""
    return remaining * base * (0.5 * (1.0 + action))


def participation_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Trade (1 + a) / 2 of the base, which is in shares."""
    return base * (0.5 * (1.0 + action))


def level_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Trade at one of the paces of :data:`PACES`."""
    return remaining * base * (PACES[action] if isinstance(action, int) else _LEVELS[action])


@dataclass(frozen=True, eq=False)
class ActionMode:
    """An action mode as data."""

    name: str
    space: spaces.Space[Any]
    shares: Callable[[Any, Any, Any], Any]
    """(action, remaining, base) -> shares asked for: floats, or arrays over episodes."""
    base: NDArray[np.float64]
    """What the action multiplies: a fraction of what remains, or shares; by slice and regime, shape (N + 1, M + 1)."""

    @property
    def discrete(self) -> bool:
        """Whether the action is one of the levels of :data:`PACES`."""
        return isinstance(self.space, spaces.Discrete)

    def mask(self, remaining: Any, base: Any, least: Any) -> NDArray[np.int8]:
        """Return which discrete levels differ from the level below, shape (..., levels), 1 is allowed.

        Above the first level that would finish the order all levels are the same trade; where the slice must finish
        the order, only the highest is left.
        """
        asked = np.multiply.outer(np.asarray(remaining * base), np.asarray(PACES))
        left = np.asarray(remaining)[..., None]
        forced = np.asarray(least)[..., None] > 0.0
        below = np.concatenate([np.full_like(asked[..., :1], -1.0), asked[..., :-1]], axis=-1)
        allowed = (below < left) & ~forced
        allowed[..., 0] |= ~forced[..., 0]
        allowed[..., -1] |= forced[..., 0]
        return np.asarray(allowed, dtype=np.int8)


def _vwap_fraction(market: Market) -> NDArray[np.float64]:
    """Return the fraction of what remains that the schedule of the expected volume trades in each slice."""
    fraction = np.ones_like(market.mean_volume)
    fraction[:-1] = market.mean_volume[:-1] / market.rest_volume[:-1]
    return fraction


def _continuous() -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (1,), np.float32)


def _pace_mode(market: Market) -> ActionMode:
    return ActionMode("pace", _continuous(), pace_shares, _vwap_fraction(market))


def _fraction_mode(market: Market) -> ActionMode:
    return ActionMode("fraction", _continuous(), fraction_shares, np.ones_like(market.mean_volume))


def _participation_mode(market: Market) -> ActionMode:
    cap = market.scenario.max_participation
    return ActionMode("participation", _continuous(), participation_shares, market.mean_volume * (1.0 if cap is None else cap))


def _discrete_mode(market: Market) -> ActionMode:
    return ActionMode("discrete", spaces.Discrete(len(PACES)), level_shares, _vwap_fraction(market))


_MODES: Final[dict[str, Callable[[Market], ActionMode]]] = {
    "pace": _pace_mode,
    "fraction": _fraction_mode,
    "participation": _participation_mode,
    "discrete": _discrete_mode,
}
ACTION_MODES: Final = tuple(_MODES)
"""Names of the action modes."""


def build_action_mode(name: str, market: Market) -> ActionMode:
    """Return an action mode for a market.

    Raises:
        ValueError: No such action mode; the message names the nearest one.
    """
    return _MODES[check_choice("action_mode", name, ACTION_MODES)](market)
