"""Actions: how the number that an agent gives becomes shares to trade in the slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.market.lane import Asked, Lane
from hyperexec_env.market.model import Market
from hyperexec_env.market.numeric import maximum, minimum, where
from hyperexec_env.records import Real, for_numbers

__all__ = [
    "ACTION_MODES",
    "CONTINUOUS_MODES",
    "MASKS",
    "PACES",
    "Action",
    "ActionMode",
    "Base",
    "build_action_mode",
    "mask_place",
]

PACE_LIMIT: Final = 8.0
"""Largest pace of the continuous action, in multiples of the pace that finishes on time."""
PACES: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Paces of the discrete action."""
_PACE_SLOPE: Final = 1.0 - 2.0 / PACE_LIMIT
_LEVELS: Final = np.array(PACES)
MASKS: Final = np.concatenate([np.tri(len(PACES)), np.eye(len(PACES))[-1:]]).astype(np.int8)
"""Masks of the levels: the levels up to the i-th in row i, the highest alone in the last row."""
MASKS.flags.writeable = False


class Action(NamedTuple):
    """What an agent gives, as a number."""

    value: Real


class Base(NamedTuple):
    """What an action multiplies: a fraction of what remains, or shares."""

    base: Real


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


@for_numbers(lambda action, remaining, base: remaining * base * _LEVELS[np.int64(action)])
def level_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Trade at one of the paces of :data:`PACES`."""
    return remaining * base * (PACES[action] if isinstance(action, int) else _LEVELS[np.asarray(action, dtype=np.int64)])


def mask_place(remaining: Any, base: Any, forced: Any) -> Any:
    """Return the row of :data:`MASKS` that says which levels differ from the level below.

    Above the first level that would finish the order all levels are the same trade; where the slice must finish
    the order, only the highest is left.
    """
    highest = 0
    for pace in PACES[:-1]:
        highest = highest + (remaining * base * pace < remaining) * 1
    return where(forced, len(PACES), highest)


@dataclass(frozen=True, eq=False)
class ActionMode:
    """An action mode as data."""

    name: str
    space: spaces.Space[Any]
    shares: Callable[[Any, Any, Any], Any]
    """(action, remaining, base) -> shares asked for: floats, or arrays over episodes."""
    base: NDArray[np.float64]
    """What the action multiplies: a fraction of what remains, or shares; by slice and regime, shape (N + 1, M + 1)."""

    @cached_property
    def ask(self) -> Callable[[Lane, Base, Action], Asked]:
        """The stage that makes an action shares."""
        shares = self.shares

        def ask(lane: Lane, base: Base, action: Action) -> Asked:
            return Asked(shares(minimum(maximum(action.value, -1.0), 1.0), lane.state.remaining, base.base))

        def ask_level(lane: Lane, base: Base, action: Action) -> Asked:
            return Asked(shares(action.value, lane.state.remaining, base.base))

        return ask_level if self.discrete else ask

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs: the stage is made anew."""
        return {name: value for name, value in self.__dict__.items() if name != "ask"}

    @property
    def discrete(self) -> bool:
        """Whether the action is one of the levels of :data:`PACES`."""
        return isinstance(self.space, spaces.Discrete)

    def mask(self, remaining: Any, base: Any, forced: Any) -> NDArray[np.int8]:
        """Return which discrete levels differ from the level below, shape (..., levels), 1 is allowed."""
        return np.asarray(MASKS[mask_place(remaining, base, forced)])


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
CONTINUOUS_MODES: Final = tuple(name for name in ACTION_MODES if name != "discrete")
"""Names of the action modes whose action is a number in [-1, 1]."""


def build_action_mode(name: str, market: Market) -> ActionMode:
    """Return an action mode for a market.

    Raises:
        ValueError: No such action mode; the message names the nearest one.
    """
    return _MODES[check_choice("action_mode", name, ACTION_MODES)](market)
